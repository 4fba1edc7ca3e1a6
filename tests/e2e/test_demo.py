"""`obol demo` as a person runs it, with fewer bytes and a faster link."""

import asyncio
import json
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.limits import scaled

ENDS_WITHIN = scaled(20)
QUICK = ("--size=6M", "--rate=200M", "--connection-rate=50M", "--latency=5ms")
SLOW = ("--size=6M", "--rate=1M", "--connection-rate=1M")


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A directory for temporary files with a short path: a socket lies below it."""
    with tempfile.TemporaryDirectory(prefix="obol-test-") as path:
        yield Path(path)


@asynccontextmanager
async def demo(temporary: Path, *options: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run the command with a directory for temporary files, and settings that must not matter; it ends by itself."""
    environment = os.environ | {
        "TMPDIR": str(temporary),
        "OBOL_CACHE_OFFLINE": "true",
        "HTTP_PROXY": "http://127.0.0.1:1",
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "obol", "demo", *options),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def left_behind(temporary: Path) -> list[str]:
    """Files, and command lines of processes that have to do with the directory for temporary files."""
    found = [path.name for path in temporary.iterdir()]
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            try:
                words = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
            except OSError:
                continue
            if os.fsencode(temporary) in words:
                found.append(words.replace(b"\0", b" ").decode(errors="replace"))
    return found


async def read_until(stream: asyncio.StreamReader | None, beginning: str) -> None:
    """Read lines up to one that begins so."""
    assert stream is not None
    said = b""
    async with asyncio.timeout(ENDS_WITHIN):
        while line := await stream.readline():
            if line.decode().startswith(beginning):
                return
            said += line
    pytest.fail(f"it ended without saying {beginning}:\n{said.decode()}")


async def test_all_phases(tmp_path: Path, temporary: Path) -> None:
    """Direct and cold come from upstream once, warm and offline from the cache alone; nothing is left behind."""
    chart = tmp_path / "demo.svg"

    async with demo(temporary, *QUICK, "-o", "json", "--chart", str(chart)) as process, asyncio.timeout(scaled(60)):
        out, err = await process.communicate()

    assert process.returncode == 0, err.decode()
    result = json.loads(out)
    direct, cold, warm, offline = result["phases"]
    assert [phase["name"] for phase in result["phases"]] == ["direct", "cold", "warm", "offline"]
    assert direct["bytes_from_upstream"] >= result["size"] * 0.99
    assert cold["bytes_from_upstream"] == pytest.approx(direct["bytes_from_upstream"], rel=0.01)
    assert (direct["bytes_from_cache"], cold["bytes_from_cache"]) == (0, 0)
    assert (warm["bytes_from_upstream"], offline["bytes_from_upstream"]) == (0, 0)
    assert warm["bytes_from_cache"] == offline["bytes_from_cache"] == direct["bytes_from_upstream"]
    assert chart.read_text(encoding="utf-8").endswith("</svg>\n")
    assert left_behind(temporary) == []


@pytest.mark.parametrize(
    ("until", "options", "number"),
    [
        ("making images", ("--size=400M",), signal.SIGINT),
        ("direct", SLOW, signal.SIGINT),
        ("cold", ("--size=60M", "--rate=400M", "--connection-rate=200M"), signal.SIGTERM),
        ("warm", ("--size=60M", "--rate=900M", "--connection-rate=900M"), signal.SIGINT),
        ("offline", ("--size=60M", "--rate=900M", "--connection-rate=900M"), signal.SIGTERM),
    ],
)
async def test_interrupted(temporary: Path, until: str, options: tuple[str, ...], number: signal.Signals) -> None:
    """Interrupted in any phase, it ends soon, says so by its exit code, and leaves neither process nor file."""
    async with demo(temporary, *options) as process:
        await read_until(process.stderr, until)

        process.send_signal(number)
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(ENDS_WITHIN):
            _, err = await process.communicate()

    assert (process.returncode, err.decode().splitlines()[-1]) == (130, "Interrupted. Nothing is left behind.")
    assert left_behind(temporary) == []
