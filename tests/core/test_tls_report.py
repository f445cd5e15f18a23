"""TLS reports as RFC 8460 has them: what is asked for, what a failure is called, and the report to the letter."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import date
from ipaddress import ip_address
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zegel.core.mail.address import Mailbox
from zegel.core.smtp import dane
from zegel.core.smtp.tls_report import (
    CERTIFICATES,
    HOST_NOT_NAMED,
    LONGEST_REASON,
    MISMATCHES,
    MOST_DESTINATIONS,
    MOST_TOLD,
    NO_STARTTLS,
    NO_TLSA,
    NO_USABLE_TLSA,
    Applied,
    Failure,
    PolicyType,
    Reporter,
    ResultType,
    Session,
    ToMailbox,
    ToUrl,
    as_json,
    by_tlsa,
    destinations,
    of_certificate,
    of_handshake,
    refused_starttls,
    report,
    sts_invalid,
    sts_not_fetched,
    tlsa_not_known,
)

DAY: Final = date(2026, 11, 25)
DOMAIN: Final = "voorbeeld.test"
BY: Final = Reporter("Ziekenhuis Voorbeeld", "postmaster@zegel.test", "zegel.test")
STS: Final = Applied(
    PolicyType.STS,
    DOMAIN,
    ("version: STSv1", "mode: testing", "mx: *.mail.voorbeeld.test", "max_age: 86400"),
    ("*.mail.voorbeeld.test",),
)


# --- who asks for one ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "texts",
    [
        [],
        ["v=spf1 -all"],
        ["v=TLSRPTv1"],
        ["v=TLSRPTv1;"],
        ["v=TLSRPTv2; rua=mailto:tls@voorbeeld.test"],
        ["V=TLSRPTv1; rua=mailto:tls@voorbeeld.test"],
        [" v=TLSRPTv1; rua=mailto:tls@voorbeeld.test"],
        ["rua=mailto:tls@voorbeeld.test; v=TLSRPTv1;"],
        ["v=TLSRPTv1; RUA=mailto:tls@voorbeeld.test"],
        ["v=TLSRPTv1; rua="],
        ["v=TLSRPTv1; rua=,"],
        ["v=TLSRPTv1; rua=mailto:tls@voorbeeld.test,"],
        ["v=TLSRPTv1; rua=mailto:tls@voorbeeld.test!10m"],
        ["v=TLSRPTv1; rua=mailto:een adres@voorbeeld.test"],
        ["v=TLSRPTv1; rua=mailto:tls@voorbeeld.test; what is this"],
        ["v=TLSRPTv1; rua=mailto:tls@voorbeeld.test; a=b=c"],
        ["v=TLSRPTv1; rua=mailto:tls@voorbeeld.test; " + "a" * 33 + "=b"],
        ["v=TLSRPTv1; rua=mailto:tls@voorbeeld.test", "v=TLSRPTv1; rua=mailto:tls@voorbeeld.test"],
        ["v=TLSRPTv1; rua=mailto:tls@voorbeeld.test", "v=TLSRPTv1;"],
        ["v=TLSRPTv1; rua=mailto:tls@voorbeeld.test; a=" + "b" * 5000],
        ["v=TLSRPTv1; rua=mailto:tls%0D%0ABcc:ander@voorbeeld.test"],
        ["v=TLSRPTv1; rua=mailto:tls%FF@voorbeeld.test"],
        ["v=TLSRPTv1; rua=mailto:"],
        ["v=TLSRPTv1; rua=mailto:tls@127.0.0.1"],
        ["v=TLSRPTv1; rua=mailto:een@voorbeeld.test%2Ctwee@voorbeeld.test"],
        ["v=TLSRPTv1; rua=http://voorbeeld.test/"],
        ["v=TLSRPTv1; rua=ftp://voorbeeld.test/"],
        ["v=TLSRPTv1; rua=file:///etc/passwd"],
        ["v=TLSRPTv1; rua=https:"],
        ["v=TLSRPTv1; rua=https:///pad"],
        ["v=TLSRPTv1; rua=https://iemand:geheim@voorbeeld.test/"],
        ["v=TLSRPTv1; rua=https://voorbeeld.test:99999/"],
        ["v=TLSRPTv1; rua=https://voorbeeld.test:0/"],
        ["v=TLSRPTv1; rua=https://127.0.0.1/"],
        ["v=TLSRPTv1; rua=https://[::1]/"],
        ["v=TLSRPTv1; rua=https://[::1/"],
        ["v=TLSRPTv1; rua=https://voorbeeld.test\\@ander.test/"],
    ],
)
def test_what_is_no_single_record_with_an_address_asks_for_nothing(texts: list[str]) -> None:
    assert destinations(texts) == ()


@pytest.mark.parametrize(
    "text",
    [
        "v=TLSRPTv1;rua=mailto:tls@voorbeeld.test",
        "v=TLSRPTv1; rua=mailto:tls@voorbeeld.test;",
        "v=TLSRPTv1 \t; rua=MAILTO:tls@voorbeeld.test ; ",
        "v=TLSRPTv1; x-1.2_3=anything:at-all; rua=mailto:tls@voorbeeld.test",
        "v=TLSRPTv1; rua=mailto:tls%40voorbeeld.test?subject=geen",
        "v=TLSRPTv1; rua=mailto:tls@voorbeeld.test,gopher://voorbeeld.test/",
    ],
)
def test_an_address_may_be_written_in_several_ways(text: str) -> None:
    assert destinations(["v=spf1 -all", text]) == (ToMailbox(Mailbox.parse("tls@voorbeeld.test")),)


def test_mail_and_https_are_kept_in_their_order_and_once() -> None:
    url = "https://rapport.voorbeeld.test:8443/tls?van=zegel"
    text = f"v=TLSRPTv1; rua={url} , mailto:tls@voorbeeld.test,{url};rua=mailto:ander@voorbeeld.test"
    first, second = Mailbox.parse("tls@voorbeeld.test"), Mailbox.parse("ander@voorbeeld.test")
    assert destinations([text]) == (ToUrl(url), ToMailbox(first), ToMailbox(second))


def test_nobody_makes_us_write_to_a_crowd() -> None:
    crowd = ",".join(f"mailto:n{number}@voorbeeld.test" for number in range(50))
    assert len(destinations([f"v=TLSRPTv1; rua={crowd}"])) == MOST_DESTINATIONS


@given(st.text(), st.lists(st.text()))
def test_whatever_a_zone_says_is_harmless(text: str, others: list[str]) -> None:
    for wanted in (
        destinations(others),
        destinations([f"v=TLSRPTv1;{text}"]),
        destinations([f"v=TLSRPTv1;rua={text}"]),
    ):
        for one in wanted:
            written = str(one.mailbox) if isinstance(one, ToMailbox) else one.url
            assert not re.search(r"[\x00-\x20\x7f,]", re.sub(r'^"(.*)"@', "@", written))
            assert isinstance(one, ToMailbox) or one.url[:8].lower() == "https://"


# --- what a failure is called -------------------------------------------------------------------------------------


def test_every_way_to_fail_has_its_name() -> None:
    """And every name that the text has is given to something."""
    named = {
        NO_STARTTLS: "starttls-not-supported",
        refused_starttls(454): "starttls-not-supported",
        of_certificate(62): "certificate-host-mismatch",
        of_certificate(10): "certificate-expired",
        of_certificate(9): "certificate-not-trusted",  # is not valid yet
        of_certificate(18): "certificate-not-trusted",
        of_certificate(20): "certificate-not-trusted",
        of_certificate(999): "certificate-not-trusted",
        of_handshake("WRONG_VERSION_NUMBER"): "validation-failure",
        HOST_NOT_NAMED: "validation-failure",
        MISMATCHES[dane.Mismatch.NO_CERTIFICATE]: "validation-failure",
        MISMATCHES[dane.Mismatch.NO_RECORD_MATCHES]: "tlsa-invalid",
        MISMATCHES[dane.Mismatch.PATH_BROKEN]: "certificate-not-trusted",
        MISMATCHES[dane.Mismatch.NOT_AN_AUTHORITY]: "certificate-not-trusted",
        MISMATCHES[dane.Mismatch.NOT_VALID_NOW]: "certificate-expired",
        MISMATCHES[dane.Mismatch.NAME]: "certificate-host-mismatch",
        NO_USABLE_TLSA: "tlsa-invalid",
        tlsa_not_known("SERVFAIL"): "dnssec-invalid",
        NO_TLSA: "dane-required",
        sts_not_fetched("no-address"): "sts-policy-fetch-error",
        sts_not_fetched("no-certificate", by_certificate=True): "sts-webpki-invalid",
        sts_invalid("no mode"): "sts-policy-invalid",
    }
    assert {failure.result.value for failure in named} == {one.value for one in ResultType}
    for failure, name in named.items():
        assert failure.result.value == name
    assert set(MISMATCHES) == set(dane.Mismatch)


@pytest.mark.parametrize("number", [*CERTIFICATES, 999])
def test_what_openssl_said_is_the_reason(number: int) -> None:
    assert of_certificate(number).reason.startswith("X509_V_ERR")


def test_a_handshake_that_says_nothing_has_a_reason_all_the_same() -> None:
    assert of_handshake("").reason
    assert len(of_handshake("x" * 10_000).reason) == LONGEST_REASON


# --- policies -----------------------------------------------------------------------------------------------------


def test_tlsa_records_are_told_in_the_text_form_that_they_are_read_in() -> None:
    texts = ("3 1 1 " + "ab" * 32, "2 0 2 " + "cd" * 64)
    assert by_tlsa("mx.voorbeeld.test", dane.records(texts)).strings == texts


@given(st.lists(st.text(max_size=3000), max_size=20))
def test_of_a_policy_no_more_is_told_than_there_is_room_for(texts: list[str]) -> None:
    kept = Applied(PolicyType.STS, DOMAIN, tuple(texts), tuple(texts))
    assert kept.strings == kept.hosts == tuple(texts[: len(kept.strings)])
    assert sum(map(len, kept.strings)) <= MOST_TOLD
    assert len(kept.strings) == len(texts) or sum(map(len, texts[: len(kept.strings) + 1])) > MOST_TOLD


# --- the report ---------------------------------------------------------------------------------------------------


def test_a_report_is_that_of_the_text() -> None:
    """The numbers, types and reasons of RFC 8460 appendix B, with our names."""
    expired = Failure(ResultType.CERTIFICATE_EXPIRED)
    reason = Failure(ResultType.VALIDATION_FAILURE, "X509_V_ERR_PROXY_PATH_LENGTH_EXCEEDED")
    counted = [
        (Session(DOMAIN, STS, None, "2001:db8:abcd:12::1", "mx1.mail.voorbeeld.test", "203.0.113.1"), 5000),
        (Session(DOMAIN, STS, None, "2001:db8:abcd:13::1", "mx2.mail.voorbeeld.test", "203.0.113.56"), 326),
        (Session(DOMAIN, STS, expired, "2001:db8:abcd:12::1", "mx1.mail.voorbeeld.test", ""), 100),
        (Session(DOMAIN, STS, NO_STARTTLS, "2001:db8:abcd:13::1", "mx2.mail.voorbeeld.test", "203.0.113.56"), 200),
        (Session(DOMAIN, STS, reason, "198.51.100.62", "mx-backup.mail.voorbeeld.test", "203.0.113.58"), 3),
    ]
    assert report(DOMAIN, DAY, counted, by=BY) == {
        "organization-name": "Ziekenhuis Voorbeeld",
        "date-range": {"start-datetime": "2026-11-25T00:00:00Z", "end-datetime": "2026-11-25T23:59:59Z"},
        "contact-info": "postmaster@zegel.test",
        "report-id": "2026-11-25_voorbeeld.test@zegel.test",
        "policies": [
            {
                "policy": {
                    "policy-type": "sts",
                    "policy-string": list(STS.strings),
                    "policy-domain": "voorbeeld.test",
                    "mx-host": ["*.mail.voorbeeld.test"],
                },
                "summary": {"total-successful-session-count": 5326, "total-failure-session-count": 303},
                "failure-details": [
                    {
                        "result-type": "certificate-expired",
                        "sending-mta-ip": "2001:db8:abcd:12::1",
                        "receiving-mx-hostname": "mx1.mail.voorbeeld.test",
                        "failed-session-count": 100,
                    },
                    {
                        "result-type": "starttls-not-supported",
                        "sending-mta-ip": "2001:db8:abcd:13::1",
                        "receiving-mx-hostname": "mx2.mail.voorbeeld.test",
                        "receiving-ip": "203.0.113.56",
                        "failed-session-count": 200,
                    },
                    {
                        "result-type": "validation-failure",
                        "sending-mta-ip": "198.51.100.62",
                        "receiving-mx-hostname": "mx-backup.mail.voorbeeld.test",
                        "receiving-ip": "203.0.113.58",
                        "failed-session-count": 3,
                        "failure-reason-code": "X509_V_ERR_PROXY_PATH_LENGTH_EXCEEDED",
                    },
                ],
            }
        ],
    }


def test_without_a_policy_neither_strings_nor_hosts_are_told() -> None:
    found = report(DOMAIN, DAY, [(Session(DOMAIN, Applied(PolicyType.NONE, DOMAIN)), 2)], by=BY)
    assert found["policies"] == [
        {
            "policy": {"policy-type": "no-policy-found", "policy-domain": DOMAIN},
            "summary": {"total-successful-session-count": 2, "total-failure-session-count": 0},
        }
    ]


NAMES: Final = st.sampled_from(["voorbeeld.test", "ander.test", "xn--bcher-kva.test"])
HOSTS: Final = st.sampled_from(["", "mx1.voorbeeld.test", "mx2.voorbeeld.test"])
ADDRESSES: Final = st.sampled_from(["", "192.0.2.1", "2001:db8::1"])
POLICIES: Final = st.builds(
    Applied,
    st.sampled_from(PolicyType),
    NAMES,
    st.lists(st.text(max_size=20), max_size=3).map(tuple),
    st.lists(st.sampled_from(["*.voorbeeld.test", "mx1.voorbeeld.test"]), max_size=2).map(tuple),
)
SESSIONS: Final = st.builds(
    Session,
    NAMES,
    POLICIES,
    st.none() | st.builds(Failure, st.sampled_from(ResultType), st.text(max_size=10)),
    ADDRESSES,
    HOSTS,
    ADDRESSES,
)
COUNTED: Final = st.lists(st.tuples(SESSIONS, st.integers(1, 10_000)), max_size=30)

# RFC 8460 §4.4: each name, and whether it may be left out.
REPORT: Final = {
    "organization-name": True,
    "date-range": True,
    "contact-info": True,
    "report-id": True,
    "policies": True,
}
POLICY: Final = {"policy-type": True, "policy-string": False, "policy-domain": True, "mx-host": False}
SUMMARY: Final = {"total-successful-session-count": True, "total-failure-session-count": True}
DETAIL: Final = {
    "result-type": True,
    "sending-mta-ip": False,
    "receiving-mx-hostname": False,
    "receiving-ip": False,
    "failed-session-count": True,
    "failure-reason-code": False,
}


def has_the_names(found: dict[str, Any], names: dict[str, bool]) -> bool:
    return {name for name, is_needed in names.items() if is_needed} <= set(found) <= set(names)


def strings(found: Any) -> Iterator[str]:
    match found:
        case dict():
            for one in found.values():
                yield from strings(one)
        case list():
            for one in found:
                yield from strings(one)
        case str():
            yield found


@given(COUNTED)
def test_a_report_has_the_form_of_the_text_whatever_was_counted(counted: list[tuple[Session, int]]) -> None:
    line = as_json(report(DOMAIN, DAY, counted, by=BY))
    assert line.isascii()
    assert "\n" not in line
    found = json.loads(line)
    assert has_the_names(found, REPORT)
    for one in found["policies"]:
        assert has_the_names(one, {"policy": True, "summary": True, "failure-details": False})
        assert has_the_names(one["policy"], POLICY)
        assert one["policy"]["policy-type"] in {"tlsa", "sts", "no-policy-found"}
        assert has_the_names(one["summary"], SUMMARY)
        details = one.get("failure-details", [])
        assert (
            sum(detail["failed-session-count"] for detail in details) == one["summary"]["total-failure-session-count"]
        )
        for detail in details:
            assert has_the_names(detail, DETAIL)
            assert ResultType(detail["result-type"])
            for name in ("sending-mta-ip", "receiving-ip"):
                assert name not in detail or ip_address(detail[name])
            assert type(detail["failed-session-count"]) is int
    assert "" not in [text for one in found["policies"] for text in strings(one.get("failure-details"))]


@given(COUNTED)
def test_every_session_is_counted_once_and_for_its_own_domain(counted: list[tuple[Session, int]]) -> None:
    total = 0
    for domain in ("voorbeeld.test", "ander.test", "xn--bcher-kva.test"):
        for one in report(domain, DAY, counted, by=BY)["policies"]:
            summary = one["summary"]
            total += summary["total-successful-session-count"] + summary["total-failure-session-count"]
    assert total == sum(count for _, count in counted)


@given(COUNTED, st.randoms())
def test_the_order_of_counting_changes_nothing(counted: list[tuple[Session, int]], random: Any) -> None:
    shuffled = list(counted)
    random.shuffle(shuffled)
    assert as_json(report(DOMAIN, DAY, counted, by=BY)) == as_json(report(DOMAIN, DAY, shuffled, by=BY))


@given(COUNTED)
def test_a_policy_and_a_failure_stand_once(counted: list[tuple[Session, int]]) -> None:
    found = report(DOMAIN, DAY, counted, by=BY)
    policies = [json.dumps(one["policy"]) for one in found["policies"]]
    assert len(set(policies)) == len(policies)
    for one in found["policies"]:
        details = [json.dumps({**each, "failed-session-count": 0}) for each in one.get("failure-details", [])]
        assert len(set(details)) == len(details)
