"""What we apply to a cluster: templates, rendered with the environment's values and stamped with their digest.

The stamp is how a later run sees, without a diff, that exactly this text was applied.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import jinja2

from .. import yamls
from ..context import Context
from ..facts import STATE, NodeFacts
from ..recipes.modern import digest
from ..steps import File, Step

STAMP = "kubefab.dev/digest"
METRICS = f"{STATE}/influxdb"  # on the control plane: InfluxDB's data
LABELS = {"app.kubernetes.io/managed-by": "kubefab"}
# The workload of each manifest that carries its stamp for the facts to find.
_WORKLOADS = {
    "flannel": "kube-flannel-ds",
    "monitoring": "monitoring-influxdb",
    "headlamp": "headlamp",
    "kube-web-view": "kube-web-view",
}
NAMES = tuple(_WORKLOADS)
_templates = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    undefined=jinja2.StrictUndefined,
    keep_trailing_newline=True,
    autoescape=False,  # YAML, not HTML
)


@dataclass(frozen=True)
class Manifest:
    """A rendered manifest: its text, the workload to look for, and the stamp on it."""

    name: str
    workload: str
    text: str
    stamp: str

    def step(self, id: str, title: str) -> Step:
        """Apply it on the control plane, server-side, so that a second apply changes nothing."""
        path = f"{STATE}/manifests/{self.name}.yaml"
        return Step(
            id,
            title,
            (f"kubectl apply --server-side --force-conflicts -f {path}",),
            files=(File(path, self.text, mode="0600"),),
            timeout=120,
            hint="the last line names the object that the API refused",
        )


def manifest(name: str, ctx: Context) -> Manifest:
    """Render one template for an environment."""
    text = _templates.get_template(f"{name}.yaml.j2").render(
        settings=ctx.settings,
        recipe=ctx.recipe,
        environment=ctx.environment,
        alone=not ctx.environment.workers,
        metrics=METRICS,
    )
    return _stamped(name, text)


@lru_cache(32)  # each observation of a node asks for it again
def _stamped(name: str, text: str) -> Manifest:
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
    return Manifest(name, _WORKLOADS[name], yamls.dumped(*documents), stamp)


def applied(wanted: Manifest, facts: NodeFacts) -> bool:
    """True when the API holds the manifest's workload with this very stamp."""
    return any(
        item["metadata"]["name"] == wanted.workload
        and item["metadata"].get("annotations", {}).get(STAMP) == wanted.stamp
        for item in facts.objects
    )
