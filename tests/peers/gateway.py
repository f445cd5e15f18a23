"""Zegel itself, as an operator runs it: `zegel run --config …`, set up through its own command line."""

from __future__ import annotations

import json
import os
import signal
import smtplib
import ssl
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.peers import Peer, free_port, is_free, postgresql, until
from zegel.cli.supervise import answers
from zegel.local.authority import LocalAuthority
from zegel.settings import Listen

HOST: Final = "zegel.test"
ORGANISATION: Final = "Voorbeeld"
OTHER_ORGANISATION: Final = "Zorg"
SENDING_DOMAIN: Final = "voorbeeld.test"
SENDER: Final = "afzender@voorbeeld.test"
PASSWORD: Final = "een-lange-zin-om-mee-in-te-gaan"


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a mail server signs in with."""

    username: str
    password: str


class Gateway(Peer):
    """All roles under one supervisor, all state under ``folder``; the submission certificate is of ``authority``."""

    def __init__(
        self,
        folder: Path,
        *,
        authority: LocalAuthority,
        resolver: tuple[str, int],
        mx_port: int,
        processes: int = 1,
        settings: str = "",
        database: str = "",
    ) -> None:
        """``database``: lines of the configuration that name one."""
        super().__init__(folder.absolute(), "127.0.0.1")
        self.portal_port = free_port()
        self.url = f"http://localhost:{self.portal_port}"
        self.authority = authority
        self.config = folder / "zegel.toml"
        self.state = folder / "state"
        self.sms_folder = folder / "sms"
        self.credentials: Credentials | None = None
        certificate, key = authority.issue([HOST, "localhost", "127.0.0.1"], folder / "certificates")
        self.config.write_text(
            f"""testing = true
hostname = "{HOST}"
folder = "state"
{database or postgresql.setting()}
[submission]
listen = ["127.0.0.1:{self.port}"]
certificate = "{certificate}"
certificate_key = "{key}"
processes = {processes}
[delivery]
processes = {processes}
resolver = "{resolver[0]}:{resolver[1]}"
mx_port = {mx_port}
extra_ca = "{authority.certificate_path}"
retry_first = 2.0
timeout = 20.0
[portal]
url = "{self.url}"
listen = "127.0.0.1:{self.portal_port}"
processes = {processes}
[sms]
driver = "folder"
folder = "{self.sms_folder}"
{settings}"""
        )

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("ZEGEL_", "DJANGO_"))}
        return {**kept, "TMPDIR": str(self._temporary()), "PYTHONDONTWRITEBYTECODE": "1"}

    def _temporary(self) -> Path:
        """Where its processes put temporary files, so that a test can look at them."""
        path = self.folder / "tmp"
        path.mkdir(exist_ok=True)
        return path

    def _command(self) -> list[str]:
        return [sys.executable, "-m", "zegel", "run", "--config", str(self.config)]

    def _answers(self) -> bool:
        return answers(Listen(host=self.ip, port=self.port)) and answers(Listen(host=self.ip, port=self.portal_port))

    def log(self) -> str:
        with suppress(FileNotFoundError):
            return (self.folder / "output").read_text(errors="replace")
        return ""

    def start(self) -> Gateway:
        """As every peer; the log of the earlier start is kept beside."""
        output = self.folder / "output"
        if output.exists():
            with (self.folder / "earlier-output").open("ab") as earlier:
                earlier.write(output.read_bytes())
        return super().start()

    def command(self, *arguments: str, succeeds: bool = True) -> str:
        """Runs `zegel …` with this configuration; returns what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "zegel", *arguments, "--config", str(self.config)],
            env=self._environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if succeeds and done.returncode != 0:
            raise AssertionError(f"zegel {' '.join(arguments)}: {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done.stdout + done.stderr

    def set_up(self) -> list[str]:
        """The organisation with its domain, sender account and credentials. Returns the records to publish.

        The domain may send after :meth:`check_domain`, once the records are published.
        """
        self.command("organisation", "add", ORGANISATION)
        printed = self.command("domain", "add", SENDING_DOMAIN, "--organisation", ORGANISATION)
        self.command(
            "account", "add", SENDER, "--organisation", ORGANISATION, "--name", "Afzender", "--password", PASSWORD
        )
        made = dict(
            line.split(": ", 1)
            for line in self.command("credentials", "add", "tests", "--organisation", ORGANISATION).splitlines()
            if ": " in line
        )
        self.credentials = Credentials(made["username"], made["password"])
        return _records(printed)

    def set_up_other(self, domain: str) -> list[str]:
        """Another organisation, which takes readable messages for its domain once the records are published."""
        self.command("organisation", "add", OTHER_ORGANISATION)
        self.command("policy", "recipients", "--organisation", OTHER_ORGANISATION, "--inbound-direct-delivery")
        return _records(self.command("domain", "add", domain, "--organisation", OTHER_ORGANISATION))

    def check_domain(self) -> None:
        """Looks the published records up."""
        self.command("domain", "check", SENDING_DOMAIN)

    def client(self) -> smtplib.SMTP:
        """A signed-in client on a verified connection."""
        assert self.credentials is not None
        client = smtplib.SMTP("127.0.0.1", self.port, timeout=30)
        client._host = "localhost"  # type: ignore[attr-defined]
        client.starttls(context=ssl.create_default_context(cafile=str(self.authority.certificate_path)))
        client.login(self.credentials.username, self.credentials.password)
        return client

    def evidence(self) -> list[dict[str, Any]]:
        """What `zegel evidence` prints."""
        return [json.loads(line) for line in self.command("evidence").splitlines()]

    def recipients(self) -> dict[str, dict[str, Any]]:
        """By address, the last conversation's recipient of each."""
        return {one["address"]: one for found in self.evidence() for one in found["recipients"]}

    def texts(self) -> list[dict[str, str]]:
        """What the SMS driver wrote, oldest first."""
        paths = sorted(self.sms_folder.glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
        return [json.loads(path.read_text()) for path in paths]

    def processes(self) -> list[int]:
        """The supervisor and everything below it."""
        assert self.pid is not None
        found, todo = [], [self.pid]
        while todo:
            pid = todo.pop()
            found.append(pid)
            with suppress(OSError):
                for task in Path(f"/proc/{pid}/task").iterdir():
                    todo.extend(int(child) for child in (task / "children").read_text().split())
        return found

    def kill_everything(self) -> None:
        """kill -9 of every process, in one go."""
        assert self.pid is not None
        os.kill(self.pid, signal.SIGSTOP)  # it starts nothing while its children are counted
        killed = self.processes()
        for pid in killed:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        until(lambda: not any(_is_alive(pid) for pid in killed if pid != self.pid))
        if self._process is not None:
            self._process.wait()
            self._process = None
        # a dead process's threads may keep its sockets for a moment longer
        until(lambda: is_free(self.ip, self.port) and is_free(self.ip, self.portal_port))


def _records(printed: str) -> list[str]:
    """The records to publish, out of what a command printed."""
    return [line for line in printed.splitlines() if " TXT " in line or " CNAME " in line]


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
