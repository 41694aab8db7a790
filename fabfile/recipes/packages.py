"""The two package families: apt (Debian, Ubuntu) and dnf (CentOS Stream, Rocky, Alma, RHEL). Digest I1 to I5, E1.

Each turns the same request, "these packages, from these repositories, at this version, held", into commands.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from typing import Protocol

from ..nodes.facts import NodeFacts
from ..nodes.keeping import KEPT, NOTE, PACKAGED, STATE, look
from ..nodes.sources import UNKNOWN_KEY, Source, fingerprints
from ..records import dataclass
from ..steps import File, Step, Stop, Wait, command
from . import proxies
from .kubeadm import Recipe

# PINNED have the release's version. The others have their repository's newest version at the first install. All are held.
# We also install iptables (only recommended by the kubelet): reset needs it to find kube-proxy's rules.
PINNED = ("kubelet", "kubeadm", "kubectl")
RUNTIME = "containerd.io"
WANTED = (RUNTIME, *PINNED, "kubernetes-cni", "cri-tools")
UPGRADED = WANTED[1:]  # what an upgrade installs: all that comes from the release's own repository
# An installation of ours that a power cut interrupted: dpkg refuses everything until it is completed.
_COMPLETED = f'if [ -e {NOTE} ] && [ -n "$(ls -A /var/lib/dpkg/updates 2>/dev/null)" ]; then dpkg --force-confold --configure -a; fi'


def purgeable(facts: NodeFacts) -> list[str]:
    """The packages on a node that we installed, except a containerd.io that Docker's package there needs.

    Empty without a note of the packages that were there before: a package that is not known to be ours stays.
    """
    if facts.before is None:
        return []
    needed = {"containerd.io"} if "docker-ce" in facts.packages else set()
    return [name for name in WANTED if name in facts.packages and name not in facts.before and name not in needed]


def to_unhold(facts: NodeFacts) -> list[str]:
    """The packages that were there before us and not held then, and that we hold now."""
    return [name for name in WANTED if name in facts.held and (facts.before or {}).get(name, "hi") != "hi"]


def _noting(query: str) -> tuple[str, ...]:
    """Shell lines that note once what is there before we install: packages, units, and the files that those packages install.

    `query` prints name, version and dpkg's status of each of our packages that is installed.
    """
    absent = "".join(f"[ -e {path} ] || echo 'none {path}'; " for path in PACKAGED)
    units = 'echo "$u $(systemctl is-enabled $u 2>/dev/null) $(systemctl is-active $u 2>/dev/null)"'
    return (
        f"install -d -m 0700 {STATE}",
        f"[ -e {NOTE} ] || {{ {{ {query}; {absent}}} >{NOTE}.part; mv -f {NOTE}.part {NOTE}; }}",
        f"[ -e {STATE}/units ] || {{ for u in containerd kubelet; do {units}; done >{STATE}/units.part; mv -f {STATE}/units.part {STATE}/units; }}",
        *(look(path) for path in PACKAGED),
    )


def _purging(facts: NodeFacts) -> str:
    """The step's title: which packages stay, and why."""
    if facts.before is None:
        return "remove the repositories; the packages stay, as it was not noted which of them were here before kubefab"
    staying = [name for name in WANTED if name in facts.packages and name not in purgeable(facts)]
    return (
        "remove the packages and their repositories"
        + f"; {', '.join(staying)} stay{'s' * (len(staying) == 1)}" * bool(staying)
    )


def _forget_note(facts: NodeFacts) -> tuple[str, ...]:
    """The shell line that deletes the note, if no package of ours is left after the purge."""
    brought = [name for name in WANTED if name in facts.packages and name not in (facts.before or {})]
    return (f"rm -f {NOTE}",) if brought == purgeable(facts) else ()


def _offered(runtime: bool) -> tuple[str, ...]:
    """The packages that are asked for: containerd's, or those of Kubernetes with a pinned version."""
    return (RUNTIME,) if runtime else PINNED


class Family(Protocol):
    """How one operating system family gets packages."""

    def installed(self, facts: NodeFacts, recipe: Recipe) -> bool: ...

    def steps(self, facts: NodeFacts, recipe: Recipe) -> list[Step | Wait]: ...

    def repository_files(self, facts: NodeFacts, recipe: Recipe) -> tuple[File, ...]: ...

    def proxy_files(self, facts: NodeFacts, recipe: Recipe) -> tuple[File, ...]: ...

    def offered(self, facts: NodeFacts, recipe: Recipe, *, runtime: bool = False) -> tuple[str, ...]:
        """Shell lines that print `NAME VERSION` of what the recipe's repository offers of PINNED, and change nothing of the machine's.

        With `runtime` what containerd's repository offers of containerd.io.

        They work in the folder `$a`, and end with an error where the repository or its key cannot be had, or is not the right one.
        """
        ...

    def purge(self, facts: NodeFacts) -> list[Step]: ...

    def obstacles(self, facts: NodeFacts, recipe: Recipe) -> Iterator[Step | Stop]:
        """What keeps our repositories from being added, seen before anything is written."""
        ...

    def ahead(self, facts: NodeFacts, recipe: Recipe, phase: str) -> list[Step | Wait]:
        """The recipe's repositories instead of those that are there, and its packages fetched: nothing is installed."""
        ...

    def exactly(self, names: Sequence[str], facts: NodeFacts, recipe: Recipe) -> tuple[str, ...]:
        """Shell lines that install these packages, the pinned ones at the recipe's version, and hold them; from what was fetched ahead."""
        ...

    def runtime(self, version: str, facts: NodeFacts, recipe: Recipe, *, fetch: bool = False) -> tuple[str, ...]:
        """Shell lines that install this version of containerd.io and hold it; with `fetch` they only fetch it."""
        ...

    def runtime_back(self, version: str) -> str:
        """The line that a person types to have this version of containerd.io again."""
        ...


def family(facts: NodeFacts) -> Family | None:
    """The family of an observed node; None if it is neither."""
    names = {facts.os_id, *facts.os_like}
    if names & {"debian", "ubuntu"}:
        return Apt()
    if names & {"rhel", "centos", "fedora", "rocky", "almalinux"}:
        return Dnf()
    return None


# Prints the primary keys' fingerprints, one per line: the `fpr` record that follows a `pub` record, never a subkey's.
_PRIMARY = r"sed -n '/^pub:/,/^fpr:/p' | sed -n 's/^fpr:.*:\([0-9A-F]*\):$/\1/p'"


def _right(facts: NodeFacts, recipe: Recipe) -> bool:
    """Whether all packages are installed, and the pinned ones have the recipe's version."""
    right = all(facts.packages.get(name, "").startswith(f"{recipe.version}-") for name in PINNED)
    return right and all(name in facts.packages for name in WANTED)


def _fetch_key(url: str, fingerprints: Sequence[str], target: str, *, armor: bool) -> list[str]:
    """Shell lines that fetch a repository's key file and install only its primary keys with one of the fingerprints.

    The key is fetched at each install, because pkgs.k8s.io's key has expired before and was extended only there. Without
    fingerprints the whole file is trusted. A file with the right key and another must not make the other key trusted, so the
    lines import the file into a separate gpg home and export the right keys by name (gpg(1); apt-secure(8)).
    """
    gpg = 'gpg --homedir "$home" --quiet --batch --no-autostart'
    lines = [
        "home=$(mktemp -d) && key=$home/key",
        f'curl -fsSL --retry 3 --connect-timeout 10 -o "$key" {shlex.quote(url)} || {{ echo {shlex.quote(f"cannot fetch {url}")}; exit 22; }}',
    ]
    if fingerprints:
        lack = shlex.quote(f"the key at {url} has not the fingerprint {' or '.join(fingerprints)}")
        lines += [
            f'{gpg} --import "$key" 2>/dev/null || true',
            f"own=$({gpg} --with-colons --list-keys 2>/dev/null | {_PRIMARY} | grep -xE '{'|'.join(fingerprints)}') || {{ echo {lack}; exit 65; }}",
            f'{gpg}{" --armor" * armor} -o "$home/trusted" --export $own',
        ]
    else:
        lines.append('cp "$key" "$home/trusted"' if armor else f'{gpg} -o "$home/trusted" --dearmor "$key"')
    return [*lines, f'install -m 0644 "$home/trusted" {target}', 'rm -rf "$home"']


_KEY_HINT = (
    "can the node reach the repository (proxy, DNS, security group)? A wrong fingerprint means another key than the one "
    "set as PACKAGES_KEY_FINGERPRINT or CONTAINERD_KEY_FINGERPRINT: check it with the publisher before you change that"
)


@dataclass(frozen=True)
class Repository:
    """One of our apt repositories: the entry that we would write, its key, and others' entries of the same source."""

    name: str
    uri: str
    suite: str
    components: tuple[str, ...]
    architecture: str
    key_url: str
    allowed: tuple[str, ...]

    @property
    def path(self) -> str:
        return f"{SOURCES}/kubefab-{self.name}.list"

    @property
    def keyring(self) -> str:
        return f"{KEYRINGS}/kubefab-{self.name}.gpg"

    @property
    def file(self) -> File:
        arch = f"arch={self.architecture} " if self.architecture else ""
        words = " ".join((self.suite, *self.components))
        return File(self.path, f"deb [{arch}signed-by={self.keyring}] {self.uri} {words}\n")

    def beside(self, facts: NodeFacts) -> list[Source]:
        """The entries of other files that apt takes for the same source."""
        return [one for one in facts.sources if one.kind != "rpm" and one.same(self.uri, self.suite)]

    def used(self, facts: NodeFacts) -> Source | None:
        """Another's entry that does what ours would: it offers the packages, and trusts no key that we would not."""
        return next((one for one in self.beside(facts) if self._equivalent(one, facts)), None)

    def _equivalent(self, one: Source, facts: NodeFacts) -> bool:
        offers = one.kind == "deb" and set(self.components) <= set(one.components)
        fits = not one.architectures or not self.architecture or self.architecture in one.architectures
        keys = _trusted(one, facts)
        right = bool(keys) and (set(keys) <= set(self.allowed) if self.allowed else UNKNOWN_KEY not in keys)
        return offers and fits and right and not one.trusted

    def conflicting(self, facts: NodeFacts) -> list[Source]:
        """The entries beside which apt could not read ours (apt-pkg/deb/debmetaindex.cc): none, where one of them is used instead.

        An entry without a key, or with `trusted=`, is no trouble when it is read on the right side of ours.
        """

        def clashes(one: Source) -> bool:
            before = one.file == "/etc/apt/sources.list" or one.file < self.path
            return one.signed_by != self.keyring and bool(one.signed_by or not before or (one.trusted and before))

        return [] if self.used(facts) else [one for one in self.beside(facts) if clashes(one)]


def _trusted(one: Source, facts: NodeFacts) -> tuple[str, ...]:
    """The fingerprints of the keys that an entry trusts; empty if it names none."""
    if one.signed_by.startswith("-----BEGIN"):
        return fingerprints(one.signed_by.encode())
    found: list[str] = []
    for word in one.signed_by.replace(",", " ").split():
        found += facts.keyrings.get(word, (UNKNOWN_KEY,)) if word.startswith("/") else (word.upper(),)
    return tuple(found)


def switched_off(entries: Sequence[Source]) -> str:
    """The command that switches entries off where they are: a comment sign, or `Enabled: no`."""
    by_file: dict[str, list[str]] = {}
    for one in entries:
        if one.off not in by_file.setdefault(one.file, []):
            by_file[one.file].append(one.off)
    return " && ".join(
        command("sed", "-i", *(word for off in offs for word in ("-e", off)), file) for file, offs in by_file.items()
    )


KEYRINGS, SOURCES = "/etc/apt/keyrings", "/etc/apt/sources.list.d"
# apt reads no list at all: enough to remove packages, whatever is wrong with the lists.
_NO_LISTS = "-o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts=/dev/null"
OURS_FAILED = "package source of kubefab"  # begins each line that apt prints of our repositories: see SIG-REPO-KEY
# Names the lists whose repositories did not answer in the update before, which is no reason to stop as long as ours did.
_NAME_DEAD = (
    """for u in $(sed -nE "s/^(Err:[0-9]+ |E: The repository '|W: GPG error: |E: Failed to fetch )([a-z+]+:[^ ']+).*/\\2/p" "$seen" | sort -u); do """
    'grep -nF -- "$u" /etc/apt/sources.list /etc/apt/sources.list.d/* /dev/null 2>/dev/null | cut -d: -f1,2 | '
    'sed "s|^|apt got nothing from $u, which is in |"; done; rm -f "$seen"'
)


_APT = "apt-get -o DPkg::Lock::Timeout=60 -o Dpkg::Options::=--force-confold -qy"
_INSTALL = f"{_APT} install --no-install-recommends --allow-change-held-packages --allow-downgrades"
# the repositories that we need have answered; another one that is dead is not ours to judge
_UPDATED = f'seen=$(mktemp); {_APT} update >"$seen" 2>&1 || true; cat "$seen"'


def _exact(names: Sequence[str], recipe: Recipe) -> str:
    """These packages as apt is asked for them: the pinned ones at the recipe's version."""
    return " ".join(f"{name}={recipe.version}-*" if name in PINNED else name for name in names)


@dataclass(frozen=True)
class Apt:
    """Debian and Ubuntu."""

    def installed(self, facts: NodeFacts, recipe: Recipe) -> bool:
        return _right(facts, recipe) and facts.held >= set(WANTED)

    def repositories(self, facts: NodeFacts, recipe: Recipe) -> tuple[Repository, Repository]:
        """Kubernetes' and containerd's."""
        settings = recipe.settings
        arch = facts.debian_arch
        kubernetes = f"{settings.packages_url}/core:/stable:/v{recipe.minor}/deb/"
        containerd = f"{settings.containerd_url}/linux/{facts.os_id}"
        return (
            Repository(
                "kubernetes", kubernetes, "/", (), "", f"{kubernetes}Release.key", settings.packages_key_fingerprint
            ),
            Repository(
                "containerd",
                containerd,
                facts.os_codename,
                ("stable",),
                arch,
                f"{containerd}/gpg",
                settings.containerd_key_fingerprint,
            ),
        )

    def repository_files(self, facts: NodeFacts, recipe: Recipe) -> tuple[File, ...]:
        return tuple(one.file for one in self.repositories(facts, recipe))

    def obstacles(self, facts: NodeFacts, recipe: Recipe) -> Iterator[Step | Stop]:
        repositories = self.repositories(facts, recipe)
        if self.installed(facts, recipe):
            return
        ours = [one.path for one in repositories if one.path in facts.files]
        if facts.apt_fault and ours:  # an earlier run added them, and then somebody a list of their own
            title = "kubefab's package lists taken out again: apt could not read its lists"
            yield Step("prep.sources", title, (command("rm", "-f", *ours),))
        clashes = [(one, other) for one in repositories for other in one.conflicting(facts)]
        if clashes:
            one, other = clashes[0]
            off = switched_off([other for _, other in clashes])
            yield Stop(
                "prep.sources",
                f"{', '.join(dict.fromkeys(other.where for _, other in clashes))} has the package source {one.uri} with another key "
                f"({_key_of(other)}): beside an entry of ours apt could read none of its lists",
                f"if nothing needs that entry: `{off}`, then run this again: kubefab adds its own, with the key that it checks",
            )
        elif facts.apt_fault and not ours:
            yield Stop(
                "prep.apt",
                f"apt on this machine can read none of its lists: {facts.apt_fault}",
                "apt names the file or the source: change that entry until `apt-get check` says nothing, then run this again",
            )

    def offered(self, facts: NodeFacts, recipe: Recipe, *, runtime: bool = False) -> tuple[str, ...]:
        ours = self.repositories(facts, recipe)[runtime]
        before, _, after = ours.file.content.strip().partition(ours.keyring)
        # lists, caches and locks of its own; by root, as its helpers' user may not look into the folder
        apt = (
            '-o Dir::State="$a/state" -o Dir::State::status=/var/lib/dpkg/status -o Dir::Cache="$a/cache" -o Dir::Etc::sourcelist="$a/list" '
            "-o Dir::Etc::sourceparts=/dev/null -o APT::Sandbox::User=root -o Acquire::Languages=none -o Acquire::Retries=1 "
            "-o Acquire::http::Timeout=15 -o Acquire::https::Timeout=15 -o APT::Update::Error-Mode=any"
        )
        return (
            'export TMPDIR="$a"',
            *_fetch_key(ours.key_url, ours.allowed, '"$a/key.gpg"', armor=False),
            'mkdir -p "$a/state/lists/partial" "$a/cache/archives/partial"',
            f'printf "%s%s%s\\n" {shlex.quote(before)} "$a/key.gpg" {shlex.quote(after)} >"$a/list"',
            f"apt-get {apt} -q update >&2",
            f"apt-cache {apt} madison {' '.join(_offered(runtime))} | tr -d '|' | awk '{{print $1, $2}}'",
        )

    def proxy_files(self, facts: NodeFacts, recipe: Recipe) -> tuple[File, ...]:
        """apt's own file for the proxy."""
        return proxies.apt(recipe.environment)

    def ahead(self, facts: NodeFacts, recipe: Recipe, phase: str) -> list[Step | Wait]:
        return [
            *self._repositories(facts, recipe, phase),
            Step(
                f"{phase}.packages",
                f"packages of Kubernetes {recipe.version} fetched; nothing is installed yet",
                (_UPDATED, f"{_INSTALL} --no-remove --download-only {_exact(UPGRADED, recipe)}", 'rm -f "$seen"'),
                timeout=900,
                fetches=True,
                hint="the last lines say which package or source; a version that was not found is a release that the repository does not have",
            ),
        ]

    def exactly(self, names: Sequence[str], facts: NodeFacts, recipe: Recipe) -> tuple[str, ...]:
        # apt takes off hold what it is asked for by name: a change of containerd that was cut off before its hold is made good here
        held = WANTED if set(names) >= set(UPGRADED) and RUNTIME in facts.packages else names
        return (
            _COMPLETED,
            f"{_INSTALL} --no-remove {_exact(names, recipe)}",
            command("apt-mark", "hold", *held),
        )

    def runtime(self, version: str, facts: NodeFacts, recipe: Recipe, *, fetch: bool = False) -> tuple[str, ...]:
        wanted = f"{RUNTIME}={version}"
        if fetch:
            return (_UPDATED, f"{_INSTALL} --no-remove --download-only {wanted}", 'rm -f "$seen"')
        return (_COMPLETED, f"{_INSTALL} --no-remove {wanted}", command("apt-mark", "hold", RUNTIME))

    def runtime_back(self, version: str) -> str:
        install = f"apt-get install -y --allow-downgrades --allow-change-held-packages {RUNTIME}={version}"
        return f"{install} && apt-mark hold {RUNTIME}"

    def steps(self, facts: NodeFacts, recipe: Recipe) -> list[Step | Wait]:
        hold = command("apt-mark", "hold", *WANTED)
        shown = "${Package} ${Version} ${db:Status-Abbrev}\\n"
        noting = _noting(f"dpkg-query -W -f '{shown}' {' '.join(WANTED)} 2>/dev/null | grep ' [ih]i' || true")
        if _right(facts, recipe):  # a second install would upgrade containerd.io
            return [Step("install.hold", "packages held at their versions", (*noting, hold))]
        wanted = f"containerd.io {_exact(PINNED, recipe)} kubernetes-cni cri-tools iptables"
        return [
            *self._repositories(facts, recipe, "install"),
            Step(
                "install.packages",
                f"containerd and Kubernetes {recipe.version}",
                (
                    *noting,
                    _UPDATED,
                    # never remove a package of others for ours: name the packages that would be removed
                    f"{_INSTALL} --no-remove {wanted} || {{ rc=$?; {{ {_INSTALL} -s {wanted} 2>/dev/null || true; }} "
                    f"| sed -nE 's/^Remv (\\S+).*/in the way: \\1/p'; {_NAME_DEAD}; exit $rc; }}",
                    'rm -f "$seen"',
                    hold,
                ),
                timeout=1200,
                fetches=True,
                hint="the last lines say which package or source; `apt-get install -f` fixes a half-done install. `in the way` are packages of this "
                "machine that apt would remove for ours: if nothing here needs them, `apt-get remove PACKAGE`; otherwise take another machine",
            ),
        ]

    def _repositories(self, facts: NodeFacts, recipe: Recipe, phase: str) -> list[Step | Wait]:
        """The keys and lists of the recipe's repositories."""
        apt, repositories = _APT, self.repositories(facts, recipe)
        added = [one for one in repositories if not one.used(facts)]
        used = sorted({source.file: source for one in repositories if (source := one.used(facts))}.items())
        paths = [one.path for one in added]
        back = f"rm -f {' '.join(paths)}; " if paths else ""
        keys = [line for one in added for line in _fetch_key(one.key_url, one.allowed, one.keyring, armor=False)]
        return [
            lock_wait(phase),
            Step(
                f"{phase}.tools",
                "tools to fetch packages",
                (
                    _COMPLETED,
                    "for t in curl gpg; do command -v $t >/dev/null || "
                    f"{{ {{ {apt} update || true; }} && {apt} install ca-certificates curl gnupg; break; }}; done",
                ),
                fetches=True,
                hint="are the distribution's own package sources reachable from this node?",
            ),
            *(
                (
                    Step(
                        f"{phase}.keys",
                        "the keys of the package repositories",
                        (f"install -d -m 0755 {KEYRINGS}", *keys),
                        fetches=True,
                        hint=_KEY_HINT,
                    ),
                )
                if keys
                else ()
            ),
            Step(
                f"{phase}.repository",
                "package repositories" + f"; {', '.join(source.where for _, source in used)} is used" * bool(used),
                (
                    f"apt-get indextargets >/dev/null || {{ rc=$?; {back}exit $rc; }}",
                    *(_tried(apt, paths, OURS_FAILED, back) if paths else ()),
                    *(line for file, _ in used for line in _tried(apt, [file], file, back)),
                ),
                files=tuple(one.file for one in added),
                fetches=True,
                hint=_LIST_HINT,
            ),
        ]

    def purge(self, facts: NodeFacts) -> list[Step]:
        present = purgeable(facts)
        purge = (
            f"apt-mark unhold {' '.join(present)} || true",
            f"apt-get -o DPkg::Lock::Timeout=60 {_NO_LISTS} -qy purge {' '.join(present)}",
        )
        # what a power cut left half unpacked is no package of the node, and apt does not purge it (dpkg(1): reinst-required)
        half = [name for name in WANTED if facts.before is not None and name not in {*facts.before, *facts.packages}]
        broken = "case \"$(dpkg-query -W -f '${db:Status-Abbrev}' $p 2>/dev/null)\" in ??R*) dpkg --purge --force-remove-reinstreq $p;; esac"
        repair = (_COMPLETED, f"for p in {' '.join(half)}; do {broken}; done") if half else ()
        return [
            Step(
                "reset.packages",
                _purging(facts),
                (
                    # the lists first: beside another entry of the same source they may be what keeps apt from working
                    f"rm -f {SOURCES}/kubefab-kubernetes.list {SOURCES}/kubefab-containerd.list "
                    f"{KEYRINGS}/kubefab-kubernetes.gpg {KEYRINGS}/kubefab-containerd.gpg {proxies.APT}",
                    *repair,
                    *(purge if present else ()),
                    *_forget_note(facts),
                ),
                timeout=600,
            )
        ]


def _key_of(one: Source) -> str:
    """How a message names the key of an entry."""
    if one.trusted:
        return f"trusted={one.trusted}"
    return "a key in the entry itself" if one.signed_by.startswith("-----BEGIN") else one.signed_by or "none"


def _tried(apt: str, files: Sequence[str], prefix: str, back: str) -> tuple[str, ...]:
    """Shell lines that fetch what these lists name and nothing else, so that an error is about them; `back` runs before a failure.

    `Dir::Etc::sourceparts` is a folder with copies of the lists.
    """
    copies = [f'cp {shlex.quote(path)} "$d/{n}{_ending(path)}"' for n, path in enumerate(files)]
    only = '-o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts="$d" -o APT::Get::List-Cleanup=false -o APT::Update::Error-Mode=any'
    return (
        f"d=$(mktemp -d); {'; '.join(copies)}",
        f'{apt} {only} update 2>&1 | sed {shlex.quote(f"s|^|{prefix}: |")} || {{ rc=$?; {back}rm -rf "$d"; exit $rc; }}',
        'rm -rf "$d"',
    )


def _ending(path: str) -> str:
    return ".sources" if path.endswith(".sources") else ".list"


_LIST_HINT = "the last lines say what apt could not read, fetch or verify; kubefab's lists are taken out again, so that apt works as before"


# /proc/locks lists POSIX locks by inode, so naming the holder needs no tool on the node.
LOCK_HOLDER = (
    "for f in /var/lib/dpkg/lock-frontend /var/lib/dpkg/lock /var/lib/apt/lists/lock; do "
    "[ -e $f ] || continue; i=$(stat -c %i $f); "
    """awk -v i=":$i" '$2 == "POSIX" && substr($6, length($6) - length(i) + 1) == i {print $5}' /proc/locks; """
    'done | sort -u | while read -r p; do echo "$(cat /proc/$p/comm 2>/dev/null) (pid $p)"; done'
)


def lock_wait(phase: str = "install") -> Wait:
    """Wait until no other process holds apt's locks; the wait names the holder."""
    return Wait(
        f"{phase}.lock",
        "wait for the package lock",
        probe=LOCK_HOLDER,
        until=lambda seen: f"held by {seen.strip()}" if seen.strip() else None,
        deadline=600,
        interval=3,
        hint="see what holds it (unattended-upgrades on a fresh machine ends by itself); kubefab never kills it",
    )


_DNF = "dnf -y --setopt=exit_on_lock=False"


def _named(names: Sequence[str], recipe: Recipe) -> str:
    """These packages as dnf is asked for them: the pinned ones at the recipe's version."""
    return " ".join(f"{name}-{recipe.version}" if name in PINNED else name for name in names)


@dataclass(frozen=True)
class Dnf:
    """CentOS Stream, Rocky, Alma and RHEL."""

    repos: str = "/etc/yum.repos.d"
    keys: str = "/etc/pki/rpm-gpg"

    def installed(self, facts: NodeFacts, recipe: Recipe) -> bool:
        return _right(facts, recipe)

    def repository_files(self, facts: NodeFacts, recipe: Recipe) -> tuple[File, ...]:
        settings, proxy = recipe.settings, recipe.settings.proxy
        texts = {
            "kubernetes": f"[kubefab-kubernetes]\nname=Kubernetes\nbaseurl={settings.packages_url}/core:/stable:/v{recipe.minor}/rpm/\n"
            f"enabled=1\ngpgcheck=1\ngpgkey=file://{self.keys}/kubefab-kubernetes\n"
            f"exclude=kubelet kubeadm kubectl cri-tools kubernetes-cni\n{proxies.dnf(recipe.environment, settings.packages_url)}",
            "containerd": "[kubefab-containerd]\nname=containerd.io\n"
            f"baseurl={self._containerd(facts, recipe)}/$releasever/$basearch/stable\n"
            f"enabled=1\ngpgcheck=1\ngpgkey=file://{self.keys}/kubefab-containerd\nexclude=containerd.io\n"
            f"{proxies.dnf(recipe.environment, settings.containerd_url)}",
        }
        secret = proxy is not None and bool(proxy.login)
        return tuple(
            File(f"{self.repos}/kubefab-{name}.repo", text, mode="0600" if secret else "0644", secret=secret)
            for name, text in texts.items()
        )

    def _containerd(self, facts: NodeFacts, recipe: Recipe) -> str:
        """Where containerd's packages and their key are, for this machine's system."""
        return f"{recipe.settings.containerd_url}/linux/{'rhel' if facts.os_id == 'rhel' else 'centos'}"

    def beside(self, facts: NodeFacts, recipe: Recipe) -> list[str]:
        """The ids of others' entries of the same repositories."""
        text = "".join(file.content for file in self.repository_files(facts, recipe))
        addresses = [line.removeprefix("baseurl=") for line in text.splitlines() if line.startswith("baseurl=")]
        return sorted({one.name for one in facts.sources if one.kind == "rpm" and any(map(one.same, addresses))})

    def obstacles(self, facts: NodeFacts, recipe: Recipe) -> Iterator[Step | Stop]:
        yield from ()  # dnf reads several entries of one repository side by side, each with its own key

    def offered(self, facts: NodeFacts, recipe: Recipe, *, runtime: bool = False) -> tuple[str, ...]:
        settings = recipe.settings
        url = f"{settings.packages_url}/core:/stable:/v{recipe.minor}/rpm/"
        key, allowed = f"{url}repodata/repomd.xml.key", settings.packages_key_fingerprint
        if runtime:
            base = self._containerd(facts, recipe)
            url, key = f"{base}/$releasever/$basearch/stable", f"{base}/gpg"
            allowed = settings.containerd_key_fingerprint
        name = "containerd" if runtime else "kubernetes"
        lines = [f"[kubefab-{name}]", f"name={name.capitalize()}", f"baseurl={url}", "enabled=1", "gpgcheck=1"]
        lines += proxies.dnf(recipe.environment, url).splitlines()
        dnf = 'dnf -q --setopt=reposdir="$a/repos" --setopt=cachedir="$a/cache" --setopt=logdir="$a" --setopt=timeout=15 --setopt=retries=1'
        return (
            'export TMPDIR="$a"',
            *_fetch_key(key, allowed, '"$a/key"', armor=True),
            'mkdir -p "$a/repos"',
            f'printf "%s\\n" {" ".join(map(shlex.quote, lines))} "gpgkey=file://$a/key" >"$a/repos/{name}.repo"',
            f"{dnf} repoquery --showduplicates --qf '%{{name}} %{{version}}-%{{release}}\n' {' '.join(_offered(runtime))}",
        )

    def proxy_files(self, facts: NodeFacts, recipe: Recipe) -> tuple[File, ...]:
        """The repositories' files, which name the proxy; before the repositories are there, nothing."""
        return tuple(file for file in self.repository_files(facts, recipe) if file.path in facts.files)

    def ahead(self, facts: NodeFacts, recipe: Recipe, phase: str) -> list[Step | Wait]:
        return [
            *self._repositories(facts, recipe, phase),
            Step(
                f"{phase}.packages",
                f"packages of Kubernetes {recipe.version} fetched; nothing is installed yet",
                (f"{self._install(facts, recipe)} --downloadonly {_named(UPGRADED, recipe)}",),
                timeout=900,
                fetches=True,
                hint="the last lines say which package or source; no match for an argument means a release that the repository does not have",
            ),
        ]

    def exactly(self, names: Sequence[str], facts: NodeFacts, recipe: Recipe) -> tuple[str, ...]:
        # they are held by the repository's `exclude`, which this one command passes
        return (f"{self._install(facts, recipe)} {_named(names, recipe)}",)

    def runtime(self, version: str, facts: NodeFacts, recipe: Recipe, *, fetch: bool = False) -> tuple[str, ...]:
        return (f"{self._install(facts, recipe)}{' --downloadonly' * fetch} {RUNTIME}-{version}",)

    def runtime_back(self, version: str) -> str:
        return f"dnf -y --disableexcludes=kubefab-containerd install {RUNTIME}-{version}"

    def _install(self, facts: NodeFacts, recipe: Recipe) -> str:
        """dnf's install from our entries only, with the keys that we checked; and another repository that is dead is not ours to judge."""
        others = "".join(f" --disablerepo={name}" for name in self.beside(facts, recipe))
        ours = "--disableexcludes=kubefab-kubernetes,kubefab-containerd"
        return f"{_DNF} --setopt='*.skip_if_unavailable=1' {ours}{others} install"

    def _repositories(self, facts: NodeFacts, recipe: Recipe, phase: str) -> list[Step | Wait]:
        """The keys and entries of the recipe's repositories."""
        settings = recipe.settings
        kubernetes_key = f"{settings.packages_url}/core:/stable:/v{recipe.minor}/rpm/repodata/repomd.xml.key"
        containerd_key = f"{self._containerd(facts, recipe)}/gpg"
        files = self.repository_files(facts, recipe)
        back = f"rm -f {' '.join(file.path for file in files)}"
        return [
            Step(
                f"{phase}.keys",
                "the keys of the package repositories",
                (
                    f"install -d -m 0755 {self.keys}",
                    *_fetch_key(
                        kubernetes_key, settings.packages_key_fingerprint, f"{self.keys}/kubefab-kubernetes", armor=True
                    ),
                    *_fetch_key(
                        containerd_key,
                        settings.containerd_key_fingerprint,
                        f"{self.keys}/kubefab-containerd",
                        armor=True,
                    ),
                    # rpm keeps an imported key for ever, even expired, so remove it first
                    *(
                        f"rpm -e --allmatches gpg-pubkey-{known[-8:].lower()} 2>/dev/null || true"
                        for known in settings.packages_key_fingerprint
                    ),
                ),
                fetches=True,
                hint=_KEY_HINT,
            ),
            Step(
                f"{phase}.repository",
                "package repositories",
                (
                    f"{_DNF} -q --disablerepo='*' --enablerepo='kubefab-*' --setopt='*.skip_if_unavailable=0' makecache || "
                    f"{{ rc=$?; {back}; exit $rc; }}",
                ),
                files=files,
                fetches=True,
                hint="the last lines say what dnf could not fetch; kubefab's repositories are taken out again, so that dnf works as before",
            ),
        ]

    def steps(self, facts: NodeFacts, recipe: Recipe) -> list[Step | Wait]:
        return [
            *self._repositories(facts, recipe, "install"),
            Step(
                "install.selinux",
                "SELinux permissive, as kubeadm's installation page asks",
                (
                    f"install -d -m 0700 {STATE}",
                    f'if command -v getenforce >/dev/null && [ "$(getenforce)" = Enforcing ]; then echo at once >>{STATE}/selinux; setenforce 0; '
                    f"if grep -qx SELINUX=enforcing /etc/selinux/config; then echo file >>{STATE}/selinux; "
                    "sed -i 's/^SELINUX=enforcing$/SELINUX=permissive/' /etc/selinux/config; fi; fi",
                ),
            ),
            Step(
                "install.packages",
                f"containerd and Kubernetes {recipe.version}",
                (
                    *_noting(
                        f"rpm -q --qf '%{{NAME}} %{{VERSION}}-%{{RELEASE}} ii\\n' {' '.join(WANTED)} 2>/dev/null | grep ' ii$' || true"
                    ),
                    f"{self._install(facts, recipe)} containerd.io {_named(PINNED, recipe)} kubernetes-cni cri-tools iproute-tc iptables",
                ),
                timeout=1200,
                fetches=True,
                hint="the last lines say which package or source",
            ),
        ]

    def purge(self, facts: NodeFacts) -> list[Step]:
        present = purgeable(facts)
        # rpm renames a changed file of a removed package to .rpmsave; delete it if its hash says that we wrote it
        aside = "; ".join(
            f"if [ -e {path}.rpmsave ] && grep -qxF \"$(sha256sum {path}.rpmsave | cut -d' ' -f1)\" {KEPT}/ours{path} 2>/dev/null; "
            f"then rm -f {path}.rpmsave; fi"
            for path in PACKAGED
        )
        return [
            Step(
                "reset.packages",
                _purging(facts),
                (
                    f"rm -f {self.repos}/kubefab-kubernetes.repo {self.repos}/kubefab-containerd.repo "
                    f"{self.keys}/kubefab-kubernetes {self.keys}/kubefab-containerd",
                    *([f"dnf -y remove {' '.join(present)}", aside] if present else []),
                    *_forget_note(facts),
                ),
                timeout=600,
            )
        ]
