"""The DKIM signer against the RFCs' own examples and against two verifiers that share no code with it."""

from __future__ import annotations

import base64
import functools
import hashlib
import itertools
import json
import os
import random
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from zegel.core.mail.address import Domain
from zegel.core.mail.dkim import (
    SIGNED_FIELDS,
    Algorithm,
    BodyHash,
    NotASigningKey,
    SigningKey,
    Unsignable,
    chosen_fields,
    relaxed_fields,
    sign,
    signing_input,
)
from zegel.core.secret import Secret

AT: Final = datetime(2026, 3, 12, 14, 2, 0, tzinfo=UTC)
DOMAIN: Final = Domain("voorbeeld.test")
patient: Final = settings(deadline=None)
SYSTEM_PYTHON: Final = "/usr/bin/python3"

HEADER: Final = (
    b"Received: from a.test by b.test; Thu, 12 Mar 2026 14:00:00 +0000\r\n"
    b'From: "Balie"  <balie@voorbeeld.test>\r\n'
    b"To: ontvanger@example.org,\r\n\tafzender@example.org\r\n"
    b"Subject: Afspraak \t op\r\n  donderdag  \r\n"
    b"Date: Thu, 12 Mar 2026 14:00:00 +0000\r\n"
    b"Message-ID: <1@voorbeeld.test>\r\n"
    b"MIME-Version: 1.0\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\n"
    b"Content-Transfer-Encoding: 8bit\r\n"
)
BODY: Final = b"Goedemiddag,  \r\n\r\n\tde afspraak \t is om 14:00.\r\n \t\r\n\r\n"


# --- two independent verifiers, both from Debian, both outside this process ---------------------------------------

DKIMPY: Final = """
import base64, json, sys
import dkim
verdicts = []
for case in json.load(sys.stdin):
    def answer(name, timeout=5, records=case["records"]):
        name = name.decode() if isinstance(name, bytes) else name
        text = records.get(name.rstrip("."))
        return text.encode() if text else None
    try:
        verifier = dkim.DKIM(base64.b64decode(case["message"]))
        verdicts.append([bool(verifier.verify(idx=n, dnsfunc=answer)) for n in range(case["signatures"])])
    except dkim.DKIMException as cause:
        verdicts.append([str(cause)])
print(json.dumps(verdicts))
"""

LIBOPENDKIM: Final = """
import base64, ctypes, json, sys, tempfile
lib = ctypes.CDLL("libopendkim.so.11")
for name, result, arguments in (
    ("dkim_init", ctypes.c_void_p, [ctypes.c_void_p] * 2),
    ("dkim_options", ctypes.c_int, [ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t]),
    ("dkim_verify", ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_void_p]),
    ("dkim_chunk", ctypes.c_int, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]),
    ("dkim_eom", ctypes.c_int, [ctypes.c_void_p, ctypes.c_void_p]),
    ("dkim_free", ctypes.c_int, [ctypes.c_void_p]),
    ("dkim_getsiglist", ctypes.c_int, [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]),
    ("dkim_sig_getflags", ctypes.c_uint, [ctypes.c_void_p]),
    ("dkim_sig_getbh", ctypes.c_int, [ctypes.c_void_p]),
    ("dkim_sig_process", ctypes.c_int, [ctypes.c_void_p, ctypes.c_void_p]),
):
    function = getattr(lib, name)
    function.restype, function.argtypes = result, arguments
verdicts = []
for case in json.load(sys.stdin):
    handle = lib.dkim_init(None, None)
    with tempfile.NamedTemporaryFile("w", suffix=".keys") as keys:
        keys.writelines(f"{name} {text}\\n" for name, text in case["records"].items())
        keys.flush()
        method = ctypes.c_int(1)  # DKIM_QUERY_FILE
        path = ctypes.create_string_buffer(keys.name.encode())
        lib.dkim_options(handle, 1, 6, ctypes.byref(method), ctypes.sizeof(method))  # DKIM_OPTS_QUERYMETHOD
        lib.dkim_options(handle, 1, 7, path, len(keys.name))  # DKIM_OPTS_QUERYINFO
        status = ctypes.c_int(0)
        message = base64.b64decode(case["message"])
        dkim = lib.dkim_verify(handle, b"test", None, ctypes.byref(status))
        answers = [lib.dkim_chunk(dkim, message, len(message)), lib.dkim_chunk(dkim, None, 0)]
        answers.append(lib.dkim_eom(dkim, None))
        found, count = ctypes.POINTER(ctypes.c_void_p)(), ctypes.c_int(0)
        lib.dkim_getsiglist(dkim, ctypes.byref(found), ctypes.byref(count))
        each = []
        for n in range(count.value):
            lib.dkim_sig_process(dkim, found[n])
            flags = lib.dkim_sig_getflags(found[n])
            passed = bool(flags & 0x02)  # DKIM_SIGFLAG_PASSED
            each.append(passed and lib.dkim_sig_getbh(found[n]) == 0)  # DKIM_SIGBH_MATCH
        verdicts.append(each if answers == [0, 0, 0] else [f"status {answers}"])
        lib.dkim_free(dkim)
print(json.dumps(verdicts))
"""

VERIFIERS: Final = {
    "dkimpy": (DKIMPY, "python3-dkim", "import dkim, nacl"),
    "libopendkim": (LIBOPENDKIM, "libopendkim11", "import ctypes; ctypes.CDLL('libopendkim.so.11')"),
}


@functools.cache
def installed(probe: str) -> bool:
    if not Path(SYSTEM_PYTHON).exists():
        return False
    return subprocess.run([SYSTEM_PYTHON, "-c", probe], capture_output=True, check=False).returncode == 0


def needs(package: str, probe: str) -> None:
    if installed(probe):
        return
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(f"Debian package {package} is missing: this proof may not be left out here")
    pytest.skip(f"NOT PROVED: Debian package {package} is missing")


class Verifier:
    def __init__(self, script: str) -> None:
        self.script = script

    def verdicts(self, *messages: bytes, keys: list[SigningKey]) -> list[list[bool | str]]:
        records = {key.dns_name: key.dns_record() for key in keys}
        return self.verdicts_with(records, *messages)

    def verdicts_with(self, records: dict[str, str], *messages: bytes) -> list[list[bool | str]]:
        cases = [
            {
                "message": base64.b64encode(message).decode(),
                "records": records,
                "signatures": message.lower().count(b"dkim-signature:"),
            }
            for message in messages
        ]
        ran = subprocess.run(
            [SYSTEM_PYTHON, "-c", self.script], input=json.dumps(cases), capture_output=True, text=True, check=True
        )
        verdicts: list[list[bool | str]] = json.loads(ran.stdout)
        return verdicts


@pytest.fixture(params=sorted(VERIFIERS))
def verifier(request: pytest.FixtureRequest) -> Verifier:
    script, package, probe = VERIFIERS[request.param]
    needs(package, probe)
    return Verifier(script)


@functools.cache
def key_for(algorithm: Algorithm) -> SigningKey:
    return SigningKey.generate(DOMAIN, f"zegel-{algorithm.value[:3]}", algorithm)


@pytest.fixture(params=list(Algorithm), ids=lambda algorithm: algorithm.value)
def key(request: pytest.FixtureRequest) -> SigningKey:
    algorithm: Algorithm = request.param
    return key_for(algorithm)


def signed(key: SigningKey, header: bytes = HEADER, body: bytes = BODY) -> bytes:
    return sign(header, body_hash(body), keys=[key], at=AT) + header + b"\r\n" + body


def body_hash(*pieces: bytes) -> bytes:
    found = BodyHash()
    for piece in pieces:
        found.feed(piece)
    return found.digest()


def tags(field: bytes) -> dict[str, str]:
    name, _, value = field.decode().partition(":")
    assert name == "DKIM-Signature"
    pairs = (tag.strip().partition("=") for tag in value.split(";"))
    return {name: "".join(text.split()) for name, _, text in pairs}


# --- keys ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("selector", ["", "a b", "a;b", "-a", "a\r\nb", "é", "a..b", "A", "a" * 64])
def test_a_selector_that_is_no_dns_name_is_refused(selector: str) -> None:
    with pytest.raises(NotASigningKey):
        SigningKey(DOMAIN, selector, Algorithm.ED25519_SHA256, ed25519.Ed25519PrivateKey.generate())


def pem_of(private: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> Secret[bytes]:
    return Secret(
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )


@pytest.mark.parametrize(
    "pem",
    [
        Secret(b""),
        Secret(b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
        pem_of(rsa.generate_private_key(65537, 1024)),
        pem_of(ec.generate_private_key(ec.SECP256R1())),
        Secret(
            ed25519.Ed25519PrivateKey.generate().private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(b"geheim"),
            )
        ),
    ],
    ids=["nothing", "rubbish", "rsa of 1024 bits", "another curve", "encrypted"],
)
def test_what_is_no_key_for_dkim_is_refused_without_quoting_it(pem: Secret[bytes]) -> None:
    with pytest.raises(NotASigningKey) as refused:
        SigningKey.from_pem(DOMAIN, "zegel", pem)
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__ or refused.value.__context__ is None


def test_a_key_of_another_kind_than_its_algorithm_is_refused() -> None:
    with pytest.raises(NotASigningKey):
        SigningKey(DOMAIN, "zegel", Algorithm.RSA_SHA256, ed25519.Ed25519PrivateKey.generate())


def test_a_key_survives_its_pem(key: SigningKey) -> None:
    pem = key.to_pem()
    again = SigningKey.from_pem(key.domain, key.selector, pem)
    assert again == key
    assert again.dns_record() == key.dns_record()
    assert "PRIVATE" not in f"{pem!r} {key!r}"
    assert "private" not in repr(key)


def test_the_dns_record_holds_the_public_key() -> None:
    record = tags(b"DKIM-Signature:" + key_for(Algorithm.RSA_SHA256).dns_record().encode())
    public = serialization.load_der_public_key(base64.b64decode(record.pop("p")))
    assert isinstance(public, rsa.RSAPublicKey)
    assert public.key_size == 2048
    assert record == {"v": "DKIM1", "k": "rsa"}

    record = tags(b"DKIM-Signature:" + key_for(Algorithm.ED25519_SHA256).dns_record().encode())
    assert len(base64.b64decode(record.pop("p"))) == 32
    assert record == {"v": "DKIM1", "k": "ed25519"}
    assert key_for(Algorithm.ED25519_SHA256).dns_name == "zegel-ed2._domainkey.voorbeeld.test"


# --- the body -----------------------------------------------------------------------------------------------------


def relaxed_by_the_letter(body: bytes) -> bytes:
    """RFC 6376 §3.4.4, written down line by line, as slow as it likes."""
    lines = [re.sub(rb"[ \t]+", b" ", line).rstrip(b" ") for line in body.split(b"\r\n")]
    while lines and not lines[-1]:
        lines.pop()
    return b"".join(line + b"\r\n" for line in lines)


@pytest.mark.parametrize(
    ("body", "relaxed"),
    [
        (b" C \r\nD \t E\r\n\r\n\r\n", b" C\r\nD E\r\n"),  # RFC 6376 §3.4.5
        (b"", b""),
        (b"\r\n", b""),
        (b" \t \r\n\r\n \r\n", b""),
        (b" \t", b""),
        (b"a", b"a\r\n"),
        (b"a\r\n\r\n \t", b"a\r\n"),
        (b"\r\n\r\na\r\n", b"\r\n\r\na\r\n"),
        (b"a\n\r\n", b"a\n\r\n"),
        (b"a\r", b"a\r\r\n"),
        (b"a \r\r\n\n\r\n\r\n", b"a \r\r\n\n\r\n"),
        (b"a" + b"\r\n" * 9000 + b"b", b"a" + b"\r\n" * 9000 + b"b\r\n"),
        (b"a" + b" \t" * 9000 + b"b", b"a b\r\n"),
    ],
)
def test_the_body_is_relaxed(body: bytes, relaxed: bytes) -> None:
    assert body_hash(body) == hashlib.sha256(relaxed).digest()
    assert body_hash(*(body[at : at + 1] for at in range(len(body)))) == hashlib.sha256(relaxed).digest()


odd_bodies = st.lists(st.sampled_from([b" ", b"\t", b"\r", b"\n", b"\r\n", b"a", b".", b"\xe9"])).map(b"".join)


@patient
@given(odd_bodies, st.lists(st.integers(0, 40)))
def test_how_the_body_is_cut_makes_no_difference(body: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    pieces = [body[start:end] for start, end in itertools.pairwise(edges)]
    assert body_hash(*pieces) == hashlib.sha256(relaxed_by_the_letter(body)).digest()


@patient
@given(odd_bodies, odd_bodies)
def test_asking_for_the_digest_changes_nothing(first: bytes, second: bytes) -> None:
    found = BodyHash()
    found.feed(first)
    assert found.digest() == found.digest() == body_hash(first)
    found.feed(second)
    assert found.digest() == body_hash(first + second)


# --- the signature ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"To: ontvanger@example.org\r\n",
        b"Subject: x\r\n\r\nFrom: balie@voorbeeld.test\r\n",
        b"From: balie@voorbeeld.test\r\nfrom : balie@voorbeeld.test\r\n",
    ],
    ids=["nothing", "no From", "From in the body", "two From"],
)
def test_without_exactly_one_author_field_there_is_no_signature(header: bytes) -> None:
    with pytest.raises(Unsignable):
        sign(header, body_hash(b""), keys=[key_for(Algorithm.ED25519_SHA256)], at=AT)


def test_the_signature_field_says_what_was_done(key: SigningKey) -> None:
    field = sign(HEADER, body_hash(BODY), keys=[key], at=AT)
    found = tags(field)
    assert {name: found[name] for name in ("v", "a", "c", "d", "s", "t")} == {
        "v": "1",
        "a": key.algorithm.value,
        "c": "relaxed/relaxed",
        "d": "voorbeeld.test",
        "s": key.selector,
        "t": str(int(AT.timestamp())),
    }
    assert "l" not in found
    assert base64.b64decode(found["bh"]) == body_hash(BODY)


def test_every_covered_field_is_named_once_more_than_it_occurs() -> None:
    header = HEADER + b"References: <0@voorbeeld.test>\r\nreferences: <2@voorbeeld.test>\r\n"
    named = tags(sign(header, body_hash(BODY), keys=[key_for(Algorithm.ED25519_SHA256)], at=AT))["h"].split(":")
    assert {name: named.count(name) for name in named} == {
        "From": 2, "To": 2, "Cc": 1, "Subject": 2, "Date": 2, "Message-ID": 2, "Reply-To": 1, "In-Reply-To": 1,
        "References": 3, "MIME-Version": 2, "Content-Type": 2, "Content-Transfer-Encoding": 2, "Auto-Submitted": 1,
    }  # fmt: skip
    assert set(named) == {name.decode() for name in SIGNED_FIELDS}


def test_the_signature_field_is_folded_and_ended(key: SigningKey) -> None:
    field = sign(HEADER, body_hash(BODY), keys=[key], at=AT)
    lines = field.split(b"\r\n")
    assert lines.pop() == b""
    assert all(len(line) <= 78 for line in lines)
    assert all(line.startswith(b"\t") for line in lines[1:])
    assert field.isascii()
    assert b"\n" not in field.replace(b"\r\n", b"")


def test_the_header_is_relaxed() -> None:
    # RFC 6376 §3.4.5, with names that are signed.
    fields = relaxed_fields(b"To: X\r\nCC : Y\t\r\n\tZ  \r\nX-Other: n\r\nno field\r\n\r\nSubject: body\r\n")
    assert fields == {b"to": [b"to:X\r\n"], b"cc": [b"cc:Y Z\r\n"]}


# RFC 8463 appendix A
RFC8463_HEADER: Final = (
    b"From: Joe SixPack <joe@football.example.com>\r\n"
    b"To: Suzie Q <suzie@shopping.example.net>\r\n"
    b"Subject: Is dinner ready?\r\n"
    b"Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r\n"
    b"Message-ID: <20030712040037.46341.5F8J@football.example.com>\r\n"
)
RFC8463_BODY: Final = b"Hi.\r\n\r\nWe lost the game.  Are you hungry yet?\r\n\r\nJoe.\r\n"
RFC8463_BODY_HASH: Final = "2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8="
RFC8463_NAMES: Final = (
    b"from", b"to", b"subject", b"date", b"message-id", b"from", b"subject", b"date",
)  # fmt: skip
RFC8463_SIGNATURES: Final = {
    Algorithm.ED25519_SHA256: (
        b"DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;\r\n"
        b" d=football.example.com; i=@football.example.com;\r\n"
        b" q=dns/txt; s=brisbane; t=1528637909; h=from : to :\r\n"
        b" subject : date : message-id : from : subject : date;\r\n"
        b" bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n"
        b" b=",
        "/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11BusFa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==",
    ),
    Algorithm.RSA_SHA256: (
        b"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;\r\n"
        b" d=football.example.com; i=@football.example.com;\r\n"
        b" q=dns/txt; s=test; t=1528637909; h=from : to : subject :\r\n"
        b" date : message-id : from : subject : date;\r\n"
        b" bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n"
        b" b=",
        "F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsge"
        "efOsk2JzdA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8=",
    ),
}
RFC8463_ED25519_SEED: Final = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A="
RFC8463_ED25519_RECORD: Final = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
RFC8463_RSA_PUBLIC: Final = (
    "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3"
    "FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB"
)


def rfc8463_input(algorithm: Algorithm) -> bytes:
    covered = chosen_fields(relaxed_fields(RFC8463_HEADER), RFC8463_NAMES)
    return signing_input(covered, RFC8463_SIGNATURES[algorithm][0])


def test_the_example_of_rfc_8463_has_its_body_hash() -> None:
    assert base64.b64encode(body_hash(RFC8463_BODY)).decode() == RFC8463_BODY_HASH


def test_the_example_of_rfc_8463_gets_the_same_ed25519_signature() -> None:
    private = ed25519.Ed25519PrivateKey.from_private_bytes(base64.b64decode(RFC8463_ED25519_SEED))
    key = SigningKey(Domain("football.example.com"), "brisbane", Algorithm.ED25519_SHA256, private)
    assert key.dns_record() == RFC8463_ED25519_RECORD
    signature = key.sign(rfc8463_input(Algorithm.ED25519_SHA256))
    assert base64.b64encode(signature).decode() == RFC8463_SIGNATURES[Algorithm.ED25519_SHA256][1]


def test_the_rsa_signature_of_rfc_8463_covers_the_same_octets() -> None:
    # Its key has 1024 bits, too few to sign with here; the signature verifies over our input, or raises.
    public = serialization.load_der_public_key(base64.b64decode(RFC8463_RSA_PUBLIC))
    assert isinstance(public, rsa.RSAPublicKey)
    signature = base64.b64decode(RFC8463_SIGNATURES[Algorithm.RSA_SHA256][1])
    public.verify(signature, rfc8463_input(Algorithm.RSA_SHA256), padding.PKCS1v15(), hashes.SHA256())


# --- what others say of it ----------------------------------------------------------------------------------------


def test_the_verifiers_refuse_what_was_changed_or_added(key: SigningKey, verifier: Verifier) -> None:
    good = signed(key)
    changed = [
        good.replace(b"14:00.", b"15:00."),
        good.replace(b"Subject: Afspraak", b"Subject: Uitslag"),
        good.replace(b"Received:", b"From: ander@voorbeeld.test\r\nReceived:"),
        good.replace(b"Received:", b"Subject: Uitslag\r\nReceived:"),
        good.replace(b"Received:", b"Reply-To: ander@voorbeeld.test\r\nReceived:"),
        good.replace(b"Received:", b"Content-Type: text/html\r\nReceived:"),
        good + b"Nog een regel.\r\n",
        good.replace(b"d=voorbeeld.test", b"d=elders.test"),
    ]
    assert all(message != good for message in changed)
    verdicts = verifier.verdicts(*changed, keys=[key])
    assert [verdict == [True] for verdict in verdicts] == [False] * len(changed)


def test_the_verifiers_accept_what_was_signed(key: SigningKey, verifier: Verifier) -> None:
    unharmed = signed(key).replace(b"Received:", b"List-Unsubscribe: <https://lijst.test/>\r\nReceived:")
    assert verifier.verdicts(signed(key), unharmed, keys=[key]) == [[True], [True]]


def test_the_verifiers_accept_both_signatures_on_one_message(verifier: Verifier) -> None:
    keys = [key_for(algorithm) for algorithm in Algorithm]
    message = sign(HEADER, body_hash(BODY), keys=keys, at=AT) + HEADER + b"\r\n" + BODY
    assert verifier.verdicts(message, keys=keys) == [[True, True]]


def test_the_verifiers_accept_odd_bodies_and_headers(verifier: Verifier) -> None:
    chance = random.Random(6376)
    key = key_for(Algorithm.RSA_SHA256)
    crumbs = [b" ", b"\t", b"\r\n", b"a", b".", b"\xc3\xa9", b"=20", b"  \r\n", b"\r\n\r\n"]
    messages = []
    for _ in range(150):
        body = b"".join(chance.choices(crumbs, k=chance.randrange(30)))
        blanks = [chance.choice([b"", b" ", b"\t", b"  ", b"\r\n ", b" \r\n\t "]) for _ in range(3)]
        subject = b"Subject:" + blanks[0] + b"een" + blanks[1] + b"twee" + blanks[2] + b"\r\n"
        to = b"To: ontvanger@example.org\r\n" * chance.randrange(3)
        messages.append(signed(key, HEADER.replace(b"To: ontvanger", to + b"Cc: ontvanger") + subject, body + b"x\r\n"))
    assert verifier.verdicts(*messages, keys=[key]) == [[True]] * len(messages)


def test_the_verifiers_accept_bodies_that_end_in_blank_lines_or_are_empty(key: SigningKey, verifier: Verifier) -> None:
    bodies = [b"", b"\r\n", b"\r\n\r\n", b" \t\r\n", b"a\r\n\r\n \r\n", b"a \t\r\n"]
    messages = [signed(key, body=body) for body in bodies]
    assert verifier.verdicts(*messages, keys=[key]) == [[True]] * len(bodies)


def test_the_verifiers_take_a_key_only_from_its_own_record(key: SigningKey, verifier: Verifier) -> None:
    other = SigningKey.generate(key.domain, key.selector, key.algorithm)
    assert verifier.verdicts(signed(key), keys=[other]) != [[True]]
    assert verifier.verdicts_with({}, signed(key)) != [[True]]
