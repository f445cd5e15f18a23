"""A page that brings itself up to date in a real browser: what changed comes, what was unfolded stays, and it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, Response, expect
from pytest_django.live_server_helper import LiveServer

from tests.browser.judging import Weight, judged
from tests.browser.stage import Stage
from tests.journey.portal_ground import NOON, Ground, mail
from tests.journey.tracing_ground import sent, tried
from tests.peers.chromium import Chromium
from zegel.journey.custody.models import Recipient, Transmission

pytestmark = pytest.mark.django_db(transaction=True)
Kind = Transmission.Kind
State = Recipient.State


class Followed:
    """The page of a message, with a clock that the test moves."""

    def __init__(self, page: Page, open_it: Callable[[], None]) -> None:
        self.page, self.looks = page, list[int]()
        page.on("response", self._note)
        page.clock.install()
        open_it()

    def _note(self, response: Response) -> None:
        if response.request.resource_type == "fetch":
            self.looks.append(response.status)

    def look(self, answer: int) -> None:
        """Time goes by until the page looks and is answered so: with what is new, or that there is nothing."""
        before = len(self.looks)
        for _ in range(200):
            self.page.clock.run_for(61_000)
            if answer in self.looks[before:]:
                return
        raise AssertionError(f"no look was answered {answer}: {self.looks[before:]}")


@pytest.fixture
def stage(ground: Ground, live_server: LiveServer, chromium: Chromium) -> Iterator[Stage]:
    """An administrator's browser."""
    ground.configure(url=live_server.url)
    with chromium.visit(locale="en-GB") as visit:
        stage = Stage(ground, visit.page, live_server.url, "en", Weight(visit.page))
        stage.administrator()
        yield stage


def notified(stage: Stage) -> Recipient:
    recipient = stage.ground.recipient(stage.ground.conversation(mail()), "gast@example.org")
    tried(sent(recipient, Kind.NOTIFICATION))
    return recipient


def follow(stage: Stage, recipient: Recipient) -> Followed:
    return Followed(stage.page, lambda: stage.go("console:message", submission=recipient.submission_id))


def test_what_happens_meanwhile_appears_and_what_was_unfolded_stays(stage: Stage) -> None:
    recipient = notified(stage)
    followed, page = follow(stage, recipient), stage.page
    page.get_by_text("Evidence").first.click()
    expect(page.get_by_text("192.0.2.25")).to_be_visible()
    expect(page.get_by_role("status")).to_be_empty()
    followed.look(204)
    expect(page.get_by_role("status")).to_be_empty()

    tried(sent(recipient, Kind.REMINDER), reply="250 2.0.0 reminded")
    followed.look(200)
    expect(page.get_by_text("Reminder: accepted by the receiving server")).to_be_visible()
    expect(page.get_by_role("status")).to_have_text("Brought up to date: something happened.")
    expect(page.get_by_text("192.0.2.25").first).to_be_visible()
    assert page.evaluate("document.activeElement.tagName") == "SUMMARY"
    assert not list(judged(page, "en"))

    Recipient.objects.filter(id=recipient.id).update(state=State.OPENED, opened_at=NOON, opened_with="sms")
    followed.look(200)
    expect(page.get_by_text("Opened on the portal after verification: SMS code.")).to_be_visible()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.clock.run_for(600_000)
    assert asked == []


def test_a_page_that_was_left_open_stops_looking_and_says_so(stage: Stage) -> None:
    """Else it would keep a session alive that nobody uses."""
    followed = follow(stage, notified(stage))
    followed.look(204)
    for _ in range(2000):
        stage.page.clock.run_for(61_000)
        if stage.page.get_by_role("status").text_content():
            break
    assert set(followed.looks) == {204} and len(followed.looks) < 30
    expect(stage.page.get_by_role("status")).to_have_text("This page no longer brings itself up to date.")


def test_who_was_signed_out_is_not_asked_for_ever(stage: Stage) -> None:
    follow(stage, notified(stage))
    stage.context.clear_cookies()
    stage.page.clock.run_for(61_000)
    expect(stage.page.get_by_role("status")).to_have_text("This page no longer brings itself up to date.")
    expect(stage.page.get_by_text("gast@example.org")).to_be_visible()


def test_without_javascript_there_is_a_link(ground: Ground, live_server: LiveServer, chromium: Chromium) -> None:
    ground.configure(url=live_server.url)
    with chromium.visit(locale="en-GB", java_script_enabled=False) as visit:
        stage = Stage(ground, visit.page, live_server.url, "en", Weight(visit.page))
        stage.administrator()
        recipient = notified(stage)
        stage.go("console:message", submission=recipient.submission_id)
        expect(visit.page.get_by_text("Not opened yet.").first).to_be_visible()
        Recipient.objects.filter(id=recipient.id).update(state=State.OPENED, opened_at=NOON, opened_with="sms")
        visit.page.get_by_role("link", name="Refresh").click()
        expect(visit.page.get_by_text("Opened on the portal after verification: SMS code.")).to_be_visible()
        assert visit.page.get_by_role("link", name="Refresh").count() == 0
