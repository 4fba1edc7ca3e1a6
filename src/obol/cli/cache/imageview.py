"""Images in the cache, laid out for 80 columns, and for programs.

An image takes two lines, because its name alone may fill one: a table would break it in the middle.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from obol.cli.results.cache import ImageProblem, WarmedImage, WarmResult
from obol.cli.terminal.present import counted, size, span, speed
from obol.cli.terminal.progress import came_from
from obol.client.ports import Kind, PulledImage

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from obol.caches.warming import Outcome
    from obol.client.ports import PullFailed
    from obol.oci.references import ImageReference
    from obol.registry.control.api import HeldImage, HeldPlatform

NAMED = 3
"""Tags or platforms that are named; of more, only the number is told."""


@dataclass(frozen=True, slots=True)
class Unfinished:
    """An image that was not done when we were interrupted, in bytes."""

    from_cache: int = 0
    from_upstream: int = 0
    kept: int | None = None
    """What the cache has of it; None where nobody can tell."""
    total: int | None = None
    """All of it; None where its manifest is not there."""


def warm_result(
    outcomes: Mapping[ImageReference, Outcome | Unfinished], seconds: float, *, interrupted: bool = False
) -> WarmResult:
    """What became of each image."""
    images = tuple(_warmed(reference, outcome) for reference, outcome in outcomes.items())
    return WarmResult(
        complete=all(image.state == "cached" for image in images),
        interrupted=interrupted,
        seconds=round(seconds, 3),
        bytes_from_cache=sum(image.bytes_from_cache for image in images),
        bytes_from_upstream=sum(image.bytes_from_upstream for image in images),
        images=images,
    )


def _warmed(reference: ImageReference, outcome: Outcome | Unfinished) -> WarmedImage:
    match outcome:
        case Unfinished():
            return WarmedImage(
                str(reference),
                "unfinished",
                bytes_total=outcome.total or 0,
                bytes_from_cache=outcome.from_cache,
                bytes_from_upstream=outcome.from_upstream,
                bytes_kept=outcome.kept,
            )
        case PulledImage():
            return WarmedImage(
                str(reference),
                "cached",
                str(outcome.digest),
                outcome.platforms,
                outcome.layers,
                outcome.bytes_total,
                outcome.bytes_from_cache,
                outcome.bytes_from_upstream,
                seconds=round(outcome.seconds, 3),
            )
        case problem:
            return WarmedImage(str(reference), "failed", problem=told(problem))


def told(problem: PullFailed) -> ImageProblem:
    """Why an image could not be fetched, for programs."""
    return ImageProblem(problem.kind, problem.why, problem.hint, problem.retry_after)


def warm_lines(outcomes: Mapping[ImageReference, Outcome | Unfinished], result: WarmResult) -> list[str]:
    """The same for people."""
    lines = []
    for reference, outcome in outcomes.items():
        lines += [str(reference), f"    {_outcome(outcome)}"]
    states = [image.state for image in result.images]
    parts = [f"{states.count(state)} {state}" for state in ("cached", "failed", "unfinished") if state in states]
    lines += ["", f"{counted(len(states), 'image')}: {', '.join(parts)}; {_traffic(result)}"]
    return lines


def _outcome(outcome: Outcome | Unfinished) -> str:
    match outcome:
        case PulledImage():
            what = ", ".join((*outcome.platforms[:NAMED], *_more(outcome.platforms)))
            layers = counted(outcome.layers, "layer")
            return f"cached ({f'{what}, ' if what else ''}{layers}): {came_from(outcome)}"
        case Unfinished():
            return f"unfinished: {_left(outcome)}"
        case problem:
            return f"failed ({problem.kind})"


def _left(image: Unfinished) -> str:
    if image.kept is None:
        return "what was fetched of it is kept; the same command goes on from there"
    if not image.kept or image.total is None:
        return "nothing of it is there yet"
    return f"{size(image.kept)} of {size(image.total)} is kept; the same command goes on from there"


def _traffic(result: WarmResult) -> str:
    if any(image.problem is not None and image.problem.kind == Kind.NO_SPACE for image in result.images):
        return f"the cache had no room to keep the rest ({result.seconds:.1f} s)"
    if not result.bytes_from_upstream:
        return f"nothing was fetched ({result.seconds:.1f} s)"
    rate = speed(result.bytes_from_upstream, result.seconds)
    return f"{size(result.bytes_from_upstream)} from upstream in {result.seconds:.1f} s ({rate})"


def images_lines(images: Sequence[HeldImage], now: float) -> list[str]:
    """What `cache ls` shows; `now` is in seconds since 1970."""
    lines = []
    for image in images:
        used = "never used" if image.used_at is None else f"used {span(now - image.used_at)} ago"
        lines += [_name(image), f"    {size(image.size)}, {used}, {_platforms(image.platforms)}: {_state(image)}"]
    incomplete = sum(not image.complete for image in images)
    return [*lines, "", counted(len(images), "image") + (f", {incomplete} of them incomplete" if incomplete else "")]


def _name(image: HeldImage) -> str:
    if not image.tags:
        return f"{image.registry}/{image.repository}@{image.digest}"
    others = [f":{tag}" for tag in image.tags[1:NAMED]]
    return ", ".join((f"{image.registry}/{image.repository}:{image.tags[0]}", *others, *_more(image.tags)))


def _platforms(platforms: Sequence[HeldPlatform]) -> str:
    there = [one.platform or "one platform" for one in platforms if one.state != "absent"]
    if not there:
        return "no platform"
    named = ", ".join((*there[:NAMED], *_more(there)))
    return named if len(there) == len(platforms) else f"{named} (of {len(platforms)} platforms)"


def _state(image: HeldImage) -> str:
    if image.complete:
        return "complete"
    if not image.platforms:
        return "only its name is known"
    if all(one.state == "absent" for one in image.platforms):
        return "only its index is there"
    return f"{counted(image.missing_blobs, 'blob')} missing ({size(image.missing_bytes)})"


def _more(names: Sequence[str]) -> Iterable[str]:
    return [f"and {len(names) - NAMED} more"] if len(names) > NAMED else []


def failures(outcomes: Iterable[Outcome | Unfinished]) -> list[PullFailed]:
    """Those that failed."""
    return [outcome for outcome in outcomes if not isinstance(outcome, PulledImage | Unfinished)]
