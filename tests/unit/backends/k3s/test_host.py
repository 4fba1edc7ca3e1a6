from pathlib import Path

import pytest

from obol.backends.k3s.host import K3sHost, other_kubernetes, refuse_beside_another, refuse_foreign
from obol.errors import DependencyMissing, ObolError
from obol.machine.ports import Holder
from obol.machine.privileges import AsRoot
from tests.fakes.runner import FakeRunner


def host(runner: FakeRunner) -> K3sHost:
    """This machine, for root."""
    return K3sHost(runner, AsRoot(runner, 0))


async def test_bridge() -> None:
    """The bridge is made where there is none, and has its address in any case."""
    runner = FakeRunner()
    runner.script("ip", "link", "show", code=1)
    runner.script("ip", "link", "show")
    have = [
        "ip link show dev obol-k3s",
        "ip link add name obol-k3s type bridge",
        "ip address replace 203.0.113.254/31 dev obol-k3s",
        "ip link set dev obol-k3s up",
        "ip route replace 10.43.0.0/16 dev obol-k3s",
    ]

    await host(runner).bridge()
    await host(runner).bridge()

    assert runner.lines == [*have, have[0], *have[2:]]


async def test_remove_bridge() -> None:
    """It is removed where it is, and nothing is done where it is not."""
    runner = FakeRunner()
    runner.script("ip", "link", "show")
    runner.script("ip", "link", "show", code=1)

    await host(runner).remove_bridge()
    await host(runner).remove_bridge()

    assert runner.lines.count("ip link delete dev obol-k3s") == 1


async def test_no_bridge() -> None:
    """A kernel that makes no bridges is told of in its own words; so is a machine without `ip`."""
    runner = FakeRunner()
    runner.script("ip", "link", "show", code=1)
    runner.script("ip", "link", "add", code=2, stderr="RTNETLINK answers: Operation not supported\n")

    with pytest.raises(ObolError, match="cannot be made: RTNETLINK answers: Operation not supported"):
        await host(runner).bridge()
    with pytest.raises(DependencyMissing, match="needs `ip`"):
        await host(FakeRunner(missing={"ip"})).check()


async def test_remove() -> None:
    """What is mounted of a directory is taken away before it, and nothing of another file system is removed."""
    runner = FakeRunner()

    await host(runner).remove("/d/k3s", lambda _: ("/run/b", "/d/k3s/a"))
    await host(runner).remove("/d/k3s", lambda _: ())

    remove = "rm -rf --one-file-system -- /d/k3s"
    assert runner.lines == ["umount /run/b /d/k3s/a", remove, remove]


@pytest.mark.parametrize(
    ("taken", "said"),
    [
        ({6443, 10250}, "port 6443 is taken by k3s-server (pid 7)"),
        ({10250}, "port 10250 is taken"),
        ({80}, ""),
    ],
)
def test_other_kubernetes(taken: set[int], said: str) -> None:
    """Another one is known by the ports that it has, and named where that can be seen."""
    who = other_kubernetes(taken.__contains__, lambda port: Holder(7, "k3s-server") if port == 6443 else None)

    assert who == said


def test_refuse_beside_another() -> None:
    """Beside another one there is none of ours, and the way out is said."""
    refuse_beside_another("")
    with pytest.raises(ObolError, match="another Kubernetes runs on this machine: port 6443 is taken") as caught:
        refuse_beside_another("port 6443 is taken")

    assert "systemctl stop k3s" in caught.value.hint


def test_refuse_foreign(tmp_path: Path) -> None:
    """A directory that is not there or is empty may be k3s's; one with something in it, or that hides it, may not."""
    refuse_foreign(tmp_path / "k3s")
    refuse_foreign(tmp_path)
    (tmp_path / "k3s").write_text("")  # a file, into which nobody can look

    for data in (tmp_path, tmp_path / "k3s"):
        with pytest.raises(ObolError, match="not made by this stack"):
            refuse_foreign(data)
