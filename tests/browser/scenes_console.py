"""What administrators meet."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from django.utils import timezone
from playwright.sync_api import FilePayload

from tests.browser.scenes_guest import LONG_ADDRESS, SUBJECT, invited, sign_in_service
from tests.browser.scenes_inbox import known
from tests.browser.stage import Stage, scene
from tests.journey.portal_ground import NOON, mail
from tests.journey.tracing_ground import rich, sent, tried
from zegel.accounts import audit, credentials, domains, lists, mailboxes, people, submitting, tokens, traces
from zegel.accounts import policy as policies
from zegel.accounts.models import Account, ApiToken, DirectDeliveryDomain, DirectDeliveryList, DkimPair, SendingDomain
from zegel.accounts.tokens import Scope
from zegel.accounts.webhooks import end_gone
from zegel.console import importing as looking
from zegel.core.mail.address import Domain
from zegel.core.policy.audit import Act, Actor, ActorKind
from zegel.core.policy.case import Asked, Case
from zegel.core.policy.numbers import Direct, Way
from zegel.core.policy.precedence import plan, plan_to_json
from zegel.core.policy.submitting import Caps
from zegel.core.policy.transport import PROVEN
from zegel.core.policy.verification import AccessCode, Method, SmsCode
from zegel.core.secret import Secret
from zegel.journey.custody import numbers
from zegel.journey.custody.models import (
    Attempt,
    DayNumber,
    Recipient,
    SlowDestination,
    Transmission,
    VerificationImport,
    WebhookRequest,
)
from zegel.journey.custody.retention import destroy

REPLY: Final = "250 2.0.0 Ok: queued as 4F1"
TEMPLATES: Final = ("console/", "403.html")
"""How the names of the templates begin that these walks come by."""
State = Recipient.State


def submitted(stage: Stage) -> Recipient:
    """Delivered over TLS, and one that can't be."""
    ground = stage.ground
    case = Case(asked=Asked(SmsCode(Secret("+31612345678")), PROVEN))
    decided: dict[str, Any] = {"plan": plan_to_json(plan(case), case), "decided_at": NOON}
    conversation = ground.conversation(mail(subject=SUBJECT))
    recipient = ground.recipient(
        conversation, LONG_ADDRESS, state=State.OPENED, step=1, opened_at=NOON, opened_with="sms", **decided
    )
    ground.recipient(conversation, "weg@example.org", state=State.UNDELIVERABLE, reason="too-late", **decided)
    ground.recipient(conversation, "nieuw@example.org", state=State.ACCEPTED)
    transmission = Transmission.objects.create(
        organisation=ground.organisation, recipient=recipient, kind=Transmission.Kind.READABLE,
        address=recipient.address, message_id="<x@voorbeeld.test>", created_at=NOON,
    )  # fmt: skip
    Attempt.objects.create(
        transmission=transmission, at=NOON, host="mx1.example.org", address="192.0.2.25", outcome="Accepted",
        stage="", reply=REPLY, tls=13, authentication=3, protocol="TLSv1.3", cipher="TLS_AES_256_GCM_SHA384",
        certificate="mx1.example.org; Voorbeeld CA; 2027-01-01; 3f:2a:77:01:9c",
    )  # fmt: skip
    return recipient


@scene("console:overview", "console:search", "console:message", "console:recipient")
def console_messages(stage: Stage) -> Iterator[str]:
    """The list, a search, the way of one."""
    stage.administrator()
    stage.go("console:overview")
    yield "none"
    recipient = submitted(stage)
    for number in range(26):
        stage.ground.recipient(stage.ground.conversation(mail()), f"gast{number}@example.org")
    stage.go("console:overview")
    yield "list"
    stage.send(sought="ontvanger@nergens.test")
    yield "nothing found"
    stage.send(sought=LONG_ADDRESS)
    yield "found"
    stage.send(sought="", since="2026-11-01", until="2026-12-31", where="notified")
    yield "found by state and period"
    stage.press(stage.page.get_by_role("button", name=re.compile("Older|Ouder")))
    yield "found, next page"
    stage.send(sought="", where="")
    yield "nothing sought"
    stage.send(since="gisteren", until="2026-13-01")
    yield "bad days"
    stage.go("console:message", submission=recipient.submission_id)
    yield "message"
    stage.unfold()
    yield "message, all told"
    stage.go("console:recipient", submission=recipient.submission_id, recipient=recipient.id)
    yield "one recipient"
    stage.visit("/console/messages/00000000-0000-7000-8000-000000000000/")
    yield "not there"


@scene("console:message", "console:recipient")
def console_ways(stage: Stage) -> Iterator[str]:
    """All that can happen to a message, and one to many recipients."""
    stage.administrator()
    one = rich(stage.ground)
    stage.go("console:message", submission=one.submission.id)
    yield "all that can happen"
    stage.unfold()
    yield "all that can happen, all told"
    conversation = stage.ground.conversation(mail())
    many = [stage.ground.recipient(conversation, f"gast{number:03}@example.org") for number in range(60)]
    stage.go("console:message", submission=conversation.submission_id)
    yield "many recipients"
    stage.go("console:message", submission=conversation.submission_id, query="?page=2")
    yield "many recipients, next page"
    Recipient.objects.filter(id=many[0].id).update(state=State.DECIDED)
    queued = sent(many[0], state=Transmission.State.QUEUED)
    for number in range(30):
        tried(queued, "Deferred", reply=f"451 4.7.1 try again later {number}")
    stage.go("console:recipient", submission=conversation.submission_id, recipient=many[0].id)
    yield "tried for days"


@scene("console:overview")
def console_for_nobody_else(stage: Stage) -> Iterator[str]:
    """An account holder without that right."""
    stage.author()
    stage.go("console:overview")
    yield "no access"


@scene(
    "console:domains", "console:domain_add", "console:domain", "console:domain_rotate", "console:domain_end_previous",
    "console:domain_remove", "console:domain_withdraw",
)  # fmt: skip
def console_domains(stage: Stage) -> Iterator[str]:
    """Added, in place, missing, different, held by another; keys renewed and ended; removed."""
    stage.administrator()
    organisation = stage.ground.organisation
    organisation.sending_domains.all().delete()
    stage.go("console:domains")
    yield "none"
    stage.go("console:domain_add")
    stage.send(domain="geen domein")
    yield "no domain"
    stage.send(domain="nieuw.voorbeeld.test")
    yield "added"
    sealing, now = stage.ground.keys.sealing, timezone.now()
    old = domains.add(organisation, Domain.parse("voorbeeld.test"), sealing=sealing)
    here: dict[str, Any] = {"domain": old.pk}
    old.in_place, old.proved_at, old.checked_at, old.tried_at, old.missing_since = True, NOON, NOON, NOON, NOON
    old.not_known = ["mta-sts"]
    old.findings = [
        {"purpose": one.purpose, "expected": one.value, "found": found, "right": False, "reason": reason}
        for one, (found, reason) in zip(
            domains.all_records(old, "zegel.voorbeeld.test", now=now),
            (
                ([], ""), (["v=DKIM1; p=anders"], "other-key"), ([], "other-type"), ([], ""), ([], ""),
                (["v=spf1 +all"], "spf-lets-everybody"), (["v=DMARC1; p=none"], "asks-nothing"),
            ),
            strict=False,
        )
    ]  # fmt: skip
    old.save()
    stage.go("console:domains")
    yield "some"
    stage.go("console:domain", **here)
    yield "missing"
    stage.go("console:domain_rotate", **here)
    yield "renew"
    stage.send()
    yield "renewed"
    stage.go("console:domain_withdraw", **here)
    yield "withdraw"
    stage.go("console:domain_remove", **here)
    yield "may not be removed"
    DkimPair.objects.update(stage=DkimPair.Stage.PREVIOUS)
    SendingDomain.objects.filter(pk=old.pk).update(in_place=False, findings=[], not_known=[])
    stage.go("console:domain", **here)
    yield "refused"
    stage.go("console:domain_end_previous", **here)
    yield "end too early"
    stage.send()
    yield "ended too early"
    DkimPair.objects.update(at=NOON - timedelta(days=30))
    SendingDomain.objects.filter(pk=old.pk).update(missing_since=None)
    stage.go("console:domain", **here)
    yield "of another"
    stage.go("console:domain_end_previous", **here)
    yield "end"
    SendingDomain.objects.filter(pk=old.pk).update(proved_at=None)
    stage.go("console:domain_remove", **here)
    yield "remove"
    stage.send()
    yield "removed"


@scene("console:programs", "console:program_disable")
def console_programs(stage: Stage) -> Iterator[str]:
    """Tokens of the API: made, disabled."""
    stage.administrator()
    stage.go("console:programs")
    yield "none"
    stage.send()
    yield "nothing filled in"
    stage.send(description="Dossiers, productie", scopes=["messages:send", "trace:read"])
    yield "issued"
    stage.go("console:programs")
    yield "one"
    token = ApiToken.objects.get(organisation=stage.ground.organisation)
    stage.go("console:program_disable", program=token.pk)
    yield "disable"
    stage.send()
    yield "disabled"


@scene(
    "console:webhooks", "console:webhook", "console:webhook_renew",
    "console:webhook_end_previous", "console:webhook_remove",
)  # fmt: skip
def console_webhooks(stage: Stage) -> Iterator[str]:
    """Added, tried, renewed, disabled, removed."""
    stage.administrator()
    stage.go("console:webhooks")
    yield "none"
    stage.send(description="Dossier, productie", url="http://dossier.example.org/", events=["recipient.opened"])
    yield "not https"
    stage.send(description="Dossier, productie", url="https://dossier.example.org/z", events=["recipient.opened"])
    yield "issued"
    webhook = stage.ground.organisation.webhooks.get()
    WebhookRequest.objects.create(
        webhook=webhook, event="recipient.opened", at=NOON, tries=3, outcome="503", due_at=NOON, tried_at=NOON
    )
    WebhookRequest.objects.create(
        webhook=webhook, event="alarm.raised", at=NOON, tries=10, outcome="too-slow", state="given-up", tried_at=NOON
    )
    stage.go("console:webhooks")
    yield "one"
    here: dict[str, Any] = {"webhook": webhook.pk}
    stage.go("console:webhook", **here)
    yield "its requests"
    stage.send("/test/")
    yield "a test is sent"
    stage.go("console:webhook_renew", **here)
    yield "renew"
    stage.send()
    yield "renewed"
    stage.go("console:webhook", **here)
    yield "two secrets"
    stage.go("console:webhook_end_previous", **here)
    yield "end the previous one"
    webhook.refresh_from_db()
    end_gone(webhook, now=NOON)
    stage.go("console:webhook", **here)
    yield "gone"
    stage.go("console:webhook_remove", **here)
    yield "remove"
    stage.send()
    yield "removed"


@scene("console:alarms")
def console_alarms(stage: Stage) -> Iterator[str]:
    """Who is mailed about alarms."""
    stage.administrator()
    stage.go("console:alarms")
    yield "administrators"
    stage.send(whom="these", addresses="dit is geen adres")
    yield "bad address"
    stage.send(whom="these", addresses="dienst@example.org")
    yield "stored"


@scene(
    "console:credentials", "console:credential", "console:credential_rotate", "console:credential_end_previous",
    "console:disable_credential",
)  # fmt: skip
def console_credentials(stage: Stage) -> Iterator[str]:
    """Made, bound, renewed, disabled."""
    stage.administrator()
    stage.go("console:credentials")
    yield "none"
    stage.send()
    yield "no description"
    stage.send(description="Mailserver van de vestiging Noord")
    yield "issued"
    issued = credentials.issue(stage.ground.organisation, "Tweede mailserver").credential
    stage.go("console:credentials")
    yield "some"
    here: dict[str, Any] = {"credential": issued.pk}
    stage.go("console:credential", **here)
    yield "one"
    stage.send(networks="dit is geen netwerk")
    yield "bad network"
    stage.go("console:credential_rotate", **here)
    yield "renew"
    stage.send()
    yield "renewed"
    stage.go("console:credential", **here)
    yield "two secrets"
    stage.go("console:credential_end_previous", **here)
    yield "end the previous one"
    stage.go("console:disable_credential", **here)
    yield "disable"
    stage.send()
    yield "disabled"
    stage.go("console:credential", **here)
    yield "one, disabled"


@scene("console:submission", "console:submission_proof", "console:submission_limits")
def console_submission(stage: Stage) -> Iterator[str]:
    """What proves a client, and how much is accepted."""
    stage.administrator()
    stage.go("console:submission")
    yield "submission"
    stage.send("/proof/", networks="dit is geen netwerk")
    yield "bad network"
    stage.go("console:submission")
    stage.send("/proof/", authentication="either")
    yield "are you sure"
    stage.go("console:submission")
    stage.send("/limits/", messages_per_hour="veel", text_countries="Nederland")
    yield "bad limit"
    organisation = stage.ground.organisation
    organisation.authentication = "either"
    organisation.save()
    stage.go("console:submission")
    yield "with SPF"
    stage.page.locator('form[action$="/proof/"] [name=version]').evaluate("one => { one.value = 'x' }")
    stage.send("/proof/")
    yield "stale"


@scene(
    "console:recipients", "console:direct_delivery", "console:direct_delivery_domain",
    "console:direct_delivery_remove", "console:minimums", "console:minimum", "console:minimum_remove",
)  # fmt: skip
def console_recipients(stage: Stage) -> Iterator[str]:
    """What is allowed and demanded about recipients."""
    stage.administrator()
    organisation = stage.ground.organisation
    stage.go("console:recipients")
    yield "policy"
    stage.send(hold_days="honderd")
    yield "bad number"
    stage.go("console:recipients")
    stage.send(takes_inbound_direct_delivery=True)
    yield "inbound, are you sure"
    stage.go("console:recipients")
    stage.page.locator("[name=version]").evaluate("one => { one.value = 'x' }")
    stage.send()
    yield "stale"
    stage.go("console:direct_delivery")
    yield "no domains"
    stage.send(domain="geen domein")
    yield "bad domain"
    policies.deliver_directly(organisation, Domain.parse("example.org"), PROVEN)
    entry = DirectDeliveryDomain.objects.get()
    stage.go("console:direct_delivery")
    yield "domains"
    stage.go("console:direct_delivery_domain", entry=entry.pk)
    yield "domain"
    stage.go("console:direct_delivery_remove", entry=entry.pk)
    yield "domain, remove"
    stage.go("console:minimums")
    yield "no minimums"
    policies.demand_at_least(organisation, "example.org", Method.SMS)
    policies.demand_at_least(organisation, "*", Method.ACCESS_CODE)
    stage.go("console:minimums")
    yield "minimums"
    minimum = organisation.domain_minimums.order_by("pk")[0]
    stage.go("console:minimum", minimum=minimum.pk)
    yield "minimum"
    stage.go("console:minimum_remove", minimum=minimum.pk)
    yield "minimum, remove"
    stage.go("console:recipients")
    yield "policy, with cautions"


@scene(
    "console:verification", "console:verification_search", "console:verification_add", "console:verification_correct",
    "console:verification_remove",
)  # fmt: skip
def console_verification(stage: Stage) -> Iterator[str]:
    """Numbers and codes go in, and never come out."""
    stage.administrator()
    stage.go("console:verification")
    yield "none"
    row = known(stage, SmsCode(Secret("+31612345678")), None)
    known(stage, AccessCode(Secret("tulp-2026")), None, LONG_ADDRESS)
    stage.go("console:verification")
    yield "some"
    stage.send("/search/", address="niemand@example.org")
    yield "nothing found"
    stage.go("console:verification_add")
    yield "add"
    stage.send()
    yield "add, nothing filled in"
    stage.go("console:verification_correct", row=row.id)
    yield "correct"
    stage.send()
    yield "correct, nothing filled in"
    stage.go("console:verification_remove", row=row.id)
    yield "remove"


@scene("console:verification_import", "console:verification_imported")
def console_verification_import(stage: Stage) -> Iterator[str]:
    """A file is judged, looked at, and imported; what dispatch does is written down here."""
    stage.administrator()
    looking.LOOK_AGAIN = 900  # a page that goes away by itself can't be judged
    stage.go("console:verification_import")
    yield "none"
    stage.send("/import/")
    yield "nothing chosen"
    stage.page.locator("[name=file]").set_input_files(csv_file(b"naam,telefoon\nx,+31612345678\n"))
    stage.send("/import/")
    yield "no columns"
    rows = b"email_address;full_name;phone_number\nontvanger@example.org;x;0612345678\n"
    stage.page.locator("[name=file]").set_input_files(csv_file(rows))
    stage.send("/import/")
    yield "being judged"
    row = VerificationImport.objects.get()
    row.state, row.judged_at, row.rows, row.bad, row.to_add, row.to_change, row.same = "ready", NOON, 6, 3, 1, 1, 1
    row.layout |= {"encoding": "cp1252", "unknown": ["geboortedatum", "#4"]}
    row.save()
    stage.visit(stage.page.url.removeprefix(stage.url))
    yield "all rows good"
    row.complaints.create(line=3, column="phone_number", fault="rounded", address=LONG_ADDRESS)
    row.complaints.create(line=4, fault="conflict", address="klant@example.org", other=5)
    row.complaints.create(line=7, fault="quotes")
    stage.go("console:verification_imported", upload=row.id)
    yield "some rows bad"
    stage.go("console:verification_import")
    yield "one is open"
    stage.go("console:verification_imported", upload=row.id)
    stage.send("/confirm/")
    row.refresh_from_db()
    row.passed, row.octet = 3, row.size // 2
    row.save()
    stage.go("console:verification_imported", upload=row.id)
    yield "being imported"
    for state, fault in (("done", ""), ("refused", "lost"), ("lapsed", ""), ("cancelled", "")):
        row.state, row.fault, row.added, row.changed, row.left, row.ended_at = state, fault, 1, 0, 1, NOON
        row.confirmed_at = row.confirmed_at if fault or state == "done" else None
        row.save()
        stage.go("console:verification_imported", upload=row.id)
        yield state
    stage.go("console:verification_import")
    yield "the last imports"


def csv_file(octets: bytes) -> FilePayload:
    """As somebody chooses one."""
    return {"name": "clienten.csv", "mimeType": "text/csv", "buffer": octets}


@scene("console:privacy", "console:privacy_erase")
def console_privacy(stage: Stage) -> Iterator[str]:
    """Somebody unknown, somebody known, and the question before it is erased."""
    stage.administrator()
    stage.ground.recipient(stage.ground.conversation(mail()), "ontvanger@example.org")
    stage.go("console:privacy")
    yield "as it comes"
    stage.send(address="niemand")
    yield "no address"
    stage.send(address="niemand@example.org")
    yield "nobody"
    stage.send(address="ontvanger@example.org")
    yield "somebody"
    stage.press(stage.page.locator("form[action$='erase/'] button"))
    yield "the question"
    stage.press(stage.page.locator("form[action$='erase/'] button"))
    yield "erased"


@scene(
    "console:sign_in",
    "console:sign_in_add",
    "console:sign_in_provider",
    "console:sign_in_forget",
    "console:sign_in_remove",
)
def console_sign_in(stage: Stage) -> Iterator[str]:
    """A sign-in service that isn't taken, and one that is there."""
    stage.administrator()
    stage.go("console:sign_in")
    yield "none"
    stage.go("console:sign_in_begin")
    yield "a new one"
    stage.send(name="", issuer="", domains="geen domein")
    yield "incomplete"
    stage.send(name="Medewerkers", issuer="https://127.0.0.1:1", client_id="zegel", domains="nergens.test")
    yield "no domain of theirs"
    row = sign_in_service(stage.ground.organisation)
    stage.go("console:sign_in")
    yield "one"
    stage.go("console:sign_in_provider", provider=row.pk)
    yield "as it is"
    stage.send("/test/")
    yield "tested, and not there"
    stage.page.locator("[name=version]").evaluate("one => { one.value = 'x' }")
    stage.send(f"/sign-in/{row.pk}/", issuer="https://127.0.0.1:1")
    yield "stale"
    SendingDomain.objects.filter(name="voorbeeld.test").update(in_place=False)
    stage.go("console:sign_in_provider", provider=row.pk)
    yield "a domain is not in place"
    stage.go("console:sign_in_forget", provider=row.pk)
    yield "whom it meant"
    stage.send(email="niemand@voorbeeld.test")
    yield "nobody"
    stage.go("console:sign_in_remove", provider=row.pk)
    yield "the question"


@scene("console:look", "portal:guest")
def console_look(stage: Stage) -> Iterator[str]:
    """A colour that can't be read, one that can, a logo, own words; and what a guest then sees."""
    stage.administrator()
    stage.go("console:look")
    yield "as it comes"
    stage.send(accent="#ffcc00")
    yield "too light"
    stage.send(accent="#8a1f5c")
    yield "another colour"
    logo: FilePayload = {"name": "logo.png", "mimeType": "image/png", "buffer": png(400, 100)}
    stage.page.locator("[name=logo]").set_input_files(
        {"name": "logo.png", "mimeType": "image/png", "buffer": b"GIF89a"}
    )
    stage.send()
    yield "no PNG"
    stage.page.locator("[name=logo]").set_input_files(logo)
    stage.send()
    yield "with a logo"
    stage.send(region="Nederland")
    yield "no country"
    stage.send(region="NL", help_nl="Kijk op www.voorbeeld.test.")
    yield "an address on the web"
    stage.send(
        introduction_nl="Het Voorbeeldziekenhuis mailt medische gegevens alleen beveiligd.",
        introduction_en="The hospital mails medical data only when it is protected.",
        help_nl="Bel 030 123 4567, op werkdagen van 9 tot 17 uur, of mail naar balie@voorbeeld.test.",
        help_en="Call 030 123 4567 on weekdays from 9 to 17 hours, or mail balie@voorbeeld.test.",
    )
    yield "own words"
    stage.page.locator("summary").first.click()
    yield "a notification as it is now"
    stage.page.locator("[name=version]").evaluate("one => { one.value = 'x' }")
    stage.send()
    yield "stale"
    stage.context.clear_cookies()
    invited(stage)
    yield "to a guest"


def png(width: int, height: int) -> bytes:
    """One colour."""

    def chunk(kind: bytes, held: bytes) -> bytes:
        return len(held).to_bytes(4, "big") + kind + held + zlib.crc32(kind + held).to_bytes(4, "big")

    size = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    rows = (b"\0" + b"\x8a\x1f\x5c" * width) * height
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", size + b"\x08\x02\0\0\0")
        + chunk(b"tEXt", b"Comment\0who made it")
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


@scene(
    "console:lists",
    "console:list_add_url",
    "console:list_add_file",
    "console:list",
    "console:list_remove",
    "console:list_read",
)
def console_lists(stage: Stage) -> Iterator[str]:
    """Lists of domains that somebody else keeps."""
    stage.administrator()
    organisation = stage.ground.organisation
    stage.go("console:lists")
    yield "none"
    stage.go("console:list_add_url")
    yield "add by address"
    stage.send()
    yield "add by address, nothing filled in"
    stage.go("console:list_add_file")
    yield "add a file"
    filed = lists.add_file(organisation, "bestand", b"a.test\nb.test tls1.3 dane\n", now=timezone.now())
    lists.add_url(organisation, "koepel", "https://koepel.test/lijst.txt")
    DirectDeliveryList.objects.filter(name="koepel").update(tried_at=NOON, problem="no-answer")
    stage.go("console:lists")
    yield "some"
    stage.go("console:list", listed=filed.pk)
    yield "of a file"
    stage.send("/read/")
    yield "no file chosen"
    stage.go("console:list", listed=DirectDeliveryList.objects.get(name="koepel").pk)
    yield "of an address"
    stage.go("console:list_remove", listed=filed.pk)
    yield "remove"


@scene(
    "console:accounts", "console:accounts_search", "console:account_invite", "console:account_mailbox",
    "console:account", "console:account_role", "console:account_suspend", "console:account_resume",
    "console:account_tokens_end",
    "console:account_reset", "console:account_successor", "console:account_readers", "console:account_reader_remove",
)  # fmt: skip
def console_accounts(stage: Stage) -> Iterator[str]:
    """Who there is, somebody new, roles, readers, a leaver."""
    owner = stage.administrator()
    stage.go("console:account_invite")
    yield "invite"
    stage.send(address="iemand@elders.test", role="sender")
    yield "invite, no domain of ours"
    Account.objects.create_user("gast@voorbeeld.test")
    stage.send(address="gast@voorbeeld.test", role="support")
    yield "a guest's account"
    stage.go("console:account_invite")
    stage.send(address="nieuwe.medewerker@voorbeeld.test", display_name="Nieuwe medewerker", role="support")
    yield "invited"
    colleague = stage.account("collega@voorbeeld.test", display_name="Polikliniek 4, balie", role="administrator")
    here: dict[str, Any] = {"account": colleague.pk}
    stage.go("console:account_mailbox")
    yield "mailbox"
    stage.send(address="info")
    yield "mailbox, no address"
    stage.send(address="info@voorbeeld.test", display_name="Klantenservice")
    yield "mailbox, made"
    stage.send("/readers/", address="niemand@voorbeeld.test")
    yield "no such reader"
    info = Account.objects.get(email="info@voorbeeld.test")
    mailboxes.add_reader(info, colleague)
    stage.go("console:account", account=info.pk)
    yield "mailbox with a reader"
    stage.go("console:account_reader_remove", account=info.pk, reader=colleague.pk)
    yield "remove a reader"
    stage.go("console:account", **here)
    yield "one"
    stage.page.locator('form:has([name="display_name"]) [name=version]').evaluate("one => { one.value = 'x' }")
    stage.send(f"/{colleague.pk}/", display_name="Anders")
    yield "stale"
    stage.go("console:account", account=owner.pk)
    yield "one's own"
    stage.go("console:account_role", **here)
    yield "role"
    stage.send(role="owner")
    yield "an owner, are you sure"
    for act in ("suspend", "reset"):
        stage.go(f"console:account_{act}", **here)
        yield act
    stage.go("console:account_successor", **here)
    yield "successor"
    stage.send(address="info@voorbeeld.test")
    yield "no successor"
    stage.send(address="balie@voorbeeld.test")
    yield "successor, are you sure"
    made: dict[str, Any] = {"scopes": {Scope.EXPLAIN}, "life": timedelta(days=9), "now": timezone.now()}
    tokens.issue(stage.ground.organisation, "Dossiers, productie", **made, by=colleague)
    people.pass_on(colleague, stage.ground.author, by=None, now=timezone.now())
    stage.go("console:account", **here)
    yield "one, passed on"
    stage.go("console:account_tokens_end", **here)
    yield "end tokens"
    stage.go("console:account_resume", **here)
    yield "resume"
    for number in range(51):
        Account.objects.create_user(f"p{number:02}@voorbeeld.test", organisation=stage.ground.organisation)
    stage.go("console:accounts")
    yield "list"
    stage.send("/search/", sought="zzz")
    yield "nothing found"
    stage.send("/search/", sought="voorbeeld", role="")
    yield "found"


@scene("console:audit", "console:audit_term")
def console_audit(stage: Stage) -> Iterator[str]:
    """Who did what; sought; how long it is kept."""
    stage.administrator()
    organisation = stage.ground.organisation
    submitting.cap(organisation, Caps(messages_per_hour=500))
    with audit.acting(lambda: Actor(ActorKind.COMMAND_LINE, "root")):
        policies.permit(organisation, replace(policies.policy_of(organisation), allowed=(Method.SMS,), hold_days=7))
    message = {"message": str(submitted(stage).submission_id)}
    audit.note(Act.MESSAGE_REVOKED, organisation, LONG_ADDRESS, message, by=Actor(ActorKind.TOKEN, "0123abcd"))
    stage.go("console:audit")
    yield "some"
    for number in range(120):
        audit.note(Act.LIST_CHANGED, organisation, f"lijst {number}", {"domains_added": number}, now=NOON)
    stage.go("console:audit")
    yield "a full page"
    stage.go("console:audit", query="?before=60")
    yield "older"
    stage.send("/audit/", act="list-changed", since="2026-11-01")
    yield "found"
    stage.press(stage.page.locator('form:has([name="before"]) button'))
    yield "more that was found"
    stage.send("/audit/", about="niets")
    yield "nothing found"
    stage.send("/audit/", since="2026-12-01", until="2026-11-01")
    yield "no period"
    stage.go("console:audit_term")
    yield "term"
    stage.send(days="12")
    yield "too short a term"
    audit.note(Act.LIST_CHANGED, organisation, "oud", now=NOON.replace(year=2020))
    stage.send(days="365")
    yield "are you sure"
    audit.keep(organisation, 90)
    stage.send()
    yield "stale"


@scene("console:trace_term")
def console_trace_term(stage: Stage) -> Iterator[str]:
    """How long traces are kept."""
    stage.administrator()
    organisation = stage.ground.organisation
    stage.go("console:trace_term")
    yield "term"
    stage.send(days="12")
    yield "too short a term"
    destroy(submitted(stage).conversation_id, now=NOON.replace(year=2020))
    stage.send(days="365")
    yield "are you sure"
    traces.keep(organisation, 90)
    stage.send()
    yield "stale"


@scene("console:numbers")
def console_numbers(stage: Stage) -> Iterator[str]:
    """Nothing yet, and much of everything."""
    stage.administrator()
    organisation = stage.ground.organisation
    stage.go("console:numbers")
    yield "nothing yet"
    today = numbers.day_of(timezone.now())
    DayNumber.objects.bulk_create(
        DayNumber(organisation=organisation, day=today - timedelta(days=back), what=one.value, number=number)
        for back in range(30)
        for place, one in enumerate((*Way, *Direct))
        if (number := (back * 37 + place * 61) % 400 + 5)
    )
    for place, (domain, seconds) in enumerate([("dood.test", None), ("traag.voorbeeld.test", 5400.0)], 1):
        SlowDestination.objects.create(
            organisation=organisation, place=place, domain=domain, mails=1234, delayed=99, seconds=seconds,
            looked_at=NOON,
        )  # fmt: skip
    organisation.sending_domains.update(missing_since=timezone.now() - timedelta(hours=9))
    DirectDeliveryList.objects.create(
        organisation=organisation, name="koepel", url="https://k.test/l", read_at=timezone.now() - timedelta(days=9)
    )
    stage.ground.recipient(stage.ground.conversation(mail()), "gast@example.org")
    stage.go("console:numbers")
    yield "numbers and alarms"
    stage.unfold()
    yield "with the table"
