"""The way of a message, as one value: what was decided for each recipient, why, and what happened then.

It reads metadata alone: nothing here can open content, and there is no import that could. The page, the API, the
command line and the proof of delivery all show what :func:`trace_json` gives (``docs/trace.md``).
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Sequence
from datetime import tzinfo
from typing import Any, Final

from django.db.models import Prefetch
from django.utils.timezone import get_default_timezone

from zegel.core.mail.address import Mailbox
from zegel.core.policy.explain import compared, explain_stored, gives_the_same_today, step_in_words
from zegel.core.policy.precedence import PRECEDENCE, Plan, Readable, plan_from_json, replay
from zegel.core.policy.tracing import (
    Certificate,
    Stands,
    Taken,
    Way,
    authenticity,
    certificate_of,
    nta_in_words,
    summary,
)
from zegel.core.policy.transport import Authentication, Tls, TransportSecurity
from zegel.journey.custody.models import (
    Attempt,
    Confirmation,
    Message,
    MethodRequest,
    Proof,
    Recipient,
    SenderAct,
    SharedReading,
    Submission,
    Transmission,
    WrongTry,
)
from zegel.journey.timeline import (
    ARRIVED,
    Beside,
    attempt_in_words,
    both,
    carried,
    confirmed_in_words,
    events,
    hears,
    written,
)

FORM: Final = "zegel-trace/1"
_KIND = Transmission.Kind


def trace_json(
    submission: Submission, *, only: uuid.UUID | None = None, some: Sequence[uuid.UUID] | None = None
) -> dict[str, Any]:
    """All that is known of a submission and its recipients, in the order of their addresses; no content, no subject,
    no code, and numbers masked. ``only``: as if that recipient were the only one. ``some``: of these alone, with all
    mails to the sender.

    The same facts give the same value, at any time.
    """
    recipients = _recipients(submission, [only] if only is not None else some)
    beside = Beside.of(recipients)
    zone = get_default_timezone()
    told = [_recipient(one, submission, beside, zone) for one in recipients]
    return {
        "form": FORM,
        "submission": _submission(submission),
        "is_final": all(one["is_final"] for one in told),
        "recipients": told,
        "reports": None if only is not None else [_mail(one, None, beside) for one in _reports(submission)],
    }


def canonical(trace: dict[str, Any]) -> bytes:
    """The octets of a trace as it is exported: what :func:`sum_of` is of."""
    return (json.dumps(trace, ensure_ascii=False, indent=2, sort_keys=True) + "\n").encode("utf-8", "replace")


def sum_of(trace: dict[str, Any]) -> str:
    """SHA-256 in hexadecimal, of the file that is exported."""
    return hashlib.sha256(canonical(trace)).hexdigest()


# --- gathered ----------------------------------------------------------------------------------------------------


def _recipients(submission: Submission, some: Sequence[uuid.UUID] | None) -> list[Recipient]:
    of = Recipient.objects.filter(submission=submission, conversation__organisation=submission.organisation_id)
    if some is not None:
        of = of.filter(id__in=some)
    mails = Transmission.objects.order_by("created_at", "id").defer("sealed")
    return list(
        of.select_related("conversation")
        .prefetch_related(
            Prefetch("transmissions", mails),
            Prefetch("transmissions__attempts", Attempt.objects.order_by("id")),
            Prefetch("method_requests", MethodRequest.objects.order_by("at", "id")),
            Prefetch("acts", SenderAct.objects.select_related("account")),
            Prefetch("conversation__acts", SenderAct.objects.filter(recipient=None).select_related("account")),
            Prefetch("proofs", Proof.objects.order_by("created_at", "id")),
            Prefetch("wrong_tries", WrongTry.objects.order_by("at", "id")),
            Prefetch("conversation__messages", Message.objects.order_by("created_at", "id")),
            Prefetch(
                "conversation__shared_readings",
                SharedReading.objects.select_related("account", "mailbox").order_by("first_at", "id"),
            ),
        )
        .order_by("key", "id")
    )


def _reports(submission: Submission) -> list[Transmission]:
    """What the sender was told; it isn't stored of whom."""
    found = Transmission.objects.filter(submission=submission, recipient=None, kind__in=(_KIND.REPORT, _KIND.NOTICE))
    attempts = Prefetch("attempts", Attempt.objects.order_by("id"))
    return list(found.defer("sealed").prefetch_related(attempts).order_by("created_at", "id"))


# --- the submission ----------------------------------------------------------------------------------------------


def _submission(submission: Submission) -> dict[str, Any]:
    credential, token = submission.credential, submission.token
    return {
        "id": str(submission.id),
        "organisation": submission.organisation.name,
        "message_id": submission.message_id,
        "sender": submission.account.email,
        "reverse_path": submission.reverse_path,
        "envelope_id": submission.envelope_id,
        "accepted_at": written(submission.accepted_at),
        "credential": {"username": credential.username, "description": credential.description} if credential else None,
        "token": token.name if token else None,
        "client": submission.source,
        "tls": submission.tls,
        "requires_tls": submission.requires_tls,
        "sender_warned_at": written(submission.warned_at),
    }


# --- one recipient -----------------------------------------------------------------------------------------------


def _recipient(one: Recipient, submission: Submission, beside: Beside, zone: tzinfo) -> dict[str, Any]:
    plan, conversation = _plan(one), one.conversation
    mails = [_mail(mail, plan, beside) for mail in one.transmissions.all()]
    stands = Stands(one.state)
    return {
        "id": str(one.id),
        "address": one.address,
        "conversation": str(one.conversation_id),
        "blind": conversation.is_blind,
        "state": one.state,
        "is_final": stands.is_final and not any(mail["state"] == "queued" for mail in mails),
        "summary": both(summary(_way(one, submission, beside), zone)),
        "method": one.method or None,
        "masked": one.masked or None,
        "status": one.status or None,
        "reason": one.reason or None,
        "sender_hears": hears(one, submission).value,
        "decided_at": written(one.decided_at),
        "delivered_at": written(one.delivered_at),
        "opened_at": written(one.opened_at),
        "opened_with": one.opened_with or None,
        "revoked_at": written(one.revoked_at),
        "expires_at": written(conversation.expires_at),
        "destroyed_at": written(conversation.destroyed_at),
        "confirmation": _confirmation(beside.confirmations.get(one.id)),
        "decision": _decision(one, plan),
        "events": [event.to_json() for event in events(one, submission, beside)],
        "mails": mails,
    }


def _confirmation(found: Confirmation | None) -> dict[str, Any] | None:
    """``None``: nobody was asked for one. Without an action: nothing came yet."""
    if found is None:
        return None
    return {
        "action": found.action or None,
        "status": found.status or None,
        "host": found.host or None,
        "at": written(found.at),
    }


def _way(one: Recipient, submission: Submission, beside: Beside) -> Way:
    mails = [mail for mail in one.transmissions.all() if mail.kind in (_KIND.READABLE, _KIND.NOTIFICATION)]
    taken = [
        Taken(attempt.host, attempt.tls, attempt.authentication, attempt.at)
        for mail in mails
        if mail.state == Transmission.State.SENT
        for attempt in mail.attempts.all()
        if attempt.outcome == ARRIVED
    ]
    waiting = [mail for mail in mails if mail.state == Transmission.State.QUEUED]
    return Way(
        Stands(one.state),
        submission.accepted_at,
        one.decided_at,
        taken[-1] if taken else None,
        one.delivered_at,
        one.opened_at,
        one.opened_with,
        sum(len(mail.attempts.all()) for mail in mails),
        min((beside.due[mail.id] for mail in waiting if mail.id in beside.due), default=None),
        one.reason,
        hears(one, submission),
        one.revoked_at,
        one.conversation.destroyed_at,
        confirmed_in_words(beside.confirmations.get(one.id)),
    )


# --- the decision ------------------------------------------------------------------------------------------------


def _plan(one: Recipient) -> Plan | None:
    """``None`` before the decision, and for a plan that another version stored."""
    try:
        return plan_from_json(one.plan) if one.plan else None
    except (ValueError, KeyError):
        return None


def _decision(one: Recipient, plan: Plan | None) -> dict[str, Any] | None:
    """The table of that moment; ``case`` and ``facts`` are ``None`` where they were not stored, or can't be read."""
    if plan is None:
        return None
    told = _replayed(one)
    return {
        "table": (one.plan or {}).get("table"),
        "case": told["case"] if told else None,
        "facts": told["facts"] if told else None,
        "rows": [
            {
                "rank": found.rank,
                "name": found.name,
                "naam": _naam(found.rank),
                "applies": found.hit,
                "why": found.why.value,
                **both(found.why),
            }
            for found in plan.findings
        ],
        "plan": [
            {"number": number, "stands": _stands(number, one), **both(step_in_words(step))}
            for number, step in enumerate(plan.steps)
        ],
        "replayed": told["replayed"] if told else None,
    }


def _replayed(one: Recipient) -> dict[str, Any] | None:
    try:
        replayed = replay(one.plan or {})
        told = explain_stored(Mailbox.parse(one.address), replayed, is_blind=one.conversation.is_blind).to_json()
    except (ValueError, KeyError):
        return None
    again = {
        "same_then": replayed.is_same,
        "same_today": gives_the_same_today(replayed),
        "said": [both(one) for one in compared(replayed)],
    }
    return {"case": told["case"], "facts": told["facts"], "replayed": again}


def _naam(rank: int) -> str:
    return next((row.naam for row in PRECEDENCE if row.rank == rank), "")


def _stands(number: int, one: Recipient) -> str:
    """Of a step: done, current, failed, skipped, ahead."""
    if number < one.step:
        return "failed"
    if number > one.step:
        return "skipped" if Stands(one.state).is_final else "ahead"
    match Stands(one.state):
        case Stands.ACCEPTED:
            return "ahead"
        case Stands.HELD | Stands.DECIDED:
            return "current"
        case Stands.UNDELIVERABLE:
            return "failed"
        case Stands.NOTIFIED | Stands.DELIVERED | Stands.OPENED:
            return "done"


# --- mails and attempts ------------------------------------------------------------------------------------------


def _mail(mail: Transmission, plan: Plan | None, beside: Beside) -> dict[str, Any]:
    over_nta = _goes_over_nta(mail, plan)
    needs = TransportSecurity(Tls(mail.needs_tls), Authentication(mail.needs_authentication))
    return {
        "id": str(mail.id),
        "kind": mail.kind,
        **both(carried(mail.kind)),
        "to": mail.address,
        "message_id": mail.message_id,
        "state": mail.state,
        "step": mail.step,
        "over_nta": over_nta,
        "needs": {"tls": needs.tls.name, "authentication": needs.authentication.name},
        "created_at": written(mail.created_at),
        "expires_at": written(mail.expires_at),
        "next_try_at": written(beside.due.get(mail.id)) if mail.state == Transmission.State.QUEUED else None,
        "sender_told_of_delay": mail.warned,
        "attempts": [_attempt(attempt, mail) for attempt in mail.attempts.all()],
    }


def _goes_over_nta(mail: Transmission, plan: Plan | None) -> bool:
    if plan is None or mail.kind != _KIND.READABLE or mail.step >= len(plan.steps):
        return False
    step = plan.steps[mail.step]
    return isinstance(step, Readable) and step.over_nta


def _attempt(attempt: Attempt, mail: Transmission) -> dict[str, Any]:
    because = nta_in_words(attempt.reply)
    return {
        "at": written(attempt.at),
        "outcome": attempt.outcome,
        **both(attempt_in_words(attempt, mail)),
        "host": attempt.host or None,
        "address": attempt.address or None,
        "stage": attempt.stage or None,
        "reply": attempt.reply or None,
        "because": both(because) if because else None,
        "tls": _named(Tls, attempt.tls),
        "authentication": _named(Authentication, attempt.authentication),
        "authenticity": both(authenticity(attempt.authentication, attempt.named_by)),
        "host_named_by": attempt.named_by.split(),
        "protocol": attempt.protocol or None,
        "cipher": attempt.cipher or None,
        "key_exchange": attempt.key_exchange or None,
        "certificate": _certificate(certificate_of(attempt.certificate), attempt.certificate),
    }


def _named(levels: type[Tls] | type[Authentication], value: int) -> str:
    try:
        return levels(value).name
    except ValueError:  # of another version
        return str(value)


def _certificate(shown: Certificate, kept: str) -> dict[str, Any] | None:
    if not kept:
        return None
    return {
        "names": list(shown.names),
        "issuer": shown.issuer or None,
        "until": shown.until or None,
        "sha256": shown.sha256 or None,
        "tlsa": shown.tlsa or None,
        "trouble": shown.trouble or None,
        "kept": kept,
    }
