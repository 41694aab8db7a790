"""apt, dpkg, dnf and rpm: they know only the repositories that a step added, and install the version that it asked for."""

from __future__ import annotations

import fnmatch
import re
from dataclasses import dataclass

from ..bash import Call
from ..host import APT, Host, Unit
from ..machine import LOCKER, Machine
from . import legacy, program, unmodelled
from .system import start

_KUBERNETES = ("kubelet", "kubeadm", "kubectl")
_OTHERS = {"kubernetes-cni": "1.8.0-1.1", "cri-tools": "{minor}.0-1.1"}
CONTAINERD = tuple(f"{one}~ubuntu.24.04~noble" for one in ("2.3.4-1", "2.3.3-2", "2.3.3-1", "2.2.6-1"))  # newest first
_PLAIN = {
    "ca-certificates": "20240203", "curl": "8.5.0-2ubuntu10.6", "gnupg": "2.4.4-2ubuntu17.3", "iproute-tc": "6.11.0-1.el9",
    "docker.io": "28.2.2-0ubuntu1~24.04.1", "iptables": "1.8.10-3ubuntu2",
}  # fmt: skip
# Removed in March 2024. By http it is the repository of the manual of 2017, which its rehearsal still has.
_DEAD = ("https://apt.kubernetes.io", "https://packages.cloud.google.com/apt")
_CONFLICTS = ("containerd", "runc", "moby-containerd", "moby-runc")  # packages that conflict with containerd.io
PACKAGED_CONFIG = 'disabled_plugins = ["cri"]\n'
PACKAGED_DEFAULTS = "KUBELET_EXTRA_ARGS=\n"


@program("apt-get", "apt")
def apt_get(machine: Machine, call: Call) -> int:
    words, options = [], {}
    given = iter(call.argv[1:])
    for word in given:
        if word == "-o":
            key, _, value = next(given).partition("=")
            options[key] = value
        elif not word.startswith("-"):
            words.append(word)
    host, lock_wait = machine.host, float(options.get("DPkg::Lock::Timeout", 0))
    lists = _lists(host, options.get("Dir::Etc::sourceparts", ""))
    if fault := _unreadable(lists):
        return call.fail(f"E: {fault}\nE: The list of sources could not be read.", 100)
    if words[0] == "indextargets":
        return 0
    held = machine.lock_left
    if held > 0:
        machine.spend(0, "")
        host.clock += min(held, lock_wait)
        if held > lock_wait:
            return call.fail(
                f"E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process {LOCKER} (unattended-upgr)\n"
                "E: Unable to acquire the dpkg frontend lock (/var/lib/dpkg/lock-frontend), is another process using it?",
                100,
            )
    verb, names = words[0], words[1:]
    if verb == "update":
        return _update(machine, call, lists, options)
    if verb == "install":
        doomed = [name for name in _CONFLICTS if name in host.packages and "containerd.io" in names]
        if "-s" in call.argv:
            call.out("".join(f"Remv {name} [{host.packages[name]}]\n" for name in doomed))
            return 0
        if doomed and "--no-remove" in call.argv:
            return call.fail("E: Packages need to be removed but remove is disabled.", 100)
        _remove(machine, doomed)
        return _install(machine, call, names)
    if verb in ("purge", "remove", "autoremove"):
        _remove(machine, names)
        call.out("".join(f"Removing {name} ...\n" for name in names))
        machine.spend(6, "apt purge")
        return 0
    raise unmodelled(call)


@dataclass(frozen=True)
class _Entry:
    """An entry of a list: the address and suite that apt compares, and its key."""

    path: str
    uri: str
    suite: str
    key: str


def _lists(host: Host, folder: str) -> list[_Entry]:
    """What apt reads of a folder; without one, of the machine's own lists."""
    if folder == "/dev/null":
        return []
    found = []
    for path in sorted(host.files, key=lambda path: (path != "/etc/apt/sources.list", path)):
        if not path.startswith(f"{folder or '/etc/apt/sources.list.d'}/") and (
            folder or path != "/etc/apt/sources.list"
        ):
            continue
        text = host.files[path].text
        for row in re.findall(r"^deb .*", text, flags=re.M) if not path.endswith(".sources") else ():
            key = re.search(r"signed-by=([^\]\s]+)", row)
            words = re.sub(r"\[.*?\]", "", row).split()
            found.append(_Entry(path, words[1], words[2], key[1] if key else ""))
        for stanza in text.split("\n\n") if path.endswith(".sources") else ():
            fields = dict(re.findall(r"^([\w-]+): *(.*)$", stanza, flags=re.M))
            if fields.get("Enabled") != "no" and "URIs" in fields:
                found.append(_Entry(path, fields["URIs"], fields["Suites"], fields.get("Signed-By", "")))
    return found


def _unreadable(entries: list[_Entry]) -> str:
    """Why apt reads none of these: entries of one source whose keys differ (http and https are one source)."""
    seen: dict[tuple[str, str], str] = {}
    for one in entries:
        place = one.uri.partition("://")[2].rstrip("/"), one.suite
        known = seen.setdefault(place, one.key)
        if known != one.key:
            return f"Conflicting values set for option Signed-By regarding source {one.uri} {one.suite}: {known} != {one.key}"
    return ""


def _update(machine: Machine, call: Call, entries: list[_Entry], options: dict[str, str]) -> int:
    host = machine.host
    machine.spend(4, "apt update")
    if machine.fault("packages-down") is not None:
        machine.spend(30, "apt retries")
        if options.get("APT::Update::Error-Mode") == "any":
            return call.fail(
                "E: Failed to fetch https://pkgs.k8s.io/core:/stable:/: Could not connect to pkgs.k8s.io:443", 100
            )
        call.out("Ign:1 http://archive.ubuntu.com/ubuntu noble InRelease\n")
        call.err("W: Some index files failed to download. They have been ignored, or old ones used instead.\n")
        return 0
    code, answered = 0, []
    for one in entries:
        if one.uri.startswith(_DEAD):
            call.out(f"Err:1 {one.uri} {one.suite} Release\n  404  Not Found\n")
            call.err(f"E: The repository '{one.uri} {one.suite} Release' does not have a Release file.\n")
            code = 100
        elif one.key.startswith("/") and one.key not in host.files:
            call.err(f"E: The repository '{one.uri} InRelease' is not signed.\n")
            code = 100
        else:
            answered.append(one.uri)
            call.out(f"Get:1 {one.uri} InRelease [1,186 B]\n")
    host.lists_from = " ".join(answered)
    call.out("Reading package lists...\n")
    return code


def _repositories(host: Host) -> list[str]:
    """The addresses of the configured repositories, apt's or dnf's."""
    found: list[str] = []
    for path, file in sorted(host.files.items()):
        if path.startswith("/etc/apt/sources.list.d/"):
            found += [word for word in file.text.split() if word.startswith("http")]
        if path.startswith("/etc/yum.repos.d/"):
            found += re.findall(r"^baseurl=(\S+)", file.text, flags=re.M)
    return found


def _candidate(name: str, repositories: str, legacy_url: str = "") -> str:
    """The version that the repositories offer; empty when they do not have the package."""
    minor = re.search(r"/v(\d+\.\d+)/", repositories)
    if name in legacy.PACKAGES and any(word.rstrip("/") == legacy_url for word in repositories.split()):
        return legacy.PACKAGES[name]
    if name in _KUBERNETES or name in _OTHERS:
        if not minor:
            return ""
        return _OTHERS[name].format(minor=minor[1]) if name in _OTHERS else f"{minor[1]}.*"
    if name == "containerd.io":
        return CONTAINERD[0] if "/linux/" in repositories else ""
    return _PLAIN.get(name, "")


def _install(machine: Machine, call: Call, names: list[str]) -> int:
    host = machine.host
    new: dict[str, str] = {}
    for wanted in names:
        name, _, version = wanted.partition("=")
        offered = _candidate(name, host.lists_from, machine.settings.legacy_packages_url.rstrip("/"))
        if not offered:
            return call.fail(f"E: Unable to locate package {name}", 100)
        if name == "containerd.io" and offered and version in CONTAINERD:
            new[name] = version
            continue
        missing = name in _KUBERNETES and version and machine.fault("release-missing") is not None
        if missing or (version and not fnmatch.fnmatchcase(version.removesuffix("-*"), offered)):
            return call.fail(f"E: Version '{version}' for '{name}' was not found", 100)
        new[name] = f"{version.removesuffix('-*')}-1.1" if version else offered.replace("*", "4-1.1")
    call.out(f"The following NEW packages will be installed:\n  {' '.join(new)}\n")
    if machine.fault("packages-down") is not None:
        return call.fail(
            "E: Failed to fetch https://pkgs.k8s.io/core:/stable:/: Could not connect to pkgs.k8s.io:443", 100
        )
    if machine.fault("disk-full") is not None:
        return call.fail(
            "dpkg: error processing archive /var/cache/apt/archives/kubelet.deb (--unpack):\n"
            " cannot copy extracted data for './usr/bin/kubelet': failed to write (No space left on device)\n"
            "E: Sub-process /usr/bin/dpkg returned an error code (1)",
            100,
        )
    if "--download-only" in call.argv:
        machine.spend(8, "apt download")
        return 0
    host.held = [name for name in host.held if name not in new]  # what is named is taken off hold
    _put(machine, new)
    machine.spend(25 if "kubelet" in new else 6, "apt install")
    call.out("".join(f"Setting up {name} ({version}) ...\n" for name, version in new.items()))
    return 0


def _put(machine: Machine, new: dict[str, str]) -> None:
    host = machine.host
    fresh = {name for name in new if name not in host.packages}
    host.packages.update(new)
    if "containerd.io" in fresh:
        if "/etc/containerd/config.toml" not in host.files:
            host.write("/etc/containerd/config.toml", PACKAGED_CONFIG)
        host.units["containerd"] = Unit()
        if host.family == APT:  # a Debian package starts its service; an rpm does not
            host.units["containerd"].enabled = True
            start(machine, "containerd")
    if "kubelet" in fresh:
        host.units["kubelet"] = Unit(active=host.family == APT, enabled=host.family == APT)
        defaults = "/etc/default/kubelet" if host.family == APT else "/etc/sysconfig/kubelet"
        if defaults not in host.files:
            host.write(defaults, PACKAGED_DEFAULTS)
    if "kubernetes-cni" in fresh:
        host.write("/opt/cni/bin/bridge", "")
    if "docker.io" in fresh:
        host.units["docker"] = Unit(True, True)
        host.write("/etc/docker/key.json", "{}\n", "600")  # dockerd creates it at its first start
        legacy.bridge(machine)


def _remove(machine: Machine, names: list[str]) -> None:
    host = machine.host
    for name in names:
        host.packages.pop(name, None)
        unit = {"containerd.io": "containerd", "docker.io": "docker"}.get(name, name)
        host.units.pop(unit, None)
        if name == "containerd.io":
            host.files.pop("/run/containerd/containerd.sock", None)
        for path in {
            "containerd.io": ("/etc/containerd/config.toml",),
            "kubelet": ("/etc/default/kubelet", "/etc/sysconfig/kubelet"),
        }.get(name, ()):
            file = host.files.pop(path, None)
            if file and host.family != APT and file.text not in (PACKAGED_CONFIG, PACKAGED_DEFAULTS):
                host.files[f"{path}.rpmsave"] = file


@program("apt-mark")
def apt_mark(machine: Machine, call: Call) -> int:
    host = machine.host
    verb, names = call.argv[1], call.argv[2:]
    if verb == "showhold":
        call.out("".join(f"{name}\n" for name in sorted(host.held)))
    elif verb == "hold":
        for name in names:
            if name not in host.packages:
                return call.fail(f"E: Can't select installed nor candidate version from package '{name}'", 100)
            call.out(f"{name} set on hold.\n")
        host.held = sorted({*host.held, *names})
    elif verb == "unhold":
        host.held = [name for name in host.held if name not in names]
    else:
        raise unmodelled(call)
    return 0


@program("dpkg", "dpkg-query")
def dpkg(machine: Machine, call: Call) -> int:
    if call.argv[1:] == ["--print-architecture"]:
        call.out("amd64\n")
        return 0
    if call.argv[1:2] == ["--configure"]:
        return 0
    if call.argv[1:3] == ["-W", "-f"]:
        return _shown(machine, call, call.argv[4:])
    raise unmodelled(call)


def _shown(machine: Machine, call: Call, names: list[str]) -> int:
    """Print name, version and status of packages in our query format; returns 1 if one is not installed."""
    host = machine.host
    there = [name for name in names if name in host.packages]
    call.out(
        "".join(f"{name} {host.packages[name]} {'hi' if name in host.held else 'ii'} \n".rstrip(" ") for name in there)
    )
    return int(len(there) < len(names))


@program("dnf", "yum")
def dnf(machine: Machine, call: Call) -> int:
    host = machine.host
    words = [word for word in call.argv[1:] if not word.startswith("-")]
    verb, names = words[0], words[1:]
    if verb == "install":
        repositories = " ".join(_repositories(host))
        new: dict[str, str] = {}
        for wanted in names:
            pinned = re.fullmatch(rf"({'|'.join(_KUBERNETES)})-([\d.]+)", wanted)
            name = pinned[1] if pinned else wanted
            offered = _candidate(name, repositories)
            exact = {f"containerd.io-{one.partition('~')[0]}": one.partition("~")[0] for one in CONTAINERD}
            if wanted in exact and _candidate("containerd.io", repositories):
                new["containerd.io"] = exact[wanted]
                continue
            missing = pinned and machine.fault("release-missing") is not None
            if missing or not offered or (pinned and not fnmatch.fnmatchcase(pinned[2], offered)):
                return call.fail(f"No match for argument: {wanted}\nError: Unable to find a match: {wanted}")
            new[name] = f"{pinned[2]}-150500.1.1" if pinned else offered.replace("*", "4-150500.1.1").split("~")[0]
        if machine.fault("packages-down") is not None:
            return call.fail(
                "Error: Failed to download metadata for repo 'kubefab-kubernetes': Cannot download repomd.xml: All mirrors were tried"
            )
        if machine.fault("disk-full") is not None:
            return call.fail(
                "Error: Transaction test error:\n  installing package kubelet needs 57MB more space on the / filesystem"
            )
        if "--downloadonly" in call.argv:
            machine.spend(8, "dnf download")
            return 0
        _put(machine, new)
        machine.spend(30, "dnf install")
        call.out("Complete!\n")
        return 0
    if verb in ("remove", "erase"):
        _remove(machine, names)
        machine.spend(8, "dnf remove")
        call.out("Complete!\n")
        return 0
    if verb in ("makecache", "clean"):
        return 0
    raise unmodelled(call)


@program("rpm")
def rpm(machine: Machine, call: Call) -> int:
    if call.argv[1:2] == ["-e"] and call.argv[-1].startswith("gpg-pubkey"):
        return call.fail(f"error: package {call.argv[-1]} is not installed")
    if call.argv[1:3] == ["-q", "--qf"]:
        return _shown(machine, call, call.argv[4:])
    raise unmodelled(call)
