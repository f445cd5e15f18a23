"""A real Postfix: a mail server that hands its mail to the gateway, or one that the gateway delivers to."""

from __future__ import annotations

import grp
import os
import pwd
import smtplib
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from tests.peers import PATIENCE, Peer, PeerDidNotStart, debian, until

# Accounts that base-passwd gives every Debian, that nothing else uses here, and that Postfix takes for its own:
# it wants three that share no id (postconf(5): mail_owner, setgid_group, default_privs).
OWNER: Final = "uucp"
SUBMISSION_GROUP: Final = "fax"
MAILBOX_OWNER: Final = "mail"

# No run of the tests lasts so long; a Postfix that survived its test ends by itself (master(8): -e).
LIFETIME: Final = 4 * 60 * 60

_OWNED: Final = ("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "saved", "trace")
_QUEUED: Final = ("maildrop", "incoming", "active", "deferred", "hold")

# name, type, private, unprivileged, wakeup, processes, command (master(5)); nothing runs in a chroot
_SERVICES: Final = """
pickup     unix  n n n 1? 1 pickup
cleanup    unix  n - n -  0 cleanup
qmgr       unix  n n n 2  1 qmgr
tlsmgr     unix  - - n -  1 tlsmgr
rewrite    unix  - - n -  - trivial-rewrite
bounce     unix  - - n -  0 bounce
defer      unix  - - n -  0 bounce
trace      unix  - - n -  0 bounce
verify     unix  - - n -  1 verify
flush      unix  n - n -  0 flush
proxymap   unix  - - n -  - proxymap
smtp       unix  - - n -  - smtp
relay      unix  - - n -  - smtp
showq      unix  n - n -  - showq
error      unix  - - n -  - error
retry      unix  - - n -  - error
discard    unix  - - n -  - discard
virtual    unix  - n n -  - virtual
anvil      unix  - - n -  1 anvil
scache     unix  - - n -  1 scache
postlog    unix-dgram n - n - 1 postlogd
"""


class Postfix(Peer):
    """Listens on ``inet:port``; mail for the domains it ``accepts`` goes into a Maildir, all other mail to ``relay``.

    - Without ``relay`` other mail is refused (550). It never asks DNS.
    - With ``credentials`` it signs in at the relay.
    - Without ``tls_ca`` it speaks to the relay in clear. With it, it sends nothing and signs in nowhere unless the
      relay shows a certificate of that authority for ``relay_name``.
    - ``certificate`` (chain and key, PEM) makes it offer STARTTLS to its own clients; Received tells the TLS used.
    - Every client on loopback may submit to it. Deferred mail is tried again within seconds.
    - ``settings`` are lines of main.cf (postconf(5)) that win over what is chosen here.
    """

    def __init__(
        self,
        folder: Path,
        *,
        name: str = "mail.test",
        inet: str = "127.0.0.1",
        port: int = 0,
        accepts: Sequence[str] = (),
        relay: tuple[str, int] | None = None,
        relay_name: str = "localhost",
        credentials: tuple[str, str] | None = None,
        tls_ca: Path | None = None,
        certificate: tuple[Path, Path] | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """``folder`` is one that other accounts can pass through (:func:`tests.peers.reachable_folder`): Postfix gives
        up root for most of its work. ``ValueError`` if it is not; ``LookupError`` if Postfix is not on this machine."""
        folder = folder.absolute()
        if (closed := _closed_to_others(folder)) is not None:
            raise ValueError(f"{closed} is closed to other accounts: use reachable_folder()")
        root = debian.unpacked("postfix")
        if root is None:
            raise LookupError("no Postfix: python -m tests.peers.debian")
        super().__init__(folder, inet, port)
        self.name = name
        self._daemons = root / "usr/lib/postfix/sbin"
        self._commands = root / "usr/sbin"
        self._libraries = debian.library_path(root)
        self._sasl_plugins = _sasl_plugins(root)
        self._configuration = folder / "etc"
        self._queue = folder / "queue"
        self._inbox = folder / "mail" / "inbox"
        self._maillog = folder / "maillog"
        self._configuration.mkdir(exist_ok=True)
        chosen = self._own_settings(root, accepts)
        if relay is not None:
            chosen |= _relay_settings(relay, relay_name, tls_ca)
        if relay is not None and credentials is not None:
            chosen |= _sasl_settings(self._configuration, relay, credentials)
        if certificate is not None:
            chain, key = certificate
            chosen |= {
                "smtpd_tls_security_level": "may",
                "smtpd_tls_chain_files": f"{key}, {chain}",
                "smtpd_tls_received_header": "yes",
            }
        self._lay_out(chosen | dict(settings or {}))

    def _own_settings(self, root: Path, accepts: Sequence[str]) -> dict[str, str]:
        mailbox_owner = pwd.getpwnam(MAILBOX_OWNER)
        return {
            "compatibility_level": "3.6",
            # where everything is
            "daemon_directory": str(self._daemons),
            "command_directory": str(self._commands),
            "shlib_directory": str(root / "usr/lib/postfix"),
            "meta_directory": str(root / "etc/postfix"),
            "queue_directory": str(self._queue),
            "data_directory": str(self.folder / "state"),
            "maillog_file": str(self._maillog),
            "maillog_file_prefixes": str(self.folder),
            "import_environment": "MAIL_CONFIG MAIL_LOGTAG POSTLOG_SERVICE POSTLOG_HOSTNAME TZ LANG=C.UTF-8 "
            f"LD_LIBRARY_PATH={self._libraries} SASL_PATH={self._sasl_plugins}",
            "mail_owner": OWNER,
            "setgid_group": SUBMISSION_GROUP,
            # who it is
            "myhostname": self.name,
            # It takes this for its own address; where it listens says master.cf: 127.0.0.2 is on no interface.
            "inet_interfaces": "127.0.0.1",
            "inet_protocols": "ipv4",
            "smtp_bind_address": self.ip,
            # for whom it keeps mail
            "mydestination": "",
            "alias_maps": "",
            "local_recipient_maps": "",
            "local_transport": "error:nobody is local here",
            "virtual_mailbox_domains": " ".join(accepts),
            "virtual_mailbox_base": str(self._inbox.parent),
            "virtual_mailbox_maps": f"static:{self._inbox.name}/",
            "virtual_minimum_uid": "1",
            "virtual_uid_maps": f"static:{mailbox_owner.pw_uid}",
            "virtual_gid_maps": f"static:{mailbox_owner.pw_gid}",
            # from whom it takes mail, and where it goes
            "mynetworks": "127.0.0.0/8",
            "smtpd_relay_restrictions": "permit_mynetworks, reject_unauth_destination",
            "smtpd_peername_lookup": "no",
            "disable_dns_lookups": "yes",
            "default_transport": "error:there is no relay",
            "message_size_limit": "0",
            "mailbox_size_limit": "0",
            "virtual_mailbox_limit": "0",
            # a test does not wait for minutes
            "queue_run_delay": "1s",
            "minimal_backoff_time": "1s",
            "maximal_backoff_time": "3s",
        }

    def _lay_out(self, settings: Mapping[str, str]) -> None:
        _write(self._configuration / "main.cf", "".join(f"{name} = {value}\n" for name, value in settings.items()))
        _write(self._configuration / "master.cf", f"{self.ip}:{self.port} inet n - n - - smtpd\n{_SERVICES}")
        owner, group = pwd.getpwnam(OWNER).pw_uid, grp.getgrnam(SUBMISSION_GROUP).gr_gid
        mailbox_owner = pwd.getpwnam(MAILBOX_OWNER)
        _folder(self.folder, 0, 0, 0o711)
        _folder(self._queue, 0, 0, 0o755)
        _folder(self._queue / "pid", 0, 0, 0o755)
        for name in (*_OWNED, "private"):
            _folder(self._queue / name, owner, 0, 0o700)
        _folder(self._queue / "public", owner, group, 0o710)
        _folder(self._queue / "maildrop", owner, group, 0o730)
        _folder(self.folder / "state", owner, 0, 0o700)
        _folder(self._inbox.parent, mailbox_owner.pw_uid, mailbox_owner.pw_gid, 0o700)

    def start(self) -> Self:
        """As every peer; what is wrong with the settings is in :class:`PeerDidNotStart`."""
        # postsuper(1) says it on stderr; master(8) would tell a syslog that may not be there.
        command = [str(self._commands / "postsuper"), "-c", str(self._configuration)]
        check = subprocess.run(command, check=False, env=dict(self._environment()), capture_output=True, text=True)
        if check.returncode != 0:
            raise PeerDidNotStart(check.stderr)
        return super().start()

    def _command(self) -> list[str]:
        return [str(self._daemons / "master"), "-c", str(self._configuration), "-e", str(LIFETIME)]

    def _environment(self) -> Mapping[str, str]:
        return {**super()._environment(), "LD_LIBRARY_PATH": self._libraries}

    def _answers(self) -> bool:
        with suppress(OSError, smtplib.SMTPException), smtplib.SMTP(self.ip, self.port, timeout=PATIENCE) as client:
            return client.noop()[0] == 250
        return False

    def log(self) -> str:
        return self._maillog.read_text(errors="replace") if self._maillog.exists() else ""

    def mailbox(self, address: str) -> list[bytes]:
        """The messages that arrived for an address of a domain it accepts, oldest first, as virtual(8) stored them:
        preceded by Return-Path, X-Original-To and Delivered-To, with LF at the end of lines."""
        wanted = address.casefold().encode()
        arrived = sorted(
            (path for path in (self._inbox / "new").glob("*") if path.is_file()),
            key=lambda path: path.stat().st_mtime_ns,
        )
        contents = [path.read_bytes() for path in arrived]
        return [content for content in contents if _delivered_to(content) == wanted]

    def wait_for_message(
        self, address: str, predicate: Callable[[bytes], bool] = lambda content: True, timeout: float = PATIENCE
    ) -> bytes:
        """The oldest message for the address that satisfies the predicate; ``TimeoutError``, with the end of the log,
        if none comes."""

        def found() -> list[bytes]:
            return [content for content in self.mailbox(address) if predicate(content)]

        try:
            until(lambda: bool(found()), timeout)
        except TimeoutError as cause:
            raise TimeoutError(f"no such message for {address}; the log ends:\n{self.log()[-4000:]}") from cause
        return found()[0]

    def queue_empty(self) -> bool:
        """Whether no message waits: none taken but not delivered, bounced or relayed."""
        return not any(files for name in _QUEUED for _, _, files in os.walk(self._queue / name))


def _relay_settings(relay: tuple[str, int], relay_name: str, tls_ca: Path | None) -> dict[str, str]:
    hop = _hop(relay)
    verified = {
        "smtp_tls_security_level": "secure",
        "smtp_tls_secure_cert_match": relay_name,
        "smtp_tls_CAfile": str(tls_ca),
        "smtp_tls_loglevel": "1",
    }
    return {"relayhost": hop, "default_transport": "smtp"} | (verified if tls_ca is not None else {})


def _sasl_settings(configuration: Path, relay: tuple[str, int], credentials: tuple[str, str]) -> dict[str, str]:
    passwords = configuration / "credentials"
    passwords.touch(mode=0o600)
    _write(passwords, f"{_hop(relay)} {':'.join(credentials)}\n")
    return {
        "smtp_sasl_auth_enable": "yes",
        "smtp_sasl_password_maps": f"texthash:{passwords}",
        "smtp_sasl_security_options": "noanonymous",
        "smtp_sasl_mechanism_filter": "plain, login",
    }


def _hop(relay: tuple[str, int]) -> str:
    """The host between brackets: it is asked itself, not its MX (postconf(5): relayhost)."""
    host, port = relay
    return f"[{host}]:{port}"


def _sasl_plugins(root: Path) -> str:
    """Where libsasl2 finds PLAIN and LOGIN: brought along, or else of the machine."""
    folders = [
        found for top in (root, Path("/")) for found in top.glob("usr/lib/*/sasl2") if any(found.glob("*plain*"))
    ]
    return ":".join(str(folder) for folder in folders[:1])


def _write(path: Path, text: str) -> None:
    """Postfix waits until a file is two seconds old, in case it is still being written; this one is not."""
    path.write_text(text)
    os.utime(path, (0, 0))


def _folder(path: Path, owner: int, group: int, mode: int) -> None:
    path.mkdir(exist_ok=True)
    os.chown(path, owner, group)
    path.chmod(mode)


def _closed_to_others(folder: Path) -> Path | None:
    """The first folder on the way that other accounts may not pass through."""
    return next((above for above in reversed(folder.parents) if not above.stat().st_mode & 0o001), None)


def _delivered_to(content: bytes) -> bytes | None:
    for line in content.split(b"\n\n", 1)[0].split(b"\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"delivered-to":
            return value.strip().decode("utf-8", "replace").casefold().encode()
    return None
