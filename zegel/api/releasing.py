"""What a change means for recipients who are held."""

from __future__ import annotations

from django.db import transaction

from zegel.accounts.models import Organisation
from zegel.api.setup import api
from zegel.journey import milestones
from zegel.journey.custody.held import held_of


def decide_again(organisation: Organisation, *, key: str | None = None, domain: str | None = None) -> None:
    """Inside a transaction: those who are held (all, of one address, of one domain) get another decision once it is
    committed."""
    held = held_of(organisation, key=key, domain=domain)
    if held:
        milestones.supplied(held, now=api().now())
        transaction.on_commit(api().ring)
