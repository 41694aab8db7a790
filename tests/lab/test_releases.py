"""The same commands with the other releases that kubefab knows, on a lab of each: `make releases`.

`make test` leaves these out: from a cold cache, each release takes ten more minutes to build.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from fabfile.inventory.components import KINDS, KUBELET, PROXY, SINCE, Fields, fields
from lab import gobuild
from lab.versions import kubernetes
from lab_bed import Lab, dirt, inv

RELEASES = os.environ.get("KUBEFAB_RELEASES", "").split()


@pytest.fixture(params=RELEASES)
def released(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab with the packages and images of one release; a lab that is up is taken down first."""
    capture = request.config.pluginmanager.getplugin("capturemanager")
    try:
        with capture.global_and_fixture_disabled():
            inv("lab.down")
            inv("lab.up", "--workers", "2", "--kubernetes", request.param)
        yield Lab(tmp_path_factory.mktemp("lab"))
    finally:
        with capture.global_and_fixture_disabled():
            inv("lab.down")


def test_from_bare_machines_to_a_cluster_and_back(released: Lab, request: pytest.FixtureRequest) -> None:
    lab = released
    wanted = lab.environment.settings.kubernetes
    assert f"{wanted}.".startswith(f"{request.node.callspec.params['released']}.")
    assert "✓ lab: cluster done on" in lab.bootstrap().output
    assert lab.ready() == dict.fromkeys(lab.names, True)
    assert set(lab.kubectl("get nodes -o jsonpath='{.items[*].status.nodeInfo.kubeletVersion}'").split()) == {
        f"v{wanted}"
    }
    assert lab.kubectl("get --raw /version").count(f'"v{wanted}"') == 1
    lab.assert_pod_network()
    lab.run("inv", "cluster.verify", "--env", "lab")
    lab.run("inv", "cluster.doctor", "--env", "lab")
    assert "nothing to do" in lab.bootstrap().output
    lab.reset()
    assert [line for name in lab.names for line in dirt(lab, name)] == []


# Go's types of both configurations: the module, and the package in it; what they take from other packages is in component-base
TYPES = {KUBELET: ("kubelet", "config/v1beta1"), PROXY: ("kube-proxy", "config/v1alpha1")}
BASE = ("logs/api/v1", "tracing/api/v1", "config/v1alpha1")


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("component", TYPES)
def test_the_fields_are_those_of_the_releases_own_types(component: str, release: str) -> None:
    """As Go reads them: every field of hosts.env that kubefab takes, and no other, with what is a pointer."""
    wanted, (module, package) = kubernetes(release), TYPES[component]
    base = gobuild.download("k8s.io/component-base", wanted.staging)
    files = [gobuild.download(f"k8s.io/{module}", wanted.staging) / package / "types.go"]
    types = go_types([*files, *(base / one / "types.go" for one in BASE)])
    known = {name for name in listed(fields(component)) if SINCE.get(name.rstrip("*"), "") <= wanted.minor}
    assert set(declared(types, KINDS[component])) == known


def go_types(files: list[Path]) -> dict[str, list[tuple[str, str]]]:
    """The fields of each struct: the type, and the name in JSON ("" for one whose fields are inline)."""
    text = "\n".join(file.read_text() for file in files if file.exists())
    structs = re.findall(r"^type (\w+) struct \{\n(.*?)^\}", text, flags=re.M | re.S)
    return {name: re.findall(r'^\t(?:\w+\s+)?(\S+)\s+`json:"(\w*),?\w*"', body, flags=re.M) for name, body in structs}


def declared(types: Mapping[str, list[tuple[str, str]]], name: str, above: str = "") -> Iterator[str]:
    """The names of all fields of a struct, `above.name*` for a pointer; lists and maps have none of their own."""
    for kind, field in types.get(name, ()):
        inner = kind.lstrip("*").rpartition(".")[2]
        if field:
            yield f"{above}{field}{'*' * kind.startswith('*')}"
        elif inner == "TypeMeta":
            continue
        if not kind.startswith(("[", "map")):
            yield from declared(types, inner, f"{above}{field}." if field else above)


def listed(known: Fields, above: str = "") -> Iterator[str]:
    for name, inner in known.items():
        yield f"{above}{name}{'*' * (name in known.pointers)}"
        yield from listed(inner, f"{above}{name}.")
