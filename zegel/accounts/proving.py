"""Who proved that a mailbox is theirs: counted, compared, used once. The report stop tells what is sent to it."""

from __future__ import annotations

import hashlib
import hmac
import re
import unicodedata
import uuid
from datetime import timedelta
from typing import Final

from django.db import transaction
from django.db.models import QuerySet

from zegel.accounts.models import Account, MailboxProof, SendingDomain
from zegel.accounts.sign_in import has_second_factor
from zegel.accounts.throttle import Place
from zegel.core.clock import Instant
from zegel.core.mail.address import Mailbox
from zegel.core.policy import joining
from zegel.core.policy.joining import Known, Mails, Purpose
from zegel.core.secret import Secret
from zegel.edge.chance import identifier

_HOUR: Final = timedelta(hours=1)
_DAY: Final = timedelta(days=1)


def ask(mailbox: Mailbox, purpose: Purpose, *, language: str, place: Place, now: Instant) -> MailboxProof | None:
    """Inside a transaction: somebody at ``place`` says that the mailbox is theirs. ``None``: too many come from there.

    Looks nobody up: it does the same for every address, and takes as long (P14).
    """
    recent = MailboxProof.objects.filter(place=place.name, created_at__gt=now - _HOUR)
    if purpose is not Purpose.CHANGED and recent.count() >= joining.REQUESTS_PER_HOUR:
        return None
    return MailboxProof.objects.create(
        id=identifier(),
        address=str(mailbox),
        key=mailbox.key,
        purpose=purpose.value,
        language=language,
        place=place.name,
        by_known_browser=place.is_known_browser,
        created_at=now,
    )


def enter(proof: uuid.UUID, typed: str, *, key: Secret[bytes], now: Instant) -> bool:
    """One try, counted before it is looked at. ``True``: the mailbox is theirs, for half an hour."""
    with transaction.atomic():
        row = MailboxProof.objects.select_for_update().filter(id=proof).first()
        if row is None or row.tries >= joining.TRIES_PER_CODE or row.passed_at is not None:
            return False
        row.tries += 1
        alive = row.created_at <= now < row.created_at + joining.CODE_LIFETIME
        given = mac(key, row.id, Secret(_plain(typed)))
        known = bytes(row.code) if row.code is not None else bytes(len(given))
        if hmac.compare_digest(given, known) and row.code is not None and alive:
            row.passed_at = now
        row.save(update_fields=["tries", "passed_at"])
        return row.passed_at is not None


def passed(proof: uuid.UUID, purpose: Purpose, *, now: Instant) -> MailboxProof | None:
    """The proof, if it was passed for this a short while ago, and was not used yet."""
    return MailboxProof.objects.filter(
        id=proof,
        purpose=purpose.value,
        used_at=None,
        passed_at__gt=now - joining.PASSED_LIFETIME,
        passed_at__lte=now + _HOUR,
    ).first()


def use(proof: MailboxProof, *, now: Instant) -> bool:
    """Inside a transaction: it is used up. ``False``: somebody else did so before."""
    return bool(MailboxProof.objects.filter(id=proof.id, used_at=None).update(used_at=now))


def known(proof: MailboxProof, account: Account | None, *, was_recipient: bool, now: Instant) -> Known:
    """What is known about a mailbox, for :func:`joining.what_to_tell`."""
    told = MailboxProof.objects.filter(key=proof.key).exclude(told="").exclude(purpose=Purpose.CHANGED.value)
    domain = proof.key.rpartition("@")[2]
    return Known(
        has_account=account is not None,
        is_active=account is None or account.is_active,
        of_organisation=account is not None and account.organisation_id is not None,
        has_second_factor=account is not None and has_second_factor(account),
        domain_is_taken=SendingDomain.objects.filter(name=domain, in_place=True).exists(),
        was_recipient=was_recipient,
        by_known_browser=proof.by_known_browser,
        mails=_counted(told, now),
        mails_here=_counted(told.filter(place=proof.place), now),
    )


def _counted(told: QuerySet[MailboxProof], now: Instant) -> Mails:
    return Mails(
        last_hour=told.filter(created_at__gt=now - _HOUR).count(),
        last_day=told.filter(created_at__gt=now - _DAY).count(),
    )


def mac(key: Secret[bytes], proof: uuid.UUID, code: Secret[str]) -> bytes:
    """What is stored of a code; of this proof alone."""
    return hmac.digest(key.reveal(), b"mailbox" + proof.bytes + code.reveal().encode(), hashlib.sha256)


def _plain(typed: str) -> str:
    """The code as it was sent, however it was typed."""
    found = re.sub(r"[^0-9A-Z]", "", unicodedata.normalize("NFKC", typed[:64]).upper())
    return f"{found[:4]}-{found[4:]}"
