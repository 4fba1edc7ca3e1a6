import pytest

from obol.oci.errors import NAME_UNKNOWN, OciError
from obol.oci.references import Repository
from obol.registry.engine.scopes import Scope, Scopes
from obol.registry.store.ports import RepositoryKey
from tests.fakes.upstream import FakeUpstream

HUB = Scope("docker.io", FakeUpstream("docker.io"))
QUAY = Scope("quay.io", FakeUpstream("quay.io"))
SPACES = Scopes((HUB, QUAY))


@pytest.mark.parametrize("ns", [None, "docker.io"])
def test_find(ns: str | None) -> None:
    """The port decides; a client that names the same registry, or none, is welcome."""
    assert SPACES.find(ns, "docker.io") is HUB


@pytest.mark.parametrize("ns", ["quay.io", "evil.test", "169.254.169.254", "localhost:22"])
def test_find_another(ns: str) -> None:
    """A client that means another registry is refused, even if that one is served on another port."""
    with pytest.raises(OciError) as refusal:
        SPACES.find(ns, "docker.io")

    assert refusal.value.kind is NAME_UNKNOWN


def test_find_for_unknown_listener() -> None:
    """A port of a registry that is not configured serves nothing."""
    with pytest.raises(OciError):
        SPACES.find(None, "ghcr.io")


def test_hub_place() -> None:
    """On Docker Hub, `alpine` and `library/alpine` are one place."""
    assert HUB.key(Repository("alpine")) == HUB.key(Repository("library/alpine"))


def test_other_place() -> None:
    """On other registries nothing is put before a name, and spaces are apart."""
    assert QUAY.key(Repository("alpine")) == RepositoryKey("quay.io", Repository("alpine"))


def test_iteration() -> None:
    """All spaces are told in the order of the settings."""
    assert list(SPACES) == [HUB, QUAY]
