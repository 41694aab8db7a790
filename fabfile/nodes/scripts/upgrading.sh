# The questions before an upgrade, in sections headed `@@ name`, read by upgrading.parse_answers. It only reads.
# Variables come from upgrading.upgrade_script, and before this the functions offer_0, offer_1 …, one for each release whose packages are asked for.
# shellcheck shell=bash disable=SC2154

has() { command -v "$1" >/dev/null 2>&1; }
kube() { timeout 20 kubectl --request-timeout=15s "$@" 2>/dev/null; }
umask 077
d=$(mktemp -d) && trap 'rm -rf -- "$d"' EXIT
n=0
for m in $minors; do
  {
    ( # beside the machine's own lists and caches, and through PROXY like an installation
      @proxied@
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
