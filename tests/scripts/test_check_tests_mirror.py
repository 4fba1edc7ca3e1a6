from pathlib import Path

import pytest

from scripts.check_tests_mirror import exemptions, problems


def checkout(root: Path, *files: str, exempt: str = "") -> Path:
    """Make a small checkout with these empty files."""
    (root / "pyproject.toml").write_text(f"[tool.obol.tests-mirror.exempt]\n{exempt}\n")
    for name in files:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def test_complete_mirror(tmp_path: Path) -> None:
    """Tests are found by their package alone, however they are divided; entry points need none."""
    root = checkout(
        tmp_path,
        *("src/obol/__main__.py", "src/obol/oci/__init__.py", "src/obol/oci/ranges.py", "src/obol/oci/lists.py"),
        *("tests/unit/oci/test_pages.py", "tests/unit/conftest.py"),
    )

    assert list(problems(root)) == []


def test_package_without_tests(tmp_path: Path) -> None:
    """Tests of the packages around it do not count, nor do helpers of tests."""
    root = checkout(
        tmp_path, "src/obol/oci/ranges.py", "src/obol/top.py", "tests/unit/test_top.py", "tests/unit/oci/world.py"
    )

    assert list(problems(root)) == ["src/obol/oci has no tests: tests/unit/oci has none"]


def test_tests_without_package(tmp_path: Path) -> None:
    """Tests that outlived their subject are reported."""
    root = checkout(tmp_path, "tests/unit/oci/test_ranges.py")

    assert list(problems(root)) == ["tests/unit/oci has no subject: src/obol/oci has no modules"]


def test_exemptions_are_honoured_and_watched(tmp_path: Path) -> None:
    """An exempt package needs no tests; an exemption that nothing needs is a problem."""
    root = checkout(
        tmp_path,
        *("src/obol/values/base.py", "src/obol/tested/it.py", "tests/unit/tested/test_it.py"),
        exempt='"values" = "values only"\n"gone" = "?"\n"tested" = "?"',
    )

    assert list(problems(root)) == [
        "src/obol/gone is exempt, but there is no such package",
        "src/obol/tested is exempt, but it has tests: tests/unit/tested",
    ]


def test_exemption_needs_a_reason_in_words(tmp_path: Path) -> None:
    """The table holds text only."""
    with pytest.raises(TypeError, match="reason"):
        exemptions(checkout(tmp_path, exempt='"base" = true'))
