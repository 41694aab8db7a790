"""Any answer of a node is refused or bounded. A value decides, runs or is drawn only if it has the right format."""

from __future__ import annotations

import copy
import dataclasses
import ipaddress
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabfile.nodes.facts import NodeFacts
from fabfile.nodes.observe import parse_facts, parse_links
from fabfile.text import forms
from fabfile.text.cleaning import clean, line
from fabfile.text.forms import FormError, Hostname

RECORDED = Path(__file__).parent / "recorded"
ACTING = "\x1b]52;c;cm0gLXJmIH4=\x07\x1b[2J\x9b31m\u202e\u2066\u200b\u2028\x00\x08\ud800"
SHELL = "w1$(touch /tmp/canary;echo)`canary`;canary|canary&\ncanary"


# --- words


@pytest.mark.parametrize("good", ["w1", "ip-10-2-3-117", "w1.example.com", "1", "a" * 63, "0-0.x"])
def test_host_names_that_a_node_can_have(good: str) -> None:
    assert Hostname(good) == good


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "-w1",
        "w1-",
        "W1",
        "node_1",
        "a" * 64,
        "w1..x",
        ".w1",
        "w1.",
        "w1-.x",
        "w1 ",
        "w1\n",
        "w1$(id)",
        "[red]w1[/]",
        "운영",
        "w1\x1b[31m",
        SHELL,
    ],
)
def test_host_names_that_are_impossible(bad: str) -> None:
    with pytest.raises(FormError, match=r"hostname .* is not a node's name") as refused:
        Hostname(bad)
    assert "hostnamectl" in refused.value.remedy
    assert str(refused.value).isprintable()
    with pytest.raises(FormError):
        NodeFacts(hostname=bad) if bad else Hostname(bad)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "bad",
    [
        "10.44.1.0\ntouch x",
        "10.44.1.0/33",
        "fe80::1%$(id)",
        "fe80::1%eth0",
        "",
        "10.44.1",
        "10.44.1.0 ",
        "$(id)",
        None,
        7,
        ["10.44.1.0"],
    ],
)
def test_invalid_addresses(bad: object) -> None:
    for form in (forms.address, forms.interface, forms.network):
        with pytest.raises(FormError):
            form(bad)


@pytest.mark.parametrize("bad", ["", "-1", "1e9", "1.5", "٣", "²", "9" * 10_000, "0x10", " 1", "1\n"])
def test_invalid_numbers(bad: str) -> None:
    with pytest.raises(FormError):
        forms.number(bad, "cpus")


@pytest.mark.parametrize("bad", ["inf", "-inf", "nan", "1e999", "9" * 13, "-1", "", "1.", "253402300800"])
def test_invalid_times(bad: str) -> None:
    with pytest.raises(FormError):
        forms.seconds(bad, "clock")


@pytest.mark.parametrize(
    "bad",
    [
        "[" * 200_000,
        "[" * 60 + "]" * 60,
        '{"a":' * 60 + "1" + "}" * 60,
        "1e999",
        "NaN",
        "-Infinity",
        "9" * 10_000,
        r'"\ud800"',
        r'{"\udfff": 1}',
        "",
        "{",
        "'a'",
    ],
    ids=[
        "unclosed",
        "deep lists",
        "deep objects",
        "1e999",
        "NaN",
        "Infinity",
        "long number",
        "surrogate",
        "surrogate key",
        "nothing",
        "cut",
        "python",
    ],
)
def test_json_beyond_the_limits(bad: str) -> None:
    with pytest.raises(FormError):
        forms.data(bad, "nodes")


def node(**changes: Any) -> dict[str, Any]:
    return {"metadata": {"name": "w1"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}, **changes}


def test_what_a_later_release_says_of_a_node_is_left_out() -> None:
    found = forms.NODE(
        node(status={"nodeInfo": {"kubeletVersion": "v1.37.2", "runningInUserNamespace": False}}), "node"
    )
    assert found["status"]["nodeInfo"] == {"kubeletVersion": "v1.37.2"}


@pytest.mark.parametrize(
    "bad",
    [
        node(metadata={}), node(metadata=None), node(metadata=[]), node(metadata={"name": 7}), node(metadata={"name": "w1$(id)"}),
        node(metadata={"name": "w1", "annotations": ["x"]}), node(metadata={"name": "w1", "annotations": {"x": 1}}), node(status=[]), node(status={"conditions": "x"}),
        node(status={"conditions": [{"type": "Ready"}]}), node(status={"conditions": [None]}), node(status={"addresses": [{"address": 1, "type": "x"}]}),
        node(spec={"podCIDR": "10.44.1."}), node(spec={"podCIDR": {}}), node(status={"nodeInfo": {"kubeletVersion": []}}), [], "w1", None, 7,
    ],
)  # fmt: skip
def test_nodes_of_another_shape(bad: object) -> None:
    with pytest.raises(FormError):
        forms.items(json.dumps({"items": [bad]}), forms.NODE, "nodes")


@given(
    st.sampled_from(
        ["", "metadata", "spec", "status", "status.nodeInfo", "status.conditions", "spec.taints", "status.addresses"]
    ),
    st.recursive(
        st.none() | st.booleans() | st.integers(0, 9) | st.text(max_size=3),
        lambda one: st.lists(one, max_size=2) | st.dictionaries(st.text(max_size=3), one, max_size=2),
    ),
)
def test_a_field_that_a_later_release_adds_changes_nothing(place: str, value: object) -> None:
    """1.37 has a truth value in nodeInfo, and a node with swap an object."""
    known = node(
        spec={"taints": [{"key": "a", "effect": "NoSchedule"}]},
        status={
            "conditions": [{"type": "Ready", "status": "True"}], "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
            "nodeInfo": {"machineID": "id", "kubeletVersion": "v1.37.2"},
        },
    )  # fmt: skip
    grown = copy.deepcopy(known)
    inner = grown
    for key in filter(None, place.split(".")):
        inner = inner[key]
    (inner[0] if isinstance(inner, list) else inner)["newInThisRelease"] = value
    assert forms.items(json.dumps({"items": [grown]}), forms.NODE, "nodes") == (known,)


def test_a_value_with_a_wrong_format_is_left_out() -> None:
    (seen,) = forms.items(
        json.dumps({"items": [node(spec={"podCIDR": "10.44.1.0/24", "evil": "$(id)"}, more=1)]}), forms.NODE, "nodes"
    )
    assert seen == {
        "metadata": {"name": "w1"},
        "spec": {"podCIDR": "10.44.1.0/24"},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    }


@pytest.mark.parametrize(
    "bad",
    [
        '[{"ifname": "flannel.1", "addr_info": null, "mtu": "1450"}]', '[{"ifname": ["x"]}]', '[{"ifname": "$(id)"}]', '[{"ifname": "0123456789abcdef"}]',
        '[{"ifname": "eth0", "addr_info": [{"local": "10.44.1.0\\ntouch canary", "prefixlen": 32}]}]', '[{"ifname": "eth0", "addr_info": [{"local": "10.44.1.0"}]}]',
        '[{"ifname": "eth0", "addr_info": [{"local": "10.44.1.0", "prefixlen": 99}]}]', '[{"ifname": "eth0", "mtu": -1}]', '[{"ifname": "eth0", "mtu": true}]',
        '[{"ifname": "eth0", "flags": "UP"}]', '[{"ifname": "eth0", "addr_info": 7}]', "[7]", "{}", "[" * 200_000,
    ],
)  # fmt: skip
def test_links_of_another_shape(bad: str) -> None:
    with pytest.raises(ValueError, match="is not"):
        parse_links(bad)


# --- the whole answer


LATER = {  # sections that were added after the answers were recorded
    "kept": "ours /etc/containerd/config.toml\n", "before": "noted\ncontainerd.io 1.7.24-1 hi\n", "containerd": "root = '/data'\nimports = ['/x']\n",
    "docker": "web\n", "kubeconfigs": "kubelet server https://10.2.0.1:6443\nkubelet cluster kubernetes\n", "uid": "be8b9710-f375-4f91-aa33-fa61a880d413\n",
    "identity": '{"environment": "lab", "endpoint": "10.2.0.1:6443", "node": "w1", "role": "worker", "hostname": "w1"}\n', "etcd": "member\ndb=123\n",
    "others": "unit k3s.service\npath /var/lib/k0s\n", "made": "--cluster-cidr=10.44.0.0/16\n--secure-port=6443\n", "swapunits": "swap.img.swap\n",
}  # fmt: skip


def answer(name: str) -> str:
    text = (RECORDED / f"{name}.txt").read_text()
    more = "".join(f"@@ {section}\n{body}" for section, body in LATER.items() if f"@@ {section}\n" not in text)
    return text.replace("@@ end\n", f"{more}@@ end\n")


def fitting(facts: NodeFacts) -> None:
    """Assert that every string in the facts is bounded and clean, and that the strings that decide have their format."""
    for field in dataclasses.fields(facts):
        if field.name not in ("nodes", "objects"):  # checked by shape; only shown
            for text in _strings(getattr(facts, field.name)):
                assert text == clean(text)
                assert len(text) <= 400
                assert "\n" not in text
    assert Hostname.fits(facts.hostname)
    for link in facts.links.values():
        assert re.fullmatch(r"[A-Za-z0-9._:@+~-]{1,15}", link.name)
        assert all(str(ipaddress.ip_interface(a)) == a for a in link.addresses)
        assert isinstance(link.mtu, int)
    for word in (
        facts.os_id,
        facts.os_version,
        facts.os_codename,
        facts.arch,
        *facts.os_like,
        *facts.packages.values(),
        *facts.undo,
        *facts.held,
    ):
        assert not re.search(r"[^A-Za-z0-9._+:@~^-]", word)
    for word in (
        *facts.images,
        *facts.digests,
        *facts.kubeadm_images,
        *facts.traces,
        *facts.resolvers,
        *facts.reporting,
    ):
        assert not re.search(r"[\s$`;&|<>(){}'\"\\*?!#]", word)
    assert all(
        re.fullmatch("sha256:[0-9a-f]{64}", word) for word in (*facts.digests.values(), *filter(None, [facts.ca_hash]))
    )
    assert all(Hostname.fits(n["metadata"]["name"]) or len(n["metadata"]["name"]) > 63 for n in facts.nodes)
    assert 0 <= facts.now <= forms.LATEST


def _strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for pair in value.items() for part in pair for text in _strings(part)]
    if isinstance(value, list | tuple | frozenset):
        return [text for part in value for text in _strings(part)]
    return _strings(list(vars(value).values())) if dataclasses.is_dataclass(value) else []


ANSWERS = ("debian-12", "ubuntu-24.04", "rocky-9", "control-plane", "worker")
PIECES = st.one_of(
    st.text(max_size=40),
    st.sampled_from(
        [
            SHELL,
            ACTING,
            "[red]",
            "=",
            "\x00",
            "9" * 5000,
            "[" * 100_000,
            "null",
            "@@ nodes\n",
            "@@ end\n",
            "nameserver ::1%$(id)",
            '"' * 9,
            "\u2028ok",
        ]
    ),
)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(ANSWERS),
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 200), PIECES), min_size=1, max_size=4),
)
def test_any_answer_gives_valid_facts_or_is_refused(name: str, changes: list[tuple[int, int, str]]) -> None:
    lines = answer(name).split("\n")
    for place, column, piece in changes:
        at = place % len(lines)
        lines[at] = lines[at][:column] + piece + lines[at][column + len(piece) // 2 :]
    try:
        facts = parse_facts("\n".join(lines))
    except ValueError as refused:
        assert str(refused).isprintable()
        assert len(str(refused)) < 400
    else:
        fitting(facts)


@pytest.mark.parametrize("name", ANSWERS)
def test_recorded_answers_are_valid(name: str) -> None:
    fitting(parse_facts(answer(name)))


def test_a_file_whose_content_looks_like_a_section_is_refused() -> None:
    """A resolv.conf that contains `@@ readyz` must not look like an API that answers."""
    with pytest.raises(FormError, match="section 'readyz' is not there once"):
        parse_facts(answer("worker").replace("@@ resolver\n", "@@ resolver\n@@ readyz\nok\n"))


# --- what is shown


@given(st.text())
def test_control_characters_are_removed(text: str) -> None:
    for shown in (clean(text), clean(ACTING + text), line(text), line(text + ACTING)):
        assert not re.search(
            "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]", shown
        )
        shown.encode()
        assert clean(shown) == shown


def test_ordinary_text_in_any_language_stays() -> None:
    text = "두 줄\n\tand a tab: café “quoted” — 100 % ✓"
    assert clean(text) == text
    assert (
        clean("Reading package lists… 0%\rReading package lists… Done\r\n")
        == "Reading package lists… 0%\nReading package lists… Done\n"
    )
    assert clean("\x1b[2J") == r"\x1b[2J"


@given(st.text(), st.integers(2, 200))
def test_a_line_stays_one_line_of_limited_length(text: str, limit: int) -> None:
    shown = line(text, limit)
    assert "\n" not in shown
    assert len(shown) <= limit
