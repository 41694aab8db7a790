# First round of the tests between nodes: listeners on this node's ports; read by between_nodes.parse_listen.
# Variables come from between_nodes.listen_script: `listeners` are words like tcp:10250 and udp:38472:10.44.1.0, `life` is in seconds.
# shellcheck shell=bash disable=SC2154

umask 077
PATH=$PATH:/usr/libexec # platform-python's folder
# the steps' own lock, held as long as the listeners live: a port taken by us must not meet kubeadm's preflight
if [ -e /run/kubefab.lock ]; then
  exec 9>>/run/kubefab.lock
  flock -n 9 || { echo "@@ refused a step of another run is under way"; exit 0; }
fi
if [ -d "$folder" ] && ! kill -0 "$(cat "$folder/pid" 2>/dev/null || echo 0x)" 2>/dev/null; then rm -rf -- "$folder"; fi
mkdir "$folder" 2>/dev/null || { echo "@@ refused another doctor is at work here"; exit 0; }
tool=
for t in $tools; do command -v "$t" >/dev/null 2>&1 && { tool=$t; break; }; done
echo "@@ tool ${tool:--}"
if [ -z "$tool" ]; then rmdir "$folder"; exit 0; fi
: >"$folder/log"
case $tool in
  python3|platform-python) program=$python; run() { exec "$tool" -c "$1" "$life" "$folder/log" $listeners; } ;;
  perl) program=$perl; run() { exec perl -e "$1" "$life" "$folder/log" $listeners; } ;;
  socat) program=; run() {
    local w kind port address
    for w in $listeners; do
      IFS=: read -r kind port address <<<"$w"
      if [ "$kind" = tcp ]; then timeout --foreground "$life" socat -u "TCP4-LISTEN:$port,fork,reuseaddr" OPEN:/dev/null &
      else timeout --foreground "$life" socat -u "UDP4-RECVFROM:$port,fork${address:+,bind=$address}" "OPEN:$folder/log,append" & fi
      sleep 0.1
      if kill -0 $! 2>/dev/null; then echo "up $kind $port"; else echo "busy $kind $port"; fi
    done >>"$folder/log"
    trap : TERM # bash ends only after its listeners: so the ports are free when `gather` ends
    echo ready >>"$folder/log"
    until wait; do :; done # a signal ends a `wait`, not what it waits for
  } ;;
esac
export life folder listeners tool
export -f run
# a session of its own, so that `gather` can end it whole; its folder is deleted when it ends, for whatever reason
setsid bash -c '
  echo $$ >"$folder/pid"; trap "trap : TERM; kill 0; until wait; do :; done; rm -rf -- \"$folder\"; exit" TERM
  run "$1" & wait; rm -rf -- "$folder"' - "$program" </dev/null >/dev/null 2>&1 &
for _ in $(seq 60); do grep -qx ready "$folder/log" 2>/dev/null && break; sleep 0.05; done
cat "$folder/log" 2>/dev/null
echo "@@ end"
