"""Takes the pictures of ``tests/browser/screenshots.py``. Not one of the tests: its name is given to pytest there."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

import pytest
from pytest_django.live_server_helper import LiveServer

from tests.browser.judging import SCHEMES, WIDTHS, Language
from tests.browser.screenshots import FOLDER, WANTED
from tests.browser.stage import SCENES, Scene, Stage
from tests.browser.walking import walk
from tests.journey.portal_ground import Ground
from tests.peers.chromium import Chromium

_LANGUAGES: Final[tuple[Language, ...]] = ("nl", "en")

pytestmark = pytest.mark.django_db(transaction=True)


def wanted() -> list[Scene]:
    """Those that were named, or all."""
    beginnings = tuple(os.environ.get(WANTED, "").split())
    return [one for name, one in SCENES.items() if name.startswith(beginnings) or not beginnings]


@pytest.mark.parametrize("language", _LANGUAGES)
@pytest.mark.parametrize("one", wanted(), ids=lambda one: one.name)
def test_pictures_are_taken(
    one: Scene, language: Language, ground: Ground, live_server: LiveServer, chromium: Chromium
) -> None:
    folder = Path(os.environ[FOLDER])

    def look(stage: Stage, state: str) -> None:
        for width in WIDTHS:
            stage.page.set_viewport_size({"width": width, "height": 800})
            for scheme in SCHEMES:
                stage.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
                name = f"{one.name}.{re.sub('[^a-z0-9]+', '-', state.lower())}.{language}.{width}.{scheme}.png"
                stage.page.screenshot(path=folder / name, full_page=True, animations="disabled")
        stage.page.set_viewport_size({"width": WIDTHS[0], "height": 800})

    walk(one, language, look, ground=ground, url=live_server.url, chromium=chromium)
