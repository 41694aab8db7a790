# kubefab: upgrading
main() {
rm -f -- "$0"
control_plane=''
minors=1.37
gone=scheduling.k8s.io/v1alpha2
folders='/etc/kubernetes/tmp /var/lib/containerd /var/cache/apt/archives /var/lib/etcd /usr'
limit=6000000
etcd_process='^etcd .*--data-dir=/var/lib/etcd( |$)'
etcd_health=http://127.0.0.1:2381
etcd_pki=/etc/kubernetes/pki/etcd
object_columns=N:.metadata.namespace,O:.metadata.name

export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin KUBECONFIG=/etc/kubernetes/admin.conf
unset all_proxy ALL_PROXY http_proxy HTTP_PROXY https_proxy HTTPS_PROXY no_proxy NO_PROXY
cd /
offer_0() {
export TMPDIR="$a"
home=$(mktemp -d) && key=$home/key
curl -fsSL --retry 3 --connect-timeout 10 -o "$key" https://pkgs.k8s.io/core:/stable:/v1.37/rpm/repodata/repomd.xml.key || { echo 'cannot fetch https://pkgs.k8s.io/core:/stable:/v1.37/rpm/repodata/repomd.xml.key'; exit 22; }
gpg --homedir "$home" --quiet --batch --no-autostart --import "$key" 2>/dev/null || true
own=$(gpg --homedir "$home" --quiet --batch --no-autostart --with-colons --list-keys 2>/dev/null | sed -n '/^pub:/,/^fpr:/p' | sed -n 's/^fpr:.*:\([0-9A-F]*\):$/\1/p' | grep -xE 'DE15B14486CD377B9E876E1A234654DA9A296436') || { echo 'the key at https://pkgs.k8s.io/core:/stable:/v1.37/rpm/repodata/repomd.xml.key has not the fingerprint DE15B14486CD377B9E876E1A234654DA9A296436'; exit 65; }
gpg --homedir "$home" --quiet --batch --no-autostart --armor -o "$home/trusted" --export $own
install -m 0644 "$home/trusted" "$a/key"
rm -rf "$home"
mkdir -p "$a/repos"
printf "%s\n" '[kubefab-kubernetes]' name=Kubernetes baseurl=https://pkgs.k8s.io/core:/stable:/v1.37/rpm/ enabled=1 gpgcheck=1 "gpgkey=file://$a/key" >"$a/repos/kubernetes.repo"
dnf -q --setopt=reposdir="$a/repos" --setopt=cachedir="$a/cache" --setopt=logdir="$a" --setopt=timeout=15 --setopt=retries=1 repoquery --showduplicates --qf '%{name} %{version}-%{release}
' kubelet kubeadm kubectl
}
has() { command -v "$1" >/dev/null 2>&1; }
kube() { timeout 20 kubectl --request-timeout=15s "$@" 2>/dev/null; }
umask 077
d=$(mktemp -d) && trap 'rm -rf -- "$d"' EXIT
n=0
for m in $minors; do
  {
    ( # beside the machine's own lists and caches, and through PROXY like an installation
      if [ -e /etc/kubefab/proxy.env ]; then set -a; . /etc/kubefab/proxy.env; set +a; fi
      set -e; a=$d/offer.$n; mkdir -p "$a"; "offer_$n"
    ) >"$d/offered.$n" 2>&1
    echo $? >"$d/offered.$n.code"
  } &
  n=$((n + 1))
done
question() { # name, kubectl's arguments: its answer; what did not come, or is longer than is read, is named
  local s=$1; shift
  kube "$@" | head -c "$limit" >"$d/$s"
  if [ "${PIPESTATUS[0]}" != 0 ] || [ "$(stat -c %s "$d/$s")" -ge "$limit" ]; then echo "$s" >>"$d/unread"; : >"$d/$s"; fi
}
if [ -n "$control_plane" ] && [ -e "$KUBECONFIG" ] && has kubectl; then
  { question metrics get --raw=/metrics; grep '^apiserver_requested_deprecated_apis{' "$d/metrics" | head -n 200 >"$d/deprecated"; } &
  { question hooks get validatingwebhookconfigurations,mutatingwebhookconfigurations -o json
    sed 's/"caBundle": *"[^"]*"/"caBundle": ""/' "$d/hooks" >"$d/webhooks"; } &
  question namespaces get namespaces -o json &
  question endpoints get endpointslices -A -o json &
  { question served api-versions
    for g in $gone; do
      grep -qxF "$g" "$d/served" || continue
      question resources get --raw="/apis/$g"
      for r in $(grep -oE '"name":"[a-z0-9]+"' "$d/resources" | cut -d'"' -f4 | sort -u); do
        question kept get "$r.${g#*/}.${g%/*}" -A --no-headers -o custom-columns="$object_columns"
        head -n 5 "$d/kept" | sed "s|^|$g $r |"
      done
    done >"$d/objects"; } &
fi
echo '@@ containerd'; if has containerd; then timeout 10 containerd --version 2>/dev/null | awk '{print $3}'; fi
echo '@@ runtime' # what runs need not be the package's program; without its children, by systemd's word; and who pins the package
if has systemctl && p=$(systemctl show -p MainPID --value containerd 2>/dev/null) && [ "${p:-0}" != 0 ]; then
  f=$(readlink "/proc/$p/exe" 2>/dev/null) && echo "program ${f% (deleted)}"
  echo "kills $(systemctl show -p KillMode --value containerd 2>/dev/null)"
fi
grep -lsE '^[[:space:]]*([^#[:space:]].*)?containerd' /etc/apt/preferences /etc/apt/preferences.d/* /etc/dnf/plugins/versionlock.list \
  /etc/yum/pluginconf.d/versionlock.list /etc/dnf/versionlock.toml /etc/dnf/dnf.conf /etc/yum.conf 2>/dev/null | head -n 5 | sed 's/^/pin /'
echo '@@ disk'; for f in $folders; do p=$f; while [ ! -e "$p" ]; do p=$(dirname "$p"); done
  echo "$f $(df -Pk "$p" 2>/dev/null | awk 'NR == 2 {print $4, $6}')"; done
echo '@@ data'; if [ -d /var/lib/etcd ]; then du -sk /var/lib/etcd 2>/dev/null | awk '{print $1}'; fi
echo '@@ etcd'
if [ -n "$control_plane" ] && has curl; then
  p=$(pgrep -o -f "$etcd_process") && echo "version $("/proc/$p/exe" --version 2>/dev/null | sed -n 's/^etcd Version: //p')"
  echo "health $(curl -s --noproxy '*' --max-time 8 "$etcd_health/health" 2>/dev/null | head -c 2000 | tr -d '\n')"
  echo "members $(curl -s --noproxy '*' --max-time 8 --cacert "$etcd_pki/ca.crt" --cert "$etcd_pki/healthcheck-client.crt" \
    --key "$etcd_pki/healthcheck-client.key" -d '{}' https://127.0.0.1:2379/v3/cluster/member/list 2>/dev/null | head -c 20000 | tr -d '\n')"
  curl -s --noproxy '*' --max-time 8 "$etcd_health/metrics" 2>/dev/null |
    sed -nE 's/^(etcd_mvcc_db_total_size_in_bytes|etcd_server_quota_backend_bytes|etcd_server_has_leader) /metric \1 /p'
fi
wait
echo '@@ packages'
n=0
for m in $minors; do
  if [ "$(cat "$d/offered.$n.code")" = 0 ]; then grep -E '^(kube(let|adm|ctl)|containerd\.io) ' "$d/offered.$n" | head -n 300 | sed "s|^|$m |"
  else echo "$m ! $(grep -v '^ *$' "$d/offered.$n" | tail -n 3 | tr '\n' ' ')"; fi
  n=$((n + 1))
done
for s in deprecated webhooks namespaces endpoints objects unread; do
  echo "@@ $s"; cat "$d/$s" 2>/dev/null; echo
done
echo '@@ end'
}
main
