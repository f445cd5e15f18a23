"""TLS contexts, made once and reused: making one costs 19 ms. Suites and versions follow NCSC-NL 2025-05."""

from __future__ import annotations

import _ssl
import ssl
import sys
from pathlib import Path
from typing import Any, Final, cast

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

from zegel.core.smtp.tls_hello import HelloReader

SUITES_TLS_1_2: Final = ":".join(  # NCSC-NL TLS guidelines 2025-05: good and sufficient; TLS 1.3 brings its own
    (
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-RSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "ECDHE-RSA-CHACHA20-POLY1305",
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES128-GCM-SHA256",
    )
)
# SSL_CTX_set_security_level(3): at level 3 (128 bits everywhere) signatures with SHA-1 or SHA-224 and the group
# ffdhe2048 are gone, which NCSC-NL calls insufficient or to be phased out. It also asks 3072 bits of every RSA key in
# the chain. Where those of the authorities are shorter, it is level 2.
_LEVELS: Final = (3, 2)
_RSA_MINIMUM: Final = 3072  # P18, NCSC-NL 2025-05 §3.3.2.1
_CURVES: Final = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
_FLIGHTS: Final = 4  # times that two ends of a handshake in memory are asked to go on; TLS 1.2 needs the most: two


class CertificateTrouble(Exception):
    """One sentence for the operator: which file, what is wrong, what to do."""


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """For our own listeners: TLS 1.2 and 1.3 only, with a key that is strong enough (P18).

    ``certificate`` is a PEM chain; one file may hold both. Nothing is compressed, renegotiated or, in TLS 1.3, resumed;
    no ticket is given out, whose key would outlive the connections that it can open. It has made a handshake when it is
    returned. Raises :class:`CertificateTrouble`.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(SUITES_TLS_1_2)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    try:
        context.load_cert_chain(certificate, key, password="")  # else OpenSSL would ask for one at the terminal
    except FileNotFoundError as cause:
        raise CertificateTrouble(f"There is no {certificate} or no {key}: name a PEM chain and its key.") from cause
    except ssl.SSLError as cause:
        if cause.reason == "EE_KEY_TOO_SMALL":
            raise _too_weak(certificate) from cause
        raise CertificateTrouble(f"{certificate} and {key} are not a readable PEM chain and its own key.") from cause
    except OSError as cause:
        raise CertificateTrouble(f"{certificate} and {key} are not a readable PEM chain and its own key.") from cause
    _raise_level(context, certificate)
    return context


def _raise_level(context: ssl.SSLContext, certificate: Path) -> None:
    """As high as its chain allows, which only a handshake tells."""
    for level in _LEVELS:
        context.set_ciphers(f"{SUITES_TLS_1_2}:@SECLEVEL={level}")
        try:
            shown = shown_by(context)
        except ssl.SSLError:
            continue
        if _is_strong(shown):
            return
    raise _too_weak(certificate)


def shown_by(server: ssl.SSLContext) -> x509.Certificate:
    """The certificate that a client of ``server`` gets to see, found by being one. Raises ``ssl.SSLError``."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = (
        False,
        ssl.CERT_NONE,
    )  # looks at it; whether to believe it is asked later
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = client.wrap_bio(to_client, to_server), server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(_FLIGHTS):
        waiting = [end for end in ends if not _goes_on(end)]
        if not waiting:
            break
    octets = ends[0].getpeercert(binary_form=True)
    if octets is None:
        raise ssl.SSLError("no certificate was shown")
    return x509.load_der_x509_certificate(octets)


def _goes_on(end: ssl.SSLObject) -> bool:
    """True when its handshake is done."""
    try:
        end.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


def _is_strong(certificate: x509.Certificate) -> bool:
    match certificate.public_key():
        case rsa.RSAPublicKey(key_size=size):
            return size >= _RSA_MINIMUM
        case ec.EllipticCurvePublicKey(curve=curve):
            return isinstance(curve, _CURVES)
        case ed25519.Ed25519PublicKey() | ed448.Ed448PublicKey():
            return True
        case _:
            return False


def _too_weak(certificate: Path) -> CertificateTrouble:
    return CertificateTrouble(
        f"The key of {certificate} is too weak, or of a kind that mail servers don't know: ask for a certificate with "
        f"an ECDSA key (P-256), or RSA of at least {_RSA_MINIMUM} bits."
    )


class NotVerified(ssl.SSLCertVerificationError):
    """What OpenSSL says of a certificate that it doesn't believe, the certificates that were shown, and what the
    server chose before it showed them."""

    def __init__(self, said: ssl.SSLCertVerificationError, tls: ClientTls) -> None:
        super().__init__(*said.args)
        vars(self).update(vars(said))  # verify_code, verify_message, reason
        self.shown = shown_chain(tls)
        self.protocol, self.cipher = tls.chosen
        self.key_exchange = tls.key_exchange


class ClientTls(ssl.SSLObject):
    """One connection of :class:`ClientContext`; after the handshake it is what its base class is."""

    _incoming: ssl.MemoryBIO
    _hello: HelloReader

    def listen(self, incoming: ssl.MemoryBIO) -> None:
        """``incoming``: where the octets of the server wait until they are read."""
        self._incoming, self._hello = incoming, HelloReader()

    def do_handshake(self) -> None:
        """Raises :class:`NotVerified` among the errors of TLS."""
        if not self._hello.is_done and self._incoming.pending:
            octets = self._incoming.read()
            self._incoming.write(octets)
            self._hello.feed(octets)
        try:
            super().do_handshake()
        except ssl.SSLCertVerificationError as said:
            raise NotVerified(said, self) from None

    @property
    def chosen(self) -> tuple[str, str]:
        """Version and suite by the names that :meth:`version` and :meth:`cipher` give them, which know neither before
        the handshake is done: only its end proves that nobody changed them. Empty where they are not known."""
        names = {one["id"] & 0xFFFF: one["name"] for one in self.context.get_ciphers()}
        return self._hello.version, names.get(self._hello.suite, "")

    @property
    def key_exchange(self) -> str:
        """The group that the keys were agreed in, by its registered name; empty where it is not known."""
        return self._hello.group


class ClientContext(ssl.SSLContext):
    """A context for clients whose connections in memory (all of asyncio's) tell more about themselves."""

    sslobject_class: type[ssl.SSLObject] = ClientTls

    def wrap_bio(self, incoming: ssl.MemoryBIO, *rest: Any, **named: Any) -> ClientTls:
        """As the base class does. What waits in ``incoming`` is read along, before OpenSSL takes it."""
        made = cast(ClientTls, super().wrap_bio(incoming, *rest, **named))
        made.listen(incoming)
        return made


def verifying_context(extra_ca: Path | None, *, named: str = "delivery.extra_ca") -> ssl.SSLContext:
    """For connections that must prove the server: a trusted CA, a name in the SAN (never the CN), TLS 1.2 at least.

    ``named``: the setting that ``extra_ca`` comes from, for :class:`CertificateTrouble`.
    """
    context = ClientContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.hostname_checks_common_name = False
    context.set_ciphers(SUITES_TLS_1_2)
    context.load_default_certs()
    if extra_ca is not None:
        try:
            context.load_verify_locations(extra_ca)
        except (ssl.SSLError, OSError) as cause:
            raise CertificateTrouble(f"{named}: {extra_ca} is not a readable PEM bundle.") from cause
    return context


def dane_context() -> ssl.SSLContext:
    """For servers that TLSA records authenticate: as strict as :func:`verifying_context`, except that who connects
    must look at the certificates itself, and sends nothing before (RFC 7672 §3.1)."""
    context = ClientContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(SUITES_TLS_1_2)
    return context


def shown_chain(tls: ssl.SSLObject) -> list[bytes]:
    """The certificates that the other end sent, in DER and in its order; nobody has verified them."""
    if sys.version_info >= (3, 13):
        return list(tls.get_unverified_chain())
    # The same, before it had a name for everybody: https://docs.python.org/3/whatsnew/3.13.html#ssl
    chain = tls._sslobj.get_unverified_chain()  # type: ignore[attr-defined]
    return [bytes(one.public_bytes(_ssl.ENCODING_DER)) for one in chain or ()]


def opportunistic_context() -> ssl.SSLContext:
    """For mail without a demand: encrypts where the server can, and proves nothing. Never used for content."""
    context = ClientContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("DEFAULT:@SECLEVEL=1")
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
