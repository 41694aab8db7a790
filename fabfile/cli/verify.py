"""`inv cluster.verify`: the end-to-end proof. The checks are in views/verify, which deletes what it made."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import Interrupted, UsageError
from .common import Options, command, described, exit_unless, print_json

if TYPE_CHECKING:
    from rich.console import Console

    from ..inventory import Environment
    from ..views.verify import Check
    from .session import Session


@command("env", "json", "workers", "fault", "ask_sudo_pass")
def verify(*, options: Options) -> None:
    """End-to-end proof: pods, DNS, NodePorts, metrics."""
    from .session import opened

    if why := unprovable(described(options)):
        raise why
    with opened(options) as session:
        good = prove(session, json=options.json)
    exit_unless(good)


def unprovable(environment: Environment) -> UsageError | None:
    """Why this environment's cluster cannot be verified; None if it can."""
    from ..recipes.kubeadm import recipe_for

    settings = environment.settings
    if (
        settings.image_digests_strict
        and settings.image_digests
        and not recipe_for(environment).pin(settings.probe_image)
    ):
        return UsageError(
            f"{Path(settings.image_digests).name} lacks {settings.probe_image}, which verify would run",
            "add its line, with the digest that its publisher names; or IMAGE_DIGESTS_STRICT=no",
        )
    if not settings.release.apps_api:
        return UsageError(
            "verify speaks an API that Kubernetes 1.5 does not have yet",
            "`inv cluster.status`, and the lines of `inv cluster.info`",
        )
    return None


def prove(session: Session, *, json: bool = False) -> bool:
    """Run every check, and print each as it ends, or all of them as the one document; returns whether none failed."""
    found = checked(session, shown=not json)
    if json:
        print_json({"environment": session.environment.name, **found})
    return bool(found["verified"])


def checked(session: Session, *, shown: bool) -> dict[str, Any]:
    """Run every check, and print each as it ends if it is to be `shown`; returns whether none failed, and all of them, as JSON values."""
    from ..text.advice import complete
    from ..text.masking import masked
    from ..text.screen import verdict
    from ..views.verify import FAILED, UNTESTED, Verifier
    from .progress import seconds

    console = session.console
    began = time.monotonic()
    checks = []
    with console.status("looking for the cluster") as live, _terminable(), ExitStack() as stack:
        on_progress = live.update if shown and console.is_terminal else (lambda text: None)
        verifier = Verifier(
            session.environment,
            session.group,
            on_progress=on_progress,
            clock=session.clock(session.environment.control_plane.name),
        )
        for seen in stack.enter_context(closing(verifier.run())):
            check = replace(seen, likely=complete(seen.likely))
            checks.append(check)
            if shown:
                _print_check(console, check)
    failed, untested = (sum(x.state == state for x in checks) for state in (FAILED, UNTESTED))
    if shown:
        words = (
            f"{failed} of {len(checks)} checks failed"
            if failed
            else f"verified, {untested} not tested"
            if untested
            else "verified end to end"
        )
        taken = seconds(time.monotonic() - began)
        console.print(verdict(not failed, f"{session.environment.name}: {words} ({taken})"))
    data = [{"check": x.name, "state": x.state, "detail": x.detail, "likely": x.likely} for x in checks]
    found: dict[str, Any] = masked({"verified": not failed, "checks": data})
    return found


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM end the command as Ctrl-C does: after the cleanup."""

    def handler(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, handler)
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted("stopped; what verify had made is taken away", "run it again") from None
    finally:
        signal.signal(signal.SIGTERM, before)


def _print_check(console: Console, check: Check) -> None:
    from rich.text import Text

    from ..text.masking import mask
    from ..views.verify import FAILED, OK, UNTESTED

    mark, style = {OK: ("✓", "green"), FAILED: ("✗", "bold red")}.get(check.state, ("·", "dim"))
    state = "" if check.state != UNTESTED else "not tested: "
    console.print(
        Text.assemble(
            (f"{mark} ", style),
            f"{check.name:<19} ",
            (f"{state}{mask(check.detail)}", "dim" if check.state == OK else ""),
        ),
        soft_wrap=True,
    )
    if check.likely:
        console.print(Text.assemble(("  → ", "cyan"), mask(check.likely)), soft_wrap=True)
