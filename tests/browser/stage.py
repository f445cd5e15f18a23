"""Where pages are shown in a real browser: a gateway with people in it, and somebody who goes from page to page."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from django.test import Client
from django.urls import Resolver404, resolve, reverse
from playwright.sync_api import BrowserContext, Locator, Page

from tests.browser.judging import Language, Weight
from tests.journey.portal_ground import PASSWORD, TOTP, Ground
from zegel.accounts.models import Account
from zegel.accounts.sign_in import current_totp, enrol_totp

LOCALES: Final[dict[Language, str]] = {"nl": "nl-NL", "en": "en-GB"}
Play = Callable[["Stage"], Iterator[str]]


@dataclass(frozen=True, slots=True)
class Scene:
    """A walk through some pages. It stops in every state that is worth looking at, and says its name."""

    name: str
    pages: frozenset[str]  # names of the addresses that it shows a page of
    play: Play

    @property
    def part(self) -> str:
        """The module that it stands in."""
        return self.play.__module__


SCENES: Final[dict[str, Scene]] = {}


def scene(*pages: str) -> Callable[[Play], Play]:
    """Registers a walk, with the names of the addresses that it shows a page of."""

    def register(play: Play) -> Play:
        name = play.__name__.replace("_", "-")
        SCENES[name] = Scene(name, frozenset(pages), play)
        return play

    return register


@dataclass
class Stage:
    """A visitor of the gateway."""

    ground: Ground
    page: Page
    url: str
    language: Language
    weight: Weight
    people: dict[str, Account] = field(default_factory=dict)

    @property
    def context(self) -> BrowserContext:
        """The browser, as far as its visitor goes."""
        return self.page.context

    def address(self, name: str, **parts: object) -> str:
        """The address of a page, by its name."""
        return reverse(name, kwargs=parts)

    def go(self, name: str, *, query: str = "", **parts: object) -> None:
        """To the page of that name."""
        self.visit(self.address(name, **parts) + query)

    def visit(self, path: str) -> None:
        """To the page at that path."""
        self.page.goto(self.url + path)

    def send(self, form: str = "", /, **values: str | bool | list[str]) -> None:
        """Fills in the form whose action ends so, or else the first one of the page, and sends it past the checks of
        the browser, as a browser without such checks does."""
        forms = self.page.locator(f'main form[action$="{form}"]' if form else "main form")
        one = forms.first
        self.unfold()
        for name, value in values.items():
            where = one.locator(f'[name="{name}"]')
            if isinstance(value, list):  # of several boxes
                for one_of_them in value:
                    one.locator(f'[name="{name}"][value="{one_of_them}"]').check()
            elif isinstance(value, bool):
                where.first.set_checked(value)
            elif where.first.get_attribute("type") == "radio":
                one.locator(f'[name="{name}"][value="{value}"]').check()
            elif where.first.evaluate("one => one.tagName") == "SELECT":
                where.first.select_option(value)
            else:
                where.first.fill(value)
        one.evaluate("form => { form.noValidate = true }")
        self.press(one.locator("button:not([type=button])").first)

    def press(self, button: Locator) -> None:
        """Presses what leads to another page, and waits until that page is whole: a click waits for nothing."""
        with self.page.expect_navigation():
            button.click()

    def unfold(self) -> None:
        """Opens all that is folded on the page."""
        self.page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")

    def shown(self) -> str:
        """The name of the address of the page; empty where there is none of that address."""
        path = re.sub(r"[?#].*", "", self.page.url.removeprefix(self.url))
        try:
            return resolve(path).view_name
        except Resolver404:
            return ""

    def whose(self) -> str:
        """What the title of the page should end in: the organisation, where the page is one of an organisation."""
        brand = self.page.locator("header .brand span")
        return (brand.text_content() or "") if brand.count() else "Zegel"

    def account(self, address: str, **fields: Any) -> Account:
        """Of the organisation, with a second factor."""
        made = self.ground.account(address, **fields)
        enrol_totp(made, TOTP)
        return made

    def administrator(self) -> Account:
        """Made when first asked for, and signed in."""
        if "administrator" not in self.people:
            self.people["administrator"] = self.account("beheer@voorbeeld.test", role="owner")
            self.sign_in(self.people["administrator"])
        return self.people["administrator"]

    def author(self) -> Account:
        """Signed in."""
        if "author" not in self.people:
            enrol_totp(self.ground.author, TOTP)
            self.people["author"] = self.ground.author
            self.sign_in(self.ground.author)
        return self.ground.author

    def sign_in(self, account: Account) -> None:
        """Gives this browser the session of who signed in with both steps."""
        client = Client(HTTP_HOST="localhost", HTTP_ACCEPT_LANGUAGE=self.language)
        client.post("/account/sign-in/", {"login": account.email, "password": PASSWORD})
        assert client.post("/account/security/authenticate/", {"code": current_totp(TOTP)}).status_code == 302
        self.keep(client)

    def keep(self, client: Client) -> None:
        """Takes over the cookies of another browser."""
        for name, cookie in client.cookies.items():
            if cookie.value:
                self.context.add_cookies(
                    [{"name": name, "value": cookie.value, "url": "https://localhost", "httpOnly": True}]
                )
