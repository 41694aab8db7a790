"""containerd's configuration on a machine that was in use: what ours would lose is named, and what is printed keeps it."""

from __future__ import annotations

import re
import subprocess
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from fabfile import phases
from fabfile.inventory import Environment
from fabfile.nodes.containerd import UNREAD, lost, named, parse_containerd
from fabfile.nodes.keeping import CONTAINERD_CONFIG
from fabfile.nodes.observe import observe_script, parse_facts
from fabfile.recipes.kubeadm import merged, recipe_for
from fabfile.steps import Stop
from making import bare, context, environment, prepared

ENV = environment()
PLAIN = prepared(ENV)
NVIDIA = """\
version = 3
[plugins."io.containerd.cri.v1.runtime".containerd]
default_runtime_name = "nvidia"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.nvidia]
runtime_type = "io.containerd.runc.v2"
privileged_without_host_devices = false
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.nvidia.options]
BinaryName = "/usr/bin/nvidia-container-runtime"
"""
# as `containerd config default` of 1.7 prints it, with Docker's hand in it
DEFAULT = """\
disabled_plugins = []
imports = ["/etc/containerd/conf.d/*.toml"]
oom_score = 0
root = "/var/lib/containerd/"
state = "/run/containerd"
version = 2
[grpc]
address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri".containerd]
default_runtime_name = "runc"
snapshotter = "overlayfs"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_engine = ""
runtime_type = "io.containerd.runc.v2"
sandbox_mode = "podsandbox"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
BinaryName = ""
SystemdCgroup = false
[proxy_plugins]
"""

# name, the file, whether conf.d has files, CONTAINERD_CONFIG, what the refusal says ("": none)
THEIRS: list[tuple[str, str, bool, str, str]] = [
    ("none of its own", 'disabled_plugins = ["cri"]\n', False, "", ""),
    ("the default", DEFAULT, False, "", ""),
    ("the default, and files in its folder for imports", DEFAULT, True, "", "imports /etc/containerd/conf.d/*.toml"),
    ("another disk", 'root = "/data/containerd"\n', False, "", "root = /data/containerd"),
    ("another state", 'state = "/data/run"\n', False, "", "state = /data/run"),
    ("another disk, and the inventory says so", 'root = "/data/containerd"\n', False, '{"root": "/data/containerd"}', ""),
    ("another disk than the inventory's", 'root = "/data/containerd"\n', False, '{"root": "/srv/containerd"}', "root = /data/containerd"),
    ("the usual disk, and the inventory has another", 'root = "/var/lib/containerd"\n', False, '{"root": "/srv/containerd"}', "root = /var/lib/containerd"),
    ("a GPU's runtime", NVIDIA, False, "", "runtime nvidia, default_runtime_name = nvidia"),
    ("a GPU's runtime by version 2's names", NVIDIA.replace("version = 3", "version = 2").replace("cri.v1.runtime", "grpc.v1.cri"), False, "", "runtime nvidia, default_runtime_name = nvidia"),
    ("another runc", 'version = 2\n[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]\nBinaryName = "/opt/runc"\n', False, "", "runtime runc"),
    ("a snapshotter", 'version = 3\n[plugins."io.containerd.cri.v1.images"]\nsnapshotter = "zfs"\n', False, "", "snapshotter = zfs"),
    ("a snapshotter's program", '[proxy_plugins.stargz]\ntype = "snapshot"\naddress = "/run/stargz.sock"\n', False, "", "proxy plugin stargz"),
    ("more files", 'imports = ["/srv/containerd/*.toml"]\n', False, '{"oom_score": -999}', "imports /srv/containerd/*.toml"),
    ("an apostrophe", 'root = "/data/o\'neill"\n', False, "", "root = /data/o'neill"),
]  # fmt: skip


def planned(text: str, conf_d: bool, env: Environment, **changes: Any) -> list[Any]:
    facts = replace(PLAIN, containerd=parse_containerd(text, conf_d), **changes)
    return list(bare(phases.INSTALL)(context(env, facts)))


@pytest.mark.parametrize(
    ("text", "conf_d", "setting", "said"), [row[1:] for row in THEIRS], ids=[row[0] for row in THEIRS]
)
def test_settings_of_containerd_that_would_be_lost_are_named_and_the_printed_setting_keeps_them(
    text: str, conf_d: bool, setting: str, said: str
) -> None:
    env = environment(**({"containerd_config": setting} if setting else {}))
    first = planned(text, conf_d, env)[0]
    if not said:
        assert not isinstance(first, Stop)
        return
    assert isinstance(first, Stop) and first.id == "install.containerd-settings"
    assert f"{CONTAINERD_CONFIG} on this node has {said}, and kubefab" in first.reason
    printed = re.search(r"CONTAINERD_CONFIG='([^']+)' in hosts.env", first.remedy)
    assert printed, "one quoted word"
    kept = environment(containerd_config=printed[1])
    assert not isinstance(planned(text, conf_d, kept)[0], Stop), "the remedy works"
    written = recipe_for(kept).containerd_config().content
    usual = {"root": "/var/lib/containerd/", "state": "/run/containerd"}
    gone = lost(parse_containerd(text, conf_d), {**usual, **tomllib.loads(written)})
    assert gone == {}, "it is in the file that is written, by containerd 2's names"
    if setting:
        assert {
            **kept.settings.containerd_config,
            **env.settings.containerd_config,
        }.keys() == kept.settings.containerd_config.keys()


@pytest.mark.parametrize(
    ("text", "stop"),
    [
        ("x =", True),
        (f"root = '{'x' * 9000}'", False),
        ("[proxy_plugins]\n" + "".join(f"[proxy_plugins.p{n}]\na='b'\n" for n in range(400)), True),
        ("imports = 7", True),
        ("plugins = []", True),
    ],
)
def test_what_cannot_be_read_stops_too(text: str, stop: bool) -> None:
    made = planned(text, False, ENV)[0]
    assert isinstance(made, Stop) and (made.id == "install.containerd-unread") is stop


def test_what_a_configuration_of_ours_had_is_the_inventorys_to_change_but_for_where_its_data_are() -> None:
    ours = {"kept": {CONTAINERD_CONFIG: "ours"}}
    assert not isinstance(planned(NVIDIA, False, ENV, **ours)[0], Stop)
    assert isinstance(planned('root = "/data"\n', False, ENV, **ours)[0], Stop)
    edited = planned(NVIDIA, False, ENV, kept={CONTAINERD_CONFIG: "changed"})[0]
    assert isinstance(edited, Stop), "a GPU operator wrote into ours since"


_VALUE = st.recursive(
    st.booleans() | st.integers(-9, 9) | st.text("ab/'.*", max_size=5),
    lambda below: (
        st.lists(below, max_size=3)
        | st.dictionaries(st.sampled_from(["runc", "options", "containerd", "runtimes", "x"]), below, max_size=3)
    ),
    max_leaves=8,
)
_FILE = st.dictionaries(
    st.sampled_from(["root", "state", "imports", "version", "proxy_plugins", "plugins", "y"]), _VALUE, max_size=5
)
_CRI = st.dictionaries(
    st.sampled_from(
        ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.runtime", "io.containerd.cri.v1.images", "cri"]
    ),
    _VALUE,
    max_size=3,
)


@given(_FILE, _CRI, st.booleans())
def test_any_toml_is_read_or_refused_and_nothing_that_is_lost_stays_lost_once_it_is_set(
    file: dict[str, Any], cri: dict[str, Any], conf_d: bool
) -> None:
    found = parse_containerd(tomli_w.dumps({**file, "plugins": cri} if cri else file), conf_d)
    if found != UNREAD:
        gone = lost(found, recipe_for(ENV).containerd_settings())
        assert all(isinstance(one, str) for one in named(gone))
        assert lost(found, merged(recipe_for(ENV).containerd_settings(), gone)) == {}


def test_the_observing_script_leaves_out_the_logins_of_registries(tmp_path: Path) -> None:
    """The script itself, in bash."""
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d/99-nvidia.toml").touch()
    login = '[plugins."io.containerd.grpc.v1.cri".registry.configs."r.example".auth]\n  username = "me"\n  "password" = "pl4nted"\n  auth="cGw0bnRlZA=="\n'
    (tmp_path / "config.toml").write_text(
        'imports = ["/etc/containerd/conf.d/*.toml"]\n' + login + '[proxy_plugins.a]\naddress = "/a"\n'
    )
    sent = tmp_path / "sent"
    sent.write_text(
        observe_script(control_plane=False, files=[])
        .replace("main() {", "main() {\napt-mark() { :; }", 1)
        .replace("/etc/containerd/", f"{tmp_path}/")
        .replace("confd=/etc/containerd", f"confd={tmp_path}")
    )
    done = subprocess.run(["bash", str(sent)], capture_output=True, text=True, timeout=60, check=True)
    assert "pl4nted" not in done.stdout and "cGw0bnRlZA" not in done.stdout and '"me"' not in done.stdout
    assert parse_facts(done.stdout).containerd == {
        "imports": ["/etc/containerd/conf.d/*.toml"],
        "proxy_plugins": {"a": {"address": "/a"}},
    }
