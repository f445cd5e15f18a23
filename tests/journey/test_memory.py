"""What is remembered to verify recipients with: after a real opening or by a person, and for whom it counts."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from django.db import transaction

from tests.journey.delivery_ground import PHONE, SENDER, Post, a_post, link_in
from tests.journey.portal_ground import Clock, Visitor, dump, mail
from zegel.accounts.models import Account, Organisation
from zegel.core.mail.address import Mailbox, parse_reverse_path
from zegel.core.policy.verification import AccessCode, Method, SmsCode
from zegel.core.secret import Secret
from zegel.journey.arrival.intake import Envelope
from zegel.journey.arrival.record import AcceptedRecipient
from zegel.journey.custody import memory, retention
from zegel.journey.custody.memory import Asker
from zegel.journey.custody.models import Recipient, SealedVerification, VerificationData
from zegel.journey.portal.proofs import note_reading

pytestmark = pytest.mark.django_db(transaction=True)

GUEST: Final = "gast@open.test"
OTHER_PHONE: Final = "+31687654321"
CODE: Final = "Toegang-9f1c"
COLLEAGUE: Final = "collega@voorbeeld.test"
Origin = VerificationData.Origin


@pytest.fixture
def post(tmp_path: Path, clock: Clock) -> Iterator[Post]:
    with a_post(tmp_path, clock) as found:
        found.mx("open.test")
        yield found


def sent(post: Post, right: str = "", *, author: str = SENDER) -> Recipient:
    """One more message to the guest, decided and on its way; ``right`` as it stands in a field after the address."""
    post.clock.forward(minutes=1)
    before = set(Recipient.objects.values_list("id", flat=True))
    field = f"zivver-access-right: {GUEST} {right}\r\n" if right else ""
    octets = (
        mail(to=GUEST)
        .replace(b"balie@voorbeeld.test", author.encode())
        .replace(b"MIME-Version", f"{field}MIME-Version".encode())
    )
    envelope = Envelope(
        parse_reverse_path(author), recipients=[AcceptedRecipient(Mailbox.parse(GUEST), frozenset(), "")]
    )
    post.submit_octets(octets, envelope)
    post.settle()
    return Recipient.objects.select_related("conversation").exclude(id__in=before).get()


def token_of(post: Post, recipient: Recipient) -> str:
    """Of a link to the message; the one in the mail was looked at elsewhere."""
    return post.ground.link(recipient)


def proven(post: Post, recipient: Recipient, code: str = "") -> Visitor:
    """A guest who passed the verification, and has not read yet."""
    visitor = Visitor(post.ground)
    assert visitor.follow(token_of(post, recipient)).status_code == 303
    if not code:
        assert visitor.ask(recipient).status_code == 303
        code = post.ground.last_code()
    assert visitor.enter(recipient, code).status_code == 303
    return visitor


def opened(post: Post, recipient: Recipient, code: str = "") -> None:
    post.clock.forward(minutes=1)
    assert proven(post, recipient, code).read(recipient).status_code == 200
    assert Recipient.objects.get(id=recipient.id).state == "opened"


def supply(
    post: Post,
    verification: SmsCode | AccessCode,
    *,
    account: Account | None,
    organisation: Organisation | None = None,
    origin: Origin = Origin.SENDER,
) -> VerificationData:
    post.clock.forward(minutes=1)
    with transaction.atomic():
        return memory.supply(
            organisation or post.ground.organisation,
            Mailbox.parse(GUEST),
            verification,
            account=account,
            origin=origin,
            now=post.clock(),
            sealing=post.ground.keys.sealing,
        )


def sms(phone: str = PHONE) -> SmsCode:
    return SmsCode(Secret(phone))


def reveal(post: Post, recipient: Recipient) -> str | None:
    """The number or code that the recipient is to be verified with."""
    if recipient.verification is None:
        return None
    found = memory.verification_of(
        post.ground.unsealer.field(recipient.verification, name="verification", owner=recipient.id)
    )
    return found.phone.reveal() if isinstance(found, SmsCode) else found.code.reveal()


def why(recipient: Recipient, rank: int) -> str:
    (found,) = (one["why"] for one in (recipient.plan or {})["findings"] if one["rank"] == rank)
    return str(found)


# --- what remembers, and what doesn't -----------------------------------------------------------------------------


def test_a_number_is_remembered_at_the_first_reading_and_not_before(post: Post) -> None:
    named = sent(post, f"sms {PHONE}")
    assert not VerificationData.objects.exists()
    assert (sent(post).method, why(sent(post), 5)) == ("email", "never-opened")
    visitor = Visitor(post.ground)
    visitor.follow(token_of(post, named))
    visitor.ask(named)
    assert not VerificationData.objects.exists()
    visitor.enter(named, post.ground.last_code())
    assert not VerificationData.objects.exists()
    visitor.read(named)
    row = VerificationData.objects.get()
    assert (row.account, row.method, row.masked, row.origin) == (
        post.ground.author,
        "sms",
        "+31 6 ****5678",
        Origin.MESSAGE,
    )
    assert row.confirmed_at == post.clock()
    later = sent(post)
    assert (later.method, why(later, 5), reveal(post, later)) == ("sms", "opened-before", PHONE)


def test_an_access_code_is_remembered_too(post: Post) -> None:
    opened(post, sent(post, f"sharedAccessCode {CODE}"), CODE)
    later = sent(post)
    assert (later.method, why(later, 6), reveal(post, later)) == ("access-code", "opened-before", CODE)
    assert VerificationData.objects.get().masked == ""


def test_a_scanner_that_follows_the_link_remembers_nothing(post: Post) -> None:
    named = sent(post, f"sms {PHONE}")
    token = token_of(post, named)
    for _ in range(3):
        scanner = Visitor(post.ground)
        scanner.client.head(f"/m/{token}")
        scanner.client.get(f"/m/{token}", follow=True)
        scanner.read(named)
    assert not VerificationData.objects.exists()


def test_a_request_for_the_head_of_the_page_is_no_reading(post: Post) -> None:
    named = sent(post, f"sms {PHONE}")
    visitor = proven(post, named)
    assert visitor.client.head(visitor.page("guest-read", named)).status_code == 200
    assert not VerificationData.objects.exists()
    visitor.read(named)
    assert VerificationData.objects.count() == 1


def test_a_wrong_code_remembers_nothing(post: Post) -> None:
    named = sent(post, f"sharedAccessCode {CODE}")
    visitor = Visitor(post.ground)
    visitor.follow(token_of(post, named))
    visitor.enter(named, "Toegang-0000")
    visitor.read(named)
    assert not VerificationData.objects.exists()


def test_an_opening_with_e_mail_or_an_account_remembers_nothing(post: Post) -> None:
    by_mail = sent(post)
    assert by_mail.method == "email"
    note_reading(by_mail, Method.EMAIL, post.clock())
    by_account = post.ground.recipient(post.ground.conversation(mail()), GUEST, method="account")
    note_reading(by_account, Method.ACCOUNT, post.clock())
    assert Recipient.objects.filter(state="opened").count() == 2
    assert not VerificationData.objects.exists()


def test_an_account_that_opened_what_a_number_was_named_for_confirms_no_number(post: Post) -> None:
    named = sent(post, f"sms {PHONE}")
    note_reading(named, Method.ACCOUNT, post.clock())
    assert not VerificationData.objects.exists()


def test_later_readings_change_nothing(post: Post) -> None:
    named = sent(post, f"sms {PHONE}")
    opened(post, named)
    row = VerificationData.objects.get()
    opened(post, named)
    assert VerificationData.objects.get().confirmed_at == row.confirmed_at


# --- which value --------------------------------------------------------------------------------------------------


def test_another_number_replaces_nothing_until_it_opened_a_message(post: Post) -> None:
    opened(post, sent(post, f"sms {PHONE}"))
    changed = sent(post, f"sms {OTHER_PHONE}")
    assert reveal(post, changed) == OTHER_PHONE
    assert reveal(post, sent(post)) == PHONE
    opened(post, changed)
    assert reveal(post, sent(post)) == OTHER_PHONE
    assert VerificationData.objects.get().masked == "+31 6 ****4321"


def test_of_two_messages_the_later_one_counts_in_whatever_order_they_are_opened(post: Post) -> None:
    earlier, later = sent(post, f"sms {PHONE}"), sent(post, f"sms {OTHER_PHONE}")
    opened(post, later)
    opened(post, earlier)
    assert reveal(post, sent(post)) == OTHER_PHONE


def test_a_later_message_counts_although_the_earlier_one_was_opened_after_it_was_sent(post: Post) -> None:
    earlier, later = sent(post, f"sms {PHONE}"), sent(post, f"sms {OTHER_PHONE}")
    opened(post, earlier)
    assert reveal(post, sent(post)) == PHONE
    opened(post, later)
    assert reveal(post, sent(post)) == OTHER_PHONE


def test_an_earlier_message_that_is_opened_does_not_undo_a_correction(post: Post) -> None:
    named = sent(post, f"sms {PHONE}")
    row = supply(post, sms(OTHER_PHONE), account=post.ground.author)
    opened(post, named)
    assert reveal(post, sent(post)) == OTHER_PHONE
    row.refresh_from_db()
    assert (row.origin, row.confirmed_at) == (Origin.SENDER, None)


def test_what_was_supplied_counts_at_once_and_an_opening_confirms_it(post: Post) -> None:
    row = supply(post, sms(), account=post.ground.author)
    first = sent(post)
    assert (first.method, why(first, 5)) == ("sms", "supplied")
    opened(post, first)
    row.refresh_from_db()
    assert (row.confirmed_at, row.origin) == (post.clock(), Origin.SENDER)
    assert why(sent(post), 5) == "opened-before"


def test_a_number_goes_before_a_code(post: Post) -> None:
    opened(post, sent(post, f"sharedAccessCode {CODE}"), CODE)
    opened(post, sent(post, f"sms {PHONE}"))
    later = sent(post)
    assert (later.method, reveal(post, later)) == ("sms", PHONE)
    assert VerificationData.objects.count() == 2


# --- whose --------------------------------------------------------------------------------------------------------


@pytest.fixture
def colleague(post: Post) -> Account:
    return post.ground.account(COLLEAGUE)


def test_what_a_colleagues_recipient_opened_with_counts_and_ones_own_goes_before_it(
    post: Post, colleague: Account
) -> None:
    opened(post, sent(post, f"sms {OTHER_PHONE}", author=COLLEAGUE))
    first = sent(post)
    assert reveal(post, first) == OTHER_PHONE
    opened(post, sent(post, f"sms {PHONE}"))
    opened(post, sent(post, f"sms {OTHER_PHONE}", author=COLLEAGUE))
    assert reveal(post, sent(post)) == PHONE
    assert reveal(post, sent(post, author=COLLEAGUE)) == OTHER_PHONE


def test_an_opening_makes_a_colleagues_number_ones_own(post: Post, colleague: Account) -> None:
    opened(post, sent(post, f"sms {PHONE}", author=COLLEAGUE))
    opened(post, sent(post))
    assert set(VerificationData.objects.values_list("account__email", "masked")) == {
        (COLLEAGUE, "+31 6 ****5678"),
        (SENDER, "+31 6 ****5678"),
    }


def test_what_a_colleague_supplied_counts_for_nobody_else_until_it_opened_a_message(
    post: Post, colleague: Account
) -> None:
    supply(post, sms(), account=colleague)
    assert sent(post).method == "email"
    opened(post, sent(post, author=COLLEAGUE))
    assert reveal(post, sent(post)) == PHONE


def test_what_holds_for_the_organisation_goes_between_ones_own_and_a_colleagues(post: Post, colleague: Account) -> None:
    opened(post, sent(post, f"sms {OTHER_PHONE}", author=COLLEAGUE))
    supply(post, sms("+31611111111"), account=None, origin=Origin.ADMINISTRATOR)
    first = sent(post)
    assert (reveal(post, first), why(first, 5)) == ("+31611111111", "supplied")
    supply(post, sms(), account=post.ground.author)
    assert reveal(post, sent(post)) == PHONE


def test_of_colleagues_the_one_whose_recipient_opened_last_counts(post: Post, colleague: Account) -> None:
    post.ground.account("derde@voorbeeld.test")
    opened(post, sent(post, f"sms {PHONE}", author=COLLEAGUE))
    opened(post, sent(post, f"sms {OTHER_PHONE}", author="derde@voorbeeld.test"))
    assert reveal(post, sent(post)) == OTHER_PHONE


def test_nothing_of_another_organisation_is_known(post: Post) -> None:
    elsewhere = Organisation.objects.create(name="Ander ziekenhuis")
    stranger = Account.objects.create_user("balie@ander.test", organisation=elsewhere)
    for account in (stranger, None):
        supply(post, sms(), account=account, organisation=elsewhere)
    VerificationData.objects.update(confirmed_at=post.clock())
    assert (sent(post).method, why(sent(post), 5)) == ("email", "never-opened")
    asked = Asker(post.ground.organisation.id, stranger.id, Mailbox.parse(GUEST).key)
    assert memory.known({asked}, open_field=post.ground.unsealer.field)[asked].sms is None


def test_what_is_removed_is_used_no_more_and_a_colleagues_takes_its_place(post: Post, colleague: Account) -> None:
    opened(post, sent(post, f"sms {OTHER_PHONE}", author=COLLEAGUE))
    decided = sent(post, f"sms {PHONE}")
    opened(post, decided)
    with transaction.atomic():
        memory.forget(VerificationData.objects.get(account=post.ground.author))
    assert reveal(post, sent(post)) == OTHER_PHONE
    assert reveal(post, Recipient.objects.get(id=decided.id)) == PHONE
    with transaction.atomic():
        memory.forget(VerificationData.objects.get())
    assert sent(post).method == "email"


# --- sealed, damaged, destroyed -----------------------------------------------------------------------------------


def test_what_is_remembered_is_sealed(post: Post) -> None:
    opened(post, sent(post, f"sms {PHONE}"))
    opened(post, sent(post, f"sharedAccessCode {CODE}"), CODE)
    supply(post, AccessCode(Secret("Ander-88231"), Secret("Geheugensteun-77")), account=None)
    everything = "\n".join(dump())
    for secret in (PHONE, PHONE[3:], CODE, "Ander-88231", "Geheugensteun-77"):
        assert secret not in everything
        assert secret.encode().hex() not in everything
    first, second = VerificationData.objects.filter(method="access-code").values_list("sealed", flat=True)
    assert bytes(first) != bytes(second)


@pytest.mark.parametrize("sealed", [b"", b"\0", b"\1", b"\2" * 40, b"\xff" * 2000, "bit", "other row"])
def test_what_can_not_be_opened_is_not_known_and_nobody_waits_for_it(post: Post, sealed: Any) -> None:
    row = supply(post, sms(), account=post.ground.author)
    octets = bytes(row.sealed)
    if sealed == "bit":
        sealed = octets[:-1] + bytes([octets[-1] ^ 1])
    elif sealed == "other row":
        sealed = bytes(supply(post, AccessCode(Secret(CODE)), account=None).sealed)
        VerificationData.objects.filter(method="access-code").delete()
    VerificationData.objects.filter(id=row.id).update(sealed=sealed)
    assert (sent(post).method, why(sent(post), 5)) == ("email", "never-opened")


def test_an_opening_mends_what_can_not_be_opened(post: Post) -> None:
    row = supply(post, sms(OTHER_PHONE), account=post.ground.author)
    VerificationData.objects.filter(id=row.id).update(sealed=b"\0")
    opened(post, sent(post, f"sms {PHONE}"))
    assert reveal(post, sent(post)) == PHONE


def test_what_was_decided_is_opened_although_memory_is_broken(post: Post) -> None:
    """The reader waits for no memory: what can't be opened any more is passed over."""
    named = sent(post, f"sms {PHONE}")
    visitor = proven(post, named)
    SealedVerification.objects.filter(recipient=named).update(sealed=b"\0")
    assert visitor.read(named).status_code == 200
    assert Recipient.objects.get(id=named.id).state == "opened"
    assert not VerificationData.objects.exists()


def test_it_is_still_known_when_the_message_has_expired(post: Post) -> None:
    named = sent(post, f"sms {PHONE}")
    opened(post, named)
    with transaction.atomic():
        retention.destroy(named.conversation_id, now=post.clock())
    assert Recipient.objects.get(id=named.id).verification is None
    post.clock.forward(days=800)
    assert reveal(post, sent(post)) == PHONE


def test_a_correction_keeps_the_method(post: Post) -> None:
    row = supply(post, sms(), account=post.ground.author)
    with pytest.raises(ValueError, match="keeps the method"), transaction.atomic():
        memory.correct(
            row,
            AccessCode(Secret(CODE)),
            origin=Origin.SENDER,
            now=post.clock() + timedelta(days=1),
            sealing=post.ground.keys.sealing,
        )
    assert reveal(post, sent(post)) == PHONE


def test_a_link_that_came_by_mail_leads_to_the_same(post: Post) -> None:
    """The links of these tests are made beside the mail; this one stood in it."""
    server = post.mx("echt.test")
    post.submit("gast@echt.test", fields=[("zivver-access-right", f"gast@echt.test sms {PHONE}")])
    post.settle()
    recipient = post.recipient("gast@echt.test")
    visitor = Visitor(post.ground)
    visitor.open(recipient, link_in(server.messages()[0]))
    visitor.read(recipient)
    assert VerificationData.objects.get().address == "gast@echt.test"
