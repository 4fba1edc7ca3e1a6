from pathlib import Path

import pytest

from scripts import check_descriptors
from scripts.check_descriptors import problems


@pytest.mark.parametrize("line", ["os.pread(file, 1, 0)", "os.preadv(file, [b], 0)", "run.descriptor", "blob.fileno()"])
@pytest.mark.parametrize(
    ("place", "allowed"),
    [
        ("store/disk/content.py", True),
        ("server/outlet.py", True),
        ("server/blobs.py", False),
        ("transfers/x.py", False),
    ],
)
def test_places(tmp_path: Path, place: str, allowed: bool, line: str) -> None:
    """What reads from a descriptor, or sends from it, may stand in the store on disk and in the outlet only."""
    path = tmp_path / "src/obol/registry" / place
    path.parent.mkdir(parents=True)
    path.write_text(f"self._listening.fileno()\n{line}\n")

    assert [told.partition(" ")[0] for told in problems(tmp_path)] == (
        [] if allowed else [f"src/obol/registry/{place}:2:"]
    )


def test_this_tree(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """This tree keeps to it."""
    monkeypatch.chdir(Path(__file__).parents[2])

    assert check_descriptors.main() == 0
    assert "stay in the store" in capsys.readouterr().out
