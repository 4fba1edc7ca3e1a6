"""What the verbs of `obol stack` act upon, made from this process's surroundings.

What a verb needs is imported within it, so that `obol --help` starts fast.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING

from obol.config.paths import locate
from obol.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from obol.backends.ports import BackendName, Runtimes
    from obol.caches.builtin.plan import BuiltinPlan
    from obol.cli.terminal.present import Speaker
    from obol.config.background import CachePlans
    from obol.config.paths import Invocation
    from obol.stack.home import Home, Identity
    from obol.stack.hotswap import HotSwap
    from obol.stack.lifecycle import Lifecycle, Wanted
    from obol.stack.nocluster import CachesOnly
    from obol.stack.plan import Choice
    from obol.stack.reporter import Reporter
    from obol.stack.space import Space
    from obol.workloads.images import StackImage
    from obol.workloads.sources import Manifest


class AskedBackend(StrEnum):
    """What can be asked for with --backend."""

    AUTO = "auto"
    K3D = "k3d"
    K3S = "k3s"
    PODMAN = "podman"
    NONE = "none"


class AskedEngine(StrEnum):
    """What can be asked for with --cache-engine."""

    AUTO = "auto"
    BUILTIN = "builtin"
    CONTAINERS = "containers"


def caches_only(plan: BuiltinPlan) -> CachesOnly:
    """The stack without a cluster, over the cache engine that a plan describes."""
    from obol.wiring.stack import stack_on_none

    return stack_on_none(plan)


def lifecycle(plans: CachePlans, home: Home, backend: BackendName, say: Speaker) -> Lifecycle:
    """The stack on a backend. Without one there is nothing to run, but something to remove.

    With --verbose, what the programs say that it calls is shown.
    """
    from obol.wiring.stack import stack_on_k3d, stack_on_k3s, stack_on_podman

    lines = say.child if say.verbose and not say.quiet else None
    if backend == "k3d":
        return stack_on_k3d(plans, home, os.environ, verbose=say.verbose, lines=lines)
    if backend == "k3s":
        return stack_on_k3s(plans, home, os.environ, lines=lines)
    return stack_on_podman(plans.builtin, home, os.environ, lines=lines, note=say.note)


def hot_swap(around: Invocation, home: Home, identity: Identity) -> HotSwap:
    """The way to swap images in a stack on k3d."""
    from obol.wiring.stack import hot_swap_on_k3d

    return hot_swap_on_k3d(identity.stack_id, idle_plans(around).containers, home, os.environ)


async def runtimes() -> Runtimes:
    """What this machine could run the stack on."""
    from obol.wiring.stack import look_for_runtimes

    return await look_for_runtimes()


async def choose(asked: AskedBackend, identity: Identity | None, environ: Mapping[str, str]) -> Choice:
    """Choose a backend: what is asked for, what the stack there is has, or what is installed. Raises UsageError.

    The environment is asked where there is no stack yet.
    """
    from obol.config.stack import BACKENDS, backend_wish
    from obol.stack import plan

    recorded = identity.backend if identity is not None and identity.backend != "none" else None
    wish = backend_wish(environ)  # a wrong one is told where it has no effect, too
    wanted = BACKENDS[asked]
    if wanted is None and recorded is None:
        wanted = wish
    if wanted == "none":
        return plan.Choice("none")
    if identity is not None and recorded is not None and wanted not in {None, recorded}:
        raise UsageError(
            f"the stack {identity.stack_id} runs on {recorded}",
            hint=f"`obol stack init --force --backend {wanted}` changes that",
        )
    if wanted is not None or recorded is not None:
        return plan.Choice(wanted or recorded or "none")
    return replace(plan.choose(await runtimes()), looked=True)


@contextlib.contextmanager
def at_work(around: Invocation) -> Iterator[None]:
    """Be the only command at work on this stack; what root wrote for a person is theirs then. Raises ObolError."""
    from obol.config.background import sudo_account
    from obol.machine.files import give_away
    from obol.stack.home import MARK, is_ours
    from obol.stack.home import at_work as only_one

    config, data = locate(around).config, locate(around).data
    account = sudo_account(around.environ, os.geteuid())
    with only_one(config):
        try:
            yield
        finally:
            if account is not None:
                give_away(config, account.uid, account.gid)
                for own in (data / MARK, data) if is_ours(data, config) else ():  # what is in it may be a cluster's
                    give_away(own, account.uid, account.gid, below=False)


def establish(say: Speaker, home: Home, before: Identity | None, backend: BackendName) -> Identity:
    """Give the stack its name, if it has none, and refresh its manifests."""
    import secrets

    from obol.stack.home import Identity, two_words
    from obol.workloads.sources import packaged

    identity = Identity(before.stack_id if before else two_words(secrets.randbelow), backend)
    if identity != before:
        home.establish(identity)
    for name in home.refresh(packaged()):
        say.note(f"You changed workloads/{name}: obol uses it as it is.")
    return identity


def home(around: Invocation) -> Home:
    """Where the stack is written down."""
    from obol.stack.home import Home

    return Home(locate(around).config)


def steps(say: Speaker) -> Reporter:
    """The way to show what goes on."""
    from obol.cli.terminal.steps import steps_for

    return steps_for(say)


def steps_with_images(say: Speaker, around: Invocation, wanted: Wanted) -> Reporter:
    """The same with the images that an `up` waits for, as the builtin engine sees them come."""
    from obol.cli.terminal.board import Board
    from obol.cli.terminal.imagewatch import engine_at
    from obol.cli.terminal.steps import steps_for
    from obol.client.platforms import this_machine
    from obol.config.sources import store_directory

    if not wanted.use_caches:
        return steps_for(say)
    last = home(around).last_up()
    names = [str(image.reference) for image in wanted.images]
    board = Board(names, last.images if last else (), foretold=wanted.prefetch)
    return steps_for(say, board, engine_at(store_directory(None, around, locate(around)), (str(this_machine()),)))


def manifests(file: Sequence[Path] | None, around: Invocation) -> tuple[Manifest, ...]:
    """What is deployed: the stack's manifests, as they are in its directory, and those of a person."""
    from obol.config.stack import image_overrides
    from obol.stack.home import WORKLOADS
    from obol.workloads.images import deployed
    from obol.workloads.sources import brought

    directories = locate(around)
    overrides = image_overrides(directories.settings_file)
    return deployed(brought([directories.config / WORKLOADS]), brought(file or ()), overrides)


def images(file: Sequence[Path] | None, around: Invocation, *, kubernetes: bool = True) -> tuple[StackImage, ...]:
    """The images that the stack needs; with `kubernetes` those of k3s too."""
    from obol.config.stack import image_overrides
    from obol.workloads.images import stack_images
    from obol.workloads.sources import brought

    overrides = image_overrides(locate(around).settings_file)
    return stack_images(brought(file or ()), overrides, kubernetes=kubernetes)


def ignored(plans: CachePlans, backend: BackendName) -> list[str]:
    """Wishes that a backend has no use for, a sentence each."""
    found = []
    if backend != "k3d":
        if plans.engine == "containers":
            found.append("The containers engine is for clusters of k3d: the builtin engine serves here.")
        if plans.development and backend == "k3s":
            found.append("k3s looks on port 54103 of this machine for images of localhost:54103; obol runs none there.")
        elif plans.development:
            found.append("The registry to push to is for clusters of k3d: there is none here.")
    return found


def room(around: Invocation) -> Space:
    """How much the caches take on disk, and what is left."""
    from obol.stack.space import space

    directories = locate(around)
    return space(directories.cache_root, directories.data)


def remove_empty_directories(around: Invocation) -> None:
    """Remove the directories of the caches, as far as they are empty."""
    from obol.stack.home import remove_empty

    directories = locate(around)
    remove_empty(directories.cache_root, directories.state)


def idle_plans(around: Invocation) -> CachePlans:
    """What commands get that leave the caches alone."""
    from obol.config import background

    return background.idle_plans(locate(around))


def cache_plans(say: Speaker, around: Invocation, engine: AskedEngine = AskedEngine.AUTO) -> CachePlans:
    """Plan the builtin engine as `obol cache start` without options does, and the containers. Raises SettingsError."""
    from obol.config import background
    from obol.config.settings import load_cache_settings
    from obol.config.sources import CacheFlags
    from obol.config.stack import ENGINES, cache_engine

    flags, directories = CacheFlags(), locate(around)
    wish = cache_engine(around.environ)
    asked = wish if engine is AskedEngine.AUTO else ENGINES[engine]
    settings = load_cache_settings(flags, around, directories)
    for warning in settings.warnings:
        say.warn(f"warning: {warning}")
    return background.cache_plans(settings, flags, around, directories, asked)
