"""The lab as a fixture: it is brought up once if it is not up, and taken down only in that case."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator

import pytest

from fabfile.inventory import state_folder
from lab_bed import BIN, PROJECT, Lab, inv

# test_identity.py has not been seen on real nodes yet: KUBEFAB_IDENTITY=1 runs it
ASKED_FOR = {"test_releases.py": "KUBEFAB_RELEASES", "test_identity.py": "KUBEFAB_IDENTITY"}
collect_ignore = [name for name, variable in ASKED_FOR.items() if not os.environ.get(variable)]
ENTERING = 3600  # seconds: an empty cache takes a quarter of an hour to fill


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Set the time limits of the lab's tests, and put them in order.

    The story is first: it begins with empty machines.  The doctor comes after all tests that need the network or a cluster: the
    kernel remembers its small MTU, and its last chapter removes the cluster.  Then comes the test of another file that needs none.
    """
    for item in items:
        if item.path.is_relative_to(PROJECT / "tests" / "lab"):
            item.add_marker(
                pytest.mark.timeout(ENTERING if {"lab", "released"} & set(getattr(item, "fixturenames", ())) else 300)
            )
    order = [
        "test_story.py", "test_scenarios.py", "test_faults.py", "test_digests.py", "", "test_identity.py", "test_doctor.py",
        "test_foreign_etcd_data_on_a_new_control_plane_stop_each_run", "test_dnf.py", "test_releases.py",
    ]  # fmt: skip
    places = {name: place for place, name in enumerate(order)}  # a file or a test; "" is for all others

    def place(item: pytest.Item) -> int:
        if not item.path.is_relative_to(PROJECT / "tests" / "lab"):
            return len(order)
        return places.get(item.name, places.get(item.path.name, places[""]))

    items.sort(key=place)


@pytest.fixture(scope="session")
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Real nodes without Kubernetes: a lab that this fixture brings up, or a running one after a reset.

    A test run that was killed leaves its mark and what it had broken: the lab is then rebuilt.
    """
    capture = request.config.pluginmanager.getplugin("capturemanager")
    state = json.loads(
        subprocess.run([BIN / "inv", "lab.status", "--json"], cwd=PROJECT, stdout=subprocess.PIPE, check=True).stdout
    )
    ours = not state["containers"]
    mark = state_folder("lab") / "under-test"
    killed = not ours and mark.exists()
    try:
        with capture.global_and_fixture_disabled():  # filling an empty cache takes minutes, so show its progress
            if killed:
                ours = mark.read_text() == "ours"
                inv("lab.down")
            inv("lab.up", "--workers", "2")
            mark.write_text("ours" if ours else "a running one")
        found = Lab(tmp_path_factory.mktemp("lab"))
        if not ours and not killed:
            found.reset("--purge")
        yield found
    finally:
        mark.unlink(missing_ok=True)
        if ours:
            with capture.global_and_fixture_disabled():
                inv("lab.down")


@pytest.fixture
def healthy(lab: Lab) -> Lab:
    """A healthy cluster to start with, whatever an earlier test left."""
    lab.bootstrap()
    return lab
