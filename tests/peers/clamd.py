"""Debian's clamd: a malware scanner that knows one signature."""

from __future__ import annotations

import os
import pwd
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from tests.peers import Peer, debian

SIGNATURE = "Zegel.Test.File.UNOFFICIAL"


def harmless_malware() -> bytes:
    """The test file of EICAR, which every scanner knows and which does nothing; put together here, so that no file of
    this tree is one."""
    pieces = ("X5O!P%@AP[4", "PZX54(P^)7CC)7}", "$EICAR", "-STANDARD-", "ANTIVIRUS-", "TEST-FILE!", "$H+H*")
    return "\\".join((pieces[0], "".join(pieces[1:]))).encode("ascii")


class ClamAv(Peer):
    """Finds :func:`harmless_malware` in whatever is shown to it over TCP at :attr:`ip` and :attr:`port`, and takes
    streams of at most ``most`` octets."""

    def __init__(self, folder: Path, *, most: int = 20_000_000) -> None:
        """``LookupError`` if clamd is not on this machine."""
        root = debian.unpacked("clamav-daemon")
        if root is None:
            raise LookupError("no clamd: python -m tests.peers.debian")
        super().__init__(folder.absolute(), "127.0.0.1")
        self._root = root
        self.socket = self.folder / "socket"
        database = self.folder / "database"
        database.mkdir(exist_ok=True)
        (database / "zegel.ndb").write_text(f"Zegel.Test.File:0:*:{harmless_malware()[:40].hex()}\n")
        (self.folder / "temporary").mkdir(exist_ok=True)
        (self.folder / "clamd.conf").write_text(
            f"""DatabaseDirectory {database}
TemporaryDirectory {self.folder / "temporary"}
LocalSocket {self.socket}
TCPSocket {self.port}
TCPAddr {self.ip}
LogFile {self.folder / "log"}
User {pwd.getpwuid(os.geteuid()).pw_name}
Foreground yes
StreamMaxLength {most}
MaxThreads 4
ConcurrentDatabaseReload no
"""
        )

    def _command(self) -> list[str]:
        return [str(self._root / "usr/sbin/clamd"), f"--config-file={self.folder / 'clamd.conf'}"]

    def _environment(self) -> Mapping[str, str]:
        return {**super()._environment(), "LD_LIBRARY_PATH": debian.library_path(self._root)}

    def _answers(self) -> bool:
        with suppress(OSError), socket.create_connection((self.ip, self.port), timeout=5) as client:
            client.sendall(b"zPING\0")
            return client.recv(16) == b"PONG\0"
        return False

    def log(self) -> str:
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""
