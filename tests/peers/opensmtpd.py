"""A real OpenSMTPD: a mail server that hands its mail to the gateway."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

from tests.peers.apart import Account, Apart

ACCOUNT: Final = Account("opensmtpd", 9)
QUEUE_ACCOUNT: Final = Account("opensmtpq", 38)


class OpenSmtpd(Apart):
    """Does what ``smtpd.conf`` among its ``files`` says, which must make it listen on its port of loopback."""

    package = "opensmtpd"
    accounts = (ACCOUNT, QUEUE_ACCOUNT)

    def __init__(
        self,
        folder: Path,
        files: Mapping[str, str],
        *,
        secrets: Collection[str] = (),
        name: str = "mail.test",
        ip: str = "127.0.0.1",
        port: int = 0,
        hosts: Mapping[str, str] | None = None,
        trusts: Path | None = None,
    ) -> None:
        """``LookupError`` if OpenSMTPD is not on this machine."""
        super().__init__(folder, files, secrets=secrets, name=name, ip=ip, port=port, hosts=hosts, trusts=trusts)
        self._spool = self._place("var/spool/smtpd", mode=0o711)
        self._place("var/lib/opensmtpd/empty")

    def _program(self) -> list[str]:
        return ["smtpd", "-d", "-v"]

    def log(self) -> str:
        output = self.folder / "output"
        return output.read_text(errors="replace") if output.exists() else ""

    def queue_empty(self) -> bool:
        return not any(path.is_file() for part in ("queue", "incoming") for path in (self._spool / part).rglob("*"))
