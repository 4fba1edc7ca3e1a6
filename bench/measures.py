"""What was measured, as values between the rows and the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal, TypeVar

P = TypeVar("P", bound=str)

OURS: Literal["obol"] = "obol"
RIVALS: tuple[Literal["registry", "drayage"], ...] = ("registry", "drayage")
"""The caches that the engine must not be behind in any row."""


@dataclass(frozen=True, slots=True)
class Series:
    """One peer's values in one row, in the order of the runs, which were interleaved with those of the other peers."""

    peer: str
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle value."""
        return median(self.values)


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that was measured, with every peer that can do it."""

    title: str
    unit: str
    better: Literal["more", "less"]
    series: tuple[Series, ...]
    baseline: str | None = None
    """The peer that the others are divided by."""

    def of(self, peer: str) -> Series | None:
        """One peer's values, or None where it has no part in this row."""
        return next((one for one in self.series if one.peer == peer), None)

    def ratio(self, peer: str, to: str | None = None) -> float:
        """The median over the runs of a peer's value divided by that of `to`, or of the baseline, in the same run.

        Raises KeyError where one of them was not measured.
        """
        mine, theirs = self.of(peer), self.of(to or self.baseline or "")
        if mine is None or theirs is None:
            raise KeyError(peer)
        return median(a / b for a, b in zip(mine.values, theirs.values, strict=False))

    def behind(self, peer: str, rival: str) -> float | None:
        """By what factor the median of `peer` is worse than that of `rival`; None where it is not."""
        mine, theirs = self.of(peer), self.of(rival)
        if mine is None or theirs is None or not mine.median or not theirs.median:
            return None
        factor = mine.median / theirs.median
        factor = factor if self.better == "less" else 1 / factor
        return factor if factor > 1 else None


@dataclass(frozen=True, slots=True)
class Goal:
    """A number to reach, and what was reached."""

    work: str
    target: str
    reached: str
    holds: bool


@dataclass(frozen=True, slots=True)
class Chart:
    """Growth: lines of (x, y) points by peer."""

    name: str
    """Of its file, without the ending."""
    title: str
    x_label: str
    y_label: str
    lines: tuple[tuple[str, tuple[tuple[float, float], ...]], ...]


@dataclass(frozen=True, slots=True)
class Section:
    """What one part of the benchmark found."""

    title: str
    text: str
    """How it was measured."""
    rows: tuple[Row, ...]
    goals: tuple[Goal, ...] = ()
    charts: tuple[Chart, ...] = ()


@dataclass(frozen=True, slots=True)
class Circumstances:
    """Where and with what a report was made: names and values for people, in order."""

    facts: tuple[tuple[str, str], ...]
    runs: int
    command: str


@dataclass(frozen=True, slots=True)
class Report:
    """All of it."""

    circumstances: Circumstances
    sections: tuple[Section, ...]
    notes: str = ""
    """Written by hand: what tuning gave."""


def series_of(values: Mapping[P, Sequence[float]]) -> tuple[Series, ...]:
    """The values of each peer as series."""
    return tuple(Series(peer, tuple(found)) for peer, found in values.items())


def at_most(work: str, value: float, limit: float, *, target: str, form: str = "{:.2f}") -> Goal:
    """A goal that holds where `value` is not above `limit`."""
    return Goal(work, target, form.format(value), value <= limit)


def at_least(work: str, value: float, limit: float, *, target: str, form: str = "{:.2f}") -> Goal:
    """A goal that holds where `value` is not below `limit`."""
    return Goal(work, target, form.format(value), value >= limit)


def ahead(work: str, row: Row) -> Goal:
    """A goal that holds where no rival's median is better than ours."""
    factors = [(rival, row.behind(OURS, rival)) for rival in RIVALS if row.of(rival)]
    if not factors:
        return Goal(work, f"ahead of {' and '.join(RIVALS)}", "none of them was measured", holds=False)
    worse = [f"{rival} is {factor:.2f} times better" for rival, factor in factors if factor]
    return Goal(work, f"ahead of {' and '.join(rival for rival, _ in factors)}", "; ".join(worse) or "ahead", not worse)
