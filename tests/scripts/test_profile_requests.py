from pathlib import Path

import pytest

from scripts import profile_requests
from scripts.profile_requests import COLD, MOST, WARM, modules, table


def test_requests_enter_no_more_than_they_may(capsys: pytest.CaptureFixture[str]) -> None:
    """Real requests of each kind stay within the bounds, and the page names each module that a blob enters."""
    code = profile_requests.main(["--list", COLD])

    told = capsys.readouterr().out
    assert code == 0, told
    entered = {line.partition(".py: ")[0].replace("/", ".") for line in told.splitlines() if ".py: " in line}
    page = (Path(__file__).parents[2] / "docs" / "architecture.md").read_text()
    assert "registry.server.exchange" in entered
    assert {module for module in entered if f"`{module}`" not in page} == set()


def test_what_enters_more_is_marked() -> None:
    """A request that enters one module or one function too many is marked, all else is not."""
    entered = {
        kind: frozenset((f"{at % most[0]}.py", f"f{at}") for at in range(most[1])) for kind, most in MOST.items()
    }
    entered[WARM] |= {("0.py", "more")}
    entered[COLD] = frozenset((f"{at}.py", "f") for at in range(MOST[COLD][0] + 1))

    told = table(entered)

    assert [line.split()[2] for line in told if line.endswith("TOO MANY")] == ["warm", "cold"]
    assert modules(entered[COLD]).total() == MOST[COLD][0] + 1
