"""The DKIM verifier beside two that share no code with it, dkimpy and libopendkim: it accepts what they sign, and
where its verdicts differ from theirs it is said why."""

from __future__ import annotations

import base64
import json
import random
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.core.dkim_by_the_letter import PAIRS, Draft, private_key, record_of, verdicts
from tests.core.test_dkim_verify import (
    ALGORITHMS,
    BODY,
    HEADER,
    KEY_NAME,
    KEYS,
    NO_KEYS,
    NO_TAG_LISTS,
    NOT_ACCEPTABLE,
    WAYS,
    draft,
    listed,
    signed,
)
from tests.needs import needs
from zegel.core.mail.dkim_verify import Verdict
from zegel.core.mail.fields import BrokenHeader

SYSTEM_PYTHON: Final = "/usr/bin/python3"

# Each reads one question a line and writes one answer a line.
DKIMPY: Final = """
import base64, json, sys
import dkim

def sign(message, key, algorithm, header, body, names):
    signer = dkim.DKIM(message, signature_algorithm=algorithm.encode())
    signer.should_not_sign = set()
    found = signer.sign(b"zegel", b"voorbeeld.test", key, canonicalize=(header.encode(), body.encode()),
        include_headers=[name.encode() for name in names] if names else None)
    return base64.b64encode(found).decode()

def verify(message, record):
    try:
        return bool(dkim.DKIM(message).verify(dnsfunc=lambda name, timeout=5: record.encode()))
    except Exception:
        return False
"""

LIBOPENDKIM: Final = """
import base64, ctypes, json, sys, tempfile
lib = ctypes.CDLL("libopendkim.so.11")
pointer, text, size = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t
for name, result, arguments in (
    ("dkim_init", pointer, [pointer, pointer]),
    ("dkim_options", ctypes.c_int, [pointer, ctypes.c_int, ctypes.c_int, pointer, size]),
    ("dkim_sign", pointer, [pointer, text, pointer, text, text, text, ctypes.c_int, ctypes.c_int, ctypes.c_int,
        ctypes.c_ssize_t, pointer]),
    ("dkim_verify", pointer, [pointer, text, pointer, pointer]),
    ("dkim_chunk", ctypes.c_int, [pointer, text, size]),
    ("dkim_eom", ctypes.c_int, [pointer, pointer]),
    ("dkim_getsighdr_d", ctypes.c_int, [pointer, size, pointer, pointer]),
    ("dkim_free", ctypes.c_int, [pointer]),
    ("dkim_close", None, [pointer]),
    ("dkim_getsiglist", ctypes.c_int, [pointer, pointer, pointer]),
    ("dkim_sig_getflags", ctypes.c_uint, [pointer]),
    ("dkim_sig_getbh", ctypes.c_int, [pointer]),
    ("dkim_sig_process", ctypes.c_int, [pointer, pointer]),
):
    function = getattr(lib, name)
    function.restype, function.argtypes = result, arguments

def feed(dkim, message):
    return [lib.dkim_chunk(dkim, message, len(message)), lib.dkim_chunk(dkim, None, 0), lib.dkim_eom(dkim, None)]

def sign(message, key, algorithm, header, body, names):
    canonicalisations, algorithms = {"simple": 0, "relaxed": 1}, {"rsa-sha256": 1, "ed25519-sha256": 2}
    handle, status = lib.dkim_init(None, None), ctypes.c_int(0)
    dkim = lib.dkim_sign(handle, b"test", None, key, b"zegel", b"voorbeeld.test", canonicalisations[header],
        canonicalisations[body], algorithms[algorithm], -1, ctypes.byref(status))
    answers = feed(dkim, message)
    found, length = ctypes.c_char_p(), ctypes.c_size_t(0)
    answers.append(lib.dkim_getsighdr_d(dkim, 16, ctypes.byref(found), ctypes.byref(length)))
    assert answers == [0, 0, 0, 0], answers
    field = b"DKIM-Signature: " + found.value + b"\\r\\n"
    lib.dkim_free(dkim)
    lib.dkim_close(handle)
    return base64.b64encode(field).decode()

def verify(message, record):
    handle, status = lib.dkim_init(None, None), ctypes.c_int(0)
    with tempfile.NamedTemporaryFile("w", suffix=".keys", encoding="utf-8") as keys:
        keys.write("zegel._domainkey.voorbeeld.test " + record + "\\n")
        keys.flush()
        method, path = ctypes.c_int(1), ctypes.create_string_buffer(keys.name.encode())  # DKIM_QUERY_FILE
        lib.dkim_options(handle, 1, 6, ctypes.byref(method), ctypes.sizeof(method))  # DKIM_OPTS_QUERYMETHOD
        lib.dkim_options(handle, 1, 7, path, len(keys.name))  # DKIM_OPTS_QUERYINFO
        dkim = lib.dkim_verify(handle, b"test", None, ctypes.byref(status))
        answers = feed(dkim, message)
        found, count = ctypes.POINTER(ctypes.c_void_p)(), ctypes.c_int(0)
        lib.dkim_getsiglist(dkim, ctypes.byref(found), ctypes.byref(count))
        valid = answers == [0, 0, 0] and count.value == 1
        if valid:
            lib.dkim_sig_process(dkim, found[0])
            passed = bool(lib.dkim_sig_getflags(found[0]) & 0x02)  # DKIM_SIGFLAG_PASSED
            valid = passed and lib.dkim_sig_getbh(found[0]) == 0  # DKIM_SIGBH_MATCH
        lib.dkim_free(dkim)
    lib.dkim_close(handle)
    return valid
"""

SERVE: Final = """
for line in sys.stdin:
    question = json.loads(line)
    verb = question.pop("verb")
    for octets in ("message", "key"):
        if octets in question:
            question[octets] = base64.b64decode(question[octets])
    print(json.dumps({"sign": sign, "verify": verify}[verb](**question)), flush=True)
"""

PEERS: Final = {"dkimpy": (DKIMPY, "python3-dkim"), "libopendkim": (LIBOPENDKIM, "opendkim-tools")}


@dataclass(frozen=True)
class DkimPeer:
    """One of the two, in a process of its own."""

    name: str
    process: subprocess.Popen[str]

    def _ask(self, verb: str, **question: Any) -> Any:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps({"verb": verb, **question}) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def sign(self, message: bytes, algorithm: str, pair: tuple[str, str], names: list[str]) -> bytes:
        """The ``DKIM-Signature`` field. ``names``: what to cover; dkimpy only, and without it what it likes."""
        field: str = self._ask(
            "sign",
            message=_armoured(message),
            key=_armoured(self._key(algorithm)),
            algorithm=algorithm,
            header=pair[0],
            body=pair[1],
            names=names,
        )
        return base64.b64decode(field)

    def accepts(self, message: bytes, record: str) -> bool:
        """Whether the only signature of the message is valid, with that key record."""
        return bool(self._ask("verify", message=_armoured(message), record=record))

    def _key(self, algorithm: str) -> bytes:
        private = private_key(algorithm)
        if isinstance(private, rsa.RSAPrivateKey):
            return private.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        if self.name == "dkimpy":
            return base64.b64encode(private.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption()))
        return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _armoured(octets: bytes) -> str:
    return base64.b64encode(octets).decode()


@pytest.fixture(params=sorted(PEERS), scope="module")
def peer(request: pytest.FixtureRequest) -> Iterator[DkimPeer]:
    script, package = PEERS[request.param]
    needs(package)
    command = [SYSTEM_PYTHON, "-c", script + SERVE]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield DkimPeer(request.param, process)
        assert process.stdin is not None
        process.stdin.close()  # it ends with its last line
        assert process.wait(timeout=30) == 0


def judged(message: bytes, record: str) -> list[Verdict]:
    return [verdict for _, verdict in verdicts(message, {KEY_NAME: record}, now=datetime.now(UTC))]


# --- what they sign --------------------------------------------------------------------------------------------------

blanks = st.sampled_from(["", " ", "\t", "  ", "\r\n ", " \r\n\t "])
words = st.sampled_from(["a", "Balie", "é", ";", "=", ":", "b=", "=20", "v=1; b=x"])
values = st.lists(st.tuples(blanks, words).map("".join), min_size=1, max_size=6).map("".join)
names = st.sampled_from(["To", "TO", "Cc", "Subject", "subject", "X-Other", "Received", "Reply-To"])
odd_fields = st.lists(st.tuples(names, values).map(lambda one: f"{one[0]}:{one[1]}\r\n".encode()), max_size=6)
lines = st.lists(st.sampled_from([" ", "\t", "  ", "a", ".", "é", "=20"])).map("".join)
bodies = st.lists(lines, max_size=8).map(lambda found: "".join(f"{line}\r\n" for line in found).encode())
covered = st.lists(st.sampled_from(["to", "cc", "subject", "from", "x-other", "received", "reply-to", "date"]))


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(ALGORITHMS),
    st.sampled_from(PAIRS),
    odd_fields,
    odd_fields,
    bodies,
    covered,
    st.lists(st.integers(0, 60)),
)
def test_what_another_program_signs_verifies_here_however_it_arrives(
    peer: DkimPeer,
    algorithm: str,
    pair: tuple[str, str],
    above: list[bytes],
    below: list[bytes],
    body: bytes,
    more: list[str],
    cuts: list[int],
) -> None:
    if peer.name == "libopendkim" and algorithm == "ed25519-sha256":
        pair = ("relaxed", pair[1])  # its own verifier doesn't accept the short signatures that it folds in simple form
    message = b"".join([*above, b"From: balie@voorbeeld.test\r\n", *below]) + b"\r\n" + body
    field, record = peer.sign(message, algorithm, pair, ["from", *more]), record_of(private_key(algorithm))
    assert f"c={'/'.join(pair)};".encode() in field
    found = verdicts(field + message, {KEY_NAME: record}, now=datetime.now(UTC), cuts=cuts)
    assert found == [("voorbeeld.test", Verdict.VALID)]


# --- what they refuse ------------------------------------------------------------------------------------------------

# What may be accepted here though a peer refuses it, each with the form that the peer doesn't know.
EXPLAINED: Final[Mapping[str, tuple[re.Pattern[bytes], ...]]] = {
    "dkimpy": (
        re.compile(rb"[:;\s]b\s*=[^;]*\s;"),  # the white space behind the signature is taken out, RFC 6376 §3.7
        re.compile(rb"; q=[^;]*:"),  # q= is a list, RFC 6376 §3.5
        re.compile(rb"; i=[^;]*(?:=2E| )"),  # i= is quoted-printable, RFC 6376 §2.11
    ),
    "libopendkim": (
        re.compile(rb"[:;\s]b\s+="),  # white space may stand before "=", RFC 6376 §3.2
        re.compile(rb"(?s)\ADKIM.*[\x80-\xff].*\r\nReceived"),  # UTF-8 in a tag, RFC 8616 §5
        re.compile(rb"(?m)^[!-9<-~]*;[!-9<-~]*:"),  # a field name with a semicolon, RFC 5322 §2.2; it can't be signed
    ),
}
EXPLAINED_RECORDS: Final[Mapping[str, tuple[re.Pattern[str], ...]]] = {
    "dkimpy": (re.compile("s=[^;]*:"),),  # s= is a list, RFC 6376 §3.6.1
    "libopendkim": (re.compile("n=[^;]*é"),),  # notes are for people
}


def is_explained(peer: DkimPeer, message: bytes) -> bool:
    header = message.partition(b"\r\n\r\n")[0]
    return any(form.search(header) for form in EXPLAINED[peer.name])


@pytest.mark.parametrize(
    "one",
    [
        *WAYS,
        *(draft(tags) for tags in NO_TAG_LISTS),
        *(draft(listed(**{tag: value})) for tag, values in NOT_ACCEPTABLE.items() for value in values),
    ],
    ids=lambda one: repr(one.tags),
)
def test_a_form_that_another_program_refuses_is_refused_here(peer: DkimPeer, one: Draft) -> None:
    message, record = signed(one), record_of(private_key("ed25519-sha256"))
    if not peer.accepts(message, record) and not is_explained(peer, message):
        assert judged(message, record) != [Verdict.VALID]


RECORDS: Final = [record for record in [*KEYS, *NO_KEYS] if "\n" not in record]


@pytest.mark.parametrize("record", RECORDS, ids=range(len(RECORDS)))
def test_a_key_record_that_another_program_refuses_is_refused_here(peer: DkimPeer, record: str) -> None:
    message = signed(draft())
    explained = any(form.search(record) for form in EXPLAINED_RECORDS[peer.name])
    if not peer.accepts(message, record) and not explained:
        assert judged(message, record) != [Verdict.VALID]


CRUMBS: Final = [*[b" ", b"\t", b"\r\n "] * 4, b";", b"=", b":", b"a", b"A", b"1", b"x=1;", b"q=dns/txt;", b"\xc3\xa9"]


def changed(message: bytes, chance: random.Random, end: int) -> bytes:
    """One crumb put in, put over an octet, or an octet less, somewhere before ``end``."""
    place = chance.randrange(len(b"DKIM-Signature:"), end)
    kind = chance.choice(["in", "over", "less"])
    crumb = b"" if kind == "less" else chance.choice(CRUMBS)
    return message[:place] + crumb + message[place + (kind != "in") :]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("pair", PAIRS, ids="/".join)
def test_a_changed_message_that_another_program_refuses_is_refused_here(
    peer: DkimPeer, algorithm: str, pair: tuple[str, str]
) -> None:
    chance, record = random.Random(6376), record_of(private_key(algorithm))
    tags = listed(a=algorithm, c="/".join(pair), i="@voorbeeld.test", q="dns/txt", h="from : to:subject")
    field = draft(tags, algorithm=algorithm, header=pair[0], body=pair[1], fold_every=70).sign(HEADER, BODY)
    message = field + HEADER + b"\r\n" + BODY
    accepted = 0
    for number in range(400):
        other = changed(message, chance, len(field) - 2 if number % 2 else len(message))
        try:
            valid = judged(other, record) == [Verdict.VALID]
        except BrokenHeader:
            continue  # refused before its signatures are looked at
        if valid:
            accepted += 1
            assert peer.accepts(other, record) or is_explained(peer, other)
    assert accepted  # what is forgiven was among them
