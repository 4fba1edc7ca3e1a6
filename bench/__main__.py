"""`python -m bench`: measure, and write docs/benchmarks.md with its charts.

Only a whole run writes that page; what a part of it, or a quick one, finds is printed, unless another page is named.
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import obol
from bench.bench import Bench, say
from bench.clients import Address, Failed, herd
from bench.content import FULL, LAYER, QUICK, make_content
from bench.measures import Circumstances, Report
from bench.origin import running_origin
from bench.peers import program
from bench.render import svg
from bench.report import notes_of, render
from bench.rows.bringup import bring_ups
from bench.rows.cold import cold
from bench.rows.growth import memory, stores
from bench.rows.herds import herds
from bench.rows.warm import manifests, warm

if TYPE_CHECKING:
    from bench.measures import Section

SECTIONS: Mapping[str, Callable[[Bench], Section]] = {
    "warm": warm,
    "manifests": manifests,
    "cold": cold,
    "herds": herds,
    "memory": memory,
    "stores": stores,
    "bringup": bring_ups,
}


PAGE = Path("docs/benchmarks.md")
_CONGESTION_CONTROL = Path("/proc/sys/net/ipv4/tcp_congestion_control")


def main() -> int:
    """Run; 1 where a peer failed."""
    options = _options()
    scale = QUICK if options.quick else FULL
    began, load = time.monotonic(), os.getloadavg()[0]
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with tempfile.TemporaryDirectory(prefix="obol-bench-") as name:
            folder = Path(name)
            say("making the content")
            content = make_content(folder, scale)
            with running_origin(content.collection) as origin:
                bench = Bench(folder, origin, content, scale)
                limit = _limit(bench)
                sections = tuple(SECTIONS[one](bench) for one in options.only)
    except Failed as problem:
        say(f"bench: {problem}")
        return 1
    except KeyboardInterrupt:
        return 130
    took = f"{(time.monotonic() - began) / 60:.0f} minutes, begun at a load of {load:.2f}"
    facts = (*_machine(), ("the origin, not slowed", limit), ("runs of each row", str(scale.runs)), ("took", took))
    _tell(options.page or (PAGE if _whole(options) else None), Circumstances(facts, scale.runs, "make bench"), sections)
    return 0


def _interrupt(*_: object) -> None:
    """End as Ctrl-C does, so that every process and folder is removed."""
    raise KeyboardInterrupt


def _limit(bench: Bench) -> str:
    """How fast the origin is by itself, which no peer may come near."""
    (layer,) = bench.content.layers(LAYER)
    address = Address(bench.origin.port)
    found = [count * layer.size / herd(address, layer, count) / (1 << 30) for count in (1, 4)]
    return f"{found[0]:.1f} GiB/s to one client, {found[1]:.1f} GiB/s to four"


def _whole(options: argparse.Namespace) -> bool:
    return not options.quick and options.only == list(SECTIONS)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench")
    parser.add_argument("--quick", action="store_true", help="small sizes and one run, to see that it works")
    parser.add_argument("--only", type=_sections, default=list(SECTIONS), help=", ".join(SECTIONS))
    parser.add_argument("--page", type=Path, help=f"where to write it; {PAGE} for a whole run")
    return parser.parse_args()


def _sections(text: str) -> list[str]:
    wanted = text.split(",")
    if unknown := [one for one in wanted if one not in SECTIONS]:
        raise argparse.ArgumentTypeError(f"there is no {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    return wanted


def _tell(page: Path | None, circumstances: Circumstances, sections: tuple[Section, ...]) -> None:
    if page is None:
        sys.stdout.write(render(Report(circumstances, sections)))
        return
    notes = notes_of(page.read_text(encoding="utf-8")) if page.exists() else ""
    _write(page, Report(circumstances, sections, notes))


def _write(page: Path, report: Report) -> None:
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(render(report), encoding="utf-8")
    for section in report.sections:
        for chart in section.charts:
            path = page.parent / "benchmarks" / f"{chart.name}.svg"
            path.parent.mkdir(exist_ok=True)
            path.write_text(svg(chart), encoding="utf-8")
    say(f"wrote {page}")


def _machine() -> tuple[tuple[str, str], ...]:
    return (
        ("date", time.strftime("%Y-%m-%d", time.gmtime())),
        ("machine", f"{os.cpu_count()} processors ({_processor()}), {platform.system()} {platform.release()}"),
        ("its congestion control", _CONGESTION_CONTROL.read_text(encoding="ascii").strip()),
        ("Python", platform.python_version()),
        ("obol", obol.__version__),
        ("registry", _said("docker-registry", "--version").rpartition("/")[2]),
        ("drayage", _distribution("drayage")),
        ("nginx", _said("nginx", "-v").removeprefix("nginx version: ")),
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _said(name: str, option: str) -> str:
    try:
        done = subprocess.run([program(name), option], capture_output=True, text=True, check=False, timeout=10)
    except Failed:
        return "not installed"
    return (done.stdout or done.stderr).strip().splitlines()[0]


def _distribution(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


if __name__ == "__main__":
    sys.exit(main())
