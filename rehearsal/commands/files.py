"""Programs that change files and folders."""

from __future__ import annotations

import hashlib

from ..bash import Call
from ..machine import Machine
from . import program, unmodelled
from .text import texts


def _words(call: Call) -> tuple[str, list[str]]:
    """The flags as one string, and the other words."""
    words, flags = [], ""
    ended = False
    for word in call.argv[1:]:
        if word == "--" and not ended:
            ended = True
        elif word.startswith("--") and not ended:
            flags += f" {word} "
        elif word.startswith("-") and len(word) > 1 and not ended:
            flags += word[1:]
        else:
            words.append(word)
    return flags, words


@program("rm")
def rm(machine: Machine, call: Call) -> int:
    flags, paths = _words(call)
    code = 0
    for path in paths:
        if path.rstrip("/") in ("", "/etc", "/var", "/var/lib", "/usr", "/root", "/home", "/run"):
            raise unmodelled(call)
        if "r" not in flags and machine.host.is_folder(path):
            code = call.fail(f"rm: cannot remove '{path}': Is a directory")
        elif any(f"{mount.split()[1]}/".startswith(path.rstrip("/") + "/") for mount in machine.host.all_mounts):
            code = call.fail(f"rm: cannot remove '{path}': Device or resource busy")
        elif not machine.host.remove(path) and "f" not in flags:
            code = call.fail(f"rm: cannot remove '{path}': No such file or directory")
    return code


@program("rmdir")
def rmdir(machine: Machine, call: Call) -> int:
    code = 0
    for path in _words(call)[1]:
        if machine.host.children(path):
            code = call.fail(f"rmdir: failed to remove '{path}': Directory not empty")
        else:
            machine.host.remove(path)
    return code


@program("mkdir")
def mkdir(machine: Machine, call: Call) -> int:
    for path in _words(call)[1]:
        machine.host.make_folder(path)
    return 0


@program("install")
def install(machine: Machine, call: Call) -> int:
    words, folder, mode = call.argv[1:], False, "755"
    while words and words[0].startswith("-"):
        if words[0] == "-m":
            mode, words = words[1].lstrip("0"), words[2:]
        elif words[0] in ("-d", "-D"):
            folder, words = folder or words[0] == "-d", words[1:]
        else:
            raise unmodelled(call)
    if folder:
        for path in words:
            machine.host.make_folder(path)
        return 0
    text = machine.host.read(words[0])
    if text is None:
        return call.fail(f"install: cannot stat '{words[0]}': No such file or directory")
    machine.host.write(words[1], text, mode)
    return 0


@program("touch")
def touch(machine: Machine, call: Call) -> int:
    for path in _words(call)[1]:
        machine.host.write(path, "", append=True)
    return 0


@program("mktemp")
def mktemp(machine: Machine, call: Call) -> int:
    flags, _ = _words(call)
    number = sum(name.startswith("/tmp/tmp.") for name in (*machine.host.files, *machine.host.folders))
    path = f"/tmp/tmp.{hashlib.sha256(f'{machine.host.machine_id}{number}'.encode()).hexdigest()[:10]}"
    if "d" in flags:
        machine.host.make_folder(path)
    else:
        machine.host.write(path, "", "600")
    call.out(f"{path}\n")
    return 0


@program("chmod", "chown")
def chmod(machine: Machine, call: Call) -> int:
    _, words = _words(call)
    for path in words[1:]:
        if not machine.host.exists(path):
            return call.fail(f"chmod: cannot access '{path}': No such file or directory")
        if path in machine.host.files and call.argv[0] == "chmod" and words[0].isdigit():
            machine.host.write(path, machine.host.files[path].text, words[0].lstrip("0"))
    return 0


@program("mv", "cp")
def mv(machine: Machine, call: Call) -> int:
    _, words = _words(call)
    source, target = words[0], words[1]
    if target.endswith("/") or machine.host.is_folder(target):
        target = f"{target.rstrip('/')}/{source.rsplit('/', 1)[-1]}"
    text = machine.host.read(source)
    if machine.host.is_folder(source) and call.argv[0] == "mv":
        if machine.host.exists(target):
            return call.fail(f"mv: cannot overwrite '{target}': Directory not empty")
        machine.host.rename_folder(source, target)
        return 0
    if text is None:
        return call.fail(f"{call.argv[0]}: cannot stat '{source}': No such file or directory")
    mode = machine.host.files[source].mode if source in machine.host.files else "644"
    machine.host.write(target, text, mode)
    if call.argv[0] == "mv":
        machine.host.remove(source)
    return 0


@program("ln")
def ln(machine: Machine, call: Call) -> int:
    """A link: the model writes the other file's text again."""
    match call.argv[1:]:
        case ["-s", source, target]:
            beside = source if source.startswith("/") else f"{target.rpartition('/')[0]}/{source}"
            machine.host.write(target, machine.host.read(beside) or "", "777")
            return 0
    raise unmodelled(call)


@program("ls")
def ls(machine: Machine, call: Call) -> int:
    _, words = _words(call)
    code = 0
    for path in words:
        if not machine.host.exists(path):
            code = call.fail(f"ls: cannot access '{path}': No such file or directory", 2)
        elif path in machine.host.files:
            call.out(f"{path}\n")
        else:
            call.out("".join(f"{name}\n" for name in machine.host.children(path)))
    return code


@program("sync")
def sync(machine: Machine, call: Call) -> int:
    return 0


@program("dirname")
def dirname(machine: Machine, call: Call) -> int:
    call.out(f"{call.argv[1].rpartition('/')[0] or '/'}\n")
    return 0


@program("stat")
def stat(machine: Machine, call: Call) -> int:
    match call.argv[1:]:
        case ["-c", "%a", path] if path in machine.host.files:
            call.out(f"{machine.host.files[path].mode}\n")
        case ["-c", "%i", path]:
            call.out(f"{machine.host.inode(path)}\n")
        case ["-fc", "%T", "/sys/fs/cgroup"]:
            call.out(f"{machine.host.cgroup}\n")
        case _:
            raise unmodelled(call)
    return 0


@program("sha256sum")
def sha256sum(machine: Machine, call: Call) -> int:
    text, code = texts(machine, call, call.argv[1:])
    call.out(f"{hashlib.sha256(text.encode()).hexdigest()}  {call.argv[1] if len(call.argv) > 1 else '-'}\n")
    return code


@program("cmp")
def cmp(machine: Machine, call: Call) -> int:
    _, words = _words(call)
    return int(machine.host.read(words[0]) != machine.host.read(words[1]))
