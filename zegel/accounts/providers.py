"""The identity providers of organisations: added, described, changed, removed; and which one answers for a domain.

What a provider says about itself is fetched when it is added or refreshed, never for a visitor who only begins to sign
in: so nobody can make this gateway ask anything of anybody.
"""

from __future__ import annotations

import hmac
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import requests
from allauth.socialaccount.models import SocialAccount
from django.conf import settings
from django.db import IntegrityError, transaction

from zegel.accounts import audit, sessions
from zegel.accounts.models import Account, IdentityProvider, Organisation, SendingDomain
from zegel.core.clock import Instant
from zegel.core.mail.address import Domain
from zegel.core.policy.audit import Act, Details
from zegel.core.policy.identity import Kind, NotAProvider, Rules, Unfit
from zegel.core.policy.roles import Role
from zegel.core.seal.slot import disclose, enclose
from zegel.core.secret import Secret
from zegel.edge import asking, chance, fetch
from zegel.web.keys import web_key

WELL_KNOWN: Final = "/.well-known/openid-configuration"  # OpenID Connect Discovery §4
_NEEDED: Final = ("authorization_endpoint", "token_endpoint", "jwks_uri")
_KEPT: Final = (*_NEEDED, "userinfo_endpoint", "token_endpoint_auth_methods_supported", "issuer")
_FLAG: Final = "authorization_response_iss_parameter_supported"  # RFC 9207 §3
LONGEST_CONTEXTS: Final = 20


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an administrator fills in."""

    kind: Kind
    name: str
    issuer: str  # OpenID Connect: the issuer's URL; SAML: the URL of the metadata, or the metadata itself
    domains: tuple[Domain, ...]
    client_id: str = ""
    secret: Secret[str] | None = None  # None: as it was
    is_required: bool = False
    makes_accounts: bool = False
    factor_contexts: tuple[str, ...] = ()


def add(
    organisation: Organisation, wanted: Wanted, *, now: Instant, number: uuid.UUID | None = None
) -> IdentityProvider:
    """Asks the provider what it is, then stores it. ``number``: what stands in the addresses that it was registered
    with there, where it was before. Raises :class:`NotAProvider`."""
    one = IdentityProvider(id=number or chance.identifier(), organisation=organisation, created_at=now)
    _fill(one, wanted, now=now)
    with transaction.atomic():
        if IdentityProvider.objects.filter(pk=one.pk).exists():
            raise NotAProvider("name", Unfit.NAME_TAKEN)
        _store(one)
        _note(one, "added")
        _end_what_is_closed(one, frozenset())
    return one


def change(one: IdentityProvider, wanted: Wanted, *, now: Instant) -> None:
    """As :func:`add`, for one that is there. With another issuer it is another provider: it knows nobody."""
    kind, issuer, covered = one.kind, one.issuer, {*one.domains, *one.factor_contexts}
    required = frozenset(one.domains) if one.is_required else frozenset[str]()
    _fill(one, wanted, now=now)
    with transaction.atomic():
        _store(one)
        if (one.kind, one.issuer) != (kind, issuer):
            forget_subjects(one)
        elif not covered <= {*one.domains, *one.factor_contexts}:  # by what counts no more somebody may be in
            _end_sessions(one)
        _note(one, "changed")
        _end_what_is_closed(one, required)


def remove(one: IdentityProvider) -> int:
    """Nobody signs in by it any more; who did is signed out. Accounts stay. Returns how many it was used by."""
    with transaction.atomic():
        known = forget_subjects(one)
        _note(one, "removed")
        one.delete()
    return known


def refresh(one: IdentityProvider, *, now: Instant) -> None:
    """Asks once more what it is: it can be reached, and is who it was. Raises :class:`NotAProvider`."""
    found = described(Kind(one.kind), one.issuer, one.description)
    if found.get("entity_id", one.issuer) != one.issuer:
        raise NotAProvider("issuer", Unfit.OTHER_ISSUER, str(found["entity_id"])[:200])
    with transaction.atomic():
        if found != one.description:
            _note(one, "described-anew")
        one.description, one.described_at = found, now
        one.save(update_fields=["description", "described_at"])


def forget_subjects(one: IdentityProvider) -> int:
    """Inside a transaction: whom it means by which subject is learnt anew; who signed in by it is signed out."""
    _end_sessions(one)
    return int(SocialAccount.objects.filter(provider=str(one.pk)).delete()[0])


def _end_sessions(one: IdentityProvider) -> None:
    bound = SocialAccount.objects.filter(provider=str(one.pk))
    for account in Account.objects.filter(socialaccount__in=bound):
        sessions.end_all(account)


def forget_subject(one: IdentityProvider, account: Account) -> bool:
    """An administrator knows that the address is another person's now, or that the provider names people anew."""
    with transaction.atomic():
        gone = SocialAccount.objects.filter(provider=str(one.pk), user=account).delete()[0]
        sessions.end_all(account)
        audit.note(Act.PROVIDER_CHANGED, one.organisation, one.name, {"what": "subject-forgotten", "of": account.email})
    return bool(gone)


def of_domain(domain: Domain) -> IdentityProvider | None:
    """Which answers for addresses of this domain: a sending domain in place of the provider's organisation."""
    in_place = SendingDomain.objects.filter(name=domain.ascii, in_place=True)
    owner = in_place.values_list("organisation", flat=True).first()
    if owner is None:
        return None
    found = IdentityProvider.objects.filter(organisation=owner).select_related("organisation").order_by("created_at")
    return next((one for one in found if domain.ascii in one.domains), None)


def rules_of(one: IdentityProvider) -> Rules:
    """As of now: a domain that is not in place any more, or went to another organisation, doesn't count."""
    mine = SendingDomain.objects.filter(organisation=one.organisation_id, name__in=one.domains, in_place=True)
    return Rules(
        frozenset(mine.values_list("name", flat=True)), one.makes_accounts, frozenset(map(str, one.factor_contexts))
    )


def required_for(account: Account) -> IdentityProvider | None:
    """The provider by which this account must sign in. Owners have their password as a way back: who can't reach the
    provider could not repair its settings either."""
    if account.organisation_id is None or account.role == Role.OWNER.value:
        return None
    # Also while the domain is not in place: nothing falls back to less than was asked, whatever becomes of a record.
    required = IdentityProvider.objects.filter(organisation=account.organisation_id, is_required=True)
    domain = account.mailbox.domain.ascii
    return next((one for one in required.order_by("created_at") if domain in one.domains), None)


def subject_key(one: IdentityProvider, subject: str) -> str:
    """How a subject is stored: enough to recognise it. It can be a number that people have for life."""
    return hmac.digest(web_key("subjects").reveal(), f"{one.pk}/{subject}".encode(), "sha256").hex()


def noted_of(one: IdentityProvider, subject: str) -> dict[str, Any]:
    """What was noted here of whom the provider means by that; see :func:`zegel.accounts.sign_in.secured`."""
    found = SocialAccount.objects.filter(provider=str(one.pk), uid=subject_key(one, subject))
    return dict(found.values_list("extra_data", flat=True).first() or {})


def secret_of(one: IdentityProvider) -> Secret[str]:
    """The client's secret; empty: there is none. Raises ``CannotOpen`` for what was damaged."""
    if one.secret is None:
        return Secret("")
    return Secret(disclose(bytes(one.secret), web_key("providers"), context=_context(one)).reveal().decode())


# --- what a provider says of itself ------------------------------------------------------------------------------


def described(kind: Kind, issuer: str, before: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What is used of what the provider says of itself. Raises :class:`NotAProvider`."""
    if kind is Kind.SAML:
        from zegel.accounts import saml_metadata

        source = str((before or {}).get("source") or issuer)
        octets = source.encode() if source.lstrip().startswith("<") else _fetched(source)
        return {**saml_metadata.understood(octets), "source": source}
    return _understood(issuer, _fetched(issuer.rstrip("/") + WELL_KNOWN))


def _understood(issuer: str, octets: bytes) -> dict[str, Any]:
    try:
        said = json.loads(octets)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise NotAProvider("issuer", Unfit.NO_DESCRIPTION)
    if said.get("issuer") != issuer:  # OpenID Connect Discovery §4.3: exactly
        raise NotAProvider("issuer", Unfit.OTHER_ISSUER, str(said.get("issuer"))[:200])
    for name in _NEEDED:
        if not isinstance(said.get(name), str) or fetch.refusal(said[name]) is not None:
            raise NotAProvider("issuer", Unfit.NO_ENDPOINT, name)
    userinfo = said.get("userinfo_endpoint")
    if userinfo is not None and (not isinstance(userinfo, str) or fetch.refusal(userinfo) is not None):
        raise NotAProvider("issuer", Unfit.NO_ENDPOINT, "userinfo_endpoint")
    return {**{name: said[name] for name in _KEPT if name in said}, _FLAG: said.get(_FLAG) is True}


def _fetched(url: str) -> bytes:
    if fetch.refusal(url) is not None:
        raise NotAProvider("issuer", fetch.NotFetched.NO_HTTPS)
    try:
        with asking.session(settings.ZEGEL) as session:
            answer = session.get(url, headers={"Accept": "application/json, application/samlmetadata+xml, */*;q=0.1"})
    except asking.NotAsked as cause:
        why = cause.failed.why
        raise NotAProvider("issuer", Unfit.PRIVATE if why is fetch.NotFetched.NOT_PUBLIC else why) from None
    except requests.RequestException:
        raise NotAProvider("issuer", fetch.NotFetched.REDIRECTS) from None
    if answer.status_code != 200:
        raise NotAProvider("issuer", Unfit.STATUS, str(answer.status_code))
    return bytes(answer.content)


# --- storing -----------------------------------------------------------------------------------------------------


def _fill(one: IdentityProvider, wanted: Wanted, *, now: Instant) -> None:
    names = sorted({domain.ascii for domain in wanted.domains})
    mine = set(
        SendingDomain.objects.filter(organisation=one.organisation, in_place=True, name__in=names).values_list(
            "name", flat=True
        )
    )
    if lacking := [name for name in names if name not in mine]:
        raise NotAProvider("domains", Unfit.NOT_IN_PLACE, lacking[0])
    if not wanted.name.strip():
        raise NotAProvider("name", Unfit.NO_NAME)
    if not names:
        raise NotAProvider("domains", Unfit.NO_DOMAIN)
    if wanted.kind is Kind.OIDC and not wanted.client_id:
        raise NotAProvider("client_id", Unfit.NO_CLIENT_ID)
    if wanted.kind is Kind.OIDC and wanted.secret is None and one.secret is not None and one.issuer != wanted.issuer:
        raise NotAProvider("secret", Unfit.SECRET_AGAIN)  # whoever names the address would be shown the old one
    one.kind, one.name, one.domains = wanted.kind.value, wanted.name, names
    one.description, one.described_at = described(wanted.kind, wanted.issuer), now
    one.issuer = str(one.description["entity_id"]) if wanted.kind is Kind.SAML else wanted.issuer
    one.client_id, one.is_required, one.makes_accounts = wanted.client_id, wanted.is_required, wanted.makes_accounts
    one.factor_contexts = sorted(set(wanted.factor_contexts))[:LONGEST_CONTEXTS]
    if wanted.secret is not None:
        octets = Secret(wanted.secret.reveal().encode())
        key = web_key("providers")
        one.secret = enclose(octets, key, context=_context(one), nonce=chance.octets(12)) if octets.reveal() else None


def _store(one: IdentityProvider) -> None:
    others = IdentityProvider.objects.select_for_update().filter(organisation=one.organisation).exclude(pk=one.pk)
    for other in others:
        if taken := sorted(set(other.domains) & set(one.domains)):
            raise NotAProvider("domains", Unfit.TAKEN, taken[0])
    try:
        with transaction.atomic():
            one.save()
    except IntegrityError:
        raise NotAProvider("name", Unfit.NAME_TAKEN) from None


def _note(one: IdentityProvider, what: str) -> None:
    audit.note(
        Act.PROVIDER_CHANGED,
        one.organisation,
        one.name,
        {
            "what": what,
            "kind": one.kind,
            "issuer": one.issuer,
            "domains": list(one.domains),
            "required": one.is_required,
            "makes accounts": one.makes_accounts,
            "two factors": list(one.factor_contexts),
        },
    )


def _end_what_is_closed(one: IdentityProvider, before: frozenset[str]) -> None:
    """Inside a transaction: who must sign in by it from now on does so anew. How somebody came in stands sealed in the
    session, so where that is demanded since now (``before``: the domains of which it was) every session ends, and where
    it was before, those of accounts that never came by it."""
    if not one.is_required:
        return
    bound = set(SocialAccount.objects.filter(provider=str(one.pk)).values_list("user", flat=True))
    people = Account.objects.filter(organisation=one.organisation).exclude(role=Role.OWNER.value)
    ended = [
        sessions.end_all(account)
        for account in people
        if (domain := account.mailbox.domain.ascii) in one.domains and (domain not in before or account.pk not in bound)
    ]
    if any(ended):
        told: Details = {"what": "signed-out", "accounts": sum(map(bool, ended)), "sessions": sum(ended)}
        audit.note(Act.PROVIDER_CHANGED, one.organisation, one.name, told)


def _context(one: IdentityProvider) -> str:
    return f"provider/{one.pk}"
