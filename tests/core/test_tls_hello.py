"""What a server chose is read from octets of a server that may be anybody: whatever it sends, nothing breaks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zegel.core.smtp.tls_hello import GROUPS, MOST_OCTETS, VERSIONS, HelloReader

RANDOM: Final = bytes(range(32))
RETRY: Final = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")
CHANGE_CIPHER_SPEC: Final = bytes.fromhex("140303000101")
ALERT: Final = bytes.fromhex("15030300020228")
WARNING: Final = bytes.fromhex("15030300020170")
AES_128_TLS_1_3, ECDHE, DHE, DHE_CHACHA, RSA = 0x1301, 0xC02F, 0x009E, 0xCCAA, 0x009C


def sized(octets: bytes, length: int = 2) -> bytes:
    return len(octets).to_bytes(length) + octets


def message(kind: int, body: bytes) -> bytes:
    return bytes([kind]) + sized(body, 3)


def record(payload: bytes, kind: int = 22) -> bytes:
    return bytes([kind, 3, 3]) + sized(payload)


def hello(
    suite: int, extensions: dict[int, bytes] | None = None, random: bytes = RANDOM, version: bytes = b"\x03\x03"
) -> bytes:
    listed = b"".join(kind.to_bytes(2) + sized(value) for kind, value in (extensions or {}).items())
    return message(2, version + random + sized(bytes(32), 1) + suite.to_bytes(2) + b"\0" + sized(listed))


def hello_1_3(group: int, *, random: bytes = RANDOM, share: bytes | None = b"\x00\x02ab") -> bytes:
    key_share = {} if share is None else {51: group.to_bytes(2) + share}
    return hello(AES_128_TLS_1_3, {43: b"\x03\x04", **key_share}, random)


def exchange(group: int, curve_type: int = 3) -> bytes:
    return message(12, bytes([curve_type]) + group.to_bytes(2) + sized(b"point", 1) + b"signature")


CERTIFICATE: Final = message(11, bytes(3000))
DONE: Final = message(14, b"")


def chosen(*flight: bytes) -> tuple[str, int, str]:
    """Version, suite, group."""
    reader = HelloReader()
    reader.feed(b"".join(flight))
    return reader.version, reader.suite, reader.group


def group_of(*flight: bytes) -> str:
    return chosen(*flight)[2]


# --- what is no answer --------------------------------------------------------------------------------------------

UNKNOWN: Final = ("", 0)
IS_1_2, IS_1_3 = ("TLSv1.2", ECDHE), ("TLSv1.3", AES_128_TLS_1_3)
NO_ANSWER: Final = {
    "nothing": ([b""], UNKNOWN),
    "an alert": ([ALERT, record(hello_1_3(29))], UNKNOWN),
    "SMTP": ([b"250 2.0.0 no handshake\r\n" * 20], UNKNOWN),
    "TLS 1.3 without a share": ([record(hello_1_3(29, share=None))], IS_1_3),
    "TLS 1.3 with half a share": ([record(hello_1_3(29, share=b""))], IS_1_3),
    "only a request to try again": ([record(hello_1_3(24, random=RETRY, share=b"")), ALERT], UNKNOWN),
    "TLS 1.2 without Diffie-Hellman": ([record(hello(RSA) + CERTIFICATE + DONE)], ("TLSv1.2", RSA)),
    "TLS 1.2 resumed": ([record(hello(ECDHE)), CHANGE_CIPHER_SPEC, record(exchange(29))], IS_1_2),
    "TLS 1.2 that ends with its certificate": ([record(hello(ECDHE) + CERTIFICATE), ALERT], IS_1_2),
    "a version without a name": ([record(hello(ECDHE, version=b"\x03\x02") + DONE)], ("", ECDHE)),
    "a version that is none": ([record(hello(ECDHE, {43: b"\x03"}))], ("", ECDHE)),
    "a curve without a name": ([record(hello(ECDHE) + CERTIFICATE + exchange(29, curve_type=1))], IS_1_2),
    "an exchange before the hello": ([record(exchange(29)), record(hello_1_3(29))], UNKNOWN),
    "two hellos": ([record(hello(ECDHE) + hello_1_3(29))], IS_1_2),
    "a hello that is cut off": ([record(message(2, hello_1_3(29)[4:40]))], UNKNOWN),
    "an extension that is longer than all": ([record(hello(ECDHE)[:-2] + b"\x00\x04\x00\x33\xff\xff")], UNKNOWN),
}


@pytest.mark.parametrize(("flight", "known"), NO_ANSWER.values(), ids=NO_ANSWER.keys())
def test_what_names_no_group_leaves_it_unknown(flight: Sequence[bytes], known: tuple[str, int]) -> None:
    assert chosen(*flight) == (*known, "")


@given(st.binary(max_size=400))
def test_nothing_that_a_server_sends_breaks_it(octets: bytes) -> None:
    assert isinstance(group_of(octets), str)
    assert isinstance(group_of(record(hello(ECDHE)), record(octets)), str)
    assert isinstance(group_of(record(message(2, octets))), str)


FLIGHTS: Final = (
    record(hello_1_3(4588)),
    record(hello_1_3(23, random=RETRY, share=b"")) + CHANGE_CIPHER_SPEC + record(hello_1_3(24)),
    WARNING + record(hello(ECDHE, {65281: b"\0"}) + message(11, bytes(40)) + exchange(23) + DONE),
)
DAMAGE: Final = st.tuples(st.integers(0, 400), st.integers(0, 6), st.binary(max_size=6))


@given(st.sampled_from(FLIGHTS), st.lists(DAMAGE, min_size=1, max_size=5), st.integers(1, 50))
def test_what_is_damaged_in_a_good_flight_breaks_nothing(
    flight: bytes, damage: list[tuple[int, int, bytes]], cut: int
) -> None:
    """Closer to what is understood than octets by chance."""
    for at, lost, put in damage:
        flight = flight[:at] + put + flight[at + lost :]
    reader = HelloReader()
    for start in range(0, len(flight), cut):
        reader.feed(flight[start : start + cut])
    assert reader.version in ("", *VERSIONS.values())
    assert 0 <= reader.suite <= 0xFFFF
    assert len(reader.group) <= 32  # where it is kept
    assert len(reader._records) + len(reader._messages) <= len(flight)
    assert (reader.version, reader.suite, reader.group) == chosen(flight)


ENDLESS: Final = {
    "records that don't end": b"\x16\x03\x03\xff\xff" + bytes(995),
    "warnings": WARNING * 140,
    "requests to try again": record(hello_1_3(24, random=RETRY, share=b"")) * 10,
    "empty records": record(b"") * 200,
}


@pytest.mark.parametrize("octets", ENDLESS.values(), ids=ENDLESS.keys())
def test_a_flight_that_never_ends_is_not_kept(octets: bytes) -> None:
    reader = HelloReader()
    for _ in range(MOST_OCTETS // len(octets) + 2):
        reader.feed(octets)
        assert len(reader._records) + len(reader._messages) <= MOST_OCTETS
    reader.feed(record(hello_1_3(29)))
    assert reader.is_done
    assert (reader.version, reader.suite, reader.group) == ("", 0, "")
    assert not reader._records
    assert not reader._messages


# --- what is one --------------------------------------------------------------------------------------------------

ANSWERS: Final = {
    "TLS 1.3": ([record(hello_1_3(29))], IS_1_3, "x25519"),
    "TLS 1.3, hybrid": ([record(hello_1_3(4588))], IS_1_3, "X25519MLKEM768"),
    "TLS 1.3 after a retry": (
        [record(hello_1_3(23, random=RETRY, share=b"")), CHANGE_CIPHER_SPEC, record(hello_1_3(24))],
        IS_1_3,
        "secp384r1",
    ),
    "TLS 1.3 of a group without a name": ([record(hello_1_3(0x1234))], IS_1_3, "group 4660"),
    "TLS 1.2": ([record(hello(ECDHE, {65281: b"\0"}) + CERTIFICATE + exchange(23) + DONE)], IS_1_2, "secp256r1"),
    "TLS 1.2 after a warning": (
        [WARNING, record(hello(ECDHE) + CERTIFICATE), WARNING, record(exchange(23) + DONE)],
        IS_1_2,
        "secp256r1",
    ),
    "TLS 1.2 in records of its own": (
        [record(one) for one in (hello(ECDHE), CERTIFICATE, exchange(30))],
        IS_1_2,
        "x448",
    ),
    "TLS 1.2, finite field": (
        [record(hello(DHE) + CERTIFICATE + message(12, sized(b"\xff" * 256) + sized(b"\x02") + sized(bytes(256))))],
        ("TLSv1.2", DHE),
        "DHE 2048",
    ),
    "TLS 1.2, a prime whose length looks like a curve": (
        [record(hello(DHE_CHACHA) + CERTIFICATE + message(12, sized(b"\xff" * 768) + sized(b"\x02")))],
        ("TLSv1.2", DHE_CHACHA),
        "DHE 6144",
    ),
}


@pytest.mark.parametrize(("flight", "known", "group"), ANSWERS.values(), ids=ANSWERS.keys())
def test_what_was_chosen_is_found_however_the_octets_are_cut(
    flight: Sequence[bytes], known: tuple[str, int], group: str
) -> None:
    assert chosen(*flight) == (*known, group)
    dripped = HelloReader()
    for octet in b"".join(flight):
        dripped.feed(bytes([octet]))
    assert (dripped.version, dripped.suite, dripped.group) == (*known, group)


def test_a_message_over_two_records_is_one_message() -> None:
    whole = hello(ECDHE) + CERTIFICATE + exchange(25)
    assert group_of(record(whole[:70]), record(whole[70:3000]), record(whole[3000:])) == "secp521r1"


def test_what_comes_after_the_answer_changes_nothing() -> None:
    reader = HelloReader()
    reader.feed(record(hello_1_3(29)) + record(hello_1_3(24)))
    reader.feed(record(hello_1_3(24)))
    assert (reader.group, reader.is_done) == ("x25519", True)


def test_every_name_fits_where_it_is_kept() -> None:
    assert max(len(name) for name in (*GROUPS.values(), "group 65535", "DHE 524280")) <= 32
