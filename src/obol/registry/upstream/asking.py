"""How an upstream is asked: the gates, the time limits, a few attempts, and the bookkeeping afterwards.

There are two gates. That of the registry closes when it cannot be reached or fails for several repositories; that of a
path closes when this path alone fails, so an image that its registry cannot give keeps no other from being pulled.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from obol.machine.bounded import Bounded
from obol.registry.policy import health as rules
from obol.registry.policy.health import Ask, Health, Hold
from obol.registry.policy.misses import Misses
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
    from collections.abc import Awaitable, Callable

    from obol.machine.clock import Clock
    from obol.registry.policy.misses import Bucket
    from obol.registry.settings import TimeLimits

T = TypeVar("T")

ATTEMPTS = 3
REMEMBERED_PATHS = 1000
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
        self._limits = limits
        self._clock = clock
        self._paths: Bounded[str, Health] = Bounded(REMEMBERED_PATHS)
        self._misses = Misses()

    def gate(self) -> Ask | Hold:
        """May the upstream be asked now?"""
        return rules.gate(self.health, self._clock.monotonic())

    async def ask(self, about: About, question: Callable[[], Awaitable[T]], *, attempts: int = ATTEMPTS) -> T:
        """Ask, try again what may pass, and remember how it went. Raises UpstreamError.

        A question may take `limits.late_answer` in all. When it takes longer than a client waits, that is a failure of
        its repository until the answer is there.
        """
        self._enter(about)
        token = self._token(about)
        slow = asyncio.get_running_loop().call_later(self._limits.manifest, self._fail, about.repository)
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
            async with asyncio.timeout(self._limits.stale_after):
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
            async with asyncio.timeout(self._limits.late_answer):
                for attempt in range(attempts):
                    try:
                        return await question()
                    except (NoConnection, Busy):
                        raise
                    except Unavailable as trouble:
                        problem = trouble
                    if attempt + 1 < attempts:
                        await self._clock.sleep(delay(attempt, random.random()))  # noqa: S311 - jitter
        except TimeoutError:
            pass
        raise problem

    def _entrance(self, about: About) -> Ask:
        """Whether it may be asked now, and as a probe. Raises OnHold."""
        now = self._clock.monotonic()
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
        bucket = self._misses.take(about.repository, self._clock.monotonic())
        if bucket is None:
            raise TooManyMisses
        return bucket

    def _enter(self, about: About) -> None:
        if not self._entrance(about).probe:
            return
        now = self._clock.monotonic()
        if self.health.open_until is not None:
            self.health = rules.probing(self.health, now)
        path = self._paths.get(about.path)
        if path is not None and path.open_until is not None:
            self._paths[about.path] = rules.probing(path, now)

    def _limited(self, limited: RateLimited) -> None:
        self.health = rules.after_rate_limit(self.health, self._clock.monotonic(), limited.seconds)
        self.last_problem = str(limited)

    def _answered(self, about: About) -> None:
        self.health = rules.after_answer(self.health)
        self._paths.pop(about.path)

    def _failed(self, about: About, problem: Unavailable) -> None:
        now = self._clock.monotonic()
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
        self.health = rules.after_failure(self.health, self._clock.monotonic(), where)
