"""The files that today's recipe writes, compared with golden copies; `pytest --update-golden` rewrites those."""

from __future__ import annotations

import base64
import subprocess
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fabfile.errors import UsageError
from fabfile.inventory.settings import KEYS
from fabfile.nodes.keeping import NOTE
from fabfile.recipes.kubeadm import RELEASES, digest, merged, recipe_for
from fabfile.recipes.packages import Apt, Dnf, family
from fabfile.steps import Step
from fabfile.text.masking import Token, mask
from making import CA, environment, fresh

TOKEN = Token("abcdef.0123456789abcdef")
NAT = environment(name="aws", kubernetes="1.36")
TUNED = environment(
    name="lab",
    kubelet_config='{"failCgroupV1": false, "featureGates": {"KubeletInUserNamespace": true}}',
    kube_proxy_config='{"conntrack": {"maxPerCore": 0}}',
    containerd_config='{"plugins": {"io.containerd.cri.v1.runtime": {"restrict_oom_score_adj": true}}}',
    ignore_preflight="SystemVerification",
)


@pytest.fixture
def private():
    """A registry with a login, its own CA and two mirrored upstreams."""
    ca = Path(__file__).parent / "recorded" / "registry-ca.crt"
    return environment(
        registry="10.2.0.5:5000",
        registry_user="kubefab",
        registry_password="correct-horse",
        registry_ca=str(ca),
        registry_mirrors="registry.k8s.io,docker.io",
    )


# --- kubeadm


def test_init_of_a_control_plane_behind_nat(golden: Callable[[str, str], None]) -> None:
    golden("init-nat.yaml", recipe_for(NAT).init_config(fresh("cp1"), TOKEN))


def test_init_with_overrides(golden: Callable[[str, str], None]) -> None:
    golden("init-overrides.yaml", recipe_for(TUNED).init_config(fresh("cp1"), TOKEN))


def test_join(golden: Callable[[str, str], None]) -> None:
    golden("join.yaml", recipe_for(NAT).join_config(NAT.workers[0], fresh("ip-10-2-0-11"), TOKEN, CA))


def test_the_token_file(golden: Callable[[str, str], None]) -> None:
    golden("token.yaml", recipe_for(NAT).token_config(TOKEN))


def test_inits_addresses_for_a_cloud_with_nat() -> None:
    """The private address is advertised and the certificate covers the public one: the digest's M1 with today's kubeadm."""
    init, cluster, kubelet, proxy = yaml.safe_load_all(recipe_for(NAT).init_config(fresh("cp1"), TOKEN))
    assert init["localAPIEndpoint"]["advertiseAddress"] == "10.2.0.1"
    assert {"192.0.2.1", "10.2.0.1"} <= set(cluster["apiServer"]["certSANs"])
    assert cluster["controlPlaneEndpoint"] == "10.2.0.1:6443"
    assert init["nodeRegistration"]["kubeletExtraArgs"][0] == {"name": "node-ip", "value": "10.2.0.1"}
    assert cluster["networking"]["podSubnet"] == "10.44.0.0/16"
    assert init["bootstrapTokens"][0]["ttl"] == "30m0s"
    assert {d["apiVersion"] for d in (init, cluster)} == {"kubeadm.k8s.io/v1beta4"}
    assert kubelet["cgroupDriver"] == "systemd"
    assert proxy["kind"] == "KubeProxyConfiguration"


@pytest.mark.parametrize(
    ("resolvers", "expected"),
    [
        (("10.2.0.2",), "/etc/resolv.conf"),
        (("127.0.0.53",), "/run/systemd/resolve/resolv.conf"),
        (("127.0.0.1",), "/etc/resolv.conf"),
        ((), "/etc/resolv.conf"),
    ],
)
def test_nodes_with_systemd_resolved_use_its_upstream_resolver_file(resolvers: tuple[str, ...], expected: str) -> None:
    node = fresh("w1", resolvers=resolvers)
    join = yaml.safe_load(recipe_for(NAT).join_config(NAT.workers[0], node, TOKEN, "sha256:aa"))
    assert {"name": "resolv-conf", "value": expected} in join["nodeRegistration"]["kubeletExtraArgs"]
    init, _, kubelet, _ = yaml.safe_load_all(recipe_for(NAT).init_config(node, TOKEN))
    assert {"name": "resolv-conf", "value": expected} in init["nodeRegistration"]["kubeletExtraArgs"]
    assert "resolvConf" not in kubelet, "that would be every node's"


def test_a_configured_resolver_file_is_used_on_every_node() -> None:
    env = replace(NAT, settings=replace(NAT.settings, kubelet_config={"resolvConf": "/etc/own.conf"}))
    init, _, kubelet, _ = yaml.safe_load_all(recipe_for(env).init_config(fresh("cp1"), TOKEN))
    assert kubelet["resolvConf"] == "/etc/own.conf"
    assert "resolv-conf" not in str(init)


def test_a_node_is_registered_under_its_hostname() -> None:
    document = yaml.safe_load(recipe_for(NAT).join_config(NAT.workers[0], fresh("ip-10-2-0-11"), TOKEN, CA))
    assert document["nodeRegistration"]["name"] == "ip-10-2-0-11"
    assert document["discovery"]["bootstrapToken"] == {
        "token": TOKEN.reveal(),
        "apiServerEndpoint": "10.2.0.1:6443",
        "caCertHashes": [CA],
    }


# --- containerd


def test_containerds_configuration(golden: Callable[[str, str], None]) -> None:
    golden("config.toml", recipe_for(NAT).containerd_config().content)


def test_containerds_configuration_with_overrides(golden: Callable[[str, str], None]) -> None:
    golden("config-overrides.toml", recipe_for(TUNED).containerd_config().content)


def test_containerds_configuration_has_the_values_that_kubeadm_needs() -> None:
    config = tomllib.loads(recipe_for(TUNED).containerd_config().content)
    runtime = config["plugins"]["io.containerd.cri.v1.runtime"]
    assert config["version"] == 3
    assert runtime["containerd"]["runtimes"]["runc"]["options"]["SystemdCgroup"] is True
    assert runtime["restrict_oom_score_adj"] is True, "an override is merged, it does not replace"
    assert "disabled_plugins" not in config, "Docker's package ships containerd with the CRI plugin off"


def test_registry_files(golden: Callable[[str, str], None], private) -> None:
    text = "".join(f"=== {f.path} {f.mode}\n{f.content}" for f in recipe_for(private).registry_files())
    golden("registry.txt", text)


def test_login_and_ca_and_mirrors(private) -> None:
    files = {f.path: f for f in recipe_for(private).registry_files()}
    folder = "/etc/containerd/certs.d"
    assert set(files) == {
        f"{folder}/10.2.0.5:5000/ca.crt",
        *(f"{folder}/{n}/hosts.toml" for n in ("10.2.0.5:5000", "registry.k8s.io", "docker.io")),
    }
    mirror = tomllib.loads(files[f"{folder}/docker.io/hosts.toml"].content)
    assert mirror["server"] == "https://registry-1.docker.io"
    host = mirror["host"]["https://10.2.0.5:5000"]
    assert host["ca"] == f"{folder}/10.2.0.5:5000/ca.crt"
    assert base64.b64decode(host["header"]["Authorization"][0].removeprefix("Basic ")) == b"kubefab:correct-horse"
    assert all(f.mode == "0600" and f.secret for p, f in files.items() if p.endswith(".toml"))
    assert files[f"{folder}/10.2.0.5:5000/ca.crt"].mode == "0644"


def test_a_login_is_masked_in_the_form_in_which_it_is_written(private) -> None:
    recipe_for(private).registry_files()
    assert "a3ViZWZhYjpjb3JyZWN0LWhvcnNl" not in mask("Basic a3ViZWZhYjpjb3JyZWN0LWhvcnNl")


def test_without_a_login_nothing_is_secret() -> None:
    files = recipe_for(environment(registry="r:5000")).registry_files()
    assert [(f.mode, f.secret) for f in files] == [("0644", False)]
    assert recipe_for(environment()).registry_files() == ()


# --- releases


@pytest.mark.parametrize("minor", RELEASES)
def test_a_minor_version_means_its_newest_known_patch(minor: str) -> None:
    found = recipe_for(environment(kubernetes=minor))
    assert found.version == RELEASES[minor][0]
    assert found.version.startswith(f"{minor}.")
    assert found.worker_images[0] == found.pause
    assert all(":" in image for image in found.worker_images)


def test_a_patch_version_is_used_as_it_is() -> None:
    assert recipe_for(environment(kubernetes="1.37.2")).version == "1.37.2"


@pytest.mark.parametrize("release", ["1.20", "2.0", "1.360"])
def test_an_unknown_release_is_a_usage_error_that_lists_the_known(release: str) -> None:
    with pytest.raises(UsageError) as caught:
        recipe_for(environment(kubernetes=release))
    assert "1.36" in caught.value.remedy


def test_every_default_image_is_pinned() -> None:
    for key, spec in KEYS.items():
        if key.endswith("_IMAGE") and spec.default and key != "LEGACY_INFLUX_IMAGE":  # the manual's own words
            name, tag = spec.default.rsplit(":", 1)
            assert tag != "latest", key
            assert "/" in name, "with its registry, so it does not depend on a search order"


# --- packages

FAMILIES = [
    ("debian", (), Apt),
    ("ubuntu", ("debian",), Apt),
    ("rocky", ("rhel",), Dnf),
    ("centos", ("rhel", "fedora"), Dnf),
    ("rhel", ("fedora",), Dnf),
]


@pytest.mark.parametrize(("os_id", "like", "kind"), FAMILIES)
def test_package_families(os_id: str, like: tuple[str, ...], kind: type) -> None:
    assert isinstance(family(fresh(os_id=os_id, os_like=like)), kind)


@pytest.mark.parametrize(("os_id", "codename"), [("debian", "bookworm"), ("ubuntu", "noble"), ("rocky", "")])
def test_repositories(golden: Callable[[str, str], None], os_id: str, codename: str) -> None:
    facts = fresh(os_id=os_id, os_codename=codename)
    packages = family(facts)
    assert packages
    golden(
        f"repositories-{os_id}.txt",
        "".join(f"=== {f.path} {f.mode}\n{f.content}" for f in packages.repository_files(facts, recipe_for(NAT))),
    )


@pytest.mark.parametrize(("arch", "name"), [("x86_64", "amd64"), ("aarch64", "arm64")])
def test_architectures_have_debians_names(arch: str, name: str) -> None:
    files = Apt().repository_files(fresh(arch=arch), recipe_for(NAT))
    assert f"arch={name}" in files[1].content


@pytest.mark.parametrize("os_id", ["debian", "rocky"])
def test_install_commands(golden: Callable[[str, str], None], os_id: str) -> None:
    facts = fresh(os_id=os_id)
    packages = family(facts)
    assert packages
    lines = [
        f"# {s.id}\n" + "\n".join(s.commands) for s in packages.steps(facts, recipe_for(NAT)) if isinstance(s, Step)
    ]
    golden(f"install-{os_id}.sh", "\n".join(lines) + "\n")


# --- small things

JSON = st.recursive(
    st.integers() | st.booleans() | st.text(max_size=3),
    lambda inner: st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.dictionaries(st.text(max_size=2), JSON, max_size=3)


@given(OBJECTS, OBJECTS)
def test_overrides_win_and_keep_the_other_values(base: dict, extra: dict) -> None:
    result = merged(base, extra)
    assert set(result) == set(base) | set(extra)
    assert merged(result, extra) == result
    for key, value in extra.items():
        if not isinstance(value, dict) or not isinstance(base.get(key), dict):
            assert result[key] == value


@given(st.lists(st.text(max_size=5), max_size=4), st.lists(st.text(max_size=5), max_size=4))
def test_different_texts_have_different_digests(one: list[str], other: list[str]) -> None:
    if "\0" not in "".join(one + other):
        assert (digest(*one) == digest(*other)) == (one == other or "\0".join(one) == "\0".join(other))


@pytest.mark.parametrize(
    ("begun", "interrupted", "completed"), [(True, True, True), (True, False, False), (False, True, False)]
)
def test_an_installation_of_ours_that_was_interrupted_is_completed_first(
    tmp_path: Path, begun: bool, interrupted: bool, completed: bool
) -> None:
    """In real bash: dpkg continues only where kubefab's own installation began and dpkg left its work unfinished."""
    env = environment(1)
    facts = fresh("w1")
    packages = family(facts)
    assert packages is not None
    tools = next(step for step in packages.steps(facts, recipe_for(env)) if step.id == "install.tools")
    assert isinstance(tools, Step)
    (tmp_path / "updates").mkdir()
    if interrupted:
        (tmp_path / "updates" / "0001").touch()
    if begun:
        (tmp_path / "note").touch()
    line = tools.commands[0].replace(NOTE, str(tmp_path / "note")).replace("/var/lib/dpkg", str(tmp_path))
    script = f'set -e\ndpkg() {{ echo "dpkg $*"; }}\n{line}\n'
    done = subprocess.run(["bash", "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout == ("dpkg --force-confold --configure -a\n" if completed else "")
