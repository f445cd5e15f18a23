"""The administrator's pages: whose they are, what they show, and what they never show (P20)."""

from __future__ import annotations

import re
import uuid
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone
from django.utils.html import escape

from tests.web.conftest import signed_in
from zegel.accounts import credentials, domains
from zegel.accounts.models import Account, Organisation, SmtpCredential
from zegel.accounts.sign_in import enrol_totp
from zegel.core.mail.address import Domain
from zegel.core.policy.carriage import Cause
from zegel.core.policy.case import Asked, Case
from zegel.core.policy.nta7516 import Standing
from zegel.core.policy.precedence import plan, plan_to_json
from zegel.core.policy.reasons import Why
from zegel.core.policy.tracing import nta_in_words
from zegel.core.policy.transport import PROVEN
from zegel.core.policy.verification import SmsCode
from zegel.core.policy.wording import Wording
from zegel.core.seal.wrap import OpeningKey, SealingKey
from zegel.core.secret import Secret
from zegel.edge.chance import identifier
from zegel.journey.custody.models import Attempt, Conversation, Recipient, Submission, Transmission

NOW = timezone.now()


def submitted(account: Account, *addresses: str, **fields: object) -> Submission:
    assert account.organisation is not None
    submission = Submission.objects.create(
        organisation=account.organisation,
        account=account,
        message_id=f"<{identifier().hex}@voorbeeld.test>",
        identity=b"",
        directives=b"",
        source="192.0.2.9",
        tls="TLSv1.3",
        accepted_at=NOW,
    )
    conversation = Conversation.objects.create(
        organisation=account.organisation, author=account, submission=submission, created_at=NOW
    )
    for address in addresses:
        Recipient.objects.create(
            conversation=conversation, submission=submission, address=address, key=address, **fields
        )
    return submission


def strip(body: bytes) -> str:
    """Without what differs on any two pages: the token and the address of the page itself."""
    return re.sub(r'name="(csrfmiddlewaretoken|next)" value="[^"]*"', "", body.decode())


def test_who_is_no_administrator_gets_nowhere(newcomer: Account) -> None:
    enrol_totp(newcomer, Secret("JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"))
    client = signed_in(newcomer)
    for address in (
        "/console/",
        "/console/domains/",
        "/console/credentials/",
        "/console/submission/",
        f"/console/messages/{uuid.uuid4()}/",
    ):
        assert client.get(address).status_code == 403
    assert client.post("/console/credentials/", {"description": "x"}).status_code == 403
    assert not SmtpCredential.objects.exists()


@pytest.mark.parametrize(
    "address",
    [
        "/console/",
        "/console/messages/",
        "/console/domains/",
        "/console/credentials/",
        "/console/credentials/1/",
        "/console/credentials/1/rotate/",
        "/console/credentials/1/end-previous/",
        "/console/submission/",
        "/console/submission/proof/",
        "/console/submission/limits/",
    ],
)
def test_who_is_not_signed_in_is_asked_to(db: None, address: str) -> None:
    for answer in (Client().get(address), Client().post(address, {})):
        assert answer.status_code in (302, 405)
        assert answer.status_code == 405 or answer.headers["Location"] == f"/account/sign-in/?next={address}"


def test_another_organisations_message_looks_like_one_that_never_was(
    administrator: Account, other_administrator: Account
) -> None:
    theirs = submitted(other_administrator, "ontvanger@example.org")
    client = signed_in(administrator)
    existing = client.get(f"/console/messages/{theirs.id}/")
    missing = client.get(f"/console/messages/{uuid.uuid4()}/")
    assert existing.status_code == missing.status_code == 404
    assert strip(existing.content) == strip(missing.content)


def test_another_organisations_messages_are_neither_listed_nor_found(
    administrator: Account, other_administrator: Account
) -> None:
    theirs = submitted(other_administrator, "ontvanger@example.org")
    client = signed_in(administrator)
    for sought in ("ontvanger@example.org", other_administrator.email, theirs.message_id):
        assert str(theirs.id) not in client.post("/console/messages/", {"sought": sought}).content.decode()
    for address in ("/console/", f"/console/?before={uuid.UUID(int=2**128 - 1)}"):
        assert str(theirs.id) not in client.get(address).content.decode()


def test_another_organisations_credential_looks_like_one_that_never_was(
    administrator: Account, other_administrator: Account
) -> None:
    assert other_administrator.organisation is not None
    theirs = credentials.issue(other_administrator.organisation, "theirs").credential
    client = signed_in(administrator)
    for method in (client.get, client.post):
        existing = method(f"/console/credentials/{theirs.pk}/disable/")
        missing = method("/console/credentials/999999/disable/")
        assert existing.status_code == missing.status_code == 404
        assert strip(existing.content) == strip(missing.content)
    theirs.refresh_from_db()
    assert theirs.disabled_at is None
    assert "theirs" not in client.get("/console/credentials/").content.decode()


def test_an_address_is_never_put_into_the_address_of_a_page(administrator: Account) -> None:
    submission = submitted(administrator, "ontvanger@example.org")
    client = signed_in(administrator)
    found = client.post("/console/messages/", {"sought": "Ontvanger@Example.org"})
    assert str(submission.id) in found.content.decode()
    assert client.get("/console/messages/?sought=ontvanger@example.org").headers["Location"] == "/console/"
    assert not re.search(r'(href|action)="[^"]*(@|%40)', found.content.decode())


def test_a_message_is_found_by_its_message_id_and_by_its_sender(administrator: Account) -> None:
    submission = submitted(administrator, "ontvanger@example.org")
    client = signed_in(administrator)
    for sought in (f" {submission.message_id} ", "BEHEER@voorbeeld.test"):
        assert str(submission.id) in client.post("/console/messages/", {"sought": sought}).content.decode()
    assert str(submission.id) not in client.post("/console/messages/", {"sought": "iemand@x.test"}).content.decode()


def test_the_trace_shows_the_plan_the_reasons_and_the_evidence(administrator: Account) -> None:
    case = Case(asked=Asked(verification=SmsCode(Secret("+31612345678")), transport=PROVEN))
    submission = submitted(
        administrator,
        "ontvanger@example.org",
        state=Recipient.State.OPENED,
        plan=plan_to_json(plan(case), case),
        step=1,
        method="sms",
        masked="+31 6 ****5678",
        decided_at=NOW,
        delivered_at=NOW,
        opened_at=NOW,
        opened_with="sms",
    )
    recipient = Recipient.objects.get(submission=submission)
    transmission = Transmission.objects.create(
        organisation=submission.organisation,
        recipient=recipient,
        kind=Transmission.Kind.READABLE,
        address=recipient.address,
        message_id="<x>",
        created_at=NOW,
    )
    Attempt.objects.create(
        transmission=transmission,
        at=NOW,
        host="mx.example.org",
        address="192.0.2.25",
        outcome="InsufficientSecurity",
        tls=12,
        authentication=0,
        protocol="TLSv1.2",
        cipher="ECDHE-RSA-AES256-GCM-SHA384",
        key_exchange="secp384r1",
        certificate="self-signed",
        reply="250 <b>mx</b>",
    )
    page = signed_in(administrator, "en").get(f"/console/messages/{submission.id}/").content.decode()
    for shown in (
        "Readable message, over at least: TLS 1.2, valid certificate",
        "did not succeed",
        "Notification; opens with: SMS code +31 6 ****5678",
        escape(Why.MESSAGE_ASKS_TRANSPORT.en),
        escape(Why.MESSAGE_NAMES_METHOD.en),
        "E-mail verification",
        "mx.example.org [192.0.2.25]",
        "TLSv1.2, ECDHE-RSA-AES256-GCM-SHA384",
        "secp384r1",
        "server not authenticated",
        "connection not secure enough; nothing was sent",
        "250 &lt;b&gt;mx&lt;/b&gt;",
        "Opened on the portal after verification: SMS code.",
    ):
        assert shown in page, shown
    assert "612345678" not in page


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ("NTA 7516, sender: nta-spf-does-not-pass", Cause.NTA_SENDER_SPF),
        ("NTA 7516, sender: no DKIM key", Cause.NTA_SENDER_DKIM),
        ("NTA 7516, recipient: nta-out-of-date", Cause.NTA_RECIPIENT_OUT_OF_DATE),
        ("NTA 7516, recipient: nta-not-known-now", Standing.NOT_KNOWN_NOW),
        ("NTA 7516: mx.zorg.test has no TLSA records that are protected by DNSSEC", Cause.NTA_NO_PROVEN_HOST),
    ],
)
def test_what_nta_7516_lacked_is_said_in_words(reply: str, said: Wording) -> None:
    assert nta_in_words(reply) is said


def test_what_a_server_says_is_not_explained() -> None:
    assert nta_in_words("250 2.0.0 NTA 7516: taken") is None


@pytest.mark.parametrize("stored", [None, {}, {"form": 99}, {"form": 1, "steps": [], "findings": []}])
def test_a_plan_of_another_version_breaks_no_page(administrator: Account, stored: object) -> None:
    submission = submitted(
        administrator, "ontvanger@example.org", plan=stored, state="decided", reason="no-such-reason"
    )
    assert signed_in(administrator).get(f"/console/messages/{submission.id}/").status_code == 200


def test_pages_follow_each_other_without_loss(administrator: Account) -> None:
    submissions = [submitted(administrator, "ontvanger@example.org") for _ in range(30)]
    client = signed_in(administrator)
    first = client.get("/console/").content.decode()
    older = re.search(r'href="(\?before=[^"]+)"', first)
    assert older is not None
    second = client.get(f"/console/{older[1]}").content.decode()
    for submission in submissions:
        assert (str(submission.id) in first) != (f"messages/{submission.id}" in second)
    assert client.get("/console/?before=nonsense").status_code == 200


def test_a_secret_is_shown_once_and_works(administrator: Account, organisation: Organisation) -> None:
    client = signed_in(administrator)
    issued = client.post("/console/credentials/", {"description": "mailserver"}).content.decode()
    username = re.search(r'id="username">([\w-]+)<', issued)
    secret = re.search(r'id="secret">([\w-]+)<', issued)
    assert username is not None
    assert secret is not None
    found = credentials.find(username[1], Secret(secret[1]))
    assert isinstance(found, credentials.Known)
    assert found.organisation == organisation.pk
    for address in ("/console/credentials/", f"/console/credentials/{found.credential}/"):
        assert secret[1] not in client.get(address).content.decode()


def test_disabling_asks_first_and_takes_a_form(administrator: Account, organisation: Organisation) -> None:
    issued = credentials.issue(organisation, "mailserver")
    client = signed_in(administrator)
    address = f"/console/credentials/{issued.credential.pk}/disable/"
    client.get(address)
    assert isinstance(credentials.find(issued.credential.username, issued.secret), credentials.Known)
    client.post(address)
    assert credentials.find(issued.credential.username, issued.secret) == "disabled"
    assert client.post(address).status_code == 404


def test_a_credential_without_a_description_is_not_made(administrator: Account) -> None:
    signed_in(administrator).post("/console/credentials/", {"description": "  "})
    assert not SmtpCredential.objects.exists()


def test_domains_show_what_to_publish_and_what_was_found(administrator: Account, organisation: Organisation) -> None:
    sealing = SealingKey.from_bytes(OpeningKey.generate().sealing_bytes())
    domain = domains.add(organisation, Domain.parse("voorbeeld.test"), sealing=sealing)
    client = signed_in(administrator, "en")
    page = client.get(f"/console/domains/{domain.pk}/").content.decode()
    assert f"zegel-domain={domain.ownership_token}" in page
    assert "not checked yet" in page
    ownership, dkim, return_path, second = domains.records(domain, "gateway.test")
    findings = (
        domains.Finding(ownership, (ownership.value,), is_right=True, is_conclusive=True),
        domains.Finding(dkim, (), is_right=False, is_conclusive=True),
        domains.Finding(return_path, ("elders.test",), is_right=False, is_conclusive=True),
        domains.Finding(second, (), is_right=False, is_conclusive=True),
    )
    domains.conclude(domain, findings, now=NOW - timedelta(hours=1))
    page = client.get(f"/console/domains/{domain.pk}/").content.decode()
    for shown in ("may not send yet", "right", "missing", "different", "elders.test", "optional", "not published"):
        assert shown in page


def test_every_page_says_that_settings_for_tests_are_on(administrator: Account) -> None:
    client = signed_in(administrator, "en")
    for address in ("/console/", "/console/domains/", "/console/credentials/", "/console/submission/"):
        assert "Settings for tests are on" in client.get(address).content.decode()
