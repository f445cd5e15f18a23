"""The DKIM verifier: what it leaves out, what it refuses, and what a signature by the letter of the RFCs survives."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import itertools
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.core.dkim_by_the_letter import (
    PAIRS,
    RELAXED,
    SIMPLE,
    Draft,
    canonical_body,
    canonical_field,
    private_key,
    record_of,
    verdicts,
)
from tests.core.test_dkim import (
    RFC8463_BODY,
    RFC8463_ED25519_RECORD,
    RFC8463_HEADER,
    RFC8463_RSA_PUBLIC,
    RFC8463_SIGNATURES,
)
from zegel.core.mail.address import Domain
from zegel.core.mail.dkim import Algorithm, BodyHash, SigningKey, SimpleBodyHash, sign
from zegel.core.mail.dkim_verify import (
    DRIFT,
    MAX_SIGNATURES,
    BodyHashes,
    Canonicalisation,
    Signature,
    Verdict,
    signatures,
    verify,
)
from zegel.core.mail.fields import HeaderSection

NOW: Final = datetime(2026, 3, 12, 14, 2, 0, tzinfo=UTC)
STAMP: Final = int(NOW.timestamp())
patient: Final = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

ALGORITHMS: Final = [algorithm.value for algorithm in Algorithm]
KEY_NAME: Final = "zegel._domainkey.voorbeeld.test"
HEADER: Final = (
    b"Received: from a.test by b.test; Thu, 12 Mar 2026 14:00:00 +0000\r\n"
    b'From: "Balie"  <balie@voorbeeld.test>\r\n'
    b"To: ontvanger@example.org,\r\n\tafzender@example.org\r\n"
    b"Subject: Afspraak \t op\r\n  donderdag  \r\n"
    b"Date: Thu, 12 Mar 2026 14:00:00 +0000\r\n"
)
BODY: Final = b"Goedemiddag,  \r\n\r\n\tde afspraak \t is om 14:00.\r\n \t\r\n\r\n"

TAGS: Final = {
    "v": "1",
    "a": "ed25519-sha256",
    "c": "relaxed/relaxed",
    "d": "voorbeeld.test",
    "s": "zegel",
    "h": "from:to:subject",
    "bh": "{bh}",
    "b": "{b}",
}
LEFT_OUT: Final = "left out"


def listed(**changes: str | None) -> str:
    """The tag list of a good signature, with other values, or without a tag that is None."""
    tags = {name: value for name, value in (TAGS | changes).items() if value is not None}
    return " " + "; ".join(f"{name}={value}" for name, value in tags.items())


def draft(tags: str | None = None, **meaning: object) -> Draft:
    return dataclasses.replace(Draft(listed() if tags is None else tags), **meaning)  # type: ignore[arg-type]


def signed(one: Draft, header: bytes = HEADER, body: bytes = BODY) -> bytes:
    return one.sign(header, body) + header + b"\r\n" + body


def judged(message: bytes, record: str | None = None, *, now: datetime = NOW) -> Verdict | str:
    """The verdict on the only signature of a message, whatever its key is called."""
    header, _, body = message.partition(b"\r\n\r\n")
    section = HeaderSection.parse(header + b"\r\n")
    found = signatures(section, now=now)
    if not found:
        return LEFT_OUT
    [one] = found
    hashes = BodyHashes([one.body])
    hashes.feed(body)
    key = record_of(private_key(one.algorithm.value)) if record is None else record
    return verify(one, section, hashes.digest(one.body), key)


def the_signature(message: bytes) -> Signature:
    section = HeaderSection.parse(message.partition(b"\r\n\r\n")[0] + b"\r\n")
    [one] = signatures(section, now=NOW)
    return one


# --- what is not worth a question -----------------------------------------------------------------------------------

SHA1: Final = base64.b64encode(b"x" * 20).decode()
NOT_ACCEPTABLE: Final[dict[str, list[str | None]]] = {
    "v": [None, "", "2", "01", "1.0", "DKIM1"],
    "a": [None, "", "rsa-sha1", "rsa", "ed448-sha256", "RSA-SHA256", "rsa - sha256"],
    "c": ["", "nofws", "relaxed/", "/relaxed", "relaxed/relaxed/relaxed", "relaxed / relaxed", "Relaxed", "a/simple"],
    "d": [None, "", "test", "voorbeeld.test.", ".voorbeeld.test", "voorbeeld..test", "voor beeld.test", "192.0.2.1",
          "[192.0.2.1]", "-voorbeeld.test", f"{'a' * 64}.test", f"{'a.' * 127}test", f"{'.'.join(['é' * 45] * 3)}.test",
          "voorbeeld.test:a", "a@b.test"],
    "s": [None, "", ".", "zegel.", ".zegel", "ze..gel", "ze gel", "zegel:a", "zegel/a", "-zegel", "a" * 64,
          ".".join(["a" * 45] * 5), ".".join(["a" * 48] * 5)],
    "h": [None, "", "to:subject", "sender:to", "from:", ":from", "from::to", "from to", "from,to", "from:é",
          "from:to\r\n\t\tsubject"],
    "bh": [None, "", "=", "====", "{bh}=", "{bh}AAAA", SHA1, "{bh}é", "-{bh}"],
    "b": [None, "", "=", "A", "{b}A", "{b}====", "{b}!", "{b},{b}", "é"],
    "i": ["", "voorbeeld.test", "@", "@elders.test", "@test", "balie@xvoorbeeld.test", "@voorbeeld.test.elders.test",
          "@voorbeeld.test@elders.test", "balie@voorbeeld.test.", "@voorbeeld.test=ZZ", "@voorbeeld.test=", "@=20",
          "a=b@voorbeeld.test", "@elders=2Etest", "@voorbeeld.test=40elders.test", "balie=40a@voorbeeld.test",
          "@=ff=fe.voorbeeld.test", "@[192.0.2.1]"],
    "l": ["", "0", "10", "100000", "x"],
    "q": ["", "dns", "http/get", "dns/txt/x", "dns/txt,http/get", "DNS/TXT"],
    "t": ["", "x", "-1", "1.5", "1 2", "1" * 13, "0x10", str(STAMP + int(DRIFT.total_seconds()) + 1)],
    "x": ["", "x", "-1", "9" * 13, "0", str(STAMP - 1)],
}  # fmt: skip


@pytest.mark.parametrize(
    ("tag", "value"), [(tag, value) for tag, values in NOT_ACCEPTABLE.items() for value in values], ids=repr
)
def test_a_signature_that_no_verifier_may_accept_is_left_out(tag: str, value: str | None) -> None:
    assert judged(signed(draft(listed(**{tag: value})))) == LEFT_OUT


NO_TAG_LISTS: Final[list[str]] = [
    "",
    " ",
    ";",
    " no tag list",
    ";" + listed(),
    listed() + ";;",
    listed() + "; ;",
    listed() + "; no value",
    listed() + "; =1",
    listed() + "; 1z=1",
    listed() + "; z-z=1",
    listed() + "; z z=1",
    listed() + "; é=1",
    listed() + "; z=a\x01b",
    listed() + "; z=a\x7fb",
    listed() + "; v=1",
    listed() + "; b=",
    listed() + "; z=; z=",
    listed() + "; H=from; H=from",
    listed().replace("; ", " "),
    listed().replace("; ", ", "),
    listed().replace("=", ":", 1),
    listed(h="from:to\x0b:subject"),
]


@pytest.mark.parametrize("tags", NO_TAG_LISTS, ids=repr)
def test_what_is_no_tag_list_is_left_out(tags: str) -> None:
    assert judged(signed(draft(tags))) == LEFT_OUT


def test_octets_that_are_not_utf_8_are_left_out_where_they_matter() -> None:
    def with_octet(old: bytes, new: bytes) -> bytes:
        message = signed(draft(listed(z="zz", i="@voorbeeld.test")))
        assert old in message
        return message.replace(old, new)

    assert judged(with_octet(b"d=voorbeeld", b"d=voorbe\xe9ld")) == LEFT_OUT
    assert judged(with_octet(b"s=zegel", b"s=z\xe9gel")) == LEFT_OUT
    assert judged(with_octet(b"i=@voorbeeld", b"i=@voorbe\xe9ld")) == LEFT_OUT
    assert judged(with_octet(b"c=relaxed", b"c=r\xe9laxed")) == LEFT_OUT
    assert judged(with_octet(b"a=ed25519", b"a=\xe9d25519")) == LEFT_OUT
    assert judged(with_octet(b"z=zz", b"z=\xe9")) == Verdict.HEADER_CHANGED


@pytest.mark.parametrize("made", [STAMP - 10, STAMP - 9, STAMP])
def test_a_signature_that_ends_before_it_begins_is_left_out(made: int) -> None:
    later = NOW - timedelta(minutes=1)
    assert judged(signed(draft(listed(t=str(made), x=str(STAMP - 10)))), now=later) == LEFT_OUT


def test_a_signature_holds_up_to_the_second_of_its_end() -> None:
    message = signed(draft(listed(t=str(STAMP - 60), x=str(STAMP))))
    assert judged(message, now=NOW) == Verdict.VALID
    assert judged(message, now=NOW + timedelta(seconds=1)) == LEFT_OUT


def test_the_clock_of_a_signer_may_be_a_little_ahead() -> None:
    message = signed(draft(listed(t=str(STAMP))))
    assert judged(message, now=NOW - DRIFT) == Verdict.VALID
    assert judged(message, now=NOW - DRIFT - timedelta(seconds=1)) == LEFT_OUT


@pytest.mark.parametrize("more", [b"From: ander@voorbeeld.test\r\n", b"from: balie@voorbeeld.test\r\n"])
@pytest.mark.parametrize("names", ["from:to", "from:from:to"])
def test_a_message_with_two_authors_has_no_signatures(more: bytes, names: str) -> None:
    header = more + HEADER
    message = signed(draft(listed(h=names), names=tuple(names.split(":"))), header)
    assert judged(message) == LEFT_OUT


def test_a_message_without_author_has_no_signatures() -> None:
    assert judged(signed(draft(), b"To: ontvanger@example.org\r\nSubject: x\r\n")) == LEFT_OUT


def test_a_message_without_signatures_has_none() -> None:
    assert signatures(HeaderSection.parse(HEADER), now=NOW) == ()
    assert signatures(HeaderSection(), now=NOW) == ()


def test_no_more_signatures_are_tried_than_five_from_the_top() -> None:
    fields = [draft(listed(s=f"zegel{number}")).sign(HEADER, BODY) for number in range(MAX_SIGNATURES + 2)]
    malformed = draft(listed(v="2")).sign(HEADER, BODY)
    section = HeaderSection.parse(b"".join([malformed, fields[0], malformed, *fields[1:]]) + HEADER)
    assert [one.selector for one in signatures(section, now=NOW)] == ["zegel0", "zegel1", "zegel2", "zegel3", "zegel4"]


def test_signatures_below_a_heap_of_others_are_not_looked_for() -> None:
    good, malformed = draft().sign(HEADER, BODY), draft(listed(v="2")).sign(HEADER, BODY)
    assert len(signatures(HeaderSection.parse(malformed * 19 + good + HEADER), now=NOW)) == 1
    assert signatures(HeaderSection.parse(malformed * 20 + good + HEADER), now=NOW) == ()


tag_characters = st.sampled_from([*"vabcdhisltqx=:;/@.0159 \t", "\r\n ", "bh=", "é", "=2E", "from", "{b}", "{bh}"])


tag_texts = st.one_of(
    st.lists(tag_characters, max_size=60).map("".join),
    st.text(st.characters(exclude_categories=["Cc", "Cs"])),
)


@patient
@given(tag_texts, st.sampled_from(sorted({*TAGS, "i", "q", "t", "x", "z"})))
def test_whatever_stands_in_a_signature_nothing_raises(text: str, tag: str) -> None:
    for tags in (text, listed() + text, listed(**{tag: text})):
        header = draft(tags).sign(HEADER, BODY).replace(b"\r\n", b"\r\n ").removesuffix(b" ")
        for one in signatures(HeaderSection.parse(header + HEADER), now=NOW):
            assert len(one.key_name) <= 253
            assert one.key_name.isascii()
            assert one.agent.is_within(one.domain)


# --- what the key record has to say -----------------------------------------------------------------------------------


def public_der(bits: int, *, even: bool = False) -> str:
    """An RSA key to which nobody knows the private one; only its length matters."""
    numbers = rsa.RSAPublicNumbers(65537, (1 << (bits - 1)) + (2 if even else 1))
    return base64.b64encode(numbers.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()


ED25519_P: Final = record_of(private_key("ed25519-sha256")).rpartition("p=")[2]
CURVE_P: Final = base64.b64encode(
    ec.generate_private_key(ec.SECP256R1()).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
).decode()
WRAPPED_ED25519_P: Final = base64.b64encode(
    ed25519.Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
).decode()


NO_KEYS: Final[list[str]] = [
    "",
    "v=DKIM1",
    "v=DKIM1; k=ed25519",
    "v=spf1 include:example.org -all",
    "hallo",
    "v=DKIM1; k=ed25519; p=" + ED25519_P[:-1],
    "v=DKIM1; k=ed25519; p=" + ED25519_P[:-4],
    "v=DKIM1; k=ed25519; p=" + ED25519_P + "AAAA",
    "v=DKIM1; k=ed25519; p=!" + ED25519_P,
    "v=DKIM1; k=ed25519; p=" + ED25519_P.replace(ED25519_P[0], "\ufffd", 1),
    "v=DKIM1; k=ed25519; p=" + WRAPPED_ED25519_P,
    "v=DKIM1; k=ed25519; p=" + public_der(2048),
    "v=DKIM1; k=ed25519; p=" + ED25519_P + "; p=",
    "v=DKIM1; k=ed25519; v=DKIM1; p=" + ED25519_P,
    "v=DKIM2; k=ed25519; p=" + ED25519_P,
    "v=DKIM1.0; k=ed25519; p=" + ED25519_P,
    "v=dkim1; k=ed25519; p=" + ED25519_P,
    "v=; k=ed25519; p=" + ED25519_P,
    "k=ed25519; v=DKIM1; p=" + ED25519_P,
    "v=DKIM1\\; k=ed25519\\; p=" + ED25519_P,
    '"v=DKIM1; k=ed25519; p=' + ED25519_P + '"',
    "v=DKIM1; p=" + ED25519_P,
    "v=DKIM1; k=; p=" + ED25519_P,
    "v=DKIM1; k=rsa; p=" + ED25519_P,
    "v=DKIM1; k=rsa; p=" + public_der(2048),
    "v=DKIM1; k=ed448; p=" + ED25519_P,
    "v=DKIM1; k=ed25519; h=sha1; p=" + ED25519_P,
    "v=DKIM1; k=ed25519; h=; p=" + ED25519_P,
    "v=DKIM1; k=ed25519; h=sha2566:xsha256; p=" + ED25519_P,
    "v=DKIM1; k=ed25519; s=tlsrpt; p=" + ED25519_P,
    "v=DKIM1; k=ed25519; s=; p=" + ED25519_P,
    "v=DKIM1; k=ed25519; s=emails:e-mail; p=" + ED25519_P,
    "v=DKIM1; k=ed25519; s=tlsrpt; t=y; p=" + ED25519_P,
]


@pytest.mark.parametrize("record", NO_KEYS, ids=range(len(NO_KEYS)))
def test_a_record_that_is_no_key_for_the_signature_makes_it_unusable(record: str) -> None:
    assert judged(signed(draft()), record) == Verdict.KEY_UNUSABLE


@pytest.mark.parametrize("record", ["p=", "v=DKIM1; p=", "v=DKIM1;k=ed25519;p= ;", "v=DKIM1; s=tlsrpt; t=y; p="])
def test_an_empty_key_is_a_revoked_key(record: str) -> None:
    assert judged(signed(draft()), record) == Verdict.KEY_REVOKED


@pytest.mark.parametrize("flags", ["y", "s:y", "y : s", "x:y"])
def test_a_domain_that_is_testing_has_not_signed(flags: str) -> None:
    assert judged(signed(draft()), record_of(private_key("ed25519-sha256"), t=flags)) == Verdict.KEY_IN_TEST


@pytest.mark.parametrize(
    ("agent", "flags", "verdict"),
    [
        ("@afdeling.voorbeeld.test", "s", Verdict.KEY_UNUSABLE),
        ("@afdeling.voorbeeld.test", " x : s ", Verdict.KEY_UNUSABLE),
        ("@afdeling=2Evoorbeeld.test", "s", Verdict.KEY_UNUSABLE),
        ("@afdeling.voorbeeld.test", "x", Verdict.VALID),
        ("@VOORBEELD.test", "s", Verdict.VALID),
        (None, "s", Verdict.VALID),
    ],
)
def test_a_key_may_keep_subdomains_from_using_it(agent: str | None, flags: str, verdict: Verdict) -> None:
    message = signed(draft(listed(i=agent)))
    assert judged(message, record_of(private_key("ed25519-sha256"), t=flags)) == verdict


@pytest.mark.parametrize(
    ("record", "verdict"),
    [
        (f"p={CURVE_P}", Verdict.KEY_UNUSABLE),
        (f"p={WRAPPED_ED25519_P}", Verdict.KEY_UNUSABLE),
        (f"k=ed25519; p={ED25519_P}", Verdict.KEY_UNUSABLE),
        (f"p={public_der(512)}", Verdict.KEY_UNUSABLE),
        (f"p={public_der(1023)}", Verdict.KEY_UNUSABLE),
        (f"p={public_der(4097)}", Verdict.KEY_UNUSABLE),
        (f"p={public_der(16384)}", Verdict.KEY_UNUSABLE),
        (f"p={public_der(1024)}", Verdict.HEADER_CHANGED),
        (f"p={public_der(4096)}", Verdict.HEADER_CHANGED),
        (f"p={public_der(2048, even=True)}", Verdict.HEADER_CHANGED),
    ],
    ids=range(10),
)
def test_an_rsa_key_has_1024_to_4096_bits(record: str, verdict: Verdict) -> None:
    message = signed(draft(listed(a="rsa-sha256"), algorithm="rsa-sha256"))
    assert judged(message, record) == verdict


def test_an_rsa_key_of_1024_bits_still_verifies() -> None:
    private = rsa.generate_private_key(65537, 1024)  # RFC 8301 §3.2
    message = signed(draft(listed(a="rsa-sha256"), key=private))
    assert judged(message, record_of(private)) == Verdict.VALID


def test_an_rsa_key_may_stand_bare_in_its_record() -> None:
    private = private_key("rsa-sha256")
    assert isinstance(private, rsa.RSAPrivateKey)
    bare = private.public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)  # RFC 6376 §3.6.1, before its errata
    message = signed(draft(listed(a="rsa-sha256"), algorithm="rsa-sha256"))
    assert judged(message, f"p={base64.b64encode(bare).decode()}") == Verdict.VALID


KEYS: Final[list[str]] = [
    "k=ed25519;p=" + ED25519_P,
    "v=DKIM1;k=ed25519;p=" + ED25519_P + ";",
    " v = DKIM1 ; k = ed25519 ; p = " + " ".join(ED25519_P) + " ; ",
    "v=DKIM1; k=ed25519; h=sha1 : sha256; s=tlsrpt:email; t=x; n=bericht=20van é; z=; p=" + ED25519_P,
    "v=DKIM1; k=ed25519; h=sha256; s=*; t=; g=*; p=" + ED25519_P,
    "p=" + ED25519_P + "; k=ed25519",
    "v=DKIM1;\r\n\tk=ed25519;\r\n\tp=" + ED25519_P,
]


@pytest.mark.parametrize("record", KEYS, ids=repr)
def test_a_key_record_may_be_written_in_many_ways(record: str) -> None:
    assert judged(signed(draft()), record) == Verdict.VALID


@patient
@given(
    st.one_of(
        st.text(),
        st.binary().map(lambda octets: "v=DKIM1; k=rsa; p=" + base64.b64encode(octets).decode()),
        st.lists(st.sampled_from(["v=DKIM1", "k=rsa", "k=ed25519", "p=", "p=AAAA", "t=s", "h=", "s=", " ", ""])).map(
            ";".join
        ),
    ),
    st.sampled_from(ALGORITHMS),
)
def test_whatever_the_dns_says_nothing_raises_and_nothing_verifies(record: str, algorithm: str) -> None:
    message = signed(draft(listed(a=algorithm), algorithm=algorithm))
    assert judged(message, record) in {Verdict.KEY_UNUSABLE, Verdict.KEY_REVOKED}


@patient
@given(st.data())
def test_a_damaged_rsa_key_never_raises_and_never_verifies(data: st.DataObject) -> None:
    octets = bytearray(base64.b64decode(record_of(private_key("rsa-sha256")).rpartition("p=")[2]))
    place = data.draw(st.integers(0, len(octets) - 1))
    octets[place] ^= data.draw(st.integers(1, 255))
    message = signed(draft(listed(a="rsa-sha256"), algorithm="rsa-sha256"))
    damaged = f"p={base64.b64encode(octets).decode()}"
    assert judged(message, damaged) in {Verdict.KEY_UNUSABLE, Verdict.HEADER_CHANGED}


def test_a_key_of_somebody_else_does_not_verify() -> None:
    other = ed25519.Ed25519PrivateKey.generate()
    assert judged(signed(draft()), record_of(other)) == Verdict.HEADER_CHANGED


# --- what was changed -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pair", PAIRS, ids="/".join)
@pytest.mark.parametrize(
    "change",
    [
        (b"14:00.", b"15:00."),
        (b"\r\n\r\n\tde", b"\r\n\tde"),
        (b"Goedemiddag,", b" Goedemiddag,"),
        (b"14:00.", b"14:00.\r\n\r\n."),
        (b"14:00.", b"14:00.\0"),
    ],
)
def test_another_body_is_found(pair: tuple[str, str], change: tuple[bytes, bytes]) -> None:
    header, body = pair
    one = draft(listed(c=f"{header}/{body}"), header=header, body=body)
    assert judged(one.sign(HEADER, BODY) + HEADER + b"\r\n" + BODY.replace(*change)) == Verdict.BODY_CHANGED


@pytest.mark.parametrize("pair", PAIRS, ids="/".join)
@pytest.mark.parametrize(
    "change",
    [
        (b"Subject: Afspraak", b"Subject: Uitslag"),
        (b"To: ontvanger", b"To: Ontvanger"),
        (b"To: ontvanger@example.org,\r\n\tafzender@example.org\r\n", b""),
        (b"Date:", b"Subject: nog een\r\nDate:"),
        (b"d=voorbeeld.test", b"d=elders.test"),
        (b"h=from:to:subject", b"h=from:subject"),
        (b"h=from:to:subject", b"h=from:subject:to"),
        (b"s=zegel", b"s=zegel; z=1"),
    ],
)
def test_another_header_is_found(pair: tuple[str, str], change: tuple[bytes, bytes]) -> None:
    header, body = pair
    message = signed(draft(listed(c=f"{header}/{body}"), header=header, body=body))
    changed = message.replace(*change)
    assert changed != message
    assert judged(changed) == Verdict.HEADER_CHANGED


def test_a_field_that_was_signed_once_more_than_it_occurs_can_not_be_added() -> None:
    names = ("from", "from", "subject", "subject", "reply-to")
    message = signed(draft(listed(h=":".join(names)), names=names))
    assert judged(message) == Verdict.VALID
    for added in (b"Subject: Uitslag\r\n", b"Reply-To: ander@elders.test\r\n"):
        assert judged(message.replace(b"Received:", added + b"Received:")) == Verdict.HEADER_CHANGED
        assert judged(message.replace(b"Date:", added + b"Date:")) == Verdict.HEADER_CHANGED
    assert judged(message.replace(b"Received:", b"To: ander@elders.test\r\nReceived:")) == Verdict.VALID


@st.composite
def changed_octets(draw: st.DrawFn, of: bytes) -> bytes:
    place = draw(st.integers(0, len(of) - 1))
    octet = draw(st.integers(0, 255).filter(lambda value: value not in (of[place], 0, 10, 13)))
    kind = draw(st.sampled_from(["replaced", "inserted", "removed"]))
    if kind == "replaced":
        return of[:place] + bytes([octet]) + of[place + 1 :]
    return of[:place] + bytes([octet]) + of[place:] if kind == "inserted" else of[:place] + of[place + 1 :]


@settings(patient, max_examples=300)
@given(st.sampled_from(PAIRS), st.data())
def test_one_octet_of_the_body_that_is_not_forgiven_is_found(pair: tuple[str, str], data: st.DataObject) -> None:
    header, body = pair
    one = draft(listed(c=f"{header}/{body}"), header=header, body=body)
    changed = data.draw(changed_octets(BODY))
    forgiven = canonical_body(body, changed) == canonical_body(body, BODY)
    verdict = judged(one.sign(HEADER, BODY) + HEADER + b"\r\n" + changed)
    assert verdict == (Verdict.VALID if forgiven else Verdict.BODY_CHANGED)


@settings(patient, max_examples=300)
@given(st.sampled_from(PAIRS), st.data())
def test_one_octet_of_a_signed_field_that_is_not_forgiven_is_found(pair: tuple[str, str], data: st.DataObject) -> None:
    which, body = pair
    field = b"Subject: Afspraak \t op\r\n  donderdag  \r\n"
    one = draft(listed(c=f"{which}/{body}"), header=which, body=body)
    changed = data.draw(changed_octets(field[8:-2]))
    octets = one.sign(HEADER, BODY) + HEADER.replace(field, b"Subject:" + changed + b"\r\n") + b"\r\n" + BODY
    forgiven = canonical_field(which, b"Subject:" + changed + b"\r\n") == canonical_field(which, field)
    try:
        HeaderSection.parse(octets.partition(b"\r\n\r\n")[0] + b"\r\n")
    except ValueError:
        return  # no header section any more: the listener refuses it before
    assert judged(octets) == (Verdict.VALID if forgiven else Verdict.HEADER_CHANGED)


@settings(patient, max_examples=300)
@given(st.sampled_from(PAIRS), st.data())
def test_one_octet_of_the_signature_itself_never_makes_it_mean_something_else(
    pair: tuple[str, str], data: st.DataObject
) -> None:
    header, body = pair
    field = draft(listed(c=f"{header}/{body}", t=str(STAMP)), header=header, body=body, fold_every=40).sign(
        HEADER, BODY
    )
    changed = data.draw(changed_octets(field.removeprefix(b"DKIM-Signature:").removesuffix(b"\r\n")))
    octets = b"DKIM-Signature:" + changed + b"\r\n" + HEADER + b"\r\n" + BODY
    try:
        HeaderSection.parse(octets.partition(b"\r\n\r\n")[0] + b"\r\n")
    except ValueError:
        return
    if judged(octets) == Verdict.VALID:
        before, after = the_signature(field + HEADER + b"\r\n"), the_signature(octets)
        assert dataclasses.replace(after, unsigned=b"") == dataclasses.replace(before, unsigned=b"")
        assert after.unsigned == before.unsigned or header == RELAXED


# --- what verifies ----------------------------------------------------------------------------------------------------


WAYS: Final[list[Draft]] = [
    draft(listed() + ";"),
    draft(listed() + " ; "),
    draft(listed() + ";\r\n\t"),
    draft(listed().replace("; ", ";").strip()),
    draft(listed().replace("; ", ";\r\n\t").replace("=", " \t= \r\n ", 20)),
    draft(listed(b="\r\n\t {b} \r\n ") + " ; z=zz"),
    draft(listed(bh="\r\n\t{bh}\r\n ")),
    draft(listed(), fold_every=1),
    draft(" b={b}; " + listed(b=None)),
    draft(" b = \t{b}\t; " + listed(b=None), header=RELAXED),
    draft(listed(z="From:balie=20x|To:y", y="", B="2", X_1="é")),
    draft(listed(h="From : TO:\r\n\tsubject")),
    draft(listed(q="dns/txt")),
    draft(listed(q="http/get : dns/txt")),
    draft(listed(i="@voorbeeld.test")),
    draft(listed(i="balie+x@afdeling.VOORBEELD.test")),
    draft(listed(i="b alie=3B=C3=A9@voor beeld=2Etest")),
    draft(listed(i="bàlie@voorbeeld.test")),
    draft(listed(d="VoorBeeld.TEST", s="ZEGEL")),
    draft(listed(t="1000000000", x="999999999999")),
    draft(listed(), name="dkim-SIGNATURE"),
    draft(listed(c=None), header=SIMPLE, body=SIMPLE),
    draft(listed(c="relaxed"), header=RELAXED, body=SIMPLE),
    draft(listed(c="simple"), header=SIMPLE, body=SIMPLE),
    draft(listed(c="simple/relaxed", b=" {b} ") + " ; z=1", header=SIMPLE),
    draft(listed(c="simple", b=None) + ";b=\r\n {b}  ", header=SIMPLE, body=SIMPLE, fold_every=20),
    draft(listed(h="from:nothing:from:to:received"), names=("from", "to", "received")),
]


@pytest.mark.parametrize("one", WAYS, ids=lambda one: repr(one.tags))
def test_a_signature_may_be_written_in_many_ways(one: Draft) -> None:
    assert judged(signed(one)) == Verdict.VALID
    assert the_signature(signed(one)).key_name == KEY_NAME


def test_the_lowest_of_several_fields_is_signed_first() -> None:
    header = b"To: a@a.test\r\nTO: b@b.test\r\n" + HEADER
    for count in range(1, 6):
        names = ("from", *["to"] * count)
        one = draft(listed(h=":".join(names)), names=names)
        message = signed(one, header)
        assert judged(message) == Verdict.VALID
        without_top = message.replace(b"To: a@a.test\r\n", b"")
        assert judged(without_top) == (Verdict.VALID if count < 3 else Verdict.HEADER_CHANGED)


def test_other_signatures_may_be_covered_but_never_the_own_one() -> None:
    inner = draft(listed(s="binnen")).sign(HEADER, BODY)
    names = ("from", "dkim-signature", "dkim-signature")
    outer = draft(listed(s="buiten", h=":".join(names)), names=names).sign(inner + HEADER, BODY)
    records = {f"{selector}._domainkey.voorbeeld.test": record_of(private_key("ed25519-sha256")) for selector in (
        "binnen", "buiten")}  # fmt: skip
    valid, broken = ("voorbeeld.test", Verdict.VALID), ("voorbeeld.test", Verdict.HEADER_CHANGED)
    rest = HEADER + b"\r\n" + BODY
    assert verdicts(outer + inner + rest, records, now=NOW) == [valid, valid]
    assert verdicts(inner + outer + rest, records, now=NOW) == [valid, valid]
    assert verdicts(outer + inner.replace(b"s=binnen", b"s=elders") + rest, records, now=NOW) == [broken]
    assert verdicts(outer + rest, records, now=NOW) == [broken]


def test_internationalised_names_are_asked_for_as_the_dns_knows_them() -> None:
    message = signed(draft(listed(d="bücher.test", s="zegel.é", i="é@afdeling.BÜCHER.test")))  # RFC 8616 §5
    one = the_signature(message)
    assert (one.domain, one.agent) == (Domain("xn--bcher-kva.test"), Domain("afdeling.xn--bcher-kva.test"))
    assert one.key_name == "zegel.xn--9ca._domainkey.xn--bcher-kva.test"
    assert judged(message) == Verdict.VALID
    assert judged(message.replace("d=bücher".encode(), b"d=xn--bcher-kva")) == Verdict.HEADER_CHANGED
    assert judged(signed(draft(listed(d="xn--bcher-kva.test", i="@bücher.test")))) == Verdict.VALID


blanks = st.sampled_from(["", " ", "\t", "  ", "\r\n ", " \r\n\t "])
words = st.sampled_from(["", "a", "Balie", "é", ";", "=", ":", "b=", "=20"])
field_values = st.lists(st.tuples(blanks, words).map("".join), max_size=6).map("".join)
field_names = st.sampled_from(["To", "TO", "Cc", "Subject", "subject", "X-Other", "Received", "DKIM-Signature"])
odd_fields = st.lists(st.tuples(field_names, field_values).map(lambda one: f"{one[0]}:{one[1]}\r\n".encode()))
odd_bodies = st.lists(st.sampled_from([b" ", b"\t", b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"a", b".", b"\xe9"])).map(
    b"".join
)
signed_names = st.lists(st.sampled_from(["to", "cc", "subject", "from", "x-other", "received", "dkim-signature"]))


@settings(patient, max_examples=300)
@given(
    st.sampled_from(PAIRS),
    st.sampled_from(ALGORITHMS),
    odd_fields,
    odd_fields,
    odd_bodies,
    signed_names,
    st.lists(blanks, min_size=4, max_size=4),
    st.lists(st.integers(0, 60)),
)
def test_what_was_signed_by_the_letter_verifies_however_it_arrives(
    pair: tuple[str, str],
    algorithm: str,
    above: list[bytes],
    below: list[bytes],
    body: bytes,
    names: list[str],
    space: list[str],
    cuts: list[int],
) -> None:
    header = b"".join([*above, b"From: balie@voorbeeld.test\r\n", *below])
    covered = ("from", *names)
    tags = listed(
        c="/".join(pair), a=algorithm, h=f"{space[0]}:{space[1]}".join(covered), b=space[2] + "{b}" + space[3]
    )
    one = draft(tags, algorithm=algorithm, header=pair[0], body=pair[1], names=covered, fold_every=len(body) + 7)
    message = one.sign(header, body) + header + b"\r\n" + body
    record = record_of(private_key(algorithm))
    assert verdicts(message, {KEY_NAME: record}, now=NOW, cuts=cuts) == [("voorbeeld.test", Verdict.VALID)]


@pytest.mark.parametrize("algorithm", list(Algorithm), ids=lambda algorithm: algorithm.value)
def test_our_own_signatures_verify(algorithm: Algorithm) -> None:
    key = SigningKey(Domain("voorbeeld.test"), "zegel", algorithm, private_key(algorithm.value))
    body_hash = BodyHash()
    body_hash.feed(BODY)
    message = sign(HEADER, body_hash.digest(), keys=[key], at=NOW) + HEADER + b"\r\n" + BODY
    records = {key.dns_name: key.dns_record()}
    assert verdicts(message, records, now=NOW) == [("voorbeeld.test", Verdict.VALID)]
    changed = message.replace(b"Received:", b"Reply-To: ander@elders.test\r\nReceived:")
    assert verdicts(changed, records, now=NOW) == [("voorbeeld.test", Verdict.HEADER_CHANGED)]


@patient
@given(odd_fields, odd_fields, odd_bodies, st.sampled_from(list(Algorithm)))
def test_our_own_signatures_verify_on_odd_messages(
    above: list[bytes], below: list[bytes], body: bytes, algorithm: Algorithm
) -> None:
    header = b"".join([*above, b"From: balie@voorbeeld.test\r\n", *below])
    key = SigningKey(Domain("voorbeeld.test"), "zegel", algorithm, private_key(algorithm.value))
    body_hash = BodyHash()
    body_hash.feed(body)
    message = sign(header, body_hash.digest(), keys=[key], at=NOW) + header + b"\r\n" + body
    assert verdicts(message, {key.dns_name: key.dns_record()}, now=NOW) == [("voorbeeld.test", Verdict.VALID)]


# RFC 8463 appendix A: two signatures on one message

RFC8463: Final = (
    b"".join(field + value.encode() + b"\r\n" for field, value in RFC8463_SIGNATURES.values())
    + RFC8463_HEADER
    + b"\r\n"
    + RFC8463_BODY
)
RFC8463_RECORDS: Final = {
    "brisbane._domainkey.football.example.com": RFC8463_ED25519_RECORD,
    "test._domainkey.football.example.com": f"v=DKIM1; k=rsa; p={RFC8463_RSA_PUBLIC}",
}


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ((b"", b""), Verdict.VALID),
        ((b"hungry yet?", b"hungry  yet? "), Verdict.VALID),
        ((b"hungry yet?", b"hungry now?"), Verdict.BODY_CHANGED),
        ((b"dinner", b"supper"), Verdict.HEADER_CHANGED),
        ((b"t=1528637909", b"t=1528637908"), Verdict.HEADER_CHANGED),
        ((b"To: Suzie", b"Date: later\r\nTo: Suzie"), Verdict.HEADER_CHANGED),
    ],
)
def test_the_example_of_rfc_8463_verifies(change: tuple[bytes, bytes], verdict: Verdict) -> None:
    found = verdicts(RFC8463.replace(*change), RFC8463_RECORDS, now=NOW)
    assert found == [("football.example.com", verdict)] * 2


# --- the body hashes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "simple"),
    [
        (b" C \r\nD \t E\r\n\r\n\r\n", b" C \r\nD \t E\r\n"),  # RFC 6376 §3.4.5
        (b"", b"\r\n"),
        (b"\r\n", b"\r\n"),
        (b"\r\n\r\n", b"\r\n"),
        (b" \t\r\n\r\n", b" \t\r\n"),
        (b"a", b"a\r\n"),
        (b"a\n\r\n", b"a\n\r\n"),
        (b"a\r", b"a\r\r\n"),
        (b"\r", b"\r\r\n"),
        (b"\r\n\r", b"\r\n\r\r\n"),
        (b"a" + b"\r\n" * 9000 + b"b", b"a" + b"\r\n" * 9000 + b"b\r\n"),
    ],
)
def test_the_simple_body_only_loses_its_last_empty_lines(body: bytes, simple: bytes) -> None:
    whole, octet_by_octet = SimpleBodyHash(), SimpleBodyHash()
    whole.feed(body)
    for octet in body:
        octet_by_octet.feed(bytes([octet]))
    assert whole.digest() == octet_by_octet.digest() == hashlib.sha256(simple).digest()


@settings(patient, max_examples=300)
@given(odd_bodies, st.lists(st.integers(0, 40)))
def test_how_the_body_is_cut_makes_no_difference_to_either_hash(body: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    found = BodyHashes(list(Canonicalisation))
    for start, end in itertools.pairwise(edges):
        found.feed(body[start:end])
        for which in Canonicalisation:  # asking changes nothing
            assert found.digest(which) == hashlib.sha256(canonical_body(which.value, body[:end])).digest()


def test_a_body_hash_that_nobody_asked_for_is_not_made() -> None:
    found = BodyHashes([Canonicalisation.SIMPLE, Canonicalisation.SIMPLE])
    found.feed(BODY)
    assert found.digest(Canonicalisation.SIMPLE) == hashlib.sha256(canonical_body(SIMPLE, BODY)).digest()
    with pytest.raises(KeyError):
        found.digest(Canonicalisation.RELAXED)
