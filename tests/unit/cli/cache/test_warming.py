import dataclasses
import io
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from obol.caches.warming import Holding, Outcome, Warming
from obol.cli.cache import warming
from obol.cli.cache.warming import Unfinished, failures, warm_lines, warm_result
from obol.cli.terminal.present import Speaker
from obol.client.platforms import this_machine
from obol.client.ports import BytesFrom, Limits, Progress
from obol.errors import UsageError
from obol.oci.references import ImageReference
from obol.registry.control.api import EngineStatus, ImageProgress, ProgressStatus
from tests.unit.cli.conftest import FakeEngine, engine_status
from tests.unit.cli.images import APP, LITELLM, MIB, failed, pulled


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
        assert engine.pid == 4711
        assert before is not None
        before(Holding({}, self.missing))
        self.asked += references
        image, problem = pulled(), failed()
        progress.found(APP, 5)
        progress.moved(APP, 5, BytesFrom.UPSTREAM)
        progress.done(image)
        if self.interrupted:
            progress.found(LITELLM, 100)
            progress.moved(LITELLM, 10, BytesFrom.CACHE)
            progress.moved(LITELLM, 30, BytesFrom.UPSTREAM)
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


def test_warm() -> None:
    """Each image takes two lines, none of which is too long; the last line sums up."""
    outcomes: dict[ImageReference, Outcome | Unfinished] = {LITELLM: pulled(LITELLM), APP: failed(APP)}

    lines = warm_lines(outcomes, warm_result(outcomes, 2.5))

    assert lines == [
        "ghcr.io/berriai/litellm-non_root:main-v1.83.14-stable",
        "    cached (linux/amd64, 4 layers): 12.0 MiB from upstream in 2.0 s (6.0 MiB/s)",
        "docker.io/team/app:1",
        "    failed (rate-limited)",
        "",
        "2 images: 1 cached, 1 failed; 12.0 MiB from upstream in 2.5 s (4.8 MiB/s)",
    ]
    assert max(map(len, lines)) <= 80


def test_warm_for_nothing() -> None:
    """A second time nothing is fetched; what an image runs on is told if it is known, and not at length."""
    many = tuple(f"linux/{number}" for number in range(5))
    outcomes: dict[ImageReference, Outcome | Unfinished] = {
        APP: pulled(APP, 5, 0, ()),
        LITELLM: dataclasses.replace(pulled(LITELLM, 5, 0, many), layers=1),
    }

    lines = warm_lines(outcomes, warm_result(outcomes, 0.26))

    assert lines[1::2][:2] == [
        "    cached (4 layers): 5 B, all of it was in the cache",
        "    cached (linux/0, linux/1, linux/2, and 2 more, 1 layer): 5 B, all of it was in the cache",
    ]
    assert lines[-1] == "2 images: 2 cached; nothing was fetched (0.3 s)"


def test_interrupted_view() -> None:
    """What was not done is told as such, with what is kept of it; what was fetched of it was fetched."""
    unfinished = Unfinished(MIB, 5 * MIB, 4 * MIB, 12 * MIB)
    outcomes: dict[ImageReference, Outcome | Unfinished] = {APP: pulled(), LITELLM: unfinished}

    result = warm_result(outcomes, 1.0, interrupted=True)

    assert (result.complete, result.interrupted, result.bytes_from_upstream) == (False, True, 17 * MIB)
    assert warm_lines(outcomes, result)[3:] == [
        "    unfinished: 4.0 MiB of 12.0 MiB is kept; the same command goes on from there",
        "",
        "2 images: 1 cached, 1 unfinished; 17.0 MiB from upstream in 1.0 s (17.0 MiB/s)",
    ]
    told = result.images[1]
    assert (told.bytes_kept, told.bytes_total, told.bytes_from_cache) == (4 * MIB, 12 * MIB, MIB)


@pytest.mark.parametrize(
    ("unfinished", "text"),
    [
        (Unfinished(), "what was fetched of it is kept; the same command goes on from there"),
        (Unfinished(0, 0, 0, None), "nothing of it is there yet"),
        (Unfinished(0, 0, 0, 12 * MIB), "nothing of it is there yet"),
    ],
)
def test_interrupted_early(unfinished: Unfinished, text: str) -> None:
    """Where nothing is there yet, or nobody can tell how much, that is said."""
    outcomes: dict[ImageReference, Outcome | Unfinished] = {APP: unfinished}

    lines = warm_lines(outcomes, warm_result(outcomes, 1.0, interrupted=True))

    assert lines[1:] == [f"    unfinished: {text}", "", "1 image: 1 unfinished; nothing was fetched (1.0 s)"]


def test_warm_as_json() -> None:
    """The JSON has all there is to know."""
    outcomes: dict[ImageReference, Outcome | Unfinished] = {APP: pulled(), LITELLM: failed()}

    told = json.loads(msgspec.json.encode(warm_result(outcomes, 2.5)))

    cached, problem = told.pop("images")
    assert told == {
        "complete": False,
        "interrupted": False,
        "seconds": 2.5,
        "bytes_from_cache": 0,
        "bytes_from_upstream": 12 * MIB,
    }
    assert cached == {
        "reference": "docker.io/team/app:1",
        "state": "cached",
        "digest": pulled().digest,
        "platforms": ["linux/amd64"],
        "layers": 4,
        "bytes_total": 12 * MIB,
        "bytes_from_cache": 0,
        "bytes_from_upstream": 12 * MIB,
        "bytes_kept": None,
        "seconds": 2.0,
        "problem": None,
    }
    assert (problem["state"], problem["digest"]) == ("failed", None)
    assert problem["problem"] == {
        "kind": "rate-limited",
        "why": "too often",
        "hint": "wait",
        "retry_after_seconds": 34.0,
    }


def test_failures() -> None:
    """Those that failed are told one by one."""
    problem = failed()

    assert failures([pulled(), problem, Unfinished()]) == [problem]
