"""The administrator's pages about verification data: numbers and codes go in, and never come out."""

from __future__ import annotations

import re
import socket
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from django.utils import timezone
from django.utils.formats import date_format

from tests.journey.delivery_ground import Post, a_post
from tests.journey.portal_ground import Clock
from tests.web.conftest import PASSWORD, SECRET, signed_in
from tests.web.test_console_submission import strip, text, version
from zegel.accounts import policy as policies
from zegel.accounts.models import Account, Organisation
from zegel.accounts.sign_in import enrol_totp
from zegel.console import verification as pages
from zegel.core.mail.address import Mailbox
from zegel.core.policy.verification import AccessCode, Method, SmsCode
from zegel.core.secret import Secret
from zegel.edge.keyring import opening_keys
from zegel.journey.custody import memory
from zegel.journey.custody.models import VerificationData
from zegel.journey.custody.unseal import Unsealer

LIST = "/console/verification/"
SEARCH = "/console/verification/search/"
ADD = "/console/verification/add/"
RECIPIENT = "ontvanger@example.org"
NUMBER = "+31620304050"  # not the one that pages give as an example
OTHER_NUMBER = "+31687654321"
CODE = "winterkoning 2026"
HINT = "het vogeltje"


@pytest.fixture
def client(administrator: Account) -> Client:
    return signed_in(administrator, "en")


def supply(
    organisation: Organisation, value: SmsCode | AccessCode | None = None, *, account: Account | None = None
) -> VerificationData:
    return memory.supply(
        organisation,
        Mailbox.parse(RECIPIENT),
        value or SmsCode(Secret(NUMBER)),
        account=account,
        origin=VerificationData.Origin.IMPORT,
        now=timezone.now(),
        sealing=opening_keys(settings.ZEGEL.keys).sealing,
    )


def page_of(row: VerificationData) -> str:
    return f"{LIST}{row.id}/"


def stored() -> list[dict[str, object]]:
    return [dict(row) for row in VerificationData.objects.order_by("id").values()]


def value_of(row: VerificationData) -> SmsCode | AccessCode:
    unsealer = Unsealer(opening_keys(settings.ZEGEL.keys), None)  # type: ignore[arg-type]
    return memory.verification_of(unsealer.field(row.sealed, name="verification-data", owner=row.id))


def digits(answer: Any) -> str:
    """All digits of a page, but for what is random in it."""
    body = re.sub(r'name="(csrfmiddlewaretoken|version)" value="[^"]*"|[0-9a-f]{8}-[0-9a-f-]{27}', "", text(answer))
    return re.sub(r"\D", "", body)


# --- whose it is -------------------------------------------------------------------------------------------------


def test_another_organisations_data_looks_like_what_never_was(client: Client, other_administrator: Account) -> None:
    assert other_administrator.organisation is not None
    theirs = supply(other_administrator.organisation)
    before = stored()
    filled = {"phone": OTHER_NUMBER, "version": "x"}
    for action in ("", "remove/"):
        for method in (client.get, client.post):
            existing = method(f"{page_of(theirs)}{action}", filled)
            missing = method(f"{LIST}{uuid.uuid4()}/{action}", filled)
            assert existing.status_code == missing.status_code == 404
            assert strip(existing.content) == strip(missing.content)
    assert RECIPIENT not in text(client.get(LIST))
    assert "Nothing was found." in text(client.post(SEARCH, {"address": RECIPIENT}))
    assert stored() == before


def test_what_another_organisation_knows_is_no_obstacle(client: Client, other_administrator: Account) -> None:
    assert other_administrator.organisation is not None
    supply(other_administrator.organisation)
    assert client.post(ADD, {"address": RECIPIENT, "phone": OTHER_NUMBER}).status_code == 302
    assert VerificationData.objects.count() == 2


def test_who_is_no_administrator_changes_nothing(newcomer: Account, organisation: Organisation) -> None:
    enrol_totp(newcomer, SECRET)
    row = supply(organisation, account=newcomer)
    client = signed_in(newcomer)
    before = stored()
    assert client.get(LIST).status_code == 403
    for page in (SEARCH, ADD, page_of(row), f"{page_of(row)}remove/"):
        assert client.get(page).status_code == client.post(page, {"phone": OTHER_NUMBER}).status_code == 403
    assert stored() == before


def test_who_is_not_signed_in_changes_nothing(organisation: Organisation) -> None:
    row = supply(organisation)
    before = stored()
    assert Client().get(LIST).headers["Location"].startswith("/account/sign-in/")
    for page in (SEARCH, ADD, page_of(row), f"{page_of(row)}remove/"):
        for answer in (Client().get(page), Client().post(page, {"phone": OTHER_NUMBER})):
            assert answer.status_code == 302
            assert answer.headers["Location"].startswith("/account/sign-in/")
    assert stored() == before


def test_reading_changes_nothing_and_neither_does_a_form_from_elsewhere(
    client: Client, organisation: Organisation
) -> None:
    row = supply(organisation)
    before = stored()
    filled = {"address": RECIPIENT, "phone": OTHER_NUMBER}
    for page in (LIST, SEARCH, ADD, page_of(row), f"{page_of(row)}remove/"):
        for method in (client.get, client.head):
            assert method(page, filled).status_code in (200, 302)
    assert client.post(LIST, filled).status_code == 405
    client.handler.enforce_csrf_checks = True
    for page in (SEARCH, ADD, page_of(row), f"{page_of(row)}remove/"):
        assert client.post(page, filled).status_code == 403
    assert stored() == before


# --- what can't be used ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("filled", "field", "said"),
    [
        ({"phone": "020 123 4567"}, "phone", "Write it like +31 6"),  # a landline
        ({"phone": "31620304050"}, "phone", "Mobile number: this is not the number of one mobile telephone"),  # two
        ({"phone": "0900 1234567"}, "phone", "Write it like +31 6"),
        ({"phone": "06 20304050 06 87654321"}, "phone", "Write it like +31 6"),
        ({"code": "abc"}, "code", "Access code: an access code has 4 to 100 characters. Write for example"),
        ({"code": "winter\u200b2026"}, "code", "there are characters in it that nobody sees"),
        ({"code": CODE, "hint": f"de code is {CODE}"}, "hint", "the access code itself stands in it"),
        ({"phone": NUMBER, "hint": HINT}, "hint", "it belongs to an access code"),
        ({"phone": NUMBER, "code": CODE}, None, "Fill in one of the two, a mobile number or an access code"),
        ({}, None, "Fill in a mobile number or an access code."),
        ({"address": "example.org", "phone": NUMBER}, "address", "Write it like client@example.org."),
        ({"address": "", "phone": NUMBER}, "address", "fill it in, such as client@example.org"),
    ],
)
def test_what_can_not_be_used_is_refused_with_an_example_and_not_repeated(
    client: Client, filled: dict[str, str], field: str | None, said: str
) -> None:
    answer = client.post(ADD, {"address": RECIPIENT, **filled})
    assert answer.status_code == 200
    assert said in text(answer)
    if field is not None:
        assert f'href="#id_{field}"' in answer.content.decode()
        assert f'id="id_{field}"' in answer.content.decode()
    for name in ("phone", "code", "hint"):
        typed = filled.get(name, "")
        assert not typed or typed not in text(answer), name
        assert re.sub(r"\D", "", typed) not in digits(answer) or not re.sub(r"\D", "", typed)
        (box,) = re.findall(rf'<input[^>]*name="{name}"[^>]*>', answer.content.decode())
        assert "value=" not in box
    assert not VerificationData.objects.exists()


def test_a_search_for_what_is_no_address_says_how_one_is_written(client: Client) -> None:
    answer = client.post(SEARCH, {"address": "<script>"})
    assert "Address of a recipient: this is not one e-mail address. Write it like client@example.org." in text(answer)
    assert "<script>" not in answer.content.decode()
    assert client.get(SEARCH, {"address": RECIPIENT}).headers["Location"] == LIST


def test_what_is_there_is_not_added_over(client: Client, organisation: Organisation) -> None:
    supply(organisation)
    before = stored()
    answer = client.post(ADD, {"address": RECIPIENT.upper(), "phone": OTHER_NUMBER})
    assert "There is one already, for the whole organisation." in text(answer)
    assert OTHER_NUMBER[3:] not in digits(answer)
    assert stored() == before
    assert client.post(ADD, {"address": RECIPIENT, "code": CODE}).status_code == 302, "another method"


# --- add, show, correct, remove ----------------------------------------------------------------------------------


def test_a_national_number_is_added_sealed_and_shown_by_its_end(client: Client) -> None:
    answer = client.post(ADD, {"address": "Ontvanger@example.org", "phone": "06 2030 4050"})
    assert answer.headers["Location"] == LIST
    row = VerificationData.objects.get()
    assert (row.account, row.origin, row.key) == (None, "administrator", RECIPIENT)
    assert value_of(row) == SmsCode(Secret(NUMBER))
    for shown in (client.get(LIST), client.post(SEARCH, {"address": RECIPIENT}), client.get(page_of(row))):
        for part in ("+31 6 ****4050", "an administrator", "the whole organisation", "not yet"):
            assert part in text(shown), part
        assert NUMBER[3:] not in digits(shown)


def test_of_a_code_and_its_hint_nothing_is_shown(client: Client) -> None:
    assert client.post(ADD, {"address": RECIPIENT, "code": f" {CODE} ", "hint": HINT}).status_code == 302
    row = VerificationData.objects.get()
    assert value_of(row) == AccessCode(Secret(CODE), Secret(HINT))
    for page in (LIST, page_of(row), f"{page_of(row)}remove/"):
        body = text(client.get(page))
        assert CODE not in body and HINT not in body
        assert "access code" in body


def test_the_list_says_whose_it_is_and_when_it_last_opened_a_message(
    client: Client, organisation: Organisation, newcomer: Account
) -> None:
    row = supply(organisation, account=newcomer)
    row.confirmed_at = timezone.now() - timedelta(days=400)
    row.save()
    body = text(client.get(LIST))
    for part in (newcomer.email, "an import", date_format(row.confirmed_at, "N Y")):
        assert part in body, part


def test_the_list_goes_on_on_further_pages(client: Client, organisation: Organisation) -> None:
    for number in range(pages.PAGE + 1):
        memory.supply(
            organisation,
            Mailbox.parse(f"r{number}@example.org"),
            SmsCode(Secret(NUMBER)),
            account=None,
            origin=VerificationData.Origin.IMPORT,
            now=timezone.now(),
            sealing=opening_keys(settings.ZEGEL.keys).sealing,
        )
    first = text(client.get(LIST))
    older = re.search(r'href="(\?before=[^"]+)"', first)
    assert older is not None
    second = text(client.get(f"{LIST}{older[1]}"))
    assert ("r0@example.org" in first, "r0@example.org" in second) == (False, True)
    assert text(client.get(f"{LIST}?before=x")).count("r25@example.org")


def test_a_correction_keeps_the_method_and_asks_for_a_number_again_after_an_error(
    client: Client, organisation: Organisation, newcomer: Account
) -> None:
    row = supply(organisation, account=newcomer)
    page = page_of(row)
    before = stored()
    answer = client.post(page, {"phone": "020 1234567", "version": version(client, page, page)})
    assert "Write it like +31 6" in text(answer) and "201234567" not in digits(answer)
    answer = client.post(page, {"code": CODE, "version": version(client, page, page)})
    assert "Fill in a mobile number." in text(answer) and CODE not in text(answer)
    assert 'href="#id_phone"' in text(answer) and "(optional)" not in text(answer)
    assert stored() == before
    assert client.post(page, {"phone": OTHER_NUMBER, "version": version(client, page, page)}).status_code == 302
    row.refresh_from_db()
    assert value_of(row) == SmsCode(Secret(OTHER_NUMBER))
    assert (row.account, row.origin, row.confirmed_at) == (newcomer, "administrator", None)


def test_what_changed_meanwhile_is_not_corrected_and_not_removed(client: Client, organisation: Organisation) -> None:
    row = supply(organisation)
    page = page_of(row)
    opened, opened_to_remove = version(client, page, page), version(client, f"{page}remove/")
    supply(organisation, SmsCode(Secret(OTHER_NUMBER)))
    before = stored()
    for stale in (opened, "", "x"):
        answer = client.post(page, {"phone": NUMBER, "version": stale})
        assert answer.status_code == 409
        assert "Nothing was stored yet" in text(answer) and "+31 6 ****4321" in text(answer)
        assert NUMBER[3:] not in digits(answer)
    for removal in ({"version": opened_to_remove}, {"version": ""}, {}):
        assert "Nothing was removed." in text(client.post(f"{page}remove/", removal, follow=True))
    assert stored() == before


def test_an_opening_meanwhile_is_no_conflict(client: Client, organisation: Organisation) -> None:
    row = supply(organisation)
    opened = version(client, page_of(row), page_of(row))
    VerificationData.objects.update(confirmed_at=timezone.now())
    assert client.post(page_of(row), {"phone": OTHER_NUMBER, "version": opened}).status_code == 302


def test_what_is_removed_is_gone_after_a_second_question(client: Client, organisation: Organisation) -> None:
    row = supply(organisation)
    asked = client.get(f"{page_of(row)}remove/")
    assert "This can’t be undone" in text(asked) and "+31 6 ****4050" in text(asked)
    held = version(client, f"{page_of(row)}remove/")
    assert "It is removed" in text(client.post(f"{page_of(row)}remove/", {"version": held}, follow=True))
    assert not VerificationData.objects.exists()
    assert client.post(f"{page_of(row)}remove/", {"version": held}).status_code == 404


def test_no_number_or_code_reaches_an_address_or_the_log(
    client: Client, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("DEBUG"):
        for filled in ({"phone": "020 7654321"}, {"phone": NUMBER}, {"code": CODE, "hint": HINT}):
            answer = client.post(ADD, {"address": RECIPIENT, **filled})
            assert answer.status_code == 200 or answer.headers["Location"] == LIST
    logged = "".join(capfd.readouterr()) + "".join(record.getMessage() for record in caplog.records)
    assert not [one for one in ("7654321", NUMBER[3:], CODE, HINT) if one in logged]


def test_what_breaks_says_nothing_of_what_was_typed(
    client: Client, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken(*arguments: object, **named: object) -> None:
        raise RuntimeError(f"about {NUMBER}")

    monkeypatch.setattr(memory, "supply", broken)
    client.raise_request_exception = False
    answer = client.post(ADD, {"address": RECIPIENT, "phone": NUMBER})
    assert answer.status_code == 500
    assert NUMBER[3:] not in digits(answer)
    logged = "".join(capfd.readouterr())
    assert "RuntimeError" in logged and NUMBER[3:] not in logged


def test_the_pages_speak_dutch_too(administrator: Account, organisation: Organisation) -> None:
    client = signed_in(administrator)
    row = supply(organisation)
    body = "".join(text(client.get(page)) for page in (LIST, ADD, page_of(row), f"{page_of(row)}remove/"))
    for word in ("Verificatiegegevens", "een import", "de hele organisatie", "Nummer of code toevoegen", "nog niet"):
        assert word in body, word


# --- recipients who are held -------------------------------------------------------------------------------------


@pytest.fixture
def post(transactional_db: None, tmp_path: Path) -> Iterator[Post]:
    """A gateway whose clock is that of the pages."""
    with a_post(tmp_path, Clock(timezone.now())) as post:
        yield post


@pytest.fixture
def beside(post: Post) -> Client:
    """An administrator of the organisation that sends."""
    account = Account.objects.create_user(
        "beheer@voorbeeld.test", PASSWORD, organisation=post.ground.organisation, role="owner"
    )
    enrol_totp(account, SECRET)
    return signed_in(account, "en")


@pytest.fixture
def bell() -> Iterator[socket.socket]:
    """Hears whoever wakes the processes that deliver."""
    settings.ZEGEL.run.mkdir(parents=True, exist_ok=True)
    path = settings.ZEGEL.run / "test.bell"
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as bell:
        bell.bind(str(path))
        yield bell
    path.unlink()


def held(post: Post, *addresses: str) -> None:
    post.mx("example.org")
    policies.demand_at_least(post.ground.organisation, "example.org", Method.SMS)
    post.submit(*addresses)
    post.settle()
    assert [post.recipient(one).state for one in addresses] == ["held"] * len(addresses)


def on(post: Post) -> None:
    """What the pages made due is done."""
    post.clock.at = timezone.now()
    post.settle()


def test_a_number_that_is_entered_lets_a_held_recipient_go_and_no_other(
    post: Post, beside: Client, bell: socket.socket
) -> None:
    held(post, RECIPIENT, "ander@example.org")
    answer = beside.post(ADD, {"address": RECIPIENT, "phone": NUMBER}, follow=True)
    assert "Recipients who were held for lack of it are looked at again now." in text(answer)
    assert bell.recv(16) == b"!"
    on(post)
    found = post.recipient(RECIPIENT)
    assert (found.state, found.method, found.masked) == ("notified", "sms", "+31 6 ****4050")
    assert post.recipient("ander@example.org").state == "held"


def test_a_code_does_not_do_where_sms_is_the_least(post: Post, beside: Client) -> None:
    held(post, RECIPIENT)
    assert beside.post(ADD, {"address": RECIPIENT, "code": CODE}).status_code == 302
    on(post)
    assert post.recipient(RECIPIENT).state == "held"
    minimum = f"/console/recipients/minimums/{post.ground.organisation.domain_minimums.get().pk}/"
    filled = {"minimum": "access-code", "version": version(beside, minimum, minimum)}
    assert beside.post(minimum, filled).status_code == 302
    on(post)
    assert (post.recipient(RECIPIENT).state, post.recipient(RECIPIENT).method) == ("notified", "access-code")


def test_a_removed_minimum_lets_held_recipients_go_and_a_stricter_policy_does_not(post: Post, beside: Client) -> None:
    held(post, RECIPIENT)
    page = "/console/recipients/"
    filled = {"allowed": ["account", "sms"], "lacking": "hold", "hold_days": "5", "subject": "generic"}
    assert beside.post(page, {**filled, "version": version(beside, page, page)}).status_code == 302
    on(post)
    assert post.recipient(RECIPIENT).state == "held"
    minimum = f"{page}minimums/{post.ground.organisation.domain_minimums.get().pk}/remove/"
    assert beside.post(minimum, {"version": version(beside, minimum)}).status_code == 302
    on(post)
    assert post.recipient(RECIPIENT).state == "held", "e-mail verification is not allowed"
    filled["allowed"] = ["sms", "email"]
    assert beside.post(page, {**filled, "version": version(beside, page, page)}).status_code == 302
    on(post)
    assert (post.recipient(RECIPIENT).state, post.recipient(RECIPIENT).method) == ("notified", "email")


def test_nobody_of_another_organisation_lets_them_go(post: Post, bell: socket.socket) -> None:
    held(post, RECIPIENT)
    theirs = Organisation.objects.create(name="Ander ziekenhuis")
    account = Account.objects.create_user("beheer@ander.test", PASSWORD, organisation=theirs, role="owner")
    enrol_totp(account, SECRET)
    answer = signed_in(account, "en").post(ADD, {"address": RECIPIENT, "phone": NUMBER}, follow=True)
    assert "held" not in text(answer), "whether anybody is, is not theirs to know"
    with pytest.raises(BlockingIOError):
        bell.recv(16)
    on(post)
    assert post.recipient(RECIPIENT).state == "held"
