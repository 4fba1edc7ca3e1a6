from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from obol.backends.ports import Runtimes
from obol.caches.builtin.plan import BuiltinPlan
from obol.caches.containers.plan import ContainersPlan
from obol.config.background import idle_plans
from obol.config.paths import Directories
from obol.errors import DependencyMissing
from obol.stack.home import Home, Identity
from obol.stack.hotswap import Source, Target
from obol.stack.lifecycle import Lifecycle
from obol.stack.nocluster import CachesOnly
from obol.wiring.stack import hot_swap_on_k3d, look_for_runtimes, stack_on_k3s, stack_on_none, stack_on_podman
from tests.unit.stack.clusterworld import FakeReporter

if TYPE_CHECKING:
    from pathlib import Path


def test_stack_on_none(tmp_path: Path) -> None:
    """Without a runtime the stack is its caches."""
    assert isinstance(stack_on_none(BuiltinPlan(tmp_path / "store")), CachesOnly)


async def test_look_for_runtimes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Programs that are not on the PATH are reported as missing."""
    monkeypatch.setenv("PATH", str(tmp_path))

    found = await look_for_runtimes()

    assert isinstance(found, Runtimes)
    assert not any(program.installed for program in (found.docker, found.k3d, found.podman))


def test_stack_on_podman(tmp_path: Path) -> None:
    """Pods are run over the same caches."""
    plan = BuiltinPlan(tmp_path / "store")

    assert isinstance(stack_on_podman(plan, Home(tmp_path / "config"), {}), Lifecycle)


async def test_hot_swap_on_k3d(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Swapping begins with Docker, which is asked for the registry to push into."""
    monkeypatch.setenv("PATH", str(tmp_path))
    stack = hot_swap_on_k3d("brave-otter", ContainersPlan(tmp_path, ()), Home(tmp_path / "config"), {})

    with pytest.raises(DependencyMissing, match="Docker is not installed"):
        await stack.push(Source.parse("app:dev"), Target.parse("llm/litellm"), FakeReporter())


async def test_stack_on_k3s(tmp_path: Path) -> None:
    """k3s is run over the same caches; where nothing of it is there, nothing is needed to tell so."""
    plans = idle_plans(Directories(*(tmp_path / name for name in ("config", "data", "state", "cache"))))

    stack = stack_on_k3s(plans, Home(tmp_path / "config"), {})

    assert isinstance(stack, Lifecycle)
    assert (await stack.status(Identity("brave-otter", "k3s"))).state == "absent"
