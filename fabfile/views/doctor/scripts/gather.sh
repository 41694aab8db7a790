# Third round of the tests between nodes: what arrived; then the listeners end. Read by between_nodes.parse_gather.
# shellcheck shell=bash disable=SC2154

cat "$folder/log" 2>/dev/null
p=$(cat "$folder/pid" 2>/dev/null) && kill -TERM "-$p" 2>/dev/null
for _ in $(seq 40); do [ -d "$folder" ] || break; sleep 0.05; done
rm -rf -- "$folder"
echo "@@ end"
