from xml.etree import ElementTree as ET

import pytest

from bench.measures import Chart, Circumstances, Goal, Report, Row, Section, Series, ahead, at_least, at_most
from bench.render import svg
from bench.report import notes_of, render

TIMES = "\N{MULTIPLICATION SIGN}"
COLD = Row(
    "cold layer",
    "s",
    "less",
    (Series("direct", (4.0, 5.0, 6.0)), Series("registry", (8.0, 9.0, 10.0)), Series("obol", (1.0, 2.0, 1.5))),
    "direct",
)
RATE = Row("manifests", "requests/s", "more", (Series("drayage", (30_000.0,)), Series("obol", (20_000.0,))))
CHART = Chart("herd", "A herd", "clients", "seconds", (("obol", ((1, 1.0), (64, 2.5))), ("drayage", ((1, 3.0),))))


def report(*, goals: tuple[Goal, ...] = (), rows: tuple[Row, ...] = (COLD,), notes: str = "") -> Report:
    """A report of one section."""
    section = Section("Cold pulls", "How it was done.", rows, goals, (CHART,))
    return Report(Circumstances((("machine", "two processors"),), 3, "make bench"), (section,), notes)


def test_a_row_is_a_table() -> None:
    """A table has the median, the spread and the median of the ratios of each run."""
    page = render(report())

    assert f"| obol | 1.5 (1 to 2) | 0.25 {TIMES} |" in page
    assert f"| direct | 5 (4 to 6) | 1.00 {TIMES} |" in page
    assert "| machine | two processors |" in page
    assert "![A herd](benchmarks/herd.svg)" in page


def test_goals_say_what_was_reached() -> None:
    """A goal that was missed stands out."""
    goals = (
        at_most("cold layer", 0.25, 0.30, target="at most 0.30"),
        at_least("manifests", 20_000, 30_000, target="≥ 30,000 requests/s", form="{:,.0f}"),
    )

    page = render(report(goals=goals))

    assert "| cold layer | at most 0.30 | 0.25 | yes |" in page
    assert "| manifests | ≥ 30,000 requests/s | 20,000 | **no** |" in page


def test_where_we_are_behind() -> None:
    """Every row in which a rival is better is named, whichever way is better in it."""
    assert "Every number is reached" in render(report())
    assert "- manifests: drayage is 1.50 times better." in render(report(rows=(COLD, RATE)))


def test_ahead() -> None:
    """Being ahead is judged by the medians of those rivals that were measured."""
    assert ahead("cold", COLD).holds
    assert ahead("rate", RATE) == Goal("rate", "ahead of drayage", "drayage is 1.50 times better", holds=False)


def test_ratio_of_a_peer_that_was_not_measured() -> None:
    """There is no ratio without both."""
    with pytest.raises(KeyError):
        COLD.ratio("nginx")


def test_notes_are_kept() -> None:
    """What was written by hand below the last heading is read back from a page, and the page stays as it is."""
    page = render(report(notes="Sendfile gave half."))

    assert notes_of(page) == "Sendfile gave half."
    assert render(report(notes=notes_of(page))) == page


def test_a_chart_is_svg() -> None:
    """A chart is well-formed, has a line for each peer and names each."""
    root = ET.fromstring(svg(CHART))
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]

    assert len(list(root.iter("{http://www.w3.org/2000/svg}polyline"))) == 2
    assert {"obol", "drayage", "clients", "64"} <= set(texts)
