"""The filter of secrets as it was before: it would grow with every test, and with every example of a property."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fabfile.text.masking import _masker


@contextmanager
def forgetting() -> Iterator[None]:
    """Within this block secrets are registered as always; after it they are forgotten."""
    before = {name: set(value) if isinstance(value, set) else value for name, value in vars(_masker).items()}
    try:
        yield
    finally:
        vars(_masker).update(before)
