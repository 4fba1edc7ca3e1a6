from dataclasses import dataclass, field

import pytest

from obol.backends.k3d.cli import Version
from obol.backends.k3d.hostimages import HostImages, HostPullFailed, NeededImage, needed_images
from obol.errors import ObolError
from obol.machine.docker.cli import Docker
from tests.fakes.k3d import FakeMachine
from tests.fakes.k3dstack import IMAGES, K3S, PROXY, TOOLS

X509 = (
    'Error response from daemon: Get "https://ghcr.io/v2/": tls: failed to verify certificate: x509: certificate '
    "signed by unknown authority"
)


@dataclass
class World:
    """A Docker that has no image yet."""

    machine: FakeMachine = field(default_factory=FakeMachine)
    environ: dict[str, str] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)

    async def obtain(self, version: str = "v5.9.0") -> None:
        await self.images.obtain(Version(version), {}, self.lines.append)

    @property
    def images(self) -> HostImages:
        return HostImages(Docker(self.machine), self.environ)


@pytest.mark.parametrize(
    ("version", "environ", "proxy", "tools", "sure"),
    [
        ("v5.9.0", {}, PROXY, TOOLS, True),
        ("v5-dev", {}, "ghcr.io/k3d-io/k3d-proxy:latest", "ghcr.io/k3d-io/k3d-tools:latest", False),
        ("v5.9.0", {"K3D_IMAGE_TOOLS": "r.example/tools:1"}, PROXY, "r.example/tools:1", True),
        ("v5.9.0", {"K3D_IMAGE_LOADBALANCER": "r.example/lb:1"}, "r.example/lb:1", TOOLS, True),
        ("v5-dev", {"K3D_HELPER_IMAGE_TAG": "5.9.0"}, PROXY, TOOLS, True),
    ],
)
def test_needed(version: str, environ: dict[str, str], proxy: str, tools: str, sure: bool) -> None:
    """The images are those of this version of k3d, or those that its own variables name."""
    assert needed_images(Version(version), environ) == (
        NeededImage(K3S, True),
        NeededImage(proxy, sure),
        NeededImage(tools, sure),
    )


async def test_there() -> None:
    """Nothing is said or pulled of what Docker has; how it would get to a registry is not even looked at."""
    world = World(FakeMachine(images=set(IMAGES)), {"HTTPS_PROXY": "http://proxy:3128"})

    await world.obtain()

    assert world.lines == []
    assert all(line.startswith("docker image inspect") for line in world.machine.lines)


async def test_refused() -> None:
    """What keeps Docker from pulling is said with the image and the way out, and nothing more is tried."""
    world = World(FakeMachine(images={K3S}))
    world.machine.script("docker", "pull", code=1, stderr=X509)

    with pytest.raises(HostPullFailed) as caught:
        await world.obtain()

    assert caught.value.what == f"Docker cannot pull {PROXY}, which k3d needs"
    assert caught.value.why.startswith("Docker's daemon does not trust the certificate")
    assert "sudo update-ca-certificates" in caught.value.hint
    assert world.lines == [f"pulling what k3d itself needs: {PROXY}"]


async def test_a_proxy_that_only_the_shell_has() -> None:
    """A proxy in the person's shell that dockerd does not have is named, and its password is not."""
    world = World(environ={"https_proxy": "http://me:s3cret@proxy.example:3128"})
    world.machine.script("docker", "pull", code=1, stderr='Get "https://registry-1.docker.io/v2/": i/o timeout')

    with pytest.raises(HostPullFailed) as caught:
        await world.obtain()

    told = f"{caught.value} {caught.value.hint}"
    assert "this shell uses the proxy http://…@proxy.example:3128, and Docker's daemon does not" in told
    assert "s3cret" not in told


async def test_docker_does_not_tell_of_itself() -> None:
    """Where the daemon does not say how it is set up, the reason is told all the same."""
    world = World()
    world.machine.script("docker", "pull", code=1, stderr=X509)
    world.machine.script("docker", "info", code=1, stderr="broken")

    with pytest.raises(HostPullFailed, match="does not trust"):
        await world.obtain()


@pytest.mark.parametrize("said", ["Error: manifest unknown: not found", "something that nobody has seen before"])
async def test_left_to_k3d(said: str) -> None:
    """What a registry does not have, and what we cannot read, is left to k3d."""
    world = World()
    world.machine.script("docker", "pull", code=1, stderr=said)

    await world.obtain()

    assert len(world.lines) == 3


async def test_a_k3d_that_was_built_by_hand() -> None:
    """The tag of its helpers is a guess, so that they cannot be had does not keep k3d from having others."""
    world = World(FakeMachine(images={K3S}))
    world.machine.script("docker", "pull", code=1, stderr=X509)

    await world.obtain("v5-dev")


async def test_what_k3d_says() -> None:
    """A pull in which k3d fails is explained as one of ours; anything else stays as it is."""
    world = World()
    said = f"Failed to pull image '{TOOLS}': docker failed to pull the image '{TOOLS}': {X509}"

    told = await world.images.explained(ObolError("k3d could not create the cluster", why=said))
    assert told.what == f"Docker cannot pull {TOOLS}, which k3d needs"

    for why in ("timed out", f"failed to pull image '{TOOLS}': it rains"):
        problem = ObolError("k3d could not create the cluster", why=why)
        assert await world.images.explained(problem) is problem
