"""Why images did not come: the caches have asked the registry, and know more than the runtime that asked them."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from obol.client.ports import Kind, PullFailed, Silence
from obol.errors import ObolError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from obol.caches.ports import CacheEngine
    from obol.oci.references import ImageReference
    from obol.stack.nocluster import Warmth

ASK_WITHIN = 30.0
"""Seconds for the caches to say what is wrong, after all else has failed."""

_OUR_OWN = frozenset({Kind.NO_SPACE, Kind.UNREACHABLE, Kind.NOT_SERVED, Kind.NO_PLATFORM})
"""What keeps an image from the caches, but not from a node."""


async def explained(
    problem: ObolError, references: Sequence[ImageReference], warmth: Warmth, engine: CacheEngine
) -> ObolError:
    """The problem, with the reason that the caches have for not giving an image; as it is where they have none."""
    with contextlib.suppress(ObolError, TimeoutError):
        async with asyncio.timeout(ASK_WITHIN):
            return await _explained(problem, references, warmth, engine)
    return problem


async def _explained(
    problem: ObolError, references: Sequence[ImageReference], warmth: Warmth, engine: CacheEngine
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
