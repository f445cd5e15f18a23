"""What a name on the command line stands for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zegel.cli.base import Trouble
from zegel.core.mail.address import Domain, Mailbox, NotADomain, NotAMailbox

if TYPE_CHECKING:
    from zegel.accounts.models import Organisation


def organisation_named(name: str) -> Organisation:
    """The organisation; raises :class:`Trouble` with those that there are."""
    from zegel.accounts.models import Organisation

    found = Organisation.objects.filter(name=name).first()
    if found is None:
        known = ", ".join(Organisation.objects.values_list("name", flat=True)) or "none"
        raise Trouble(
            f"There is no organisation {name!r} (known: {known}). Add it with: zegel organisation add {name!r}"
        )
    return found


def domain_named(name: str) -> Domain:
    """The domain; raises :class:`Trouble` with an example."""
    try:
        return Domain.parse(name)
    except NotADomain as cause:
        raise Trouble(f"{name!r} is not a domain name: {cause}. Write it like voorbeeld.nl.") from cause


def mailbox_named(address: str) -> Mailbox:
    """The mailbox; raises :class:`Trouble` with an example."""
    try:
        return Mailbox.parse(address)
    except NotAMailbox as cause:
        raise Trouble(f"{address!r} is not an e-mail address: {cause}. Write it like naam@voorbeeld.nl.") from cause
