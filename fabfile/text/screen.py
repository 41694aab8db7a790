"""The only console: what is printed on it is text, never markup, and clean of whatever a terminal would act on.

A node's words reach people in many places; here none of them can draw, hide, or end a command with a traceback.
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
        """The renderable's segments, their text clean; rich's own control codes are in segments of their own."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=clean(segment.text))

    def status(self, status: RenderableType, **options: Any) -> Status:
        """What is under way, beside a spinner; `update` takes plain text."""
        return _Working(_text(status), console=self, **options)


class _Working(Status):
    """rich's Status parses strings as markup, whatever its console says."""

    def update(self, status: RenderableType | None = None, **options: Any) -> None:
        super().update(_text(status) if status is not None else None, **options)


def _text(told: RenderableType) -> RenderableType:
    return Text(told) if isinstance(told, str) else told


def verdict(good: bool, text: str) -> Text:
    """The closing line of a command: ✓ or ✗, and the text."""
    return Text.assemble(("✓" if good else "✗", "green" if good else "red"), f" {text}")
