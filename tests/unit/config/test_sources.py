import re
from pathlib import Path

import pytest

from obol.config import sources
from obol.config.paths import Directories, Invocation
from obol.config.sources import CacheFlags, environment_layer, file_layer, flags_layer, store_directory, unread
from obol.errors import SettingsError


def write(path: Path, text: str) -> Path:
    """A settings file."""
    path.write_text(text, encoding="utf-8")
    return path


def test_flags() -> None:
    """Only flags that were given are in the layer; pairs are keyed by the registry's normalised name."""
    layer = flags_layer(CacheFlags(upstream=("Index.Docker.io=https://m",), port=("ghcr.io=1",), offline=False))

    assert layer.values == {"upstream": {"docker.io": "https://m"}, "port": {"ghcr.io": "1"}, "offline": False}
    assert layer.problems == ()
    assert layer.spell(("port", "ghcr.io"), "1") == "--port ghcr.io=1"
    assert layer.spell(("tag_ttl",), "x") == "--tag-ttl x"


def test_pair_problems() -> None:
    """A pair without = and a registry that comes twice are problems, and secrets in them are not repeated."""
    layer = flags_layer(CacheFlags(upstream=("ada:pw@x", "ghcr.io=https://a", "GHCR.io=https://b")))

    assert layer.problems == ("--upstream ***@x: must be HOST=URL", "--upstream ghcr.io=…: given twice")


def test_flags_as_arguments() -> None:
    """Flags can be written as arguments again."""
    flags = CacheFlags(store="/s", port=("a=1", "b=2"), tag_ttl="5m", offline=True)

    assert flags.argv() == ("--store=/s", "--port=a=1", "--port=b=2", "--tag-ttl=5m", "--offline")
    assert CacheFlags(offline=False).argv() == ("--no-offline",)


def test_environment() -> None:
    """Repeatable settings are separated by commas; empty variables and those of others say nothing."""
    layer = environment_layer(
        {
            "OBOL_CACHE_PORT": "ghcr.io=1, quay.io=2,",
            "OBOL_CACHE_BIND": "127.0.0.1,::1",
            "OBOL_CACHE_TAG_TTL": "5m",
            "OBOL_CACHE_STORE": "",
            "OBOL_CACHE_ENGINE": "auto",
            "OBOL_CONFIG_DIR": "/c",
            "PATH": "/bin",
        }
    )

    assert layer.values == {
        "port": {"ghcr.io": "1", "quay.io": "2"},
        "bind": ("127.0.0.1", "::1"),
        "tag_ttl": "5m",
    }
    assert layer.problems == ()
    assert layer.spell(("bind", 0), "x") == "OBOL_CACHE_BIND=x"


def test_unknown_variable() -> None:
    """A variable that looks like ours and is not is a problem, with a guess at what was meant."""
    layer = environment_layer({"OBOL_CACHE_TAGTTL": "5", "OBOL_CACHE_ZZZ": "1"})

    assert layer.problems == (
        "OBOL_CACHE_TAGTTL: there is no such setting; did you mean OBOL_CACHE_TAG_TTL?",
        "OBOL_CACHE_ZZZ: there is no such setting",
    )


def test_file(tmp_path: Path) -> None:
    """The settings file has tables for upstreams and ports; a list of one may be written without brackets."""
    path = write(
        tmp_path / "obol.toml",
        """
        [cache]
        bind = "127.0.0.1"
        tag-ttl = 5
        store = "content"
        [cache.upstreams]
        "GHCR.io" = "https://mirror"
        [cache.ports]
        "ghcr.io" = 7
        """,
    )

    layer = file_layer(path)

    assert layer.values == {
        "bind": ["127.0.0.1"],
        "tag_ttl": 5,
        "store": str(tmp_path / "content"),
        "upstreams": {"ghcr.io": "https://mirror"},
        "port": {"ghcr.io": 7},
    }
    assert layer.problems == ()
    assert layer.spell(("port", "ghcr.io"), 7) == f'{path}: cache.ports."ghcr.io" = 7'


def test_file_problems(tmp_path: Path) -> None:
    """Everything in the file that nobody knows is a problem, not only the first."""
    path = write(
        tmp_path / "obol.toml",
        """
        [cache]
        bnd = 1
        upstream = []
        ports = 3
        [cache.upstreams]
        "ghcr.io" = "a"
        "GHCR.io" = "b"
        [stick]
        """,
    )

    assert file_layer(path).problems == (
        f"{path}: [stick]: there is no such table",
        f"{path}: cache.bnd: there is no such setting; did you mean bind?",
        f"{path}: cache.upstream: there is no such setting; did you mean upstreams?",
        f"{path}: cache.ports: must be a table, [cache.ports]",
        f'{path}: cache.upstreams."ghcr.io": given twice',
    )


def test_missing_file(tmp_path: Path) -> None:
    """A settings file that is not there says nothing."""
    layer = file_layer(tmp_path / "obol.toml")

    assert (layer.values, layer.problems, layer.complete) == ({}, (), True)


@pytest.mark.parametrize("text", ["[cache", 'cache = "x"', "\ud800"])
def test_spoilt_file(tmp_path: Path, text: str) -> None:
    """A file that cannot be read as settings is one problem."""
    path = tmp_path / "obol.toml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))

    assert len(file_layer(path).problems) == 1


def test_directory_as_file(tmp_path: Path) -> None:
    """A directory in the place of the file is a problem, not a crash."""
    assert file_layer(tmp_path).problems == (f"{tmp_path}: cannot be read: it is a directory, not a file",)


def places(tmp_path: Path) -> Directories:
    """Directories below a temporary one."""
    return Directories(tmp_path, tmp_path, tmp_path, tmp_path / "root")


@pytest.mark.parametrize(
    ("flag", "variable", "file", "found"),
    [
        ("f", "e", "t", "/cwd/f"),
        (None, "e", "t", "/cwd/e"),
        (None, "", "/t", "/t"),
        (None, "", "~/t", "/home/ada/t"),
        (None, "", "", "{}/root/builtin"),
    ],
)
def test_store_directory(tmp_path: Path, flag: str | None, variable: str, file: str, found: str) -> None:
    """The store alone can be found, by the same precedence, though other settings be wrong."""
    write(tmp_path / "obol.toml", f'[cache]\nnonsense = 1\nstore = "{file}"')
    around = Invocation({"OBOL_CACHE_STORE": variable, "OBOL_CACHE_X": "1"}, Path("/cwd"), Path("/home/ada"))

    assert store_directory(flag, around, places(tmp_path)) == Path(found.format(tmp_path))


def test_store_directory_unreadable(tmp_path: Path) -> None:
    """Where the file cannot be read, nobody knows where the store is, unless a flag says so."""
    write(tmp_path / "obol.toml", "[cache")
    around = Invocation({}, Path("/cwd"), Path("/home/ada"))

    assert store_directory("/s", around, places(tmp_path)) == Path("/s")
    with pytest.raises(SettingsError):
        store_directory(None, around, places(tmp_path))


SOURCES = Path(sources.__file__).parents[1]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("OBOL_CACHE_TAGTTL", "OBOL_CACHE_TAG_TTL"),
        ("OBOL_CACHE_STOR", "OBOL_CACHE_STORE"),
        ("OBOL_DEVELOPMEN", "OBOL_DEVELOPMENT"),
        ("OBOL_CONFG_DIR", "OBOL_CONFIG_DIR"),
        ("OBOL_DISABLE_REGISTRY_CACHES", "OBOL_DISABLE_REGISTRY_CACHE"),
    ],
)
def test_a_typing_error(name: str, meant: str) -> None:
    """A variable that looks like one of ours is told with what may have been meant, and without its value."""
    assert list(unread({name: "secret"})) == [f"warning: the variable {name} has no effect; did you mean {meant}?"]


def test_nothing_alike() -> None:
    """One that looks like none of ours is told, too, on one line."""
    assert list(unread({"OBOL_X\nY": "1"})) == ["warning: the variable OBOL_X\\nY has no effect"]


def test_left_alone() -> None:
    """Ours, those of others, and those that say nothing are left alone."""
    given = {"OBOL_CACHE_TAG_TTL": "5m", "OBOL_BIN_DIR": "/x", "OBOL_RELEASE": "v1", "OBOL_NONSENSE": "", "PATH": "/"}

    assert list(unread(given)) == []


def test_all_of_ours_are_known() -> None:
    """Whatever variable the sources read is a known one."""
    pattern = re.compile(r"\bOBOL_[A-Z]+(?:_[A-Z]+)*\b")
    read = {name for path in SOURCES.rglob("*.py") for name in pattern.findall(path.read_text(encoding="utf-8"))}

    assert list(unread(dict.fromkeys(read, "x"))) == []
