"""What guests and everybody else meet: the way in, reading, answering, and pages that say what is wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from tests.browser.stage import Stage, scene
from tests.journey.portal_ground import NOON, PASSWORD, PIXEL, TOTP, mail
from zegel.accounts import policy as policies
from zegel.accounts import proving, submitting
from zegel.accounts.models import Account, IdentityProvider, MailboxProof, Organisation, SendingDomain
from zegel.accounts.sign_in import current_totp, enrol_totp
from zegel.core.mail.mime import as_text
from zegel.core.policy.texts import TextCaps
from zegel.core.secret import Secret
from zegel.edge import chance
from zegel.journey.custody.models import MethodRequest, Recipient, Sms

LONG_ADDRESS: Final = "o.n.t.v.a.n.g.e.r@een.heel.lange.domeinnaam.van.een.praktijk.example.org"
MARKUP: Final = (
    "<p>Beste ontvanger,</p><p>De uitslag is <b>goed</b>. Zie <a href='https://www.example.org/uitleg'>de uitleg</a>."
    "</p><p><img src='cid:logo@x' alt='Ons logo' width=60 height=60><img src='https://beelden.example.org/pixel.gif'></p>"
    "<table border=1><tr><th>Waarde<th>Norm<tr><td>4,2<td>3–5</table><p>Met vriendelijke groet,<br>Balie Poli 4</p>"
)
PDF: Final = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n"
FILES: Final = {
    "verslag van het onderzoek van 23 november.pdf": ("application/pdf", PDF),
    "aantekeningen.txt": ("text/plain; charset=utf-8", "Eén regel.\r\nEn nog een.\r\n".encode()),
    "foto.png": ("image/png", PIXEL),
    "groot.bin": ("application/octet-stream", bytes(1_000_000)),
}
SUBJECT: Final = "Uitslag van het onderzoek"


def invited(stage: Stage, **fields: Any) -> Recipient:
    """A guest who just followed the link in the mail."""
    recipient = stage.ground.recipient(
        stage.ground.conversation(mail(subject=SUBJECT)), str(fields.pop("address", "ontvanger@example.org")), **fields
    )
    stage.visit(f"/m/{stage.ground.link(recipient)}")
    return recipient


def mailed_code(stage: Stage) -> str:
    """From the last code mail."""
    found = re.search(r"\b(\d{6})\b", as_text(stage.ground.mails("code")[-1].partition(b"\r\n\r\n")[2], "utf-8"))
    assert found is not None
    return found[1]


def wrong(code: str) -> str:
    """Another code of six digits."""
    return "000000" if code != "000000" else "111111"


def open_by_sms(stage: Stage) -> None:
    """From the opening page to the message."""
    stage.send("/code")
    stage.send(code=stage.ground.last_code())
    assert stage.page.url.endswith("/read"), stage.page.url


@scene("portal:link", "portal:guest", "portal:guest-code", "portal:guest-verify")
def guest_by_text_message(stage: Stage) -> Iterator[str]:
    """And all that can go wrong on the way."""
    recipient = invited(stage)
    yield "opening"
    stage.unfold()
    yield "opening, all told"
    stage.send("/code")
    yield "code asked"
    stage.send(code="")
    yield "no code"
    stage.send(code=wrong(stage.ground.last_code()))
    yield "wrong code"
    stage.send("/code")
    yield "too soon"
    Sms.objects.update(state="failed")
    stage.go("portal:guest", recipient=recipient.id)
    yield "not sent"
    for _ in range(5):
        stage.go("portal:guest-verify", recipient=recipient.id)
        if stage.shown() != "portal:guest-verify":
            break
        stage.send(code=wrong(stage.ground.last_code()))
    yield "used up"
    stage.visit(f"/m/{'A' * 43}")
    yield "no way in"


@scene("portal:guest-code")
def guest_when_no_text_may_be_sent(stage: Stage) -> Iterator[str]:
    """A limit of the organisation is reached."""
    invited(stage)
    submitting.cap_texts(stage.ground.organisation, TextCaps(texts_per_hour=0))
    stage.send("/code")
    yield "none now"
    submitting.cap_texts(stage.ground.organisation, TextCaps(text_countries=("BE",)))
    stage.send("/code")
    yield "not to this country"


@scene("portal:guest", "portal:guest-verify", "portal:guest-read")
def guest_by_mail(stage: Stage) -> Iterator[str]:
    """With a long address."""
    invited(stage, method="email", address=LONG_ADDRESS)
    yield "opening"
    stage.send("/code")
    yield "code asked"
    stage.send(code=mailed_code(stage))
    yield "read"


@scene("portal:guest", "portal:guest-verify")
def guest_by_access_code(stage: Stage) -> Iterator[str]:
    """Until it is locked."""
    hint = "De naam van de bloem waar we het gisteren aan de telefoon over hadden"
    invited(stage, method="access-code", access_code="tulp", hint=hint)
    yield "opening"
    for _ in range(5):
        stage.send("/verify", code="fout")
        if stage.page.locator("[name=code]").count() == 0:
            break
        if _ == 0:
            yield "wrong"
    yield "locked"


@scene("portal:guest")
def guest_by_account(stage: Stage) -> Iterator[str]:
    """Signed in as somebody else."""
    invited(stage, method="account")
    yield "opening"
    stage.author()
    stage.page.reload()
    yield "another account"


@scene("portal:guest-another-way")
def guest_asks_another_way(stage: Stage) -> Iterator[str]:
    """Asked, told, refused."""
    recipient = invited(stage)
    stage.go("portal:guest-another-way", recipient=recipient.id)
    yield "ask"
    stage.send()
    yield "nothing chosen"
    stage.page.locator("main [name=why]").first.check()
    stage.send()
    yield "told"
    MethodRequest.objects.update(answer="refused", answered_at=NOON)
    stage.page.goto(stage.page.url)
    yield "refused"


@scene("portal:guest", "portal:guest-verify", "portal:guest-devices")
def guest_remembers_the_device(stage: Stage) -> Iterator[str]:
    """And opens the next message without a code."""
    organisation = stage.ground.organisation
    policies.permit(organisation, replace(policies.policy_of(organisation), remembers_devices_days=30))
    recipient = invited(stage)
    stage.send("/code")
    yield "offered"
    stage.send(code=stage.ground.last_code(), remember=True)
    stage.go("portal:guest-devices", recipient=recipient.id)
    yield "devices"
    invited(stage)
    yield "known device"
    stage.go("portal:guest-devices", recipient=recipient.id)
    stage.send()
    yield "none left"


@scene("portal:guest-read", "portal:guest-answer", "portal:guest-leave", "portal:guest-body")
def guest_reads_and_answers(stage: Stage) -> Iterator[str]:
    """A message with everything in it."""
    ground = stage.ground
    octets = mail(markup=MARKUP, pictures={"logo@x": PIXEL}, files=FILES, subject=SUBJECT, cc="collega@example.org")
    conversation = ground.conversation(octets, expires_at=NOON + timedelta(days=20))
    recipient = ground.recipient(conversation)
    ground.recipient(conversation, "collega@example.org")
    stage.visit(f"/m/{ground.link(recipient)}")
    open_by_sms(stage)
    yield "read"
    address = stage.page.url
    stage.page.locator("iframe").scroll_into_view_if_needed()
    body = stage.page.locator("iframe").get_attribute("src")
    assert body is not None
    stage.visit(body)
    yield "body alone"
    stage.page.goto(address)
    stage.send("/answer", text="")
    yield "empty answer"
    stage.page.goto(address)
    stage.page.locator("#answer-text").fill("Hartelijk dank.\nTot morgen.")
    stage.press(stage.page.locator("button[formaction]"))
    yield "draft"
    stage.send("/answer", text="Hartelijk dank.\nTot morgen.")
    yield "answered"
    for number in range(6):
        ground.add(conversation, mail(subject=SUBJECT, text=f"Bericht {number}.\r\n"))
    stage.page.goto(address)
    yield "long conversation"
    stage.send("/leave")
    yield "closed"


@scene("portal:guest-view", "portal:guest-words", "portal:guest-all-words", "portal:guest-images")
def guest_looks_closer(stage: Stage) -> Iterator[str]:
    """Attachments, and the words alone."""
    octets = mail(text=None, markup=MARKUP, pictures={"logo@x": PIXEL}, files=FILES, subject=SUBJECT)
    conversation = stage.ground.conversation(octets)
    recipient = stage.ground.recipient(conversation)
    message = conversation.messages.get()
    stage.visit(f"/m/{stage.ground.link(recipient)}")
    open_by_sms(stage)
    views = [one.get_attribute("href") for one in stage.page.locator("a.view").all()]
    text, picture = (
        next(one for one in views if one and _is(stage, one, kind)) for kind in ("pre.viewed", ".viewed img")
    )
    stage.visit(text)
    yield "text"
    stage.visit(picture)
    yield "image"
    parts = len(octets.split(b"Content-Disposition: attachment")) + 6
    for number in range(parts):
        path = stage.address("portal:guest-view", recipient=recipient.id, message=message.id, number=number)
        if stage.context.request.get(stage.url + path).status == 415:
            stage.visit(path)
            break
    yield "not to be shown"
    stage.go("portal:guest-words", recipient=recipient.id, message=message.id)
    yield "words of one"
    stage.go("portal:guest-all-words", recipient=recipient.id)
    yield "words of all"
    stage.go("portal:guest-read", recipient=recipient.id)
    images = stage.page.locator("form.images").get_attribute("action")
    assert images is not None
    stage.page.evaluate("document.querySelector('form.images').removeAttribute('target')")
    stage.send(images)
    yield "images from elsewhere"


def _is(stage: Stage, address: str, selector: str) -> bool:
    answer = stage.context.request.get(stage.url + address)
    if "text/html" not in answer.headers["content-type"]:
        return False
    stage.visit(address)
    return stage.page.locator(selector).count() > 0


@scene("portal:guest-pdf", "portal:guest-read")
def guest_meets_what_is_gone(stage: Stage) -> Iterator[str]:
    """A destroyed conversation, and a message that is too long for a PDF."""
    ground = stage.ground
    conversation = ground.conversation(mail(text="Een regel.\r\n" * 120_000, subject=SUBJECT))
    recipient = ground.recipient(conversation)
    stage.visit(f"/m/{ground.link(recipient)}")
    open_by_sms(stage)
    stage.go("portal:guest-pdf", recipient=recipient.id, message=conversation.messages.get().id)
    yield "no PDF"
    type(conversation).objects.filter(id=conversation.id).update(expires_at=NOON + timedelta(seconds=1))
    ground.clock.forward(hours=0.01)
    stage.go("portal:guest-read", recipient=recipient.id)
    yield "expired"
    conversation.refresh_from_db()
    other = invited(stage)
    open_by_sms(stage)
    type(conversation).objects.filter(id=other.conversation_id).update(gateway_slot=None)
    other.links.update(slot=b"")
    stage.page.reload()
    yield "keys destroyed"


@scene("home", "account_login")
def everybody(stage: Stage) -> Iterator[str]:
    """The front door, the door of account holders, and what isn't there."""
    stage.go("home")
    yield "front door"
    stage.go("account_login")
    yield "sign-in"
    stage.send(login="", password="")
    yield "sign-in, empty"
    stage.send(login="iemand@example.org", password="fout fout fout")
    yield "sign-in, wrong"
    stage.visit("/nergens/")
    yield "not found"
    stage.go("account_login")
    stage.page.evaluate("document.querySelector('main form [name=csrfmiddlewaretoken]').value = 'x'.repeat(64)")
    stage.send(login="iemand@example.org", password="fout fout fout")
    yield "form too old"
    stage.go("account_login")
    stage.page.evaluate(
        """() => { for (let n = 0; n < 210; n++) { const one = document.createElement('input');
        one.type = 'hidden'; one.name = 'f' + n; document.querySelector('main form').append(one); } }"""
    )
    stage.send(login="iemand@example.org", password="x")
    yield "unreadable request"
    stage.go("portal:join")
    stage.ground.clock.at = None  # type: ignore[assignment]
    stage.send(email="iemand@example.org")
    stage.ground.clock.at = NOON
    yield "our failure"


@scene("identity_start", "identity_answer", "identity_saml_finish")
def somebody_signs_in_with_their_organisation(stage: Stage) -> Iterator[str]:
    """To the service, and back without having been let in."""
    stage.page.route("https://aanmelden.test/**", lambda route: route.fulfill(status=204))  # the browser stays here
    row = sign_in_service(stage.ground.organisation)
    stage.go("identity_start")
    yield "address"
    stage.send(email="geen adres")
    yield "no address"
    stage.send(email="iemand@example.org")
    yield "no service"
    stage.send(email="balie@voorbeeld.test")
    assert stage.page.get_by_text("aanmelden.test").count()
    yield "going there"
    stage.go("identity_answer", provider=row.pk)
    yield "not signed in"
    row.kind = "saml"
    row.save()
    stage.go("identity_saml_finish", provider=row.pk)
    yield "not signed in by SAML"


def sign_in_service(organisation: Organisation) -> IdentityProvider:
    """One that answers for the organisation's domain."""
    SendingDomain.objects.get_or_create(
        name="voorbeeld.test",
        defaults={"organisation": organisation, "ownership_token": "t", "dkim_key": b"", "in_place": True},
    )
    return IdentityProvider.objects.create(
        id=chance.identifier(),
        organisation=organisation,
        kind="oidc",
        name="Medewerkersaccounts",
        issuer="https://aanmelden.test",
        client_id="zegel",
        description={
            "authorization_endpoint": "https://aanmelden.test/authorize",
            "token_endpoint": "https://aanmelden.test/token",
            "jwks_uri": "https://aanmelden.test/keys",
        },
        described_at=NOON,
        created_at=NOON,
        domains=["voorbeeld.test"],
        factor_contexts=["mfa"],
    )


@scene("portal:join", "portal:join-code", "portal:join-password", "mfa_activate_totp", "mfa_view_recovery_codes")
def somebody_makes_an_account(stage: Stage) -> Iterator[str]:
    """From the address to the recovery codes."""
    invited(stage, address="gast@open.test")
    stage.go("portal:join")
    yield "address"
    stage.send(email="geen adres")
    yield "no address"
    stage.send(email="gast@open.test")
    yield "check your e-mail"
    stage.send(code="")
    yield "no code"
    stage.send(code="AAAA-BBBB")
    yield "wrong code"
    MailboxProof.objects.update(passed_at=NOON, mailed_to="gast@open.test")
    stage.go("portal:join-password")
    yield "password"
    stage.send(password1="kort", password2="anders")
    yield "bad password"
    stage.send(password1=PASSWORD, password2=PASSWORD)
    yield "second step"
    stage.send(code="123456")
    yield "second step, wrong"
    secret = (stage.page.locator("#authenticator_secret").text_content() or "").strip()
    stage.send(code=current_totp(Secret(secret)))
    yield "recovery codes"


@scene(
    "portal:forgotten", "portal:forgotten-code", "portal:forgotten-second", "portal:forgotten-password", "account_login"
)
def somebody_forgot_the_password(stage: Stage) -> Iterator[str]:
    """From the address to another password."""
    account = Account.objects.create_user("gast@open.test", PASSWORD)
    enrol_totp(account, TOTP)
    invited(stage, address="gast@open.test")
    stage.go("portal:forgotten")
    yield "address"
    stage.send(email="")
    yield "no address"
    stage.send(email="gast@open.test")
    yield "check your e-mail"
    MailboxProof.objects.update(passed_at=NOON)
    stage.go("portal:forgotten-second")
    yield "second step"
    stage.send(code="123456")
    yield "wrong second step"
    stage.send(code=current_totp(TOTP))
    yield "password"
    stage.send(password1="kort", password2="anders")
    yield "bad password"
    stage.send(password1="een heel andere zin dan eerst", password2="een heel andere zin dan eerst")
    yield "changed"


@scene("mfa_authenticate", "account_inactive")
def at_the_door(stage: Stage) -> Iterator[str]:
    """The second step, and who may not come in."""
    account = stage.account("lezer@voorbeeld.test")
    stage.go("account_login")
    stage.send(login=account.email, password=PASSWORD)
    yield "second step"
    stage.send(code="123456")
    yield "wrong"
    stage.go("account_inactive")
    yield "inactive"


@scene("portal:invited")
def set_up(stage: Stage) -> Iterator[str]:
    """An account that an administrator made."""
    stage.go("portal:invited")
    yield "can't be used"
    account = Account.objects.create_user("nieuw@voorbeeld.test", organisation=stage.ground.organisation)
    proof = proving.invite(account, language=stage.language, now=stage.ground.clock())
    assert proof is not None
    secret = proving.invitation_secret()
    proof.code = proving.mac(stage.ground.keys.codes, proof.id, secret)
    proof.save()
    stage.go("portal:invited-link", token=proving.invitation_token(proof.id, secret).reveal())
    yield "password"
    stage.send(password1="kort", password2="kort")
    yield "password, too short"
