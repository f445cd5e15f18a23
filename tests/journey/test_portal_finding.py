"""Finding a message among one's own, and nothing of anybody else's; what is looked for stands in no address."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client

from tests.journey.portal_ground import NOON, Clock, Ground, dump, mail, signed_in, words
from zegel.journey.custody.models import Conversation, Recipient
from zegel.journey.portal import finding

pytestmark = pytest.mark.django_db
State = Recipient.State


@pytest.fixture
def author(ground: Ground) -> Client:
    return signed_in(ground.author)


def subjects(response: Any) -> list[str]:
    return re.findall(r'class="entry-subject"[^>]*>([^<]*)</a>', response.content.decode())


def search(client: Client, text: str = "", **more: str) -> Any:
    return client.post("/inbox/search", {"text": text, **more})


def test_who_is_not_signed_in_finds_nothing(ground: Ground) -> None:
    assert search(Client(HTTP_HOST="localhost"), "x")["Location"].startswith("/account/sign-in/")


def test_nothing_of_anybody_else_is_found(ground: Ground) -> None:
    conversation = ground.conversation(mail(subject="Van de balie"))
    ground.recipient(conversation, "ander@example.org", method="account")
    ground.recipient(conversation, "zoeker@voorbeeld.test", method="sms")  # D-9
    seeker = signed_in(ground.account("zoeker@voorbeeld.test", role="owner"))
    for text in ("balie", "ander@example.org", "zoeker", "e"):
        assert subjects(search(seeker, text)) == []
    for which in finding.SHOWN:
        assert subjects(seeker.get(f"/inbox/?show={which}")) == []


def test_a_subject_is_found_whatever_its_capitals(ground: Ground, author: Client) -> None:
    ground.recipient(ground.conversation(mail(subject="De Uitslag van maandag")))
    ground.recipient(ground.conversation(mail(subject="Iets anders")), "tweede@example.net")
    assert subjects(search(author, "uITSLAG")) == ["De Uitslag van maandag"]
    assert subjects(search(author, "nergens")) == []


@pytest.mark.parametrize("text", ["tweede@example.net", "TWEEDE", "Groene Ontvanger", "balie poli"])
def test_who_takes_part_is_found_by_address_and_name(ground: Ground, author: Client, text: str) -> None:
    conversation = ground.conversation(mail(subject="Gezocht", to='"Groene Ontvanger" <tweede@example.net>'))
    ground.recipient(conversation, "tweede@example.net")
    assert subjects(search(author, text)) == ["Gezocht"]


def test_a_bcc_is_found_by_its_own_address_alone(ground: Ground, author: Client) -> None:
    octets = mail(subject="Gezocht")
    shared, blind = ground.conversation(octets), ground.conversation(octets, blind=True)
    ground.recipient(shared, "lezer@voorbeeld.test", method="account")
    ground.recipient(blind, "geheim@example.net")
    assert subjects(search(author, "geheim@example.net")) == ["Gezocht"]
    reader = signed_in(ground.account("lezer@voorbeeld.test"))
    assert subjects(search(reader, "Gezocht")) == ["Gezocht"] and subjects(search(reader, "geheim")) == []


@pytest.mark.parametrize(("text", "found"), [("100%", ["100% zeker"]), ("_", []), ("'; DROP TABLE", [])])
def test_signs_of_the_database_are_ordinary_signs(ground: Ground, author: Client, text: str, found: list[str]) -> None:
    ground.recipient(ground.conversation(mail(subject="100% zeker")))
    assert subjects(search(author, text)) == found


def test_a_period_is_days_of_here(ground: Ground, clock: Clock, author: Client) -> None:
    for day in range(3):
        ground.recipient(ground.conversation(mail(subject=f"Dag {day}")))
        clock.forward(days=1)
    assert subjects(search(author, since="2026-11-24")) == ["Dag 2", "Dag 1"]
    assert subjects(search(author, until="2026-11-24")) == ["Dag 1", "Dag 0"]
    assert subjects(search(author, "dag", since="2026-11-24", until="2026-11-24")) == ["Dag 1"]
    assert subjects(search(author, "dag", since="0001-01-01", until="9999-12-31")) == ["Dag 2", "Dag 1", "Dag 0"]


@pytest.mark.parametrize("values", [{}, {"text": "  "}, {"since": "gisteren"}, {"text": "x" * 101}])
def test_nothing_to_look_for_is_told_so(ground: Ground, author: Client, values: dict[str, str]) -> None:
    assert author.post("/inbox/search", values).status_code == 422


def test_of_older_messages_subjects_are_not_looked_at_and_the_page_says_so(
    ground: Ground, clock: Clock, author: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finding, "MOST_OPENED", 2)
    for number in range(4):
        ground.recipient(ground.conversation(mail(subject=f"Gezocht {number}")), f"r{number}@example.org")
        clock.forward(minutes=1)
    page = search(author, "gezocht")
    assert subjects(page) == ["Gezocht 3", "Gezocht 2"]
    assert "Of 2 older messages the subjects were not looked at." in words(page)
    assert subjects(search(author, "r0@example.org")) == ["Gezocht 0"], "addresses are looked for in all"


def test_too_many_are_cut_and_the_page_says_so(ground: Ground, author: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finding, "MOST_FOUND", 2)
    for _ in range(3):
        ground.recipient(ground.conversation(mail(subject="Gezocht")))
    page = search(author, "gezocht")
    assert len(subjects(page)) == 2 and "There are more" in words(page)


def test_what_was_destroyed_is_found_by_address_and_not_by_subject(ground: Ground, author: Client) -> None:
    ground.recipient(ground.conversation(mail(subject="Gezocht")))
    Conversation.objects.update(gateway_slot=None)
    assert subjects(search(author, "gezocht")) == []
    assert len(subjects(search(author, "ontvanger@"))) == 1


def test_looking_for_something_leaves_nothing_behind(ground: Ground, author: Client) -> None:
    ground.recipient(ground.conversation(mail(subject="Gezocht")))
    author.get("/inbox/")
    before = [row for row in dump() if not row.startswith("django_session")]
    search(author, "Gezocht")
    assert [row for row in dump() if not row.startswith("django_session")] == before


def test_kinds_show_what_they_say(ground: Ground, author: Client) -> None:
    def sent(subject: str, state: str, **fields: Any) -> None:
        ground.recipient(ground.conversation(mail(subject=subject)), state=state, **fields)

    sent("wacht", State.NOTIFIED)
    sent("vast", State.HELD)
    sent("open", State.OPENED, opened_at=NOON)
    sent("terug", State.NOTIFIED, revoked_at=NOON)
    colleague = ground.account("collega@voorbeeld.test")
    for subject, opened in (("binnen", None), ("gelezen", NOON)):
        received = ground.conversation(mail(subject=subject), author=colleague)
        ground.recipient(received, ground.author.email, method="account", opened_at=opened)
    expected = {
        "": {"wacht", "vast", "open", "terug", "binnen", "gelezen"},
        "received": {"binnen", "gelezen"},
        "sent": {"wacht", "vast", "open", "terug"},
        "held": {"vast"},
        "unopened": {"wacht", "binnen"},
        "anders": {"wacht", "vast", "open", "terug", "binnen", "gelezen"},
    }
    for which, names in expected.items():
        assert set(subjects(author.get(f"/inbox/?show={which}"))) == names, which
    assert set(subjects(search(author, "a", show="received"))) == {"binnen", "gelezen"}


def test_the_next_page_is_of_the_same_kind(ground: Ground, author: Client) -> None:
    for _ in range(26):
        ground.recipient(ground.conversation(mail()))
    page = author.get("/inbox/?show=sent")
    assert 'href="?show=sent&amp;page=2"' in page.content.decode()
    assert len(subjects(author.get("/inbox/?show=sent&page=2"))) == 1
    assert "?show=<script>" not in author.get("/inbox/?show=<script>").content.decode()
