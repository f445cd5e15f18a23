"""What administrators meet."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any, Final

from django.utils import timezone
from playwright.sync_api import FilePayload

from tests.browser.scenes_guest import LONG_ADDRESS, SUBJECT, invited
from tests.browser.scenes_inbox import known
from tests.browser.stage import Stage, scene
from tests.journey.portal_ground import NOON, mail
from zegel.accounts import credentials, domains, lists
from zegel.accounts import policy as policies
from zegel.accounts.models import DirectDeliveryDomain, DirectDeliveryList
from zegel.core.mail.address import Domain
from zegel.core.policy.case import Asked, Case
from zegel.core.policy.precedence import plan, plan_to_json
from zegel.core.policy.transport import PROVEN
from zegel.core.policy.verification import AccessCode, Method, SmsCode
from zegel.core.secret import Secret
from zegel.journey.custody.models import Attempt, Recipient, Transmission

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
        transmission=transmission, at=NOON, host="mx1.example.org", address="192.0.2.25", outcome="delivered",
        stage="data", reply=REPLY, tls=13, authentication=3, protocol="TLSv1.3", cipher="TLS_AES_256_GCM_SHA384",
        certificate="mx1.example.org; Voorbeeld CA; 2027-01-01; 3f:2a:77:01:9c",
    )  # fmt: skip
    return recipient


@scene("console:overview", "console:search", "console:message")
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
    stage.send(sought="")
    yield "nothing sought"
    stage.go("console:message", submission=recipient.submission_id)
    yield "message"
    stage.unfold()
    yield "message, all told"
    stage.visit("/console/messages/00000000-0000-7000-8000-000000000000/")
    yield "not there"


@scene("console:overview")
def console_for_nobody_else(stage: Stage) -> Iterator[str]:
    """An account holder without that right."""
    stage.author()
    stage.go("console:overview")
    yield "no access"


@scene("console:domains")
def console_domains(stage: Stage) -> Iterator[str]:
    """In place, missing, different."""
    stage.administrator()
    organisation = stage.ground.organisation
    organisation.sending_domains.all().delete()
    stage.go("console:domains")
    yield "none"
    sealing = stage.ground.keys.sealing
    domains.add(organisation, Domain.parse("nieuw.voorbeeld.test"), sealing=sealing)
    old = domains.add(organisation, Domain.parse("voorbeeld.test"), sealing=sealing)
    old.in_place, old.checked_at, old.missing_since = True, NOON, NOON
    old.findings = [
        {"purpose": one.purpose, "expected": one.value, "found": found, "right": right}
        for one, (found, right) in zip(
            domains.records(old, "zegel.voorbeeld.test"),
            (([], False), (["v=DKIM1; p=anders"], False), (["zegel.voorbeeld.test"], True), ([], False)),
            strict=False,
        )
    ]
    old.save()
    stage.go("console:domains")
    yield "some"


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
    stage.send("/limits/", messages_per_hour="veel")
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


@scene("console:look", "portal:guest")
def console_look(stage: Stage) -> Iterator[str]:
    """A colour that can't be read, one that can, a logo; and what a guest then sees."""
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
