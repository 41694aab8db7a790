# `inv cluster.evidence`: one line `section name 'shell line'` for each section follows; read by evidence.parse.
# Variables come from evidence.script: `each` and `enough` in seconds, `limit` in KiB, `folder` for the output of one section.
# shellcheck shell=bash disable=SC2154

d=$(mktemp -d "$folder/kubefab-evidence.XXXXXX" 2>/dev/null || mktemp -d) || exit
trap 'rm -f -- "$d/o"; rmdir -- "$d"' EXIT
ulimit -f "$limit"
section() { # name, shell line
  echo "@@ $1"
  if [ $SECONDS -ge $enough ]; then echo "(skipped: the sections before it took $SECONDS s)"; return; fi
  # to a file: a program that outlives its time would hold our output open, and so the SSH channel;
  # KILL goes to the section's whole process group, also to what TERM does not move
  { timeout -s KILL $each bash -c "$2" </dev/null >"$d/o" 2>&1; } 2>/dev/null
  local code=$?
  cat "$d/o"
  case $code in 0) ;; 137) echo "(cut off after $each s)" ;; *) echo "(exit code $code)" ;; esac
}
