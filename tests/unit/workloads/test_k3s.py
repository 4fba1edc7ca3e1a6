import pytest

from obol.workloads import k3s


def test_the_version_that_we_run_is_known() -> None:
    """The images of our k3s are known: from Docker Hub, each with a tag of its own, that of the sandbox too."""
    images = k3s.builtin_images()

    assert {image.registry for image in images} == {"docker.io"}
    assert all(image.tag not in {None, "latest"} for image in images)
    assert len(set(images)) == len(images) == 8
    assert any(image.repository == "rancher/mirrored-pause" for image in images)


def test_versions() -> None:
    """Every version in the list has images; another version is unknown."""
    assert k3s.VERSION in k3s.versions()
    assert all(k3s.builtin_images(version) for version in k3s.versions())
    with pytest.raises(KeyError):
        k3s.builtin_images("v0.0.1+k3s1")
