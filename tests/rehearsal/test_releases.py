"""`inv cluster.releases` on simulated nodes: one cluster, as it is and with what is in an upgrade's way."""

from __future__ import annotations

import json
from pathlib import Path

from cli import run


def test_what_may_follow_and_what_is_in_the_way(tmp_path: Path) -> None:
    home = {"XDG_STATE_HOME": str(tmp_path)}

    def releases(*words: str, code: int = 0) -> str:
        done = run("inv", "cluster.releases", *words, **home)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    fresh = releases(code=1)
    assert "there is no cluster on cp1 yet" in fresh
    assert run("inv", "cluster.bootstrap", "-q", **home).returncode == 0

    sound = releases("-v")
    assert "\ncp1   1.36.4   1.36.4   2.3.4       3.6.6\n" in sound
    assert "1.37  newest that the nodes can have: 1.37.1; supported until 2027-10-28" in sound
    assert "· etcd.patch  etcd on cp1 is 3.6.6, and before etcd 3.7 it must be 3.6.11 or later" in sound
    assert "✗" not in sound and "nothing is in the way of 1.37.1" in sound

    faults = ("cp1:gate-gone", "cp1:webhook-dead", "w1:packages-down", "w2:host-down")
    words = [word for fault in faults for word in ("--fault", fault)]
    data = json.loads(releases(*words, "--json", code=1))
    stops = {check["id"]: check["seen"] for check in data["checks"] if check["state"] == "stop"}
    assert stops.keys() == {"nodes.unseen", "packages.there", "dropped.gates", "webhooks.lock"}
    assert "SidecarContainers, which 1.37 does not know" in stops["dropped.gates"]
    assert "w1: curl: (7) Failed to connect" in stops["packages.there"]
    assert all(check["remedy"] for check in data["checks"] if check["state"] == "stop")

    assert "dropped.gates" not in releases("--fault", "cp1:gate-gone", "--to", "1.36")
    assert "is more than one minor release" in releases("--to", "1.38", code=1)
    assert "does not go back to 1.36.3: kubeadm would try it" in releases("--to", "1.36.3", code=1)
