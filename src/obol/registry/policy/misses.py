"""How often an upstream is asked for what it turns out not to have.

Each name that nobody has costs a request upstream, and there are as many as somebody likes to make up. So a question
takes a token, and gives it back unless the answer is "there is no such thing". Repositories that the upstream is known
to have share nothing with those that it is not known to have: made-up names keep no real image from being pulled.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

UNKNOWN_BURST = 300
"""Questions at a time about repositories of which nothing was seen yet: a cold cluster asks for many."""
UNKNOWN_RATE = 20.0
KNOWN_BURST = 100
KNOWN_RATE = 10.0
"""Tokens that come back in a second."""
REMEMBERED = 1000


@dataclass(slots=True)
class Bucket:
    """So many tokens at most, and so many new ones a second."""

    most: float
    rate: float
    left: float = field(init=False)
    at: float = 0.0

    def __post_init__(self) -> None:
        self.left = self.most

    def take(self, now: float) -> bool:
        """Take a token, if there is one."""
        self.left = min(self.most, self.left + max(0.0, now - self.at) * self.rate)
        self.at = now
        if self.left < 1.0:
            return False
        self.left -= 1.0
        return True

    def give_back(self) -> None:
        """Put a token back."""
        self.left = min(self.most, self.left + 1.0)


class Misses:
    """The tokens of one upstream."""

    def __init__(self) -> None:
        self._unknown = Bucket(UNKNOWN_BURST, UNKNOWN_RATE)
        self._known: OrderedDict[str, Bucket] = OrderedDict()

    def take(self, repository: str, now: float) -> Bucket | None:
        """The bucket that a token was taken from for a question about a repository, or None if there is none left."""
        bucket = self._known.get(repository, self._unknown)
        return bucket if bucket.take(now) else None

    def has(self, repository: str) -> None:
        """The upstream has something in this repository."""
        if repository not in self._known:
            self._known[repository] = Bucket(KNOWN_BURST, KNOWN_RATE)
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        self._known.move_to_end(repository)
