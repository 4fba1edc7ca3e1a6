import asyncio
from collections.abc import Coroutine, Mapping, Sequence

import pytest

from obol.backends.podman.pulls import PULLS, pull_missing
from obol.backends.ports import never
from obol.errors import ObolError
from obol.machine.commands import Completed
from obol.machine.podman import Podman
from tests.fakes.podman import FakePodman

SMALL, LARGE, BROKEN = "quay.io/me/small:1", "ghcr.io/me/large:1", "quay.io/me/broken:1"


class SlowPodman(FakePodman):
    """A podman that ends each pull when its gate opens."""

    gates: Mapping[str, asyncio.Event]

    async def run(
        self,
        argv: Sequence[str],
        *,
        stdin: str = "",
        env: Mapping[str, str] | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - the signature of the port
    ) -> Completed:
        if argv[1] == "pull":
            await self.gates[argv[-1]].wait()
        return await super().run(argv, stdin=stdin, env=env, timeout=timeout)


async def settle() -> None:
    """Let everybody get on who can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_the_last_line_is_about_an_open_pull() -> None:
    """When a pull ends, well or badly, the line names one that is still open, and none when all have ended."""
    podman = SlowPodman(available={SMALL, LARGE})
    podman.gates = {image: asyncio.Event() for image in (SMALL, LARGE, BROKEN)}
    lines: list[str] = []

    async with asyncio.TaskGroup() as group:
        images = (SMALL, BROKEN, LARGE)
        task = group.create_task(_outcome(pull_missing(Podman(podman, {}), images, None, lines.append, never)))
        await settle()
        podman.gates[SMALL].set()
        await settle()
        after_small = lines[-2:]
        podman.gates[BROKEN].set()
        await settle()
        after_broken = lines[-1]
        podman.gates[LARGE].set()

    assert after_small == [f"pulled {SMALL}", f"pulling and unpacking {BROKEN}"]
    assert after_broken == f"pulling and unpacking {LARGE}"
    assert lines[-1] == f"pulled {LARGE}"
    assert f"pulled {BROKEN}" not in lines
    assert task.result() == f"{BROKEN} cannot be pulled"


async def _outcome(pulling: Coroutine[object, object, None]) -> str:
    with pytest.raises(ObolError) as caught:
        await pulling
    return caught.value.what


async def test_images_that_are_there() -> None:
    """Nothing is said of an image that is there, and no more than some are pulled at the same time."""
    images = [f"quay.io/me/app:{number}" for number in range(PULLS + 1)]
    podman = SlowPodman(available=set(images), images={SMALL})
    podman.gates = {image: asyncio.Event() for image in images}
    lines: list[str] = []

    async with asyncio.TaskGroup() as group:
        group.create_task(pull_missing(Podman(podman, {}), [SMALL, *images], None, lines.append, never))
        await settle()
        at_first = list(lines)
        for gate in podman.gates.values():
            gate.set()

    assert at_first == [f"pulling and unpacking {image}" for image in images[:PULLS]]
    assert podman.images == {SMALL, *images}
    assert lines[-1].startswith("pulled ")
