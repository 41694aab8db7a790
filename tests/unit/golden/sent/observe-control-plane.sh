# kubefab: observe
main() {
rm -f -- "$0"
control_plane=yes
files='/etc/apt/apt.conf.d/00kubefab-proxy /etc/apt/sources.list.d/kubefab-containerd.list /etc/apt/sources.list.d/kubefab-kubernetes.list /etc/containerd/config.toml /etc/crictl.yaml /etc/kubefab/proxy.env /etc/modules-load.d/kubefab.conf /etc/sysctl.d/99-kubefab.conf /etc/systemd/system/containerd.service.d/kubefab-proxy.conf /etc/yum.repos.d/kubefab-containerd.repo /etc/yum.repos.d/kubefab-kubernetes.repo /var/lib/kubefab/canary /var/lib/kubefab/proxy'
sysctls='net.ipv4.ip_forward net.bridge.bridge-nf-call-iptables net.bridge.bridge-nf-call-ip6tables'
packages='containerd.io containerd docker.io docker-ce runc kubelet kubeadm kubectl kubernetes-cni cri-tools'
units='containerd kubelet docker'
traces='/etc/kubernetes/admin.conf /etc/kubernetes/super-admin.conf /etc/kubernetes/kubelet.conf /etc/kubernetes/bootstrap-kubelet.conf /etc/kubernetes/pki/ca.crt /etc/kubernetes/manifests/kube-apiserver.yaml /etc/kubernetes/manifests/etcd.yaml /etc/kubernetes/manifests/etcd.json /var/lib/etcd/member /var/lib/kubelet/config.yaml /var/lib/kubelet/kubeadm-flags.env /var/lib/kubelet/pki /etc/cni/net.d/10-flannel.conflist /var/lib/cni/flannel /var/lib/cni/networks/cbr0 /run/flannel/subnet.env /var/lib/kubefab'
state=/var/lib/kubefab
note=/var/lib/kubefab-packages
containerd=/etc/containerd/config.toml
confd=/etc/containerd/conf.d
identity=/var/lib/kubefab/identity
other_units='k3s.service k3s-agent.service rke2-server.service rke2-agent.service snap.microk8s.*.service k0scontroller.service k0sworker.service etcd.service patroni.service'
proxy_files='/etc/environment /etc/sudoers /etc/sudoers.d/* /etc/systemd/system.conf /etc/systemd/system.conf.d/*.conf /etc/systemd/system/containerd.service.d/*.conf /etc/systemd/system/kubelet.service.d/*.conf /etc/default/kubelet /etc/sysconfig/kubelet'
other_paths='/var/lib/rancher/k3s /var/lib/rancher/rke2 /var/snap/microk8s /var/lib/k0s /var/lib/docker/swarm/docker-state.json'
metrics_query='SHOW RETENTION POLICIES; SELECT last("cpu_usage_nanocores") FROM "kubernetes_node" WHERE time > now() - 1m GROUP BY "node_name"'
addon_columns='C0:.metadata.labels.kubefab\.dev/addon,C1:.metadata.annotations.kubefab\.dev/digest,C2:.apiVersion,C3:.kind,C4:.metadata.namespace,C5:.metadata.name,C6:.metadata.generation,C7:.status.observedGeneration,C8:.spec.replicas,C9:.status.updatedReplicas,C10:.status.availableReplicas,C11:.status.desiredNumberScheduled,C12:.status.numberAvailable'
folders=''
certificates='/etc/kubernetes/pki/ca.crt /etc/kubernetes/pki/etcd/ca.crt /etc/kubernetes/pki/front-proxy-ca.crt /etc/kubernetes/pki/apiserver.crt /etc/kubernetes/pki/apiserver-kubelet-client.crt /etc/kubernetes/pki/apiserver-etcd-client.crt /etc/kubernetes/pki/front-proxy-client.crt /etc/kubernetes/pki/etcd/server.crt /etc/kubernetes/pki/etcd/peer.crt /etc/kubernetes/pki/etcd/healthcheck-client.crt /etc/kubernetes/admin.conf /etc/kubernetes/super-admin.conf /etc/kubernetes/controller-manager.conf /etc/kubernetes/scheduler.conf /etc/kubernetes/kubelet.conf /var/lib/kubelet/pki/kubelet-client-current.pem'
served=''
filter_lines=400
settle=''
ready=/readyz
digests=''
release=''
docker=''
system_objects='namespace/kube-system configmap/kubeadm-config configmap/kubelet-config configmap/kube-proxy'
followed='followed-kubelet followed-kube-proxy'
kubelet_files='/etc/default/kubelet /etc/sysconfig/kubelet /var/lib/kubelet/kubeadm-flags.env'
repositories='apt.kubernetes.io
packages.cloud.google.com/apt
packages.cloud.google.com/yum/repos/kubernetes'

export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin KUBECONFIG=/etc/kubernetes/admin.conf
unset all_proxy ALL_PROXY http_proxy HTTP_PROXY https_proxy HTTPS_PROXY no_proxy NO_PROXY
cd /
has() { command -v "$1" >/dev/null 2>&1; }
kube() { timeout 10 kubectl --request-timeout=5s "$@" 2>/dev/null; }
# an etcd that began empty lacks the binding that admin.conf lives by
rooted() { kube "$@" || kube --kubeconfig=/etc/kubernetes/super-admin.conf "$@"; }
if [ -n "$settle" ]; then (umask 077; exec 9>>/run/kubefab.lock; flock -w "$settle" 9) || exit 75
  # scripts with secrets in them that a broken link left behind, as an earlier release did
  find /tmp -maxdepth 1 -regextype posix-extended -regex '/tmp/\.kubefab-[0-9a-f]{16}' -type f -user "${SUDO_USER:-root}" -mmin +60 -delete 2>/dev/null
fi
d=$(mktemp -d) && trap 'rm -rf -- "$d"' EXIT
if [ -n "$control_plane" ] && [ -e /etc/kubernetes/admin.conf ] && has kubectl; then
  { kube get --raw="$ready" >"$d/readyz"; } &
  { kube get nodes -o json >"$d/nodes"; } &
  { rooted -n kube-system get $system_objects --ignore-not-found -o json >"$d/system"; } &
  { kube get daemonsets,deployments -A -l app.kubernetes.io/managed-by=kubefab -o json >"$d/objects"; } &
  { kube -n monitoring exec deploy/monitoring-influxdb -- influx -database k8s -format csv -execute "$metrics_query" >"$d/influx"; } &
  if [ -d "$state/addons" ]; then
    { kube get -f "$state/addons" --ignore-not-found --no-headers -o custom-columns="$addon_columns" >"$d/addons"; } &
  fi
fi
echo '@@ os'; cat /etc/os-release
echo '@@ host'
echo "hostname=$(hostname)"; echo "kernel=$(uname -r)"; echo "arch=$(uname -m)"; echo "cpus=$(nproc)"
echo "machine_id=$(cat /etc/machine-id 2>/dev/null)"; echo "product_uuid=$(cat /sys/class/dmi/id/product_uuid 2>/dev/null)"
echo "boot_id=$(cat /proc/sys/kernel/random/boot_id)"; echo "init=$(cut -d' ' -f22 /proc/1/stat 2>/dev/null)"; echo "now=$(date +%s.%N)"
echo "memory_kib=$(sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo)"
echo "cgroup=$(stat -fc %T /sys/fs/cgroup)"; echo "systemd=$(test -d /run/systemd/system && echo yes)"
echo "metrics_disk=$(mountpoint -q "$state/influxdb" 2>/dev/null && echo yes)"
# a kernel that was installed later than the one that runs, where no package says what it wants
newest=''; if has rpm; then
  newest=$(rpm -q --qf '%{INSTALLTIME} %{VERSION}-%{RELEASE}.%{ARCH}\n' kernel-core 2>/dev/null | grep -E '^[0-9]+ ' | sort -n | tail -n 1 | cut -d' ' -f2)
fi
echo "reboot=$(if [ -e /var/run/reboot-required ] || [ "${newest:-$(uname -r)}" != "$(uname -r)" ]; then echo yes; fi)"
echo "bridge_netfilter=$(test -d /proc/sys/net/bridge && echo yes)"; echo "overlay=$(grep -qw overlay /proc/filesystems && echo yes)"
echo '@@ swap'; tail -n +2 /proc/swaps
echo '@@ fstab'; grep -E '^[^#]\S*\s+\S+\s+swap(\s|$)' /etc/fstab 2>/dev/null
echo '@@ swapunits'; { for f in /run/systemd/generator*/*.swap /etc/systemd/system/*.wants/*.swap; do [ -e "$f" ] || continue; u=$(basename "$f"); [ "$(readlink "/etc/systemd/system/$u")" = /dev/null ] || echo "$u"; done; for u in zramswap.service zram-config.service dphys-swapfile.service swapspace.service zram-swap.service; do if systemctl is-enabled -q "$u" 2>/dev/null; then echo "$u"; fi; done; } | sort -u
echo '@@ sysctl'; for k in $sysctls; do echo "$k=$(sysctl -n $k 2>/dev/null)"; done
echo '@@ sysctlfiles'; seen=' '; read_at_boot=()
for f in /etc/sysctl.d/*.conf /run/sysctl.d/*.conf /usr/local/lib/sysctl.d/*.conf /usr/lib/sysctl.d/*.conf /lib/sysctl.d/*.conf; do
  n=${f##*/}; { [ -e "$f" ] || [ -L "$f" ]; } || continue
  case $seen in *" $n "*) continue ;; esac; seen="$seen$n " # the file of that name in an earlier folder hides it
  [ -f "$f" ] && read_at_boot+=("$f")
done
if [ -n "${read_at_boot[*]}" ]; then
  grep -HnE '^[[:space:]]*-?[[:space:]]*net[./](ipv4[./](ip_forward|conf[./]all[./]forwarding)|bridge[./]bridge-nf-call-ip6?tables)[[:space:]]*=' \
    "${read_at_boot[@]}" 2>/dev/null | head -n 100 | while IFS=: read -r f line; do
      p=$f; [ -L "$f" ] && p=$(readlink -f "$f")
      printf '%s %s %s\n' "${f##*/}" "$p" "$line"
    done
fi
echo '@@ disks' # what a member fills is the doctor's to measure
[ -e /var/lib/kubelet/config.yaml ] || for f in $folders; do
  p=$f; while [ ! -e "$p" ]; do p=$(dirname "$p"); done; df -Pk "$p" 2>/dev/null | awk -v f="$f" 'NR == 2 {print f, $6, $4}'
done
echo '@@ links'; ip -j addr 2>/dev/null || ip addr 2>/dev/null || ifconfig -a 2>/dev/null
echo '@@ resolver'; cat /etc/resolv.conf 2>/dev/null
echo '@@ proxies'; for f in $proxy_files; do [ -f "$f" ] && grep -HiE '(https?|all|no)_proxy' "$f" 2>/dev/null; done |
  sed -E 's#://[^/@" ]*@#://#g' | head -c 8192; echo
echo '@@ packages'
if has dpkg-query; then dpkg-query -W -f '${Package} ${Version} ${db:Status-Abbrev}\n' $packages 2>/dev/null
elif has rpm; then rpm -q --qf '%{NAME} %{VERSION}-%{RELEASE} ii\n' $packages 2>/dev/null | grep ' ii$'; fi
echo '@@ held'; if has apt-mark; then apt-mark showhold 2>/dev/null; fi
echo '@@ units'; if has systemctl; then for u in $units; do echo "$u $(systemctl is-active $u 2>/dev/null) $(systemctl is-enabled $u 2>/dev/null)"; done; fi
echo '@@ sources'
for f in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources /etc/yum.repos.d/*.repo; do
  if [ -f "$f" ] && [ "${f##*/kubefab-*}" ] && grep -qF "$repositories" "$f"; then head -c 65536 "$f" | awk -v f="$f" '{print f "\t" NR "\t" $0}'; fi
done >"$d/sources"; head -c 262144 "$d/sources"; echo
echo '@@ keyrings'
grep -oE '/[A-Za-z0-9._/+-]+\.(gpg|asc|pgp)' "$d/sources" | sort -u | head -n 20 | while read -r f; do
  if [ -f "$f" ]; then echo "$(head -c 262144 "$f" | base64 -w0) $f"; fi; done
# whether apt can read its lists at all; beside an empty state, or it would first read all that it knows of packages
echo '@@ apt'
if has apt-cache; then
  timeout 10 apt-cache -o Dir::State="$d" -o Dir::State::status=/dev/null -o Dir::Cache="$d" policy 2>&1 >/dev/null | grep '^E: ' | head -n 9
fi
echo '@@ kubelet'
for f in $kubelet_files /etc/systemd/system/kubelet.service /etc/systemd/system/kubelet.service.d/*.conf /run/systemd/system/kubelet.service.d/*.conf; do
  if [ -f "$f" ]; then head -c 16384 "$f" | awk -v f="$f" '/--|ExecStart|KUBELET_EXTRA_ARGS/ {print f "\t" NR "\t" $0}'; fi
done
echo '@@ kubeletconfig'; head -c 65536 /var/lib/kubelet/config.yaml 2>/dev/null; echo
echo '@@ followed'; for f in $followed; do [ -f "$state/$f" ] && echo "$f $(head -c 16384 "$state/$f" | tr -d '\n')"; done
echo '@@ files'; for f in $files; do test -f "$f" && echo "$(sha256sum "$f" | cut -d' ' -f1) $(stat -c %a "$f") $f"; done
echo '@@ traces'; for f in $traces; do test -e "$f" && echo "$f"; done
echo '@@ cni'; ls -1 /etc/cni/net.d 2>/dev/null | head -n 20
echo '@@ mounts'; awk '$5 ~ "^/var/lib/kubelet/" {for (i = 7; $i != "-"; i++); print $(i + 1), $5, $4}' /proc/self/mountinfo
echo '@@ processes'; ps -eo comm= | grep -xE 'kube-apiserver|kube-controller|kube-scheduler|etcd|kubelet|kube-proxy|flanneld|kubeadm' | sort | uniq -c
echo '@@ rules'
if has iptables-save; then (iptables-save; ip6tables-save) 2>/dev/null | awk -v count=1 '{ line[NR] = $0; if ($0 ~ /^\*/) table++; within[NR] = table; text = $0; gsub(/"([^"\\]|\\.)*"/, "Q", text); n = split(text, word, " "); if (word[1] ~ /^:/) chain[NR] = substr(word[1], 2); if (word[1] == "-A") { chain[NR] = word[2]; if (word[n - 1] == "-j" || word[n - 1] == "-g") target[NR] = word[n]; named[NR] = ($0 ~ /--comment "(dnat |snat )?name: \\"cbr0\\" id: \\"/) && (chain[NR] ~ /^CNI-/ || target[NR] ~ /^CNI-/); if (named[NR] && chain[NR] ~ /^CNI-(DN-|SN-)?[0-9a-f]+$/) own[table, chain[NR]] = 1; if (named[NR] && target[NR] ~ /^CNI-(DN-|SN-)?[0-9a-f]+$/) own[table, target[NR]] = 1 } } function ours(name, t) { return name ~ /^(KUBE-|FLANNEL-)/ || ((t, name) in own) } END { for (i = 1; i <= NR; i++) { if (named[i] || ours(chain[i], within[i]) || ours(target[i], within[i])) found++; else if (!count) print line[i] } if (count) print found + 0 }'; fi
if has nft; then nft list tables 2>/dev/null | grep -E ' (kube-proxy|flannel-ipv[46])$'; fi
echo '@@ filters'
if has iptables-save; then
  # the one table only where that makes none
  case $(iptables-save -V 2>/dev/null) in *nf_tables*) t='-t filter' ;; *) t='' ;; esac
  iptables-save $t 2>/dev/null | awk '/^\*/ {t = $1} t == "*filter" && /^(:|-A )/ && !/^(:|-A )KUBE-/ {print "iptables", $0}' | head -n $filter_lines
fi
if has nft; then
  # not kube-proxy's and flannel's own tables, nor what iptables has shown
  nft list chains 2>/dev/null | awk '$1 == "table" {f = $2; t = $3} $1 == "chain" {c = $2}
      $1 == "type" && $2 == "filter" && ($4 == "forward" || $4 == "input") && f ~ /^(ip|inet)$/ && t !~ /^(kube-proxy|flannel-ipv[46])$/ &&
        !(t == "filter" && c ~ /^(INPUT|FORWARD)$/) {print f, t}' |
    sort -u | head -n 10 | while read -r f t; do timeout 5 nft -j list table "$f" "$t" 2>/dev/null | head -c 60000 | tr -d '\n'; echo; done
fi
# sandboxes by containerd's own tool: crictl tries for 3.5 s where the CRI plugin is off, as it is in containerd.io's own configuration
echo '@@ pods'; if [ -S /run/containerd/containerd.sock ] && has ctr; then timeout 10 ctr -n k8s.io containers ls -q 'labels."io.cri-containerd.kind"==sandbox' 2>/dev/null; fi
echo '@@ images'
if [ -S /run/containerd/containerd.sock ] && has ctr; then
  if [ -n "$digests" ]; then timeout 20 ctr -n k8s.io images ls 2>/dev/null | awk 'NR > 1 {print $1, $3}'
  else timeout 10 ctr -n k8s.io images ls -q 2>/dev/null | grep -v sha256; fi
fi
echo '@@ kubeadm'; if [ -n "$release" ] && has kubeadm; then timeout 10 kubeadm config images list --kubernetes-version "v$release" 2>/dev/null; fi
echo '@@ ca'; head -c 16384 /etc/kubernetes/pki/ca.crt 2>/dev/null || head -c 16384 /etc/kubernetes/pki/ca.pem 2>/dev/null; echo
echo '@@ certificates'
for f in $certificates; do # without the keys that some of them hold
  [ -e "$f" ] || continue
  echo "file $f $(stat -c %Y "$f") $(stat -c %Y "${f%.crt}.key" 2>/dev/null)"
  if [ "${f%.conf}" = "$f" ]; then sed -n '/^-----BEGIN CERTIFICATE-----/,/^-----END CERTIFICATE-----/p' "$f"
  else sed -n 's/^ *client-certificate-data: *//p' "$f" | head -n 1 | base64 -d 2>/dev/null; fi | head -c 16384; echo
done
echo '@@ served'
for a in $served; do # a port shows its certificate before it asks for the client's
  echo "file $a"; timeout 5 openssl s_client -connect "$a" </dev/null 2>/dev/null |
    sed -n '/^-----BEGIN CERTIFICATE-----/,/^-----END CERTIFICATE-----/p' | head -c 16384
done
echo '@@ running'
if [ -n "$served" ] && has crictl; then
  timeout 10 crictl ps --label io.kubernetes.pod.namespace=kube-system -o json 2>/dev/null | head -c 1000000 | tr -d '\n'; echo
fi
echo '@@ manifests'
if [ -n "$served" ]; then
  for f in /etc/kubernetes/manifests/*.yaml; do sed -n "s|^ *image: *|${f##*/} |p" "$f" 2>/dev/null | head -n 1; done
fi
echo '@@ version'; if [ -n "$served" ] && [ -e /etc/kubernetes/admin.conf ]; then kube get --raw=/version | head -c 4096; echo; fi
echo '@@ proxy'
if [ -n "$served" ] && [ -e /etc/kubernetes/admin.conf ]; then
  kube -n kube-system get daemonset kube-proxy -o jsonpath='{.spec.template.spec.containers[0].image}' | head -c 400; echo
fi
echo '@@ kubeconfigs'
for f in admin kubelet bootstrap-kubelet; do
  sed -nE "s/^    (certificate-authority-data|server|cluster): /$f \\1 /p" /etc/kubernetes/$f.conf 2>/dev/null | head -c 16384; echo
done
echo '@@ identity'; head -c 4096 "$identity" 2>/dev/null; echo
echo '@@ etcd'; ls -1A /var/lib/etcd 2>/dev/null | head -n 20; echo "db=$(stat -c %s /var/lib/etcd/member/snap/db 2>/dev/null)"
echo '@@ others'
if has systemctl; then
  systemctl list-units --plain --no-legend --no-pager --state=active,activating,reloading $other_units 2>/dev/null | awk '{print "unit", $1}'
fi
for f in $other_paths; do test -e "$f" && echo "path $f"; done
echo '@@ made'
if [ -n "$control_plane" ]; then
  m=/etc/kubernetes/manifests
  cat $m/kube-apiserver.yaml $m/kube-apiserver.json $m/kube-controller-manager.yaml $m/kube-controller-manager.json 2>/dev/null | head -c 100000 |
    grep -oE -- '--(advertise-address|secure-port|service-cluster-ip-range|cluster-cidr)=[^" ]+'
  sed -n 's/^clusterDomain: */--cluster-domain=/p' /var/lib/kubelet/config.yaml 2>/dev/null
fi
echo '@@ docker'; if [ -n "$docker" ] && has docker; then timeout 10 docker ps --format '{{.Names}}' 2>/dev/null || echo '?'; fi
echo '@@ undo'; ls -1 "$state" 2>/dev/null
echo '@@ kept'; if [ -e /var/lib/kubefab/kept/index ]; then while read -r p; do k=/var/lib/kubefab/kept; [ -e "$k/ours$p" ] || continue; s=changed; if [ ! -e "$p" ]; then s=gone; elif grep -qxF "$(sha256sum "$p" | cut -d' ' -f1)" "$k/ours$p"; then s=ours; elif cmp -s "$k/was$p" "$p" || cmp -s "$k/stock$p" "$p"; then s=back; fi; echo "$s $p"; done </var/lib/kubefab/kept/index; fi
echo '@@ before'; if [ -e "$note" ]; then echo noted; cat "$note"; fi
# without the logins of registries
echo '@@ containerd'; head -c 65536 "$containerd" 2>/dev/null | grep -viE '^[[:space:]]*"?(auth|username|password|identitytoken)"?[[:space:]]*='; echo
echo '@@ confd'; for f in "$confd"/*.toml; do test -e "$f" && echo "${f##*/}"; done | head -n 20
wait
for s in readyz nodes system objects influx addons; do echo "@@ $s"; cat "$d/$s" 2>/dev/null; echo; done
echo '@@ end'
}
main
