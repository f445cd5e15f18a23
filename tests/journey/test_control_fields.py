"""Control fields on their way: every refusal as a mail server meets it, and no value where it doesn't belong."""

from __future__ import annotations

import base64
import html
import logging
import quopri
import re
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import quote

import pytest

from tests.journey.arrival_ground import GUEST, SENDER, Doorstep, Wire, mail
from tests.journey.delivery_ground import Post, a_post, everything_in, link_in, status_of
from tests.journey.portal_ground import PASSWORD, TOTP, Clock, Visitor, words
from tests.web.conftest import browser
from zegel.accounts import submitting
from zegel.accounts.models import Account, Organisation
from zegel.accounts.sign_in import current_totp, enrol_totp
from zegel.core.policy.directives import MalformedField, Refusal, from_json_bytes, read_directives
from zegel.core.policy.verification import SmsCode
from zegel.edge.dns import Found
from zegel.journey.custody.models import Conversation, Job, Recipient, Submission

pytestmark = pytest.mark.django_db(transaction=True)

DIGITS: Final = "687654321"  # a number that stands nowhere else
CODE: Final = "Merk4e0a toegang"
WORD: Final = "merk5c9d"
STRAY: Final = "merk8b2f@elders.test"


@pytest.fixture
def doorstep(tmp_path: Path, clock: Clock) -> Iterator[Doorstep]:
    with Doorstep(tmp_path, clock).open() as opened:
        yield opened


@pytest.fixture
def wire(doorstep: Doorstep) -> Wire:
    return doorstep.signed_in()


@pytest.fixture
def post(tmp_path: Path, clock: Clock) -> Iterator[Post]:
    with a_post(tmp_path, clock) as found:
        yield found


# --- looking for what must not be there ---------------------------------------------------------------------------


def forms(secret: str) -> list[bytes]:
    """The ways in which a text may stand in a mail, a page, an address or a log."""
    raw = secret.encode()
    found = [raw, *(secret.encode(codec) for codec in ("utf-16-le", "utf-16-be")), quopri.encodestring(raw)]
    found += [
        raw.hex().encode(),
        quote(secret).encode(),
        html.escape(secret).encode(),
        secret.replace(" ", "_").encode(),
    ]
    for lead in range(3):
        encoded = base64.b64encode(b"\0" * lead + raw)
        found.append(encoded[4 if lead else 0 : (lead + len(raw)) // 3 * 4])
    return [form.lower() for form in found if len(form) > 4]


def values() -> dict[str, list[bytes]]:
    """Every marker, and its parts that would still tell it."""
    spaced = [
        f"{DIGITS[0]} {DIGITS[1:]}",
        f"{DIGITS[0]}-{DIGITS[1:]}",
        f"{DIGITS[1:5]} {DIGITS[5:]}",
        DIGITS[1:],
        DIGITS,
    ]
    return {
        "number": [form for one in spaced for form in forms(one)],
        "code": [form for one in (CODE, CODE.split()[0]) for form in forms(one)],
        "word": forms(WORD),
        "stray": [form for one in (STRAY, STRAY.partition("@")[0]) for form in forms(one)],
    }


def betrayed(octets: bytes | str, *, besides: Iterable[str] = ()) -> list[str]:
    """Which values stand in it, in whatever form."""
    lower = (octets.encode("utf-8", "replace") if isinstance(octets, str) else octets).lower()
    kinds = {kind: found for kind, found in values().items() if kind not in besides}
    return [f"{kind} as {form!r}" for kind, found in kinds.items() for form in found if form in lower]


@pytest.mark.parametrize("secret", [DIGITS[1:], CODE.split()[0], WORD, STRAY.partition("@")[0]])
def test_the_search_would_find_what_it_looks_for(secret: str) -> None:
    around = [secret, secret.upper(), f"x{secret}y", quote(secret), secret.encode().hex()]
    assert all(betrayed(one) for one in around)
    for lead in range(3):
        assert betrayed(base64.b64encode(b"x" * lead + secret.encode() + b"yyy"))
    assert betrayed(secret.encode("utf-16-le"))
    assert betrayed(html.unescape(f"&#32;{secret}"))
    assert not betrayed("+31 6 ****4321")


# --- refused in the dialogue --------------------------------------------------------------------------------------

RIGHT: Final = "zivver-access-right"
REFUSED: Final[dict[Refusal, str]] = {
    Refusal.UNKNOWN: f"zivver-acces-right: {GUEST} sharedAccessCode {CODE}",
    Refusal.BOTH_NAMES: f"{RIGHT}: {GUEST} sharedAccessCode {CODE}\r\nzegel-access-right: {STRAY} sms 06{DIGITS[1:]}",
    Refusal.TWICE: f"zivver-direct-delivery: {WORD}\r\nZivver-Direct-Delivery: {CODE}",
    Refusal.RECIPIENT_TWICE: f"{RIGHT}: {STRAY} sms 06{DIGITS[1:]}\r\n{RIGHT}: {STRAY.upper()} sharedAccessCode {CODE}",
    Refusal.SEVERAL_RECIPIENTS: f"{RIGHT}: {GUEST} sharedAccessCode {CODE}, {STRAY} sms 06{DIGITS[1:]}",
    Refusal.NOT_TEXT: f"{RIGHT}: {STRAY} sharedAccessCode {CODE}\u200b",
    Refusal.NO_RIGHT: f"{RIGHT}: {STRAY}",
    Refusal.NO_ADDRESS: f"{RIGHT}: {WORD} sms 06{DIGITS[1:]}",
    Refusal.NO_METHOD: f"{RIGHT}: {STRAY} {WORD} 06{DIGITS[1:]}",
    Refusal.NO_MOBILE_NUMBER: f"{RIGHT}: {STRAY} sms +31{DIGITS}0",
    Refusal.CODE_LENGTH: f"{RIGHT}: {STRAY} sharedAccessCode {CODE * 10}",
    Refusal.CODE_SPACES: f"{RIGHT}: {STRAY} sharedAccessCode {CODE}\t{WORD}",
    Refusal.NO_EXPIRATION: f"zivver-message-expiration: delete {WORD}",
}


def test_every_refusal_has_its_example() -> None:
    assert REFUSED.keys() == set(Refusal)


@pytest.mark.parametrize("why", Refusal)
def test_what_may_not_be_guessed_is_refused_in_one_sentence_without_its_value(
    doorstep: Doorstep, wire: Wire, why: Refusal, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        reply = wire.submit(mail(REFUSED[why]))
    beginning, _, end = why.sentence.partition("{field}")
    assert reply.startswith(f"550 5.6.0 {beginning}")
    assert reply.endswith(end.rpartition("{field}")[2])
    assert doorstep.custody() == []
    for seen in (reply, repr(doorstep.logged), caplog.text):
        assert betrayed(seen) == []
    assert wire.submit(mail()).startswith("250 ")  # the connection goes on


@pytest.mark.parametrize("why", Refusal)
def test_not_even_a_traceback_holds_the_value(why: Refusal) -> None:
    fields = [line.partition(": ")[::2] for line in REFUSED[why].split("\r\n")]
    with pytest.raises(MalformedField) as refused:
        read_directives([(name, value.encode()) for name, value in fields])
    shown = "".join(traceback.format_exception(refused.value)) + repr(refused.value) + repr(refused.value.__cause__)
    assert betrayed(shown) == []
    assert len(refused.value.reply.encode()) <= 512  # RFC 5321 §4.5.3.1.5


def test_a_field_that_is_folded_wherever_it_may_be_is_understood(doorstep: Doorstep, wire: Wire) -> None:
    field = f"ZIVVER-Access-Right:\r\n\t\r\n {GUEST}\r\n\tSMS\r\n \t \r\n +31\r\n\t6 8765\r\n 4321"
    assert wire.submit(mail(field)).startswith("250 ")
    assert asked(doorstep) == f"+31{DIGITS}"


def test_a_defect_of_ours_logs_no_value(tmp_path: Path, clock: Clock) -> None:
    def fail() -> None:
        raise RuntimeError(CODE)

    with Doorstep(tmp_path, clock, ring=fail).open(may_break=True) as doorstep:
        doorstep.submit(mail(f"{RIGHT}: {STRAY} sharedAccessCode {CODE}", f"zivver-direct-delivery: {WORD}"))
    assert [one["event"] for one in doorstep.logged].count("broken") == 1
    assert betrayed(repr(doorstep.logged)) == []


# --- national numbers ---------------------------------------------------------------------------------------------


def asked(doorstep: Doorstep) -> str:
    """The one number that the one submission brought."""
    submission = Submission.objects.get()
    opened = doorstep.unsealer.field(submission.directives, name="directives", owner=submission.id)
    (right,) = from_json_bytes(opened.reveal()).access_rights.values()
    assert isinstance(right, SmsCode)
    return right.phone.reveal()


REGIONS: Final = [
    ("NL", "06 12 34 56 78", "+31612345678"),
    ("FR", "06 12 34 56 78", "+33612345678"),
    ("BE", "0470 12 34 56", "+32470123456"),
]


@pytest.mark.parametrize(("region", "written", "number"), REGIONS)
def test_a_national_number_is_one_of_the_organisations_country_with_credentials(
    doorstep: Doorstep, region: str, written: str, number: str
) -> None:
    Organisation.objects.update(region=region)
    assert doorstep.submit(mail(f"{RIGHT}: {GUEST} sms {written}")).startswith("250 ")
    assert asked(doorstep) == number


@pytest.mark.parametrize(("region", "written", "number"), REGIONS)
def test_a_national_number_is_one_of_the_organisations_country_with_spf(
    doorstep: Doorstep, region: str, written: str, number: str
) -> None:
    Organisation.objects.update(region=region)
    submitting.demand(doorstep.organisation, Organisation.Authentication("either"), networks=(), needs_dkim=False)
    doorstep.zone.records["voorbeeld.test", "TXT"] = Found(("v=spf1 ip4:127.0.0.0/8 -all",))
    assert doorstep.secure().submit(mail(f"{RIGHT}: {GUEST} sms {written}")).startswith("250 ")
    assert asked(doorstep) == number


def test_a_national_number_of_another_country_is_refused(doorstep: Doorstep, wire: Wire) -> None:
    assert wire.submit(mail(f"{RIGHT}: {GUEST} sms 0470 12 34 56")).startswith("550 5.6.0 zivver-access-right must end")


# --- internationalised addresses ----------------------------------------------------------------------------------


@pytest.mark.parametrize("named", ["g\u00e9rard@xn--bcher-kva.test", "Ge\u0301rard@B\u00dcCHER.test"])
@pytest.mark.parametrize("served", ["g\u00e9rard@b\u00fccher.test", "ge\u0301rard@xn--bcher-kva.test"])
def test_an_internationalised_recipient_is_recognised_in_a_field(
    doorstep: Doorstep, wire: Wire, named: str, served: str
) -> None:
    content = mail(f"{RIGHT}: {named} sms +31{DIGITS}", to=served)
    assert wire.submit(content, served, parameters=" SMTPUTF8").startswith("250 ")
    assert asked(doorstep) == f"+31{DIGITS}"
    assert not Recipient.objects.get().conversation.is_blind
    assert not Job.objects.filter(kind="warn").exists()


# --- no value anywhere --------------------------------------------------------------------------------------------

BY_SMS: Final = "sms@open.test"
BY_CODE: Final = "code@open.test"
READER: Final = "lezer@veilig.test"
REFUSED_BY_SERVER: Final = "weg@weigert.test"
BLIND: Final = "blind@open.test"


@dataclass
class Seen:
    """All that anybody saw, by where it was seen."""

    things: dict[str, str] = field(default_factory=dict)

    def note(self, where: str, what: str) -> None:
        self.things[f"{len(self.things)} {where}"] = what

    def betrayals(self, *, besides: Iterable[str] = ()) -> dict[str, list[str]]:
        return {where: found for where, what in self.things.items() if (found := betrayed(what, besides=besides))}


def signed_in(post: Post, account: Account) -> Visitor:
    """With both steps."""
    account.set_password(PASSWORD)
    account.save()
    enrol_totp(account, TOTP)
    visitor = Visitor(post.ground, browser())
    visitor.client.post("/account/sign-in/", {"login": account.email, "password": PASSWORD})
    code = {"code": current_totp(TOTP)}
    assert visitor.client.post("/account/security/authenticate/", code).status_code == 302
    return visitor


def test_no_value_of_a_field_is_seen_by_anybody(post: Post, caplog: pytest.LogCaptureFixture) -> None:
    """Sent, notified, opened, delivered, refused, reported, warned about, traced: everything that anybody sees."""
    caplog.set_level(logging.DEBUG)
    seen = Seen()
    guests, readers = post.mx("open.test"), post.proven()
    gone = post.mx("weigert.test", answers={"RCPT": b"550 5.1.1 nobody\r\n"})
    elsewhere = post.mx("elders.test")
    fields = [
        (RIGHT, f"{BY_SMS} sms 06-{DIGITS[1:]}"),
        (RIGHT, f"{BY_CODE} sharedAccessCode {CODE}"),
        (RIGHT, f"{REFUSED_BY_SERVER} sms +31{DIGITS}"),
        (RIGHT, f"{STRAY} sharedAccessCode {CODE}"),
        ("zivver-minimum-recipient-verification", WORD),
        ("zivver-message-expiration", "delete P37D"),
    ]
    everybody = [BY_SMS, BY_CODE, REFUSED_BY_SERVER]
    post.submit(*everybody, BLIND, to=everybody, fields=fields)
    odd = [("zegel-direct-delivery", f"tls tls1.2 auth {WORD}"), (RIGHT, f"{STRAY} sms +31{DIGITS}")]
    post.submit(READER, to=[READER], fields=odd, message_id="<tweede@voorbeeld.test>")
    post.later(minutes=11)
    post.later(days=6)

    # guests, before and after their verification
    for address, code in ((BY_SMS, None), (BY_CODE, CODE)):
        visitor, recipient = Visitor(post.ground), post.recipient(address)
        token = link_in(next(one.content for one in guests.taken if address in one.rcpt))
        for language in ("nl", "en"):
            visitor.client.defaults["HTTP_ACCEPT_LANGUAGE"] = language
            seen.note("link", visitor.client.get(f"/m/{token}", follow=True).content.decode())
        if code is None:
            visitor.ask(recipient)
            seen.note("asked", visitor.client.get(visitor.page("guest-verify", recipient)).content.decode())
        seen.note("wrong", visitor.enter(recipient, "000000").content.decode())
        passed = visitor.enter(recipient, code or post.ground.last_code())
        seen.note("passed", str(passed.headers) + passed.content.decode())
        page = visitor.read(recipient)
        assert "De uitslag is goed" in words(page)
        seen.note("read", str(page.headers) + page.content.decode())
        message = recipient.conversation.messages.get(answered_by=None).id
        source = visitor.get(visitor.page("guest-source", recipient, message=message))
        seen.note("source", b"".join(source.streaming_content).decode())
        assert visitor.answer(recipient, "Dank u wel.").status_code == 303
    post.settle()

    # the administrator and the author
    administrator = signed_in(post, post.ground.account("beheer@voorbeeld.test", role="owner"))
    author = signed_in(post, post.ground.author)
    traces = [f"/console/messages/{one.id}/" for one in Submission.objects.all()]
    traces += [f"/console/messages/{one.submission_id}/{one.id}/" for one in Recipient.objects.all()]
    inbox = [f"/inbox/{one.id}/" for one in Conversation.objects.all()]
    for language in ("nl", "en"):
        for visitor, pages in (
            (administrator, ["/console/", *traces]),
            (author, ["/inbox/", *inbox]),
        ):
            visitor.client.defaults["HTTP_ACCEPT_LANGUAGE"] = language
            for address in pages:
                page = visitor.get(address)
                assert page.status_code == 200, address
                seen.note(address, page.content.decode())
        found = administrator.client.post("/console/messages/", {"sought": BY_SMS})
        assert SENDER in words(found)
        seen.note("search", found.content.decode())

    # mails and logs
    for name, server in (("guest", guests), ("reader", readers), ("gone", gone), ("stray", elsewhere)):
        for taken in server.taken:
            seen.note(f"mail to {name}", everything_in(taken.content) + taken.mail + taken.rcpt)
    for heard in (one for server in (guests, readers, gone) for one in server.heard):
        seen.note("dialogue", bytes(heard.clear + heard.secure).decode("utf-8", "replace"))
    for report in post.reports():
        seen.note("report", everything_in(report))
    seen.note("log", repr(post.logged) + caplog.text)
    assert len(readers.messages()) == 1
    assert {
        one for one in (REFUSED_BY_SERVER, BLIND) if any(one in status_of(report) for report in post.reports())
    } == {
        REFUSED_BY_SERVER,
        BLIND,
    }
    assert elsewhere.heard == []
    masked = [where for where, what in seen.things.items() if "+31 6 ****4321" in what]
    assert any("console" in where for where in masked)  # the pages were seen
    assert seen.betrayals() == {}
    assert not [
        where
        for where, what in seen.things.items()
        if re.search(r"p37d|zivver-|zegel-(?:access|direct|mess)", what.lower())
    ]

    # the author alone hears of the stray address, and of nothing else
    notices = [everything_in(one) for one in post.notices()]
    about = [one for one in notices if STRAY in one]
    assert len(about) == 2
    for notice in notices:
        assert betrayed(notice, besides={"stray"}) == []
