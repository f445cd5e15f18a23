"""The control fields: unhappy spellings first."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zegel.core.mail.address import Mailbox
from zegel.core.policy.case import Asked
from zegel.core.policy.directives import (
    LONGEST_ACCESS_CODE,
    SHORTEST_ACCESS_CODE,
    Directives,
    DirectiveWarning,
    EmailPolicy,
    MalformedField,
    UnknownForm,
    for_recipient,
    from_json_bytes,
    is_control_field,
    read_directives,
    to_json_bytes,
    unmatched,
)
from zegel.core.policy.phone import NotAMobileNumber, mask_phone, parse_mobile
from zegel.core.policy.transport import PROVEN, Authentication, Tls, TransportSecurity
from zegel.core.policy.verification import AccessCode, SmsCode
from zegel.core.secret import Secret

RECIPIENT = Mailbox.parse("ontvanger@voorbeeld.test")
NUMBER = "+31612345678"


def read(*fields: tuple[str, str | bytes], region: str = "NL") -> Directives:
    octets = [(name, value.encode() if isinstance(value, str) else value) for name, value in fields]
    return read_directives(octets, region=region)


def right(value: str | bytes, *, name: str = "zivver-access-right") -> SmsCode | AccessCode:
    (verification,) = read((name, value)).access_rights.values()
    return verification


def phone(value: str | bytes) -> str:
    verification = right(value)
    assert isinstance(verification, SmsCode)
    return verification.phone.reveal()


def code(value: str | bytes) -> str:
    verification = right(value)
    assert isinstance(verification, AccessCode)
    return verification.code.reveal()


# --- refused -----------------------------------------------------------------------------------------------------

REFUSED_RIGHTS = {
    "nothing at all": "",
    "an address alone": "ontvanger@voorbeeld.test",
    "no address": f"sms {NUMBER}",
    "a display name": f"Ontvanger <ontvanger@voorbeeld.test> sms {NUMBER}",
    "an address without a domain": f"ontvanger sms {NUMBER}",
    "an unknown method": f"ontvanger@voorbeeld.test signal {NUMBER}",
    "a method with a letter too many": f"ontvanger@voorbeeld.test smss {NUMBER}",
    "e-mail as the method": "ontvanger@voorbeeld.test email",
    "no number": "ontvanger@voorbeeld.test sms",
    "a landline": "ontvanger@voorbeeld.test sms +31201234567",
    "a national landline": "ontvanger@voorbeeld.test sms 020 1234567",
    "a free-phone number": "ontvanger@voorbeeld.test sms +318001234567",
    "a number that is too short": "ontvanger@voorbeeld.test sms +3161234567",
    "a number that is too long": "ontvanger@voorbeeld.test sms +316123456789",
    "a country that doesn't exist": "ontvanger@voorbeeld.test sms +999612345678",
    "a country code without plus": "ontvanger@voorbeeld.test sms 31612345678",
    "a national number without its zero": "ontvanger@voorbeeld.test sms 612345678",
    "letters in the number": "ontvanger@voorbeeld.test sms +31 6 CALL NOW",
    "an extension": f"ontvanger@voorbeeld.test sms {NUMBER} ext 5",
    "a telephone URI": f"ontvanger@voorbeeld.test sms tel:{NUMBER}",
    "two numbers": f"ontvanger@voorbeeld.test sms {NUMBER}, +31687654321",
    "a trailing comment": f"ontvanger@voorbeeld.test sms {NUMBER} (mobiel)",
    "digits of another script": "ontvanger@voorbeeld.test sms +٣١٦١٢٣٤٥٦٧٨",
    "no code": "ontvanger@voorbeeld.test sharedAccessCode",
    "a code of spaces": "ontvanger@voorbeeld.test sharedAccessCode    ",
    "a code that is too short": "ontvanger@voorbeeld.test sharedAccessCode 123",
    "a code that is too long": "ontvanger@voorbeeld.test sharedAccessCode " + "1" * (LONGEST_ACCESS_CODE + 1),
    "a tab inside the code": "ontvanger@voorbeeld.test sharedAccessCode 123\t456",
    "a space that doesn't break inside the code": "ontvanger@voorbeeld.test sharedAccessCode 123\u00a0456",
    "two recipients, of which the second would be in the code": (
        "a@voorbeeld.test sharedAccessCode 135789, b@voorbeeld.test sharedAccessCode 246789"
    ),
    "two recipients with numbers": f"a@voorbeeld.test sms {NUMBER} b@voorbeeld.test sms {NUMBER}",
    "a comma as separator": f"ontvanger@voorbeeld.test,sms,{NUMBER}",
    "an invisible character in the address": f"ont\u200bvanger@voorbeeld.test sms {NUMBER}",
    "an invisible character in the code": "ontvanger@voorbeeld.test sharedAccessCode 1357\u200b89",
    "a NUL": "ontvanger@voorbeeld.test sharedAccessCode 1357\x0089",
    "a byte order mark": f"\ufeffontvanger@voorbeeld.test sms {NUMBER}",
    "an address in an unquoted list": f"a@voorbeeld.test;b@voorbeeld.test sms {NUMBER}",
    "an address after the code": "a@voorbeeld.test sharedAccessCode 135789, b@voorbeeld.test",
    "an address after the code, in brackets": "a@voorbeeld.test sharedAccessCode 135789;<b@voorbeeld.test>",
    "a quoted address after the code": f'a@voorbeeld.test sharedAccessCode 1357 "b c"@voorbeeld.test sms {NUMBER}',
    "a bracket that isn't closed": f"<ontvanger@voorbeeld.test sms {NUMBER}",
    "a mailto URI": f"mailto:ontvanger@voorbeeld.test sms {NUMBER}",
    "an address literal": f"ontvanger@[192.0.2.1] sms {NUMBER}",
    "an at-sign of full width": f"ontvanger\uff20voorbeeld.test sms {NUMBER}",
    "a method of full width": f"ontvanger@voorbeeld.test \uff53\uff4d\uff53 {NUMBER}",
    "a colon behind the method": f"ontvanger@voorbeeld.test sms: {NUMBER}",
    "a line separator": f"ontvanger@voorbeeld.test\u2028sms {NUMBER}",
    "digits of full width": "ontvanger@voorbeeld.test sms \uff10\uff16\uff11\uff12\uff13\uff14\uff15\uff16\uff17\uff18",
    "one digit of full width": "ontvanger@voorbeeld.test sms +31\uff1612345678",
    "a zero-width space in the number": "ontvanger@voorbeeld.test sms +316\u200b12345678",
    "a national number behind a plus": "ontvanger@voorbeeld.test sms +0612345678",
    "an international prefix behind a plus": "ontvanger@voorbeeld.test sms +0031612345678",
    "the same number twice": "ontvanger@voorbeeld.test sms 0612345678 0612345678",
    "a pager": "ontvanger@voorbeeld.test sms 0661234567",
    "a premium number": "ontvanger@voorbeeld.test sms 0909123456",
    "a premium number of another country": "ontvanger@voorbeeld.test sms +1 900 555 0123",
    "an emergency number": "ontvanger@voorbeeld.test sms 112",
    "a personal number": "ontvanger@voorbeeld.test sms 0841234567",
    "a company number": "ontvanger@voorbeeld.test sms 0881234567",
    "a satellite telephone": "ontvanger@voorbeeld.test sms +8816212345678",
    "a ship": "ontvanger@voorbeeld.test sms +870773111632",
    "a variation selector in the code": "ontvanger@voorbeeld.test sharedAccessCode 1357\ufe0f89",
    "a joiner in the code": "ontvanger@voorbeeld.test sharedAccessCode 1357\u034f89",
    "a code of fillers": "ontvanger@voorbeeld.test sharedAccessCode \u3164\u3164\u3164\u3164",
    "a blank Braille pattern in the code": "ontvanger@voorbeeld.test sharedAccessCode 1357\u280089",
}


@pytest.mark.parametrize("value", REFUSED_RIGHTS.values(), ids=REFUSED_RIGHTS.keys())
def test_an_access_right_that_allows_doubt_is_refused(value: str) -> None:
    with pytest.raises(MalformedField) as refused:
        read(("zivver-access-right", value))
    assert (refused.value.reply.code, refused.value.reply.status) == (550, "5.6.0")


REFUSED_OCTETS = {
    "octets that are not UTF-8": b"ontvanger@voorbeeld.test sharedAccessCode caf\xe9s",
    "an unknown charset": b"=?x-unknown?Q?ontvanger=40voorbeeld.test?= sharedAccessCode 135789",
    "a charset in which one text has many spellings": b"ontvanger@voorbeeld.test sharedAccessCode =?utf-7?Q?135789?=",
    "a codec that is no charset": b"ontvanger@voorbeeld.test sharedAccessCode =?rot13?Q?135789?=",
    "broken base64": b"ontvanger@voorbeeld.test sharedAccessCode =?utf-8?B?MTM1Nzg?=",
    "a broken Q encoding": b"ontvanger@voorbeeld.test sharedAccessCode =?utf-8?Q?1357=8?=",
    "an encoded line break": b"ontvanger@voorbeeld.test sharedAccessCode =?utf-8?Q?1357=0D=0A89?=",
    "an encoded word in the middle of an address": b"=?utf-8?q?ontvanger?=@voorbeeld.test sms +31612345678",
    "an encoded at-sign": b"ontvanger=?utf-8?q?=40?=voorbeeld.test sms +31612345678",
    "an encoded domain": b"ontvanger@=?utf-8?q?voorbeeld.test?= sms +31612345678",
    "a space in an encoded word": b"ontvanger@voorbeeld.test sharedAccessCode =?utf-8?q?135 789?=",
    "an encoded word that begins in the middle": b"ontvanger@voorbeeld.test sharedAccessCode 1=?utf-8?q?357?=",
    "an encoded word that ends in the middle": b"ontvanger@voorbeeld.test sharedAccessCode =?utf-8?q?135?=789",
    "an encoded word without an end": b"ontvanger@voorbeeld.test sharedAccessCode =?utf-8?q?135789",
    "an encoded zero-width space": b"ontvanger@voorbeeld.test sharedAccessCode =?utf-8?q?135=E2=80=8B789?=",
    "another encoding than there are": b"ontvanger@voorbeeld.test sms =?utf-8?x?+31612345678?=",
    "a charset of two octets for each character": b"o@voorbeeld.test sharedAccessCode =?utf-16?b?//4xADMANQA3AA==?=",
    "encoded octets outside their charset": b"ontvanger@voorbeeld.test sharedAccessCode =?us-ascii?Q?1357=E989?=",
}


@pytest.mark.parametrize("value", REFUSED_OCTETS.values(), ids=REFUSED_OCTETS.keys())
def test_an_encoding_that_allows_doubt_is_refused(value: bytes) -> None:
    with pytest.raises(MalformedField):
        read(("zivver-access-right", value))


@pytest.mark.parametrize(
    "again", ["ontvanger@voorbeeld.test", "Ontvanger@VOORBEELD.test", '"ontvanger"@voorbeeld.test']
)
def test_two_fields_for_one_recipient_are_refused_in_any_spelling(again: str) -> None:
    first = ("zivver-access-right", f"ontvanger@voorbeeld.test sms {NUMBER}")
    with pytest.raises(MalformedField):
        read(first, ("zivver-access-right", f"{again} sharedAccessCode 135789"))


def test_two_equal_fields_for_one_recipient_are_refused_too() -> None:
    field = ("zegel-access-right", f"ontvanger@voorbeeld.test sms {NUMBER}")
    with pytest.raises(MalformedField):
        read(field, field)


SINGLE_FIELDS = {
    "access-right": f"ontvanger@voorbeeld.test sms {NUMBER}",
    "direct-delivery": "tls tls1.2 auth certificate-validation",
    "minimum-recipient-verification": "email-verification",
    "message-expiration": "delete P30D",
}


@pytest.mark.parametrize(("name", "value"), SINGLE_FIELDS.items())
def test_both_spellings_of_one_field_are_refused(name: str, value: str) -> None:
    other = value.replace("ontvanger@", "balie@")
    read(("zegel-" + name, value))
    read(("zivver-" + name, other))
    with pytest.raises(MalformedField):
        read(("zegel-" + name, value), ("zivver-" + name, other))


@pytest.mark.parametrize("name", [name for name in SINGLE_FIELDS if name != "access-right"])
def test_a_second_one_of_a_field_that_may_stand_once_is_refused(name: str) -> None:
    field = ("Zivver-" + name, SINGLE_FIELDS[name])
    with pytest.raises(MalformedField):
        read(field, field)


@pytest.mark.parametrize("name", ["zegel-acces-right", "ZIVVER-access-rights", "zivver-", "zegel-verification"])
def test_an_unknown_control_field_is_refused(name: str) -> None:
    with pytest.raises(MalformedField):
        read((name, f"ontvanger@voorbeeld.test sms {NUMBER}"))


REFUSED_EXPIRATIONS = [
    "", "delete", "P30D", "keep P30D", "delete 30", "delete 30 days", "delete P1M", "delete P1Y", "delete P0D",
    "delete PT0S", "delete P-1D", "delete P1.5D", "delete P30D P31D", "delete P999999W", "delete P30D (maand)",
    "delete P٣D",
]  # fmt: skip


@pytest.mark.parametrize("value", REFUSED_EXPIRATIONS)
def test_an_expiry_is_never_guessed(value: str) -> None:
    with pytest.raises(MalformedField) as refused:
        read(("zivver-message-expiration", value))
    assert refused.value.reply.status == "5.6.0"


@given(st.text(alphabet=st.characters(blacklist_characters="\r\n"), min_size=1, max_size=60))
def test_the_refusal_names_the_field_and_never_what_stood_in_it(noise: str) -> None:
    secret = "geheim-" + noise
    try:
        found = read(("zivver-access-right", f"ontvanger@voorbeeld.test sms {secret}".encode("utf-8", "replace")))
    except MalformedField as refused:
        shown = str(refused.reply) + str(refused) + repr(refused.__cause__)
        assert "zivver-access-right" in shown
        assert "geheim" not in shown
    else:
        pytest.fail(f"accepted: {found}")


def test_the_name_of_an_unknown_field_can_not_bring_out_a_number() -> None:
    with pytest.raises(MalformedField) as refused:
        read(("zivver-access-right_0612345678", "v"))
    assert not any(char.isdigit() for char in str(refused.value.reply.text))


def test_the_name_of_an_unknown_field_can_not_break_the_reply() -> None:
    with pytest.raises(MalformedField) as refused:
        read(("zegel-\r\n250 ok\x1b" + "x" * 500, "v"))
    assert refused.value.reply.encode().count(b"\r\n") == 1
    assert len(refused.value.reply.encode()) <= 512  # RFC 5321 §4.5.3.1.5


@given(
    st.lists(
        st.tuples(st.sampled_from(["zegel-", "zivver-"]), st.sampled_from(sorted(SINGLE_FIELDS)), st.binary()),
        max_size=4,
    )
)
def test_whatever_stands_in_a_field_the_answer_is_directives_or_a_reply(fields: list[tuple[str, str, bytes]]) -> None:
    try:
        found = read(*((prefix + name, value) for prefix, name, value in fields))
    except MalformedField as refused:
        assert refused.reply.code == 550
    else:
        assert from_json_bytes(to_json_bytes(found)) == found


# --- understood --------------------------------------------------------------------------------------------------


def test_no_control_field_asks_nothing() -> None:
    assert read(("subject", "zivver-access-right"), ("x-zegel-conversation", "1")) == Directives()


@pytest.mark.parametrize(
    "name",
    ["zivver-access-right", "Zivver-Access-Right", "ZIVVER-ACCESS-RIGHT", "zegel-access-right", "Zegel-access-right "],
)
def test_names_are_understood_in_any_case_and_with_either_prefix(name: str) -> None:
    assert right(f"ontvanger@voorbeeld.test sms {NUMBER}", name=name) == SmsCode(Secret(NUMBER))
    assert is_control_field(name)


@pytest.mark.parametrize("name", ["x-zegel-transport", "X-Zivver-access-right", "subject", "zegel", "bcc"])
def test_other_names_are_no_control_fields(name: str) -> None:
    assert not is_control_field(name)


@pytest.mark.parametrize(
    "written",
    [
        "+31612345678", "+31 6 1234 5678", "+31 (0)6 12345678", "+31-6-12345678", "0031612345678", "00 31 6 12345678",
        "0612345678", "06-12345678", "06 12 34 56 78", "\u00a0+31\u00a0612345678", "\t+31612345678\t",
        "06/12345678", "06\u20131234\u20115678", "+3161234\t 5678", "+31612345678.", "\u3000+31612345678",
    ],
)  # fmt: skip
def test_a_mobile_number_is_normalised_however_it_is_written(written: str) -> None:
    assert phone(f"ontvanger@voorbeeld.test sms {written}") == NUMBER


def test_national_numbers_are_those_of_the_region() -> None:
    field = ("zegel-access-right", "ontvanger@voorbeeld.test sms 0470 12 34 56")
    (belgian,) = read(field, region="BE").access_rights.values()
    assert belgian == SmsCode(Secret("+32470123456"))
    with pytest.raises(MalformedField):
        read(field, region="NL")


@pytest.mark.parametrize("region", ["", "XX", "nl", "001", "Nederland"])
def test_a_region_that_is_none_understands_no_national_number(region: str) -> None:
    assert read(("zegel-access-right", f"a@voorbeeld.test sms {NUMBER}"), region=region).access_rights
    with pytest.raises(MalformedField):
        read(("zegel-access-right", "a@voorbeeld.test sms 0612345678"), region=region)


def test_one_national_number_may_be_of_two_countries() -> None:
    numbers = {
        region: read(("zegel-access-right", "a@voorbeeld.test sms 06 12 34 56 78"), region=region)
        for region in ["NL", "FR"]
    }
    assert [list(one.access_rights.values()) for one in numbers.values()] == [
        [SmsCode(Secret("+31612345678"))],
        [SmsCode(Secret("+33612345678"))],
    ]


def test_numbers_of_other_countries_are_accepted_with_their_code() -> None:
    assert phone("ontvanger@voorbeeld.test sms +49 1512 3456789") == "+4915123456789"


@pytest.mark.parametrize("method", ["sharedAccessCode", "SHAREDACCESSCODE", "access-code", "Access-Code"])
def test_an_access_code_goes_by_two_names(method: str) -> None:
    assert code(f"ontvanger@voorbeeld.test {method} 135789") == "135789"


@pytest.mark.parametrize(
    "written",
    [
        "000135",
        "0000",
        "a  b   c",
        "Wacht Woord",
        "é€漢 x",
        "sms 123",
        "(haakjes)",
        "x" * LONGEST_ACCESS_CODE,
        "0" * SHORTEST_ACCESS_CODE,
    ],
)
def test_an_access_code_is_kept_exactly(written: str) -> None:
    assert code(f"  ontvanger@voorbeeld.test   sharedAccessCode \t {written}\u00a0 ") == written


ENCODED = {
    "base64": b"=?utf-8?B?b250dmFuZ2VyQHZvb3JiZWVsZC50ZXN0IHNoYXJlZEFjY2Vzc0NvZGUgcMOkcw==?= x",
    "quoted": b"ontvanger@voorbeeld.test sharedAccessCode =?UTF-8?q?p=C3=A4s_x?=",
    "two words, white space between them vanishes": (
        b"ontvanger@voorbeeld.test sharedAccessCode =?utf-8?q?p=C3=A4s?=  =?utf-8?q?_x?="
    ),
    "cut in the middle of a character": (
        b"ontvanger@voorbeeld.test sharedAccessCode =?utf-8?q?p=C3?= =?utf-8?q?=A4s_x?="
    ),
    "two charsets": b"ontvanger@voorbeeld.test sharedAccessCode =?iso-8859-1?q?p=E4?= =?utf-8?q?s_x?=",
    "with a language": b"ontvanger@voorbeeld.test sharedAccessCode =?utf-8*nl?q?p=C3=A4s?= x",
    "raw UTF-8": "ontvanger@voorbeeld.test sharedAccessCode päs x".encode(),
}


@pytest.mark.parametrize("value", ENCODED.values(), ids=ENCODED.keys())
def test_encoded_words_are_decoded(value: bytes) -> None:
    assert code(value) == "päs x"


@pytest.mark.parametrize("literal", ["=?abc", "a?=b=", "=?a?x?c?=", "q?2?="])
def test_what_only_resembles_an_encoded_word_is_kept(literal: str) -> None:
    assert code(f"ontvanger@voorbeeld.test sharedAccessCode {literal}") == literal


def test_addresses_in_brackets_quotes_and_other_scripts_are_read() -> None:
    found = read(
        ("zivver-access-right", f"<balie@voorbeeld.test> sms {NUMBER}"),
        ("zivver-access-right", f'"de balie"@voorbeeld.test sms {NUMBER}'),
        ("zivver-access-right", f'<"de  balie"@voorbeeld.test> sms {NUMBER}'),
        ("zivver-access-right", f'"een sms 1 @ \\"b\\""@voorbeeld.test sms {NUMBER}'),
        ("zivver-access-right", f"ontvänger@bücher.test sms {NUMBER}"),
    )
    assert list(found.access_rights) == [
        Mailbox.parse("balie@voorbeeld.test"),
        Mailbox.parse('"de balie"@voorbeeld.test'),
        Mailbox.parse('"de  balie"@voorbeeld.test'),
        Mailbox.parse('"een sms 1 @ \\"b\\""@voorbeeld.test'),
        Mailbox.parse("ontvänger@xn--bcher-kva.test"),
    ]


@pytest.mark.parametrize(
    ("written", "served"),
    [
        ("a+test@voorbeeld.test", "A+Test@voorbeeld.test"),
        ('"a+test"@voorbeeld.test', "a+test@voorbeeld.test"),
        ("a@voorbeeld.test.", "a@voorbeeld.test"),
        ("é@voorbeeld.test", "e\u0301@voorbeeld.test"),
        ("E\u0301@voorbeeld.test", "é@voorbeeld.test"),
        ("GRO\u1e9e@voorbeeld.test", "groß@voorbeeld.test"),
        ("ΝΊΚΟΣ@voorbeeld.test", "νίκος@voorbeeld.test"),
        ("a@bücher.test", "a@xn--bcher-kva.test"),
        ("a@BÜCHER.test", "a@bu\u0308cher.test"),
        ("a@XN--BCHER-KVA.test", "a@bücher.test"),
        ("=?utf-8?q?=C3=A9=40voorbeeld.test?=", "é@voorbeeld.test"),
        ("=?utf-8?b?YUB2b29y?= =?utf-8?q?beeld.test?=", "a@voorbeeld.test"),
        ("=?iso-8859-1?q?=E9?=\r\n =?utf-8?q?=40voorbeeld.test?=", "é@voorbeeld.test"),
    ],
)
def test_an_address_is_recognised_in_every_spelling_of_it(written: str, served: str) -> None:
    found = read(("zivver-access-right", f"{written} sms {NUMBER}".replace("\r\n", "")))
    assert unmatched(found, [Mailbox.parse(served)]) == ()
    assert for_recipient(found, Mailbox.parse(served)).verification == SmsCode(Secret(NUMBER))


@pytest.mark.parametrize(
    ("written", "served"),
    [
        ("a+test@voorbeeld.test", "a@voorbeeld.test"),
        ("a.b@voorbeeld.test", "ab@voorbeeld.test"),
        ("a@fass.test", "a@faß.test"),
        ("gross@voorbeeld.test", "groß@voorbeeld.test"),
        ("fin@voorbeeld.test", "\ufb01n@voorbeeld.test"),
        ("sam@voorbeeld.test", "\u017fam@voorbeeld.test"),
        ("\u03bc@voorbeeld.test", "\u00b5@voorbeeld.test"),
        ("\u0430@voorbeeld.test", "a@voorbeeld.test"),
        ("\uff41@voorbeeld.test", "a@voorbeeld.test"),
        ("a@voorbeeld.test", "a@mail.voorbeeld.test"),
    ],
)
def test_what_may_be_another_mailbox_is_another_recipient(written: str, served: str) -> None:
    """Not refused, since it may be the address of the message's other half; the author is warned (D-4)."""
    found = read(("zivver-access-right", f"{written} sms {NUMBER}"))
    assert unmatched(found, [Mailbox.parse(served)]) == tuple(found.access_rights)
    assert for_recipient(found, Mailbox.parse(served)).verification is None


def test_the_examples_of_the_seed_are_understood() -> None:
    found = read(
        ("zivver-access-right", "ontvanger1@domein.com sms +31612345678"),
        ("zivver-access-right", "ontvanger2@domein.com sms +31687654321"),
        ("zivver-access-right", "ontvanger3@domein.com sharedAccessCode 135789"),
        ("zivver-access-right", "ontvanger4@domein.com sharedAccessCode 246789"),
        ("zivver-direct-delivery", "tls tls1.2 auth certificate-validation"),
        ("zivver-minimum-recipient-verification", "email-verification"),
    )
    assert list(found.access_rights.values()) == [
        SmsCode(Secret("+31612345678")),
        SmsCode(Secret("+31687654321")),
        AccessCode(Secret("135789")),
        AccessCode(Secret("246789")),
    ]
    assert (found.transport, found.email_policy, found.warnings) == (PROVEN, EmailPolicy.ALLOWED, ())


TLS13 = TransportSecurity(Tls.TLS_1_3, Authentication.CERTIFICATE)
STS = TransportSecurity(Tls.TLS_1_2, Authentication.SIGNED_MX)
DANE = TransportSecurity(Tls.TLS_1_2, Authentication.DANE)
BEST = TransportSecurity(Tls.TLS_1_3, Authentication.DANE)


@pytest.mark.parametrize(
    ("value", "level"),
    [
        ("tls tls1.2 auth certificate-validation", PROVEN),
        ("auth certificate-validation tls tls1.2", PROVEN),
        (" TLS\tTLS1.2 \u00a0AUTH  Certificate-Validation ", PROVEN),
        ("tls tls1.3 auth certificate-validation", TLS13),
        ("tls tls1.2 auth mta-sts", STS),
        ("auth dane tls tls1.2", DANE),
        ("tls tls1.3 auth dane", BEST),
    ],
)
def test_a_transport_field_is_a_minimum(value: str, level: TransportSecurity) -> None:
    found = read(("zivver-direct-delivery", value))
    assert (found.transport, found.warnings) == (level, ())


@pytest.mark.parametrize(
    ("value", "level"),
    [
        ("", PROVEN),
        ("tls", PROVEN),
        ("tls tls1.2", PROVEN),
        ("auth certificate-validation", PROVEN),
        ("tls tls1.1 auth none", PROVEN),
        ("tls tls1.0 auth certificate-validation", PROVEN),
        ("tls=tls1.2 auth=certificate-validation", PROVEN),
        ("tls tls1.2 auth certificate-validation (altijd)", PROVEN),
        ("tls tls1.2 auth certificate-validation extra x", PROVEN),
        ("false", PROVEN),
        ("tls tls1.3", TLS13),
        ("tls tls1.3 auth zelfondertekend", TLS13),
        ("tls tls9 auth dane", DANE),
        ("auth dane", DANE),
        ("tls=tls1.3; auth=dane", BEST),
        ("tls tls1.2 tls tls1.3 auth mta-sts auth dane", BEST),
        ("tls dane auth tls1.3", BEST),
        ("tls 1.3 auth dane", BEST),
        ("tls TLSv1.3 auth (DANE)", BEST),
        ('tls "tls1.3" auth "dane"', BEST),
        ("tls1.3/dane", BEST),
        ("tls tls1.3. auth dane-ee", BEST),
        ("tls tls1.2\u200b auth da\u200bne", DANE),
        ("tls \uff54\uff4c\uff531.3 auth mta_sts", TransportSecurity(Tls.TLS_1_3, Authentication.SIGNED_MX)),
        ("=?utf-8?q?tls tls1.3 auth dane?=", BEST),
        ("tls tls1.2 auth certificate-validation mta-sts", STS),
    ],
)
def test_a_transport_field_that_is_not_right_is_strict_and_warned_about(value: str, level: TransportSecurity) -> None:
    found = read(("zivver-direct-delivery", value))
    assert found.transport == level
    assert found.warnings == (DirectiveWarning.TRANSPORT_DEFAULTED,)


@pytest.mark.parametrize(
    ("value", "level"),
    [
        (b"tls \xff", PROVEN),
        (b"tls tls1.3 auth dane \xff", BEST),
        (b"tls =?x-unknown?q?tls1.3?= auth dane", BEST),
        (b"=?utf-8?b?dGxz?", PROVEN),
    ],
)
def test_a_transport_field_in_an_unreadable_encoding_is_never_less(value: bytes, level: TransportSecurity) -> None:
    found = read(("zivver-direct-delivery", value))
    assert (found.transport, found.warnings) == (level, (DirectiveWarning.TRANSPORT_DEFAULTED,))


@given(st.text())
def test_no_transport_field_ever_means_less_than_the_default(value: str) -> None:
    level = read(("zegel-direct-delivery", value.encode("utf-8", "replace"))).transport
    assert level is not None
    assert level.meets(PROVEN)


@pytest.mark.parametrize("value", ["email-verification", "Email-Verification", "\temail-verification "])
def test_email_verification_is_allowed_by_the_exact_word(value: str) -> None:
    found = read(("zivver-minimum-recipient-verification", value))
    assert (found.email_policy, found.warnings) == (EmailPolicy.ALLOWED, ())


def test_an_empty_minimum_excludes_email_verification() -> None:
    found = read(("zivver-minimum-recipient-verification", " "))
    assert (found.email_policy, found.warnings) == (EmailPolicy.NEVER, ())


@pytest.mark.parametrize("value", [b"email", b"email verification", b"sms", b"true", b"email-verification x", b"\xff"])
def test_an_invalid_minimum_excludes_email_verification_and_is_warned_about(value: bytes) -> None:
    found = read(("zivver-minimum-recipient-verification", value))
    assert (found.email_policy, found.warnings) == (EmailPolicy.NEVER, (DirectiveWarning.EMAIL_EXCLUDED,))


@pytest.mark.parametrize(
    ("value", "length"),
    [
        ("delete P30D", timedelta(days=30)),
        ("DELETE p30d", timedelta(days=30)),
        ("delete\tP2W", timedelta(weeks=2)),
        ("delete P1DT12H", timedelta(hours=36)),
    ],
)
def test_an_expiry_is_read(value: str, length: timedelta) -> None:
    assert read(("zivver-message-expiration", value)).expires_after == length


def test_different_fields_may_use_different_prefixes() -> None:
    found = read(("zegel-direct-delivery", ""), ("zivver-message-expiration", "delete P1D"))
    assert (found.transport, found.expires_after) == (PROVEN, timedelta(days=1))


# --- for one recipient -------------------------------------------------------------------------------------------


def test_what_is_asked_for_one_recipient_is_not_asked_for_another() -> None:
    found = read(
        ("zivver-access-right", f"ontvanger@voorbeeld.test sms {NUMBER}"),
        ("zivver-direct-delivery", "tls tls1.3 auth dane"),
        ("zivver-minimum-recipient-verification", ""),
    )
    assert for_recipient(found, Mailbox.parse("ONTVANGER@voorbeeld.TEST")) == Asked(
        verification=SmsCode(Secret(NUMBER)), transport=BEST, never_email=True
    )
    assert for_recipient(found, Mailbox.parse("balie@voorbeeld.test")) == Asked(transport=BEST, never_email=True)


def test_email_allowed_by_the_message_is_passed_on() -> None:
    found = read(("zivver-minimum-recipient-verification", "email-verification"))
    assert for_recipient(found, RECIPIENT) == Asked(email_after_transport_unconditionally=True)


def test_addresses_that_are_no_recipients_are_reported() -> None:
    found = read(
        ("zivver-access-right", f"ontvanger@voorbeeld.test sms {NUMBER}"),
        ("zivver-access-right", f"balie@voorbeeld.test sms {NUMBER}"),
    )
    assert unmatched(found, [Mailbox.parse("Ontvanger@voorbeeld.test")]) == (Mailbox.parse("balie@voorbeeld.test"),)
    assert unmatched(found, list(found.access_rights)) == ()


# --- the sealed form ---------------------------------------------------------------------------------------------


def test_the_sealed_form_comes_back_equal() -> None:
    found = read(
        ("zivver-access-right", f"ontvanger@voorbeeld.test sms {NUMBER}"),
        ("zivver-access-right", '"de balie"@voorbeeld.test sharedAccessCode 00 é'),
        ("zivver-direct-delivery", "auth dane"),
        ("zivver-minimum-recipient-verification", "?"),
        ("zivver-message-expiration", "delete P30D"),
    )
    again = from_json_bytes(to_json_bytes(found))
    assert again == found
    assert len(again.warnings) == 2
    assert again != Directives()


def test_a_sealed_form_of_another_version_is_not_read() -> None:
    form = json.loads(to_json_bytes(Directives()))
    with pytest.raises(UnknownForm):
        from_json_bytes(json.dumps({**form, "form": 2}).encode())


def test_directives_print_no_number_and_no_code() -> None:
    found = read(
        ("zivver-access-right", f"ontvanger@voorbeeld.test sms {NUMBER}"),
        ("zivver-access-right", "balie@voorbeeld.test sharedAccessCode 135789"),
    )
    assert NUMBER not in repr(found)
    assert "135789" not in repr(found)


def test_every_warning_says_it_in_two_languages() -> None:
    for warning in DirectiveWarning:
        assert warning.en
        assert warning.nl
        assert warning.en != warning.nl


# --- numbers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "masked"),
    [
        ("+31612345678", "+31 6 ****5678"),
        ("+32470123456", "+32 4 ****3456"),
        ("+12015550123", "+1 2 ****0123"),
        ("+298211234", "+298 2 ****34"),
        ("geen nummer", "****"),
    ],
)
def test_a_masked_number_shows_little(number: str, masked: str) -> None:
    assert mask_phone(number) == masked


def test_a_country_without_trunk_prefix_has_national_numbers_too() -> None:
    assert parse_mobile("20 12 34 56", region="DK") == "+4520123456"
    with pytest.raises(NotAMobileNumber):
        parse_mobile("45 20 12 34 56", region="DK")
