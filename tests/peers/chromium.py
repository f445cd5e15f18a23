"""Debian's Chromium, driven by Playwright: what a guest sees, and what the page asked the network for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from playwright.sync_api import Browser, BrowserContext, Page, Request, expect, sync_playwright

CHROMIUM: Final = "/usr/bin/chromium"
ARGUMENTS: Final = (
    "--no-sandbox",  # the tests run as root, and the pages are ours
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PATIENCE: Final = 60_000
"""Milliseconds that a page may take to become what is expected: a busy machine is no fault of a page."""

expect.set_options(timeout=PATIENCE)


@dataclass(frozen=True, slots=True)
class Visit:
    """A visitor nobody knows: no cookies, no cache, one open page.

    ``requests`` are the addresses of all that was asked for so far, by this page (with its WebSockets) and by every
    page that it opens.
    """

    context: BrowserContext
    page: Page
    requests: list[str] = field(default_factory=list)


class Chromium:
    """A running browser."""

    def __init__(self, running: Browser) -> None:
        self._running = running

    @contextmanager
    def visit(
        self, *, java_script_enabled: bool = True, width: int = 1280, height: int = 800, locale: str = "nl-NL"
    ) -> Iterator[Visit]:
        """Downloads are kept until the visit ends; a certificate that can't be trusted is an error, as for anyone."""
        context = self._running.new_context(
            java_script_enabled=java_script_enabled,
            accept_downloads=True,
            ignore_https_errors=False,
            viewport={"width": width, "height": height},
            locale=locale,
        )
        requests: list[str] = []

        def asked(request: Request) -> None:
            requests.append(request.url)

        try:
            context.on("request", asked)
            context.set_default_timeout(PATIENCE)
            page = context.new_page()
            # Playwright tells of a WebSocket only once its host was found, the protocol below as soon as it is made.
            session = context.new_cdp_session(page)
            session.on("Network.webSocketCreated", lambda event: requests.append(event["url"]))
            session.send("Network.enable")
            yield Visit(context, page, requests)
        finally:
            context.close()


@contextmanager
def browser(hosts: Mapping[str, str] | None = None) -> Iterator[Chromium]:
    """A browser for any number of visits, one after the other; gone after the block.

    It resolves ``localhost`` and the names in ``hosts`` (each with its address) and no other name at all: what a
    page asks outside is recorded, and reaches nobody.
    """
    rules = [f"MAP {name} {address}" for name, address in (hosts or {}).items()]
    rules += ["MAP * ~NOTFOUND", "EXCLUDE localhost", "EXCLUDE 127.*"]
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(
            executable_path=CHROMIUM, args=[*ARGUMENTS, f"--host-resolver-rules={','.join(rules)}"]
        )
        try:
            yield Chromium(running)
        finally:
            running.close()


def fits(page: Page) -> bool:
    """Nothing is to the right of the window (WCAG 2.2 §1.4.10), once the page is whole."""
    page.wait_for_load_state()  # a click waits for the answer, not for the page in it
    return bool(page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))
