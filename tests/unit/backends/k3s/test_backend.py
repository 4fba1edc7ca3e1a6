import json
import stat
from pathlib import Path

import pytest
import yaml

from obol.backends.k3s.backend import K3sEnvironment
from obol.errors import DependencyMissing, ObolError
from obol.rendering.registries import registries_yaml
from obol.workloads.sources import ManifestFile, packaged
from tests.fakes.k3s import ELSEWHERE, ID, MIRRORS, PROGRAM, Stack, on_fresh_machine


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    """A machine that has never run k3s."""
    return on_fresh_machine(tmp_path)


async def test_first_up(stack: Stack) -> None:
    """k3s is told by our files alone, and started on a bridge of its own; the kubeconfig is ours."""
    up = await stack.backend.up(stack.spec(), stack.step)

    assert (up.created, stack.notes) == (True, [])
    started = f"{PROGRAM} server --config {stack.config}/k3s-config.yaml --write-kubeconfig "
    assert stack.machine.lines[:5] == [
        "ip link show dev obol-k3s",
        "ip link add name obol-k3s type bridge",
        "ip address replace 203.0.113.254/31 dev obol-k3s",
        "ip link set dev obol-k3s up",
        "ip route replace 10.43.0.0/16 dev obol-k3s",
    ]
    assert f"{started}{stack.config}/kubeconfig.yaml --write-kubeconfig-mode 0600" in stack.machine.lines[5]
    assert len(stack.machine.lines) == 6
    told = yaml.safe_load((stack.config / "k3s-config.yaml").read_text())
    assert told["data-dir"] == str(stack.machine.data)
    assert told["private-registry"] == str(stack.config / "registries.yaml")
    assert (stack.config / "registries.yaml").read_text() == registries_yaml(MIRRORS)
    for name in ("registries.yaml", "k3s-config.yaml", "kubeconfig.yaml"):
        assert stat.S_IMODE((stack.config / name).stat().st_mode) == 0o600
    assert stack.asked == ["https://203.0.113.254:6443"]
    assert await stack.backend.state(ID) == "running"


async def test_up_again(stack: Stack) -> None:
    """A server that runs and was told the same is kept: nothing is run, the process is the same."""
    await stack.up()
    servers = stack.machine.servers
    stack.machine.ran.clear()

    up = await stack.backend.up(stack.spec(), stack.step)

    assert (up.created, stack.notes, stack.machine.lines) == (False, [], [])
    assert stack.machine.servers == servers


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        (ELSEWHERE, MIRRORS, "its configuration has changed"),
        ((), MIRRORS, "uses them now"),
        (MIRRORS, (), "pulls images directly now"),
    ],
)
async def test_rewired(stack: Stack, before: tuple[()], now: tuple[()], said: str) -> None:
    """Other mirrors make k3s start again, and that is said; its pods run on."""
    await stack.up(before)

    (note,) = await stack.up(now)

    assert said in note
    assert stack.machine.servers == [2000]
    assert 1002 in stack.machine.running
    assert (stack.config / "registries.yaml").exists() == bool(now)
    assert await stack.up(now) == ()


async def test_without_caches(stack: Stack) -> None:
    """Without caches k3s is told of no mirrors, and there is no file with any."""
    (stack.folder / "registries.yaml").write_text("theirs")

    assert await stack.up(()) == ()

    assert "private-registry" not in (stack.config / "k3s-config.yaml").read_text()
    assert not (stack.config / "registries.yaml").exists()


async def test_the_machine_has_mirrors_already(stack: Stack) -> None:
    """A file that another k3s would read stays as it is, from the first up to the purge; its being unused is said."""
    theirs = stack.folder / "registries.yaml"
    theirs.write_text("theirs")
    theirs.chmod(0o640)
    before = theirs.stat()

    (note,) = await stack.up()
    await stack.backend.purge(ID, images=True)

    assert f"{theirs} is left alone" in note
    assert theirs.read_text() == "theirs"
    after = theirs.stat()
    assert (after.st_ino, after.st_mode, after.st_mtime_ns) == (before.st_ino, before.st_mode, before.st_mtime_ns)


async def test_by_sudo(stack: Stack) -> None:
    """For a person who is not root, all that takes root is done by sudo, and the kubeconfig is theirs."""
    stack.uid = 1000

    await stack.backend.check()
    await stack.up()
    await stack.backend.purge(ID, images=False)

    lines = stack.machine.lines
    assert f"sudo -n chown 1000:1000 {stack.config}/kubeconfig.yaml" in lines
    assert "sudo -n kill -TERM 1000" in lines
    assert all(line.startswith(("sudo -n ", "ip link show", f"{PROGRAM} --version")) for line in lines)


async def test_authorise(stack: Stack) -> None:
    """A person is asked before a change, and only where there is something to change."""
    stack.uid = 1000
    await stack.backend.authorise()
    assert stack.machine.lines == []

    await stack.up()
    await stack.backend.authorise()

    assert stack.machine.lines[-1] == "sudo -n true"


async def test_may_not(stack: Stack) -> None:
    """Without the right to it, check says so before anything is touched."""
    stack.uid, stack.interactive = 1000, False
    stack.machine.script("sudo", "-n", "true", code=1, stderr="sudo: a password is required")

    with pytest.raises(ObolError, match="OBOL_NONINTERACTIVE"):
        await stack.backend.check()


async def test_not_installed(stack: Stack) -> None:
    """A missing k3s is a missing dependency, with the way to get it."""
    stack.installed = False

    with pytest.raises(DependencyMissing, match="k3s is not installed") as caught:
        await stack.backend.check()

    assert "https://docs.k3s.io" in caught.value.hint


@pytest.mark.parametrize("version", ["v1.30.2+k3s1", "v1.9.0"])
async def test_too_old(stack: Stack, version: str) -> None:
    """A k3s that could not do what it is told is told of; one that was built by hand is trusted."""
    stack.machine.version = version
    with pytest.raises(DependencyMissing, match=r"is too old: 1\.31 or later"):
        await stack.backend.check()

    stack.machine.version = "dev"
    await stack.backend.check()


async def test_not_on_linux(stack: Stack) -> None:
    """Elsewhere k3s needs Docker."""
    stack.platform = "darwin"

    with pytest.raises(ObolError, match="Linux only") as caught:
        await stack.backend.check()

    assert "--backend k3d" in caught.value.hint


async def test_apply(stack: Stack) -> None:
    """The same workloads come up; Prometheus finds the caches on the bridge, and the gateway is at its Service."""
    await stack.up()

    deployed = await stack.backend.apply(stack.spec(), packaged(), stack.step)

    assert (deployed.url, stack.notes) == ("http://10.43.7.8:4000", [])
    assert stack.asked[-2:] == ["203.0.113.254", "10.43.7.8:4000/health/readiness"]
    maps = [one for (kind, _), one in stack.machine.applied.items() if kind == "ConfigMap"]
    targets = [one["data"]["caches.json"] for one in maps if "caches.json" in one["data"]]
    assert json.loads(targets[0]) == [{"targets": ["203.0.113.254:54100"]}]
    ran = stack.machine.ran[-1]
    assert ran.env is not None
    assert ran.env["KUBECONFIG"] == f"{stack.config}/kubeconfig.yaml"


NAMESPACE = ManifestFile("x.yaml", '{"kind": "Namespace", "metadata": {"name": "x"}}')
GATEWAY = ManifestFile(
    "llm.yaml",
    '{"kind": "Deployment", "metadata": {"name": "litellm", "namespace": "llm"}, "spec": {"replicas": 1}}',
)


async def test_kubectl_of_k3s(stack: Stack) -> None:
    """Where this machine has no kubectl, k3s has one, and is told of the same kubeconfig."""
    await stack.up(())
    stack.machine.missing.add("kubectl")

    deployed = await stack.backend.apply(stack.spec(()), [NAMESPACE], stack.step)

    assert deployed.url == ""
    assert stack.machine.ran[-1].argv[:2] == (PROGRAM, "kubectl")
    assert (stack.machine.ran[-1].env or {})["KUBECONFIG"] == f"{stack.config}/kubeconfig.yaml"


async def test_no_service(stack: Stack) -> None:
    """A gateway without a Service has no address."""
    await stack.up()
    stack.machine.script("kubectl", "get", "service", code=1, stderr="not found")

    assert (await stack.backend.apply(stack.spec(), [GATEWAY], stack.step)).url == ""


@pytest.mark.parametrize(("answer", "said"), [(None, "does not answer there"), (503, "says 503 there")])
async def test_gateway_does_not_answer(stack: Stack, answer: int | None, said: str) -> None:
    """A gateway that is ready, and cannot be reached, is a note."""
    await stack.up()
    stack.answers, stack.cache = answer, None

    deployed = await stack.backend.apply(stack.spec(), [GATEWAY], stack.step)

    assert deployed.url == "http://10.43.7.8:4000"
    assert stack.notes == [f"LiteLLM is ready, but it {said} yet: a firewall may be in the way."]


async def test_down(stack: Stack) -> None:
    """Down ends the server, then its pods, and takes the bridge away; data and files stay for the next up."""
    await stack.up()
    stack.machine.ran.clear()

    await stack.backend.down(ID)

    assert stack.machine.lines == [
        "kill -TERM 1000",
        "kill -TERM 1002",
        "kill -KILL 1001",
        "ip link show dev obol-k3s",
        "ip link delete dev obol-k3s",
    ]
    assert await stack.backend.state(ID) == "stopped"
    assert stack.machine.data.exists()
    assert not (stack.config / ".k3s.pid").exists()
    up = await stack.backend.up(stack.spec(), stack.step)
    assert (up.created, stack.notes) == (False, [])


async def test_killall(stack: Stack) -> None:
    """What the installer left cleans up, of our data; not beside another k3s, and not where nothing was started."""
    stack.killall = True
    await stack.up()
    await stack.backend.down(ID)
    clean = f"env K3S_DATA_DIR={stack.machine.data} /opt/killall"
    assert stack.machine.lines.count(clean) == 1

    await stack.backend.down(ID)
    await stack.up()
    stack.machine.taken = {10250}
    await stack.backend.down(ID)

    assert stack.machine.lines.count(clean) == 1


async def test_nothing_there(stack: Stack) -> None:
    """Down and purge where there never was one do nothing, and are no error."""
    await stack.backend.down(ID)
    await stack.backend.purge(ID, images=True)

    assert stack.machine.lines == []
    assert await stack.backend.state(ID) == "absent"


async def test_purge(stack: Stack) -> None:
    """Purge takes away all that was made, mounts of it too."""
    await stack.up()
    stack.mounts = ("/run/k3s/rootfs",)

    await stack.backend.purge(ID, images=False)

    assert stack.machine.lines[-2:] == ["umount /run/k3s/rootfs", f"rm -rf --one-file-system -- {stack.machine.data}"]
    assert list(stack.config.iterdir()) == []
    assert await stack.backend.state(ID) == "absent"


async def test_on_this_machine() -> None:
    """As it is built for commands, it looks at this machine."""
    around = K3sEnvironment({})

    assert around.theirs == Path("/etc/rancher/k3s/registries.yaml")
