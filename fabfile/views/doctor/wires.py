"""Required ports and the path MTU, tested between every pair of nodes with real packets: the scripts and their answers.

Three rounds, each one exec a node, all nodes at the same time: `listen` starts what listens where nothing does yet,
`try` sends to every peer, `gather` reads what arrived and ends the listeners.  They end by themselves after
`LIFE` seconds if nobody comes back, and their folder goes with them.

TCP needs no tool to send (bash's /dev/tcp): open, refused and dropped are told apart.  UDP is one-way by nature, and
so it is tested one way: what the receiver did not get, a sender cannot know.  Where flannel.1 holds UDP 8472
already, the datagram goes through the overlay instead: on the wire that is a UDP 8472 packet in that one direction.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ...inventory import Node
from ...text import forms

LIFE = 45  # seconds that a listener lives at most
TIMEOUT = 40.0  # seconds for one round's script
OVERLAY_PORT = 38472  # inside the overlay: any free port
FOLDER = "/run/kubefab-doctor"
TOOLS = ("python3", "platform-python", "perl", "socat")

_HEAD = """\
export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/libexec
cd /
"""

# One program for all ports of a node: "tcp:PORT", "udp:PORT[:ADDRESS]"; says what it listens on, notes what UDP brings.
_PYTHON = r"""
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
"""
_PERL = r"""
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
"""

_LISTEN = r"""
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
"""

_TRY = r"""
tcp() { # label, address, port
  local error code
  error=$(timeout 3 bash -c 'exec 3<>"/dev/tcp/$0/$1"' "$2" "$3" 2>&1); code=$?
  case "$code $error" in
    "0 "*) echo "tcp $1 $3 open" ;;
    124*) echo "tcp $1 $3 dropped" ;;
    *refused*) echo "tcp $1 $3 refused" ;;
    *) echo "tcp $1 $3 failed ${error##*: }" ;;
  esac
}
udp() { local i; for i in 1 2 3; do echo "got $3 $5 $4" 2>/dev/null >"/dev/udp/$2/$3"; sleep 0.15; done; echo "udp $1 $3 sent"; }
# "probe" asks the path and not what the kernel remembers of it for ten minutes; iputils has it from 20231222 on, older ones only "do"
how=probe; ping -n -q -c 1 -W 1 -M probe 127.0.0.1 >/dev/null 2>&1 || how=do
fits() { ping -n -q -c 2 -i 0.2 -W 1 -M $how -s "$2" "$1" >/dev/null 2>&1; }
mtu() { # label, address, kind, MTU of our interface
  command -v ping >/dev/null 2>&1 || { echo "mtu $1 $3 $4 no-ping"; return; }
  if ! fits "$2" 56; then echo "mtu $1 $3 $4 no-answer"; return; fi
  local low=$((576-28)) high=$(($4-28)) mid
  if fits "$2" "$high"; then echo "mtu $1 $3 $4 $4"; return; fi
  fits "$2" "$low" || { echo "mtu $1 $3 $4 0"; return; }
  while [ $((high-low)) -gt 8 ]; do mid=$(((low+high)/2)); if fits "$2" "$mid"; then low=$mid; else high=$mid; fi; done
  echo "mtu $1 $3 $4 $((low+28))"
}
while read -r what a b c d e; do
  # data, never a command: only these three words run anything
  case $what in
    tcp) tcp "$a" "$b" "$c" & ;;
    udp) udp "$a" "$b" "$c" "$d" "$e" & ;;
    mtu) mtu "$a" "$b" "$c" "$d" & ;;
    *) continue ;;
  esac
  while [ "$(jobs -rp | wc -l)" -ge 48 ]; do wait -n; done
done <<<"$tests"
wait
echo "@@ end"
"""

_GATHER = r"""
cat "$folder/log" 2>/dev/null
p=$(cat "$folder/pid" 2>/dev/null) && kill -TERM "-$p" 2>/dev/null
for i in $(seq 40); do [ -d "$folder" ] || break; sleep 0.05; done
rm -rf -- "$folder"
echo "@@ end"
"""


def _script(name: str, values: Mapping[str, str], body: str) -> str:
    head = "\n".join(f"{key}={shlex.quote(value)}" for key, value in values.items())
    return f'# kubefab: {name}\nmain() (\nrm -f -- "$0"\n{head}\n{_HEAD}{body})\nmain\n'


@dataclass(frozen=True)
class Member:
    """A node as the tests see it. `overlay` is flannel.1's address ("" without one), `mtu` its NIC's, `held` UDP ports in use."""

    node: Node
    overlay: str = ""
    mtu: int = 1500
    overlay_mtu: int = 0
    tcp: tuple[int, ...] = ()
    held: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        """What a node said of itself goes into the other nodes' scripts: no member without its form. Raises FormError."""
        forms.address(self.overlay or "0.0.0.0", "flannel.1's address")
        for size in (self.mtu, self.overlay_mtu):
            forms.whole(size, "MTU")

    @property
    def name(self) -> str:
        return self.node.name

    @property
    def address(self) -> str:
        return self.node.address


@dataclass(frozen=True)
class Test:
    """One thing to try from `source` to `target`: `tcp` and `udp` on a port, `overlay` and `mtu` (of `nic` or `overlay`)."""

    source: str
    target: str
    kind: str
    port: int = 0
    medium: str = "nic"


def listen_script(member: Member, udp_ports: Sequence[int], tools: Sequence[str] = TOOLS) -> str:
    """Start listeners on the TCP ports that this node must offer and the UDP ports that nobody holds yet."""
    words = [f"tcp:{port}" for port in member.tcp]
    words += [f"udp:{port}" for port in udp_ports if port not in member.held]
    if member.overlay:
        words.append(f"udp:{OVERLAY_PORT}:{member.overlay}")
    values = {
        "folder": FOLDER,
        "life": str(LIFE),
        "tools": " ".join(tools),
        "listeners": " ".join(words),
        "python": _PYTHON,
        "perl": _PERL,
    }
    return _script("doctor.listen", values, _LISTEN)


def try_script(source: Member, tests: Sequence[Test], members: Mapping[str, Member], nonce: str) -> str:
    """Send to every peer. `nonce` marks this doctor's datagrams."""
    lines = []
    for test in tests:
        peer = members[test.target]
        if test.kind == "tcp":
            lines.append(f"tcp {peer.name} {peer.address} {test.port}")
        elif test.kind == "udp":
            lines.append(f"udp {peer.name} {peer.address} {test.port} {source.name} {nonce}")
        elif test.kind == "overlay":
            lines.append(f"udp {peer.name} {peer.overlay} {OVERLAY_PORT} {source.name} {nonce}")
        elif test.medium == "overlay":
            lines.append(f"mtu {peer.name} {peer.overlay} overlay {source.overlay_mtu}")
        else:
            lines.append(f"mtu {peer.name} {peer.address} nic {source.mtu}")
    return _script("doctor.try", {"tests": "\n".join(lines)}, _TRY)


def gather_script() -> str:
    """Read what arrived, end the listeners."""
    return _script("doctor.gather", {"folder": FOLDER}, _GATHER)


@dataclass(frozen=True)
class Listening:
    """What listens on a node after `listen`: `tool` "" means that it has none that can."""

    tool: str = ""
    up: frozenset[tuple[str, int]] = frozenset()
    busy: frozenset[tuple[str, int]] = frozenset()
    refused: str = ""

    def offers(self, kind: str, port: int) -> bool:
        return (kind, port) in self.up or (kind, port) in self.busy


def parse_listen(output: str) -> Listening:
    """Read the first round's answer."""
    refused = re.search(r"^@@ refused (.+)$", output, flags=re.M)
    tool = re.search(r"^@@ tool ([A-Za-z0-9.-]{1,40})$", output, flags=re.M)
    cut = not refused and (not tool or (tool[1] != "-" and not re.search(r"^ready$", output, flags=re.M)))
    ports = {word: re.findall(rf"^{word} (tcp|udp) ([0-9]{{1,5}})\b", output, flags=re.M) for word in ("up", "busy")}
    return Listening(
        tool="" if not tool or tool[1] == "-" else tool[1],
        up=frozenset((kind, int(port)) for kind, port in ports["up"]),
        busy=frozenset((kind, int(port)) for kind, port in ports["busy"]),
        refused=forms.text(refused[1], 100) if refused else "its listeners did not start" if cut else "",
    )


@dataclass(frozen=True)
class Tried:
    """What one node's `try` saw: TCP results by (target, port), path MTUs by (target, medium); `whole` if it came to its end."""

    tcp: Mapping[tuple[str, int], str] = field(default_factory=dict)
    mtu: Mapping[tuple[str, str], str] = field(default_factory=dict)
    whole: bool = True


def parse_try(output: str) -> Tried:
    """Read the second round's answer."""
    tcp: dict[tuple[str, int], str] = {}
    mtu: dict[tuple[str, str], str] = {}
    for line in output.splitlines():
        words = line.split(maxsplit=3)
        if words[:1] == ["tcp"] and len(words) == 4 and forms.has(words[2], "[0-9]{1,5}"):
            tcp[words[1], int(words[2])] = forms.text(words[3], 100)
        elif (
            words[:1] == ["mtu"]
            and len(words) == 4
            and (seen := words[3].split())
            and forms.has(seen[-1], "[0-9]{1,9}|no-ping|no-answer")
        ):
            mtu[words[1], words[2]] = seen[-1]
    return Tried(tcp, mtu, "@@ end" in output)


def parse_gather(output: str, nonce: str) -> frozenset[tuple[str, int]] | None:
    """The (sender, port) of every datagram of ours that arrived; None when the answer is cut short."""
    if "@@ end" not in output:
        return None
    found = re.findall(rf"^got ([0-9]{{1,5}}) {re.escape(nonce)} ([a-z0-9.-]{{1,63}})$", output, flags=re.M)
    return frozenset((sender, int(port)) for port, sender in found)
