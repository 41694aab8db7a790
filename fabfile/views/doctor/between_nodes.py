"""Required ports and the path MTU, tested between every pair of nodes with real packets: the scripts and their answers.

Three rounds, each with one exec per node, on all nodes at the same time: `listen` starts listeners on ports where nothing listens yet,
`try` sends to every peer, `gather` reads what arrived and ends the listeners.  Without a `gather` they end by themselves after `LIFE`
seconds, and delete their folder.

TCP needs no tool to send (bash's /dev/tcp), and open, refused and dropped differ.  UDP has no answer, so only the receiver knows what
arrived.  If flannel.1 already uses UDP 8472, the datagram goes through the overlay instead: that too is a UDP 8472 packet in that
direction.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import field

from ...inventory import Node
from ...nodes import script
from ...records import dataclass
from ...text import forms

LIFE = 45  # seconds that a listener lives at most
TIMEOUT = 40.0  # seconds for one round's script
OVERLAY_PORT = 38472  # inside the overlay: any free port
FOLDER = "/run/kubefab-doctor"
TOOLS = ("python3", "platform-python", "perl", "socat")


@dataclass(frozen=True)
class Member:
    """A node in these tests. `overlay` is flannel.1's address ("" without one), `mtu` its NIC's MTU, `held` its UDP ports in use."""

    node: Node
    overlay: str = ""
    mtu: int = 1500
    overlay_mtu: int = 0
    tcp: tuple[int, ...] = ()
    held: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        """Check the values that came from the node: they go into the other nodes' scripts. Raises FormError."""
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
    """Start listeners on the TCP ports that this node must offer, and on the UDP ports that are not in use."""
    words = [f"tcp:{port}" for port in member.tcp]
    words += [f"udp:{port}" for port in udp_ports if port not in member.held]
    if member.overlay:
        words.append(f"udp:{OVERLAY_PORT}:{member.overlay}")
    values = {
        "folder": FOLDER,
        "life": str(LIFE),
        "tools": " ".join(tools),
        "listeners": " ".join(words),
        "python": script.program(__file__, "listen.py"),
        "perl": script.program(__file__, "listen.pl"),
    }
    return script.reading("doctor.listen", script.program(__file__, "listen.sh"), values)


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
    return script.reading("doctor.try", script.program(__file__, "try.sh"), {"tests": "\n".join(lines)})


def gather_script() -> str:
    """Read what arrived, end the listeners."""
    return script.reading("doctor.gather", script.program(__file__, "gather.sh"), {"folder": FOLDER})


@dataclass(frozen=True)
class Listening:
    """What listens on a node after `listen`. `tool` is empty if the node has no program that can listen."""

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
    """What one node's `try` saw: TCP results by (target, port), path MTUs by (target, medium); `whole` if the script came to its end."""

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
    return Tried(tcp, mtu, script.ended(output))


def parse_gather(output: str, nonce: str) -> frozenset[tuple[str, int]] | None:
    """The (sender, port) of every datagram of ours that arrived; None when the answer is cut short."""
    if not script.ended(output):
        return None
    found = re.findall(rf"^got ([0-9]{{1,5}}) {re.escape(nonce)} ([a-z0-9.-]{{1,63}})$", output, flags=re.M)
    return frozenset((sender, int(port)) for port, sender in found)
