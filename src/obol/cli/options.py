"""Options that several verbs share, and the settings that they stand for."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from obol.cli.terminal.present import OutputFormat, Speaker

Context = typer.Context
"""For modules that have no other use for typer; it reads the annotations of commands when they run."""

Output = Annotated[
    OutputFormat | None, typer.Option("--output", "-o", help="How to write results.", show_default=False)
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say more, and show the output of other programs.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but results, warnings and errors.")]

ExitCode = Annotated[
    bool,
    typer.Option(
        "--exit-code", help="Exit with 0 if all of it runs, with 1 if only a part does, with 4 if nothing does."
    ),
]

Store = Annotated[
    str | None,
    typer.Option("--store", metavar="DIR", help="The directory of the content (default: builtin, in the cache root)."),
]
Upstreams = Annotated[
    list[str] | None,
    typer.Option(
        "--upstream",
        metavar="HOST=URL",
        help="A registry to serve, and its address; may be repeated. The engine then serves only these "
        "(default: docker.io, ghcr.io and quay.io).",
    ),
]
Ports = Annotated[
    list[str] | None,
    typer.Option(
        "--port",
        metavar="HOST=PORT",
        help="The port for a registry, 0 for any free one; may be repeated "
        "(default: 54100, 54101 and 54102 for the three).",
    ),
]
Binds = Annotated[
    list[str] | None,
    typer.Option("--bind", metavar="ADDRESS", help="An address to listen on; may be repeated (default: 127.0.0.1)."),
]
TagTtl = Annotated[
    str | None,
    typer.Option("--tag-ttl", metavar="SECONDS", help="How long to trust a tag, such as 90, 5m or 1h (default: 60)."),
]
Offline = Annotated[bool | None, typer.Option("--offline/--no-offline", help="Never ask an upstream.")]
LogFormatName = Annotated[
    str | None, typer.Option("--log-format", metavar="human|json", help="How to log (default: human).")
]
AllowHosts = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-host",
        metavar="HOST",
        help="A private host that upstreams may redirect to; may be repeated.",
    ),
]
AnswerMemory = Annotated[
    str | None,
    typer.Option(
        "--answer-memory",
        metavar="SIZE",
        help="Memory for answers that clients have not read yet, for all clients together (default: 64MiB).",
    ),
]
ServerNames = Annotated[
    list[str] | None,
    typer.Option(
        "--server-name",
        metavar="NAME",
        help="A name by which clients call the cache, besides localhost and its addresses; may be repeated.",
    ),
]


def speaker(context: typer.Context, output: OutputFormat | None, verbose: bool, quiet: bool) -> Speaker:
    """Join what was said before the verb, or by the environment, with what was said after it, which counts more."""
    before = context.obj if isinstance(context.obj, Speaker) else Speaker()
    return replace(
        before,
        output=output or before.output,
        verbose=verbose or (before.verbose and not quiet),
        quiet=quiet or (before.quiet and not verbose),
    )
