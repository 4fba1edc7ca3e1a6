"""How images come to podman: by mirrors that this `up` alone knows, and once more where the caches died."""

from pathlib import Path

import pytest

from obol.errors import ObolError
from obol.rendering.registries import Mirror
from tests.unit.backends.podmanworld import LITELLM, PROMETHEUS, STACK, World


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A podman with nothing in it."""
    return World.empty(tmp_path)


async def test_mirrors_of_one_up(world: World) -> None:
    """The mirrors of this `up` are asked first, by a file that is gone afterwards: nobody else may ask there later."""
    world.own = (Mirror("ghcr.io", "http://127.0.0.1:41001"),)
    told: list[str] = []

    async def died() -> bool:
        told.append((world.config / "podman/pulling.conf").read_text())
        return False

    world.died = died
    world.podman.available.discard(PROMETHEUS)
    with pytest.raises(ObolError):
        await world.up()

    (text,) = told
    assert text.index("127.0.0.1:41001") < text.index("127.0.0.1:54101")
    assert text.count('prefix = "ghcr.io"') == 1
    assert not (world.config / "podman/pulling.conf").exists()
    assert "41001" not in (world.config / "registries.conf").read_text()


@pytest.mark.parametrize("comes_back", [True, False])
async def test_pull_that_was_cut_with_the_caches(world: World, comes_back: bool) -> None:
    """A pull that failed because the caches died is begun once more, and no more often."""
    world.podman.available.discard(PROMETHEUS)
    deaths: list[None] = []

    async def died() -> bool:
        deaths.append(None)
        if comes_back:
            world.podman.available.add(PROMETHEUS)
        return True

    world.died = died
    if comes_back:
        await world.up()
    else:
        with pytest.raises(ObolError):
            await world.up()

    assert world.podman.lines.count(f"pull --quiet {PROMETHEUS}") == 2
    assert len(deaths) == 1


async def test_lacking(world: World) -> None:
    """Images that podman has are asked for no more; one in a virtual machine does not reach the caches at all."""
    world.podman.images.add(LITELLM)
    assert await world.backend.lacking(STACK, [LITELLM, PROMETHEUS]) == [PROMETHEUS]

    world.podman.remote = True
    assert await world.backend.lacking(STACK, [LITELLM, PROMETHEUS]) == ()
