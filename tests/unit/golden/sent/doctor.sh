# kubefab: doctor
main() {
rm -f -- "$0"
control_plane=yes
toward=10.2.0.1
folders='/var/lib/containerd /var/lib/kubelet /var/lib/etcd /var/log'
urls='https://pkgs.k8s.io/core:/stable:/v1.36/deb/InRelease https://download.docker.com/linux/debian/dists/bookworm/InRelease'
registries='https://registry-1.docker.io/v2/ https://ghcr.io/v2/ https://registry.k8s.io/v2/'
names='download.docker.com ghcr.io pkgs.k8s.io registry-1.docker.io registry.k8s.io'
registry=''
registry_curl=''
registry_ca=''
canary=''
key_url=https://pkgs.k8s.io/core:/stable:/v1.36/deb/Release.key
keyrings='/etc/apt/keyrings/kubefab-kubernetes.gpg /etc/apt/keyrings/kubefab-containerd.gpg /etc/pki/rpm-gpg/kubefab-kubernetes /etc/pki/rpm-gpg/kubefab-containerd'
proxy=''
without_proxy=''

export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin KUBECONFIG=/etc/kubernetes/admin.conf
cd /
# Their text and not their dates: a node need not have openssl. One of the files holds a key too, which stays there.
certificates() { # those of the control plane and of the kubelet, as `path BASE64`
  local f
  for f in /etc/kubernetes/pki/*.crt /etc/kubernetes/pki/etcd/*.crt /var/lib/kubelet/pki/kubelet-client-current.pem; do
    [ -e "$f" ] && echo "$f $(sed -n '/^-----BEGIN CERTIFICATE-----/,/^-----END CERTIFICATE-----/p' "$f" | head -c 16384 | base64 -w0)"
  done
}
has() { command -v "$1" >/dev/null 2>&1; }
if [ -n "$proxy" ]; then export http_proxy=$proxy https_proxy=$proxy no_proxy=$without_proxy; fi # as curl is run by install
umask 077
d=$(mktemp -d) && trap 'rm -rf -- "$d"' EXIT
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
set -f # an address is no pattern
n=0; for u in $urls; do n=$((n+1)); ask "source.$n" "$u" -L -I & done
n=0; for u in $registries; do n=$((n+1)); ask "registry.$n" "$u" -I & done
if [ -n "$registry" ]; then login private "$registry" & login canary "$canary" & fi
for h in $names; do { timeout 20 getent ahosts "$h" >"$d/dns.$h" 2>&1 || echo FAILED >"$d/dns.$h"; } & done
set +f
if [ -n "$key_url" ] && has curl && has gpg; then
  { curl -fsSL --connect-timeout 4 --max-time 8 "$key_url" | gpg --homedir "$d" --batch --show-keys --with-colons >"$d/key"; } 2>/dev/null &
fi
if [ -n "$control_plane" ] && [ -e "$KUBECONFIG" ] && has kubeadm; then
  { unset all_proxy http_proxy https_proxy ALL_PROXY HTTP_PROXY HTTPS_PROXY; set -o pipefail; timeout 15 kubeadm token list -o json 2>/dev/null | sed -E 's/"([a-z0-9]{6})\.[a-z0-9]{16}"/"\1"/' >"$d/tokens" ||
      echo 'bootstrap tokens: `kubeadm token list` failed' >"$d/cut"; } &
fi
echo '@@ links'; ip -j addr 2>/dev/null
echo '@@ routes'; ip -o route 2>/dev/null
echo '@@ toward'; ip -o route get "$toward" 2>/dev/null
echo '@@ subnet'; cat /run/flannel/subnet.env 2>/dev/null
echo '@@ disk'; for f in $folders; do p=$f; while [ ! -e "$p" ]; do p=$(dirname "$p"); done
  echo "$f $(df -Pk "$p" | awk 'NR==2{print $2, $4}') $(df -Pi "$p" 2>/dev/null | awk 'NR==2{print $2, $4}')"; done
echo '@@ memory'; grep -E '^(MemTotal|MemAvailable):' /proc/meminfo
echo '@@ modules'; for m in overlay br_netfilter vxlan nf_conntrack; do
  if [ -d /sys/module/$m ] || grep -qw $m /proc/filesystems || modprobe -n -q $m 2>/dev/null
  then echo "$m yes"; else echo "$m no"; fi; done
echo '@@ config'; for f in /proc/config.gz /boot/config-$(uname -r) /lib/modules/$(uname -r)/config; do test -r "$f" && echo "$f"; done
echo '@@ time'; if has timedatectl; then timeout 5 timedatectl show -p NTP -p NTPSynchronized 2>/dev/null; fi
for u in systemd-timesyncd chrony chronyd ntp ntpd; do systemctl is-active -q $u 2>/dev/null && echo "service=$u"; done
echo '@@ services'; for u in firewalld ufw nm-cloud-setup.timer; do systemctl is-active -q $u 2>/dev/null && echo "$u"; done
has ufw && ufw status 2>/dev/null | grep -q '^Status: active' && echo ufw-rules
echo '@@ selinux'; has getenforce && getenforce 2>/dev/null
echo '@@ sockets'; has ss && ss -Hlntup 2>/dev/null
echo '@@ lock'; for f in /var/lib/dpkg/lock-frontend /var/lib/dpkg/lock /var/lib/apt/lists/lock; do [ -e $f ] || continue; i=$(stat -c %i $f); awk -v i=":$i" '$2 == "POSIX" && substr($6, length($6) - length(i) + 1) == i {print $5}' /proc/locks; done | sort -u | while read -r p; do echo "$(cat /proc/$p/comm 2>/dev/null) (pid $p)"; done
echo '@@ certs'
certificates
for f in /etc/kubernetes/*.conf; do
  c=$(sed -n 's/^ *client-certificate-data: *//p' "$f" 2>/dev/null | head -n 1 | head -c 32768)
  [ -n "$c" ] && echo "$f $c"
done
echo '@@ containerd'
if has containerd; then echo "version=$(containerd --version 2>/dev/null | awk '{print $3}')"; fi
if [ -S /run/containerd/containerd.sock ]; then
  if has crictl; then
    timeout 8 crictl --runtime-endpoint unix:///run/containerd/containerd.sock version >/dev/null 2>"$d/cri" && echo ok >"$d/cri"
    echo "cri=$(tail -n 1 "$d/cri")"
  fi
  timeout 8 containerd config dump 2>/dev/null | grep -E '^ *(SystemdCgroup|disabled_plugins|sandbox|config_path) *=' | tr -d "\"' "
fi
echo '@@ keyrings'
if has gpg; then for f in $keyrings; do
  [ -e "$f" ] && gpg --homedir "$d" --batch --show-keys --with-colons "$f" 2>/dev/null | sed "s|^|$f |"; done; fi
echo '@@ tools'; for t in curl openssl gpg conntrack socat python3 perl nc ping nft iptables ethtool; do has $t && echo $t; done
wait
echo '@@ http'; cat "$d"/http.* 2>/dev/null
echo '@@ dns'; for h in $names; do echo "$h $(head -n 1 "$d/dns.$h" 2>/dev/null)"; done
echo '@@ key'; cat "$d/key" 2>/dev/null
echo '@@ tokens'; cat "$d/tokens" 2>/dev/null
echo
echo '@@ cut'; cat "$d/cut" 2>/dev/null
[ ! -S /run/containerd/containerd.sock ] || has crictl || echo "containerd's CRI: crictl is not installed"
[ -z "$key_url" ] || [ -s "$d/key" ] || ! has curl || if has gpg; then echo 'the signing key that the repository offers: not fetched'
  else echo 'signing keys: gpg is not installed'; fi
has ss || echo 'which program holds a port: ss is not installed'
echo '@@ end'
}
main
