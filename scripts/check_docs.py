"""The documents say what the code says.

docs/architecture.md has a paragraph for each package of src/obol, and for each module beside them, which opens with
its name in bold code: ``**`registry.store`** …``. Generated pages are what their generator writes now.
Links from the pages at the top (README.md and its neighbours) lead to files that exist; mkdocs checks those in docs/.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from scripts import (
    generate_cli_doc,
    generate_errors_doc,
    generate_json_doc,
    generate_schemas,
    generate_settings_doc,
)

ARCHITECTURE = Path("docs/architecture.md")
SHORTEST = 60
"""Characters below which a paragraph can hardly say what a package is for and what it may not do."""

GENERATED: Mapping[Path, Callable[[], str]] = {
    **{
        page.PAGE: page.render
        for page in (generate_cli_doc, generate_errors_doc, generate_json_doc, generate_settings_doc)
    },
    **generate_schemas.FILES,
}

_PARAGRAPH = re.compile(r"^\*\*`(?P<package>[a-z0-9_.]+)`\*\*(?P<text>.*?)(?=\n\s*\n|\Z)", re.MULTILINE | re.DOTALL)

_LINK = re.compile(r"\]\((?P<path>[^):#\s]+)(#[^)\s]*)?\)")
"""A link to a path: addresses have a colon."""


def packages(root: Path) -> frozenset[str]:
    """Dotted names of the packages below `root`, and of its own modules."""
    folders = {".".join(path.parent.relative_to(root).parts) for path in root.rglob("__init__.py")}
    modules = {path.stem for path in root.glob("*.py") if not path.stem.startswith("__")}
    return frozenset((folders | modules) - {""})


def undescribed(page: str, names: frozenset[str]) -> Iterator[str]:
    """Yield a line of text for each package without a paragraph in `page`, and each paragraph without a package."""
    described = {found["package"]: found["text"].strip() for found in _PARAGRAPH.finditer(page)}
    for name in sorted(names):
        if len(described.get(name, "")) < SHORTEST:
            yield f"{ARCHITECTURE} needs a paragraph about the package {name}, opening with **`{name}`**"
    for name in sorted(described.keys() - names):
        yield f"{ARCHITECTURE} describes {name}, but src/obol has no such package"


def stale(root: Path, generated: Mapping[Path, Callable[[], str]]) -> Iterator[str]:
    """Yield a line of text for each generated page that its generator would now write differently."""
    for page, render in generated.items():
        path = root / page
        if not path.exists() or path.read_text(encoding="utf-8") != render():
            yield f"{page} is out of date; `make docs` writes it"


def dead_links(root: Path) -> Iterator[str]:
    """Yield a line of text for each link from a page at the top of the tree to a file that is not there."""
    for page in sorted(root.glob("*.md")):
        for link in _LINK.finditer(page.read_text(encoding="utf-8")):
            if not (root / link["path"]).exists():
                yield f"{page.name} links to {link['path']}, which is not there"


def problems(root: Path) -> Iterator[str]:
    """Yield a line of text for everything in the documents that the code contradicts."""
    page = root / ARCHITECTURE
    text = page.read_text(encoding="utf-8") if page.exists() else ""
    yield from undescribed(text, packages(root / "src" / "obol"))
    yield from stale(root, GENERATED)
    yield from dead_links(root)


def main() -> int:
    """Print what has drifted; 1 if anything has."""
    found = list(problems(Path.cwd()))
    print("\n".join(found) or "the documents agree with the code")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
