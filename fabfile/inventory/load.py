"""An environment's name in, a frozen `Environment` out, its files checked as a whole. Connects to nothing."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..text.forms import Hostname, is_address
from ..text.masking import Secret
from ..text.nearest import did_you_mean, nearest
from . import beside, checks, images, places, quoting
from .find import ROLE, expanded, find, shown
from .labels import labels, taints
from .layers import NODE_KEY, Problem, Value, canonical, environments, prefix, read_layers, readings, source
from .model import GROUPS, Environment, Node, with_release
from .settings import KEYS, Settings, bastion, login_name, plain_word, port

DEFAULT_ENVIRONMENT = "rehearsal"
_FORM = "write {key}=<address> [private=<address>] [name=…] [user=…] [port=…] [key=…] [jump=…] [instance=…] [labels=…] [taints=…]"
_NODE_WORDS = ("private", "name", "user", "port", "key", "jump", "instance", "labels", "taints")


def load(
    name: str | None = None,
    *,
    hosts_file: str | Path = "",
    variables: Mapping[str, str] | None = None,
    kubernetes: str = "",
) -> Environment:
    """Read one environment; `name` defaults to KUBEFAB_ENV, then the rehearsal. `hosts_file` is what --hosts-file says, `kubernetes` the release
    that is meant in place of its own.

    Checks every file as a whole.  Raises UsageError that lists all problems, each with its line and remedy.
    """
    variables = os.environ if variables is None else variables
    name = canonical(name or variables.get("KUBEFAB_ENV") or DEFAULT_ENVIRONMENT)
    hosts = find(hosts_file, variables)
    problems: list[Problem] = []
    values, origin = read_layers(name, hosts, variables, problems)
    known = environments(values)
    if name not in known:
        problems.append(
            Problem(
                shown(hosts.path),
                f"no environment {name!r}",
                f"{did_you_mean(name, known)}known: {', '.join(sorted(known)) or 'none'}; "
                f"an environment begins with {prefix(name)}_CONTROL_PLANE=<address>",
            ),
        )
    _check_keys(values, known, problems)
    environment = _build(name, values, problems) if name in known else None
    if environment:
        found = beside.addons(hosts.path.parent, name, problems)
        hooks = beside.hooks(hosts.path.parent, name, problems, simulated=environment.settings.simulated)
        environment = replace(environment, addons=found, hooks=hooks)
        beside.rendered(environment, problems)
    if problems or environment is None:
        listing = "\n".join(map(str, sorted(problems, key=_line)))
        count = f"{len(problems)} problem{'s' * (len(problems) != 1)}"
        taken = f"the inventory is {hosts.path} ({hosts.how})" if hosts.how else ""
        remedy = "; ".join(filter(None, ("fix them and run the same command again", taken, *hosts.skipped)))
        raise UsageError(f"the inventory has {count}:\n{listing}", remedy)
    environment = with_release(environment, kubernetes)
    remarks = (
        *hosts.skipped,
        *checks.readable_secrets(name, values),
        *checks.in_two_environments(environment, values),
        *checks.in_clear(environment),
        *checks.doubtful(name, values),
        *beside.unused(hosts.path.parent, known),
        *beside.unused_hooks(hosts.path.parent, name, known, simulated=environment.settings.simulated),
        *checks.left_out(environment),
    )
    return replace(environment, remarks=remarks, origin=origin, hosts_file=hosts.path if hosts_file else None)


def _line(problem: Problem) -> int:
    """The line that a problem is in; those that are in none come last."""
    line = problem.where.rpartition(":")[2]
    return int(line) if line.isdecimal() else 1 << 30


def names(hosts_file: str | Path = "", variables: Mapping[str, str] | None = None) -> list[str]:
    """The environments that can be named, in the order of the files. Raises UsageError if there is no file to read."""
    hosts = find(hosts_file, os.environ if variables is None else variables)
    return environments(read_layers("", hosts, {}, [])[0])


def _check_keys(values: Mapping[str, Value], known: Collection[str], problems: list[Problem]) -> None:
    known = set(known)
    for key, value in values.items():
        found = readings(key, known)
        node = NODE_KEY.match(key)
        if len(found) > 1:
            problems.append(Problem(value.where, *_ambiguous(key, found)))
        elif not found and not (node and (node["env"] or "").lower() in known):
            problems.append(Problem(value.where, *_unknown(key, known)))


def _ambiguous(key: str, found: Sequence[tuple[str, str]]) -> tuple[str, str]:
    """What is wrong with a key that can be read in several ways, and the remedy."""
    ways = [f"{setting} of {f'environment {name}' if name else 'every environment'}" for name, setting in found]
    longest = found[-1][0]
    remedy = f"give environment {longest} another name in all its lines, like {prefix(longest).replace('_LEGACY', '')}_OLD_CONTROL_PLANE=…"
    return f"{key} can be read in two ways: {', or '.join(ways)}", remedy


def _unknown(key: str, known: Collection[str]) -> tuple[str, str]:
    """What is wrong with a key that is no node's and no setting's, and the line that works."""
    if key.startswith("KUBEFAB_"):
        what, rest = f"{key} is a variable of the process, not a line of a file", key.removeprefix("KUBEFAB_")
        return what, f"`export {key}=…`, or write {rest}=… here if that is a setting"
    node = re.fullmatch(rf"(?:(.*)_)?({ROLE})", key.upper(), re.A)
    if node and not node[1]:
        return f"{key} names no environment", f"write {prefix('')}_{node[2]}=…, for environment {prefix('').lower()}"
    if node and NODE_KEY.match(key):
        return f"{key}: environment {node[1].lower()} has no control plane", f"add {node[1]}_CONTROL_PLANE=<address>"
    if node:
        right = prefix(key[: len(node[1])])
        what = f"{key}: {key[: len(node[1])]!r} cannot begin an environment's keys"
        remedy = "capital letters A to Z, digits and single _, a letter first"
        return what, f"write {right}_{node[2]}=…, for environment {right.lower()} ({remedy})"
    upper = key.upper().replace("-", "_")
    begin = next((f"{env.upper()}_" for env in known if upper.startswith(f"{env.upper()}_")), "")
    bare = [*KEYS, "CONTROL_PLANE", "WORKER_1"]
    near = nearest(upper, [*bare, *(begin + k for k in bare)] if begin else bare)
    return f"unknown key {key}", f"did you mean {near}?" if near else "docs/settings.md lists them all"


def _build(name: str, values: Mapping[str, Value], problems: list[Problem]) -> Environment | None:
    settings = _settings(name, values, problems)
    nodes: list[tuple[Node, Value]] = []
    for key, value in sorted(values.items(), key=_node_order):
        match = NODE_KEY.match(key)
        if not match or (match["env"] or "").lower() != name:
            continue
        is_control_plane = match["role"] in ("CONTROL_PLANE", "MASTER")
        default = "cp1" if is_control_plane else f"w{match['role'].rsplit('_', 1)[1]}"
        node = _node(default, is_control_plane, key, value, settings, problems)
        if node is None:
            continue
        if is_control_plane and any(other.control_plane for other, _ in nodes):
            problems.append(
                Problem(
                    value.where,
                    f"{key}: a second control plane",
                    "several control planes are not supported yet: take the line out, or make the node a worker",
                )
            )
            continue
        nodes.append((node, value))
    problems.extend(checks.contradictions(name, nodes, settings, values))
    control_planes = tuple(node for node, _ in nodes if node.control_plane)
    workers = tuple(node for node, _ in nodes if not node.control_plane)
    return Environment(name, control_planes, workers, settings) if control_planes else None


def _node_order(item: tuple[str, Value]) -> tuple[int, int]:
    number = re.search(r"_(?:WORKER|SLAVE)_(\d+)$", item[0])
    return (1, int(number[1])) if number else (0, 0)


def _settings(name: str, values: Mapping[str, Value], problems: list[Problem]) -> Settings:
    chosen: dict[str, Any] = {}
    for key, spec in KEYS.items():
        written, value = source(key, name, values)
        if value is None or (value.text == "" and isinstance(spec.default, str | Secret) and not spec.default):
            continue
        try:
            chosen[spec.name] = spec.metadata["parse"](value.text)
        except ValueError as error:
            doubt = next(quoting.doubts(value.raw), None)
            said = f"; {doubt.sentence(written, secret=spec.metadata['secret'])}" if doubt else ""
            problems.append(Problem(value.where, f"{written} {error}", f"{spec.metadata['about']}{said}"))
            continue
        if key == "REGISTRY_MIRROR_CA":
            files = {name: value.folder / expanded(text) for name, text in chosen[spec.name].items()}
            chosen[spec.name] = {name: str(path) for name, path in files.items()}
            problems.extend(_certificates(written, value, files.values()))
        if spec.metadata["path"] and value.text:
            path = value.folder / expanded(value.text)
            chosen[spec.name] = str(path)
            if not path.is_file():
                doubt = next(quoting.doubts(value.raw), None)
                said = f"; {doubt.sentence(written, secret=False)}" if doubt else ""
                problems.append(Problem(value.where, f"{written}: no file {path}", spec.metadata["about"] + said))
            elif key == "REGISTRY_CA":
                problems.extend(_certificates(written, value, [path]))
            elif key == "IMAGE_DIGESTS":
                problems.extend(
                    Problem(f"{shown(path)}:{line}", what, remedy) for line, what, remedy in _mistakes(path)
                )
    return Settings(**chosen)


def _certificates(key: str, value: Value, files: Iterable[Path]) -> Iterator[Problem]:
    """What keeps files from being read as certificates: said here, before a node is touched."""
    for path in files:
        try:
            places.certificates(path)
        except ValueError as error:
            yield Problem(value.where, f"{key}: {error}", "name the file with the certificate of that registry's CA")


def _mistakes(path: Path) -> list[images.Mistake]:
    """What is wrong in a file of image digests."""
    try:
        return images.parse(path.read_text(encoding="utf-8"))[1]
    except UnicodeDecodeError as error:
        return [images.Mistake(1, f"is not UTF-8 text ({error.reason})", "save it as UTF-8")]


def _node(
    default: str, control_plane: bool, key: str, value: Value, settings: Settings, problems: list[Problem]
) -> Node | None:
    """The node that a line describes; None if something is wrong with it, which goes into `problems`."""
    host, *words = value.text.split() or [""]
    parts = [word.partition("=") for word in words]
    options = {option: text for option, equals, text in parts if equals and option in _NODE_WORDS}
    addresses = (host, options.get("private", host))
    ssh_key = str(value.folder / expanded(options["key"])) if "key" in options else settings.ssh_key
    wrong = [
        Problem(value.where, f"{key}: {what}", remedy or _FORM.format(key=key))
        for what, remedy in (*_wrong_words(words), *_wrong_addresses(*addresses), *_wrong_values(options, default))
    ]
    if "key" in options and not Path(ssh_key).is_file():
        wrong.append(Problem(value.where, f"{key}: no file {ssh_key}", "name the private key for logging in there"))
    problems.extend(wrong)
    if wrong:
        return None
    return Node(
        name=options.get("name", default),
        host=addresses[0],
        address=addresses[1],
        control_plane=control_plane,
        user=options.get("user", settings.ssh_user),
        port=port(options["port"]) if "port" in options else _port(addresses[0], settings),
        key=ssh_key,
        jump=options.get("jump", settings.ssh_jump),
        instance=options.get("instance", ""),
        labels=labels(options["labels"]) if "labels" in options else (),
        taints=taints(options["taints"]) if "taints" in options else (),
        line=f"{key} in {value.where}",
    )


def _port(host: str, settings: Settings) -> int:
    """SSH_PORT; 0 for a name, whose port ~/.ssh/config may say, if that is the default."""
    return settings.ssh_port if is_address(host) or settings.ssh_port != Settings.ssh_port else 0


_PARSERS: Mapping[str, Callable[[str], object]] = {
    "port": port, "jump": bastion, "user": login_name, "instance": plain_word, "labels": labels, "taints": taints,
}  # fmt: skip


# Each yields what is wrong in a node's line, and a remedy; "" for the line's form.


def _wrong_words(words: Iterable[str]) -> Iterator[tuple[str, str]]:
    seen: set[str] = set()
    for word in words:
        option, equals, _ = word.partition("=")
        if option in seen:
            yield f"{option}= is there twice", "take one out"
        seen.add(option)
        if not equals or option not in _NODE_WORDS:
            near = nearest(option, _NODE_WORDS)
            yield f"{word!r} is not understood", f"did you mean {near}=…?" if near else ""


# A host's name, or an alias of ~/.ssh/config: what `ssh` takes as one, and no address that is mistyped.
_NAME = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9_])?", re.A)


def _wrong_addresses(host: str, private: str) -> Iterator[tuple[str, str]]:
    """SSH may dial a name; what the other nodes use must be an address."""
    for text in dict.fromkeys((private,) if _NAME.fullmatch(host) and private != host else (host, private)):
        if not is_address(text) or "%" in text:
            yield f"{text!r} is not an IP address", _as_address(text)
        elif why := _no_machine(text):
            yield f"{text} is {why}", "write the address of a single machine"


def _as_address(text: str) -> str:
    """How `user@192.0.2.1:22`, `[2001:db8::1]:22` or a host's name is written here; empty for something else."""
    form = re.fullmatch(
        r"(?:(?P<user>[^\s@]+)@)?(?:\[(?P<six>[^\]]+)\]|(?P<host>[A-Za-z0-9._-]+))(?::(?P<port>\d{1,5}))?", text
    )
    if not form:
        return ""
    host = form["six"] or form["host"]
    if is_address(host):
        words = (f"{word}={form[word]}" for word in ("user", "port") if form[word])
        return f"write {' '.join((host, *words))}"
    if _NAME.fullmatch(host):
        words = (f" {word}={form[word]}" for word in ("user", "port") if form[word])
        return f"write {host}{''.join(words)} private=ADDRESS: SSH takes names and aliases of ~/.ssh/config, the other nodes need its address"
    return ""


def _wrong_values(options: Mapping[str, str], default: str) -> Iterator[tuple[str, str]]:
    name = options.get("name", default)
    if not Hostname.fits(name) or name in GROUPS or is_address(name):
        remedy = "lower-case letters, digits, - and ., at most 63 characters, and neither a group's name nor an address"
        likely = re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-.")
        usable = Hostname.fits(likely) and likely not in GROUPS and not is_address(likely)
        yield f"name {name!r} cannot be used", f"write name={likely if usable else default}: {remedy}"
    for option, parse in _PARSERS.items():
        try:
            if option in options:
                parse(options[option])
        except ValueError as error:
            yield f"{option} {error}", ""


def _no_machine(text: str) -> str:
    """Why an address is no single machine's; empty if it may be one's."""
    address = ipaddress.ip_address(text)
    if address.is_multicast:
        return "a multicast address"
    if address.is_unspecified or text == "255.255.255.255":
        return "every machine's address, not one machine's"
    if address.is_link_local:
        return "a link-local address, which no other network reaches"
    return ""
