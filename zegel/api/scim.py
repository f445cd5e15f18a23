"""SCIM 2.0: a directory keeps the accounts of an organisation (RFC 7643, RFC 7644; ADR 43).

The schema holds what an account here has, and nothing else. What a directory sends besides is left out, and what it
may only read is left as it is: directories send all that they know, in every request.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Annotated, Any, ClassVar, Final, Self

from django.conf import settings
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from pydantic import ValidationError
from scim2_models import (
    AnyExtension,
    AuthenticationScheme,
    Bulk,
    CaseExact,
    ChangePassword,
    ComplexAttribute,
    Context,
    Error,
    ETag,
    ExtensibleStringEnum,
    Extension,
    Filter,
    ListResponse,
    Meta,
    Mutability,
    Patch,
    PatchOp,
    Required,
    Resource,
    ResourceType,
    ResponseParameters,
    Returned,
    Schema,
    SCIMException,
    ScimPolicy,
    ServiceProviderConfig,
    Sort,
    Uniqueness,
)
from scim2_models.urn import URN

from zegel.accounts import audit, people, provisioning
from zegel.accounts.models import Account, ApiToken, Organisation
from zegel.accounts.provisioning import Entry, Unfit
from zegel.accounts.tokens import Scope
from zegel.api.access import token_of
from zegel.api.answers import Refused
from zegel.api.setup import api
from zegel.core.mail.address import Mailbox, NotAMailbox
from zegel.core.policy.audit import Actor, ActorKind
from zegel.core.policy.people import Objection
from zegel.core.policy.roles import Role
from zegel.edge.log import Broken, log

KIND: Final = "application/scim+json"  # RFC 7644 §3.1
MOST: Final = 500_000  # octets of a request's body
PAGE: Final = 200  # most accounts in one answer
MAILBOX: Final = "urn:zegel:params:scim:schemas:extension:mailbox:1.0:User"
TOLERANT: Final = ScimPolicy(
    unknown=ScimPolicy.Unknown.ignore,
    remove_value_as_filter=ScimPolicy.RemoveValue.apply,
    unmatched_path_filter=ScimPolicy.UnmatchedPathFilter.create,
)
_READ_ONLY: Final = ("emails", "id", "meta", "groups")
_COMPARISON: Final = re.compile(r'\s*(?P<what>[A-Za-z][\w.:-]*)\s+eq\s+(?P<value>"(?:[^"\\]|\\.)*")\s*', re.IGNORECASE)
_LANGUAGES: Final = ("nl", "en")


# --- what an account is, in the words of SCIM --------------------------------------------------------------------


class _Word(ExtensibleStringEnum):
    """One of a list, which may grow."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """As any other word is copied. Before Python 3.11.4 one that isn't on the list could not be."""
        return self


class UserType(_Word):
    """A person who signs in, or an address that people read together."""

    person = "person"
    mailbox = "mailbox"


class Language(_Word):
    """Those that the pages are in; another one stands for the organisation's."""

    nl = "nl"
    en = "en"


class RoleValue(_Word):
    """Roles that a directory may give. Whoever has none is a sender."""

    administrator = "administrator"
    policy = "policy"
    support = "support"


class Name(ComplexAttribute):
    """Of a person."""

    given_name: str | None = None
    family_name: str | None = None


class Email(ComplexAttribute):
    """The one address of an account."""

    value: Annotated[str | None, Mutability.read_only] = None
    type: Annotated[str | None, Mutability.read_only] = None
    primary: Annotated[bool | None, Mutability.read_only] = None


class GivenRole(ComplexAttribute):
    """The one role of an account."""

    value: RoleValue | None = None


class Reader(ComplexAttribute):
    """Somebody who reads and answers as a functional mailbox."""

    value: Annotated[str | None, CaseExact.true] = None  # id of an account
    display: Annotated[str | None, Mutability.read_only] = None


class MailboxExtension(Extension):
    """Of functional mailboxes."""

    __schema__ = URN(MAILBOX)

    readers: list[Reader] | None = None


class User(Resource[AnyExtension]):
    """An account."""

    __schema__ = URN("urn:ietf:params:scim:schemas:core:2.0:User")

    user_name: Annotated[str | None, Uniqueness.server, Required.true, Mutability.immutable, Returned.default] = None
    name: Name | None = None
    display_name: str | None = None
    user_type: Annotated[UserType | None, Mutability.immutable] = None
    preferred_language: Language | None = None
    active: Annotated[bool | None, Required.true] = None  # it always has a value: where none is sent, it is filled in
    emails: Annotated[list[Email] | None, Mutability.read_only] = None
    roles: list[GivenRole] | None = None

    Name: ClassVar[type[ComplexAttribute]] = Name
    Emails: ClassVar[type[ComplexAttribute]] = Email
    Roles: ClassVar[type[ComplexAttribute]] = GivenRole


ScimUser = User[MailboxExtension]


class NotDone(Exception):
    """Ends a request with an error of RFC 7644 §3.12."""

    def __init__(self, status: HTTPStatus, detail: str, kind: str = "", headers: Mapping[str, str] | None = None):
        super().__init__(detail)
        self.error = Error(status=int(status), scim_type=kind or None, detail=detail)
        self.headers = dict(headers or {})


# --- addresses ---------------------------------------------------------------------------------------------------

Serve = Callable[[HttpRequest, ApiToken], HttpResponse]


def _served(request: HttpRequest, ways: Mapping[str, Serve]) -> HttpResponse:
    """One way for all: method, token; then what was asked, as the program that the token stands for."""
    try:
        serve = ways.get("GET" if request.method == "HEAD" else str(request.method))
        if serve is None:
            allowed = {"Allow": ", ".join(sorted({*ways, *({"HEAD"} if "GET" in ways else ())}))}
            raise NotDone(HTTPStatus.METHOD_NOT_ALLOWED, "This address does not take that method.", headers=allowed)
        token = token_of(request, Scope.SCIM, now=api().now())
        with audit.acting(lambda: Actor(ActorKind.TOKEN, token.name)), TOLERANT:
            return serve(request, token)
    except Refused as cause:
        return _error(NotDone(cause.status, cause.problem.title, headers=cause.headers))
    except NotDone as cause:
        return _error(cause)
    except SCIMException as cause:
        return _error(NotDone(HTTPStatus(cause.status), _plain(cause), cause.scim_type))
    except people.Refused as cause:
        return _error(_objection(cause.why))
    except Unfit as cause:
        return _error(NotDone(HTTPStatus.BAD_REQUEST, f"{cause}.".capitalize(), "invalidValue"))
    except Exception as cause:
        log(Broken("scim", cause))
        return _error(NotDone(HTTPStatus.INTERNAL_SERVER_ERROR, "Something broke here. The cause is in the log."))


@csrf_exempt
def users(request: HttpRequest) -> HttpResponse:
    """All of them, or one more."""
    return _served(request, {"GET": _list, "POST": _create})


@csrf_exempt
def search(request: HttpRequest) -> HttpResponse:
    """Some of them."""
    return _served(request, {"POST": _search})


@csrf_exempt
def user(request: HttpRequest, number: str) -> HttpResponse:
    """One of them."""
    return _served(
        request,
        {
            "GET": lambda request, token: _shown(request, _found(token, number)),
            "PUT": lambda request, token: _replace(request, _found(token, number)),
            "PATCH": lambda request, token: _patch(request, _found(token, number)),
            "DELETE": lambda request, token: _delete(_found(token, number)),
        },
    )


@csrf_exempt
def configuration(request: HttpRequest) -> HttpResponse:
    """What this server can do."""
    return _served(request, {"GET": lambda *_: _dumped(_able())})


@csrf_exempt
def resource_types(request: HttpRequest, name: str = "") -> HttpResponse:
    """What there is."""
    return _served(request, {"GET": lambda *_: _one_or_all(request, [_user_type()], name)})


@csrf_exempt
def schemas(request: HttpRequest, name: str = "") -> HttpResponse:
    """What each has."""
    return _served(request, {"GET": lambda *_: _one_or_all(request, _schemas(), name)})


@csrf_exempt
def nothing(request: HttpRequest) -> HttpResponse:
    """Any other address."""
    return _error(NotDone(HTTPStatus.NOT_FOUND, "There is nothing at this address."))


# --- one account -------------------------------------------------------------------------------------------------


def _found(token: ApiToken, number: str) -> Account:
    found = provisioning.listed(_organisation(token)).filter(pk=_digits(number)).first()
    if found is None:
        raise NotDone(HTTPStatus.NOT_FOUND, "There is no such account.")
    return found


def _create(request: HttpRequest, token: ApiToken) -> HttpResponse:
    wanted = _validated(ScimUser, _with_active(_body(request), True), Context.RESOURCE_CREATION_REQUEST)
    account = provisioning.create(_organisation(token), _entry(wanted), now=api().now())
    made = _resource(account)
    response = _dumped(made, Context.RESOURCE_CREATION_RESPONSE, HTTPStatus.CREATED, _parameters(request.GET))
    response["Location"] = _location("Users", str(account.pk))
    return response


def _shown(request: HttpRequest, account: Account) -> HttpResponse:
    return _dumped(_resource(account), Context.RESOURCE_QUERY_RESPONSE, parameters=_parameters(request.GET))


def _replace(request: HttpRequest, account: Account) -> HttpResponse:
    body = _with_active(_body(request), account.is_active)
    wanted = _validated(ScimUser, body, Context.RESOURCE_REPLACEMENT_REQUEST)
    original = _resource(account)
    wanted.user_name = _same_name(wanted.user_name, original.user_name)
    wanted.replace(original)
    return _changed(request, account, wanted, Context.RESOURCE_REPLACEMENT_RESPONSE)


def _patch(request: HttpRequest, account: Account) -> HttpResponse:
    body = _body(request)
    operations = next((body[one] for one in body if one.lower() == "operations"), None)
    if isinstance(operations, list):
        kept = [one for one in map(_permitted, operations) if one is not None]
        if operations and not kept:  # all of it was about what may only be read
            return _shown(request, account)
        body = {**{one: body[one] for one in body if one.lower() != "operations"}, "Operations": kept}
    asked = _validated(PatchOp[ScimUser], body, Context.RESOURCE_PATCH_REQUEST)
    current = _resource(account)
    asked.patch(current)
    return _changed(request, account, current, Context.RESOURCE_PATCH_RESPONSE)


def _changed(request: HttpRequest, account: Account, wanted: Any, context: Context) -> HttpResponse:
    provisioning.change(account, _entry(wanted, was=Role(account.role)), now=api().now())
    now = provisioning.listed(_of(account)).get(pk=account.pk)
    return _dumped(_resource(now), context, parameters=_parameters(request.GET))


def _delete(account: Account) -> HttpResponse:
    provisioning.remove(account, now=api().now())
    return HttpResponse(status=HTTPStatus.NO_CONTENT)


def _resource(account: Account) -> Any:
    entry = provisioning.entry_of(account)
    made = ScimUser(
        id=str(account.pk),
        external_id=entry.external_id or None,
        user_name=str(entry.address),
        name=_name(entry),
        display_name=entry.display_name or None,
        user_type=UserType.mailbox if entry.is_mailbox else UserType.person,
        preferred_language=Language(entry.language) if entry.language in _LANGUAGES else None,
        active=entry.is_active,
        emails=[Email(value=str(entry.address), type="work", primary=True)],
        roles=None if entry.role is Role.SENDER else [GivenRole(value=RoleValue(entry.role.value))],
        meta=Meta(
            resource_type="User",
            created=account.created_at,
            last_modified=provisioning.changed_at(account),
            location=_location("Users", str(account.pk)),
        ),
    )
    if entry.readers:
        addresses = provisioning.addresses_of(sorted(entry.readers))
        readers = [Reader(value=str(one), display=addresses.get(one)) for one in sorted(entry.readers)]
        made[MailboxExtension] = MailboxExtension(readers=readers)
    return made


def _name(entry: Entry) -> Name | None:
    if not (entry.given_name or entry.family_name):
        return None
    return Name(given_name=entry.given_name or None, family_name=entry.family_name or None)


def _entry(wanted: Any, *, was: Role = Role.SENDER) -> Entry:
    """``was``: the role that it has. Raises :class:`NotDone` for what is no account."""
    name = wanted.name or Name()
    more = wanted[MailboxExtension] or MailboxExtension()
    whole = " ".join(part for part in (name.given_name, name.family_name) if part)
    return Entry(
        address=_mailbox(wanted.user_name),
        external_id=_short(wanted.external_id, 255),
        given_name=_short(name.given_name),
        family_name=_short(name.family_name),
        display_name=_short(wanted.display_name or whole),
        language=_language(wanted.preferred_language),
        is_active=wanted.active is not False,
        role=_role(wanted.roles, was),
        is_mailbox=wanted.user_type == "mailbox",
        readers=frozenset(_number(one.value) for one in more.readers or ()),
    )


def _mailbox(text: str | None) -> Mailbox:
    try:
        return Mailbox.parse((text or "").strip())
    except NotAMailbox:
        raise NotDone(
            HTTPStatus.BAD_REQUEST, "userName must be an e-mail address, like naam@voorbeeld.nl.", "invalidValue"
        ) from None


def _same_name(written: str | None, known: str | None) -> str | None:
    """As it is on record, if the same mailbox is meant."""
    try:
        is_same = Mailbox.parse((written or "").strip()).key == Mailbox.parse(known or "").key
    except NotAMailbox:
        is_same = False
    return known if is_same else written


def _role(roles: Sequence[GivenRole] | None, was: Role) -> Role:
    named = {str(one.value) for one in roles or () if one.value is not None}
    if not named:
        return Role.SENDER if was is not Role.OWNER else was
    try:
        (only,) = named
        role = Role(only.lower())
    except ValueError:
        role = None
    if role is None or (role is Role.OWNER and was is not Role.OWNER):
        offered = ", ".join(one.value for one in Role if one is not Role.OWNER)
        raise NotDone(HTTPStatus.BAD_REQUEST, f"An account has one role: one of {offered}.", "invalidValue")
    return role


def _language(written: Any) -> str:
    first = re.split(r"[-_]", str(written or "").lower())[0]
    return first if first in _LANGUAGES else ""


def _number(text: str | None) -> int:
    number = _digits(text or "")
    if not number:
        raise NotDone(HTTPStatus.BAD_REQUEST, "A reader is named by the id of an account.", "invalidValue")
    return number


def _digits(text: str) -> int:
    """0, which no account has, for what can't be the id of one."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0


def _short(text: str | None, most: int = 200) -> str:
    if text and len(text) > most:
        raise NotDone(HTTPStatus.BAD_REQUEST, f"A name has at most {most} characters.", "invalidValue")
    return text or ""


# --- all of them -------------------------------------------------------------------------------------------------


def _list(request: HttpRequest, token: ApiToken) -> HttpResponse:
    return _those(token, request.GET.dict())


def _search(request: HttpRequest, token: ApiToken) -> HttpResponse:
    """The same, asked in a body: what is looked for stands in no address (RFC 7644 §3.4.3)."""
    asked = _body(request)
    return _those(token, {name: value if isinstance(value, list) else str(value) for name, value in asked.items()})


def _those(token: ApiToken, asked: Mapping[str, Any]) -> HttpResponse:
    found = provisioning.listed(_organisation(token))
    if wanted := asked.get("filter"):
        found = _filtered(found, wanted)
    start, count = max(_given(asked, "startIndex", 1), 1), min(max(_given(asked, "count", PAGE), 0), PAGE)
    parameters = _parameters(asked)
    page = [_resource(one) for one in found[start - 1 : start - 1 + count]]
    body = {
        "schemas": [str(ListResponse.__schema__)],
        "totalResults": found.count(),
        "startIndex": start,
        "itemsPerPage": len(page),
        "Resources": [
            one.model_dump(scim_ctx=Context.RESOURCE_QUERY_RESPONSE, response_parameters=parameters) for one in page
        ],
    }
    return HttpResponse(json.dumps(body, ensure_ascii=False), content_type=KIND)


def _filtered(found: QuerySet[Account], written: Any) -> QuerySet[Account]:
    """One comparison for equality: what directories look for before they make an account (RFC 7644 §3.4.2.2)."""
    comparison = _COMPARISON.fullmatch(written) if isinstance(written, str) and len(written) <= 1000 else None
    what = comparison["what"].lower().rpartition("user:")[2] if comparison else ""
    try:
        value = json.loads(comparison["value"]) if comparison else ""
        _demand_characters(value)
    except ValueError:
        what, value = "", ""
    match what:
        case "username" | "emails" | "emails.value":
            try:
                return provisioning.with_address(found, Mailbox.parse(value.strip()))
            except NotAMailbox:
                return found.none()
        case "externalid":
            return provisioning.with_external_id(found, value)
        case "id":
            return found.filter(pk=_digits(value))
        case _:
            raise NotDone(
                HTTPStatus.BAD_REQUEST,
                'Filter by userName, externalId, emails.value or id, like: userName eq "naam@voorbeeld.nl".',
                "invalidFilter",
            )


def _given(asked: Mapping[str, Any], name: str, otherwise: int) -> int:
    written = asked.get(name)
    if written is None:
        return otherwise
    if not isinstance(written, str) or not re.fullmatch(r"-?[0-9]{1,9}", written):
        raise NotDone(HTTPStatus.BAD_REQUEST, f"{name} must be a number.", "invalidValue")
    return int(written)


# --- what the server is ------------------------------------------------------------------------------------------


def _able() -> ServiceProviderConfig:
    return ServiceProviderConfig(
        patch=Patch(supported=True),
        bulk=Bulk(supported=False, max_operations=0, max_payload_size=0),
        filter=Filter(supported=True, max_results=PAGE),
        change_password=ChangePassword(supported=False),
        sort=Sort(supported=False),
        etag=ETag(supported=False),
        authentication_schemes=[
            AuthenticationScheme(
                type=AuthenticationScheme.Type.oauthbearertoken,
                name="Bearer token",
                description="Made with: zegel token add DESCRIPTION --organisation NAME --scope scim",
                primary=True,
            )
        ],
        meta=Meta(resource_type="ServiceProviderConfig", location=_location("ServiceProviderConfig")),
    )


def _user_type() -> ResourceType:
    made = ResourceType.from_resource(ScimUser)
    made.meta = Meta(resource_type="ResourceType", location=_location("ResourceTypes", "User"))
    return made


def _schemas() -> list[Schema]:
    made = [User.to_schema(), MailboxExtension.to_schema()]
    for one in made:
        one.meta = Meta(resource_type="Schema", location=_location("Schemas", str(one.id)))
    return made


def _one_or_all(request: HttpRequest, those: Sequence[Any], name: str) -> HttpResponse:
    if request.GET.get("filter"):  # RFC 7644 §4
        raise NotDone(HTTPStatus.FORBIDDEN, "These are not filtered.")
    if not name:
        kind: Any = type(those[0])
        return _dumped(
            ListResponse[kind](
                total_results=len(those), start_index=1, items_per_page=len(those), resources=list(those)
            )
        )
    found = next((one for one in those if name.lower() in (str(one.id).lower(), str(one.name).lower())), None)
    if found is None:
        raise NotDone(HTTPStatus.NOT_FOUND, "There is no such thing.")
    return _dumped(found)


# --- what comes in, and what goes out ----------------------------------------------------------------------------


def _body(request: HttpRequest) -> dict[str, Any]:
    """Without what may only be read: that is left out, whoever sends it (RFC 7644 §3.3, §3.5.1)."""
    if request.content_type not in (KIND, "application/json"):
        raise NotDone(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"The body must be {KIND}.")
    try:
        is_large = int(request.META.get("CONTENT_LENGTH") or 0) > MOST
    except ValueError:
        is_large = True
    if is_large:
        raise NotDone(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The body is too large.", headers={"Connection": "close"})
    try:
        found = json.loads(request.body)
        _demand_characters(found)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise NotDone(HTTPStatus.BAD_REQUEST, "The body is no JSON object.", "invalidSyntax")
    return _writable(found)


def _demand_characters(found: object) -> None:
    """Raises ``ValueError`` for half of a surrogate pair: JSON can write it (RFC 8259 §8.2), nothing can store it."""
    json.dumps(found, ensure_ascii=False).encode()


def _writable(found: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in found.items() if _first_name(name) not in _READ_ONLY}


def _with_active(body: Mapping[str, Any], otherwise: bool) -> dict[str, Any]:
    """Nobody is let in, or shut out, by what was left out."""
    if any(name.lower() == "active" and value is not None for name, value in body.items()):
        return dict(body)
    return {**{name: value for name, value in body.items() if name.lower() != "active"}, "active": otherwise}


def _permitted(operation: Any) -> Any:
    """One operation of a PATCH; ``None``: it is about what may only be read, and is left out."""
    if not isinstance(operation, dict):
        return operation
    names = {name.lower(): name for name in operation}
    path = operation.get(names.get("path", ""))
    if isinstance(path, str) and path:
        if _first_name(path) == "roles" and str(operation.get(names.get("op", ""))).lower() == "add":
            return {**operation, names["op"]: "replace"}  # an account has one role: another one takes its place
        return None if _first_name(path) in _READ_ONLY else operation
    value = operation.get(names.get("value", ""))
    if isinstance(value, dict):
        kept = _writable(value)
        return {**operation, names["value"]: kept} if kept or not value else None
    return operation


def _first_name(path: str) -> str:
    """Of an attribute that a path leads to, in whatever spelling."""
    return re.split(r"[.\[]", path.lower().removeprefix(str(User.__schema__).lower() + ":"))[0]


def _validated(model: Any, body: Mapping[str, Any], context: Context) -> Any:
    try:
        return model.model_validate(body, scim_ctx=context)
    except ValidationError as cause:
        first = Error.from_validation_errors(cause)[0]
        status = HTTPStatus(first.status or 400)
    # outside of the handler: what was sent must not get into a traceback
    raise NotDone(status, (first.detail or "The request is not understood.")[:300], first.scim_type or "")


def _parameters(asked: Mapping[str, Any]) -> ResponseParameters[Any] | None:
    """RFC 7644 §3.9."""
    named = {name: asked[name] for name in ("attributes", "excludedAttributes") if asked.get(name)}
    found: ResponseParameters[Any] | None = (
        _validated(ResponseParameters[ScimUser], named, Context.DEFAULT) if named else None
    )
    return found


def _dumped(
    what: Any,
    context: Context = Context.RESOURCE_QUERY_RESPONSE,
    status: HTTPStatus = HTTPStatus.OK,
    parameters: ResponseParameters[Any] | None = None,
) -> HttpResponse:
    body = what.model_dump(scim_ctx=context, response_parameters=parameters)
    return HttpResponse(json.dumps(body, ensure_ascii=False), status=status, content_type=KIND)


def _error(cause: NotDone) -> HttpResponse:
    body = json.dumps(cause.error.model_dump(), ensure_ascii=False)
    return HttpResponse(body, status=cause.error.status, content_type=KIND, headers=cause.headers)


def _objection(why: Objection) -> NotDone:
    match why:
        case Objection.HAS_ACCOUNT | Objection.TAKEN | Objection.FREE_ACCOUNT:
            return NotDone(HTTPStatus.CONFLICT, f"{why.value}.".capitalize(), "uniqueness")
        case Objection.NOT_THEIR_DOMAIN | Objection.NOT_A_PERSON | Objection.PERSONAL:
            return NotDone(HTTPStatus.BAD_REQUEST, f"{why.value}.".capitalize(), "invalidValue")
        case _:
            return NotDone(HTTPStatus.FORBIDDEN, f"{why.value}.".capitalize())


def _plain(cause: SCIMException) -> str:
    return cause.detail[:300]


def _location(*parts: Iterable[str] | str) -> str:
    return "/".join((str(settings.ZEGEL.portal.url), "scim/v2", *map(str, parts)))


def _organisation(token: ApiToken) -> Organisation:
    assert token.organisation is not None  # an account's own token never has this scope
    return token.organisation


def _of(account: Account) -> Organisation:
    assert account.organisation is not None
    return account.organisation
