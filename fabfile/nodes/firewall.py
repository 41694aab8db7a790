"""Which lines of a firewall belong to kube-proxy, flannel and our pod network: one awk program, for counting and for removing them.

Chains are recognised by their names, not by text: an administrator's comment may say KUBE-API. All users of CNI have `CNI-` chains (podman,
nerdctl too): of those chains, only rules whose comment names our network are ours, as the portmap and bridge plugins write it
(containernetworking/plugins, pkg/utils/iptables.go: FormatComment, FormatChainName).
"""

from __future__ import annotations

NETWORK = "cbr0"  # flannel's, in 10-flannel.conflist
_OWN_CHAIN = (
    "/^CNI-(DN-|SN-)?[0-9a-f]+$/"  # of one pod; CNI-HOSTPORT-…, CNI-FORWARD and the like belong to all networks
)

# Quoted words are replaced first: a word in a comment is not a target. A jump to a chain is a rule's last two words.
PROGRAM = " ".join(
    (
        r"{ line[NR] = $0; if ($0 ~ /^\*/) table++; within[NR] = table; text = $0;",
        r'gsub(/"([^"\\]|\\.)*"/, "Q", text); n = split(text, word, " ");',
        r'if (word[1] ~ /^:/) chain[NR] = substr(word[1], 2); if (word[1] == "-A") { chain[NR] = word[2];',
        r'if (word[n - 1] == "-j" || word[n - 1] == "-g") target[NR] = word[n];',
        rf'named[NR] = ($0 ~ /--comment "(dnat |snat )?name: \\"{NETWORK}\\" id: \\"/) && (chain[NR] ~ /^CNI-/ || target[NR] ~ /^CNI-/);',
        rf"if (named[NR] && chain[NR] ~ {_OWN_CHAIN}) own[table, chain[NR]] = 1;",
        rf"if (named[NR] && target[NR] ~ {_OWN_CHAIN}) own[table, target[NR]] = 1 }} }}",
        "function ours(name, t) { return name ~ /^(KUBE-|FLANNEL-)/ || ((t, name) in own) }",
        "END { for (i = 1; i <= NR; i++) { if (named[i] || ours(chain[i], within[i]) || ours(target[i], within[i])) found++;",
        "else if (!count) print line[i] } if (count) print found + 0 }",
    )
)

# How many of them a node has, both address families together.
COUNT = f"(iptables-save; ip6tables-save) 2>/dev/null | awk -v count=1 '{PROGRAM}'"


def without_ours(tool: str) -> str:
    """The shell line that removes them from `iptables` or `ip6tables`, in one atomic restore: the host's own rules stay in force throughout.

    A rule set without such rules is not changed.
    """
    return (
        f"if command -v {tool}-save >/dev/null; then f=$(mktemp); if {tool}-save >$f 2>/dev/null && awk '{PROGRAM}' $f >$f.less "
        f"&& ! cmp -s $f $f.less; then {tool}-restore -w <$f.less; fi; rm -f $f $f.less; fi"
    )
