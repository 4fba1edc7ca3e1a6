"""Every verb that says anything as JSON keeps to one shape, and the types have nothing that cannot be encoded."""

from __future__ import annotations

import msgspec
import pytest

from obol.cli.completion import ASK
from obol.cli.results.verbs import ERROR, RESULTS, WITHOUT
from scripts.generate_cli_doc import commands


def test_every_verb_has_a_shape() -> None:
    """Each verb that is shown has a type for what it writes as JSON, or is one whose output is not ours."""
    shown = {" ".join(words) for words in commands()}
    verbs = {words for words in shown if not any(other.startswith(f"{words} ".lstrip()) for other in shown - {words})}

    assert verbs - WITHOUT == RESULTS.keys() - {ERROR}
    assert ASK not in RESULTS


@pytest.mark.parametrize("verb", RESULTS)
def test_shapes_have_schemas(verb: str) -> None:
    """Every type can be described."""
    assert msgspec.json.schema(RESULTS[verb])["$defs"]
