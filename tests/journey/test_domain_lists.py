"""Lists of domains that others keep: what becomes of a list that can't be read, and of mail to who stands on one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest
from django.db import connection
from structlog.testing import capture_logs

from tests.journey.delivery_ground import Post, a_post
from tests.journey.portal_ground import Clock
from tests.peers.site import NAME, Site, gives, site
from zegel.accounts import lists
from zegel.accounts.lists import (
    EVERY,
    LONGEST_NAME,
    MOST_LISTS,
    NameTaken,
    NotRead,
    NotTaken,
    Problem,
    Read,
    Refreshing,
    Superseded,
    TooManyLists,
    Unchanged,
)
from zegel.accounts.models import DirectDeliveryDomain, DirectDeliveryList, Organisation
from zegel.core.policy.domain_list import MAX_LINES, MOST_TOLD, BadLine, LineFault, ListFault
from zegel.core.policy.transport import PROVEN, Authentication, Tls, TransportSecurity
from zegel.edge.fetch import Failed, Fetch, Fetched, Fetcher, NotFetched, NotModified
from zegel.edge.tls import verifying_context
from zegel.journey import milestones
from zegel.journey.custody.held import held_of
from zegel.journey.custody.jobs import Kind
from zegel.journey.custody.models import Job, Recipient
from zegel.journey.decision.facts import LIST_LAPSES
from zegel.local.authority import LocalAuthority

pytestmark = pytest.mark.django_db(transaction=True)

URL: Final = f"https://{NAME}/lijst.txt?sleutel=geheim"
STRICT: Final = TransportSecurity(Tls.TLS_1_3, Authentication.DANE)
READER: Final = "lezer@veilig.test"
READABLE: Final = Fetched(b"a.test\n", "v1")
GIVEN_UP: Final = Failed(NotFetched.NO_CONNECTION)


@pytest.fixture
def organisation() -> Organisation:
    return Organisation.objects.create(name="Voorbeeldziekenhuis")


class Server:
    """Answers what it was told to; keeps what it was asked."""

    def __init__(self, answer: Fetch | Callable[[], Fetch] = READABLE) -> None:
        self.answer = answer
        self.asked: list[tuple[str, str]] = []

    def __call__(self, url: str, validator: str) -> Fetch:
        assert not connection.in_atomic_block, "nobody waits for a server inside a transaction"
        self.asked.append((url, validator))
        return self.answer() if callable(self.answer) else self.answer


def held(one: DirectDeliveryList) -> dict[str, tuple[int, int]]:
    return {domain.domain: (domain.tls, domain.authentication) for domain in one.domains.all()}


def again(one: DirectDeliveryList) -> DirectDeliveryList:
    return DirectDeliveryList.objects.get(pk=one.pk)


@pytest.fixture
def one(organisation: Organisation, clock: Clock) -> DirectDeliveryList:
    """Of a URL, read once: a.test and b.test."""
    added = lists.add_url(organisation, "koepel", URL)
    outcome = lists.refresh(added, Server(Fetched(b"a.test\nb.test tls1.3\n", "v1")), now=clock)
    assert outcome == Read(2)
    clock.forward(hours=2)
    return again(added)


# --- what is not added -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["http://lijst.test/", "https://u:p@lijst.test/", "https://localhost/", "lijst"])
def test_an_address_that_is_none_is_not_added(organisation: Organisation, url: str) -> None:
    with pytest.raises(NotTaken) as refusal:
        lists.add_url(organisation, "koepel", url)
    assert refusal.value.problem == Problem(NotFetched.NO_HTTPS)
    assert not DirectDeliveryList.objects.exists()


def test_a_file_that_is_not_understood_is_not_added(organisation: Organisation, clock: Clock) -> None:
    with pytest.raises(NotTaken) as refusal:
        lists.add_file(organisation, "koepel", b"a.test\nfout\n", now=clock())
    assert refusal.value.problem == Problem(ListFault.LINES, (BadLine(2, LineFault.ONE_LABEL),), 1)
    assert not DirectDeliveryList.objects.exists()


def test_a_name_is_of_one_list_of_an_organisation(organisation: Organisation, clock: Clock) -> None:
    lists.add_url(organisation, "koepel", URL)
    with pytest.raises(NameTaken):
        lists.add_url(organisation, "koepel", URL)
    with pytest.raises(NameTaken):
        lists.add_file(organisation, "koepel", b"a.test\n", now=clock())
    lists.add_url(Organisation.objects.create(name="Ander"), "koepel", URL)
    assert (DirectDeliveryList.objects.count(), DirectDeliveryDomain.objects.count()) == (2, 0)


def test_an_organisation_has_not_more_lists_than_are_refreshed_in_time(organisation: Organisation) -> None:
    for number in range(MOST_LISTS):
        lists.add_url(organisation, f"lijst {number}", URL)
    with pytest.raises(TooManyLists):
        lists.add_url(organisation, "nog een", URL)


# --- what is not read --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (Failed(NotFetched.STATUS, 404), Problem(NotFetched.STATUS, status=404)),
        (Failed(NotFetched.NO_CERTIFICATE), Problem(NotFetched.NO_CERTIFICATE)),
        (Fetched(b"\xff", "v2"), Problem(ListFault.NOT_TEXT)),
        (Fetched(b"", "v2"), Problem(ListFault.EMPTY)),
        (Fetched(b"# niets\n", "v2"), Problem(ListFault.EMPTY)),
        (Fetched(b"c.test\nfout\n", "v2"), Problem(ListFault.LINES, (BadLine(2, LineFault.ONE_LABEL),), 1)),
    ],
)
def test_what_was_read_before_stays_until_the_list_is_understood_again(
    one: DirectDeliveryList, clock: Clock, answer: Fetch, problem: Problem
) -> None:
    before, read_at = held(one), one.read_at
    with capture_logs() as logged:
        assert lists.refresh(one, Server(answer), now=clock) == NotRead(problem)
    found = again(one)
    assert held(found) == before
    assert (found.read_at, found.tried_at, found.validator) == (read_at, clock(), "v1")
    assert Problem.of(found.problem) == problem
    (event,) = logged
    assert (event["event"], event["log_level"], event["host"]) == ("list_not_read", "warning", NAME)
    assert "geheim" not in str(event) and "lijst.txt" not in str(event)
    clock.forward(hours=2)
    server = Server(Fetched(b"c.test\n", "v3"))
    assert lists.refresh(again(one), server, now=clock) == Read(1)
    assert server.asked == [(URL, "v1")]  # of what was understood, not of what was refused
    found = again(one)
    assert (set(held(found)), found.problem, found.validator, found.read_at) == ({"c.test"}, "", "v3", clock())


def test_an_empty_list_is_taken_when_an_administrator_says_so(one: DirectDeliveryList, clock: Clock) -> None:
    server = Server(Fetched(b"", "v2"))
    assert lists.refresh(one, server, now=clock, may_be_empty=True) == Read(0)
    assert server.asked == [(URL, "")]
    assert held(one) == {}
    assert lists.refresh(again(one), Server(Fetched(b"", "v3")), now=clock) == Read(0)  # nothing is lost any more


def test_a_file_that_is_not_understood_or_empty_replaces_nothing(organisation: Organisation, clock: Clock) -> None:
    one = lists.add_file(organisation, "koepel", b"a.test\n", now=clock())
    assert isinstance(lists.read_file(one, b"b.test\nfout\n", now=clock()), NotRead)
    assert lists.read_file(one, b"", now=clock()) == NotRead(Problem(ListFault.EMPTY))
    assert set(held(one)) == {"a.test"}
    assert lists.read_file(one, b"", now=clock(), may_be_empty=True) == Read(0)
    assert held(one) == {}


def test_a_list_of_a_url_is_read_from_no_file_and_one_of_a_file_from_no_url(
    one: DirectDeliveryList, organisation: Organisation, clock: Clock
) -> None:
    assert lists.read_file(one, b"c.test\n", now=clock()) == Superseded()
    filed = lists.add_file(organisation, "bestand", b"a.test\n", now=clock())
    server = Server()
    assert lists.refresh(filed, server, now=clock) == Superseded()
    assert server.asked == []
    assert len(held(one)) == 2


def test_a_list_that_is_removed_meanwhile_stays_removed(one: DirectDeliveryList, clock: Clock) -> None:
    def removes() -> Fetch:
        lists.remove(one)
        return Fetched(b"c.test\n", "")

    assert lists.refresh(one, Server(removes), now=clock) == Superseded()
    assert not DirectDeliveryList.objects.exists() and not DirectDeliveryDomain.objects.exists()
    assert lists.refresh(one, Server(), now=clock) == Superseded()
    assert lists.read_file(one, b"a.test", now=clock()) == Superseded()


def test_who_began_later_is_not_overwritten_by_who_was_slow(one: DirectDeliveryList, clock: Clock) -> None:
    def slow() -> Fetch:
        clock.forward(seconds=5)
        assert lists.refresh(again(one), Server(Fetched(b"nieuw.test\n", "new")), now=clock) == Read(1)
        return Fetched(b"oud.test\n", "old")

    assert lists.refresh(one, Server(slow), now=clock) == Superseded()
    assert (set(held(one)), again(one).validator) == ({"nieuw.test"}, "new")


# --- what is read ------------------------------------------------------------------------------------------------


def test_only_what_differs_is_written(one: DirectDeliveryList, clock: Clock) -> None:
    before = {domain.domain: domain.pk for domain in one.domains.all()}
    server = Server(Fetched(b"b.test\nc.test dane\n", "v2"))
    with capture_logs() as logged:
        assert lists.refresh(one, server, now=clock) == Read(2)
    assert [event["event"] for event in logged] == ["audited", "list_read"] and logged[1]["domains"] == 2
    assert held(one) == {"b.test": (12, 1), "c.test": (12, 3)}
    assert one.domains.get(domain="b.test").pk == before["b.test"]
    assert set(one.domains.values_list("organisation", flat=True)) == {one.organisation_id}


def test_lists_and_own_entries_do_not_touch_each_other(
    one: DirectDeliveryList, organisation: Organisation, clock: Clock
) -> None:
    DirectDeliveryDomain.objects.create(organisation=organisation, domain="a.test", tls=13)
    other = lists.add_file(organisation, "bestand", b"a.test dane\n", now=clock(), level=STRICT)
    assert held(other) == {"a.test": (13, 3)}
    lists.remove(one)
    assert held(other) == {"a.test": (13, 3)}
    assert list(DirectDeliveryDomain.objects.filter(source=None).values_list("domain", "tls")) == [("a.test", 13)]


def test_a_list_that_did_not_change_counts_as_read(one: DirectDeliveryList, clock: Clock) -> None:
    DirectDeliveryList.objects.update(problem=Problem(NotFetched.TOO_SLOW).stored)
    server = Server(NotModified())
    assert lists.refresh(one, server, now=clock) == Unchanged()
    found = again(one)
    assert (found.read_at, found.problem, found.validator) == (clock(), "", "v1")
    assert server.asked == [(URL, "v1")]
    assert len(held(one)) == 2


def test_the_longest_list_is_read_and_replaced(organisation: Organisation, clock: Clock) -> None:
    octets = "\n".join(f"{number}.test" for number in range(MAX_LINES)).encode()
    one = lists.add_file(organisation, "lang", octets, now=clock())
    assert one.domains.count() == MAX_LINES
    statements: list[str] = []

    def counted(execute: Callable[..., object], sql: str, params: object, many: bool, context: object) -> object:
        statements.append(sql)
        return execute(sql, params, many, context)

    other = octets.replace(b"7", b"x")
    with connection.execute_wrapper(counted):
        assert lists.read_file(one, other, now=clock()) == Read(MAX_LINES)
    assert len(statements) < 3000
    wanted = set(other.decode().split())
    assert set(one.domains.values_list("domain", flat=True)) == wanted


# --- again and again ---------------------------------------------------------------------------------------------


def test_each_list_is_tried_once_in_an_hour_or_a_little_more(organisation: Organisation, clock: Clock) -> None:
    made = [lists.add_url(organisation, f"lijst {number}", URL) for number in range(10)]
    lists.add_file(organisation, "bestand", b"a.test\n", now=clock())
    server = Server(GIVEN_UP)
    assert len(lists.refresh_due(server, now=clock)) == 10
    assert lists.refresh_due(server, now=clock) == ()
    clock.at += EVERY - timedelta(seconds=1)
    assert lists.refresh_due(server, now=clock) == ()
    clock.at += timedelta(minutes=5)
    some = len(lists.refresh_due(server, now=clock))
    assert 0 < some < 10, "they are spread"
    clock.at += timedelta(minutes=5, seconds=1)
    assert len(lists.refresh_due(server, now=clock)) == 10 - some
    assert len(server.asked) == 20
    clock.at -= timedelta(days=30)
    assert len(lists.refresh_due(server, now=clock)) == 10, "a clock that was set back stops nothing"
    assert {again(one).tried_at for one in made} == {clock()}


def test_several_processes_refresh_a_list_once(organisation: Organisation, clock: Clock) -> None:
    for number in range(6):
        lists.add_url(organisation, f"lijst {number}", URL)
    server, together = Server(), threading.Barrier(4)

    def process() -> int:
        together.wait(20)
        try:
            return len(lists.refresh_due(server, now=clock))
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        done = [one.result() for one in [pool.submit(process) for _ in range(4)]]
    assert sum(done) == len(server.asked) == 6
    assert DirectDeliveryDomain.objects.count() == 6


def test_the_thread_reads_what_is_due_survives_a_defect_and_ends(organisation: Organisation, clock: Clock) -> None:
    one = lists.add_url(organisation, "koepel", URL)
    tried = threading.Semaphore(0)

    def broken() -> Fetch:
        tried.release()
        raise RuntimeError("a defect")

    def works() -> Fetch:
        tried.release()
        return READABLE

    server = Server(broken)
    refreshing = Refreshing(server, now=clock, look=0.01)
    with capture_logs() as logged:
        refreshing.start()
        assert tried.acquire(timeout=20)
        server.answer = works
        clock.forward(hours=2)
        assert tried.acquire(timeout=20)
        refreshing.stop()
        refreshing._thread.join(20)
    assert not refreshing._thread.is_alive()
    assert set(held(one)) == {"a.test"}
    assert [event["event"] for event in logged] == ["broken", "audited", "list_read"]


def test_at_the_end_no_further_list_is_begun(organisation: Organisation, clock: Clock) -> None:
    for number in range(3):
        lists.add_url(organisation, f"lijst {number}", URL)
    server = Server()
    assert len(lists.refresh_due(server, now=clock, is_over=lambda: bool(server.asked))) == 1


# --- what is told ------------------------------------------------------------------------------------------------


def test_every_problem_is_told_in_both_languages_and_stored_in_its_column() -> None:
    longest = max(LineFault, key=lambda fault: len(fault.value))
    lines = tuple(BadLine(MAX_LINES, longest) for _ in range(MOST_TOLD))
    for fault in (*ListFault, *NotFetched):
        for problem in (Problem(fault), Problem(fault, lines, MAX_LINES), Problem(fault, status=503)):
            assert len(problem.stored) <= 300
            assert Problem.of(problem.stored) == problem
            english, dutch = problem.sentences("en"), problem.sentences("nl")
            assert len(english) == len(dutch) == (1 if not problem.lines else 2 + MOST_TOLD)
            assert english[0] != dutch[0]
    assert len({fault.value for fault in (*ListFault, *NotFetched)}) == len(ListFault) + len(NotFetched)
    assert Problem(NotFetched.STATUS, status=404).sentences() == ("The web server does not give the list. (HTTP 404)",)


@pytest.mark.parametrize("stored", ["", "another-version", "lines x:address", "lines 3:later", "status status=x"])
def test_what_another_version_stored_is_no_defect(stored: str) -> None:
    assert Problem.of(stored) is None


def test_the_longest_name_fits() -> None:
    assert DirectDeliveryList._meta.get_field("name").max_length == LONGEST_NAME


# --- to the mailbox ----------------------------------------------------------------------------------------------


@pytest.fixture
def post(tmp_path: Path, clock: Clock) -> Iterator[Post]:
    with a_post(tmp_path, clock) as found:
        yield found


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[tuple[Site, Fetcher]]:
    """A web server of whoever keeps the list, and what fetches from it."""
    authority = LocalAuthority.load_or_create(tmp_path / "authority")
    with site(*authority.issue([NAME], tmp_path)) as running:
        trust = verifying_context(authority.certificate_path)
        yield running, Fetcher(trust, lambda host: ["127.0.0.1"], 1_000_000, reaches_private=True)


def send(post: Post) -> Recipient:
    """One more message to the reader; what became of it."""
    post.submit(READER, message_id=f"<{Recipient.objects.count()}@voorbeeld.test>")
    post.settle()
    return Recipient.objects.order_by("-id")[0]


def test_who_stands_on_a_file_gets_mail_readable(post: Post) -> None:
    server = post.proven()
    assert send(post).state == "notified"
    filed = lists.add_file(post.ground.organisation, "bestand", b"veilig.test\n", now=post.clock())
    assert send(post).state == "delivered"
    post.clock.forward(days=365)
    assert send(post).state == "delivered", "a file does not lapse"
    lists.remove(filed)
    assert send(post).state == "notified"
    assert len(server.messages()) == 4


def test_who_is_taken_off_the_list_of_a_url_is_notified_from_the_next_message_on(
    post: Post, keeper: tuple[Site, Fetcher]
) -> None:
    running, fetch = keeper
    server = post.proven()
    running.answers["/lijst"] = gives(b"veilig.test\nander.test\n", ETag='"1"')
    one = lists.add_url(post.ground.organisation, "koepel", running.url())
    assert send(post).state == "notified", "it was not read yet"
    assert lists.refresh_due(fetch, now=post.clock) == (Read(2),)
    assert send(post).state == "delivered"
    running.answers["/lijst"] = gives(b"ander.test\n", ETag='"2"')
    post.clock.forward(hours=2)
    assert lists.refresh_due(fetch, now=post.clock) == (Read(1),)
    assert send(post).state == "notified"
    assert set(held(one)) == {"ander.test"}
    assert [headers.get("if-none-match") for _, headers in running.asked] == [None, '"1"']
    assert len(server.messages()) == 3


def test_a_list_that_can_not_be_read_for_a_week_lapses_and_one_reading_revives_it(
    post: Post, keeper: tuple[Site, Fetcher]
) -> None:
    running, fetch = keeper
    post.proven()
    running.answers["/lijst"] = gives(b"veilig.test\n")
    lists.add_url(post.ground.organisation, "koepel", running.url())
    assert lists.refresh_due(fetch, now=post.clock) == (Read(1),)
    running.answers["/lijst"] = gives(b"", status=500)
    begin = post.clock.at
    while post.clock.at + timedelta(hours=2) < begin + LIST_LAPSES:
        post.clock.forward(hours=2)
        assert lists.refresh_due(fetch, now=post.clock) == (NotRead(Problem(NotFetched.STATUS, status=500)),)
    assert send(post).state == "delivered"
    post.clock.forward(hours=2)
    lists.refresh_due(fetch, now=post.clock)
    assert send(post).state == "notified"
    running.answers["/lijst"] = gives(b"veilig.test\n")
    post.clock.forward(hours=2)
    assert lists.refresh_due(fetch, now=post.clock) == (Read(1),)
    assert send(post).state == "delivered"


def test_a_list_needs_no_less_than_it_says(post: Post) -> None:
    """Its server reaches TLS with a valid certificate, and no DANE: the recipient is notified instead."""
    post.proven()
    lists.add_file(post.ground.organisation, "bestand", b"veilig.test dane\n", now=post.clock(), level=PROVEN)
    assert send(post).state == "notified"


def test_who_is_held_is_decided_again_when_a_list_gains_the_domain_and_not_before(post: Post) -> None:
    post.proven()
    organisation = post.ground.organisation
    organisation.allowed_methods = ["sms"]
    organisation.save()

    def gained(whose: Organisation) -> None:
        assert connection.in_atomic_block
        milestones.supplied(held_of(whose), now=post.clock())

    one = lists.add_file(organisation, "bestand", b"ander.test\n", now=post.clock())
    assert send(post).state == "held"
    assert lists.read_file(one, b"ander.test dane\n", now=post.clock(), gained=gained) == Read(1)
    assert not Job.objects.filter(kind=Kind.RELEASE.value).exists(), "no domain is new"
    assert lists.read_file(one, b"ander.test\nveilig.test\n", now=post.clock(), gained=gained) == Read(2)
    post.settle()
    assert post.recipient(READER).state == "delivered"
