"""What is said of a message's way: never more than is known, in both languages, whatever was stored."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zegel.core.policy.tracing import (
    Attempted,
    Certificate,
    SenderHears,
    Stands,
    Taken,
    Way,
    authenticity,
    certificate_of,
    moment,
    over,
    summary,
)

AT: Final = datetime(2026, 11, 26, 13, 3, tzinfo=UTC)
ZONE: Final = timezone(timedelta(hours=1))
SHA256: Final = "0f" * 32
TAKEN: Final = Taken("mx.example.net", 13, 3, AT)


def said(stands: Stands, **fields: object) -> tuple[str, str]:
    found = summary(Way(stands, AT, **fields), ZONE)  # type: ignore[arg-type]
    return found.en, found.nl


@pytest.mark.parametrize("stands", [one for one in Stands if one is not Stands.OPENED])
def test_only_what_the_portal_saw_is_called_opened(stands: Stands) -> None:
    en, nl = said(stands, taken=TAKEN, delivered_at=AT, decided_at=AT)
    assert "Opened on" not in en and "Geopend op" not in nl


def test_delivered_readable_is_not_read() -> None:
    en, nl = said(Stands.DELIVERED, taken=TAKEN, delivered_at=AT)
    assert en == (
        "Delivered readable to mx.example.net over TLS 1.3, certificate checked by DANE, 26 November 2026 14:03. "
        "Whether it was read is not known."
    )
    assert nl == (
        "Leesbaar bezorgd bij mx.example.net over TLS 1.3, certificaat gecontroleerd met DANE, 26 november 2026 14:03. "
        "Of het gelezen is, is niet bekend."
    )


@pytest.mark.parametrize(
    ("hears", "en"),
    [
        (SenderHears.REPORT, "The sender gets a report."),
        (SenderHears.NO_ADDRESS, "nobody gets a report."),
        (SenderHears.NOT_ASKED, "request not to report this."),
    ],
)
def test_nobody_is_said_to_be_told_who_is_not(hears: SenderHears, en: str) -> None:
    found, _ = said(Stands.UNDELIVERABLE, hears=hears, reason="no-such-domain")
    assert found.startswith("Not delivered. The recipient's domain doesn't exist.") and found.endswith(en)


def test_a_reason_of_another_version_is_shown_as_it_is() -> None:
    assert "(no-such-code)" in said(Stands.UNDELIVERABLE, reason="no-such-code")[0]


def test_what_was_taken_back_or_destroyed_is_said_and_what_stays_too() -> None:
    en, _ = said(Stands.DELIVERED, taken=TAKEN, revoked_at=AT, destroyed_at=AT)
    assert "what was delivered readable stays with the recipient" in en and "keys here were destroyed" in en
    en, _ = said(Stands.NOTIFIED, taken=TAKEN, revoked_at=AT)
    assert "it can’t be opened any more" in en


def test_a_mail_without_a_stored_attempt_names_no_server() -> None:
    assert said(Stands.DELIVERED, delivered_at=AT)[0].startswith("Delivered readable, 26 November 2026 14:03.")
    assert said(Stands.DELIVERED)[0].startswith("Delivered readable. Whether")


def test_no_tls_is_said_and_no_authentication_is_claimed_for_it() -> None:
    assert over(0, 0).en == "without TLS"
    assert over(12, 0).en == "over TLS 1.2, server not authenticated"
    assert over(99, 77).en == "over TLS (99), 77"


def test_what_names_a_host_is_said_where_it_is_known() -> None:
    assert authenticity(2, "").en == "certificate checked, host named by MTA-STS or signed DNS"
    assert authenticity(2, "mta-sts").nl == "geldig certificaat; server genoemd door het MTA-STS-beleid van het domein"
    assert "DNSSEC" in authenticity(3, "dnssec").en
    assert authenticity(1, "new-word").en == "valid certificate"


@pytest.mark.parametrize("month", range(1, 13))
def test_a_month_has_its_name(month: int) -> None:
    found = moment(AT.replace(month=month), ZONE)
    assert found.en == f"26 {AT.replace(month=month):%B} 2026 14:03" and found.nl.startswith("26 ")


def test_every_outcome_has_both_languages() -> None:
    assert all(one.en and one.nl and one.en != one.nl for one in Attempted)


# --- certificates -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kept", "found"),
    [
        ("", Certificate()),
        ("self-signed", Certificate()),
        (f"sha256 {SHA256}", Certificate(sha256=SHA256)),
        (
            f"a.test,b.test; issued by CA; until Jan  1 2027; sha256 {SHA256}",
            Certificate(("a.test", "b.test"), "CA", "Jan  1 2027", SHA256),
        ),
        (
            f"a.test; issued by CN=CA; until 2027-01-01; sha256 {SHA256}; tlsa 3 1 1",
            Certificate(("a.test",), "CN=CA", "2027-01-01", SHA256, "3 1 1"),
        ),
        (
            f"not valid: expired; a.test; issued by CA; until 2020-01-01; sha256 {SHA256}",
            Certificate(("a.test",), "CA", "2020-01-01", SHA256, trouble="not valid: expired"),
        ),
        (f"not verified; sha256 {SHA256}", Certificate(sha256=SHA256, trouble="not verified")),
        (
            f"a.test; issued by CN=x; until 2099-01-01; sha256 {'ab' * 32}; until 2027-01-01; sha256 {SHA256}",
            Certificate(("a.test",), f"CN=x; until 2099-01-01; sha256 {'ab' * 32}", "2027-01-01", SHA256),
        ),
    ],
)
def test_a_certificate_is_taken_apart_from_its_end(kept: str, found: Certificate) -> None:
    """An issuer may call itself what it likes: the sum and the date are those that we wrote behind it."""
    assert certificate_of(kept) == found


@given(st.text())
def test_nothing_that_a_certificate_says_breaks_a_page(text: str) -> None:
    found = certificate_of(f"{text}; sha256 {SHA256}")
    assert found.sha256 == SHA256
    certificate_of(text)
