"""Facts in, plan out: what the database says of a recipient, and what of the plan is stored to be read by anyone."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from django.db import connection
from structlog.testing import capture_logs

from tests.journey.delivery_ground import PHONE, PROVEN_FIELD, SENTENCE, SUBJECT, Post, a_post, link_in, words
from tests.journey.portal_ground import Clock
from zegel.accounts.models import (
    Account,
    DirectDeliveryDomain,
    DirectDeliveryList,
    DomainMinimum,
    Organisation,
    SendingDomain,
)
from zegel.accounts.sign_in import enrol_totp
from zegel.core.policy.precedence import plan_from_json, replay
from zegel.core.policy.transport import PROVEN, Authentication, Tls, TransportSecurity
from zegel.journey.custody import retention
from zegel.journey.custody.jobs import Kind, LeaseLost
from zegel.journey.custody.models import Job, Recipient, Transmission

pytestmark = pytest.mark.django_db(transaction=True)

READER: Final = "lezer@veilig.test"
GUEST: Final = "gast@open.test"
CODE: Final = "Toegang-9f1c"


@pytest.fixture
def post(tmp_path: Path, clock: Clock) -> Iterator[Post]:
    with a_post(tmp_path, clock) as found:
        yield found


def decide(post: Post, *recipients: str, **more: Any) -> dict[str, Recipient]:
    """Only the decision: nothing is sent."""
    post.submit(*recipients, **more)
    for leased in post.lease(Kind.DECIDE):
        post.run(post.decision.decide(leased))
    return {one.address: one for one in Recipient.objects.all()}


def steps(recipient: Recipient) -> list[tuple[Any, ...]]:
    """Kind and rank, or method, or reason."""
    return [
        tuple(one[name] for name in ("kind", "rank", "method", "why") if one.get(name) is not None)
        for one in (recipient.plan or {})["steps"]
    ]


def reasons(recipient: Recipient) -> dict[int, str]:
    return {one["rank"]: one["why"] for one in (recipient.plan or {})["findings"]}


# --- accounts -----------------------------------------------------------------------------------------------------


def account_of(address: str, organisation: Organisation | None, *, has_second_factor: bool = True) -> Account:
    account = Account.objects.create_user(address, organisation=organisation)
    if has_second_factor:
        enrol_totp(account)
    return account


def test_a_recipient_with_a_second_factor_is_told_to_sign_in(post: Post) -> None:
    server = post.mx("open.test")
    account_of(GUEST, post.ground.organisation)
    post.submit(GUEST)
    post.settle()
    recipient = post.recipient(GUEST)
    assert steps(recipient) == [("notify", 1, "account")]
    assert reasons(recipient)[1] == "has-account"
    assert (recipient.state, recipient.method, recipient.verification) == ("notified", "account", None)
    assert "log" in words(server.messages()[0]).lower()
    assert link_in(server.messages()[0])


def test_the_account_is_found_however_the_address_is_written(post: Post) -> None:
    account_of("Gast@Open.test", post.ground.organisation)
    assert decide(post, "GAST@open.test")["GAST@open.test"].method == "account"


def test_an_account_of_another_organisation_counts_as_well(post: Post) -> None:
    account_of(GUEST, Organisation.objects.create(name="Ander"))
    assert decide(post, GUEST)[GUEST].method == "account"


@pytest.mark.parametrize("lack", ["second factor", "active"])
def test_an_account_that_lacks_something_changes_nothing(post: Post, lack: str) -> None:
    account = account_of(GUEST, post.ground.organisation, has_second_factor=lack != "second factor")
    if lack == "active":
        account.is_active = False
        account.save()
    found = decide(post, GUEST)[GUEST]
    assert steps(found) == [("notify", 7, "email")]
    assert reasons(found)[1] == ("no-account" if lack == "active" else "no-second-factor")


@pytest.mark.parametrize("right", [f"{GUEST} sms {PHONE}", f"{GUEST} access-code {CODE}"], ids=["sms", "access code"])
def test_an_account_that_nobody_vouches_for_replaces_no_method_that_the_message_names(post: Post, right: str) -> None:
    """D-9: made with nothing but proof of the mailbox."""
    account_of(GUEST, None)
    found = decide(post, GUEST, fields=[("zivver-access-right", right)])[GUEST]
    assert steps(found)[0][:2] == ("notify", 3)
    assert reasons(found)[1] == "method-not-passed-yet"


def test_an_account_that_an_administrator_made_replaces_the_method_that_the_message_names(post: Post) -> None:
    account_of(GUEST, post.ground.organisation)
    found = decide(post, GUEST, fields=[("zivver-access-right", f"{GUEST} sms {PHONE}")])[GUEST]
    assert steps(found) == [("notify", 1, "account")]
    assert found.verification is None


def test_another_organisation_vouches_for_people_of_its_own_domains_alone(post: Post) -> None:
    """Else it could make an account for anybody, and read what a text message was to guard."""
    other = Organisation.objects.create(name="Andere organisatie")
    account_of(GUEST, other)
    own = SendingDomain.objects.create(
        organisation=other, name="open.test", ownership_token="t", dkim_key=b"", dkim_record="", in_place=False
    )
    fields = [("zivver-access-right", f"{GUEST} sms {PHONE}")]
    found = decide(post, GUEST, fields=fields)[GUEST]
    assert (steps(found)[0][:2], reasons(found)[1]) == (("notify", 3), "method-not-passed-yet")
    own.in_place = True
    own.save()
    Recipient.objects.all().delete()
    assert steps(decide(post, GUEST, fields=fields, text="Nog een")[GUEST]) == [("notify", 1, "account")]


# --- the organisation's policy ------------------------------------------------------------------------------------


def test_a_listed_domain_goes_by_its_level(post: Post) -> None:
    post.list_domain("veilig.test")
    DirectDeliveryDomain.objects.create(
        organisation=post.ground.organisation, domain="streng.test", tls=Tls.TLS_1_3, authentication=Authentication.DANE
    )
    found = decide(post, READER, "lezer@streng.test", GUEST)
    assert steps(found[READER]) == [("readable", 4), ("notify", 7, "email")]
    assert steps(found[GUEST]) == [("notify", 7, "email")]
    level = {one.address: (one.needs_tls, one.needs_authentication) for one in Transmission.objects.all()}
    assert level == {
        READER: (PROVEN.tls, PROVEN.authentication),
        "lezer@streng.test": (Tls.TLS_1_3, Authentication.DANE),
        GUEST: (0, 0),
    }


def test_a_list_can_not_lower_what_the_message_asks(post: Post) -> None:
    post.list_domain("veilig.test")
    found = decide(post, READER, fields=[("zivver-direct-delivery", "tls tls1.3 auth dane")])[READER]
    readable = plan_from_json(found.plan or {}).steps[0]
    assert getattr(readable, "needs", None) == TransportSecurity(Tls.TLS_1_3, Authentication.DANE)


def test_a_list_below_the_floor_is_raised_to_it(post: Post) -> None:
    DirectDeliveryDomain.objects.create(
        organisation=post.ground.organisation, domain="veilig.test", tls=Tls.NONE, authentication=Authentication.NONE
    )
    decide(post, READER)
    (transmission,) = Transmission.objects.all()
    assert (transmission.needs_tls, transmission.needs_authentication) == (PROVEN.tls, PROVEN.authentication)


def test_the_list_is_of_one_organisation_and_of_one_domain(post: Post) -> None:
    other = Organisation.objects.create(name="Ander")
    DirectDeliveryDomain.objects.create(organisation=other, domain="open.test")
    post.list_domain("veilig.test")
    found = decide(post, GUEST, "lezer@sub.veilig.test", "lezer@nietveilig.test")
    assert {steps(one)[0] for one in found.values()} == {("notify", 7, "email")}


def test_an_internationalised_domain_is_found_on_the_list(post: Post) -> None:
    post.list_domain("xn--bcher-kva.test")
    found = decide(post, "lezer@bücher.test", to=["balie@voorbeeld.test"])
    assert [steps(one)[0] for one in found.values()] == [("readable", 4)]


def test_a_named_method_goes_before_the_list(post: Post) -> None:
    post.list_domain("veilig.test")
    found = decide(post, READER, fields=[("zivver-access-right", f"{READER} sms {PHONE}")])[READER]
    assert steps(found) == [("notify", 3, "sms")]


def test_both_fields_try_transport_first_and_then_the_method(post: Post) -> None:
    found = decide(post, READER, fields=[PROVEN_FIELD, ("zivver-access-right", f"{READER} sms {PHONE}")])[READER]
    assert steps(found) == [("readable", 4), ("notify", 3, "sms")]


def test_policy_may_forbid_direct_delivery_that_a_message_asks(post: Post) -> None:
    post.ground.organisation.allows_transport = False
    post.ground.organisation.save()
    found = decide(post, READER, fields=[PROVEN_FIELD])[READER]
    assert steps(found) == [("notify", 7, "email")]
    assert reasons(found)[4] == "policy-forbids-transport"
    assert (found.code_needs_tls, found.code_needs_authentication) == (PROVEN.tls, PROVEN.authentication)


def test_policy_that_allows_no_method_for_the_recipient_is_told_to_the_sender(post: Post) -> None:
    post.ground.organisation.allowed_methods = []
    post.ground.organisation.save()
    found = decide(post, GUEST)[GUEST]
    assert (found.state, found.status, found.reason) == ("undeliverable", "5.7.1", "no-method-allowed")
    assert Job.objects.filter(kind=Kind.REPORT, subject=found.id).exists()
    assert not Transmission.objects.exists()


@pytest.mark.parametrize("holds", [True, False])
def test_a_recipient_who_lacks_what_policy_leaves_is_held_or_reported(post: Post, holds: bool) -> None:
    post.ground.organisation.allowed_methods = ["sms"]
    post.ground.organisation.holds = holds
    post.ground.organisation.save()
    found = decide(post, GUEST, READER, fields=[("zivver-access-right", f"{READER} sms {PHONE}")])
    assert found[GUEST].state == ("held" if holds else "undeliverable")
    assert found[READER].state == "decided"  # the others are served


def test_a_method_that_policy_forbids_is_never_replaced_by_another(post: Post) -> None:
    post.ground.organisation.allowed_methods = ["email", "access-code"]
    post.ground.organisation.save()
    found = decide(post, GUEST, fields=[("zivver-access-right", f"{GUEST} sms {PHONE}")])[GUEST]
    assert steps(found) == [("undeliverable", "policy-contradicts-message")]


# --- the least that a domain's recipients must verify with ----------------------------------------------------------


def least(post: Post, domain: str, method: str) -> None:
    DomainMinimum.objects.create(organisation=post.ground.organisation, domain=domain, method=method)


def test_a_minimum_lets_nothing_weaker_through_and_nothing_readable(post: Post) -> None:
    least(post, "veilig.test", "access-code")
    post.list_domain("veilig.test")
    found = decide(post, READER, GUEST, fields=[PROVEN_FIELD])
    assert steps(found[READER]) == [("hold",)]
    assert reasons(found[READER])[4] == "policy-demands-verification"
    assert reasons(found[READER])[7] == "policy-forbids-method"
    assert (found[READER].state, found[READER].told_at) == ("held", None)
    assert steps(found[GUEST])[0] == ("readable", 4)  # of another domain
    assert not Transmission.objects.filter(address=READER).exists()


@pytest.mark.parametrize(
    ("minimum", "named", "expected"),
    [
        ("sms", f"sms {PHONE}", ("notify", 3, "sms")),
        ("access-code", f"sms {PHONE}", ("notify", 3, "sms")),
        ("sms", f"access-code {CODE}", ("undeliverable", "policy-contradicts-message")),
        ("account", f"sms {PHONE}", ("undeliverable", "policy-contradicts-message")),
    ],
)
def test_a_minimum_judges_what_the_message_names(
    post: Post, minimum: str, named: str, expected: tuple[object, ...]
) -> None:
    least(post, "open.test", minimum)
    found = decide(post, GUEST, fields=[("zivver-access-right", f"{GUEST} {named}")])[GUEST]
    assert steps(found) == [expected]


def test_an_account_with_a_second_factor_meets_every_minimum(post: Post) -> None:
    least(post, "open.test", "account")
    account_of(GUEST, post.ground.organisation)
    assert steps(decide(post, GUEST)[GUEST]) == [("notify", 1, "account")]


def test_the_minimum_of_every_other_domain_gives_way_to_a_line_of_its_own(post: Post) -> None:
    least(post, DomainMinimum.EVERY_OTHER, "sms")
    least(post, "open.test", "email")
    found = decide(post, GUEST, READER)
    assert steps(found[GUEST]) == [("notify", 7, "email")]
    assert steps(found[READER]) == [("hold",)]


def test_a_minimum_is_of_one_organisation(post: Post) -> None:
    other = Organisation.objects.create(name="Ander")
    DomainMinimum.objects.create(organisation=other, domain=DomainMinimum.EVERY_OTHER, method="sms")
    assert steps(decide(post, GUEST)[GUEST]) == [("notify", 7, "email")]


def test_direct_delivery_that_a_minimum_forbids_is_told_to_the_author_once(post: Post) -> None:
    least(post, "veilig.test", "sms")
    post.mx("open.test")
    post.submit(READER, GUEST, fields=[PROVEN_FIELD])
    post.settle()
    post.later(minutes=11)
    told = [words(one) for one in post.notices() if "direct-delivery" in words(one)]
    assert len(told) == 1
    assert READER in told[0]
    assert GUEST not in told[0]
    post.later(days=1)
    assert len([one for one in post.notices() if "direct-delivery" in words(one)]) == 1


# --- inbound direct delivery --------------------------------------------------------------------------------------


def inbound(domain: str, *, in_place: bool = True, takes: bool = True) -> Organisation:
    """Another organisation, with a domain that may be proven to be its own."""
    other = Organisation.objects.create(name="Ziekenhuis", takes_inbound_direct_delivery=takes)
    SendingDomain.objects.create(
        organisation=other, name=domain, ownership_token="x", dkim_key=b"", dkim_record="", in_place=in_place
    )
    return other


def test_inbound_direct_delivery_is_readable_with_and_without_an_account(post: Post) -> None:
    other = inbound("veilig.test")
    account_of(READER, other)
    found = decide(post, READER, "niemand@veilig.test")
    assert steps(found[READER]) == [("readable", 1), ("notify", 1, "account")]
    assert steps(found["niemand@veilig.test"]) == [("readable", 1), ("notify", 7, "email")]
    assert reasons(found[READER])[1] == "takes-inbound-direct-delivery"


@pytest.mark.parametrize("lack", ["in_place", "takes"])
def test_a_domain_that_is_not_proven_or_an_organisation_that_does_not_want_it_gets_nothing_readable(
    post: Post, lack: str
) -> None:
    inbound("veilig.test", **{lack: False})
    assert steps(decide(post, READER)[READER]) == [("notify", 7, "email")]


def test_a_subdomain_is_not_the_domain(post: Post) -> None:
    inbound("veilig.test")
    assert steps(decide(post, "lezer@sub.veilig.test")["lezer@sub.veilig.test"]) == [("notify", 7, "email")]


def test_what_is_delivered_inbound_is_readable_at_the_server_and_falls_back_where_that_is_too_weak(post: Post) -> None:
    inbound("veilig.test")
    server = post.proven()
    post.submit(READER)
    post.settle()
    assert SENTENCE in words(server.messages()[0])
    assert post.recipient(READER).state == "delivered"

    inbound("open.test")
    weak = post.mx("open.test")
    post.submit(GUEST, message_id="<tweede@voorbeeld.test>", text=f"{SENTENCE} Nog eens.")
    post.settle()
    (mail,) = weak.messages()
    assert SENTENCE not in words(mail)
    assert link_in(mail)
    assert (post.recipient(GUEST).state, post.recipient(GUEST).step) == ("notified", 1)


# --- lists that others keep ---------------------------------------------------------------------------------------


def kept_list(
    post: Post, domain: str, *, url: str = "https://lijst.test/", read: timedelta | None, **more: Any
) -> None:
    found = DirectDeliveryList.objects.create(
        organisation=post.ground.organisation,
        name=f"lijst {DirectDeliveryList.objects.count()}",
        url=url,
        read_at=post.clock.at - read if read is not None else None,
    )
    DirectDeliveryDomain.objects.create(organisation=post.ground.organisation, source=found, domain=domain, **more)


@pytest.mark.parametrize(
    ("url", "read", "counts"),
    [
        ("https://lijst.test/", timedelta(days=6), True),
        ("https://lijst.test/", timedelta(days=8), False),
        ("https://lijst.test/", None, False),
        ("", timedelta(days=900), True),
        ("", None, True),
    ],
)
def test_a_list_that_was_not_read_for_long_says_nothing(
    post: Post, url: str, read: timedelta | None, counts: bool
) -> None:
    kept_list(post, "veilig.test", url=url, read=read)
    assert (steps(decide(post, READER)[READER])[0][:2] == ("readable", 4)) is counts


def test_of_several_lists_the_strictest_level_counts_and_an_own_entry_goes_before_all(post: Post) -> None:
    for authentication in (Authentication.CERTIFICATE, Authentication.DANE):
        kept_list(post, "veilig.test", read=timedelta(hours=1), authentication=authentication)
    decide(post, READER)
    assert Transmission.objects.get(address=READER).needs_authentication == Authentication.DANE
    post.list_domain("veilig.test")
    decide(post, "ander@veilig.test", message_id="<tweede@voorbeeld.test>", text="Nog een.")
    assert Transmission.objects.get(address="ander@veilig.test").needs_authentication == Authentication.CERTIFICATE


# --- what is stored -----------------------------------------------------------------------------------------------


def test_the_plan_and_all_rows_hold_no_number_and_no_code(post: Post) -> None:
    fields = [("zivver-access-right", f"{GUEST} sms {PHONE}"), ("zivver-access-right", f"{READER} access-code {CODE}")]
    with capture_logs() as logged:
        found = decide(post, GUEST, READER, fields=fields)
    assert found[GUEST].masked == "+31 6 ****5678"
    assert found[READER].masked == ""
    plans = json.dumps([one.plan for one in found.values()])
    assert "+31 6 ****5678" in plans
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM custody_recipient")
        rows = repr(cursor.fetchall())
    for hidden in (PHONE, PHONE[1:], "612345678", CODE, SUBJECT, SENTENCE):
        assert hidden not in plans
        assert hidden not in rows
        assert hidden not in json.dumps(logged, default=str)


def test_what_opens_the_message_is_sealed_beside_it(post: Post) -> None:
    fields = [("zivver-access-right", f"{GUEST} sms {PHONE}"), ("zivver-access-right", f"{READER} access-code {CODE}")]
    found = decide(post, GUEST, READER, fields=fields)

    def opened(address: str) -> Any:
        row = found[address]
        return json.loads(post.ground.unsealer.field(row.verification, name="verification", owner=row.id).reveal())

    assert opened(GUEST) == {"phone": PHONE}
    assert opened(READER) == {"access_code": CODE, "hint": None}


def test_the_stored_plan_explains_every_row(post: Post) -> None:
    found = decide(post, GUEST)[GUEST]
    assert sorted(reasons(found)) == [1, 2, 3, 4, 5, 6, 7]
    assert found.decided_at == post.clock.at
    assert plan_from_json(found.plan or {}).steps


def test_the_stored_decision_can_be_made_again_with_the_table_of_its_day(post: Post) -> None:
    post.list_domain("veilig.test")
    least(post, "open.test", "sms")
    found = decide(post, GUEST, READER, fields=[("zivver-access-right", f"{GUEST} sms {PHONE}"), PROVEN_FIELD])
    for recipient in found.values():
        replayed = replay(recipient.plan or {})
        assert replayed.is_same
        assert replayed.stored.steps == plan_from_json(recipient.plan or {}).steps


def test_only_who_awaits_a_decision_gets_one(post: Post) -> None:
    found = decide(post, GUEST, READER)
    before = {one.address: one.plan for one in found.values()}
    Recipient.objects.filter(address=GUEST).update(state="accepted", plan=None)
    Job.objects.create(kind=Kind.DECIDE, subject=found[GUEST].submission_id, due_at=post.clock.at)
    for leased in post.lease(Kind.DECIDE):
        post.run(post.decision.decide(leased))
    after = {one.address: one for one in Recipient.objects.all()}
    assert after[GUEST].plan == before[GUEST]
    assert Transmission.objects.filter(address=READER).count() == 1
    assert Transmission.objects.filter(address=GUEST).count() == 2


@pytest.mark.parametrize("runs_twice", [False, True], ids=["once", "twice"])
def test_the_author_hears_that_policy_contradicts_however_often_the_commit_runs(post: Post, runs_twice: bool) -> None:
    """In a commit with another's work that fails, each is done again alone."""
    post.mx("open.test")
    post.ground.organisation.allows_transport = False
    post.ground.organisation.save()
    post.submit(GUEST, fields=[PROVEN_FIELD])
    Job.objects.filter(kind=Kind.WARN).delete()  # of the fields
    (leased,) = post.lease(Kind.DECIDE)
    begun, release = threading.Event(), threading.Event()
    runs: list[int] = []

    def hold() -> None:
        begun.set()
        release.wait(20)

    def fail() -> None:
        runs.append(Job.objects.filter(kind=Kind.WARN).count())
        raise LeaseLost

    async def waiting(units: int) -> None:
        while post.writer._queue.qsize() < units:
            await asyncio.sleep(0.01)

    async def together() -> Sequence[object]:
        first = asyncio.create_task(post.writer.write(hold))
        await asyncio.to_thread(begun.wait, 20)
        deciding = asyncio.create_task(post.decision.decide(leased))
        await waiting(1)
        failing = asyncio.create_task(post.writer.write(fail))
        await waiting(2)
        release.set()
        return await asyncio.gather(first, deciding, failing, return_exceptions=True)

    if runs_twice:
        results = post.run(together())
        assert [type(one) for one in results] == [type(None), type(None), LeaseLost]
        assert runs == [1, 1]  # first beside the decision, and then behind it
    else:
        post.run(post.decision.decide(leased))
    assert Job.objects.filter(kind=Kind.WARN).count() == 1
    assert post.recipient(GUEST).state == "decided"
    post.later(minutes=11)
    (notice,) = post.notices()
    assert "direct-delivery" in words(notice) and GUEST in words(notice)


def test_who_ended_while_the_decision_was_made_stays_so_and_is_reported_once(post: Post) -> None:
    shown, hidden = post.mx("open.test"), post.mx("dicht.test")
    post.submit(GUEST, "bcc@dicht.test", to=[GUEST])
    conversation = post.recipient(GUEST).conversation_id
    together = post.writer.write_together

    async def late(*arguments: Any) -> Any:
        post.writer.write_together = together  # type: ignore[method-assign]
        await post.writer.write(lambda: retention.destroy(conversation, now=post.clock()))
        return await together(*arguments)

    (leased,) = post.lease(Kind.DECIDE)
    post.writer.write_together = late  # type: ignore[method-assign, assignment]
    post.run(post.decision.decide(leased))
    post.until_nothing_waits()
    assert post.recipient(GUEST).state == "undeliverable"
    assert post.recipient("bcc@dicht.test").state == "notified"
    assert (shown.heard, len(hidden.messages()), len(post.reports())) == ([], 1, 1)
