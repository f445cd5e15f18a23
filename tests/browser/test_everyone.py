"""Every page in every state can be used by everyone: WCAG 2.2 AA as axe and the browser see it (P25)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Page

from tests.browser.judging import EVERY, IN_EVERY_VIEW, LIGHT_ENOUGH, PAIRWISE, Weight, judged, titled, views
from tests.browser.stage import SCENES
from tests.browser.walking import addresses
from tests.peers.chromium import Chromium
from tests.web.whole_site import TAKES

pytestmark = pytest.mark.django_db(transaction=True)
WITHOUT_A_PAGE: Final = {
    "set_language": "a form; leads back",
    "account_reset_password": "leads to portal:forgotten",
    "mfa_download_recovery_codes": "a file",
    "look_sheet": "a style sheet",
    "look_logo": "an image",
    "mfa_login_webauthn": "for a script",
    **dict.fromkeys((one for one in TAKES if one.startswith(("api:", "scim:"))), "for a program"),
    "account_set_password": "leads to portal:forgotten",
    "identity_saml": "a form of another site; leads on, or shows what identity_answer does",
    "identity_saml_metadata": "a file",
    "console:sign_in_test": "a form; leads back",
    "console:sign_in_begin": "leads to console:sign_in_add",
    "portal:link": "leads on, or says that there is no way in",
    "portal:link-devices": "leads on, or says that there is no way in",
    "portal:guest-open": "a form; leads to portal:guest-read",
    "portal:guest-device-remove": "a form; leads back",
    "portal:sessions-end": "a form; leads back",
    "portal:program-end": "a form; leads back",
    "console:list_refresh": "a form; leads back",
    "console:domain_check": "a form; leads back",
    "console:webhook_test": "a form; leads back",
    "console:audit_export": "a file",
    "console:message_export": "a file",
    "console:recipient_export": "a file",
    "console:privacy_export": "a file",
    "console:verification_import_rows": "a file",
    "console:verification_import_confirm": "a form; leads back",
    "console:verification_import_cancel": "a form; leads back",
    "console:account_invite_again": "a form; leads back",
    "console:account_invitation_withdraw": "a form; leads back",
    "portal:invited-link": "leads on, or says that it can’t be used",
    **{
        f"portal:{pages}-{name}": why
        for pages in ("guest", "inbox")
        for name, why in (
            ("part", "a file"),
            ("source", "a file"),
            ("picture", "an image"),
            ("archive", "a file"),
            ("draft", "a form; leads back"),
        )
    },
}
"""Addresses that show nobody a page of their own, and why."""


def test_every_page_of_the_gateway_has_a_state_that_is_looked_at() -> None:
    shown = frozenset[str]().union(*(one.pages for one in SCENES.values()))
    known = set(addresses())
    lacking = sorted(known - shown - set(WITHOUT_A_PAGE))
    assert not lacking, f"no scene in tests/browser shows: {', '.join(lacking)}"
    assert not sorted((shown | set(WITHOUT_A_PAGE)) - known), "these are no addresses any more"


# The judges see what is wrong


@pytest.fixture
def page(chromium: Chromium) -> Iterator[Page]:
    with chromium.visit() as visit:
        yield visit.page


@pytest.mark.parametrize(
    ("markup", "word"),
    [
        ("<main><h1>x</h1><img src=data:,></main>", "image-alt"),
        ("<main><h1>x</h1><p style='color:#ccc;background:#fff'>faint</p></main>", "color-contrast"),
        ("<main><h1>x</h1><p style='width:900px'>wide</p></main>", "wider than the window"),
        ("<main><h1>x</h1><label>x <input name=a aria-invalid=true></label></main>", "nothing tied"),
        ("<main style='font-size:8px'><h1>x</h1><a href=#a>a</a><a href=#b>b</a></main>", "target-size"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_page_is_seen(page: Page, markup: str, word: str) -> None:
    page.set_content(f"<!doctype html><html lang=nl><title>x – y</title>{markup}")
    assert any(word in one for one in judged(page, "nl")), list(judged(page, "nl"))


@pytest.mark.parametrize(
    ("markup", "word"),
    [
        ("<main><h1>x</h1><p style='width:900px'>wide</p></main>", "wider than the window"),
        ("<main><h1>x</h1><label>x <input name=a aria-invalid=true></label></main>", "nothing tied"),
        ("<main><h1>x</h1><p>tekst</p></main>", "should be in en"),
    ],
)
def test_what_is_wrong_in_the_other_language_is_seen(page: Page, markup: str, word: str) -> None:
    page.set_content(f"<!doctype html><html lang=nl><title>x – y</title>{markup}")
    assert any(word in one for one in judged(page, "en")), list(judged(page, "en"))


def test_every_width_meets_every_scheme_and_every_language(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(IN_EVERY_VIEW, raising=False)
    together = {(one.width, one.scheme) for language in PAIRWISE for one in views(language)}
    assert together == {(one.width, one.scheme) for one in EVERY}
    assert all({one.width for one in views(language)} == {one.width for one in EVERY} for language in PAIRWISE)
    assert all({one.scheme for one in views(language)} == {one.scheme for one in EVERY} for language in PAIRWISE)
    monkeypatch.setenv(IN_EVERY_VIEW, "true")
    assert all(views(language) == EVERY for language in PAIRWISE)


def test_a_page_that_weighs_too_much_is_seen(page: Page, tmp_path: Path) -> None:
    heavy = tmp_path / "heavy.html"
    heavy.write_text(f"<!doctype html><title>x</title><p>{'x' * LIGHT_ENOUGH}")
    weight = Weight(page)
    page.goto(heavy.as_uri())
    assert list(weight.judged())
    assert list(titled(page, "y"))
