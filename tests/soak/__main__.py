"""Run the scenarios one after another, print their figures, and write docs/reliability.md when all were asked for.

Exit code 0 where every scenario that ran held its bounds, 1 where one did not, 130 after an interruption. Whatever
happens, the engines are killed, what was mounted is unmounted, and the files are removed.
"""

import argparse
import asyncio
import logging
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import obol
from obol.machine import logs
from obol.machine.system import allow_many_open_files
from tests.soak.buildkit import BUILDKIT
from tests.soak.cancels import CANCELS
from tests.soak.damage import DAMAGE
from tests.soak.days import DAY
from tests.soak.full import FULL
from tests.soak.herd import HERD
from tests.soak.hostile import HOSTILE
from tests.soak.kills import KILL
from tests.soak.newcomer import NEWCOMER
from tests.soak.report import PAGE, Machine, render
from tests.soak.scenario import Outcome, Refused, Scenario, lacking
from tests.soak.slow import SLOW
from tests.soak.vast import VAST

SCENARIOS = (KILL, DAMAGE, FULL, CANCELS, HERD, SLOW, VAST, DAY, HOSTILE, NEWCOMER, BUILDKIT)


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def attempt(scenario: Scenario, scratch: Path) -> Outcome:
    """Run one scenario in a directory of its own, unless the machine lacks something."""
    refusal = lacking(scenario.needs, scratch)
    if refusal:
        return Outcome(scenario, 0.0, refusal=refusal)
    home = scratch / scenario.name
    home.mkdir()
    began = time.monotonic()
    try:
        figures = await scenario.run(home)
        return Outcome(scenario, time.monotonic() - began, tuple(figures))
    except Refused as problem:
        return Outcome(scenario, time.monotonic() - began, refusal=str(problem))
    except Exception as problem:  # noqa: BLE001 - the other scenarios have something to say all the same
        traceback.print_exc()
        return Outcome(scenario, time.monotonic() - began, refusal=f"{type(problem).__name__}: {problem}", broke=True)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def show(outcome: Outcome) -> None:
    """Print what came of a scenario."""
    if outcome.refusal:
        say(f"   {'BROKE OFF' if outcome.broke else 'refused'}: {outcome.refusal}")
    for figure in outcome.figures:
        mark = "  " if not figure.bound else "ok" if figure.holds else "NO"
        bound = f"   ({figure.bound})" if figure.bound else ""
        say(f"   {mark} {figure.what}: {figure.value}{bound}")
    say(f"   {outcome.seconds:.0f} s\n")


async def run_all(scenarios: Sequence[Scenario], scratch: Path) -> list[Outcome]:
    """Run them; SIGTERM and SIGHUP end it as Ctrl-C does."""
    here = asyncio.current_task()
    assert here is not None
    for number in (signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, here.cancel)
    outcomes = []
    for scenario in scenarios:
        say(f"== {scenario.name}: {scenario.title}")
        outcomes.append(await attempt(scenario, scratch))
        show(outcomes[-1])
    return outcomes


def arguments() -> argparse.Namespace:
    """What the command line says."""
    names = [scenario.name for scenario in SCENARIOS]
    parser = argparse.ArgumentParser(prog="make soak ARGS=…", description=__doc__)
    parser.add_argument("--only", action="append", choices=names, help="run this scenario; may be repeated")
    return parser.parse_args()


def main() -> int:
    """Run what was asked for; the exit code."""
    only = arguments().only
    chosen = [scenario for scenario in SCENARIOS if only is None or scenario.name in only]
    logs.configure("human", logging.ERROR)
    allow_many_open_files()
    scratch = Path(tempfile.mkdtemp(prefix="obol-soak-"))
    try:
        outcomes = asyncio.run(run_all(chosen, scratch))
        machine = Machine.here(scratch)
    except (KeyboardInterrupt, asyncio.CancelledError):
        say("interrupted")
        return 130
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if only is None:
        date = datetime.now(UTC).strftime("%Y-%m-%d %H:%M")
        PAGE.write_text(render(outcomes, machine, obol.__version__, date), encoding="utf-8")
        say(f"written: {PAGE}")
    return 1 if any(outcome.failed for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
