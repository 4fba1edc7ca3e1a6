"""The stack: a backend, the caches and the way to fill them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from obol.backends.detect import detect
from obol.backends.k3d import backend as k3d
from obol.backends.k3s import backend as k3s
from obol.backends.kubernetes.deployments import KubernetesDeployments
from obol.backends.podman.backend import Looks, PodmanBackend
from obol.caches.builtin.process import BuiltinEngine
from obol.caches.containers.engine import ContainersEngine
from obol.caches.containers.plan import push_registry
from obol.caches.docker.gateway import GatewayMirrors
from obol.caches.docker.network import ensure_network
from obol.caches.warming import Warming
from obol.client.platforms import this_machine
from obol.config.stack import may_ask
from obol.machine.clock import SystemClock
from obol.machine.commands import SystemRunner
from obol.machine.docker.cli import Docker
from obol.machine.podman import Podman
from obol.machine.scratch import Scratch
from obol.machine.system import machine_id
from obol.registry.control.api import Listener
from obol.rendering.k3s import CACHES
from obol.rendering.names import home_mark
from obol.stack.adoption import look
from obol.stack.caches import PUSHED, DockerCaches, HostCaches, NoNetworks
from obol.stack.hotswap import HotSwap, Prerequisites
from obol.stack.lifecycle import Lifecycle
from obol.stack.nocluster import CachesOnly
from obol.stack.reclaim import LeakedNetworks

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping
    from pathlib import Path

    from obol.backends.ports import Runtimes
    from obol.caches.builtin.plan import BuiltinPlan
    from obol.caches.containers.engine import ContainerSeen
    from obol.caches.containers.plan import ContainersPlan
    from obol.config.background import CachePlans
    from obol.machine.commands import Lines
    from obol.stack.adoption import Clusters
    from obol.stack.home import Home


def stack_on_none(plan: BuiltinPlan) -> CachesOnly:
    """The stack without a cluster, over the builtin engine; its images are those of this machine's platform."""
    caches = BuiltinEngine(plan)
    return CachesOnly(caches, Warming(caches, (this_machine(),)), SystemClock())


def stack_on_podman(
    plan: BuiltinPlan,
    home: Home,
    environ: Mapping[str, str],
    *,
    lines: Lines | None = None,
    note: Lines | None = None,
) -> Lifecycle:
    """The stack as pods, over the builtin engine.

    `lines` takes what may be shown of what podman says, `note` what is waited for after a Ctrl-C.
    """
    engine = BuiltinEngine(plan)
    looks = Looks(SystemClock(), listen=partial(_listen, engine, plan))
    scratch = Scratch(home.config / "podman" / "pulls", environ.get("TMPDIR", ""))
    podman = Podman(SystemRunner(), environ, _loud(lines), note, scratch)
    backend = PodmanBackend(podman, home.config, looks)
    warmth = Warming(engine, (this_machine(),))
    caches = HostCaches(engine, plan.store, private=True)
    return Lifecycle(backend, caches, engine, warmth, NoNetworks(), home)


def stack_on_k3d(
    plans: CachePlans,
    home: Home,
    environ: Mapping[str, str],
    *,
    verbose: bool = False,
    lines: Lines | None = None,
) -> Lifecycle:
    """The stack as a cluster of k3d, over the cache engine that is asked for; `lines` takes what k3d and others say."""
    engine, docker = BuiltinEngine(plans.builtin), Docker(SystemRunner(), _loud(lines))
    caches = DockerCaches(docker, engine, GatewayMirrors(docker, engine, plans.containers), plans)
    around = k3d.Surroundings(environ, partial(_network, docker), home=_mark(home), loud=_loud(lines))
    backend = k3d.K3dBackend(SystemRunner(), home.config, around)
    warmth = Warming(engine, (this_machine(),))
    return Lifecycle(backend, caches, engine, warmth, LeakedNetworks(docker, verbose=verbose), home)


def hot_swap_on_k3d(stack_id: str, plan: ContainersPlan, home: Home, environ: Mapping[str, str]) -> HotSwap:
    """Swapping images in a cluster of k3d; of `plan` only the cache root is looked at."""
    runner = SystemRunner()
    docker = Docker(runner)
    registry = ContainersEngine(docker, replace(plan, caches=(push_registry(),)))

    async def seen() -> ContainerSeen:
        (one,) = await registry.status()
        return one

    backend = k3d.K3dBackend(runner, home.config, k3d.Surroundings(environ, partial(_network, docker)))
    ground = Prerequisites(seen, partial(backend.state, stack_id), partial(backend.mirrors, stack_id))
    return HotSwap(docker, KubernetesDeployments(partial(backend.kubectl, stack_id)), ground)


def clusters_of(home: Home, data: Path) -> Coroutine[object, object, Clusters]:
    """Look for the clusters of stacks on this machine's Docker, those of one directory apart."""
    return look(Docker(SystemRunner()), home.config.absolute(), data.absolute(), _mark(home))


def _mark(home: Home) -> str:
    return home_mark(machine_id(), str(home.config.absolute()))


async def _network(docker: Docker) -> str:
    return (await ensure_network(docker)).name


def _loud(lines: Lines | None) -> SystemRunner | None:
    """The runner for what may be shown; None where nobody wants to see it."""
    return SystemRunner(lines) if lines is not None else None


def stack_on_k3s(plans: CachePlans, home: Home, environ: Mapping[str, str], *, lines: Lines | None = None) -> Lifecycle:
    """The stack as k3s on this machine, over the builtin engine, whose loopback is also the node's."""
    plan = plans.builtin
    engine = BuiltinEngine(plan)
    around = k3s.Surroundings(environ, may_ask(environ), listen=partial(_listen, engine, plan), loud=_loud(lines))
    backend = k3s.K3sBackend(SystemRunner(), SystemRunner(on_terminal=True), home.config, around)
    caches = HostCaches(engine, plan.store, push=(PUSHED,) if plans.development else (), apart=CACHES)
    return Lifecycle(backend, caches, engine, Warming(engine, (this_machine(),)), NoNetworks(), home)


async def _listen(engine: BuiltinEngine, plan: BuiltinPlan, address: str) -> str | None:
    """Have the engine answer on one more address of this machine; gives host:port."""
    listener = Listener(plan.listeners[0].registry, address, plan.listeners[0].port)
    real = await asyncio.to_thread(engine.listen, listener)
    return f"{real.address}:{real.port}"


async def look_for_runtimes() -> Runtimes:
    """What this machine could run the stack on."""
    return await detect(SystemRunner())
