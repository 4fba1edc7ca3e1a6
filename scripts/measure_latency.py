"""How long people wait for what should answer at once, beside the time that `import typer` takes by itself.

    python -m scripts.measure_latency [--runs 20]

Medians, on a machine that is idle. Nothing is started, and the home is an empty one.
Exits with 1 where something takes longer than it may.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

BASE = ("-c", "import typer")
OBOL = ("-m", "obol")
SLOWER_BY: Mapping[tuple[str, ...], float] = {
    ("--help",): 0.060,
    ("kubectl", "version", "--client"): 0.060,
    ("cache", "status"): 0.180,
    ("__complete", "stack", ""): 0.180,
}
"""What is measured, and how many seconds longer than the base it may take."""


def medians(runs: int, home: Path) -> dict[tuple[str, ...], float]:
    """The seconds of each, and of the base; by turns, so that a busy moment meets all of them."""
    tools = home / "bin"
    tools.mkdir()
    (tools / "kubectl").write_text("#!/bin/sh\n", encoding="utf-8")
    (tools / "kubectl").chmod(0o755)
    environment = {"HOME": str(home), "PATH": f"{tools}:{os.defpath}"}
    commands = {BASE: BASE} | {words: (*OBOL, *words) for words in SLOWER_BY}
    seen: dict[tuple[str, ...], list[float]] = {words: [] for words in commands}
    for _run in range(runs + 1):
        for words, arguments in commands.items():
            seen[words].append(seconds(arguments, environment))
    return {words: statistics.median(found[1:]) for words, found in seen.items()}  # the first one reads from the disk


def seconds(arguments: Sequence[str], environment: Mapping[str, str]) -> float:
    """How long one run takes."""
    began = time.perf_counter()
    subprocess.run([sys.executable, *arguments], env=dict(environment), capture_output=True, check=True)
    return time.perf_counter() - began


def lines(found: Mapping[tuple[str, ...], float]) -> list[str]:
    """A line for each, with a mark at those that take too long."""
    base = found[BASE]
    told = [f"{1000 * base:6.0f} ms  import typer"]
    for words, limit in SLOWER_BY.items():
        mark = "" if found[words] <= base + limit else "  TOO SLOW"
        more = f"{1000 * (found[words] - base):+.0f} ms, at most {1000 * limit:+.0f}"
        told.append(f"{1000 * found[words]:6.0f} ms  obol {' '.join(words)} ({more}){mark}")
    return told


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and tell."""
    parser = argparse.ArgumentParser(description="Measure how long commands take to answer.")
    parser.add_argument("--runs", type=int, default=20)
    with tempfile.TemporaryDirectory(prefix="obol-latency-") as home:
        told = lines(medians(parser.parse_args(arguments).runs, Path(home)))
    print("\n".join(told))
    return 1 if any(line.endswith("TOO SLOW") for line in told) else 0


if __name__ == "__main__":
    sys.exit(main())
