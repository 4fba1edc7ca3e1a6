"""`obol dev …`: run an image of this machine's Docker in the stack, and go back to the released one.

What a verb needs is imported within it, so that `obol --help` starts fast.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from obol.cli.parser import Verbs
from obol.cli.stack import building
from obol.cli.terminal.present import Speaker
from obol.cli.verb import run, verb
from obol.config.paths import Invocation, development

if TYPE_CHECKING:
    from obol.stack.hotswap import HotSwap

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
def push(
    say: Speaker,
    image: Image,
    deployment: Into,
) -> None:
    """Push an image to the stack's own registry, run it in a Deployment, and wait until it is ready.

    Needs development mode (OBOL_DEVELOPMENT=true) on k3d. Pushes only layers that changed. The Deployment keeps the
    name of the image that ran before, and `obol dev reset` goes back to it.
    """
    from obol.cli.dev.view import swapped_parts, swapped_result
    from obol.stack.hotswap import Source, Target

    source, target = Source.parse(image), Target.parse(deployment)
    stack = _stack()
    began = time.monotonic()
    swapped = run(say, stack.push(source, target, building.steps(say)), _INTERRUPTED)
    result = swapped_result(swapped, time.monotonic() - began)
    say.result(result, lambda: swapped_parts(result))


@verb(app)
def reset(
    say: Speaker,
    deployment: Back = None,
) -> None:
    """Make Deployments run their released images again, and wait until they are ready.

    Without an option it takes all Deployments that `obol dev push` has changed.
    """
    from obol.cli.dev.view import restored_parts, restored_result
    from obol.stack.hotswap import Target

    target = Target.parse(deployment) if deployment is not None else None
    stack = _stack()
    began = time.monotonic()
    restored = run(say, stack.reset(target, building.steps(say)), _INTERRUPTED)
    result = restored_result(restored, time.monotonic() - began)
    say.result(result, lambda: restored_parts(result))


def _stack() -> HotSwap:
    """The stack of development mode. Raises UsageError where there is none."""
    from obol.config.stack import cache_disabled
    from obol.stack.hotswap import stack_of

    around = Invocation.of_process()
    home = building.home(around)
    caches = not cache_disabled(around.environ)
    identity = stack_of(home.identity(), development=development(around.environ), caches=caches)
    return building.hot_swap(around, home, identity)
