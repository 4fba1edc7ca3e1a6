"""daemon.json: the mirrors of Docker Hub, put into a file whose other settings keep their text.

https://docs.docker.com/reference/cli/dockerd/#daemon-configuration-file. JSON has no comments, but people lay their
files out; so the text is changed where a mirror goes and nowhere else. ValueErrors say what is wrong with a file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import NoReturn

KEY = "registry-mirrors"
_BLANK = " \t\r\n"

_KEYS = {
    **{
        plural.removesuffix("s"): plural
        for plural in (
            KEY,
            "authorization-plugins",
            "cdi-spec-dirs",
            "cluster-store-opts",
            "default-address-pools",
            "default-network-opts",
            "default-ulimits",
            "dns-opts",
            "exec-opts",
            "hosts",
            "labels",
            "log-opts",
            "node-generic-resources",
            "storage-opts",
        )
    },
    "insecure-registry": "insecure-registries",
    "default-address-pool": "default-address-pools",
    "graph": "data-root",
    "D": "debug",
    "G": "group",
    "H": "hosts",
    "b": "bridge",
    "g": "data-root",
    "l": "log-level",
    "p": "pidfile",
    "s": "storage-driver",
}
"""What a flag is called in the file, where that is not its own name."""
_BOTH = frozenset({"add-runtime", "feature", "config-file", "validate"})
"""Flags that may stand beside the file's own."""
_VALUES = frozenset(
    {"builder", "cluster-store-opts", "default-network-opts", "default-ulimits", "features", "log-opts", "runtimes"}
)
_STRING = re.compile(r'"(?:[^"\\\n]|\\.)*"')
_COMMENT = re.compile(r"//|/\*|#")
_COMMA = re.compile(r",\s*[}\]]")


@dataclass(frozen=True, slots=True)
class _Member:
    """One setting, and where it stands in the text."""

    key: str
    value: object
    begin: int
    value_begin: int
    end: int


def mirrors_of(text: str) -> tuple[str, ...]:
    """The mirrors that a file names."""
    return _mirrors(_named(_members(text)))


def with_mirror(text: str, mirror: str) -> str:
    """Let `mirror` be the first one, if it is not there; others stay behind it."""
    members = _members(text)
    member = _named(members)
    if mirror in (known := _mirrors(member)):
        return text
    if member is not None:
        at = member.value_begin + 1
        return f"{text[:at]}{json.dumps(mirror)}{', ' if known else ''}{text[at:].lstrip(_BLANK)}"
    if not text.strip(_BLANK):
        return f'{{\n  "{KEY}": [{json.dumps(mirror)}]\n}}\n'
    at = text.index("{") + 1
    blank = text[at : members[0].begin] if members else "\n  "
    rest = f",{text[at:]}" if members else f"\n{text[at:].lstrip(_BLANK)}"
    return f'{text[:at]}{blank}"{KEY}": [{json.dumps(mirror)}]{rest}'


def without_mirrors(text: str, mirrors: Collection[str]) -> str:
    """Take these mirrors out again, and the whole setting if no other is left."""
    members = _members(text)
    member = _named(members)
    left = [mirror for mirror in _mirrors(member) if mirror not in mirrors]
    if member is None or len(left) == len(_mirrors(member)):
        return text
    if left:
        return f"{text[: member.value_begin]}{json.dumps(left)}{text[member.end :]}"
    position = members.index(member)
    if position + 1 < len(members):
        return text[: member.begin] + text[members[position + 1].begin :]
    begin = members[position - 1].end if position else member.begin
    return text[:begin] + text[member.end :]


def given_twice(text: str, flags: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """The flags that say what the file says, too, and its names for that: dockerd does not start with both."""
    told = {key for member in _members(text) for key in _flat(member)}
    pairs = ((flag, _KEYS.get(flag, flag)) for flag in dict.fromkeys(flags) if flag not in _BOTH)
    return tuple((flag, key) for flag, key in pairs if key in told)


def _flat(member: _Member) -> tuple[str, ...]:
    """Dockerd looks one table deep, but for those that are one value to it."""
    if isinstance(member.value, dict) and member.key not in _VALUES:
        return tuple(member.value)
    return (member.key,)


def _named(members: list[_Member]) -> _Member | None:
    return next((member for member in members if member.key == KEY), None)


def _mirrors(member: _Member | None) -> tuple[str, ...]:
    if member is None:
        return ()
    if isinstance(member.value, list) and all(isinstance(one, str) for one in member.value):
        return tuple(member.value)
    raise ValueError(f"{KEY} is not a list of addresses")


def _members(text: str) -> list[_Member]:
    """The settings in their order; none in an empty file."""
    if text.startswith("\ufeff"):
        raise ValueError("it begins with a byte-order mark, which dockerd does not read: save it without one")
    if not text.strip(_BLANK):
        return []
    try:
        whole = json.loads(text, parse_constant=_refuse_constant)
    except ValueError as problem:
        raise ValueError(f"it is not valid JSON{_reason(text)}: {problem}") from problem
    except RecursionError as problem:
        raise ValueError("its tables are nested too deeply") from problem
    if type(whole) is not dict:
        raise ValueError("it is not a JSON object")
    found: list[_Member] = []
    decoder = json.JSONDecoder()
    at = _skip(text, 0, "{")
    while text[at] != "}":
        key, end = decoder.raw_decode(text, at)
        value_begin = _skip(text, end, ":")
        value, end = decoder.raw_decode(text, value_begin)
        found.append(_Member(key, value, at, value_begin, end))
        at = _skip(text, end, ",")
    keys = [member.key for member in found]
    if twice := sorted({key for key in keys if keys.count(key) > 1}):
        raise ValueError(f"it has a setting twice: {', '.join(twice)}")
    if odd := [key for key in keys if key != KEY and key.casefold() == KEY]:
        raise ValueError(f"it has {odd[0]}, which dockerd knows as {KEY} only")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no value of JSON")


def _reason(text: str) -> str:
    """What people write that JSON does not have; dockerd reads neither."""
    bare = _STRING.sub('""', text)
    if _COMMENT.search(bare):
        return ", which has no comments"
    return ", which has no comma behind the last value" if _COMMA.search(bare) else ""


def _skip(text: str, at: int, mark: str) -> int:
    """The next place that is neither blank nor one `mark`."""
    while text[at] in _BLANK or text[at] == mark:
        at += 1
    return at
