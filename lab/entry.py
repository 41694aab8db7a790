"""`inv lab.*`: real nodes on this machine."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from invoke.collection import Collection
from invoke.context import Context
from invoke.exceptions import Exit
from invoke.tasks import task

from fabfile.cli.common import HELP, asks_for_json, print_json

from .errors import LabError

INTERRUPTED = 130
JSON = HELP["json"]


@contextmanager
def _changing(again: str) -> Iterator[Callable[[str], None]]:
    """Report errors and hold the lab's lock; yields the function that prints progress."""
    with _reporting(again):
        from .lock import exclusive

        say = _progress()
        with exclusive(say):
            yield say


@contextmanager
def _reporting(again: str) -> Iterator[None]:
    """Turn a LabError into a message with its remedy and exit code, and Ctrl-C into exit code 130."""
    try:
        yield
    except LabError as error:
        if asks_for_json():
            raise _ended(error.message, error.remedy, error.exit_code) from error
        remedy = f"\n  → {error.remedy}" if error.remedy else ""
        raise Exit(f"lab: {error.message}{remedy}", code=error.exit_code) from error
    except KeyboardInterrupt:
        if asks_for_json():
            raise _ended("interrupted; finished parts are kept", again, INTERRUPTED) from None
        raise Exit(f"\nlab: interrupted; finished parts are kept. Continue with: {again}", code=INTERRUPTED) from None


def _ended(what: str, remedy: str, code: int) -> Exit:
    """Print an error as the one document of `--json`; returns what ends the command."""
    from fabfile.errors import Interrupted, KubefabError, UsageError
    from fabfile.views import results

    kind = {2: UsageError, INTERRUPTED: Interrupted}.get(code, KubefabError)
    print_json(results.document(kind(what, remedy)))
    return Exit(code=code)


def _progress() -> Callable[[str], None]:
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"lab {time.monotonic() - began:5.0f}s  {text}", file=sys.stderr, flush=True)

    return say


@task(
    help={
        "workers": "number of worker nodes besides the control plane (default 2)",
        "kubernetes": "Kubernetes version the lab serves, such as 1.36 or 1.36.3; several with commas: hosts.env has the first",
        "subnet": "private network of the lab (default 172.30.44.0/24)",
        "json": JSON,
    }
)
def up(_c: Context, workers: int = 2, kubernetes: str = "", subnet: str = "", json: bool = False) -> None:
    """Build (once) and boot real nodes and their servers."""
    with _reporting("inv lab.up"):
        from . import up as lab

        lab.choose(
            None, workers, kubernetes, subnet
        )  # what is mistyped is said before another lab command is waited for
    with _changing("inv lab.up") as say:
        path = lab.up(workers, kubernetes, subnet, say)
    if json:
        print_json({"hosts": str(path), "environment": "lab"})
        return
    print(f"hosts: {path}")
    print("next:  inv cluster.bootstrap --env lab")


@task(help={"cache": "delete the build cache as well", "json": JSON})
def down(_c: Context, cache: bool = False, json: bool = False) -> None:
    """Remove the lab, except the build cache."""
    with _changing("inv lab.down") as say:
        from . import up as lab

        removed = lab.down(say)
        if cache:
            lab.remove_cache()
    if json:
        print_json({"removed": removed, "cache_kept": not cache})
        return
    kept = "so is its build cache" if cache else "its build cache is kept"
    print(f"the lab is gone; {kept}" if removed else f"there is no lab; {kept}")


@task(help={"json": JSON})
def status(_c: Context, json: bool = False) -> None:
    """Show which parts of the lab are running."""
    with _reporting("inv lab.status"):
        from . import up as lab

        found = lab.status()
    if json:
        print_json(found)
    else:
        print(render_status(found))


def render_status(found: dict[str, object]) -> str:
    """The status as text for a person."""
    containers = found["containers"]
    if not isinstance(containers, dict) or not containers:
        return "the lab is down\nnext:  inv lab.up"
    others = found["releases"][1:] if isinstance(found["releases"], list) else []
    served = f"Kubernetes {found['kubernetes']}" + (f" (also served: {', '.join(others)})" if others else "")
    lines = [f"the lab is {'up' if found['up'] else 'incomplete'}: {served}, {found['subnet']}"]
    lines += [f"  {name:<10} {c['address']:<16} {c['state']}" for name, c in containers.items()]
    lines.append(f"hosts: {found['hosts_env'] or '-'}")
    lines.append("next:  inv cluster.bootstrap --env lab" if found["up"] else "next:  inv lab.up")
    return "\n".join(lines)


@task(
    help={
        "kubernetes": "Kubernetes version to build, such as 1.36 or 1.36.3; several with commas",
        "specs": "also build kubeadm's own end-to-end specs, which tests run",
        "proof": "try all but the compiles from nothing, in a folder that is then removed (two to three minutes)",
        "json": JSON,
    }
)
def build(_c: Context, kubernetes: str = "", specs: bool = False, proof: bool = False, json: bool = False) -> None:
    """Fill the build cache only (about 13 minutes on two cores)."""
    if proof:
        with _reporting("inv lab.build --proof"):
            from . import up as lab

            lab.prove(kubernetes, _progress())
        if json:
            print_json({"complete": False, "proved": True})
        else:
            print("every recipe but the compiles works here")
        return
    with _changing("inv lab.build") as say:
        from . import up as lab

        lab.build(kubernetes, say, specs)
    if json:
        print_json({"complete": True, "proved": False})
    else:
        print("the build cache is complete\nnext:  inv lab.up")


@task(help={"node": "cp1, w1, w2 …, packages or registry"})
def shell(_c: Context, node: str) -> None:
    """Open a root shell in a node."""
    with _reporting("inv lab.status"):
        from . import nodes

        nodes.shell(node)


ns = Collection("lab", up, down, status, build, shell)
