"""What of a machine's own containerd configuration matters to other programs there, in the words of containerd 2.

Sources: containerd docs/ops.md (root, state, imports), docs/cri/config.md (the plugins' names in versions 2 and 3, runtimes),
docs/PLUGINS.md (proxy plugins); kubespray 12277, claudie 1786 (a GPU's runtime that was lost).
"""

from __future__ import annotations

import functools
import json
import tomllib
from collections.abc import Mapping
from typing import Any

from ..text import forms

# The part of a CRI plugin's settings that is read, by the file's version: where runtimes are, and where the snapshotter is.
_RUNTIME = ("io.containerd.cri.v1.runtime", "io.containerd.grpc.v1.cri", "cri")
_IMAGES = "io.containerd.cri.v1.images"
_USUAL = {"default_runtime_name": "runc", "snapshotter": "overlayfs"}
CONF_D = "/etc/containerd/conf.d"
MOST = 4000  # characters of settings that a message can print
UNREAD: Mapping[str, Any] = {"unread": "yes"}


@functools.lru_cache(maxsize=64)
def parse_containerd(text: str, conf_d: bool) -> Mapping[str, Any]:
    """Root, state, imports, runtimes, snapshotter and proxy plugins, as CONTAINERD_CONFIG has them: {"root": "/data/containerd"}.

    `conf_d`: whether files are in containerd's usual folder for imports; without them, importing that folder is no setting.
    A file that cannot be read, or has more of it than a message can print, gives {"unread": "yes"}: it may name another disk.
    """
    try:
        found = tomllib.loads(text)
        return _kept(found, conf_d)
    except (tomllib.TOMLDecodeError, RecursionError, AttributeError, TypeError, ValueError):
        return UNREAD


def _kept(found: Mapping[str, Any], conf_d: bool) -> Mapping[str, Any]:
    kept: dict[str, Any] = {key: forms.text(found[key]) for key in ("root", "state") if found.get(key)}
    imports = [forms.text(one) for one in found.get("imports", ()) if conf_d or one != f"{CONF_D}/*.toml"]
    plugins = found.get("plugins", {})
    cri: Mapping[str, Any] = next((plugins[name] for name in _RUNTIME if name in plugins), {})
    containerd = cri.get("containerd", {})
    runtime: dict[str, Any] = {}
    runtimes = {name: _runtime(one) for name, one in containerd.get("runtimes", {}).items() if name != "runc"}
    own = containerd.get("runtimes", {}).get("runc", {}).get("options", {}).get("BinaryName", "")
    if own:
        runtimes["runc"] = {"options": {"BinaryName": own}}
    name = containerd.get("default_runtime_name", "")
    if name and name != _USUAL["default_runtime_name"]:
        runtime["default_runtime_name"] = name
    if runtimes:
        runtime["runtimes"] = runtimes
    snapshotter = plugins.get(_IMAGES, {}).get("snapshotter", "") or containerd.get("snapshotter", "")
    made = {_RUNTIME[0]: {"containerd": runtime}} if runtime else {}
    if snapshotter and snapshotter != _USUAL["snapshotter"]:
        made[_IMAGES] = {"snapshotter": snapshotter}
    for key, value in (
        ("imports", imports),
        ("proxy_plugins", dict(found.get("proxy_plugins", {}).items())),
        ("plugins", made),
    ):
        if value:
            kept[key] = value
    if len(json.dumps(kept)) > MOST:  # raises TypeError for dates, which no such setting is
        return UNREAD
    return kept


def _runtime(one: Mapping[str, Any]) -> dict[str, Any]:
    """A runtime's settings that are not empty, without those that containerd 2 has no more; `sandbox_mode` is `sandboxer` there."""
    gone = ("runtime_engine", "runtime_root", "sandbox_mode")
    made = {key: value for key, value in one.items() if value and key not in ("options", *gone)}
    options = {key: value for key, value in one.get("options", {}).items() if value}
    mode = one.get("sandbox_mode", "")
    return {**made, **({"options": options} if options else {}), **({"sandboxer": mode} if mode else {})}


def lost(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of theirs that ours does not have, or has with another value."""
    found: dict[str, Any] = {}
    for key, value in theirs.items():
        other = ours.get(key)
        if isinstance(value, Mapping) and isinstance(other, Mapping):
            if below := lost(value, other):
                found[key] = below
        elif value != other:
            found[key] = value
    return found


def named(settings: Mapping[str, Any]) -> list[str]:
    """Each setting as a person says it: "root = /data/containerd", "runtime nvidia", "imports /etc/containerd/conf.d/*.toml"."""
    said = [f"{key} = {settings[key]}" for key in ("root", "state") if key in settings]
    said += [f"imports {', '.join(settings['imports'])}"] if "imports" in settings else []
    plugins = settings.get("plugins", {})
    containerd = plugins.get(_RUNTIME[0], {}).get("containerd", {})
    said += [f"runtime {name}" for name in containerd.get("runtimes", {})]
    said += (
        [f"default_runtime_name = {containerd['default_runtime_name']}"] if "default_runtime_name" in containerd else []
    )
    said += [f"snapshotter = {plugins[_IMAGES]['snapshotter']}"] if _IMAGES in plugins else []
    said += [f"proxy plugin {name}" for name in settings.get("proxy_plugins", {})]
    return [forms.text(one, 120) for one in said]
