"""An organisation's colours and logo: who sets them, who gets them, and what they can't be used for (P20, P25)."""

from __future__ import annotations

import re
from html import escape
from io import BytesIO
from typing import Any

import pytest
from django.test import Client

from tests.core.test_look import chunk, png
from tests.web.conftest import PASSWORD, give_password, signed_in
from zegel.accounts import look as looks
from zegel.accounts.models import Account, AuditEntry, Organisation, OrganisationLogo
from zegel.core.look import parse_logo, sheet_name
from zegel.core.mail.texts import PLAIN
from zegel.core.own_texts import OwnTexts
from zegel.core.policy.audit import Act

ACCENT = "#8a1f5c"
PAGE = "/console/look/"


@pytest.fixture
def client(administrator: Account) -> Client:
    return signed_in(administrator, "en")


def store(client: Client, *, version: str | None = None, logo: bytes | None = None, **values: str) -> Any:
    shown = client.get(PAGE).content.decode()
    found = re.search(r'name="version" value="([0-9a-f]+)"', shown)
    assert found is not None
    if logo is not None:
        values["logo"] = BytesIO(logo)  # type: ignore[assignment]
        values["logo"].name = "logo.png"  # type: ignore[attr-defined]
    return client.post(PAGE, {"accent": "", "language": "nl", "region": "NL", "version": version or found[1], **values})


def linked(body: bytes) -> list[str]:
    return re.findall(r'"(/account/look/[^"]+)"', body.decode())


def test_who_is_no_administrator_changes_nothing(organisation: Organisation, newcomer: Account) -> None:
    assert Client().post(PAGE, {"accent": ACCENT}).status_code == 302
    give_password(client := Client(), newcomer.email, PASSWORD)
    assert client.post(PAGE, {"accent": ACCENT}).status_code == 302
    organisation.refresh_from_db()
    assert organisation.accent == ""


def test_a_form_of_another_site_changes_nothing(administrator: Account, organisation: Organisation) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = signed_in(administrator).cookies
    assert strict.post(PAGE, {"accent": ACCENT}).status_code == 403
    organisation.refresh_from_db()
    assert organisation.accent == ""


@pytest.mark.parametrize("accent", ["rood", "#ffcc00", "#0f5666;}body{display:none", "</style>"])
def test_a_colour_that_can_not_be_used_is_refused_with_one_that_can(
    client: Client, organisation: Organisation, accent: str
) -> None:
    answer = store(client, accent=accent)
    assert answer.status_code == 422
    assert re.search(r"such as #[0-9a-f]{6}", answer.content.decode())
    organisation.refresh_from_db()
    assert organisation.accent == ""


@pytest.mark.parametrize("logo", [b"<svg onload='alert(1)'/>", b"GIF89a", png()[:-20], bytes(300_000)])
def test_a_logo_that_is_no_small_png_is_refused(client: Client, logo: bytes) -> None:
    answer = store(client, accent=ACCENT, logo=logo)
    assert answer.status_code == 422
    assert "100 kB" in answer.content.decode()
    assert not OrganisationLogo.objects.exists()


def test_what_was_changed_meanwhile_is_not_overwritten(client: Client, organisation: Organisation) -> None:
    assert store(client, accent=ACCENT, version="0").status_code == 409
    organisation.refresh_from_db()
    assert organisation.accent == ""


def test_colours_and_logo_come_to_the_pages_without_any_inline_style(
    client: Client, organisation: Organisation
) -> None:
    told = png(more=chunk(b"tEXt", b"Author\0afzender"))
    assert store(client, accent="8A1F5C", logo=told).status_code == 302
    body = client.get(PAGE).content
    assert linked(body)[:2] == [
        f"/account/look/{sheet_name(ACCENT)}.css",
        f"/account/look/{parse_logo(png()).name}.png",
    ]
    assert b"style=" not in body and b"<style" not in body
    assert store(client, accent="", no_logo="on").status_code == 302
    assert linked(client.get(PAGE).content) == [] and not OrganisationLogo.objects.exists()


def test_what_is_fetched_may_be_kept_and_does_nothing(organisation: Organisation) -> None:
    looks.show_logo(organisation, logo := parse_logo(png()))
    stranger = Client()
    for address, kind in (
        (f"/account/look/{sheet_name(ACCENT)}.css", "text/css; charset=utf-8"),
        (f"/account/look/{logo.name}.png", "image/png"),
    ):
        answer = stranger.get(address)
        assert answer.status_code == 200 and answer.headers["Content-Type"] == kind
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'; sandbox"
        assert not answer.cookies
        assert stranger.post(address).status_code == 405


def test_what_is_not_there_says_nothing(db: None) -> None:
    for address in ("0f5666.css", "ffcc00-0123456789abcdef.css", f"{'0' * 64}.png", ".png"):
        answer = Client().get(f"/account/look/{address}")
        assert answer.status_code == 404
        assert "no-store" in answer.headers["Cache-Control"]


def test_a_colour_that_a_later_version_refuses_breaks_no_page_and_no_mail(
    client: Client, organisation: Organisation
) -> None:
    Organisation.objects.filter(pk=organisation.pk).update(accent="#ffcc00")
    assert linked(client.get("/console/").content) == []
    organisation.refresh_from_db()
    assert looks.palette_of(organisation) is None and PLAIN.light.accent


# --- own words ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "told"),
    [("Zie www.voorbeeld.test.", "would become a link"), ("a" * 401, "has 401 characters; at most 400")],
)
def test_words_that_can_not_stand_in_a_mail_are_refused_and_shown_again(
    client: Client, organisation: Organisation, text: str, told: str
) -> None:
    answer = store(client, help_nl=text, introduction_nl="Wij mailen veilig.")
    assert answer.status_code == 422
    shown = answer.content.decode()
    assert "Where to turn, in Dutch: " in shown and told in shown and text in shown
    organisation.refresh_from_db()
    assert organisation.own_texts == {}


def test_words_changed_meanwhile_are_not_overwritten(client: Client, organisation: Organisation) -> None:
    found = re.search(r'name="version" value="([0-9a-f]+)"', client.get(PAGE).content.decode())
    assert found is not None
    looks.say(organisation, OwnTexts(help_nl="Bel 030 123 4567."))
    assert store(client, version=found[1], help_nl="").status_code == 409
    organisation.refresh_from_db()
    assert organisation.own_texts == {"help_nl": "Bel 030 123 4567."}


def test_words_are_shown_as_they_will_be_sent_and_who_changed_them_stands_in_the_log(
    client: Client, organisation: Organisation
) -> None:
    text = "Wij mailen veilig & <b>gratis</b>."
    assert store(client, introduction_nl=f"  {text}\n", help_en="Call 030 123 4567.").status_code == 302
    organisation.refresh_from_db()
    assert organisation.own_texts == {"introduction_nl": text, "help_en": "Call 030 123 4567."}
    shown = client.get(PAGE).content.decode()
    example = re.search(r"<pre[^>]*>(.*?)</pre>", shown, re.DOTALL)
    assert example is not None and escape(text) in example[1] and "Bericht openen" in example[1]
    assert "Call 030" not in example[1], "the example is in the language of the organisation"
    entry = AuditEntry.objects.filter(act=Act.LOOK_CHANGED.value).latest("pk")
    assert entry.details["introduction_nl"] == text and entry.details["help_en"] == "Call 030 123 4567."
    assert "introduction in Dutch" in client.get("/console/audit/").content.decode()


def test_language_and_country_are_changed_and_the_name_is_the_operator_s(
    client: Client, organisation: Organisation
) -> None:
    name = organisation.name
    assert "two letters" in store(client, region="Nederland").content.decode()
    assert store(client, language="fr").status_code == 422
    assert store(client, language="en", region="be", name="Belastingdienst").status_code == 302
    organisation.refresh_from_db()
    assert (organisation.name, organisation.language, organisation.region) == (name, "en", "BE")
    entry = AuditEntry.objects.filter(act=Act.ORGANISATION_CHANGED.value).latest("pk")
    assert (entry.details["region"], entry.details["language"]) == ("BE", "en")
