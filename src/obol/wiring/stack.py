"""The stack: a backend by its row in the table, the caches as its nodes reach them, and the way to fill these."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING

from obol.backends.detect import detect
from obol.backends.k3d.backend import K3dBackend, K3dEnvironment
from obol.backends.kubernetes.deployments import KubernetesDeployments
from obol.backends.ports import BACKENDS, BackendEnvironment
from obol.caches.builtin.process import BuiltinEngine
from obol.caches.containers.engine import ContainersEngine
from obol.caches.containers.plan import push_registry
from obol.caches.docker.gateway import GatewayMirrors
from obol.caches.docker.network import ensure_network
from obol.caches.warming import Warming
from obol.client.platforms import this_machine
from obol.config.stack import may_ask
from obol.machine.commands import SystemRunner
from obol.machine.docker.cli import Docker
from obol.machine.system import machine_id
from obol.registry.control.api import Listener
from obol.rendering.k3s import CACHES
from obol.rendering.names import home_mark
from obol.stack.adoption import look
from obol.stack.caches import PUSHED, DockerCaches, HostCaches
from obol.stack.hotswap import HotSwap, Prerequisites
from obol.stack.lifecycle import Lifecycle
from obol.stack.reclaim import LeakedNetworks
from obol.stack.stacks import Machine

if TYPE_CHECKING:
    from obol.backends.ports import BackendName, Runtimes
    from obol.caches.builtin.plan import BuiltinPlan
    from obol.caches.containers.engine import ContainerSeen
    from obol.caches.containers.plan import ContainersPlan
    from obol.config.background import CachePlans
    from obol.machine.commands import Lines
    from obol.stack.adoption import Clusters
    from obol.stack.caches import Caches
    from obol.stack.home import Home


def this_computer(
    environ: Mapping[str, str], *, verbose: bool = False, lines: Lines | None = None, note: Lines | None = None
) -> Machine:
    """This machine, for the verbs of the stack.

    `lines` takes what may be shown of what programs say, `note` what is waited for after a Ctrl-C.
    """

    def made(backend: BackendName, plans: CachePlans, home: Home) -> Lifecycle:
        row, engine = BACKENDS[backend], BuiltinEngine(plans.builtin)
        docker = Docker(SystemRunner(), SystemRunner(lines) if lines is not None else None)
        environment = BackendEnvironment(
            home.config,
            environ,
            partial(_network, docker),
            partial(_listen, engine, plans.builtin),
            _mark(home),
            may_ask(environ),
            lines,
            note,
        )
        caches: Caches
        networks = None
        match row.caches:
            case "gateway":
                caches = DockerCaches(docker, engine, GatewayMirrors(docker, engine, plans.containers), plans)
                networks = LeakedNetworks(docker, verbose=verbose)
            case "address":
                push = (PUSHED,) if plans.development else ()
                caches = HostCaches(engine, plans.builtin.store, push=push, apart=CACHES)
            case _:
                caches = HostCaches(engine, plans.builtin.store, private=row.caches == "ports")
        made = import_module(row.module).build(environment)
        return Lifecycle(made, caches, engine, Warming(engine, (this_machine(),)), networks, home)

    return Machine(made, look_for_runtimes, _is_installed, clusters_of)


def hot_swap_on_k3d(stack_id: str, plan: ContainersPlan, home: Home, environ: Mapping[str, str]) -> HotSwap:
    """Swapping images in a cluster of k3d; of `plan` only the cache root is looked at."""
    runner = SystemRunner()
    docker = Docker(runner)
    registry = ContainersEngine(docker, replace(plan, caches=(push_registry(),)))

    async def seen() -> ContainerSeen:
        (one,) = await registry.status()
        return one

    backend = K3dBackend(runner, home.config, K3dEnvironment(environ, partial(_network, docker)))
    stack = Prerequisites(seen, partial(backend.state, stack_id), partial(backend.mirrors, stack_id))
    return HotSwap(docker, KubernetesDeployments(partial(backend.kubectl, stack_id)), stack)


def clusters_of(home: Home, data: Path) -> Coroutine[object, object, Clusters]:
    """Look for the clusters of stacks on this machine's Docker, those of one directory apart."""
    return look(Docker(SystemRunner()), home.config.absolute(), data.absolute(), _mark(home))


async def look_for_runtimes() -> Runtimes:
    """What this machine could run the stack on."""
    return await detect(SystemRunner())


def _is_installed(program: str) -> bool:
    return which(program) is not None


def _mark(home: Home) -> str:
    return home_mark(machine_id(), str(home.config.absolute()))


async def _network(docker: Docker) -> str:
    return (await ensure_network(docker)).name


async def _listen(engine: BuiltinEngine, plan: BuiltinPlan, address: str) -> str | None:
    """Have the engine answer on one more address of this machine; gives host:port."""
    listener = Listener(plan.listeners[0].registry, address, plan.listeners[0].port)
    real = await asyncio.to_thread(engine.listen, listener)
    return f"{real.address}:{real.port}"
