"""Every address of the site, two organisations that have one of everything, and every kind of visitor.

What a route takes stands in :data:`TAKES`: a new route without a line there fails ``test_safe_by_default``.
"""

from __future__ import annotations

import copy
import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Any, Final

from allauth.mfa.models import Authenticator
from cryptography.hazmat.primitives.asymmetric import ec
from django.apps import apps
from django.conf import settings
from django.db import connection, models
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse
from django.utils import timezone
from fido2.cose import ES256
from fido2.utils import websafe_encode
from fido2.webauthn import AttestationObject, AttestedCredentialData, AuthenticatorData, CollectedClientData

from tests.journey.pdfs import pdf
from tests.journey.portal_ground import PIXEL, Clock, Ground, Visitor, mail, signed_in
from tests.web.api_ground import Office
from zegel.accounts import mailboxes, proving, tokens, webhooks
from zegel.accounts.models import (
    Account,
    DirectDeliveryDomain,
    DirectDeliveryList,
    DkimPair,
    DomainMinimum,
    IdentityProvider,
    Organisation,
    OrganisationLogo,
    RememberedDevice,
    SendingDomain,
    SmtpCredential,
)
from zegel.accounts.tokens import Scope
from zegel.accounts.webhooks import Wanted
from zegel.api.operation import Operation
from zegel.api.operations import OPERATIONS
from zegel.core.look import sheet_name
from zegel.core.mail.address import Mailbox
from zegel.core.policy.identity import Kind
from zegel.core.policy.verification import SmsCode
from zegel.core.policy.webhooks import CHOICE
from zegel.core.secret import Secret
from zegel.edge import chance
from zegel.edge.keyring import opening_keys
from zegel.journey import importing
from zegel.journey.custody import memory
from zegel.journey.custody.models import Conversation, Recipient, VerificationData, VerificationImport
from zegel.web.settings import ZEGEL

PHONE: Final = "+31612345678"
MARKUP: Final = '<p>De uitslag is <b>goed</b>. <img src="cid:beeld@voorbeeld.test"></p>'


class Takes(Enum):
    """Which methods a route is made for; any other is answered 405."""

    READS = ("GET", "HEAD")
    FORM = ("GET", "HEAD", "POST")
    ACTS = ("POST",)
    API = ("POST", "no form")  # asks a token in a header, which no browser sends by itself: needs no CSRF token
    API_READS = ("GET", "HEAD", "no form")
    API_LIST = ("GET", "HEAD", "POST", "no form")
    API_CHANGED = ("GET", "HEAD", "PATCH", "no form")
    API_SENT = ("DELETE", "POST", "no form")
    API_GONE = ("DELETE", "GET", "HEAD", "no form")
    API_MADE = ("DELETE", "GET", "HEAD", "PATCH", "no form")
    API_PUT = ("GET", "HEAD", "PUT", "no form")
    API_WHOLE = ("DELETE", "GET", "HEAD", "PUT", "no form")
    API_KEPT = ("DELETE", "GET", "HEAD", "PATCH", "PUT", "no form")
    API_NOTHING = ("no form",)


_READS: Final = """
    identity_answer identity_saml_finish identity_saml_metadata console:sign_in console:sign_in_begin
    console:accounts portal:invited-link console:verification_imported console:verification_import_rows
    home look_sheet look_logo
    account_inactive mfa_index mfa_view_recovery_codes mfa_download_recovery_codes mfa_list_webauthn
    console:overview console:numbers console:message console:recipient console:domains console:domain console:submission
    console:verification console:lists console:list
    portal:link portal:link-devices portal:guest portal:guest-devices portal:guest-read portal:guest-body
    portal:guest-part portal:guest-source portal:guest-view portal:guest-picture portal:guest-archive portal:guest-pdf
    portal:guest-words portal:guest-all-words
    portal:sessions portal:programs portal:inbox portal:recipients portal:inbox-read portal:inbox-body portal:inbox-part
    portal:inbox-source portal:inbox-view portal:inbox-picture portal:inbox-archive portal:inbox-pdf portal:inbox-words
    portal:inbox-all-words
"""
_FORMS: Final = """
    identity_start account_set_password
    console:sign_in_add console:sign_in_provider console:sign_in_forget console:sign_in_remove
    console:verification_import
    console:accounts_search console:account_invite console:account_mailbox console:account console:account_role
    console:account_suspend console:account_resume console:account_reset console:account_successor
    console:account_readers console:account_reader_remove portal:invited
    set_language account_login account_logout account_reauthenticate account_change_password account_reset_password
    mfa_authenticate mfa_reauthenticate mfa_activate_totp mfa_deactivate_totp mfa_generate_recovery_codes
    mfa_add_webauthn mfa_reauthenticate_webauthn mfa_remove_webauthn mfa_edit_webauthn mfa_login_webauthn
    console:search console:submission_proof console:submission_limits console:credentials console:credential
    console:credential_rotate console:credential_end_previous console:disable_credential console:recipients
    console:programs console:program_disable console:account_tokens_end portal:program-add
    console:webhooks console:webhook console:webhook_renew console:webhook_end_previous console:webhook_remove
    console:alarms
    console:direct_delivery console:direct_delivery_domain console:direct_delivery_remove console:minimums
    console:minimum console:minimum_remove console:verification_search console:verification_add
    console:verification_correct console:verification_remove console:list_add_url console:list_add_file
    console:privacy
    console:list_remove console:look console:audit console:audit_term console:trace_term
    console:domain_add console:domain_rotate console:domain_withdraw console:domain_end_previous
    console:domain_remove
    portal:guest-code portal:guest-verify portal:guest-another-way portal:another-way portal:held
    portal:join portal:join-code portal:join-password portal:forgotten portal:forgotten-code portal:forgotten-second
    portal:forgotten-password portal:settings portal:recipient-add portal:recipient-correct portal:recipient-remove
    portal:sent-revoke portal:sent-revoke-one portal:sent-expiry portal:sent-again
"""
_ACTS: Final = """
    console:privacy_export console:privacy_erase
    console:sign_in_test console:webhook_test
    console:verification_import_confirm console:verification_import_cancel
    console:account_invite_again console:account_invitation_withdraw console:domain_check
    console:list_refresh console:list_read console:audit_export console:message_export console:recipient_export
    portal:guest-open portal:guest-device-remove portal:guest-leave portal:guest-images portal:guest-answer
    portal:guest-draft portal:sessions-end portal:inbox-search portal:inbox-images portal:inbox-answer
    portal:inbox-draft portal:program-end
"""


def _of_api() -> Iterator[tuple[str, Takes]]:
    """The API has a table of its own; an address is named after its first row."""
    by_path: dict[str, list[Operation]] = {}
    for row in OPERATIONS:
        by_path.setdefault(row.path, []).append(row)
    for those in by_path.values():
        methods = {row.method for row in those}
        yield (
            f"api:{those[0].name}",
            Takes((*sorted({*methods, *({"HEAD"} if "GET" in methods else ())}), "no form")),
        )


TAKES: Final[Mapping[str, Takes]] = {
    **dict.fromkeys(_READS.split(), Takes.READS),
    **dict.fromkeys(_FORMS.split(), Takes.FORM),
    **dict.fromkeys(_ACTS.split(), Takes.ACTS),
    "api:openapi": Takes.API_READS,
    "api:nothing": Takes.API_NOTHING,
    **dict(_of_api()),
    "identity_saml": Takes.API,  # another site's page posts here; a signature shows whose answer it is
    "scim:users": Takes.API_LIST,
    "scim:user": Takes.API_KEPT,
    "scim:search": Takes.API,
    "scim:search_all": Takes.API,
    **dict.fromkeys(
        (f"scim:{one}" for one in ("configuration", "resource_types", "resource_type", "schemas", "schema")),
        Takes.API_READS,
    ),
    "scim:nothing": Takes.API_NOTHING,
}


@dataclass(frozen=True, slots=True)
class Route:
    """One address of the site; ``parts`` are its variable parts with the kind that each has."""

    name: str
    parts: Mapping[str, str]

    @property
    def takes(self) -> Takes:
        """Its methods."""
        return TAKES[self.name]


def routes() -> list[Route]:
    """All of them, asked of the resolver."""
    return sorted(_below(get_resolver(settings.ROOT_URLCONF).url_patterns, ""), key=lambda one: one.name)


def _below(patterns: list[URLPattern | URLResolver], space: str, parts: Mapping[str, str] = {}) -> Iterator[Route]:
    for one in patterns:
        found = {**parts, **{name: type(kind).__name__ for name, kind in one.pattern.converters.items()}}
        if isinstance(one, URLResolver):
            yield from _below(one.url_patterns, space + (f"{one.namespace}:" if one.namespace else ""), found)
        else:
            yield Route(space + (one.name or ""), found)


@dataclass(frozen=True)
class House:
    """One of everything that an address can name; ``secrets`` are what no address, page or header may show."""

    organisation: Organisation
    administrator: Account
    author: Account
    reader: Account  # a guest with an account
    guest: Recipient
    token: str
    things: Mapping[str, object] = field(repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)

    def thing(self, route: Route, part: str) -> object:
        """What stands at the place of ``part`` in an address."""
        return self.things.get(f"{route.name}/{part}") or self.things[f"{part}/{route.parts[part]}"]

    def address(self, route: Route, **others: object) -> str:
        """Of this house, save for ``others``."""
        return reverse(route.name, kwargs={part: others.get(part) or self.thing(route, part) for part in route.parts})


def whole_ground(folder: Path) -> Ground:
    """Portal and API as a web process has them; the DNS is a table, and the clock stands still."""
    ground = Ground(folder, opening_keys(ZEGEL.keys), Clock())
    ground.configure()
    Office(folder, ground.clock)
    return ground


def house(ground: Ground, name: str, domain: str) -> House:
    """An organisation with one of everything."""
    ground = copy.copy(ground)
    ground.organisation = Organisation.objects.create(name=name, remembers_devices_days=30, remind_after_days=None)
    SendingDomain.objects.create(
        organisation=ground.organisation, name=domain, ownership_token="t", dkim_key=b"", dkim_record="", in_place=True
    )
    ground.author = ground.account(f"balie@{domain}")
    administrator = ground.account(f"beheer@{domain}", role="owner")
    reader = Account.objects.create_user(f"lezer@gast-{domain}", "correct horse battery staple")
    conversation = _conversation(ground, ground.author)
    guest = ground.recipient(conversation, f"ontvanger@gast-{domain}")
    ground.recipient(conversation, reader.email, method="account", decided_at=timezone.now())
    token = ground.link(guest)
    rules = _rules(ground)
    made = tokens.issue(ground.organisation, "x", scopes={Scope.EXPLAIN}, life=timedelta(days=1), now=timezone.now())
    secret = made.secret
    things = {
        "token/StringConverter": token,
        "recipient/UUIDConverter": guest.id,
        "conversation/UUIDConverter": conversation.id,
        "message/UUIDConverter": conversation.messages.get().id,
        "number/IntConverter": _number(ground, conversation),
        "submission/UUIDConverter": conversation.submission_id,
        "portal:held/submission": _held(ground).submission_id,
        "device/UUIDConverter": _device(ground, guest).id,
        "row/UUIDConverter": _remembered(ground, None).id,
        "entry/UUIDConverter": _remembered(ground, ground.author).id,
        "pk/IntConverter": _passkey(administrator).pk,
        **_people(ground, domain),
        "upload/UUIDConverter": (imported := _import(ground).id),
        "import/StringConverter": imported,
        "program/IntConverter": made.token.pk,
        **_of_api_paths(ground, conversation, guest),
        **_of_sign_in(ground, domain),
        "look_sheet/name": sheet_name("#1b5e20"),
        "look_logo/name": OrganisationLogo.objects.create(
            organisation=ground.organisation, name=chance.octets(32).hex(), octets=PIXEL
        ).name,
        **rules,
    }
    secrets = (token, PHONE, PHONE[3:], secret.reveal())
    return House(ground.organisation, administrator, ground.author, reader, guest, token, things, secrets)


def beside(ground: Ground, one: House) -> House:
    """In the same organisation, what belongs to another account and another recipient."""
    ground = copy.copy(ground)
    ground.organisation = one.organisation
    ground.author = ground.account(f"ander@{one.author.email.partition('@')[2]}")
    conversation = _conversation(ground, ground.author)
    guest = ground.recipient(conversation, "ander@gast.test")
    things = {
        **one.things,
        "recipient/UUIDConverter": guest.id,
        "conversation/UUIDConverter": conversation.id,
        "message/UUIDConverter": conversation.messages.get().id,
        "portal:held/submission": _held(ground).submission_id,
        "device/UUIDConverter": _device(ground, guest).id,
        "entry/UUIDConverter": _remembered(ground, ground.author).id,
        "pk/IntConverter": _passkey(ground.author).pk,
    }
    return House(one.organisation, one.administrator, ground.author, one.reader, guest, ground.link(guest), things)


def _is_taken(number: int) -> bool:
    """By something that an address could be of."""
    ours = [one for one in apps.get_models() if one._meta.app_label in ("accounts", "mfa")]
    numbered = [one for one in ours if isinstance(one._meta.pk, models.AutoField)]
    return any(one._base_manager.filter(pk=number).exists() for one in numbered)


def nothing(like: House) -> House:
    """The same addresses for what isn't there at all; numbers have as many digits, where one is left."""

    def unknown(thing: object) -> object:
        match thing:
            case uuid.UUID():
                return chance.identifier()
            case int():
                most = 10 ** len(str(thing))
                several = (*range(most - 1, most // 10 - 1, -1), *range(most, 10 * most))
                return next(one for one in several if not _is_taken(one))
            case _:
                return chance.octets(32).hex()[:43]

    return House(
        like.organisation,
        like.administrator,
        like.author,
        like.reader,
        like.guest,
        "",
        {name: thing if name.startswith("number") else unknown(thing) for name, thing in like.things.items()},
    )


def _conversation(ground: Ground, author: Account) -> Conversation:
    files = {"foto.png": ("image/png", PIXEL), "brief.pdf": ("application/pdf", pdf())}
    octets = mail(markup=MARKUP, pictures={"beeld@voorbeeld.test": PIXEL}, files=files)
    return ground.conversation(octets, author=author)


def _number(ground: Ground, conversation: Conversation) -> int:
    """Of the attachment that is an image: it is shown, downloaded and viewed."""
    row = conversation.messages.get()
    key = ground.unsealer.message_key(row, ground.unsealer.conversation_key(conversation))
    parts = ground.unsealer.head(row.content, key).parts
    return next(number for number, part in enumerate(parts) if part.name == "foto.png")


def _held(ground: Ground) -> Recipient:
    steps = [{"kind": "hold", "required": ["sms", "access-code"]}]
    return ground.recipient(
        _conversation(ground, ground.author),
        "vast@gast.test",
        method="",
        state=Recipient.State.HELD,
        plan={"form": 1, "table": 1, "steps": steps, "findings": []},
        decided_at=ground.clock(),
        told_at=ground.clock(),
    )


def _device(ground: Ground, guest: Recipient) -> RememberedDevice:
    now = ground.clock()
    return RememberedDevice.objects.create(
        id=chance.identifier(),
        organisation=ground.organisation,
        key=guest.key,
        method="access-code",
        secret_hash=b"x" * 32,
        browser="Firefox, Linux",
        created_at=now,
        used_at=now,
        expires_at=now + timedelta(days=30),
    )


def _remembered(ground: Ground, whose: Account | None) -> VerificationData:
    mailbox = Mailbox.parse(f"bekend-{chance.octets(4).hex()}@gast.test")
    memory.supply(
        ground.organisation,
        mailbox,
        SmsCode(Secret(PHONE)),
        account=whose,
        origin=VerificationData.Origin.ADMINISTRATOR,
        now=ground.clock(),
        sealing=ground.keys.sealing,
    )
    return VerificationData.objects.get(key=mailbox.key)


def _passkey(account: Account) -> Authenticator:
    """As a browser registers one; nobody has its private half any more."""
    key = ES256.from_cryptography_key(  # type: ignore[no-untyped-call]
        ec.generate_private_key(ec.SECP256R1()).public_key()
    )
    made = AttestedCredentialData.create(bytes(16), chance.octets(16), key)
    flags = AuthenticatorData.FLAG.UP | AuthenticatorData.FLAG.UV | AuthenticatorData.FLAG.AT
    shown = AttestationObject.create("none", AuthenticatorData.create(bytes(32), flags, 0, made), {})
    said = CollectedClientData.create("webauthn.create", chance.octets(32), "http://localhost")
    credential = {
        "id": websafe_encode(made.credential_id),
        "rawId": websafe_encode(made.credential_id),
        "type": "public-key",
        "response": {"clientDataJSON": websafe_encode(said), "attestationObject": websafe_encode(shown)},
        "clientExtensionResults": {"credProps": {"rk": True}},
    }
    data = {"name": "laptop", "credential": credential}
    return Authenticator.objects.create(user=account, type=Authenticator.Type.WEBAUTHN, data=data)


def _import(ground: Ground) -> VerificationImport:
    """A file with a good row and a bad one, that was judged and waits for a word."""
    receiving = importing.Receiving(ground.blobs)
    receiving.feed(f"email_address,phone_number\ngoed@gast.test,{PHONE}\nslecht@gast.test,1\n".encode())
    received = receiving.finish()
    assert isinstance(received, importing.Received)
    now = timezone.now()
    row = importing.stage(received, ground.organisation, ground.author, now=now, sealing=ground.keys.sealing)
    row.complaints.create(line=3, column="phone_number", fault="phone", address="slecht@gast.test")
    row.state, row.judged_at, row.rows, row.bad, row.to_add = VerificationImport.State.READY, now, 2, 1, 1
    row.save()
    return row


def _people(ground: Ground, domain: str) -> dict[str, object]:
    colleague, mailbox = ground.account(f"collega@{domain}"), ground.account(f"info@{domain}", is_functional=True)
    mailboxes.add_reader(mailbox, colleague)
    proof = proving.invite(ground.account(f"nieuw@{domain}"), language="nl", now=ground.clock())
    assert proof is not None
    secret = proving.invitation_secret()
    proof.code, proof.told = proving.mac(ground.keys.codes, proof.id, secret), "invitation"
    proof.save()
    return {
        "account/IntConverter": colleague.pk,
        "console:account_reader_remove/account": mailbox.pk,
        "console:account_readers/account": mailbox.pk,
        "reader/IntConverter": colleague.pk,
        "portal:invited-link/token": proving.invitation_token(proof.id, secret).reveal(),
    }


def _of_sign_in(ground: Ground, domain: str) -> dict[str, object]:
    """A sign-in service of each kind, and what its directory keeps."""
    known = {
        "authorization_endpoint": f"https://aanmelden.{domain}/authorize",
        "token_endpoint": f"https://aanmelden.{domain}/token",
        "jwks_uri": f"https://aanmelden.{domain}/keys",
        "entity_id": f"https://aanmelden.{domain}/saml",
        "sso_url": f"https://aanmelden.{domain}/saml/sso",
        "certificates": ["MIIB"],
    }
    made = {
        kind: IdentityProvider.objects.create(
            id=chance.identifier(),
            organisation=ground.organisation,
            kind=kind.value,
            name=f"Medewerkers ({kind.value})",
            issuer=f"https://aanmelden.{domain}",
            client_id="zegel",
            description=known,
            described_at=timezone.now(),
            created_at=timezone.now(),
            domains=[domain] if kind is Kind.OIDC else [],
        ).pk
        for kind in Kind
    }
    return {
        "provider/UUIDConverter": made[Kind.OIDC],
        **{f"{one}/provider": made[Kind.SAML] for one in ("identity_saml", "identity_saml_finish")},
        "identity_saml_metadata/provider": made[Kind.SAML],
        "console:sign_in_add/number": chance.identifier(),
        "scim:user/number": str(ground.author.pk),
        "scim:resource_type/name": "User",
        "scim:schema/name": "urn:ietf:params:scim:schemas:core:2.0:User",
    }


def _of_api_paths(ground: Ground, conversation: Conversation, guest: Recipient) -> dict[str, object]:
    """What the API's addresses name."""
    return {
        "webhook/StringConverter": _webhook(ground),
        "credential/StringConverter": SmtpCredential.objects.create(
            organisation=ground.organisation,
            description="server",
            username=chance.octets(6).hex(),
            secret_hash=b"x" * 32,
        ).pk,
        "domain/StringConverter": "geclaimd.test",
        "account/StringConverter": ground.author.pk,
        "row/StringConverter": _remembered(ground, None).id,
        "submission/StringConverter": conversation.submission_id,
        "conversation/StringConverter": conversation.id,
        "message/StringConverter": conversation.messages.get().id,
        "number/StringConverter": _number(ground, conversation),
    }


def _webhook(ground: Ground) -> uuid.UUID:
    """As an administrator adds one."""
    wanted = Wanted("een programma", "https://programma.voorbeeld.test/zegel", frozenset(CHOICE))
    made = webhooks.add(ground.organisation, wanted, sealing=ground.keys.sealing, now=timezone.now())
    identity: uuid.UUID = made.webhook.pk
    return identity


def _claim(ground: Ground) -> SendingDomain:
    """A domain that both organisations say is theirs, with DKIM keys that can be ended."""
    claim = SendingDomain.objects.create(
        organisation=ground.organisation, name="geclaimd.test", ownership_token="t", dkim_key=b"", dkim_record=""
    )
    previous = DkimPair.Stage.PREVIOUS
    DkimPair.objects.create(domain=claim, stage=previous, selector="oud", key=b"", record="", at=timezone.now())
    return claim


def _rules(ground: Ground) -> dict[str, object]:
    mine = {"organisation": ground.organisation}
    return {
        "credential/IntConverter": SmtpCredential.objects.create(
            **mine, description="server", username=chance.octets(6).hex(), secret_hash=b"x" * 32
        ).pk,
        "webhook/UUIDConverter": _webhook(ground),
        "entry/IntConverter": DirectDeliveryDomain.objects.create(**mine, domain="rechtstreeks.test").pk,
        "domain/IntConverter": _claim(ground).pk,
        "minimum/IntConverter": DomainMinimum.objects.create(**mine, domain="minstens.test", method="sms").pk,
        "listed/IntConverter": DirectDeliveryList.objects.create(
            **mine, name="lijst", url="https://lijst.test/x", read_at=timezone.now()
        ).pk,
    }


# Visitors


def stranger(ground: Ground, one: House) -> Client:
    """Nobody knows this browser."""
    return Visitor(ground).client


def guest(ground: Ground, one: House) -> Client:
    """Holds the link of one message."""
    visitor = Visitor(ground)
    assert visitor.follow(one.token).status_code == 303
    return visitor.client


def proven_guest(ground: Ground, one: House) -> Client:
    """Entered the code, and did not read yet."""
    visitor = Visitor(ground)
    visitor.open(one.guest, one.token)
    return visitor.client


def author(ground: Ground, one: House) -> Client:
    """Sends for the organisation."""
    return settled(signed_in(one.author))


def reader(ground: Ground, one: House) -> Client:
    """A guest with an account, who got something."""
    return settled(signed_in(one.reader))


def administrator(ground: Ground, one: House) -> Client:
    """Of the organisation."""
    return settled(signed_in(one.administrator))


def settled(client: Client) -> Client:
    """What the first page after signing in notes is noted."""
    assert client.get("/account/settings/").status_code == 200
    return client


VISITORS: Final[Mapping[str, Callable[[Ground, House], Client]]] = {
    made.__name__.replace("_", " "): made for made in (stranger, guest, proven_guest, author, reader, administrator)
}


# What a request leaves behind


def rows() -> dict[str, set[str]]:
    """The whole database: of every table, every row."""
    with connection.cursor() as cursor:
        found = {}
        for table in connection.introspection.table_names():
            cursor.execute(f'SELECT * FROM "{table}"')
            found[table] = {repr(row) for row in cursor.fetchall()}
    return found


def changed(before: Mapping[str, set[str]], after: Mapping[str, set[str]]) -> set[str]:
    """Tables that are not as they were."""
    return {table for table in before.keys() | after.keys() if before.get(table) != after.get(table)}


def files(folder: Path) -> set[Path]:
    """Everything below a folder."""
    return set(folder.rglob("*"))


_PASSING: Final = re.compile(r'(name="(?:csrfmiddlewaretoken|nonce)" value=")[^"]*')


def octets(response: Any, named: Mapping[str, object]) -> bytes:
    """Of the answer, without what is made anew for every page, and with one word in the place of what the address
    ``named``."""
    body = b"".join(response.streaming_content) if response.streaming else response.content
    text = _PASSING.sub(r"\1", body.decode("utf-8", "replace"))
    return without(text, named).encode()


def without(text: str, named: Mapping[str, object]) -> str:
    """One word in the place of what an address named."""
    for thing in named.values():
        text = re.sub(rf"(?:(?<=/)|(?<=%2F)){thing}(?=[/.\"&%]|$)", "THIS", text)
    return text
