import pytest
from msgspec.structs import replace

from obol.backends.ports import BackendName, Program, Runtimes
from obol.registry.control.api import AccountStatus, Given
from obol.stack.plan import Choice, ColdUp, Gain, Own, choose, cold_up, gain, held_against, time_saved

ANSWERS = {name: Program(name, version="1") for name in ("docker", "k3d", "podman")}
DEAF = Program("docker", trouble="no daemon")


def runtimes(*programs: Program) -> Runtimes:
    """These programs, the others missing."""
    known = {program.name: program for program in programs}
    return Runtimes(tuple(known.get(name, Program(name)) for name in ANSWERS))


@pytest.mark.parametrize(
    ("programs", "backend"),
    [
        (("docker", "k3d", "podman"), "k3d"),
        (("docker", "k3d"), "k3d"),
        (("docker", "podman"), "podman"),
        (("k3d", "podman"), "podman"),
        (("docker",), "none"),
        (("k3d",), "none"),
        ((), "none"),
    ],
)
def test_choose(programs: tuple[str, ...], backend: BackendName) -> None:
    """k3d needs Docker as well; podman is next."""
    assert choose(runtimes(*(ANSWERS[name] for name in programs))) == Choice(backend)


@pytest.mark.parametrize(
    ("is_root", "podman", "backend"), [(True, False, "k3s"), (False, False, "none"), (True, True, "podman")]
)
def test_choose_k3s_last(is_root: bool, podman: bool, backend: BackendName) -> None:
    """k3s, which changes the machine itself, is chosen only where there is nothing else, and only for root."""
    programs = (ANSWERS["podman"] if podman else Program("podman"), Program("k3s", version="1.35.5+k3s1"))
    found = Runtimes((Program("docker"), Program("k3d"), *programs), is_root=is_root)

    chosen = choose(found)

    assert chosen.backend == backend
    assert chosen.on_request == (("k3s",) if backend == "none" else ())


def test_choose_names_what_does_not_answer() -> None:
    """A daemon that does not answer is told about where it is what stands in the way, and only there."""
    assert choose(runtimes(DEAF, ANSWERS["k3d"])) == Choice("none", (DEAF,))
    assert choose(runtimes(DEAF, ANSWERS["podman"])) == Choice("podman", ())


NODE = Given("172.18.0.1", 54101, "172.18.0.2", "ghcr.io", held=2000, fetched=10)
FOREIGN = replace(NODE, peer="172.18.0.9", held=7777, fetched=999)


def account(*given: Given, whole: bool = True) -> AccountStatus:
    """What an engine has counted."""
    return AccountStatus("a", whole, (), given)


@pytest.mark.parametrize(
    "own",
    [
        Own(peers=frozenset({"172.18.0.2"})),
        Own(ports=frozenset({("172.18.0.1", 54101)})),
        Own(addresses=frozenset({"172.18.0.1"})),
    ],
)
def test_gain_is_what_our_own_nodes_were_given(own: Own) -> None:
    """What others were given meanwhile is not claimed, by whichever mark nodes are known."""
    foreign = replace(FOREIGN, address="127.0.0.1", port=1)

    assert gain(account(NODE, foreign), own, {"ghcr.io": 100.0}) == Gain(2000, 10, 20.0, {"ghcr.io": (2000, 10)})


def test_gain_of_a_first_pull_is_nothing() -> None:
    """Bytes that came from the upstream have saved no time."""
    own = Own(peers=frozenset({NODE.peer}))

    assert gain(account(replace(NODE, held=0, fetched=70)), own, {"ghcr.io": 1.0}) == Gain(
        0, 70, None, {"ghcr.io": (0, 70)}
    )
    assert gain(account(FOREIGN), own, {"ghcr.io": 1.0}) == Gain(0, 0, None)


def test_time_is_that_of_the_slowest_registry() -> None:
    """Registries are asked at the same time, and one that was not measured is left out."""
    hub, quay = replace(NODE, registry="docker.io", held=500), replace(NODE, registry="quay.io", held=9000)
    own = Own(peers=frozenset({NODE.peer}))

    measured = gain(account(NODE, hub, quay), own, {"ghcr.io": 100.0, "docker.io": 10.0})
    assert measured is not None
    assert (measured.from_cache, measured.from_upstream, measured.saved) == (11500, 30, 50.0)
    assert measured.registries == {"ghcr.io": (2000, 10), "docker.io": (500, 10), "quay.io": (9000, 10)}
    assert gain(account(NODE), own, {}) == Gain(2000, 10, None, {"ghcr.io": (2000, 10)})


def test_gain_is_not_guessed() -> None:
    """An account that does not know everything, or nodes that cannot be told from others, give no figure."""
    assert gain(account(NODE, whole=False), Own(peers=frozenset({NODE.peer})), {}) is None
    assert gain(account(NODE), Own(), {}) is None


def test_time_saved() -> None:
    """Images of one registry share its line; those of several come at the same time."""
    held = {"ghcr.io": 4000, "quay.io": 3000}

    assert time_saved(held, {"ghcr.io": 100.0, "quay.io": 1000.0}) == 40.0
    assert time_saved(held, {"quay.io": 1000.0}) == 3.0


def test_time_saved_is_not_guessed() -> None:
    """Nothing is said where nothing was measured, and where nothing was held."""
    assert time_saved({"ghcr.io": 3000}, {}) is None
    assert time_saved({"ghcr.io": 0}, {"ghcr.io": 100.0}) is None
    assert time_saved({}, {"ghcr.io": 100.0}) is None


@pytest.mark.parametrize(
    ("fetched", "held", "before", "latest"),
    [
        (700, 0, None, ColdUp(9.0, 700)),
        (630, 70, None, ColdUp(9.0, 700)),
        (620, 80, None, None),  # too much was held
        (0, 700, ColdUp(71.0, 700), ColdUp(71.0, 700)),
        (0, 0, None, None),  # nothing was pulled
        (700, 0, ColdUp(71.0, 690), ColdUp(9.0, 700)),
        (640, 0, ColdUp(71.0, 700), ColdUp(9.0, 640)),  # about as much
        (3, 0, ColdUp(71.0, 700), ColdUp(71.0, 700)),  # one small image is not the stack
    ],
)
def test_cold_up(fetched: int, held: int, before: ColdUp | None, latest: ColdUp | None) -> None:
    """An up is cold if it fetched nearly all bytes; one of far fewer bytes does not replace the record."""
    assert cold_up(Gain(held, fetched), 9.0, before) == latest


@pytest.mark.parametrize(
    ("seconds", "cold", "saved"),
    [
        (75.0, ColdUp(71.0, 700), 0.0),  # the warm one took longer than the cold one
        (50.0, ColdUp(71.0, 700), 21.0),
        (5.0, ColdUp(71.0, 700), 25.0),  # the estimate is less
        (30.0, ColdUp(80.0, 1400), 10.0),  # half of the bytes
        (30.0, ColdUp(71.0, 70), 25.0),  # more bytes are not said to have taken longer
        (75.0, None, 25.0),
    ],
)
def test_no_more_is_claimed_than_the_cold_up_took(seconds: float, cold: ColdUp | None, saved: float) -> None:
    """The estimate is held against the cold up of the same machine, where there was one, and only ever lowered."""
    assert held_against(Gain(700, 0, 25.0), seconds, cold) == Gain(700, 0, saved)


def test_what_was_not_estimated_is_not_claimed() -> None:
    """A cold up alone, without a measured throughput, makes no claim."""
    assert held_against(Gain(700, 0), 1.0, ColdUp(71.0, 700)) == Gain(700, 0)
