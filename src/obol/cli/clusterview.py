"""A stack with a cluster, laid out for 80 columns, and the stable shapes of the same as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from obol.cli.cacheview import listeners_table
from obol.cli.present import size, span
from obol.cli.stackview import status_result

if TYPE_CHECKING:
    from obol.cli.present import Table
    from obol.cli.stackview import HeldRow
    from obol.stack.lifecycle import Raised, Shown
    from obol.stack.nocluster import Seen
    from obol.stack.state import Identity


@dataclass(frozen=True, slots=True)
class RaisedResult:
    """`stack up` on a cluster; sizes in bytes."""

    stack: str
    backend: str
    created: bool
    url: str
    """Where LiteLLM answers."""
    registry_cache: bool
    mirrors: dict[str, str]
    """By registry: where nodes ask first."""
    seconds: float
    bytes_from_cache: int | None
    """Null where it was not measured, as the next two."""
    bytes_from_upstream: int | None
    saved_seconds: float | None
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ShownResult:
    """`stack status` of a stack with a cluster."""

    stack: str | None
    backend: str | None
    cluster: str
    caches: bool
    containers: tuple[str, ...]
    """Cache containers, each with its state."""
    mirrors: dict[str, str]
    """By registry: where the last `up` told nodes to ask first."""
    complete: bool
    """Whether the builtin engine has every image; false where it does not run."""
    images: tuple[HeldRow, ...]
    """As without a cluster."""
    last_up: float | None
    """When it ended, in seconds since 1970."""
    last_up_seconds: float | None


def raised_result(identity: Identity, raised: Raised) -> RaisedResult:
    """What `up` did, for programs."""
    gain = raised.gain
    return RaisedResult(
        stack=identity.stack_id,
        backend=identity.backend,
        created=raised.cluster.created,
        url=raised.deployed.url,
        registry_cache=bool(raised.mirrors),
        mirrors={mirror.registry: mirror.endpoint for mirror in raised.mirrors},
        seconds=round(raised.seconds, 3),
        bytes_from_cache=None if gain is None else gain.from_cache,
        bytes_from_upstream=None if gain is None else gain.from_upstream,
        saved_seconds=None if gain is None or gain.saved is None else round(gain.saved, 1),
        notes=raised.notes,
    )


def raised_parts(identity: Identity, raised: Raised) -> list[str | Table]:
    """What `up` did, for people."""
    lines: list[str | Table] = [
        f"The stack {identity.stack_id} is up on {identity.backend} ({span(max(1, raised.seconds))}).",
        f"LiteLLM answers at {raised.deployed.url}"
        if raised.deployed.url
        else "LiteLLM has no address on this machine.",
    ]
    if raised.mirrors:
        where = ", ".join(f"{mirror.registry} by {mirror.endpoint}" for mirror in raised.mirrors)
        lines.append(f"Images come through the registry caches: {where}.")
        if identity.backend == "k3d" and raised.caches is not None:
            lines.append("One process serves them; `--cache-engine containers` runs a container for each instead.")
    gain = raised.gain
    if gain is not None:
        lines.append(f"{size(gain.from_cache)} came from the cache, {size(gain.from_upstream)} from upstream.")
        if gain.saved is not None and gain.saved >= 1:
            lines.append(f"The caches saved about {span(gain.saved)}.")
    elif raised.mirrors:
        lines.append("What came from the cache was not measured.")
    return lines


def shown_result(shown: Shown, seen: Seen) -> ShownResult:
    """How the stack is, for programs."""
    status = status_result(seen)
    return ShownResult(
        stack=shown.identity.stack_id if shown.identity else None,
        backend=shown.identity.backend if shown.identity else None,
        cluster=shown.state,
        caches=shown.caches is not None,
        containers=shown.containers,
        mirrors=shown.last.mirrors if shown.last else {},
        complete=status.complete,
        images=status.images,
        last_up=shown.last.at if shown.last else None,
        last_up_seconds=round(shown.last.seconds, 1) if shown.last else None,
    )


def shown_parts(shown: Shown, seen: Seen) -> list[str | Table]:
    """How the stack is, for people."""
    if shown.identity is None:
        return ["There is no stack yet."]
    parts: list[str | Table] = [
        f"Stack    {shown.identity.stack_id}",
        f"Cluster  {shown.state} (backend {shown.identity.backend})",
    ]
    if shown.last is not None:
        parts.append(_last(shown))
        parts += [f"Wired    {registry} by {endpoint}" for registry, endpoint in shown.last.mirrors.items()]
    parts += [f"Cache    {one}" for one in shown.containers]
    if shown.caches is None:
        return parts if shown.containers else [*parts, "Caches   not running"]
    complete = sum(held == "complete" for _image, held in seen.held)
    parts.append(f"Caches   running (process {shown.caches.status.pid})")
    parts.append(f"Images   {complete} of {len(seen.held)} complete in the caches")
    return [*parts, "", listeners_table(shown.caches.status, shown.caches.substitutes)]


def _last(shown: Shown) -> str:
    last = shown.last
    assert last is not None
    when = f"{datetime.fromtimestamp(last.at).astimezone():%Y-%m-%d %H:%M}"
    line = f"Last up  {when}, in {span(max(1, last.seconds))}"
    if last.bytes_from_cache is not None and last.bytes_from_upstream is not None:
        line += f": {size(last.bytes_from_cache)} from the cache, {size(last.bytes_from_upstream)} from upstream"
    if last.saved_seconds is not None and last.saved_seconds >= 1:
        line += f", about {span(last.saved_seconds)} saved"
    return line


@dataclass(frozen=True, slots=True)
class InitResult:
    """`stack init`."""

    stack: str
    backend: str
    config: str
    """The directory that has the stack's manifests."""
