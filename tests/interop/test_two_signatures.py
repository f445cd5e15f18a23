"""Both DKIM signatures of one mail (RFC 8463), judged by those who share no code with us, and by our own verifier."""

from __future__ import annotations

import re
import smtplib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest

import tests.journey.conftest  # its database is a file
from tests.core.dkim_by_the_letter import verdicts
from tests.core.test_dkim import VERIFIERS, Verifier
from tests.journey.delivery_ground import Post, a_post, parsed
from tests.journey.portal_ground import Clock
from tests.needs import needs
from tests.peers import reachable_folder, until
from tests.peers.opendkim import OpenDkimVerifier
from tests.peers.postfix import Postfix
from zegel.accounts import domains
from zegel.core.mail.dkim_verify import Verdict

assert tests.journey.conftest

pytestmark = pytest.mark.django_db(transaction=True)

READER: Final = "lezer@veilig.test"
GUEST: Final = "gast@open.test"
PACKAGES: Final = {"dkimpy": "python3-dkim", "libopendkim": "opendkim-tools"}


@dataclass
class Signed:
    """A readable message and a notification, as they left, and the key records of their domain."""

    mails: tuple[bytes, ...]
    records: dict[str, str]
    post: Post


@pytest.fixture
def signed(tmp_path: Path) -> Iterator[Signed]:
    with a_post(tmp_path, Clock(datetime.now(UTC))) as post:
        post.domain.ed25519_published = True
        post.domain.save()
        post.list_domain("veilig.test")
        reader, guest = post.proven(), post.mx("open.test")
        post.submit(READER, GUEST, text=". één\n\n.\n..x  y ")
        post.settle()
        wanted = domains.records(post.domain, "zegel.test")
        records = {one.name: one.value for one in wanted if one.purpose.startswith("dkim")}
        assert len(records) == 2
        yield Signed((*reader.messages(), *guest.messages()), records, post)


def test_the_signatures_cover_the_same_and_rsa_is_on_top(signed: Signed) -> None:
    assert len(signed.mails) == 2
    for mail in signed.mails:
        message = parsed(mail)
        fields = ["".join(str(one).split()) for one in message.get_all("DKIM-Signature", [])]
        assert message.keys()[:2] == ["DKIM-Signature"] * 2
        tags = [dict(tag.partition("=")[::2] for tag in one.split(";")) for one in fields]
        assert [one["a"] for one in tags] == ["rsa-sha256", "ed25519-sha256"]
        assert [one["s"] for one in tags] == ["zegel", "zegel-ed25519"]
        for name in ("d", "h", "bh", "c", "t"):
            assert tags[0][name] == tags[1][name]
        assert tags[0]["h"].lower().split(":").count("from") == 2  # none can be added
        assert not any("l" in one for one in tags)


@pytest.mark.parametrize("name", sorted(VERIFIERS))
def test_another_verifier_accepts_each_of_them(signed: Signed, name: str) -> None:
    needs(PACKAGES[name])
    verifier = Verifier(VERIFIERS[name][0])
    assert verifier.verdicts_with(signed.records, *signed.mails) == [[True, True]] * 2
    changed = [mail.replace(b"\r\nSubject:", b"\r\nFrom: x@voorbeeld.test\r\nSubject:", 1) for mail in signed.mails]
    assert [True in one for one in verifier.verdicts_with(signed.records, *changed)] == [False] * 2


def test_our_own_verifier_accepts_each_of_them(signed: Signed) -> None:
    for mail in signed.mails:
        found = verdicts(mail, signed.records, now=signed.post.clock())
        assert found == [("voorbeeld.test", Verdict.VALID)] * 2


def test_who_knows_the_first_record_alone_accepts_the_first_signature(signed: Signed) -> None:
    name = next(one for one in signed.records if one.startswith("zegel."))
    for mail in signed.mails:
        found = verdicts(mail, {name: signed.records[name]}, now=signed.post.clock())
        assert found == [("voorbeeld.test", Verdict.VALID)]


@pytest.mark.parametrize("known", [2, 1])
def test_opendkim_behind_a_postfix_passes_what_it_can_know(signed: Signed, known: int) -> None:
    """Without the second record the second signature fails, and the mail passes by the first all the same."""
    needs("postfix", "opendkim")
    records = dict(list(signed.records.items())[:known])
    with reachable_folder() as folder, OpenDkimVerifier(folder / "opendkim", records=records) as verifier:
        settings = {"smtpd_milters": verifier.milter, "milter_default_action": "tempfail"}
        with Postfix(folder / "postfix", accepts=("veilig.test",), settings=settings) as postfix:
            with smtplib.SMTP(postfix.ip, postfix.port, timeout=30) as client:
                client.sendmail("bounce@voorbeeld.test", [READER], signed.mails[0])
            until(lambda: bool(postfix.mailbox(READER)))
            (arrived,) = postfix.mailbox(READER)
    said = " ".join(str(parsed(arrived)["Authentication-Results"]).split())
    results = re.findall(r"dkim=(\w+)[^;]*header\.s=(\S+?)(?:;|\s|$)", said)
    assert ("pass", "zegel") in results, said
    assert (("pass", "zegel-ed25519") in results) is (known == 2), said
