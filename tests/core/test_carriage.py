"""What follows after an attempt: the whole table, then the sentences of the specification."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from itertools import product

import pytest

from zegel.core.mail.reply import Reply
from zegel.core.policy.carriage import (
    NTA_RECIPIENT,
    NTA_SENDER,
    Accepted,
    Bounce,
    Carried,
    Cause,
    CodeMail,
    Deferred,
    DnsTrouble,
    Done,
    InsufficientSecurity,
    LargePartsBecomeLinks,
    NetworkFailure,
    Next,
    NextHost,
    NextStep,
    NoSuchDomain,
    NullMx,
    Outcome,
    Probe,
    Proceed,
    Progress,
    Refused,
    RetryAt,
    Stage,
    after,
    before_notifying,
    close,
)
from zegel.core.policy.precedence import Notify, Readable, Undeliverable
from zegel.core.policy.reasons import Why
from zegel.core.policy.retry import NOTIFICATION_RETRIES
from zegel.core.policy.transport import NO_DEMAND, PROVEN, Authentication, Tls, TransportSecurity
from zegel.core.policy.verification import Method

DANE = TransportSecurity(Tls.TLS_1_2, Authentication.DANE)
SELF_SIGNED = TransportSecurity(Tls.TLS_1_3, Authentication.NONE)
OLD_TLS = TransportSecurity(Tls.ENCRYPTED, Authentication.CERTIFICATE)

DIRECT = Readable(4, PROVEN)
INBOUND = Readable(1, PROVEN)
NTA = Readable(2, DANE, over_nta=True)
NOTIFICATION = Notify(7, Method.EMAIL)
CODE = CodeMail()
DEMANDING_CODE = CodeMail(PROVEN)
CARRIED: tuple[Carried, ...] = (DIRECT, INBOUND, NTA, NOTIFICATION, CODE, DEMANDING_CODE)

BUSY = Reply(451, "4.3.2", "later")
NO = Reply(550, "5.7.26", "no")
UNKNOWN = Reply(550, "5.1.1", "unknown")
TOO_BIG = Reply(552, "5.3.4", "too big")
FULL = Reply(552, "5.2.2", "mailbox full")

BEFORE_RCPT = [Stage.CONNECT, Stage.GREETING, Stage.EHLO, Stage.STARTTLS, Stage.MAIL]
BEFORE_DATA = [*BEFORE_RCPT, Stage.RCPT]
WITH_CONTENT = [Stage.DATA, Stage.END_OF_DATA]

YOUNG, OLD = timedelta(minutes=1), timedelta(days=6)


def follows(
    carried: Carried, outcome: Outcome, *, age: timedelta = YOUNG, more_hosts: bool = False, can_shrink: bool = False
) -> Next:
    progress = Progress(tries=1, age=age, more_hosts=more_hosts, can_shrink=can_shrink)
    return after(carried, outcome, progress=progress, retry=NOTIFICATION_RETRIES, spread=0.0)


def every_outcome() -> Iterator[Outcome]:
    yield from (Accepted(), NoSuchDomain(), NullMx(), DnsTrouble())
    yield from (InsufficientSecurity(level) for level in (NO_DEMAND, OLD_TLS, SELF_SIGNED, PROVEN))
    for stage in Stage:
        yield NetworkFailure(stage)
        yield Deferred(BUSY, stage)
        yield from (Refused(reply, stage) for reply in (NO, UNKNOWN, TOO_BIG, FULL, Reply(554, None, "")))


# --- the whole space ---------------------------------------------------------------------------------------------


def test_whatever_happens_a_last_try_at_a_last_host_ends_the_step() -> None:
    for carried, outcome in product(CARRIED, every_outcome()):
        found = follows(carried, outcome, age=OLD)
        assert isinstance(found, Done | NextStep | Bounce), (carried, outcome)
        assert isinstance(found, Done) is isinstance(outcome, Accepted)


def test_only_readable_steps_give_way_or_shrink() -> None:
    for carried, outcome, age, more, shrink in product(
        CARRIED, every_outcome(), (YOUNG, OLD), (False, True), (False, True)
    ):
        found = follows(carried, outcome, age=age, more_hosts=more, can_shrink=shrink)
        if not isinstance(carried, Readable):
            assert not isinstance(found, NextStep | LargePartsBecomeLinks), (carried, outcome)
        if isinstance(found, NextHost):
            assert more, (carried, outcome)
        if isinstance(found, LargePartsBecomeLinks):
            assert shrink, (carried, outcome)
        if isinstance(found, NextStep | Bounce):
            assert found.status.startswith("5."), (carried, outcome)


def test_nothing_permanent_is_tried_again_later() -> None:
    for carried, outcome in product(CARRIED, every_outcome()):
        if isinstance(outcome, Refused | NoSuchDomain | NullMx):
            assert not isinstance(follows(carried, outcome), RetryAt), (carried, outcome)


# --- sentences ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("more_hosts", [False, True])
@pytest.mark.parametrize("carried", [DIRECT, INBOUND])
@pytest.mark.parametrize(("reached", "status"), [(OLD_TLS, "5.7.4"), (NO_DEMAND, "5.7.4"), (SELF_SIGNED, "5.7.5")])
def test_below_the_level_the_next_row_comes_at_once(
    carried: Readable, reached: TransportSecurity, status: str, more_hosts: bool
) -> None:
    found = follows(carried, InsufficientSecurity(reached), more_hosts=more_hosts)
    assert found == NextStep(status, Cause.LEVEL_NOT_REACHED)


def test_nta_7516_tries_its_other_hosts_before_the_next_row() -> None:
    assert follows(NTA, InsufficientSecurity(PROVEN), more_hosts=True) == NextHost()
    assert follows(NTA, InsufficientSecurity(PROVEN)) == NextStep("5.7.5", Cause.NTA_NO_PROVEN_HOST)


@pytest.mark.parametrize("why", [Cause.NTA_SENDER_DKIM, *NTA_SENDER.values(), *NTA_RECIPIENT.values()])
def test_what_forbids_nta_7516_is_what_people_hear(why: Cause) -> None:
    assert follows(NTA, InsufficientSecurity(NO_DEMAND, why)) == NextStep("5.7.4", why)
    assert follows(replace(NTA, requires_tls=True), InsufficientSecurity(NO_DEMAND, why)) == NextStep("5.7.4", why)


@pytest.mark.parametrize("stage", BEFORE_DATA)
def test_a_temporary_failure_tries_another_host_then_later_then_the_next_row(stage: Stage) -> None:
    for outcome, cause in (
        (NetworkFailure(stage), Cause.NO_CONNECTION),
        (Deferred(BUSY, stage), Cause.DEFERRED_TOO_LONG),
    ):
        assert follows(DIRECT, outcome, more_hosts=True) == NextHost()
        assert follows(DIRECT, outcome) == RetryAt(NOTIFICATION_RETRIES.first)
        assert follows(DIRECT, outcome, age=OLD) == NextStep("5.4.7", cause)
        assert follows(NOTIFICATION, outcome, age=OLD) == Bounce("5.4.7", cause)


@pytest.mark.parametrize("stage", WITH_CONTENT)
def test_content_that_may_have_arrived_is_not_sent_to_another_host_at_once(stage: Stage) -> None:
    for outcome in (NetworkFailure(stage), Deferred(BUSY, stage)):
        assert follows(DIRECT, outcome, more_hosts=True) == RetryAt(NOTIFICATION_RETRIES.first)


@pytest.mark.parametrize("stage", BEFORE_RCPT)
def test_a_refusal_before_rcpt_is_the_next_host_then_the_next_row(stage: Stage) -> None:
    assert follows(DIRECT, Refused(NO, stage), more_hosts=True) == NextHost()
    assert follows(DIRECT, Refused(NO, stage)) == NextStep("5.7.26", Cause.SERVER_REFUSES)
    assert follows(NOTIFICATION, Refused(NO, stage)) == Bounce("5.7.26", Cause.SERVER_REFUSES)


@pytest.mark.parametrize("carried", CARRIED)
@pytest.mark.parametrize("reply", [UNKNOWN, FULL])
def test_a_refused_recipient_bounces(carried: Carried, reply: Reply) -> None:
    found = follows(carried, Refused(reply, Stage.RCPT), more_hosts=True, can_shrink=True)
    assert found == Bounce(str(reply.status), Cause.RECIPIENT_REFUSED)


def test_a_bare_552_at_rcpt_is_not_about_size() -> None:
    assert follows(DIRECT, Refused(Reply(552, None, ""), Stage.RCPT), can_shrink=True) == Bounce(
        "5.0.0", Cause.RECIPIENT_REFUSED
    )


@pytest.mark.parametrize("stage", WITH_CONTENT)
@pytest.mark.parametrize("reply", [NO, FULL])
def test_refused_content_bounces(stage: Stage, reply: Reply) -> None:
    found = follows(DIRECT, Refused(reply, stage), more_hosts=True, can_shrink=True)
    assert found == Bounce(str(reply.status), Cause.MESSAGE_REFUSED)


@pytest.mark.parametrize("stage", [Stage.MAIL, *WITH_CONTENT])
@pytest.mark.parametrize("reply", [TOO_BIG, Reply(552, None, ""), Reply(550, "5.2.3", "")])
def test_too_large_becomes_links_then_the_next_row(stage: Stage, reply: Reply) -> None:
    assert follows(DIRECT, Refused(reply, stage), can_shrink=True) == LargePartsBecomeLinks()
    assert follows(DIRECT, Refused(reply, stage)) == NextStep("5.3.4", Cause.TOO_LARGE)
    assert follows(NOTIFICATION, Refused(reply, stage), can_shrink=True) == Bounce("5.3.4", Cause.TOO_LARGE)


def test_a_status_of_another_class_is_not_passed_on() -> None:
    assert follows(DIRECT, Refused(Reply(550, "2.0.0", ""), Stage.RCPT)) == Bounce("5.0.0", Cause.RECIPIENT_REFUSED)
    assert follows(DIRECT, Refused(Reply(550, None, ""), Stage.RCPT)) == Bounce("5.0.0", Cause.RECIPIENT_REFUSED)


@pytest.mark.parametrize("carried", CARRIED)
def test_a_domain_that_takes_no_mail_bounces_at_once_and_dns_trouble_waits(carried: Carried) -> None:
    assert follows(carried, NoSuchDomain()) == Bounce("5.1.2", Cause.NO_SUCH_DOMAIN)
    assert follows(carried, NullMx()) == Bounce("5.1.10", Cause.TAKES_NO_MAIL)
    assert follows(carried, DnsTrouble()) == RetryAt(NOTIFICATION_RETRIES.first)
    assert follows(carried, DnsTrouble(), more_hosts=True) == NextHost()


def test_a_code_goes_only_at_the_demanded_level_and_does_not_wait_for_it() -> None:
    found = follows(DEMANDING_CODE, InsufficientSecurity(SELF_SIGNED), more_hosts=True)
    assert found == Bounce("5.7.5", Cause.LEVEL_NOT_REACHED)


@pytest.mark.parametrize("carried", [NOTIFICATION, CODE])
def test_where_dane_forbids_a_connection_for_any_mail_ours_waits_too(carried: Carried) -> None:
    outcome = InsufficientSecurity(SELF_SIGNED)
    assert follows(carried, outcome, more_hosts=True) == NextHost()
    assert follows(carried, outcome) == RetryAt(NOTIFICATION_RETRIES.first)
    assert follows(carried, outcome, age=OLD) == Bounce("5.4.7", Cause.LEVEL_NOT_REACHED)


# --- before a notification ---------------------------------------------------------------------------------------


def test_a_notification_whose_code_could_not_travel_is_not_sent() -> None:
    step = Notify(7, Method.EMAIL, code_mail_needs=PROVEN)
    assert before_notifying(step, reached=SELF_SIGNED) == Bounce("5.7.5", Cause.LEVEL_NOT_REACHED)
    assert before_notifying(step, reached=OLD_TLS) == Bounce("5.7.4", Cause.LEVEL_NOT_REACHED)
    assert before_notifying(step, reached=None) == Probe()
    assert before_notifying(step, reached=DANE) == Proceed()


@pytest.mark.parametrize("reached", [None, NO_DEMAND])
def test_without_a_demand_nothing_is_probed(reached: TransportSecurity | None) -> None:
    assert before_notifying(NOTIFICATION, reached=reached) == Proceed()


def test_an_exhausted_plan_tells_what_the_last_attempt_met() -> None:
    end = Undeliverable("5.7.1", Why.MESSAGE_EXCLUDES_EMAIL)
    assert close(end, None) == Bounce("5.7.1", Why.MESSAGE_EXCLUDES_EMAIL)
    assert close(end, NextStep("5.7.5", Cause.LEVEL_NOT_REACHED)) == Bounce("5.7.5", Cause.LEVEL_NOT_REACHED)


def test_every_cause_is_told_in_two_languages() -> None:
    assert all(cause.en and cause.nl and cause.en != cause.nl for cause in Cause)
