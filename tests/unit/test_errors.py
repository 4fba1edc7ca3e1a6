import ast
import inspect
import re
from pathlib import Path

import pytest

from obol import errors
from obol.errors import DependencyMissing, Interrupted, ObolError, SettingsError, StoreInUse, UsageError, noted

KINDS = [kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, ObolError)]


def test_text_is_what_and_why() -> None:
    """As text, an error is what failed and why; the hint is for whoever prints it in full."""
    error = StoreInUse("the store is in use", why="process 7 holds it", hint="stop that one first")

    assert str(error) == "the store is in use: process 7 holds it"
    assert (error.what, error.why, error.hint) == ("the store is in use", "process 7 holds it", "stop that one first")


def test_text_without_why() -> None:
    """Where nothing is known about the cause, no colon is left hanging."""
    assert str(ObolError("it failed")) == "it failed"


@pytest.mark.parametrize(
    ("kind", "code"),
    [(ObolError, 1), (UsageError, 2), (SettingsError, 2), (DependencyMissing, 3), (Interrupted, 130)],
)
def test_exit_codes(kind: type[ObolError], code: int) -> None:
    """Exit codes are those that the command line promises."""
    assert kind.exit_code == code


def test_settings_problems_are_told_together() -> None:
    """Every problem with the settings is in one error, so that a person mends them in one go."""
    error = SettingsError(("port: 70000 is above 65535", "tag-ttl: -1 is negative"))

    assert error.problems == ("port: 70000 is above 65535", "tag-ttl: -1 is negative")
    assert str(error) == "2 settings cannot be used: port: 70000 is above 65535; tag-ttl: -1 is negative"


def test_a_single_settings_problem() -> None:
    """One problem is told in the singular."""
    assert SettingsError(("port: abc is no number",)).what == "a setting cannot be used"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_the_tree_on_top_is_complete(kind: type[ObolError]) -> None:
    """The drawing at the top of the module names every class."""
    assert kind.__name__ in (errors.__doc__ or "")


def test_no_error_names_a_page_of_the_source() -> None:
    """What people are told names no file of docs/, which is not there where obol is installed."""
    source = Path(errors.__file__).parent
    said = [
        (path.name, node.value)
        for path in source.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]

    assert [(name, text) for name, text in said if re.search(r"(?<![\w./])docs/[\w-]+\.md", text)] == []


def test_notes_of_what_fails() -> None:
    """What was to be told with the result is told with the failure, once, before what came later."""
    problem = ObolError("it failed")
    problem.notes = ("b", "c")

    with pytest.raises(ObolError) as caught, noted(("a", "b")):
        raise problem
    with noted(("a",)):
        pass

    assert caught.value.notes == ("a", "b", "c")
