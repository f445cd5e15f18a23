"""Devices on which guests need no code: how they are forgotten. How they are remembered: journey.portal.devices."""

from __future__ import annotations

from zegel.accounts.models import Organisation, RememberedDevice
from zegel.core.clock import Instant


def forget_all(organisation: Organisation) -> None:
    """At once: what was opened with one of them needs a code again."""
    RememberedDevice.objects.filter(organisation=organisation).delete()


def forget_expired(now: Instant) -> None:
    """Clears up; none of them counted any more."""
    RememberedDevice.objects.filter(expires_at__lte=now).delete()
