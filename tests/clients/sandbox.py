"""A part of the machine of its own for a container client, which dies as a whole.

Container engines write to fixed places (/run/containerd, /var/lib/containers, /dev/shm), leave helper processes behind
and, dockerd above all, change the firewall. In private mount, process and, where asked, network namespaces they can do
all that: nothing of it is seen outside, and the kernel removes it when the sandbox's first process is killed.
"""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from tests.limits import scaled

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and mounts need root")

DIE_WITH_US = ("setpriv", "--pdeathsig", "KILL")
"""In front of a command line: the process does not outlive the tests, whatever ends them."""

# The shell stays as the first process because it reaps what the container engines orphan (monitors, shims).
_FIRST_PROCESS = """
set -e
for directory in /run /var/lib /dev/shm; do mount -t tmpfs none $directory; done
[ -z "$1" ] || ip link set "$1" up
echo ready
while :; do sleep 3600; done
"""


@dataclass(frozen=True, slots=True)
class Sandbox:
    """Two ways in, each to be put in front of a command line. Both are empty for the machine itself."""

    network: tuple[str, ...] = ()
    """Only the network is the sandbox's; the process is signalled and waited for as if it were outside."""
    everything: tuple[str, ...] = ()
    """All namespaces. A signal to such a process does not arrive inside: end the sandbox instead."""


OUTSIDE = Sandbox()


@contextmanager
def open_sandbox(*, own_network: bool) -> Iterator[Sandbox]:
    """Make a sandbox, and kill everything in it at the end."""
    namespaces = ["--mount", "--pid", "--mount-proc", *(["--net"] if own_network else [])]
    loopback = "lo" if own_network else ""
    argv = [*DIE_WITH_US, "unshare", *namespaces, "--fork", "--kill-child", "sh", "-c", _FIRST_PROCESS, "sh", loopback]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as holder:
        try:
            assert holder.stdout is not None
            answer = holder.stdout.readline()
            assert answer == "ready\n", f"no sandbox: {answer}{holder.communicate(timeout=scaled(5))[0]}"
            root = f"/proc/{holder.pid}/ns"
            network = (f"--net={root}/net",) if own_network else ()
            enter = ("nsenter", *network, f"--mount={root}/mnt", f"--pid={root}/pid_for_children")
            yield Sandbox(("nsenter", *network) if network else (), enter)
        finally:
            # unshare ignores SIGTERM while it waits for its child.
            holder.kill()


@contextmanager
def isolated_where_possible() -> Iterator[Sandbox]:
    """A sandbox on the machine's network; for a plain user the machine itself, whose fixed places it cannot write."""
    if os.geteuid() != 0:
        yield OUTSIDE
        return
    with open_sandbox(own_network=False) as sandbox:
        yield sandbox
