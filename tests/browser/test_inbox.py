"""What account holders meet can be used by everyone (P25)."""

from __future__ import annotations

import pytest
from pytest_django.live_server_helper import LiveServer

from tests.browser import scenes_inbox
from tests.browser.everyone import LANGUAGES, all_templates_are_used, look_at, of
from tests.browser.judging import Language
from tests.browser.stage import Scene
from tests.journey.portal_ground import Ground
from tests.peers.chromium import Chromium

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("one", of(scenes_inbox), ids=lambda one: one.name)
def test_every_state_can_be_used_by_everyone(
    one: Scene, language: Language, ground: Ground, live_server: LiveServer, chromium: Chromium
) -> None:
    look_at(one, language, ground=ground, url=live_server.url, chromium=chromium)


def test_every_template_is_used_in_some_state() -> None:
    all_templates_are_used(scenes_inbox)
