"""Whatever somebody changes for an organisation stands in its audit log, and nothing secret does."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest
from django.conf import settings
from django.test import Client

from tests.journey.portal_ground import MARKER, TOTP, Ground
from tests.peers.site import Site, gives, site
from tests.web.everything_done import (
    CODES,
    DONE,
    DONE_BY_AUTHORS,
    EXPORTS,
    IDENTITY_SECRET,
    LATER,
    NEW_PASSWORD,
    NUMBERS,
    READS,
    Done,
    Place,
    do,
)
from tests.web.whole_site import PHONE, House, administrator, author, changed, house, routes, rows, whole_ground
from zegel.accounts import audit
from zegel.accounts.models import Account, AuditEntry, Organisation
from zegel.core.policy.audit import Act, Sound, understood, verify
from zegel.local.authority import LocalAuthority

pytestmark = pytest.mark.django_db

PASSING: Final = {
    "django_session": "who is signed in",
    "accounts_accountsession": "where",
    "accounts_signinfailure": "how often not",
    "accounts_auditentry": "the log itself",
    "custody_job": "work that is due because of it",
    "custody_erasure": "what a backup must not bring back",
}
"""Tables whose change is no act by itself."""


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return whole_ground(tmp_path)


@pytest.fixture
def here(ground: Ground) -> House:
    return house(ground, "Gemeente Voorbeeld", "gemeente.test")


@pytest.fixture
def keeper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A web server with a list of domains, which the gateway believes."""
    authority = LocalAuthority.load_or_create(tmp_path / "authority")
    delivery = settings.ZEGEL.delivery.model_copy(update={"extra_ca": authority.certificate_path})
    monkeypatch.setattr(settings, "ZEGEL", settings.ZEGEL.model_copy(update={"delivery": delivery}))
    with site(*authority.issue(["127.0.0.1"], tmp_path)) as running:
        running.answers["/lijst"] = gives(b"a.test\nb.test tls1.3 dane\n")
        yield running


@pytest.fixture
def place(ground: Ground, here: House, keeper: Site) -> Place:
    return Place(ground, here, keeper)


def test_every_form_of_the_console_is_known_here() -> None:
    """A new route: say in ``everything_done`` how it is filled in, or that it only reads."""
    forms = {one.name for one in routes() if one.name.startswith("console:") and "POST" in one.takes.value}
    assert forms == DONE.keys() | READS.keys() | LATER.keys()


def walk(client: Client, by: Account, place: Place, forms: Mapping[str, Done]) -> Iterator[bytes]:
    """Does everything; each must change something, and leave an entry that says who did it. Gives what was answered."""
    named = {one.name: one for one in routes()}
    for name, done in forms.items():
        done.before(place)
        known, before = AuditEntry.objects.count(), rows()
        yield do(client, named[name], done, place)
        found = changed(before, rows()) - PASSING.keys()
        entries = list(AuditEntry.objects.order_by("pk")[known:])
        assert found or name in EXPORTS, (name, "nothing was changed: this tests nothing")
        assert entries, (name, found, "was changed, and no entry says by whom")
        for one in entries:
            assert (one.by, one.organisation) == (by.email, place.house.organisation), (name, one)


def test_whatever_is_changed_in_the_console_is_noted_with_who_did_it(ground: Ground, place: Place) -> None:
    client = administrator(ground, place.house)
    answers = b"".join(walk(client, place.house.administrator, place, DONE)).decode("utf-8", "replace")
    secrets = re.findall(r'id="secret">([\w-]{43})<', answers)
    assert len(secrets) >= 2, "of a credential, and its second one"
    found = exported(place.house.organisation)
    assert isinstance(verify(map(understood, found)), Sound)
    assert_nothing_secret_in("\n".join(found), place.house, *secrets)


def test_whatever_account_holders_do_for_it_is_noted_too(ground: Ground, place: Place) -> None:
    client = author(ground, place.house)
    assert all(answer is not None for answer in walk(client, place.house.author, place, DONE_BY_AUTHORS))
    found = exported(place.house.organisation)
    assert isinstance(verify(map(understood, found)), Sound)
    assert_nothing_secret_in("\n".join(found), place.house)
    acts = {json.loads(line)["act"] for line in found}
    assert acts >= {
        act.value
        for act in (
            Act.SIGNED_IN, Act.PASSWORD_CHANGED, Act.VERIFICATION_ADDED, Act.VERIFICATION_CHANGED,
            Act.VERIFICATION_REMOVED, Act.MESSAGE_SUPPLIED, Act.METHOD_ALLOWED, Act.NOTIFIED_AGAIN, Act.EXPIRY_CHANGED,
            Act.MESSAGE_REVOKED,
        )
    }  # fmt: skip


def exported(organisation: Organisation) -> list[str]:
    return list(audit.export(organisation))


def assert_nothing_secret_in(log: str, here: House, *more: str) -> None:
    """No number in any spelling, no code, secret, subject or content."""
    assert "****" in log or "masked" not in log, "of a number its end may stand there"
    digits = re.sub(r"[^0-9]", "", re.sub(r"[0-9a-f]{32,}|\d{4}-\d\d-\d\dT[\d:.+]+", " ", log))
    for number in (PHONE, *NUMBERS):
        assert re.sub(r"[^0-9]", "", number)[-9:] not in digits
        assert number not in log
    for word in (*CODES, *here.secrets, MARKER, NEW_PASSWORD, IDENTITY_SECRET, TOTP.reveal(), "Uitslag", *more):
        assert word not in log, "a secret in the audit log"


@pytest.mark.parametrize("name", sorted(READS))
def test_what_only_reads_is_no_act(ground: Ground, here: House, name: str) -> None:
    client = administrator(ground, here)
    route = next(one for one in routes() if one.name == name)
    before = rows()
    filled = {"sought": "x@example.org", "address": "x@example.org", "by": "x@example.org", "name": "x"}
    assert client.post(here.address(route), filled).status_code == 200
    assert not changed(before, rows())


def test_what_is_refused_is_not_noted(ground: Ground, here: House) -> None:
    """A form that can't be understood changes nothing, and so there is nothing to note."""
    client = administrator(ground, here)
    known = AuditEntry.objects.count()
    for route in routes():
        if route.name in DONE.keys() - EXPORTS - _WITHOUT_FIELDS:
            client.post(here.address(route), {"version": "older"})
    assert AuditEntry.objects.count() == known


_WITHOUT_FIELDS: Final = {name for name, done in DONE.items() if not done.filled and done.fill is Done().fill}


def test_one_route_without_an_entry_is_noticed(ground: Ground, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """This file finds what it is for: a change that somebody forgot to note."""
    monkeypatch.setattr("zegel.accounts.submitting.note", lambda *_, **__: None)
    client, name = administrator(ground, place.house), "console:submission_limits"
    with pytest.raises(AssertionError, match="no entry says by whom"):
        list(walk(client, place.house.administrator, place, {name: DONE[name]}))
