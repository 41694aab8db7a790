"""Which lines of a firewall belong to kube-proxy, flannel and our pod network: one awk program, for counting and for removing them.

Chains are recognised by their names, not by text: an administrator's comment may say KUBE-API. All users of CNI have `CNI-` chains (podman,
nerdctl too): of those chains, only rules whose comment names our network are ours, as the portmap and bridge plugins write it
(containernetworking/plugins, pkg/utils/iptables.go: FormatComment, FormatChainName).
"""

from __future__ import annotations

from .script import program

NETWORK = "cbr0"  # flannel's, in 10-flannel.conflist; firewall.awk has it too
PROGRAM = " ".join(line.strip() for line in program(__file__, "firewall.awk").splitlines())

# How many of them are in what was saved, both address families together.
COUNT = f"awk -v count=1 '{PROGRAM}'"


def without_ours(tool: str) -> str:
    """The shell line that removes them from `iptables` or `ip6tables`, in one atomic restore: the host's own rules stay in force throughout.

    A rule set without such rules is not changed.
    """
    return (
        f"if command -v {tool}-save >/dev/null; then f=$(mktemp); if {tool}-save >$f 2>/dev/null && awk '{PROGRAM}' $f >$f.less "
        f"&& ! cmp -s $f $f.less; then {tool}-restore -w <$f.less; fi; rm -f $f $f.less; fi"
    )


# The shell line that deletes the tables of kube-proxy's and flannel's nftables modes.
WITHOUT_TABLES = (
    "nft list tables 2>/dev/null | grep -xE 'table (ip6? kube-proxy|ip flannel-ipv4|ip6 flannel-ipv6)' | "
    "while read -r _ t; do nft delete table $t || true; done || true"
)
