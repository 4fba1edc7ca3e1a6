"""Somebody who brings the stack up on podman with `obol`: cold, warm, offline, interrupted, and without caches."""

import json
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.clients.sandbox import Sandbox, needs_root, open_sandbox
from tests.clients.servers import Upstream, get
from tests.e2e.podmanhost import REGISTRIES, filled, podman_environment, slow_line
from tests.e2e.standins import MIB
from tests.e2e.terminal import Terminal
from tests.fakes import jsonshape
from tests.limits import scaled, wait_until

pytestmark = [
    pytest.mark.tool("podman", "conmon", "runc", "docker-registry", "busybox", "iptables"),
    pytest.mark.xdist_group("clients-podman"),
    needs_root,
]

LITELLM = 4000
LITELLM_BAR = re.compile(r"ghcr\.io/berriai/litellm\S+\n +━*─* +\d+% +[\d.]+/[\d.]+ MiB +[\d.]+ [KM]iB/s +about \d+ s")


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody at a shell of the sandbox."""

    home: Path
    sandbox: Sandbox
    upstream: Upstream
    environ: Mapping[str, str]

    def popen(self, *words: str, **environ: str) -> subprocess.Popen[str]:
        """Start `obol …`."""
        return self._start(words, subprocess.PIPE, environ)

    def popen_at(self, terminal: Terminal, *words: str) -> subprocess.Popen[str]:
        """The same, with its standard error on a terminal."""
        return self._start(words, terminal.device, {"TERM": "xterm"})

    def _start(self, words: Sequence[str], err: int, environ: Mapping[str, str]) -> subprocess.Popen[str]:
        argv = [*self.sandbox.everything, sys.executable, "-m", "obol", *words]
        env = {**self.environ, **environ}
        return subprocess.Popen(argv, env=env, cwd=self.home, stdout=subprocess.PIPE, stderr=err, text=True)

    def end(self, how: signal.Signals) -> None:
        """Send a signal to `obol stack up`; the process is in a process namespace: its outer end only waits for it."""
        subprocess.run([*self.sandbox.everything, "pkill", f"-{how.value}", "-f", "obol stack up"], check=True)

    def obol(self, *words: str, code: int = 0, **environ: str) -> tuple[str, str]:
        """Run `obol …` to its end: what it said on standard output and standard error."""
        with self.popen(*words, **environ) as process:
            out, err = process.communicate(timeout=scaled(100))
        assert process.returncode == code, f"{process.returncode}\n{out}\n{err}"
        jsonshape.hold(words, out, err)
        return out, err

    def up(self) -> tuple[dict[str, Any], float]:
        """Bring the stack up; what it told as JSON, and the seconds that it took."""
        began = time.monotonic()
        out, _ = self.obol("stack", "up", "--output", "json")
        return json.loads(out), time.monotonic() - began

    def answers(self) -> bool:
        try:
            return get(LITELLM, "/health/readiness", self.sandbox) == 200
        except pytest.fail.Exception:
            return False

    def podman(self, *words: str) -> str:
        argv = [*self.sandbox.everything, "podman", *words]
        return subprocess.run(argv, env=self.environ, check=True, capture_output=True, text=True).stdout

    def pulls(self, process: subprocess.Popen[str]) -> None:
        """Wait until podman is in the middle of a layer."""
        assert process.stderr is not None
        for line in process.stderr:
            if "pulling" in line:
                break
        partials = self.home / "caches/builtin"
        wait_until(
            lambda: any(path.stat().st_size > MIB for path in partials.rglob("*") if "partial" in str(path)),
            story=lambda: "nothing is being fetched",
        )

    def content(self) -> int:
        return int(self.engine()["content"]["size"])

    def engine(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.obol("cache", "status", "-o", "json")[0])["engine"]
        return told

    def blob_bytes(self) -> int:
        """Bytes of blobs that left the registries since they were last forgotten."""
        return sum(self.upstream.blob_bytes().values())


@pytest.fixture
def person() -> Iterator[Person]:
    """Somebody with podman, whose registries are far away."""
    with tempfile.TemporaryDirectory(prefix="obol-") as name, open_sandbox(own_network=True) as sandbox:
        workdir = Path(name)
        environ = podman_environment(workdir)
        upstream = Upstream(filled(workdir), workdir, sandbox)
        with slow_line(upstream, workdir, sandbox) as url:
            variables = {
                "OBOL_CONFIG_DIR": str(workdir / "config"),
                "OBOL_DATA_DIR": str(workdir / "data"),
                "OBOL_STATE_DIR": str(workdir / "state"),
                "OBOL_REGISTRY_CACHE_DIR": str(workdir / "caches"),
                "OBOL_CACHE_UPSTREAM": ",".join(f"{registry}={url}" for registry in REGISTRIES),
                "OBOL_CACHE_ALLOW_HOST": "127.0.0.1",
            }
            yield Person(workdir, sandbox, upstream, {**environ, **variables})
            upstream.unplug()


def test_cold_warm_offline(person: Person) -> None:
    """The second up on an emptied store fetches no blob and is faster; offline the stack comes up as well."""
    told, cold = person.up()
    assert person.blob_bytes() > 10 * MIB
    assert (told["backend"], told["created"], told["gateway"]["url"]) == ("podman", True, "http://127.0.0.1:4000")
    assert set(told["mirrors"]) == set(REGISTRIES)
    assert told["gain"]["bytes_fetched"] > 10 * MIB
    assert (told["gain"]["bytes_held"], told["gain"]["saved_seconds"]) == (
        0,
        None,
    )  # the prefetch saves nobody anything
    assert person.answers()

    person.obol("stack", "purge", "--force", "--yes")
    assert not person.answers()
    person.upstream.forget()
    before = told["seconds"]
    told, warm = person.up()
    assert person.blob_bytes() == 0
    assert told["gain"]["bytes_fetched"] == 0
    assert told["gain"]["bytes_held"] > 10 * MIB
    # No more than this person has seen saved, however busy the machine is.
    assert 0 <= told["gain"]["saved_seconds"] <= max(0.0, before - told["seconds"]) + 0.1
    sys.stdout.write(f"cold {cold:.1f} s, warm {warm:.1f} s\n")
    assert warm < cold

    person.obol("stack", "purge", "--force", "--yes")
    person.upstream.unplug()
    person.up()
    assert person.answers()


def test_a_day(person: Person) -> None:
    """Down keeps everything, up goes on from there, up again changes nothing, purge with --cache leaves nothing."""
    out, err = person.obol("stack", "up", "--verbose")
    assert "LiteLLM answers at http://127.0.0.1:4000" in out
    assert "from upstream" in out
    assert "✓ Deploying the workloads" in err
    assert "  │ Copying blob" in err
    key = (person.home / "config/litellm-master-key").read_text().strip()
    assert key not in out + err
    assert person.obol("stack", "key")[0] == f"{key}\n"
    person.obol("stack", "down")
    assert not person.answers()
    assert "stopped" in person.obol("stack", "status")[0]
    person.upstream.unplug()
    person.up()
    person.up()
    assert person.answers()
    status = person.obol("stack", "status")[0]
    assert "Cluster  running" in status
    assert "litellm     1 of 1  http://127.0.0.1:4000" in status
    assert ":54100 Prometheus asks the caches for their figures.\n" in status
    assert max(map(len, status.splitlines())) <= 80
    told = json.loads(person.obol("stack", "status", "-o", "json")[0])
    assert [workload["name"] for workload in told["workloads"]] == ["litellm", "prometheus"]
    assert told["disk"]["caches_bytes"] > 10 * MIB

    person.obol("stack", "purge", "--force", "--cache", "--yes")

    assert "not running" in person.obol("cache", "status")[0]
    assert person.podman("ps", "--all", "--quiet") == ""
    left = [path for path in person.home.glob("c*/**/*") if path.is_file() and path.name != "containers.conf"]
    assert left == []
    assert [path.name for path in person.home.iterdir() if path.name in {"config", "data", "state", "caches"}] == []
    assert person.obol("stack", "down", code=4)[1].startswith("error: there is no stack")


def test_interrupted(person: Person) -> None:
    """Ctrl-C in the middle of up ends it with 130, and the next up completes it; so it does after a kill."""
    for moment, how, code in (("Starting the cluster", signal.SIGINT, 130), ("Deploying", signal.SIGKILL, -9)):
        with person.popen("stack", "up") as process:
            assert process.stderr is not None
            for line in process.stderr:
                if line.startswith(moment):
                    break
            person.end(how)
            process.communicate(timeout=scaled(60))
        assert process.returncode in {code, code % 256, 128 + how.value}

    person.up()

    assert person.answers()
    person.obol("stack", "purge", "--force", "--cache", "--yes")


def test_what_is_seen_while_images_come(person: Person) -> None:
    """While images come there are bytes, percent, speed and an estimate for each and for all, in lines that fit.

    After Ctrl-C nothing stays of what podman was unpacking; where nobody looks, there are lines about what has come.
    """
    pulls = person.home / "config/podman/pulls"
    with Terminal(80) as terminal:
        with person.popen_at(terminal, "stack", "up") as process:
            wait_until(lambda: any(pulls.glob("*/storage*")) and LITELLM_BAR.search(terminal.text()))
            person.end(signal.SIGINT)
            process.communicate(timeout=scaled(60))
        assert process.returncode == 130
        wait_until(lambda: "Interrupted." in terminal.text())
    assert not [path for path in pulls.glob("**/*") if "storage" in path.name]
    shown = terminal.lines()
    assert max(map(len, shown)) <= 80
    assert {line for line in shown if line.startswith("  All images (")} <= {
        f"  All images ({count} of 2 in the cache)" for count in range(3)
    }
    percents = [int(found) for found in re.findall(r" (\d+)%", terminal.text())]
    assert percents
    assert max(percents) <= 100

    person.obol("stack", "purge", "--force", "--cache", "--yes")
    _, err = person.obol("stack", "up")

    assert [line for line in err.splitlines() if re.match(r"  ghcr\.io/berriai/litellm\S+: .* MiB in .* s \(", line)]
    assert "\x1b" not in err
    person.obol("stack", "purge", "--force", "--cache", "--yes")


def test_engine_dies_during_up(person: Person) -> None:
    """An engine that is killed while podman pulls is started again, and `up` comes to its end; one line says so."""
    with person.popen("stack", "up", "--output", "json") as process:
        person.pulls(process)
        subprocess.run([*person.sandbox.everything, "pkill", "-9", "-f", "obol cache serve"], check=True)
        out, err = process.communicate(timeout=scaled(100))
    assert process.returncode == 0, f"{out}\n{err}"
    told = json.loads(out)
    assert len([note for note in told["notes"] if "was started again" in note]) == 1
    assert told["gain"]["measured"] is False
    assert person.answers()
    assert "running" in person.obol("cache", "status")[0]


def test_what_is_claimed_after_an_interruption(person: Person) -> None:
    """What an `up` that was interrupted has fetched is claimed by the next as far as it was held then, and once."""
    with person.popen("stack", "up") as process:
        person.pulls(process)
        subprocess.run([*person.sandbox.everything, "pkill", "-INT", "-f", "obol stack up"], check=True)
        process.communicate(timeout=scaled(60))
    while person.engine()["fills"]:  # what is on its way goes on for a while
        pass
    held = person.content()

    gain = person.up()[0]["gain"]

    assert gain["bytes_held"] <= held
    assert gain["bytes_held"] + gain["bytes_fetched"] <= person.content()
    assert person.answers()
    again = person.up()[0]["gain"]
    assert (again["bytes_held"], again["bytes_fetched"], again["saved_seconds"]) == (0, 0, None)


def test_without_caches(person: Person) -> None:
    """With the caches turned off nothing of them is touched, in development mode either."""
    _, err = person.obol("stack", "up", code=1, OBOL_DISABLE_REGISTRY_CACHE="true", OBOL_DEVELOPMENT="true")

    assert "✗ Starting the cluster" in err or "✗ Deploying the workloads" in err  # the real registries are far away
    assert "cache" not in err
    assert not (person.home / "caches").exists()
    assert not list(person.home.rglob("registries*"))
