"""Which hosts.env a command uses in each folder; and two files share no state."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabfile.errors import UsageError
from fabfile.inventory import Environment, load, names, state_folder
from fabfile.inventory.find import BUILT_IN, own
from fabfile.nodes.group import connected

STAGING = "STAGING_CONTROL_PLANE={}\nSTAGING_POD_CIDR=10.44.0.0/16\n"
OTHER_TOOLS = [
    "",
    "# STAGING_CONTROL_PLANE=10.1.1.1\n",
    "FRONTEND=10.0.0.7\nDB_HOST=10.0.0.8\n",
    "[web]\n10.0.0.1\n",
    "\x00\xff",
]


@pytest.fixture
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Change to a folder below the test's; it is created if necessary."""

    def go(folder: str) -> Path:
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        monkeypatch.chdir(tmp_path / folder)
        return tmp_path / folder

    return go


def write(folder: Path, text: str = STAGING.format("10.1.1.1"), name: str = "hosts.env") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(text.encode("latin-1"))
    return folder / name


def address(**given: str) -> str:
    """The control plane's address in the environment staging that is found."""
    variables = {"KUBEFAB_HOSTS": given["variable"]} if "variable" in given else {}
    return load("staging", hosts_file=given.get("option", ""), variables=variables).control_plane.host


def refused(name: str = "staging", hosts_file: str = "", **variables: str) -> UsageError:
    with pytest.raises(UsageError) as caught:
        load(name, hosts_file=hosts_file, variables=variables)
    return caught.value


# --- the order: option, variable, upwards, the project's own


def test_the_nearest_file_upwards_is_used(tmp_path: Path, at: Callable[[str], Path]) -> None:
    write(tmp_path), write(tmp_path / "near", STAGING.format("10.2.2.2"))
    for folder, found in (("a/b/c", "10.1.1.1"), (".", "10.1.1.1"), ("near", "10.2.2.2"), ("near/deep", "10.2.2.2")):
        at(folder)
        assert address() == found, folder


def test_the_option_wins_over_the_variable_and_the_variable_over_the_folder(
    tmp_path: Path, at: Callable[[str], Path]
) -> None:
    write(tmp_path), at("x")
    second, third = (str(write(tmp_path / n, STAGING.format(f"10.{n}.0.1"))) for n in ("2", "3"))
    assert [address(), address(variable=second), address(variable=second, option=third)] == [
        "10.1.1.1",
        "10.2.0.1",
        "10.3.0.1",
    ]
    assert address(variable="../2/hosts.env") == "10.2.0.1", "from the working folder"
    assert address(variable="", option="") == "10.1.1.1", "an empty variable names nothing"


def test_any_file_name_is_accepted_and_tilde_is_expanded(home: Path, at: Callable[[str], Path]) -> None:
    at("."), write(home, name="mine.env")
    assert address(option="~/mine.env") == address(variable="~/mine.env") == "10.1.1.1"


def test_without_a_file_the_projects_own_is_used(at: Callable[[str], Path]) -> None:
    at("nothing/here")
    env = load("aws", variables={})
    assert env.control_plane.host == "13.124.31.81" and env.origin is None and env.remarks == ()
    assert names(variables={}) == ["aws", "datacenter", "lab", "rehearsal"]


def test_in_a_deleted_working_folder_the_projects_own_is_used(at: Callable[[str], Path]) -> None:
    shutil.rmtree(at("gone"))
    assert load("aws", variables={}).origin is None


def test_a_project_without_its_file_says_where_it_was_expected(
    tmp_path: Path, at: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    at("elsewhere"), monkeypatch.setattr("fabfile.inventory.find.PROJECT", tmp_path / "checkout")
    error = refused()
    assert f"{tmp_path}/checkout/hosts.env: is not there" in error.message and "KUBEFAB_HOSTS" in error.message


# --- files that cannot be used


@pytest.mark.parametrize("how", ["--hosts-file", "KUBEFAB_HOSTS"])
@pytest.mark.parametrize(("named", "why"), [
    ("missing.env", "No such file"), (".", "not a file"), ("dangling", "No such file"), ("circle", "ircle|oop|levels"), ("/dev/null", "not a file"),
])  # fmt: skip
def test_an_unusable_named_file_is_an_error_and_no_other_is_used(
    tmp_path: Path, at: Callable[[str], Path], how: str, named: str, why: str
) -> None:
    write(at("."))
    (tmp_path / "dangling").symlink_to("nowhere"), (tmp_path / "circle").symlink_to("circle")
    error = refused(hosts_file=named) if how == "--hosts-file" else refused(KUBEFAB_HOSTS=named)
    assert error.message.startswith(f"{how} {named}: ") and error.exit_code == 2
    assert re.search(why, error.message)


@pytest.mark.parametrize("kind", ["dangling", "forbidden"])
def test_an_unreadable_file_found_upwards_stops_the_command(
    tmp_path: Path, at: Callable[[str], Path], kind: str
) -> None:
    """The project's own file has an `aws` too, but with other machines."""
    at("x")
    if kind == "dangling":
        (tmp_path / "hosts.env").symlink_to("nowhere")
    elif os.geteuid() == 0:
        pytest.skip("root reads every file")
    else:
        write(tmp_path).chmod(0)
    error = refused("aws")
    assert error.message.startswith(f"{tmp_path}/hosts.env: ") and "--hosts-file" in error.remedy


@pytest.mark.parametrize("text", OTHER_TOOLS)
def test_a_file_of_another_tool_is_skipped_and_reported(tmp_path: Path, at: Callable[[str], Path], text: str) -> None:
    write(tmp_path), write(tmp_path / "web", text), at("web/app")
    assert address() == "10.1.1.1"
    (remark,) = load("staging", variables={}).remarks
    assert remark.startswith(f"{tmp_path}/web/hosts.env was skipped: it has no line of a node")
    assert remark in refused("stagnig").remedy, "because the environment may be meant to be in that file"


def test_a_folder_with_that_name_is_skipped(tmp_path: Path, at: Callable[[str], Path]) -> None:
    write(tmp_path), at("web/hosts.env")
    assert address() == "10.1.1.1" and load("staging", variables={}).remarks == ()


def test_another_users_file_in_a_world_writable_folder_is_skipped(
    tmp_path: Path, at: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = at("shared")
    write(tmp_path), write(shared, STAGING.format("10.6.6.6"))
    monkeypatch.setattr(os, "geteuid", lambda: 4711)  # not the owner of these files
    if (shared / "hosts.env").stat().st_uid == 0:
        os.chown(shared / "hosts.env", 4712, -1)
    assert address() == "10.6.6.6", "a team's folder"
    shared.chmod(0o1777)
    assert address() == "10.1.1.1"
    assert (
        "it belongs to another user, in a folder where everyone may write" in load("staging", variables={}).remarks[0]
    )
    assert address(option=str(shared / "hosts.env")) == "10.6.6.6", "it was named on purpose"


def test_an_error_names_its_file(tmp_path: Path, at: Callable[[str], Path]) -> None:
    """By its relative path below the working folder, else by its full path; and how it was found, unless it is the project's own."""
    write(tmp_path, STAGING.format("nowhere")), at("a")
    error = refused()
    assert f"\n{tmp_path}/hosts.env:1: STAGING_CONTROL_PLANE" in error.message
    assert f"the inventory is {tmp_path}/hosts.env (found upwards from {tmp_path}/a)" in error.remedy
    at(".")
    assert "\nhosts.env:1: STAGING_CONTROL_PLANE" in refused().message
    write(tmp_path / "more", "STAGING_FORKS=no\n", "hosts.local.env"), write(tmp_path / "more")
    error = refused(KUBEFAB_HOSTS="more/hosts.env")
    assert "\nmore/hosts.local.env:1: STAGING_FORKS" in error.message and "(KUBEFAB_HOSTS)" in error.remedy
    assert f"\n{own()}: no environment" in refused("nonesuch", KUBEFAB_HOSTS=str(own())).message


# --- files beside it, and links


def test_secrets_and_paths_are_relative_to_the_used_file(tmp_path: Path, at: Callable[[str], Path]) -> None:
    write(tmp_path, STAGING.format("10.1.1.1 key=key") + "STAGING_FORKS=1\n"), write(tmp_path, "", "key")
    write(tmp_path, "STAGING_FORKS=2\n", "hosts.local.env")
    here = at("a")
    write(here, "STAGING_FORKS=3\n", "hosts.local.env"), write(here, "", "key")
    env = load("staging", variables={})
    assert env.settings.forks == 2 and env.control_plane.key == str(tmp_path / "key")


def test_a_symbolic_link_counts_as_its_target(tmp_path: Path, at: Callable[[str], Path]) -> None:
    real = write(tmp_path / "real", STAGING.format("10.1.1.1 key=key"))
    write(real.parent, "", "key"), write(real.parent, "STAGING_FORKS=2\n", "hosts.local.env")
    (at("linked") / "hosts.env").symlink_to(real)
    (tmp_path / "folder").symlink_to(real.parent)
    envs = [
        load("staging", variables={}),
        load("staging", variables={"KUBEFAB_HOSTS": str(tmp_path / "folder" / "hosts.env")}),
        load("staging", variables={"KUBEFAB_HOSTS": str(real)}),
    ]
    assert envs[0] == envs[1] == envs[2] and envs[0].settings.forks == 2 and envs[0].origin == real


# --- state: two files share nothing, one file is one


def test_the_same_environment_name_in_another_file_has_its_own_state(tmp_path: Path) -> None:
    mine = [load("staging", hosts_file=write(tmp_path / n), variables={}) for n in ("one", "two")]
    theirs = load("aws", variables={})
    also = load("aws", hosts_file=write(tmp_path / "three", "AWS_CONTROL_PLANE=10.1.1.1\n"), variables={})
    folders = [env.state for env in (*mine, theirs, also)]
    assert len(set(folders)) == 4 and len({folder.parent for folder in folders}) == 1
    assert theirs.state == state_folder("aws") and theirs.state.name == "aws", "the project's own are where they were"


@given(
    st.from_regex(r"[a-z][a-z0-9]{0,20}", fullmatch=True),
    st.text(st.characters(codec="utf-8"), max_size=30),
    st.from_regex(r"[a-z][a-z0-9]{0,20}", fullmatch=True),
)
def test_no_environment_name_collides_with_another_files_state_folder(name: str, path: str, other: str) -> None:
    folder = state_folder(name, Path("/", path))
    assert folder != state_folder(other) and folder.parent == state_folder(other).parent
    assert folder != state_folder(name, Path("/", path, "x"))


def test_a_named_copy_of_the_projects_own_counts_as_another_file(tmp_path: Path) -> None:
    copy = shutil.copy(own(), tmp_path / "hosts.env")
    assert load("aws", hosts_file=copy, variables={}).state != load("aws", variables={}).state
    assert load("aws", hosts_file=own(), variables={}).state == load("aws", variables={}).state


# --- the lab and the rehearsal are available in every folder


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_built_in_environment_comes_from_the_project_in_every_folder(
    tmp_path: Path, at: Callable[[str], Path], name: str
) -> None:
    state_folder("lab").mkdir(parents=True)
    write(state_folder("lab"), "LAB_WORKER_1=172.30.44.11\n")
    here = load(name, variables={})
    write(at(".")), at("deep")
    there = load(name, variables={})
    assert there == here and there.state == state_folder(name)
    assert [w.name for w in load("lab", variables={}).workers] == ["w1"], "the nodes that `inv lab.up` wrote"
    assert set(names(variables={})) == {"staging", *BUILT_IN}
    assert "known: lab, rehearsal, staging" in refused("aws").message, "the manual's clusters are the project's alone"


def test_nothing_connects_to_the_labs_addresses_before_its_nodes_are_made(at: Callable[[str], Path]) -> None:
    """Without the lab's own network they may be another machine's."""
    with (
        pytest.raises(UsageError, match="there is no lab on this machine") as error,
        connected(load("lab", variables={})),
    ):
        pass
    assert error.value.remedy.startswith("`inv lab.up` ")
    state_folder("lab").mkdir(parents=True)
    write(state_folder("lab"), "LAB_WORKER_1=172.30.44.11\n")
    with connected(load("lab", variables={})) as group:
        assert len(group) == 2
    write(at("."), STAGING.format("10.1.1.1").replace("STAGING", "LAB"))
    with connected(load("lab", variables={})) as group:
        assert group, "a file of the operator's own, with nodes that they call lab"


def test_a_built_in_environment_takes_settings_from_the_file_that_is_used(at: Callable[[str], Path]) -> None:
    write(at("."), STAGING.format("10.1.1.1") + "KUBERNETES=1.35\nREHEARSAL_FORKS=7\nREHEARSAL_RETENTION=9d\n")
    env = load(None, variables={})
    assert (env.name, env.settings.kubernetes, env.settings.forks, env.settings.retention) == (
        "rehearsal",
        "1.35",
        7,
        "9d",
    )
    assert env.settings.simulated and env.origin is None


def test_a_file_that_describes_a_rehearsal_replaces_the_projects_completely(at: Callable[[str], Path]) -> None:
    """Nothing from the project's file is mixed into it: SIMULATED=yes would make real machines look simulated."""
    write(at("."), "REHEARSAL_CONTROL_PLANE=10.1.1.1\n")
    env = load("rehearsal", variables={})
    assert not env.settings.simulated and not env.settings.token and env.state != state_folder("rehearsal")


def test_a_mistake_in_the_projects_own_file_is_reported_only_where_it_is_used(
    tmp_path: Path, at: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout = tmp_path / "checkout"
    text = "REHEARSAL_CONTROL_PLANE=127.0.0.1\nREHEARSAL_SIMULATED=yes\nREHEARSAL_FORKS\nAWS_NONSENSE=1\n"
    write(checkout, text), monkeypatch.setattr("fabfile.inventory.find.PROJECT", checkout)
    write(at("mine"))
    assert address() == "10.1.1.1"
    assert f"{checkout}/hosts.env:3: REHEARSAL_FORKS has no value" in refused("rehearsal").message


# --- how a printed command means the same environment


def test_printed_commands_name_the_file_of_the_option_again(tmp_path: Path, at: Callable[[str], Path]) -> None:
    at("."), write(tmp_path / "a b")
    env = load("staging", hosts_file="a b/hosts.env", variables={})
    assert env.option == f"--env staging --hosts-file '{tmp_path}/a b/hosts.env'"
    again: Environment = load("staging", variables={"KUBEFAB_HOSTS": "a b/hosts.env"})
    assert again.option == "--env staging" and again.state == env.state


def test_secrets_in_the_users_own_file_are_reported_if_others_can_read_it(tmp_path: Path) -> None:
    path = write(tmp_path, STAGING.format("10.1.1.1") + "STAGING_TOKEN=abcdef.0123456789abcdef\n")
    path.chmod(0o644)
    (remark,) = load("staging", hosts_file=path, variables={}).remarks
    assert f"chmod 600 {path}" in remark
    assert load("aws", variables={}).remarks == (), "the manual's tokens are published"


@pytest.mark.parametrize(("words", "found"), [
    ("inv cluster.status --env st", ["staging"]), ("inv cluster.status --hosts-file two.env --env p", ["prod"]),
    ("inv cluster.status --hosts-file=two.env --env prod --limit ", ["all", "master", "workers", "slaves", "cp1", "far"]),
    ("inv cluster.status --hosts-file gone.env --env ", []), ("inv cluster.status --hosts-file gone.env --limit ", []),
])  # fmt: skip
def test_completion_uses_the_found_or_named_file(
    tmp_path: Path, at: Callable[[str], Path], words: str, found: list[str]
) -> None:
    from fabfile.cli.completion import values

    at("."), write(tmp_path)
    write(tmp_path, "PROD_CONTROL_PLANE=10.1.1.1\nPROD_WORKER_1='10.1.1.2 name=far'\n", "two.env")
    assert values(words.split(" ")) == found
