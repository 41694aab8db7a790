"""Instance types for a number of nodes: the manual's table (digest E3), its gaps closed, and today's equivalents.

The manual's table is that of Kubernetes' page "Running Kubernetes on AWS EC2" of 2016-17.  Its page "Building Large Clusters"
of the same time has the same types, for 1-5, 6-10, 11-100, 101-250, 251-500 and more nodes, the master not counted.  From that
page come the class of 5 nodes, which the manual leaves out, and the classes above 100.
CPUs and memory: AWS's published instance families.  Minimum sizes: kubeadm's preflight (NumCPU, Mem) and kubernetes.io
"Installing kubeadm".
"""

from __future__ import annotations

from ..errors import UsageError
from ..inventory import Environment
from ..records import dataclass

DATED = "2026-11"
GAP = 'the original says below 5 and from 6; 5 counts as the first class, as on Kubernetes\' page "Building Large Clusters" of that time'
BEYOND = 'the original ends at 100 nodes; this class is from Kubernetes\' page "Building Large Clusters" of that time'


@dataclass(frozen=True)
class Type:
    """An instance type: virtual CPUs, memory in GiB."""

    name: str
    cpus: int
    memory: float

    def __str__(self) -> str:
        return f"{self.name} ({self.cpus} CPU{'s' * (self.cpus != 1)}, {self.memory:g} GiB)"


@dataclass(frozen=True)
class Size:
    """A class of cluster: up to `most` nodes, this type then, that type now."""

    most: int | None
    then: Type
    now: Type


M3_MEDIUM, M3_LARGE, M3_XLARGE = Type("m3.medium", 1, 3.75), Type("m3.large", 2, 7.5), Type("m3.xlarge", 4, 15)
T3_SMALL, T3_MEDIUM, M7I_LARGE = Type("t3.small", 2, 2), Type("t3.medium", 2, 4), Type("m7i.large", 2, 8)

CONTROL_PLANE = (
    Size(5, M3_MEDIUM, T3_MEDIUM),
    Size(10, M3_LARGE, M7I_LARGE),
    Size(100, M3_XLARGE, Type("m7i.xlarge", 4, 16)),
    Size(250, Type("m3.2xlarge", 8, 30), Type("m7i.2xlarge", 8, 32)),
    Size(500, Type("c4.4xlarge", 16, 30), Type("c7i.4xlarge", 16, 32)),
    Size(None, Type("c4.8xlarge", 36, 60), Type("m7i.8xlarge", 32, 128)),
)
WORKER = (
    Size(49, Type("t2.micro", 1, 1), T3_SMALL),
    Size(150, Type("t2.small", 1, 2), T3_SMALL),
    Size(None, Type("t2.medium", 2, 4), T3_MEDIUM),
)
# The instance types of the manual's own two clusters.
IN_USE = (Size(None, Type("m4.large", 2, 8), M7I_LARGE), Size(None, Type("t2.medium", 2, 4), T3_MEDIUM))
MINIMUM = {
    "control plane": "2 CPUs, 1700 MiB: kubeadm refuses less",
    "worker": "2 GiB is what kubeadm's page asks for; below 1 GiB nothing of it runs well",
}


@dataclass(frozen=True)
class Advice:
    """What to use for one role."""

    role: str
    then: Type
    now: Type
    used: str
    minimum: str
    remarks: tuple[str, ...] = ()


def advise(nodes: int, environment: Environment | None = None) -> tuple[Advice, Advice]:
    """For a cluster of `nodes` workers. Raises UsageError for fewer than 1."""
    if nodes < 1:
        raise UsageError(
            f"--nodes {nodes}: a cluster has at least one", "--nodes 5: how many workers, without the control plane"
        )
    remarks = []
    if nodes == 5:
        remarks.append(GAP)
    if nodes > 100:
        remarks.append(BEYOND)
    control, worker = _of(nodes, CONTROL_PLANE), _of(nodes, WORKER)
    if control.then.cpus < 2:
        remarks.append(f"{control.then.name} has one CPU: enough for 1.5, refused by every release of today")
    small = (
        (f"{worker.then.name} has {worker.then.memory:g} GiB, less than kubeadm asks for today",)
        if worker.then.memory < 2
        else ()
    )
    return (
        Advice(
            "control plane",
            control.then,
            control.now,
            _used(environment, True),
            MINIMUM["control plane"],
            tuple(remarks),
        ),
        Advice("worker", worker.then, worker.now, _used(environment, False), MINIMUM["worker"], small),
    )


def _of(nodes: int, table: tuple[Size, ...]) -> Size:
    return next(size for size in table if size.most is None or nodes <= size.most)


def _used(environment: Environment | None, control_plane: bool) -> str:
    """The types that the inventory names for that role; without any, the manual's."""
    named = (
        [n.instance for n in environment.nodes if n.instance and n.control_plane == control_plane]
        if environment
        else []
    )
    return ", ".join(dict.fromkeys(named)) or f"{IN_USE[0 if control_plane else 1].then.name} (the manual's clusters)"


def as_data(nodes: int, advice: tuple[Advice, ...]) -> dict[str, object]:
    """For --json."""
    return {
        "nodes": nodes,
        "dated": DATED,
        "roles": {
            a.role: {
                "manual": _type(a.then), "today": _type(a.now), "in_use": a.used, "minimum": a.minimum, "remarks": list(a.remarks),
            }
            for a in advice
        },
    }  # fmt: skip


def _type(one: Type) -> dict[str, object]:
    return {"type": one.name, "cpus": one.cpus, "memory_gib": one.memory}


def as_text(nodes: int, advice: tuple[Advice, ...]) -> str:
    """For people."""
    lines = [f"{nodes} worker{'s' * (nodes != 1)}"]
    for one in advice:
        lines += [
            f"{one.role}",
            f"  the manual   {one.then}",
            f"  today        {one.now}, as of {DATED}",
            f"  in use       {one.used}",
            f"  at least     {one.minimum}",
            *(f"  note         {remark}" for remark in one.remarks),
        ]
    return "\n".join(lines)
