"""The layers of an inventory, read: each value with the file and line, or the variable, that it is from.

Later layers win key by key: hosts.env (`find.py` says which), the state folder's hosts.env of that environment (written by
`lab.up`), hosts.local.env beside the first (ignored by git), and process variables named KUBEFAB_<KEY>. The project's lab and
rehearsal are below them all where another hosts.env is used.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import field
from functools import lru_cache
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from ..records import dataclass
from . import quoting
from .find import BUILT_IN, ENVIRONMENT, NAME, ROLE, HostsFile, own, shown
from .model import state_folder
from .settings import KEYS

if TYPE_CHECKING:
    from dotenv.parser import Binding

NODE_KEY = re.compile(rf"^(?:(?P<env>{ENVIRONMENT})_)?(?P<role>{ROLE})$", re.A)


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
    """The text of one key. `where` is its file and line, or its variable; paths in it start from `folder`.

    `raw` is what follows the `=` in the file, quotes and comment included; empty for a variable.
    """

    text: str = field(repr=False)  # it may be a secret
    where: str
    folder: Path
    file: Path | None = None
    raw: str = field(default="", repr=False)


def read_layers(
    name: str, hosts: HostsFile, variables: Mapping[str, str], problems: list[Problem]
) -> tuple[dict[str, Value], Path | None]:
    """Every key of the layers, as environment `name` has them ("" for the files alone), and the file that its state belongs to.

    None means the project's own: so it is for the built-in environments too, unless the file that is used describes one of that
    name itself. What is wrong goes into `problems`.
    """
    if not hosts.path.exists():
        problems.append(
            Problem(
                shown(hosts.path),
                "is not there",
                "the repository holds one to start from; or name yours: KUBEFAB_HOSTS",
            )
        )
    base, local = _read(hosts.path, problems), _read(hosts.local, problems)
    origin = hosts.origin
    built_in: list[dict[str, Value]] = [{}, {}]
    if origin:
        missing = [each for each in BUILT_IN if each not in environments(base | local)]
        origin = None if name in missing else origin
        project = HostsFile(own())
        built_in = [
            {key: value for key, value in _read(path, [] if origin else problems).items() if _of(key, missing)}
            for path in (project.path, project.local)
        ]
    overlay = _read(state_folder(name, origin) / NAME, problems) if name else {}
    values = built_in[0] | base | overlay | built_in[1] | local
    for variable, text in variables.items():
        key = variable.removeprefix("KUBEFAB_")
        if key != variable and (key in KEYS or _of(key, [name])):
            values[key] = Value(text, f"environment variable {variable}", Path.cwd())
    return values, origin


def _read(path: Path, problems: list[Problem]) -> dict[str, Value]:
    """The keys of one file, none if it is not there."""
    label = shown(path)
    found: dict[str, Value] = {}
    if not path.exists():
        return found
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        problems.append(Problem(label, f"is not UTF-8 text ({error.reason})", "save it as UTF-8"))
        return found
    for binding in _bindings(text):
        skipped = len(binding.original.string) - len(binding.original.string.lstrip())
        line = binding.original.line + binding.original.string[:skipped].count("\n")
        where = f"{label}:{line}"
        if binding.error:
            line_of_it = binding.original.string.strip().splitlines()[0]
            key = line_of_it.split("=", 1)[0].strip()
            said = re.fullmatch(r"(\w+)\s*:\s*(\S.*)", key)
            remedy = f"write {said[1]}=…" if said else "quote the value, or close the quotes"
            problems.append(Problem(where, f"{key[:40]!r} is not KEY=value", remedy))
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
            raw = binding.original.string.partition("=")[2]
            if "\0" in binding.value:
                problems.append(Problem(where, f"{binding.key} has a NUL character", "take it out"))
            if ends := quoting.swallowed(raw):
                what = f"{binding.key} is not closed in its line: its quotes end behind {ends}= below"
                problems.append(Problem(where, what, f"close the quotes of {binding.key}"))
            found[binding.key] = Value(binding.value, where, path.parent, path, raw)
    return found


@lru_cache(16)
def _bindings(text: str) -> tuple[Binding, ...]:
    """A file's lines as python-dotenv reads them."""
    from dotenv.parser import parse_stream  # here: it costs more than the rest of the inventory's imports

    return tuple(parse_stream(StringIO(text)))


def environments(values: Mapping[str, Value]) -> list[str]:
    """Names of environments, by their control-plane keys, in the order of the files."""
    found = {
        match["env"].lower(): None
        for match in map(NODE_KEY.match, values)
        if match and match["env"] and match["role"] in ("CONTROL_PLANE", "MASTER")
    }
    return list(found)


def readings(key: str, names: Collection[str]) -> list[tuple[str, str]]:
    """Each way to read a key of a setting, as (environment, setting); the environment is "" where it is for all of `names`.

    With environments `prod` and `prod_legacy` there are two for PROD_LEGACY_PACKAGES_URL, as LEGACY_PACKAGES_URL is a setting too.
    """
    found = [("", key)] if key in KEYS else []
    parts = key.split("_") if key == key.upper() else []
    for count in range(1, len(parts)):
        name, setting = "_".join(parts[:count]).lower(), "_".join(parts[count:])
        if setting in KEYS and name in names:
            found.append((name, setting))
    return found


def _of(key: str, names: Collection[str]) -> bool:
    """Whether a key is one of these environments' own: a node's, or a setting's."""
    node = NODE_KEY.match(key)
    return any(name for name, _ in readings(key, names)) or bool(node and (node["env"] or "").lower() in names)


def canonical(name: str) -> str:
    """An environment's name as its keys have it, in lower case: `prod-eu`, `Prod_EU` and `prod_eu` are one environment."""
    return name.strip().lower().replace("-", "_")


def prefix(text: str) -> str:
    """The beginning of an environment's keys that comes nearest to what was written: PROD_EU for `prod.eu`, PROD2 for `2prod`."""
    words = "_".join(re.findall(r"[A-Z0-9]+", text.upper(), re.A))
    digits = re.match(r"[\d_]*", words)
    beginning = words[digits.end() :] + digits[0].replace("_", "") if digits else words
    return beginning if re.fullmatch(ENVIRONMENT, beginning, re.A) else "STAGING"


def source(key: str, name: str, values: Mapping[str, Value]) -> tuple[str, Value | None]:
    """The key that sets a setting for environment `name`, its own before the one for all; and the value, None for the default."""
    own = f"{name.upper()}_{key}"
    chosen = own if own in values else key
    return chosen, values.get(chosen)
