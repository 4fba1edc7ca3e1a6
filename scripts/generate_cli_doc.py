"""Write docs/cli.md: the help of every command of ours, as a terminal of 80 columns shows it.

The page is generated so that it can't drift; `scripts.check_docs` compares it with what the commands say.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from typer.main import get_command
from typer.testing import CliRunner

from obol.cli.main import app
from obol.cli.passthrough import TOOLS

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path("docs/cli.md")
INTRODUCTION = """\
<!-- Written by `make docs`: change src/obol/cli instead. -->

# The command line

Results go to standard output; everything else that people read goes to standard error. With `-o json` a result is
JSON, and so is an error, as `{"error": {...}}` on standard error. Exit codes: 0 done, 1 failed, 2 wrong usage,
3 a dependency is missing, 4 not there, 130 interrupted ([errors](errors.md)). What the options mean as settings, and
where else they can be given, is in [settings](settings.md).
"""


PASSED = f"""\
### {", ".join(f"obol {tool}" for tool in TOOLS)}

The process becomes the tool, pointed at the stack's cluster: every argument is the tool's, `--help` too, and so are
the output and the exit code. A leading `--` is dropped, a `--kubeconfig` of your own goes before the stack's. Options
of obol before the name of a tool would mean nothing, and are refused. A tool that is not installed is exit code 3.
Where the stack has no cluster that runs, that is exit code 4, and the tool is not run: it would ask whoever listens on
localhost:8080. What needs no cluster works without one: `--help`, `completion`, `kubectl version --client`, `helm
template`, and all with a `--kubeconfig` of your own.
"""


def commands() -> Iterator[tuple[str, ...]]:
    """Yield the words of every command that is shown, groups before their members."""
    yield from _below(get_command(app), ())


def _below(command: object, words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    yield words
    members = getattr(command, "commands", {})
    for name, member in members.items():
        if not member.hidden and name not in TOOLS:
            yield from _below(member, (*words, name))


def help_of(words: tuple[str, ...]) -> str:
    """What `--help` of a command says."""
    environment = {**os.environ, "COLUMNS": "80", "TERMINAL_WIDTH": "80", "NO_COLOR": "1"}
    result = CliRunner(env=environment).invoke(app, [*words, "--help"], prog_name="obol")
    if result.exit_code:
        raise RuntimeError(f"obol {' '.join(words)} --help failed: {result.output}") from result.exception
    return "\n".join(line.rstrip() for line in result.output.strip().splitlines())


def render() -> str:
    """The whole page."""
    parts = [INTRODUCTION]
    for words in commands():
        title = " ".join(("obol", *words))
        parts.append(f"{'#' * min(len(words) + 2, 4)} {title}\n\n```text\n{help_of(words)}\n```\n")
    parts.append(PASSED)
    return "\n".join(parts)


def main() -> int:
    """Write the page."""
    PAGE.write_text(render(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
