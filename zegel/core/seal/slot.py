"""The key hierarchy: slot → conversation key → message key → stream key.

A *slot* holds a conversation key for one reader. The gateway's slot is :func:`wrap.wrap`; a link's slot is
closed with two halves, the secret in the recipient's mailbox and the share that the server keeps.
Under the conversation key each message key is enclosed; a message key is shared by the conversations that
one submission became (To/Cc together, each Bcc alone), so that content is stored once.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from zegel.core.seal.wrap import CannotOpen
from zegel.core.secret import Secret

KEY_LENGTH: Final = 32
LINK_SECRET_LENGTH: Final = 32  # 256 bits; P13 asks 128
_VERSION: Final = b"\x01"
_NONCE: Final = bytes(12)


def derive(key: Secret[bytes], purpose: str, *, salt: bytes | None = None) -> Secret[bytes]:
    """A key for one purpose (RFC 5869, SHA-256); knowing it tells nothing of the key it came from."""
    kdf = HKDF(SHA256(), KEY_LENGTH, salt, b"zegel/v1/" + purpose.encode())
    return Secret(kdf.derive(key.reveal()))


def enclose(inner: Secret[bytes], key: Secret[bytes], *, context: str, nonce: bytes) -> bytes:
    """Closes a key or another short value under ``key``. ``nonce``: 12 octets of chance, never used twice."""
    sealed = AESGCM(key.reveal()).encrypt(nonce, inner.reveal(), _aad(context))
    return _VERSION + nonce + sealed


def disclose(enclosed: bytes, key: Secret[bytes], *, context: str) -> Secret[bytes]:
    """Opens what :func:`enclose` closed; raises :class:`CannotOpen`."""
    if enclosed[:1] != _VERSION or len(enclosed) < 13 + 16:
        raise CannotOpen("not an enclosed value")
    try:
        return Secret(AESGCM(key.reveal()).decrypt(enclosed[1:13], enclosed[13:], _aad(context)))
    except InvalidTag as cause:
        raise CannotOpen("wrong key, wrong context or damaged") from cause


def link_slot(conversation_key: Secret[bytes], *, secret: Secret[bytes], share: Secret[bytes], context: str) -> bytes:
    """The slot that opens with the link's secret *and* the server's share; neither half alone opens anything."""
    return enclose(conversation_key, _link_key(secret, share), context=context, nonce=_NONCE)


def open_link_slot(slot: bytes, *, secret: Secret[bytes], share: Secret[bytes], context: str) -> Secret[bytes]:
    """The conversation key; raises :class:`CannotOpen`."""
    return disclose(slot, _link_key(secret, share), context=context)


def link_hash(secret: Secret[bytes]) -> bytes:
    """All that the server keeps of a delivered link: enough to recognise it, useless to make it (P13)."""
    return hashlib.sha256(b"zegel/link/v1/" + secret.reveal()).digest()


def same_link(secret: Secret[bytes], known: bytes) -> bool:
    """Constant time."""
    return hmac.compare_digest(link_hash(secret), known)


def _link_key(secret: Secret[bytes], share: Secret[bytes]) -> Secret[bytes]:
    # Each secret and share is used for one slot only, so the zero nonce in link_slot never meets the same key twice.
    return derive(secret, "link", salt=share.reveal())


def _aad(context: str) -> bytes:
    return b"zegel/v1/" + context.encode()
