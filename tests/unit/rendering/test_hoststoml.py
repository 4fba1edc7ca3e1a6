import tomllib
from pathlib import Path

from obol.rendering.mirrors import Trust, hosts_toml
from obol.rendering.registries import Mirror

GOLDEN = Path(__file__).parents[2] / "golden/clients/hosts.toml"


def test_docker_hub() -> None:
    """The mirror is a host that serves pulls; Docker Hub's server has another name than its images."""
    assert hosts_toml(Mirror("docker.io", "http://127.0.0.1:54100")) == GOLDEN.read_text()


def test_any_other() -> None:
    """Another registry is its own server."""
    written = tomllib.loads(hosts_toml(Mirror("localhost:5000", "http://[::1]:7")))

    assert written["server"] == "https://localhost:5000"
    assert written["host"] == {"http://[::1]:7": {"capabilities": ["pull", "resolve"]}}


def test_certificates() -> None:
    """Certificates are those of the registry itself, not of the mirror."""
    trust = Trust(('/a"b.crt', "/c.crt"), (("/me.cert", "/me.key"),))

    written = tomllib.loads(hosts_toml(Mirror("localhost:5000", "http://[::1]:7"), trust))

    assert written["ca"] == ['/a"b.crt', "/c.crt"]
    assert written["client"] == [["/me.cert", "/me.key"]]
    assert written["host"] == {"http://[::1]:7": {"capabilities": ["pull", "resolve"]}}
