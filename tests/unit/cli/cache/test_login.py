import json
from pathlib import Path

import pytest

from obol.caches.builtin.process import Running, Started
from obol.cli.cache import clients
from tests.fakes.runner import FakeRunner
from tests.unit.cli.conftest import HUB_SUBSTITUTE, Terminal, engine_status


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> FakeRunner:
    """A systemd that does as told."""
    fake = FakeRunner()
    monkeypatch.setattr(clients, "runner", lambda: fake)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.delenv("HTTPS_PROXY", raising=False)
    return fake


def test_enable_and_disable(terminal: Terminal, runner: FakeRunner, tmp_path: Path) -> None:
    """Both show what they did to which file; a stop in between says that it is not for ever."""
    terminal.engine.running = Running(engine_status())

    assert terminal.run("cache enable") == 0
    unit = (tmp_path / ".config/systemd/user/obol-cache.service").read_text()
    assert terminal.out == (
        f"Wrote ~/.config/systemd/user/obol-cache.service:\n\n{unit}\n"
        "The cache engine runs (process 4711), and starts at each login from now on.\n"
    )
    assert terminal.err == "To start it with the machine, before you log in: loginctl enable-linger\n"

    terminal.run("cache stop")
    assert terminal.err == "It starts again at the next login; to end that: obol cache disable\n"

    assert terminal.run("cache disable") == 0
    assert terminal.out == (
        "Removed ~/.config/systemd/user/obol-cache.service. The cache engine goes on in the background.\n"
    )
    terminal.run("cache disable")
    assert terminal.out == "The caches are not started at login.\n"
    terminal.run("cache stop")
    assert terminal.err == ""


def test_password(terminal: Terminal, runner: FakeRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy with a password is left out of the file, and that is said."""
    monkeypatch.setenv("HTTPS_PROXY", "http://me:secret@proxy")
    terminal.engine.running = Running(engine_status())

    terminal.run("cache enable -o json")

    assert "secret" not in terminal.out + terminal.err
    assert json.loads(terminal.out)["left_out"] == ["HTTPS_PROXY"]
    assert "HTTPS_PROXY holds a password" in terminal.err


def test_other_than_before(terminal: Terminal, runner: FakeRunner) -> None:
    """What the service does otherwise than the engine before it is told, and so is a port that is not the usual one."""
    terminal.engine.running = Running(engine_status(), (HUB_SUBSTITUTE,))
    terminal.engine.started = Started(engine_status(), True, (), ("it is offline",))

    terminal.run("cache enable")

    assert "the engine that ran before did not:\n  - it is offline\n" in terminal.err
    assert "docker.io is served on port 40000 instead of 54100, for good" in terminal.err


def test_no_systemd(terminal: Terminal, runner: FakeRunner, tmp_path: Path) -> None:
    """Where there is no systemd of the person, that is an error, and nothing is left."""
    runner.missing.add("systemctl")

    assert terminal.run("cache enable") == 1
    assert "there is no systemd of this user" in terminal.err
    assert list(tmp_path.iterdir()) == []
