"""The YAML that a cluster of this environment is made with: what is applied to its API, and kubeadm's own configuration."""

from __future__ import annotations

from pathlib import PurePosixPath

from ..inventory import Environment
from ..manifests import FOLDER, own
from ..phases import BOOTSTRAP
from ..phases.join import CONFIG as JOIN
from ..phases.master import CONFIG as INIT
from ..steps import File
from ..text.masking import mask
from .plan import plan, written

# What kubeadm reads is no object of the API: `kubectl diff` would refuse it.
KUBEADM = {INIT: "kubeadm-init", JOIN: "kubeadm-join"}


def rendered(environment: Environment) -> dict[str, str]:
    """Every YAML text by its name, without secrets, in the order in which they are applied; kubeadm's last.

    They are taken from the plan of fresh machines, so that they are what bootstrap applies.  Of what is made for each node,
    such as kubeadm-join, it is the first node's.
    """
    files: dict[str, File] = {}
    for _, file in written(plan(environment, BOOTSTRAP, environment.nodes), environment):
        path = PurePosixPath(file.path)
        name = KUBEADM.get(file.path) or {FOLDER: path.stem, own.NEW: f"addons/{path.stem}"}.get(str(path.parent))
        if name:
            files.setdefault(name, file)
    order = sorted(files, key=lambda name: name in KUBEADM.values())
    return {name: mask(files[name].content) for name in order}


def applied(texts: dict[str, str]) -> list[str]:
    """The names of those that are objects of the API."""
    return [name for name in texts if name not in KUBEADM.values()]
