"""The layers of an inventory, read: each value with the file and line, or the variable, that it is from.

Later layers win key by key: hosts.env, the state folder's hosts.env of that environment (written by `lab.up`),
hosts.local.env (ignored by git), and process variables named KUBEFAB_<KEY>.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from .model import state_folder
from .settings import KEYS

NODE_KEY = re.compile(r"^(?:(?P<env>[A-Z][A-Z0-9]*)_)?(?P<role>CONTROL_PLANE|MASTER|WORKER_\d+|SLAVE_\d+)$")


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong in an inventory: where (file and line, or variable), what, and what to do."""

    where: str
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}\n    → {self.remedy}"


@dataclass(frozen=True)
class Value:
    """The text of one key. `where` is its file and line, or its variable; paths in it start from `folder`."""

    text: str
    where: str
    folder: Path
    file: Path | None = None


def read_layers(name: str, project: Path, variables: Mapping[str, str], problems: list[Problem]) -> dict[str, Value]:
    """Every key of the layers, as environment `name` has them; "" for the files alone. What is wrong goes into `problems`."""
    base = project / "hosts.env"
    if not base.exists():
        problems.append(
            Problem("hosts.env", "is not there", f"expected at {base}; the repository holds one to start from")
        )
    values: dict[str, Value] = {}
    overlay = state_folder(name) / "hosts.env" if name else None
    for path in (base, overlay, project / "hosts.local.env"):
        if path and path.exists():
            values |= _read(path, project, problems)
    for variable, text in variables.items():
        key = variable.removeprefix("KUBEFAB_")
        node = NODE_KEY.match(key)
        ours = key in KEYS or setting_name(key, {name}) or (node and (node["env"] or "").lower() == name)
        if key != variable and key != "ENV" and ours:
            values[key] = Value(text, f"environment variable {variable}", Path.cwd())
    return values


def _read(path: Path, project: Path, problems: list[Problem]) -> dict[str, Value]:
    from dotenv.parser import parse_stream  # here: it costs more than the rest of the inventory's imports

    label = str(path.relative_to(project)) if path.is_relative_to(project) else str(path)
    found: dict[str, Value] = {}
    with path.open(encoding="utf-8") as stream:
        try:
            bindings = list(parse_stream(stream))
        except UnicodeDecodeError as error:
            problems.append(Problem(label, f"is not UTF-8 text ({error.reason})", "save it as UTF-8"))
            return found
    for binding in bindings:
        skipped = len(binding.original.string) - len(binding.original.string.lstrip())
        line = binding.original.line + binding.original.string[:skipped].count("\n")
        where = f"{label}:{line}"
        if binding.error:
            text = binding.original.string.strip().splitlines()[0]
            key = text.split("=", 1)[0].strip()
            problems.append(Problem(where, f"{key[:40]!r} is not KEY=value", "quote the value, or close the quotes"))
        elif binding.key is None:
            continue
        elif binding.value is None:
            problems.append(
                Problem(where, f"{binding.key} has no value", f"write {binding.key}=… or take the line out")
            )
        elif binding.key in found:
            first = found[binding.key].where.rsplit(":", 1)[1]
            problems.append(Problem(where, f"{binding.key} is defined twice (first in line {first})", "take one out"))
        else:
            found[binding.key] = Value(binding.value, where, path.parent, path)
    return found


def environments(values: Mapping[str, Value]) -> list[str]:
    """Names of environments, by their control-plane keys, in the order of the files."""
    found = {
        match["env"].lower(): None
        for match in map(NODE_KEY.match, values)
        if match and match["env"] and match["role"] in ("CONTROL_PLANE", "MASTER")
    }
    return list(found)


def setting_name(key: str, names: Iterable[str]) -> str:
    """The setting that `key` sets, for all environments or one of those named; "" if none."""
    if key in KEYS:
        return key
    prefix, _, rest = key.partition("_")
    return rest if rest in KEYS and prefix.lower() in names else ""


def source(key: str, name: str, values: Mapping[str, Value]) -> tuple[str, Value | None]:
    """The key that sets a setting for environment `name`, its own before the one for all; and the value, None for the default."""
    own = f"{name.upper()}_{key}"
    chosen = own if own in values else key
    return chosen, values.get(chosen)
