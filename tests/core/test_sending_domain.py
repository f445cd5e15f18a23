"""What a sending domain publishes, how what is found is judged, and what follows."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zegel.core.mail.address import Domain
from zegel.core.policy.dmarc import Policy
from zegel.core.policy.sending_domain import (
    DAILY,
    LONGEST,
    PATIENCE,
    PURPOSES,
    SOON,
    SURE,
    WEIGHT,
    Keys,
    Purpose,
    Reason,
    Record,
    Seen,
    Standing,
    State,
    Verdict,
    Weight,
    Word,
    advice,
    due_next,
    every,
    follows,
    is_due,
    judge,
    next_selector,
    own_records,
    safe_to_end,
    to_tell,
)
from zegel.core.policy.submitting import Spf

DOMAIN: Final = Domain("voorbeeld.test")
GATEWAY: Final = "zegel.test"
NOW: Final = datetime(2026, 11, 26, 12, tzinfo=UTC)
KEYS: Final = Keys("zegel", "v=DKIM1; k=rsa; p=QUFBQQ==", "zegel-ed25519", "v=DKIM1; k=ed25519; p=QkJCQg==")
NEW: Final = Keys("zegel202611", "v=DKIM1; k=rsa; p=Q0NDQw==", "zegel202611-ed25519", "v=DKIM1; k=ed25519; p=RERERA==")
ALL: Final = (
    *own_records(DOMAIN, GATEWAY, "abc", KEYS, following=NEW, previous=KEYS),
    *advice(DOMAIN, GATEWAY, NOW.date()),
)


def record(purpose: Purpose) -> Record:
    return next(one for one in ALL if one.what is purpose)


def verdict(purpose: Purpose, *texts: str, **seen: object) -> tuple[State, Reason | None]:
    found = judge(record(purpose), Seen(texts, **seen))  # type: ignore[arg-type]
    return found.state, found.reason


# --- the table ---------------------------------------------------------------------------------------------------


def test_every_purpose_has_a_weight_and_a_record() -> None:
    assert set(WEIGHT) == set(Purpose) == {one.what for one in ALL}
    assert {PURPOSES[one.purpose] for one in ALL} == set(Purpose)
    assert [one.purpose for one in ALL if one.is_needed] == ["ownership", "dkim", "return-path"]
    assert all(one.is_needed == (one.weight is Weight.NEEDED) for one in ALL)


def test_without_a_second_key_there_is_no_record_for_it() -> None:
    only = Keys("zegel", KEYS.record, "zegel-ed25519", "")
    found = own_records(DOMAIN, GATEWAY, "abc", only, following=None, previous=None)
    assert [one.purpose for one in found] == ["ownership", "dkim", "return-path"]


@pytest.mark.parametrize("one", ALL, ids=lambda one: str(one.purpose))
def test_what_is_to_be_published_is_judged_right(one: Record) -> None:
    spf = Spf.PASS if one.what is Purpose.GATEWAY_SPF else None
    seen = Seen((one.value,), name_exists=True, spf=spf, dmarc=Policy.QUARANTINE, reports_to=1)
    assert judge(one, seen).state is State.RIGHT


@pytest.mark.parametrize("one", ALL, ids=lambda one: str(one.purpose))
def test_nothing_is_absent_and_never_right(one: Record) -> None:
    spf = Spf.NONE if one.what is Purpose.GATEWAY_SPF else None
    assert judge(one, Seen(spf=spf)).state is State.ABSENT


@given(texts=st.lists(st.text(max_size=60), max_size=4))
def test_whatever_stands_there_gets_a_verdict(texts: list[str]) -> None:
    for one in ALL:
        assert isinstance(judge(one, Seen(tuple(texts), name_exists=True)), Verdict)


# --- how it is judged --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (("iets anders",), (State.DIFFERENT, Reason.OTHER_VALUE)),
        (("zegel-domain=abcd",), (State.DIFFERENT, Reason.OTHER_VALUE)),
        (("zegel-domain=ABC",), (State.DIFFERENT, Reason.OTHER_VALUE)),
        (('"zegel-domain=abc"',), (State.DIFFERENT, Reason.QUOTED)),
        (("zegel-domain=van een ander", " zegel-domain=abc "), (State.RIGHT, None)),
    ],
)
def test_ownership(texts: tuple[str, ...], expected: tuple[State, Reason | None]) -> None:
    assert verdict(Purpose.OWNERSHIP, *texts) == expected


def test_a_name_with_records_of_another_type_is_told_apart() -> None:
    assert verdict(Purpose.RETURN_PATH, name_exists=True) == (State.ABSENT, Reason.OTHER_TYPE)
    assert verdict(Purpose.OWNERSHIP, name_exists=True) == (State.ABSENT, Reason.OTHER_TYPE)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("ZEGEL.test.", (State.RIGHT, None)),
        ("zegel.test.voorbeeld.test.", (State.DIFFERENT, Reason.NO_FINAL_DOT)),
        ("zegel.tested.", (State.DIFFERENT, Reason.OTHER_VALUE)),
        ("anders.zegel.test.", (State.DIFFERENT, Reason.OTHER_VALUE)),
    ],
)
def test_return_path(host: str, expected: tuple[State, Reason | None]) -> None:
    assert verdict(Purpose.RETURN_PATH, host) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("p=QUFBQQ==", None),
        ("v=DKIM1;k=rsa;p=QUF BQQ ==;", None),
        ("v=DKIM1; p=QUFBQQ==; t=s; s=email; h=sha256:sha1; n=een notitie", None),
        ("v=DKIM1; k=rsa; p=", Reason.REVOKED),
        ("v=DKIM1; k=rsa; p=QUFBQg==", Reason.OTHER_KEY),
        ("v=DKIM1; k=rsa", Reason.OTHER_KEY),
        ("v=DKIM1; p=geen base64!", Reason.OTHER_KEY),
        ("iets anders", Reason.OTHER_KEY),
        ("v=DKIM2; p=QUFBQQ==", Reason.NOT_FOR_MAIL),
        ("k=rsa; v=DKIM1; p=QUFBQQ==", Reason.NOT_FOR_MAIL),
        ("v=DKIM1; k=ed25519; p=QUFBQQ==", Reason.NOT_FOR_MAIL),
        ("v=DKIM1; h=sha1; p=QUFBQQ==", Reason.NOT_FOR_MAIL),
        ("v=DKIM1; s=tlsrpt; p=QUFBQQ==", Reason.NOT_FOR_MAIL),
        ("v=DKIM1; t=y:s; p=QUFBQQ==", Reason.IN_TEST),
    ],
)
def test_dkim(text: str, expected: Reason | None) -> None:
    state = State.RIGHT if expected is None else State.DIFFERENT
    assert verdict(Purpose.DKIM, text) == (state, expected)


def test_two_keys_under_one_selector_are_none() -> None:
    assert verdict(Purpose.DKIM, KEYS.record, "v=DKIM1; p=QkJCQg==") == (State.DIFFERENT, Reason.SEVERAL)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (("v=spf1 include:_spf.example.org ~all", "google-site-verification=x"), (State.RIGHT, None)),
        (("v=spf1",), (State.RIGHT, None)),
        (("v=spf10 -all",), (State.ABSENT, None)),
        (("v=spf1 -all", "v=spf1 mx -all"), (State.DIFFERENT, Reason.SEVERAL)),
        (("V=SPF1 mx +ALL",), (State.DIFFERENT, Reason.SPF_LETS_EVERYBODY)),
        (("v=spf1 mx all",), (State.DIFFERENT, Reason.SPF_LETS_EVERYBODY)),
    ],
)
def test_spf_of_the_domain_need_not_know_the_gateway(
    texts: tuple[str, ...], expected: tuple[State, Reason | None]
) -> None:
    assert verdict(Purpose.SPF, *texts) == expected


def test_what_else_stands_at_the_domain_is_nobodys_business() -> None:
    seen = Seen(("v=spf1 -all", "een ander geheim"))
    assert judge(record(Purpose.SPF), seen).found == ("v=spf1 -all",)
    assert judge(record(Purpose.NTA7516), seen).found == ()


@pytest.mark.parametrize("result", list(Spf))
def test_spf_of_the_gateway(result: Spf) -> None:
    state, _ = verdict(Purpose.GATEWAY_SPF, "v=spf1 a -all", spf=result)
    expected = {Spf.PASS: State.RIGHT, Spf.TEMPERROR: State.UNKNOWN}
    assert state is expected.get(result, State.DIFFERENT)


@pytest.mark.parametrize(
    ("texts", "policy", "expected"),
    [
        (("v=DMARC1; p=reject",), Policy.REJECT, (State.RIGHT, None)),
        (("v=DMARC1; p=none",), Policy.NONE, (State.DIFFERENT, Reason.ASKS_NOTHING)),
        (("v=DMARC1; p=reject", "v=DMARC1; p=none"), Policy.NONE, (State.DIFFERENT, Reason.SEVERAL)),
        (("iets anders",), Policy.NONE, (State.ABSENT, None)),
    ],
)
def test_dmarc(texts: tuple[str, ...], policy: Policy, expected: tuple[State, Reason | None]) -> None:
    assert verdict(Purpose.DMARC, *texts, dmarc=policy) == expected


@pytest.mark.parametrize(
    ("purpose", "text"),
    [
        (Purpose.MTA_STS, "v=STSv1; id=met-streep"),
        (Purpose.TLS_RPT, "v=TLSRPTv1; rua=ftp:niets"),
        (Purpose.NTA7516, "v=NTA7516-1;startdate=2026-13;enddate=2027-12;provider=X"),
    ],
)
def test_records_that_others_can_not_read(purpose: Purpose, text: str) -> None:
    assert verdict(purpose, text) == (State.DIFFERENT, Reason.NOT_UNDERSTOOD)
    assert verdict(purpose, text, text) == (State.DIFFERENT, Reason.SEVERAL)


# --- what follows ------------------------------------------------------------------------------------------------


def checks(standing: Standing, *steps: tuple[timedelta, bool]) -> Standing:
    """Each step: so long after :data:`NOW`, and whether all was right."""
    for after, is_right in steps:
        standing = follows(standing, is_right=is_right, may_hold=True, now=NOW + after)
    return standing


HOUR: Final = timedelta(hours=1)
IN_PLACE: Final = Standing(in_place=True)


def test_what_never_was_in_place_is_not_put_there_by_patience() -> None:
    found = checks(Standing(), (HOUR, False), (2 * HOUR, False))
    assert not found.in_place


def test_refused_after_the_patience_and_not_a_moment_before() -> None:
    almost = PATIENCE - timedelta(seconds=1)
    assert checks(IN_PLACE, (0 * HOUR, False), (almost, False)).in_place
    assert not checks(IN_PLACE, (0 * HOUR, False), (PATIENCE, False)).in_place


def test_one_check_alone_never_refuses() -> None:
    """Nobody looked for days, or the clock was set forward."""
    long_ago = Standing(in_place=True, missing_since=NOW - timedelta(days=30), misses=0)
    assert checks(long_ago, (HOUR, False)).in_place
    assert not checks(long_ago, (HOUR, False), (2 * HOUR, False)).in_place


def test_flapping_starts_the_patience_anew() -> None:
    steps = [(number * HOUR, number % 5 == 0) for number in range(1, 200)]
    assert checks(IN_PLACE, *steps).in_place


def test_a_clock_that_was_set_back_starts_the_patience_anew() -> None:
    ahead = Standing(in_place=True, missing_since=NOW + timedelta(days=30), misses=1)
    found = checks(ahead, (HOUR, False))
    assert (found.in_place, found.missing_since) == (True, NOW + HOUR)
    assert not checks(found, (HOUR + PATIENCE, False)).in_place


def test_all_right_and_held_by_another_is_not_in_place() -> None:
    found = follows(Standing(), is_right=True, may_hold=False, now=NOW)
    assert found == Standing(in_place=False, missing_since=None)


MISSING_ONCE: Final = Standing(in_place=True, missing_since=NOW, misses=1)
MISSING: Final = Standing(in_place=True, missing_since=NOW, misses=SURE)
REFUSED: Final = Standing(in_place=False, missing_since=NOW, misses=9)


@pytest.mark.parametrize(
    ("standing", "told", "word"),
    [
        (IN_PLACE, Word.NOTHING, None),
        (IN_PLACE, Word.IN_PLACE, None),
        (IN_PLACE, Word.MISSING, Word.IN_PLACE),
        (IN_PLACE, Word.REFUSED, Word.IN_PLACE),
        (MISSING_ONCE, Word.NOTHING, None),
        (MISSING, Word.NOTHING, Word.MISSING),
        (MISSING, Word.MISSING, None),
        (MISSING, Word.IN_PLACE, Word.MISSING),
        (REFUSED, Word.NOTHING, Word.REFUSED),
        (REFUSED, Word.MISSING, Word.REFUSED),
        (REFUSED, Word.REFUSED, None),
    ],
)
def test_what_is_told_once(standing: Standing, told: Word, word: Word | None) -> None:
    assert to_tell(standing, told, was_in_place=True) is word


def test_of_a_claim_nothing_is_told() -> None:
    assert to_tell(REFUSED, Word.NOTHING, was_in_place=False) is None


@pytest.mark.parametrize(
    ("standing", "added", "was", "rotates", "wait"),
    [
        (Standing(), NOW - HOUR, False, False, SOON),
        (REFUSED, NOW - 47 * HOUR, False, False, SOON),
        (REFUSED, NOW - 49 * HOUR, False, False, DAILY),
        (Standing(False, NOW - 200 * HOUR, 9), None, False, False, DAILY),
        (Standing(False, NOW - 100 * HOUR, 9), None, True, False, SOON),
        (Standing(False, NOW - 130 * HOUR, 9), None, True, False, DAILY),
        (IN_PLACE, NOW - HOUR, True, False, DAILY),
        (IN_PLACE, None, True, True, SOON),
        (MISSING_ONCE, None, True, False, SOON),
        (Standing(in_place=False), None, False, False, SOON),  # all right, and another organisation has it
    ],
)
def test_how_soon_it_is_looked_again(
    standing: Standing, added: datetime | None, was: bool, rotates: bool, wait: timedelta
) -> None:
    assert every(standing, added_at=added, was_in_place=was, rotates=rotates, now=NOW) == wait


def test_domains_drift_apart_and_none_is_put_off_for_long() -> None:
    for wait in (SOON, DAILY):
        moments = {due_next(NOW, wait, number) for number in range(97)}
        assert len(moments) == 97
        assert all(NOW + wait <= one <= NOW + wait * 25 / 24 < NOW + LONGEST for one in moments)


def test_due() -> None:
    assert is_due(None, NOW) and is_due(NOW, NOW)
    assert not is_due(NOW + HOUR, NOW)
    assert is_due(NOW + timedelta(days=30), NOW), "the clock was set back"


# --- DKIM keys ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("current", "today", "selector"),
    [
        ("zegel", date(2026, 11, 26), "zegel202611"),
        ("zegel202610", date(2026, 11, 1), "zegel202611"),
        ("zegel202611", date(2026, 11, 30), "zegel202611-2"),
        ("zegel202611-2", date(2026, 11, 30), "zegel202611-3"),
        ("zegel202611-9", date(2026, 12, 1), "zegel202612"),
        ("zegel202612", date(2026, 11, 1), "zegel202612-2"),  # the clock was set back
    ],
)
def test_selectors_carry_the_month_and_never_come_again(current: str, today: date, selector: str) -> None:
    assert next_selector(current, today) == selector


def test_the_previous_keys_stay_longer_than_mail_does() -> None:
    assert safe_to_end(NOW) == NOW + timedelta(days=7)
