peers='w1=http://10.44.1.5:8080/ w2=http://10.44.2.5:8080/'
large=w2=http://10.44.2.5:8080/large
bytes=204800
service=http://10.96.0.9/
name=http://probe.ns.svc.cluster.local/
dns=kubernetes.default.svc.cluster.local
patience=20
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
