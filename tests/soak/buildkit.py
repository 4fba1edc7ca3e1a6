"""BuildKit at the caches. CI leaves it out where it is missing: Debian has it as source only, which takes minutes.

Where no buildkitd is on the PATH, one is built by `.ci/buildkit` for this run.
"""

import asyncio
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.conftest import find_tool
from tests.soak.figures import Figure, exactly, told
from tests.soak.scenario import Needs, Refused, Scenario

ROOT = Path(__file__).parents[2]
TEST = "tests/clients/test_configured.py::test_buildkit"


def try_it(home: Path) -> Sequence[Figure]:
    """Build it if need be, and run its test, which may not be skipped."""
    environ = {**os.environ, "PATH": f"{home}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}
    installed = find_tool("buildkitd") is not None and find_tool("buildctl") is not None
    if not installed:
        made = subprocess.run([ROOT / ".ci/buildkit", home], capture_output=True, text=True, check=False)
        if made.returncode:
            raise Refused(f"needs BuildKit, which could not be built here: {made.stderr.strip()[-300:]}")
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", TEST]
    done = subprocess.run(argv, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    return [
        told("BuildKit", "was installed" if installed else "built from source"),
        exactly("builds, cold and without the upstream, that went well", int("1 passed" in done.stdout), 1),
    ]


async def _run(home: Path) -> Sequence[Figure]:
    return await asyncio.to_thread(try_it, home)


BUILDKIT = Scenario(
    name="buildkit",
    title="A build by BuildKit upon an image from the cache",
    method="buildkitd has the settings that `obol cache config buildkit` writes. It builds cold, and again "
    "with nothing of its own and the upstream gone.",
    run=_run,
    needs=Needs(disk=2 << 30),
    guarantees=("BuildKit builds upon an image that the cache holds, also without the upstream.",),
)
