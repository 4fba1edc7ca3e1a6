"""What hot-swapping has done, for people, and the stable shapes of the same as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from obol.cli.present import counted, span

if TYPE_CHECKING:
    from collections.abc import Sequence

    from obol.stack.hotswap import Restored, Swapped


@dataclass(frozen=True, slots=True)
class SwappedResult:
    """`dev push`."""

    namespace: str
    deployment: str
    container: str
    image: str
    """What it runs now, by its name in the registry that was pushed into."""
    before: str
    """What it ran until then; the same as `image` where nothing had to be done."""
    released: str
    """What `dev reset` goes back to."""
    layers_pushed: int
    layers_present: int
    """Those that the registry had already."""
    seconds: float


@dataclass(frozen=True, slots=True)
class RestoredContainer:
    """One container of `dev reset`."""

    namespace: str
    deployment: str
    container: str
    image: str
    """What it runs now."""
    before: str
    """What it ran until then; the same as `image` where it had been put back by other means."""


@dataclass(frozen=True, slots=True)
class RestoredResult:
    """`dev reset`."""

    containers: tuple[RestoredContainer, ...]
    seconds: float


def swapped_result(swapped: Swapped, seconds: float) -> SwappedResult:
    """What `dev push` did, for programs."""
    where, pushed = swapped.target.deployment, swapped.pushed
    return SwappedResult(
        where.namespace,
        where.name,
        swapped.target.container,
        swapped.image,
        swapped.before,
        swapped.released,
        pushed.sent,
        pushed.present,
        round(seconds, 3),
    )


def swapped_parts(result: SwappedResult) -> list[str]:
    """The same for people."""
    name = f"{result.namespace}/{result.deployment}"
    layers = f"{counted(result.layers_pushed, 'layer')} pushed, {result.layers_present} were there already"
    if result.image == result.before:
        return [f"{name} runs {result.image} already ({layers})."]
    return [
        f"{name} runs {result.image} ({span(max(1, result.seconds))}; {layers}).",
        f"`obol dev reset --deployment {name}:{result.container}` goes back to {result.released}.",
    ]


def restored_result(restored: Sequence[Restored], seconds: float) -> RestoredResult:
    """What `dev reset` did, for programs."""
    containers = [
        RestoredContainer(
            one.target.deployment.namespace, one.target.deployment.name, one.target.container, one.image, one.before
        )
        for one in restored
    ]
    return RestoredResult(tuple(containers), round(seconds, 3))


def restored_parts(result: RestoredResult) -> list[str]:
    """The same for people."""
    if not result.containers:
        return ["Nothing was swapped: released images run."]
    return [_restored(one) for one in result.containers]


def _restored(one: RestoredContainer) -> str:
    name = f"{one.namespace}/{one.deployment}:{one.container}"
    if one.image == one.before:
        return f"{name} ran {one.image} already."
    return f"{name} runs {one.image} again."
