"""Labels and taints in a node's line: `labels=disk=ssd,zone=a taints=gpu=yes:NoSchedule`, in the form that Kubernetes demands.

Sources: kubernetes.io "Labels and Selectors" (syntax), "Taints and Tolerations", "Well-Known Labels, Annotations and Taints".
"""

from __future__ import annotations

import re
from typing import Any

from ..records import dataclass
from ..text.forms import Name
from ..text.nearest import nearest

EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_MOST = 40  # of each kind on one node
_WORD = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
# What the kubelet, kubeadm and the controllers of Kubernetes set themselves, and set again.
_THEIRS = re.compile(
    r"(?:beta\.)?kubernetes\.io/.*|node-role\.kubernetes\.io/(?:control-plane|master)|node\.kubernetes\.io/exclude-from-external-load-balancers"
    r"|kubefab\.dev/.*"
)
_THEIR_TAINTS = re.compile(
    r"node(?:\.cloudprovider)?\.kubernetes\.io/.*|node-role\.kubernetes\.io/(?:control-plane|master)|kubefab\.dev/.*"
)


@dataclass(frozen=True, order=True)
class Taint:
    """A taint; its key and effect together name it, the value may be empty."""

    key: str
    effect: str
    value: str = ""

    @property
    def name(self) -> str:
        """As kubectl names it where its value does not matter: `gpu:NoSchedule`."""
        return f"{self.key}:{self.effect}"

    def __str__(self) -> str:
        return f"{self.key}={self.value}:{self.effect}" if self.value else self.name

    def data(self) -> dict[str, Any]:
        """As it is in the API and in kubeadm's file."""
        return {"key": self.key, **({"value": self.value} if self.value else {}), "effect": self.effect}


# What keeps ordinary pods off a control plane: kubeadm's own, so no line of hosts.env may name it; SCHEDULE_ON_CONTROL_PLANE does.
RESERVED = Taint("node-role.kubernetes.io/control-plane", "NoSchedule")


def labels(text: str) -> tuple[tuple[str, str], ...]:
    """The labels of `key=value,key=value`, sorted. Raises ValueError that says which one is wrong, and where."""
    found: dict[str, str] = {}
    for place, item in _items(text):
        key, value = _pair(place, item, _THEIRS)
        if key in found:
            raise ValueError(f"at character {place}: {key} is there twice. Take one out")
        found[key] = value
    return tuple(sorted(found.items()))


def taints(text: str) -> tuple[Taint, ...]:
    """The taints of `key=value:Effect,key:Effect`, sorted. Raises ValueError that says which one is wrong, and where."""
    found: dict[str, Taint] = {}
    for place, item in _items(text):
        body, colon, effect = item.rpartition(":")
        if effect not in EFFECTS or not colon:
            near = nearest(effect, EFFECTS) or EFFECTS[0]
            at = place + len(body) + 1 if colon else place + len(item)
            raise ValueError(
                f"at character {at}: {effect if colon else 'no effect'!r} is not one of {', '.join(EFFECTS)}. "
                f"Write {body if colon else item}:{near}"
            )
        key, value = _pair(place, body, _THEIR_TAINTS)
        one = Taint(key, effect, value)
        if one.name in found:
            raise ValueError(f"at character {place}: {one.name} is there twice. Take one out")
        found[one.name] = one
    return tuple(sorted(found.values()))


def _pair(place: int, text: str, theirs: re.Pattern[str]) -> tuple[str, str]:
    """Key and value of `key=value` or `key`, which begins at character `place`; `theirs` are the keys that an operator may not set."""
    key, _, value = text.partition("=")
    _key(place, key)
    _value(place + len(key) + 1, value)
    if theirs.fullmatch(key):
        raise ValueError(f"at character {place}: {key} is set by Kubernetes itself or by kubefab. Choose another key")
    return key, value


def _items(text: str) -> list[tuple[int, str]]:
    """The items between commas, each with the number of its first character, from 1."""
    found, place = [], 1
    for item in text.split(","):
        if not item:
            raise ValueError(f"at character {place}: nothing between two commas or at the end. Take the comma out")
        found.append((place, item))
        place += len(item) + 1
    if len(found) > _MOST:
        raise ValueError(f"has {len(found)} items: at most {_MOST}")
    return found


def is_key(text: str) -> bool:
    """Whether a label or taint may have this key: [DNS name/]word, the word of at most 63 characters."""
    domain, slash, word = text.rpartition("/")
    return bool(_WORD.fullmatch(word)) and len(word) <= 63 and (not slash or Name.fits(domain))


def is_value(text: str) -> bool:
    """Whether a label or taint may have this value: empty, or a word of at most 63 characters."""
    return not text or (bool(_WORD.fullmatch(text)) and len(text) <= 63)


def _key(place: int, text: str) -> None:
    if is_key(text):
        return
    domain, slash, word = text.rpartition("/")
    if slash and not Name.fits(domain):
        small = f". Write {domain.lower()}/{word}" if Name.fits(domain.lower()) and is_key(word) else ""
        raise ValueError(f"at character {place}: {domain!r} before the / is not a DNS name in lower case{small}")
    raise _not_a_word(place + len(domain) + len(slash), "key", word)


def _value(place: int, text: str) -> None:
    if not is_value(text):
        raise _not_a_word(place, "value", text)


def _not_a_word(place: int, what: str, text: str) -> ValueError:
    wrong = re.search(r"[^A-Za-z0-9._-]", text)
    at = place + (wrong.start() if wrong else 0)
    right = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")[:63].rstrip("-._") or "a"
    return ValueError(
        f"at character {at}: {what} {text[:80]!r} is not 1 to 63 letters, digits, dots, dashes and underscores, "
        f"with a letter or digit at both ends. Write {right}"
    )
