"""The Dockerfile cannot be built without a network; what can be seen of it without one is seen here."""

import json
import re
from fnmatch import fnmatch

import pytest
from typer.main import get_group

from obol.caches.containers.plan import INNER_PORT, STORAGE
from obol.cli.main import app
from obol.config.registryenv import DIRECTORY, OURS
from tests.packaging.dockerfile import (
    DOCKERFILE,
    HOW_IT_RUNS,
    ROOT,
    changes,
    instructions,
    last_stage,
    owned_directories,
)

TEXT = DOCKERFILE.read_text(encoding="utf-8")


def test_instructions() -> None:
    """Every instruction is one that we understand, and the last stage only copies, makes a directory and says how."""
    assert {one.word for one in instructions(TEXT)} <= {"ARG", "FROM", "COPY", "RUN"} | HOW_IT_RUNS
    assert [one.word for one in last_stage(TEXT) if one.word not in HOW_IT_RUNS] == ["COPY", "RUN"]


def test_context() -> None:
    """What is copied from the context is there, and .dockerignore lets it through."""
    ignore = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    let_through = {line.removeprefix("!") for line in ignore if line.startswith("!")}
    copied = [one.rest.split()[:-1] for one in instructions(TEXT) if one.word == "COPY" and "--from=" not in one.rest]
    sources = {source for sources in copied for source in sources}

    assert ignore[0] == "*"
    assert sources == let_through
    assert all((ROOT / source).exists() for source in sources)
    assert not any(fnmatch("src", line) for line in ignore[1:])


def test_pinned() -> None:
    """Whatever is installed from an index is installed by hash."""
    runs = " && ".join(one.rest for one in instructions(TEXT) if one.word == "RUN")
    installs = re.findall(r"pip install ([^&]*)", runs)

    assert len(installs) == 3
    assert all("--require-hashes" in install or "--no-index" in install for install in installs)
    for lock in ("requirements.lock", "requirements-build.lock"):
        assert f"-r {lock}" in runs
        assert "--hash=sha256:" in (ROOT / lock).read_text(encoding="utf-8")


def test_build_lock_agrees() -> None:
    """The wheel is built with the same tools here and in the image."""
    pinned = re.findall(r"^\S+==\S+", (ROOT / "requirements-build.lock").read_text(encoding="utf-8"), re.MULTILINE)
    ours = (ROOT / "requirements-dev.lock").read_text(encoding="utf-8").splitlines()

    assert {line.removesuffix(" \\") for line in ours} >= {line for line in pinned if line.startswith("hatchling")}


def test_how_it_runs() -> None:
    """Port, volume and command are those for which the containers engine and k3d know the image `registry`."""
    said = changes(TEXT)
    (entrypoint,) = (json.loads(line.partition(" ")[2]) for line in said if line.startswith("ENTRYPOINT"))
    (health,) = (json.loads(line.partition(" CMD ")[2]) for line in said if line.startswith("HEALTHCHECK"))
    command = get_group(app).commands["registry"]

    assert f'VOLUME ["{STORAGE}"]' in said
    assert f"EXPOSE {INNER_PORT}" in said
    assert f"ENV OBOL_CACHE_STORE={DIRECTORY}/{OURS}" in said
    assert entrypoint == ["obol", "registry"]
    assert health == [*entrypoint, "health"]
    assert command.hidden


def test_volume_is_not_roots() -> None:
    """A new volume begins as somebody else's than root's."""
    (directory,) = owned_directories(TEXT)

    assert directory.path == STORAGE == DIRECTORY
    assert directory.uid == directory.gid > 0


@pytest.mark.parametrize("text", ["FROM a\nnonsense b\n", "FROM a\nCMD\n"])
def test_no_instruction(text: str) -> None:
    """What is no instruction is noticed."""
    with pytest.raises(ValueError, match="not an instruction"):
        instructions(text)
