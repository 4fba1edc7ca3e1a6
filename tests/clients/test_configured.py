"""Real clients with the configuration that `obol cache config` writes, and nothing else of ours.

Each pulls through the cache, then again with the upstream gone, and has its files back as they were in the end. The
registries themselves are out of reach, so that what arrives came from the engine.
"""

import io
import json
import signal
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.clients.containers import podman_settings, write_policy
from tests.clients.daemons import Daemon, buildkitd, containerd, dockerd
from tests.clients.images import GREETING, PAYLOAD_PATH, Library
from tests.clients.sandbox import Sandbox, isolated_where_possible, needs_root, open_sandbox
from tests.clients.servers import Engine, UnixConnection, Upstream, environment, run

REFERENCE = "docker.io/library/app:oci"
DAEMON_JSON = '{\n\t"max-concurrent-downloads" : 2\n}'
BUILDKITD_TOML = "# Theirs.\n[worker.oci]\n  gc = false"
DOCKERFILE = "FROM docker.io/library/app:oci\nCOPY Dockerfile /\n"


def reload(docker: Daemon, sandbox: Sandbox) -> None:
    """Let a dockerd read its settings again."""
    # Its process id is another one inside.
    pid = (docker.workdir / "pid").read_text().strip()
    run([*sandbox.everything, "kill", f"-{signal.SIGHUP.value}", pid], environment(docker.workdir))
    docker.child.wait_for(lambda: "Reloaded configuration" in docker.child.said() or None)


def build(docker: Daemon, dockerfile: str, tag: str) -> None:
    """Build an image by the daemon's BuildKit, of which not every docker command line has the client."""
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as tar:
        entry = tarfile.TarInfo("Dockerfile")
        entry.size = len(dockerfile)
        tar.addfile(entry, io.BytesIO(dockerfile.encode()))
    connection = UnixConnection(docker.workdir / "docker.sock")
    try:
        target = f"/build?version=2&networkmode=none&t={tag}"
        connection.request("POST", target, context.getvalue(), {"Content-Type": "application/x-tar"})
        told = connection.getresponse().read().decode()
    finally:
        connection.close()
    assert '"moby.buildkit.trace"' in told, "it was not BuildKit that built"


@dataclass(frozen=True, slots=True)
class Configuring:
    """`obol cache config` for a person whose home is the test's."""

    workdir: Path

    def __call__(self, *arguments: str) -> list[str]:
        """Run it; gives what became of the files."""
        argv = [sys.executable, "-m", "obol", "cache", "config", *arguments, "--store", str(self.workdir / "store")]
        told = json.loads(run([*argv, "--output", "json"], environment(self.workdir)))
        return [change["action"] for change in told["changes"]]


@pytest.fixture
def config(workdir: Path, engine: Engine) -> Configuring:
    """The command, with an engine that runs."""
    del engine
    return Configuring(workdir)


@pytest.mark.tool("skopeo", "docker-registry", "busybox")
@pytest.mark.xdist_group("clients-skopeo")
def test_skopeo(config: Configuring, upstream: Upstream, library: Library, workdir: Path) -> None:
    """The drop-in of its user is found by skopeo."""

    def copied(name: str) -> bytes:
        target = workdir / name
        policy = ("--policy", str(write_policy(workdir)), "--tmpdir", str(workdir))
        argv = ["skopeo", *policy, "copy", "--all", f"docker://{REFERENCE}", f"dir:{target}"]
        with isolated_where_possible() as sandbox:
            run([*sandbox.everything, *argv], environment(workdir))
        return (target / "manifest.json").read_bytes()

    assert config("skopeo", "--user", "--write") == ["written"]
    assert copied("first") == library.images["oci"].index.body
    assert upstream.blob_bytes() == library.images["oci"].all_blobs()
    upstream.unplug()

    assert copied("second") == library.images["oci"].index.body
    assert config("skopeo", "--user", "--undo") == ["removed"]
    assert not (workdir / "home/.config").exists()


@pytest.mark.tool("podman", "conmon", "runc", "docker-registry", "busybox")
@pytest.mark.xdist_group("clients-podman")
@needs_root
def test_podman(config: Configuring, upstream: Upstream, workdir: Path) -> None:
    """The drop-in is found by podman beside the files that were there, and what was pulled runs."""
    theirs = workdir / "home/.config/containers/registries.conf.d/theirs.conf"
    theirs.parent.mkdir(parents=True)
    theirs.write_text('[[registry]]\nlocation = "example.com"\nblocked = true\n')
    variables = environment(workdir, **podman_settings(workdir))

    with open_sandbox(own_network=False) as sandbox:

        def podman(*arguments: str) -> str:
            return run([*sandbox.everything, "podman", *arguments], variables)

        assert config("podman", "--user", "--write") == ["written"]
        podman("pull", "--quiet", "--signature-policy", str(write_policy(workdir)), REFERENCE)
        podman("rmi", "--all", "--force")
        upstream.unplug()

        podman("pull", "--quiet", "--signature-policy", str(write_policy(workdir)), REFERENCE)
        assert podman("run", "--rm", "--network=none", "--pull=never", REFERENCE) == f"{GREETING}\n"
    assert config("podman", "--user", "--undo") == ["removed"]
    assert [path.name for path in theirs.parent.iterdir()] == ["theirs.conf"]


@pytest.mark.tool("containerd", "ctr", "runc", "docker-registry", "busybox")
@pytest.mark.xdist_group("clients-containerd")
@needs_root
def test_containerd(config: Configuring, upstream: Upstream, library: Library, workdir: Path) -> None:
    """The hosts.toml of its registry is what containerd goes by."""
    certs = workdir / "certs.d"

    assert config("containerd", "--directory", str(certs), "--write") == ["written"]
    with containerd(workdir) as ctr:
        pull = ("images", "pull", "--snapshotter=native", f"--hosts-dir={certs}", REFERENCE)
        ctr(*pull)
        ctr("images", "rm", "--sync", REFERENCE)
        upstream.unplug()

        ctr(*pull)
        assert library.images["oci"].index.digest in ctr("images", "ls")
    assert config("containerd", "--directory", str(certs), "--undo") == ["removed"]
    assert not certs.exists()


@pytest.mark.soak
@pytest.mark.tool("buildkitd", "buildctl", "runc", "docker-registry", "busybox")
@pytest.mark.xdist_group("clients-buildkit")
@needs_root
def test_buildkit(config: Configuring, upstream: Upstream, library: Library, workdir: Path) -> None:
    """A buildkitd builds upon an image that it takes from the cache, at the block that was added to its settings."""
    settings = workdir / "buildkitd.toml"
    settings.write_text(BUILDKITD_TOML)
    context = workdir / "context"
    context.mkdir()
    (context / "Dockerfile").write_text(DOCKERFILE)

    assert config("buildkit", f"--file={settings}", "--write") == ["written"]
    with buildkitd(workdir, settings) as buildctl:

        def built(name: str) -> set[str]:
            local = (f"--local=context={context}", f"--local=dockerfile={context}")
            output = f"--output=type=tar,dest={workdir / name}"
            buildctl("build", "--frontend=dockerfile.v0", "--progress=plain", *local, output)
            with tarfile.open(workdir / name) as tar:
                return {entry.name for entry in tar if entry.isfile()}

        assert built("first.tar") == {"Dockerfile", "bin/busybox", PAYLOAD_PATH}
        assert upstream.blob_bytes() == library.images["oci"].native_blobs()
        buildctl("prune", "--all")
        upstream.unplug()

        assert built("second.tar") == {"Dockerfile", "bin/busybox", PAYLOAD_PATH}
    assert config("buildkit", f"--file={settings}", "--undo") == ["restored"]
    assert settings.read_text() == BUILDKITD_TOML


@pytest.mark.tool("dockerd", "docker", "containerd", "runc", "ip", "docker-registry", "busybox")
@pytest.mark.xdist_group("clients-dockerd")
@needs_root
class TestDocker:
    """dockerd in a network of its own, in which there is no way to Docker Hub."""

    @pytest.fixture
    def sandbox(self) -> Iterator[Sandbox]:
        """Where the upstream and the engine run, too."""
        with open_sandbox(own_network=True) as sandbox:
            yield sandbox

    @pytest.fixture
    def settings(self, workdir: Path) -> Path:
        """The daemon.json of somebody who has never heard of us."""
        path = workdir / "daemon.json"
        path.write_text(DAEMON_JSON)
        return path

    def test_docker(
        self, config: Configuring, upstream: Upstream, settings: Path, sandbox: Sandbox, workdir: Path
    ) -> None:
        """A dockerd that runs and reads its settings again pulls through the cache."""
        with dockerd(workdir, settings, sandbox) as docker:
            assert config("docker", f"--file={settings}", "--write") == ["written"]
            reload(docker, sandbox)
            docker("pull", "--quiet", REFERENCE)
            docker("rmi", "--force", REFERENCE)
            upstream.unplug()

            docker("pull", "--quiet", REFERENCE)
            assert docker("run", "--rm", "--network=none", "--pull=never", REFERENCE) == f"{GREETING}\n"
            assert config("docker", f"--file={settings}", "--undo") == ["restored"]
            assert settings.read_text() == DAEMON_JSON

    def test_docker_build(
        self, config: Configuring, upstream: Upstream, settings: Path, sandbox: Sandbox, workdir: Path
    ) -> None:
        """The BuildKit of a dockerd that was started with these settings takes base images from the cache."""
        config("docker", f"--file={settings}", "--write")
        with dockerd(workdir, settings, sandbox) as docker:
            docker("pull", "--quiet", REFERENCE)
            docker("rmi", "--force", REFERENCE)
            upstream.unplug()

            build(docker, DOCKERFILE, "built")
            assert docker("run", "--rm", "--network=none", "--pull=never", "built") == f"{GREETING}\n"
