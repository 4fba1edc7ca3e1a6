"""The stack laid out for 80 columns, and for programs."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from obol.cli.results.stack import (
    Disk,
    GainResult,
    HeldImageRow,
    RegistryGain,
    StackStatusResult,
    UpImage,
    UpResult,
)
from obol.cli.terminal.caches import listeners_table, problem_result
from obol.cli.terminal.present import Table, counted, size, span, tilde
from obol.client.ports import Kind, PulledImage
from obol.errors import DependencyMissing, ObolError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from obol.client.ports import PullFailed
    from obol.stack.nocluster import Brought, Seen, WarmedImage
    from obol.stack.plan import Choice
    from obol.stack.space import Space
    from obol.workloads.images import StackImage

WITHOUT_CACHE = (
    "The registry caches are turned off, and nothing here can run the stack,",
    "so obol did nothing. Caches that run already go on, with what they hold.",
)
RUNTIMES = (
    ("k3d, which needs Docker", ("https://k3d.io/stable/#installation", "https://docs.docker.com/engine/install/")),
    ("or podman 4.3 or newer", ("https://podman.io/docs/installation",)),
)
"""What a person could install to run the stack, with the pages that tell how."""

_STATES = {Kind.RATE_LIMITED: "limited", Kind.ABSENT: "absent", Kind.DENIED: "denied"}
"""What a failure is called in the table; there is room for short words only."""


def untouched_result() -> UpResult:
    """What `up` did where it may not use caches and has nothing else to do, for programs."""
    return _none(complete=False, notes=(" ".join(WITHOUT_CACHE),))


def up_result(brought: Brought, notes: tuple[str, ...] = ()) -> UpResult:
    """What `up` did, for programs; `notes` are what a person is told besides."""
    pulled = [one.outcome for one in brought.images if isinstance(one.outcome, PulledImage)]
    registries = dict.fromkeys([*(image.reference.registry for image in pulled), *brought.held])
    gain = GainResult(
        True,
        sum(brought.held.values()),
        sum(image.bytes_from_upstream for image in pulled),
        None if brought.saved is None else round(brought.saved, 1),
        tuple(_of_registry(registry, brought.held, pulled) for registry in registries),
    )
    result = _none(complete=brought.complete, notes=notes)
    return replace(
        result,
        seconds=round(brought.seconds, 3),
        cache_engine="builtin",
        substitutes=brought.caches.substitutes,
        gain=gain,
        images=tuple(map(_image_row, brought.images)),
    )


def _none(*, complete: bool, notes: tuple[str, ...]) -> UpResult:
    """What is the same for every `up` without a cluster."""
    return UpResult(
        stack=None,
        backend="none",
        created=False,
        complete=complete,
        seconds=0.0,
        gateway=None,
        manifests=None,
        cache_engine=None,
        mirrors={},
        substitutes=(),
        gain=GainResult(measured=False),
        images=(),
        notes=notes,
    )


def _of_registry(registry: str, held: Mapping[str, int], pulled: Sequence[PulledImage]) -> RegistryGain:
    fetched = sum(image.bytes_from_upstream for image in pulled if image.reference.registry == registry)
    return RegistryGain(registry, held.get(registry, 0), fetched)


def up_parts(brought: Brought, now: float) -> list[str | Table]:
    """What `up` did, for people. `now` is in seconds since 1970."""
    return [_images_table(brought.images), "", *_summary(brought), *_limits(brought, now)]


def errors(brought: Brought) -> list[ObolError]:
    """Why images could not be fetched. Those of one registry that share a reason are told together."""
    alike: dict[tuple[str, str], list[PullFailed]] = {}
    for failure in _failures(brought):
        alike.setdefault((failure.reference.registry, failure.why), []).append(failure)
    return [_together(registry, group) for (registry, _why), group in alike.items()]


def needed(choice: Choice) -> DependencyMissing:
    """What to raise where only something that runs will do."""
    deaf = "; ".join(f"{program.name} does not answer: {program.trouble}" for program in choice.unusable)
    ways = "; ".join(f"{what}: {pages[0]}" for what, pages in RUNTIMES)
    if choice.on_request:
        return DependencyMissing(
            "nothing here can run the stack without being asked to",
            why=_by_request(choice),
            hint=f"ask for it with `--backend {choice.on_request[0]}`, or install {ways}",
        )
    return DependencyMissing(
        "nothing here can run the stack",
        why=deaf or "neither k3d with Docker nor podman is installed",
        hint=f"start what is installed, or install {ways}" if deaf else f"install {ways}",
    )


def _by_request(choice: Choice) -> str:
    name = choice.on_request[0]
    return f"{name} is installed: `obol stack up --backend {name}` runs the stack on the machine itself, as root"


def advice(choice: Choice, *, asked: bool) -> list[str]:
    """What to say of the backend, line by line; `asked`: the person chose it."""
    if asked:
        return ["Only the caches were filled, as asked: nothing runs (backend none)."]
    lines = [f"{program.name} is installed, but does not answer: {program.trouble}" for program in choice.unusable]
    lines += [f"{_by_request(choice)}."] if choice.on_request else []
    lines.append("Nothing here can run the stack, so only the caches were filled (backend none). To run it, install")
    for what, pages in RUNTIMES:
        lines += [f"  {what}:", *(f"    {page}" for page in pages)]
    return lines


def status_result(seen: Seen, disk: Space) -> StackStatusResult:
    """How it is where there is no stack, for programs."""
    running = seen.caches
    return StackStatusResult(
        stack=None,
        backend="none",
        cluster="absent",
        trouble="",
        gateway=None,
        manifests=None,
        nodes=(),
        workloads=(),
        cache_engine="builtin" if running else None,
        engine=running.status if running else None,
        containers=(),
        mirrors={},
        substitutes=running.substitutes if running else (),
        images_complete=count_complete(seen) == len(seen.held) if running else None,
        images=held_rows(seen),
        last_up=None,
        disk=disk_result(disk),
    )


def disk_result(disk: Space) -> Disk:
    """The room on disk, for programs."""
    return Disk(disk.caches, disk.held, disk.free, disk.data, disk.data_there)


def held_rows(seen: Seen) -> tuple[HeldImageRow, ...]:
    """The images that the stack needs, for programs."""
    return tuple(HeldImageRow(str(image.reference), image.needed_by, held) for image, held in seen.held)


def count_complete(seen: Seen) -> int:
    """How many of them are in the caches as a whole."""
    return sum(held == "complete" for _image, held in seen.held)


def disk_lines(disk: Space) -> list[str]:
    """The room on disk, a line for the caches and one for the stack's data."""
    held = "an unknown amount" if disk.held is None else size(disk.held)
    free = "" if disk.free is None else f", {size(disk.free)} free"
    there = "" if disk.data_there else " (not there yet)"
    return [f"Disk     {held} in {tilde(disk.caches)}{free}", f"Data     {tilde(disk.data)}{there}"]


def status_parts(seen: Seen, disk: Space) -> list[str | Table]:
    """How the stack is, for people."""
    parts: list[str | Table] = ["Cluster  nothing runs (backend none)"]
    if seen.caches is None:
        unknown = f"Images   {len(seen.held)} needed; which are held is not known"
        return [*parts, "Caches   not running", unknown, *disk_lines(disk)]
    engine = seen.caches.status
    parts.append(f"Caches   running (process {engine.pid})")
    parts += [f"Images   {count_complete(seen)} of {len(seen.held)} complete", *disk_lines(disk)]
    rows = tuple((_short(image), held or "", ", ".join(image.needed_by)) for image, held in seen.held)
    images = Table(("Image", "In the cache", "Needed by"), rows)
    return [*parts, "", listeners_table(engine, seen.caches.substitutes), "", images]


def _image_row(one: WarmedImage) -> UpImage:
    reference, needed_by = str(one.image.reference), one.image.needed_by
    match one.outcome:
        case PulledImage() as pulled:
            return UpImage(
                reference,
                needed_by,
                "cached",
                digest=str(pulled.digest),
                bytes_total=pulled.bytes_total,
                bytes_from_cache=pulled.bytes_from_cache,
                bytes_from_upstream=pulled.bytes_from_upstream,
            )
        case failure:
            return UpImage(reference, needed_by, "failed", problem=problem_result(failure))


def _images_table(images: Sequence[WarmedImage]) -> Table:
    rows = []
    for one in images:
        match one.outcome:
            case PulledImage() as pulled:
                counts = (pulled.bytes_total, pulled.bytes_from_cache, pulled.bytes_from_upstream)
                rows.append((_short(one.image), "cached", *map(size, counts)))
            case failure:
                rows.append((_short(one.image), _STATES.get(failure.kind, "failed"), "", "", ""))
    return Table(("Image", "State", ">Size", ">From cache", ">Upstream"), tuple(rows))


def _short(image: StackImage) -> str:
    """The reference without the registry and the path, which leave no room for what is told of it."""
    return str(image.reference).rpartition("/")[2]


def _summary(brought: Brought) -> list[str]:
    pulled = [one.outcome for one in brought.images if isinstance(one.outcome, PulledImage)]
    count = len(brought.images)
    are = "is" if len(pulled) == 1 else "are"
    whole = f"All {count} images are" if count > 1 else f"{counted(count, 'image')} {are}"
    everything = whole if brought.complete else f"{len(pulled)} of {counted(count, 'image')} {are}"
    cached, fetched = sum(brought.held.values()), sum(p.bytes_from_upstream for p in pulled)
    lines = [
        f"{everything} in the caches ({span(max(1, brought.seconds))}).",
        f"{size(fetched)} came from upstream, {size(cached)} was there already.",
    ]
    if brought.saved is not None and brought.saved >= 1:
        lines.append(f"The caches saved about {span(brought.saved)}.")
    return lines


def _failures(brought: Brought) -> list[PullFailed]:
    return [one.outcome for one in brought.images if not isinstance(one.outcome, PulledImage)]


def _together(registry: str, group: Sequence[PullFailed]) -> ObolError:
    first = group[0]
    if len(group) == 1:
        return first
    return ObolError(f"{len(group)} images of {registry} cannot be pulled", why=first.why, hint=first.hint)


def _limits(brought: Brought, now: float) -> list[str]:
    """When registries whose rate limit is reached can be asked again, a line each."""
    ends: dict[str, float] = {}
    for failure in _failures(brought):
        if failure.kind is Kind.RATE_LIMITED and failure.retry_after is not None:
            registry = failure.reference.registry
            ends[registry] = max(ends.get(registry, 0.0), failure.retry_after)
    return [
        f"The rate limit of {registry} ends at about {_clock(now + wait)} (in {span(wait)})."
        for registry, wait in ends.items()
    ]


def _clock(moment: float) -> str:
    return f"{datetime.fromtimestamp(moment).astimezone():%H:%M}"
