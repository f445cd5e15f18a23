"""Sending domains: the records to publish, and whether they are there."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from zegel.accounts.models import Organisation, SendingDomain
from zegel.core.clock import Instant
from zegel.core.mail.address import Domain
from zegel.core.mail.dkim import Algorithm, SigningKey
from zegel.core.seal.wrap import SealingKey, wrap
from zegel.core.secret import Secret
from zegel.edge.dns import Found, NotThere, Resolver, Trouble

PATIENCE: Final = timedelta(hours=72)  # a record that was there may be missing this long before submissions are refused


@dataclass(frozen=True, slots=True)
class Record:
    """A record that the domain's owner publishes."""

    purpose: str  # "ownership", "dkim", "return-path"
    name: str
    kind: str
    value: str


def dkim_context(domain: str) -> str:
    """What the wrapped DKIM key is bound to."""
    return f"dkim/{domain}"


def add(organisation: Organisation, domain: Domain, *, sealing: SealingKey) -> SendingDomain:
    """A new sending domain with its own DKIM key; it may send once :func:`check` found its records."""
    key = SigningKey.generate(domain, "zegel", Algorithm.RSA_SHA256)
    return SendingDomain.objects.create(
        organisation=organisation,
        name=domain.ascii,
        ownership_token=secrets.token_hex(16),
        dkim_selector="zegel",
        dkim_key=wrap(key.to_pem(), to=sealing, context=dkim_context(domain.ascii)),
        dkim_record=key.dns_record(),
    )


def records(domain: SendingDomain, gateway: str) -> tuple[Record, ...]:
    """What is to be published, for a gateway with this host name."""
    return (
        Record("ownership", f"_zegel.{domain.name}", "TXT", f"zegel-domain={domain.ownership_token}"),
        Record("dkim", f"{domain.dkim_selector}._domainkey.{domain.name}", "TXT", domain.dkim_record),
        Record("return-path", domain.return_path_host, "CNAME", gateway),
    )


@dataclass(frozen=True, slots=True)
class Finding:
    """One record as it was found."""

    record: Record
    found: tuple[str, ...]
    is_right: bool
    is_conclusive: bool


async def look(wanted: tuple[Record, ...], *, dns: Resolver) -> tuple[Finding, ...]:
    """Asks the DNS for each record."""
    return tuple([await _look_for(record, dns) for record in wanted])


def conclude(domain: SendingDomain, findings: tuple[Finding, ...], *, now: Instant) -> None:
    """Inside a transaction: records a check. One that was not conclusive (SERVFAIL) changes nothing; a record that
    disappeared stops the domain only after :data:`PATIENCE`."""
    if not all(finding.is_conclusive for finding in findings):
        return
    domain.checked_at = now
    domain.findings = [
        {
            "purpose": one.record.purpose,
            "name": one.record.name,
            "expected": one.record.value,
            "found": list(one.found),
            "right": one.is_right,
        }
        for one in findings
    ]
    if all(finding.is_right for finding in findings):
        domain.in_place, domain.missing_since = True, None
    else:
        domain.missing_since = domain.missing_since or now
        domain.in_place = domain.in_place and now - domain.missing_since < PATIENCE
    domain.save()


def signing_key(domain: SendingDomain, unwrap: Callable[[bytes, str], Secret[bytes]]) -> SigningKey:
    """The DKIM key; ``unwrap`` opens a wrapped value under a context."""
    pem = unwrap(bytes(domain.dkim_key), dkim_context(domain.name))
    return SigningKey.from_pem(Domain(domain.name), domain.dkim_selector, pem)


async def _look_for(record: Record, dns: Resolver) -> Finding:
    match await dns.ask(record.name, record.kind):
        case Found(records=found):
            return Finding(record, found, any(_same(record, one) for one in found), is_conclusive=True)
        case NotThere():
            return Finding(record, (), is_right=False, is_conclusive=True)
        case Trouble():
            return Finding(record, (), is_right=False, is_conclusive=False)


def _same(record: Record, found: str) -> bool:
    match record.purpose:
        case "return-path":
            return found.rstrip(".").lower() == record.value.rstrip(".").lower()
        case "dkim":  # white space and tag order are the publisher's business; the key is ours
            return _dkim_key(found) == _dkim_key(record.value) != b""
        case _:
            return found.strip() == record.value


def _dkim_key(text: str) -> bytes:
    tags = dict(part.strip().partition("=")[::2] for part in text.split(";") if "=" in part)
    try:
        return base64.b64decode("".join(tags.get("p", "").split()), validate=True)
    except ValueError:
        return b""
