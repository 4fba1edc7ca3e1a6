import stat
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from obol.backends.podman.backend import PodmanBackend, PodmanEnvironment
from obol.backends.ports import ClusterSpec, Details, Workload, no_caches
from obol.errors import DependencyMissing, ObolError, PortTaken
from obol.machine.podman import Podman
from obol.machine.scratch import Scratch
from obol.workloads.sources import ManifestFile, packaged
from tests.fakes.podman import FakePod, refused
from tests.unit.backends.podmanworld import LITELLM, LITELLM_POD, MIRRORS, PROMETHEUS, PROMETHEUS_POD, STACK, World


async def cannot_listen(address: str) -> str | None:
    """Somebody else has the port."""
    raise PortTaken(address)


async def test_up(world: World) -> None:
    """Up writes the mirrors, makes the network, fetches images, keeps the secret, plays the pods, and tells the URL."""
    deployed = await world.up()

    folder = world.config / "podman"
    name = f"obol-stack-{STACK}"
    label = f"obol.cluster-id={STACK}"
    pods = f"pod ps --filter label={label} --format json"
    containers = f"ps --all --filter label={label} --format json"
    secret = f"{name}.llm.litellm-keys"
    assert world.podman.lines == [
        "info --format json",
        f"network inspect {name}",
        f"network create --label {label} {name}",
        f"network inspect {name}",
        pods,
        f"network inspect {name}",
        pods,
        containers,
        pods,
        f"image exists {LITELLM}",
        f"image exists {PROMETHEUS}",
        f"pull --quiet {LITELLM}",
        f"pull --quiet {PROMETHEUS}",
        f"secret rm {secret}",
        f"secret create {secret} -",
        "volume ls --format {{.Name}}",
        f"kube play --network {name} {folder}/litellm.yaml",
        "volume ls --format {{.Name}}",
        f"kube play --network {name} {folder}/prometheus.yaml",
    ]
    assert deployed.url == "http://127.0.0.1:4000"
    assert world.notes == ["Prometheus answers on http://127.0.0.1:9090."]
    assert world.listening == ["10.89.1.1"]
    assert await world.backend.state(STACK) == "running"


async def test_environment(world: World) -> None:
    """The caller's own settings are kept; images are fetched by our registries.conf, which is the owner's alone."""
    await world.up()

    conf = world.config / "registries.conf"
    for ran in world.podman.ran:
        expected = {"CONTAINERS_CONF": "/mine.conf"}
        assert ran.env == (expected | {"CONTAINERS_REGISTRIES_CONF": str(conf)} if ran.argv[1] == "pull" else expected)
    assert 'location = "127.0.0.1:54101"' in conf.read_text()
    assert stat.S_IMODE(conf.stat().st_mode) == 0o600


async def test_secrets_go_through_standard_input(world: World) -> None:
    """The key is in no command line, environment or file but its own; what pods mount any user of a container may read.

    Their directory is for its owner alone, as the file with the key is.
    """
    await world.up()

    mounted = world.config / "podman/litellm/config-config-yaml"
    assert "master_key: os.environ/LITELLM_MASTER_KEY" in mounted.read_text()
    assert stat.S_IMODE(mounted.stat().st_mode) == 0o644
    assert stat.S_IMODE((world.config / "podman").stat().st_mode) == 0o700
    key_file = world.config / "litellm-master-key"
    key = key_file.read_text().strip()
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    assert not [ran for ran in world.podman.ran if key in f"{ran.argv}{ran.env}"]
    others = [path for path in world.config.rglob("*") if path.is_file() and path != key_file]
    assert others
    assert not [path for path in others if key in path.read_text()]


async def test_up_again_changes_nothing(world: World) -> None:
    """With unchanged manifests and running pods, up looks and does nothing."""
    await world.up()
    before = dict(world.podman.pods)
    world.podman.ran.clear()

    deployed = await world.up()

    assert world.podman.pods == before
    asking = ("info", "network inspect", "pod ps", "ps ")
    assert not [line for line in world.podman.lines if not line.startswith(asking)]
    assert deployed.url == "http://127.0.0.1:4000"


async def test_only_what_changed_is_replaced(world: World) -> None:
    """A changed manifest replaces its own pod, and clears the volume of its ConfigMap; the other pod stays."""
    await world.up()
    before = dict(world.podman.pods)
    world.podman.ran.clear()

    await world.up(*(ManifestFile(one.name, one.text.replace("interval: 15s", "interval: 5s")) for one in packaged()))

    assert world.podman.pods[LITELLM_POD] is before[LITELLM_POD]
    assert world.podman.pods[PROMETHEUS_POD] is not before[PROMETHEUS_POD]
    assert f"volume rm obol-stack-{STACK}.monitoring.prometheus-config" in world.podman.lines
    assert not [line for line in world.podman.lines if line.startswith("pull")]


@pytest.mark.parametrize(("rootless", "remote"), [(True, False), (False, True)])
async def test_figures_of_the_caches(world: World, rootless: bool, remote: bool) -> None:
    """Where pods do not reach this machine, Prometheus is not told of the caches, and the person is told why."""
    world.podman.rootless, world.podman.remote = rootless, remote

    await world.up()

    assert world.listening == []
    assert any("Prometheus cannot ask the caches" in note for note in world.notes)
    assert any("virtual machine" in note for note in world.notes) == remote
    assert (world.config / "registries.conf").exists() != remote


async def test_without_mirrors(world: World) -> None:
    """Without caches podman goes by the caller's own settings, also where an earlier up had caches."""
    await world.up()
    await world.backend.purge(STACK, images=True)
    (world.config / "registries.conf").write_text("of an earlier up")
    world.mirrors = ()
    world.podman.ran.clear()
    world.listening.clear()

    await world.up()

    assert {tuple(ran.env or ()) for ran in world.podman.ran} == {("CONTAINERS_CONF",)}
    assert (world.config / "registries.conf").read_text() == "of an earlier up"
    assert world.listening == []


async def test_image_that_cannot_be_pulled(world: World) -> None:
    """Podman's own words say why, without its warnings; the other images are fetched, and no pod is touched."""
    world.podman.available.remove(LITELLM)

    with pytest.raises(ObolError, match=f"{LITELLM} cannot be pulled") as caught:
        await world.up()

    assert caught.value.why == f"initializing source docker://{LITELLM}: manifest unknown"
    assert "obol stack up" in caught.value.hint
    assert world.podman.images == {PROMETHEUS}
    assert world.podman.pods == {}


async def test_left_out(world: World) -> None:
    """What podman has nothing for is left out and named; without our gateway the URL is the first one, or none."""
    assert (await world.up(ManifestFile("mine.yaml", ""))).url == ""
    text = """
{kind: CronJob, metadata: {name: nightly}}
---
{kind: Pod, metadata: {name: quiet}, spec: {containers: [{name: c, image: quay.io/me/quiet:1}]}}
---
kind: Pod
metadata: {name: app}
spec: {containers: [{name: c, image: quay.io/me/app:1, ports: [{containerPort: 8080}]}]}
"""
    world.podman.available |= {"quay.io/me/quiet:1", "quay.io/me/app:1"}

    deployed = await world.up(ManifestFile("mine.yaml", text))

    assert deployed.url == "http://127.0.0.1:8080"
    assert world.notes == ["podman has nothing for these, so obol leaves them out: CronJob nightly."]


async def test_check(world: World) -> None:
    """Podman is missing, too old, or does not answer: each is told with its remedy."""
    world.podman.version = "4.2.9-rhel"
    with pytest.raises(DependencyMissing, match=r"podman 4\.2\.9 is too old") as caught:
        await world.backend.check()
    assert "podman.io" in caught.value.hint

    world.podman.version = "5.0"
    await world.backend.check()

    world.podman.refusing["info"] = refused("cannot connect to Podman socket")
    with pytest.raises(ObolError, match="podman does not answer: cannot connect") as told:
        await world.backend.check()
    assert "podman machine start" in told.value.hint


@pytest.mark.parametrize("listen", [no_caches, cannot_listen])
async def test_no_cache_answers(world: World, listen: Callable[[str], Awaitable[str | None]]) -> None:
    """Where the cache cannot answer on the network's address, Prometheus has no target, and that is all."""
    spec = ClusterSpec(STACK, world.config, world.config, MIRRORS)
    looks = PodmanEnvironment(world.clock, world.ports, world._probe, listen)
    backend = PodmanBackend(Podman(world.podman, {}), world.config, looks)
    await backend.up(spec, world.step)

    await backend.apply(spec, packaged(), world.step)

    assert "10.89.1.1" not in (world.config / "podman/prometheus.yaml").read_text()


@pytest.mark.parametrize("purges", [True, False])
async def test_what_a_killed_pull_left(world: World, tmp_path: Path, purges: bool) -> None:
    """Layers that podman was unpacking when all was killed go with the next up, and with purge, wherever they are."""
    room = tmp_path / "room"
    (room / "obol-pull-x" / "storage1").mkdir(parents=True)
    home = world.config / "podman" / "pulls"
    home.mkdir(parents=True)
    (home / "obol-pull-x.place").write_text(str(room / "obol-pull-x"))
    world.scratch = Scratch(home)

    await (world.backend.purge(STACK, images=True) if purges else world.up())

    assert sorted(room.glob("*")) == []
    assert sorted(home.glob("*")) == []


async def test_down_and_up(world: World) -> None:
    """Down stops the pods and removes nothing; up starts them again. Where there are none, down is fine."""
    await world.backend.down(STACK)
    assert await world.backend.state(STACK) == "absent"
    await world.up()
    before = dict(world.podman.pods)

    await world.backend.down(STACK)
    assert await world.backend.state(STACK) == "stopped"
    await world.up()

    assert world.podman.pods == before
    assert await world.backend.state(STACK) == "running"


async def test_pod_that_does_not_start_any_more_is_replaced(world: World) -> None:
    """A stopped pod that podman cannot start is made anew."""
    await world.up()
    await world.backend.down(STACK)
    before = world.podman.pods[LITELLM_POD]
    world.podman.refusing[f"pod start id-{LITELLM_POD}"] = refused("network 078e not found")

    await world.up()

    assert world.podman.pods[LITELLM_POD] is not before
    assert world.podman.pods[LITELLM_POD].status == "Running"


@pytest.mark.parametrize("images", [True, False])
async def test_purge(world: World, images: bool) -> None:
    """Purge removes what is this stack's, and with images those that nobody uses; what is not ours stays."""
    mine = FakePod("mine", {"obol.cluster-id": "brave-otter-too"}, {"mine": PROMETHEUS}, [])
    world.podman.pods["mine"] = mine
    world.podman.volumes |= {f"obol-stack-{STACK}-too.data", "mine"}
    world.podman.secrets["mine"] = "x"
    await world.up()

    await world.backend.purge(STACK, images=images)

    assert world.podman.pods == {"mine": mine}
    assert world.podman.secrets == {"mine": "x"}
    assert world.podman.volumes == {f"obol-stack-{STACK}-too.data", "mine"}
    assert set(world.podman.networks) == {"podman"}
    assert world.podman.images == ({PROMETHEUS} if images else {PROMETHEUS, LITELLM})
    assert [path.name for path in world.config.iterdir()] == ["litellm-master-key"]


async def test_purge_of_nothing(world: World) -> None:
    """Purge of a stack that never came up is fine, and so is a rendered file that somebody has spoilt."""
    (world.config / "podman").mkdir()
    (world.config / "podman/x.yaml").write_text("a: [")

    await world.backend.purge(STACK, images=True)

    assert list(world.config.iterdir()) == []


async def test_taken_port(world: World) -> None:
    """A port that somebody has is named with its holder, another one is used, and kept while the pod runs."""
    world.ports.taken.add(4000)

    deployed = await world.up()

    assert deployed.url == "http://127.0.0.1:41234"
    assert any("nginx (pid 7): litellm answers on 41234 instead." in note for note in world.notes)
    world.ports.taken = {41234, 9090}  # by the pods themselves
    assert (await world.up()).url == "http://127.0.0.1:41234"
    assert world.ports.spare == 41235


async def test_notes_of_an_up_that_fails(world: World) -> None:
    """A port that is not the usual one is told where the pod does not get ready, too."""
    world.ports.taken.add(4000)
    world.answers[41234] = 503

    with pytest.raises(ObolError, match="is not ready"):
        await world.up()

    assert any("nginx (pid 7): litellm answers on 41234 instead." in note for note in world.notes)


async def test_port_that_is_free_again(world: World) -> None:
    """A stopped pod goes back to the port that people know once that is free, else it keeps the one it had."""
    world.ports.taken.add(4000)
    await world.up()
    await world.backend.down(STACK)
    assert (await world.up()).url == "http://127.0.0.1:41234"
    await world.backend.down(STACK)

    world.ports.taken.clear()

    assert (await world.up()).url == "http://127.0.0.1:4000"


async def test_details(world: World) -> None:
    """Each pod is a workload, with how many of its containers run and where it answers."""
    assert await world.backend.details(STACK) == Details()
    await world.up()

    assert (await world.backend.details(STACK)).workloads[0] == Workload("litellm", 1, 1, url="http://127.0.0.1:4000")
    await world.backend.down(STACK)
    assert (await world.backend.details(STACK)).workloads[0] == Workload("litellm", 0, 1)


async def test_port_taken_meanwhile(world: World) -> None:
    """A port that was free when it was chosen, and is taken when podman binds it, is chosen anew."""
    world.podman.bound = {4000}

    deployed = await world.up()

    assert deployed.url == "http://127.0.0.1:41234"
    ports = [port["host_port"] for pod in world.podman.pods.values() for port in pod.ports]
    assert sorted(ports) == [9090, 41234]
    assert all(pod.status == "Running" for pod in world.podman.pods.values())
