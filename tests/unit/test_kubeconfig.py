"""The operator's kubeconfig: only our entries change, a backup is kept, and no other user may read it."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from fabfile.errors import KubefabError
from fabfile.inventory import PROJECT, Environment
from fabfile.text.masking import mask
from fabfile.views import kubeconfig
from making import VirtualClock, environment

ENV = environment(name="aws")


def pem(kind: str, text: str) -> str:
    """Base64 data in the form that kubeadm writes."""
    body = base64.b64encode(text.encode()).decode()
    return base64.b64encode(f"-----BEGIN {kind}-----\n{body}\n-----END {kind}-----\n".encode()).decode()


CA, CERT, KEY = pem("CERTIFICATE", "ca"), pem("CERTIFICATE", "admin"), pem("RSA PRIVATE KEY", "secret-key")


def conf(cluster: Mapping[str, object] = {}, user: Mapping[str, object] = {}, ca: str = CA) -> str:
    """An admin.conf with additional entries."""
    return yaml.safe_dump(
        {
            "clusters": [
                {
                    "name": "kubernetes",
                    "cluster": {"server": "https://10.2.0.1:6443", "certificate-authority-data": ca, **cluster},
                }
            ],
            "users": [
                {"name": "kubernetes-admin", "user": {"client-certificate-data": CERT, "client-key-data": KEY, **user}}
            ],
            "contexts": [{"name": "x", "context": {"cluster": "kubernetes", "user": "kubernetes-admin"}}],
            "current-context": "x",
        }
    )


ADMIN = conf()


def take_out(path: Path, env: Environment = ENV) -> bool:
    """Remove our entries from one file, as reset does."""
    return sum(kubeconfig.remove(note, env) for note in kubeconfig.notes(env) if note.path == str(path)) > 0


def read(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "config"


def test_a_first_cluster_makes_the_file(path: Path) -> None:
    kubeconfig.merge(path, ENV, ADMIN)
    config = read(path)
    assert config["current-context"] == "aws"
    assert config["contexts"] == [{"name": "aws", "context": {"cluster": "aws", "user": "aws-admin"}}]
    assert config["clusters"][0]["cluster"] == {"server": "https://192.0.2.1:6443", "certificate-authority-data": CA}
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_client_key_is_registered_as_a_secret(path: Path) -> None:
    kubeconfig.merge(path, ENV, ADMIN)
    assert KEY[:12] not in mask(KEY)


def test_merging_again_replaces_our_entries(path: Path) -> None:
    kubeconfig.merge(path, ENV, ADMIN)
    kubeconfig.merge(path, ENV, ADMIN)
    assert [len(read(path)[key]) for key in kubeconfig.LISTS] == [1, 1, 1]


def test_the_backup_of_the_former_file_is_private(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("apiVersion: v1\nkind: Config\n")
    path.chmod(0o644)
    kubeconfig.merge(path, ENV, ADMIN)
    backup = path.with_name("config.before-kubefab")
    assert backup.read_text() == "apiVersion: v1\nkind: Config\n"
    assert {p.stat().st_mode & 0o777 for p in (path, backup)} == {0o600}
    assert {p.name for p in path.parent.iterdir()} == {"config", "config.before-kubefab"}


def test_removing_removes_only_our_entries(path: Path) -> None:
    kubeconfig.merge(path, environment(name="other"), ADMIN)
    kubeconfig.merge(path, ENV, ADMIN)
    assert take_out(path)
    config = read(path)
    assert [c["name"] for c in config["contexts"]] == ["other"]
    assert config["current-context"] == "other", "what it was before"
    assert not take_out(path)


def test_a_current_context_of_somebody_else_stays(path: Path) -> None:
    kubeconfig.merge(path, ENV, ADMIN)
    kubeconfig.merge(path, environment(name="other"), ADMIN)
    take_out(path)
    assert read(path)["current-context"] == "other"


def test_removing_from_a_file_that_is_not_there_or_not_concerned_writes_nothing(path: Path) -> None:
    assert not take_out(path)
    assert not path.exists()
    kubeconfig.merge(path, environment(name="other"), ADMIN)
    before = path.stat().st_mtime_ns
    assert not take_out(path)
    assert path.stat().st_mtime_ns == before


@pytest.mark.parametrize("text", ["a: b: c", "- 1\n", "just text", "clusters: [a]\n", "clusters: {a: b}\n", "\xff\xfe"])
def test_a_file_that_is_not_a_kubeconfig_is_left_unchanged(path: Path, text: str) -> None:
    path.parent.mkdir()
    path.write_text(text, encoding="latin-1")
    with pytest.raises(KubefabError) as caught:
        kubeconfig.merge(path, ENV, ADMIN)
    assert "--kubeconfig FILE" in caught.value.remedy
    assert path.read_text(encoding="latin-1") == text


@pytest.mark.parametrize("admin", ["", "a: b: c", "clusters: []", "[]", "clusters: [{cluster: 5}]"])
def test_an_unreadable_admin_conf_is_reported(path: Path, admin: str) -> None:
    with pytest.raises(KubefabError):
        kubeconfig.merge(path, ENV, admin)
    assert not path.exists()


def test_the_default_is_kubectls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path}/one:{tmp_path}/two")
    assert kubeconfig.default_path() == tmp_path / "one"
    monkeypatch.delenv("KUBECONFIG")
    assert kubeconfig.default_path() == Path.home() / ".kube" / "config"


NAMES = st.text("abc-", min_size=1, max_size=4)
ENTRIES = st.lists(NAMES, max_size=4, unique=True)


@settings(max_examples=60, deadline=None)
@given(
    ENTRIES,
    ENTRIES,
    ENTRIES,
    st.dictionaries(st.sampled_from(["extensions", "preferences", "x"]), st.integers(), max_size=2),
)
def test_other_entries_survive_a_merge_and_a_removal(
    clusters: list[str], users: list[str], contexts: list[str], more: dict[str, int]
) -> None:
    before = {
        "apiVersion": "v1", "kind": "Config", "current-context": contexts[0] if contexts else "",
        "clusters": [{"name": n, "cluster": {"server": n}} for n in clusters],
        "users": [{"name": n, "user": {"token": n}} for n in users],
        "contexts": [{"name": n, "context": {"cluster": n, "user": n}} for n in contexts],
        **more,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config"
        path.write_text(yaml.safe_dump(before))
        kubeconfig.merge(path, ENV, ADMIN)
        assert take_out(path)
        after = read(path)
    for key in (*kubeconfig.LISTS, *more):
        assert after[key] == before[key]


def test_reset_knows_every_file_that_the_cluster_was_put_into_and_no_other(path: Path) -> None:
    kubeconfig.merge(path, ENV, ADMIN)
    kubeconfig.merge(path, ENV, ADMIN)
    assert [(note.path, note.context) for note in kubeconfig.notes(ENV)] == [(str(path), "aws")]
    noted = ENV.state / "kubeconfigs"
    assert noted.stat().st_mode & 0o777 == 0o600
    assert noted.parent.stat().st_mode & 0o777 == 0o700
    assert take_out(path)
    assert kubeconfig.notes(ENV) == []


# --- a control plane's answer is data

HOSTILE: list[tuple[dict[str, object], dict[str, object], str]] = [
    ({}, {"exec": {"command": "/bin/sh", "args": ["-c", "id"]}}, "exec"),
    ({}, {"auth-provider": {"name": "gcp", "config": {"cmd-path": "/bin/sh"}}}, "auth-provider"),
    ({}, {"tokenFile": "~/.ssh/id_ed25519"}, "tokenFile"),
    ({}, {"client-key": "/etc/shadow"}, "client-key"),
    ({"proxy-url": "http://evil.example"}, {}, "proxy-url"),
    ({"insecure-skip-tls-verify": True}, {}, "insecure-skip-tls-verify"),
    ({"certificate-authority": "/etc/shadow"}, {}, "certificate-authority"),
    ({"x\x1b]52;c;aGk=\x07": 1}, {}, "a key that kubeadm does not write"),
    ({"certificate-authority-data": "Q0E="}, {}, "certificate-authority-data"),
    ({}, {"client-key-data": "not base64 !"}, "client-key-data"),
    ({}, {"client-key-data": CERT}, "client-key-data"),
    ({}, {"client-certificate-data": None}, "client-certificate-data"),
    ({}, {"client-certificate-data": ["x"]}, "client-certificate-data"),
]


@pytest.mark.parametrize(
    ("cluster", "user", "named"), HOSTILE, ids=[f"{row[2]}-{number}" for number, row in enumerate(HOSTILE)]
)
def test_of_an_admin_conf_only_three_values_are_taken(
    path: Path, cluster: dict[str, object], user: dict[str, object], named: str
) -> None:
    with pytest.raises(KubefabError) as caught:
        kubeconfig.merge(path, ENV, conf(cluster, user))
    assert named in caught.value.message
    assert "\x1b" not in caught.value.message
    assert not path.exists()


JUNK = st.recursive(
    st.none() | st.booleans() | st.text(max_size=6) | st.sampled_from([CA, CERT, KEY]),
    lambda x: st.lists(x, max_size=2) | st.dictionaries(st.text(max_size=4), x, max_size=2),
    max_leaves=6,
)
FIELDS = st.sampled_from(
    [
        "exec",
        "tokenFile",
        "token",
        "server",
        "proxy-url",
        "certificate-authority-data",
        "client-key-data",
        "client-certificate-data",
        "zz",
    ]
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(FIELDS, JUNK, max_size=3), st.dictionaries(FIELDS, JUNK, max_size=3))
def test_any_admin_conf_gives_only_three_values_and_our_address(
    cluster: dict[str, object], user: dict[str, object]
) -> None:
    try:
        made = kubeconfig.entry(ENV, conf(cluster, user))
    except KubefabError:
        return
    assert set(made.cluster) == {"server", "certificate-authority-data"}
    assert made.cluster["server"] == "https://192.0.2.1:6443"
    assert set(made.user) == {"client-certificate-data", "client-key-data"}
    for value in (made.cluster["certificate-authority-data"], *made.user.values()):
        assert base64.b64decode(str(value)).startswith(b"-----BEGIN ")


# --- entries of the same name that belong to others

OTHER = pem("CERTIFICATE", "another")
THEIRS: dict[str, dict[str, object]] = {
    "a cluster of another CA": {
        "clusters": [
            {"name": "aws", "cluster": {"server": "https://198.51.100.7", "certificate-authority-data": OTHER}}
        ]
    },
    "a cluster that skips TLS at our address": {
        "clusters": [{"name": "aws", "cluster": {"server": "https://192.0.2.1:6443", "insecure-skip-tls-verify": True}}]
    },
    "a user": {"users": [{"name": "aws-admin", "user": {"token": "t"}}]},
    "a user of our form and another cluster's": {
        "users": [{"name": "aws-admin", "user": {"client-certificate-data": CA, "client-key-data": KEY}}]
    },
    "a user of their own at our cluster": {
        "clusters": [
            {"name": "aws", "cluster": {"server": "https://192.0.2.1:6443", "certificate-authority-data": CA}}
        ],
        "users": [{"name": "aws-admin", "user": {"token": "t"}}],
    },
    "a context": {"contexts": [{"name": "aws", "context": {"cluster": "eks", "user": "me"}}]},
    "a context of our cluster and another user": {
        "clusters": [
            {"name": "aws", "cluster": {"server": "https://192.0.2.1:6443", "certificate-authority-data": CA}}
        ],
        "contexts": [{"name": "aws", "context": {"cluster": "aws", "user": "me"}}],
    },
}


@pytest.mark.parametrize("config", THEIRS.values(), ids=list(THEIRS))
def test_an_entry_of_the_same_name_by_others_is_refused_with_a_remedy(path: Path, config: dict[str, object]) -> None:
    path.parent.mkdir()
    path.write_text(yaml.safe_dump({"apiVersion": "v1", "current-context": "mine", **config}))
    before = path.read_bytes()
    with pytest.raises(KubefabError, match="did not put there") as caught:
        kubeconfig.merge(path, ENV, ADMIN)
    assert path.read_bytes() == before
    assert not take_out(path)
    assert path.read_bytes() == before, "reset looks at noted files only"
    assert "--env aws --context NAME" in caught.value.remedy
    kubeconfig.merge(path, ENV, ADMIN, "aws-kubefab")
    assert read(path)["current-context"] == "aws-kubefab"
    for key, items in config.items():
        assert all(item in read(path)[key] for item in items)  # type: ignore[attr-defined]
    assert take_out(path)
    assert {key: read(path)[key] for key in config} == config
    assert read(path)["current-context"] == "", (
        "the former context no longer exists: kubectl must say so instead of choosing one"
    )


def test_a_new_cluster_at_the_same_address_replaces_the_old_entry(path: Path) -> None:
    kubeconfig.merge(path, ENV, conf(ca=OTHER))
    kubeconfig.merge(path, ENV, ADMIN)
    assert read(path)["clusters"][0]["cluster"]["certificate-authority-data"] == CA
    assert len(read(path)["users"]) == 1


def test_an_entry_that_others_replaced_since_stays(path: Path) -> None:
    kubeconfig.merge(path, ENV, ADMIN)
    config = read(path)
    config["clusters"][0]["cluster"] = {"server": "https://198.51.100.7", "certificate-authority-data": OTHER}
    path.write_text(yaml.safe_dump(config))
    assert not take_out(path)
    assert read(path) == config


def test_the_note_of_an_earlier_kubefab_is_read(path: Path) -> None:
    kubeconfig.merge(path, ENV, ADMIN)
    (ENV.state / "kubeconfigs").write_text(f"{path}\n")
    assert take_out(path)
    assert read(path)["contexts"] == []


def test_the_owners_namespace_stays_with_the_context(path: Path) -> None:
    kubeconfig.merge(path, ENV, ADMIN)
    config = read(path)
    config["contexts"][0]["context"]["namespace"] = "monitoring"
    path.write_text(yaml.safe_dump(config))
    kubeconfig.merge(path, ENV, ADMIN)
    assert read(path)["contexts"][0]["context"] == {"cluster": "aws", "user": "aws-admin", "namespace": "monitoring"}


# --- the file itself

COMMENTED = """\
# my clusters, by hand since 2019
apiVersion: v1
kind: Config
current-context: "home"   # the Pi
clusters:
  # in the cellar
  - name: home
    cluster: {server: 'https://10.0.0.1:6443', insecure-skip-tls-verify: true}
  - cluster:
      server: https://eks.example
    name: work
# logins
users:
- name: me
  user:
    token: "abc"  # rotates
contexts:
- context:
    cluster: home
    user: me
  name: home
preferences: {}
"""


def test_comments_order_and_quoting_survive(path: Path) -> None:
    path.parent.mkdir()
    path.write_text(COMMENTED)
    kubeconfig.merge(path, ENV, ADMIN)
    text = path.read_text()
    assert read(path)["current-context"] == "aws"
    for line in COMMENTED.splitlines():
        assert line.replace('"home"', "aws") in text
    assert take_out(path)
    assert path.read_text() == COMMENTED.replace('"home"', "home")


def test_each_state_of_the_file_has_its_own_copy_and_no_two_are_the_same(path: Path) -> None:
    path.parent.mkdir()
    path.write_text(COMMENTED)
    assert kubeconfig.merge(path, ENV, ADMIN) == path.with_name("config.before-kubefab")
    assert kubeconfig.merge(path, ENV, ADMIN) is None
    take_out(path)
    path.write_text(COMMENTED)
    assert kubeconfig.merge(path, ENV, ADMIN) is None, "that backup exists already"
    second = kubeconfig.merge(path, environment(name="other"), ADMIN)
    assert second == path.with_name("config.before-kubefab.1")
    assert path.with_name("config.before-kubefab").read_text() == COMMENTED, "the first is never overwritten"
    assert {p.stat().st_mode & 0o777 for p in path.parent.iterdir()} == {0o600}


def test_a_copy_is_private_from_its_first_byte(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.parent.mkdir()
    path.write_text(COMMENTED)
    path.chmod(0o644)
    made: dict[str, int] = {}
    real = os.open

    def watched(name: Any, flags: int, mode: int = 0o777, **more: Any) -> int:
        descriptor = real(name, flags, mode, **more)
        if flags & os.O_CREAT:
            assert flags & os.O_EXCL, f"{name} could be somebody's link"
            made[Path(name).name] = os.fstat(descriptor).st_mode & 0o777
        return descriptor

    monkeypatch.setattr(os, "open", watched)
    kubeconfig.merge(path, ENV, ADMIN)
    assert made["config.before-kubefab"] == 0o600
    assert all(mode & 0o077 == 0 for mode in made.values())


def test_an_invalid_yaml_file_is_named_but_not_quoted(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("users:\n- name: me\n  user: {password: hunter2: hunter3\n")
    with pytest.raises(KubefabError) as caught:
        kubeconfig.merge(path, ENV, ADMIN)
    assert "line" in caught.value.message
    assert "hunter" not in f"{caught.value.message} {caught.value.remedy} {caught.value.output}"


def test_kubectls_lock_is_respected(path: Path) -> None:
    path.parent.mkdir()
    path.write_text(COMMENTED)
    lock = path.with_name("config.lock")
    lock.touch()
    with pytest.raises(KubefabError) as caught:
        kubeconfig.merge(path, ENV, ADMIN, clock=VirtualClock())
    assert f"rm -f {lock}" in caught.value.remedy
    assert lock.exists()
    assert path.read_text() == COMMENTED
    lock.unlink()
    kubeconfig.merge(path, ENV, ADMIN)
    assert not lock.exists(), "our entry is removed"


def test_the_lock_is_held_while_the_file_is_read_and_written(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(
        kubeconfig, "rewritten", lambda text, before, after: seen.append(path.with_name("config.lock").exists()) or text
    )
    path.parent.mkdir()
    path.write_text(COMMENTED)
    kubeconfig.merge(path, ENV, ADMIN)
    assert seen == [True]


def test_four_processes_at_once_lose_no_entry(path: Path) -> None:
    path.parent.mkdir()
    path.write_text(COMMENTED)
    # one interpreter, which has imported everything, becomes four
    program = (
        "import os, sys; from pathlib import Path; from making import environment; from fabfile.views import kubeconfig\n"
        "path, *given = sys.argv[1:]\n"
        "begin, ready = os.pipe()\n"
        "def merge(name, admin):\n"
        "    os.close(ready); os.read(begin, 1)\n"
        "    for _ in range(5): kubeconfig.merge(Path(path), environment(name=name), admin)\n"
        "children = []\n"
        "for name, admin in zip(given[::2], given[1::2]):\n"
        "    children.append(os.fork())\n"
        "    if not children[-1]: sys.exit(merge(name, admin))\n"
        "os.close(ready)\n"
        "assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4"
    )
    names = ["a", "b", "c", "d"]
    given = [word for name in names for word in (name, conf(ca=pem("CERTIFICATE", name)))]
    places = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), str(PROJECT)])}
    done = subprocess.run(
        [sys.executable, "-c", program, str(path), *given], capture_output=True, text=True, env=places, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    config = read(path)
    assert {c["name"] for c in config["contexts"]} == {"home", *names}
    assert {c["name"] for c in config["clusters"]} == {"home", "work", *names}
    assert "# in the cellar" in path.read_text()
    assert not any(p.name.endswith(".lock") or p.name.startswith(".") for p in path.parent.iterdir())


def test_a_symbolic_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "config")
    kubeconfig.merge(tmp_path / "link", environment(), ADMIN)
    assert (tmp_path / "link").is_symlink() and (tmp_path / "config").exists()
