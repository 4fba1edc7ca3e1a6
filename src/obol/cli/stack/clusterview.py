"""A stack with a cluster, laid out for 80 columns, and for programs."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from obol.caches.containers.plan import INNER_PORT
from obol.cli.results.stack import GainResult, Gateway, LastUpResult, RegistryGain, StackStatusResult, UpImage, UpResult
from obol.cli.stack.view import count_complete, disk_lines, disk_result, held_rows
from obol.cli.terminal.caches import container_result, moved_note
from obol.cli.terminal.present import AsIs, Table, counted, size, span, tilde
from obol.errors import NotThere, ObolError
from obol.machine.ports import bracketed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from obol.backends.ports import Node, Workload
    from obol.caches.containers.engine import ContainerSeen
    from obol.caches.ports import Running
    from obol.cli.results.stack import CacheEngineName
    from obol.stack.home import Home, Identity, LastUp
    from obol.stack.lifecycle import Raised, Shown
    from obol.stack.nocluster import Seen
    from obol.stack.plan import Gain
    from obol.stack.space import Space
    from obol.workloads.images import StackImage

GATEWAY = "litellm"
"""What the workload is called that answers for all language models."""


def gateway_of(url: str, home: Home) -> Gateway | None:
    """Where LiteLLM answers, and where its key is; None without an address."""
    base = url.rstrip("/")
    return Gateway(base, f"{base}/v1", str(home.key_file)) if base else None


def raised_result(home: Home, wanted: Sequence[StackImage], identity: Identity, raised: Raised) -> UpResult:
    """What `up` did, for programs; `wanted` are the images that the stack needs."""
    return UpResult(
        stack=identity.stack_id,
        backend=identity.backend,
        created=raised.cluster.created,
        complete=True,
        seconds=round(raised.seconds, 3),
        gateway=gateway_of(raised.deployed.url, home),
        manifests=str(home.workloads),
        cache_engine=raised.cache_engine,
        mirrors={mirror.registry: mirror.endpoint for mirror in raised.mirrors},
        substitutes=raised.caches.substitutes if raised.caches is not None else (),
        gain=_gain_result(raised.gain),
        images=tuple(_raised_image(image, raised) for image in wanted),
        notes=raised.notes,
    )


def _raised_image(image: StackImage, raised: Raised) -> UpImage:
    cached = raised.held.get(image.reference) == "complete"
    return UpImage(str(image.reference), image.needed_by, "cached" if cached else "unknown")


def raised_parts(home: Home, identity: Identity, raised: Raised) -> list[str | Table]:
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
    if raised.gain is not None:
        lines += _gain_lines(raised.gain)
    elif raised.mirrors:
        lines.append("What came from the cache was not measured.")
    return [*lines, *next_steps(home, raised.deployed.url)]


def next_steps(home: Home, url: str) -> list[str]:
    """What to do with a stack that is up; nothing where its gateway has no address."""
    if not url:
        return []
    return [
        "",
        "Ask it which models it has:",
        AsIs(f'  curl -H "Authorization: Bearer $(obol stack key)" {url.rstrip("/")}/v1/models'),
        f"Add models under model_list in {tilde(str(home.gateway_manifest))}, and run `obol stack up` again.",
    ]


def shown_result(home: Home, shown: Shown, seen: Seen, disk: Space) -> StackStatusResult:
    """How the stack is, for programs."""
    last = shown.last
    urls = (one.url for one in shown.details.workloads if one.name == GATEWAY)
    return StackStatusResult(
        stack=shown.identity.stack_id,
        backend=shown.identity.backend,
        cluster=shown.state,
        trouble=shown.trouble,
        gateway=gateway_of(next(urls, ""), home),
        manifests=str(home.workloads),
        nodes=shown.details.nodes,
        workloads=shown.details.workloads,
        cache_engine=_serving(shown, seen),
        engine=seen.caches.status if seen.caches else None,
        containers=tuple(map(container_result, shown.containers)),
        mirrors=last.mirrors if last else {},
        substitutes=seen.caches.substitutes if seen.caches else (),
        images_complete=None if seen.caches is None else count_complete(seen) == len(seen.held),
        images=held_rows(seen),
        last_up=_last_result(last),
        disk=disk_result(disk),
    )


def shown_code(shown: Shown) -> int:
    """What `--exit-code` makes of it: 0 where all runs, 4 where nothing does, 1 where not all does or nobody knows."""
    if shown.state in {"absent", "stopped"}:
        return NotThere.exit_code
    whole = all(node.running for node in shown.details.nodes)
    whole &= all(one.ready >= one.wanted for one in shown.details.workloads)
    return 0 if shown.state == "running" and whole and not shown.trouble else ObolError.exit_code


def _serving(shown: Shown, seen: Seen) -> CacheEngineName | None:
    if seen.caches is not None:
        return "builtin"
    return "containers" if any(one.state == "running" for one in shown.containers) else None


def _last_result(last: LastUp | None) -> LastUpResult | None:
    if last is None:
        return None
    return LastUpResult(last.at, round(last.seconds, 1), _gain_result(last.gain))


def _gain_result(gain: Gain | None) -> GainResult:
    if gain is None:
        return GainResult(measured=False)
    registries = tuple(RegistryGain(registry, *sizes) for registry, sizes in sorted(gain.registries.items()))
    saved = None if gain.saved is None else round(gain.saved, 1)
    return GainResult(True, gain.from_cache, gain.from_upstream, saved, registries)


def _gain_lines(gain: Gain) -> list[str]:
    """What nodes were given of what was there before, and what that saved: nothing is claimed of a first pull."""
    if not gain.from_cache and not gain.from_upstream:
        return ["No image was pulled: all that is needed was there."]
    if not gain.from_cache:
        return [f"Nothing saved yet: all {size(gain.from_upstream)} came from upstream."]
    lines = [f"{size(gain.from_cache)} came from the cache, {size(gain.from_upstream)} from upstream."]
    if gain.saved is not None and gain.saved >= 1:
        lines.append(f"The caches saved about {span(gain.saved)}.")
    return lines


def shown_parts(home: Home, shown: Shown, seen: Seen, disk: Space) -> list[str | Table]:
    """How the stack is, for people: what it is first, then what runs, then what serves its images."""
    state = "not known" if shown.state == "unknown" else shown.state
    parts: list[str | Table] = [
        f"Stack    {shown.identity.stack_id}",
        f"Cluster  {state} (backend {shown.identity.backend})",
        *_last(shown.last),
        *_caches(shown, seen),
        *disk_lines(disk),
        *_gateway(home, shown),
    ]
    tables = [_nodes(shown.details.nodes), _workloads(shown.details.workloads)]
    tables += [_registries(seen.caches)] if seen.caches else []
    for table in tables:
        if table.rows:
            parts += ["", table]
    return parts


def _gateway(home: Home, shown: Shown) -> list[str]:
    """Where LiteLLM answers, with which key, and where its models are."""
    urls = (one.url for one in shown.details.workloads if one.name == GATEWAY and one.url)
    at = [f"LiteLLM  {url} (its key: `obol stack key`)" for url in urls]
    return [
        *at,
        f"Models   {tilde(str(home.gateway_manifest))}",
        "         `obol stack up` applies what you change there",
    ]


def _caches(shown: Shown, seen: Seen) -> list[str]:
    lines = [f"Cache    {one.cache.name} ({one.state}{_where(one)})" for one in shown.containers]
    mirrors = shown.last.mirrors if shown.last else {}
    # Where nodes ask the addresses that are listed anyway, nothing needs to be said.
    served = {f"{one.cache.name}:{INNER_PORT}" for one in shown.containers}
    if seen.caches is None and not served:
        return [
            "Caches   not running",
            *(f"Wired    {registry} by {endpoint}" for registry, endpoint in mirrors.items()),
        ]
    if seen.caches is not None:
        engine = seen.caches.status
        lines.append(f"Caches   builtin engine (process {engine.pid}), {counted(engine.content.count, 'blob')}")
        lines.append(f"Images   {count_complete(seen)} of {len(seen.held)} complete in the caches")
        lines += [f"Port     {moved_note(one)}" for one in seen.caches.substitutes if one.wanted]
        served |= {f"{bracketed(one.address)}:{one.port}" for one in engine.listeners}
    astray = ((name, at) for name, at in mirrors.items() if at.partition("://")[2] not in served)
    return [*lines, *(f"Wired    {name} by {at}, which is not ours" for name, at in astray)]


def _where(seen: ContainerSeen) -> str:
    """On which port a container is published, where that is not the usual one."""
    return f", on {seen.port}, not {seen.cache.port}" if seen.port not in {0, seen.cache.port} else ""


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
        moved = (size(upstream.bytes_from_cache), size(upstream.bytes_from_upstream))
        health = "not asked" if upstream.health == "unknown" else upstream.health
        rows.append((upstream.registry, where, health, *moved))
    return Table(("Registry", "Served at", "Health", ">From cache", ">Upstream"), tuple(rows))


def _last(last: LastUp | None) -> list[str]:
    if last is None:
        return []
    when = f"{datetime.fromtimestamp(last.at).astimezone():%Y-%m-%d %H:%M}"
    lines = [f"Last up  {when}, in {span(max(1, last.seconds))}"]
    if (gain := last.gain) is not None:
        gained = f"{size(gain.from_cache)} from the cache, {size(gain.from_upstream)} from upstream"
        if gain.saved is not None and gain.saved >= 1:
            gained += f", about {span(gain.saved)} saved"
        lines.append(f"         {gained}")
    return lines
