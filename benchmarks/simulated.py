"""Simulated nodes in a process of their own, so that what is measured is kubefab's process alone, over real SSH on loopback.

python -m benchmarks.simulated FOLDER WORKERS   # serves a cluster that is up; ends when its standard input does
"""

from __future__ import annotations

import gc
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .measuring import beside

NAME = "simulated"  # the environment; a machine's identity names it, so server and client call it the same
SETTINGS = {"POD_CIDR": "10.128.0.0/11", "RETENTION": "0d"}
LONGEST = 600.0  # seconds in which the nodes must be up; a quiet machine needs two to three minutes for 1,000


def hosts_text(nodes: list[str], **settings: str) -> str:
    """A hosts.env with these lines for nodes."""
    roles = ["CONTROL_PLANE", *(f"WORKER_{number}" for number in range(1, len(nodes)))]
    lines = [f'{NAME.upper()}_{role}="{node}"' for role, node in zip(roles, nodes, strict=True)]
    return "\n".join([*lines, *(f"{NAME.upper()}_{key}={value}" for key, value in (SETTINGS | settings).items()), ""])


@contextmanager
def served(folder: Path, workers: int) -> Iterator[dict[str, str]]:
    """A simulated cluster that is up, until the block ends; yields the variables with which our commands find it."""
    command = [sys.executable, "-m", "benchmarks.simulated", str(folder), str(workers)]
    with beside(command, "up", LONGEST, {"XDG_STATE_HOME": str(folder / "server")}):
        yield {
            "XDG_STATE_HOME": str(folder / "client"),
            "KUBEFAB_HOSTS": str(folder / "hosts.env"),
            "KUBEFAB_ENV": NAME,
        }


def main() -> None:
    """Serve."""
    folder, workers = Path(sys.argv[1]), int(sys.argv[2])
    gc.disable()  # the machines' objects stay; looking through them again and again would take a third of the time
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

    import rehearsal
    from fabfile import inventory, phases
    from fabfile.nodes.group import connected
    from fabfile.run.pipelines import Run

    own = folder / "server.env"
    own.write_text(hosts_text(["127.0.0.1 name=cp1"], SIMULATED="yes"))
    environment = inventory.load(NAME, hosts_file=own, variables={})
    with rehearsal.running(environment, workers=workers) as simulation:
        with connected(simulation.environment) as group:
            run = Run(simulation.environment, group, Silent(), clock=simulation.clock)
            result = run.run(phases.BOOTSTRAP, simulation.environment.nodes)
            assert not result.failed, result.failed[0].error
        nodes = [
            f"{node.host} private={node.address} name={node.name} user={node.user} port={node.port} key={node.key}"
            for node in simulation.environment.nodes
        ]
        (folder / "hosts.env").write_text(hosts_text(nodes))
        print("up", flush=True)
        sys.stdin.read()


class Silent:
    """Progress that is not shown."""

    def doing(self, node: str, phase: str, text: str) -> None: ...

    def phase_done(self, node: str, phase: str, steps: int, seconds: float) -> None: ...

    def node_done(self, node: str, result: object) -> None: ...

    def note(self, text: str) -> None: ...


if __name__ == "__main__":
    main()
