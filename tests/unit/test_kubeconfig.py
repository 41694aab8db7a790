"""The operator's kubeconfig: only our entries are touched, a backup is kept, and nobody else may read it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from fabfile import kubeconfig
from fabfile.errors import KubefabError
from fabfile.masking import mask
from making import environment

ENV = environment(name="aws")
ADMIN = yaml.safe_dump(
    {
        "clusters": [{"name": "kubernetes", "cluster": {"server": "https://10.2.0.1:6443", "certificate-authority-data": "Q0E="}}],
        "users": [{"name": "kubernetes-admin", "user": {"client-certificate-data": "Q0VSVA==", "client-key-data": "c2VjcmV0LWtleQ=="}}],
        "contexts": [{"name": "x", "context": {"cluster": "kubernetes", "user": "kubernetes-admin"}}],
        "current-context": "x",
    }
)


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
    assert config["clusters"][0]["cluster"] == {"server": "https://192.0.2.1:6443", "certificate-authority-data": "Q0E="}
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_key_is_a_secret_from_then_on(path: Path) -> None:
    kubeconfig.merge(path, ENV, ADMIN)
    assert "c2VjcmV0LWtleQ" not in mask("c2VjcmV0LWtleQ==")


def test_merging_again_replaces_and_does_not_pile_up(path: Path) -> None:
    kubeconfig.merge(path, ENV, ADMIN)
    kubeconfig.merge(path, ENV, ADMIN)
    assert [len(read(path)[key]) for key in kubeconfig.LISTS] == [1, 1, 1]


def test_a_backup_of_the_file_before_is_kept_as_private(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("apiVersion: v1\nkind: Config\n")
    path.chmod(0o644)
    kubeconfig.merge(path, ENV, ADMIN)
    backup = path.with_name("config.before-kubefab")
    assert backup.read_text() == "apiVersion: v1\nkind: Config\n"
    assert {p.stat().st_mode & 0o777 for p in (path, backup)} == {0o600}
    assert {p.name for p in path.parent.iterdir()} == {"config", "config.before-kubefab"}


def test_removing_takes_out_only_ours(path: Path) -> None:
    kubeconfig.merge(path, environment(name="other"), ADMIN)
    kubeconfig.merge(path, ENV, ADMIN)
    assert kubeconfig.remove(path, ENV)
    config = read(path)
    assert [c["name"] for c in config["contexts"]] == ["other"]
    assert config["current-context"] == ""
    assert not kubeconfig.remove(path, ENV)


def test_a_current_context_of_somebody_else_stays(path: Path) -> None:
    kubeconfig.merge(path, ENV, ADMIN)
    kubeconfig.merge(path, environment(name="other"), ADMIN)
    kubeconfig.remove(path, ENV)
    assert read(path)["current-context"] == "other"


def test_removing_from_a_file_that_is_not_there_or_not_concerned_writes_nothing(path: Path) -> None:
    assert not kubeconfig.remove(path, ENV)
    assert not path.exists()
    kubeconfig.merge(path, environment(name="other"), ADMIN)
    before = path.stat().st_mtime_ns
    assert not kubeconfig.remove(path, ENV)
    assert path.stat().st_mtime_ns == before


@pytest.mark.parametrize("text", ["a: b: c", "- 1\n", "just text", "clusters: [a]\n", "clusters: {a: b}\n", "\xff\xfe"])
def test_a_file_that_is_no_kubeconfig_is_left_alone(path: Path, text: str) -> None:
    path.parent.mkdir()
    path.write_text(text, encoding="latin-1")
    with pytest.raises(KubefabError) as caught:
        kubeconfig.merge(path, ENV, ADMIN)
    assert "--kubeconfig FILE" in caught.value.remedy
    assert path.read_text(encoding="latin-1") == text


@pytest.mark.parametrize("admin", ["", "a: b: c", "clusters: []", "[]", "clusters: [{cluster: 5}]"])
def test_an_unreadable_admin_conf_is_said_so(path: Path, admin: str) -> None:
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
@given(ENTRIES, ENTRIES, ENTRIES, st.dictionaries(st.sampled_from(["extensions", "preferences", "x"]), st.integers(), max_size=2))
def test_whatever_stands_in_it_survives_a_merge_and_a_removal(clusters: list[str], users: list[str], contexts: list[str], more: dict[str, int]) -> None:
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
        assert kubeconfig.remove(path, ENV)
        after = read(path)
    for key in (*kubeconfig.LISTS, *more):
        assert after[key] == before[key]


def test_reset_knows_every_file_that_the_cluster_was_put_into(path: Path, tmp_path: Path) -> None:
    kubeconfig.merge(path, ENV, ADMIN)
    kubeconfig.merge(path, ENV, ADMIN)
    assert kubeconfig.known_paths(ENV) == [kubeconfig.default_path(), path]


def test_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "config")
    kubeconfig.merge(tmp_path / "link", environment(), ADMIN)
    assert (tmp_path / "link").is_symlink() and (tmp_path / "config").exists()
