# The doctor's questions to one node, in sections headed `@@ name`, read by questions.parse_answers. It only reads.
# Variables, and the lines for @lock_holder@ and @asking@ (nodes/scripts/asking.sh), come from questions.doctor_script, which puts certificates.sh before this; among them is the registry's login, which goes to curl by standard input.
# shellcheck shell=bash disable=SC2154

has() { command -v "$1" >/dev/null 2>&1; }
if [ -n "$proxy" ]; then export http_proxy=$proxy https_proxy=$proxy no_proxy=$without_proxy; fi # as curl is run by install
umask 077
d=$(mktemp -d) && trap 'rm -rf -- "$d"' EXIT
@asking@
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
echo '@@ lock'; @lock_holder@
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
