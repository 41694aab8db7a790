"""`inv cluster.kubeconfig`: the cluster in the operator's kubeconfig. bootstrap and reset use the same two functions."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import KubefabError, UsageError
from .common import Options, command, print_json

if TYPE_CHECKING:
    from ..nodes.facts import NodeFacts
    from .session import Session


@command(
    "env",
    "json",
    "ask_sudo_pass",
    help={
        "file": "which kubeconfig; default: $KUBECONFIG or ~/.kube/config",
        "context": "the context's name; default: the environment's",
    },
)
def kubeconfig(*, file: str = "", context: str = "", options: Options) -> None:
    """Put the cluster into your kubeconfig."""
    from .session import opened

    if context and not re.fullmatch(r"[\w.@:/-]{1,253}", context):
        raise UsageError(f"--context {context!r} is no name for a context", "letters, digits and . _ - @ : / are good")
    with opened(options) as session:
        path, copy = merge_into(session, file, context)
        if options.json:
            shown = {"file": str(path), "context": context or session.environment.name}
            print_json({**shown, "copy": str(copy) if copy else None})


def admin_conf(session: Session) -> str | None:
    """The control plane's admin.conf; None where it has none."""
    control = session.group.of(session.environment.control_plane)
    code, admin = control.root('rm -f -- "$0"; cat /etc/kubernetes/admin.conf', 30)
    return None if code else admin.decode("utf-8", "replace")


def merge_into(
    session: Session, file: str, context: str = "", facts: NodeFacts | None = None
) -> tuple[Path, Path | None]:
    """Put the cluster into a kubeconfig, `file` or the operator's own, and make its context the current one.

    `facts` are the control plane's, where this command has just observed it. Returns the kubeconfig, and the copy of
    what it was before, if one was made. Raises KubefabError.
    """
    from ..views.kubeconfig import default_path, merge

    environment = session.environment
    admin = admin_conf(session)
    if admin is None:
        raise KubefabError(f"{environment.control_plane.name} has no admin.conf", "`inv cluster.bootstrap` first")
    _for_its_address(session, facts or session.observer().observe(environment.control_plane))
    path = Path(file).expanduser() if file else default_path()
    copy = merge(path, environment, admin, context)
    kept = f" (as it was before: {copy})" if copy else ""
    session.console.print(f"{path}: context {context or environment.name} is current{kept}", soft_wrap=True)
    return path, copy


def _for_its_address(session: Session, facts: NodeFacts) -> None:
    """Raise KubefabError where the API's certificate is not for the address that goes into the kubeconfig."""
    from ..phases.certificates import unnamed
    from ..recipes.kubeadm import recipe_for

    node = session.environment.control_plane
    lacking = unnamed(recipe_for(session.environment), facts)
    if lacking:
        raise KubefabError(f"{node.name}: {lacking[0]}", lacking[1])


def take_out(session: Session) -> None:
    """Take the cluster out of every kubeconfig that it was put into; print an error for one that cannot be changed."""
    from ..text.screen import Screen
    from ..views.kubeconfig import notes, remove
    from .progress import print_error

    for note in notes(session.environment):
        try:
            if remove(note, session.environment):
                session.console.print(f"taken out of {note.path}: context {note.context}", soft_wrap=True)
        except KubefabError as error:
            print_error(Screen(stderr=True), error)
