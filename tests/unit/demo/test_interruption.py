from __future__ import annotations

import asyncio
import os
import signal

import pytest

from obol.demo.scenario import run_until_interrupted
from obol.errors import Interrupted, ObolError

FOREVER = 60.0


def test_undisturbed() -> None:
    """Work that nobody interrupts gives its result, and signals mean afterwards what they meant before."""

    async def work() -> int:
        return 5

    assert run_until_interrupted(work) == 5
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_failing() -> None:
    """What the work raises comes through."""

    async def work() -> None:
        raise ObolError("no")

    with pytest.raises(ObolError, match="no"):
        run_until_interrupted(work)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted(number: signal.Signals) -> None:
    """A signal ends the work; further ones do not keep it from tidying up."""
    tidied: list[bool] = []

    async def work() -> None:
        try:
            os.kill(os.getpid(), number)
            await asyncio.sleep(FOREVER)
        finally:
            os.kill(os.getpid(), number)
            os.kill(os.getpid(), signal.SIGINT)
            for _ in range(5):
                await asyncio.sleep(0)
            tidied.append(True)

    with pytest.raises(Interrupted) as interrupted:
        run_until_interrupted(work)

    assert tidied == [True]
    assert interrupted.value.exit_code == 130


def test_an_error_while_tidying_up_is_not_the_news() -> None:
    """What goes wrong after an interrupt is the interrupt's cause, not the result."""

    async def work() -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.sleep(FOREVER)
        finally:
            raise ObolError("also")

    with pytest.raises(Interrupted) as interrupted:
        run_until_interrupted(work)

    assert isinstance(interrupted.value.__cause__, ObolError)


def test_an_ignored_signal_stays_ignored() -> None:
    """Under nohup a hang-up is nothing to us."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)

    async def work() -> int:
        os.kill(os.getpid(), signal.SIGHUP)
        for _ in range(5):
            await asyncio.sleep(0)
        return 5

    try:
        assert run_until_interrupted(work) == 5
    finally:
        signal.signal(signal.SIGHUP, before)
