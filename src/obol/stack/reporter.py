"""What a command says to the person while it works.

It says a sentence that must not be missed at once: what follows may fail, and must not take it along.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from obol.backends.ports import Step
from obol.errors import ObolError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from obol.backends.ports import Watch
    from obol.client.ports import Progress


class Reporter(Protocol):
    """Tells the person what goes on: steps, and what they should know."""

    def step(self, label: str) -> AbstractContextManager[Watch]:
        """Begin a step; what it yields takes lines about it. An exception ends it as failed."""
        ...

    def note(self, text: str) -> None:
        """Say a sentence, now."""
        ...

    def warn(self, text: str) -> None:
        """Say a sentence that must not be missed, now."""
        ...

    def show(self, images: Sequence[str], earlier: Sequence[str], *, foretold: bool) -> None:
        """Show from now on, beside the steps, how images come into the caches.

        `images` are those of the manifests, `earlier` those of the last `up`; `foretold`: `expect` tells which of them
        come.
        """
        ...

    def expect(self, images: Sequence[str]) -> None:
        """These images are going to come into the caches."""
        ...

    def pulls(self, count: int) -> AbstractContextManager[Progress]:
        """Show how so many pulls go on, which `up` makes itself."""
        ...


class Notes:
    """What the person has been told during one command, which is part of its result."""

    def __init__(self, reporter: Reporter) -> None:
        self.reporter = reporter
        self.told: list[str] = []

    def __call__(self, text: str) -> None:
        """Tell a sentence at once, unless the person knows it, and keep it for the result."""
        if text not in self.told:
            self.told.append(text)
            self.reporter.warn(text)

    def all(self, texts: Iterable[str]) -> None:
        """Tell several."""
        for text in texts:
            self(text)

    @contextmanager
    def step(self, label: str) -> Iterator[Step]:
        """Take a step, and tell its notes when it has ended. An error has all that were told before it."""
        notes: list[str] = []
        try:
            with self.reporter.step(label) as watch:
                yield Step(watch, notes)
        except ObolError as problem:
            self.all((*notes, *problem.notes))
            problem.notes = tuple(self.told)
            raise
        self.all(notes)
