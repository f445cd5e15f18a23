"""What is known of a recipient is shown and erased; an organisation is erased, and another one stands as it was."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any, Final

import pytest
from django.apps import apps
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from tests.journey.portal_ground import Ground, dump, mail, signed_in, words
from tests.web.whole_site import PHONE, House, house, whole_ground
from zegel.accounts.audit import note
from zegel.accounts.models import Account, AuditEntry, Organisation
from zegel.core.mail.address import Mailbox
from zegel.core.mail.bounce import Failed
from zegel.core.policy.audit import Act
from zegel.core.policy.case import Asked, Case, Remembered
from zegel.core.policy.phone import mask_phone
from zegel.core.policy.precedence import plan, plan_to_json
from zegel.core.policy.verification import SmsCode
from zegel.core.secret import Secret
from zegel.journey.custody import erasures, forgetting, jobs, memory, restoring
from zegel.journey.custody.forgetting import Erased, Forgotten
from zegel.journey.custody.jobs import Kind
from zegel.journey.custody.models import (
    Attempt,
    Content,
    Conversation,
    Erasure,
    ImportComplaint,
    Job,
    Link,
    MethodRequest,
    PutAside,
    Recipient,
    SealedVerification,
    Submission,
    Transmission,
    VerificationData,
    VerificationImport,
)
from zegel.journey.custody.retention import DESTROYED, forget_mails_of_no_message
from zegel.journey.known import is_nothing, known_of
from zegel.journey.report import inbound
from zegel.journey.tracing import trace_json

pytestmark = pytest.mark.django_db

GUEST: Final = Mailbox.parse("ontvanger@gast-een.test")


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return whole_ground(tmp_path)


@pytest.fixture
def one(ground: Ground) -> House:
    return house(ground, "Een", "een.test")


@pytest.fixture
def two(ground: Ground) -> House:
    return house(ground, "Twee", "twee.test")


def known(ground: Ground, organisation: Organisation, mailbox: Mailbox) -> VerificationData:
    sealing = ground.keys.sealing
    memory.supply(
        organisation,
        mailbox,
        SmsCode(Secret(PHONE)),
        account=None,
        origin=VerificationData.Origin.ADMINISTRATOR,
        now=ground.clock(),
        sealing=sealing,
    )
    return VerificationData.objects.get(organisation=organisation, key=mailbox.key, account=None)


def attempted(recipient: Recipient, reply: str) -> Attempt:
    mail = Transmission.objects.create(
        id=uuid.uuid4(),
        organisation=recipient.conversation.organisation,
        recipient=recipient,
        kind=Transmission.Kind.NOTIFICATION,
        address=recipient.address,
        message_id="<x@zegel.test>",
        state=Transmission.State.SENT,
        created_at=recipient.decided_at or recipient.conversation.submission.accepted_at,
    )
    return Attempt.objects.create(
        transmission=mail, at=mail.created_at, outcome="Accepted", host="mx.gast-een.test", reply=reply
    )


def said(row: object) -> str:
    return json.dumps({name: str(value) for name, value in vars(row).items() if name != "_state"})


# A recipient


def test_of_somebody_unknown_there_is_nothing(ground: Ground, one: House) -> None:
    nobody = Mailbox.parse("niemand@example.org")
    assert is_nothing(known_of(one.organisation, nobody))
    assert forgetting.forget_recipient(one.organisation, nobody, now=ground.clock()).is_nothing


def test_what_is_known_is_told_without_content_numbers_and_codes(ground: Ground, one: House, two: House) -> None:
    known(ground, one.organisation, GUEST)
    told = known_of(one.organisation, GUEST)
    text = json.dumps(told)
    assert not is_nothing(told) and is_nothing(known_of(two.organisation, GUEST))
    assert [row["masked"] for row in told["verification"]] == ["+31 6 ****5678"]
    assert [len(row["recipients"]) for row in told["messages"]] == [1]
    assert [row["browser"] for row in told["devices"]]
    assert not any(secret in text for secret in (*one.secrets, "uitslag"))
    staff = known_of(one.organisation, Mailbox.parse(one.administrator.email))
    assert staff["account"]["role"] == "owner"


def test_a_recipient_is_forgotten_and_others_are_not(ground: Ground, one: House, two: House) -> None:
    known(ground, one.organisation, GUEST)
    known(ground, two.organisation, GUEST)
    attempt = attempted(one.guest, f"550 5.1.1 <{GUEST}>: no such user")
    others = [said(row) for row in Recipient.objects.exclude(id=one.guest.id).order_by("id")]
    done = forgetting.forget_recipient(one.organisation, GUEST, now=ground.clock())
    assert done == Forgotten(messages=1, numbers_and_codes=1, devices=1)
    assert is_nothing(known_of(one.organisation, GUEST))
    one.guest.refresh_from_db()
    attempt.refresh_from_db()
    assert one.guest.address.endswith("@erased.invalid") and one.guest.revoked_at is not None
    assert attempt.reply == "550 5.1.1"
    assert not Link.objects.filter(recipient=one.guest).exists()
    assert not SealedVerification.objects.filter(recipient=one.guest).exists()
    assert [said(row) for row in Recipient.objects.exclude(id=one.guest.id).order_by("id")] == others
    assert VerificationData.objects.filter(organisation=two.organisation, key=GUEST.key).exists()
    mine = [row for row in dump() if str(GUEST) in row and not row.startswith("accounts_auditentry")]
    assert len(mine) == VerificationData.objects.filter(organisation=two.organisation, key=GUEST.key).count()
    entry = AuditEntry.objects.filter(organisation=one.organisation).latest("number")
    assert entry.act == "recipient-erased" and str(GUEST) not in said(entry)


def of_no_message(organisation: Organisation, address: str, ground: Ground, state: str = "sent") -> Transmission:
    """As a mail with a code for a free account, or a new password."""
    mail = Transmission.objects.create(
        id=uuid.uuid4(),
        organisation=organisation,
        kind=Transmission.Kind.CODE,
        address=address,
        message_id="<y@zegel.test>",
        state=state,
        created_at=ground.clock(),
    )
    Attempt.objects.create(
        transmission=mail, at=mail.created_at, outcome="Accepted", host="mx.gast-een.test", reply=f"250 to <{address}>"
    )
    return mail


@pytest.mark.parametrize("restored", [False, True])
def test_mails_about_an_account_of_a_recipient_are_forgotten_too(
    ground: Ground, one: House, two: House, restored: bool
) -> None:
    with transaction.atomic():
        sent = of_no_message(one.organisation, "Ontvanger@gast-een.test", ground)
        queued = of_no_message(one.organisation, str(GUEST), ground, state="queued")
        jobs.put(Kind.TRANSMIT, [queued.id], due=ground.clock())
        others = [
            of_no_message(one.organisation, "iemand@gast-een.test", ground),
            of_no_message(two.organisation, str(GUEST), ground),
            of_no_message(one.organisation, one.administrator.email, ground),
        ]
        if restored:
            forgetting.name_nobody_again([one.guest.id], now=ground.clock())
            forgetting.name_nobody_again([one.guest.id], now=ground.clock())
        else:
            forgetting.forget_recipient(one.organisation, GUEST, now=ground.clock())
    assert not Transmission.objects.filter(id__in=[sent.id, queued.id]).exists()
    assert not Job.objects.filter(subject=queued.id).exists()
    assert Transmission.objects.filter(id__in=[mail.id for mail in others]).count() == 3


def test_what_is_known_of_a_mail_of_no_message_ends_after_a_month(ground: Ground, one: House) -> None:
    sent = of_no_message(one.organisation, str(GUEST), ground)
    waiting = of_no_message(one.organisation, str(GUEST), ground, state="queued")
    of_a_message = attempted(one.guest, "250 ok").transmission
    ground.clock.forward(days=29)
    forget_mails_of_no_message(ground.clock())
    assert Transmission.objects.filter(id=sent.id).exists()
    ground.clock.forward(days=2)
    forget_mails_of_no_message(ground.clock())
    assert not Transmission.objects.filter(id=sent.id).exists()
    assert not Attempt.objects.filter(transmission_id=sent.id).exists()
    assert Transmission.objects.filter(id__in=[waiting.id, of_a_message.id]).count() == 2


def test_who_got_it_readable_keeps_it_and_is_not_said_to_have_lost_it(ground: Ground, one: House) -> None:
    Recipient.objects.filter(id=one.guest.id).update(state="delivered")
    forgetting.forget_recipient(one.organisation, GUEST, now=ground.clock())
    one.guest.refresh_from_db()
    assert (one.guest.state, one.guest.revoked_at) == ("delivered", None)
    assert one.guest.address.endswith("@erased.invalid")


def asked_for(recipient: Recipient) -> None:
    Submission.objects.filter(id=recipient.submission_id).update(directives=b"wrapped")


def what_was_asked(recipient: Recipient) -> bytes:
    return bytes(Submission.objects.values_list("directives", flat=True).get(id=recipient.submission_id))


def test_what_its_messages_asked_is_destroyed_with_it(ground: Ground, one: House) -> None:
    asked_for(one.guest)
    forgetting.forget_recipient(one.organisation, GUEST, now=ground.clock())
    assert what_was_asked(one.guest) == DESTROYED


@pytest.mark.parametrize("state", ["accepted", "held"])
def test_what_others_still_need_is_destroyed_once_they_do_not(ground: Ground, one: House, state: str) -> None:
    other = ground.recipient(one.guest.conversation, "ander@example.org", state=state)
    asked_for(one.guest)
    forgetting.forget_recipient(one.organisation, GUEST, now=ground.clock())
    assert forgetting.forget_what_was_asked() == 0 and what_was_asked(one.guest) == b"wrapped"
    Recipient.objects.filter(id=other.id).update(state="notified")
    assert forgetting.forget_what_was_asked() == 1 and what_was_asked(one.guest) == DESTROYED
    assert forgetting.forget_what_was_asked() == 0


@pytest.mark.parametrize("kind", [Kind.DECIDE, Kind.HELD, Kind.WARN])
@pytest.mark.parametrize("is_aside", [False, True])
def test_work_that_needs_what_was_asked_comes_first(ground: Ground, one: House, kind: Kind, is_aside: bool) -> None:
    asked_for(one.guest)
    if is_aside:
        PutAside.objects.create(
            kind=kind.value, subject=one.guest.submission_id, due_at=ground.clock(), put_aside_at=ground.clock()
        )
    else:
        jobs.put(kind, [one.guest.submission_id], due=ground.clock())
    forgetting.forget_recipient(one.organisation, GUEST, now=ground.clock())
    assert what_was_asked(one.guest) == b"wrapped"


def test_what_others_asked_stays(ground: Ground, one: House) -> None:
    other = ground.recipient(ground.conversation(mail()), "ander@example.org")
    asked_for(other)
    forgetting.forget_recipient(one.organisation, GUEST, now=ground.clock())
    assert forgetting.forget_what_was_asked() == 0 and what_was_asked(other) == b"wrapped"


def test_no_number_is_left_to_be_seen(ground: Ground, one: House) -> None:
    phone = SmsCode(Secret(PHONE))
    case = Case(Asked(phone), remembered=Remembered(sms=phone))
    Recipient.objects.filter(id=one.guest.id).update(plan=plan_to_json(plan(case), case))
    MethodRequest.objects.create(
        recipient=one.guest, method="email", why="other", at=ground.clock(), answer="allowed",
        answered_at=ground.clock(), other="sms", masked=mask_phone(PHONE),
    )  # fmt: skip
    assert "5678" in json.dumps(trace_json(one.guest.submission))
    forgetting.forget_recipient(one.organisation, GUEST, now=ground.clock())
    told = trace_json(one.guest.submission)
    assert "5678" not in json.dumps(told)
    assert all(row["decision"]["replayed"]["same_then"] for row in told["recipients"] if row["decision"])
    assert not [row for row in dump() if mask_phone(PHONE) in row and one.guest.id.hex in row]


def test_who_got_it_readable_has_no_way_in_and_no_mail_left(ground: Ground, one: House) -> None:
    Recipient.objects.filter(id=one.guest.id).update(state="delivered")
    attempt = attempted(one.guest, "")
    Transmission.objects.filter(id=attempt.transmission_id).update(state="queued", sealed=b"mail")
    forgetting.forget_recipient(one.organisation, GUEST, now=ground.clock())
    mail = Transmission.objects.get(id=attempt.transmission_id)
    assert (mail.state, mail.sealed) == ("failed", None)
    assert not Link.objects.filter(recipient=one.guest).exists()
    assert not SealedVerification.objects.filter(recipient=one.guest).exists()


def test_what_comes_back_later_does_not_bring_the_address_back(ground: Ground, one: House) -> None:
    attempt = attempted(one.guest, "250 ok")
    forgetting.forget_recipient(one.organisation, GUEST, now=ground.clock())
    failed = Failed("5.1.1", f"<{GUEST}>: no such user", "mx.gast-een.test")
    inbound.record(attempt.transmission_id, failed, now=ground.clock())
    assert Attempt.objects.latest("id").reply == "5.1.1"
    assert not [row for row in dump() if str(GUEST) in row and not row.startswith("accounts_auditentry")]


def test_a_complaint_about_another_spelling_is_gone_too(ground: Ground, one: House) -> None:
    row = VerificationImport.objects.create(
        organisation=one.organisation, created_at=ground.clock(), region="NL", size=1, sha256="", layout={}
    )
    for address in ("\u00c4nne@bücher.test", "anders@bücher.test", ""):
        written = str(Mailbox.parse(address)) if address else ""
        ImportComplaint.objects.create(of=row, line=2, fault="phone", address=written)
    forgetting.forget_recipient(one.organisation, Mailbox.parse("\u00e4nne@BÜCHER.test"), now=ground.clock())
    assert set(ImportComplaint.objects.filter(of=row).values_list("address", flat=True)) == {
        "anders@xn--bcher-kva.test",
        "",
    }


def test_a_backup_from_before_forgets_again(ground: Ground, one: House) -> None:
    row = known(ground, one.organisation, GUEST)
    values = VerificationData.objects.filter(id=row.id).values().get()
    forgetting.forget_recipient(one.organisation, GUEST, now=ground.clock())
    journal = erasures.after(0)
    Erasure.objects.all().delete()
    Recipient.objects.filter(id=one.guest.id).update(address=str(GUEST), key=GUEST.key, revoked_at=None)
    VerificationData.objects.create(**values)
    with transaction.atomic():
        done = restoring.make_good(journal, now=ground.clock())
    assert (done.nameless, done.revoked, done.forgotten) == (1, 1, 1)
    assert is_nothing(known_of(one.organisation, GUEST))


# An organisation


def rows_of(organisation: int) -> dict[str, int]:
    """Rows that name it, by model."""
    found = {}
    for model in apps.get_models():
        for field in model._meta.fields:
            if field.related_model is Organisation:
                found[f"{model.__name__}.{field.name}"] = model._base_manager.filter(
                    **{field.name: organisation}
                ).count()
    return found


def erased(ground: Ground, organisation: Organisation, **more: Any) -> Erased:
    return forgetting.erase(organisation, now=ground.clock, remove=ground.blobs.remove, **more)


def test_nothing_of_an_organisation_is_left_and_all_of_another(ground: Ground, one: House, two: House) -> None:
    known(ground, one.organisation, GUEST)
    note(Act.POLICY_CHANGED, one.organisation)
    attempted(one.guest, "250 ok")
    number, before = one.organisation.pk, rows_of(two.organisation.pk)
    had, contents = rows_of(number), set(Content.objects.values_list("id", flat=True))
    assert sum(had.values()) > 15
    head = AuditEntry.objects.filter(chain=number).latest("number").hash
    done = erased(ground, one.organisation)
    assert (done.messages > 0, done.recipients > 0, done.domains > 0, done.audit_head) == (True, True, True, head)
    assert set(rows_of(number).values()) == {0}
    assert rows_of(two.organisation.pk) == before
    assert [row for row in dump() if "een.test" in row and "gast-een.test" not in row] == []
    assert not Recipient.objects.filter(key__endswith="@gast-een.test").exists()
    gone = contents - set(Content.objects.values_list("id", flat=True))
    assert gone and not gone & {name for name, _ in ground.blobs.names_older_than(-60)}
    alive = Conversation.objects.filter(organisation=two.organisation, destroyed_at=None)
    for conversation in alive:
        assert ground.unsealer.conversation_key(conversation)
    entry = AuditEntry.objects.filter(chain=0).latest("number")
    assert (entry.act, entry.details["messages"], entry.organisation) == ("organisation-erased", done.messages, None)


def test_no_work_stays_behind_that_nobody_can_do(ground: Ground, one: House, two: House) -> None:
    subjects = set(Conversation.objects.filter(organisation=two.organisation).values_list("id", flat=True))
    erased(ground, one.organisation)
    kept = {"expire": Conversation, "report": Recipient, "transmit": Transmission}
    for job in Job.objects.all():
        model = kept.get(job.kind)
        assert model is None or model._base_manager.filter(id=job.subject).exists(), job.kind
    assert set(Conversation.objects.filter(organisation=two.organisation).values_list("id", flat=True)) == subjects


class _Stopped(Exception):
    pass


def test_what_was_interrupted_goes_on(ground: Ground, one: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forgetting, "AT_ONCE", 1)
    number = one.organisation.pk

    def stop(done: Erased) -> None:
        raise _Stopped

    with pytest.raises(_Stopped):
        erased(ground, one.organisation, tell=stop)
    assert Organisation.objects.filter(pk=number).exists()
    assert not Account.objects.filter(organisation=number, is_active=True).exists()
    erased(ground, one.organisation)
    assert set(rows_of(number).values()) == {0}


def test_a_closed_organisation_lets_nobody_in(ground: Ground, one: House) -> None:
    forgetting.close(one.organisation, now=ground.clock())
    assert not one.organisation.smtp_credentials.filter(disabled_at=None).exists()
    assert not one.organisation.api_tokens.filter(disabled_at=None).exists()
    assert not one.organisation.accounts.filter(is_active=True).exists()


def test_a_backup_from_before_is_without_it_again(ground: Ground, one: House, two: House) -> None:
    before = rows_of(two.organisation.pk)
    line = uuid.UUID(int=one.organisation.pk)
    erasures.note(erasures.Kind.ORGANISATION, [line, uuid.UUID(int=999_999)], at=ground.clock())
    journal = erasures.after(0)
    Erasure.objects.all().delete()
    with transaction.atomic():
        done = restoring.make_good(journal, now=ground.clock())
    assert done.erased == 1
    assert set(rows_of(one.organisation.pk).values()) == {0}
    after = rows_of(two.organisation.pk)
    assert {name for name in before if after[name] != before[name]} <= {"RememberedDevice.organisation"}


# The page


def test_the_page_looks_asks_and_erases(ground: Ground, one: House) -> None:
    client = signed_in(one.administrator)
    assert client.post("/console/privacy/", {"address": "niets"}).status_code == 422
    found = client.post("/console/privacy/", {"address": str(GUEST).upper()})
    assert str(GUEST).encode() in found.content.lower() and Recipient.objects.filter(key=GUEST.key).exists()
    told = client.post("/console/privacy/export/", {"address": str(GUEST)})
    assert told["Content-Disposition"] == 'attachment; filename="known.json"'
    assert json.loads(told.content) == known_of(one.organisation, GUEST)
    asked = client.post("/console/privacy/erase/", {"address": str(GUEST)})
    assert asked.status_code == 200 and Recipient.objects.filter(key=GUEST.key).exists()
    done = client.post("/console/privacy/erase/", {"address": str(GUEST), "confirmed": "yes"}, follow=True)
    assert "Erased, in one message." in words(done) and is_nothing(known_of(one.organisation, GUEST))
    acts = AuditEntry.objects.filter(organisation=one.organisation).order_by("number").values_list("act", "by")
    assert list(acts)[-2:] == [(act, one.administrator.email) for act in ("recipient-exported", "recipient-erased")]


@pytest.mark.parametrize("path", ["", "erase/"])
def test_the_page_costs_the_same_for_a_mailbox_with_many_messages(ground: Ground, one: House, path: str) -> None:
    client, ground.organisation, ground.author = signed_in(one.administrator), one.organisation, one.author
    counts, shown = [], []
    for _ in range(2):
        with CaptureQueriesContext(connection) as asked:
            shown.append(words(client.post(f"/console/privacy/{path}", {"address": str(GUEST)})))
        counts.append(len(asked))
        for _ in range(5):
            ground.recipient(ground.conversation(mail()), str(GUEST))
    assert counts[0] == counts[1]
    assert "6" in shown[1] and shown[0] != shown[1]


def test_another_organisation_knows_nothing_and_erases_nothing(ground: Ground, one: House, two: House) -> None:
    client = signed_in(two.administrator)
    for act in ("export", "erase"):
        client.post(f"/console/privacy/{act}/", {"address": str(GUEST), "confirmed": "yes"})
    assert Recipient.objects.filter(key=GUEST.key).exists()
    assert "Nothing is known" in words(client.post("/console/privacy/", {"address": str(GUEST)}))
