import pytest

from obol.machine.docker.values import DockerInfo
from obol.machine.pulltrouble import Cause, cause_of, explain

PLAIN = DockerInfo("27.0", "Debian GNU/Linux 12")
ROOTLESS = DockerInfo("27.0", "Debian GNU/Linux 12", ("name=rootless",))
DESKTOP = DockerInfo("27.0", "Docker Desktop", (), "http.docker.internal:3128", "http.docker.internal:3128")
K3S = "docker.io/rancher/k3s:v1.35.5-k3s1"
TIMEOUT = (
    'Error response from daemon: Get "https://registry-1.docker.io/v2/": net/http: request canceled while waiting for '
    "connection (Client.Timeout exceeded while awaiting headers)"
)
PROXY = {"HTTPS_PROXY": "http://me:s3cret@proxy.example:3128"}


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        (TIMEOUT, "way"),
        ('Get "https://registry-1.docker.io/v2/": dial tcp 1.2.3.4:443: i/o timeout', "way"),
        ('Head "https://ghcr.io/v2/x": dial tcp 1.2.3.4:443: connect: connection refused', "way"),
        ('Get "https://ghcr.io/v2/": context deadline exceeded', "way"),
        ('Get "https://ghcr.io/v2/": EOF', "way"),
        ("dial tcp: lookup registry-1.docker.io on 127.0.0.53:53: server misbehaving", "name"),
        ("dial tcp: lookup ghcr.io: no such host", "name"),
        ("dial tcp: lookup ghcr.io on 10.0.0.1:53: read udp 10.0.0.2:4->10.0.0.1:53: i/o timeout", "name"),
        ('Get "https://ghcr.io/v2/": proxyconnect tcp: dial tcp 10.0.0.1:3128: connect: connection refused', "proxy"),
        ('Get "https://ghcr.io/v2/": proxyconnect tcp: dial tcp: lookup proxy: no such host', "proxy"),
        ('Get "https://ghcr.io/v2/": Proxy Authentication Required', "proxy-login"),
        ("x509: certificate signed by unknown authority", "authority"),
        ("tls: failed to verify certificate: x509: “ghcr.io” certificate is not trusted", "authority"),
        ("x509: certificate has expired or is not yet valid: current time is after 2026", "clock"),
        ("toomanyrequests: You have reached your unauthenticated pull rate limit.", "limit"),
        ("error from registry: denied\ndenied", "denied"),
        ("unauthorized: incorrect username or password", "denied"),
        ('Get "https://ghcr.io/v2/": Forbidden', "denied"),
        ("write /var/lib/docker/tmp/x: no space left on device", "disk"),
        ("error parsing HTTP 407 response body: invalid character '<' looking for beginning of value", "proxy-login"),
        ("error parsing HTTP 403 response body: invalid character '<' looking for beginning of value", "denied"),
        ("unexpected status code [manifests v1] 401", "denied"),
        ("error parsing HTTP 429 response body: unexpected end of JSON input", "limit"),
        ("error parsing HTTP 200 response body: invalid character '<' looking for beginning of value", "way"),
        ('Get "https://ghcr.io/v2/": tls: first record does not look like a TLS handshake', "way"),
        ('Get "https://ghcr.io/v2/": remote error: tls: handshake failure', "way"),
        ('Get "https://ghcr.io/v2/": http: server gave HTTP response to HTTPS client', "way"),
        ("manifest unknown", None),
        ("", None),
    ],
)
def test_causes(said: str, cause: Cause | None) -> None:
    """What keeps a daemon from pulling is told by the words of Docker, containerd and Go."""
    assert cause_of(said) == cause
    assert (explain(K3S, said, PLAIN, {}) is None) == (cause is None)


@pytest.mark.parametrize(
    ("daemon", "command"),
    [
        (PLAIN, "`sudo systemctl edit docker`"),
        (PLAIN, "/etc/systemd/system/docker.service.d/http-proxy.conf"),
        (ROOTLESS, "`systemctl --user edit docker`"),
        (ROOTLESS, "~/.config/systemd/user/docker.service.d/http-proxy.conf"),
        (DESKTOP, "Settings, Resources, Proxies"),
    ],
)
def test_proxy_of_the_shell(daemon: DockerInfo, command: str) -> None:
    """A proxy that only the shell has is the reason, and each kind of Docker is told of it in its own way."""
    told = explain(K3S, TIMEOUT, daemon, PROXY)

    assert told is not None
    assert told[0].startswith("this shell uses the proxy http://…@proxy.example:3128, and Docker's daemon does not")
    assert command in told[1]
    assert "s3cret" not in "".join(told)


@pytest.mark.parametrize("proxy", ["me:s3cret@proxy.example:3128", "http://me:s3@cret@proxy.example:3128"])
def test_no_login_of_a_proxy(proxy: str) -> None:
    """However the login of a proxy is written, it is shown nowhere."""
    told = "".join(explain(K3S, TIMEOUT, PLAIN, {"HTTPS_PROXY": proxy}) or ())

    assert "…@proxy.example:3128" in told
    assert "cret" not in told


@pytest.mark.parametrize(
    ("daemon", "environ"),
    [
        (PLAIN, {}),
        (PLAIN, {**PROXY, "NO_PROXY": "localhost, .docker.io"}),
        (PLAIN, {**PROXY, "no_proxy": "*"}),
        (DockerInfo("27.0", "Debian", (), "", "http://proxy:3128"), PROXY),
    ],
)
def test_no_difference(daemon: DockerInfo, environ: dict[str, str]) -> None:
    """Where shell and daemon go the same way, the proxy of the shell is not the reason."""
    told = explain(K3S, TIMEOUT, daemon, environ)

    assert told is not None
    assert told[0].startswith("Docker's daemon does not get to registry-1.docker.io (Get ")


def test_excepted_by_the_daemon() -> None:
    """A daemon that has a proxy, but not for this registry, is told so."""
    daemon = DockerInfo("27.0", "Debian", (), "http://proxy:1", "http://proxy:1", "ghcr.io")

    told = explain("ghcr.io/k3d-io/k3d-tools:5.9.0", "i/o timeout", daemon, PROXY)

    assert told is not None
    assert "has no proxy for ghcr.io" in told[0]


def test_proxy_of_the_daemon() -> None:
    """A proxy of the daemon that does not work is named without its password."""
    daemon = DockerInfo("27.0", "Debian", (), "", "http://me:s3cret@proxy:3128")

    told = explain(K3S, "proxyconnect tcp: dial tcp 10.0.0.1:3128: connect: connection refused", daemon, {})

    assert told is not None
    assert told[0].startswith("Docker's daemon does not get through the proxy http://…@proxy:3128 (")
    assert "s3cret" not in "".join(told)
    assert "s3cret" not in repr(daemon)


@pytest.mark.parametrize(
    ("daemon", "command"),
    [
        (PLAIN, "`sudo update-ca-certificates` and `sudo systemctl restart docker`"),
        (ROOTLESS, "`sudo update-ca-certificates` and `systemctl --user restart docker`"),
        (DESKTOP, "restart Docker Desktop"),
    ],
)
def test_authority(daemon: DockerInfo, command: str) -> None:
    """A certificate that is not trusted is answered with how to trust it, for each kind of Docker."""
    told = explain("ghcr.io/x/y:1", "x509: certificate signed by unknown authority", daemon, {})

    assert told is not None
    assert "shown for ghcr.io" in told[0]
    assert command in told[1]


@pytest.mark.parametrize(
    ("reference", "said", "hint"),
    [
        (K3S, "toomanyrequests: x", "`docker login`"),
        ("rancher/k3s:v1", "toomanyrequests: x", "`docker login`"),
        ("ghcr.io/x/y:1", "denied", "`docker logout ghcr.io`"),
        (K3S, "x509: certificate has expired", "timedatectl"),
        (K3S, "no space left on device", "docker system prune"),
        ("localhost:5000/x", "connection refused", "be online once"),
    ],
)
def test_hints(reference: str, said: str, hint: str) -> None:
    """Each reason has its way out."""
    told = explain(reference, said, PLAIN, {})

    assert told is not None
    assert hint in told[1]


def test_long_words() -> None:
    """The daemon's own words are cut where they do not end, and a daemon without any is no trouble."""
    told = explain(K3S, f"EOF\n\n{'x' * 999} EOF\n", PLAIN, {})

    assert told is not None
    assert len(told[0]) < 400
