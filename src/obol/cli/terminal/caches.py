"""What several groups of verbs show of the caches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from obol.caches.reachable import EVERYWHERE, LOOPBACK
from obol.cli.results.cache import CacheContainer, ImageProblem
from obol.cli.terminal.present import Table
from obol.machine.ports import bracketed

if TYPE_CHECKING:
    from obol.caches.builtin.process import Started
    from obol.caches.containers.engine import ContainerSeen
    from obol.caches.reachable import Substitute
    from obol.client.ports import PullFailed
    from obol.registry.control.api import EngineStatus, Listener


def container_result(seen: ContainerSeen) -> CacheContainer:
    """A cache container that is there, for programs."""
    state = "failing" if seen.state == "absent" else seen.state
    return CacheContainer(seen.cache.name, seen.cache.registry, state, seen.port or None, seen.content)


def listeners_table(engine: EngineStatus, substitutes: Iterable[Substitute]) -> Table:
    """Where the engine listens, and for which registry."""
    instead = {(substitute.registry, substitute.port): substitute for substitute in substitutes if substitute.wanted}
    rows = []
    for listener in engine.listeners:
        # Once, though the registry is served by that port on several addresses.
        substitute = instead.pop((listener.registry, listener.port), None)
        note = _why_not(substitute) if substitute else ""
        rows.append((listener.registry, f"http://{bracketed(listener.address)}:{listener.port}", note))
    if not any(note for _registry, _address, note in rows):
        return Table(("Registry", "Address"), tuple(row[:2] for row in rows))
    return Table(("Registry", "Address", ""), tuple(rows))


def for_figures(engine: EngineStatus) -> list[Listener]:
    """Where pods ask the caches for their figures: at an address that only one registry is served at."""
    used = Counter(one.address for one in engine.listeners)
    return [one for one in engine.listeners if used[one.address] == 1 and one.address not in {*LOOPBACK, *EVERYWHERE}]


def start_warnings(started: Started) -> list[str]:
    """Where what runs is not what was asked for, line by line."""
    lines = [f"warning: {substitute_note(one)}" for one in started.substitutes if one.wanted]
    if started.differs:
        lines.append("warning: the engine that runs differs from what you asked for:")
        lines += [f"  - {difference}" for difference in started.differs]
        lines.append("To change it: obol cache stop, then obol cache start with these options")
    return lines


def substitute_note(substitute: Substitute) -> str:
    """A few words on a port that is not the usual one."""
    return f"port {_why_not(substitute)}: {substitute.registry} is served on port {substitute.port} instead"


def moved_note(substitute: Substitute) -> str:
    """The same in fewer words."""
    return f"{substitute.registry} on {substitute.port} ({_why_not(substitute, 'taken')})"


def _why_not(substitute: Substitute, held: str = "held") -> str:
    if substitute.free:
        return f"{substitute.wanted} was {held}, and is free again"
    return f"{substitute.wanted} is {held} by {substitute.holder or 'another process'}"


def problem_result(problem: PullFailed) -> ImageProblem:
    """Why an image could not be fetched, for programs."""
    return ImageProblem(problem.kind, problem.why, problem.hint, problem.retry_after)
