"""Every certificate that kubeadm made has really ended, and both kinds of node were off: one command renews all of them, while pods answer."""

from __future__ import annotations

import base64
import re
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from lab_bed import Lab

PKI, CONF = "/etc/kubernetes/pki", "/etc/kubernetes"
CURRENT = "/var/lib/kubelet/pki/kubelet-client-current.pem"
FILES = {
    **{f"{PKI}/{name}.crt": f"{PKI}/ca" for name in ("apiserver", "apiserver-kubelet-client")},
    f"{PKI}/front-proxy-client.crt": f"{PKI}/front-proxy-ca",
    **{f"{PKI}/{name}.crt": f"{PKI}/etcd/ca" for name in ("apiserver-etcd-client", "etcd/server", "etcd/peer", "etcd/healthcheck-client")},
    **{f"{CONF}/{name}.conf": f"{PKI}/ca" for name in ("admin", "super-admin", "controller-manager", "scheduler")},
    CURRENT: f"{PKI}/ca",
}  # fmt: skip
# Where a renewal is killed, one run after the other: before and after each kind of change, on cp1 and then on w2.
_STEPS = (
    "renew.admin", "renew.kubelet", "renew.etcd", "renew.etcd.restart", "renew.kube-apiserver.restart", "renew.kube-controller-manager",
    "renew.kube-scheduler.restart", "renew.kubelet.conf", "renew.token",
)  # fmt: skip
_PODS = "crictl pods -q --state ready --label io.kubernetes.pod.namespace=asked | sort"
_CERTIFICATE = "openssl x509 -noout -enddate -fingerprint -sha256"
PORTS = {"127.0.0.1:6443": f"{PKI}/apiserver.crt", "127.0.0.1:2379": f"{PKI}/etcd/server.crt"}


def again(pem: str, authority: str, ends: datetime) -> tuple[str, str]:
    """The same certificate with another key and end, signed by the authority (certificate and key in PEM)."""
    old, above = x509.load_pem_x509_certificate(pem.encode()), x509.load_pem_x509_certificate(authority.encode())
    signer = load_pem_private_key(authority[authority.index("-----BEGIN RSA") :].encode(), None)
    assert isinstance(signer, rsa.RSAPrivateKey)
    key = rsa.generate_private_key(65537, 2048)
    serial = x509.random_serial_number()
    built = x509.CertificateBuilder(
        above.subject, old.subject, key.public_key(), serial, ends - timedelta(days=365), ends
    )
    for one in old.extensions:
        built = built.add_extension(one.value, one.critical)
    made = built.sign(signer, hashes.SHA256()).public_bytes(Encoding.PEM).decode()
    return made, key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()


def end(lab: Lab, node: str, paths: list[str], ends: datetime) -> None:
    """Put ended certificates in the place of these."""
    keys = sorted({FILES[path] for path in paths})
    authorities = dict(zip(keys, texts(lab, "cp1", *(f"{key}.crt {key}.key" for key in keys)), strict=True))
    files = {}
    for path, text in zip(paths, texts(lab, node, *paths), strict=True):
        authority = authorities[FILES[path]]
        if path.endswith(".conf"):
            (data,) = re.findall("client-certificate-data: (.*)", text)
            pem, key = again(base64.b64decode(data).decode(), authority, ends)
            for name, value in (("certificate", pem), ("key", key)):
                encoded = base64.b64encode(value.encode()).decode()
                text = re.sub(f"client-{name}-data: .*", f"client-{name}-data: {encoded}", text)
            files[path] = f"{text}\n"
            continue
        pem, key = again(text, authority, ends)
        files |= {path: pem + key} if path == CURRENT else {path: pem, f"{path.removesuffix('.crt')}.key": key}
    lab.sh(node, "\n".join(f"cat >{name} <<'PEM'\n{content}PEM" for name, content in files.items()))


def texts(lab: Lab, node: str, *paths: str) -> list[str]:
    """What the files hold, asked once."""
    return lab.sh(node, "; echo '@@'; ".join(f"cat {path}" for path in paths)).split("\n@@\n")


def shown(lab: Lab, at: str) -> str:
    """The end and the digest of the certificate that a port of cp1 shows."""
    return lab.sh("cp1", f"openssl s_client -connect {at} </dev/null 2>/dev/null | {_CERTIFICATE}")


def on_disk(lab: Lab, path: str) -> str:
    return lab.sh("cp1", f"{_CERTIFICATE} -in {path}")


def older_etcd(lab: Lab) -> None:
    """etcd runs, and its certificates are newer: an etcd that the kubelet only starts after they were made needs no restart."""
    made = " && ".join(f"openssl x509 -noout -checkend 0 -in {path} >/dev/null" for path in FILES if "/etcd/" in path)
    runs = '[ -n "$(crictl ps -q --name etcd)" ]'
    lab.sh("cp1", f"timeout 120 bash -c 'until {made}; do sleep 0.2; done; until {runs}; do sleep 0.2; done'")
    lab.sh("cp1", f"sleep 2; touch {PKI}/etcd/*.crt")  # a start and a certificate are compared in whole seconds


def test_after_every_certificate_has_ended_one_command_renews_them_while_pods_answer(healthy: Lab) -> None:
    """Killed at each kind of step, it goes on; a service on the workers is asked all the time."""
    lab, yesterday = healthy, datetime.now(UTC) - timedelta(days=1)
    uids = lab.kubectl("get nodes -o jsonpath='{.items[*].metadata.uid}'")
    with lab.asked() as probe:
        for node, paths in (("w2", [CURRENT]), ("cp1", list(FILES))):
            lab.sh(node, f"f=$(readlink -f {CURRENT}); cp $f /root/.pem; rm -f {CURRENT}; mv /root/.pem {CURRENT}")
            end(lab, node, paths, yesterday)
        lab.sh("w2", "systemctl restart kubelet", False)
        lab.sh(
            "cp1",
            "crictl stop $(crictl ps -q --label io.kubernetes.pod.namespace=kube-system) >/dev/null; systemctl restart kubelet",
            False,
        )
        assert lab.kubectl("--request-timeout=3s get --raw=/readyz", check=False) != "ok"
        done = lab.bootstrap(expect=1)
        assert "certificate ended on" in done.output and "`inv cluster.renew --env lab`" in done.output, str(done)
        pods = {name: lab.sh(name, _PODS) for name in lab.names}
        proofs = {"renew.etcd.restart": lambda: shown(lab, "127.0.0.1:2379") == on_disk(lab, PORTS["127.0.0.1:2379"])}
        renew = ("inv", "cluster.renew", "--env", "lab")
        done = lab.killed_through(_STEPS, argv=renew, proofs=proofs, cut={"renew.etcd": lambda: older_etcd(lab)})
        assert {name: lab.sh(name, _PODS) for name in lab.names} == pods, "no pod was restarted"
        assert "each one that a port shows is the new one" in done.output, str(done)
    for at, path in PORTS.items():
        assert shown(lab, at) == on_disk(lab, path)
        assert f"{(datetime.now(UTC) + timedelta(days=365)).year} GMT" in shown(lab, at)
    assert "MISSING" not in lab.sh("cp1", "kubeadm certs check-expiration")
    lab.eventually("every node is Ready", lambda: lab.ready() == dict.fromkeys(lab.names, True))
    assert lab.kubectl("get nodes -o jsonpath='{.items[*].metadata.uid}'") == uids, "no Node was lost"
    assert lab.sh("w2", "ls /etc/kubernetes/bootstrap-kubelet.conf", False) == ""
    print(probe)
    probe.assert_never_away(node.name for node in lab.environment.workers)
    lab.kubeadm_specs()
    assert "nothing to do" in lab.run("inv", "cluster.renew", "--env", "lab").output
    assert "nothing to do" in lab.bootstrap().output
