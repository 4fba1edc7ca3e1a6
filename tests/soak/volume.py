"""A small file system in a file, mounted for as long as a block runs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.conftest import find_tool
from tests.soak.scenario import Refused


async def _command(*argv: str) -> str:
    """Run a program; what it complained of, empty where it succeeded."""
    process = await asyncio.create_subprocess_exec(
        find_tool(argv[0]) or argv[0],
        *argv[1:],
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await process.communicate()
    return (said.decode(errors="replace").strip() or f"{argv[0]} failed") if process.returncode else ""


@asynccontextmanager
async def mounted(scratch: Path, size: int) -> AsyncIterator[Path]:
    """An ext4 of `size` bytes, unmounted at the end even where somebody still uses it. Raises Refused."""
    image, point = scratch / "volume.img", scratch / "volume"
    with image.open("wb") as file:
        file.truncate(size)
    point.mkdir()
    problem = await _command("mkfs.ext4", "-q", "-m", "0", str(image))
    problem = problem or await _command("mount", "-o", "loop", str(image), str(point))
    if problem:
        raise Refused(f"cannot mount a file system: {problem}")
    try:
        yield point
    finally:
        # Not to be broken off by a second interruption: a mount would stay behind.
        await asyncio.shield(_unmount(point))


async def _unmount(point: Path) -> None:
    if await _command("umount", str(point)):
        await _command("umount", "--lazy", str(point))
