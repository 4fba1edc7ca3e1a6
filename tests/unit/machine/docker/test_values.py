import json

import msgspec
import pytest

from obol.machine.docker.values import (
    Container,
    DockerInfo,
    DockerVersion,
    Image,
    Network,
    PortBinding,
    Pushed,
    read_containers,
    read_ids,
    read_images,
    read_info,
    read_networks,
    read_pushed,
    read_version,
)
from tests.fakes.docker import container, network


def test_version() -> None:
    """A server that did not answer has no version."""
    assert read_version('{"Client":{"Version":"28.2.2"},"Server":{"Version":"20.10.24"}}') == DockerVersion(
        "28.2.2", "20.10.24"
    )
    assert read_version('{"Client":{"Version":"28.2.2"},"Server":null}') == DockerVersion("28.2.2", "")


def test_info() -> None:
    """Where the daemon runs is read from its own words."""
    info, complaints = read_info(
        '{"ServerVersion":"27.0","OperatingSystem":"Docker Desktop","SecurityOptions":["name=seccomp,profile=builtin"]}'
    )
    rootless, _ = read_info('{"SecurityOptions":["name=rootless"],"ServerErrors":null}')
    _, down = read_info('{"ServerErrors":["Cannot connect"]}')

    assert info == DockerInfo("27.0", "Docker Desktop", ("name=seccomp,profile=builtin",))
    assert (info.desktop, info.rootless, complaints) == (True, False, ())
    assert (rootless.desktop, rootless.rootless) == (False, True)
    assert down == ("Cannot connect",)


def test_network() -> None:
    """A network has its bridge's name by its ID, and who is on it."""
    text = json.dumps([network("obol-net", id_="0123456789abcdef", labels={"a": "b"}, attached={"c1": "node"})])

    assert read_networks(text) == (
        Network(
            "0123456789abcdef",
            "obol-net",
            "2026-01-01T00:00:00Z",
            {"a": "b"},
            "172.18.0.1",
            "br-0123456789ab",
            {"c1": "node"},
        ),
    )


@pytest.mark.parametrize(
    ("config", "gateway"),
    [
        (None, ""),
        ([], ""),
        ([{"Subnet": "fd00::/64", "Gateway": "fd00::1"}, {"Gateway": "172.20.0.1"}], "172.20.0.1"),
        ([{"Gateway": "172.20.0.1/16"}], "172.20.0.1"),
        ([{"Gateway": "nonsense"}, {}], ""),
    ],
)
def test_gateway(config: object, gateway: str) -> None:
    """The gateway is the first IPv4 address that there is."""
    found = {"Id": "i", "Name": "n", "IPAM": {"Config": config}}
    options = {"Options": {"com.docker.network.bridge.name": "mybridge"}}

    assert read_networks(json.dumps([found | options])) == (Network("i", "n", gateway=gateway, bridge="mybridge"),)
    assert read_networks('[{"Id":"i","Name":"n","IPAM":null}]')[0].gateway == ""


def test_container() -> None:
    """A container is known by what it was asked to be, whether it runs or not; its environment never shows."""
    running = container(
        "node",
        labels={"app": "k3d"},
        networks={"obol-net": "n1"},
        port=54100,
        environment=["TOKEN=secret=1", "EMPTY="],
        storage="/root/docker.io",
    )
    stopped = running | {"State": {"Status": "exited"}}

    (found,) = read_containers(json.dumps([running]))

    assert found == Container(
        "id-of-node",
        "node",
        "running",
        "registry:3",
        {"app": "k3d"},
        {"obol-net": "n1"},
        (PortBinding("127.0.0.1", 54100, "5000/tcp"),),
        {"/var/lib/registry": "/root/docker.io"},
        {"TOKEN": "secret=1", "EMPTY": ""},
    )
    assert "secret" not in repr(found)
    assert read_containers(json.dumps([stopped]))[0].published == found.published


def test_bare_container() -> None:
    """Null stands for nothing, and a port that Docker chooses is known while it runs."""
    bare = {
        "Id": "i",
        "Name": "/n",
        "State": {"Status": "created"},
        "Config": {"Labels": None, "Env": None},
        "HostConfig": {"PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "8000-8010"}], "81/tcp": None}},
        "NetworkSettings": {"Networks": {"obol-net": None}, "Ports": None},
        "Mounts": None,
    }
    running = bare | {"NetworkSettings": {"Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8003"}]}}}

    assert read_containers(json.dumps([bare])) == (
        Container("i", "n", "created", networks={"obol-net": ""}, published=(PortBinding("", 0, "80/tcp"),)),
    )
    assert read_containers(json.dumps([running]))[0].published == (PortBinding("0.0.0.0", 8003, "80/tcp"),)


def test_ids() -> None:
    """A listing has one object on each line."""
    assert read_ids('{"ID":"a","Names":"x"}\n{"ID":"b"}\n\n') == ("a", "b")
    assert read_ids("") == ()


@pytest.mark.parametrize("text", ["", "{}", "[{}]", "secret"])
def test_unfit(text: str) -> None:
    """What is not Docker's JSON is refused without a word of its content."""
    with pytest.raises(msgspec.DecodeError) as caught:
        read_containers(text)

    assert "secret" not in str(caught.value)


def test_images() -> None:
    """An image has an ID and names, or none."""
    text = '[{"Id":"sha256:0a","RepoTags":["app:dev"],"Os":"linux"},{"Id":"sha256:0b","RepoTags":null}]'

    assert read_images(text) == (Image("sha256:0a", ("app:dev",)), Image("sha256:0b"))


def test_pushed() -> None:
    """Each layer counts once, by its last word; other lines do not, nor what is there already without being a layer."""
    text = """\
The push refers to repository [localhost:54103/app]
5f70bf18a086: Preparing
0123456789ab: Preparing
5f70bf18a086: Layer already exists
0123456789ab: Pushed
aaaaaaaaaaaa: Mounted from other
bbbbbbbbbbbb: Already exists
dev-1: digest: sha256:77 size: 944
"""

    assert read_pushed(text) == Pushed(sent=1, present=2)
    assert read_pushed("") == Pushed(0, 0)
