"""DKIM signatures (RFC 6376, RFC 8463): relaxed/relaxed, made while the content streams past.

The gateway signs last: what the recipient's server verifies is what left here. No ``l=``: a signature that ends
before the body does lets a stranger write the rest (RFC 6376 §8.2). With two keys there are two signatures, under two
selectors, since a selector has one key record (RFC 8463 §6).
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from zegel.core.clock import Instant
from zegel.core.mail.address import Domain
from zegel.core.secret import Secret

SIGNED_FIELDS: Final = (
    b"From",
    b"To",
    b"Cc",
    b"Subject",
    b"Date",
    b"Message-ID",
    b"Reply-To",
    b"In-Reply-To",
    b"References",
    b"MIME-Version",
    b"Content-Type",
    b"Content-Transfer-Encoding",
    b"Auto-Submitted",
)
"""What a signature covers, each once more than it occurs, so that none can be added (RFC 6376 §8.15).

Unlike in the examples of RFC 6376 §5.4.1 no ``List-*`` field is among them: a list that carries the message on adds
its own, and the signature shall survive that.
"""

RSA_BITS: Final = 2048  # RFC 8301 §3.2: signers use at least 2048; longer keys don't fit DNS strings everywhere

_SELECTOR: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*")
_WIDTH: Final = 76
_SIGNED_NAMES: Final = frozenset(name.lower() for name in SIGNED_FIELDS)
_BLANK_LINES: Final = b"\r\n" * 4096


class NotASigningKey(ValueError):
    """The octets are not a private key that DKIM may sign with today, or the selector is not a DNS name."""


class Unsignable(ValueError):
    """The header section has no ``From`` or more than one: a signature would vouch for nobody in particular."""


class Algorithm(Enum):
    """The ``a=`` tag (RFC 6376 §3.3, RFC 8463 §3)."""

    RSA_SHA256 = "rsa-sha256"
    ED25519_SHA256 = "ed25519-sha256"


PrivateKey = rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A sending domain's private key under its selector. The key itself shows in no ``repr``."""

    domain: Domain
    selector: str
    algorithm: Algorithm
    private: PrivateKey = field(repr=False, compare=False)

    def __post_init__(self) -> None:
        if not _SELECTOR.fullmatch(self.selector):
            raise NotASigningKey("a selector consists of DNS labels")
        if _algorithm_of(self.private) is not self.algorithm:
            raise NotASigningKey("the key does not fit the algorithm")

    @classmethod
    def generate(cls, domain: Domain, selector: str, algorithm: Algorithm) -> SigningKey:
        """A fresh key from the operating system's randomness."""
        match algorithm:
            case Algorithm.RSA_SHA256:
                return cls(domain, selector, algorithm, rsa.generate_private_key(65537, RSA_BITS))
            case Algorithm.ED25519_SHA256:
                return cls(domain, selector, algorithm, ed25519.Ed25519PrivateKey.generate())

    @classmethod
    def from_pem(cls, domain: Domain, selector: str, pem: Secret[bytes]) -> SigningKey:
        """The key that :meth:`to_pem` or ``openssl genpkey`` wrote; its kind names the algorithm.

        Raises :class:`NotASigningKey`, also for RSA below 2048 bits (RFC 8301 §3.2).
        """
        try:
            private = load_pem_private_key(pem.reveal(), password=None)
        except (ValueError, TypeError):
            # The cause might quote the key.
            raise NotASigningKey("not an unencrypted private key in PEM") from None
        if not isinstance(private, rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey):
            raise NotASigningKey("DKIM knows RSA and Ed25519 only")
        return cls(domain, selector, _algorithm_of(private), private)

    def to_pem(self) -> Secret[bytes]:
        """The private key as PKCS #8, not encrypted: whoever stores it seals it."""
        return Secret(self.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))

    @property
    def dns_name(self) -> str:
        """Where :meth:`dns_record` is published (RFC 6376 §3.6.2.1)."""
        return f"{self.selector}._domainkey.{self.domain}"

    def dns_record(self) -> str:
        """The text of the TXT record (RFC 6376 §3.6.1, RFC 8463 §4); longer than one DNS string for RSA."""
        public = self.private.public_key()
        if isinstance(public, rsa.RSAPublicKey):
            kind, octets = "rsa", public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        else:
            kind, octets = "ed25519", public.public_bytes(Encoding.Raw, PublicFormat.Raw)
        return f"v=DKIM1; k={kind}; p={base64.b64encode(octets).decode('ascii')}"

    def sign(self, octets: bytes) -> bytes:
        """The raw signature over the octets of :func:`signing_input`."""
        if isinstance(self.private, rsa.RSAPrivateKey):
            return self.private.sign(octets, padding.PKCS1v15(), hashes.SHA256())
        # RFC 8463 §3: PureEdDSA over the SHA-256 of the input.
        return self.private.sign(hashlib.sha256(octets).digest())


def _algorithm_of(private: PrivateKey) -> Algorithm:
    if isinstance(private, rsa.RSAPrivateKey):
        if private.key_size < RSA_BITS:
            raise NotASigningKey("an RSA key needs 2048 bits")
        return Algorithm.RSA_SHA256
    return Algorithm.ED25519_SHA256


class _LinesHash:
    """SHA-256 over lines; the empty ones at the end wait until content follows (RFC 6376 §3.4.3, §3.4.4)."""

    __slots__ = ("_blank_lines", "_hash", "_line_open", "_open_end")

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._open_end = b""  # the next octets decide whether it counts
        self._blank_lines = 0  # CRLFs not hashed yet: they count when content follows
        self._line_open = False  # content was hashed, its CRLF was not

    def _hash_lines(self, octets: bytes) -> None:
        content, crlfs = _without_last_crlfs(octets)
        if not content:
            self._blank_lines += crlfs
            return
        while self._blank_lines:
            some = min(self._blank_lines, len(_BLANK_LINES) // 2)
            self._hash.update(_BLANK_LINES[: 2 * some])
            self._blank_lines -= some
        self._hash.update(content)
        self._blank_lines = crlfs
        self._line_open = True

    def _digest(self, *, of_no_line: bytes) -> bytes:
        end = self._hash.copy()
        if self._open_end.endswith(b"\r"):  # a bare CR is content
            end.update(b"\r\n" * self._blank_lines + self._open_end + b"\r\n")
        else:
            end.update(b"\r\n" if self._line_open else of_no_line)
        return end.digest()


class BodyHash(_LinesHash):
    """SHA-256 over the relaxed body (RFC 6376 §3.4.4), fed in pieces.

    How the body is cut makes no difference, memory stays constant, and the time is linear whatever the body holds:
    white space is only worked on in pieces that have some to work on.
    """

    __slots__ = ()

    def feed(self, octets: bytes) -> None:
        """The next octets of the body, as they go on the wire before dot-stuffing."""
        piece = self._open_end + octets if self._open_end else octets
        settled = piece[:-1] if piece.endswith(b"\r") else piece
        settled = settled.rstrip(b" \t")
        rest = piece[len(settled) :]
        # " ", CR or " " CR
        self._open_end = (b" " if rest[:1] in (b" ", b"\t") else b"") + (b"\r" if rest.endswith(b"\r") else b"")
        self._hash_lines(_relaxed_lines(settled))

    def digest(self) -> bytes:
        """The 32 octets of ``bh=`` for what was fed so far; trailing empty lines are ignored and a last line
        without CRLF gets one. May be asked more than once, and feeding may go on."""
        return self._digest(of_no_line=b"")


class SimpleBodyHash(_LinesHash):
    """SHA-256 over the simple body (RFC 6376 §3.4.3), for signatures of others; it promises what
    :class:`BodyHash` does."""

    __slots__ = ()

    def feed(self, octets: bytes) -> None:
        """The next octets of the body, as :meth:`BodyHash.feed` takes them."""
        piece = self._open_end + octets if self._open_end else octets
        self._open_end = b"\r" if piece.endswith(b"\r") else b""
        self._hash_lines(piece[:-1] if self._open_end else piece)

    def digest(self) -> bytes:
        """As :meth:`BodyHash.digest`, save that a body without any line counts as one empty line."""
        return self._digest(of_no_line=b"\r\n")


def _relaxed_lines(octets: bytes) -> bytes:
    if b" " not in octets and b"\t" not in octets:  # base64, the bulk of large mail: one fast look and done
        return octets
    octets = _single_spaces(octets)
    return octets.replace(b" \r\n", b"\r\n") if b" \r\n" in octets else octets


def _single_spaces(octets: bytes) -> bytes:
    """Every run of white space as one space. Each pass halves the runs, so a long run costs few passes."""
    if b"\t" in octets:
        octets = octets.replace(b"\t", b" ")
    while b"  " in octets:
        octets = octets.replace(b"  ", b" ")
    return octets


def _without_last_crlfs(octets: bytes) -> tuple[bytes, int]:
    content = octets.rstrip(b"\r\n")
    ends = octets[len(content) :]
    if ends.count(b"\r\n") * 2 == len(ends):
        return content, len(ends) // 2
    # Bare CR or LF among them: content, however odd, and only the pairs behind it are line ends.
    pairs = ends.replace(b"\r\n", b"\0")
    crlfs = len(pairs) - len(pairs.rstrip(b"\0"))
    return octets[: len(octets) - 2 * crlfs], crlfs


def sign(header_octets: bytes, body_hash: bytes, *, keys: Sequence[SigningKey], at: Instant) -> bytes:
    """A complete ``DKIM-Signature`` field for each key, in the order of ``keys``, folded and ended by CRLF, to be put
    before the header section. They cover the same, and none covers another. No keys, no octets.

    ``header_octets`` are the fields as they leave, with CRLF; what stands behind an empty line is not read.
    ``body_hash`` is :meth:`BodyHash.digest`. Raises :class:`Unsignable` unless there is exactly one ``From``.
    """
    fields = relaxed_fields(header_octets)
    if len(fields.get(b"from", ())) != 1:
        raise Unsignable("a message has one From field")
    names = [name for name in SIGNED_FIELDS for _ in range(len(fields.get(name.lower(), ())) + 1)]
    covered = chosen_fields(fields, names)
    said = f"\tt={int(at.timestamp())}; bh={base64.b64encode(body_hash).decode('ascii')};\r\n".encode("ascii")
    said += _folded_names(names) + b"\tb="
    return b"".join([_signature(covered, said, key) for key in keys])


def _signature(covered: bytes, said: bytes, key: SigningKey) -> bytes:
    unsigned = (
        f"DKIM-Signature: v=1; a={key.algorithm.value}; c=relaxed/relaxed;\r\n\td={key.domain}; s={key.selector};\r\n"
    ).encode("ascii") + said
    signature = base64.b64encode(key.sign(signing_input(covered, unsigned)))
    lines = [signature[start : start + _WIDTH - 4] for start in range(0, len(signature), _WIDTH - 4)]
    return unsigned + b"\r\n\t ".join(lines) + b"\r\n"


def _folded_names(names: Iterable[bytes]) -> bytes:
    lines: list[bytes] = []
    line = b"\th="
    for name in names:
        if len(line) + len(name) > _WIDTH:
            lines.append(line)
            line = b"\t "
        line += name + b":"
    lines.append(line[:-1] + b";\r\n")
    return b"\r\n".join(lines)


def relaxed_fields(header_octets: bytes, names: Collection[bytes] = _SIGNED_NAMES) -> dict[bytes, list[bytes]]:
    """The fields of these lower-case names, from the top, each in relaxed form (RFC 6376 §3.4.2) with CRLF.

    Lines that are no field are passed over, as verifiers do.
    """
    unfolded = _unfolded(header_octets)
    fields: dict[bytes, list[bytes]] = {}
    for line in unfolded.split(b"\r\n"):
        if not line:
            break
        name, _, value = line.partition(b":")
        name = name.rstrip(b" ").lower()
        if name in names:
            fields.setdefault(name, []).append(name + b":" + value.strip(b" ") + b"\r\n")
    return fields


def relaxed_field(octets: bytes) -> bytes:
    """One field in relaxed form (RFC 6376 §3.4.2), without CRLF at its end."""
    name, _, value = _unfolded(octets.removesuffix(b"\r\n")).partition(b":")
    return name.rstrip(b" ").lower() + b":" + value.strip(b" ")


def _unfolded(octets: bytes) -> bytes:
    return _single_spaces(octets.replace(b"\t", b" ").replace(b"\r\n ", b" "))


def chosen_fields(fields: Mapping[bytes, list[bytes]], names: Iterable[bytes]) -> bytes:
    """The named fields, of each name the lowest first (RFC 6376 §5.4.2), nothing for a name that ran out.
    ``fields`` has them by lower-case name, from the top, canonical and with CRLF."""
    left = {name: list(found) for name, found in fields.items()}
    return b"".join([left[name].pop() for name in map(bytes.lower, names) if left.get(name)])


def signing_input(covered: bytes, signature: bytes) -> bytes:
    """What is signed (RFC 6376 §3.7): ``covered``, of :func:`chosen_fields`, then ``signature``: the ``DKIM-Signature``
    field whose ``b=`` is empty, relaxed."""
    return covered + relaxed_field(signature)
