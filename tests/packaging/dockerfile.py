"""Reads our Dockerfile, so that what is tried without it is what it says."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "Dockerfile"

HOW_IT_RUNS = frozenset(
    {"ENV", "VOLUME", "EXPOSE", "HEALTHCHECK", "ENTRYPOINT", "CMD", "USER", "WORKDIR", "STOPSIGNAL"}
)
"""Instructions that fill nothing and only say how containers of the image run."""
_OWNED = re.compile(r"install -d -o (?P<uid>\d+) -g (?P<gid>\d+) (?P<path>/\S+)")


@dataclass(frozen=True, slots=True)
class Instruction:
    """One line, with those that go on with it."""

    word: str
    rest: str


@dataclass(frozen=True, slots=True)
class OwnedDirectory:
    """A directory that is not root's."""

    path: str
    uid: int
    gid: int


def instructions(text: str) -> tuple[Instruction, ...]:
    """All of them, in order. Raises ValueError for what is none."""
    joined = re.sub(r"\\\n\s*", "", re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE))
    found = []
    for line in filter(None, map(str.strip, joined.splitlines())):
        word, _, rest = line.partition(" ")
        if not word.isupper() or not rest:
            raise ValueError(f"not an instruction: {line}")
        found.append(Instruction(word, rest.strip()))
    return tuple(found)


def last_stage(text: str) -> tuple[Instruction, ...]:
    """Those that make the image."""
    found = instructions(text)
    begin = max(number for number, one in enumerate(found) if one.word == "FROM")
    return found[begin + 1 :]


def changes(text: str) -> tuple[str, ...]:
    """How containers run, in the form of `docker import --change`."""
    return tuple(f"{one.word} {one.rest}" for one in last_stage(text) if one.word in HOW_IT_RUNS)


def owned_directories(text: str) -> tuple[OwnedDirectory, ...]:
    """The directories that the image makes for somebody else than root."""
    runs = " ".join(one.rest for one in last_stage(text) if one.word == "RUN")
    return tuple(OwnedDirectory(one["path"], int(one["uid"]), int(one["gid"])) for one in _OWNED.finditer(runs))
