"""How verify judges: outputs in, checks out; and it always cleans up."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fabfile.cli import restore
from fabfile.errors import StepFailed
from fabfile.nodes import script
from fabfile.text import cleaning
from fabfile.text.forms import FormError
from fabfile.views.verify import FAILED, OK, UNTESTED, Check, Verifier, proof, verifier
from fabfile.views.verify.proof import ProbePod, Seen
from making import VirtualClock, environment


def pod(node: str, *, ready: bool = True, waiting: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
    status: dict[str, Any] = {
        "phase": "Running",
        "podIP": f"10.44.0.{len(node)}",
        "conditions": [{"type": "Ready", "status": str(ready)}],
    }
    if waiting:
        status["containerStatuses"] = [{"state": {"waiting": waiting}}]
    return {"metadata": {"name": f"probe-{node}", **more}, "spec": {"nodeName": node}, "status": status}


def everything(
    *nodes: str, broken: tuple[tuple[str, str], ...] = (), lost: tuple[tuple[str, str], ...] = (), **changes: Any
) -> dict[str, Seen]:
    return {
        a: Seen(
            {b: (a, b) not in broken for b in nodes},
            **{"service": True, "name": True, "dns": True, "whole": True, **changes},
            large={b: (b, a) not in lost for b in nodes if b != a},
        )
        for a in nodes
    }


def by_name(checks: list[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


def test_the_probe_runs_on_every_node_and_its_image_is_really_pulled() -> None:
    namespace, daemons, service = yaml.safe_load_all(proof.manifest("n", "registry/probe:1"))
    spec = daemons["spec"]["template"]["spec"]
    assert spec["tolerations"] == [{"operator": "Exists"}]
    assert spec["containers"][0]["imagePullPolicy"] == "Always"
    assert spec["automountServiceAccountToken"] is False
    assert service["spec"]["type"] == "NodePort"
    assert namespace["metadata"]["labels"][proof.LABEL] == "true", "how a later verify finds what a killed one left"


def test_a_pod_that_is_being_deleted_does_not_count() -> None:
    text = json.dumps({"items": [pod("w1"), pod("w2", deletionTimestamp="now")]})
    assert [p.node for p in proof.parse_pods(text)] == ["w1"]


def test_the_reason_a_pod_waits_is_quoted_from_the_kubelet() -> None:
    waiting = {"reason": "ImagePullBackOff", "message": "401 Unauthorized"}
    probes = proof.parse_pods(json.dumps({"items": [pod("cp1"), pod("w1", ready=False, waiting=waiting)]}))
    assert proof.waiting_for(probes, ["cp1", "w1", "w2"]) == "w1 (ImagePullBackOff 401 Unauthorized), w2 (no pod yet)"
    assert proof.waiting_for(probes, ["cp1"]) is None
    assert proof.waiting_for([], []) == "no nodes"


def test_every_check_passes_on_a_healthy_cluster() -> None:
    checks = proof.judge_inside(everything("cp1", "w1", "w2"))
    assert {c.state for c in checks} == {OK}
    assert by_name(checks)["pod to pod"].detail.startswith("9 of 9")


@pytest.mark.parametrize(
    ("broken", "cause"),
    [
        ((("cp1", "w2"), ("w2", "cp1"), ("w1", "w2")), "all of them concern w2"),
        ((("cp1", "w1"), ("w1", "w2")), "all of them concern w1"),
        ((("cp1", "w1"), ("w2", "cp1"), ("w1", "w2")), "UDP 8472 between the nodes"),
        ((("w1", "w1"), ("cp1", "w1")), "w1 does not even reach its own pod"),
    ],
)
def test_broken_pairs_name_what_they_have_in_common(broken: tuple[tuple[str, str], ...], cause: str) -> None:
    check = by_name(proof.judge_inside(everything("cp1", "w1", "w2", broken=broken)))["pod to pod"]
    assert check.state == FAILED
    assert f"{9 - len(broken)} of 9" in check.detail
    assert cause in check.likely


@pytest.mark.parametrize(
    ("lost", "detail", "likely"),
    [
        ((("w2", "cp1"), ("w2", "w1")), "4 of 6 answers of 200 KiB: not w2→cp1, w2→w1", "all of them concern w2: the MTU"),
        ((("w1", "cp1"), ("w2", "cp1"), ("w2", "w1")), "3 of 6 answers of 200 KiB", "the MTU of flannel.1"),
    ],
)  # fmt: skip
def test_large_packets_that_vanish_are_a_failure_of_their_own(
    lost: tuple[tuple[str, str], ...], detail: str, likely: str
) -> None:
    checks = by_name(proof.judge_inside(everything("cp1", "w1", "w2", lost=lost)))
    assert checks["pod to pod"].state == OK, "small packets pass"
    assert checks["large packets"].state == FAILED
    assert detail in checks["large packets"].detail and checks["large packets"].likely.startswith(likely)


def test_where_no_packets_pass_large_ones_are_not_blamed() -> None:
    broken = (("cp1", "w1"), ("w1", "cp1"))
    apart = by_name(proof.judge_inside(everything("cp1", "w1", broken=broken, lost=broken)))["large packets"]
    assert apart.state == UNTESTED
    assert "large packets" not in by_name(proof.judge_inside(everything("cp1"))), "one node has nobody to ask"


@pytest.mark.parametrize("count", [1, 2, 5, 9, 10, 300])
def test_every_node_sends_and_hears_large_packets_and_none_too_many(count: int) -> None:
    nodes = [f"n{number}" for number in range(count)]
    pairs = [(peer, asking) for asking in nodes for peer in proof.large_peers(asking, nodes)]
    most = min(count - 1, proof.LARGE_PEERS)
    for name in nodes:
        assert sum(sender == name for sender, _ in pairs) == sum(asking == name for _, asking in pairs) == most
    assert len(set(pairs)) == len(pairs) and not any(a == b for a, b in pairs)


def test_dns_is_blamed_on_coredns_only_if_packets_pass() -> None:
    alone = by_name(proof.judge_inside(everything("cp1", "w1", dns=False)))
    assert alone["pod to pod"].state == OK
    assert "CoreDNS itself" in alone["cluster DNS"].likely
    both = by_name(proof.judge_inside(everything("cp1", "w1", broken=(("cp1", "w1"),), dns=False)))
    assert "see pod to pod" in both["cluster DNS"].likely


def test_a_pod_that_does_not_answer_is_reported() -> None:
    checks = by_name(proof.judge_inside({**everything("cp1"), "w1": Seen({"cp1": False})}))
    assert checks["probe pods answer"].detail == "w1"
    assert "10250" in checks["probe pods answer"].likely


def test_the_questions_script_and_parser_match() -> None:
    probes = [ProbePod("a", "cp1", "10.44.0.5", True), ProbePod("b", "w1", "10.44.1.5", True)]
    question = proof.inside("w1", probes, "10.96.1.1", "ns", "cluster.local")
    assert "http://10.44.1.5:8080/" in question
    assert "probe.ns.svc.cluster.local" in question
    assert "large=cp1=http://10.44.0.5:8080/large" in question.replace("'", "")
    seen = proof.parse_inside("peer w1 ok\nservice ok\nlarge cp1 ok\ndns ok\nend\n", "w1", ["cp1", "w1"])
    assert seen == Seen({"cp1": False, "w1": True}, True, False, True, True, {"cp1": True})


@pytest.mark.parametrize(("sent", "large"), [(proof.LARGE * 1024, True), (proof.LARGE * 1024 - 1, False)])
def test_a_probe_pod_reports_what_it_reached(tmp_path: Path, sent: int, large: bool) -> None:
    """In a plain shell: w1's pod answers as itself, cp1's address answers as another; the service answers at the second try."""
    tools = {
        "wget": """for url; do :; done
case $url in
  http://10.44.1.5:8080/) echo w1 ;;
  http://10.44.0.5:8080/) echo w2 ;;
  http://10.44.0.5:8080/large) head -c "$SENT" /dev/zero ;;
  http://10.96.1.1/) [ -e "$STATE" ] || { : >"$STATE"; exit 1; } ;;
  *) exit 1 ;;
esac""",
        "nslookup": '[ "$1" = kubernetes.default.svc.cluster.local ]',
    }
    for name, text in tools.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    probes = [ProbePod("a", "cp1", "10.44.0.5", True), ProbePod("b", "w1", "10.44.1.5", True)]
    question = proof.inside("w1", probes, "10.96.1.1", "ns", "cluster.local").replace("patience=20", "patience=2")
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin", "STATE": str(tmp_path / "state"), "SENT": str(sent)}
    done = subprocess.run(["sh"], input=question, capture_output=True, text=True, env=env, check=True)
    seen = proof.parse_inside(done.stdout, "w1", ["cp1", "w1"])
    whole = {"service": True, "name": False, "dns": True, "whole": True}
    assert seen == Seen({"cp1": False, "w1": True}, **whole, large={"cp1": large}), done  # type: ignore[arg-type]


REFUSAL = '{"error":"unable to parse authentication credentials"}'


@pytest.mark.parametrize(
    ("why", "text", "login", "state", "detail"),
    [
        ("", REFUSAL, True, OK, "asks for the login"),
        ("", '{"results":[{"series":[{"name":"databases"}]}]}', True, FAILED, "answers without a login"),
        ("", "<html>", True, FAILED, "answers without a login"),
        ("", '{"results":[{"series":[{"name":"databases"}]}]}', False, OK, "without a login"),
        ("no answer", "", True, FAILED, "NodePort 30315: no answer"),
        ("no answer", "", False, FAILED, "NodePort 30315: no answer"),
    ],
)
def test_influxdbs_node_port_requires_the_login(why: str, text: str, login: bool, state: str, detail: str) -> None:
    check = proof.judge_influxdb(why, text, 30315, login=login)
    assert check.state == state and detail in check.detail


def test_reporting_nodes_are_matched_by_their_kubernetes_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """On EC2 a node's name is ip-10-2-0-1, whatever its name in hosts.env."""
    names = ("ip-10-2-0-1", "ip-10-2-0-11")
    asked: list[str] = []
    monkeypatch.setattr(verifier, "fetch", lambda url, **_: (asked.append(url), ("", REFUSAL))[1])
    control = Control("", nodes=names)
    control.said["verify.metrics"] = "name,tags,time,last\n" + "".join(
        f"kubernetes_node,node_name={n},1,2\n" for n in names
    )
    checks = by_name(list(Verifier(environment(1), control).run()))  # type: ignore[arg-type]
    assert (checks["metrics"].state, checks["metrics"].detail) == (OK, "from 2 of 2 nodes in the last minute")
    assert checks["InfluxDB"].state == OK
    assert not any("@" in url or "p=" in url for url in asked), "the login is not sent"


@pytest.mark.parametrize(
    ("looks", "state", "detail"),
    [(1, OK, "from 2 of 2"), (4, OK, "from 2 of 2"), (99, FAILED, "from 1 of 2 nodes in the last minute, not w1")],
)
def test_a_telegraf_that_has_just_started_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, looks: int, state: str, detail: str
) -> None:
    monkeypatch.setattr(verifier, "fetch", lambda url, **_: ("", REFUSAL))

    class Slow(Control):
        def root(self, text: str, timeout: float, heard: Any = None, *, more: bool = False) -> tuple[int, bytes]:
            late = self.names.count("verify.metrics") + 1 < looks
            self.said["verify.metrics"] = "".join(
                f"kubernetes_node,node_name={n},1,2\n" for n in ["cp1", "w1"][: 1 if late else 2]
            )
            return super().root(text, timeout)

    control = Slow("", nodes=("cp1", "w1"))
    checks = by_name(list(Verifier(environment(1), control, clock=VirtualClock()).run()))  # type: ignore[arg-type]
    assert checks["metrics"].state == state and detail in checks["metrics"].detail
    assert control.names.count("verify.metrics") == (looks if state == OK else 11), (
        "every three seconds, for half a minute"
    )


def test_answers_from_outside() -> None:
    assert proof.judge_answers("NodePort", {"w1": "", "w2": ""}, "x") == Check("NodePort", OK, "2 of 2")
    wrong = proof.judge_answers("NodePort", {"w1": "", "w2": "no answer"}, "TCP 30000")
    assert (wrong.state, wrong.detail, wrong.likely) == (FAILED, "1 of 2; w2: no answer", "TCP 30000")


TIMED_OUT = "curl: (28) Connection timed out after 4001 milliseconds"
REFUSED = "curl: (7) Failed to connect to 10.2.0.12 port 30999: Connection refused"


def test_node_ports_are_asked_at_the_same_time_and_one_that_comes_late_is_waited_for(tmp_path: Path) -> None:
    nodes = environment(3).nodes
    curl = tmp_path / "curl"
    curl.write_text(
        f'#!/bin/bash\ncase "${{@: -1}}" in *.0.1:*) exit 0;; *.0.13:*) echo >>{tmp_path}/asked; [ "$(wc -l <{tmp_path}/asked)" -gt 50 ] && exit 0; echo "{REFUSED}" >&2; exit 7;; *.0.11:*) echo "{TIMED_OUT}" >&2; exit 28;; *) echo "{REFUSED}" >&2; exit 7;; esac\n'
    )
    curl.chmod(0o755)
    (tmp_path / "sleep").symlink_to("/bin/true")
    done = subprocess.run(
        ["bash", "-c", proof.ask_node_ports(nodes, 30999)],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert proof.parse_node_ports(done.stdout, [n.name for n in nodes]) == {
        "cp1": "",
        "w1": "no answer",
        "w2": REFUSED,
        "w3": "",
    }


@pytest.mark.parametrize(("answers", "inside", "state"), [
    ({"w1": "", "w2": ""}, True, OK),
    ({"w1": "", "w2": "no answer"}, True, UNTESTED),
    ({"w1": "no answer", "w2": "no answer"}, True, UNTESTED),
    ({"w1": "", "w2": "no answer"}, False, FAILED),
    ({"w1": "no answer", "w2": REFUSED}, True, FAILED),
])  # fmt: skip
def test_closed_node_ports_are_no_fault_while_pods_reach_each_other(
    answers: dict[str, str], inside: bool, state: str
) -> None:
    check = proof.allowing_a_firewall(inside, proof.judge_answers("NodePort from you", answers, "x"))
    assert check.state == state
    assert ("TCP 30000-32767 is not open to" in check.detail) is (state == UNTESTED)


def test_only_ready_nodes_are_asked_again() -> None:
    verifier = Verifier(
        environment(2), Control("", nodes=("ip-10-2-0-1", "ip-10-2-0-12"), addresses=("10.2.0.1", "10.2.0.12"))
    )  # type: ignore[arg-type]
    verifier._members()
    assert [n.name for n in verifier.ready] == ["cp1", "w2"]


def test_where_no_node_of_the_inventory_is_ready_no_nodeport_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifier, "fetch", lambda *_, **__: ("no route", ""))
    control = Control("", nodes=("stranger",), addresses=("10.9.9.9",))
    checks = by_name(list(Verifier(environment(0, dashboard="none"), control).run()))  # type: ignore[arg-type]
    assert (checks["NodePort from you"].state, checks["NodePort from you"].detail) == (FAILED, "no node is Ready")
    assert "NodePort from cp1" not in checks, "a check over no nodes proves nothing"
    assert "verify.nodeport" not in control.names


# --- always clean


def answered(what: object) -> str:
    return what if isinstance(what, str) else json.dumps(what)


class Control:
    """A control plane that answers kubectl and fails where a test asks for it."""

    def __init__(
        self,
        fail: str,
        nodes: tuple[str, ...] = ("cp1",),
        addresses: tuple[str, ...] = ("10.2.0.1", "10.2.0.11", "10.2.0.12"),
    ) -> None:
        self.fail, self.nodes = fail, dict(zip(nodes, addresses, strict=False))
        self.names: list[str] = []
        self.texts: list[str] = []
        self.said: dict[str, str] = {}

    def of(self, node: object) -> Control:
        return self

    def root(self, text: str, timeout: float, heard: Any = None, *, more: bool = False) -> tuple[int, bytes]:
        name = text.split("\n", 1)[0].removeprefix("# kubefab: ")
        self.names.append(name)
        self.texts.append(text)
        if name == self.fail:
            raise KeyboardInterrupt if name == "verify.pods" else StepFailed(f"cp1: {name}", "")
        ready = [{"type": "Ready", "status": "True"}]
        answers = {
            "verify.nodes": {
                "items": [
                    {
                        "metadata": {"name": node},
                        "status": {"conditions": ready, "addresses": [{"type": "InternalIP", "address": address}]},
                    }
                    for node, address in self.nodes.items()
                ]
            },
            "verify.pods": {"items": [pod(node) for node in self.nodes]},
            "verify.metrics": "name,tags,time,last\n"
            + "".join(f"kubernetes_node,node_name={node},1,2\n" for node in self.nodes),
            "verify.service": {"spec": {"clusterIP": "10.96.0.9", "ports": [{"nodePort": 30999}]}},
        }
        body = self.said.get(name) or ("end\n" if name == "verify.ask" else answered(answers.get(name, {})))
        return 0, b"##kubefab 1 0\n" + body.encode()


@pytest.mark.parametrize("fail", ["verify.apply", "verify.pods", "verify.service", "verify.ask", ""])
def test_verify_always_cleans_up(fail: str) -> None:
    control = Control(fail)
    verifier = Verifier(environment(0, simulated="yes"), control)  # type: ignore[arg-type]
    try:
        checks = list(verifier.run())
    except KeyboardInterrupt:
        assert fail == "verify.pods"
        checks = []
    assert control.names[-1] == "verify.clean"
    # the pods of this control plane answer only that they finished
    unheard = [
        "pod to pod",
        "service address",
        "cluster DNS",
    ]
    failed = {
        "verify.apply": ["probe pods"],
        "verify.service": ["probe pods"],
        "verify.ask": [*unheard, "probe pods answer"],
        "": unheard,
    }
    assert [c.name for c in checks if c.state == FAILED] == failed.get(fail, [])
    assert not checks or checks[-2].name == "metrics", "every possible question was asked"


LOGGED = st.sampled_from([
    'I1129 22:04:01.120045   12345 request.go:752] "Waited before sending request" delay="1.1s" reason="client-side throttling"',
    "E1129 22:04:01.120045       1 memcache.go:287] couldn't get resource list for metrics.k8s.io/v1beta1: the server is unable",
    "Warning: v1 ComponentStatus is deprecated in v1.19+",
])  # fmt: skip
WORDS = st.text(st.characters(codec="utf-8"), max_size=12) | LOGGED


@given(
    st.recursive(WORDS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3)),
    st.data(),
)
def test_what_kubectl_logs_beside_its_answer_is_no_part_of_it(answer: Any, data: st.DataObject) -> None:
    lines = json.dumps([answer], indent=1).splitlines()
    for _ in range(data.draw(st.integers(1, 3))):
        lines.insert(data.draw(st.integers(0, len(lines))), data.draw(LOGGED))
    assert json.loads(cleaning.without_log("\n".join(lines))) == [answer]


@pytest.mark.parametrize(
    "logged", ["I1129 22:04:01.120045   9 request.go:752] Waited for 1.1s due to client-side throttling"]
)
@pytest.mark.parametrize("name", ["verify.nodes", "verify.pods", "verify.service"])
def test_a_busy_machine_on_which_kubectl_logs_is_verified(name: str, logged: str) -> None:
    class Logging(Control):
        def root(self, text: str, timeout: float, heard: Any = None, *, more: bool = False) -> tuple[int, bytes]:
            code, said = super().root(text, timeout)
            return code, said + f"\n{logged}\n".encode() * (self.names[-1] == name)

    checks = by_name(list(Verifier(environment(0, simulated="yes"), Logging("")).run()))  # type: ignore[arg-type]
    assert "probe pods" not in checks and checks["nodes"].state == OK


@pytest.mark.parametrize("name", ["verify.pods", "verify.service"])
def test_an_unreadable_answer_fails_only_its_own_check(name: str) -> None:
    control = Control("")
    control.said[name] = "something else\n{}"
    checks = by_name(list(Verifier(environment(0, simulated="yes"), control).run()))  # type: ignore[arg-type]
    assert f"{name}: kubectl's answer cannot be read" in checks["probe pods"].detail
    assert "metrics" in checks
    assert control.names[-1] == "verify.clean"


@pytest.mark.parametrize(
    "answer",
    [
        "SSH-2.0-something\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\ncut",
        "HTTP/1.1 500 no\r\nContent-Length: 99\r\n\r\ncut",
    ],
)
def test_a_server_without_http_fails_the_check_without_a_crash(answer: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            link, _ = listening.accept()
            with link:
                link.recv(4096)
                link.sendall(answer.encode())

        thread = threading.Thread(target=serve)
        thread.start()
        why, text = verifier.fetch(f"http://127.0.0.1:{listening.getsockname()[1]}/")
        thread.join()
    assert why and not text


def test_a_failed_cleanup_is_reported() -> None:
    checks = list(Verifier(environment(0, simulated="yes"), Control("verify.clean")).run())  # type: ignore[arg-type]
    assert checks[-1].name == "cleaned up"
    assert checks[-1].state == FAILED
    assert proof.LABEL in checks[-1].likely


def test_an_answer_about_many_nodes_is_complete(tmp_path: Path) -> None:
    """A step returns only the end of its output, but half a JSON text cannot be parsed."""
    control = Control("")
    list(Verifier(environment(0, simulated="yes"), control).run())  # type: ignore[arg-type]
    asked = next(text for text in control.texts if text.startswith("# kubefab: verify.nodes"))
    asked = (
        asked.replace("kubectl --request-timeout=10s get nodes -o json", "seq 100000")
        .replace('rm -f -- "$0"', "")
        .replace("/run/kubefab", f"{tmp_path}/kubefab")
    )
    output = subprocess.run(["bash", "-c", asked], capture_output=True, timeout=20).stdout
    assert script.parse(0, output).output.split() == [str(n) for n in range(1, 100001)]


def test_the_scripts_contain_no_secret_and_need_no_lock() -> None:
    assert "flock" not in script.render("verify.pods", ("kubectl get pods",), lock=False)


@pytest.mark.parametrize(
    "bad",
    ["", "[" * 100_000, "{}", '{"items": 7}', '{"items": [{}]}', '{"items": [{"metadata": {"name": "x$(id)"}}]}', json.dumps({"items": [{**pod("w1"), "status": []}]}),
     json.dumps({"items": [{**pod("w1"), "spec": {"nodeName": "w1;touch canary"}}]}), json.dumps({"items": [{**pod("w1"), "status": {"podIP": "10.44.0.9/;canary"}}]})],
)  # fmt: skip
def test_invalid_pods_reach_no_script(bad: str) -> None:
    """Every probe pod runs a script that contains their names and addresses."""
    if not bad:
        assert proof.parse_pods(bad) == []
        return
    with pytest.raises(FormError):
        proof.parse_pods(bad)


@pytest.mark.parametrize(
    "spec", [{}, {"clusterIP": "None", "ports": []}, {"clusterIP": "10.96.0.1;id", "ports": [{"nodePort": 1}]}, {"clusterIP": "10.96.0.1", "ports": [{"nodePort": "$(id)"}]}, {"clusterIP": "10.96.0.1", "ports": [{"nodePort": 70000}]}]
)  # fmt: skip
def test_an_invalid_service_reaches_no_script(spec: dict[str, Any]) -> None:
    with pytest.raises(FormError):
        proof.parse_service(json.dumps({"spec": spec}))


@pytest.mark.parametrize("first", ["", "HTTP/1.1 200 OK\r\n\r\n"])
def test_a_slow_or_endless_answer_is_cut_off(first: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifier, "ANSWERING", 0.3)
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            link, _ = listening.accept()
            with link, suppress(OSError):
                link.sendall(first.encode())
                while not ended.wait(0.02):
                    link.sendall(b"x")

        thread = threading.Thread(target=serve)
        thread.start()
        why, text = verifier.fetch(f"http://127.0.0.1:{listening.getsockname()[1]}/")
        ended.set()
        thread.join()
    assert (why, text) == (proof.SILENT, "")


@pytest.mark.parametrize(("answers", "good"), [([True], True), ([False, True], True), ([False, False], False)], ids=str)
def test_after_a_restore_a_proof_that_fails_is_made_once_more(answers: list[bool], good: bool) -> None:
    """A kube-proxy that did not reach the API for a while knows no new service for up to a minute after it is back."""
    looked, said = iter(answers), list[str]()
    assert restore.proved(lambda: {"verified": next(looked)}, said.append) == {"verified": good}
    assert list(looked) == [] and said == [restore.AGAIN] * (len(answers) - 1)
