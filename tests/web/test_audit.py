"""The audit log, kept: one chain for each organisation, shown, taken along, shortened."""

from __future__ import annotations

import html
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import IO, Any, Final

import pytest
from django.db import connection, transaction
from django.test import Client
from django.utils import timezone, translation
from structlog.testing import capture_logs

from tests.web.conftest import PASSWORD, SECRET, browser, give_code, give_password, signed_in
from zegel.accounts import audit, policy, submitting
from zegel.accounts.audit import acting, keep, note, shorten
from zegel.accounts.models import Account, AuditEntry, Organisation
from zegel.accounts.sign_in import current_totp, enrol_totp
from zegel.console import audit_words
from zegel.core.mail.address import Domain
from zegel.core.policy.audit import Act, Actor, ActorKind, NotATerm, Sound, Unsound, understood, verify
from zegel.core.policy.submitting import Caps
from zegel.core.policy.transport import PROVEN
from zegel.core.secret import Secret
from zegel.web.translations import catalogue, po_files

pytestmark = pytest.mark.django_db

LOG: Final = "/console/audit/"
NOW: Final = datetime(2026, 7, 25, 12, 0, tzinfo=UTC)


def day(ago: int) -> datetime:
    return NOW - timedelta(days=ago)


def lines(organisation: Organisation | None) -> list[str]:
    return list(audit.export(organisation))


def outcome(organisation: Organisation | None) -> Sound | Unsound:
    return verify(map(understood, lines(organisation)))


def acts(organisation: Organisation) -> list[str]:
    return list(organisation.audit_entries.order_by("number").values_list("act", flat=True))


# The chain


def test_each_organisation_and_the_gateway_have_a_chain_of_their_own(organisation: Organisation) -> None:
    other = Organisation.objects.create(name="Ander ziekenhuis")
    for whose in (organisation, None, other, organisation, None, organisation):
        note(Act.POLICY_CHANGED, whose, "één@voorbeeld.test", {"allowed": ["sms"], "holds": True, "hold_days": None})
    found = [outcome(whose) for whose in (organisation, other, None)]
    assert [one.entries for one in found if isinstance(one, Sound)] == [4, 2, 3]  # with that of the export
    assert {json.loads(line)["chain"] for line in lines(None)} == {0}


def test_what_was_not_done_is_not_noted(organisation: Organisation) -> None:
    with pytest.raises(LookupError), transaction.atomic():
        note(Act.POLICY_CHANGED, organisation)
        raise LookupError
    assert acts(organisation) == []


def test_what_can_not_be_noted_is_not_done(organisation: Organisation, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError

    monkeypatch.setattr(AuditEntry.objects, "create", full)
    with pytest.raises(OSError):
        submitting.cap(organisation, Caps(messages_per_hour=1))
    with pytest.raises(OSError):
        policy.deliver_directly(organisation, Domain("example.org"), PROVEN)
    assert Organisation.objects.get().messages_per_hour is None
    assert not organisation.direct_delivery_domains.exists()


def test_the_same_once_more_is_no_change(organisation: Organisation) -> None:
    for _ in range(2):
        submitting.cap(organisation, Caps(messages_per_hour=1))
        policy.deliver_directly(organisation, Domain("example.org"), PROVEN)
        policy.permit(organisation, policy.policy_of(organisation))
    assert acts(organisation) == ["caps-changed", "direct-delivery-changed"]
    (first, _) = organisation.audit_entries.order_by("number")
    assert first.details == {"messages_per_hour": 1, "messages_per_hour.before": None}


def test_who_acts_is_who_is_said_to(organisation: Organisation) -> None:
    note(Act.POLICY_CHANGED, organisation)
    with acting(lambda: Actor(ActorKind.TOKEN, "abc")):
        note(Act.POLICY_CHANGED, organisation)
        note(Act.POLICY_CHANGED, organisation, by=Actor(ActorKind.COMMAND_LINE, "root"))
    note(Act.POLICY_CHANGED, organisation)
    found = organisation.audit_entries.order_by("number").values_list("by_kind", "by")
    assert list(found) == [("gateway", ""), ("token", "abc"), ("command-line", "root"), ("gateway", "")]


@pytest.mark.django_db(transaction=True)
def test_each_hash_goes_to_the_log_once_it_is_in_force(organisation: Organisation) -> None:
    with capture_logs() as told:
        with transaction.atomic():
            note(Act.POLICY_CHANGED, organisation)
            assert told == []
        with pytest.raises(LookupError), transaction.atomic():
            note(Act.POLICY_CHANGED, organisation)
            raise LookupError
    entry = organisation.audit_entries.get()
    said = {"act": "policy-changed", "chain": organisation.pk, "entry": 1, "hash": entry.hash}
    assert [one["event"] for one in told] == ["audited"] and said.items() <= told[0].items()


# Many at the same moment

PROCESSES: Final = 4


def piped(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("whose", ["an organisation's", "the gateway's own"])
def test_a_chain_has_neither_gap_nor_fork_whoever_notes_at_the_same_moment(
    organisation: Organisation, whose: str
) -> None:
    """Processes, each with threads; a third of what they begin they don't do."""
    log_of = organisation if whose.startswith("an") else None
    told = {
        "database": connection.settings_dict["NAME"],
        "organisation": log_of.pk if log_of else None,
        "threads": 3,
        "each": 6,
    }
    with ExitStack() as stack:
        running = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", "tests.web.audit_process"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for _ in range(PROCESSES)
        ]
        for one in running:
            print(json.dumps(told), file=piped(one.stdin), flush=True)
        assert [piped(one.stdout).readline() for one in running] == ["ready\n"] * PROCESSES
        for one in running:
            print("go", file=piped(one.stdin), flush=True)
        assert [piped(one.stdout).readline() for one in running] == ["done\n"] * PROCESSES
        for one in running:
            piped(one.stdin).close()
    found = outcome(log_of)
    assert isinstance(found, Sound)
    assert found.entries == PROCESSES * 3 * 4 + 1
    said = [json.loads(line)["about"] for line in lines(log_of)]
    assert not [one for one in said if one and int(one.split()[2]) % 3 == 2]


# Changed behind our back


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE accounts_auditentry SET act = 'signed-in' WHERE number = 2",
        "UPDATE accounts_auditentry SET \"by\" = 'ander@voorbeeld.test' WHERE number = 2",
        "UPDATE accounts_auditentry SET about = 'x' WHERE number = 2",
        "UPDATE accounts_auditentry SET details = '{}' WHERE number = 2",
        "UPDATE accounts_auditentry SET at = '2026-01-01 00:00:00' WHERE number = 2",
        "UPDATE accounts_auditentry SET by_kind = 'gateway' WHERE number = 2",
        "UPDATE accounts_auditentry SET previous = hash WHERE number = 2",
        "UPDATE accounts_auditentry SET hash = previous WHERE number = 2",
        "DELETE FROM accounts_auditentry WHERE number = 2",
        "DELETE FROM accounts_auditentry WHERE number = 1",
        "DELETE FROM accounts_auditentry WHERE number < 3",
        "UPDATE accounts_auditentry SET number = 100 + number WHERE number = 4",
        "UPDATE accounts_auditentry SET number = 100 WHERE number = 2;"
        "UPDATE accounts_auditentry SET number = 2 WHERE number = 3;"
        "UPDATE accounts_auditentry SET number = 3 WHERE number = 100",
    ],
)
def test_what_somebody_changes_in_the_database_shows_in_an_export(organisation: Organisation, statement: str) -> None:
    with acting(lambda: Actor(ActorKind.ACCOUNT, "beheer@voorbeeld.test")):
        for number in range(4):
            note(Act.POLICY_CHANGED, organisation, details={"hold_days": number})
    assert isinstance(outcome(organisation), Sound)
    with connection.cursor() as cursor:
        for one in statement.split(";"):
            cursor.execute(one)
    assert isinstance(outcome(organisation), Unsound)


# How long


def old(organisation: Organisation, *ages: int) -> None:
    for age in ages:
        note(Act.POLICY_CHANGED, organisation, now=day(age))


def test_nothing_is_removed_unless_somebody_said_so(organisation: Organisation) -> None:
    old(organisation, 4000, 1)
    assert shorten(NOW) == 0 and len(acts(organisation)) == 2


def test_what_was_kept_long_enough_goes_and_the_log_says_so(organisation: Organisation) -> None:
    other = Organisation.objects.create(name="Ander ziekenhuis")
    old(other, 400)
    old(organisation, 400, 300, 200, 91, 90, 10)
    removed = organisation.audit_entries.get(number=4)
    Organisation.objects.filter(pk=organisation.pk).update(audit_days=90)
    assert shorten(NOW) == 4
    first, *_, last = organisation.audit_entries.order_by("number")
    assert (first.number, last.act, last.by_kind) == (5, "audit-shortened", "gateway")
    assert last.details == {"entries": 4, "last": 4, "hash": removed.hash}
    assert acts(other) == ["policy-changed"]
    found = outcome(organisation)
    assert isinstance(found, Sound) and (found.first, found.last) == (5, 8)
    assert shorten(NOW) == 0


def test_many_go_in_small_batches_each_with_its_word(
    organisation: Organisation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "AT_ONCE", 4)
    old(organisation, *range(210, 200, -1), 1)
    Organisation.objects.update(audit_days=90)
    assert shorten(NOW) == 10
    assert acts(organisation) == ["policy-changed", *["audit-shortened"] * 3]
    assert isinstance(outcome(organisation), Sound)


def test_a_log_in_which_nothing_happens_does_not_tell_of_itself_for_ever(organisation: Organisation) -> None:
    old(organisation, 400)
    Organisation.objects.update(audit_days=90)
    for later in range(0, 1000, 50):
        shorten(NOW + timedelta(days=later))
    assert acts(organisation) == ["audit-shortened"]
    assert isinstance(outcome(organisation), Sound)


def test_an_export_that_began_is_not_overtaken(organisation: Organisation) -> None:
    old(organisation, 400, 1)
    Organisation.objects.update(audit_days=90)
    under_way = audit.export(organisation)
    now = timezone.now()
    assert shorten(now + timedelta(minutes=50)) == 0
    assert isinstance(verify(map(understood, under_way)), Sound)
    assert shorten(now + timedelta(minutes=70)) > 0


def test_a_removal_that_fails_leaves_all_as_it_was(organisation: Organisation, monkeypatch: pytest.MonkeyPatch) -> None:
    old(organisation, 400, 1)
    Organisation.objects.update(audit_days=90)
    monkeypatch.setattr("django.db.models.query.QuerySet.delete", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        shorten(NOW)
    assert acts(organisation) == ["policy-changed"] * 2


def test_the_gateways_own_log_is_kept_always(organisation: Organisation) -> None:
    note(Act.BACKED_UP, None, now=day(4000))
    Organisation.objects.update(audit_days=90)
    shorten(NOW)
    assert AuditEntry.objects.filter(chain=0).count() == 1


def test_a_term_is_noted_once_and_has_a_floor(organisation: Organisation) -> None:
    keep(organisation, 365)
    keep(organisation, 365)
    keep(organisation, None)
    found = [(one.act, one.details) for one in organisation.audit_entries.order_by("number")]
    assert found == [
        ("audit-term-changed", {"days": 365, "days.before": None}),
        ("audit-term-changed", {"days": None, "days.before": 365}),
    ]
    for wrong in (89, 0, -1, 36_501):
        with pytest.raises(NotATerm):
            keep(organisation, wrong)


# Who signs in


def test_a_sign_in_is_noted_once_it_is_complete(administrator: Account, organisation: Organisation) -> None:
    client = browser()
    give_password(client, administrator.email, "wrong wrong wrong")
    give_password(client, administrator.email)
    assert acts(organisation) == []
    give_code(client)
    entry = organisation.audit_entries.get()
    assert (entry.act, entry.by_kind, entry.by) == ("signed-in", "account", administrator.email)
    client.get("/console/")
    assert acts(organisation) == ["signed-in"]


@pytest.mark.django_db(transaction=True)  # allauth tells of a factor after its commit
def test_a_second_factor_and_a_password_are_noted(newcomer: Account, organisation: Organisation) -> None:
    client = browser()
    give_password(client, newcomer.email)
    page = client.get("/account/security/totp/activate/").content.decode()
    secret = re.search(r'id="authenticator_secret">(\w+)<', page)
    assert secret is not None
    client.post("/account/security/totp/activate/", {"code": current_totp(Secret(secret[1]))})
    new = "a bicycle under the stairs"
    client.post("/account/password/", {"oldpassword": PASSWORD, "password1": new, "password2": new})
    found = [(one.act, one.by, one.details) for one in organisation.audit_entries.order_by("number")]
    assert found == [
        ("signed-in", newcomer.email, {}),
        ("factor-added", newcomer.email, {"kind": "totp"}),
        ("factor-added", newcomer.email, {"kind": "recovery_codes"}),
        ("password-changed", newcomer.email, {}),
    ]
    said = "\n".join(lines(organisation))
    assert secret[1] not in said and new not in said and PASSWORD not in said


def test_a_guest_is_in_nobodys_log(organisation: Organisation) -> None:
    guest = Account.objects.create_user("gast@example.org", PASSWORD)
    enrol_totp(guest, SECRET)
    signed_in(guest)
    assert not AuditEntry.objects.exists()


# The page


@pytest.fixture
def client(administrator: Account) -> Client:
    return signed_in(administrator, "en")


def words(answer: Any) -> str:
    text = re.sub(
        r"<[^>]+>", " ", re.sub(r"(?s)<(script|style).*?</\1>|<select.*?</select>", " ", answer.content.decode())
    )
    return " ".join(html.unescape(text).split())


def test_the_page_says_who_did_what(client: Client, organisation: Organisation, administrator: Account) -> None:
    submitting.cap(organisation, Caps(messages_per_hour=500))
    with acting(lambda: Actor(ActorKind.COMMAND_LINE, "root")):
        policy.deliver_directly(organisation, Domain("example.org"), PROVEN)
    said = words(client.get(LOG))
    assert "the gateway itself Limits changed – messages per hour: 500, was none" in said
    assert "command line ( root ) Direct-delivery domain entered or changed example.org at least: tls1.2" in said
    assert f"{administrator.email} Signed in" in said
    assert said.index("Direct-delivery domain entered") < said.index("Limits changed") < said.index("Signed in")
    assert audit.head(organisation).hash in said  # type: ignore[union-attr]


def test_it_is_read_by_who_may_and_nobody_else(client: Client, organisation: Organisation) -> None:
    for role, status in (("owner", 200), ("administrator", 200), ("policy", 403), ("support", 403), ("sender", 403)):
        account = Account.objects.create_user(f"{role}@voorbeeld.test", PASSWORD, organisation=organisation, role=role)
        enrol_totp(account, SECRET)
        other = signed_in(account)
        assert other.get(LOG).status_code == other.post(f"{LOG}export/").status_code == status, role
        assert other.get(f"{LOG}term/").status_code == (200 if role == "owner" else 403)
        assert ("/console/audit/term/" in other.get(LOG).content.decode()) == (role == "owner")


def test_another_organisations_log_is_not_shown_nor_exported(client: Client, other_administrator: Account) -> None:
    other = other_administrator.organisation
    assert other is not None
    note(Act.POLICY_CHANGED, other, "geheim@ander.test")
    note(Act.BACKED_UP, None, "geheim")
    for answer in (client.get(LOG), client.post(LOG, {"about": "geheim"}), client.get(f"{LOG}?before=99")):
        assert "geheim@" not in words(answer)
    assert b"geheim" not in b"".join(client.post(f"{LOG}export/").streaming_content)  # type: ignore[attr-defined]


def test_fifty_stand_on_a_page(client: Client, organisation: Organisation) -> None:
    for number in range(120):
        note(Act.LIST_CHANGED, organisation, f"lijst {number}.")
    seen: list[str] = []
    address = LOG
    while address:
        answer = client.get(address)
        found = re.findall(r"lijst \d+\.", words(answer))
        assert len(found) <= 50
        seen += found
        older = re.search(r'href="(\?before=\d+)"', answer.content.decode())
        address = LOG + older[1] if older else ""
    assert seen == [f"lijst {number}." for number in reversed(range(120))]
    for wrong in ("x", "-1", "9" * 30, "１"):
        assert client.get(LOG, {"before": wrong}).status_code == 200


@pytest.fixture
def filled(organisation: Organisation) -> None:
    note(Act.CREDENTIAL_ISSUED, organisation, "smtp-1", by=Actor(ActorKind.ACCOUNT, "een@voorbeeld.test"))
    note(Act.LIST_ADDED, organisation, "lijst", by=Actor(ActorKind.COMMAND_LINE, "root"), now=day(30))
    note(Act.VERIFICATION_ADDED, organisation, "client@example.org", by=Actor(ActorKind.TOKEN, "x1"), now=day(20))


@pytest.mark.parametrize(
    ("sought", "found"),
    [
        ({"act": "list-added"}, {"lijst"}),
        ({"by": "EEN@voorbeeld"}, {"smtp-1"}),
        ({"by": "root"}, {"lijst"}),
        ({"about": "CLIENT@"}, {"client@example.org"}),
        ({"about": "%"}, set()),
        ({"about": "_"}, set()),
        ({"since": "2026-07-05", "until": "2026-07-05"}, {"client@example.org"}),
        ({"since": "26-06-2026", "until": "2026-07-04"}, set()),
        ({"until": "2026-06-25"}, {"lijst"}),
        ({"until": "9999-12-31", "about": "lijst"}, {"lijst"}),
        ({"since": "0001-01-01", "about": "lijst"}, {"lijst"}),
        ({"act": "list-added", "by": "een"}, set()),
        ({}, {"smtp-1", "lijst", "client@example.org"}),
    ],
)
def test_it_is_searched_by_what_whom_object_and_day(
    client: Client, filled: None, sought: dict[str, str], found: set[str]
) -> None:
    answer = client.post(LOG, sought)
    assert answer.status_code == 200
    cells = set(re.findall(r'data-label="To what">([^<]+)</td>', answer.content.decode()))
    assert cells & {"smtp-1", "lijst", "client@example.org"} == found


def test_what_is_sought_stands_in_no_address_and_older_ones_are_found_as_well(
    client: Client, organisation: Organisation
) -> None:
    for number in range(60):
        note(Act.LIST_CHANGED, organisation, f"client@example.org {number}.")
        note(Act.LIST_CHANGED, organisation, "ander@example.org")
    answer = client.post(LOG, {"about": "client@"})
    body = answer.content.decode()
    assert not re.search(r'(?:href|action)="[^"]*client', body)
    assert len(re.findall(r"client@example.org \d+\.", words(answer))) == 50
    before = re.search(r'name="before" value="(\d+)"', body)
    assert before is not None
    rest = words(client.post(LOG, {"about": "client@", "before": before[1]}))
    assert re.findall(r"client@example.org (\d+)\.", rest) == [str(number) for number in reversed(range(10))]


@pytest.mark.parametrize(
    ("sought", "said"),
    [
        ({"since": "gisteren"}, "This is not a day. Write it like 31-12-2026."),
        ({"since": "2026-02-01", "until": "2026-01-01"}, "The last day lies before the first one."),
        ({"act": "nothing-such"}, "nothing-such"),
        ({"by": "x" * 300}, "254"),
        ({"about": "x\0y"}, "Null"),
    ],
)
def test_what_can_not_be_sought_is_said(client: Client, filled: None, sought: dict[str, str], said: str) -> None:
    answer = client.post(LOG, sought)
    assert answer.status_code == 422
    assert said in words(answer) and "error-summary" in answer.content.decode()


def test_the_export_is_the_log_with_itself_as_its_last_entry(
    client: Client, organisation: Organisation, administrator: Account, filled: None
) -> None:
    answer = client.post(f"{LOG}export/")
    octets = b"".join(answer.streaming_content)  # type: ignore[attr-defined]
    assert answer["Content-Type"] == "application/x-ndjson"
    assert re.fullmatch(r'attachment; filename="audit-log-\d{4}-\d\d-\d\d\.jsonl"', answer["Content-Disposition"])
    found = [json.loads(line) for line in octets.splitlines()]
    assert octets.endswith(b"\n") and isinstance(verify(found), Sound)
    assert [one["number"] for one in found] == list(range(1, len(found) + 1))
    assert (found[-1]["act"], found[-1]["by"]) == ("audit-exported", administrator.email)
    assert client.get(f"{LOG}export/").status_code == 405


def test_an_export_of_many_is_read_a_few_at_a_time(
    client: Client, organisation: Organisation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "AT_ONCE", 7)
    for number in range(30):
        note(Act.LIST_CHANGED, organisation, str(number))
    under_way = audit.export(organisation)
    first = next(under_way)
    note(Act.LIST_CHANGED, organisation, "later")
    found = [understood(first), *map(understood, under_way)]
    assert isinstance(verify(found), Sound) and len(found) == organisation.audit_entries.count() - 1


# The term, on its page


def version(client: Client) -> str:
    found = re.search(r'name="version" value="(\w+)"', client.get(f"{LOG}term/").content.decode())
    assert found is not None
    return found[1]


def test_the_term_is_set_and_what_it_removes_is_asked_about(client: Client, organisation: Organisation) -> None:
    note(Act.POLICY_CHANGED, organisation, now=timezone.now() - timedelta(days=400))
    first = {"days": "365", "version": version(client)}
    answer = client.post(f"{LOG}term/", first)
    assert "One entry is older than 365 days" in words(answer)
    assert Organisation.objects.get().audit_days is None
    assert client.post(f"{LOG}term/", {**first, "confirmed": "yes"}).status_code == 302
    assert Organisation.objects.get().audit_days == 365
    assert "Entries are removed after 365 days" in words(client.get(LOG))
    assert client.post(f"{LOG}term/", first).status_code == 409, "of an older state"
    assert client.post(f"{LOG}term/", {"days": "", "version": version(client)}).status_code == 302
    assert Organisation.objects.get().audit_days is None


@pytest.mark.parametrize("days", ["89", "0", "x", "36501", "1e2"])
def test_a_term_that_is_none_is_refused_with_an_example(client: Client, days: str) -> None:
    answer = client.post(f"{LOG}term/", {"days": days, "version": version(client)})
    assert answer.status_code == 422
    assert f"“{days}” can’t be that. Write a whole number of days from 90 to 36500, such as 365" in words(answer)
    assert Organisation.objects.get().audit_days is None


# Words


def every_word() -> Iterator[Any]:
    for group, known in audit_words.GROUPS:
        yield group
        yield from known.values()


def test_every_act_has_a_word_in_both_languages() -> None:
    known = [act for _, group in audit_words.GROUPS for act in group]
    assert sorted(act.value for act in known) == sorted(act.value for act in Act)
    translated = {source for po in po_files() for source in catalogue(po)}
    with translation.override("en"):
        assert not [str(one) for one in every_word() if str(one) not in translated]


def test_what_another_version_noted_is_shown_as_it_is(client: Client, organisation: Organisation) -> None:
    note(Act.POLICY_CHANGED, organisation, "<b>x</b>", {"later": "<i>y</i>"})
    organisation.audit_entries.filter(act="policy-changed").update(act="something-new", by_kind="robot", by="<u>z</u>")
    answer = client.get(LOG)
    assert {"something-new", "<b>x</b>", "later: <i>y</i>", "<u>z</u>"} <= {
        one for one in ("something-new", "<b>x</b>", "later: <i>y</i>", "<u>z</u>") if one in words(answer)
    }
    assert b"<u>z" not in answer.content
