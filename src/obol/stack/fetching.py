"""The images of an `up`: fetched into the caches while the cluster boots, and why some did not come.

Only what the nodes will ask for is fetched. The caches have asked the registry, so they know more of what keeps an
image than the runtime that asked the caches.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from obol.backends.ports import Stocked
from obol.client.ports import Kind, PullFailed, Silence
from obol.errors import ObolError
from obol.oci.errors import OciError
from obol.oci.references import ImageReference
from obol.stack.space import too_little_room

if TYPE_CHECKING:
    from obol.backends.ports import Backend
    from obol.caches.builtin.process import BuiltinEngine
    from obol.caches.warming import Holding, Warming
    from obol.registry.control.api import EngineStatus
    from obol.stack.home import LastUp
    from obol.stack.reporter import Notes


def expected(needed: Iterable[ImageReference], last: LastUp | None) -> tuple[ImageReference, ...]:
    """What nodes will ask for: what the manifests need, and what they asked for the last time."""
    found = dict.fromkeys(needed)
    with contextlib.suppress(OciError):
        found |= dict.fromkeys(map(ImageReference.parse, last.images if last else ()))
    return tuple(found)


async def fetch_ahead(
    backend: Backend,
    stack_id: str,
    warmth: Warming,
    references: Sequence[ImageReference],
    engine: EngineStatus,
    tell: Notes,
) -> None:
    """Fetch what nodes do not have yet. `up` does not wait for it; failures show where the images are used."""
    with contextlib.suppress(ObolError):
        if isinstance(backend, Stocked):
            lacking = frozenset(await backend.lacking(stack_id, [str(one) for one in references]))
            references = [one for one in references if str(one) in lacking]
        tell.reporter.expect([str(one) for one in references])
        if not references:
            return

        def before(holding: Holding) -> None:
            if short := too_little_room(holding, engine):
                tell(short)

        await warmth.warm(references, engine, Silence(), before)


ASK_WITHIN = 30.0
"""Seconds for the caches to say what is wrong, after all else has failed."""

_OUR_OWN = frozenset({Kind.NO_SPACE, Kind.UNREACHABLE, Kind.NOT_SERVED, Kind.NO_PLATFORM})
"""What keeps an image from the caches, but not from a node."""


async def explained(
    problem: ObolError, references: Sequence[ImageReference], warmth: Warming, engine: BuiltinEngine
) -> ObolError:
    """The problem, with the reason that the caches have for not giving an image; as it is where they have none."""
    with contextlib.suppress(ObolError, TimeoutError):
        async with asyncio.timeout(ASK_WITHIN):
            return await _explained(problem, references, warmth, engine)
    return problem


async def _explained(
    problem: ObolError, references: Sequence[ImageReference], warmth: Warming, engine: BuiltinEngine
) -> ObolError:
    running = await asyncio.to_thread(engine.status)
    held = await warmth.held(references)
    lacking = [reference for reference in references if held[reference] != "complete"]
    if running is None or not lacking:
        return problem
    outcomes = await warmth.warm(lacking, running.status, Silence())
    failures = [one for one in outcomes if isinstance(one, PullFailed) and one.kind not in _OUR_OWN]
    if not failures:
        return problem
    named = [one for one in failures if str(one.reference) in problem.what]
    failure = (named or failures)[0]
    why = failure.why
    details = {one.registry: one.detail for one in running.status.upstreams}
    if failure.kind is Kind.UPSTREAM_DOWN and (detail := details.get(failure.reference.registry)) and detail not in why:
        why = f"{why} ({detail})"
    if failure not in named:
        why = f"{failure.what}: {why}"
    told = ObolError(problem.what, why=why, hint=failure.hint)
    told.notes = problem.notes
    return told
