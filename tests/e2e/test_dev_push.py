"""`obol dev push` and `reset` with a real dockerd and the registry to push into; the cluster is a stand-in.

The node is a container that has the node's registries.yaml, k3d and kubectl are scripts.
"""

import json
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from obol.backends.k3d.node import NodeDocker
from obol.caches.containers.engine import ContainersEngine
from obol.caches.containers.plan import ContainersPlan, push_registry
from obol.caches.docker.network import ensure_network
from obol.machine.docker.cli import Docker
from obol.rendering.registries import registries_yaml
from obol.stack.home import Home, Identity
from tests.clients.sandbox import needs_root
from tests.clients.servers import run
from tests.e2e import kubectl
from tests.e2e.dockerhost import BUSYBOX_IMAGE, DockerHost, open_docker_host

pytestmark = [
    pytest.mark.tool("dockerd", "docker", "containerd", "ctr", "runc", "ip", "iptables", "docker-registry", "make"),
    pytest.mark.tool("busybox", "ldd"),
    pytest.mark.xdist_group("e2e-dockerd"),
    needs_root,
]

ROOT = Path(__file__).parents[2]
STACK = "brave-otter"
NODE = f"k3d-obol-stack-{STACK}-server-0"
REGISTRY = "k3d-obol-local.localhost"
RELEASED = "docker.io/library/nginx:1.28-alpine"
CLUSTERS = [
    {
        "name": f"obol-stack-{STACK}",
        "nodes": [{"role": role, "State": {"Running": True}} for role in ("server", "loadbalancer")],
        "serversRunning": 1,
        "serversCount": 1,
    }
]
_UPLOADED = re.compile(r'"PUT /v2/obol-frontend/blobs/uploads/\S+ HTTP/1\.1" 201')


@dataclass(frozen=True, slots=True)
class Developer:
    """Somebody at work on a front end in a directory of their own, in development mode."""

    host: DockerHost
    directory: Path
    environ: dict[str, str]

    @property
    def page(self) -> Path:
        return self.directory / "frontend/index.html"

    def make(self, *words: str) -> dict[str, Any]:
        """Run `make …` in the repository; gives what obol has told."""
        # The last file is said to be old, so that nothing is installed here.
        argv = ["make", "--silent", f"--directory={ROOT}", "--old-file=.venv/.ready", *words, "ARGS=-o json"]
        obol = " ".join([*self.host.sandbox.network, sys.executable, "-m", "obol"])
        settings = [f"FRONTEND_DIR={self.directory}/frontend", f"OBOL={obol}"]
        environ = {**self.environ, "OBOL_CONFIG_DIR": str(self.directory / ".workspace/config")}
        said = run([*argv, *settings, "FRONTEND_IMAGE=obol-frontend:one"], environ)
        found: dict[str, Any] = json.loads(said[said.index("{\n") :])
        return found

    def obol(self, *words: str) -> dict[str, Any]:
        """Run `obol …` in their directory; gives what it has told."""
        argv = ["env", f"--chdir={self.directory}", *self.host.sandbox.network, sys.executable, "-m", "obol"]
        found: dict[str, Any] = json.loads(run([*argv, *words, "-o", "json"], self.environ))
        return found

    def build(self, tag: str) -> None:
        """Build the front end as it is now."""
        run(["docker", "build", "--quiet", "--tag", tag, str(self.page.parent)], self.environ)

    def deployment(self) -> dict[str, Any]:
        (found,) = json.loads((self.directory / "cluster.json").read_text())
        assert isinstance(found, dict)
        return found

    def runs(self) -> str:
        """The image that the cluster is to run."""
        image = self.deployment()["spec"]["template"]["spec"]["containers"][0]["image"]
        assert isinstance(image, str)
        return image

    def uploads(self) -> int:
        """How many blobs the registry has taken in: layers and configurations."""
        return len(_UPLOADED.findall(self.host.docker("logs", REGISTRY)))


@pytest.fixture
def developer() -> Iterator[Developer]:
    """Somebody whose stack runs: a registry to push into, a node that knows it, and a front end as it was released."""
    with tempfile.TemporaryDirectory(prefix="obol-") as name, open_docker_host(Path(name)) as host:
        directory = Path(name) / "developer"
        shutil.copytree(ROOT / "examples/frontend", directory / "frontend")
        host.docker("tag", BUSYBOX_IMAGE, RELEASED)
        host.docker("run", "--detach", "--name", NODE, BUSYBOX_IMAGE, "sleep 1000")
        host.within(lambda docker: _bring_up(docker, Path(name) / "caches", host))
        Home(directory / ".workspace/config").establish(Identity(STACK, "k3d"))
        manifests = yaml.safe_load_all((directory / "frontend/deployment.yaml").read_text())
        deployments = [kubectl.created(one) for one in manifests if one["kind"] == "Deployment"]
        (directory / "cluster.json").write_text(json.dumps(deployments))
        _program(directory / "bin/k3d", f"echo '{json.dumps(CLUSTERS)}'")
        _program(directory / "bin/kubectl", f'{sys.executable} -I {kubectl.__file__} {directory}/cluster.json "$@"')
        environ = {name: text for name, text in host.env.items() if name != "OBOL_CONFIG_DIR"}
        environ |= {"PATH": f"{directory}/bin:{environ['PATH']}", "OBOL_DEVELOPMENT": "true", "DOCKER_BUILDKIT": "0"}
        yield Developer(host, directory, environ)


async def _bring_up(docker: Docker, root: Path, host: DockerHost) -> None:
    """What `up` does in development mode."""
    plan = ContainersPlan(root, (push_registry(),))
    started = await ContainersEngine(docker, plan).start(await ensure_network(docker))
    assert not started.left_out
    await NodeDocker(docker._runner, docker).write_registries(NODE, registries_yaml(started.mirrors))


def _program(path: Path, script: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_swap_and_back(developer: Developer) -> None:
    """An image goes into the registry and the Deployment; of the next build only what changed; and all is undone."""
    host = developer.host

    first = developer.make("dev-frontend")

    assert developer.runs() == first["image"]
    assert re.fullmatch(r"localhost:54103/obol-frontend:dev-[0-9a-f]{12}", first["image"])
    assert (first["layers_pushed"], first["layers_present"], first["released"]) == (2, 0, RELEASED)
    assert developer.uploads() == 3

    developer.page.write_text("changed\n")
    developer.build("obol-frontend:two")
    second = developer.obol("dev", "push", "obol-frontend:two", "--deployment", "frontend/frontend")

    assert developer.runs() == second["image"] != first["image"]
    assert (second["layers_pushed"], second["layers_present"]) == (1, 1)
    assert (second["before"], second["released"]) == (first["image"], RELEASED)
    assert developer.uploads() == 5
    names = host.docker("images", "--format", "{{.Repository}}:{{.Tag}}").split()
    assert not [name for name in names if name.startswith("localhost:")]

    _pulled_by_a_node(developer, first["image"], second["image"])

    (restored,) = developer.make("dev-frontend-reset")["containers"]
    assert (restored["container"], restored["before"]) == ("web", second["image"])
    assert developer.runs() == RELEASED
    assert developer.deployment()["metadata"]["annotations"] == {}


def _pulled_by_a_node(developer: Developer, *images: str) -> None:
    """Pull images by the names that a node is given, as its containerd does: at the mirror, which is told for whom."""
    host = developer.host
    address = host.docker("inspect", "--format", '{{(index .NetworkSettings.Networks "obol-net").IPAddress}}', REGISTRY)
    hosts = developer.directory / "certs.d/localhost:54103/hosts.toml"
    hosts.parent.mkdir(parents=True)
    hosts.write_text(f'server = "http://127.0.0.1:9"\n[host."http://{address}:5000"]\n')
    ctr = ["ctr", "--address", str(host.workdir / "exec/containerd/containerd.sock"), "--namespace", "node"]
    for image in images:
        host.program(*ctr, "images", "pull", "--hosts-dir", str(hosts.parents[1]), "--snapshotter", "native", image)
    assert set(host.program(*ctr, "images", "list", "--quiet").split()) == set(images)
    assert host.docker("logs", REGISTRY).count("ns=localhost%3A54103")
