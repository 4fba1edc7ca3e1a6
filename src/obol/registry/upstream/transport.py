"""HTTP to one upstream and to the hosts that it redirects to.

Redirects are followed by hand: the Authorization header must not cross to another origin (object stores answer 400 to
it), a Location must be used byte for byte (re-quoting breaks presigned URLs), and where it leads is checked. aiohttp's
errors are translated here and nowhere else.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

import aiohttp
from yarl import URL

from obol.registry.upstream.connector import Connector, expect_body, notice_loss
from obol.registry.upstream.guard import ForbiddenAddress, forbidden, is_public, public_socket
from obol.registry.upstream.ports import Misbehaved, NoConnection, Unavailable

if TYPE_CHECKING:
    from obol.registry.settings import TimeLimits, UpstreamSettings

MAX_REDIRECTS = 10
HEADER_LIMIT = 32 * 1024  # presigned URLs of 12 KiB have been seen; aiohttp's default is 8190
READ_BUFFER = 256 * 1024
QUESTION_BUFFER = 32 * 1024
"""Of an answer that is read as a whole (manifests, lists, tokens): many of them may wait for their turn."""
UNTRUSTED = (
    "the upstream's certificate is not trusted. If an authority of your own signed it, name its certificate with"
    " ca-file in [cache.upstreams] of obol.toml, or with SSL_CERT_FILE"
)
PROXY_LOGIN = ": it wants credentials. Name a proxy that needs none with proxy in [cache.upstreams] of obol.toml"
REDIRECTS = frozenset({301, 302, 303, 307, 308})

_LOCATION = re.compile(r"[\x21-\x7e]{1,16384}")


@dataclass(frozen=True, slots=True)
class Arrived:
    """An answer whose body is still to be read, the URL that gave it, and whether another origin was asked first."""

    response: aiohttp.ClientResponse
    url: str
    moved: bool = False


class Transport:
    """Sends requests for one upstream; knows nothing of registries."""

    def __init__(self, settings: UpstreamSettings, limits: TimeLimits, allowed_hosts: frozenset[str]) -> None:
        self._proxy = settings.proxy
        self._known_hosts = allowed_hosts | {_host(settings.url)}
        self._own = _origin(settings.url)
        self._https_only = urlsplit(settings.url).scheme == "https"
        # What takes longer is asked again, within `limits.late_answer`: most silence is that of a lost connection.
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=limits.connect, sock_read=limits.idle)
        context = _tls(settings)
        self._known = self._session(Connector(context))
        # A proxy looks names up itself and is often on our own network: what is left is the check of the URL.
        guard = public_socket if settings.proxy is None else None
        self._guarded = self._session(Connector(context, guard))

    def _session(self, connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            timeout=self._timeout,
            requote_redirect_url=False,
            max_line_size=HEADER_LIMIT,
            max_field_size=HEADER_LIMIT,
            headers={"User-Agent": "obol", "Accept-Encoding": "identity"},
        )

    async def send(self, method: str, url: str, headers: Mapping[str, str], authorization: str | None) -> Arrived:
        """Send, follow redirects, and return the first answer that is none.

        `authorization` goes to the origin of `url` only. Raises Unavailable (no connection, no answer, none that is
        HTTP), Misbehaved (a redirect that is not to be followed).
        """
        origin = _origin(url)
        seen: set[str] = set()
        while True:
            own = dict(headers)
            if authorization is not None and _origin(url) == origin:
                own["Authorization"] = authorization
            response = await self._once(method, url, own)
            if response.status not in REDIRECTS:
                return Arrived(response, url, _origin(url) != origin)
            location = response.headers.get("Location", "")
            give_back(response)
            seen.add(url)
            url = self._next_hop(url, location)
            if url in seen or len(seen) > MAX_REDIRECTS:
                raise Misbehaved("the upstream redirects in a circle")

    def _next_hop(self, url: str, location: str) -> str:
        if not _LOCATION.fullmatch(location):
            raise Misbehaved("the upstream redirects to something that is not a URL")
        if not location.lower().startswith(("http://", "https://")):
            try:
                location = urljoin(url, location)
            except ValueError:
                raise Misbehaved("the upstream redirects to something that is not a URL") from None
        self.check(location)
        if urlsplit(url).scheme == "https" and urlsplit(location).scheme != "https":
            raise Misbehaved(
                "the upstream redirects from https to http, which would pass in clear: it is not followed. If the"
                " network between is to be trusted, name the upstream itself with http:// (--upstream)"
            )
        return location.partition("#")[0]

    def check(self, url: str) -> None:
        """Raise Misbehaved unless the upstream may send us to `url`; names are looked at again when connecting."""
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname or "", parts.port
            URL(url, encoded=True)
        except ValueError:
            raise Misbehaved("the upstream names something that is not a URL") from None
        if parts.scheme not in {"http", "https"} or not host or parts.username is not None:
            raise Misbehaved("the upstream names a URL that is not plain http or https")
        if parts.scheme != "https" and self._https_only and host not in self._known_hosts:
            raise Misbehaved(
                f"the upstream is itself reached by https, but names http://{host[:253]}, which would pass in clear:"
                f" it is not asked. If that host is to be trusted, start the cache with --allow-host {host[:253]}"
            )
        if host not in self._known_hosts and _looks_like_address(host) and not is_public(host):
            raise Misbehaved(forbidden(host))

    def is_own(self, url: str) -> bool:
        """Whether a URL is of the registry itself, not of a host that it names."""
        return _origin(url) == self._own

    async def _once(self, method: str, url: str, headers: Mapping[str, str]) -> aiohttp.ClientResponse:
        session = self._known if _host(url) in self._known_hosts else self._guarded
        target = URL(url, encoded=True)
        try:
            response = await session.request(
                method,
                target,
                headers=headers,
                allow_redirects=False,
                proxy=self._proxy,
                read_bufsize=QUESTION_BUFFER if "Accept" in headers else READ_BUFFER,
            )
        except (aiohttp.ClientError, OSError, ValueError) as problem:
            told = translate(problem)
            if isinstance(told, NoConnection):
                told.elsewhere = not self.is_own(url)
            raise told from problem
        expect_body(response)
        notice_loss(response)
        return response

    async def close(self) -> None:
        """Close every connection."""
        await self._known.close()
        await self._guarded.close()


def give_back(response: aiohttp.ClientResponse) -> None:
    """Let the connection of an answer be used again, or drop it if bytes of the body are left; safe to repeat."""
    if response.content.is_eof():
        response.release()
    else:
        response.close()


def translate(problem: Exception) -> Unavailable | Misbehaved:
    """One of aiohttp's errors as one of ours. The text names the kind of trouble, never a URL."""
    match problem:
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError():
            return NoConnection(UNTRUSTED)
        case aiohttp.ClientConnectorError():
            return _no_connection(problem)
        case asyncio.TimeoutError():
            return Unavailable("the upstream did not answer in time")
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientOSError() | aiohttp.ClientPayloadError():
            return Unavailable("the upstream cut the connection")
        case aiohttp.ClientResponseError():
            return _no_answer(problem)
        case _:
            return Unavailable(f"the upstream cannot be reached ({type(problem).__name__})")


def _no_answer(problem: aiohttp.ClientResponseError) -> Unavailable:
    if isinstance(problem, aiohttp.ClientHttpProxyError):
        return NoConnection(f"the proxy answered {problem.status}{PROXY_LOGIN if problem.status == 407 else ''}")
    # It may be the first chunk of a body: on a bad line that passes, as a cut does.
    return Unavailable("the upstream's answer is not proper HTTP")


def _no_connection(problem: aiohttp.ClientConnectorError) -> Unavailable | Misbehaved:
    if problem.os_error.errno in {errno.EMFILE, errno.ENFILE}:
        return Unavailable("too many files are open for one more connection to the upstream")
    if isinstance(problem.os_error, ForbiddenAddress):
        return Misbehaved(forbidden(problem.host))
    if isinstance(problem, aiohttp.ClientConnectorDNSError):
        return NoConnection("no connection to the upstream (its name cannot be looked up)")
    # Its own text would name addresses and ports.
    return NoConnection(f"no connection to the upstream ({os.strerror(problem.os_error.errno or errno.ECONNREFUSED)})")


def _tls(settings: UpstreamSettings) -> ssl.SSLContext | bool:
    if settings.ca_file is None:
        return True
    context = ssl.create_default_context()
    context.load_verify_locations(cafile=settings.ca_file)
    return context


def _host(url: str) -> str:
    return urlsplit(url).hostname or ""


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    default = 443 if parts.scheme == "https" else 80
    return parts.scheme, parts.hostname or "", parts.port or default


def _looks_like_address(host: str) -> bool:
    """An address in any spelling that a resolver takes as one: dotted, decimal, octal, hex, IPv6."""
    return (
        ":" in host or re.fullmatch(r"(0[xX][0-9a-fA-F]+|[0-9]+)(\.(0[xX][0-9a-fA-F]+|[0-9]+)){0,3}", host) is not None
    )
