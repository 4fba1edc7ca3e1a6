import builtins
import importlib
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from obol.errors import ObolError, SettingsError, UsageError
from scripts import generate_errors_doc
from scripts.generate_errors_doc import cell, main, refusals, render, tree


@dataclass(frozen=True)
class ErrorKind:
    """As in obol.oci.errors."""

    status: int
    code: str
    message: str


def test_cell_is_one_line_without_column_marks() -> None:
    """Text of several lines, with a bar in it, stays within its cell."""
    assert cell("one\n  two | three") == "one two \\| three"


def test_derived_errors_follow_their_base() -> None:
    """Each class stands below its base, indented once more, with its exit code and its name in JSON."""
    rows = list(tree(UsageError))

    assert rows[0].startswith("| `UsageError` | 2 | `usage` | ")
    assert rows[1].startswith("| &emsp;`SettingsError` | 2 | `settings` | ")
    assert len(rows) == 1 + len(UsageError.__subclasses__())


def test_whole_tree_is_there_once() -> None:
    """No class is left out or repeated."""
    rows = list(tree(ObolError))

    assert len(rows) == len(set(rows))
    assert any(f"`{SettingsError.__name__}`" in row for row in rows)


def test_refusals_are_sorted_by_status() -> None:
    """The constants of the table become rows; two names of one kind make one row; nothing else becomes one."""
    module = ModuleType("table")
    vars(module).update(
        ErrorKind=ErrorKind,
        GONE=ErrorKind(404, "MANIFEST_UNKNOWN", "manifest unknown"),
        BAD=ErrorKind(400, "NAME_INVALID", "invalid name"),
        ALSO_BAD=ErrorKind(400, "NAME_INVALID", "invalid name"),
        LIMIT=512,
    )

    assert refusals(module) == [
        "| 400 | `NAME_INVALID` | invalid name |",
        "| 404 | `MANIFEST_UNKNOWN` | manifest unknown |",
    ]


def test_page_without_the_table_of_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page can be written before anything speaks to registry clients."""

    def absent(name: str) -> ModuleType:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib, "import_module", absent)

    assert "registry clients" not in render()


def test_main_writes_the_page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The page is written where it belongs, its directory made where needed."""
    monkeypatch.setattr(generate_errors_doc, "PAGE", tmp_path / "docs" / "errors.md")
    monkeypatch.setattr(builtins, "print", lambda _text: None)

    assert main() == 0
    assert (tmp_path / "docs" / "errors.md").read_text() == render()
