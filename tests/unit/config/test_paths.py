import os
from pathlib import Path

import pytest

from obol.config.paths import (
    DEVELOPMENT,
    Directories,
    Invocation,
    development,
    expand,
    home_of,
    locate,
    person_home,
)
from obol.errors import UsageError

HOME = Path("/home/ada")


def around(**environ: str) -> Invocation:
    """Ada's surroundings, in a checkout."""
    return Invocation(environ, Path("/src/checkout"), HOME)


def test_home_defaults() -> None:
    """With nothing in the environment everything lies in the home directory."""
    found = locate(around())

    assert found == Directories(
        config=HOME / ".config/obol",
        data=HOME / ".local/share/obol",
        state=HOME / ".local/state/obol",
        cache_root=HOME / ".local/state/obol/registry-cache",
    )
    assert found.settings_file == HOME / ".config/obol/obol.toml"
    assert found.builtin_store == HOME / ".local/state/obol/registry-cache/builtin"


def test_xdg_bases() -> None:
    """The XDG base directories are honoured, for the cache root too."""
    found = locate(around(XDG_CONFIG_HOME="/x/c", XDG_DATA_HOME="/x/d", XDG_STATE_HOME="/x/s"))

    assert found == Directories(
        Path("/x/c/obol"), Path("/x/d/obol"), Path("/x/s/obol"), Path("/x/s/obol/registry-cache")
    )


def test_relative_xdg_base() -> None:
    """A relative XDG base is ignored, as its specification says."""
    assert locate(around(XDG_STATE_HOME="state")).state == HOME / ".local/state/obol"


def test_development_mode() -> None:
    """Development mode keeps everything in the checkout, except the caches."""
    found = locate(around(OBOL_DEVELOPMENT="true", XDG_CONFIG_HOME="/x/c"))

    assert found.config == Path("/src/checkout/.workspace/config")
    assert found.data == Path("/src/checkout/.workspace/data")
    assert found.state == Path("/src/checkout/.workspace/state")
    assert found.cache_root == HOME / ".local/state/obol/registry-cache"


@pytest.mark.parametrize("word", ["", "1", "yes", "TRUE", "false"])
def test_development_mode_word(word: str) -> None:
    """Only the word true turns development mode on."""
    assert locate(around(OBOL_DEVELOPMENT=word)).config == HOME / ".config/obol"


def test_given_directories_win() -> None:
    """OBOL_<X>_DIR wins over development mode and XDG; ~ and relative paths are understood."""
    found = locate(
        around(
            OBOL_DEVELOPMENT="true",
            XDG_DATA_HOME="/x/d",
            OBOL_CONFIG_DIR="/c",
            OBOL_DATA_DIR="~/d",
            OBOL_STATE_DIR="s/../t",
            OBOL_REGISTRY_CACHE_DIR="~",
        )
    )

    assert found == Directories(Path("/c"), HOME / "d", Path("/src/checkout/t"), HOME)


@pytest.mark.parametrize(
    ("environ", "uid", "home"),
    [
        ({"HOME": "/home/ada"}, 1000, "/home/ada"),
        ({"HOME": "/root"}, 0, "/root"),
        ({"HOME": "/root", "SUDO_USER": "ada"}, 0, "/users/ada"),
        ({"HOME": "/root", "SUDO_USER": "gone", "SUDO_UID": "1000"}, 0, "/users/1000"),
        ({"HOME": "/root", "SUDO_USER": "gone", "SUDO_UID": "5"}, 0, "/root"),
        ({"HOME": "/home/ada", "SUDO_USER": "bob"}, 1000, "/home/ada"),
        ({}, 1000, "/users/1000"),
        ({"HOME": ""}, 7, "/"),
    ],
)
def test_person_home(environ: dict[str, str], uid: int, home: str) -> None:
    """Under sudo the home is the invoking user's; for others it is HOME, or else what the system knows."""
    users = {"ada": Path("/users/ada"), "1000": Path("/users/1000")}

    assert person_home(environ, uid, users.get) == Path(home)


def test_home_of() -> None:
    """The system knows root by name and by number, and does not know nonsense."""
    assert home_of("root") is not None
    assert home_of("root") == home_of("0")
    assert home_of("no-such-user-here") is None
    assert home_of("99999999999999999999") is None


@pytest.mark.parametrize(
    ("text", "path"), [("~", "/home/ada"), ("~/x", "/home/ada/x"), ("x/../y", "/src/checkout/y"), ("/z/", "/z")]
)
def test_expand(text: str, path: str) -> None:
    """A path that a person wrote is made absolute from where they are."""
    assert expand(text, around()) == Path(path)


def test_surroundings_of_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """They are taken from the process itself."""
    monkeypatch.delenv("SUDO_USER", raising=False)
    monkeypatch.delenv("SUDO_UID", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)

    found = Invocation.of_process()

    assert (found.home, found.cwd) == (tmp_path, tmp_path)
    assert found.environ == dict(os.environ)


@pytest.mark.parametrize(("pwd", "cwd"), [("/home/a/gone", "/home/a/gone"), ("", "/"), ("x/..", "/")])
def test_a_working_directory_that_was_removed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, pwd: str, cwd: str
) -> None:
    """Who stands in a directory that is no more can go on with all that needs none."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    monkeypatch.setenv("PWD", pwd)

    assert Invocation.of_process().cwd == Path(cwd)


@pytest.mark.parametrize(("word", "wanted"), [("true", True), ("1", False), ("True", False), ("", False)])
def test_development(word: str, wanted: bool) -> None:
    """Development mode has one word."""
    assert development({DEVELOPMENT: word}) is wanted


@pytest.mark.parametrize("odd", ["a\nb", "\x1b[31m", "x\x7f", "\u2028"])
def test_control_characters(odd: str) -> None:
    """A path with a control character is refused wherever it comes from, and shown with an escape."""
    for given in ({"XDG_CONFIG_HOME": f"/{odd}"}, {"OBOL_STATE_DIR": odd}, {"OBOL_REGISTRY_CACHE_DIR": f"~/{odd}"}):
        with pytest.raises(UsageError, match="control character") as caught:
            locate(around(**given))
        assert caught.value.what.isprintable()
    with pytest.raises(UsageError, match="control character"):
        locate(Invocation({DEVELOPMENT: "true"}, Path("/src") / odd, HOME))
    with pytest.raises(UsageError, match="control character"):
        expand(odd, around())


def test_control_characters_at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """A home directory with a line break is no place for us; other characters are."""
    monkeypatch.setenv("HOME", "/home/a\nb")
    with pytest.raises(UsageError, match="the home directory has a control character"):
        Invocation.of_process()
    monkeypatch.setenv("HOME", os.fsdecode(b"/home/\xf6 50% $x"))
    assert Invocation.of_process().home == Path(os.fsdecode(b"/home/\xf6 50% $x"))
