"""Wrap to the gateway: whoever holds the sealing key can close, only the opening key opens.

HPKE (RFC 9180) in base mode with the hybrid KEM MLKEM768_X25519, so that mail recorded today
stays closed when X25519 falls. The context of every wrapped value is bound through HPKE's ``info``.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, MLKEM768X25519PrivateKey, MLKEM768X25519PublicKey, Suite
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from zegel.core.secret import Secret

SUITE: Final = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
VERSION: Final = 1
GROUP_VERSION: Final = 2
KEY_ID_LENGTH: Final = 8
_HEADER: Final = 1 + KEY_ID_LENGTH
_MLKEM_PUBLIC: Final = 1184  # FIPS 203, table 3
_MLKEM_SEED: Final = 64
_X25519: Final = 32
_ENCAPSULATED: Final = 1088 + _X25519 + 32 + 16  # FIPS 203 table 3, X25519 key, group key, tag
_GROUP_HEAD: Final = _HEADER + _ENCAPSULATED
_NONCE: Final = 12


class CannotOpen(Exception):
    """Wrong key, wrong context, or not what was written. Which of them is not told."""


@dataclass(frozen=True, slots=True)
class SealingKey:
    """The public half: closes, cannot open. ``key_id`` says which opening key fits."""

    key_id: bytes
    public: MLKEM768X25519PublicKey

    @classmethod
    def from_bytes(cls, octets: bytes) -> SealingKey:
        """Reads :meth:`OpeningKey.sealing_bytes`; raises ``ValueError`` on anything else."""
        if len(octets) != _MLKEM_PUBLIC + _X25519:
            raise ValueError("not a sealing key")
        public = MLKEM768X25519PublicKey(
            MLKEM768PublicKey.from_public_bytes(octets[:_MLKEM_PUBLIC]),
            X25519PublicKey.from_public_bytes(octets[_MLKEM_PUBLIC:]),
        )
        return cls(_key_id(octets), public)


@dataclass(frozen=True, slots=True)
class OpeningKey:
    """The private half."""

    key_id: bytes
    private: MLKEM768X25519PrivateKey
    _seed: Secret[bytes]

    @classmethod
    def generate(cls) -> OpeningKey:
        """A new key from the operating system's randomness."""
        mlkem, x25519 = MLKEM768PrivateKey.generate(), X25519PrivateKey.generate()
        return cls.from_bytes(Secret(mlkem.private_bytes_raw() + x25519.private_bytes_raw()))

    @classmethod
    def from_bytes(cls, seed: Secret[bytes]) -> OpeningKey:
        """Reads :meth:`to_bytes`; raises ``ValueError`` on anything else."""
        octets = seed.reveal()
        if len(octets) != _MLKEM_SEED + _X25519:
            raise ValueError("not an opening key")
        mlkem = MLKEM768PrivateKey.from_seed_bytes(octets[:_MLKEM_SEED])
        x25519 = X25519PrivateKey.from_private_bytes(octets[_MLKEM_SEED:])
        public = _public_bytes(mlkem.public_key(), x25519.public_key())
        return cls(_key_id(public), MLKEM768X25519PrivateKey(mlkem, x25519), seed)

    def to_bytes(self) -> Secret[bytes]:
        """96 octets: the ML-KEM seed, then the X25519 scalar."""
        return self._seed

    def sealing_bytes(self) -> bytes:
        """The public half, for the file that the submission role reads."""
        octets = self._seed.reveal()
        mlkem = MLKEM768PrivateKey.from_seed_bytes(octets[:_MLKEM_SEED])
        x25519 = X25519PrivateKey.from_private_bytes(octets[_MLKEM_SEED:])
        return _public_bytes(mlkem.public_key(), x25519.public_key())

    def sealing_key(self) -> SealingKey:
        """The public half as a key."""
        return SealingKey.from_bytes(self.sealing_bytes())


def wrap(octets: Secret[bytes], *, to: SealingKey, context: str) -> bytes:
    """Closes ``octets`` so that only the opening key opens them, and only under the same ``context``.

    Layout: version (1), key id (8), HPKE encapsulation and ciphertext.
    """
    sealed = SUITE.encrypt(octets.reveal(), to.public, info=_info(context))
    return bytes((VERSION,)) + to.key_id + sealed


class Group:
    """Closes several values at the price of one :func:`wrap`: a group key, wrapped once, closes each of them.

    Who reads the memory of this process while it holds a group can open the values of that group, and no others: so a
    group lives for seconds, where the opening key may not be (:class:`zegel.journey.custody.seal.Wrapper`, ADR-28).
    Every value stands for itself: it carries the wrapped group key, and opens without the others.
    """

    __slots__ = ("_aead", "_head")

    def __init__(self, key: Secret[bytes], *, to: SealingKey) -> None:
        """``key``: 32 octets of chance, never used before."""
        self._aead = AESGCM(key.reveal())
        self._head = bytes((GROUP_VERSION,)) + to.key_id + SUITE.encrypt(key.reveal(), to.public, info=_GROUP_INFO)

    def wrap(self, octets: Secret[bytes], *, context: str, nonce: bytes) -> bytes:
        """As :func:`wrap`. ``nonce``: 12 octets of chance.

        Layout: version (1), key id (8), HPKE encapsulation and wrapped group key, nonce (12), ciphertext.
        """
        return self._head + nonce + self._aead.encrypt(nonce, octets.reveal(), _group_aad(context))


def unwrap(sealed: bytes, *, with_key: OpeningKey, context: str) -> Secret[bytes]:
    """Opens what :func:`wrap` or a :class:`Group` closed; raises :class:`CannotOpen`."""
    if sealed[:1] == bytes((GROUP_VERSION,)):
        return _unwrap_of_group(sealed, with_key, context)
    if len(sealed) < _HEADER or sealed[0] != VERSION or sealed[1:_HEADER] != with_key.key_id:
        raise CannotOpen("not wrapped to this key")
    try:
        return Secret(SUITE.decrypt(memoryview(sealed)[_HEADER:], with_key.private, info=_info(context)))
    except (InvalidTag, ValueError) as cause:
        raise CannotOpen("wrong key, wrong context or damaged") from cause


def _unwrap_of_group(sealed: bytes, with_key: OpeningKey, context: str) -> Secret[bytes]:
    behind = _GROUP_HEAD + _NONCE
    if len(sealed) < behind or sealed[1:_HEADER] != with_key.key_id:
        raise CannotOpen("not wrapped to this key")
    try:
        aead = _group_of(sealed[_HEADER:_GROUP_HEAD], with_key)
        return Secret(aead.decrypt(sealed[_GROUP_HEAD:behind], sealed[behind:], _group_aad(context)))
    except (InvalidTag, ValueError) as cause:
        raise CannotOpen("wrong key, wrong context or damaged") from cause


@lru_cache(64)  # mail that came together is mostly opened together
def _group_of(head: bytes, with_key: OpeningKey) -> AESGCM:
    return AESGCM(SUITE.decrypt(head, with_key.private, info=_GROUP_INFO))


def key_id_of(sealed: bytes) -> bytes:
    """Which opening key is needed; for rotation."""
    return sealed[1:_HEADER]


_GROUP_INFO: Final = b"zegel/wrap/v2"


def _group_aad(context: str) -> bytes:
    return b"zegel/wrap/v2/" + context.encode()


def _info(context: str) -> bytes:
    return b"zegel/wrap/v1/" + context.encode()


def _public_bytes(mlkem: MLKEM768PublicKey, x25519: X25519PublicKey) -> bytes:
    return mlkem.public_bytes_raw() + x25519.public_bytes(Encoding.Raw, PublicFormat.Raw)


def _key_id(public: bytes) -> bytes:
    return hashlib.sha256(b"zegel/key-id/v1/" + public).digest()[:KEY_ID_LENGTH]
