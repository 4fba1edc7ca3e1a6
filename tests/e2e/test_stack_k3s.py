"""Somebody who brings the stack up as k3s with `obol`, on a machine of their own; k3s is a stand-in, all else is real.

The machine is a sandbox: a bridge is made on it, and it has files in /etc of another k3s.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.clients.sandbox import Sandbox, needs_root, open_sandbox
from tests.clients.servers import environment, run
from tests.e2e import k3skubectl, k3sprogram
from tests.fakes import jsonshape
from tests.fakes.tls import make_certificate
from tests.limits import scaled, wait_until

pytestmark = [pytest.mark.tool("ip", "openssl", "setsid"), pytest.mark.xdist_group("k3s"), needs_root]

TOOLS = ("sh", "setsid", "ip", "kill", "rm", "umount", "cut", "mv", "env", "sleep", "chown")
THEIRS = "/etc/rancher/k3s/registries.yaml"
_THEIR_K3S = (
    f"cp -a /etc /run/etc; mount --bind /run/etc /etc; mkdir -p {Path(THEIRS).parent};"
    f" echo 'mirrors: {{}}' >{THEIRS}; chmod 640 {THEIRS}; chown 7:8 {THEIRS}"
)
_K3S = """#!/bin/sh
if [ "$1" = kubectl ]; then
  shift
  exec {python} -I -S {programs}/k3skubectl.py "$@"
fi
exec {python} {programs}/k3sprogram.py "$@"
"""
_LISTEN = "import socket, time; s = socket.create_server(('127.0.0.1', 6443)); print('up', flush=True); time.sleep(60)"


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody at a shell of the sandbox, who has k3s and few other programs."""

    workdir: Path
    sandbox: Sandbox
    environ: Mapping[str, str]

    @property
    def config(self) -> Path:
        return self.workdir / "config"

    @property
    def data(self) -> Path:
        return self.workdir / "data" / "k3s"

    @property
    def waits(self) -> Path:
        """As long as it is there, k3s does not come up."""
        return self.workdir / "programs" / k3sprogram.WAITS

    def popen(self, *words: str, **environ: str) -> subprocess.Popen[str]:
        """Start `obol …`."""
        argv = [*self.sandbox.everything, "env", f"PATH={self.waits.parent}", sys.executable, "-m", "obol", *words]
        env = {**self.environ, **environ}
        return subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def obol(self, *words: str, code: int = 0, **environ: str) -> tuple[str, str]:
        """Run `obol …` to its end: what it said on standard output and standard error."""
        with self.popen(*words, **environ) as process:
            out, err = process.communicate(timeout=scaled(100))
        assert process.returncode == code, f"{process.returncode}\n{out}\n{err}"
        jsonshape.hold(words, out, err)
        return out, err

    def up(self, *words: str) -> dict[str, Any]:
        """Bring the stack up; what it told."""
        told: dict[str, Any] = json.loads(self.obol("stack", "up", "--output", "json", *words)[0])
        return told

    def shell(self, script: str) -> str:
        return run([*self.sandbox.everything, "sh", "-c", script], os.environ)

    def server(self) -> int:
        """The number of the k3s that was started last."""
        return int((self.config / ".k3s.pid").read_text().split()[0])

    def processes(self) -> list[str]:
        lines = self.shell("ps -e -ww -o args=").splitlines()
        return [line for line in lines if ("k3sprogram" in line and "server" in line) or "containerd-shim" in line]

    def seen(self) -> dict[str, int]:
        """What the mirrors that k3s was told of answered with."""
        found: dict[str, int] = json.loads((self.data / "server" / "seen.json").read_text())["mirrors"]
        return found

    def bridge(self) -> bool:
        return "obol-k3s" in self.shell("ip -o link show")

    def listens_on(self) -> set[str]:
        """The addresses on which anything listens, as the kernel writes them."""
        return {line.split()[1].partition(":")[0] for line in self.shell("grep ' 0A ' /proc/net/tcp").splitlines()}


@pytest.fixture
def person() -> Iterator[Person]:
    """Somebody with k3s, whose registries are out of reach."""
    with tempfile.TemporaryDirectory(prefix="obol-") as name, open_sandbox(own_network=True) as sandbox:
        workdir = Path(name)
        programs = workdir / "programs"
        programs.mkdir()
        for module in (k3sprogram, k3skubectl):
            shutil.copy(str(module.__file__), programs)
        make_certificate(programs)
        (programs / "k3s").write_text(_K3S.format(python=sys.executable, programs=programs))
        (programs / "k3s").chmod(0o755)
        for tool in TOOLS:
            found = shutil.which(tool, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
            assert found is not None
            (programs / tool).symlink_to(found)
        variables = {
            "K3S_URL": "https://elsewhere:6443",
            "OBOL_BACKEND": "k3s",
            "OBOL_CONFIG_DIR": str(workdir / "config"),
            "OBOL_DATA_DIR": str(workdir / "data"),
            "OBOL_STATE_DIR": str(workdir / "state"),
            "OBOL_REGISTRY_CACHE_DIR": str(workdir / "caches"),
            "OBOL_CACHE_UPSTREAM": "docker.io=http://127.0.0.1:9,ghcr.io=http://127.0.0.1:9",
            "OBOL_CACHE_ALLOW_HOST": "127.0.0.1",
        }
        one = Person(workdir, sandbox, {**environment(workdir), **variables})
        one.shell(_THEIR_K3S)
        yield one


def test_a_day(person: Person) -> None:
    """Up, up, without caches, down, up, purge: one k3s, wired, on no address but its own; nothing of it stays."""
    theirs = person.shell(f"cat {THEIRS}; stat -c '%a %u %g %i %Y' {THEIRS}")
    first = person.up()
    assert (first["backend"], first["created"], first["gateway"]["url"]) == ("k3s", True, "http://203.0.113.254:4000")
    assert first["mirrors"] == {"docker.io": "http://127.54.0.1:54100", "ghcr.io": "http://127.54.0.1:54101"}
    assert person.seen() == {"docker.io": 200, "ghcr.io": 200}
    assert any(THEIRS in note for note in first["notes"])
    assert person.listens_on() == {"0100007F", "0100367F", "FE7100CB"}
    assert "10.43.0.0/16 dev obol-k3s" in person.shell("ip route")
    assert (person.config / "kubeconfig.yaml").stat().st_mode & 0o777 == 0o600
    assert "K3S_URL" not in (person.data / "server" / "seen.json").read_text()
    assert person.obol("kubectl", "get", "service", "litellm", "-o", "jsonpath={.spec.clusterIP}")[0] == "203.0.113.254"
    server = person.server()

    again = person.up()
    assert (again["created"], again["notes"], person.server()) == (False, [], server)
    assert len(person.processes()) == 2

    direct = person.up("--no-registry-cache")
    assert any("pulls images directly now" in note for note in direct["notes"])
    assert (person.seen(), person.server() != server, len(person.processes())) == ({}, True, 2)

    person.obol("stack", "down")
    assert (person.processes(), person.bridge(), person.data.exists()) == ([], False, True)
    assert "stopped" in person.obol("stack", "status")[0]

    assert person.up()["created"] is False
    assert person.seen() == {"docker.io": 200, "ghcr.io": 200}
    person.obol("stack", "purge", "--force", "--cache", "--yes")
    assert (person.processes(), person.bridge()) == ([], False)
    assert not (person.workdir / "data").exists()
    assert sorted(path.name for path in person.config.iterdir()) == ["applied.yaml"]  # the stand-in's own
    assert person.shell(f"cat {THEIRS}; stat -c '%a %u %g %i %Y' {THEIRS}") == theirs


def test_interrupted_and_killed(person: Person) -> None:
    """Up goes on from an interrupted one, and by sudo from a k3s that was killed; a purge removes all of that."""
    person.waits.touch()
    with person.popen("stack", "up", "--no-registry-cache") as process:
        log = person.config / "k3s.log"
        wait_until(lambda: log.exists() and "is up" in log.read_text())
        person.shell("kill -INT $(pgrep -f 'obol stack u[p]')")
        process.communicate(timeout=scaled(30))
    assert process.returncode == 130
    person.waits.unlink()

    person.up("--no-registry-cache")
    assert len(person.processes()) == 2
    person.shell(f"kill -KILL {person.server()}")
    person.up("--no-registry-cache")
    assert len(person.processes()) == 2
    person.obol("stack", "purge", "--force", "--yes")
    assert (person.processes(), person.bridge(), person.data.exists()) == ([], False, False)


def test_another_k3s(person: Person) -> None:
    """Where something listens on the port of Kubernetes, nothing is changed, and it is named."""
    argv = [*person.sandbox.everything, sys.executable, "-c", _LISTEN]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        try:
            _, err = person.obol("stack", "up", "--no-registry-cache", code=1)
        finally:
            other.kill()
    assert "another Kubernetes runs on this machine why: port 6443 is taken by python" in " ".join(err.split())
    assert "--backend k3d" in err
    assert not person.bridge()
    assert not person.data.exists()
