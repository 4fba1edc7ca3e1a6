"""`obol cache enable` and `disable`: the engine as a service that starts at login."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from obol.caches.builtin.atlogin import LoginService, unit_file
from obol.cli.cache import clients, engines
from obol.cli.results.cache import EnableResult
from obol.cli.terminal.present import AsIs, tilde
from obol.cli.verb import run
from obol.config.paths import Invocation
from obol.config.sources import CacheFlags

if TYPE_CHECKING:
    from obol.caches.builtin.atlogin import Supervisor
    from obol.cli.terminal.present import Speaker


def supervisor() -> Supervisor:
    """What starts the services of a person on this machine."""
    return "launchd" if sys.platform == "darwin" else "systemd"


def enabled() -> bool:
    """Whether the engine starts at login."""
    return unit_file(Invocation.of_process().home, supervisor()).exists()


def enable(say: Speaker, store: str | None) -> None:
    """Make the engine a service that starts at login."""
    there = engines.serving_containers(say, store)
    engines.refuse(there, "the engine that starts at login is the builtin one", "Docker starts them by itself")
    done = run(say, _service(store).enable())
    running = done.running
    closing = f"The cache engine runs (process {running.status.pid}), and starts at each login from now on."
    result = EnableResult(done.path, done.text, running.status, running.substitutes, done.differs, done.left_out)
    say.result(result, lambda: [f"Wrote {tilde(done.path)}:", "", AsIs(done.text), closing])
    if done.differs:
        say.note("The service follows the settings; the engine that ran before did not:")
    for sentence in done.differs:
        say.note(f"  - {sentence}")
    for substitute in (one for one in running.substitutes if one.wanted):
        say.note(f"{substitute.registry} is served on port {substitute.port} instead of {substitute.wanted}, for good")
    for name in done.left_out:
        say.note(f"warning: {name} holds a password and is not in the file: give it to the service by other means")
    if supervisor() == "systemd":
        say.note("To start it with the machine, before you log in: loginctl enable-linger")


def disable(say: Speaker, store: str | None) -> None:
    """Remove that service; an engine that runs goes on in the background."""
    done = run(say, _service(store).disable())
    if there := engines.serving_containers(say, store):
        names = " ".join(one.cache.name for one in there)
        say.note(f"Docker starts the cache containers by itself; to end that: docker update --restart=no {names}")
    rest = " The cache engine goes on in the background." if done.running else ""
    said = f"Removed {tilde(done.path)}.{rest}" if done.removed else "The caches are not started at login."
    say.result(done, lambda: [said])


def _service(store: str | None) -> LoginService:
    around = Invocation.of_process()
    plan = engines.planned(around, CacheFlags(store=store))
    engine, originals = engines.engine_for(plan), clients.originals(around)
    return LoginService(plan, engine, around.home, os.geteuid(), supervisor(), originals, clients.runner())
