"""Names of environments and nodes in hosts.env: each key means one thing, whatever the environments are called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabfile.errors import UsageError
from fabfile.inventory import Environment, load, names
from fabfile.inventory.find import NAME
from fabfile.inventory.layers import canonical, prefix, readings
from fabfile.inventory.settings import KEYS, Settings


def read(folder: Path, text: str, name: str, variables: Mapping[str, str] | None = None) -> Environment:
    (folder / NAME).write_text(text)
    return load(name, hosts_file=folder / NAME, variables=variables or {})


def complaint(folder: Path, text: str, name: str, variables: Mapping[str, str] | None = None) -> str:
    with pytest.raises(UsageError) as caught:
        read(folder, text, name, variables)
    return caught.value.message


def test_a_name_may_have_several_words_and_is_typed_with_either_line(tmp_path: Path) -> None:
    text = "PROD_CONTROL_PLANE=192.0.2.1\nPROD_EU_CONTROL_PLANE=192.0.2.2\nPROD_FORKS=3\nPROD_EU_FORKS=4\nFORKS=5\n"
    for typed in ("prod_eu", "prod-eu", "PROD_EU", "Prod-EU"):
        found = read(tmp_path, text, typed)
        assert (found.name, found.option.split()[1]) == ("prod_eu", "prod_eu")
        assert (found.control_plane.host, found.settings.forks) == ("192.0.2.2", 4)
    assert read(tmp_path, text, "prod").settings.forks == 3
    for variable, forks in ({"KUBEFAB_PROD_EU_FORKS": "9"}, (3, 9)), ({"KUBEFAB_PROD_FORKS": "9"}, (9, 4)):
        assert tuple(read(tmp_path, text, name, variable).settings.forks for name in ("prod", "prod_eu")) == forks
    assert {"prod", "prod_eu"} < set(names(tmp_path / NAME))


WRONG = [
    ("MY-PROD_CONTROL_PLANE=192.0.2.9", "write MY_PROD_CONTROL_PLANE=…, for environment my_prod"),
    ("2PROD_WORKER_1=192.0.2.9", "write PROD2_WORKER_1=…, for environment prod2"),
    ("Staging_CONTROL_PLANE=192.0.2.9", "write STAGING_CONTROL_PLANE=…, for environment staging"),
    ("A__B_CONTROL_PLANE=192.0.2.9", "write A_B_CONTROL_PLANE=…, for environment a_b"),
    ("운영_CONTROL_PLANE=192.0.2.9", "write STAGING_CONTROL_PLANE=…, for environment staging"),
    ("CONTROL_PLANE=192.0.2.9", "CONTROL_PLANE names no environment"),
    ("PROD_WORKER_1=192.0.2.9", "environment prod has no control plane"),
    ("ssh_user=ops", "did you mean SSH_USER?"),
    ("a_ssh_user=ops", "did you mean A_SSH_USER?"),
    ("A-FORKS=3", "did you mean A_FORKS?"),
]


@pytest.mark.parametrize(("line", "said"), WRONG, ids=[f"{n}" for n in range(len(WRONG))])
def test_a_key_that_cannot_be_is_refused_with_the_line_that_works(tmp_path: Path, line: str, said: str) -> None:
    found = complaint(tmp_path, f"A_CONTROL_PLANE=192.0.2.1\n{line}\n", "a")
    assert said in found and "hosts.env:2: " in found


@given(st.text(max_size=12))
def test_the_advised_beginning_of_a_key_is_one_that_works(text: str) -> None:
    key = f"{prefix(text)}_FORKS"
    assert readings(key, {canonical(prefix(text))})[-1:] == [(prefix(text).lower(), "FORKS")]


@pytest.mark.parametrize(
    ("name", "write"), [("w_2", "w-2"), ("Web.1", "web.1"), ("all", "w1"), ("10.2.0.9", "w1"), ("a..b", "w1")]
)
def test_a_nodes_name_is_refused_with_the_one_that_works(tmp_path: Path, name: str, write: str) -> None:
    text = 'A_CONTROL_PLANE=192.0.2.1\nA_WORKER_1="192.0.2.2 name={}"\n'
    assert f"write name={write}: " in complaint(tmp_path, text.format(name), "a")
    assert read(tmp_path, text.format(write), "a").workers[0].name == write
    assert "name= is there twice" in complaint(tmp_path, text.format("x name=y"), "a")


PARTS = st.sampled_from(["PROD", "EU", "LEGACY", "WORKER", "1", "SSH", "CONTROL", "PACKAGES"])
NAMES = st.lists(PARTS, min_size=1, max_size=3).map("_".join).filter(lambda name: not name[0].isdigit())


@given(st.lists(NAMES, min_size=1, max_size=4, unique=True), st.data())
def test_a_line_sets_one_thing_of_one_environment_or_of_all_or_is_refused(
    tmp_path_factory: pytest.TempPathFactory, environments: list[str], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("names")
    setting = data.draw(st.sampled_from(["FORKS", "PACKAGES_URL", "LEGACY_PACKAGES_URL", "SSH_USER"]))
    value = {"FORKS": "7", "SSH_USER": "somebody"}.get(setting, "https://other.example")
    key = f"{data.draw(st.sampled_from(environments))}_{setting}"
    text = "".join(f"{name}_CONTROL_PLANE=192.0.2.{n}\n" for n, name in enumerate(environments, 1))
    changed = set()
    for name in environments:
        try:
            before, after = read(folder, text, name), read(folder, f"{text}{key}={value}\n", name)
        except UsageError as error:
            assert f"{key} can be read in two ways" in error.message
            assert len(readings(key, {name.lower() for name in environments})) > 1
            return
        assert before.name == after.name == name.lower()
        differing = [
            f.name for f in fields(Settings) if getattr(before.settings, f.name) != getattr(after.settings, f.name)
        ]
        changed |= {(name, field) for field in differing}
    assert changed == {(key.removesuffix(f"_{setting}"), setting.lower())} or (
        key in KEYS and changed == {(name, key.lower()) for name in environments}
    )


def test_a_key_with_two_readings_is_refused_from_a_variable_too(tmp_path: Path) -> None:
    text = "PROD_CONTROL_PLANE=192.0.2.1\nPROD_LEGACY_CONTROL_PLANE=192.0.2.2\n"
    for name in ("prod", "prod_legacy"):
        found = complaint(tmp_path, text, name, {"KUBEFAB_PROD_LEGACY_PACKAGES_URL": "https://m.example"})
        assert "LEGACY_PACKAGES_URL of environment prod, or PACKAGES_URL of environment prod_legacy" in found
