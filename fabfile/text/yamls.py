"""PyYAML's parser and emitter in C if they are installed (eight times as fast), else the same in Python."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def documents(text: str) -> Iterator[Any]:
    """The documents of a YAML text as plain values, without empty ones. Raises yaml.YAMLError."""
    return (document for document in yaml.load_all(text, _LOADER) if document)


def dumped(*documents: object) -> str:
    """Documents as one YAML text; keys keep their order."""
    return yaml.dump_all(documents, Dumper=_DUMPER, sort_keys=False)
