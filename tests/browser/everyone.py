"""What every walk through the pages is for: each state is judged, and each template is used by some walk."""

from __future__ import annotations

from types import ModuleType
from typing import Final

import pytest

from tests.browser import scenes_console, scenes_inbox
from tests.browser.judging import Findings, Language, as_text, judged, titled
from tests.browser.stage import SCENES, Scene, Stage
from tests.browser.walking import TEMPLATES, templates_used, walk
from tests.journey.portal_ground import Ground
from tests.peers.chromium import Chromium

LANGUAGES: Final[tuple[Language, ...]] = ("nl", "en")
OF_THE_SENDER: Final = ("portal:guest-body", "portal:inbox-body", "portal:guest-images", "portal:inbox-images")
"""The HTML of a message: its title is the subject."""
_USED: Final[dict[str, set[str]]] = {}


def of(part: ModuleType) -> list[Scene]:
    """The walks that stand in a module."""
    return [one for one in SCENES.values() if one.part == part.__name__]


def templates_of(part: ModuleType) -> frozenset[str]:
    """Those that the walks of a module have to come by. Every template is some module's: the guests' walks come by
    what the others don't."""
    claimed = {
        other.__name__: {one for one in TEMPLATES if one.partition("/templates/")[2].startswith(other.TEMPLATES)}
        for other in (scenes_console, scenes_inbox)
    }
    return frozenset(claimed.get(part.__name__, TEMPLATES - set[str]().union(*claimed.values())))


def look_at(one: Scene, language: Language, *, ground: Ground, url: str, chromium: Chromium) -> None:
    """Judges every state of a walk. Fails with what is wrong."""
    found: Findings = {}

    def look(stage: Stage, state: str) -> None:
        wrong = [*judged(stage.page, language), *stage.weight.judged()]
        if stage.shown() not in OF_THE_SENDER:
            wrong += titled(stage.page, stage.whose())
        if wrong:
            found[state] = wrong

    with templates_used() as used:
        seen = walk(one, language, look, ground=ground, url=url, chromium=chromium)
    _USED.setdefault(one.name, set()).update(used)
    assert not one.pages - seen, f"the walk doesn't come by {sorted(one.pages - seen)}"
    assert not found, as_text(found)


def all_templates_are_used(part: ModuleType) -> None:
    """By the walks of a module, once all of them were gone in this process. Skips where some were left out."""
    walks = [one.name for one in of(part)]
    if left := [name for name in walks if name not in _USED]:
        pytest.skip(f"not gone: {', '.join(left)}")
    lacking = templates_of(part) - set[str]().union(*(_USED[name] for name in walks))
    assert not lacking, "\n".join([f"no walk of {part.__name__} comes by:", *sorted(lacking)])
