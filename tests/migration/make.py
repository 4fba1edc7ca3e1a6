"""Make the fixture anew: `python -m tests.migration.make CHECKOUT`, a checkout of commit 993f789 with its `.venv`.

The command line of that checkout runs in a home directory of its own: it brings up a stack without a cluster, serves
clients of three registries, sets up container clients, and is stopped in the middle of a blob.
"""

import asyncio
import json
import sys
import tarfile
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp

from obol.oci.references import ImageReference
from tests.e2e.person import Person
from tests.fakes.behaviours import Exchange, stall_mid_body
from tests.fakes.content import FakeImage
from tests.fakes.hostile import HostileRegistry
from tests.fakes.registry import FakeRegistry, Repository
from tests.migration.written import (
    APP,
    ARCHIVE,
    CLIENTS,
    CONFIG,
    DAEMON,
    HOME,
    LEFT,
    LEFT_DATA,
    STORE,
    move,
    stack_images,
)

LAST_UP = """
import sys; from pathlib import Path; from obol.stack.state import Home, LastUp
Home(Path(sys.argv[1])).record(LastUp(1.5, 2.5, ("docker.io/library/app:1",), 3, 4, 5.5, {"docker.io": "127.0.0.1:1"}))
"""
"""No `up` on a cluster is needed to have its record."""
REFERENCES = "from obol.stack.images import stack_images; print(*(image.reference for image in stack_images()))"
PODMAN = (
    """echo '{"version": {"Version": "4.9.3"}, "host": {"security": {"rootless": true}, "serviceIsRemote": false}}'"""
)
"""All that `init` asks of it."""
DROPPED = ("engine.log", "control.sock", "lock")


class OldCommands:
    """The command line of the checkout, for one person."""

    def __init__(self, checkout: Path, home: Path) -> None:
        self.store = home / STORE
        self.person = Person(home, python=str(checkout / ".venv/bin/python"))

    async def python(self, *arguments: str) -> str:
        """Run the checkout's Python to its end. Raises RuntimeError where it fails."""
        ran = await self.person.run(self.person.python, *arguments)
        if ran.code:
            raise RuntimeError(f"{' '.join(arguments)}: {ran.err}")
        return ran.out

    async def obol(self, *arguments: str) -> str:
        """Run a command to its end. Raises RuntimeError where it fails."""
        return await self.python("-m", "obol", *arguments)

    async def listen(self, registry: str, address: str) -> None:
        """Have the engine open another port, as a cluster's network needs it."""
        connector = aiohttp.UnixConnector(path=str(self.store / "control.sock"))
        wanted = json.dumps({"registry": registry, "address": address, "port": 0})
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.post("http://engine/listeners", data=wanted) as reply,
        ):
            reply.raise_for_status()


async def write(old: OldCommands, registries: dict[str, FakeRegistry]) -> None:
    """Let the old command line write all of it."""
    references = (await old.python("-c", REFERENCES)).split()
    for reference, image in stack_images(references).items():
        parsed = ImageReference.parse(reference)
        registries[parsed.registry].add(str(parsed.repository), str(parsed.tag), image)
    registries["docker.io"].add("library/app", "1", APP)
    registries["quay.io"].add("team/app", "other", APP)
    registries["ghcr.io"].repositories["team/left"] = Repository(blobs={LEFT: LEFT_DATA})
    old.person.environ["OBOL_CACHE_PORT"] = ",".join(f"{name}=0" for name in registries)
    old.person.environ["OBOL_CACHE_UPSTREAM"] = ",".join(f"{name}={one.url}" for name, one in registries.items())
    old.person.install("podman", PODMAN)
    await old.obol("stack", "init", "--backend", "podman")
    await old.obol("stack", "up", "--backend", "none")
    await old.python("-c", LAST_UP, str(old.person.home / CONFIG))
    status = json.loads(await old.obol("cache", "status", "-o", "json"))
    urls = {one["registry"]: f"http://127.0.0.1:{one['port']}" for one in status["engine"]["listeners"]}
    await old.listen("docker.io", "127.0.0.2")
    async with aiohttp.ClientSession() as client:
        await pull(client, f"{urls['docker.io']}/v2/library/app", "1", APP)
        await pull(client, f"{urls['quay.io']}/v2/team/app", "other", APP)
        for name, options in CLIENTS.items():
            here = [option.replace(HOME, str(old.person.home)) for option in options]
            await old.obol("cache", "config", name, "--write", *here)
        async with client.get(f"{urls['ghcr.io']}/v2/team/left/blobs/{LEFT}") as reply:
            await reply.content.readany()
            await old.obol("cache", "stop")


async def stall_at_left(exchange: Exchange) -> None:
    """Give half of that one blob, and all of others."""
    await (stall_mid_body(exchange) if LEFT in exchange.seen.path else exchange.say(exchange.honest))


async def pull(client: aiohttp.ClientSession, repository: str, tag: str, image: FakeImage) -> None:
    """Pull every platform of an image."""
    parts = (*(f"manifests/{name}" for name in (tag, *image.manifests)), *(f"blobs/{name}" for name in image.blobs))
    for part in parts:
        async with client.get(f"{repository}/{part}") as reply:
            reply.raise_for_status()
            await reply.read()


def pack(home: Path) -> None:
    """Put the home directory into the archive, without what names this machine."""
    for name in DROPPED:
        (home / STORE / name).unlink(missing_ok=True)
    move(home, str(home), HOME)

    def anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        return member

    with tarfile.open(ARCHIVE, "w:gz", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(home.iterdir()):
            archive.add(path, path.name, filter=anonymous)


async def make(checkout: Path) -> None:
    """Write and pack it."""
    async with AsyncExitStack() as running:
        home = Path(running.enter_context(TemporaryDirectory(prefix="obol-"))) / "home"
        (home / "docker").mkdir(parents=True)
        (home / "docker/daemon.json").write_text(DAEMON)
        ghcr = HostileRegistry({"blob": stall_at_left})
        registries: dict[str, FakeRegistry] = {"docker.io": FakeRegistry(), "ghcr.io": ghcr, "quay.io": FakeRegistry()}
        for registry in registries.values():
            await running.enter_async_context(registry)
        old = OldCommands(checkout, home)
        running.push_async_callback(old.obol, "cache", "stop")
        await write(old, registries)
        pack(home)


if __name__ == "__main__":
    asyncio.run(make(Path(sys.argv[1]).absolute()))
