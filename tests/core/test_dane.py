"""DANE: every server that must be refused, then those that match (RFC 6698, RFC 7671, RFC 7672)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given
from hypothesis import strategies as st

from zegel.core.smtp.dane import Matched, Mismatch, NoMatch, NothingUsable, Tlsa, Verdict, examine, is_for, records

NOW: Final = datetime(2026, 11, 25, 12, tzinfo=UTC)
HOST: Final = "mx.zorg.test"
DOMAIN: Final = "zorg.test"
SERVER: Final = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])


@dataclass(frozen=True, slots=True)
class Made:
    """A certificate with the key it is for."""

    certificate: x509.Certificate
    key: Any

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def spki(self) -> bytes:
        return self.certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def make(
    name: str,
    issuer: Made | None = None,
    *,
    ca: bool = True,
    length: int | None = None,
    sans: Sequence[str] = (),
    key: Any = None,
    begins: int = -10,
    ends: int = 10,
    extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
    constrained: bool = True,
    digest: hashes.SHA224 | hashes.SHA256 | None = None,
) -> Made:
    """Valid between two days counted from now; by itself where no issuer is given."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer = issuer.key if issuer else key
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + timedelta(days=begins))
        .not_valid_after(NOW + timedelta(days=ends))
    )
    if constrained:
        builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=length if ca else None), critical=True)
    if sans:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(one) for one in sans]), False)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    algorithm = None if isinstance(signer, ed25519.Ed25519PrivateKey) else (digest or hashes.SHA256())
    return Made(builder.sign(signer, algorithm), key)


def server(issuer: Made | None = None, *, sans: Sequence[str] = (HOST,), **more: Any) -> Made:
    return make("een server", issuer, ca=False, sans=sans, **more)


def key_usage(**allowed: bool) -> x509.KeyUsage:
    names = ["digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"]
    names += ["key_cert_sign", "crl_sign", "encipher_only", "decipher_only"]
    return x509.KeyUsage(**{name: allowed.get(name, False) for name in names})


ROOT: Final = make("wortel")
MIDDLE: Final = make("midden", ROOT)
LEAF: Final = server(MIDDLE)
OTHER: Final = make("wortel")  # the same name, another key


def tlsa(usage: int, selector: int, matching: int, made: Made) -> Tlsa:
    octets = made.spki if selector == 1 else made.der
    digest: dict[int, Callable[[bytes], bytes]] = {
        0: lambda whole: whole,
        1: lambda whole: hashlib.sha256(whole).digest(),
        2: lambda whole: hashlib.sha512(whole).digest(),
    }
    return Tlsa(usage, selector, matching, digest[matching](octets))


def verdict(chain: Sequence[Made], *tlsas: Tlsa, names: Sequence[str] = (HOST, DOMAIN), at: datetime = NOW) -> Verdict:
    return examine([one.der for one in chain], tlsa=tlsas, names=names, at=at)


def anchored(*chain: Made, by: Made = ROOT, **more: Any) -> Verdict:
    return verdict(chain, tlsa(2, 0, 1, by), **more)


# --- nothing to go by ---------------------------------------------------------------------------------------------

UNUSABLE: Final = [
    Tlsa(0, 0, 1, hashlib.sha256(ROOT.der).digest()),
    Tlsa(1, 0, 1, hashlib.sha256(LEAF.der).digest()),
    Tlsa(4, 0, 1, hashlib.sha256(LEAF.der).digest()),
    Tlsa(3, 2, 1, hashlib.sha256(LEAF.spki).digest()),
    Tlsa(3, 1, 3, hashlib.sha256(LEAF.spki).digest()),
    Tlsa(3, 1, 1, hashlib.sha256(LEAF.spki).digest()[:31]),
    Tlsa(3, 1, 2, hashlib.sha256(LEAF.spki).digest()),
    Tlsa(3, 1, 0, b""),
    Tlsa(255, 255, 255, b"x"),
]


@pytest.mark.parametrize("record", UNUSABLE)
def test_a_record_that_is_not_usable_authenticates_nobody(record: Tlsa) -> None:
    assert not record.is_usable
    assert verdict([LEAF, MIDDLE, ROOT], record) == NothingUsable()


def test_unusable_records_together_are_no_better_and_none_at_all_is_the_same() -> None:
    assert verdict([LEAF, MIDDLE, ROOT], *UNUSABLE) == NothingUsable()
    assert verdict([LEAF]) == NothingUsable()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "3",
        "3 1",
        "3 1 1",
        "3 1 1 zz",
        "3 1 1 abc",
        "x 1 1 ab",
        "3 1 -1 ab",
        "٣ 1 1 ab",
        "3333 1 1 ab",
        "\\# 3 030101",
    ],
)
def test_a_record_that_can_t_be_read_is_there_and_unusable(text: str) -> None:
    (record,) = records([text])
    assert not record.is_usable


def test_beside_a_usable_record_unusable_ones_don_t_count() -> None:
    other = tlsa(3, 1, 1, server())
    assert verdict([LEAF, MIDDLE, ROOT], *UNUSABLE, other) == NoMatch(Mismatch.NO_RECORD_MATCHES)
    right = tlsa(3, 1, 1, LEAF)
    assert verdict([LEAF, MIDDLE, ROOT], *UNUSABLE, other, right) == Matched(right)


# --- another server -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("matching", [0, 1, 2])
@pytest.mark.parametrize("selector", [0, 1])
@pytest.mark.parametrize("usage", [2, 3])
def test_a_record_of_another_certificate_matches_nothing(usage: int, selector: int, matching: int) -> None:
    record = tlsa(usage, selector, matching, server() if usage == 3 else make("vreemd"))
    assert isinstance(verdict([LEAF, MIDDLE, ROOT], record), NoMatch)


def test_a_server_without_a_certificate_matches_nothing() -> None:
    assert verdict([], tlsa(3, 1, 1, LEAF)) == NoMatch(Mismatch.NO_CERTIFICATE)


def test_usage_3_is_about_the_server_s_own_certificate_alone() -> None:
    assert verdict([LEAF, MIDDLE, ROOT], tlsa(3, 0, 1, ROOT)) == NoMatch(Mismatch.NO_RECORD_MATCHES)
    assert verdict([server(), LEAF], tlsa(3, 1, 1, LEAF)) == NoMatch(Mismatch.NO_RECORD_MATCHES)


def test_a_digest_of_the_wrong_part_matches_nothing() -> None:
    swapped = Tlsa(3, 0, 1, hashlib.sha256(LEAF.spki).digest())
    assert verdict([LEAF], swapped) == NoMatch(Mismatch.NO_RECORD_MATCHES)


# --- usage 2: the path --------------------------------------------------------------------------------------------


def test_the_server_s_own_certificate_is_no_anchor_of_itself() -> None:
    alone = make(HOST, ca=True, sans=[HOST])
    assert verdict([alone], tlsa(2, 0, 1, alone)) == NoMatch(Mismatch.NO_RECORD_MATCHES)


def test_an_anchor_that_is_not_in_the_chain_and_only_known_by_its_digest_is_none() -> None:
    assert anchored(LEAF, MIDDLE) == NoMatch(Mismatch.NO_RECORD_MATCHES)
    assert verdict([LEAF, MIDDLE], tlsa(2, 1, 0, ROOT)) == NoMatch(Mismatch.NO_RECORD_MATCHES)


def test_an_anchor_that_issued_nothing_of_the_chain_proves_nothing() -> None:
    assert anchored(LEAF, MIDDLE, OTHER, by=OTHER) == NoMatch(Mismatch.PATH_BROKEN)
    assert anchored(server(), MIDDLE, ROOT) == NoMatch(Mismatch.PATH_BROKEN)


def test_a_chain_with_a_gap_leads_nowhere() -> None:
    assert anchored(LEAF, ROOT) == NoMatch(Mismatch.PATH_BROKEN)


def test_the_anchor_s_name_without_its_signature_is_not_enough() -> None:
    forged = server(Made(MIDDLE.certificate, ec.generate_private_key(ec.SECP256R1())))
    assert anchored(forged, MIDDLE, ROOT) == NoMatch(Mismatch.PATH_BROKEN)


def test_a_spoilt_signature_breaks_the_path() -> None:
    octets = bytearray(LEAF.der)
    octets[-1] ^= 1
    found = examine([bytes(octets), MIDDLE.der, ROOT.der], tlsa=[tlsa(2, 0, 1, ROOT)], names=[HOST], at=NOW)
    assert found == NoMatch(Mismatch.PATH_BROKEN)


@pytest.mark.parametrize("when", [{"ends": -1}, {"begins": 1}])
def test_nothing_on_the_path_may_be_expired_or_early(when: dict[str, Any]) -> None:
    wrong = NoMatch(Mismatch.NOT_VALID_NOW)
    assert anchored(server(MIDDLE, **when), MIDDLE, ROOT) == wrong
    middle = make("midden", ROOT, **when)
    assert anchored(server(middle), middle, ROOT) == wrong
    root = make("wortel", **when)
    middle = make("midden", root)
    assert anchored(server(middle), middle, root, by=root) == wrong


def test_the_time_is_that_of_the_connection() -> None:
    assert anchored(LEAF, MIDDLE, ROOT, at=NOW + timedelta(days=11)) == NoMatch(Mismatch.NOT_VALID_NOW)
    assert isinstance(anchored(LEAF, MIDDLE, ROOT, at=NOW + timedelta(days=9)), Matched)


@pytest.mark.parametrize(
    "fields",
    [
        {"ca": False},
        {"constrained": False},
        {"extensions": [(key_usage(digital_signature=True), True)]},
        {"extensions": [(key_usage(crl_sign=True), False)]},
        {"extensions": [(x509.NameConstraints([x509.DNSName("test")], None), True)]},
        {"extensions": [(x509.NameConstraints(None, [x509.DNSName("ander.test")]), False)]},
        {"extensions": [(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True)]},
    ],
)
def test_who_may_not_issue_certificates_is_no_step_on_the_path(fields: dict[str, Any]) -> None:
    middle = make("midden", ROOT, **fields)
    assert anchored(server(middle), middle, ROOT) == NoMatch(Mismatch.NOT_AN_AUTHORITY)
    assert anchored(server(middle), middle, by=middle) == NoMatch(Mismatch.NOT_AN_AUTHORITY)


def test_a_path_longer_than_an_authority_allows_is_none() -> None:
    root = make("wortel", length=0)
    middle = make("midden", root)
    assert anchored(server(middle), middle, root, by=root) == NoMatch(Mismatch.NOT_AN_AUTHORITY)
    assert isinstance(anchored(server(root), root, by=root), Matched)


def test_another_server_s_certificate_issues_nothing() -> None:
    """A customer of the same authority must not become one."""
    customer = server(ROOT, sans=["mx.ander.test"])
    assert anchored(server(customer), customer, ROOT) == NoMatch(Mismatch.NOT_AN_AUTHORITY)


def test_weak_keys_and_signatures_are_no_step_on_the_path() -> None:
    small = make("klein", key=rsa.generate_private_key(65537, 1024))
    assert anchored(server(small), small, by=small) == NoMatch(Mismatch.NOT_AN_AUTHORITY)
    old = server(ROOT, digest=hashes.SHA224())
    assert anchored(old, ROOT) == NoMatch(Mismatch.NOT_AN_AUTHORITY)


# --- usage 2: the name --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sans",
    [
        ["mx.ander.test"],
        ["*.mx.zorg.test"],
        ["m*.zorg.test"],
        ["mx.zorg.test.ander.test"],
        ["*.*.test"],
        ["*"],
    ],
)
def test_a_certificate_for_another_name_is_another_server_s(sans: list[str]) -> None:
    assert anchored(server(ROOT, sans=sans), ROOT) == NoMatch(Mismatch.NAME)


def test_the_common_name_doesn_t_count_beside_host_names() -> None:
    leaf = make(HOST, ROOT, ca=False, sans=["mx.ander.test"])
    assert anchored(leaf, ROOT) == NoMatch(Mismatch.NAME)


def test_a_certificate_without_any_name_is_nobody_s() -> None:
    assert anchored(server(ROOT, sans=[]), ROOT) == NoMatch(Mismatch.NAME)


@pytest.mark.parametrize(
    "extension",
    [
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False),
        (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True),
    ],
)
def test_a_certificate_that_is_not_for_servers_is_none_of_a_server(extension: tuple[x509.ExtensionType, bool]) -> None:
    assert anchored(server(ROOT, extensions=[extension]), ROOT) == NoMatch(Mismatch.NAME)


# --- hostile ------------------------------------------------------------------------------------------------------


@given(st.lists(st.binary(max_size=40), max_size=4))
def test_whatever_a_server_shows_is_looked_at_without_an_error(chain: list[bytes]) -> None:
    found = examine(chain, tlsa=[tlsa(3, 1, 1, LEAF), tlsa(2, 1, 1, ROOT)], names=[HOST], at=NOW)
    assert isinstance(found, NoMatch)


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_changed_octet_anywhere_never_makes_another_certificate_match(place: int, change: int) -> None:
    octets = bytearray(LEAF.der)
    octets[place % len(octets)] ^= change
    chain = [bytes(octets), MIDDLE.der, ROOT.der]
    found = examine(chain, tlsa=[tlsa(2, 0, 1, ROOT)], names=[HOST], at=NOW)
    assert isinstance(found, NoMatch) or says_the_same(chain[0], LEAF)
    assert isinstance(examine(chain, tlsa=[tlsa(3, 0, 1, LEAF)], names=[HOST], at=NOW), NoMatch)


def says_the_same(certificate: bytes, made: Made) -> bool:
    """What is signed is the same. How a signature is written is not signed: its last bit may be called unused."""
    said = x509.load_der_x509_certificate(certificate)
    return said.tbs_certificate_bytes == made.certificate.tbs_certificate_bytes


def test_certificates_that_all_issue_each_other_end_the_search() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    ring = [make("kring", key=key) for _ in range(30)]
    assert anchored(server(ring[0]), *ring, OTHER, by=OTHER) == NoMatch(Mismatch.NO_RECORD_MATCHES)
    assert anchored(server(ring[0]), *ring[:8], OTHER, by=OTHER) == NoMatch(Mismatch.PATH_BROKEN)


# --- matched ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("matching", [0, 1, 2])
@pytest.mark.parametrize("selector", [0, 1])
def test_usage_3_needs_nothing_but_the_record(selector: int, matching: int) -> None:
    """Neither a name nor a term (RFC 7672 §3.1.1)."""
    nameless = server(sans=[], begins=-20, ends=-10)
    record = tlsa(3, selector, matching, nameless)
    assert verdict([nameless], record, names=[]) == Matched(record)


@pytest.mark.parametrize("matching", [0, 1, 2])
@pytest.mark.parametrize("selector", [0, 1])
@pytest.mark.parametrize("anchor", [ROOT, MIDDLE])
def test_usage_2_leads_from_the_server_to_the_anchor(anchor: Made, selector: int, matching: int) -> None:
    record = tlsa(2, selector, matching, anchor)
    assert verdict([LEAF, MIDDLE, ROOT], record) == Matched(record)


def test_a_chain_in_disorder_and_with_strangers_still_leads_there() -> None:
    record = tlsa(2, 0, 1, ROOT)
    assert verdict([LEAF, OTHER, ROOT, server(), MIDDLE], record) == Matched(record)


def test_an_expired_twin_of_an_authority_is_passed_over() -> None:
    twin = make("midden", ROOT, key=MIDDLE.key, ends=-1)
    assert isinstance(anchored(LEAF, twin, MIDDLE, ROOT), Matched)


def test_of_several_reasons_the_nearest_to_a_match_is_told() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    expired, lowly = make("midden", ROOT, key=key, ends=-1), make("midden", ROOT, key=key, ca=False)
    leaf = server(expired)
    assert anchored(leaf, expired, lowly, ROOT) == anchored(leaf, lowly, expired, ROOT)
    assert anchored(leaf, expired, lowly, ROOT) == NoMatch(Mismatch.NOT_VALID_NOW)


def test_an_anchor_that_stands_in_the_record_as_a_whole_need_not_be_sent() -> None:
    record = tlsa(2, 0, 0, ROOT)
    assert verdict([LEAF, MIDDLE], record) == Matched(record)
    assert isinstance(verdict([server(OTHER)], record), NoMatch)


@pytest.mark.parametrize(
    "sans", [["mx.zorg.test"], ["MX.Zorg.Test"], ["*.zorg.test"], ["zorg.test"], ["x.test", "mx.zorg.test"]]
)
def test_the_host_or_the_domain_in_the_certificate_will_do(sans: list[str]) -> None:
    assert isinstance(anchored(server(ROOT, sans=sans, extensions=[(SERVER, False)]), ROOT), Matched)


def test_the_common_name_counts_where_there_are_no_host_names() -> None:
    assert isinstance(anchored(make(HOST, ROOT, ca=False), ROOT), Matched)


def test_keys_of_every_kind_make_a_path() -> None:
    for key in (rsa.generate_private_key(65537, 2048), ed25519.Ed25519PrivateKey.generate()):
        root = make("wortel", key=key, extensions=[(key_usage(key_cert_sign=True), True)])
        assert isinstance(anchored(server(root), root, by=root), Matched)


def test_of_two_records_one_that_matches_is_enough() -> None:
    """A roll-over: the next certificate's record is published beside this one's (RFC 7671 §8.1)."""
    this, following = tlsa(3, 1, 1, LEAF), tlsa(3, 1, 1, server())
    assert verdict([LEAF], following, this) == Matched(this)
    assert verdict([LEAF, MIDDLE, ROOT], following, tlsa(2, 1, 1, ROOT)) == Matched(tlsa(2, 1, 1, ROOT))


def test_records_are_read_as_resolvers_write_them() -> None:
    digest = hashlib.sha256(LEAF.spki).hexdigest()
    assert records([f"3 1 1 {digest}", f"3 1 1 {digest[:20].upper()} {digest[20:]}"]) == (tlsa(3, 1, 1, LEAF),) * 2


@pytest.mark.parametrize(
    ("pattern", "name", "fits"),
    [
        ("mx.zorg.test", "mx.zorg.test.", True),
        ("*.zorg.test", "a.zorg.test", True),
        ("*.zorg.test", "a.b.zorg.test", False),
        ("*.zorg.test", "zorg.test", False),
        ("*.zorg.test", ".zorg.test", False),
        ("", "", False),
        ("*.", "x", False),
    ],
)
def test_a_wildcard_is_one_whole_label(pattern: str, name: str, fits: bool) -> None:
    assert is_for(pattern, name) is fits
