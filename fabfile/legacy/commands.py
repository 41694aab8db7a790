"""The 1.5 recipe: the manual's commands, word for word, by digest ID, and where and why ours differ.

Pure texts.  phases/manual.py puts them into steps; docs/manual.md's table of differences and the golden tests read them here.
Source: the manual itself (early 2017, Ubuntu 16.04.1, kubeadm 1.6.0-alpha.0.2074, Docker from Ubuntu).
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from ..errors import UsageError
from ..inventory import Environment, bracketed
from ..inventory.settings import Settings
from ..records import dataclass

SOURCES = "/etc/apt/sources.list.d/kubernetes.list"
DAEMON = "/etc/docker/daemon.json"
PACKAGES = ("kubelet", "kubeadm", "kubectl", "kubernetes-cni")
LINKS = ("cni0", "flannel.1", "weave", "datapath", "docker0")
# The second halves of the two tokens that the manual prints: 1.5 has no authorisation, so each is an admin password.
PUBLISHED = frozenset({"5fcddc13c9193dd1", "8679e4553a1e7426"})
INIT_LIMIT, JOIN_LIMIT = 300, 180  # seconds; about one minute is normal (M2)
INTERFACES = "ifconfig 2>/dev/null || ip addr"


@dataclass(frozen=True)
class Difference:
    """Where our command is not the manual's, letter for letter; `why` is a sentence for the documentation."""

    ids: str
    manual: str
    ours: str
    why: str


DIFFERENCES = (
    Difference(
        "P1, N3, J2", "`ifconfig`, read by a person",
        "the same, else `ip addr`; kubefab reads it, as part of observing the node",
        "Ubuntu after 16.04 has no `ifconfig`; names and addresses are the same in both",
    ),
    Difference(
        "P2, X2", "stop every Docker process, then reboot", "`docker stop` of what runs; the reboot is handed to systemd and waited for",
        "a reboot cuts off the SSH command that asks for it; a new boot id proves the reboot",
    ),
    Difference("I1, R1", "`curl URL`", "`curl -fsSL URL`", "without -f an error page becomes the apt key or Docker's configuration"),
    Difference("I2", "`cat <<EOF > FILE`",
               "the same content, written to a second file that is then renamed", "a connection that breaks leaves no incomplete file"),
    Difference("R1", "`cd /home/ubuntu` at the end", "left out", "each step begins in /, and that folder need not exist"),
    Difference("M1, J1", "`kubeadm init`, `kubeadm join`", "within `timeout`, 300 and 180 seconds",
               "both retry for ever, and would still run on the node after kubefab gave up"),
    Difference("M2", "a person watches the minute", "the step says it from its beginning, and ends after 300 seconds",
               "a slow registry alone takes longer than a minute; that is no failure yet"),
    Difference("N3", "restart the kubelet at once", "after FLANNEL_GRACE, 60 seconds",
               "on the master, too, flannel needs the minute that J3 gives the slaves"),
    Difference("N4", "reset all nodes", "a slave: that node; the master: all of them",
               "the other slaves work; the manual's way is named last"),
    Difference("N1", "`…/flannel?network=CIDR`", "the address in quotes", "a bare `?` is a pattern to the shell"),
    Difference("A1", "look at `http://MASTER:31447` in a browser", "`curl` of it on the master, until it answers",
               "a person's look is the info card's line; from outside the security group decides"),
    Difference(
        "A1, A2", "`kubectl create -f URL`", "`… || kubectl get -f URL`",
        "create refuses objects that an interrupted run has made; only a missing object is a failure",
    ),
    Difference("A3", "`kubectl run --rm -it`", "`kubectl run --rm -i`, any earlier influxcli pod deleted first",
               "there is no terminal, and the pod of a broken attempt would make every repetition fail (A4)"),
    Difference("A3", "`DURATION 0d`", "`DURATION` of the setting RETENTION", "0d in aws and datacenter, as the manual has it"),
    Difference("A5", "delete the pods in the dashboard", "`kubectl delete pods` of the same pods", "done by kubectl instead of by clicking"),
    Difference("X1", "`rm -rf .kube/`", "`rm -rf /root/.kube/`", "the manual's shell is in that folder; ours is in /"),
    Difference("X1", "`ifconfig LINK down`", "`ip link` where there is no `ifconfig`; a link that is not there is no failure",
               "weave and datapath exist in no flannel cluster"),
    Difference("X1", "`docker rm -v $(docker ps -aq)`, `docker rmi $(docker images -aq)`", "only if there are any; what is in use stays",
               "with nothing to remove, docker fails for lack of an argument; it also fails for images that share layers"),
    Difference("E2", "the datacenter's header shows aws's token", "each environment's own",
               "a slip of the manual's: with it the API refuses the request"),
    Difference("all", "nothing", "empty files under /var/lib/kubefab, removed by reset", "a second run goes on from where the first stopped"),
)  # fmt: skip


@dataclass(frozen=True)
class Line:
    """One command of the manual: its digest ID, its exact text, and what we run (the same, or see DIFFERENCES).

    `in_words`: the manual has a sentence and no command; `text` says it in English.
    """

    id: str
    text: str
    ours: str = ""
    in_words: bool = False

    @property
    def run(self) -> str:
        return self.ours or self.text


@dataclass(frozen=True)
class Manual:
    """The manual for one environment."""

    environment: Environment

    @property
    def settings(self) -> Settings:
        return self.environment.settings

    @property
    def token(self) -> str:
        """The cluster's token, from hosts.env: 1.5 can make no other later. Raises UsageError without one."""
        if not self.settings.token:
            raise UsageError(
                f"environment {self.environment.name} has no TOKEN, which Kubernetes 1.5 needs",
                f"write {self.environment.name.upper()}_TOKEN=… into hosts.local.env: six and sixteen of a-z0-9, joined by a dot",
            )
        return self.settings.token.reveal()

    @property
    def master(self) -> str:
        """The address that the manual gives to init and join: the public one. Simulated nodes share theirs, so not there."""
        control = self.environment.control_plane
        return control.address if self.settings.simulated else control.outside

    @property
    def dashboard(self) -> str:
        """Where A1 looks, from the control plane itself: its private address."""
        return f"http://{bracketed(self.environment.control_plane.address)}:{self.settings.dashboard_port}/"

    @property
    def sources(self) -> str:
        """I2: the content of kubernetes.list."""
        return f"deb {self.settings.legacy_packages_url} {self.settings.legacy_suite}\n"

    def manifest(self, name: str) -> str:
        return f"{self.settings.manifests_url}/{name}"

    @property
    def statement(self) -> str:
        """A3's InfluxQL."""
        duration = self.settings.retention
        return f'CREATE RETENTION POLICY "default" ON k8s DURATION {duration} REPLICATION 1 DEFAULT; SHOW RETENTION POLICIES'

    def lines(self) -> tuple[Line, ...]:
        """Every command in the manual's order. With the token in clear: mask what is shown."""
        return tuple(self._lines())

    def commands(self, *ids: str) -> tuple[str, ...]:
        """What we run for these digest IDs."""
        return tuple(line.run for line in self.lines() if line.id in ids)

    def _lines(self) -> Iterator[Line]:
        settings, cidr = self.settings, self.settings.pod_cidr
        yield Line("P1", "ifconfig", INTERFACES)
        yield Line("P2", "kubeadm reset")
        stop = 'ids=$(docker ps -q); [ -z "$ids" ] || docker stop $ids'
        yield Line("P2", "end every process of docker", stop, in_words=True)
        yield Line("P2", "reboot", REBOOT, in_words=True)
        key, daemon = (
            shlex.quote(settings.legacy_key_url),
            shlex.quote(settings.legacy_daemon_url or self.manifest("daemon")),
        )
        yield Line("I1", f"curl {key} | apt-key add -", f"curl -fsSL {key} | apt-key add -")
        yield Line("I3", "apt-get update")
        yield Line("I4", "apt-get install -y docker.io")
        yield Line("I5", f"apt-get install -y {' '.join(PACKAGES)}")
        yield Line("R1", "cd /etc/docker")
        yield Line("R1", f"curl {daemon} > daemon.json", f"curl -fsSL {daemon} > daemon.json")
        yield Line("R2", "systemctl restart docker")
        init = f"kubeadm init --token={self.token} --api-advertise-addresses={self.master} --pod-network-cidr={cidr}"
        yield Line("M1", init, f"timeout {INIT_LIMIT} {init}")
        flannel = f"{self.manifest('flannel')}?network={cidr}"
        yield Line("N1", f"kubectl apply -f {flannel}", f"kubectl apply -f {shlex.quote(flannel)}")
        yield Line("N2", "kubectl -n kube-system get pods")
        yield Line("N3", "ifconfig", INTERFACES)
        yield Line("N3", "systemctl restart kubelet")
        join = f"kubeadm join --token={self.token} {self.master}"
        yield Line("J1", join, f"timeout {JOIN_LIMIT} {join}")
        yield Line("J2", "ifconfig", INTERFACES)
        yield Line("J3", "systemctl restart kubelet")
        yield Line("J4", "kubectl get nodes")
        for id, name in (("A1", "dashboard"), ("A2", "monitoring")):
            url = shlex.quote(self.manifest(name))
            yield Line(id, f"kubectl create -f {url}", f"kubectl create -f {url} || kubectl get -f {url}")
        shell = "kubectl run influxcli --restart=Never --rm {} --image={} -- "
        shell += "--host=monitoring-influxdb.kube-system --port=8086 --database=k8s"
        image, execute = shlex.quote(settings.legacy_influx_image), f" --execute {shlex.quote(self.statement)}"
        yield Line(
            "A3",
            shell.format("-it", image) + execute,
            f"kubectl delete pod influxcli --ignore-not-found >/dev/null 2>&1; {shell.format('-i', image)}{execute}",
        )
        yield Line("A5", "in the dashboard, delete the pods influxdb and heapster", _FRESH_PODS, in_words=True)
        yield from self._reset()

    def _reset(self) -> Iterator[Line]:
        yield Line("X1", "kubeadm reset")
        yield Line("X1", "rm -rf .kube/", "rm -rf /root/.kube/")
        yield Line("X1", "systemctl stop kubelet")
        yield Line("X1", "systemctl stop docker")
        for path in ("/var/lib/cni/", "/var/lib/kubelet/*", "/etc/cni/"):
            yield Line("X1", f"rm -rf {path}")
        for name in LINKS:
            down = f"ifconfig {name} down"
            yield Line("X1", down, f"{down} 2>/dev/null || ip link set {name} down 2>/dev/null || true")
        yield Line("X1", "systemctl start docker")
        yield Line(
            "X1", "docker rm -v $(docker ps -aq)", 'ids=$(docker ps -aq); [ -z "$ids" ] || docker rm -v $ids || true'
        )
        yield Line(
            "X1",
            "docker rmi $(docker images -aq)",
            'ids=$(docker images -aq); [ -z "$ids" ] || docker rmi $ids || true',
        )
        yield Line("X1", "systemctl restart docker")
        yield Line("X1", "systemctl start kubelet")
        yield Line("X2", "reboot", REBOOT, in_words=True)


REBOOT = "systemd-run --on-active=3 systemctl reboot"
_FRESH_PODS = (
    "kubectl -n kube-system get pods -o name | grep -E 'influxdb|heapster' | "
    'while read -r pod; do kubectl -n kube-system delete "$pod"; done'
)


def warning(environment: Environment) -> str:
    """What an operator who asks for 1.5 must know, said once a command; empty for other releases."""
    if not environment.settings.release.token_in_inventory:
        return ""
    text = (
        "Kubernetes 1.5 is the manual's release of early 2017: its packages and images were taken off the web in March 2024, so on "
        "real machines this needs mirrors of yours (LEGACY_PACKAGES_URL, LEGACY_KEY_URL, MANIFESTS_URL)."
    )
    if environment.settings.token.half in PUBLISHED:
        text += " The token in hosts.env is published in the manual, and in 1.5 a person who has it is the cluster's administrator."
    return text


def differences_table() -> str:
    """The table in docs/manual.md."""
    rows = ["| ID | the manual | kubefab | why |", "|---|---|---|---|"]
    return "\n".join(
        [*rows, *(f"| {d.ids} | {d.manual} | {d.ours} | {d.why} |".replace("||", "\\|\\|") for d in DIFFERENCES)]
    )
