"""Fetching images into the caches while the cluster boots: those that its nodes will ask for, and no others."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from obol.backends.ports import Stocked
from obol.client.ports import Silence
from obol.errors import ObolError
from obol.oci.errors import OciError
from obol.oci.references import ImageReference
from obol.stack.space import too_little_room

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from obol.backends.ports import Backend
    from obol.caches.ports import EngineStatus
    from obol.caches.warming import Holding
    from obol.stack.nocluster import Warmth
    from obol.stack.state import LastUp
    from obol.stack.telling import Telling


def expected(needed: Iterable[ImageReference], last: LastUp | None) -> tuple[ImageReference, ...]:
    """What nodes will ask for: what the manifests need, and what they asked for the last time."""
    found = dict.fromkeys(needed)
    with contextlib.suppress(OciError):
        found |= dict.fromkeys(map(ImageReference.parse, last.images if last else ()))
    return tuple(found)


async def fetch_ahead(
    backend: Backend,
    stack_id: str,
    warmth: Warmth,
    references: Sequence[ImageReference],
    engine: EngineStatus,
    tell: Telling,
) -> None:
    """Fetch what nodes do not have yet. Nobody waits for it; failures show where the images are used."""
    with contextlib.suppress(ObolError):
        if isinstance(backend, Stocked):
            lacking = frozenset(await backend.lacking(stack_id, [str(one) for one in references]))
            references = [one for one in references if str(one) in lacking]
        tell.steps.expect([str(one) for one in references])
        if not references:
            return

        def before(holding: Holding) -> None:
            if short := too_little_room(holding, engine):
                tell(short)

        await warmth.warm(references, engine, Silence(), before)
