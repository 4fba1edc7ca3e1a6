import contextlib
import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import cast

import pytest
import typer

from obol.backends.ports import BACKENDS, BackendName
from obol.caches.builtin.process import Running
from obol.cli.stack import commands as stack
from obol.errors import DependencyMissing, EngineUnresponsive, Interrupted
from obol.stack.home import Identity, at_work
from obol.workloads.images import stack_images
from tests.unit.cli.conftest import Terminal
from tests.unit.stack.world import LITELLM, World, engine_status, failed

COUNT = len(stack_images())


pytestmark = pytest.mark.usefixtures("stack_world")


def test_up(terminal: Terminal, stack_world: World, tmp_path: Path) -> None:
    """Every image is fetched into the cache engine that the settings describe, and a table fits 80 columns."""
    assert terminal.run("stack up") == 0

    (plans,) = terminal.plans
    plan = plans.builtin
    assert plan.store == tmp_path / "caches/builtin"
    assert [listener.registry for listener in plan.listeners] == ["docker.io", "ghcr.io", "quay.io"]
    assert f"All {COUNT} images are in the caches (1 s).\n{COUNT}.0 MiB came from upstream" in terminal.out
    assert max(map(len, terminal.out.splitlines())) <= 80
    assert "Nothing here can run the stack" in terminal.err
    assert terminal.looks == 1


def test_up_with_an_image_missing(terminal: Terminal, stack_world: World) -> None:
    """What could not be fetched is told in full, and makes the exit code 1."""
    stack_world.warmth.outcomes[LITELLM.reference] = failed(LITELLM)

    assert terminal.run("stack up --backend none") == 1

    assert f"{COUNT - 1} of {COUNT} images are in the caches" in terminal.out
    assert f"error: {LITELLM.reference} cannot be pulled\n  why: for a reason\n  try: do something\n" in terminal.err
    assert terminal.looks == 0


def test_up_as_json(terminal: Terminal, stack_world: World) -> None:
    """The same for programs: failures are part of the result, and nothing else is said."""
    stack_world.warmth.outcomes[LITELLM.reference] = failed(LITELLM)

    assert terminal.run("stack up -o json -q") == 1

    told = json.loads(terminal.out)
    assert (told["complete"], told["cache_engine"], told["backend"]) == (False, "builtin", "none")
    assert told["images"][0]["problem"]["kind"] == "absent"
    assert told["images"][1]["state"] == "cached"
    assert terminal.err == ""


def test_up_with_other_images(terminal: Terminal, tmp_path: Path) -> None:
    """Images of one's own come from obol.toml and from manifests."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config/obol.toml").write_text('[stack.images]\nlitellm = "ghcr.io/me/litellm:dev"\n')
    (tmp_path / "mine.yaml").write_text("containers: [{image: me/app}]")

    assert terminal.run(f"stack up -o json -q -f {tmp_path}") == 0

    references = [image["reference"] for image in json.loads(terminal.out)["images"]]
    assert references[0] == "ghcr.io/me/litellm:dev"
    assert "docker.io/me/app:latest" in references
    assert len(references) == COUNT + 1


def test_up_with_an_engine_that_is_not_as_asked(terminal: Terminal, stack_world: World) -> None:
    """Where the caches that run are not what the settings say, that is told, and they are used as they are."""
    stack_world.engine.running = Running(engine_status())
    stack_world.engine.differs = ("it is offline",)

    assert terminal.run("stack up --backend none") == 0

    assert (
        terminal.err.count("warning: the engine that runs differs from what you asked for:\n  - it is offline\n") == 1
    )


@pytest.mark.parametrize("word", ["true", "1", "yes", "on"])
def test_up_without_caches(
    terminal: Terminal, stack_world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    """Who turned the caches off gets nothing of them, whatever is wrong in obol.toml, and is told what that means."""
    monkeypatch.setenv("OBOL_DISABLE_REGISTRY_CACHE", word)
    (tmp_path / "config").mkdir()
    (tmp_path / "config/obol.toml").write_text("[a mistake")
    before = sorted(tmp_path.rglob("*"))

    assert terminal.run("stack up") == 0

    assert "turned off" in terminal.out
    assert (terminal.plans, terminal.looks, stack_world.engine.calls) == ([], 1, [])
    assert sorted(tmp_path.rglob("*")) == before


def test_up_without_caches_by_option(terminal: Terminal, stack_world: World) -> None:
    """The option is as good as the variable, and the result says so to programs."""
    assert terminal.run("stack up --no-registry-cache -o json") == 0

    told = json.loads(terminal.out)
    assert (told["cache_engine"], told["images"], told["stack"]) == (None, [], None)
    assert terminal.plans == []


def test_up_with_bad_settings(terminal: Terminal, stack_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake is told before anything is started."""
    assert terminal.run("stack up -f /nowhere.yaml") == 2
    assert "/nowhere.yaml" in terminal.err
    monkeypatch.setenv("OBOL_CACHE_PORT", "x")
    assert terminal.run("stack up") == 2
    monkeypatch.setenv("OBOL_DISABLE_REGISTRY_CACHE", "perhaps")
    assert terminal.run("stack up --no-registry-cache") == 2
    assert "OBOL_DISABLE_REGISTRY_CACHE=perhaps" in terminal.err
    assert stack_world.engine.calls == []


def test_status(terminal: Terminal, stack_world: World) -> None:
    """The status of a running cache fits 80 columns and names what is missing."""
    stack_world.engine.running = Running(engine_status())
    stack_world.warmth.holdings[LITELLM.reference] = "complete"

    assert terminal.run("stack status") == 0

    assert f"Images   1 of {COUNT} complete" in terminal.out
    assert max(map(len, terminal.out.splitlines())) <= 80
    assert terminal.err == ""


def test_status_of_nothing(terminal: Terminal, stack_world: World) -> None:
    """Where nothing runs, nothing is started, and the way to start it is told."""
    assert terminal.run("stack status") == 0
    assert "not running" in terminal.out
    assert terminal.err == "Start the caches and fill them: obol stack up\n"

    assert terminal.run("stack status -o json -q") == 0
    told = json.loads(terminal.out)
    assert (told["cluster"], told["images_complete"], told["engine"]) == ("absent", None, None)
    assert stack_world.engine.calls == ["status", "status"]


def test_status_as_an_exit_code(terminal: Terminal, cluster: World) -> None:
    """Where it is asked for, the exit code says whether the stack runs."""
    assert terminal.run("stack status --exit-code") == 4
    assert terminal.run("stack up") == 0
    assert terminal.run("stack status --exit-code") == 0
    cluster.backend.running = "stopped"
    assert terminal.run("stack status --exit-code -o json") == 4
    assert terminal.run("stack status") == 0


def test_status_of_a_sick_engine(terminal: Terminal, stack_world: World) -> None:
    """An engine that does not answer is an error."""
    stack_world.engine.problem = EngineUnresponsive("the cache engine does not answer")

    assert terminal.run("stack status") == 1
    assert terminal.err.startswith("error: the cache engine does not answer")


def test_up_on_podman(terminal: Terminal, cluster: World) -> None:
    """Up names the stack, writes its manifests, brings it up, and says where LiteLLM answers."""
    assert terminal.run("stack up") == 0

    identity = cluster.home.identity()
    assert identity is not None
    assert identity.backend == "podman"
    assert (cluster.home.config / "workloads" / "litellm.yaml").is_file()
    assert f"The stack {identity.stack_id} is up on podman" in terminal.out
    assert "LiteLLM answers at http://localhost" in terminal.out
    assert "a note of the cluster" in terminal.err
    assert terminal.run("stack up -o json") == 0
    assert json.loads(terminal.out)["stack"] == identity.stack_id


def test_init_down_status_purge(terminal: Terminal, cluster: World) -> None:
    """A stack is named once, stopped, looked at and removed; a second init wants --force, which keeps the name."""
    assert terminal.run("stack init") == 0
    identity = cluster.home.identity()
    assert identity is not None
    assert terminal.run("stack init") == 2
    assert "--force" in terminal.err
    assert terminal.run("stack init --force") == 0
    assert cluster.home.identity() == identity
    assert terminal.run("stack status") == 0
    assert identity.stack_id in terminal.out
    assert terminal.run("stack down") == 0
    assert f"down {identity.stack_id}" in cluster.backend.calls

    assert terminal.run("stack purge --force --cache --yes") == 0

    assert f"purge {identity.stack_id} True" in cluster.backend.calls
    assert cluster.caches.calls == ["remove"]
    assert cluster.home.identity() is None
    assert terminal.run("stack down") == 4


def test_status_asks_once(terminal: Terminal, cluster: World, stack_world: World) -> None:
    """What the caches do is asked once, and told beside what the cluster does."""
    cluster.home.establish(Identity("brave-otter", "podman"))
    stack_world.engine.running = Running(engine_status())

    assert terminal.run("stack status") == 0

    assert "Cluster  absent (backend podman)\nCaches   builtin engine (process 4711)" in terminal.out
    assert cluster.engine.calls == ["status"]


def test_purge_keeps_the_data_and_says_so(terminal: Terminal, cluster: World, tmp_path: Path) -> None:
    """Without --force the data stays, and the way to remove it is told; with it the data goes."""
    assert terminal.run("stack up") == 0
    assert terminal.run("stack purge") == 0
    assert "--force" in terminal.out
    assert (tmp_path / "data").is_dir()

    assert terminal.run("stack purge --force") == 0

    assert not (tmp_path / "data").exists()


def test_up_that_cannot_run_writes_nothing_down(
    terminal: Terminal, cluster: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backend whose programs are missing is not recorded, so that another can be had without further ado."""
    cluster.backend.failing["check"] = [DependencyMissing("k3d is not installed")]

    assert terminal.run("stack up --backend k3d") == 3

    assert cluster.home.identity() is None
    assert not cluster.home.config.exists()
    assert terminal.run("stack up") == 0


def test_init_with_another_backend(terminal: Terminal, cluster: World) -> None:
    """What ran on the former backend is removed, or, where that fails, left and told of."""
    cluster.home.establish(Identity("brave-otter", "k3d"))

    assert terminal.run("stack init --force --backend podman") == 0
    assert "purge brave-otter False" in cluster.backend.calls
    assert cluster.home.identity() == Identity("brave-otter", "podman")

    cluster.backend.failing["purge brave-otter False"] = [DependencyMissing("podman is not installed")]
    assert terminal.run("stack init --force --backend k3d") == 0
    assert "obol could not remove what runs on podman" in terminal.err


def test_init_where_nothing_runs(terminal: Terminal, stack_world: World) -> None:
    """Without a runtime there is nothing to initialise, and nothing is written down."""
    assert terminal.run("stack init") == 3
    assert "podman.io" in terminal.err
    assert terminal.run("stack init --backend none") == 2


def test_one_at_a_time(terminal: Terminal, cluster: World) -> None:
    """A second command on the same stack is turned away while the first is at work."""
    with at_work(cluster.home.config):
        assert terminal.run("stack up") == 1

    assert "another `obol stack` command" in terminal.err
    assert terminal.run("stack up") == 0


def test_mistakes_in_the_settings_of_caches_stop_nothing_else(
    terminal: Terminal, cluster: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who turned the caches off, or only takes the stack down, is not bothered by what is wrong with them."""
    monkeypatch.setenv("OBOL_CACHE_PORT", "x")
    assert terminal.run("stack up") == 2
    assert terminal.run("stack up --no-registry-cache") == 0
    assert cluster.caches.calls == []
    assert "registry caches" not in terminal.out
    assert terminal.run("stack down") == 0
    assert terminal.run("stack purge") == 0


REMOVE = "Remove the stack's data and images"


@pytest.mark.parametrize(
    ("backend", "word", "answer", "asked"),
    [
        ("k3d", "", False, [f"{REMOVE}?"]),
        ("k3d", "false", False, [f"{REMOVE}?"]),
        ("k3d", "true", False, []),
        ("podman", "", True, [f"{REMOVE}, also those that you pulled yourself?"]),
    ],
)
def test_questions(
    monkeypatch: pytest.MonkeyPatch, backend: BackendName, word: str, answer: bool, asked: list[str]
) -> None:
    """A person at a terminal is asked before anything is removed, unless they never want to be.

    On podman the question names images that they may have pulled themselves.
    """
    questions: list[str] = []

    def confirm(question: str, *, err: bool) -> bool:
        questions.append(question)
        return answer

    monkeypatch.setenv("OBOL_NONINTERACTIVE", word)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(typer, "confirm", confirm)

    with pytest.raises(Interrupted) if asked and not answer else contextlib.nullcontext():
        stack._confirm(Identity("brave-otter", backend), force=True, cache=False)

    assert questions == asked


def test_ctrl_c_at_the_question(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who ends the question itself has removed nothing either, and is told so."""

    def confirm(question: str, *, err: bool) -> bool:
        raise typer.Abort

    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(typer, "confirm", confirm)

    with pytest.raises(Interrupted, match="nothing was removed"):
        stack._confirm(None, force=True, cache=True)


def test_status_where_the_backend_cannot_be_asked(terminal: Terminal, cluster: World) -> None:
    """Status is told without Docker too, with exit code 0 and the reason for what is not known."""
    cluster.home.establish(Identity("brave-otter", "k3d"))
    cluster.backend.failing["state brave-otter"] = [DependencyMissing("Docker is not installed")]

    assert terminal.run("stack status -q") == 0

    assert "Cluster  not known (backend k3d)" in terminal.out
    assert "Disk " in terminal.out
    assert terminal.err == "Not all that runs is known: Docker is not installed.\n"


@pytest.mark.parametrize("verb", ["up", "down", "purge", "status"])
def test_verbs(terminal: Terminal, stack_world: World, verb: str) -> None:
    """No verb goes on with a file that does not tell which stack this is: the way out is told."""
    stack_world.home.establish(Identity("brave-newt", "k3d"))
    (stack_world.home.config / ".stack-id").write_text("")

    assert terminal.run(f"stack {verb}") == 1

    assert "error: it is not known which stack this is" in terminal.err
    assert "obol stack init --force" in terminal.err


def test_the_words_for_backends() -> None:
    """A person can name each backend of the table."""
    assert [str(word) for word in cast("type[StrEnum]", stack.AskedBackend)] == ["auto", *BACKENDS]
