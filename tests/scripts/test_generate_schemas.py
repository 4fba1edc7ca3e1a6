import json
from pathlib import Path

import pytest

from scripts import generate_schemas


def test_files_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every verb has a file, and one of a verb that is gone goes."""
    path = tmp_path / "schemas/stack-down.json"
    path.parent.mkdir()
    (path.parent / "gone.json").touch()
    monkeypatch.setattr(generate_schemas, "SCHEMAS", path.parent)
    monkeypatch.setattr(
        generate_schemas, "FILES", {path: generate_schemas.FILES[Path("src/obol/cli/schemas/stack-down.json")]}
    )

    assert generate_schemas.main() == 0

    assert [file.name for file in path.parent.iterdir()] == ["stack-down.json"]
    assert json.loads(path.read_text())["$defs"]["DownResult"]["type"] == "object"
