"""A new user on a machine of their own: from the first `up` to an answer of a model, an interruption, and a clean end.

The machine is a sandbox with podman and a home directory. It believes in a certificate authority of ours, and finds
ghcr.io and quay.io on loopback: a registry with a real LiteLLM and a small stand-in of Prometheus, behind a slow line.
A model server of few lines answers on port 11434 of the machine.

`python -m tests.soak.newcomer DIRECTORY` makes such a machine and says how to enter it, for a reader who tries the
pages.
"""

import argparse
import asyncio
import json
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from obol.oci.references import ImageReference
from obol.workloads.images import images_in
from obol.workloads.sources import packaged
from tests.clients.containers import write_policy
from tests.clients.sandbox import Sandbox, open_sandbox
from tests.clients.servers import Child, Upstream, environment
from tests.e2e.standins import STAND_INS, push_stand_in
from tests.soak.figures import MIB, Figure, at_most, exactly, told
from tests.soak.litellm import make_layout
from tests.soak.scenario import Needs, Scenario

NAMES = ("ghcr.io", "quay.io", "registry-1.docker.io", "auth.docker.io")
RATE = 12 * MIB
"""Bytes a second from the registries."""
MODEL_PORT = 11434
INTERRUPTED_AFTER = 8.0
"""Seconds into the first `up`."""

_CONTAINERS = """\
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=20000:20000"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
[network]
network_config_dir = "{workdir}/networks"
"""
_STORAGE = '[storage]\ndriver = "overlay"\ngraphroot = "{workdir}/podman"\nrunroot = "/run/containers/storage"\n'
_REGISTRY = """\
version: 0.1
storage: {{filesystem: {{rootdirectory: {storage}}}}}
http: {{addr: "127.0.0.1:4443", tls: {{certificate: {workdir}/tls.pem, key: {workdir}/tls.key}}}}
"""
_LINE = "import sys; sys.path.insert(0, sys.argv[1]); from tests.soak.newcomer import line; line(int(sys.argv[2]))"
_MODEL = f"""
import http.server, json
class Model(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        said = {{"role": "assistant", "content": "Hello from the model on this machine."}}
        body = json.dumps({{"id": "1", "object": "chat.completion", "created": 1, "model": asked["model"],
            "choices": [{{"index": 0, "message": said, "finish_reason": "stop"}}],
            "usage": {{"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}}}}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.ThreadingHTTPServer(("", {MODEL_PORT}), Model).serve_forever()
"""


def line(rate: int) -> None:
    """Forward port 443 to the registry at so many bytes a second, until killed."""
    from tests.clients.throttle import Throttle  # noqa: PLC0415 - only in the process that is the line

    Throttle(4443, float(rate), port=443)
    threading.Event().wait()


@dataclass(frozen=True, slots=True)
class Newcomer:
    """Somebody at a shell of their machine."""

    sandbox: Sandbox
    environ: Mapping[str, str]

    def enter(self) -> list[str]:
        """The command that a shell or another program is run by on the machine."""
        return [*self.sandbox.everything, "env", "-i", *(f"{name}={value}" for name, value in self.environ.items())]

    def run(self, *argv: str) -> str:
        """Run a program to its end. Raises CalledProcessError."""
        done = subprocess.run([*self.enter(), *argv], capture_output=True, text=True, check=False, timeout=900)
        if done.returncode:
            raise AssertionError(f"{' '.join(argv)}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def up(self) -> float:
        """Bring the stack up; the seconds that it took."""
        began = time.monotonic()
        self.run("obol", "stack", "up")
        return time.monotonic() - began

    def interrupted_up(self) -> int:
        """Begin to bring the stack up, and press Ctrl-C; the exit code."""
        # Where the soak itself runs in the background, its children ignore Ctrl-C unless told otherwise.
        script = f"env --default-signal=INT obol stack up & sleep {INTERRUPTED_AFTER}; kill -INT $!; wait $!"
        done = subprocess.run([*self.enter(), "bash", "-mc", script], capture_output=True, check=False)
        return done.returncode

    def completion(self) -> str:
        """Ask the model by LiteLLM; what it says."""
        question = {"model": "local", "messages": [{"role": "user", "content": "Say hello."}]}
        key = '"Authorization: Bearer $(obol stack key)"'
        asking = f"curl -sS -H {key} -H 'Content-Type: application/json' -d '{json.dumps(question)}'"
        answer = json.loads(self.run("bash", "-c", f"{asking} http://127.0.0.1:4000/v1/chat/completions"))
        said: str = answer.get("choices", [{"message": {"content": str(answer)}}])[0]["message"]["content"]
        return said


@contextmanager
def newcomer(workdir: Path) -> Iterator[Newcomer]:
    """Make the machine in an empty directory. Raises Refused where LiteLLM's image cannot be made."""
    storage = workdir / "registry"
    _fill(workdir, storage)
    _certificates(workdir)
    (workdir / "containers.conf").write_text(_CONTAINERS.format(workdir=workdir))
    (workdir / "storage.conf").write_text(_STORAGE.format(workdir=workdir))
    (workdir / "hosts").write_text(f"127.0.0.1 localhost {' '.join(NAMES)}\n")
    (workdir / "registry.yml").write_text(_REGISTRY.format(storage=storage, workdir=workdir))
    home = workdir / "home"
    (home / ".config/containers").mkdir(parents=True)
    write_policy(home / ".config/containers")
    environ = {
        "HOME": str(home),
        "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
        "CONTAINERS_CONF": str(workdir / "containers.conf"),
        "CONTAINERS_STORAGE_CONF": str(workdir / "storage.conf"),
        "TERM": "xterm-256color",
        "LC_ALL": "C.UTF-8",
    }
    with ExitStack() as stack:
        sandbox = stack.enter_context(open_sandbox(own_network=True))
        for target in ("/etc/hosts", "/etc/ssl/certs/ca-certificates.crt"):
            bind = ["mount", "--bind", str(workdir / Path(target).name), target]
            subprocess.run([*sandbox.everything, *bind], check=True)
        for words in ("link add lan0 type bridge", "addr add 198.51.100.2/24 dev lan0", "link set lan0 up"):
            subprocess.run([*sandbox.network, "ip", *words.split()], check=True)
        here = str(Path(__file__).parents[2])
        for name, argv in {
            "registry": ["docker-registry", "serve", str(workdir / "registry.yml")],
            "line": [sys.executable, "-c", _LINE, here, str(RATE)],
            "model": [sys.executable, "-c", _MODEL],
        }.items():
            child = Child([*sandbox.network, *argv], out=workdir / f"{name}.log", env=environment(workdir))
            stack.callback(child.kill)
        yield Newcomer(sandbox, environ)


def _fill(workdir: Path, storage: Path) -> None:
    """Put LiteLLM and the stand-ins of all else into the registry's directory."""
    registry = Upstream(storage, workdir)
    try:
        for manifest in packaged():
            for used in images_in(manifest):
                if used.container == "litellm":
                    _push(registry.port, make_layout(workdir, str(used.reference.tag)), used.reference)
                else:
                    push_stand_in(registry.port, used.reference, STAND_INS[used.container])
    finally:
        registry.unplug()


def _push(port: int, layout: Path, reference: ImageReference) -> None:
    target = f"docker://127.0.0.1:{port}/{reference.repository}:{reference.tag}"
    source = f"oci:{layout}:{reference.tag}"
    argv = ["skopeo", "--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false", source, target]
    subprocess.run(argv, check=True)
    shutil.rmtree(layout)


def _certificates(workdir: Path) -> None:
    """Make a certificate for the registries' names, and the machine's list of authorities with it."""
    names = ",".join(f"DNS:{name}" for name in NAMES)
    request = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=registries"
    files = [
        "-addext",
        f"subjectAltName={names}",
        "-out",
        str(workdir / "tls.pem"),
        "-keyout",
        str(workdir / "tls.key"),
    ]
    subprocess.run([*request.split(), *files], check=True, capture_output=True)
    known = Path("/etc/ssl/certs/ca-certificates.crt")
    (workdir / known.name).write_text(known.read_text() + (workdir / "tls.pem").read_text())


def try_it(workdir: Path) -> Sequence[Figure]:
    """Do what the page about first use says."""
    with newcomer(workdir) as person:
        code = person.interrupted_up()
        cold = person.up()
        manifest = Path(person.environ["HOME"]) / ".config/obol/workloads/litellm.yaml"
        model = {"model": "openai/tiny", "api_base": f"http://198.51.100.2:{MODEL_PORT}/v1", "api_key": "none"}
        listed = json.dumps([{"model_name": "local", "litellm_params": model}])
        manifest.write_text(manifest.read_text().replace("model_list: []", f"model_list: {listed}"))
        changed = person.up()
        said = person.completion()
        person.run("obol", "stack", "purge", "--force", "--yes")
        warm = person.up()
        person.run("obol", "stack", "purge", "--force", "--cache", "--yes")
        shutil.rmtree(manifest.parents[1])
        left = [path for path in Path(person.environ["HOME"]).rglob("*") if "obol" in path.name]
        pods = person.run("podman", "pod", "ps", "--quiet").split()
    return [
        exactly("exit code of an `up` that Ctrl-C ended", code, 130),
        told("the `up` after it", f"{cold:.0f} s"),
        told("`up` after a model was added", f"{changed:.0f} s"),
        Figure("the model's answer through LiteLLM", said, "Hello …", said.startswith("Hello")),
        at_most("seconds of an `up` after `purge --force`, beside the first", warm / (INTERRUPTED_AFTER + cold), 1.0),
        exactly("files and pods left after the uninstall", len(left) + len(pods), 0),
    ]


async def _run(home: Path) -> Sequence[Figure]:
    return await asyncio.to_thread(try_it, home)


NEWCOMER = Scenario(
    name="newcomer",
    title="From the first `up` to an answer of a model, on podman",
    method="A machine of its own with podman, a LiteLLM made from the package lists, a slow line, and a model server. "
    "The first `up` is interrupted and repeated, a model is added, asked, and everything is removed.",
    run=_run,
    needs=Needs(disk=12 << 30, memory=3 << 30, loop_mount=True),
    guarantees=("What the page about first use says, works.",),
)


def main() -> None:
    """Make a machine, say how to enter it, and keep it until Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.newcomer", description=main.__doc__)
    parser.add_argument("directory", type=Path)
    workdir: Path = parser.parse_args().directory.resolve()
    workdir.mkdir(parents=True, exist_ok=True)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    with newcomer(workdir) as person:
        script = workdir / "enter"
        script.write_text(f'#!/bin/sh\ncd {workdir}/home && exec {shlex.join(person.enter())} "$@"\n')
        script.chmod(0o755)
        sys.stdout.write(f"ready: {script} bash\n")
        sys.stdout.flush()
        signal.sigwait({signal.SIGINT, signal.SIGTERM})


if __name__ == "__main__":
    main()
