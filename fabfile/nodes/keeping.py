"""What was on a node before us, and how it is restored: one mechanism for every file that we overwrite.

On the node, under `/var/lib/kubefab/kept`, by the file's own path: `was/…` is the file that was there, `none/…` says that there was none,
`stock/…` is what a package (or a person) put there since, and `ours/…` contains the SHA-256 of everything that we wrote. The first look
decides; a file is restored only over content that is ours by its hash. A copy is complete and on the disk before its file is
written over, and each line here can be cut off and run again. (fstab and SELinux's file are edited in place, a line that can be turned back.)
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from shlex import quote
from typing import Literal, cast, get_args

STATE = "/var/lib/kubefab"  # on the node: what was found there, so that reset can put it back
KEPT = f"{STATE}/kept"
INDEX, FOLDERS = f"{KEPT}/index", f"{KEPT}/folders"
# What was installed before us, beside the folder above: our packages stay after a reset without --purge, and this with them.
NOTE = f"{STATE}-packages"
HEAD = "# Written by kubefab; changes here are overwritten."  # the first line of files by which an earlier kubefab's are known
# Files of packages that we install: looked at before that, or the package's own file would pass for what was there before.
CONTAINERD_CONFIG = "/etc/containerd/config.toml"
PACKAGED = (CONTAINERD_CONFIG, "/etc/crictl.yaml", "/etc/default/kubelet", "/etc/sysconfig/kubelet")
# A file that we wrote: with our content; as it was before us or in its package; edited by a person; missing.
KeptState = Literal["ours", "back", "changed", "gone"]
_SAFE = re.compile(r"(/[\w.:@+\[\]-]+)+")


def _place(kind: str, path: str) -> str:
    return quote(f"{KEPT}/{kind}{path}")


def _copy(path: str, kind: str) -> str:
    """Copy a file as it is (a link as a link, with mode, owner and labels), whole or not at all."""
    part = _place(kind, f"{path}.part")
    # no `&&`: a copy that fails has to end the script
    return (
        f"cp -a --remove-destination -- {quote(path)} {part}; sync {part} || true; mv -f -- {part} {_place(kind, path)}"
    )


def _folder(path: str) -> str:
    return path.rsplit("/", 1)[0]


def _ours_by_head(path: str) -> str:
    return f"{{ head -n 1 {quote(path)} 2>/dev/null | grep -qxF '{HEAD}'; }}"


@lru_cache(1024)
def look(path: str) -> str:
    """The shell line that keeps what is at `path`, if that was not decided before. Raises ValueError for a path that is not plain."""
    if not _SAFE.fullmatch(path):
        raise ValueError(f"{path!r} is not a plain path")
    kinds = " ".join(quote(f"{KEPT}/{kind}{_folder(path)}") for kind in ("was", "none", "stock", "ours"))
    above = [_folder(path)]
    while _folder(above[-1]):
        above.append(_folder(above[-1]))
    folders = "".join(f"[ -d {quote(one)} ] || echo {quote(one)} >>{FOLDERS}; " for one in above[:-1])
    there = f"{{ [ -e {quote(path)} ] || [ -L {quote(path)} ]; }}"
    decided = f"{{ [ -e {_place('was', path)} ] || [ -L {_place('was', path)} ] || [ -e {_place('none', path)} ]; }}"
    return (
        f"install -d -m 0700 {STATE} {KEPT}; if ! {decided}; then mkdir -p {kinds}; {folders}"
        f"grep -qxF {quote(path)} {INDEX} 2>/dev/null || echo {quote(path)} >>{INDEX}; "
        f"if {there} && ! {_ours_by_head(path)} && ! grep -qxF {quote(f'none {path}')} {NOTE} 2>/dev/null; then {_copy(path, 'was')}; "
        f"else touch {_place('none', path)}; fi; fi"
    )


def before_writing(path: str, sha256: str) -> str:
    """The shell line that makes it safe to write content of that hash to `path`: it keeps what is there, and notes the content as ours.

    A person's edits of our file are kept too: if there is an original, the edited file is saved as `….kubefab-edited`; otherwise reset
    restores the edited file.
    """
    path_, ours, was = quote(path), _place("ours", path), _place("was", path)
    known = f"grep -qxF \"$(sha256sum {path_} | cut -d' ' -f1)\" {ours} 2>/dev/null"
    return (
        f"{look(path)}; if [ -f {path_} ] && ! {known} && ! cmp -s {was} {path_}; then "
        f"if [ -e {_place('none', path)} ]; then if [ -e {ours} ] || ! {_ours_by_head(path)}; then {_copy(path, 'stock')}; fi; "
        f"elif [ -e {ours} ]; then cp -a --remove-destination -- {path_} {quote(path + '.kubefab-edited')}; fi; fi; "
        f"grep -qxF {sha256} {ours} 2>/dev/null || echo {sha256} >>{ours}"
    )


# Over the paths on standard input: each gets back what was there, unless what is there now is not ours. A file that we only looked at,
# because its package may take it away, is given back where it is missing.
_GIVE_BACK = (
    f'while read -r p; do k={KEPT}; now=none; if [ -e "$p" ]; then now=$(sha256sum "$p" | cut -d\' \' -f1); fi; '
    'if [ "$now" != none ] && ! grep -qxF "$now" "$k/ours$p" 2>/dev/null; then '
    'if [ -e "$k/ours$p" ] && ! cmp -s "$k/was$p" "$p" && ! cmp -s "$k/stock$p" "$p"; then echo "$p was changed since: left as it is"; fi; '
    'elif [ -e "$k/was$p" ] || [ -L "$k/was$p" ]; then mkdir -p "$(dirname "$p")"; cp -a --remove-destination -- "$k/was$p" "$p.kubefab"; '
    'mv -f -- "$p.kubefab" "$p"; '
    'elif [ "$now" != none ] && [ -e "$k/stock$p" ]; then cp -a --remove-destination -- "$k/stock$p" "$p.kubefab"; mv -f -- "$p.kubefab" "$p"; '
    'else rm -f -- "$p"; fi; '
)
_EMPTY_FOLDERS = (
    f'if [ -e {FOLDERS} ]; then sort -r -u {FOLDERS} | while read -r d; do rmdir "$d" 2>/dev/null || true; done; fi'
)

# Everything as it was, and then that this is done; may be run again.
GIVE_BACK = (f"if [ -e {INDEX} ]; then {_GIVE_BACK}done <{INDEX}; fi", _EMPTY_FOLDERS, f"rm -f {INDEX}")


def give_back_others(folder: str, wanted: Iterable[str]) -> tuple[str, ...]:
    """Shell lines that give back what is under `folder` and not wanted any more, and forget it."""
    less = "".join(f" | grep -vxF {quote(path)}" for path in sorted(wanted))
    return _give_back(f"grep {quote(f'^{folder}/')} {INDEX}{less}")


def give_back(paths: Iterable[str]) -> tuple[str, ...]:
    """Shell lines that give back what was at these paths, and forget it."""
    return _give_back(f"grep -xF {' '.join(f'-e {quote(path)}' for path in paths)} {INDEX}")


def _give_back(select: str) -> tuple[str, ...]:
    """Shell lines that give back the paths that the shell line `select` prints, and forget them."""
    old = f"{KEPT}/old"
    forget = 'rm -rf -- "$k/was$p" "$k/none$p" "$k/stock$p" "$k/ours$p"; '
    return (
        f"{select} >{old} || true",
        f"{_GIVE_BACK}{forget}done <{old}",
        f'while read -r p; do grep -vxF "$p" {INDEX} >{INDEX}.part || true; mv -f {INDEX}.part {INDEX}; done <{old}; rm -f {old}',
        _EMPTY_FOLDERS,
    )


# For the observing script: the files that we wrote, as `kept`; and, with their digests in `digest`, how each is now.
LISTED = f'if [ -e {INDEX} ]; then while read -r f; do [ -e "{KEPT}/ours$f" ] && kept+=("$f"); done <{INDEX}; fi'
NOW = (
    f'k={KEPT}; for f in "${{kept[@]}}"; do s=changed; if [ ! -e "$f" ]; then s=gone; else mapfile -t lines <"$k/ours$f"; '
    'if [[ " ${lines[*]} " == *" ${digest[$f]:-none} "* ]]; then s=ours; '
    'elif cmp -s "$k/was$f" "$f" || cmp -s "$k/stock$f" "$f"; then s=back; fi; fi; echo "$s $f"; done'
)


def parse_kept(lines: Iterable[str]) -> dict[str, KeptState]:
    """`ours`, `back`, `changed` or `gone` by path, from what NOW printed; what has not that form is left out."""
    found: dict[str, KeptState] = {}
    for line in lines:
        state, _, path = line.partition(" ")
        if state in get_args(KeptState) and len(path) < 300 and _SAFE.fullmatch(path) and "/../" not in f"{path}/":
            found[path] = cast(KeptState, state)
    return found
