"""Why this machine's Docker cannot pull an image, and the way out. Pure: what was said and seen are arguments.

The daemon pulls, not the command line: it knows nothing of the proxy in a person's shell or of the certificates that
their programs trust. What is wrong is told by the words of Docker, of its image store (containerd) and of Go.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from obol.machine.commands import masked, plain

if TYPE_CHECKING:
    from obol.machine.docker.values import DockerInfo

Cause = Literal["proxy", "proxy-login", "clock", "authority", "limit", "denied", "disk", "name", "way"]

_WORDINGS: tuple[tuple[Cause, str], ...] = (
    ("disk", r"no space left on device|disk quota exceeded"),
    ("proxy-login", r"proxy authentication required|(?:proxyconnect|\bHTTP|\bstatus)\b.*\b407\b"),
    ("proxy", r"proxyconnect|socks connect"),
    ("clock", r"certificate has expired|not yet valid"),
    ("authority", r"x509: |unknown authority|failed to verify certificate|certificate is not trusted|bad certificate"),
    ("limit", r"toomanyrequests|too many requests|rate limit|(?:\bHTTP|\bstatus)\b.*\b429\b"),
    ("denied", r"\bdenied\b|unauthorized|authentication required|forbidden|(?:\bHTTP|\bstatus)\b.*\b40[13]\b"),
    ("name", r"no such host|name resolution|server misbehaving|lookup \S+(?: on \S+)?: "),
    ("way", r"time-?out|timed out|deadline exceeded|connection (?:refused|reset)|unreachable|no route to host"),
    ("way", r"\bEOF\b|request canceled|broken pipe|service unavailable|bad gateway"),
    # Something answers that is no registry: a proxy without TLS, or the page of one that wants something.
    ("way", r"handshake|HTTP response to HTTPS client|malformed HTTP response|error parsing HTTP \d{3} response"),
)
_CAUSES = tuple((cause, re.compile(pattern, re.IGNORECASE)) for cause, pattern in _WORDINGS)

_PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY")
_OF_DESKTOP = "http.docker.internal"
"""Docker Desktop always has its daemon go by a proxy of its own, which then does what its settings say."""

_ANY = "http://HOST:PORT"
_LONGEST = 240
_FILE = "docker.service.d/http-proxy.conf"


def cause_of(said: str) -> Cause | None:
    """What kept a daemon from pulling; None where it is neither the way to the registry nor this machine."""
    return next((cause for cause, pattern in _CAUSES if pattern.search(plain(said))), None)


def explain(reference: str, said: str, daemon: DockerInfo, environ: Mapping[str, str]) -> tuple[str, str] | None:
    """Say in one sentence why an image could not be pulled, and what to do; None where `said` does not tell.

    No password gets into either.
    """
    cause = cause_of(said)
    if cause is None:
        return None
    host = _host(reference)
    shell = _proxy_of(environ, host)
    last = _last(said)
    if cause in {"name", "way"} and shell and (not _has_proxy(daemon) or _excepted(host, daemon.no_proxy)):
        kept = f"has no proxy for {host}" if _has_proxy(daemon) else "does not"
        why = f"this shell uses the proxy {_place(shell)}, and Docker's daemon {kept} ({last})"
        return why, _proxy_hint(daemon, shell)
    return f"{_why(cause, host, daemon)} ({last})", _hint(cause, host, daemon)


def _why(cause: Cause, host: str, daemon: DockerInfo) -> str:
    proxy = _place(daemon.https_proxy or daemon.http_proxy) or "that it was given"
    reasons: Mapping[Cause, str] = {
        "proxy": f"Docker's daemon does not get through the proxy {proxy}",
        "proxy-login": f"the proxy {proxy} wants Docker's daemon to log in",
        "clock": f"the certificate of {host} is not valid now: it has expired, or this machine's clock is wrong",
        "authority": f"Docker's daemon does not trust the certificate that is shown for {host}: a proxy may have "
        "replaced it",
        "limit": f"the rate limit of {host} is reached",
        "denied": f"{host} denies it, or a proxy in between does",
        "disk": "there is no room left where Docker keeps its images",
        "name": f"Docker's daemon cannot find {host} by its name",
        "way": f"Docker's daemon does not get to {host}",
    }
    return reasons[cause]


def _hint(cause: Cause, host: str, daemon: DockerInfo) -> str:
    at = "" if host.endswith("docker.io") else f" {host}"
    remedies: Mapping[Cause, str] = {
        "proxy": _proxy_hint(daemon, daemon.https_proxy or daemon.http_proxy),
        "proxy-login": _proxy_hint(daemon, daemon.https_proxy or daemon.http_proxy),
        "clock": "set the clock: `timedatectl` tells whether it is right",
        "authority": _authority_hint(daemon),
        "limit": f"log in: `docker login{at}`; or wait, and try again",
        "denied": f"a login that is no longer valid does this too: `docker logout{at}`, then try again",
        "disk": "make room: `docker system df` tells what takes it, `docker system prune` removes what is not used",
        "name": f"be online once, then the caches have it; behind a proxy, {_proxy_hint(daemon, _ANY)}",
        "way": f"be online once, then the caches have it; behind a proxy, {_proxy_hint(daemon, _ANY)}",
    }
    return remedies[cause]


def _proxy_hint(daemon: DockerInfo, proxy: str) -> str:
    """How the daemon is told of a proxy: https://docs.docker.com/engine/daemon/proxy/."""
    if daemon.desktop:
        return "tell Docker Desktop: Settings, Resources, Proxies"
    sudo, user, directory = (
        ("", " --user", "~/.config/systemd/user") if daemon.rootless else ("sudo ", "", "/etc/systemd/system")
    )
    value = _place(proxy)
    lines = f'`[Service]` and `Environment="HTTP_PROXY={value}" "HTTPS_PROXY={value}"`'
    password = ", with your login in place of …" if "…" in value else ""
    return (
        f"tell Docker's daemon: `{sudo}systemctl{user} edit docker` with the lines {lines}{password} (or the same in "
        f"{directory}/{_FILE}; write % as %%), then `{sudo}systemctl{user} daemon-reload` and "
        f"`{sudo}systemctl{user} restart docker`"
    )


def _authority_hint(daemon: DockerInfo) -> str:
    if daemon.desktop:
        return (
            "add the certificate of the company's authority to those that this machine trusts (macOS: Keychain Access; "
            "Windows: certmgr), then restart Docker Desktop"
        )
    restart = "systemctl --user restart docker" if daemon.rootless else "sudo systemctl restart docker"
    return (
        "copy the certificate of the company's authority to /usr/local/share/ca-certificates/NAME.crt, then `sudo "
        f"update-ca-certificates` and `{restart}` (Fedora: /etc/pki/ca-trust/source/anchors, `sudo update-ca-trust`)"
    )


def _host(reference: str) -> str:
    """Where the daemon asks for an image: a first part with a dot, a port, or of this name is a registry to Docker."""
    first, slash, _ = reference.partition("/")
    named = bool(slash) and ("." in first or ":" in first or first == "localhost")
    return first if named and first not in {"docker.io", "index.docker.io"} else "registry-1.docker.io"


def _has_proxy(daemon: DockerInfo) -> bool:
    return any(proxy and _OF_DESKTOP not in proxy for proxy in (daemon.https_proxy, daemon.http_proxy))


def _proxy_of(environ: Mapping[str, str], host: str) -> str:
    """The proxy by which a program of this shell goes to a host; "" for none."""
    found = (environ.get(name) or environ.get(name.lower()) for name in _PROXIES)
    proxy = next((proxy for proxy in found if proxy), "")
    return "" if _excepted(host, environ.get("NO_PROXY") or environ.get("no_proxy") or "") else proxy


def _place(proxy: str) -> str:
    """The address of a proxy without its login, which may stand there without a scheme before it."""
    scheme, mark, rest = proxy.rpartition("://")
    login, _, host = rest.rpartition("@")
    return f"{scheme}{mark}{'…@' if login else ''}{host}"


def _excepted(host: str, no_proxy: str) -> bool:
    """Whether a list of exceptions names a host, itself or by a domain that it is in."""
    for name in (entry.strip().lower().removeprefix("*").removeprefix(".") for entry in no_proxy.split(",")):
        if name and (host == name or host.endswith(f".{name}")):
            return True
    return "*" in {entry.strip() for entry in no_proxy.split(",")}


def _last(said: str) -> str:
    """The daemon's own words: the last line that has any."""
    lines = [line.strip() for line in masked(plain(said)).splitlines() if line.strip()]
    last = (lines or ["it says nothing"])[-1].removeprefix("Error response from daemon: ")
    return last if len(last) <= _LONGEST else f"{last[:_LONGEST]}…"
