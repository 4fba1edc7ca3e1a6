from dataclasses import dataclass

import pytest

from obol.cli.results.verbs import RESULTS
from scripts.shapes import kinds, meanings, path_of, schema, unit


@dataclass
class Inner:
    """A part."""

    size: int
    """How
    much."""


@dataclass
class Mute:
    """A type with a field of which nothing is said."""

    said: str
    """Something."""
    unsaid: str


def test_meanings() -> None:
    """What stands below a field is its meaning, on one line; a field without is refused."""
    assert meanings(Inner) == {"size": "How much."}
    with pytest.raises(LookupError, match="nothing is said of unsaid"):
        meanings(Mute)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("bytes_held", "bytes"),
        ("free_bytes", "bytes"),
        ("saved_seconds", "seconds"),
        ("started_at", "seconds since 1970"),
        ("size", "bytes"),
        ("state", ""),
    ],
)
def test_unit(name: str, expected: str) -> None:
    """A unit is told by the name."""
    assert unit(name) == expected


def test_kinds() -> None:
    """The parts of a result are found through lists, tables and what may be null."""
    found = kinds(RESULTS["stack status"])

    assert {"StackStatusResult", "EngineStatus", "Listener", "RateLimit", "LastUpResult", "RegistryGain"} <= set(found)


def test_schema_of_a_verb() -> None:
    """Numbers have their unit in the description, and no default makes a field optional."""
    part = schema("stack up")["$defs"]["GainResult"]

    assert "bytes_held" in part["required"]
    assert part["properties"]["bytes_held"]["description"].endswith(" (bytes).")
    assert "default" not in part["properties"]["bytes_held"]


def test_path() -> None:
    """The name of the file is that of the verb."""
    assert path_of("stack up").name == "stack-up.json"
