"""Write docs/errors.md from the classes in obol.errors and the table in obol.oci.errors.

The page is generated so that it can't drift; `scripts.check_docs` compares it with what the code says.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from obol import errors

if TYPE_CHECKING:
    from types import ModuleType

PAGE = Path("docs/errors.md")
EXIT_CODES = """\
| exit code | meaning |
|---|---|
| 0 | done |
| 1 | something failed |
| 2 | the command line or a setting is wrong |
| 3 | a program that obol calls is not there |
| 4 | what the command is about is not there: no stack, no cluster, no cache that runs, nothing to undo |
| 130 | interrupted |
"""
INTRODUCTION = f"""\
<!-- Written by `make docs`: change src/obol/errors.py or src/obol/oci/errors.py instead. -->

# Errors

## What the command line reports

A failed command says on standard error what failed, why, and what to do next. Scripts can rely on the exit code:

{EXIT_CODES}
These are the classes of errors. Special ones stand below the general one:

| error | exit code | `code` in JSON | when |
|---|---|---|---|
"""
REFUSALS = """
## What registry clients get

The body of a refusal is the JSON of the
[distribution specification](https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md#error-codes):
`{"errors": [{"code": ..., "message": ..., "detail": ...}]}`.

| status | code | message |
|---|---|---|
"""


def cell(text: str) -> str:
    """Text made fit for a cell of a table: one line, no column marks."""
    return " ".join(text.split()).replace("|", "\\|")


def tree(kind: type[errors.ObolError], depth: int = 0) -> Iterator[str]:
    """Yield a table row for `kind` and, indented below it, for each class derived from it in obol.errors."""
    summary = (inspect.getdoc(kind) or "").split("\n\n", maxsplit=1)[0]
    indent = "&emsp;" * depth
    yield f"| {indent}`{kind.__name__}` | {kind.exit_code} | `{kind.code}` | {cell(summary)} |"
    for derived in kind.__subclasses__():
        if derived.__module__ == errors.__name__:
            yield from tree(derived, depth + 1)


def refusals(module: ModuleType) -> Sequence[str]:
    """The table rows of the `ErrorKind` constants of `module`, by status and code."""
    kinds = [value for value in vars(module).values() if isinstance(value, module.ErrorKind)]
    rows = {(kind.status, kind.code, kind.message) for kind in kinds}
    return [f"| {status} | `{code}` | {cell(message)} |" for status, code, message in sorted(rows)]


def render() -> str:
    """The whole page. The second part is left out while nothing speaks to registry clients."""
    text = INTRODUCTION + "\n".join(tree(errors.ObolError)) + "\n"
    try:
        table = importlib.import_module("obol.oci.errors")
    except ModuleNotFoundError:
        return text
    return text + REFUSALS + "\n".join(refusals(table)) + "\n"


def main() -> int:
    """Write the page."""
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(render(), encoding="utf-8")
    print(f"wrote {PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
