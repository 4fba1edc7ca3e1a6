"""`obol cache …`: the builtin engine in the foreground, and the background process that runs the same."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from obol.cli.cache import engines, view
from obol.cli.cache.options import CacheOptions, Client, ConfigOptions, Store, WarmOptions
from obol.cli.later import later
from obol.cli.parser import Verbs
from obol.cli.results.cache import CacheStatusResult, LogResult, StartResult, StopResult
from obol.cli.terminal.caches import container_result, listeners_table, start_warnings
from obol.cli.terminal.present import AsIs, Speaker, counted, tilde
from obol.cli.verb import ExitCode, verb
from obol.config.paths import Invocation, locate
from obol.config.sources import CacheFlags
from obol.errors import NotThere, ObolError
from obol.machine import regular

if TYPE_CHECKING:
    from obol.caches.builtin import log as enginelog
    from obol.cli import serving
    from obol.cli.cache import clients, login, warming
    from obol.config import settings
    from obol.machine import clock
else:
    enginelog = later("obol.caches.builtin.log")
    serving = later("obol.cli.serving")
    clients, login, warming = (later(f"obol.cli.cache.{name}") for name in ("clients", "login", "warming"))
    clock, settings = later("obol.machine.clock"), later("obol.config.settings")

app = Verbs()

Lines = Annotated[int, typer.Option("--lines", "-n", min=0, metavar="N", help="How many lines.")]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Show new lines as they come, until Ctrl-C.")]
PathOnly = Annotated[bool, typer.Option("--path", help="Only print the path of the log.")]
LogFile = Annotated[Path | None, typer.Option("--log-file", hidden=True)]
Which = Annotated[Client, typer.Argument(help="The client.", show_default=False)]


@verb(app)
def serve(options: CacheOptions, log_file: LogFile = None) -> None:
    """Run the cache engine in the foreground.

    Every option is also a setting in obol.toml and an environment variable, OBOL_CACHE_<OPTION>.
    """
    around = Invocation.of_process()
    loaded = settings.load_cache_settings(options.flags(), around, locate(around))
    raise typer.Exit(serving.serve(loaded.engine, loaded.log_format, loaded.warnings, log_file=log_file))


@verb(app)
def start(say: Speaker, options: CacheOptions) -> None:
    """Start the cache engine in the background.

    If it runs already, nothing happens. The options are those of `obol cache serve`. If another program holds a port,
    the engine takes a free one.
    """
    flags, around = options.flags(), Invocation.of_process()
    there = engines.look(say, around, options.store)
    if engines.containers_serve(there, around, options.store):
        if flags != CacheFlags():
            engines.refuse(there, "these options are for the builtin engine")
        engines.start_containers(say, around, CacheFlags())
        return
    engines.make_way(say, around, there)
    started = engines.engine_for(engines.planned(around, flags, say.warn)).start()
    engine = started.status
    result = StartResult(started.already, started.differs, "builtin", engine, started.substitutes, ())
    opening = f"The cache engine {'runs already' if started.already else 'has started'} (process {engine.pid})."
    held = f"{counted(engine.content.count, 'blob')} in {tilde(engine.store)}"
    say.result(result, lambda: [opening, held, "", listeners_table(engine, started.substitutes)])
    for line in start_warnings(started):
        say.warn(line)


@verb(app)
def stop(say: Speaker, store: Store = None) -> None:
    """Stop the cache engine; what it has stored stays."""
    stopped = engines.engine_for(engines.asking_plan(store)).stop()
    containers = engines.stop_containers(say, Invocation.of_process(), store)
    lines = ["The cache engine has stopped."] if stopped else []
    lines += [f"Stopped {', '.join(containers)}."] if containers else []
    say.result(
        StopResult(stopped or bool(containers), containers), lambda: lines or ["The cache engine was not running."]
    )
    if containers:
        say.note("`obol cache start` starts them again, and so does `obol stack up`.")
    if stopped and login.enabled():
        say.note("It starts again at the next login; to end that: obol cache disable")


@verb(app)
def status(say: Speaker, store: Store = None, exit_code: ExitCode = False) -> None:
    """Show whether the cache engine runs, and what it has served."""
    plan = engines.asking_plan(store)
    found = engines.engine_for(plan).status()
    there = engines.look(say, Invocation.of_process(), store)
    containers = tuple(map(container_result, there))
    serving = {one.state for one in there if one.cache.upstream}
    code = 0
    if found is not None:
        result = CacheStatusResult(True, "builtin", str(plan.store), found.status, found.substitutes, containers)
        beside = ("", view.containers_table(there)) if there else ()
        say.result(result, lambda: [*view.engine_parts(found.status, found.substitutes, time.time()), *beside])
        if "running" in serving:
            say.note(f"Cache containers run too, and nodes may ask them: `{engines.SWITCH}` leaves one engine")
        failing = any(upstream.health in {"failing", "rate-limited"} for upstream in found.status.upstreams)
        code = ObolError.exit_code if failing else 0
    elif there:
        running = "running" in serving
        result = CacheStatusResult(running, "containers" if running else None, str(plan.store), None, (), containers)
        say.result(result, lambda: view.containers_parts(there, str(plan.store.parent)))
        if not all(one.state == "running" for one in there):
            say.note("Start them: obol cache start")
        code = 0 if serving == {"running"} else NotThere.exit_code if serving <= {"stopped"} else ObolError.exit_code
    else:
        text = f"The cache engine is not running (store: {tilde(str(plan.store))})."
        say.result(CacheStatusResult(False, None, str(plan.store), None, (), ()), lambda: [text])
        say.note("Start it: obol cache start")
        code = NotThere.exit_code
    raise typer.Exit(code if exit_code else 0)


@verb(app)
def logs(say: Speaker, store: Store = None, lines: Lines = 100, follow: Follow = False, path: PathOnly = False) -> None:
    """Show the log of the background process."""
    log = engines.asking_plan(store).log
    there = engines.serving_containers(say, store)
    if there and (path or follow):
        engines.refuse(there, "Docker keeps the logs of containers", f"`docker logs -f {there[0].cache.name}`")
    if there:
        said = engines.container_logs(say, Invocation.of_process(), lines)
        say.result(LogResult("", said), lambda: list(map(AsIs, said)))
        return
    if path:
        say.result(LogResult(str(log), ()), lambda: [str(log)])
        return
    if not log.exists():
        why = "the engine has not run in the background"
        raise NotThere(f"there is no log at {tilde(str(log))}", why=why, hint="start it: `obol cache start`")
    with regular.explained(log, "read"):
        found = enginelog.last_lines(log, lines)
        if not follow:
            say.result(LogResult(str(log), tuple(found)), lambda: list(map(AsIs, found)))
            return
        # Unchanged with -o json, too: the engine's own lines may be JSON already.
        sys.stdout.writelines(f"{line}\n" for line in found)
        sys.stdout.flush()
        for piece in enginelog.follow(log, clock.SystemClock()):
            sys.stdout.write(piece)
            sys.stdout.flush()


@verb(app)
def warm(say: Speaker, options: WarmOptions) -> None:
    """Pull images through the cache, so that they are in it.

    Starts the cache if it does not run, and fetches only what the cache does not hold. Exits with 1 if it could not
    fetch an image.
    """
    raise typer.Exit(warming.warm(say, options))


@verb(app)
def ls(say: Speaker, store: Store = None) -> None:
    """List the images in the cache, and what is missing of them."""
    there, hint = engines.serving_containers(say, store), "`obol cache status` tells how much it is"
    engines.refuse(there, "the images that cache containers hold cannot be listed", hint)
    held = engines.engine_for(engines.asking_plan(store)).images()
    if held.images:
        say.result(held, lambda: view.images_lines(held.images, time.time()))
        return
    say.result(held, lambda: ["The cache holds no images."])
    say.note("Fill it: obol cache warm IMAGE")


@verb(app)
def config(say: Speaker, client: Which, options: ConfigOptions) -> None:
    """Point a container client of this machine at the caches.

    Shows what to put where, with the ports as they are. --write puts it there, and --undo takes it away again.
    """
    clients.config(say, client, options)


@verb(app)
def enable(say: Speaker, store: Store = None) -> None:
    """Start the caches at each login from now on.

    So they run after a reboot. systemd starts them, or launchd on macOS. The settings are those of obol.toml
    and the environment as they are now. If an engine runs, it stops and starts again as the service.
    """
    login.enable(say, store)


@verb(app)
def disable(say: Speaker, store: Store = None) -> None:
    """Start the caches at login no longer.

    An engine that runs goes on in the background.
    """
    login.disable(say, store)
