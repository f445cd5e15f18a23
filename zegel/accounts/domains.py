"""Sending domains: the records to publish, and whether they are there."""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from zegel.accounts.models import Organisation, SendingDomain
from zegel.core.clock import Instant
from zegel.core.mail.address import Domain
from zegel.core.mail.dkim import Algorithm, SigningKey
from zegel.core.seal.wrap import SealingKey, wrap
from zegel.edge.dns import Found, NotThere, Resolver, Trouble

PATIENCE: Final = timedelta(hours=72)  # a record that was there may be missing this long before submissions are refused


@dataclass(frozen=True, slots=True)
class Record:
    """A record that the domain's owner publishes."""

    purpose: str  # "ownership", "dkim", "dkim-ed25519", "return-path"
    name: str
    kind: str
    value: str
    is_needed: bool = True  # the domain may not send without it


def dkim_context(domain: str) -> str:
    """What the wrapped DKIM key is bound to."""
    return f"dkim/{domain}"


def ed25519_context(domain: str) -> str:
    """What the wrapped second DKIM key is bound to; no domain has a slash in it."""
    return f"dkim/{domain}/ed25519"


def add(organisation: Organisation, domain: Domain, *, sealing: SealingKey) -> SendingDomain:
    """A new sending domain with its own DKIM keys; it may send once :func:`check` found its records."""
    key = SigningKey.generate(domain, "zegel", Algorithm.RSA_SHA256)
    added = SendingDomain(
        organisation=organisation,
        name=domain.ascii,
        ownership_token=secrets.token_hex(16),
        dkim_selector="zegel",
        dkim_key=wrap(key.to_pem(), to=sealing, context=dkim_context(domain.ascii)),
        dkim_record=key.dns_record(),
    )
    _make_second_key(added, sealing)
    added.save()
    return added


def complete(domain: SendingDomain, *, sealing: SealingKey) -> None:
    """Inside a transaction: a second DKIM key for a domain that was added before there were two."""
    if domain.ed25519_key is None:
        _make_second_key(domain, sealing)
        domain.save(update_fields=["ed25519_key", "ed25519_record"])


def _make_second_key(domain: SendingDomain, sealing: SealingKey) -> None:
    key = SigningKey.generate(Domain(domain.name), domain.ed25519_selector, Algorithm.ED25519_SHA256)
    domain.ed25519_key = wrap(key.to_pem(), to=sealing, context=ed25519_context(domain.name))
    domain.ed25519_record = key.dns_record()


def records(domain: SendingDomain, gateway: str) -> tuple[Record, ...]:
    """What is to be published, for a gateway with this host name. The second DKIM key is for whom it pleases: many
    verifiers don't know its kind yet, and every mail has the other signature too (RFC 8463 §6)."""
    needed = (
        Record("ownership", f"_zegel.{domain.name}", "TXT", f"zegel-domain={domain.ownership_token}"),
        Record("dkim", f"{domain.dkim_selector}._domainkey.{domain.name}", "TXT", domain.dkim_record),
        Record("return-path", domain.return_path_host, "CNAME", gateway),
    )
    if domain.ed25519_key is None:
        return needed
    name = f"{domain.ed25519_selector}._domainkey.{domain.name}"
    return (*needed, Record("dkim-ed25519", name, "TXT", domain.ed25519_record, is_needed=False))


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
    """Inside a transaction: records a check. One that was not conclusive (SERVFAIL) about a needed record changes
    nothing; a record that disappeared stops the domain only after :data:`PATIENCE`. The second DKIM key is used from
    the check that found its record until the one that didn't."""
    needed = tuple(one for one in findings if one.record.is_needed)
    if not all(finding.is_conclusive for finding in needed):
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
        if one.is_conclusive
    ]
    for one in findings:
        if one.record.purpose == "dkim-ed25519" and one.is_conclusive:
            domain.ed25519_published = one.is_right
    if all(finding.is_right for finding in needed):
        domain.in_place, domain.missing_since = True, None
    else:
        domain.missing_since = domain.missing_since or now
        domain.in_place = domain.in_place and now - domain.missing_since < PATIENCE
    domain.save()


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
        case "dkim" | "dkim-ed25519":  # white space and tag order are the publisher's business; the key is ours
            return _dkim_key(found) == _dkim_key(record.value) != b""
        case _:
            return found.strip() == record.value


def _dkim_key(text: str) -> bytes:
    tags = dict(part.strip().partition("=")[::2] for part in text.split(";") if "=" in part)
    try:
        return base64.b64decode("".join(tags.get("p", "").split()), validate=True)
    except ValueError:
        return b""
