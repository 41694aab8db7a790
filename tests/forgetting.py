"""What a process notes, as it was before: the filter of secrets, which would grow with every test and every example of a property, and the
options that printed commands repeat, which another test did not ask for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fabfile.text import advice
from fabfile.text.masking import _masker


@contextmanager
def forgetting() -> Iterator[None]:
    """Within this block secrets are registered and options noted as always; after it they are forgotten."""
    asked = dict(vars(advice._asked))
    before = {name: set(value) if isinstance(value, set) else value for name, value in vars(_masker).items()}
    try:
        yield
    finally:
        vars(_masker).update(before)
        vars(advice._asked).clear()
        vars(advice._asked).update(asked)
