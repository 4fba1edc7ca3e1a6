"""`obol cache warm`: from words to references, through the cache, to what is told in the end."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from obol.cli.cache.imageview import Unfinished
from obol.cli.terminal.imagewatch import engine_at
from obol.cli.terminal.progress import watching
from obol.client.platforms import parse_platform, this_machine
from obol.client.ports import Limits, Origin
from obol.errors import UsageError
from obol.machine.clock import SystemClock
from obol.oci.errors import OciError
from obol.oci.references import ImageReference
from obol.stack.space import too_little_room

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from obol.caches.ports import CacheEngine
    from obol.caches.warming import Holding, Outcome, Warming
    from obol.cli.terminal.imagewatch import Ask
    from obol.cli.terminal.present import Speaker
    from obol.client.platforms import Selection
    from obol.client.ports import Progress, PulledImage, PullFailed
    from obol.registry.control.api import EngineStatus

STANDARD_INPUT = "-"


@dataclass
class Warmed:
    """What became of each image, in the order in which they were named."""

    outcomes: dict[ImageReference, Outcome | Unfinished]
    seconds: float = 0.0
    interrupted: bool = False


@dataclass
class _Remembering:
    """A `Progress` that remembers what it is told, for the case that we are interrupted, and hands all on."""

    beyond: Progress
    outcomes: dict[ImageReference, Outcome] = field(default_factory=dict)
    sizes: dict[ImageReference, int] = field(default_factory=dict)
    moves: Counter[tuple[ImageReference, Origin]] = field(default_factory=Counter)

    def found(self, reference: ImageReference, size: int) -> None:
        self.sizes[reference] = size
        self.beyond.found(reference, size)

    def moved(self, reference: ImageReference, count: int, source: Origin) -> None:
        self.moves[reference, source] += count
        self.beyond.moved(reference, count, source)

    def done(self, image: PulledImage) -> None:
        self.outcomes[image.reference] = image
        self.beyond.done(image)

    def failed(self, problem: PullFailed) -> None:
        self.outcomes[problem.reference] = problem
        self.beyond.failed(problem)


def warming(cache: CacheEngine, platforms: Selection, jobs: int) -> Warming:
    """The way to bring images into a cache, `jobs` at a time."""
    from obol.wiring.caches import warming as wired

    return wired(cache, platforms, Limits(images=jobs))


def run(say: Speaker, warmth: Warming, references: Sequence[ImageReference], engine: EngineStatus, ask: Ask) -> Warmed:
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


def asking(engine: EngineStatus, platforms: Selection) -> Ask:
    """The way to ask a running engine how far images are, for the chosen platforms."""
    return engine_at(Path(engine.store), [str(platform) for platform in platforms or ()])


def _kept(
    told: _Remembering, references: Sequence[ImageReference], ask: Ask
) -> dict[ImageReference, Outcome | Unfinished]:
    """What there is of images that are not done: by what was told of them, and by what the engine says now."""
    names = {str(reference): reference for reference in references if reference not in told.outcomes}
    status = ask(tuple(names))
    engine = {names[one.reference]: one for one in status.images if one.reference in names} if status else {}
    found: dict[ImageReference, Outcome | Unfinished] = {}
    for reference in names.values():
        known = engine.get(reference)
        found[reference] = Unfinished(
            told.moves[reference, Origin.CACHE],
            told.moves[reference, Origin.UPSTREAM],
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
