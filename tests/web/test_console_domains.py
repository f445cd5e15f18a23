"""The administrator's pages about sending domains: whose they are, what they show, and what a press does."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Final

import pytest
from django.conf import settings
from django.test import Client
from django.utils import timezone

from tests.peers.site import names
from tests.web.conftest import PASSWORD, SECRET, signed_in
from zegel.accounts import domains
from zegel.accounts.models import Account, AuditEntry, DkimPair, Organisation, SendingDomain
from zegel.accounts.sign_in import enrol_totp
from zegel.core.mail.address import Domain
from zegel.core.seal.wrap import SealingKey
from zegel.edge.keyring import submission_keys

pytestmark = pytest.mark.django_db(transaction=True)

NAME: Final = "voorbeeld.test"
LIST: Final = "/console/domains/"


def sealing() -> SealingKey:
    return submission_keys(settings.ZEGEL.keys).sealing


@pytest.fixture
def client(administrator: Account) -> Client:
    return signed_in(administrator, "en")


@pytest.fixture
def domain(organisation: Organisation) -> SendingDomain:
    return domains.add(organisation, Domain(NAME), sealing=sealing())


def page(of: SendingDomain, act: str = "") -> str:
    return f"{LIST}{of.pk}/{act}"


def text(answer: object) -> str:
    assert getattr(answer, "status_code", 0) in (200, 409), answer
    return " ".join(answer.content.decode().split())  # type: ignore[attr-defined]


def version(client: Client, address: str) -> str:
    found = re.search(r'name="version" value="([^"]+)"', client.get(address).content.decode())
    assert found is not None
    return found[1]


def published(of: SendingDomain, *lacks: str) -> dict[tuple[str, str], list[str]]:
    wanted = domains.records(of, settings.ZEGEL.hostname)
    return {(one.name, one.kind): [one.value] for one in wanted if one.purpose not in lacks}


@contextmanager
def dns(zone: Mapping[tuple[str, str], list[str]], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with names(dict(zone)) as port, monkeypatch.context() as patched:
        delivery = settings.ZEGEL.delivery.model_copy(update={"resolver": f"127.0.0.1:{port}"})
        patched.setattr(settings, "ZEGEL", settings.ZEGEL.model_copy(update={"delivery": delivery}))
        yield


def notes() -> list[str]:
    return list(AuditEntry.objects.filter(act__startswith="d").order_by("id").values_list("act", flat=True))


# --- bad input ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("", "Domain: fill in the domain that you send for, such as example.org."),
        ("geen domein", "Domain: “geen domein” is not a domain name. Write it like example.org."),
        ("balie@voorbeeld.test", "Domain: “balie@voorbeeld.test” is not a domain name. Write it like example.org."),
        ("192.0.2.1", "Domain: “192.0.2.1” is not a domain name. Write it like example.org."),
        (f"{'a' * 60}.{'b' * 60}.{'c' * 60}.{'d' * 60}.test", "Domain: it is too long to put records before it."),
        ("x" * 300, "Domain: that is too long to be a domain. Write it like example.org."),
        (NAME, "Domain: it is one of your sending domains already."),
        (f" {NAME.upper()}. ", "Domain: it is one of your sending domains already."),
    ],
)
def test_what_is_no_domain_is_answered_with_the_field_the_reason_and_an_example(
    client: Client, domain: SendingDomain, given: str, said: str
) -> None:
    assert said in text(client.post(f"{LIST}add/", {"domain": given}))
    assert SendingDomain.objects.count() == 1


def test_claims_without_end_are_refused(client: Client, organisation: Organisation) -> None:
    for number in range(domains.MOST_CLAIMS):
        SendingDomain.objects.create(organisation=organisation, name=f"d{number}.test", dkim_key=b"")
    said = text(client.post(f"{LIST}add/", {"domain": NAME}))
    assert f"There are {domains.MOST_CLAIMS} domains already whose records are not in place." in said


# --- what others have --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("in_place", [True, False])
def test_who_claims_a_domain_can_not_tell_whether_another_has_it(
    client: Client, other_administrator: Account, *, in_place: bool
) -> None:
    """The answer is the same, and so is the page that follows, but for keys and tokens."""
    theirs = other_administrator.organisation
    assert theirs is not None
    taken = domains.add(theirs, Domain(NAME), sealing=sealing())
    SendingDomain.objects.filter(pk=taken.pk).update(in_place=in_place)
    seen = []
    for name in (NAME, "vrijdomei.test"):
        answer = client.post(f"{LIST}add/", {"domain": name})
        assert answer.status_code == 302
        added = SendingDomain.objects.get(name=name, organisation__name="Gemeente Voorbeeld")
        body = client.get(page(added)).content.decode()
        for of_it, word in ((name, "NAME"), (added.ownership_token, "TOKEN"), (f"/{added.pk}/", "/PK/")):
            body = body.replace(of_it, word)
        seen.append(re.sub(r'p=[\w+/=]+|value="[\w-]{32,}"', "", body))
    assert seen[0] == seen[1]


@pytest.mark.parametrize("act", ["", "check/", "renew-dkim/", "end-previous-dkim/", "remove/"])
def test_a_domain_of_another_organisation_is_not_there(
    domain: SendingDomain, other_administrator: Account, act: str
) -> None:
    client = signed_in(other_administrator)
    for address in (page(domain, act), f"{LIST}999999/{act}"):
        assert client.post(address).status_code in (404, 405)
        assert client.get(address).status_code in (404, 405)
    assert SendingDomain.objects.filter(pk=domain.pk, tried_at=None).exists() and not DkimPair.objects.exists()


def test_who_may_do_other_things_may_not_do_this(organisation: Organisation, domain: SendingDomain) -> None:
    helper = Account.objects.create_user("help@voorbeeld.test", PASSWORD, organisation=organisation, role="support")
    enrol_totp(helper, SECRET)
    client = signed_in(helper)
    for act in ("", "check/", "renew-dkim/", "remove/"):
        assert client.post(page(domain, act)).status_code in (403, 405)
        assert client.get(page(domain, act)).status_code in (403, 405)


# --- checked -----------------------------------------------------------------------------------------------------


def test_a_check_says_what_was_found_and_what_was_expected(
    client: Client, domain: SendingDomain, monkeypatch: pytest.MonkeyPatch
) -> None:
    doubled = f"{settings.ZEGEL.hostname}.{NAME}."
    zone = published(domain, "dkim") | {(f"zegel-bounce.{NAME}", "CNAME"): [doubled]}
    with dns(zone, monkeypatch):
        said = text(client.post(page(domain, "check/"), follow=True))
    assert "Not all that is needed was found." in said
    assert "write a dot at the end of the value" in said and doubled in said
    assert "may not send yet" in said and notes() == ["domain-added"]
    with dns(published(domain), monkeypatch):
        said = text(client.post(page(domain, "check/"), follow=True))
    assert "All that is needed was found: mail of this domain is accepted." in said
    domain.refresh_from_db()
    assert domain.in_place and notes() == ["domain-added", "domain-in-place"]


def test_name_servers_that_do_not_answer_change_nothing_and_keep_nobody(
    client: Client, domain: SendingDomain, monkeypatch: pytest.MonkeyPatch
) -> None:
    delivery = settings.ZEGEL.delivery.model_copy(update={"resolver": "127.0.0.1:9"})
    monkeypatch.setattr(settings, "ZEGEL", settings.ZEGEL.model_copy(update={"delivery": delivery}))
    SendingDomain.objects.update(in_place=True, proved_at=timezone.now())
    said = text(client.post(page(domain, "check/"), follow=True))
    assert "The name servers gave no usable answer, so nothing was changed." in said
    assert "gave no usable answer about some records" in said and "not known now" in said
    domain.refresh_from_db()
    assert domain.in_place and domain.checked_at is None


def test_what_a_stranger_publishes_is_shown_as_text(
    client: Client, domain: SendingDomain, monkeypatch: pytest.MonkeyPatch
) -> None:
    zone = published(domain, "ownership") | {(f"_zegel.{NAME}", "TXT"): ["<script>alert(1)</script>"]}
    with dns(zone, monkeypatch):
        said = text(client.post(page(domain, "check/"), follow=True))
    assert "&lt;script&gt;alert(1)" in said and "<script>alert" not in said


def test_what_follows_is_said_with_its_moment(client: Client, domain: SendingDomain) -> None:
    since = timezone.now() - timedelta(hours=2)
    SendingDomain.objects.update(in_place=True, proved_at=since, missing_since=since, checked_at=since)
    for address in (page(domain), LIST):
        assert "mail of this domain is refused from" in text(client.get(page(domain)))
        assert "may send, for now" in text(client.get(address))
    SendingDomain.objects.update(in_place=False)
    assert "is refused until the needed records are back" in text(client.get(page(domain)))
    SendingDomain.objects.update(missing_since=None)
    assert "another organisation on this gateway has this domain in place" in text(client.get(page(domain)))


# --- keys --------------------------------------------------------------------------------------------------------


def test_keys_are_renewed_once(client: Client, domain: SendingDomain) -> None:
    seen = version(client, page(domain, "renew-dkim/"))
    assert "wrong" not in seen
    said = text(client.post(page(domain, "renew-dkim/"), {"version": "een andere"}, follow=True))
    assert "being renewed already. Nothing was changed." in said and not DkimPair.objects.exists()
    said = text(client.post(page(domain, "renew-dkim/"), {"version": seen}, follow=True))
    pair = DkimPair.objects.get()
    assert "New keys are made." in said and f"{pair.selector}._domainkey.{NAME}" in said
    assert f"{pair.ed25519_selector}._domainkey.{NAME}" in said
    said = text(client.post(page(domain, "renew-dkim/"), {"version": seen}, follow=True))
    assert "being renewed already. Nothing was changed." in said and DkimPair.objects.count() == 1
    assert notes() == ["domain-added", "dkim-rotated"]


def test_new_keys_are_withdrawn_before_anything_is_signed_with_them(client: Client, domain: SendingDomain) -> None:
    address = page(domain, "withdraw-dkim/")
    assert client.get(address).status_code == 302, "there are none"
    assert "Nothing was withdrawn" in text(client.post(address, {"version": "een andere"}, follow=True))
    client.post(page(domain, "renew-dkim/"), {"version": version(client, page(domain, "renew-dkim/"))})
    selector = DkimPair.objects.get().selector
    seen = version(client, address)
    assert "Nothing was withdrawn" in text(client.post(address, {"version": "een andere"}, follow=True))
    assert DkimPair.objects.exists()
    said = text(client.post(address, {"version": seen}, follow=True))
    assert selector in said and "The new keys are withdrawn." in said and not DkimPair.objects.exists()
    assert notes() == ["domain-added", "dkim-rotated", "dkim-withdrawn"]
    assert "Nothing was withdrawn" in text(client.post(address, {"version": seen}, follow=True))
    domain.refresh_from_db()
    assert domain.dkim_selector == "zegel"


def test_a_check_that_began_before_takes_withdrawn_keys_not_into_use(domain: SendingDomain) -> None:
    now = timezone.now()
    made = domains.rotate_dkim(domain, sealing=submission_keys(settings.ZEGEL.keys).sealing, now=now)
    wanted = domains.records(domain, "zegel.test")
    seen = [domains.Finding(one, (one.value,), is_right=True, is_conclusive=True) for one in wanted]
    assert any(made.selector in one.record.name for one in seen)
    domains.withdraw_next_dkim(domain)
    domains.conclude(domain, seen, now=timezone.now(), looked_at=now)
    assert (domain.in_place, domain.dkim_selector) == (True, "zegel")
    assert not DkimPair.objects.exists()


def previous(domain: SendingDomain, days: int) -> None:
    at = timezone.now() - timedelta(days=days)
    DkimPair.objects.create(domain=domain, stage="previous", selector="oud", key=b"", record="v=DKIM1; p=QQ==", at=at)


def test_previous_keys_are_not_ended_too_early_unless_that_is_meant(client: Client, domain: SendingDomain) -> None:
    assert client.get(page(domain, "end-previous-dkim/")).status_code == 302, "there are none"
    previous(domain, 1)
    address = page(domain, "end-previous-dkim/")
    seen = version(client, address)
    answer = client.post(address, {"version": seen})
    assert answer.status_code == 409 and "Safe from" in text(answer) and DkimPair.objects.exists()
    client.post(address, {"version": "een andere", "early": "yes"})
    assert DkimPair.objects.exists()
    said = text(client.post(address, {"version": seen, "early": "yes"}, follow=True))
    assert "The previous keys are destroyed." in said and not DkimPair.objects.exists()
    assert notes()[-1] == "dkim-previous-ended"
    assert "Nothing was ended" in text(client.post(address, {"version": seen}, follow=True))


def test_previous_keys_are_ended_when_it_is_safe(client: Client, domain: SendingDomain) -> None:
    previous(domain, 8)
    address = page(domain, "end-previous-dkim/")
    assert "The previous DKIM keys can be ended." in text(client.get(LIST))
    assert "before it is safe" not in text(client.get(address))
    client.post(address, {"version": version(client, address)})
    assert not DkimPair.objects.exists()


# --- removed -----------------------------------------------------------------------------------------------------


def test_a_domain_is_removed_after_one_question(client: Client, domain: SendingDomain) -> None:
    address = page(domain, "remove/")
    assert "1 account with an address in it stays, but can’t send any more." in text(client.get(address))
    said = text(client.post(address, {"version": "een andere"}, follow=True))
    assert "Nothing was removed." in said and SendingDomain.objects.exists()
    said = text(client.post(address, {"version": version(client, address)}, follow=True))
    assert "The domain is removed." in said and not SendingDomain.objects.exists()
    assert Account.objects.filter(email=f"beheer@{NAME}").exists()
    assert notes() == ["domain-added", "domain-removed"]
    assert client.post(address).status_code == 404


def test_the_only_domain_that_can_be_written_from_stays(client: Client, domain: SendingDomain) -> None:
    seen = version(client, page(domain, "remove/"))
    SendingDomain.objects.update(in_place=True)
    assert "the only domain that the gateway can write from" in text(client.get(page(domain, "remove/")))
    said = text(client.post(page(domain, "remove/"), {"version": seen}, follow=True))
    assert "the only domain that the gateway can write from for you. It stays." in said
    assert SendingDomain.objects.exists()
