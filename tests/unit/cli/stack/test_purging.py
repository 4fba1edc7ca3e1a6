from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from obol.cli.results.stack import Kept, PurgeResult
from obol.cli.stack.purging import CHANGED, DATA, NOT_OURS, Wish, dispose, purge_result, purged_lines
from obol.stack.home import Identity, claim
from obol.stack.lifecycle import Purged

if TYPE_CHECKING:
    from obol.backends.ports import BackendName

OTTER = Identity("brave-otter", "podman")
GONE = Purged(True, (), ())


def test_everything() -> None:
    """What was removed is named, in words and for programs."""
    result = purge_result(OTTER, GONE, None, Wish(True, True), had_data=True)

    assert result.removed == ("cluster", "images", "data", "manifests", "caches")
    (line,) = purged_lines(result)
    assert line.startswith(
        "Removed the stack brave-otter: its pods and their volumes, its images, its data, what was written for it"
    )
    assert line.endswith(" and the registry caches.")


def test_nothing() -> None:
    """Where there was nothing, nothing is claimed."""
    result = purge_result(None, Purged(False, (), ()), None, Wish(True, False), had_data=False)

    assert (result.stack, result.backend, result.removed) == (None, None, ())
    assert purged_lines(result) == ["There was nothing to remove."]


def test_what_stays() -> None:
    """Manifests of the person and data stay, each with the reason."""
    purged = Purged(False, (Path("/c/workloads/litellm.yaml"),), ("One note.",))
    result = purge_result(OTTER, purged, Kept("/data", DATA), Wish(False, False), had_data=True)

    assert (result.removed, result.notes) == (("manifests",), ("One note.",))
    assert result.kept == (Kept("/c/workloads/litellm.yaml", CHANGED), Kept("/data", DATA))
    assert purged_lines(result)[1:] == [f"/c/workloads/litellm.yaml stays: {CHANGED}.", f"/data stays: {DATA}."]


@pytest.mark.parametrize(
    ("backend", "force", "told"), [("podman", False, True), ("podman", True, False), ("k3d", False, False)]
)
def test_images_that_stay_in_podman(backend: BackendName, force: bool, told: bool) -> None:
    """A plain purge says how to remove the images from podman, which no later purge knows of."""
    result = purge_result(Identity("brave-otter", backend), GONE, None, Wish(force, False), had_data=False)

    lines = purged_lines(result)

    assert any("podman image rm ghcr.io/berriai/litellm" in line for line in lines) == told
    assert len(lines) == 1 + told


@pytest.mark.parametrize(
    ("ours", "force", "stays", "why"),
    [(True, True, False, None), (True, False, True, DATA), (False, True, True, NOT_OURS), (False, False, True, None)],
)
def test_data(tmp_path: Path, ours: bool, force: bool, stays: bool, why: str | None) -> None:
    """Data goes only where that is wished and it is the stack's own."""
    data, config = tmp_path / "data", tmp_path / "config"
    config.mkdir()
    if ours:
        claim(data, config)
    else:
        data.mkdir()
        (data / "thesis").touch()

    kept = dispose(data, config, force=force)

    assert (data.exists(), kept.why if kept else None) == (stays, why)


def test_no_data(tmp_path: Path) -> None:
    """Where there is no data, there is none to tell of."""
    assert dispose(tmp_path / "data", tmp_path, force=True) is None


def test_volumes_of_podman() -> None:
    """On podman the volumes of pods go with them, and that is said."""
    result = PurgeResult(stack="brave-otter", backend="podman", removed=("cluster",), kept=(), notes=())

    assert purged_lines(result)[0] == "Removed the stack brave-otter: its pods and their volumes."
