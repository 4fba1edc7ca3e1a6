"""The report as Markdown: what was measured, against what was to be reached, and where we are behind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from bench.measures import OURS, RIVALS

if TYPE_CHECKING:
    from bench.measures import Goal, Report, Row, Section

HEAD = """\
<!-- Written by `make bench`; the notes at the end are kept. -->

# Benchmarks

The engine beside its peers, on one machine, in one run, over the same slowed origin. Each value is the median of the
runs, with the least and the greatest in brackets; ratios are medians of the ratios of each run. Repeat it with

```sh
{command}
```
"""
NOTES = "## What tuning gave"


def render(report: Report) -> str:
    """The whole page."""
    facts = report.circumstances.facts
    parts = [HEAD.format(command=report.circumstances.command)]
    parts.append("| | |\n|---|---|\n" + "\n".join(f"| {name} | {value} |" for name, value in facts) + "\n")
    parts += [_goals([goal for section in report.sections for goal in section.goals]), _behind(report)]
    parts += [part for section in report.sections for part in _section(section)]
    parts.append(f"{NOTES}\n\n{report.notes.strip()}\n")
    return "\n".join(parts)


def notes_of(page: str) -> str:
    """What was written by hand at the end of an earlier page."""
    return page.partition(NOTES)[2].strip()


def _goals(goals: list[Goal]) -> str:
    lines = ["## Numbers to reach", "", "| work | to reach | reached | |", "|---|---|---|---|"]
    lines += [f"| {g.work} | {g.target} | {g.reached} | {'yes' if g.holds else '**no**'} |" for g in goals]
    return "\n".join(lines) + "\n"


def _behind(report: Report) -> str:
    missed = [goal for section in report.sections for goal in section.goals if not goal.holds]
    found = [f"- {goal.work}: {goal.reached}, where {goal.target} is to be reached." for goal in missed]
    for section in report.sections:
        for row in section.rows:
            for rival in RIVALS:
                factor = row.behind(OURS, rival)
                if factor is not None and factor > 1.02:
                    found.append(f"- {row.title}: {rival} is {factor:.2f} times better.")
    if not found:
        return "## Where we are behind\n\nEvery number is reached; in no row behind registry or drayage by 2 %.\n"
    return "\n".join(["## Where we are behind", "", *found, ""])


def _section(section: Section) -> Iterator[str]:
    yield f"## {section.title}\n\n{section.text}\n"
    for row in section.rows:
        yield _table(row)
    for chart in section.charts:
        yield f"![{chart.title}](benchmarks/{chart.name}.svg)\n"


def _table(row: Row) -> str:
    ratio = row.baseline is not None and row.of(row.baseline) is not None
    against = f" against {row.baseline} |" if ratio else ""
    runs = min(len(series.values) for series in row.series)
    lines = [
        f"### {row.title}",
        "",
        f"{runs} run{'s' if runs > 1 else ''}.",
        "",
        f"| | {row.unit} |{against}",
        "|---|---|" + ("---|" if ratio else ""),
    ]
    for series in row.series:
        value = f"{_number(series.median)} ({_number(min(series.values))} to {_number(max(series.values))})"
        line = f"| {series.peer} | {value} |"
        if ratio:
            line += f" {row.ratio(series.peer):.2f} × |"
        lines.append(line)
    return "\n".join(lines) + "\n"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
