"""Stacks as k3s on this machine itself, without Docker: Linux, and root, by sudo where a person is not.

Nothing of another k3s is touched: not /var/lib/rancher, and not /etc/rancher, where k3s would look for its mirrors. It
is told of a file of ours instead, so there is nothing to put back. It reads that file only when it starts: one that was
told something else than is wanted now is started again, while its pods run on.

Every step looks first at what is there, so that it can be repeated after an interruption at any point. The file with
what k3s is told is written before anything else is made, and removed after all else: it says that there is something.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import sys
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from obol.backends.k3s.host import QUICK, K3sHost, other_kubernetes, refuse_beside_another, refuse_foreign
from obol.backends.k3s.server import LOG, K3sServer
from obol.backends.kubernetes.api import UP_WITHIN, Access, api_status, wait_for_api
from obol.backends.kubernetes.deploying import GATEWAY, GATEWAY_PATH, deploy, scraping, wait_for_gateway
from obol.backends.kubernetes.kubectl import Kubectl, kubectl_for
from obol.backends.kubernetes.rollouts import applied
from obol.backends.ports import Deployed, Up, no_caches
from obol.errors import DependencyMissing, ObolError
from obol.machine.clock import SystemClock
from obol.machine.commands import SystemRunner, check_version
from obol.machine.files import failing_as, mounted_in
from obol.machine.polling import Polling
from obol.machine.ports import holder, listens
from obol.machine.privileges import AsRoot
from obol.machine.probe import status_of
from obol.machine.processes import Processes
from obol.machine.regular import read_text, write_atomically
from obol.machine.texts import in_shell
from obol.rendering.k3d import on_loopback
from obol.rendering.k3s import ADDRESS, Server, data_in, server_config
from obol.rendering.registries import Mirror, registries_yaml

if TYPE_CHECKING:
    from obol.backends.kubernetes.api import ApiProbe
    from obol.backends.ports import BackendEnvironment, BackendName, ClusterSpec, ClusterState, Step
    from obol.machine.clock import Clock
    from obol.machine.commands import Runner
    from obol.machine.ports import Holder
    from obol.workloads.sources import ManifestFile

CONFIG, REGISTRIES, KUBECONFIG = "k3s-config.yaml", "registries.yaml", "kubeconfig.yaml"
"""Files in the directory of the stack."""

OLDEST = (1, 31)
"""Before, some releases reached no kubelet that listens on one address: https://github.com/k3s-io/k3s/issues/10444."""

LOOK_EVERY = 0.5
"""Seconds between two looks for the kubeconfig, which is a look at a file."""

KILLALL = "k3s-killall.sh"
"""What the installer of k3s leaves for cleaning up after it."""

_THEIRS = Path("/etc/rancher/k3s/registries.yaml")
_INSTALL = (
    "put the program `k3s` on your PATH (https://docs.k3s.io/installation/airgap#prepare-the-images-directory-and-"
    "k3s-binary), or have its installer do so: INSTALL_K3S_SKIP_ENABLE=true (https://docs.k3s.io/installation)"
)


@dataclass(frozen=True, slots=True)
class K3sEnvironment:
    """How the backend sees this machine."""

    environ: Mapping[str, str]
    """What kubectl and k3s get."""
    interactive: bool = True
    """Whether sudo may ask for a password."""
    uid: int = field(default_factory=os.geteuid)
    gid: int = field(default_factory=os.getegid)
    platform: str = sys.platform
    which: Callable[[str], str | None] = shutil.which
    theirs: Path = _THEIRS
    """Where a k3s that was not told otherwise looks for its mirrors."""
    processes: Processes = field(default_factory=Processes)
    listens: Callable[[int], bool] = listens
    holder: Callable[[int], Holder | None] = holder
    mounted: Callable[[str], tuple[str, ...]] = mounted_in
    clock: Clock = field(default_factory=SystemClock)
    probe: Callable[[str, int, str], Awaitable[int | None]] = status_of
    api: ApiProbe = api_status
    listen: Callable[[str], Awaitable[str | None]] = no_caches
    """Makes a registry cache answer on an address of this machine; gives host:port, or None where it does not."""
    loud: Runner | None = None
    """For commands whose output is shown where the person wants to see it."""


class K3sBackend:
    """The k3s of this machine; `config` is the directory of the stack. `rooted` runs what takes root."""

    name: BackendName = "k3s"

    def __init__(self, runner: Runner, rooted: Runner, config: Path, around: K3sEnvironment) -> None:
        self._runner = runner
        self._config = config
        self._around = around
        self._root = AsRoot(rooted, around.uid, interactive=around.interactive)
        self._server = K3sServer(self._root, config, around.processes, around.clock)
        self._host = K3sHost(runner, self._root)

    async def check(self) -> None:
        """Look whether k3s can run here, and get the rights that it takes. Raises ObolError, DependencyMissing."""
        if self._around.platform != "linux":
            raise ObolError(
                "k3s runs on Linux only", hint="use `--backend k3d`, which has Docker run it, or `--backend podman`"
            )
        await self._check_version(self._program())
        await self._host.check()
        await self._root.authorise()

    async def authorise(self) -> None:
        """Become able to do what takes root. Raises ObolError, DependencyMissing."""
        if self._is_there():
            await self._root.authorise()

    async def state(self, stack_id: str) -> ClusterState:
        """Tell whether k3s runs, or has run."""
        del stack_id  # a machine has one k3s, of one stack
        if self._server.serving() is not None:
            return "running"
        return "stopped" if self._data() else "absent"

    async def up(self, spec: ClusterSpec, step: Step) -> Up:
        """Start k3s, unless one runs that was told the same, and wait until its API answers. Raises ObolError."""
        data = spec.data.absolute() / "k3s"
        created = self._is_new(data)
        wanted = self._wanted(spec, data)
        told = _digest(wanted.values())
        serving = self._server.serving()
        if serving is None or serving.told != told or not (self._config / KUBECONFIG).exists():
            if serving is None:
                refuse_beside_another(other_kubernetes(self._around.listens, self._around.holder))
            if serving is not None:
                step.note(_restarted(spec, known=(self._config / REGISTRIES).exists()))
            if spec.mirrors and self._around.theirs.exists():
                step.note(f"{self._around.theirs} is left alone, and not used: this k3s has a file of its own.")
            step("stopping k3s, which reads its configuration only when it starts" if serving else "starting k3s")
            await self._server.stop()
            await self._start(wanted, told)
        step("waiting for the cluster's API")
        kubeconfig = await self._kubeconfig()
        await wait_for_api(Access.of(kubeconfig), self._around.clock, self._api, look=f"see {self._config / LOG}")
        return Up(created)

    async def apply(self, spec: ClusterSpec, manifests: Sequence[ManifestFile], step: Step) -> Deployed:
        """Bring the manifests to the cluster and wait until their Deployments are ready.

        Raises ObolError, UsageError; the cluster is left running.
        """
        kubectl = await self._kubectl()
        # Pods have a loopback of their own: they find the figures of the caches on the bridge.
        cache = await self._around.listen(ADDRESS) if spec.mirrors else None
        seen = [Mirror(spec.mirrors[0].registry, f"http://{cache}")] if cache else []
        await deploy(kubectl, self._config, scraping(manifests, seen), step)
        return await self._gateway(kubectl, manifests, step)

    async def lacking(self, stack_id: str, images: Sequence[str]) -> Collection[str]:
        """Those images that the node may still ask for: all, where it does not run. Raises ObolError."""
        if await self.state(stack_id) != "running":
            return images
        there = await (await self._kubectl()).images()
        return [image for image in images if image not in there]

    async def _kubectl(self) -> Kubectl:
        clock, environ, kubeconfig = self._around.clock, self._around.environ, self._config / KUBECONFIG
        env = {**environ, "KUBECONFIG": str(kubeconfig)}
        shown = f"k3s kubectl --kubeconfig {in_shell(kubeconfig)}"
        own = Kubectl(self._runner, clock, (self._program(), "kubectl"), shown, env)
        return await kubectl_for(
            self._runner, clock, environ=environ, kubeconfig=kubeconfig, otherwise=own, loud=self._around.loud
        )

    async def down(self, stack_id: str) -> None:
        """Stop k3s and its pods; images and data stay. Nothing there is fine. Raises ObolError."""
        del stack_id  # a machine has one k3s, of one stack
        if self._is_there():
            await self._stop(self._data())

    async def purge(self, stack_id: str, *, images: bool) -> None:
        """Remove k3s's data, images included, and what was written for it. Nothing there is fine. Raises ObolError."""
        del stack_id, images  # a machine has one k3s, of one stack, and images are part of its data
        if self._is_there():
            await self._stop(data := self._data())
            if data:
                await self._host.remove(data, self._around.mounted)
        for name in (KUBECONFIG, REGISTRIES, LOG, CONFIG):
            (self._config / name).unlink(missing_ok=True)

    async def _check_version(self, program: str) -> None:
        """Look whether k3s is new enough, as far as it tells. Raises DependencyMissing."""
        said = (await self._runner.run([program, "--version"], timeout=QUICK)).stdout
        found = re.search(r"\bv(\d+\.\d+)\.", said)
        why, hint = "1.31 or later is needed", f"get a newer one: {_INSTALL}"
        check_version("k3s", found[1] if found else "", OLDEST, why=why, hint=hint)

    def _program(self) -> str:
        """The path of k3s: root may have another PATH. Raises DependencyMissing."""
        if (found := self._around.which("k3s")) is None:
            raise DependencyMissing("k3s is not installed", why="there is no `k3s` on the PATH", hint=_INSTALL)
        return str(Path(found).absolute())

    def _data(self) -> str:
        """The data directory of the k3s that there is; "" where there is none."""
        try:
            return data_in(read_text(self._config / CONFIG))
        except (OSError, UnicodeError):
            return ""

    def _is_there(self) -> bool:
        return bool(self._data()) or self._server.known

    def _wanted(self, spec: ClusterSpec, data: Path) -> dict[str, str]:
        """The files that k3s reads, by their names; without mirrors, there is none that tells of them."""
        told = str((self._config / REGISTRIES).absolute()) if spec.mirrors else ""
        files = {CONFIG: server_config(Server(spec.stack_id, str(data), told))}
        return {**files, REGISTRIES: registries_yaml(spec.mirrors)} if spec.mirrors else files

    def _is_new(self, data: Path) -> bool:
        """Whether there is no k3s of this stack yet. Raises ObolError where it cannot be in this directory."""
        if not (before := self._data()):
            refuse_foreign(data)
        elif before != str(data):
            raise ObolError(
                f"the k3s of this stack has its data in {before}",
                why=f"it would be in {data} now",
                hint="set OBOL_DATA_DIR as it was, or run `obol stack purge` before",
            )
        return not before

    async def _start(self, wanted: Mapping[str, str], told: str) -> None:
        program = self._program()
        with failing_as(f"{self._config} cannot be written", "look at the permissions of that directory"):
            self._config.mkdir(mode=0o755, parents=True, exist_ok=True)
            for name, text in wanted.items():
                write_atomically(self._config / name, text.encode())
            if REGISTRIES not in wanted:
                (self._config / REGISTRIES).unlink(missing_ok=True)
            (self._config / KUBECONFIG).unlink(missing_ok=True)  # that it is there again says that it is new
        await self._host.bridge()
        files = ("--config", str(self._config / CONFIG), "--write-kubeconfig", str(self._config / KUBECONFIG))
        argv = (program, "server", *files, "--write-kubeconfig-mode", "0600")
        await self._server.start(argv, told, self._around.environ)

    async def _stop(self, data: str) -> None:
        await self._server.stop()
        others = other_kubernetes(self._around.listens, self._around.holder)
        # It cleans up after every k3s of the machine, so it must not be run beside another one.
        if self._server.known and not others and (killall := self._around.which(KILLALL)) is not None:
            await self._root.run(["env", f"K3S_DATA_DIR={data}", killall])
        if data:
            await self._server.end_pods(data)
        await self._host.remove_bridge()
        self._server.forget()

    async def _kubeconfig(self) -> str:
        """Wait for the kubeconfig, and let it be the person's. Raises ObolError."""
        path = self._config / KUBECONFIG
        async for _ in Polling(self._around.clock, every=LOOK_EVERY, within=UP_WITHIN):
            self._still_there()
            if path.exists():
                if self._around.uid not in {0, path.stat().st_uid}:
                    await self._root.run(["chown", f"{self._around.uid}:{self._around.gid}", str(path)])
                with contextlib.suppress(ObolError, OSError, UnicodeError):  # it may be half of it yet
                    text = on_loopback(read_text(path))
                    Access.of(text)
                    write_atomically(path, text.encode())
                    return text
        raise ObolError(
            f"k3s has written no kubeconfig after {UP_WITHIN:.0f} seconds",
            why=self._server.last_words(),
            hint=f"see {self._config / LOG}; then run `obol stack up` again",
        )

    async def _api(self, access: Access) -> int | None:
        self._still_there()
        return await self._around.api(access)

    def _still_there(self) -> None:
        """Raise ObolError as soon as there is nothing to wait for any more."""
        if self._server.serving() is None:
            hint = f"see {self._config / LOG}, mend it, then run `obol stack up` again"
            raise ObolError("k3s has ended", why=self._server.last_words(), hint=hint)

    async def _gateway(self, kubectl: Kubectl, manifests: Sequence[ManifestFile], step: Step) -> Deployed:
        """Find the gateway by the address of its Service, which this machine reaches, being the node."""
        if GATEWAY not in applied(manifests).deployments:
            return Deployed("")
        where = (GATEWAY.name, GATEWAY.namespace)
        address = await kubectl.get("service", *where, ".spec.clusterIP")
        port = await kubectl.get("service", *where, ".spec.ports[0].port")
        if not address or not port.isdecimal():
            return Deployed("")
        return await wait_for_gateway(
            f"http://{address}:{port}",
            lambda: self._around.probe(address, int(port), GATEWAY_PATH),
            self._around.clock,
            step,
            what="it",
            advice="a firewall may be in the way",
        )


def _digest(texts: Iterable[str]) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


def _restarted(spec: ClusterSpec, *, known: bool) -> str:
    if not spec.mirrors and known:
        return "k3s had been told of registry caches: it was restarted, and pulls images directly now."
    if spec.mirrors and not known:
        return "k3s had been started without registry caches: it was restarted, and uses them now."
    return "k3s was restarted: its configuration has changed, and it reads that only when it starts."


def build(around: BackendEnvironment) -> K3sBackend:
    """Make the backend for this machine."""
    loud = SystemRunner(around.lines) if around.lines is not None else None
    own = K3sEnvironment(around.environ, around.interactive, listen=around.listen, loud=loud)
    return K3sBackend(SystemRunner(), SystemRunner(on_terminal=True), around.config, own)
