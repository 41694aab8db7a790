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
influx_admin=kubefab
questions='readyz /readyz
nodes /api/v1/nodes
system /api/v1/namespaces?fieldSelector=metadata.name%3Dkube-system
system /api/v1/namespaces/kube-system/configmaps?fieldSelector=metadata.name%3Dkubeadm-config
system /api/v1/namespaces/kube-system/configmaps?fieldSelector=metadata.name%3Dkubelet-config
system /api/v1/namespaces/kube-system/configmaps?fieldSelector=metadata.name%3Dkube-proxy
objects /apis/apps/v1/daemonsets?labelSelector=app.kubernetes.io/managed-by%3Dkubefab
objects /apis/apps/v1/deployments?labelSelector=app.kubernetes.io/managed-by%3Dkubefab
influxpod /api/v1/namespaces/monitoring/pods?labelSelector=app%3Dmonitoring-influxdb
influxlogin /api/v1/namespaces/monitoring/secrets?fieldSelector=metadata.name%3Dinfluxdb-login'
tokens=''
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
swap_services='zramswap.service zram-config.service dphys-swapfile.service swapspace.service zram-swap.service'
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
# an etcd that began empty, or an init that ended early, lacks the binding that admin.conf lives by
rooted() { kube "$@" || kube --kubeconfig=/etc/kubernetes/super-admin.conf "$@"; }
is() { [ -e "$1" ] || [ -L "$1" ]; } # also a link to what is not there: a volume that is not mounted
# By bash itself, as each program that is started costs a millisecond or more: at most so many bytes of a text file; the first line
# of one; and whether a command succeeds.
front() { local a=() x=''; [ -f "$2" ] && mapfile -t -n 4000 a <"$2" && printf -v x '%s\n' "${a[@]}" && printf '%s' "${x:0:$1}"; } 2>/dev/null
first() { word=''; [ -r "$1" ] && read -r word <"$1"; } 2>/dev/null
whether() { if "$@" >/dev/null 2>&1; then y=yes; else y=''; fi; }
if [ -n "$settle" ]; then (umask 077; exec 9>>/run/kubefab.lock; flock -w "$settle" 9) || exit 75
  # scripts with secrets in them that a broken link left behind, as an earlier release did
  find /tmp -maxdepth 1 -regextype posix-extended -regex '/tmp/\.kubefab-[0-9a-f]{16}' -type f -user "${SUDO_USER:-root}" -mmin +60 -delete 2>/dev/null
fi
umask 077
d=$(mktemp -d /run/kubefab-look.XXXXXXXX 2>/dev/null || mktemp -d) && trap 'rm -rf -- "$d"' EXIT
# All questions over one connection, with what kubeadm writes into admin.conf: curl reads it from pipes, so no file has it. Fails, and
# has asked nothing that counts, where that file says more than kubeadm writes, or where one answer is not a whole one: kubectl is asked then.
api() {
  local key value ca='' cert='' secret='' server='' n=0 name path wanted=()
  has curl || return
  while read -r key value _; do
    case $key in
    certificate-authority-data:) ca=$value; n=$((n + 1)) ;;
    client-certificate-data:) cert=$value; n=$((n + 1)) ;;
    client-key-data:) secret=$value; n=$((n + 1)) ;;
    server:) server=$value; n=$((n + 1)) ;;
    '' | - | apiVersion: | kind: | preferences: | clusters: | contexts: | users: | current-context: | cluster: | context: | user: | name:) ;;
    *) return 1 ;;
    esac
  done <"$KUBECONFIG"
  case $n$server in 4https://*) ;; *) return 1 ;; esac
  while read -r name path; do wanted+=(-o "$d/$name.${#wanted[@]}" "$server$path"); done <<<"$questions"
  # with its own name, or the API would answer curl in a form for people
  codes=$(timeout 8 curl -sg -A kubefab --noproxy '*' --max-time 5 -w '%{http_code} ' --cacert <(printf %s "$ca" | base64 -d) \
    --cert <(printf %s "$cert" | base64 -d) --key <(printf %s "$secret" | base64 -d) "${wanted[@]}" 2>/dev/null) &&
    [ -z "${codes//200 /}" ] && return
  rm -f -- "$d"/*.[0-9]*
  return 1
}
# InfluxDB's pod is on this node, and is asked at its own port over the bridge of pods, so that its login goes nowhere else.
metrics() {
  local answers=("$d"/influxpod.* "$d"/influxlogin.*) pods login answer ip password=''
  mapfile pods <"${answers[0]}" && mapfile login <"${answers[1]}" || return
  [[ ${pods[*]} =~ \"podIP\":\ *\"([0-9a-f.:]+)\" ]] || return
  ip=${BASH_REMATCH[1]}
  [[ ${pods[*]} == *'"podIP":'*'"podIP":'* ]] && return 1 # of several, kubectl knows which
  case $ip in *:*) ip="[$ip]" ;; esac
  [[ ${login[*]} =~ \"$influx_admin\":\ *\"([A-Za-z0-9+/=]+)\" ]] && password=$(printf %s "${BASH_REMATCH[1]}" | base64 -d)
  case $password in *[!A-Za-z0-9_.~+/=@%,-]*) return 1 ;; esac # curl would read quotes and line ends as options of its own
  answer=$(printf 'user = "%s:%s"\n' "$influx_admin" "$password" | timeout 6 curl -sgfG -K - --noproxy '*' --interface cni0 --max-time 5 \
    -H 'Accept: application/csv' --data-urlencode db=k8s --data-urlencode "q=$metrics_query" "http://$ip:8086/query" 2>/dev/null) || return
  [[ $answer == *,default,* ]] && echo "$answer" # else `influx` says what is wrong
}
# The public half and the end of each join token, in base64, as the API's one line has them. The secret halves stay here.
join_tokens() {
  local f text said end n=0
  for f in "$d"/jointokens.[0-9]*; do
    IFS= read -r -d '' text <"$f"
    while [[ $text =~ \"data\":\ *\{([^}]*)\} ]] && [ $((n += 1)) -le 100 ]; do
      text=${text#*"${BASH_REMATCH[0]}"} said=${BASH_REMATCH[1]} end=''
      [[ $said =~ \"expiration\":\ *\"([A-Za-z0-9+/=]*)\" ]] && end=${BASH_REMATCH[1]}
      [[ $said =~ \"token-id\":\ *\"([A-Za-z0-9+/=]*)\" ]] && echo "${BASH_REMATCH[1]} $end"
    done
  done
}
ask() {
  if api; then
    if [ -n "$tokens" ]; then join_tokens >"$d/tokens"; fi
    metrics >"$d/influx" && return
  else
    { kube get --raw="$ready" >"$d/readyz"; } &
    { rooted get nodes -o json >"$d/nodes"; } &
    { rooted -n kube-system get $system_objects --ignore-not-found -o json >"$d/system"; } &
    { kube get daemonsets,deployments -A -l app.kubernetes.io/managed-by=kubefab -o json >"$d/objects"; } &
    if [ -n "$tokens" ]; then
      { kube -n kube-system get secrets --field-selector type=bootstrap.kubernetes.io/token \
        -o jsonpath='{range .items[*]}{.data.token-id} {.data.expiration}{"\n"}{end}' | head -n 100 >"$d/tokens"; } &
    fi
  fi
  { kube -n monitoring exec deploy/monitoring-influxdb -- influx -database k8s -format csv -execute "$metrics_query" >"$d/influx"; } &
  wait
}
if [ -n "$control_plane" ] && [ -e /etc/kubernetes/admin.conf ] && has kubectl; then
  ask &
  if [ -d "$state/addons" ]; then
    { kube get -f "$state/addons" --ignore-not-found --no-headers -o custom-columns="$addon_columns" >"$d/addons"; } &
  fi
fi
# What takes longest, side by side; `wait` is before it is printed.
if has dpkg-query; then dpkg-query -W -f '${Package} ${Version} ${db:Status-Abbrev}\n' $packages >"$d/packages" 2>/dev/null &
elif has rpm; then { rpm -q --qf '%{NAME} %{VERSION}-%{RELEASE} ii\n' $packages 2>/dev/null | grep ' ii$' >"$d/packages"; } & fi
if has systemctl; then
  systemctl list-unit-files --no-legend --no-pager ${units// /.service }.service $swap_services >"$d/unitfiles" 2>/dev/null &
  systemctl list-units --plain --no-legend --no-pager --all ${units// /.service }.service $other_units >"$d/active" 2>/dev/null &
fi
# What a member is not asked for, as nothing is decided by it there, unless it is to be upgraded: whether apt can read its lists, which images
# it has, and pod sandboxes, of which it has some.
unless_member() {
  # beside an empty state, or apt would first read all that it knows of packages
  if has apt-cache; then
    timeout 10 apt-cache -o Dir::State="$d" -o Dir::State::status=/dev/null -o Dir::Cache="$d" policy 2>"$d/apt" >/dev/null &
  fi
  # sandboxes by containerd's own tool: crictl tries for 3.5 s where the CRI plugin is off, as it is in containerd.io's own configuration
  if [ -S /run/containerd/containerd.sock ] && has ctr; then
    timeout 10 ctr -n k8s.io containers ls -q 'labels."io.cri-containerd.kind"==sandbox' >"$d/pods" 2>/dev/null &
    if [ -n "$digests" ]; then { timeout 20 ctr -n k8s.io images ls 2>/dev/null | awk 'NR > 1 {print $1, $3}' >"$d/images"; } &
    else timeout 10 ctr -n k8s.io images ls -q >"$d/images" 2>/dev/null & fi
  fi
}
member=''; if [ -z "$release" ] && [ -e /etc/kubernetes/kubelet.conf ]; then member=perhaps; else unless_member; fi
firewall() { # the rules of the cluster, counted, and the filters of others
  if has iptables-save; then
    iptables-save >"$d/v4"; ip6tables-save >"$d/v6"
    awk -v count=1 '{ line[NR] = $0; if ($0 ~ /^\*/) table++; within[NR] = table; text = $0; gsub(/"([^"\\]|\\.)*"/, "Q", text); n = split(text, word, " "); if (word[1] ~ /^:/) chain[NR] = substr(word[1], 2); if (word[1] == "-A") { chain[NR] = word[2]; if (word[n - 1] == "-j" || word[n - 1] == "-g") target[NR] = word[n]; named[NR] = ($0 ~ /--comment "(dnat |snat )?name: \\"cbr0\\" id: \\"/) && (chain[NR] ~ /^CNI-/ || target[NR] ~ /^CNI-/); if (named[NR] && chain[NR] ~ /^CNI-(DN-|SN-)?[0-9a-f]+$/) own[table, chain[NR]] = 1; if (named[NR] && target[NR] ~ /^CNI-(DN-|SN-)?[0-9a-f]+$/) own[table, target[NR]] = 1 } } function ours(name, t) { return name ~ /^(KUBE-|FLANNEL-)/ || ((t, name) in own) } END { for (i = 1; i <= NR; i++) { if (named[i] || ours(chain[i], within[i]) || ours(target[i], within[i])) found++; else if (!count) print line[i] } if (count) print found + 0 }' "$d/v4" "$d/v6" >"$d/rules"
    awk '/^\*/ {t = $1} t == "*filter" && /^(:|-A )/ && !/^(:|-A )KUBE-/ {print "iptables", $0}' "$d/v4" | head -n $filter_lines >"$d/filters"
  fi
  if has nft; then
    nft list chains >"$d/chains"
    awk '$1 == "table" && $3 ~ /^(kube-proxy|flannel-ipv[46])$/ {print "table", $2, $3}' "$d/chains" >>"$d/rules"
    # not kube-proxy's and flannel's own tables, nor what iptables has shown
    awk '$1 == "table" {f = $2; t = $3} $1 == "chain" {c = $2}
        $1 == "type" && $2 == "filter" && ($4 == "forward" || $4 == "input") && f ~ /^(ip|inet)$/ && t !~ /^(kube-proxy|flannel-ipv[46])$/ &&
          !(t == "filter" && c ~ /^(INPUT|FORWARD)$/) {print f, t}' "$d/chains" | sort -u | head -n 10 >"$d/tables"
    while read -r f t; do timeout 5 nft -j list table "$f" "$t" | head -c 60000 | tr -d '\n'; echo; done <"$d/tables" >>"$d/filters"
  fi
}
firewall 2>/dev/null &
echo '@@ os'; front 16384 /etc/os-release
echo '@@ host'
first /proc/sys/kernel/hostname; echo "hostname=$word"
uname=$(uname -rm); kernel=${uname% *}; echo "kernel=$kernel"; echo "arch=${uname##* }"; echo "cpus=$(nproc)"
first /etc/machine-id; echo "machine_id=$word"; first /sys/class/dmi/id/product_uuid; echo "product_uuid=$word"
first /proc/sys/kernel/random/boot_id; echo "boot_id=$word"
read -ra stat </proc/1/stat; echo "init=${stat[21]}"; echo "now=$(date +%s.%N)"
while read -r key word _; do [ "$key" = MemTotal: ] && break; done </proc/meminfo; echo "memory_kib=$word"
echo "cgroup=$(stat -fc %T /sys/fs/cgroup)"; whether test -d /run/systemd/system; echo "systemd=$y"
y=''; if [ -d "$state/influxdb" ]; then whether mountpoint -q "$state/influxdb"; fi; echo "metrics_disk=$y"
# a kernel that was installed later than the one that runs, where no package says what it wants
newest=''; if has rpm; then
  newest=$(rpm -q --qf '%{INSTALLTIME} %{VERSION}-%{RELEASE}.%{ARCH}\n' kernel-core 2>/dev/null | grep -E '^[0-9]+ ' | sort -n | tail -n 1 | cut -d' ' -f2)
fi
y=''; if [ -e /var/run/reboot-required ] || [ "${newest:-$kernel}" != "$kernel" ]; then y=yes; fi; echo "reboot=$y"
whether test -d /proc/sys/net/bridge; echo "bridge_netfilter=$y"
y=''; while read -r kind word; do [ "${word:-$kind}" = overlay ] && y=yes; done </proc/filesystems; echo "overlay=$y"
echo '@@ swap'; mapfile -t -s 1 lines </proc/swaps; printf '%s\n' "${lines[@]}"
echo '@@ fstab'
if [ -f /etc/fstab ]; then
  while IFS= read -r line; do [[ $line =~ ^[^#][^[:space:]]*[[:space:]]+[^[:space:]]+[[:space:]]+swap([[:space:]]|$) ]] && echo "$line"; done </etc/fstab
fi
echo '@@ sysctl'; for k in $sysctls; do first "/proc/sys/${k//.//}"; echo "$k=$word"; done
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
echo '@@ resolver'; front 65536 /etc/resolv.conf
echo '@@ proxies'; there=(); for f in $proxy_files; do [ -f "$f" ] && there+=("$f"); done
if [ -n "${there[*]}" ] && found=$(grep -HiE '(https?|all|no)_proxy' "${there[@]}" 2>/dev/null); then
  sed -E 's#://[^/@" ]*@#://#g' <<<"$found" | head -c 8192; echo
fi
echo '@@ sources'; there=(); : >"$d/sources"
for f in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources /etc/yum.repos.d/*.repo; do
  if [ -f "$f" ] && [ "${f##*/kubefab-*}" ]; then there+=("$f"); fi
done
if [ -n "${there[*]}" ] && found=$(grep -lF "$repositories" "${there[@]}" 2>/dev/null); then
  while read -r f; do head -c 65536 "$f" | awk -v f="$f" '{print f "\t" NR "\t" $0}'; done <<<"$found" >"$d/sources"
  head -c 262144 "$d/sources"; echo
fi
echo '@@ keyrings'
if [ -s "$d/sources" ]; then
  grep -oE '/[A-Za-z0-9._/+-]+\.(gpg|asc|pgp)' "$d/sources" | sort -u | head -n 20 | while read -r f; do
    if [ -f "$f" ]; then echo "$(head -c 262144 "$f" | base64 -w0) $f"; fi; done
fi
echo '@@ kubelet'; there=()
for f in $kubelet_files /etc/systemd/system/kubelet.service /etc/systemd/system/kubelet.service.d/*.conf /run/systemd/system/kubelet.service.d/*.conf; do
  [ -f "$f" ] && there+=("$f")
done
if [ -n "${there[*]}" ]; then # of each so many bytes
  awk 'FNR == 1 {n = 0} {n += length($0) + 1} n <= 16384 && /--|ExecStart|KUBELET_EXTRA_ARGS/ {print FILENAME "\t" FNR "\t" $0}' "${there[@]}"
fi
echo '@@ kubeletconfig'; front 65536 /var/lib/kubelet/config.yaml; echo
echo '@@ followed'; for f in $followed; do [ -f "$state/$f" ] && mapfile -t lines <"$state/$f" && printf -v word '%s' "${lines[@]}" && echo "$f ${word:0:16384}"; done
# the digests and modes of all files that are asked for below, by one process each
declare -A digest=() mode=() written=()
there=(); for f in $files; do [ -f "$f" ] && there+=("$f"); done
kept=(); if [ -e /var/lib/kubefab/kept/index ]; then while read -r f; do [ -e "/var/lib/kubefab/kept/ours$f" ] && kept+=("$f"); done </var/lib/kubefab/kept/index; fi
if [ -n "${there[*]}${kept[*]}" ]; then
  while read -r word f; do digest[$f]=$word; done < <(sha256sum -- "${there[@]}" "${kept[@]}" 2>/dev/null)
fi
if [ -n "${there[*]}" ]; then while read -r word f; do mode[$f]=$word; done < <(stat -c '%a %n' -- "${there[@]}" 2>/dev/null); fi
echo '@@ files'; for f in "${there[@]}"; do echo "${digest[$f]} ${mode[$f]} $f"; done
echo '@@ traces'; for f in $traces; do test -e "$f" && echo "$f"; done
echo '@@ cni'; n=0; for f in /etc/cni/net.d/*; do is "$f" && [ $((n += 1)) -le 20 ] && echo "${f##*/}"; done
echo '@@ mounts'; awk '$5 ~ "^/var/lib/kubelet/" {for (i = 7; $i != "-"; i++); print $(i + 1), $5, $4}' /proc/self/mountinfo
echo '@@ processes'; replaced=''
for f in /proc/[0-9]*/stat; do
  first "$f"; case ${word##*) } in '' | Z* | X*) continue ;; esac # one that has ended
  word=${word#*(}; word=${word%)*}
  case $word in kube-apiserver | kube-controller | kube-scheduler | etcd | kubelet | kube-proxy | flanneld | kubeadm) echo "1 $word" ;;
  containerd) # systemd's, not one in a pod or Docker's own: a package that was changed since it began
    mapfile -t lines <"${f%stat}cgroup"
    [[ ${lines[*]} == *"/containerd.service"* ]] && ! [ "${f%stat}exe" -ef /usr/bin/containerd ] && replaced=containerd ;;
  esac
done 2>/dev/null
echo '@@ replaced'; echo "$replaced"
echo '@@ kubeadm'; if [ -n "$release" ] && has kubeadm; then timeout 10 kubeadm config images list --kubernetes-version "v$release" 2>/dev/null; fi
echo '@@ ca'; front 16384 /etc/kubernetes/pki/ca.crt || front 16384 /etc/kubernetes/pki/ca.pem; echo
echo '@@ certificates'; there=(); keys=()
for f in $certificates; do
  [ -e "$f" ] && there+=("$f") && [ -e "${f%.crt}.key" ] && keys+=("${f%.crt}.key")
done
if [ -n "${there[*]}" ]; then while read -r word f; do written[$f]=$word; done < <(stat -c '%Y %n' -- "${there[@]}" "${keys[@]}" 2>/dev/null); fi
for f in "${there[@]}"; do # without the keys that some of them hold; of a kubeconfig as it has it, in base64
  echo "file $f ${written[$f]} ${written[${f%.crt}.key]}"; on=''
  mapfile -t -n 400 lines <"$f"
  for line in "${lines[@]}"; do
    case $line in
    "-----BEGIN CERTIFICATE-----"*) on=yes; echo "$line" ;;
    "-----END CERTIFICATE-----"*) [ -n "$on" ] && echo "$line"; on='' ;;
    *"client-certificate-data: "*) [ "${f%.conf}" != "$f" ] && echo "${line:0:16384}" && break ;;
    *) [ -n "$on" ] && echo "${line:0:100}" ;;
    esac
  done
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
  [ -f "/etc/kubernetes/$f.conf" ] && mapfile -t -n 400 lines <"/etc/kubernetes/$f.conf" && for line in "${lines[@]}"; do
    [[ $line =~ ^'    '(certificate-authority-data|server|cluster):' '(.*) ]] && echo "$f ${BASH_REMATCH[1]} ${BASH_REMATCH[2]:0:16384}"
  done
done
echo '@@ identity'; front 4096 "$identity"; echo
echo '@@ etcd'; n=0; for f in /var/lib/etcd/* /var/lib/etcd/.[!.]* /var/lib/etcd/..?*; do is "$f" && [ $((n += 1)) -le 20 ] && echo "${f##*/}"; done
f=/var/lib/etcd/member/snap/db; if [ -e "$f" ]; then echo "db=$(stat -c %s "$f")"; fi
echo '@@ made'
if [ -n "$control_plane" ]; then
  m=/etc/kubernetes/manifests
  grep -ohE -- '--(advertise-address|secure-port|service-cluster-ip-range|cluster-cidr)=[^" ]+' \
    $m/kube-apiserver.yaml $m/kube-apiserver.json $m/kube-controller-manager.yaml $m/kube-controller-manager.json 2>/dev/null | head -n 100
  if [ -f /var/lib/kubelet/config.yaml ]; then
    mapfile -t -n 4000 lines </var/lib/kubelet/config.yaml
    for line in "${lines[@]}"; do [[ $line =~ ^clusterDomain:\ *(.*) ]] && echo "--cluster-domain=${BASH_REMATCH[1]}"; done
  fi
fi
echo '@@ docker'; if [ -n "$docker" ] && has docker; then timeout 10 docker ps --format '{{.Names}}' 2>/dev/null || echo '?'; fi
echo '@@ undo'; for f in "$state"/*; do [ -e "$f" ] && echo "${f##*/}"; done
echo '@@ kept'; k=/var/lib/kubefab/kept; for f in "${kept[@]}"; do s=changed; if [ ! -e "$f" ]; then s=gone; else mapfile -t lines <"$k/ours$f"; if [[ " ${lines[*]} " == *" ${digest[$f]:-none} "* ]]; then s=ours; elif cmp -s "$k/was$f" "$f" || cmp -s "$k/stock$f" "$f"; then s=back; fi; fi; echo "$s $f"; done
echo '@@ before'; if [ -e "$note" ]; then echo noted; front 65536 "$note"; fi
# without the logins of registries
echo '@@ containerd'; if [ -f "$containerd" ]; then grep -m 4000 -viE '^[[:space:]]*"?(auth|username|password|identitytoken)"?[[:space:]]*=' "$containerd" 2>/dev/null | head -c 65536; echo; fi
echo '@@ confd'; n=0; for f in "$confd"/*.toml; do [ -e "$f" ] && [ $((n += 1)) -le 20 ] && echo "${f##*/}"; done
wait
declare -A state_of=() enabled=()
if [ -s "$d/unitfiles" ]; then while read -r f word _; do [ -n "$f" ] && enabled[$f]=$word; done <"$d/unitfiles"; fi
if [ -s "$d/active" ]; then while read -r f _ word _; do [ -n "$f" ] && state_of[$f]=$word; done <"$d/active"; fi
if [ -n "$member" ] && [ "${state_of[kubelet.service]}" != active ]; then unless_member; wait; fi
echo '@@ units'; if has systemctl; then for u in $units; do echo "$u ${state_of[$u.service]:-inactive} ${enabled[$u.service]}"; done; fi
echo '@@ swapunits'; for f in /run/systemd/generator*/*.swap /etc/systemd/system/*.wants/*.swap; do [ -e "$f" ] || continue; u=$(basename "$f"); [ "$(readlink "/etc/systemd/system/$u")" = /dev/null ] || echo "$u"; done
for f in $swap_services; do # what `is-enabled` takes for enabled
  case ${enabled[$f]} in enabled | enabled-runtime | alias | static | indirect | generated | transient) echo "$f" ;; esac
done
echo '@@ others'
for f in "${!state_of[@]}"; do
  case " $units " in *" ${f%.service} "*) continue ;; esac
  case ${state_of[$f]} in active | activating | reloading) echo "unit $f" ;; esac
done
for f in $other_paths; do test -e "$f" && echo "path $f"; done
there=(); echo >"$d/-"
for s in packages rules filters pods images readyz nodes system objects influx addons tokens; do echo "@@ $s" >"$d/@$s"; there+=("$d/@$s")
  for f in "$d/$s" "$d/$s".[0-9]*; do [ -s "$f" ] && there+=("$f" "$d/-"); done
done
cat "${there[@]}"
echo '@@ apt'; if [ -s "$d/apt" ]; then grep '^E: ' "$d/apt" | head -n 9; fi
echo '@@ end'
}
main
