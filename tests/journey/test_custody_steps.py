"""Where a recipient stands in the plan, and what that sets in motion."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import transaction

from tests.journey.portal_ground import Ground, mail
from zegel.core.policy.precedence import Hold, Notify, Plan, Readable, Step, Undeliverable
from zegel.core.policy.reasons import Why
from zegel.core.policy.transport import NO_DEMAND, PROVEN, Authentication, Tls, TransportSecurity
from zegel.core.policy.verification import Method
from zegel.journey import steps
from zegel.journey.custody.models import Conversation, Job, Recipient, Transmission
from zegel.journey.steps import Begun, UnderWay, begin_all, give_up

pytestmark = pytest.mark.django_db

STRICT = TransportSecurity(Tls.TLS_1_3, Authentication.DANE)
READABLE = Readable(4, STRICT)
NOTIFY = Notify(7, Method.EMAIL, code_mail_needs=PROVEN)
BY_SMS = Notify(3, Method.SMS, masked="+31 6 ****5678")
LOST = Undeliverable("5.7.1", next(iter(Why)))


TOKEN = "Ab-" + "q_7Z" * 10  # 43 characters, as the token of a link has


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (f"blocked: http://localhost/m/{TOKEN}, sorry", "blocked: http://localhost…, sorry"),
        (f"blocked: {TOKEN}: sorry", "blocked: …: sorry"),
        (f"blocked: url=http%3A%2F%2Flocalhost%2Fm%2F{TOKEN}&data=x", "blocked: url=http%3A%2F%2Flocalhost…&data=x"),
        (f"blocked: http%253a%252f%252flocalhost%252fm%252f{TOKEN} x", "blocked: http%253a%252f%252flocalhost… x"),
        (f"blocked: http=3A=2F=2Flocalhost=2Fm=2F{TOKEN}", "blocked: http=3A=2F=2Flocalhost…"),
        ("5.1.1 <ontvanger-met-een-lange-naam@example.org> no such user", None),
    ],
)
def test_no_token_of_a_link_is_left_in_what_servers_say(said: str, kept: str | None) -> None:
    """Filters rewrite links before they quote them."""
    assert steps.without_links(said) == (said if kept is None else kept)


def waiting(ground: Ground, address: str = "ontvanger@example.org") -> Recipient:
    conversation = Conversation.objects.first() or ground.conversation(mail())
    recipient = ground.recipient(conversation, address, state=Recipient.State.ACCEPTED, method="")
    return Recipient.objects.select_related("submission__account").get(id=recipient.id)


def begin(ground: Ground, recipient: Recipient, index: int, *plan: Step) -> Recipient:
    with transaction.atomic():
        begin_all([Begun(UnderWay.of(recipient), Plan(plan, ()), index)], now=ground.clock())
    return Recipient.objects.get(id=recipient.id)


def jobs_made() -> set[tuple[str, object]]:
    return {(one.kind, one.subject) for one in Job.objects.all()}


def test_nothing_that_fits_means_that_the_sender_is_told(ground: Ground) -> None:
    recipient = begin(ground, waiting(ground), 0, LOST)
    assert (recipient.state, recipient.status, recipient.reason) == ("undeliverable", "5.7.1", LOST.why.value)
    assert jobs_made() == {("report", recipient.id)}
    assert not Transmission.objects.exists()


def test_who_lacks_something_is_held_and_the_sender_is_told_and_nothing_is_sent(ground: Ground) -> None:
    recipient = begin(ground, waiting(ground), 0, Hold(frozenset({Method.SMS})))
    assert recipient.state == "held"
    assert jobs_made() == {("held", recipient.submission_id)}
    assert not Transmission.objects.exists()


def test_a_readable_step_is_a_transmission_with_its_demand(ground: Ground) -> None:
    recipient = begin(ground, waiting(ground), 0, READABLE, NOTIFY)
    made = Transmission.objects.get()
    assert (recipient.state, recipient.step, recipient.method) == ("decided", 0, "")
    assert (made.kind, made.step, made.state, made.tries) == ("readable", 0, "queued", 0)
    assert (made.needs_tls, made.needs_authentication) == (STRICT.tls, STRICT.authentication)
    assert made.message_id == recipient.submission.message_id
    assert (made.recipient_id, made.submission_id) == (recipient.id, recipient.submission_id)
    assert made.address == recipient.address
    assert made.created_at == ground.clock()
    assert jobs_made() == {("transmit", made.id)}
    assert Job.objects.get().due_at == ground.clock()


def test_a_notification_demands_nothing_of_its_own_way_and_keeps_what_its_code_demands(ground: Ground) -> None:
    recipient = begin(ground, waiting(ground), 0, NOTIFY)
    made = Transmission.objects.get()
    assert (made.kind, made.needs_tls, made.needs_authentication) == (
        "notification",
        NO_DEMAND.tls,
        NO_DEMAND.authentication,
    )
    assert made.message_id == f"<{made.id.hex}@voorbeeld.test>"
    assert recipient.method == "email"
    assert (recipient.code_needs_tls, recipient.code_needs_authentication) == (PROVEN.tls, PROVEN.authentication)


def test_the_masked_number_is_kept_and_no_other(ground: Ground) -> None:
    recipient = begin(ground, waiting(ground), 0, BY_SMS)
    assert (recipient.method, recipient.masked) == ("sms", "+31 6 ****5678")
    assert (recipient.code_needs_tls, recipient.code_needs_authentication) == (0, 0)


def test_the_next_step_is_another_transmission_under_its_own_number(ground: Ground) -> None:
    recipient = waiting(ground)
    begin(ground, recipient, 0, READABLE, NOTIFY)
    ground.clock.at += timedelta(hours=1)
    stands = begin(ground, recipient, 1, READABLE, NOTIFY)
    assert (stands.step, stands.state, stands.method) == (1, "decided", "email")
    first, second = Transmission.objects.order_by("step")
    assert (first.kind, second.kind) == ("readable", "notification")
    assert first.id != second.id
    assert jobs_made() == {("transmit", first.id), ("transmit", second.id)}


def test_each_transmission_has_a_return_path_by_which_it_is_known_again(ground: Ground) -> None:
    begin(ground, waiting(ground), 0, NOTIFY)
    made = Transmission.objects.get()
    assert made.reverse_path == f"{steps.RETURN_PATH_PREFIX}{made.id.hex}@zegel-bounce.voorbeeld.test"


def test_many_are_begun_together_each_with_its_own(ground: Ground) -> None:
    plans: dict[str, Step] = {"a": READABLE, "b": NOTIFY, "c": LOST, "d": Hold(frozenset({Method.SMS})), "e": BY_SMS}
    begun = [
        Begun(UnderWay.of(waiting(ground, f"{name}@example.org")), Plan((step,), ()), 0) for name, step in plans.items()
    ]
    with transaction.atomic():
        begin_all(begun, now=ground.clock())
    states = dict(Recipient.objects.values_list("address", "state"))
    assert states == {
        "a@example.org": "decided",
        "b@example.org": "decided",
        "c@example.org": "undeliverable",
        "d@example.org": "held",
        "e@example.org": "decided",
    }
    kinds = dict(Transmission.objects.values_list("address", "kind"))
    assert kinds == {"a@example.org": "readable", "b@example.org": "notification", "e@example.org": "notification"}
    assert {kind for kind, _ in jobs_made()} == {"transmit", "report", "held"}
    assert Job.objects.count() == 5


def test_nobody_to_begin_with_is_no_trouble(ground: Ground) -> None:
    begin_all([], now=ground.clock())
    assert jobs_made() == set()


def test_a_beginning_that_is_undone_leaves_nothing(ground: Ground) -> None:
    recipient = waiting(ground)
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        begin_all([Begun(UnderWay.of(recipient), Plan((READABLE, NOTIFY), ()), 0)], now=ground.clock())
        raise ZeroDivisionError
    assert Recipient.objects.get().state == "accepted"
    assert not Transmission.objects.exists()
    assert jobs_made() == set()


def test_giving_up_tells_the_sender_and_keeps_the_reason_short(ground: Ground) -> None:
    recipient = waiting(ground)
    give_up(recipient, status="5.1.1", reason="r" * 1000, now=ground.clock())
    found = Recipient.objects.get()
    assert (found.state, found.status, found.reason) == ("undeliverable", "5.1.1", "r" * 300)
    assert jobs_made() == {("report", recipient.id)}
