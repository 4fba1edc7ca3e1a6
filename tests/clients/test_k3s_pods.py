"""Pods of a k3s whose server has ended, as its containerd leaves them: real shims, real containers."""

import os
import sys
import tempfile
from pathlib import Path

import pytest

from tests.clients.sandbox import needs_root, open_sandbox
from tests.clients.servers import run

pytestmark = [
    pytest.mark.tool("containerd", "ctr", "runc", "busybox"),
    pytest.mark.xdist_group("clients-containerd"),
    needs_root,
]

_LEAVE_PODS = """
set -e
data=$1; socket=/run/k3s/containerd/containerd.sock; rootfs=/run/rootfs
mkdir -p $data/data/abc/bin $rootfs/bin $rootfs/proc $rootfs/dev $rootfs/sys
cp "$(command -v containerd-shim-runc-v2)" $data/data/abc/bin/
cp "$(command -v busybox)" $rootfs/bin/busybox
cat >/run/containerd.toml <<END
version = 2
root = "$data/agent/containerd"
state = "/run/k3s/containerd"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "$socket"
[ttrpc]
address = "$socket.ttrpc"
END
PATH=$data/data/abc/bin:$PATH containerd -c /run/containerd.toml >/run/containerd.log 2>&1 &
containerd=$!
for _ in $(seq 100); do [ -S $socket ] && break; sleep 0.1; done
ctr="ctr --address $socket --namespace k8s.io run --detach --rootfs $rootfs"
$ctr gentle /bin/busybox sleep 300
$ctr deaf /bin/busybox sh -c 'trap "" TERM; while :; do /bin/busybox sleep 1; done'
kill $containerd
wait $containerd || true
"""

_END_PODS = """
import asyncio, sys
from pathlib import Path
from obol.backends.k3s.server import K3sServer
from obol.machine.clock import SystemClock
from obol.machine.commands import SystemRunner
from obol.machine.privileges import AsRoot
from obol.machine.processes import Processes
server = K3sServer(AsRoot(SystemRunner(), 0), Path("/run"), Processes(), SystemClock())
asyncio.run(server.end_pods(sys.argv[1]))
"""


def test_end_pods() -> None:
    """Containers end, also those that do not want to, and nothing that kept them running is left."""
    with tempfile.TemporaryDirectory(prefix="obol-") as name, open_sandbox(own_network=True) as sandbox:
        data = f"{Path(name)}/k3s"

        def shell(script: str) -> str:
            return run([*sandbox.everything, "sh", "-c", script, "sh", data], os.environ)

        shell(_LEAVE_PODS)
        assert shell("ps -e -o args= | grep -c '^/.*containerd-shim'").strip() == "2"

        # Those of another data directory are another k3s's.
        for whose, left in ((f"{data}-of-another", 2), (data, 0)):
            run([*sandbox.everything, sys.executable, "-c", _END_PODS, whose], os.environ)
            processes = shell("ps -e -o args=").splitlines()
            assert sum("containerd-shim" in line for line in processes) == left
            assert any("/bin/busybox" in line for line in processes) == bool(left)
