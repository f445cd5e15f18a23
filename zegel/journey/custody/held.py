"""Which recipients are held, for whoever changes what the decision about them depends on."""

from __future__ import annotations

import uuid
from collections.abc import Collection

from zegel.accounts.models import Organisation
from zegel.journey.custody.jobs import Kind
from zegel.journey.custody.models import Job, Recipient


def held_of(organisation: Organisation, *, key: str | None = None, domain: str | None = None) -> list[uuid.UUID]:
    """Held recipients of the organisation's messages: all, those with this ``Mailbox.key``, or those of this domain (in
    A-labels). To be given to :func:`zegel.journey.milestones.supplied` in the same transaction."""
    found = Recipient.objects.filter(state=Recipient.State.HELD, submission__organisation=organisation)
    if key is not None:
        found = found.filter(key=key)
    else:  # by the jobs that tell their senders: few, where there are very many recipients
        found = found.filter(submission__in=Job.objects.filter(kind=Kind.HELD.value).values("subject"))
    if domain is not None:
        found = found.filter(key__endswith=f"@{domain}")
    return list(found.values_list("id", flat=True))


def held_among(organisation: int, keys: Collection[str]) -> list[uuid.UUID]:
    """As :func:`held_of`, of some hundreds of recipients by their ``Mailbox.key``."""
    found = Recipient.objects.filter(
        state=Recipient.State.HELD, submission__organisation=organisation, key__in=list(keys)
    )
    return list(found.values_list("id", flat=True))
