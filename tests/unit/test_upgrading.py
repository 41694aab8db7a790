"""What nodes answer before an upgrade, parsed: as machines print it, and whatever else comes."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabfile.nodes import script
from fabfile.nodes.upgrading import (
    FOLDERS,
    Answers,
    Etcd,
    Manifest,
    Member,
    Process,
    Requested,
    images_script,
    parse_answers,
    parse_images,
    upgrade_script,
)
from fabfile.text.forms import FormError

SLICES = {
    "items": [
        {
            "metadata": {"namespace": "policy", "name": "hook-x", "labels": {"kubernetes.io/service-name": "hook"}},
            "endpoints": [
                {"nodeName": "w1", "conditions": {"ready": True}},
                {"nodeName": "w2", "conditions": {"ready": False}},
                {"nodeName": "w3", "conditions": {}},
            ],
        }
    ]
}
HOOKS = {
    "items": [
        {
            "metadata": {"name": "policy"},
            "webhooks": [
                {
                    "name": "check.policy.example",
                    "failurePolicy": "Fail",
                    "clientConfig": {"caBundle": "", "service": {"namespace": "policy", "name": "hook", "port": 443}},
                    "rules": [{"apiGroups": [""], "resources": ["pods"], "operations": ["CREATE"], "apiVersions": ["v1"]}],
                    "namespaceSelector": {"matchExpressions": [{"key": "k", "operator": "NotIn", "values": ["policy"]}]},
                }
            ],
        },
        {"metadata": {"name": "empty"}},
    ]
}  # fmt: skip
SECTIONS = {
    "containerd": "v2.3.4\n",
    "runtime": "program /usr/bin/containerd\nkills process\npin /etc/apt/preferences.d/ours\npin $(x)\n",
    "disk": "/etc/kubernetes/tmp 4096 /\n/var/lib/containerd 8192 /data\n/var/lib/other 1 /\n",
    "data": "81920\n",
    "etcd": 'version 3.6.8\nhealth {"health":"false","reason":"ALARM NOSPACE"}\n'
    'members {"header":{"member_id":"1"},"members":[{"ID":"1","name":"cp1"},{"ID":"2","name":"","isLearner":true}]}\n'
    "metric etcd_mvcc_db_total_size_in_bytes 2.0971520e+07\nmetric etcd_server_quota_backend_bytes 2.147483648e+09\n",
    "packages": "1.37 kubelet 1.37.10-1.1\n1.37 kubelet 1.37.2-1.1\n1.37 kubeadm 1.37.2-1.1\n1.37 kubectl 1.37.2-1.1\n"
    "containerd containerd.io 2.3.4-1~debian.12~bookworm\n1.36 ! E: Failed to fetch https://pkgs.example/InRelease\n",
    "deprecated": 'apiserver_requested_deprecated_apis{group="networking.k8s.io",removed_release="1.37",resource="ipaddresses",'
    'subresource="",version="v1beta1"} 1\n'
    'apiserver_requested_deprecated_apis{group="",removed_release="",resource="componentstatuses",subresource="",version="v1"} 1\n'
    'apiserver_requested_deprecated_apis{group="x",removed_release="1.37",resource="y",subresource="",version="v1"} 0\n',
    "webhooks": json.dumps(HOOKS),
    "namespaces": json.dumps({"items": [{"metadata": {"name": "policy", "labels": {"a": "b"}}}, {"metadata": {"name": "x"}}]}),
    "endpoints": json.dumps(SLICES),
    "objects": "scheduling.k8s.io/v1alpha2 podgroups default a\nscheduling.k8s.io/v1alpha2 workloads <none> b\n",
    "unread": "",
}  # fmt: skip


def answer(**changed: str) -> str:
    parts = {**SECTIONS, **changed}
    return "".join(f"@@ {name}\n{text}\n" for name, text in parts.items()) + "@@ end\n"


def test_a_whole_answer() -> None:
    found = parse_answers(answer())
    assert found.containerd == "2.3.4"
    assert found.process == Process("/usr/bin/containerd", "process", ("/etc/apt/preferences.d/ours",))
    assert found.packages["containerd"].versions == {"containerd.io": ("2.3.4-1~debian.12~bookworm",)}
    assert found.free == {"/etc/kubernetes/tmp": 4096, "/var/lib/containerd": 8192}
    assert found.mounts["/var/lib/containerd"] == "/data"
    assert found.data == 81920
    members = (Member("cp1", False), Member("", True))
    assert found.etcd == Etcd("3.6.8", False, "ALARM NOSPACE", members, 20971520, 2147483648)
    assert found.etcd.voters == 1
    assert found.packages["1.37"].patches() == ("1.37.2", "1.37.10")
    assert found.packages["1.37"].whole == ("1.37.2",)
    assert found.packages["1.36"].fault == "E: Failed to fetch https://pkgs.example/InRelease"
    assert found.requested == (
        Requested("networking.k8s.io/v1beta1 ipaddresses", "1.37"),
        Requested("v1 componentstatuses", ""),
    )
    (hook,) = found.webhooks
    assert (hook.service, hook.fails, hook.rules) == (
        "policy/hook",
        True,
        ((frozenset({""}), frozenset({"pods"}), frozenset({"CREATE"})),),
    )
    assert found.namespaces == {"policy": {"a": "b"}, "x": {}}
    assert found.endpoints == {"policy/hook": ("w1", "w3")}
    assert found.objects == {
        "scheduling.k8s.io/v1alpha2 podgroups": ("default/a",),
        "scheduling.k8s.io/v1alpha2 workloads": ("b",),
    }
    assert found.unread == ()


def test_a_worker_says_nothing_of_the_cluster() -> None:
    control = ("data", "etcd", "deprecated", "webhooks", "namespaces", "endpoints", "objects")  # fmt: skip
    found = parse_answers(answer(**dict.fromkeys(control, "")))
    assert (found.requested, found.etcd, found.webhooks, found.unread) == ((), Etcd(), (), ())


def test_what_the_api_did_not_answer_is_named() -> None:
    assert parse_answers(answer(unread="endpoints\nhooks\nhooks\n$(x)\n")).unread == ("endpoints", "webhooks")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("disk", "/usr many /"),
        ("data", "-1"),
        ("etcd", "health nonsense"),
        ("etcd", 'health {"health": true}'),
        ("webhooks", '{"items": [{"metadata": {"name": "$(x)"}}]}'),
        ("endpoints", '{"items": 1}'),
    ],
)
def test_what_decides_has_its_form_or_is_refused(name: str, text: str) -> None:
    with pytest.raises(FormError):
        parse_answers(answer(**{name: text}))


@pytest.mark.parametrize(
    ("name", "text", "field", "left"),
    [
        ("containerd", "$(reboot)", "containerd", ""),
        ("packages", "1.37 kubelet $(x)\n1.37 evil 1.2.3-1\n$(y) kubelet 1.2.3-1", "packages", {}),
        ("deprecated", "x 1\ny", "requested", ()),
        ("objects", "a;b c d e", "objects", {}),
    ],
)
def test_a_word_of_a_list_without_its_form_is_left_out(name: str, text: str, field: str, left: object) -> None:
    assert getattr(parse_answers(answer(**{name: text})), field) == left


@given(st.sampled_from(sorted(SECTIONS)), st.text(max_size=200))
def test_whatever_comes_is_parsed_or_refused(name: str, text: str) -> None:
    """No answer ends in another error than the two that are caught where nodes are asked."""
    try:
        assert isinstance(parse_answers(answer(**{name: text})), Answers)
    except ValueError:
        pass


@given(st.sampled_from(sorted(name for name, text in SECTIONS.items() if text)), st.data())
def test_a_changed_character_is_parsed_or_refused(name: str, data: st.DataObject) -> None:
    text = SECTIONS[name]
    at = data.draw(st.integers(0, len(text) - 1))
    changed = text[:at] + data.draw(st.characters()) + text[at + 1 :]
    try:
        parse_answers(answer(**{name: changed}))
    except ValueError:
        pass


def test_the_script_says_what_a_repository_offers_and_why_it_could_not(tmp_path: Path) -> None:
    """Run here, with functions in place of apt's: the lines of each release behind its name, and the last words of a failure."""
    offers = {
        "1.36": ["echo noise", "echo kubelet 1.36.4-1.1"],
        "1.37": ["echo E: no such host", "false", "echo kubelet 9.9.9-1"],
    }
    text = upgrade_script(control_plane=False, offers=offers)
    path = tmp_path / "script"
    path.write_text(text)
    done = subprocess.run(["bash", str(path)], capture_output=True, text=True, check=True)
    found = parse_answers(done.stdout)
    assert found.packages["1.36"].versions == {"kubelet": ("1.36.4-1.1",)}
    assert found.packages["1.37"].versions == {}
    assert found.packages["1.37"].fault == "E: no such host"
    assert set(found.free) == set(FOLDERS)
    assert not path.exists()
    assert script.ended(done.stdout)


KUBECTL = """#!/bin/bash
case "$*" in
*/metrics*) echo 'apiserver_requested_deprecated_apis{group="g.io",removed_release="1.37",resource="r",version="v1"} 1'; echo other 1;;
*api-versions*) echo scheduling.k8s.io/v1alpha2;;
*/apis/scheduling*) echo '{"resources":[{"name":"podgroups","x":1},{"name":"podgroups/status"}]}';;
*podgroups.v1alpha2.scheduling.k8s.io*) echo 'default a';;
*webhook*) echo '{"items": [{"metadata": {"name": "x"}, "webhooks": [{"name": "n", "clientConfig": {"caBundle": "AAAA"}}]}]}';;
*endpointslices*) head -c 7000000 /dev/zero;;
*namespaces*) exit 1;;
*-o*json*) echo '{"items": []}';;
esac
"""


def test_the_script_asks_the_api_and_says_what_it_did_not_learn(tmp_path: Path) -> None:
    """Run here, with another kubectl: an answer that fails and one that is too long are named, and not taken for nothing."""
    program, conf = tmp_path / "kubectl", tmp_path / "admin.conf"
    program.write_text(KUBECTL)
    program.chmod(0o755)
    conf.write_text("")
    text = upgrade_script(
        control_plane=True, offers={}, gone=["scheduling.k8s.io/v1alpha1", "scheduling.k8s.io/v1alpha2"]
    )
    text = text.replace(" PATH=", f" PATH={tmp_path}:", 1).replace("/etc/kubernetes/admin.conf", str(conf))
    path = tmp_path / "script"
    path.write_text(text)
    done = subprocess.run(["bash", str(path)], capture_output=True, text=True, check=True)
    found = parse_answers(done.stdout)
    assert set(found.unread) == {"endpoints", "namespaces"}
    assert found.requested == (Requested("g.io/v1 r", "1.37"),)
    assert found.objects == {"scheduling.k8s.io/v1alpha2 podgroups": ("default/a",)}
    assert [hook.name for hook in found.webhooks] == ["n"]


CURL = """#!/bin/bash
echo "$*" >>"$0.called"
case "${@: -1}" in
*private*) grep -q 'user = "u:p"' && printf '200 0.1' || printf '401 0.1';;
*there*) printf '200 0.1';;
*) echo 'curl: (6) Could not resolve host' >&2; printf '000 0.1';;
esac
"""


def test_images_are_asked_for_where_containerd_would(tmp_path: Path) -> None:
    """Run here, with another curl: the login goes to the private registry alone, and never on a command line."""
    program = tmp_path / "curl"
    program.write_text(CURL)
    program.chmod(0o755)
    own = {f"own{n}": f"https://private.example/v2/own{n}/manifests/1" for n in range(6)}
    images = {**own, "b": "https://there.example/v2/b/manifests/1", "c": "https://x/v2/c"}
    login = {"registry": "https://private.example/v2/", "registry_curl": 'user = "u:p"\n', "registry_ca": "the CA\n"}
    path = tmp_path / "script"
    path.write_text(images_script(images, login).replace(" PATH=", f" PATH={tmp_path}:", 1))
    done = subprocess.run(["bash", str(path)], capture_output=True, text=True, check=True)
    found = parse_images(done.stdout, list(images))
    assert {name: one.code for name, one in found.items()} == {**dict.fromkeys(own, 200), "b": 200, "c": 0}
    assert found["c"].error == "curl: (6) Could not resolve host"
    called = (tmp_path / "curl.called").read_text()
    assert "u:p" not in called
    # asked at the same time: with one file for all, some would find it empty
    assert len(set(re.findall(r"--cacert (\S+)", called))) == len(own)


@given(st.text(max_size=200))
def test_what_a_registry_is_said_to_say_is_parsed_or_refused(text: str) -> None:
    try:
        found = parse_images(f"@@ images\n{text}\n@@ end\n", ["a"])
    except ValueError:
        return
    assert all(isinstance(one, Manifest) and 0 <= one.code < 1000 for one in found.values())
