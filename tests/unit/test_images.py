"""Images by digest: the lock file, image names, what the phases do with the file, and how it is written from a cluster."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fabfile import inventory, phases
from fabfile.context import Context
from fabfile.errors import UsageError
from fabfile.inventory import Environment, images
from fabfile.manifests import manifest
from fabfile.nodes.facts import NodeFacts
from fabfile.nodes.observe import observe_script
from fabfile.phases import Phase
from fabfile.recipes.kubeadm import Recipe, recipe_for
from fabfile.steps import Action, Step, Stop
from fabfile.text.masking import Token
from fabfile.views import digests
from fabfile.views import plan as planning
from making import bare, control_plane, environment, fresh, installed, member

ETCD, DNS = "registry.k8s.io/etcd:3.6.8-0", "registry.k8s.io/coredns/coredns:v1.14.2"


def digest(number: int) -> str:
    return f"sha256:{number:064x}"


def pinning(folder: Path, *, without: str = "", extra: str = "", **settings: Any) -> Environment:
    """An environment whose lock file lists all its images, except those that contain `without`."""
    plain = recipe_for(environment())
    names = sorted({*plain.images(), ETCD, DNS} - {"registry.k8s.io/etcd", "registry.k8s.io/coredns/coredns"})
    lock = folder / "images.lock"
    lock.write_text(
        images.render({n: digest(i) for i, n in enumerate(names, 1) if not without or without not in n}) + extra
    )
    return environment(image_digests=str(lock), **settings)


def kubeadm(recipe: Recipe) -> tuple[str, ...]:
    """The images that the release's kubeadm lists."""
    return (
        *(
            f"registry.k8s.io/kube-{c}:v{recipe.version}"
            for c in ("apiserver", "controller-manager", "scheduler", "proxy")
        ),
        ETCD,
        DNS,
        recipe.pause,
    )


def holding(env: Environment, facts: NodeFacts, **other: str) -> NodeFacts:
    """Facts of a node with every pinned image; `other` gives some of them another digest, by the last part of the repository."""
    recipe = recipe_for(env)
    held = {
        name: other.get(images.repository(name).rsplit("/", 1)[1].replace("-", "_"), pin)
        for name, pin in recipe.pins.items()
    }
    refs = {f"{images.repository(name)}@{seen}": seen for name, seen in held.items()}
    return replace(facts, images=frozenset(held), digests={**held, **refs}, kubeadm_images=kubeadm(recipe))


def actions(phase: Phase, env: Environment, facts: NodeFacts, control: NodeFacts | None = None) -> list[Action]:
    node = next(n for n in env.nodes if n.name == facts.hostname)
    return list(
        bare(phase)(Context(env, node, facts, recipe_for(env), control=control, token=Token("abcdef.0123456789abcdef")))
    )


def commands(found: list[Action]) -> str:
    return "\n".join(line for a in found if isinstance(a, Step) for line in a.commands)


# --- names and the file

NAMES = [
    ("busybox", "docker.io/library/busybox:latest"),
    ("hjacobs/kube-web-view:23.8.0", "docker.io/hjacobs/kube-web-view:23.8.0"),
    ("docker.io/library/influxdb:1.12.4", "docker.io/library/influxdb:1.12.4"),
    ("10.2.0.5:5000/pause", "10.2.0.5:5000/pause:latest"),
    ("localhost/a:1", "localhost/a:1"),
    (f"ghcr.io/a/b:1@{digest(7)}", f"ghcr.io/a/b:1@{digest(7)}"),
]


@pytest.mark.parametrize(("written", "listed"), NAMES)
def test_names_are_those_that_containerd_lists(written: str, listed: str) -> None:
    assert images.full(written) == listed
    assert images.full(listed) == listed


def test_a_repository_is_the_name_without_tag_and_digest() -> None:
    assert images.repository("10.2.0.5:5000/a/pause:3.10") == "10.2.0.5:5000/a/pause"
    assert images.repository(f"busybox@{digest(1)}") == "docker.io/library/busybox"


@given(
    st.dictionaries(
        st.from_regex(r"[a-z]{1,8}(/[a-z]{1,8}){0,2}:[a-z0-9]{1,5}", fullmatch=True), st.integers(0, 2**256 - 1)
    )
)
def test_a_written_lock_file_is_read_back_unchanged(found: dict[str, int]) -> None:
    pins = {images.full(name): digest(number) for name, number in found.items()}
    assert images.parse(images.render(pins)) == (pins, [] if pins else images.parse("")[1])


WRONG = [
    ("busybox:1 sha256:12", "is not `image:tag sha256:…`"),
    (f"busybox:1 {digest(1)[7:]}", "is not `image:tag sha256:…`"),
    (f"busybox:1;reboot {digest(1)}", "is not `image:tag sha256:…`"),
    (f"$(reboot) {digest(1)}", "is not `image:tag sha256:…`"),
    (f"busybox:1 {digest(1)}\ndocker.io/library/busybox:1 {digest(2)}", "is named twice"),
    ("# nothing\n\n", "lists no image"),
]


@pytest.mark.parametrize(("text", "what"), WRONG)
def test_a_wrong_file_is_refused_with_its_line_before_anything_is_connected_to(
    text: str, what: str, tmp_path: Path
) -> None:
    (tmp_path / "hosts.env").write_text('A_CONTROL_PLANE="10.2.0.1"\nA_IMAGE_DIGESTS=images.lock\n')
    (tmp_path / "images.lock").write_text(text)
    with pytest.raises(UsageError) as caught:
        inventory.load("a", hosts_file=tmp_path / "hosts.env", variables={})
    assert what in str(caught.value)
    assert "images.lock:" in str(caught.value)


def test_a_file_that_is_not_text_or_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "hosts.env").write_text('A_CONTROL_PLANE="10.2.0.1"\nA_IMAGE_DIGESTS=images.lock\n')
    with pytest.raises(UsageError, match="no file"):
        inventory.load("a", hosts_file=tmp_path / "hosts.env", variables={})
    (tmp_path / "images.lock").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="not UTF-8"):
        inventory.load("a", hosts_file=tmp_path / "hosts.env", variables={})


# --- what is rendered


def test_our_manifests_name_every_image_by_digest(tmp_path: Path) -> None:
    env = pinning(tmp_path)
    ctx = Context(env, env.control_plane, fresh("cp1"), recipe_for(env))
    for name in ("flannel", "monitoring", "headlamp"):
        documents = list(yaml.safe_load_all(manifest(name, ctx).text))
        pods = [d["spec"]["template"]["spec"] for d in documents if d["kind"] in ("DaemonSet", "Deployment")]
        named = [c["image"] for pod in pods for c in (*pod.get("initContainers", ()), *pod["containers"])]
        assert named
        for image in named:
            tag, _, pin = image.partition("@")
            assert pin == recipe_for(env).pins[images.full(tag)], image


def test_the_sandbox_image_has_a_digest_and_no_tag(tmp_path: Path) -> None:
    """With a tag as well, it matches no reference that containerd has, and the kubelet may prune the image."""
    recipe = recipe_for(pinning(tmp_path))
    assert f'sandbox = "registry.k8s.io/pause@{recipe.pin(recipe.pause)}"' in recipe.containerd_config().content
    assert 'sandbox = "registry.k8s.io/pause:3.10.2"' in recipe_for(environment()).containerd_config().content


def test_an_image_that_is_written_with_its_digest_stays_as_it_is(tmp_path: Path) -> None:
    written = f"ghcr.io/x/flannel:1@{digest(99)}"
    recipe = recipe_for(pinning(tmp_path, flannel_image=written))
    assert recipe.pinned(written) == written
    assert written not in recipe.images()


# --- the phases


def test_images_are_pulled_then_checked_then_there_is_nothing_to_do(tmp_path: Path) -> None:
    env = pinning(tmp_path)
    before = installed(env, "cp1", images=frozenset())
    found = actions(phases.REGISTRY, env, before)
    assert [a.id for a in found] == ["registry.images", "registry.digests"]
    text = commands(found)
    assert f"crictl pull {ETCD}\n" in text, "by its tag: kubeadm names it so"
    assert f"crictl pull {env.settings.flannel_image}@sha256:" in text
    for image in kubeadm(recipe_for(env)):
        assert f"'{image}: the registry serves' \"$seen, pinned is {recipe_for(env).pin(image)}\"" in text
    assert actions(phases.REGISTRY, env, holding(env, installed(env, "cp1"))) == []


def test_a_worker_checks_what_a_worker_may_run(tmp_path: Path) -> None:
    text = commands(actions(phases.REGISTRY, pinning(tmp_path), installed(environment(), "w1", images=frozenset())))
    assert "kube-proxy" in text
    assert "coredns" in text
    assert "etcd" not in text
    assert "kube-apiserver" not in text


def test_a_different_image_is_pulled_again_where_nothing_runs_yet(tmp_path: Path) -> None:
    env = pinning(tmp_path)
    found = actions(phases.REGISTRY, env, holding(env, installed(env, "cp1"), kube_apiserver=digest(999)))
    assert commands(found).count("crictl pull") == 1
    assert [a.id for a in found] == ["registry.images", "registry.digests"]


@pytest.mark.parametrize("phase", [phases.MASTER, phases.JOIN])
def test_master_or_join_alone_still_checks_the_images(phase: Phase, tmp_path: Path) -> None:
    env = pinning(tmp_path)
    name = "cp1" if phase is phases.MASTER else "w1"
    control = control_plane(env)
    unchecked = replace(installed(env, name), kubeadm_images=kubeadm(recipe_for(env)))
    assert [a.id for a in actions(phase, env, unchecked, control)][:2] == ["registry.images", "registry.digests"]
    assert not [a for a in actions(phase, env, holding(env, installed(env, name)), control) if a.phase == "registry"]


def test_a_running_node_with_another_image_is_named_and_nothing_is_done(tmp_path: Path) -> None:
    env = pinning(tmp_path)
    (stop,) = actions(phases.REGISTRY, env, holding(env, member(env), kube_proxy=digest(999)), control_plane(env))
    assert isinstance(stop, Stop)
    assert f"kube-proxy:v{recipe_for(env).version} on this node is {digest(999)}, pinned is sha256:" in stop.reason
    assert "fab -H w1 reset" in stop.remedy
    assert actions(phases.REGISTRY, env, holding(env, member(env)), control_plane(env)) == []


def test_a_file_for_another_release_is_refused(tmp_path: Path) -> None:
    env = pinning(tmp_path)
    other = replace(env, settings=replace(env.settings, kubernetes="1.37"))
    (stop,) = actions(phases.REGISTRY, other, installed(other, "cp1"))
    assert isinstance(stop, Stop)
    assert "kube-apiserver:v1.36" in stop.reason
    assert "kube-apiserver:v1.37" in stop.reason


def test_etcds_tag_is_the_one_that_the_nodes_kubeadm_lists(tmp_path: Path) -> None:
    env = pinning(tmp_path)
    known = (*kubeadm(recipe_for(env))[:4], "registry.k8s.io/etcd:9.9.9-0", DNS, recipe_for(env).pause)
    (stop,) = actions(phases.REGISTRY, env, replace(holding(env, installed(env, "cp1")), kubeadm_images=known))
    assert isinstance(stop, Stop)
    assert "etcd:9.9.9-0" in stop.reason


def test_a_partial_lock_file_is_accepted_unless_it_is_strict(tmp_path: Path) -> None:
    env = pinning(tmp_path, without="headlamp")
    assert recipe_for(env).unlisted() == ("ghcr.io/headlamp-k8s/headlamp:v0.45.0",)
    assert actions(phases.REGISTRY, env, holding(env, installed(env, "cp1"))) == []
    strict = replace(env, settings=replace(env.settings, image_digests_strict=True))
    (stop,) = actions(phases.REGISTRY, strict, holding(env, installed(env, "cp1")))
    assert isinstance(stop, Stop)
    assert "headlamp:v0.45.0" in stop.reason


def test_etcd_is_named_also_when_its_tag_is_not_yet_known(tmp_path: Path) -> None:
    assert "registry.k8s.io/etcd" in recipe_for(pinning(tmp_path, without="etcd")).unlisted()


def test_without_a_lock_file_digests_are_not_observed() -> None:
    assert recipe_for(environment()).unlisted() == ()
    assert "digests=''" in observe_script(control_plane=True, files=[])


def test_release_1_5_ignores_the_lock_file(tmp_path: Path) -> None:
    env = pinning(tmp_path)
    assert recipe_for(replace(env, settings=replace(env.settings, kubernetes="1.5"))).pins == {}


def test_a_plan_shows_each_check_once(tmp_path: Path) -> None:
    env = pinning(tmp_path)
    planned = [
        line
        for p in planning.plan(env, phases.BOOTSTRAP, env.nodes)
        for line in planning.as_text(p, env, commands=True)
    ]
    assert sum("kube-apiserver" in line and "the registry serves" in line for line in planned) == 1
    assert sum("kube-proxy" in line and "the registry serves" in line for line in planned) == len(env.nodes)


# --- written from a cluster


def test_a_cluster_that_runs_tags_is_locked_completely(tmp_path: Path) -> None:
    pinned = pinning(tmp_path, without="busybox")
    env = environment()
    seen = {n.name: holding(pinned, installed(env, n.name)) for n in env.nodes}
    found = digests.collect(recipe_for(env), "cp1", seen)
    assert found.pins == recipe_for(pinned).pins
    assert found.missing == ("docker.io/library/busybox:1.37",)


def test_images_that_run_by_digest_are_read_from_the_manifests(tmp_path: Path) -> None:
    env = environment()
    template = {
        "spec": {"containers": [{"image": f"{env.settings.influxdb_image}@{digest(5)}"}, {"image": "no/digest:1"}]}
    }
    facts = replace(installed(env, "cp1"), objects=({"metadata": {"name": "x"}, "spec": {"template": template}},))
    assert digests.collect(recipe_for(env), "cp1", {"cp1": facts}).pins == {env.settings.influxdb_image: digest(5)}


def test_nodes_that_disagree_are_named(tmp_path: Path) -> None:
    env = pinning(tmp_path)
    seen = {
        "cp1": holding(env, installed(env, "cp1")),
        "w1": holding(env, installed(env, "w1"), kube_proxy=digest(999)),
    }
    found = digests.collect(recipe_for(env), "cp1", seen)
    (image,) = found.disagreeing
    assert "kube-proxy" in image
    assert found.disagreeing[image]["w1"] == digest(999)
    assert image not in found.pins
