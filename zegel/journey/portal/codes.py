"""Codes in the database: the rules of :mod:`zegel.core.policy.challenge`, in one transaction each (P12)."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
import unicodedata
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, assert_never
from urllib.parse import urlsplit

from django.db import transaction
from django.utils import timezone

from zegel.accounts import submitting
from zegel.accounts.look import own_words
from zegel.core.clock import Instant
from zegel.core.mail.address import Mailbox
from zegel.core.mail.texts import CodeMail, Language, NotWords, code_mail, sms_text
from zegel.core.policy import challenge as rules
from zegel.core.policy.challenge import Expired, Ledger, Locked, Passed, TooMany, TooSoon, Verdict, Wrong
from zegel.core.policy.phone import country_of
from zegel.core.policy.texts import TextLimit
from zegel.core.policy.transport import Authentication, Tls, TransportSecurity
from zegel.core.policy.verification import Method
from zegel.core.seal.wrap import CannotOpen
from zegel.core.secret import Secret
from zegel.edge import chance
from zegel.edge.log import CapReached, log
from zegel.journey import milestones
from zegel.journey.custody.models import Challenge, Recipient, Sms, Transmission, WrongTry
from zegel.journey.custody.seal import wrap_field
from zegel.journey.portal.guests import lock
from zegel.journey.portal.mails import NoOwnAddress, OwnMail, put
from zegel.journey.portal.proofs import prove
from zegel.journey.portal.setup import portal

__all__ = [
    "CannotSend",
    "Expired",
    "Locked",
    "NoTexts",
    "Passed",
    "TooMany",
    "TooSoon",
    "Wrong",
    "asked",
    "could_not_be_mailed",
    "could_not_be_sent",
    "digits",
    "hint",
    "judge",
    "send",
]
_DAY: Final = timedelta(hours=24)
_SENT: Final = (Method.SMS, Method.EMAIL)
_NOBODY: Final = Secret(b"")


@dataclass(frozen=True, slots=True)
class NoTexts:
    """The organisation sends no text message now, or none to this number's country."""

    limit: TextLimit


class CannotSend(Exception):
    """The number or the organisation's own address is gone; nothing that the guest can mend."""


# Asking for a code


def send(recipient: Recipient, browser: bytes, language: Language) -> TooSoon | TooMany | Expired | NoTexts | None:
    """Puts a code on its way, for this browser alone; or tells why not. Raises :class:`CannotSend`.

    ``Expired``: what the recipient is asked for isn't what the page said."""
    asked_for, now = recipient.method, portal().now()
    code = Secret(f"{secrets.randbelow(1_000_000):06}")
    with transaction.atomic():
        recipient = lock(recipient)
        if _is_late(recipient, asked_for):
            return Expired()
        method = Method(recipient.method)
        _date_back(recipient, now)
        phone = _phone(recipient) if method is Method.SMS else None
        match rules.issue(_ledger(recipient, now), method, now):
            case TooSoon() | TooMany() as refused:
                return refused
            case rules.Issued(issued):
                pass
        if phone is not None:
            organisation = recipient.conversation.organisation_id
            credential = recipient.submission.credential_id
            country = country_of(phone.reveal())
            exceeded = submitting.count_text(organisation, phone, country, credential=credential, now=now)
            if exceeded is not None:
                log(CapReached(exceeded.limit.value, organisation, exceeded.credential or 0))
                return NoTexts(exceeded.limit)
        row = Challenge(
            id=chance.identifier(),
            recipient=recipient,
            method=method.value,
            browser=browser,
            created_at=issued.created,
            expires_at=issued.expires or now,
        )
        row.code = _mac(row, code)
        if phone is not None:
            _put_sms(recipient, phone, code, language, now)
        else:
            row.transmission = _put_mail(recipient, code, language, now)
        row.save(force_insert=True)
        _forget_old(recipient, now)
        transaction.on_commit(portal().ring)
    return None


def _put_sms(recipient: Recipient, phone: Secret[str], code: Secret[str], language: Language, now: Instant) -> None:
    sms = chance.identifier()
    try:
        text = sms_text(code, urlsplit(portal().url).hostname or "", language)
    except NotWords as cause:
        raise CannotSend from cause
    sealed = json.dumps({"to": phone.reveal(), "text": text}, ensure_ascii=False).encode()
    Sms.objects.create(
        id=sms,
        recipient=recipient,
        sealed=wrap_field(sealed, name="sms", owner=sms, to=portal().keys.sealing),
        created_at=now,
    )
    milestones.sms_asked(sms, now=now)


def _put_mail(recipient: Recipient, code: Secret[str], language: Language, now: Instant) -> Transmission:
    conversation = recipient.conversation
    organisation, author = conversation.organisation, conversation.author
    told = CodeMail(
        code,
        author.display_name,
        author.mailbox,
        organisation.name,
        conversation.created_at,
        own=own_words(organisation, language),
    )
    mail = OwnMail(
        organisation,
        Mailbox.parse(recipient.address),
        code_mail(told, language, zone=timezone.get_default_timezone()),
        Transmission.Kind.CODE,
        recipient=recipient,
        needs=TransportSecurity(Tls(recipient.code_needs_tls), Authentication(recipient.code_needs_authentication)),
        expires_at=now + rules.CODE_LIFETIME,
    )
    try:
        row = put(mail, now=now)
    except NoOwnAddress:
        raise CannotSend from None
    milestones.code_asked(row.id, now=now)
    return row


def could_not_be_mailed(recipient: Recipient) -> bool:
    """The last code by mail did not travel at the level that the message demands; the sender was
    told."""
    return _last_state(recipient, Method.EMAIL) == Transmission.State.FAILED


def could_not_be_sent(recipient: Recipient) -> bool:
    """The provider did not take the last text message."""
    return _last_state(recipient, Method.SMS) == "failed"


def _last_state(recipient: Recipient, method: Method) -> str | None:
    if recipient.method != method.value:
        return None
    rows = (
        Transmission.objects.filter(recipient=recipient, kind=Transmission.Kind.CODE)
        if method is Method.EMAIL
        else Sms.objects.filter(recipient=recipient)
    )
    return rows.order_by("-created_at", "-id").values_list("state", flat=True).first()


# Answering


def asked(recipient: Recipient, browser: bytes | None, now: Instant) -> Challenge | None:
    """The code that this browser asked for last, while it can still be answered. Reads only."""
    row = _last(recipient, browser)
    alive = row is not None and row.used_at is None and row.tries < rules.TRIES_PER_CODE and now < row.expires_at
    return row if alive else None


def judge(recipient: Recipient, browser: bytes, typed: Secret[str]) -> Verdict:
    """One try by this browser, at what the recipient is asked for at that moment. After :class:`Passed` it holds a
    proof; a wrong try is counted, whoever else tries at the same moment."""
    asked_for, now = recipient.method, portal().now()
    with transaction.atomic():
        recipient = lock(recipient)
        if _is_late(recipient, asked_for):
            return Expired()
        method = Method(recipient.method)
        _date_back(recipient, now)
        known = _access_code(recipient) if method is Method.ACCESS_CODE else _NOBODY
        row = _last(recipient, browser) if method in _SENT else None
        if row is None and method in _SENT:
            return Expired()
        before = _state(row, now)
        matches = _is_code(row, typed) if row is not None else _is_access_code(known, typed)
        judged = rules.judge(before, _ledger(recipient, now), matches, now)
        if judged.challenge.wrong > before.wrong:
            WrongTry.objects.create(recipient=recipient, at=now)
        if row is not None:
            row.tries = judged.challenge.wrong
            row.used_at = row.used_at or (now if judged.challenge.is_used else None)
            row.save(update_fields=["tries", "used_at"])
        match judged.verdict:
            case Passed():
                prove(recipient, browser, now)
            case Wrong() | Expired() | Locked():
                pass
            case unreachable:
                assert_never(unreachable)
    return judged.verdict


def digits(typed: str) -> Secret[str] | None:
    """Six digits, however they were grouped; ``None`` for anything else, which is no try."""
    found = re.sub(r"[\s\-.\u200b\u2010-\u2015\u2060\u2212\ufeff]+", "", unicodedata.normalize("NFKC", typed))
    return Secret(found) if re.fullmatch("[0-9]{6}", found) else None


# What is stored


def _is_late(recipient: Recipient, method: str) -> bool:
    """The sender took the message back, or allowed another method than the page was made for."""
    return recipient.revoked_at is not None or recipient.method != method


def _ledger(recipient: Recipient, now: Instant) -> Ledger:
    wrong = WrongTry.objects.filter(recipient=recipient, at__gt=now - _DAY).order_by("at")
    issued = Challenge.objects.filter(recipient=recipient, created_at__gt=now - _DAY).order_by("created_at")
    return Ledger(tuple(wrong.values_list("at", flat=True)), tuple(issued.values_list("created_at", flat=True)))


def _date_back(recipient: Recipient, now: Instant) -> None:
    """The clock was set back (P23): what is dated later counts as of this moment. A lock or a wait is as long as ever,
    and not until that date comes again; a code from then is dead for good."""
    latest = now + rules.CLOCK_TOLERANCE
    WrongTry.objects.filter(recipient=recipient, at__gt=latest).update(at=now)
    late = Challenge.objects.filter(recipient=recipient, created_at__gt=latest)
    late.update(created_at=now, expires_at=now, used_at=now)


def _last(recipient: Recipient, browser: bytes | None) -> Challenge | None:
    if browser is None:
        return None
    rows = Challenge.objects.filter(recipient=recipient, browser=browser, method=recipient.method)
    return rows.order_by("-created_at", "-id").first()


def _state(row: Challenge | None, now: Instant) -> rules.Challenge:
    if row is None:
        return rules.ask_for_access_code(now)
    return rules.Challenge(Method(row.method), row.created_at, row.expires_at, row.tries, row.used_at is not None)


def _forget_old(recipient: Recipient, now: Instant) -> None:
    WrongTry.objects.filter(recipient=recipient, at__lt=now - 2 * _DAY).delete()
    Challenge.objects.filter(recipient=recipient, created_at__lt=now - 2 * _DAY).delete()


def _mac(row: Challenge, code: Secret[str]) -> bytes:
    message = row.id.bytes + code.reveal().encode()
    return hmac.digest(portal().keys.codes.reveal(), message, hashlib.sha256)


def _is_code(row: Challenge, typed: Secret[str]) -> bool:
    return row.code is not None and hmac.compare_digest(_mac(row, typed), bytes(row.code))


def _is_access_code(known: Secret[bytes], typed: Secret[str]) -> bool:
    """Constant time, also for codes of different lengths."""
    left, right = (hashlib.sha256(_plain(text)).digest() for text in (known.reveal().decode(), typed.reveal()))
    return bool(known.reveal()) and hmac.compare_digest(left, right)


def _plain(text: str) -> bytes:
    return unicodedata.normalize("NFC", text).strip().encode("utf-8", "surrogatepass")


def _verification(recipient: Recipient) -> dict[str, str | None]:
    opened = portal().unsealer.field(recipient.verification, name="verification", owner=recipient.id)
    values: dict[str, str | None] = json.loads(opened.reveal())
    return values


def _phone(recipient: Recipient) -> Secret[str]:
    try:
        return Secret(_verification(recipient)["phone"] or "")
    except (CannotOpen, KeyError) as cause:
        raise CannotSend from cause


def _access_code(recipient: Recipient) -> Secret[bytes]:
    try:
        return Secret((_verification(recipient)["access_code"] or "").encode())
    except (CannotOpen, KeyError):
        return _NOBODY


def hint(recipient: Recipient) -> str:
    """What the sender gave to remember the access code by; for holders of the link alone."""
    try:
        return _verification(recipient).get("hint") or ""
    except CannotOpen:
        return ""
