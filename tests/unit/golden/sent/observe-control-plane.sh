# kubefab: observe
main() {
rm -f -- "$0"
control_plane=yes
files='/etc/apt/sources.list.d/kubefab-containerd.list /etc/apt/sources.list.d/kubefab-kubernetes.list /etc/containerd/config.toml /etc/crictl.yaml /etc/modules-load.d/kubefab.conf /etc/sysctl.d/99-kubefab.conf /etc/yum.repos.d/kubefab-containerd.repo /etc/yum.repos.d/kubefab-kubernetes.repo /var/lib/kubefab/canary'
sysctls='net.ipv4.ip_forward net.bridge.bridge-nf-call-iptables net.bridge.bridge-nf-call-ip6tables'
packages='containerd.io containerd docker.io docker-ce runc kubelet kubeadm kubectl kubernetes-cni cri-tools'
units='containerd kubelet docker'
traces='/etc/kubernetes/admin.conf /etc/kubernetes/super-admin.conf /etc/kubernetes/kubelet.conf /etc/kubernetes/bootstrap-kubelet.conf /etc/kubernetes/pki/ca.crt /etc/kubernetes/manifests/kube-apiserver.yaml /etc/kubernetes/manifests/etcd.yaml /var/lib/etcd/member /var/lib/kubelet/config.yaml /var/lib/kubelet/kubeadm-flags.env /var/lib/kubelet/pki /etc/cni/net.d/10-flannel.conflist /var/lib/cni/flannel /var/lib/cni/networks/cbr0 /run/flannel/subnet.env /var/lib/kubefab'
state=/var/lib/kubefab
metrics_query='SHOW RETENTION POLICIES; SELECT last("cpu_usage_nanocores") FROM "kubernetes_node" WHERE time > now() - 1m GROUP BY "node_name"'
settle=''
ready=/readyz
digests=''

export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin KUBECONFIG=/etc/kubernetes/admin.conf
cd /
has() { command -v "$1" >/dev/null 2>&1; }
kube() { timeout 10 kubectl --request-timeout=5s "$@" 2>/dev/null; }
if [ -n "$settle" ]; then (flock -w "$settle" 9) 9>>/run/kubefab.lock || exit 75; fi
d=$(mktemp -d) && trap 'rm -rf -- "$d"' EXIT
if [ -n "$control_plane" ] && [ -e /etc/kubernetes/admin.conf ] && has kubectl; then
  { kube get --raw="$ready" >"$d/readyz"; } &
  { kube get nodes -o json >"$d/nodes"; } &
  { kube get daemonsets,deployments -A -l app.kubernetes.io/managed-by=kubefab -o json >"$d/objects"; } &
  { kube -n monitoring exec deploy/monitoring-influxdb -- influx -database k8s -format csv -execute "$metrics_query" >"$d/influx"; } &
fi
echo '@@ os'; cat /etc/os-release
echo '@@ host'
echo "hostname=$(hostname)"; echo "kernel=$(uname -r)"; echo "arch=$(uname -m)"; echo "cpus=$(nproc)"
echo "machine_id=$(cat /etc/machine-id 2>/dev/null)"; echo "product_uuid=$(cat /sys/class/dmi/id/product_uuid 2>/dev/null)"
echo "boot_id=$(cat /proc/sys/kernel/random/boot_id)"; echo "now=$(date +%s.%N)"
echo "memory_kib=$(sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo)"
echo "disk_kib=$(df -Pk /var/lib | awk 'NR==2{print $4}')"
echo "cgroup=$(stat -fc %T /sys/fs/cgroup)"; echo "systemd=$(test -d /run/systemd/system && echo yes)"
echo "reboot=$(test -e /var/run/reboot-required && echo yes)"
echo "bridge_netfilter=$(test -d /proc/sys/net/bridge && echo yes)"; echo "overlay=$(grep -qw overlay /proc/filesystems && echo yes)"
echo '@@ swap'; tail -n +2 /proc/swaps
echo '@@ fstab'; grep -E '^[^#]\S*\s+\S+\s+swap(\s|$)' /etc/fstab 2>/dev/null
echo '@@ swapunits'; for f in /run/systemd/generator*/*.swap /etc/systemd/system/*.wants/*.swap; do [ -e "$f" ] || continue; u=$(basename "$f"); [ "$(readlink "/etc/systemd/system/$u")" = /dev/null ] || echo "$u"; done | sort -u
echo '@@ sysctl'; for k in $sysctls; do echo "$k=$(sysctl -n $k 2>/dev/null)"; done
echo '@@ links'; ip -j addr 2>/dev/null || ip addr 2>/dev/null || ifconfig -a 2>/dev/null
echo '@@ resolver'; cat /etc/resolv.conf 2>/dev/null
echo '@@ packages'
if has dpkg-query; then dpkg-query -W -f '${Package} ${Version} ${db:Status-Abbrev}\n' $packages 2>/dev/null
elif has rpm; then rpm -q --qf '%{NAME} %{VERSION}-%{RELEASE} ii\n' $packages 2>/dev/null | grep ' ii$'; fi
echo '@@ held'; if has apt-mark; then apt-mark showhold 2>/dev/null; fi
echo '@@ units'; if has systemctl; then for u in $units; do echo "$u $(systemctl is-active $u 2>/dev/null) $(systemctl is-enabled $u 2>/dev/null)"; done; fi
echo '@@ files'; for f in $files; do test -f "$f" && echo "$(sha256sum "$f" | cut -d' ' -f1) $(stat -c %a "$f") $f"; done
echo '@@ traces'; for f in $traces; do test -e "$f" && echo "$f"; done
echo '@@ mounts'; awk '$5 ~ "^/var/lib/kubelet/" {for (i = 7; $i != "-"; i++); print $(i + 1), $5, $4}' /proc/self/mountinfo
echo '@@ processes'; ps -eo comm= | grep -xE 'kube-apiserver|kube-controller|kube-scheduler|etcd|kubelet|kube-proxy|flanneld|kubeadm' | sort | uniq -c
echo '@@ rules'
if has iptables-save; then (iptables-save; ip6tables-save) 2>/dev/null | grep -cE '(KUBE-|FLANNEL-|CNI-)'; fi
if has nft; then nft list tables 2>/dev/null | grep -E ' (kube-proxy|flannel-ipv[46])$'; fi
echo '@@ pods'; if [ -S /run/containerd/containerd.sock ] && has crictl; then timeout 10 crictl --runtime-endpoint unix:///run/containerd/containerd.sock pods -q 2>/dev/null; fi
echo '@@ images'
if [ -S /run/containerd/containerd.sock ] && has ctr; then
  if [ -n "$digests" ]; then timeout 20 ctr -n k8s.io images ls 2>/dev/null | awk 'NR > 1 {print $1, $3}'
  else timeout 10 ctr -n k8s.io images ls -q 2>/dev/null | grep -v sha256; fi
fi
echo '@@ kubeadm'; if [ -n "$digests" ] && has kubeadm; then timeout 10 kubeadm config images list --kubernetes-version "v$digests" 2>/dev/null; fi
echo '@@ ca'
if [ -e /etc/kubernetes/pki/ca.crt ] && has openssl; then
  openssl x509 -pubkey -noout -in /etc/kubernetes/pki/ca.crt | openssl pkey -pubin -outform der | sha256sum | cut -d' ' -f1
fi
echo '@@ undo'; ls -1 "$state" 2>/dev/null
wait
for s in readyz nodes objects influx; do echo "@@ $s"; cat "$d/$s" 2>/dev/null; echo; done
echo '@@ end'
}
main
