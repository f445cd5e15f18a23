"""The web's own secrets, derived from the opening key: the submission role can make none of them."""

from __future__ import annotations

from functools import cache

from django.conf import settings

from zegel.core.seal.slot import derive
from zegel.core.secret import Secret
from zegel.edge.keyring import opening_keys


@cache
def web_key(purpose: str) -> Secret[bytes]:
    """A key for one purpose. Raises ``KeyTrouble`` where the keyring may not be read."""
    return derive(opening_keys(settings.ZEGEL.keys).web, purpose)
