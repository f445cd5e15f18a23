"""The pages about webhooks and about who is mailed: bad input, other people's changes, other people's webhooks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.journey.portal_ground import Clock, Ground
from tests.web.whole_site import House, administrator, house
from zegel.accounts.models import Webhook
from zegel.edge.keyring import opening_keys
from zegel.web.settings import ZEGEL

pytestmark = pytest.mark.django_db


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    ground = Ground(tmp_path, opening_keys(ZEGEL.keys), Clock())
    ground.configure()
    return ground


@pytest.fixture
def here(ground: Ground) -> House:
    return house(ground, "Gemeente Voorbeeld", "gemeente.test")


def version_in(page: str) -> str:
    found = re.search(r'name="version" value="([^"]+)"', page)
    assert found is not None
    return found[1]


def test_a_change_that_was_made_of_something_older_overwrites_nothing(ground: Ground, here: House) -> None:
    client = administrator(ground, here)
    webhook = Webhook.objects.get(organisation=here.organisation, pk=str(here.things["webhook/UUIDConverter"]))
    address = f"/console/webhooks/{webhook.pk}/"
    version = version_in(client.get(address).content.decode())
    filled = {"description": "eerste", "url": webhook.url, "events": ["recipient.held"], "is_enabled": "on"}
    assert client.post(address, {**filled, "version": version}).status_code == 302
    assert client.post(address, {**filled, "description": "tweede", "version": version}).status_code == 409
    webhook.refresh_from_db()
    assert (webhook.description, webhook.events) == ("eerste", ["recipient.held"])


def test_bad_input_is_answered_at_its_field_and_stores_nothing(ground: Ground, here: House) -> None:
    client = administrator(ground, here)
    before = Webhook.objects.count()
    for filled in (
        {"description": "x", "url": "http://a.test/", "events": ["recipient.held"]},
        {"description": "x", "url": "https://a.test:25/", "events": ["recipient.held"]},
        {"description": "x", "url": "https://a.test/", "events": ["nergens"]},
        {"description": "x", "url": "https://a.test/"},
    ):
        answer = client.post("/console/webhooks/", filled)
        assert (answer.status_code, b"error-summary" in answer.content) == (200, True)
    assert Webhook.objects.count() == before
    page = client.get("/console/overview/told/").content.decode()
    filled_in = {"whom": "these", "addresses": "geen adres", "version": version_in(page)}
    assert b"error-summary" in client.post("/console/overview/told/", filled_in).content
    here.organisation.refresh_from_db()
    assert here.organisation.alarm_addresses is None
