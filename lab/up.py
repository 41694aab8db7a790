"""Brings the lab up and takes it down."""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from . import build as builder
from . import credentials, engine, gobuild, host, hostsenv, nodes, versions, webview
from . import settings as lab_settings
from .build import Built
from .engine import LABEL, Engine
from .errors import LabError, MissingError
from .host import Host
from .items import Say, duration
from .paths import cache_dir, hosts_env, state_dir
from .settings import NETWORK, Settings
from .shell import run
from .versions import Kubernetes

NODE_IMAGE = "kubefab-lab/node"
INFRA_IMAGE = "kubefab-lab/infra"
# What a build adds to the lab's cache and to Go's: the first build, and one that finds most of it there.
FIRST_GIB, NEXT_GIB = 10, 3
_REGISTRY_CONFIG = """version: 0.1
log: {{level: warn, accesslog: {{disabled: true}}}}
storage:
  filesystem: {{rootdirectory: /var/lib/registry}}
  cache: {{blobdescriptor: inmemory}}
  maintenance: {{readonly: {{enabled: true}}}}
http:
  addr: ":{port}"
  secret: {secret}
  tls: {{certificate: /etc/registry/server.crt, key: /etc/registry/server.key}}
auth:
  htpasswd: {{realm: kubefab-lab, path: /etc/registry/htpasswd}}
"""


def install(packages: list[str], say: Say) -> None:
    """Install Debian packages; without the right to do so raises MissingError with the command that does."""
    if not packages:
        return
    names = " ".join(dict.fromkeys(packages))
    command = f"apt-get install --no-install-recommends {names}"
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise MissingError(f"the lab needs: {names}", f"sudo {command}")
    say(f"installing what the lab needs: {names}")
    env = {"DEBIAN_FRONTEND": "noninteractive"}
    run(["apt-get", "-qq", "update"], env=env)
    run(["apt-get", "-qq", "install", "--yes", "--no-install-recommends", *dict.fromkeys(packages)], env=env)


def prepare_build(wanted: Sequence[Kubernetes], say: Say) -> None:
    """Install what this machine lacks for a build, and check that it can build and that the registries answer."""
    host.check_platform()
    gobuild.go_version()
    if os.geteuid() != 0:
        raise MissingError("building node images needs root (debootstrap, chroot)", "sudo -E inv lab.build")
    host.check_space([cache_dir(), *gobuild.cache_folders()], space(wanted))
    install(host.missing_to_build(), say)
    for release in wanted:
        gobuild.check_registry("k8s.io/kubernetes", f"v{release.version}")
    with TemporaryDirectory() as scratch:
        webview.check_pip(Path(scratch))


def space(wanted: Sequence[Kubernetes]) -> int:
    """How many GiB a build of these releases may take, after what the cache has of them."""
    built = cache_dir() / "items"
    new = sum(not any(built.glob(f"kubernetes-{release.version}-*")) for release in wanted)
    return (NEXT_GIB if built.is_dir() else FIRST_GIB) + NEXT_GIB * max(0, new - 1)


def prepare_engine(say: Say) -> Engine:
    """A Docker engine that answers; it is installed and started if necessary."""
    host.check_platform()
    found = engine.find()
    if found is not None:
        return found
    install(host.missing_to_run(), say)
    began = time.monotonic()
    started = engine.ensure()
    say(f"no Docker engine ran here: started one for the lab ({duration(time.monotonic() - began)})")
    return started


def build(kubernetes: str, say: Say, with_specs: bool = False) -> Built:
    """Fill the cache for these Kubernetes releases (commas between them); `with_specs`, also with kubeadm's own end-to-end specs."""
    wanted = versions.releases(kubernetes)
    host.check_platform()
    return builder.build(wanted, lambda: prepare_build(wanted, say), say, with_specs=with_specs)


def specs(kubernetes: str, say: Say) -> list[Path]:
    """The program with kubeadm's own end-to-end specs of each of these releases; built if it is missing."""
    wanted = versions.releases(kubernetes)
    host.check_platform()
    return builder.specs(wanted, lambda: prepare_build(wanted, say), say)


def prove(kubernetes: str, say: Say) -> None:
    """Try every recipe from nothing, except the compiles."""
    wanted = versions.releases(kubernetes)
    host.check_platform()
    builder.prove(wanted, lambda: prepare_build(wanted, say), say)


def up(workers: int, kubernetes: str, subnet: str, say: Say) -> Path:
    """Bring up the missing parts of the lab and return the path of hosts.env.

    `workers` is a minimum: existing nodes stay. Empty `kubernetes` and `subnet` mean those of the running lab, or
    the defaults. hosts.env gets the first release in `kubernetes`, or keeps its own if that is empty.
    """
    began = time.monotonic()
    wanted = choose(lab_settings.load(), workers, kubernetes, subnet, hostsenv.release(hosts_env()))
    host.check_platform()
    running = engine.find()
    if lab_settings.load() is None and (running is None or not has_network(running)):
        host.check_subnet(wanted.subnet)
    docker = prepare_engine(say)
    built = build(wanted.kubernetes, say)
    lab_settings.save(wanted)
    node_image = import_image(docker, NODE_IMAGE, built.node_tar, say)
    infra_image = import_image(docker, INFRA_IMAGE, built.infra_tar, say)
    machine = host.detect(docker, node_image)
    make_network(docker, wanted.subnet)
    password = lab_settings.password()
    registry = credentials.registry_files(wanted.registry)
    start_servers(docker, wanted, built, infra_image, registry, say)
    key, public = credentials.ssh_key()
    start_nodes(docker, machine, wanted, node_image, public, say)
    found = hostsenv.values(
        wanted, machine, key=key, ca=registry / "ca.crt", password=password, fingerprint=built.key_fingerprint
    )
    lab_settings.write_private(hosts_env(), hostsenv.render(found))
    say(f"the lab is up: {len(wanted.nodes())} nodes in {duration(time.monotonic() - began)}")
    return hosts_env()


def choose(current: Settings | None, workers: int, kubernetes: str, subnet: str, ours: str = "") -> Settings:
    """Settings from the command line over those of the current lab; raises LabError if they contradict it.

    `ours` is the release in hosts.env, which an upgrade may have changed: without `kubernetes` it stays the first one.
    """
    if current is None:
        fresh = Settings(subnet or lab_settings.DEFAULT_SUBNET, _listed(versions.releases(kubernetes)), workers)
        return lab_settings.check(fresh)
    if subnet and subnet != current.subnet:
        raise LabError(f"the lab is up on {current.subnet}, not on {subnet}", "inv lab.down", exit_code=2)
    served = versions.releases(kubernetes or current.kubernetes)
    if not kubernetes:
        served = tuple(sorted(served, key=lambda release: release.version != ours))
    return lab_settings.check(Settings(current.subnet, _listed(served), max(workers, current.workers)))


def _listed(releases: Sequence[Kubernetes]) -> str:
    return ",".join(release.version for release in releases)


def recipe_of(path: Path) -> str:
    """The cache key that a built file or folder belongs to."""
    return path.name if path.is_dir() else path.parent.name


def import_image(docker: Engine, name: str, tar: Path, say: Say) -> str:
    """Import a root file system once and return its image name."""
    image = f"{name}:{recipe_of(tar)}"
    if docker.docker("image", "inspect", image, check=False).returncode != 0:
        say(f"importing {tar.parent.name}")
        docker.docker("import", "--change", f"LABEL {LABEL}", tar, image)
    return image


def has_network(docker: Engine) -> bool:
    """Whether the engine has the lab's network."""
    return bool(docker.lines("network", "ls", "--quiet", "--filter", f"name=^{NETWORK}$"))


def make_network(docker: Engine, subnet: str) -> None:
    """Create the lab's network, which has no route to the outside."""
    if not has_network(docker):
        docker.docker("network", "create", "--internal", "--subnet", subnet, "--label", LABEL, NETWORK)


def start_servers(docker: Engine, wanted: Settings, built: Built, image: str, registry: Path, say: Say) -> None:
    """Start the package server and the registry; restart one that serves other content than wanted."""
    port = lab_settings.REGISTRY_PORT
    config = registry / "config.yml"
    if not config.exists():
        lab_settings.write_private(config, _REGISTRY_CONFIG.format(port=port, secret=secrets.token_hex(16)))
    servers = {
        "packages": (
            wanted.packages,
            built.www,
            [
                "--sysctl",
                "net.ipv4.ip_forward=0",
                # no resolver listens on it, and it must say so each time: sudo asks for the host's name before each command
                "--sysctl",
                "net.ipv4.icmp_ratelimit=0",
                "--volume",
                f"{built.www}:/srv/www:ro",
            ],
            ["busybox", "httpd", "-f", "-p", "80", "-h", "/srv/www"],
        ),
        "registry": (
            wanted.registry,
            built.registry,
            [
                "--volume",
                f"{built.registry}:/var/lib/registry:ro",
                "--volume",
                f"{registry}:/etc/registry:ro",
            ],
            ["docker-registry", "serve", "/etc/registry/config.yml"],
        ),
    }
    existing = nodes.containers(docker)
    for name, (address, content, options, command) in servers.items():
        recipe = f"{image.rsplit(':', 1)[-1]}/{content.name}"
        found = existing.get(name)
        if found is not None and found.recipe == recipe:
            if found.state != "running":
                docker.docker("start", found.name)
            continue
        if found is not None:
            docker.docker("rm", "--force", "--volumes", found.name)
        say(f"starting the {name} server at {address}")
        labels = ["--label", LABEL, "--label", f"kubefab.recipe={recipe}"]
        place = [
            "--network",
            NETWORK,
            "--ip",
            address,
            "--name",
            nodes.container_name(name),
            "--hostname",
            name,
        ]
        docker.docker("run", "--detach", *place, *labels, *options, image, *command)


def start_nodes(docker: Engine, machine: Host, wanted: Settings, image: str, public_key: str, say: Say) -> None:
    """Start every node that is not running, and wait until all answer by SSH."""
    existing = nodes.containers(docker)
    recipe = image.rsplit(":", 1)[-1]
    for name in wanted.nodes():
        found = existing.get(name)
        if found is None:
            say(f"booting {name} at {wanted.nodes()[name]}")
            nodes.run_node(docker, machine, wanted, name, image=image, recipe=recipe, public_key=public_key)
        elif found.recipe != recipe and found.state == "running":
            say(f"{name} runs an older node image and is left as it is (inv lab.down removes it)")
        elif found.state == "paused":
            docker.docker("unpause", found.name)
        elif found.state != "running":
            say(f"starting {name} again")
            docker.docker("start", found.name)
    deadline = time.monotonic() + nodes.BOOT_TIMEOUT

    def wait(node: tuple[str, str]) -> None:
        nodes.wait_for_boot(docker, node[0], node[1], deadline)

    with ThreadPoolExecutor(max_workers=16) as pool:
        list(pool.map(wait, wanted.nodes().items()))


def down(say: Say) -> bool:
    """Remove every container, network, volume, image, engine and file of the lab, except the cache.

    Returns False if there was nothing to remove. It is safe to repeat after an interruption.
    """
    docker = engine.find()
    folder = state_dir()
    if docker is None and not folder.exists():
        return False
    if docker is None and (engine.engine_dir() / "data").exists():
        say("the lab's Docker engine died: starting it once more to clean up after it")
        docker = engine.ensure()
    found = remove_objects(docker, say) if docker is not None else False
    if engine.engine_dir().exists():
        if engine.stop():
            say("stopped the lab's Docker engine")
        engine.remove_data()
    existed = folder.exists()
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        raise LabError(f"{folder} cannot be removed", f"rm -rf {shlex.quote(str(folder))}")
    with suppress(OSError):  # other parts of kubefab may keep state in the same folder
        folder.parent.rmdir()
    return found or existed


def remove_cache() -> None:
    """Delete everything built."""
    shutil.rmtree(cache_dir(), ignore_errors=True)


def remove_objects(docker: Engine, say: Say) -> bool:
    """Remove the engine's objects that have our label; True if there were any."""
    containers = engine.labelled(docker, ("ps", "--all"))
    if containers:
        say(f"removing {len(containers)} containers")
        docker.docker("rm", "--force", "--volumes", *containers)
    networks = engine.labelled(docker, ("network", "ls"))
    if networks:
        docker.docker("network", "rm", *networks)
    images = sorted(set(engine.labelled(docker, ("image", "ls", "--all"))))
    if images:
        docker.docker("image", "rm", "--force", *images)
    return bool(containers or networks or images)


def status() -> dict[str, object]:
    """The lab's parts and their states, as plain data."""
    current = lab_settings.load()
    docker = engine.find()
    found = nodes.containers(docker) if docker is not None else {}
    return {
        "up": bool(found) and hosts_env().exists() and all(c.state == "running" for c in found.values()),
        "engine": {
            "answers": docker is not None,
            "ours": bool(docker and docker.ours),
            "host": _address(docker),
        },
        "kubernetes": current.releases[0] if current else "",
        "releases": list(current.releases) if current else [],
        "subnet": current.subnet if current else "",
        "hosts_env": str(hosts_env()) if hosts_env().exists() else "",
        "containers": {
            name: {"container": c.name, "state": c.state, "address": c.address} for name, c in sorted(found.items())
        },
    }


def _address(docker: Engine | None) -> str:
    return docker.host if docker is not None else ""
