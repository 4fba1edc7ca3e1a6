"""Why an image cannot be pulled, in words for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from obol.client.ports import Kind, PullFailed, Refused

if TYPE_CHECKING:
    from obol.oci.references import ImageReference

WORDS: dict[Kind, tuple[str, str]] = {
    Kind.ABSENT: ("{registry} has no such image", "check its name and its tag"),
    Kind.NO_PLATFORM: ("{why}", "choose another with --platform, or take all with --all-platforms"),
    Kind.DENIED: (
        "{registry} denies it without a login: it is private, or there is no such image",
        "check its name; obol asks without credentials",
    ),
    Kind.RATE_LIMITED: (
        "the rate limit of {registry} is reached{when}",
        "repeat the command then: what has been fetched is kept",
    ),
    Kind.UPSTREAM_DOWN: (
        "{registry} does not serve it: {why}{when}",
        "check the connection and repeat the command: what has been fetched is kept",
    ),
    Kind.OFFLINE: (
        "it is not in the cache, and the cache is offline",
        "`obol cache stop`, then `obol cache start` without --offline",
    ),
    Kind.NO_SPACE: (
        "the disk of the cache is full or failing",
        "free some space where `obol cache status` says the store is, and repeat the command: what was stored is kept",
    ),
    Kind.UNREACHABLE: ("{why}", "`obol cache status` tells whether the cache runs, `obol cache logs` what it met"),
    Kind.UNTRUSTED: (
        "what {registry} sends is not right: {why}",
        "try again; if it stays so, something on the way changes what is sent",
    ),
}
"""Why, and what to do next; a registry that is not served has words of its own."""


def failed(reference: ImageReference, problem: Refused) -> PullFailed:
    """Tell what became of `reference`, why, and what to do."""
    why, hint = _words(reference.registry, problem)
    return PullFailed(reference, problem.kind, why=why, hint=hint, retry_after=problem.retry_after)


def not_served(reference: ImageReference, served: tuple[str, ...]) -> PullFailed:
    """Tell that the cache has no listener for the registry of `reference`."""
    registry = reference.registry
    return PullFailed(
        reference,
        Kind.NOT_SERVED,
        why=f"the cache does not serve {registry}, only {', '.join(served) or 'nothing'}",
        hint=f"`obol cache stop`, then add {registry} to [cache.upstreams] in obol.toml, or start the cache with "
        f"`obol cache start --upstream {registry}=https://{registry}` and an --upstream for each of the others",
    )


def not_kept(reference: ImageReference) -> PullFailed:
    """Tell that an image came through the cache, which could not keep all of it."""
    return failed(reference, Refused(Kind.NO_SPACE, ""))


def _words(registry: str, problem: Refused) -> tuple[str, str]:
    """Why, and what to do."""
    why, hint = WORDS[problem.kind]
    when = "" if problem.retry_after is None else f"; it may be asked again in {soon(problem.retry_after)}"
    return why.format(registry=registry, why=problem.why, when=when), hint


def soon(seconds: float) -> str:
    """A time to wait for: 34 s, 12 min, 5 h."""
    if seconds < 100:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{round(seconds / 3600)} h"
