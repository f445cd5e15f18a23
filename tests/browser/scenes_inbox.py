"""What account holders meet: their messages, what they can still do about what they sent, and their own settings."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Final

from allauth.mfa.models import Authenticator
from django.db import transaction

from tests.browser.scenes_guest import FILES, LONG_ADDRESS, MARKUP, SUBJECT
from tests.browser.stage import Stage, scene
from tests.journey.portal_ground import NOON, PASSWORD, PIXEL, TOTP, mail, signed_in
from zegel.accounts import mailboxes
from zegel.accounts.models import Account
from zegel.accounts.sign_in import current_totp
from zegel.core.mail.address import Mailbox
from zegel.core.policy.case import Asked, Case
from zegel.core.policy.precedence import plan, plan_to_json
from zegel.core.policy.verification import AccessCode, SmsCode
from zegel.core.secret import Secret
from zegel.journey.custody import memory
from zegel.journey.custody.models import Conversation, MethodRequest, Recipient, VerificationData

PHONE: Final = "+31612345678"
TEMPLATES: Final = (
    "account/logout", "account/password", "account/reauth", "account/base_reauth", "mfa/index", "mfa/reauth",
    "mfa/recovery_codes/generate", "mfa/scripts", "mfa/totp/deactivate", "mfa/webauthn/", "portal/allow",
    "portal/held", "portal/inbox", "portal/recipients", "portal/related", "portal/sent_",
    "portal/program_add", "portal/program_made", "portal/programs", "portal/sessions", "portal/settings",
    "portal/tabs", "portal/verification_data",
)  # fmt: skip
"""How the names of the templates begin that these walks come by."""
State = Recipient.State


def sent(stage: Stage) -> Conversation:
    """A message with recipients in all states."""
    ground = stage.ground
    octets = mail(markup=MARKUP, pictures={"logo@x": PIXEL}, files=FILES, subject=SUBJECT)
    conversation = ground.conversation(octets, expires_at=NOON + timedelta(days=20))
    opened = ground.recipient(
        conversation, LONG_ADDRESS, state=State.OPENED, opened_at=NOON, opened_with="sms", decided_at=NOON
    )
    ground.recipient(conversation, "wacht@example.org", decided_at=NOON)
    ground.recipient(conversation, "weg@example.org", state=State.UNDELIVERABLE, reason="too-late")
    ground.recipient(conversation, "direct@example.org", state=State.DELIVERED)
    held(stage, conversation)
    ground.add(conversation, mail(text="Dank u wel.\r\n"), answered_by=opened)
    return conversation


def held(stage: Stage, conversation: Conversation) -> Recipient:
    """A recipient who waits for a number."""
    steps = [{"kind": "hold", "required": ["sms", "access-code", "account"]}]
    return stage.ground.recipient(
        conversation, "onbekend@example.org", method="", state=State.HELD, decided_at=NOON, told_at=NOON,
        plan={"form": 1, "table": 1, "steps": steps, "findings": []},
    )  # fmt: skip


@scene("portal:inbox", "portal:inbox-search", "portal:inbox-read", "portal:inbox-answer", "portal:inbox-body")
def messages(stage: Stage) -> Iterator[str]:
    """Nothing, much, one of them."""
    author = stage.author()
    stage.go("portal:inbox")
    yield "empty"
    conversation = sent(stage)
    ground = stage.ground
    ground.recipient(ground.conversation(mail(subject="x" * 200), blind=True), "derde@example.org", state=State.OPENED)
    colleague = ground.account("collega@voorbeeld.test", display_name="Collega")
    ground.recipient(ground.conversation(mail(subject="Rooster"), author=colleague), author.email, method="account")
    for number in range(26):
        ground.recipient(ground.conversation(mail(subject=f"Afspraak {number}")), f"gast{number}@example.org")
    stage.go("portal:inbox")
    yield "a page"
    stage.go("portal:inbox", query="?page=2")
    yield "the second page"
    stage.go("portal:inbox", query="?show=received")
    yield "received"
    stage.go("portal:inbox", query="?show=held")
    yield "held"
    stage.go("portal:inbox")
    stage.send("/search")
    yield "searched for anything"
    stage.go("portal:inbox-read", conversation=conversation.id)
    stage.page.locator("iframe").first.scroll_into_view_if_needed()
    yield "sent, in all states"
    body = stage.page.locator("iframe").first.get_attribute("src")
    stage.send("/answer", text="")
    yield "empty answer"
    assert body is not None
    stage.visit(body)
    yield "body alone"
    Conversation.objects.filter(id=conversation.id).update(destroyed_at=NOON, gateway_slot=None)
    stage.go("portal:inbox-read", conversation=conversation.id)
    yield "closed"


@scene("portal:inbox", "portal:inbox-read")
def functional_mailbox(stage: Stage) -> Iterator[str]:
    """Read by more than one."""
    author, ground = stage.author(), stage.ground
    info = Account.objects.create_user("info@voorbeeld.test", organisation=ground.organisation)
    mailboxes.add_reader(info, author)
    writer = ground.account("collega@voorbeeld.test", display_name="Collega")
    conversation = ground.conversation(mail(subject=SUBJECT), author=writer)
    ground.recipient(conversation, info.email, method="account")
    stage.go("portal:inbox", query=f"?mailbox={info.id}")
    yield "list"
    stage.go("portal:inbox-read", conversation=conversation.id)
    stage.page.reload()
    yield "message"


@scene("portal:inbox-view", "portal:inbox-words", "portal:inbox-all-words", "portal:inbox-images", "portal:inbox-pdf")
def messages_closer(stage: Stage) -> Iterator[str]:
    """Attachments, and the words alone."""
    stage.author()
    octets = mail(text=None, markup=MARKUP, pictures={"logo@x": PIXEL}, files=FILES, subject=SUBJECT)
    conversation = stage.ground.conversation(octets)
    stage.ground.recipient(conversation)
    message = conversation.messages.get()
    stage.go("portal:inbox-read", conversation=conversation.id)
    for one in [one.get_attribute("href") for one in stage.page.locator("a.view").all()]:
        assert one is not None
        if "text/html" in stage.context.request.get(stage.url + one).headers["content-type"]:
            stage.visit(one)
            yield f"attachment {one.rsplit('/', 1)[-1]}"
    stage.go("portal:inbox-words", conversation=conversation.id, message=message.id)
    yield "words of one"
    stage.go("portal:inbox-all-words", conversation=conversation.id)
    yield "words of all"
    stage.go("portal:inbox-read", conversation=conversation.id)
    images = stage.page.locator("form.images").get_attribute("action")
    assert images is not None
    stage.page.evaluate("document.querySelector('form.images').removeAttribute('target')")
    stage.send(images)
    yield "images from elsewhere"
    long = stage.ground.conversation(mail(text="Een regel.\r\n" * 120_000, subject=SUBJECT))
    stage.ground.recipient(long)
    stage.go("portal:inbox-pdf", conversation=long.id, message=long.messages.get().id)
    yield "no PDF"


@scene("portal:sent-revoke", "portal:sent-revoke-one", "portal:sent-expiry", "portal:sent-again", "portal:inbox-read")
def follow_up(stage: Stage) -> Iterator[str]:
    """Revoke, notify again, another expiry."""
    stage.author()
    conversation = stage.ground.conversation(mail(subject=SUBJECT))
    one = stage.ground.recipient(conversation, decided_at=NOON)
    stage.ground.recipient(conversation, "direct@example.org", state=State.DELIVERED)
    home: dict[str, Any] = {"conversation": conversation.id}
    stage.go("portal:sent-expiry", **home)
    yield "expiry"
    stage.send()
    yield "expiry, as it was"
    stage.go("portal:sent-again", recipient=one.id, **home)
    yield "notify again"
    stage.send()
    yield "notified again"
    stage.go("portal:sent-again", recipient=one.id, **home)
    yield "notified too soon"
    stage.go("portal:sent-revoke-one", recipient=one.id, **home)
    yield "revoke for one"
    stage.send()
    yield "revoked for one"
    stage.go("portal:sent-revoke", **home)
    yield "revoke"
    stage.send()
    yield "revoked"


@scene("portal:held")
def held_recipients(stage: Stage) -> Iterator[str]:
    """What they lack is filled in."""
    stage.author()
    conversation = stage.ground.conversation(mail(subject=SUBJECT))
    held(stage, conversation)
    stage.go("portal:held", submission=conversation.submission_id)
    yield "fill in"
    stage.send()
    yield "nothing filled in"
    stage.page.locator("main input[type=text], main input[type=tel]").first.fill("06 geen nummer")
    stage.send()
    yield "no number"
    Recipient.objects.filter(conversation=conversation).update(state=State.NOTIFIED)
    stage.go("portal:held", submission=conversation.submission_id)
    yield "nobody is held"


@scene("portal:another-way")
def allow_another_way(stage: Stage) -> Iterator[str]:
    """The sender allows it, or doesn't."""
    stage.author()
    ground = stage.ground
    case = Case(asked=Asked())
    recipient = ground.recipient(
        ground.conversation(mail(subject=SUBJECT)), plan=plan_to_json(plan(case), case), decided_at=NOON
    )
    MethodRequest.objects.create(recipient=recipient, method="sms", why="number-changed", at=NOON)
    stage.go("portal:another-way", recipient=recipient.id)
    yield "asked"
    stage.send()
    yield "nothing filled in"
    stage.go("portal:another-way", recipient=recipient.id)
    stage.press(stage.page.locator("main form").last.locator("button").last)
    yield "refused"


@scene("portal:recipients", "portal:recipient-add", "portal:recipient-correct", "portal:recipient-remove")
def verification_data(stage: Stage) -> Iterator[str]:
    """Seen, added, corrected, removed."""
    author = stage.author()
    stage.go("portal:recipients")
    yield "none"
    entry = known(stage, SmsCode(Secret(PHONE)), author)
    known(stage, AccessCode(Secret("tulp-2026")), author, LONG_ADDRESS)
    stage.go("portal:recipients")
    yield "some"
    stage.go("portal:recipient-add")
    yield "add"
    stage.send()
    yield "add, nothing filled in"
    stage.go("portal:recipient-correct", entry=entry.id)
    yield "correct"
    stage.send()
    yield "correct, nothing filled in"
    stage.go("portal:recipient-remove", entry=entry.id)
    yield "remove"
    stage.send()
    yield "removed"


def known(
    stage: Stage, value: SmsCode | AccessCode, account: Account | None, address: str = "ontvanger@example.org"
) -> VerificationData:
    """What somebody filled in."""
    with transaction.atomic():
        return memory.supply(
            stage.ground.organisation,
            Mailbox.parse(address),
            value,
            account=account,
            origin=VerificationData.Origin.SENDER,
            now=NOON,
            sealing=stage.ground.keys.sealing,
        )


@scene("portal:programs", "portal:program-add")
def programs(stage: Stage) -> Iterator[str]:
    """One's own programs."""
    stage.author()
    stage.go("portal:programs")
    yield "programs, none"
    stage.go("portal:program-add")
    yield "program, new"
    stage.send()
    yield "program, without a description"
    stage.send(description="Mailprogramma op de laptop")
    yield "program, made"
    stage.go("portal:programs")
    yield "programs, one"


@scene("portal:settings", "portal:sessions", "account_logout", "account_change_password", "mfa_index")
def settings(stage: Stage) -> Iterator[str]:
    """One's own."""
    author = stage.author()
    stage.go("portal:settings")
    yield "settings"
    stage.send()
    yield "saved"
    stage.go("portal:sessions")
    yield "sessions, one"
    signed_in(author, stage.language)
    stage.go("portal:sessions")
    yield "sessions, more"
    stage.go("mfa_index")
    yield "security"
    stage.go("account_change_password")
    yield "password"
    stage.send()
    yield "password, empty"
    stage.go("account_logout")
    yield "sign out"


@scene(
    "mfa_generate_recovery_codes", "mfa_view_recovery_codes", "mfa_deactivate_totp", "mfa_list_webauthn",
    "mfa_add_webauthn", "mfa_edit_webauthn", "mfa_remove_webauthn", "account_reauthenticate", "mfa_reauthenticate",
    "mfa_reauthenticate_webauthn", "mfa_authenticate", "mfa_index",
)  # fmt: skip
def second_steps(stage: Stage) -> Iterator[str]:
    """Passkeys, the app, recovery codes, and being asked again."""
    author = stage.author()
    devtools = stage.context.new_cdp_session(stage.page)
    devtools.send("WebAuthn.enable")
    options = {"protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True}
    devtools.send("WebAuthn.addVirtualAuthenticator", {"options": {**options, "isUserVerified": True}})
    stage.go("mfa_list_webauthn")
    yield "no passkeys"
    stage.go("mfa_add_webauthn")
    yield "add a passkey"
    stage.page.locator("main [name=name]").fill("laptop")
    stage.press(stage.page.locator("#mfa_webauthn_add"))
    stage.page.wait_for_url(lambda url: "add" not in url)
    yield "one passkey"
    passkey = Authenticator.objects.get(user=author, type=Authenticator.Type.WEBAUTHN)
    stage.go("mfa_list_webauthn")
    yield "passkeys"
    stage.go("mfa_edit_webauthn", pk=passkey.pk)
    yield "rename"
    stage.go("mfa_remove_webauthn", pk=passkey.pk)
    yield "remove"
    stage.go("mfa_generate_recovery_codes")
    yield "make recovery codes"
    stage.send()
    yield "recovery codes"
    stage.go("mfa_deactivate_totp")
    yield "switch off the app"
    for name, state in (
        ("account_reauthenticate", "confirm with the password"),
        ("mfa_reauthenticate", "confirm with a code"),
        ("mfa_reauthenticate_webauthn", "confirm with a passkey"),
    ):
        stage.go(name)
        yield state
        if name != "mfa_reauthenticate_webauthn":
            stage.send()
            yield f"{state}, empty"
    stage.context.clear_cookies()
    stage.go("account_login")
    stage.send(login=author.email, password=PASSWORD)
    yield "second step, with a passkey"
    assert current_totp(TOTP)
