import json
import logging
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from obol.config import registryenv
from obol.machine import privileges, probe
from tests.unit.cli.conftest import Served, Terminal

HUB = "https://registry-1.docker.io"


@pytest.fixture(autouse=True)
def _container(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container without a settings file."""
    served.code = 0
    monkeypatch.setattr(registryenv, "FILES", ())
    monkeypatch.setattr(privileges, "become_owner", lambda *_paths: None)


def test_serve(terminal: Terminal, served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """The image's variables become an engine for one registry, on all of the container's addresses."""
    owners: list[tuple[Path, ...]] = []
    monkeypatch.setattr(privileges, "become_owner", lambda *paths: owners.append(paths))
    monkeypatch.setenv("REGISTRY_PROXY_REMOTEURL", HUB)
    monkeypatch.setenv("REGISTRY_LOG_LEVEL", "debug")
    monkeypatch.setenv("OBOL_CACHE_TAG_TTL", "0")

    assert terminal.run("registry") == 0

    ((settings, log_format, level),) = served.calls
    assert [(one.registry, one.url) for one in settings.upstreams] == [("docker.io", HUB)]
    assert [(one.registry, one.address, one.port) for one in settings.listeners] == [("docker.io", "0.0.0.0", 5000)]
    assert settings.store == Path("/var/lib/registry/obol")
    assert settings.local_names
    assert settings.tag_ttl == 0
    assert (log_format, level) == ("human", logging.DEBUG)
    assert owners == [(Path("/var/lib/registry/obol"), Path("/var/lib/registry"))]
    assert (terminal.out, terminal.err) == ("", "")


def test_notes_are_logged(terminal: Terminal, served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """What differs from the image `registry` is a warning in the log, without the values."""
    monkeypatch.setenv("REGISTRY_PROXY_REMOTEURL", HUB)
    monkeypatch.setenv("REGISTRY_PROXY_PASSWORD", "hunter2")
    monkeypatch.setenv("REGISTRY_LOG_FORMATTER", "json")

    assert terminal.run("registry serve") == 0

    (line,) = terminal.err.splitlines()
    assert json.loads(line)["level"] == "warning"
    assert "REGISTRY_PROXY_PASSWORD" in line
    assert "hunter2" not in line
    assert len(served.calls) == 1


@pytest.mark.parametrize("words", ["{}", "serve {}", "registry serve {}"])
def test_file(terminal: Terminal, served: Served, tmp_path: Path, words: str) -> None:
    """A settings file may be named in all the ways in which that image takes one."""
    file = tmp_path / "config.yml"
    file.write_text("proxy: {remoteurl: 'https://ghcr.io'}")

    assert terminal.run(f"registry {words.format(file)}") == 0

    ((settings, _, _),) = served.calls
    assert settings.upstreams[0].registry == "ghcr.io"


def test_mounted_file(terminal: Terminal, served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A settings file that is mounted where the image `registry` has its own is read without being named."""
    file = tmp_path / "config.yml"
    file.write_text("proxy: {remoteurl: 'https://quay.io'}")
    monkeypatch.setattr(registryenv, "FILES", (tmp_path / "none.yml", file))

    assert terminal.run("registry") == 0

    ((settings, _, _),) = served.calls
    assert settings.upstreams[0].registry == "quay.io"


@pytest.mark.parametrize("words", ["garbage-collect /etc/docker/registry/config.yml", "serve nothing", "sh"])
def test_other_programs(terminal: Terminal, served: Served, words: str) -> None:
    """What else that image can do is refused as wrong usage."""
    assert terminal.run(f"registry {words}") == 2
    assert "this image cannot do" in terminal.err
    assert served.calls == []


def test_plain_registry(terminal: Terminal, served: Served) -> None:
    """Without an upstream that image is a registry to push to; ours is none, and says so."""
    assert terminal.run("registry") == 2
    assert "nothing can be pushed to it" in terminal.err
    assert served.calls == []


@dataclass
class Asked:
    """An engine that is asked how it is."""

    status: int | None = 200
    found: list[tuple[str, int, str]] = field(default_factory=list)

    async def status_of(self, address: str, port: int, path: str) -> int | None:
        self.found.append((address, port, path))
        return self.status


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """An engine in a container that caches Docker Hub."""
    engine = Asked()
    monkeypatch.setattr(registryenv, "FILES", ())
    monkeypatch.setattr(probe, "status_of", engine.status_of)
    monkeypatch.setenv("REGISTRY_PROXY_REMOTEURL", HUB)
    return engine


@pytest.mark.parametrize(("status", "code"), [(200, 0), (403, 1), (None, 1)])
def test_health(terminal: Terminal, asked: Asked, status: int | None, code: int) -> None:
    """The image's own check asks the engine in the container, and fails if that does not answer."""
    asked.status = status

    assert terminal.run("registry health") == code
    assert asked.found == [("127.0.0.1", 5000, "/healthz")]


def test_health_of_another_address(terminal: Terminal, asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check asks where the engine was told to listen."""
    monkeypatch.setenv("REGISTRY_HTTP_ADDR", "10.9.8.7:80")

    assert terminal.run("registry health") == 0
    assert asked.found == [("10.9.8.7", 80, "/healthz")]


def test_not_advertised(terminal: Terminal) -> None:
    """The command is the container image's, and not shown to people."""
    assert terminal.run("--help") == 0
    assert "container image" not in terminal.out
    assert "  registry" not in terminal.out
