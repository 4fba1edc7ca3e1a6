from pathlib import Path

import pytest

from obol.config.paths import Directories, Invocation
from obol.config.settings import CacheSettings, load_cache_settings
from obol.config.sources import CacheFlags
from obol.errors import SettingsError
from obol.registry.control.api import Listener
from obol.registry.settings import DEFAULT_UPSTREAMS, MIB, EngineSettings, UpstreamSettings


class Person:
    """Somebody with a settings file and an environment."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "obol.toml"
        self.environ: dict[str, str] = {}
        self.directories = Directories(directory, directory / "data", directory / "state", directory / "root")

    def write(self, text: str) -> None:
        self.file.write_text(text, encoding="utf-8")

    def load(self, flags: CacheFlags | None = None) -> CacheSettings:
        around = Invocation(self.environ, Path("/cwd"), Path("/home/ada"))
        return load_cache_settings(flags or CacheFlags(), around, self.directories)

    def problems(self, flags: CacheFlags | None = None) -> tuple[str, ...]:
        with pytest.raises(SettingsError) as caught:
            self.load(flags)
        return caught.value.problems


@pytest.fixture
def person(tmp_path: Path) -> Person:
    """Somebody who has not set anything yet."""
    return Person(tmp_path)


def test_defaults(person: Person) -> None:
    """Without any setting the three well-known registries are served on loopback, each on its port."""
    loaded = person.load()

    assert loaded.engine == EngineSettings(
        store=person.directories.cache_root / "builtin",
        upstreams=DEFAULT_UPSTREAMS,
        listeners=(
            Listener("docker.io", "127.0.0.1", 54100),
            Listener("ghcr.io", "127.0.0.1", 54101),
            Listener("quay.io", "127.0.0.1", 54102),
        ),
    )
    assert (loaded.log_format, loaded.warnings) == ("human", ())


@pytest.mark.parametrize("sources", ["tef", "te", "tf", "ef", "t", "e", "f", ""])
def test_precedence(person: Person, sources: str) -> None:
    """Flags win over the environment, which wins over the file, which wins over the defaults."""
    if "t" in sources:
        person.write("""
            [cache]
            tag-ttl = 1
            offline = true
            log-format = "json"
            bind = ["127.0.0.1"]
            allow-host = ["t"]
            server-name = ["t"]
            answer-memory = "1MiB"
        """)
    if "e" in sources:
        person.environ = {
            "OBOL_CACHE_TAG_TTL": "2",
            "OBOL_CACHE_OFFLINE": "false",
            "OBOL_CACHE_LOG_FORMAT": "human",
            "OBOL_CACHE_BIND": "127.0.0.2",
            "OBOL_CACHE_ALLOW_HOST": "e",
            "OBOL_CACHE_SERVER_NAME": "e",
            "OBOL_CACHE_ANSWER_MEMORY": "2MiB",
        }
    flags = CacheFlags(
        tag_ttl="3",
        offline=True,
        log_format="json",
        bind=("127.0.0.3",),
        allow_host=("f",),
        server_name=("f",),
        answer_memory="3MiB",
    )

    loaded = person.load(flags if "f" in sources else None)

    expected = {
        "f": (3.0, True, "json", "127.0.0.3", ("f",)),
        "e": (2.0, False, "human", "127.0.0.2", ("e",)),
        "t": (1.0, True, "json", "127.0.0.1", ("t",)),
        "": (60.0, False, "human", "127.0.0.1", ()),
    }[sources[-1:]]
    engine = loaded.engine
    address = engine.listeners[0].address
    assert (engine.tag_ttl, engine.offline, loaded.log_format, address, engine.allowed_hosts) == expected
    assert engine.server_names == engine.allowed_hosts
    assert engine.answer_memory == {"f": 3, "e": 2, "t": 1, "": 64}[sources[-1:]] * MIB


def test_ports_are_merged(person: Person) -> None:
    """Ports are laid over each other registry by registry; a registry without any gets a free one."""
    person.write('[cache.ports]\n"docker.io" = 1\n"ghcr.io" = 1\n[cache.upstreams]\n"x.io" = "https://x.io"')
    person.environ = {"OBOL_CACHE_PORT": "ghcr.io=2,quay.io=2"}

    loaded = person.load(CacheFlags(port=("Quay.io=3",)))

    assert {own.registry: own.port for own in loaded.engine.listeners} == {
        "docker.io": 1,
        "ghcr.io": 2,
        "quay.io": 3,
        "x.io": 0,
    }


def test_file_upstreams_add(person: Person) -> None:
    """Upstreams of the file add to the defaults or replace them; a certificate is found beside the file."""
    (person.file.parent / "ca.pem").touch()
    person.write("""
        [cache.upstreams]
        "docker.io" = "https://mirror.example"
        "x.io" = { url = "http://x.io:5000", ca-file = "ca.pem", proxy = "http://proxy:3128" }
    """)

    assert person.load().engine.upstreams == (
        UpstreamSettings("docker.io", "https://mirror.example"),
        *DEFAULT_UPSTREAMS[1:],
        UpstreamSettings("x.io", "http://x.io:5000", person.file.parent / "ca.pem", "http://proxy:3128"),
    )


def test_chosen_upstreams(person: Person) -> None:
    """Upstreams named by flag or variable are the only ones, and flags leave nothing of the variable's."""
    person.write('[cache.upstreams]\n"x.io" = "https://x.io"')
    person.environ = {"OBOL_CACHE_UPSTREAM": "quay.io=https://q,y.io=https://y"}

    by_variable = person.load().engine
    by_flag = person.load(CacheFlags(upstream=("docker.io=http://d",))).engine

    assert [own.registry for own in by_variable.upstreams] == ["quay.io", "y.io"]
    assert by_variable.listeners == (Listener("quay.io", "127.0.0.1", 54102), Listener("y.io", "127.0.0.1", 0))
    assert by_flag.upstreams == (UpstreamSettings("docker.io", "http://d"),)


def test_bind(person: Person) -> None:
    """Each registry is served on each address, once; an address that is everybody's is worth a warning."""
    loaded = person.load(CacheFlags(upstream=("a.io=https://a",), port=("a.io=5",), bind=("0.0.0.0", "::1", "0.0.0.0")))

    assert loaded.engine.listeners == (Listener("a.io", "0.0.0.0", 5), Listener("a.io", "::1", 5))
    assert loaded.warnings == ("listening on 0.0.0.0: everyone who can reach this machine can pull through the cache",)


@pytest.mark.parametrize(("written", "store"), [("/s", "/s"), ("s", "/cwd/s"), ("~/s", "/home/ada/s"), ("../s", "/s")])
def test_store(person: Person, written: str, store: str) -> None:
    """The store's path is made absolute."""
    assert person.load(CacheFlags(store=written)).engine.store == Path(store)


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (CacheFlags(tag_ttl="-1"), "--tag-ttl -1: must be a number of seconds"),
        (CacheFlags(log_format="xml"), "--log-format xml: must be human or json"),
        (CacheFlags(store=""), "--store : must be the path of a directory"),
        (CacheFlags(bind=("localhost",)), "--bind localhost: must be an IP address"),
        (CacheFlags(port=("docker.io=99999",)), "--port docker.io=99999: must be a port from 0 to 65535"),
        (CacheFlags(port=("docker.io",)), "--port docker.io: must be HOST=PORT"),
        (CacheFlags(port=("a b=1",)), "--port a b=1: must be the name of a registry"),
        (CacheFlags(port=("x.io=1",)), "port of x.io: there is no such upstream (there are docker.io"),
        (CacheFlags(port=("ghcr.io=54100",)), "port 54100 is given to docker.io and ghcr.io"),
        (CacheFlags(upstream=("ghcr.io",)), "--upstream ghcr.io: must be HOST=URL"),
        (CacheFlags(upstream=("ghcr.io=ghcr.io",)), "--upstream ghcr.io=ghcr.io: must be an address"),
        (CacheFlags(upstream=("a/b=https://a",)), "--upstream a/b=https://a: must be the name of a registry"),
        (CacheFlags(allow_host=("h:1",)), "--allow-host h:1: must be a host name or an IP address"),
        (CacheFlags(server_name=("h:1",)), "--server-name h:1: must be a host name or an IP address"),
    ],
)
def test_bad_flag(person: Person, flags: CacheFlags, problem: str) -> None:
    """A bad flag is told as it was written, with what is allowed."""
    problems = person.problems(flags)

    assert len(problems) == 1
    assert problems[0].startswith(problem)


def test_all_at_once(person: Person) -> None:
    """Every problem of every source is told in one go, in the words of its source."""
    person.write("""
        [cache]
        bnd = 1
        offline = "perhaps"
        tag-ttl = true
        bind = 3
        [cache.upstreams]
        "x.io" = "https://ada:secret@x.io"
        "y.io" = { ca-file = 3, colour = "red" }
        "z.io" = 3
    """)
    person.environ = {"OBOL_CACHE_TAGTTL": "1", "OBOL_CACHE_PORT": "quay.io=quay"}
    file = person.file

    problems = person.problems(CacheFlags(log_format="xml", port=("ghcr.io",)))

    assert len(problems) == 13
    assert "secret" not in "".join(problems)
    assert {problem.split(": must be")[0] for problem in problems} == {
        "--port ghcr.io",
        "OBOL_CACHE_TAGTTL: there is no such setting; did you mean OBOL_CACHE_TAG_TTL?",
        f"{file}: cache.bnd: there is no such setting; did you mean bind?",
        f"{file}: cache.offline = perhaps",
        f"{file}: cache.tag-ttl = true",
        f"{file}: cache.bind = 3",
        f'{file}: cache.upstreams."x.io".url = https://***@x.io',
        f'{file}: cache.upstreams."y.io" = {{…}}',
        f'{file}: cache.upstreams."y.io".colour = red: there is no such setting (there are url, ca-file and proxy)',
        f'{file}: cache.upstreams."y.io".ca-file = 3',
        f'{file}: cache.upstreams."z.io" = 3',
        "OBOL_CACHE_PORT=quay.io=quay",
        "--log-format xml",
    }


def test_unknown_upstream_key(person: Person) -> None:
    """An entry of an upstream has three keys, and a wrong one is told."""
    person.write('[cache.upstreams]\n"y.io" = { url = "https://y", colour = "red" }')
    where = f'{person.file}: cache.upstreams."y.io".colour = red'

    assert person.problems() == (f"{where}: there is no such setting (there are url, ca-file and proxy)",)


def test_missing_certificate(person: Person) -> None:
    """A certificate file that is not there is a problem now, not at the first pull."""
    person.write('[cache.upstreams]\n"y.io" = { url = "https://y", ca-file = "no.pem" }')

    assert person.problems() == (f"ca-file of y.io: there is no file {person.file.parent}/no.pem",)


def test_only_broken_pairs(person: Person) -> None:
    """Problems of reading are told though all that could be read is fine."""
    person.environ = {"OBOL_CACHE_NOPE": "1"}

    assert person.problems() == ("OBOL_CACHE_NOPE: there is no such setting",)


def test_overridden_value_is_not_judged(person: Person) -> None:
    """A bad value that a better source replaces does no harm."""
    person.environ = {"OBOL_CACHE_TAG_TTL": "never"}

    assert person.load(CacheFlags(tag_ttl="9")).engine.tag_ttl == 9.0
