"""Package sources that a machine has already, beside ours: read as apt reads them, by a real apt and real gpg where they are installed."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabfile import phases
from fabfile.inventory import Environment
from fabfile.nodes.facts import NodeFacts
from fabfile.nodes.observe import observe_script, parse_facts
from fabfile.nodes.script import render
from fabfile.nodes.sources import UNKNOWN_KEY, Source, fingerprints, parse_sources
from fabfile.phases.install import install
from fabfile.recipes.kubeadm import recipe_for
from fabfile.recipes.packages import SOURCES, Apt, Dnf, switched_off
from fabfile.steps import Step, Stop
from making import bare, context, environment, fresh, having, ids, installed, member, prepared, text_of

APT = pytest.mark.skipif(not shutil.which("apt-get"), reason="apt is not installed")
GPG = pytest.mark.skipif(not shutil.which("gpg"), reason="gpg is not installed")
ENV = environment()
PLAIN = prepared(ENV)
DOCKER, KUBERNETES = "https://download.docker.com/linux/debian", "https://pkgs.k8s.io/core:/stable:/v1.36/deb/"
ALLOWED = ENV.settings.containerd_key_fingerprint[0]
STANZA = """\
# by hand
Types: deb
URIs: {uri}
Suites: bookworm
Components: stable
Signed-By: {key}
"""
EMBEDDED = "\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQINBFit2ioBEADhWpZ8\n -----END PGP PUBLIC KEY BLOCK-----"


def facts_of(files: dict[str, str], keyrings: dict[str, tuple[str, ...]] | None = None, **changes: Any) -> NodeFacts:
    rows = [f"{path}\t{n}\t{row}" for path, text in files.items() for n, row in enumerate(text.splitlines(), 1)]
    return replace(PLAIN, sources=parse_sources(rows), keyrings=keyrings or {}, **changes)


def planned(facts: NodeFacts, phase: phases.Phase = phases.PREP, env: Environment = ENV) -> list[Any]:
    return list(bare(phase)(context(env, facts)))


# --- what apt makes of an entry beside ours; each row is also held against a real apt

# name, file, text, whether apt can then read nothing
BESIDE: list[tuple[str, str, str, bool]] = [
    ("another path", "docker.list", f"deb [arch=amd64 signed-by=/etc/apt/keyrings/docker.asc] {DOCKER} bookworm stable", True),
    ("the same over http", "docker.list", f"deb [signed-by=/k.asc] {DOCKER.replace('https', 'http')} bookworm stable", True),
    ("a slash more", "docker.list", f"deb [signed-by=/k.asc] {DOCKER}/ bookworm stable", True),
    ("its sources", "docker.list", f"deb-src [signed-by=/k.asc] {DOCKER} bookworm stable", True),
    ("another component", "docker.list", f"deb [signed-by=/k.asc] {DOCKER} bookworm test", True),
    ("in the main file", "../sources.list", f"\n\ndeb [signed-by=/k.asc] {DOCKER} bookworm stable # mine", True),
    ("options with spaces", "docker.list", f"deb [ signed-by=/k.asc  arch=amd64 ] {DOCKER} bookworm stable", True),
    ("quoted", "docker.list", f'deb [signed-by=/k.asc] "{DOCKER}" bookworm stable', True),
    ("a deb822 file", "docker.sources", STANZA.format(uri=DOCKER, key="/etc/apt/keyrings/docker.asc"), True),
    ("a deb822 file, enabled", "docker.sources", "Enabled: yes\n" + STANZA.format(uri=DOCKER, key="/k.gpg"), True),
    ("a deb822 file of several", "a.sources", STANZA.format(uri=f"http://mirror.example/debian\n {DOCKER}", key="/k.gpg"), True),
    ("a second stanza", "a.sources", f"Types: deb\nURIs: http://x.example\nSuites: s\nComponents: c\n\n{STANZA.format(uri=DOCKER, key='/k.gpg')}", True),
    ("a key in the entry", "docker.sources", STANZA.format(uri=DOCKER, key=EMBEDDED), True),
    ("the key that ours has", "docker.list", f"deb [signed-by=/etc/apt/keyrings/kubefab-containerd.gpg] {DOCKER} bookworm test", False),
    ("no key, read after ours", "zz.list", f"deb {DOCKER} bookworm stable", True),
    ("no key, read before ours", "docker.list", f"deb {DOCKER} bookworm stable", False),
    ("trusted, read before ours", "docker.list", f"deb [trusted=yes] {DOCKER} bookworm stable", True),
    ("Kubernetes' page", "kubernetes.list", f"deb [signed-by=/etc/apt/keyrings/kubernetes-apt-keyring.gpg] {KUBERNETES} /", True),
    ("another minor release", "kubernetes.list", f"deb [signed-by=/k.gpg] {KUBERNETES.replace('36', '35')} /", False),
    ("another suite", "docker.list", f"deb [signed-by=/k.asc] {DOCKER} trixie stable", False),
    ("another place", "docker.list", "deb [signed-by=/k.asc] https://mirror.example/linux/debian bookworm stable", False),
    ("a comment", "docker.list", f"# deb [signed-by=/k.asc] {DOCKER} bookworm stable", False),
    ("switched off", "docker.sources", "Enabled: no\n" + STANZA.format(uri=DOCKER, key="/k.gpg"), False),
]  # fmt: skip


def ids_of(rows: list[tuple[str, str, str, bool]]) -> list[str]:
    return [row[0] for row in rows]


@pytest.mark.parametrize(("name", "text", "unreadable"), [row[1:] for row in BESIDE], ids=ids_of(BESIDE))
def test_an_entry_beside_which_apt_cannot_read_ours_stops_prep_with_file_and_line(
    name: str, text: str, unreadable: bool
) -> None:
    path = os.path.normpath(f"{SOURCES}/{name}")
    made = planned(facts_of({path: f"{text}\n"}))
    assert [action.id for action in made if isinstance(action, Stop)] == ["prep.sources"] * unreadable
    if unreadable:
        line = next(n for n, row in enumerate(text.splitlines(), 1) if re.search("^(deb|Enabled|Types)", row))
        line = 7 if text.startswith("Types") else line
        assert made == [action for action in made if isinstance(action, Stop)], "nothing is written before"
        assert f"{path}:{line} has the package source" in made[0].reason


@APT
@pytest.mark.parametrize(("name", "text", "unreadable"), [row[1:] for row in BESIDE], ids=ids_of(BESIDE))
def test_a_real_apt_agrees_and_what_the_message_prints_makes_it_read_both(
    name: str, text: str, unreadable: bool, tmp_path: Path
) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "state").mkdir()
    (tmp_path / "sources.list").touch()
    path = tmp_path / "sources.list.d" / name
    path.write_text(f"{text}\n")
    for file in Apt().repository_files(PLAIN, recipe_for(ENV)):
        (tmp_path / "sources.list.d" / Path(file.path).name).write_text(file.content)
    assert ("Conflicting values" in read(tmp_path)) is unreadable
    if unreadable:
        stop = planned(facts_of({os.path.normpath(f"{SOURCES}/{name}"): f"{text}\n"}))[0]
        printed = re.search("`(.+?)`, then run this again", stop.remedy)
        assert printed
        subprocess.run(["bash", "-euc", printed[1].replace("/etc/apt", str(tmp_path))], check=True)
        assert read(tmp_path) == "", "after the printed command apt reads its lists, ours too"
        assert len(path.read_text().splitlines()) >= len(text.splitlines()), "and nothing was deleted"


def read(folder: Path) -> str:
    """What a real apt complains of when it reads these lists."""
    state = [f"-oDir::{key}={folder}/state" for key in ("State", "Cache")]
    where = [
        f"-oDir::Etc={folder}",
        "-oDir::Etc::main=",
        "-oDir::Etc::parts=",
        "-oDir::State::status=/dev/null",
        *state,
    ]
    done = subprocess.run(
        ["apt-cache", *where, "policy"], capture_output=True, text=True, env={"LC_ALL": "C", "PATH": os.environ["PATH"]}
    )
    return "".join(line for line in done.stderr.splitlines(keepends=True) if line.startswith("E:"))


# --- an entry that does what ours would

USED: list[tuple[str, str, dict[str, tuple[str, ...]], bool]] = [
    ("the right key", "[signed-by=/k.asc]", {"/k.asc": (ALLOWED,)}, True),
    ("for this processor", "[arch=amd64,arm64 signed-by=/k.asc]", {"/k.asc": (ALLOWED,)}, True),
    ("by fingerprint", f"[signed-by={ALLOWED}]", {}, True),
    ("two files, both right", "[signed-by=/k.asc,/l.asc]", {"/k.asc": (ALLOWED,), "/l.asc": (ALLOWED,)}, True),
    ("another key too", "[signed-by=/k.asc]", {"/k.asc": (ALLOWED, "F" * 40)}, False),
    ("a second file that is not there", "[signed-by=/k.asc,/l.asc]", {"/k.asc": (ALLOWED,)}, False),
    ("a key that cannot be read", "[signed-by=/k.asc]", {"/k.asc": (UNKNOWN_KEY,)}, False),
    ("for another processor", "[arch=arm64 signed-by=/k.asc]", {"/k.asc": (ALLOWED,)}, False),
    ("any key", "[trusted=yes signed-by=/k.asc]", {"/k.asc": (ALLOWED,)}, False),
]


@pytest.mark.parametrize(("options", "keyrings", "used"), [row[1:] for row in USED], ids=[row[0] for row in USED])
def test_an_entry_that_trusts_no_key_but_ours_is_used_and_ours_is_not_written(
    options: str, keyrings: dict[str, tuple[str, ...]], used: bool
) -> None:
    path = f"{SOURCES}/docker.list"
    facts = facts_of({path: f"deb {options} {DOCKER} bookworm stable\n"}, keyrings)
    assert ids(planned(facts)) == ([] if used else ["!prep.sources"])
    steps = planned(facts, phases.INSTALL)
    written = {file.path for step in steps if isinstance(step, Step) for file in step.files}
    assert (f"{SOURCES}/kubefab-containerd.list" in written) is not used
    assert f"{SOURCES}/kubefab-kubernetes.list" in written
    if used:
        assert f"{path}:1 is used" in next(step.title for step in steps if step.id == "install.repository")
        assert f"{DOCKER}/gpg" not in text_of(steps), "no key is fetched for it"


def test_without_fingerprints_in_the_inventory_any_readable_key_is_right() -> None:
    env = environment(containerd_key_fingerprint="")
    text = {f"{SOURCES}/docker.list": f"deb [signed-by=/k.asc] {DOCKER} bookworm stable\n"}
    assert ids(planned(facts_of(text, {"/k.asc": ("F" * 40,)}), env=env)) == []
    assert ids(planned(facts_of(text, {"/k.asc": (UNKNOWN_KEY,)}), env=env)) == ["!prep.sources"]


# --- lists that apt cannot read for another reason, and machines that need no packages

OURS = Apt().repository_files(PLAIN, recipe_for(ENV))
FAULT = "Malformed entry 1 in list file /etc/apt/sources.list.d/x.list (Suite)"
CLASH = {f"{SOURCES}/docker.list": f"deb [signed-by=/k.asc] {DOCKER} bookworm stable\n"}
APT_STATES: list[tuple[str, NodeFacts, list[str]]] = [
    ("unreadable", replace(PLAIN, apt_fault=FAULT), ["!prep.apt"]),
    ("unreadable since ours were added", having(replace(PLAIN, apt_fault=FAULT), OURS), ["prep.sources"]),
    ("an entry came after ours", having(facts_of(CLASH, apt_fault="Conflicting values"), OURS), ["prep.sources", "!prep.sources"]),
    ("an equal entry came after ours", having(facts_of(CLASH, {"/k.asc": (ALLOWED,)}, apt_fault="Conflicting values"), OURS), ["prep.sources"]),
    ("installed", replace(installed(ENV), sources=facts_of(CLASH).sources, apt_fault=FAULT), []),
    ("a member", replace(member(ENV), sources=facts_of(CLASH).sources, apt_fault=FAULT), []),
]  # fmt: skip


@pytest.mark.parametrize(("facts", "wanted"), [row[1:] for row in APT_STATES], ids=[row[0] for row in APT_STATES])
def test_prep_takes_our_lists_out_where_apt_reads_nothing_and_names_what_else_is_wrong(
    facts: NodeFacts, wanted: list[str]
) -> None:
    made = planned(facts)
    assert ids(made) == wanted
    if "!prep.apt" in wanted:
        assert FAULT in made[-1].reason


@APT
def test_a_list_of_ours_that_apt_cannot_use_is_gone_after_the_step_and_the_machines_own_is_as_before(
    tmp_path: Path,
) -> None:
    """The step's own lines, in bash, with a real apt: beside a conflicting list, and with a repository that is not there."""
    step = next(a for a in install(context(ENV, PLAIN)) if a.id == "install.repository")
    assert isinstance(step, Step)
    for name, theirs in (("clash", CLASH[f"{SOURCES}/docker.list"]), ("unsigned", "# nothing\n")):
        root = tmp_path / name
        (root / "sources.list.d").mkdir(parents=True)
        (root / "sources.list").touch()
        (root / "flat").mkdir()
        (root / "flat" / "Packages").touch()
        (root / "sources.list.d/docker.list").write_text(theirs)
        settings = {
            "Etc": root,
            "Etc::main": "",
            "Etc::parts": "",
            "State": root / "state",
            "Cache": root / "cache",
            "State::status": "/dev/null",
        }
        (root / "apt.conf").write_text("".join(f'Dir::{key} "{value}";\n' for key, value in settings.items()))
        files = tuple(
            replace(
                f,
                path=f.path.replace("/etc/apt", str(root)),
                content=f"deb file:{root}/flat ./\n" if name == "unsigned" else f.content,
            )
            for f in step.files
        )
        commands = tuple(line.replace("/etc/apt", str(root)) for line in step.commands)
        text = render("install.repository", commands, files, lock=False).replace("/run/kubefab", str(root))
        env = {"PATH": os.environ["PATH"], "APT_CONFIG": str(root / "apt.conf"), "TMPDIR": str(root)}
        sent = root / "sent"
        sent.write_text(text)
        done = subprocess.run(["bash", str(sent)], capture_output=True, text=True, env=env, check=False)
        assert done.returncode == 100, done.stdout
        assert ("Conflicting values" if name == "clash" else "package source of kubefab: ") in done.stdout
        assert [path.name for path in (root / "sources.list.d").iterdir()] == ["docker.list"]
        assert (root / "sources.list.d/docker.list").read_text() == theirs
        assert not list(root.glob("tmp.*")), "nothing is left in the temporary folder"
        assert read(root) == ""


def test_a_source_that_is_dead_does_not_stop_the_update_and_a_failed_install_names_its_list(tmp_path: Path) -> None:
    """In bash, with a stand-in for apt-get that says what apt says of a dead repository."""
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").touch()
    (tmp_path / "sources.list.d/a.list").write_text("# mine\ndeb http://mirror.example/nowhere xenial main\n")
    said = (
        "Err:3 http://mirror.example/nowhere xenial Release\n  404  Not Found [IP: 192.0.2.1 80]\n"
        "E: The repository 'http://mirror.example/nowhere xenial Release' does not have a Release file."
    )
    step = next(a for a in install(context(ENV, PLAIN)) if a.id == "install.packages")
    assert isinstance(step, Step)
    at = next(n for n, line in enumerate(step.commands) if " update " in line)
    stub = (
        f'apt-get() {{ case " $* " in *" update "*) echo {shlex.quote(said)}; return 100;; '
        '*) [ -n "$works" ] || { echo "E: Unable to locate package kubelet"; return 100; };; esac; }\napt-mark() { :; }\n'
    )
    lines = stub + "\n".join(step.commands[at:]).replace("/etc/apt", str(tmp_path))
    for works in ("yes", ""):
        env = {"PATH": os.environ["PATH"], "works": works, "TMPDIR": str(tmp_path)}
        done = subprocess.run(
            ["bash", "-c", f"set -eo pipefail\n{lines}"], capture_output=True, text=True, env=env, check=False
        )
        assert done.returncode == (0 if works else 100), done.stdout + done.stderr
        named = f"apt got nothing from http://mirror.example/nowhere, which is in {tmp_path}/sources.list.d/a.list:2"
        assert (done.stdout.splitlines()[-1:] == [named]) is not bool(works)
        assert not list(tmp_path.glob("tmp.*"))


# --- dnf


REPO = """\
[docker-ce-stable]
name=Docker CE
baseurl=https://download.docker.com/linux/centos/$releasever/$basearch/stable
enabled=1
gpgcheck=0
[docker-ce-test]
baseurl=https://download.docker.com/linux/centos/$releasever/$basearch/test
[kubernetes]
baseurl = http://pkgs.k8s.io/core:/stable:/v1.36/rpm
[off]
baseurl=https://pkgs.k8s.io/core:/stable:/v1.36/rpm/
enabled=0
"""


def test_dnf_takes_packages_from_our_entries_only() -> None:
    """dnf reads several entries of one repository, each with its own key: theirs may check none."""
    rocky = replace(facts_of({"/etc/yum.repos.d/mine.repo": REPO}), os_id="rocky", os_like=("rhel",))
    assert Dnf().beside(rocky, recipe_for(ENV)) == ["docker-ce-stable", "kubernetes"]
    assert ids(planned(rocky)) == []
    line = next(
        line for line in text_of(planned(rocky, phases.INSTALL)).splitlines() if " install containerd.io" in line
    )
    assert "--disablerepo=docker-ce-stable --disablerepo=kubernetes install" in line


def test_an_entry_of_a_repo_file_is_switched_off_where_it_is(tmp_path: Path) -> None:
    path = tmp_path / "mine.repo"
    path.write_text(REPO)
    entries = [one for one in facts_of({str(path): REPO}).sources if one.name in ("docker-ce-stable", "kubernetes")]
    subprocess.run(["bash", "-euc", switched_off(entries)], check=True)
    left = facts_of({str(path): path.read_text()}).sources
    assert [one.name for one in left] == ["docker-ce-test"]


# --- keys, and what a machine may send


@GPG
@pytest.mark.parametrize("armor", [True, False])
def test_fingerprints_are_those_that_gpg_shows(armor: bool, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)

    def gpg(*args: str) -> bytes:
        return subprocess.run(
            ["gpg", "--homedir", home, "--batch", "--quiet", "--no-autostart", *args], check=True, capture_output=True
        ).stdout

    for key in (("a@example.org", "ed25519", "sign", "never"), ("b@example.org", "rsa2048", "default", "1y")):
        made = ["gpg", "--homedir", home, "--batch", "--quiet", "--passphrase", "", "--quick-gen-key", *key]
        subprocess.run(made, check=True, capture_output=True)
    subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=False)
    listed = gpg("--with-colons", "--list-keys").decode()
    primary = re.findall(r"^pub:.*\nfpr:.*?:([0-9A-F]{40}):$", listed, flags=re.M)
    exported = gpg(*["--armor"] * armor, "--export")
    assert fingerprints(exported) == tuple(primary) and len(primary) == 2
    each = b"".join(gpg(*["--armor"] * armor, "--export", one) for one in primary)
    assert fingerprints(each) == tuple(primary), "one file after another"
    assert UNKNOWN_KEY in fingerprints(
        exported[: len(exported) // 2] if not armor else exported.replace(b"=", b"!", 1)[:-300]
    )


@given(st.binary(max_size=200))
def test_what_is_no_keyring_has_no_known_key(data: bytes) -> None:
    assert all(one == UNKNOWN_KEY or re.fullmatch("[0-9A-F]{40}", one) for one in fingerprints(data))
    assert fingerprints(data[:1] * 3) != ()


_ROW = st.sampled_from(
    ["deb", "deb [", "]", "[a]", "deb [signed-by=/k] http://x y z", "Types: deb", "URIs: http://x", "Suites: y", " .", "", "#", "enabled=0", "baseurl=http://x", "Enabled: no", " more"]
)  # fmt: skip


@given(
    st.lists(
        st.tuples(st.sampled_from(["a.list", "a.sources", "a.repo", "../a;b"]), _ROW | st.text(max_size=30)),
        max_size=30,
    )
)
def test_no_list_breaks_the_parser_and_no_word_of_it_becomes_shell(rows: list[tuple[str, str]]) -> None:
    sources = parse_sources(f"/etc/{name}\t{n}\t{text}" for n, (name, text) in enumerate(rows, 1))
    assert all(isinstance(one, Source) and one.line > 0 and ";" not in one.file for one in sources)
    assert re.fullmatch(
        r"(sed -i( -e ('[\d]+(s/\^/# /|s/\.\*/(Enabled: no|enabled=0)/|[ia] (Enabled: no|enabled=0))'))+ /etc/[a-z.]+( && )?)*",
        switched_off(sources),
    )
    planned(replace(PLAIN, sources=sources))


def test_the_observing_script_reads_lists_of_our_repositories_and_the_keys_that_they_name(tmp_path: Path) -> None:
    """The script itself, in bash: lists of others and our own are not sent."""
    lists, repos = tmp_path / "apt/sources.list.d", tmp_path / "yum.repos.d"
    lists.mkdir(parents=True)
    repos.mkdir()
    key = tmp_path / "apt/docker.asc"
    key.write_bytes(b"no key")
    (tmp_path / "apt/sources.list").write_text("deb http://deb.debian.org/debian bookworm main\n")
    (lists / "docker.list").write_text(f"\ndeb [signed-by={key}] {DOCKER} bookworm stable\n")
    (lists / "old.list").write_text("deb http://apt.kubernetes.io/ kubernetes-xenial main\n")
    (lists / "shop.list").write_text("deb https://me:secret@shop.example/apt x main\n")
    (lists / "kubefab-containerd.list").write_text(f"deb {DOCKER} bookworm stable\n")
    (repos / "docker-ce.repo").write_text(REPO)
    text = observe_script(control_plane=False, files=[], repositories=["download.docker.com"])
    text = text.replace("main() {", "main() {\napt-mark() { :; }", 1)  # it is slow
    text = text.replace("/etc/apt/", f"{tmp_path}/apt/").replace("/etc/yum.repos.d", str(repos))
    sent = tmp_path / "sent"
    sent.write_text(text)
    done = subprocess.run(["bash", str(sent)], capture_output=True, text=True, timeout=60, check=True)
    assert "shop.example" not in done.stdout and "deb.debian.org" not in done.stdout
    facts = parse_facts(done.stdout)
    where = [one.where for one in facts.sources if one.kind == "deb"]
    assert where == [f"{lists}/docker.list:2", f"{lists}/old.list:1"]
    assert [one.name for one in facts.sources if one.kind == "rpm"] == [
        "docker-ce-stable",
        "docker-ce-test",
        "kubernetes",
    ]
    assert facts.keyrings == {str(key): (UNKNOWN_KEY,)}


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        ("E: Malformed entry 1 in list file /etc/apt/sources.list.d/x.list (Suite)\nE: The list of sources could not be read.\n", "Malformed entry 1 in list file /etc/apt/sources.list.d/x.list (Suite)"),
        ("E: Unable to mkstemp /tmp/x - GetTempFile (30: Read-only file system)\n", ""),
        ("", ""),
    ],
)  # fmt: skip
def test_only_an_error_of_its_lists_says_that_apt_reads_none(said: str, fault: str) -> None:
    recorded = (Path(__file__).parent / "recorded/worker.txt").read_text()
    assert parse_facts(recorded.replace("@@ files\n", f"@@ apt\n{said}@@ files\n")).apt_fault == fault


def test_a_machine_without_lists_has_no_sources() -> None:
    assert (fresh().sources, fresh().keyrings, fresh().apt_fault) == ((), {}, "")
