"""How things stand: what alarms are judged by, gauges and readiness are read out of a real database and real files."""

from __future__ import annotations

import asyncio
import shutil
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from structlog.testing import capture_logs

from tests.journey.test_day_numbers import people, sent, tried
from tests.needs import ONLY_SQLITE
from zegel.accounts import audit, credentials, submitting
from zegel.accounts.models import (
    Account,
    DirectDeliveryList,
    Organisation,
    SendingDomain,
    SignInFailure,
    SmtpCredential,
    Usage,
)
from zegel.core.policy.alarms import Alarm, Condition, Shown
from zegel.core.policy.audit import Act
from zegel.core.policy.texts import TextCaps, TextMoney
from zegel.core.secret import Secret
from zegel.edge import chance, keyring, metrics
from zegel.edge.certificates import self_signed
from zegel.edge.dns import Answer, Found, NotThere, Trouble
from zegel.edge.metrics import Totals
from zegel.journey import watch
from zegel.journey.custody.jobs import Kind
from zegel.journey.custody.models import Job, Recipient, Sms, Transmission, WrongTry
from zegel.journey.watch import Watch
from zegel.local.authority import LocalAuthority
from zegel.settings import Settings, load

pytestmark = pytest.mark.django_db

ROOM: Final = 1000


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A gateway's folder, with keys."""
    folder = tmp_path / "state"
    folder.mkdir()
    keyring.create(folder / "keys")
    return Settings().model_copy(update={"testing": True, "folder": folder, "hostname": "zegel.test"})


def owner(author: Account) -> Organisation:
    assert author.organisation is not None
    return author.organisation


def standing(author: Account) -> list[tuple[Condition, str, int]]:
    assert author.organisation is not None
    return [(one.condition, one.about, one.number) for one in watch.standing_of(author.organisation, now=now())]


def queued(recipient: Recipient, *, made: datetime, kind: str = "notification") -> Transmission:
    mail = tried(recipient, kind=kind)
    Transmission.objects.filter(id=mail.id).update(id=_other_id(made), created_at=made)  # an identifier says when
    mail = Transmission.objects.get(recipient=recipient, created_at=made)
    Job.objects.create(kind=Kind.TRANSMIT.value, subject=mail.id, due_at=now() + timedelta(hours=1))
    return mail


# --- of an organisation -----------------------------------------------------------------------------------------------


def test_where_all_is_well_nothing_stands() -> None:
    author = people()
    SendingDomain.objects.create(
        organisation=owner(author), name="voorbeeld.test", ownership_token="t", dkim_key=b"", in_place=True
    )
    sent(author, "a@example.org", state=Recipient.State.NOTIFIED)
    assert standing(author) == []


def test_each_cause_is_found_and_only_in_its_own_organisation() -> None:
    """P20"""
    author, other = people(), people("Ander", "ander.test")
    organisation = author.organisation
    assert organisation is not None
    lately = now()
    SendingDomain.objects.create(
        organisation=organisation,
        name="weg.test",
        ownership_token="t",
        dkim_key=b"",
        in_place=True,
        missing_since=lately - timedelta(hours=5, minutes=1),
    )
    DirectDeliveryList.objects.create(
        organisation=organisation, name="koepel", url="https://k.test/l", read_at=lately - timedelta(days=8, hours=1)
    )
    DirectDeliveryList.objects.create(organisation=organisation, name="bestand", read_at=lately - timedelta(days=99))
    organisation.messages_per_hour = 2
    organisation.save()
    Usage.objects.create(
        whose=Usage.Whose.ORGANISATION, number=organisation.pk, hour=int(lately.timestamp() // 3600), messages=2
    )
    recipient = sent(author, "a@example.org", state=Recipient.State.NOTIFIED)
    for state in ("failed", "failed", "failed", "sent"):
        Sms.objects.create(recipient=recipient, created_at=lately, state=state)
    for _ in range(10):
        WrongTry.objects.create(recipient=recipient, at=lately)
    queued(recipient, made=lately - timedelta(hours=6, minutes=1))
    assert standing(author) == [
        (Condition.DOMAIN_MISSING, "weg.test", 5),
        (Condition.LIST_LAPSED, "koepel", 8),
        (Condition.CAP_REACHED, "Voorbeeld", 0),
        (Condition.TEXTS_FAILED, "", 3),
        (Condition.CODES_GUESSED, "", 1),
        (Condition.MAIL_WAITS, "", 6),
    ]
    assert standing(other) == []


def test_what_was_long_ago_is_no_alarm() -> None:
    author = people()
    recipient = sent(author, "a@example.org", state=Recipient.State.NOTIFIED)
    long_ago = now() - timedelta(hours=25)
    for _ in range(10):
        WrongTry.objects.create(recipient=recipient, at=long_ago)
    for _ in range(5):
        Sms.objects.create(id=chance.first_of(long_ago), recipient=recipient, created_at=long_ago, state="failed")
        Sms.objects.filter(id=chance.first_of(long_ago)).update(id=_other_id(long_ago))
    queued(recipient, made=long_ago, kind="report")
    assert standing(author) == []


def _other_id(moment: datetime) -> Any:
    made = chance.identifier()
    first = chance.first_of(moment)
    return type(made)(bytes=first.bytes[:6] + made.bytes[6:])


def test_a_cap_of_credentials_is_called_by_their_description_and_those_that_are_disabled_are_left_out() -> None:
    author = people()
    hour = int(now().timestamp() // 3600)
    for number, (description, disabled) in enumerate([("Noord", None), ("Zuid", now())]):
        one = SmtpCredential.objects.create(
            organisation=owner(author),
            description=description,
            username=f"u{number}",
            secret_hash=b"",
            recipients_per_day=10,
            disabled_at=disabled,
        )
        Usage.objects.create(whose=Usage.Whose.CREDENTIAL, number=one.pk, hour=hour, recipients=10)
    assert standing(author) == [(Condition.CAP_REACHED, "Noord", 0)]


def test_a_cap_on_text_messages_stands_until_time_makes_room(settings: Settings) -> None:
    author = people()
    submitting.cap_texts(owner(author), TextCaps(texts_per_day=1))
    assert standing(author) == []
    assert submitting.count_text(owner(author).pk, Secret("+31612345678"), "NL", now=now()) is None
    assert standing(author) == [(Condition.TEXTS_CAPPED, "texts per day", 0)]
    found = watch.gauges(settings, now=now())
    assert found[metrics.ALARMS.name, ("texts-capped", "critical")] == 1
    assert watch.standing_of(owner(author), now=now() + timedelta(hours=24)) == ()


def test_money_and_credentials_have_alarms_of_their_own() -> None:
    author = people()
    made = credentials.issue(owner(author), "Noord").credential
    submitting.cap_texts(made, TextCaps(None, 1, None))
    submitting.price_texts(owner(author), TextMoney("EUR", 60, (), 100))
    assert standing(author) == []
    number = Secret("+31612345678")
    assert submitting.count_text(owner(author).pk, number, "NL", credential=made.pk, now=now()) is None
    assert standing(author) == [
        (Condition.TEXTS_CAPPED, "text money", 0), (Condition.CREDENTIAL_TEXTS_CAPPED, "Noord", 0)
    ]  # fmt: skip


def test_looking_asks_as_much_for_many_recipients_as_for_one() -> None:
    def asked(author: Account) -> int:
        assert author.organisation is not None
        with CaptureQueriesContext(connection) as queries:
            watch.standing_of(author.organisation, now=now())
        return len(queries)

    one, many = people(), people("Ander", "ander.test")
    queued(sent(one, "a@example.org"), made=now())
    for number in range(30):
        queued(sent(many, f"{number}@example.org"), made=now())
    assert asked(one) == asked(many)


# --- of the gateway ---------------------------------------------------------------------------------------------------


def of_gateway(settings: Settings) -> list[tuple[Condition, str]]:
    return [(one.condition, one.about) for one in watch.standing_of_gateway(settings, now=now())]


def backed_up(settings: Settings, at: datetime | None = None) -> None:
    audit.note(Act.BACKED_UP, None, now=at or now())
    (settings.keys / keyring.COPIED).write_text(f"2026-01-01 {keyring.fingerprint(settings.keys)}\n")


def test_a_new_gateway_without_mail_has_nothing_to_lose(settings: Settings) -> None:
    assert of_gateway(settings) == []


def test_mail_without_a_backup_is_an_alarm_until_one_was_made(settings: Settings) -> None:
    sent(people(), "a@example.org")
    assert of_gateway(settings) == [(Condition.BACKUP_NEVER, ""), (Condition.KEYS_NOT_COPIED, "")]
    backed_up(settings, now() - timedelta(days=4))
    assert of_gateway(settings) == [(Condition.BACKUP_OLD, "")]
    backed_up(settings)
    assert of_gateway(settings) == []
    (settings.keys / keyring.COPIED).write_text("2026-01-01 of-other-keys\n")
    assert of_gateway(settings) == [(Condition.KEYS_NOT_COPIED, "")]


@pytest.mark.parametrize(
    ("due", "leased", "stands"),
    [
        (timedelta(minutes=-11), None, True),
        (timedelta(minutes=-11), timedelta(seconds=-1), True),  # whoever did it was killed
        (timedelta(minutes=-11), timedelta(seconds=20), False),  # somebody does it
        (timedelta(minutes=-9), None, False),
        (timedelta(minutes=5), None, False),
    ],
)
def test_work_that_waits(settings: Settings, due: timedelta, leased: timedelta | None, stands: bool) -> None:
    Job.objects.create(
        kind=Kind.DECIDE.value,
        subject=chance.identifier(),
        due_at=now() + due,
        leased_until=now() + leased if leased is not None else None,
        lease=chance.identifier() if leased is not None else None,
    )
    assert (Condition.WORK_WAITS in [one for one, _ in of_gateway(settings)]) == stands


@pytest.mark.parametrize(
    ("failures", "ago", "stands"),
    [(20, timedelta(minutes=1), True), (19, timedelta(0), False), (80, timedelta(hours=2), False)],
)
def test_guessing(settings: Settings, failures: int, ago: timedelta, stands: bool) -> None:
    SignInFailure.objects.create(whose=b"x", place=b"y", failures=failures, last_at=now() - ago)
    assert (Condition.PASSWORDS_GUESSED in [one for one, _ in of_gateway(settings)]) == stands


def test_certificates(settings: Settings, tmp_path: Path) -> None:
    self_signed("zegel.test", settings.keys)
    assert watch.certificates(settings, now=now()) == (), "nobody goes by the end of one that the gateway made itself"
    authority = LocalAuthority.load_or_create(tmp_path / "authority")
    files = authority.issue(["zegel.test"], tmp_path / "certificates")
    for hostname, broken in (("zegel.test", False), ("ander.test", True)):
        shown = settings.model_copy(
            update={
                "hostname": hostname,
                "submission": settings.submission.model_copy(
                    update={"certificate": files[0], "certificate_key": files[1]}
                ),
            }
        )
        (found,) = watch.certificates(shown, now=now())
        assert (found.shown, found.is_wrong) == (Shown.SUBMISSION, broken)
        assert (Condition.CERTIFICATE_BROKEN in [one for one, _ in of_gateway(shown)]) == broken
    files[0].write_text("no certificate")
    assert (Condition.CERTIFICATE_BROKEN, "submission") in of_gateway(shown)
    files[0].unlink()
    assert (Condition.CERTIFICATE_BROKEN, "submission") in of_gateway(shown)


# --- gauges -----------------------------------------------------------------------------------------------------------


def test_every_gauge_is_of_the_table_and_has_its_labels(settings: Settings) -> None:
    author = people()
    queued(sent(author, "a@example.org"), made=now())
    backed_up(settings)
    found = watch.gauges(settings, now=now())
    for (name, labels), value in found.items():
        metric = metrics.METRICS[name]
        assert metric.kind is metrics.Kind.GAUGE and len(labels) == len(metric.labels)
        assert value >= 0
        assert "@" not in "".join(labels) and ".test" not in "".join(labels)
    assert found[metrics.WAITING.name, ("transmit",)] == 1
    assert {labels[0] for name, labels in found if name == metrics.ALARMS.name} == {one.value for one in Condition}


def test_the_age_of_the_queue_is_that_of_its_oldest_mail(settings: Settings) -> None:
    assert watch.gauges(settings, now=now())[metrics.QUEUE_AGE.name, ()] == 0
    for ago in (10, 500):
        made = now() - timedelta(seconds=ago)
        Job.objects.create(kind=Kind.TRANSMIT.value, subject=_other_id(made), due_at=now())
    Job.objects.create(kind=Kind.EXPIRE.value, subject=_other_id(now() - timedelta(days=9)), due_at=now())
    assert 500 <= watch.gauges(settings, now=now())[metrics.QUEUE_AGE.name, ()] < 560


@ONLY_SQLITE
def test_work_of_years_to_come_is_not_gone_through(settings: Settings) -> None:
    """There is one such job for every message that expires."""
    with CaptureQueriesContext(connection) as queries:
        watch.gauges(settings, now=now())
    for query in queries:
        if 'FROM "custody_job"' in query["sql"]:
            with connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN QUERY PLAN {query['sql'].replace('%', '%%')}")
                told = [str(row[3]) for row in cursor.fetchall()]
            assert all(not line.startswith("SCAN custody_job") for line in told), (query["sql"], told)


# --- ready ------------------------------------------------------------------------------------------------------------


@dataclass
class Dns:
    answer: Answer = field(default_factory=lambda: Found(("x",), secure=True))
    takes: float = 0.0

    async def ask(self, name: str, kind: str) -> Answer:
        await asyncio.sleep(self.takes)
        return self.answer


def look(settings: Settings, dns: Dns | None = None, *, room: int = ROOM, watching: Watch | None = None) -> Watch:
    made = watching or Watch(settings, Totals(), dns or Dns(), now, room=room, trusted=True)
    asyncio.run(made.look())
    return made


def reasons(settings: Settings, dns: Dns | None = None, *, room: int = ROOM) -> list[str]:
    with capture_logs() as logs:
        ready = look(settings, dns, room=room).is_ready()
    told = [str(one["why"]) for one in logs if one["event"] == "not_ready_now"]
    assert ready == (not told)
    return told


@pytest.mark.django_db(transaction=True)
def test_it_is_ready_where_all_is_there(settings: Settings) -> None:
    assert reasons(settings) == []


@pytest.mark.django_db(transaction=True)
def test_where_looking_itself_fails_it_is_not(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> list[str]:
        raise RuntimeError("a defect")

    monkeypatch.setattr(watch, "hindrances", broken)
    assert reasons(settings) == ["not known"]


@pytest.mark.django_db(transaction=True)
def test_before_the_first_look_it_is_not(settings: Settings) -> None:
    assert not Watch(settings, Totals(), Dns(), now, room=ROOM, trusted=True).is_ready()


@pytest.mark.django_db(transaction=True)
def test_what_stands_in_the_way_is_in_the_log(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    assert reasons(settings, Dns(Trouble("SERVFAIL"))) == ["resolver"]
    assert reasons(settings, Dns(NotThere(name_exists=False))) == ["resolver"]
    assert reasons(settings, room=10**18) == ["disk"]
    monkeypatch.setattr(watch, "PATIENCE", 0.05)
    assert reasons(settings, Dns(takes=20)) == ["resolver"]
    real = settings.model_copy(update={"testing": False})
    assert reasons(real, Dns(Found(("x",), secure=False))) == ["resolver does not validate"]
    (settings.keys / keyring.OPENING).unlink()
    assert reasons(settings) == ["keys"]
    shutil.rmtree(settings.folder)
    assert reasons(settings) == ["keys, disk"]


@pytest.mark.django_db(transaction=True)
def test_a_database_that_can_t_be_read_is_told_and_nothing_else_breaks(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE accounts_sendingdomain RENAME TO moved_away")
    try:
        totals = Totals()
        watching = Watch(settings, totals, Dns(), now, room=ROOM, trusted=True)
        with capture_logs() as logs:
            look(settings, watching=watching)
            look(settings, watching=watching)
        assert [one["why"] for one in logs if one["event"] == "not_ready_now"] == ["database"], "said once"
        assert totals.shown()[metrics.READY.name][()] == 0
        assert metrics.FREE.name not in {name for name, values in totals.shown().items() if values}
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE moved_away RENAME TO accounts_sendingdomain")
    with capture_logs() as logs:
        look(settings, watching=watching)
    assert [one["event"] for one in logs] == ["ready_again"]
    assert totals.shown()[metrics.READY.name][()] == 1
    assert totals.shown()[metrics.FREE.name][()] != 0


@ONLY_SQLITE
@pytest.mark.django_db(transaction=True)
def test_a_database_that_is_locked_holds_nobody_up_for_long(settings: Settings) -> None:
    """A writer keeps no reader out; somebody who locks it all does, and then it is not ready."""
    connection.ensure_connection()
    with connection.cursor() as cursor:
        cursor.execute("BEGIN IMMEDIATE")
        try:
            assert reasons(settings) == []
        finally:
            cursor.execute("ROLLBACK")


@pytest.mark.django_db(transaction=True)
def test_what_was_seen_long_ago_says_nothing(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look that hangs makes it not ready."""
    watching = look(settings)
    assert watching.is_ready()
    late = time.monotonic() + watch.FRESH + 1
    monkeypatch.setattr(time, "monotonic", lambda: late)
    assert not watching.is_ready()


def test_a_gauge_that_can_t_be_taken_is_left_out_and_told(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> Alarm:
        raise OSError("gone")

    monkeypatch.setattr(watch, "gauges", broken)
    totals = Totals()
    watching = Watch(settings, totals, Dns(), now, room=ROOM, trusted=True)
    with capture_logs() as logs:
        watching._show(watch._closing(lambda: watch.gauges(settings, now=now())) or {})
    assert [one["event"] for one in logs] == ["broken"]
    assert not totals.shown()[metrics.LOOKED.name]


def test_the_setting_is_an_address_or_nothing(tmp_path: Path) -> None:
    assert Settings().metrics.listen is None
    path = tmp_path / "zegel.toml"
    path.write_text('[metrics]\nlisten = "127.0.0.1:9464"\n')
    listen = load(path).metrics.listen
    assert listen is not None and listen.port == 9464
