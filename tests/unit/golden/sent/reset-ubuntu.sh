#### cp1 · reset.kubeadm · kubeadm reset
# kubefab: reset.kubeadm
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
cd /
exec 9>>/run/kubefab.lock
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
systemctl stop kubelet || true
#--8<-- command 2
K=2
kubeadm reset -f --cri-socket unix:///run/containerd/containerd.sock --cleanup-tmp-dir
#--8<-- command 3
K=3
systemctl stop kubelet || true
#--8<-- command 4
K=4
crictl --runtime-endpoint unix:///run/containerd/containerd.sock rmp -fa >/dev/null 2>&1 || true
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### cp1 · reset.mounts · unmount what the kubelet mounted
# kubefab: reset.mounts
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
cd /
exec 9>>/run/kubefab.lock
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
awk '$2 ~ "^/var/lib/kubelet/" {print length($2), $2}' /proc/mounts | sort -rn | cut -d' ' -f2- | while read -r m; do umount "$m"; done
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### cp1 · reset.network · interfaces and firewall rules
# kubefab: reset.network
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
cd /
exec 9>>/run/kubefab.lock
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
ip link show dev cni0 >/dev/null 2>&1 && ip link delete cni0 || true
#--8<-- command 2
K=2
ip link show dev flannel.1 >/dev/null 2>&1 && ip link delete flannel.1 || true
#--8<-- command 3
K=3
ip link show dev flannel-v6.1 >/dev/null 2>&1 && ip link delete flannel-v6.1 || true
#--8<-- command 4
K=4
ip link show dev flannel-wg >/dev/null 2>&1 && ip link delete flannel-wg || true
#--8<-- command 5
K=5
ip link show dev kube-ipvs0 >/dev/null 2>&1 && ip link delete kube-ipvs0 || true
#--8<-- command 6
K=6
if command -v iptables-save >/dev/null && iptables-save 2>/dev/null | grep -E '(KUBE-|FLANNEL-|CNI-)' >/dev/null; then iptables-save 2>/dev/null | grep -vE '(KUBE-|FLANNEL-|CNI-)' | iptables-restore; fi
#--8<-- command 7
K=7
if command -v ip6tables-save >/dev/null && ip6tables-save 2>/dev/null | grep -E '(KUBE-|FLANNEL-|CNI-)' >/dev/null; then ip6tables-save 2>/dev/null | grep -vE '(KUBE-|FLANNEL-|CNI-)' | ip6tables-restore; fi
#--8<-- command 8
K=8
for t in 'ip kube-proxy' 'ip6 kube-proxy' 'ip flannel-ipv4' 'ip6 flannel-ipv6'; do nft delete table $t 2>/dev/null || true; done
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### cp1 · reset.files · files of the cluster
# kubefab: reset.files
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
cd /
exec 9>>/run/kubefab.lock
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
rm -rf /etc/kubernetes/manifests/*.yaml /etc/kubernetes/pki /etc/kubernetes/*.conf /etc/kubernetes/tmp
#--8<-- command 2
K=2
rm -rf --one-file-system /var/lib/etcd/member /var/lib/kubelet/config.yaml /var/lib/kubelet/kubeadm-flags.env /var/lib/kubelet/pki /var/lib/kubelet/pods /var/lib/kubelet/plugins /var/lib/kubelet/*_state /var/lib/kubelet/actuated_pods_state /var/lib/kubelet/allocated_pods_state
#--8<-- command 3
K=3
rm -rf /etc/cni/net.d/10-flannel.conflist /var/lib/cni/flannel /var/lib/cni/networks/cbr0 /var/lib/cni/results /run/flannel /opt/cni/bin/flannel
#--8<-- command 4
K=4
rmdir /var/lib/cni/networks /var/lib/cni 2>/dev/null || true
#--8<-- command 5
K=5
rm -f /run/kubefab-init.yaml /run/kubefab-join.yaml /run/kubefab-token.yaml
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### cp1 · reset.undo · swap and sysctls as they were before
# kubefab: reset.undo
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
cd /
exec 9>>/run/kubefab.lock
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
if [ -s /var/lib/kubefab/sysctl ]; then sysctl -q -p /var/lib/kubefab/sysctl || true; fi
#--8<-- command 2
K=2
rm -f /etc/modules-load.d/kubefab.conf /etc/sysctl.d/99-kubefab.conf
#--8<-- command 3
K=3
sed -i 's/^#kubefab# //' /etc/fstab
#--8<-- command 4
K=4
if [ -s /var/lib/kubefab/swapunits ]; then while read -r what u; do systemctl "$what" "$u" || true; done < /var/lib/kubefab/swapunits; fi
#--8<-- command 5
K=5
if [ -s /var/lib/kubefab/swaps ] || [ -s /var/lib/kubefab/swapunits ]; then systemctl daemon-reload; fi
#--8<-- command 6
K=6
if [ -s /var/lib/kubefab/swaps ]; then cut -d' ' -f1 /var/lib/kubefab/swaps | while read -r s; do swapon "$s" || true; done; fi
#--8<-- command 7
K=7
rm -rf /var/lib/kubefab
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### cp1 · reset.images · images
# kubefab: reset.images
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
cd /
exec 9>>/run/kubefab.lock
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
crictl --runtime-endpoint unix:///run/containerd/containerd.sock rmi -a >/dev/null 2>&1 || true
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### w1 · reset.node · drain and take the node out of the cluster · on the control plane
# kubefab: reset.node
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
cd /
exec 9>>/run/kubefab.lock
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
kubectl drain w1 --ignore-daemonsets --delete-emptydir-data --force --timeout=120s || true
#--8<-- command 2
K=2
kubectl delete node w1 --ignore-not-found
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### w1 · reset.kubeadm · kubeadm reset
# kubefab: reset.kubeadm
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
cd /
exec 9>>/run/kubefab.lock
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
systemctl stop kubelet || true
#--8<-- command 2
K=2
kubeadm reset -f --cri-socket unix:///run/containerd/containerd.sock --cleanup-tmp-dir
#--8<-- command 3
K=3
systemctl stop kubelet || true
#--8<-- command 4
K=4
crictl --runtime-endpoint unix:///run/containerd/containerd.sock rmp -fa >/dev/null 2>&1 || true
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### w1 · reset.mounts · unmount what the kubelet mounted
# kubefab: reset.mounts
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
cd /
exec 9>>/run/kubefab.lock
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
awk '$2 ~ "^/var/lib/kubelet/" {print length($2), $2}' /proc/mounts | sort -rn | cut -d' ' -f2- | while read -r m; do umount "$m"; done
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### w1 · reset.network · interfaces and firewall rules
# kubefab: reset.network
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
cd /
exec 9>>/run/kubefab.lock
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
ip link show dev cni0 >/dev/null 2>&1 && ip link delete cni0 || true
#--8<-- command 2
K=2
ip link show dev flannel.1 >/dev/null 2>&1 && ip link delete flannel.1 || true
#--8<-- command 3
K=3
ip link show dev flannel-v6.1 >/dev/null 2>&1 && ip link delete flannel-v6.1 || true
#--8<-- command 4
K=4
ip link show dev flannel-wg >/dev/null 2>&1 && ip link delete flannel-wg || true
#--8<-- command 5
K=5
ip link show dev kube-ipvs0 >/dev/null 2>&1 && ip link delete kube-ipvs0 || true
#--8<-- command 6
K=6
if command -v iptables-save >/dev/null && iptables-save 2>/dev/null | grep -E '(KUBE-|FLANNEL-|CNI-)' >/dev/null; then iptables-save 2>/dev/null | grep -vE '(KUBE-|FLANNEL-|CNI-)' | iptables-restore; fi
#--8<-- command 7
K=7
if command -v ip6tables-save >/dev/null && ip6tables-save 2>/dev/null | grep -E '(KUBE-|FLANNEL-|CNI-)' >/dev/null; then ip6tables-save 2>/dev/null | grep -vE '(KUBE-|FLANNEL-|CNI-)' | ip6tables-restore; fi
#--8<-- command 8
K=8
for t in 'ip kube-proxy' 'ip6 kube-proxy' 'ip flannel-ipv4' 'ip6 flannel-ipv6'; do nft delete table $t 2>/dev/null || true; done
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### w1 · reset.files · files of the cluster
# kubefab: reset.files
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
cd /
exec 9>>/run/kubefab.lock
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
rm -rf /etc/kubernetes/manifests/*.yaml /etc/kubernetes/pki /etc/kubernetes/*.conf /etc/kubernetes/tmp
#--8<-- command 2
K=2
rm -rf --one-file-system /var/lib/etcd/member /var/lib/kubelet/config.yaml /var/lib/kubelet/kubeadm-flags.env /var/lib/kubelet/pki /var/lib/kubelet/pods /var/lib/kubelet/plugins /var/lib/kubelet/*_state /var/lib/kubelet/actuated_pods_state /var/lib/kubelet/allocated_pods_state
#--8<-- command 3
K=3
rm -rf /etc/cni/net.d/10-flannel.conflist /var/lib/cni/flannel /var/lib/cni/networks/cbr0 /var/lib/cni/results /run/flannel /opt/cni/bin/flannel
#--8<-- command 4
K=4
rmdir /var/lib/cni/networks /var/lib/cni 2>/dev/null || true
#--8<-- command 5
K=5
rm -f /run/kubefab-init.yaml /run/kubefab-join.yaml /run/kubefab-token.yaml
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### w1 · reset.undo · swap and sysctls as they were before
# kubefab: reset.undo
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
cd /
exec 9>>/run/kubefab.lock
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
if [ -s /var/lib/kubefab/sysctl ]; then sysctl -q -p /var/lib/kubefab/sysctl || true; fi
#--8<-- command 2
K=2
rm -f /etc/modules-load.d/kubefab.conf /etc/sysctl.d/99-kubefab.conf
#--8<-- command 3
K=3
sed -i 's/^#kubefab# //' /etc/fstab
#--8<-- command 4
K=4
if [ -s /var/lib/kubefab/swapunits ]; then while read -r what u; do systemctl "$what" "$u" || true; done < /var/lib/kubefab/swapunits; fi
#--8<-- command 5
K=5
if [ -s /var/lib/kubefab/swaps ] || [ -s /var/lib/kubefab/swapunits ]; then systemctl daemon-reload; fi
#--8<-- command 6
K=6
if [ -s /var/lib/kubefab/swaps ]; then cut -d' ' -f1 /var/lib/kubefab/swaps | while read -r s; do swapon "$s" || true; done; fi
#--8<-- command 7
K=7
rm -rf /var/lib/kubefab
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### w1 · reset.images · images
# kubefab: reset.images
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
cd /
exec 9>>/run/kubefab.lock
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
crictl --runtime-endpoint unix:///run/containerd/containerd.sock rmi -a >/dev/null 2>&1 || true
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main
