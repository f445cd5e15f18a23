"""OpenID Connect: where allauth's way of it is made stricter.

allauth keeps state and PKCE verifier in the session, takes each state once, and exchanges the code. Here the ID token
is demanded, and examined whole: signature by a pinned algorithm, issuer, audience, time, nonce; and the answer must
come from the provider that was asked (RFC 9207).
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import jwt
import requests
from allauth.socialaccount.models import SocialApp, SocialToken
from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from allauth.socialaccount.providers.oauth2.views import OAuth2CallbackView
from allauth.socialaccount.providers.openid_connect.provider import OpenIDConnectProvider
from allauth.socialaccount.providers.openid_connect.views import OpenIDConnectOAuth2Adapter
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from zegel.accounts import providers
from zegel.accounts.models import IdentityProvider
from zegel.core.mail.address import Mailbox, NotAMailbox
from zegel.core.policy.identity import Assertion
from zegel.edge import asking, chance

# RFC 8725 §3.1, §3.2: what the token's header may name. No HMAC: its key would be the client's secret, or what an
# attacker takes for it. No "none".
ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
SKEW: Final = 60  # seconds that two clocks may differ
_GOOGLE: Final = "https://accounts.google.com"
_NONSENSE: Final = (ValueError, TypeError, KeyError, AttributeError, RecursionError)
_KEYS: Final = 50  # of one provider that are looked at


class NotGood(OAuth2Error):  # type: ignore[misc]
    """What came is no good answer. The text is for the log: fixed words."""


class _Adapter(OpenIDConnectOAuth2Adapter):  # type: ignore[misc]
    """One sign-in by one provider."""

    begun: Mapping[str, Any]  # the state that allauth kept, once it was given back

    @property
    def openid_config(self) -> dict[str, Any]:
        """What the provider said of itself when an administrator named it: nothing is asked for a visitor."""
        return dict(self.get_provider().row.description)

    @property
    def basic_auth(self) -> bool:
        """RFC 6749 §2.3.1: where the provider names nothing, HTTP Basic is what it must take."""
        methods = self.openid_config.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        return "client_secret_post" not in methods

    def get_callback_url(self, request: HttpRequest, app: SocialApp) -> str:
        """The same wherever the visitor came in."""
        return callback_url(self.get_provider().row)

    def get_access_token_data(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Raises :class:`NotGood` for what is no answer of a token endpoint."""
        try:
            found = super().get_access_token_data(*args, **kwargs)
        except _NONSENSE:
            raise NotGood("no token") from None
        if not isinstance(found, dict):
            raise NotGood("no token")
        return found

    def parse_token(self, data: dict[str, Any]) -> SocialToken:
        """For the moment: it is not kept."""
        return SocialToken(token=str(data["access_token"]))

    def complete_login(self, request: HttpRequest, app: SocialApp, token: SocialToken, **kwargs: Any) -> Any:
        """Raises :class:`NotGood` for everything that isn't a good answer to this sign-in."""
        provider = self.get_provider()
        claims = self._examined(provider.row, kwargs["response"].get("id_token"))
        if not claims.get("email"):
            others = {name: claims[name] for name in claims if name not in ("email", "email_verified")}
            claims = {**self._userinfo(claims["sub"], token.token), **others}  # whether it was verified is said with it
        return provider.sociallogin_from_response(request, assertion_of(provider.row, claims))

    def _examined(self, row: IdentityProvider, id_token: object) -> dict[str, Any]:
        """OpenID Connect Core §3.1.3.7. The signature is examined although the token came over TLS."""
        nonce = (self.begun.get("data") or {}).get("nonce")
        if not isinstance(id_token, str) or not isinstance(nonce, str):
            raise NotGood("no ID token")
        try:
            claims: dict[str, Any] = jwt.decode(
                id_token,
                self._key(id_token),
                algorithms=list(ALGORITHMS),
                issuer=row.issuer,
                audience=row.client_id,
                leeway=SKEW,
                options={"require": ["iss", "sub", "aud", "exp", "iat"]},
            )
        except (jwt.PyJWTError, ValueError, TypeError, KeyError):
            raise NotGood("bad ID token") from None
        if not hmac.compare_digest(str(claims.get("nonce", "")).encode(), nonce.encode()):
            raise NotGood("another sign-in's ID token")
        _demand_party(claims, row.client_id)
        return claims

    def _key(self, id_token: str) -> jwt.PyJWK:
        """The provider's key that the token names, for the algorithm that the key is for."""
        header = jwt.get_unverified_header(id_token)
        with asking.session(settings.ZEGEL) as session:
            answer = session.get(self.openid_config["jwks_uri"], headers={"Accept": "application/json"})
            answer.raise_for_status()
        keys = _object_in(answer).get("keys")
        if header.get("alg") not in ALGORITHMS or not isinstance(keys, list):
            raise NotGood("no key")
        fitting = [one for one in keys[:_KEYS] if isinstance(one, dict) and _fits(one, header)]
        if len(fitting) != 1:
            raise NotGood("no key")
        return jwt.PyJWK(fitting[0], algorithm=header["alg"])

    def _userinfo(self, subject: str, access_token: str) -> dict[str, Any]:
        """For providers that leave the address out of the ID token. It must be about the same person (OpenID Connect
        Core §5.3.2)."""
        url = self.openid_config.get("userinfo_endpoint")
        if url is None:
            return {}
        with asking.session(settings.ZEGEL) as session:
            answer = session.get(url, headers={"Authorization": f"Bearer {access_token}", "Accept": "application/json"})
            answer.raise_for_status()
        said = _object_in(answer)
        if said.get("sub") != subject:
            raise NotGood("somebody else's userinfo")
        return {name: said[name] for name in ("email", "email_verified", "name") if name in said}


class OidcProvider(OpenIDConnectProvider):  # type: ignore[misc]
    """One of an organisation."""

    oauth2_adapter_class = _Adapter

    def __init__(self, request: HttpRequest, row: IdentityProvider) -> None:
        self.row = row
        super().__init__(
            request,
            app=SocialApp(
                provider=self.id,
                provider_id=str(row.pk),
                name=row.name,
                client_id=row.client_id,
                secret=providers.secret_of(row).reveal(),
                settings={"oauth_pkce_enabled": True, "scope": ["openid", "email", "profile"]},
            ),
        )

    def begin(self, request: HttpRequest, next_url: str | None) -> str:
        """Where the visitor goes; the session remembers what must come back."""
        nonce = chance.octets(16).hex()
        more = {"nonce": nonce, "prompt": "select_account"} if self.row.issuer == _GOOGLE else {"nonce": nonce}
        if self.row.factor_contexts and self._asks_context():
            more["acr_values"] = " ".join(self.row.factor_contexts)
        response = self.redirect(request, "login", next_url, {"nonce": nonce}, auth_params=more)
        return str(response.url)

    def _asks_context(self) -> bool:
        """Some of what is believed are contexts, not methods such as "mfa" (RFC 8176 §2), which can't be asked for."""
        return any(":" in one or "/" in one for one in self.row.factor_contexts)

    def serialize(self) -> dict[str, Any]:
        """For a sign-in that waits for its second step."""
        return {"id": str(self.row.pk)}

    def extract_uid(self, data: Assertion) -> str:
        """Never the subject itself."""
        return providers.subject_key(self.row, data.subject)

    def extract_extra_data(self, data: Assertion) -> dict[str, Any]:
        """Nothing of what a provider says now is kept; what was noted before stays."""
        return providers.noted_of(self.row, data.subject)

    def extract_common_fields(self, data: Assertion) -> dict[str, Any]:
        """See :func:`zegel.accounts.identity.admit`."""
        return {}

    def extract_email_addresses(self, data: Assertion) -> list[Any]:
        """An address alone opens no account."""
        return []

    def sociallogin_from_response(self, request: HttpRequest, response: Assertion) -> Any:
        """With what was said, for the adapter."""
        login = super().sociallogin_from_response(request, response)
        login.said = response
        return login


class Answer(OAuth2CallbackView):  # type: ignore[misc]
    """The visitor comes back."""

    def _get_state(self, request: HttpRequest, provider: OidcProvider) -> tuple[Any, HttpResponse | None]:
        state, response = super()._get_state(request, provider)
        if state is not None and not _is_from(request, provider.row):
            raise NotGood("another provider's answer")
        self.adapter.begun = state or {}
        return state, response


def answer(request: HttpRequest, row: IdentityProvider) -> HttpResponse:
    """What follows from what the visitor brought. Raises :class:`NotGood` for an answer of another provider."""
    view = Answer.adapter_view(_Adapter(request, str(row.pk)))
    response: HttpResponse = view(request)
    return response


def callback_url(row: IdentityProvider) -> str:
    """To be registered at the provider, character for character."""
    return str(settings.ZEGEL.portal.url) + reverse("identity_answer", kwargs={"provider": row.pk})


def assertion_of(row: IdentityProvider, claims: Mapping[str, Any]) -> Assertion:
    """What the claims say, once they were examined. Whatever isn't of the kind that it should be says nothing."""
    verified = claims.get("email_verified")
    said = [claims.get("acr"), *(claims["amr"] if isinstance(claims.get("amr"), list) else [])]
    return Assertion(
        subject=str(claims["sub"]),
        address=mailbox_of(claims.get("email")),
        says_verified=None if verified is None else verified in (True, "true"),
        is_managed=row.issuer != _GOOGLE or claims.get("hd") in row.domains,
        name=str(claims.get("name") or "")[:200],
        contexts=frozenset(one for one in said if isinstance(one, str)),
    )


def mailbox_of(text: object) -> Mailbox | None:
    """``None`` for what is no address."""
    try:
        return Mailbox.parse(text) if isinstance(text, str) else None
    except NotAMailbox:
        return None


def _object_in(answer: requests.Response) -> Mapping[str, Any]:
    """Empty for what is none."""
    try:
        found = answer.json()
    except _NONSENSE:
        return {}
    return found if isinstance(found, dict) else {}


def _demand_party(claims: Mapping[str, Any], client_id: str) -> None:
    audience = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
    party = claims.get("azp", client_id if len(audience) == 1 else None)
    if party != client_id:
        raise NotGood("made for another client")


def _fits(key: Mapping[str, Any], header: Mapping[str, Any]) -> bool:
    return (
        header.get("kid") in (None, key.get("kid"))  # one that names none fits where there is one key (OIDC Core §10.1)
        and key.get("use", "sig") == "sig"
        and key.get("alg", header.get("alg")) == header.get("alg")
        and key.get("kty") in ("RSA", "EC", "OKP")
    )


def _is_from(request: HttpRequest, row: IdentityProvider) -> bool:
    """RFC 9207 §2.4."""
    said = request.GET.get("iss")
    if said is None:
        return not row.description.get("authorization_response_iss_parameter_supported")
    return said == row.issuer


def host_of(url: str) -> str:
    """For a page: where somebody is taken."""
    return urlsplit(url).hostname or ""
