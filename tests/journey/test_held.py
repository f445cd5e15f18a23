"""A recipient lacks what policy demands: others are served, the sender hears of it, and every hold ends (D-6)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from django.db import transaction

from tests.journey.delivery_ground import (
    PHONE,
    PROVEN_FIELD,
    SENDER,
    Post,
    a_post,
    everything_in,
    link_in,
    status_of,
    words,
)
from tests.journey.portal_ground import PASSWORD, Clock, Visitor, dump, signed_in
from tests.journey.portal_ground import words as page_words
from zegel.accounts.models import DomainMinimum
from zegel.accounts.sign_in import enrol_totp
from zegel.core.mail.address import Mailbox
from zegel.core.policy.holding import LOOK
from zegel.core.policy.verification import AccessCode, SmsCode
from zegel.core.secret import Secret
from zegel.journey import milestones
from zegel.journey.custody import memory, retention
from zegel.journey.custody.held import held_of
from zegel.journey.custody.jobs import LEASE, Kind, LeaseLost
from zegel.journey.custody.models import Job, Recipient, VerificationData

pytestmark = pytest.mark.django_db(transaction=True)

GUEST: Final = "gast@streng.test"
SECOND: Final = "tweede@streng.test"
OTHER: Final = "ander@open.test"
OTHER_PHONE: Final = "+31687654321"
NO_EMAIL: Final = ("zivver-minimum-recipient-verification", "")


@pytest.fixture
def post(tmp_path: Path, clock: Clock) -> Iterator[Post]:
    """Recipients at streng.test must be verified by a text message, or better."""
    with a_post(tmp_path, clock) as found:
        DomainMinimum.objects.create(organisation=found.ground.organisation, domain="streng.test", method="sms")
        yield found


def supply(post: Post, address: str = GUEST, phone: str = PHONE) -> None:
    """As the pages do it."""
    mailbox, organisation = Mailbox.parse(address), post.ground.organisation
    with transaction.atomic():
        memory.supply(
            organisation,
            mailbox,
            SmsCode(Secret(phone)),
            account=post.ground.author,
            origin=VerificationData.Origin.SENDER,
            now=post.clock(),
            sealing=post.ground.keys.sealing,
        )
        milestones.supplied(held_of(organisation, key=mailbox.key), now=post.clock())


def number_of(post: Post, address: str = GUEST) -> str:
    """With what the recipient is verified."""
    row = post.recipient(address)
    opened = post.ground.unsealer.field(row.verification, name="verification", owner=row.id)
    found = memory.verification_of(opened)
    assert isinstance(found, SmsCode)
    return found.phone.reveal()


def days_of(post: Post, begun: Any, kind: str) -> list[float]:
    """After how many days mails of a kind were made."""
    return [round((one.created_at - begun) / timedelta(days=1), 3) for one in post.transmissions(kind)]


# --- the hold -----------------------------------------------------------------------------------------------------


def test_others_are_served_at_once(post: Post) -> None:
    server, strict = post.mx("open.test"), post.mx("streng.test")
    post.submit(GUEST, OTHER)
    post.settle()
    assert post.recipient(OTHER).state == "notified"
    assert link_in(server.messages()[0])
    assert post.recipient(GUEST).state == "held"
    assert strict.heard == []


def test_the_author_gets_one_mail_about_all_who_are_held_with_the_way_to_mend_it(post: Post) -> None:
    post.mx("open.test")
    post.submit(GUEST, SECOND, OTHER)
    post.settle()
    (notice,) = post.notices()
    said = words(notice)
    assert notice["To"] == SENDER
    assert GUEST in said
    assert SECOND in said
    assert OTHER not in said
    assert f"http://localhost/held/{post.recipient(GUEST).submission_id}/" in said
    assert "28 november 2026, 13:00 uur" in said
    assert post.reports() == []


def test_the_author_hears_again_and_after_the_term_the_reverse_path_gets_a_report(post: Post) -> None:
    strict, begun = post.mx("streng.test"), post.clock()
    post.submit(GUEST, reverse_path="terug@voorbeeld.test")
    post.until_nothing_waits()
    assert days_of(post, begun, "notice") == [0, 1, 4]
    assert days_of(post, begun, "report") == [5]
    first, *again = post.notices()
    assert not first["Subject"].startswith("Herinnering")
    assert all(one["Subject"].startswith("Herinnering") for one in again)
    (report,) = post.reports()
    assert report["To"] == "terug@voorbeeld.test"
    assert "Status: 5.7.1" in status_of(report)
    assert GUEST in status_of(report)
    assert "waarvoor van de ontvanger niets bekend is" in everything_in(report)
    recipient = post.recipient(GUEST)
    assert (recipient.state, recipient.reason) == ("undeliverable", "lacks-what-policy-demands")
    assert strict.heard == []
    assert not Job.objects.exists()


def test_a_null_reverse_path_gets_no_report_and_the_author_hears_all_the_same(post: Post) -> None:
    post.submit(GUEST, reverse_path="")
    post.until_nothing_waits()
    assert len(post.notices()) == 3
    assert post.transmissions("report") == []
    assert post.recipient(GUEST).state == "undeliverable"


def test_who_wants_no_report_is_still_asked_for_what_lacks(post: Post) -> None:
    post.submit(GUEST, notify="NEVER")
    post.until_nothing_waits()
    assert len(post.notices()) == 3
    assert post.reports() == []
    assert post.recipient(GUEST).state == "undeliverable"


def test_an_organisation_that_holds_nobody_has_them_reported_at_once(post: Post) -> None:
    post.ground.organisation.holds = False
    post.ground.organisation.save()
    post.submit(GUEST)
    post.settle()
    (report,) = post.reports()
    assert "Status: 5.7.1" in status_of(report)
    assert post.notices() == []
    assert not Job.objects.exists()


def test_two_hundred_who_are_held_are_one_mail(post: Post) -> None:
    many = [f"gast{number:03}@streng.test" for number in range(200)]
    post.submit(*many)
    post.settle()
    (notice,) = post.notices()
    assert words(notice).count("@streng.test") == 20
    assert len(notice.as_bytes()) < 40_000
    assert Recipient.objects.filter(state="held", told_at=post.clock()).count() == 200


def test_each_half_of_a_split_message_has_its_own_mail_and_one_answer_mends_both(post: Post) -> None:
    post.submit(GUEST, to=[GUEST, SECOND])
    post.submit(SECOND, to=[GUEST, SECOND])
    post.settle()
    one, two = (words(notice) for notice in post.notices())
    assert (GUEST in one, SECOND in one) != (GUEST in two, SECOND in two)
    server = post.mx("streng.test")
    supply(post)
    supply(post, SECOND)
    post.settle()
    assert len(server.messages()) == 2
    assert {one.state for one in Recipient.objects.all()} == {"notified"}


def test_who_is_held_as_bcc_is_known_to_nobody_else(post: Post) -> None:
    server, strict = post.mx("open.test"), post.mx("streng.test")
    post.submit(OTHER, GUEST, to=[OTHER])
    post.settle()
    supply(post)
    post.until_nothing_waits()
    assert link_in(strict.messages()[0])
    for octets in server.messages():
        assert "streng.test" not in everything_in(octets)
        assert "gast" not in everything_in(octets)
    assert OTHER not in everything_in(strict.messages()[0])


# --- what ends it: data -------------------------------------------------------------------------------------------


def test_what_is_supplied_counts_at_once_and_is_shown_as_such(post: Post) -> None:
    server = post.mx("streng.test")
    post.submit(GUEST)
    post.settle()
    post.clock.forward(hours=7)
    supply(post)
    post.settle()
    recipient = post.recipient(GUEST)
    assert (recipient.state, recipient.method, recipient.masked) == ("notified", "sms", "+31 6 ****5678")
    assert number_of(post) == PHONE
    findings = {one["rank"]: one["why"] for one in (recipient.plan or {})["findings"]}
    assert findings[5] == "supplied"
    assert recipient.decided_at == post.clock()
    assert link_in(server.messages()[0])
    post.until_nothing_waits()
    assert len(post.notices()) == 1
    assert post.reports() == []


def test_a_number_that_is_supplied_twice_is_the_last_one(post: Post) -> None:
    server = post.mx("streng.test")
    post.submit(GUEST)
    post.settle()
    supply(post)
    supply(post, phone=OTHER_PHONE)
    post.settle()
    assert number_of(post) == OTHER_PHONE
    assert len(server.messages()) == 1


def test_what_is_supplied_after_the_release_waits_for_the_next_message(post: Post) -> None:
    server = post.mx("streng.test")
    post.submit(GUEST)
    post.settle()
    supply(post)
    post.settle()
    supply(post, phone=OTHER_PHONE)
    post.until_nothing_waits()
    assert number_of(post) == PHONE
    assert len(server.messages()) == 1


def test_what_does_not_do_releases_nobody_and_the_page_learns_what_does(post: Post) -> None:
    post.submit(GUEST)
    post.settle()
    DomainMinimum.objects.update(method="account")
    supply(post)
    post.settle()
    recipient = post.recipient(GUEST)
    assert recipient.state == "held"
    assert (recipient.plan or {})["steps"] == [{"kind": "hold", "required": ["account"]}]
    post.until_nothing_waits()
    assert post.recipient(GUEST).state == "undeliverable"
    assert len(post.notices()) == 3


def test_an_account_that_is_made_meanwhile_is_found_at_the_next_look(post: Post) -> None:
    server = post.mx("streng.test")
    post.submit(GUEST)
    post.settle()
    account = post.ground.account(GUEST)
    post.later(hours=1)
    assert post.recipient(GUEST).state == "held"  # without a second factor it doesn't count
    enrol_totp(account)
    post.later(hours=1)
    assert (post.recipient(GUEST).state, post.recipient(GUEST).method) == ("notified", "account")
    assert link_in(server.messages()[0])


def test_a_release_meets_what_the_message_asks_and_never_less(post: Post) -> None:
    """The policy allows e-mail by now, and the message doesn't."""
    DomainMinimum.objects.all().delete()
    organisation = post.ground.organisation
    organisation.allowed_methods = ["sms", "account"]
    organisation.save()
    post.submit(GUEST, fields=[NO_EMAIL])
    post.settle()
    assert post.recipient(GUEST).state == "held"
    organisation.allowed_methods = None
    organisation.save()
    post.later(hours=1)
    recipient = post.recipient(GUEST)
    assert (recipient.state, recipient.reason) == ("undeliverable", "message-excludes-email")
    assert len(post.reports()) == 1


def test_a_policy_that_demands_less_by_now_releases_at_the_next_look(post: Post) -> None:
    server = post.mx("streng.test")
    post.submit(GUEST)
    post.settle()
    DomainMinimum.objects.all().delete()
    post.later(hours=1)
    assert (post.recipient(GUEST).state, post.recipient(GUEST).method) == ("notified", "email")
    assert len(server.messages()) == 1


def test_the_time_to_try_counts_from_the_release_and_not_from_the_submission(post: Post) -> None:
    server = post.mx("streng.test", answers={"RCPT": b"450 4.2.1 not now\r\n"})
    post.submit(GUEST)
    post.settle()
    post.later(days=4, hours=23)
    supply(post)
    post.settle()
    post.later(days=3)
    assert post.recipient(GUEST).state == "decided"
    server.answers.clear()
    post.until_nothing_waits()
    assert post.recipient(GUEST).state == "notified"


def test_what_the_policy_kept_from_the_message_is_told_once_and_not_again_at_the_release(post: Post) -> None:
    post.mx("streng.test")
    post.submit(GUEST, fields=[PROVEN_FIELD])
    post.settle()
    post.later(hours=1)
    assert len(post.notices()) == 2
    supply(post)
    post.until_nothing_waits()
    assert post.recipient(GUEST).state == "notified"
    subjects = sorted(notice["Subject"] for notice in post.notices())
    assert subjects == ["Controleer de mailheaders van uw bericht", "Uw bericht wacht op gegevens van een ontvanger"]


def test_what_is_decided_while_a_warning_is_written_is_not_kept_from_its_author(post: Post) -> None:
    post.mx("streng.test")
    post.submit(GUEST, fields=[PROVEN_FIELD, ("zivver-access-right", f"niemand@elders.test sms {PHONE}")])
    supply(post)
    (decide,) = post.lease(Kind.DECIDE)
    post.clock.forward(minutes=10)
    (warn,) = post.lease(Kind.WARN)
    read = post.readers.read

    async def late(*arguments: Any) -> Any:
        found = await read(*arguments)
        post.readers.read = read  # type: ignore[method-assign]
        await post.decision.decide(decide)
        return found

    post.readers.read = late  # type: ignore[method-assign, assignment]
    with pytest.raises(LeaseLost):
        post.run(post.telling.warn(warn))
    post.until_nothing_waits()
    (told,) = post.notices()
    assert "niemand@elders.test" in words(told)
    assert GUEST in words(told)


# --- what ends it: time, policy, destroyed keys -------------------------------------------------------------------


@pytest.mark.parametrize(("days", "ends"), [(2, 2.0), (1, 1.5), (20, 20.0)])
def test_a_term_that_is_changed_meanwhile_holds_from_the_next_look_on(post: Post, days: int, ends: float) -> None:
    begun = post.clock()
    post.submit(GUEST)
    post.settle()
    while post.clock() < begun + timedelta(days=1.5):
        post.later(hours=1)
    post.ground.organisation.hold_days = days
    post.ground.organisation.save()
    post.until_nothing_waits()
    (after,) = days_of(post, begun, "report")
    assert ends <= after <= ends + LOOK / timedelta(days=1) + 0.001
    assert len(post.notices()) <= 3


def test_a_policy_that_holds_nobody_any_more_ends_what_is_held(post: Post) -> None:
    post.submit(GUEST)
    post.settle()
    post.ground.organisation.holds = False
    post.ground.organisation.save()
    post.later(hours=1)
    assert post.recipient(GUEST).state == "undeliverable"
    assert len(post.reports()) == 1
    post.later(hours=1)
    assert not Job.objects.exists()


def test_a_message_that_expires_while_it_is_held_is_reported_as_gone(post: Post) -> None:
    begun = post.clock()
    post.submit(GUEST, fields=[("zivver-message-expiration", "delete P2D")])
    post.until_nothing_waits()
    assert days_of(post, begun, "report") == [2]
    recipient = post.recipient(GUEST)
    assert (recipient.state, recipient.status, recipient.reason) == ("undeliverable", "5.7.0", "destroyed")
    assert "25 november 2026" in words(post.notices()[0])  # until when it can be mended
    assert "verlopen of ingetrokken" in everything_in(post.reports()[0])


def test_a_message_whose_keys_are_destroyed_is_reported_at_once(post: Post) -> None:
    post.submit(GUEST, OTHER, to=[OTHER])
    post.mx("open.test")
    post.settle()
    conversation = post.recipient(GUEST).conversation_id
    post.clock.forward(minutes=5)
    post.run(post.writer.write(lambda: retention.destroy(conversation, now=post.clock())))
    post.settle()
    recipient = post.recipient(GUEST)
    assert (recipient.state, recipient.reason) == ("undeliverable", "destroyed")
    assert len(post.reports()) == 1
    assert post.recipient(OTHER).state == "notified"


def test_nothing_is_sealed_into_a_message_that_was_destroyed_meanwhile(post: Post) -> None:
    post.submit(GUEST)
    post.settle()
    conversation = post.recipient(GUEST).conversation_id
    supply(post)

    def destroyed() -> None:
        retention.destroy(conversation, now=post.clock())

    between(post, destroyed)
    post.settle()
    recipient = post.recipient(GUEST)
    assert (recipient.state, recipient.reason, recipient.verification) == ("undeliverable", "destroyed", None)
    assert len(post.reports()) == 1


def test_from_the_mail_to_the_page_to_the_reader(post: Post) -> None:
    """The whole way: the author hears, fills in, and the recipient reads; after that the number is remembered."""
    server, author = post.mx("streng.test"), post.ground.author
    author.set_password(PASSWORD)
    author.save()
    post.submit(GUEST)
    post.settle()
    found = re.search(r"http://localhost(/held/\S+)", words(post.notices()[0]))
    assert found is not None
    browser, recipient = signed_in(author), post.recipient(GUEST)
    assert browser.get(found[1]).status_code == 200
    assert browser.post(found[1], {f"{recipient.id.hex}-phone": "06 12345678"}).status_code == 303
    post.settle()
    assert "Notified, not opened yet" in page_words(browser.get(found[1]))
    visitor = Visitor(post.ground)
    visitor.open(recipient, link_in(server.messages()[0]))
    assert PHONE in post.ground.text_messages()[0].values()
    assert visitor.read(recipient).status_code == 200
    row = VerificationData.objects.get()
    assert (row.origin, row.confirmed_at) == ("sender", post.clock())
    post.submit(GUEST, message_id="<tweede@voorbeeld.test>", text="Nog een bericht.")
    post.settle()
    later = Recipient.objects.exclude(id=recipient.id).get()
    assert (later.state, later.method) == ("notified", "sms")


# --- at the same moment -------------------------------------------------------------------------------------------


def between(post: Post, happens: Callable[[], None]) -> None:
    """Once, after the next facts were read and before anything is recorded."""
    read, together = post.readers.read, post.readers.read_together

    async def interrupted(original: Any, *arguments: Any) -> Any:
        found = await original(*arguments)
        post.readers.read, post.readers.read_together = read, together  # type: ignore[method-assign]
        await post.writer.write(happens)
        return found

    post.readers.read = lambda *arguments: interrupted(read, *arguments)  # type: ignore[method-assign]
    post.readers.read_together = lambda *arguments: interrupted(together, *arguments)  # type: ignore[method-assign]


def settle_whatever_is_lost(post: Post) -> None:
    """As :meth:`Post.settle`; a doer that lost its lease is left, as the worker leaves it."""
    while leased := post.lease():
        for one in leased:
            try:
                post.run(post.doers[one.kind](one))
            except LeaseLost:
                continue
    post.run(post.dialler.close())


def test_what_is_supplied_while_a_decision_is_made_is_not_lost(post: Post) -> None:
    server = post.mx("streng.test")
    post.submit(GUEST)
    post.settle()
    with transaction.atomic():
        milestones.supplied([post.recipient(GUEST).id], now=post.clock())
    between(post, lambda: supply(post))
    settle_whatever_is_lost(post)
    assert post.recipient(GUEST).state == "notified"
    assert len(server.messages()) == 1


def test_what_is_supplied_while_the_last_look_is_made_still_counts(post: Post) -> None:
    server = post.mx("streng.test")
    post.submit(GUEST)
    post.settle()
    post.clock.forward(days=5)
    between(post, lambda: supply(post))
    settle_whatever_is_lost(post)
    post.until_nothing_waits()
    assert post.recipient(GUEST).state == "notified"
    assert len(server.messages()) == 1
    assert post.reports() == []


def test_what_is_supplied_while_the_last_decision_is_made_still_counts(post: Post) -> None:
    server = post.mx("streng.test")
    post.submit(GUEST)
    post.settle()
    post.clock.forward(days=5)
    (look,) = post.lease(Kind.HELD)
    post.run(post.telling.held(look))
    between(post, lambda: supply(post))
    settle_whatever_is_lost(post)
    post.until_nothing_waits()
    assert post.recipient(GUEST).state == "notified"
    assert len(server.messages()) == 1
    assert post.reports() == []


def test_what_is_supplied_after_the_end_changes_nothing_for_that_message(post: Post) -> None:
    post.submit(GUEST)
    post.settle()
    post.later(days=5)
    supply(post)
    post.until_nothing_waits()
    assert post.recipient(GUEST).state == "undeliverable"
    assert len(post.reports()) == 1


@pytest.mark.parametrize("first", ["look", "decision"])
def test_destroyed_and_supplied_at_once_has_one_outcome(post: Post, first: str) -> None:
    server = post.mx("streng.test")
    post.submit(GUEST)
    post.settle()
    conversation = post.recipient(GUEST).conversation_id

    def both() -> None:
        supply(post)
        retention.destroy(conversation, now=post.clock())

    post.run(post.writer.write(both))
    kinds = (Kind.HELD, Kind.RELEASE) if first == "look" else (Kind.RELEASE, Kind.HELD)
    for kind in kinds:
        for leased in post.lease(kind):
            post.run(post.doers[kind](leased))
    post.until_nothing_waits()
    assert post.recipient(GUEST).state == "undeliverable"
    assert len(post.reports()) == 1
    assert server.heard == []


def test_who_was_released_before_the_mail_was_recorded_is_not_written_about(post: Post) -> None:
    post.mx("streng.test")
    post.submit(GUEST)
    for leased in post.lease(Kind.DECIDE):
        post.run(post.decision.decide(leased))
    (look,) = post.lease(Kind.HELD)

    def released() -> None:
        supply(post)
        Recipient.objects.update(state="decided")

    between(post, released)
    post.run(post.telling.held(look))
    assert post.transmissions("notice") == []


def test_a_process_that_was_killed_between_leaves_one_mail(post: Post) -> None:
    post.submit(GUEST)
    for leased in post.lease(Kind.DECIDE):
        post.run(post.decision.decide(leased))
    (lost,) = post.lease(Kind.HELD)
    post.clock.forward(seconds=LEASE.total_seconds() + 1)
    (again,) = post.lease(Kind.HELD)
    post.run(post.telling.held(again))
    with pytest.raises(LeaseLost):
        post.run(post.telling.held(lost))
    post.settle()
    assert len(post.notices()) == 1


def test_a_clock_that_was_set_back_tells_nobody_again_and_holds_nobody_for_ever(post: Post) -> None:
    """P23."""
    post.submit(GUEST)
    post.settle()
    post.later(days=1)
    assert len(post.notices()) == 2
    post.clock.forward(days=-3)
    post.settle()
    post.later(hours=2)
    assert len(post.notices()) == 2
    post.until_nothing_waits()
    assert len(post.notices()) == 3
    assert len(post.reports()) == 1


def test_no_number_and_no_code_is_anywhere_in_clear(post: Post) -> None:
    post.mx("streng.test")
    post.submit(GUEST, SECOND)
    post.settle()
    supply(post)
    with transaction.atomic():
        memory.supply(
            post.ground.organisation,
            Mailbox.parse(SECOND),
            AccessCode(Secret("Toegang-9f1c"), Secret("Geheugensteun-77")),
            account=None,
            origin=VerificationData.Origin.ADMINISTRATOR,
            now=post.clock(),
            sealing=post.ground.keys.sealing,
        )
        milestones.supplied(held_of(post.ground.organisation), now=post.clock())
    post.until_nothing_waits()
    everything = "\n".join((*dump(), *map(str, post.logged), *map(everything_in, post.heard())))
    for secret in (PHONE, PHONE[3:], "Toegang-9f1c", "Geheugensteun-77"):
        assert secret not in everything
        assert secret.encode().hex() not in everything
