import logging
from pathlib import Path

import pytest

from obol.config.registryenv import RegistryOptions, read_file, registry_options
from obol.config.sources import CacheFlags
from obol.errors import SettingsError, UsageError
from obol.registry.settings import EngineSettings, UpstreamSettings

HUB = {"REGISTRY_PROXY_REMOTEURL": "https://registry-1.docker.io"}


def options(**variables: str) -> RegistryOptions:
    """What a cache of Docker Hub makes of more variables."""
    return registry_options(HUB | variables, {})


def refused(**variables: str) -> str:
    """Why variables are refused."""
    with pytest.raises(SettingsError) as caught:
        options(**variables)
    return str(caught.value)


def test_defaults() -> None:
    """With an upstream and nothing else it is on port 5000 of all addresses, below /var/lib/registry, and silent."""
    found = options()

    assert found.flags == CacheFlags(
        store="/var/lib/registry/obol",
        upstream=("docker.io=https://registry-1.docker.io",),
        port=("docker.io=5000",),
        bind=("0.0.0.0",),
    )
    assert found.store == Path("/var/lib/registry/obol")
    assert (found.address, found.port, found.log_level) == ("0.0.0.0", 5000, logging.INFO)
    assert (found.names, found.proxy, found.notes) == ((), None, ())


@pytest.mark.parametrize(
    ("url", "registry"),
    [
        ("https://registry-1.docker.io/", "docker.io"),
        ("https://index.docker.io", "docker.io"),
        ("https://ghcr.io", "ghcr.io"),
        ("http://Mirror.corp.example:8080", "mirror.corp.example:8080"),
        ("http://10.0.0.7", "10.0.0.7"),
    ],
)
def test_registry(url: str, registry: str) -> None:
    """The registry is called after the host of its address."""
    flags = options(REGISTRY_PROXY_REMOTEURL=url).flags

    assert flags.upstream[0].startswith(f"{registry}=")
    assert flags.port == (f"{registry}=5000",)


@pytest.mark.parametrize(
    ("text", "address", "port"),
    [
        (":80", "0.0.0.0", 80),
        ("0.0.0.0:5001", "0.0.0.0", 5001),
        ("localhost:5000", "127.0.0.1", 5000),
        ("[::]:5000", "::", 5000),
        ("172.17.0.2:1", "172.17.0.2", 1),
    ],
)
def test_address(text: str, address: str, port: int) -> None:
    """REGISTRY_HTTP_ADDR is an address, or none for all, and a port."""
    found = options(REGISTRY_HTTP_ADDR=text)

    assert (found.address, found.port) == (address, port)
    assert found.flags.bind == (address,)


@pytest.mark.parametrize("text", ["5000", ":0", ":http", "/run/registry.sock", "cache.example:5000", "0.0.0.0:"])
def test_bad_address(text: str) -> None:
    """An address that cannot be listened on is refused with what is allowed."""
    assert f"REGISTRY_HTTP_ADDR={text}: must be an IP address" in refused(REGISTRY_HTTP_ADDR=text)


def test_other_settings() -> None:
    """Directory, level and format of the log, and the name to the outside are taken over."""
    found = options(
        REGISTRY_STORAGE="filesystem",
        REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY="/data",
        REGISTRY_LOG_LEVEL="WARN",
        REGISTRY_LOG_FORMATTER="json",
        REGISTRY_HTTP_HOST="https://Mirror.corp.example:443/",
    )

    assert (found.directory, found.store) == (Path("/data"), Path("/data/obol"))
    assert (found.log_level, found.flags.log_format) == (logging.WARNING, "json")
    assert found.names == ("mirror.corp.example",)
    assert options(REGISTRY_HTTP_HOST="mirror.corp.example:80").names == ("mirror.corp.example",)
    assert found.notes == ()


def test_problems_are_told_together() -> None:
    """All that cannot be used is told at once, and no secret with it."""
    told = refused(
        REGISTRY_PROXY_REMOTEURL="https://me:hunter2@ghcr.io",
        REGISTRY_HTTP_ADDR=":x",
        REGISTRY_LOG_LEVEL="loud",
        REGISTRY_HTTP_HOST="https://[nonsense",
    )

    assert told.count("must be") == 4
    assert "hunter2" not in told


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("REGISTRY_AUTH", "htpasswd"),
        ("REGISTRY_AUTH_HTPASSWD_PATH", "/auth/htpasswd"),
        ("REGISTRY_HTTP_TLS_CERTIFICATE", "/certs/a.pem"),
        ("REGISTRY_STORAGE", "s3"),
        ("REGISTRY_STORAGE_S3_SECRETKEY", "hunter2"),
    ],
)
def test_what_would_be_missed(variable: str, text: str) -> None:
    """Passwords, TLS and storage elsewhere are refused rather than left out, without their values."""
    told = refused(**{variable: text})

    assert told.startswith(f"a setting cannot be used: {variable}: ")
    assert text not in told


def test_refusals_are_told_once() -> None:
    """Several settings of one kind are one problem."""
    with pytest.raises(SettingsError) as caught:
        options(REGISTRY_AUTH_HTPASSWD_PATH="a", REGISTRY_AUTH_HTPASSWD_REALM="b")

    assert len(caught.value.problems) == 1


def test_credentials() -> None:
    """Credentials are named as not used, and their values are in nothing that is made of them."""
    found = options(REGISTRY_PROXY_USERNAME="me", REGISTRY_PROXY_PASSWORD="hunter2")

    (note,) = found.notes
    assert note.startswith("REGISTRY_PROXY_PASSWORD, REGISTRY_PROXY_USERNAME: credentials are not used yet")
    assert "hunter2" not in repr(found)


@pytest.mark.parametrize(("text", "notes"), [("0", 0), ("0s", 0), ("-1h", 0), ("168h", 1), ("24h0m", 1)])
def test_expiry(text: str, notes: int) -> None:
    """Nothing expires: that is said to who wants it to."""
    assert len(options(REGISTRY_PROXY_TTL=text).notes) == notes


def test_unknown() -> None:
    """What has no meaning is ignored: in silence what everybody has, the rest with one line."""
    found = options(
        REGISTRY_STORAGE_DELETE_ENABLED="true",
        REGISTRY_HTTP_SECRET="hunter2",
        REGISTRY_NOTIFICATIONS_ENDPOINTS="x",
        REGISTRY_PORT="tcp://10.96.0.7:5000",
        REGISTRY_AUTH="",
    )

    assert found.notes == ("REGISTRY_NOTIFICATIONS_ENDPOINTS, REGISTRY_PORT: without a meaning here, ignored",)


def test_nothing_to_cache() -> None:
    """Without an upstream that image takes pushes; ours refuses to start, as wrong usage."""
    with pytest.raises(UsageError) as caught:
        registry_options({"REGISTRY_HTTP_ADDR": ":5000"}, {})

    assert caught.value.exit_code == 2
    assert "REGISTRY_PROXY_REMOTEURL" in caught.value.why
    assert "nothing can be pushed to it" in caught.value.what


def test_mirror_of_another_registry() -> None:
    """Our own variable says which registry an address stands for."""
    found = options(OBOL_CACHE_UPSTREAM="docker.io=http://10.0.0.7:5000")

    assert found.flags.upstream == ("docker.io=http://10.0.0.7:5000",)
    assert found.flags.port == ("docker.io=5000",)


@pytest.mark.parametrize("text", ["docker.io", "docker.io=http://a,ghcr.io=http://b"])
def test_not_one_upstream(text: str) -> None:
    """A container is the cache of one registry."""
    assert "OBOL_CACHE_UPSTREAM" in refused(OBOL_CACHE_UPSTREAM=text)


@pytest.mark.parametrize(
    ("variables", "proxy"),
    [
        ({"HTTPS_PROXY": "http://proxy:3128"}, "http://proxy:3128"),
        ({"https_proxy": "proxy:3128", "HTTPS_PROXY": "http://other:1"}, "http://proxy:3128"),
        ({"HTTP_PROXY": "http://proxy:3128"}, None),
        ({"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "localhost, docker.io"}, None),
        ({"HTTPS_PROXY": "http://proxy:3128", "no_proxy": "*"}, None),
        ({"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "*.docker.io:443"}, None),
        ({"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "ocker.io,,example"}, "http://proxy:3128"),
    ],
)
def test_proxy(variables: dict[str, str], proxy: str | None) -> None:
    """The proxy of the environment is the way to the upstream, unless its host is excepted."""
    found = options(**variables)

    assert found.proxy == proxy
    assert found.notes == ()


def test_unusable_proxy() -> None:
    """A proxy that cannot be used is said, without its password."""
    found = options(HTTPS_PROXY="http://me:hunter2@proxy:3128")

    assert found.proxy is None
    (note,) = found.notes
    assert note.startswith("HTTPS_PROXY: must be")
    assert "hunter2" not in note


def test_applied() -> None:
    """What no flag can say is added to the engine's settings; a proxy of its own wins."""
    found = options(HTTPS_PROXY="http://proxy:1", REGISTRY_HTTP_HOST="mirror.example")
    upstreams = (UpstreamSettings("a", "https://a"), UpstreamSettings("b", "https://b", proxy="http://own:1"))

    engine = found.applied(EngineSettings(Path("/s"), upstreams, (), server_names=("x",)))

    assert [one.proxy for one in engine.upstreams] == ["http://proxy:1", "http://own:1"]
    assert (engine.server_names, engine.local_names) == (("x", "mirror.example"), True)


def test_file(tmp_path: Path) -> None:
    """The keys of a file are named like the variables, which win over them."""
    path = tmp_path / "config.yml"
    path.write_text(
        "version: 0.1\n"
        "log: {level: error, fields: {service: registry}}\n"
        "storage: {filesystem: {rootdirectory: /data}, delete: {enabled: true}, cache: {blobdescriptor: inmemory}}\n"
        "http: {addr: ':5000', headers: {X-Content-Type-Options: [nosniff]}}\n"
        "health: {storagedriver: {enabled: true, interval: 10s, threshold: 3}}\n"
        "auth:\n"
        "proxy: {remoteurl: 'https://ghcr.io', username: me}\n"
    )

    found = registry_options({"REGISTRY_HTTP_ADDR": ":80"}, read_file(path))

    assert (found.directory, found.port, found.log_level) == (Path("/data"), 80, logging.ERROR)
    assert found.flags.upstream == ("ghcr.io=https://ghcr.io",)
    (note,) = found.notes
    assert note.startswith("REGISTRY_PROXY_USERNAME: ")


@pytest.mark.parametrize("body", [None, b"a: [", b"- a", b"\xff\xfe\x00", b"just text"])
def test_bad_file(tmp_path: Path, body: bytes | None) -> None:
    """A file that is not there, or is something else, is named."""
    path = tmp_path / "config.yml"
    if body is not None:
        path.write_bytes(body)

    with pytest.raises(SettingsError, match=r"config\.yml: "):
        read_file(path)
