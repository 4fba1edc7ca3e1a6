import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from obol.backends.ports import ClusterSpec, Deployed, Details, Step, Workload
from obol.caches.containers.engine import ContainerSeen
from obol.client.ports import Kind
from obol.errors import DependencyMissing, EngineUnresponsive, ObolError
from obol.machine.docker.errors import NoAddressPool
from obol.registry.control.api import Given, HeldImage
from obol.rendering.registries import Mirror
from obol.stack import lifecycle
from obol.stack.home import Home
from obol.stack.plan import Gain
from obol.workloads.sources import ManifestFile
from tests.fakes.clock import FakeClock
from tests.unit.stack.world import LITELLM, MIRRORS, WHO, FakeBackend, FakeCaches, World, failed


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A stack that is initialised."""
    home = Home(tmp_path / "config")
    home.establish(WHO)
    return World(home)


async def test_up_brings_up_caches_cluster_and_workloads(world: World) -> None:
    """Up goes through its steps in order, wires the mirrors, and tells what it knows."""
    raised = await world.stack.up(world.wanted(), world.reporter, FakeClock())

    assert world.backend.calls == ["check", "up", "apply"]
    assert world.backend.spec is not None
    assert world.backend.spec.name == "obol-stack-brave-otter"
    assert world.backend.spec.mirrors == MIRRORS
    assert world.reporter.seen[0] == "Starting the registry caches"
    assert world.reporter.seen[-1] == "Deploying the workloads"
    assert raised.created
    assert raised.url == "http://localhost"
    assert raised.notes == ("a note of the caches", "a note of the cluster")
    assert raised.gain is not None
    last = world.home.last_up()
    assert last is not None
    assert last.images == (str(LITELLM.reference),)


async def test_up_fetches_ahead_what_the_last_one_served(world: World) -> None:
    """Images that nodes pulled the last time, and no manifest of ours names, are fetched ahead the next time."""
    seen = HeldImage("quay.io", "me/app", ("7",), "sha256:0", True, 1, 0, 0, used_at=9e9, platforms=())
    world.engine.held = (seen, replace(seen, repository="me/old", used_at=5.0), replace(seen, tags=(), digest="x"))
    await world.stack.up(world.wanted(), world.reporter, FakeClock())

    last = world.home.last_up()
    assert last is not None
    assert last.images == (str(LITELLM.reference), "quay.io/me/app:7")

    await world.stack.up(world.wanted(), world.reporter, FakeClock())
    assert [str(reference) for reference in world.warmth.asked[-1]] == [str(LITELLM.reference), "quay.io/me/app:7"]


async def test_up_without_caches_touches_none(world: World) -> None:
    """Caches that are turned off are neither started nor wired nor filled."""
    raised = await world.stack.up(world.wanted(use_caches=False), world.reporter, FakeClock())

    assert world.caches.calls == []
    assert world.engine.calls == []
    assert world.backend.spec is not None
    assert world.backend.spec.mirrors == ()
    assert raised.gain is None


async def test_caches_that_fail_are_no_reason_to_fail(world: World) -> None:
    """Where the caches do not start, the stack comes up without, and says so."""
    world.caches.problem = EngineUnresponsive("the cache engine does not start", why="the disk is full")

    raised = await world.stack.up(world.wanted(), world.reporter, FakeClock())

    assert raised.mirrors == ()
    assert "directly" in raised.notes[0]
    assert "the disk is full" in raised.notes[0]


async def test_missing_programs_are_told_before_anything_is_done(world: World) -> None:
    """What the backend needs is looked at first."""
    world.backend.failing["check"] = [DependencyMissing("k3d is not installed")]

    with pytest.raises(DependencyMissing):
        await world.stack.up(world.wanted(), world.reporter, FakeClock())

    assert world.caches.calls == []


async def test_status_after_an_up_that_failed(world: World) -> None:
    """Status tells of an `up` that failed after one that did not, until one comes to its end."""
    await world.stack.up(world.wanted(), world.reporter, FakeClock())
    world.backend.failing["apply"] = [ObolError("litellm is not ready")]
    with pytest.raises(ObolError):
        await world.stack.up(world.wanted(), world.reporter, FakeClock())

    status = await world.stack.status(WHO, ())
    assert status.last is not None
    assert status.unfinished == FakeClock().wall()

    await world.stack.up(world.wanted(), world.reporter, FakeClock())
    assert (await world.stack.status(WHO, ())).unfinished is None


async def test_exhausted_pool_is_reclaimed_once(world: World) -> None:
    """Without an address pool left, leaked networks are freed and the start is tried once more."""
    world.backend.failing["up"] = [NoAddressPool("no address pool is left")]
    world.networks.leaked = 3

    raised = await world.stack.up(world.wanted(), world.reporter, FakeClock())

    assert world.backend.calls == ["check", "up", "up", "apply"]
    assert "3 networks freed" in raised.notes


async def test_exhausted_pool_with_nothing_to_free_is_told(world: World) -> None:
    """Where nothing was leaked, the error stands."""
    world.backend.failing["up"] = [NoAddressPool("no address pool is left")]

    with pytest.raises(NoAddressPool):
        await world.stack.up(world.wanted(), world.reporter, FakeClock())


@pytest.mark.parametrize("call", ["check", "up", "apply"])
@pytest.mark.parametrize("how", [KeyboardInterrupt, asyncio.CancelledError])
async def test_interrupted_up_is_completed_by_the_next(world: World, call: str, how: type[BaseException]) -> None:
    """Up that was interrupted at any step is completed by running it again."""
    world.backend.failing[call] = [how()]
    with pytest.raises(how):
        await world.stack.up(world.wanted(), world.reporter, FakeClock())

    raised = await world.stack.up(world.wanted(), world.reporter, FakeClock())

    assert raised.url == "http://localhost"


async def test_down_leaves_the_caches(world: World) -> None:
    """Down stops the cluster and nothing else."""
    world.backend.running = "running"

    assert await world.stack.down(WHO, world.reporter)

    assert world.backend.calls == ["state brave-otter", "down brave-otter"]
    assert world.caches.calls == []
    assert world.home.identity() == WHO


async def test_purge_removes_the_cluster_and_our_files(world: World) -> None:
    """Purge removes the cluster, frees networks and forgets who we are; caches stay unless they are named."""
    world.networks.leaked = 1

    world.backend.running = "stopped"

    purged = await world.stack.purge(WHO, world.reporter, images=True, caches=False)

    assert world.backend.calls == ["state brave-otter", "purge brave-otter True"]
    assert world.caches.calls == []
    assert (purged.removed, purged.notes) == (True, ("1 networks freed",))
    assert world.home.identity() is None


async def test_purge_goes_on_where_the_cluster_stays(world: World) -> None:
    """What stood in the way is told, all else is done, and the id stays for another attempt, which completes it."""
    world.backend.failing["purge brave-otter False"] = [ObolError("it is busy")]
    world.networks.leaked = 1

    with pytest.raises(ObolError, match="it is busy"):
        await world.stack.purge(WHO, world.reporter, images=False, caches=True)

    assert world.networks.leaked == 0
    assert world.caches.calls == ["remove"]
    assert world.home.identity() == WHO
    await world.stack.purge(WHO, world.reporter, images=False, caches=False)
    assert world.home.identity() is None


async def test_purge_with_caches_removes_them(world: World) -> None:
    """Caches go when they are named, also where there is no stack."""
    purged = await world.stack.purge(None, world.reporter, images=False, caches=True)

    assert world.backend.calls == []
    assert world.caches.calls == ["remove"]
    assert (purged.removed, purged.notes) == (False, ("caches removed",))


async def test_status_of_a_cluster_that_cannot_be_asked(world: World) -> None:
    """Where the backend fails, all else is told, with the reason for what is not known."""
    world.backend.failing["state brave-otter"] = [DependencyMissing("Docker is not installed")]

    shown = await world.stack.status(WHO, ())

    assert (shown.state, shown.trouble) == ("unknown", "Docker is not installed")


async def test_status_of_a_cluster_that_does_not_answer(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backend that hangs is given up in time, and so are containers; what was known by then is told."""
    monkeypatch.setattr(lifecycle, "LOOK_WITHIN", 0.05)
    world.backend.running = "running"
    hang = asyncio.Event()

    async def details(stack_id: str) -> Details:
        await hang.wait()
        return Details()

    async def containers() -> tuple[ContainerSeen, ...]:
        await hang.wait()
        return ()

    monkeypatch.setattr(world.backend, "details", details, raising=False)
    monkeypatch.setattr(world.caches, "containers", containers)

    shown = await world.stack.status(WHO, ())

    assert (shown.state, shown.containers) == ("running", ())
    assert "k3d did not answer within" in shown.trouble


async def test_status_in_detail(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the backend can tell of a cluster is told, unless there is none."""
    seen = Details(workloads=(Workload("litellm", 1, 1),))

    async def details(stack_id: str) -> Details:
        return seen

    monkeypatch.setattr(world.backend, "details", details, raising=False)

    assert (await world.stack.status(WHO, ())).details == Details()
    world.backend.running = "stopped"
    assert (await world.stack.status(WHO, ())).details == seen


async def test_status_changes_nothing(world: World) -> None:
    """Status tells who we are and what runs, and does nothing but ask."""
    shown = await world.stack.status(WHO, ())

    assert (shown.identity, shown.state) == (WHO, "absent")
    assert world.backend.calls == ["state brave-otter"]
    assert world.engine.calls == ["status"]


OWN = Given("127.0.0.1", 40000, "127.0.0.1", "docker.io", held=3_000_000, fetched=0)


async def test_gain_is_what_was_given_at_our_own_ports(world: World) -> None:
    """The nodes are told of ports of their own, and what was given elsewhere is not claimed."""
    world.engine.given = (OWN, replace(OWN, port=54100, held=7))

    raised = await world.stack.up(world.wanted(), world.reporter, FakeClock())

    assert world.backend.spec is not None
    assert world.backend.spec.own == (Mirror("docker.io", "http://127.0.0.1:40000"),)
    assert world.backend.spec.mirrors == MIRRORS
    assert raised.gain == Gain(3_000_000, 0, 2.0, {"docker.io": (3_000_000, 0)})
    last = world.home.last_up()
    assert last is not None
    assert last.gain == raised.gain
    assert world.engine.account is None


class AddressedBackend(FakeBackend):
    """A cluster whose nodes have addresses."""

    async def addresses(self, stack_id: str) -> frozenset[str]:
        assert stack_id == WHO.stack_id
        return frozenset({"172.18.0.2"})


@pytest.mark.parametrize(
    ("endpoint", "given", "claimed"),
    [
        ("http://172.18.0.1:54100", 9, 9),
        ("http://172.18.0.1:54100", 0, None),  # a node that was made has pulled something: it was not recognised
        ("http://host.docker.internal:54100", 9, None),
    ],
)
async def test_gain_of_nodes_with_addresses(world: World, endpoint: str, given: int, claimed: int | None) -> None:
    """Nodes in Docker are known by their addresses, and where they cannot be known, nothing is claimed."""
    world.backend = AddressedBackend()
    world.caches.private = False
    world.caches.mirrors = (Mirror("docker.io", endpoint),)
    node = replace(OWN, peer="172.18.0.2", held=given)
    world.engine.given = (node, replace(node, peer="172.18.0.3", held=777))

    raised = await world.stack.up(world.wanted(), world.reporter, FakeClock())

    assert (raised.gain.from_cache if raised.gain else None) == claimed


async def test_a_workload_that_does_not_get_ready(world: World) -> None:
    """It is an error, with what was worth knowing before, which was shown then; the cluster stays up.

    Nothing goes on being counted, and no port stays open.
    """
    world.backend.failing["apply"] = [ObolError("litellm is not ready")]

    with pytest.raises(ObolError) as caught:
        await world.stack.up(world.wanted(), world.reporter, FakeClock())

    assert world.reporter.warned == ["a note of the caches", "a note of the cluster"]
    assert caught.value.notes == ("a note of the caches", "a note of the cluster")
    assert world.backend.calls == ["check", "up", "apply"]
    assert world.reporter.seen[-1] == "Deploying the workloads: failed"
    assert world.engine.account is None
    assert world.engine.calls.count("close account") == 1


async def test_notes_of_what_fails_are_told(world: World) -> None:
    """What the part that failed had to say besides is told once, also where the caches know the reason better."""
    problem = ObolError("litellm is not ready", why="x" * 400)
    problem.notes = ("Port 4000 is taken.", "a note of the caches")
    world.backend.failing["apply"] = [problem]
    world.warmth.outcomes[LITELLM.reference] = failed(LITELLM, Kind.DENIED)

    with pytest.raises(ObolError, match="for a reason") as caught:
        await world.stack.up(world.wanted(), world.reporter, FakeClock())

    assert caught.value.notes == ("a note of the caches", "a note of the cluster", *problem.notes[:1])


async def test_notes_of_caches_that_fail_are_told(world: World) -> None:
    """Why containers were to serve is told where these cannot be had either."""
    world.caches.problem = ObolError("no image")
    world.caches.problem.notes = ("A firewall is in the way.",)

    await world.stack.up(world.wanted(), world.reporter, FakeClock())

    assert [text.partition(" ")[0] for text in world.reporter.warned[:2]] == ["A", "Without"]


async def test_nothing_is_fetched_ahead_where_nodes_do_not_reach_the_caches(world: World) -> None:
    """The line is not paid twice: images that nodes pull directly are not fetched into the caches besides."""
    world.caches.mirrors = ()

    raised = await world.stack.up(world.wanted(), world.reporter, FakeClock())

    assert world.warmth.asked == []
    assert raised.gain is None


class Mortuary(FakeBackend):
    """A cluster during whose start the cache engine dies."""

    engine: FakeCaches
    died = False

    async def apply(self, spec: ClusterSpec, manifests: Sequence[ManifestFile], step: Step) -> Deployed:
        """Deploy, and ask whether the caches died."""
        self.engine.running = None
        self.died = await spec.died()
        return await super().apply(spec, manifests, step)


async def test_an_engine_that_dies_is_no_reason_to_fail(world: World) -> None:
    """It is started again with the same ports, one line says so, and no figure is claimed."""
    world.backend = Mortuary()
    world.backend.engine = world.engine
    world.engine.given = (OWN,)

    raised = await world.stack.up(world.wanted(), world.reporter, FakeClock())

    assert world.backend.died
    assert world.engine.running is not None
    assert len([note for note in raised.notes if "started again" in note]) == 1
    assert world.engine.calls.count("open account") == 2
    assert raised.gain is None
