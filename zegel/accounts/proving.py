"""Who proved that a mailbox is theirs: counted, compared, used once. The report stop tells what is sent to it."""

from __future__ import annotations

import hashlib
import hmac
import re
import unicodedata
import uuid
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Collection
from datetime import timedelta
from typing import Final

from django.db import transaction
from django.db.models import QuerySet

from zegel.accounts.models import Account, MailboxProof, Organisation, SendingDomain
from zegel.accounts.sign_in import has_second_factor
from zegel.accounts.throttle import Place
from zegel.core.clock import Instant
from zegel.core.mail.address import Mailbox
from zegel.core.policy import joining
from zegel.core.policy.joining import Known, Mails, Purpose
from zegel.core.secret import Secret
from zegel.edge import chance
from zegel.edge.chance import identifier

_HOUR: Final = timedelta(hours=1)
_DAY: Final = timedelta(days=1)
_NOT_ASKED_BY_STRANGERS: Final = (Purpose.CHANGED.value, Purpose.INVITED.value)
_FORGET: Final = timedelta(days=2)
_LINK_SECRET: Final = 32  # octets
_NAME: Final = 22  # characters of a link that name the invitation


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
    told = MailboxProof.objects.filter(key=proof.key).exclude(told="").exclude(purpose__in=_NOT_ASKED_BY_STRANGERS)
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


# Invitations: what stands in the mail is a link, and the code is the half of it that nobody can guess.


def invite(account: Account, *, language: str, now: Instant) -> MailboxProof | None:
    """Inside a transaction: an administrator wants the holder to choose a password and a second factor. Links that were
    sent before lead nowhere from now on. ``None``: too many went out."""
    known = MailboxProof.objects.filter(key=account.key, purpose=Purpose.INVITED.value)
    if _counted(known, now).reach(joining.MOST_INVITATIONS):
        return None
    end_invitations(account, now=now)
    return MailboxProof.objects.create(
        id=identifier(),
        address=account.email,
        key=account.key,
        purpose=Purpose.INVITED.value,
        language=language,
        place=b"",
        created_at=now,
    )


def end_invitations(account: Account, *, now: Instant) -> None:
    """Inside a transaction: no link that was sent to the account lets anybody in."""
    MailboxProof.objects.filter(key=account.key, purpose=Purpose.INVITED.value, used_at=None).update(used_at=now)


def invitation_secret() -> Secret[str]:
    """A new one, for :func:`invitation_token`."""
    return Secret(urlsafe_b64encode(chance.octets(_LINK_SECRET)).rstrip(b"=").decode())


def invitation_token(proof: uuid.UUID, secret: Secret[str]) -> Secret[str]:
    """What the link of an invitation carries."""
    return Secret(urlsafe_b64encode(proof.bytes).rstrip(b"=").decode() + secret.reveal())


def invitation(token: Secret[str], *, key: Secret[bytes], now: Instant) -> MailboxProof | None:
    """The one that this link was mailed for, while it holds."""
    text = token.reveal()
    name, secret = text[:_NAME], Secret(text[_NAME:])
    try:
        proof = uuid.UUID(bytes=urlsafe_b64decode(name + "=="))
    except ValueError:
        return None
    row = MailboxProof.objects.filter(id=proof, purpose=Purpose.INVITED.value, used_at=None).first()
    if row is None or row.code is None or not hmac.compare_digest(mac(key, row.id, secret), bytes(row.code)):
        return None
    return row if is_open(row, now) else None


def is_open(proof: MailboxProof, now: Instant) -> bool:
    """The link of this invitation may still be followed. A clock that jumped back a little does no harm (P23)."""
    is_recent = proof.created_at - _HOUR <= now < proof.created_at + joining.INVITATION_LIFETIME
    return proof.used_at is None and is_recent


def open_invitation(account: Account, now: Instant) -> MailboxProof | None:
    """The one that its holder may still answer, if there is one."""
    rows = MailboxProof.objects.filter(key=account.key, purpose=Purpose.INVITED.value, used_at=None)
    return next((row for row in rows.order_by("-created_at") if is_open(row, now)), None)


def open_invitations(organisation: Organisation, now: Instant) -> QuerySet[MailboxProof]:
    """Those that holders of its accounts may still answer."""
    return MailboxProof.objects.filter(
        key__in=organisation.accounts.values("key"),
        purpose=Purpose.INVITED.value,
        used_at=None,
        created_at__gt=now - joining.INVITATION_LIFETIME,
        created_at__lte=now + _HOUR,
    )


def ends_at(proof: MailboxProof) -> Instant:
    """Until when its link may be followed."""
    return proof.created_at + joining.INVITATION_LIFETIME


def invited(keys: Collection[str], now: Instant) -> set[str]:
    """Those (:attr:`Mailbox.key`) that have an open invitation."""
    rows = MailboxProof.objects.filter(key__in=keys, purpose=Purpose.INVITED.value, used_at=None)
    return {row.key for row in rows if is_open(row, now)}


def forget_old(now: Instant) -> None:
    """Inside a transaction: deletes what can't be used any more."""
    old = MailboxProof.objects.filter(created_at__lt=now - _FORGET)
    old.exclude(purpose=Purpose.INVITED.value, created_at__gt=now - joining.INVITATION_LIFETIME - _DAY).delete()


def mac(key: Secret[bytes], proof: uuid.UUID, code: Secret[str]) -> bytes:
    """What is stored of a code; of this proof alone."""
    return hmac.digest(key.reveal(), b"mailbox" + proof.bytes + code.reveal().encode(), hashlib.sha256)


def _plain(typed: str) -> str:
    """The code as it was sent, however it was typed."""
    found = re.sub(r"[^0-9A-Z]", "", unicodedata.normalize("NFKC", typed[:64]).upper())
    return f"{found[:4]}-{found[4:]}"
