"""The lab as a fixture: it is brought up once if it is not up, and taken down only in that case."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator

import pytest

from fabfile.inventory import state_folder
from lab_bed import BIN, OFF, PROJECT, Lab, inv

ASKED_FOR = {"test_releases.py": "KUBEFAB_RELEASES", "test_upgrades.py": "KUBEFAB_UPGRADES"}
collect_ignore = [name for name, variable in ASKED_FOR.items() if not os.environ.get(variable)]
ENTERING = 3600  # seconds: an empty cache takes a quarter of an hour to fill


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "looks: leaves the cluster as it is, so that the next test need not run bootstrap"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the lab's tests their time, and put them in order.

    The story first: it begins with machines that have nothing on them. A test that ends with such machines is followed by one that
    begins with them: a cluster between the two would cost a minute and prove nothing. So are those that want w2 off it. The secrets after all that could show one. The
    doctor after all that needs the network or a cluster: its small MTU is remembered, and its last chapter takes the cluster away.
    After that, the tests of other files that need none.
    """
    for item in items:
        if item.path.is_relative_to(PROJECT / "tests" / "lab"):
            item.add_marker(
                pytest.mark.timeout(ENTERING if {"lab", "released"} & set(getattr(item, "fixturenames", ())) else 300)
            )
    order = [
        "test_story.py", "test_scenarios.py",
        "test_a_reset_killed_at_random_instants_ends_clean", "test_a_power_cut_in_each_phase_ends_healthy",
        "test_a_power_cut_in_a_reset_ends_clean", "test_single_node.py",
        "test_the_manuals_chapters_one_by_one",
        "test_faults.py", "test_digests.py", "", "test_identity.py",
        "test_debians_etcd_on_a_worker_survives_its_reset", "test_a_stale_cni0_on_a_node_outside_the_cluster", "test_a_running_k3s_is_not_changed",
        "test_no_secret_was_shown_anywhere", "test_no_secret_is_in_a_file_that_others_can_read",
        "test_doctor.py", "test_foreign_etcd_data_on_a_new_control_plane_stop_each_run",
        "test_what_would_get_in_the_way_stops_prep_and_the_printed_command_helps", "test_dnf.py", "test_releases.py", "test_upgrade.py",
    ]  # fmt: skip
    places = {name: place for place, name in enumerate(order)}  # a file or a test; "" is for all others

    def place(item: pytest.Item) -> int:
        if not item.path.is_relative_to(PROJECT / "tests" / "lab"):
            return len(order)
        return places.get(item.name.split("[")[0], places.get(item.path.name, places[""]))

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


@pytest.fixture(autouse=True)
def unchanged(request: pytest.FixtureRequest) -> Iterator[None]:
    """Know after each test what state it left the cluster in."""
    if "lab" not in request.fixturenames:
        yield
        return
    lab: Lab = request.getfixturevalue("lab")
    lab.was_off, lab.off, lab.settled = lab.off, False, False
    failed = request.session.testsfailed
    yield
    looked = request.node.get_closest_marker("looks") and (lab.unchanged or "healthy" in request.fixturenames)
    lab.unchanged = bool(looked or lab.settled) and request.session.testsfailed == failed


@pytest.fixture
def healthy(lab: Lab) -> Lab:
    """A healthy cluster to start from, whatever an earlier test left."""
    lab.make_healthy()
    return lab


@pytest.fixture
def without_w2(lab: Lab) -> Lab:
    """A healthy cluster that w2 was taken off; there is nothing of a cluster on w2."""
    if not lab.was_off:
        lab.make_healthy()
        lab.run(*OFF)
    return lab
