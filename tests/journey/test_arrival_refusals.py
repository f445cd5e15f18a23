"""What is known to be wrong is refused in the dialogue, and leaves nothing."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.journey.arrival_ground import GUEST, SENDER, Doorstep, Wire, mail
from tests.journey.portal_ground import Clock
from zegel.accounts import credentials
from zegel.accounts.models import Organisation
from zegel.core.mail import fields
from zegel.core.mail.fields import HeaderSection
from zegel.core.mail.trace import loop_marker
from zegel.core.secret import Secret
from zegel.core.smtp.server import Profile
from zegel.journey.arrival.sender import authenticate

pytestmark = pytest.mark.django_db(transaction=True)

NO_ACCOUNT = "550 5.7.1 The From address has no active account here; ask your Zegel administrator to add one"
NO_DOMAIN = (
    "550 5.7.1 The From domain is not a verified sending domain of your organisation; ask your Zegel administrator"
)
TOO_LARGE = "552 5.3.4 The message is larger than this server accepts; EHLO tells the limit"
LOOP = "554 5.4.6 This message went around in a loop; see where your mail server sends what it receives"
BAD_CONTENT = (
    "550 5.6.0 The message has a CR or LF that is not part of a CR LF pair, or a NUL; end every line with CR LF"
)
BAD_CREDENTIALS = "535 5.7.8 These credentials are not known or were disabled"


@pytest.fixture
def doorstep(tmp_path: Path, clock: Clock) -> Iterator[Doorstep]:
    with Doorstep(tmp_path, clock).open() as opened:
        yield opened


@pytest.fixture
def wire(doorstep: Doorstep) -> Wire:
    return doorstep.signed_in()


def plain(name: str, secret: str) -> bytes:
    return b"AUTH PLAIN " + base64.b64encode(f"\0{name}\0{secret}".encode())


# Who may


@pytest.mark.parametrize("command", ["AUTH PLAIN AGEAYg==", "MAIL FROM:<balie@voorbeeld.test>", "RCPT TO:<a@b.test>"])
def test_nothing_is_signed_in_or_submitted_in_clear(doorstep: Doorstep, command: str) -> None:
    wire = doorstep.wire()
    assert wire.say("EHLO client.test").startswith("250 ")
    assert wire.say(command) == "530 5.7.0 Must issue a STARTTLS command first"


def test_auth_is_not_offered_in_clear(doorstep: Doorstep) -> None:
    wire = doorstep.wire()
    assert not any(one.startswith("AUTH") for one in wire.offers())
    wire.start_tls()
    assert "AUTH PLAIN LOGIN" in wire.offers()


def test_without_credentials_nothing_is_submitted(doorstep: Doorstep) -> None:
    assert doorstep.secure().say(f"MAIL FROM:<{SENDER}>") == "530 5.7.0 Authentication required"


def test_an_unknown_name_and_a_wrong_secret_get_the_same_reply(doorstep: Doorstep) -> None:
    wire = doorstep.secure()
    unknown = wire.say(plain("smtp-nobody", "wrong"))
    wrong = wire.say(plain(doorstep.credential.credential.username, "wrong"))
    assert unknown == wrong == BAD_CREDENTIALS


def test_an_unknown_name_and_a_wrong_secret_cost_the_same_questions(doorstep: Doorstep) -> None:
    """P14. What the clock shows depends on the machine; what is asked of the database doesn't."""
    name = doorstep.credential.credential.username
    asked = []
    for username, why in (("smtp-nobody", "unknown"), (name, "secret")):
        with CaptureQueriesContext(connection) as queries:
            assert authenticate(username, Secret("wrong")) == why
        asked.append([one["sql"].replace(username, "") for one in queries])
    assert asked[0] == asked[1]
    assert len(asked[0]) == 1


def test_a_disabled_credential_gets_the_reply_of_one_that_never_was(doorstep: Doorstep) -> None:
    credentials.disable(doorstep.credential.credential)
    assert doorstep.secure().sign_in(doorstep.credential) == BAD_CREDENTIALS


def test_auth_login_meets_the_same_refusal(doorstep: Doorstep) -> None:
    wire = doorstep.secure()
    assert wire.say("AUTH LOGIN").startswith("334 ")
    assert wire.say(base64.b64encode(b"smtp-nobody")).startswith("334 ")
    assert wire.say(base64.b64encode(b"wrong")) == BAD_CREDENTIALS


def test_the_fifth_wrong_secret_ends_the_connection(doorstep: Doorstep) -> None:
    wire = doorstep.secure()
    for _ in range(4):
        assert wire.say(plain("smtp-nobody", "wrong")) == BAD_CREDENTIALS
    assert wire.say(plain("smtp-nobody", "wrong")) == BAD_CREDENTIALS
    assert wire.reply().startswith("421 4.7.0 ")
    assert wire.is_closed()


def test_a_credential_that_was_disabled_meanwhile_is_refused_at_the_next_message(
    doorstep: Doorstep, wire: Wire
) -> None:
    assert wire.submit(mail(identity="een")).startswith("250 ")
    before = doorstep.custody()
    credentials.disable(doorstep.credential.credential)
    assert wire.submit(mail(identity="twee")) == (
        "535 5.7.8 These credentials were disabled or may not be used from here; ask your administrator"
    )
    assert doorstep.custody() == before


def test_a_credential_that_was_removed_meanwhile_is_refused_at_the_next_message(doorstep: Doorstep, wire: Wire) -> None:
    doorstep.credential.credential.delete()
    assert wire.submit(mail()).startswith("535 5.7.8 ")
    assert doorstep.custody() == []


def test_where_nobody_can_look_the_credentials_up_the_sign_in_is_refused_for_now(tmp_path: Path, clock: Clock) -> None:
    """RFC 4954 §6: for as long as it lasts, and not held against the client."""
    with Doorstep(tmp_path, clock).open(may_break=True) as doorstep:
        wire = doorstep.secure()
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE accounts_smtpcredential RENAME TO elsewhere")
        try:
            for _ in range(12):
                assert (
                    wire.sign_in(doorstep.credential) == "454 4.7.0 Temporary authentication failure; try again later"
                )
            assert wire.say(f"MAIL FROM:<{SENDER}>") == "530 5.7.0 Authentication required"
        finally:
            with connection.cursor() as cursor:
                cursor.execute("ALTER TABLE elsewhere RENAME TO accounts_smtpcredential")
        assert wire.sign_in(doorstep.credential) == "235 2.7.0 Authentication succeeded"


# For whom


def test_an_author_without_an_account_is_refused(doorstep: Doorstep, wire: Wire) -> None:
    assert wire.submit(mail(sender="niemand@voorbeeld.test")) == NO_ACCOUNT
    assert doorstep.custody() == []


def test_an_author_whose_account_is_suspended_is_refused(doorstep: Doorstep, wire: Wire) -> None:
    doorstep.account_of("oud@voorbeeld.test", is_active=False)
    assert wire.submit(mail(sender="oud@voorbeeld.test")) == NO_ACCOUNT
    assert doorstep.custody() == []


def test_an_account_of_another_organisation_is_no_author_here(doorstep: Doorstep, wire: Wire) -> None:
    """Even where the domain is ours."""
    other = Organisation.objects.create(name="Andere")
    doorstep.account_of("gast@voorbeeld.test", organisation=other)
    assert wire.submit(mail(sender="gast@voorbeeld.test")) == NO_ACCOUNT
    assert doorstep.custody() == []


def test_a_domain_of_another_organisation_is_no_sending_domain_here(doorstep: Doorstep, wire: Wire) -> None:
    other = Organisation.objects.create(name="Andere")
    doorstep.domain("andere.test", organisation=other)
    doorstep.account_of("balie@andere.test", organisation=other)
    assert wire.submit(mail(sender="balie@andere.test")) == NO_DOMAIN
    assert doorstep.custody() == []


def test_a_domain_whose_records_are_not_in_place_is_refused(doorstep: Doorstep, wire: Wire) -> None:
    doorstep.domain("nieuw.test", in_place=False)
    doorstep.account_of("balie@nieuw.test")
    assert wire.submit(mail(sender="balie@nieuw.test")) == NO_DOMAIN
    assert doorstep.custody() == []


def test_a_verified_domain_does_not_vouch_for_its_subdomains(doorstep: Doorstep, wire: Wire) -> None:
    doorstep.account_of("balie@poli.voorbeeld.test")
    assert wire.submit(mail(sender="balie@poli.voorbeeld.test")) == NO_DOMAIN
    assert doorstep.custody() == []


def test_the_author_counts_and_not_the_reverse_path(doorstep: Doorstep, wire: Wire) -> None:
    assert wire.submit(mail(sender="vreemd@elders.test"), sender=SENDER) == NO_DOMAIN
    assert wire.submit(mail(), sender="bounces@elders.test").startswith("250 ")


def test_an_author_in_another_case_is_the_same_author(doorstep: Doorstep, wire: Wire) -> None:
    assert wire.submit(mail(sender="Balie@VOORBEELD.test")).startswith("250 ")


# Content that is refused


@pytest.mark.parametrize(
    ("field", "begins"),
    [
        ("zivver-access-right: ontvanger@example.org sms 020-1234567", "zivver-access-right must end with one mobile"),
        ("zivver-access-right: ontvanger@example.org sms", "zivver-access-right must end with one mobile number"),
        ("zivver-access-right: ontvanger@example.org", "zivver-access-right must read: address sms number"),
        ("zivver-access-right: geen-adres sms +31612345678", "zivver-access-right must begin with the e-mail address"),
        ("zivver-access-right: ontvanger@example.org fax +31612345678", "zivver-access-right must say sms or"),
        ("zivver-access-right: ontvanger@example.org sharedAccessCode abc", "zivver-access-right must end with an acc"),
        (
            "zivver-access-right: ontvanger@example.org sms +31612345678 ander@example.org sms +31612345679",
            "zivver-access-right names several recipients",
        ),
        (
            "zivver-access-right: ontvanger@example.org sms +3161234\u200b5678",
            "zivver-access-right must be plain text in",
        ),
        (
            "zivver-access-right: ontvanger@example.org sms +31612345678,+31612345679",
            "zivver-access-right must end with",
        ),
        ("zivver-message-expiration: delete P40000D", "zivver-message-expiration must read: delete and a duration"),
        ("zivver-message-expiration:", "zivver-message-expiration must read: delete and a duration"),
        (
            "zivver-minimum-recipient-verification: email-verification\r\n"
            "ZIVVER-MINIMUM-RECIPIENT-VERIFICATION: email-verification",
            "zivver-minimum-recipient-verification may stand in a message only once",
        ),
        ("zivver-message-expiration: delete P1M", "zivver-message-expiration must read: delete and a duration"),
        ("zivver-message-expiration: P30D", "zivver-message-expiration must read: delete and a duration"),
        ("zivver-access-rights: ontvanger@example.org sms +31612345678", "zivver-access-rights is not a field this"),
        ("Zegel-Nonsense: 1", "zegel-nonsense is not a field this gateway knows"),
        (
            "zivver-direct-delivery: tls tls1.2 auth certificate-validation\r\n"
            "zivver-direct-delivery: tls tls1.3 auth certificate-validation",
            "zivver-direct-delivery may stand in a message only once",
        ),
        (
            "zegel-direct-delivery: tls tls1.2 auth certificate-validation\r\n"
            "zivver-direct-delivery: tls tls1.2 auth certificate-validation",
            "zegel-direct-delivery and zivver-direct-delivery are one field",
        ),
        (
            "zivver-access-right: ontvanger@example.org sms +31612345678\r\n"
            "zivver-access-right: Ontvanger@EXAMPLE.org sharedAccessCode geheim",
            "zivver-access-right names one recipient twice",
        ),
    ],
)
def test_a_control_field_that_would_have_to_be_guessed_is_refused(
    doorstep: Doorstep, wire: Wire, field: str, begins: str
) -> None:
    reply = wire.submit(mail(field))
    assert reply.startswith(f"550 5.6.0 {begins}")
    assert "ontvanger@example.org" not in reply.lower()
    assert "12345" not in reply
    assert doorstep.custody() == []


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"To: a@example.org\r\n\r\nx\r\n", fields.ONE_FROM),
        (b"From: balie@voorbeeld.test\r\nFrom: balie@voorbeeld.test\r\n\r\nx\r\n", fields.ONE_FROM),
        (b"From: balie@voorbeeld.test, chef@voorbeeld.test\r\n\r\nx\r\n", fields.TWO_AUTHORS),
        (b"From: Balie\r\n\r\nx\r\n", fields.NOT_AN_ADDRESS),
        (b"From:\r\n\r\nx\r\n", fields.NOT_AN_ADDRESS),
        (b"From: alle: balie@voorbeeld.test;\r\n\r\nx\r\n", fields.GROUP),
        (b"From: balie@voorbeeld.test <chef@voorbeeld.test>\r\n\r\nx\r\n", fields.TWO_READINGS),
        (b"From: balie@voorbeeld.test\r\nthis is no field\r\n\r\nx\r\n", fields.NO_FIELD),
        (b"From : balie@voorbeeld.test\r\n\r\nx\r\n", fields.NO_FIELD),
        (b" folded first\r\nFrom: balie@voorbeeld.test\r\n\r\nx\r\n", fields.BEGINS_WITH_SPACE),
        (b"From balie Mon Nov 23\r\nFrom: balie@voorbeeld.test\r\n\r\nx\r\n", fields.MBOX_SEPARATOR),
        (b"\r\nx\r\n", fields.ONE_FROM),
    ],
)
def test_a_header_section_without_one_author_is_refused(
    doorstep: Doorstep, wire: Wire, content: bytes, text: str
) -> None:
    assert wire.submit(content) == f"550 5.6.0 {text}"
    assert doorstep.custody() == []


def test_an_announced_size_that_is_too_large_is_refused_at_once(tmp_path: Path, clock: Clock) -> None:
    with Doorstep(tmp_path, clock, Profile("zegel.test", requires_auth=True, max_size=100_000)).open() as doorstep:
        wire = doorstep.signed_in()
        assert wire.say(f"MAIL FROM:<{SENDER}> SIZE=100001") == TOO_LARGE
        assert wire.say(f"MAIL FROM:<{SENDER}> SIZE=100000").startswith("250 ")


@pytest.mark.parametrize("announced", ["", " SIZE=1000"])
def test_content_that_grows_too_large_is_refused_and_leaves_nothing(
    tmp_path: Path, clock: Clock, announced: str
) -> None:
    with Doorstep(tmp_path, clock, Profile("zegel.test", requires_auth=True, max_size=200_000)).open() as doorstep:
        wire = doorstep.signed_in()
        content = mail(body=b"0123456789abcdef\r\n" * 20_000)
        assert wire.submit(content, parameters=announced) == TOO_LARGE
        assert doorstep.custody() == []
        assert wire.submit(mail(body=b"0123456789abcdef\r\n" * 8_000)).startswith("250 ")


def test_a_chunk_that_makes_it_too_large_is_refused_and_leaves_nothing(tmp_path: Path, clock: Clock) -> None:
    with Doorstep(tmp_path, clock, Profile("zegel.test", requires_auth=True, max_size=200_000)).open() as doorstep:
        wire = doorstep.signed_in()
        wire.begin([GUEST])
        content = mail(body=b"0123456789abcdef\r\n" * 20_000)
        wire.send(b"BDAT 150000\r\n" + content[:150_000])
        assert wire.reply().startswith("250 ")
        assert doorstep.files() != []
        wire.send(b"BDAT %d LAST\r\n" % len(content[150_000:]) + content[150_000:])
        assert wire.reply() == TOO_LARGE
        assert doorstep.custody() == []


def test_a_hundred_and_one_hops_are_a_loop(doorstep: Doorstep, wire: Wire) -> None:
    hop = "Received: from a.test by b.test; Mon, 23 Nov 2026 12:00:00 +0000"
    assert wire.submit(mail(*[hop] * 101)) == LOOP
    assert doorstep.custody() == []
    assert wire.submit(mail(*[hop] * 100)).startswith("250 ")


def test_what_the_gateway_sent_does_not_come_in_again(doorstep: Doorstep, wire: Wire) -> None:
    content = mail()
    section = HeaderSection.parse(content.partition(b"\r\n\r\n")[0] + b"\r\n")
    assert wire.submit(loop_marker("zegel.test", section, doorstep.keys.marker) + content) == LOOP
    assert doorstep.custody() == []


def test_a_stored_message_that_comes_back_is_a_loop(doorstep: Doorstep, wire: Wire) -> None:
    assert wire.submit(mail()).startswith("250 ")
    before = doorstep.custody()
    assert wire.submit(doorstep.opened().octets) == LOOP
    assert doorstep.custody() == before


def test_a_forged_marker_is_no_reason_to_refuse(doorstep: Doorstep, wire: Wire) -> None:
    content = mail()
    section = HeaderSection.parse(content.partition(b"\r\n\r\n")[0] + b"\r\n")
    forged = loop_marker("zegel.test", section, Secret(bytes(32)))
    assert wire.submit(forged + content).startswith("250 ")
    assert forged not in doorstep.opened().octets


def test_a_header_section_that_has_no_end_is_refused(doorstep: Doorstep, wire: Wire) -> None:
    assert wire.submit(mail(f"X-Long: {'x' * 300_000}")) == "552 5.3.4 The header section is larger than 256 KiB"
    assert doorstep.custody() == []


@pytest.mark.parametrize(
    "odd",
    [
        b"\n.\n",
        b"\r.\r",
        b"\r.\n",
        b"\n.\r",
        b"\n.\r\n",
        b"\r\n.\n",
        b"\r.\r\n",
        b"\r\n.\r",
        b"\r\n\0.\r\n",
        b"\r\n.\0\r\n",
    ],
)
def test_a_false_end_of_data_smuggles_nothing(doorstep: Doorstep, wire: Wire, odd: bytes) -> None:
    smuggled = b"MAIL FROM:<balie@voorbeeld.test>\r\nRCPT TO:<slachtoffer@example.org>\r\nDATA\r\n" + mail()
    wire.begin([GUEST])
    assert wire.say("DATA").startswith("354 ")
    wire.send(mail() + b"before" + odd + smuggled + b".\r\n")
    assert wire.reply() == BAD_CONTENT
    assert wire.say("NOOP") == "250 2.0.0 OK"
    assert doorstep.custody() == []


@pytest.mark.parametrize("odd", [b"a\nb", b"a\rb", b"a\0b"])
@pytest.mark.parametrize("where", ["header", "body"])
def test_bare_line_ends_and_nul_are_refused_in_chunks_too(
    doorstep: Doorstep, wire: Wire, odd: bytes, where: str
) -> None:
    content = mail(body=odd + b"\r\n") if where == "body" else b"X-Odd: " + odd + b"\r\n" + mail()
    wire.begin([GUEST])
    wire.send(b"BDAT %d LAST\r\n" % len(content) + content)
    assert wire.reply() == BAD_CONTENT
    assert doorstep.custody() == []


def test_a_refused_message_does_not_end_the_session(doorstep: Doorstep, wire: Wire) -> None:
    assert wire.submit(mail(sender="niemand@voorbeeld.test")) == NO_ACCOUNT
    assert wire.submit(mail("zivver-nonsense: 1")).startswith("550 5.6.0 ")
    assert wire.submit(mail()).startswith("250 ")


def test_a_large_message_that_is_refused_at_its_end_leaves_no_file(doorstep: Doorstep, wire: Wire) -> None:
    large = mail(sender="niemand@voorbeeld.test", body=b"0123456789abcdef\r\n" * 20_000)
    assert wire.submit(large) == NO_ACCOUNT
    assert doorstep.custody() == []


def test_no_room_on_the_disk_is_said_before_the_envelope(doorstep: Doorstep, wire: Wire) -> None:
    doorstep.desk.has_room = False
    assert wire.say(f"MAIL FROM:<{SENDER}>") == "452 4.3.1 Temporarily out of storage; try again later"
    doorstep.desk.has_room = True
    assert wire.submit(mail()).startswith("250 ")
