"""Local mode: the whole gateway on this machine, with what stands around it in the world made small.

Nothing here is used in production: `zegel run` with the file that this writes is the same gateway without the helpers.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import smtplib
import ssl
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from email.message import EmailMessage
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import click

from zegel.cli.base import Trouble
from zegel.cli.supervise import Supervisor, require_free
from zegel.compose import process, state
from zegel.compose.process import NotReady
from zegel.core.mail.address import Domain
from zegel.core.policy.roles import Role
from zegel.core.secret import Secret
from zegel.edge import keyring
from zegel.local.authority import LocalAuthority, self_signed
from zegel.settings import Listen, Settings, load

if TYPE_CHECKING:
    from zegel.accounts.models import SendingDomain

HOST: Final = "zegel.test"
ORGANISATION: Final = "Voorbeeld"
SENDING_DOMAIN: Final = "voorbeeld.test"
SENDER: Final = "afzender@voorbeeld.test"
ADMINISTRATOR: Final = "beheer@voorbeeld.test"
READABLE: Final = "archief@veilig.test"
BY_SMS: Final = "balie@ontvanger.test"
BY_EMAIL: Final = "ontvanger@ontvanger.test"
PHONE: Final = "+31612345678"
RECEIVERS: Final = {  # domains, by how their mail server behaves
    "veilig.test": ("mx.veilig.test", "127.0.0.1"),
    "ontvanger.test": ("mx.ontvanger.test", "127.0.0.1"),
    SENDING_DOMAIN: ("mx.voorbeeld.test", "127.0.0.1"),
    "zonder-tls.test": ("mx.zonder-tls.test", "127.0.0.2"),
    "eigen-certificaat.test": ("mx.eigen-certificaat.test", "127.0.0.3"),
}


@dataclass(frozen=True, slots=True)
class Ports:
    """Where local mode listens; ``base`` moves all of them."""

    portal: int = 8080
    pages: int = 8025
    submission: int = 5587
    inbound: int = 5525
    mx: int = 2525
    dns: int = 5354

    @classmethod
    def moved(cls, by: int) -> Ports:
        return cls(**{name: port + by for name, port in asdict(cls()).items()})


@dataclass(frozen=True, slots=True)
class SignIn:
    """What a person needs to sign in to the portal of local mode."""

    label: str
    address: str
    password: str
    totp: str


@dataclass(frozen=True, slots=True)
class Demo:
    """The credentials of local mode; kept in a file of 0600, since nothing here protects anything."""

    username: str
    secret: str
    sign_ins: tuple[SignIn, ...]
    zone: dict[str, list[str]]  # "name TYPE" → records

    @classmethod
    def read(cls, path: Path) -> Demo:
        values = json.loads(path.read_text())
        values["sign_ins"] = tuple(SignIn(**one) for one in values["sign_ins"])
        return cls(**values)

    def write(self, path: Path) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(asdict(self), file, indent=1)


def run_local(folder: Path, *, shows_log: bool, move_ports: int = 0) -> None:
    """Starts everything, sends the first message at the very first start, and stays until Ctrl-C."""
    started = time.monotonic()
    folder = folder.resolve()
    around = folder / "local"
    try:
        around.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as cause:
        raise Trouble(f"The folder {folder} can't be made or written: {cause.strerror}.") from cause
    config, ports = _configuration(folder, around, Ports.moved(move_ports))
    if move_ports and ports != Ports.moved(move_ports):
        click.echo(f"The ports stay those of the first start in {folder}. Other ports: name another --folder.")
    process.use(config)
    settings = load(config)
    with _log_file(around, shows_log=shows_log) as log_file:
        supervisor = Supervisor(settings, config, stderr=log_file)
        supervisor.take_folder()
        _require_free(ports, settings.submission.listen, settings.inbound.listen, settings.portal.listen)
        process.start_django()
        state.prepare(settings)
        state.release_leases()
        is_first = not (around / "demo.json").exists()
        demo = _make_demo(settings, around / "demo.json") if is_first else Demo.read(around / "demo.json")
        try:
            _start(supervisor, settings, around, ports)
            if is_first and not supervisor.is_stopping:
                _send_first_message(settings, demo, around)
            if not supervisor.is_stopping:
                _tell(settings, demo, ports, around, is_first=is_first, seconds=time.monotonic() - started)
            supervisor.watch()
        finally:
            click.echo("\nStopping …")
            supervisor.stop()
    click.echo("Stopped. Start again to go on with the same data.")


def _require_free(ports: Ports, submission: Sequence[Listen], inbound: Sequence[Listen], portal: Listen) -> None:
    require_free(
        [
            *(("the submission server", one) for one in submission),
            *(("the server for bounces", one) for one in inbound),
            ("the portal", portal),
            ("the mailbox page", Listen(host="127.0.0.1", port=ports.pages)),
            ("the receiving mail server", Listen(host="127.0.0.1", port=ports.mx)),
            ("the DNS zone", Listen(host="127.0.0.1", port=ports.dns)),
        ]
    )


def _start(supervisor: Supervisor, settings: Settings, around: Path, ports: Ports) -> None:
    from zegel.accounts.models import SendingDomain
    from zegel.cli.domains import check_domain

    arguments = ("local-surroundings", "--folder", str(around), "--ports", json.dumps(asdict(ports)))
    supervisor.add("surroundings", arguments=arguments)
    supervisor.start()
    domain = SendingDomain.objects.get(name=SENDING_DOMAIN)
    if not domain.in_place and not check_domain(domain, settings, quiet=True):
        raise NotReady("The local DNS zone doesn't answer as it should; see the log in the local folder.")
    supervisor.add("submission")
    if settings.inbound.listen:
        supervisor.add("inbound")
    supervisor.add("dispatch")
    supervisor.add("web")
    supervisor.start()


def _configuration(folder: Path, around: Path, ports: Ports) -> tuple[Path, Ports]:
    """The configuration file, made at the first start and then kept, with the ports that are in it. Nothing is written
    before all of them are free: who then asks for others gets them."""
    path = folder / "zegel.toml"
    if path.exists():
        kept = Ports(**json.loads((around / "ports.json").read_text()))
        return path, kept
    try:
        submission, inbound, portal = (
            Listen(host="127.0.0.1", port=port) for port in (ports.submission, ports.inbound, ports.portal)
        )
        _require_free(ports, [submission], [inbound], portal)
    except NotReady as cause:
        raise Trouble(f"{cause} Or move all ports: --move-ports 10000; see README.") from cause
    authority = LocalAuthority.load_or_create(around / "ca")
    certificate, key = authority.issue([HOST, "localhost", "127.0.0.1"], around / "certificates")
    (around / "ports.json").write_text(json.dumps(asdict(ports)))
    path.write_text(
        f"""# Written by `zegel local` at its first start; kept as it is from then on.
# `zegel run --config {path.name}` runs the same gateway without the DNS zone and the mail server around it.
testing = true
hostname = "{HOST}"
folder = "data"

[submission]
listen = ["127.0.0.1:{ports.submission}"]
certificate = "{certificate.relative_to(folder)}"
certificate_key = "{key.relative_to(folder)}"

[inbound]
listen = ["127.0.0.1:{ports.inbound}"]

[delivery]
resolver = "127.0.0.1:{ports.dns}"
mx_port = {ports.mx}
extra_ca = "{authority.certificate_path.relative_to(folder)}"
retry_first = 5.0

[portal]
url = "http://localhost:{ports.portal}"
listen = "127.0.0.1:{ports.portal}"

[sms]
driver = "folder"
folder = "local/sms"
"""
    )
    return path, ports


def _log_file(around: Path, *, shows_log: bool) -> IO[Any]:
    return os.fdopen(os.dup(2), "ab") if shows_log else (around / "zegel.log").open("ab")


# --- the data of the first start ----------------------------------------------------------------------------------


def _make_demo(settings: Settings, path: Path) -> Demo:
    from zegel.accounts import credentials, domains
    from zegel.accounts.models import Account, DirectDeliveryDomain, Organisation, SendingDomain
    from zegel.accounts.sign_in import enrol_totp

    Organisation.objects.filter(name=ORGANISATION).delete()  # a first start that was broken off
    organisation = Organisation.objects.create(name=ORGANISATION, language="nl")
    sealing = keyring.submission_keys(settings.keys).sealing
    domain = domains.add(organisation, Domain.parse(SENDING_DOMAIN), sealing=sealing)
    DirectDeliveryDomain.objects.create(organisation=organisation, domain="veilig.test")
    sign_ins = []
    for label, address, display_name in (
        ("Sender", SENDER, "Afzender Voorbeeld"),
        ("Administrator", ADMINISTRATOR, "Beheer Voorbeeld"),
    ):
        password = "-".join(secrets.token_hex(2) for _ in range(4))
        account = Account.objects.create_user(
            address,
            password,
            organisation=organisation,
            display_name=display_name,
            role=(Role.OWNER if address == ADMINISTRATOR else Role.SENDER).value,
        )
        sign_ins.append(SignIn(label, address, password, enrol_totp(account).reveal()))
    made = credentials.issue(organisation, "local mode")
    demo = Demo(made.credential.username, made.secret.reveal(), tuple(sign_ins), _zone(domain))
    demo.write(path)
    assert isinstance(domain, SendingDomain)
    return demo


def _zone(domain: SendingDomain) -> dict[str, list[str]]:
    from zegel.accounts import domains

    zone = {f"{HOST} A": ["127.0.0.1"]}
    for name, (host, address) in RECEIVERS.items():
        zone[f"{name} MX"] = [f"10 {host}."]
        zone[f"{host} A"] = [address]
    for record in domains.records(domain, HOST):
        zone[f"{record.name} {record.kind}"] = [f"{record.value}." if record.kind == "CNAME" else record.value]
    return zone


def _send_first_message(settings: Settings, demo: Demo, around: Path) -> None:
    """Through our own SMTP port, as a mail server would."""
    message = EmailMessage()
    message["From"] = f"Afzender Voorbeeld <{SENDER}>"
    message["To"] = BY_SMS
    message["Cc"] = READABLE
    message["Subject"] = "Een eerste bericht"
    message["zivver-access-right"] = f"{BY_SMS} sms {PHONE}"
    message.set_content("Goedendag,\n\nDit is het eerste bericht dat deze Zegel aflevert.\n\nMet vriendelijke groet\n")
    message.add_alternative(
        "<p>Goedendag,</p><p>Dit is het <strong>eerste bericht</strong> dat deze Zegel aflevert.</p>"
        "<p>Met vriendelijke groet</p>",
        subtype="html",
    )
    message.add_attachment("Een bijlage, om te openen.\n", filename="bijlage.txt")
    context = ssl.create_default_context(cafile=str(around / "ca" / "ca.pem"))
    listen = settings.submission.listen[0]
    try:
        with smtplib.SMTP(listen.host, listen.port, timeout=30) as client:
            client.starttls(context=context)
            client.login(demo.username, demo.secret)
            client.send_message(message, SENDER, [BY_SMS, READABLE, BY_EMAIL])
    except (OSError, smtplib.SMTPException) as cause:
        raise NotReady(f"The first message was not accepted ({cause}); see {around / 'zegel.log'}.") from cause


def _tell(settings: Settings, demo: Demo, ports: Ports, around: Path, *, is_first: bool, seconds: float) -> None:
    pages = f"http://localhost:{ports.pages}"
    lines = [
        "",
        f"Zegel runs ({seconds:.0f} s). Nothing leaves this machine; all state is in {settings.folder.parent}.",
        "",
        f"  portal, console    {settings.portal.url}",
        f"  mailboxes, SMS     {pages}",
        f"  submission server  127.0.0.1:{ports.submission}  STARTTLS, CA {around / 'ca' / 'ca.pem'}",
        f"                     username {demo.username}",
        f"                     password {demo.secret}",
        *(f"  {one.label.lower():17}  {one.address}  password {one.password}" for one in demo.sign_ins),
        f"                     the codes of their authenticator apps: {pages}/codes",
        "",
    ]
    if is_first:
        lines += [
            "A first message went through the submission server, to three recipients:",
            f"  {READABLE:26} readable, over verified TLS (its domain is on the direct-delivery list)",
            f"  {BY_SMS:26} a notification; opens with a code by SMS (the message asks for it)",
            f"  {BY_EMAIL:26} in Bcc: a conversation of its own; opens with a code by e-mail",
            "",
        ]
    lines += [
        "Next:",
        f"  open the notification in {pages}/mail/{BY_SMS}",
        f"  see how it was decided: sign in as {ADMINISTRATOR} at {settings.portal.url}/console/",
        f"  send one yourself, to anybody@{' or @'.join(name for name in RECEIVERS if name != SENDING_DOMAIN)}",
        "  (Debian: apt install swaks libnet-ssleay-perl netbase):",
        f"    swaks --server 127.0.0.1:{ports.submission} --tls --auth PLAIN --auth-user {demo.username} \\",
        f"      --auth-password {demo.secret} --from {SENDER} --to {BY_EMAIL}",
        "",
        "Ctrl-C stops all of it.",
    ]
    click.echo("\n".join(lines))
    sys.stdout.flush()


# --- the surroundings, in a process of their own ------------------------------------------------------------------


@click.command("local-surroundings", hidden=True)
@click.option("--folder", type=click.Path(path_type=Path), required=True)
@click.option("--ports", required=True)
def surroundings(folder: Path, ports: str) -> None:
    """The DNS zone, the receiving mail servers and the pages of local mode; started by `zegel local`."""
    process.start_django()
    threading.Thread(target=process.end_with_stdin, daemon=True).start()
    asyncio.run(_surround(folder, Ports(**json.loads(ports))))


async def _surround(folder: Path, ports: Ports) -> None:
    from zegel.accounts.sign_in import current_totp
    from zegel.local import dns, mx, pages

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    demo = Demo.read(folder / "demo.json")
    zone = {
        (name, kind): texts for (name, kind), texts in ((key.split(" "), texts) for key, texts in demo.zone.items())
    }
    name_server = await dns.serve(zone, "127.0.0.1", ports.dns)
    servers = []
    for address, tls in _contexts(folder).items():
        domains = [Domain.parse(name) for name, (_, at) in RECEIVERS.items() if at == address]
        server = mx.ReceivingServer(folder / "mail", f"mx.{domains[0]}", domains, tls)
        await server.listen(address, ports.mx)
        servers.append(server)
    page_server = pages.serve_pages(
        folder / "mail",
        folder / "sms",
        "127.0.0.1",
        ports.pages,
        lambda: [(one.label, one.address, one.password, current_totp(Secret(one.totp))) for one in demo.sign_ins],
        [("Portal", f"http://localhost:{ports.portal}/"), ("Console", f"http://localhost:{ports.portal}/console/")],
    )
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await stop.wait()
    page_server.close()
    name_server.close()
    for server in servers:
        server.close()


def _contexts(folder: Path) -> dict[str, ssl.SSLContext | None]:
    """By address: a good certificate, no TLS at all, a certificate that nobody vouches for."""
    from zegel.local.mx import receiving_tls

    good = [host for host, address in RECEIVERS.values() if address == "127.0.0.1"]
    own = [host for host, address in RECEIVERS.values() if address == "127.0.0.3"]
    authority = LocalAuthority.load_or_create(folder / "ca")
    return {
        "127.0.0.1": receiving_tls(authority.issue(good, folder / "certificates")),
        "127.0.0.2": None,
        "127.0.0.3": receiving_tls(self_signed(own, folder / "certificates")),
    }
