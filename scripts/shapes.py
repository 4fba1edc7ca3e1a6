"""The types that commands write as JSON, with what the source says of their fields: for schemas and for the page."""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from obol.cli.results.verbs import ERROR, RESULTS

SCHEMAS = Path("src/obol/cli/schemas")
OBJECTS = (msgspec.inspect.DataclassType, msgspec.inspect.StructType)
DRAFT = "https://json-schema.org/draft/2020-12/schema"
UNITS: Mapping[str, str] = {
    "size": "bytes",
    "bytes": "bytes",
    "seconds": "seconds",
    "latency": "seconds",
    "at": "seconds since 1970",
    "retry_after": "seconds",
    "throughput": "bytes per second",
    "total_bps": "bits per second",
    "connection_bps": "bits per second",
}
"""By the name of a field, or by the word that it begins or ends with."""


def path_of(verb: str) -> Path:
    """Where the schema of a verb is."""
    return SCHEMAS / f"{verb.replace(' ', '-')}.json"


def meanings(kind: type) -> dict[str, str]:
    """What is said below each field of a type; raises LookupError for a field of which nothing is said."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(body, ast.ClassDef)
    said: dict[str, str] = {}
    for statement, following in zip(body.body, body.body[1:], strict=False):
        match statement, following:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                said[name] = " ".join(text.split())
    if missing := [field.name for field in fields(kind) if field.name not in said]:
        raise LookupError(f"{kind.__module__}.{kind.__name__}: nothing is said of {', '.join(missing)}")
    return said


def fields(kind: type) -> tuple[msgspec.inspect.Field, ...]:
    """The fields of a type, as they are in JSON."""
    info = msgspec.inspect.type_info(kind)
    assert isinstance(info, OBJECTS)
    return info.fields


def unit(name: str) -> str:
    """The unit of a field; "" where it has none."""
    words = name.split("_")
    return UNITS.get(name) or UNITS.get(words[-1]) or (UNITS["bytes"] if words[0] == "bytes" else "")


def kinds(root: type) -> dict[str, type]:
    """The types with fields that a result is made of, by their names in its schema, the result itself first."""
    found: dict[str, type] = {}
    waiting: list[Any] = [msgspec.inspect.type_info(root)]
    for info in waiting:
        if isinstance(info, OBJECTS) and info.cls.__name__ not in found:
            found[info.cls.__name__] = info.cls
            waiting += [field.type for field in info.fields]
        waiting += _inner(info)
    return found


def _inner(info: Any) -> Iterator[Any]:
    for name in ("item_type", "key_type", "value_type"):
        if hasattr(info, name):
            yield getattr(info, name)
    yield from getattr(info, "types", ())


def schema(verb: str) -> dict[str, Any]:
    """The JSON Schema of what a verb writes: every field is always there, and more may come."""
    root = RESULTS[verb]
    (reference,), components = msgspec.json.schema_components((root,), ref_template="#/$defs/{name}")
    written = "what a command that fails writes to standard error" if verb == ERROR else f"what `obol {verb}` writes"
    about = {"$schema": DRAFT, "title": f"obol {verb}", "description": f"With -o json: {written}."}
    own = kinds(root)
    return about | reference | {"$defs": {name: _described(part, own.get(name)) for name, part in components.items()}}


def _described(part: dict[str, Any], kind: type | None) -> dict[str, Any]:
    if kind is None or "properties" not in part:
        return {"enum": part["enum"]} if "enum" in part else part
    said = meanings(kind)
    properties = {}
    for name, inner in part["properties"].items():
        of = f" ({unit(name)})" if unit(name) else ""
        properties[name] = {key: value for key, value in inner.items() if key != "default"}
        properties[name]["description"] = f"{said[name].removesuffix('.')}{of}."
    about = (inspect.getdoc(kind) or "").partition("\n\n")[0]
    return {"description": about, "type": "object", "properties": properties, "required": list(properties)}


def text_of(verb: str) -> str:
    """The schema as it is in its file."""
    return json.dumps(schema(verb), indent=2, ensure_ascii=False) + "\n"
