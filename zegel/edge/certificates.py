"""The certificate that mail servers get to see: examined before it is shown, and changed while connections are open.

Where it comes from is another matter: a self-signed one for the first run (here), files of the operator, or an
authority that is asked for it (:mod:`zegel.edge.acme`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from zegel.core.clock import Instant
from zegel.edge.log import Broken, log
from zegel.edge.tls import CertificateTrouble, server_context, shown_by

CERTIFICATE: Final = "self-signed.pem"
KEY: Final = "self-signed.key"
LOOK_EVERY: Final = 30.0  # seconds between two looks at the files
SAID_AGAIN_AFTER: Final = timedelta(days=1)  # a trouble that lasts
ENDING: Final = timedelta(days=14)  # or the last quarter of a shorter life: then a newer one should be there

Files = tuple[Path, Path]
"""A chain and its key, PEM; twice the same where one file holds both."""


# --- what a certificate is worth ----------------------------------------------------------------------------------


class Fault(Enum):
    """Why clients that verify would not take a certificate, although it can be read."""

    OTHER_NAMES = "is not for {wanted} but for {names}"
    NOT_YET_VALID = "is valid from {begins} only (is the clock of this machine right?)"
    EXPIRED = "expired on {ends}"


@dataclass(frozen=True, slots=True)
class Examined:
    """What stands in a certificate that a server can show."""

    path: Path
    names: tuple[str, ...]
    begins: Instant
    ends: Instant
    is_self_signed: bool

    def faults(self, wanted: Sequence[str], now: Instant) -> frozenset[Fault]:
        """Of a certificate that is to be shown as each of ``wanted``."""
        found = set[Fault]()
        if not all(any(_covers(name, one) for name in self.names) for one in wanted):
            found.add(Fault.OTHER_NAMES)
        if now < self.begins:
            found.add(Fault.NOT_YET_VALID)
        if now > self.ends:
            found.add(Fault.EXPIRED)
        return frozenset(found)

    def is_ending(self, now: Instant) -> bool:
        """Whoever renews has had the time for it."""
        return self.ends - now < min(ENDING, (self.ends - self.begins) / 4)

    def say(self, fault: Fault, wanted: Sequence[str]) -> str:
        """A fault, as the operator reads it behind what is meant."""
        return fault.value.format(
            wanted=", ".join(wanted),
            names=", ".join(self.names) or "no name",
            begins=_day(self.begins),
            ends=_day(self.ends),
        )


def examine(files: Files) -> Examined:
    """What a server with these files would show. Raises :class:`CertificateTrouble` where it could show nothing."""
    return _examined(server_context(*files), files)


def _examined(context: ssl.SSLContext, files: Files) -> Examined:
    shown = shown_by(context)
    try:
        names = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:  # the CN counts for nothing (P18)
        names = x509.SubjectAlternativeName([])
    return Examined(
        path=files[0],
        names=tuple(str(name.value) for name in names if isinstance(name, x509.DNSName | x509.IPAddress)),
        begins=shown.not_valid_before_utc,
        ends=shown.not_valid_after_utc,
        is_self_signed=shown.issuer == shown.subject,
    )


def _covers(name: str, wanted: str) -> bool:
    """A wildcard is a whole first label, and stands for one."""
    name, wanted = name.lower(), wanted.lower()
    return name == wanted or (name.startswith("*.") and name[1:] == f".{wanted.partition('.')[2]}")


def _day(instant: Instant) -> str:
    return instant.strftime("%Y-%m-%d")


# --- the certificate in force -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Loaded:
    """New connections see this certificate from now on."""

    names: tuple[str, ...]
    ends: Instant


@dataclass(frozen=True, slots=True)
class TroubleSeen:
    """Nothing changed, and something should: one sentence for the operator."""

    what: str


Told = Loaded | TroubleSeen

_Stamp = tuple[int, ...]


class LiveCertificate:
    """What our listeners show, read anew when its files change.

    :attr:`context` is for all listeners and for ever. Each handshake is given the newest context behind it, so an open
    session never notices a change. (Loading a chain into a context in use would not do: OpenSSL keeps one for each kind
    of key, and would go on to show the old ECDSA certificate beside the new RSA one.)

    A new certificate is shown only after a handshake with it succeeded, and if clients that verify would take it as
    readily as the one in force: readable, key and chain of each other, strong, in date, for the right names.
    """

    def __init__(self, sources: Sequence[Files], *, names: Sequence[str], now: Callable[[], Instant]) -> None:
        """The first of ``sources`` that is there is read; from then on it, and those before it, are watched.

        ``names``: what clients call us. Raises :class:`CertificateTrouble` when there is nothing to show.
        """
        self._sources, self._names, self._now = tuple(sources), tuple(names), now
        self._rank = next((rank for rank, one in enumerate(sources) if _stamp(one) is not None), len(sources) - 1)
        self._stamp = _stamp(sources[self._rank])
        self._current = server_context(*sources[self._rank])
        self._examined = _examined(self._current, sources[self._rank])
        self._said: tuple[str, Instant] | None = None
        self._asked = asyncio.Event()
        self.context = self._current
        self.context.sni_callback = self._choose

    def _choose(self, connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, context: ssl.SSLContext) -> None:
        """OpenSSL asks in every handshake, also where the client gave no name."""
        connection.context = self._current

    @property
    def loaded(self) -> Loaded:
        """What new connections see."""
        return Loaded(self._examined.names, self._examined.ends)

    def look_now(self) -> None:
        """Makes :meth:`watch` look at once."""
        self._asked.set()

    async def watch(self, tell: Callable[[Told], None], *, every: float = LOOK_EVERY) -> None:
        """Looks every so many seconds, until it is cancelled. No slow disk holds up the connections meanwhile."""
        tell(self.loaded)
        while True:
            try:
                told = await asyncio.to_thread(self.look)
            except Exception as cause:
                log(Broken("certificate", cause))
            else:
                if told is not None:
                    tell(told)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._asked.wait(), every)
            self._asked.clear()

    def look(self) -> Told | None:
        """One look at the files; what there is to say. The same trouble is said once a day."""
        now = self._now()
        try:
            loaded = self._change(now)
        except CertificateTrouble as cause:
            return self._say(f"{cause} The certificate in force stays.", now)
        if loaded is not None:
            self._said = None
            return loaded
        shown = self._examined
        for fault in shown.faults(self._names, now):
            said = shown.say(fault, self._names)
            return self._say(f"The certificate {shown.path} {said}. No better one is in place.", now)
        if shown.is_ending(now):
            said = f"ends on {_day(shown.ends)}"
            return self._say(f"The certificate {shown.path} {said}. No newer one is in place.", now)
        return None

    def _change(self, now: Instant) -> Loaded | None:
        rank, stamp = self._found()
        if (rank, stamp) == (self._rank, self._stamp):
            return None
        files = self._sources[rank]
        context = server_context(*files)
        examined = _examined(context, files)
        for fault in examined.faults(self._names, now) - self._examined.faults(self._names, now):
            raise CertificateTrouble(f"The certificate {examined.path} {examined.say(fault, self._names)}.")
        self._rank, self._stamp, self._current, self._examined = rank, stamp, context, examined
        return self.loaded

    def _found(self) -> tuple[int, _Stamp | None]:
        """The best source that is there; never one below that in force, whose files may only be away for a moment."""
        for rank in range(self._rank):
            if (stamp := _stamp(self._sources[rank])) is not None:
                return rank, stamp
        return self._rank, _stamp(self._sources[self._rank])

    def _say(self, what: str, now: Instant) -> TroubleSeen | None:
        if self._said is not None and self._said[0] == what and now - self._said[1] < SAID_AGAIN_AFTER:
            return None
        self._said = what, now
        return TroubleSeen(what)


def _stamp(files: Files) -> _Stamp | None:
    """Another one when either file was written or replaced; ``None`` while one is missing."""
    try:
        found = [path.stat() for path in files]
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:  # it is there and can't be reached: reading it will say so
        return ()
    return tuple(
        part for one in found for part in (one.st_dev, one.st_ino, one.st_size, one.st_mtime_ns, one.st_ctime_ns)
    )


# --- where certificates of an authority stand ---------------------------------------------------------------------


def acme_folder(keys: Path, directory: str) -> Path:
    """Below the keys, one for each authority: changing from its test to its real directory asks for a new one."""
    return keys / "acme" / re.sub(r"[^a-z0-9.]+", "-", directory.lower().removeprefix("https://")).strip("-.")


def acme_files(folder: Path) -> Files:
    """One file: key and chain can't be of two orders, whenever it is read."""
    return folder / "certificate.pem", folder / "certificate.pem"


# --- self-signed --------------------------------------------------------------------------------------------------


def self_signed_files(folder: Path) -> Files | None:
    """Those that :func:`self_signed` made there, if it did."""
    certificate_path, key_path = folder / CERTIFICATE, folder / KEY
    return (certificate_path, key_path) if certificate_path.exists() and key_path.exists() else None


def self_signed(hostname: str, folder: Path) -> Files:
    """Certificate and key files for ``hostname`` (ECDSA P-256, ten years); made once, then kept."""
    if (made := self_signed_files(folder)) is not None:
        return made
    certificate_path, key_path = folder / CERTIFICATE, folder / KEY
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hostname)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=3650))
        .add_extension(x509.SubjectAlternativeName([_alternative(hostname)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, SHA256())
    )
    _write(key_path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), 0o600)
    _write(certificate_path, certificate.public_bytes(Encoding.PEM), 0o644)
    return certificate_path, key_path


def _alternative(hostname: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(hostname))
    except ValueError:
        return x509.DNSName(hostname)


def _write(path: Path, octets: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(octets)
        file.flush()
        os.fsync(file.fileno())
