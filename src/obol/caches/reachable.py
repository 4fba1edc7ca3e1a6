"""Where on this machine the caches are reached: by what runs, or else by what would run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from obol.caches.substitutes import recall
from obol.machine.ports import bracketed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from obol.caches.builtin.plan import BuiltinPlan
    from obol.registry.control.api import Listener

LOOPBACK = ("127.0.0.1", "::1")
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""Addresses that stand for all, and how this machine reaches who listens there."""


def addresses_of(listeners: Iterable[Listener]) -> dict[str, str]:
    """The base address of each registry, by loopback if it is served there."""
    found: dict[str, str] = {}
    for listener in sorted(listeners, key=lambda one: one.address not in LOOPBACK):
        host = EVERYWHERE.get(listener.address, listener.address)
        found.setdefault(listener.registry, f"http://{bracketed(host)}:{listener.port}")
    return found


def planned_listeners(plan: BuiltinPlan) -> tuple[Listener, ...]:
    """What an engine that does not run now would serve, by its settings and the ports that it used instead of them.

    A port that is left to the system, and was never chosen, is left out.
    """
    remembered = recall(plan.store)
    found = []
    for listener in plan.listeners:
        known = remembered.get(listener.registry)
        port = known.port if known and known.wanted == listener.port else listener.port
        if port:
            found.append(replace(listener, port=port))
    return tuple(found)
