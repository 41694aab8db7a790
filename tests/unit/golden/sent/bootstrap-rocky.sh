#### cp1 · prep.identity · this cluster's identity noted
# kubefab: prep.identity
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
unset all_proxy ALL_PROXY http_proxy HTTP_PROXY https_proxy HTTPS_PROXY no_proxy NO_PROXY
cd /
umask 077
exec 9>>/run/kubefab.lock
chmod 600 /run/kubefab.lock
flock -w 900 9 || { echo '##kubefab 0 75'; return 75; }
umask 077
log=$(mktemp /run/kubefab-log.XXXXXX) || { echo '##kubefab 0 1'; return 1; }
umask 022
(
set -eo pipefail
K=0
trap 'echo "##kubefab $K $?" >"$log.end"' EXIT
#--8<-- file 0600 /var/lib/kubefab/identity
mkdir -p /var/lib/kubefab
(umask 077; cat > /var/lib/kubefab/.identity.kubefab <<'KUBEFAB-END'
{"environment": "test", "endpoint": "10.2.0.1:6443", "node": "cp1", "role": "control-plane", "hostname": "cp1"}
KUBEFAB-END
)
chmod 0600 /var/lib/kubefab/.identity.kubefab
mv -f /var/lib/kubefab/.identity.kubefab /var/lib/kubefab/identity
#--8<-- command 1
K=1
chmod 0700 /var/lib/kubefab
#--8<-- command 2
K=2
sync /var/lib/kubefab/identity
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### cp1 · prep.swap · swap off, noted for reset
# kubefab: prep.swap
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
unset all_proxy ALL_PROXY http_proxy HTTP_PROXY https_proxy HTTPS_PROXY no_proxy NO_PROXY
cd /
umask 077
exec 9>>/run/kubefab.lock
chmod 600 /run/kubefab.lock
flock -w 900 9 || { echo '##kubefab 0 75'; return 75; }
umask 077
log=$(mktemp /run/kubefab-log.XXXXXX) || { echo '##kubefab 0 1'; return 1; }
umask 022
(
set -eo pipefail
K=0
trap 'echo "##kubefab $K $?" >"$log.end"' EXIT
#--8<-- command 1
K=1
install -d -m 0700 /var/lib/kubefab
#--8<-- command 2
K=2
test -e /var/lib/kubefab/swaps || tail -n +2 /proc/swaps > /var/lib/kubefab/swaps
#--8<-- command 3
K=3
sed -i -E 's/^([^#]\S*\s+\S+\s+swap(\s.*)?)$/#kubefab# \1/' /etc/fstab
#--8<-- command 4
K=4
systemctl daemon-reload
#--8<-- command 5
K=5
for u in zramswap.service zram-config.service dphys-swapfile.service swapspace.service zram-swap.service; do if systemctl is-active -q "$u" 2>/dev/null; then echo "start $u" >>/var/lib/kubefab/swapservices; systemctl stop "$u"; fi; done
#--8<-- command 6
K=6
swapoff -a
#--8<-- command 7
K=7
{ for f in /run/systemd/generator*/*.swap /etc/systemd/system/*.wants/*.swap; do [ -e "$f" ] || continue; u=$(basename "$f"); [ "$(readlink "/etc/systemd/system/$u")" = /dev/null ] || echo "$u"; done; for u in zramswap.service zram-config.service dphys-swapfile.service swapspace.service zram-swap.service; do if systemctl is-enabled -q "$u" 2>/dev/null; then echo "$u"; fi; done; } | sort -u | while read -r u; do if systemctl mask "$u"; then echo "unmask $u"; else systemctl disable "$u" && echo "enable $u"; fi >> /var/lib/kubefab/swapunits; done
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### cp1 · prep.modules · kernel modules overlay and br_netfilter
# kubefab: prep.modules
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
unset all_proxy ALL_PROXY http_proxy HTTP_PROXY https_proxy HTTPS_PROXY no_proxy NO_PROXY
cd /
umask 077
exec 9>>/run/kubefab.lock
chmod 600 /run/kubefab.lock
flock -w 900 9 || { echo '##kubefab 0 75'; return 75; }
umask 077
log=$(mktemp /run/kubefab-log.XXXXXX) || { echo '##kubefab 0 1'; return 1; }
umask 022
(
set -eo pipefail
K=0
trap 'echo "##kubefab $K $?" >"$log.end"' EXIT
#--8<-- file 0644 /etc/modules-load.d/kubefab.conf
mkdir -p /etc/modules-load.d
(umask 077; cat > /etc/modules-load.d/.kubefab.conf.kubefab <<'KUBEFAB-END'
overlay
br_netfilter
KUBEFAB-END
)
chmod 0644 /etc/modules-load.d/.kubefab.conf.kubefab
mv -f /etc/modules-load.d/.kubefab.conf.kubefab /etc/modules-load.d/kubefab.conf
#--8<-- command 1
K=1
modprobe overlay
#--8<-- command 2
K=2
modprobe br_netfilter
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### cp1 · prep.sysctl · forwarding and bridge netfilter on, noted for reset
# kubefab: prep.sysctl
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
unset all_proxy ALL_PROXY http_proxy HTTP_PROXY https_proxy HTTPS_PROXY no_proxy NO_PROXY
cd /
umask 077
exec 9>>/run/kubefab.lock
chmod 600 /run/kubefab.lock
flock -w 900 9 || { echo '##kubefab 0 75'; return 75; }
umask 077
log=$(mktemp /run/kubefab-log.XXXXXX) || { echo '##kubefab 0 1'; return 1; }
umask 022
(
set -eo pipefail
K=0
trap 'echo "##kubefab $K $?" >"$log.end"' EXIT
#--8<-- file 0644 /etc/sysctl.d/99-kubefab.conf
mkdir -p /etc/sysctl.d
(umask 077; cat > /etc/sysctl.d/.99-kubefab.conf.kubefab <<'KUBEFAB-END'
net.ipv4.ip_forward = 1
net.bridge.bridge-nf-call-iptables = 1
net.bridge.bridge-nf-call-ip6tables = 1
KUBEFAB-END
)
chmod 0644 /etc/sysctl.d/.99-kubefab.conf.kubefab
mv -f /etc/sysctl.d/.99-kubefab.conf.kubefab /etc/sysctl.d/99-kubefab.conf
#--8<-- command 1
K=1
install -d -m 0700 /var/lib/kubefab
#--8<-- command 2
K=2
test -e /var/lib/kubefab/sysctl || sysctl net.ipv4.ip_forward net.bridge.bridge-nf-call-iptables net.bridge.bridge-nf-call-ip6tables > /var/lib/kubefab/sysctl
#--8<-- command 3
K=3
sysctl -q -p /etc/sysctl.d/99-kubefab.conf
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### w1 · prep.identity · this cluster's identity noted
# kubefab: prep.identity
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
unset all_proxy ALL_PROXY http_proxy HTTP_PROXY https_proxy HTTPS_PROXY no_proxy NO_PROXY
cd /
umask 077
exec 9>>/run/kubefab.lock
chmod 600 /run/kubefab.lock
flock -w 900 9 || { echo '##kubefab 0 75'; return 75; }
umask 077
log=$(mktemp /run/kubefab-log.XXXXXX) || { echo '##kubefab 0 1'; return 1; }
umask 022
(
set -eo pipefail
K=0
trap 'echo "##kubefab $K $?" >"$log.end"' EXIT
#--8<-- file 0600 /var/lib/kubefab/identity
mkdir -p /var/lib/kubefab
(umask 077; cat > /var/lib/kubefab/.identity.kubefab <<'KUBEFAB-END'
{"environment": "test", "endpoint": "10.2.0.1:6443", "node": "w1", "role": "worker", "hostname": "w1"}
KUBEFAB-END
)
chmod 0600 /var/lib/kubefab/.identity.kubefab
mv -f /var/lib/kubefab/.identity.kubefab /var/lib/kubefab/identity
#--8<-- command 1
K=1
chmod 0700 /var/lib/kubefab
#--8<-- command 2
K=2
sync /var/lib/kubefab/identity
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### w1 · prep.swap · swap off, noted for reset
# kubefab: prep.swap
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
unset all_proxy ALL_PROXY http_proxy HTTP_PROXY https_proxy HTTPS_PROXY no_proxy NO_PROXY
cd /
umask 077
exec 9>>/run/kubefab.lock
chmod 600 /run/kubefab.lock
flock -w 900 9 || { echo '##kubefab 0 75'; return 75; }
umask 077
log=$(mktemp /run/kubefab-log.XXXXXX) || { echo '##kubefab 0 1'; return 1; }
umask 022
(
set -eo pipefail
K=0
trap 'echo "##kubefab $K $?" >"$log.end"' EXIT
#--8<-- command 1
K=1
install -d -m 0700 /var/lib/kubefab
#--8<-- command 2
K=2
test -e /var/lib/kubefab/swaps || tail -n +2 /proc/swaps > /var/lib/kubefab/swaps
#--8<-- command 3
K=3
sed -i -E 's/^([^#]\S*\s+\S+\s+swap(\s.*)?)$/#kubefab# \1/' /etc/fstab
#--8<-- command 4
K=4
systemctl daemon-reload
#--8<-- command 5
K=5
for u in zramswap.service zram-config.service dphys-swapfile.service swapspace.service zram-swap.service; do if systemctl is-active -q "$u" 2>/dev/null; then echo "start $u" >>/var/lib/kubefab/swapservices; systemctl stop "$u"; fi; done
#--8<-- command 6
K=6
swapoff -a
#--8<-- command 7
K=7
{ for f in /run/systemd/generator*/*.swap /etc/systemd/system/*.wants/*.swap; do [ -e "$f" ] || continue; u=$(basename "$f"); [ "$(readlink "/etc/systemd/system/$u")" = /dev/null ] || echo "$u"; done; for u in zramswap.service zram-config.service dphys-swapfile.service swapspace.service zram-swap.service; do if systemctl is-enabled -q "$u" 2>/dev/null; then echo "$u"; fi; done; } | sort -u | while read -r u; do if systemctl mask "$u"; then echo "unmask $u"; else systemctl disable "$u" && echo "enable $u"; fi >> /var/lib/kubefab/swapunits; done
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### w1 · prep.modules · kernel modules overlay and br_netfilter
# kubefab: prep.modules
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
unset all_proxy ALL_PROXY http_proxy HTTP_PROXY https_proxy HTTPS_PROXY no_proxy NO_PROXY
cd /
umask 077
exec 9>>/run/kubefab.lock
chmod 600 /run/kubefab.lock
flock -w 900 9 || { echo '##kubefab 0 75'; return 75; }
umask 077
log=$(mktemp /run/kubefab-log.XXXXXX) || { echo '##kubefab 0 1'; return 1; }
umask 022
(
set -eo pipefail
K=0
trap 'echo "##kubefab $K $?" >"$log.end"' EXIT
#--8<-- file 0644 /etc/modules-load.d/kubefab.conf
mkdir -p /etc/modules-load.d
(umask 077; cat > /etc/modules-load.d/.kubefab.conf.kubefab <<'KUBEFAB-END'
overlay
br_netfilter
KUBEFAB-END
)
chmod 0644 /etc/modules-load.d/.kubefab.conf.kubefab
mv -f /etc/modules-load.d/.kubefab.conf.kubefab /etc/modules-load.d/kubefab.conf
#--8<-- command 1
K=1
modprobe overlay
#--8<-- command 2
K=2
modprobe br_netfilter
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### w1 · prep.sysctl · forwarding and bridge netfilter on, noted for reset
# kubefab: prep.sysctl
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
unset all_proxy ALL_PROXY http_proxy HTTP_PROXY https_proxy HTTPS_PROXY no_proxy NO_PROXY
cd /
umask 077
exec 9>>/run/kubefab.lock
chmod 600 /run/kubefab.lock
flock -w 900 9 || { echo '##kubefab 0 75'; return 75; }
umask 077
log=$(mktemp /run/kubefab-log.XXXXXX) || { echo '##kubefab 0 1'; return 1; }
umask 022
(
set -eo pipefail
K=0
trap 'echo "##kubefab $K $?" >"$log.end"' EXIT
#--8<-- file 0644 /etc/sysctl.d/99-kubefab.conf
mkdir -p /etc/sysctl.d
(umask 077; cat > /etc/sysctl.d/.99-kubefab.conf.kubefab <<'KUBEFAB-END'
net.ipv4.ip_forward = 1
net.bridge.bridge-nf-call-iptables = 1
net.bridge.bridge-nf-call-ip6tables = 1
KUBEFAB-END
)
chmod 0644 /etc/sysctl.d/.99-kubefab.conf.kubefab
mv -f /etc/sysctl.d/.99-kubefab.conf.kubefab /etc/sysctl.d/99-kubefab.conf
#--8<-- command 1
K=1
install -d -m 0700 /var/lib/kubefab
#--8<-- command 2
K=2
test -e /var/lib/kubefab/sysctl || sysctl net.ipv4.ip_forward net.bridge.bridge-nf-call-iptables net.bridge.bridge-nf-call-ip6tables > /var/lib/kubefab/sysctl
#--8<-- command 3
K=3
sysctl -q -p /etc/sysctl.d/99-kubefab.conf
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### cp1 · install.keys · the keys of the package repositories
# kubefab: install.keys
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
if [ -e /etc/kubefab/proxy.env ]; then set -a; . /etc/kubefab/proxy.env; set +a; fi
cd /
umask 077
exec 9>>/run/kubefab.lock
chmod 600 /run/kubefab.lock
flock -w 900 9 || { echo '##kubefab 0 75'; return 75; }
umask 077
log=$(mktemp /run/kubefab-log.XXXXXX) || { echo '##kubefab 0 1'; return 1; }
umask 022
(
set -eo pipefail
K=0
trap 'echo "##kubefab $K $?" >"$log.end"' EXIT
#--8<-- command 1
K=1
install -d -m 0755 /etc/pki/rpm-gpg
#--8<-- command 2
K=2
home=$(mktemp -d) && key=$home/key
#--8<-- command 3
K=3
curl -fsSL --retry 3 --connect-timeout 10 -o "$key" https://pkgs.k8s.io/core:/stable:/v1.36/rpm/repodata/repomd.xml.key || { echo 'cannot fetch https://pkgs.k8s.io/core:/stable:/v1.36/rpm/repodata/repomd.xml.key'; exit 22; }
#--8<-- command 4
K=4
gpg --homedir "$home" --quiet --batch --no-autostart --import "$key" 2>/dev/null || true
#--8<-- command 5
K=5
own=$(gpg --homedir "$home" --quiet --batch --no-autostart --with-colons --list-keys 2>/dev/null | sed -n '/^pub:/,/^fpr:/p' | sed -n 's/^fpr:.*:\([0-9A-F]*\):$/\1/p' | grep -xE 'DE15B14486CD377B9E876E1A234654DA9A296436') || { echo 'the key at https://pkgs.k8s.io/core:/stable:/v1.36/rpm/repodata/repomd.xml.key has not the fingerprint DE15B14486CD377B9E876E1A234654DA9A296436'; exit 65; }
#--8<-- command 6
K=6
gpg --homedir "$home" --quiet --batch --no-autostart --armor -o "$home/trusted" --export $own
#--8<-- command 7
K=7
install -m 0644 "$home/trusted" /etc/pki/rpm-gpg/kubefab-kubernetes
#--8<-- command 8
K=8
rm -rf "$home"
#--8<-- command 9
K=9
home=$(mktemp -d) && key=$home/key
#--8<-- command 10
K=10
curl -fsSL --retry 3 --connect-timeout 10 -o "$key" https://download.docker.com/linux/centos/gpg || { echo 'cannot fetch https://download.docker.com/linux/centos/gpg'; exit 22; }
#--8<-- command 11
K=11
gpg --homedir "$home" --quiet --batch --no-autostart --import "$key" 2>/dev/null || true
#--8<-- command 12
K=12
own=$(gpg --homedir "$home" --quiet --batch --no-autostart --with-colons --list-keys 2>/dev/null | sed -n '/^pub:/,/^fpr:/p' | sed -n 's/^fpr:.*:\([0-9A-F]*\):$/\1/p' | grep -xE '9DC858229FC7DD38854AE2D88D81803C0EBFCD88|060A61C51B558A7F742B77AAC52FEB6B621E9F35') || { echo 'the key at https://download.docker.com/linux/centos/gpg has not the fingerprint 9DC858229FC7DD38854AE2D88D81803C0EBFCD88 or 060A61C51B558A7F742B77AAC52FEB6B621E9F35'; exit 65; }
#--8<-- command 13
K=13
gpg --homedir "$home" --quiet --batch --no-autostart --armor -o "$home/trusted" --export $own
#--8<-- command 14
K=14
install -m 0644 "$home/trusted" /etc/pki/rpm-gpg/kubefab-containerd
#--8<-- command 15
K=15
rm -rf "$home"
#--8<-- command 16
K=16
rpm -e --allmatches gpg-pubkey-9a296436 2>/dev/null || true
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### cp1 · install.repository · package repositories
# kubefab: install.repository
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
if [ -e /etc/kubefab/proxy.env ]; then set -a; . /etc/kubefab/proxy.env; set +a; fi
cd /
umask 077
exec 9>>/run/kubefab.lock
chmod 600 /run/kubefab.lock
flock -w 900 9 || { echo '##kubefab 0 75'; return 75; }
umask 077
log=$(mktemp /run/kubefab-log.XXXXXX) || { echo '##kubefab 0 1'; return 1; }
umask 022
(
set -eo pipefail
K=0
trap 'echo "##kubefab $K $?" >"$log.end"' EXIT
#--8<-- file 0644 /etc/yum.repos.d/kubefab-kubernetes.repo
mkdir -p /etc/yum.repos.d
(umask 077; cat > /etc/yum.repos.d/.kubefab-kubernetes.repo.kubefab <<'KUBEFAB-END'
[kubefab-kubernetes]
name=Kubernetes
baseurl=https://pkgs.k8s.io/core:/stable:/v1.36/rpm/
enabled=1
gpgcheck=1
gpgkey=file:///etc/pki/rpm-gpg/kubefab-kubernetes
exclude=kubelet kubeadm kubectl cri-tools kubernetes-cni
KUBEFAB-END
)
chmod 0644 /etc/yum.repos.d/.kubefab-kubernetes.repo.kubefab
mv -f /etc/yum.repos.d/.kubefab-kubernetes.repo.kubefab /etc/yum.repos.d/kubefab-kubernetes.repo
#--8<-- file 0644 /etc/yum.repos.d/kubefab-containerd.repo
mkdir -p /etc/yum.repos.d
(umask 077; cat > /etc/yum.repos.d/.kubefab-containerd.repo.kubefab <<'KUBEFAB-END'
[kubefab-containerd]
name=containerd.io
baseurl=https://download.docker.com/linux/centos/$releasever/$basearch/stable
enabled=1
gpgcheck=1
gpgkey=file:///etc/pki/rpm-gpg/kubefab-containerd
exclude=containerd.io
KUBEFAB-END
)
chmod 0644 /etc/yum.repos.d/.kubefab-containerd.repo.kubefab
mv -f /etc/yum.repos.d/.kubefab-containerd.repo.kubefab /etc/yum.repos.d/kubefab-containerd.repo
#--8<-- command 1
K=1
dnf -y --setopt=exit_on_lock=False -q --disablerepo='*' --enablerepo='kubefab-*' --setopt='*.skip_if_unavailable=0' makecache || { rc=$?; rm -f /etc/yum.repos.d/kubefab-kubernetes.repo /etc/yum.repos.d/kubefab-containerd.repo; exit $rc; }
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### cp1 · install.selinux · SELinux permissive, as kubeadm's installation page asks
# kubefab: install.selinux
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
unset all_proxy ALL_PROXY http_proxy HTTP_PROXY https_proxy HTTPS_PROXY no_proxy NO_PROXY
cd /
umask 077
exec 9>>/run/kubefab.lock
chmod 600 /run/kubefab.lock
flock -w 900 9 || { echo '##kubefab 0 75'; return 75; }
umask 077
log=$(mktemp /run/kubefab-log.XXXXXX) || { echo '##kubefab 0 1'; return 1; }
umask 022
(
set -eo pipefail
K=0
trap 'echo "##kubefab $K $?" >"$log.end"' EXIT
#--8<-- command 1
K=1
install -d -m 0700 /var/lib/kubefab
#--8<-- command 2
K=2
if command -v getenforce >/dev/null && [ "$(getenforce)" = Enforcing ]; then echo at once >>/var/lib/kubefab/selinux; setenforce 0; if grep -qx SELINUX=enforcing /etc/selinux/config; then echo file >>/var/lib/kubefab/selinux; sed -i 's/^SELINUX=enforcing$/SELINUX=permissive/' /etc/selinux/config; fi; fi
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### cp1 · install.packages · containerd and Kubernetes 1.36.4
# kubefab: install.packages
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
if [ -e /etc/kubefab/proxy.env ]; then set -a; . /etc/kubefab/proxy.env; set +a; fi
cd /
umask 077
exec 9>>/run/kubefab.lock
chmod 600 /run/kubefab.lock
flock -w 900 9 || { echo '##kubefab 0 75'; return 75; }
umask 077
log=$(mktemp /run/kubefab-log.XXXXXX) || { echo '##kubefab 0 1'; return 1; }
umask 022
(
set -eo pipefail
K=0
trap 'echo "##kubefab $K $?" >"$log.end"' EXIT
#--8<-- command 1
K=1
install -d -m 0700 /var/lib/kubefab
#--8<-- command 2
K=2
[ -e /var/lib/kubefab-packages ] || { { rpm -q --qf '%{NAME} %{VERSION}-%{RELEASE} ii\n' containerd.io kubelet kubeadm kubectl kubernetes-cni cri-tools 2>/dev/null | grep ' ii$' || true; [ -e /etc/containerd/config.toml ] || echo 'none /etc/containerd/config.toml'; [ -e /etc/crictl.yaml ] || echo 'none /etc/crictl.yaml'; [ -e /etc/default/kubelet ] || echo 'none /etc/default/kubelet'; [ -e /etc/sysconfig/kubelet ] || echo 'none /etc/sysconfig/kubelet'; } >/var/lib/kubefab-packages.part; mv -f /var/lib/kubefab-packages.part /var/lib/kubefab-packages; }
#--8<-- command 3
K=3
[ -e /var/lib/kubefab/units ] || { for u in containerd kubelet; do echo "$u $(systemctl is-enabled $u 2>/dev/null) $(systemctl is-active $u 2>/dev/null)"; done >/var/lib/kubefab/units.part; mv -f /var/lib/kubefab/units.part /var/lib/kubefab/units; }
#--8<-- command 4
K=4
install -d -m 0700 /var/lib/kubefab /var/lib/kubefab/kept; if ! { [ -e /var/lib/kubefab/kept/was/etc/containerd/config.toml ] || [ -L /var/lib/kubefab/kept/was/etc/containerd/config.toml ] || [ -e /var/lib/kubefab/kept/none/etc/containerd/config.toml ]; }; then mkdir -p /var/lib/kubefab/kept/was/etc/containerd /var/lib/kubefab/kept/none/etc/containerd /var/lib/kubefab/kept/stock/etc/containerd /var/lib/kubefab/kept/ours/etc/containerd; [ -d /etc/containerd ] || echo /etc/containerd >>/var/lib/kubefab/kept/folders; grep -qxF /etc/containerd/config.toml /var/lib/kubefab/kept/index 2>/dev/null || echo /etc/containerd/config.toml >>/var/lib/kubefab/kept/index; if { [ -e /etc/containerd/config.toml ] || [ -L /etc/containerd/config.toml ]; } && ! { head -n 1 /etc/containerd/config.toml 2>/dev/null | grep -qxF '# Written by kubefab; changes here are overwritten.'; } && ! grep -qxF 'none /etc/containerd/config.toml' /var/lib/kubefab-packages 2>/dev/null; then cp -a --remove-destination -- /etc/containerd/config.toml /var/lib/kubefab/kept/was/etc/containerd/config.toml.part; sync /var/lib/kubefab/kept/was/etc/containerd/config.toml.part || true; mv -f -- /var/lib/kubefab/kept/was/etc/containerd/config.toml.part /var/lib/kubefab/kept/was/etc/containerd/config.toml; else touch /var/lib/kubefab/kept/none/etc/containerd/config.toml; fi; fi
#--8<-- command 5
K=5
install -d -m 0700 /var/lib/kubefab /var/lib/kubefab/kept; if ! { [ -e /var/lib/kubefab/kept/was/etc/crictl.yaml ] || [ -L /var/lib/kubefab/kept/was/etc/crictl.yaml ] || [ -e /var/lib/kubefab/kept/none/etc/crictl.yaml ]; }; then mkdir -p /var/lib/kubefab/kept/was/etc /var/lib/kubefab/kept/none/etc /var/lib/kubefab/kept/stock/etc /var/lib/kubefab/kept/ours/etc; grep -qxF /etc/crictl.yaml /var/lib/kubefab/kept/index 2>/dev/null || echo /etc/crictl.yaml >>/var/lib/kubefab/kept/index; if { [ -e /etc/crictl.yaml ] || [ -L /etc/crictl.yaml ]; } && ! { head -n 1 /etc/crictl.yaml 2>/dev/null | grep -qxF '# Written by kubefab; changes here are overwritten.'; } && ! grep -qxF 'none /etc/crictl.yaml' /var/lib/kubefab-packages 2>/dev/null; then cp -a --remove-destination -- /etc/crictl.yaml /var/lib/kubefab/kept/was/etc/crictl.yaml.part; sync /var/lib/kubefab/kept/was/etc/crictl.yaml.part || true; mv -f -- /var/lib/kubefab/kept/was/etc/crictl.yaml.part /var/lib/kubefab/kept/was/etc/crictl.yaml; else touch /var/lib/kubefab/kept/none/etc/crictl.yaml; fi; fi
#--8<-- command 6
K=6
install -d -m 0700 /var/lib/kubefab /var/lib/kubefab/kept; if ! { [ -e /var/lib/kubefab/kept/was/etc/default/kubelet ] || [ -L /var/lib/kubefab/kept/was/etc/default/kubelet ] || [ -e /var/lib/kubefab/kept/none/etc/default/kubelet ]; }; then mkdir -p /var/lib/kubefab/kept/was/etc/default /var/lib/kubefab/kept/none/etc/default /var/lib/kubefab/kept/stock/etc/default /var/lib/kubefab/kept/ours/etc/default; [ -d /etc/default ] || echo /etc/default >>/var/lib/kubefab/kept/folders; grep -qxF /etc/default/kubelet /var/lib/kubefab/kept/index 2>/dev/null || echo /etc/default/kubelet >>/var/lib/kubefab/kept/index; if { [ -e /etc/default/kubelet ] || [ -L /etc/default/kubelet ]; } && ! { head -n 1 /etc/default/kubelet 2>/dev/null | grep -qxF '# Written by kubefab; changes here are overwritten.'; } && ! grep -qxF 'none /etc/default/kubelet' /var/lib/kubefab-packages 2>/dev/null; then cp -a --remove-destination -- /etc/default/kubelet /var/lib/kubefab/kept/was/etc/default/kubelet.part; sync /var/lib/kubefab/kept/was/etc/default/kubelet.part || true; mv -f -- /var/lib/kubefab/kept/was/etc/default/kubelet.part /var/lib/kubefab/kept/was/etc/default/kubelet; else touch /var/lib/kubefab/kept/none/etc/default/kubelet; fi; fi
#--8<-- command 7
K=7
install -d -m 0700 /var/lib/kubefab /var/lib/kubefab/kept; if ! { [ -e /var/lib/kubefab/kept/was/etc/sysconfig/kubelet ] || [ -L /var/lib/kubefab/kept/was/etc/sysconfig/kubelet ] || [ -e /var/lib/kubefab/kept/none/etc/sysconfig/kubelet ]; }; then mkdir -p /var/lib/kubefab/kept/was/etc/sysconfig /var/lib/kubefab/kept/none/etc/sysconfig /var/lib/kubefab/kept/stock/etc/sysconfig /var/lib/kubefab/kept/ours/etc/sysconfig; [ -d /etc/sysconfig ] || echo /etc/sysconfig >>/var/lib/kubefab/kept/folders; grep -qxF /etc/sysconfig/kubelet /var/lib/kubefab/kept/index 2>/dev/null || echo /etc/sysconfig/kubelet >>/var/lib/kubefab/kept/index; if { [ -e /etc/sysconfig/kubelet ] || [ -L /etc/sysconfig/kubelet ]; } && ! { head -n 1 /etc/sysconfig/kubelet 2>/dev/null | grep -qxF '# Written by kubefab; changes here are overwritten.'; } && ! grep -qxF 'none /etc/sysconfig/kubelet' /var/lib/kubefab-packages 2>/dev/null; then cp -a --remove-destination -- /etc/sysconfig/kubelet /var/lib/kubefab/kept/was/etc/sysconfig/kubelet.part; sync /var/lib/kubefab/kept/was/etc/sysconfig/kubelet.part || true; mv -f -- /var/lib/kubefab/kept/was/etc/sysconfig/kubelet.part /var/lib/kubefab/kept/was/etc/sysconfig/kubelet; else touch /var/lib/kubefab/kept/none/etc/sysconfig/kubelet; fi; fi
#--8<-- command 8
K=8
dnf -y --setopt=exit_on_lock=False --setopt='*.skip_if_unavailable=1' --disableexcludes=kubefab-kubernetes,kubefab-containerd install containerd.io kubelet-1.36.4 kubeadm-1.36.4 kubectl-1.36.4 kubernetes-cni cri-tools iproute-tc iptables
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### cp1 · install.containerd · containerd configured and running
# kubefab: install.containerd
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
unset all_proxy ALL_PROXY http_proxy HTTP_PROXY https_proxy HTTPS_PROXY no_proxy NO_PROXY
cd /
umask 077
exec 9>>/run/kubefab.lock
chmod 600 /run/kubefab.lock
flock -w 900 9 || { echo '##kubefab 0 75'; return 75; }
umask 077
log=$(mktemp /run/kubefab-log.XXXXXX) || { echo '##kubefab 0 1'; return 1; }
umask 022
(
set -eo pipefail
K=0
trap 'echo "##kubefab $K $?" >"$log.end"' EXIT
#--8<-- keep /etc/containerd/config.toml
install -d -m 0700 /var/lib/kubefab /var/lib/kubefab/kept; if ! { [ -e /var/lib/kubefab/kept/was/etc/containerd/config.toml ] || [ -L /var/lib/kubefab/kept/was/etc/containerd/config.toml ] || [ -e /var/lib/kubefab/kept/none/etc/containerd/config.toml ]; }; then mkdir -p /var/lib/kubefab/kept/was/etc/containerd /var/lib/kubefab/kept/none/etc/containerd /var/lib/kubefab/kept/stock/etc/containerd /var/lib/kubefab/kept/ours/etc/containerd; [ -d /etc/containerd ] || echo /etc/containerd >>/var/lib/kubefab/kept/folders; grep -qxF /etc/containerd/config.toml /var/lib/kubefab/kept/index 2>/dev/null || echo /etc/containerd/config.toml >>/var/lib/kubefab/kept/index; if { [ -e /etc/containerd/config.toml ] || [ -L /etc/containerd/config.toml ]; } && ! { head -n 1 /etc/containerd/config.toml 2>/dev/null | grep -qxF '# Written by kubefab; changes here are overwritten.'; } && ! grep -qxF 'none /etc/containerd/config.toml' /var/lib/kubefab-packages 2>/dev/null; then cp -a --remove-destination -- /etc/containerd/config.toml /var/lib/kubefab/kept/was/etc/containerd/config.toml.part; sync /var/lib/kubefab/kept/was/etc/containerd/config.toml.part || true; mv -f -- /var/lib/kubefab/kept/was/etc/containerd/config.toml.part /var/lib/kubefab/kept/was/etc/containerd/config.toml; else touch /var/lib/kubefab/kept/none/etc/containerd/config.toml; fi; fi; if [ -f /etc/containerd/config.toml ] && ! grep -qxF "$(sha256sum /etc/containerd/config.toml | cut -d' ' -f1)" /var/lib/kubefab/kept/ours/etc/containerd/config.toml 2>/dev/null && ! cmp -s /var/lib/kubefab/kept/was/etc/containerd/config.toml /etc/containerd/config.toml; then if [ -e /var/lib/kubefab/kept/none/etc/containerd/config.toml ]; then if [ -e /var/lib/kubefab/kept/ours/etc/containerd/config.toml ] || ! { head -n 1 /etc/containerd/config.toml 2>/dev/null | grep -qxF '# Written by kubefab; changes here are overwritten.'; }; then cp -a --remove-destination -- /etc/containerd/config.toml /var/lib/kubefab/kept/stock/etc/containerd/config.toml.part; sync /var/lib/kubefab/kept/stock/etc/containerd/config.toml.part || true; mv -f -- /var/lib/kubefab/kept/stock/etc/containerd/config.toml.part /var/lib/kubefab/kept/stock/etc/containerd/config.toml; fi; elif [ -e /var/lib/kubefab/kept/ours/etc/containerd/config.toml ]; then cp -a --remove-destination -- /etc/containerd/config.toml /etc/containerd/config.toml.kubefab-edited; fi; fi; grep -qxF 68797474b945de03558c4d709b5cf423c1985adfbeef3b3e173de1b0784d30a3 /var/lib/kubefab/kept/ours/etc/containerd/config.toml 2>/dev/null || echo 68797474b945de03558c4d709b5cf423c1985adfbeef3b3e173de1b0784d30a3 >>/var/lib/kubefab/kept/ours/etc/containerd/config.toml
#--8<-- file 0644 /etc/containerd/config.toml
mkdir -p /etc/containerd
(umask 077; cat > /etc/containerd/.config.toml.kubefab <<'KUBEFAB-END'
# Written by kubefab; changes here are overwritten.
version = 3

[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "registry.k8s.io/pause:3.10.2"

[plugins."io.containerd.cri.v1.images".registry]
config_path = "/etc/containerd/certs.d"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
SystemdCgroup = true

[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = [
    "/opt/cni/bin",
]
conf_dir = "/etc/cni/net.d"
KUBEFAB-END
)
chmod 0644 /etc/containerd/.config.toml.kubefab
mv -f /etc/containerd/.config.toml.kubefab /etc/containerd/config.toml
#--8<-- keep /etc/crictl.yaml
install -d -m 0700 /var/lib/kubefab /var/lib/kubefab/kept; if ! { [ -e /var/lib/kubefab/kept/was/etc/crictl.yaml ] || [ -L /var/lib/kubefab/kept/was/etc/crictl.yaml ] || [ -e /var/lib/kubefab/kept/none/etc/crictl.yaml ]; }; then mkdir -p /var/lib/kubefab/kept/was/etc /var/lib/kubefab/kept/none/etc /var/lib/kubefab/kept/stock/etc /var/lib/kubefab/kept/ours/etc; grep -qxF /etc/crictl.yaml /var/lib/kubefab/kept/index 2>/dev/null || echo /etc/crictl.yaml >>/var/lib/kubefab/kept/index; if { [ -e /etc/crictl.yaml ] || [ -L /etc/crictl.yaml ]; } && ! { head -n 1 /etc/crictl.yaml 2>/dev/null | grep -qxF '# Written by kubefab; changes here are overwritten.'; } && ! grep -qxF 'none /etc/crictl.yaml' /var/lib/kubefab-packages 2>/dev/null; then cp -a --remove-destination -- /etc/crictl.yaml /var/lib/kubefab/kept/was/etc/crictl.yaml.part; sync /var/lib/kubefab/kept/was/etc/crictl.yaml.part || true; mv -f -- /var/lib/kubefab/kept/was/etc/crictl.yaml.part /var/lib/kubefab/kept/was/etc/crictl.yaml; else touch /var/lib/kubefab/kept/none/etc/crictl.yaml; fi; fi; if [ -f /etc/crictl.yaml ] && ! grep -qxF "$(sha256sum /etc/crictl.yaml | cut -d' ' -f1)" /var/lib/kubefab/kept/ours/etc/crictl.yaml 2>/dev/null && ! cmp -s /var/lib/kubefab/kept/was/etc/crictl.yaml /etc/crictl.yaml; then if [ -e /var/lib/kubefab/kept/none/etc/crictl.yaml ]; then if [ -e /var/lib/kubefab/kept/ours/etc/crictl.yaml ] || ! { head -n 1 /etc/crictl.yaml 2>/dev/null | grep -qxF '# Written by kubefab; changes here are overwritten.'; }; then cp -a --remove-destination -- /etc/crictl.yaml /var/lib/kubefab/kept/stock/etc/crictl.yaml.part; sync /var/lib/kubefab/kept/stock/etc/crictl.yaml.part || true; mv -f -- /var/lib/kubefab/kept/stock/etc/crictl.yaml.part /var/lib/kubefab/kept/stock/etc/crictl.yaml; fi; elif [ -e /var/lib/kubefab/kept/ours/etc/crictl.yaml ]; then cp -a --remove-destination -- /etc/crictl.yaml /etc/crictl.yaml.kubefab-edited; fi; fi; grep -qxF ad526395cca4db1e3ea166ddabbba23707829b104215d122f05f8e582cef9050 /var/lib/kubefab/kept/ours/etc/crictl.yaml 2>/dev/null || echo ad526395cca4db1e3ea166ddabbba23707829b104215d122f05f8e582cef9050 >>/var/lib/kubefab/kept/ours/etc/crictl.yaml
#--8<-- file 0644 /etc/crictl.yaml
mkdir -p /etc
(umask 077; cat > /etc/.crictl.yaml.kubefab <<'KUBEFAB-END'
runtime-endpoint: unix:///run/containerd/containerd.sock
image-endpoint: unix:///run/containerd/containerd.sock
timeout: 10
KUBEFAB-END
)
chmod 0644 /etc/.crictl.yaml.kubefab
mv -f /etc/.crictl.yaml.kubefab /etc/crictl.yaml
#--8<-- command 1
K=1
systemctl is-enabled --quiet containerd || systemctl enable containerd
#--8<-- command 2
K=2
systemctl restart containerd
#--8<-- command 3
K=3
crictl info >/dev/null
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### cp1 · install.kubelet · kubelet starts at boot
# kubefab: install.kubelet
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
unset all_proxy ALL_PROXY http_proxy HTTP_PROXY https_proxy HTTPS_PROXY no_proxy NO_PROXY
cd /
umask 077
exec 9>>/run/kubefab.lock
chmod 600 /run/kubefab.lock
flock -w 900 9 || { echo '##kubefab 0 75'; return 75; }
umask 077
log=$(mktemp /run/kubefab-log.XXXXXX) || { echo '##kubefab 0 1'; return 1; }
umask 022
(
set -eo pipefail
K=0
trap 'echo "##kubefab $K $?" >"$log.end"' EXIT
#--8<-- command 1
K=1
systemctl is-enabled --quiet kubelet || systemctl enable kubelet
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### w1 · install.keys · the keys of the package repositories
# kubefab: install.keys
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
if [ -e /etc/kubefab/proxy.env ]; then set -a; . /etc/kubefab/proxy.env; set +a; fi
cd /
umask 077
exec 9>>/run/kubefab.lock
chmod 600 /run/kubefab.lock
flock -w 900 9 || { echo '##kubefab 0 75'; return 75; }
umask 077
log=$(mktemp /run/kubefab-log.XXXXXX) || { echo '##kubefab 0 1'; return 1; }
umask 022
(
set -eo pipefail
K=0
trap 'echo "##kubefab $K $?" >"$log.end"' EXIT
#--8<-- command 1
K=1
install -d -m 0755 /etc/pki/rpm-gpg
#--8<-- command 2
K=2
home=$(mktemp -d) && key=$home/key
#--8<-- command 3
K=3
curl -fsSL --retry 3 --connect-timeout 10 -o "$key" https://pkgs.k8s.io/core:/stable:/v1.36/rpm/repodata/repomd.xml.key || { echo 'cannot fetch https://pkgs.k8s.io/core:/stable:/v1.36/rpm/repodata/repomd.xml.key'; exit 22; }
#--8<-- command 4
K=4
gpg --homedir "$home" --quiet --batch --no-autostart --import "$key" 2>/dev/null || true
#--8<-- command 5
K=5
own=$(gpg --homedir "$home" --quiet --batch --no-autostart --with-colons --list-keys 2>/dev/null | sed -n '/^pub:/,/^fpr:/p' | sed -n 's/^fpr:.*:\([0-9A-F]*\):$/\1/p' | grep -xE 'DE15B14486CD377B9E876E1A234654DA9A296436') || { echo 'the key at https://pkgs.k8s.io/core:/stable:/v1.36/rpm/repodata/repomd.xml.key has not the fingerprint DE15B14486CD377B9E876E1A234654DA9A296436'; exit 65; }
#--8<-- command 6
K=6
gpg --homedir "$home" --quiet --batch --no-autostart --armor -o "$home/trusted" --export $own
#--8<-- command 7
K=7
install -m 0644 "$home/trusted" /etc/pki/rpm-gpg/kubefab-kubernetes
#--8<-- command 8
K=8
rm -rf "$home"
#--8<-- command 9
K=9
home=$(mktemp -d) && key=$home/key
#--8<-- command 10
K=10
curl -fsSL --retry 3 --connect-timeout 10 -o "$key" https://download.docker.com/linux/centos/gpg || { echo 'cannot fetch https://download.docker.com/linux/centos/gpg'; exit 22; }
#--8<-- command 11
K=11
gpg --homedir "$home" --quiet --batch --no-autostart --import "$key" 2>/dev/null || true
#--8<-- command 12
K=12
own=$(gpg --homedir "$home" --quiet --batch --no-autostart --with-colons --list-keys 2>/dev/null | sed -n '/^pub:/,/^fpr:/p' | sed -n 's/^fpr:.*:\([0-9A-F]*\):$/\1/p' | grep -xE '9DC858229FC7DD38854AE2D88D81803C0EBFCD88|060A61C51B558A7F742B77AAC52FEB6B621E9F35') || { echo 'the key at https://download.docker.com/linux/centos/gpg has not the fingerprint 9DC858229FC7DD38854AE2D88D81803C0EBFCD88 or 060A61C51B558A7F742B77AAC52FEB6B621E9F35'; exit 65; }
#--8<-- command 13
K=13
gpg --homedir "$home" --quiet --batch --no-autostart --armor -o "$home/trusted" --export $own
#--8<-- command 14
K=14
install -m 0644 "$home/trusted" /etc/pki/rpm-gpg/kubefab-containerd
#--8<-- command 15
K=15
rm -rf "$home"
#--8<-- command 16
K=16
rpm -e --allmatches gpg-pubkey-9a296436 2>/dev/null || true
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### w1 · install.repository · package repositories
# kubefab: install.repository
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
if [ -e /etc/kubefab/proxy.env ]; then set -a; . /etc/kubefab/proxy.env; set +a; fi
cd /
umask 077
exec 9>>/run/kubefab.lock
chmod 600 /run/kubefab.lock
flock -w 900 9 || { echo '##kubefab 0 75'; return 75; }
umask 077
log=$(mktemp /run/kubefab-log.XXXXXX) || { echo '##kubefab 0 1'; return 1; }
umask 022
(
set -eo pipefail
K=0
trap 'echo "##kubefab $K $?" >"$log.end"' EXIT
#--8<-- file 0644 /etc/yum.repos.d/kubefab-kubernetes.repo
mkdir -p /etc/yum.repos.d
(umask 077; cat > /etc/yum.repos.d/.kubefab-kubernetes.repo.kubefab <<'KUBEFAB-END'
[kubefab-kubernetes]
name=Kubernetes
baseurl=https://pkgs.k8s.io/core:/stable:/v1.36/rpm/
enabled=1
gpgcheck=1
gpgkey=file:///etc/pki/rpm-gpg/kubefab-kubernetes
exclude=kubelet kubeadm kubectl cri-tools kubernetes-cni
KUBEFAB-END
)
chmod 0644 /etc/yum.repos.d/.kubefab-kubernetes.repo.kubefab
mv -f /etc/yum.repos.d/.kubefab-kubernetes.repo.kubefab /etc/yum.repos.d/kubefab-kubernetes.repo
#--8<-- file 0644 /etc/yum.repos.d/kubefab-containerd.repo
mkdir -p /etc/yum.repos.d
(umask 077; cat > /etc/yum.repos.d/.kubefab-containerd.repo.kubefab <<'KUBEFAB-END'
[kubefab-containerd]
name=containerd.io
baseurl=https://download.docker.com/linux/centos/$releasever/$basearch/stable
enabled=1
gpgcheck=1
gpgkey=file:///etc/pki/rpm-gpg/kubefab-containerd
exclude=containerd.io
KUBEFAB-END
)
chmod 0644 /etc/yum.repos.d/.kubefab-containerd.repo.kubefab
mv -f /etc/yum.repos.d/.kubefab-containerd.repo.kubefab /etc/yum.repos.d/kubefab-containerd.repo
#--8<-- command 1
K=1
dnf -y --setopt=exit_on_lock=False -q --disablerepo='*' --enablerepo='kubefab-*' --setopt='*.skip_if_unavailable=0' makecache || { rc=$?; rm -f /etc/yum.repos.d/kubefab-kubernetes.repo /etc/yum.repos.d/kubefab-containerd.repo; exit $rc; }
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### w1 · install.selinux · SELinux permissive, as kubeadm's installation page asks
# kubefab: install.selinux
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
unset all_proxy ALL_PROXY http_proxy HTTP_PROXY https_proxy HTTPS_PROXY no_proxy NO_PROXY
cd /
umask 077
exec 9>>/run/kubefab.lock
chmod 600 /run/kubefab.lock
flock -w 900 9 || { echo '##kubefab 0 75'; return 75; }
umask 077
log=$(mktemp /run/kubefab-log.XXXXXX) || { echo '##kubefab 0 1'; return 1; }
umask 022
(
set -eo pipefail
K=0
trap 'echo "##kubefab $K $?" >"$log.end"' EXIT
#--8<-- command 1
K=1
install -d -m 0700 /var/lib/kubefab
#--8<-- command 2
K=2
if command -v getenforce >/dev/null && [ "$(getenforce)" = Enforcing ]; then echo at once >>/var/lib/kubefab/selinux; setenforce 0; if grep -qx SELINUX=enforcing /etc/selinux/config; then echo file >>/var/lib/kubefab/selinux; sed -i 's/^SELINUX=enforcing$/SELINUX=permissive/' /etc/selinux/config; fi; fi
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### w1 · install.packages · containerd and Kubernetes 1.36.4
# kubefab: install.packages
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
if [ -e /etc/kubefab/proxy.env ]; then set -a; . /etc/kubefab/proxy.env; set +a; fi
cd /
umask 077
exec 9>>/run/kubefab.lock
chmod 600 /run/kubefab.lock
flock -w 900 9 || { echo '##kubefab 0 75'; return 75; }
umask 077
log=$(mktemp /run/kubefab-log.XXXXXX) || { echo '##kubefab 0 1'; return 1; }
umask 022
(
set -eo pipefail
K=0
trap 'echo "##kubefab $K $?" >"$log.end"' EXIT
#--8<-- command 1
K=1
install -d -m 0700 /var/lib/kubefab
#--8<-- command 2
K=2
[ -e /var/lib/kubefab-packages ] || { { rpm -q --qf '%{NAME} %{VERSION}-%{RELEASE} ii\n' containerd.io kubelet kubeadm kubectl kubernetes-cni cri-tools 2>/dev/null | grep ' ii$' || true; [ -e /etc/containerd/config.toml ] || echo 'none /etc/containerd/config.toml'; [ -e /etc/crictl.yaml ] || echo 'none /etc/crictl.yaml'; [ -e /etc/default/kubelet ] || echo 'none /etc/default/kubelet'; [ -e /etc/sysconfig/kubelet ] || echo 'none /etc/sysconfig/kubelet'; } >/var/lib/kubefab-packages.part; mv -f /var/lib/kubefab-packages.part /var/lib/kubefab-packages; }
#--8<-- command 3
K=3
[ -e /var/lib/kubefab/units ] || { for u in containerd kubelet; do echo "$u $(systemctl is-enabled $u 2>/dev/null) $(systemctl is-active $u 2>/dev/null)"; done >/var/lib/kubefab/units.part; mv -f /var/lib/kubefab/units.part /var/lib/kubefab/units; }
#--8<-- command 4
K=4
install -d -m 0700 /var/lib/kubefab /var/lib/kubefab/kept; if ! { [ -e /var/lib/kubefab/kept/was/etc/containerd/config.toml ] || [ -L /var/lib/kubefab/kept/was/etc/containerd/config.toml ] || [ -e /var/lib/kubefab/kept/none/etc/containerd/config.toml ]; }; then mkdir -p /var/lib/kubefab/kept/was/etc/containerd /var/lib/kubefab/kept/none/etc/containerd /var/lib/kubefab/kept/stock/etc/containerd /var/lib/kubefab/kept/ours/etc/containerd; [ -d /etc/containerd ] || echo /etc/containerd >>/var/lib/kubefab/kept/folders; grep -qxF /etc/containerd/config.toml /var/lib/kubefab/kept/index 2>/dev/null || echo /etc/containerd/config.toml >>/var/lib/kubefab/kept/index; if { [ -e /etc/containerd/config.toml ] || [ -L /etc/containerd/config.toml ]; } && ! { head -n 1 /etc/containerd/config.toml 2>/dev/null | grep -qxF '# Written by kubefab; changes here are overwritten.'; } && ! grep -qxF 'none /etc/containerd/config.toml' /var/lib/kubefab-packages 2>/dev/null; then cp -a --remove-destination -- /etc/containerd/config.toml /var/lib/kubefab/kept/was/etc/containerd/config.toml.part; sync /var/lib/kubefab/kept/was/etc/containerd/config.toml.part || true; mv -f -- /var/lib/kubefab/kept/was/etc/containerd/config.toml.part /var/lib/kubefab/kept/was/etc/containerd/config.toml; else touch /var/lib/kubefab/kept/none/etc/containerd/config.toml; fi; fi
#--8<-- command 5
K=5
install -d -m 0700 /var/lib/kubefab /var/lib/kubefab/kept; if ! { [ -e /var/lib/kubefab/kept/was/etc/crictl.yaml ] || [ -L /var/lib/kubefab/kept/was/etc/crictl.yaml ] || [ -e /var/lib/kubefab/kept/none/etc/crictl.yaml ]; }; then mkdir -p /var/lib/kubefab/kept/was/etc /var/lib/kubefab/kept/none/etc /var/lib/kubefab/kept/stock/etc /var/lib/kubefab/kept/ours/etc; grep -qxF /etc/crictl.yaml /var/lib/kubefab/kept/index 2>/dev/null || echo /etc/crictl.yaml >>/var/lib/kubefab/kept/index; if { [ -e /etc/crictl.yaml ] || [ -L /etc/crictl.yaml ]; } && ! { head -n 1 /etc/crictl.yaml 2>/dev/null | grep -qxF '# Written by kubefab; changes here are overwritten.'; } && ! grep -qxF 'none /etc/crictl.yaml' /var/lib/kubefab-packages 2>/dev/null; then cp -a --remove-destination -- /etc/crictl.yaml /var/lib/kubefab/kept/was/etc/crictl.yaml.part; sync /var/lib/kubefab/kept/was/etc/crictl.yaml.part || true; mv -f -- /var/lib/kubefab/kept/was/etc/crictl.yaml.part /var/lib/kubefab/kept/was/etc/crictl.yaml; else touch /var/lib/kubefab/kept/none/etc/crictl.yaml; fi; fi
#--8<-- command 6
K=6
install -d -m 0700 /var/lib/kubefab /var/lib/kubefab/kept; if ! { [ -e /var/lib/kubefab/kept/was/etc/default/kubelet ] || [ -L /var/lib/kubefab/kept/was/etc/default/kubelet ] || [ -e /var/lib/kubefab/kept/none/etc/default/kubelet ]; }; then mkdir -p /var/lib/kubefab/kept/was/etc/default /var/lib/kubefab/kept/none/etc/default /var/lib/kubefab/kept/stock/etc/default /var/lib/kubefab/kept/ours/etc/default; [ -d /etc/default ] || echo /etc/default >>/var/lib/kubefab/kept/folders; grep -qxF /etc/default/kubelet /var/lib/kubefab/kept/index 2>/dev/null || echo /etc/default/kubelet >>/var/lib/kubefab/kept/index; if { [ -e /etc/default/kubelet ] || [ -L /etc/default/kubelet ]; } && ! { head -n 1 /etc/default/kubelet 2>/dev/null | grep -qxF '# Written by kubefab; changes here are overwritten.'; } && ! grep -qxF 'none /etc/default/kubelet' /var/lib/kubefab-packages 2>/dev/null; then cp -a --remove-destination -- /etc/default/kubelet /var/lib/kubefab/kept/was/etc/default/kubelet.part; sync /var/lib/kubefab/kept/was/etc/default/kubelet.part || true; mv -f -- /var/lib/kubefab/kept/was/etc/default/kubelet.part /var/lib/kubefab/kept/was/etc/default/kubelet; else touch /var/lib/kubefab/kept/none/etc/default/kubelet; fi; fi
#--8<-- command 7
K=7
install -d -m 0700 /var/lib/kubefab /var/lib/kubefab/kept; if ! { [ -e /var/lib/kubefab/kept/was/etc/sysconfig/kubelet ] || [ -L /var/lib/kubefab/kept/was/etc/sysconfig/kubelet ] || [ -e /var/lib/kubefab/kept/none/etc/sysconfig/kubelet ]; }; then mkdir -p /var/lib/kubefab/kept/was/etc/sysconfig /var/lib/kubefab/kept/none/etc/sysconfig /var/lib/kubefab/kept/stock/etc/sysconfig /var/lib/kubefab/kept/ours/etc/sysconfig; [ -d /etc/sysconfig ] || echo /etc/sysconfig >>/var/lib/kubefab/kept/folders; grep -qxF /etc/sysconfig/kubelet /var/lib/kubefab/kept/index 2>/dev/null || echo /etc/sysconfig/kubelet >>/var/lib/kubefab/kept/index; if { [ -e /etc/sysconfig/kubelet ] || [ -L /etc/sysconfig/kubelet ]; } && ! { head -n 1 /etc/sysconfig/kubelet 2>/dev/null | grep -qxF '# Written by kubefab; changes here are overwritten.'; } && ! grep -qxF 'none /etc/sysconfig/kubelet' /var/lib/kubefab-packages 2>/dev/null; then cp -a --remove-destination -- /etc/sysconfig/kubelet /var/lib/kubefab/kept/was/etc/sysconfig/kubelet.part; sync /var/lib/kubefab/kept/was/etc/sysconfig/kubelet.part || true; mv -f -- /var/lib/kubefab/kept/was/etc/sysconfig/kubelet.part /var/lib/kubefab/kept/was/etc/sysconfig/kubelet; else touch /var/lib/kubefab/kept/none/etc/sysconfig/kubelet; fi; fi
#--8<-- command 8
K=8
dnf -y --setopt=exit_on_lock=False --setopt='*.skip_if_unavailable=1' --disableexcludes=kubefab-kubernetes,kubefab-containerd install containerd.io kubelet-1.36.4 kubeadm-1.36.4 kubectl-1.36.4 kubernetes-cni cri-tools iproute-tc iptables
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### w1 · install.containerd · containerd configured and running
# kubefab: install.containerd
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
unset all_proxy ALL_PROXY http_proxy HTTP_PROXY https_proxy HTTPS_PROXY no_proxy NO_PROXY
cd /
umask 077
exec 9>>/run/kubefab.lock
chmod 600 /run/kubefab.lock
flock -w 900 9 || { echo '##kubefab 0 75'; return 75; }
umask 077
log=$(mktemp /run/kubefab-log.XXXXXX) || { echo '##kubefab 0 1'; return 1; }
umask 022
(
set -eo pipefail
K=0
trap 'echo "##kubefab $K $?" >"$log.end"' EXIT
#--8<-- keep /etc/containerd/config.toml
install -d -m 0700 /var/lib/kubefab /var/lib/kubefab/kept; if ! { [ -e /var/lib/kubefab/kept/was/etc/containerd/config.toml ] || [ -L /var/lib/kubefab/kept/was/etc/containerd/config.toml ] || [ -e /var/lib/kubefab/kept/none/etc/containerd/config.toml ]; }; then mkdir -p /var/lib/kubefab/kept/was/etc/containerd /var/lib/kubefab/kept/none/etc/containerd /var/lib/kubefab/kept/stock/etc/containerd /var/lib/kubefab/kept/ours/etc/containerd; [ -d /etc/containerd ] || echo /etc/containerd >>/var/lib/kubefab/kept/folders; grep -qxF /etc/containerd/config.toml /var/lib/kubefab/kept/index 2>/dev/null || echo /etc/containerd/config.toml >>/var/lib/kubefab/kept/index; if { [ -e /etc/containerd/config.toml ] || [ -L /etc/containerd/config.toml ]; } && ! { head -n 1 /etc/containerd/config.toml 2>/dev/null | grep -qxF '# Written by kubefab; changes here are overwritten.'; } && ! grep -qxF 'none /etc/containerd/config.toml' /var/lib/kubefab-packages 2>/dev/null; then cp -a --remove-destination -- /etc/containerd/config.toml /var/lib/kubefab/kept/was/etc/containerd/config.toml.part; sync /var/lib/kubefab/kept/was/etc/containerd/config.toml.part || true; mv -f -- /var/lib/kubefab/kept/was/etc/containerd/config.toml.part /var/lib/kubefab/kept/was/etc/containerd/config.toml; else touch /var/lib/kubefab/kept/none/etc/containerd/config.toml; fi; fi; if [ -f /etc/containerd/config.toml ] && ! grep -qxF "$(sha256sum /etc/containerd/config.toml | cut -d' ' -f1)" /var/lib/kubefab/kept/ours/etc/containerd/config.toml 2>/dev/null && ! cmp -s /var/lib/kubefab/kept/was/etc/containerd/config.toml /etc/containerd/config.toml; then if [ -e /var/lib/kubefab/kept/none/etc/containerd/config.toml ]; then if [ -e /var/lib/kubefab/kept/ours/etc/containerd/config.toml ] || ! { head -n 1 /etc/containerd/config.toml 2>/dev/null | grep -qxF '# Written by kubefab; changes here are overwritten.'; }; then cp -a --remove-destination -- /etc/containerd/config.toml /var/lib/kubefab/kept/stock/etc/containerd/config.toml.part; sync /var/lib/kubefab/kept/stock/etc/containerd/config.toml.part || true; mv -f -- /var/lib/kubefab/kept/stock/etc/containerd/config.toml.part /var/lib/kubefab/kept/stock/etc/containerd/config.toml; fi; elif [ -e /var/lib/kubefab/kept/ours/etc/containerd/config.toml ]; then cp -a --remove-destination -- /etc/containerd/config.toml /etc/containerd/config.toml.kubefab-edited; fi; fi; grep -qxF 68797474b945de03558c4d709b5cf423c1985adfbeef3b3e173de1b0784d30a3 /var/lib/kubefab/kept/ours/etc/containerd/config.toml 2>/dev/null || echo 68797474b945de03558c4d709b5cf423c1985adfbeef3b3e173de1b0784d30a3 >>/var/lib/kubefab/kept/ours/etc/containerd/config.toml
#--8<-- file 0644 /etc/containerd/config.toml
mkdir -p /etc/containerd
(umask 077; cat > /etc/containerd/.config.toml.kubefab <<'KUBEFAB-END'
# Written by kubefab; changes here are overwritten.
version = 3

[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "registry.k8s.io/pause:3.10.2"

[plugins."io.containerd.cri.v1.images".registry]
config_path = "/etc/containerd/certs.d"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
SystemdCgroup = true

[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = [
    "/opt/cni/bin",
]
conf_dir = "/etc/cni/net.d"
KUBEFAB-END
)
chmod 0644 /etc/containerd/.config.toml.kubefab
mv -f /etc/containerd/.config.toml.kubefab /etc/containerd/config.toml
#--8<-- keep /etc/crictl.yaml
install -d -m 0700 /var/lib/kubefab /var/lib/kubefab/kept; if ! { [ -e /var/lib/kubefab/kept/was/etc/crictl.yaml ] || [ -L /var/lib/kubefab/kept/was/etc/crictl.yaml ] || [ -e /var/lib/kubefab/kept/none/etc/crictl.yaml ]; }; then mkdir -p /var/lib/kubefab/kept/was/etc /var/lib/kubefab/kept/none/etc /var/lib/kubefab/kept/stock/etc /var/lib/kubefab/kept/ours/etc; grep -qxF /etc/crictl.yaml /var/lib/kubefab/kept/index 2>/dev/null || echo /etc/crictl.yaml >>/var/lib/kubefab/kept/index; if { [ -e /etc/crictl.yaml ] || [ -L /etc/crictl.yaml ]; } && ! { head -n 1 /etc/crictl.yaml 2>/dev/null | grep -qxF '# Written by kubefab; changes here are overwritten.'; } && ! grep -qxF 'none /etc/crictl.yaml' /var/lib/kubefab-packages 2>/dev/null; then cp -a --remove-destination -- /etc/crictl.yaml /var/lib/kubefab/kept/was/etc/crictl.yaml.part; sync /var/lib/kubefab/kept/was/etc/crictl.yaml.part || true; mv -f -- /var/lib/kubefab/kept/was/etc/crictl.yaml.part /var/lib/kubefab/kept/was/etc/crictl.yaml; else touch /var/lib/kubefab/kept/none/etc/crictl.yaml; fi; fi; if [ -f /etc/crictl.yaml ] && ! grep -qxF "$(sha256sum /etc/crictl.yaml | cut -d' ' -f1)" /var/lib/kubefab/kept/ours/etc/crictl.yaml 2>/dev/null && ! cmp -s /var/lib/kubefab/kept/was/etc/crictl.yaml /etc/crictl.yaml; then if [ -e /var/lib/kubefab/kept/none/etc/crictl.yaml ]; then if [ -e /var/lib/kubefab/kept/ours/etc/crictl.yaml ] || ! { head -n 1 /etc/crictl.yaml 2>/dev/null | grep -qxF '# Written by kubefab; changes here are overwritten.'; }; then cp -a --remove-destination -- /etc/crictl.yaml /var/lib/kubefab/kept/stock/etc/crictl.yaml.part; sync /var/lib/kubefab/kept/stock/etc/crictl.yaml.part || true; mv -f -- /var/lib/kubefab/kept/stock/etc/crictl.yaml.part /var/lib/kubefab/kept/stock/etc/crictl.yaml; fi; elif [ -e /var/lib/kubefab/kept/ours/etc/crictl.yaml ]; then cp -a --remove-destination -- /etc/crictl.yaml /etc/crictl.yaml.kubefab-edited; fi; fi; grep -qxF ad526395cca4db1e3ea166ddabbba23707829b104215d122f05f8e582cef9050 /var/lib/kubefab/kept/ours/etc/crictl.yaml 2>/dev/null || echo ad526395cca4db1e3ea166ddabbba23707829b104215d122f05f8e582cef9050 >>/var/lib/kubefab/kept/ours/etc/crictl.yaml
#--8<-- file 0644 /etc/crictl.yaml
mkdir -p /etc
(umask 077; cat > /etc/.crictl.yaml.kubefab <<'KUBEFAB-END'
runtime-endpoint: unix:///run/containerd/containerd.sock
image-endpoint: unix:///run/containerd/containerd.sock
timeout: 10
KUBEFAB-END
)
chmod 0644 /etc/.crictl.yaml.kubefab
mv -f /etc/.crictl.yaml.kubefab /etc/crictl.yaml
#--8<-- command 1
K=1
systemctl is-enabled --quiet containerd || systemctl enable containerd
#--8<-- command 2
K=2
systemctl restart containerd
#--8<-- command 3
K=3
crictl info >/dev/null
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### w1 · install.kubelet · kubelet starts at boot
# kubefab: install.kubelet
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
unset all_proxy ALL_PROXY http_proxy HTTP_PROXY https_proxy HTTPS_PROXY no_proxy NO_PROXY
cd /
umask 077
exec 9>>/run/kubefab.lock
chmod 600 /run/kubefab.lock
flock -w 900 9 || { echo '##kubefab 0 75'; return 75; }
umask 077
log=$(mktemp /run/kubefab-log.XXXXXX) || { echo '##kubefab 0 1'; return 1; }
umask 022
(
set -eo pipefail
K=0
trap 'echo "##kubefab $K $?" >"$log.end"' EXIT
#--8<-- command 1
K=1
systemctl is-enabled --quiet kubelet || systemctl enable kubelet
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### cp1 · registry.images · 4 images ahead
# kubefab: registry.images
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
unset all_proxy ALL_PROXY http_proxy HTTP_PROXY https_proxy HTTPS_PROXY no_proxy NO_PROXY
cd /
umask 077
exec 9>>/run/kubefab.lock
chmod 600 /run/kubefab.lock
flock -w 900 9 || { echo '##kubefab 0 75'; return 75; }
umask 077
log=$(mktemp /run/kubefab-log.XXXXXX) || { echo '##kubefab 0 1'; return 1; }
umask 022
(
set -eo pipefail
K=0
trap 'echo "##kubefab $K $?" >"$log.end"' EXIT
#--8<-- command 1
K=1
crictl pull registry.k8s.io/pause:3.10.2
#--8<-- command 2
K=2
crictl pull registry.k8s.io/kube-proxy:v1.36.4
#--8<-- command 3
K=3
crictl pull ghcr.io/flannel-io/flannel:v0.28.9
#--8<-- command 4
K=4
crictl pull ghcr.io/flannel-io/flannel-cni-plugin:v1.9.1-flannel3
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### w1 · registry.images · 6 images ahead
# kubefab: registry.images
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
unset all_proxy ALL_PROXY http_proxy HTTP_PROXY https_proxy HTTPS_PROXY no_proxy NO_PROXY
cd /
umask 077
exec 9>>/run/kubefab.lock
chmod 600 /run/kubefab.lock
flock -w 900 9 || { echo '##kubefab 0 75'; return 75; }
umask 077
log=$(mktemp /run/kubefab-log.XXXXXX) || { echo '##kubefab 0 1'; return 1; }
umask 022
(
set -eo pipefail
K=0
trap 'echo "##kubefab $K $?" >"$log.end"' EXIT
#--8<-- command 1
K=1
crictl pull registry.k8s.io/pause:3.10.2
#--8<-- command 2
K=2
crictl pull registry.k8s.io/kube-proxy:v1.36.4
#--8<-- command 3
K=3
crictl pull ghcr.io/flannel-io/flannel:v0.28.9
#--8<-- command 4
K=4
crictl pull ghcr.io/flannel-io/flannel-cni-plugin:v1.9.1-flannel3
#--8<-- command 5
K=5
crictl pull docker.io/library/telegraf:1.39.3
#--8<-- command 6
K=6
crictl pull ghcr.io/headlamp-k8s/headlamp:v0.45.0
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### cp1 · master.init · kubeadm init 1.36.4
# kubefab: master.init
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
unset all_proxy ALL_PROXY http_proxy HTTP_PROXY https_proxy HTTPS_PROXY no_proxy NO_PROXY
cd /
umask 077
exec 9>>/run/kubefab.lock
chmod 600 /run/kubefab.lock
flock -w 900 9 || { echo '##kubefab 0 75'; return 75; }
umask 077
log=$(mktemp /run/kubefab-log.XXXXXX) || { echo '##kubefab 0 1'; return 1; }
umask 022
(
set -eo pipefail
K=0
trap 'echo "##kubefab $K $?" >"$log.end"' EXIT
#--8<-- file 0600 /run/kubefab-init.yaml
mkdir -p /run
(umask 077; cat > /run/.kubefab-init.yaml.kubefab <<'KUBEFAB-END'
apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
bootstrapTokens:
- token: <minted for each run>
  ttl: 30m0s
  description: kubefab
localAPIEndpoint:
  advertiseAddress: 10.2.0.1
  bindPort: 6443
nodeRegistration:
  name: cp1
  criSocket: unix:///run/containerd/containerd.sock
  kubeletExtraArgs:
  - name: node-ip
    value: 10.2.0.1
  - name: resolv-conf
    value: /etc/resolv.conf
timeouts:
  controlPlaneComponentHealthCheck: 4m0s
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
clusterName: test
kubernetesVersion: v1.36.4
controlPlaneEndpoint: 10.2.0.1:6443
networking:
  podSubnet: 10.44.0.0/16
  serviceSubnet: 10.96.0.0/12
  dnsDomain: cluster.local
apiServer:
  certSANs:
  - 10.2.0.1
  - 192.0.2.1
  - cp1
controllerManager:
  extraArgs:
  - name: kube-api-burst
    value: '100'
  - name: kube-api-qps
    value: '50'
---
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
cgroupDriver: systemd
---
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
KUBEFAB-END
)
chmod 0600 /run/.kubefab-init.yaml.kubefab
mv -f /run/.kubefab-init.yaml.kubefab /run/kubefab-init.yaml
#--8<-- command 1
K=1
install -d -m 0700 /var/lib/kubefab
#--8<-- command 2
K=2
kubeadm init phase preflight --config /run/kubefab-init.yaml || { rc=$?; rm -f /run/kubefab-init.yaml; exit $rc; }
#--8<-- command 3
K=3
touch /var/lib/kubefab/init-started
#--8<-- command 4
K=4
kubeadm init --config /run/kubefab-init.yaml --skip-token-print --skip-phases preflight,show-join-command || { rc=$?; rm -f /run/kubefab-init.yaml; exit $rc; }
#--8<-- command 5
K=5
rm -f /run/kubefab-init.yaml
#--8<-- command 6
K=6
touch /var/lib/kubefab/initialised
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### cp1 · master.api · until: the API answers
# kubefab: master.api
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
unset all_proxy ALL_PROXY http_proxy HTTP_PROXY https_proxy HTTPS_PROXY no_proxy NO_PROXY
cd /
umask 077
log=$(mktemp /run/kubefab-log.XXXXXX) || { echo '##kubefab 0 1'; return 1; }
umask 022
(
set -eo pipefail
K=0
trap 'echo "##kubefab $K $?" >"$log.end"' EXIT
#--8<-- command 1
K=1
kubectl --request-timeout=5s get --raw=/readyz 2>&1 || true
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### cp1 · network.flannel · apply flannel
# kubefab: network.flannel
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
unset all_proxy ALL_PROXY http_proxy HTTP_PROXY https_proxy HTTPS_PROXY no_proxy NO_PROXY
cd /
umask 077
exec 9>>/run/kubefab.lock
chmod 600 /run/kubefab.lock
flock -w 900 9 || { echo '##kubefab 0 75'; return 75; }
umask 077
log=$(mktemp /run/kubefab-log.XXXXXX) || { echo '##kubefab 0 1'; return 1; }
umask 022
(
set -eo pipefail
K=0
trap 'echo "##kubefab $K $?" >"$log.end"' EXIT
#--8<-- file 0600 /var/lib/kubefab/manifests/flannel.yaml
mkdir -p /var/lib/kubefab/manifests
(umask 077; cat > /var/lib/kubefab/manifests/.flannel.yaml.kubefab <<'KUBEFAB-END'
apiVersion: v1
kind: Namespace
metadata:
  name: kube-flannel
  labels:
    pod-security.kubernetes.io/enforce: privileged
    app.kubernetes.io/managed-by: kubefab
---
apiVersion: v1
kind: ServiceAccount
metadata:
  name: flannel
  namespace: kube-flannel
  labels:
    app.kubernetes.io/managed-by: kubefab
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: flannel
  labels:
    app.kubernetes.io/managed-by: kubefab
rules:
- apiGroups:
  - ''
  resources:
  - pods
  verbs:
  - get
- apiGroups:
  - ''
  resources:
  - nodes
  verbs:
  - get
  - list
  - watch
- apiGroups:
  - ''
  resources:
  - nodes/status
  verbs:
  - patch
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: flannel
  labels:
    app.kubernetes.io/managed-by: kubefab
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: flannel
subjects:
- kind: ServiceAccount
  name: flannel
  namespace: kube-flannel
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: kube-flannel-cfg
  namespace: kube-flannel
  labels:
    app.kubernetes.io/managed-by: kubefab
data:
  cni-conf.json: "{\n  \"name\": \"cbr0\",\n  \"cniVersion\": \"0.3.1\",\n  \"plugins\":
    [\n    {\"type\": \"flannel\", \"delegate\": {\"hairpinMode\": true, \"isDefaultGateway\":
    true}},\n    {\"type\": \"portmap\", \"capabilities\": {\"portMappings\": true}}\n
    \ ]\n}\n"
  net-conf.json: "{\n  \"Network\": \"10.44.0.0/16\",\n  \"EnableNFTables\": false,\n
    \ \"Backend\": {\"Type\": \"vxlan\"}\n}\n"
---
apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: kube-flannel-ds
  namespace: kube-flannel
  labels:
    app: flannel
    app.kubernetes.io/managed-by: kubefab
  annotations:
    kubefab.dev/digest: 9b79f9d1f3d5d2b3
spec:
  selector:
    matchLabels:
      app: flannel
  template:
    metadata:
      labels:
        app: flannel
      annotations:
        kubefab.dev/digest: 9b79f9d1f3d5d2b3
    spec:
      affinity:
        nodeAffinity:
          requiredDuringSchedulingIgnoredDuringExecution:
            nodeSelectorTerms:
            - matchExpressions:
              - key: kubernetes.io/os
                operator: In
                values:
                - linux
      hostNetwork: true
      terminationGracePeriodSeconds: 5
      priorityClassName: system-node-critical
      serviceAccountName: flannel
      tolerations:
      - operator: Exists
        effect: NoSchedule
      securityContext:
        seccompProfile:
          type: RuntimeDefault
      initContainers:
      - name: install-cni-plugin
        image: ghcr.io/flannel-io/flannel-cni-plugin:v1.9.1-flannel3
        command:
        - cp
        args:
        - -f
        - /flannel
        - /opt/cni/bin/flannel
        resources:
          requests:
            cpu: 10m
            memory: 16Mi
        securityContext:
          allowPrivilegeEscalation: false
          readOnlyRootFilesystem: true
          capabilities:
            drop:
            - ALL
            add:
            - DAC_OVERRIDE
        volumeMounts:
        - name: cni-plugin
          mountPath: /opt/cni/bin
      containers:
      - name: kube-flannel
        image: ghcr.io/flannel-io/flannel:v0.28.9
        command:
        - /bin/sh
        - -c
        - "while :; do\n  if [ -s /run/flannel/subnet.env ]; then\n    cmp -s /etc/kube-flannel/cni-conf.json
          /etc/cni/net.d/10-flannel.conflist ||\n      cp -f /etc/kube-flannel/cni-conf.json
          /etc/cni/net.d/10-flannel.conflist\n    sleep 5\n  else\n    sleep 0.2\n
          \ fi\ndone &\nexec /opt/bin/flanneld \"$@\"\n"
        - flanneld
        args:
        - --ip-masq
        - --kube-subnet-mgr
        - --iface=$(NODE_IP)
        - --healthz-ip=127.0.0.1
        - --healthz-port=8471
        livenessProbe:
          httpGet:
            host: 127.0.0.1
            path: /healthz
            port: 8471
          initialDelaySeconds: 10
          timeoutSeconds: 5
          failureThreshold: 6
        readinessProbe:
          httpGet:
            host: 127.0.0.1
            path: /healthz
            port: 8471
          timeoutSeconds: 5
          periodSeconds: 2
        resources:
          requests:
            cpu: 100m
            memory: 50Mi
        securityContext:
          privileged: false
          allowPrivilegeEscalation: false
          capabilities:
            drop:
            - ALL
            add:
            - NET_ADMIN
            - NET_RAW
            - DAC_OVERRIDE
        env:
        - name: KUBERNETES_SERVICE_HOST
          value: 10.2.0.1
        - name: KUBERNETES_SERVICE_PORT
          value: '6443'
        - name: NODE_IP
          valueFrom:
            fieldRef:
              fieldPath: status.hostIP
        - name: POD_NAME
          valueFrom:
            fieldRef:
              fieldPath: metadata.name
        - name: POD_NAMESPACE
          valueFrom:
            fieldRef:
              fieldPath: metadata.namespace
        - name: EVENT_QUEUE_DEPTH
          value: '5000'
        - name: CONT_WHEN_CACHE_NOT_READY
          value: 'false'
        volumeMounts:
        - name: cni
          mountPath: /etc/cni/net.d
        - name: run
          mountPath: /run/flannel
        - name: flannel-cfg
          mountPath: /etc/kube-flannel/
        - name: xtables-lock
          mountPath: /run/xtables.lock
      volumes:
      - name: run
        hostPath:
          path: /run/flannel
          type: DirectoryOrCreate
      - name: cni-plugin
        hostPath:
          path: /opt/cni/bin
      - name: cni
        hostPath:
          path: /etc/cni/net.d
          type: DirectoryOrCreate
      - name: flannel-cfg
        configMap:
          name: kube-flannel-cfg
      - name: xtables-lock
        hostPath:
          path: /run/xtables.lock
          type: FileOrCreate
KUBEFAB-END
)
chmod 0600 /var/lib/kubefab/manifests/.flannel.yaml.kubefab
mv -f /var/lib/kubefab/manifests/.flannel.yaml.kubefab /var/lib/kubefab/manifests/flannel.yaml
#--8<-- command 1
K=1
others=$(kubectl get -f /var/lib/kubefab/manifests/flannel.yaml --ignore-not-found --no-headers -o custom-columns='BY:.metadata.labels.app\.kubernetes\.io/managed-by,KIND:.kind,IN:.metadata.namespace,NAME:.metadata.name'); others=$(printf '%s\n' "$others" | grep -v '^kubefab ' | grep . || true); [ -z "$others" ] || { echo "not made by kubefab (by, kind, namespace, name): $others"; false; }
#--8<-- command 2
K=2
kubectl apply --server-side --force-conflicts --validate=false -f /var/lib/kubefab/manifests/flannel.yaml
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### cp1 · network.pods · until: the control plane's pods run
# kubefab: network.pods
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
unset all_proxy ALL_PROXY http_proxy HTTP_PROXY https_proxy HTTPS_PROXY no_proxy NO_PROXY
cd /
umask 077
log=$(mktemp /run/kubefab-log.XXXXXX) || { echo '##kubefab 0 1'; return 1; }
umask 022
(
set -eo pipefail
K=0
trap 'echo "##kubefab $K $?" >"$log.end"' EXIT
#--8<-- command 1
K=1
kubectl get pods -A --field-selector spec.nodeName=cp1 --no-headers 2>&1 || true
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### cp1 · network.pods · after 120 s: restart the kubelet
# kubefab: network.pods
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
unset all_proxy ALL_PROXY http_proxy HTTP_PROXY https_proxy HTTPS_PROXY no_proxy NO_PROXY
cd /
umask 077
exec 9>>/run/kubefab.lock
chmod 600 /run/kubefab.lock
flock -w 900 9 || { echo '##kubefab 0 75'; return 75; }
umask 077
log=$(mktemp /run/kubefab-log.XXXXXX) || { echo '##kubefab 0 1'; return 1; }
umask 022
(
set -eo pipefail
K=0
trap 'echo "##kubefab $K $?" >"$log.end"' EXIT
#--8<-- command 1
K=1
systemctl restart kubelet
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### cp1 · network.interfaces · until: flannel.1 and cni0 in 10.44.0.0/16
# kubefab: network.interfaces
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
unset all_proxy ALL_PROXY http_proxy HTTP_PROXY https_proxy HTTPS_PROXY no_proxy NO_PROXY
cd /
umask 077
log=$(mktemp /run/kubefab-log.XXXXXX) || { echo '##kubefab 0 1'; return 1; }
umask 022
(
set -eo pipefail
K=0
trap 'echo "##kubefab $K $?" >"$log.end"' EXIT
#--8<-- command 1
K=1
ip -j addr; echo; kubectl get pods -A --field-selector spec.nodeName=cp1 -o jsonpath='{range .items[*]}{.spec.hostNetwork}{" "}{.metadata.name}{"\n"}{end}' || true
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### cp1 · network.interfaces · after 60 s: restart the kubelet
# kubefab: network.interfaces
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
unset all_proxy ALL_PROXY http_proxy HTTP_PROXY https_proxy HTTPS_PROXY no_proxy NO_PROXY
cd /
umask 077
exec 9>>/run/kubefab.lock
chmod 600 /run/kubefab.lock
flock -w 900 9 || { echo '##kubefab 0 75'; return 75; }
umask 077
log=$(mktemp /run/kubefab-log.XXXXXX) || { echo '##kubefab 0 1'; return 1; }
umask 022
(
set -eo pipefail
K=0
trap 'echo "##kubefab $K $?" >"$log.end"' EXIT
#--8<-- command 1
K=1
systemctl restart kubelet
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### cp1 · network.interfaces · after 60 s: recreate flannel's and our other pods on this node
# kubefab: network.interfaces
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
unset all_proxy ALL_PROXY http_proxy HTTP_PROXY https_proxy HTTPS_PROXY no_proxy NO_PROXY
cd /
umask 077
exec 9>>/run/kubefab.lock
chmod 600 /run/kubefab.lock
flock -w 900 9 || { echo '##kubefab 0 75'; return 75; }
umask 077
log=$(mktemp /run/kubefab-log.XXXXXX) || { echo '##kubefab 0 1'; return 1; }
umask 022
(
set -eo pipefail
K=0
trap 'echo "##kubefab $K $?" >"$log.end"' EXIT
#--8<-- command 1
K=1
kubectl -n kube-flannel delete pod -l app=flannel --field-selector spec.nodeName=cp1 --wait=false --ignore-not-found
#--8<-- command 2
K=2
kubectl -n kube-system delete pod -l k8s-app=kube-dns --field-selector spec.nodeName=cp1 --wait=false --ignore-not-found
#--8<-- command 3
K=3
kubectl -n monitoring delete pod -l 'app in (telegraf,monitoring-influxdb)' --field-selector spec.nodeName=cp1 --wait=false --ignore-not-found
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### cp1 · network.ready · until: the node is Ready
# kubefab: network.ready
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
unset all_proxy ALL_PROXY http_proxy HTTP_PROXY https_proxy HTTPS_PROXY no_proxy NO_PROXY
cd /
umask 077
log=$(mktemp /run/kubefab-log.XXXXXX) || { echo '##kubefab 0 1'; return 1; }
umask 022
(
set -eo pipefail
K=0
trap 'echo "##kubefab $K $?" >"$log.end"' EXIT
#--8<-- command 1
K=1
kubectl get node cp1 --no-headers 2>&1 || true
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### cp1 · network.ready · after 60 s: restart containerd and flannel's pod, if no CNI file has been read
# kubefab: network.ready
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
unset all_proxy ALL_PROXY http_proxy HTTP_PROXY https_proxy HTTPS_PROXY no_proxy NO_PROXY
cd /
umask 077
exec 9>>/run/kubefab.lock
chmod 600 /run/kubefab.lock
flock -w 900 9 || { echo '##kubefab 0 75'; return 75; }
umask 077
log=$(mktemp /run/kubefab-log.XXXXXX) || { echo '##kubefab 0 1'; return 1; }
umask 022
(
set -eo pipefail
K=0
trap 'echo "##kubefab $K $?" >"$log.end"' EXIT
#--8<-- command 1
K=1
if crictl info 2>/dev/null | grep -q 'cni plugin not initialized'; then systemctl restart containerd; crictl pods -q --namespace kube-flannel | xargs -r crictl rmp -f; fi
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### w1 · join.api · until: the API answers at 10.2.0.1:6443
# kubefab: join.api
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
unset all_proxy ALL_PROXY http_proxy HTTP_PROXY https_proxy HTTPS_PROXY no_proxy NO_PROXY
cd /
umask 077
log=$(mktemp /run/kubefab-log.XXXXXX) || { echo '##kubefab 0 1'; return 1; }
umask 022
(
set -eo pipefail
K=0
trap 'echo "##kubefab $K $?" >"$log.end"' EXIT
#--8<-- command 1
K=1
curl -sk --noproxy '*' --max-time 5 -o /dev/null -w '%{http_code}' https://10.2.0.1:6443/readyz 2>&1 || true
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### w1 · join.token · a join token for this run, valid 30 minutes · on the control plane
# kubefab: join.token
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
unset all_proxy ALL_PROXY http_proxy HTTP_PROXY https_proxy HTTPS_PROXY no_proxy NO_PROXY
cd /
umask 077
exec 9>>/run/kubefab.lock
chmod 600 /run/kubefab.lock
flock -w 900 9 || { echo '##kubefab 0 75'; return 75; }
umask 077
log=$(mktemp /run/kubefab-log.XXXXXX) || { echo '##kubefab 0 1'; return 1; }
umask 022
(
set -eo pipefail
K=0
trap 'echo "##kubefab $K $?" >"$log.end"' EXIT
#--8<-- file 0600 /run/kubefab-token.yaml
mkdir -p /run
(umask 077; cat > /run/.kubefab-token.yaml.kubefab <<'KUBEFAB-END'
apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
bootstrapTokens:
- token: <minted for each run>
  ttl: 30m0s
  description: kubefab
  usages:
  - signing
  - authentication
  groups:
  - system:bootstrappers:kubeadm:default-node-token
KUBEFAB-END
)
chmod 0600 /run/.kubefab-token.yaml.kubefab
mv -f /run/.kubefab-token.yaml.kubefab /run/kubefab-token.yaml
#--8<-- command 1
K=1
kubectl -n kube-system get secret bootstrap-token-<minted for each run> >/dev/null 2>&1 || kubeadm token create --config /run/kubefab-token.yaml >/dev/null
#--8<-- command 2
K=2
rm -f /run/kubefab-token.yaml
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### w1 · join.signature · until: the API's discovery document is signed with it
# kubefab: join.signature
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
unset all_proxy ALL_PROXY http_proxy HTTP_PROXY https_proxy HTTPS_PROXY no_proxy NO_PROXY
cd /
umask 077
log=$(mktemp /run/kubefab-log.XXXXXX) || { echo '##kubefab 0 1'; return 1; }
umask 022
(
set -eo pipefail
K=0
trap 'echo "##kubefab $K $?" >"$log.end"' EXIT
#--8<-- command 1
K=1
kubectl -n kube-public get configmap cluster-info -o jsonpath='{.data}' 2>&1 || true
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### w1 · join.join · kubeadm join
# kubefab: join.join
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
unset all_proxy ALL_PROXY http_proxy HTTP_PROXY https_proxy HTTPS_PROXY no_proxy NO_PROXY
cd /
umask 077
exec 9>>/run/kubefab.lock
chmod 600 /run/kubefab.lock
flock -w 900 9 || { echo '##kubefab 0 75'; return 75; }
umask 077
log=$(mktemp /run/kubefab-log.XXXXXX) || { echo '##kubefab 0 1'; return 1; }
umask 022
(
set -eo pipefail
K=0
trap 'echo "##kubefab $K $?" >"$log.end"' EXIT
#--8<-- file 0600 /run/kubefab-join.yaml
mkdir -p /run
(umask 077; cat > /run/.kubefab-join.yaml.kubefab <<'KUBEFAB-END'
apiVersion: kubeadm.k8s.io/v1beta4
kind: JoinConfiguration
discovery:
  bootstrapToken:
    token: <minted for each run>
    apiServerEndpoint: 10.2.0.1:6443
    caCertHashes:
    - <known once the control plane answers>
nodeRegistration:
  name: w1
  criSocket: unix:///run/containerd/containerd.sock
  kubeletExtraArgs:
  - name: node-ip
    value: 10.2.0.11
  - name: resolv-conf
    value: /etc/resolv.conf
KUBEFAB-END
)
chmod 0600 /run/.kubefab-join.yaml.kubefab
mv -f /run/.kubefab-join.yaml.kubefab /run/kubefab-join.yaml
#--8<-- command 1
K=1
install -d -m 0700 /var/lib/kubefab
#--8<-- command 2
K=2
touch /var/lib/kubefab/join-started
#--8<-- command 3
K=3
kubeadm join --config /run/kubefab-join.yaml || { rc=$?; rm -f /run/kubefab-join.yaml; exit $rc; }
#--8<-- command 4
K=4
rm -f /run/kubefab-join.yaml
#--8<-- command 5
K=5
touch /var/lib/kubefab/joined
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### w1 · join.flannel · until: flannel.1 in 10.44.0.0/16
# kubefab: join.flannel
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
unset all_proxy ALL_PROXY http_proxy HTTP_PROXY https_proxy HTTPS_PROXY no_proxy NO_PROXY
cd /
umask 077
log=$(mktemp /run/kubefab-log.XXXXXX) || { echo '##kubefab 0 1'; return 1; }
umask 022
(
set -eo pipefail
K=0
trap 'echo "##kubefab $K $?" >"$log.end"' EXIT
#--8<-- command 1
K=1
ip -j addr || true
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### w1 · join.flannel · after 60 s: restart the kubelet
# kubefab: join.flannel
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
unset all_proxy ALL_PROXY http_proxy HTTP_PROXY https_proxy HTTPS_PROXY no_proxy NO_PROXY
cd /
umask 077
exec 9>>/run/kubefab.lock
chmod 600 /run/kubefab.lock
flock -w 900 9 || { echo '##kubefab 0 75'; return 75; }
umask 077
log=$(mktemp /run/kubefab-log.XXXXXX) || { echo '##kubefab 0 1'; return 1; }
umask 022
(
set -eo pipefail
K=0
trap 'echo "##kubefab $K $?" >"$log.end"' EXIT
#--8<-- command 1
K=1
systemctl restart kubelet
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### w1 · join.flannel · after 60 s: recreate flannel's and our other pods on this node
# kubefab: join.flannel
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
unset all_proxy ALL_PROXY http_proxy HTTP_PROXY https_proxy HTTPS_PROXY no_proxy NO_PROXY
cd /
umask 077
exec 9>>/run/kubefab.lock
chmod 600 /run/kubefab.lock
flock -w 900 9 || { echo '##kubefab 0 75'; return 75; }
umask 077
log=$(mktemp /run/kubefab-log.XXXXXX) || { echo '##kubefab 0 1'; return 1; }
umask 022
(
set -eo pipefail
K=0
trap 'echo "##kubefab $K $?" >"$log.end"' EXIT
#--8<-- command 1
K=1
kubectl -n kube-flannel delete pod -l app=flannel --field-selector spec.nodeName=w1 --wait=false --ignore-not-found
#--8<-- command 2
K=2
kubectl -n kube-system delete pod -l k8s-app=kube-dns --field-selector spec.nodeName=w1 --wait=false --ignore-not-found
#--8<-- command 3
K=3
kubectl -n monitoring delete pod -l 'app in (telegraf,monitoring-influxdb)' --field-selector spec.nodeName=w1 --wait=false --ignore-not-found
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### w1 · join.ready · until: the node is Ready
# kubefab: join.ready
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
unset all_proxy ALL_PROXY http_proxy HTTP_PROXY https_proxy HTTPS_PROXY no_proxy NO_PROXY
cd /
umask 077
log=$(mktemp /run/kubefab-log.XXXXXX) || { echo '##kubefab 0 1'; return 1; }
umask 022
(
set -eo pipefail
K=0
trap 'echo "##kubefab $K $?" >"$log.end"' EXIT
#--8<-- command 1
K=1
kubectl get node w1 --no-headers 2>&1 || true
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### w1 · join.ready · after 60 s: restart containerd and flannel's pod, if no CNI file has been read
# kubefab: join.ready
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
unset all_proxy ALL_PROXY http_proxy HTTP_PROXY https_proxy HTTPS_PROXY no_proxy NO_PROXY
cd /
umask 077
exec 9>>/run/kubefab.lock
chmod 600 /run/kubefab.lock
flock -w 900 9 || { echo '##kubefab 0 75'; return 75; }
umask 077
log=$(mktemp /run/kubefab-log.XXXXXX) || { echo '##kubefab 0 1'; return 1; }
umask 022
(
set -eo pipefail
K=0
trap 'echo "##kubefab $K $?" >"$log.end"' EXIT
#--8<-- command 1
K=1
if crictl info 2>/dev/null | grep -q 'cni plugin not initialized'; then systemctl restart containerd; crictl pods -q --namespace kube-flannel | xargs -r crictl rmp -f; fi
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### cp1 · addons.dashboard · apply the dashboard (headlamp)
# kubefab: addons.dashboard
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
unset all_proxy ALL_PROXY http_proxy HTTP_PROXY https_proxy HTTPS_PROXY no_proxy NO_PROXY
cd /
umask 077
exec 9>>/run/kubefab.lock
chmod 600 /run/kubefab.lock
flock -w 900 9 || { echo '##kubefab 0 75'; return 75; }
umask 077
log=$(mktemp /run/kubefab-log.XXXXXX) || { echo '##kubefab 0 1'; return 1; }
umask 022
(
set -eo pipefail
K=0
trap 'echo "##kubefab $K $?" >"$log.end"' EXIT
#--8<-- file 0600 /var/lib/kubefab/manifests/headlamp.yaml
mkdir -p /var/lib/kubefab/manifests
(umask 077; cat > /var/lib/kubefab/manifests/.headlamp.yaml.kubefab <<'KUBEFAB-END'
apiVersion: v1
kind: ServiceAccount
metadata:
  name: headlamp
  namespace: kube-system
  labels:
    app.kubernetes.io/managed-by: kubefab
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: kubefab-headlamp-cluster
  labels:
    app.kubernetes.io/managed-by: kubefab
rules:
- apiGroups:
  - ''
  resources:
  - nodes
  - persistentvolumes
  verbs:
  - get
  - list
  - watch
- apiGroups:
  - storage.k8s.io
  resources:
  - storageclasses
  - volumeattachments
  - csidrivers
  - csinodes
  verbs:
  - get
  - list
  - watch
- apiGroups:
  - networking.k8s.io
  resources:
  - ingressclasses
  verbs:
  - get
  - list
  - watch
- apiGroups:
  - scheduling.k8s.io
  resources:
  - priorityclasses
  verbs:
  - get
  - list
  - watch
- apiGroups:
  - apiextensions.k8s.io
  resources:
  - customresourcedefinitions
  verbs:
  - get
  - list
  - watch
- apiGroups:
  - metrics.k8s.io
  resources:
  - nodes
  - pods
  verbs:
  - get
  - list
  - watch
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: kubefab-headlamp-cluster
  labels:
    app.kubernetes.io/managed-by: kubefab
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: kubefab-headlamp-cluster
subjects:
- kind: ServiceAccount
  name: headlamp
  namespace: kube-system
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: kubefab-headlamp
  labels:
    app.kubernetes.io/managed-by: kubefab
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: view
subjects:
- kind: ServiceAccount
  name: headlamp
  namespace: kube-system
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: headlamp
  namespace: kube-system
  labels:
    app.kubernetes.io/managed-by: kubefab
  annotations:
    kubefab.dev/digest: a4d9ff73e28a14d4
spec:
  replicas: 1
  selector:
    matchLabels:
      app: headlamp
  template:
    metadata:
      labels:
        app: headlamp
      annotations:
        kubefab.dev/digest: a4d9ff73e28a14d4
    spec:
      automountServiceAccountToken: true
      serviceAccountName: headlamp
      securityContext:
        runAsNonRoot: true
        runAsUser: 100
        runAsGroup: 101
        fsGroup: 101
        seccompProfile:
          type: RuntimeDefault
      containers:
      - name: headlamp
        image: ghcr.io/headlamp-k8s/headlamp:v0.45.0
        args:
        - -in-cluster
        - -plugins-dir=/headlamp/plugins
        ports:
        - containerPort: 4466
        readinessProbe:
          httpGet:
            path: /
            port: 4466
          periodSeconds: 3
        resources:
          requests:
            cpu: 20m
            memory: 64Mi
          limits:
            cpu: '1'
            memory: 512Mi
        securityContext:
          allowPrivilegeEscalation: false
          readOnlyRootFilesystem: true
          capabilities:
            drop:
            - ALL
        volumeMounts:
        - name: config
          mountPath: /home/headlamp/.config
        - name: tmp
          mountPath: /tmp
      volumes:
      - name: config
        emptyDir:
          sizeLimit: 64Mi
      - name: tmp
        emptyDir:
          sizeLimit: 256Mi
---
apiVersion: v1
kind: Service
metadata:
  name: headlamp
  namespace: kube-system
  labels:
    app.kubernetes.io/managed-by: kubefab
spec:
  type: NodePort
  selector:
    app: headlamp
  ports:
  - port: 80
    targetPort: 4466
    nodePort: 31447
KUBEFAB-END
)
chmod 0600 /var/lib/kubefab/manifests/.headlamp.yaml.kubefab
mv -f /var/lib/kubefab/manifests/.headlamp.yaml.kubefab /var/lib/kubefab/manifests/headlamp.yaml
#--8<-- command 1
K=1
others=$(kubectl get -f /var/lib/kubefab/manifests/headlamp.yaml --ignore-not-found --no-headers -o custom-columns='BY:.metadata.labels.app\.kubernetes\.io/managed-by,KIND:.kind,IN:.metadata.namespace,NAME:.metadata.name'); others=$(printf '%s\n' "$others" | grep -v '^kubefab ' | grep . || true); [ -z "$others" ] || { echo "not made by kubefab (by, kind, namespace, name): $others"; false; }
#--8<-- command 2
K=2
kubectl apply --server-side --force-conflicts --validate=false -f /var/lib/kubefab/manifests/headlamp.yaml
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### cp1 · addons.storage · a folder for InfluxDB's data
# kubefab: addons.storage
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
unset all_proxy ALL_PROXY http_proxy HTTP_PROXY https_proxy HTTPS_PROXY no_proxy NO_PROXY
cd /
umask 077
exec 9>>/run/kubefab.lock
chmod 600 /run/kubefab.lock
flock -w 900 9 || { echo '##kubefab 0 75'; return 75; }
umask 077
log=$(mktemp /run/kubefab-log.XXXXXX) || { echo '##kubefab 0 1'; return 1; }
umask 022
(
set -eo pipefail
K=0
trap 'echo "##kubefab $K $?" >"$log.end"' EXIT
#--8<-- command 1
K=1
install -d -m 0700 /var/lib/kubefab
#--8<-- command 2
K=2
install -d -m 0700 /var/lib/kubefab/influxdb
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### cp1 · addons.monitoring · apply InfluxDB and Telegraf
# kubefab: addons.monitoring
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
unset all_proxy ALL_PROXY http_proxy HTTP_PROXY https_proxy HTTPS_PROXY no_proxy NO_PROXY
cd /
umask 077
exec 9>>/run/kubefab.lock
chmod 600 /run/kubefab.lock
flock -w 900 9 || { echo '##kubefab 0 75'; return 75; }
umask 077
log=$(mktemp /run/kubefab-log.XXXXXX) || { echo '##kubefab 0 1'; return 1; }
umask 022
(
set -eo pipefail
K=0
trap 'echo "##kubefab $K $?" >"$log.end"' EXIT
#--8<-- file 0600 /var/lib/kubefab/manifests/monitoring.yaml
mkdir -p /var/lib/kubefab/manifests
(umask 077; cat > /var/lib/kubefab/manifests/.monitoring.yaml.kubefab <<'KUBEFAB-END'
apiVersion: v1
kind: Namespace
metadata:
  name: monitoring
  labels:
    pod-security.kubernetes.io/enforce: restricted
    app.kubernetes.io/managed-by: kubefab
---
apiVersion: v1
kind: PersistentVolume
metadata:
  name: kubefab-influxdb
  labels:
    app.kubernetes.io/managed-by: kubefab
spec:
  capacity:
    storage: 1Gi
  accessModes:
  - ReadWriteOnce
  persistentVolumeReclaimPolicy: Retain
  claimRef:
    namespace: monitoring
    name: influxdb
  local:
    path: /var/lib/kubefab/influxdb
  nodeAffinity:
    required:
      nodeSelectorTerms:
      - matchExpressions:
        - key: node-role.kubernetes.io/control-plane
          operator: Exists
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: influxdb
  namespace: monitoring
  labels:
    app.kubernetes.io/managed-by: kubefab
spec:
  accessModes:
  - ReadWriteOnce
  storageClassName: ''
  volumeName: kubefab-influxdb
  resources:
    requests:
      storage: 1Gi
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: influxdb
  namespace: monitoring
  labels:
    app.kubernetes.io/managed-by: kubefab
spec:
  podSelector:
    matchLabels:
      app: monitoring-influxdb
  policyTypes:
  - Ingress
  ingress:
  - from:
    - podSelector:
        matchLabels:
          app: telegraf
    - ipBlock:
        cidr: 0.0.0.0/0
        except:
        - 10.44.0.0/16
    ports:
    - port: 8086
      protocol: TCP
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: telegraf
  namespace: monitoring
  labels:
    app.kubernetes.io/managed-by: kubefab
spec:
  podSelector:
    matchLabels:
      app: telegraf
  policyTypes:
  - Ingress
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: monitoring-influxdb
  namespace: monitoring
  annotations:
    kubefab.dev/login: 'yes'
    kubefab.dev/digest: efdc8ffd3e2b0f96
  labels:
    app.kubernetes.io/managed-by: kubefab
spec:
  replicas: 1
  strategy:
    type: Recreate
  selector:
    matchLabels:
      app: monitoring-influxdb
  template:
    metadata:
      labels:
        app: monitoring-influxdb
      annotations:
        kubefab.dev/digest: efdc8ffd3e2b0f96
    spec:
      automountServiceAccountToken: false
      nodeSelector:
        node-role.kubernetes.io/control-plane: ''
      affinity:
        podAntiAffinity:
          requiredDuringSchedulingIgnoredDuringExecution:
          - topologyKey: kubernetes.io/hostname
            labelSelector:
              matchLabels:
                app: monitoring-influxdb
      tolerations:
      - key: node-role.kubernetes.io/control-plane
        operator: Exists
      securityContext:
        runAsNonRoot: true
        runAsUser: 1500
        runAsGroup: 1500
        fsGroup: 1500
        seccompProfile:
          type: RuntimeDefault
      initContainers:
      - name: login
        image: docker.io/library/influxdb:1.12.4
        command:
        - sh
        - -euc
        args:
        - "influxd -config /dev/null >\"$HOME/log\" 2>&1 &\nserver=$!\nuntil printf
          'SHOW USERS' | influx >/dev/null 2>&1; do\n  kill -0 $server || { cat \"$HOME/log\";
          exit 1; }\n  sleep 0.2\ndone\nlogin() {\n  case \"$2\" in ''|*[!A-Za-z0-9_-]*)
          echo \"the Secret influxdb-login: a password is of letters, digits, _ and
          -\"; exit 1;; esac\n  printf \"CREATE USER \\\"%s\\\" WITH PASSWORD '%s'\"
          \"$1\" \"$2\" | influx >/dev/null 2>&1 || true\n  printf \"SET PASSWORD
          FOR \\\"%s\\\" = '%s'\" \"$1\" \"$2\" | influx >/dev/null\n}\nlogin kubefab
          \"$ADMIN\"\nlogin telegraf \"$TELEGRAF\"\nprintf 'GRANT ALL PRIVILEGES TO
          \"kubefab\"' | influx\nif [ -n \"${POLICY:-}\" ]; then\n  printf 'CREATE
          DATABASE \"k8s\" WITH %s NAME \"default\"' \"$POLICY\" | influx || true\n
          \ printf 'GRANT WRITE ON \"k8s\" TO \"telegraf\"' | influx || true\nfi\nkill
          $server\nwait $server || true\n"
        env:
        - name: ADMIN
          valueFrom:
            secretKeyRef:
              name: influxdb-login
              key: kubefab
        - name: TELEGRAF
          valueFrom:
            secretKeyRef:
              name: influxdb-login
              key: telegraf
        - name: POLICY
          valueFrom:
            secretKeyRef:
              name: influxdb-login
              key: policy
              optional: true
        - name: HOME
          value: /tmp
        - name: INFLUXDB_REPORTING_DISABLED
          value: 'true'
        - name: INFLUXDB_HTTP_BIND_ADDRESS
          value: 127.0.0.1:8086
        - name: INFLUXDB_HTTP_AUTH_ENABLED
          value: 'false'
        - name: INFLUXDB_META_DIR
          value: /var/lib/influxdb/meta
        - name: INFLUXDB_DATA_DIR
          value: /tmp/data
        - name: INFLUXDB_DATA_WAL_DIR
          value: /tmp/wal
        - name: INFLUXDB_MONITOR_STORE_ENABLED
          value: 'false'
        - name: INFLUXDB_RETENTION_ENABLED
          value: 'false'
        - name: INFLUXDB_SHARD_PRECREATION_ENABLED
          value: 'false'
        - name: INFLUXDB_CONTINUOUS_QUERIES_ENABLED
          value: 'false'
        resources:
          requests:
            cpu: 50m
            memory: 128Mi
          limits:
            cpu: '1'
            memory: 1Gi
        securityContext:
          allowPrivilegeEscalation: false
          readOnlyRootFilesystem: true
          capabilities:
            drop:
            - ALL
        volumeMounts:
        - name: data
          mountPath: /var/lib/influxdb
        - name: tmp
          mountPath: /tmp
      containers:
      - name: influxdb
        image: docker.io/library/influxdb:1.12.4
        command:
        - influxd
        env:
        - name: INFLUXDB_HTTP_AUTH_ENABLED
          value: 'true'
        - name: INFLUX_USERNAME
          value: kubefab
        - name: INFLUX_PASSWORD
          valueFrom:
            secretKeyRef:
              name: influxdb-login
              key: kubefab
        - name: HOME
          value: /tmp
        - name: INFLUXDB_HTTP_PPROF_ENABLED
          value: 'false'
        - name: INFLUXDB_REPORTING_DISABLED
          value: 'true'
        - name: INFLUXDB_DATA_DIR
          value: /var/lib/influxdb/data
        - name: INFLUXDB_DATA_WAL_DIR
          value: /var/lib/influxdb/wal
        - name: INFLUXDB_META_DIR
          value: /var/lib/influxdb/meta
        ports:
        - containerPort: 8086
        readinessProbe:
          httpGet:
            path: /ping
            port: 8086
          periodSeconds: 2
        resources:
          requests:
            cpu: 50m
            memory: 128Mi
          limits:
            cpu: '2'
            memory: 1Gi
        securityContext:
          allowPrivilegeEscalation: false
          readOnlyRootFilesystem: true
          capabilities:
            drop:
            - ALL
        volumeMounts:
        - name: data
          mountPath: /var/lib/influxdb
        - name: tmp
          mountPath: /tmp
      volumes:
      - name: data
        persistentVolumeClaim:
          claimName: influxdb
      - name: tmp
        emptyDir:
          sizeLimit: 64Mi
---
apiVersion: v1
kind: Service
metadata:
  name: monitoring-influxdb
  namespace: monitoring
  labels:
    app.kubernetes.io/managed-by: kubefab
spec:
  type: NodePort
  selector:
    app: monitoring-influxdb
  ports:
  - port: 8086
    targetPort: 8086
    nodePort: 30315
---
apiVersion: v1
kind: ServiceAccount
metadata:
  name: telegraf
  namespace: monitoring
  labels:
    app.kubernetes.io/managed-by: kubefab
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: kubefab-telegraf
  labels:
    app.kubernetes.io/managed-by: kubefab
rules:
- apiGroups:
  - ''
  resources:
  - nodes/stats
  - nodes/pods
  - nodes/metrics
  verbs:
  - get
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: kubefab-telegraf
  labels:
    app.kubernetes.io/managed-by: kubefab
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: kubefab-telegraf
subjects:
- kind: ServiceAccount
  name: telegraf
  namespace: monitoring
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: telegraf
  namespace: monitoring
  labels:
    app.kubernetes.io/managed-by: kubefab
data:
  telegraf.conf: "[agent]\n  interval = \"10s\"\n  round_interval = false\n  flush_interval
    = \"2s\"\n  hostname = \"$NODE\"\n[[inputs.kubernetes]]\n  url = \"https://$HOST:10250\"\n
    \ bearer_token = \"/var/run/secrets/kubernetes.io/serviceaccount/token\"\n  insecure_skip_verify
    = true\n[[inputs.cpu]]\n  percpu = false\n[[inputs.mem]]\n[[inputs.net]]\n[[outputs.influxdb]]\n
    \ urls = [\"http://monitoring-influxdb.monitoring:8086\"]\n  database = \"k8s\"\n
    \ skip_database_creation = true\n  username = \"telegraf\"\n  password = \"$INFLUXDB_PASSWORD\"\n
    \ retention_policy = \"\"\n"
---
apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: telegraf
  namespace: monitoring
  labels:
    app.kubernetes.io/managed-by: kubefab
  annotations:
    kubefab.dev/digest: efdc8ffd3e2b0f96
spec:
  selector:
    matchLabels:
      app: telegraf
  template:
    metadata:
      labels:
        app: telegraf
      annotations:
        kubefab.dev/digest: efdc8ffd3e2b0f96
    spec:
      automountServiceAccountToken: true
      serviceAccountName: telegraf
      dnsConfig:
        options:
        - name: timeout
          value: '1'
        - name: attempts
          value: '5'
      tolerations:
      - key: node-role.kubernetes.io/control-plane
        operator: Exists
      securityContext:
        runAsNonRoot: true
        runAsUser: 1500
        runAsGroup: 1500
        seccompProfile:
          type: RuntimeDefault
      containers:
      - name: telegraf
        image: docker.io/library/telegraf:1.39.3
        command:
        - telegraf
        args:
        - --config
        - /etc/telegraf/telegraf.conf
        env:
        - name: HOST
          valueFrom:
            fieldRef:
              fieldPath: status.hostIP
        - name: NODE
          valueFrom:
            fieldRef:
              fieldPath: spec.nodeName
        - name: INFLUXDB_PASSWORD
          valueFrom:
            secretKeyRef:
              name: influxdb-login
              key: telegraf
        resources:
          requests:
            cpu: 10m
            memory: 64Mi
          limits:
            cpu: 500m
            memory: 256Mi
        securityContext:
          allowPrivilegeEscalation: false
          readOnlyRootFilesystem: true
          capabilities:
            drop:
            - ALL
        volumeMounts:
        - name: config
          mountPath: /etc/telegraf
      volumes:
      - name: config
        configMap:
          name: telegraf
KUBEFAB-END
)
chmod 0600 /var/lib/kubefab/manifests/.monitoring.yaml.kubefab
mv -f /var/lib/kubefab/manifests/.monitoring.yaml.kubefab /var/lib/kubefab/manifests/monitoring.yaml
#--8<-- command 1
K=1
others=$(kubectl get -f /var/lib/kubefab/manifests/monitoring.yaml --ignore-not-found --no-headers -o custom-columns='BY:.metadata.labels.app\.kubernetes\.io/managed-by,KIND:.kind,IN:.metadata.namespace,NAME:.metadata.name'); others=$(printf '%s\n' "$others" | grep -v '^kubefab ' | grep . || true); [ -z "$others" ] || { echo "not made by kubefab (by, kind, namespace, name): $others"; false; }
#--8<-- command 2
K=2
sed '/^---$/q' /var/lib/kubefab/manifests/monitoring.yaml | kubectl apply --server-side --force-conflicts --validate=false -f -
#--8<-- command 3
K=3
if [ "$(kubectl get persistentvolume kubefab-influxdb --ignore-not-found -o jsonpath='{.status.phase}')" = Released ]; then kubectl delete persistentvolume kubefab-influxdb; fi
#--8<-- command 4
K=4
said=$(printf '{"apiVersion":"v1","kind":"Secret","metadata":{"name":"influxdb-login","namespace":"monitoring","labels":{"app.kubernetes.io/managed-by":"kubefab"}},"stringData":{"kubefab":"%s","telegraf":"%s","policy":"DURATION 0d REPLICATION 1 SHARD DURATION 7d"}}' "$(head -c 32 /dev/urandom | sha256sum | cut -d' ' -f1)" "$(head -c 32 /dev/urandom | sha256sum | cut -d' ' -f1)" | kubectl create -f - 2>&1) || kubectl -n monitoring get secret influxdb-login -o name >/dev/null 2>&1 || { echo "$said"; false; }
#--8<-- command 5
K=5
kubectl apply --server-side --force-conflicts --validate=false -f /var/lib/kubefab/manifests/monitoring.yaml
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### cp1 · addons.influxdb-ready · until: monitoring-influxdb runs
# kubefab: addons.influxdb-ready
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
unset all_proxy ALL_PROXY http_proxy HTTP_PROXY https_proxy HTTPS_PROXY no_proxy NO_PROXY
cd /
umask 077
log=$(mktemp /run/kubefab-log.XXXXXX) || { echo '##kubefab 0 1'; return 1; }
umask 022
(
set -eo pipefail
K=0
trap 'echo "##kubefab $K $?" >"$log.end"' EXIT
#--8<-- command 1
K=1
kubectl -n monitoring get deploy/monitoring-influxdb -o jsonpath='{.status.availableReplicas}' 2>&1 || true
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### cp1 · addons.retention · until: retention policy default of 0d (A3)
# kubefab: addons.retention
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
unset all_proxy ALL_PROXY http_proxy HTTP_PROXY https_proxy HTTPS_PROXY no_proxy NO_PROXY
cd /
umask 077
exec 9>>/run/kubefab.lock
chmod 600 /run/kubefab.lock
flock -w 900 9 || { echo '##kubefab 0 75'; return 75; }
umask 077
log=$(mktemp /run/kubefab-log.XXXXXX) || { echo '##kubefab 0 1'; return 1; }
umask 022
(
set -eo pipefail
K=0
trap 'echo "##kubefab $K $?" >"$log.end"' EXIT
#--8<-- command 1
K=1
kubectl -n monitoring exec deploy/monitoring-influxdb -- influx -database k8s -format csv -execute 'CREATE DATABASE "k8s"; CREATE RETENTION POLICY "default" ON k8s DURATION 0d REPLICATION 1 SHARD DURATION 7d DEFAULT; GRANT WRITE ON "k8s" TO "telegraf"; SHOW RETENTION POLICIES' 2>&1 || true
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### cp1 · addons.retention · after 45 s: recreate the influxdb and telegraf pods (A5)
# kubefab: addons.retention
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
unset all_proxy ALL_PROXY http_proxy HTTP_PROXY https_proxy HTTPS_PROXY no_proxy NO_PROXY
cd /
umask 077
exec 9>>/run/kubefab.lock
chmod 600 /run/kubefab.lock
flock -w 900 9 || { echo '##kubefab 0 75'; return 75; }
umask 077
log=$(mktemp /run/kubefab-log.XXXXXX) || { echo '##kubefab 0 1'; return 1; }
umask 022
(
set -eo pipefail
K=0
trap 'echo "##kubefab $K $?" >"$log.end"' EXIT
#--8<-- command 1
K=1
said=$(printf '{"apiVersion":"v1","kind":"Secret","metadata":{"name":"influxdb-login","namespace":"monitoring","labels":{"app.kubernetes.io/managed-by":"kubefab"}},"stringData":{"kubefab":"%s","telegraf":"%s","policy":"DURATION 0d REPLICATION 1 SHARD DURATION 7d"}}' "$(head -c 32 /dev/urandom | sha256sum | cut -d' ' -f1)" "$(head -c 32 /dev/urandom | sha256sum | cut -d' ' -f1)" | kubectl create -f - 2>&1) || kubectl -n monitoring get secret influxdb-login -o name >/dev/null 2>&1 || { echo "$said"; false; }
#--8<-- command 2
K=2
kubectl -n monitoring delete pods -l 'app in (telegraf,monitoring-influxdb)' --wait=false
#--8<-- command 3
K=3
kubectl -n monitoring rollout status deploy/monitoring-influxdb --timeout=90s
#--8<-- command 4
K=4
kubectl -n monitoring exec deploy/monitoring-influxdb -- influx -database k8s -format csv -execute 'CREATE DATABASE "k8s"; CREATE RETENTION POLICY "default" ON k8s DURATION 0d REPLICATION 1 SHARD DURATION 7d DEFAULT; GRANT WRITE ON "k8s" TO "telegraf"; SHOW RETENTION POLICIES' || true
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### cp1 · addons.dashboard-ready · until: headlamp runs
# kubefab: addons.dashboard-ready
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
unset all_proxy ALL_PROXY http_proxy HTTP_PROXY https_proxy HTTPS_PROXY no_proxy NO_PROXY
cd /
umask 077
log=$(mktemp /run/kubefab-log.XXXXXX) || { echo '##kubefab 0 1'; return 1; }
umask 022
(
set -eo pipefail
K=0
trap 'echo "##kubefab $K $?" >"$log.end"' EXIT
#--8<-- command 1
K=1
kubectl -n kube-system get deploy/headlamp -o jsonpath='{.status.availableReplicas}' 2>&1 || true
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### cp1 · addons.interfaces · until: flannel.1 and cni0 in 10.44.0.0/16
# kubefab: addons.interfaces
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
unset all_proxy ALL_PROXY http_proxy HTTP_PROXY https_proxy HTTPS_PROXY no_proxy NO_PROXY
cd /
umask 077
log=$(mktemp /run/kubefab-log.XXXXXX) || { echo '##kubefab 0 1'; return 1; }
umask 022
(
set -eo pipefail
K=0
trap 'echo "##kubefab $K $?" >"$log.end"' EXIT
#--8<-- command 1
K=1
ip -j addr || true
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### cp1 · addons.interfaces · after 60 s: restart the kubelet
# kubefab: addons.interfaces
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
unset all_proxy ALL_PROXY http_proxy HTTP_PROXY https_proxy HTTPS_PROXY no_proxy NO_PROXY
cd /
umask 077
exec 9>>/run/kubefab.lock
chmod 600 /run/kubefab.lock
flock -w 900 9 || { echo '##kubefab 0 75'; return 75; }
umask 077
log=$(mktemp /run/kubefab-log.XXXXXX) || { echo '##kubefab 0 1'; return 1; }
umask 022
(
set -eo pipefail
K=0
trap 'echo "##kubefab $K $?" >"$log.end"' EXIT
#--8<-- command 1
K=1
systemctl restart kubelet
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### cp1 · addons.interfaces · after 60 s: recreate flannel's and our other pods on this node
# kubefab: addons.interfaces
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
unset all_proxy ALL_PROXY http_proxy HTTP_PROXY https_proxy HTTPS_PROXY no_proxy NO_PROXY
cd /
umask 077
exec 9>>/run/kubefab.lock
chmod 600 /run/kubefab.lock
flock -w 900 9 || { echo '##kubefab 0 75'; return 75; }
umask 077
log=$(mktemp /run/kubefab-log.XXXXXX) || { echo '##kubefab 0 1'; return 1; }
umask 022
(
set -eo pipefail
K=0
trap 'echo "##kubefab $K $?" >"$log.end"' EXIT
#--8<-- command 1
K=1
kubectl -n kube-flannel delete pod -l app=flannel --field-selector spec.nodeName=cp1 --wait=false --ignore-not-found
#--8<-- command 2
K=2
kubectl -n kube-system delete pod -l k8s-app=kube-dns --field-selector spec.nodeName=cp1 --wait=false --ignore-not-found
#--8<-- command 3
K=3
kubectl -n monitoring delete pod -l 'app in (telegraf,monitoring-influxdb)' --field-selector spec.nodeName=cp1 --wait=false --ignore-not-found
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### cp1 · addons.metrics · until: this node's metrics arrive in InfluxDB
# kubefab: addons.metrics
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
unset all_proxy ALL_PROXY http_proxy HTTP_PROXY https_proxy HTTPS_PROXY no_proxy NO_PROXY
cd /
umask 077
log=$(mktemp /run/kubefab-log.XXXXXX) || { echo '##kubefab 0 1'; return 1; }
umask 022
(
set -eo pipefail
K=0
trap 'echo "##kubefab $K $?" >"$log.end"' EXIT
#--8<-- command 1
K=1
kubectl -n monitoring exec deploy/monitoring-influxdb -- influx -database k8s -format csv -execute 'SHOW RETENTION POLICIES; SELECT last("cpu_usage_nanocores") FROM "kubernetes_node" WHERE time > now() - 1m GROUP BY "node_name"' 2>&1 || true
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### cp1 · addons.metrics · after 45 s: recreate the influxdb and telegraf pods (A5)
# kubefab: addons.metrics
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
unset all_proxy ALL_PROXY http_proxy HTTP_PROXY https_proxy HTTPS_PROXY no_proxy NO_PROXY
cd /
umask 077
exec 9>>/run/kubefab.lock
chmod 600 /run/kubefab.lock
flock -w 900 9 || { echo '##kubefab 0 75'; return 75; }
umask 077
log=$(mktemp /run/kubefab-log.XXXXXX) || { echo '##kubefab 0 1'; return 1; }
umask 022
(
set -eo pipefail
K=0
trap 'echo "##kubefab $K $?" >"$log.end"' EXIT
#--8<-- command 1
K=1
said=$(printf '{"apiVersion":"v1","kind":"Secret","metadata":{"name":"influxdb-login","namespace":"monitoring","labels":{"app.kubernetes.io/managed-by":"kubefab"}},"stringData":{"kubefab":"%s","telegraf":"%s","policy":"DURATION 0d REPLICATION 1 SHARD DURATION 7d"}}' "$(head -c 32 /dev/urandom | sha256sum | cut -d' ' -f1)" "$(head -c 32 /dev/urandom | sha256sum | cut -d' ' -f1)" | kubectl create -f - 2>&1) || kubectl -n monitoring get secret influxdb-login -o name >/dev/null 2>&1 || { echo "$said"; false; }
#--8<-- command 2
K=2
kubectl -n monitoring delete pods -l 'app in (telegraf,monitoring-influxdb)' --wait=false
#--8<-- command 3
K=3
kubectl -n monitoring rollout status deploy/monitoring-influxdb --timeout=90s
#--8<-- command 4
K=4
kubectl -n monitoring exec deploy/monitoring-influxdb -- influx -database k8s -format csv -execute 'CREATE DATABASE "k8s"; CREATE RETENTION POLICY "default" ON k8s DURATION 0d REPLICATION 1 SHARD DURATION 7d DEFAULT; GRANT WRITE ON "k8s" TO "telegraf"; SHOW RETENTION POLICIES' || true
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### w1 · addons.interfaces · until: flannel.1 and cni0 in 10.44.0.0/16
# kubefab: addons.interfaces
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
unset all_proxy ALL_PROXY http_proxy HTTP_PROXY https_proxy HTTPS_PROXY no_proxy NO_PROXY
cd /
umask 077
log=$(mktemp /run/kubefab-log.XXXXXX) || { echo '##kubefab 0 1'; return 1; }
umask 022
(
set -eo pipefail
K=0
trap 'echo "##kubefab $K $?" >"$log.end"' EXIT
#--8<-- command 1
K=1
ip -j addr || true
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### w1 · addons.interfaces · after 60 s: restart the kubelet
# kubefab: addons.interfaces
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
unset all_proxy ALL_PROXY http_proxy HTTP_PROXY https_proxy HTTPS_PROXY no_proxy NO_PROXY
cd /
umask 077
exec 9>>/run/kubefab.lock
chmod 600 /run/kubefab.lock
flock -w 900 9 || { echo '##kubefab 0 75'; return 75; }
umask 077
log=$(mktemp /run/kubefab-log.XXXXXX) || { echo '##kubefab 0 1'; return 1; }
umask 022
(
set -eo pipefail
K=0
trap 'echo "##kubefab $K $?" >"$log.end"' EXIT
#--8<-- command 1
K=1
systemctl restart kubelet
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### w1 · addons.interfaces · after 60 s: recreate flannel's and our other pods on this node
# kubefab: addons.interfaces
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
unset all_proxy ALL_PROXY http_proxy HTTP_PROXY https_proxy HTTPS_PROXY no_proxy NO_PROXY
cd /
umask 077
exec 9>>/run/kubefab.lock
chmod 600 /run/kubefab.lock
flock -w 900 9 || { echo '##kubefab 0 75'; return 75; }
umask 077
log=$(mktemp /run/kubefab-log.XXXXXX) || { echo '##kubefab 0 1'; return 1; }
umask 022
(
set -eo pipefail
K=0
trap 'echo "##kubefab $K $?" >"$log.end"' EXIT
#--8<-- command 1
K=1
kubectl -n kube-flannel delete pod -l app=flannel --field-selector spec.nodeName=w1 --wait=false --ignore-not-found
#--8<-- command 2
K=2
kubectl -n kube-system delete pod -l k8s-app=kube-dns --field-selector spec.nodeName=w1 --wait=false --ignore-not-found
#--8<-- command 3
K=3
kubectl -n monitoring delete pod -l 'app in (telegraf,monitoring-influxdb)' --field-selector spec.nodeName=w1 --wait=false --ignore-not-found
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### w1 · addons.metrics · until: this node's metrics arrive in InfluxDB
# kubefab: addons.metrics
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
unset all_proxy ALL_PROXY http_proxy HTTP_PROXY https_proxy HTTPS_PROXY no_proxy NO_PROXY
cd /
umask 077
log=$(mktemp /run/kubefab-log.XXXXXX) || { echo '##kubefab 0 1'; return 1; }
umask 022
(
set -eo pipefail
K=0
trap 'echo "##kubefab $K $?" >"$log.end"' EXIT
#--8<-- command 1
K=1
kubectl -n monitoring exec deploy/monitoring-influxdb -- influx -database k8s -format csv -execute 'SHOW RETENTION POLICIES; SELECT last("cpu_usage_nanocores") FROM "kubernetes_node" WHERE time > now() - 1m GROUP BY "node_name"' 2>&1 || true
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### w1 · addons.metrics · after 45 s: recreate the influxdb and telegraf pods (A5)
# kubefab: addons.metrics
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
unset all_proxy ALL_PROXY http_proxy HTTP_PROXY https_proxy HTTPS_PROXY no_proxy NO_PROXY
cd /
umask 077
exec 9>>/run/kubefab.lock
chmod 600 /run/kubefab.lock
flock -w 900 9 || { echo '##kubefab 0 75'; return 75; }
umask 077
log=$(mktemp /run/kubefab-log.XXXXXX) || { echo '##kubefab 0 1'; return 1; }
umask 022
(
set -eo pipefail
K=0
trap 'echo "##kubefab $K $?" >"$log.end"' EXIT
#--8<-- command 1
K=1
said=$(printf '{"apiVersion":"v1","kind":"Secret","metadata":{"name":"influxdb-login","namespace":"monitoring","labels":{"app.kubernetes.io/managed-by":"kubefab"}},"stringData":{"kubefab":"%s","telegraf":"%s","policy":"DURATION 0d REPLICATION 1 SHARD DURATION 7d"}}' "$(head -c 32 /dev/urandom | sha256sum | cut -d' ' -f1)" "$(head -c 32 /dev/urandom | sha256sum | cut -d' ' -f1)" | kubectl create -f - 2>&1) || kubectl -n monitoring get secret influxdb-login -o name >/dev/null 2>&1 || { echo "$said"; false; }
#--8<-- command 2
K=2
kubectl -n monitoring delete pods -l 'app in (telegraf,monitoring-influxdb)' --wait=false
#--8<-- command 3
K=3
kubectl -n monitoring rollout status deploy/monitoring-influxdb --timeout=90s
#--8<-- command 4
K=4
kubectl -n monitoring exec deploy/monitoring-influxdb -- influx -database k8s -format csv -execute 'CREATE DATABASE "k8s"; CREATE RETENTION POLICY "default" ON k8s DURATION 0d REPLICATION 1 SHARD DURATION 7d DEFAULT; GRANT WRITE ON "k8s" TO "telegraf"; SHOW RETENTION POLICIES' || true
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main
