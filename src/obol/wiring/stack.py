"""The stack: a backend, the caches and the way to fill them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from obol.backends.detect import detect
from obol.caches.builtin import BuiltinEngine
from obol.caches.warming import Warming
from obol.client.platforms import this_machine
from obol.machine.clock import SystemClock
from obol.machine.commands import SystemRunner
from obol.stack.nocluster import CachesOnly

if TYPE_CHECKING:
    from obol.backends.base import Runtimes
    from obol.caches.plan import BuiltinPlan


def stack_on_none(plan: BuiltinPlan) -> CachesOnly:
    """The stack without a cluster, over the builtin engine; its images are those of this machine's platform."""
    caches = BuiltinEngine(plan)
    return CachesOnly(caches, Warming(caches, (this_machine(),)), SystemClock())


async def look_for_runtimes() -> Runtimes:
    """What this machine could run the stack on."""
    return await detect(SystemRunner())
