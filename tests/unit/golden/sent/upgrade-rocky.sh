#### cp1 · ahead.keys · the keys of the package repositories
# kubefab: ahead.keys
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
curl -fsSL --retry 3 --connect-timeout 10 -o "$key" https://pkgs.k8s.io/core:/stable:/v1.37/rpm/repodata/repomd.xml.key || { echo 'cannot fetch https://pkgs.k8s.io/core:/stable:/v1.37/rpm/repodata/repomd.xml.key'; exit 22; }
#--8<-- command 4
K=4
gpg --homedir "$home" --quiet --batch --no-autostart --import "$key" 2>/dev/null || true
#--8<-- command 5
K=5
own=$(gpg --homedir "$home" --quiet --batch --no-autostart --with-colons --list-keys 2>/dev/null | sed -n '/^pub:/,/^fpr:/p' | sed -n 's/^fpr:.*:\([0-9A-F]*\):$/\1/p' | grep -xE 'DE15B14486CD377B9E876E1A234654DA9A296436') || { echo 'the key at https://pkgs.k8s.io/core:/stable:/v1.37/rpm/repodata/repomd.xml.key has not the fingerprint DE15B14486CD377B9E876E1A234654DA9A296436'; exit 65; }
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

#### cp1 · ahead.repository · package repositories
# kubefab: ahead.repository
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
baseurl=https://pkgs.k8s.io/core:/stable:/v1.37/rpm/
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

#### cp1 · ahead.packages · packages of Kubernetes 1.37.1 fetched; nothing is installed yet
# kubefab: ahead.packages
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
dnf -y --setopt=exit_on_lock=False --setopt='*.skip_if_unavailable=1' --disableexcludes=kubefab-kubernetes,kubefab-containerd install --downloadonly kubelet-1.37.1 kubeadm-1.37.1 kubectl-1.37.1 kubernetes-cni cri-tools
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### cp1 · ahead.images · 4 images ahead
# kubefab: ahead.images
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
crictl pull registry.k8s.io/kube-proxy:v1.37.1
#--8<-- command 2
K=2
crictl pull registry.k8s.io/kube-apiserver:v1.37.1
#--8<-- command 3
K=3
crictl pull registry.k8s.io/kube-controller-manager:v1.37.1
#--8<-- command 4
K=4
crictl pull registry.k8s.io/kube-scheduler:v1.37.1
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### cp1 · ahead.there · until: the images of the new release are here
# kubefab: ahead.there
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
crictl inspecti -q registry.k8s.io/pause:3.10.2 >/dev/null 2>&1 || echo registry.k8s.io/pause:3.10.2; crictl inspecti -q registry.k8s.io/kube-proxy:v1.37.1 >/dev/null 2>&1 || echo registry.k8s.io/kube-proxy:v1.37.1; crictl inspecti -q ghcr.io/flannel-io/flannel:v0.28.9 >/dev/null 2>&1 || echo ghcr.io/flannel-io/flannel:v0.28.9; crictl inspecti -q ghcr.io/flannel-io/flannel-cni-plugin:v1.9.1-flannel3 >/dev/null 2>&1 || echo ghcr.io/flannel-io/flannel-cni-plugin:v1.9.1-flannel3 || true
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### w1 · ahead.keys · the keys of the package repositories
# kubefab: ahead.keys
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
curl -fsSL --retry 3 --connect-timeout 10 -o "$key" https://pkgs.k8s.io/core:/stable:/v1.37/rpm/repodata/repomd.xml.key || { echo 'cannot fetch https://pkgs.k8s.io/core:/stable:/v1.37/rpm/repodata/repomd.xml.key'; exit 22; }
#--8<-- command 4
K=4
gpg --homedir "$home" --quiet --batch --no-autostart --import "$key" 2>/dev/null || true
#--8<-- command 5
K=5
own=$(gpg --homedir "$home" --quiet --batch --no-autostart --with-colons --list-keys 2>/dev/null | sed -n '/^pub:/,/^fpr:/p' | sed -n 's/^fpr:.*:\([0-9A-F]*\):$/\1/p' | grep -xE 'DE15B14486CD377B9E876E1A234654DA9A296436') || { echo 'the key at https://pkgs.k8s.io/core:/stable:/v1.37/rpm/repodata/repomd.xml.key has not the fingerprint DE15B14486CD377B9E876E1A234654DA9A296436'; exit 65; }
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

#### w1 · ahead.repository · package repositories
# kubefab: ahead.repository
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
baseurl=https://pkgs.k8s.io/core:/stable:/v1.37/rpm/
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

#### w1 · ahead.packages · packages of Kubernetes 1.37.1 fetched; nothing is installed yet
# kubefab: ahead.packages
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
dnf -y --setopt=exit_on_lock=False --setopt='*.skip_if_unavailable=1' --disableexcludes=kubefab-kubernetes,kubefab-containerd install --downloadonly kubelet-1.37.1 kubeadm-1.37.1 kubectl-1.37.1 kubernetes-cni cri-tools
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### w1 · ahead.images · 1 image ahead
# kubefab: ahead.images
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
crictl pull registry.k8s.io/kube-proxy:v1.37.1
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### w1 · ahead.there · until: the images of the new release are here
# kubefab: ahead.there
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
crictl inspecti -q registry.k8s.io/pause:3.10.2 >/dev/null 2>&1 || echo registry.k8s.io/pause:3.10.2; crictl inspecti -q registry.k8s.io/kube-proxy:v1.37.1 >/dev/null 2>&1 || echo registry.k8s.io/kube-proxy:v1.37.1; crictl inspecti -q ghcr.io/flannel-io/flannel:v0.28.9 >/dev/null 2>&1 || echo ghcr.io/flannel-io/flannel:v0.28.9; crictl inspecti -q ghcr.io/flannel-io/flannel-cni-plugin:v1.9.1-flannel3 >/dev/null 2>&1 || echo ghcr.io/flannel-io/flannel-cni-plugin:v1.9.1-flannel3 || true
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### cp1 · tools.kubeadm · kubeadm 1.37.1
# kubefab: tools.kubeadm
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
dnf -y --setopt=exit_on_lock=False --setopt='*.skip_if_unavailable=1' --disableexcludes=kubefab-kubernetes,kubefab-containerd install kubeadm-1.37.1
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### cp1 · etcd.patch · etcd 3.6.8-0 to the newest patch of 3.6 that the registry has, as 3.7 follows
# kubefab: etcd.patch
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
tag=""
#--8<-- command 2
K=2
for t in 3.6.24-0 3.6.23-0 3.6.22-0 3.6.21-0 3.6.20-0 3.6.19-0 3.6.18-0 3.6.17-0 3.6.16-0 3.6.15-0 3.6.14-0 3.6.13-0 3.6.12-0 3.6.11-0; do if crictl pull registry.k8s.io/etcd:$t >/dev/null 2>&1; then tag=$t; break; fi; done
#--8<-- command 3
K=3
[ -n "$tag" ] || { echo 'the registry has none of registry.k8s.io/etcd:3.6.11-0 to 3.6.24-0'; exit 65; }
#--8<-- command 4
K=4
install -d -m 0700 /etc/kubernetes/tmp /var/lib/kubefab
#--8<-- command 5
K=5
touch /var/lib/kubefab/upgrade-begun-1.37.1
#--8<-- command 6
K=6
[ -e /var/lib/kubefab/etcd-before.yaml ] || cp -p /etc/kubernetes/manifests/etcd.yaml /var/lib/kubefab/etcd-before.yaml
#--8<-- command 7
K=7
(umask 077; sed "s|^\( *image: *\).*|\1registry.k8s.io/etcd:$tag|" /etc/kubernetes/manifests/etcd.yaml >/etc/kubernetes/tmp/kubefab-etcd.yaml)
#--8<-- command 8
K=8
sync
#--8<-- command 9
K=9
mv -f /etc/kubernetes/tmp/kubefab-etcd.yaml /etc/kubernetes/manifests/etcd.yaml
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### cp1 · etcd.healthy · until: etcd is healthy with that patch
# kubefab: etcd.healthy
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
curl -s --max-time 5 http://127.0.0.1:2381/metrics | grep '^etcd_server_version' || true; curl -s --max-time 5 http://127.0.0.1:2381/health || true
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### cp1 · etcd.healthy · after 10 s: end the API's container, if etcd does not run: the kubelet waits for its answers before it starts etcd
# kubefab: etcd.healthy
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
if [ -e /etc/kubernetes/manifests/etcd.yaml ] && [ -z "$(crictl ps -q --label io.kubernetes.pod.namespace=kube-system --label io.kubernetes.container.name=etcd)" ]; then ids=$(crictl ps -q --label io.kubernetes.pod.namespace=kube-system --label io.kubernetes.container.name=kube-apiserver); [ -z "$ids" ] || crictl stop --timeout 1 $ids >/dev/null || true; fi
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### cp1 · etcd.healthy · after 15 s: end the API's container, if etcd does not run: the kubelet waits for its answers before it starts etcd
# kubefab: etcd.healthy
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
if [ -e /etc/kubernetes/manifests/etcd.yaml ] && [ -z "$(crictl ps -q --label io.kubernetes.pod.namespace=kube-system --label io.kubernetes.container.name=etcd)" ]; then ids=$(crictl ps -q --label io.kubernetes.pod.namespace=kube-system --label io.kubernetes.container.name=kube-apiserver); [ -z "$ids" ] || crictl stop --timeout 1 $ids >/dev/null || true; fi
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### cp1 · etcd.healthy · after 30 s: end the API's container, if etcd does not run: the kubelet waits for its answers before it starts etcd
# kubefab: etcd.healthy
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
if [ -e /etc/kubernetes/manifests/etcd.yaml ] && [ -z "$(crictl ps -q --label io.kubernetes.pod.namespace=kube-system --label io.kubernetes.container.name=etcd)" ]; then ids=$(crictl ps -q --label io.kubernetes.pod.namespace=kube-system --label io.kubernetes.container.name=kube-apiserver); [ -z "$ids" ] || crictl stop --timeout 1 $ids >/dev/null || true; fi
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### cp1 · etcd.healthy · after 90 s: restart the kubelet
# kubefab: etcd.healthy
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

#### cp1 · etcd.api · until: the API answers
# kubefab: etcd.api
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

#### cp1 · plane.controllers · until: the controller manager and the scheduler are at work
# kubefab: plane.controllers
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
systemctl is-active -q kubefab-upgrade || for n in kube-controller-manager kube-scheduler; do if ! grep -q -e --leader-elect=false /etc/kubernetes/manifests/$n.yaml; then echo "$n $(crictl ps --label io.kubernetes.pod.namespace=kube-system --label io.kubernetes.container.name=$n -o json | grep -oE '"createdAt": *"[0-9]{10}' | grep -oE '[0-9]{10}$' | sort | tail -n 1) $(kubectl --request-timeout=5s -n kube-system get lease $n -o jsonpath='{.spec.renewTime}' 2>/dev/null)"; fi; done; echo asked || true
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### cp1 · plane.apply · kubeadm upgrade apply 1.37.1
# kubefab: plane.apply
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
#--8<-- file 0600 /run/kubefab-upgrade.yaml
mkdir -p /run
(umask 077; cat > /run/.kubefab-upgrade.yaml.kubefab <<'KUBEFAB-END'
apiVersion: kubeadm.k8s.io/v1beta4
kind: UpgradeConfiguration
apply:
  kubernetesVersion: v1.37.1
  certificateRenewal: true
  etcdUpgrade: true
  ignorePreflightErrors: &id001 []
  imagePullPolicy: IfNotPresent
node:
  certificateRenewal: true
  etcdUpgrade: true
  ignorePreflightErrors: *id001
  imagePullPolicy: IfNotPresent
timeouts:
  upgradeManifests: 10m0s
KUBEFAB-END
)
chmod 0600 /run/.kubefab-upgrade.yaml.kubefab
mv -f /run/.kubefab-upgrade.yaml.kubefab /run/kubefab-upgrade.yaml
#--8<-- command 1
K=1
install -d -m 0700 /var/lib/kubefab
#--8<-- command 2
K=2
touch /var/lib/kubefab/upgrade-begun-1.37.1
#--8<-- command 3
K=3
systemctl is-active -q kubefab-upgrade || { systemctl reset-failed kubefab-upgrade 2>/dev/null || true; systemd-run -q --unit=kubefab-upgrade --setenv=KUBECONFIG=/etc/kubernetes/admin.conf --setenv=HOME=/root kubeadm upgrade apply --yes --config /run/kubefab-upgrade.yaml; }
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### cp1 · plane.applied · until: kubeadm changes the control plane
# kubefab: plane.applied
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
systemctl is-active kubefab-upgrade || true; journalctl -u kubefab-upgrade -o cat -n 1 --no-pager 2>/dev/null || true
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### cp1 · plane.applied · after 20 s: end the API's container, if etcd does not run: the kubelet waits for its answers before it starts etcd
# kubefab: plane.applied
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
if [ -e /etc/kubernetes/manifests/etcd.yaml ] && [ -z "$(crictl ps -q --label io.kubernetes.pod.namespace=kube-system --label io.kubernetes.container.name=etcd)" ]; then ids=$(crictl ps -q --label io.kubernetes.pod.namespace=kube-system --label io.kubernetes.container.name=kube-apiserver); [ -z "$ids" ] || crictl stop --timeout 1 $ids >/dev/null || true; fi
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### cp1 · plane.applied · after 30 s: end the API's container, if etcd does not run: the kubelet waits for its answers before it starts etcd
# kubefab: plane.applied
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
if [ -e /etc/kubernetes/manifests/etcd.yaml ] && [ -z "$(crictl ps -q --label io.kubernetes.pod.namespace=kube-system --label io.kubernetes.container.name=etcd)" ]; then ids=$(crictl ps -q --label io.kubernetes.pod.namespace=kube-system --label io.kubernetes.container.name=kube-apiserver); [ -z "$ids" ] || crictl stop --timeout 1 $ids >/dev/null || true; fi
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### cp1 · plane.applied · after 50 s: restart the kubelet, if kubeadm waits for a pod that runs
# kubefab: plane.applied
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
if journalctl -u kubefab-upgrade -o cat -n 1 --no-pager 2>/dev/null | grep -q 'This can take up to'; then all=yes; for f in /etc/kubernetes/manifests/*.yaml; do i=$(sed -n 's|^ *image: *||p' "$f" | head -n 1); crictl ps -o json | grep -F "\"$i\"" >/dev/null || all=no; done; if [ $all = yes ]; then systemctl restart kubelet; fi; fi
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### cp1 · plane.applied · after 150 s: restart the kubelet, if kubeadm waits for a pod that runs
# kubefab: plane.applied
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
if journalctl -u kubefab-upgrade -o cat -n 1 --no-pager 2>/dev/null | grep -q 'This can take up to'; then all=yes; for f in /etc/kubernetes/manifests/*.yaml; do i=$(sed -n 's|^ *image: *||p' "$f" | head -n 1); crictl ps -o json | grep -F "\"$i\"" >/dev/null || all=no; done; if [ $all = yes ]; then systemctl restart kubelet; fi; fi
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### cp1 · plane.api · until: the API answers
# kubefab: plane.api
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

#### cp1 · plane.ended · kubeadm has ended well
# kubefab: plane.ended
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
if systemctl is-failed -q kubefab-upgrade; then journalctl -u kubefab-upgrade -o cat -n 60 --no-pager 2>&1 | tail -n 12; if journalctl -u kubefab-upgrade -o cat -n 60 --no-pager 2>&1 | grep -E 'static Pod hash|ERROR CreateJob\]: .* did not complete in' >/dev/null; then kubeadm upgrade apply --yes --config /run/kubefab-upgrade.yaml; else exit 1; fi; fi
#--8<-- command 2
K=2
systemctl reset-failed kubefab-upgrade 2>/dev/null || true
#--8<-- command 3
K=3
rm -f /run/kubefab-upgrade.yaml /var/lib/kubefab/upgrade-begun-*
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### cp1 · kubelet.packages · kubelet and kubectl 1.37.1
# kubefab: kubelet.packages
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
dnf -y --setopt=exit_on_lock=False --setopt='*.skip_if_unavailable=1' --disableexcludes=kubefab-kubernetes,kubefab-containerd install kubelet-1.37.1 kubeadm-1.37.1 kubectl-1.37.1 kubernetes-cni cri-tools
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### cp1 · kubelet.restart · the kubelet runs as 1.37.1
# kubefab: kubelet.restart
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
systemctl daemon-reload
#--8<-- command 2
K=2
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

#### cp1 · kubelet.ready · until: the node is Ready with the kubelet 1.37.1
# kubefab: kubelet.ready
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
kubectl --request-timeout=5s get node cp1 -o jsonpath='{.status.nodeInfo.kubeletVersion}{" "}{.status.conditions[?(@.type=="Ready")].status}' 2>&1 || true
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### cp1 · kubelet.ready · after 120 s: restart the kubelet
# kubefab: kubelet.ready
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

#### cp1 · kubelet.static · until: the control plane's pods are the new kubelet's, and the API answers
# kubefab: kubelet.static
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
if p=$(curl -sk --max-time 5 --cert /etc/kubernetes/pki/apiserver-kubelet-client.crt --key /etc/kubernetes/pki/apiserver-kubelet-client.key https://127.0.0.1:10250/pods); then echo asked; echo "$p" | grep -oE '"uid": *"[0-9a-f]{32}"' | grep -oE '[0-9a-f]{32}' | sort -u | sed 's/^/wants /' || true; fi; crictl pods --namespace kube-system --state ready -o json | grep -oE '"uid": *"[0-9a-f]{32}"' | grep -oE '[0-9a-f]{32}' | sort -u | sed 's/^/runs /' || true; kubectl --request-timeout=5s get --raw=/readyz 2>&1 || true
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### cp1 · kubelet.controllers · until: the controller manager and the scheduler are at work
# kubefab: kubelet.controllers
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
for n in kube-controller-manager kube-scheduler; do if ! grep -q -e --leader-elect=false /etc/kubernetes/manifests/$n.yaml; then echo "$n $(crictl ps --label io.kubernetes.pod.namespace=kube-system --label io.kubernetes.container.name=$n -o json | grep -oE '"createdAt": *"[0-9]{10}' | grep -oE '[0-9]{10}$' | sort | tail -n 1) $(kubectl --request-timeout=5s -n kube-system get lease $n -o jsonpath='{.spec.renewTime}' 2>/dev/null)"; fi; done; echo asked || true
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### cp1 · kubelet.flannel · until: flannel.1 in 10.44.0.0/16
# kubefab: kubelet.flannel
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

#### cp1 · kubelet.flannel · after 60 s: restart the kubelet
# kubefab: kubelet.flannel
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

#### cp1 · kubelet.flannel · after 60 s: recreate flannel's and our other pods on this node
# kubefab: kubelet.flannel
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

#### cp1 · kubelet.pods · until: its kube-proxy, flannel and Telegraf run
# kubefab: kubelet.pods
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
kubectl --request-timeout=5s get pods -n kube-system -l k8s-app=kube-proxy --field-selector spec.nodeName=cp1 --no-headers 2>/dev/null || echo no answer; kubectl --request-timeout=5s get pods -n kube-flannel -l app=flannel --field-selector spec.nodeName=cp1 --no-headers 2>/dev/null || echo no answer; kubectl --request-timeout=5s get pods -n monitoring -l app=telegraf --field-selector spec.nodeName=cp1 --no-headers 2>/dev/null || echo no answer || true
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### cp1 · kubelet.rules · until: its kube-proxy has written its rules
# kubefab: kubelet.rules
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
curl -s --max-time 5 http://127.0.0.1:10256/livez || true || true
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### cp1 · kubelet.clock · until: its clock says from when on its metrics are of the new kubelet
# kubefab: kubelet.clock
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
date +%s || true
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### cp1 · kubelet.metrics · until: this node's metrics arrive in InfluxDB
# kubefab: kubelet.metrics
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

#### cp1 · kubelet.metrics · after 45 s: recreate the influxdb and telegraf pods (A5)
# kubefab: kubelet.metrics
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
kubectl -n monitoring exec deploy/monitoring-influxdb -- influx -database k8s -format csv -execute 'CREATE DATABASE "k8s"; ALTER RETENTION POLICY "default" ON k8s DURATION 0d REPLICATION 1 SHARD DURATION 7d DEFAULT; GRANT WRITE ON "k8s" TO "telegraf"; SHOW RETENTION POLICIES' || true
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### w1 · kubelet.services · until: kube-proxy is the new one on every node, and has written its rules
# kubefab: kubelet.services
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
kubectl -n kube-system get daemonset kube-proxy -o 'jsonpath={.metadata.generation}{" "}{.status.observedGeneration}{" "}{.status.desiredNumberScheduled}{" "}{.status.updatedNumberScheduled}{" "}{.status.numberAvailable}{" "}{"\n"}' 2>&1; kubectl get nodes -o 'jsonpath={range .items[*]}{"node "}{.metadata.name}{" "}{.status.conditions[?(@.type=="Ready")].status}{"\n"}{end}' 2>/dev/null; kubectl -n kube-system get pods -l k8s-app=kube-proxy -o 'jsonpath={range .items[*]}{"pod "}{.spec.nodeName}{" "}{.status.conditions[?(@.type=="Ready")].status}{"\n"}{"started "}{.spec.nodeName}{" "}{.status.containerStatuses[0].state.running.startedAt}{"\n"}{end}' 2>/dev/null; for n in $(kubectl -n kube-system get pods -l k8s-app=kube-proxy --sort-by=.status.startTime -o 'jsonpath={.items[*].spec.nodeName}' | tr ' ' '\n' | tail -n 8); do echo "says $n $(kubectl --request-timeout=3s get --raw /api/v1/nodes/$n:10256/proxy/livez 2>&1 | tail -n 1)"; done; echo "end $(date -u +%FT%TZ)" || true
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### w1 · kubelet.cordon · no new pods on this node · on the control plane
# kubefab: kubelet.cordon
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
now=$(kubectl get node w1 -o 'jsonpath={.spec.unschedulable}')
#--8<-- command 2
K=2
if [ "$now" != true ]; then kubectl patch node w1 --type=merge -p '{"metadata": {"annotations": {"kubefab.dev/cordoned": "test"}}, "spec": {"unschedulable": true}}'; fi
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### w1 · kubelet.drain · until: node w1 is drained
# kubefab: kubelet.drain
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
kubectl -n kube-system delete pods -l 'app in (headlamp,kube-web-view)' --field-selector spec.nodeName=w1 --ignore-not-found --wait=false 2>&1; kubectl -n monitoring delete pods -l 'app in (monitoring-influxdb)' --field-selector spec.nodeName=w1 --ignore-not-found --wait=false 2>&1; kubectl drain w1 --ignore-daemonsets --timeout=8s 2>&1 || { kubectl get pods -A --field-selector spec.nodeName=w1 -o 'jsonpath={range .items[*]}{"pod "}{.metadata.namespace}{" "}{.metadata.name}{" "}{.metadata.labels}{"\n"}{end}'; kubectl get poddisruptionbudgets -A -o 'jsonpath={range .items[*]}{"budget "}{.metadata.namespace}{" "}{.metadata.name}{" "}{.spec.selector}{"\n"}{end}'; } 2>&1 || true
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### w1 · kubelet.volumes · until: no volume is attached to node w1, but of pods that stay
# kubefab: kubelet.volumes
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
rows=$(timeout 20 kubectl --request-timeout=15s get volumeattachments -A -o 'jsonpath={range .items[*]}{.metadata.name}{"\t"}{.spec.nodeName}{"\t"}{.spec.source.persistentVolumeName}{"\n"}{end}' 2>&1) || { echo "$rows"; false; } && echo "$rows" && if [ -n "$rows" ]; then echo '@@ pods' && timeout 20 kubectl --request-timeout=15s get pods -A --field-selector spec.nodeName=w1 -o 'jsonpath={range .items[*]}{.metadata.namespace}{"\t"}{.metadata.name}{"\t"}{.status.phase}{"\t"}{.metadata.ownerReferences}{"\t"}{.metadata.annotations.kubernetes\.io/config\.mirror}{"\t"}{.spec.volumes[*].persistentVolumeClaim.claimName}{"\t"}{.spec.volumes[?(@.ephemeral)].name}{"\n"}{end}' 2>&1 && echo '@@ volumes' && timeout 20 kubectl --request-timeout=15s get persistentvolumes -A -o 'jsonpath={range .items[*]}{.metadata.name}{"\t"}{.spec.claimRef.namespace}{"\t"}{.spec.claimRef.name}{"\n"}{end}' 2>&1; fi && echo '@@ end' || true
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### w1 · kubelet.kubeadm · kubeadm 1.37.1
# kubefab: kubelet.kubeadm
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
dnf -y --setopt=exit_on_lock=False --setopt='*.skip_if_unavailable=1' --disableexcludes=kubefab-kubernetes,kubefab-containerd install kubeadm-1.37.1
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### w1 · kubelet.node · the cluster's configuration of the kubelet
# kubefab: kubelet.node
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
#--8<-- file 0600 /run/kubefab-upgrade.yaml
mkdir -p /run
(umask 077; cat > /run/.kubefab-upgrade.yaml.kubefab <<'KUBEFAB-END'
apiVersion: kubeadm.k8s.io/v1beta4
kind: UpgradeConfiguration
apply:
  kubernetesVersion: v1.37.1
  certificateRenewal: true
  etcdUpgrade: true
  ignorePreflightErrors: &id001 []
  imagePullPolicy: IfNotPresent
node:
  certificateRenewal: true
  etcdUpgrade: true
  ignorePreflightErrors: *id001
  imagePullPolicy: IfNotPresent
timeouts:
  upgradeManifests: 10m0s
KUBEFAB-END
)
chmod 0600 /run/.kubefab-upgrade.yaml.kubefab
mv -f /run/.kubefab-upgrade.yaml.kubefab /run/kubefab-upgrade.yaml
#--8<-- command 1
K=1
kubeadm upgrade node --config /run/kubefab-upgrade.yaml
#--8<-- command 2
K=2
rm -f /run/kubefab-upgrade.yaml
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### w1 · kubelet.packages · kubelet and kubectl 1.37.1
# kubefab: kubelet.packages
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
dnf -y --setopt=exit_on_lock=False --setopt='*.skip_if_unavailable=1' --disableexcludes=kubefab-kubernetes,kubefab-containerd install kubelet-1.37.1 kubeadm-1.37.1 kubectl-1.37.1 kubernetes-cni cri-tools
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### w1 · kubelet.restart · the kubelet runs as 1.37.1
# kubefab: kubelet.restart
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
systemctl daemon-reload
#--8<-- command 2
K=2
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

#### w1 · kubelet.ready · until: the node is Ready with the kubelet 1.37.1
# kubefab: kubelet.ready
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
kubectl --request-timeout=5s get node w1 -o jsonpath='{.status.nodeInfo.kubeletVersion}{" "}{.status.conditions[?(@.type=="Ready")].status}' 2>&1 || true
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### w1 · kubelet.ready · after 120 s: restart the kubelet
# kubefab: kubelet.ready
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

#### w1 · kubelet.flannel · until: flannel.1 in 10.44.0.0/16
# kubefab: kubelet.flannel
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

#### w1 · kubelet.flannel · after 60 s: restart the kubelet
# kubefab: kubelet.flannel
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

#### w1 · kubelet.flannel · after 60 s: recreate flannel's and our other pods on this node
# kubefab: kubelet.flannel
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

#### w1 · kubelet.pods · until: its kube-proxy, flannel and Telegraf run
# kubefab: kubelet.pods
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
kubectl --request-timeout=5s get pods -n kube-system -l k8s-app=kube-proxy --field-selector spec.nodeName=w1 --no-headers 2>/dev/null || echo no answer; kubectl --request-timeout=5s get pods -n kube-flannel -l app=flannel --field-selector spec.nodeName=w1 --no-headers 2>/dev/null || echo no answer; kubectl --request-timeout=5s get pods -n monitoring -l app=telegraf --field-selector spec.nodeName=w1 --no-headers 2>/dev/null || echo no answer || true
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### w1 · kubelet.rules · until: its kube-proxy has written its rules
# kubefab: kubelet.rules
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
curl -s --max-time 5 http://127.0.0.1:10256/livez || true || true
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### w1 · kubelet.clock · until: its clock says from when on its metrics are of the new kubelet
# kubefab: kubelet.clock
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
date +%s || true
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### w1 · kubelet.metrics · until: this node's metrics arrive in InfluxDB
# kubefab: kubelet.metrics
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

#### w1 · kubelet.metrics · after 45 s: recreate the influxdb and telegraf pods (A5)
# kubefab: kubelet.metrics
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
kubectl -n monitoring exec deploy/monitoring-influxdb -- influx -database k8s -format csv -execute 'CREATE DATABASE "k8s"; ALTER RETENTION POLICY "default" ON k8s DURATION 0d REPLICATION 1 SHARD DURATION 7d DEFAULT; GRANT WRITE ON "k8s" TO "telegraf"; SHOW RETENTION POLICIES' || true
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### w1 · kubelet.uncordon · until: the node takes pods again
# kubefab: kubelet.uncordon
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
if [ "$(kubectl get node w1 --ignore-not-found -o 'jsonpath={.metadata.annotations.kubefab\.dev/cordoned}')" = test ]; then kubectl patch node w1 --type=merge -p '{"metadata": {"annotations": {"kubefab.dev/cordoned": null}}, "spec": {"unschedulable": null}}'; fi; kubectl get node w1 -o 'jsonpath={.metadata.name} {.metadata.annotations.kubefab\.dev/cordoned}' 2>&1 || true
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
kubectl -n monitoring exec deploy/monitoring-influxdb -- influx -database k8s -format csv -execute 'CREATE DATABASE "k8s"; ALTER RETENTION POLICY "default" ON k8s DURATION 0d REPLICATION 1 SHARD DURATION 7d DEFAULT; GRANT WRITE ON "k8s" TO "telegraf"; SHOW RETENTION POLICIES' || true
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main
