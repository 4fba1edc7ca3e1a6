from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest

from obol.demo.base import Link, MeasuredPull
from obol.demo.chart import against, bars, link, svg, what
from tests.unit.demo.test_base import result

SVG = "{http://www.w3.org/2000/svg}"
RESULT = result(18.0, 12.0, 0.9, 1.0)


def test_bars() -> None:
    """Each phase has a bar as long as its time, its seconds, how it compares, and what came from upstream."""
    assert bars(RESULT.phases, 72) == (
        "                                   Time                    From upstream",
        "direct   ██████████████████████  18.0 s                           250 MB",
        "cold     ██████████████▋         12.0 s  1.5 times faster         250 MB",
        "warm     █▏                       0.9 s  20 times faster            0 MB",
        "offline  █▎                       1.0 s  18 times faster            0 MB",
    )


def test_less_room() -> None:
    """A narrow terminal has the bars and the times."""
    assert bars(RESULT.phases[:2], 40) == (
        "                                    Time",
        "direct   ███████████████████████  18.0 s",
        "cold     ███████████████▍         12.0 s",
    )


def test_bars_in_ascii() -> None:
    """Where block characters cannot be written there are others, and no bar vanishes."""
    lines = bars(result(18.0, 12.0, 0.01, 0.01).phases, 60, blocks=False)

    assert lines[1].startswith("direct   ####")
    assert lines[3].startswith("warm     #   ")
    assert all(line.isascii() for line in lines)


@pytest.mark.parametrize("width", [1, 40, 60, 80, 200])
def test_bars_fit(width: int) -> None:
    """Lines are no longer than the terminal is wide, unless that is too narrow for any bar."""
    assert max(map(len, bars(RESULT.phases, width))) <= max(width, 27)


def test_against() -> None:
    """A phase is faster or slower than the direct pull, with two digits."""
    assert against(MeasuredPull("direct", 10.0, 1, 0, 1.0)) == ""
    assert against(MeasuredPull("cold", 20.0, 1, 0, 0.5)) == "2.0 times slower"
    assert against(MeasuredPull("warm", 1.0, 1, 0, 12.4)) == "12 times faster"


def test_the_scale_and_the_link_are_said() -> None:
    """Nobody takes the demo for more than it is."""
    assert what(RESULT) == "9 generated images in 49 layers, 250 MB: about a quarter of a real stack's bytes"
    assert what(replace(RESULT, size=RESULT.real_size)).endswith("1,001 MB: about all of a real stack's bytes")
    slow = replace(RESULT, link=Link(10e6, 2.5e6, 0.1))
    assert link(slow) == "a link of 10 Mbit/s in all, 2.5 Mbit/s per connection, 100 ms"


def test_svg() -> None:
    """The picture is well-formed, has a bar in proportion for each phase, and its text is text."""
    root = ET.fromstring(svg(RESULT))

    rects = {rect.get("class"): float(rect.get("width", "0")) for rect in root.iter(f"{SVG}rect")}
    assert [rects["cold"] / rects["direct"], rects["warm"] / rects["direct"]] == pytest.approx([2 / 3, 0.05], abs=0.001)
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert {"Direct", "Cold", "Warm", "Offline", "18.0 s", "0.9 s, 20 times faster", "0 MB from upstream"} <= set(texts)
    assert any("a quarter of a real stack's bytes" in (text or "") for text in texts)
    assert any("200 Mbit/s in all, 50 Mbit/s per connection, 20 ms" in (text or "") for text in texts)


def test_svg_needs_nothing_else() -> None:
    """It loads nothing, runs nothing, and has colours for light and dark."""
    text = svg(RESULT)

    assert "prefers-color-scheme: dark" in text
    assert not any(word in text for word in ("href", "url(", "@import", "<script", "<image", "@font-face"))


@pytest.mark.parametrize("times", [0.004, 0.3, 4.0, 1800.0])
def test_svg_rules(times: float) -> None:
    """However long it took, there are a few rules at round seconds, within the picture."""
    root = ET.fromstring(svg(result(18.0 * times, 12.0 * times, 1.0 * times, 1.0 * times)))

    marks = [text for text in root.iter(f"{SVG}text") if text.get("text-anchor") == "middle"]
    assert 3 <= len(marks) <= 6
    assert all(236 <= float(mark.get("x", "0")) <= 536 for mark in marks)
