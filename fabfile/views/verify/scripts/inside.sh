# What a probe pod runs, in its busybox: peers, the service by address and by name, cluster DNS; read by proof.parse_inside.
# Variables come from proof.inside: `peers` are words like cp1=http://10.44.0.5:8080/, `large` such words whose answer has so many `bytes`;
# `patience` is in seconds.
# shellcheck shell=dash disable=SC2154

# wget's own -T restarts at each pause; all of it, with name resolution, must fit into the exec's 45 s
get() { timeout 4 wget -q -O - "$1" 2>/dev/null; }
eventually() { # kube-proxy and CoreDNS need a moment to know the service
  end=$(($(date +%s) + patience))
  until "$@" >/dev/null 2>&1; do
    [ "$(date +%s)" -lt "$end" ] || return 1
    sleep 0.5
  done
}
for peer in $peers; do
  { get "${peer#*=}" | grep -qxF "${peer%%=*}" && echo "peer ${peer%%=*} ok"; } &
done
for peer in $large; do # a path that loses large packets stalls after the handshake
  { [ "$(timeout 8 wget -q -O - "${peer#*=}" 2>/dev/null | wc -c)" -eq "$bytes" ] && echo "large ${peer%%=*} ok"; } &
done
{ eventually get "$service" && echo 'service ok'; } &
{ eventually get "$name" && echo 'name ok'; } &
{ eventually timeout 4 nslookup "$dns" && echo 'dns ok'; } &
wait
echo end
