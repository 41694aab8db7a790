"""fabric and paramiko, loaded without importlib.metadata: paramiko asks it for its own version alone, for which it loads email, zipfile and csv."""

from __future__ import annotations

import os
import sys
from types import ModuleType
from typing import Any

_NAME = "importlib.metadata"


class _Metadata(ModuleType):
    """In its place while paramiko loads. For all but the version of an installed package it is the module itself."""

    def version(self, package: str) -> str:
        for folder in sys.path:
            try:
                names = [entry.name for entry in os.scandir(folder or ".")]
            except OSError:  # a folder that is not there, or an archive
                continue
            for name in names:
                if name.startswith(f"{package}-") and name.endswith(".dist-info"):
                    return name.removeprefix(f"{package}-").removesuffix(".dist-info")
        found: str = self.__getattr__("version")(package)
        return found

    def __getattr__(self, name: str) -> Any:
        sys.modules.pop(_NAME, None)
        from importlib import metadata

        return getattr(metadata, name)


_there = {_NAME, "paramiko"} & sys.modules.keys()
if not _there:
    sys.modules[_NAME] = _Metadata(_NAME)
try:
    import fabric
    import paramiko
finally:
    if not _there and isinstance(sys.modules.get(_NAME), _Metadata):
        del sys.modules[_NAME]

__all__ = ["fabric", "paramiko"]
