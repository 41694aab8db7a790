# kubefab: doctor.listen
main() (
rm -f -- "$0"
folder=/run/kubefab-doctor
life=45
tools='python3 platform-python perl socat'
listeners='tcp:10250 udp:8472 udp:38472:10.44.0.0'
python='
import select, socket, sys, time
end, into, socks = time.time() + float(sys.argv[1]), open(sys.argv[2], "a", 1), []
for word in sys.argv[3:]:
    kind, port, address = (word.split(":", 2) + [""])[:3]
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    s = socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
    try:
        if kind == "tcp": s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind((address, int(port)))
        if kind == "tcp": s.listen(64)
        socks.append((s, kind, port)); into.write("up %s %s\n" % (kind, port))
    except OSError as e:
        into.write("busy %s %s %s\n" % (kind, port, e.strerror))
into.write("ready\n")
while time.time() < end:
    for s in select.select([x[0] for x in socks], [], [], 1)[0]:
        kind, port = [x[1:] for x in socks if x[0] is s][0]
        try:
            if kind == "tcp": s.accept()[0].close()
            else: into.write(s.recvfrom(2048)[0].decode("ascii", "replace").strip() + "\n")
        except OSError: pass
'
perl='
use strict; use Socket; use IO::Handle;
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
export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/libexec
cd /

umask 077
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
  python3|platform-python) run() { exec "$tool" -c "$python" "$life" "$folder/log" $listeners; } ;;
  perl) run() { exec perl -e "$perl" "$life" "$folder/log" $listeners; } ;;
  socat) run() {
    local w kind port address v6
    for w in $listeners; do
      IFS=: read -r kind port address <<<"$w"
      if [ "$kind" = tcp ]; then timeout --foreground "$life" socat -u "TCP4-LISTEN:$port,fork,reuseaddr" OPEN:/dev/null &
      else timeout --foreground "$life" socat -u "UDP4-RECVFROM:$port,fork${address:+,bind=$address}" "OPEN:$folder/log,append" & fi
      sleep 0.1
      if kill -0 $! 2>/dev/null; then echo "up $kind $port"; else echo "busy $kind $port"; fi
    done >>"$folder/log"
    echo ready >>"$folder/log"
    wait
  } ;;
esac
export python perl life folder listeners tool
export -f run
# a session of its own, so that `gather` can end it whole; its folder goes when it ends, whoever ends it
setsid bash -c '
  echo $$ >"$folder/pid"; trap "trap : TERM; kill 0; wait; rm -rf -- \"$folder\"; exit" TERM
  run & wait; rm -rf -- "$folder"' </dev/null >/dev/null 2>&1 &
for i in $(seq 60); do grep -qx ready "$folder/log" 2>/dev/null && break; sleep 0.05; done
cat "$folder/log" 2>/dev/null
echo "@@ end"
)
main
