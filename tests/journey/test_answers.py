"""Everybody in a conversation hears of an answer once, each in its own way, and nobody of a Bcc reader (P7, P12)."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Final

import pytest

from tests.journey.delivery_ground import (
    PHONE,
    PROVEN_FIELD,
    SENDER,
    SENTENCE,
    SUBJECT,
    Post,
    a_post,
    dkimpy,
    everything_in,
    link_in,
    parsed,
    words,
)
from tests.journey.delivery_peers import ScriptedMx
from tests.journey.portal_ground import Clock, Visitor
from zegel.accounts.models import Organisation
from zegel.core.mail.bounce import Arrived, Delayed, Failed, Success
from zegel.journey.custody.jobs import Kind, LeaseLost
from zegel.journey.custody.models import Confirmation, Conversation, Job, Message, Recipient, Transmission
from zegel.journey.custody.retention import destroy
from zegel.journey.portal import answering
from zegel.journey.portal.answering import Recorded, record
from zegel.journey.portal.reader import Reader
from zegel.journey.report import inbound

pytestmark = pytest.mark.django_db(transaction=True)

GUEST: Final = "gast@open.test"
OTHER: Final = "ander@open.test"
READER: Final = "lezer@veilig.test"
ANSWER: Final = "Akkoord, Antwoordmerk9c1."
OWN: Final = "zegel@voorbeeld.test"


@pytest.fixture
def post(tmp_path: Path, clock: Clock) -> Iterator[Post]:
    with a_post(tmp_path, clock) as found:
        yield found


def by_sms(*addresses: str) -> list[tuple[str, str]]:
    return [("zivver-access-right", f"{one} sms {PHONE}") for one in addresses]


def answers(post: Post, who: str, text: str = ANSWER, files: dict[str, bytes] | None = None) -> Message:
    """In the portal: a recipient, or the author of the one conversation that there is beside Bcc's."""
    recipient = Recipient.objects.filter(address=who).first()
    conversation = recipient.conversation if recipient else Conversation.objects.get(is_blind=False)
    return answers_in(post, conversation, recipient, text, files or {})


def answers_in(
    post: Post, conversation: Conversation, recipient: Recipient | None, text: str, files: dict[str, bytes]
) -> Message:
    reader = Reader(conversation, post.ground.unsealer.conversation_key(conversation), recipient, "guest", uuid.uuid4())
    writer, nonce = answering.begin(reader), uuid.uuid4()
    for name, octets in files.items():
        writer.begin_file(name, "application/octet-stream")
        writer.feed(octets)
        writer.end_file()
    assert record(reader, nonce, writer.finish(text)) is Recorded.NOW
    return Message.objects.get(id=nonce)


def told(post: Post) -> list[EmailMessage]:
    """What the author heard of answers."""
    return [one for one in post.notices() if "antwoord" in str(one["Subject"]).lower()]


# Nobody who isn't to


@pytest.mark.parametrize("how", ["expired", "destroyed"])
def test_nobody_is_told_of_what_is_gone(post: Post, how: str) -> None:
    server = post.mx("open.test")
    post.submit(GUEST, OTHER)
    post.settle()
    answers(post, GUEST)
    if how == "expired":
        Conversation.objects.update(expires_at=post.clock.at)
    else:
        destroy(Conversation.objects.get().id, now=post.clock.at)
    post.until_nothing_waits()
    assert len(server.taken) == 2 and told(post) == []


@pytest.mark.parametrize("how", ["expired", "destroyed"])
def test_word_that_is_on_its_way_when_all_goes_is_not_sent(post: Post, how: str) -> None:
    server = post.mx("open.test")
    post.submit(GUEST, OTHER)
    post.settle()
    answers(post, GUEST)
    (leased,) = post.lease(Kind.ANSWERED)
    post.run(post.answers.answered(leased))
    if how == "expired":
        Conversation.objects.update(expires_at=post.clock.at)
    else:
        destroy(Conversation.objects.get().id, now=post.clock.at)
    post.until_nothing_waits()
    assert len(server.taken) == 2
    assert [one.state for one in post.transmissions("answer")] == ["failed"]


def test_who_could_not_be_reached_or_was_revoked_hears_nothing(post: Post) -> None:
    server = post.mx("open.test")
    post.submit(GUEST, OTHER, "derde@open.test")
    post.settle()
    Recipient.objects.filter(address=OTHER).update(state="undeliverable")
    Recipient.objects.filter(address="derde@open.test").update(revoked_at=post.clock.at)
    answers(post, GUEST)
    post.until_nothing_waits()
    assert len(server.taken) == 3 and len(told(post)) == 1


def test_a_bcc_reader_answers_the_author_alone_and_is_met_by_nobody(post: Post) -> None:
    server = post.mx("open.test")
    post.mx("geheim.test")
    post.submit(GUEST, OTHER, "verborgen@geheim.test", to=[GUEST, OTHER])
    post.settle()
    before = len(server.taken)
    answers(post, "verborgen@geheim.test")
    post.settle()
    assert len(server.taken) == before
    (notice,) = told(post)
    assert "verborgen@geheim.test" in words(notice)
    answers(post, GUEST)
    post.settle()
    assert [one.address for one in post.transmissions("answer")] == [OTHER]
    assert all("verborgen" not in everything_in(one) for one in server.messages())


def test_what_the_author_writes_to_a_bcc_reader_goes_to_that_one_alone(post: Post) -> None:
    server, hidden = post.mx("open.test"), post.mx("geheim.test")
    post.submit(GUEST, "verborgen@geheim.test", to=[GUEST])
    post.settle()
    answers_in(post, Conversation.objects.get(is_blind=True), None, ANSWER, {})
    post.settle()
    assert (len(server.taken), len(hidden.taken), told(post)) == (1, 2, [])


# Once


def test_a_job_that_is_done_twice_tells_once(post: Post) -> None:
    server = post.mx("open.test")
    post.submit(GUEST, OTHER)
    post.settle()
    answers(post, GUEST)
    (leased,) = post.lease(Kind.ANSWERED)
    post.run(post.answers.answered(leased))
    with pytest.raises(LeaseLost):
        post.run(post.answers.answered(leased))
    post.settle()
    assert len(server.taken) == 3 and len(told(post)) == 1


def test_word_that_is_tried_again_is_the_same_mail(post: Post) -> None:
    server = post.mx("open.test")
    post.submit(GUEST, OTHER)
    post.settle()
    answers(post, GUEST)
    server.answers["END"] = [b"451 4.3.2 later\r\n"]
    seen: list[bytes] = []
    server.at_end = lambda taken: seen.append(taken.content)
    post.until_nothing_waits()
    mails = [one for one in seen if str(parsed(one)["Subject"]).startswith("Beveiligd antwoord")]
    assert len(mails) == 2
    assert link_in(mails[0]) == link_in(mails[1])
    assert post.recipient(OTHER).links.count() == 2


# Each in its own way


def test_others_are_told_by_their_own_method_and_the_author_in_the_inbox(post: Post) -> None:
    server = post.mx("open.test")
    post.submit(GUEST, OTHER, fields=by_sms(GUEST, OTHER))
    post.settle()
    answers(post, GUEST)
    post.settle()
    (mail,) = server.messages()[2:]
    octets, shown = everything_in(mail), words(mail)
    assert parsed(mail)["To"] == OTHER
    assert parsed(mail)["From"] == f"Voorbeeldziekenhuis <{OWN}>" and parsed(mail)["Reply-To"] == SENDER
    assert GUEST in shown and "Balie Poli 4" in shown and "per sms op +31" in shown.replace("\u00a0", " ")
    assert all(one not in octets for one in (ANSWER, SENTENCE, SUBJECT))
    visitor = Visitor(post.ground)
    visitor.open(post.recipient(OTHER), link_in(mail))
    assert ANSWER in visitor.read(post.recipient(OTHER)).content.decode()
    (notice,) = told(post)
    assert f"http://localhost/inbox/{post.recipient(GUEST).conversation_id}/" in words(notice)
    assert notice["From"] == f"Voorbeeldziekenhuis <{OWN}>" and notice["Reply-To"] == GUEST
    assert notice["References"] == "<eerste@voorbeeld.test>"
    assert all(one not in everything_in(notice) for one in (ANSWER, SENTENCE, SUBJECT))
    record = {f"{post.domain.dkim_selector}._domainkey.voorbeeld.test": post.domain.dkim_record}
    assert dkimpy([mail, notice.as_bytes()], record)[0] == [True, "voorbeeld.test"]


def test_the_link_of_before_stays_good_and_nothing_opens_with_less(post: Post) -> None:
    server = post.mx("open.test")
    post.submit(GUEST, OTHER, fields=by_sms(GUEST, OTHER))
    post.settle()
    links = [link_in(one) for one in server.messages() if parsed(one)["To"] == OTHER]
    answers(post, GUEST)
    post.settle()
    links += [link_in(one) for one in server.messages()[2:]]
    assert len(set(links)) == 2
    for link in links:
        visitor = Visitor(post.ground)
        assert visitor.follow(link).status_code == 303
        assert visitor.read(post.recipient(OTHER)).status_code == 303  # a code is asked first
    assert post.recipient(OTHER).method == "sms"


def test_the_author_writes_on_and_all_are_told_but_the_author(post: Post) -> None:
    server = post.mx("open.test")
    post.submit(GUEST, OTHER)
    post.settle()
    answers(post, SENDER)
    post.settle()
    mails = server.messages()[2:]
    assert sorted(parsed(one)["To"] for one in mails) == sorted([GUEST, OTHER])
    assert all(parsed(one)["From"] == f"Balie Poli 4 <{OWN}>" for one in mails)
    assert all("schreef u opnieuw" in everything_in(one) for one in mails) and told(post) == []


def test_who_has_an_account_is_led_to_the_inbox(post: Post) -> None:
    server = post.mx("open.test")
    post.submit(GUEST, OTHER)
    post.settle()
    Recipient.objects.filter(address=OTHER).update(method="account")
    answers(post, GUEST)
    post.settle()
    (mail,) = server.messages()[2:]
    assert f"http://localhost/inbox/{post.recipient(GUEST).conversation_id}/" in words(mail)
    assert "/m/" not in words(mail) and post.recipient(OTHER).links.count() == 1


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (Organisation.Subject.SHOWN, f"Beveiligd antwoord van {GUEST}: Re: {SUBJECT}"),
        (Organisation.Subject.GENERIC, f"Beveiligd antwoord van {GUEST}"),
        (Organisation.Subject.HIDDEN, "U hebt een beveiligd antwoord"),
    ],
)
def test_the_policy_says_what_its_subject_shows(post: Post, policy: Organisation.Subject, expected: str) -> None:
    server = post.mx("open.test")
    post.ground.organisation.subject = policy
    post.ground.organisation.save()
    post.submit(GUEST, OTHER)
    post.settle()
    answers(post, GUEST)
    post.settle()
    assert parsed(server.messages()[2])["Subject"] == expected


def test_an_author_who_is_a_recipient_too_hears_once(post: Post) -> None:
    post.mx("open.test")
    post.submit(GUEST, SENDER)
    post.settle()
    before = len(post.home.taken)
    answers(post, GUEST)
    post.settle()
    assert len(post.home.taken) == before + 1 and len(told(post)) == 1


# Who gets mail readable


def readable(post: Post, *more: str, fields: Any = ()) -> ScriptedMx:
    """One recipient has the message readable, others were notified."""
    server = post.proven()
    post.mx("open.test")
    post.submit(READER, GUEST, *more, fields=[*fields, *by_sms(GUEST)])
    post.list_domain("veilig.test")
    post.settle()
    assert post.recipient(READER).state == "delivered"
    return server


def test_who_got_the_message_readable_gets_the_answer_readable(post: Post) -> None:
    server = readable(post)
    message = answers(post, GUEST, "Geachte €,\r\n\r\n" + ANSWER, {"uitslag.pdf": b"%PDF" * 1000})
    post.settle()
    (mail,) = server.messages()[1:]
    stored = parsed(post.ground.content_of(message))
    found = parsed(mail)
    assert found["From"] == f'"{GUEST}" <{OWN}>' and found["Reply-To"] == SENDER
    for name in ("To", "Cc", "Subject", "Message-ID", "In-Reply-To", "References", "Date"):
        assert found[name] == stored[name], name
    assert found["In-Reply-To"] == "<eerste@voorbeeld.test>"
    parts = [part.get_payload(decode=True) for part in found.walk() if not part.is_multipart()]
    assert parts == [b"%PDF" * 1000, ("Geachte €,\r\n\r\n" + ANSWER).encode()]
    record = {f"{post.domain.dkim_selector}._domainkey.voorbeeld.test": post.domain.dkim_record}
    assert dkimpy([mail], record) == [[True, "voorbeeld.test"]]
    (sent,) = post.transmissions("readable-answer")
    assert sent.state == "sent" and sent.reverse_path.startswith("bounce+")
    assert post.attempts(READER)[-1].authentication > 0
    assert post.transmissions("answer") == []


def test_the_name_of_who_answered_is_the_one_that_the_author_wrote(post: Post) -> None:
    server = post.proven()
    post.mx("open.test")
    post.list_domain("veilig.test")
    post.submit(READER, GUEST, to=[f'"De Gast, voornaam" <{GUEST}>', READER], fields=by_sms(GUEST))
    post.settle()
    answers(post, GUEST)
    post.settle()
    assert parsed(server.messages()[1])["From"] == f'"De Gast, voornaam" <{OWN}>'


def test_where_the_level_is_not_reached_the_answer_goes_by_the_next_step(post: Post) -> None:
    """Never in clear: by a notification, behind the method that the plan names."""
    server = post.proven()
    post.mx("open.test")
    post.submit(READER, GUEST, fields=[PROVEN_FIELD, *by_sms(READER, GUEST)])
    post.settle()
    assert [post.recipient(one).state for one in (READER, GUEST)] == ["delivered", "notified"]
    server.tls = None
    server.extensions = [one for one in server.extensions if one != "STARTTLS"]
    answers(post, GUEST)
    post.settle()
    (mail,) = server.messages()[1:]
    assert ANSWER not in everything_in(mail)
    assert [one.state for one in post.transmissions("readable-answer")] == ["failed"]
    recipient = post.recipient(READER)
    assert (recipient.method, recipient.state) == ("sms", "delivered")
    visitor = Visitor(post.ground)
    visitor.open(recipient, link_in(mail))
    assert ANSWER in visitor.read(recipient).content.decode()
    assert post.recipient(READER).state == "opened"


def test_a_code_by_mail_is_no_way_round_the_level(post: Post) -> None:
    """Row 7 after transport: the code would have to travel at the level that wasn't reached."""
    server = post.proven()
    post.mx("open.test")
    post.submit(READER, GUEST, fields=[PROVEN_FIELD, *by_sms(GUEST)])
    post.settle()
    server.tls = None
    server.extensions = [one for one in server.extensions if one != "STARTTLS"]
    answers(post, GUEST)
    post.until_nothing_waits()
    assert len(server.taken) == 1
    assert [one.state for one in post.transmissions("answer")] == ["failed"]
    assert post.recipient(READER).state == "delivered" and post.reports() == []


def test_later_answers_try_the_same_plan_from_where_the_message_arrived(post: Post) -> None:
    server = post.proven()
    post.mx("open.test")
    post.submit(READER, GUEST, fields=[PROVEN_FIELD, *by_sms(READER, GUEST)])
    post.settle()
    with_tls = server.extensions
    server.extensions = [one for one in server.extensions if one != "STARTTLS"]
    answers(post, GUEST)
    post.settle()
    server.extensions = with_tls
    answers(post, GUEST, "Nog eens, Antwoordmerk9c2.")
    post.settle()
    assert ["Antwoordmerk9c2" in everything_in(one) for one in server.messages()] == [False, False, True]


def test_large_files_of_an_answer_become_links_behind_no_less_than_before(post: Post) -> None:
    server = post.proven()
    post.mx("open.test")
    post.submit(READER, GUEST, fields=[PROVEN_FIELD, *by_sms(GUEST)])
    post.settle()
    answers(post, GUEST, ANSWER, {"groot.bin": bytes(10_000_000), "klein.bin": b"klein"})
    post.settle()
    (mail,) = server.messages()[1:]
    assert len(mail) < 1_000_000 and "groot.bin" in words(mail) and ANSWER in words(mail)
    recipient = post.recipient(READER)
    assert recipient.method == "email" and recipient.links.count() == 1
    assert Visitor(post.ground).follow(link_in(mail)).status_code == 303
    Recipient.objects.filter(id=recipient.id).update(method="sms")
    answers(post, GUEST, "Weer", {"groot.bin": bytes(10_000_000)})
    post.settle()
    assert post.recipient(READER).method == "sms" and len(server.taken) == 3


def test_an_answer_that_comes_back_says_nothing_of_the_message(post: Post) -> None:
    readable(post)
    answers(post, GUEST)
    post.settle()
    (sent,) = post.transmissions("readable-answer")
    inbound.record(sent.id, Failed("5.1.1", "gone", "mx.veilig.test"), now=post.clock.at)
    post.settle()
    assert post.recipient(READER).state == "delivered" and post.reports() == []


def test_what_the_sender_asked_to_hear_of_the_message_is_not_asked_of_an_answer(post: Post) -> None:
    server = readable(post)
    server.extensions = (*server.extensions, "DSN")
    Recipient.objects.filter(address=READER).update(notify="SUCCESS,DELAY", original="rfc822;Lezer@Veilig.Test")
    answers(post, GUEST)
    post.settle()
    assert not any(word in server.taken[-1].mail + server.taken[-1].rcpt for word in ("RET=", "NOTIFY=", "ORCPT="))
    (sent,) = post.transmissions("readable-answer")
    success = Success("delivered", "2.0.0", frozenset({READER}))
    inbound.record(sent.id, Arrived((success,), "mx.veilig.test"), now=post.clock.at)
    inbound.record(sent.id, Delayed("4.4.1", "slow", ""), now=post.clock.at)
    post.settle()
    assert post.reports() == [] and not Confirmation.objects.exists()


# Who waits for the message still


def test_who_gets_the_message_readable_later_gets_the_answer_behind_it(post: Post) -> None:
    server = post.proven()
    post.mx("open.test")
    post.list_domain("veilig.test")
    server.answers["MAIL"] = b"451 4.3.2 later\r\n"
    post.submit(READER, GUEST, fields=by_sms(GUEST))
    post.settle()
    answers(post, GUEST)
    post.later(minutes=20)
    assert server.taken == [] and Job.objects.filter(kind="answered").count() == 1
    server.answers.clear()
    post.until_nothing_waits()
    assert [ANSWER in everything_in(one) for one in server.messages()] == [False, True]
    assert len(told(post)) == 1 and not Job.objects.filter(kind="answered").exists()


def test_an_answer_behind_a_message_that_took_long_has_its_own_term(post: Post) -> None:
    """Two days from when the message was accepted, the answer was tried once."""
    server = post.proven()
    post.mx("open.test")
    post.list_domain("veilig.test")
    server.answers["MAIL"] = b"451 4.3.2 later\r\n"
    post.submit(READER, GUEST, fields=by_sms(GUEST))
    post.settle()
    answers(post, GUEST)
    post.settle()
    post.clock.forward(days=1, hours=22)
    server.answers.clear()
    post.settle()
    assert post.recipient(READER).state == "delivered"
    server.answers["MAIL"] = b"451 4.3.2 later\r\n"
    for _ in range(8):
        post.later(hours=1)
    (late,) = post.transmissions("readable-answer")
    assert late.state == "queued" and late.tries > 1
    server.answers.clear()
    post.until_nothing_waits()
    assert [ANSWER in everything_in(one) for one in server.messages()] == [False, True]
    assert post.transmissions("answer") == []


def test_a_term_of_an_answer_ends_too(post: Post) -> None:
    """By the next step of the plan, or, without one, without a word to anybody: it stands in the conversation."""
    server = readable(post)
    answers(post, GUEST)
    server.answers["MAIL"] = b"451 4.3.2 later\r\n"
    began = post.clock.at
    post.until_nothing_waits()
    (failed,) = post.transmissions("readable-answer")
    assert (failed.state, failed.sealed) == ("failed", None)
    assert post.clock.at - began >= timedelta(days=2)
    assert post.recipient(READER).state == "delivered" and post.failures() == []


def test_word_of_an_answer_for_who_was_lost_meanwhile_ends_without_its_link(post: Post) -> None:
    server = post.mx("open.test")
    post.submit(GUEST, OTHER)
    post.settle()
    server.answers["RCPT"] = [b"451 4.7.1 later\r\n"]
    answers(post, GUEST)
    post.settle()
    (word,) = post.transmissions("answer")
    assert (word.state, word.sealed is None) == ("queued", False)
    Recipient.objects.filter(address=OTHER).update(state="undeliverable")
    post.later(hours=1)
    word.refresh_from_db()
    assert (word.state, word.sealed) == ("failed", None)
    assert len(server.taken) == 2


def test_who_is_notified_later_sees_both_at_once(post: Post) -> None:
    server, late = post.mx("open.test"), post.mx("laat.test")
    late.answers["MAIL"] = b"451 4.3.2 later\r\n"
    post.submit(GUEST, "laat@laat.test")
    post.settle()
    post.clock.forward(minutes=1)
    answers(post, GUEST)
    post.later(minutes=20)
    late.answers.clear()
    post.until_nothing_waits()
    assert (len(server.taken), len(late.taken), len(told(post))) == (1, 1, 1)
    assert not Job.objects.filter(kind="answered").exists()


def test_the_wait_ends_with_who_is_waited_for(post: Post) -> None:
    post.mx("open.test")
    post.ground.organisation.allowed_methods = ["sms"]
    post.ground.organisation.save()
    post.submit(GUEST, "onbekend@open.test", fields=by_sms(GUEST))
    post.settle()
    assert post.recipient("onbekend@open.test").state == "held"
    answers(post, GUEST)
    post.later(hours=2)
    assert len(told(post)) == 1 and Job.objects.filter(kind="answered").count() == 1
    post.clock.forward(days=6)
    post.until_nothing_waits()
    assert post.recipient("onbekend@open.test").state == "undeliverable"
    assert not Job.objects.filter(kind="answered").exists() and len(told(post)) == 1


def test_without_a_way_in_for_the_gateway_the_author_hears_all_the_same(post: Post) -> None:
    server = post.mx("open.test")
    post.submit(GUEST, OTHER)
    post.settle()
    answers(post, GUEST)
    Conversation.objects.update(gateway_slot=None)
    post.until_nothing_waits()
    (notice,) = told(post)
    assert GUEST in words(notice) and len(server.taken) == 2
    assert Transmission.objects.filter(answer__isnull=False).count() == 1
