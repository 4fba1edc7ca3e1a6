"""`obol stack …`: bring the stack up, and see how it is.

What a verb needs is imported within it, so that `obol --help` starts fast.
"""

from __future__ import annotations

import asyncio
import os
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from obol.cli import options
from obol.cli.present import OutputFormat
from obol.config.paths import Surroundings, locate
from obol.config.sources import CacheFlags

if TYPE_CHECKING:
    from collections.abc import Sequence

    from obol.backends.base import Runtimes
    from obol.caches.plan import BuiltinPlan
    from obol.cli.present import Speaker
    from obol.client.base import Progress
    from obol.stack.nocluster import Brought, CachesOnly
    from obol.stack.plan import StackImage

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


class AskedBackend(StrEnum):
    """What can be asked for with --backend."""

    AUTO = "auto"
    NONE = "none"


NoRegistryCache = Annotated[
    bool,
    typer.Option(
        "--no-registry-cache",
        help="Do without registry caches, as with OBOL_DISABLE_REGISTRY_CACHE=true.",
    ),
]
BackendOption = Annotated[
    AskedBackend, typer.Option("--backend", help="What to run the stack on; none only fills the caches.")
]
Files = Annotated[
    list[Path] | None,
    typer.Option(
        "--file",
        "-f",
        metavar="FILE|DIR",
        help="More manifests, whose images are needed too; may be repeated.",
    ),
]


def stack_for(plan: BuiltinPlan) -> CachesOnly:
    """The stack over the cache engine that a plan describes."""
    from obol.wiring.stack import stack_on_none

    return stack_on_none(plan)


async def runtimes() -> Runtimes:
    """What this machine could run the stack on."""
    from obol.wiring.stack import look_for_runtimes

    return await look_for_runtimes()


@app.command()
def up(
    context: typer.Context,
    no_registry_cache: NoRegistryCache = False,
    backend: BackendOption = AskedBackend.AUTO,
    file: Files = None,
    output: options.Output = None,
    verbose: options.Verbose = False,
    quiet: options.Quiet = False,
) -> None:
    """Bring the stack up.

    This version starts the registry caches and fetches every image of the stack into them, so that a cluster comes up
    fast, online or not; it starts no cluster yet. Exits with 1 if an image could not be fetched.
    """
    from obol.cli.cacheview import start_warnings
    from obol.cli.stackview import WITHOUT_CACHE, UpResult, advice, errors, up_parts, up_result
    from obol.config.stack import cache_disabled

    say = options.speaker(context, output, verbose, quiet)
    # Asked first, and of nothing but the environment: who turns caches off wants nothing of them touched.
    if cache_disabled(os.environ) or no_registry_cache:
        say.result(UpResult("none", registry_cache=False), lambda: WITHOUT_CACHE)
        return
    around = Surroundings.of_process()
    images = _images(file, around)
    asked = backend is AskedBackend.NONE
    brought = _bring_up(say, stack_for(_plan(say, around)), images, look=not asked)
    say.result(up_result(brought), lambda: up_parts(brought, time.time()))
    if say.output is OutputFormat.HUMAN:  # as JSON they are part of the result
        for error in errors(brought):
            say.error(error)
    for line in (*start_warnings(brought.caches), *advice(brought.choice, asked=asked)):
        say.note(line)
    if not brought.complete:
        raise typer.Exit(1)


@app.command()
def status(
    context: typer.Context,
    file: Files = None,
    output: options.Output = None,
    verbose: options.Verbose = False,
    quiet: options.Quiet = False,
) -> None:
    """Show what runs, and which images of the stack are in the caches."""
    from obol.cli.stackview import status_parts, status_result

    say = options.speaker(context, output, verbose, quiet)
    around = Surroundings.of_process()
    images = _images(file, around)
    seen = asyncio.run(stack_for(_plan(say, around)).status(images))
    say.result(status_result(seen), lambda: status_parts(seen))
    if seen.caches is None:
        say.note("Start the caches and fill them: obol stack up")


def _bring_up(say: Speaker, stack: CachesOnly, images: Sequence[StackImage], *, look: bool) -> Brought:
    """Choose a backend, by what is installed if `look`, and bring the stack up, showing how it goes on."""
    from obol.cli.progress import watching
    from obol.stack.plan import Choice, choose

    async def chosen(progress: Progress) -> Brought:
        choice = choose(await runtimes()) if look else Choice("none")
        return await stack.up(choice, images, progress)

    with watching(say) as progress:
        try:
            return asyncio.run(chosen(progress))
        except KeyboardInterrupt:
            say.note("Interrupted. What has been fetched is kept; `obol stack up` goes on from there.")
            raise


def _images(file: Sequence[Path] | None, around: Surroundings) -> tuple[StackImage, ...]:
    from obol.config.stack import image_overrides
    from obol.stack.images import stack_images
    from obol.workloads.sources import brought

    overrides = image_overrides(locate(around).settings_file)
    return stack_images(brought(file or ()), overrides)


def _plan(say: Speaker, around: Surroundings) -> BuiltinPlan:
    """Plan the engine as `obol cache start` without options does."""
    from obol.config.background import background_plan
    from obol.config.settings import load_cache_settings

    flags, directories = CacheFlags(), locate(around)
    settings = load_cache_settings(flags, around, directories)
    for warning in settings.warnings:
        say.note(f"warning: {warning}")
    return background_plan(settings, flags, around, directories)
