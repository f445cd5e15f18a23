"""The administrator's pages about submission: credentials, what proves a client, and how much is accepted."""

from __future__ import annotations

import html
import os
import re
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from django.utils import timezone
from playwright.sync_api import expect

from tests.needs import needs
from tests.peers.chromium import Chromium, browser, fits
from tests.web.conftest import PASSWORD, SECRET, signed_in
from zegel.accounts import credentials, submitting
from zegel.accounts.models import Account, Organisation, SendingDomain, SmtpCredential, Usage
from zegel.accounts.sign_in import current_totp, enrol_totp
from zegel.console.rules import Proof
from zegel.core.policy.submitting import Caps, parse_authors, written_author
from zegel.core.policy.texts import TextCaps, TextMoney
from zegel.core.secret import Secret
from zegel.settings import Listen

AUTHENTICATION = Organisation.Authentication
NO_CAPS = dict.fromkeys(asdict(Caps()), "")
CAPS = {"messages_per_hour": 10, "messages_per_day": 100, "recipients_per_hour": 20, "recipients_per_day": 200}
SPF_WARNING = "SPF proves where mail comes from, not whose it is."


@pytest.fixture
def issued(organisation: Organisation) -> credentials.NewCredential:
    return credentials.issue(organisation, "mailserver")


@pytest.fixture
def page(issued: credentials.NewCredential) -> str:
    """The address of the credential's page."""
    return f"/console/credentials/{issued.credential.pk}/"


@pytest.fixture
def client(administrator: Account) -> Client:
    return signed_in(administrator, "en")


def text(answer: Any) -> str:
    return html.unescape(answer.content.decode())


def version(client: Client, address: str, action: str | None = None) -> str:
    """The one that the form with this action carries along."""
    body = client.get(address).content.decode()
    form = body[body.index(f'action="{action}"') if action else 0 :]
    found = re.search(r'name="version" value="([0-9a-f]+)"', form)
    assert found is not None
    return found[1]


def bind(client: Client, page: str, **filled: object) -> Any:
    fields = {"networks": "", "authors": "", **NO_CAPS, "version": version(client, page, page)}
    return client.post(page, {**fields, **filled})


def prove(client: Client, **filled: object) -> Any:
    address = "/console/submission/proof/"
    held = version(client, "/console/submission/", address)
    return client.post(address, {"authentication": "credentials", "networks": "", "version": held, **filled})


def limit(client: Client, **filled: object) -> Any:
    address = "/console/submission/limits/"
    return client.post(address, {**NO_CAPS, "version": version(client, "/console/submission/", address), **filled})


def held(issued: credentials.NewCredential) -> dict[str, object]:
    """All that is stored of the credential."""
    return dict(SmtpCredential.objects.values().get(pk=issued.credential.pk))


def held_of(organisation: Organisation) -> dict[str, object]:
    return dict(Organisation.objects.values().get(pk=organisation.pk))


def works(issued: credentials.NewCredential) -> bool:
    return isinstance(credentials.find(issued.credential.username, issued.secret), credentials.Known)


def shown_secret(answer: Any) -> str:
    found = re.search(r'id="secret">([\w-]+)<', answer.content.decode())
    assert found is not None
    return found[1]


# --- whose it is -------------------------------------------------------------------------------------------------


def strip(body: bytes) -> str:
    return re.sub(r'name="(csrfmiddlewaretoken|next)" value="[^"]*"', "", body.decode())


def test_another_organisations_credential_looks_like_one_that_never_was(
    client: Client, other_administrator: Account
) -> None:
    assert other_administrator.organisation is not None
    theirs = credentials.issue(other_administrator.organisation, "theirs")
    credentials.rotate(theirs.credential)
    before = held(theirs)
    filled = {"networks": "192.0.2.1", "authors": "", **NO_CAPS, "version": "x"}
    for page in ("", "rotate/", "end-previous/", "disable/"):
        for method in (client.get, client.post):
            existing = method(f"/console/credentials/{theirs.credential.pk}/{page}", filled)
            missing = method(f"/console/credentials/999999/{page}", filled)
            assert existing.status_code == missing.status_code == 404
            assert strip(existing.content) == strip(missing.content)
    assert held(theirs) == before


def test_another_organisations_submission_is_not_shown_and_not_changed(
    client: Client, other_administrator: Account
) -> None:
    theirs = other_administrator.organisation
    assert theirs is not None
    SendingDomain.objects.create(organisation=theirs, name="ander.test", dkim_key=b"", in_place=True)
    submitting.cap(theirs, Caps(messages_per_hour=4321))
    before = held_of(theirs)
    body = client.get("/console/submission/").content.decode()
    assert "ander.test" not in body
    assert "4321" not in body
    assert prove(client, authentication="either", needs_dkim="on").status_code == 302
    assert limit(client, messages_per_hour="5").status_code == 302
    assert held_of(theirs) == before


def test_who_is_no_administrator_changes_nothing(
    newcomer: Account, issued: credentials.NewCredential, page: str, organisation: Organisation
) -> None:
    enrol_totp(newcomer, SECRET)
    client = signed_in(newcomer)
    before, before_of = held(issued), held_of(organisation)
    for address in (page, f"{page}rotate/", f"{page}end-previous/", f"{page}disable/"):
        assert client.get(address).status_code == client.post(address).status_code == 403
    for address in ("/console/submission/proof/", "/console/submission/limits/"):
        assert client.get(address).status_code == client.post(address, NO_CAPS).status_code == 403
    assert (held(issued), held_of(organisation)) == (before, before_of)


def test_who_is_not_signed_in_changes_nothing(
    issued: credentials.NewCredential, page: str, organisation: Organisation
) -> None:
    before, before_of = held(issued), held_of(organisation)
    for address in (
        page,
        f"{page}rotate/",
        f"{page}end-previous/",
        f"{page}disable/",
        "/console/submission/proof/",
        "/console/submission/limits/",
    ):
        for answer in (Client().get(address), Client().post(address, {"authentication": "either", **NO_CAPS})):
            assert answer.status_code == 302
            assert answer.headers["Location"].startswith("/account/sign-in/")
    assert (held(issued), held_of(organisation)) == (before, before_of)


def test_reading_changes_nothing(
    client: Client, issued: credentials.NewCredential, page: str, organisation: Organisation
) -> None:
    credentials.rotate(issued.credential)
    before, before_of = held(issued), held_of(organisation)
    everything = {"authentication": "either", "confirmed": "yes", "networks": "", "messages_per_hour": "1"}
    for address in (
        page,
        f"{page}rotate/",
        f"{page}end-previous/",
        f"{page}disable/",
        "/console/submission/",
        "/console/submission/proof/",
        "/console/submission/limits/",
    ):
        for method in (client.get, client.head):
            assert method(address, everything).status_code in (200, 302)
    assert (held(issued), held_of(organisation)) == (before, before_of)
    assert client.post("/console/submission/").status_code == 405


def test_a_form_from_elsewhere_changes_nothing(
    client: Client, issued: credentials.NewCredential, page: str, organisation: Organisation
) -> None:
    credentials.rotate(issued.credential)
    before, before_of = held(issued), held_of(organisation)
    client.handler.enforce_csrf_checks = True
    for address in (page, f"{page}rotate/", f"{page}end-previous/", f"{page}disable/"):
        assert client.post(address, NO_CAPS).status_code == 403
    for address in ("/console/submission/proof/", "/console/submission/limits/"):
        assert client.post(address, NO_CAPS).status_code == 403
    assert (held(issued), held_of(organisation)) == (before, before_of)


# --- bindings and limits of a credential -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "filled", "said"),
    [
        ("networks", "192.0.2.10, mail.example.org", "May sign in from: “mail.example.org” is not an IP address"),
        ("networks", "192.0.2.300", "Write it like 192.0.2.10 or 192.0.2.0/24."),
        ("networks", "192.0.2.0/33", "“192.0.2.0/33” is not an IP address or network."),
        ("networks", "<script>", "“<script>” is not an IP address or network."),
        ("networks", "192.0.2.1/24", "Write 192.0.2.1 for that address alone, or 192.0.2.0/24 for the whole network."),
        ("networks", "2001:db8::1/32", "Write 2001:db8::1 for that address alone, or 2001:db8::/32 for the"),
        ("networks", "1 " * 2001, "May sign in from"),
        ("authors", "voorbeeld", "May send for: “voorbeeld” is not an address or domain."),
        ("authors", "balie@", "Write it like office@example.org or example.org."),
        ("authors", "voorbeeld.test, -x-.test", "“-x-.test” is not an address or domain."),
        ("authors", "192.0.2.1", "“192.0.2.1” is not an address or domain."),
        ("messages_per_hour", "-5", "Messages per hour: “-5” can’t be a limit. Write a whole number above zero"),
        ("messages_per_day", "0", "Messages per 24 hours: “0” can’t be a limit."),
        ("recipients_per_hour", "1.000", "Recipients per hour: “1.000” can’t be a limit."),
        ("recipients_per_day", "many", "such as 500, or leave it empty for no limit."),
        ("recipients_per_day", "9999999999", "“9999999999” can’t be a limit."),
        ("recipients_per_day", "٣", "“٣” can’t be a limit."),
    ],
)
def test_what_is_not_understood_is_named_and_nothing_is_stored(
    client: Client, issued: credentials.NewCredential, page: str, field: str, filled: str, said: str
) -> None:
    before = held(issued)
    answer = bind(client, page, **{"messages_per_hour": "7", field: filled})
    assert answer.status_code == 200
    assert said in text(answer)
    assert "<script>" not in answer.content.decode()
    assert f'href="#id_{field}"' in answer.content.decode()
    assert f'aria-describedby="id_{field}' in answer.content.decode()
    assert 'aria-invalid="true"' in answer.content.decode()
    assert held(issued) == before


def test_what_was_filled_in_survives_an_error(client: Client, page: str) -> None:
    body = text(bind(client, page, networks="192.0.2.10 nonsense", authors="voorbeeld.test", messages_per_day="7"))
    assert "192.0.2.10 nonsense</textarea>" in body
    assert "voorbeeld.test</textarea>" in body
    assert 'value="7"' in body


def test_only_a_few_of_many_errors_are_told(client: Client, page: str) -> None:
    body = client.post(page, {"networks": "x " * 500, "version": version(client, page, page)}).content.decode()
    assert body.count("is not an IP address or network") == 2 * 5  # in the summary, and at the field


def test_a_change_made_meanwhile_is_not_overwritten(
    client: Client, issued: credentials.NewCredential, page: str
) -> None:
    opened = version(client, page, page)
    assert bind(client, page, networks="192.0.2.0/24").status_code == 302  # in another window
    before = held(issued)
    filled = {"networks": "198.51.100.7", "authors": "", **NO_CAPS, "version": opened}
    answer = client.post(page, filled)
    assert answer.status_code == 409
    assert held(issued) == before
    body = text(answer)
    assert "Nothing was stored yet" in body
    assert "192.0.2.0/24" in body, "what holds now"
    assert "198.51.100.7</textarea>" in body, "what was filled in"
    again = re.search(r'name="version" value="([0-9a-f]+)"', body)
    assert again is not None
    assert client.post(page, {**filled, "version": again[1]}).status_code == 302
    issued.credential.refresh_from_db()
    assert issued.credential.networks == ["198.51.100.7"]


@pytest.mark.parametrize("made_of", ["", "x", "0" * 64])
def test_a_form_that_was_made_of_nothing_shown_is_not_stored(
    client: Client, issued: credentials.NewCredential, page: str, made_of: str
) -> None:
    before = held(issued)
    assert client.post(page, {"networks": "192.0.2.1", **NO_CAPS, "version": made_of}).status_code == 409
    assert client.post(page, {"networks": "192.0.2.1", **NO_CAPS}).status_code == 409
    assert held(issued) == before


def test_use_and_rotation_meanwhile_are_no_conflict(
    client: Client, issued: credentials.NewCredential, page: str
) -> None:
    opened = version(client, page, page)
    credentials.note_use(issued.credential.pk, with_previous=False)
    credentials.rotate(issued.credential)
    assert client.post(page, {"authors": "voorbeeld.test", **NO_CAPS, "version": opened}).status_code == 302


def test_a_disabled_credential_is_shown_and_cannot_be_changed(
    client: Client, issued: credentials.NewCredential, page: str
) -> None:
    credentials.rotate(issued.credential)
    opened = version(client, page, page)
    issued.credential.refresh_from_db()
    credentials.disable(issued.credential)
    before = held(issued)
    body = text(client.get(page))
    assert issued.credential.username in body
    assert "can’t be changed any more" in body
    assert "<textarea" not in body
    assert "rotate/" not in body
    assert "end-previous/" not in body
    answer = client.post(page, {"networks": "192.0.2.1", **NO_CAPS, "version": opened})
    assert answer.status_code == 409
    assert "can’t be changed any more" in text(answer)
    for address in (f"{page}rotate/", f"{page}end-previous/", f"{page}disable/"):
        assert client.get(address).status_code == client.post(address).status_code == 404
    assert held(issued) == before


def test_bindings_and_limits_are_stored_as_they_were_understood(
    client: Client, issued: credentials.NewCredential, page: str
) -> None:
    answer = bind(
        client,
        page,
        networks=" 192.0.2.10, 2001:DB8::/32\r\n192.0.2.10 ",
        authors="Balie@Voorbeeld.test\nvoorbeeld.TEST",
        **CAPS,
    )
    assert answer.headers["Location"] == page
    issued.credential.refresh_from_db()
    assert issued.credential.networks == ["192.0.2.10", "2001:db8::/32"]
    assert issued.credential.authors == ["balie@voorbeeld.test", "voorbeeld.test"]
    assert submitting.caps_of(issued.credential) == Caps(**CAPS)
    body = text(client.get(page))
    assert "The changes are stored." in body
    assert "192.0.2.10\n2001:db8::/32</textarea>" in body
    assert bind(client, page).status_code == 302
    issued.credential.refresh_from_db()
    assert (issued.credential.networks, issued.credential.authors) == ([], [])
    assert submitting.caps_of(issued.credential) == Caps()


@pytest.mark.parametrize("address", ["balie@voorbeeld.test", '"a..b"@voorbeeld.test', '"a@b"@voorbeeld.test', "x.test"])
def test_what_is_stored_can_be_stored_again(
    client: Client, issued: credentials.NewCredential, page: str, address: str
) -> None:
    assert bind(client, page, authors=address).status_code == 302
    issued.credential.refresh_from_db()
    (author,) = issued.credential.authors
    assert parse_authors(written_author(author)) == (author,)
    assert f"{address}</textarea>" in text(client.get(page))


def test_a_binding_to_a_domain_of_somebody_else_is_pointed_out(
    client: Client, organisation: Organisation, page: str
) -> None:
    SendingDomain.objects.create(organisation=organisation, name="voorbeeld.test", dkim_key=b"")
    bind(client, page, authors="voorbeeld.test balie@voorbeeld.test")
    assert "not a sending domain" not in text(client.get(page))
    bind(client, page, authors="voorbeeld.test balie@vorbeeld.test")
    assert text(client.get(page)).count("not a sending domain") == 1


def test_use_is_shown_beside_the_limits(client: Client, issued: credentials.NewCredential, page: str) -> None:
    submitting.cap(issued.credential, Caps(messages_per_hour=12, recipients_per_day=500))
    hour = int(timezone.now().timestamp() // 3600)
    for then, messages, recipients in ((hour, 12, 30), (hour - 1, 5, 6), (hour - 30, 999, 999)):
        Usage.objects.create(
            whose=Usage.Whose.CREDENTIAL,
            number=issued.credential.pk,
            hour=then,
            messages=messages,
            recipients=recipients,
        )
    body = text(client.get(page))
    for shown in ("12 of at most 12", "17, no limit", "30, no limit", "36 of at most 500", "limit reached"):
        assert shown in body, shown
    assert body.count("limit reached") == 1


# --- rotation ----------------------------------------------------------------------------------------------------


def test_a_second_secret_is_made_only_once(client: Client, issued: credentials.NewCredential, page: str) -> None:
    client.post(f"{page}rotate/")
    before = held(issued)
    for method in (client.get, client.post):
        assert method(f"{page}rotate/").headers["Location"] == page
        assert "Two secrets are valid already." in text(client.get(page))
    assert held(issued) == before


def test_renewing_asks_first_and_leaves_the_old_secret_valid(
    client: Client, issued: credentials.NewCredential, page: str
) -> None:
    assert "stays valid beside it until you end it" in text(client.get(f"{page}rotate/"))
    answer = client.post(f"{page}rotate/")
    assert answer.status_code == 200
    assert "no-store" in answer.headers["Cache-Control"]
    assert "The previous secret stays valid until you end it" in text(answer)
    second = credentials.NewCredential(issued.credential, type(SECRET)(shown_secret(answer)))
    assert works(issued)
    assert works(second)
    assert "Two secrets are valid." in text(client.get(page))


def test_the_previous_secret_ends_when_it_is_confirmed(
    client: Client, issued: credentials.NewCredential, page: str
) -> None:
    credentials.note_use(issued.credential.pk, with_previous=False)
    second = credentials.rotate(issued.credential)
    asked = text(client.get(f"{page}end-previous/"))
    assert "was last used on" in asked
    assert "The new one was never used." in asked
    assert works(issued)
    answer = client.post(f"{page}end-previous/", {"version": version(client, f"{page}end-previous/")})
    assert answer.headers["Location"] == page
    assert "The previous secret is ended." in text(client.get(page))
    assert credentials.find(issued.credential.username, issued.secret) == "secret"
    assert works(second)


def test_another_secret_than_the_one_that_was_shown_is_not_ended(
    client: Client, issued: credentials.NewCredential, page: str
) -> None:
    second = credentials.rotate(issued.credential)
    opened = version(client, f"{page}end-previous/")
    credentials.end_previous(second.credential)
    assert "Nothing was ended." in text(client.post(f"{page}end-previous/", {"version": opened}, follow=True))
    third = credentials.rotate(second.credential)
    for stale in ({"version": opened}, {"version": ""}, {}):
        assert "Nothing was ended." in text(client.post(f"{page}end-previous/", stale, follow=True))
    assert works(second)
    assert works(third)


def test_there_is_no_previous_secret_to_end_without_a_rotation(
    client: Client, issued: credentials.NewCredential, page: str
) -> None:
    assert client.get(f"{page}end-previous/").headers["Location"] == page
    assert "Nothing was ended." in text(client.post(f"{page}end-previous/", follow=True))
    assert works(issued)


def test_a_secret_is_in_no_other_page_and_not_in_the_log(
    client: Client,
    issued: credentials.NewCredential,
    page: str,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level("DEBUG"):
        secret = shown_secret(client.post(f"{page}rotate/"))
        secrets = (secret, issued.secret.reveal())
        for address in (
            page,
            f"{page}end-previous/",
            f"{page}disable/",
            "/console/credentials/",
            "/console/submission/",
            "/console/",
        ):
            body = client.get(address).content.decode()
            assert not [one for one in secrets if one in body]
        ended = client.post(
            f"{page}end-previous/", {"version": version(client, f"{page}end-previous/")}, follow=True
        ).content.decode()
        assert secret not in ended
    logged = "".join(capfd.readouterr()) + "".join(record.getMessage() for record in caplog.records)
    assert not [one for one in secrets if one in logged]


def test_the_list_leads_to_each_credential_and_shows_the_disabled_last(
    client: Client, organisation: Organisation, issued: credentials.NewCredential, page: str
) -> None:
    ended = credentials.issue(organisation, "oude mailserver")
    credentials.disable(ended.credential)
    credentials.rotate(issued.credential)
    newest = credentials.issue(organisation, "nieuwe mailserver")
    body = client.get("/console/credentials/").content.decode()
    links = [f'href="/console/credentials/{one.credential.pk}/"' for one in (newest, issued, ended)]
    assert sorted(links, key=body.index) == links
    for shown in ("two secrets", "disabled", "enabled"):
        assert shown in body


# --- what proves a client ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("authentication", ["either", "both"])
@pytest.mark.parametrize("networks", ["", "0.0.0.0/0", "192.0.2.1 ::/0"])
def test_spf_that_tells_nobody_apart_is_asked_about_once_more(
    client: Client, organisation: Organisation, authentication: str, networks: str
) -> None:
    before = held_of(organisation)
    answer = prove(client, authentication=authentication, networks=networks)
    assert answer.status_code == 200
    assert SPF_WARNING in text(answer)
    assert ("Credentials stay necessary" in text(answer)) == (authentication == "both")
    assert held_of(organisation) == before
    hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', text(answer)))
    assert client.post("/console/submission/proof/", hidden).headers["Location"] == "/console/submission/"
    organisation.refresh_from_db()
    assert Proof.of(organisation) == Proof(authentication, tuple(networks.split()), needs_dkim=False)
    body = text(client.get("/console/submission/"))
    assert SPF_WARNING in body
    assert "SPF is bound to nothing now." in body


def test_who_confirms_what_changed_meanwhile_is_told(client: Client, organisation: Organisation) -> None:
    answer = prove(client, authentication="either")
    hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', text(answer)))
    submitting.demand(organisation, AUTHENTICATION.BOTH, networks=("192.0.2.0/24",), needs_dkim=True)
    before = held_of(organisation)
    answer = client.post("/console/submission/proof/", hidden)
    assert answer.status_code == 409
    assert held_of(organisation) == before
    for shown in ("Nothing was stored yet", "What holds now", "SMTP credentials and SPF", "192.0.2.0/24"):
        assert shown in text(answer)


def test_taking_the_bindings_away_is_asked_about_and_going_on_without_is_not(
    client: Client, organisation: Organisation
) -> None:
    submitting.demand(organisation, AUTHENTICATION.EITHER, networks=("192.0.2.0/24",), needs_dkim=False)
    assert SPF_WARNING in text(prove(client, authentication="either"))
    organisation.refresh_from_db()
    assert organisation.spf_networks == ["192.0.2.0/24"]
    submitting.demand(organisation, AUTHENTICATION.BOTH, networks=(), needs_dkim=False)
    assert prove(client, authentication="both").status_code == 302
    assert prove(client, authentication="either").status_code == 200
    organisation.refresh_from_db()
    assert organisation.authentication == AUTHENTICATION.BOTH


@pytest.mark.parametrize(
    ("filled", "said"),
    [
        (
            {"authentication": "either", "networks": "192.0.2.1/24"},
            "SPF counts from: “192.0.2.1/24” can mean two things",
        ),
        ({"authentication": "either", "networks": "spf.example.org"}, "“spf.example.org” is not an IP address or"),
        ({"authentication": "nobody"}, "There is a problem"),
        ({"authentication": ""}, "There is a problem"),
    ],
)
def test_a_proof_that_is_not_understood_is_not_stored(
    client: Client, organisation: Organisation, filled: dict[str, str], said: str
) -> None:
    before = held_of(organisation)
    answer = prove(client, **filled, confirmed="yes")
    assert said in text(answer)
    assert held_of(organisation) == before
    targets = re.findall(r'<li><a href="#([^"]*)"', answer.content.decode())
    assert targets
    assert all(f'id="{target}"' in answer.content.decode() for target in targets)


@pytest.mark.parametrize(
    "proof",
    [
        Proof("either", ("192.0.2.10", "2001:db8::/32"), needs_dkim=False),
        Proof("either", (), needs_dkim=True),
        Proof("both", ("192.0.2.0/24",), needs_dkim=True),
        Proof("credentials", (), needs_dkim=False),
    ],
)
def test_spf_that_is_bound_is_stored_at_once_with_the_warning_on_the_page(
    client: Client, organisation: Organisation, proof: Proof
) -> None:
    submitting.demand(organisation, AUTHENTICATION.BOTH, networks=("198.51.100.1",), needs_dkim=True)
    filled = {"authentication": proof.authentication, "networks": " ".join(proof.networks)}
    assert prove(client, **filled, **({"needs_dkim": "on"} if proof.needs_dkim else {})).status_code == 302
    organisation.refresh_from_db()
    assert Proof.of(organisation) == proof
    assert (SPF_WARNING in text(client.get("/console/submission/"))) == proof.uses_spf


def test_the_domains_that_spf_can_prove_are_those_in_place(client: Client, organisation: Organisation) -> None:
    assert "no domain of yours may send yet" in text(client.get("/console/submission/"))
    for name, in_place in (("voorbeeld.test", True), ("nieuw.test", False)):
        SendingDomain.objects.create(organisation=organisation, name=name, dkim_key=b"", in_place=in_place)
    body = text(client.get("/console/submission/"))
    assert "<li>voorbeeld.test</li>" in body
    assert "<li>nieuw.test</li>" not in body
    assert re.search(r"DNS records are not in place:\s+nieuw\.test", body)


# --- limits of the organisation ----------------------------------------------------------------------------------


@pytest.mark.parametrize("filled", ["-1", "0", "1,5", "1e3"])
def test_a_limit_that_is_no_number_is_not_stored(client: Client, organisation: Organisation, filled: str) -> None:
    before = held_of(organisation)
    body = text(limit(client, recipients_per_day=filled))
    assert f"Recipients per 24 hours: “{filled}” can’t be a limit." in body
    assert held_of(organisation) == before


def test_limits_that_changed_meanwhile_are_not_overwritten(client: Client, organisation: Organisation) -> None:
    opened = version(client, "/console/submission/", "/console/submission/limits/")
    submitting.cap(organisation, Caps(messages_per_day=77))
    answer = client.post("/console/submission/limits/", {**NO_CAPS, "version": opened})
    assert answer.status_code == 409
    assert "of at most 77" in text(answer)
    organisation.refresh_from_db()
    assert submitting.caps_of(organisation) == Caps(messages_per_day=77)


def test_limits_are_stored_and_shown_with_what_was_used(client: Client, organisation: Organisation) -> None:
    assert limit(client, **CAPS).headers["Location"] == "/console/submission/"
    organisation.refresh_from_db()
    assert submitting.caps_of(organisation) == Caps(**CAPS)
    Usage.objects.create(
        whose=Usage.Whose.ORGANISATION,
        number=organisation.pk,
        hour=int(timezone.now().timestamp() // 3600),
        messages=3,
        recipients=20,
    )
    body = text(client.get("/console/submission/"))
    for shown in ("3 of at most 10", "3 of at most 100", "20 of at most 20", "20 of at most 200", "limit reached"):
        assert shown in body, shown
    assert limit(client).status_code == 302
    organisation.refresh_from_db()
    assert submitting.caps_of(organisation) == Caps()


TEXTS = {"texts_per_hour": 2, "texts_per_day": 20, "texts_per_month": 200}


def test_limits_of_text_messages_are_stored_and_shown_with_what_was_used(
    client: Client, organisation: Organisation
) -> None:
    assert limit(client, **TEXTS, text_countries="nl be").status_code == 302
    organisation.refresh_from_db()
    assert submitting.text_caps_of(organisation) == TextCaps(**TEXTS, text_countries=("NL", "BE"))
    for _ in range(2):
        assert submitting.count_text(organisation.pk, Secret("+31612345678"), "NL", now=timezone.now()) is None
    body = text(client.get("/console/submission/"))
    for shown in ("2 of at most 2", "2 of at most 20", "2 of at most 200", "NL BE", "limit reached"):
        assert shown in body, shown
    assert limit(client).status_code == 302
    organisation.refresh_from_db()
    assert submitting.text_caps_of(organisation) == TextCaps()


@pytest.mark.parametrize(
    ("field", "filled", "said"),
    [
        ("texts_per_month", "0", "Text messages per 30 days: “0” can’t be a limit."),
        ("text_countries", "NL Nederland", "“Nederland” is not a country. Write its two letters, like NL or BE."),
    ],
)
def test_a_limit_of_text_messages_that_is_not_understood_is_not_stored(
    client: Client, organisation: Organisation, field: str, filled: str, said: str
) -> None:
    before = held_of(organisation)
    assert said in text(limit(client, messages_per_hour="5", **{field: filled}))
    assert held_of(organisation) == before


def test_prices_and_what_may_be_spent_are_stored_and_shown(client: Client, organisation: Organisation) -> None:
    filled = {"text_currency": "eur", "text_price": "0,08", "text_prices": "+32=0.09\n+1=0.02"}
    assert limit(client, **filled, text_cents_per_month="250").status_code == 302
    organisation.refresh_from_db()
    assert submitting.text_money_of(organisation) == TextMoney("EUR", 8, (("+1", 2), ("+32", 9)), 25_000)
    assert submitting.count_text(organisation.pk, Secret("+31612345678"), "NL", now=timezone.now()) is None
    body = text(client.get("/console/submission/"))
    assert "EUR 0.08 of at most 250.00" in body and "+32=0.09" in body
    assert limit(client, **filled, text_cents_per_month="250").status_code == 302
    organisation.refresh_from_db()
    assert submitting.text_money_of(organisation) == TextMoney("EUR", 8, (("+1", 2), ("+32", 9)), 25_000)


@pytest.mark.parametrize(
    ("field", "filled", "said"),
    [
        ("text_price", "veel", "“veel” is not an amount. Write it like 0.08 or 250."),
        ("text_cents_per_month", "-1", "“-1” is not an amount."),
        ("text_prices", "+31=0.08 31=1", "“31=1” is not a price. Write where numbers begin and the amount, like"),
        ("text_currency", "euro", "“euro” is not a currency. Write its three letters, like EUR."),
    ],
)
def test_what_is_no_money_is_not_stored(
    client: Client, organisation: Organisation, field: str, filled: str, said: str
) -> None:
    before = held_of(organisation)
    assert said in text(limit(client, messages_per_hour="5", **{field: filled}))
    assert held_of(organisation) == before


def test_limits_of_text_messages_that_changed_meanwhile_are_not_overwritten(
    client: Client, organisation: Organisation
) -> None:
    opened = version(client, "/console/submission/", "/console/submission/limits/")
    submitting.cap_texts(organisation, TextCaps(texts_per_hour=7))
    assert client.post("/console/submission/limits/", {**NO_CAPS, "version": opened}).status_code == 409
    organisation.refresh_from_db()
    assert submitting.text_caps_of(organisation) == TextCaps(texts_per_hour=7)


# --- how to connect, and in which language -----------------------------------------------------------------------


def test_the_pages_say_where_to_connect(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    body = text(client.get("/console/submission/"))
    assert settings.ZEGEL.hostname in body
    assert "587</span>, STARTTLS" in body
    assert "465" not in body
    section = settings.ZEGEL.submission.model_copy(
        update={"listen_implicit_tls": (Listen(host="0.0.0.0", port=465), Listen(host="::", port=465))}
    )
    monkeypatch.setattr(settings, "ZEGEL", settings.ZEGEL.model_copy(update={"submission": section}))
    for answer in (
        client.get("/console/submission/"),
        client.post("/console/credentials/", {"description": "mailserver"}),
    ):
        assert text(answer).count("465</span>, TLS from the start") == 1


@pytest.mark.parametrize(
    ("language", "words"),
    [
        (
            "en",
            ("Submission", "May sign in from", "Renew the secret", "Messages per hour", "no limit", "How to connect"),
        ),
        (
            "nl",
            ("Aanleveren", "Mag inloggen vanaf", "Geheim vernieuwen", "Berichten per uur", "geen limiet", "Verbinding"),
        ),
    ],
)
def test_the_pages_speak_both_languages(
    administrator: Account, page: str, language: str, words: tuple[str, ...]
) -> None:
    client = signed_in(administrator, language)
    body = text(client.get(page)) + text(client.get("/console/submission/"))
    for word in words:
        assert word in body, word


def test_an_error_speaks_dutch_too(administrator: Account, page: str) -> None:
    body = text(bind(signed_in(administrator), page, networks="192.0.2.1/24 x", authors="y", messages_per_hour="-1"))
    for said in (
        "Mag inloggen vanaf: ‘192.0.2.1/24’ kan twee dingen betekenen.",
        "Mag inloggen vanaf: ‘x’ is geen IP-adres of netwerk. Schrijf het als 192.0.2.10 of 192.0.2.0/24.",
        "Mag versturen voor: ‘y’ is geen adres of domein.",
        "Berichten per uur: ‘-1’ kan geen limiet zijn.",
    ):
        assert said in body, said


# --- in a browser ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    needs("chromium")
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"  # Playwright runs a loop in this thread
    with browser() as running:
        yield running
    del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("width", [320, 1280])
def test_it_all_works_without_javascript_on_a_small_phone_and_a_large_screen(
    chromium: Chromium, live_server: object, administrator: Account, issued: credentials.NewCredential, width: int
) -> None:
    site = str(live_server).replace("127.0.0.1", "localhost")
    with chromium.visit(java_script_enabled=False, width=width) as visit:
        page = visit.page

        def press(name: str) -> None:
            page.get_by_role("button", name=name, exact=True).click()
            assert fits(page), page.url

        page.goto(f"{site}/account/sign-in/")
        page.get_by_label("E-mailadres").fill(administrator.email)
        page.get_by_label("Wachtwoord").fill(PASSWORD)
        press("Verder")
        page.get_by_label("Code").fill(current_totp(SECRET))
        press("Inloggen")
        page.goto(f"{site}/console/credentials/")
        page.get_by_role("link", name="mailserver", exact=True).click()
        page.get_by_label("Mag inloggen vanaf").fill("192.0.2.1/24")
        page.get_by_label("Berichten per uur").fill("25")
        press("Opslaan")
        expect(page.get_by_role("alert")).to_be_visible()
        page.get_by_label("Mag inloggen vanaf").fill("192.0.2.0/24")
        press("Opslaan")
        expect(page.get_by_text("De wijzigingen zijn opgeslagen.")).to_be_visible()
        page.get_by_role("link", name="Geheim vernieuwen").click()
        press("Nieuw geheim maken")
        expect(page.locator("#secret")).to_be_visible()
        page.get_by_role("link", name="Ik heb het overgenomen").click()
        page.get_by_role("link", name="Vorige geheim beëindigen").click()
        press("Vorige geheim beëindigen")
        expect(page.get_by_text("Het vorige geheim is beëindigd.")).to_be_visible()
        page.get_by_role("link", name="Aanleveren", exact=True).click()
        page.get_by_label("SMTP-toegang of SPF").check()
        press("Bewijs opslaan")
        press("Zonder beperking opslaan")
        expect(page.get_by_text("SPF is nu nergens aan gebonden.")).to_be_visible()
        expect(page.get_by_label("SMTP-toegang of SPF")).to_be_checked()
    issued.credential.refresh_from_db()
    assert issued.credential.networks == ["192.0.2.0/24"]
    assert issued.credential.messages_per_hour == 25
