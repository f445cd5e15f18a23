"""Who shares a conversation, and which two submissions are one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zegel.core.mail.address import Mailbox
from zegel.core.policy import conversation
from zegel.core.policy.conversation import Split, fields_for_identity, is_removed_field, is_trace_field, split

ONTVANGER, BALIE, ARCHIEF = (
    Mailbox.parse(text) for text in ("ontvanger@voorbeeld.test", "balie@voorbeeld.test", "archief@example.org")
)


def test_a_blind_recipient_is_never_in_the_shared_conversation() -> None:
    assert split([ONTVANGER, BALIE, ARCHIEF], {ONTVANGER, BALIE}) == Split((ONTVANGER, BALIE), (ARCHIEF,))


def test_a_shown_mailbox_outside_the_envelope_gets_nothing() -> None:
    assert split([ONTVANGER], {ONTVANGER, BALIE}) == Split((ONTVANGER,), ())


def test_without_to_and_cc_everybody_is_blind() -> None:
    assert split([ONTVANGER, BALIE], set()) == Split((), (ONTVANGER, BALIE))


def test_two_spellings_of_one_mailbox_are_one_recipient() -> None:
    spelled = [
        Mailbox.parse(text) for text in ("Balie@voorbeeld.test", "balie@VOORBEELD.test", '"balie"@voorbeeld.test')
    ]
    assert split(spelled, {BALIE}) == Split((BALIE,), ())
    assert split(spelled, set()) == Split((), (BALIE,))


@given(st.lists(st.sampled_from([ONTVANGER, BALIE, ARCHIEF])), st.sets(st.sampled_from([ONTVANGER, BALIE, ARCHIEF])))
def test_every_envelope_recipient_is_served_exactly_once(envelope: list[Mailbox], shown: set[Mailbox]) -> None:
    found = split(envelope, shown)
    assert sorted(map(str, (*found.shared, *found.blind))) == sorted({str(mailbox) for mailbox in envelope})
    assert set(found.shared) <= shown
    assert not set(found.blind) & shown


# --- identity ----------------------------------------------------------------------------------------------------

MESSAGE = [
    ("received", b"from a by b; Mon, 1 Jan 2024 10:00:00 +0100"),
    ("from", b"balie@voorbeeld.test"),
    ("to", b"ontvanger@voorbeeld.test"),
    ("subject", b"Uitslag van het onderzoek"),
    ("message-id", b"<1@voorbeeld.test>"),
    ("x-priority", b"1"),
]

DIFFERENCES = {
    "another subject": ("subject", b"Uitslag van een ander onderzoek"),
    "another author": ("from", b"afzender@voorbeeld.test"),
    "another Message-ID": ("message-id", b"<2@voorbeeld.test>"),
    "another private field": ("x-priority", b"5"),
    "another case in a value": ("subject", b"uitslag van het onderzoek"),
}


@pytest.mark.parametrize("changed", DIFFERENCES.values(), ids=DIFFERENCES.keys())
def test_a_message_that_differs_is_another_message(changed: tuple[str, bytes]) -> None:
    other = [changed if name == changed[0] else (name, value) for name, value in MESSAGE]
    assert fields_for_identity(other) != fields_for_identity(MESSAGE)


def test_a_field_that_is_missing_or_doubled_makes_another_message() -> None:
    assert fields_for_identity(MESSAGE[:-1]) != fields_for_identity(MESSAGE)
    assert fields_for_identity([*MESSAGE, MESSAGE[-1]]) != fields_for_identity(MESSAGE)


def test_a_value_can_not_pretend_to_be_a_field() -> None:
    pretended = [("subject", b"a\r\nx-priority:1")]
    assert fields_for_identity(pretended) != fields_for_identity([("subject", b"a"), ("x-priority", b"1")])


ON_THE_WAY = {
    "trace": ("Received", b"from c by d; Mon, 1 Jan 2024 10:05:00 +0100"),
    "return path": ("Return-Path", b"<balie@voorbeeld.test>"),
    "a signature": ("DKIM-Signature", b"v=1; t=2"),
    "a seal": ("ARC-Seal", b"i=1"),
    "a judgement": ("Authentication-Results", b"mx; spf=pass"),
    "Exchange": ("X-MS-Exchange-CrossTenant-Id", b"2"),
    "a filter": ("X-Spam-Score", b"0.1"),
    "a blind recipient": ("Bcc", b"archief@example.org"),
    "a blind recipient of a resend": ("Resent-Bcc", b"archief@example.org"),
    "a control field": ("Zivver-Access-Right", b"ontvanger@voorbeeld.test sms +31612345678"),
}


@pytest.mark.parametrize("added", ON_THE_WAY.values(), ids=ON_THE_WAY.keys())
def test_what_is_added_on_the_way_or_removed_here_makes_no_difference(added: tuple[str, bytes]) -> None:
    assert fields_for_identity([added, *MESSAGE]) == fields_for_identity(MESSAGE[1:])


@given(st.permutations(MESSAGE))
def test_order_folding_and_the_case_of_names_make_no_difference(fields: list[tuple[str, bytes]]) -> None:
    retold = [(name.title(), b" " + value.replace(b" ", b"\t ")) for name, value in fields]
    assert fields_for_identity(retold) == fields_for_identity(MESSAGE)


@pytest.mark.parametrize("name", ["Bcc", "RESENT-BCC", "zegel-direct-delivery", "zivver-anything"])
def test_what_would_reveal_is_removed(name: str) -> None:
    assert is_removed_field(name)


@pytest.mark.parametrize("name", ["to", "cc", "subject", "x-bcc", "content-type", "resent-to"])
def test_nothing_else_is_removed_or_called_trace(name: str) -> None:
    assert not is_removed_field(name)
    assert not is_trace_field(name)


def test_names_of_any_length_count_and_only_usual_ones_are_remembered() -> None:
    before = conversation._known_name.cache_info().currsize
    for number in range(5):
        name = f"X-{number}-" + "a" * 5000
        assert fields_for_identity([(name, b"1")]) == f"{name.lower()}:1\r\n".encode()
    assert conversation._known_name.cache_info().currsize == before
