import pytest

from scripts import measure_latency
from scripts.measure_latency import BASE, SLOWER_BY, lines


def test_lines() -> None:
    """What takes longer than it may is marked, all else is not."""
    found = {BASE: 0.1} | {words: 0.1 + limit for words, limit in SLOWER_BY.items()}
    found["--help",] = 0.2

    told = lines(found)

    assert told[0] == "   100 ms  import typer"
    assert [line.endswith("TOO SLOW") for line in told[1:]] == [True, False, False, False]


def test_it_measures(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Every command is measured in turn, the first round apart, and the exit code says whether all are quick."""
    asked = []

    def seconds(arguments: tuple[str, ...], _environment: object) -> float:
        asked.append(arguments)
        return 0.1

    monkeypatch.setattr(measure_latency, "seconds", seconds)

    assert measure_latency.main(["--runs", "2"]) == 0
    assert len(asked) == 3 * (1 + len(SLOWER_BY))
    assert "obol cache status (+0 ms, at most +180)" in capsys.readouterr().out
