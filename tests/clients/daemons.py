"""containerd, dockerd and buildkitd, each with an empty store and its own client."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.clients.sandbox import Sandbox, open_sandbox
from tests.clients.servers import Child, environment, run

_CONTAINERD_CONFIG = """\
version = 2
root = "{workdir}/containerd/root"
state = "{workdir}/containerd/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "{workdir}/containerd.sock"
"""


@dataclass(frozen=True, slots=True)
class Daemon:
    """One that runs, and the command line of its client."""

    child: Child
    client: tuple[str, ...]
    workdir: Path

    def __call__(self, *arguments: str) -> str:
        """Run a command of the client; gives what it prints."""
        return run([*self.client, *arguments], environment(self.workdir))


@contextmanager
def containerd(workdir: Path) -> Iterator[Daemon]:
    """A containerd in a sandbox of its own; what is called is ctr."""
    config = workdir / "containerd.toml"
    config.write_text(_CONTAINERD_CONFIG.format(workdir=workdir))
    with open_sandbox(own_network=False) as sandbox:
        argv = [*sandbox.everything, "containerd", "--config", str(config)]
        child = Child(argv, out=workdir / "containerd.log", env=environment(workdir))
        try:
            child.wait_for(lambda: "containerd successfully booted" in child.said() or None)
            client = (*sandbox.everything, "ctr", f"--address={workdir / 'containerd.sock'}")
            yield Daemon(child, client, workdir)
        finally:
            child.kill()


@contextmanager
def dockerd(workdir: Path, settings: Path, sandbox: Sandbox, *options: str) -> Iterator[Daemon]:
    """A dockerd with these settings; what is called is docker."""
    socket = f"unix://{workdir / 'docker.sock'}"
    argv = [*sandbox.everything, "dockerd", f"--config-file={settings}", f"--host={socket}"]
    argv += [f"--data-root={workdir / 'docker'}", f"--exec-root={workdir / 'exec'}", f"--pidfile={workdir / 'pid'}"]
    # Overlay does not work over every file system; containers get no network, so that no bridge is needed.
    argv += ["--storage-driver=vfs", "--bridge=none", "--iptables=false", *options]
    child = Child(argv, out=workdir / "dockerd.log", env=environment(workdir))
    try:
        child.wait_for(lambda: "API listen on" in child.said() or None, seconds=40)
        yield Daemon(child, ("docker", "--host", socket), workdir)
    finally:
        child.kill()


@contextmanager
def buildkitd(workdir: Path, config: Path) -> Iterator[Daemon]:
    """A buildkitd in a sandbox of its own, with this configuration; what is called is buildctl."""
    socket = f"unix://{workdir / 'buildkit.sock'}"
    with open_sandbox(own_network=False) as sandbox:
        argv = [*sandbox.everything, "buildkitd", f"--config={config}", f"--root={workdir / 'buildkit'}"]
        # Overlay does not work over every file system; a network for builds would need a bridge.
        argv += [f"--addr={socket}", "--oci-worker-snapshotter=native", "--oci-worker-net=host"]
        child = Child(argv, out=workdir / "buildkitd.log", env=environment(workdir))
        try:
            child.wait_for(lambda: "running server on" in child.said() or None)
            yield Daemon(child, (*sandbox.everything, "buildctl", f"--addr={socket}"), workdir)
        finally:
            child.kill()
