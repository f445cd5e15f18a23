"""The way in: links, codes, proofs. Promises P12, P13, P14."""

from __future__ import annotations

import pytest

from tests.journey.portal_ground import Ground, Visitor, mail, words

pytestmark = pytest.mark.django_db


def test_smoke(ground: Ground, visitor: Visitor) -> None:
    recipient = ground.recipient(ground.conversation(mail()))
    token = ground.link(recipient)
    visitor.open(recipient, token)
    page = visitor.read(recipient)
    print(words(page))
    assert page.status_code == 200
