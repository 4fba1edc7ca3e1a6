"""Where HEAD is known not to work, for a while, so that not each check costs two questions.

A HEAD that was refused is only a suspicion: it may be right. It is proved when a GET of the same path brings what the
HEAD refused. Where HEAD as such is not supported (405, 501) that holds for the whole registry, otherwise for the
repository: a tag may come into being between two questions, and GETs are what Docker Hub counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from obol.machine.bounded import Bounded, Recent

if TYPE_CHECKING:
    from obol.machine.clock import Clock

WHOLE_REGISTRY = ""
NO_SUCH_METHOD = frozenset({405, 501})
SECONDS = 300.0
CAPACITY = 1000


class Headless:
    """What is remembered for one registry."""

    def __init__(self, clock: Clock) -> None:
        self._suspected: Bounded[str, str] = Bounded(CAPACITY)
        self._refused: Recent[str] = Recent(clock, CAPACITY)

    def known(self, repository: str) -> bool:
        """Whether a HEAD is not worth sending."""
        ages = (self._refused.age(where) for where in (WHOLE_REGISTRY, repository))
        return any(age is not None and age < SECONDS for age in ages)

    def suspect(self, path: str, repository: str, status: int | None) -> None:
        """A HEAD of a path was refused with this status, or (None) not answered."""
        self._suspected[path] = WHOLE_REGISTRY if status in NO_SUCH_METHOD else repository

    def take(self, path: str) -> str | None:
        """What a GET of the path would prove, if it brings something; no longer suspected from now on."""
        return self._suspected.pop(path)

    def proved(self, where: str | None) -> None:
        """A GET brought what HEAD had refused; `where` is what `take` gave."""
        if where is not None:
            self._refused.mark(where)
