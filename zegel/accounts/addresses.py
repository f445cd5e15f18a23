"""What the gateway itself writes from, for an organisation, and in which language it writes to an author."""

from __future__ import annotations

from typing import Final

from django.db.models import Q

from zegel.accounts.models import Account, Organisation, SendingDomain
from zegel.core.mail.address import Domain, Mailbox
from zegel.core.mail.texts import Language

LOCAL_PART: Final = "zegel"


def own_address(organisation: Organisation) -> Mailbox | None:
    """As :func:`own_mailbox`; ``None`` for an organisation without a sending domain. One that it merely claims is no
    place to write from, nor is one that another organisation has by now."""
    held_elsewhere = SendingDomain.objects.filter(in_place=True).exclude(organisation=organisation).values("name")
    ours = organisation.sending_domains.filter(Q(in_place=True) | Q(proved_at__isnull=False))
    domain = ours.exclude(name__in=held_elsewhere).order_by("-in_place", "id").first()
    return None if domain is None else Mailbox(LOCAL_PART, Domain(domain.name))


def own_mailbox(organisation: Organisation) -> tuple[str, Mailbox]:
    """Display name and mailbox of mail about a message: codes, answers, warnings.

    Raises ``SendingDomain.DoesNotExist`` for an organisation without a sending domain, which never accepted mail.
    """
    address = own_address(organisation)
    if address is None:
        raise organisation.sending_domains.model.DoesNotExist
    return organisation.name, address


def language_of(author: Account, organisation: Organisation) -> Language:
    """For mail to an author: the one that the author chose, else the organisation's."""
    return "nl" if (author.language or organisation.language).startswith("nl") else "en"
