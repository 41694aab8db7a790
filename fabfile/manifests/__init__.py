"""The manifests that kubefab applies: templates, rendered with the environment's values and stamped with their digest.

By the stamp a later run sees, without a diff, that exactly this text was applied.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from ..context import Context
from ..nodes.applied import STAMP
from ..nodes.facts import METRICS, STATE, NodeFacts
from ..nodes.influx import ADMIN, SECRET, lasting
from ..recipes.kubeadm import Recipe, digest
from ..records import dataclass
from ..steps import File, Step
from ..text import yamls

if TYPE_CHECKING:
    import jinja2

LOGIN = "kubefab.dev/login"  # an annotation of an InfluxDB that asks for its login
FOLDER = f"{STATE}/manifests"  # on the control plane: what was applied
VOLUME = "kubefab-influxdb"  # the PersistentVolume of that folder
MANAGED = "app.kubernetes.io/managed-by"
LABELS = {MANAGED: "kubefab"}
# The workload of each manifest that carries its stamp for the facts to find.
_WORKLOADS = {
    "flannel": "kube-flannel-ds",
    "monitoring": "monitoring-influxdb",
    "headlamp": "headlamp",
    "kube-web-view": "kube-web-view",
}
NAMES = tuple(_WORKLOADS)


@cache
def _templates() -> jinja2.Environment:
    import jinja2

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # YAML, not HTML
    )


def load(recipe: Recipe) -> None:
    """Render an environment's manifests, for a caller that has to wait anyway: they need as long as an observation."""
    if not recipe.settings.release.configured:
        return
    for name in ("flannel", "monitoring", recipe.settings.dashboard):
        if name in _WORKLOADS:
            _rendered(name, recipe)


@dataclass(frozen=True)
class Manifest:
    """A rendered manifest: its own words, the workload to look for, and the stamp on it."""

    name: str
    workload: str
    plain: str
    stamp: str

    @property
    def text(self) -> str:
        """What is applied: with our labels and the stamp on it."""
        return _stamped(self.plain)

    @property
    def path(self) -> str:
        """Its path on the control plane."""
        return f"{FOLDER}/{self.name}.yaml"

    def step(self, id: str, title: str, before: tuple[str, ...] = ()) -> Step:
        """Apply it on the control plane, server-side, so that a second apply changes nothing; `before` are lines to run first, in its namespace.

        An object that is there already under one of its names must have our label: kubefab takes over no object of others.
        """
        namespace = (f"sed '/^---$/q' {self.path} | {_APPLY} -f -",) if before else ()
        return Step(
            id,
            title,
            (_others(self.path), *namespace, *before, f"{_APPLY} -f {self.path}"),
            files=(File(self.path, self.text, mode="0600"),),
            timeout=120,
            hint="the last line names the object that the API refused. What is not kubefab's was there before: delete or rename it, or, if it "
            f"is meant for kubefab, `kubectl label KIND NAME {MANAGED}=kubefab` on the control plane (with `-n NAMESPACE` where it is in one)",
        )

    def removal(self, id: str, title: str) -> Step:
        """Delete what it has, last ones first, each only if it has our label; a namespace stays."""
        lines = []
        for document in reversed(list(yamls.documents(self.text))):
            kind, metadata = document["kind"], document["metadata"]
            if kind == "Namespace":
                continue
            place = f"kubectl -n {metadata.get('namespace', 'default')}"
            what, label = f"{kind.lower()} {metadata['name']}", r"{.metadata.labels.app\.kubernetes\.io/managed-by}"
            lines.append(
                f"""if [ "$({place} get {what} --ignore-not-found -o jsonpath='{label}')" = kubefab ]; """
                f"then {place} delete {what} --ignore-not-found --timeout=60s; fi"
            )
        return Step(id, title, (*lines, f"rm -f {self.path}"), timeout=300)


# Not validated here: for that kubectl reads the API's whole schema each time, half a second of CPU. tests/lab validates what is rendered.
_APPLY = "kubectl apply --server-side --force-conflicts --validate=false"
_COLUMNS = r"BY:.metadata.labels.app\.kubernetes\.io/managed-by,KIND:.kind,IN:.metadata.namespace,NAME:.metadata.name"


def _others(path: str) -> str:
    """A shell line that fails where objects of this manifest exist without our label, and prints their names."""
    return (
        f"others=$(kubectl get -f {path} --ignore-not-found --no-headers -o custom-columns='{_COLUMNS}'); "
        "others=$(printf '%s\\n' \"$others\" | grep -v '^kubefab ' | grep . || true); "
        """[ -z "$others" ] || { echo "not made by kubefab (by, kind, namespace, name): $others"; false; }"""
    )


_LOGINS = f"kubectl -n monitoring get secret {SECRET} -o name >/dev/null 2>&1"  # whether they are there


def login(retention: str) -> str:
    """A shell line that makes InfluxDB's logins, if there are none: generated on the control plane, never an argument of a process.

    Beside them is the policy that a new database begins with: its metrics are kept for `retention`, a duration of hosts.env. The API refuses
    a second Secret of that name, so those that are in use are never replaced.
    """
    password = "head -c 32 /dev/urandom | sha256sum | cut -d' ' -f1"
    secret = (
        f'{{"apiVersion":"v1","kind":"Secret","metadata":{{"name":"{SECRET}","namespace":"monitoring","labels":{{"{MANAGED}":"kubefab"}}}},'
        f'"stringData":{{"{ADMIN}":"%s","telegraf":"%s","policy":"{lasting(retention)}"}}}}'
    )
    return (
        f"""said=$(printf '{secret}' "$({password})" "$({password})" | kubectl create -f - 2>&1) || """
        f'{_LOGINS} || {{ echo "$said"; false; }}'
    )


def begins_with(retention: str) -> str:
    """A shell line that changes that policy, where the logins are there."""
    patch = f'{{"stringData":{{"policy":"{lasting(retention)}"}}}}'
    return f"! {_LOGINS} || kubectl -n monitoring patch secret {SECRET} --type merge -p '{patch}'"


def manifest(name: str, ctx: Context) -> Manifest:
    """Render one template for an environment."""
    return _rendered(name, ctx.recipe)


@lru_cache(32)  # every phase of a node needs it
def _rendered(name: str, recipe: Recipe) -> Manifest:
    environment = recipe.environment
    text = (
        _templates()
        .get_template(f"{name}.yaml.j2")
        .render(
            settings=environment.settings,
            recipe=recipe,
            environment=environment,
            alone=not environment.workers,
            # our pods that belong on every node must run on those that a line of hosts.env keeps others away from
            taints=sorted({replace(taint, value="") for node in environment.nodes for taint in node.taints}),
            metrics=METRICS,
            volume=VOLUME,
            secret=SECRET,
            admin=ADMIN,
        )
    )
    return Manifest(name, _WORKLOADS[name], text, digest(text))


@lru_cache(32)  # an unchanged cluster needs the stamp alone
def _stamped(text: str) -> str:
    """A rendered text with our labels and its own digest on it."""
    stamp = digest(text)
    documents = list(yamls.documents(text))
    for document in documents:
        document["metadata"].setdefault("labels", {}).update(LABELS)
        if document["kind"] in ("DaemonSet", "Deployment"):
            document["metadata"].setdefault("annotations", {})[STAMP] = stamp
            # changed configuration must reach the pods, not only the ConfigMap
            template = document["spec"]["template"]["metadata"]
            template.setdefault("annotations", {})[STAMP] = stamp
    return yamls.dumped(*documents)


def present(name: str, facts: NodeFacts) -> bool:
    """True when the API holds the workload of the manifest of that name, as we applied it once, whatever its stamp."""
    return any(
        item["metadata"]["name"] == _WORKLOADS[name] and STAMP in item["metadata"].get("annotations", {})
        for item in facts.objects
    )


def applied(wanted: Manifest, facts: NodeFacts) -> bool:
    """True when the API holds the manifest's workload with this very stamp."""
    return any(
        item["metadata"]["name"] == wanted.workload
        and item["metadata"].get("annotations", {}).get(STAMP) == wanted.stamp
        for item in facts.objects
    )
