"""What commands write as JSON, held to the schemas of the package."""

import json
from collections.abc import Sequence
from functools import cache
from typing import Any

import jsonschema

from obol.cli.results.verbs import ERROR, RESULTS
from obol.cli.schema import schemas


@cache
def _closed(verb: str) -> jsonschema.Draft202012Validator:
    """The schema of a verb, which refuses what it does not name: a field that is told is to be described, too."""
    schema = json.loads(schemas()[verb].read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    for part in schema["$defs"].values():
        if "properties" in part:
            part["additionalProperties"] = False
    return jsonschema.Draft202012Validator(schema)


def verb_of(words: Sequence[str]) -> str:
    """The verb of a command line; "" where there is none that writes JSON."""
    plain = [word for word in words if not word.startswith("-") and word != "json"]
    return next((verb for verb in (" ".join(plain[:2]), *plain[:1]) if verb in RESULTS), "")


def told(verb: str, text: str) -> Any:
    """Read what a verb has written, once it is as its schema says."""
    value = json.loads(text)
    _closed(verb).validate(value)
    return value


def hold(words: Sequence[str], out: str, err: str) -> None:
    """Hold whatever a command has written as JSON to its schema, be it a result or an error; all else passes."""
    verb = verb_of(words)
    if verb and out.startswith("{\n") and '"$schema"' not in out:
        told(verb, out)
    if err.startswith('{"error"'):
        told(ERROR, err.splitlines()[0])
