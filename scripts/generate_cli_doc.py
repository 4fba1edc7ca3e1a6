"""Write docs/cli.md: the help of every command of ours, as a terminal of 80 columns shows it.

The page is generated so that it can't drift; `scripts.check_docs` compares it with what the commands say.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from typer.main import get_command
from typer.testing import CliRunner

from obol.cli.main import app
from obol.cli.passthrough import TOOLS

PAGE = Path("docs/cli.md")
INTRODUCTION = """\
<!-- Written by `make docs`: change src/obol/cli instead. -->

# The command line

obol writes results to standard output, and everything else that people read to standard error. With `-o json` a result
is [JSON](json.md), and so is an error. Each failure has its exit code ([errors](errors.md)). Most options can also be
set elsewhere ([settings](settings.md)).
"""


PASSED = f"""\
### {", ".join(f"obol {tool}" for tool in TOOLS)}

obol becomes the tool, with the stack's cluster as its cluster. The tool gets every argument, `--help` too, and the
output and the exit code are the tool's. obol drops a leading `--`, and leaves a `--kubeconfig` of your own as it is. It
refuses its own options before the name of a tool, because they would mean nothing. If the tool is not installed, the
exit code is 3. If no cluster of the stack runs, the exit code is 4, and obol does not run the tool, which would ask
localhost:8080. What needs no cluster works without one: `--help`, `completion`, `kubectl version --client`, `helm
template`, and everything with a `--kubeconfig` of your own.
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
