"""`inv cluster.manifests`: exactly what bootstrap applies, as YAML that kubectl reads, without a secret."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from cli import run
from fabfile.inventory import load
from fabfile.manifests import FOLDER, LABELS
from fabfile.phases import BOOTSTRAP
from fabfile.text.masking import register
from fabfile.views.manifests import applied, rendered
from fabfile.views.plan import plan, written
from making import environment


def test_it_is_what_the_steps_write() -> None:
    env = environment(workers=2, dashboard="kube-web-view")
    texts = rendered(env)
    files = {file.path: file.content for _, file in written(plan(env, BOOTSTRAP, env.nodes), env)}
    assert applied(texts) == ["flannel", "kube-web-view", "monitoring"]
    assert list(texts) == [*applied(texts), "kubeadm-init", "kubeadm-join"]
    assert all(files[f"{FOLDER}/{name}.yaml"] == texts[name] for name in applied(texts))
    assert "nodeRegistration" in texts["kubeadm-join"] and "podSubnet: 10.44.0.0/16" in texts["kubeadm-init"]


def test_it_can_be_piped_into_kubectl_diff() -> None:
    done = run("inv", "cluster.manifests")
    objects = [document for document in yaml.safe_load_all(done.stdout) if document]
    assert done.returncode == 0 and len(objects) > 10
    assert all(one["apiVersion"] and one["kind"] and one["metadata"]["name"] for one in objects)
    assert all(one["metadata"]["labels"].items() >= LABELS.items() for one in objects)
    one = run("inv", "cluster.manifests", "--name", "flannel").stdout
    assert one and done.stdout.startswith(one)


@pytest.mark.parametrize("name", ["flannel", "monitoring", "kubeadm-init", "kubeadm-join"])
def test_no_secret_is_in_it(name: str) -> None:
    register("planted-10.44.0.0")
    env = environment(
        registry="r:5000",
        registry_user="u",
        registry_password="planted-10.44.0.0",
        kubelet_config='{"podLogsDir": "planted-10.44.0.0"}',
    )
    text = rendered(env)[name]
    assert "planted" not in text and "token: abcdef" not in text


def test_the_operators_own_are_there_too(tmp_path: Path) -> None:
    (tmp_path / "hosts.env").write_text("A_CONTROL_PLANE=10.9.9.9\nA_WORKER_1=10.9.9.10\n")
    folder = tmp_path / "addons"
    folder.mkdir()
    (folder / "10-shop.yaml").write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: shop}\ndata: {a: b}\n")
    texts = rendered(load("a", variables={"KUBEFAB_HOSTS": str(tmp_path / "hosts.env")}))
    assert yaml.safe_load(texts["addons/10-shop"])["data"] == {"a": "b"} and "addons/10-shop" in applied(texts)


def test_1_5_has_the_manuals_files() -> None:
    done = run("inv", "cluster.manifests", "--env", "aws", "--kubernetes", "1.5")
    assert done.returncode == 2 and "inv cluster.manual --env aws" in done.stderr
