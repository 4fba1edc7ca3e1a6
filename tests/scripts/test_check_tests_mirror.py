from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from scripts.check_tests_mirror import exemptions, mirror_of, problems, source_of


def checkout(root: Path, *files: str, exempt: str = "") -> Path:
    """Make a small checkout with these empty files."""
    (root / "pyproject.toml").write_text(f"[tool.obol.tests-mirror.exempt]\n{exempt}\n")
    for name in files:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def test_paths_are_mirrored() -> None:
    """A module and its tests find each other by their paths alone."""
    module, test = PurePosixPath("src/obol/oci/ranges.py"), PurePosixPath("tests/unit/oci/test_ranges.py")

    assert mirror_of(module) == test
    assert source_of(test) == module


def test_complete_mirror(tmp_path: Path) -> None:
    """Packages and entry points need no tests; every other module has them."""
    root = checkout(
        tmp_path,
        *("src/obol/__init__.py", "src/obol/__main__.py", "src/obol/oci/ranges.py"),
        *("tests/unit/oci/test_ranges.py", "tests/unit/test___main__.py", "tests/unit/conftest.py"),
    )

    assert list(problems(root)) == []


def test_module_without_tests(tmp_path: Path) -> None:
    """A test module of the same name elsewhere does not count."""
    root = checkout(tmp_path, "src/obol/oci/ranges.py", "src/obol/ranges.py", "tests/unit/test_ranges.py")

    assert list(problems(root)) == ["src/obol/oci/ranges.py has no tests: tests/unit/oci/test_ranges.py is missing"]


def test_tests_without_module(tmp_path: Path) -> None:
    """Tests that outlived their subject are reported."""
    root = checkout(tmp_path, "tests/unit/oci/test_ranges.py")

    assert list(problems(root)) == ["tests/unit/oci/test_ranges.py has no subject: src/obol/oci/ranges.py is missing"]


def test_exemptions_are_honoured_and_watched(tmp_path: Path) -> None:
    """An exempt module needs no tests; an exemption that nothing needs is a problem."""
    root = checkout(
        tmp_path,
        *("src/obol/base.py", "src/obol/tested.py", "tests/unit/test_tested.py"),
        exempt='"base.py" = "ports only"\n"gone.py" = "?"\n"tested.py" = "?"',
    )

    assert list(problems(root)) == [
        "src/obol/gone.py is exempt, but there is no such module",
        "src/obol/tested.py is exempt, but it has tests: tests/unit/test_tested.py",
    ]


def test_exemption_needs_a_reason_in_words(tmp_path: Path) -> None:
    """The table holds text only."""
    with pytest.raises(TypeError, match="reason"):
        exemptions(checkout(tmp_path, exempt='"base.py" = true'))
