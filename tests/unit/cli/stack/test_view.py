import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from obol.backends.ports import Program
from obol.caches.builtin.process import Started
from obol.cli.results.stack import GainResult, Gateway, RegistryGain
from obol.cli.stack.view import advice, errors, up_parts, up_result
from obol.cli.terminal.present import Table
from obol.client.ports import Kind, PulledImage, PullFailed
from obol.oci.references import ImageReference
from obol.rendering.registries import Mirror
from obol.stack.home import Home, Identity
from obol.stack.outcomes import UpImageOutcome, UpOutcome
from obol.stack.plan import Choice, Gain
from obol.workloads.images import StackImage
from tests.unit.stack.world import LITELLM, PAUSE, engine_status, failed, pulled

MIB = 1 << 20
NOW = 1_700_000_000.0


OTTER = Identity("brave-otter", "podman")
HOME = Home(Path("/config"))
HUB = Mirror("docker.io", "http://127.0.0.1:54100")


def raised(gain: Gain | None = None, mirrors: tuple[Mirror, ...] = (HUB,), identity: Identity = OTTER) -> UpOutcome:
    """A stack that is up."""
    images = (UpImageOutcome(LITELLM), UpImageOutcome(PAUSE))
    at = "http://127.0.0.1:4000"
    return UpOutcome(identity, identity.backend, True, at, None, mirrors, 12.3456, gain, images, ("One thing.",))


def text(parts: Sequence[object]) -> str:
    """The lines."""
    return "\n".join(part for part in parts if isinstance(part, str))


def brought(
    *outcomes: PulledImage | PullFailed, saved: float | None = None, held: dict[str, int] | None = None
) -> UpOutcome:
    """What `up` did with these of two images where nothing runs."""
    images = tuple(
        UpImageOutcome(image, warmed=outcome) for image, outcome in zip((LITELLM, PAUSE), outcomes, strict=False)
    )
    pulled = [outcome for outcome in outcomes if isinstance(outcome, PulledImage)]
    was = held or {}
    sizes = {one.reference.registry: (was.get(one.reference.registry, 0), one.bytes_from_upstream) for one in pulled}
    gain = Gain(sum(was.values()), sum(one.bytes_from_upstream for one in pulled), saved, sizes)
    return UpOutcome(
        None,
        "none",
        caches=Started(engine_status(), False),
        seconds=61.0,
        gain=gain,
        images=images,
        complete=len(pulled) == len(outcomes),
    )


COLD = brought(pulled(LITELLM, from_cache=MIB, from_upstream=600 * MIB), pulled(PAUSE, from_upstream=MIB))
LIMITED = brought(
    failed(LITELLM, Kind.RATE_LIMITED, 3700.0), pulled(PAUSE, from_cache=MIB), saved=100.2, held={"docker.io": MIB}
)


def texts(parts: Sequence[str | Table]) -> list[str]:
    """The parts that are no tables."""
    return [part for part in parts if isinstance(part, str)]


def test_up_parts() -> None:
    """Every image has a row with its bytes by where they came from, and a sentence tells what was there before.

    A layer that another image of the same `up` has brought was not there before.
    """
    table, _, *rest = up_parts(HOME, COLD, NOW)

    assert isinstance(table, Table)
    assert table.titles == ("Image", "State", ">Size", ">From cache", ">Upstream")
    assert table.rows == (
        ("litellm-non_root:main-v1.83.14-stable", "cached", "601 MiB", "1.0 MiB", "600 MiB"),
        ("mirrored-pause:3.6", "cached", "1.0 MiB", "0 B", "1.0 MiB"),
    )
    assert rest == [
        "All 2 images are in the caches (1 min 1 s).",
        "601 MiB came from upstream, 0 B was there already.",
    ]


def test_up_parts_with_a_failure() -> None:
    """What could not be fetched is short in the table, and the end of a rate limit is told by the clock."""
    table, _, *rest = up_parts(HOME, LIMITED, NOW)

    assert isinstance(table, Table)
    assert table.rows[0] == ("litellm-non_root:main-v1.83.14-stable", "limited", "", "", "")
    assert rest[:3] == [
        "1 of 2 images is in the caches (1 min 1 s).",
        "0 B came from upstream, 1.0 MiB was there already.",
        "The caches saved about 1 min 40 s.",
    ]
    assert re.fullmatch(r"The rate limit of ghcr.io ends at about \d\d:\d\d \(in 1 h 1 min\)\.", str(rest[3]))
    assert errors(LIMITED) == [LIMITED.images[0].warmed]
    assert errors(COLD) == []


def test_one_image() -> None:
    """One image is one, and what is there already is an amount."""
    whole, failing = brought(pulled(LITELLM)), brought(failed(LITELLM))

    assert "1 image is in the caches (1 min 1 s)." in texts(up_parts(HOME, whole, NOW))
    assert "0 of 1 image are in the caches (1 min 1 s)." in texts(up_parts(HOME, failing, NOW))


def test_errors_alike() -> None:
    """Images of one registry that cannot be had for one reason are told together; others are not."""
    other = StackImage(ImageReference.parse("rancher/klipper-lb:1"), ())
    images = tuple(UpImageOutcome(one, warmed=failed(one, Kind.UPSTREAM_DOWN)) for one in (LITELLM, PAUSE, other))

    told = errors(replace(LIMITED, images=images))

    assert [error.what for error in told] == [
        f"{LITELLM.reference} cannot be pulled",
        "2 images of docker.io cannot be pulled",
    ]
    assert (told[1].why, told[1].hint) == ("for a reason", "do something")


def test_up_result() -> None:
    """The same for programs, image by image."""
    cold, limited = up_result(HOME, COLD), up_result(HOME, LIMITED)

    assert (cold.backend, cold.stack, cold.complete, cold.gain.saved_seconds) == ("none", None, True, None)
    assert cold.gain.registries == (RegistryGain("ghcr.io", 0, 600 * MIB), RegistryGain("docker.io", 0, MIB))
    assert (cold.images[0].state, cold.images[0].bytes_total, cold.images[0].problem) == ("cached", 601 * MIB, None)
    assert (limited.complete, limited.gain.saved_seconds) == (False, 100.2)
    problem = limited.images[0].problem
    assert limited.images[0].state == "failed"
    assert problem is not None
    assert (problem.kind, problem.why, problem.retry_after_seconds) == (Kind.RATE_LIMITED, "for a reason", 3700.0)


@pytest.mark.parametrize(
    ("choice", "asked", "words"),
    [
        (Choice("none"), True, ["nothing runs", "as asked"]),
        (Choice("none", on_request=("k3s",)), False, ["k3s is installed: `obol stack up --backend k3s`"]),
        (Choice("none"), False, ["Nothing here can run the stack", "https://k3d.io", "https://podman.io"]),
        (Choice("none", (Program("docker", trouble="no daemon"),)), False, ["does not answer: no daemon"]),
    ],
)
def test_advice(choice: Choice, asked: bool, words: list[str]) -> None:
    """It is said plainly that nothing runs, why, and what a runtime could be."""
    outcome = replace(COLD, choice=replace(choice, looked=not asked))
    told = "\n".join(advice(outcome))

    assert all(word in told for word in words)
    assert ("https://" in told) == (not asked)
    assert all(word in up_result(HOME, outcome).notes[-1] for word in words)


def test_up_for_people() -> None:
    """It tells where LiteLLM answers, what came from where, and what that saved."""
    told = text(up_parts(HOME, raised(Gain(2**30, 0, 95.0)), NOW))

    assert "brave-otter is up on podman (12 s)" in told
    assert "http://127.0.0.1:4000" in told
    assert "docker.io by http://127.0.0.1:54100" in told
    assert "1.0 GiB came from the cache, 0 B from upstream." in told
    assert "saved about 1 min 35 s" in told


@pytest.mark.parametrize(
    ("gain", "said", "unsaid"),
    [
        (Gain(5, 5, None), "", ["saved"]),
        (Gain(5, 5, 0.4), "", ["saved"]),
        (Gain(0, 135 * 2**20, None), "Nothing saved yet: all 135 MiB came from upstream.", ["from the cache"]),
        (Gain(0, 0), "No image was pulled", ["from the cache", "saved"]),
    ],
)
def test_nothing_to_boast_of(gain: Gain, said: str, unsaid: list[str]) -> None:
    """What saved nothing, came from upstream, or was not pulled is not said to have saved or come from the cache."""
    told = text(up_parts(HOME, raised(gain), NOW))

    assert said in told
    assert [words for words in unsaid if words in told] == []


def test_not_measured() -> None:
    """An unmeasured run says so, and one without caches says nothing of caches."""
    assert "not measured" in text(up_parts(HOME, raised(), NOW))
    assert "cache" not in text(up_parts(HOME, raised(mirrors=()), NOW))


def test_the_engine_of_a_cluster_in_docker() -> None:
    """Where containers could serve as well, the switch is named while the builtin engine does."""
    started = Started(engine_status(), already=False)
    cluster = raised(identity=Identity("brave-otter", "k3d"))

    assert "--cache-engine containers" in text(up_parts(HOME, replace(cluster, caches=started), NOW))
    assert "--cache-engine" not in text(up_parts(HOME, cluster, NOW))
    assert "--cache-engine" not in text(up_parts(HOME, replace(raised(), caches=started), NOW))


def test_up_for_programs() -> None:
    """Sizes are bytes, and what was not measured is null."""
    measured = up_result(HOME, raised(Gain(7, 3, 1.26, {"ghcr.io": (7, 3)})))
    bare = up_result(HOME, raised(mirrors=()))

    assert (measured.seconds, measured.mirrors) == (12.346, {"docker.io": "http://127.0.0.1:54100"})
    assert measured.gain == GainResult(True, 7, 3, 1.3, (RegistryGain("ghcr.io", 7, 3),))
    assert bare.gain == GainResult(measured=False)
    assert (measured.cache_engine, bare.cache_engine) == ("containers", None)
    assert measured.gateway == Gateway(
        "http://127.0.0.1:4000", "http://127.0.0.1:4000/v1", "/config/litellm-master-key"
    )


def test_images_for_programs() -> None:
    """An image is cached where the engine has all of it; of others nobody can tell."""
    held = replace(
        raised(),
        caches=Started(engine_status(), already=False),
        images=(UpImageOutcome(LITELLM, "complete"), UpImageOutcome(PAUSE, "incomplete")),
    )

    told = up_result(HOME, held)

    assert [one.state for one in told.images] == ["cached", "unknown"]
    assert told.cache_engine == "builtin"


def test_what_to_do_next() -> None:
    """Who has a stack is given a command to paste, which prints no key, and the file that the models are in."""
    told = text(up_parts(HOME, raised(), NOW))

    assert 'curl -H "Authorization: Bearer $(obol stack key)" http://127.0.0.1:4000/v1/models' in told
    assert "under model_list in /config/workloads/litellm.yaml, and run `obol stack up` again" in told
    assert "curl" not in text(up_parts(HOME, replace(raised(), url=""), NOW))
