"""`obol kubectl …` and its like: the tool itself, pointed at the stack's cluster.

The process becomes the tool: arguments, output, signals and exit code are its own. It is never pointed at another
cluster: if the stack has none, or it does not run, obol says so and does not run the tool, which would ask the program
that listens on localhost:8080. What the tool does without a cluster it may do.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import typer  # noqa: TC002 - it reads the annotations of commands when they run

from obol.cli.later import later
from obol.cli.parser import Command
from obol.config.paths import Invocation, locate
from obol.errors import DependencyMissing, NotThere, ObolError, UsageError

if TYPE_CHECKING:
    import socket
else:
    socket = later("socket")

TOOLS = {
    "kubectl": "https://kubernetes.io/docs/tasks/tools/",
    "helm": "https://helm.sh/docs/intro/install/",
    "k9s": "https://k9scli.io/topics/install/",
}
"""The tools, and the pages that tell how to get them."""

KUBECONFIG = "kubeconfig.yaml"
_OPTION = "--kubeconfig"
_PATIENCE = 0.5
"""Seconds for the cluster's API to take a connection."""
_SERVER = re.compile(r"""(?<![\w-])server["']?\s*:\s*["']?(https?://[^\s"',}]+)""")
"""The address in a kubeconfig, be it YAML or JSON; a parser of YAML would take longer to load than all the rest."""
_ANEW = "`obol stack up` writes it anew"
_NO_CLUSTER = "on k3d or k3s `obol stack up` makes one; on podman there is none: `podman pod ps` shows the stack's pods"
_HELP = frozenset({"-h", "--help"})
_VALUED = frozenset({"-n", "--namespace", "--context", "--kube-context", "--cluster", "--user", "-l", "--logLevel"})
"""Options that may stand before a verb, and are followed by a value."""
_ALONE = {
    "kubectl": frozenset({"", "help", "completion", "options", "plugin", "kustomize", "__complete"}),
    "k9s": frozenset({"help", "completion", "version", "info"}),
}
"""Verbs that need no cluster."""
_ON_CLUSTER = frozenset(
    {"install", "upgrade", "uninstall", "un", "del", "delete", "list", "ls", "status", "history", "hist"}
    | {"rollback", "get", "test"}
)
"""Verbs of helm that need one: it has many that do not."""


class Verbatim(Command):
    """A command that gets every word as it is: a parser would take the `--` out of `exec pod -- ls`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Keep the words."""
        ctx.args = list(args)
        return []


def add_to(app: typer.Typer) -> None:
    """Add a command for each tool."""
    for tool in TOOLS:
        app.command(tool, cls=Verbatim, help=f"Run {tool} on the stack's cluster.")(_command(tool))


def _command(tool: str) -> Callable[[typer.Context], None]:
    def passed(context: typer.Context) -> None:
        refuse_ours(tool, context)
        around = Invocation.of_process()
        become(tool, context.args, locate(around).config / KUBECONFIG, around.environ)

    return passed


def refuse_ours(tool: str, context: typer.Context) -> None:
    """Raise UsageError for an option of ours before the name of a tool, whose output is its own."""
    before = context.parent.params if context.parent is not None else {}
    given = [name for name in ("output", "verbose", "quiet") if before.get(name)]
    if given:
        raise UsageError(
            f"`--{given[0]}` before `{tool}` has no meaning",
            why=f"what stands there is for obol, and the output of `obol {tool}` is {tool}'s own",
            hint=f"leave it out; an option of {tool} goes behind its name: `obol {tool} …`",
        )


def become(tool: str, arguments: Sequence[str], kubeconfig: Path, environ: Mapping[str, str]) -> None:
    """Replace this process by a tool. Raises DependencyMissing, NotThere, ObolError."""
    found = _found(tool, environ.get("PATH"))
    if found is None:
        raise DependencyMissing(f"`{tool}` is not installed", hint=f"how to get it: {TOOLS[tool]}")
    program, *words = found
    given = own_words(arguments)
    environment = pointed(given, kubeconfig, environ)
    if needs_cluster(tool, given) and (problem := trouble(kubeconfig)) is not None:
        raise problem
    os.execve(program, [*words, *given], environment)  # noqa: S606 - the arguments are the person's own


def own_words(arguments: Sequence[str]) -> list[str]:
    """The words that are for the tool: a `--` before them only ends our own options."""
    words = list(arguments)
    return words[1:] if words[:1] == ["--"] else words


def _found(tool: str, path: str | None) -> tuple[str, ...] | None:
    """The program that is the tool, and the words that it is called by; k3s is a kubectl too."""
    if (program := shutil.which(tool, path=path)) is not None:
        return program, tool
    if tool == "kubectl" and (program := shutil.which("k3s", path=path)) is not None:
        return program, "k3s", "kubectl"
    return None


def pointed(arguments: Sequence[str], kubeconfig: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of a tool, which knows the stack's cluster; arguments that name another go before it."""
    return dict(environ) if _names_its_own(arguments) else {**environ, "KUBECONFIG": str(kubeconfig)}


def _names_its_own(arguments: Sequence[str]) -> bool:
    return any(word == _OPTION or word.startswith(f"{_OPTION}=") for word in arguments)


def needs_cluster(tool: str, words: Sequence[str]) -> bool:
    """Whether a tool would ask the stack's cluster for this: not for help and the like, and not with --kubeconfig."""
    own = list(words[: words.index("--")] if "--" in words else words)
    if _names_its_own(own) or not _HELP.isdisjoint(own):
        return False
    verb = _verb(own)
    if tool == "helm":
        return verb in _ON_CLUSTER
    if tool == "kubectl" and verb == "version":
        return not any(word in {"--client", "--client=true"} for word in own)
    return verb not in _ALONE[tool]


def _verb(words: Sequence[str]) -> str:
    """The first word that is neither an option nor the value of one."""
    before = ""
    for word in words:
        if not word.startswith("-") and before not in _VALUED:
            return word
        before = word
    return ""


def trouble(kubeconfig: Path) -> ObolError | None:
    """Why the cluster will not answer, as far as can be seen from here; None where it may."""
    try:
        if kubeconfig.exists() and not kubeconfig.is_file():  # a named pipe would be waited for
            _refuse()
        found = _SERVER.search(kubeconfig.read_text(encoding="utf-8"))
        address = urlsplit(found[1] if found else "")
        with socket.create_connection((str(address.hostname or _refuse()), address.port or _refuse()), _PATIENCE):
            return None
    except TimeoutError:
        return None  # it may be busy: the tool has more patience
    except (FileNotFoundError, NotADirectoryError):
        return NotThere("the stack has no Kubernetes cluster", hint=_NO_CLUSTER)
    except (PermissionError, IsADirectoryError, ValueError):
        return ObolError(f"{kubeconfig} cannot be used", why="it is not ours to read, or spoilt", hint=_ANEW)
    except OSError:
        return NotThere("the stack's cluster does not run", hint="`obol stack up` starts it")


def _refuse() -> int:
    raise ValueError("no address")
