"""For a server that insists on its accounts and its places: it has them, and the machine has none of them.

It runs from its unpacked package in a mount namespace of its own (mount_namespaces(7)). There its package lies over
``/usr``, its configuration over ``/etc``, and ``/var`` and ``/run`` are folders of the test. The namespace is gone
with its last process.
"""

from __future__ import annotations

import os
import smtplib
import subprocess
from abc import abstractmethod
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

from tests.peers import PATIENCE, Peer, PeerDidNotStart, debian

# No run of the tests lasts so long; a server that survived its test ends by itself.
LIFETIME: Final = 4 * 60 * 60

_BASE: Final = Path("/usr/share/base-passwd")  # the accounts and groups of every Debian

# $1: the unpacked package; $2: the folder of the test; $3: the host's name; then what to run
_MOVE_IN: Final = """
mount -n -t overlay -o "lowerdir=$1/usr:/usr" none /usr
mount -n -t overlay -o "lowerdir=$2/etc:$1/etc:/etc" none /etc
mount -n --bind "$2/var" /var
mount -n --bind "$2/run" /run
hostname "$3"
shift 3
exec "$@"
"""


@dataclass(frozen=True, slots=True)
class Account:
    """The name that the package gives its account and group, for an id of base-passwd that nothing else uses here."""

    name: str
    uid: int

    def passwd(self) -> str:
        return f"{self.name}:x:{self.uid}:{self.uid}::/nonexistent:/usr/sbin/nologin\n"

    def group(self) -> str:
        return f"{self.name}:x:{self.uid}:\n"


class Apart(Peer):
    """A mail server with places of its own.

    - ``files`` are texts by their path below ``/etc``; they come before what its package and the machine have there.
      Those in ``secrets`` can be read by root and the server's first account alone.
    - It is called ``name``, knows the hosts in ``hosts`` (names with their addresses) and can ask no DNS.
    - ``trusts`` (PEM) are all the authorities of its ``/etc/ssl/certs/ca-certificates.crt``.
    """

    package: ClassVar[str]
    accounts: ClassVar[tuple[Account, ...]]

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
        """``LookupError`` if its package is not on this machine."""
        root = debian.unpacked(self.package)
        if root is None:
            raise LookupError(f"no {self.package}: python -m tests.peers.debian")
        super().__init__(folder.absolute(), ip, port)
        self.name = name
        self._root = root
        addresses = {"localhost": "127.0.0.1", name: ip, **(hosts or {})}
        system = {
            "passwd": "".join(own.passwd() for own in self.accounts) + (_BASE / "passwd.master").read_text(),
            "group": "".join(own.group() for own in self.accounts) + (_BASE / "group.master").read_text(),
            "hosts": "".join(f"{address} {host}\n" for host, address in addresses.items()),
            "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\nservices: files\n",
            "resolv.conf": "nameserver 127.9.9.9\noptions timeout:1 attempts:1\n",  # nobody is there
            "mailname": f"{name}\n",
            "ssl/certs/ca-certificates.crt": trusts.read_text() if trusts else "",
        }
        for path, text in {**system, **files}.items():
            self._write(path, text, is_secret=path in secrets)
        for place in ("var/run", "run"):
            self._place(place)

    def _write(self, path: str, text: str, *, is_secret: bool) -> None:
        file = self.folder / "etc" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        os.chown(file, 0, self.accounts[0].uid if is_secret else 0)
        file.chmod(0o640 if is_secret else 0o644)

    def _place(self, path: str, owner: Account | None = None, mode: int = 0o755) -> Path:
        """A folder that is in its ``/var`` or ``/run``."""
        made = self.folder / path
        made.mkdir(parents=True, exist_ok=True)
        if owner is not None:
            os.chown(made, owner.uid, owner.uid)
        made.chmod(mode)
        return made

    @abstractmethod
    def _program(self) -> list[str]:
        """What to run in there; it must stay in the foreground."""

    @abstractmethod
    def queue_empty(self) -> bool:
        """Whether no message waits: none taken but not delivered, bounced or relayed."""

    def _command(self) -> list[str]:
        return [*self._moved_in(), "timeout", str(LIFETIME), *self._program()]

    def _moved_in(self) -> list[str]:
        unshared = ["unshare", "--mount", "--uts", "--propagation", "private", "sh", "-euc", _MOVE_IN, "apart"]
        return [*unshared, str(self._root), str(self.folder), self.name]

    def _answers(self) -> bool:
        with suppress(OSError, smtplib.SMTPException), smtplib.SMTP(self.ip, self.port, timeout=PATIENCE) as client:
            return client.noop()[0] == 250
        return False

    def _run(self, *command: str) -> None:
        """A command in there that ends by itself; :class:`PeerDidNotStart` with what it said if it fails."""
        done = subprocess.run(
            [*self._moved_in(), *command],
            check=False,
            env=dict(self._environment()),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        if done.returncode != 0:
            raise PeerDidNotStart(done.stdout)
