"""Write docs/json.md from the types that commands write as JSON.

The page is generated so that it can't drift; `scripts.check_docs` compares it with what the types say.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from obol.cli.results.verbs import ERROR, RESULTS, WITHOUT
from scripts.generate_errors_doc import EXIT_CODES, cell
from scripts.shapes import fields, kinds, meanings, unit

PAGE = Path("docs/json.md")
INTRODUCTION = f"""\
<!-- Written by `make docs`: change the types in src/obol/cli/results and what they are made of instead. -->

# JSON for programs

`-o json`, before the verb or behind it, makes the result one JSON object on standard output. Notes for people go to
standard error, and `-q` leaves them out. Every verb takes it but these, whose output is a tool's own, a log or a
script: {{without}}. `OBOL_OUTPUT=json` sets it for all commands.

`obol schema VERB` prints the JSON Schema (draft 2020-12) of what a verb writes, as in `obol schema stack up`; `obol
schema` lists the verbs. The schemas are in the package: nothing is fetched.

**What is stable.** A field that is here stays: with its name, its type, its unit and its meaning, on every backend and
with every cache engine. Every field is always there; what a backend does not have is null or empty. Later versions may
add fields, and words where a field lists some: let your program ignore what it does not know.

{EXIT_CODES}
## What a failure writes

A command that fails writes this object to standard error. Standard output stays empty, unless a part of the result is
there.

"""


def type_name(info: Any) -> str:
    """A type as a reader of JSON knows it, with links to parts."""
    match info:
        case msgspec.inspect.DataclassType() | msgspec.inspect.StructType():
            return f"[{info.cls.__name__}](#{info.cls.__name__.lower()})"
        case msgspec.inspect.UnionType():
            return " or ".join(type_name(one) for one in info.types)
        case msgspec.inspect.LiteralType() | msgspec.inspect.EnumType():
            return ", ".join(f"`{word}`" for word in _words(info))
        case msgspec.inspect.VarTupleType():
            return f"list of {type_name(info.item_type)}"
        case msgspec.inspect.DictType():
            return f"object of {type_name(info.value_type)}"
    names: dict[Any, str] = {
        msgspec.inspect.StrType: "string",
        msgspec.inspect.IntType: "integer",
        msgspec.inspect.FloatType: "number",
        msgspec.inspect.BoolType: "boolean",
        msgspec.inspect.NoneType: "null",
    }
    return names[type(info)]


def _words(info: Any) -> list[str]:
    found = info.values if isinstance(info, msgspec.inspect.LiteralType) else [one.value for one in info.cls]
    return sorted(found)


def table(kind: type) -> Iterator[str]:
    """The fields of a type, one a row."""
    said = meanings(kind)
    yield "| field | type | unit | meaning |"
    yield "|---|---|---|---|"
    for field in fields(kind):
        name = field.encode_name
        yield f"| `{name}` | {type_name(field.type)} | {unit(name)} | {cell(said[name])} |"


def section(title: str, kind: type, *, level: int = 2) -> str:
    """One heading with the table below it."""
    return "\n".join([f"{'#' * level} {title}", "", *table(kind), "", ""])


def parts() -> dict[str, type]:
    """What results are made of besides themselves, by name."""
    found: dict[str, type] = {}
    for root in RESULTS.values():
        found |= {name: kind for name, kind in kinds(root).items() if kind is not root}
    return dict(sorted(found.items()))


def render() -> str:
    """The whole page."""
    without = ", ".join(f"`{verb}`" for verb in sorted(WITHOUT))
    text = INTRODUCTION.format(without=without) + "\n".join([*table(RESULTS[ERROR]), "", ""])
    for verb, kind in RESULTS.items():
        if verb != ERROR:
            text += section(f"obol {verb}", kind)
    text += "## Parts\n\n"
    for name, kind in parts().items():
        about = (inspect.getdoc(kind) or "").partition("\n\n")[0]
        text += f"### {name}\n\n{' '.join(about.split())}\n\n" + "\n".join([*table(kind), "", ""])
    return text.rstrip() + "\n"


def main() -> int:
    """Write the page."""
    PAGE.write_text(render(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
