"""The operator's kubeconfig: this cluster's entry put in, and taken out again by reset.

Only the entries named after the environment are touched; the file is backed up first and keeps mode 0600.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import yaml

from .errors import KubefabError
from .inventory import Environment, bracketed
from .masking import register

LISTS = ("clusters", "users", "contexts")


def default_path() -> Path:
    """Where kubectl would look: the first file of $KUBECONFIG, or ~/.kube/config."""
    first = os.environ.get("KUBECONFIG", "").split(os.pathsep)[0]
    return Path(first).expanduser() if first else Path.home() / ".kube" / "config"


def entry(environment: Environment, admin: str) -> dict[str, Any]:
    """The cluster's admin.conf as an entry named after the environment, dialled at its outside address."""
    try:
        source = yaml.safe_load(admin)
        cluster = dict(source["clusters"][0]["cluster"])
        user = dict(source["users"][0]["user"])
    except (yaml.YAMLError, LookupError, TypeError):
        raise KubefabError("the control plane's admin.conf cannot be read", "is it initialised? `inv cluster.status`") from None
    for value in user.values():
        register(str(value))
    cluster["server"] = f"https://{bracketed(environment.control_plane.host)}:{environment.settings.api_port}"
    name = environment.name
    return {
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": f"{name}-admin", "user": user}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": f"{name}-admin"}}],
    }


def merge(path: Path, environment: Environment, admin: str) -> None:
    """Put the cluster into the kubeconfig at `path` and make it the current context."""
    config = _without(_read(path), environment.name)
    for key, items in entry(environment, admin).items():
        config[key].extend(items)
    config["current-context"] = environment.name
    _write(path, config)
    _note(environment, path)


def remove(path: Path, environment: Environment) -> bool:
    """Take the cluster out again; True if it was in there."""
    if not path.exists():
        return False
    before = _read(path)
    after = _without(before, environment.name)
    if all(len(before[key]) == len(after[key]) for key in LISTS):
        return False
    if after.get("current-context") == environment.name:
        after["current-context"] = ""
    _write(path, after)
    return True


def known_paths(environment: Environment) -> list[Path]:
    """Every kubeconfig that the cluster was put into, and the default one: where reset has to look."""
    noted = environment.state / "kubeconfigs"
    lines = noted.read_text().splitlines() if noted.exists() else []
    return list(dict.fromkeys([default_path(), *map(Path, lines)]))


def _note(environment: Environment, path: Path) -> None:
    noted = environment.state / "kubeconfigs"
    if str(path.absolute()) not in (noted.read_text().splitlines() if noted.exists() else []):
        noted.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with noted.open("a") as stream:
            stream.write(f"{path.absolute()}\n")


def _read(path: Path) -> dict[str, Any]:
    config: Any = {}
    if path.exists():
        try:
            config = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise KubefabError(f"{path} is not YAML: {error}", "mend it, or name another file with --kubeconfig FILE or --file FILE") from None
    if not isinstance(config, dict) or not all(isinstance(item, dict) for key in LISTS for item in config.get(key) or ()):
        raise KubefabError(f"{path} is not a kubeconfig", "name another file with --kubeconfig FILE or --file FILE")
    base = {"apiVersion": "v1", "kind": "Config", "preferences": {}, "current-context": ""}
    return {**base, **config, **{key: list(config.get(key) or []) for key in LISTS}}


def _without(config: dict[str, Any], name: str) -> dict[str, Any]:
    ours = {name, f"{name}-admin"}
    return {**config, **{key: [item for item in config[key] if item.get("name") not in ours] for key in LISTS}}


def _write(path: Path, config: dict[str, Any]) -> None:
    path = path.resolve()  # a link stays one
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if path.exists():
        shutil.copy2(path, path.with_name(path.name + ".before-kubefab"))
        path.with_name(path.name + ".before-kubefab").chmod(0o600)
    fresh = path.with_name(f".{path.name}.kubefab")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        yaml.safe_dump(config, stream, sort_keys=False)
    fresh.replace(path)
