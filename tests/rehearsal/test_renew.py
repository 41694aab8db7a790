"""`inv cluster.renew` on simulated nodes: what is served, kills at every command, faults, names of the API's certificate."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
from rehearsal_model import Model, kills

from fabfile.context import Choices, Context, Renewal
from fabfile.nodes.facts import API_CERTIFICATE, AUTHORITIES
from fabfile.phases import NAMES, RENEW
from fabfile.phases.renew import KUBECONFIGS, is_due, parts, renew
from fabfile.recipes.kubeadm import recipe_for
from fabfile.steps import Stop
from rehearsal import certificates, faults
from rehearsal.simulation import Simulation
from rehearsal_bed import Bed, Outcome

DAY = 86400.0


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    folder = tmp_path_factory.mktemp("renew")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder / "state"))
        outcome = Bed(folder).bootstrap(workers=1)
    assert not outcome.failed
    return outcome


def fresh(made: Outcome, *, ended: bool) -> Model:
    """A cluster whose certificates were made an hour ago, or ended yesterday while the machines were off."""
    simulation = made.simulation
    model = Model(simulation.environment, simulation.hosts, simulation.cluster)
    control = model.hosts["cp1"]
    for name in certificates.RENEWED:
        certificates.issue(control, name, time.time() - 3600)
    for pod in control.pods:
        certificates.begin(control, pod)
    if ended:
        switched = {name: {"certificates-ended": ""} for name in model.hosts}
        faults.begin(faults.Faults(switched), model.hosts)
    return model


def whole(model: Model, since: float) -> None:
    """Every certificate is valid, of this run, and the one that is served; every login works."""
    control = model.environment.control_plane
    facts = model.facts(control)
    every = parts(Context(model.environment, control, facts, recipe_for(model.environment)))
    for path in {*KUBECONFIGS, *(path for part in every for path in part.files)}:
        found = facts.certificates[path]
        assert found.written >= int(since) and found.ends > time.time() + 300 * DAY and found.authority, path
    for part in every:
        assert part.name in facts.running
        for at, path in part.shows.items():
            assert facts.served[at].digest == facts.certificates[path].digest, at
    assert facts.api_ready and all(facts.node_ready(host.hostname) for host in model.hosts.values())


@pytest.mark.parametrize("ended", [False, True], ids=["while they are valid", "after they have ended"])
def test_killed_after_any_command_the_next_run_ends_with_every_certificate_renewed(made: Outcome, ended: bool) -> None:
    """A kill leaves nothing that the next run does not see: what is older than its files is restarted, what has no certificate gets one."""
    choices = Choices(renewal=Renewal(every=not ended, since=time.time()))
    control, worker = made.simulation.environment.nodes
    model = fresh(made, ended=ended)
    commands = [model.carry_out(RENEW, node, choices) for node in (control, worker)]
    whole(model, choices.renewal.since)
    assert [model.carry_out(RENEW, node, choices) for node in (control, worker)] == [[], []], "nothing is left to do"
    assert len(commands[0]) > 25 and bool(commands[1]) == ended

    def control_killed(model: Model) -> None:
        for node in (control, worker)[: 1 + ended]:
            model.carry_out(RENEW, node, choices)
        whole(model, choices.renewal.since)
        cuts["cp1"] += 1

    def worker_killed(model: Model) -> None:
        model.carry_out(RENEW, worker, choices)
        whole(model, choices.renewal.since)
        assert not model.hosts["w1"].exists("/etc/kubernetes/bootstrap-kubelet.conf")
        assert len(model.cluster.members) == 2, "the Node stays"
        cuts["w1"] += 1

    cuts = Counter[str]()
    model = fresh(made, ended=ended)
    model.carry_out(RENEW, control, choices, control_killed)
    model.carry_out(RENEW, worker, choices, worker_killed)
    assert cuts == {name: len(kills(done)) for name, done in zip(("cp1", "w1"), commands, strict=True) if done}


def test_what_cannot_be_renewed_stops_before_anything_is_changed(made: Outcome) -> None:
    """Each row: what is different, and the Stop that it gives; after it every file is as before."""
    control = made.simulation.environment.control_plane
    ahead = {"ahead": (-7200.0, -7199.0)}
    rows = (
        ("", ahead, "renew.clock"),
        ("", {"ahead": (7199.0, 7200.0)}, "renew.clock"),
        ("ca.key", {}, "renew.authority"),
        ("etcd/ca.key", {}, "renew.authority"),
        ("foreign", {}, "renew.foreign"),
        ("ended", {}, "renew.authority"),
    )
    for taken, changes, wanted in rows:
        model = fresh(made, ended=False)
        host = model.hosts["cp1"]
        if taken.endswith(".key"):
            host.remove(f"{certificates.PKI}/{taken}")
        if taken == "foreign":
            host.write(API_CERTIFICATE, certificates.made("corp", "a", "b", time.time() - 9, time.time() + 9, ["x"]))
        if taken == "ended":
            seed = certificates.seed(host, AUTHORITIES[0])
            host.write(AUTHORITIES[0], certificates.made("kubernetes", seed, seed, 1.0, time.time() - 9))
        choices = Choices(renewal=Renewal(every=True, since=time.time()))
        ctx = model.context(control, choices)
        ctx = replace(ctx, facts=replace(ctx.facts, **changes))
        (stop,) = renew(ctx)  # the guard, which knows a CA that is not the cluster's, would stop before
        assert isinstance(stop, Stop) and stop.id == wanted, (taken, stop)


def test_only_what_ends_within_the_days_is_renewed_and_a_key_without_its_certificate(made: Outcome) -> None:
    """A table of ends in days, and what is renewed with the default of 90; one that this run wrote is not renewed again."""
    model, control = fresh(made, ended=False), made.simulation.environment.control_plane
    now = time.time()
    choices = Choices(renewal=Renewal(since=now))
    ctx = model.context(control, choices)
    for ends, written, key, due in (
        (91, -9, -9, False),
        (89, -9, -9, True),
        (-1, -9, -9, True),
        (89, 9, 9, False),
        (91, -9, 9, True),
    ):
        found = replace(
            ctx.facts.certificates[API_CERTIFICATE],
            ends=ctx.facts.now + ends * DAY,
            written=now + written,
            key=now + key,
        )
        facts = replace(ctx.facts, certificates={**ctx.facts.certificates, API_CERTIFICATE: found})
        assert is_due(replace(ctx, facts=facts), API_CERTIFICATE) == due, (ends, written, key)


def test_a_name_is_added_with_those_that_are_there_and_noted_in_the_cluster(made: Outcome) -> None:
    control = made.simulation.environment.control_plane
    choices = Choices(renewal=Renewal(since=time.time(), names=("api.example.org", "192.0.2.77")))
    at = f"127.0.0.1:{made.simulation.environment.settings.api_port}"
    before = fresh(made, ended=False).facts(control).certificates[API_CERTIFICATE].names
    cuts = count()

    def goes_on(model: Model) -> None:
        number = next(cuts)
        model.carry_out(RENEW, control, choices)
        model.carry_out(NAMES, control, choices)
        assert model.carry_out(NAMES, control, choices) == []
        facts = model.facts(control)
        assert {*before, *choices.renewal.names} <= set(facts.served[at].names), number
        assert {*choices.renewal.names} <= set(facts.configured["apiServer"]["certSANs"])
        assert facts.configured["networking"]["podSubnet"] == "10.44.0.0/16", "the rest of it is as it was"

    model = fresh(made, ended=False)
    commands = model.carry_out(NAMES, control, choices, goes_on)
    assert next(cuts) == len(kills(commands)) > 0
    goes_on(model)


def test_an_etcd_that_does_not_come_back_stops_there_and_nothing_else_is_restarted(bed: Bed) -> None:
    bed.healthy(workers=1)
    choices = Choices(renewal=Renewal(days=4000, since=time.time() + 60))
    outcome = bed.run([RENEW], "cp1:etcd-stays-down", on=["cp1"], choices=choices)
    error = outcome.failed["cp1"]
    assert "etcd is healthy with the new certificates" in error.message and "no container runs" in error.message
    assert "certificates-before" in error.remedy and "nothing else was restarted" in error.remedy
    running = {pod.labels.get("component") for pod in outcome.simulation.hosts["cp1"].pods if pod.running}
    assert {"kube-apiserver", "kube-controller-manager", "kube-scheduler"} <= running and "etcd" not in running
    assert not any(one.startswith("renew.kube") for _, one in outcome.simulation.ran)


def test_the_command_says_what_it_does_and_updates_the_kubeconfig(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    bed = Bed(tmp_path)
    config = tmp_path / "kubeconfig"
    assert bed.typed(f"inv cluster.bootstrap --workers 1 --kubeconfig {config}").returncode == 0
    login = config.read_text()
    done = bed.typed("inv cluster.renew")
    assert done.returncode == 0 and "nothing to do" in done.stdout, done.stdout + done.stderr
    done = bed.typed("inv cluster.renew --plan --fault cp1:certificates-ended --fault w1:certificates-ended")
    assert done.returncode == 0 and "renew.kubelet" in done.stdout and "w1 renew" in done.stdout, done.stdout
    assert config.read_text() == login
    stopped = bed.typed("inv cluster.bootstrap")
    assert stopped.returncode == 1 and "`inv cluster.renew --env rehearsal`" in stopped.stdout, stopped.stdout
    done = bed.typed("inv cluster.renew")
    assert done.returncode == 0 and f"{config}: context rehearsal has the new login" in done.stdout, done.stdout
    assert config.read_text() != login
    assert "nothing to do" in bed.typed("inv cluster.bootstrap").stdout

    def unnamed(simulation: Simulation, run: object) -> None:
        certificates.issue(simulation.hosts["cp1"], "apiserver", time.time() - 60, ["kubernetes", "10.2.0.10"])

    bed.run([], hook=unnamed)
    named = bed.typed("inv cluster.bootstrap --from network").stdout  # whole, it adds the name itself
    assert "and not for 127.0.0.1" in named and "`inv cluster.renew --env rehearsal` adds it" in named, named
    assert bed.typed("inv cluster.renew --env rehearsal").returncode == 0
    assert "and not for" not in bed.typed("inv cluster.bootstrap").stdout
    refused = bed.typed("inv cluster.renew --add-san 'a b;c'")
    assert refused.returncode == 2 and "neither a host name nor an address" in refused.stderr
