"""RFC 6376 written down step by step, as slow as it likes and sharing no code with the product: a signer that signs
whatever ``DKIM-Signature`` field it is given, and what a listener does with the verifier."""

from __future__ import annotations

import base64
import functools
import hashlib
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from zegel.core.clock import Instant
from zegel.core.mail.dkim_verify import BodyHashes, Verdict, signatures, verify
from zegel.core.mail.fields import HeaderSection

SIMPLE: Final = "simple"
RELAXED: Final = "relaxed"
PAIRS: Final = list(itertools.product([SIMPLE, RELAXED], repeat=2))

PrivateKey = rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


def canonical_body(which: str, body: bytes) -> bytes:
    """RFC 6376 §3.4.3 and §3.4.4, line by line."""
    lines = body.split(b"\r\n")
    if which == RELAXED:
        lines = [re.sub(rb"[ \t]+", b" ", line).rstrip(b" ") for line in lines]
    while lines and not lines[-1]:
        lines.pop()
    if not lines and which == SIMPLE:
        return b"\r\n"
    return b"".join(line + b"\r\n" for line in lines)


def canonical_field(which: str, raw: bytes) -> bytes:
    """RFC 6376 §3.4.1 and §3.4.2, step by step."""
    if which == SIMPLE:
        return raw
    name, _, value = raw.partition(b":")
    value = re.sub(rb"\r\n(?=[ \t])", b"", value)
    value = re.sub(rb"[ \t]+", b" ", value)
    return name.lower().rstrip(b" \t") + b":" + re.sub(rb" ?\r\n\Z", b"\r\n", value).lstrip(b" ")


def fields_of(header: bytes) -> list[bytes]:
    """The fields of a header section, each with its folding and CRLF."""
    return re.findall(rb"[^ \t\r][^\r]*\r\n(?:[ \t][^\r]*\r\n)*", header)


def chosen(which: str, fields: Sequence[bytes], names: Iterable[str]) -> bytes:
    """RFC 6376 §5.4.2: of each name the lowest first, each field once."""
    left = list(fields)
    octets = b""
    for name in names:
        for position in reversed(range(len(left))):
            if left[position].partition(b":")[0].rstrip().lower() == name.lower().encode():
                octets += canonical_field(which, left.pop(position))
                break
    return octets


@functools.cache
def private_key(algorithm: str) -> PrivateKey:
    """One key of each kind for all tests."""
    return (
        rsa.generate_private_key(65537, 2048)
        if algorithm == "rsa-sha256"
        else ed25519.Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"zegel").digest())
    )


def record_of(private: PrivateKey, **tags: str) -> str:
    """The key record of RFC 6376 §3.6.1 and RFC 8463 §4, with more tags before ``p=``."""
    public = private.public_key()
    if isinstance(public, rsa.RSAPublicKey):
        kind, octets = "rsa", public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    else:
        kind, octets = "ed25519", public.public_bytes(Encoding.Raw, PublicFormat.Raw)
    all_tags = {"v": "DKIM1", "k": kind} | tags | {"p": base64.b64encode(octets).decode()}
    return "; ".join(f"{name}={value}" for name, value in all_tags.items())


@dataclass(frozen=True)
class Draft:
    """A signature to be made. ``tags`` is the text behind ``DKIM-Signature:``, with ``{bh}`` and ``{b}`` in it;
    the other values are what it means, or would mean if it were right."""

    tags: str
    algorithm: str = "ed25519-sha256"
    header: str = RELAXED
    body: str = RELAXED
    names: tuple[str, ...] = ("from", "to", "subject")
    name: str = "DKIM-Signature"
    fold_every: int = 0  # characters of the signature between two foldings
    key: PrivateKey | None = field(default=None, repr=False)

    def sign(self, header: bytes, body: bytes) -> bytes:
        """The ``DKIM-Signature`` field for this message (RFC 6376 §3.7), to be put on top of it."""
        body_hash = hashlib.sha256(canonical_body(self.body, body)).digest()
        text = f"{self.name}:{self.tags}\r\n".replace("{bh}", base64.b64encode(body_hash).decode())
        unsigned = re.sub(r"[ \t\r\n]*\{b\}[ \t\r\n]*(?=;|\Z)", "", text).encode()
        octets = chosen(self.header, fields_of(header), self.names)
        octets += canonical_field(self.header, unsigned.removesuffix(b"\r\n") + b"\r\n").removesuffix(b"\r\n")
        signature = base64.b64encode(self._signed(octets)).decode()
        if self.fold_every:
            pieces = [signature[at : at + self.fold_every] for at in range(0, len(signature), self.fold_every)]
            signature = "\r\n\t".join(pieces)
        return text.replace("{b}", signature).encode()

    def _signed(self, octets: bytes) -> bytes:
        private = self.key or private_key(self.algorithm)
        if isinstance(private, rsa.RSAPrivateKey):
            return private.sign(octets, padding.PKCS1v15(), hashes.SHA256())
        return private.sign(hashlib.sha256(octets).digest())


def verdicts(
    message: bytes, records: Mapping[str, str], *, now: Instant, cuts: Iterable[int] = ()
) -> list[tuple[str, Verdict]]:
    """What the verifier says of each signature that it finds worth a question, with its domain; the body arrives in
    pieces. A name that has no record is not among them."""
    header, _, body = message.partition(b"\r\n\r\n")
    section = HeaderSection.parse(header + b"\r\n")
    found = signatures(section, now=now)
    body_hashes = BodyHashes({one.body for one in found})
    edges = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    for start, end in itertools.pairwise(edges):
        body_hashes.feed(body[start:end])
    return [
        (str(one.domain), verify(one, section, body_hashes.digest(one.body), records[one.key_name]))
        for one in found
        if one.key_name in records
    ]
