"""The benchmark's own logic: what counts as measured, what is judged, and that nothing of it reaches kubefab. It runs on the lab only (`make bench`)."""

from __future__ import annotations

import ipaddress
import re
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from dataclasses import replace

import pytest

from benchmarks import environments, machine, measuring, parts, report
from benchmarks.measuring import Contender, Failed, Spread
from benchmarks.simulated import SETTINGS
from fabfile.errors import UsageError
from fabfile.inventory import PROJECT
from making import environment
from rehearsal import naming


def python(*lines: str, proof: parts.Proof = lambda _: "") -> Contender:
    return Contender("it", tuple((sys.executable, "-c", line) for line in lines), PROJECT, {}, proof)


def test_a_process_is_measured_from_outside_to_its_end() -> None:
    took = measuring.once(python("sum(range(10**6))"))
    assert took.wall > 0 and took.cpu > 0 and took.peak > 1


def test_several_processes_run_side_by_side() -> None:
    """Each waits until the other has begun: one after the other would never end."""
    folder = "import os, sys, time; from pathlib import Path; d = Path(os.environ['MEET'])"
    wait = "[time.sleep(0.01) for _ in iter(lambda: len(list(d.iterdir())) < 2, False)]"
    with tempfile.TemporaryDirectory() as meet:
        both = python(*(f"{folder}; (d / '{name}').touch(); {wait}" for name in "ab"))
        measuring.once(Contender(both.key, both.commands, both.folder, {"MEET": meet}))


@pytest.mark.parametrize(
    ("lines", "proof", "says"),
    [
        (("print('seen'); raise SystemExit(3)",), lambda _: "", "exit 3"),
        (("print(1)", "raise SystemExit(1)"), lambda _: "", "exit 1"),
        (("print('3 steps')",), parts.must("nothing to do"), "nothing to do"),
    ],
)
def test_what_did_not_do_its_job_is_not_measured(lines: Sequence[str], proof: parts.Proof, says: str) -> None:
    with pytest.raises(Failed, match=says):
        measuring.once(python(*lines, proof=proof))


def test_turns_rotate() -> None:
    said: list[str] = []
    one, other = python("1"), python("2")
    pair = [Contender("a", one.commands, PROJECT), Contender("b", other.commands, PROJECT)]
    found = measuring.in_turn(pair, 3, said.append)
    assert [text.split(":")[0] for text in said] == ["a", "b", "b", "a", "a", "b"]
    assert {key: len(turns) for key, turns in found.items()} == {"a": 3, "b": 3}


RECAP = (
    "cp1 : ok=9 changed={} unreachable={} failed={} skipped=3\nw1 : ok=9 changed=0 unreachable=0 failed=0 skipped=9\n"
)


@pytest.mark.parametrize(
    ("recap", "none", "right"),
    [
        (RECAP.format(0, 0, 0), ("failed", "changed"), True),
        (RECAP.format(2, 0, 0), ("failed", "changed"), False),
        (RECAP.format(2, 0, 0), ("failed",), True),
        (RECAP.format(0, 0, 1), ("failed",), False),
        (RECAP.format(0, 1, 0), (), False),
        ("PLAY RECAP\n", (), False),
    ],
)
def test_ansibles_recap_is_believed_only_where_every_host_is_in_it(
    recap: str, none: tuple[str, ...], right: bool
) -> None:
    assert (parts.judged(*none)(recap) == "") is right


def test_pyinfra_may_run_no_operation_the_second_time() -> None:
    assert parts.nothing("--> Preparing operation files...\n--> Results:\n") == ""
    assert parts.nothing("--> Starting operation: images \n") != ""


def data(**seconds: float) -> dict[str, object]:
    figures = {key: Spread.of([value]) for key, value in seconds.items()}
    return {
        key.replace("_", " "): {name: vars(one) for name in ("wall", "cpu", "peak")} for key, one in figures.items()
    }


@pytest.mark.parametrize(
    ("found", "reached"),
    [
        ({"kubefab_unchanged": 0.7, "ssh_true": 0.3}, True),
        ({"kubefab_unchanged": 1.0, "ssh_true": 0.3}, False),
        ({"ansible_checks": 30.0, "kubefab_unchanged": 1.0}, True),
        ({"ansible_checks": 29.9, "kubefab_unchanged": 1.0}, False),
        ({"reset_of_a_node": 5.1}, False),
    ],
)
def test_a_goal_is_a_ratio_of_one_run(found: dict[str, float], reached: bool) -> None:
    judged = [one for one in report.judged(data(**found)) if one.value is not None]
    assert [one.reached for one in judged] == [reached]


def test_each_goal_and_each_row_is_of_something_that_is_measured() -> None:
    source = (PROJECT / "benchmarks/parts.py").read_text() + "10 nodes 200 nodes 1000 nodes"
    keys = {row.key for table in report.TABLES for row in table.rows}
    assert {goal.key for goal in report.GOALS} | {goal.than for goal in report.GOALS if goal.than} <= keys
    near = {re.sub(r", \d+ ms$", "", key) for key in keys}  # each distance has rows of the same names
    assert [key for key in sorted(near) if key not in source] == []


def test_a_table_shows_medians_with_their_spread_beside_one_row() -> None:
    turns = {"ssh true": [0.3, 0.2, 0.4], "kubefab unchanged": [0.9, 0.9, 0.9]}
    found = {key: {"wall": vars(Spread.of(values))} for key, values in turns.items()}
    table = report.table({"found": found}, report.TABLES[0])
    assert "| 0.30 (0.20–0.40) | 1.0 |" in table and "| 0.90 | 3.0 |" in table and "| – | – |" in table


def test_a_page_has_only_what_was_measured() -> None:
    found = {"ssh true": {"wall": vars(Spread.of([0.3]))}, "invoke alone": {"cpu": vars(Spread.of([0.1]))}}
    page = report.page({"machine": {}, "versions": {"Python": "Python 3.11"}, "found": found})
    assert "OpenSSH" in page and "Invoke by itself" in page and "Python 3.11" in page
    assert not re.search("pyinfra|ms away|goal", page) and len(re.findall(r"(?m)^\|---", page)) == 3, page


def test_a_busy_machine_is_named() -> None:
    quiet = machine.Machine("2026-11-29", 2, "a processor", 24, "Linux 6", 1.9)
    assert machine.busy(quiet) == ""
    assert "load average 2.1 on 2 cores" in machine.busy(
        machine.Machine("2026-11-29", 2, "a processor", 24, "Linux 6", 2.1)
    )


def test_rivals_are_locked_with_hashes_and_are_no_dependency_of_ours() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    ours = " ".join([*project["dependencies"], *project["optional-dependencies"]["dev"]])
    locks = "".join((PROJECT / name).read_text() for name in ("requirements.lock", "requirements-dev.lock"))
    for lock in environments.LOCKS.values():
        for name in re.findall(r"^([\w.-]+)==", lock.with_suffix(".in").read_text(), re.M):
            assert name not in ours and f"\n{name}==" not in locks
        pinned = re.split(r"\n(?=\S)", re.sub(r"(?m)^ *#.*\n", "", lock.read_text()).strip())
        assert pinned and all("==" in one and "--hash=sha256:" in one for one in pinned), lock


def test_the_largest_cluster_that_is_measured_can_be_simulated() -> None:
    """A rehearsal has as many workers as POD_CIDR has parts for; each has an address of its own."""
    settings = replace(environment(0).settings, pod_cidr=ipaddress.IPv4Network(SETTINGS["POD_CIDR"]))
    large = replace(environment(0), settings=settings)
    names = naming.names_of(large, 999)
    assert len(set(names)) == len({naming.address_of(number) for number in range(len(names))}) == 1000
    small = replace(large, settings=replace(settings, pod_cidr=ipaddress.IPv4Network("10.44.0.0/16")))
    assert len(naming.names_of(small, 250)) == 251
    with pytest.raises(UsageError, match="--workers 251: at most 250"):
        naming.names_of(small, 251)
