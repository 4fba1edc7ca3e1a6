import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from obol.caches.builtin.plan import BuiltinPlan
from obol.caches.builtin.process import BuiltinEngine, Host, Started
from obol.caches.reachable import Substitute, recall, remember
from obol.errors import EngineNotRunning, EngineUnresponsive, PortTaken, StoreUnusable
from obol.machine.commands import User
from obol.machine.ports import Holder
from obol.registry.control.api import Listener
from tests.fakes.clock import FakeClock
from tests.fakes.control import FakeEngine, status_body
from tests.fakes.ports import FakePorts

HUB = Listener("docker.io", "127.0.0.1", 54100)


@dataclass
class FakeChild:
    """A process that ended with `code`, or runs on."""

    pid: int = 4711
    code: int | None = None

    def poll(self) -> int | None:
        return self.code


@dataclass
class FakeHost(Host):
    """Starts nothing, unless told how, and sends no signal."""

    child: FakeChild = field(default_factory=FakeChild)
    on_detach: Callable[[int], object] = lambda _output: None
    on_kill: Callable[[], None] = lambda: None
    started: list[tuple[Sequence[str], Mapping[str, str], User | None]] = field(default_factory=list)
    killed: list[tuple[int, int]] = field(default_factory=list)

    def detach(
        self, argv: Sequence[str], *, env: Mapping[str, str], output: int, account: User | None = None
    ) -> FakeChild:
        self.started.append((argv, env, account))
        self.on_detach(output)
        return self.child

    def kill(self, pid: int, number: int) -> None:
        self.killed.append((pid, number))
        self.on_kill()


@pytest.fixture
def engines() -> Iterator[ExitStack]:
    """Holds engines that start during a test, until its end."""
    with ExitStack() as stack:
        yield stack


def ports_of_a_machine(taken: frozenset[int]) -> FakePorts:
    """Where nginx has some ports of loopback."""
    return FakePorts({(HUB.address, port) for port in taken}, holders={port: Holder(7, "nginx") for port in taken})


def builtin(
    store: Path,
    host: FakeHost,
    *listeners: Listener,
    taken: frozenset[int] = frozenset(),
    clock: FakeClock | None = None,
    offline: bool = False,
) -> BuiltinEngine:
    """The engine under test, on a fake machine."""
    plan = BuiltinPlan(store, listeners or (HUB,), ("--tag-ttl=5",), {"PATH": "/bin", "TOKEN": "x"}, offline=offline)
    return BuiltinEngine(plan, host=host, probe=ports_of_a_machine(taken), clock=clock or FakeClock())


def test_not_running(store: Path) -> None:
    """Without a store nothing runs, and there is nothing to stop."""
    engine = builtin(store, FakeHost())

    assert engine.status() is None
    assert engine.stop() is False
    assert not store.exists()


def test_start(store: Path, engines: ExitStack) -> None:
    """A start makes the store and the log, runs `cache serve` with the plan's options, and waits for its answer."""
    host = FakeHost()

    def appear(number: int) -> None:
        if number == 3:
            engines.enter_context(FakeEngine(store))

    started = builtin(store, host, clock=FakeClock(on_pause=appear)).start()

    ((argv, env, account),) = host.started
    assert isinstance(started, Started)
    assert (started.already, started.substitutes, started.status.pid) == (False, (), 4711)
    options = f"--store={store} --log-file={store}/engine.log --tag-ttl=5 --port=docker.io=54100"
    assert " ".join(argv[3:]) == f"cache serve {options}"
    assert (env, account) == ({"PATH": "/bin"}, None)
    assert store.stat().st_mode & 0o777 == 0o700
    assert (store / "engine.log").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("losses", [1, 3])
def test_port_is_taken_meanwhile(store: Path, engines: ExitStack, losses: int) -> None:
    """Where somebody takes a port between our look and the engine's, another is chosen, though not for ever."""
    ports, host = FakePorts(), FakeHost(FakeChild(code=1))

    def lose(_output: int) -> None:
        if (tries := len(host.started)) > losses:
            engines.enter_context(FakeEngine(store))
        ports.taken |= {(HUB.address, 54100), (HUB.address, 39998 + tries)}

    host.on_detach = lose
    engine = BuiltinEngine(BuiltinPlan(store, (HUB,), (), {}), host=host, probe=ports, clock=FakeClock())

    if losses == 1:
        assert engine.start().substitutes[0].port == 40000
    else:
        with pytest.raises(PortTaken, match="again and again"):
            engine.start()


def test_port_is_taken(store: Path, engines: ExitStack) -> None:
    """A taken port is replaced, remembered, and shown as long as the engine serves it."""
    body = status_body(store, ports={"docker.io": 40000})
    fake = FakeEngine(store, answers={"GET /status": (200, body)})
    host = FakeHost(on_detach=lambda _output: engines.enter_context(fake))
    engine = builtin(store, host, taken=frozenset({54100}))

    started = engine.start()

    substitute = Substitute("docker.io", 54100, 40000, "nginx (pid 7)")
    assert started.substitutes == (substitute,)
    assert host.started[0][0][-1] == "--port=docker.io=40000"
    running = engine.status()
    assert running is not None
    assert running.substitutes == (substitute,)
    assert engine.start().differs == ()
    fake.answers["GET /status"] = (200, status_body(store))
    assert (found := engine.status()) is not None
    assert found.substitutes == ()


def test_others_stay_remembered(store: Path, engines: ExitStack) -> None:
    """A start without some registry does not forget where that one was served."""
    other = Substitute("x.io", 0, 40007, "")
    store.mkdir()
    remember(store, [other])
    host = FakeHost(on_detach=lambda _output: engines.enter_context(FakeEngine(store)))

    builtin(store, host).start()

    assert recall(store) == {"x.io": other}


def test_start_twice(store: Path) -> None:
    """Where the engine runs, a start says so and starts nothing."""
    host = FakeHost()
    with FakeEngine(store):
        started = builtin(store, host).start()

    assert (started.already, started.differs, host.started) == (True, (), [])


def test_start_with_other_wishes(store: Path) -> None:
    """What runs already may not be what was asked for, an older engine that is busy for one, and then that is told."""
    wishes = (Listener("docker.io", "127.0.0.1", 1), Listener("x.io", "127.0.0.1", 0))
    body = status_body(store).replace(b'"version": "0.1.0"', b'"version": "0.0.9", "fills": 1')
    with FakeEngine(store, answers={"GET /status": (200, body)}):
        started = builtin(store, FakeHost(), *wishes, offline=True).start()

    assert started.differs == (
        "docker.io is not served on 127.0.0.1 port 1",
        "x.io is not served on 127.0.0.1",
        "it is of version 0.0.9, not 0.1.0",
        "it is online",
    )


def test_start_over_an_older_one_that_is_idle(store: Path) -> None:
    """An engine of an older version that fetches nothing is ended, and ours started."""
    older = status_body(store).replace(b"0.1.0", b"0.0.9")
    with FakeEngine(store, answers={"GET /status": (200, older)}) as fake:

        def replace_it(_output: int) -> None:
            fake.answers["GET /status"] = (200, status_body(store))
            fake.lock()

        started = builtin(store, FakeHost(on_detach=replace_it)).start()

    assert [asked for asked, _ in fake.asked] == ["GET /status", "POST /stop", "GET /status"]
    assert (started.already, started.differs, started.status.version) == (False, (), "0.1.0")


def test_start_where_everybody_is_served(store: Path) -> None:
    """An engine that listens on all addresses serves loopback, but that it does so is told."""
    body = status_body(store).replace(b"127.0.0.1", b"0.0.0.0")
    with FakeEngine(store, answers={"GET /status": (200, body)}):
        started = builtin(store, FakeHost()).start()

    assert started.differs == ("it listens on 0.0.0.0 too",)


def test_start_while_another_is_starting(store: Path) -> None:
    """Where a process owns the store but does not answer yet, its answer is awaited."""
    with FakeEngine(store, listens=False) as fake:
        clock = FakeClock(on_pause=lambda number: fake.listen() if number == 2 else None)

        started = builtin(store, FakeHost(), clock=clock).start()

    assert started.already


def test_start_while_another_is_ending(store: Path, engines: ExitStack) -> None:
    """Where the process that owned the store goes away, another is started."""
    ending = engines.enter_context(FakeEngine(store, listens=False))
    host = FakeHost(on_detach=lambda _output: engines.enter_context(FakeEngine(store)))
    clock = FakeClock(on_pause=lambda _number: ending.release())

    started = builtin(store, host, clock=clock).start()

    assert (started.already, len(host.started)) == (False, 1)


def test_two_start_at_once(store: Path, engines: ExitStack) -> None:
    """Who comes second finds the store taken, ends, and the first one's engine is the answer."""
    fake = FakeEngine(store, pid=99)
    host = FakeHost(FakeChild(code=1), lambda _output: engines.enter_context(fake))

    started = builtin(store, host).start()

    assert (started.already, started.status.pid) == (True, 99)


def test_start_fails(store: Path) -> None:
    """Where the process ends at once, the last lines of its log are the reason; older ones are not."""
    store.mkdir()
    (store / "engine.log").write_text("of yesterday\n")
    host = FakeHost(FakeChild(code=1), lambda output: os.write(output, b"error: no\n  why: because\n"))

    with pytest.raises(EngineUnresponsive) as caught:
        builtin(store, host).start()

    assert caught.value.why == "no\n  why: because"


def test_start_takes_too_long(store: Path) -> None:
    """Where the process lives but never answers, the wait ends, and the process is left to go on."""
    host, clock = FakeHost(), FakeClock()

    with pytest.raises(EngineUnresponsive, match="does not answer after 10 seconds"):
        builtin(store, host, clock=clock).start()

    assert 10 <= sum(clock.pauses) < 11
    assert host.killed == []


def test_cannot_run(store: Path) -> None:
    """An interpreter that cannot be run is an error with its reason."""

    def refuse(_output: int) -> None:
        raise PermissionError(13, "Permission denied")

    with pytest.raises(EngineUnresponsive, match="Permission denied"):
        builtin(store, FakeHost(on_detach=refuse)).start()


@pytest.mark.parametrize("spoilt", ["store", "store/engine.log/x", "store/ports.json/x"])
def test_unusable_store(store: Path, spoilt: str) -> None:
    """A store that cannot be used is told as such, with a way out."""
    path = store.parent / spoilt
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()

    with pytest.raises(StoreUnusable, match="cannot be used"):
        builtin(store, FakeHost(FakeChild(code=1))).start()


def test_lock_is_not_ours(store: Path) -> None:
    """A lock that leads elsewhere is not followed."""
    store.mkdir()
    (store / "lock").symlink_to("/etc/passwd")

    with pytest.raises(StoreUnusable):
        builtin(store, FakeHost()).status()


@pytest.mark.parametrize(("uid", "account"), [(4242, User(4242, 4242)), (0, None)])
def test_under_sudo(
    store: Path, engines: ExitStack, monkeypatch: pytest.MonkeyPatch, uid: int, account: User | None
) -> None:
    """Under sudo a store in a directory of the person's is theirs, and so is the process; others are root's."""
    given: list[tuple[str, int, int]] = []
    monkeypatch.setattr(os, "chown", lambda path, u, g: given.append((str(path), u, g)))
    monkeypatch.setattr(os, "fchown", lambda _descriptor, u, g: given.append(("log", u, g)))
    plan = BuiltinPlan(store / "a", (HUB,), account=User(4242, 4242))
    monkeypatch.setattr("obol.caches.builtin.process._owner", lambda _path: uid)
    host = FakeHost(on_detach=lambda _output: engines.enter_context(FakeEngine(store / "a")))

    BuiltinEngine(plan, host=host, probe=FakePorts(), clock=FakeClock()).start()

    assert host.started[0][2] == account
    expected = [(str(store), 4242, 4242), (str(store / "a"), 4242, 4242), ("log", 4242, 4242)]
    assert given == (expected if account else [])


def test_starting_engine_has_no_status(store: Path) -> None:
    """An engine that owns its store and does not answer is neither running nor absent."""
    with FakeEngine(store, listens=False), pytest.raises(EngineUnresponsive, match="process 4711 owns the store"):
        builtin(store, FakeHost()).status()


def test_stop(store: Path) -> None:
    """The engine is told to stop, and has stopped when its store is free."""
    with FakeEngine(store, ends_when_told=False) as fake:
        clock = FakeClock(on_pause=lambda number: fake.release() if number == 4 else None)

        assert builtin(store, FakeHost(), clock=clock).stop() is True

    assert fake.asked == [("POST /stop", b"")]
    assert len(clock.pauses) == 4


def test_stop_by_signal(store: Path) -> None:
    """An engine that does not end, or does not listen at all, gets a signal."""
    for listens in (True, False):
        with FakeEngine(store, listens=listens, ends_when_told=False) as fake:
            host = FakeHost(on_kill=fake.release)

            assert builtin(store, host).stop() is True
            assert host.killed == [(4711, signal.SIGTERM)]


def test_stop_by_force(store: Path) -> None:
    """An engine that ignores the signal too is left to the person, with the command that ends it."""
    clock = FakeClock()
    with (
        FakeEngine(store, ends_when_told=False, answers={"POST /stop": (500, b"")}),
        pytest.raises(EngineUnresponsive) as caught,
    ):
        builtin(store, FakeHost(), clock=clock).stop()

    assert "kill -9 4711" in caught.value.hint
    assert sum(clock.pauses) < 20


def test_listen(store: Path) -> None:
    """Addresses can be added to a running engine."""
    added = b'{"registry":"docker.io","address":"172.18.0.1","port":54100}'
    with FakeEngine(store, answers={"POST /listeners": (200, added)}) as fake:
        builtin(store, FakeHost()).listen(Listener("docker.io", "172.18.0.1", 54100))

    assert [request for request, _body in fake.asked] == ["POST /listeners"]


def test_images(store: Path) -> None:
    """A running engine lists its images; one that does not run cannot."""
    with FakeEngine(store, answers={"GET /images": (200, b'{"images":[]}')}):
        assert builtin(store, FakeHost()).images().images == ()

    with pytest.raises(EngineNotRunning):
        builtin(store, FakeHost()).images()


def test_system_host(tmp_path: Path) -> None:
    """On the real machine a process starts and takes signals."""
    host = Host()
    with (tmp_path / "log").open("wb") as output:
        child = host.detach(["/bin/sleep", "60"], env={}, output=output.fileno())

    host.kill(child.pid, signal.SIGKILL)

    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert child.poll() == -signal.SIGKILL
