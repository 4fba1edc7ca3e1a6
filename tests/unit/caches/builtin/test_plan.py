import sys
from pathlib import Path

import pytest

from obol.caches.builtin.plan import BuiltinPlan, planned_listeners
from obol.caches.reachable import Substitute, remember
from obol.registry.control.api import Listener


def test_argv() -> None:
    """The command is ours, by the interpreter that runs us, with every port settled."""
    plan = BuiltinPlan(Path("/s"), arguments=("--offline",))

    assert plan.argv({"docker.io": 54100, "ghcr.io": 7}) == (
        sys.executable,
        "-m",
        "obol",
        "cache",
        "serve",
        "--store=/s",
        "--log-file=/s/engine.log",
        "--offline",
        "--port=docker.io=54100",
        "--port=ghcr.io=7",
    )


def test_environment() -> None:
    """The process gets what it needs, its settings, and no secret that happens to lie around."""
    environ = {
        "PATH": "/bin",
        "HOME": "/home/ada",
        "LC_ALL": "C.UTF-8",
        "https_proxy": "http://proxy",
        "OBOL_CACHE_TAG_TTL": "5",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "GITHUB_TOKEN": "secret",
        "OBOL_CONFIG_DIR": "relative",
    }

    assert BuiltinPlan(Path("/s"), environ=environ, config=Path("/c")).child_environment() == {
        "PATH": "/bin",
        "HOME": "/home/ada",
        "LC_ALL": "C.UTF-8",
        "https_proxy": "http://proxy",
        "OBOL_CACHE_TAG_TTL": "5",
        "OBOL_CONFIG_DIR": "/c",
    }
    assert BuiltinPlan(Path("/s")).child_environment() == {}


def test_modules_are_found_from_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process starts in another directory, and still finds modules that were named from here."""
    monkeypatch.chdir(tmp_path)

    environment = BuiltinPlan(Path("/s"), environ={"PYTHONPATH": "src:/lib"}).child_environment()

    assert environment == {"PYTHONPATH": f"{tmp_path}/src:/lib"}


def test_planned_listeners(tmp_path: Path) -> None:
    """A substitute counts while its port is still wanted; a port that nobody chose is left out."""
    remember(tmp_path, [Substitute("docker.io", 54100, 40000, ""), Substitute("ghcr.io", 1, 40001, "")])
    wanted = (
        Listener("docker.io", "127.0.0.1", 54100),
        Listener("ghcr.io", "127.0.0.1", 54101),
        Listener("quay.io", "127.0.0.1", 0),
    )

    assert planned_listeners(BuiltinPlan(tmp_path, wanted)) == (
        Listener("docker.io", "127.0.0.1", 40000),
        Listener("ghcr.io", "127.0.0.1", 54101),
    )
