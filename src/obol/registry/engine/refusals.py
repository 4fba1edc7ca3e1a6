"""What a registry client is answered when the upstream or the disk fails.

404 absent (or not for us), 503 with Retry-After while an upstream is left alone, 502 broken. Never 429, which clients
retry for half a minute, and never 401 or 403: an anonymous cache must not lure a pull secret. These few statuses
cannot tell all causes apart, so a header says the cause in a word: `control.api.Problem`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from obol.oci.errors import UNAVAILABLE, UPSTREAM_BROKEN, ErrorKind, OciError
from obol.registry.control.api import Problem
from obol.registry.store.ports import StoreError
from obol.registry.transfers.transfer import TransferFailed
from obol.registry.upstream.ports import Absent, Busy, Denied, OnHold, RateLimited, TooManyMisses

if TYPE_CHECKING:
    from obol.registry.policy.freshness import Refuse

DISK = "the cache's disk is full or failing: make room, or start the cache with another --store (OBOL_CACHE_STORE)"
OFFLINE = "not in the cache, and the cache is offline: start it without --offline (OBOL_CACHE_OFFLINE) to fetch it"


def refusal(problem: Exception, absent: ErrorKind) -> OciError:
    """The answer for an UpstreamError, a StoreError or a TransferFailed; `absent`: the code for "no such thing"."""
    if isinstance(problem, TransferFailed):
        problem = problem.cause
    match problem:
        case Absent() | Denied():
            word = Problem.ABSENT if isinstance(problem, Absent) else Problem.DENIED
            return OciError(absent, str(problem), problem=word)
        case RateLimited(seconds=seconds) | TooManyMisses(seconds=seconds):
            word = Problem.RATE_LIMITED if isinstance(problem, RateLimited) else Problem.MISSES
            return OciError(UNAVAILABLE, str(problem), _whole(seconds), word)
        case Busy(seconds=seconds):
            return OciError(UNAVAILABLE, str(problem), _whole(seconds), Problem.FAILING)
        case OnHold(hold=hold):
            return OciError(UNAVAILABLE, str(problem), _whole(hold.seconds), hold.reason.value)
        case StoreError():
            return OciError(UNAVAILABLE, DISK, problem=Problem.DISK)
        case _:
            return OciError(UPSTREAM_BROKEN, str(problem))


def refused(decision: Refuse, absent: ErrorKind) -> OciError:
    """The answer where policy decided not to ask."""
    if decision.reason is None:
        return OciError(absent, OFFLINE, problem=Problem.OFFLINE)
    detail = f"not in the cache, and the upstream is {decision.reason.value}"
    return OciError(UNAVAILABLE, detail, _whole(decision.retry_after or 1.0), decision.reason.value)


def _whole(seconds: float) -> int:
    return max(1, math.ceil(seconds))
