"""A small part of bash: enough to run the one-line commands of our steps on a model instead of a machine.

In: a line of shell.  Out: `parse` returns a tree, `Shell.line` walks it; every simple command goes to a function from
the caller, so nothing is ever executed here.  Raises `Unmodelled` for syntax that no step uses.

Supported: lists (`;`, `&&`, `||`), pipes, `!`, `{ }`, `( )`, if, for, while, until, redirections, quoting,
`$name`, `${name}`, `${name:-word}`, `$?`, `$(…)`, globs, assignments, and errexit with pipefail.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from io import StringIO
from typing import Protocol

_RESERVED = {"if", "then", "elif", "else", "fi", "for", "do", "done", "while", "until", "{", "}", "!"}
_UNKNOWN = {"case", "esac", "select", "function", "[[", "coproc"}
_REDIRECTION = re.compile(r"(\d*)(>>|>&|<&|>\||>|<)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_META = " \t\n;&|<>()"


class Unmodelled(Exception):
    """Raised for shell syntax that this module does not support, or a command that is in no table; the text names it."""


# --- the tree


@dataclass(frozen=True)
class Literal:
    text: str
    quoted: bool


@dataclass(frozen=True)
class Variable:
    name: str
    quoted: bool
    default: str = ""


@dataclass(frozen=True)
class Substitution:
    body: Sequence_
    quoted: bool


Word = tuple[Literal | Variable | Substitution, ...]


@dataclass(frozen=True)
class Redirection:
    fd: int
    operator: str
    target: Word


@dataclass(frozen=True)
class Simple:
    assignments: tuple[tuple[str, Word], ...]
    words: tuple[Word, ...]
    redirections: tuple[Redirection, ...]


@dataclass(frozen=True)
class Group:
    body: Sequence_
    subshell: bool
    redirections: tuple[Redirection, ...]


@dataclass(frozen=True)
class If:
    branches: tuple[tuple[Sequence_, Sequence_], ...]
    otherwise: Sequence_ | None
    redirections: tuple[Redirection, ...]


@dataclass(frozen=True)
class For:
    name: str
    words: tuple[Word, ...]
    body: Sequence_
    redirections: tuple[Redirection, ...]


@dataclass(frozen=True)
class While:
    condition: Sequence_
    body: Sequence_
    until: bool
    redirections: tuple[Redirection, ...]


Command = Simple | Group | If | For | While


@dataclass(frozen=True)
class Pipeline:
    commands: tuple[Command, ...]
    negated: bool


@dataclass(frozen=True)
class AndOr:
    first: Pipeline
    rest: tuple[tuple[str, Pipeline], ...]


@dataclass(frozen=True)
class Sequence_:
    items: tuple[AndOr, ...]


# --- reading


@functools.lru_cache(maxsize=4096)
def parse(text: str) -> Sequence_:
    """Parse one line (or several) into a tree. Raises Unmodelled."""
    reader = _Reader(text)
    tree = reader.sequence(())
    if reader.at < len(text):
        raise Unmodelled(f"shell syntax at {text[reader.at : reader.at + 20]!r}")
    return tree


class _Reader:
    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0

    def sequence(self, ends: tuple[str, ...]) -> Sequence_:
        items: list[AndOr] = []
        while True:
            self._blanks(lines=True)
            if self.at >= len(self.text) or self.text[self.at] == ")" or self._word_ahead() in ends:
                return Sequence_(tuple(items))
            items.append(self._and_or())
            self._blanks()
            if self.text[self.at : self.at + 1] == "&":
                raise Unmodelled("a command in the background")
            if self.text[self.at : self.at + 1] not in (";", "\n"):
                if self.at < len(self.text) and self.text[self.at] != ")":
                    raise Unmodelled(f"shell syntax at {self.text[self.at : self.at + 20]!r}")
                continue
            self.at += 1

    def _and_or(self) -> AndOr:
        first = self._pipeline()
        rest: list[tuple[str, Pipeline]] = []
        while True:
            self._blanks()
            operator = self.text[self.at : self.at + 2]
            if operator not in ("&&", "||"):
                return AndOr(first, tuple(rest))
            self.at += 2
            self._blanks(lines=True)
            rest.append((operator, self._pipeline()))

    def _pipeline(self) -> Pipeline:
        negated = False
        if self._word_ahead() == "!":
            self._take("!")
            negated = True
        commands = [self._command()]
        while True:
            self._blanks()
            if self.text[self.at : self.at + 1] != "|" or self.text[self.at : self.at + 2] == "||":
                return Pipeline(tuple(commands), negated)
            self.at += 1
            self._blanks(lines=True)
            commands.append(self._command())

    def _command(self) -> Command:
        self._blanks()
        if self.text[self.at : self.at + 1] == "(":
            self.at += 1
            body = self.sequence(())
            self._take(")")
            return Group(body, True, self._redirections())
        word = self._word_ahead()
        if word in _UNKNOWN:
            raise Unmodelled(f"shell word {word}")
        if word == "{":
            self._take("{")
            body = self.sequence(("}",))
            self._take("}")
            return Group(body, False, self._redirections())
        if word == "if":
            return self._if()
        if word == "for":
            return self._for()
        if word in ("while", "until"):
            self._take(word)
            condition = self.sequence(("do",))
            self._take("do")
            body = self.sequence(("done",))
            self._take("done")
            return While(condition, body, word == "until", self._redirections())
        if word in _RESERVED:
            raise Unmodelled(f"shell word {word} out of place")
        return self._simple()

    def _if(self) -> If:
        branches: list[tuple[Sequence_, Sequence_]] = []
        otherwise: Sequence_ | None = None
        self._take("if")
        while True:
            condition = self.sequence(("then",))
            self._take("then")
            branches.append((condition, self.sequence(("elif", "else", "fi"))))
            word = self._word_ahead()
            self._take(word)
            if word == "else":
                otherwise = self.sequence(("fi",))
                self._take("fi")
            if word != "elif":
                return If(tuple(branches), otherwise, self._redirections())

    def _for(self) -> For:
        self._take("for")
        name = self._word_ahead()
        self._take(name)
        self._take("in")
        words: list[Word] = []
        while True:
            self._blanks()
            if self.text[self.at : self.at + 1] in (";", "\n", ""):
                break
            words.append(self._word())
        self.at += 1
        self._take("do")
        body = self.sequence(("done",))
        self._take("done")
        return For(name, tuple(words), body, self._redirections())

    def _simple(self) -> Simple:
        assignments: list[tuple[str, Word]] = []
        words: list[Word] = []
        redirections: list[Redirection] = []
        while True:
            self._blanks()
            found = self._redirection()
            if found:
                redirections.append(found)
                continue
            if self.at >= len(self.text) or self.text[self.at] in "\n;&|)":
                break
            name = _NAME.match(self.text, self.at)
            if name and not words and self.text[name.end() : name.end() + 1] == "=":
                self.at = name.end() + 1
                assignments.append((name[0], self._word()))
                continue
            words.append(self._word())
        if not words and not assignments and not redirections:
            raise Unmodelled(f"shell syntax at {self.text[self.at : self.at + 20]!r}")
        return Simple(tuple(assignments), tuple(words), tuple(redirections))

    def _redirections(self) -> tuple[Redirection, ...]:
        found: list[Redirection] = []
        while True:
            self._blanks()
            one = self._redirection()
            if one is None:
                return tuple(found)
            found.append(one)

    def _redirection(self) -> Redirection | None:
        match = _REDIRECTION.match(self.text, self.at)
        if not match:
            return None
        if self.text[match.end() : match.end() + 1] == "<":
            raise Unmodelled("a here-document in a command")
        self.at = match.end()
        self._blanks()
        fd = int(match[1]) if match[1] else (0 if match[2][0] == "<" else 1)
        return Redirection(fd, match[2], self._word())

    def _word(self) -> Word:
        parts: list[Literal | Variable | Substitution] = []
        start = self.at
        while self.at < len(self.text) and self.text[self.at] not in _META:
            char = self.text[self.at]
            if char == "'":
                end = self.text.index("'", self.at + 1)
                parts.append(Literal(self.text[self.at + 1 : end], True))
                self.at = end + 1
            elif char == '"':
                self.at += 1
                self._double_quoted(parts)
            elif char == "\\":
                if self.text[self.at + 1 : self.at + 2] != "\n":
                    parts.append(Literal(self.text[self.at + 1 : self.at + 2], True))
                self.at += 2
            elif char == "$":
                self._dollar(parts, quoted=False)
            elif char == "`":
                raise Unmodelled("backquotes")
            else:
                parts.append(Literal(char, False))
                self.at += 1
        if self.at == start:
            raise Unmodelled(f"shell syntax at {self.text[self.at : self.at + 20]!r}")
        return _joined(parts) or (Literal("", True),)

    def _double_quoted(self, parts: list[Literal | Variable | Substitution]) -> None:
        parts.append(Literal("", True))
        while True:
            char = self.text[self.at : self.at + 1]
            if char == "":
                raise Unmodelled("a quote that does not end")
            if char == '"':
                self.at += 1
                return
            if char == "\\" and self.text[self.at + 1 : self.at + 2] in ('"', "\\", "$", "`", "\n"):
                parts.append(Literal(self.text[self.at + 1].replace("\n", ""), True))
                self.at += 2
            elif char == "$":
                self._dollar(parts, quoted=True)
            else:
                parts.append(Literal(char, True))
                self.at += 1

    def _dollar(self, parts: list[Literal | Variable | Substitution], *, quoted: bool) -> None:
        ahead = self.text[self.at + 1 : self.at + 2]
        if self.text.startswith("$((", self.at):
            raise Unmodelled("shell arithmetic")
        if ahead == "(":
            self.at += 2
            body = self.sequence(())
            self._take(")")
            parts.append(Substitution(body, quoted))
        elif ahead == "{":
            end = self.text.index("}", self.at)
            match = re.fullmatch(r"([A-Za-z_]\w*)(?::-([^$]*))?", self.text[self.at + 2 : end])
            if not match:
                raise Unmodelled(f"expansion {self.text[self.at : end + 1]}")
            parts.append(Variable(match[1], quoted, match[2] or ""))
            self.at = end + 1
        elif ahead in ("?", "0"):
            parts.append(Variable(ahead, quoted))
            self.at += 2
        elif name := _NAME.match(self.text, self.at + 1):
            parts.append(Variable(name[0], quoted))
            self.at = name.end()
        else:
            parts.append(Literal("$", quoted))
            self.at += 1

    def _blanks(self, *, lines: bool = False) -> None:
        while self.at < len(self.text):
            if self.text[self.at] in (" \t\n" if lines else " \t"):
                self.at += 1
            elif self.text.startswith("\\\n", self.at):
                self.at += 2
            elif self.text[self.at] == "#" and (self.at == 0 or self.text[self.at - 1] in _META):
                end = self.text.find("\n", self.at)
                self.at = len(self.text) if end < 0 else end
            else:
                return

    def _word_ahead(self) -> str:
        self._blanks()
        match = re.match(r"[^\s;&|<>()$'\"\\]+", self.text[self.at :])
        return match[0] if match else ""

    def _take(self, word: str) -> None:
        self._blanks(lines=True)
        if not self.text.startswith(word, self.at):
            raise Unmodelled(f"{word!r} expected at {self.text[self.at : self.at + 20]!r}")
        self.at += len(word)


def _joined(parts: list[Literal | Variable | Substitution]) -> Word:
    """Merge neighbouring literals that are both quoted, or both unquoted."""
    result: list[Literal | Variable | Substitution] = []
    for part in parts:
        last = result[-1] if result else None
        if isinstance(part, Literal) and isinstance(last, Literal) and part.quoted == last.quoted:
            result[-1] = Literal(last.text + part.text, part.quoted)
        else:
            result.append(part)
    return tuple(result)


# --- walking


class Sink(Protocol):
    """Where output goes."""

    def write(self, text: str) -> object: ...


class Nowhere:
    """/dev/null"""

    def write(self, text: str) -> object:
        return None


class Disk(Protocol):
    """The files that redirections and globs see."""

    def read_file(self, path: str) -> str | None: ...

    def write_file(self, path: str, text: str, *, append: bool = False) -> None: ...

    def glob(self, pattern: str) -> list[str]: ...


class Exit(Exception):
    """`exit`, or errexit: ends the (sub)shell."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class _Loop(Exception):
    """`continue` and `break`."""

    def __init__(self, ends: bool) -> None:
        super().__init__(ends)
        self.ends = ends


@dataclass
class Streams:
    """The open files of a command."""

    stdin: StringIO
    sinks: dict[int, Sink]


@dataclass
class Call:
    """A simple command that is about to run: its words and its streams."""

    argv: list[str]
    streams: Streams
    shell: Shell

    def input(self) -> str:
        return self.streams.stdin.read()

    def out(self, text: str) -> None:
        self.streams.sinks[1].write(text)

    def err(self, text: str) -> None:
        self.streams.sinks[2].write(text)

    def fail(self, text: str, code: int = 1) -> int:
        """Print `text` on standard error and return the exit code, so that a handler can fail in one line."""
        self.err(text.rstrip("\n") + "\n")
        return code


Dispatch = Callable[[Call], int]


@dataclass
class Shell:
    """One shell process: pipefail is on, errexit is on unless it is switched off."""

    dispatch: Dispatch
    disk: Disk
    variables: dict[str, str] = field(default_factory=dict)
    last: int = 0
    errexit: bool = True

    def _child(self) -> Shell:
        """A subshell: the variables it sets stay in it."""
        return Shell(self.dispatch, self.disk, dict(self.variables), self.last, self.errexit)

    def line(self, text: str, streams: Streams) -> int:
        """Run a line and return its exit code; raises Exit when errexit or `exit` ends the shell."""
        return self._sequence(parse(text), streams, tested=False)

    def _sequence(self, sequence: Sequence_, streams: Streams, *, tested: bool) -> int:
        code = 0
        for item in sequence.items:
            code = self._and_or(item, streams, tested=tested)
        return code

    def _and_or(self, item: AndOr, streams: Streams, *, tested: bool) -> int:
        code = self._pipeline(item.first, streams, tested=tested or bool(item.rest))
        for number, (operator, pipeline) in enumerate(item.rest, 1):
            if (code == 0) == (operator == "&&"):
                code = self._pipeline(pipeline, streams, tested=tested or number < len(item.rest))
        return code

    def _pipeline(self, pipeline: Pipeline, streams: Streams, *, tested: bool) -> int:
        tested_inside = tested or pipeline.negated
        if len(pipeline.commands) == 1:
            code = self._command(pipeline.commands[0], streams, tested=tested_inside)
        else:
            codes, stdin = [], streams.stdin
            for number, command in enumerate(pipeline.commands, 1):
                buffer = StringIO()
                sinks = streams.sinks if number == len(pipeline.commands) else {**streams.sinks, 1: buffer}
                codes.append(self._subshell(command, Streams(stdin, sinks), tested=tested_inside))
                stdin = StringIO(buffer.getvalue())
            code = next((c for c in reversed(codes) if c), 0)
        if pipeline.negated:
            code = int(code == 0)
        self.last = code
        if code and self.errexit and not tested and not pipeline.negated:
            raise Exit(code)
        return code

    def _subshell(self, command: Command, streams: Streams, *, tested: bool) -> int:
        child = self._child()
        try:
            return child._command(command, streams, tested=tested)
        except Exit as ended:
            return ended.code

    def _command(self, command: Command, streams: Streams, *, tested: bool) -> int:
        try:
            streams = self._redirect(command.redirections, streams)
        except FileNotFoundError as error:
            streams.sinks[2].write(f"bash: {error}: No such file or directory\n")
            return 1
        if isinstance(command, Simple):
            return self._simple(command, streams)
        if isinstance(command, Group):
            if not command.subshell:
                return self._sequence(command.body, streams, tested=tested)
            child = self._child()
            try:
                return child._sequence(command.body, streams, tested=tested)
            except Exit as ended:
                return ended.code
        if isinstance(command, If):
            for condition, body in command.branches:
                if self._sequence(condition, streams, tested=True) == 0:
                    return self._sequence(body, streams, tested=tested)
            return self._sequence(command.otherwise, streams, tested=tested) if command.otherwise else 0
        return self._loop(command, streams, tested=tested)

    def _loop(self, command: For | While, streams: Streams, *, tested: bool) -> int:
        code = 0
        values = (
            iter([w for word in command.words for w in self._fields(word, streams)])
            if isinstance(command, For)
            else None
        )
        for _ in range(10_000):
            if isinstance(command, For) and values is not None:
                try:
                    self.variables[command.name] = next(values)
                except StopIteration:
                    return code
            elif isinstance(command, While):
                met = self._sequence(command.condition, streams, tested=True) == 0
                if met == command.until:
                    return code
            try:
                code = self._sequence(command.body, streams, tested=tested)
            except _Loop as jump:
                if jump.ends:
                    return 0
        raise Unmodelled("a loop that does not end")

    def _simple(self, command: Simple, streams: Streams) -> int:
        self._substituted = 0
        argv = [text for word in command.words for text in self._fields(word, streams)]
        for name, word in command.assignments:
            self.variables[name] = self._text(word, streams)
        if not argv:
            return self._substituted
        if argv[0] == "exit":
            raise Exit(int(argv[1]) if len(argv) > 1 else self.last)
        if argv[0] in ("continue", "break"):
            raise _Loop(argv[0] == "break")
        if argv[0] == "read":
            line = streams.stdin.readline()
            names = [word for word in argv[1:] if not word.startswith("-")]
            values = line.split(None, len(names) - 1) if len(names) > 1 else [line.strip()]
            for number, name in enumerate(names):
                self.variables[name] = values[number].strip() if number < len(values) else ""
            return 0 if line else 1
        if argv[0] in ("export", "local"):
            for given in argv[1:]:
                name, _, value = given.partition("=")
                self.variables[name] = value
            return 0
        return self.dispatch(Call(argv, streams, self))

    _substituted = 0

    def _redirect(self, redirections: Sequence[Redirection], streams: Streams) -> Streams:
        if not redirections:
            return streams
        sinks, stdin = dict(streams.sinks), streams.stdin
        for one in redirections:
            target = self._text(one.target, streams)
            if one.operator == "<":
                text = "" if target == "/dev/null" else self.disk.read_file(target)
                if text is None:
                    raise FileNotFoundError(target)
                stdin = StringIO(text)
            elif one.operator == ">&":
                if not target.isdigit():
                    raise Unmodelled(f"redirection >&{target}")
                sinks[one.fd] = sinks[int(target)]
            elif one.operator == "<&":
                raise Unmodelled("redirection <&")
            elif target == "/dev/null":
                sinks[one.fd] = Nowhere()
            else:
                if one.operator != ">>":
                    self.disk.write_file(target, "")
                sinks[one.fd] = _FileSink(self.disk, target)
        return Streams(stdin, sinks)

    def _text(self, word: Word, streams: Streams) -> str:
        return "".join(self._value(part, streams) for part in word)

    def _value(self, part: Literal | Variable | Substitution, streams: Streams) -> str:
        if isinstance(part, Literal):
            return part.text
        if isinstance(part, Variable):
            return str(self.last) if part.name == "?" else (self.variables.get(part.name, "") or part.default)
        buffer = StringIO()
        child = self._child()
        try:
            self._substituted = child._sequence(
                part.body, Streams(StringIO(), {**streams.sinks, 1: buffer}), tested=False
            )
        except Exit as ended:
            self._substituted = ended.code
        return buffer.getvalue().rstrip("\n")

    def _fields(self, word: Word, streams: Streams) -> list[str]:
        """Expand one word into words: unquoted expansions are split, unquoted globs are looked up."""
        if len(word) == 1 and isinstance(word[0], Literal) and (word[0].quoted or "*" not in word[0].text):
            return [word[0].text]  # as most are
        fields: list[str] = [""]
        started = glob = False
        for part in word:
            text = self._value(part, streams)
            if part.quoted:
                fields[-1] += text
                started = True
            elif isinstance(part, Literal):
                fields[-1] += text
                started = True
                glob = glob or "*" in text
            else:
                pieces = text.split()
                if pieces:
                    if text[0].isspace() and fields[-1]:
                        fields.append("")
                    fields[-1] += pieces[0]
                    fields += pieces[1:]
                    started = True
        if not started:
            return []
        if glob and len(fields) == 1:
            return self.disk.glob(fields[0]) or fields
        return fields


@dataclass
class _FileSink:
    disk: Disk
    path: str

    def write(self, text: str) -> object:
        self.disk.write_file(self.path, text, append=True)
        return None
