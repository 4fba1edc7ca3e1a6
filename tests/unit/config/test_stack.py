from pathlib import Path

import pytest

from obol.config.sources import file_layer
from obol.config.stack import (
    BACKEND,
    DISABLE,
    ENGINE,
    IMAGE,
    backend_wish,
    cache_disabled,
    cache_engine,
    cache_image,
    image_overrides,
)
from obol.errors import SettingsError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where obol.toml would be."""
    return tmp_path / "obol.toml"


@pytest.mark.parametrize("word", ["true", "1", "yes", "on", "TRUE", " On "])
def test_caches_turned_off(word: str) -> None:
    """The usual words for yes turn the caches off."""
    assert cache_disabled({DISABLE: word})


@pytest.mark.parametrize("environ", [{}, {DISABLE: ""}, {DISABLE: "0"}, {DISABLE: "false"}, {DISABLE: "No"}])
def test_caches_left_on(environ: dict[str, str]) -> None:
    """The usual words for no leave them on, as does saying nothing."""
    assert not cache_disabled(environ)


def test_neither_yes_nor_no() -> None:
    """Another word is a problem with a setting, not a guess."""
    with pytest.raises(SettingsError) as caught:
        cache_disabled({DISABLE: "maybe"})

    assert caught.value.problems == (f"{DISABLE}=maybe: must be true or false (or 1 or 0, yes or no, on or off)",)


def test_overrides(file: Path) -> None:
    """Images stand in for those of containers by name; the cache's own settings are read by others, and both get on."""
    file.write_text('[cache]\noffline = true\n[stack.images]\nlitellm = "localhost:5000/litellm:dev"\n')

    found = image_overrides(file)

    assert {name: str(image) for name, image in found.items()} == {"litellm": "localhost:5000/litellm:dev"}
    assert file_layer(file).problems == ()


@pytest.mark.parametrize("text", [None, "", "[stack]\n", "[stack.images]\n"])
def test_no_overrides(file: Path, text: str | None) -> None:
    """A file that is not there, or does not mention images, overrides none."""
    if text is not None:
        file.write_text(text)

    assert image_overrides(file) == {}


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("stack = 1", ["stack: must be a table"]),
        ("[stack]\nimages = 1\nimage = 2", ["stack.image: there is no such setting", "stack.images: must be a table"]),
        ('[stack.images]\na = 1\nb = "A//"', ["stack.images.a = 1: must be", "stack.images.b = A//: must be"]),
        ("[stack", ["cannot be read"]),
    ],
)
def test_bad_overrides(file: Path, text: str, problems: list[str]) -> None:
    """Every problem is told at once, with the file and the setting."""
    file.write_text(text)

    with pytest.raises(SettingsError) as caught:
        image_overrides(file)

    assert len(caught.value.problems) == len(problems)
    for told, expected in zip(caught.value.problems, problems, strict=True):
        assert told.startswith(str(file))
        assert expected in told


@pytest.mark.parametrize("word", ["auto", "builtin", "containers"])
def test_cache_engine(word: str) -> None:
    """Each engine has its word; saying nothing leaves it to us."""
    assert cache_engine({ENGINE: f" {word.title()} "}) == word
    assert cache_engine({}) == "auto"


def test_no_such_cache_engine() -> None:
    """Another word is told of, with those that there are."""
    with pytest.raises(SettingsError) as caught:
        cache_engine({ENGINE: "docker"})

    assert caught.value.problems == (f"{ENGINE}=docker: must be auto, builtin or containers",)


@pytest.mark.parametrize("word", ["k3d", "k3s", "podman", "none"])
def test_backend(word: str) -> None:
    """Each backend has its word; saying nothing, or auto, leaves it to us."""
    assert backend_wish({BACKEND: f" {word.upper()} "}) == word
    assert backend_wish({BACKEND: "auto"}) is None
    assert backend_wish({}) is None


def test_no_such_backend() -> None:
    """Another word is told of, with those that there are."""
    with pytest.raises(SettingsError) as caught:
        backend_wish({BACKEND: "kind"})

    assert caught.value.problems == (f"{BACKEND}=kind: must be auto, k3d, k3s, podman or none",)


def test_cache_image() -> None:
    """The image of cache containers can be another one, if it is one at all."""
    assert cache_image({}) is None
    assert cache_image({IMAGE: "registry:2"}) == "registry:2"
    with pytest.raises(SettingsError) as caught:
        cache_image({IMAGE: "Not An Image"})
    assert caught.value.problems == (f"{IMAGE}=Not An Image: must be an image reference, such as registry:3",)
