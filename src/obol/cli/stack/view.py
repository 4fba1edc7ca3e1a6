"""The stack laid out for 80 columns, and for programs: the same fields on every backend."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from obol.backends.ports import BACKENDS, NONE
from obol.caches.containers.plan import INNER_PORT
from obol.cli.results.stack import (
    Disk,
    GainResult,
    Gateway,
    HeldImageRow,
    LastUpResult,
    RegistryGain,
    StackStatusResult,
    UpImage,
    UpResult,
)
from obol.cli.terminal import caches
from obol.cli.terminal.present import AsIs, Table, counted, size, span, tilde
from obol.client.ports import Kind, PulledImage, PullFailed
from obol.errors import NotThere, ObolError
from obol.machine.ports import bracketed
from obol.stack.stacks import RUNTIMES, by_request

if TYPE_CHECKING:
    from obol.backends.ports import Node, Workload
    from obol.caches.builtin.process import Running
    from obol.caches.containers.engine import ContainerSeen
    from obol.cli.results.stack import CacheEngineName
    from obol.registry.control.api import Listener
    from obol.stack.home import Home, LastUp
    from obol.stack.outcomes import StackStatus, UpImageOutcome, UpOutcome
    from obol.stack.plan import Gain
    from obol.stack.space import SpaceOnDisk
    from obol.workloads.images import StackImage

GATEWAY = "litellm"
"""What the workload is called that answers for all language models."""
WITHOUT_CACHE = (
    "The registry caches are turned off, and nothing here can run the stack,",
    "so obol did nothing. Caches that run already go on, with what they hold.",
)
_MINUTE = "%Y-%m-%d %H:%M"
_STATES = {Kind.RATE_LIMITED: "limited", Kind.ABSENT: "absent", Kind.DENIED: "denied"}
"""What a failure is called in the table; there is room for short words only."""


def up_result(home: Home, outcome: UpOutcome) -> UpResult:
    """What `up` did, for programs."""
    notes = outcome.notes
    if outcome.identity is None:  # what a person reads besides the result
        warnings = caches.start_warnings(outcome.caches) if outcome.caches is not None else [" ".join(WITHOUT_CACHE)]
        advised = " ".join(line.strip() for line in advice(outcome))
        notes = (*notes, *warnings, *([advised] if advised else []))
    return UpResult(
        stack=outcome.identity.stack_id if outcome.identity is not None else None,
        backend=outcome.backend,
        created=outcome.created,
        complete=outcome.complete,
        seconds=round(outcome.seconds, 3),
        gateway=gateway_of(outcome.url, home),
        manifests=str(home.workloads) if outcome.identity is not None else None,
        cache_engine=outcome.cache_engine,
        mirrors={mirror.registry: mirror.endpoint for mirror in outcome.mirrors},
        substitutes=outcome.caches.substitutes if outcome.caches is not None else (),
        gain=_gain_result(outcome.gain),
        images=tuple(map(_image_result, outcome.images)),
        notes=notes,
    )


def gateway_of(url: str, home: Home) -> Gateway | None:
    """Where LiteLLM answers, and where its key is; None without an address."""
    base = url.rstrip("/")
    return Gateway(base, f"{base}/v1", str(home.key_file)) if base else None


def _image_result(one: UpImageOutcome) -> UpImage:
    reference, needed_by = str(one.image.reference), one.image.needed_by
    match one.warmed:
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
        case PullFailed() as failure:
            return UpImage(reference, needed_by, "failed", problem=caches.problem_result(failure))
    return UpImage(reference, needed_by, "cached" if one.held == "complete" else "unknown")


def _gain_result(gain: Gain | None) -> GainResult:
    if gain is None:
        return GainResult(measured=False)
    registries = tuple(RegistryGain(registry, *sizes) for registry, sizes in gain.registries.items())
    saved = None if gain.saved is None else round(gain.saved, 1)
    return GainResult(True, gain.from_cache, gain.from_upstream, saved, registries)


def up_parts(home: Home, outcome: UpOutcome, now: float) -> Sequence[str | Table]:
    """What `up` did, for people. `now` is in seconds since 1970."""
    if outcome.identity is not None:
        return _cluster_up(home, outcome)
    if outcome.caches is None:
        return WITHOUT_CACHE
    return [_images_table(outcome.images), "", *_summary(outcome), *_limits(outcome, now)]


def _cluster_up(home: Home, outcome: UpOutcome) -> list[str]:
    assert outcome.identity is not None
    lines = [
        f"The stack {outcome.identity.stack_id} is up on {outcome.backend} ({span(max(1, outcome.seconds))}).",
        f"LiteLLM answers at {outcome.url}" if outcome.url else "LiteLLM has no address on this machine.",
    ]
    if outcome.mirrors:
        where = ", ".join(f"{mirror.registry} by {mirror.endpoint}" for mirror in outcome.mirrors)
        lines.append(f"Images come through the registry caches: {where}.")
        if BACKENDS[outcome.backend].caches == "gateway" and outcome.caches is not None:
            lines.append("One process serves them; `--cache-engine containers` runs a container for each instead.")
    if outcome.gain is not None:
        lines += _gain_lines(outcome.gain)
    elif outcome.mirrors:
        lines.append("What came from the cache was not measured.")
    return [*lines, *next_steps(home, outcome.url)]


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


def errors(outcome: UpOutcome) -> list[ObolError]:
    """Why images could not be fetched. One error is for all of one registry that share a reason."""
    alike: dict[tuple[str, str], list[PullFailed]] = {}
    for failure in outcome.failures:
        alike.setdefault((failure.reference.registry, failure.why), []).append(failure)
    return [
        group[0]
        if len(group) == 1
        else ObolError(f"{len(group)} images of {registry} cannot be pulled", why=why, hint=group[0].hint)
        for (registry, why), group in alike.items()
    ]


def advice(outcome: UpOutcome) -> list[str]:
    """What to say of the backend where only the caches were filled, line by line."""
    choice = outcome.choice
    if choice is None or outcome.caches is None or outcome.identity is not None:
        return []
    if not choice.looked:
        return ["Only the caches were filled, as asked: nothing runs (backend none)."]
    lines = [f"{program.name} is installed, but does not answer: {program.trouble}" for program in choice.unusable]
    lines += [f"{by_request(choice)}."] if choice.on_request else []
    lines.append("Nothing here can run the stack, so only the caches were filled (backend none). To run it, install")
    for what, pages in RUNTIMES:
        lines += [f"  {what}:", *(f"    {page}" for page in pages)]
    return lines


def _images_table(images: Sequence[UpImageOutcome]) -> Table:
    rows = []
    for one in images:
        match one.warmed:
            case PulledImage() as pulled:
                counts = (pulled.bytes_total, pulled.bytes_from_cache, pulled.bytes_from_upstream)
                rows.append((_short(one.image), "cached", *map(size, counts)))
            case PullFailed() as failure:
                rows.append((_short(one.image), _STATES.get(failure.kind, "failed"), "", "", ""))
    return Table(("Image", "State", ">Size", ">From cache", ">Upstream"), tuple(rows))


def _short(image: StackImage) -> str:
    """The reference without the registry and the path, for which there is no room."""
    return str(image.reference).rpartition("/")[2]


def _summary(outcome: UpOutcome) -> list[str]:
    count = len(outcome.images)
    pulled = count - len(outcome.failures)
    are = "is" if pulled == 1 else "are"
    whole = f"All {count} images are" if count > 1 else f"{counted(count, 'image')} {are}"
    everything = whole if outcome.complete else f"{pulled} of {counted(count, 'image')} {are}"
    lines = [f"{everything} in the caches ({span(max(1, outcome.seconds))})."]
    if (gain := outcome.gain) is not None:
        lines.append(f"{size(gain.from_upstream)} came from upstream, {size(gain.from_cache)} was there already.")
        if gain.saved is not None and gain.saved >= 1:
            lines.append(f"The caches saved about {span(gain.saved)}.")
    return lines


def _limits(outcome: UpOutcome, now: float) -> list[str]:
    """When registries whose rate limit is reached can be asked again, a line each."""
    ends: dict[str, float] = {}
    for failure in outcome.failures:
        if failure.kind is Kind.RATE_LIMITED and failure.retry_after is not None:
            registry = failure.reference.registry
            ends[registry] = max(ends.get(registry, 0.0), failure.retry_after)
    return [
        f"The rate limit of {registry} ends at about {_when(now + wait, '%H:%M')} (in {span(wait)})."
        for registry, wait in ends.items()
    ]


def _when(moment: float, form: str) -> str:
    return datetime.fromtimestamp(moment).astimezone().strftime(form)


def status_result(home: Home, status: StackStatus, disk: SpaceOnDisk) -> StackStatusResult:
    """How the stack is, for programs."""
    last, running, identity = status.last, status.caches, status.identity
    urls = (one.url for one in status.details.workloads if one.name == GATEWAY)
    return StackStatusResult(
        stack=identity.stack_id if identity is not None else None,
        backend=identity.backend if identity is not None else NONE,
        cluster=status.state,
        trouble=status.trouble,
        gateway=gateway_of(next(urls, ""), home),
        manifests=str(home.workloads) if identity is not None else None,
        nodes=status.details.nodes,
        workloads=status.details.workloads,
        cache_engine=_serving(status),
        engine=running.status if running is not None else None,
        containers=tuple(map(caches.container_result, status.containers)),
        mirrors=last.mirrors if last is not None else {},
        substitutes=running.substitutes if running is not None else (),
        images_complete=_complete(status) == len(status.images) if running is not None else None,
        images=tuple(HeldImageRow(str(image.reference), image.needed_by, held) for image, held in status.images),
        last_up=LastUpResult(last.at, round(last.seconds, 1), _gain_result(last.gain)) if last is not None else None,
        disk=Disk(disk.caches, disk.held, disk.free, disk.data, disk.data_there),
    )


def status_code(status: StackStatus) -> int:
    """What `--exit-code` makes of it: 0 where all runs, 4 where nothing does, 1 where not all does or may run."""
    if status.state in {"absent", "stopped"}:
        return NotThere.exit_code
    whole = all(node.running for node in status.details.nodes)
    whole &= all(one.ready >= one.wanted for one in status.details.workloads)
    return 0 if status.state == "running" and whole and not status.trouble else ObolError.exit_code


def _serving(status: StackStatus) -> CacheEngineName | None:
    if status.caches is not None:
        return "builtin"
    return "containers" if any(one.state == "running" for one in status.containers) else None


def _complete(status: StackStatus) -> int:
    """How many images are in the caches as a whole."""
    return sum(held == "complete" for _image, held in status.images)


def status_parts(home: Home, status: StackStatus, disk: SpaceOnDisk) -> list[str | Table]:
    """How the stack is, for people: what it is first, then what runs, then what serves its images."""
    held = "an unknown amount" if disk.held is None else size(disk.held)
    free = "" if disk.free is None else f", {size(disk.free)} free"
    there = "" if disk.data_there else " (not there yet)"
    room = [f"Disk     {held} in {tilde(disk.caches)}{free}", f"Data     {tilde(disk.data)}{there}"]
    if status.identity is None:
        return _no_stack(status, room)
    state = "not known" if status.state == "unknown" else status.state
    parts: list[str | Table] = [
        f"Stack    {status.identity.stack_id}",
        f"Cluster  {state} (backend {status.identity.backend})",
        *_last(status.last, status.unfinished),
        *_caches(status),
        *room,
        *_gateway(home, status),
    ]
    tables = [_nodes(status.details.nodes), _workloads(status.details.workloads)]
    by_pods = BACKENDS[status.identity.backend].caches == "ports"
    figures = caches.for_figures(status.caches.status) if status.caches and by_pods else []
    tables += [_registries(status.caches, figures)] if status.caches else []
    for table in tables:
        if table.rows:
            parts += ["", table]
    told = "Prometheus asks the caches for their figures."
    return [*parts, *(f"At {bracketed(one.address)}:{one.port} {told}" for one in figures)]


def _no_stack(status: StackStatus, room: list[str]) -> list[str | Table]:
    """What there is without a stack: caches."""
    head, count = f"Cluster  nothing runs (backend {NONE})", len(status.images)
    if (running := status.caches) is None:
        return [head, "Caches   not running", f"Images   {count} needed; which are held is not known", *room]
    rows = tuple((_short(image), held or "", ", ".join(image.needed_by)) for image, held in status.images)
    return [
        head,
        f"Caches   running (process {running.status.pid})",
        f"Images   {_complete(status)} of {count} complete",
        *room,
        "",
        caches.listeners_table(running.status, running.substitutes),
        "",
        Table(("Image", "In the cache", "Needed by"), rows),
    ]


def _gateway(home: Home, status: StackStatus) -> list[str]:
    """Where LiteLLM answers, with which key, and where its models are."""
    urls = (one.url for one in status.details.workloads if one.name == GATEWAY and one.url)
    at = [f"LiteLLM  {url} (its key: `obol stack key`)" for url in urls]
    return [
        *at,
        f"Models   {tilde(str(home.gateway_manifest))}",
        "         `obol stack up` applies what you change there",
    ]


def _caches(status: StackStatus) -> list[str]:
    lines = [f"Cache    {one.cache.name} ({one.state}{_where(one)})" for one in status.containers]
    mirrors = status.last.mirrors if status.last else {}
    # Where nodes ask the addresses that are listed anyway, nothing needs to be said.
    served = {f"{one.cache.name}:{INNER_PORT}" for one in status.containers}
    if status.caches is None and not served:
        return [
            "Caches   not running",
            *(f"Wired    {registry} by {endpoint}" for registry, endpoint in mirrors.items()),
        ]
    if status.caches is not None:
        engine = status.caches.status
        lines.append(f"Caches   builtin engine (process {engine.pid}), {counted(engine.content.count, 'blob')}")
        lines.append(f"Images   {_complete(status)} of {len(status.images)} complete in the caches")
        lines += [f"Port     {caches.moved_note(one)}" for one in status.caches.substitutes if one.wanted]
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


def _registries(running: Running, figures: Sequence[Listener]) -> Table:
    """A row for each registry: where it serves images, how it does, and what came from where."""
    rows, listeners = [], [one for one in running.status.listeners if one not in figures]
    for upstream in running.status.upstreams:
        own = [one for one in listeners if one.registry == upstream.registry]
        where = ", ".join(f"{bracketed(one.address)}:{one.port}" for one in own)
        moved = (size(upstream.bytes_from_cache), size(upstream.bytes_from_upstream))
        health = "not asked" if upstream.health == "unknown" else upstream.health
        rows.append((upstream.registry, where, health, *moved))
    return Table(("Registry", "Served at", "Health", ">Sent from cache", ">Fetched"), tuple(rows))


def _last(last: LastUp | None, unfinished: float | None) -> list[str]:
    tried = [f"Last try {_when(unfinished, _MINUTE)}, which has not come to its end"] if unfinished is not None else []
    if last is None:
        return tried
    lines = [f"Last up  {_when(last.at, _MINUTE)}, in {span(max(1, last.seconds))}"]
    if (gain := last.gain) is not None:
        gained = f"{size(gain.from_cache)} from the cache, {size(gain.from_upstream)} from upstream"
        if gain.saved is not None and gain.saved >= 1:
            gained += f", about {span(gain.saved)} saved"
        lines.append(f"         {gained}")
    return [*lines, *tried]
