"""From settings to the background process that obeys them, or to the containers that serve in its place.

The process reads the same settings file and the same variables again, and is given the same flags, so that it does what
`cache serve` would do in its place. Only what depends on where we are is made absolute.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from obol.caches.builtin.plan import BuiltinPlan
from obol.caches.containers.plan import DEFAULT_IMAGE, ContainersPlan, RegistryContainer
from obol.config.paths import development
from obol.config.stack import cache_image
from obol.machine.commands import User

if TYPE_CHECKING:
    from obol.config.paths import Directories, Invocation
    from obol.config.settings import CacheSettings
    from obol.config.sources import CacheFlags
    from obol.config.stack import EngineName


@dataclass(frozen=True, slots=True)
class CachePlans:
    """All that caches of a stack may be."""

    builtin: BuiltinPlan
    containers: ContainersPlan
    engine: EngineName
    development: bool


def idle_plans(directories: Directories) -> CachePlans:
    """What commands get that leave the caches alone: no setting of these is looked at."""
    return CachePlans(BuiltinPlan(directories.builtin_store), ContainersPlan(directories.cache_root, ()), "auto", False)


def cache_plans(
    settings: CacheSettings, flags: CacheFlags, around: Invocation, directories: Directories, engine: EngineName
) -> CachePlans:
    """Plan both engines for `settings`, which were loaded from these flags and surroundings. Raises SettingsError."""
    builtin = background_plan(settings, flags, around, directories)
    containers = containers_plan(settings, around, directories)
    return CachePlans(builtin, containers, engine, development(around.environ))


def background_plan(
    settings: CacheSettings, flags: CacheFlags, around: Invocation, directories: Directories
) -> BuiltinPlan:
    """Plan the process for `settings`, which were loaded from these flags and surroundings."""
    return BuiltinPlan(
        store=settings.engine.store,
        listeners=settings.engine.listeners,
        arguments=replace(flags, store=None, port=()).argv(),
        environ=around.environ,
        config=directories.config,
        offline=settings.engine.offline,
        account=sudo_account(around.environ, os.geteuid()),
    )


def containers_plan(settings: CacheSettings, around: Invocation, directories: Directories) -> ContainersPlan:
    """Plan a container for each upstream. Raises SettingsError."""
    ports = {own.registry: own.port for own in settings.engine.listeners}
    return ContainersPlan(
        root=directories.cache_root,
        caches=tuple(
            RegistryContainer(own.registry, own.url, ports[own.registry]) for own in settings.engine.upstreams
        ),
        image=cache_image(around.environ) or DEFAULT_IMAGE,
        account=sudo_account(around.environ, os.geteuid()),
    )


def sudo_account(environ: Mapping[str, str], uid: int) -> User | None:
    """The account of the person whom sudo made root; None where sudo was not used."""
    user, group = environ.get("SUDO_UID", ""), environ.get("SUDO_GID", "")
    if uid != 0 or not (user.isdecimal() and group.isdecimal()) or int(user) == 0:
        return None
    return User(int(user), int(group))
