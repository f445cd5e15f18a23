"""Where is my mail: found, followed live, and handed out; to whom it may be, with nothing that nobody may see."""

from __future__ import annotations

import hashlib
import io
import json
import re
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from django.test import Client
from pypdf import PdfReader

from tests.journey.portal_ground import NOON, Clock, Ground, mail, words
from tests.journey.tracing_ground import Rich, rich, sent, tried
from tests.web.conftest import SECRET, signed_in
from tests.web.test_console import submitted
from zegel.accounts.models import Account, AuditEntry
from zegel.accounts.sign_in import enrol_totp
from zegel.edge.keyring import opening_keys
from zegel.journey.custody.models import Job, Recipient, Submission
from zegel.journey.portal import typesetting
from zegel.journey.tracing import sum_of
from zegel.web.settings import ZEGEL

pytestmark = pytest.mark.django_db
SEARCH: Final = "/console/messages/"
VERSION: Final = re.compile(r'data-version="([0-9a-f]{64})"')


@pytest.fixture
def ground(tmp_path: Any, organisation: Any) -> Ground:
    ground = Ground(tmp_path, opening_keys(ZEGEL.keys), Clock())
    ground.configure()
    return ground


@pytest.fixture
def support(ground: Ground) -> Account:
    """Who may trace, and do nothing else."""
    account = Account.objects.create_user(
        "helpdesk@voorbeeld.test", "an umbrella on the roof", organisation=ground.organisation, role="support"
    )
    enrol_totp(account, SECRET)
    return account


def sought(client: Client, **fields: str) -> str:
    answer = client.post(SEARCH, fields)
    assert answer.status_code == 200
    return str(answer.content.decode())


def address(submission: Submission, recipient: Recipient | None = None, tail: str = "") -> str:
    return f"{SEARCH}{submission.id}/{f'{recipient.id}/' if recipient else ''}{tail}"


def text_of(pdf: bytes) -> str:
    return "\n".join(page.extract_text() for page in PdfReader(io.BytesIO(pdf)).pages)


# --- nobody else, and nothing that nobody may see -----------------------------------------------------------------


@pytest.mark.parametrize("role", ["sender", "policy"])
def test_who_may_not_trace_gets_nothing(ground: Ground, role: str) -> None:
    one = rich(ground)
    account = Account.objects.create_user(
        "ander@voorbeeld.test", "an umbrella on the roof", organisation=ground.organisation, role=role
    )
    enrol_totp(account, SECRET)
    client = signed_in(account)
    assert client.post(SEARCH, {"sought": "gast@example.org"}).status_code == 403
    for where in (address(one.submission), address(one.submission, one.guest)):
        assert client.get(where).status_code == 403
        assert client.post(f"{where}export/", {"as": "json"}).status_code == 403
    assert not AuditEntry.objects.filter(act="proof-exported").exists()


def test_another_organisations_recipients_and_exports_are_not_there(
    ground: Ground, other_administrator: Account
) -> None:
    one = rich(ground)
    theirs = submitted(other_administrator, "ontvanger@example.org")
    client = signed_in(other_administrator)
    for where in (address(one.submission), address(one.submission, one.guest), address(theirs, one.guest)):
        assert client.get(where).status_code == 404
        assert client.post(f"{where}export/", {"as": "json"}).status_code == 404
    for fields in ({"sought": "gast@example.org"}, {"sought": str(one.guest.id)}, {"where": "delivered"}):
        assert str(one.submission.id) not in sought(client, **fields)
    below = client.post(SEARCH, {"sought": "example.org", "below": str(one.submission.id)})
    assert str(theirs.id) not in below.content.decode()


def test_nothing_of_content_subject_numbers_codes_or_links_stands_anywhere(ground: Ground, support: Account) -> None:
    one, client = rich(ground), signed_in(support)
    for language in ("nl", "en"):
        client.defaults["HTTP_ACCEPT_LANGUAGE"] = language
        shown = [sought(client, sought=text) for text in ("gast@example.org", one.submission.message_id)]
        for where in (
            address(one.submission),
            *(address(one.submission, recipient) for recipient in (one.guest, one.readable, one.lost)),
        ):
            shown.append(client.get(where).content.decode())
            shown.append(client.post(f"{where}export/", {"as": "json"}).content.decode())
            shown.append(text_of(client.post(f"{where}export/", {"as": "pdf"}).content))
        for text in shown:
            flat = "".join(text.split())
            for secret in one.secrets:
                assert secret not in text and secret not in flat, secret
        assert all("gast@example.org" in text for text in shown[:5])
        assert any("+31 6 ****5678" in text for text in shown)
    noted = json.dumps(list(AuditEntry.objects.values("about", "details")))
    assert not any(secret in noted for secret in one.secrets)


def test_a_recipient_s_own_page_and_export_say_nothing_of_the_others(ground: Ground, support: Account) -> None:
    one = rich(ground)
    client = signed_in(support, "en")
    where = address(one.submission, one.readable)
    shown = [client.get(where).content.decode(), client.post(f"{where}export/", {"as": "json"}).content.decode()]
    shown.append(text_of(client.post(f"{where}export/", {"as": "pdf"}).content))
    for text in shown:
        assert "leest@example.org" in text
        assert "gast@example.org" not in text and "weg@example.org" not in text


# --- found --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "Fill in what you look for, such as recipient@example.org"),
        ({"since": "gisteren"}, "Accepted from: “gisteren” is not a day. Write it like 2026-11-26"),
        ({"since": "2026-02-30"}, "is not a day"),
        ({"since": "2026-02-28 25:00"}, "is not a day"),
        ({"until": "9999-12-31"}, "Accepted until: “9999-12-31” is not a day"),
        ({"since": "2026-11-26", "until": "2026-11-25"}, "Write a later day or time."),
        ({"where": "read"}, "Select a valid choice"),
    ],
)
def test_what_can_not_be_sought_is_said_with_an_example(
    administrator: Account, fields: dict[str, str], said: str
) -> None:
    submitted(administrator, "ontvanger@example.org")
    page = sought(signed_in(administrator, "en"), **fields)
    assert said in page and "There is a problem" in page
    assert "<td" not in page


@pytest.mark.parametrize("language", ["en", "nl"])
def test_where_nothing_is_found_it_is_said_where_refused_mail_is(administrator: Account, language: str) -> None:
    page = sought(signed_in(administrator, language), sought="niemand@nergens.test")
    refused = {
        "en": "A message that was refused at the door is not here. It is in the log of the sending server",
        "nl": "Een bericht dat aan de deur is geweigerd, staat hier niet. Het staat in het logboek van de verzendende",
    }
    assert refused[language] in page


def test_a_day_is_a_day_in_local_time(administrator: Account) -> None:
    """In winter it begins at 23:00 UTC of the day before."""
    client = signed_in(administrator)
    early, late = (submitted(administrator, "ontvanger@example.org") for _ in range(2))
    Submission.objects.filter(id=early.id).update(accepted_at=datetime(2026, 1, 14, 22, 59, 59, tzinfo=UTC))
    Submission.objects.filter(id=late.id).update(accepted_at=datetime(2026, 1, 14, 23, 0, tzinfo=UTC))
    page = sought(client, since="2026-01-15", until="2026-01-15")
    assert str(late.id) in page and str(early.id) not in page
    page = sought(client, until="2026-01-14")
    assert str(early.id) in page and str(late.id) not in page
    page = sought(client, since="2026-01-15 00:00", until="2026-01-15 00:00")
    assert str(late.id) in page


def test_pages_of_what_is_found_follow_each_other_and_no_address_stands_in_a_url(administrator: Account) -> None:
    submissions = [submitted(administrator, "ontvanger@example.org") for _ in range(30)]
    client = signed_in(administrator, "en")
    first = sought(client, sought="example.org")
    below = re.search(r'name="below" value="([^"]+)"', first)
    assert below is not None and "Older" in first
    second = sought(client, sought="example.org", below=below[1])
    for submission in submissions:
        assert (f"/{submission.id}/" in first) != (f"/{submission.id}/" in second)
    assert 'name="below"' not in second and "Newest" in second
    for page in (first, second):
        assert not re.search(r'(href|action)="[^"]*(example\.org|@|%40)', page)


@pytest.mark.parametrize("below", ["x", "' OR 1=1", str(uuid.UUID(int=7))])
def test_a_page_that_there_is_not_shows_nothing_of_others(administrator: Account, below: str) -> None:
    submitted(administrator, "ontvanger@example.org")
    assert signed_in(administrator).post(SEARCH, {"sought": "example.org", "below": below}).status_code == 200


# --- followed -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", ["en", "nl"])
def test_each_recipient_begins_with_a_sentence_that_claims_no_more_than_is_known(
    ground: Ground, support: Account, language: str
) -> None:
    one = rich(ground)
    page = words(signed_in(support, language).get(address(one.submission)))
    said = {
        "en": (
            "Opened on the portal on 23 November 2026 13:00, after verification: SMS code.",
            "Delivered readable to mx.example.net over TLS 1.3, certificate checked by DANE, 23 November 2026 13:00. "
            "Whether it was read is not known.",
            "Not delivered. The receiving server refuses this recipient.",
        ),
        "nl": (
            "Geopend op het portaal op 23 november 2026 13:00, na verificatie: sms-code.",
            "Leesbaar bezorgd bij mx.example.net over TLS 1.3, certificaat gecontroleerd met DANE, 23 november 2026 "
            "13:00. Of het gelezen is, is niet bekend.",
            "Niet bezorgd. De ontvangende server weigert deze ontvanger.",
        ),
    }
    for sentence in said[language]:
        assert sentence in page


def test_every_piece_of_evidence_is_on_the_page(ground: Ground, support: Account) -> None:
    one = rich(ground)
    page = words(signed_in(support, "en").get(address(one.submission)))
    for shown in (
        "mx.example.net [192.0.2.25]",
        "TLSv1.3, TLS_AES_256_GCM_SHA384",
        "X25519MLKEM768",
        "DANE: a signed TLSA record matched; host named by DNS that is signed (DNSSEC)",
        "mx.example.net, mail.example.net",
        "CN=Voorbeeld CA",
        "2027-01-01",
        "3f2a77013f2a7701",
        "250 2.0.0 Ok: queued as 4F1",
        "550 5.1.1 no such user",
        "A wrong code was entered.",
        "Verified on the portal: SMS code.",
        "The recipient answered in the portal.",
        "The sender allowed no other method.",
        "it expires on 23 December 2026 13:00.",
        "known by its address (SPF)",
    ):
        assert shown in page, shown


def test_a_message_to_many_is_a_list_and_each_has_its_page(ground: Ground, support: Account) -> None:
    conversation = ground.conversation(mail())
    many = [ground.recipient(conversation, f"gast{number:03}@example.org") for number in range(60)]
    client = signed_in(support, "en")
    first = client.get(address(conversation.submission)).content.decode()
    assert "60 recipients" in first and len(first) < 60_000
    second = client.get(f"{address(conversation.submission)}?page=2").content.decode()
    for one in many:
        assert (f"/{one.id}/" in first) != (f"/{one.id}/" in second)
    assert "gast007@example.org" in client.get(address(conversation.submission, many[7])).content.decode()
    assert client.get(f"{address(conversation.submission)}?page=x").status_code == 200


def test_a_mail_that_was_tried_for_days_is_cut_on_the_page_and_whole_in_the_export(
    ground: Ground, support: Account
) -> None:
    recipient = ground.recipient(ground.conversation(mail()), state=Recipient.State.DECIDED)
    one = sent(recipient, state="queued")
    for number in range(60):
        tried(one, "Deferred", reply=f"451 4.7.1 later {number:02}")
    client = signed_in(support, "en")
    page = client.get(address(recipient.submission)).content.decode()
    assert "35 older attempts are left out here" in page and len(page) < 60_000
    assert "later 59" in page and "later 34" not in page
    assert "later 00" in client.post(address(recipient.submission, tail="export/"), {"as": "json"}).content.decode()


# --- live ---------------------------------------------------------------------------------------------------------


def version(page: Any) -> str:
    found = VERSION.search(page.content.decode())
    assert found is not None
    return found[1]


def test_a_page_that_has_all_gets_nothing_and_later_the_part_that_changed(ground: Ground, support: Account) -> None:
    recipient = ground.recipient(ground.conversation(mail()), state=Recipient.State.DECIDED)
    client, where = signed_in(support, "en"), address(recipient.submission)
    first = client.get(where)
    assert "trace.js" in first.content.decode() and 'data-final="no"' in first.content.decode()
    assert client.get(where, headers={"x-trace-version": version(first)}).status_code == 204
    Recipient.objects.filter(id=recipient.id).update(state=Recipient.State.DELIVERED)
    changed = client.get(where, headers={"x-trace-version": version(first)})
    shown = changed.content.decode()
    assert changed.status_code == 200 and 'data-final="yes"' in shown and "<html" not in shown
    assert version(changed) != version(first)
    assert "trace.js" not in client.get(where).content.decode()


def test_what_is_new_is_for_the_same_people_as_the_page(ground: Ground, other_administrator: Account) -> None:
    one = rich(ground)
    asks = {"x-trace-version": "0" * 64}
    assert signed_in(other_administrator).get(address(one.submission), headers=asks).status_code == 404
    assert Client().get(address(one.submission), headers=asks).status_code == 302


# --- handed out ---------------------------------------------------------------------------------------------------


def test_an_export_is_asked_by_a_form_and_noted_with_its_sum(ground: Ground, support: Account) -> None:
    one = rich(ground)
    client, where = signed_in(support), address(one.submission, tail="export/")
    assert client.get(where).status_code == 405
    answer = client.post(where, {"as": "json"})
    assert answer["Content-Type"] == "application/json"
    assert answer["Content-Disposition"] == f'attachment; filename="zegel-{one.submission.id}.json"'
    entry = AuditEntry.objects.get(act="proof-exported")
    assert entry.by == support.email and entry.about == one.submission.message_id
    assert entry.details["form"] == "json" and entry.details["recipient"] is None
    assert entry.details["sha256"] == sum_of(json.loads(answer.content))


@pytest.mark.parametrize("language", ["nl", "en"])
def test_the_proof_names_the_sum_of_the_json_and_can_be_read_by_everybody(
    ground: Ground, support: Account, language: str
) -> None:
    one = rich(ground)
    client, where = signed_in(support, language), address(one.submission, one.readable, "export/")
    exported = client.post(where, {"as": "json"}).content
    made = client.post(where, {"as": "pdf"})
    assert made["Content-Type"] == "application/pdf"
    reader = PdfReader(io.BytesIO(made.content))
    root: Any = reader.trailer["/Root"]
    assert b"<pdfuaid:part>1</pdfuaid:part>" in root["/Metadata"].get_data()
    assert root["/Lang"] == language and root["/MarkInfo"]["/Marked"] and root["/StructTreeRoot"]
    text = "".join(text_of(made.content).split())
    assert hashlib.sha256(exported).hexdigest() in text
    said = {
        "en": ("Proof of delivery", "Whether it was read is not known.", "It is not signed."),
        "nl": ("Bewijs van bezorging", "Of het gelezen is, is niet bekend.", "Het is niet ondertekend."),
    }
    for sentence in said[language]:
        assert "".join(sentence.split()) in text, sentence
    entry = AuditEntry.objects.filter(act="proof-exported").latest("number")
    assert entry.details["form"] == "pdf" and entry.details["recipient"] == "leest@example.org"


def test_what_servers_say_is_text_to_the_typesetter(ground: Ground, support: Account) -> None:
    recipient = ground.recipient(ground.conversation(mail()), state=Recipient.State.DELIVERED)
    hostile = '250 #read("/etc/passwd") #panic("x") $x$ *a* \u202eomgekeerd <script>'
    tried(sent(recipient), reply=hostile, certificate="not valid: #eval(1); \U00013000; sha256 x")
    made = signed_in(support).post(address(recipient.submission, tail="export/"), {"as": "pdf"})
    text = text_of(made.content)
    assert '#read("/etc/passwd")' in text and "root:" not in text and "\u202e" not in text


def test_a_pdf_that_can_not_be_made_says_so_and_is_not_noted(
    ground: Ground, support: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = rich(ground)
    client, where = signed_in(support, "en"), address(one.submission, tail="export/")
    with typesetting.PLACES, typesetting.PLACES:
        busy = client.post(where, {"as": "pdf"}, follow=True)
    assert "The PDF could not be made now." in words(busy) and busy.redirect_chain
    monkeypatch.setattr("zegel.journey.proving.MOST_RECIPIENTS", 2)
    many = client.post(where, {"as": "pdf"}, follow=True)
    assert "There are too many recipients for one PDF." in words(many)
    assert (
        client.post(address(one.submission, one.guest, "export/"), {"as": "pdf"})["Content-Type"] == "application/pdf"
    )
    assert [entry.details["form"] for entry in AuditEntry.objects.filter(act="proof-exported")] == ["pdf"]


def test_what_is_tried_later_says_when(ground: Ground, support: Account) -> None:
    recipient = ground.recipient(ground.conversation(mail()), state=Recipient.State.DECIDED)
    one = sent(recipient, state="queued")
    tried(one, "Deferred", reply="451 4.7.1 later")
    Job.objects.create(kind="transmit", subject=one.id, due_at=NOON + timedelta(hours=1))
    page = words(signed_in(support, "en").get(address(recipient.submission)))
    assert (
        "no receiving server has taken it yet. 1 attempt so far. The next one is due on 23 November 2026 14:00." in page
    )


def test_the_rich_message_is_as_rich_as_it_says(ground: Ground) -> None:
    """Else the test above that looks for secrets would look in vain."""
    one: Rich = rich(ground)
    assert one.guest.opened_at is not None and one.guest.answers.count() == 1 and one.guest.wrong_tries.count() == 1
