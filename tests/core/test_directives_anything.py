"""The control fields under any input: an answer or a refusal, the same for the same fields, and never less."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Final

from hypothesis import example, given
from hypothesis import strategies as st

from zegel.core.mail.address import Mailbox
from zegel.core.mail.fields import HeaderSection
from zegel.core.policy.directives import (
    METHOD_WORDS,
    Directives,
    EmailPolicy,
    MalformedField,
    for_recipient,
    from_json_bytes,
    read_directives,
    to_json_bytes,
)
from zegel.core.policy.transport import PROVEN, Authentication, Tls

Field = tuple[str, bytes]

NAMES: Final = ("access-right", "direct-delivery", "minimum-recipient-verification", "message-expiration")
NUMBERS: Final = ("+31612345678", "06-12345678", "0612345678", "+31201234567", "31612345678", "+8816212345678")
PIECES: Final = (
    *("a@voorbeeld.test", "<b@voorbeeld.test>", '"a b"@voorbeeld.test', "é@bücher.test", "@", '"', "<", ">", "\\"),
    *(*METHOD_WORDS, "tls", "auth", "tls1.2", "tls1.3", "dane", "mta-sts", "certificate-validation", "delete", "P30D"),
    *(
        "email-verification",
        "135789",
        "00 12",
        "=?utf-8?q?",
        "=?utf-8?b?MTM1Nzg5?=",
        "=?x?q?a?=",
        "?=",
        "=C3",
        ",",
        ";",
    ),
    *(" ", "\t", "\u00a0", "\u200b", "\u3000", "\ufeff", "\0", "\uff10", "\u0301", *NUMBERS),
)

pieces: Final = st.lists(st.sampled_from(PIECES), max_size=12).map(" ".join)
values: Final = st.one_of(
    pieces.map(str.encode),
    st.lists(st.sampled_from(PIECES), max_size=12).map(lambda found: "".join(found).encode()),
    st.binary(max_size=60),
    st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")),
)
names: Final = st.one_of(
    st.builds(lambda prefix, name: prefix + name, st.sampled_from(["zegel-", "zivver-"]), st.sampled_from(NAMES)),
    st.sampled_from(["subject", "x-zegel-transport", "zegel-", "zivver-acces-right", "ZIVVER-Access-Right", "bcc"]),
    st.text(max_size=20),
)
anything: Final = st.lists(st.tuples(names, values), max_size=6)


def answer(fields: Sequence[Field], *, region: str = "NL") -> Directives | str:
    try:
        return read_directives(fields, region=region)
    except MalformedField as refused:
        return str(refused.reply)


@given(anything, st.sampled_from(["NL", "BE", "US", "", "XX"]))
def test_every_sequence_of_fields_is_understood_or_refused(fields: list[Field], region: str) -> None:
    match answer(fields, region=region):
        case str(reply):
            assert re.fullmatch(r"550 5\.6\.0 [ -~]{20,400}", reply)
        case found:
            assert from_json_bytes(to_json_bytes(found)) == found


LONG: Final = 200_000  # octets; a header section has 262 144 at most


@given(
    st.sampled_from(NAMES), st.sampled_from([*PIECES, "a@", '"a', "\\a", "=?", " =?a", "=?utf-8?q?a?= ", " ", "\r\n\t"])
)
def test_a_value_as_long_as_can_be_is_read_in_one_pass(name: str, piece: str) -> None:
    """What takes time that grows faster than the field would not come to its end here."""
    written = f"zivver-{name}: {piece * (LONG // len(piece.encode()))}\r\n".replace("\0", "")
    section = HeaderSection.parse(written.encode())
    answer([(one.key, one.value) for one in section])


# --- the same fields, written otherwise ---------------------------------------------------------------------------

local_parts: Final = st.from_regex(r"[a-z0-9]{1,8}(?:[.+_-][a-z0-9]{1,8}){0,2}", fullmatch=True)
domains: Final = st.sampled_from(["voorbeeld.test", "xn--bcher-kva.test", "mail.example.org"])
addresses: Final = st.builds(lambda local, domain: f"{local}@{domain}", local_parts, domains)
codes: Final = st.from_regex(r"[a-zA-Z0-9!#$%&*]{4,12}(?: [a-zA-Z0-9]{1,6}){0,2}", fullmatch=True)
methods: Final = st.one_of(
    st.sampled_from(["sms +31612345678", "sms 06-12345678", "sms +49 1512 3456789"]),
    st.builds(lambda word, code: f"{word} {code}", st.sampled_from(["sharedAccessCode", "access-code"]), codes),
)
rights: Final = st.dictionaries(addresses, methods, max_size=4).map(
    lambda found: [("access-right", f"{address} {method}") for address, method in found.items()]
)
singles: Final = st.tuples(
    st.sampled_from(["", "tls tls1.2 auth certificate-validation", "auth dane tls tls1.3", "tls tls1.3", "ja", None]),
    st.sampled_from(["", "email-verification", "sms", None]),
    st.sampled_from(["delete P30D", "delete PT12H", None]),
).map(lambda found: [(name, value) for name, value in zip(NAMES[1:], found, strict=True) if value is not None])
asked: Final = st.builds(lambda several, single: [*several, *single], rights, singles)


def plainly(fields: Sequence[tuple[str, str]]) -> Directives:
    return read_directives([(f"zivver-{name}", value.encode()) for name, value in fields])


folds: Final = st.sampled_from([" ", "\t", "\r\n ", "\r\n\t", " \r\n ", "\r\n \r\n \t\r\n ", "  "])


def in_other_case(draw: st.DrawFn, text: str) -> str:
    upper = draw(st.lists(st.booleans(), min_size=len(text), max_size=len(text)))
    return "".join(char.upper() if is_upper else char.lower() for char, is_upper in zip(text, upper, strict=True))


def encoded(draw: st.DrawFn, word: str) -> str:
    octets = "".join(f"={octet:02X}" for octet in word.encode())
    return draw(st.sampled_from([word, f"=?utf-8?q?{octets}?=", f"=?ISO-8859-1*nl?Q?{octets}?="]))


@st.composite
def rewritten(draw: st.DrawFn, fields: Sequence[tuple[str, str]]) -> bytes:
    """A header section that says the same: prefixes, case, order and folding are others, words may be encoded.

    Only where white space is part of the value, in an access code, does folding keep one space.
    """
    lines = []
    prefixes = {name: draw(st.sampled_from(["zivver-", "zegel-"])) for name, _ in fields}
    for name, value in draw(st.permutations(list(fields))):
        head, _, code = value.partition("ode ") if "ode " in value else (value, "", "")
        words = [
            in_other_case(draw, word) if "@" not in word else word for word in (head + ("ode" if code else "")).split()
        ]
        if words:
            words[0] = encoded(draw, words[0])
        folded = draw(folds).join(words) + (
            draw(folds) + code.replace(" ", draw(st.sampled_from([" ", "\r\n "]))) if code else ""
        )
        lines.append(
            f"{in_other_case(draw, prefixes[name] + name)}:{draw(folds)}{folded}{draw(st.sampled_from(['', ' ']))}\r\n"
        )
    return "".join(lines).encode()


@given(st.data(), asked)
def test_fields_written_otherwise_ask_the_same(data: st.DataObject, fields: list[tuple[str, str]]) -> None:
    wanted = plainly(fields)
    section = HeaderSection.parse(data.draw(rewritten(fields)))
    assert read_directives([(one.key, one.value) for one in section]) == wanted


@given(asked, st.lists(st.tuples(st.sampled_from(["subject", "to", "x-zivver-access-right"]), values), max_size=3))
def test_other_fields_make_no_difference(fields: list[tuple[str, str]], others: list[Field]) -> None:
    ours = [(f"zegel-{name}", value.encode()) for name, value in fields]
    assert read_directives([*others[:1], *ours, *others[1:]]) == plainly(fields)


@given(local_parts, st.text(st.characters(categories=["Ll", "Lu", "Lo", "Mn"]), min_size=1, max_size=8))
@example("a", "\u01f0")
@example("a", "\u0345\u0301")
def test_a_local_part_is_the_same_composed_and_decomposed(local: str, other: str) -> None:
    composed, decomposed = (
        Mailbox.parse(f"{local}{unicodedata.normalize(form, other)}@voorbeeld.test") for form in ("NFC", "NFD")
    )
    assert composed == decomposed
    assert hash(composed) == hash(decomposed)


# --- never less ---------------------------------------------------------------------------------------------------


@given(values)
def test_no_direct_delivery_field_asks_for_less_than_the_default(value: bytes) -> None:
    found = answer([("zivver-direct-delivery", value)])
    assert isinstance(found, Directives)
    assert found.transport is not None
    assert found.transport.meets(PROVEN)


noise: Final = st.text(st.sampled_from(" \t=:;,\"'()|/.\u200b\u00a0\u2011_xyz"), max_size=6)


@given(noise, noise, noise, st.sampled_from(["dane", "DANE", "Dane"]), st.sampled_from(["tls1.3", "TLS1.3", "1.3"]))
def test_a_demand_for_more_is_seen_in_any_clothes(before: str, between: str, after: str, high: str, tls: str) -> None:
    """D-11: else a demand for more would silently become less."""
    found = answer([("zegel-direct-delivery", f"{before}{tls}{between or ' '}{high}{after}".encode() + b"\xff")])
    assert isinstance(found, Directives)
    assert found.transport is not None
    assert (found.transport.tls, found.transport.authentication) == (Tls.TLS_1_3, Authentication.DANE)


@given(asked, values)
def test_a_direct_delivery_field_takes_nothing_away(fields: list[tuple[str, str]], value: bytes) -> None:
    """Whatever stands in it, the other fields mean what they mean without it."""
    others = [(name, text) for name, text in fields if name != "direct-delivery"]
    wanted = plainly(others)
    found = read_directives(
        [("zivver-direct-delivery", value), *((f"zivver-{n}", text.encode()) for n, text in others)]
    )
    assert (found.access_rights, found.email_policy, found.expires_after) == (
        wanted.access_rights,
        wanted.email_policy,
        wanted.expires_after,
    )
    for mailbox in wanted.access_rights:
        assert for_recipient(found, mailbox).verification == wanted.access_rights[mailbox]


@given(values)
def test_only_the_one_word_allows_the_code_by_mail(value: bytes) -> None:
    found = answer([("zivver-minimum-recipient-verification", value)])
    assert isinstance(found, Directives)
    allowed = found.email_policy is EmailPolicy.ALLOWED
    assert allowed == (value.decode("utf-8", "replace").strip().lower() == "email-verification")


@given(addresses, st.text(max_size=30), st.sampled_from(["sms", "sharedAccessCode"]))
def test_a_named_recipient_is_served_as_named_or_the_message_is_refused(address: str, rest: str, method: str) -> None:
    """There is no third outcome: no field for a recipient is passed over."""
    found = answer([("zivver-access-right", f"{address} {method} {rest}".encode("utf-8", "surrogatepass"))])
    if isinstance(found, Directives):
        assert list(found.access_rights) == [Mailbox.parse(address)]
