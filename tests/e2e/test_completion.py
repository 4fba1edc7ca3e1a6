"""Shells that complete `obol …` with the script that it prints for them."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from obol.cli.completion import Shell, script

LINES = {
    "obol sta": ["stack"],
    "obol stack up --backend k": ["k3d", "k3s"],
    "obol stack up --backend=k": ["k3d", "k3s"],  # bash takes what follows the sign for a word of its own
    "obol -o json cache serve --no-of": ["--no-offline"],
    "obol kubectl get po": ["pods"],
}
_TRY = """
source <(obol completion bash)
for line in {lines}; do
    COMP_LINE=$line COMP_POINT=${{#line}} COMP_WORDS=() COMP_CWORD=0
    for word in $line; do
        [[ $word == --*=* ]] && COMP_WORDS+=("${{word%%=*}}" = "${{word#*=}}") || COMP_WORDS+=("$word")
    done
    COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
    "$(complete -p obol | sed 's/.*-F \\([^ ]*\\) .*/\\1/')"
    echo "${{COMPREPLY[*]}}"
done
"""


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """Somebody who has `obol` and `kubectl` on their PATH."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, body in {
        "obol": f'exec {shlex.quote(sys.executable)} -m obol "$@"',
        "kubectl": '[ "$*" = "__complete get po" ] && printf "pods\\tall\\n:4\\n"',
    }.items():
        (programs / name).write_text(f"#!/bin/sh\n{body}\n")
        (programs / name).chmod(0o755)
    return {"PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(tmp_path)}


@pytest.mark.tool("bash")
def test_bash(environ: dict[str, str]) -> None:
    """Bash completes commands, options, values and the words of a tool whatever bash itself takes for a word."""
    text = _TRY.format(lines=shlex.join(LINES))

    ran = subprocess.run(["bash", "--norc", "-c", text], env=environ, capture_output=True, text=True, check=False)

    assert ran.stdout.splitlines() == [" ".join(words) for words in LINES.values()], ran.stderr


@pytest.mark.parametrize("shell", [pytest.param(shell, marks=pytest.mark.tool(shell)) for shell in Shell])
def test_syntax(shell: Shell) -> None:
    """Each shell can read its script."""
    subprocess.run([shell, "-n"], input=script(shell), text=True, check=True)
