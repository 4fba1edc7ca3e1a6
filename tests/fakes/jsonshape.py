"""What commands write as JSON, held to the schemas of the package."""

from __future__ import annotations

import json
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


def verb_of(words: list[str]) -> str:
    """The verb of a command line; "" where there is none that writes JSON."""
    plain = [word for word in words if not word.startswith("-") and word != "json"]
    return next((verb for verb in (" ".join(plain[:2]), *plain[:1]) if verb in RESULTS), "")


def told(verb: str, text: str) -> Any:
    """Read what a verb has written, once it is as its schema says."""
    value = json.loads(text)
    _closed(verb).validate(value)
    return value


def told_failure(text: str) -> Any:
    """Read an error that was written as JSON."""
    return told(ERROR, text)["error"]
