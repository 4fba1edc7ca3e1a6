"""Files within ConfigMaps: one that cannot be parsed is found here, before a program that reads it ends for it.

Only the syntax is looked at: tags and values are the program's own business. A template is not refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import yaml

from obol.errors import UsageError

if TYPE_CHECKING:
    from obol.workloads.sources import ManifestFile

_YAML, _JSON = (".yaml", ".yml"), ".json"
_TEMPLATE = ("{{", "{%")
"""What a text has that becomes YAML or JSON only later."""


def check_configs(manifests: Iterable[ManifestFile]) -> None:
    """Parse each entry of a ConfigMap whose name ends as that of a YAML or JSON file does.

    Raises UsageError for one that cannot be parsed, with its line. Manifests that are not YAML are left to others.
    """
    for manifest in manifests:
        for key, value in _entries(manifest):
            _check(manifest, key, value)


def _entries(manifest: ManifestFile) -> Iterator[tuple[str, yaml.ScalarNode]]:
    try:
        waiting: list[yaml.Node | None] = list(yaml.compose_all(manifest.text, yaml.SafeLoader))
    except (yaml.YAMLError, ValueError, RecursionError):
        return
    while waiting:
        fields = _fields(waiting.pop(0))
        kind = getattr(fields.get("kind"), "value", "")
        if str(kind).endswith("List") and isinstance(items := fields.get("items"), yaml.SequenceNode):
            waiting += [item for item in items.value if isinstance(item, yaml.MappingNode)]
        elif kind == "ConfigMap":
            data = _fields(fields.get("data"))
            yield from ((key, value) for key, value in data.items() if isinstance(value, yaml.ScalarNode))


def _fields(node: yaml.Node | None) -> dict[str, yaml.Node]:
    if not isinstance(node, yaml.MappingNode):
        return {}
    return {str(key.value): value for key, value in node.value if isinstance(key, yaml.ScalarNode)}


def _check(manifest: ManifestFile, key: str, value: yaml.ScalarNode) -> None:
    text = str(value.value)
    found = _yaml_trouble(text) if key.endswith(_YAML) else _json_trouble(text) if key.endswith(_JSON) else None
    if found is None or any(mark in text for mark in _TEMPLATE):
        return
    why, line = found
    if line is None:
        where = ""
    elif value.style == "|":  # its lines are those of the file
        where = f", line {value.start_mark.line + 2 + line}"
    else:
        where = f", line {line + 1} of the entry"
    raise UsageError(
        f"the entry {key} in the manifest {manifest.name} cannot be parsed",
        why=f"{why}{where}",
        hint="mend it there, then run the command again",
    )


def _yaml_trouble(text: str) -> tuple[str, int | None] | None:
    """What is wrong with it, and in which line, counted from 0."""
    try:
        for _node in yaml.compose_all(text, yaml.SafeLoader):
            pass
    except yaml.MarkedYAMLError as problem:
        mark = problem.problem_mark or problem.context_mark
        return str(problem.problem or problem.context), mark.line if mark else None
    except yaml.YAMLError as problem:  # a character that is not allowed
        return " ".join(str(problem).split()), None
    except RecursionError:
        return "it is nested too deeply", None
    return None


def _json_trouble(text: str) -> tuple[str, int | None] | None:
    try:
        json.loads(text or "null")
    except json.JSONDecodeError as problem:
        return problem.msg, problem.lineno - 1
    except (ValueError, RecursionError):
        return "it is nested too deeply", None
    return None
