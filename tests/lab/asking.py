"""A small service as a careful user runs it, and what is seen of it from outside the cluster while something is done to the nodes."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

EACH = 0.2  # seconds from one question to the next
PATIENCE = 1.0  # seconds for one answer
# Seconds. A node that forgot the way to the pods, or pods that were stopped, are away until the control plane is back, and that is minutes
# in the tests that ask; this much a starved machine does not reach.
OUTAGE = 30.0
NAMESPACE = "asked"
# Two replicas on two nodes; at least one is always there. A pod that ends answers until no node sends it anything any more, and its file
# lies in the image's file system: an emptyDir would be data to lose.
MANIFEST = """
apiVersion: v1
kind: Namespace
metadata: {name: asked}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web, namespace: asked}
spec: {minAvailable: 1, selector: {matchLabels: {app: web}}}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: asked}
spec: {type: NodePort, selector: {app: web}, ports: [{port: 80, targetPort: http}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: asked}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  strategy: {rollingUpdate: {maxUnavailable: 0, maxSurge: 1}}
  template:
    metadata: {labels: {app: web}}
    spec:
      automountServiceAccountToken: false
      terminationGracePeriodSeconds: 20
      topologySpreadConstraints:
      - maxSkew: 1
        topologyKey: kubernetes.io/hostname
        whenUnsatisfiable: DoNotSchedule
        nodeTaintsPolicy: Honor
        labelSelector: {matchLabels: {app: web}}
      securityContext: {runAsNonRoot: true, runAsUser: 65534, seccompProfile: {type: RuntimeDefault}}
      containers:
      - name: web
        image: @image@
        command: [sh, -c]
        args:
        - |
          trap 'exit 0' TERM
          mkdir -p /tmp/www && hostname >/tmp/www/index.html
          busybox httpd -f -p 8080 -h /tmp/www &
          wait $!
        ports: [{name: http, containerPort: 8080}]
        readinessProbe: {httpGet: {path: /, port: http}, periodSeconds: 2, failureThreshold: 2}
        livenessProbe: {httpGet: {path: /, port: http}, periodSeconds: 10, timeoutSeconds: 5}
        lifecycle: {preStop: {sleep: {seconds: 5}}}
        resources: {requests: {cpu: 10m, memory: 16Mi}, limits: {memory: 64Mi}}
        securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
"""


@dataclass
class Seen:
    """What one asker saw: questions, those without an answer, the longest time between two answers in seconds, and who answered."""

    count: int = 0
    failures: int = 0
    longest_gap: float = 0.0
    answered_by: set[str] = field(default_factory=set)
    gaps: list[str] = field(default_factory=list)  # each above a second, with its end
    well: bool = True  # the last question had its answer
    why: str = ""  # the last failure

    def answer(self, who: str, gap: float) -> None:
        """The last question was answered, this many seconds after the answer before it."""
        self.count, self.well = self.count + 1, True
        self.answered_by.add(who)
        self.passed(gap)

    def failure(self, why: str) -> None:
        self.count, self.failures, self.well, self.why = self.count + 1, self.failures + 1, False, why

    def passed(self, gap: float) -> None:
        """That many seconds passed without an answer."""
        self.longest_gap = max(self.longest_gap, gap)
        if gap > 1:
            self.gaps.append(f"{gap:.1f} s until {datetime.now(UTC):%H:%M:%S}")

    def __str__(self) -> str:
        return f"{self.count} asked, {self.failures} failed, longest gap {self.longest_gap:.2f} s"


@dataclass
class Probe(Seen):
    """The same through a load balancer that asks the nodes in turn, leaves out those that did not answer last, and tries another node.

    `through` is what was seen through each node alone.
    """

    through: dict[str, Seen] = field(default_factory=dict)

    def assert_never_away(self, names: Iterable[str]) -> None:
        """Assert that the service answered through each of these nodes alone, all the time."""
        for name in names:
            seen = self.through[name]
            assert seen.count > 50 and seen.longest_gap < OUTAGE, f"{name}: {seen}"

    def __str__(self) -> str:
        parts = [f"balanced: {super().__str__()}", *(f"through {name}: {seen}" for name, seen in self.through.items())]
        return (
            "; ".join(parts)
            + "".join(f"\n  {gap}" for gap in self.gaps)
            + (f"\n  last failure: {self.why}" if self.why else "")
        )


def get(address: str, port: int) -> str:
    """Ask once, on a new connection; returns who answered. Raises OSError or HTTPException if there is no proper answer."""
    connection = http.client.HTTPConnection(address, port, timeout=PATIENCE)
    try:
        connection.request("GET", "/")
        response = connection.getresponse()
        text = response.read(200).decode("utf-8", "replace").strip()
    finally:
        connection.close()
    if response.status != 200 or not text.startswith("web-"):
        raise http.client.HTTPException(f"{response.status} {text!r}")
    return text


def balanced(ways: Mapping[str, Callable[[], str]], through: Mapping[str, Seen]) -> Callable[[], str]:
    """One question as a load balancer asks it."""
    turn = 0

    def ask() -> str:
        nonlocal turn
        names = list(ways)
        names = names[turn % len(names) :] + names[: turn % len(names)]
        turn += 1
        why: Exception = OSError("there is no node")
        for name in sorted(names, key=lambda name: not through[name].well):
            try:
                return ways[name]()
            except (OSError, http.client.HTTPException) as error:
                why = error
        raise why

    return ask


def steadily(
    ask: Callable[[], str], seen: Seen, stopped: Callable[[float], bool], clock: Callable[[], float] = time.monotonic
) -> None:
    """Ask every EACH seconds until `stopped`, which waits that many seconds, is true."""
    last = due = clock()
    while True:
        try:
            who = ask()
        except (OSError, http.client.HTTPException) as error:
            seen.failure(f"{type(error).__name__}: {error}")
        else:
            seen.answer(who, clock() - last)
            last = clock()
        due = max(due + EACH, clock())
        if stopped(due - clock()):
            break
    seen.passed(clock() - last)


@contextmanager
def asking(addresses: Mapping[str, str], port: int) -> Iterator[Probe]:
    """Ask at these addresses (by the nodes' names) during the block, all the time."""
    ways: dict[str, Callable[[], str]] = {n: lambda a=a: get(a, port) for n, a in addresses.items()}  # type: ignore[misc]
    probe = Probe(through={name: Seen() for name in ways})
    stop = threading.Event()
    askers: Sequence[tuple[Callable[[], str], Seen]] = [
        (balanced(ways, probe.through), probe),
        *((ways[name], probe.through[name]) for name in ways),
    ]
    threads = [threading.Thread(target=steadily, args=(ask, seen, stop.wait), daemon=True) for ask, seen in askers]
    for thread in threads:
        thread.start()
    try:
        yield probe
    finally:
        stop.set()
        for thread in threads:
            thread.join()
