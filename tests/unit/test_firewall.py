"""Which firewall rules reset removes: the real awk program on iptables-save's output, compared with the same rule in Python."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabfile.nodes import firewall
from fabfile.nodes.observe import observe_script
from rehearsal.commands.network import cluster_lines


def less(text: str) -> str:
    """The rule set that awk leaves."""
    return subprocess.run(
        ["awk", firewall.PROGRAM], input=text.encode(), capture_output=True, check=True
    ).stdout.decode()


def count(text: str) -> int:
    return int(
        subprocess.run(
            ["awk", "-v", "count=1", firewall.PROGRAM], input=text, text=True, capture_output=True, check=True
        ).stdout
    )


OFFICE = '-A INPUT ! -s 198.51.100.0/24 -p tcp -m tcp --dport 6443 -m comment --comment "KUBE-API only from the office" -j DROP'
# Rules of others: an administrator's, podman's and nerdctl's.
THEIRS = [
    OFFICE,
    "-A INPUT -p tcp -m tcp --dport 6443 -m comment --comment KUBE-API -j DROP",
    r'-A INPUT -m comment --comment "see -j KUBE-SERVICES" -j ACCEPT',
    r'-A INPUT -m comment --comment "a \"quoted\" -j KUBE-FORWARD" -j LOG --log-prefix "FLANNEL-x "',
    r'-A INPUT -m comment --comment "only counted: -j KUBE-SERVICES"',
    "-A INPUT -m comment --comment -j -j DROP",
    ":ADMIN-KUBE-GUARD - [0:0]",
    "-A ADMIN-KUBE-GUARD -j RETURN",
    "-A INPUT -j ADMIN-KUBE-GUARD",
    ":CNI-FORWARD - [0:0]",
    '-A FORWARD -m comment --comment "CNI firewall plugin rules" -j CNI-FORWARD',
    "-A CNI-FORWARD -d 10.88.0.5/32 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
    ":CNI-HOSTPORT-DNAT - [0:0]",
    "-A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT",
    r'-A CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \"podman\" id: \"77\"" -m multiport --dports 8080 -j CNI-DN-77aa',
    ":CNI-DN-77aa - [0:0]",
    "-A CNI-DN-77aa -p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.88.0.5:80",
    r'-A POSTROUTING -s 10.88.0.5/32 -m comment --comment "name: \"podman\" id: \"77\"" -j CNI-99',
    r'-A INPUT -m comment --comment "name: \"cbr0\" id: \"1\"" -j ACCEPT',
    r'-A POSTROUTING -m comment --comment "not the name: \"cbr0\" id: \"1\"" -j CNI-99',
    r'-A POSTROUTING -m comment --comment "name: \"cbr00\" id: \"1\"" -j CNI-99',
]
OURS = [
    ":KUBE-SERVICES - [0:0]",
    '-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES',
    "-A KUBE-SERVICES -d 10.96.0.1/32 -p tcp -m tcp --dport 443 -j KUBE-SVC-NPX46M4PTMTKRN6Y",
    '-A KUBE-FIREWALL -m comment --comment "block" -j DROP',
    "-A ADMIN-KUBE-GUARD -g KUBE-SERVICES",
    ":FLANNEL-FWD - [0:0]",
    "-A FORWARD -j FLANNEL-FWD",
    r'-A CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \"cbr0\" id: \"4f\"" -m multiport --dports 80 -j CNI-DN-4faa',
    ":CNI-DN-4faa - [0:0]",
    "-A CNI-DN-4faa -s 10.44.1.0/24 -p tcp -m tcp --dport 80 -j CNI-HOSTPORT-SETMARK",
    r'-A POSTROUTING -s 10.44.1.2/32 -m comment --comment "name: \"cbr0\" id: \"4f\"" -j CNI-4f00',
    r'-A CNI-4f00 ! -d 224.0.0.0/4 -m comment --comment "name: \"cbr0\" id: \"4f\"" -j MASQUERADE',
    ":CNI-4f00 - [0:0]",
]
NAMES_A_CHAIN = {
    ":CNI-DN-4faa - [0:0]",
    "-A CNI-DN-4faa -s 10.44.1.0/24 -p tcp -m tcp --dport 80 -j CNI-HOSTPORT-SETMARK",
    ":CNI-4f00 - [0:0]",
}


@pytest.mark.parametrize("line", THEIRS)
def test_rules_of_others_stay(line: str) -> None:
    assert less(f"*filter\n{line}\nCOMMIT\n") == f"*filter\n{line}\nCOMMIT\n"


@pytest.mark.parametrize("line", OURS)
def test_the_clusters_rules_are_removed(line: str) -> None:
    """A chain of the portmap plugin does not contain a network's name: it is ours because of the rule that jumps to it."""
    table = "*nat\n" + "".join(f"{one}\n" for one in (OURS if line in NAMES_A_CHAIN else [line])) + "COMMIT\n"
    assert less(table) == "*nat\nCOMMIT\n"
    assert count(table) == table.count("\n") - 2


def test_chains_are_told_apart_by_table() -> None:
    theirs = "*filter\n:CNI-4f00 - [0:0]\n-A CNI-4f00 -j RETURN\nCOMMIT\n"
    assert less(f"*nat\n{OURS[10]}\nCOMMIT\n{theirs}") == f"*nat\nCOMMIT\n{theirs}"


TEXT = st.text(st.characters(blacklist_categories=["Cs", "Cc"], blacklist_characters="\u2028\u2029\x85"), max_size=12)


@st.composite
def comments(draw: st.DrawFn) -> str:
    """An administrator's rule with any comment, escaped as iptables-save does."""
    said = draw(st.sampled_from(["KUBE-SERVICES", "-j FLANNEL-FWD", 'name: "cbr0" id: "1"', "CNI-4f00", ""])) + draw(
        TEXT
    )
    escaped = said.replace("\\", "\\\\").replace('"', '\\"')
    return f'-A INPUT -m comment --comment "{escaped}" -j {draw(st.sampled_from(["DROP", "ACCEPT", "MY-KUBE-CHAIN"]))}'


FOREIGN = st.lists(st.one_of(st.sampled_from(THEIRS), comments()), max_size=12)


@settings(max_examples=40, deadline=None)
@given(FOREIGN, st.lists(st.sampled_from(OURS), max_size=8, unique=True), st.randoms(use_true_random=False))
def test_from_any_mix_exactly_our_rules_are_removed(
    foreign: list[str], cluster: list[str], chance: random.Random
) -> None:
    ours = [*cluster, OURS[7], OURS[10]] if set(cluster) & NAMES_A_CHAIN else cluster
    mixed = [*((line, False) for line in foreign), *((line, True) for line in ours)]
    chance.shuffle(mixed)
    text = "# Generated by iptables-save\n*nat\n" + "".join(f"{line}\n" for line, _ in mixed) + "COMMIT\n"
    left = (
        "# Generated by iptables-save\n*nat\n" + "".join(f"{line}\n" for line, mine in mixed if not mine) + "COMMIT\n"
    )
    assert less(text) == left
    assert count(text) == len(ours)
    assert cluster_lines(text)[2:-1] == [mine for _, mine in mixed], "the rehearsal's model agrees"


@settings(max_examples=30, deadline=None)
@given(FOREIGN)
def test_a_rule_set_without_the_clusters_chains_comes_back_byte_for_byte(foreign: list[str]) -> None:
    text = "*filter\n" + "".join(f"{line}\n" for line in foreign) + "COMMIT\n# Completed\n"
    assert (less(text), count(text)) == (text, 0)


def test_the_count_equals_the_number_of_removed_rules() -> None:
    assert firewall.PROGRAM in observe_script(control_plane=False, files=())
    line = firewall.without_ours("ip6tables")
    assert firewall.PROGRAM in line
    assert "ip6tables-restore -w" in line
    assert " -F" not in line
    assert "'" not in firewall.PROGRAM, "it is quoted in the shell"


def test_the_whole_command_line_runs_in_bash(tmp_path: Path) -> None:
    """With stand-ins for iptables: the administrator's rules are restored, and a rule set without our rules is not written at all."""
    folder, saved, restored = tmp_path, tmp_path / "saved", tmp_path / "restored"
    for name, text in {
        "iptables-save": f"cat {saved}",
        "iptables-restore": f'[ "$1" = -w ] && cat >{restored}',
    }.items():
        (folder / name).write_text(f"#!/bin/bash\n{text}\n")
        (folder / name).chmod(0o755)

    def run() -> str:
        restored.unlink(missing_ok=True)
        subprocess.run(
            ["bash", "-eo", "pipefail", "-c", firewall.without_ours("iptables")],
            env={"PATH": f"{folder}:/usr/bin:/bin"},
            check=True,
        )
        return restored.read_text() if restored.exists() else "not touched"

    saved.write_text(f"*filter\n{OFFICE}\n-A FORWARD -j KUBE-FORWARD\nCOMMIT\n")
    assert run() == f"*filter\n{OFFICE}\nCOMMIT\n"
    saved.write_text(f"*filter\n{OFFICE}\nCOMMIT\n")
    assert run() == "not touched"


TABLES = ["ip kube-proxy", "ip6 kube-proxy", "ip flannel-ipv4", "ip6 flannel-ipv6"]
FOREIGN_TABLES = [
    "inet kube-proxy",
    "ip kube-proxy2",
    "ip my-kube-proxy",
    "ip6 flannel-ipv4",
    "inet filter",
    "ip nat",
    "arp flannel-ipv6",
]


@settings(max_examples=10, deadline=None)
@given(st.lists(st.sampled_from(TABLES + FOREIGN_TABLES), unique=True))
def test_only_the_tables_of_kube_proxy_and_flannel_are_deleted(
    tmp_path_factory: pytest.TempPathFactory, tables: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("nft")
    (folder / "tables").write_text("".join(f"table {name}\n" for name in tables))
    (folder / "nft").write_text(
        f"""#!/bin/sh\ncase "$1" in list) cat {folder}/tables ;; delete) shift 2; echo "$*" >>{folder}/deleted; exit 1 ;; esac\n"""
    )
    (folder / "nft").chmod(0o755)
    command = ["bash", "-eo", "pipefail", "-c", firewall.WITHOUT_TABLES]
    subprocess.run(command, env={"PATH": f"{folder}:/usr/bin:/bin"}, check=True)
    deleted = (folder / "deleted").read_text().splitlines() if (folder / "deleted").exists() else []
    assert deleted == [name for name in tables if name in TABLES]


def test_without_nft_there_is_no_table_to_delete(tmp_path: Path) -> None:
    for name in ("grep", "bash"):
        (tmp_path / name).symlink_to(f"/usr/bin/{name}")
    subprocess.run(
        ["/usr/bin/bash", "-eo", "pipefail", "-c", firewall.WITHOUT_TABLES], env={"PATH": str(tmp_path)}, check=True
    )
