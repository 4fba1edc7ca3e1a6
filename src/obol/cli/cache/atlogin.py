"""`obol cache enable` and `disable`: the engine as a service that starts at login."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from obol.cli.cache import clientconfig
from obol.cli.cache import commands as cache
from obol.cli.cache.options import Store
from obol.cli.terminal.present import AsIs, Speaker, tilde
from obol.cli.verb import run, verb
from obol.config.paths import Invocation

if TYPE_CHECKING:
    from obol.caches.builtin.atlogin import LoginService
    from obol.machine.commands import Runner


def runner() -> Runner:
    """The way to run programs."""
    from obol.machine.commands import SystemRunner

    return SystemRunner()


@verb(cache.app)
def enable(
    say: Speaker,
    store: Store = None,
) -> None:
    """Start the caches at each login from now on.

    So they run after a reboot. systemd starts them, or launchd on macOS. The settings are those of obol.toml
    and the environment as they are now. If an engine runs, it stops and starts again as the service.
    """
    from obol.cli.cache import containers as cachecontainers
    from obol.cli.results.cache import EnableResult

    there = cache.serving_containers(say, store)
    cachecontainers.refuse(there, "the engine that starts at login is the builtin one", "Docker starts them by itself")
    enabled = run(say, _service(store).enable())
    opening = f"Wrote {tilde(enabled.path)}:"
    pid = enabled.running.status.pid
    closing = f"The cache engine runs (process {pid}), and starts at each login from now on."
    running = enabled.running
    result = EnableResult(
        enabled.path, enabled.text, running.status, running.substitutes, enabled.differs, enabled.left_out
    )
    say.result(result, lambda: [opening, "", AsIs(enabled.text), closing])
    if enabled.differs:
        say.note("The service follows the settings; the engine that ran before did not:")
    for sentence in enabled.differs:
        say.note(f"  - {sentence}")
    for substitute in (one for one in enabled.running.substitutes if one.wanted):
        say.note(f"{substitute.registry} is served on port {substitute.port} instead of {substitute.wanted}, for good")
    for name in enabled.left_out:
        say.note(f"warning: {name} holds a password and is not in the file: give it to the service by other means")
    if cache.supervisor() == "systemd":
        say.note("To start it with the machine, before you log in: loginctl enable-linger")


@verb(cache.app)
def disable(
    say: Speaker,
    store: Store = None,
) -> None:
    """Start the caches at login no longer.

    An engine that runs goes on in the background.
    """
    from obol.cli.results.cache import DisableResult

    disabled = run(say, _service(store).disable())
    result = DisableResult(disabled.path, disabled.removed, disabled.running)
    if there := cache.serving_containers(say, store):
        names = " ".join(one.cache.name for one in there)
        say.note(f"Docker starts the cache containers by itself; to end that: docker update --restart=no {names}")
    if not disabled.removed:
        say.result(result, lambda: ["The caches are not started at login."])
        return
    rest = " The cache engine goes on in the background." if disabled.running else ""
    say.result(result, lambda: [f"Removed {tilde(disabled.path)}.{rest}"])


def _service(store: str | None) -> LoginService:
    from obol.caches.builtin.atlogin import LoginService
    from obol.config.sources import CacheFlags

    around = Invocation.of_process()
    plan = cache.planned(around, CacheFlags(store=store))
    engine, originals = cache.engine_for(plan), clientconfig.originals(around)
    return LoginService(plan, engine, around.home, os.geteuid(), cache.supervisor(), originals, runner())
