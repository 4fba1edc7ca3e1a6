import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import get_args

import pytest

from obol.backends.ports import BACKENDS, BackendName, Program, Runtimes, Traits
from obol.config.background import CachePlans, idle_plans
from obol.config.paths import Invocation, locate
from obol.errors import SettingsError, UsageError
from obol.stack.adoption import Clusters
from obol.stack.home import Home, Identity, NameLost, claim, rendered
from obol.stack.lifecycle import Lifecycle
from obol.stack.plan import Choice, choose
from obol.stack.stacks import DATA, NOT_OURS, Machine, Stacks, UpOptions, ignored, needed
from tests.unit.stack.world import FakeBackend, World

OTTER, CALM, NEWT = Identity("brave-otter", "podman"), Identity("calm-otter", "k3d"), Identity("brave-newt", "k3d")


@dataclass
class Person:
    """A person with k3d and podman, and whatever stack there is on either."""

    folder: Path
    environ: dict[str, str] = field(default_factory=dict)
    programs: tuple[str, ...] = ("docker", "k3d", "podman")
    clusters: Clusters = field(default_factory=Clusters)

    def __post_init__(self) -> None:
        self.world = World(Home(self.folder / "config"), FakeBackend(name="podman"))

    @property
    def stacks(self) -> Stacks:
        directories = {"OBOL_CONFIG_DIR": str(self.folder / "config"), "OBOL_DATA_DIR": str(self.folder / "data")}
        around = Invocation({**directories, **self.environ}, self.folder, self.folder)
        return Stacks(
            around,
            Machine(self._lifecycle, self._runtimes, self.programs.__contains__, self._clusters),
            self.world.reporter,
        )

    def _lifecycle(self, backend: BackendName, plans: CachePlans, home: Home) -> Lifecycle:
        return self.world.stack

    async def _runtimes(self) -> Runtimes:
        return Runtimes(tuple(Program(name, version="1") for name in self.programs))

    async def _clusters(self, home: Home, data: Path) -> Clusters:
        return self.clusters

    async def chosen(self, wish: BackendName | None = None, stack: Identity | None = None) -> Choice:
        """What an `up` runs on."""
        if stack is not None:
            self.world.home.establish(stack)
        return (await self.stacks.choose(UpOptions(wish))).choice


@pytest.fixture
def person(tmp_path: Path) -> Person:
    """A person without a stack."""
    return Person(tmp_path)


@pytest.mark.parametrize(
    ("wish", "stack", "backend"),
    [
        (None, None, "k3d"),
        (None, OTTER, "podman"),
        ("k3d", None, "k3d"),
        ("podman", OTTER, "podman"),
        ("none", OTTER, "none"),
    ],
)
async def test_choose(person: Person, wish: BackendName | None, stack: Identity | None, backend: BackendName) -> None:
    """What is asked for counts, then what the stack has, then what the machine has."""
    assert (await person.chosen(wish, stack)).backend == backend


async def test_the_environment_is_asked_where_there_is_no_stack(person: Person) -> None:
    """OBOL_BACKEND names the backend of a new stack, and changes none that is there; a wrong word is refused."""
    person.environ["OBOL_BACKEND"] = "podman"

    assert (await person.chosen()).backend == "podman"
    assert (await person.chosen("k3d")).backend == "k3d"
    assert (await person.chosen(stack=NEWT)).backend == "k3d"
    person.environ["OBOL_BACKEND"] = "docker"
    with pytest.raises(SettingsError):
        await person.chosen()


@pytest.mark.parametrize(
    ("programs", "wish", "stack", "wanted"),
    [
        ((), "", None, True),
        (("docker",), "", None, True),
        (("docker", "k3d"), "", None, True),
        (("podman",), "", None, False),
        (("docker", "k3d", "podman"), "", None, False),
        (("podman",), "k3d", None, True),
        (("podman",), "", CALM, True),
        (("docker", "k3d"), "", OTTER, False),
    ],
)
async def test_images_in_the_status(
    person: Person, programs: tuple[str, ...], wish: str, stack: Identity | None, wanted: bool
) -> None:
    """The images of k3s are needed where each backend that `up` may choose pulls them; nothing is run to know it."""
    person.programs = programs
    person.environ |= {"OBOL_BACKEND": wish} if wish else {}
    if stack is not None:
        person.world.home.establish(stack)

    (status, _disk) = await person.stacks.status(())

    needed_by = {who for image, _held in status.images for who in image.needed_by}
    assert any(who.startswith("k3s ") for who in needed_by) == wanted
    assert "litellm" in needed_by


async def test_a_recorded_none_is_no_backend(person: Person) -> None:
    """Where nothing could run the stack once, the machine is looked at again."""
    choice = await person.chosen(stack=Identity("x", "none"))

    assert (choice.backend, choice.looked) == ("k3d", True)


async def test_another_backend_than_the_stacks(person: Person) -> None:
    """A stack does not change its backend by accident."""
    with pytest.raises(UsageError, match="brave-otter runs on podman"):
        await person.chosen("k3d", OTTER)


@pytest.mark.parametrize(("backend", "lines"), [("k3d", 0), ("k3s", 2), ("podman", 2)])
def test_ignored(person: Person, tmp_path: Path, backend: BackendName, lines: int) -> None:
    """What a backend has no use for is said."""
    idle = idle_plans(locate(Invocation({}, tmp_path, tmp_path)))

    assert len(ignored(replace(idle, engine="containers", development=True), backend)) == lines
    assert ignored(idle, backend) == ()


async def test_init(person: Person) -> None:
    """A name once given stays, and a manifest that the person changed is left and told of."""
    first = await person.stacks.init("podman", anew=False)
    (person.world.home.workloads / "litellm.yaml").write_text("{}")

    assert await person.stacks.init("podman", anew=True) == first
    assert "You changed workloads/litellm.yaml" in person.world.reporter.noted[-1]


async def test_what_root_wrote_is_the_persons(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under sudo the stack's directories are the person's afterwards; what a cluster keeps in its data stays root's."""
    given: list[str] = []
    person.environ |= {"SUDO_UID": "1000", "SUDO_GID": "100"}
    owned_by_root = os.getuid() == 0
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "chown", lambda path, *_, **__: given.append(path.name))

    with person.stacks._at_work():
        claim(person.folder / "data", person.folder / "config")
        (person.folder / "data" / "k3s").mkdir()

    assert sorted(given) == ([".lock", ".obol-stack", "config", "data"] if owned_by_root else [])


@pytest.mark.parametrize(
    ("ours", "force", "stays", "why"),
    [(True, True, False, None), (True, False, True, DATA), (False, True, True, NOT_OURS), (False, False, True, None)],
)
async def test_data(person: Person, ours: bool, force: bool, stays: bool, why: str | None) -> None:
    """Data goes only where that is wished and it is the stack's own."""
    data, config = person.folder / "data", person.folder / "config"
    if ours:
        claim(data, config)
    else:
        data.mkdir()
        (data / "thesis").touch()

    removal = await person.stacks.purge(None, force=force, caches=False)

    assert (data.exists(), removal.kept_data[1] if removal.kept_data else None) == (stays, why)
    assert removal.data == (not stays)


async def test_no_data(person: Person) -> None:
    """Where there is no data, there is none to tell of."""
    removal = await person.stacks.purge(None, force=True, caches=False)

    assert (removal.data, removal.kept_data) == (False, None)


@pytest.fixture
def lost(person: Person) -> Person:
    """A person whose directory has a name, and another cluster that was made for it."""
    person.clusters = Clusters(("calm-otter",))
    person.world.home.establish(NEWT)
    return person


async def test_adopted(lost: Person) -> None:
    """A stack that has lost its name takes that of its cluster, which is said and written down."""
    (lost.world.home.config / ".stack-id").write_text("")

    assert await lost.stacks.identify() == CALM

    assert lost.world.home.identity() == CALM
    assert "The cluster obol-stack-calm-otter is this stack's, and is used again" in lost.world.reporter.noted[0]


async def test_status_changes_nothing(lost: Person) -> None:
    """A look finds a lost stack, and writes nothing; where there was never a stack, it looks for nothing."""
    lost.world.backend = FakeBackend()
    (lost.world.home.config / ".stack-id").write_text("!")
    assert (await lost.stacks.status(()))[0].identity == CALM
    assert (lost.world.home.config / ".stack-id").read_text() == "!"

    (lost.world.home.config / ".stack-id").unlink()
    assert (await lost.stacks.status(()))[0].identity == CALM
    (lost.world.home.config / ".stack-backend").unlink()
    assert (await lost.stacks.status(()))[0].identity is None
    assert await lost.stacks.identify() == CALM


async def test_another_name(lost: Person) -> None:
    """A name that is written holds, unless one wants to be sure, as before a cluster is made."""
    assert await lost.stacks.identify() == NEWT
    assert await lost.stacks.identify(surely=True) == CALM


@pytest.mark.parametrize("text", ["brave-newt", ""])
async def test_other_backends(lost: Person, text: str) -> None:
    """Nothing of a stack on another backend is looked for among clusters of k3d."""
    lost.world.home.establish(replace(NEWT, backend="podman"))
    (lost.world.home.config / ".stack-id").write_text(text)

    if text:
        assert await lost.stacks.identify(surely=True) == replace(NEWT, backend="podman")
    else:
        with pytest.raises(NameLost):
            await lost.stacks.identify()


async def test_anew(lost: Person) -> None:
    """Who begins anew needs no former name, but keeps one that can still be found."""
    (lost.world.home.config / ".stack-id").write_text("")
    assert (await lost.stacks.init("k3d", anew=True)).stack_id == "calm-otter"

    lost.clusters = Clusters()
    (lost.world.home.config / ".stack-id").write_text("")
    with pytest.raises(NameLost):
        await lost.stacks.init("k3d", anew=False)
    assert (await lost.stacks.init("k3d", anew=True)).stack_id != "calm-otter"


@pytest.mark.parametrize(
    ("choice", "why", "hint"),
    [
        (Choice("none"), "neither k3d with Docker nor podman is installed", "install "),
        (Choice("none", (Program("docker", trouble="no daemon"),)), "docker does not answer: no daemon", "start"),
        (
            Choice("none", on_request=("k3s",)),
            "k3s is installed: `obol stack up --backend k3s` runs the stack on the machine itself, as root",
            "ask for it with `--backend k3s`",
        ),
    ],
)
def test_needed(choice: Choice, why: str, hint: str) -> None:
    """Where something has to run, what is missing is an error with the ways out."""
    problem = needed(choice)

    assert problem.why == why
    assert problem.hint.startswith(hint)
    assert "https://k3d.io" in problem.hint


def test_the_words_for_backends() -> None:
    """Types, and with them the schema of results, know the backends of the table, and no others."""
    assert set(BACKENDS) == set(get_args(BackendName))


async def test_a_fifth_backend_is_one_row(person: Person, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A row is all that the code besides a backend's own modules needs to know of it."""
    lima: BackendName = "lima"  # type: ignore[assignment]  # a backend that is not there yet
    row = Traits(lima, "", ("lima",), caches="gateway", can_hot_swap=True, files=("lima.yaml",), shown_by="`lima ls`")
    monkeypatch.setitem(BACKENDS, lima, row)
    person.world.backend, person.programs = FakeBackend(name=lima), ("lima",)

    assert choose(await person._runtimes()) == Choice(lima)
    person.environ["OBOL_BACKEND"] = "lima"
    identity = await person.stacks.init(None, anew=False)
    assert (identity.backend, person.world.home.identity()) == (lima, identity)
    assert "lima.yaml" in rendered()
    outcome = await person.stacks.up(await person.stacks.choose(UpOptions(use_caches=False)))
    assert (outcome.backend, outcome.url, outcome.ignored) == (lima, "http://localhost", ())
    found, _disk = await person.stacks.status(())
    assert (found.identity, found.state) == (identity, "running")
    assert (await person.stacks.purge(identity, force=False, caches=False)).purged.removed
    assert person.world.home.identity() is None
