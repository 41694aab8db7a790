"""The rehearsal: every command on simulated nodes, over real SSH on loopback, with faults to switch on.

It needs no privileges, no network and no container engine, and it never executes anything on this machine: behind each
SSH server is a model of a host (see host, cluster, commands).  Importing this package loads nothing heavy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fabfile.inventory import Environment

    from .simulation import Simulation


@contextmanager
def running(
    environment: Environment,
    *,
    workers: int | None = None,
    faults: Sequence[str] = (),
    seed: int = 0,
    systems: Mapping[str, str] | None = None,
) -> Iterator[Simulation]:
    """Run the simulated nodes for one command; `environment.state` keeps their state for the next one.

    `workers` is remembered; `faults` are switches like `w2:flannel-missing`, in force until the block ends; `systems` maps
    the names of new machines to "apt" or "dnf".  Raises UsageError for a switch that is not understood, KubefabError
    when another process uses these nodes.
    """
    from .simulation import Simulation

    simulation = Simulation(environment, workers=workers, faults=faults, seed=seed, systems=systems or {})
    try:
        yield simulation
    finally:
        simulation.close()


def down(environment: Environment) -> bool:
    """Delete this environment's simulated nodes, their keys and known_hosts; True if there were any."""
    from .simulation import remove

    return remove(environment)
