"""Signing in by an organisation's identity provider: whom it vouches for comes into the account that is theirs, or not.

allauth carries the sign-in. Whether there is one is :func:`zegel.core.policy.identity.admit`'s to say.
"""

from __future__ import annotations

import uuid
from http import HTTPStatus
from typing import Any

import requests
from allauth.account.internal.flows.login import get_authentication_records, record_authentication
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.mfa.stages import AuthenticateStage
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.models import SocialAccount, SocialApp
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone, translation

from zegel.accounts import audit, oidc, people, providers, throttle
from zegel.accounts.models import Account, IdentityProvider
from zegel.accounts.sign_in import PROVIDER, SHOWED, has_second_factor, secured
from zegel.core.policy.audit import Act
from zegel.core.policy.identity import (
    Admission,
    Assertion,
    Holder,
    Kind,
    Known,
    MakesAccount,
    SignsIn,
    TurnedAway,
    admit,
)
from zegel.edge.asking import NotAsked
from zegel.edge.log import SignInRefused, log
from zegel.web.views import REFERRER_OF_A_LINK


def provider_of(request: HttpRequest, row: IdentityProvider) -> Any:
    """As allauth knows it."""
    match Kind(row.kind):
        case Kind.OIDC:
            return oidc.OidcProvider(request, row)
        case Kind.SAML:
            from zegel.accounts.saml import SamlProvider  # its libraries are loaded where they are used

            return SamlProvider(request, row)


class IdentityAdapter(DefaultSocialAccountAdapter):  # type: ignore[misc]
    """What allauth asks."""

    def get_provider(self, request: HttpRequest, provider: str, client_id: str | None = None) -> Any:
        """One of an organisation, by its number."""
        try:
            row = IdentityProvider.objects.select_related("organisation").get(pk=uuid.UUID(provider))
        except (ValueError, IdentityProvider.DoesNotExist):
            raise SocialApp.DoesNotExist from None
        return provider_of(request, row)

    def list_apps(self, request: HttpRequest, provider: Any = None, client_id: Any = None) -> list[SocialApp]:
        """None of its own: they are in no table of allauth's."""
        return []

    def get_requests_session(self) -> requests.Session:
        """Under the rules of :mod:`zegel.edge.asking`."""
        from django.conf import settings

        from zegel.edge import asking

        return asking.session(settings.ZEGEL)

    def is_open_for_signup(self, request: HttpRequest, sociallogin: Any) -> bool:
        """Accounts are made by :meth:`pre_social_login`, or not at all."""
        return False

    def authenticate_by_email(self, sociallogin: Any) -> None:
        """Never by an address alone."""

    def populate_user(self, request: HttpRequest, sociallogin: Any, data: Any) -> Any:
        """Nothing is filled in."""
        return sociallogin.user

    def send_notification_mail(self, *args: Any, **kwargs: Any) -> None:
        """The audit log has it."""

    def pre_social_login(self, request: HttpRequest, sociallogin: Any) -> None:
        """Finds, or makes, the account; raises the page that says why there is none."""
        row, said = sociallogin.provider.row, sociallogin.said
        request.was_vouched_for = True  # type: ignore[attr-defined]  # whatever follows, nobody guesses here
        if sociallogin.state.get("process") != "login":
            raise ImmediateHttpResponse(turned_away(request, None))
        admission, account = admitted(row, said)
        if account is None:
            assert isinstance(admission, TurnedAway)
            log(SignInRefused(throttle.address_of(request), at="provider", why=admission.value))
            raise ImmediateHttpResponse(turned_away(request, admission))
        sociallogin.user = account
        sociallogin.account = SocialAccount.objects.get(provider=str(row.pk), user=account)
        sociallogin.showed_second_factor = isinstance(admission, SignsIn | MakesAccount) and (
            admission.showed_second_factor
        )

    def on_authentication_error(
        self, request: HttpRequest, provider: Any, error: Any = None, exception: Any = None, extra_context: Any = None
    ) -> None:
        """One page for all of it; the log has a word."""
        match exception:
            case oidc.NotGood():
                why = str(exception)
            case NotAsked():
                why = "unreachable"
            case _:
                why = "broken" if exception is not None else str(getattr(error, "value", error))
        log(SignInRefused(throttle.address_of(request), at="provider", why=why))
        raise ImmediateHttpResponse(turned_away(request, None))


def admitted(row: IdentityProvider, said: Assertion) -> tuple[Admission, Account | None]:
    """What follows, carried out: the account is there, and bound to the subject; ``None``: there is no way in."""
    with transaction.atomic():
        subject = providers.subject_key(row, said.subject)
        account = Account.objects.select_for_update().filter(key=said.address.key).first() if said.address else None
        admission = admit(_plain(said, subject), providers.rules_of(row), _known(row, account, subject))
        match admission:
            case TurnedAway():
                _tell(row, said, admission)
                return admission, None
            case MakesAccount():
                assert said.address is not None
                account = people.make(row.organisation, said.address, display_name=said.name, by=None)
            case SignsIn():
                pass
        assert account is not None
        if not isinstance(admission, SignsIn) or admission.binds:
            SocialAccount.objects.create(provider=str(row.pk), uid=subject, user=account)
        if admission.showed_second_factor:
            SocialAccount.objects.filter(provider=str(row.pk), user=account).update(extra_data={SHOWED: True})
        IdentityProvider.objects.filter(pk=row.pk).update(used_at=timezone.now())
    return admission, account


def _plain(said: Assertion, subject: str) -> Assertion:
    """The subject as it is stored, so that what is compared is of one kind."""
    return Assertion(subject, said.address, said.says_verified, said.is_managed, said.name, said.contexts)


def _known(row: IdentityProvider, account: Account | None, subject: str) -> Known:
    bound = SocialAccount.objects.filter(provider=str(row.pk))
    means = bound.filter(uid=subject).values_list("user", flat=True).first()
    means_another = means is not None and (account is None or means != account.pk)
    if account is None:
        return Known(Holder.NOBODY, subject_means_another=means_another)
    if account.organisation_id is None:
        holder = Holder.GUEST
    elif account.organisation_id == row.organisation_id:
        holder = Holder.THIS_ORGANISATION
    else:
        holder = Holder.ANOTHER_ORGANISATION
    before = bound.filter(user=account).values_list("uid", flat=True).first()
    relies = account.pk in secured({account.pk}) and not has_second_factor(account)
    return Known(holder, account.is_active, before, means_another, account.is_functional, relies)


def _tell(row: IdentityProvider, said: Assertion, why: TurnedAway) -> None:
    """The administrator, where it takes one: the address stands for another person than before."""
    if why is TurnedAway.OTHER_SUBJECT and said.address is not None:
        about = {"what": "other-subject", "of": str(said.address)}
        audit.note(Act.PROVIDER_CHANGED, row.organisation, row.name, about)


# --- between allauth's steps -------------------------------------------------------------------------------------


def showed_second_factor(how: dict[str, Any]) -> bool:
    """Of what :meth:`AccountAdapter.pre_login` is told: the provider showed both factors."""
    return bool(getattr(_login_of(how), "showed_second_factor", False))


def is_by_provider(how: dict[str, Any]) -> bool:
    """This sign-in came from a provider."""
    return _login_of(how) is not None


def _login_of(how: dict[str, Any]) -> Any:
    return (how.get("signal_kwargs") or {}).get("sociallogin")


def note_second_factor(request: HttpRequest, account: Account) -> None:
    """In the session that is being made: as if a code had been given."""
    record_authentication(request, account, "mfa", type=PROVIDER)


class SecondStep(AuthenticateStage):  # type: ignore[misc]
    """Our own second factor, unless the provider showed one that is believed."""

    def _should_handle(self, request: HttpRequest) -> bool:
        if self.login.user is not None and any(
            one.get("type") == PROVIDER for one in get_authentication_records(request, self.login.user)
        ):
            return False
        return bool(super()._should_handle(request))


def turned_away(request: HttpRequest, why: TurnedAway | None) -> HttpResponse:
    """A page that says why, without a word of what the provider sent. ``None``: nothing is known but that it failed; it
    is the same page whether such a provider is there or not."""
    sentence = None if why is None else (why.nl if translation.get_language() == "nl" else why.en)
    # Of this address an answer of the provider is a part: it isn't asked again for another language, nor told further.
    context = {"why": sentence, "language_next": reverse("identity_start")}
    response = render(request, "account/organisation_refused.html", context, status=HTTPStatus.FORBIDDEN)
    response["Referrer-Policy"] = REFERRER_OF_A_LINK
    return response
