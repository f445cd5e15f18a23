"""What those who look after a sending domain hear of it: a record disappeared, mail is refused, all is back."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable
from functools import partial
from typing import Final, Literal
from zoneinfo import ZoneInfo

from zegel.accounts.addresses import language_of, own_address
from zegel.accounts.domains import standing_of
from zegel.accounts.models import Account, SendingDomain
from zegel.core.clock import Instant
from zegel.core.mail.address import Domain, Mailbox
from zegel.core.mail.compose import compose
from zegel.core.mail.texts import DomainWord, domain_mail
from zegel.core.policy.roles import MAY, Capability
from zegel.core.policy.sending_domain import PATIENCE, PURPOSES, WEIGHT, Weight, Word, to_tell
from zegel.core.secret import Secret
from zegel.edge import chance
from zegel.edge.database import Readers, Writer
from zegel.journey import milestones
from zegel.journey.custody.models import Transmission
from zegel.journey.custody.unseal import Unsealer

ZONE: Final = ZoneInfo("Europe/Amsterdam")
ROLES: Final = [role.value for role, may in MAY.items() if Capability.DOMAINS in may]
_KINDS: Final[dict[Word, Literal["missing", "refused", "in-place"]]] = {
    Word.MISSING: "missing",
    Word.REFUSED: "refused",
    Word.IN_PLACE: "in-place",
}


class DomainMails:
    """Tells what checks found out, whoever made them: dispatch, the console, the command line."""

    def __init__(
        self, writer: Writer, readers: Readers, unsealer: Unsealer, *, url: str, now: Callable[[], Instant]
    ) -> None:
        self._writer = writer
        self._readers = readers
        self._unsealer = unsealer
        self._url = url
        self._now = now

    async def tell(self) -> None:
        """Each word once, in the transaction that notes that it was told."""
        for number in await self._readers.read(_untold):
            await self._writer.write(partial(self._tell, number))

    def _tell(self, number: int) -> None:
        domain = SendingDomain.objects.select_related("organisation").filter(pk=number).first()
        word = _word(domain) if domain is not None else None
        if domain is None or word is None:
            return
        SendingDomain.objects.filter(pk=number).update(told=word.value)
        own = own_address(domain.organisation)
        if own is None:  # there is nothing to write from; it is in the log, and on the page
            return
        told = Account.objects.filter(organisation=domain.organisation, is_active=True, role__in=ROLES)
        milestones.decided([self._put(domain, word, own, one) for one in told.order_by("id")], now=self._now())

    def _put(self, domain: SendingDomain, word: Word, own: Mailbox, account: Account) -> uuid.UUID:
        identity, now = chance.identifier(), self._now()
        words = domain_mail(self._about(domain, word), language_of(account, domain.organisation), zone=ZONE)
        message_id = f"<{identity.hex}@{own.domain}>"
        octets = compose(
            author=(domain.organisation.name, own),
            to=account.mailbox,
            subject=words.subject,
            text=words.text,
            html=words.html,
            message_id=message_id,
            at=now,
            boundary=f"=_{secrets.token_hex(16)}",
        )
        Transmission.objects.create(
            id=identity,
            organisation=domain.organisation,
            kind=Transmission.Kind.NOTICE,
            address=account.email,
            message_id=message_id,
            sealed=self._unsealer.wrap_field(octets, name="transmission", owner=identity),
            created_at=now,
        )
        return identity

    def _about(self, domain: SendingDomain, word: Word) -> DomainWord:
        since = domain.missing_since or domain.checked_at or self._now()
        return DomainWord(
            kind=_KINDS[word],
            domain=Domain(domain.name).unicode,
            organisation=domain.organisation.name,
            records=_lacking(domain),
            since=since,
            refused_from=since + PATIENCE,
            link=Secret(f"{self._url}/console/domains/{domain.pk}/"),
        )


def _untold() -> list[int]:
    stood = SendingDomain.objects.exclude(proved_at=None).order_by("pk")
    return [one.pk for one in stood.defer("dkim_key", "ed25519_key") if _word(one) is not None]


def _word(domain: SendingDomain) -> Word | None:
    return to_tell(standing_of(domain), Word(domain.told), was_in_place=domain.proved_at is not None)


def _lacking(domain: SendingDomain) -> tuple[tuple[str, str], ...]:
    """What is needed and was not right at the last check, as name and type."""
    return tuple(
        (one["name"], "CNAME" if one["purpose"] == "return-path" else "TXT")
        for one in domain.findings
        if WEIGHT[PURPOSES[one["purpose"]]] is Weight.NEEDED and not one["right"]
    )
