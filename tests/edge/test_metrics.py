"""Metrics: what is logged is counted, handed over, added up and shown; and a stranger's words get nowhere."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import socket
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import parser
from prometheus_client.openmetrics import parser as openmetrics_parser
from structlog.testing import capture_logs

from tests.needs import not_here
from tests.peers import free_port, until
from zegel.edge import exposition, metrics
from zegel.edge import log as vocabulary
from zegel.edge.exposition import Door
from zegel.edge.log import (
    Attempted,
    Broken,
    Event,
    RecipientDecided,
    SignInRefused,
    SmsHandedOver,
    SubmissionAccepted,
    SubmissionRefused,
    log,
)
from zegel.edge.metrics import METRICS, Counting, Counts, Histogram, Kind, Taking, Totals

ADDRESS: Final = "ontvanger@zeer-geheim.test"
SOMEBODY: Final = uuid.UUID("01900000-0000-7000-8000-000000000000")


def handed(counts: Counts, role: str = "dispatch") -> Totals:
    """What a process counted, as the one that shows it has it."""
    totals = Totals()
    for octets, _ in metrics._datagrams(role, list(counts.take().items())):
        totals.take(octets, at=0.0)
    return totals


def attempted(outcome: str = "Accepted", kind: str = "readable", since: float = 3.0) -> Attempted:
    return Attempted(SOMEBODY, kind, outcome, "mx.zeer-geheim.test", "", "tls1.3 dane", since)


def scraped(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """By the library's own reader."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parser.text_string_to_metric_families(text)
        for sample in family.samples
    }


def shown(totals: Totals) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    octets, kind = exposition.page(totals, "")
    assert kind.startswith("text/plain; version=0.0.4")
    return scraped(octets.decode())


# --- what is counted --------------------------------------------------------------------------------------------------


def test_nothing_was_counted_yet_and_that_is_shown() -> None:
    """A series that begins at its first event would hide that event from rate()."""
    found = shown(Totals())
    assert found["zegel_submissions_accepted_total", ()] == 0
    assert found["zegel_codes_failed_total", (("by", "sms"),)] == 0
    assert found["zegel_commit_units_count", ()] == 0
    assert found["zegel_recipients_decided_total", (("row", "7"),)] == 0


def test_an_event_counts_where_the_table_says() -> None:
    counts = Counts()
    counts.event(SubmissionAccepted(SOMEBODY, 3, 5000))
    counts.event(SubmissionAccepted(SOMEBODY, 1, 1000))
    counts.event(SubmissionRefused("550 5.7.1", "192.0.2.1"))
    counts.event(RecipientDecided(SOMEBODY, 4, "Readable Notify"))
    counts.event(attempted())
    counts.event(attempted("Deferred"))
    counts.event(attempted("Accepted", "probe"))
    counts.event(attempted("Accepted", "code"))
    counts.event(attempted("Refused", "code"))
    counts.event(SmsHandedOver(SOMEBODY, "failed"))
    counts.event(SignInRefused("192.0.2.1", at="portal"))
    counts.event(Broken("a test", ValueError(ADDRESS)))
    found = shown(handed(counts))
    assert found["zegel_submissions_accepted_total", ()] == 2
    assert found["zegel_recipients_accepted_total", ()] == 4
    assert found["zegel_submitted_bytes_total", ()] == 6000
    assert found["zegel_submissions_refused_total", (("reply", "550 5.7.1"),)] == 1
    assert found["zegel_recipients_decided_total", (("row", "4"),)] == 1
    assert found["zegel_delivered_total", (("kind", "readable"), ("level", "tls1.3 dane"))] == 1
    assert found["zegel_attempts_total", (("kind", "readable"), ("outcome", "Deferred"))] == 1
    assert found["zegel_deferred_total", (("kind", "readable"),)] == 1
    assert found["zegel_delivery_seconds_count", (("kind", "readable"),)] == 1, "neither a probe nor a code"
    assert found["zegel_codes_sent_total", (("by", "email"),)] == 1
    assert found["zegel_codes_failed_total", (("by", "email"),)] == 1
    assert found["zegel_codes_failed_total", (("by", "sms"),)] == 1
    assert found["zegel_sign_ins_refused_total", (("at", "portal"),)] == 1
    assert found["zegel_broken_total", ()] == 1
    assert found["zegel_events_total", (("event", "attempted"),)] == 5
    assert not any("probe" in str(key) and key[0] == "zegel_delivered_total" for key in found)


def test_a_histogram_has_each_value_under_every_bound_above_it() -> None:
    counts = Counts()
    for units in (1, 1, 2, 5, 300):
        counts.add(metrics.COMMIT, (), units)
    found = shown(handed(counts))
    buckets = {
        dict(labels)["le"]: value for (name, labels), value in found.items() if name == "zegel_commit_units_bucket"
    }
    assert buckets == {
        "1.0": 2, "2.0": 3, "4.0": 3, "8.0": 4, "16.0": 4, "32.0": 4, "64.0": 4, "128.0": 4, "256.0": 4, "+Inf": 5,
    }  # fmt: skip
    assert found["zegel_commit_units_sum", ()] == 309


@pytest.mark.parametrize(
    "event",
    [one for _, one in inspect.getmembers(vocabulary, inspect.isclass) if issubclass(one, Event) and one is not Event],
)
def test_every_event_can_be_counted_and_shows_nothing_of_anybody(event: type[Event]) -> None:
    """Each text of it is an address here: of what could be one, nothing is a label."""
    kinds = {field.name: field.type for field in dataclasses.fields(event)}
    values: dict[str, Any] = {
        "str": ADDRESS,
        "int": 3,
        "float": 2.5,
        "uuid.UUID": SOMEBODY,
        "BaseException": ValueError(ADDRESS),
    }
    made = event(**{name: values[str(kind)] for name, kind in kinds.items()})
    counts = Counts()
    counts.event(made)
    totals = handed(counts)
    assert shown(totals)["zegel_events_total", (("event", vocabulary.name_of(event)),)] == 1
    ours = {"at", "cap", "kind", "outcome", "method", "role", "security"}  # ours, by test_log_vocabulary
    if not ours & set(kinds):
        assert ADDRESS not in exposition.page(totals, "")[0].decode()


def test_no_label_is_one_that_a_stranger_fills() -> None:
    """What may be a label: a word of ours, bounded by the table, the program or the protocol."""
    known = {
        "event", "reply", "at", "cap", "row", "kind", "outcome", "level", "by", "method", "role", "state",
        "certificate", "alarm", "severity", "version", "why",
    }  # fmt: skip
    assert {label for metric in METRICS.values() for label in metric.labels} == known
    counts = Counts()
    for text in (ADDRESS, "550", "550 5.7.1 " + ADDRESS, "250 2.0.0\n550 5.7.1", "550 5.7.1\n"):
        counts.event(SubmissionRefused(text, "192.0.2.1"))
    totals = handed(counts)
    assert shown(totals)["zegel_submissions_refused_total", (("reply", "other"),)] == 5


def test_labels_don_t_grow_without_end() -> None:
    counts = Counts()
    for number in range(metrics.MOST_KINDS + 50):
        counts.add(metrics.CAPS, (f"cap {number}",))
    values = handed(counts).shown()["zegel_caps_reached_total"]
    assert len(values) == metrics.MOST_KINDS + 1
    assert values[("other",)] == 50


def test_names_are_as_prometheus_wants_them() -> None:
    for metric in METRICS.values():
        assert re.fullmatch(r"zegel_[a-z_]+", metric.name), metric.name
        assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER), metric.name
        assert bool(metric.bounds) == (metric.kind is Kind.HISTOGRAM)
        assert all(re.fullmatch("[a-z_]+", label) and label != "le" for label in metric.labels)
        assert list(metric.bounds) == sorted(set(metric.bounds))
        assert all(len(one) == len(metric.labels) for one in metric.first)


def test_the_page_is_the_table_s() -> None:
    assert Path("docs/metrics.md").read_text() == metrics.as_markdown()


# --- handing over -----------------------------------------------------------------------------------------------------


@pytest.fixture
def counting(tmp_path: Path) -> Iterator[Callable[[str], Counting]]:
    made: list[Counting] = []

    def start(role: str) -> Counting:
        made.append(Counting(tmp_path, role, every=0.01))
        return made[-1]

    yield start
    for one in made:
        one.stop()


def test_two_processes_are_added_up(tmp_path: Path, counting: Callable[[str], Counting]) -> None:
    totals = Totals()
    taking = Taking(tmp_path, totals)
    for role in ("submission", "dispatch"):
        one = counting(role)
        for _ in range(500):
            one.counts.event(SubmissionAccepted(SOMEBODY, 1, 10))
    until(lambda: totals.shown()["zegel_submissions_accepted_total"][()] == 1000)
    until(lambda: totals.running(time.monotonic()) == {"dispatch": 1, "submission": 1})
    taking.close()


def test_what_is_counted_while_nobody_takes_it_is_handed_over_later(
    tmp_path: Path, counting: Callable[[str], Counting]
) -> None:
    """The process that shows it was killed, and another one took its place: it begins at 0, as Prometheus expects, and
    has what was counted since."""
    one = counting("dispatch")
    first = Totals()
    taking = Taking(tmp_path, first)
    one.counts.event(SubmissionAccepted(SOMEBODY, 1, 10))
    until(lambda: first.shown()["zegel_submissions_accepted_total"][()] == 1)
    taking.close()
    for _ in range(3):
        one.counts.event(SubmissionAccepted(SOMEBODY, 1, 10))
        one.hand_over()  # nobody is there
    second = Totals()
    (tmp_path / metrics.SOCKET).touch()  # left behind by one that was killed
    taking = Taking(tmp_path, second)
    until(lambda: second.shown()["zegel_submissions_accepted_total"][()] == 3)
    taking.close()


def test_a_process_that_ended_hands_over_its_last_counts(tmp_path: Path) -> None:
    totals = Totals()
    taking = Taking(tmp_path, totals)
    one = Counting(tmp_path, "web", every=3600)
    one.counts.event(SubmissionAccepted(SOMEBODY, 1, 10))
    one.stop()
    until(lambda: totals.shown()["zegel_submissions_accepted_total"][()] == 1)
    taking.close()


def test_a_taker_that_hangs_holds_nobody_up_and_nothing_is_lost(tmp_path: Path) -> None:
    """Its queue is full: what doesn't go in is kept."""
    door = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    door.bind(str(tmp_path / metrics.SOCKET))
    one = Counting(tmp_path, "dispatch", every=3600)
    sent = 1000
    for _ in range(sent):
        one.counts.event(SubmissionAccepted(SOMEBODY, 1, 10))
        one.hand_over()
    totals = Totals()
    door.settimeout(20)
    while totals.shown()["zegel_submissions_accepted_total"][()] != sent:
        totals.take(door.recv(65536), at=0.0)
        one.hand_over()
    one.stop()
    door.close()


def test_a_folder_with_a_long_name_does_as_well(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    totals = Totals()
    taking = Taking(folder, totals)
    one = Counting(folder, "web", every=3600)
    one.counts.event(SubmissionAccepted(SOMEBODY, 1, 10))
    one.stop()
    until(lambda: totals.shown()["zegel_submissions_accepted_total"][()] == 1)
    taking.close()


def test_a_process_of_which_nothing_is_heard_counts_as_gone() -> None:
    totals = Totals()
    told = json.dumps({"role": "web", "pid": 7, "counts": []}).encode()
    totals.take(told, at=100.0)
    assert totals.running(100.0 + metrics.SILENT / 2) == {"web": 1}
    assert totals.running(100.0 + metrics.SILENT) == {}


def test_many_threads_lose_no_count() -> None:
    counts, taken = Counts(), Totals()

    def count() -> None:
        for _ in range(2000):
            counts.event(SubmissionAccepted(SOMEBODY, 1, 1))

    threads = [threading.Thread(target=count) for _ in range(4)]
    for one in threads:
        one.start()
    while any(one.is_alive() for one in threads):
        for octets, _ in metrics._datagrams("web", list(counts.take().items())):
            taken.take(octets, at=0.0)
    for octets, _ in metrics._datagrams("web", list(counts.take().items())):
        taken.take(octets, at=0.0)
    assert taken.shown()["zegel_submissions_accepted_total"][()] == 8000


GOOD: Final[list[Any]] = ["zegel_codes_sent_total", ["sms"], -1, 1]


@pytest.mark.parametrize(
    "bad",
    [
        ["zegel_nothing_total", [], -1, 1],
        ["zegel_ready", [], -1, 1],
        ["zegel_codes_sent_total", [], -1, 1],
        ["zegel_codes_sent_total", [["sms"]], -1, 1],
        ["zegel_codes_sent_total", ["x" * 1000], -1, 1],
        ["zegel_codes_sent_total", ["sms"], 0, 1],
        ["zegel_codes_sent_total", ["sms"], -1, -1],
        ["zegel_codes_sent_total", ["sms"], -1, float("nan")],
        ["zegel_codes_sent_total", ["sms"], -1, float("inf")],
        ["zegel_codes_sent_total", ["sms"], -1, "1"],
        ["zegel_codes_sent_total", ["sms"], "x", 1],
        ["zegel_commit_units", [], 10, 1],
        ["zegel_commit_units", [], -1, 1],
        ["zegel_commit_units", [], -3, 1],
        [],
        None,
        "zegel",
        [["zegel_codes_sent_total"], ["sms"], -1, 1],
    ],
)
def test_what_the_table_does_not_have_is_left_out_and_the_rest_stays(bad: Any) -> None:
    totals = Totals()
    totals.take(json.dumps({"role": "web", "pid": 1, "counts": [bad, GOOD]}).encode(), at=0.0)
    empty = shown(Totals())
    assert shown(totals) == {**empty, ("zegel_codes_sent_total", (("by", "sms"),)): 1}


@given(
    octets=st.binary(max_size=60)
    | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(lambda value: json.dumps(value).encode())
)
def test_no_octets_break_who_takes_them(octets: bytes) -> None:
    totals = Totals()
    totals.take(octets, at=0.0)
    assert shown(totals) == shown(Totals())


# --- showing ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def door() -> Iterator[tuple[Totals, list[bool], str]]:
    totals, ready = Totals(), [True]
    made = Door("127.0.0.1", 0, totals, is_ready=lambda: ready[0])
    yield totals, ready, f"http://127.0.0.1:{made.port}"
    made.close()


def get(url: str, accept: str = "", method: str = "GET") -> tuple[int, str, Any]:
    request = urllib.request.Request(url, headers={"Accept": accept}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read().decode(), answer.headers
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read().decode(), refused.headers


def test_a_scrape_is_read_by_the_library_s_own_parsers(door: tuple[Totals, list[bool], str]) -> None:
    totals, _, url = door
    counts = Counts()
    counts.event(attempted())
    for octets, _ in metrics._datagrams("dispatch", list(counts.take().items())):
        totals.take(octets, at=0.0)
    totals.set_gauges({(metrics.DOMAINS.name, ("may-send",)): 2, (metrics.READY.name, ()): 1})
    status, text, headers = get(f"{url}/metrics")
    assert status == 200 and headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert scraped(text)["zegel_sending_domains", (("state", "may-send"),)] == 2
    status, text, headers = get(f"{url}/metrics", "application/openmetrics-text; version=1.0.0")
    assert status == 200 and headers["Content-Type"].startswith("application/openmetrics-text")
    read: Any = openmetrics_parser.text_string_to_metric_families
    families = {family.name: family for family in read(text)}
    assert families["zegel_delivered"].type == "counter"
    assert families["zegel_delivery_seconds"].type == "histogram"
    assert {f"{name}_total" if family.type == "counter" else name for name, family in families.items()} == set(METRICS)


def test_health_and_readiness_say_no_more_than_that(door: tuple[Totals, list[bool], str]) -> None:
    _, ready, url = door
    assert get(f"{url}/healthz")[:2] == (200, "ok\n")
    assert get(f"{url}/readyz")[:2] == (200, "ready\n")
    ready[0] = False
    assert get(f"{url}/readyz")[:2] == (503, "not ready\n")
    assert get(f"{url}/healthz")[:2] == (200, "ok\n"), "it lives all the same"


@pytest.mark.parametrize("path", ["/", "/metrics/", "/../metrics", "/console/", "/debug", "/healthz/x"])
def test_there_is_nothing_else(door: tuple[Totals, list[bool], str], path: str) -> None:
    assert get(door[2] + path)[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
def test_it_is_only_read(door: tuple[Totals, list[bool], str], method: str) -> None:
    assert get(door[2] + "/metrics", method=method)[0] == 501
    assert get(door[2] + "/metrics", method="HEAD")[:2] == (200, "")


@pytest.mark.parametrize(
    "octets", [b"\x16\x03\x01\x02\x00", b"GET\r\n\r\n", b"\xff" * 70_000, b"GET /metrics HTTP/9\r\n\r\n"]
)
def test_strangers_who_don_t_speak_http_break_nothing(door: tuple[Totals, list[bool], str], octets: bytes) -> None:
    url = door[2]
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=20) as stranger:
        stranger.sendall(octets)
        stranger.shutdown(socket.SHUT_WR)
        try:
            while stranger.recv(65536):
                pass
        except ConnectionError:
            pass
    assert get(f"{url}/healthz")[0] == 200


def test_those_who_only_hold_the_door_keep_nobody_out_for_ever(
    door: tuple[Totals, list[bool], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exposition._Handler, "timeout", 0.2)
    url = door[2]
    port = int(url.rpartition(":")[2])
    held = [socket.create_connection(("127.0.0.1", port)) for _ in range(exposition.MOST_AT_ONCE + 5)]

    def is_answered() -> bool:
        try:
            return get(f"{url}/healthz")[0] == 200
        except OSError:
            return False

    until(is_answered)
    for one in held:
        one.close()


def test_who_sends_an_octet_now_and_then_is_shown_out(
    door: tuple[Totals, list[bool], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exposition, "PATIENCE", 0.5)
    with socket.create_connection(("127.0.0.1", int(door[2].rpartition(":")[2]))) as slow:

        def is_shown_out() -> bool:
            try:
                slow.sendall(b"G")
            except OSError:
                return True
            return False

        until(is_shown_out)


def test_a_page_that_can_t_be_made_is_told(door: tuple[Totals, list[bool], str]) -> None:
    door[0].set_gauges({("zegel_unheard_of", ()): 1.0})
    with capture_logs() as logs:
        with pytest.raises(OSError):
            get(f"{door[2]}/metrics")
        until(lambda: [one["event"] for one in logs] == ["broken"])
    assert get(f"{door[2]}/healthz")[0] == 200


def test_a_port_that_is_taken_is_an_error_and_no_silence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError, match="in use"):
            Door("127.0.0.1", taken.getsockname()[1], Totals(), is_ready=lambda: True)


def test_it_listens_on_ipv6_too() -> None:
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            not_here("no IPv6")
    made = Door("::1", free_port(), Totals(), is_ready=lambda: True)
    assert get(f"http://[::1]:{made.port}/healthz")[0] == 200
    made.close()


# --- in a process -----------------------------------------------------------------------------------------------------


def test_where_nobody_asked_nothing_is_counted() -> None:
    metrics.commit_made(3)
    log(SmsHandedOver(SOMEBODY, "sent"))
    assert metrics._counting is None


def test_a_process_that_counts_counts_what_it_logs(tmp_path: Path) -> None:
    """Also what the level keeps out of the log."""
    totals = Totals()
    taking = Taking(tmp_path, totals)
    metrics.start(tmp_path, "dispatch")
    try:
        log(SmsHandedOver(SOMEBODY, "sent"))
        metrics.commit_made(3)
    finally:
        metrics.stop()
    until(lambda: totals.shown()["zegel_codes_sent_total"][("sms",)] == 1)
    commits = totals.shown()["zegel_commit_units"][()]
    assert isinstance(commits, Histogram) and commits.cumulative[-1] == 1 and commits.total == 3
    log(SmsHandedOver(SOMEBODY, "sent"))  # nobody counts any more
    assert totals.shown()["zegel_codes_sent_total"][("sms",)] == 1
    taking.close()
