"""YAML documents that machines read again and again: parsed once, and a copy for each reader."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from fabfile.text import yamls


def documents(text: str) -> Iterator[Any]:
    """As `yamls.documents`: the documents of a YAML text as plain values, without empty ones. Raises yaml.YAMLError."""
    return iter(pickle.loads(_parsed(text)))


@lru_cache(64)
def _parsed(text: str) -> bytes:
    return pickle.dumps(list(yamls.documents(text)))
