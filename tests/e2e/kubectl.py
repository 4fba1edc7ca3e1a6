"""A kubectl that keeps Deployments in a file: as much as development mode asks of one.

Run as a program of its own: `kubectl.py FILE ARGUMENT…`. What it was asked is kept beside the file, a line each.
"""

import json
import sys
from pathlib import Path
from typing import Any


def created(manifest: dict[str, Any]) -> dict[str, Any]:
    """A Deployment of a manifest, as the cluster has it then."""
    return {**manifest, "metadata": {**manifest["metadata"], "generation": 1, "annotations": {}}}


def answer(items: list[dict[str, Any]], argv: list[str]) -> str:
    """Carry out a command line on these Deployments; gives what it prints."""
    match argv:
        case ["version", "--client"]:
            return "Client Version: v1.35.5\n"
        case ["get", "deployment", name, "--namespace", namespace, "--ignore-not-found", "-o", "json"]:
            return "".join(json.dumps(item) for item in _named(items, namespace, name))
        case ["get", "deployments" | "deployments,pods", "--all-namespaces", "-o", "json"]:
            return json.dumps({"items": [_judged(item) for item in items]})
        case ["patch", "deployment", name, "--namespace", namespace, "--type", "strategic", "--patch", patch]:
            (item,) = _named(items, namespace, name)
            _merge(item, json.loads(patch))
            return f"deployment.apps/{name} patched\n"
        case _:
            raise SystemExit(f"error: unknown command: {argv}")


def _named(items: list[dict[str, Any]], namespace: str, name: str) -> list[dict[str, Any]]:
    wanted = {"namespace": namespace, "name": name}.items()
    return [item for item in items if wanted <= item["metadata"].items()]


def _judged(item: dict[str, Any]) -> dict[str, Any]:
    status = {"observedGeneration": item["metadata"]["generation"]}
    return {**item, "status": {**status, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1}}


def _merge(item: dict[str, Any], patch: dict[str, Any]) -> None:
    annotations = item["metadata"]["annotations"] | patch["metadata"]["annotations"]
    item["metadata"]["annotations"] = {key: text for key, text in annotations.items() if text is not None}
    changed = patch.get("spec", {"template": {"spec": {"containers": []}}})["template"]["spec"]["containers"]
    images = {container["name"]: container["image"] for container in changed}
    for container in item["spec"]["template"]["spec"]["containers"]:
        container["image"] = images.get(container["name"], container["image"])
    item["metadata"]["generation"] += bool(changed)


def main(file: Path, argv: list[str]) -> None:
    """Answer, and remember."""
    items = json.loads(file.read_text())
    with file.with_suffix(".log").open("a") as log:
        log.write(json.dumps(argv) + "\n")
    sys.stdout.write(answer(items, argv))
    file.write_text(json.dumps(items))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
