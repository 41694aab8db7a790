"""Each setting: its formats, its default, and its explanation."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabfile.inventory.places import Place
from fabfile.inventory.proxy import Proxy
from fabfile.inventory.settings import DOCKER_DEB_KEY, DOCKER_RPM_KEY, KEYS, Settings, bastion
from fabfile.text.masking import Secret, Token

RECIPIENT = "age10fzukuhwcyv2q6hwjr5kmf7zhgrr9343phh9n2jj6p620r948essmq34tt"
GOOD: list[tuple[str, str, Any]] = [
    ("KUBERNETES", "1.36", "1.36"),
    ("KUBERNETES", "1.36.3", "1.36.3"),
    ("KUBERNETES", "1.5", "1.5"),
    ("POD_CIDR", "10.44.0.0/16", ipaddress.ip_network("10.44.0.0/16")),
    ("POD_CIDR", "fd00:44::/48", ipaddress.ip_network("fd00:44::/48")),
    ("API_PORT", "443", 443),
    ("FORKS", "1", 1),
    ("CONNECT_TIMEOUT", "2.5", 2.5),
    ("RECONNECT_TIMEOUT", "3", 3.0),
    ("FLANNEL_GRACE", "5", 5.0),
    ("FLANNEL_TIMEOUT", "0.5", 0.5),
    ("METRICS_GRACE", "20", 20.0),
    ("DRAIN_TIMEOUT", "15", 15.0),
    ("INFLUXDB_PORT", "30000", 30000),
    ("PACKAGES_URL", "http://172.30.44.3:8080/k8s", "http://172.30.44.3:8080/k8s"),
    ("PROXY", "http://proxy.example:3128", Proxy("proxy.example:3128")),
    ("PROXY", "http://me:p%40ssword@10.0.0.9:3128/", Proxy("10.0.0.9:3128", Secret("me:p%40ssword"))),
    ("PROXY", "", None),
    (
        "NO_PROXY",
        ".corp.example, 10.9.0.0/16 *.x.y mirror:8080 fd00::/8",
        (".corp.example", "10.9.0.0/16", "*.x.y", "mirror:8080", "fd00::/8"),
    ),
    ("REGISTRY", "172.30.44.3:5000", Place("172.30.44.3:5000")),
    ("REGISTRY", "https://registry.example", Place("registry.example")),
    ("REGISTRY", "http://10.0.0.5:5000/", Place("10.0.0.5:5000", "http")),
    ("REGISTRY", "harbor.example/project/k8s", Place("harbor.example", project="project/k8s")),
    ("REGISTRY", "harbor.example/v2/project/k8s", Place("harbor.example", project="project/k8s")),
    ("REGISTRY", "registry.example/v2", Place("registry.example")),
    ("REGISTRY", "[2001:db8::5]:5000/k8s", Place("[2001:db8::5]:5000", project="k8s")),
    (
        "REGISTRY",
        "http://jfrog.example/artifactory/api/v2/k8s",
        Place("jfrog.example", "http", "/artifactory/api", "k8s"),
    ),
    ("REGISTRY", "", None),
    ("REGISTRY_MIRROR_CA", "ghcr.io=a.pem, docker.io=b/c.crt", {"ghcr.io": "a.pem", "docker.io": "b/c.crt"}),
    (
        "REGISTRY_MIRROR_CA",
        "ghcr.io=/my own/a b.pem quay.io:5000=~/c d.crt,x.example=e.pem",
        {"ghcr.io": "/my own/a b.pem", "quay.io:5000": "~/c d.crt", "x.example": "e.pem"},
    ),
    ("SSH_JUMP", "ops@203.0.113.9:2222", "ops@203.0.113.9:2222"),
    ("SSH_JUMP", "bastion", "bastion"),
    ("ETCD_URL", "http://172.30.44.2/etcd", "http://172.30.44.2/etcd"),
    ("ETCD_SHA256", f"{'AB' * 32}, {'cd' * 32}", ("ab" * 32, "cd" * 32)),
    ("BACKUP_RECIPIENT", RECIPIENT, RECIPIENT),
    ("SSH_JUMP", "ops@[2001:db8::9]:2222", "ops@[2001:db8::9]:2222"),
    ("DASHBOARD_PORT", "32767", 32767),
    ("DASHBOARD", "none", "none"),
    ("RETENTION", "0d", "0d"),
    ("RETENTION", "1w2d", "1w2d"),
    ("RETENTION", "INF", "INF"),
    ("RETENTION", "1h", "1h"),
    ("RETENTION", "60m", "60m"),
    ("DNS_DOMAIN", f"{'a' * 63}.local", f"{'a' * 63}.local"),
    ("REGISTRY_MIRRORS", "registry.k8s.io, ghcr.io docker.io", ("registry.k8s.io", "ghcr.io", "docker.io")),
    ("IGNORE_PREFLIGHT", "", ()),
    ("CONTAINERD_KEY_FINGERPRINT", "", ()),
    (
        "CONTAINERD_KEY_FINGERPRINT",
        "9dc8 5822 9fc7 dd38 854a  e2d8 8d81 803c 0ebf cd88, 060A61C51B558A7F742B77AAC52FEB6B621E9F35",
        (DOCKER_DEB_KEY, DOCKER_RPM_KEY),
    ),
    ("KUBELET_CONFIG", '{"maxPods": 50}', {"maxPods": 50}),
    ("SIMULATED", "yes", True),
    ("SIMULATED_WORKERS", "0", 0),
    ("SCHEDULE_ON_CONTROL_PLANE", "no", False),
    ("SIMULATED", "FALSE", False),
    ("TOKEN", "abcdef.0123456789abcdef", Token("abcdef.0123456789abcdef")),
]

BAD = [
    ("KUBERNETES", ""), ("KUBERNETES", "1"), ("KUBERNETES", "v1.36"), ("KUBERNETES", "1.36-rc1"),
    ("POD_CIDR", "10.44.0.0"+"/33"), ("POD_CIDR", "10.44.0.1/16"), ("POD_CIDR", "pods"),
    ("API_PORT", "0"), ("API_PORT", "65536"), ("API_PORT", "-1"), ("API_PORT", "6443.0"),
    ("SCHEDULE_ON_CONTROL_PLANE", "maybe"), ("SIMULATED_WORKERS", "-1"),
    ("FORKS", "-1"), ("FORKS", "two"), ("FORKS", ""),
    ("RECONNECT_TIMEOUT", "0.5"), ("METRICS_GRACE", "0"), ("DRAIN_TIMEOUT", "inf"), ("FLANNEL_TIMEOUT", "-1"),
    ("CONNECT_TIMEOUT", "0"), ("CONNECT_TIMEOUT", "soon"), ("CONNECT_TIMEOUT", "nan"), ("CONNECT_TIMEOUT", "inf"), ("API_PORT", "²"),
    ("PACKAGES_URL", ""), ("PACKAGES_URL", "pkgs.k8s.io"), ("MANIFESTS_URL", "https:///x"), ("FLANNEL_IMAGE", ""), ("DNS_DOMAIN", "a b"),
    ("PROXY", "proxy.example:3128"), ("PROXY", "http://proxy.example"), ("PROXY", "https://proxy.example:3128"), ("PROXY", "socks5://p:1"),
    ("PROXY", "http://me:a$(b)c@p:3128"), ("PROXY", "http://me:abc@p:3128"), ("PROXY", "http://p:70000"), ("PROXY", "http://p:1/x"),
    ("NO_PROXY", "*"), ("NO_PROXY", "http://x"), ("NO_PROXY", "a;b"), ("NO_PROXY", "$(x)"),
    ("REGISTRY", "ftp://registry.example"), ("REGISTRY", "me:word@registry.example"), ("REGISTRY", "registry.example/Project"),
    ("REGISTRY", "registry.example:70000"), ("REGISTRY", "registry.example//k8s"), ("REGISTRY", "registry.example/../v2"),
    ("REGISTRY_MIRRORS", "ghcr.io=ftp://x"), ("REGISTRY_MIRRORS", "ghcr.io="), ("REGISTRY_MIRROR_CA", "ghcr.io"),
    ("SSH_JUMP", "me@host:ssh"), ("SSH_JUMP", "::::"),
    ("INFLUXDB_PORT", "29999"), ("DASHBOARD_PORT", "32768"),
    ("DNS_DOMAIN", "my_cluster.local"), ("DNS_DOMAIN", "Cluster.Local"), ("DNS_DOMAIN", f"{'a' * 64}.local"), ("DNS_DOMAIN", "-a.local"), ("DNS_DOMAIN", ".local"),
    ("DNS_DOMAIN", "a..local"), ("DNS_DOMAIN", "cluster.local."), ("DNS_DOMAIN", ".".join(["a" * 60] * 3)), ("RETENTION", "30 d"),
    ("ETCD_SHA256", "ab"), ("ETCD_SHA256", "g" * 64), ("ETCD_URL", "github.com/etcd-io"), ("BACKUP_RECIPIENT", RECIPIENT[:-1]),
    ("BACKUP_RECIPIENT", RECIPIENT.upper()), ("BACKUP_RECIPIENT", "AGE-SECRET-KEY-1" + "Q" * 58), ("BACKUP_RECIPIENT", "ssh-ed25519 AAAA"),
    ("DASHBOARD", "Headlamp"), ("RETENTION", "30"), ("RETENTION", "d"), ("RETENTION", "30m"), ("RETENTION", "59m59s"), ("RETENTION", "99999999w"), ("RETENTION", "1" * 400 + "d"),
    ("KUBELET_CONFIG", "maxPods: 50"), ("KUBELET_CONFIG", "null"), ("KUBELET_CONFIG", "[" * 100_000),
    ("SIMULATED", ""), ("TOKEN", "abcdef.0123456789abcde"), ("TOKEN", "abcdef0123456789abcdef"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "text", "value"), GOOD)
def test_a_good_value_is_read(key: str, text: str, value: Any) -> None:
    assert KEYS[key].metadata["parse"](text) == value


@pytest.mark.parametrize(("key", "text"), BAD)
def test_a_bad_value_is_refused(key: str, text: str) -> None:
    with pytest.raises(ValueError):
        KEYS[key].metadata["parse"](text)


@pytest.mark.parametrize("key", KEYS)
def test_every_key_is_explained_and_has_a_default(key: str) -> None:
    assert len(KEYS[key].metadata["about"]) >= 8
    getattr(Settings(), key.lower())


def test_only_secrets_are_secret() -> None:
    assert {key for key, spec in KEYS.items() if spec.metadata["secret"]} == {"PROXY", "REGISTRY_PASSWORD", "TOKEN"}


@given(st.sampled_from(sorted(KEYS)), st.text(max_size=40))
def test_any_text_gives_a_value_or_a_value_error(key: str, text: str) -> None:
    try:
        KEYS[key].metadata["parse"](text)
    except ValueError as error:
        assert str(error)


def test_a_refused_secret_is_not_quoted() -> None:
    with pytest.raises(ValueError) as caught:
        KEYS["TOKEN"].metadata["parse"]("hunter2hunter2")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(("text", "parts"), [
    ("bastion", ("", "bastion", 0)),
    ("ops@203.0.113.9", ("ops", "203.0.113.9", 0)),
    ("203.0.113.9:2222", ("", "203.0.113.9", 2222)),
    ("ops@[2001:db8::9]", ("ops", "2001:db8::9", 0)),
    ("[2001:db8::9]:2222", ("", "2001:db8::9", 2222)),
])  # fmt: skip
def test_a_bastion_is_split_into_its_parts(text: str, parts: tuple[str, str, int]) -> None:
    assert bastion(text) == parts


# kubernetes.io and kubeadm's validation.go: IsDNS1123Subdomain; DNS itself: RFC 1035, 2.3.4.
SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


@given(
    st.text(st.sampled_from("aZ0-._"), max_size=8).map(lambda end: f"cluster{end}")
    | st.integers(50, 300).map(lambda n: "a" * n)
)
def test_no_domain_is_accepted_that_kubeadm_or_dns_refuses(text: str) -> None:
    try:
        domain = KEYS["DNS_DOMAIN"].metadata["parse"](text)
    except ValueError:
        return
    longest = f"{'s' * 63}.{'n' * 63}.svc.{domain}"
    assert SUBDOMAIN.fullmatch(domain) and len(longest) <= 253 and max(map(len, domain.split("."))) <= 63


@given(
    st.lists(
        st.tuples(st.integers(0, 10**7), st.sampled_from(["ns", "u", "ms", "s", "m", "h", "d", "w"])),
        min_size=1,
        max_size=3,
    )
)
def test_no_retention_is_accepted_that_influxdb_refuses(parts: list[tuple[int, str]]) -> None:
    nanoseconds = {
        "ns": 1,
        "u": 10**3,
        "ms": 10**6,
        "s": 10**9,
        "m": 60 * 10**9,
        "h": 3600 * 10**9,
        "d": 86400 * 10**9,
        "w": 604800 * 10**9,
    }
    total = sum(count * nanoseconds[unit] for count, unit in parts)
    try:
        KEYS["RETENTION"].metadata["parse"]("".join(f"{count}{unit}" for count, unit in parts))
    except ValueError:
        assert 0 < total < 3600 * 10**9 or total > 2**62, "all others are InfluxDB's own"
    else:
        assert total == 0 or 3600 * 10**9 <= total < 2**63
