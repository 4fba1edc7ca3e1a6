from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obol.rendering.k3d import (
    WANTED_PORTS,
    Creation,
    PortMapping,
    beside,
    create_arguments,
    escaped,
    mirrors_in,
    node_archive,
    node_name,
    on_loopback,
    publish,
)
from obol.rendering.registries import Mirror, registries_yaml

CREATION = Creation(
    "obol-stack-calm-otter",
    "calm-otter",
    "docker.io/rancher/k3s:v1.35.5-k3s1",
    "/home/me/data",
    "obol-net",
    (PortMapping(80, 80), PortMapping(8443, 443)),
    41234,
)
DIRECT = """\
cluster create obol-stack-calm-otter
--servers 1 --agents 0 --image docker.io/rancher/k3s:v1.35.5-k3s1
--network obol-net
--api-port 127.0.0.1:41234
--port 127.0.0.1:80:80@loadbalancer --port 127.0.0.1:8443:443@loadbalancer
--volume /home/me/data:/data@all
--k3s-arg --kubelet-arg=serialize-image-pulls=false@server:*
--k3s-arg --kubelet-arg=feature-gates=KubeletInUserNamespace=true@server:*
--k3s-arg --kube-apiserver-arg=feature-gates=KubeletInUserNamespace=true@server:*
--runtime-label obol.cluster-id=calm-otter@all
--runtime-ulimit nofile=26677:26677
--kubeconfig-update-default=false --kubeconfig-switch-context=false
--wait --timeout 300s
"""


def never() -> int:
    """A spare port that nobody should ask for."""
    raise AssertionError


def test_create_directly() -> None:
    """Without mirrors nothing of registries is said."""
    assert list(create_arguments(CREATION)) == DIRECT.split()


def test_create_with_mirrors() -> None:
    """A registries.yaml is given as a file; no registry is handed to k3d, so that none gets into its networks."""
    arguments = create_arguments(replace(CREATION, registries="/home/me/registries.yaml"))

    with_mirrors = DIRECT.replace("obol-net", "obol-net --registry-config /home/me/registries.yaml")
    assert list(arguments) == with_mirrors.split()
    assert "--registry-use" not in arguments


def test_mark_of_the_directory() -> None:
    """All parts of a cluster bear the mark of the directory that it is made for."""
    pairs = list(pairwise(create_arguments(replace(CREATION, home="0abc"))))

    assert ("--runtime-label", "obol.home=0abc@all") in pairs
    assert ("--runtime-label", "obol.cluster-id=calm-otter@all") in pairs


@pytest.mark.parametrize("ports", [(), (PortMapping(80, 80), PortMapping(41000, 443))])
def test_nothing_beyond_loopback(ports: tuple[PortMapping, ...]) -> None:
    """Whatever is published has loopback's address; that of the API is never left to k3d, which takes all of them."""
    arguments = create_arguments(replace(CREATION, ports=ports))

    opened = [value for flag, value in pairwise(arguments) if flag in {"--port", "--api-port"}]
    assert len(opened) == len(ports) + 1
    assert all(value.startswith("127.0.0.1:") for value in opened)


def test_path_with_at() -> None:
    """An @ in a path is none that chooses nodes."""
    assert escaped("/home/me@work/data") == r"/home/me\@work/data"


def test_node_name() -> None:
    """The server is found by its name."""
    assert node_name("obol-stack-calm-otter") == "k3d-obol-stack-calm-otter-server-0"


def test_free_ports() -> None:
    """All four ports are published when they are free, and no other is asked for."""
    assert publish(set(), never) == tuple(PortMapping(*ports) for ports in WANTED_PORTS)


def test_busy_ports() -> None:
    """A busy port is dropped where another one leads to the same place."""
    assert publish({80, 443}, never) == (PortMapping(8080, 80), PortMapping(8443, 443))


def test_no_port_left() -> None:
    """A port of the ingress is reachable in any case, by one of its own."""
    spare = iter((8443, 41000, 41000, 41001))

    assert publish({80, 8080}, lambda: next(spare))[-1] == PortMapping(41000, 80)
    assert publish({80, 8080, 443, 8443}, lambda: next(spare)) == (PortMapping(41000, 80), PortMapping(41001, 443))


def test_beside() -> None:
    """A port that is published already is not taken for anything else."""
    spare = iter((80, 41000, 41001))

    assert beside((PortMapping(80, 80), PortMapping(41000, 443)), lambda: next(spare)) == 41001


def test_archive() -> None:
    """What is packed for a node is read again as the endpoints of each registry."""
    text = registries_yaml(
        [Mirror("docker.io", "http://172.30.0.1:54100"), Mirror("ghcr.io", "http://172.30.0.1:54101")]
    )

    assert mirrors_in(node_archive(text)) == {
        "docker.io": ("http://172.30.0.1:54100",),
        "ghcr.io": ("http://172.30.0.1:54101",),
    }


def test_archive_as_k3d_writes_it() -> None:
    """k3d writes the file anew, with more in it; what counts is the same."""
    text = "configs: {}\nauths: {}\nmirrors:\n  docker.io:\n    rewrite: {}\n    endpoint:\n    - http://a:1\n    - http://b:2\n"

    assert mirrors_in(node_archive(text)) == {"docker.io": ("http://a:1", "http://b:2")}


@pytest.mark.parametrize("text", ["", "mirrors:\n", "mirrors: 3\n", "- a\n", "a: [\n", "mirrors:\n  docker.io:\n"])
def test_archive_of_nothing(text: str) -> None:
    """A file that says nothing of mirrors has none."""
    assert mirrors_in(node_archive(text)) == {}


@given(st.binary())
def test_no_archive(answer: bytes) -> None:
    """Whatever a node answers, it is no error."""
    assert mirrors_in(answer.decode(errors="replace")) == {}


def test_on_loopback() -> None:
    """The address on which old clusters listen becomes one to connect to; other text stays."""
    assert on_loopback("server: https://0.0.0.0:6443\nx: 0.0.0.0") == "server: https://127.0.0.1:6443\nx: 0.0.0.0"
