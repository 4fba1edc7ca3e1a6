"""What hot-swapping has done, for people and for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from obol.cli.results.others import RestoredContainer, RestoredResult, SwappedResult
from obol.cli.terminal.present import counted, span

if TYPE_CHECKING:
    from collections.abc import Sequence

    from obol.stack.hotswap import Restored, Swapped


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
    was = "was" if result.layers_present == 1 else "were"
    layers = f"{counted(result.layers_pushed, 'layer')} pushed, {result.layers_present} {was} there already"
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
