"""A real certificate authority that forgets everything when it stops: Pebble, the test server of Let's Encrypt."""

from __future__ import annotations

import json
import ssl
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from tests.peers import Peer, debian, free_port
from zegel.local.authority import LocalAuthority


class Pebble(Peer):
    """Issues certificates by ACME for whoever answers HTTP-01 on ``http_port`` of the address that ``dns`` gives.

    - Its own HTTPS has a certificate of ``authority``, for ``localhost``.
    - It checks at once, refuses ``nonces_refused`` of a hundred good nonces, and takes one old authorization in a
      hundred although it is told to take none: it compares a number from 0 to 99 with that. A restart makes it forget.
    - ``environment`` and ``settings`` (of its configuration) win over what is chosen here.
    """

    def __init__(
        self,
        folder: Path,
        *,
        authority: LocalAuthority,
        dns: tuple[str, int],
        http_port: int,
        ip: str = "127.0.0.1",
        port: int = 0,
        nonces_refused: int = 0,
        environment: Mapping[str, str] | None = None,
        settings: Mapping[str, object] | None = None,
    ) -> None:
        """``LookupError`` if Pebble is not on this machine."""
        root = debian.unpacked("pebble")
        if root is None:
            raise LookupError("no Pebble: python -m tests.peers.debian")
        super().__init__(folder.absolute(), ip, port)
        self._program = root / "usr/bin/pebble"
        self._dns = dns
        self._management_port = free_port(ip)
        self._trust = ssl.create_default_context(cafile=str(authority.certificate_path))
        self._variables = {
            "PEBBLE_VA_NOSLEEP": "1",
            "PEBBLE_WFE_NONCEREJECT": str(nonces_refused),
            "PEBBLE_AUTHZREUSE": "0",
        } | dict(environment or {})
        certificate, key = authority.issue(["localhost"], folder / "certificates")
        self._configuration = {
            "listenAddress": f"{ip}:{self.port}",
            "managementListenAddress": f"{ip}:{self._management_port}",
            "certificate": str(certificate),
            "privateKey": str(key),
            "httpPort": http_port,
            "tlsPort": free_port(ip),
            "ocspResponderURL": "",
            "externalAccountBindingRequired": False,
        } | dict(settings or {})

    @property
    def directory(self) -> str:
        """Where an ACME client begins."""
        return f"https://localhost:{self.port}/dir"

    def root(self) -> bytes:
        """The certificate that it signs with, PEM; another one after each start."""
        url = f"https://localhost:{self._management_port}/roots/0"
        with urllib.request.urlopen(url, context=self._trust, timeout=5) as response:
            return bytes(response.read())

    def start(self) -> Pebble:
        (self.folder / "pebble.json").write_text(json.dumps({"pebble": self._configuration}))
        return super().start()

    def _command(self) -> list[str]:
        ip, port = self._dns
        return [str(self._program), "-config", str(self.folder / "pebble.json"), "-dnsserver", f"{ip}:{port}"]

    def _environment(self) -> Mapping[str, str]:
        return dict(super()._environment()) | self._variables

    def _answers(self) -> bool:
        with suppress(OSError), urllib.request.urlopen(self.directory, context=self._trust, timeout=1) as response:
            return bool(response.status == 200)
        return False

    def log(self) -> str:
        """Each order, and why it was refused."""
        with suppress(OSError):
            return (self.folder / "output").read_text(errors="replace")
        return ""
