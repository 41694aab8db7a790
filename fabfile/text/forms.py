"""The forms that a node's words must have before anything is decided from them: the one place that parses what machines say.

A node is a machine that somebody else may own by now: what it prints is data, never a part of a shell line, of another node's script
or of the terminal's own language.  A word that decides something (a name, an address, a number, a hash) has its form or is refused;
a refusal is a `FormError`, and costs the node that said it its row, nobody else's.  What may be anything (a kernel's version, a
message) is `text`: bounded, cleaned, only ever shown.

Sources: RFC 1123 and RFC 5890 (host names); kubernetes.io "Object Names and IDs" (at most 253 characters) and "Labels" (a label's value,
which the kubelet makes of the host name, at most 63); IFNAMSIZ of Linux (15 characters); systemd.unit(5); machine-id(5).
"""

from __future__ import annotations

import ipaddress
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import yaml

from .cleaning import line

DEPTH = 40  # of nested JSON; a Deployment's is about 15
LATEST = 253402300799.0  # seconds since 1970: the end of the year 9999, the last that a calendar here can show
Check = Callable[[object, str], Any]


class FormError(ValueError):
    """A word that has not its form. `field` is what it was to be; `remedy` what to do on that node, if there is something special."""

    def __init__(self, field: str, told: object, wanted: str, remedy: str = "") -> None:
        shown = line(repr(told[:80] if isinstance(told, str | bytes) else told), 90)
        super().__init__(f"{field} {shown} is not {wanted}")
        self.field, self.remedy = field, remedy


# --- words


def pairs(lines: Iterable[str]) -> dict[str, str]:
    """KEY=value lines; quotes around a value are left out."""
    return {key.strip(): value.strip().strip('"') for key, _, value in (line.partition("=") for line in lines)}


class Word(str):
    """A string that has passed a form; only a subclass can be made, and only from what has its form. Raises FormError."""

    __slots__ = ()
    FIELD = WANTED = REMEDY = ""
    LONGEST = 0
    FORM = re.compile("(?!)")

    def __new__(cls, told: object) -> Word:
        if not isinstance(told, str) or not cls.fits(told):
            raise FormError(cls.FIELD, told, cls.WANTED, cls.REMEDY)
        return super().__new__(cls, told)

    @classmethod
    def fits(cls, told: str) -> bool:
        """Whether it has the form."""
        return len(told) <= cls.LONGEST and cls.FORM.fullmatch(told) is not None


yaml.representer.SafeRepresenter.add_multi_representer(
    Word, lambda dumper, told: dumper.represent_str(str(told))
)  # kubeadm's files hold some

_LABEL = "[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"


class Name(Word):
    """The name of an object in the API: an RFC 1123 subdomain."""

    __slots__ = ()
    FIELD, WANTED, LONGEST = "name", "an object's name (RFC 1123, at most 253 characters)", 253
    FORM = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")


class Hostname(Name):
    """A host name that can be a node's: it is also the value of a label, so at most 63 characters."""

    __slots__ = ()
    FIELD, WANTED, LONGEST = (
        "hostname",
        "a node's name: lower-case letters, digits, - and ., at most 63 characters (RFC 1123)",
        63,
    )
    REMEDY = "`hostnamectl set-hostname …` there: lower-case letters, digits, - and ., at most 63 characters"


UNNAMED = str.__new__(Hostname, "")  # of a node that was not observed


def word(told: str, field: str, form: str, wanted: str, longest: int = 255) -> str:
    """The word, if the whole of it has the form (a regular expression). Raises FormError."""
    if len(told) > longest or not re.fullmatch(form, told):
        raise FormError(field, told, wanted)
    return told


PLAIN = r"[A-Za-z0-9][A-Za-z0-9._+:@~-]*"  # unit names, marks, versions of systems: nothing that a shell, a path or markup acts on
VERSION = r"[A-Za-z0-9][A-Za-z0-9.+:~^_-]*"  # of a package
IMAGE = r"[A-Za-z0-9\[][A-Za-z0-9._:/@\[\]-]*"  # an OCI reference; brackets are an IPv6 registry's
DIGEST = r"sha256:[0-9a-f]{64}"
HASH = r"[0-9a-f]{64}"
PATH = r"/[A-Za-z0-9._/@:+~\[\]-]*"
LINK = r"[A-Za-z0-9][A-Za-z0-9._:@+~-]*"
MACHINE_ID = r"[0-9a-f]{32}|uninitialized"
UUID = r"[0-9A-Fa-f-]*"


def has(told: str, form: str, longest: int = 255) -> bool:
    """Whether the whole word has the form: for lists from which what has it not is simply left out."""
    return len(told) <= longest and re.fullmatch(form, told) is not None


def plain(told: str, field: str) -> str:
    """A word of PLAIN's form, or none at all. Raises FormError."""
    return word(told, field, PLAIN, "a word of letters, digits and ._+:@~-", 128) if told else ""


def text(told: object, limit: int = 300) -> str:
    """Free text for people: one line, clean, bounded. Nothing may be decided from it."""
    return line(told if isinstance(told, str) else str(told)[: limit * 4], limit)


# --- numbers


def number(told: str, field: str, most: int = 1 << 53) -> int:
    """A whole number from 0 to `most`. Raises FormError; what has more than 16 digits is not even looked at."""
    if len(told) > 16 or not re.fullmatch(r"[0-9]+", told) or int(told) > most:
        raise FormError(field, told, f"a number up to {most}")
    return int(told)


def seconds(told: str, field: str) -> float:
    """Seconds since 1970, up to the year 9999. Raises FormError: no inf, no nan, no exponent."""
    if not re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,12})?", told) or float(told) > LATEST:
        raise FormError(field, told, "a time in seconds since 1970")
    return float(told)


# --- addresses


def address(told: object, field: str = "address") -> str:
    """An IP address as Python writes it; without a zone, in which anything could stand. Raises FormError."""
    try:
        if not isinstance(told, str) or "%" in told:
            raise ValueError
        return str(ipaddress.ip_address(told))
    except ValueError:
        raise FormError(field, told, "an IP address") from None


def is_address(told: str) -> bool:
    """Whether it is one; a zone like %eth0 may follow, as in resolv.conf."""
    plain_part, _, zone = told.partition("%")
    try:
        ipaddress.ip_address(plain_part)
    except ValueError:
        return False
    return not zone or has(zone, LINK, 15)


def interface(told: object, field: str = "address") -> str:
    """An address with its prefix length, like 10.44.1.0/32. Raises FormError."""
    try:
        if not isinstance(told, str) or "%" in told:
            raise ValueError
        return str(ipaddress.ip_interface(told))
    except ValueError:
        raise FormError(field, told, "an address with a prefix length") from None


def network(told: object, field: str = "network") -> str:
    """A network, like 10.44.1.0/24. Raises FormError."""
    try:
        if not isinstance(told, str) or "%" in told:
            raise ValueError
        return str(ipaddress.ip_network(told))
    except ValueError:
        raise FormError(field, told, "a network like 10.44.1.0/24") from None


# --- JSON


def _no_constant(told: str) -> object:
    raise ValueError(f"{told} is no JSON")


def data(told: str, field: str) -> Any:
    """JSON of bounded depth, with numbers that end and text that can be encoded. Raises FormError."""
    try:
        found = json.loads(told, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise FormError(field, told, "JSON") from None
    _bounded(found, field)
    return found


def _bounded(found: object, field: str) -> None:
    below: list[tuple[object, int]] = [(found, 0)]
    while below:
        value, depth = below.pop()
        if isinstance(value, str):
            if not value.isascii() and re.search("[\ud800-\udfff]", value):
                raise FormError(field, value, "JSON with text that can be encoded")
        elif isinstance(value, float):
            if not math.isfinite(value):
                raise FormError(field, value, "JSON with numbers that end")
        elif isinstance(value, dict | list):
            if depth > DEPTH:
                raise FormError(field, "…", f"JSON of at most {DEPTH} levels")
            if isinstance(value, dict):
                below += [(key, depth + 1) for key in value]
                value = list(value.values())
            below += [(item, depth + 1) for item in value]


def record(checks: Mapping[str, Check]) -> Check:
    """A JSON object: each key's value as its check gives it back, all other keys left out. A key with `!` must be there.

    What is absent or null is left out; so is what nobody has given a form yet.
    """

    def check(value: object, field: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise FormError(field, value, "an object")
        found = {}
        for key, one in checks.items():
            name = key.removesuffix("!")
            if value.get(name) is not None:
                found[name] = one(value[name], f"{field}.{name}")
            elif key != name:
                raise FormError(f"{field}.{name}", value.get(name), "there")
        return found

    return check


def many(one: Check, most: int = 10_000) -> Check:
    """A JSON list of such values."""

    def check(value: object, field: str) -> list[Any]:
        if not isinstance(value, list) or len(value) > most:
            raise FormError(field, value, f"a list of at most {most}")
        return [one(item, field) for item in value]

    return check


def string(value: object, field: str) -> str:
    """A string, whatever stands in it: for text that is shown or compared, never for a shell."""
    if not isinstance(value, str):
        raise FormError(field, value, "text")
    return value


def strings(value: object, field: str) -> dict[str, str]:
    """A JSON object of strings, as labels and annotations are."""
    if not isinstance(value, dict):
        raise FormError(field, value, "an object")
    return {key: string(item, f"{field}.{line(key, 40)}") for key, item in value.items()}


def whole(value: object, field: str) -> int:
    """A whole number from 0, not too large for anybody."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 53:
        raise FormError(field, value, "a whole number")
    return value


def flag(value: object, field: str) -> bool:
    """true or false."""
    if not isinstance(value, bool):
        raise FormError(field, value, "true or false")
    return value


def name(value: object, field: str) -> Name:
    """An object's name."""
    try:
        return Name(value)
    except FormError:
        raise FormError(field, value, Name.WANTED) from None


def _pods(value: object, field: str) -> str:
    return network(value, field) if value != "" else ""


_METADATA = {
    "name!": name,
    "namespace": name,
    "uid": string,
    "labels": strings,
    "annotations": strings,
    "deletionTimestamp": string,
}
CONDITIONS = many(record({"type!": string, "status!": string, "reason": string, "message": string}))
NODE = record(
    {
        "metadata!": record(_METADATA),
        "spec": record({"podCIDR": _pods, "unschedulable": flag, "providerID": string}),
        "status": record(
            {
                "conditions": CONDITIONS,
                "addresses": many(record({"type!": string, "address!": string})),
                "nodeInfo": strings,
            }
        ),
    }
)


def _image(value: object, field: str) -> str:
    return value if isinstance(value, str) and has(value, IMAGE, 400) else ""


_CONTAINERS = many(record({"name": string, "image": _image}))
WORKLOAD = record(
    {
        "metadata!": record(_METADATA),
        "spec": record(
            {"template": record({"spec": record({"initContainers": _CONTAINERS, "containers": _CONTAINERS})})}
        ),
        "status": record({"availableReplicas": whole}),
    }
)


def items(told: str, one: Check, field: str) -> tuple[Any, ...]:
    """The objects in what `kubectl get … -o json` printed, each checked; none for nothing. Raises FormError."""
    if not told.strip():
        return ()
    found: list[Any] = record({"items!": many(one)})(data(told, field), field)["items"]
    return tuple(found)
