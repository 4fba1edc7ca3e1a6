from pathlib import Path

import pytest
import yaml

from obol.rendering.k3s import ADDRESS, BRIDGE, Server, data_in, server_config

GOLDEN = Path(__file__).parents[2] / "golden" / "k3s"
DIRECT = Server("calm-otter", "/home/me/.local/share/obol/k3s")
CACHED = Server("calm-otter", "/home/me/.local/share/obol/k3s", "/home/me/.config/obol/registries.yaml")


@pytest.mark.parametrize(("name", "server"), [("direct", DIRECT), ("cached", CACHED)])
def test_golden(name: str, server: Server) -> None:
    """The file is known to the byte, with caches and without."""
    assert server_config(server) == (GOLDEN / f"{name}.yaml").read_text()


def test_nothing_listens_beyond_the_machine() -> None:
    """What listens does so on the bridge; what would listen on all addresses is not there."""
    read = yaml.safe_load(server_config(CACHED))

    assert (read["bind-address"], read["advertise-address"], read["node-ip"]) == (ADDRESS, ADDRESS, ADDRESS)
    assert read["flannel-iface"] == BRIDGE
    assert read["flannel-backend"] == "host-gw"
    assert {"traefik", "servicelb", "local-storage"} == set(read["disable"])
    assert read["kube-proxy-arg"] == [f"nodeport-addresses={ADDRESS}/32"]
    assert "0.0.0.0" not in server_config(CACHED)


def test_without_caches_nothing_is_said_of_mirrors() -> None:
    """k3s looks where it always does then."""
    assert "private-registry" not in yaml.safe_load(server_config(DIRECT))


def test_data_is_found_again() -> None:
    """The directory that is removed later is the one that k3s was told of, whatever its name."""
    odd = Server("calm-otter", "/home/mé: #1/k3s")

    assert data_in(server_config(odd)) == odd.data


@pytest.mark.parametrize(
    "text", ["", "[", "data-dir: 3", "data-dir: k3s", "data-dir: /var/lib", "- a", "other: /x/k3s", "data-dir: null"]
)
def test_no_data(text: str) -> None:
    """A file that names no directory of k3s's alone names nothing that may be removed."""
    assert data_in(text) == ""
