import sys
from types import ModuleType

import pytest

from obol.__main__ import main


class StandInCommandLine(ModuleType):
    """In the place of obol.cli.main."""

    def __init__(self, outcome: int | BaseException) -> None:
        super().__init__("obol.cli.main")
        self._outcome = outcome

    def run(self) -> int:
        if isinstance(self._outcome, BaseException):
            raise self._outcome
        return self._outcome


@pytest.mark.parametrize(("outcome", "code"), [(0, 0), (3, 3), (KeyboardInterrupt(), 130)])
def test_exit_code(monkeypatch: pytest.MonkeyPatch, outcome: int | BaseException, code: int) -> None:
    """The process ends with the exit code of the command line, and with 130 where that was interrupted."""
    monkeypatch.setitem(sys.modules, "obol.cli.main", StandInCommandLine(outcome))

    with pytest.raises(SystemExit) as caught:
        main()

    assert caught.value.code == code
