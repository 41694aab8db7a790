"""Rules for any cluster and any faults, tried on clusters and faults that Hypothesis generates."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from fabfile import phases
from fabfile.phases.reset import residue
from rehearsal_bed import Bed, Outcome

# Faults by their effect on a bootstrap; faults of the control plane block the workers.
HARMLESS = ("apt-locked=90", "swap-on", "wrong-nic", "reboot-needed")
FATAL = (
    "packages-down",
    "registry-no-login",
    "host-down",
    "host-key-changed",
    "sudo-password",
    "disk-full",
    "disk-full=later",
    "unsupported-os",
)
WORKER_FATAL = ("token-expired", "dies-in-join", "clock-skew", "flannel-missing", "udp-blocked")
HARMLESS_CONTROL = ("influx-flaky=4", "influx-stuck", "api-late=45")
FATAL_CONTROL = ("init-hangs",)

SECRET = "pl4nted-s3cret"


@contextmanager
def fresh_bed(extra: str = "") -> Iterator[Bed]:
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(Path(folder) / "state"))
        yield Bed(Path(folder), extra)


@st.composite
def clusters(draw: st.DrawFn) -> tuple[int, dict[str, str]]:
    """(workers, node → fault), with at most one fault for each node."""
    workers = draw(st.integers(1, 5))
    chosen = {f"w{n}": draw(st.sampled_from(["", "", *HARMLESS, *FATAL, *WORKER_FATAL])) for n in range(1, workers + 1)}
    chosen["cp1"] = draw(st.sampled_from(["", "", *HARMLESS, *HARMLESS_CONTROL, *FATAL, *FATAL_CONTROL]))
    return workers, {name: fault for name, fault in chosen.items() if fault}


def fatal(fault: str) -> bool:
    return fault in (*FATAL, *WORKER_FATAL, *FATAL_CONTROL)


def private(outcome: Outcome, words: list[str]) -> None:
    """Assert that no secret was reported, journalled, or left in files that others may read."""
    for word in words:
        assert word not in "\n".join(outcome.recorder.lines)
        for host in outcome.simulation.hosts.values():
            for path, file in host.files.items():
                assert word not in file.text or file.mode == "600", path


@hypothesis_settings(
    max_examples=6, deadline=None, derandomize=True, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)
@given(clusters())
def test_any_faults_on_any_cluster(cluster: tuple[int, dict[str, str]]) -> None:
    workers, faults = cluster
    with fresh_bed() as bed:
        first = bed.run(phases.BOOTSTRAP, *(f"{name}:{fault}" for name, fault in faults.items()), workers=workers)
        expected = {name for name, fault in faults.items() if fatal(fault)}
        names = {"cp1", *(f"w{n}" for n in range(1, workers + 1))}
        if "cp1" in expected:
            assert "cp1" in first.failed
            # a worker whose fault only shows in join waits in vain, like the healthy workers
            early = {name for name in expected if faults[name] in FATAL}
            assert set(first.failed) == early | {"cp1"}
            assert first.blocked == names - early - {"cp1"}
        else:
            assert set(first.failed) == expected, {n: e.message for n, e in first.failed.items()}
            # if no worker joined, the add-ons have no node to run on
            members = {name for name in names - {"cp1"} if faults.get(name, "") in ("", "udp-blocked", *HARMLESS)}
            assert first.blocked == (set() if members else {"cp1"})
        assert all(error.message.startswith(name) and error.remedy for name, error in first.failed.items())
        assert {where for where, _ in first.simulation.ran} <= names, (
            "never a command to a host that is not in the inventory"
        )

        lifted = bed.bootstrap()
        assert set(lifted.states.values()) == {"done"}, {n: e.message for n, e in lifted.failed.items()}
        facts = bed.facts()
        assert all(facts["cp1"].node_ready(name) for name in names)
        assert bed.bootstrap().result.steps == 0, "two runs in a row: the second has no steps"
        assert set(bed.reset().states.values()) == {"done"}
        assert all(residue(one) == [] for one in bed.facts().values())


@hypothesis_settings(
    max_examples=4, deadline=None, derandomize=True, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)
@given(clusters(), st.integers(1, 60))
def test_reset_after_any_interrupted_run_ends_clean(cluster: tuple[int, dict[str, str]], stop_after: int) -> None:
    """A run with faults is stopped after some scripts, then reset: nothing of a cluster is left, and swap is restored."""
    workers, faults = cluster
    with fresh_bed() as bed:
        swaps = {name for name, fault in faults.items() if fault == "swap-on"}
        stopped_run(bed, stop_after, *(f"{name}:{fault}" for name, fault in faults.items()), workers=workers)
        outcome = bed.reset()
        assert set(outcome.states.values()) == {"done"}, {n: e.message for n, e in outcome.failed.items()}
        for name, facts in bed.facts().items():
            assert residue(facts) == []
            assert bool(facts.swaps) == (name in swaps)
        assert set(bed.bootstrap().states.values()) == {"done"}


def stopped_run(bed: Bed, after: int, *faults: str, workers: int) -> Outcome:
    """A bootstrap that is stopped, as by Ctrl-C, after that many scripts."""
    from fabfile.run.pipelines import Run
    from rehearsal.simulation import Simulation

    def arrange(simulation: Simulation, run: Run) -> None:
        class Counted(list[tuple[str, str]]):
            def append(self, item: tuple[str, str]) -> None:
                super().append(item)
                if len(self) >= after:
                    run.stop()

        simulation.ran = Counted()

    return bed.run(phases.BOOTSTRAP, *faults, workers=workers, hook=arrange)


@hypothesis_settings(
    max_examples=4, deadline=None, derandomize=True, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)
@given(st.lists(st.integers(1, 70), min_size=1, max_size=3))
def test_repeated_interruptions_still_end_in_a_healthy_cluster(stops: list[int]) -> None:
    with fresh_bed() as bed:
        for after in stops:
            stopped = stopped_run(bed, after, workers=2)
            assert set(stopped.states.values()) <= {"done", "interrupted"}
        assert set(bed.bootstrap().states.values()) == {"done"}
        assert bed.bootstrap().result.steps == 0


def test_a_planted_secret_is_never_readable() -> None:
    registry = f"REGISTRY=registry.example:5000\nREGISTRY_USER=bot\nREGISTRY_PASSWORD={SECRET}\nREGISTRY_MIRRORS=registry.k8s.io\n"
    for faults in ((), ("cp1:init-hangs",), ("w2:token-expired",), ("w2:registry-no-login",)):
        with fresh_bed(registry) as bed:
            tokens: list[str] = []
            outcome = bed.run(
                phases.BOOTSTRAP,
                *faults,
                hook=lambda simulation, run, tokens=tokens: tokens.append(run.tokens.current().reveal()),  # type: ignore[misc]
            )
            token = tokens[0]
            private(outcome, [SECRET, token, token.split(".")[1]])
            written = bed.written()
            assert written
            assert not any(word in written for word in (SECRET, token, token.split(".")[1]))
            left = [
                host.exists(f"/run/kubefab-{name}.yaml")
                for host in outcome.simulation.hosts.values()
                for name in ("init", "join", "token")
            ]
            assert not any(left)
            if outcome.simulation.cluster.exists:
                assert token.split(".")[0] not in outcome.simulation.cluster.tokens, "the run's token is deleted"


def test_local_state_is_private() -> None:
    with fresh_bed() as bed:
        bed.bootstrap()
        for folder, _, files in os.walk(bed.environment.state):
            for name in files:
                path = Path(folder) / name
                assert path.stat().st_mode & 0o077 == 0, path
