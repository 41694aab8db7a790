"""Registries as people have them: plain HTTP where it is asked for, behind a path, with tokens, with certificates of any form."""

from __future__ import annotations

import base64
import http.server
import json
import subprocess
import threading
import tomllib
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, pkcs7
from hypothesis import given
from hypothesis import strategies as st

from fabfile.errors import UsageError
from fabfile.inventory import load
from fabfile.inventory.places import certificates, inside, place
from fabfile.phases import EVERY
from fabfile.recipes.kubeadm import recipe_for
from fabfile.steps import Step
from fabfile.views.doctor import questions, sources
from fabfile.views.doctor.chart import Chart, Patient
from fabfile.views.doctor.finding import Finding
from fabfile.views.signatures import likely
from making import context, environment, fresh, ids, prepared

CERTS = "/etc/containerd/certs.d"
Hosts = dict[str, dict[str, Any]]  # each hosts.toml, parsed, by the registry's name


def hosts(**texts: str) -> Hosts:
    files = recipe_for(environment(1, **texts)).registry_files()
    return {f.path.split("/")[-2]: tomllib.loads(f.content) for f in files if f.path.endswith("hosts.toml")}


def asked(hosts: dict[str, Any], image: str) -> list[str]:
    """The addresses of an image's manifest that containerd 2.2 tries, in their order (core/remotes/docker/config/hosts.go)."""
    found = []
    for url, host in (
        {**hosts.get("host", {}), hosts["server"]: hosts.get("host", {}).get(hosts["server"], {})}
    ).items():
        parts = urllib.parse.urlsplit(url)
        path = parts.path if host.get("override_path") or parts.path.endswith("/v2") else f"{parts.path}/v2"
        found.append(f"{parts.scheme}://{parts.netloc}{path}/{image}")
    return found


@pytest.mark.parametrize(("registry", "own", "mirrored", "canary"), [
    ("r:5000", "https://r:5000/v2/pause", "https://r:5000/v2/pause", "r:5000/pause"),
    ("https://r", "https://r/v2/pause", "https://r/v2/pause", "r/pause"),
    ("http://10.0.0.5:5000", "http://10.0.0.5:5000/v2/pause", "http://10.0.0.5:5000/v2/pause", "10.0.0.5:5000/pause"),
    ("harbor.example/k8s", "https://harbor.example/v2/k8s/pause", "https://harbor.example/v2/k8s/pause", "harbor.example/k8s/pause"),
    ("http://h:80/a/b", "http://h:80/v2/a/b/pause", "http://h:80/v2/a/b/pause", "h:80/a/b/pause"),
    ("harbor.example/v2/k8s", "https://harbor.example/v2/k8s/pause", "https://harbor.example/v2/k8s/pause", "harbor.example/k8s/pause"),
    ("jf.example/Api/docker/v2/k8s", "https://jf.example/Api/docker/v2/k8s/pause", "https://jf.example/Api/docker/v2/k8s/pause",
     "jf.example/k8s/pause"),
    ("jf.example/api/v2", "https://jf.example/api/v2/pause", "https://jf.example/api/v2/pause", "jf.example/pause"),
])  # fmt: skip
def test_containerd_asks_the_registry_where_its_images_are(registry: str, own: str, mirrored: str, canary: str) -> None:
    found = hosts(registry=registry, registry_mirrors="registry.k8s.io")
    at = place(registry)
    name = recipe_for(environment(registry=registry)).canary
    assert name.rpartition(":")[0] == canary
    assert set(asked(found[at.host], name.removeprefix(f"{at.host}/").rpartition(":")[0])) == {own}
    assert asked(found["registry.k8s.io"], "pause") == [mirrored, "https://registry.k8s.io/v2/pause"]


WORDS = st.from_regex(r"[a-z0-9]{1,6}", fullmatch=True)
REGISTRIES = st.builds(
    lambda scheme, host, port, words: f"{scheme}{host}{port}{''.join(f'/{word}' for word in words)}",
    st.sampled_from(["", "https://", "http://"]), st.sampled_from(["r.example", "10.0.0.5", "[2001:db8::1]"]), st.sampled_from(["", ":5000"]),
    st.lists(WORDS | st.just("v2"), max_size=4),
)  # fmt: skip


@given(REGISTRIES, REGISTRIES, st.booleans())
def test_plain_http_is_never_fallen_back_to_and_a_login_goes_to_its_own_registry_only(
    registry: str, other: str, login: bool
) -> None:
    own, mirror = place(registry), place(other)
    texts = {"registry_user": "me", "registry_password": "a-long-word"} if login else {}
    env = environment(1, registry=registry, registry_mirrors=f"ghcr.io={other} docker.io", **texts)
    ca = {"registry_ca": str(PEM), "registry_mirror_ca": {"ghcr.io": str(PEM)}}
    files = recipe_for(replace(env, settings=replace(env.settings, **ca))).registry_files()
    for file in files:
        if not file.path.endswith("hosts.toml"):
            continue
        parsed = tomllib.loads(file.content)
        for url, host in parsed["host"].items():
            at = mirror if file.path == f"{CERTS}/ghcr.io/hosts.toml" else own
            assert url.startswith(f"{at.scheme}://{at.host}"), "as it is written"
            assert not (at.scheme == "http" and "ca" in host), "containerd would try HTTPS, and fall back"
            assert at.scheme == "http" or host["ca"] in {f.path for f in files}
            assert ("header" in host) == (login and (at.scheme, at.host) == (own.scheme, own.host))
            assert file.secret == ("header" in host)
            assert bool(host.get("override_path")) == (url != at.url)
            project = "" if file.path == f"{CERTS}/{own.host}/hosts.toml" else f"{at.project}/" * bool(at.project)
            assert asked(parsed, "pause")[0] == f"{at.api}/{project}pause"


def test_each_mirror_may_be_another_registry_with_a_ca_of_its_own(tmp_path: Path) -> None:
    other = tmp_path / "other.der"
    other.write_bytes(certificate("other").public_bytes(Encoding.DER))
    env = environment(
        1,
        registry="harbor.example/k8s",
        registry_mirrors="registry.k8s.io ghcr.io=mirror.example:5000/ghcr docker.io=harbor.example/hub",
    )
    settings = replace(env.settings, registry_ca=str(PEM), registry_mirror_ca={"ghcr.io": str(other)})
    files = {f.path: f.content for f in recipe_for(replace(env, settings=settings)).registry_files()}
    found = {
        name: tomllib.loads(files[f"{CERTS}/{name}/hosts.toml"])["host"]
        for name in ("registry.k8s.io", "ghcr.io", "docker.io")
    }
    ours = f"{CERTS}/harbor.example/ca.crt"
    assert [next(iter(host)) for host in found.values()] == [
        "https://harbor.example/v2/k8s",
        "https://mirror.example:5000/v2/ghcr",
        "https://harbor.example/v2/hub",
    ]
    assert [next(iter(host.values()))["ca"] for host in found.values()] == [ours, f"{CERTS}/ghcr.io/ca.crt", ours]
    assert files[f"{CERTS}/ghcr.io/ca.crt"] == certificate("other").public_bytes(Encoding.PEM).decode()


def test_mirrors_without_a_private_registry_are_proved_by_a_pull_through_them() -> None:
    for mirrors, canary in (("registry.k8s.io=m:5000", ["registry.canary"]), ("ghcr.io=m:5000", [])):
        env = environment(1, registry_mirrors=mirrors)
        made = ids(EVERY["registry"].run(context(env, prepared(env))))
        assert made == ["registry.identity", "registry.login", *canary, "registry.proof", "registry.images"]
    assert hosts(registry_mirrors="ghcr.io") == {}, "no mirror is named, and no registry"


# --- certificates


@cache
def certificate(name: str) -> x509.Certificate:
    key, who = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder().subject_name(who).issuer_name(who).public_key(key.public_key()).serial_number(7)
    return made.not_valid_before(now).not_valid_after(now + timedelta(days=30)).sign(key, SHA256())


PEM = Path(__file__).parent / "recorded" / "registry-ca.crt"
ONE, TWO = (certificate(name).public_bytes(Encoding.PEM) for name in ("one", "two"))


def bundle(*names: str, encoding: Encoding) -> bytes:
    return pkcs7.serialize_certificates([certificate(name) for name in names], encoding)


@pytest.mark.parametrize(("data", "meant"), [
    (ONE, ONE),
    (ONE + TWO, ONE + TWO),
    (TWO + ONE + TWO, TWO + ONE),
    (b"\xef\xbb\xbf" + ONE.replace(b"\n", b"\r\n"), ONE),
    (b"# the CA of harbor, by ops\n" + ONE.rstrip() + b"\n\nsubject=two\n" + TWO, ONE + TWO),
    (certificate("one").public_bytes(Encoding.DER), ONE),
    (bundle("one", encoding=Encoding.PEM), ONE),
    (bundle("one", encoding=Encoding.DER), ONE),
], ids=["PEM", "a chain", "one twice", "Windows", "text between", "DER", "PKCS#7 in PEM", "PKCS#7"])  # fmt: skip
def test_certificates_are_read_in_every_form_and_sent_as_pem(tmp_path: Path, data: bytes, meant: bytes) -> None:
    (tmp_path / "ca").write_bytes(data)
    assert certificates(tmp_path / "ca") == meant.decode()


KEY = ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize(("data", "why"), [
    (b"", "no certificate"), (b"hello\n", "no certificate"), (ONE[:200], "no certificate"), (ONE + b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n", "no certificate"),
    (b"\xff\xfe\x00\x80" * 50, "no certificate"), (ONE + KEY, "private key"), (KEY, "private key"),
])  # fmt: skip
def test_what_is_no_certificate_is_a_problem_of_the_inventory(tmp_path: Path, data: bytes, why: str) -> None:
    (tmp_path / "ca.crt").write_bytes(data)
    for lines in (
        "A_REGISTRY=r:5000\nA_REGISTRY_CA=ca.crt\n",
        "A_REGISTRY_MIRRORS=ghcr.io=m:5000\nA_REGISTRY_MIRROR_CA=ghcr.io=ca.crt\n",
    ):
        error = refused(tmp_path, lines)
        assert f"{tmp_path}/ca.crt" in error and why in error and "hosts.env:3: A_REGISTRY" in error
        assert "PRIVATE" not in error


def refused(folder: Path, lines: str) -> str:
    (folder / "hosts.env").write_text(f"A_CONTROL_PLANE=10.0.0.1\n{lines}")
    with pytest.raises(UsageError) as caught:
        load("a", variables={"KUBEFAB_HOSTS": str(folder / "hosts.env")})
    return caught.value.message


@pytest.mark.parametrize(("lines", "where", "what"), [
    ("A_REGISTRY=r:5000\nA_REGISTRY_PASSWORD=a-long-word\n", 3, "REGISTRY_PASSWORD without REGISTRY_USER"),
    ("A_REGISTRY=http://r:5000\nA_REGISTRY_CA=ca.crt\n", 2, "REGISTRY http://r:5000 is plain HTTP, which checks no certificate"),
    ("A_REGISTRY_MIRRORS=ghcr.io=http://m\nA_REGISTRY_MIRROR_CA=ghcr.io=ca.crt\n", 3, "REGISTRY_MIRROR_CA ghcr.io: is plain HTTP"),
    ("A_REGISTRY=r\nA_REGISTRY_MIRRORS=ghcr.io\nA_REGISTRY_MIRROR_CA=ghcr.io=ca.crt\n", 4, "REGISTRY_MIRRORS has no ghcr.io=…"),
    ("A_REGISTRY=r\nA_REGISTRY_MIRROR_CA=ghcr.io=nowhere.crt\n", 3, "nowhere.crt cannot be read: No such file or directory"),
    ("A_REGISTRY=me:word@r\n", 2, "write REGISTRY_USER"),
])  # fmt: skip
def test_settings_that_contradict_each_other_are_refused(tmp_path: Path, lines: str, where: int, what: str) -> None:
    (tmp_path / "ca.crt").write_bytes(ONE)
    error = refused(tmp_path, lines)
    assert f"hosts.env:{where}: " in error and what in error and "me:word" not in error


def test_a_login_over_plain_http_is_remarked_on(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts.env"
    for scheme, said in (("http://", True), ("", False)):
        hosts.write_text(
            f"A_CONTROL_PLANE=10.0.0.1\nA_REGISTRY={scheme}r\nA_REGISTRY_USER=me\nA_REGISTRY_PASSWORD=a-long-word\n"
        )
        found = load("a", variables={"KUBEFAB_HOSTS": str(hosts)})
        assert (
            any("everybody on the way to it can read REGISTRY_PASSWORD" in remark for remark in found.remarks) == said
        )


@pytest.mark.parametrize(("host", "private"), [
    ("10.2.0.5", True), ("192.168.1.1", True), ("[fd00::5]", True), ("registry", True), ("harbor.corp", True), ("r.svc.cluster.local", True), ("127.0.0.1", True),
    ("8.8.8.8", False), ("ghcr.io", False), ("harbor.example.com", False), ("123.dkr.ecr.ap-northeast-2.amazonaws.com", False),
])  # fmt: skip
def test_which_hosts_are_surely_of_a_private_network(host: str, private: bool) -> None:
    assert inside(host) is private


# --- the doctor


class Registry(http.server.BaseHTTPRequestHandler):
    """A registry with a login, by token or by Basic, as the class that is made of it says."""

    token = ""  # what its server of tokens gives; without one, it wants Basic
    realm = ""
    user = "me:pa\"ss\\w'ord"

    def do_GET(self) -> None:
        given = self.headers.get("Authorization", "")
        basic = f"Basic {base64.b64encode(self.user.encode()).decode()}"
        if self.path.startswith("/token"):
            asked = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
            good = given == basic and asked["service"] == ["the registry"]
            return self.answer(
                200 if good else 401, json.dumps({"token": self.token, "expires_in": 60}) if good else "{}"
            )
        if given == (f"Bearer {self.token}" if self.token else basic):
            return self.answer(404 if "manifests" in self.path else 200)
        scope = ',scope="repository:k8s/pause:pull"' if "manifests" in self.path else ""
        port = self.server.server_address[1]
        realm = self.realm or f"http://127.0.0.1:{port}/token"
        wants = f'Bearer realm="{realm}",service="the registry"{scope}' if self.token else 'Basic realm="r"'
        return self.answer(401, "", **{"WWW-Authenticate": wants})

    def answer(self, code: int, text: str = "", **headers: str) -> None:
        self.send_response(code)
        for name, value in {"Content-Length": str(len(text)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def serving() -> Iterator[Callable[..., str]]:
    """Serve a registry of that kind on loopback; gives host:port."""
    servers = []

    def start(**kind: str) -> str:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Kind", (Registry,), kind))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"127.0.0.1:{server.server_address[1]}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def doctors(registry: str, password: str) -> dict[str, str]:
    """What the doctor's own script sees of a registry, asked from this machine: {"private": "200", "canary": "404"}."""
    env = environment(1, registry=registry, registry_user="me", registry_password=password)
    text = questions.doctor_script(env, env.workers[0], questions.questions(env, "debian", "bookworm"))
    values, _, rest = text.partition('"$0"\n')[2].partition("\nexport ")
    functions = rest[rest.index("umask 077") : rest.index("set -f #")]
    asking = f'{values}\nhas() {{ command -v "$1" >/dev/null; }}\n{functions}\nlogin private "$registry"; login canary "$canary"; cat "$d"/http.*'
    done = subprocess.run(["bash", "-c", asking], capture_output=True, text=True, check=True, timeout=30)
    return {words[0]: " ".join([words[1], *words[3:]]) for words in map(str.split, done.stdout.splitlines())}


GOOD = Registry.user.partition(":")[2]


@pytest.mark.parametrize(("kind", "password", "seen"), [
    ({}, GOOD, {"private": "200", "canary": "404"}),
    ({}, "wrong-word", {"private": "401", "canary": "401"}),
    ({"token": "a.b-c_d"}, GOOD, {"private": "200", "canary": "404"}),
    ({"token": "a.b-c_d"}, "wrong-word", {"private": "401 at {url}/token:", "canary": "401 at {url}/token:"}),
    ({"token": "x", "realm": "file:///etc/passwd"}, GOOD, {"private": "401", "canary": "401"}),
])  # fmt: skip
def test_the_doctor_logs_in_by_basic_and_by_token(
    serving: Callable[..., str], kind: dict[str, str], password: str, seen: dict[str, str]
) -> None:
    at = serving(**kind)
    assert doctors(f"http://{at}/k8s", password) == {
        name: text.format(url=f"http://{at}") for name, text in seen.items()
    }


def test_the_doctor_asks_mirrors_elsewhere_and_no_registry_that_is_mirrored() -> None:
    env = environment(
        1,
        registry="harbor.example/k8s",
        registry_mirrors="registry.k8s.io docker.io=harbor.example/hub ghcr.io=http://m:5000/x",
    )
    asked = questions.questions(env, "debian", "bookworm")
    assert asked.registries == {"m:5000": "http://m:5000/v2/"}, "REGISTRY is asked with its login"
    private = replace(env, settings=replace(env.settings, registry_mirror_ca={"ghcr.io": "ca.pem"}))
    assert questions.questions(private, "debian", "bookworm").registries == {}
    assert {"harbor.example", "m"} <= set(asked.names)


def judged(registry: str, http: dict[str, questions.Answer], **texts: str) -> list[Finding]:
    env = environment(1, registry=registry, **texts)
    answers = questions.NodeAnswers(http=http, tools=frozenset({"curl"}))
    patient = Patient(env.workers[0], fresh("w1"), answers)
    asked = questions.Questions({}, {}, (), "")
    return list(sources.sources(Chart(env, (patient,)), patient, asked))


LOGIN = {"registry_user": "me", "registry_password": "a-long-word"}


@pytest.mark.parametrize(("registry", "answers", "texts", "code", "words"), [
    ("r:5000", {"private": (0, "curl: (35) error:0A00010B:SSL routines::wrong version number")}, {}, "KF-REG-TLS", "REGISTRY=http://r:5000 in hosts.env"),
    ("r:5000", {"private": (0, "curl: (60) SSL certificate problem: unable to get local issuer certificate")}, {}, "KF-REG-TLS", "REGISTRY_CA"),
    ("http://r/p", {"private": (400, "")}, {}, "KF-REG-DOWN", "take http:// out of REGISTRY"),
    ("http://r/p", {"private": (0, "curl: (7) refused")}, {}, "KF-REG-DOWN", "curl -v http://r/v2/"),
    ("r/p", {"private": (200, ""), "canary": (401, "")}, LOGIN, "KF-REG-LOGIN", "refuses the login as me"),
    ("r/p", {"private": (200, ""), "canary": (401, "")}, {}, "KF-REG-LOGIN", "may still allow pulls"),
    ("r/p", {"private": (401, "at https://auth.example/token:")}, LOGIN, "KF-REG-LOGIN", "HTTP 401 at https://auth.example/token"),
    ("r/p", {"private": (200, ""), "canary": (404, "")}, LOGIN, "KF-REG-IMAGE", "no r/p/pause"),
    ("r/p", {"private": (200, ""), "canary": (200, "")}, LOGIN, "", ""),
])  # fmt: skip
def test_what_the_doctor_says_of_a_registry(
    registry: str, answers: dict[str, tuple[int, str]], texts: dict[str, str], code: str, words: str
) -> None:
    http = {name: questions.Answer(status, 0.1, error) for name, (status, error) in answers.items()}
    found = judged(registry, http, **texts)
    assert [finding.code for finding in found] == [code] * bool(code)
    assert all(words in f"{finding}" for finding in found)


def test_no_advice_edits_a_file_that_the_next_run_overwrites() -> None:
    line = 'failed to do request: Head "https://10.0.0.5:5000/v2/x/manifests/1": http: server gave HTTP response to HTTPS client'
    found = likely(line)
    assert found and found.code == "SIG-REGISTRY-HTTP"
    assert "hosts.toml" not in found.remedy and "REGISTRY=http://" in found.remedy
    env = environment(1, registry="r")
    made = EVERY["registry"].run(context(env, prepared(env)))
    hint = next(action.hint for action in made if isinstance(action, Step) and action.id == "registry.canary")
    assert "http://" in hint and "hosts.toml" not in hint
