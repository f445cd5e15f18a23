"""All walks, and who goes them: with a browser of its own, on ground of its own."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from django.template.base import Template
from django.test.signals import template_rendered
from django.urls import URLPattern, URLResolver, get_resolver
from playwright.sync_api import Route

from tests.browser import scenes_console, scenes_guest, scenes_inbox
from tests.browser.judging import Language, Weight
from tests.browser.stage import LOCALES, Scene, Stage
from tests.journey.portal_ground import Ground
from tests.peers.chromium import Chromium
from zegel.web.translations import PACKAGE

PARTS: Final = (scenes_guest, scenes_inbox, scenes_console)
TEMPLATES: Final = frozenset(str(one.relative_to(PACKAGE)) for one in PACKAGE.glob("**/templates/**/*.html"))
_BODIES: Final = re.compile(r"/(body|images)/[0-9a-f-]{36}$")
Look = Callable[[Stage, str], None]


def walk(one: Scene, language: Language, look: Look, *, ground: Ground, url: str, chromium: Chromium) -> set[str]:
    """Looks at every state of a walk; gives the names of the addresses that pages were seen of."""
    seen = set[str]()
    ground.configure(url=url)
    with chromium.visit(locale=LOCALES[language]) as visit:
        visit.context.route(_BODIES, _without_sandbox)
        stage = Stage(ground, visit.page, url, language, Weight(visit.page))
        for state in one.play(stage):
            seen.add(stage.shown())
            look(stage, state)
    return seen


def _without_sandbox(route: Route) -> None:
    """The HTML of a message stands in a sandbox, where no script runs, and axe is one: it judges that page outside."""
    fetched = route.fetch()
    headers = {name: value for name, value in fetched.headers.items() if name != "content-security-policy"}
    route.fulfill(response=fetched, headers=headers)


def addresses() -> dict[str, URLPattern]:
    """Every address of the gateway, by name."""
    return dict(_in(get_resolver().url_patterns))


def _in(patterns: list[URLPattern | URLResolver], space: str = "") -> Iterator[tuple[str, URLPattern]]:
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            yield from _in(pattern.url_patterns, f"{space}{pattern.namespace}:" if pattern.namespace else space)
        else:
            yield f"{space}{pattern.name}", pattern


@contextmanager
def templates_used() -> Iterator[set[str]]:
    """Fills with the templates of the gateway that are used inside the block."""
    used = set[str]()

    def note(template: Template, **_: object) -> None:
        path = Path(str(template.origin.name))
        if path.is_relative_to(PACKAGE):
            used.add(str(path.relative_to(PACKAGE)))

    template_rendered.connect(note)
    try:
        yield used
    finally:
        template_rendered.disconnect(note)
