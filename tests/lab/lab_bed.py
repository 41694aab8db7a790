"""Shared by the lab tests: our commands in their own processes, the nodes as Docker sees them, and everything that could leak.

Tests look at nodes through `docker exec`, never through kubefab's own facts: those would prove nothing.
"""

from __future__ import annotations

import base64
import http.client
import ipaddress
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import asking
import specs
from asking import Probe
from spawning import Running, Spawner

from fabfile import inventory
from fabfile.inventory import Environment, Node
from lab import nodes as machines
from lab import settings
from lab import up as lab_up
from lab.lock import exclusive

PROJECT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
POD_CIDR = ipaddress.ip_network("10.44.0.0/16")
TOKEN_FORM = re.compile(r"(?<![\w.-])[a-z0-9]{6}\.[a-z0-9]{16}(?![\w.-])")
TABLE = "kubefab_test"
NO_FIREWALL = f"nft delete table inet {TABLE} 2>/dev/null || true"
BOOTSTRAP = ("inv", "cluster.bootstrap", "--env", "lab")
OFF = ("fab", "-H", "w2", "reset", "--env", "lab", "--yes", "lab", "--keep-images")
# Shorter than the defaults, which the rehearsal proves on its virtual clock: seconds that a test would only wait.
FLANNEL = {"KUBEFAB_LAB_FLANNEL_GRACE": "5"}
METRICS = {"KUBEFAB_LAB_METRICS_GRACE": "20"}  # more than Telegraf takes to collect and send
RECONNECT = {"KUBEFAB_LAB_RECONNECT_TIMEOUT": "5", "KUBEFAB_LAB_CONNECT_TIMEOUT": "5"}
GRACES = {*FLANNEL, *METRICS, *RECONNECT, "KUBEFAB_LAB_FLANNEL_TIMEOUT"}  # none of them changes what a cluster is


@dataclass
class Done:
    """One command that has ended."""

    argv: Sequence[str]
    code: int
    output: str

    def __str__(self) -> str:
        return f"$ {' '.join(self.argv)}\n{self.output}\nexit {self.code}"


@dataclass
class Lab:
    """The lab's nodes and the commands run on them."""

    folder: Path
    spawners: list[Spawner] = field(default_factory=list)  # one, when the first command was begun
    outputs: list[str] = field(default_factory=list)
    command_lines: set[str] = field(default_factory=set)
    unchanged: bool = False  # the cluster is as a healthy test left it
    off: bool = (
        False  # the test before ended with w2 off the cluster, and nothing of one on it; a test that ends so says so
    )
    was_off: bool = False
    watched: bool = False  # command lines are collected: our own, too
    settled: bool = False  # the last that was done to the nodes is a bootstrap, and it succeeded

    @property
    def environment(self) -> Environment:
        return inventory.load("lab", variables={})

    @property
    def names(self) -> list[str]:
        return [node.name for node in self.environment.nodes]

    @property
    def hosts(self) -> dict[str, str]:
        """Each node's host name, which Kubernetes knows it by, by its name in the inventory."""
        return hosts()

    @property
    def control_plane(self) -> Node:
        return self.environment.control_plane

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "kubeconfig"

    @property
    def journals(self) -> Path:
        return self.environment.state / "journal"

    def with_line(self, state: Path, line: str, instead: str) -> Path:
        """A state folder of its own below `state` (XDG_STATE_HOME of a command): in its hosts.env, a part of a line is another; returns it.

        Nodes come only from files, and no variable can change one.
        """
        folder = state / "kubefab" / "lab"
        folder.mkdir(parents=True, mode=0o700)
        hosts = folder / "hosts.env"
        hosts.touch(mode=0o600)  # it holds the registry's password
        hosts.write_text((self.environment.state / "hosts.env").read_text().replace(line, instead))
        shutil.copy(self.environment.state / "known_hosts", folder)
        return folder

    # --- our commands

    def variables(self, more: dict[str, str]) -> dict[str, str]:
        return {**os.environ, "COLUMNS": "100", "KUBECONFIG": str(self.kubeconfig), **more}

    def start(self, *argv: str, folder: Path = PROJECT, **variables: str) -> Running:
        return self._begin(argv, folder, variables)

    def _begin(
        self, argv: Sequence[str], folder: Path, variables: dict[str, str], steps: Sequence[str] = (), stops: int = -1
    ) -> Running:
        self.settled = False
        if not self.spawners:
            self.spawners.append(Spawner())
        installed = self.watched and not steps
        return self.spawners[0].start(argv, folder, self.variables(variables), steps, stops, installed=installed)

    def end(self, process: Running, timeout: float = 600) -> Done:
        output, _ = process.communicate(timeout)
        assert process.returncode is not None
        self.outputs.append(output)
        return Done(process.args, process.returncode, output)

    def run(self, *argv: str, expect: int = 0, folder: Path = PROJECT, timeout: float = 600, **variables: str) -> Done:
        """Run one command to its end; its exit code must be `expect`."""
        done = self.end(self.start(*argv, folder=folder, **variables), timeout)
        assert done.code == expect, str(done)
        return done

    def bootstrap(self, expect: int = 0, **variables: str) -> Done:
        done = self.run(*BOOTSTRAP, expect=expect, **variables)
        self.settled = expect == 0 and set(variables) <= GRACES
        return done

    def make_healthy(self) -> None:
        """Bootstrap, unless the test before ended with one, or has only looked."""
        if not self.unchanged:
            self.bootstrap()
        self.unchanged, self.settled = True, False

    @contextmanager
    def looking(self) -> Iterator[None]:
        """What is done in the block changes nothing on the nodes."""
        settled = self.settled
        yield
        self.settled = settled

    def reset(self, *more: str) -> Done:
        return self.run("inv", "cluster.reset", "--env", "lab", "--yes", "lab", *more)

    def steps(self) -> list[dict[str, Any]]:
        """The events of the newest journal."""
        return events(max(self.journals.glob("*.jsonl"), key=lambda p: p.stat().st_mtime_ns))

    # --- nodes

    def sh(self, node: str, script: str, check: bool = True) -> str:
        """Run a shell line as root in a node, without kubefab and SSH; `$w2` in it is w2's host name."""
        self.settled = False
        done = machines.exec(node, ["bash", "-c", as_root(script)])
        assert done.returncode == 0 or not check, f"{node}: {script}\n{done.stdout}{done.stderr}"
        return done.stdout.strip()

    def kubectl(self, line: str, check: bool = True) -> str:
        return self.sh(self.control_plane.name, f"kubectl {line}", check)

    def eventually(self, what: str, look: Callable[[], Any], seconds: float = 240) -> Any:
        """Call `look` until its result is true; returns the result. Fails after `seconds`."""
        end = time.monotonic() + seconds
        while not (seen := look()):
            assert time.monotonic() < end, f"not within {seconds:.0f} s: {what}"
            time.sleep(0.3)
        return seen

    def ready(self) -> dict[str, bool]:
        with self.looking():
            items = json.loads(self.kubectl("get nodes -o json"))["items"]
        names = {host: name for name, host in self.hosts.items()}
        return {
            names.get(n["metadata"]["name"], n["metadata"]["name"]): any(
                c["type"] == "Ready" and c["status"] == "True" for c in n["status"]["conditions"]
            )
            for n in items
        }

    def addresses(self, node: str) -> dict[str, list[str]]:
        with self.looking():
            links = json.loads(self.sh(node, "ip -j addr"))
        return {
            link["ifname"]: [a["local"] for a in link["addr_info"] if a["family"] == "inet"]
            for link in links
            if "ifname" in link
        }

    def assert_pod_network(self) -> None:
        """Assert that every node has cni0 and flannel.1 with addresses in the pod CIDR."""
        for name in self.names:
            seen = self.addresses(name)
            for link in ("flannel.1", "cni0"):
                assert link in seen, f"{name} has no {link}"
                assert all(ipaddress.ip_address(a) in POD_CIDR for a in seen[link]), f"{name} {link} {seen[link]}"

    def get(self, url: str, login: str = "") -> str:
        """GET from this machine, which is outside the cluster; `login` is `user:password`."""
        given = f'user = "{login}"\n' if login else ""
        done = subprocess.run(
            ["curl", "-sS", "--max-time", "30", "-K", "-", url],
            input=given,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{url}: {done.stderr}"
        return done.stdout

    @property
    def influxdb_login(self) -> str:
        """`user:password`, as the card shows it on request."""
        with self.looking():
            info = self.run("inv", "cluster.info", "--env", "lab", "--reveal", "--json").output
        shown = json.loads(info)["Login"]["value"]
        user, password = re.fullmatch(r"user (\w+), password ([0-9a-f]{64})", shown).groups()  # type: ignore[union-attr]
        return f"{user}:{password}"

    def influxdb(self, query: str) -> Any:
        """InfluxDB's answer to InfluxQL for database k8s, on its NodePort."""
        asked = urllib.parse.urlencode({"db": "k8s", "q": query})
        return json.loads(self.get(f"http://{self.control_plane.host}:30315/query?{asked}", self.influxdb_login))[
            "results"
        ][0]

    @contextmanager
    def firewall(self, node: str, *rules: str) -> Iterator[None]:
        """`firewall(rules)` on a node as long as the block lasts."""
        self.sh(node, firewall(*rules))
        try:
            yield
        finally:
            self.sh(node, NO_FIREWALL)

    # --- judges

    @contextmanager
    def asked(self) -> Iterator[Probe]:
        """A service of two replicas that is asked from outside the cluster during the block; what was seen is complete after it."""
        name = self.control_plane.name
        manifest = asking.MANIFEST.replace("@image@", self.environment.settings.probe_image)
        self.sh(name, f"kubectl apply -f - <<'END'\n{manifest}END")
        try:
            self.kubectl(f"-n {asking.NAMESPACE} rollout status deployment web --timeout=180s")
            port = int(self.kubectl(f"-n {asking.NAMESPACE} get service web -o jsonpath='{{.spec.ports[0].nodePort}}'"))
            addresses = {node.name: node.host for node in self.environment.nodes}
            for address in addresses.values():
                self.eventually(f"{address}:{port} answers", lambda at=address: answers(at, port))  # type: ignore[misc]
            with asking.asking(addresses, port) as probe:
                yield probe
        finally:
            gone = f"kubectl -n {asking.NAMESPACE} delete"
            soon = "--ignore-not-found --grace-period=1 --wait=false"  # who asks has ended: no pod need be patient any more
            lines = f"{gone} deployment --all {soon}; {gone} pod --all {soon}; kubectl delete namespace {asking.NAMESPACE} --timeout=180s"
            self.sh(name, lines, check=False)

    @contextmanager
    def living_token(self) -> Iterator[None]:
        """A bootstrap token during the block, with which cluster-info is signed: kubefab deletes its own, and two of kubeadm's specs want one."""
        name = self.control_plane.name
        token = self.sh(name, "kubeadm token create --ttl 10m 2>/dev/null").partition(".")[0]

        def signed() -> bool | None:
            """Whether cluster-info is signed with it; None without a cluster-info."""
            found = self.kubectl("-n kube-public get configmap cluster-info -o json", check=False)
            return f'"jws-kubeconfig-{token}"' in found if found else None

        try:
            self.eventually("cluster-info is signed with a new token", lambda: signed() is not False)
            yield
        finally:
            self.sh(name, f"kubeadm token delete {token}")
            self.eventually("the signature is gone with the token", lambda: not signed())

    def assert_manifests_valid(self) -> None:
        """Our manifests have nothing that the API does not know: applying them leaves the validation out."""
        applied = self.sh("cp1", "ls /var/lib/kubefab/manifests/*.yaml").split()
        assert len(applied) == 3, applied
        for path in applied:
            self.kubectl(f"apply --server-side --force-conflicts --validate=strict --dry-run=server -f {path}")

    def kubeadm_specs(self) -> None:
        """Run the end-to-end specs by kubeadm's authors, of the cluster's release; an AssertionError names each that did not pass.

        The program asks only the API, so it runs on this machine: nothing of it is copied to a node, and nothing is left there. A release's
        program is built (minutes, once) if `inv lab.build --specs` has not built it.
        """
        release = json.loads(self.kubectl("get --raw /version"))["gitVersion"].removeprefix("v")
        with exclusive(print):
            (program,) = lab_up.specs(release, print)
        config, report = self.folder / "specs.conf", self.folder / "specs.json"
        report.unlink(missing_ok=True)
        settings.write_private(config, self.sh(self.control_plane.name, "cat /etc/kubernetes/admin.conf") + "\n")
        argv = [
            program, f"--kubeconfig={config}", f"--ginkgo.skip={specs.LEFT_OUT}", f"--ginkgo.json-report={report}", "--ginkgo.no-color",
        ]  # fmt: skip
        try:
            with self.living_token():
                done = subprocess.run(argv, cwd=self.folder, capture_output=True, text=True, timeout=300, check=False)
        finally:
            config.unlink()
        assert report.exists(), f"exit {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        found = specs.verdict(json.loads(report.read_text()))
        assert not found.wrong and len(found.passed) >= specs.LEAST, str(found)
        assert done.returncode == 0, done.stdout[-2000:]

    # --- secrets

    @property
    def secrets(self) -> list[str]:
        """The registry's password, which lab.up created, in each encoding in which it is sent."""
        ours = self.environment.settings
        password, login = ours.registry_password.reveal(), ours.registry_login.reveal()
        return [password, base64.b64encode(login.encode()).decode().rstrip("=")]

    @contextmanager
    def watching_processes(self) -> Iterator[None]:
        """Collect the command line of every process, on the nodes too, during the block."""
        stop = threading.Event()

        def sample() -> None:
            while not stop.wait(0.02):
                # pathlib's glob takes five times as long, of a core that the nodes need
                for process in os.scandir("/proc"):
                    if not process.name.isdigit():
                        continue
                    try:
                        with open(f"{process.path}/cmdline", "rb", buffering=0) as stream:
                            line = stream.read()
                    except OSError:
                        continue
                    if line:
                        self.command_lines.add(line.replace(b"\0", b" ").decode("utf-8", "replace"))

        thread = threading.Thread(target=sample, daemon=True)
        thread.start()
        self.watched = True
        try:
            yield
        finally:
            self.watched = False
            stop.set()
            thread.join()

    # --- interrupting a run

    def stopping(self, *steps: str, argv: Sequence[str] = BOOTSTRAP, **variables: str) -> Stopping:
        """Start a command that stops by itself in the middle of each of these steps (`step`, or `step@node`)."""
        reading, writing = os.pipe()
        process = self._begin(argv, PROJECT, variables, steps, writing)
        os.close(writing)
        return Stopping(self, process, os.fdopen(reading, "rb", buffering=0))

    def kill_when(
        self,
        step: str,
        what: Callable[[Running], None] | None = None,
        *,
        node: str = "",
        argv: Sequence[str] = BOOTSTRAP,
        **variables: str,
    ) -> Done:
        """Start a command; in the middle of `step`, kill it (or do `what` while it is stopped there, and let it go on)."""
        run = self.stopping(f"{step}@{node}" if node else step, argv=argv, **variables)
        run.until(step)
        if not what:
            return run.kill()
        what(run.process)
        return run.go_on()

    def killed_through(
        self,
        steps: Sequence[str],
        *,
        argv: Sequence[str] = BOOTSTRAP,
        proofs: Mapping[str, Callable[[], object]] | None = None,
        cut: Mapping[str, Callable[[], None]] | None = None,
        **variables: str,
    ) -> Done:
        """Kill one run after the other, each in the first of these steps that it comes to, until one comes to none of them: its outcome.

        That one must succeed. What a killed run had begun goes on on the node, and may make a later step unnecessary: for a step that no run
        came to, `proofs` must have what proves that. `cut` has what is done while a run is stopped in a step, before it is killed.
        """
        left = list(steps)
        while True:
            run = self.stopping(*left, argv=argv, **variables) if left else None
            step = run.stopped() if run else ""
            if not run or not step:
                break
            (cut or {}).get(step, lambda: None)()
            run.kill()
            left = [one for one in left if one not in (step, *run.more())]
        done = run.go_on() if run else self.run(*argv, **variables)
        assert done.code == 0, str(done)
        for step in left:
            proof = (proofs or {}).get(step)
            assert proof and proof(), f"{step} was not reached, and what proves that it was not needed?\n{done}"
            print(f"{step} was not needed any more in any of {len(steps) - len(left) + 1} runs")
        return done

    def until_step(self, process: Running, step: str, *, node: str = "", event: str = "start") -> None:
        """Return when the journal of that run says that `step` began; see `until_event`."""

        def fits(e: dict[str, Any]) -> bool:
            return e["event"] == event and e.get("step") == step and node in ("", e.get("node"))

        self.until_event(process, step, fits)

    def until_event(self, process: Running, what: str, fits: Callable[[dict[str, Any]], bool]) -> None:
        """Return when the journal of that run has an event that fits; an AssertionError says that the run ended before, or hangs: it is killed.

        The run has gone on meanwhile: for what cannot end without the test. To be in the middle of a step there is `stopping`.
        """
        end = time.monotonic() + 900
        while not any(fits(e) for path in self.journals.glob(f"*-{process.pid}.jsonl") for e in events(path)):
            if process.poll() is not None:
                done = self.end(process)
                raise AssertionError(f"{what} was not reached\n{done}")
            if time.monotonic() > end:
                process.kill()
                raise AssertionError(f"{what} was not reached in time\n{self.end(process)}")
            time.sleep(0.05)


@dataclass
class Stopping:
    """A command that stops by itself in the middle of steps."""

    lab: Lab
    process: Running
    said: IO[bytes]

    def stopped(self, seconds: float = 900) -> str:
        """The step in the middle of which it is stopped now, as it was named; "" when it has ended. Fails after `seconds`."""
        ready, _, _ = select.select([self.said], [], [], seconds)
        if not ready:
            raise AssertionError(f"in none of its steps within {seconds:.0f} s\n{self.kill()}")
        step = self.said.readline().decode().strip()
        stat = Path(f"/proc/{self.process.pid}/stat")
        self.lab.eventually("it is stopped", lambda: not step or stat.read_text().rpartition(")")[2].split()[0] == "T")
        return step

    def until(self, step: str) -> None:
        """Assert that the next step that it is stopped in is this one."""
        at = self.stopped()
        if at.partition("@")[0] != step:
            done = self.kill() if at else self.go_on()
            raise AssertionError(f"{step} was not reached\n{done}")

    def go_on(self) -> Done:
        """Let it go on, to its end."""
        self.process.send_signal(signal.SIGCONT)
        return self.lab.end(self.process)

    def kill(self) -> Done:
        self.process.kill()
        return self.lab.end(self.process)

    def more(self) -> list[str]:
        """The other steps that it was in the middle of, in other threads, when it was killed."""
        return [line.decode().strip() for line in self.said]


def answers(address: str, port: int) -> bool:
    """Whether the service of `Lab.asked` answers there."""
    try:
        return bool(asking.get(address, port))
    except (OSError, http.client.HTTPException):
        return False


def hosts() -> dict[str, str]:
    """Host names of the lab that is up, by the nodes' names in the inventory."""
    lab = settings.load()
    return {name: settings.hostname(address) for name, address in lab.nodes().items()} if lab else {}


def as_root(script: str) -> str:
    """A shell line with kubectl's configuration, in which `$w2` is w2's host name."""
    names = "".join(f"{name}={host}; " for name, host in hosts().items())
    return f"export KUBECONFIG=/etc/kubernetes/admin.conf; {names}{script}"


def inv(*argv: str) -> None:
    """Run a command of the lab itself and show its progress; it must succeed."""
    subprocess.run([BIN / "inv", *argv], cwd=PROJECT, check=True)


def firewall(*rules: str) -> str:
    """Shell lines that add nftables rules before all others; each rule begins with the chain `input` or `output`. NO_FIREWALL removes them."""
    chains = (
        f"nft 'add chain inet {TABLE} {hook} {{ type filter hook {hook} priority -300; }}'"
        for hook in ("input", "output")
    )
    return "; ".join((f"nft add table inet {TABLE}", *chains, *(f"nft add rule inet {TABLE} {rule}" for rule in rules)))


def events(path: Path) -> list[dict[str, Any]]:
    """The complete lines of a journal."""
    found = []
    for line in path.read_text(errors="replace").splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


# What a clean node must not have: taken from kubeadm's, flannel's and our documentation, not from the code of our audit.
_PATHS = (
    "/etc/kubernetes/*.conf /etc/kubernetes/manifests/* /etc/kubernetes/pki /var/lib/etcd/member /var/lib/kubelet/config.yaml "
    "/var/lib/kubelet/pki /var/lib/kubelet/pods /etc/cni/net.d/*flannel* /var/lib/cni /opt/cni/bin/flannel /run/flannel "
    "/var/lib/kubefab "
    "/run/kubefab-*.yaml /etc/modules-load.d/kubefab.conf /etc/sysctl.d/99-kubefab.conf /etc/containerd/certs.d/*"
)
_DIRT = rf"""
ip -o link | awk -F': ' '{{sub(/@.*/, "", $2); print $2}}' | grep -E '^(cni0|flannel|veth|kube-)' | sed 's/^/link /'
for p in {_PATHS}; do [ -e "$p" ] && echo "path $p"; done
(iptables-save; ip6tables-save) 2>/dev/null | grep -E 'KUBE-|FLANNEL|CNI-' | sed 's/^/rule /'
nft list tables 2>/dev/null | grep -E 'kube-proxy|flannel' | sed 's/^/nft /'
ps -eo comm= | grep -E '^(kube|etcd|flanneld|containerd-shim|coredns|telegraf|influxd)' | sed 's/^/process /'
awk '$2 ~ "^/var/lib/kubelet/" {{print "mount", $2}}' /proc/mounts
grep '^#kubefab#' /etc/fstab | sed 's/^/fstab /'
true
"""


def dirt(lab: Lab, node: str) -> list[str]:
    """Everything that a cluster left on a node."""
    return lab.sh(node, _DIRT).splitlines()
