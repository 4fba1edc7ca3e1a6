"""`obol dev …`: run an image of this machine's Docker in the stack, and go back to the released one."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Annotated

import typer

from obol.cli.later import later
from obol.cli.parser import Verbs
from obol.cli.terminal.present import Speaker, counted, span
from obol.cli.verb import run, verb
from obol.config.paths import Invocation, development, locate

if TYPE_CHECKING:
    from obol.cli.results import others as results
    from obol.cli.results.others import RestoredContainer, SwappedResult
    from obol.cli.terminal import steps
    from obol.config import background
    from obol.config import stack as settings
    from obol.stack import home, hotswap
    from obol.stack.hotswap import HotSwap
    from obol.wiring import stack as wiring
else:
    results, steps = later("obol.cli.results.others"), later("obol.cli.terminal.steps")
    background, settings = later("obol.config.background"), later("obol.config.stack")
    home, hotswap, wiring = later("obol.stack.home"), later("obol.stack.hotswap"), later("obol.wiring.stack")

app = Verbs()

_INTERRUPTED = "the cluster goes on with what it began; run the same command again to finish the rest."

Image = Annotated[str, typer.Argument(metavar="IMAGE", help="An image of this machine's Docker, such as app:dev.")]
_TARGET = "NAMESPACE/NAME[:CONTAINER]"
Into = Annotated[
    str,
    typer.Option(
        "--deployment",
        "-d",
        metavar=_TARGET,
        help="The Deployment that is to run the image; name the container if it has several.",
    ),
]
Back = Annotated[
    str | None,
    typer.Option(
        "--deployment", "-d", metavar=_TARGET, help="Only this Deployment, or only this container of it (default: all)."
    ),
]


@verb(app)
def push(say: Speaker, image: Image, deployment: Into) -> None:
    """Push an image to the stack's own registry, run it in a Deployment, and wait until it is ready.

    Needs development mode (OBOL_DEVELOPMENT=true) on k3d. Pushes only layers that changed. The Deployment keeps the
    name of the image that ran before, and `obol dev reset` goes back to it.
    """
    source, target = hotswap.LocalImage.parse(image), hotswap.Target.parse(deployment)
    around = Invocation.of_process()
    stack, reporter = _stack(around), steps.TerminalReporter(say, around)
    began = time.monotonic()
    swapped = run(say, stack.push(source, target, reporter), _INTERRUPTED)
    where = swapped.target.deployment
    result = results.SwappedResult(
        where.namespace,
        where.name,
        swapped.target.container,
        swapped.image,
        swapped.before,
        swapped.released,
        swapped.pushed.sent,
        swapped.pushed.present,
        round(time.monotonic() - began, 3),
    )
    say.result(result, lambda: _swapped(result))


@verb(app)
def reset(say: Speaker, deployment: Back = None) -> None:
    """Make Deployments run their released images again, and wait until they are ready.

    Without an option it takes all Deployments that `obol dev push` has changed.
    """
    target = hotswap.Target.parse(deployment) if deployment is not None else None
    around = Invocation.of_process()
    stack, reporter = _stack(around), steps.TerminalReporter(say, around)
    began = time.monotonic()
    restored = run(say, stack.reset(target, reporter), _INTERRUPTED)
    places = [(one.target.deployment.namespace, one.target.deployment.name, one.target.container) for one in restored]
    containers = tuple(
        results.RestoredContainer(*place, one.image, one.before) for place, one in zip(places, restored, strict=True)
    )
    result = results.RestoredResult(containers, round(time.monotonic() - began, 3))
    say.result(result, lambda: list(map(_restored, containers)) or ["Nothing was swapped: released images run."])


def _stack(around: Invocation) -> HotSwap:
    """The stack of development mode. Raises UsageError where there is none."""
    directories = locate(around)
    own = home.Home(directories.config)
    caches = not settings.cache_disabled(around.environ)
    identity = hotswap.stack_of(own.identity(), development=development(around.environ), caches=caches)
    containers = background.idle_plans(directories).containers
    return wiring.hot_swap_on_k3d(identity.stack_id, containers, own, os.environ)


def _swapped(result: SwappedResult) -> list[str]:
    name = f"{result.namespace}/{result.deployment}"
    was = "was" if result.layers_present == 1 else "were"
    layers = f"{counted(result.layers_pushed, 'layer')} pushed, {result.layers_present} {was} there already"
    if result.image == result.before:
        return [f"{name} runs {result.image} already ({layers})."]
    return [
        f"{name} runs {result.image} ({span(max(1, result.seconds))}; {layers}).",
        f"`obol dev reset --deployment {name}:{result.container}` goes back to {result.released}.",
    ]


def _restored(one: RestoredContainer) -> str:
    name = f"{one.namespace}/{one.deployment}:{one.container}"
    if one.image == one.before:
        return f"{name} ran {one.image} already."
    return f"{name} runs {one.image} again."
