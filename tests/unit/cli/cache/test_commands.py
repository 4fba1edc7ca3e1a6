import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path

import pytest
from msgspec.structs import replace

from obol.caches.builtin import log as enginelog
from obol.caches.builtin.process import Running, Started
from obol.caches.warming import Holding, Outcome
from obol.cli.cache import login, warming
from obol.cli.cache.options import CacheOptions
from obol.client.platforms import Selection
from obol.client.ports import Progress, PulledImage
from obol.config.sources import OPTIONS
from obol.errors import EngineNotRunning, EngineUnresponsive
from obol.oci.manifests import Platform
from obol.oci.references import ImageReference
from obol.registry.control.api import EngineStatus, HeldImage, Inventory, Listener
from tests.unit.cli import images
from tests.unit.cli.conftest import HUB_SUBSTITUTE, Served, Terminal, engine_status


def test_start(terminal: Terminal, tmp_path: Path) -> None:
    """A start plans the process from all settings, and shows where registries are served."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config/obol.toml").write_text('[cache.ports]\n"quay.io" = 7\n')

    assert terminal.run("cache start --port ghcr.io=8 --tag-ttl 5m --offline") == 0

    (plan,) = terminal.engine.plans
    assert plan.store == tmp_path / "caches/builtin"
    assert plan.listeners == (
        Listener("docker.io", "127.0.0.1", 54100),
        Listener("ghcr.io", "127.0.0.1", 8),
        Listener("quay.io", "127.0.0.1", 7),
    )
    assert (plan.arguments, plan.config, plan.offline) == (("--tag-ttl=5m", "--offline"), tmp_path / "config", True)
    assert terminal.out == (
        "The cache engine has started (process 4711).\n"
        "1,234 blobs in /s\n"
        "\n"
        "Registry   Address\n"
        "docker.io  http://127.0.0.1:54100\n"
    )
    assert terminal.err == ""


def test_start_twice(terminal: Terminal) -> None:
    """An engine that runs already is fine; what it does otherwise than asked is told on standard error."""
    terminal.engine.started = Started(engine_status(), True, (HUB_SUBSTITUTE,), ("it is online",))

    assert terminal.run("cache start --bind 0.0.0.0") == 0

    assert terminal.out.startswith("The cache engine runs already (process 4711")
    assert terminal.err.splitlines() == [
        "warning: listening on 0.0.0.0: everyone who can reach this machine can pull through the cache",
        "warning: port 54100 is held by nginx (pid 7): docker.io is served on port 40000 instead",
        "warning: the engine that runs differs from what you asked for:",
        "  - it is online",
        "To change it: obol cache stop, then obol cache start with these options",
    ]


def test_start_as_json(terminal: Terminal) -> None:
    """The same for programs, in one value."""
    terminal.engine.started = Started(engine_status(), False, (HUB_SUBSTITUTE,))

    assert terminal.run("cache start -o json -q") == 0

    told = json.loads(terminal.out)
    assert (told["already"], told["differs"], told["engine"]["pid"]) == (False, [], 4711)
    assert told["substitutes"] == [
        {"registry": "docker.io", "wanted": 54100, "port": 40000, "holder": "nginx (pid 7)", "free": False}
    ]
    assert terminal.err == ""


def test_start_with_bad_settings(terminal: Terminal) -> None:
    """Bad settings are wrong usage, and nothing is started."""
    assert terminal.run("cache start --port ghcr.io=x --bind y") == 2

    assert "2 settings cannot be used" in terminal.err
    assert terminal.engine.plans == []


def test_start_fails(terminal: Terminal) -> None:
    """A start that fails is an error with exit code 1."""
    terminal.engine.problem = EngineUnresponsive("the cache engine did not start", why="because")

    assert terminal.run("cache start") == 1
    assert terminal.err == "error: the cache engine did not start\n  why: because\n"


def test_stop(terminal: Terminal, tmp_path: Path) -> None:
    """A stop says whether anything ran; nothing to stop is no error, nor is a settings file with a mistake."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config/obol.toml").write_text("[cache]\nnonsense = 1\n")

    assert terminal.run("cache stop") == 0
    assert terminal.out == "The cache engine was not running.\n"

    terminal.engine.running = Running(engine_status())
    assert terminal.run("cache stop") == 0
    assert terminal.out == "The cache engine has stopped.\n"
    assert terminal.run("-o json cache stop") == 0
    assert json.loads(terminal.out) == {"stopped": True, "containers": []}


def test_status(terminal: Terminal) -> None:
    """The status of a running engine fits 80 columns."""
    terminal.engine.running = Running(engine_status(), (HUB_SUBSTITUTE,))

    assert terminal.run("cache status") == 0

    assert terminal.out.startswith("Engine   running since ")
    assert "rate-limited" in terminal.out
    assert max(map(len, terminal.out.splitlines())) <= 80


def test_status_as_json(terminal: Terminal) -> None:
    """The same for programs: everything that the engine tells."""
    terminal.engine.running = Running(engine_status())

    assert terminal.run("cache status -o json --store /s") == 0

    told = json.loads(terminal.out)
    assert (told["running"], told["store"], told["substitutes"]) == (True, "/s", [])
    assert told["engine"]["upstreams"][0]["requests"] == {"hit": 12000, "miss": 3, "stale": 1, "error": 2}


def test_status_of_nothing(terminal: Terminal, tmp_path: Path) -> None:
    """An engine that does not run is no error, and the way to start it is told."""
    assert terminal.run("cache status") == 0
    assert terminal.out == "The cache engine is not running (store: ~/caches/builtin).\n"
    assert terminal.err == "Start it: obol cache start\n"

    assert terminal.run("cache status -q -o json") == 0
    assert json.loads(terminal.out) == {
        "running": False,
        "cache_engine": None,
        "store": str(tmp_path / "caches/builtin"),
        "engine": None,
        "substitutes": [],
        "containers": [],
    }
    assert terminal.err == ""


def test_status_as_an_exit_code(terminal: Terminal) -> None:
    """Where it is asked for, the exit code says whether the engine runs, and whether its upstreams do."""
    assert terminal.run("cache status --exit-code") == 4
    assert terminal.run("cache status --exit-code -o json") == 4
    assert json.loads(terminal.out)["running"] is False

    terminal.engine.running = Running(engine_status())
    assert terminal.run("cache status --exit-code") == 1
    assert "rate-limited" in terminal.out
    assert terminal.run("cache status") == 0
    status = engine_status()
    well = tuple(replace(upstream, health="ok") for upstream in status.upstreams)
    terminal.engine.running = Running(replace(status, upstreams=well))
    assert terminal.run("cache status --exit-code") == 0


def test_logs(terminal: Terminal, tmp_path: Path) -> None:
    """The last lines of the log are shown, or where it is, or that there is none."""
    log = tmp_path / "s/engine.log"
    assert terminal.run(f"cache logs --store {log.parent}") == 4
    assert (terminal.out, terminal.err.startswith("error: there is no log at ~/s/engine.log")) == ("", True)

    log.parent.mkdir()
    log.write_text("a\nb\nc\n")
    assert terminal.run(f"cache logs --store {log.parent} -n 2") == 0
    assert terminal.out == "b\nc\n"
    assert terminal.run(f"cache logs --store {log.parent} --path") == 0
    assert terminal.out == f"{log}\n"
    assert terminal.run(f"cache logs --store {log.parent} -n 1 -o json") == 0
    assert json.loads(terminal.out) == {"path": str(log), "lines": ["c"]}


def test_logs_followed(terminal: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Following starts with the last lines and ends when it is interrupted."""

    def follow(_path: Path, _waiting: object) -> Iterator[str]:
        yield "c\n"
        raise KeyboardInterrupt

    (tmp_path / "engine.log").write_text("a\nb\n")
    monkeypatch.setattr(enginelog, "follow", follow)

    assert terminal.run(f"cache logs --store {tmp_path} -n 1 -f") == 130
    assert terminal.out == "b\nc\n"


def test_serve(terminal: Terminal, served: Served) -> None:
    """Serving hands the settings to the engine, and its exit code is ours."""
    assert terminal.run("cache serve --upstream a.io=http://a --port a.io=0 --log-format json --bind ::") == 7

    ((settings, log_format, _level),) = served.calls
    assert [upstream.registry for upstream in settings.upstreams] == ["a.io"]
    assert log_format == "json"
    assert json.loads(terminal.err)["level"] == "warning"
    assert terminal.out == ""


def test_serve_in_the_background(
    terminal: Terminal, served: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The background process keeps its log small while it serves."""
    kept: list[Path] = []
    monkeypatch.setattr(enginelog, "keep_small", lambda path, _waiting: kept.append(path))

    assert terminal.run(f"cache serve --log-file {tmp_path / 'log'} --bind 0.0.0.0") == 7

    assert len(served.calls) == 1
    assert kept == [tmp_path / "log"]
    assert terminal.err.startswith("warning: listening on 0.0.0.0")


def test_log_file_is_not_advertised(terminal: Terminal) -> None:
    """The option by which the background process knows its log is not for people."""
    assert terminal.run("cache serve --help") == 0
    assert "--log-file" not in terminal.out
    assert "--tag-ttl" in terminal.out


def test_every_option_can_be_set_otherwise() -> None:
    """Each option of `cache serve` is a setting too, under the same name."""
    assert tuple(one.name for one in fields(CacheOptions)) == OPTIONS


class FakeWarmth:
    """Brings what it is asked for in the order of its outcomes, or is interrupted."""

    def __init__(self, *outcomes: Outcome) -> None:
        self.outcomes = outcomes
        self.wired: tuple[Selection, int] | None = None

    async def warm(
        self,
        references: Sequence[ImageReference],
        engine: EngineStatus,
        progress: Progress,
        before: Callable[[Holding], None] | None = None,
    ) -> tuple[Outcome, ...]:
        assert engine.pid == 4711
        for outcome in self.outcomes:
            progress.done(outcome) if isinstance(outcome, PulledImage) else progress.failed(outcome)
        if len(self.outcomes) < len(references):
            raise KeyboardInterrupt
        return self.outcomes


@pytest.fixture
def warmth(monkeypatch: pytest.MonkeyPatch) -> FakeWarmth:
    """What stands in for pulls; it brings one image."""
    fake = FakeWarmth(images.pulled())

    def wired(_cache: object, platforms: Selection, jobs: int) -> FakeWarmth:
        fake.wired = platforms, jobs
        return fake

    monkeypatch.setattr(warming, "warming", wired)
    return fake


def test_warm(terminal: Terminal, warmth: FakeWarmth, tmp_path: Path) -> None:
    """Images are pulled through a cache that is started as `cache start` does; what became of them is the result."""
    assert terminal.run("cache warm team/app:1 --platform linux/arm64 -j 5") == 0

    assert terminal.out.splitlines() == [
        "docker.io/team/app:1",
        "    cached (linux/amd64, 4 layers): 12.0 MiB from upstream in 2.0 s (6.0 MiB/s)",
        "",
        *terminal.out.splitlines()[-1:],
    ]
    assert terminal.err.startswith("docker.io/team/app:1: done")
    assert warmth.wired == ((Platform("linux", "arm64"),), 5)
    (plan,) = terminal.engine.plans
    assert (plan.store, len(plan.listeners)) == (tmp_path / "caches/builtin", 3)


def test_warm_fails(terminal: Terminal, warmth: FakeWarmth) -> None:
    """One image that fails makes the command fail, and is told with what to do."""
    warmth.outcomes = (images.pulled(), images.failed())

    assert terminal.run(f"cache warm team/app:1 {images.LITELLM} --all-platforms") == 1

    assert "2 images: 1 cached, 1 failed" in terminal.out
    assert terminal.err.endswith(f"error: {images.LITELLM} cannot be pulled\n  why: too often\n  try: wait\n")
    assert warmth.wired == (None, 3)


def test_warm_as_json(terminal: Terminal, warmth: FakeWarmth) -> None:
    """For programs all is in one value, the failures too."""
    warmth.outcomes = (images.pulled(), images.failed())

    assert terminal.run(f"cache warm team/app:1 {images.LITELLM} -q -o json") == 1

    told = json.loads(terminal.out)
    assert [image["state"] for image in told["images"]] == ["cached", "failed"]
    assert terminal.err == ""


def test_warm_quietly(terminal: Terminal, warmth: FakeWarmth) -> None:
    """With -q there is nothing but errors."""
    assert terminal.run("-q cache warm team/app:1") == 0
    assert (terminal.out, terminal.err) == ("", "")

    warmth.outcomes = (images.failed(),)
    assert terminal.run(f"cache warm {images.LITELLM} -q") == 1
    assert (terminal.out, terminal.err.partition("\n")[0]) == ("", f"error: {images.LITELLM} cannot be pulled")


def test_warm_interrupted(terminal: Terminal, warmth: FakeWarmth) -> None:
    """Ctrl-C exits with 130 and tells what was done."""
    assert terminal.run(f"cache warm team/app:1 {images.LITELLM}") == 130

    assert "2 images: 1 cached, 1 unfinished" in terminal.out
    assert warmth.wired is not None


@pytest.mark.parametrize(
    "line", ["cache warm", "cache warm Bad/Name", "cache warm a --platform x", "cache warm a -j 0"]
)
def test_warm_wrong_usage(terminal: Terminal, line: str) -> None:
    """What cannot be understood is told before anything is started."""
    assert terminal.run(line) == 2

    assert terminal.engine.plans == []


def test_ls(terminal: Terminal) -> None:
    """The images of a running cache are listed; an empty one says how to fill it."""
    assert terminal.run("cache ls") == 0
    assert (terminal.out, terminal.err) == ("The cache holds no images.\n", "Fill it: obol cache warm IMAGE\n")

    held = HeldImage("docker.io", "team/app", ("1",), "sha256:0", False, 5, 1, 7, None, ())
    terminal.engine.held = Inventory((held,))
    assert terminal.run("cache ls") == 0
    assert terminal.out.splitlines() == [
        "docker.io/team/app:1",
        "    5 B, never used, no platform: only its name is known",
        "",
        "1 image, 1 of them incomplete",
    ]
    assert terminal.run("cache ls -o json") == 0
    assert json.loads(terminal.out)["images"][0]["missing_bytes"] == 7


def test_ls_without_an_engine(terminal: Terminal) -> None:
    """Without an engine there is nobody to ask."""
    terminal.engine.problem = EngineNotRunning("the cache engine is not running", hint="start it: `obol cache start`")

    assert terminal.run("cache ls") == 4
    assert "obol cache start" in terminal.err


def test_macos(monkeypatch: pytest.MonkeyPatch) -> None:
    """On macOS the supervisor is launchd."""
    monkeypatch.setattr("sys.platform", "darwin")

    assert login.supervisor() == "launchd"
