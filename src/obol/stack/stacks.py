"""What `obol stack` decides: which stack this is, what it runs on, and what each verb does with it.

Each verb is a method, and tells the person by the reporter what goes on. `wiring` makes stacks on backends for it, and
`cli` parses, calls and prints.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from obol.backends.ports import BACKENDS, NONE
from obol.config import background
from obol.config.paths import locate
from obol.config.stack import backend_wish, cache_disabled, image_overrides
from obol.errors import DependencyMissing, NotThere, ObolError, UsageError
from obol.machine.clock import SystemClock
from obol.machine.files import give_away
from obol.stack import home as homes
from obol.stack import plan
from obol.stack.adoption import settle
from obol.stack.home import Home, Identity, NameLost, two_words
from obol.stack.outcomes import UpOutcome, UpRequest
from obol.stack.space import space
from obol.workloads.images import deployed, images_of, stack_images
from obol.workloads.sources import brought, packaged

if TYPE_CHECKING:
    from obol.backends.ports import BackendName, Runtimes
    from obol.config.background import CachePlans
    from obol.config.paths import Invocation
    from obol.config.stack import EngineName
    from obol.oci.references import ImageReference
    from obol.stack.adoption import Clusters
    from obol.stack.lifecycle import Lifecycle
    from obol.stack.outcomes import PurgeOutcome, StackStatus
    from obol.stack.plan import Choice
    from obol.stack.reporter import Reporter
    from obol.stack.space import SpaceOnDisk

RUNTIMES = (
    ("k3d, which needs Docker", ("https://k3d.io/stable/#installation", "https://docs.docker.com/engine/install/")),
    ("or podman 4.3 or newer", ("https://podman.io/docs/installation",)),
)
"""What a person could install to run the stack, with the pages that tell how."""
NOT_OURS = "it was not made by obol for this stack"
DATA = "it is the stack's data; `obol stack purge --force` removes it"


@dataclass(frozen=True, slots=True)
class Machine:
    """This machine, as `wiring` puts it together."""

    lifecycle: Callable[[BackendName, CachePlans, Home], Lifecycle]
    runtimes: Callable[[], Awaitable[Runtimes]]
    """Asks what it could run a stack on."""
    installed: Callable[[str], bool]
    """Tells whether a program is there, and runs nothing."""
    clusters: Callable[[Home, Path], Awaitable[Clusters]]
    """Looks for the clusters of stacks on its Docker."""


@dataclass(frozen=True, slots=True)
class UpOptions:
    """What the person asks of `up`."""

    backend: BackendName | None = None
    engine: EngineName | None = None
    files: Sequence[Path] = ()
    """More manifests."""
    use_caches: bool = True
    prefetch: bool = True


@dataclass(frozen=True, slots=True)
class ChosenUp:
    """An `up` of which is known what it is about."""

    options: UpOptions
    identity: Identity | None
    """The stack that is there."""
    choice: Choice


@dataclass(frozen=True, slots=True)
class Removal:
    """What `purge` removed besides the cluster, and what it left of the data."""

    identity: Identity | None
    purged: PurgeOutcome
    images: bool
    data: bool
    caches: bool
    kept_data: tuple[Path, str] | None = None
    """The directory, and why it stays."""


class Stacks:
    """The stack of one configuration directory."""

    def __init__(self, around: Invocation, machine: Machine, reporter: Reporter) -> None:
        self._around = around
        self._machine = machine
        self._reporter = reporter
        self._directories = locate(around)
        self.home = Home(self._directories.config)

    async def init(self, wish: BackendName | None, *, anew: bool) -> Identity:
        """Name the stack and write its manifests down; `anew`: also where there is one, which keeps its name."""
        try:
            before = await self.identify()
        except NameLost:
            if not anew:
                raise
            before = None
        if before is not None and not anew:
            raise UsageError(
                f"there is a stack already: {before.stack_id} on {before.backend}",
                why=f"{self.home.config} has it",
                hint="bring it up with `obol stack up`, or begin anew with `obol stack init --force`",
            )
        choice = await self._choose(wish, None)
        if not BACKENDS[choice.backend].runs:
            raise (
                needed(choice)
                if choice.looked
                else UsageError(
                    "nothing can be initialised without a backend",
                    hint="`obol stack up --backend none` fills the caches, and needs no stack",
                )
            )
        with self._at_work():
            await self._idle(choice.backend).check()
            if before is not None and before.backend != choice.backend and BACKENDS[before.backend].runs:
                await self._forget(before)
            return self._establish(before, choice.backend)

    async def choose(self, options: UpOptions) -> ChosenUp:
        """Tell which stack an `up` is about, and what it runs on. Raises ObolError."""
        # Asked first, and of nothing but the environment: a person who turns caches off wants nothing of them touched.
        use_caches = not cache_disabled(self._around.environ) and options.use_caches
        identity = await self.identify(surely=True)
        choice = await self._choose(options.backend, identity)
        return ChosenUp(replace(options, use_caches=use_caches), identity, choice)

    async def up(self, chosen: ChosenUp) -> UpOutcome:
        """Bring the stack up, or, where this machine runs none, fill the caches. Raises ObolError."""
        options, identity, choice = chosen.options, chosen.identity, chosen.choice
        if not BACKENDS[choice.backend].runs:
            return replace(await self._fill(options), choice=choice)
        plans = self._plans(options.engine) if options.use_caches else self._idle_plans()
        lifecycle = self._machine.lifecycle(choice.backend, plans, self.home)
        with self._at_work():
            if identity is None:  # only a backend that can run here is written down
                await lifecycle.check()
            identity = self._establish(identity, choice.backend)
            request = self._request(identity, options)
            if options.use_caches:
                last = self.home.last_up()
                names = [str(reference) for reference in request.references]
                self._reporter.show(names, last.images if last else (), foretold=options.prefetch)
            outcome = await lifecycle.up(request, self._reporter, SystemClock())
        return replace(outcome, choice=choice, ignored=ignored(plans, choice.backend))

    async def _fill(self, options: UpOptions) -> UpOutcome:
        """Do what there is to do without a cluster: fill the caches, unless these are not to be used."""
        if not options.use_caches:
            return UpOutcome(None, NONE, complete=False)
        images = stack_images(brought(options.files), self._overrides())
        lifecycle = self._machine.lifecycle(NONE, self._plans(options.engine), self.home)
        request = UpRequest(None, self._directories.data, (), images)
        return await lifecycle.up(request, self._reporter, SystemClock())

    async def down(self) -> tuple[Identity, bool]:
        """Stop the stack; False: it did not run. Raises NotThere."""
        identity = await self.there()
        with self._at_work():
            return identity, await self._idle(identity.backend).down(identity, self._reporter)

    async def purge(self, identity: Identity | None, *, force: bool, caches: bool) -> Removal:
        """Remove the stack; with `force` its data and images, with `caches` the registry caches too."""
        backend = (await self._choose(None, identity, ask_environment=False)).backend
        plans = self._plans() if caches else self._idle_plans()
        had_caches = caches and (plans.builtin.store.exists() or self._directories.cache_root.exists())
        lifecycle = self._machine.lifecycle(backend, plans, self.home)
        data = self._directories.data
        with self._at_work():
            purged = await lifecycle.purge(identity, self._reporter, images=force, caches=caches)
            if caches:
                homes.remove_empty(self._directories.cache_root, self._directories.state)
            had_data, kept = data.exists(), self._dispose(force=force)
        images = purged.removed and force
        return Removal(identity, purged, images, had_data and kept is None and force, had_caches, kept)

    async def status(self, files: Sequence[Path]) -> tuple[StackStatus, SpaceOnDisk]:
        """Look at everything, and at the room on disk; nothing is changed."""
        here = any((self.home.config / name).exists() for name in homes.rendered())
        identity = await self.identify(remember=False) if here else self.home.identity()
        plans = self._plans()
        backend = identity.backend if identity is not None else NONE
        needs = stack_images(brought(files), self._overrides(), kubernetes=self._wants_kubernetes_images(backend))
        found = await self._machine.lifecycle(backend, plans, self.home).status(identity, needs)
        return found, space(self._directories.cache_root, self._directories.data)

    def _wants_kubernetes_images(self, backend: BackendName) -> bool:
        """Tell whether `up` needs the images of k3s, without asking any program."""
        wish = backend if BACKENDS[backend].runs else backend_wish(self._around.environ)
        if wish is not None:
            return BACKENDS[wish].brings_kubernetes_images
        return plan.wants_kubernetes_images(self._machine.installed, is_root=os.geteuid() == 0)

    async def there(self) -> Identity:
        """Tell which stack there is. Raises NotThere."""
        identity = await self.identify()
        if identity is None:
            raise NotThere("there is no stack", why=f"{self.home.config} has none", hint="`obol stack up` makes one")
        return identity

    async def identify(self, *, surely: bool = False, remember: bool = True) -> Identity | None:
        """Tell which stack this is; None where there is none. Raises NameLost, or ObolError where it may be several.

        Where its name was lost, the cluster that was made for this directory tells it, and it is written down again.
        With `surely` that cluster is looked for also where a name is written: it may be that of another stack.
        """
        written: Identity | NameLost | None
        try:
            written = self.home.identity()
        except NameLost as lost:
            written = lost
        known = isinstance(written, Identity) and not surely
        marked = written is None or written.backend is None or BACKENDS[written.backend].marks_clusters
        if known or not marked:
            if isinstance(written, NameLost):
                raise written
            return written
        clusters = await self._machine.clusters(self.home, self._directories.data)
        identity, line = settle(written, clusters, self.home.config)
        if identity is not None and line:
            if remember:
                with self._at_work():
                    self.home.establish(identity)
            self._reporter.note(line)
        return identity

    async def _choose(
        self, wish: BackendName | None, identity: Identity | None, *, ask_environment: bool = True
    ) -> Choice:
        """Choose a backend: the person's wish, what the stack there is has, or what is installed. Raises UsageError.

        The wish of the environment counts where there is no stack yet.
        """
        recorded = identity.backend if identity is not None and BACKENDS[identity.backend].runs else None
        lasting = backend_wish(self._around.environ) if ask_environment else None  # a wrong word is always refused
        if wish is None and recorded is None:
            wish = lasting
        other = wish is not None and wish != recorded and BACKENDS[wish].runs
        if identity is not None and recorded is not None and other:
            raise UsageError(
                f"the stack {identity.stack_id} runs on {recorded}",
                hint=f"`obol stack init --force --backend {wish}` changes that",
            )
        if asked := wish or recorded:
            return plan.Choice(asked)
        return replace(plan.choose(await self._machine.runtimes()), looked=True)

    def _request(self, identity: Identity, options: UpOptions) -> UpRequest:
        """What a cluster gets: the stack's manifests, as they are in its directory, and those of the person."""
        manifests = deployed(brought([self.home.workloads]), brought(options.files), self._overrides())
        images = images_of(manifests, kubernetes=BACKENDS[identity.backend].brings_kubernetes_images)
        return UpRequest(identity, self._directories.data, manifests, images, options.use_caches, options.prefetch)

    def _establish(self, before: Identity | None, backend: BackendName) -> Identity:
        """Give the stack its name, if it has none, and refresh its manifests."""
        identity = Identity(before.stack_id if before else two_words(secrets.randbelow), backend)
        if identity != before:
            self.home.establish(identity)
        for name in self.home.refresh(packaged()):
            self._reporter.note(f"You changed workloads/{name}: obol uses it as it is.")
        return identity

    async def _forget(self, before: Identity) -> None:
        """Remove what runs on a backend that is not wanted any more; where that fails, it stays, and that is said."""
        try:
            await self._idle(before.backend).purge(before, self._reporter, images=False, caches=False)
        except ObolError as problem:
            self._reporter.warn(f"obol could not remove what runs on {before.backend}, so it stays: {problem}.")

    def _dispose(self, *, force: bool) -> tuple[Path, str] | None:
        """Remove the stack's data, where that is wished and it is the stack's; gives what stays of it, and why."""
        data = self._directories.data
        if not data.exists():
            return None
        if not homes.is_ours(data, self.home.config):
            return (data, NOT_OURS) if force else None
        if not force:
            return data, DATA
        homes.remove(data)
        return None

    @contextlib.contextmanager
    def _at_work(self) -> Iterator[None]:
        """Be the only command at work on this stack; the person owns what root wrote for them. Raises ObolError."""
        config, data = self.home.config, self._directories.data
        account = background.sudo_account(self._around.environ, os.geteuid())
        with homes.at_work(config):
            try:
                yield
            finally:
                if account is not None:
                    give_away(config, account.uid, account.gid)
                    # What else is in the data may be a cluster's.
                    for own in (data / homes.MARK, data) if homes.is_ours(data, config) else ():
                        give_away(own, account.uid, account.gid, below=False)

    def _plans(self, engine: EngineName | None = None) -> CachePlans:
        from obol.config.settings import load_cache_plans  # noqa: PLC0415 - loads pydantic, which `down` needs not

        return load_cache_plans(self._around, self._reporter.warn, engine)

    def _idle_plans(self) -> CachePlans:
        return background.idle_plans(self._directories)

    def _idle(self, backend: BackendName) -> Lifecycle:
        """The stack for verbs that leave the caches alone."""
        return self._machine.lifecycle(backend, self._idle_plans(), self.home)

    def _overrides(self) -> dict[str, ImageReference]:
        return dict(image_overrides(self._directories.settings_file))


def ignored(plans: CachePlans, backend: BackendName) -> tuple[str, ...]:
    """Wishes that a backend has no use for, a sentence each."""
    row, found = BACKENDS[backend], []
    if plans.engine == "containers" and row.caches != "gateway":
        found.append("The containers engine is for clusters of k3d: the builtin engine serves here.")
    if plans.development and not row.can_hot_swap:
        found.append(
            f"{row.name} looks on port 54103 of this machine for images of localhost:54103; obol runs none there."
            if row.looks_for_pushed_images
            else "The registry to push to is for clusters of k3d: there is none here."
        )
    return tuple(found)


def needed(choice: Choice) -> DependencyMissing:
    """What to raise where only something that runs will do."""
    ways = "; ".join(f"{what}: {pages[0]}" for what, pages in RUNTIMES)
    if choice.on_request:
        return DependencyMissing(
            "nothing here can run the stack without being asked to",
            why=by_request(choice),
            hint=f"ask for it with `--backend {choice.on_request[0]}`, or install {ways}",
        )
    deaf = "; ".join(f"{program.name} does not answer: {program.trouble}" for program in choice.unusable)
    return DependencyMissing(
        "nothing here can run the stack",
        why=deaf or "neither k3d with Docker nor podman is installed",
        hint=f"start what is installed, or install {ways}" if deaf else f"install {ways}",
    )


def by_request(choice: Choice) -> str:
    """How a person gets a backend that is used on request only."""
    name = choice.on_request[0]
    return f"{name} is installed: `obol stack up --backend {name}` runs the stack on the machine itself, as root"
