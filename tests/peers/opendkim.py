"""Debian's opendkim: a milter that signs what a Postfix takes, or verifies it."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.peers import Peer, debian


class _Milter(Peer):
    """:attr:`milter` is what Postfix calls it."""

    def __init__(self, folder: Path, settings: str) -> None:
        root = debian.unpacked("opendkim")
        if root is None:
            raise LookupError("no opendkim: python -m tests.peers.debian")
        super().__init__(folder.absolute(), "127.0.0.1")
        self.folder.chmod(0o711)  # a Postfix comes by with another account
        self._root = root
        self._socket = self.folder / "socket"  # TCP would wait for late acknowledgements, message by message
        (self.folder / "opendkim.conf").write_text(
            f"{settings}Socket local:{self._socket}\nUMask 000\nBackground no\nSyslog no\n"
        )

    @property
    def milter(self) -> str:
        """As postconf(5) writes it (smtpd_milters)."""
        return f"unix:{self._socket}"

    def _command(self) -> list[str]:
        return [str(self._root / "usr/sbin/opendkim"), "-f", "-x", str(self.folder / "opendkim.conf")]

    def _environment(self) -> Mapping[str, str]:
        return {**super()._environment(), "LD_LIBRARY_PATH": debian.library_path(self._root)}

    def _answers(self) -> bool:
        with suppress(OSError), socket.socket(socket.AF_UNIX) as client:
            client.connect(str(self._socket))
            return True
        return False

    def log(self) -> str:
        return ""


class OpenDkim(_Milter):
    """Signs all mail of ``domain`` that a client on loopback hands in: rsa-sha256, relaxed/relaxed, a fresh key of 2048
    bits."""

    def __init__(self, folder: Path, *, domain: str, selector: str) -> None:
        """``LookupError`` if opendkim is not on this machine."""
        key = folder.absolute() / "key"
        super().__init__(
            folder,
            f"""Mode s
Domain {domain}
Selector {selector}
KeyFile {key}
RequireSafeKeys no
SignatureAlgorithm rsa-sha256
Canonicalization relaxed/relaxed
""",
        )
        private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        key.touch(mode=0o600)
        key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


class OpenDkimVerifier(_Milter):
    """Says of the signatures of all mail what it thinks of them, in an ``Authentication-Results`` field of its own
    (RFC 8601). It knows the key records ``records`` (name to text) and no others."""

    def __init__(self, folder: Path, *, records: Mapping[str, str]) -> None:
        """``LookupError`` if opendkim is not on this machine."""
        keys = folder.absolute() / "records"
        super().__init__(
            folder,
            f"""Mode v
TestPublicKeys {keys}
InternalHosts 192.0.2.1
AlwaysAddARHeader yes
AuthservID opendkim.test
""",
        )
        keys.write_text("".join(f"{name} {text}\n" for name, text in records.items()))
