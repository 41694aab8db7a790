"""The formats that a node's words must have before the code decides anything from them: the only parser of what machines print.

A node may have been taken over by an attacker: what it prints is data, and never becomes part of a shell line, of another node's
script, or of a terminal's control language.  A word that decides something (a name, an address, a number, a hash) is refused unless
it has its format.  A refusal is a `FormError` and affects only that node's row.  Free text (a kernel's version, a message) goes
through `text`: it is bounded, cleaned, and only shown.

Sources: RFC 1123 and RFC 5890 (hostnames); kubernetes.io "Object Names and IDs" (at most 253 characters) and "Labels" (the kubelet
makes the hostname a label's value: at most 63); IFNAMSIZ of Linux (15 characters); systemd.unit(5); machine-id(5).
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

DEPTH = 40  # levels of nested JSON; a Deployment has about 15
LATEST = 253402300799.0  # seconds since 1970: the end of the year 9999, the last year of Python's calendar
Check = Callable[[object, str], Any]


class FormError(ValueError):
    """A word without the required format. `field` says what it should be; `remedy` what to do on that node, if that is special."""

    def __init__(self, field: str, value: object, wanted: str, remedy: str = "") -> None:
        shown = line(repr(value[:80] if isinstance(value, str | bytes) else value), 90)
        super().__init__(f"{field} {shown} is not {wanted}")
        self.field, self.remedy = field, remedy


# --- words


def pairs(lines: Iterable[str]) -> dict[str, str]:
    """Parse KEY=value lines; quotes around a value are removed."""
    return {key.strip(): value.strip().strip('"') for key, _, value in (line.partition("=") for line in lines)}


class Word(str):
    """A string with a checked format: only subclasses can be created, and only from text with their format. Raises FormError."""

    __slots__ = ()
    FIELD = WANTED = REMEDY = ""
    LONGEST = 0
    FORM = re.compile("(?!)")

    def __new__(cls, value: object) -> Word:
        if not isinstance(value, str) or not cls.fits(value):
            raise FormError(cls.FIELD, value, cls.WANTED, cls.REMEDY)
        return super().__new__(cls, value)

    @classmethod
    def fits(cls, value: str) -> bool:
        """Whether the text has this format."""
        return len(value) <= cls.LONGEST and cls.FORM.fullmatch(value) is not None


# kubeadm's files contain such words
yaml.representer.SafeRepresenter.add_multi_representer(Word, lambda dumper, value: dumper.represent_str(str(value)))

_LABEL = "[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"


class Name(Word):
    """The name of an object in the API: an RFC 1123 subdomain."""

    __slots__ = ()
    FIELD, WANTED, LONGEST = "name", "an object's name (RFC 1123, at most 253 characters)", 253
    FORM = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")


class Hostname(Name):
    """A hostname that a node can have: it is also a label's value, so it has at most 63 characters."""

    __slots__ = ()
    FIELD, WANTED, LONGEST = (
        "hostname",
        "a node's name: lower-case letters, digits, - and ., at most 63 characters (RFC 1123)",
        63,
    )
    REMEDY = "`hostnamectl set-hostname NAME` there: lower-case letters, digits, - and ., at most 63 characters"


UNNAMED = str.__new__(Hostname, "")  # the hostname of a node that was not observed


def word(value: str, field: str, form: str, wanted: str, longest: int = 255) -> str:
    """The word, if it matches `form` (a regular expression) completely. Raises FormError."""
    if len(value) > longest or not re.fullmatch(form, value):
        raise FormError(field, value, wanted)
    return value


PLAIN = r"[A-Za-z0-9][A-Za-z0-9._+:@~-]*"  # unit names, marks, versions of systems: no character with a meaning in a shell, a path or markup
VERSION = r"[A-Za-z0-9][A-Za-z0-9.+:~^_-]*"  # a package's version
IMAGE = r"[A-Za-z0-9\[][A-Za-z0-9._:/@\[\]-]*"  # an OCI reference; brackets belong to an IPv6 registry
MOMENT = r"[0-9]{4}(-[0-9]{2}){2}T[0-9]{2}(:[0-9]{2}){2}[.][0-9]{6}Z"  # of a lease, as the API writes it: two are in order as texts are
DIGEST = r"sha256:[0-9a-f]{64}"
HASH = r"[0-9a-f]{64}"
PATH = r"/[A-Za-z0-9._/@:+~\[\]-]*"
LINK = r"[A-Za-z0-9][A-Za-z0-9._:@+~-]*"
MACHINE_ID = r"[0-9a-f]{32}|uninitialized"
UUID = r"[0-9A-Fa-f-]*"


def release(text: str) -> str:
    """The release of Kubernetes in a word like `v1.36.4`, without the v; empty for any other word, such as a pre-release's."""
    found = re.fullmatch(r"v?([0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3})", text)
    return found[1] if found else ""


def has(value: str, form: str, longest: int = 255) -> bool:
    """Whether the whole word matches `form`: for lists whose invalid entries are left out."""
    return len(value) <= longest and re.fullmatch(form, value) is not None


def plain(value: str, field: str) -> str:
    """A word that matches PLAIN, or an empty one. Raises FormError."""
    return word(value, field, PLAIN, "a word of letters, digits and ._+:@~-", 128) if value else ""


def text(value: object, limit: int = 300) -> str:
    """Free text for people: one line, clean and bounded. No code may decide anything from it."""
    return line(value if isinstance(value, str) else str(value)[: limit * 4], limit)


# --- numbers


def number(value: str, field: str, most: int = 1 << 53) -> int:
    """A whole number from 0 to `most`. Raises FormError; text of more than 16 digits is refused before it is converted."""
    if len(value) > 16 or not re.fullmatch(r"[0-9]+", value) or int(value) > most:
        raise FormError(field, value, f"a number up to {most}")
    return int(value)


def seconds(value: str, field: str) -> float:
    """Seconds since 1970, up to the year 9999. Raises FormError: no inf, no nan, no exponent."""
    if not re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,12})?", value) or float(value) > LATEST:
        raise FormError(field, value, "a time in seconds since 1970")
    return float(value)


# --- addresses


def address(value: object, field: str = "address") -> str:
    """An IP address as Python writes it. A zone is refused, because it could contain anything. Raises FormError."""
    try:
        if not isinstance(value, str) or "%" in value:
            raise ValueError
        return str(ipaddress.ip_address(value))
    except ValueError:
        raise FormError(field, value, "an IP address") from None


def is_address(value: str) -> bool:
    """Whether the text is an IP address; a zone like %eth0 may follow, as in resolv.conf."""
    plain_part, _, zone = value.partition("%")
    try:
        ipaddress.ip_address(plain_part)
    except ValueError:
        return False
    return not zone or has(zone, LINK, 15)


def interface(value: object, field: str = "address") -> str:
    """An address with its prefix length, like 10.44.1.0/32. Raises FormError."""
    try:
        if not isinstance(value, str) or "%" in value:
            raise ValueError
        return str(ipaddress.ip_interface(value))
    except ValueError:
        raise FormError(field, value, "an address with a prefix length") from None


def network(value: object, field: str = "network") -> str:
    """A network, like 10.44.1.0/24. Raises FormError."""
    try:
        if not isinstance(value, str) or "%" in value:
            raise ValueError
        return str(ipaddress.ip_network(value))
    except ValueError:
        raise FormError(field, value, "a network like 10.44.1.0/24") from None


# --- JSON


def _no_constant(value: str) -> object:
    raise ValueError(f"{value} is no JSON")


def data(value: str, field: str) -> Any:
    """JSON of bounded depth, with finite numbers and text that can be encoded. Raises FormError."""
    try:
        found = json.loads(value, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise FormError(field, value, "JSON") from None
    _bounded(found, field)
    return found


def documents(value: str, field: str) -> list[Any]:
    """JSON texts one after the other, each as `data` has it. Raises FormError."""
    read, found = json.JSONDecoder(parse_constant=_no_constant).raw_decode, []
    rest = value.strip()
    try:
        while rest:
            one, end = read(rest)
            found.append(one)
            rest = rest[end:].lstrip()
    except (ValueError, RecursionError):
        raise FormError(field, value, "JSON") from None
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
    """A check for a JSON object: it returns each key's checked value. A key with `!` is required.

    Keys that are absent, null, or not in `checks` are left out.
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
    """A check for a JSON list of at most `most` such values."""

    def check(value: object, field: str) -> list[Any]:
        if not isinstance(value, list) or len(value) > most:
            raise FormError(field, value, f"a list of at most {most}")
        return [one(item, field) for item in value]

    return check


def string(value: object, field: str) -> str:
    """Any string: for text that is shown or compared, never for a shell."""
    if not isinstance(value, str):
        raise FormError(field, value, "text")
    return value


def strings(value: object, field: str) -> dict[str, str]:
    """A JSON object of strings, like labels and annotations: only for keys that people choose. What a release defines is a `record`."""
    if not isinstance(value, dict):
        raise FormError(field, value, "an object")
    return {key: string(item, f"{field}.{line(key, 40)}") for key, item in value.items()}


def whole(value: object, field: str) -> int:
    """A whole number from 0 to below 2^53, which every JSON parser can hold."""
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
        "spec": record(
            {
                "podCIDR": _pods,
                "unschedulable": flag,
                "providerID": string,
                "taints": many(record({"key!": string, "value": string, "effect!": string})),
            }
        ),
        "status": record(
            {
                "conditions": CONDITIONS,
                "addresses": many(record({"type!": string, "address!": string})),
                # 1.37 has more there that is no text
                "nodeInfo": record({"machineID": string, "kubeletVersion": string}),
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


def items(value: str, one: Check, field: str) -> tuple[Any, ...]:
    """The checked objects in the output of `kubectl get … -o json`, or in lists of the API's, one after the other; empty for empty output.

    Raises FormError.
    """
    read = record({"items!": many(one)})
    return tuple(item for document in documents(value, field) for item in read(document, field)["items"])


def kinds(value: str, field: str) -> list[Any]:
    """The objects in such an output, unchecked, or the only one. The API's lists say of which kind their items are. Raises FormError."""
    found: list[Any] = []
    for document in documents(value, field):
        listed = document.get("items") if isinstance(document, dict) else document
        if listed is None:
            found.append(document)
            continue
        kind = str(document.get("kind", "")).removesuffix("List") if isinstance(document, dict) else ""
        for item in many(lambda item, _: item)(listed, field):
            found.append({"kind": kind, **item} if kind and isinstance(item, dict) else item)
    return found
