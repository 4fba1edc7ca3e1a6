import ast
import importlib
import pkgutil
from pathlib import Path

import pytest

import obol.cli
from obol.cli.later import _Later, later


def _imported(source: str) -> dict[str, str]:
    """What each name of a module's imports stands for, those for type checkers included."""
    found = {}
    for node in ast.walk(ast.parse(source)):
        for alias in node.names if isinstance(node, ast.Import | ast.ImportFrom) else ():
            before = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
            found[alias.asname or alias.name] = before + alias.name
    return found


@pytest.mark.parametrize("name", [one.name for one in pkgutil.walk_packages(obol.cli.__path__, "obol.cli.")])
def test_type_checkers_see_what_is_loaded(name: str) -> None:
    """The module that is loaded later is there, and is the one that type checkers were told of."""
    module = importlib.import_module(name)
    imported = _imported(Path(str(module.__file__)).read_text(encoding="utf-8"))

    for alias, value in vars(module).items():
        if isinstance(value, _Later):
            assert imported[alias] == value._name
            assert importlib.import_module(value._name).__name__ == value._name


def test_nothing_can_be_set() -> None:
    """A test that would patch what stands for a module patches nothing, and is told so."""
    with pytest.raises(AttributeError):
        later("json").dumps = None
