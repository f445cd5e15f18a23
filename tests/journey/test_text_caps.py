"""Caps on text messages of an organisation, where codes are asked for and where messages come in."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.db import close_old_connections, connections
from structlog.testing import capture_logs

from tests.journey.portal_ground import Clock, Ground, Visitor, mail, words
from zegel.accounts import credentials, submitting
from zegel.accounts.models import Organisation, SmtpCredential, Usage
from zegel.core.policy.texts import TextCaps, TextLimit, TextMoney, TextsUsed
from zegel.journey.custody.models import Challenge, Job, Recipient, Sms, Submission
from zegel.journey.portal import codes
from zegel.journey.portal.codes import NoTexts

pytestmark = pytest.mark.django_db
BROWSER = b"b" * 32


def ask(ground: Ground, **about: str) -> object:
    recipient = ground.recipient(ground.conversation(mail()), f"lezer{Sms.objects.count()}@example.org", **about)
    return codes.send(recipient, BROWSER, "nl")


def cap(ground: Ground, **caps: object) -> None:
    submitting.cap_texts(ground.organisation, TextCaps(**caps))  # type: ignore[arg-type]


def test_when_the_cap_is_reached_nothing_is_sent_made_or_counted(ground: Ground) -> None:
    cap(ground, texts_per_hour=1)
    assert ask(ground) is None
    rings, jobs = len(ground.rings), Job.objects.count()
    with capture_logs() as logs:
        assert ask(ground) == NoTexts(TextLimit.HOUR)
    assert (Sms.objects.count(), Challenge.objects.count(), Job.objects.count()) == (1, 1, jobs)
    assert len(ground.rings) == rings
    assert submitting.texts_used_by(ground.organisation, now=ground.clock()).this_hour == 1
    (told,) = [one for one in logs if one["event"] == "cap_reached"]
    assert (told["cap"], told["organisation"]) == ("texts per hour", ground.organisation.pk)
    assert "31612345678" not in str(logs)


def test_whoever_asks_reads_what_to_do(ground: Ground, visitor: Visitor) -> None:
    cap(ground, texts_per_day=1)
    ask(ground)
    recipient = ground.recipient(ground.conversation(mail()))
    visitor.follow(ground.link(recipient))
    response = visitor.ask(recipient)
    assert response.status_code == 503
    assert "can’t send any more text messages for now, so no code was sent" in words(response)
    assert "I can’t get the code" in words(response)
    assert Sms.objects.count() == 1


def test_a_country_that_is_left_out_gets_none_and_other_limits_stay_untouched(ground: Ground, visitor: Visitor) -> None:
    cap(ground, text_countries=("NL",))
    assert ask(ground, phone="+32470123456") == NoTexts(TextLimit.COUNTRIES)
    assert ask(ground) is None
    recipient = ground.recipient(ground.conversation(mail()), phone="+32470123456")
    visitor.follow(ground.link(recipient))
    assert "sends no text messages to the country of your number" in words(visitor.ask(recipient))
    assert submitting.texts_used_by(ground.organisation, now=ground.clock()).this_month == 1


def test_codes_by_mail_go_on(ground: Ground) -> None:
    cap(ground, texts_per_hour=1)
    ask(ground)
    assert not isinstance(ask(ground, method="email"), NoTexts)


def test_another_organisation_has_caps_and_counts_of_its_own(ground: Ground) -> None:
    """P20"""
    other = Organisation.objects.create(name="Ander")
    submitting.cap_texts(other, TextCaps(texts_per_hour=1))
    for _ in range(3):
        assert ask(ground) is None
    assert submitting.texts_used_by(other, now=ground.clock()) == TextsUsed()


def test_time_makes_room_again_and_the_month_is_kept_for_as_long_as_it_counts(ground: Ground, clock: Clock) -> None:
    cap(ground, texts_per_hour=1, texts_per_day=2, texts_per_month=3)
    assert ask(ground) is None
    assert ask(ground) == NoTexts(TextLimit.HOUR)
    clock.forward(hours=1)
    assert ask(ground) is None
    clock.forward(hours=1)
    assert ask(ground) == NoTexts(TextLimit.DAY)
    clock.forward(hours=24)
    assert ask(ground) is None
    clock.forward(days=28)
    submitting.forget_usage(clock())
    assert ask(ground) == NoTexts(TextLimit.MONTH)
    clock.forward(hours=22)
    assert ask(ground) is None
    clock.forward(days=31)
    submitting.forget_usage(clock())
    assert not Usage.objects.exists()


def test_a_cap_that_is_set_now_counts_what_was_asked_for_before(ground: Ground) -> None:
    ask(ground)
    cap(ground, texts_per_hour=1)
    assert ask(ground) == NoTexts(TextLimit.HOUR)


@pytest.mark.django_db(transaction=True)
def test_many_who_ask_at_the_same_moment_get_no_more_than_the_cap(ground: Ground) -> None:
    cap(ground, texts_per_hour=3)
    recipients = [ground.recipient(ground.conversation(mail()), f"lezer{one}@example.org") for one in range(10)]
    begin, answers = threading.Barrier(len(recipients)), []

    def one(number: int) -> None:
        begin.wait()
        try:
            answers.append(codes.send(recipients[number], BROWSER, "nl"))
        finally:
            close_old_connections()
            connections.close_all()

    threads = [threading.Thread(target=one, args=(number,)) for number in range(len(recipients))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, answers)) == sorted(map(str, [None] * 3 + [NoTexts(TextLimit.HOUR)] * 7))
    assert Sms.objects.count() == 3
    assert submitting.texts_used_by(ground.organisation, now=ground.clock() + timedelta(0)).this_hour == 3


# --- of a credential, and in money -------------------------------------------------------------------------------


def from_credential(ground: Ground, credential: SmtpCredential, **about: str) -> Recipient:
    conversation = ground.conversation(mail())
    Submission.objects.filter(id=conversation.submission_id).update(credential=credential)
    return ground.recipient(conversation, f"lezer{Sms.objects.count()}@example.org", **about)


def test_a_credential_has_a_cap_of_its_own_on_what_its_messages_cause(ground: Ground) -> None:
    busy, calm = (credentials.issue(ground.organisation, name).credential for name in ("druk", "rustig"))
    submitting.cap_texts(busy, TextCaps(None, 1, 5))
    assert codes.send(from_credential(ground, busy), BROWSER, "nl") is None
    with capture_logs() as logs:
        assert codes.send(from_credential(ground, busy), BROWSER, "nl") == NoTexts(TextLimit.DAY)
    (told,) = [one for one in logs if one["event"] == "cap_reached"]
    assert (told["cap"], told["credential"]) == ("texts per day", busy.pk)
    assert codes.send(from_credential(ground, calm), BROWSER, "nl") is None
    assert ask(ground) is None, "it came with no credential"
    used = [submitting.texts_used_by(one, now=ground.clock()).today for one in (busy, calm, ground.organisation)]
    assert used == [1, 1, 3]
    ground.clock.forward(hours=24)
    assert codes.send(from_credential(ground, busy), BROWSER, "nl") is None


def test_what_texts_cost_is_counted_at_the_price_of_their_moment(ground: Ground) -> None:
    submitting.price_texts(ground.organisation, TextMoney("EUR", 8, (("+32", 90),), 100))
    assert ask(ground) is None
    assert ask(ground, phone="+32470123456") is None
    assert ask(ground) == NoTexts(TextLimit.MONEY)
    assert submitting.texts_used_by(ground.organisation, now=ground.clock()).cents_this_month == 98
    submitting.price_texts(ground.organisation, TextMoney("EUR", 1, (), 100))
    assert ask(ground) is None
    assert submitting.texts_used_by(ground.organisation, now=ground.clock()).cents_this_month == 99
    ground.clock.forward(days=31)
    assert submitting.texts_used_by(ground.organisation, now=ground.clock()) == TextsUsed()
