# kubefab: doctor.listen
main() {
rm -f -- "$0"
folder=/run/kubefab-doctor
life=45
tools='python3 platform-python perl socat'
listeners='tcp:10250 udp:8472 udp:38472:10.44.0.0'
python='import select
import socket
import sys
import time

end = time.time() + float(sys.argv[1])
log = open(sys.argv[2], "a", 1)
listeners = {}
for word in sys.argv[3:]:
    kind, port, address = [*word.split(":", 2), ""][:3]
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    s = socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
    try:
        if kind == "tcp":
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind((address, int(port)))
        if kind == "tcp":
            s.listen(64)
        listeners[s] = kind
        log.write("up %s %s\n" % (kind, port))
    except OSError as e:
        log.write("busy %s %s %s\n" % (kind, port, e.strerror))
log.write("ready\n")
while time.time() < end:
    for s in select.select(list(listeners), [], [], 1)[0]:
        try:
            if listeners[s] == "tcp":
                s.accept()[0].close()
            else:
                log.write(s.recvfrom(2048)[0].decode("ascii", "replace").strip() + "\n")
        except OSError:
            pass
'
perl='use strict; use Socket; use IO::Handle;
my ($life, $path, @words) = @ARGV; my $end = time + $life; my %s;
open(my $into, ">>", $path) or die; $into->autoflush(1);
for my $word (@words) {
  my ($kind, $port, $address) = split /:/, $word, 3; my $h; my $tcp = $kind eq "tcp";
  socket($h, PF_INET, $tcp ? SOCK_STREAM : SOCK_DGRAM, 0) or next;
  setsockopt($h, SOL_SOCKET, SO_REUSEADDR, 1) if $tcp;
  if (bind($h, sockaddr_in($port, $address ? inet_aton($address) : INADDR_ANY)) && (!$tcp || listen($h, 64))) {
    $s{fileno($h)} = [$h, $kind, $port]; print $into "up $kind $port\n";
  } else { print $into "busy $kind $port $!\n"; }
}
print $into "ready\n";
while (time < $end) {
  my $bits = ""; vec($bits, $_, 1) = 1 for keys %s;
  next unless select(my $out = $bits, undef, undef, 1) > 0;
  for my $n (keys %s) {
    next unless vec($out, $n, 1); my ($h, $kind, $port) = @{$s{$n}};
    if ($kind eq "tcp") { my $c; accept($c, $h) and close $c }
    elsif (defined recv($h, my $data, 2048, 0)) { $data =~ s/[^ -~]//g; print $into "$data\n" }
  }
}
'

export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin KUBECONFIG=/etc/kubernetes/admin.conf
unset all_proxy ALL_PROXY http_proxy HTTP_PROXY https_proxy HTTPS_PROXY no_proxy NO_PROXY
cd /
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
}
main
