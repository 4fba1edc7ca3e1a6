"""A Linux machine that k3s runs on, behind the ports `Runner` and `Processes`, and a k3s backend on it."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from obol.backends.k3s.backend import K3sBackend, K3sEnvironment
from obol.backends.kubernetes.api import Access
from obol.backends.ports import Backend, ClusterSpec, Step
from obol.machine.commands import Completed
from obol.machine.ports import Holder
from obol.machine.processes import Process, Processes
from obol.rendering.k3s import API, KUBELET
from obol.rendering.registries import Mirror
from tests.fakes.clock import FakeClock
from tests.fakes.k3d import DONE, KUBECONFIG, FakeMachine, failed

ID = "calm-otter"
MIRRORS = (Mirror("docker.io", "http://127.0.0.1:54100"), Mirror("ghcr.io", "http://127.0.0.1:54101"))
ELSEWHERE = (Mirror("docker.io", "http://127.0.0.1:41000"),)
PROGRAM = "/opt/k3s"
GATEWAY = "10.43.7.8"


@dataclass
class FakeHost(FakeMachine, Processes):
    """What was scripted comes first; everything else changes, or reads, what is there."""

    data: Path = Path("/nowhere")
    """k3s's own."""
    running: dict[int, Process] = field(default_factory=dict)
    bridge: bool = False
    taken: set[int] = field(default_factory=set)
    """Ports that somebody else has."""
    mute: bool = False
    """k3s writes no kubeconfig."""
    ends: bool = False
    """k3s ends as soon as it has started."""
    stubborn: set[str] = field(default_factory=set)
    """Signals that nobody minds."""
    bystander: str = ""
    """The program of a process that gets the number of a server that has ended."""
    version: str = "v1.35.5+k3s1"
    starts: int = 0

    def look(self, pid: int) -> Process | None:
        return self.running.get(pid)

    def all(self) -> tuple[Process, ...]:
        return tuple(self.running.values())

    def listens(self, port: int) -> bool:
        return port in self.taken or (port in {API, KUBELET} and any(self.servers))

    @property
    def servers(self) -> list[int]:
        return [pid for pid, one in self.running.items() if one.command == "k3s server"]

    def _program(self, argv: tuple[str, ...], stdin: str, *, half: bool) -> Completed:
        match argv:
            case ("sudo", "-n", *rest):
                return self._program(tuple(rest), stdin, half=half)
            case ("ip", "link", "show", *_):
                return DONE if self.bridge else failed('Device "obol-k3s" does not exist.')
            case ("ip", "link", "add" | "delete" as verb, *_):
                self.bridge = verb == "add"
            case ("setsid", "--fork", "sh", "-c", _, "sh", pid, log, told, *words):
                return self._start(Path(pid), Path(log), told, words, half=half)
            case ("kill", signal, *pids):
                self._kill(signal, pids[:1] if half else pids)
            case ("rm", *_, "--", path):
                shutil.rmtree(Path(path) / "server" if half else path, ignore_errors=True)
            case ("/opt/k3s", "--version"):
                return Completed(0, f"k3s version {self.version} (b3f4d7a0)\ngo version go1.25.5\n", "")
            case ("/opt/k3s", "kubectl", *rest) | ("kubectl", *rest):
                return self._kubectl(rest, stdin)
            case _:
                assert argv[0] in {"ip", "env", "umount", "chown", "true", "sudo"}, argv
        return DONE

    def _kubectl(self, rest: Sequence[str], stdin: str) -> Completed:
        if "service" in rest:
            return Completed(0, "4000" if "port" in rest[-1] else GATEWAY, "")
        return super()._kubectl(rest, stdin)

    def _start(self, pid: Path, log: Path, told: str, words: Sequence[str], *, half: bool) -> Completed:
        self.starts += 1
        number = 1000 * self.starts
        pid.write_text(f"{number} {self.starts}77 {told}\n")
        log.write_text("one\ntwo\n")
        assert words[:3] == [PROGRAM, "server", "--config"]
        assert Path(words[3]).read_text()
        if self.ends:
            return DONE
        self.running[number] = Process(number, 1, f"{self.starts}77", "k3s server")
        (self.data / "server").mkdir(parents=True, exist_ok=True)
        shim = f"{self.data}/data/abc/bin/containerd-shim-runc-v2 -namespace k8s.io"
        self.running[number + 1] = Process(number + 1, 1, "80", shim)
        self.running[number + 2] = Process(number + 2, number + 1, "81", "litellm")
        if not (half or self.mute):
            where = Path(words[words.index("--write-kubeconfig") + 1])
            where.write_text(KUBECONFIG.replace("127.0.0.1:41234", "203.0.113.254:6443"))
        return DONE

    def _kill(self, signal: str, pids: Sequence[str]) -> None:
        if signal in self.stubborn:
            return
        for pid in map(int, pids):
            self.running.pop(pid)
            if self.bystander:
                self.running[pid] = Process(pid, 1, "12345", self.bystander)


@dataclass
class Stack:
    """A backend on a machine."""

    machine: FakeHost
    folder: Path
    clock: FakeClock = field(default_factory=FakeClock)
    status: int | None = 200
    """What the API says."""
    answers: int | None = 200
    """What the gateway says."""
    uid: int = 0
    platform: str = "linux"
    interactive: bool = True
    killall: bool = False
    installed: bool = True
    cache: str | None = "203.0.113.254:54100"
    asked: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """Those of the latest step."""
    mounts: tuple[str, ...] = ()

    @property
    def step(self) -> Step:
        """A fresh step, whose notes are in `notes` then."""
        self.notes = []
        return Step(self.lines.append, self.notes)

    @property
    def config(self) -> Path:
        return self.folder / "config"

    @property
    def backend(self) -> Backend:
        """A fresh one, as each command has."""
        around = K3sEnvironment(
            environ={"PATH": "/bin", "K3S_URL": "https://elsewhere:6443"},
            interactive=self.interactive,
            uid=self.uid,
            gid=self.uid,
            platform=self.platform,
            which=self.which,
            theirs=self.folder / "registries.yaml",
            processes=self.machine,
            listens=self.machine.listens,
            holder=lambda port: Holder(7, "k3s-server") if port == API else None,
            mounted=lambda _: self.mounts,
            clock=self.clock,
            probe=self.probe,
            api=self.api,
            listen=self.listen,
        )
        return K3sBackend(self.machine, self.machine, self.config, around)

    def which(self, program: str) -> str | None:
        return {"k3s": PROGRAM if self.installed else None, "k3s-killall.sh": "/opt/killall" if self.killall else None}[
            program
        ]

    async def listen(self, address: str) -> str | None:
        self.asked.append(address)
        return self.cache

    async def probe(self, address: str, port: int, path: str) -> int | None:
        self.asked.append(f"{address}:{port}{path}")
        return self.answers

    async def api(self, access: Access) -> int | None:
        self.asked.append(access.server)
        return self.status

    def spec(self, mirrors: tuple[Mirror, ...] = MIRRORS) -> ClusterSpec:
        return ClusterSpec(ID, self.config, self.folder / "data", mirrors)

    async def up(self, mirrors: tuple[Mirror, ...] = MIRRORS) -> tuple[str, ...]:
        await self.backend.up(self.spec(mirrors), self.step)
        return tuple(self.notes)


def on_fresh_machine(folder: Path) -> Stack:
    """A machine that has k3s, and has never run it."""
    (folder / "data").mkdir(parents=True)
    return Stack(FakeHost(data=folder / "data" / "k3s"), folder)
