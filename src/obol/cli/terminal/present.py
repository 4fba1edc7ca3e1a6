"""Results as text for people or as JSON, and errors as either.

The result goes to standard output, everything else to standard error, so that `obol … -o json | jq` never meets a
sentence. An error as JSON goes to standard error too, as {"error": {…}}: standard output then stays empty.
"""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import zip_longest
from typing import TYPE_CHECKING, TextIO

from obol.cli.later import later
from obol.errors import Interrupted, SettingsError
from obol.machine.texts import json_bytes, shown

if TYPE_CHECKING:
    import msgspec

    from obol.cli.results import others as results
    from obol.cli.results.others import Failure
    from obol.errors import ObolError
else:
    msgspec, results = later("msgspec"), later("obol.cli.results.others")

GAP = "  "
"""Between two columns of a table."""
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_PIPE_WIDTH = 160
"""Columns for a table that goes to a file, where no terminal folds lines."""


class OutputFormat(StrEnum):
    """How results are written."""

    HUMAN = "human"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Table:
    """Columns by their titles; a title that begins with > is for a column of numbers."""

    titles: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


class AsIs(str):
    """Text of a result that people paste or write into a file: it is not folded."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Speaker:
    """Says things in the way that the person chose."""

    output: OutputFormat = OutputFormat.HUMAN
    verbose: bool = False
    quiet: bool = False

    def result(self, value: object, human: Callable[[], Sequence[str | Table]]) -> None:
        """Write a result: `value` (values that msgspec can encode) as JSON, or what `human` makes of it."""
        if self.output is OutputFormat.JSON:
            sys.stdout.write(msgspec.json.format(json_bytes(value), indent=2).decode() + "\n")
        else:
            for part in human():
                _write(part)

    def note(self, text: str) -> None:
        """Say something besides the result."""
        if not self.quiet:
            sys.stderr.write(_fold(text, 0) + "\n")

    def warn(self, text: str) -> None:
        """Say something that must not be missed: with --quiet too, unless the result is JSON, which has it."""
        if not self.quiet or self.output is OutputFormat.HUMAN:
            sys.stderr.write(_fold(text, 0) + "\n")

    def child(self, line: str) -> None:
        """Show a line of a program that we have called, with a bar before it."""
        dim, end = ("\x1b[2m", "\x1b[0m") if _coloured() else ("", "")
        sys.stderr.write(f"{dim}  │ {line}{end}\n")

    def error(self, error: ObolError) -> None:
        """Tell what failed, why, and what to do next."""
        if self.output is OutputFormat.JSON:
            sys.stderr.write(json_bytes(results.ErrorResult(failure(error))).decode() + "\n")
        elif isinstance(error, Interrupted):
            # The person knows what happened and why; what it means is the news.
            sys.stderr.write(_fold(_interruption(error), 0) + "\n")
        else:
            sys.stderr.write(_error_text(error, colour=_coloured()))


def failure(error: ObolError) -> Failure:
    """An error for programs."""
    problems = error.problems if isinstance(error, SettingsError) else ()
    return results.Failure(error.code, error.what, error.why, error.hint, problems, error.exit_code, error.notes)


def _write(part: str | Table) -> None:
    if isinstance(part, AsIs):
        sys.stdout.write(f"{part}\n")
        return
    if isinstance(part, str):
        sys.stdout.write(_fold(part, len(part) - len(part.lstrip(" ")), sys.stdout) + "\n")
        return
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else _PIPE_WIDTH
    titles, *rows = table_lines(part.titles, part.rows, width)
    bold, end = ("\x1b[1m", "\x1b[0m") if sys.stdout.isatty() and not os.environ.get("NO_COLOR") else ("", "")
    sys.stdout.writelines(f"{line}\n" for line in (f"{bold}{titles}{end}", *rows))


def _coloured() -> bool:
    """Whether standard error is a terminal, and the person wants colours: https://no-color.org."""
    return sys.stderr.isatty() and not os.environ.get("NO_COLOR")


def _error_text(error: ObolError, *, colour: bool) -> str:
    lines = [_fold(f"error: {error.what}", 0)]
    if colour:
        lines[0] = lines[0].replace("error:", "\x1b[1;31merror:\x1b[0m", 1)
    if isinstance(error, SettingsError):
        lines += [_fold(f"  - {problem}", 4) for problem in error.problems]
    elif error.why:
        first, *more = error.why.splitlines()
        lines += [_fold(f"  why: {first}", 7), *(_fold(f"       {line}", 7) for line in more)]
    if error.hint:
        lines.append(_fold(f"  try: {error.hint}", 7))
    return "\n".join(lines) + "\n"


def _interruption(error: Interrupted) -> str:
    """Sentences of what was interrupted, and what that means: "Interrupted. Nothing is left behind."."""
    return " ".join(f"{part[0].upper()}{part[1:].removesuffix('.')}." for part in (error.what, error.why) if part)


def _fold(line: str, indent: int, stream: TextIO | None = None) -> str:
    """Fold a line between words where a terminal (standard error, unless told) would fold it within one."""
    if not (stream or sys.stderr).isatty() or len(line) <= (width := shutil.get_terminal_size().columns):
        return line
    return textwrap.fill(line, width, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False)


def size(count: float) -> str:
    """Bytes for people: 1536 is 1.5 KiB."""
    for unit in _UNITS:
        if count < 1024 or unit == _UNITS[-1]:
            break
        count /= 1024
    return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"


def speed(count: int, seconds: float) -> str:
    """Bytes a second for people."""
    return f"{size(count / max(seconds, 0.001))}/s"


def span(seconds: float) -> str:
    """A length of time for people, by its two largest units: 7380 is 2 h 3 min."""
    whole = max(0, int(seconds))
    parts = [
        f"{amount} {unit}"
        for amount, unit in (
            (whole // 86400, "d"),
            (whole // 3600 % 24, "h"),
            (whole // 60 % 60, "min"),
            (whole % 60, "s"),
        )
        if amount
    ]
    return " ".join(parts[:2]) or "0 s"


def counted(count: int, noun: str) -> str:
    """A number of things: 1 blob, 1,200 blobs."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def tilde(path: str) -> str:
    """A path for people, with ~ for the home directory."""
    home = os.path.expanduser("~")  # noqa: PTH111 - text in, text out
    return shown(f"~{path[len(home) :]}" if home != "/" and path.startswith(f"{home}/") else path)


def table_lines(titles: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """Lay a table out, the line (or lines) of titles first; a title that begins with > is for a column of numbers.

    Cells are folded between words if the table is too wide, and never within one: people copy URLs and paths. If not
    even that fits, lines are longer than the terminal is wide. rich could do it, but takes longer to load than most
    commands run.
    """
    right = [title.startswith(">") for title in titles]
    cells = [[title.removeprefix(">") for title in titles], *rows]
    widths = _widths(list(zip(*cells, strict=True)), width)
    lines = []
    for row in cells:
        folded = [_folded(cell, column) for cell, column in zip(row, widths, strict=True)]
        for parts in zip_longest(*folded, fillvalue=""):
            placed = (
                part.rjust(column) if number else part.ljust(column)
                for part, column, number in zip(parts, widths, right, strict=True)
            )
            lines.append(GAP.join(placed).rstrip())
    return lines


def _folded(cell: str, width: int) -> list[str]:
    return textwrap.wrap(cell, width, break_long_words=False, break_on_hyphens=False) or [""]


def _widths(columns: Sequence[Sequence[str]], width: int) -> list[int]:
    """As wide as its longest cell is each column, unless that is too much: then the widest give way first."""
    found = [max(map(len, cells)) for cells in columns]
    least = [max((len(word) for cell in cells for word in cell.split()), default=0) for cells in columns]
    surplus = sum(found) + len(GAP) * (len(found) - 1) - width
    while surplus > 0 and (able := [at for at in range(len(found)) if found[at] > least[at]]):
        found[max(able, key=found.__getitem__)] -= 1
        surplus -= 1
    return [max(column, 1) for column in found]
