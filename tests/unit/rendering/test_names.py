import pytest

from obol.rendering.names import home_mark, loopback_name, stack_name


def test_stack_name() -> None:
    """A stack's parts are told from those of others by their names."""
    assert stack_name("brave-otter") == "obol-stack-brave-otter"


def test_home_mark() -> None:
    """A directory has one mark on each machine, which tells nothing of its name and can be a label."""
    mark = home_mark("m", "/home/me/.config/obol")

    assert mark == home_mark("m", "/home/me/.config/obol")
    assert len({mark, home_mark("n", "/home/me/.config/obol"), home_mark("m", "/x"), home_mark("m", "/\udcff")}) == 4
    assert mark.isalnum()


PORTS = {"docker.io": 54100, "ghcr.io": 40001}


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("registry:3", "127.0.0.1:54100/library/registry:3"),
        ("rancher/k3s:v1.35.5-k3s1", "127.0.0.1:54100/rancher/k3s:v1.35.5-k3s1"),
        ("ghcr.io/k3d-io/k3d-proxy:5.9.0", "127.0.0.1:40001/k3d-io/k3d-proxy:5.9.0"),
        ("alpine", "127.0.0.1:54100/library/alpine:latest"),
    ],
)
def test_name(image: str, name: str) -> None:
    """An image is named at the port of its registry, with the repository that it has there."""
    assert loopback_name(image, PORTS) == name


@pytest.mark.parametrize("image", ["quay.io/a/b:1", f"alpine:3@sha256:{'0' * 64}", f"a@sha256:{'0' * 64}", "A B", ""])
def test_none(image: str) -> None:
    """A registry without a cache, a digest, and what is no reference have no such name."""
    assert loopback_name(image, PORTS) == ""
