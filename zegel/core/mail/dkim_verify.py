"""DKIM signatures of others (RFC 6376 §6), where an organisation asks for one besides SPF: read, then verified.

Nothing is asked here. :func:`signatures` says whose key is needed, the caller asks the DNS for
:attr:`Signature.key_name` and decides whose signature counts, :class:`BodyHashes` goes along with the body, and
:func:`verify` gives the verdict. Whatever strangers wrote, into the message or into the DNS, nothing here raises.
What the standard leaves to the verifier is decided against the signature: it opens a door here, and a message whose
signature doesn't count is one that has none (RFC 6376 §6.1).
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from itertools import islice
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from zegel.core.clock import Duration, Instant
from zegel.core.mail.address import MAX_DOMAIN, Domain
from zegel.core.mail.dkim import (
    Algorithm,
    BodyHash,
    SimpleBodyHash,
    chosen_fields,
    relaxed_field,
    relaxed_fields,
)
from zegel.core.mail.fields import Field, HeaderSection

MAX_SIGNATURES: Final = 5  # RFC 6376 §6.1: each costs a question to the DNS and a verification
DRIFT: Final[Duration] = timedelta(hours=1)  # how far a signer's clock may be ahead of ours (RFC 6376 §3.5, t=)
RSA_VERIFIED: Final = range(1024, 4096 + 1)  # bits that a verifier must take (RFC 8301 §3.2); fewer must not count

_LOOKED_AT: Final = 20  # fields; a message with more of them is not searched through
_MAX_NAME: Final = 253  # characters that a name in the DNS can have

_BLANK: Final = rb"(?:(?:\r\n)?[ \t])"  # a piece of FWS, RFC 6376 §2.8
_WORD: Final = rb"[!-:<-~\x80-\xff]++"  # tval of RFC 6376 §3.2, UTF-8 too (RFC 8616 §5)
_TAG: Final = re.compile(  # tag-spec of RFC 6376 §3.2
    rb"%(blank)b*(?P<name>[A-Za-z][A-Za-z0-9_]*+)%(blank)b*="
    rb"(?P<room>%(blank)b*(?P<value>(?:%(word)b(?:%(blank)b+%(word)b)*)?)%(blank)b*)(?:;|\Z)"
    % {b"blank": _BLANK, b"word": _WORD}
)
_NOTHING: Final = re.compile(_BLANK + rb"*")
_SECONDS: Final = re.compile(rb"[0-9]{1,12}")  # RFC 6376 §3.5, t= and x=
_FIELD_NAME: Final = re.compile(rb"[!-9<-~]+")  # RFC 5322 §2.2, less the semicolon
_QUOTED: Final = re.compile(rb"(?:[^=]++|=[0-9A-Fa-f]{2})*")  # RFC 6376 §2.11, without its white space
_HEX_OCTET: Final = re.compile(rb"=([0-9A-Fa-f]{2})")


class Canonicalisation(Enum):
    """What is forgiven on the way (RFC 6376 §3.4): a name in ``c=``."""

    SIMPLE = "simple"
    RELAXED = "relaxed"


class Verdict(Enum):
    """What became of one signature. The last three are about the key record, whatever the message holds."""

    VALID = "valid"
    BODY_CHANGED = "body changed"  # this is not the body that was signed
    HEADER_CHANGED = "header changed"  # a signed field is another or one more, or this key didn't sign it
    KEY_REVOKED = "key revoked"  # RFC 6376 §3.6.1: p= is empty
    KEY_IN_TEST = "key in test"  # RFC 6376 §3.6.1: with t=y the message counts as unsigned
    KEY_UNUSABLE = "key unusable"  # no key record, or not one for this signature


@dataclass(frozen=True, slots=True)
class Signature:
    """One ``DKIM-Signature`` field that says all it must; whether it is true, :func:`verify` tells."""

    domain: Domain  # d=, who answers for the message
    selector: str  # s=, in lower-case A-labels
    algorithm: Algorithm  # a=
    header: Canonicalisation  # c=, before the slash
    body: Canonicalisation  # c=, behind it
    names: tuple[bytes, ...]  # h=, in lower case; a name may be there more often than its field
    agent: Domain  # the domain of i=: ``domain`` or below it
    body_hash: bytes  # bh=
    octets: bytes  # b=
    unsigned: bytes  # the field itself, the value of b= and its final CRLF left out (RFC 6376 §3.7)
    position: int  # which field of its section it is

    @property
    def key_name(self) -> str:
        """Where the TXT record with the key is (RFC 6376 §3.6.2.1), as it can be asked for."""
        return f"{self.selector}._domainkey.{self.domain}"


class BodyHashes:
    """The body hashes of several canonicalisations in one pass, fed in pieces as :class:`BodyHash` is."""

    __slots__ = ("_hashes",)

    def __init__(self, canonicalisations: Collection[Canonicalisation]) -> None:
        """Costs one SHA-256 for each that is asked for, once."""
        self._hashes = {
            one: SimpleBodyHash() if one is Canonicalisation.SIMPLE else BodyHash() for one in {*canonicalisations}
        }

    def feed(self, octets: bytes) -> None:
        """The next octets of the body."""
        for one in self._hashes.values():
            one.feed(octets)

    def digest(self, which: Canonicalisation) -> bytes:
        """The 32 octets for what was fed so far; ``KeyError`` for one that wasn't asked for."""
        return self._hashes[which].digest()


# --- which signatures are worth a question --------------------------------------------------------------------------


def signatures(section: HeaderSection, *, now: Instant) -> tuple[Signature, ...]:
    """The signatures that could count, in their order, at most :data:`MAX_SIGNATURES` of the first twenty fields.

    Left out without a word, as RFC 6376 §6.1.1 has it: what is malformed, of another version, of an unknown or
    broken algorithm (RFC 8301 §3.1), expired or from the future, what doesn't cover ``From`` or speaks for another
    domain than its own. Also left out: what covers the body only in part (``l=``, RFC 6376 §8.2). There are none on
    a message without exactly one ``From``, for they would vouch for nobody in particular (RFC 6376 §8.15).
    """
    if section.count("From") != 1:
        return ()
    fields = [(position, field) for position, field in enumerate(section) if field.key == "dkim-signature"]
    read = (_signature(field, position, now) for position, field in fields[:_LOOKED_AT])
    return tuple(islice((one for one in read if one is not None), MAX_SIGNATURES))


def _signature(field: Field, position: int, now: Instant) -> Signature | None:
    begin = len(field.name) + 1
    raw = field.raw.removesuffix(b"\r\n")
    try:
        tags = _tags(raw[begin:])
        _refuse_out_of_date(tags, now)
        return _read(tags, raw[: begin + tags.room[0]] + raw[begin + tags.room[1] :], position)
    except ValueError:
        return None


def _read(tags: _Tags, unsigned: bytes, position: int) -> Signature:
    """Raises ``ValueError`` for what RFC 6376 §3.5 and §6.1.1 don't allow."""
    if tags["v"] != b"1" or "l" in tags or b"dns/txt" not in _listed(tags.get("q", b"dns/txt")):
        raise ValueError("another version, a part of the body only, or no key in the DNS")
    algorithm = Algorithm(tags["a"].decode())  # RFC 8301 §3.1: rsa-sha1 is not among them
    header, slash, body = tags.get("c", b"simple/simple").decode().partition("/")
    names = tuple(name.lower() for name in _listed(tags["h"]))
    if not all(map(_FIELD_NAME.fullmatch, names)) or b"from" not in names:
        raise ValueError("From is not covered")
    body_hash = _base64(tags["bh"])
    if len(body_hash) != hashlib.sha256().digest_size:
        raise ValueError("not a SHA-256")
    domain = _domain(tags["d"])
    signature = Signature(
        domain=domain,
        selector=_domain(tags["s"] + b"." + tags["d"]).ascii.removesuffix(f".{domain}"),
        algorithm=algorithm,
        header=Canonicalisation(header),
        body=Canonicalisation(body) if slash else Canonicalisation.SIMPLE,
        names=names,
        agent=_agent(tags["i"]) if "i" in tags else domain,
        body_hash=body_hash,
        octets=_base64(tags["b"]),
        unsigned=unsigned,
        position=position,
    )
    if not signature.agent.is_within(domain) or len(signature.key_name) > _MAX_NAME:
        raise ValueError("speaks for another domain, or its key can't be anywhere")
    return signature


def _refuse_out_of_date(tags: _Tags, now: Instant) -> None:
    made, expires = (int(_matched(_SECONDS, tags[tag])) if tag in tags else None for tag in ("t", "x"))
    if made is not None and made > (now + DRIFT).timestamp():
        raise ValueError("from the future")
    if expires is not None and (expires < now.timestamp() or (made is not None and expires <= made)):
        raise ValueError("expired")


def _matched(pattern: re.Pattern[bytes], octets: bytes) -> bytes:
    if not pattern.fullmatch(octets):
        raise ValueError("not in its form")
    return octets


def _listed(value: bytes) -> list[bytes]:
    """A value with colons in it, white space around them left out."""
    return [one.strip(b" \t\r\n") for one in value.split(b":")]


def _base64(value: bytes) -> bytes:
    """White space may be anywhere (RFC 6376 §2.10); all else is strict. Raises ``ValueError``, also for nothing."""
    octets = base64.b64decode(value.translate(None, b" \t\r\n"), validate=True)
    if not octets:
        raise ValueError("empty")
    return octets


def _domain(octets: bytes) -> Domain:
    """A-labels or U-labels (RFC 8616 §5). Raises ``ValueError``."""
    text = octets.decode()
    if len(octets) > MAX_DOMAIN or text.strip().rstrip(".") != text:
        raise ValueError("not a domain")
    return Domain.parse(text)


def _agent(value: bytes) -> Domain:
    """The domain of ``i=``; what stands before its only ``@`` names nobody that the gateway knows, so it isn't read."""
    quoted = _matched(_QUOTED, value.translate(None, b" \t\r\n"))
    octets = _HEX_OCTET.sub(lambda found: bytes.fromhex(found[1].decode()), quoted)
    _, at, domain = octets.partition(b"@")
    if not at:
        raise ValueError("i= is an address, or the end of one")
    return _domain(domain)


# --- whether they are true ------------------------------------------------------------------------------------------


def verify(signature: Signature, section: HeaderSection, body_hash: bytes, record: str) -> Verdict:
    """The verdict on a signature that :func:`signatures` found in this very section, before any field was edited.

    ``body_hash`` is that of the canonicalisation ``signature.body``. ``record`` is the TXT record at
    ``signature.key_name``, its strings joined; there should be one (RFC 6376 §3.6.2.2), and of several each may be
    tried (§6.1.2). Never raises.
    """
    key = _key(signature, record)
    if isinstance(key, Verdict):
        return key
    if body_hash != signature.body_hash:
        return Verdict.BODY_CHANGED
    if not _is_signed(_signed_octets(signature, section), signature.octets, key):
        return Verdict.HEADER_CHANGED
    return Verdict.VALID


PublicKey = rsa.RSAPublicKey | ed25519.Ed25519PublicKey


def _is_signed(octets: bytes, signature: bytes, key: PublicKey) -> bool:
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, octets, padding.PKCS1v15(), hashes.SHA256())
        else:
            key.verify(signature, hashlib.sha256(octets).digest())  # RFC 8463 §3
    except InvalidSignature:
        return False
    return True


def _signed_octets(signature: Signature, section: HeaderSection) -> bytes:
    """RFC 6376 §3.7. Other signatures may be covered, the one that is verified never is (§3.5, h=)."""
    others = [field for position, field in enumerate(section) if position != signature.position]
    names = frozenset(signature.names)
    match signature.header:
        case Canonicalisation.RELAXED:
            fields = relaxed_fields(HeaderSection(tuple(others)).encode(), names)
            return chosen_fields(fields, signature.names) + relaxed_field(signature.unsigned)
        case Canonicalisation.SIMPLE:
            fields = {}
            for field in others:
                if (name := field.key.encode()) in names:
                    fields.setdefault(name, []).append(field.raw)
            return chosen_fields(fields, signature.names) + signature.unsigned


def _key(signature: Signature, record: str) -> PublicKey | Verdict:
    """The key in a record (RFC 6376 §3.6.1) that may verify this signature, or why it may not (§6.1.2)."""
    try:
        tags = _tags(record.encode())
        if "v" in tags and (tags["v"] != b"DKIM1" or not tags.begins_with("v")):
            return Verdict.KEY_UNUSABLE
        if not tags["p"]:
            return Verdict.KEY_REVOKED
        flags = _listed(tags.get("t", b""))
        if (
            b"sha256" not in _listed(tags.get("h", b"sha256"))
            or not {b"*", b"email"} & {*_listed(tags.get("s", b"*"))}
            or (b"s" in flags and signature.agent != signature.domain)
        ):
            return Verdict.KEY_UNUSABLE
        key = _public_key(signature.algorithm, tags.get("k", b"rsa"), _base64(tags["p"]))
    except (ValueError, UnsupportedAlgorithm):
        return Verdict.KEY_UNUSABLE
    return Verdict.KEY_IN_TEST if b"y" in flags else key


def _public_key(algorithm: Algorithm, kind: bytes, octets: bytes) -> PublicKey:
    """Raises ``ValueError`` or ``UnsupportedAlgorithm`` for what is no key, or none for this algorithm."""
    match algorithm, kind:
        case Algorithm.RSA_SHA256, b"rsa":
            key = load_der_public_key(octets)
            if isinstance(key, rsa.RSAPublicKey) and key.key_size in RSA_VERIFIED:
                return key
        case Algorithm.ED25519_SHA256, b"ed25519":
            return ed25519.Ed25519PublicKey.from_public_bytes(octets)  # RFC 8463 §4: the bare 32 octets
    raise ValueError("not a key for this algorithm")


# --- tag lists ------------------------------------------------------------------------------------------------------


class _Tags:
    """A tag list (RFC 6376 §3.2): values by name, as written less the white space around them. A name that is not
    there raises ``ValueError`` (:meth:`get` doesn't)."""

    def __init__(self, values: dict[str, bytes], room: tuple[int, int]) -> None:
        self._values = values
        self.room = room  # from where to where the value of b= stands, with the white space around it

    def __getitem__(self, name: str) -> bytes:
        if name not in self._values:
            raise ValueError("a tag is missing")
        return self._values[name]

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def get(self, name: str, default: bytes) -> bytes:
        """An empty value is not the default (RFC 6376 §3.2)."""
        return self._values.get(name, default)

    def begins_with(self, name: str) -> bool:
        return next(iter(self._values), None) == name


def _tags(octets: bytes) -> _Tags:
    """Reads a tag list. Raises ``ValueError`` for what is none, also where a name occurs twice (RFC 6376 §3.2);
    white space behind the last semicolon is forgiven."""
    values: dict[str, bytes] = {}
    room = (0, 0)
    position = 0
    while not _NOTHING.fullmatch(octets, position):
        found = _TAG.match(octets, position)
        if found is None or (name := found["name"].decode()) in values:
            raise ValueError("not a tag list")
        values[name] = found["value"]
        if name == "b":
            room = found.span("room")
        position = found.end()
    return _Tags(values, room)
