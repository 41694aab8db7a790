"""Certificates renewed: kubeadm's on the control plane, one component after the other, and those of kubelets that ended.

A component is restarted by stopping its container: the kubelet starts another one, which reads the new files. A run that dies there
leaves nothing half done, as a manifest that is moved away would be; the next run sees that the process is older than its files.
What proves a renewal is the certificate that the port shows, or, of a component that only has a client's, the lease that it holds with it.

Sources: kubernetes.io "Certificate Management with kubeadm"; kubeadm cmd/phases/init/kubeletfinalize.go; kubernetes
pkg/kubelet/certificate/bootstrap (a kubelet without a valid certificate uses bootstrap-kubelet.conf and writes kubelet.conf again).
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from shlex import quote

from ..context import Context
from ..nodes.facts import (
    API_CERTIFICATE,
    AUTHORITIES,
    KUBELET_CERTIFICATE,
    KUBELET_CONF,
    PKI,
    STATE,
    Certificate,
    NodeFacts,
)
from ..recipes.flannel import ready_wait
from ..recipes.kubeadm import BACKDATE
from ..records import dataclass
from ..steps import Action, File, Remedy, Step, Stop, Wait
from ..text.durations import DAY, roughly
from ..text.masking import masked_tail
from ..text.yamls import dumped
from .certificates import ended, lacking
from .join import DONE, minted
from .suitable import SET_CLOCK, clocks

CONFIG, BOOTSTRAP_CONF = "/run/kubefab-renew.yaml", "/etc/kubernetes/bootstrap-kubelet.conf"
BEFORE = f"{STATE}/certificates-before"  # what was there before the last renewal, with its keys
_BESIDE = f"install -d -m 0700 {STATE} {BEFORE}"
CONF = "/etc/kubernetes"
_SCRATCH = "/run/kubefab-pki"
API_DUE = "api-certificate-due"  # a mark: the API's certificate is new, and it was not seen yet that the API shows it
_KUBELET_PKI = KUBELET_CERTIFICATE.rpartition("/")[0]


@dataclass(frozen=True)
class Part:
    """A static pod: the certificates that it reads, by file with kubeadm's name for each, and which of them it shows at which port.

    `health` prints `ok` where it is healthy; `lease` is what it holds by its client certificate. `grace`: seconds that it has to end by itself.
    """

    name: str
    title: str
    files: Mapping[str, str]
    health: str
    shows: Mapping[str, str] = field(default_factory=dict)
    lease: str = ""
    grace: int = 30


def parts(ctx: Context) -> tuple[Part, ...]:
    """The components in the order in which they are renewed: each needs only those before it."""
    etcd, port = f"{PKI}/etcd", ctx.settings.api_port
    return (
        Part(
            "etcd",
            "etcd",
            {
                f"{etcd}/server.crt": "etcd-server",
                f"{etcd}/peer.crt": "etcd-peer",
                f"{etcd}/healthcheck-client.crt": "etcd-healthcheck-client",
            },
            'curl -s --max-time 5 http://127.0.0.1:2381/health | grep -q \'"health":"true"\' && echo ok',
            {"127.0.0.1:2379": f"{etcd}/server.crt", f"{ctx.node.address}:2380": f"{etcd}/peer.crt"},
        ),
        Part(
            "kube-apiserver",
            "the API",
            {
                API_CERTIFICATE: "apiserver",
                f"{PKI}/apiserver-kubelet-client.crt": "apiserver-kubelet-client",
                f"{PKI}/apiserver-etcd-client.crt": "apiserver-etcd-client",
                f"{PKI}/front-proxy-client.crt": "front-proxy-client",
            },
            "kubectl --request-timeout=5s get --raw=/readyz",
            {f"127.0.0.1:{port}": API_CERTIFICATE},
            # From the first moment it takes no new requests, and what it waits for are watches, which do not end by themselves. Once it is
            # away for ten seconds, the controller manager and the scheduler have lost their leases, and end too.
            grace=3,
        ),
        *(
            Part(
                f"kube-{name}",
                f"the {name.replace('-', ' ')}",
                {f"{CONF}/{name}.conf": f"{name}.conf"},
                f"curl -sk --max-time 5 https://127.0.0.1:{at}/healthz",
                lease=f"kube-{name}",
            )
            for name, at in (("controller-manager", 10257), ("scheduler", 10259))
        ),
    )


def ports(address: str, api_port: int) -> tuple[str, ...]:
    """The addresses of a control plane that are asked for their certificates."""
    return (*(f"127.0.0.1:{port}" for port in (api_port, 2379, 10257, 10259, 10250)), f"{address}:2380")


# before anything is changed: without it, what a port shows cannot be asked
_ASKER = "command -v openssl >/dev/null || { echo 'openssl is not installed, by which a port is asked for its certificate'; exit 1; }"
KUBECONFIGS = {f"{CONF}/admin.conf": "admin.conf", f"{CONF}/super-admin.conf": "super-admin.conf"}


def renew(ctx: Context) -> Iterator[Action]:
    """What ends within the chosen time is made again, and what does not run with its present files is restarted."""
    if not ctx.node.control_plane:
        yield from _worker(ctx)
        return
    if stop := _clock(ctx):
        yield stop
        return
    facts, every = ctx.facts, parts(ctx)
    known = {**KUBECONFIGS, **{path: name for part in every for path, name in part.files.items()}}
    due = {path for path in known if path in facts.certificates and is_due(ctx, path)}
    kubelet = _lost(ctx)
    if not due and not kubelet and not any(_stale(facts, part) for part in every) and not _embedded(facts):
        return
    if stop := _unsafe(ctx, due | ({KUBELET_CONF} if kubelet else set())):
        yield stop
        return
    if chosen := sorted(due & KUBECONFIGS.keys()):
        yield _made(ctx, "admin", "the administrators' kubeconfigs", chosen, KUBECONFIGS, _ROOTS)
    if kubelet:
        yield from _own_kubelet(ctx)
    for part in every:
        chosen = sorted(due & part.files.keys())
        if chosen:
            yield _made(ctx, part.name, f"certificates of {part.title}", chosen, part.files)
        if chosen or _stale(facts, part):
            yield from restarted(ctx, part, "renew")
    if kubelet or _embedded(facts):
        yield from _rotated(ctx)


def is_due(ctx: Context, path: str) -> bool:
    """Whether that certificate is to be made again in this run: it ends too soon (or all are), and this run has not written it yet.

    A key that is newer than its certificate is a renewal that did not end.
    """
    found, asked = ctx.facts.certificates[path], ctx.choices.renewal
    if found.key > found.written + 2:
        return True
    # `written` is by the node's clock, in whole seconds
    fresh = found.written and found.written >= asked.since + ctx.facts.ahead[0] - 1
    return not fresh and (asked.every or found.ends < ctx.facts.now + asked.days * DAY)


def authorities(facts: NodeFacts, days: float) -> list[tuple[str, float]]:
    """The authorities that end within so many days, as (file, end): kubeadm does not renew them."""
    found = ((path, facts.certificates[path].ends) for path in AUTHORITIES if path in facts.certificates)
    return [(path, ends) for path, ends in found if ends < facts.now + days * DAY]


def shortest(facts: NodeFacts, days: float) -> tuple[str, float] | None:
    """The certificate that ends first, if that is within so many days, as (file, end). A kubelet renews its own at the end of its time."""
    others = (*AUTHORITIES, KUBELET_CERTIFICATE)
    found = [(one.ends, path) for path, one in facts.certificates.items() if path not in others]
    ends, path = min(found, default=(float("inf"), ""))
    return (path, ends) if ends < facts.now + days * DAY else None


def _stale(facts: NodeFacts, part: Part) -> bool:
    """Whether the component runs, and not with the files that are there now."""
    began = facts.running.get(part.name)
    if began is None:
        return False
    files = [facts.certificates[path] for path in part.files if path in facts.certificates]
    shown = [(facts.served.get(at), facts.certificates.get(path)) for at, path in part.shows.items()]
    return any(began < int(one.written) for one in files) or any(
        seen.digest != file.digest for seen, file in shown if seen and file
    )


def _clock(ctx: Context) -> Stop | None:
    """A clock by which what has ended, and what this run has written, would be judged wrongly."""
    facts = ctx.facts
    if facts.ahead[1] < -BACKDATE:
        what = f"its clock is {roughly(-facts.ahead[1])} behind yours: it would judge by it what has ended, and new certificates would end early"
        return Stop("renew.clock", what, SET_CLOCK)
    return clocks(ctx, "renew")


def _unsafe(ctx: Context, due: set[str]) -> Stop | None:
    """What cannot be signed here, or is not kubeadm's."""
    facts, name = ctx.facts, ctx.node.name
    for path in sorted(due):
        found = facts.certificates.get(path, Certificate(0.0))
        if path != KUBELET_CONF and not found.authority:
            return Stop(
                "renew.foreign",
                f"{path} is not signed by an authority of this cluster in {PKI}: kubeadm did not make it, and would replace it",
                "let those who signed it renew it; or move it away, with its key, and make kubeadm's own: "
                f"`kubeadm init phase certs --help` on {name}",
            )
        authority = found.authority or AUTHORITIES[0]
        above = facts.certificates.get(authority)
        if above is None or not above.key:
            return Stop(
                "renew.authority",
                f"the key of {authority} is not on {name}: an external CA, which alone can sign a new {path.rpartition('/')[2]}",
                f"put the key beside it for this command (`{authority.removesuffix('.crt')}.key`, mode 0600), or have that CA sign a new one",
            )
        if above.ends < facts.now:
            day = time.strftime("%Y-%m-%d", time.gmtime(above.ends))
            return Stop(
                "renew.authority",
                f"{authority} itself ended on {day}: nothing that it signs is valid, and kubeadm does not renew a CA",
                "kubernetes.io, Manual Rotation of CA Certificates, has the steps for a new one",
            )
    return None


def _config(ctx: Context) -> File:
    return File(CONFIG, ctx.recipe.certificate_config(ctx.facts), mode="0600")


def _kept(path: str) -> str:
    """The shell line that keeps a file, and its key, as they are before it is replaced."""
    files = (path, f"{path.removesuffix('.crt')}.key") if path.endswith(".crt") else (path,)
    return " && ".join(f"cp -p {file} {BEFORE}/{file.removeprefix(f'{CONF}/').replace('/', '-')}" for file in files)


# root's kubeconfig, where it is the copy of admin.conf that kubeadm's own last words tell people to make
_ROOTS = (
    f"if [ -f /root/.kube/config ] && cmp -s /root/.kube/config {BEFORE}/admin.conf; then cat {CONF}/admin.conf >/root/.kube/config; fi",
)


def _made(
    ctx: Context, part: str, title: str, paths: list[str], names: Mapping[str, str], more: tuple[str, ...] = ()
) -> Step:
    return Step(
        f"renew.{part}",
        f"{title} renewed",
        (
            _ASKER,
            _BESIDE,
            *(_kept(path) for path in paths),
            *(f"kubeadm certs renew {names[path]} --config {CONFIG}" for path in paths),
            *(more if f"{CONF}/admin.conf" in paths else ()),
            "sync",
            f"rm -f {CONFIG}",
        ),
        files=(_config(ctx),),
        hint=f"the files as they were are in {BEFORE} on {ctx.node.name}; run this again",
    )


# --- a static pod, restarted


def restarted(ctx: Context, part: Part, phase: str) -> Iterator[Action]:
    """Stop the component's container, and wait until another one is healthy with the new certificates."""
    label = "--label io.kubernetes.pod.namespace=kube-system --label io.kubernetes.container.name="
    ids = f"crictl ps -q {label}{part.name}"
    holder = (
        f"kubectl --request-timeout=5s -n kube-system get lease {part.lease} -o jsonpath='{{.spec.holderIdentity}}'"
    )
    noted = f"/run/kubefab-{part.name}.holder"
    yield Step(
        f"{phase}.{part.name}.restart",
        f"restart {part.title}",
        (
            _ASKER,
            *((f"{holder} >{noted} 2>/dev/null || true",) if part.lease else ()),
            # one that does not run is waiting for its next attempt, which a kubelet that starts makes at once
            f'ids=$({ids}); if [ -n "$ids" ]; then crictl stop --timeout {part.grace} $ids >/dev/null; else systemctl restart kubelet; fi',
        ),
        timeout=120,
    )
    asked = [f'echo "runs $({ids} | head -n 1)"', f'echo "health $({part.health} 2>&1 | tail -n 1)"']
    for at, path in part.shows.items():
        asked.append(
            f'echo "shown {path} $(timeout 5 openssl s_client -connect {at} </dev/null 2>/dev/null | {_DIGEST})"'
        )
        asked.append(f'echo "file {path} $({_DIGEST} -in {path})"')
    if part.lease:
        asked += [f'echo "before $(cat {noted} 2>/dev/null)"', f'echo "holder $({holder} 2>/dev/null)"']
    yield Wait(
        f"{phase}.{part.name}.healthy",
        f"{part.title} is healthy with the new certificates",
        probe="; ".join(asked),
        until=_proof(part),
        deadline=240,
        interval=1,
        # what has ended twice in ten minutes, the kubelet starts again later and later
        remedies=(
            Remedy(
                "restart the kubelet, if no container runs",
                (f'if [ -z "$({ids})" ]; then systemctl restart kubelet; fi',),
                after=8,
            ),
        ),
        hint=f"nothing else was restarted. The files as they were are in {BEFORE} on {ctx.node.name}; what is wrong is in "
        f"`crictl ps -a --name {part.name}` and `crictl logs` there. Then run this again",
        evidence=(
            f"crictl ps -a {label}{part.name} 2>&1 | tail -n 4",
            f"crictl logs --tail 8 $(crictl ps -aq {label}{part.name} | head -n 1) 2>&1",
            "journalctl -u kubelet -n 100 --no-pager 2>&1 | grep -E ' [EF][0-9]{4} ' | tail -n 4",
        ),
    )


_DIGEST = "openssl x509 -noout -fingerprint -sha256 2>/dev/null"


def _proof(part: Part) -> Callable[[str], str | None]:
    """What the probe must show: a container, its health, the files' certificates at the ports, the lease held by another process."""

    def until(output: str) -> str | None:
        rows = [line.split() for line in output.splitlines()]
        said = {
            (row[0], row[1]) if row[0] in ("shown", "file") else (row[0], ""): row[-1]
            for row in rows
            if len(row) > (2 if row[:1] in (["shown"], ["file"]) else 1)
        }
        if not said.get(("runs", "")):
            return "no container runs"
        if said.get(("health", "")) != "ok":
            return masked_tail(" ".join(next((row[1:] for row in rows if row[:1] == ["health"]), []))) or "not healthy"
        for at, path in part.shows.items():
            shown, file = (said.get((kind, path), "") for kind in ("shown", "file"))
            if not re.search("[0-9A-F]{2}(:[0-9A-F]{2}){31}", shown):
                return f"no certificate at {at}"
            if shown != file:
                return f"the certificate at {at} is not the one in {path}"
        if part.lease and (not said.get(("holder", "")) or said[("holder", "")] == said.get(("before", ""))):
            return f"the lease {part.lease} is not its own yet"
        return None

    return until


# --- kubelets


def _lost(ctx: Context) -> bool:
    """Whether the kubelet's client certificate has ended; or it has none, as after a renewal that died, and its node is not Ready."""
    facts, control = ctx.facts, ctx.facts if ctx.node.control_plane else ctx.control
    if KUBELET_CONF not in facts.traces:
        return False
    has = {KUBELET_CERTIFICATE, KUBELET_CONF} & facts.certificates.keys()
    ready = control is not None and control.node_ready(facts.hostname)
    return bool(ended(facts, *has)) or (not has and not ready)


def _embedded(facts: NodeFacts) -> bool:
    """Whether kubelet.conf holds a certificate instead of naming the one that rotates: init, or a renewal, did not end."""
    return KUBELET_CONF in facts.certificates


def _aside() -> tuple[str, ...]:
    """Shell lines that put the kubelet's certificates aside: it would use the ended one instead of what it gets."""
    return (
        _BESIDE,
        f'for f in {_KUBELET_PKI}/kubelet-client-*; do if [ -e "$f" ]; then mv -f "$f" {BEFORE}/; fi; done',
        f"rm -f {KUBELET_CERTIFICATE}",  # a link, without its target now
    )


def _own_kubelet(ctx: Context) -> Iterator[Action]:
    """The control plane's kubelet gets a certificate by the CA beside it: the API may not answer yet, and its static pods need the kubelet."""
    name, new = quote(f"system:node:{ctx.facts.hostname}"), f"{STATE}/kubelet.conf"
    user = f"kubeadm kubeconfig user --config {CONFIG} --org system:nodes --client-name {name}"
    yield Step(
        "renew.kubelet",
        "a certificate for the kubelet, by the CA on this machine",
        (
            _ASKER,
            _BESIDE,
            f"rm -f {new}; (umask 077; {user} >{new})",
            f"cp -p {KUBELET_CONF} {BEFORE}/kubelet.conf",
            *_aside(),
            f"mv -f {new} {KUBELET_CONF}",
            f"rm -f {CONFIG}",
            "systemctl restart kubelet",
        ),
        files=(_config(ctx),),
    )


def _rotated(ctx: Context) -> Iterator[Action]:
    """The kubelet asks for one that rotates as soon as the API answers; kubelet.conf then names that file, as after init."""
    yield _certified("`kubectl get csr` there shows the kubelet's request: the controller manager approves it")
    yield Step(
        "renew.kubelet.conf",
        "kubelet.conf names the certificate that rotates",
        (
            f"kubeadm init phase kubelet-finalize enable-client-cert-rotation --config {CONFIG}",
            f"rm -f {CONFIG}",
            "systemctl restart kubelet",
        ),
        files=(_config(ctx),),
    )
    yield ready_wait("renew.ready", settings=ctx.settings, hostname=ctx.facts.hostname)


def _certified(hint: str) -> Wait:
    return Wait(
        "renew.kubelet.certificate",
        "the kubelet has a certificate that rotates",
        probe=f"if openssl x509 -noout -checkend 0 -in {KUBELET_CERTIFICATE} >/dev/null 2>&1; then echo ok; "
        "else systemctl is-active kubelet; fi",
        until=lambda seen: (
            None if seen.strip() == "ok" else f"none yet; the kubelet is {masked_tail(seen) or 'silent'}"
        ),
        deadline=180,
        interval=1,
        hint=hint,
        evidence=("journalctl -u kubelet -n 100 --no-pager 2>&1 | grep -E ' [EF][0-9]{4} ' | tail -n 6",),
    )


def _worker(ctx: Context) -> Iterator[Action]:
    """A worker whose kubelet's certificate ended gets another by a join token; its Node and its pods stay."""
    facts, endpoint = ctx.facts, ctx.environment.endpoint
    begun = BOOTSTRAP_CONF in facts.traces and DONE in facts.undo
    if not _lost(ctx) and not begun:
        return
    if stop := clocks(ctx, "renew"):
        yield stop
        return
    login = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": "kubefab", "cluster": {"server": f"https://{endpoint}", "certificate-authority": f"{PKI}/ca.crt"}}
        ],
        "users": [{"name": "kubefab", "user": {"token": ctx.token.reveal()}}],
        "contexts": [{"name": "kubefab", "context": {"cluster": "kubefab", "user": "kubefab"}}],
        "current-context": "kubefab",
    }
    yield minted(ctx, "renew")
    yield Step(
        "renew.kubelet",
        "the kubelet asks for a certificate by a join token",
        (_ASKER, *_aside(), "systemctl restart kubelet"),
        files=(File(BOOTSTRAP_CONF, dumped(login), mode="0600", secret=True),),
    )
    yield _certified(
        f"`curl -k https://{endpoint}/readyz` from here; `kubectl get csr` on the control plane shows the request"
    )
    yield Step("renew.kubelet.token", "the token is gone from this machine", (f"rm -f {BOOTSTRAP_CONF}",))
    yield ready_wait("renew.ready", settings=ctx.settings, hostname=facts.hostname)


# --- names of the API's certificate


def names(ctx: Context, phase: str = "names") -> Iterator[Action]:
    """The API's certificate is for every address by which hosts.env reaches it, and for the names that were asked for; the old one is kept.

    kubeadm's own copy of the configuration first: what makes the certificate next time has the names too.
    """
    facts, node = ctx.facts, ctx.node
    wanted = (node.outside, node.address, *ctx.choices.renewal.names)
    absent = lacking(facts, wanted)
    noted = {str(one).lower() for one in (facts.configured.get("apiServer") or {}).get("certSANs") or ()}
    asked = wanted if absent else ctx.choices.renewal.names
    unnoted = [name for name in asked if facts.configured and name.lower() not in noted]
    api = next(part for part in parts(ctx) if API_CERTIFICATE in part.files)
    if API_DUE in facts.undo and not absent:  # a run made the certificate, and died before the API showed it
        yield from _shown(ctx, api, phase)
    if not absent and not unnoted:
        return
    if not facts.configured:
        yield Stop(
            f"{phase}.names",
            "the ConfigMap kubeadm-config, which has the names of the API's certificate, cannot be read",
            "`kubectl -n kube-system get configmap kubeadm-config -o yaml` on the control plane shows why",
        )
        return
    if stop := _unsafe(ctx, {API_CERTIFICATE}):
        yield stop
        return
    has = facts.certificates[API_CERTIFICATE].names
    every = sorted({*has, *wanted, node.name})
    if unnoted:
        yield Step(
            f"{phase}.names",
            f"kubeadm's configuration in the cluster names {', '.join(unnoted)}",
            (f"kubeadm init phase upload-config kubeadm --config {CONFIG}", f"rm -f {CONFIG}"),
            files=(File(CONFIG, ctx.recipe.certificate_config(facts, every), mode="0600"),),
        )
    if not absent:
        return
    yield Step(
        f"{phase}.certificate",
        f"the API's certificate made again, for {', '.join(absent)} too",
        (
            _ASKER,
            _BESIDE,
            _kept(API_CERTIFICATE),
            f"rm -rf {_SCRATCH}; install -d -m 0700 {_SCRATCH}",
            f"for f in ca.crt ca.key; do ln -s {PKI}/$f {_SCRATCH}/$f; done",
            f"kubeadm init phase certs apiserver --config {CONFIG}",
            f"touch {STATE}/{API_DUE}",
            f"mv -f {_SCRATCH}/apiserver.key {PKI}/apiserver.key",
            f"mv -f {_SCRATCH}/apiserver.crt {API_CERTIFICATE}",
            "sync",
            f"rm -rf {_SCRATCH} {CONFIG}",
        ),
        files=(File(CONFIG, ctx.recipe.certificate_config(facts, every, _SCRATCH), mode="0600"),),
        hint=f"the certificate as it was is in {BEFORE} on {node.name}",
    )
    yield from _shown(ctx, api, phase)


def _shown(ctx: Context, api: Part, phase: str) -> Iterator[Action]:
    """The API restarted with its new certificate, and that it was."""
    yield from restarted(ctx, api, phase)
    yield Step(f"{phase}.named", "noted", (f"rm -f {STATE}/{API_DUE}",))
