from pathlib import Path

from scripts.check_sizes import oversized_functions, problems


def function(lines: int) -> str:
    """Source of a function of so many lines, its `def` included."""
    return "\n".join(["def f():", *["    x = 1"] * (lines - 1)]) + "\n"


def test_limit_is_inclusive() -> None:
    """A function of 60 lines passes, one of 61 does not."""
    assert list(oversized_functions(function(60))) == []
    assert list(oversized_functions(function(61))) == [(1, "f", 61)]


def test_docstring_and_blank_lines_count() -> None:
    """What is within a function counts, whatever it is."""
    source = 'async def f():\n    """Say.\n' + "\n" * 58 + '    """\n'

    assert list(oversized_functions(source)) == [(1, "f", 61)]


def test_decorators_do_not_count() -> None:
    """Counting begins at the `def`."""
    assert list(oversized_functions("@a\n@b\n" + function(60))) == []


def test_methods_and_inner_functions_are_looked_at() -> None:
    """No nesting hides a long function."""
    inner = "\n".join("    " + line for line in function(61).splitlines())

    assert list(oversized_functions(f"class C:\n{inner}\n")) == [(2, "f", 61)]


def test_problems_of_a_checkout(tmp_path: Path) -> None:
    """Long files are found in sources and tests; long functions in sources only."""
    for folder in ("src", "tests"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "long_file.py").write_text("x = 1\n" * 401)
        (tmp_path / folder / "long_function.py").write_text(function(70))
        (tmp_path / folder / "fine.py").write_text("x = 1\n" * 400)

    found = list(problems(tmp_path))

    assert [line.split(":")[0] for line in found] == ["src/long_file.py", "src/long_function.py", "tests/long_file.py"]
    assert "401 lines" in found[0]
    assert found[1].startswith("src/long_function.py:1: f() has 70 lines")
