"""Mail of the gateway's own that a page causes: from the organisation's Zegel address, sealed until it was sent."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from zegel.accounts.addresses import own_mailbox
from zegel.accounts.models import Organisation, SendingDomain
from zegel.core.clock import Instant
from zegel.core.mail.address import Mailbox
from zegel.core.mail.compose import compose
from zegel.core.mail.texts import Mail
from zegel.core.policy.transport import NO_DEMAND, TransportSecurity
from zegel.edge import chance
from zegel.journey.custody.models import Recipient, Submission, Transmission
from zegel.journey.custody.seal import wrap_field
from zegel.journey.portal.setup import portal


class NoOwnAddress(Exception):
    """The organisation has no sending domain any more; nothing that a guest can mend."""


@dataclass(frozen=True, slots=True)
class OwnMail:
    """What is to be told, to whom, and about whose message."""

    organisation: Organisation
    to: Mailbox
    words: Mail
    kind: Transmission.Kind
    recipient: Recipient | None = None
    submission: Submission | None = None
    needs: TransportSecurity = NO_DEMAND
    expires_at: Instant | None = None


def put(mail: OwnMail, *, now: Instant) -> Transmission:
    """Inside a transaction: stored, for the caller to tell that it is to go out. Raises :class:`NoOwnAddress`."""
    try:
        own = own_mailbox(mail.organisation)
    except SendingDomain.DoesNotExist:
        raise NoOwnAddress from None
    transmission = chance.identifier()
    message_id = f"<{transmission.hex}@{own[1].domain}>"
    octets = compose(
        author=own,
        to=mail.to,
        subject=mail.words.subject,
        text=mail.words.text,
        html=mail.words.html,
        message_id=message_id,
        at=now,
        fields=(),
        boundary=f"=_{secrets.token_hex(16)}",
    )
    return Transmission.objects.create(
        id=transmission,
        organisation=mail.organisation,
        submission=mail.submission,
        recipient=mail.recipient,
        kind=mail.kind,
        reverse_path="",
        address=str(mail.to),
        message_id=message_id,
        sealed=wrap_field(octets, name="transmission", owner=transmission, to=portal().keys.sealing),
        needs_tls=mail.needs.tls,
        needs_authentication=mail.needs.authentication,
        created_at=now,
        expires_at=mail.expires_at,
    )
