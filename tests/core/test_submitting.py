"""Who may submit, from where, for whom and how much: the rules alone."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zegel.core.mail.address import Domain, Mailbox
from zegel.core.policy.submitting import (
    FREE_FAILURES,
    SPF_REPLIES,
    Caps,
    NotARule,
    Spf,
    Used,
    is_aligned,
    is_bound,
    is_from,
    is_guessing,
    may_write_as,
    network_of,
    parse_authors,
    parse_networks,
    reached,
    written_author,
)


@pytest.mark.parametrize(
    "text",
    [
        "192.0.2.1/24",
        "192.0.2.256",
        "10.0.0.0/33",
        "voorbeeld.test",
        "192.0.2.0/24;192.0.3.0/24",
        "2001:db8::1/32",
        "::ffff:192.0.2.0/120",
        "::ffff:192.0.2.1",
    ],
)
def test_a_network_that_could_mean_two_things_or_none_is_refused(text: str) -> None:
    with pytest.raises(NotARule):
        parse_networks(text)


def test_networks_are_kept_in_one_spelling_and_once() -> None:
    assert parse_networks(" 192.0.2.10, 192.0.2.10/32\n198.51.100.0/24 2001:DB8:0::/32 ") == (
        "192.0.2.10",
        "198.51.100.0/24",
        "2001:db8::/32",
    )
    assert parse_networks(" , ") == ()


def test_all_of_the_internet_binds_nothing() -> None:
    assert [is_bound(one) for one in ((), ("0.0.0.0/0",), ("192.0.2.0/24", "::/0"), ("192.0.2.0/24",))] == [
        False,
        False,
        False,
        True,
    ]


@given(st.sampled_from(["a..b", 'a"b', "a b", "jan", "é"]))
def test_an_author_can_be_read_back_from_how_it_is_written(local: str) -> None:
    key = Mailbox(local, Domain("x.test")).key
    assert parse_networks("") == () and written_author("x.test") == "x.test"
    assert Mailbox.parse(written_author(key)).key == key


@pytest.mark.parametrize("text", ["geen adres@", "@", "localhost", "a@b@c", "*.voorbeeld.test", "192.0.2.1"])
def test_an_author_that_is_neither_address_nor_domain_is_refused(text: str) -> None:
    with pytest.raises(NotARule):
        parse_authors(text)


def test_authors_are_addresses_and_domains() -> None:
    assert parse_authors("Balie@Voorbeeld.test, @example.ORG bücher.test") == (
        "balie@voorbeeld.test",
        "example.org",
        "xn--bcher-kva.test",
    )


@pytest.mark.parametrize(
    ("address", "networks", "inside"),
    [
        ("192.0.2.10", [], True),
        ("192.0.2.10", ["192.0.2.0/24"], True),
        ("192.0.3.10", ["192.0.2.0/24"], False),
        ("::ffff:192.0.2.10", ["192.0.2.0/24"], True),
        ("2001:db8::5", ["192.0.2.0/24", "2001:db8::/32"], True),
        ("fe80::1%eth0", ["fe80::/10"], True),
        ("2001:db9::5", ["2001:db8::/32"], False),
        ("", ["0.0.0.0/0"], False),
        ("unix", ["0.0.0.0/0", "::/0"], False),
    ],
)
def test_a_client_is_inside_its_networks_or_it_is_not(address: str, networks: list[str], inside: bool) -> None:
    assert is_from(address, networks) is inside


@pytest.mark.parametrize(
    ("author", "allowed"),
    [
        ("balie@voorbeeld.test", True),
        ("BALIE@voorbeeld.test", True),
        ("iemand@example.org", True),
        ("iemand@onder.example.org", False),
        ("ander@voorbeeld.test", False),
    ],
)
def test_bound_credentials_write_as_those_alone(author: str, allowed: bool) -> None:
    assert may_write_as(Mailbox.parse(author), parse_authors("balie@voorbeeld.test example.org")) is allowed
    assert may_write_as(Mailbox.parse(author), ())


@pytest.mark.parametrize(
    ("proven", "author", "aligned"),
    [
        ("voorbeeld.test", "voorbeeld.test", True),
        ("mail.voorbeeld.test", "voorbeeld.test", True),
        ("voorbeeld.test", "mail.voorbeeld.test", False),
        ("eenvoorbeeld.test", "voorbeeld.test", False),
        ("aanvaller.test", "voorbeeld.test", False),
    ],
)
def test_spf_speaks_for_the_from_domain_and_names_below_it(proven: str, author: str, aligned: bool) -> None:
    assert is_aligned(Domain.parse(proven), Domain.parse(author)) is aligned


def test_every_result_of_spf_but_pass_is_a_refusal_and_only_trouble_is_for_now() -> None:
    assert {result: (reply.code, reply.status) for result, reply in SPF_REPLIES.items()} == {
        Spf.FAIL: (550, "5.7.23"),
        Spf.SOFTFAIL: (550, "5.7.23"),
        Spf.NEUTRAL: (550, "5.7.23"),
        Spf.NONE: (550, "5.7.23"),
        Spf.PERMERROR: (550, "5.7.24"),
        Spf.TEMPERROR: (451, "4.4.3"),
    }
    assert set(Spf) - set(SPF_REPLIES) == {Spf.PASS}


def test_every_cap_alone_stops_the_message_that_would_break_it() -> None:
    for name in ("messages_per_hour", "messages_per_day", "recipients_per_hour", "recipients_per_day"):
        caps, used, taken = Caps(**{name: 10}), Used(), 0
        while reached(caps, used, 2) is None:
            used.add(2)
            taken += 1
        assert taken == (10 if name.startswith("messages") else 5)
        assert reached(caps, used, 2) == name.replace("_", " ")


def test_what_was_used_before_this_hour_counts_for_the_day_alone() -> None:
    used = Used(messages_today=5, recipients_today=50)
    assert reached(Caps(messages_per_hour=1, recipients_per_hour=10), used, 10) is None
    assert reached(Caps(messages_per_day=5), used, 1) == "messages per day"
    assert reached(Caps(recipients_per_day=59), used, 10) == "recipients per day"


@given(st.lists(st.integers(1, 50), max_size=60), st.integers(1, 30), st.integers(1, 400))
def test_whatever_comes_no_cap_is_ever_exceeded(messages: list[int], most: int, recipients: int) -> None:
    caps, used = Caps(messages_per_hour=most, recipients_per_day=recipients), Used()
    for one in messages:
        if reached(caps, used, one) is None:
            used.add(one)
        assert used.messages_this_hour <= most and used.recipients_today <= recipients


def test_without_caps_nothing_is_ever_reached() -> None:
    assert not Caps() and Caps(messages_per_day=0)
    assert reached(Caps(), Used(10**9, 10**9, 10**9, 10**9), 10**9) is None
    assert reached(Caps(messages_per_day=0), Used(), 1) == "messages per day"


def test_the_sixth_failure_within_the_hour_is_guessing() -> None:
    assert [is_guessing(before) for before in range(FREE_FAILURES + 2)] == [False] * FREE_FAILURES + [True, True]


def test_failures_of_one_subscriber_count_together() -> None:
    same = [("192.0.2.1", "::ffff:192.0.2.1"), ("2001:db8::1", "2001:db8::ffff:1"), ("x", "")]
    for one, other in same:
        assert network_of(one) == network_of(other)
    different = ["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8:0:1::1", ""]
    for one, other in itertools.combinations(different, 2):
        assert network_of(one) != network_of(other)
