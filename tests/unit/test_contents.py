"""The summary of a cluster that is shown before it is reset."""

from __future__ import annotations

from dataclasses import replace

from fabfile.views.contents import LIMIT, Contents, lines, parse, strangers
from making import api_node, control_plane, environment

ENV = environment()
OURS = """\
Pod|kube-system|etcd-cp1|||etcd
Pod|kube-system|coredns-1||kube-dns|
Pod|kube-flannel|kube-flannel-ds-x|flannel||
Pod|monitoring|telegraf-x|telegraf||
PersistentVolume||kubefab-influxdb|||
PersistentVolumeClaim|monitoring|influxdb|||
Namespace||default|||
Namespace||kube-system|||
"""
THEIRS = """\
Pod|shop|web-1|web||
Pod|kube-system|backup-1|backup||
Pod|monitoring|grafana-1|grafana||
Pod|default|flannel|flannel||
PersistentVolumeClaim|shop|data|||
PersistentVolume||pv-1|||
Namespace||shop|||
"""


def test_only_workloads_of_others_are_listed_on_any_node() -> None:
    assert parse(OURS) == Contents()
    found = parse(THEIRS + OURS)
    pods = ("shop/web-1", "kube-system/backup-1", "monitoring/grafana-1", "default/flannel")
    assert found == Contents(("shop",), pods, ("pv-1",), ("shop/data",))


def test_an_answer_without_namespace_default_is_unknown_not_empty() -> None:
    for text in ("", "Pod|shop|web-1|web||\n", "error: x\n", "|||||\n"):
        assert parse(text) is None


def test_invalid_names_are_left_out() -> None:
    assert parse(OURS + "Pod|shop|$(reboot)|||\nPod|a b|x|||\nNamespace||\x1b[2J|||\n") == Contents()


def test_the_summary_fits_80_columns_and_has_counts() -> None:
    many = "".join(f"Pod|shop|web-{n}-with-a-long-name-of-its-own|web||\n" for n in range(40)) + THEIRS + OURS
    found = parse(many)
    assert found
    shown = list(lines(ENV, found, ("w9",)))
    text = "\n".join(shown)
    assert max(map(len, shown)) <= 80
    assert "44 pods that are neither Kubernetes' nor kubefab's" in " ".join(text.split()) and "and 41 more" in text
    assert (
        "1 PersistentVolume: pv-1" in text
        and "1 PersistentVolumeClaim: shop/data" in text
        and "1 node that hosts.env lacks: w9" in text
    )
    assert list(lines(ENV, Contents(), ())) == ["nothing but Kubernetes' and kubefab's own runs in test"]
    assert "is not known: the API on cp1 does not answer" in "\n".join(lines(ENV, "the API on cp1 does not answer", ()))


def test_a_truncated_answer_says_at_least() -> None:
    found = parse(("x" * LIMIT) + "\n" + THEIRS + OURS)
    assert found and found.cut and "at least 4 pods" in "\n".join(lines(ENV, found, ()))


def test_a_node_is_foreign_by_name_and_address() -> None:
    other = {**api_node("w9"), "status": {"addresses": [{"type": "InternalIP", "address": "10.9.9.9"}]}}
    renamed = {**api_node("old"), "status": {"addresses": [{"type": "InternalIP", "address": "10.2.0.11"}]}}
    control = control_plane(ENV, nodes=(api_node("cp1"), other, renamed))
    assert strangers(ENV, control, ["cp1"]) == ("w9",)
    assert strangers(ENV, None, []) == ()
    assert strangers(ENV, replace(control, nodes=()), []) == ()
