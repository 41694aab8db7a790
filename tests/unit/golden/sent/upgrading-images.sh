# kubefab: upgrading.images
main() {
rm -f -- "$0"
images=https://registry.k8s.io/v2/a/manifests/v1
registry=''
registry_curl=''
registry_ca=''

export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin KUBECONFIG=/etc/kubernetes/admin.conf
unset all_proxy ALL_PROXY http_proxy HTTP_PROXY https_proxy HTTPS_PROXY no_proxy NO_PROXY
cd /
has() { command -v "$1" >/dev/null 2>&1; }
umask 077
d=$(mktemp -d) && trap 'rm -rf -- "$d"' EXIT
if [ -e /etc/kubefab/proxy.env ]; then set -a; . /etc/kubefab/proxy.env; set +a; fi
ask() { # name, url, more arguments: one line, what curl saw
  local name=$1 url=$2; shift 2
  if ! has curl; then echo "$name - - curl is not installed" >"$d/http.$name"; return; fi
  local seen; seen=$(curl -sS -o /dev/null --connect-timeout 4 --max-time 8 -w '%{http_code} %{time_total}' "$@" "$url" 2>"$d/err.$name")
  echo "$name ${seen:-000 0} $(tr '\n' ' ' <"$d/err.$name")" >"$d/http.$name"
}
login() { # name, url: the private registry, with credentials on standard input
  local name=$1 url=$2 challenge realm code token
  printf '%s' "$registry_ca" >"$d/ca.$name" # one each: several run at the same time
  local ca=(); [ -s "$d/ca.$name" ] && ca=(--cacert "$d/ca.$name")
  # without these, a registry hides OCI images behind 404
  local accept="Accept: application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json"
  accept="$accept, application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json"
  printf '%s' "$registry_curl" | ask "$name" "$url" -K - -H "$accept" -D "$d/head.$name" "${ca[@]}"
  grep -q "^$name 401 " "$d/http.$name" || return
  # a registry with tokens names their server, which takes the login; over HTTPS where the registry itself is
  challenge=$(tr -d '\r' <"$d/head.$name" | grep -i '^www-authenticate: *bearer ' | head -n 1)
  realm=$(part realm)
  case $realm in https://* | "${registry%%://*}"://*) ;; *) return;; esac
  code=$(printf '%s' "$registry_curl" | curl -sS -G -o "$d/token.$name" --connect-timeout 4 --max-time 8 -w '%{http_code}' -K - "${ca[@]}" \
    --data-urlencode "service=$(part service)" --data-urlencode "scope=$(part scope)" "$realm" 2>"$d/err.$name")
  if [ "$code" != 200 ]; then echo "$name ${code:-000} 0 at $realm: $(tr '\n' ' ' <"$d/err.$name")" >"$d/http.$name"; return; fi
  token=$(tr -d '\n' <"$d/token.$name" | sed -nE 's/.*"(access_)?token" *: *"([A-Za-z0-9._~+/=-]+)".*/\2/p')
  printf 'header = "Authorization: Bearer %s"\n' "$token" | ask "$name" "$url" -K - -H "$accept" "${ca[@]}"
}
part() { sed -nE "s/.*[ ,]$1=\"([^\"]*)\".*/\1/p" <<<"$challenge"; } # of a challenge
accept="Accept: application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json"
set -f
n=0
for u in $images; do
  case $u in
  "${registry:-none}"*) login "image.$n" "$u" & ;;
  *) ask "image.$n" "$u" -L -I -H "$accept" & ;;
  esac
  n=$((n + 1))
done
set +f
wait
echo '@@ images'; cat "$d"/http.image.* 2>/dev/null
echo '@@ end'
}
main
