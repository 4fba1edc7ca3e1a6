"""docs/reliability.md: what was tried, on which machine, what came of it, and what may therefore be claimed."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.soak.figures import GIB
from tests.soak.scenario import Outcome, total_memory

PAGE = Path("docs/reliability.md")

INTRODUCTION = """\
<!-- Written by `make soak`: change tests/soak instead. -->

# What the cache engine withstands

`make soak` does to the engine what seldom happens, on purpose and often, and writes this page. It needs up to 16 GB in
the directory for temporary files (`TMPDIR`), and more than an hour; `SOAK_MINUTES` shortens the hour of attacks.
`make soak ARGS="--only kills"` runs one scenario and does not write the page. If the machine cannot run a scenario, the
page says why, and claims nothing for it.
"""


@dataclass(frozen=True, slots=True)
class Machine:
    """Where it ran; `file_system` is that of the scratch directory."""

    processor: str
    count: int
    memory: int
    system: str
    file_system: str

    @classmethod
    def here(cls, scratch: Path) -> Machine:
        system = f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
        return cls(_processor(), os.cpu_count() or 1, total_memory(), system, _file_system(scratch))

    def __str__(self) -> str:
        processors = f"{self.count} processors ({self.processor})"
        return (
            f"{processors}, {self.memory / GIB:.0f} GiB of memory, {self.system}, scratch files on {self.file_system}"
        )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _file_system(path: Path) -> str:
    """The type of the file system that a path is on."""
    found, length = "an unknown file system", -1
    for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines():
        _, point, kind, *_ = line.split()
        if path.is_relative_to(point) and len(point) > length:
            found, length = kind, len(point)
    return found


def render(outcomes: Sequence[Outcome], machine: Machine, version: str, date: str) -> str:
    """The page."""
    bad = [outcome for outcome in outcomes if outcome.failed]
    missing = [outcome for outcome in outcomes if outcome.refusal and not outcome.broke]
    verdict = f"{len(outcomes) - len(bad) - len(missing)} of {len(outcomes)} scenarios ran and held every bound"
    minutes = sum(outcome.seconds for outcome in outcomes) / 60
    lines = [
        INTRODUCTION,
        f"Last run: {date} (UTC), obol {version}, {minutes:.0f} minutes, {machine}.\n",
        f"**{verdict}.**"
        + (f" Failed: {_names(bad)}." if bad else "")
        + (f" Not run: {_names(missing)}." if missing else ""),
        "\n## What is guaranteed\n",
        *_claims(outcomes),
        "\n## What is not\n",
        *_limits(outcomes),
    ]
    for outcome in outcomes:
        lines += _section(outcome)
    return "\n".join(lines) + "\n"


def _names(outcomes: Sequence[Outcome]) -> str:
    return ", ".join(outcome.scenario.name for outcome in outcomes)


def _claims(outcomes: Sequence[Outcome]) -> Iterator[str]:
    yield "The figures of the last run, below, show each of these.\n"
    for outcome in outcomes:
        if outcome.held:
            for claim in outcome.scenario.guarantees:
                yield f"- {claim} ({outcome.scenario.name})"


def _limits(outcomes: Sequence[Outcome]) -> Iterator[str]:
    for outcome in outcomes:
        name = outcome.scenario.name
        if outcome.broke:
            yield f"- Nothing can be said of {outcome.scenario.title.lower()}: the scenario broke off. ({name})"
        elif outcome.refusal:
            yield f"- Not tried in the last run: {outcome.scenario.title.lower()}; it {outcome.refusal}. ({name})"
        elif outcome.failed:
            yield f"- The last run did not hold all of its bounds: {outcome.scenario.title.lower()}. ({name})"
        for limit in outcome.scenario.limits:
            yield f"- {limit} ({name})"


def _section(outcome: Outcome) -> Iterator[str]:
    yield f"\n## {outcome.scenario.title}\n"
    yield f"{outcome.scenario.method}\n"
    if outcome.refusal:
        yield f"{'Broke off' if outcome.broke else 'Not run'}: {outcome.refusal}."
        return
    yield f"`{outcome.scenario.name}`, {outcome.seconds:.0f} s:\n"
    yield "| figure | value | bound |"
    yield "|---|---|---|"
    for figure in outcome.figures:
        bound = figure.bound + ("" if figure.holds else " **not held**")
        yield f"| {_cell(figure.what)} | {_cell(figure.value)} | {_cell(bound)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
