"""The way in for guests: links, codes, proofs. Promises P12, P13, P14; nothing changes on GET."""

from __future__ import annotations

import re
import threading
import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import close_old_connections, connection, connections

from tests.journey.portal_ground import NOON, Clock, Ground, Visitor, dump, mail, words
from zegel.accounts import look as looks
from zegel.core.mail.mime import as_text
from zegel.core.own_texts import OwnTexts
from zegel.core.secret import Secret
from zegel.journey.custody.models import (
    Challenge,
    Job,
    Message,
    Proof,
    Recipient,
    SealedVerification,
    Sms,
    Transmission,
    WrongTry,
)
from zegel.journey.portal import codes, links

pytestmark = pytest.mark.django_db


@pytest.fixture
def recipient(ground: Ground) -> Recipient:
    return ground.recipient(ground.conversation(mail()))


@pytest.fixture
def token(ground: Ground, recipient: Recipient) -> str:
    return ground.link(recipient)


def other(code: str, by: int = 1) -> str:
    """Another code of six digits."""
    return f"{(int(code) + by) % 1_000_000:06}"


def without_csrf(response: Any) -> str:
    return re.sub(r'name="csrfmiddlewaretoken" value="[^"]+"', "", response.content.decode())


# Links


@pytest.mark.parametrize("bad", ["A" * 43, "x", "%00", "A" * 10_000, "a" * 44 + ".", "é"])
def test_a_link_that_never_was_one_leads_to_the_same_helpful_page(ground: Ground, visitor: Visitor, bad: str) -> None:
    response, unknown = visitor.follow(bad), Visitor(ground).follow("B" * 43)
    assert response.status_code == unknown.status_code == 404
    assert without_csrf(response) == without_csrf(unknown)
    assert "There is no message to open here" in words(response)
    assert links.COOKIE not in response.cookies


def test_a_link_to_an_expired_message_is_answered_like_one_that_never_was(
    ground: Ground, clock: Clock, visitor: Visitor
) -> None:
    recipient = ground.recipient(ground.conversation(mail(), expires_at=NOON + timedelta(days=1)))
    token = ground.link(recipient)
    clock.forward(days=1)
    expired, unknown = visitor.follow(token), Visitor(ground).follow("B" * 43)
    assert expired.status_code == unknown.status_code == 404
    assert without_csrf(expired) == without_csrf(unknown)
    assert sorted(expired.headers) == sorted(unknown.headers)


def test_a_link_whose_message_was_revoked_opens_nothing(
    ground: Ground, recipient: Recipient, token: str, visitor: Visitor
) -> None:
    visitor.follow(token)
    recipient.conversation.destroyed_at = NOON
    recipient.conversation.save()
    assert visitor.follow(token).status_code == 404
    assert visitor.client.get(visitor.page("guest", recipient)).status_code == 410


def test_the_token_is_in_no_page_no_address_and_no_clear_cookie(
    ground: Ground, recipient: Recipient, token: str, visitor: Visitor
) -> None:
    arrived = visitor.follow(token)
    assert arrived.status_code == 303
    assert arrived["Location"] == f"/r/{recipient.id}/"
    assert arrived["Referrer-Policy"] == "no-referrer"
    assert arrived["Cache-Control"] == "no-store"
    cookie = arrived.cookies[links.COOKIE]
    assert cookie["secure"] and cookie["httponly"] and cookie["samesite"] == "Lax" and cookie["path"] == "/"
    assert not cookie["max-age"] and not cookie["expires"] and not cookie["domain"]
    assert token not in cookie.value
    visitor.open(recipient, token)
    for page in ("guest", "guest-verify", "guest-read"):
        response = visitor.client.get(visitor.page(page, recipient), follow=True)
        assert token not in response.content.decode() + str(response.headers)


def test_a_broken_link_is_not_in_the_page_about_it(visitor: Visitor) -> None:
    assert "C" * 43 not in visitor.follow("C" * 43).content.decode()


def test_a_browser_holds_the_eight_links_it_followed_last(ground: Ground, visitor: Visitor) -> None:
    recipients = [ground.recipient(ground.conversation(mail())) for _ in range(9)]
    for one in recipients:
        visitor.follow(ground.link(one))
    pages = [visitor.client.get(visitor.page("guest", one)).status_code for one in recipients]
    assert pages == [404] + [200] * 8
    assert len(visitor.client.cookies[links.COOKIE].value) < 3000


@pytest.mark.parametrize("spoilt", ["", "AAAA", "é", "A" * 5000])
def test_a_cookie_that_is_not_ours_opens_nothing(
    ground: Ground, recipient: Recipient, token: str, visitor: Visitor, spoilt: str
) -> None:
    visitor.client.cookies[links.COOKIE] = spoilt
    assert visitor.client.get(visitor.page("guest", recipient)).status_code == 404


def test_one_flipped_bit_spoils_the_cookie(ground: Ground, recipient: Recipient, token: str, visitor: Visitor) -> None:
    visitor.follow(token)
    value = visitor.client.cookies[links.COOKIE].value
    visitor.client.cookies[links.COOKIE] = value[:40] + ("A" if value[40] != "A" else "B") + value[41:]
    assert visitor.client.get(visitor.page("guest", recipient)).status_code == 404


def test_without_the_link_existing_and_other_recipients_look_the_same(
    ground: Ground, recipient: Recipient, token: str, visitor: Visitor
) -> None:
    for page, method in (
        ("guest", "get"),
        ("guest-read", "get"),
        ("guest-verify", "get"),
        ("guest-code", "post"),
        ("guest-verify", "post"),
        ("guest-answer", "post"),
        ("guest-leave", "post"),
    ):
        known = visitor.page(page, recipient)
        unknown = known.replace(str(recipient.id), str(uuid.uuid4()))
        answers = [getattr(Visitor(ground).client, method)(address) for address in (known, unknown)]
        assert [one.status_code for one in answers] == [404, 404], page
        assert without_csrf(answers[0]) == without_csrf(answers[1]), page
        assert sorted(answers[0].headers) == sorted(answers[1].headers), page
    message = recipient.conversation.messages.get().id
    for address in (f"body/{message}", f"part/{message}/0", f"message/{message}.eml"):
        assert Visitor(ground).client.get(f"/r/{recipient.id}/{address}").status_code == 404


def test_an_older_link_stays_good_beside_a_newer_one(
    ground: Ground, recipient: Recipient, token: str, visitor: Visitor
) -> None:
    """A reminder must not break the mail that it reminds of."""
    visitor.follow(token)
    newer = ground.link(recipient)
    assert visitor.client.get(visitor.page("guest", recipient)).status_code == 200
    for each in (token, newer):
        assert Visitor(ground).follow(each).status_code == 303
    recipient.links.all().delete()
    assert visitor.client.get(visitor.page("guest", recipient)).status_code == 404
    for each in (token, newer):
        assert Visitor(ground).follow(each).status_code == 404


# Nothing changes on GET


@pytest.mark.parametrize("method", ["sms", "email", "access-code", "account"])
def test_get_head_and_options_change_nothing(ground: Ground, visitor: Visitor, method: str) -> None:
    recipient = ground.recipient(ground.conversation(mail()), method=method, access_code="tulp", hint="bloem")
    token, message = ground.link(recipient), recipient.conversation.messages.get().id
    addresses = [
        "/",
        f"/m/{token}",
        f"/m/{token}?utm_source=mail",
        *(visitor.page(name, recipient) for name in ("guest", "guest-code", "guest-verify", "guest-read")),
        *(visitor.page(name, recipient) for name in ("guest-answer", "guest-leave")),
        f"/r/{recipient.id}/body/{message}",
        f"/r/{recipient.id}/part/{message}/0",
        f"/r/{recipient.id}/message/{message}.eml",
        "/inbox/",
        f"/inbox/{recipient.conversation.id}/",
    ]
    before = dump()
    for verb in ("get", "head", "options"):
        for address in addresses:
            getattr(visitor.client, verb)(address)
    assert dump() == before
    assert ground.rings == []


def test_following_the_link_again_and_again_sends_nothing(
    ground: Ground, recipient: Recipient, token: str, visitor: Visitor
) -> None:
    for _ in range(20):
        visitor.follow(token)
        visitor.client.get(visitor.page("guest", recipient))
    assert not Sms.objects.exists() and not Challenge.objects.exists() and not Job.objects.exists()


# The opening page


def test_the_page_tells_who_sent_it_and_how_to_tell_that_it_is_real(
    ground: Ground, clock: Clock, visitor: Visitor
) -> None:
    recipient = ground.recipient(ground.conversation(mail(), expires_at=NOON + timedelta(days=30)))
    visitor.follow(ground.link(recipient))
    said = words(visitor.client.get(visitor.page("guest", recipient)))
    for piece in ("Balie Poli 4", "balie@voorbeeld.test", "Voorbeeldziekenhuis", "23 December 2026", "+31 6 ****5678"):
        assert piece in said
    assert "begins with http://localhost/" in said
    assert "612345678" not in said
    assert "GEHEIM" not in said  # the subject is content


def test_the_language_is_the_organisations_unless_the_browser_chose_one(
    ground: Ground, recipient: Recipient, token: str, visitor: Visitor
) -> None:
    visitor.follow(token)
    page = visitor.page("guest", recipient)
    assert '<html lang="en">' in visitor.client.get(page).content.decode()
    assert '<html lang="nl">' in visitor.client.get(page, HTTP_ACCEPT_LANGUAGE="fr").content.decode()
    ground.organisation.language = "en"
    ground.organisation.save()
    assert '<html lang="en">' in visitor.client.get(page, HTTP_ACCEPT_LANGUAGE="").content.decode()
    assert '<html lang="nl">' in visitor.client.get(page, HTTP_ACCEPT_LANGUAGE="nl-BE,en;q=0.5").content.decode()
    visitor.client.cookies["__Host-language"] = "nl"
    assert '<html lang="nl">' in visitor.client.get(page).content.decode()


def test_a_recipient_with_an_account_is_sent_to_sign_in(ground: Ground, visitor: Visitor) -> None:
    recipient = ground.recipient(ground.conversation(mail()), method="account")
    visitor.follow(ground.link(recipient))
    page = visitor.client.get(visitor.page("guest", recipient)).content.decode()
    assert f'href="/inbox/{recipient.conversation.id}/"' in page
    assert visitor.ask(recipient).status_code == 303
    assert visitor.enter(recipient, "123456").status_code == 303
    assert not Challenge.objects.exists() and not Sms.objects.exists() and not Transmission.objects.exists()


# Codes


def test_a_code_from_another_browser_is_refused(
    ground: Ground, recipient: Recipient, token: str, visitor: Visitor
) -> None:
    stranger = Visitor(ground)
    for one in (visitor, stranger):
        one.follow(token)
    visitor.ask(recipient)
    code = ground.last_code()
    assert stranger.enter(recipient, code).status_code == 422
    assert stranger.read(recipient)["Location"] == stranger.page("guest", recipient)
    assert visitor.enter(recipient, code).status_code == 303


def test_after_five_wrong_tries_the_right_code_is_refused(
    ground: Ground, recipient: Recipient, token: str, visitor: Visitor
) -> None:
    visitor.follow(token)
    visitor.ask(recipient)
    code = ground.last_code()
    left = [words(visitor.enter(recipient, other(code, n))) for n in range(1, 6)]
    assert ["try once more" in said for said in left] == [False, False, False, True, False]
    assert "3 more times" in left[1]
    assert "Ask for a new one" in left[4]
    assert visitor.enter(recipient, code).status_code == 422
    assert not Proof.objects.exists()


def test_a_new_code_does_not_reset_the_count(
    ground: Ground, clock: Clock, recipient: Recipient, token: str, visitor: Visitor
) -> None:
    visitor.follow(token)
    for _ in range(2):
        visitor.ask(recipient)
        for n in range(1, 6):
            last = visitor.enter(recipient, other(ground.last_code(), n))
        clock.forward(minutes=1)
    assert last.status_code == 429 and int(last["Retry-After"]) > 86_000
    assert visitor.ask(recipient).status_code == 429
    assert WrongTry.objects.count() == 10
    clock.forward(hours=24)
    assert visitor.ask(recipient).status_code == 303
    assert visitor.enter(recipient, ground.last_code()).status_code == 303


def test_a_used_code_is_used_up(ground: Ground, recipient: Recipient, token: str, visitor: Visitor) -> None:
    visitor.open(recipient, token)
    code = ground.last_code()
    visitor.client.post(visitor.page("guest-leave", recipient))
    visitor.follow(token)
    assert visitor.enter(recipient, code).status_code == 422


def test_a_code_lives_ten_minutes(
    ground: Ground, clock: Clock, recipient: Recipient, token: str, visitor: Visitor
) -> None:
    visitor.follow(token)
    visitor.ask(recipient)
    clock.forward(minutes=10)
    assert visitor.enter(recipient, ground.last_code()).status_code == 422
    clock.forward(minutes=-20)  # P23: a clock that was set back revives nothing
    assert visitor.enter(recipient, ground.last_code()).status_code == 422


def test_only_the_last_code_counts(
    ground: Ground, clock: Clock, recipient: Recipient, token: str, visitor: Visitor
) -> None:
    visitor.follow(token)
    visitor.ask(recipient)
    first = ground.last_code()
    clock.forward(minutes=1)
    visitor.ask(recipient)
    if ground.last_code() != first:
        assert visitor.enter(recipient, first).status_code == 422
    assert visitor.enter(recipient, ground.last_code()).status_code == 303


def test_five_codes_an_hour_with_half_a_minute_between(
    ground: Ground, clock: Clock, recipient: Recipient, token: str, visitor: Visitor
) -> None:
    visitor.follow(token)
    assert visitor.ask(recipient).status_code == 303
    assert visitor.ask(recipient).status_code == 429
    for _ in range(4):
        clock.forward(minutes=1)
        assert visitor.ask(recipient).status_code == 303
    clock.forward(minutes=1)
    assert visitor.ask(recipient).status_code == 429
    assert Sms.objects.count() == 5
    clock.forward(minutes=55)
    assert visitor.ask(recipient).status_code == 303


@pytest.mark.parametrize("days", [1, 30])
def test_a_clock_that_is_set_right_keeps_nobody_out_until_the_day_that_it_showed(
    ground: Ground, clock: Clock, recipient: Recipient, token: str, visitor: Visitor, days: int
) -> None:
    visitor.follow(token)
    clock.forward(days=days)
    visitor.ask(recipient)
    early = ground.last_code()
    clock.forward(days=-days)
    assert visitor.enter(recipient, early).status_code == 422  # P23: a clock that was set back revives nothing
    assert int(visitor.ask(recipient)["Retry-After"]) <= 30
    clock.forward(seconds=31)
    assert visitor.ask(recipient).status_code == 303
    later = ground.text_messages()[0]["text"]  # sorted by what the clock said
    if early not in later:
        assert visitor.enter(recipient, early).status_code == 422
    assert visitor.enter(recipient, re.findall(r"\b\d{6}\b", later)[0]).status_code == 303
    clock.forward(days=days)
    assert Visitor(ground).follow(token).status_code == 303
    assert visitor.enter(recipient, early).status_code == 422


@pytest.mark.parametrize("method", ["sms", "access-code"])
def test_a_clock_that_is_set_right_ends_no_lock_and_makes_it_no_longer(
    ground: Ground, clock: Clock, visitor: Visitor, method: str
) -> None:
    recipient = ground.recipient(ground.conversation(mail()), method=method, access_code="tulp")
    visitor.follow(ground.link(recipient))
    clock.forward(days=30)
    WrongTry.objects.bulk_create(WrongTry(recipient=recipient, at=clock()) for _ in range(10))
    clock.forward(days=-30)
    right = "tulp" if method == "access-code" else "123456"
    if method == "sms":
        assert 86_000 < int(visitor.ask(recipient)["Retry-After"]) <= 86_400
    else:
        assert 86_000 < int(visitor.enter(recipient, right)["Retry-After"]) <= 86_400
    clock.forward(hours=23)
    assert (visitor.ask if method == "sms" else lambda one: visitor.enter(one, right))(recipient).status_code == 429
    clock.forward(hours=1, seconds=1)
    assert (visitor.ask if method == "sms" else lambda one: visitor.enter(one, right))(recipient).status_code == 303


@pytest.mark.parametrize("typed", ["", "12345", "1234567", "abcdef", "１２３", " "])
def test_what_is_no_code_is_no_try(
    ground: Ground, recipient: Recipient, token: str, visitor: Visitor, typed: str
) -> None:
    visitor.follow(token)
    visitor.ask(recipient)
    response = visitor.enter(recipient, typed)
    assert response.status_code == 422 and 'aria-invalid="true"' in response.content.decode()
    assert not WrongTry.objects.exists()


def test_a_code_may_be_typed_in_groups(ground: Ground, recipient: Recipient, token: str, visitor: Visitor) -> None:
    visitor.follow(token)
    visitor.ask(recipient)
    code = ground.last_code()
    assert visitor.enter(recipient, f" {code[:3]} {code[3:]}\n").status_code == 303


@pytest.mark.parametrize("between", ["-", " - ", "\u00a0", "\u2013", "\u2011", ".", "\t", "\u200b", "\ufeff", "\r\n"])
def test_a_code_may_be_pasted_as_others_show_it(
    ground: Ground, recipient: Recipient, token: str, visitor: Visitor, between: str
) -> None:
    visitor.follow(token)
    visitor.ask(recipient)
    code = ground.last_code()
    assert visitor.enter(recipient, f"{between}{code[:3]}{between}{code[3:]}{between}").status_code == 303


def test_a_code_may_be_typed_in_the_wide_digits_of_another_keyboard(
    ground: Ground, recipient: Recipient, token: str, visitor: Visitor
) -> None:
    visitor.follow(token)
    visitor.ask(recipient)
    wide = "".join(chr(ord(digit) - ord("0") + 0xFF10) for digit in ground.last_code())
    assert visitor.enter(recipient, wide).status_code == 303


def test_a_text_message_ends_with_the_line_by_which_browsers_fill_in_the_code(
    ground: Ground, recipient: Recipient, token: str, visitor: Visitor
) -> None:
    """Of this host alone, in one text message, and without who writes to whom."""
    visitor.follow(token)
    visitor.ask(recipient)
    text = ground.text_messages()[-1]["text"]
    assert text.splitlines()[-1] == f"@localhost #{ground.last_code()}"
    assert len(text) <= 160 and text.isascii()
    assert not any(name in text for name in ("Balie", "Voorbeeldziekenhuis", "voorbeeld.test", token))


def test_the_field_asks_for_digits_takes_what_is_pasted_and_is_filled_in_by_browsers(
    ground: Ground, recipient: Recipient, token: str, visitor: Visitor
) -> None:
    visitor.follow(token)
    visitor.ask(recipient)
    page = visitor.client.get(visitor.page("guest-verify", recipient)).content.decode()
    field = re.search(r'<input[^>]* name="code"[^>]*>|<input[^>]*name="code"[^>]*>', page)
    assert field is not None
    for wanted in ('type="text"', 'inputmode="numeric"', 'autocomplete="one-time-code"', "required"):
        assert wanted in field[0]
    assert 'maxlength="200"' in field[0] and "pattern" not in field[0]  # what is pasted fits, with all around it
    assert "+31 6 ****5678" in page and "612345678" not in page


def test_the_code_is_stored_as_a_mac_and_the_number_nowhere_in_clear(
    ground: Ground, recipient: Recipient, token: str, visitor: Visitor
) -> None:
    visitor.follow(token)
    visitor.ask(recipient)
    everything = "\n".join(dump())
    assert not re.search(rf"\b{ground.last_code()}\b", everything)
    assert "612345678" not in everything
    assert len(bytes(Challenge.objects.get().code or b"")) == 32
    assert Job.objects.get().kind == "sms"
    assert ground.text_messages()[0]["to"] == "+31612345678"


def test_the_session_key_changes_with_the_proof(
    ground: Ground, recipient: Recipient, token: str, visitor: Visitor
) -> None:
    visitor.follow(token)
    visitor.ask(recipient)
    before = visitor.client.cookies["__Host-session"].value
    visitor.enter(recipient, ground.last_code())
    assert visitor.client.cookies["__Host-session"].value != before


def test_a_form_without_its_token_is_refused(ground: Ground, recipient: Recipient, token: str) -> None:
    visitor = Visitor(ground)
    visitor.client.handler.enforce_csrf_checks = True
    visitor.follow(token)
    assert visitor.ask(recipient).status_code == 403
    assert visitor.enter(recipient, "123456").status_code == 403
    assert not Sms.objects.exists() and not WrongTry.objects.exists()


# By e-mail


@pytest.fixture
def by_mail(ground: Ground) -> Recipient:
    conversation = ground.conversation(mail())
    return ground.recipient(conversation, method="email", code_needs_tls=12, code_needs_authentication=1)


def test_a_code_by_mail_travels_at_the_level_that_the_message_demands(
    ground: Ground, clock: Clock, by_mail: Recipient, visitor: Visitor
) -> None:
    visitor.follow(ground.link(by_mail))
    assert "o****@example.org" in words(visitor.client.get(visitor.page("guest", by_mail)))
    visitor.ask(by_mail)
    sent = Transmission.objects.get(kind="code")
    assert (sent.needs_tls, sent.needs_authentication, sent.reverse_path) == (12, 1, "")
    assert sent.expires_at == clock() + timedelta(minutes=10)
    assert Job.objects.get().kind == "transmit" and Job.objects.get().subject == sent.id
    octets = ground.mails("code")[0]
    assert b'From: "Voorbeeldziekenhuis" <zegel@voorbeeld.test>\r\n' in octets
    found = re.search(r"\b(\d{6})\b", as_text(octets.partition(b"\r\n\r\n")[2], "utf-8"))
    assert found and visitor.enter(by_mail, found[1]).status_code == 303
    assert visitor.read(by_mail).status_code == 200


def test_a_code_that_could_not_be_mailed_safely_is_said(ground: Ground, by_mail: Recipient, visitor: Visitor) -> None:
    visitor.follow(ground.link(by_mail))
    visitor.ask(by_mail)
    Transmission.objects.update(state=Transmission.State.FAILED)
    for page in ("guest", "guest-verify"):
        said = words(visitor.client.get(visitor.page(page, by_mail)))
        assert "could not be mailed safely" in said and "The sender was told" in said


def test_a_text_message_that_failed_is_said(ground: Ground, recipient: Recipient, token: str, visitor: Visitor) -> None:
    visitor.follow(token)
    visitor.ask(recipient)
    Sms.objects.update(state="failed")
    assert "was not sent" in words(visitor.client.get(visitor.page("guest-verify", recipient)))


def test_a_number_that_is_gone_is_said_and_counts_as_nothing(
    ground: Ground, recipient: Recipient, token: str, visitor: Visitor
) -> None:
    SealedVerification.objects.all().delete()
    visitor.follow(token)
    assert visitor.ask(recipient).status_code == 503
    assert not Challenge.objects.exists()


# Access codes


@pytest.fixture
def by_access_code(ground: Ground) -> Recipient:
    return ground.recipient(ground.conversation(mail()), method="access-code", access_code="Tulp 42", hint="het veld")


def test_the_hint_is_for_holders_of_the_link(ground: Ground, by_access_code: Recipient, visitor: Visitor) -> None:
    page = visitor.page("guest", by_access_code)
    assert "het veld" not in words(visitor.client.get(page))
    visitor.follow(ground.link(by_access_code))
    assert "het veld" in words(visitor.client.get(page))
    assert "het veld" not in "\n".join(dump()) and "Tulp" not in "\n".join(dump())


def test_wrong_access_codes_wait_longer_each_time(
    ground: Ground, clock: Clock, by_access_code: Recipient, visitor: Visitor
) -> None:
    visitor.follow(ground.link(by_access_code))
    tried = [visitor.enter(by_access_code, f"fout {n}").status_code for n in range(5)]
    assert tried == [422, 422, 422, 422, 429]
    assert visitor.enter(by_access_code, "Tulp 42").status_code == 429
    clock.forward(minutes=1)
    assert visitor.enter(by_access_code, "tulp 42").status_code == 429
    clock.forward(minutes=1)
    assert visitor.enter(by_access_code, "Tulp 42").status_code == 429  # now two minutes
    clock.forward(minutes=1)
    assert visitor.enter(by_access_code, " Tulp 42 ").status_code == 303
    assert visitor.read(by_access_code).status_code == 200


def test_an_access_code_that_is_gone_never_matches(ground: Ground, by_access_code: Recipient, visitor: Visitor) -> None:
    visitor.follow(ground.link(by_access_code))
    SealedVerification.objects.all().delete()
    assert visitor.enter(by_access_code, "Tulp 42").status_code == 422
    assert visitor.enter(by_access_code, "").status_code == 422
    assert not Proof.objects.exists()


# Proofs


def test_a_proof_is_for_one_recipient_alone(ground: Ground, recipient: Recipient, token: str, visitor: Visitor) -> None:
    second = ground.recipient(recipient.conversation, "tweede@example.org")
    visitor.follow(ground.link(second))
    visitor.open(recipient, token)
    assert visitor.read(recipient).status_code == 200
    assert visitor.read(second)["Location"] == visitor.page("guest", second)


def test_a_proof_ends_after_half_an_hour_without_use_and_after_twelve_hours(
    ground: Ground, clock: Clock, recipient: Recipient, token: str, visitor: Visitor
) -> None:
    visitor.open(recipient, token)
    for _ in range(24):
        clock.forward(minutes=29)
        assert visitor.read(recipient).status_code == 200
    clock.forward(minutes=29)
    assert visitor.read(recipient).status_code == 303  # 12 hours are over
    visitor.ask(recipient)
    visitor.enter(recipient, ground.last_code())
    clock.forward(minutes=30)
    assert visitor.read(recipient).status_code == 303


def test_a_proof_of_one_method_is_none_of_another(
    ground: Ground, recipient: Recipient, token: str, visitor: Visitor
) -> None:
    visitor.open(recipient, token)
    Recipient.objects.update(method="access-code")
    assert visitor.read(recipient).status_code == 303


def test_opened_means_read_after_verification(
    ground: Ground, clock: Clock, recipient: Recipient, token: str, visitor: Visitor
) -> None:
    visitor.open(recipient, token)
    recipient.refresh_from_db()
    assert recipient.opened_at is None and recipient.state == Recipient.State.NOTIFIED
    visitor.client.head(visitor.page("guest-read", recipient))
    recipient.refresh_from_db()
    assert recipient.opened_at is None
    clock.forward(minutes=2)
    visitor.read(recipient)
    recipient.refresh_from_db()
    first = recipient.opened_at
    assert first == clock() and recipient.opened_with == "sms"
    assert str(recipient.state) == "opened"
    clock.forward(minutes=2)
    visitor.read(recipient)
    recipient.refresh_from_db()
    assert recipient.opened_at == first


def test_what_could_not_be_read_was_not_opened(
    ground: Ground, recipient: Recipient, token: str, visitor: Visitor
) -> None:
    visitor.open(recipient, token)
    Message.objects.update(key=None)
    message = recipient.conversation.messages.get().id
    assert visitor.client.get(visitor.page("guest-source", recipient, message=message)).status_code == 410
    recipient.refresh_from_db()
    assert recipient.opened_at is None


def test_who_leaves_takes_link_and_proof_along(
    ground: Ground, recipient: Recipient, token: str, visitor: Visitor
) -> None:
    visitor.open(recipient, token)
    assert visitor.client.post(visitor.page("guest-leave", recipient)).status_code == 200
    assert visitor.read(recipient).status_code == 404
    assert not Proof.objects.exists()
    visitor.follow(token)
    assert visitor.read(recipient)["Location"] == visitor.page("guest", recipient)


def test_the_link_leads_straight_on_while_the_proof_lives(
    ground: Ground, recipient: Recipient, token: str, visitor: Visitor
) -> None:
    visitor.open(recipient, token)
    visitor.follow(token)
    assert visitor.client.get(visitor.page("guest", recipient))["Location"] == visitor.page("guest-read", recipient)


@pytest.mark.django_db(transaction=True)
def test_who_delivers_is_woken_once_the_code_is_committed(ground: Ground, visitor: Visitor) -> None:
    recipient = ground.recipient(ground.conversation(mail()))
    visitor.follow(ground.link(recipient))
    assert ground.rings == []
    visitor.ask(recipient)
    assert len(ground.rings) == 1


# At the same moment


@pytest.mark.django_db(transaction=True)
def test_fifty_tries_at_the_same_moment_are_fifty_tries(ground: Ground) -> None:
    recipient = ground.recipient(ground.conversation(mail()))
    browser = b"b" * 32
    codes.send(recipient, browser, "nl")
    code = ground.last_code()
    verdicts: list[object] = []
    start = threading.Barrier(50)

    def attempt(number: int) -> None:
        start.wait()
        try:
            verdicts.append(codes.judge(recipient, browser, Secret(other(code, number))))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=attempt, args=(number,)) for number in range(1, 51)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    is_file = Path(connection.settings_dict["NAME"]).is_file()
    assert is_file or connection.vendor != "sqlite"  # in memory, threads would wait for each other anyway
    assert len(verdicts) == 50
    assert WrongTry.objects.count() == 5
    assert sum(isinstance(one, codes.Wrong) for one in verdicts) == 5
    assert sum(isinstance(one, codes.Expired) for one in verdicts) == 45
    assert isinstance(codes.judge(recipient, browser, Secret(code)), codes.Expired)


@pytest.mark.django_db(transaction=True)
def test_the_right_code_at_fifty_places_at_once_is_one_proof(ground: Ground) -> None:
    recipient = ground.recipient(ground.conversation(mail()))
    browser = b"b" * 32
    codes.send(recipient, browser, "nl")
    code = Secret(ground.last_code())
    verdicts: list[object] = []

    def attempt() -> None:
        close_old_connections()
        try:
            verdicts.append(codes.judge(recipient, browser, code))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=attempt) for _ in range(50)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sum(isinstance(one, codes.Passed) for one in verdicts) == 1
    assert Proof.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_asking_fifty_times_at_once_sends_one_code(ground: Ground) -> None:
    recipient = ground.recipient(ground.conversation(mail()))

    def ask(number: int) -> None:
        try:
            codes.send(recipient, bytes([number]) * 32, "nl")
        finally:
            connections.close_all()

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(50)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert Sms.objects.count() == Challenge.objects.count() == 1


# Where to turn


def test_a_guest_reads_where_to_turn_in_their_own_language_and_a_stranger_nothing(
    ground: Ground, recipient: Recipient, token: str
) -> None:
    looks.say(ground.organisation, OwnTexts(help_nl="Bel 030 123 4567.", help_en="Call <us> on 030 123 4567."))
    english, stranger = Visitor(ground), Visitor(ground)
    english.follow(token)
    page = english.get(english.page("guest", recipient))
    assert "Questions, or help needed?" in words(page)
    assert "Call &lt;us&gt; on 030 123 4567." in page.content.decode() and "Bel 030" not in page.content.decode()
    english.client.defaults["HTTP_ACCEPT_LANGUAGE"] = "nl"
    dutch = words(english.get(english.page("guest", recipient)))
    assert "Vragen of hulp nodig? Bel 030 123 4567." in dutch and "Call" not in dutch
    assert "help needed" not in words(stranger.follow("B" * 43)), "of whom would be known only with a link"


def test_nothing_is_said_where_the_organisation_says_nothing(ground: Ground, recipient: Recipient, token: str) -> None:
    looks.say(ground.organisation, OwnTexts(help_nl="Bel 030 123 4567."))
    visitor = Visitor(ground)
    visitor.follow(token)
    assert "help needed" not in words(visitor.get(visitor.page("guest", recipient)))
