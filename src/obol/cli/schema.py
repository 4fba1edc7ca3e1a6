"""`obol schema`: what a verb writes as JSON, as a JSON Schema. Schemas are files of the package; see `cli.results`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from obol.cli.later import later
from obol.cli.parser import Verbs
from obol.cli.terminal.present import Speaker
from obol.cli.verb import verb
from obol.errors import UsageError

if TYPE_CHECKING:
    from importlib import resources
    from importlib.resources.abc import Traversable

    from obol.cli.results import others as results
else:
    resources, results = later("importlib.resources"), later("obol.cli.results.others")

app = Verbs()

SUFFIX = ".json"

Words = Annotated[
    list[str] | None,
    typer.Argument(metavar="[VERB]", help="The verb, such as `stack up`; error: what a failure writes."),
]


@verb(app)
def schema(
    say: Speaker,
    verb: Words = None,
) -> None:
    """Print the JSON Schema of what a verb writes with -o json; without a verb, list the verbs."""
    known = schemas()
    if not verb:
        say.result(results.SchemaListResult(tuple(known)), lambda: list(known))
        return
    name = " ".join(verb).removeprefix("obol ")
    if name not in known:
        raise UsageError(f"there is no schema of `{name}`", hint="`obol schema` lists the verbs that have one")
    sys.stdout.write(known[name].read_text(encoding="utf-8"))


def schemas() -> dict[str, Traversable]:
    """The file of each schema, by verb."""
    found = sorted((resources.files("obol.cli") / "schemas").iterdir(), key=lambda file: file.name)
    # No verb has a dash in its name.
    return {file.name.removesuffix(SUFFIX).replace("-", " "): file for file in found if file.name.endswith(SUFFIX)}
