"""What an operator keeps beside hosts.env: `addons/`, manifests of their own, and `hooks/`, scripts around a phase.

Files there are for all environments. A file in `addons/prod_eu/` belongs to that environment only, and takes the place of one of the
same name in `addons/`.
"""

from __future__ import annotations

import os
import re
import stat
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any

from ..records import dataclass
from ..text.masking import MASKED, Secret
from ..text.nearest import did_you_mean
from .find import shown
from .layers import Problem
from .model import Environment, Hook, Source

ADDONS, HOOKS = "addons", "hooks"
CHAPTERS = (
    "prep",
    "install",
    "registry",
    "master",
    "network",
    "join",
    "addons",
    "reset",
)  # the phases that hooks may name
LARGEST = 1 << 20  # bytes of a file; the API takes objects of up to 1.5 MiB
_SUFFIX = re.compile(r"\.ya?ml(?:\.j2)?$")
HOOK = re.compile(r"(before|after)-([a-z]+)(?:-([a-z0-9-]+))?\.(node|local)(?:\.[a-z0-9]+)?")
_NAME = re.compile(
    r"[a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?"
)  # it becomes a label's value and a file's name on the control plane


@dataclass(frozen=True)
class Addon:
    """A file of `addons/` as it is applied: its name, the path for messages, and its objects in their order."""

    name: str
    where: str
    documents: tuple[Mapping[str, Any], ...] = field(repr=False)


def files(folder: Path, environment: str) -> dict[str, Path]:
    """The files of a folder by their names, those of the environment's own folder in place of the common ones; hidden ones not."""
    found: dict[str, Path] = {}
    for place in (folder, folder / environment):
        if place.is_dir():
            found |= {path.name: path for path in sorted(place.iterdir()) if path.is_file() and path.name[0] != "."}
    return dict(sorted(found.items()))


def read(path: Path, problems: list[Problem]) -> str:
    """A file's text, if it is one that no other user may have written; what is wrong goes into `problems`."""
    where = shown(path)
    try:
        state = path.stat()
        if state.st_uid not in (os.geteuid(), 0):
            problems.append(Problem(where, "belongs to another user", f"`chown {os.geteuid()} {path}` if it is yours"))
        elif state.st_mode & stat.S_IWOTH:
            problems.append(Problem(where, "everyone may write it", f"`chmod o-w {path}`"))
        elif state.st_size > LARGEST:
            problems.append(Problem(where, f"has {state.st_size >> 10} KiB: at most {LARGEST >> 10}", "split it"))
        else:
            return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        problems.append(Problem(where, f"is not UTF-8 text ({error.reason})", "save it as UTF-8"))
    except OSError as error:
        problems.append(Problem(where, error.strerror or str(error), "make it readable"))
    return ""


def addons(folder: Path, environment: str, problems: list[Problem]) -> tuple[Source, ...]:
    """The manifests beside a hosts.env in `folder` that are an environment's, sorted by name; what is wrong goes into `problems`."""
    found: dict[str, Source] = {}
    for file, path in files(folder / ADDONS, environment).items():
        if not _SUFFIX.search(file):
            continue
        name = _SUFFIX.sub("", file)
        if not _NAME.fullmatch(name):
            likely = re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-.")[:63] or "mine"
            remedy = f"call it {likely}{file[len(name) :]}: lower-case letters, digits, - and ., at most 63 characters"
            problems.append(Problem(shown(path), "cannot be used by this name", remedy))
        elif name in found:
            other = found[name].path
            if other.parent == path.parent:
                problems.append(Problem(shown(path), f"has the same name as {other.name}", "take one of them out"))
            elif path.parent.name == environment:  # its own, with another suffix
                found[name] = Source(name, path, read(path, problems))
        else:
            found[name] = Source(name, path, read(path, problems))
    return tuple(found[name] for name in sorted(found))


def hooks(folder: Path, environment: str, problems: list[Problem], *, simulated: bool) -> tuple[Hook, ...]:
    """The scripts beside a hosts.env in `folder` that are an environment's, sorted by name; what is wrong goes into `problems`.

    Simulated nodes get no common script that runs on this machine: that one would act on something real.
    """
    found = []
    for file, path in files(folder / HOOKS, environment).items():
        if not file.startswith(("before-", "after-")) or (simulated and _common_local(path, environment)):
            continue
        where, form = shown(path), HOOK.fullmatch(file)
        if not form or form[2] not in CHAPTERS:
            near = did_you_mean("master" if form and form[2] == "init" else form[2] if form else "", CHAPTERS)
            remedy = (
                f"{near}call it like before-join.node.sh or after-install-disks.local.sh; phases: {', '.join(CHAPTERS)}"
            )
            problems.append(Problem(where, "is no hook by this name", remedy))
            continue
        text = read(path, problems)
        if text and not text.startswith("#!"):
            problems.append(Problem(where, "does not say what runs it", "begin it with a line like #!/bin/bash"))
        if not path.stat().st_mode & stat.S_IXUSR:
            problems.append(Problem(where, "is not executable", f"`chmod u+x {path}`"))
        when: Any = form[1]
        on: Any = form[4]
        found.append(Hook(when, form[2], form[3] or "", on, path, text))
    return tuple(found)


def _common_local(path: Path, environment: str) -> bool:
    form = HOOK.fullmatch(path.name)
    return bool(form and form[4] == "local" and path.parent.name != environment)


def unused_hooks(folder: Path, environment: str, known: Sequence[str], *, simulated: bool) -> Iterator[str]:
    """What is in `hooks/` and does not run, so that an operator does not wait for it."""

    def why(path: Path) -> str:
        if not path.is_file():
            return ""
        if simulated and _common_local(path, environment):
            own = f"{HOOKS}/{environment}/{path.name}"
            return f"does not run for simulated nodes, as it would act on something real; {own} does"
        return "" if path.name.startswith(("before-", "after-")) else "is no hook: a name begins with before- or after-"

    return _unused(folder / HOOKS, known, why)


def unused(folder: Path, known: Sequence[str]) -> Iterator[str]:
    """What is in `addons/` and is not taken, so that an operator does not wait for it."""

    def why(path: Path) -> str:
        return "" if _SUFFIX.search(path.name) else "is not taken: a name ends in .yaml, .yml or .yaml.j2"

    return _unused(folder / ADDONS, known, why)


def _unused(place: Path, known: Sequence[str], why: Callable[[Path], str]) -> Iterator[str]:
    """The folders in `place` that are no environment's, and the files that `why` has a reason for."""
    for path in sorted(place.iterdir()) if place.is_dir() else ():
        if path.name[0] == "." or path.suffix == ".md":
            continue
        if not path.is_dir():
            if reason := why(path):
                yield f"{shown(path)} {reason}"
        elif path.name not in known:
            yield f"{shown(path)}/ is not taken: a folder in {place.name}/ has the name of an environment, like {known[0]}"


def rendered(environment: Environment, problems: list[Problem]) -> tuple[Addon, ...]:
    """The environment's manifests with its values in their templates; what is wrong goes into `problems`, with file and line.

    Values of Secrets are known to the masker from here on.
    """
    found = []
    owner: dict[tuple[str, str, str, str], str] = {}
    for source in environment.addons:
        where = shown(source.path)
        text = _text(source, environment, problems) if source.path.suffix == ".j2" else source.text
        documents = _documents(where, text, problems)
        for number, document in enumerate(documents, 1):
            first = owner.setdefault(key(document), where)
            if first != where or [key(one) for one in documents].index(key(document)) != number - 1:
                what = f"{document['kind']} {document['metadata']['name']} is defined twice (also {first})"
                problems.append(Problem(where, what, "take one of them out"))
            _hide(document)
        found.append(Addon(source.name, where, tuple(documents)))
    return tuple(found)


def key(document: Mapping[str, Any]) -> tuple[str, str, str, str]:
    """What names an object: group, kind, namespace and name. Without a namespace it is `default`, which is harmless for kinds that have none."""
    group, slash, _ = str(document["apiVersion"]).rpartition("/")
    metadata = document["metadata"]
    return (
        group if slash else "",
        document["kind"],
        str(metadata.get("namespace") or "default"),
        str(metadata["name"]),
    )


def _text(source: Source, environment: Environment, problems: list[Problem]) -> str:
    import jinja2  # here: an inventory without templates need not wait for it

    values = {"environment": environment, "settings": environment.settings, "nodes": environment.nodes}
    engine = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True, autoescape=False)
    try:
        text = engine.from_string(source.text).render(values)
    except jinja2.TemplateSyntaxError as error:
        problems.append(
            Problem(f"{shown(source.path)}:{error.lineno}", f"{error.message}", "see the template's syntax there")
        )
    except Exception as error:  # a template may raise anything
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == "<template>"]
        what = f"{error or type(error).__name__}"
        remedy = "a template has `environment`, `settings` and `nodes`: docs/addons.md"
        problems.append(Problem(f"{shown(source.path)}:{lines[-1] if lines else 1}", what, remedy))
    else:
        if text.count(MASKED) > source.text.count(MASKED):
            line = text[: text.index(MASKED)].count("\n") + 1
            what = f"gives {MASKED} instead of a secret (line {line} of what the template gives)"
            problems.append(
                Problem(
                    shown(source.path),
                    what,
                    "write {{ settings.registry_password.reveal() }}, with the setting that is meant",
                )
            )
        return text
    return ""


def _documents(where: str, text: str, problems: list[Problem]) -> list[dict[str, Any]]:
    import yaml

    from ..text import yamls  # here: an inventory without manifests need not wait for it

    try:
        found = yamls.as_kubectl_reads(text)
    except yaml.YAMLError as error:
        at = getattr(error, "problem_mark", None)
        what = f"is not YAML: {getattr(error, 'problem', None) or error}"
        after = " of what the template gives" if where.endswith(".j2") else ""
        problems.append(
            Problem(
                f"{where}:{at.line + 1 if at else 1}",
                what + (f" (line {at.line + 1}{after})" if at and after else ""),
                "correct that line",
            )
        )
        return []
    objects: list[Any] = []
    for document in found:
        listed = (
            isinstance(document, dict) and document.get("kind") == "List" and isinstance(document.get("items"), list)
        )
        objects += document["items"] if listed else [document] if document is not None else []
    good = []
    for number, document in enumerate(objects, 1):
        if what := _wrong(document):
            problems.append(
                Problem(
                    where,
                    f"document {number} {what}",
                    "each one is an object of Kubernetes with its apiVersion, kind and metadata.name",
                )
            )
        else:
            good.append(document)
    return good


def _wrong(document: Any) -> str:
    """What a document lacks of an object; empty if nothing."""
    if not isinstance(document, dict):
        return "is not an object"
    for name, form in (("apiVersion", r"[a-z0-9./-]+"), ("kind", r"[A-Za-z][A-Za-z0-9]*")):
        if not isinstance(document.get(name), str) or not re.fullmatch(form, document[name]):
            return f"has no {name}"
    metadata = document.get("metadata")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str) or not metadata["name"]:
        return "has no metadata.name"
    for part in ("labels", "annotations"):
        if not isinstance(metadata.get(part) or {}, dict):
            return f"has metadata.{part} that are no object"
    return ""


def _hide(document: Mapping[str, Any]) -> None:
    """Make the values of a Secret known to the masker, as they are written and as they are meant."""
    import base64
    import binascii

    if document["kind"] != "Secret":
        return
    for part in ("stringData", "data"):
        values = document.get(part)
        for value in values.values() if isinstance(values, dict) else ():
            Secret(str(value))
            if part == "data":
                try:
                    Secret(base64.b64decode(str(value), validate=True).decode())
                except (binascii.Error, ValueError):
                    continue
