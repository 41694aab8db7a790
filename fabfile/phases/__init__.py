"""The phases in the manual's order: one pure function a file, facts in, steps out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..inventory import Environment, Role
from ..legacy import phases as legacy
from . import backup, follow, install, prep, registry, renew, reset, upgrade
from .addons import addons
from .guard import attended, building, taking_back
from .join import join
from .leave import gone
from .master import master
from .metrics import metrics
from .network import network
from .phase import Phase
from .reboot import noted, reboot
from .restore import restore

__all__ = ["BACKUP", "BOOTSTRAP", "EVERY", "RESTORE", "Phase", "for_release", "managed_files"]

_CONTROL: frozenset[Role] = frozenset({"control-plane"})
_WORKER: frozenset[Role] = frozenset({"worker"})
_ALL = _CONTROL | _WORKER

PREP = Phase("prep", "prepare", building("prep", prep.prep), _ALL, files=prep.files)
INSTALL = Phase("install", "install", building("install", install.install), _ALL, files=install.files)
REGISTRY = Phase(
    "registry", "registry", building("registry", registry.registry), _ALL, (INSTALL,), files=registry.files
)
MASTER = Phase(
    "master", "control plane", building("master", master), _CONTROL, (PREP, INSTALL),
    opens={"control-plane": "master"}, observe_before=_CONTROL, observe_after=True, needs_images=True, empties=follow.empties,
)  # fmt: skip
NETWORK = Phase(
    "network", "network", building("network", network), _CONTROL,
    opens={"control-plane": "network"}, observe_before=_CONTROL, needs_api=True, meanwhile=True,
)  # fmt: skip
JOIN = Phase(
    "join", "join", building("join", join, relies=True, joins=lambda facts: True), _WORKER, (PREP, INSTALL),
    waits_for={"worker": "master"}, opens={"worker": "members"}, observe_before=_WORKER, needs_api=True, needs_images=True, admits=True,
    empties=follow.empties,
)  # fmt: skip
ADDONS = Phase(
    "addons", "add-ons", building("addons", addons, relies=True, joins=lambda facts: bool(facts.identity.environment)), _ALL,
    waits_for={"worker": "addons"}, opens={"control-plane": "addons"}, observe_before=_WORKER, needs_api=True,
)  # fmt: skip
RESET = Phase("reset", "reset", taking_back(reset.reset), _ALL, takes_back=True, residue=reset.residue)

# not a chapter of the manual: `inv cluster.backup` alone runs it
BACKUP = Phase("backup", "backup", attended("backup", backup.backup), _CONTROL, residue=backup.residue)
RESTORE = Phase("restore", "restore", restore, _CONTROL, observe_before=_CONTROL)
METRICS = Phase("metrics", "metrics", attended("metrics", metrics), _CONTROL, observe_before=_CONTROL, needs_api=True)

# likewise for `inv cluster.renew`; a worker's kubelet waits for an API whose certificate may have ended too
RENEW = Phase(
    "renew", "certificates", attended("renew", renew.renew), _ALL,
    waits_for={"worker": "master"}, opens={"control-plane": "master"}, certificates=True,
)  # fmt: skip
NAMES = Phase(
    "names", "names of the API's certificate", attended("names", renew.names), _CONTROL,
    observe_before=_CONTROL, needs_api=True, certificates=True,
)  # fmt: skip
# for `inv cluster.remove --gone`
# for `inv cluster.reboot`: what is to be rebooted, then each node by itself
REBOOTS = Phase("reboots", "notes of reboots", attended("reboots", noted), _CONTROL, needs_api=True)
REBOOT = Phase("reboot", "reboot", attended("reboot", reboot), _ALL)
GONE = Phase("gone", "nodes that are gone", attended("gone", gone), _CONTROL, needs_api=True)

# likewise for `inv cluster.upgrade`, which runs them in waves (views/upgrades.py): all nodes, the control plane, workers in batches
AHEAD = Phase("ahead", "packages and images ahead", attended("ahead", upgrade.ahead), _ALL, certificates=True)
TOOLS = Phase("tools", "kubeadm", attended("tools", upgrade.tools), _CONTROL, certificates=True)
ETCD = Phase(
    "etcd", "etcd's patch", attended("etcd", upgrade.etcd), _CONTROL, observe_before=_CONTROL, certificates=True
)
PLANE = Phase(
    "plane", "control plane", attended("plane", upgrade.plane), _CONTROL, observe_before=_CONTROL, certificates=True
)
KUBELET = Phase(
    "kubelet", "kubelet", attended("kubelet", upgrade.kubelet), _ALL,
    waits_for={"worker": "master"}, opens={"control-plane": "master"}, observe_before=_ALL, certificates=True,
)  # fmt: skip

BOOTSTRAP = (PREP, INSTALL, REGISTRY, MASTER, NETWORK, JOIN, ADDONS)
EVERY = {phase.name: phase for phase in (*BOOTSTRAP, RESET)}

_LEGACY = (
    replace(PREP, run=building("prep", legacy.prep), files=legacy.no_files),
    replace(INSTALL, run=building("install", legacy.install), files=legacy.install_files),
    replace(REGISTRY, run=building("registry", legacy.registry), files=legacy.registry_files),
    replace(MASTER, run=building("master", legacy.master), empties=None),
    replace(NETWORK, run=building("network", legacy.network), meanwhile=False),
    # N2 looks at every pod: workers come after it
    replace(
        JOIN,
        run=building("join", legacy.join, relies=True, joins=lambda facts: True),
        waits_for={"worker": "network"},
        empties=None,
    ),
    replace(
        ADDONS,
        run=building("addons", legacy.addons, relies=True),
        roles=_CONTROL,
        waits_for={},
        observe_before=_CONTROL,
    ),
    replace(RESET, run=taking_back(legacy.reset), residue=legacy.residue),
)
_INSTEAD = {"kubeadm": {}, "legacy": {phase.name: phase for phase in _LEGACY}}


def for_release(environment: Environment, phases: Sequence[Phase]) -> list[Phase]:
    """The same chapters as the environment's release has them."""
    instead: Mapping[str, Phase] = _INSTEAD[environment.settings.release.name]
    return [instead.get(phase.name, phase) for phase in phases]


def managed_files(environment: Environment) -> list[str]:
    """Paths whose digests the environment's phases compare, for the observing script; like ["/etc/crictl.yaml", …]."""
    return sorted({path for phase in for_release(environment, BOOTSTRAP) for path in phase.files(environment)})
