"""A small text of somebody's web server, over HTTPS and nothing else. Who names the address may be a stranger to this
network: only servers on the internet are asked, at the address that was looked at."""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import io
import re
import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any, Final
from urllib.parse import SplitResult, urljoin, urlsplit

from zegel.core.mail.address import Domain, NotADomain
from zegel.core.policy.wording import Wording
from zegel.edge.dns import DnsResolver, Found
from zegel.edge.tls import verifying_context
from zegel.settings import Settings

WITHIN: Final = 30.0  # seconds for all of it
MOST_REDIRECTS: Final = 3
MOST_ADDRESSES: Final = 4  # of one server that are tried
LONGEST_URL: Final = 1000  # characters
LONGEST_VALIDATOR: Final = 300

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})  # RFC 9110 §15.4
_URL: Final = re.compile(r"[!-~]+")
_ETAG: Final = re.compile(r'(?:W/)?"[!#-~]*"')  # RFC 9110 §8.8.3, of ASCII
_NAT64: Final = IPv6Network("64:ff9b::/96")  # RFC 6052 §2.1: an IPv4 address stands at its end
_6TO4: Final = IPv6Network("2002::/16")
_PIECE: Final = 65_536

Resolve = Callable[[str], Sequence[str]]
"""The addresses of a host name; none when there are none, or none that are known now. Bounded in time."""


class NotFetched(Wording):
    """Why there is nothing."""

    NO_HTTPS = (
        "no-https",
        "The address is not an https:// address of a web server, without user name, password and #.",
        "Het adres is geen https://-adres van een webserver, zonder gebruikersnaam, wachtwoord en #.",
    )
    NO_ADDRESS = (
        "no-address",
        "The name of the web server is not found, or the name servers give no answer.",
        "De naam van de webserver is niet te vinden, of de nameservers antwoorden niet.",
    )
    NOT_PUBLIC = (
        "not-public",
        "The web server has no address on the internet; lists of servers inside a network are read as a file.",
        "De webserver heeft geen adres op internet; lijsten van servers binnen een netwerk leest u in als bestand.",
    )
    NO_CONNECTION = (
        "no-connection",
        "The web server doesn’t answer.",
        "De webserver antwoordt niet.",
    )
    NO_CERTIFICATE = (
        "no-certificate",
        "The web server’s certificate is not valid for its name.",
        "Het certificaat van de webserver is niet geldig voor zijn naam.",
    )
    NO_TLS = (
        "no-tls",
        "No secure connection to the web server comes about (TLS 1.2 or newer).",
        "Er komt geen beveiligde verbinding met de webserver tot stand (TLS 1.2 of nieuwer).",
    )
    STATUS = (
        "status",
        "The web server does not give the list.",
        "De webserver geeft de lijst niet.",
    )
    REDIRECTS = (
        "redirects",
        "The web server refers on too often.",
        "De webserver verwijst te vaak door.",
    )
    BAD_REDIRECT = (
        "bad-redirect",
        "The web server refers to an address that is not https://.",
        "De webserver verwijst door naar een adres dat niet met https:// begint.",
    )
    TOO_LARGE = (
        "sent-too-large",
        "What the web server gives is larger than 1 MB.",
        "Wat de webserver geeft, is groter dan 1 MB.",
    )
    TOO_SLOW = (
        "too-slow",
        "The web server is too slow.",
        "De webserver is te traag.",
    )
    BROKEN_OFF = (
        "broken-off",
        "The connection broke off, or what came was no answer of a web server.",
        "De verbinding brak af, of wat er kwam was geen antwoord van een webserver.",
    )


@dataclass(frozen=True, slots=True)
class Fetched:
    """All of it. ``validator`` is for the next time; empty: the server gave none."""

    octets: bytes
    validator: str


@dataclass(frozen=True, slots=True)
class NotModified:
    """It is what it was when the validator was given."""


@dataclass(frozen=True, slots=True)
class Failed:
    """Nothing was got. ``status`` is the server's, where it gave one that is not 200."""

    why: NotFetched
    status: int | None = None


@dataclass(frozen=True, slots=True)
class Exchanged:
    """What a web server answered, whatever that is; a redirect is not followed."""

    status: int
    headers: Mapping[str, str]
    octets: bytes


Fetch = Fetched | NotModified | Failed


class _Over(Exception):
    """No further."""

    def __init__(self, why: NotFetched, status: int | None = None) -> None:
        super().__init__(why.en)
        self.failed: Final = Failed(why, status)


def refusal(url: str) -> NotFetched | None:
    """Why this address is none that could be fetched, or ``None``. One with a password in it is refused: it would stand
    in the open in a page and in the database."""
    return None if _split(url) is not None else NotFetched.NO_HTTPS


def host_of(url: str) -> str:
    """The part of an address that may be logged."""
    found = _split(url)
    return (found.hostname or "") if found is not None else ""


def _split(url: str) -> SplitResult | None:
    if len(url) > LONGEST_URL or not _URL.fullmatch(url) or "\\" in url:
        return None
    try:
        found = urlsplit(url)
        is_port = found.port is None or found.port > 0
    except ValueError:
        return None
    is_plain = found.scheme == "https" and "@" not in found.netloc and "#" not in url
    return found if is_plain and is_port and _is_host(found.hostname or "") else None


def _is_host(host: str) -> bool:
    if _ip(host) is not None:
        return True
    try:
        return Domain.parse(host).ascii == host
    except NotADomain:
        return False


def _ip(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """On the internet, and nowhere else: not this machine, not a network beside it, no group, no other address in
    disguise."""
    if isinstance(address, IPv6Address):
        if address in _NAT64:
            return is_public(IPv4Address(address.packed[12:]))
        if address.ipv4_mapped is not None or address in _6TO4 or address.scope_id is not None:
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved


@dataclass(frozen=True, slots=True)
class Fetcher:
    """Fetches; never raises for what a server or the DNS does. For a thread of its own: it waits."""

    trust: ssl.SSLContext  # for fetching alone: it is adapted
    resolve: Resolve
    most: int  # octets
    reaches_private: bool = False  # only while testing
    networks: Sequence[IPv4Network | IPv6Network] = ()  # that are reached too, public or not
    redirects: int = MOST_REDIRECTS
    kind: str = ""  # the media type that it must be of; empty: any
    within: float = WITHIN
    clock: Callable[[], float] = field(default=time.monotonic)

    def __post_init__(self) -> None:
        # Set by Python before 3.11.4, and so by Debian 12's: a connection that somebody cut would count as ended.
        self.trust.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF

    @classmethod
    def of(
        cls, settings: Settings, *, most: int, within: float = WITHIN, reaches_private: bool | None = None
    ) -> Fetcher:
        """As the settings say: the gateway's own resolver; an authority of one's own only while testing."""
        return cls(
            verifying_context(settings.delivery.extra_ca if settings.testing else None),
            lambda host: _asked(host, settings.resolver()),
            most,
            reaches_private=settings.testing if reaches_private is None else reaches_private,
            within=within,
        )

    def __call__(self, url: str, validator: str = "") -> Fetch:
        """``validator``: of what is there from the last time, or nothing."""
        until = self.clock() + self.within
        try:
            for _ in range(self.redirects + 1):
                target = _split(url)
                if target is None:
                    raise _Over(NotFetched.NO_HTTPS)
                found = self._get(target, _etag_for(url, validator), until)
                if not isinstance(found, str):
                    return found if isinstance(found, NotModified) else _kept(url, found)
                url = _next(url, found)
            raise _Over(NotFetched.REDIRECTS)
        except _Over as over:
            return over.failed
        except TimeoutError:
            return Failed(NotFetched.TOO_SLOW)
        except (OSError, http.client.HTTPException, ValueError):
            return Failed(NotFetched.BROKEN_OFF)

    def exchange(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes | None = None
    ) -> Exchanged | Failed:
        """One request, under the same rules."""
        target, until = _split(url), self.clock() + self.within
        if target is None:
            return Failed(NotFetched.NO_HTTPS)
        path = (target.path or "/") + (f"?{target.query}" if target.query else "")
        connection = _Connection(self, target, until)
        try:
            connection.request(method, path, body, {**headers, "Connection": "close", "User-Agent": "zegel"})
            answer = connection.getresponse()
            if answer.getheader("Content-Encoding", "identity").lower() != "identity":
                return Failed(NotFetched.STATUS, answer.status)
            return Exchanged(answer.status, dict(answer.getheaders()), self._body(answer))
        except _Over as over:
            return over.failed
        except TimeoutError:
            return Failed(NotFetched.TOO_SLOW)
        except (OSError, http.client.HTTPException, ValueError):
            return Failed(NotFetched.BROKEN_OFF)
        finally:
            connection.end()

    def tell(self, url: str, *, headers: Mapping[str, str], body: bytes) -> int | Failed:
        """One POST, under the same rules; the status is the answer, and nothing of what comes behind it is read."""
        target, until = _split(url), self.clock() + self.within
        if target is None:
            return Failed(NotFetched.NO_HTTPS)
        path = (target.path or "/") + (f"?{target.query}" if target.query else "")
        connection = _Connection(self, target, until)
        try:
            connection.request("POST", path, body, {**headers, "Connection": "close", "User-Agent": "zegel"})
            return connection.getresponse().status
        except _Over as over:
            return over.failed
        except TimeoutError:
            return Failed(NotFetched.TOO_SLOW)
        except (OSError, http.client.HTTPException, ValueError):
            return Failed(NotFetched.BROKEN_OFF)
        finally:
            connection.end()

    def _get(self, target: SplitResult, etag: str, until: float) -> tuple[bytes, str] | NotModified | str:
        """The octets and their ETag; or where to look instead."""
        connection = _Connection(self, target, until)
        path = (target.path or "/") + (f"?{target.query}" if target.query else "")
        headers = {"Accept": "text/plain, text/csv, */*;q=0.1", "Connection": "close", "User-Agent": "zegel"}
        try:
            connection.request("GET", path, headers={**headers, **({"If-None-Match": etag} if etag else {})})
            answer = connection.getresponse()
            if answer.status in _REDIRECTS:
                return answer.getheader("Location") or ""
            if answer.status == 304 and etag:
                return NotModified()
            if answer.status != 200 or answer.getheader("Content-Encoding", "identity").lower() != "identity":
                raise _Over(NotFetched.STATUS, answer.status)
            if self.kind and (answer.getheader("Content-Type") or "").partition(";")[0].strip().lower() != self.kind:
                raise _Over(NotFetched.STATUS, answer.status)
            return self._body(answer), answer.getheader("ETag") or ""
        finally:
            connection.end()

    def _body(self, answer: http.client.HTTPResponse) -> bytes:
        taken = bytearray()
        while piece := answer.read(_PIECE):
            taken += piece
            if len(taken) > self.most:
                raise _Over(NotFetched.TOO_LARGE)
        if answer.length:  # less than was announced
            raise _Over(NotFetched.BROKEN_OFF)
        return bytes(taken)

    def addresses(self, host: str) -> list[str]:
        """Those of a host that may be connected to: all of them are public, or none is used."""
        literal = _ip(host)
        found = [str(literal)] if literal is not None else list(self.resolve(host))
        if not found:
            raise _Over(NotFetched.NO_ADDRESS)
        if not self.reaches_private and not all(self._is_reached(ip_address(one)) for one in found):
            raise _Over(NotFetched.NOT_PUBLIC)
        return found[:MOST_ADDRESSES]

    def _is_reached(self, address: IPv4Address | IPv6Address) -> bool:
        return is_public(address) or any(address in network for network in self.networks)

    def left(self, until: float) -> float:
        """Seconds; raises ``TimeoutError`` when there are none."""
        seconds = until - self.clock()
        if seconds <= 0:
            raise TimeoutError
        return seconds


def _next(url: str, location: str) -> str:
    url = urljoin(url, location.partition("#")[0]) if _URL.fullmatch(location) else ""
    if _split(url) is None:
        raise _Over(NotFetched.BAD_REDIRECT)
    return url


def _asked(host: str, resolver: tuple[str, int] | None) -> list[str]:
    async def ask() -> list[str]:
        dns = DnsResolver(resolver)
        answers = await asyncio.gather(dns.ask(host, "A"), dns.ask(host, "AAAA"))
        return [record for answer in answers if isinstance(answer, Found) for record in answer.records]

    return asyncio.run(ask())


# --- validators --------------------------------------------------------------------------------------------------


def _etag_for(url: str, validator: str) -> str:
    """The ETag of what this very address gave: after a redirect to another, the same ETag can mean something else."""
    owner, _, etag = validator.partition(" ")
    return etag if owner == _owner(url) and _ETAG.fullmatch(etag) else ""


def _kept(url: str, found: tuple[bytes, str]) -> Fetched:
    octets, etag = found
    validator = f"{_owner(url)} {etag}" if _ETAG.fullmatch(etag) else ""
    return Fetched(octets, validator if len(validator) <= LONGEST_VALIDATOR else "")


def _owner(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()[:16]


# --- the connection ----------------------------------------------------------------------------------------------


class _Connection(http.client.HTTPConnection):
    """To an address that was looked at, under the name that was asked for. No proxy, no cookie."""

    default_port = 443

    def __init__(self, fetcher: Fetcher, target: SplitResult, until: float) -> None:
        self._fetcher, self._name, self._until = fetcher, target.hostname or "", until
        self._secured: ssl.SSLSocket | None = None
        super().__init__(self._name, target.port or self.default_port)

    def connect(self) -> None:
        """Raises :class:`_Over`."""
        plain = self._dialled()
        try:
            plain.settimeout(self._fetcher.left(self._until))
            # An end that the server didn't say is no end.
            self._secured = self._fetcher.trust.wrap_socket(
                plain, server_hostname=self._name, suppress_ragged_eofs=False
            )
        except BaseException as cause:
            plain.close()
            if isinstance(cause, ssl.SSLCertVerificationError):
                raise _Over(NotFetched.NO_CERTIFICATE) from None
            if isinstance(cause, ssl.SSLError | ConnectionError):
                raise _Over(NotFetched.NO_TLS) from None
            raise
        self.sock = _Within(self._secured, lambda: self._fetcher.left(self._until))

    def end(self) -> None:
        """Of all of it, whoever else reads."""
        if self._secured is not None:
            self._secured.close()

    def _dialled(self) -> socket.socket:
        addresses = self._fetcher.addresses(self._name)
        for left, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
            seconds = self._fetcher.left(self._until) / left  # one that is silent leaves time for the others
            try:
                return socket.create_connection((address, self.port), timeout=seconds)
            except OSError:
                continue
        self._fetcher.left(self._until)
        raise _Over(NotFetched.NO_CONNECTION)


class _Within:
    """As much of a socket as an HTTP connection uses; every step of it ends in time, and so does their sum."""

    def __init__(self, secured: ssl.SSLSocket, left: Callable[[], float]) -> None:
        self._secured, self._left = secured, left

    def sendall(self, octets: Any) -> None:
        self._secured.settimeout(self._left())
        self._secured.sendall(octets)

    def makefile(self, mode: str) -> io.BufferedReader:
        """For reading."""
        return io.BufferedReader(_Reading(self._secured, self._left))

    def close(self) -> None:
        """Comes before the body is read, where nothing follows it; see :meth:`_Connection.end`."""


class _Reading(io.RawIOBase):
    def __init__(self, secured: ssl.SSLSocket, left: Callable[[], float]) -> None:
        super().__init__()
        self._secured, self._left = secured, left

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        self._secured.settimeout(self._left())
        return self._secured.recv_into(into)
