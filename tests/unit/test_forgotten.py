"""What a restore forgets, from the words of the API and of the nodes' container runtimes."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabfile.errors import KubefabError
from fabfile.text.forms import FormError
from fabfile.views.forgotten import (
    Known,
    Look,
    Pod,
    Since,
    parse_known,
    parse_look,
    parse_since,
    since_lines,
    started,
    unknown,
    unknown_lines,
)

MADE = 1_764_374_400.0  # 2025-11-29T00:00:00Z
NEWER, OLDER = "2025-11-29T00:10:00Z", "2025-11-28T23:00:00Z"
API = f"""\
Namespace||default|12|{OLDER}
ConfigMap|default|kept|90|{OLDER}
ConfigMap|default|after|140|{NEWER}
ConfigMap|default|edited|141|{OLDER}
Node||w1|150|{OLDER}
Node||w2|151|{NEWER}
ClusterRole||system:late|160|{NEWER}
error: the server could not find the requested resource
Secret|default|$(reboot)|170|{NEWER}
"""


def test_what_was_made_since_is_told_by_revision_and_what_was_only_changed_by_age() -> None:
    found = parse_since(API, 100, MADE)
    assert found == Since(
        {"ClusterRole": ("system:late",), "ConfigMap": ("default/after",), "Node": ("w2",)},
        {"ConfigMap": ("default/edited",)},
    )
    assert list(since_lines(found)) == [
        "made since, and lost: ClusterRole 1 (system:late); ConfigMap 1 (default/after); Node 1 (w2)",
        "changed since, and as before: ConfigMap 1 (default/edited)",
    ]
    assert list(since_lines(parse_since(API, 999, MADE))) == ["nothing was made or changed in it since the backup"]
    assert isinstance(parse_since("error: x\n", 100, MADE), str), (
        "an answer without namespace default is unknown, not nothing"
    )


def item(name: str, uid: str, source: str = "api", made: float = MADE) -> dict[str, object]:
    return {
        "metadata": {"name": name, "namespace": "shop", "uid": uid},
        "createdAt": str(int(made * 1e9)),
        "annotations": {"kubernetes.io/config.source": source},
    }


A, B, C = ("a" * 32, "b" * 32, "c" * 32)
NODE = f"""\
hostname w1
member yes
tmpfs /var/lib/kubelet/pods/{A}/volumes/kubernetes.io~projected/kube-api-access
ext4 /var/lib/kubelet/pods/{A}/volumes/kubernetes.io~local-volume/kubefab-influxdb
ext4 /var/lib/kubelet/pods/{A}/volumes/kubernetes.io~csi/pvc-1/mount
ext4 /var/lib/kubelet/pods/{A}/volumes/kubernetes.io~csi/csi-{"0" * 64}/mount
@@ pods
"""


def look(*items: object) -> Look:
    return parse_look(NODE + json.dumps({"items": items}))


def test_pods_and_volumes_that_the_restored_state_does_not_know() -> None:
    before = {"w1": look(item("web-1", A), item("web-2", B), item("etcd-cp1", C, "file")), "w2": KubefabError("down")}
    assert before["w1"] == Look(
        "w1", True, (Pod(A, "shop/web-1", MADE), Pod(B, "shop/web-2", MADE)), frozenset({"kubefab-influxdb", "pvc-1"})
    )
    after = {"w1": look(item("web-1", A)), "w2": KubefabError("down")}
    restored = parse_known(
        f"Pod|web-9|{C}||Running\nPersistentVolume|kubefab-influxdb|x||Bound\nPersistentVolume|pvc-1|y||Available\nNode|cp1|z||\n"
    )
    assert restored == Known(frozenset({C}), frozenset({"kubefab-influxdb"}), frozenset({"cp1"}))
    found = unknown(before, after, restored)
    assert found.data == {
        "pods": [
            {"node": "w1", "pod": "shop/web-1", "uid": A, "runs": True},
            {"node": "w1", "pod": "shop/web-2", "uid": B, "runs": False},
        ],
        "volumes": [{"node": "w1", "volume": "pvc-1"}],
        "nodes": [{"node": "w1", "hostname": "w1"}],
        "without_machine": [],  # a machine that was not looked at may be it
        "unseen": ["w2"],
        "error": "",
    }
    said = "\n".join(unknown_lines(found))
    for words in (
        "its kubelet ends it: pods 1 (shop/web-1)",
        "has ended it: pods 1 (shop/web-2)",
        "pvc-1",
        "no Node w1",
        "not looked at: w2",
    ):
        assert words in said
    assert unknown({"w1": look()}, {"w1": look()}, restored).strange == ("cp1",)
    assert "could not be asked: no" in "\n".join(unknown_lines(unknown(before, after, "no")))


def test_a_static_pod_is_known_by_its_hash_and_what_was_started_since_by_its_age() -> None:
    assert A in parse_known(f"Pod|etcd-cp1|{B}|{A}|Running\n").pods
    before = {"w1": look(item("old", A), item("new", B, made=MADE + 60)), "w2": KubefabError("down")}
    assert list(started(before, MADE + 1)) == ["w1 has started since: pods 1 (shop/new)"]


def test_a_machine_without_a_runtime_runs_nothing() -> None:
    assert parse_look("hostname w1\n@@ pods\n") == Look("w1")


@pytest.mark.parametrize(
    "tail",
    [
        "{",
        '{"items": [{"metadata": {"name": "$(x)", "namespace": "a", "uid": ""}}]}',
        '{"items": 3}',
        '{"items": [{"metadata": null}]}',
    ],
)
def test_words_without_their_form_are_refused(tail: str) -> None:
    with pytest.raises(FormError):
        parse_look(f"hostname w1\n@@ pods\n{tail}")


@given(st.text(max_size=200))
def test_whatever_a_node_says_only_an_error_of_ours_comes_of_it(text: str) -> None:
    for answer in (text, f"hostname w1\n@@ pods\n{text}", f"hostname {text}\n"):
        try:
            found = parse_look(answer)
        except FormError:
            continue
        assert re.fullmatch(r"[a-z0-9.-]*", found.hostname)
    parse_since(text, 1, 1.0)
    parse_known(text)
