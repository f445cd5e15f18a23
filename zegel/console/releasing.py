"""What a change means for recipients who are held."""

from __future__ import annotations

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from zegel.accounts.models import Organisation
from zegel.edge.wake import ring
from zegel.journey import milestones
from zegel.journey.custody.held import held_of


def decide_again(organisation: Organisation, *, key: str | None = None, domain: str | None = None) -> int:
    """Inside a transaction: those who are held (all, of one address, of one domain) get another decision once it is
    committed. Returns how many they are."""
    held = held_of(organisation, key=key, domain=domain)
    if held:
        milestones.supplied(held, now=timezone.now())
        transaction.on_commit(lambda: ring(settings.ZEGEL.run))
    return len(held)
