"""The operator's own manifests on simulated nodes: applied, followed, taken away; others' objects and secrets are safe."""

from __future__ import annotations

import re
from pathlib import Path

from fabfile import inventory, phases
from fabfile.phases.reset import residue
from fabfile.run.pipelines import Run
from rehearsal.simulation import Simulation
from rehearsal_bed import Bed

WEB = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  replicas: {{ nodes | length }}
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: "docker.io/library/nginx:1.29"}]}
"""
SHOP = """\
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Secret
metadata: {name: login, namespace: shop}
stringData: {password: un4gettable-%s}
"""


def test_own_manifests_are_applied_followed_and_taken_away(bed: Bed, tmp_path: Path) -> None:
    folder = tmp_path / "project" / "addons"
    folder.mkdir()
    shop, web = folder / "10-shop.yaml", folder / "20-web.yaml.j2"

    def again(**expected: int) -> dict[str, str]:
        hosts = tmp_path / "project" / "hosts.env"
        bed.environment = inventory.load("rehearsal", variables={"KUBEFAB_HOSTS": str(hosts)})
        outcome = bed.run(
            [phases.EVERY["addons"]] if expected else phases.BOOTSTRAP, on=["master"] if expected else ["all"]
        )
        said.extend(outcome.recorder.lines)
        if expected:
            assert outcome.result.steps == expected["steps"], outcome.recorder.lines
        return {key: str(o["metadata"].get("labels", {}).get("kubefab.dev/addon")) for key, o in outcome.simulation.cluster.objects.items()
                if key.split("/")[1] == "shop" or key == "Namespace//shop"}  # fmt: skip

    said: list[str] = []
    shop.write_text(SHOP % "1")
    web.write_text(WEB)
    everything = {"Namespace//shop": "10-shop", "Secret/shop/login": "10-shop", "Deployment/shop/web": "20-web"}
    assert again() == everything
    assert sorted(row.fault for row in bed.facts()["cp1"].addons) == ["", "", ""]
    assert again(steps=0) == everything

    shop.write_text(SHOP % "2")
    assert again(steps=1) == everything
    web.unlink()
    shop.write_text("# nothing\n")
    assert again(steps=2) == {"Namespace//shop": "10-shop"}, "a namespace stays: it may hold what is not ours"
    assert again(steps=0) == {"Namespace//shop": "10-shop"}

    # an object that was there before, without our label
    def others(simulation: Simulation, run: Run) -> None:
        made = {
            "kind": "Deployment",
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"replicas": 0, "template": {"metadata": {"labels": {}}, "spec": {"containers": []}}},
        }
        simulation.cluster.apply(made, 0.0)

    web.write_text(WEB)
    bed.environment = inventory.load("rehearsal", variables={"KUBEFAB_HOSTS": str(tmp_path / "project" / "hosts.env")})
    refused = bed.run([phases.EVERY["addons"]], on=["master"], hook=others)
    error = refused.failed["cp1"]
    assert "not applied by kubefab (by, kind, namespace, name): <none>   Deployment   shop   web" in error.output
    (advised,) = re.findall(r"`(kubectl [^`]+ label KIND NAME kubefab.dev/addon=20-web)`", error.remedy)
    assert refused.simulation.cluster.objects["Deployment/shop/web"]["spec"]["replicas"] == 0

    def adopted(simulation: Simulation, run: Run) -> None:
        line = advised.replace("KIND NAME", "deployment web -n shop")
        assert run.group.of(simulation.environment.control_plane).root(f"{line}\n", 30)[0] == 0

    taken = bed.run([phases.EVERY["addons"]], on=["master"], hook=adopted)
    assert (
        taken.states == {"cp1": "done"}
        and taken.simulation.cluster.objects["Deployment/shop/web"]["spec"]["replicas"] == 3
    )
    assert "un4gettable" not in bed.written() + "\n".join(said)
    assert all(residue(facts) == [] for facts in (bed.reset(), bed.facts())[1].values())
