#### cp1 · reset.kubeadm · kubeadm reset
# kubefab: reset.kubeadm
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
touch /var/lib/kubefab/reset-started
#--8<-- command 3
K=3
systemctl stop kubelet || true
#--8<-- command 4
K=4
crictl --runtime-endpoint unix:///run/containerd/containerd.sock pods -q | xargs -r -n 16 crictl --runtime-endpoint unix:///run/containerd/containerd.sock rmp -f >/dev/null 2>&1 || true
#--8<-- command 5
K=5
install -d -m 0700 /var/lib/kubefab
#--8<-- command 6
K=6
touch /var/lib/kubefab/etcd
#--8<-- command 7
K=7
kubeadm reset -f --cri-socket unix:///run/containerd/containerd.sock --kubeconfig /dev/null --skip-phases=remove-etcd-member --cleanup-tmp-dir
#--8<-- command 8
K=8
rm -rf --one-file-system /var/lib/etcd/member
#--8<-- command 9
K=9
rm -f /var/lib/kubefab/etcd
#--8<-- command 10
K=10
systemctl stop kubelet || true
#--8<-- command 11
K=11
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
if command -v iptables-save >/dev/null; then f=$(mktemp); if iptables-save >$f 2>/dev/null && awk '{ line[NR] = $0; if ($0 ~ /^\*/) table++; within[NR] = table; text = $0; gsub(/"([^"\\]|\\.)*"/, "Q", text); n = split(text, word, " "); if (word[1] ~ /^:/) chain[NR] = substr(word[1], 2); if (word[1] == "-A") { chain[NR] = word[2]; if (word[n - 1] == "-j" || word[n - 1] == "-g") target[NR] = word[n]; named[NR] = ($0 ~ /--comment "(dnat |snat )?name: \\"cbr0\\" id: \\"/) && (chain[NR] ~ /^CNI-/ || target[NR] ~ /^CNI-/); if (named[NR] && chain[NR] ~ /^CNI-(DN-|SN-)?[0-9a-f]+$/) own[table, chain[NR]] = 1; if (named[NR] && target[NR] ~ /^CNI-(DN-|SN-)?[0-9a-f]+$/) own[table, target[NR]] = 1 } } function ours(name, t) { return name ~ /^(KUBE-|FLANNEL-)/ || ((t, name) in own) } END { for (i = 1; i <= NR; i++) { if (named[i] || ours(chain[i], within[i]) || ours(target[i], within[i])) found++; else if (!count) print line[i] } if (count) print found + 0 }' $f >$f.less && ! cmp -s $f $f.less; then iptables-restore -w <$f.less; fi; rm -f $f $f.less; fi
#--8<-- command 7
K=7
if command -v ip6tables-save >/dev/null; then f=$(mktemp); if ip6tables-save >$f 2>/dev/null && awk '{ line[NR] = $0; if ($0 ~ /^\*/) table++; within[NR] = table; text = $0; gsub(/"([^"\\]|\\.)*"/, "Q", text); n = split(text, word, " "); if (word[1] ~ /^:/) chain[NR] = substr(word[1], 2); if (word[1] == "-A") { chain[NR] = word[2]; if (word[n - 1] == "-j" || word[n - 1] == "-g") target[NR] = word[n]; named[NR] = ($0 ~ /--comment "(dnat |snat )?name: \\"cbr0\\" id: \\"/) && (chain[NR] ~ /^CNI-/ || target[NR] ~ /^CNI-/); if (named[NR] && chain[NR] ~ /^CNI-(DN-|SN-)?[0-9a-f]+$/) own[table, chain[NR]] = 1; if (named[NR] && target[NR] ~ /^CNI-(DN-|SN-)?[0-9a-f]+$/) own[table, target[NR]] = 1 } } function ours(name, t) { return name ~ /^(KUBE-|FLANNEL-)/ || ((t, name) in own) } END { for (i = 1; i <= NR; i++) { if (named[i] || ours(chain[i], within[i]) || ours(target[i], within[i])) found++; else if (!count) print line[i] } if (count) print found + 0 }' $f >$f.less && ! cmp -s $f $f.less; then ip6tables-restore -w <$f.less; fi; rm -f $f $f.less; fi
#--8<-- command 8
K=8
nft list tables 2>/dev/null | grep -xE 'table (ip6? kube-proxy|ip flannel-ipv4|ip6 flannel-ipv6)' | while read -r _ t; do nft delete table $t || true; done || true
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
rm -rf /etc/kubernetes/manifests/*.yaml /etc/kubernetes/pki /etc/kubernetes/*.conf /etc/kubernetes/tmp
#--8<-- command 2
K=2
rm -rf --one-file-system /var/lib/kubelet/config.yaml /var/lib/kubelet/kubeadm-flags.env /var/lib/kubelet/pki /var/lib/kubelet/pods /var/lib/kubelet/plugins /var/lib/kubelet/*_state /var/lib/kubelet/actuated_pods_state /var/lib/kubelet/allocated_pods_state
#--8<-- command 3
K=3
rm -rf /etc/cni/net.d/10-flannel.conflist /var/lib/cni/flannel /var/lib/cni/networks/cbr0 /var/lib/cni/results/cbr0-* /run/flannel /opt/cni/bin/flannel
#--8<-- command 4
K=4
rmdir /var/lib/cni/results /var/lib/cni/networks /var/lib/cni 2>/dev/null || true
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

#### cp1 · reset.images · images
# kubefab: reset.images
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

#### cp1 · reset.packages · remove the packages and their repositories
# kubefab: reset.packages
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
rm -f /etc/apt/sources.list.d/kubefab-kubernetes.list /etc/apt/sources.list.d/kubefab-containerd.list /etc/apt/keyrings/kubefab-kubernetes.gpg /etc/apt/keyrings/kubefab-containerd.gpg /etc/apt/apt.conf.d/00kubefab-proxy
#--8<-- command 2
K=2
apt-mark unhold containerd.io kubelet kubeadm kubectl kubernetes-cni cri-tools || true
#--8<-- command 3
K=3
apt-get -o DPkg::Lock::Timeout=60 -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts=/dev/null -qy purge containerd.io kubelet kubeadm kubectl kubernetes-cni cri-tools
#--8<-- command 4
K=4
rm -f /var/lib/kubefab-packages
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### cp1 · reset.undo · files, swap, sysctls and units as they were before
# kubefab: reset.undo
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
if [ -s /var/lib/kubefab/sysctl ]; then sysctl -q -p /var/lib/kubefab/sysctl || true; fi
#--8<-- command 2
K=2
rm -f /etc/modules-load.d/kubefab.conf /etc/sysctl.d/99-kubefab.conf
#--8<-- command 3
K=3
if grep -q '^#kubefab# ' /etc/fstab 2>/dev/null; then sed -i 's/^#kubefab# //' /etc/fstab; fi
#--8<-- command 4
K=4
if [ -s /var/lib/kubefab/swapunits ]; then while read -r what u; do systemctl "$what" "$u" || true; done < /var/lib/kubefab/swapunits; fi
#--8<-- command 5
K=5
if [ -s /var/lib/kubefab/swapservices ]; then while read -r what u; do systemctl "$what" "$u" || true; done < /var/lib/kubefab/swapservices; fi
#--8<-- command 6
K=6
if [ -s /var/lib/kubefab/swaps ] || [ -s /var/lib/kubefab/swapunits ]; then systemctl daemon-reload; fi
#--8<-- command 7
K=7
if [ -s /var/lib/kubefab/swaps ]; then cut -d' ' -f1 /var/lib/kubefab/swaps | while read -r s; do swapon "$s" || true; done; fi
#--8<-- command 8
K=8
if grep -qx file /var/lib/kubefab/selinux 2>/dev/null; then sed -i 's/^SELINUX=permissive$/SELINUX=enforcing/' /etc/selinux/config; fi
#--8<-- command 9
K=9
if [ -s /var/lib/kubefab/selinux ] && [ "$(getenforce)" = Permissive ]; then setenforce 1 || true; fi
#--8<-- command 10
K=10
for f in /etc/containerd/certs.d/*/hosts.toml; do if ! grep -qxF "$f" /var/lib/kubefab/kept/index 2>/dev/null && head -n 1 "$f" 2>/dev/null | grep -qxF '# Written by kubefab; changes here are overwritten.'; then rm -f "$f"; fi; done
#--8<-- command 11
K=11
if grep -qxF /etc/containerd/config.toml /var/lib/kubefab/kept/index 2>/dev/null; then touch /var/lib/kubefab/restart-containerd; fi
#--8<-- command 12
K=12
if grep -q '^/etc/systemd/' /var/lib/kubefab/kept/index 2>/dev/null; then touch /var/lib/kubefab/reload-units; fi
#--8<-- command 13
K=13
if [ -e /var/lib/kubefab/kept/index ]; then while read -r p; do k=/var/lib/kubefab/kept; now=none; if [ -e "$p" ]; then now=$(sha256sum "$p" | cut -d' ' -f1); fi; if [ "$now" != none ] && ! grep -qxF "$now" "$k/ours$p" 2>/dev/null; then if [ -e "$k/ours$p" ] && ! cmp -s "$k/was$p" "$p" && ! cmp -s "$k/stock$p" "$p"; then echo "$p was changed since: left as it is"; fi; elif [ -e "$k/was$p" ] || [ -L "$k/was$p" ]; then mkdir -p "$(dirname "$p")"; cp -a --remove-destination -- "$k/was$p" "$p.kubefab"; mv -f -- "$p.kubefab" "$p"; elif [ "$now" != none ] && [ -e "$k/stock$p" ]; then cp -a --remove-destination -- "$k/stock$p" "$p.kubefab"; mv -f -- "$p.kubefab" "$p"; else rm -f -- "$p"; fi; done </var/lib/kubefab/kept/index; fi
#--8<-- command 14
K=14
if [ -e /var/lib/kubefab/kept/folders ]; then sort -r -u /var/lib/kubefab/kept/folders | while read -r d; do rmdir "$d" 2>/dev/null || true; done; fi
#--8<-- command 15
K=15
rm -f /var/lib/kubefab/kept/index
#--8<-- command 16
K=16
if [ -e /var/lib/kubefab/reload-units ]; then systemctl daemon-reload; fi
#--8<-- command 17
K=17
if [ -e /var/lib/kubefab/restart-containerd ]; then systemctl try-restart containerd || true; fi
#--8<-- command 18
K=18
if [ -s /var/lib/kubefab/units ]; then while read -r u enabled active; do if [ "$enabled" = disabled ]; then systemctl disable "$u" || true; if [ "$active" = inactive ]; then systemctl stop "$u" || true; fi; fi; done < /var/lib/kubefab/units; fi
#--8<-- command 19
K=19
if mountpoint -q /var/lib/kubefab/influxdb 2>/dev/null; then rm -rf /var/lib/kubefab/influxdb/data /var/lib/kubefab/influxdb/meta /var/lib/kubefab/influxdb/wal; fi
#--8<-- command 20
K=20
for f in /var/lib/kubefab/*; do if [ "$f" != /var/lib/kubefab/influxdb ] || ! mountpoint -q "$f"; then rm -rf "$f"; fi; done
#--8<-- command 21
K=21
if ! mountpoint -q /var/lib/kubefab/influxdb 2>/dev/null; then rm -rf /var/lib/kubefab; fi
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### w1 · reset.cordon · no new pods on this node · on the control plane
# kubefab: reset.cordon
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

#### w1 · reset.drain · until: node w1 is drained
# kubefab: reset.drain
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

#### w1 · reset.volumes · until: no volume is attached to node w1, but of pods that stay
# kubefab: reset.volumes
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

#### w1 · reset.node · take the node out of the cluster · on the control plane
# kubefab: reset.node
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
touch /var/lib/kubefab/reset-started
#--8<-- command 3
K=3
systemctl stop kubelet || true
#--8<-- command 4
K=4
crictl --runtime-endpoint unix:///run/containerd/containerd.sock pods -q | xargs -r -n 16 crictl --runtime-endpoint unix:///run/containerd/containerd.sock rmp -f >/dev/null 2>&1 || true
#--8<-- command 5
K=5
kubeadm reset -f --cri-socket unix:///run/containerd/containerd.sock --kubeconfig /dev/null --skip-phases=remove-etcd-member --cleanup-tmp-dir
#--8<-- command 6
K=6
systemctl stop kubelet || true
#--8<-- command 7
K=7
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
if command -v iptables-save >/dev/null; then f=$(mktemp); if iptables-save >$f 2>/dev/null && awk '{ line[NR] = $0; if ($0 ~ /^\*/) table++; within[NR] = table; text = $0; gsub(/"([^"\\]|\\.)*"/, "Q", text); n = split(text, word, " "); if (word[1] ~ /^:/) chain[NR] = substr(word[1], 2); if (word[1] == "-A") { chain[NR] = word[2]; if (word[n - 1] == "-j" || word[n - 1] == "-g") target[NR] = word[n]; named[NR] = ($0 ~ /--comment "(dnat |snat )?name: \\"cbr0\\" id: \\"/) && (chain[NR] ~ /^CNI-/ || target[NR] ~ /^CNI-/); if (named[NR] && chain[NR] ~ /^CNI-(DN-|SN-)?[0-9a-f]+$/) own[table, chain[NR]] = 1; if (named[NR] && target[NR] ~ /^CNI-(DN-|SN-)?[0-9a-f]+$/) own[table, target[NR]] = 1 } } function ours(name, t) { return name ~ /^(KUBE-|FLANNEL-)/ || ((t, name) in own) } END { for (i = 1; i <= NR; i++) { if (named[i] || ours(chain[i], within[i]) || ours(target[i], within[i])) found++; else if (!count) print line[i] } if (count) print found + 0 }' $f >$f.less && ! cmp -s $f $f.less; then iptables-restore -w <$f.less; fi; rm -f $f $f.less; fi
#--8<-- command 7
K=7
if command -v ip6tables-save >/dev/null; then f=$(mktemp); if ip6tables-save >$f 2>/dev/null && awk '{ line[NR] = $0; if ($0 ~ /^\*/) table++; within[NR] = table; text = $0; gsub(/"([^"\\]|\\.)*"/, "Q", text); n = split(text, word, " "); if (word[1] ~ /^:/) chain[NR] = substr(word[1], 2); if (word[1] == "-A") { chain[NR] = word[2]; if (word[n - 1] == "-j" || word[n - 1] == "-g") target[NR] = word[n]; named[NR] = ($0 ~ /--comment "(dnat |snat )?name: \\"cbr0\\" id: \\"/) && (chain[NR] ~ /^CNI-/ || target[NR] ~ /^CNI-/); if (named[NR] && chain[NR] ~ /^CNI-(DN-|SN-)?[0-9a-f]+$/) own[table, chain[NR]] = 1; if (named[NR] && target[NR] ~ /^CNI-(DN-|SN-)?[0-9a-f]+$/) own[table, target[NR]] = 1 } } function ours(name, t) { return name ~ /^(KUBE-|FLANNEL-)/ || ((t, name) in own) } END { for (i = 1; i <= NR; i++) { if (named[i] || ours(chain[i], within[i]) || ours(target[i], within[i])) found++; else if (!count) print line[i] } if (count) print found + 0 }' $f >$f.less && ! cmp -s $f $f.less; then ip6tables-restore -w <$f.less; fi; rm -f $f $f.less; fi
#--8<-- command 8
K=8
nft list tables 2>/dev/null | grep -xE 'table (ip6? kube-proxy|ip flannel-ipv4|ip6 flannel-ipv6)' | while read -r _ t; do nft delete table $t || true; done || true
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
rm -rf /etc/kubernetes/manifests/*.yaml /etc/kubernetes/pki /etc/kubernetes/*.conf /etc/kubernetes/tmp
#--8<-- command 2
K=2
rm -rf --one-file-system /var/lib/kubelet/config.yaml /var/lib/kubelet/kubeadm-flags.env /var/lib/kubelet/pki /var/lib/kubelet/pods /var/lib/kubelet/plugins /var/lib/kubelet/*_state /var/lib/kubelet/actuated_pods_state /var/lib/kubelet/allocated_pods_state
#--8<-- command 3
K=3
rm -rf /etc/cni/net.d/10-flannel.conflist /var/lib/cni/flannel /var/lib/cni/networks/cbr0 /var/lib/cni/results/cbr0-* /run/flannel /opt/cni/bin/flannel
#--8<-- command 4
K=4
rmdir /var/lib/cni/results /var/lib/cni/networks /var/lib/cni 2>/dev/null || true
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

#### w1 · reset.images · images
# kubefab: reset.images
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

#### w1 · reset.packages · remove the packages and their repositories
# kubefab: reset.packages
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
rm -f /etc/apt/sources.list.d/kubefab-kubernetes.list /etc/apt/sources.list.d/kubefab-containerd.list /etc/apt/keyrings/kubefab-kubernetes.gpg /etc/apt/keyrings/kubefab-containerd.gpg /etc/apt/apt.conf.d/00kubefab-proxy
#--8<-- command 2
K=2
apt-mark unhold containerd.io kubelet kubeadm kubectl kubernetes-cni cri-tools || true
#--8<-- command 3
K=3
apt-get -o DPkg::Lock::Timeout=60 -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts=/dev/null -qy purge containerd.io kubelet kubeadm kubectl kubernetes-cni cri-tools
#--8<-- command 4
K=4
rm -f /var/lib/kubefab-packages
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### w1 · reset.undo · files, swap, sysctls and units as they were before
# kubefab: reset.undo
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
if [ -s /var/lib/kubefab/sysctl ]; then sysctl -q -p /var/lib/kubefab/sysctl || true; fi
#--8<-- command 2
K=2
rm -f /etc/modules-load.d/kubefab.conf /etc/sysctl.d/99-kubefab.conf
#--8<-- command 3
K=3
if grep -q '^#kubefab# ' /etc/fstab 2>/dev/null; then sed -i 's/^#kubefab# //' /etc/fstab; fi
#--8<-- command 4
K=4
if [ -s /var/lib/kubefab/swapunits ]; then while read -r what u; do systemctl "$what" "$u" || true; done < /var/lib/kubefab/swapunits; fi
#--8<-- command 5
K=5
if [ -s /var/lib/kubefab/swapservices ]; then while read -r what u; do systemctl "$what" "$u" || true; done < /var/lib/kubefab/swapservices; fi
#--8<-- command 6
K=6
if [ -s /var/lib/kubefab/swaps ] || [ -s /var/lib/kubefab/swapunits ]; then systemctl daemon-reload; fi
#--8<-- command 7
K=7
if [ -s /var/lib/kubefab/swaps ]; then cut -d' ' -f1 /var/lib/kubefab/swaps | while read -r s; do swapon "$s" || true; done; fi
#--8<-- command 8
K=8
if grep -qx file /var/lib/kubefab/selinux 2>/dev/null; then sed -i 's/^SELINUX=permissive$/SELINUX=enforcing/' /etc/selinux/config; fi
#--8<-- command 9
K=9
if [ -s /var/lib/kubefab/selinux ] && [ "$(getenforce)" = Permissive ]; then setenforce 1 || true; fi
#--8<-- command 10
K=10
for f in /etc/containerd/certs.d/*/hosts.toml; do if ! grep -qxF "$f" /var/lib/kubefab/kept/index 2>/dev/null && head -n 1 "$f" 2>/dev/null | grep -qxF '# Written by kubefab; changes here are overwritten.'; then rm -f "$f"; fi; done
#--8<-- command 11
K=11
if grep -qxF /etc/containerd/config.toml /var/lib/kubefab/kept/index 2>/dev/null; then touch /var/lib/kubefab/restart-containerd; fi
#--8<-- command 12
K=12
if grep -q '^/etc/systemd/' /var/lib/kubefab/kept/index 2>/dev/null; then touch /var/lib/kubefab/reload-units; fi
#--8<-- command 13
K=13
if [ -e /var/lib/kubefab/kept/index ]; then while read -r p; do k=/var/lib/kubefab/kept; now=none; if [ -e "$p" ]; then now=$(sha256sum "$p" | cut -d' ' -f1); fi; if [ "$now" != none ] && ! grep -qxF "$now" "$k/ours$p" 2>/dev/null; then if [ -e "$k/ours$p" ] && ! cmp -s "$k/was$p" "$p" && ! cmp -s "$k/stock$p" "$p"; then echo "$p was changed since: left as it is"; fi; elif [ -e "$k/was$p" ] || [ -L "$k/was$p" ]; then mkdir -p "$(dirname "$p")"; cp -a --remove-destination -- "$k/was$p" "$p.kubefab"; mv -f -- "$p.kubefab" "$p"; elif [ "$now" != none ] && [ -e "$k/stock$p" ]; then cp -a --remove-destination -- "$k/stock$p" "$p.kubefab"; mv -f -- "$p.kubefab" "$p"; else rm -f -- "$p"; fi; done </var/lib/kubefab/kept/index; fi
#--8<-- command 14
K=14
if [ -e /var/lib/kubefab/kept/folders ]; then sort -r -u /var/lib/kubefab/kept/folders | while read -r d; do rmdir "$d" 2>/dev/null || true; done; fi
#--8<-- command 15
K=15
rm -f /var/lib/kubefab/kept/index
#--8<-- command 16
K=16
if [ -e /var/lib/kubefab/reload-units ]; then systemctl daemon-reload; fi
#--8<-- command 17
K=17
if [ -e /var/lib/kubefab/restart-containerd ]; then systemctl try-restart containerd || true; fi
#--8<-- command 18
K=18
if [ -s /var/lib/kubefab/units ]; then while read -r u enabled active; do if [ "$enabled" = disabled ]; then systemctl disable "$u" || true; if [ "$active" = inactive ]; then systemctl stop "$u" || true; fi; fi; done < /var/lib/kubefab/units; fi
#--8<-- command 19
K=19
if mountpoint -q /var/lib/kubefab/influxdb 2>/dev/null; then rm -rf /var/lib/kubefab/influxdb/data /var/lib/kubefab/influxdb/meta /var/lib/kubefab/influxdb/wal; fi
#--8<-- command 20
K=20
for f in /var/lib/kubefab/*; do if [ "$f" != /var/lib/kubefab/influxdb ] || ! mountpoint -q "$f"; then rm -rf "$f"; fi; done
#--8<-- command 21
K=21
if ! mountpoint -q /var/lib/kubefab/influxdb 2>/dev/null; then rm -rf /var/lib/kubefab; fi
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main
