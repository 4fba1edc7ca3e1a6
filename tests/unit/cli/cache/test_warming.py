from __future__ import annotations

import io
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from obol.caches.warming import Holding
from obol.cli.cache import warming
from obol.cli.cache.imageview import Unfinished
from obol.cli.terminal.present import Speaker
from obol.client.platforms import this_machine
from obol.client.ports import Limits, Origin
from obol.errors import UsageError
from obol.registry.control.api import ImageProgress, ProgressStatus
from tests.unit.cli.conftest import FakeEngine, engine_status
from tests.unit.cli.images import APP, LITELLM, failed, pulled

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from obol.caches.warming import Outcome, Warming
    from obol.client.ports import Progress
    from obol.oci.references import ImageReference
    from obol.registry.control.api import EngineStatus


@dataclass
class FakeWarmth:
    """Brings the first image, fails with the second; or is interrupted then."""

    interrupted: bool = False
    asked: list[ImageReference] = field(default_factory=list)
    missing: int = 0

    async def warm(
        self,
        references: Sequence[ImageReference],
        engine: EngineStatus,
        progress: Progress,
        before: Callable[[Holding], None] | None = None,
    ) -> tuple[Outcome, ...]:
        """As told."""
        assert engine.pid == 4711
        assert before is not None
        before(Holding({}, self.missing))
        self.asked += references
        image, problem = pulled(), failed()
        progress.found(APP, 5)
        progress.moved(APP, 5, Origin.UPSTREAM)
        progress.done(image)
        if self.interrupted:
            progress.found(LITELLM, 100)
            progress.moved(LITELLM, 10, Origin.CACHE)
            progress.moved(LITELLM, 30, Origin.UPSTREAM)
            raise KeyboardInterrupt
        progress.failed(problem)
        return image, problem


def run(warmth: FakeWarmth, *kept: ImageProgress) -> warming.Warmed:
    """Warm without a word; an interrupted engine says what it keeps, if anything."""

    def ask(images: Sequence[str], /) -> ProgressStatus | None:
        assert list(images) == [str(LITELLM)]
        return ProgressStatus(7, kept, ()) if kept else None

    say = Speaker(quiet=True)
    return warming.run(say, warmth, [APP, LITELLM], engine_status(), ask)  # type: ignore[arg-type]  # a fake


def test_run() -> None:
    """All outcomes are there, in the order in which images were named."""
    warmed = run(warmth := FakeWarmth())

    assert warmth.asked == [APP, LITELLM]
    assert list(warmed.outcomes) == [APP, LITELLM]
    assert [str(warmed.outcomes[APP]), warmed.interrupted] == [str(pulled()), False]
    assert warmed.seconds > 0


def test_interrupted() -> None:
    """Ctrl-C leaves what was done, and the engine is asked what it keeps of the rest."""
    warmed = run(FakeWarmth(interrupted=True), ImageProgress(str(LITELLM), 90, 45, 42, 90, 45, 1))
    in_silence = run(FakeWarmth(interrupted=True))

    assert warmed.outcomes == {APP: pulled(), LITELLM: Unfinished(10, 30, 42, 90)}
    assert warmed.interrupted
    assert in_silence.outcomes[LITELLM] == Unfinished(10, 30, None, 100)


def test_asking(tmp_path: Path) -> None:
    """The engine is asked at its own store."""
    engine = replace(engine_status(), store=str(tmp_path / "none"))

    assert warming.asking(engine, None)(["a"]) is None
    assert warming.asking(engine, (this_machine(),))(["a"]) is None


def test_wired() -> None:
    """The engine is warmed for the chosen platforms, so many images at a time."""
    cache = FakeEngine()

    wired: Warming = warming.warming(cache, None, 7)

    assert (wired.cache, wired.platforms, wired.limits) == (cache, None, Limits(images=7))


def test_selection() -> None:
    """Platforms are those that are named, each once, or all, or this machine's."""
    assert [
        str(one) for one in warming.selection(["linux/arm64", "linux/amd64", "linux/aarch64"], every=False) or ()
    ] == [
        "linux/arm64",
        "linux/amd64",
    ]
    assert warming.selection([], every=False) == (this_machine(),)
    assert warming.selection([], every=True) is None
    with pytest.raises(UsageError, match="exclude each other"):
        warming.selection(["linux/arm64"], every=True)
    with pytest.raises(UsageError, match="is not a platform"):
        warming.selection(["arm64"], every=False)


def test_references(tmp_path: Path) -> None:
    """Images are named by arguments and by the lines of a file; each is pulled once."""
    file = tmp_path / "images"
    file.write_text(f"# of the stack\n\n{LITELLM}   # for models\n  index.docker.io/team/app:1\n")

    assert warming.references(["team/app:1"], str(file)) == (APP, LITELLM)


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dash is standard input."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("team/app:1\n"))

    assert warming.references([], "-") == (APP,)


def test_bad_references() -> None:
    """All that cannot be read is told at once, with an example of what can."""
    with pytest.raises(UsageError) as caught:
        warming.references(["team/app:1", "Bad/Name", "a:!", "x@sha256:1"], None)

    assert caught.value.what == "image references cannot be read"
    assert caught.value.why.splitlines() == [
        "'Bad/Name': the repository name is not valid",
        "'a:!': the tag is not valid",
        "'x@sha256:1': the digest is not valid or its algorithm is not supported",
    ]
    with pytest.raises(UsageError, match="an image reference cannot"):
        warming.references(["!"], None)


def test_no_references(tmp_path: Path) -> None:
    """No image at all is wrong usage, and so is a file that cannot be read."""
    (tmp_path / "latin").write_bytes(b"\xe4")

    for words, file, text in (
        ([], None, "no image is named"),
        ([], str(tmp_path / "absent"), "No such file"),
        ([], str(tmp_path / "latin"), "not UTF-8"),
    ):
        with pytest.raises(UsageError, match=text):
            warming.references(words, file)


def test_too_little_room_is_said_before(capsys: pytest.CaptureFixture[str]) -> None:
    """What does not fit on the disk is said, and fetched all the same: it is passed on."""
    warmth = FakeWarmth(missing=5 << 60)

    run(warmth)

    assert "OBOL_REGISTRY_CACHE_DIR" in capsys.readouterr().err
    assert warmth.asked
