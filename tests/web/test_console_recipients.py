"""The administrator's pages about recipients: what is allowed, direct-delivery domains, minimums."""

from __future__ import annotations

import re
import uuid
from dataclasses import replace
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from tests.web.conftest import SECRET, signed_in
from tests.web.test_console_submission import strip, text, version
from zegel.accounts import policy as policies
from zegel.accounts.models import (
    Account,
    DirectDeliveryDomain,
    DirectDeliveryList,
    DomainMinimum,
    Organisation,
    RememberedDevice,
    SendingDomain,
)
from zegel.accounts.sign_in import enrol_totp
from zegel.core.mail.address import Domain
from zegel.core.policy.permitting import RecipientPolicy
from zegel.core.policy.transport import PROVEN, Authentication, Tls, TransportSecurity
from zegel.core.policy.verification import Method

POLICY = "/console/recipients/"
DOMAINS = "/console/recipients/direct-delivery/"
MINIMUMS = "/console/recipients/minimums/"
STRICT = TransportSecurity(Tls.TLS_1_3, Authentication.DANE)
ALL = [method.value for method in Method]
FILLED: dict[str, str | list[str]] = {
    "allowed": ALL,
    "allows_transport": "on",
    "lacking": "hold",
    "hold_days": "5",
    "expires_after_days": "",
    "remind_after_days": "3",
    "answer_megabytes": "",
    "subject": "generic",
}


@pytest.fixture
def client(administrator: Account) -> Client:
    return signed_in(administrator, "en")


def permit(client: Client, **filled: object) -> Any:
    return client.post(POLICY, {**FILLED, "version": version(client, POLICY, POLICY), **filled})


def enter(organisation: Organisation, name: str = "example.org", level: TransportSecurity = PROVEN) -> str:
    """A direct-delivery domain; gives its page."""
    policies.deliver_directly(organisation, Domain(name), level)
    return f"{DOMAINS}{DirectDeliveryDomain.objects.get(organisation=organisation, source=None, domain=name).pk}/"


def demand(organisation: Organisation, name: str = "example.org", method: Method = Method.SMS) -> str:
    """A minimum; gives its page."""
    policies.demand_at_least(organisation, name, method)
    return f"{MINIMUMS}{DomainMinimum.objects.get(organisation=organisation, domain=name).pk}/"


def stored(organisation: Organisation) -> object:
    """All of it that these pages may change."""
    organisation.refresh_from_db()
    return (
        policies.policy_of(organisation),
        sorted(organisation.direct_delivery_domains.values_list("domain", "source", "tls", "authentication")),
        sorted(organisation.domain_minimums.values_list("domain", "method")),
    )


def targets_are_there(answer: Any) -> None:
    """Every error leads to a field that there is."""
    body = answer.content.decode()
    targets = re.findall(r'<li><a href="#([^"]*)"', body)
    assert targets
    assert all(f'id="{target}"' in body for target in targets)


# --- whose it is -------------------------------------------------------------------------------------------------


def test_what_belongs_to_another_organisation_looks_like_what_never_was(
    client: Client, other_administrator: Account
) -> None:
    theirs = other_administrator.organisation
    assert theirs is not None
    pages = [enter(theirs), demand(theirs)]
    before = stored(theirs)
    filled = {"tls": "13", "authentication": "3", "minimum": "email", "version": "x"}
    for page in pages:
        missing_page = f"{page.rstrip('/').rpartition('/')[0]}/999999/"
        for action in ("", "remove/"):
            for method in (client.get, client.post):
                existing = method(f"{page}{action}", filled)
                missing = method(f"{missing_page}{action}", filled)
                assert existing.status_code == missing.status_code == 404
                assert strip(existing.content) == strip(missing.content)
    assert stored(theirs) == before
    assert "example.org</th>" not in client.get(DOMAINS).content.decode() + client.get(MINIMUMS).content.decode()


def test_a_domain_of_an_imported_list_is_not_shown_and_not_changed_here(
    client: Client, organisation: Organisation
) -> None:
    listed = DirectDeliveryList.objects.create(organisation=organisation, name="een lijst")
    entry = DirectDeliveryDomain.objects.create(organisation=organisation, source=listed, domain="lijst.test")
    assert "lijst.test" not in text(client.get(DOMAINS))
    for action in ("", "remove/"):
        assert client.get(f"{DOMAINS}{entry.pk}/{action}").status_code == 404
        assert client.post(f"{DOMAINS}{entry.pk}/{action}").status_code == 404
    answer = client.post(DOMAINS, {"domain": "lijst.test", "tls": 13, "authentication": 3})
    assert answer.status_code == 302
    entry.refresh_from_db()
    assert (entry.tls, organisation.direct_delivery_domains.count()) == (12, 2)


def addresses(organisation: Organisation) -> list[str]:
    domain, minimum = enter(organisation), demand(organisation)
    return [POLICY, DOMAINS, domain, f"{domain}remove/", MINIMUMS, minimum, f"{minimum}remove/"]


def test_who_is_no_administrator_changes_nothing(newcomer: Account, organisation: Organisation) -> None:
    enrol_totp(newcomer, SECRET)
    client = signed_in(newcomer)
    pages = addresses(organisation)
    before = stored(organisation)
    for page in pages:
        assert client.get(page).status_code == client.post(page, FILLED).status_code == 403
    assert stored(organisation) == before


def test_who_is_not_signed_in_changes_nothing(organisation: Organisation) -> None:
    pages = addresses(organisation)
    before = stored(organisation)
    for page in pages:
        for answer in (Client().get(page), Client().post(page, FILLED)):
            assert answer.status_code == 302
            assert answer.headers["Location"].startswith("/account/sign-in/")
    assert stored(organisation) == before


def test_reading_changes_nothing_and_neither_does_a_form_from_elsewhere(
    client: Client, organisation: Organisation
) -> None:
    pages = addresses(organisation)
    before = stored(organisation)
    changed = {"lacking": "report", "tls": "13", "authentication": "3", "minimum": "email", "confirmed": "yes"}
    everything: dict[str, str | list[str]] = {**FILLED, **changed}
    for page in pages:
        for method in (client.get, client.head):
            assert method(page, everything).status_code == 200
    client.handler.enforce_csrf_checks = True
    for page in pages:
        assert client.post(page, everything).status_code == 403
    assert stored(organisation) == before


# --- the policy --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("filled", "said"),
    [
        ({"allowed": []}, "Allowed methods: allow at least one, such as the SMS code."),
        ({"allowed": ["fax"]}, "fax"),
        ({"hold_days": "0"}, "Days that they are held: “0” can’t be that. Write a whole number of days from 1 to 60"),
        ({"hold_days": "61"}, "such as 5."),
        ({"hold_days": ""}, "Days that they are held: fill in a number of days, such as 5."),
        ({"hold_days": "٣"}, "“٣” can’t be that."),
        ({"expires_after_days": "36526"}, "Days until a message expires: “36526” can’t be that."),
        ({"expires_after_days": "<script>"}, "“<script>” can’t be that. Write a whole number of days from 1 to 36525"),
        ({"subject": "all"}, "all"),
        ({"lacking": ""}, "There is a problem"),
    ],
)
def test_a_policy_that_is_not_understood_is_named_and_nothing_is_stored(
    client: Client, organisation: Organisation, filled: dict[str, object], said: str
) -> None:
    before = stored(organisation)
    answer = permit(client, **filled)
    assert answer.status_code == 200
    assert said in text(answer)
    assert "<script>" not in answer.content.decode()
    targets_are_there(answer)
    assert stored(organisation) == before


def test_a_policy_that_changed_meanwhile_is_not_overwritten(client: Client, organisation: Organisation) -> None:
    opened = version(client, POLICY, POLICY)
    assert permit(client, allowed=["account", "sms"], hold_days="9", subject="hidden").status_code == 302
    before = stored(organisation)
    answer = client.post(POLICY, {**FILLED, "expires_after_days": "30", "version": opened})
    assert answer.status_code == 409
    assert stored(organisation) == before
    for shown in (
        "Nothing was stored yet",
        "What holds now",
        "account, SMS code",
        "held for 9 days",
        "without any name",
    ):
        assert shown in text(answer), shown
    assert 'value="30"' in text(answer), "what was filled in"
    again = re.search(r'name="version" value="([0-9a-f]+)"', text(answer))
    assert again is not None
    assert client.post(POLICY, {**FILLED, "version": again[1]}).status_code == 302
    for stale in ("", "x", "0" * 64):
        assert client.post(POLICY, {**FILLED, "version": stale}).status_code == 409


def test_a_policy_is_stored_as_it_was_filled_in(client: Client, organisation: Organisation) -> None:
    answer = permit(
        client,
        allowed=["email", "sms"],
        allows_transport="",
        lacking="report",
        hold_days="12",
        expires_after_days="30",
        subject="shown",
    )
    assert answer.headers["Location"] == POLICY
    organisation.refresh_from_db()
    assert policies.policy_of(organisation) == RecipientPolicy(
        allowed=(Method.SMS, Method.EMAIL),
        allows_transport=False,
        holds=False,
        hold_days=12,
        expires_after_days=30,
        subject="shown",
    )
    body = text(client.get(POLICY))
    assert "The changes are stored." in body
    assert body.count("checked") == 2 + 1 + 1  # methods, what becomes of whom something lacks, subject
    assert permit(client, lacking="report", hold_days="12").status_code == 302
    organisation.refresh_from_db()
    assert policies.policy_of(organisation) == RecipientPolicy(holds=False, hold_days=12)
    assert organisation.allowed_methods is None, "all, also those that are still to come"


def test_the_most_of_a_file_in_an_answer_is_stored_and_what_is_no_number_is_not(
    organisation: Organisation, client: Client
) -> None:
    assert permit(client, answer_megabytes="50").status_code == 302
    organisation.refresh_from_db()
    assert policies.answer_limit_of(organisation) == 50_000_000
    for wrong in ("0", "2001", "-1", "1.5", "veel"):
        page = permit(client, answer_megabytes=wrong)
        assert "whole number of megabytes from 1 to 2000" in page.content.decode()
    organisation.refresh_from_db()
    assert policies.answer_limit_of(organisation) == 50_000_000
    permit(client, answer_megabytes="")
    organisation.refresh_from_db()
    assert policies.answer_limit_of(organisation) is None


def test_devices_are_remembered_for_as_many_days_as_were_filled_in_and_forgotten_at_once_for_fewer(
    client: Client, organisation: Organisation
) -> None:
    assert permit(client, remembers_devices_days="30").status_code == 302
    organisation.refresh_from_db()
    assert policies.policy_of(organisation).remembers_devices_days == 30
    moment = timezone.now()
    times = {"created_at": moment, "used_at": moment, "expires_at": moment}
    RememberedDevice.objects.create(id=uuid.uuid4(), organisation=organisation, secret_hash=b"", **times)
    for days, left in (("30", 1), ("90", 1), ("89", 0)):
        permit(client, remembers_devices_days=days)
        assert RememberedDevice.objects.count() == left
    for days in ("0", "91", "x"):
        assert permit(client, remembers_devices_days=days).status_code in (200, 422)
    organisation.refresh_from_db()
    assert organisation.remembers_devices_days == 89


def test_what_may_not_be_meant_is_pointed_out(client: Client, organisation: Organisation) -> None:
    assert "Is this what you mean?" not in text(client.get(POLICY))
    permit(client, allowed=["access-code"])
    enter(organisation)
    demand(organisation)
    for page in (POLICY, DOMAINS, MINIMUMS):
        body = text(client.get(page))
        assert "example.org</strong>: No allowed method meets the minimum." in body
        assert "example.org</strong>: A minimum holds for this domain" in body
    demand(organisation, "*", Method.ACCESS_CODE)
    body = text(client.get(POLICY))
    assert "A minimum holds for every domain, so nothing is delivered directly" in body
    assert "A minimum holds for this domain" not in body
    assert "every other domain</strong>: No allowed" not in body
    demand(organisation, "*", Method.ACCOUNT)
    assert "every other domain</strong>: No allowed method meets the minimum." in text(client.get(POLICY))
    permit(client, allowed=["account"])
    assert "Nothing but an account is allowed." in text(client.get(POLICY))
    assert "every other domain</strong>: No allowed" not in text(client.get(POLICY)), "an account is stronger"
    permit(client, allowed=["sms"], lacking="report")
    assert "Messages to them are reported as undeliverable" in text(client.get(POLICY))


# --- inbound direct delivery -------------------------------------------------------------------------------------


def hidden_in(answer: Any) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for field in re.findall(r'<input type="hidden"[^>]*>', text(answer)):
        name, value = re.search(r'name="(\w+)"', field), re.search(r'value="([^"]*)"', field)
        if name is not None:
            found.setdefault(name[1], []).append(value[1] if value else "")
    return found


def test_inbound_direct_delivery_is_asked_about_once_more_and_stored_with_the_rest(
    client: Client, organisation: Organisation
) -> None:
    SendingDomain.objects.create(organisation=organisation, name="voorbeeld.test", dkim_key=b"", in_place=True)
    SendingDomain.objects.create(organisation=organisation, name="nieuw.test", dkim_key=b"")
    before = stored(organisation)
    filled = {"allowed": ["sms", "email"], "allows_transport": "", "expires_after_days": "30", "lacking": "report"}
    answer = permit(client, **filled, takes_inbound_direct_delivery="on")
    assert answer.status_code == 200
    for shown in ("then arrive readable", "Who can read the mailbox can read the message.", "<li>voorbeeld.test</li>"):
        assert shown in text(answer), shown
    assert "nieuw.test" not in text(answer)
    assert stored(organisation) == before
    assert client.post(POLICY, hidden_in(answer)).headers["Location"] == POLICY
    organisation.refresh_from_db()
    assert policies.policy_of(organisation) == RecipientPolicy(
        allowed=(Method.SMS, Method.EMAIL),
        allows_transport=False,
        holds=False,
        takes_inbound_direct_delivery=True,
        expires_after_days=30,
    )
    assert permit(client, takes_inbound_direct_delivery="on").status_code == 302, "it is on already"
    assert permit(client).status_code == 302
    organisation.refresh_from_db()
    assert not organisation.takes_inbound_direct_delivery


def test_who_confirms_what_changed_meanwhile_is_told(client: Client, organisation: Organisation) -> None:
    answer = permit(client, takes_inbound_direct_delivery="on")
    policies.permit(organisation, replace(RecipientPolicy(), hold_days=8))
    before = stored(organisation)
    answer = client.post(POLICY, hidden_in(answer))
    assert answer.status_code == 409
    assert "held for 8 days" in text(answer)
    assert stored(organisation) == before


# --- direct-delivery domains -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("filled", "said"),
    [
        ({"domain": "example"}, "Domain: “example” is not a domain name. Write it like example.org."),
        ({"domain": "*.example.org"}, "Write it like example.org."),
        ({"domain": "someone@example.org"}, "“someone@example.org” is not a domain name."),
        ({"domain": "192.0.2.1"}, "“192.0.2.1” is not a domain name."),
        ({"domain": "<script>.org"}, "“<script>.org” is not a domain name."),
        ({"domain": ""}, "There is a problem"),
        ({"tls": "1"}, "There is a problem"),
        ({"authentication": "0"}, "There is a problem"),
        ({"authentication": "many"}, "There is a problem"),
    ],
)
def test_a_domain_or_level_that_is_none_is_not_added(
    client: Client, organisation: Organisation, filled: dict[str, str], said: str
) -> None:
    answer = client.post(DOMAINS, {"domain": "example.org", "tls": "12", "authentication": "1", **filled})
    assert answer.status_code == 200
    assert said in text(answer)
    assert "<script>" not in answer.content.decode()
    targets_are_there(answer)
    assert not organisation.direct_delivery_domains.exists()


def test_a_domain_that_is_there_is_not_added_over(client: Client, organisation: Organisation) -> None:
    enter(organisation, level=STRICT)
    answer = client.post(DOMAINS, {"domain": "EXAMPLE.org.", "tls": "12", "authentication": "1"})
    assert "Domain: it is on the list already." in text(answer)
    assert policies.level_of(organisation.direct_delivery_domains.get()) == STRICT


def test_a_domain_is_added_changed_and_removed(client: Client, organisation: Organisation) -> None:
    added = client.post(DOMAINS, {"domain": "Bücher.example", "tls": "13", "authentication": "3"})
    assert added.headers["Location"] == DOMAINS
    entry = organisation.direct_delivery_domains.get()
    assert (entry.domain, policies.level_of(entry)) == ("xn--bcher-kva.example", STRICT)
    assert "bücher.example (xn--bcher-kva.example)" in text(client.get(DOMAINS))
    assert "TLS 1.3, DANE" in text(client.get(DOMAINS))
    page = f"{DOMAINS}{entry.pk}/"
    opened = version(client, page, page)
    assert client.post(page, {"tls": "12", "authentication": "2", "version": opened}).headers["Location"] == DOMAINS
    entry.refresh_from_db()
    assert policies.level_of(entry) == TransportSecurity(Tls.TLS_1_2, Authentication.SIGNED_MX)
    again = client.post(page, {"tls": "13", "authentication": "3", "version": opened})
    assert again.status_code == 409
    assert "What holds now" in text(again) and "TLS 1.2, valid certificate, host named by MTA-STS" in text(again)
    opened = version(client, f"{page}remove/")
    policies.deliver_directly(organisation, Domain(entry.domain), STRICT)
    for stale in ({"version": opened}, {"version": ""}, {}):
        assert "Nothing was removed." in text(client.post(f"{page}remove/", stale, follow=True))
    assert organisation.direct_delivery_domains.exists()
    removed = client.post(f"{page}remove/", {"version": version(client, f"{page}remove/")}, follow=True)
    assert "The domain is off the list." in text(removed)
    assert not organisation.direct_delivery_domains.exists()


# --- minimums ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("filled", "said"),
    [
        ({"domain": "**"}, "Domain: “**” is not a domain name. Write it like example.org."),
        ({"domain": "*.example.org"}, "Write it like example.org."),
        ({"minimum": "fax"}, "There is a problem"),
        ({"minimum": ""}, "There is a problem"),
    ],
)
def test_a_minimum_that_is_none_is_not_added(
    client: Client, organisation: Organisation, filled: dict[str, str], said: str
) -> None:
    answer = client.post(MINIMUMS, {"domain": "example.org", "minimum": "sms", **filled})
    assert said in text(answer)
    targets_are_there(answer)
    assert not organisation.domain_minimums.exists()


def test_a_minimum_is_added_once_changed_and_removed(client: Client, organisation: Organisation) -> None:
    for domain in ("example.org", "*"):
        assert client.post(MINIMUMS, {"domain": domain, "minimum": "sms"}).headers["Location"] == MINIMUMS
        second = client.post(MINIMUMS, {"domain": f" {domain} ", "minimum": "email"})
        assert "Domain: there is a minimum for it already." in text(second)
    assert dict(organisation.domain_minimums.values_list("domain", "method")) == {"example.org": "sms", "*": "sms"}
    assert "every other domain" in text(client.get(MINIMUMS))
    page = f"{MINIMUMS}{organisation.domain_minimums.get(domain='*').pk}/"
    opened = version(client, page, page)
    assert "Every other domain" in text(client.get(page))
    assert client.post(page, {"minimum": "account", "version": opened}).headers["Location"] == MINIMUMS
    assert client.post(page, {"minimum": "email", "version": opened}).status_code == 409
    assert organisation.domain_minimums.get(domain="*").method == "account"
    opened = version(client, f"{page}remove/")
    policies.demand_at_least(organisation, "*", Method.SMS)
    assert "Nothing was removed." in text(client.post(f"{page}remove/", {"version": opened}, follow=True))
    removed = client.post(f"{page}remove/", {"version": version(client, f"{page}remove/")}, follow=True)
    assert "The minimum is removed." in text(removed)
    assert list(organisation.domain_minimums.values_list("domain", flat=True)) == ["example.org"]


# --- in both languages -------------------------------------------------------------------------------------------


def test_the_pages_speak_dutch_too(administrator: Account, organisation: Organisation) -> None:
    client = signed_in(administrator)
    pages = addresses(organisation)
    body = "".join(text(client.get(page)) for page in pages)
    for word in (
        "Ontvangers",
        "Toegestane methoden",
        "houd ze vast, en zeg de afzender wat er in te vullen is",
        "een algemeen onderwerp, zonder naam",
        "Domeinen voor directe bezorging",
        "Minimum per domein",
        "Voor dit domein geldt een minimum, dus er wordt niets direct bezorgd.",
    ):
        assert word in body, word
    answer = permit(client, hold_days="veel")
    assert "Dagen dat ze worden vastgehouden: ‘veel’ kan dat niet zijn." in text(answer)
    assert "leesbaar" in text(permit(client, takes_inbound_direct_delivery="on"))
