"""Version, suite and group that a server chose in a TLS handshake, read from what it sends in clear.

Version and suite stand in the ServerHello (RFC 8446 §4.1.3). The group that the keys are agreed in is there too with
TLS 1.3 (RFC 8446 §4.2.8); TLS 1.2 has it in the ServerKeyExchange (RFC 8422 §5.4), which comes before anything is
encrypted. Nothing is decided by it: it is evidence, and what can't be read is left out.
"""

from __future__ import annotations

from typing import Final

MOST_OCTETS: Final = 128 * 1024  # of a server's first flight that are looked at; OpenSSL allows 100 KiB of certificates

_CHANGE_CIPHER_SPEC, _ALERT, _HANDSHAKE = 20, 21, 22  # record types, RFC 8446 §5.1
_WARNING: Final = b"\x01"  # how an alert begins that ends nothing, RFC 5246 §7.2
_SERVER_HELLO, _CERTIFICATE, _SERVER_KEY_EXCHANGE = 2, 11, 12  # RFC 5246 §7.4
_KEY_SHARE, _SUPPORTED_VERSIONS = 51, 43  # extensions, RFC 8446 §4.2
_NAMED_CURVE: Final = 3  # RFC 8422 §5.4
_RETRY: Final = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")  # RFC 8446 §4.1.3
_FINITE_FIELD_SUITES: Final = frozenset({0xC09E, 0xC09F, 0xC0A2, 0xC0A3, 0xCCAA})  # beside those below 0x0100

VERSIONS: Final = {b"\x03\x03": "TLSv1.2", b"\x03\x04": "TLSv1.3"}  # as OpenSSL writes them
GROUPS: Final = {  # the registry "TLS Supported Groups"
    23: "secp256r1",
    24: "secp384r1",
    25: "secp521r1",
    26: "brainpoolP256r1",
    27: "brainpoolP384r1",
    28: "brainpoolP512r1",
    29: "x25519",
    30: "x448",
    31: "brainpoolP256r1tls13",
    32: "brainpoolP384r1tls13",
    33: "brainpoolP512r1tls13",
    256: "ffdhe2048",
    257: "ffdhe3072",
    258: "ffdhe4096",
    259: "ffdhe6144",
    260: "ffdhe8192",
    512: "MLKEM512",
    513: "MLKEM768",
    514: "MLKEM1024",
    4587: "SecP256r1MLKEM768",
    4588: "X25519MLKEM768",
    4589: "SecP384r1MLKEM1024",
}


class HelloReader:
    """Octets of the server in, however they are cut; what it chose out. Never raises, and keeps little."""

    def __init__(self) -> None:
        self.version = self.group = ""  # empty: not known, or not yet
        self.suite = 0  # its number in the registry "TLS Cipher Suites"; 0 as above
        self.is_done = False
        self._records = bytearray()
        self._messages = bytearray()
        self._taken = 0

    def feed(self, octets: bytes) -> None:
        """What comes after the answer, or after what can't be one, is not kept."""
        if self.is_done:
            return
        self._taken += len(octets)
        self._records += octets
        while not self.is_done and (record := self._next_record()) is not None:
            kind, payload = record
            if kind == _HANDSHAKE:
                self._messages += payload
                self._read_messages()
            elif not self._is_passed_over(kind, payload):
                self.is_done = True
        if self.is_done or self._taken > MOST_OCTETS:
            self.is_done = True
            self._records, self._messages = bytearray(), bytearray()

    def _is_passed_over(self, kind: int, payload: bytes) -> bool:
        """Of what is no handshake: a warning, and what may stand behind a HelloRetryRequest (RFC 8446 §D.4)."""
        if kind == _ALERT:
            return payload.startswith(_WARNING)
        return kind == _CHANGE_CIPHER_SPEC and not self.suite

    def _next_record(self) -> tuple[int, bytes] | None:
        if len(self._records) < 5:
            return None
        end = 5 + int.from_bytes(self._records[3:5])
        if len(self._records) < end:
            return None
        kind, payload = self._records[0], bytes(self._records[5:end])
        del self._records[:end]
        return kind, payload

    def _read_messages(self) -> None:
        while not self.is_done and len(self._messages) >= 4:
            end = 4 + int.from_bytes(self._messages[1:4])
            if len(self._messages) < end:
                return
            kind, body = self._messages[0], bytes(self._messages[4:end])
            del self._messages[:end]
            try:
                self._read(kind, body)
            except IndexError:  # shorter than it says
                self.is_done = True

    def _read(self, kind: int, body: bytes) -> None:
        if kind == _SERVER_HELLO and not self.suite:
            self._read_hello(_Cut(body))
        elif kind == _SERVER_KEY_EXCHANGE and self.suite:
            self.group, self.is_done = _group_of(self.suite, _Cut(body)), True
        elif kind != _CERTIFICATE:
            self.is_done = True  # the end of the flight, or none that is understood

    def _read_hello(self, hello: _Cut) -> None:
        version = hello.take(2)
        random = hello.take(32)
        hello.take(hello.number(1))
        suite = hello.number(2)
        hello.take(1)
        extensions = hello.extensions()
        if random == _RETRY:  # names all of it too, but the answer to it counts
            return
        self.version, self.suite = VERSIONS.get(extensions.get(_SUPPORTED_VERSIONS, version), ""), suite
        if _SUPPORTED_VERSIONS in extensions:  # TLS 1.3; without a share the keys come from an earlier connection
            share = extensions.get(_KEY_SHARE, b"")
            self.group, self.is_done = _name(int.from_bytes(share[:2])) if len(share) > 2 else "", True


class _Cut:
    """Fields from the front of some octets. Raises ``IndexError`` where there are none left."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets

    def take(self, length: int) -> bytes:
        if len(self._octets) < length:
            raise IndexError
        field, self._octets = self._octets[:length], self._octets[length:]
        return field

    def number(self, length: int) -> int:
        return int.from_bytes(self.take(length))

    def extensions(self) -> dict[int, bytes]:
        found: dict[int, bytes] = {}
        rest = _Cut(self.take(self.number(2)) if self._octets else b"")
        while rest._octets:
            kind = rest.number(2)
            found[kind] = rest.take(rest.number(2))
        return found


def _group_of(suite: int, exchange: _Cut) -> str:
    """With finite-field Diffie-Hellman TLS 1.2 names no group, but sends its prime (RFC 5246 §7.4.3)."""
    if suite < 0x0100 or suite in _FINITE_FIELD_SUITES:
        prime = int.from_bytes(exchange.take(exchange.number(2)))
        return f"DHE {prime.bit_length()}"
    return _name(exchange.number(2)) if exchange.number(1) == _NAMED_CURVE else ""


def _name(group: int) -> str:
    return GROUPS.get(group, f"group {group}")
