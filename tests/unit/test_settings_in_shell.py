"""No setting is ever run as shell: any value that the inventory accepts is part of a single word in every rendered script."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st

from fabfile.context import Choices
from fabfile.inventory import Environment
from fabfile.inventory import places as forms
from fabfile.inventory import settings as written
from fabfile.inventory.settings import KEYS
from fabfile.phases import EVERY, for_release
from fabfile.steps import Action, File, Step, Stop, Wait
from fabfile.views.doctor.questions import doctor_script, questions
from fabfile.views.verify import proof
from making import context, control_plane, environment, fresh, installed, member
from rehearsal.bash import Literal, parse

# Each free-text setting, with a typical value that has no shell characters.
BENIGN = {
    "PACKAGES_URL": "https://canary.example/k8s", "CONTAINERD_URL": "https://canary.example/docker", "MANIFESTS_URL": "http://canary.example/m",
    "LEGACY_KEY_URL": "http://canary.example/key", "LEGACY_PACKAGES_URL": "http://canary.example/apt", "LEGACY_DAEMON_URL": "http://canary.example/daemon",
    "LEGACY_SUITE": "canary main", "LEGACY_INFLUX_IMAGE": "canary.example/influx:1", "FLANNEL_IMAGE": "canary.example/flannel:1",
    "FLANNEL_CNI_IMAGE": "canary.example/cni:1", "DASHBOARD_IMAGE": "canary.example/ui:1", "INFLUXDB_IMAGE": "canary.example/influxdb:1",
    "TELEGRAF_IMAGE": "canary.example/telegraf:1", "PROBE_IMAGE": "canary.example/probe:1", "REGISTRY": "canary.example:5000",
    "REGISTRY_MIRRORS": "canary.example", "PROXY": "http://canary.example:3128", "NO_PROXY": ".canary.corp", "REGISTRY_USER": "canary-me", "REGISTRY_PASSWORD": "canary-word", "DNS_DOMAIN": "canary.local",
    "IGNORE_PREFLIGHT": "CanaryCheck", "RETENTION": "77d", "ETCD_URL": "https://canary.example/etcd",
}  # fmt: skip
EVIL = (
    "https://m.example/$(touch${IFS}/tmp/pwn1);…", "https://m.example/x&y", "https://m.example/?a=1&b=2", "https://m.example/$(touch$IFS/tmp/pwn)",
    "https://m.example/a;reboot", "https://m.example/(a)*'b'", "https://m.example/`reboot`", "https://m.example/a b", "http://m.example/'$(reboot)'",
    "Swap;touch${IFS}/tmp/pwn3", "Swap,$(reboot)", "i;reboot", "canary.example/$(reboot):1", "canary.example/a:1;reboot", "../../../etc/x", "https://ghcr.io",
    "a b;c", "$(reboot)", "`reboot`", "'", '"', "a\nb", "a'b", "x;y", "-rf", "77d;reboot",
)  # fmt: skip
DOCTORS = [
    "control_plane",
    "toward",
    "folders",
    "urls",
    "registries",
    "names",
    "registry",
    "registry_curl",
    "registry_ca",
    "canary",
    "key_url",
    "keyrings",
    "proxy",
    "without_proxy",
]
GRAMMAR = {
    "URL": written._URL,
    "IMAGE": rf"canary\.example/{forms.COMPONENT}:[\w][\w.-]{{0,20}}",
    "REGISTRY": forms.AUTHORITY,
    "MIRRORS": forms.AUTHORITY,
}


def test_every_free_text_setting_is_listed() -> None:
    """Numbers, networks, choices, tokens, fingerprints, JSON and file names (which no node sees) have formats without shell characters."""
    rest = {
        "KUBERNETES", "POD_CIDR", "SERVICE_CIDR", "NODE_CIDR", "API_PORT", "SSH_USER", "SSH_PORT", "SSH_KEY", "SSH_JUMP", "CONNECT_TIMEOUT", "FORKS",
        "RECONNECT_TIMEOUT", "FLANNEL_TIMEOUT", "DRAIN_TIMEOUT", "METRICS_GRACE",
        "PACKAGES_KEY_FINGERPRINT", "CONTAINERD_KEY_FINGERPRINT", "REGISTRY_CA", "REGISTRY_MIRROR_CA", "IMAGE_DIGESTS", "IMAGE_DIGESTS_STRICT", "FLANNEL_GRACE", "DASHBOARD",
        "DASHBOARD_PORT", "INFLUXDB_PORT", "KUBELET_CONFIG", "KUBE_PROXY_CONFIG", "CONTAINERD_CONFIG", "TOKEN", "SIMULATED", "SIMULATED_WORKERS", "INFLUXDB_LOGIN",
        "RETENTION_SHORTEN", "SCHEDULE_ON_CONTROL_PLANE",
        "BACKUP_RECIPIENT", "ETCD_SHA256",
    }  # fmt: skip
    assert set(KEYS) == rest | set(BENIGN), "a new setting: is it a word in some script?"


def made(key: str, text: str, manual: bool) -> Environment:
    texts = {
        "registry": "reg.example:5000",
        "registry_user": "me",
        "registry_password": "a-long-word",
        key.lower(): text,
    }
    return environment(1, **texts, **({"kubernetes": "1.5", "token": "abcdef.0123456789abcdef"} if manual else {}))


def actions(env: Environment) -> Iterator[Action]:
    """The actions of all phases and of reset for new, unfinished, finished and foreign machines of both OS families."""
    manual = env.settings.release.name == "legacy"
    if manual:
        bare = [replace(fresh(n), os_id="ubuntu", os_version="16.04", systemd=True) for n in ("cp1", "w1")]
        up = replace(
            bare[0], packages={"docker.io": "1", "kubeadm": "1.5"}, api_ready=True, undo=frozenset({"started", "done"})
        )
        machines = [*bare, up]
    else:
        rocky = fresh("w1", os_id="rocky", os_like=("rhel",), os_version="9.6", os_codename="")
        up = control_plane(env)
        machines = [
            fresh("cp1"),
            fresh("w1"),
            rocky,
            installed(env, "cp1"),
            installed(env, "w1"),
            up,
            member(env, "w1", links={}),
        ]
    for facts in machines:
        ctx = context(env, facts, control=up, choices=Choices(purge=True))
        for phase in for_release(env, list(EVERY.values())):
            if ctx.node.role in phase.roles:
                yield from phase.run(ctx)


PROBE = proof.ProbePod("probe-1", "w1", "10.44.1.5", True)


def texts_of(env: Environment) -> tuple[list[str], list[File]]:
    """Every shell line and every file that goes to a node."""
    lines: list[str] = []
    files: list[File] = []
    for action in actions(env):
        if isinstance(action, Step):
            lines += action.commands
            files += action.files
        elif isinstance(action, Wait):
            lines += [action.probe, *action.evidence, *(line for remedy in action.remedies for line in remedy.commands)]
        else:
            assert isinstance(action, Stop)
    lines += [
        line
        for line in proof.inside("w1", [PROBE], "10.96.0.9", "ns", env.settings.dns_domain).splitlines()
        if "svc." in line and "$((" not in line
    ]
    return lines, files


def shape(tree: Any, value: str, into: str) -> Any:
    """The syntax tree with `value` replaced in its words, whatever their quotes; asserts that no quoting is missing around it."""
    if isinstance(tree, tuple):
        parts: list[Any] = []
        for part in tree:
            if isinstance(part, Literal):
                if not part.quoted and value in part.text:
                    assert shlex.quote(value) == value, f"unquoted: {part.text}"
                if parts and isinstance(parts[-1], str):
                    parts[-1] += part.text
                else:
                    parts.append(part.text)
            else:
                parts.append(shape(part, value, into))
        return tuple(part.replace(value, into) if isinstance(part, str) else part for part in parts)
    if is_dataclass(tree):
        return (type(tree).__name__, *(shape(getattr(tree, f.name), value, into) for f in fields(tree)))
    return tree.replace(value, into) if isinstance(tree, str) else tree


@cache
def ours(key: str, manual: bool) -> list[str]:
    """The words that the scripts contain anyway: a value equal to one of them cannot be recognised."""
    lines, files = texts_of(made(key, BENIGN[key], manual))
    return [*lines, *(f.path for f in files)]


@cache
def benign(key: str, manual: bool) -> tuple[list[str], list[tuple[str, int]]]:
    lines, files = texts_of(made(key, BENIGN[key], manual))
    return lines, [(f.path.replace(BENIGN[key], "CANARY"), f.content.count("\n")) for f in files]


@cache
def benign_shape(key: str, line: str) -> Any:
    return shape(parse(line), BENIGN[key], "CANARY")


def values(key: str) -> st.SearchStrategy[str]:
    grammar = next((GRAMMAR[end] for end in GRAMMAR if key.endswith(end)), "")
    written = st.text(st.characters(codec="ascii"), min_size=1, max_size=12)
    return st.one_of(
        *([st.from_regex(re.compile(grammar, re.A), fullmatch=True)] * bool(grammar)), st.sampled_from(EVIL), written
    )


def recipes(key: str) -> tuple[bool, ...]:
    """The recipes that use a setting: the manual's, today's, or both."""
    return (True,) if key.startswith(("LEGACY", "MANIFESTS")) else (False, True) if key == "RETENTION" else (False,)


def accepted(key: str, text: str) -> bool:
    try:
        KEYS[key].metadata["parse"](text)
    except ValueError:
        return False
    return True


def listed_otherwise(key: str, text: str) -> bool:
    """Whether the text is not what is written: `a b` names two mirrors, and of a registry host, path and scheme have their own places."""
    value = KEYS[key].metadata["parse"](text)
    if isinstance(value, forms.Place) or (key == "REGISTRY_MIRRORS" and "=" in text):
        return value != forms.Place(text)
    return isinstance(value, tuple) and value != (text,)


def same_in_every_script(key: str, text: str) -> None:
    for manual in recipes(key):
        lines, files = texts_of(made(key, text, manual))
        others, written = benign(key, manual)
        # what is the same line with either value, and has neither, does not depend on it
        differ = [
            pair
            for pair in zip(lines, others, strict=True)
            if len({*pair}) == 2 or text in pair[0] or BENIGN[key] in pair[0]
        ]
        assert [shape(parse(line), text, "CANARY") for line, _ in differ] == [
            benign_shape(key, line) for _, line in differ
        ]
        assert [(f.path.replace(text, "CANARY"), f.content.count("\n")) for f in files] == written, (
            "and no value starts a new line in a file"
        )
    env = made(key, text, manual=False)
    head = (
        doctor_script(env, env.workers[0], questions(env, "debian", "bookworm"))
        .partition("\nexport ")[0]
        .partition('"$0"\n')[2]
    )
    assert [word.partition("=")[0] for word in shlex.split(head)] == DOCTORS, "the doctor's variables, one word each"


@settings(max_examples=24, phases=[Phase.explicit, Phase.generate], deadline=None)  # each renders both recipes
@given(st.data())
def test_an_accepted_value_is_a_single_word_in_every_script(data: st.DataObject) -> None:
    key = data.draw(st.sampled_from(sorted(BENIGN)))
    text = data.draw(values(key))
    assume(
        accepted(key, text)
        and not listed_otherwise(key, text)
        and not any(text in line for manual in recipes(key) for line in ours(key, manual))
    )
    same_in_every_script(key, text)


@pytest.mark.parametrize(("key", "text"), [
    ("PACKAGES_URL", "https://m.example/?a=1&b=2"), ("PACKAGES_URL", "https://m.example/$(touch$IFS/tmp/pwn)"), ("PACKAGES_URL", "https://m.example/a;'b'(c)*"),
    ("CONTAINERD_URL", "https://m.example/x&y"), ("CONTAINERD_URL", "https://[2001:db8::1]:8443/a?b=$c"), ("MANIFESTS_URL", "http://m.example/a;b?c&d"),
    ("LEGACY_KEY_URL", "http://m.example/?a=$(b)&c"), ("LEGACY_DAEMON_URL", "http://m.example/?a='b'"), ("REGISTRY_PASSWORD", "$(reboot)`x`';\"\\ & |"),
    ("REGISTRY_USER", "o'brien$(id)"), ("REGISTRY", "[2001:db8::1]:5000"), ("REGISTRY_MIRRORS", "[2001:db8::1]:5000"),
])  # fmt: skip
def test_a_value_with_shell_characters_is_a_single_word_too(key: str, text: str) -> None:
    same_in_every_script(key, text)


REFUSED = [
    ("PACKAGES_URL", "https://m.example/$(touch${IFS}/tmp/pwn1);…"), ("PACKAGES_URL", "https://m.example/a b"), ("PACKAGES_URL", "https://m.example/`id`"),
    ("PACKAGES_URL", "https://m.example/a\nb"), ("PACKAGES_URL", 'https://m.example/"'), ("PACKAGES_URL", "https://m.example/a#b"),
    ("PACKAGES_URL", "https://m.example/a|b"), ("PACKAGES_URL", "https://m.example/{a,b}"), ("PACKAGES_URL", "https://m.example/[1-9]"),
    ("IGNORE_PREFLIGHT", "Swap;touch${IFS}/tmp/pwn3"), ("IGNORE_PREFLIGHT", "--config=/x"), ("LEGACY_INFLUX_IMAGE", "i;reboot"),
    ("FLANNEL_IMAGE", "a/B:1"), ("FLANNEL_IMAGE", "a//b"), ("FLANNEL_IMAGE", "a@sha256:12"), ("FLANNEL_IMAGE", "-a"), ("DNS_DOMAIN", "cluster.local;x"),
    ("REGISTRY_MIRRORS", "../../x"), ("REGISTRY_MIRRORS", "ghcr.io/x"), ("REGISTRY_MIRRORS", ".."), ("REGISTRY", ".."), ("REGISTRY", "a/../b"),
    ("LEGACY_SUITE", "xenial\nmain"), ("LEGACY_SUITE", "a  b"), ("REGISTRY_USER", "a:b"), ("REGISTRY_USER", "a\nb"), ("KUBERNETES", "1.٣٦"), ("RETENTION", "٣d"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "text"), REFUSED)
def test_an_impossible_value_is_refused(key: str, text: str) -> None:
    assert not accepted(key, text)


@pytest.mark.parametrize(("key", "text"), [
    ("FLANNEL_IMAGE", "busybox"), ("FLANNEL_IMAGE", "localhost:5000/a/b_c/d--e.f:v1.0_x-2"), ("FLANNEL_IMAGE", f"ghcr.io/a/b:1@sha256:{'a' * 64}"),
    ("FLANNEL_IMAGE", f"r.example/a@sha256:{'0' * 64}"), ("FLANNEL_IMAGE", "[2001:db8::1]:5000/a:1"), ("IGNORE_PREFLIGHT", "Mem,Port-6443,FileAvailable--etc-kubernetes-manifests-etcd.yaml"),
    ("PACKAGES_URL", "https://m.example"), ("PACKAGES_URL", "https://m.example:8443/a/b%20c/@x?a=1&b=2"), ("DNS_DOMAIN", "k8s.example.org"), ("LEGACY_SUITE", "xenial/updates main universe"),
])  # fmt: skip
def test_an_ordinary_value_is_accepted(key: str, text: str) -> None:
    assert accepted(key, text)


@pytest.mark.parametrize("key", [key for key in BENIGN if key.endswith("_URL")])
def test_a_login_in_an_address_is_refused_and_not_repeated(key: str) -> None:
    for url in (
        "https://bob:s3cretpw@mirror.example",
        "http://bob:s3cret/pw@mirror.example/x",
        "https://s3cretpw@mirror.example/k8s",
    ):
        with pytest.raises(ValueError) as caught:
            KEYS[key].metadata["parse"](url)
        assert "s3cret" not in str(caught.value)
    with pytest.raises(ValueError, match="holds a login"):
        KEYS[key].metadata["parse"]("HTTPS://bob:s3cretpw@mirror.example")


def test_a_mirror_with_a_scheme_is_refused_with_a_message() -> None:
    with pytest.raises(
        ValueError, match=r"'https://ghcr\.io': the registry's name alone, without https://, like ghcr\.io"
    ):
        KEYS["REGISTRY_MIRRORS"].metadata["parse"]("registry.k8s.io https://ghcr.io")


def test_command_lines_run_nothing_from_a_setting(tmp_path: Path) -> None:
    """In real bash, with a stand-in for each program of the install and registry steps, and a folder for each path of the node."""
    evil = "$(touch$IFS$PWN);touch$IFS$PWN&touch$IFS$PWN"
    env = environment(
        1,
        packages_url=f"https://m.example/{evil}",
        containerd_url=f"https://m.example/?a={evil}",
        registry="r.example:5000",
    )
    lines = [line for facts in (fresh("w1"), fresh("w1", os_id="rocky", os_version="9")) for name in ("install", "registry")
             for a in EVERY[name].run(context(env, facts)) if isinstance(a, Step) for line in a.commands]  # fmt: skip
    programs = [
        "curl",
        "gpg",
        "install",
        "apt-get",
        "apt-mark",
        "rpm",
        "dnf",
        "crictl",
        "systemctl",
        "getenforce",
        "setenforce",
        "sed",
        "mktemp",
        "cp",
        "rm",
    ]
    stubs = "".join(f"{name}() {{ printf '%s\\n' \"$*\" >>{tmp_path}/seen; }}\n" for name in programs)
    script = stubs + "".join(
        f"( {re.sub('(?<![^ =>(])/(?=etc/|var/|usr/|root/|run/)', f'{tmp_path}/', line)}\n)\n" for line in lines
    )
    subprocess.run(
        [shutil.which("bash") or "bash", "-c", script],
        check=False,
        capture_output=True,
        env={"PATH": "/nothing", "PWN": str(tmp_path / "pwn")},
        cwd=tmp_path,
    )
    assert not (tmp_path / "pwn").exists()
    assert evil in (tmp_path / "seen").read_text(), "curl was given the address as one word"
