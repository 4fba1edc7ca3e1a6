"""`obol version`: what to name in a report of a problem. Everything is looked up at once, and nothing is a failure."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import TYPE_CHECKING

from obol import __version__
from obol.cli.later import later
from obol.cli.parser import Verbs
from obol.cli.terminal.present import Speaker
from obol.cli.verb import run, verb
from obol.config.paths import Invocation
from obol.errors import ObolError

if TYPE_CHECKING:
    import asyncio
    import json
    from importlib import metadata

    from obol.cli.cache import engines
    from obol.cli.results import others as results
    from obol.cli.results.others import VersionResult
    from obol.cli.terminal.present import Table
    from obol.config import sources
    from obol.registry.control.api import EngineStatus
    from obol.wiring import stack
else:
    asyncio, json, metadata = later("asyncio"), later("json"), later("importlib.metadata")
    engines, results = later("obol.cli.cache.engines"), later("obol.cli.results.others")
    sources, stack = later("obol.config.sources"), later("obol.wiring.stack")

app = Verbs()

COMMIT_DIGITS = 12


@verb(app)
def version(say: Speaker) -> None:
    """Show the versions of obol, of the cache engine that runs, and of what the stack could run on."""
    found = run(say, _look(say))
    say.result(found, lambda: parts(found))


async def _look(say: Speaker) -> VersionResult:
    runtimes, engine = await asyncio.gather(stack.look_for_runtimes(), asyncio.to_thread(_engine, say))
    return results.VersionResult(
        version=__version__,
        commit=commit(),
        python=platform.python_version(),
        platform=f"{platform.system().lower()}/{platform.machine()}",
        engine=results.EngineVersion(engine.version, engine.pid) if engine is not None else None,
        runtimes=tuple(results.RuntimeVersion(one.name, one.version or None, one.trouble) for one in runtimes.programs),
    )


def _engine(say: Speaker) -> EngineStatus | None:
    """Ask the cache engine that the settings describe; settings that are wrong are told elsewhere."""
    try:
        running = engines.engine_for(engines.planned(Invocation.of_process(), sources.CacheFlags(), say.warn)).status()
    except ObolError:
        return None
    return running.status if running is not None else None


def commit() -> str | None:
    """The commit that this was installed from, or whose checkout this is; None where neither is known."""
    try:
        # https://packaging.python.org/en/latest/specifications/direct-url/
        told = json.loads(metadata.distribution("obol-stack").read_text("direct_url.json") or "{}")
        return str(told["vcs_info"]["commit_id"])[:COMMIT_DIGITS]
    except (metadata.PackageNotFoundError, ValueError, LookupError, TypeError):
        return head(Path(__file__).parents[3] / ".git")


def head(repository: Path) -> str | None:
    """The commit that is checked out, as git writes it down: https://git-scm.com/docs/gitrepository-layout."""
    try:
        said = (repository / "HEAD").read_text(encoding="ascii").strip()
        reference = said.removeprefix("ref: ")
        if reference == said:
            return said[:COMMIT_DIGITS]
        if (repository / reference).is_file():
            return (repository / reference).read_text(encoding="ascii").strip()[:COMMIT_DIGITS]
        packed = (repository / "packed-refs").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeError):
        return None
    return next((line[:COMMIT_DIGITS] for line in packed if line.endswith(f" {reference}")), None)


def parts(found: VersionResult) -> list[str | Table]:
    """The same for people."""
    lines: list[str | Table] = [
        f"obol      {found.version}" + (f" (commit {found.commit})" if found.commit else ""),
        f"Python    {found.python} on {found.platform}",
        f"Engine    {found.engine.version} (process {found.engine.pid})" if found.engine else "Engine    not running",
    ]
    for one in found.runtimes:
        what = one.version or (f"does not answer: {one.trouble}" if one.trouble else "not installed")
        lines.append(f"{one.name:9} {what}")
    return lines
