"""What the k3s backend makes of a machine on which something is wrong, or somebody else was there before."""

from pathlib import Path

import pytest

from obol.backends.ports import ClusterSpec
from obol.errors import ObolError
from obol.machine.processes import Process
from tests.fakes.clock import FakeClock
from tests.fakes.k3s import ID, MIRRORS, Stack, on_fresh_machine


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    """A machine that has never run k3s."""
    return on_fresh_machine(tmp_path)


async def test_kubeconfig_is_lost(stack: Stack) -> None:
    """k3s writes it when it starts, so it is started again."""
    await stack.up()
    (stack.config / "kubeconfig.yaml").unlink()

    await stack.up()

    assert stack.machine.servers == [2000]


async def test_stale_files(stack: Stack) -> None:
    """A number of before and an old kubeconfig are taken for nothing: here of before the machine was restarted."""
    await stack.up()
    stack.machine.running.clear()
    stack.machine.running[1000] = Process(1000, 1, "5", "dbus-daemon")
    assert await stack.backend.state(ID) == "stopped"
    (stack.config / "kubeconfig.yaml").write_text("old")

    await stack.up()

    assert 1000 in stack.machine.running
    assert stack.machine.servers == [2000]
    assert "old" not in (stack.config / "kubeconfig.yaml").read_text()


async def test_beside_another(stack: Stack) -> None:
    """Where another k3s runs, nothing is touched, and who it is is said."""
    stack.machine.taken = {6443}

    with pytest.raises(ObolError, match="another Kubernetes runs on this machine: port 6443 is taken by k3s-server"):
        await stack.up()

    assert stack.machine.lines == []
    assert not stack.config.exists()


async def test_data_of_another(stack: Stack) -> None:
    """A directory with the data of another k3s is not used, and not removed by a purge either."""
    (stack.machine.data / "server").mkdir(parents=True)

    with pytest.raises(ObolError, match="not made by this stack"):
        await stack.up()
    await stack.backend.purge(ID, images=True)

    assert (stack.machine.data / "server").exists()
    assert stack.machine.lines == []


async def test_data_elsewhere(stack: Stack) -> None:
    """Another data directory than that of the k3s that there is would lose what is in the first."""
    await stack.up()
    spec = ClusterSpec(ID, stack.config, stack.folder / "other", MIRRORS)

    with pytest.raises(ObolError, match=f"has its data in {stack.machine.data}"):
        await stack.backend.up(spec, stack.step)


async def test_k3s_ends(stack: Stack) -> None:
    """A server that ends while one waits for it is told of at once, with its last words."""
    stack.machine.ends = True

    with pytest.raises(ObolError, match="k3s has ended: one; two") as caught:
        await stack.up()

    assert f"{stack.config}/k3s.log" in caught.value.hint
    assert stack.clock.sleeps == []


async def test_no_kubeconfig(stack: Stack) -> None:
    """After two minutes without a kubeconfig that is said; k3s is left running."""
    stack.machine.mute = True

    with pytest.raises(ObolError, match="no kubeconfig after 120 seconds: one; two"):
        await stack.up()

    assert set(stack.clock.sleeps) == {0.5}
    assert stack.machine.servers


async def test_half_a_kubeconfig(stack: Stack) -> None:
    """A kubeconfig that is being written is not taken for one."""
    stack.machine.mute = True

    class Writing(FakeClock):
        async def sleep(self, seconds: float) -> None:
            await super().sleep(seconds)
            text = "clusters:" if len(self.sleeps) == 1 else (stack.folder / "whole").read_text()
            (stack.config / "kubeconfig.yaml").write_text(text)

    other = on_fresh_machine(stack.folder / "other")
    await other.up()
    (stack.folder / "whole").write_text((other.config / "kubeconfig.yaml").read_text())
    stack.clock = Writing()

    await stack.up()

    assert len(stack.clock.sleeps) == 2


async def test_no_api(stack: Stack) -> None:
    """An API that does not come is told of, with the log to look at."""
    stack.status = None

    with pytest.raises(ObolError, match="not up after 120 seconds") as caught:
        await stack.up()

    assert caught.value.hint == f"see {stack.config}/k3s.log; then run `obol stack up` again"


async def test_purge_fails(stack: Stack) -> None:
    """Data that cannot be removed are told of, and stay known, so that purging again is possible."""
    await stack.up()
    stack.machine.script("rm", code=1, stderr="rm: cannot remove 'x': Device or resource busy")

    with pytest.raises(ObolError, match="cannot be removed: rm: cannot remove 'x'"):
        await stack.backend.purge(ID, images=False)

    assert (stack.config / "k3s-config.yaml").exists()


async def test_purge_of_a_server_without_its_file(stack: Stack) -> None:
    """A server whose configuration is lost is ended all the same; nobody knows where its data are, so they stay."""
    await stack.up()
    (stack.config / "k3s-config.yaml").unlink()

    await stack.backend.purge(ID, images=False)

    assert stack.machine.servers == []
    assert stack.machine.data.exists()


async def test_directory_that_is_a_file(stack: Stack) -> None:
    """What cannot be written is named."""
    stack.config.write_text("")

    with pytest.raises(ObolError, match="cannot be written"):
        await stack.up()
