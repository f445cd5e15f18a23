"""The overview: numbers of the own organisation, said in both languages, and what is wrong."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.web.conftest import PASSWORD, SECRET, signed_in
from tests.web.test_console import submitted
from zegel.accounts.models import Account, Organisation, SendingDomain
from zegel.accounts.sign_in import enrol_totp
from zegel.console.numbers import DIRECT, WAYS
from zegel.core.policy.numbers import Direct, Way
from zegel.journey.custody import numbers
from zegel.journey.custody.models import DayNumber, Recipient, SlowDestination

State = Recipient.State
ADDRESS = "/console/overview/"


def page(account: Account, language: str = "en") -> str:
    answer = signed_in(account, language).get(ADDRESS)
    assert answer.status_code == 200
    return str(answer.content.decode())


def owner(account: Account) -> Organisation:
    assert account.organisation is not None
    return account.organisation


def counted(account: Account, **what: int) -> None:
    for name, number in what.items():
        DayNumber.objects.create(
            organisation=owner(account),
            day=numbers.day_of(timezone.now()),
            what=name.replace("_", "-"),
            number=number,
        )


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("en", ("Nothing was counted yet", "Nobody was served yet.", "No alarm stands.", "nothing to compare yet")),
        ("nl", ("Er is nog niets geteld", "Er is nog niemand bediend.", "Er staat geen alarm.", "nog niets te verg")),
    ],
)
def test_a_new_organisation_sees_that_there_is_nothing_yet(
    administrator: Account, language: str, words: tuple[str, ...]
) -> None:
    shown = page(administrator, language)
    for one in words:
        assert one in shown
    assert '<svg viewBox="0 0 600' not in shown


def test_every_way_and_every_answer_has_words() -> None:
    assert set(WAYS) == set(Way)
    assert set(DIRECT) == set(Direct)


def test_the_picture_and_the_table_have_the_same_numbers(administrator: Account) -> None:
    counted(administrator, readable=60, sms=30, email=10, direct=60, direct_could=30, direct_could_not=10)
    shown = page(administrator)
    heights = {
        way: float(height)
        for way, height in re.findall(r'class="way-([\w-]+)" d="M\d+ [\d.]+h16v-([\d.]+)h-16z"', shown)
    }
    assert heights == {"readable": 120.0, "sms": 60.0, "email": 20.0}
    row = re.search(r'<tr><th scope="row" class="nowrap">.*?</tr>', shown)
    assert row is not None
    assert re.findall(r'<td class="number">([\d,]+)</td>', row[0]) == ["60", "0", "30", "0", "10", "0", "0", "0", "100"]
    assert "highest: 100" in shown
    assert re.search(r"went direct</th>.*?60 %", shown) and re.search(r"could have gone direct.*?30 %", shown)


@pytest.mark.parametrize(("language", "said"), [("en", "1,234,567"), ("nl", "1.234.567")])
def test_large_numbers_can_be_read(administrator: Account, language: str, said: str) -> None:
    counted(administrator, sms=1_234_567)
    assert said in page(administrator, language)


def test_what_is_counted_of_real_recipients_is_shown(administrator: Account) -> None:
    submission = submitted(administrator, "a@example.org", "b@example.org", state=State.OPENED, method="sms")
    submission.accepted_at = timezone.now()
    submission.save()
    numbers.count_day(owner(administrator), numbers.day_of(timezone.now()))
    assert "highest: 2" in page(administrator)


def test_slow_destinations_are_named_with_how_slow_they_are(administrator: Account) -> None:
    for place, (domain, seconds) in enumerate([("dood.test", None), ("traag.test", 5400.0), ("snel.test", 2.0)], 1):
        SlowDestination.objects.create(
            organisation=owner(administrator), place=place, domain=domain, mails=9, delayed=4, seconds=seconds,
            looked_at=timezone.now(),
        )  # fmt: skip
    shown = page(administrator)
    assert [shown.index(domain) for domain in ("dood.test", "traag.test", "snel.test")] == sorted(
        shown.index(domain) for domain in ("dood.test", "traag.test", "snel.test")
    )
    assert "none accepted" in shown and "2 hours" in shown and "2 seconds" in shown


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.0, "1 seconds"), (89.0, "89 seconds"), (90.0, "2 minutes"), (5399.0, "90 minutes"), (90000.0, "25 hours")],
)
def test_how_long_it_took(administrator: Account, seconds: float, said: str) -> None:
    SlowDestination.objects.create(
        organisation=owner(administrator), place=1, domain="x.test", mails=9, delayed=4, seconds=seconds,
        looked_at=timezone.now(),
    )  # fmt: skip
    assert said in page(administrator)


@pytest.mark.parametrize(
    ("language", "said"),
    [
        ("en", "DNS records of weg.test have not been there for 5 hours"),
        ("nl", "DNS-records van weg.test ontbreken al 5 uur"),
    ],
)
def test_alarms_and_dns_problems_are_told(administrator: Account, language: str, said: str) -> None:
    SendingDomain.objects.create(
        organisation=owner(administrator), name="weg.test", ownership_token="t", dkim_key=b"", in_place=True,
        missing_since=timezone.now() - timedelta(hours=5, minutes=1),
    )  # fmt: skip
    shown = page(administrator, language)
    assert said in shown
    assert "weg.test:" in shown


def test_nothing_of_another_organisation_is_shown(administrator: Account, other_administrator: Account) -> None:
    """P20"""
    counted(other_administrator, sms=777)
    SlowDestination.objects.create(
        organisation=owner(other_administrator), place=1, domain="ander-traag.test", mails=9, delayed=4,
        seconds=5.0, looked_at=timezone.now(),
    )  # fmt: skip
    SendingDomain.objects.create(
        organisation=owner(other_administrator), name="ander-weg.test", ownership_token="t", dkim_key=b"",
        in_place=True, missing_since=timezone.now() - timedelta(hours=5),
    )  # fmt: skip
    shown, of_the_other = page(administrator), page(other_administrator)
    for secret in ("777", "ander-traag.test", "ander-weg.test"):
        assert secret not in shown
        assert secret in of_the_other


@pytest.mark.parametrize(
    ("role", "may"), [("owner", 200), ("administrator", 200), ("support", 200), ("policy", 403), ("sender", 403)]
)
def test_who_may_see_it(organisation: Organisation, role: str, may: int) -> None:
    account = Account.objects.create_user("iemand@voorbeeld.test", PASSWORD, organisation=organisation, role=role)
    enrol_totp(account, SECRET)
    assert signed_in(account).get(ADDRESS).status_code == may


def test_how_the_gateway_stands_is_for_whoever_administers(organisation: Organisation, administrator: Account) -> None:
    submitted(administrator, "a@example.org")
    supporter = Account.objects.create_user("steun@voorbeeld.test", PASSWORD, organisation=organisation, role="support")
    enrol_totp(supporter, SECRET)
    shown = page(administrator)
    assert "No backup was ever made." in shown and "DNS and certificates" in shown
    shown = page(supporter)
    assert "backup" not in shown and "ertificate" not in shown.replace("valid certificate", "")


def test_a_page_asks_as_much_for_much_mail_as_for_little(administrator: Account) -> None:
    client = signed_in(administrator)

    def asked() -> int:
        with CaptureQueriesContext(connection) as queries:
            assert client.get(ADDRESS).status_code == 200
        return len(queries)

    submitted(administrator, "a@example.org")
    counted(administrator, sms=1)
    few = asked()
    for number in range(20):
        submitted(administrator, f"{number}@example.org", state=State.NOTIFIED, method="email")
    counted(administrator, email=20, direct=3)
    assert asked() == few


def test_the_page_is_light(administrator: Account) -> None:
    for back in range(30):
        for way in (*Way, *Direct):
            DayNumber.objects.create(
                organisation=owner(administrator),
                day=numbers.day_of(timezone.now()) - timedelta(days=back),
                what=way.value,
                number=10_000 + back,
            )
    assert len(page(administrator).encode()) < 40_000


def test_it_is_only_read(administrator: Account) -> None:
    assert signed_in(administrator).post(ADDRESS).status_code == 405
