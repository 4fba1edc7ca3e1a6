"""`obol stack up` without a runtime, from look-alikes of the three registries that hold the stack's images."""

import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

import pytest

from obol.client.platforms import this_machine
from obol.workloads.images import stack_images
from tests.e2e.person import Person
from tests.fakes.content import FakeImage, make_image
from tests.fakes.ghcr import FakeGhcr
from tests.fakes.hub import FakeHub
from tests.fakes.quay import FakeQuay
from tests.fakes.server import ReceivedRequest

IMAGES = tuple(image.reference for image in stack_images())
LITELLM = IMAGES[0]
PLATFORMS = tuple(sorted({"linux/s390x", str(this_machine())}))


@dataclass
class Registries:
    """docker.io, ghcr.io and quay.io, as far as the stack knows them."""

    hub: FakeHub = field(default_factory=FakeHub)
    ghcr: FakeGhcr = field(default_factory=FakeGhcr)
    quay: FakeQuay = field(default_factory=FakeQuay)
    images: dict[str, FakeImage] = field(default_factory=dict)
    _running: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def __aenter__(self) -> Self:
        for server in (self.hub, self.ghcr, self.quay):
            await self._running.enter_async_context(server)
        for number, reference in enumerate(IMAGES):
            sizes = (1_500_000, 400_000, 1000) if reference == LITELLM else (30_000, 2000)
            image = make_image(*sizes, seed=number, platforms=PLATFORMS)
            self.images[str(reference)] = image
            self._named(reference.registry).add(reference.repository, str(reference.tag), image)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._running.aclose()

    def _named(self, registry: str) -> FakeHub | FakeGhcr | FakeQuay:
        match registry:
            case "docker.io":
                return self.hub
            case "ghcr.io":
                return self.ghcr
            case _:
                return self.quay

    @property
    def environ(self) -> dict[str, str]:
        """The settings that put them in the place of the real ones."""
        urls = {"docker.io": self.hub.url, "ghcr.io": self.ghcr.url, "quay.io": self.quay.url}
        return {
            "OBOL_CACHE_UPSTREAM": ",".join(f"{name}={url}" for name, url in urls.items()),
            "OBOL_CACHE_PORT": ",".join(f"{name}=0" for name in urls),
            "OBOL_CACHE_ALLOW_HOST": "127.0.0.1",
        }

    @property
    def log(self) -> list[ReceivedRequest]:
        return [*self.hub.log, *self.ghcr.log, *self.quay.log]

    @property
    def blobs_fetched(self) -> int:
        """Requests for bytes of blobs, wherever they were redirected to."""
        return sum(
            seen.method == "GET" and ("/blobs/" in seen.path or seen.path.endswith("/data")) for seen in self.log
        )

    async def down(self) -> None:
        for server in (self.hub, self.ghcr, self.quay):
            await server.down()


@pytest.fixture
async def registries() -> AsyncIterator[Registries]:
    """The three, running."""
    async with Registries() as found:
        yield found


@pytest.fixture
async def person(registries: Registries) -> AsyncIterator[Person]:
    """Somebody whose caches have them behind; what they started is stopped in the end."""
    # pytest's own directories have names that are too long for a socket in a home directory below them.
    with TemporaryDirectory(prefix="obol-") as root:
        home = Path(root) / "home"
        home.mkdir()
        found = Person(home, registries.environ)
        yield found
        stopped = await found.obol("cache", "stop")
        assert stopped.code == 0, stopped.err
        assert await found.gone()


async def test_up_twice_and_offline(person: Person, registries: Registries) -> None:
    """The first `up` fetches every image, the second fetches nothing, and one without any network is as good."""
    first = await person.obol("stack", "up", "-o", "json")

    assert first.code == 0, first.err
    assert first.told["complete"] is True
    assert {image["state"] for image in first.told["images"]} == {"cached"}
    assert [image["reference"] for image in first.told["images"]] == [str(image) for image in IMAGES]
    assert first.told["images"][0]["bytes_from_upstream"] > 1_900_000
    fetched = registries.blobs_fetched
    assert fetched >= sum(len(image.layers) for image in registries.images.values()) / len(PLATFORMS)

    second = await person.obol("stack", "up", "-o", "json")

    assert second.code == 0, second.err
    assert registries.blobs_fetched == fetched
    assert {image["bytes_from_upstream"] for image in second.told["images"]} == {0}
    assert second.told["gain"]["saved_seconds"] is not None

    await registries.down()
    assert (await person.obol("cache", "stop")).code == 0
    offline = await person.obol("stack", "up")

    assert offline.code == 0, offline.err
    assert f"All {len(IMAGES)} images are in the caches" in offline.out
    assert "Nothing here can run the stack" in offline.err


async def test_up_with_an_image_missing(person: Person, registries: Registries) -> None:
    """An image that its registry does not have is named with the reason; the others are cached; `status` knows."""
    registries.ghcr.remove_tag(LITELLM.repository, str(LITELLM.tag))

    ran = await person.obol("stack", "up", "--backend", "none")

    assert ran.code == 1
    assert f"error: {LITELLM} cannot be pulled" in ran.err
    assert "absent" in next(line for line in ran.out.splitlines() if "litellm" in line)
    assert f"{len(IMAGES) - 1} of {len(IMAGES)} images are in the caches" in ran.out
    assert "as asked" in ran.err

    status = await person.obol("stack", "status", "-o", "json")

    held = {image["reference"]: image["held"] for image in status.told["images"]}
    assert held.pop(str(LITELLM)) == "missing"
    assert set(held.values()) == {"complete"}
    assert (status.told["images_complete"], status.told["cluster"]) == (False, "absent")


async def test_up_with_more_manifests(person: Person, registries: Registries) -> None:
    """Manifests of one's own are warmed with the stack; a mistake in one is told before anything is started."""
    image = make_image(5000, seed=99, platforms=PLATFORMS)
    registries.quay.add("me/app", "7", image)
    mine = person.home / "mine.yaml"
    mine.write_text('spec: {containers: [{name: app, image: "quay.io/me/app:7"}]}')
    bad = person.home / "bad.yaml"
    bad.write_text("a: 1\nb: [")

    refused = await person.obol("stack", "up", "-f", str(mine), "-f", str(bad))
    assert refused.code == 2
    assert f"the manifest {bad} cannot be used" in refused.err
    assert person.tree() == ["bad.yaml", "mine.yaml"]

    ran = await person.obol("stack", "up", "--backend", "none", "-f", str(mine), "-o", "json")
    assert ran.code == 0, ran.err
    assert "quay.io/me/app:7" in [image["reference"] for image in ran.told["images"]]


async def test_up_beside_a_runtime_that_does_not_answer(person: Person) -> None:
    """A runtime that is installed and does not run is named, and nothing is done with it but to ask."""
    asked = person.home / "asked"
    person.install("docker", f'echo "docker $*" >> {asked}; echo Cannot connect to the Docker daemon >&2; exit 1')
    person.install("k3d", f'echo "k3d $*" >> {asked}; echo k3d version v5.9.0')

    ran = await person.obol("stack", "up")

    assert ran.code == 0, ran.err
    assert "docker is installed, but does not answer" in ran.err
    # docker ps: whether a cluster of this directory goes on, whose name was lost.
    assert sorted(line.split()[1] for line in asked.read_text().splitlines()) == ["ps", "version", "version"]


@pytest.mark.parametrize("word", ["true", "1"])
async def test_up_without_caches(person: Person, registries: Registries, word: str) -> None:
    """Who turned the caches off gets no file, no directory, no process and no question to a runtime."""
    person.environ["OBOL_DISABLE_REGISTRY_CACHE"] = word
    person.environ["OBOL_DEVELOPMENT"] = "true"
    person.install("docker", f"touch {person.home}/asked")
    (person.home / ".config/obol").mkdir(parents=True)
    (person.home / ".config/obol/obol.toml").write_text("[a mistake")
    before = person.tree()

    ran = await person.obol("stack", "up")

    assert ran.code == 0, ran.err
    assert "turned off" in ran.out
    assert person.tree() == before
    assert person.processes() == []
    assert registries.log == []
    (person.home / ".config/obol/obol.toml").unlink()


async def test_uninstall(person: Person) -> None:
    """The commands of the README's section leave nothing in the home directory, no process and no socket."""
    temporary = person.home.parent / "temporary"
    temporary.mkdir()
    person.environ["TMPDIR"] = str(temporary)
    assert (await person.obol("stack", "up", "--backend", "none")).code == 0
    assert (await person.obol("cache", "warm", str(LITELLM))).code == 0
    (person.home / ".config/obol").mkdir(parents=True, exist_ok=True)
    (person.home / ".config/obol/obol.toml").write_text("")

    for line in uninstalling():
        command = line.replace("obol ", f"{sys.executable} -m obol ", 1).replace("rm ", "/bin/rm ", 1)
        ran = await person.run("/bin/sh", "-c", command)
        assert ran.code in {0, 4}, f"{line}: {ran.err}"  # 4: there was nothing to undo

    assert await person.gone()
    assert [path for path in person.tree() if "obol" in path] == []
    assert [path for path in person.home.rglob("*") if not path.is_dir()] == []
    assert list(temporary.iterdir()) == []


def uninstalling() -> list[str]:
    """The commands of the section, without what is said of them."""
    section = (
        (Path(__file__).parents[2] / "README.md")
        .read_text(encoding="utf-8")
        .partition("## Uninstall")[2]
        .partition("\n## ")[0]
    )
    block = section.partition("```sh\n")[2].partition("```")[0]
    return [line.partition("#")[0].strip() for line in block.splitlines()]


async def test_neither_on_nor_off(person: Person) -> None:
    """A word that is neither yes nor no is a problem with a setting, and nothing is started."""
    person.environ["OBOL_DISABLE_REGISTRY_CACHE"] = "perhaps"

    ran = await person.obol("stack", "up")

    assert ran.code == 2
    assert "OBOL_DISABLE_REGISTRY_CACHE=perhaps" in ran.err
    assert person.tree() == []
