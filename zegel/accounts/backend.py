"""Who has this address and this password."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.backends import ModelBackend
from django.http import HttpRequest

from zegel.accounts.models import Account
from zegel.core.mail.address import Mailbox, NotAMailbox


class MailboxBackend(ModelBackend):
    """Finds an account by its mailbox, in whatever spelling, and takes as long when there is none (P14)."""

    def authenticate(  # type: ignore[override]
        self, request: HttpRequest | None, email: str | None = None, password: str | None = None, **_: Any
    ) -> Account | None:
        """The account; ``None`` for a wrong address, a wrong password and an account that may not be used."""
        if not email or not password:
            return None
        account = Account.objects.filter(key=key_of(email)).first()
        if account is None:
            Account().set_password(password)  # one Argon2, like check_password
            return None
        return account if account.check_password(password) and account.is_active else None


def key_of(email: str) -> str:
    """What identifies the mailbox, and something that nobody has for what is none."""
    try:
        return Mailbox.parse(email).key
    except NotAMailbox:
        return email.strip().casefold()
