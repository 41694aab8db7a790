"""The dnf family with a real dnf and rpm: our own scripts in a separate root, with signed but empty packages.

Needs root, and dnf 4, rpm and createrepo_c: on Debian and Ubuntu
`apt-get install --no-install-recommends dnf rpm createrepo-c`.  It needs no network: the repositories are folders.  It does
not change this machine: each command has its own mount namespace, with an overlay in memory over the machine's root.

Proved here, with dnf 4.14 and rpm 4.18 on a Debian 12 that says it is Rocky 9: files, keys, signatures, versions, excludes.
Not proved here: the kernel, SELinux and systemd of such a machine.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from fabfile import inventory
from fabfile.inventory import Environment
from fabfile.nodes import script
from fabfile.nodes.facts import NodeFacts
from fabfile.nodes.observe import observe_script, parse_facts
from fabfile.nodes.upgrading import Offer, parse_answers
from fabfile.phases import runtimes
from fabfile.recipes.kubeadm import Recipe, recipe_for
from fabfile.recipes.packages import WANTED, Dnf, family
from fabfile.steps import Step
from fabfile.views import releases

TOOLS = ("dnf", "rpm", "rpmbuild", "rpmsign", "createrepo_c", "gpg", "unshare")
MISSING = [tool for tool in TOOLS if not shutil.which(tool)]
pytestmark = pytest.mark.skipif(
    bool(MISSING) or os.geteuid() != 0,
    reason=f"needs root and {', '.join(MISSING)}: apt-get install --no-install-recommends dnf rpm createrepo-c",
)
ROCKY = (
    'NAME="Rocky Linux"\nPRETTY_NAME="Rocky Linux 9.6"\nID="rocky"\nID_LIKE="rhel centos fedora"\nVERSION_ID="9.6"\n'
)
VERSIONS = ("1.36.3", "1.36.4", "1.36.9")


def sh(line: str, **variables: str) -> str:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", line], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | variables, check=False
    )  # fmt: skip
    assert done.returncode == 0, f"{line}\n{done.stdout}"
    return done.stdout


@dataclass
class Machine:
    """A machine with dnf; `disk` keeps a command's changes for the next one."""

    disk: Path
    environment: Environment

    @property
    def recipe(self) -> Recipe:
        return recipe_for(self.environment)

    def run(self, text: str) -> tuple[int, str]:
        """Run a script there as root; returns exit code and output."""
        (self.disk / "script").write_text(text)
        enter = f"""
            mount -t tmpfs -o mode=755 none /mnt && mkdir -p /mnt/memory /mnt/root
            mount -t tmpfs none /mnt/memory && mkdir /mnt/memory/upper /mnt/memory/work
            tar -C /mnt/memory/upper -xf {self.disk}/upper.tar
            mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/memory/upper,workdir=/mnt/memory/work /mnt/root
            mount --bind /proc /mnt/root/proc && mount --bind /dev /mnt/root/dev && mount -t tmpfs none /mnt/root/run
            mkdir -p /mnt/root{self.disk} && mount --bind {self.disk} /mnt/root{self.disk}
            cp {self.disk}/script /mnt/root/run/script
            rc=0; chroot /mnt/root env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root bash /run/script || rc=$?
            umount /mnt/root{self.disk} /mnt/root/run /mnt/root/dev /mnt/root/proc /mnt/root
            tar -C /mnt/memory/upper -cf {self.disk}/upper.tar .
            exit $rc
        """
        done = subprocess.run(
            ["unshare", "--mount", "--propagation", "private", "bash", "-c", enter], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )  # fmt: skip
        return done.returncode, done.stdout

    def sh(self, line: str) -> str:
        code, output = self.run(f"set -e\n{line}\n")
        assert code == 0, f"{line}\n{output}"
        return output.strip()

    def apply(self, steps: Iterable[object]) -> tuple[int, str]:
        """Run our steps, rendered as for any node; stops at the first that fails."""
        output = ""
        for step in steps:
            assert isinstance(step, Step)
            code, seen = self.run(script.render(step.id, step.commands, step.files))
            output += seen
            if code:
                return code, output
        return 0, output

    def observe(self) -> NodeFacts:
        files = [file.path for file in Dnf().repository_files(NodeFacts(os_id="rocky"), self.recipe)]
        urls = (self.environment.settings.packages_url, self.environment.settings.containerd_url)
        asked = [url.partition("://")[2] for url in urls]
        _, output = self.run(observe_script(control_plane=False, files=files, repositories=asked))
        return parse_facts(output)

    def installation(self) -> tuple[int, str]:
        facts = self.observe()
        packages = family(facts)
        assert isinstance(packages, Dnf), facts.os_id
        return self.apply(packages.steps(facts, self.recipe))


def key(home: Path, name: str) -> str:
    """Create a signing key; returns its fingerprint."""
    home.mkdir(mode=0o700)
    sh(
        f"gpg --homedir {home} --batch --quiet --passphrase '' --quick-gen-key '{name} <{name}@example.org>' rsa2048 sign 1d"
    )
    listed = sh(f"gpg --homedir {home} --batch --with-colons --list-keys")
    return next(line.split(":")[9] for line in listed.splitlines() if line.startswith("fpr:"))


def package(folder: Path, name: str, version: str, signer: tuple[Path, str] | None, more: str = "") -> None:
    """Build an rpm without files; it is signed if a key is given."""
    spec = folder / f"{name}-{version}.spec"
    folder.mkdir(parents=True, exist_ok=True)
    spec.write_text(
        f"Name: {name}\nVersion: {version}\nRelease: 150500.1.1\nSummary: empty\nLicense: none\nBuildArch: noarch\n{more}"
        "%description\nempty\n%files\n"
    )
    sh(
        f"rpmbuild --quiet -bb --define '_rpmdir {folder}' --define '_rpmfilename %{{NAME}}-%{{VERSION}}.rpm' --define '_topdir {folder}/b' {spec} 2>&1"
    )
    if signer:
        home, fingerprint = signer
        sh(
            f"rpmsign --addsign --define '__gpg {shutil.which('gpg')}' --define '_gpg_name {fingerprint}' {folder}/{name}-{version}.rpm 2>&1",
            GNUPGHOME=str(home),
        )
    spec.unlink()


@pytest.fixture(scope="module")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """Two repositories with the layouts of pkgs.k8s.io and download.docker.com; folder and settings."""
    top = Path(sh("mktemp -d /var/tmp/kubefab-dnf.XXXXXX").strip())
    kubernetes, docker = (key(top / f"gpg-{name}", name) for name in ("kubernetes", "docker"))
    signer, other = (top / "gpg-kubernetes", kubernetes), (top / "gpg-docker", docker)
    first = top / "k8s" / "core:" / "stable:" / "v1.36" / "rpm"
    for name in ("kubelet", "kubeadm", "kubectl"):
        for version in VERSIONS:
            package(first, name, version, signer)
    package(first, "kubernetes-cni", "1.8.0", signer)
    package(first, "cri-tools", "1.36.0", signer)
    second = top / "docker" / "linux" / "centos" / "9" / sh("uname -m").strip() / "stable"
    for version in ("2.3.3", "2.3.4"):
        package(second, "containerd.io", version, other)
    package(top / "base", "iproute-tc", "6.11.0", None)
    package(top / "base", "iptables-nft", "1.8.10", None, "Provides: iptables = 1.8.10\n")
    package(
        top / "base",
        "rocky-release",
        "9.6",
        None,
        "Provides: system-release = 9.6\nProvides: system-release(releasever) = 9\n",
    )
    for folder in (first, second, top / "base"):
        sh(f"createrepo_c --quiet {folder}")
    sh(f"gpg --homedir {signer[0]} --armor --export > {first}/repodata/repomd.xml.key")
    sh(f"gpg --homedir {other[0]} --armor --export > {top}/docker/linux/centos/gpg")
    settings = {
        "packages_url": f"file://{top}/k8s", "packages_key_fingerprint": (kubernetes,),
        "containerd_url": f"file://{top}/docker", "containerd_key_fingerprint": (docker,), "kubernetes": "1.36.4",
    }  # fmt: skip
    return top, settings


@pytest.fixture
def machine(repositories: tuple[Path, dict[str, str]]) -> Machine:
    top, settings = repositories
    env = inventory.load("rehearsal", variables={})
    made = Machine(top, replace(env, settings=replace(env.settings, **settings)))  # type: ignore[arg-type]
    sh(f"tar -cf {top}/upper.tar -T /dev/null")
    base = f"[base]\nname=base\nbaseurl=file://{top}/base\nenabled=1\ngpgcheck=0\n"
    made.sh(
        f"rm -rf /usr/bin/dpkg-query /etc/os-release /var/lib/kubefab*; cat > /etc/os-release <<'END'\n{ROCKY}END\n"
        f"mkdir -p /etc/yum.repos.d; cat > /etc/yum.repos.d/base.repo <<'END'\n{base}END\n"
        "mkdir -p /etc/dnf/plugins; printf '[main]\\nenabled=0\\n' > /etc/dnf/plugins/local.conf\n"  # where installed, this plugin keeps its own copies
        f"rpm --nodeps -i {top}/base/rocky-release-9.6.rpm 2>&1"
    )
    return made


@pytest.fixture(scope="module", autouse=True)
def swept(repositories: tuple[Path, dict[str, str]]) -> object:
    yield
    for name in ("kubernetes", "docker"):
        subprocess.run(["gpgconf", "--homedir", repositories[0] / f"gpg-{name}", "--kill", "all"], check=False)
    shutil.rmtree(repositories[0])


def test_dnf_accepts_our_files_keys_and_versions(machine: Machine) -> None:
    assert not Dnf().installed(machine.observe(), machine.recipe)
    code, output = machine.installation()
    assert code == 0, output
    facts = machine.observe()
    assert {name: facts.packages[name].split("-")[0] for name in WANTED} == {
        "containerd.io": "2.3.4", "kubelet": "1.36.4", "kubeadm": "1.36.4", "kubectl": "1.36.4", "kubernetes-cni": "1.8.0", "cri-tools": "1.36.0",
    }  # fmt: skip
    assert Dnf().installed(facts, machine.recipe)
    assert all(facts.has_file(f.path, f.sha256, f.mode) for f in Dnf().repository_files(facts, machine.recipe))
    keys = machine.sh("rpm -q gpg-pubkey")
    code, output = machine.installation()
    assert code == 0, f"twice is once: {output}"
    (fingerprint,) = machine.environment.settings.packages_key_fingerprint
    assert fingerprint[-8:].lower() in keys, "dnf imported it"
    assert fingerprint[-8:].lower() not in machine.sh("rpm -q gpg-pubkey"), (
        "and it is removed, to be imported again with the next package"
    )


def test_others_entries_of_our_repositories_and_dead_ones_do_not_matter(machine: Machine) -> None:
    """One entry has containerd's repository without any check of its signatures, another a repository that is gone."""
    url = machine.environment.settings.containerd_url
    theirs = f"[docker-ce-stable]\nname=theirs\nbaseurl={url}/linux/centos/$releasever/$basearch/stable\ngpgcheck=0\n"
    dead = "[gone]\nname=gone\nbaseurl=file:///nowhere\nenabled=1\ngpgcheck=0\nskip_if_unavailable=0\n"
    machine.sh(f"cat > /etc/yum.repos.d/a.repo <<'END'\n{theirs}{dead}END\n")
    assert machine.run("dnf -y install iptables 2>&1")[0] != 0, "dnf stops for a repository that is gone"
    assert Dnf().beside(machine.observe(), machine.recipe) == ["docker-ce-stable"]
    code, output = machine.installation()
    assert code == 0, output
    assert "kubefab-containerd" in machine.sh("dnf -q --disablerepo='*' list installed containerd.io")
    kept = machine.sh("cat /etc/yum.repos.d/a.repo")
    assert kept == (theirs + dead).strip()


def test_repositories_that_dnf_cannot_fetch_are_taken_out_again(machine: Machine) -> None:
    step = next(s for s in Dnf().steps(machine.observe(), machine.recipe) if s.id == "install.repository")
    assert isinstance(step, Step)
    gone = tuple(replace(file, content=file.content.replace("file:///", "file:///nowhere/")) for file in step.files)
    code, output = machine.apply([replace(step, files=gone)])
    assert code != 0 and "Failed to download metadata for repo 'kubefab-" in output, output
    assert machine.sh("ls /etc/yum.repos.d") == "base.repo"


def test_excludes_keep_installed_packages_from_upgrading(machine: Machine) -> None:
    assert machine.installation()[0] == 0
    machine.sh("dnf -y upgrade 2>&1")
    assert machine.observe().packages["kubelet"].startswith("1.36.4-"), "1.36.9 is in the repository"
    code, output = machine.run("dnf -y install kubelet-1.36.9 2>&1")
    assert code != 0, output


def test_another_patch_is_installed_on_request(machine: Machine) -> None:
    assert machine.installation()[0] == 0
    for patch in ("1.36.9", "1.36.3"):
        machine.environment = replace(
            machine.environment, settings=replace(machine.environment.settings, kubernetes=patch)
        )
        code, output = machine.installation()
        assert code == 0, output
        assert machine.observe().packages["kubelet"].startswith(f"{patch}-")


def test_containerd_changes_by_the_lines_that_are_sent_and_goes_back_by_the_one_that_is_printed(
    machine: Machine,
) -> None:
    """As root types it: the repository's `exclude` holds the package, and each line passes it."""
    assert machine.installation()[0] == 0
    earlier, newest = (f"{one}-150500.1.1" for one in ("2.3.3", "2.3.4"))
    assert runtimes.ordered(earlier) < runtimes.ordered(newest)
    for expected, line in (
        (earlier, Dnf().runtime_back(earlier)),
        (earlier, "dnf -y upgrade"),
        (earlier, *Dnf().runtime(newest, machine.observe(), machine.recipe, fetch=True)),
        (newest, *Dnf().runtime(newest, machine.observe(), machine.recipe)),
    ):
        machine.sh(f"{line} 2>&1")
        assert machine.observe().packages["containerd.io"] == expected, line


def test_what_a_repository_offers_is_asked_beside_the_machines_own_files(machine: Machine) -> None:
    """Before an upgrade, also for a release whose repository no file there names; a wrong key and a missing release are said."""
    assert machine.installation()[0] == 0
    files = "find /etc/yum.repos.d /etc/pki/rpm-gpg /var/cache/dnf /var/lib/dnf /var/lib/rpm /var/log -type f | sort | xargs sha256sum; rpm -q gpg-pubkey"
    before = machine.sh(files)
    worker = replace(machine.environment.control_plane, name="w1", control_plane=False)

    def offered() -> Offer:
        code, output = machine.run(releases.question(machine.environment, worker, machine.observe(), ["1.36", "1.37"]))
        assert code == 0, output
        answers = parse_answers(output)
        assert "cannot fetch" in answers.packages["1.37"].fault
        found = answers.packages["containerd"].versions["containerd.io"]
        assert sorted(found) == ["2.3.3-150500.1.1", "2.3.4-150500.1.1"]
        return answers.packages["1.36"]

    assert offered().whole == VERSIONS
    wrong = replace(machine.environment.settings, packages_key_fingerprint=("0" * 40,))
    machine.environment = replace(machine.environment, settings=wrong)
    assert "has not the fingerprint" in offered().fault
    assert machine.sh(files) == before


def test_a_key_with_another_fingerprint_is_refused_before_anything_is_installed(machine: Machine) -> None:
    wrong = replace(machine.environment.settings, packages_key_fingerprint=("0" * 40,))
    machine.environment = replace(machine.environment, settings=wrong)
    code, output = machine.installation()
    assert code == 65, output
    assert "has not the fingerprint" in output
    assert not set(machine.observe().packages) & set(WANTED)


def test_a_package_signed_by_another_key_is_refused(machine: Machine) -> None:
    top = machine.disk
    stable = next((top / "docker" / "linux" / "centos" / "9").glob("*/stable"))
    good = (stable / "containerd.io-2.3.4.rpm").read_bytes()
    try:
        (fingerprint,) = machine.environment.settings.packages_key_fingerprint
        package(stable, "containerd.io", "2.3.4", (top / "gpg-kubernetes", fingerprint))
        sh(f"createrepo_c --quiet {stable}")
        # the package's key is not that of the containerd repository, and dnf accepts no other
        code, output = machine.installation()
        assert code != 0 and "GPG" in output, output
        assert "containerd.io" not in machine.observe().packages
    finally:
        (stable / "containerd.io-2.3.4.rpm").write_bytes(good)
        sh(f"createrepo_c --quiet {stable}")


def test_purge_takes_packages_repositories_and_keys(machine: Machine) -> None:
    assert machine.installation()[0] == 0
    facts = machine.observe()
    code, output = machine.apply(Dnf().purge(facts))
    assert code == 0, output
    after = machine.observe()
    assert not set(after.packages) & set(WANTED)
    assert not after.files
    assert machine.sh("ls /etc/pki/rpm-gpg") == ""


def test_this_machine_is_unchanged(machine: Machine) -> None:
    assert machine.installation()[0] == 0
    assert not Path("/etc/yum.repos.d/kubefab-kubernetes.repo").exists()
    assert "rocky" not in Path("/etc/os-release").read_text()
