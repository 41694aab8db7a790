"""Certificates and addresses that keep a node or an operator out: what is said of each, and the commands that help."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from fabfile.nodes.facts import API_CERTIFICATE, CERTIFICATES, KUBELET_CERTIFICATE, Certificate, Link, NodeFacts, Unit
from fabfile.nodes.observe import parse_certificates, parse_configured, parse_running
from fabfile.phases import JOIN, MASTER
from fabfile.phases.certificates import unnamed
from fabfile.recipes.kubeadm import recipe_for
from fabfile.steps import Stop
from making import bare, context, control_plane, environment, ids, member

ENV = environment()
NOW = 1_800_000_000.0
DAY = 86400.0
OFF = {"kubelet": Unit(False, True)}


def pem(ends: datetime, names: list[str]) -> str:
    key = Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")])
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, ends - timedelta(days=365), ends)
    if names:
        sans = [x509.IPAddress(ip_address(n)) if n[0].isdigit() else x509.DNSName(n) for n in names]
        made = made.add_extension(x509.SubjectAlternativeName(sans), critical=False)
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return made.sign(key, None).public_bytes(Encoding.PEM).decode() + secret


def test_certificates_are_read_from_pem_and_what_cannot_be_read_is_left_out() -> None:
    ends = datetime(2027, 1, 15, 8, tzinfo=UTC)
    text = f"file {API_CERTIFICATE}\n{pem(ends, ['kubernetes', '10.2.0.1'])}file {KUBELET_CERTIFICATE}\n{pem(ends, [])}"
    assert without(parse_certificates(text, CERTIFICATES)) == {
        API_CERTIFICATE: Certificate(ends.timestamp(), ("kubernetes", "10.2.0.1"), ends.timestamp() - 365 * DAY),
        KUBELET_CERTIFICATE: Certificate(ends.timestamp(), begins=ends.timestamp() - 365 * DAY),
    }
    assert (
        parse_certificates(
            f"file {API_CERTIFICATE}\n-----BEGIN CERTIFICATE-----\nAAAA\nfile /etc/shadow\n{pem(ends, [])}",
            CERTIFICATES,
        )
        == {}
    )
    assert parse_certificates("", CERTIFICATES) == {}
    shown = parse_certificates(f"file 127.0.0.1:2379\n{pem(ends, [])}file $(x):1\n{pem(ends, [])}")
    assert list(shown) == ["127.0.0.1:2379"]


ONE = {
    "metadata": {"name": "etcd"},
    "state": "CONTAINER_RUNNING",
    "createdAt": "1800000000500000000",
    "labels": {"io.kubernetes.pod.name": "etcd-cp1"},
}


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, {"etcd": NOW + 0.5}),
        ({"state": "CONTAINER_EXITED"}, {}),
        ({"labels": {"io.kubernetes.pod.name": "etcd-backup-x"}}, {}),
        ({"labels": None}, {}),
        ({"createdAt": "9" * 400}, {}),
        ({"createdAt": "soon"}, {}),
        ({"metadata": {"name": ["etcd"]}}, {}),
    ],
)
def test_only_the_machines_own_static_pods_that_run_count(changes: dict[str, object], wanted: dict[str, float]) -> None:
    assert parse_running(json.dumps({"containers": [{**ONE, **changes}]}), "cp1") == wanted


@pytest.mark.parametrize("text", ["", "null", "[]", "x: [", "{" * 3000, "kind: Pod", "kind: ClusterConfiguration\napiServer: 5",
                                  "kind: ClusterConfiguration\napiServer: {certSANs: x}", "\x00"])  # fmt: skip
def test_what_is_no_configuration_of_kubeadm_counts_as_not_read(text: str) -> None:
    assert parse_configured(text) == {} and parse_running(text, "cp1") == {}
    assert parse_configured("kind: ClusterConfiguration\nclusterName: x\n")["clusterName"] == "x"


def without(found: dict[str, Certificate]) -> dict[str, Certificate]:
    """The certificates without their digests."""
    assert all(one.digest for one in found.values())
    return {path: replace(one, digest="") for path, one in found.items()}


def ended(days: float) -> dict[str, Certificate]:
    return {KUBELET_CERTIFICATE: Certificate(NOW - days * DAY)}


def down(name: str, **changes: object) -> NodeFacts:
    """A member after a boot: its kubelet does not run, and on the control plane nothing answers."""
    if name == "cp1":
        facts = control_plane(ENV, units=OFF, api_ready=False, nodes=(), uid="")
    else:
        facts = member(ENV, name, units=OFF)
    return replace(facts, now=NOW, **changes)  # type: ignore[arg-type]


LINKS = {
    "eth0": Link("eth0", ("10.2.0.60/16",)),
    "cni0": Link("cni0", ("10.44.0.1/24",)),
    "lo": Link("lo", ("127.0.0.1/8",)),
}
ROWS = [
    # node, what is different: what stops it
    ("w1", {}, ""),
    ("w1", {"certificates": ended(-1)}, ""),
    ("w1", {"certificates": ended(3)}, "join.certificate"),
    ("w1", {"links": LINKS}, "join.address"),
    ("cp1", {}, ""),
    ("cp1", {"certificates": ended(-1)}, ""),
    ("cp1", {"certificates": ended(3)}, "master.certificate"),
    ("cp1", {"links": LINKS}, "master.address"),
    ("cp1", {"links": LINKS, "certificates": ended(3)}, "master.address"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "changes", "wanted"), ROWS)
def test_a_member_that_cannot_start_is_told_apart_from_one_that_only_has_to(
    name: str, changes: dict[str, object], wanted: str
) -> None:
    above = control_plane(ENV, members=("cp1",))
    facts = down(name, **changes)
    actions = list(
        bare(MASTER if name == "cp1" else JOIN)(context(ENV, facts, control=facts if name == "cp1" else above))
    )
    stops = [a for a in actions if isinstance(a, Stop)]
    assert [stop.id for stop in stops] == ([wanted] if wanted else [])
    kubelet = "master.kubelet" if name == "cp1" else "join.kubelet"
    assert (kubelet in ids(actions)) == (not wanted), "otherwise it would be waited for in vain"
    for stop in stops:
        if stop.id.endswith("address"):
            address = "10.2.0.1 " if name == "cp1" else "10.2.0.11 "
            assert (
                f"the address {address.strip()}, and no interface has it any more; this machine has 10.2.0.60"
                in stop.reason
            )
            assert f"give it {address}back" in stop.remedy
        elif name == "w1":
            assert stop.remedy == "`inv cluster.renew --env test`, then run this again"
        assert "2027-01-12" in stop.reason or not stop.id.endswith("certificate")


def test_a_ready_worker_is_asked_for_nothing() -> None:
    above = control_plane(ENV, members=("cp1", "w1"))
    facts = replace(member(ENV), now=NOW, certificates=ended(3), links={**member(ENV).links, **LINKS})
    assert not [
        a for a in bare(JOIN)(context(ENV, facts, control=above)) if a.id.endswith((".certificate", ".address"))
    ]


def test_an_api_whose_certificate_ended_is_not_waited_for() -> None:
    found = {API_CERTIFICATE: Certificate(NOW - DAY, ("kubernetes",))}
    (stop,) = bare(MASTER)(context(ENV, down("cp1", certificates=found)))
    assert isinstance(stop, Stop) and "the API's certificate ended on" in stop.reason
    assert stop.remedy == "`inv cluster.renew --env test`, then run this again"


NAMES = ("kubernetes", "kubernetes.default.svc.cluster.local", "cp1", "10.96.0.1", "10.2.0.1")


@pytest.mark.parametrize(
    ("names", "lacks"),
    [((*NAMES, "192.0.2.1"), False), (NAMES, True), ((), False)],
    ids=["it has it", "it lacks it", "unknown"],
)
def test_an_api_certificate_without_the_dialled_address_is_named_with_the_command(
    names: tuple[str, ...], lacks: bool
) -> None:
    control = control_plane(ENV, certificates={API_CERTIFICATE: Certificate(NOW, names)} if names else {})
    found = unnamed(recipe_for(ENV), control)
    assert (found is not None) == lacks
    if found:
        assert "is for kubernetes, " in found[0] and "not for 192.0.2.1" in found[0]
        assert found[1] == "`inv cluster.renew --env test` adds it, then run this again"


def test_an_alias_of_ssh_is_no_name_that_kubectl_dials() -> None:
    aliased = replace(ENV, control_planes=(replace(ENV.control_plane, host="prod-master"),))
    control = control_plane(ENV, certificates={API_CERTIFICATE: Certificate(NOW, NAMES)})
    assert unnamed(recipe_for(aliased), control) is None
    named = replace(ENV, control_planes=(replace(ENV.control_plane, host="API.example.com"),))
    assert "not for API.example.com" in (unnamed(recipe_for(named), control) or ("",))[0]


@pytest.mark.parametrize(
    ("lasted", "authority", "wanted"),
    [
        (600, "/etc/kubernetes/pki/ca.crt", "600s"),
        (90 * 86400, "/etc/kubernetes/pki/ca.crt", "7776000s"),
        (8760 * 3600, "/etc/kubernetes/pki/ca.crt", None),
        (20 * 8760 * 3600, "/etc/kubernetes/pki/ca.crt", None),
        (-300, "/etc/kubernetes/pki/ca.crt", None),
        (600, "", None),
    ],
)
def test_where_kubeadms_configuration_cannot_be_read_a_shorter_validity_is_the_old_certificates(
    lasted: float, authority: str, wanted: str | None
) -> None:
    """Never longer than kubeadm's own, and never by a certificate that is not the cluster's. kubeadm sets the beginning back five minutes."""
    env = environment(workers=0)
    old = Certificate(1e9 + lasted, begins=1e9 - 300, authority=authority)
    dead = replace(control_plane(env), api_ready=False, certificates={API_CERTIFICATE: old}, configured={})
    for facts, validity in ((dead, wanted), (replace(dead, configured={"networking": {}}), None)):
        _, cluster = yaml.safe_load_all(recipe_for(env).certificate_config(facts))
        assert cluster.get("certificateValidityPeriod") == validity
