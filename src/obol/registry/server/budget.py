"""How much memory the answers of all clients together may take.

A client that reads slowly, or not at all, makes us keep what it has not taken. Each answer is bounded, and so are the
connections; their product is not small enough. So an answer that waits for its client says here how much it keeps, and
where that becomes too much the one whose client has taken nothing for longest is let go. One object that many clients
are given is kept once, and counted once.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

GRACE = 1.0
"""Seconds for which a client may take nothing before it can be let go for another one."""


class OverBudget(Exception):
    """There is no room, and no client that could be let go."""


@dataclass(eq=False, slots=True)
class KeptAnswer:
    """What is kept for one client: an object, by itself or together with others, or bytes of its own."""

    body: bytes | None
    size: int
    let_go: Callable[[], None]
    moved_at: float = 0.0


class Budget:
    """The bytes that are kept, and for whom. `now` tells seconds on the monotonic clock."""

    def __init__(self, total: int, now: Callable[[], float]) -> None:
        self.total = total
        self.kept = 0
        self._now = now
        self._clients: OrderedDict[KeptAnswer, None] = OrderedDict()
        """The one that has taken nothing for longest comes first."""
        self._bodies: dict[int, tuple[bytes, int]] = {}
        """By identity: the object, which cannot become another one as long as it is here, and how many have it."""

    def shared(self, body: bytes) -> bytes:
        """An object with these bytes that is kept already, or else this one: a list that was fetched twice is two."""
        if id(body) in self._bodies:
            return body
        same = (other for other, _ in self._bodies.values() if len(other) == len(body) and other == body)
        return next(same, body)

    def admits(self, body: bytes) -> bool:
        """Whether an object may be kept; slow clients are let go for it."""
        try:
            self._make_room(0 if id(body) in self._bodies else len(body))
        except OverBudget:
            return False
        return True

    def keep(self, body: bytes, let_go: Callable[[], None]) -> KeptAnswer:
        """Keep an object for a client, who is given up by `let_go`. Raises OverBudget."""
        known = self._bodies.get(id(body))
        if known is None:
            self._make_room(len(body))
            self.kept += len(body)
        self._bodies[id(body)] = (body, 1 if known is None else known[1] + 1)
        return self._enter(KeptAnswer(body, len(body), let_go))

    def keep_unsent(self, size: int, let_go: Callable[[], None]) -> KeptAnswer:
        """Keep bytes that only this client is to get. Raises OverBudget."""
        self._make_room(size)
        self.kept += size
        return self._enter(KeptAnswer(None, size, let_go))

    def moved(self, kept: KeptAnswer) -> None:
        """A client has taken something."""
        if kept in self._clients:
            self._enter(kept)

    def release(self, kept: KeptAnswer) -> None:
        """Something is kept no longer; safe to repeat."""
        if kept not in self._clients:
            return
        del self._clients[kept]
        if kept.body is not None:
            body, count = self._bodies.pop(id(kept.body))
            if count > 1:
                self._bodies[id(body)] = (body, count - 1)
                return
        self.kept -= kept.size

    def _enter(self, kept: KeptAnswer) -> KeptAnswer:
        kept.moved_at = self._now()
        self._clients[kept] = None
        self._clients.move_to_end(kept)
        return kept

    def _make_room(self, size: int) -> None:
        while self.kept and self.kept + size > self.total:
            slowest = next(iter(self._clients))
            if self._now() - slowest.moved_at < GRACE:
                raise OverBudget
            self.release(slowest)
            slowest.let_go()
