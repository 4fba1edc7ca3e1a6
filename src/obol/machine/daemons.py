"""How a daemon of this machine is started: what its unit of systemd says, what an init script reads, and what runs.

A daemon goes by its command line as well as by its file. systemd.unit(5) and systemd.service(5) say which files make a
unit, and how its command line is put together; nothing is asked of systemd, which may not be there.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from obol.machine.regular import read
from obol.machine.texts import shown

_SYSTEM_FOLDERS = (
    "etc/systemd/system.control",
    "run/systemd/system.control",
    "run/systemd/transient",
    "run/systemd/generator.early",
    "etc/systemd/system",
    "etc/systemd/system.attached",
    "run/systemd/system",
    "run/systemd/system.attached",
    "run/systemd/generator",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
    "run/systemd/generator.late",
)
_USER_FOLDERS = (
    "etc/systemd/user",
    "run/systemd/user",
    "usr/local/share/systemd/user",
    "usr/share/systemd/user",
    "usr/local/lib/systemd/user",
    "usr/lib/systemd/user",
    "lib/systemd/user",
)
_PREFIXES = "@-:+!|"
"""Of a program in ExecStart."""
_WHOLE = re.compile(r"\$(\w+)", re.ASCII)
_WITHIN = re.compile(r"\$\{(\w+)\}", re.ASCII)
_SETTING = re.compile(r"(?:export\s+)?([A-Za-z_]\w*)=(.*)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a command line."""

    text: str
    source: str
    """Where it stands: a file, or a process."""


@dataclass(frozen=True, slots=True)
class Flag:
    """An option of a command line."""

    name: str
    """Without its dashes; a single letter stays one."""
    value: str
    source: str


def system_folders(root: Path) -> tuple[Path, ...]:
    """Where the machine's units are, the first before the others. `root` is / but in tests."""
    return tuple(root / folder for folder in _SYSTEM_FOLDERS)


def user_folders(root: Path, config: Path, data: Path) -> tuple[Path, ...]:
    """Where the units of a person are, whose files are in `config` and `data`: ~/.config and ~/.local/share."""
    own = (config / "systemd/user.control", config / "systemd/user", data / "systemd/user")
    return (*own, *(root / folder for folder in _USER_FOLDERS))


def unit_command(unit: str, folders: Sequence[Path], root: Path) -> tuple[Word, ...]:
    """The command line of a unit with its drop-ins, and with variables in their places; () where there is none."""
    command: Word | None = None
    variables: dict[str, Word] = {}
    files: list[str] = []
    for path in _fragments(unit, folders):
        for key, value in _settings(_text(path)):
            if key == "ExecStart":
                command = Word(value, shown(path)) if value else None
            elif key == "Environment":
                variables = {**variables, **_assigned(_split(value), shown(path))} if value else {}
            elif key == "EnvironmentFile":
                files = [*files, value.removeprefix("-")] if value else []
    for name in files:
        for path in _matching(root, name):
            variables |= _assigned(_lines(_text(path)), shown(path))
    return () if command is None else tuple(_expanded(command, variables))


def init_words(paths: Sequence[Path]) -> tuple[Word, ...]:
    """The words of all variables in files that init scripts read, as /etc/default/docker."""
    found: dict[str, Word] = {}
    for path in paths:
        found |= _assigned(_lines(_text(path)), shown(path))
    return tuple(Word(text, value.source) for value in found.values() for text in _split(value.text))


def running_commands(program: str, root: Path, uid: int) -> tuple[tuple[Word, ...], ...]:
    """The command lines of this program as `uid` runs it, but for those in a container.

    A daemon of a person is in namespaces of its own, by which it is not told from a container: one of theirs counts.
    """
    found = []
    proc = root / "proc"
    numbers = [entry for entry in _entries(proc) if entry.name.isdecimal()]
    for process in sorted(numbers, key=lambda entry: int(entry.name)):
        with contextlib.suppress(OSError):
            words = [os.fsdecode(word) for word in (process / "cmdline").read_bytes().split(b"\0")[:-1]]
            if not words or Path(words[0]).name != program or process.stat().st_uid != uid:
                continue
            if uid or _same_mounts(process, proc):
                found.append(tuple(Word(word, f"process {process.name}") for word in words))
    return tuple(found)


def flags_of(words: Sequence[Word], program: str) -> tuple[Flag, ...]:
    """The options that a program is given, be it by a shell or by a script named after it."""
    spread = [Word(text, word.source) for word in words for text in _spread(word.text)]
    names = [Path(word.text.lstrip(_PREFIXES)).name for word in spread]
    begin = next((at for at, name in enumerate(names) if name.startswith(program)), -1) + 1
    found = []
    rest = spread[begin:]
    for at, word in enumerate(rest):
        if not word.text.startswith("-") or not word.text.strip("-"):
            continue
        name, equals, value = word.text.lstrip("-").partition("=")
        if not word.text.startswith("--") and not equals:
            name, value = name[0], name[1:]
        following = rest[at + 1].text if at + 1 < len(rest) else ""
        found.append(Flag(name, value or ("" if equals or following.startswith("-") else following), word.source))
    return tuple(found)


def _spread(text: str) -> list[str]:
    """What a shell is given with -c is a command line in a word."""
    return _split(text) if any(character.isspace() for character in text) else [text]


def _fragments(unit: str, folders: Sequence[Path]) -> list[Path]:
    main = next((folder / unit for folder in folders if os.path.lexists(folder / unit)), None)
    if main is None:
        return []
    drop_ins: dict[str, Path] = {}
    for directory in (f"{unit}.d", f"{unit.rpartition('.')[2]}.d"):
        for folder in folders:
            for path in _entries(folder / directory):
                if path.suffix == ".conf":
                    drop_ins.setdefault(path.name, path)
    return [main, *(drop_ins[name] for name in sorted(drop_ins))]


def _matching(root: Path, pattern: str) -> list[Path]:
    """The files that an absolute pattern names; one that systemd does not understand either names none."""
    if not pattern.startswith("/"):
        return []
    try:
        return sorted(root.glob(pattern.lstrip("/")))
    except (ValueError, OSError):
        return []


def _entries(directory: Path) -> list[Path]:
    try:
        return list(directory.iterdir())
    except OSError:
        return []


def _text(path: Path) -> str:
    """A file that cannot be read says nothing: one that is masked is a link to /dev/null."""
    try:
        return read(path).decode(errors="surrogateescape")
    except OSError:
        return ""


def _settings(text: str) -> Iterator[tuple[str, str]]:
    """What the section [Service] of a fragment sets, in its order."""
    section = ""
    for line in _lines(text):
        if line.startswith("["):
            section = line.strip("[]")
        elif section == "Service" and "=" in line:
            key, _, value = line.partition("=")
            yield key.strip(), value.strip()


def _lines(text: str) -> Iterator[str]:
    """Lines with those that go on joined, without comments, which may stand between them, and blank ones."""
    pending = ""
    for raw in (*text.splitlines(), ""):
        line = raw.strip()
        if line.startswith(("#", ";")):
            continue
        if line.endswith("\\"):
            pending += line[:-1] + " "
            continue
        if whole := (pending + line).strip():
            yield whole
        pending = ""


def _assigned(settings: Sequence[str] | Iterator[str], source: str) -> dict[str, Word]:
    found = {}
    for setting in settings:
        if match := _SETTING.fullmatch(setting):
            value = match[2].strip()
            if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
                value = value[1:-1]
            found[match[1]] = Word(value, source)
    return found


def _expanded(command: Word, variables: Mapping[str, Word]) -> Iterator[Word]:
    for text in _split(command.text.lstrip(_PREFIXES)):
        if whole := _WHOLE.fullmatch(text):
            if value := variables.get(whole[1]):
                yield from (Word(part, value.source) for part in _split(value.text))
            continue
        used = [variables[name] for name in _WITHIN.findall(text) if name in variables]
        put = _WITHIN.sub(lambda match: variables[match[1]].text if match[1] in variables else "", text)
        yield Word(put.replace("$$", "$").replace("%%", "%"), used[-1].source if used else command.source)


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:  # a quotation mark that is not closed
        return text.split()


def _same_mounts(process: Path, proc: Path) -> bool:
    """Whether it sees our files. Only root may look, and only root writes the machine's files."""
    try:
        return (process / "ns/mnt").readlink() == (proc / "self/ns/mnt").readlink()
    except OSError:
        return True
