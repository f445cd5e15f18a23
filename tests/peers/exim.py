"""A real Exim, as Debian sets it up: a mail server that hands its mail to the gateway."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final, Self

from tests.peers.apart import Account, Apart

ACCOUNT: Final = Account("Debian-exim", 9)


class Exim(Apart):
    """Listens on loopback; all else is in its configuration.

    - With ``exim4/exim4.conf`` among the ``files`` that is the whole configuration; without, it is the package's, of
      which ``exim4/update-exim4.conf.conf`` says how it is put together (update-exim4.conf(8)).
    - It takes the addresses that its configuration calls its own for itself, and sends nothing there.
    - Deferred mail is looked at every second, and tried again when the configuration says so.
    """

    package = "exim4-daemon-light"
    accounts = (ACCOUNT,)

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
        """``LookupError`` if Exim is not on this machine."""
        super().__init__(folder, files, secrets=secrets, name=name, ip=ip, port=port, hosts=hosts, trusts=trusts)
        self._spool = self._place("var/spool/exim4", ACCOUNT, 0o750)
        self._logs = self._place("var/log/exim4", ACCOUNT, 0o750)
        self._place("var/lib/exim4")
        self._place("run/exim4", ACCOUNT)

    def start(self) -> Self:
        """As every peer; what is wrong with the configuration is in :class:`tests.peers.PeerDidNotStart`."""
        self._run("update-exim4.conf")  # does nothing where there is an exim4.conf
        return super().start()

    def _program(self) -> list[str]:
        return ["exim4", "-bdf", "-q1s", "-oX", f"[{self.ip}]:{self.port}"]

    def log(self) -> str:
        logs = [self._logs / name for name in ("mainlog", "paniclog")]
        return "".join(log.read_text(errors="replace") for log in logs if log.exists())

    def queue_empty(self) -> bool:
        return not any(self._spool.glob("input/**/*-[HDJ]"))
