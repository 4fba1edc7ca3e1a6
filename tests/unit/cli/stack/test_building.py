from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

import pytest

from obol.backends.ports import Program, Runtimes
from obol.cli.stack import building
from obol.cli.stack.building import AskedBackend, AskedEngine
from obol.cli.terminal.present import OutputFormat, Speaker
from obol.cli.verb import run
from obol.config.paths import Invocation
from obol.errors import Interrupted, SettingsError, UsageError
from obol.stack.home import Home, Identity, claim
from obol.stack.lifecycle import Lifecycle

if TYPE_CHECKING:
    from pathlib import Path

    from obol.backends.ports import BackendName

OTTER = Identity("brave-otter", "podman")


@pytest.fixture
def say() -> Speaker:
    """Somebody who talks."""
    return Speaker(OutputFormat.HUMAN)


@pytest.fixture(autouse=True)
def _machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with k3d and podman."""

    async def runtimes() -> Runtimes:
        return Runtimes(Program("docker", version="1"), Program("k3d", version="1"), Program("podman", version="1"))

    monkeypatch.setattr(building, "runtimes", runtimes)


def around(tmp_path: Path, **environ: str) -> Invocation:
    """A process born with these variables."""
    return Invocation({"OBOL_CONFIG_DIR": str(tmp_path), **environ}, tmp_path, tmp_path)


@pytest.mark.parametrize(("words", "said"), [((), ""), (("half of it is there",), "half of it is there")])
def test_run(say: Speaker, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str) -> None:
    """What is done gives its result; where Ctrl-C ends it, what that means is said, and it ends the verb too."""

    async def done(*, interrupted: bool) -> int:
        if interrupted:
            raise KeyboardInterrupt
        return 7

    assert run(say, done(interrupted=False), *words) == 7
    assert capsys.readouterr().err == ""
    with pytest.raises(KeyboardInterrupt if not words else Interrupted) as caught:
        run(say, done(interrupted=True), *words)
    assert getattr(caught.value, "why", "") == said
    with pytest.raises(Interrupted):
        run(Speaker(OutputFormat.JSON), done(interrupted=True), *words)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_end_a_verb(say: Speaker, number: signal.Signals) -> None:
    """A command that is told to end, or whose terminal closes, tidies up as after Ctrl-C, and says the same."""
    tidied = []

    async def work() -> None:
        try:
            os.kill(os.getpid(), number)
            await asyncio.Event().wait()
        finally:
            tidied.append(True)

    with pytest.raises(Interrupted) as caught:
        run(say, work(), "what is there stays.")

    assert (caught.value.why, tidied) == ("what is there stays", [True])
    assert signal.getsignal(number) is signal.SIG_DFL


@pytest.mark.parametrize(
    ("asked", "identity", "backend"),
    [
        (AskedBackend.AUTO, None, "k3d"),
        (AskedBackend.AUTO, OTTER, "podman"),
        (AskedBackend.K3D, None, "k3d"),
        (AskedBackend.PODMAN, OTTER, "podman"),
        (AskedBackend.NONE, OTTER, "none"),
    ],
)
async def test_choose(asked: AskedBackend, identity: Identity | None, backend: BackendName) -> None:
    """What is asked for counts, then what the stack has, then what the machine has."""
    assert (await building.choose(asked, identity, {})).backend == backend


async def test_the_environment_is_asked_where_there_is_no_stack() -> None:
    """OBOL_BACKEND names the backend of a new stack, and changes none that is there; a wrong word is refused."""
    wish = {"OBOL_BACKEND": "podman"}

    assert (await building.choose(AskedBackend.AUTO, None, wish)).backend == "podman"
    assert (await building.choose(AskedBackend.AUTO, Identity("x", "k3d"), wish)).backend == "k3d"
    assert (await building.choose(AskedBackend.K3D, None, wish)).backend == "k3d"
    for identity in (None, Identity("x", "k3d")):
        with pytest.raises(SettingsError):
            await building.choose(AskedBackend.AUTO, identity, {"OBOL_BACKEND": "docker"})


async def test_a_recorded_none_is_no_backend() -> None:
    """Where nothing could run the stack once, the machine is looked at again."""
    choice = await building.choose(AskedBackend.AUTO, Identity("x", "none"), {})
    assert (choice.backend, choice.looked) == ("k3d", True)


@pytest.mark.parametrize(("backend", "lines"), [("k3d", 0), ("k3s", 2), ("podman", 2)])
def test_ignored(say: Speaker, tmp_path: Path, backend: BackendName, lines: int) -> None:
    """What a backend has no use for is said."""
    plans = building.cache_plans(say, around(tmp_path, OBOL_DEVELOPMENT="true"), AskedEngine.CONTAINERS)

    assert len(building.ignored(plans, backend)) == lines
    assert building.ignored(building.idle_plans(around(tmp_path)), backend) == []


async def test_another_backend_than_the_stacks() -> None:
    """A stack does not change its backend by accident."""
    with pytest.raises(UsageError, match="brave-otter runs on podman"):
        await building.choose(AskedBackend.K3D, OTTER, {})


def test_establish(say: Speaker, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A name once given stays, and a manifest that the person changed is left and told of."""
    home = Home(tmp_path)
    first = building.establish(say, home, None, "podman")
    (tmp_path / "workloads/litellm.yaml").write_text("{}")

    assert building.establish(say, home, first, "podman") == first
    assert "You changed workloads/litellm.yaml" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("asked", "variable", "engine"),
    [
        (AskedEngine.AUTO, "", "auto"),
        (AskedEngine.AUTO, "containers", "containers"),
        (AskedEngine.BUILTIN, "containers", "builtin"),
        (AskedEngine.CONTAINERS, "", "containers"),
    ],
)
def test_cache_plans(say: Speaker, tmp_path: Path, asked: AskedEngine, variable: str, engine: str) -> None:
    """The option goes before the variable, and both engines are planned for the same upstreams."""
    plans = building.cache_plans(say, around(tmp_path, OBOL_CACHE_ENGINE=variable), asked)

    assert plans.engine == engine
    assert not plans.development
    own = [listener.registry for listener in plans.builtin.listeners]
    assert own == [cache.registry for cache in plans.containers.caches] == ["docker.io", "ghcr.io", "quay.io"]


def test_what_root_wrote_is_the_persons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under sudo the stack's directories are the person's afterwards; what a cluster keeps in its data stays root's."""
    given: list[str] = []
    person = around(tmp_path / "config", SUDO_UID="1000", SUDO_GID="100", OBOL_DATA_DIR=str(tmp_path / "data"))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "chown", lambda path, *_, **__: given.append(path.name))
    owned_by_root = os.getuid() == 0

    with building.at_work(person):
        claim(tmp_path / "data", tmp_path / "config")
        (tmp_path / "data" / "k3s").mkdir()

    assert sorted(given) == ([".lock", ".obol-stack", "config", "data"] if owned_by_root else [])


def test_a_cache_engine_that_does_not_exist(say: Speaker, tmp_path: Path) -> None:
    """A wrong word is refused."""
    with pytest.raises(SettingsError):
        building.cache_plans(say, around(tmp_path, OBOL_CACHE_ENGINE="docker"))


@pytest.mark.parametrize("backend", ["k3d", "k3s", "podman", "none"])
def test_lifecycle(say: Speaker, tmp_path: Path, backend: BackendName) -> None:
    """There is a lifecycle over each backend; without one, there is still something to remove."""
    plans = building.cache_plans(say, around(tmp_path))

    assert isinstance(building.lifecycle(plans, Home(tmp_path), backend, say), Lifecycle)
