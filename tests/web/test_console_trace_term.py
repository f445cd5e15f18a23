"""The page about how long traces are kept: asked about once more where some would go, never overwritten unseen."""

from __future__ import annotations

import html
import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from tests.web.conftest import signed_in
from zegel.accounts import traces as terms
from zegel.accounts.models import Account, AuditEntry, Organisation
from zegel.edge.chance import identifier
from zegel.journey.custody.models import Conversation, Submission

pytestmark = pytest.mark.django_db
PAGE = "/console/audit/traces/"


@pytest.fixture
def owner(administrator: Account) -> Account:
    Account.objects.filter(pk=administrator.pk).update(role="owner")
    administrator.refresh_from_db()
    return administrator


@pytest.fixture
def client(owner: Account) -> Client:
    return signed_in(owner, "en")


def term_of(account: Account) -> int | None:
    assert account.organisation is not None
    return Organisation.objects.get(pk=account.organisation.pk).trace_days


def text(answer: Any) -> str:
    return html.unescape(answer.content.decode())


def version(client: Client) -> str:
    found = re.search(r'name="version" value="([^"]+)"', client.get(PAGE).content.decode())
    assert found is not None
    return found[1]


def ended(owner: Account, *, days: int) -> None:
    now = timezone.now()
    assert owner.organisation is not None
    submission = Submission.objects.create(
        organisation=owner.organisation, account=owner, message_id="<a@voorbeeld.test>", identity=b"", directives=b"",
        source="192.0.2.1", tls="", accepted_at=now - timedelta(days=days),
    )  # fmt: skip
    Conversation.objects.create(
        id=identifier(), organisation=owner.organisation, author=owner, submission=submission,
        created_at=now - timedelta(days=days), destroyed_at=now - timedelta(days=days),
    )  # fmt: skip


def test_who_is_no_owner_sees_the_term_and_may_not_change_it(administrator: Account) -> None:
    Account.objects.filter(pk=administrator.pk).update(role="administrator")
    administrator.refresh_from_db()
    client = signed_in(administrator, "en")
    assert "removed 400 days after it can’t be read any more" in text(client.get("/console/audit/"))
    assert "Change the term of traces" not in text(client.get("/console/audit/"))
    assert client.get(PAGE).status_code == client.post(PAGE, {"days": "90"}).status_code == 403
    assert term_of(administrator) == 400


@pytest.mark.parametrize("days", ["89", "0", "-1", "veel", "1e3", "36501"])
def test_what_is_no_term_is_not_stored(client: Client, owner: Account, days: str) -> None:
    answer = client.post(PAGE, {"days": days, "version": version(client)})
    assert answer.status_code == 422 and f"“{days}” can’t be that" in text(answer)
    assert term_of(owner) == 400


def test_what_would_remove_traces_is_asked_about_once_more(client: Client, owner: Account) -> None:
    ended(owner, days=200)
    seen = version(client)
    asked = client.post(PAGE, {"days": "120", "version": seen})
    assert "One message ended more than 120 days ago." in text(asked)
    assert term_of(owner) == 400
    assert client.post(PAGE, {"days": "120", "version": seen, "confirmed": "yes"}).status_code == 302
    assert term_of(owner) == 120
    entry = AuditEntry.objects.get(act="trace-term-changed")
    assert (entry.by, entry.details) == (owner.email, {"days": 120, "days.before": 400})


def test_a_term_that_changed_meanwhile_is_not_overwritten(client: Client, owner: Account) -> None:
    seen = version(client)
    assert owner.organisation is not None
    terms.keep(owner.organisation, 1000)
    assert client.post(PAGE, {"days": "", "version": seen}).status_code == 409
    assert term_of(owner) == 1000
    assert client.post(PAGE, {"days": "", "version": version(client)}).status_code == 302
    assert "Always." in text(client.get("/console/audit/"))
