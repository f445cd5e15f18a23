"""A small Internet on loopback: DNS, receiving mail servers, the sender's mail server, and the gateway in the middle.

Every part is the real one: NSD and unbound, three Postfixes, Zegel started by `zegel run`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.needs import needs
from tests.peers import free_port, reachable_folder
from tests.peers.dns import Nsd, Unbound
from tests.peers.gateway import HOST, ORGANISATION, SENDING_DOMAIN, Gateway
from tests.peers.postfix import Postfix
from zegel.local.authority import LocalAuthority

READABLE_DOMAIN: Final = "veilig.test"  # on the organisation's direct-delivery list; verified TLS
GUEST_DOMAIN: Final = "ontvanger.test"  # the same server, not on the list
OPEN_DOMAIN: Final = "zonder-tls.test"  # its server offers no TLS
SENDER_IP: Final = "127.0.0.11"
SECURE_IP: Final = "127.0.0.12"
OPEN_IP: Final = "127.0.0.13"


@dataclass(frozen=True, slots=True)
class World:
    """Who is there."""

    gateway: Gateway
    sender: Postfix  # relays to the gateway, and is the MX of the sending domain
    secure: Postfix
    open: Postfix
    authority: LocalAuthority
    folder: Path
    nsd: Nsd


@contextmanager
def world(
    *,
    processes: int = 1,
    settings: str = "",
    zone: str = "",
    stubs: Mapping[str, tuple[str, int]] | None = None,
    inbound: str = "",
    secure_settings: Mapping[str, str] | None = None,
) -> Iterator[World]:
    """All of it, running, with the sending domain in place; gone afterwards.

    ``zone`` are more lines of the zone ``test``; ``stubs`` are zones below it that another name server has;
    ``inbound`` is a domain of another organisation that takes readable messages (inbound direct delivery).
    ``secure_settings`` are lines of main.cf of the server with TLS.
    """
    needs("postfix", "nsd", "unbound")
    with ExitStack() as stack:
        folder = stack.enter_context(reachable_folder())
        authority = LocalAuthority.load_or_create(folder / "ca")
        port = _common_port()
        nsd = Nsd({"test": _zone([])}, folder / "nsd")
        unbound_port = free_port()
        gateway = Gateway(
            folder / "gateway",
            authority=authority,
            resolver=("127.0.0.1", unbound_port),
            mx_port=port,
            processes=processes,
            settings=settings,
        )
        records = gateway.set_up()
        if inbound:
            records += gateway.set_up_other(inbound)
            zone += f"{inbound}. IN MX 10 mx.veilig.test.\n"
        nsd.zones["test"] = _zone(records) + zone
        stack.enter_context(nsd)
        stack.enter_context(Unbound(folder / "unbound", port=unbound_port, stubs={"test.": nsd, **(stubs or {})}))
        gateway.check_domain()
        if inbound:
            gateway.command("domain", "check", inbound)
        gateway.command("policy", "direct-delivery", READABLE_DOMAIN, "--organisation", ORGANISATION)
        assert gateway.credentials is not None
        secure = Postfix(
            folder / "secure",
            name="mx.veilig.test",
            inet=SECURE_IP,
            port=port,
            accepts=(READABLE_DOMAIN, GUEST_DOMAIN, *filter(None, [inbound])),
            certificate=authority.issue(["mx.veilig.test"], folder / "certificates"),
            settings={"message_size_limit": "60000000", **(secure_settings or {})},
        )
        opened = Postfix(folder / "open", name="mx.zonder-tls.test", inet=OPEN_IP, port=port, accepts=(OPEN_DOMAIN,))
        sender = Postfix(
            folder / "sender",
            name="mail.voorbeeld.test",
            inet=SENDER_IP,
            port=port,
            accepts=(SENDING_DOMAIN,),
            relay=("127.0.0.1", gateway.port),
            credentials=(gateway.credentials.username, gateway.credentials.password),
            tls_ca=authority.certificate_path,
            settings={"message_size_limit": "60000000"},
        )
        for peer in (secure, opened, sender, gateway):
            stack.enter_context(peer)
        yield World(gateway, sender, secure, opened, authority, folder, nsd)


def _zone(records: list[str]) -> str:
    return f"""$TTL 5
@ IN SOA ns.test. host.test. 1 3600 600 86400 5
@ IN NS ns.test.
ns.test. IN A 127.0.0.1
{HOST}. IN A 127.0.0.1
{SENDING_DOMAIN}. IN MX 10 mail.voorbeeld.test.
mail.voorbeeld.test. IN A {SENDER_IP}
{READABLE_DOMAIN}. IN MX 10 mx.veilig.test.
{GUEST_DOMAIN}. IN MX 10 mx.veilig.test.
mx.veilig.test. IN A {SECURE_IP}
{OPEN_DOMAIN}. IN MX 10 mx.zonder-tls.test.
mx.zonder-tls.test. IN A {OPEN_IP}
{chr(10).join(in_strings(record) for record in records)}
"""


def in_strings(record: str) -> str:
    """A TXT in strings of at most 255 octets (RFC 1035 §3.3)."""
    name, kind, value = record.split(" ", 2)
    if kind != "TXT":
        return f"{name} IN {kind} {value}"
    text = value.strip('"')
    strings = " ".join(f'"{text[start : start + 255]}"' for start in range(0, len(text), 255))
    return f"{name} IN TXT {strings}"


def _common_port() -> int:
    """A port that is free on each address: MX servers have one port."""
    while True:
        port = free_port(SENDER_IP)
        if all(_free_on(ip, port) for ip in (SECURE_IP, OPEN_IP)):
            return port


def _free_on(ip: str, port: int) -> bool:
    import socket

    with socket.socket() as probe:
        try:
            probe.bind((ip, port))
        except OSError:
            return False
    return True
