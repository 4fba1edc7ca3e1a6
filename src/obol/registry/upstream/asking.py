"""How an upstream is asked: the gates, the time limits, a few attempts, and the bookkeeping afterwards.

There are two gates. That of the registry closes when it cannot be reached or fails for several repositories; that of a
path closes when this path alone fails, so an image that its registry cannot give keeps no other from being pulled.

Each name that no registry has costs a request upstream, and clients can make up any number of names. So a question
takes a token, and gives it back unless the answer is "there is no such thing". Repositories that the upstream is known
to have share nothing with those that it is not known to have: made-up names keep no real image from being pulled.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from obol.machine.bounded import Bounded, Recent
from obol.registry.policy import health as rules
from obol.registry.policy.health import Ask, Health, Hold
from obol.registry.policy.retry import delay
from obol.registry.upstream.ports import (
    Absent,
    Busy,
    Denied,
    MethodRefused,
    Misbehaved,
    NoConnection,
    OnHold,
    RateLimited,
    TooManyMisses,
    Unavailable,
    UpstreamError,
)

if TYPE_CHECKING:
    from obol.machine.clock import Clock
    from obol.registry.settings import TimeLimits

T = TypeVar("T")

ATTEMPTS = 3
REMEMBERED_PATHS = 1000
WHOLE_REGISTRY = ""
NO_SUCH_METHOD = frozenset({405, 501})
HEADLESS_FOR = 300.0
"""Seconds for which HEAD is not sent to what was proved not to answer it."""
REMEMBERED_SUSPICIONS = 1000
UNKNOWN_BURST = 300
"""Questions at a time about repositories of which nothing was seen yet: a cold cluster asks for many."""
UNKNOWN_RATE = 20.0
KNOWN_BURST = 100
KNOWN_RATE = 10.0
"""Tokens that come back in a second."""
REMEMBERED_REPOSITORIES = 1000

_WELL = Health()


@dataclass(frozen=True, slots=True)
class About:
    """What is asked for: the repository, and the path below /v2/, which is within it."""

    repository: str
    path: str


class Asking:
    """Asks one upstream, and keeps its health and that of its paths."""

    def __init__(self, limits: TimeLimits, clock: Clock) -> None:
        self.health = Health()
        self.last_problem = ""
        self.limits = limits
        self.clock = clock
        self._paths: Bounded[str, Health] = Bounded(REMEMBERED_PATHS)
        self._misses = Misses()

    def gate(self) -> Ask | Hold:
        """May the upstream be asked now?"""
        return rules.gate(self.health, self.clock.monotonic())

    async def ask(self, about: About, question: Callable[[], Awaitable[T]], *, attempts: int = ATTEMPTS) -> T:
        """Ask, try again what may pass, and remember how it went. Raises UpstreamError.

        A question may take `limits.late_answer` in all. When it takes longer than a client waits, that is a failure of
        its repository until the answer is there.
        """
        self._enter(about)
        token = self._token(about)
        slow = asyncio.get_running_loop().call_later(self.limits.manifest, self._fail, about.repository)
        missed = False
        try:
            answer = await self._tried(question, attempts)
        except RateLimited as limited:
            self._limited(limited)
            raise
        except (Absent, Denied, Misbehaved, MethodRefused) as told:
            missed = isinstance(told, Absent | Denied)
            self._answered(about)
            raise
        except Unavailable as problem:
            self._failed(about, problem)
            raise
        finally:
            slow.cancel()
            if not missed:
                token.give_back()
        self._answered(about)
        self._misses.has(about.repository)
        return answer

    async def hint(self, about: About, question: Callable[[], Awaitable[T | None]]) -> T | None:
        """Ask once what need not be answered, within `limits.stale_after`; None if nothing of use came.

        What it does not tell is to be asked in another way, so trouble with it is no failure, and a breaker that lets
        one question through leaves that to the other. Raises OnHold, TooManyMisses, NoConnection.
        """
        if self._entrance(about).probe:
            return None
        # Who gets no answer by this goes on to ask, and pays for it then.
        self._token(about).give_back()
        try:
            async with asyncio.timeout(self.limits.stale_after):
                answer = await question()
        except NoConnection as problem:
            self._failed(about, problem)
            raise
        except (UpstreamError, TimeoutError):
            return None
        if answer is not None:
            self.health = rules.after_answer(self.health)
            self._misses.has(about.repository)
        return answer

    async def _tried(self, question: Callable[[], Awaitable[T]], attempts: int) -> T:
        problem = Unavailable("the upstream did not answer in time")
        try:
            async with asyncio.timeout(self.limits.late_answer):
                for attempt in range(attempts):
                    try:
                        return await question()
                    except (NoConnection, Busy):
                        raise
                    except Unavailable as trouble:
                        problem = trouble
                    if attempt + 1 < attempts:
                        await self.clock.sleep(delay(attempt, random.random()))  # noqa: S311 - jitter
        except TimeoutError:
            pass
        raise problem

    def _entrance(self, about: About) -> Ask:
        """Whether it may be asked now, and as a probe. Raises OnHold."""
        now = self.clock.monotonic()
        probe = False
        for health in (self._paths.get(about.path) or _WELL, self.health):
            match rules.gate(health, now):
                case Hold() as hold:
                    raise OnHold(hold)
                case Ask(probe=one):
                    probe = probe or one
        return Ask(probe)

    def _token(self, about: About) -> Bucket:
        """What this question may cost. Raises TooManyMisses where too much was asked for in vain."""
        bucket = self._misses.take(about.repository, self.clock.monotonic())
        if bucket is None:
            raise TooManyMisses
        return bucket

    def _enter(self, about: About) -> None:
        if not self._entrance(about).probe:
            return
        now = self.clock.monotonic()
        if self.health.open_until is not None:
            self.health = rules.probing(self.health, now)
        path = self._paths.get(about.path)
        if path is not None and path.open_until is not None:
            self._paths[about.path] = rules.probing(path, now)

    def _limited(self, limited: RateLimited) -> None:
        self.health = rules.after_rate_limit(self.health, self.clock.monotonic(), limited.seconds)
        self.last_problem = str(limited)

    def _answered(self, about: About) -> None:
        self.health = rules.after_answer(self.health)
        self._paths.pop(about.path)

    def _failed(self, about: About, problem: Unavailable) -> None:
        now = self.clock.monotonic()
        self.last_problem = str(problem)
        if isinstance(problem, NoConnection) and not problem.elsewhere:
            self._fail(None)
            return
        self._fail(about.repository)
        path = self._paths.get(about.path) or Health()
        if isinstance(problem, Busy):
            self._paths[about.path] = rules.after_busy(path, now, problem.seconds)
        else:
            self._paths[about.path] = rules.after_failure(path, now)

    def _fail(self, where: str | None) -> None:
        self.health = rules.after_failure(self.health, self.clock.monotonic(), where)


class Headless:
    """Where HEAD is known not to work at one registry, for a while, so that not each check costs two questions.

    A HEAD that was refused is only a suspicion: it may be right. It is proved when a GET of the same path brings what
    the HEAD refused. Where HEAD as such is not supported (405, 501) that holds for the whole registry, otherwise for
    the repository: a tag may come into being between two questions, and GETs are what Docker Hub counts.
    """

    def __init__(self, clock: Clock) -> None:
        self._suspected: Bounded[str, str] = Bounded(REMEMBERED_SUSPICIONS)
        self._refused: Recent[str] = Recent(clock, REMEMBERED_SUSPICIONS)

    def known(self, repository: str) -> bool:
        """Whether a HEAD is not worth sending."""
        ages = (self._refused.age(where) for where in (WHOLE_REGISTRY, repository))
        return any(age is not None and age < HEADLESS_FOR for age in ages)

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
    """How much one upstream may be asked for in vain."""

    def __init__(self) -> None:
        self._unknown = Bucket(UNKNOWN_BURST, UNKNOWN_RATE)
        self._known: Bounded[str, Bucket] = Bounded(REMEMBERED_REPOSITORIES)

    def take(self, repository: str, now: float) -> Bucket | None:
        """The bucket that a token was taken from for a question about a repository, or None if there is none left."""
        bucket = self._known.get(repository) or self._unknown
        return bucket if bucket.take(now) else None

    def has(self, repository: str) -> None:
        """The upstream has something in this repository."""
        if self._known.get(repository) is None:
            self._known[repository] = Bucket(KNOWN_BURST, KNOWN_RATE)
