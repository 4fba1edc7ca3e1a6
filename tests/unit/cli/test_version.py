import json
from importlib import metadata
from pathlib import Path

import pytest

from obol import __version__
from obol.backends.ports import Program, Runtimes
from obol.caches.builtin.process import Running
from obol.cli import version
from obol.errors import EngineUnresponsive
from tests.unit.cli.conftest import Terminal, engine_status

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def _machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with one runtime, and with one that does not answer."""

    async def runtimes() -> Runtimes:
        return Runtimes(
            (Program("docker", trouble="permission denied"), Program("k3d"), Program("podman", "4.3.1"), Program("k3s"))
        )

    monkeypatch.setattr("obol.wiring.stack.look_for_runtimes", runtimes)


def test_version(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """It names what a report of a problem needs, a line each."""
    monkeypatch.setattr(version, "commit", lambda: "0123")
    terminal.engine.running = Running(engine_status())

    assert terminal.run("version") == 0

    lines = [line.split(maxsplit=1) for line in terminal.out.splitlines()]
    assert lines[0] == ["obol", f"{__version__} (commit 0123)"]
    assert [line[0] for line in lines[1:]] == ["Python", "Engine", "docker", "k3d", "podman", "k3s"]
    assert [line[1] for line in lines[3:]] == [
        "does not answer: permission denied",
        "not installed",
        "4.3.1",
        "not installed",
    ]


def test_as_json(terminal: Terminal) -> None:
    """The same for programs."""
    terminal.engine.running = Running(engine_status())

    assert terminal.run("version -o json") == 0

    told = json.loads(terminal.out)
    assert told["version"] == __version__
    assert set(told["engine"]) == {"version", "pid"}
    assert told["runtimes"][2] == {"name": "podman", "version": "4.3.1", "trouble": ""}


@pytest.mark.parametrize("problem", [None, EngineUnresponsive("it hangs")])
def test_no_engine(terminal: Terminal, problem: EngineUnresponsive | None) -> None:
    """An engine that does not run or does not answer is not named, and no failure."""
    terminal.engine.problem = problem

    assert terminal.run("version") == 0
    assert "Engine    not running" in terminal.out


def test_settings_that_are_wrong(terminal: Terminal, tmp_path: Path) -> None:
    """The version is told whatever `obol.toml` says."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config/obol.toml").write_text("[nonsense")

    assert terminal.run("version") == 0


def test_commit_of_a_checkout(tmp_path: Path) -> None:
    """The commit is read from where git writes it: the branch's file, the packed ones, or HEAD itself."""
    (tmp_path / "refs/heads").mkdir(parents=True)
    (tmp_path / "HEAD").write_text("ref: refs/heads/main\n")
    assert version.head(tmp_path) is None
    (tmp_path / "packed-refs").write_text(f"# pack-refs\n{COMMIT} refs/heads/main\n")
    assert version.head(tmp_path) == COMMIT[:12]
    (tmp_path / "refs/heads/main").write_text(f"f{COMMIT}\n")
    assert version.head(tmp_path) == f"f{COMMIT}"[:12]
    (tmp_path / "HEAD").write_text(f"{COMMIT}\n")
    assert version.head(tmp_path) == COMMIT[:12]


def test_commit_of_an_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was installed from a repository knows its commit."""

    class Installed:
        def read_text(self, name: str) -> str:
            return json.dumps({"url": "u", "vcs_info": {"vcs": "git", "commit_id": COMMIT}})

    monkeypatch.setattr(metadata, "distribution", lambda name: Installed())

    assert version.commit() == COMMIT[:12]


def test_no_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run from a directory that is no repository, it names none."""

    def missing(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", missing)
    monkeypatch.setattr(version, "head", lambda repository: None)

    assert version.commit() is None
