"""What should answer at once loads nothing that it has no use for."""

import subprocess
import sys
from pathlib import Path

import pytest

from scripts.measure_latency import BASE, SLOWER_BY, medians

HEAVY = ("aiohttp", "asyncio", "pydantic", "pydantic_settings", "rich", "structlog", "yaml")
_LOOK = f"""
import atexit, os, sys
def tell():
    found = [name for name in {HEAVY} if name in sys.modules]
    os.write(2, f"loaded: {{found}}".encode())
os.execve = lambda *_: (tell(), os._exit(0))
atexit.register(tell)
from obol.__main__ import main
sys.argv = ["obol", *sys.argv[1:]]
main()
"""


@pytest.mark.parametrize("words", [*SLOWER_BY, ("cache", "status", "-o", "json"), ("kubectl", "--help"), ("schema",)])
def test_nothing_heavy_is_loaded(tmp_path: Path, words: tuple[str, ...]) -> None:
    """Help, pass-through, completion and the status of the cache load no HTTP library, no settings library, no rich."""
    tool = tmp_path / "kubectl"
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)

    done = subprocess.run(
        [sys.executable, "-c", _LOOK, *words],
        env={"HOME": str(tmp_path), "PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stderr.splitlines()[-1].rpartition("loaded: ")[2] == "[]"


def test_nothing_takes_long(tmp_path: Path) -> None:
    """Also on a busy machine nobody waits for seconds; what it is on an idle one scripts.measure_latency tells."""
    found = medians(3, tmp_path)

    for words in SLOWER_BY:
        assert found[words] < 3 * found[BASE] + 1, words
