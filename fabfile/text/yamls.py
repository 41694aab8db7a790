"""PyYAML's parser and emitter in C if they are installed (eight times as fast), else the same in Python.

PyYAML and Go's YAML, by which kubectl and kubeadm read, disagree on what is a number and what is a boolean: to Go `y` is true, `089` and
`1e3` are numbers, and `22:22` is text; to PyYAML `22:22` is a number.  What we write means the same to both.
Source: go.yaml.in/yaml/v2, resolve.go.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

import yaml

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

# Go leaves out every _ first.
_INTEGER = r"[-+]?_*(?:0[xX][0-9a-fA-F_]+|0[bB][01_]+|0[oO]?[0-7_]+|0|[1-9][0-9_]*)"
_FLOAT = (
    r"[-+]?_*(?:\.[0-9_]+|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:[eE]_*[-+]?[0-9_]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
_NOT_TEXT = re.compile(rf"[yYnN]|(?i:{_INTEGER})|(?:{_FLOAT})")  # to Go, where it is not quoted


class _Dumper(_DUMPER):  # type: ignore[misc]
    def represent_str(self, text: str) -> Any:
        return self.represent_scalar("tag:yaml.org,2002:str", text, style="'" if _NOT_TEXT.fullmatch(text) else None)


_Dumper.add_representer(str, _Dumper.represent_str)


class _Loader(_LOADER):  # type: ignore[misc]
    """Reads as Go does. Dates stay text."""

    bool_values = {**_LOADER.bool_values, "y": True, "n": False}
    yaml_implicit_resolvers = {
        first: [(tag, form) for tag, form in pairs if tag.rpartition(":")[2] not in ("timestamp", "int", "float")]
        for first, pairs in _LOADER.yaml_implicit_resolvers.items()
    }


for _name, _form, _first in (
    ("bool", "[yYnN]", "yYnN"), ("int", _INTEGER, "-+0123456789"), ("float", _FLOAT, "-+0123456789."),
):  # fmt: skip
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", re.compile(f"(?:{_form})$"), list(_first))


def _number(loader: Any, node: Any) -> int | float | str:
    """A number as Go makes it: without every _, in the base of its beginning; what is none after all stays text."""
    text = node.value.replace("_", "").lower()
    try:
        return int(text, 8 if re.fullmatch(r"[-+]?0[0-7]+", text) else 0)
    except ValueError:
        pass
    try:
        number = float(text)
    except ValueError:
        return str(node.value)
    return number if math.isfinite(number) else str(node.value)


for _name in ("int", "float"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_name}", _number)


def documents(text: str) -> Iterator[Any]:
    """The documents of a YAML text as plain values, without empty ones. Raises yaml.YAMLError."""
    return (document for document in yaml.load_all(text, _LOADER) if document)


def as_kubectl_reads(text: str) -> list[Any]:
    """The documents of a YAML text as kubectl reads them, empty ones too. Raises yaml.YAMLError."""
    return list(yaml.load_all(text, _Loader))


def dumped(*documents: object) -> str:
    """Documents as one YAML text; keys keep their order."""
    return yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False)
