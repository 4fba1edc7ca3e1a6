from pathlib import Path

import pytest

from scripts.check_names import banned_words, equal_names, public_classes


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with an empty package, tests and pages."""
    for folder in ("src/obol/a", "src/obol/b", "tests", "docs"):
        (tmp_path / folder).mkdir(parents=True)
    return tmp_path


def test_public_classes_of_a_module() -> None:
    """A class counts where another module can import it: at the top, and without an underscore."""
    source = "class One:\n    class Inner: ...\n\nclass _Two: ...\n\ndef f() -> None:\n    class Three: ...\n"

    assert list(public_classes(source)) == [(1, "One")]


def test_equal_names(checkout: Path) -> None:
    """Two public classes of one name are told, with both places; private ones and those of tests are not."""
    (checkout / "src/obol/a/x.py").write_text("class Same: ...\nclass _Own: ...\n")
    (checkout / "src/obol/b/x.py").write_text("class Other: ...\nclass Same: ...\nclass _Own: ...\n")
    (checkout / "tests/x.py").write_text("class Other: ...\n")

    assert list(equal_names(checkout)) == [
        "Same is the name of 2 public classes: src/obol/a/x.py:1, src/obol/b/x.py:2",
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("class Surroundings:", "class Surroundings: say keyword arguments, or a value named for its owner"),
        ("    class _Told(Base):", "class Told: say a name that ends in Request, Result or Status"),
        ('"""Imports go between rooms."""', "'rooms': say 'packages'"),
        ("await names.point(place, tag)", "'.point(': say 'set_tag('"),
        ("# ends the fill", "'the fill': say 'transfer'"),
        ("# the flight of that digest", "'flight of that digest': say 'transfer'"),
    ],
)
def test_banned(checkout: Path, text: str, told: str) -> None:
    """A word that another one stands for is told with its place and the word to use."""
    (checkout / "src/obol/a/x.py").write_text(f"\n{text}\n")

    (found,) = banned_words(checkout)

    assert found.startswith(f"src/obol/a/x.py:2: {told}")


@pytest.mark.parametrize(
    "text",
    [
        "# The right place, seen from the ground: there is room, and space to fill.",
        "wanted = Request()\nshown = told(wanted)",
        "class PlaceHolder: ...",
        "textwrap.fill(line)",
        "# the flight of a manifest",
    ],
)
def test_plain_english(checkout: Path, text: str) -> None:
    """Words that are only banned as names stay words."""
    (checkout / "src/obol/a/x.py").write_text(text)

    assert list(banned_words(checkout)) == []


def test_pages(checkout: Path) -> None:
    """Pages are read, too; a class in an example on a page is no class of ours."""
    (checkout / "docs/x.md").write_text("class Told:\n\nTwo rooms.\n")
    (checkout / "README.md").write_text("Its rooms.\n")

    assert [line.split(": ")[0] for line in banned_words(checkout)] == ["docs/x.md:3", "README.md:1"]
