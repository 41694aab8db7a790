"""`inv cluster.completion`, and what its scripts ask for: environments, nodes, phases, releases, faults, where they may be typed.

Invoke completes names of tasks and options, and no values (invoke/completion/complete.py).  The scripts run `inv --complete -- <words>`,
which loads our table of contents; this answers before Invoke does.  Invoke's own scripts (`--print-completion-script`) do so too, but
its fish script knows no `inv`, and its zsh script gets no words before compinit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

from ..errors import UsageError
from .common import Options, command, print_json

ENVIRONMENT = ("--env", "-e")
HOSTS_FILE = ("--hosts-file",)
NODES = ("--on", "-o", "--limit", "-l", "--hosts", "-H", "--force-drain", "--foreign", "--node")  # several, with commas
FAULT = "--fault"
FILES = (*HOSTS_FILE, "--out", "--file", "--html")  # the shell itself completes paths
TAKE_A_NODE = ("cluster.shell", "cluster.logs")
UPGRADES = {"cluster.upgrade", "cluster.releases"}
GROUPS = ("all", "master", "workers", "slaves")

Names = Callable[[], Iterable[str]]


def answer(argv: Sequence[str], faults: Names = tuple) -> None:
    """Print the values that may be typed where the cursor is, then end the process; return where Invoke is to answer.

    `argv` is the process's own, like `inv --complete -- inv cluster.status --env a`; `faults` gives the names of the rehearsal's.
    The scripts leave out an empty last word, so a whole name may be one that is still typed, or done: both answer then.
    """
    if "--complete" not in argv or "--" not in argv:
        return
    words = argv[argv.index("--") + 1 :]
    if not {*words[-2:]}.isdisjoint(FILES):
        raise SystemExit
    found = values(words, faults)
    print("".join(f"{value}\n" for value in found), end="")
    if found and words[-1] not in found:
        raise SystemExit


def values(words: Sequence[str], faults: Names = tuple) -> list[str]:
    """What the last of a command line's words may become, if it is the value of an option, or the node of a command that takes one."""
    *before, word = [word for word in words if word != "="] or [""]  # bash makes three words of --env=a
    begin = ""
    if word in (*ENVIRONMENT, *NODES, *_CHOICES, FAULT, *TAKE_A_NODE):
        before, word = [*before, word], ""
    elif word.startswith("--") and "=" in word:
        option, _, word = word.partition("=")
        before, begin = [*before, option], f"{option}="
    option = before[-1] if before else ""
    in_task = any(not earlier.startswith("-") for earlier in before[1:-1])  # -e, -l before it are Invoke's own
    if option.startswith("-") and len(option) == 2 and option != "-H" and not in_task:
        return []
    if option in ENVIRONMENT:
        return [f"{begin}{name}" for name in _environments(before) if name.startswith(word)]
    if option in NODES:
        others, comma, last = word.rpartition(",")
        return [f"{begin}{others}{comma}{name}" for name in _nodes(before) if name.startswith(last)]
    if option in TAKE_A_NODE:
        return [name for name in _nodes(before) if name not in GROUPS and name.startswith(word)]
    if option == "--to" and not UPGRADES & {*before}:  # a backup's is a folder
        return []
    if option in _CHOICES:
        return [f"{begin}{name}" for name in _CHOICES[option]() if name.startswith(word)]
    return _faults(before, word, begin, faults)


def _faults(before: Sequence[str], word: str, begin: str, faults: Names) -> list[str]:
    """Values of --fault NODE:FAULT; bash makes three words of a value with a colon, and completes the last of them."""
    if before[-1:] == [FAULT]:
        place, colon, name = word.partition(":")
        if not colon:
            return [f"{begin}{node}:" for node in _nodes(before) if node.startswith(place)]
        return [f"{begin}{place}:{fault}" for fault in faults() if fault.startswith(name)]
    if before[-2:-1] == [FAULT] and word == ":":
        return sorted(faults())
    if before[-3:-2] == [FAULT] and before[-1] == ":":
        return [fault for fault in faults() if fault.startswith(word)]
    return []


def _phases() -> Iterable[str]:
    from ..phases import BOOTSTRAP

    return [phase.name for phase in BOOTSTRAP]


def _every_phase() -> Iterable[str]:
    from ..phases import EVERY

    return EVERY


def _releases() -> Iterable[str]:
    from ..recipes.kubeadm import RELEASES

    return [*RELEASES, "1.5"]


_CHOICES: dict[str, Names] = {
    "--from": _phases,
    "--phase": _every_phase,
    "--kubernetes": _releases,
    "--recipe": _releases,
    "--to": lambda: [name for name in _releases() if name != "1.5"],
    "--containerd": lambda: ("keep", "next", "patch"),
    "--unit": lambda: ("kubelet", "containerd", "docker", "ssh"),
}


@command("json", positional=("shell",), help={"shell": "bash, zsh or fish"})
def completion(*, shell: str, options: Options) -> None:
    """The script for Tab in bash, zsh or fish."""
    if shell not in SCRIPTS:
        from ..text.nearest import did_you_mean

        raise UsageError(f"no completion for {shell}", f"{did_you_mean(shell, SCRIPTS)}one of {', '.join(SCRIPTS)}")
    if options.json:
        print_json({"shell": shell, "script": SCRIPTS[shell]})
    else:
        print(SCRIPTS[shell], end="")


SCRIPTS = {
    "bash": """\
_kubefab() {
  COMPREPLY=($(compgen -W "$("$1" --complete -- "${COMP_WORDS[@]:0:COMP_CWORD+1}" 2>/dev/null)" -- "${2#:}"))
}
complete -o default -F _kubefab fab invoke inv
""",
    "zsh": """\
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit -u -D; }
_kubefab() {
  local -a found
  found=(${(f)"$($words[1] --complete -- ${words[1,CURRENT]} 2>/dev/null)"})
  (( $#found )) && compadd -a found || _files
}
compdef _kubefab fab invoke inv
""",
    "fish": """\
function __kubefab
  set -l words (commandline --tokenize --cut-at-cursor)
  set -l found ($words[1] --complete -- $words (commandline --current-token --cut-at-cursor) 2>/dev/null)
  if set -q found[1]
    printf '%s\\n' $found
  else
    __fish_complete_path (commandline --current-token)
  end
end
for program in fab invoke inv
  complete --command $program --no-files --arguments '(__kubefab)'
end
""",
}


def _value(words: Sequence[str], options: Sequence[str]) -> str:
    """The value of the last of these options in the words; empty without one."""
    parts = [part for word in words for part in (word.split("=", 1) if word.startswith("--") else [word])]
    return next((value for option, value in reversed([*pairwise(parts)]) if option in options), "")


def _environments(words: Sequence[str]) -> Iterable[str]:
    """The environments of the hosts.env that the words name, or that is found; none of one that cannot be read."""
    from .. import inventory

    try:
        return inventory.names(_value(words, HOSTS_FILE))
    except (UsageError, OSError):
        return ()


def _nodes(words: Sequence[str]) -> Iterable[str]:
    """The groups and nodes of the environment that the words name; none of one that cannot be read."""
    from .. import inventory

    try:
        environment = inventory.load(_value(words, ENVIRONMENT) or None, hosts_file=_value(words, HOSTS_FILE))
    except (UsageError, OSError):
        return ()
    return (*GROUPS, *(node.name for node in environment.nodes))
