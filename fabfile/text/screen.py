"""The only console: it prints text, never markup, without characters that a terminal would act on.

A node's words reach people in many places; here they cannot draw, hide text, or end a command with a traceback.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.status import Status
from rich.text import Text

from .cleaning import clean


class Screen(Console):
    """rich's Console without markup, emoji codes and highlighting. Styles come in `Text` objects or by `style=`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The renderable's segments with clean text; rich keeps its own control codes in separate segments."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=clean(segment.text))

    def print(self, *objects: Any, **options: Any) -> None:
        """Print. Raises OSError that names the stream, as for a log on a full disk."""
        try:
            super().print(*objects, **options)
        except OSError as error:
            error.filename = error.filename or ("standard error" if self.stderr else "standard output")
            raise

    def status(self, status: RenderableType, **options: Any) -> Status:
        """Show the current activity beside a spinner; `update` takes plain text."""
        return _Working(_text(status), console=self, **options)


class _Working(Status):
    """A Status for plain text: rich's own parses strings as markup, even if its console does not."""

    def update(self, status: RenderableType | None = None, **options: Any) -> None:
        super().update(_text(status) if status is not None else None, **options)


def _text(shown: RenderableType) -> RenderableType:
    return Text(shown) if isinstance(shown, str) else shown


def verdict(good: bool, text: str) -> Text:
    """The closing line of a command: ✓ or ✗, and the text."""
    return Text.assemble(("✓" if good else "✗", "green" if good else "red"), f" {text}")
