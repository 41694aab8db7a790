"""The 1.5 recipe, compared with the manual: its digest, ID by ID, and the whole rendering for both of its clusters."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from dataclasses import replace

import pytest

from fabfile.cli.common import release
from fabfile.cli.confirm import confirm
from fabfile.context import Choices, Context
from fabfile.errors import UsageError
from fabfile.inventory import Environment, load, with_release
from fabfile.legacy import phases
from fabfile.legacy.commands import DIFFERENCES, Line, Manual, differences_table, warning
from fabfile.nodes import script
from fabfile.nodes.facts import Link, Mount, NodeFacts, Unit
from fabfile.phases import BOOTSTRAP, EVERY, RESET, for_release
from fabfile.recipes.kubeadm import recipe_for
from fabfile.steps import Action, Step, Stop, Wait
from fabfile.views.legacy import OURS, rendering
from fabfile.views.plan import as_text, plan
from making import api_node, bare, environment, having, ids

BASE = "http://cocktail-cloud.acornsoft.io/api/kube/manifests"
VALUES = {
    "aws": {"token": "b00af9.5fcddc13c9193dd1", "master": "13.124.31.81", "cidr": "10.44.0.0/16"},
    "datacenter": {"token": "07c414.8679e4553a1e7426", "master": "13.124.11.58", "cidr": "10.45.0.0/16"},
}
DIGEST = {
    "P1": ["ifconfig"],
    "P2": ["kubeadm reset", "end every process of docker", "reboot"],
    "I1": ["curl http://packages.cloud.google.com/apt/doc/apt-key.gpg | apt-key add -"],
    "I3": ["apt-get update"],
    "I4": ["apt-get install -y docker.io"],
    "I5": ["apt-get install -y kubelet kubeadm kubectl kubernetes-cni"],
    "R1": ["cd /etc/docker", f"curl {BASE}/daemon > daemon.json"],
    "R2": ["systemctl restart docker"],
    "M1": ["kubeadm init --token={token} --api-advertise-addresses={master} --pod-network-cidr={cidr}"],
    "N1": [f"kubectl apply -f {BASE}/flannel?network={{cidr}}"],
    "N2": ["kubectl -n kube-system get pods"],
    "N3": ["ifconfig", "systemctl restart kubelet"],
    "J1": ["kubeadm join --token={token} {master}"],
    "J2": ["ifconfig"],
    "J3": ["systemctl restart kubelet"],
    "J4": ["kubectl get nodes"],
    "A1": [f"kubectl create -f {BASE}/dashboard"],
    "A2": [f"kubectl create -f {BASE}/monitoring"],
    "A3": [
        "kubectl run influxcli --restart=Never --rm -it --image=cburki/influxdb-shell -- --host=monitoring-influxdb.kube-system "
        "--port=8086 --database=k8s --execute 'CREATE RETENTION POLICY \"default\" ON k8s DURATION 0d REPLICATION 1 DEFAULT; "
        "SHOW RETENTION POLICIES'"
    ],
    "A5": ["in the dashboard, delete the pods influxdb and heapster"],
    "X1": [
        "kubeadm reset", "rm -rf .kube/", "systemctl stop kubelet", "systemctl stop docker", "rm -rf /var/lib/cni/", "rm -rf /var/lib/kubelet/*",
        "rm -rf /etc/cni/", "ifconfig cni0 down", "ifconfig flannel.1 down", "ifconfig weave down", "ifconfig datapath down",
        "ifconfig docker0 down", "systemctl start docker", "docker rm -v $(docker ps -aq)", "docker rmi $(docker images -aq)",
        "systemctl restart docker", "systemctl start kubelet",
    ],
    "X2": ["reboot"],
}  # fmt: skip
IDS = [
    "P1",
    "P2",
    "I1",
    "I2",
    "I3",
    "I4",
    "I5",
    "R1",
    "R2",
    "M1",
    "M2",
    "N1",
    "N2",
    "N3",
    "N4",
    "J1",
    "J2",
    "J3",
    "J4",
    "A1",
    "A2",
    "A3",
    "A4",
    "A5",
    "X1",
    "X2",
]


def cluster(name: str) -> Environment:
    env = load(name, variables={})
    return replace(env, settings=replace(env.settings, kubernetes="1.5"))


def made(**texts: str) -> Environment:
    return environment(kubernetes="1.5", token="abcdef.0123456789abcdef", **texts)


def xenial(name: str = "w1", **changes: object) -> NodeFacts:
    return replace(NodeFacts(os_id="ubuntu", os_version="16.04", hostname=name, boot_id="one"), **changes)


def actions(
    phase: str,
    facts: NodeFacts,
    *,
    env: Environment | None = None,
    control: NodeFacts | None = None,
    choices: Choices | None = None,
) -> list[Action]:
    env = env or made()
    node = next(n for n in env.nodes if n.name == facts.hostname)
    context = Context(
        env,
        node,
        facts,
        recipe_for(env),
        control=control or (facts if node.control_plane else None),
        choices=choices or Choices(),
    )
    return list(bare(for_release(env, [EVERY[phase]])[0])(context))


def commands(found: list[Action]) -> list[str]:
    return [line for a in found if isinstance(a, Step) for line in a.commands]


def wait(found: list[Action], id: str) -> Wait:
    return next(a for a in found if isinstance(a, Wait) and a.id == id)


# --- the text


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("id", DIGEST)
def test_each_command_of_the_digest_is_there_word_for_word(id: str, name: str) -> None:
    texts = [line.text for line in Manual(cluster(name)).lines() if line.id == id]
    expected = [re.sub(r"\{(token|master|cidr)\}", lambda m: VALUES[name][m[1]], line) for line in DIGEST[id]]
    assert texts == expected


@pytest.mark.parametrize("name", VALUES)
def test_i2_the_apt_source(name: str) -> None:
    file = phases.sources_file(Manual(cluster(name)))
    assert (file.path, file.content) == (
        "/etc/apt/sources.list.d/kubernetes.list",
        "deb http://apt.kubernetes.io/ kubernetes-xenial main\n",
    )


@pytest.mark.parametrize("name", VALUES)
def test_the_whole_rendering(name: str, golden: Callable[[str, str], None]) -> None:
    golden(f"manual-{name}.txt", rendering(cluster(name)))


@pytest.mark.parametrize("name", VALUES)
def test_the_rendering_has_every_id_and_every_line_in_the_manuals_order(name: str) -> None:
    text = rendering(cluster(name))
    assert set(re.findall(r"^([A-Z]\d) ", text, flags=re.M)) == set(IDS)
    fresh, _, rest = text.partition("leftovers of an earlier cluster (P2)")
    whole = {"fresh": fresh, "rest": rest}
    places = [
        whole["rest" if line.id[0] in "X" or line.id == "P2" else "fresh"].find(_shown(line))
        for line in Manual(cluster(name)).lines()
    ]
    assert -1 not in places
    order = [line.id for line in Manual(cluster(name)).lines()]
    assert order == sorted(order, key=IDS.index)


def _shown(line: Line) -> str:
    return line.text if line.id == "P1" else "influxdb|heapster" if line.id == "A5" else line.run


def test_lines_that_are_not_the_manuals_are_marked_and_change_only_our_notes() -> None:
    for line in rendering(cluster("aws")).splitlines():
        if line.startswith(OURS):
            assert re.search(r"/var/lib/kubefab|wait for the package lock|boot id", line), line


def test_every_script_is_bash() -> None:
    env = cluster("aws")
    nodes = {n.name: xenial(n.name, links=links("cni0"), packages=ALL, api_ready=n.control_plane) for n in env.nodes}
    for facts in nodes.values():
        for phase in (*BOOTSTRAP, RESET):
            if env.select([facts.hostname])[0].role not in for_release(env, [phase])[0].roles:
                continue
            for action in actions(phase.name, facts, env=env):
                if isinstance(action, Step):
                    text = script.render(action.id, action.commands, action.files)
                elif isinstance(action, Wait):
                    text = script.render(
                        action.id, (action.probe, *(line for r in action.remedies for line in r.commands))
                    )
                else:
                    continue
                done = subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True, check=False)
                assert (done.returncode, done.stderr) == (0, ""), text


def test_both_clusters_have_their_own_token() -> None:
    for name, other in (("aws", "datacenter"), ("datacenter", "aws")):
        text = rendering(cluster(name))
        assert VALUES[name]["token"] in text and VALUES[other]["token"] not in text


def test_exactly_the_listed_differences_exist() -> None:
    different = {line.id for line in Manual(cluster("aws")).lines() if line.ours}
    listed = {id for d in DIFFERENCES for id in d.ids.split(", ")}
    assert different <= listed
    assert listed - different == {"I2", "all", "E2", "M2", "N4"}
    assert differences_table().count("\n") == len(DIFFERENCES) + 1


def test_addresses_are_settings() -> None:
    env = made(
        legacy_key_url="http://m/key", legacy_packages_url="http://m/apt", legacy_suite="xenial main", manifests_url="http://m/y",
        legacy_daemon_url="http://m/docker?a=1&b=$(2)", legacy_influx_image="m/shell:1",
    )  # fmt: skip
    text = "\n".join([*(line.run for line in Manual(env).lines()), Manual(env).sources])
    for part in (
        "http://m/key |",
        "deb http://m/apt xenial main\n",
        "'http://m/y/flannel?network=10.44.0.0/16'",
        "http://m/y/dashboard",
        "'http://m/docker?a=1&b=$(2)'",
        "--image=m/shell:1 ",
    ):
        assert part in text
    assert "google" not in text and "cocktail" not in text


# --- choosing it


def test_the_recipe_is_a_set_of_phases_of_the_same_names() -> None:
    assert [p.name for p in for_release(made(), [*BOOTSTRAP, RESET])] == [p.name for p in (*BOOTSTRAP, RESET)]
    assert for_release(environment(), BOOTSTRAP) == list(BOOTSTRAP)
    concerns = [p for p in for_release(made(), [*BOOTSTRAP, RESET]) if p.roles]  # without roles: 1.5 does not have it
    assert all(p.run.__module__ == "fabfile.legacy.phases" for p in concerns)


def test_it_warns_of_missing_downloads_and_a_published_token() -> None:
    assert warning(environment()) == ""
    assert "March 2024" in warning(made()) and "published" not in warning(made())
    assert "published" in warning(cluster("aws")) and "published" in warning(cluster("datacenter"))


def test_a_token_is_needed() -> None:
    with pytest.raises(UsageError) as caught:
        Manual(environment(kubernetes="1.5")).token  # noqa: B018
    assert "TEST_TOKEN=" in caught.value.remedy


def test_the_plan_masks_the_token_unless_it_is_to_be_revealed() -> None:
    env = cluster("aws")
    planned = list(plan(env, BOOTSTRAP, env.nodes))
    hidden = "\n".join(line for p in planned for line in as_text(p, env, commands=True))
    shown = "\n".join(line for p in planned for line in as_text(p, env, commands=True, reveal=True))
    assert VALUES["aws"]["token"] not in hidden and "--token=[secret]" in hidden
    assert f"--token={VALUES['aws']['token']}" in shown


def test_release_from_either_option() -> None:
    assert [release("", ""), release("1.5", ""), release("", "1.5"), release("1.5", "1.5")] == ["", "1.5", "1.5", "1.5"]
    for wrong in (("1.36", "1.5"), ("x", ""), ("", "modern")):
        with pytest.raises(UsageError):
            release(*wrong)


def test_a_reset_by_the_manuals_list_names_what_else_it_removes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("builtins.input", lambda text: "test")
    for manual in (True, False):
        env = with_release(environment(), "1.5" if manual else "")
        confirm(env, env.nodes)
        assert ("Docker" in capsys.readouterr().out) is manual


# --- the branches


def links(*names: str, inside: str = "10.44.0") -> dict[str, Link]:
    return {"eth0": Link("eth0", ("10.2.0.9/16",)), **{name: Link(name, (f"{inside}.1/24",)) for name in names}}


ALL = dict.fromkeys(("docker.io", "kubelet", "kubeadm", "kubectl", "kubernetes-cni"), "1")
KUBELET = {"kubelet": Unit(True, True)}


def test_prep_wants_the_manuals_system() -> None:
    (stop,) = actions("prep", NodeFacts(os_id="ubuntu", os_version="24.04", os_name="Ubuntu 24.04 LTS", hostname="w1"))
    assert isinstance(stop, Stop) and "Ubuntu 24.04 LTS" in stop.reason and "Ubuntu 16.04" in stop.remedy


def test_p1_the_interfaces_of_a_new_machine_are_looked_at_once() -> None:
    found = actions("prep", xenial(links=links("docker0")))
    assert ids(found) == ["…prep.look", "prep.noted"]
    look = wait(found, "prep.look")
    assert all(
        word in look.title for word in ("P1", "lo 127.x", "eth0 10.x or by another name", "docker0 172.x", "no cni0")
    )
    assert "P2" in look.hint and "kubeadm reset" in look.hint and look.until("3: cni0: <UP> mtu 1450\n") == "cni0"
    assert actions("prep", xenial(links=links("docker0"), undo=frozenset({"looked"}))) == []
    assert ids(actions("prep", xenial(links=links("cni0"), undo=frozenset({"looked"})))) == ["!prep.leftovers"]


@pytest.mark.parametrize("name", ["cni0", "flannel.1"])
def test_p2_an_earlier_clusters_link_means_reset_docker_stopped_and_a_reboot(name: str) -> None:
    found = actions("prep", xenial(links=links(name), packages=ALL), choices=Choices(agreed=True))
    assert ids(found) == ["prep.leftovers", "prep.reboot", "…prep.back", "…prep.interfaces", "prep.noted"]
    assert (
        commands(found)[0] == "kubeadm reset" and "docker stop" in commands(found)[1] and "reboot" in commands(found)[2]
    )
    back = wait(found, "prep.back")
    assert back.reboots and back.until("one\n") and back.until("") and back.until("two\n") is None
    look = wait(found, "prep.interfaces")
    assert look.until(f"3: {name}: <UP> mtu 1450\n") == name
    assert look.until("2: eth0: <UP> mtu 1500\n    inet 10.2.0.9/16 scope global\n") is None
    assert look.until("bash: no such thing")


@pytest.mark.parametrize(
    ("docker", "said"),
    [
        ((), "No container runs here that is not Kubernetes'"),
        (("shop-db", "web"), "not for Kubernetes: shop-db, web"),
        (("?",), "is not known"),
    ],
)
def test_p2_stops_until_agreed_and_names_dockers_containers(docker: tuple[str, ...], said: str) -> None:
    (stop,) = actions("prep", xenial(links=links("cni0"), packages=ALL, docker=docker))
    assert isinstance(stop, Stop) and said in stop.reason and "reboot" in stop.reason
    assert "--kubernetes 1.5 --yes" in stop.remedy


def test_p2_never_touches_a_member() -> None:
    assert (
        actions(
            "prep",
            xenial(links=links("cni0", "flannel.1"), traces=frozenset({"/etc/kubernetes/kubelet.conf"}), packages=ALL),
        )
        == []
    )


@pytest.mark.parametrize("phase", ["prep", "reset"])
def test_a_mounted_volume_stops_it(phase: str) -> None:
    found = actions(
        phase, xenial(links=links("cni0"), packages=ALL, mounts=(Mount("ext4", "/var/lib/kubelet/pods/x"),))
    )
    assert [type(a) for a in found] == [Stop]


def test_install_is_done_once() -> None:
    env = made()
    file = phases.sources_file(Manual(env))
    assert actions("install", having(xenial(packages=ALL), [file]), env=env) == []
    assert "apt-get install -y docker.io" in commands(actions("install", xenial(), env=env))


def test_m1_a_control_plane_is_initialised_once_and_a_failed_init_is_undone() -> None:
    assert actions("master", xenial("cp1", api_ready=True)) == []
    assert ids(actions("master", xenial("cp1", undo=frozenset({"started", "done"})))) == [
        "master.kubelet",
        "…master.api",
    ]
    assert ids(actions("master", xenial("cp1", undo=frozenset({"started"})))) == [
        "master.clear",
        "master.init",
        "…master.api",
    ]


def test_m2_a_slow_init_points_to_the_aws_console() -> None:
    init = next(a for a in actions("master", xenial("cp1")) if isinstance(a, Step))
    assert "about a minute" in init.title and "M2" in init.title, "said while it runs, from its beginning"
    assert "AWS console" in init.hint and any(line.startswith("timeout 300 kubeadm init ") for line in init.commands)


PODS = "NAME                       READY     STATUS              RESTARTS   AGE\n"


@pytest.mark.parametrize(
    ("rows", "seen"),
    [
        ("kube-dns-1   4/4       Running             0          1m\n", None),
        ("kube-dns-1   0/4       Pending             0          1m\n", "kube-dns-1 Pending"),
        (
            "kube-dns-1   0/4       ContainerCreating   0          1m\nflannel-x    2/2       Running             0          1m\n",
            "kube-dns-1 ContainerCreating",
        ),
        ("kube-dns-1   3/4       CrashLoopBackOff    9          9m\n", "kube-dns-1 CrashLoopBackOff"),
    ],
)
def test_n2_pending_and_containercreating_mean_wait(rows: str, seen: str | None) -> None:
    assert phases.all_running(PODS + rows) == seen


def test_n2_no_pods_and_no_answer_mean_wait() -> None:
    assert phases.all_running("No resources found.\n") == "No resources found."
    assert phases.all_running("") == "no pods yet"


def ifconfig(*names: str, inside: str = "10.44.0.1") -> str:
    return "\n\n".join(
        f"{n:<9} Link encap:Ethernet\n          inet addr:{inside}  Bcast:0.0.0.0  Mask:255.255.255.0\n          UP  MTU:1450  Metric:1"
        for n in names
    )


def test_n3_both_links_in_the_range_then_the_kubelet_is_restarted_then_n4() -> None:
    found = actions("network", xenial("cp1", api_ready=True))
    assert ids(found) == ["network.flannel", "…network.pods", "…network.interfaces"]
    look = wait(found, "network.interfaces")
    assert look.until(ifconfig("eth0", "cni0", "flannel.1")) is None
    assert look.until(ifconfig("eth0", "flannel.1")) == "no cni0"
    assert "not in 10.44.0.0/16" in (look.until(ifconfig("cni0", "flannel.1", inside="10.99.0.1")) or "")
    assert [r.commands for r in look.remedies] == [("systemctl restart kubelet",)]
    assert (
        "N4" in look.hint
        and "fab -H cp1 reset" not in look.hint
        and "`inv cluster.reset --env test --kubernetes 1.5`" in look.hint
    )


def test_n_no_steps_when_the_links_are_right_or_without_an_api() -> None:
    assert actions("network", xenial("cp1", api_ready=True, links=links("cni0", "flannel.1"))) == []
    assert ids(actions("network", xenial("cp1"))) == ["!network.control-plane"]


def test_n4_on_a_worker_names_both_that_node_and_the_manuals_own_way() -> None:
    flannel = wait(actions("join", xenial(), control=xenial("cp1", api_ready=True)), "join.flannel")
    one, all_of_it = (
        flannel.hint.index("fab -H w1 reset"),
        flannel.hint.index("inv cluster.reset --env test --kubernetes 1.5"),
    )
    assert one < all_of_it and "everything in the cluster is lost" in flannel.hint


def test_j1_to_j4() -> None:
    found = actions("join", xenial(), control=xenial("cp1", api_ready=True))
    assert ids(found) == ["join.join", "…join.flannel", "…join.ready"]
    flannel = wait(found, "join.flannel")
    assert flannel.until(ifconfig("eth0", "flannel.1")) is None, "the first pod creates cni0, so it is not required"
    assert [(r.after, r.commands) for r in flannel.remedies] == [(60.0, ("systemctl restart kubelet",))]
    assert flannel.needs == "network" and wait(found, "join.ready").on == "control-plane"
    assert "9898" in next(a for a in found if isinstance(a, Step)).hint


@pytest.mark.parametrize(
    ("output", "seen"),
    [
        ("NAME   STATUS         AGE\ncp1    Ready,master   5m\nw1     Ready          10s\n", None),
        ("NAME   STATUS         AGE\ncp1    Ready,master   5m\nw1     NotReady       10s\n", "w1 is NotReady"),
        ("NAME   STATUS         AGE\ncp1    Ready,master   5m\n", "w1 is not listed"),
        ("", "no answer"),
    ],
)
def test_j4_the_control_plane_lists_the_node(output: str, seen: str | None) -> None:
    assert phases.node_ready(output, "w1") == seen


def member(**changes: object) -> NodeFacts:
    values = {
        "traces": frozenset({"/etc/kubernetes/kubelet.conf"}),
        "units": KUBELET,
        "undo": frozenset({"started", "done"}),
        "links": links("flannel.1"),
    }
    return xenial(**(values | changes))


def test_a_member_joins_once_and_a_failed_join_is_undone() -> None:
    control = xenial("cp1", api_ready=True, nodes=(api_node("cp1"), api_node("w1")))
    assert actions("join", member(), control=control) == []
    assert ids(actions("join", member(units={}), control=control))[0] == "join.kubelet"
    assert ids(actions("join", member(undo=frozenset({"started"})), control=control))[:2] == ["join.clear", "join.join"]
    assert ids(actions("join", member(), control=replace(control, nodes=(api_node("cp1"),))))[:2] == [
        "join.clear",
        "join.join",
    ]


def test_a1_to_a5() -> None:
    found = actions("addons", xenial("cp1", api_ready=True))
    assert ids(found) == [
        "addons.dashboard", "…addons.dashboard-answers", "addons.dashboard-noted", "addons.monitoring", "…addons.retention", "addons.noted",
    ]  # fmt: skip
    answers = wait(found, "addons.dashboard-answers")
    assert ":31447/" in answers.probe and answers.until("200") is None and answers.until("000") == "answer 000"
    assert not any("dashboard" in line and "touch" in line for line in commands(found[:1])), (
        "noted only once it answers"
    )
    assert (
        "InfluxDB 1.1.1" in wait(found, "addons.retention").title and "cAdvisor" in found[3].title
    )  # why A2 and A3 are done
    policy = wait(found, "addons.retention")
    assert policy.changes and policy.interval == 5, "A4: the command itself is repeated"
    assert ["A5" in r.title for r in policy.remedies] == [True]
    assert "influxdb|heapster" in policy.remedies[0].commands[0]
    assert (
        actions("addons", xenial("cp1", api_ready=True, undo=frozenset({"dashboard", "monitoring", "retention"}))) == []
    )


@pytest.mark.parametrize(
    ("output", "seen"),
    [
        (
            "name     duration   shardGroupDuration   replicaN   default\nautogen  0s  168h0m0s  1  false\ndefault  0s  168h0m0s  1  true\n",
            None,
        ),
        (
            "name     duration   shardGroupDuration   replicaN   default\nautogen  0s  168h0m0s  1  true\ndefault  0s  168h0m0s  1  false\n",
            "the policy is not the database's default",
        ),
        ("Error from server: timed out\n", "Error from server: timed out"),
        ("", "no answer from InfluxDB"),
    ],
)
def test_a4_until_the_policy_is_the_default(output: str, seen: str | None) -> None:
    assert phases.policy_fault(output) == seen


def test_x1_x2_the_list_then_a_reboot_and_nothing_on_a_clean_node() -> None:
    assert actions("reset", xenial(packages=ALL, links=links("docker0"), units=KUBELET, processes=("kubelet",))) == []
    found = actions("reset", xenial(packages=ALL, links=links("cni0")))
    assert ids(found) == ["reset.all", "reset.reboot", "…reset.back"]
    manual = [line.run for line in Manual(made()).lines() if line.id == "X1"]
    assert commands(found)[: len(manual)] == manual


def test_x1_skips_what_the_node_does_not_have() -> None:
    lines = commands(actions("reset", xenial(links=links("cni0"))))
    assert not [
        line
        for line in lines
        if re.search(r"kubeadm|docker (ps|rm)|systemctl (stop|start|restart) (docker|kubelet)", line)
    ]
    assert "rm -rf /var/lib/cni/" in lines


def test_reset_keeps_images_unless_purge_is_given() -> None:
    kept = commands(actions("reset", xenial(packages=ALL, links=links("cni0")), choices=Choices(keep_images=True)))
    assert not any("rmi" in line for line in kept)
    assert "reset.packages" in ids(actions("reset", xenial(packages=ALL), choices=Choices(purge=True)))
