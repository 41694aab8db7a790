"""Original files are restored: a real bash runs the lines of keeping.py and File(keep=True) in a folder that represents a node."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fabfile.nodes import keeping, script
from fabfile.phases import reset
from fabfile.recipes.proxies import DROP_IN
from fabfile.steps import File

CONFIG, HOSTS = "/etc/containerd/config.toml", "/etc/containerd/certs.d/docker.io/hosts.toml"
CRICTL = "/etc/crictl.yaml"
PATHS = (CONFIG, HOSTS, CRICTL)
# what the observing script does with its lines
SEEN = (
    f"kept=(); {keeping.LISTED}; declare -A digest; "
    'while read -r word f; do digest[$f]=$word; done < <(sha256sum -- "${kept[@]}" </dev/null 2>/dev/null); '
    f"{keeping.NOW}"
)


class Node:
    """A folder with its own /etc and /var/lib; lines run there."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("etc", "var/lib", "run"):
            (root / name).mkdir(parents=True)

    def local(self, text: str) -> str:
        return re.sub(r"/(etc|var/lib/kubefab|run/kubefab)\b", lambda found: f"{self.root}{found[0]}", text)

    def run(self, lines: Iterable[str], upto: int | None = None) -> str:
        """Run lines one after another; with `upto` they are killed after that many simple commands."""
        body = self.local("\n".join(lines))
        if upto is not None:
            body = f"n=0; set -T; trap '[ $((n++)) -lt {upto} ] || kill -9 $$ $BASHPID' DEBUG\n{body}"
        done = subprocess.run(
            ["bash", "-c", f"set -eo pipefail\n{body}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode in ((0,) if upto is None else (0, -9, 137)), done.stdout
        return done.stdout.replace(str(self.root), "") if upto is None else ""

    def write(self, *files: File, upto: int | None = None) -> None:
        """Write files as a step does."""
        text = self.local(script.render("test.step", (), files, lock=False))
        head, body = text.split("set -eo pipefail\n", 1)
        if upto is not None:
            text = f"{head}set -eo pipefail\nn=0; set -T; trap '[ $((n++)) -lt {upto} ] || kill -9 $$ $BASHPID' DEBUG\n{body}"
        path = self.root / "script"
        path.write_text(text)
        done = subprocess.run(["bash", str(path)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        if upto is None:
            assert done.returncode == 0, done.stdout

    def file(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def put(self, path: str, text: str, mode: int = 0o644) -> None:
        place = self.file(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        place.chmod(mode)

    def give_back(self, upto: int | None = None) -> str:
        return self.run(keeping.GIVE_BACK, upto)

    def state(self) -> dict[str, tuple[str, int]]:
        """The text and mode of each file under /etc, and the target of each link."""
        found = {}
        for path in sorted((self.root / "etc").rglob("*")):
            name = str(path.relative_to(self.root))
            if path.is_symlink():
                found[name] = (f"-> {path.readlink()}", 0)
            elif path.is_file():
                found[name] = (path.read_text(), path.stat().st_mode & 0o7777)
            else:
                found[name] = ("", path.stat().st_mode & 0o7777)
        return found


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path / "node")


def ours(path: str, number: int = 1) -> File:
    return File(path, f"written by us {number}\n", keep=True)


def test_a_file_and_its_mode_come_back(node: Node) -> None:
    node.put(CONFIG, "theirs\n", 0o640)
    before = node.state()
    node.write(ours(CONFIG))
    assert node.file(CONFIG).read_text() == "written by us 1\n"
    assert node.give_back() == ""
    assert node.state() == before


def test_a_new_file_is_removed_with_its_new_folders(node: Node) -> None:
    node.put("/etc/containerd/conf.d/gpu.toml", "")
    before = node.state()
    node.write(ours(HOSTS), ours(CRICTL))
    node.give_back()
    assert node.state() == before


def test_a_second_write_keeps_the_first_original(node: Node) -> None:
    node.put(CONFIG, "theirs\n")
    before = node.state()
    for number in (1, 2, 2, 1):
        node.write(ours(CONFIG, number))
    node.give_back()
    assert node.state() == before


def test_a_symbolic_link_is_restored_and_its_target_unchanged(node: Node) -> None:
    node.put("/etc/real.toml", "theirs\n")
    node.file(CONFIG).parent.mkdir()
    node.file(CONFIG).symlink_to("../real.toml")
    before = node.state()
    node.write(ours(CONFIG))
    node.write(ours(CONFIG, 2))
    assert not node.file(CONFIG).is_symlink()
    node.give_back()
    assert node.state() == before


def test_a_file_that_others_changed_since_is_kept_and_reported(node: Node) -> None:
    node.put(CONFIG, "theirs\n")
    node.write(ours(CONFIG))
    node.put(CONFIG, "written by us 1\nand by nvidia\n")
    assert keeping.parse_kept(node.run([SEEN]).splitlines()) == {CONFIG: "changed"}
    assert f"{CONFIG} was changed since" in node.give_back()
    assert node.file(CONFIG).read_text() == "written by us 1\nand by nvidia\n"


def test_a_change_by_others_is_saved_before_we_overwrite_it(node: Node) -> None:
    node.put(CONFIG, "theirs\n")
    node.write(ours(CONFIG))
    node.put(CONFIG, "edited\n")
    node.write(ours(CONFIG))
    assert node.file(f"{CONFIG}.kubefab-edited").read_text() == "edited\n"
    node.give_back()
    assert node.file(CONFIG).read_text() == "theirs\n"


def test_a_file_that_our_package_installed_is_not_an_original(node: Node) -> None:
    """dpkg installs it with our packages: reset leaves it to the package, and restores nothing if the package's removal deleted it."""
    node.run([keeping.look(CONFIG)])
    node.put(CONFIG, "stock\n")
    node.write(ours(CONFIG))
    node.give_back()
    assert node.file(CONFIG).read_text() == "stock\n"
    for path in (node.file(keeping.KEPT), node.root / "etc"):
        subprocess.run(["rm", "-rf", str(path)], check=True)
    node.run([keeping.look(CONFIG)])
    node.put(CONFIG, "stock\n")
    node.write(ours(CONFIG))
    node.file(CONFIG).unlink()
    node.give_back()
    assert not node.file(CONFIG).exists()


def test_a_second_cluster_still_knows_the_packages_own_file(node: Node) -> None:
    """After a reset without --purge, the note from before the first installation says so."""
    node.put(CONFIG, "stock\n")
    node.put(keeping.NOTE, f"none {node.file(CONFIG)}\n")
    node.write(ours(CONFIG))
    node.file(CONFIG).unlink()
    node.give_back()
    assert not node.file(CONFIG).exists()


def test_a_file_that_a_package_removal_deletes_is_restored(node: Node) -> None:
    node.put("/etc/default/kubelet", "KUBELET_EXTRA_ARGS=--v=4\n")
    before = node.state()
    node.run([keeping.look("/etc/default/kubelet")])
    assert keeping.parse_kept(node.run([SEEN]).splitlines()) == {}
    node.file("/etc/default/kubelet").unlink()
    node.file("/etc/default").rmdir()
    node.give_back()
    assert node.state() == before


def test_a_file_of_an_earlier_kubefab_is_recognised_by_its_first_line(node: Node) -> None:
    node.put(CONFIG, f"{keeping.HEAD}\nversion = 3\n")
    node.write(ours(CONFIG))
    node.give_back()
    assert not node.file(CONFIG).exists()


def test_named_files_are_given_back_and_the_others_stay(node: Node) -> None:
    one, other = "/etc/kubefab/proxy.env", "/etc/systemd/system/containerd.service.d/kubefab-proxy.conf"
    node.put(CONFIG, "theirs\n")
    before = node.state()
    node.write(*map(ours, (one, other, CONFIG)))
    for _ in range(2):  # a run that was cut off does it again
        node.run(keeping.give_back([one, other]))
        assert not node.file(one).parent.exists() and not node.file(other).parent.exists()
        assert set(keeping.parse_kept(node.run([SEEN]).splitlines())) == {CONFIG}
    node.give_back()
    assert node.state() == before


def test_the_former_registrys_files_go_and_the_new_ones_stay(node: Node) -> None:
    old, new = (
        "/etc/containerd/certs.d/old.example:5000/hosts.toml",
        "/etc/containerd/certs.d/new.example:5000/hosts.toml",
    )
    node.put(HOSTS, "the user's mirror\n")
    node.put(CONFIG, "theirs\n")
    before = node.state()
    node.write(*map(ours, (old, new, HOSTS, CONFIG)))
    node.run(keeping.give_back_others("/etc/containerd/certs.d", [new]))
    assert not node.file(old).parent.exists()
    assert node.file(new).read_text() == ours(new).content
    assert node.file(HOSTS).read_text() == "the user's mirror\n"
    assert set(keeping.parse_kept(node.run([SEEN]).splitlines())) == {new, CONFIG}
    node.write(ours(old, 2))
    node.give_back()
    assert node.state() == before


def test_a_copy_that_fails_keeps_the_file(node: Node) -> None:
    node.put(CONFIG, "theirs\n")
    text = node.local(script.render("test.step", (), (ours(CONFIG),), lock=False)).replace("cp -a", "false")
    (node.root / "script").write_text(text)
    assert subprocess.run(["bash", str(node.root / "script")], capture_output=True, check=False).returncode != 0
    assert node.file(CONFIG).read_text() == "theirs\n"


@pytest.mark.parametrize("path", ["/etc/a b", "/etc/$(id)", "relative", "/etc/'x", "/etc/x\n"])
def test_only_plain_paths(path: str) -> None:
    with pytest.raises(ValueError):
        keeping.look(path)


@given(
    st.lists(
        st.text(max_size=30) | st.builds("{} {}".format, st.sampled_from(["ours", "gone", "x"]), st.text(max_size=20)),
        max_size=5,
    )
)
def test_a_nodes_list_of_kept_files_is_validated(lines: list[str]) -> None:
    for path, state in keeping.parse_kept(lines).items():
        assert state in ("ours", "back", "changed", "gone")
        assert keeping.look(path)
        assert ".." not in path.split("/")


TEXTS = st.sampled_from(["theirs\n", "", "no newline", "삼\n", "written by us 1\n"])
FOUND = st.dictionaries(st.sampled_from(PATHS), st.tuples(TEXTS, st.sampled_from([0o644, 0o600, 0o755])))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    FOUND,
    st.lists(st.tuples(st.sampled_from(PATHS), st.integers(1, 3)), min_size=1, max_size=5),
    st.integers(0, 60),
    st.integers(0, 40),
)
def test_originals_are_restored_even_if_each_part_is_killed_once(
    tmp_path_factory: pytest.TempPathFactory,
    found: dict[str, tuple[str, int]],
    writings: list[tuple[str, int]],
    killed: int,
    killed_back: int,
) -> None:
    """For any files: overwritten any number of times, one write killed anywhere, the restore killed anywhere and run again."""
    node = Node(tmp_path_factory.mktemp("node") / "root")
    for path, (text, mode) in found.items():
        node.put(path, text, mode)
    before = node.state()
    first = [ours(*writing) for writing in writings[:1]]
    node.write(*first, upto=killed)
    node.write(*(ours(path, number) for path, number in dict(writings).items()))
    node.give_back(upto=killed_back)
    assert "changed since" not in node.give_back()
    assert node.state() == before


@pytest.mark.parametrize("killed", [None, *range(0, 80, 8)])
@pytest.mark.parametrize(
    ("paths", "asked"),
    [
        ((CRICTL,), []),
        ((CONFIG,), ["try-restart containerd"]),
        ((CONFIG, DROP_IN), ["daemon-reload", "try-restart containerd"]),
    ],
)
def test_systemd_and_containerd_read_again_what_a_reset_gave_back_even_if_it_is_killed_once(
    node: Node, paths: tuple[str, ...], asked: list[str], killed: int | None
) -> None:
    """A unit's file is read again before containerd starts with it; where there was none, systemd is not asked, which costs a reload."""
    node.put(DROP_IN, "theirs\n")
    node.put(CONFIG, "theirs\n")
    node.write(*map(ours, paths))
    log = node.root / "asked"
    about = ("reload-units", "restart-containerd", *keeping.GIVE_BACK)
    lines = [line for line in reset.UNDO if any(one in line for one in about)]
    stand_in = f'systemctl() {{ cat {DROP_IN} >"{log}.unit"; echo "$@" >>"{log}"; }}'
    if killed is not None:
        node.run([stand_in, *lines], upto=killed)
        log.unlink(missing_ok=True)
    node.run([stand_in, *lines])
    assert log.exists() == bool(asked) and (not asked or log.read_text().splitlines() == asked)
    assert not asked or Path(f"{log}.unit").read_text() == "theirs\n"
