"""Forms of the site, filled in as people do: each route that takes one is really used, and changes something.

A route of the console that takes a POST stands in :data:`DONE` or in :data:`READS`; ``test_audit_everything`` fails
for one that doesn't.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from html.parser import HTMLParser
from typing import Any, Final, cast
from urllib.parse import urlsplit

from allauth.socialaccount.models import SocialAccount
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone

from tests.journey.portal_ground import PASSWORD, Ground
from tests.peers.site import Site, gives
from tests.web.whole_site import House, Route, routes
from zegel.accounts import tokens
from zegel.accounts.models import Account, DirectDeliveryList, IdentityProvider
from zegel.accounts.tokens import Scope
from zegel.core.policy.case import Asked, Case
from zegel.core.policy.precedence import plan, plan_to_json
from zegel.journey.custody.models import Recipient

NUMBERS: Final = ("+31 6 23456781", "+31 6 34567812", "+31 6 45678123", "+31 6 56781234")
CODES: Final = ("narcis-narcis-narcis", "tulp-tulp-tulp-tulp")
IDENTITY_SECRET: Final = "geheim-van-de-aanmelddienst"
NEW_PASSWORD: Final = "a bicycle under the stairs"


@dataclass(frozen=True, slots=True)
class Place:
    """Where it is done."""

    ground: Ground
    house: House
    keeper: Site


@dataclass(frozen=True, slots=True)
class Done:
    """What somebody fills in, in the form of a page; the rest of the form is sent as the page has it."""

    filled: Mapping[str, object] = field(default_factory=dict)
    on: str = ""  # the page that has the form, where it is another one
    on_parts: Callable[[Place], Mapping[str, object]] = lambda _: {}  # of its address, where they are others
    is_of_an_answer: bool = False  # its form is on no page that can be fetched
    choose: tuple[str, str] = ("", "")  # where it has several: the one in which that field has that value
    before: Callable[[Place], object] = lambda _: None
    fill: Callable[[Place], Mapping[str, object]] = lambda _: {}


def _file(octets: bytes) -> SimpleUploadedFile:
    return SimpleUploadedFile("lijst.txt", octets, "text/plain")


def _is_of_file(place: Place) -> None:
    DirectDeliveryList.objects.filter(organisation=place.house.organisation, name="lijst").update(url="")


def _is_of_keeper(place: Place) -> None:
    url = place.keeper.url(host="127.0.0.1")
    DirectDeliveryList.objects.filter(organisation=place.house.organisation, name="lijst").update(url=url)


def _is_decided(place: Place) -> None:
    """By a table that can be replayed, so that another way may be allowed."""
    case = Case(asked=Asked())
    decided = {"plan": plan_to_json(plan(case), case), "decided_at": place.ground.clock()}
    Recipient.objects.filter(id=place.house.guest.id).update(**decided)


def _long_ago(place: Place) -> None:
    """Of what was notified once more: so that it may be again."""
    place.ground.clock.forward(hours=1)


def _who_is_held(place: Place) -> Mapping[str, object]:
    submission = cast("uuid.UUID", place.house.things["portal:held/submission"])
    held = Recipient.objects.get(submission=submission, state=Recipient.State.HELD)
    return {f"{held.id.hex}-phone": NUMBERS[3]}


def _the_author(place: Place) -> Mapping[str, object]:
    return {"address": place.house.author.email}


def _its_mailbox(place: Place) -> Mapping[str, object]:
    return {"account": place.house.things["console:account_readers/account"]}


def _the_guest(place: Place) -> Mapping[str, object]:
    return {"address": place.house.guest.address}


_IDENTITY: Final = {"kind": "oidc", "client_id": "zegel", "secret": IDENTITY_SECRET}


def _identity(place: Place) -> Mapping[str, object]:
    domain = place.house.author.email.partition("@")[2]
    return {"issuer": _issuer(place), "domains": domain}


def _issuer(place: Place) -> str:
    return place.keeper.url(host="127.0.0.1").rpartition("/")[0]


def _answers_for_identity(place: Place) -> None:
    """The keeper of lists is a sign-in service as well (OpenID Connect Discovery §4), and the one that is there."""
    issuer = _issuer(place)
    names = ("authorization_endpoint", "token_endpoint", "jwks_uri")
    said = {"issuer": issuer, **{name: f"{issuer}/{name}" for name in names}}
    place.keeper.answers["/.well-known/openid-configuration"] = gives(json.dumps(said).encode())
    IdentityProvider.objects.filter(pk=str(place.house.things["provider/UUIDConverter"])).update(issuer=issuer)


def _it_made_a_token(place: Place) -> None:
    account = Account.objects.get(pk=cast("int", place.house.things["account/IntConverter"]))
    made = {"scopes": {Scope.EXPLAIN}, "life": timedelta(days=9), "now": timezone.now(), "by": account}
    tokens.issue(place.house.organisation, "van een collega", **made)  # type: ignore[arg-type]


def _is_bound(place: Place) -> None:
    """Somebody signed in by it."""
    provider = str(place.house.things["provider/UUIDConverter"])
    SocialAccount.objects.create(provider=provider, user=place.house.author, uid="somebody")


READS: Final = {
    "console:privacy": "says how much is known of an address",
    "console:search": "finds messages",
    "console:verification_search": "finds verification data",
    "console:accounts_search": "finds accounts",
    "console:audit": "finds entries",
}
"""Of the console: what a POST doesn't change anything with, and why it is one."""

LATER: Final = {
    "console:verification_import": "a file that waits for a word: nothing of it is in force",
    "console:verification_import_confirm": "dispatch notes it, with who confirmed it, when the rows are imported",
    "console:verification_import_cancel": "nothing of it was in force",
    "console:webhook_test": "a request that says that it is a test",
    "console:sign_in_test": "what the service says of itself, asked anew; it stays who it was",
    "console:domain_check": "what was found; that a domain stands otherwise than before is noted with it",
}
"""Of the console: what stores something that is no act yet, and why; their own tests look for the entry."""

EXPORTS: Final = {
    "console:audit_export",
    "console:message_export",
    "console:recipient_export",
    "console:privacy_export",
}
"""They change nothing but the log."""

DONE: Final[Mapping[str, Done]] = {
    "console:submission_proof": Done({"authentication": "either", "networks": "192.0.2.0/24"}, on="console:submission"),
    "console:submission_limits": Done({"messages_per_hour": "500"}, on="console:submission"),
    "console:credentials": Done({"description": "een mailserver"}),
    "console:credential": Done({"networks": "192.0.2.10", "messages_per_day": "900"}),
    "console:credential_rotate": Done(),
    "console:credential_end_previous": Done(),
    "console:disable_credential": Done(),
    "console:programs": Done({"description": "een programma", "scopes": ["explain"]}),
    "console:program_disable": Done(),
    "console:webhooks": Done(
        {"description": "een dossier", "url": "https://dossier.voorbeeld.test/z", "events": ["recipient.opened"]}
    ),
    "console:webhook": Done({"description": "een ander dossier"}),
    "console:webhook_renew": Done(),
    "console:webhook_end_previous": Done(),
    "console:webhook_remove": Done(),
    "console:alarms": Done({"whom": "these", "addresses": "dienst@voorbeeld.test"}),
    "console:recipients": Done({"hold_days": "7", "allowed": ["sms", "access-code"]}),
    "console:direct_delivery": Done({"domain": "nieuw.test"}),
    "console:direct_delivery_domain": Done({"tls": "13"}),
    "console:direct_delivery_remove": Done(),
    "console:minimums": Done({"domain": "meer.test", "minimum": "sms"}),
    "console:minimum": Done({"minimum": "account"}),
    "console:minimum_remove": Done(),
    "console:verification_add": Done({"address": "client@gast.test", "phone": NUMBERS[0]}),
    "console:verification_correct": Done({"phone": NUMBERS[1]}),
    "console:verification_remove": Done(),
    "console:list_add_url": Done({"name": "koepel"}, fill=lambda place: {"url": place.keeper.url(host="127.0.0.1")}),
    "console:list_add_file": Done({"name": "bestand", "file": _file(b"c.test\n")}),
    "console:list_read": Done({"file": _file(b"d.test\ne.test\n")}, on="console:list", before=_is_of_file),
    "console:list_refresh": Done(on="console:list", before=_is_of_keeper),
    "console:list_remove": Done(),
    "console:domain_add": Done({"domain": "nieuw-domein.test"}),
    "console:domain_end_previous": Done({"early": "yes"}),
    "console:domain_rotate": Done(),
    "console:domain_withdraw": Done(),
    "console:domain_remove": Done(),
    "console:account_invite": Done({"address": "nieuwst@gemeente.test", "role": "sender"}),
    "console:account_mailbox": Done({"address": "loket@gemeente.test"}),
    "console:account": Done({"display_name": "Anders"}),
    "console:account_role": Done({"role": "support"}),
    "console:account_readers": Done(on="console:account", on_parts=_its_mailbox, fill=_the_author),
    "console:account_reader_remove": Done(),
    "console:account_invite_again": Done(on="console:account"),
    "console:account_invitation_withdraw": Done(on="console:account"),
    "console:account_tokens_end": Done(before=_it_made_a_token),
    "console:account_suspend": Done(),
    "console:account_resume": Done(),
    "console:account_reset": Done(),
    "console:account_successor": Done(fill=_the_author),
    "console:message_export": Done(on="console:message"),
    "console:recipient_export": Done(on="console:recipient"),
    "console:look": Done({"accent": "#1b5e20"}),
    "console:audit_export": Done(on="console:audit"),
    "console:audit_term": Done({"days": "365"}),
    "console:trace_term": Done({"days": "500"}),
    "console:sign_in_provider": Done({"name": "Dienst", **_IDENTITY}, before=_answers_for_identity, fill=_identity),
    "console:sign_in_forget": Done(before=_is_bound, fill=lambda place: {"email": place.house.author.email}),
    "console:sign_in_remove": Done(),
    "console:sign_in_add": Done({"name": "Andere dienst", **_IDENTITY}, fill=_identity),
    "console:privacy_export": Done(fill=_the_guest, is_of_an_answer=True),
    "console:privacy_erase": Done(fill=_the_guest, is_of_an_answer=True),
}
"""In this order: what comes earlier is there for what comes later."""

DONE_BY_AUTHORS: Final[Mapping[str, Done]] = {
    "portal:recipient-add": Done({"address": "ander@gast.test", "code": CODES[0]}),
    "portal:recipient-correct": Done({"phone": NUMBERS[2]}),
    "portal:recipient-remove": Done(),
    "portal:held": Done(fill=_who_is_held),
    "portal:another-way": Done({"access-code-code": CODES[1]}, choose=("way", "access-code"), before=_is_decided),
    "portal:sent-again": Done(before=_long_ago),
    "portal:sent-expiry": Done({"day": "2026-12-24"}),
    "portal:sent-revoke-one": Done(),
    "portal:sent-revoke": Done(),
    "account_change_password": Done({"oldpassword": PASSWORD, "password1": NEW_PASSWORD, "password2": NEW_PASSWORD}),
}
"""What account holders do that concerns their organisation."""


# Forms of a page


class _Forms(HTMLParser):
    """The forms of a page, with what a browser sends of each if nothing is filled in."""

    def __init__(self) -> None:
        super().__init__()
        self.forms: list[tuple[str, dict[str, list[str]]]] = []
        self._select = self._area = ""
        self._first: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        name, value = found.get("name") or "", found.get("value") or ""
        match tag:
            case "form":
                self.forms.append((found.get("action") or "", {}))
            case "input" if name and self.forms:
                kind = found.get("type", "text")
                if kind in ("checkbox", "radio") and "checked" in found:
                    self._add(name, value or "on")
                elif kind not in ("checkbox", "radio", "file", "submit"):
                    self._add(name, value)
            case "textarea" if self.forms:
                self._area = name
                self._add(name, "")
            case "select":
                self._select, self._first = name, None
            case "option" if self._select and self.forms:
                self._first = value if self._first is None else self._first
                if "selected" in found:
                    self._add(self._select, value)

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea":
            self._area = ""
        if tag == "select":
            if self.forms and self._first is not None and self._select not in self.forms[-1][1]:
                self._add(self._select, self._first)
            self._select = ""

    def handle_data(self, data: str) -> None:
        if self._area:
            self.forms[-1][1][self._area] = [data.removeprefix("\n")]

    def _add(self, name: str, value: str) -> None:
        self.forms[-1][1].setdefault(name, []).append(value)


def forms_in(body: bytes) -> list[tuple[str, dict[str, list[str]]]]:
    """Of a page; none in what is no page."""
    parser = _Forms()
    if body.lstrip().startswith(b"<!"):
        parser.feed(body.decode())
    return parser.forms


def form_on(client: Client, page: str, address: str, choose: tuple[str, str]) -> dict[str, object]:
    """The form of a page that leads to an address, as a browser sends it."""
    name, value = choose
    answer = client.get(page)
    assert answer.status_code == 200, (page, answer.status_code)
    found = [fields for action, fields in forms_in(answer.content) if urlsplit(action or page).path == address]
    found = [fields for fields in found if not name or fields.get(name) == [value]]
    assert found, (page, address, "no such form")
    return dict(found[0])


def do(client: Client, route: Route, done: Done, place: Place) -> bytes:
    """Fills the form in and sends it, once more where one is asked whether it is meant; what was answered."""
    address, page = place.house.address(route), place.house.address(route)
    if done.on:
        elsewhere = next(one for one in routes() if one.name == done.on)
        page = place.house.address(elsewhere, **done.on_parts(place))
    form = {} if done.is_of_an_answer else form_on(client, page, address, done.choose)
    fields = {**form, **done.filled, **done.fill(place)}
    answer = client.post(address, fields)
    assert answer.status_code < 400, (route.name, answer.status_code)
    body = whole(answer)
    asked = [fields for _, fields in forms_in(body) if "confirmed" in fields]
    if asked:
        answer = client.post(address, asked[0])
        assert answer.status_code < 400, (route.name, answer.status_code)
        body = whole(answer)
    return body


def whole(answer: Any) -> bytes:
    """The body, also of one that streams."""
    return b"".join(answer.streaming_content) if answer.streaming else answer.content
