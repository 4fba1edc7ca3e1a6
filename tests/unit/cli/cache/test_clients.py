import json
import os
from pathlib import Path

import pytest

from obol.caches.builtin.process import Running
from obol.caches.reachable import remember
from obol.errors import EngineUnresponsive
from tests.fakes.runner import FakeRunner
from tests.unit.cli.conftest import HUB_SUBSTITUTE, Terminal, engine_status

MIRROR = '{\n  "registry-mirrors": ["http://127.0.0.1:54100"]\n}\n'


@pytest.fixture(autouse=True)
def _etc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's configuration is below the temporary directory, and we are a plain user."""
    monkeypatch.setattr("obol.caches.clients.files.ROOT", tmp_path)
    monkeypatch.setattr("obol.cli.cache.clients.runner", FakeRunner)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)


def test_shown(terminal: Terminal, tmp_path: Path) -> None:
    """Without options it is shown what belongs where; nothing is written."""
    assert terminal.run("cache config docker --system") == 0

    assert terminal.out == f"~/etc/docker/daemon.json:\n\n{MIRROR}\n"
    limits, reload, hint = terminal.err.splitlines()
    assert "`systemctl reload docker`" in reload
    assert [limits, hint] == [
        "Docker takes mirrors for Docker Hub only: images of ghcr.io and quay.io do not come through the caches.",
        "To write it there: the same command with --write; --undo puts back what was there.",
    ]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("runs", [True, False])
def test_real_ports(runs: bool, terminal: Terminal, tmp_path: Path) -> None:
    """The ports are those of the engine that runs, or else those that it had the last time."""
    (tmp_path / "caches/builtin").mkdir(parents=True)
    remember(tmp_path / "caches/builtin", [HUB_SUBSTITUTE])
    terminal.engine.running = Running(engine_status({"docker.io": 40001})) if runs else None

    terminal.run("cache config docker")

    assert ("127.0.0.1:40001" if runs else "127.0.0.1:40000") in terminal.out


def test_engine_that_starts(terminal: Terminal) -> None:
    """An engine that does not answer yet is as good as one that does not run."""
    terminal.engine.problem = EngineUnresponsive("it starts")

    assert terminal.run("cache config skopeo") == 0
    assert 'location = "127.0.0.1:54102"' in terminal.out


def test_write_and_undo(terminal: Terminal, tmp_path: Path) -> None:
    """A write says what it wrote and what to do then; an undo says what became of the file."""
    assert terminal.run("cache config docker --write") == 0
    assert terminal.out == f"Wrote ~/etc/docker/daemon.json:\n\n{MIRROR}\n"
    assert terminal.err.endswith("It holds after: sudo systemctl restart docker\n")
    assert (tmp_path / "etc/docker/daemon.json").read_text() == MIRROR
    assert len(list((tmp_path / ".local/state/obol/clients").iterdir())) == 1

    terminal.run("cache config docker --write")
    assert terminal.out.startswith("~/etc/docker/daemon.json says so already:\n")
    assert "It holds after" not in terminal.err

    (tmp_path / "config").mkdir()
    (tmp_path / "config/obol.toml").write_text("[cache]\nnonsense = 1\n")
    assert terminal.run("cache config docker --undo") == 0
    assert terminal.out == "Removed ~/etc/docker/daemon.json: there was none before.\n"
    assert terminal.err == "It holds after: sudo systemctl restart docker\n"
    assert terminal.run("cache config docker --undo") == 4
    assert terminal.err.startswith("error: there is nothing to undo\n")


def test_registry_is_no_longer_served(terminal: Terminal, tmp_path: Path) -> None:
    """What goes because its registry is not served any more is told before what is there."""
    terminal.run("cache config containerd --write --directory ~/certs")
    terminal.engine.running = Running(engine_status())

    terminal.run("cache config containerd --write --directory ~/certs")

    lines = [line for line in terminal.out.splitlines() if "hosts.toml" in line]
    assert [line.split()[0] for line in lines[:2]] == ["Removed", "Removed"]
    assert lines[2].endswith("docker.io/hosts.toml says so already:")
    assert terminal.run("cache config containerd --undo --directory ~/certs") == 0


def test_json(terminal: Terminal, tmp_path: Path) -> None:
    """For programs there is one value with all of it, and nothing beside it."""
    assert terminal.run("cache config buildkit --user --write -o json") == 0

    told = json.loads(terminal.out)
    path = str(tmp_path / ".config/buildkit/buildkitd.toml")
    assert [file["path"] for file in told["files"]] == [path]
    assert told["changes"] == [{"path": path, "action": "written"}]
    assert (told["client"], told["restart"]) == ("buildkit", "systemctl --user restart buildkit")
    assert terminal.err == ""


def test_whose(terminal: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For podman and skopeo it is the person's configuration, unless it is root; what a person names goes before."""
    own, machine = "~/.config/containers/registries.conf.d/obol.conf:", "~/etc/containers/registries.conf.d/obol.conf:"

    for line, first in [("podman", own), ("skopeo --system", machine), ("podman --directory ~/x", "~/x/obol.conf:")]:
        terminal.run(f"cache config {line}")
        assert terminal.out.splitlines()[0] == first
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    terminal.run("cache config podman")
    assert terminal.out.splitlines()[0] == machine


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("docker --write --undo", "exclude each other"),
        ("docker --directory x", "use --file"),
        ("podman --file x", "use --directory"),
        ("crio", "crio"),
    ],
)
def test_wrong_usage(line: str, text: str, terminal: Terminal) -> None:
    """What makes no sense is refused with the way out."""
    assert terminal.run(f"cache config {line}") == 2

    assert text in terminal.err
