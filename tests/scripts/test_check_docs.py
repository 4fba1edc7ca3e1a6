from pathlib import Path

from scripts.check_docs import dead_links, packages, stale, undescribed

WORDS = "what this package is for, who may call it, and what it is not allowed to do."


def test_rooms_are_packages_and_top_modules(tmp_path: Path) -> None:
    """Packages at any depth are packages, and modules beside them; modules within are not."""
    for name in ("__init__.py", "__main__.py", "errors.py", "oci/__init__.py", "oci/ranges.py", "a/b/__init__.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    assert packages(tmp_path) == {"errors", "oci", "a.b"}


def test_described_rooms_pass() -> None:
    """A paragraph may break its lines and be the last of the page."""
    page = f"# Packages\n\n**`oci`** is pure:\n{WORDS}\n\n**`registry.store`** {WORDS}"

    assert list(undescribed(page, frozenset({"oci", "registry.store"}))) == []


def test_missing_short_and_foreign_paragraphs() -> None:
    """A package left out, one described in three words and one that does not exist are told apart."""
    page = f"**`oci`** is a package.\n\n**`kitchen`** {WORDS}\n"

    assert list(undescribed(page, frozenset({"oci", "machine"}))) == [
        "docs/architecture.md needs a paragraph about the package machine, opening with **`machine`**",
        "docs/architecture.md needs a paragraph about the package oci, opening with **`oci`**",
        "docs/architecture.md describes kitchen, but src/obol has no such package",
    ]


def test_stale_pages(tmp_path: Path) -> None:
    """A generated page that is missing or differs is out of date; an equal one is not."""
    (tmp_path / "same.md").write_text("text\n")
    (tmp_path / "old.md").write_text("old text\n")
    pages = {Path(name): lambda: "text\n" for name in ("same.md", "old.md", "missing.md")}

    assert list(stale(tmp_path, pages)) == [
        "old.md is out of date; `make docs` writes it",
        "missing.md is out of date; `make docs` writes it",
    ]


def test_dead_links(tmp_path: Path) -> None:
    """A link from a page at the top to a file or folder that is not there is told; addresses and anchors are not."""
    (tmp_path / "there.md").write_text("[a](gone.md), [b](there.md#part), [c](https://example.org/x), [d](#part)\n")
    (tmp_path / "README.md").write_text("![picture](docs/none.svg)\n")

    assert list(dead_links(tmp_path)) == [
        "README.md links to docs/none.svg, which is not there",
        "there.md links to gone.md, which is not there",
    ]
