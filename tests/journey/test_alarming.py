"""Alarms come to people by mail and to programs by webhook: once when raised, daily while they stand, and when over."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from email.message import EmailMessage
from pathlib import Path

import pytest

from tests.journey.delivery_ground import Post, a_post, parsed
from tests.journey.delivery_ground import words as words_of
from tests.journey.portal_ground import Clock
from zegel.accounts import webhooks
from zegel.accounts.models import Organisation, SendingDomain
from zegel.accounts.webhooks import Wanted, set_alarm_addresses
from zegel.core.mail.address import Mailbox
from zegel.core.policy.alarms import OVER, REMIND
from zegel.core.policy.webhooks import CHOICE
from zegel.edge import keyring
from zegel.journey.alarming import Alarming
from zegel.journey.custody.models import StandingAlarm, Transmission, WebhookRequest
from zegel.settings import Alarms, Settings

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def post(tmp_path: Path, clock: Clock) -> Iterator[Post]:
    with a_post(tmp_path, clock) as found:
        found.ground.account("beheer@voorbeeld.test", role="administrator", language="en")
        found.ground.account("eigenaar@voorbeeld.test", role="owner", language="nl")
        found.ground.account("helpdesk@voorbeeld.test", role="support")
        found.ground.account("weg@voorbeeld.test", role="administrator", is_active=False)
        yield found


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    folder = tmp_path / "state"
    folder.mkdir()
    keyring.create(folder / "keys")
    return Settings().model_copy(update={"testing": True, "folder": folder, "hostname": "zegel.test"})


def alarming(post: Post, settings: Settings) -> Alarming:
    return Alarming(post.writer, post.readers, settings, sealing=post.ground.keys.sealing, now=post.clock)


def look(post: Post, settings: Settings, **later: float) -> list[EmailMessage]:
    """Looks, and delivers; returns the mails that came of it, by address."""
    before = len(post.notices())
    post.clock.forward(**later)
    post.run(alarming(post, settings).look())
    post.settle()
    return sorted(post.notices()[before:], key=lambda one: str(one["To"]))


def raise_list(organisation: Organisation, post: Post, *, name: str = "koepel") -> None:
    """A list that lapsed: an alarm that stands until it is removed."""
    organisation.direct_delivery_lists.create(
        name=name, url="https://k.test/l", read_at=post.clock() - timedelta(days=9)
    )


def test_an_alarm_is_mailed_to_administrators_in_their_language_and_once(post: Post, settings: Settings) -> None:
    raise_list(post.ground.organisation, post)
    english, dutch = look(post, settings)
    assert (english["To"], dutch["To"]) == ("beheer@voorbeeld.test", "eigenaar@voorbeeld.test")
    assert english["Subject"] == "Zegel asks for attention"
    assert dutch["Subject"] == "Zegel vraagt om aandacht"
    for mail in (english, dutch):
        assert mail["Auto-Submitted"] == "auto-generated"
        assert mail["From"].addresses[0].addr_spec == "zegel@voorbeeld.test"
    assert "has not been read for 9 days" in words_of(english) and "Since 23 November 2026" in words_of(english)
    assert "ask whoever keeps the list" in words_of(english), "what to do"
    assert all(one.reverse_path == "" for one in Transmission.objects.filter(kind="notice")), "no bounce answers it"
    assert look(post, settings, minutes=5) == []


def test_it_is_mailed_again_once_a_day_and_when_it_is_over(post: Post, settings: Settings) -> None:
    organisation = post.ground.organisation
    raise_list(organisation, post)
    assert len(look(post, settings)) == 2
    assert look(post, settings, hours=23) == []
    english, _ = look(post, settings, hours=1, minutes=1)
    assert english["Subject"] == "Zegel still asks for attention"
    assert look(post, settings, hours=23) == []
    organisation.direct_delivery_lists.all().delete()
    assert look(post, settings, minutes=1) == [], "it may only blink"
    english, dutch = look(post, settings, minutes=OVER.total_seconds() // 60 + 1)
    assert english["Subject"] == "What was wrong in Zegel has ended"
    assert "koepel" in words_of(dutch)
    assert StandingAlarm.objects.count() == 0
    assert look(post, settings, days=2) == []


def test_one_that_goes_and_comes_back_is_one_alarm(post: Post, settings: Settings) -> None:
    raise_list(post.ground.organisation, post)
    look(post, settings)
    for _ in range(5):
        post.ground.organisation.direct_delivery_lists.all().delete()
        assert look(post, settings, minutes=10) == []
        raise_list(post.ground.organisation, post)
        assert look(post, settings, minutes=10) == []


def test_what_is_found_at_once_is_one_mail(post: Post, settings: Settings) -> None:
    for number in range(20):
        raise_list(post.ground.organisation, post, name=f"lijst {number}")
    english, _ = look(post, settings)
    assert english["Subject"] == "Zegel asks for attention (20)"
    assert all(f"“lijst {number}”" in words_of(english) for number in range(20))


def test_two_processes_tell_once(post: Post, settings: Settings) -> None:
    raise_list(post.ground.organisation, post)

    async def both() -> None:
        await asyncio.gather(*(alarming(post, settings).look() for _ in range(2)))

    post.run(both())
    assert Transmission.objects.filter(kind="notice").count() == 2, "one for each of two administrators"
    post.clock.forward(seconds=REMIND.total_seconds() + 1)
    post.run(both())
    assert Transmission.objects.filter(kind="notice").count() == 4


def test_it_goes_to_the_addresses_that_were_set_and_to_nobody_where_there_are_none(
    post: Post, settings: Settings
) -> None:
    organisation = post.ground.organisation
    box = post.mx("wacht.test")
    assert box
    set_alarm_addresses(organisation, [Mailbox.parse("dienst@wacht.test")], now=post.clock())
    raise_list(organisation, post)
    look(post, settings)
    (mail,) = Transmission.objects.filter(kind="notice")
    assert (mail.address, mail.state) == ("dienst@wacht.test", "sent")
    set_alarm_addresses(organisation, [], now=post.clock())
    raise_list(organisation, post, name="nog een")
    look(post, settings)
    assert Transmission.objects.filter(kind="notice").count() == 1
    assert StandingAlarm.objects.count() == 2, "programs and the page know"


def test_programs_hear_of_the_beginning_and_the_end_of_their_own(post: Post, settings: Settings) -> None:
    """P20"""
    other = Organisation.objects.create(name="Ander")
    for organisation in (post.ground.organisation, other):
        wanted = Wanted(organisation.name, "https://programma.voorbeeld.test/", frozenset(CHOICE))
        webhooks.add(organisation, wanted, sealing=post.ground.keys.sealing, now=post.clock())
    raise_list(other, post)
    look(post, settings)
    look(post, settings, hours=25)
    other.direct_delivery_lists.all().delete()
    look(post, settings, hours=1)
    found = WebhookRequest.objects.order_by("id").values_list("webhook__organisation", "event", "alarm", "about")
    assert list(found) == [
        (other.pk, "alarm.raised", "list-lapsed", "koepel"),
        (other.pk, "alarm.ended", "list-lapsed", "koepel"),
    ]


def test_of_a_domain_the_check_itself_mails_so_the_alarm_comes_by_webhook_alone(post: Post, settings: Settings) -> None:
    wanted = Wanted("dossier", "https://programma.voorbeeld.test/", frozenset(CHOICE))
    webhooks.add(post.ground.organisation, wanted, sealing=post.ground.keys.sealing, now=post.clock())
    SendingDomain.objects.update(missing_since=post.clock() - timedelta(hours=5))
    assert look(post, settings) == []
    assert look(post, settings, hours=25) == []
    assert list(WebhookRequest.objects.values_list("event", "alarm")) == [("alarm.raised", "domain-missing")]


def test_of_the_gateway_the_address_in_the_configuration_hears(post: Post, settings: Settings) -> None:
    box = post.mx("wacht.test")
    assert box
    post.submit("iemand@wacht.test")
    post.settle()
    assert look(post, settings) == []
    before = Transmission.objects.filter(kind="notice").count()
    assert before == 0, "no address, no mail"
    StandingAlarm.objects.all().delete()
    told = settings.model_copy(update={"alarms": Alarms(mail="dienst@wacht.test", language="nl")})
    look(post, told)
    (mail,) = Transmission.objects.filter(kind="notice")
    assert (mail.address, mail.state) == ("dienst@wacht.test", "sent")
    told_mail = parsed(box.taken[-1].content)
    assert told_mail["From"].addresses[0].addr_spec == "zegel@zegel.test"
    assert "Er is nooit een back-up gemaakt" in words_of(told_mail) and "zegel backup" in words_of(told_mail)
    assert set(StandingAlarm.objects.filter(organisation=None).values_list("condition", flat=True)) >= {"backup-never"}


def test_without_a_domain_to_write_from_nothing_breaks(post: Post, settings: Settings) -> None:
    other = Organisation.objects.create(name="Nieuw")
    raise_list(other, post)
    assert look(post, settings) == []
    assert StandingAlarm.objects.filter(organisation=other).count() == 1


def test_an_alarm_of_another_version_is_let_go_of(post: Post, settings: Settings) -> None:
    now = post.clock()
    StandingAlarm.objects.create(
        organisation=post.ground.organisation, condition="later-kind", since=now, seen_at=now, told_at=now
    )
    assert look(post, settings) == []
    assert StandingAlarm.objects.filter(condition="later-kind").count() == 0
