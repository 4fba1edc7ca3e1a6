"""What the person should know, told when it arises: what follows may fail, and must not take it along."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from obol.stack.parts import Steps


class Telling:
    """What the person has been told during one `up`."""

    def __init__(self, steps: Steps) -> None:
        self.steps = steps
        self.notes: list[str] = []

    def __call__(self, text: str) -> None:
        """Tell a sentence at once, and keep it for the result."""
        if text not in self.notes:
            self.notes.append(text)
            self.steps.warn(text)

    def all(self, texts: Iterable[str]) -> None:
        """Tell several."""
        for text in texts:
            self(text)
