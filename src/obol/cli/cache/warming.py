"""`obol cache warm`: from words to references, through the cache, to the result."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from obol.cli.cache import engines
from obol.cli.cache.view import NAMED, more
from obol.cli.results.cache import WarmedImage, WarmResult
from obol.cli.terminal.board import engine_at
from obol.cli.terminal.caches import problem_result
from obol.cli.terminal.present import OutputFormat, counted, size, speed
from obol.cli.terminal.progress import came_from, watching
from obol.client.platforms import parse_platform, this_machine
from obol.client.ports import BytesFrom, Kind, Limits, PulledImage
from obol.config.paths import Invocation
from obol.config.sources import CacheFlags
from obol.errors import Interrupted, ObolError, UsageError
from obol.machine.clock import SystemClock
from obol.oci.errors import OciError
from obol.oci.references import ImageReference
from obol.stack.space import too_little_room
from obol.wiring import warming as wired

if TYPE_CHECKING:
    from obol.caches.builtin.process import BuiltinEngine
    from obol.caches.warming import Holding, Outcome, Warming
    from obol.cli.cache.options import WarmOptions
    from obol.cli.terminal.board import AskProgress
    from obol.cli.terminal.present import Speaker
    from obol.client.platforms import Selection
    from obol.client.ports import Progress, PullFailed
    from obol.registry.control.api import EngineStatus

STANDARD_INPUT = "-"


@dataclass(frozen=True, slots=True)
class Unfinished:
    """An image that was not done when we were interrupted, in bytes."""

    from_cache: int = 0
    from_upstream: int = 0
    kept: int | None = None
    """What the cache has of it; None if that is not known."""
    total: int | None = None
    """All of it; None where its manifest is not there."""


@dataclass
class Warmed:
    """What became of each image, in the order in which they were named."""

    outcomes: dict[ImageReference, Outcome | Unfinished]
    seconds: float = 0.0
    interrupted: bool = False


@dataclass
class _Remembering:
    """A `Progress` that remembers everything for the case that we are interrupted, and hands it on."""

    beyond: Progress
    outcomes: dict[ImageReference, Outcome] = field(default_factory=dict)
    sizes: dict[ImageReference, int] = field(default_factory=dict)
    moves: Counter[tuple[ImageReference, BytesFrom]] = field(default_factory=Counter)

    def found(self, reference: ImageReference, size: int) -> None:
        self.sizes[reference] = size
        self.beyond.found(reference, size)

    def moved(self, reference: ImageReference, count: int, source: BytesFrom) -> None:
        self.moves[reference, source] += count
        self.beyond.moved(reference, count, source)

    def done(self, image: PulledImage) -> None:
        self.outcomes[image.reference] = image
        self.beyond.done(image)

    def failed(self, problem: PullFailed) -> None:
        self.outcomes[problem.reference] = problem
        self.beyond.failed(problem)


def warm(say: Speaker, options: WarmOptions) -> int:
    """Pull images through the cache; gives the exit code."""
    named = references(options.image or (), options.file)
    chosen = selection(options.platform or (), every=options.all_platforms)
    engines.refuse(engines.serving_containers(say, options.store), "cache containers cannot fetch images ahead")
    cache = engines.engine_for(engines.planned(Invocation.of_process(), CacheFlags(store=options.store), say.warn))
    engine = cache.start().status
    warmed = run(say, warming(cache, chosen, options.jobs), named, engine, asking(engine, chosen))
    result = warm_result(warmed.outcomes, warmed.seconds, interrupted=warmed.interrupted)
    if not say.quiet or say.output is OutputFormat.JSON:
        say.result(result, lambda: warm_lines(warmed.outcomes, result))
    for problem in failures(warmed.outcomes.values()):
        if say.output is not OutputFormat.JSON:
            say.error(problem)
    if result.complete:
        return 0
    return Interrupted.exit_code if warmed.interrupted else ObolError.exit_code


def warming(cache: BuiltinEngine, platforms: Selection, jobs: int) -> Warming:
    """The way to bring images into a cache, `jobs` at a time."""
    return wired.warming(cache, platforms, Limits(images=jobs))


def run(
    say: Speaker, warmth: Warming, references: Sequence[ImageReference], engine: EngineStatus, ask: AskProgress
) -> Warmed:
    """Warm a running cache, showing how it goes on. Ctrl-C ends it, and is part of the result.

    `ask` then asks the engine what it keeps of what is not done.
    """
    clock = SystemClock()
    since = clock.monotonic()
    warmed = Warmed(dict.fromkeys(references, Unfinished()))
    with watching(say, len(references)) as shown:
        remembering = _Remembering(shown)

        def before(holding: Holding) -> None:
            if short := too_little_room(holding, engine):
                say.warn(short)

        try:
            outcomes = asyncio.run(warmth.warm(references, engine, remembering, before))
            warmed.outcomes |= dict(zip(references, outcomes, strict=True))
        except KeyboardInterrupt:
            warmed.interrupted = True
            warmed.outcomes |= _kept(remembering, references, ask) | remembering.outcomes
    warmed.seconds = clock.monotonic() - since
    return warmed


def asking(engine: EngineStatus, platforms: Selection) -> AskProgress:
    """The way to ask a running engine how far images are, for the chosen platforms."""
    return engine_at(Path(engine.store), [str(platform) for platform in platforms or ()])


def _kept(
    told: _Remembering, references: Sequence[ImageReference], ask: AskProgress
) -> dict[ImageReference, Outcome | Unfinished]:
    """What there is of images that are not done: by what was told of them, and by what the engine says now."""
    names = {str(reference): reference for reference in references if reference not in told.outcomes}
    status = ask(tuple(names))
    engine = {names[one.reference]: one for one in status.images if one.reference in names} if status else {}
    found: dict[ImageReference, Outcome | Unfinished] = {}
    for reference in names.values():
        known = engine.get(reference)
        found[reference] = Unfinished(
            told.moves[reference, BytesFrom.CACHE],
            told.moves[reference, BytesFrom.UPSTREAM],
            known.kept if known else None,
            known.total if known else told.sizes.get(reference),
        )
    return found


def selection(platforms: Iterable[str], *, every: bool) -> Selection:
    """The platforms that options name; this machine's without any. Raises UsageError."""
    chosen = tuple(dict.fromkeys(parse_platform(text) for text in platforms))
    if every and chosen:
        raise UsageError("--platform and --all-platforms exclude each other", hint="leave one of them out")
    return None if every else chosen or (this_machine(),)


def references(words: Iterable[str], file: str | None) -> tuple[ImageReference, ...]:
    """The images that arguments and the lines of a file name, each once. Raises UsageError with all that is wrong."""
    named = [*words, *([] if file is None else _lines(file))]
    found: dict[ImageReference, None] = {}
    problems = []
    for text in named:
        try:
            found[ImageReference.parse(text)] = None
        except OciError as problem:
            problems.append(f"{text!r}: {problem.kind.message}")
    if problems:
        what = "an image reference cannot be read" if len(problems) == 1 else "image references cannot be read"
        hint = "write registry/repository:tag, as in ghcr.io/berriai/litellm:main-stable, or alpine for docker.io"
        raise UsageError(what, why="\n".join(problems), hint=hint)
    if not found:
        raise UsageError("no image is named", hint="obol cache warm IMAGE…, or --from FILE with one reference a line")
    return tuple(found)


def _lines(file: str) -> list[str]:
    """The lines of a file (- is standard input), without blank ones and comments."""
    try:
        text = sys.stdin.read() if file == STANDARD_INPUT else Path(file).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        why = problem.strerror if isinstance(problem, OSError) else "it is not UTF-8 text"
        raise UsageError(f"{file} cannot be read", why=why or str(problem)) from problem
    stripped = (line.partition("#")[0].strip() for line in text.splitlines())
    return [line for line in stripped if line]


def warm_result(
    outcomes: Mapping[ImageReference, Outcome | Unfinished], seconds: float, *, interrupted: bool = False
) -> WarmResult:
    """What became of each image."""
    images = tuple(_warmed(reference, outcome) for reference, outcome in outcomes.items())
    return WarmResult(
        complete=all(image.state == "cached" for image in images),
        interrupted=interrupted,
        seconds=round(seconds, 3),
        bytes_from_cache=sum(image.bytes_from_cache for image in images),
        bytes_from_upstream=sum(image.bytes_from_upstream for image in images),
        images=images,
    )


def _warmed(reference: ImageReference, outcome: Outcome | Unfinished) -> WarmedImage:
    match outcome:
        case Unfinished():
            return WarmedImage(
                str(reference),
                "unfinished",
                bytes_total=outcome.total or 0,
                bytes_from_cache=outcome.from_cache,
                bytes_from_upstream=outcome.from_upstream,
                bytes_kept=outcome.kept,
            )
        case PulledImage():
            return WarmedImage(
                str(reference),
                "cached",
                str(outcome.digest),
                outcome.platforms,
                outcome.layers,
                outcome.bytes_total,
                outcome.bytes_from_cache,
                outcome.bytes_from_upstream,
                seconds=round(outcome.seconds, 3),
            )
        case problem:
            return WarmedImage(str(reference), "failed", problem=problem_result(problem))


def warm_lines(outcomes: Mapping[ImageReference, Outcome | Unfinished], result: WarmResult) -> list[str]:
    """The same for people."""
    lines = []
    for reference, outcome in outcomes.items():
        lines += [str(reference), f"    {_outcome(outcome)}"]
    states = [image.state for image in result.images]
    parts = [f"{states.count(state)} {state}" for state in ("cached", "failed", "unfinished") if state in states]
    lines += ["", f"{counted(len(states), 'image')}: {', '.join(parts)}; {_traffic(result)}"]
    return lines


def _outcome(outcome: Outcome | Unfinished) -> str:
    match outcome:
        case PulledImage():
            what = ", ".join((*outcome.platforms[:NAMED], *more(outcome.platforms)))
            layers = counted(outcome.layers, "layer")
            return f"cached ({f'{what}, ' if what else ''}{layers}): {came_from(outcome)}"
        case Unfinished():
            return f"unfinished: {_left(outcome)}"
        case problem:
            return f"failed ({problem.kind})"


def _left(image: Unfinished) -> str:
    if image.kept is None:
        return "what was fetched of it is kept; the same command goes on from there"
    if not image.kept or image.total is None:
        return "nothing of it is there yet"
    return f"{size(image.kept)} of {size(image.total)} is kept; the same command goes on from there"


def _traffic(result: WarmResult) -> str:
    if any(image.problem is not None and image.problem.kind == Kind.NO_SPACE for image in result.images):
        return f"the cache had no room to keep the rest ({result.seconds:.1f} s)"
    if not result.bytes_from_upstream:
        return f"nothing was fetched ({result.seconds:.1f} s)"
    rate = speed(result.bytes_from_upstream, result.seconds)
    return f"{size(result.bytes_from_upstream)} from upstream in {result.seconds:.1f} s ({rate})"


def failures(outcomes: Iterable[Outcome | Unfinished]) -> list[PullFailed]:
    """Those that failed."""
    return [outcome for outcome in outcomes if not isinstance(outcome, PulledImage | Unfinished)]
