"""How long the traces of ended messages are kept. What that removes is :mod:`zegel.journey.custody.traces`."""

from __future__ import annotations

from django.db import transaction

from zegel.accounts.audit import note
from zegel.accounts.models import Organisation
from zegel.core.policy.audit import Act, changes, parse_term


def keep(organisation: Organisation, days: int | None) -> None:
    """Inside or outside of a transaction: so many days after the end of a message, from now on; ``None``: always.
    Raises ``NotATerm``."""
    if days is not None:
        parse_term(str(days))
    with transaction.atomic():
        current = Organisation.objects.select_for_update(no_key=True).get(pk=organisation.pk)
        old, current.trace_days, organisation.trace_days = current.trace_days, days, days
        if changed := changes({"days": old}, {"days": days}):
            current.save(update_fields=["trace_days"])
            note(Act.TRACE_TERM_CHANGED, current, details=changed)
