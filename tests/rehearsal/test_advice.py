"""What the doctor advises, typed as it prints it: the finding is gone then. And every command that only looks, where a run has failed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import rehearsal
from printed import SPAN, in_source
from rehearsal_bed import Bed

HARMS = {"KF-KRN-SYSCTL", "KF-CRI-CONFIG", "KF-VER-LOOSE", "KF-FLN-MTU"}


def harm(bed: Bed) -> None:
    """Another person changes the machines of a healthy cluster."""
    with rehearsal.running(bed.environment) as simulation:
        hosts = simulation.hosts
        hosts["w1"].sysctls["net.ipv4.ip_forward"] = "0"
        hosts["w2"].write("/etc/containerd/config.toml", "# edited\n", append=True)
        hosts["w1"].held.remove("kubelet")
        hosts["w2"].links["flannel.1"].mtu = 8951


def findings(bed: Bed) -> list[dict[str, object]]:
    done = bed.typed("inv cluster.doctor --json")
    return [found for found in json.loads(done.stdout)["findings"] if found["severity"] != "note"]


def test_each_remedy_of_the_doctor_ends_its_finding(bed: Bed) -> None:
    bed.healthy()
    assert findings(bed) == []
    harm(bed)
    found = findings(bed)
    assert {str(one["code"]) for one in found} >= HARMS
    for one in found:
        for line in SPAN.findall(str(one["remedy"]).partition("; if that does not help")[0]):
            if re.match(r"(inv|fab) ", line):
                done = bed.typed(line)
            else:
                done = bed.typed_on("cp1" if line.startswith("kube") else str(one["nodes"][0]), line)  # type: ignore[index]
            assert done.returncode == 0, (line, done.stdout, done.stderr)
    assert findings(bed) == []


def test_every_printed_command_that_only_looks_works_after_a_failed_run(tmp_path: Path, bed: Bed) -> None:
    bed = Bed(tmp_path, "REHEARSAL_TOKEN=rehear.sal0000000000000\n")  # which cluster.manual prints
    assert bed.bootstrap("w2:dies-in-join").result.exit_code == 1
    looks = r"inv cluster\.(?!bootstrap|reset|run|shell|doctor|backup(?!s)|restore|remove|reboot|upgrade)[^{]*$"
    # the longest of each command
    lines = {
        p.line.split()[1]: p.line for p in sorted(in_source(), key=lambda p: len(p.line)) if re.match(looks, p.line)
    }
    assert len(lines) > 8
    written = {"images.lock": f"{tmp_path}/images.lock", "evidence": f"evidence --out {tmp_path}/evidence.tar.gz"}
    ended = {line: bed.typed(re.sub("|".join(written), lambda word: written[word[0]], line)) for line in lines.values()}
    wrong = {
        line: (done.returncode, done.stdout[-400:], done.stderr[-400:])
        for line, done in ended.items()
        if done.returncode not in (0, 1)
    }
    assert wrong == {}
    assert [
        line
        for line, done in ended.items()
        if "Traceback" in done.stderr or "not modelled" in done.stdout + done.stderr
    ] == []
