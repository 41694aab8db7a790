# Which lines of iptables-save belong to kube-proxy, flannel and our pod network (cbr0 is flannel's name of it, in 10-flannel.conflist).
# With `-v count=1` it prints how many, otherwise all other lines. It is sent as one line, in single quotes: no comments and no ' below.
# Quoted words are replaced first: a word in a comment is not a target. A jump to a chain is a rule's last two words.
# CNI- and hex digits is a chain of one pod; CNI-HOSTPORT-…, CNI-FORWARD and the like belong to all networks.

{
  line[NR] = $0;
  if ($0 ~ /^\*/) table++;
  within[NR] = table;
  text = $0;
  gsub(/"([^"\\]|\\.)*"/, "Q", text);
  n = split(text, word, " ");
  if (word[1] ~ /^:/) chain[NR] = substr(word[1], 2);
  if (word[1] == "-A") {
    chain[NR] = word[2];
    if (word[n - 1] == "-j" || word[n - 1] == "-g") target[NR] = word[n];
    named[NR] = ($0 ~ /--comment "(dnat |snat )?name: \\"cbr0\\" id: \\"/) && (chain[NR] ~ /^CNI-/ || target[NR] ~ /^CNI-/);
    if (named[NR] && chain[NR] ~ /^CNI-(DN-|SN-)?[0-9a-f]+$/) own[table, chain[NR]] = 1;
    if (named[NR] && target[NR] ~ /^CNI-(DN-|SN-)?[0-9a-f]+$/) own[table, target[NR]] = 1
  }
}
function ours(name, t) { return name ~ /^(KUBE-|FLANNEL-)/ || ((t, name) in own) }
END {
  for (i = 1; i <= NR; i++) {
    if (named[i] || ours(chain[i], within[i]) || ours(target[i], within[i])) found++;
    else if (!count) print line[i]
  }
  if (count) print found + 0
}
