"""How `fab -H master init` finds its nodes, and why a bare `fab reset` touches nothing.

Fabric would run the task once a host, one after another, each over a connection of its own, and without `-H` on the
operator's own machine.  Our tasks get the names as typed and hand them to the runner, which works on all nodes at the
same time.
"""

from __future__ import annotations

from typing import Any

import fabric.executor
from invoke import Call, Task

from .common import MARK, with_errors_printed
from .core_options import check


class NodeExecutor(fabric.executor.Executor):
    """Fabric's executor; tasks that carry MARK run once, with the `-H` names in `context.kubefab.hosts`."""

    def execute(self, *tasks: Any) -> Any:
        with_errors_printed(lambda: check(self.core, tasks))
        return super().execute(*tasks)

    def expand_calls(self, calls: list[Any], apply_hosts: bool = True) -> list[Any]:
        expanded: list[Any] = []
        names = [name for name in (self.core[0].args.hosts.value or "").split(",") if name]
        for call in calls:
            call = Call(task=call) if isinstance(call, Task) else call
            if getattr(call.task, MARK, False):
                self.config["kubefab"] = {"hosts": names}
                expanded.append(call)
            else:
                expanded.extend(super().expand_calls([call], apply_hosts))
        return expanded
