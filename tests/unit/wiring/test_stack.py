from pathlib import Path

import pytest

from obol.backends.ports import BACKENDS, BackendName, Runtimes
from obol.caches.containers.plan import ContainersPlan
from obol.config.background import idle_plans
from obol.config.paths import Directories
from obol.errors import DependencyMissing
from obol.stack.home import Home, Identity
from obol.stack.hotswap import LocalImage, Target
from obol.stack.lifecycle import Lifecycle
from obol.wiring.stack import hot_swap_on_k3d, look_for_runtimes, this_computer
from tests.unit.stack.world import FakeReporter


@pytest.mark.parametrize("backend", BACKENDS)
async def test_a_stack_on_each_backend(tmp_path: Path, backend: BackendName) -> None:
    """There is a stack for each row of the table; where nothing of k3s is there, nothing is needed to tell so."""
    plans = idle_plans(Directories(*(tmp_path / name for name in ("config", "data", "state", "cache"))))

    stack = this_computer({}).lifecycle(backend, plans, Home(tmp_path / "config"))

    assert isinstance(stack, Lifecycle)
    if backend == "k3s":
        assert (await stack.status(Identity("brave-otter", backend), ())).state == "absent"


async def test_look_for_runtimes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Programs that are not on the PATH are reported as missing."""
    monkeypatch.setenv("PATH", str(tmp_path))

    found = await look_for_runtimes()

    assert isinstance(found, Runtimes)
    assert [program.name for program in found.programs] == ["docker", "k3d", "podman", "k3s"]
    assert not any(program.installed for program in found.programs)


async def test_hot_swap_on_k3d(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Swapping begins with Docker, which is asked for the registry to push into."""
    monkeypatch.setenv("PATH", str(tmp_path))
    stack = hot_swap_on_k3d("brave-otter", ContainersPlan(tmp_path, ()), Home(tmp_path / "config"), {})

    with pytest.raises(DependencyMissing, match="Docker is not installed"):
        await stack.push(LocalImage.parse("app:dev"), Target.parse("llm/litellm"), FakeReporter())
