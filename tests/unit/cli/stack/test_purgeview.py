from pathlib import Path

import pytest

from obol.backends.ports import BackendName
from obol.cli.results.stack import Kept, PurgeResult
from obol.cli.stack.purgeview import CHANGED, purge_result, purged_lines
from obol.stack.home import Identity
from obol.stack.outcomes import PurgeOutcome
from obol.stack.stacks import DATA, Removal

OTTER = Identity("brave-otter", "podman")
GONE = PurgeOutcome(True, (), ())


def test_everything() -> None:
    """What was removed is named, in words and for programs."""
    result = purge_result(Removal(OTTER, GONE, images=True, data=True, caches=True))

    assert result.removed == ("cluster", "images", "data", "manifests", "caches")
    (line,) = purged_lines(result)
    assert line.startswith(
        "Removed the stack brave-otter: its pods and their volumes, its images, its data, what was written for it"
    )
    assert line.endswith(" and the registry caches.")


def test_nothing() -> None:
    """Where there was nothing, nothing is claimed."""
    result = purge_result(Removal(None, PurgeOutcome(False, (), ()), images=False, data=False, caches=False))

    assert (result.stack, result.backend, result.removed) == (None, None, ())
    assert purged_lines(result) == ["There was nothing to remove."]


def test_what_stays() -> None:
    """Manifests of the person and data stay, each with the reason."""
    purged = PurgeOutcome(False, (Path("/c/workloads/litellm.yaml"),), ("One note.",))
    result = purge_result(Removal(OTTER, purged, False, False, False, (Path("/data"), DATA)))

    assert (result.removed, result.notes) == (("manifests",), ("One note.",))
    assert result.kept == (Kept("/c/workloads/litellm.yaml", CHANGED), Kept("/data", DATA))
    assert purged_lines(result)[1:] == [f"/c/workloads/litellm.yaml stays: {CHANGED}.", f"/data stays: {DATA}."]


@pytest.mark.parametrize(
    ("backend", "force", "told"), [("podman", False, True), ("podman", True, False), ("k3d", False, False)]
)
def test_images_that_stay_in_podman(backend: BackendName, force: bool, told: bool) -> None:
    """A plain purge says how to remove the images from podman, which no later purge knows of."""
    result = purge_result(Removal(Identity("brave-otter", backend), GONE, force, data=False, caches=False))

    lines = purged_lines(result)

    assert any("podman image rm ghcr.io/berriai/litellm" in line for line in lines) == told
    assert len(lines) == 1 + told


def test_volumes_of_podman() -> None:
    """On podman the volumes of pods go with them, and that is said."""
    result = PurgeResult(stack="brave-otter", backend="podman", removed=("cluster",), kept=(), notes=())

    assert purged_lines(result)[0] == "Removed the stack brave-otter: its pods and their volumes."
