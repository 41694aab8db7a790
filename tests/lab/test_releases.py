"""The same commands with the other releases that kubefab knows, on a lab of each: `make releases`.

`make test` leaves these out: from a cold cache, each release takes ten more minutes to build.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

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
