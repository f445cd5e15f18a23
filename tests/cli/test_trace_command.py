"""`zegel trace` on a real data folder, as the program itself does it."""

from __future__ import annotations

import hashlib
import io
import json
import uuid
from pathlib import Path
from typing import Final

import pytest
from pypdf import PdfReader

from tests.cli.test_explain_command import Explaining
from tests.cli.test_submission_commands import ORGANISATION

SENDER: Final = "balie@voorbeeld.test"
MESSAGE: Final = "<een@voorbeeld.test>"
MADE: Final = f"""
from datetime import UTC, datetime
from zegel.accounts.models import Account
from zegel.journey.custody.models import Attempt, Conversation, Recipient, Submission, Transmission
at = datetime(2026, 11, 26, 13, 3, tzinfo=UTC)
account = Account.objects.get(email={SENDER!r})
sent = (({MESSAGE!r}, ("gast@example.org", "stil@example.org")), ("<twee@x>", ("gast@example.org",)))
for message_id, addresses in sent:
    submission = Submission.objects.create(
        organisation=account.organisation, account=account, message_id=message_id, identity=b"", directives=b"",
        source="192.0.2.9", tls="TLSv1.3", accepted_at=at, reverse_path=account.email,
    )
    conversation = Conversation.objects.create(
        organisation=account.organisation, author=account, submission=submission, created_at=at
    )
    for address in addresses:
        recipient = Recipient.objects.create(
            conversation=conversation, submission=submission, address=address, key=address, state="delivered",
            delivered_at=at,
        )
        mail = Transmission.objects.create(
            organisation=account.organisation, submission=submission, recipient=recipient, kind="readable",
            state="sent", address=address, message_id="<m@x>", created_at=at,
        )
        Attempt.objects.create(
            transmission=mail, at=at, host="mx2.example.net", address="192.0.2.26", outcome="InsufficientSecurity",
            tls=12, protocol="TLSv1.2", cipher="ECDHE-RSA-AES256-GCM-SHA384", key_exchange="secp384r1",
            reply="certificate: certificate has expired",
        )
        Attempt.objects.create(
            transmission=mail, at=at, host="mx.example.net", address="192.0.2.25", outcome="Accepted", tls=13,
            authentication=3, protocol="TLSv1.3", cipher="TLS_AES_256_GCM_SHA384", reply="250 2.0.0 Ok",
        )
print(Submission.objects.get(message_id={MESSAGE!r}).id)
"""
NOTED: Final = """
import json
from zegel.accounts.models import AuditEntry
print(json.dumps(list(AuditEntry.objects.filter(act="proof-exported").values("by_kind", "about", "details"))))
"""


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Explaining:
    shell = Explaining(tmp_path_factory.mktemp("shell"))
    shell("organisation", "add", ORGANISATION)
    shell("account", "add", SENDER, "--organisation", ORGANISATION, "--password", "-")
    shell.identity = shell.python(MADE)  # type: ignore[attr-defined]
    return shell


def test_nothing_found_says_where_refused_mail_is(shell: Explaining) -> None:
    for what in ("niemand@example.org", "nergens.test", "<x@y>", str(uuid.uuid4()), "%"):
        code, out, err = shell.run("trace", what)
        assert (code, out) == (1, "")
        assert "in the log of the sending server" in err
    assert "in het logboek van de verzendende server" in shell.run("trace", "x", "--language", "nl")[2]


def test_several_messages_are_listed_and_an_export_asks_which(shell: Explaining, tmp_path: Path) -> None:
    listed = shell("trace", "gast@example.org").splitlines()
    assert len(listed) == 2 and all(SENDER in line and "gast@example.org (delivered)" in line for line in listed)
    for more in (("--json",), ("--pdf", str(tmp_path / "x.pdf"))):
        assert "name one of them by its identifier" in shell.refusal("trace", "gast@example.org", *more)
    assert list(tmp_path.iterdir()) == []


def test_a_recipient_that_there_is_not_is_said(shell: Explaining) -> None:
    assert "is no recipient" in shell.refusal("trace", MESSAGE, "--recipient", "ander@example.org")
    assert "not an e-mail address" in shell.refusal("trace", MESSAGE, "--recipient", "ander")


@pytest.mark.parametrize("what", [MESSAGE, "een@voorbeeld.test", "the identifier"])
def test_one_message_is_told_for_each_recipient_with_its_evidence(shell: Explaining, what: str) -> None:
    told = shell("trace", shell.identity if what == "the identifier" else what)  # type: ignore[attr-defined]
    for shown in (
        MESSAGE, "gast@example.org\n", "stil@example.org\n",
        "Delivered readable to mx.example.net over TLS 1.3, certificate checked by DANE",
        "Whether it was read is not known.", "mx.example.net [192.0.2.25], TLSv1.3", "250 2.0.0 Ok",
        "mx2.example.net [192.0.2.26], TLSv1.2, ECDHE-RSA-AES256-GCM-SHA384, secp384r1", "certificate has expired",
    ):  # fmt: skip
        assert shown in told, shown
    dutch = shell("trace", MESSAGE, "--language", "nl", "--recipient", "stil@example.org")
    assert "Of het gelezen is, is niet bekend." in dutch and "gast@example.org" not in dutch


def test_exports_hang_together_and_are_noted_and_no_file_is_overwritten(shell: Explaining, tmp_path: Path) -> None:
    exported = shell("trace", MESSAGE, "--json")
    assert [one["address"] for one in json.loads(exported)["recipients"]] == ["gast@example.org", "stil@example.org"]
    proof = tmp_path / "bewijs.pdf"
    assert shell("trace", MESSAGE, "--pdf", str(proof), "--language", "nl") == ""
    assert proof.stat().st_mode & 0o777 == 0o600
    text = "".join("".join(page.extract_text() for page in PdfReader(io.BytesIO(proof.read_bytes())).pages).split())
    sha256 = hashlib.sha256(exported.encode()).hexdigest()
    assert "Bewijsvanbezorging" in text and sha256 in text
    before = proof.read_bytes()
    assert "is there already" in shell.refusal("trace", MESSAGE, "--pdf", str(proof))
    assert proof.read_bytes() == before
    noted = json.loads(shell.python(NOTED))
    assert {one["by_kind"] for one in noted} == {"command-line"} and {one["about"] for one in noted} == {MESSAGE}
    assert [one["details"]["form"] for one in noted][:2] == ["json", "pdf"]
    assert {one["details"]["sha256"] for one in noted} == {sha256}
