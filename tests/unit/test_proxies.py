"""Proxies: which hosts go without, what a node gets and gets back, and what is said of proxies that are not ours."""

from __future__ import annotations

import ipaddress
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from fabfile.cli.common import Options, described
from fabfile.inventory import Environment, load
from fabfile.inventory.proxy import bypassed, entries, proxy
from fabfile.inventory.settings import KEYS
from fabfile.nodes import script
from fabfile.nodes.facts import NodeFacts, SetProxy
from fabfile.nodes.observe import parse_proxies
from fabfile.phases import EVERY, managed_files
from fabfile.recipes import proxies
from fabfile.recipes.kubeadm import recipe_for
from fabfile.recipes.packages import family
from fabfile.steps import File, Step, Stop
from fabfile.text.masking import mask
from fabfile.views.doctor.chart import Chart, Patient
from fabfile.views.doctor.machine import machine
from making import context, control_plane, environment, fresh, having, ids, installed, member

URL, SECRET = "http://me:pl4nted-word@proxy.example:3128", "pl4nted-word"
TEXTS = {"proxy": URL, "no_proxy": ".corp.example", "registry": "10.2.0.5:5000", "node_cidr": "10.2.0.0/16"}
ADDRESSES = st.integers(1, 1 << 24).map(lambda n: str(ipaddress.ip_address("10.0.0.0") + n))
NAMES = st.from_regex(r"[a-z]{1,6}(\.[a-z]{2,5}){0,2}", fullmatch=True)


# --- who goes without


@given(
    st.lists(ADDRESSES, min_size=1, max_size=5, unique=True),
    st.booleans(),
    st.sampled_from(["k8s.corp", "cluster.local"]),
    st.lists(NAMES, max_size=2),
)
def test_a_clusters_own_traffic_never_goes_to_the_proxy(
    addresses: list[str], wide: bool, domain: str, more: list[str]
) -> None:
    texts = {"node_cidr": "10.0.0.0/8"} if wide else {}
    env = environment(
        len(addresses), proxy=URL, dns_domain=domain, no_proxy=",".join(more), pod_cidr="172.20.0.0/16", **texts
    )
    env = replace(env, workers=tuple(replace(n, address=a) for n, a in zip(env.workers, addresses, strict=True)))
    without = proxies.no_proxy(env)
    inside = [
        "localhost",
        "127.0.0.1",
        "172.20.7.9",
        "10.96.0.1",
        "kubernetes.default.svc",
        f"kubernetes.default.svc.{domain}",
        *more,
    ]
    assert all(bypassed(host, without) for host in (*inside, *addresses, env.control_plane.address))
    assert len(set(without)) == len(without) and all(entries(one) == (one,) for one in without if one != "::1")
    for outside in ("registry.k8s.io", "download.docker.com", "203.0.113.7"):
        assert not bypassed(outside, without) or outside.rpartition(".")[2] in more or outside in more or any(
            outside.endswith(f".{one}") for one in more
        )  # fmt: skip


def test_a_new_worker_in_node_cidr_changes_no_file_of_the_others() -> None:
    small, large = (proxies.files(environment(count, **TEXTS)) for count in (1, 9))
    assert small == large != proxies.files(environment(1, **{**TEXTS, "node_cidr": "10.3.0.0/16"}))


@pytest.mark.parametrize(("texts", "host", "without"), [
    ({"registry": "10.9.0.5:5000/k8s"}, "10.9.0.5", True),
    ({"registry": "http://registry:5000"}, "registry", True),
    ({"registry": "harbor.lan"}, "harbor.lan", True),
    ({"registry": "harbor.example.com"}, "harbor.example.com", False),
    ({"registry": "harbor.example.com", "no_proxy": ".example.com"}, "harbor.example.com", True),
    ({"registry_mirrors": "ghcr.io=10.9.0.6:5000/x"}, "10.9.0.6", True),
    ({"packages_url": "http://10.9.0.7/k8s"}, "10.9.0.7", True),
    ({}, "pkgs.k8s.io", False),
])  # fmt: skip
def test_what_is_surely_inside_is_reached_without_the_proxy(texts: dict[str, str], host: str, without: bool) -> None:
    assert bypassed(host, proxies.no_proxy(environment(1, proxy=URL, **texts))) is without


@pytest.mark.parametrize(("host", "entry", "match"), [
    ("a.example", "a.example", True), ("x.a.example", "a.example", True), ("xa.example", "a.example", False), ("a.example", ".a.example", False),
    ("x.a.example", ".a.example", True), ("x.a.example", "*.a.example", True), ("A.Example.", "a.example", True), ("10.2.3.4", "10.2.0.0/16", True),
    ("10.3.3.4", "10.2.0.0/16", False), ("10.2.0.5", "10.2.0.5:5000", True), ("a.b", "*", True), ("a.b", "10.0.0.0/8", False), ("[fd00::5]", "fd00::/8", True),
    ("10.2.0.5", "nonsense/99", False),
])  # fmt: skip
def test_an_entry_is_matched_as_go_does(host: str, entry: str, match: bool) -> None:
    assert bypassed(host, [entry]) is match


# --- the files


def files(env: Environment, facts: NodeFacts) -> dict[str, File]:
    packages = family(facts)
    assert packages
    made = (*proxies.files(env), *packages.proxy_files(facts, recipe_for(env)))
    return {file.path: file for file in made}


def rocky(facts: NodeFacts) -> NodeFacts:
    return replace(facts, os_id="rocky", os_like=("rhel",), os_version="9.6", os_codename="")


def test_the_files_of_a_node(golden: Callable[[str, str], None]) -> None:
    env = environment(1, **{**TEXTS, "packages_url": "http://10.9.0.7/k8s"})
    el = rocky(fresh("w1"))
    repositories = having(el, family(el).repository_files(el, recipe_for(env)))  # type: ignore[union-attr]
    found = {**files(env, fresh("w1")), **files(env, repositories)}
    golden("proxy.txt", "".join(f"=== {path} {file.mode}\n{file.content}" for path, file in sorted(found.items())))
    assert all(file.secret and file.mode == "0600" for file in found.values() if SECRET in file.content)
    assert SECRET not in found[proxies.DROP_IN].content, "`systemctl cat` shows it to everybody"


LOGINS = st.from_regex(r"[A-Za-z0-9._~%+-]{1,8}(:[A-Za-z0-9._~%+-]{6,12})?@|", fullmatch=True)


@examples(max_examples=15, deadline=None)
@given(LOGINS, st.lists(st.sampled_from([".corp", "*.x.y", "10.0.0.0/8", "h:80", "fd00::/8", "[::1]"]), max_size=4))
def test_the_variables_mean_the_same_to_a_shell_and_to_systemd(
    tmp_path_factory: pytest.TempPathFactory, login: str, more: list[str]
) -> None:
    env = environment(1, proxy=f"http://{login}p.example:3128", no_proxy=",".join(more))
    text = proxies.files(env)[0].content
    path = tmp_path_factory.mktemp("proxy") / "env"
    path.write_text(text)
    done = subprocess.run(
        ["bash", "-c", 'set -a; . "$0"; env', str(path)], capture_output=True, text=True, check=True, env={}, cwd="/etc"
    )
    seen = dict(line.split("=", 1) for line in done.stdout.splitlines())
    # systemd.exec(5): KEY=VALUE lines, quotes and backslashes would be read
    assert not re.search(r"[\"'\\$`\s;]", "".join(line.partition("=")[2] for line in text.splitlines()[1:]))
    for name in ("http_proxy", "https_proxy"):
        assert seen[name] == seen[name.upper()] == f"http://{login}p.example:3128"
    assert seen["no_proxy"] == seen["NO_PROXY"] == ",".join(proxies.no_proxy(env))


@pytest.mark.skipif(not shutil.which("apt-config"), reason="needs apt")
def test_apt_itself_reads_our_configuration(tmp_path: Path) -> None:
    env = environment(
        1,
        **{
            **TEXTS,
            "no_proxy": "mirror.corp.example:8080 .lan 10.7.0.0/16 fd00::7",
            "packages_url": "http://10.2.0.7/k8s",
        },
    )
    (tmp_path / "conf").write_text(proxies.apt(env)[0].content)
    said = subprocess.run(
        ["apt-config", "dump"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "APT_CONFIG": str(tmp_path / "conf")},
    ).stdout
    for scheme in ("http", "https"):
        assert f'Acquire::{scheme}::Proxy "{URL}";' in said
        assert all(
            f'Acquire::{scheme}::Proxy::{host} "DIRECT";' in said
            for host in ("10.2.0.5", "10.2.0.7", "mirror.corp.example", "127.0.0.1")
        )


# --- on a node


def done(env: Environment, facts: NodeFacts) -> NodeFacts:
    """The facts after the proxy's steps."""
    steps = proxy_steps(env, facts)
    written = [file for step in steps for file in step.files]
    return replace(having(facts, written), kept={**facts.kept, **{f.path: "ours" for f in written if f.keep}})


def proxy_steps(env: Environment, facts: NodeFacts) -> list[Step]:
    return [
        a
        for a in EVERY["install"].run(context(env, facts, control=control_plane(env)))
        if isinstance(a, Step) and "prox" in a.id
    ]


@pytest.mark.parametrize("on", [lambda facts: facts, rocky], ids=["apt", "dnf"])
def test_a_proxy_is_set_changed_and_taken_back(on: Callable[[NodeFacts], NodeFacts]) -> None:
    env, other, none = (environment(1, **{**TEXTS, "proxy": url}) for url in (URL, "http://10.9.0.9:3128", ""))
    start = fresh("w1")
    assert ids(proxy_steps(none, on(start))) == []
    assert ids(EVERY["install"].run(context(env, on(start))))[1:3] == ["install.proxy", "install.proxied"], (
        "before anything is fetched"
    )
    assert proxy_steps(env, on(start))[0].commands == ("systemctl daemon-reload",), "there is no containerd yet"
    there = done(env, on(member(none)))
    assert ids(proxy_steps(env, there)) == []
    assert ids(EVERY["install"].run(context(env, there, control=control_plane(env)))) == []
    for facts, wanted in (
        (there, other),
        (on(member(none)), env),
        (replace(there, files={k: v for k, v in there.files.items() if k != proxies.PROOF}), env),
    ):
        changed = proxy_steps(wanted, facts)
        assert ids(changed) == ["install.proxy", "install.proxied"], "the last: cut off before containerd was restarted"
        assert changed[0].commands == (
            "systemctl daemon-reload",
            "systemctl restart containerd",
            "crictl info >/dev/null",
        )
        assert ids(proxy_steps(wanted, done(wanted, facts))) == []
    (off,) = proxy_steps(none, there)
    assert off.id == "install.proxy-off" and off.commands[-1] == f"rm -f {proxies.PROOF}", (
        "a run that is cut off does it again"
    )
    assert off.commands.index("systemctl restart containerd") < len(off.commands) - 1
    assert SECRET not in "".join(
        line for step in (*proxy_steps(env, on(start)), off) for line in (step.title, *step.commands)
    )
    assert all("proxy=" not in file.content for file in off.files)


FETCHING = r"\bapt-get\b.* (install|update)\b|\bdnf\b.* (install|makecache)\b|\bcurl\b(?!.*--noproxy)|command -v \$t"


def test_only_steps_that_fetch_have_a_proxy_and_api_traffic_has_none(tmp_path: Path) -> None:
    """In real bash: variables that sudo or PAM left do not reach kubeadm; ours reach apt and curl."""
    inherited = {
        "PATH": os.environ["PATH"],
        "https_proxy": "http://old:1",
        "HTTP_PROXY": "http://old:2",
        "no_proxy": "old",
    }
    (tmp_path / "proxy.env").write_text(proxies.files(environment(1, **TEXTS))[0].content)

    def seen(fetches: bool, ours: bool) -> dict[str, str]:
        path = tmp_path / ("proxy.env" if ours else "none")
        text = (
            script.render("a.b", ("env",), lock=False, fetches=fetches)
            .replace(script.PROXY_FILE, str(path))
            .replace("/run/", f"{tmp_path}/")
        )
        (tmp_path / "script").write_text(text)
        done = subprocess.run(
            ["bash", str(tmp_path / "script")], capture_output=True, text=True, env=inherited, check=True
        )
        return {
            k: v
            for k, _, v in (line.partition("=") for line in done.stdout.splitlines())
            if k.lower().endswith("_proxy")
        }

    assert seen(fetches=False, ours=True) == seen(fetches=False, ours=False) == {}
    assert seen(fetches=True, ours=False) == {k: v for k, v in inherited.items() if k != "PATH"}, (
        "as the machine has it"
    )
    mine = seen(fetches=True, ours=True)
    assert {mine[name] for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY")} == {URL}
    env = environment(1, **TEXTS)
    for phase in EVERY.values():
        for facts in (fresh("cp1"), fresh("w1"), rocky(fresh("w1")), installed(env, "cp1"), installed(env, "w1")):
            ctx = context(env, facts, control=control_plane(env))
            for action in phase.run(ctx) if ctx.node.role in phase.roles else ():
                if not isinstance(action, Step):
                    continue
                api = [line for line in action.commands if re.match(r"kube(adm|ctl) ", line)]
                outside = [line for line in action.commands if re.search(FETCHING, line)]
                assert not (action.fetches and api) and action.fetches == bool(outside), action.id


def test_reset_gives_back_what_was_there_and_purge_takes_apts_file() -> None:
    env = environment(1, **TEXTS)
    assert all(file.keep for file in proxies.files(env)), "given back with every file that is kept"
    assert {*proxies.KEPT, proxies.APT, proxies.PROOF} <= set(managed_files(env))
    packages = family(fresh("w1"))
    assert packages and any(proxies.APT in line for line in packages.purge(installed(env))[0].commands)


def test_the_login_is_masked_however_it_is_printed() -> None:
    proxy("http://me:p%40ssw%C3%B6rd@p.example:3128")
    for text in ("p%40ssw%C3%B6rd", "p@sswörd", "http://me:p%40ssw%C3%B6rd@p.example:3128"):
        assert text not in mask(f"x {text} y")
    assert str(environment(1, **TEXTS).settings.proxy) == "http://proxy.example:3128"
    with pytest.raises(ValueError) as caught:
        KEYS["PROXY"].metadata["parse"]("http://me:pl4nted$(word)@p.example:3128")
    assert "pl4nted" not in str(caught.value)


@pytest.mark.parametrize(("url", "said"), [(URL, True), ("http://proxy.example:3128", False)])
def test_only_a_proxy_with_a_login_is_a_secret_that_others_can_read(tmp_path: Path, url: str, said: bool) -> None:
    (tmp_path / "hosts.env").write_text(f"A_CONTROL_PLANE=10.0.0.1\nA_PROXY={url}\n")
    (tmp_path / "hosts.env").chmod(0o644)
    remarks = load("a", variables={"KUBEFAB_HOSTS": str(tmp_path / "hosts.env")}).remarks
    assert any("holds PROXY" in remark for remark in remarks) is said and SECRET not in "".join(remarks)


def test_the_manuals_recipe_says_that_it_sets_no_proxy(tmp_path: Path) -> None:
    for release, said in (("1.5", True), ("1.36", False)):
        (tmp_path / "hosts.env").write_text(f"A_CONTROL_PLANE=10.0.0.1\nA_KUBERNETES={release}\nA_PROXY=http://p:1\n")
        remarks = load("a", variables={"KUBEFAB_HOSTS": str(tmp_path / "hosts.env")}).remarks
        assert any("PROXY is not set on the nodes" in remark for remark in remarks) is said


def test_what_the_manuals_recipe_leaves_out_is_not_said_of_a_release_that_the_command_line_names(
    tmp_path: Path,
) -> None:
    file = tmp_path / "hosts.env"
    file.write_text("A_CONTROL_PLANE=10.0.0.1\nA_KUBERNETES=1.5\nA_PROXY=http://p:1\n")
    for release, said in (("", True), ("1.37", False)):
        remarks = described(Options(env="a", hosts_file=str(file), kubernetes=release)).remarks
        assert any("PROXY is not set on the nodes" in remark for remark in remarks) is said


def test_a_release_of_the_command_line_says_what_it_leaves_out(tmp_path: Path) -> None:
    """As one that hosts.env names is refused with labels=: here it is said in a line, once."""
    (tmp_path / "addons").mkdir()
    (tmp_path / "addons" / "10-x.yaml").write_text("{apiVersion: v1, kind: ConfigMap, metadata: {name: x}}")
    file = tmp_path / "hosts.env"
    file.write_text(
        "A_CONTROL_PLANE=10.0.0.1\nA_WORKER_1='10.0.0.2 labels=disk=ssd'\nA_WORKER_2='10.0.0.3 taints=a=b:NoSchedule'\nA_PROXY=http://p:1\n"
    )
    for release, said in (("", 0), ("1.37", 0), ("1.5", 3)):
        remarks = described(Options(env="a", hosts_file=str(file), kubernetes=release)).remarks
        found = [one for one in remarks if "for today's releases, not for 1.5" in one]
        assert len(found) == said and len(set(remarks)) == len(remarks)
        assert not said or any(
            "labels= and taints= of w1 and w2 are not set" in one or "of w1, w2 are not set" in one for one in found
        ), found


# --- proxies that are not ours

UNIT, KUBELET, PEOPLE, SUDO = (
    "/etc/systemd/system/containerd.service.d/http-proxy.conf",
    "/etc/systemd/system/kubelet.service.d/20-proxy.conf",
    "/etc/environment",
    "/etc/sudoers.d/proxy",
)


def test_what_files_set_is_parsed_and_bounded() -> None:
    lines = [
        f'{UNIT}:Environment="HTTPS_PROXY=http://10.0.0.9:3128" "NO_PROXY=a.example,10.0.0.0/8"',
        f"{UNIT}:# Environment=HTTP_PROXY=http://old:1",
        f"{PEOPLE}:https_proxy='http://10.0.0.9:3128'",
        f"{PEOPLE}:no_proxy=$(reboot)",
        f'{SUDO}:Defaults env_keep += "http_proxy HTTPS_PROXY"',
        f"{KUBELET}:Environment=http_proxy=me:word@10.0.0.9:3128",
        "nonsense",
    ]
    assert parse_proxies(lines) == (
        SetProxy(UNIT, "HTTPS_PROXY", "http://10.0.0.9:3128"),
        SetProxy(UNIT, "NO_PROXY", "a.example,10.0.0.0/8"),
        SetProxy(PEOPLE, "HTTPS_PROXY", "http://10.0.0.9:3128"),
        SetProxy(PEOPLE, "NO_PROXY", ""),
        SetProxy(SUDO, "HTTP_PROXY", ""),
        SetProxy(SUDO, "HTTPS_PROXY", ""),
        SetProxy(KUBELET, "HTTP_PROXY", "?"),
    )


def sets(path: str, without: str = "", name: str = "HTTPS_PROXY") -> tuple[SetProxy, ...]:
    own = SetProxy(path, name, "http://192.0.2.1:3128")  # type: ignore[arg-type]
    return (own, SetProxy(path, "NO_PROXY", without)) if without else (own,)


ALL = "localhost,127.0.0.1,::1,10.44.0.0/16,10.96.0.0/12,.svc,.cluster.local,10.2.0.1,10.2.0.11,10.9.0.5"


@pytest.mark.parametrize(("found", "texts", "stops", "line"), [
    (sets(UNIT), {"registry": "10.9.0.5:5000"}, True, f'add to {UNIT} the line Environment="NO_PROXY={ALL}", then `systemctl daemon-reload`'),
    (sets(UNIT, "a.b,10.0.0.0/8"), {"registry": "10.9.0.5:5000"}, False, ""),
    (sets(UNIT, "a.b,10.2.0.0/16"), {"registry": "10.9.0.5:5000"}, True, "NO_PROXY=a.b,10.2.0.0/16,localhost,"),
    ((*sets(UNIT), SetProxy(UNIT.replace("http", "no"), "NO_PROXY", "10.9.0.5")), {"registry": "10.9.0.5:5000"}, False, ""),
    (sets(UNIT), {"registry": "10.9.0.5:5000", "proxy": URL}, False, ""),
    (sets(UNIT), {}, False, ""),
    (sets(UNIT), {"registry": "ghcr.io/us"}, False, ""),
    (sets(KUBELET), {}, True, f"add to {KUBELET} the line Environment="),
    (sets("/etc/systemd/system.conf.d/p.conf"), {}, True, 'the line DefaultEnvironment="NO_PROXY='),
    (sets("/etc/default/kubelet"), {}, True, 'add to /etc/default/kubelet the line NO_PROXY="'),
    (sets(PEOPLE), {}, False, 'add to /etc/environment the line no_proxy="'),
    (sets(PEOPLE, "10.2.0.0/24"), {}, False, ""),
    ((SetProxy(SUDO, "HTTPS_PROXY"),), {}, False, f'add to {SUDO} the line Defaults env_keep += "no_proxy NO_PROXY"'),
    ((SetProxy(SUDO, "HTTPS_PROXY"), SetProxy(SUDO, "NO_PROXY")), {}, False, ""),
])  # fmt: skip
def test_a_proxy_that_lacks_the_clusters_hosts_is_named_with_the_line_to_add(
    found: tuple[SetProxy, ...], texts: dict[str, str], stops: bool, line: str
) -> None:
    env = environment(1, **texts)
    facts = fresh("w1", proxies=found)
    stopped = [a for a in EVERY["prep"].run(context(env, facts)) if isinstance(a, Stop)]
    assert [a.id for a in stopped] == ["prep.proxy"] * stops
    assert all(line in a.remedy and found[0].path in a.reason for a in stopped)
    # the doctor says what prep does not stop for; in a cluster, everything
    for node, silent in ((facts, stops), (member(env, proxies=found), False)):
        patient = Patient(env.workers[0], node)
        said = [f for f in machine(Chart(env, (patient,)), patient) if f.code == "KF-NET-PROXY"]
        assert len(said) == (bool(line) and not silent)
        running = " && systemctl restart containerd" * (node is not facts)  # what does not run cannot be restarted
        assert all(line.replace("daemon-reload`", f"daemon-reload{running}`") in f.remedy for f in said)
