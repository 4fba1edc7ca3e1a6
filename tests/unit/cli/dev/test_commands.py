import json
from pathlib import Path

import pytest

from obol.config.paths import Invocation, locate
from obol.stack.home import Home, Identity
from obol.stack.hotswap import HotSwap, Restored, Target
from tests.fakes.runner import FakeRunner
from tests.unit.cli.conftest import Terminal
from tests.unit.stack.devworld import PUSHED, RELEASED, DevWorld, deployment, dev_world


@pytest.fixture
def world(terminal: Terminal, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> DevWorld:
    """Somebody at work in development mode, on a stack on k3d."""
    found = dev_world()

    def hot_swap(stack_id: str, _containers: object, home: Home, _environ: object) -> HotSwap:
        assert (home.config, stack_id) == (tmp_path / ".workspace/config", "brave-otter")
        return found.stack

    monkeypatch.setattr("obol.wiring.stack.hot_swap_on_k3d", hot_swap)
    monkeypatch.setenv("OBOL_DEVELOPMENT", "true")
    monkeypatch.delenv("OBOL_CONFIG_DIR")
    monkeypatch.delenv("OBOL_DISABLE_REGISTRY_CACHE", raising=False)
    monkeypatch.chdir(tmp_path)
    Home(locate(Invocation.of_process()).config).establish(Identity("brave-otter", "k3d"))
    return found


def test_push_and_reset(terminal: Terminal, world: DevWorld) -> None:
    """A person sees what runs, how much was pushed and how to go back; and does so."""
    assert terminal.run("dev push app:dev --deployment llm/litellm") == 0
    assert terminal.out == (
        f"llm/litellm runs {PUSHED} (1 s; 1 layer pushed, 1 was there already).\n"
        f"`obol dev reset --deployment llm/litellm:litellm` goes back to {RELEASED}.\n"
    )
    assert "  litellm: ready\n" in terminal.err

    assert terminal.run("dev push app:dev -d llm/litellm:litellm -q") == 0
    assert terminal.out == f"llm/litellm runs {PUSHED} already (1 layer pushed, 1 was there already).\n"
    assert terminal.err == ""

    assert terminal.run("dev reset") == 0
    assert terminal.out == f"llm/litellm:litellm runs {RELEASED} again.\n"

    assert terminal.run("dev reset --deployment llm/litellm") == 0
    assert terminal.out == "Nothing was swapped: released images run.\n"


def test_restored_by_other_means(terminal: Terminal, world: DevWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each container has a line; one that a manifest had put back is told apart."""

    async def reset(*_arguments: object) -> tuple[Restored, ...]:
        return (
            Restored(Target.parse("llm/pair:web"), "nginx:1", "localhost:54103/app:dev-0123456789ab"),
            Restored(Target.parse("llm/pair:log"), "busybox:2", "busybox:2"),
        )

    monkeypatch.setattr(type(world.stack), "reset", reset)

    assert terminal.run("dev reset") == 0
    assert terminal.out == "llm/pair:web runs nginx:1 again.\nllm/pair:log ran busybox:2 already.\n"


def test_as_json(terminal: Terminal, world: DevWorld) -> None:
    """The same for programs."""
    assert terminal.run("-o json dev push app:dev --deployment llm/pair:web") == 0
    told = json.loads(terminal.out)
    assert told.pop("seconds") >= 0
    assert told == {
        "namespace": "llm",
        "deployment": "pair",
        "container": "web",
        "image": PUSHED,
        "before": "nginx:1",
        "released": "nginx:1",
        "layers_pushed": 1,
        "layers_present": 1,
    }

    assert terminal.run("dev reset -o json") == 0
    (restored,) = json.loads(terminal.out)["containers"]
    assert (restored["container"], restored["image"], restored["before"]) == ("web", "nginx:1", PUSHED)


def test_rollout_fails(terminal: Terminal, world: DevWorld) -> None:
    """A rollout that fails is exit code 1, with the way to look and the way back, and no result."""
    world.machine.deployments = [deployment("litellm", {"litellm": RELEASED}, strong=False)]

    assert terminal.run("dev push app:dev --deployment llm/litellm") == 1

    assert terminal.out == ""
    assert "error: litellm is not ready after 5 minutes\n" in terminal.err
    assert "obol dev reset --deployment llm/litellm:litellm" in terminal.err


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("dev push app:dev --deployment litellm", "'litellm' does not name a Deployment"),
        ("dev push App --deployment llm/litellm", "'App' is not an image"),
        ("dev reset --deployment llm", "'llm' does not name a Deployment"),
        ("dev push app:dev", "--deployment"),
    ],
)
def test_usage(terminal: Terminal, world: DevWorld, line: str, said: str) -> None:
    """What was not understood is exit code 2, and nothing is looked at."""
    assert terminal.run(line) == 2

    assert said in terminal.err
    assert world.machine.lines == []


@pytest.mark.parametrize("line", ["dev push app:dev --deployment llm/litellm", "dev reset"])
def test_other_modes(terminal: Terminal, world: DevWorld, monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    """Without development mode, without caches, or on podman it is told how to get there, and nothing is looked at."""
    monkeypatch.setenv("OBOL_DISABLE_REGISTRY_CACHE", "1")
    assert terminal.run(line) == 2
    assert "unset OBOL_DISABLE_REGISTRY_CACHE" in terminal.err

    monkeypatch.delenv("OBOL_DISABLE_REGISTRY_CACHE")
    Home(locate(Invocation.of_process()).config).establish(Identity("brave-otter", "podman"))
    assert terminal.run(line) == 2
    assert "it runs on podman" in terminal.err

    monkeypatch.setenv("OBOL_DEVELOPMENT", "1")
    assert terminal.run(line) == 2
    assert "export OBOL_DEVELOPMENT=true" in terminal.err
    assert world.machine.lines == []


def test_interrupted(terminal: Terminal, world: DevWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C says that the same command goes on, and is exit code 130."""

    async def run(*_argv: object, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(FakeRunner, "run", run)

    assert terminal.run("dev push app:dev --deployment llm/litellm") == 130

    assert "the same command again" in terminal.err
