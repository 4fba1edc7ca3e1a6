"""A stand-in for the program `k3s`: as much of it as one can see from outside, and none of the cluster.

It reads the configuration and registries.yaml that it is told of when it starts, listens where it is told to, writes a
kubeconfig, starts something like a shim with a pod, which outlive it, and ends on SIGTERM. It is run as a script: k3s
on a test's PATH leads here. `k3s kubectl` is another script, because it is called often and should start fast.
"""

import json
import os
import signal
import ssl
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import yaml

SHIM = "#!/bin/sh\ntrap '' TERM\nsleep 300 &\necho $! >\"$1\"\nwhile :; do wait; sleep 1; done\n"
WAITS = "K3S-IS-SLOW"
"""A file beside the program: as long as it is there, k3s writes no kubeconfig."""


class Answers(BaseHTTPRequestHandler):
    """Says 200 to everything."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_said: object) -> None:
        """Say nothing."""


def serve(address: str, port: int, certificate: Path | None = None) -> None:
    """Listen, from now on."""
    server = ThreadingHTTPServer((address, port), Answers)
    if certificate is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def mirrors(path: str) -> dict[str, int]:
    """What the mirrors of a registries.yaml answer with; nothing without one."""
    if not path:
        return {}
    told = yaml.safe_load(Path(path).read_text())["mirrors"]
    found = {}
    for registry, mirror in told.items():
        try:
            with urllib.request.urlopen(f"{mirror['endpoint'][0]}/v2/", timeout=30) as answer:
                found[registry] = answer.status
        except urllib.error.URLError as problem:
            found[registry] = getattr(problem, "code", 0)
    return found


def server(config: str, kubeconfig: str, mode: str) -> None:
    """Run, until somebody ends it."""
    here = Path(__file__).resolve().parent
    told = yaml.safe_load(Path(config).read_text())
    data, address = Path(told["data-dir"]), told["bind-address"]
    (data / "server").mkdir(parents=True, exist_ok=True)
    seen = {"mirrors": mirrors(told.get("private-registry", "")), "variables": [*os.environ]}
    (data / "server" / "seen.json").write_text(json.dumps(seen))
    serve(address, told["https-listen-port"], here / "both.pem")
    serve(address, 10250)
    serve(address, 4000)
    shim = data / "data" / "abc" / "bin" / "containerd-shim-runc-v2"
    if not (data / "server" / "pod.pid").exists() or not pod_runs(data):
        shim.parent.mkdir(parents=True, exist_ok=True)
        shim.write_text(SHIM)
        shim.chmod(0o755)
        # A script's command line begins with its interpreter; a shim's does not.
        argv = [str(shim), str(shim), str(data / "server" / "pod.pid")]
        subprocess.Popen(argv, executable="/bin/sh", start_new_session=True)
    sys.stdout.write("k3s is up\n")
    sys.stdout.flush()
    while (here / WAITS).exists():
        threading.Event().wait(0.05)
    Path(kubeconfig).touch(int(mode, 8))
    cluster = {"server": f"https://{address}:{told['https-listen-port']}"}
    Path(kubeconfig).write_text(json.dumps({"clusters": [{"name": "default", "cluster": cluster}]}))
    signal.pause()


def pod_runs(data: Path) -> bool:
    """Whether the pod of a server before this one does."""
    return Path("/proc", (data / "server" / "pod.pid").read_text().strip() or "none").exists()


def main(arguments: list[str]) -> int:
    """Do as k3s does."""
    match arguments:
        case ["--version"]:
            sys.stdout.write("k3s version v1.35.5+k3s1 (b3f4d7a0)\ngo version go1.25.5\n")
        case ["server", "--config", config, "--write-kubeconfig", kubeconfig, "--write-kubeconfig-mode", mode]:
            server(config, kubeconfig, mode)
        case _:
            sys.stderr.write(f"what is {arguments}?\n")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
