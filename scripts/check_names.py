"""Gate on names: one word for one thing, as the glossary in docs/architecture.md has it.

Two public classes of src/obol never have the same name: a stack trace, a search and a reader see the name alone. And
the words in `CLASSES` and `WORDS` are not used, because another word stands for what they meant. A word is listed only
where it can be told from plain English: most of them as the name of a class, the others by the way in which they were
used.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

SOURCES = "src/obol"
CODE = (SOURCES, "tests", "bench", "scripts")
PAGES = ("docs", "README.md", "CONTRIBUTING.md")
OWN = frozenset({"scripts/check_names.py", "tests/scripts/test_check_names.py"})
"""Files that name the words because they are about them."""

_NAMED_FOR_ITS_OWNER = "keyword arguments, or a value named for its owner, as K3dEnvironment"
_WHAT_IT_IS = "a name that ends in Request, Result or Status"
CLASSES: Mapping[str, str] = {
    "Brought": _WHAT_IT_IS,
    "Fill": "Transfer",
    "FollowedBlob": "Follower",
    "Ground": _NAMED_FOR_ITS_OWNER,
    "GrowingBlob": "Follower",
    "Lane": "a name for what it is: a pool, or a line of a network",
    "Looks": _NAMED_FOR_ITS_OWNER,
    "Meant": _WHAT_IT_IS,
    "Place": "RepositoryKey, or what is at the place",
    "Raised": _WHAT_IT_IS,
    "Right": "Grant",
    "Seen": _WHAT_IT_IS,
    "Shown": _WHAT_IT_IS,
    "Space": "Scope, or DiskSpace",
    "Surroundings": _NAMED_FOR_ITS_OWNER,
    "Talk": "Preferences",
    "Told": _WHAT_IT_IS,
    "Turns": "a lock, or a queue",
    "Wanted": _WHAT_IT_IS,
}
"""Names that no class has, with or without an underscore before it, and what it is called instead."""

WORDS: Mapping[str, str] = {
    r"\brooms\b": "packages",
    r"(?:\.|\bdef )point\(": "set_tag(",
    r"\b_?[Ff]ills?\b(?=\.(?:frontier|size|failure|phase|wait|end)\b)": "transfer",
    r"\b(?:a|the|each|every|one|its) fill\b": "transfer",
    r"\b[Ff]lights? of (?:a|the|that|its) (?:blob|layer|digest)\b": "transfer",
}
"""Regular expressions for what no text of ours has, and what is written instead."""


def public_classes(source: str) -> Iterator[tuple[int, str]]:
    """Yield (line, name) of each public class that a module of this text defines at its top. Raises SyntaxError."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield node.lineno, node.name


def equal_names(root: Path) -> Iterator[str]:
    """Yield a line of text for each name that several public classes of src/obol have."""
    places: dict[str, list[str]] = defaultdict(list)
    for path in sorted((root / SOURCES).rglob("*.py")):
        for line, name in public_classes(path.read_text(encoding="utf-8")):
            places[name].append(f"{path.relative_to(root).as_posix()}:{line}")
    for name, found in sorted(places.items()):
        if len(found) > 1:
            yield f"{name} is the name of {len(found)} public classes: {', '.join(found)}"


def banned_words(root: Path) -> Iterator[str]:
    """Yield a line of text for each place that uses a word which has another in its place."""
    words = [(re.compile(pattern), instead) for pattern, instead in WORDS.items()]
    classes = re.compile(rf"^\s*class _?({'|'.join(CLASSES)})\b")
    for path in _texts(root):
        name = path.relative_to(root).as_posix()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if path.suffix == ".py" and (found := classes.match(line)):
                yield f"{name}:{number}: class {found[1]}: say {CLASSES[found[1]]}"
            for pattern, instead in words:
                if found := pattern.search(line):
                    yield f"{name}:{number}: {found[0].strip()!r}: say {instead!r}"


def _texts(root: Path) -> Iterator[Path]:
    """The files that are looked at: code, and the pages that people read."""
    for folders, kind in ((CODE, "*.py"), (PAGES, "*.md")):
        for folder in folders:
            top = root / folder
            for path in [top] if top.is_file() else sorted(top.rglob(kind)):
                if path.relative_to(root).as_posix() not in OWN:
                    yield path


def main() -> int:
    """Print the names that must not be; 1 if there are any."""
    found = [*equal_names(Path.cwd()), *banned_words(Path.cwd())]
    print("\n".join(found) or "one word for one thing")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
