"""Webhooks hear of milestones, at least once, signed, and of nothing more than that. The server is a real one, over
HTTPS on loopback; the mail goes its real way."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.server
import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any, Final

import pytest

from tests.journey.delivery_ground import PROVEN_FIELD, Post, a_post
from tests.journey.portal_ground import Clock, Visitor
from tests.peers.site import Answer, Site, gives, refers, site
from zegel.accounts import webhooks
from zegel.accounts.models import AuditEntry, Organisation, Webhook
from zegel.accounts.webhooks import NotAWebhook, Unfit, Wanted
from zegel.core.mail.address import Mailbox
from zegel.core.mail.reply import Reply
from zegel.core.policy.alarms import Alarm, Condition
from zegel.core.policy.webhooks import CHOICE, KEPT, MOST_AGE, PAUSES, Event
from zegel.core.secret import Secret
from zegel.edge.fetch import Fetcher
from zegel.edge.tls import verifying_context
from zegel.journey import watch
from zegel.journey.custody import forgetting, outbox, retention, revoking
from zegel.journey.custody.models import Conversation, WebhookRequest
from zegel.journey.webhooks import LEASE, Telling
from zegel.local.authority import LocalAuthority, self_signed

pytestmark = pytest.mark.django_db(transaction=True)

HOST: Final = "programma.voorbeeld.test"
GUEST: Final = "gast@elders.test"
CODE: Final = "blauwe-fiets-7"
CODE_FIELD: Final = [("zivver-access-right", f"{GUEST} access-code {CODE}")]
SELF: Final = (IPv4Network("127.0.0.0/8"),)


@pytest.fixture
def post(tmp_path: Path, clock: Clock) -> Iterator[Post]:
    with a_post(tmp_path, clock) as found:
        yield found


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> LocalAuthority:
    return LocalAuthority.load_or_create(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def server(authority: LocalAuthority, tmp_path: Path) -> Iterator[Site]:
    with site(*authority.issue([HOST, "localhost"], tmp_path)) as found:
        found.answers["/hook"] = gives(b"")
        yield found


@dataclass
class Program:
    """A webhook of the organisation, what tells it, and the server that hears of it."""

    post: Post
    server: Site
    webhook: Webhook
    secret: Secret[str]
    telling: Telling

    def tell(self, **later: float) -> list[dict[str, Any]]:
        """All that is due by then; returns what the server was told by that."""
        before = len(self.server.bodies)
        self.post.clock.forward(**later)
        self.post.run(_told(self.telling))
        return [json.loads(one) for one in self.server.bodies[before:]]

    def requests(self) -> list[tuple[str, str, int, str]]:
        found = WebhookRequest.objects.filter(webhook=self.webhook).order_by("id")
        return [(one.event, one.state, one.tries, one.outcome) for one in found]

    def answers(self, answer: Answer) -> None:
        self.server.answers["/hook"] = answer

    def fresh(self) -> Webhook:
        self.webhook.refresh_from_db()
        return self.webhook


async def _told(telling: Telling) -> None:
    await telling.look()
    await telling.settle()


def fetcher(
    authority: LocalAuthority, *, within: float = 15.0, networks: Sequence[IPv4Network] = SELF, ip: str = "127.0.0.1"
) -> Fetcher:
    trust = verifying_context(authority.certificate_path)
    return Fetcher(trust, lambda host: [ip], 0, networks=networks, redirects=0, within=within)


def telling(post: Post, tells: Fetcher) -> Telling:
    return Telling(
        post.writer, post.readers, open_field=post.ground.unsealer.field, tells=tells, now=post.clock, rest=0.0
    )


def added(
    post: Post, url: str, *events: Event, organisation: Organisation | None = None, description: str = "dossier"
) -> webhooks.NewSecret:
    wanted = Wanted(description, url, frozenset(events or CHOICE))
    sealing = post.ground.keys.sealing
    return webhooks.add(organisation or post.ground.organisation, wanted, sealing=sealing, now=post.clock())


@pytest.fixture
def program(post: Post, server: Site, authority: LocalAuthority) -> Program:
    made = added(post, server.url("/hook", HOST))
    return Program(post, server, made.webhook, made.secret, telling(post, fetcher(authority)))


def is_signed(server: Site, number: int, secret: Secret[str]) -> bool:
    """As the specification says, and by nothing of ours."""
    headers, octets = server.asked[number][1], server.bodies[number]
    key = base64.b64decode(secret.reveal().removeprefix("whsec_"))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + octets
    expected = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return any(hmac.compare_digest(expected, one) for one in headers["webhook-signature"].split())


# --- what is told -------------------------------------------------------------------------------------------------


def test_a_readable_message_is_told_of_with_its_evidence_and_a_signature(program: Program) -> None:
    program.post.proven("veilig.test")
    reply = program.post.submit("arts@veilig.test", fields=[PROVEN_FIELD])
    program.post.settle()
    (told,) = program.tell()
    recipient = program.post.recipient("arts@veilig.test")
    assert told["type"] == "recipient.delivered"
    assert told["timestamp"] == recipient.delivered_at.isoformat(timespec="seconds")  # type: ignore[union-attr]
    data = told["data"]
    assert data["organisation"] == "Voorbeeldziekenhuis"
    assert data["message"] == str(recipient.submission_id) and _names(reply, data["message"])
    assert (data["message_id"], data["address"]) == ("<eerste@voorbeeld.test>", "arts@veilig.test")
    assert "TLS 1.3" in data["says"]["en"] and "TLS 1.3" in data["says"]["nl"]
    assert data["evidence"]["host"].endswith("veilig.test")
    headers = program.server.asked[0][1]
    assert headers["content-type"] == "application/json"
    assert headers["webhook-id"] == str(WebhookRequest.objects.get().id)
    assert int(headers["webhook-timestamp"]) == int(program.post.clock().timestamp())
    assert is_signed(program.server, 0, program.secret)
    assert not is_signed(program.server, 0, Secret("whsec_" + base64.b64encode(b"x" * 32).decode()))
    assert program.requests() == [("recipient.delivered", "taken", 1, "200")]


def _names(reply: Reply, identity: str) -> bool:
    return identity in str(reply.text) or identity.replace("-", "") in str(reply.text)


def test_notified_opened_answered_and_revoked_are_told_in_their_order(program: Program) -> None:
    post = program.post
    post.mx("elders.test")
    post.submit(GUEST, fields=CODE_FIELD)
    post.settle()
    recipient = post.recipient(GUEST)
    visitor = Visitor(post.ground)
    visitor.follow(post.ground.link(recipient))
    visitor.enter(recipient, CODE)
    visitor.read(recipient)
    visitor.read(recipient)
    visitor.answer(recipient, "Dank u")
    assert revoking.revoke(recipient, now=post.clock()) and not revoking.revoke(recipient, now=post.clock())
    told = program.tell()
    assert [one["type"] for one in told] == [
        "recipient.notified",
        "recipient.opened",
        "recipient.answered",
        "recipient.revoked",
    ]
    assert told[1]["data"]["evidence"] == {"method": "access-code"}
    everything = b"".join(program.server.bodies).decode()
    for secret in (CODE, "Dank u", "Uitslag", "/m/"):
        assert secret not in everything


def test_who_cant_be_served_is_told_of_with_the_reason_and_a_bounce_likewise(program: Program) -> None:
    program.post.submit("weg@bestaat-niet.test")
    program.post.until_nothing_waits()
    (told,) = program.tell()
    assert told["type"] == "recipient.undeliverable"
    assert told["data"]["evidence"]["status"].startswith("5.")
    assert told["data"]["says"]["en"].count(".") >= 2


def test_held_is_told_once_however_often_it_is_looked_at(program: Program) -> None:
    organisation = program.post.ground.organisation
    organisation.allowed_methods = ["sms", "access-code"]
    organisation.save()
    program.post.submit(GUEST)
    program.post.settle()
    assert [one["type"] for one in program.tell()] == ["recipient.held"]
    program.post.later(hours=30)
    assert [one["type"] for one in program.tell() if one["type"] == "recipient.held"] == []


def test_expiry_is_told_to_those_who_could_still_open(program: Program) -> None:
    post = program.post
    post.mx("elders.test")
    post.submit(GUEST, "ander@elders.test")
    post.settle()
    revoking.revoke(post.recipient("ander@elders.test"), now=post.clock())
    program.tell()
    for one in Conversation.objects.all():
        retention.destroy(one.id, now=post.clock())
        retention.destroy(one.id, now=post.clock())
    assert [(one["type"], one["data"]["address"]) for one in program.tell()] == [("recipient.expired", GUEST)]


def test_a_webhook_hears_of_its_own_organisation_and_of_what_it_chose(
    program: Program, server: Site, clock: Clock
) -> None:
    """P20"""
    other = Organisation.objects.create(name="Ander")
    added(program.post, server.url("/ander", HOST), organisation=other)
    added(program.post, server.url("/geopend", HOST), Event.OPENED)
    webhooks.change(
        program.fresh(), Wanted("x", server.url("/hook", HOST), frozenset(CHOICE)), is_enabled=False, now=clock()
    )
    program.post.mx("elders.test")
    program.post.submit(GUEST, fields=CODE_FIELD)
    program.post.settle()
    assert WebhookRequest.objects.count() == 0
    assert program.tell() == []


def test_an_alarm_is_told_in_words_and_a_test_is_sent_whatever_was_chosen(program: Program) -> None:
    alarm = Alarm(Condition.TEXTS_FAILED, number=7)
    outbox.alarmed(Event.ALARM_RAISED, program.post.ground.organisation, alarm, now=program.post.clock())
    outbox.try_out(program.webhook, now=program.post.clock())
    raised, test = sorted(program.tell(), key=lambda told: str(told["type"]))  # within a millisecond neither is first
    assert (raised["type"], raised["data"]["alarm"], raised["data"]["number"]) == ("alarm.raised", "texts-failed", 7)
    assert raised["data"]["says"]["nl"].startswith("In het afgelopen uur zijn 7")
    assert test["type"] == "webhook.test"


# --- again and again ----------------------------------------------------------------------------------------------


def probe(program: Program) -> None:
    outbox.try_out(program.fresh(), now=program.post.clock())


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (gives(b"", status=500), "500"),
        (gives(b"", status=404), "404"),
        (gives(b"", status=429), "429"),
        (refers("https://127.0.0.1/elders"), "302"),
    ],
)
def test_what_is_not_taken_is_tried_again_with_the_same_id_and_octets(
    program: Program, answer: Answer, outcome: str
) -> None:
    program.answers(answer)
    probe(program)
    program.tell()
    assert program.tell() == [], "not at once"
    assert program.requests() == [("webhook.test", "waiting", 1, outcome)]
    program.answers(gives(b"", status=204))
    program.tell(seconds=PAUSES[0].total_seconds())
    assert program.requests() == [("webhook.test", "taken", 2, "204")]
    (_, first), (_, second) = program.server.asked
    assert first["webhook-id"] == second["webhook-id"]
    assert first["webhook-timestamp"] != second["webhook-timestamp"]
    assert program.server.bodies[0] == program.server.bodies[1]
    assert is_signed(program.server, 1, program.secret)


def test_after_a_day_or_so_it_is_given_up_and_an_alarm_says_so(program: Program) -> None:
    program.answers(gives(b"", status=503))
    probe(program)
    program.tell()
    for pause in PAUSES:
        program.tell(seconds=pause.total_seconds())
    assert program.requests() == [("webhook.test", "given-up", len(PAUSES) + 1, "503")]
    assert len(program.server.asked) == len(PAUSES) + 1
    organisation, now = program.post.ground.organisation, program.post.clock()
    assert [one.key for one in watch.standing_of(organisation, now=now)] == [("webhook-fails", "dossier")]
    assert watch.standing_of(organisation, now=now + timedelta(hours=25)) == ()
    assert program.tell(days=1) == []


def test_what_waited_too_long_is_not_tried_for_another_day(program: Program) -> None:
    program.answers(gives(b"", status=500))
    probe(program)
    program.tell(seconds=MOST_AGE.total_seconds())
    assert program.requests() == [("webhook.test", "given-up", 1, "500")]


def test_gone_disables_the_webhook_and_the_rest_is_given_up(program: Program) -> None:
    program.answers(gives(b"", status=410))
    outbox.alarmed(
        Event.ALARM_RAISED, program.webhook.organisation, Alarm(Condition.CAP_REACHED), now=program.post.clock()
    )
    outbox.alarmed(
        Event.ALARM_ENDED, program.webhook.organisation, Alarm(Condition.CAP_REACHED), now=program.post.clock()
    )
    program.tell()
    webhook = program.fresh()
    assert webhook.is_gone and webhook.disabled_at is not None
    assert len(program.tell()) == 0
    assert program.requests() == [
        ("alarm.raised", "given-up", 1, "410"),
        ("alarm.ended", "given-up", 0, "disabled"),
    ]
    entry = AuditEntry.objects.filter(act="webhook-changed").get()
    assert (entry.by_kind, entry.details) == ("gateway", {"what": "gone"})
    wanted = Wanted(webhook.description, webhook.url, frozenset(CHOICE))
    webhooks.change(webhook, wanted, is_enabled=True, now=program.post.clock())
    program.answers(gives(b""))
    probe(program)
    assert len(program.tell()) == 1


def test_an_endless_answer_is_not_read_and_a_taken_event_is_taken(program: Program) -> None:
    read = []

    def endless(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        for number in range(100_000):
            request.wfile.write(b"x" * 65_536)
            read.append(number)

    program.answers(endless)
    probe(program)
    program.tell()
    assert program.requests() == [("webhook.test", "taken", 1, "200")]
    assert len(read) < 1000


def test_endless_fields_are_no_answer(program: Program) -> None:
    def endless(request: http.server.BaseHTTPRequestHandler) -> None:
        request.wfile.write(b"HTTP/1.1 200 OK\r\n")
        for number in range(1000):
            request.wfile.write(b"x-%d: %s\r\n" % (number, b"y" * 1000))

    program.answers(endless)
    probe(program)
    program.tell()
    assert program.requests() == [("webhook.test", "waiting", 1, "broken-off")]


def waits_for(event: threading.Event) -> None:
    """And then says nothing."""
    event.wait(30)


def test_a_slow_server_ends_in_time_and_holds_up_no_other(post: Post, server: Site, authority: LocalAuthority) -> None:
    free = threading.Event()
    server.answers["/traag"] = lambda request: waits_for(free)
    slow = added(post, server.url("/traag", HOST), description="traag").webhook
    quick = added(post, server.url("/hook", HOST), description="vlug").webhook
    outbox.try_out(slow, now=post.clock())
    outbox.try_out(quick, now=post.clock())

    def when_quick_was_told(request: http.server.BaseHTTPRequestHandler) -> None:
        gives(b"")(request)
        free.set()

    server.answers["/hook"] = when_quick_was_told
    post.run(_told(telling(post, fetcher(authority))))
    assert free.is_set(), "the quick one was told while the slow one was waited for"
    assert WebhookRequest.objects.get(webhook=quick).state == "taken"
    assert WebhookRequest.objects.get(webhook=slow).outcome == "broken-off"
    never = threading.Event()
    server.answers["/traag"] = lambda request: waits_for(never)
    outbox.try_out(slow, now=post.clock())
    post.run(_told(telling(post, fetcher(authority, within=0.5))))
    never.set()
    assert WebhookRequest.objects.filter(webhook=slow).order_by("id").last().outcome == "too-slow"  # type: ignore[union-attr]


@pytest.mark.parametrize("trusted", [False, True])
def test_a_certificate_that_is_not_its_own_is_refused(
    post: Post, authority: LocalAuthority, tmp_path: Path, *, trusted: bool
) -> None:
    files = authority.issue(["ander.test"], tmp_path) if trusted else self_signed([HOST], tmp_path)
    with site(*files) as found:
        made = added(post, found.url("/hook", HOST))
        outbox.try_out(made.webhook, now=post.clock())
        post.run(_told(telling(post, fetcher(authority))))
        assert found.asked == []
    assert WebhookRequest.objects.get().outcome == "no-certificate"


def test_an_address_that_is_not_public_is_never_connected_to_unless_the_settings_name_it(
    post: Post, server: Site, authority: LocalAuthority
) -> None:
    made = added(post, server.url("/hook", HOST))
    outbox.try_out(made.webhook, now=post.clock())
    post.run(_told(telling(post, fetcher(authority, networks=()))))
    assert WebhookRequest.objects.get().outcome == "not-public"
    post.clock.forward(minutes=1)
    other = (IPv4Network("10.0.0.0/8"),)
    post.run(_told(telling(post, fetcher(authority, networks=other))))
    assert (WebhookRequest.objects.get().outcome, server.asked) == ("not-public", [])
    post.clock.forward(minutes=10)
    post.run(_told(telling(post, fetcher(authority))))
    assert WebhookRequest.objects.get().state == "taken"


# --- killed -------------------------------------------------------------------------------------------------------


def test_who_is_killed_after_sending_and_before_recording_sends_once_more_under_the_same_id(
    program: Program, authority: LocalAuthority
) -> None:
    """What it leaves behind is what is durable at that moment: a request that is taken, and not recorded."""
    probe(program)
    dying = telling(program.post, fetcher(authority))
    run = program.post.run
    taken = run(program.post.writer.write(lambda: dying._take(program.webhook.pk)))
    assert taken is not None
    letter = run(program.post.readers.read(lambda: dying._letter(taken)))
    assert letter is not None
    assert run(dying._send(letter)) == 200
    assert program.tell() == [], "it is the other's for a while"
    assert len(program.tell(seconds=LEASE.total_seconds() + 1)) == 1
    (_, first), (_, second) = program.server.asked
    assert first["webhook-id"] == second["webhook-id"]
    assert program.requests() == [("webhook.test", "taken", 1, "200")]


def test_two_processes_send_a_request_once(program: Program, authority: LocalAuthority) -> None:
    import asyncio

    for _ in range(5):
        probe(program)
    other = telling(program.post, fetcher(authority))

    async def both() -> None:
        await asyncio.gather(_told(program.telling), _told(other))

    program.post.run(both())
    identities = [headers["webhook-id"] for _, headers in program.server.asked]
    assert len(identities) == len(set(identities)) == 5


# --- secrets ------------------------------------------------------------------------------------------------------


def test_two_secrets_are_valid_until_the_previous_one_is_ended(program: Program) -> None:
    sealing, now = program.post.ground.keys.sealing, program.post.clock()
    second = webhooks.renew(program.webhook, sealing=sealing, now=now).secret
    with pytest.raises(webhooks.StillRenewing):
        webhooks.renew(program.webhook, sealing=sealing, now=now)
    probe(program)
    program.tell()
    assert is_signed(program.server, 0, program.secret) and is_signed(program.server, 0, second)
    webhooks.end_previous(program.fresh(), now=now)
    probe(program)
    program.tell()
    assert is_signed(program.server, 1, second) and not is_signed(program.server, 1, program.secret)


def test_no_secret_and_no_address_stands_in_the_rows_the_log_or_the_audit_log(program: Program) -> None:
    program.post.mx("elders.test")
    program.post.submit(GUEST, fields=CODE_FIELD)
    program.post.settle()
    program.tell()
    rows = repr(list(WebhookRequest.objects.values_list()))
    assert GUEST not in rows and "elders" not in rows
    stored = bytes(program.fresh().secret)
    assert base64.b64decode(program.secret.reveal().removeprefix("whsec_")) not in stored
    told = repr(program.post.logged) + repr(list(AuditEntry.objects.values_list("details", "about")))
    assert program.secret.reveal() not in told
    assert [one["outcome"] for one in program.post.logged if one["event"] == "webhook_told"] == ["taken"]


# --- forgotten ----------------------------------------------------------------------------------------------------


def test_who_is_erased_is_not_told_of_any_more(program: Program) -> None:
    program.answers(gives(b"", status=500))
    program.post.mx("elders.test")
    program.post.submit(GUEST, fields=CODE_FIELD)
    program.post.settle()
    program.tell()
    forgetting.forget_recipient(program.post.ground.organisation, Mailbox.parse(GUEST), now=program.post.clock())
    assert WebhookRequest.objects.count() == 0
    program.answers(gives(b""))
    assert program.tell(hours=1) == []


def test_an_organisation_that_is_erased_leaves_nothing(program: Program) -> None:
    program.post.mx("elders.test")
    program.post.submit(GUEST, fields=CODE_FIELD)
    program.post.settle()
    forgetting.erase(program.post.ground.organisation, now=program.post.clock, remove=lambda _: None)
    assert (Webhook.objects.count(), WebhookRequest.objects.count()) == (0, 0)
    assert program.tell() == []


def test_old_requests_go_and_what_waits_stays(program: Program) -> None:
    probe(program)
    program.tell()
    probe(program)
    outbox.forget_old(program.post.clock() + KEPT + timedelta(seconds=1))
    assert program.requests() == [("webhook.test", "waiting", 0, "")]


def test_a_removed_webhook_hears_nothing_more(program: Program) -> None:
    probe(program)
    webhooks.remove(program.webhook, now=program.post.clock())
    assert program.tell() == []
    assert AuditEntry.objects.filter(act="webhook-removed").count() == 1


# --- what can be one ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://programma.voorbeeld.test/", Unfit.URL),
        ("https://naam:wachtwoord@programma.voorbeeld.test/", Unfit.URL),
        ("https://programma.voorbeeld.test/#x", Unfit.URL),
        ("", Unfit.URL),
        ("https://programma.voorbeeld.test:25/", Unfit.PORT),
        ("https://programma.voorbeeld.test:80/", Unfit.PORT),
    ],
)
def test_what_is_no_address_of_a_web_server_is_refused(post: Post, url: str, why: Unfit) -> None:
    with pytest.raises(NotAWebhook) as raised:
        added(post, url)
    assert (raised.value.field, raised.value.why) == ("url", why)
    assert Webhook.objects.count() == 0


@pytest.mark.parametrize("port", ["", ":443", ":1024", ":8443"])
def test_usual_ports_are_taken(post: Post, port: str) -> None:
    assert added(post, f"https://programma.voorbeeld.test{port}/").webhook.pk


def test_ten_are_enough(post: Post) -> None:
    for number in range(webhooks.MOST):
        added(post, f"https://programma.voorbeeld.test/{number}")
    with pytest.raises(NotAWebhook) as raised:
        added(post, "https://programma.voorbeeld.test/")
    assert raised.value.why is Unfit.TOO_MANY
