"""A message to which everything happened, and what of it nobody may see in a trace."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from tests.journey.portal_ground import MARKER, NOON, Ground, Visitor, mail
from zegel.core.policy.case import Asked, Case, OrganisationPolicy, Remembered
from zegel.core.policy.precedence import plan, plan_to_json
from zegel.core.policy.transport import PROVEN
from zegel.core.policy.verification import AccessCode, Method, SmsCode
from zegel.core.secret import Secret
from zegel.edge.chance import identifier
from zegel.journey.custody.models import (
    Attempt,
    MethodRequest,
    Recipient,
    SenderAct,
    Submission,
    Transmission,
)

State = Recipient.State
Kind = Transmission.Kind
PHONE: Final = "+31612345678"
ACCESS_CODE: Final = "winterkoning-2026"
TEXT: Final = "GEHEIM-ANTWOORD-99"
REPLY: Final = "250 2.0.0 Ok: queued as 4F1"
SHA256: Final = "3f2a7701" * 8
CERTIFICATE: Final = (
    f"mx.example.net,mail.example.net; issued by CN=Voorbeeld CA; until 2027-01-01; sha256 {SHA256}; tlsa 3 1 1"
)
CASE: Final = Case(
    Asked(SmsCode(Secret(PHONE)), PROVEN),
    OrganisationPolicy(required=frozenset({Method.ACCOUNT, Method.SMS})),
    remembered=Remembered(access_code=AccessCode(Secret(ACCESS_CODE))),
)


@dataclass(frozen=True)
class Rich:
    """The message, its recipients, and the secrets that are in it."""

    submission: Submission
    guest: Recipient  # notified, asked codes, opened, answered
    readable: Recipient  # delivered readable
    lost: Recipient  # could not be delivered
    secrets: tuple[str, ...]


def sent(
    recipient: Recipient,
    kind: str = Kind.READABLE,
    *,
    state: str = Transmission.State.SENT,
    **fields: Any,
) -> Transmission:
    """A mail on its way to a recipient."""
    return Transmission.objects.create(
        organisation=recipient.conversation.organisation,
        submission=recipient.submission,
        recipient=recipient,
        kind=kind,
        address=recipient.address,
        message_id=f"<{identifier().hex}@voorbeeld.test>",
        state=state,
        created_at=NOON,
        **fields,
    )


def tried(mail: Transmission, outcome: str = "Accepted", **fields: Any) -> Attempt:
    """One attempt to make it; without fields at a server that DANE proves."""
    evidence: dict[str, Any] = {
        "host": "mx.example.net",
        "address": "192.0.2.25",
        "stage": "",
        "reply": REPLY,
        "tls": 13,
        "authentication": 3,
        "protocol": "TLSv1.3",
        "cipher": "TLS_AES_256_GCM_SHA384",
        "key_exchange": "X25519MLKEM768",
        "certificate": CERTIFICATE,
        "named_by": "dnssec",
    }
    return Attempt.objects.create(transmission=mail, at=NOON, outcome=outcome, **{**evidence, **fields})


def rich(ground: Ground) -> Rich:
    """With a guest that went through the portal itself."""
    decided: dict[str, Any] = {"plan": plan_to_json(plan(CASE), CASE), "decided_at": NOON, "step": 0}
    conversation = ground.conversation(mail(subject=f"Onderwerp {MARKER}"))
    Submission.objects.filter(id=conversation.submission_id).update(reverse_path="balie@voorbeeld.test")
    guest = ground.recipient(conversation, "gast@example.org", opened_with="", **decided)
    token = ground.link(guest)
    tried(sent(guest, Kind.NOTIFICATION))
    visitor = Visitor(ground)
    visitor.follow(token)
    visitor.ask(guest)
    code = ground.last_code()
    wrong = "000000" if code != "000000" else "111111"
    visitor.enter(guest, wrong)
    visitor.enter(guest, code)
    visitor.read(guest)
    assert visitor.answer(guest, TEXT).status_code == 303
    MethodRequest.objects.create(
        recipient=guest, method="sms", why="no-phone", at=NOON, answer="refused", answered_at=NOON
    )
    SenderAct.objects.create(
        conversation=conversation, account=ground.author, kind=SenderAct.Kind.EXPIRY, at=NOON,
        until=NOON + timedelta(days=30),
    )  # fmt: skip
    readable = ground.recipient(conversation, "leest@example.org", method="", state=State.DELIVERED, **decided)
    first = sent(readable)
    tried(first, "InsufficientSecurity", host="mx2.example.net", tls=12, authentication=0, reply="", stage="starttls")
    tried(first)
    lost = ground.recipient(
        conversation, "weg@example.org", method="", state=State.UNDELIVERABLE, reason="recipient-refused",
        status="5.1.1", **decided,
    )  # fmt: skip
    tried(sent(lost, state=Transmission.State.FAILED), "Refused", reply="550 5.1.1 no such user", stage="rcpt")
    guest.refresh_from_db()
    secrets = (MARKER, "Onderwerp", "uitslag", TEXT, PHONE, PHONE[3:], "612345678", ACCESS_CODE, code, token)
    return Rich(Submission.objects.get(id=conversation.submission_id), guest, readable, lost, secrets)
