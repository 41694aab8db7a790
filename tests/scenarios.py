"""One table for both kinds of nodes: faults that are possible on simulated and on real nodes, and the result required on both.

Each scenario starts from a healthy cluster without w2; the fault is made, bootstrap runs, the fault is fixed, bootstrap
runs again.  If the two results differ, the model in rehearsal/ is wrong.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Scenario:
    """`fault` is the rehearsal's switch; `make` and `fix` are root shell lines on the real w2 (or words that the lab test knows); `$w1` is w1's host name.

    `phase` is where w2 stops, "" if it does not stop; the output must contain `says`.  `purge`: w2 has no packages yet.
    `reset`: the remedy is a reset of w2, which is named as foreign.  `meanwhile`: the fault is fixed while the run waits for that.
    """

    name: str
    fault: str
    make: str
    fix: str
    phase: str
    says: str
    purge: bool = False
    reset: bool = False
    meanwhile: bool = False

    def __str__(self) -> str:
        return self.name


_REJECT = "nft add table inet fault; nft 'add chain inet fault out {{ type filter hook output priority -5; }}'; nft add rule inet fault out {}"
_ACCEPT = "nft delete table inet fault"
# dpkg uses a POSIX lock, which flock(1) cannot take; every Debian has perl.
_LOCK = (
    'perl -MFcntl -e \'open F, ">>/var/lib/dpkg/lock-frontend"; $l = pack("ssx4qqi", F_WRLCK, 0, 0, 0, 0); fcntl(F, F_SETLK, $l) or die; '
    "sleep 600' >/dev/null 2>&1 & echo $! >/run/holder"
)
_UNLOCK = "kill $(cat /run/holder); rm /run/holder"

SCENARIOS = (
    Scenario(
        "stale cni0", "w2:stale-cni0", "ip link add cni0 type bridge", "true", "prep", "cni0 exists already", reset=True
    ),
    Scenario(
        "two machines of one name",
        "w2:duplicate-hostname",
        "hostname $w1",
        "hostname $w2",
        "prep",
        "has the same hostname as w1",
    ),
    Scenario(
        "cloned machine-id",
        "w2:duplicate-machine-id",
        "machine-id of w1",
        "machine-id of its own",
        "prep",
        "has the same machine-id as w1",
    ),
    Scenario("host down", "w2:host-down", "power cut", "power on", "connecting", "w2 ("),
    Scenario(
        "host key changed",
        "w2:host-key-changed",
        "new host key",
        "forget host key",
        "connecting",
        "host key has CHANGED",
    ),
    Scenario(
        "sudo asks for a password",
        "w2:sudo-password",
        "sed -i s/NOPASSWD:// /etc/sudoers.d/*",
        "sed -i 's/ALL$/NOPASSWD:ALL/' /etc/sudoers.d/*",
        "connecting",
        "sudo refused user ops",
    ),
    Scenario(
        "package source down",
        "w2:packages-down",
        _REJECT.format("tcp dport 80 reject with tcp reset"),
        _ACCEPT,
        "install",
        "cannot fetch",
        purge=True,
    ),
    Scenario("package lock held", "w2:apt-locked=9", _LOCK, _UNLOCK, "", "held by", purge=True, meanwhile=True),
    Scenario(
        "flannel cannot start", "w2:flannel-missing", "touch /run/flannel", "rm -f /run/flannel", "join", "no flannel.1"
    ),
)
