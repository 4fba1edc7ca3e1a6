"""`obol kubectl …` and its like: the tool itself, pointed at the stack's cluster.

The process becomes the tool: arguments, output, signals and exit code are its own. It is never pointed at another
cluster: where the stack has none, it gets a kubeconfig that is not there, rather than the one of the person's own.
"""

from __future__ import annotations

import os
import shutil
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import typer.core

from obol.config.paths import Surroundings, locate
from obol.errors import DependencyMissing, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

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


class Verbatim(typer.core.TyperCommand):
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
        around = Surroundings.of_process()
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
    """Replace this process by a tool. Raises DependencyMissing where it is not installed."""
    found = _found(tool, environ.get("PATH"))
    if found is None:
        raise DependencyMissing(f"`{tool}` is not installed", hint=f"how to get it: {TOOLS[tool]}")
    program, *words = found
    given = own_words(arguments)
    environment = pointed(given, kubeconfig, environ)
    if not _names_its_own(given) and (note := trouble(kubeconfig)):
        sys.stderr.write(f"{note}\n")
        sys.stderr.flush()
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


def trouble(kubeconfig: Path) -> str:
    """Say why the cluster will not answer, as far as can be seen from here; "" where it may."""
    import socket

    import yaml

    from obol.machine.regular import read_text

    try:
        server = yaml.safe_load(read_text(kubeconfig))["clusters"][0]["cluster"]["server"]
        address = urlsplit(str(server))
        with socket.create_connection((address.hostname, address.port), timeout=_PATIENCE):
            return ""
    except FileNotFoundError:
        return "The stack has no Kubernetes cluster: `obol stack up --backend k3d` makes one."
    except OSError:
        return "The stack's cluster does not run: `obol stack up` starts it."
    except (ValueError, LookupError, TypeError, yaml.YAMLError):
        return f"{kubeconfig} cannot be understood: `obol stack up` writes it anew."
