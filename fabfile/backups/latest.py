"""What the operator's side remembers of the last backup of an environment: `backup.json` in its state folder."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from ..inventory import Environment, private_folder
from ..nodes.facts import NodeFacts
from ..records import dataclass
from ..text.whole import write_whole

FILE = "backup.json"


@dataclass(frozen=True)
class Latest:
    """The last backup that was written from here: its path (empty: none was), when (seconds since 1970), of which cluster (uid), and whether
    the file is gone since."""

    path: str = ""
    made: float = 0.0
    uid: str = ""
    gone: bool = False

    def of(self, control: NodeFacts) -> bool:
        """Whether it is a backup of the cluster of this control plane; of one whose uid is not known it is none."""
        return bool(self.path and self.uid) and self.uid == (control.identity.uid or control.uid)


def recall_backup(environment: Environment) -> Latest:
    """The last backup; an empty one if the note of it cannot be read."""
    with suppress(OSError, ValueError, LookupError, TypeError, RecursionError):
        found = json.loads((environment.state / FILE).read_text(encoding="utf-8"))
        path = str(found["path"])
        return Latest(path, float(found["made"]), str(found["uid"]), gone=not Path(path).exists())
    return Latest()


def remember_backup(environment: Environment, latest: Latest) -> None:
    """Note it, with mode 0600. Raises OSError that names the file."""
    private_folder(environment.state)
    write_whole(
        environment.state / FILE, json.dumps({"path": latest.path, "made": latest.made, "uid": latest.uid}) + "\n"
    )
