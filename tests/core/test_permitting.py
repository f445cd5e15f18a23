"""What an organisation may allow and demand about recipients, against the table that decides."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, combinations, product

import pytest

from zegel.core.mail.address import NotADomain
from zegel.core.policy.case import Asked, Case, OrganisationPolicy
from zegel.core.policy.holding import LONGEST_HOLD
from zegel.core.policy.permitting import (
    LONGEST_EXPIRY_DAYS,
    Caution,
    Cautioned,
    NotAPolicy,
    RecipientPolicy,
    cautions,
    checked,
    is_laxer,
    is_lower,
    parse_level,
    parse_methods,
    parse_minimum_domain,
    written_level,
)
from zegel.core.policy.precedence import Hold, Notify, Readable, Step, Undeliverable, plan
from zegel.core.policy.reasons import Why
from zegel.core.policy.transport import NO_DEMAND, PROVEN, Authentication, Tls, TransportSecurity
from zegel.core.policy.verification import Method, at_least

METHODS = tuple(Method)
MINIMUMS = (None, *METHODS)
SETS = tuple(chain.from_iterable(combinations(METHODS, size) for size in range(1, len(METHODS) + 1)))


# --- as it is written --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("written", ["fax", "sms,fax", "SMS", "sms;email", "all"])
def test_what_is_no_method_is_named_with_those_that_there_are(written: str) -> None:
    with pytest.raises(NotAPolicy, match=r"is not a method; write some of account,sms,access-code,email"):
        parse_methods(written)


@pytest.mark.parametrize("methods", SETS)
def test_methods_are_read_in_any_order_and_kept_in_one(methods: tuple[Method, ...]) -> None:
    written = ", ".join(method.value for method in (*reversed(methods), methods[0]))
    assert parse_methods(written) == methods


@pytest.mark.parametrize("written", ["", "  ", "tls1.1", "dane dane", "tls1.2 tls1.3", "none", "tls1.3,dane"])
def test_what_is_no_level_is_refused_with_an_example(written: str) -> None:
    with pytest.raises(NotAPolicy, match=r"such as 'tls1.3 dane'$"):
        parse_level(written)


def test_every_level_is_read_as_it_is_written_and_none_is_below_the_default() -> None:
    for tls, authentication in product(Tls, Authentication):
        level = TransportSecurity(tls, authentication)
        assert parse_level(written_level(level)) == level.at_least(PROVEN)
    assert written_level(NO_DEMAND) == "tls1.2 certificate-validation"
    assert parse_level("DANE") == TransportSecurity(Tls.TLS_1_2, Authentication.DANE)


def test_a_minimum_holds_for_a_domain_or_for_every_other() -> None:
    assert parse_minimum_domain(" * ", every_other="*") == "*"
    assert parse_minimum_domain("Bücher.example", every_other="*") == "xn--bcher-kva.example"
    for written in ("", "**", "*.example.org", "example"):
        with pytest.raises(NotADomain):
            parse_minimum_domain(written, every_other="*")


# --- what may be in force ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "policy",
    [
        RecipientPolicy(allowed=()),
        RecipientPolicy(hold_days=0),
        RecipientPolicy(hold_days=LONGEST_HOLD + 1),
        RecipientPolicy(holds=False, hold_days=0),
        RecipientPolicy(expires_after_days=0),
        RecipientPolicy(expires_after_days=LONGEST_EXPIRY_DAYS + 1),
    ],
)
def test_a_policy_that_can_not_be_in_force_is_refused(policy: RecipientPolicy) -> None:
    with pytest.raises(NotAPolicy, match="such as"):
        checked(policy)


def test_the_ends_of_each_range_can_be_in_force() -> None:
    for days, expiry in ((1, 1), (LONGEST_HOLD, LONGEST_EXPIRY_DAYS), (1, None)):
        policy = RecipientPolicy(hold_days=days, expires_after_days=expiry)
        assert checked(policy) == policy


def test_equal_policies_print_equally_whatever_the_process() -> None:
    policy = RecipientPolicy(allowed=parse_methods("email sms account"))
    assert "(<Method.ACCOUNT: 'account'>, <Method.SMS: 'sms'>, <Method.EMAIL: 'email'>)" in repr(policy)


# --- beside the table --------------------------------------------------------------------------------------------


def decided(policy: RecipientPolicy, minimum: Method | None, *, asks: bool, inbound: bool) -> tuple[Step, ...]:
    """The steps for a recipient about whom nothing is known."""
    return plan(
        Case(
            asked=Asked(transport=PROVEN if asks else None),
            policy=OrganisationPolicy(
                allowed=frozenset(policy.allowed),
                allows_transport=policy.allows_transport,
                required=at_least(minimum) if minimum else frozenset(),
                holds=policy.holds,
            ),
            takes_inbound_direct_delivery=inbound,
        )
    ).steps


def policies() -> Iterator[RecipientPolicy]:
    for allowed, transport, inbound in product(SETS, (False, True), (False, True)):
        yield RecipientPolicy(allowed=allowed, allows_transport=transport, takes_inbound_direct_delivery=inbound)


def test_whoever_is_held_and_could_go_after_a_change_is_looked_at_again() -> None:
    held = [
        (policy, minimum, asks)
        for policy, minimum, asks in product(policies(), MINIMUMS, (False, True))
        if isinstance(
            decided(policy, minimum, asks=asks, inbound=policy.takes_inbound_direct_delivery)[0],
            Hold,
        )
    ]
    assert held
    gone = 0
    for old, minimum, asks in held:
        for new in policies():
            steps = decided(new, minimum, asks=asks, inbound=new.takes_inbound_direct_delivery)
            if isinstance(steps[0], Notify | Readable):
                gone += 1
                assert is_laxer(new, old), (old, new, minimum)
        for lower in MINIMUMS:
            steps = decided(old, lower, asks=asks, inbound=old.takes_inbound_direct_delivery)
            if isinstance(steps[0], Notify | Readable):
                gone += 1
                assert is_lower(lower, minimum), (old, minimum, lower)
    assert gone


def test_nothing_is_laxer_or_lower_than_itself() -> None:
    assert not [policy for policy in policies() if is_laxer(policy, policy)]
    assert not [minimum for minimum in MINIMUMS if is_lower(minimum, minimum)]
    assert is_lower(None, Method.EMAIL), "without a minimum it may be delivered readable"


def test_a_minimum_that_nobody_can_meet_is_pointed_out_exactly_where_the_table_reports_it() -> None:
    for allowed, minimum in product(SETS, METHODS):
        policy = RecipientPolicy(allowed=allowed)
        last = decided(policy, minimum, asks=False, inbound=False)[-1]
        is_impossible = isinstance(last, Undeliverable) and last.why is Why.NO_METHOD_ALLOWED
        found = cautions(policy, minimums={"example.org": minimum}, listed=(), every_other="*")
        assert (Cautioned(Caution.MINIMUM_NOT_ALLOWED, "example.org") in found) == is_impossible


def test_who_bounces_at_once_is_pointed_out_exactly_where_the_table_does_so() -> None:
    for allowed, holds in product(SETS, (False, True)):
        policy = RecipientPolicy(allowed=allowed, holds=holds)
        (last,) = decided(policy, None, asks=False, inbound=False)
        found = {one.caution for one in cautions(policy, minimums={}, listed=(), every_other="*")}
        if allowed == (Method.ACCOUNT,):
            assert found == {Caution.ONLY_ACCOUNTS}
        else:
            assert (found == {Caution.NOBODY_KNOWN}) == isinstance(last, Undeliverable)


def test_a_listed_domain_with_a_minimum_is_pointed_out() -> None:
    listed = ("example.org", "example.net")
    found = cautions(RecipientPolicy(), minimums={"example.org": Method.EMAIL}, listed=listed, every_other="*")
    assert found == (Cautioned(Caution.LISTED_IN_VAIN, "example.org"),)
    found = cautions(RecipientPolicy(), minimums={"*": Method.EMAIL}, listed=listed, every_other="*")
    assert found == (Cautioned(Caution.NOTHING_DIRECT),)
    assert not cautions(RecipientPolicy(), minimums={"*": Method.EMAIL}, listed=(), every_other="*")
