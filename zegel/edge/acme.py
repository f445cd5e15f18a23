"""Certificates of an authority, got and renewed by themselves: ACME (RFC 8555) with HTTP-01, for a role of its own.

It talks to the authority, answers on port 80, and writes one file below the keys. The listeners see the file change.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import json
import os
import random
import re
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar, cast
from urllib.parse import urlsplit

import requests
import requests.adapters
from acme import challenges, client, crypto_util, errors, messages
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from josepy.jwa import ES256
from josepy.jwk import JWK, JWKEC
from josepy.util import ComparableECKey

from zegel.core.clock import Duration, Instant
from zegel.edge.certificates import Examined, Fault, acme_files, examine
from zegel.edge.durable import sync_folder
from zegel.edge.log import Broken, log
from zegel.edge.tls import CertificateTrouble, verifying_context

T = TypeVar("T")

RENEW_AFTER: Final = 2 / 3  # of its life, unless the authority suggests another moment
RENEW_AT_LAST: Final = 5 / 6  # whatever it suggests
FIRST_PAUSE: Final = timedelta(minutes=15)  # after a failure; authorities count those of an hour
LONGEST_PAUSE: Final = timedelta(days=1)
LONGEST_WAIT: Final = timedelta(days=7)  # whatever the authority asks for
ASK_AGAIN: Final = timedelta(hours=6)  # for the suggested moment, RFC 9773 §4.3.3
LOOK_AGAIN: Final = timedelta(hours=1)  # whatever there is to wait for: clocks are set, machines sleep
ORDER_WITHIN: Final = timedelta(minutes=5)
REQUEST_WITHIN: Final = 30  # seconds for each answer of the authority
NONCES: Final = 5  # tries for one request whose nonce is refused, RFC 8555 §6.5

_NO_GOOD: Final = {
    Fault.OTHER_NAMES: "What the authority gave is for other names than those that were asked for.",
    Fault.NOT_YET_VALID: "What the authority gave is not valid yet: is the clock of this machine right?",
    Fault.EXPIRED: "What the authority gave has expired: is the clock of this machine right?",
}

ACCOUNT_KEY: Final = "account.key"
LAST_TRY: Final = "last-try.json"

CHALLENGES: Final = "/.well-known/acme-challenge/"  # RFC 8555 §8.3
MOST_CONNECTIONS: Final = 128
CONNECTION_WITHIN: Final = 10.0  # seconds from its first octet to its last
LONGEST_REQUEST: Final = 8192  # octets
_REQUEST: Final = re.compile(rb"(?:GET|HEAD) (/[!-~]*) HTTP/1\.[01]\r?")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked of which authority."""

    directory: str
    names: tuple[str, ...]
    contact: str = ""
    extra_ca: Path | None = None


@dataclass(frozen=True, slots=True)
class Issued:
    """A new certificate is in its place."""

    names: tuple[str, ...]
    ends: Instant


@dataclass(frozen=True, slots=True)
class NotIssued:
    """A try failed; what is there stays. One sentence for the operator, and when it is tried again."""

    what: str
    again: Instant


Told = Issued | NotIssued


class Refused(Exception):
    """Why there is no certificate now, in one sentence; ``wait`` is what the authority asked for."""

    def __init__(self, what: str, wait: Duration = timedelta(0)) -> None:
        super().__init__(what)
        self.wait = wait


async def keep(
    wanted: Wanted,
    folder: Path,
    *,
    listen: Sequence[tuple[str, int]],
    now: Callable[[], Instant],
    stop: asyncio.Event,
    tell: Callable[[Told], None],
    elsewhere: str | None = None,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """A certificate for ``wanted`` in ``folder``, renewed in time, until ``stop``.

    ``elsewhere`` is where people are sent who come with a browser. Raises ``OSError`` when an address of ``listen``
    can't be had, and :class:`CertificateTrouble` for ``extra_ca``; nothing that the authority does is raised.
    """
    answers = Answers(elsewhere)
    keeper = Keeper(wanted, folder, Authority(wanted, folder), answers, now=now, tell=tell)
    await answers.open(listen)
    ready()
    try:
        while not stop.is_set():
            again = await _unless(stop, keeper.round())
            if again is not None:
                seconds = min(again - now(), LOOK_AGAIN).total_seconds()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), max(seconds, 1.0))
    finally:
        answers.close()


async def _unless(stop: asyncio.Event, work: Awaitable[T]) -> T | None:
    """``None`` when it was stopped meanwhile: an authority that is slow does not hold up an end."""
    working, stopping = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        working.cancel()
        stopping.cancel()
        await asyncio.gather(working, stopping, return_exceptions=True)


async def _aside(work: Callable[[], T]) -> T:
    """In a thread that is never waited for at the end of the process, as those of an executor are."""
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    outcome: concurrent.futures.Future[T] = concurrent.futures.Future()

    def run() -> None:
        try:
            outcome.set_result(work())
        except Exception as cause:
            outcome.set_exception(cause)
        with contextlib.suppress(RuntimeError):  # nobody waits any more: the loop is closed
            loop.call_soon_threadsafe(done.set)

    threading.Thread(target=run, daemon=True, name="acme").start()
    await done.wait()
    return outcome.result()


# --- when ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tried:
    """The last try, for whoever starts after it, and for ``zegel doctor``."""

    at: Instant
    names: tuple[str, ...]
    trouble: str | None


def last_try(folder: Path) -> Tried | None:
    """What :class:`Keeper` wrote down there, if it can be read."""
    try:
        found = json.loads((folder / LAST_TRY).read_text("utf-8"))
        return Tried(datetime.fromisoformat(found["at"]).astimezone(UTC), tuple(found["names"]), found["trouble"])
    except (OSError, ValueError, LookupError, TypeError):
        return None


class Issuer(Protocol):
    """Gives certificates. Both methods block, and raise :class:`Refused`."""

    def issue(self, key: bytes, answers: Answers) -> bytes:
        """The chain, PEM, for a key, PEM."""

    def suggested(self, chain: bytes) -> tuple[Instant | None, Duration]:
        """When to renew, if it has an opinion, and how long that opinion holds (RFC 9773 §4.2)."""


class Keeper:
    """Decides when to order, and puts what it gets in its place."""

    def __init__(
        self,
        wanted: Wanted,
        folder: Path,
        issuer: Issuer,
        answers: Answers,
        *,
        now: Callable[[], Instant],
        tell: Callable[[Told], None],
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._wanted, self._folder, self._issuer, self._answers = wanted, folder, issuer, answers
        self._now, self._tell, self._chance = now, tell, chance
        self._failures = 0
        self._suggested: Instant | None = None
        self._ask_at: Instant | None = None
        self._again = self._first_moment()

    def _first_moment(self) -> Instant | None:
        """A process that is started again and again does not turn that into orders."""
        tried = last_try(self._folder)
        if tried is None or tried.trouble is None or tried.names != self._wanted.names or tried.at > self._now():
            return None
        return tried.at + FIRST_PAUSE

    async def round(self) -> Instant:
        """One look, and an order if it is time; when to look again."""
        now = self._now()
        if self._again is not None and self._again > now + LONGEST_WAIT:
            self._again = None  # the clock was wrong when that was decided
        due = max(await self._due(now), self._again or now)
        if due > now:
            return due
        self._note("The last try was cut off.")
        try:
            key = _new_key()
            async with asyncio.timeout((2 * ORDER_WITHIN).total_seconds()):
                chain = await _aside(lambda: self._issuer.issue(key, self._answers))
            issued = self._install(key, chain)
        except Refused as cause:
            return self._failed(str(cause), cause.wait)
        except TimeoutError:
            return self._failed("The authority took too long.")
        except OSError as cause:
            return self._failed(f"{self._folder} can't be written ({cause.strerror}): is the disk full?")
        except Exception as cause:
            log(Broken("acme", cause))
            return self._failed("A defect of Zegel; see the log.")
        self._failures, self._again, self._suggested, self._ask_at = 0, None, None, None
        self._note(None)
        self._tell(issued)
        return self._now()

    async def _due(self, now: Instant) -> Instant:
        held = self._held()
        if held is None or held.faults(self._wanted.names, max(now, held.begins)):
            return now
        life = held.ends - held.begins
        if self._ask_at is None or now >= self._ask_at:
            self._suggested, holds = await self._suggestion()
            self._ask_at = now + holds
        due = self._suggested or held.begins + life * RENEW_AFTER
        soonest = held.begins + min(LONGEST_PAUSE, life / 3)  # an authority that always says "now" gets no storm
        return max(soonest, min(due, held.begins + life * RENEW_AT_LAST))

    async def _suggestion(self) -> tuple[Instant | None, Duration]:
        chain = acme_files(self._folder)[0].read_bytes()
        try:
            async with asyncio.timeout(4 * REQUEST_WITHIN):
                return await _aside(lambda: self._issuer.suggested(chain))
        except (Refused, TimeoutError):
            return None, ASK_AGAIN

    def _held(self) -> Examined | None:
        try:
            return examine(acme_files(self._folder))
        except CertificateTrouble:
            return None

    def _failed(self, what: str, wait: Duration = timedelta(0)) -> Instant:
        self._failures += 1
        pause = min(FIRST_PAUSE * 2 ** min(self._failures - 1, 16), LONGEST_PAUSE) * (1 + self._chance() / 2)
        self._again = self._now() + max(pause, min(wait, LONGEST_WAIT))
        self._note(what)
        self._tell(NotIssued(what, self._again))
        return self._again

    def _note(self, trouble: str | None) -> None:
        """A disk that is full must not end this: the next try needs no memory of the last."""
        said = {"at": self._now().isoformat(), "names": self._wanted.names, "trouble": trouble}
        with contextlib.suppress(OSError):
            _replace(self._folder / LAST_TRY, json.dumps(said).encode())

    def _install(self, key: bytes, chain: bytes) -> Issued:
        """In its place when it returns, durable, and looked at before."""
        chain_path, _ = acme_files(self._folder)
        with _replacing(chain_path, key + chain) as fresh:
            try:
                examined = examine((fresh, fresh))
            except CertificateTrouble as cause:
                raise Refused("What the authority gave is no certificate for the key that was asked for.") from cause
            for fault in examined.faults(self._wanted.names, self._now()):
                raise Refused(_NO_GOOD[fault])
        return Issued(examined.names, examined.ends)


def _new_key() -> bytes:
    """ECDSA P-256 (P18), PEM; another one for each certificate."""
    return _pem(ec.generate_private_key(ec.SECP256R1()))


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@contextmanager
def _replacing(path: Path, octets: bytes) -> Iterator[Path]:
    """Written beside it under a name of its own, readable by us alone; takes the place of ``path`` at the end."""
    _make(path.parent)
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)  # of a process that was killed
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(octets)
            file.flush()
            os.fsync(file.fileno())
        yield fresh
        fresh.rename(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def _replace(path: Path, octets: bytes) -> None:
    with _replacing(path, octets):
        pass


def _make(folder: Path) -> None:
    """With those above it, all for us alone."""
    if not folder.is_dir():
        _make(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


# --- port 80 ------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Answers:
    """Answers to challenges, served over HTTP in clear as RFC 8555 §8.3 wants it; knows nothing else.

    Of many connections the one that has lasted longest makes room for the newest: who is slow keeps nobody out.
    """

    elsewhere: str | None = None
    most_connections: int = MOST_CONNECTIONS
    within: float = CONNECTION_WITHIN
    servers: list[asyncio.Server] = field(default_factory=list)
    _published: dict[str, bytes] = field(default_factory=dict)
    _connections: dict[_Connection, None] = field(default_factory=dict)

    async def open(self, addresses: Sequence[tuple[str, int]]) -> None:
        """Listens; raises ``OSError`` when an address can't be had."""
        loop = asyncio.get_running_loop()
        try:
            for host, port in addresses:
                self.servers.append(await loop.create_server(lambda: _Connection(self), host, port))
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Answers nobody any more."""
        for server in self.servers:
            server.close()
        for connection in tuple(self._connections):
            connection.abort()

    @contextmanager
    def published(self) -> Iterator[Callable[[str, str], None]]:
        """A function that publishes the answer to a token; what it published is gone afterwards. Of any thread."""
        tokens: list[str] = []

        def publish(token: str, answer: str) -> None:
            tokens.append(token)
            self._published[CHALLENGES + token] = answer.encode()

        try:
            yield publish
        finally:
            for token in tokens:
                self._published.pop(CHALLENGES + token, None)

    def _admit(self, connection: _Connection) -> None:
        while len(self._connections) >= self.most_connections:
            next(iter(self._connections)).abort()
        self._connections[connection] = None

    def _to(self, head: bytes) -> bytes:
        """The response to one request."""
        line = head.partition(b"\n")[0]
        asked = _REQUEST.fullmatch(line)
        answer = self._published.get(asked[1].decode("ascii")) if asked else None
        if answer is not None:
            return _response("200 OK", answer, b"" if line.startswith(b"HEAD") else answer)
        if self.elsewhere is not None and asked and not asked[1].startswith(CHALLENGES.encode()):
            return _response("302 Found", b"", b"", f"Location: {self.elsewhere}\r\n")
        return _response("404 Not Found" if asked else "400 Bad Request", b"", b"")


def _response(status: str, represented: bytes, body: bytes, fields: str = "") -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: application/octet-stream\r\nContent-Length: {len(represented)}\r\n"
        f"Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n{fields}Connection: close\r\n\r\n"
    )
    return head.encode("ascii") + body


class _Connection(asyncio.Protocol):
    """One request, one response."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._head = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._answers._admit(self)
        self._limit = asyncio.get_running_loop().call_later(self._answers.within, self.abort)

    def data_received(self, data: bytes) -> None:
        if self._transport.is_closing():
            return
        self._head += data
        if b"\r\n\r\n" in self._head or b"\n\n" in self._head:
            self._transport.write(self._answers._to(self._head))
            self._transport.close()
        elif len(self._head) > LONGEST_REQUEST:
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._limit.cancel()
        self._answers._connections.pop(self, None)

    def abort(self) -> None:
        self._answers._connections.pop(self, None)
        self._transport.abort()


# --- the authority ------------------------------------------------------------------------------------------------

_NO_ADDRESS: Final = "The authority finds no address for {names}: publish A (and AAAA) records that lead here."
_ANOTHER: Final = "Something else than Zegel answers for {names} on port 80: its A and AAAA records must lead here."
_NOT_OURS: Final = "The authority gives no certificates for {names}."
_CONTACT: Final = "The authority does not take acme.contact."
_OF_REQUESTS: Final[dict[str, str]] = {  # RFC 8555 §6.7, by what the operator can do about it
    "accountDoesNotExist": f"The authority does not know the account any more: remove {ACCOUNT_KEY} from its folder.",
    "unauthorized": f"The authority does not take the account any more: remove {ACCOUNT_KEY} from its folder.",
    "externalAccountRequired": "The authority wants an account that was made with it beforehand, which Zegel can't "
    "use yet: choose another one.",
    "userActionRequired": "The authority has new terms: read them on its site.",
    "invalidContact": _CONTACT,
    "unsupportedContact": _CONTACT,
    "rejectedIdentifier": _NOT_OURS,
    "unsupportedIdentifier": _NOT_OURS,
    "caa": "A CAA record of {names} names other authorities: add this one, or remove the record.",
    "dns": _NO_ADDRESS,
    "rateLimited": "The authority takes no more requests for {names} for a while.",
}
_OF_CHALLENGES: Final[dict[str, str]] = _OF_REQUESTS | {
    "connection": "The authority can't reach {names} on port 80: let it through, from everywhere, and publish "
    "addresses (A, AAAA) that lead here.",
    "unknownHost": _NO_ADDRESS,
    "unauthorized": _ANOTHER,
    "incorrectResponse": _ANOTHER,
}
_TYPE: Final = re.compile(r"urn:ietf:params:acme:error:([A-Za-z]{1,40})")


class Authority:
    """An ACME server, asked over verified TLS alone."""

    def __init__(self, wanted: Wanted, folder: Path) -> None:
        """Raises :class:`CertificateTrouble` for ``extra_ca``."""
        self._wanted, self._folder = wanted, folder
        self._trust = verifying_context(wanted.extra_ca, named="acme.extra_ca")
        self._host = urlsplit(wanted.directory).netloc

    def issue(self, key: bytes, answers: Answers) -> bytes:
        """As :class:`Issuer` says. Each order is a new one: nothing of a former one is needed, or in its way."""
        network = _Network(JWKEC(key=self._account_key()), self._trust)
        with self._explained(network), answers.published() as publish:
            asked = self._signed_up(network)
            order = asked.new_order(crypto_util.make_csr(key, list(self._wanted.names)))
            for authorization in order.authorizations:
                if authorization.body.status != messages.STATUS_VALID:
                    self._answer(asked, authorization.body, publish)
            until = datetime.now() + ORDER_WITHIN  # noqa: DTZ005 (the library compares it with local time)
            return asked.finalize_order(asked.poll_authorizations(order, until), until).fullchain_pem.encode()

    def suggested(self, chain: bytes) -> tuple[Instant | None, Duration]:
        """As :class:`Issuer` says."""
        network = _Network(None, self._trust)
        with self._explained(network):
            moment, ask_again = client.ClientV2(self._directory(network), network).renewal_time(chain)
            holds = ask_again.astimezone(UTC) - datetime.now(UTC)
            return moment, max(timedelta(minutes=1), min(holds, timedelta(days=1)))  # bounds of RFC 9773 §4.3.2

    def _directory(self, network: _Network) -> messages.Directory:
        return client.ClientV2.get_directory(self._wanted.directory, network)

    def _signed_up(self, network: _Network) -> client.ClientV2:
        """With the account of our key, made where there is none (RFC 8555 §7.3). Its terms were agreed to."""
        asked = client.ClientV2(self._directory(network), network)
        email = self._wanted.contact or None
        try:
            asked.new_account(messages.NewRegistration.from_data(email=email, terms_of_service_agreed=True))
        except errors.ConflictError as known:
            network.account = messages.RegistrationResource(uri=known.location, body=messages.Registration())
        return asked

    def _answer(
        self, asked: client.ClientV2, authorization: messages.Authorization, publish: Callable[[str, str], None]
    ) -> None:
        for body in authorization.challenges:
            if isinstance(body.chall, challenges.HTTP01):
                response, validation = body.chall.response_and_validation(asked.net.key)
                publish(body.chall.encode("token"), validation)
                asked.answer_challenge(body, response)
                return
        raise Refused("The authority offers no HTTP-01, and Zegel knows nothing else.")

    def _account_key(self) -> ComparableECKey:
        """The account's, made at the first order. Raises :class:`Refused`, or ``OSError``."""
        path = self._folder / ACCOUNT_KEY
        if not path.exists():
            _replace(path, _new_key())
        try:
            key = load_pem_private_key(path.read_bytes(), password=None)
        except (ValueError, TypeError) as cause:
            raise Refused(f"{path} is damaged: remove it, and another account is made.") from cause
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise Refused(f"{path} is damaged: remove it, and another account is made.")
        return ComparableECKey(key)

    @contextmanager
    def _explained(self, network: _Network) -> Iterator[None]:
        """What goes wrong with a server of somebody else is expected, whatever it is: it becomes :class:`Refused`."""
        try:
            yield
        except (Refused, OSError) as cause:
            if not isinstance(cause, requests.RequestException):
                raise
            raise Refused(self._unreachable(cause), network.wait) from cause
        except errors.ValidationError as cause:
            raise Refused(self._failed(cause), network.wait) from cause
        except errors.IssuanceError as cause:
            raise Refused(self._said(cause.error), network.wait) from cause
        except messages.Error as cause:
            raise Refused(self._said(cause), network.wait) from cause
        except errors.TimeoutError as cause:
            raise Refused("The authority did not finish in time.", network.wait) from cause
        except Exception as cause:
            raise Refused(self._nonsense(), network.wait) from cause

    def _nonsense(self) -> str:
        return f"The answers of {self._host} are not those of an ACME server."

    def _unreachable(self, cause: requests.RequestException) -> str:
        match cause:
            case requests.exceptions.SSLError():
                return f"{self._host} has no certificate that this machine trusts."
            case requests.exceptions.Timeout():
                return f"{self._host} does not answer."
            case ValueError():  # it sends us to what is no URL, or one in clear
                return self._nonsense()
            case _:
                return (
                    f"{self._host} can't be reached: may this machine go out to port 443, and does its resolver work?"
                )

    def _failed(self, cause: errors.ValidationError) -> str:
        """Of the first name that could not be shown to be ours."""
        for one in cause.failed_authzrs:
            names = [name for name in self._wanted.names if name == one.body.identifier.value]
            for challenge in one.body.challenges:
                if challenge.error is not None:
                    return _sentence(challenge.error, names or self._wanted.names, _OF_CHALLENGES)
        return self._said(messages.Error())

    def _said(self, error: messages.Error) -> str:
        return _sentence(error, self._wanted.names, _OF_REQUESTS)


def _sentence(error: messages.Error, names: Sequence[str], sentences: Mapping[str, str]) -> str:
    """One of ours. Theirs may hold anything, so of it only the type is taken, as a word."""
    found = _TYPE.fullmatch(str(error.typ))
    kind = found[1] if found else "unknown"
    return sentences.get(kind, f"The authority refused ({kind}).").format(names=", ".join(names))


class _Network(client.ClientNetwork):
    """Requests by HTTPS alone, to a server that this machine trusts; no proxy, no netrc."""

    def __init__(self, key: JWK | None, trust: ssl.SSLContext) -> None:
        super().__init__(key, alg=ES256, user_agent="Zegel", timeout=REQUEST_WITHIN)
        self.wait = timedelta(0)
        self.session.trust_env = False
        self.session.adapters.clear()
        self.session.mount("https://", _Trusting(trust))
        self.session.hooks["response"].append(self._note_wait)

    def _note_wait(self, response: requests.Response, *_: Any, **__: Any) -> None:
        """RFC 8555 §6.6: how long to leave it alone, where it is said in seconds."""
        seconds = response.headers.get("Retry-After", "")
        if not response.ok and seconds.isascii() and seconds.isdigit():
            self.wait = timedelta(seconds=min(int(seconds), LONGEST_WAIT.total_seconds()))

    def post(self, *args: Any, **kwargs: Any) -> requests.Response:
        for _ in range(NONCES - 1):
            try:
                return super().post(*args, **kwargs)
            except messages.Error as cause:
                if cause.code != "badNonce":
                    raise
        return super().post(*args, **kwargs)


class _Trusting(requests.adapters.HTTPAdapter):
    """Trusts whom the context trusts, instead of a list that comes with a package."""

    def __init__(self, trust: ssl.SSLContext) -> None:
        self._trust = trust
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self._trust, **kwargs)

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        conn.cert_reqs = "CERT_REQUIRED"
