from __future__ import annotations

import pytest

from scripts import profile_requests
from scripts.profile_requests import COLD, MOST, READY, WARM, modules, table


@pytest.mark.timeout(60)
def test_requests_enter_no_more_than_they_may(capsys: pytest.CaptureFixture[str]) -> None:
    """Real requests of each kind stay within the bounds, and what one of them enters can be listed."""
    code = profile_requests.main(["--list", READY])

    told = capsys.readouterr().out
    assert code == 0, told
    assert "registry/server/ready.py: " in told


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
