"""An upgrade, node by node: packages and images ahead on all, the control plane with kubeadm, its kubelet, then each worker, drained.

What is to do is seen each time: the static pods' manifests, ConfigMap kubeadm-config, kube-proxy's image, packages, and the kubelet that
reports to the API. So a run that died anywhere goes on, and an upgrade that was begun by hand is ended. A node is cordoned by us until all of
it is new.

Sources: kubernetes.io "Upgrading kubeadm clusters" and "Version Skew Policy"; kubeadm app/phases/upgrade/staticpods.go (an error puts the old
manifests back); etcd v3.7 upgrade guide (every member of 3.6 must be 3.6.11 or later before); kubernetes/kubeadm 3297.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from shlex import quote

from ..context import Context
from ..identity import own_nodes
from ..inventory import images
from ..nodes.facts import ETCD_MANIFEST, PKI, STATE, NodeFacts
from ..recipes.changes import ETCD_BEFORE, ETCD_STEPS, numbers
from ..recipes.flannel import Expected, interface_wait
from ..recipes.kubeadm import answers_ok, api_wait
from ..recipes.packages import UPGRADED, family
from ..steps import Action, File, Remedy, Step, Stop, Wait
from ..text import forms
from ..text.cleaning import listed
from ..text.masking import masked_tail
from . import runtimes, services
from .addons import metrics_wait
from .drain import cordoned_by, drained, uncordoned
from .install import runtime
from .registry import ahead as images_ahead
from .registry import checked

CONFIG, UNIT = "/run/kubefab-upgrade.yaml", "kubefab-upgrade"
COMPONENTS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
OLD_ETCD = f"{STATE}/etcd-before.yaml"  # the manifest before etcd's own patch step
BEGUN = "upgrade-begun-"  # a mark, with the release: static pods of the control plane are being changed
_MANIFESTS, _TMP = "/etc/kubernetes/manifests", "/etc/kubernetes/tmp"
_SAFE = numbers(ETCD_BEFORE["3.7"])  # etcd's first release of 3.6 that 3.7 may follow
_PATCHES = ETCD_STEPS["3.7"]
_HAS_37 = 37  # the first minor of Kubernetes whose kubeadm brings etcd 3.7, for a plan: a run asks kubeadm


# --- what was seen


def tag(image: str) -> str:
    """An image's tag: `v1.36.4`; empty where it is named by digest alone."""
    return image.partition("@")[0].rpartition("/")[2].partition(":")[2]


def plane_releases(facts: NodeFacts) -> dict[str, str]:
    """The release of each part of the control plane, as it is written where that part is run from; "" for one that was not seen.

    Like {"kube-apiserver": "1.36.4", …, "kube-proxy": "1.36.4", "configuration": "1.36.4"}.
    """
    found = {name: forms.release(tag(facts.manifests.get(name, ""))) for name in COMPONENTS}
    found["kube-proxy"] = forms.release(tag(facts.proxy_image))
    found["configuration"] = forms.release(str(facts.configured.get("kubernetesVersion", "")))
    return found


def plane_done(ctx: Context) -> bool:
    """Whether every part of the control plane has the release; kube-proxy is the last that kubeadm changes."""
    return set(plane_releases(ctx.facts).values()) == {ctx.recipe.version}


def kubelet_done(ctx: Context) -> bool:
    """Whether the node's packages are there, held, and the kubelet that reports is that release."""
    facts, packages = ctx.facts, family(ctx.facts)
    return (
        packages is not None
        and packages.installed(facts, ctx.recipe)
        and _control(ctx).kubelet_release(facts.hostname) == ctx.recipe.version
    )


def begun(ctx: Context) -> bool:
    """Whether this node is on its way to the release, or there: what was examined before it began is not examined again.

    A new kubeadm alone is none of it: a person may have installed it to see what it plans. Ours comes to a worker after our cordon.
    """
    facts, version = ctx.facts, ctx.recipe.version
    if not _new_kubeadm(ctx):
        return facts.release("kubelet") == version
    if ctx.node.control_plane:
        return BEGUN + version in facts.undo or not facts.initialised or version in plane_releases(facts).values()
    return facts.release("kubelet") == version or ours(ctx)


def ours(ctx: Context) -> bool:
    """Whether this machine's Node has our cordon."""
    return any(cordoned_by(ctx, name) for name in own_nodes(_control(ctx), ctx.node, ctx.facts))


def node_done(ctx: Context) -> bool:
    """Whether nothing of the upgrade is left on this node, but perhaps our cordon."""
    return kubelet_done(ctx) and not runtimes.waits(ctx) and (not ctx.node.control_plane or plane_done(ctx))


def state(ctx: Context) -> str:
    """Which release a node has, for people: `1.37.2`, or what of it has which."""
    facts = ctx.facts
    seen = {name: facts.release(name) for name in ("kubeadm", "kubelet")}
    seen["the kubelet that runs"] = _control(ctx).kubelet_release(facts.hostname)
    if ctx.node.control_plane:
        seen |= plane_releases(facts)
    by_release: dict[str, list[str]] = {}
    for name, release in seen.items():
        if release:
            by_release.setdefault(release, []).append(name)
    late = ", containerd was replaced and not restarted" * facts.replaced
    if len(by_release) < 2:
        return next(iter(by_release), "not seen") + late
    rows = sorted(by_release.items(), key=lambda row: numbers(row[0]))
    return ", ".join(f"{listed(names, 6)} {release}" for release, names in rows) + late


def upgraded(facts: NodeFacts, version: str) -> NodeFacts:
    """A control plane's facts as they will be after its upgrade, for the plan of what comes after it."""
    names = {**{name: f"registry.k8s.io/{name}:v{version}" for name in COMPONENTS}}
    return replace(
        facts,
        manifests={**facts.manifests, **names},
        api_release=version,
        proxy_image=f"registry.k8s.io/kube-proxy:v{version}",
        configured={**facts.configured, "kubernetesVersion": f"v{version}"},
    )


def fetched(ctx: Context) -> NodeFacts:
    """A node's facts as they will be once its images are there, for the plan of what comes after it."""
    known = ctx.recipe.kubeadm_images(control_plane=ctx.node.control_plane, known=_known(ctx).facts.kubeadm_images)
    return replace(
        ctx.facts, images=ctx.facts.images | {images.full(one) for one in (*ctx.recipe.worker_images, *known)}
    )


def _control(ctx: Context) -> NodeFacts:
    return ctx.facts if ctx.node.control_plane or ctx.control is None else ctx.control


def _new_kubeadm(ctx: Context) -> bool:
    return ctx.facts.release("kubeadm") == ctx.recipe.version


def _known(ctx: Context) -> Context:
    """The context without the images that an older kubeadm says: it does not know this release's etcd and CoreDNS."""
    return ctx if _new_kubeadm(ctx) else replace(ctx, facts=replace(ctx.facts, kubeadm_images=()))


# --- on every node, before the first is changed


def ahead(ctx: Context) -> Iterator[Action]:
    """Repositories of the new release, its packages fetched, its images pulled: what is missing is known before a node is cordoned."""
    if node_done(ctx):
        return
    packages = family(ctx.facts)
    if packages is None:
        return
    if not kubelet_done(ctx) and not packages.installed(ctx.facts, ctx.recipe):
        for one in packages.obstacles(ctx.facts, ctx.recipe):
            if isinstance(one, Stop):
                yield replace(one, id="ahead.sources")
                return
        yield from packages.ahead(ctx.facts, ctx.recipe, "ahead")
    yield from runtimes.fetched(ctx, "ahead")
    pulled = tuple(images_ahead(_known(ctx), "ahead"))
    yield from pulled
    if any(isinstance(one, Stop) for one in pulled):
        return
    named = [ctx.recipe.pinned(image) for image in ctx.recipe.worker_images]
    yield Wait(
        "ahead.there",
        "the images of the new release are here",
        probe="; ".join(f"crictl inspecti -q {quote(name)} >/dev/null 2>&1 || echo {quote(name)}" for name in named),
        until=lambda seen: (
            f"lacks {', '.join(forms.text(line) for line in seen.splitlines()[:3])}" if seen.strip() else None
        ),
        deadline=30,
        hint="did the kubelet's image collection take them at once? `df -h /var/lib/containerd` there: it does so on a full disk",
    )


# --- the control plane


def tools(ctx: Context) -> Iterator[Action]:
    """The release's kubeadm, which is what knows the rest."""
    if _new_kubeadm(ctx) or node_done(ctx):
        return
    yield _tools(ctx, "tools")


def _tools(ctx: Context, phase: str) -> Step:
    packages = family(ctx.facts)
    return Step(
        f"{phase}.kubeadm",
        f"kubeadm {ctx.recipe.version}",
        packages.exactly(("kubeadm",), ctx.facts, ctx.recipe) if packages else (),
        timeout=600,
        fetches=True,
        hint="the last lines say which package or source; run this again",
    )


def etcd(ctx: Context) -> Iterator[Action]:
    """etcd's own patch first, where 3.7 follows: a member of 3.6 before 3.6.11 is not made for that step."""
    present = ctx.facts.manifests.get("etcd", "")
    if not present or plane_done(ctx) or not (3, 6) <= numbers(tag(present)) < _SAFE or _next_etcd(ctx) < (3, 7):
        return
    repository = images.repository(present)
    pinned = [image for image in ctx.recipe.pins if images.repository(image) == images.repository(images.full(present))]
    candidates = _PATCHES
    if ctx.recipe.pins:
        safe = (tag(image) for image in pinned if _SAFE <= numbers(tag(image)) < (3, 7))
        candidates = tuple(sorted(safe, key=numbers, reverse=True)[:1])
    if not candidates:
        yield Stop(
            "etcd.pinned",
            f"etcd is {tag(present)}, and 3.7 may follow only 3.6.11 or later: the file of digests pins none of those",
            f"add the line of {repository}:{_PATCHES[0]}, or of an earlier patch that your registry has, to IMAGE_DIGESTS",
        )
        return
    new = f"{_TMP}/kubefab-etcd.yaml"
    tries = f"for t in {' '.join(candidates)}; do if crictl pull {quote(repository)}:$t >/dev/null 2>&1; then tag=$t; break; fi; done"
    none = quote(f"the registry has none of {repository}:{candidates[-1]} to {candidates[0]}")
    yield Step(
        "etcd.patch",
        f"etcd {tag(present)} to the newest patch of 3.6 that the registry has, as 3.7 follows",
        (
            'tag=""',
            tries,
            f'[ -n "$tag" ] || {{ echo {none}; exit 65; }}',
            *(
                checked(f"{repository}:{name}", ctx.recipe.pin(f"{repository}:{name}"))
                for name in candidates
                if ctx.recipe.pins
            ),
            f"install -d -m 0700 {_TMP} {STATE}",
            f"touch {STATE}/{BEGUN}{ctx.recipe.version}",
            f"[ -e {OLD_ETCD} ] || cp -p {ETCD_MANIFEST} {OLD_ETCD}",
            f'(umask 077; sed "s|^\\( *image: *\\).*|\\1{repository}:$tag|" {ETCD_MANIFEST} >{new})',
            "sync",
            f"mv -f {new} {ETCD_MANIFEST}",
        ),
        timeout=900,
        hint="nothing but etcd's manifest was to be changed; put an etcd from 3.6.11 on into your registry, then run this again",
    )
    yield Wait(
        "etcd.healthy",
        "etcd is healthy with that patch",
        probe="curl -s --max-time 5 http://127.0.0.1:2381/metrics | grep '^etcd_server_version' || true; "
        "curl -s --max-time 5 http://127.0.0.1:2381/health",
        until=_etcd_safe,
        deadline=240,
        interval=1,
        remedies=(
            *(Remedy(_LET_GO, (_HELD_UP,), after=after) for after in (10, 15, 30)),
            Remedy("restart the kubelet", ("systemctl restart kubelet",), after=90),
        ),
        hint=f"the data are still of 3.6: `cp -p {OLD_ETCD} {ETCD_MANIFEST}` on {ctx.node.name} puts the earlier image back",
        evidence=(
            "crictl ps -a --name etcd 2>&1 | tail -n 4",
            "crictl logs --tail 8 $(crictl ps -aq --name etcd | head -n 1) 2>&1",
        ),
    )
    yield api_wait(
        "etcd.api", deadline=240, hint="`crictl ps -a` on the control plane", more="crictl ps -a 2>&1 | tail -n 4"
    )


# An API without etcd answers only after a minute, and the kubelet asks it for volume claims and for the pod's old mirror before it starts etcd
# again: two minutes or more. One that is gone refuses at once (kubernetes pkg/kubelet/volumemanager/populator, pkg/kubelet/kubelet.go SyncPod).
_LET_GO = "end the API's container, if etcd does not run: the kubelet waits for its answers before it starts etcd"
_OF = "--label io.kubernetes.pod.namespace=kube-system --label io.kubernetes.container.name="
_HELD_UP = (
    f'if [ -e {ETCD_MANIFEST} ] && [ -z "$(crictl ps -q {_OF}etcd)" ]; then ids=$(crictl ps -q {_OF}kube-apiserver); '
    '[ -z "$ids" ] || crictl stop --timeout 1 $ids >/dev/null || true; fi'
)


def _next_etcd(ctx: Context) -> tuple[int, ...]:
    """The etcd that kubeadm brings with this release: what it says itself, or what the cluster's configuration asks for."""
    local = ctx.facts.configured.get("etcd") or {}
    asked = (local.get("local") or {}).get("imageTag") if isinstance(local, dict) else None
    if asked:
        return numbers(str(asked))
    if _new_kubeadm(ctx):
        own = [image for image in ctx.facts.kubeadm_images if images.repository(image).endswith("/etcd")]
        if own:
            return numbers(tag(own[0]))
    return (3, 7) if int(ctx.recipe.minor.partition(".")[2]) >= _HAS_37 else (3, 6)


def _etcd_safe(seen: str) -> str | None:
    version = seen.partition('server_version="')[2].partition('"')[0]
    if not forms.has(version, "[0-9.]{5,12}"):
        return "etcd does not answer"
    if numbers(version) < _SAFE:
        return f"etcd {version} still runs"
    return None if '"health":"true"' in seen else f"etcd {version} is not healthy"


def plane(ctx: Context) -> Iterator[Action]:
    """kubeadm upgrade apply, in a unit of its own: the end of our connection, or of this program, does not end it."""
    if plane_done(ctx):
        return
    yield from images_ahead(_known(ctx), "plane")
    back = _way_back(ctx)
    # kubeadm's own check, a Job, has a minute: after a boot, all of it may be needed for this. One that is at work already is waited for instead
    yield _led("plane", unless=f"systemctl is-active -q {UNIT}")
    yield Step(
        "plane.apply",
        f"kubeadm upgrade apply {ctx.recipe.version}",
        (
            f"install -d -m 0700 {STATE}",
            f"touch {STATE}/{BEGUN}{ctx.recipe.version}",
            f"systemctl is-active -q {UNIT} || {{ systemctl reset-failed {UNIT} 2>/dev/null || true; "
            f"systemd-run -q --unit={UNIT} --setenv=KUBECONFIG=/etc/kubernetes/admin.conf --setenv=HOME=/root "
            f"kubeadm upgrade apply --yes --config {CONFIG}; }}",
        ),
        files=(File(CONFIG, ctx.recipe.upgrade_config(), mode="0600"),),
        hint="run this again",
    )
    yield Wait(
        "plane.applied",
        "kubeadm changes the control plane",
        probe=f"systemctl is-active {UNIT} || true; journalctl -u {UNIT} -o cat -n 1 --no-pager 2>/dev/null",
        until=_running,
        deadline=1200,
        interval=1,
        # kubeadm waits for the API to show the new static pod, and the kubelet may report it late (kubernetes/kubeadm 3297): one that starts does
        remedies=(
            *(Remedy(_LET_GO, (_HELD_UP,), after=after) for after in (20, 30)),
            *(
                Remedy("restart the kubelet, if kubeadm waits for a pod that runs", (_UNSEEN,), after=after)
                for after in (50, 150)
            ),
        ),
        hint=back,
        evidence=(_SAYS, "crictl ps -a 2>&1 | tail -n 12"),
    )
    yield api_wait("plane.api", deadline=300, hint=back, more=_SAYS)
    yield Step(
        "plane.ended",
        "kubeadm has ended well",
        (
            f"if systemctl is-failed -q {UNIT}; then {_SAYS} | tail -n 12; "
            f"if {_SAYS} | grep -E '{_AGAIN}' >/dev/null; then kubeadm upgrade apply --yes --config {CONFIG}; else exit 1; fi; fi",
            f"systemctl reset-failed {UNIT} 2>/dev/null || true",
            f"rm -f {CONFIG} {STATE}/{BEGUN}*",
        ),
        timeout=1200,
        hint=back,
    )


# Done but not seen: kubeadm put the manifests back, and does it again from there. Or nothing is done: its own check, a Job, has a minute, which a
# control plane that has just booted may need for itself.
_AGAIN = r"static Pod hash|ERROR CreateJob\]: .* did not complete in"
_SAYS = f"journalctl -u {UNIT} -o cat -n 60 --no-pager 2>&1"
_UNSEEN = (
    f"if journalctl -u {UNIT} -o cat -n 1 --no-pager 2>/dev/null | grep -q 'This can take up to'; then all=yes; "
    f"""for f in {_MANIFESTS}/*.yaml; do i=$(sed -n 's|^ *image: *||p' "$f" | head -n 1); """
    'crictl ps -o json | grep -F "\\"$i\\"" >/dev/null || all=no; done; if [ $all = yes ]; then systemctl restart kubelet; fi; fi'
)


def _running(seen: str) -> str | None:
    first, _, said = seen.strip().partition("\n")
    return (masked_tail(said) or "begins") if first in ("active", "activating", "reloading") else None


def _way_back(ctx: Context) -> str:
    """What is true where kubeadm fails: it puts manifests back, not data."""
    again = "run this again: it goes on from what it sees"
    before = numbers(tag(ctx.facts.manifests.get("etcd", "")))[:2]
    if ctx.recipe.minor == f"1.{_HAS_37}" and numbers(plane_releases(ctx.facts)["kube-apiserver"])[:2] < (1, _HAS_37):
        before = (3, 6)  # what the cluster had, also where kubeadm has changed etcd and then failed
    restore = f"`inv cluster.restore FILE {ctx.environment.option}` of the backup that was taken before, and what was changed since is lost"
    if before and before < _next_etcd(ctx)[:2]:
        return (
            f"{again}. kubeadm puts the old manifests back, but once an etcd of {'.'.join(map(str, _next_etcd(ctx)[:2]))} has run, "
            f"an older one does not open its data: the way back is then {restore}"
        )
    return f"{again}. kubeadm puts back the manifests of a change that fails, and etcd's data are of the same release. If all else fails: {restore}"


# --- kubelets


def kubelet(ctx: Context) -> Iterator[Action]:
    """The node's packages and its kubelet; a worker is drained for it, and takes pods again once all of it is new and proved."""
    worker, phase = not ctx.node.control_plane, "kubelet"
    if kubelet_done(ctx) and not runtimes.waits(ctx):
        back = tuple(uncordoned(ctx, phase)) if worker else ()
        if back or not _control(ctx).node_ready(ctx.facts.hostname):  # a run that ended before its proof
            yield from _proved(ctx, phase)
            yield from back
        return
    facts, packages = ctx.facts, family(ctx.facts)
    if packages is None:
        return
    if worker:
        yield services.everywhere(
            ctx, f"{phase}.services", "kube-proxy is the new one on every node, and has written its rules"
        )
        yield from drained(ctx, phase)
    # before the kubelet's package, which may restart the kubelet: one that reports the new release shows that this is done as well
    yield from runtimes.changed(ctx, phase)
    if worker and not packages.installed(facts, ctx.recipe):
        if not _new_kubeadm(ctx):
            yield _tools(ctx, phase)
        yield Step(
            f"{phase}.node",
            "the cluster's configuration of the kubelet",
            (f"kubeadm upgrade node --config {CONFIG}", f"rm -f {CONFIG}"),
            files=(File(CONFIG, ctx.recipe.upgrade_config(), mode="0600"),),
            hint=f"does this node reach the API at {ctx.environment.endpoint}? `inv cluster.doctor` tests it. The node stays cordoned",
        )
    if not packages.installed(facts, ctx.recipe):
        yield Step(
            f"{phase}.packages",
            f"kubelet and kubectl {ctx.recipe.version}",
            packages.exactly(UPGRADED, facts, ctx.recipe),
            timeout=900,
            fetches=True,
            hint="the last lines say which package or source; run this again",
        )
    yield from runtime(ctx, phase)
    yield Step(
        f"{phase}.restart",
        f"the kubelet runs as {ctx.recipe.version}",
        ("systemctl daemon-reload", "systemctl restart kubelet"),
        evidence=("journalctl -u kubelet -n 100 --no-pager 2>&1 | grep -E ' [EF][0-9]{4} ' | tail -n 4",),
    )
    yield from _proved(ctx, phase, runtimes.back(ctx))
    if worker:
        yield from uncordoned(ctx, phase, after=True)


def _proved(ctx: Context, phase: str, back: str = "") -> Iterator[Action]:
    """The new kubelet reports Ready, flannel's link is there, and the node's own pods run."""
    name, version = quote(ctx.facts.hostname), ctx.recipe.version
    path = '{.status.nodeInfo.kubeletVersion}{" "}{.status.conditions[?(@.type=="Ready")].status}'
    stays = f". Node {ctx.facts.hostname} stays cordoned, and no further one is touched" * (not ctx.node.control_plane)
    stays += f". If it is containerd's: {back}" * bool(back)
    yield Wait(
        f"{phase}.ready",
        f"the node is Ready with the kubelet {version}",
        probe=f"kubectl --request-timeout=5s get node {name} -o jsonpath='{path}' 2>&1",
        until=lambda seen: None if seen.split() == [f"v{version}", "True"] else _reported(seen),
        deadline=240,
        interval=1,
        on="control-plane",
        remedies=(Remedy("restart the kubelet", ("systemctl restart kubelet",), after=120),),
        hint=f"`journalctl -u kubelet -n 50` on {ctx.node.name}: a flag or a feature gate that {version} does not know ends it at once{stays}",
        evidence=(f"kubectl describe node {name} 2>&1 | sed -n '/Conditions/,/Addresses/p'",),
    )
    if ctx.node.control_plane:
        yield _settled(ctx, phase)
        yield _led(phase)
    yield interface_wait(
        f"{phase}.flannel",
        Expected(("flannel.1",), ctx.settings.pod_cidr),
        settings=ctx.settings,
        hostname=ctx.facts.hostname,
        renew=ctx.renew(),
    )
    yield Wait(
        f"{phase}.pods",
        "its kube-proxy, flannel and Telegraf run",
        probe="; ".join(
            f"kubectl --request-timeout=5s get pods -n {namespace} -l {label} --field-selector spec.nodeName={name} --no-headers 2>/dev/null "
            "|| echo no answer"
            for namespace, label in _OWN_PODS
        ),
        until=_pods_run,
        deadline=300,
        interval=1,
        on="control-plane",
        hint=f"`kubectl describe pods -A --field-selector spec.nodeName={ctx.facts.hostname}` on the control plane{stays}",
        evidence=(f"kubectl get pods -A -o wide --field-selector spec.nodeName={name} 2>&1",),
    )
    yield from services.written(ctx, f"{phase}.rules")
    if ctx.facts.hostname in _control(ctx).reporting:
        # what the first wait sees on the node, for the second, which asks InfluxDB: metrics of before are there for a minute
        since: list[float] = []
        yield Wait(
            f"{phase}.clock",
            "its clock says from when on its metrics are of the new kubelet",
            probe="date +%s",
            until=lambda seen: _noted(seen, since),
            deadline=30,
            interval=1,
        )
        yield metrics_wait(
            f"{phase}.metrics",
            ctx.facts.hostname,
            ctx.settings,
            _control(ctx).retention,
            lambda: max(since, default=0.0),
        )


def _noted(seen: str, since: list[float]) -> str | None:
    """None for seconds since 1970, which are then in `since`."""
    if not forms.has(seen.strip(), "[0-9]{10,11}"):
        return masked_tail(seen) or "no answer"
    since[:] = [float(seen)]
    return None


def _settled(ctx: Context, phase: str) -> Wait:
    """The static pods are those of the kubelet that runs: another minor release gives them other uids, and starts all again, etcd and the API too.

    It reports Ready before that, through the API that is about to go. A kubelet that cannot be asked (another port) is not waited for.
    """
    login = f"--cert {PKI}/apiserver-kubelet-client.crt --key {PKI}/apiserver-kubelet-client.key"
    # a static pod's uid is an MD5 sum, without dashes
    uids = """grep -oE '"uid": *"[0-9a-f]{32}"' | grep -oE '[0-9a-f]{32}' | sort -u"""
    return Wait(
        f"{phase}.static",
        "the control plane's pods are the new kubelet's, and the API answers",
        probe=f"if p=$(curl -sk --max-time 5 {login} https://127.0.0.1:10250/pods); then echo asked; "
        f"echo \"$p\" | {uids} | sed 's/^/wants /' || true; fi; "
        f"crictl pods --namespace kube-system --state ready -o json | {uids} | sed 's/^/runs /' || true; "
        "kubectl --request-timeout=5s get --raw=/readyz 2>&1",
        until=_is_settled,
        deadline=240,
        interval=1,
        hint="`crictl ps -a` on the control plane shows which of its containers does not run; run this again",
        evidence=("crictl ps -a 2>&1 | tail -n 12",),
    )


def _is_settled(seen: str) -> str | None:
    lines = seen.splitlines()
    wants, runs = ({line.split()[1] for line in lines if line.startswith(word)} for word in ("wants ", "runs "))
    if "asked" in lines and (not wants or wants != runs):
        return "the kubelet starts the control plane's pods"
    return answers_ok("\n".join(line for line in lines if line != "asked" and not line.startswith(("wants ", "runs "))))


def _led(prefix: str, unless: str = "") -> Wait:
    """The controller manager and the scheduler that run now hold their leases, or another control plane's do: a drain needs both.

    The lease of one that was killed is taken over only after 15 s (kube-controller-manager --leader-elect-lease-duration). Until then a Service
    still sends requests to pods that have gone. One that does not elect a leader has no lease and is not waited for.
    """
    started = """-o json | grep -oE '"createdAt": *"[0-9]{10}' | grep -oE '[0-9]{10}$' | sort | tail -n 1"""
    renewed = "kubectl --request-timeout=5s -n kube-system get lease $n -o jsonpath='{.spec.renewTime}' 2>/dev/null"
    return Wait(
        f"{prefix}.controllers",
        "the controller manager and the scheduler are at work",
        probe=f"{unless} || "
        * bool(unless)
        + f"for n in kube-controller-manager kube-scheduler; do if ! grep -q -e --leader-elect=false {_MANIFESTS}/$n.yaml; then "
        f'echo "$n $(crictl ps {_OF}$n {started}) $({renewed})"; fi; done; echo asked',
        until=_leads,
        deadline=240,
        interval=1,
        hint="`crictl ps -a` and `crictl logs` on the control plane show what they wait for; run this again",
        evidence=("crictl ps -a 2>&1 | tail -n 12",),
    )


def _leads(seen: str) -> str | None:
    """`until` of that wait, from rows of NAME, the seconds since 1970 at which its container was made, when its lease was renewed."""
    *rows, end = seen.splitlines() or [""]
    if end != "asked":
        return "no answer"
    for row in rows:
        name, started, renewed = (*row.split(), "", "", "")[:3]
        if not forms.has(started, "[0-9]{10}"):
            return forms.text(f"{name} does not run")
        began = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(int(started)))
        if not forms.has(renewed, forms.MOMENT) or renewed[:19] <= began:
            return forms.text(f"{name} waits for its lease")
    return None


def _reported(seen: str) -> str:
    words = seen.split()
    if len(words) == 2 and forms.release(words[0]):
        return f"its kubelet is {words[0]}, Ready {words[1]}"
    return masked_tail(seen) or "no answer"


_OWN_PODS = (("kube-system", "k8s-app=kube-proxy"), ("kube-flannel", "app=flannel"), ("monitoring", "app=telegraf"))


def _pods_run(output: str) -> str | None:
    """Rows of `kubectl get pods`: NAME READY STATUS …"""
    rows = [line.split() for line in output.splitlines() if line.strip()]
    if not rows or any(len(row) < 3 or not forms.has(row[1], "[0-9]{1,3}/[0-9]{1,3}") for row in rows):
        return masked_tail(output) or "no pods yet"
    waiting = [" ".join(row[:3]) for row in rows if len(set(row[1].split("/"))) > 1 or row[2] != "Running"]
    return forms.text(", ".join(waiting[:3])) or None
