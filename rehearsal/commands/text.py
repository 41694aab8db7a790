"""Programs that transform text, and the shell's own tests."""

from __future__ import annotations

import re
import secrets
import shlex
import time

from fabfile.nodes import firewall

from ..bash import Call, Unmodelled
from ..machine import LOCKER, Machine
from . import dispatch, network, program, unmodelled


@program("true", ":", "wait", "umask", "set", "trap", "sync")
def nothing(machine: Machine, call: Call) -> int:
    return 0


@program("cd")
def cd(machine: Machine, call: Call) -> int:
    target = call.argv[1] if len(call.argv) > 1 else "/root"
    if not machine.host.is_folder(target) and target != "/":
        return call.fail(f"bash: line 1: cd: {target}: No such file or directory")
    machine.folder = target
    return 0


@program("false")
def false(machine: Machine, call: Call) -> int:
    return 1


@program("echo")
def echo(machine: Machine, call: Call) -> int:
    words = call.argv[1:]
    end = "\n"
    while words and words[0] in ("-n", "-e"):
        end = "" if words[0] == "-n" else end
        words = words[1:]
    call.out(" ".join(words) + end)
    return 0


@program("printf")
def printf(machine: Machine, call: Call) -> int:
    form = call.argv[1].replace("\\n", "\n").replace("\\t", "\t")
    words = call.argv[2:]
    count = len(re.findall(r"%[sd]", form))
    if not count:
        call.out(form.replace("%%", "%"))
        return 0
    for start in range(0, max(1, len(words)), count):
        row = (words[start : start + count] + [""] * count)[:count]
        pieces = re.split(r"%[sd]", form)
        call.out("".join(piece + word for piece, word in zip(pieces, [*row, ""], strict=False)))
    return 0


@program("test", "[")
def test(machine: Machine, call: Call) -> int:
    words = call.argv[1:-1] if call.argv[0] == "[" else call.argv[1:]
    if words and words[0] == "!":
        return int(_test(machine, call, words[1:]))
    return int(not _test(machine, call, words))


def _test(machine: Machine, call: Call, words: list[str]) -> bool:
    host = machine.host
    match words:
        case [] | [""]:
            return False
        case ["-n", text]:
            return bool(text)
        case ["-z", text]:
            return not text
        case ["-e", path]:
            return host.exists(path) or host.read(path) is not None
        case ["-f" | "-r", path]:
            return host.read(path) is not None
        case ["-L", path]:
            return False  # the model has no symbolic links
        case ["-S", path]:
            return path in host.files
        case ["-s", path]:
            return bool(host.read(path))
        case ["-d", path]:
            return host.is_folder(path)
        case ["-x", path]:
            return host.has(path.rsplit("/", 1)[-1])
        case [left, "=" | "==", right]:
            return left == right
        case [left, "!=", right]:
            return left != right
        case [left, "-eq" | "-ge" | "-gt" | "-le" | "-lt" | "-ne" as operator, right]:
            a, b = int(left), int(right)
            return {"-eq": a == b, "-ge": a >= b, "-gt": a > b, "-le": a <= b, "-lt": a < b, "-ne": a != b}[operator]
        case [text]:
            return bool(text)
    raise unmodelled(call)


@program("command")
def command(machine: Machine, call: Call) -> int:
    if call.argv[1:2] != ["-v"]:
        raise unmodelled(call)
    if not machine.host.has(call.argv[2]):
        return 1
    call.out(f"/usr/bin/{call.argv[2]}\n")
    return 0


@program("timeout")
def timeout(machine: Machine, call: Call) -> int:
    words = call.argv[1:]
    while words and words[0].startswith("-"):
        words = words[2:] if words[0] in ("-k", "-s") else words[1:]
    started, limit = machine.host.clock, float(words[0].rstrip("s"))
    code = dispatch(machine, Call(words[1:], call.streams, call.shell))
    if machine.host.clock - started <= limit:
        return code
    machine.host.clock = started + limit
    return 124


@program("env")
def env(machine: Machine, call: Call) -> int:
    words = call.argv[1:]
    while words and "=" in words[0]:
        words = words[1:]
    return dispatch(machine, Call(words, call.streams, call.shell))


@program("xargs")
def xargs(machine: Machine, call: Call) -> int:
    words, each = call.argv[1:], 0
    quiet = False
    while words and words[0].startswith("-"):
        if words[0] in ("-r", "--no-run-if-empty"):
            quiet, words = True, words[1:]
        elif words[0] == "-n":
            each, words = int(words[1]), words[2:]
        elif words[0] == "-P":  # how many at a time: here one after the other
            words = words[2:]
        else:
            raise unmodelled(call)
    given = call.input().split()
    if not given and quiet:
        return 0
    size = each or max(1, len(given))
    code = 0
    for start in range(0, max(1, len(given)), size):
        inner = Call([*(words or ["echo"]), *given[start : start + size]], call.streams, call.shell)
        code = 123 if dispatch(machine, inner) else code
    return code


@program("bash", "sh")
def bash(machine: Machine, call: Call) -> int:
    if call.argv[1:2] != ["-c"]:
        raise unmodelled(call)
    return call.shell.line(call.argv[2], call.streams)


def texts(machine: Machine, call: Call, paths: list[str]) -> tuple[str, int]:
    """The text of the named files, or of standard input. A missing file is named on standard error and gives the code 1."""
    if not paths or paths == ["-"]:
        return call.input(), 0
    found, code = [], 0
    for path in paths:
        text = machine.read_file(path) if path != "/dev/urandom" else secrets.token_hex(64)
        if text is None:
            code = call.fail(f"{call.argv[0]}: {path}: No such file or directory")
        else:
            found.append(text)
    return "".join(found), code


@program("cat")
def cat(machine: Machine, call: Call) -> int:
    text, code = texts(machine, call, [w for w in call.argv[1:] if not w.startswith("-") or w == "-"])
    call.out(text)
    return code


@program("tee")
def tee(machine: Machine, call: Call) -> int:
    text = call.input()
    for path in call.argv[1:]:
        machine.write_file(path, text)
    call.out(text)
    return 0


@program("head", "tail")
def ends(machine: Machine, call: Call) -> int:
    words, count, since, size = call.argv[1:], 10, 0, 0
    while words and words[0].startswith("-") and len(words[0]) > 1:
        if words[0] in ("-n", "--lines", "-c"):
            value, words = (words[0], words[1]), words[2:]
        elif words[0] == "--":
            words = words[1:]
            break
        else:
            value, words = ("-n", words[0][1:].removeprefix("n")), words[1:]
        if value[0] == "-c":
            size = int(value[1])
        elif value[1].startswith("+"):
            since = int(value[1])
        else:
            count = int(value[1])
    text, code = texts(machine, call, words)
    lines = text.splitlines(keepends=True)
    if size:
        call.out(text[:size] if call.argv[0] == "head" else text[-size:])
    elif since:
        call.out("".join(lines[since - 1 :]))
    else:
        call.out("".join(lines[:count] if call.argv[0] == "head" else lines[-count:]))
    return code


@program("wc")
def wc(machine: Machine, call: Call) -> int:
    if call.argv[1:2] != ["-l"]:
        raise unmodelled(call)
    text, code = texts(machine, call, call.argv[2:])
    call.out(f"{text.count(chr(10))}\n")
    return code


@program("cut")
def cut(machine: Machine, call: Call) -> int:
    delimiter, fields, paths = "\t", "", []
    words = iter(call.argv[1:])
    for word in words:
        if word.startswith("-d"):
            delimiter = word[2:] or next(words)
        elif word.startswith("-f"):
            fields = word[2:] or next(words)
        else:
            paths.append(word)
    text, code = texts(machine, call, paths)
    first, dash, last = fields.replace("1,2", "1-2").partition("-")
    for line in text.splitlines():
        cells = line.split(delimiter)
        chosen = cells[int(first) - 1 : (int(last) if last else None) if dash else int(first)]
        call.out((delimiter.join(chosen) if len(cells) > 1 else line) + "\n")
    return code


@program("sort")
def sort(machine: Machine, call: Call) -> int:
    flags = "".join(w[1:] for w in call.argv[1:] if w.startswith("-"))
    text, code = texts(machine, call, [w for w in call.argv[1:] if not w.startswith("-")])
    lines = text.splitlines()
    if "u" in flags:
        lines = list(dict.fromkeys(lines))

    def number(line: str) -> tuple[float, str]:
        match = re.match(r"\s*(-?\d+)", line)
        return (float(match[1]) if match else 0.0, line)

    lines.sort(key=number if "n" in flags else lambda line: (0.0, line), reverse="r" in flags)
    call.out("".join(f"{line}\n" for line in lines))
    return code


@program("uniq")
def uniq(machine: Machine, call: Call) -> int:
    lines = call.input().splitlines()
    counts: list[tuple[int, str]] = []
    for line in lines:
        if counts and counts[-1][1] == line:
            counts[-1] = (counts[-1][0] + 1, line)
        else:
            counts.append((1, line))
    counted = "-c" in call.argv
    call.out("".join(f"{count:7d} {line}\n" if counted else f"{line}\n" for count, line in counts))
    return 0


@program("tr")
def tr(machine: Machine, call: Call) -> int:
    text = call.input()
    match call.argv[1:]:
        case ["-d", letters]:
            letters = letters.replace("\\n", "\n")
            call.out("".join(c for c in text if c not in letters))
        case [old, new] if len(old.replace("\\n", "\n")) == 1:
            call.out(text.replace(old.replace("\\n", "\n"), new.replace("\\n", "\n")))
        case _:
            raise unmodelled(call)
    return 0


def pattern_of(text: str, *, extended: bool) -> str:
    """A POSIX regular expression as Python's: in a basic one, a backslash before + ? | ( ) { } means the opposite."""
    text = text.replace("[:space:]", r"\s").replace("[:digit:]", "0-9").replace("[:alpha:]", "A-Za-z")
    if extended:
        return text
    result, at = "", 0
    while at < len(text):
        if text[at] == "\\" and at + 1 < len(text):
            pair = text[at + 1]
            result += pair if pair in "+?|(){}" else "\\" + pair
            at += 2
        else:
            result += "\\" + text[at] if text[at] in "+?|(){}" else text[at]
            at += 1
    return result


@program("grep")
def grep(machine: Machine, call: Call) -> int:
    flags, words, asked = "", call.argv[1:], list[str]()
    while words and words[0].startswith("-") and len(words[0]) > 1:
        if words[0] == "-e":
            asked.append(words[1])
            words = words[2:]
            continue
        if words[0] == "--":
            words = words[1:]
            break
        if not re.fullmatch(r"-[EvqcwxiFohna]+", words[0]):
            raise unmodelled(call)
        flags, words = flags + words[0][1:], words[1:]
    if not asked:
        asked.append(words.pop(0))
    forms = (re.escape(one) if "F" in flags else pattern_of(one, extended="E" in flags) for one in asked)
    expression = "|".join(f"(?:{form})" for form in forms) if len(asked) > 1 else next(forms)
    if "w" in flags:
        expression = rf"\b(?:{expression})\b"
    if "x" in flags:
        expression = rf"^(?:{expression})$"
    wanted = re.compile(expression, re.I if "i" in flags else 0)
    if "n" in flags and len(words) > 1:
        found = [
            f"{path}:{n}:{line}\n"
            for path in words
            for n, line in enumerate((machine.host.read(path) or "").splitlines(), 1)
            if wanted.search(line)
        ]
        call.out("".join(found))
        return int(not found)
    text, code = texts(machine, call, words)
    lines = [line for line in text.splitlines() if bool(wanted.search(line)) != ("v" in flags)]
    if "c" in flags:
        call.out(f"{len(lines)}\n")
    elif "o" in flags:
        call.out("".join(f"{m[0]}\n" for line in lines for m in wanted.finditer(line)))
    elif "q" not in flags:
        call.out("".join(f"{line}\n" for line in lines))
    return 0 if lines else (2 if code else 1)


@program("sed")
def sed(machine: Machine, call: Call) -> int:
    inplace = extended = quiet = False
    edits: list[str] = []
    words = call.argv[1:]
    while words and words[0].startswith("-"):
        flag, words = words[0], words[1:]
        if flag == "-e":
            edits, words = [*edits, words[0]], words[1:]
            continue
        for letter in flag[1:]:
            if letter not in "iEnr":
                raise unmodelled(call)
            inplace, extended, quiet = inplace or letter == "i", extended or letter in "Er", quiet or letter == "n"
    edits, paths = (edits, words) if edits else (words[:1], words[1:])
    if inplace:
        for path in paths:
            text = machine.host.read(path)
            if text is None:
                return call.fail(f"sed: can't read {path}: No such file or directory", 2)
            for edit in edits:
                text = _sed(call, edit, text, extended=extended, quiet=quiet)
            machine.host.write(path, text)
        return 0
    text, code = texts(machine, call, paths)
    for edit in edits:
        text = _sed(call, edit, text, extended=extended, quiet=quiet)
    call.out(text)
    return 2 if code else 0


def _sed(call: Call, edit: str, text: str, *, extended: bool, quiet: bool) -> str:
    lines = text.splitlines()
    if match := re.fullmatch(r"/(.*)/,/(.*)/p", edit):
        result, inside = [], False
        for line in lines:
            if not inside and re.search(pattern_of(match[1], extended=extended), line):
                inside = True
                result.append(line)
                continue
            if inside:
                result.append(line)
                inside = not re.search(pattern_of(match[2], extended=extended), line)
        return "".join(f"{line}\n" for line in result)
    if match := re.fullmatch(r"/(.+)/q", edit):
        last = next(
            (n for n, line in enumerate(lines, 1) if re.search(pattern_of(match[1], extended=extended), line)),
            len(lines),
        )
        return "".join(f"{line}\n" for line in lines[:last])
    if match := re.fullmatch(r"(\d+)(?:,(\d+))?p", edit):
        return "".join(f"{line}\n" for line in lines[int(match[1]) - 1 : int(match[2] or match[1])])
    if match := re.fullmatch(r"(\d+)([ia]) (.*)", edit):
        at = int(match[1]) - (match[2] == "i")
        return "".join(f"{line}\n" for line in [*lines[:at], match[3], *lines[at:]])
    if match := re.fullmatch(r"(\d+)(s.+)", edit):
        at = int(match[1])
        one = "".join(f"{line}\n" for line in lines[at - 1 : at])
        changed = _sed(call, match[2], one, extended=extended, quiet=quiet)
        return "".join(f"{line}\n" for line in [*lines[: at - 1], *changed.splitlines(), *lines[at:]])
    if match := re.fullmatch(r"(?:/(.+)/)?d", edit):
        return "".join(
            f"{line}\n" for line in lines if match[1] and not re.search(pattern_of(match[1], extended=extended), line)
        )
    if edit[:1] == "s" and len(edit.split(edit[1])) == 4:
        _, old, new, flags = edit.split(edit[1])
        wanted = re.compile(pattern_of(old, extended=extended))
        new = re.sub(r"\\(\d)", r"\\g<\1>", new.replace("&", r"\g<0>"))
        result = []
        for line in lines:
            changed, count = wanted.subn(new, line, count=0 if "g" in flags else 1)
            if not quiet or ("p" in flags and count):
                result.append(changed)
        return "".join(f"{line}\n" for line in result)
    raise unmodelled(call)


@program("awk")
def awk(machine: Machine, call: Call) -> int:
    """Supports only the awk programs in our scripts; each is matched by its text."""
    words, variables = call.argv[1:], dict[str, str]()
    while words and words[0] == "-v":
        name, _, value = words[1].partition("=")
        variables[name], words = value, words[2:]
    source, paths = words[0], words[1:]
    if paths == ["/proc/locks"] and "POSIX" in source:
        for pid, path in machine_locks(machine):
            if f":{machine.host.inode(path)}" == variables["i"]:
                call.out(f"{pid}\n")
        return 0
    text, code = texts(machine, call, paths)
    if source == firewall.PROGRAM:
        ours = network.cluster_lines(text)
        kept = "".join(f"{line}\n" for line, mine in zip(text.splitlines(), ours, strict=True) if not mine)
        call.out(f"{sum(ours)}\n" if "count" in variables else kept)
        return code
    rows = [line.split() for line in text.splitlines()]
    if match := re.fullmatch(r"\{print \$(\d+)\}", source.replace("{ print", "{print").replace(" }", "}")):
        column = int(match[1])
        call.out("".join(f"{row[column - 1] if column <= len(row) else ''}\n" for row in rows))
    elif match := re.fullmatch(r"NR > (\d+) \{print \$(\d+), \$(\d+)\}", source):
        first, *columns = map(int, match.groups())
        call.out("".join(f"{' '.join(row[column - 1] for column in columns)}\n" for row in rows[first:]))
    elif match := re.fullmatch(r"NR==(\d+)\{print \$(\d+)\}", source):
        call.out(
            "".join(f"{row[int(match[2]) - 1]}\n" for number, row in enumerate(rows, 1) if number == int(match[1]))
        )
    elif match := re.fullmatch(r'\$2 ~ "\^([^"]+)" \{print (length\(\$2\)|\$3), \$2\}', source):
        for row in rows:
            if row[1].startswith(match[1]):
                call.out(f"{row[2] if match[2] == '$3' else len(row[1])} {row[1]}\n")
    else:
        raise Unmodelled(f"awk {shlex.quote(source)}")
    return code


def machine_locks(machine: Machine) -> list[tuple[int, str]]:
    """(pid, path) of each package lock that the fault apt-locked holds."""
    return [(LOCKER, "/var/lib/dpkg/lock-frontend"), (LOCKER, "/var/lib/dpkg/lock")] if machine.lock_left > 0 else []


def stamp(machine: Machine, seconds: float = 0) -> str:
    """The machine's clock, so many seconds later, as the API writes moments, with microseconds."""
    now = time.time() + machine.skew + seconds
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1e6):06}Z"


@program("date")
def date(machine: Machine, call: Call) -> int:
    now = time.time() + machine.skew
    form = next((w for w in call.argv[1:] if w.startswith("+")), "")
    if form in ("+%s", "+%s.%N"):
        call.out(f"{int(now)}\n" if form == "+%s" else f"{now:.9f}\n")
    elif form == "+%FT%TZ":
        call.out(time.strftime("%FT%TZ\n", time.gmtime(now)))
    elif form == "+%FT%T.%6NZ":
        call.out(f"{stamp(machine)}\n")
    elif not form:
        call.out(time.strftime("%a %b %e %H:%M:%S UTC %Y\n", time.gmtime(now)))
    else:
        raise unmodelled(call)
    return 0


@program("sleep")
def sleep(machine: Machine, call: Call) -> int:
    machine.host.clock += float(call.argv[1])
    return 0


@program("flock")
def flock(machine: Machine, call: Call) -> int:
    return 0
