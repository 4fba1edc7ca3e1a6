import os
import socket
from pathlib import Path

import pytest

from obol.errors import EngineNotRunning, EngineUnresponsive, PortTaken
from obol.registry.control.api import Listener
from obol.registry.control.client import ControlClient
from tests.fakes.control import FakeEngine

LISTENER = Listener("ghcr.io", "172.18.0.1", 54101)
AS_JSON = b'{"registry":"ghcr.io","address":"172.18.0.1","port":54101}'


def test_status(store: Path) -> None:
    """A running engine tells how it does."""
    with FakeEngine(store, pid=99):
        assert ControlClient(store).status().pid == 99


def test_orders(store: Path) -> None:
    """Orders go as the engine expects them, and the answer to a listener is the real port."""
    with FakeEngine(store) as engine:
        engine.answers |= {"POST /listeners": (200, AS_JSON)}
        control = ControlClient(store)

        opened = control.listen(Listener("ghcr.io", "172.18.0.1", 0))
        control.stop()

    assert opened == LISTENER
    assert engine.asked == [
        ("POST /listeners", AS_JSON.replace(b"54101", b"0")),
        ("POST /stop", b""),
    ]


def test_accounts(store: Path) -> None:
    """An account is opened for this process, with ports for its clients, and tells what they were given."""
    opened = b'{"name":"a1","whole":true,"listeners":[' + AS_JSON + b'],"given":[]}'
    given = b'{"address":"127.0.0.1","port":54101,"peer":"127.0.0.1","registry":"ghcr.io","held":5,"fetched":7}'
    closed = opened.replace(b"[]", b"[" + given + b"]")
    with FakeEngine(store) as engine:
        engine.answers |= {"POST /accounts": (200, opened), "DELETE /accounts/a1": (200, closed)}
        control = ControlClient(store)

        account = control.open_account([LISTENER])
        told = control.close_account(account.name)

    assert (account.listeners, account.given) == ((LISTENER,), ())
    assert [(one.held, one.fetched) for one in told.given] == [(5, 7)]
    assert engine.asked[0] == ("POST /accounts", b'{"owner":%d,"listeners":[%s]}' % (os.getpid(), AS_JSON))


def test_images(store: Path) -> None:
    """A running engine lists its images."""
    body = (
        b'{"images":[{"registry":"docker.io","repository":"a","tags":["1"],"digest":"sha256:2","complete":true,"size":5,'
        b'"missing_blobs":0,"missing_bytes":0,"used_at":null,"platforms":[{"platform":"linux/amd64",'
        b'"digest":"sha256:1","state":"absent","size":3,"missing_blobs":0,"missing_bytes":0}],"of a later version":1}]}'
    )
    with FakeEngine(store, answers={"GET /images": (200, body)}):
        (image,) = ControlClient(store).images().images

    assert (image.repository, image.tags, image.used_at, image.platforms[0].state) == ("a", ("1",), None, "absent")


def test_progress(store: Path) -> None:
    """A running engine is asked how far images are, for some platforms."""
    body = (
        b'{"pid":7,"images":[{"reference":"a:1","total":null,"present":0,"kept":0,"own_total":0,"own_present":0,'
        b'"transfers":1}],"transfers":[{"registry":"docker.io","repository":"a","digest":"sha256:1","size":null,'
        b'"frontier":1,"arrived":2,"held":0,"seconds":1.5}]}'
    )
    with FakeEngine(store, answers={"POST /progress": (200, body)}) as engine:
        status = ControlClient(store).progress(["a:1"], ["linux/amd64"])

    assert engine.asked == [("POST /progress", b'{"images":["a:1"],"platforms":["linux/amd64"]}')]
    assert (status.pid, status.images[0].total, status.transfers[0].arrived) == (7, None, 2)


@pytest.mark.parametrize("where", ["absent", "file", "deaf", "x" * 120])
def test_nobody_listens(store: Path, where: str) -> None:
    """No store, no directory, a socket that a dead engine left, a path no engine can use: it is not running."""
    store.mkdir()
    (store / "file").touch()
    (store / "deaf").mkdir()
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(str(store / "deaf/control.sock"))

    with pytest.raises(EngineNotRunning):
        ControlClient(store / where).status()


def test_not_ours(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The socket of another user's engine is told as such."""

    def refuse(_self: socket.socket, _address: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("obol.registry.control.client.socket.socket.connect", refuse)

    with pytest.raises(EngineUnresponsive, match="belongs to another user"):
        ControlClient(store).status()


def test_silence(store: Path) -> None:
    """An engine that accepts and says nothing is unresponsive, and is not waited for without end."""
    store.mkdir()
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(store / "control.sock"))
        silent.listen()

        with pytest.raises(EngineUnresponsive, match="timed out"):
            ControlClient(store, timeout=0.05).status()


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"version": 1}', b""])
def test_gibberish(store: Path, body: bytes) -> None:
    """An answer of another shape is not understood, and the hint is a restart."""
    with FakeEngine(store, answers={"GET /status": (200, body)}), pytest.raises(EngineUnresponsive) as caught:
        ControlClient(store).status()

    assert "obol cache start" in caught.value.hint


@pytest.mark.parametrize(
    ("answer", "error", "text"),
    [
        ((409, b'{"error": "held by nginx"}'), PortTaken, "cannot listen there: held by nginx"),
        ((400, b'{"error": "no"}'), EngineUnresponsive, "refused POST /listeners: 400 no"),
        ((500, b"oops"), EngineUnresponsive, "refused POST /listeners: 500 oops"),
    ],
)
def test_refusal(store: Path, answer: tuple[int, bytes], error: type[Exception], text: str) -> None:
    """What the engine refuses is an error with its reason."""
    with FakeEngine(store, answers={"POST /listeners": answer}), pytest.raises(error, match=text):
        ControlClient(store).listen(LISTENER)
