"""Gate on size: a file of Python has at most 400 lines, a function at most 60.

A function is counted from the line of its `def` to its last line. Everything between counts: the signature, the
docstring, blank lines, comments and functions within. Decorators stand before the `def` and do not. Tests may have
longer functions, since a table of cases is no harder to read for its length; their files have the same limit.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

MAX_FILE = 400
MAX_FUNCTION = 60
FILE_ROOTS = ("src", "tests", "scripts", "bench")
FUNCTION_ROOTS = ("src", "scripts")


def oversized_functions(source: str) -> Iterator[tuple[int, str, int]]:
    """Yield (line, name, number of lines) of each function of `source` that is too long. Raises SyntaxError."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
            length = node.end_lineno - node.lineno + 1
            if length > MAX_FUNCTION:
                yield node.lineno, node.name, length


def problems(root: Path) -> Iterator[str]:
    """Yield a line of text for everything below `root`, a checkout, that is over a limit."""
    for folder in FILE_ROOTS:
        for path in sorted((root / folder).rglob("*.py")):
            source = path.read_text(encoding="utf-8")
            name = path.relative_to(root).as_posix()
            if (lines := len(source.splitlines())) > MAX_FILE:
                yield f"{name}: {lines} lines, at most {MAX_FILE} are allowed; split it by what its parts know"
            if folder in FUNCTION_ROOTS:
                for line, function, length in oversized_functions(source):
                    yield f"{name}:{line}: {function}() has {length} lines, at most {MAX_FUNCTION} are allowed"


def main() -> int:
    """Print what is too large; 1 if anything is."""
    found = list(problems(Path.cwd()))
    print("\n".join(found) or "every file and function is within the limits")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
