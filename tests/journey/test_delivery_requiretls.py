"""REQUIRETLS (RFC 8689): readable only to servers that promise it in their turn, over a way that is proven."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from tests.journey.arrival_ground import GUEST, PROFILE, Doorstep
from tests.journey.delivery_ground import PROVEN_FIELD, SENTENCE, Post, a_post, link_in, status_of, words
from tests.journey.portal_ground import Clock
from zegel.edge.dns import Found
from zegel.edge.fetch import Fetched
from zegel.journey.custody.models import Submission

pytestmark = pytest.mark.django_db(transaction=True)

READER: Final = "lezer@veilig.test"
PROMISES: Final = ("PIPELINING", "8BITMIME", "SIZE 10000000", "REQUIRETLS")
URL: Final = "https://mta-sts.veilig.test/.well-known/mta-sts.txt"


@pytest.fixture
def post(tmp_path: Path, clock: Clock) -> Iterator[Post]:
    with a_post(tmp_path, clock) as found:
        yield found


def proven(post: Post, extensions: Sequence[str] = PROMISES, *, is_named: bool = True) -> Any:
    """A server with a valid certificate; named by an MTA-STS policy or not."""
    if is_named:
        post.zone.records["_mta-sts.veilig.test", "TXT"] = Found(("v=STSv1; id=1;",))
        post.web[URL] = Fetched(b"version: STSv1\nmode: enforce\nmx: mx.veilig.test\nmax_age: 604800\n", "")
    return post.proven(extensions=extensions)


def test_a_server_that_promises_it_gets_the_message_and_the_demand(post: Post) -> None:
    server = proven(post)
    post.submit(READER, fields=[PROVEN_FIELD], requires_tls=True)
    post.settle()
    (taken,) = server.taken
    assert SENTENCE in words(taken.content)
    assert taken.mail.endswith(" REQUIRETLS")


def test_it_is_not_said_of_a_message_that_did_not_ask(post: Post) -> None:
    server = proven(post)
    post.submit(READER, fields=[PROVEN_FIELD])
    post.settle()
    assert "REQUIRETLS" not in server.taken[0].mail


@pytest.mark.parametrize(("extensions", "is_named"), [(PROMISES[:-1], True), (PROMISES, False)])
def test_where_it_is_not_promised_or_not_proven_the_next_row_follows(
    post: Post, extensions: Sequence[str], is_named: bool
) -> None:
    server = proven(post, extensions, is_named=is_named)
    post.list_domain("veilig.test")
    post.submit(READER, requires_tls=True)
    post.settle()
    (taken,) = server.taken
    assert SENTENCE not in words(taken.content)
    assert link_in(taken.content)
    assert "REQUIRETLS" not in taken.mail  # the notification carries no content
    assert post.outcomes(READER) == ["InsufficientSecurity", "Accepted"]
    assert post.recipient(READER).state == "notified"


def test_the_list_alone_does_not_lower_it(post: Post) -> None:
    proven(post)
    post.list_domain("veilig.test")
    post.submit(READER, requires_tls=True)
    (leased,) = post.lease()
    post.run(post.decision.decide(leased))
    step = (post.recipient(READER).plan or {})["steps"][0]
    assert step["needs"] == {"tls": "TLS_1_2", "authentication": "SIGNED_MX"}
    assert step["requires_tls"] is True


def test_the_bounce_has_the_status_of_its_own(post: Post) -> None:
    proven(post, PROMISES[:-1])
    fields = [PROVEN_FIELD, ("zivver-minimum-recipient-verification", "")]
    post.submit(READER, fields=fields, requires_tls=True)
    post.settle()
    (told,) = post.reports()
    assert "Status: 5.7.30" in status_of(told)
    assert "REQUIRETLS" in words(told)
    assert SENTENCE not in told.as_string()


def test_a_client_can_ask_for_it_at_the_door(tmp_path: Path, clock: Clock) -> None:
    doorstep = Doorstep(tmp_path, clock, profile=replace(PROFILE, offers_requiretls=True))
    with doorstep.open():
        wire = doorstep.signed_in()
        assert "REQUIRETLS" in wire.offers()
        content = f"From: {doorstep.account.email}\r\nTo: {GUEST}\r\n\r\nHallo\r\n".encode()
        assert wire.submit(content, parameters=" REQUIRETLS").startswith("250 ")
        assert wire.submit(content + b"Nog een.\r\n").startswith("250 ")
    found = Submission.objects.order_by("accepted_at", "id").values_list("requires_tls", flat=True)
    assert list(found) == [True, False]
