import json

import jsonschema
import pytest

from obol.cli.results.verbs import ERROR, RESULTS
from tests.unit.cli.conftest import Terminal


def test_list(terminal: Terminal) -> None:
    """Without a verb, the verbs are listed, as JSON too."""
    assert terminal.run("schema") == 0
    assert terminal.out.splitlines() == sorted(RESULTS)

    assert terminal.run("schema -o json") == 0
    assert json.loads(terminal.out)["verbs"] == sorted(RESULTS)


@pytest.mark.parametrize("verb", RESULTS)
def test_schema(terminal: Terminal, verb: str) -> None:
    """Every verb has a schema of draft 2020-12, with a word on every field, and every field is always there."""
    assert terminal.run(f"schema {verb}") == 0

    schema = json.loads(terminal.out)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    for part in schema["$defs"].values():
        properties = part.get("properties", {})
        assert sorted(properties) == sorted(part.get("required", ()))
        assert all(one["description"] for one in properties.values())


def test_unknown(terminal: Terminal) -> None:
    """A verb that has none is wrong usage, and the way to the list is told."""
    assert terminal.run("schema cache serve") == 2
    assert "there is no schema of `cache serve`" in terminal.err
    assert "`obol schema` lists" in terminal.err


def test_what_a_failure_writes(terminal: Terminal) -> None:
    """An error is as its schema says, whatever it is."""
    assert terminal.run("-o json schema nope") == 2
    assert json.loads(terminal.err)["error"]["code"] == "usage"
    assert ERROR in RESULTS
