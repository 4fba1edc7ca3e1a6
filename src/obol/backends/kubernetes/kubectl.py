"""Bringing manifests to a cluster by kubectl, and waiting until what they deploy is ready.

The kubectl of this machine is used where there is one, else that of a node. Manifests go through standard input, so
that a key in one is neither in an argument vector nor in a file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from obol.backends.kubernetes.rollouts import Rollout, deployed, rollouts
from obol.errors import DependencyMissing, ObolError
from obol.machine.commands import last_line, plain
from obol.machine.polling import Polling
from obol.machine.texts import in_shell
from obol.rendering.kubernetes import encode

if TYPE_CHECKING:
    from obol.backends.kubernetes.rollouts import Deployment
    from obol.backends.ports import Watch
    from obol.machine.clock import Clock
    from obol.machine.commands import Completed, Runner

QUICK = 60.0
READY_WITHIN = 1800.0
PAUSE = 1.0
"""Seconds: for one call, for all workloads together, and between two looks at them.

The nodes pull while we wait, so workloads get as long as a pull by Docker does: a first pull of LiteLLM takes a slow
line more than ten minutes.
"""

_AGAIN = "mend it, then run `obol stack up` again; the cluster is left running"
_SYSTEM = "kube-system"
"""The namespace of what belongs to the cluster."""

_LISTING = ("get", "deployments,pods", "--all-namespaces", "-o", "json")
_TRIES = 4
_RETRY_AFTER = 3.0
_NOT_YET = ("connection refused", "unable to handle the request", "handshake timeout", "i/o timeout", "not ready")
"""What a cluster says that has only just come up."""


@dataclass(frozen=True, slots=True)
class Kubectl:
    """One kubectl, for one cluster."""

    runner: Runner = field(repr=False)
    clock: Clock = field(repr=False)
    argv: tuple[str, ...]
    """How it is called."""
    shown: str
    """The same for a person who wants to look."""
    env: Mapping[str, str] | None = field(default=None, repr=False)
    loud: Runner | None = field(default=None, repr=False)
    """Runs what may be shown to people: never where something is to stay hidden."""

    async def apply(self, what: str, text: str, *, hidden: Sequence[str] = ()) -> None:
        """Bring a manifest to the cluster; `what` names it.

        Raises ObolError for one that the cluster refuses, without the words that are to stay `hidden`.
        """
        runner = self.runner if hidden else self.loud or self.runner
        for attempt in range(1, _TRIES + 1):
            done = await runner.run([*self.argv, "apply", "-f", "-"], stdin=text, env=self.env, timeout=QUICK)
            if done.code == 0:
                return
            said = plain(done.stderr)
            if attempt == _TRIES or not any(words in said for words in _NOT_YET):
                break
            await self.clock.sleep(_RETRY_AFTER)
        why = last_line(said, f"exit code {done.code}")
        for word in hidden:
            why = why.replace(word, "…")
        raise ObolError(
            f"the cluster does not take {what}",
            why=why,
            hint="mend it, then run `obol stack up` again: the cluster is left running",
        )

    async def read(self, what: str, *arguments: str) -> str:
        """Run a command for its answer; `what` says what cannot be had if it fails. Raises ObolError."""
        done = await self._run(*arguments)
        if done.code:
            why = last_line(plain(done.stderr), f"exit code {done.code}")
            raise ObolError(what, why=why, hint=f"see what `{self.shown} get nodes` says, then repeat the command")
        return done.stdout

    async def wait(
        self, deployments: Sequence[Deployment], watch: Watch, *, within: float = READY_WITHIN, then: str = _AGAIN
    ) -> None:
        """Wait until all of these are ready, with a line each whenever something changes.

        Raises ObolError after `within` seconds, which says how to look and what to do `then`; the cluster is left as
        it is.
        """
        if not deployments:
            return
        told = dict.fromkeys(deployments, "")
        now: Sequence[Rollout] = [Rollout(one) for one in deployments]
        async for _ in Polling(self.clock, every=PAUSE, within=within):
            done = await self._run(*_LISTING)
            if done.code == 0:  # an API that restarts is no news of the workloads
                now = rollouts(done.stdout, deployments)
            for one in now:
                if (line := str(one)) != told[one.deployment]:
                    told[one.deployment] = line
                    watch(line)
            if all(one.done for one in now):
                return
        raise self._stuck([one for one in now if not one.done], within, then)

    async def deployed(self) -> tuple[Rollout, ...]:
        """Look at everything that is deployed, but for what the cluster itself consists of. Raises ObolError."""
        done = await self._run(*_LISTING)
        if done.code:
            why = last_line(plain(done.stderr), f"exit code {done.code}")
            raise ObolError("the cluster does not say what it runs", why=why)
        return deployed(done.stdout, without=_SYSTEM)

    def _stuck(self, waiting: Sequence[Rollout], within: float, then: str) -> ObolError:
        first = waiting[0].deployment
        names = " and ".join(one.deployment.name for one in waiting)
        details = [detail for one in waiting for detail in one.details]
        source = f" and at {first.manifest}, which {first.name} is made of" if first.manifest else ""
        return ObolError(
            f"{names} {'is' if len(waiting) == 1 else 'are'} not ready after {within / 60:.0f} minutes",
            why="; ".join(details) or "its pods are not there yet, or do not answer their probes",
            hint=f"look with `{self.shown} -n {first.namespace} describe pods`{source}, {then}",
        )

    async def get(self, kind: str, name: str, namespace: str, path: str) -> str:
        """One value of an object, by its JSONPath; "" where there is none, or kubectl fails."""
        done = await self._run("get", kind, name, "--namespace", namespace, "-o", f"jsonpath={{{path}}}")
        return "" if done.code else done.stdout.strip()

    async def images(self) -> frozenset[str]:
        """The images that every node has, by all their names; none where kubectl fails."""
        names = '{range .items[*]}{.status.images[*].names[*]}{"\\n"}{end}'
        done = await self._run("get", "nodes", "-o", f"jsonpath={names}")
        nodes = [frozenset(line.split()) for line in done.stdout.splitlines() if line.strip()]
        return frozenset() if done.code or not nodes else nodes[0].intersection(*nodes[1:])

    async def _run(self, *arguments: str) -> Completed:
        return await self.runner.run([*self.argv, *arguments], env=self.env, timeout=QUICK)


async def kubectl_for(
    runner: Runner,
    clock: Clock,
    *,
    environ: Mapping[str, str],
    kubeconfig: Path,
    otherwise: Kubectl,
    loud: Runner | None = None,
) -> Kubectl:
    """Choose the kubectl of this machine, told of the kubeconfig by the environment; else the one that is given."""
    env = {**environ, "KUBECONFIG": str(kubeconfig)}
    try:
        if (await runner.run(["kubectl", "version", "--client"], env=env, timeout=QUICK)).code == 0:
            return Kubectl(runner, clock, ("kubectl",), f"kubectl --kubeconfig {in_shell(kubeconfig)}", env, loud)
    except DependencyMissing:
        pass
    return replace(otherwise, loud=loud)


def kubectl_of_node(runner: Runner, clock: Clock, node: str) -> Kubectl:
    """The kubectl of a node in Docker."""
    return Kubectl(runner, clock, ("docker", "exec", "-i", node, "kubectl"), f"docker exec {node} kubectl")


def secret(namespace: str, name: str, entries: Mapping[str, str]) -> str:
    """A Secret as a manifest; the values are in base64 there."""
    data = {entry: encode(value) for entry, value in entries.items()}
    metadata = {"name": name, "namespace": namespace}
    return json.dumps({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data})
