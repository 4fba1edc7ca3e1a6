"""`obol cache …`: the builtin engine in the foreground, and the background process that runs the same.

What a verb needs is imported within it, so that `obol --help` and the verbs that only ask start fast.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from obol.cli.cache import log as cachelog
from obol.cli.cache.options import CacheOptions, Store
from obol.cli.terminal.present import AsIs, OutputFormat, Speaker, counted, tilde
from obol.cli.terminal.usage import Verbs
from obol.cli.verb import ExitCode, verb
from obol.config.paths import Invocation, locate
from obol.errors import Interrupted, NotThere, ObolError

if TYPE_CHECKING:
    from collections.abc import Callable

    from obol.caches.builtin.atlogin import Supervisor
    from obol.caches.builtin.plan import BuiltinPlan
    from obol.caches.containers.engine import ContainerSeen
    from obol.caches.ports import CacheEngine, Started
    from obol.config.settings import CacheSettings
    from obol.config.sources import CacheFlags

app = Verbs()

Lines = Annotated[int, typer.Option("--lines", "-n", min=0, metavar="N", help="How many lines.")]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Show new lines as they come, until Ctrl-C.")]
PathOnly = Annotated[bool, typer.Option("--path", help="Only print the path of the log.")]
Images = Annotated[
    list[str] | None, typer.Argument(metavar="IMAGE", help="References, such as alpine or ghcr.io/org/app:1.2.")
]
Platforms = Annotated[
    list[str] | None,
    typer.Option(
        "--platform",
        metavar="OS/ARCH",
        help="A platform to fetch, such as linux/arm64; may be repeated (default: that of this machine).",
    ),
]
AllPlatforms = Annotated[bool, typer.Option("--all-platforms", help="Fetch every platform that there is.")]
FromFile = Annotated[
    str | None,
    typer.Option("--from", metavar="FILE", help="Read references from a file, one a line; - is standard input."),
]
Jobs = Annotated[int, typer.Option("--jobs", "-j", min=1, max=32, metavar="N", help="How many images at a time.")]
LogFile = Annotated[Path | None, typer.Option("--log-file", hidden=True)]


def engine_for(plan: BuiltinPlan) -> CacheEngine:
    """Get the engine that a plan describes."""
    from obol.wiring.caches import builtin_cache

    return builtin_cache(plan)


def planned(around: Invocation, flags: CacheFlags, warn: Callable[[str], None] | None = None) -> BuiltinPlan:
    """Plan by all settings what is to run in the background; `warn` gets what is odd in them. Raises SettingsError."""
    from obol.config.background import background_plan

    settings = _load(flags, around)
    if warn is not None:
        for warning in settings.warnings:
            warn(f"warning: {warning}")
    return background_plan(settings, flags, around, locate(around))


def supervisor() -> Supervisor:
    """Who starts services of a person here."""
    return "launchd" if sys.platform == "darwin" else "systemd"


@verb(app)
def serve(
    options: CacheOptions,
    log_file: LogFile = None,
) -> None:
    """Run the cache engine in the foreground.

    Every option is also a setting in obol.toml and an environment variable, OBOL_CACHE_<OPTION>.
    """
    settings = _load(options.flags(), Invocation.of_process())
    for warning in settings.warnings:
        cachelog.warn_in_log(warning, settings.log_format)
    if log_file is not None:
        cachelog.keep_log_small(log_file)
    from obol.wiring.engine import serve as serve_engine

    raise typer.Exit(serve_engine(settings.engine, log_format=settings.log_format))


@verb(app)
def start(
    say: Speaker,
    options: CacheOptions,
) -> None:
    """Start the cache engine in the background.

    If it runs already, nothing happens. The options are those of `obol cache serve`. If another program holds a port,
    the engine takes a free one.
    """
    from obol.cli.cache import containers as cachecontainers
    from obol.config.sources import CacheFlags

    flags, store = options.flags(), options.store
    around = Invocation.of_process()
    there = cachecontainers.look(say, around, store)
    if cachecontainers.serve(there, around.environ, lambda: _builtin_runs(store)):
        if flags != CacheFlags():
            cachecontainers.refuse(there, "these options are for the builtin engine")
        cachecontainers.start(say, around)
        return
    cachecontainers.make_way(say, around, there)
    _present_start(say, engine_for(planned(around, flags, say.warn)).start())


@verb(app)
def stop(
    say: Speaker,
    store: Store = None,
) -> None:
    """Stop the cache engine; what it has stored stays."""
    from obol.cli.cache import containers as cachecontainers
    from obol.cli.results.cache import StopResult

    stopped = engine_for(_asking_plan(store)).stop()
    containers = cachecontainers.stop(say, Invocation.of_process(), store)
    lines = ["The cache engine has stopped."] if stopped else []
    lines += [f"Stopped {', '.join(containers)}."] if containers else []
    say.result(
        StopResult(stopped or bool(containers), containers), lambda: lines or ["The cache engine was not running."]
    )
    if containers:
        say.note("`obol cache start` starts them again, and so does `obol stack up`.")
    if stopped and _starts_at_login():
        say.note("It starts again at the next login; to end that: obol cache disable")


@verb(app)
def status(
    say: Speaker,
    store: Store = None,
    exit_code: ExitCode = False,
) -> None:
    """Show whether the cache engine runs, and what it has served."""
    from obol.cli.cache import containers as cachecontainers
    from obol.cli.cache.view import container_result, engine_parts
    from obol.cli.results.cache import CacheStatusResult

    plan = _asking_plan(store)
    found = engine_for(plan).status()
    there = cachecontainers.look(say, Invocation.of_process(), store)
    if found is None and there:
        cachecontainers.show(say, plan.store, there)
        raise typer.Exit(cachecontainers.code(there) if exit_code else 0)
    if found is None:
        text = f"The cache engine is not running (store: {tilde(str(plan.store))})."
        say.result(CacheStatusResult(False, None, str(plan.store), None, (), ()), lambda: [text])
        say.note("Start it: obol cache start")
        raise typer.Exit(NotThere.exit_code if exit_code else 0)
    containers = tuple(map(container_result, there))
    result = CacheStatusResult(True, "builtin", str(plan.store), found.status, found.substitutes, containers)
    beside = ("", cachecontainers.table(there)) if there else ()
    say.result(result, lambda: [*engine_parts(found.status, found.substitutes, time.time()), *beside])
    if any(one.cache.upstream and one.state == "running" for one in there):
        say.note(f"Cache containers run too, and nodes may ask them: `{cachecontainers.SWITCH}` leaves one engine")
    failing = any(upstream.health in {"failing", "rate-limited"} for upstream in found.status.upstreams)
    raise typer.Exit(ObolError.exit_code if exit_code and failing else 0)


@verb(app)
def logs(
    say: Speaker,
    store: Store = None,
    lines: Lines = 100,
    follow: Follow = False,
    path: PathOnly = False,
) -> None:
    """Show the log of the background process."""
    from obol.caches.builtin import log as enginelog
    from obol.cli.cache import containers as cachecontainers
    from obol.cli.results.cache import LogResult
    from obol.machine import regular

    log = _asking_plan(store).log
    there = serving_containers(say, store)
    if there and (path or follow):
        cachecontainers.refuse(there, "Docker keeps the logs of containers", f"`docker logs -f {there[0].cache.name}`")
    if there:
        said = cachecontainers.logs(say, Invocation.of_process(), lines)
        say.result(LogResult("", said), lambda: list(map(AsIs, said)))
        return
    if path:
        say.result(LogResult(str(log), ()), lambda: [str(log)])
        return
    if not log.exists():
        why = "the engine has not run in the background"
        raise NotThere(f"there is no log at {tilde(str(log))}", why=why, hint="start it: `obol cache start`")
    with regular.explained(log, "read"):
        if follow:
            cachelog.follow(log, lines)
            return
        found = enginelog.last_lines(log, lines)
    say.result(LogResult(str(log), tuple(found)), lambda: list(map(AsIs, found)))


@verb(app)
def warm(
    say: Speaker,
    image: Images = None,
    platform: Platforms = None,
    all_platforms: AllPlatforms = False,
    file: FromFile = None,
    jobs: Jobs = 3,
    store: Store = None,
) -> None:
    """Pull images through the cache, so that they are in it.

    Starts the cache if it does not run, and fetches only what the cache does not hold. Exits with 1 if it could not
    fetch an image.
    """
    from obol.cli.cache import containers as cachecontainers
    from obol.cli.cache import imageview, warming
    from obol.config.sources import CacheFlags

    references = warming.references(image or (), file)
    chosen = warming.selection(platform or (), every=all_platforms)
    cachecontainers.refuse(serving_containers(say, store), "cache containers cannot fetch images ahead")
    cache = engine_for(planned(Invocation.of_process(), CacheFlags(store=store), say.warn))
    started = cache.start()
    ask = warming.asking(started.status, chosen)
    warmed = warming.run(say, warming.warming(cache, chosen, jobs), references, started.status, ask)
    result = imageview.warm_result(warmed.outcomes, warmed.seconds, interrupted=warmed.interrupted)
    if not say.quiet or say.output is OutputFormat.JSON:
        say.result(result, lambda: imageview.warm_lines(warmed.outcomes, result))
    for problem in imageview.failures(warmed.outcomes.values()):
        if say.output is not OutputFormat.JSON:
            say.error(problem)
    if not result.complete:
        raise typer.Exit(Interrupted.exit_code if warmed.interrupted else ObolError.exit_code)


@verb(app)
def ls(
    say: Speaker,
    store: Store = None,
) -> None:
    """List the images in the cache, and what is missing of them."""
    from obol.cli.cache import containers as cachecontainers
    from obol.cli.cache.imageview import images_lines

    there, hint = serving_containers(say, store), "`obol cache status` tells how much it is"
    cachecontainers.refuse(there, "the images that cache containers hold cannot be listed", hint)
    held = engine_for(_asking_plan(store)).images()
    if held.images:
        say.result(held, lambda: images_lines(held.images, time.time()))
        return
    say.result(held, lambda: ["The cache holds no images."])
    say.note("Fill it: obol cache warm IMAGE")


def serving_containers(say: Speaker, store: str | None) -> tuple[ContainerSeen, ...]:
    """The containers that are the caches; none where the builtin engine is, or where there are no caches."""
    from obol.cli.cache import containers as cachecontainers

    there = cachecontainers.look(say, Invocation.of_process(), store)
    return there if any(one.cache.upstream for one in there) and not _builtin_runs(store) else ()


def _builtin_runs(store: str | None) -> bool:
    return engine_for(_asking_plan(store)).status() is not None


def _starts_at_login() -> bool:
    from obol.caches.builtin.atlogin import unit_file

    return unit_file(Invocation.of_process().home, supervisor()).exists()


def _present_start(say: Speaker, started: Started) -> None:
    from obol.cli.cache.view import listeners_table, start_warnings
    from obol.cli.results.cache import StartResult

    engine = started.status
    result = StartResult(started.already, started.differs, "builtin", engine, started.substitutes, ())
    verb = "runs already" if started.already else "has started"
    opening = f"The cache engine {verb} (process {engine.pid})."
    held = f"{counted(engine.content.count, 'blob')} in {tilde(engine.store)}"
    say.result(result, lambda: [opening, held, "", listeners_table(engine, started.substitutes)])
    for line in start_warnings(started):
        say.warn(line)


def _load(flags: CacheFlags, around: Invocation) -> CacheSettings:
    from obol.config.settings import load_cache_settings

    return load_cache_settings(flags, around, locate(around))


def _asking_plan(store: str | None) -> BuiltinPlan:
    from obol.caches.builtin.plan import BuiltinPlan
    from obol.config.sources import store_directory

    around = Invocation.of_process()
    return BuiltinPlan(store_directory(store, around, locate(around)))
