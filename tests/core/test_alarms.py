"""Alarms: each stands when it should and ends when its cause does; the page is the table's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zegel.core.policy import alarms
from zegel.core.policy.alarms import (
    LITTLE_SPACE,
    NO_SPACE,
    Alarm,
    CertificateFound,
    Condition,
    DomainFound,
    GatewayFound,
    OrganisationFound,
    Shown,
    Whose,
    of_gateway,
    of_organisation,
)
from zegel.core.policy.texts import TextLimit

NOW: Final = datetime(2026, 6, 1, 12, tzinfo=UTC)
WELL: Final = GatewayFound(backup_at=NOW, has_mail=True)


def ago(**units: float) -> datetime:
    return NOW - timedelta(**units)


def certificate(left: timedelta, life: timedelta = timedelta(days=90), *, is_wrong: bool = False) -> CertificateFound:
    return CertificateFound(Shown.PORTAL, NOW + left - life, NOW + left, is_wrong)


def codes(found: Sequence[Alarm]) -> list[str]:
    return [one.condition.value for one in found]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (OrganisationFound(), []),
        (OrganisationFound(domains=[DomainFound("a.test", True, None)]), []),
        (OrganisationFound(domains=[DomainFound("a.test", False, None)]), []),  # never checked
        (OrganisationFound(domains=[DomainFound("a.test", True, ago(hours=1))]), ["domain-missing"]),
        (OrganisationFound(domains=[DomainFound("a.test", False, ago(hours=71))]), []),  # new: there is time
        (OrganisationFound(domains=[DomainFound("a.test", False, ago(hours=72))]), ["domain-refused"]),
        (OrganisationFound(lapsed=[("koepel", ago(days=8))]), ["list-lapsed"]),
        (OrganisationFound(capped=["Mailserver"]), ["cap-reached"]),
        (OrganisationFound(texts_capped=[TextLimit.HOUR, TextLimit.MONTH]), ["texts-capped", "texts-capped"]),
        (OrganisationFound(texts_failed=2), []),
        (OrganisationFound(texts_failed=3), ["texts-failed"]),
        (OrganisationFound(texts_failed=3, texts_sent=12), ["texts-failed"]),
        (OrganisationFound(texts_failed=3, texts_sent=13), []),
        (OrganisationFound(closed_out=1), ["codes-guessed"]),
        (OrganisationFound(oldest_mail=ago(hours=3.9)), []),
        (OrganisationFound(oldest_mail=ago(hours=4)), ["mail-waits"]),
        (OrganisationFound(oldest_mail=ago(hours=-5)), []),  # the clock went back
    ],
)
def test_of_an_organisation(found: OrganisationFound, expected: list[str]) -> None:
    assert codes(of_organisation(found, NOW)) == expected


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (GatewayFound(), []),
        (WELL, []),
        (replace(WELL, overdue_since=ago(minutes=9)), []),
        (replace(WELL, overdue_since=ago(minutes=10)), ["work-waits"]),
        (replace(WELL, certificates=[certificate(timedelta(days=21))]), []),
        (replace(WELL, certificates=[certificate(timedelta(days=20))]), ["certificate-ends"]),
        (replace(WELL, certificates=[certificate(timedelta(days=4), timedelta(days=6))]), []),  # a short life
        (replace(WELL, certificates=[certificate(timedelta(days=1), timedelta(days=6))]), ["certificate-ends"]),
        (replace(WELL, certificates=[certificate(timedelta(0))]), ["certificate-broken"]),
        (replace(WELL, certificates=[certificate(timedelta(days=80), is_wrong=True)]), ["certificate-broken"]),
        (replace(WELL, certificates=[CertificateFound(Shown.SUBMISSION, None, None)]), ["certificate-broken"]),
        (replace(WELL, free=LITTLE_SPACE - 1), ["disk-fills"]),
        (replace(WELL, free=NO_SPACE - 1), ["disk-full"]),
        (replace(WELL, free=0), ["disk-full"]),
        (replace(WELL, guessed=1), ["passwords-guessed"]),
        (replace(WELL, backup_at=ago(days=2.9)), []),
        (replace(WELL, backup_at=ago(days=3)), ["backup-old"]),
        (replace(WELL, backup_at=None), ["backup-never"]),
        (replace(WELL, are_keys_copied=False), ["keys-not-copied"]),
        (GatewayFound(backup_at=None, are_keys_copied=False, has_mail=False), []),  # nothing to lose yet
    ],
)
def test_of_the_gateway(found: GatewayFound, expected: list[str]) -> None:
    assert codes(of_gateway(found, NOW)) == expected


def test_every_condition_is_one_that_some_finding_makes() -> None:
    """No row of the table is there for show."""
    worst = OrganisationFound(
        domains=[DomainFound("a.test", True, ago(hours=1)), DomainFound("b.test", False, ago(days=9))],
        lapsed=[("koepel", ago(days=8))],
        capped=["Mailserver"],
        texts_capped=[TextLimit.DAY],
        credentials_texts_capped=["Mailserver"],
        texts_failed=9,
        closed_out=2,
        oldest_mail=ago(days=1),
        given_up=[("dossier", 3)],
    )
    made = {one.condition for one in of_organisation(worst, NOW)}
    for gateway in (
        GatewayFound(
            certificates=[certificate(timedelta(days=2)), CertificateFound(Shown.SUBMISSION, None, None)],
            overdue_since=ago(hours=1),
            free=0,
            guessed=3,
            has_mail=True,
            are_keys_copied=False,
        ),
        GatewayFound(free=LITTLE_SPACE - 1, backup_at=ago(days=30), has_mail=True),
    ):
        made |= {one.condition for one in of_gateway(gateway, NOW)}
    assert made == set(Condition)


def test_what_stands_is_said_in_both_languages_with_its_numbers() -> None:
    (alarm,) = of_organisation(OrganisationFound(domains=[DomainFound("a.test", False, ago(hours=100))]), NOW)
    assert alarm.what.en == "a.test may not send: its DNS records have not been there for 100 hours."
    assert alarm.what.nl == "a.test mag niet verzenden: de DNS-records ontbreken al 100 uur."
    (alarm,) = of_gateway(replace(WELL, certificates=[certificate(timedelta(days=5))]), NOW)
    assert alarm.what.en == "The certificate of the portal ends in 5 days."
    assert alarm.what.nl == "Het certificaat van het portaal verloopt over 5 dagen."
    assert alarm.key == ("certificate-ends", "portal")


@given(about=st.text(max_size=30), number=st.integers(0, 10**9))
def test_a_name_with_braces_is_only_a_name(about: str, number: int) -> None:
    for condition in Condition:
        said = Alarm(condition, about, number).what
        if about in {one.value for one in TextLimit}:  # these are said in other words
            continue
        if "{about}" in condition.what.en and not condition.value.startswith("certificate"):
            assert about in said.en and about in said.nl


@pytest.mark.parametrize("condition", Condition)
def test_every_sentence_has_both_languages_and_the_same_places(condition: Condition) -> None:
    for sentence in (condition.what, condition.remedy, condition.ends):
        assert sentence.en and sentence.nl and sentence.en != sentence.nl
        for place in ("{about}", "{number}"):
            assert (place in sentence.en) == (place in sentence.nl)
    assert condition.remedy.en == condition.remedy.filled("x", 1).en, "a remedy holds no value"


def test_an_organisation_never_gets_an_alarm_of_the_gateway() -> None:
    for one in of_organisation(OrganisationFound(closed_out=1, capped=["x"]), NOW):
        assert one.condition.whose is Whose.ORGANISATION
    for other in of_gateway(GatewayFound(free=0, guessed=1), NOW):
        assert other.condition.whose is Whose.GATEWAY


def test_the_page_is_the_table_s() -> None:
    assert Path("docs/alarms.md").read_text() == alarms.as_markdown()


def test_a_limit_on_text_messages_is_named_in_both_languages() -> None:
    (alarm,) = of_organisation(OrganisationFound(texts_capped=[TextLimit.MONTH]), NOW)
    assert "the limit per 30 days is reached" in alarm.what.en
    assert "de limiet per 30 dagen is bereikt" in alarm.what.nl
