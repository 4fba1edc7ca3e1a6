import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.limits import scaled

ROOT = Path(__file__).parents[2]


@pytest.mark.tool("docker-registry", "nginx", "wrk", "taskset")
def test_a_quick_run_measures_everything(tmp_path: Path) -> None:
    """A quick run goes through every section, writes its page where it is told, and leaves no folder behind."""
    page = tmp_path / "page" / "benchmarks.md"
    argv = [sys.executable, "-m", "bench", "--quick", f"--page={page}"]

    # pytest's own directories are too deep for the engine's control socket
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        environ = {**os.environ, "TMPDIR": scratch}
        done = subprocess.run(
            argv, cwd=ROOT, env=environ, capture_output=True, text=True, check=False, timeout=scaled(110)
        )
        left = list(Path(scratch).iterdir())

    assert done.returncode == 0, done.stderr
    assert left == []
    text = page.read_text(encoding="utf-8")
    for section in ("Warm blobs", "Manifests", "Cold pulls", "Herds", "Memory", "Large stores", "Whole bring-up"):
        assert f"## {section}" in text
    assert (page.parent / "benchmarks" / "herd-time.svg").exists()


def test_an_unknown_section_is_refused() -> None:
    """A section that there is not is wrong usage, and nothing is measured."""
    argv = [sys.executable, "-m", "bench", "--only", "warm,lukewarm"]

    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False, timeout=scaled(30))

    assert done.returncode == 2
    assert "there is no lukewarm" in done.stderr
