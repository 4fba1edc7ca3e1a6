"""Which requests are for us: those that name a host of ours, and that no other web site makes a browser send.

Listening on loopback is no defence against a web page: its name may be made to resolve to 127.0.0.1 (DNS rebinding),
and the browser then sends that name as Host. So a request must name a host that only a client of ours would name.

Names that end in `.internal` are ours in any case: ICANN keeps that word out of public DNS, and the runtimes of virtual
machines and containers call the machine that they run on by such names: host.docker.internal, host.lima.internal. Those
runtimes lead their gateway's address to our loopback, too, and a guest without a name for it uses that: it is ours, as
no name can be made to stand in a Host header as an address.

A container is called by names and addresses that it cannot know: those that Docker gives it on each network. There
every address is ours, and every name that public DNS cannot have. A web page has neither: its own name is public.

A page may also make a browser ask any address for an image or a script, and we would fetch what it names. The page sees
no answer, but our line and disk would be at its disposal. Browsers say for whom they ask: in Sec-Fetch-Site (W3C, Fetch
Metadata), in Origin, and in Referer, which is all that they say where we are called by a name that is not of this
machine. Registry clients send none of them.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from obol.machine.bounded import Bounded
from obol.oci.errors import FOREIGN_HOST, FOREIGN_SITE, TARGET_INVALID, OciError

if TYPE_CHECKING:
    from multidict import CIMultiDictProxy

REMEMBERED = 1000
ALWAYS_SUFFIXES = (".localhost", ".internal")
LOCAL_SUFFIXES = (".local", ".home.arpa", ".test")
"""Never delegated in public DNS: RFC 6761, 6762 and 8375."""
GATEWAYS = {
    "10.0.2.2": "QEMU's user network, slirp4netns, NAT of VirtualBox and Vagrant",
    "169.254.1.2": "pasta, with podman 5",
    "192.168.5.2": "Lima's user network: colima, Rancher Desktop, Finch",
    "192.168.65.2": "Docker Desktop, before 4.19",
    "192.168.65.254": "Docker Desktop",
    "192.168.127.254": "gvproxy: podman machine, OpenShift Local",
}
"""Addresses by which guests reach the loopback interface of their host, and of what."""
GUEST_NAMES = frozenset({"host.crc.testing"})
"""What gvproxy calls the host besides; public DNS has no domain `testing`."""
OURS = frozenset({"none", "same-origin"})
"""A person typed the address, or a page of ours asks. `same-site` is another port or name: not ours."""
WAY_OUT = "if clients may call the cache by this name, start it with --server-name NAME (OBOL_CACHE_SERVER_NAME)"

_HOST = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9_.-]{1,253})(?::[0-9]{0,5})?")
_ABSOLUTE = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<path>/[^?#]*)?(?P<rest>[?#].*)?"
)


class Hosts:
    """The set of our names and addresses; it may grow while we run.

    With `local` every address is ours, and every name that can only be one of a private network.
    """

    def __init__(self, names: tuple[str, ...], *, local: bool = False) -> None:
        self._local = local
        self._names = {"localhost"} | GATEWAYS.keys() | GUEST_NAMES | {name.lower().rstrip(".") for name in names}
        self._addresses: set[str] = set()
        self._known: Bounded[str, bool] = Bounded(REMEMBERED)

    def listen(self, address: str) -> None:
        """We listen on this address, too."""
        self._addresses.add(ipaddress.ip_address(address).compressed)
        self._known.clear()

    def ours(self, header: str | None) -> bool:
        """Whether a Host header (None: there is none) names us."""
        if header is None:
            return False
        known = self._known.get(header)
        if known is None:
            known = self._known[header] = self._look(header)
        return known

    def _look(self, header: str) -> bool:
        found = _HOST.fullmatch(header)
        if found is None:
            return False
        host = found["host"].lower().removesuffix(".")
        if host in self._names or host.endswith(ALWAYS_SUFFIXES):
            return True
        try:
            address = ipaddress.ip_address(host.strip("[]"))
        except ValueError:
            return self._local and ("." not in host or host.endswith(LOCAL_SUFFIXES))
        return self._local or address.is_loopback or address.compressed in self._addresses

    def own_target(self, target: str, header: str | None) -> str:
        """A request's target in origin form, once it is sure that the request is for us. `header`: the Host header.

        A client that takes us for a proxy sends the absolute form, and then it is the target that names the host
        (RFC 9112, section 3.2.2). Raises OciError (FOREIGN_HOST, TARGET_INVALID).
        """
        authority: str | None = header
        if not target.startswith("/"):
            authority, target = _origin_form(target)
        if not self.ours(authority):
            raise OciError(FOREIGN_HOST, WAY_OUT)
        return target


def _origin_form(target: str) -> tuple[str, str]:
    """Authority and origin form of a target in absolute form."""
    found = _ABSOLUTE.fullmatch(target)
    if found is None:
        raise OciError(TARGET_INVALID, "not a path")
    if found["scheme"].lower() != "http":
        raise OciError(FOREIGN_HOST, "we serve http only")
    return found["authority"], (found["path"] or "/") + (found["rest"] or "")


def refuse_other_sites(headers: CIMultiDictProxy[str]) -> None:
    """Raise OciError (FOREIGN_SITE) for a request that a browser sends because another site told it to."""
    if "Sec-Fetch-Site" in headers and not all(
        value.strip().lower() in OURS for value in headers.getall("Sec-Fetch-Site")
    ):
        raise OciError(FOREIGN_SITE)
    if "Origin" in headers or "Referer" in headers:
        own = _without_default_port(f"http://{headers.get('Host', '')}")
        named = [*headers.getall("Origin", ()), *map(_origin, headers.getall("Referer", ()))]
        if any(_without_default_port(origin) != own for origin in named):
            raise OciError(FOREIGN_SITE)


def _origin(page: str) -> str:
    """The origin of a page; of what is none, nothing."""
    try:
        parts = urlsplit(page.strip())
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.netloc}"


def _without_default_port(origin: str) -> str:
    return origin.strip().lower().removesuffix(":80")
