import tomllib
from pathlib import Path

from obol.rendering.mirrors import registries_conf, registries_configured, registries_drop_in
from obol.rendering.registries import Mirror

GOLDEN = Path(__file__).parents[2] / "golden"


def test_mirrors() -> None:
    """Each registry has its mirror before it and is its own fallback; only plain HTTP is insecure."""
    text = registries_conf(
        [
            Mirror("docker.io", "http://127.0.0.1:54100"),
            Mirror("ghcr.io", "http://127.0.0.1:54101/"),
            Mirror("quay.io", "https://cache.example/quay"),
        ]
    )

    assert text == (GOLDEN / "registries.conf").read_text()
    assert [entry["mirror"][0]["insecure"] for entry in tomllib.loads(text)["registry"]] == [True, True, False]


def test_no_mirrors() -> None:
    """Without mirrors it is valid and says nothing."""
    assert tomllib.loads(registries_conf([])) == {"unqualified-search-registries": []}


def test_names_are_quoted() -> None:
    """A name cannot end its own quotes."""
    (entry,) = tomllib.loads(registries_conf([Mirror('a"b', "http://[::1]:5000")]))["registry"]

    assert entry["prefix"] == 'a"b'
    assert entry["mirror"][0]["location"] == "[::1]:5000"


def test_drop_in() -> None:
    """A file for registries.conf.d says nothing but the mirrors."""
    text = registries_drop_in([Mirror("docker.io", "http://127.0.0.1:54100")])

    assert text == (GOLDEN / "clients/obol.conf").read_text()
    assert set(tomllib.loads(text)) == {"registry"}


def test_configured() -> None:
    """A [[registry]] is known by its prefix, or by its location where it has none."""
    text = '[[registry]]\nprefix = "a"\nlocation = "b"\n[[registry]]\nlocation = "c"\n[[registry]]\nblocked = true\n'

    assert registries_configured(text) == {"a", "c"}
    assert registries_configured("unqualified-search-registries = []") == frozenset()
    assert registries_configured("[registry]\nlocation = 'x'") == frozenset()
