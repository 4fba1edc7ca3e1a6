"""Whether pods of podman answer: waiting for it, and looking once.

Podman does not ask a program whether it is ready. It says that a container runs which ends again and again, as it does
for some seconds each time. So obol asks a pod with a readiness probe from outside, and counts starts.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from obol.errors import ObolError
from obol.machine.polling import Polling
from obol.machine.regular import read, write_atomically
from obol.rendering.names import LOOPBACK

if TYPE_CHECKING:
    from obol.backends.ports import Watch
    from obol.machine.clock import Clock
    from obol.machine.podman import Podman
    from obol.machine.probe import Probe
    from obol.rendering.podman import Played, PlayedPod

READY_WITHIN = 600.0
PAUSE = 0.5
TELL_EVERY = 5.0
LOOK = 1.0
"""Seconds. The last one is how long a look that only tells how things are may take."""
RESTARTS = 3
"""A container that was started again so often does not stay up."""
LATELY = 60.0
"""Seconds for which a container that was started again may end once more."""
LOG_LINES = 10


class ReadinessProbe(msgspec.Struct, frozen=True):
    """Where a pod is asked whether it is ready."""

    port: int
    """Of this machine."""
    path: str


@dataclass(frozen=True, slots=True)
class Readiness:
    """Asks pods; `folder` keeps where, for commands that have no manifests."""

    podman: Podman
    folder: Path
    clock: Clock
    probe: Probe

    async def wait(self, played: Played, watch: Watch, key: str) -> None:
        """Wait until all pods with a readiness probe answer. Raises the first failure when all have ended."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._ready(pod, watch)) for pod in played.pods]
        for pod, task in zip(played.pods, tasks, strict=True):
            if why := task.result():
                raise await self._unready(pod, why, key)

    async def trouble(self, workload: str, containers: Sequence[str]) -> str:
        """Look once at a pod that runs: why it does not do its work, in a word or two; "" where it does."""
        question = self._kept(workload)
        why = await self._asked(question) if question is not None else ""
        if question is not None and not why:
            return ""
        with contextlib.suppress(ObolError):
            lives = await self.podman.lives(containers)
            since = datetime.fromtimestamp(self.clock.wall(), UTC) - timedelta(seconds=LATELY)
            ends = sum(life.restarts for life in lives if why or life.started >= since)
            told = f"ended {ends} {'time' if ends == 1 else 'times'}" if ends else ""
            return ", ".join(filter(None, (why, told)))
        return why

    async def _asked(self, question: ReadinessProbe) -> str:
        status = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK):
                status = await self.probe(question.port, question.path)
        return "" if _is_ready(status) else _answer(status)

    def _kept(self, workload: str) -> ReadinessProbe | None:
        try:
            return msgspec.json.decode(read(self._file(workload)), type=ReadinessProbe)
        except (OSError, msgspec.DecodeError):
            return None

    def _file(self, workload: str) -> Path:
        return self.folder / f"{workload}.readiness"

    async def _ready(self, pod: PlayedPod, watch: Watch) -> str:
        """Wait for one pod; answers with why it is not ready, "" where it is."""
        told, why = 0.0, ""
        port = pod.ports.get(pod.check.port) if pod.check else None
        if pod.check is None or port is None:
            self._file(pod.workload).unlink(missing_ok=True)
            return ""
        write_atomically(self._file(pod.workload), msgspec.json.encode(ReadinessProbe(port, pod.check.path)))
        async for passed in Polling(self.clock, every=PAUSE, within=READY_WITHIN):
            status = await self.probe(port, pod.check.path)
            if _is_ready(status):
                watch(f"{pod.workload}: ready")
                return ""
            why = f"http://{LOOPBACK}:{port}{pod.check.path} {_answer(status)}"
            if passed - told >= TELL_EVERY:
                told = passed
                watch(f"{pod.workload}: {why} yet")
                if ends := await self._ends(pod):
                    return f"its container ends again and again: it was started again {ends} times"
        return f"{why} after {READY_WITHIN:.0f} seconds"

    async def _ends(self, pod: PlayedPod) -> int:
        """How often it ended, if that is too often."""
        with contextlib.suppress(ObolError):
            ends = sum(life.restarts for life in await self.podman.lives(pod.containers))
            return ends if ends >= RESTARTS else 0
        return 0

    async def _unready(self, pod: PlayedPod, why: str, key: str) -> ObolError:
        """The error for a pod that is not ready, with what its containers said last, but for the key."""
        said = []
        for container in pod.containers:
            with contextlib.suppress(ObolError):
                said += await self.podman.logs(container, LOG_LINES)
        told = "".join(f"\n  {line.replace(key, '…')}" for line in said[-LOG_LINES:])
        return ObolError(
            f"{pod.workload} is not ready",
            why=f"{why}; it said last:{told}" if told else why,
            hint=f"look at `podman logs {pod.containers[-1]}` and at {pod.manifest}, which it is made of; "
            "it is left running: `obol stack up` goes on from here",
        )


def _is_ready(status: int | None) -> bool:
    return status is not None and 200 <= status < 400


def _answer(status: int | None) -> str:
    return f"says {status}" if status else "does not answer"
