"""A stack with a cluster, laid out for 80 columns, and the stable shapes of the same as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from obol.cli.present import Table, counted, size, span
from obol.cli.stackview import count_complete, disk_lines, held_rows
from obol.machine.addresses import bracketed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from obol.backends.base import Node, Workload
    from obol.caches.base import EngineStatus, Running, Substitute
    from obol.cli.stackview import HeldRow
    from obol.stack.lifecycle import Raised, Shown
    from obol.stack.nocluster import Seen
    from obol.stack.space import Space
    from obol.stack.state import Identity, LastUp


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
    last_up_bytes_from_cache: int | None
    """Null where it was not measured, as the next two."""
    last_up_bytes_from_upstream: int | None
    last_up_saved_seconds: float | None
    nodes: tuple[Node, ...]
    workloads: tuple[Workload, ...]
    trouble: str
    """Why the cluster is "unknown", or nodes and workloads are not told."""
    engine: EngineStatus | None
    substitutes: tuple[Substitute, ...]
    disk: Space


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


def shown_result(shown: Shown, seen: Seen, disk: Space) -> ShownResult:
    """How the stack is, for programs."""
    last = shown.last
    return ShownResult(
        stack=shown.identity.stack_id,
        backend=shown.identity.backend,
        cluster=shown.state,
        caches=seen.caches is not None,
        containers=shown.containers,
        mirrors=last.mirrors if last else {},
        complete=count_complete(seen) == len(seen.held),
        images=held_rows(seen),
        last_up=last.at if last else None,
        last_up_seconds=round(last.seconds, 1) if last else None,
        last_up_bytes_from_cache=last.bytes_from_cache if last else None,
        last_up_bytes_from_upstream=last.bytes_from_upstream if last else None,
        last_up_saved_seconds=last.saved_seconds if last else None,
        nodes=shown.details.nodes,
        workloads=shown.details.workloads,
        trouble=shown.trouble,
        engine=seen.caches.status if seen.caches else None,
        substitutes=seen.caches.substitutes if seen.caches else (),
        disk=disk,
    )


def shown_parts(shown: Shown, seen: Seen, disk: Space) -> list[str | Table]:
    """How the stack is, for people: what it is first, then what runs, then what serves its images."""
    state = "not known" if shown.state == "unknown" else shown.state
    parts: list[str | Table] = [
        f"Stack    {shown.identity.stack_id}",
        f"Cluster  {state} (backend {shown.identity.backend})",
        *_last(shown.last),
        *_caches(shown, seen),
        *disk_lines(disk),
    ]
    tables = [_nodes(shown.details.nodes), _workloads(shown.details.workloads)]
    tables += [_registries(seen.caches)] if seen.caches else []
    for table in tables:
        if table.rows:
            parts += ["", table]
    return parts


def _caches(shown: Shown, seen: Seen) -> list[str]:
    lines = [f"Cache    {one}" for one in shown.containers]
    mirrors = shown.last.mirrors if shown.last else {}
    if seen.caches is None:
        lines += [] if shown.containers else ["Caches   not running"]
        return [*lines, *(f"Wired    {registry} by {endpoint}" for registry, endpoint in mirrors.items())]
    engine = seen.caches.status
    lines.append(f"Caches   builtin engine (process {engine.pid}), {counted(engine.content.count, 'blob')}")
    lines.append(f"Images   {count_complete(seen)} of {len(seen.held)} complete in the caches")
    # Where nodes ask the addresses that are listed anyway, nothing needs to be said.
    served = {f"{bracketed(one.address)}:{one.port}" for one in engine.listeners}
    astray = {
        registry: endpoint for registry, endpoint in mirrors.items() if endpoint.partition("://")[2] not in served
    }
    return [*lines, *(f"Wired    {registry} by {endpoint}, which is not ours" for registry, endpoint in astray.items())]


def _nodes(nodes: Sequence[Node]) -> Table:
    return Table(
        ("Node", "Role", "State"),
        tuple((node.name, node.role, "running" if node.running else "stopped") for node in nodes),
    )


def _workloads(workloads: Sequence[Workload]) -> Table:
    rows = tuple(
        (one.name, f"{one.ready} of {one.wanted}", one.url or (f"({one.why})" if one.why else "")) for one in workloads
    )
    return Table(("Workload", "Ready", "Answers at"), rows)


def _registries(caches: Running) -> Table:
    """A row for each registry: where it is served, how it does, and what came from where."""
    rows = []
    for upstream in caches.status.upstreams:
        own = [one for one in caches.status.listeners if one.registry == upstream.registry]
        where = ", ".join(f"{bracketed(one.address)}:{one.port}" for one in own)
        instead = {one.port: one.wanted for one in caches.substitutes if one.registry == upstream.registry}
        where += "".join(f" (not {instead[one.port]})" for one in own if instead.get(one.port))
        moved = (size(upstream.bytes_from_cache), size(upstream.bytes_from_upstream))
        health = "not asked" if upstream.health == "unknown" else upstream.health
        rows.append((upstream.registry, where, health, *moved))
    return Table(("Registry", "Served at", "Health", ">From cache", ">Upstream"), tuple(rows))


def _last(last: LastUp | None) -> list[str]:
    if last is None:
        return []
    when = f"{datetime.fromtimestamp(last.at).astimezone():%Y-%m-%d %H:%M}"
    lines = [f"Last up  {when}, in {span(max(1, last.seconds))}"]
    if last.bytes_from_cache is not None and last.bytes_from_upstream is not None:
        gained = f"{size(last.bytes_from_cache)} from the cache, {size(last.bytes_from_upstream)} from upstream"
        if last.saved_seconds is not None and last.saved_seconds >= 1:
            gained += f", about {span(last.saved_seconds)} saved"
        lines.append(f"         {gained}")
    return lines


@dataclass(frozen=True, slots=True)
class InitResult:
    """`stack init`."""

    stack: str
    backend: str
    config: str
    """The directory that has the stack's manifests."""
