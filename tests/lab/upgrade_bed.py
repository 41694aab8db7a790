"""For the tests of upgrades: a lab that serves several releases for a while, and the proof of what an upgrade ended with."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lab import settings
from lab_bed import Lab, inv


@contextmanager
def serving(lab: Lab, releases: str, config: pytest.Config) -> Iterator[None]:
    """The lab serves these releases (commas between them) during the block, then those of before again, to machines with nothing on them."""
    capture = config.pluginmanager.getplugin("capturemanager")
    before = settings.load()
    assert before is not None and capture is not None
    with capture.global_and_fixture_disabled():
        inv("lab.up", "--kubernetes", releases)
    try:
        yield
        lab.reset("--purge")
    finally:
        with capture.global_and_fixture_disabled():
            inv("lab.up", "--kubernetes", before.kubernetes)


def shown(text: object, config: pytest.Config) -> None:
    """Print it where a person sees it, also of a test that passes."""
    capture = config.pluginmanager.getplugin("capturemanager")
    assert capture is not None
    with capture.global_and_fixture_disabled():
        print(f"\n{text}")


def says(lab: Lab, release: str) -> None:
    """The operator writes this release into hosts.env."""
    hosts = lab.environment.state / "hosts.env"
    hosts.write_text(re.sub(r"^LAB_KUBERNETES=.*$", f"LAB_KUBERNETES={release}", hosts.read_text(), flags=re.M))
    assert lab.environment.settings.kubernetes == release


def cordoned(lab: Lab) -> list[str]:
    """The nodes that take no new pods."""
    names = {host: name for name, host in lab.hosts.items()}
    nodes = json.loads(lab.kubectl("get nodes -o json"))["items"]
    return sorted(names[one["metadata"]["name"]] for one in nodes if one["spec"].get("unschedulable"))


def proved(lab: Lab, release: str) -> None:
    """Assert that all of the cluster has that release and is healthy: by kubectl, by our own commands, by the specs of kubeadm's authors."""
    kubelets = lab.kubectl("get nodes -o jsonpath='{.items[*].status.nodeInfo.kubeletVersion}'")
    assert set(kubelets.split()) == {f"v{release}"} and f'"v{release}"' in lab.kubectl("get --raw /version")
    assert lab.ready() == dict.fromkeys(lab.names, True) and cordoned(lab) == []
    says(lab, release)
    for command in ("cluster.plan --check", "cluster.upgrade --plan", "cluster.verify", "cluster.doctor"):
        lab.run("inv", *command.split(), "--env", "lab")
    lab.assert_pod_network()
    lab.assert_manifests_valid()
    lab.kubeadm_specs()
