"""What is printed beside a command's output, on standard error, before it works on an environment."""

from __future__ import annotations

import os
from pathlib import Path

from ..inventory import Environment
from .common import HOMELESS


def warn(environment: Environment) -> None:
    """Print what the operator must know of this environment, to standard error: about release 1.5, about its inventory's files."""
    homeless = f"this user has no home folder: state is kept in {HOMELESS}; HOME or XDG_STATE_HOME names a better place"
    remarks = [homeless] if HOMELESS and not os.environ.get("XDG_STATE_HOME") else []
    if environment.settings.release.token_in_inventory:
        from ..legacy.commands import warning

        remarks.insert(0, warning(environment))
    for text in (*remarks, *environment.remarks):
        _warn(text)


def warn_of_unlisted(environment: Environment) -> None:
    """Print which images the file of digests does not pin, to standard error."""
    settings = environment.settings
    if not settings.image_digests:
        return
    name = Path(settings.image_digests).name
    if settings.release.runtime == "docker":
        text = f"{name} does not concern 1.5: its Docker knows images by tag only"
    elif not settings.image_digests_strict and (unlisted := _unlisted(environment)):
        text = f"{name} has no digest for {', '.join(unlisted)}: not checked"
    else:
        return
    _warn(text)


def _unlisted(environment: Environment) -> tuple[str, ...]:
    from ..recipes.kubeadm import recipe_for

    return recipe_for(environment).unlisted()


def _warn(text: str) -> None:
    from ..text.screen import Screen

    Screen(stderr=True).print(f"! {text}", style="yellow", soft_wrap=True)
