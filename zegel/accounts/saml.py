"""SAML 2.0: a web browser sign-in by the redirect binding, answered by a form that the browser posts.

python3-saml examines signatures and bounds; what it leaves open is closed here: an answer must be to a request that
this very browser made, name us as its audience, and have its assertion signed. Each request is answered once. Nothing
that a stranger posts is kept: it is examined where it comes in.
"""

from __future__ import annotations

import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from allauth.socialaccount.models import SocialApp
from allauth.socialaccount.providers.saml.provider import SAMLProvider
from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse
from lxml import etree
from onelogin.saml2.auth import OneLogin_Saml2_Auth
from onelogin.saml2.errors import OneLogin_Saml2_Error
from onelogin.saml2.response import OneLogin_Saml2_Response
from onelogin.saml2.settings import OneLogin_Saml2_Settings
from onelogin.saml2.utils import OneLogin_Saml2_Utils

from zegel.accounts import providers
from zegel.accounts.models import IdentityProvider
from zegel.accounts.oidc import mailbox_of
from zegel.core.policy.identity import Assertion

LARGEST: Final = 256_000  # octets of an answer, as it is posted
_SAML_2: Final = "urn:oasis:names:tc:SAML:2.0"
_LONG_AGO: Final = "1970-01-01T00:00:00Z"
_TRANSIENT: Final = f"{_SAML_2}:nameid-format:transient"  # another for the same person each time
_EMAIL_FORMAT: Final = "urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress"
_SUBJECTS: Final = (
    "urn:oasis:names:tc:SAML:attribute:subject-id",
    "urn:oasis:names:tc:SAML:attribute:pairwise-id",
    "http://schemas.microsoft.com/identity/claims/objectidentifier",
)
_ADDRESSES: Final = (
    "urn:oid:0.9.2342.19200300.100.1.3",
    "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/emailaddress",
    "mail",
    "email",
)
_NAMES: Final = ("urn:oid:2.16.840.1.113730.3.1.241", "http://schemas.microsoft.com/identity/claims/displayname")


class NotAnswered(Exception):
    """What was posted is no answer of this provider to us, now. The text is for the log: a word."""


@dataclass(frozen=True, slots=True)
class Answered:
    """A good answer; whose request it answers is still to be seen."""

    to: str  # ID of the request
    said: Assertion


class _Response(OneLogin_Saml2_Response):  # type: ignore[misc]
    """Where python3-saml looks only at what is there, or also outside of what was signed."""

    def is_valid(self, *args: Any, **kwargs: Any) -> bool:
        """And its signed assertion is meant for us, and confirms its subject to us, now, for the request that is
        answered (SAML 2.0 Profiles §4.1.4.2). What stands around the assertion, anybody can write."""
        return bool(super().is_valid(*args, **kwargs)) and self._is_for_us() and self._is_confirmed()

    def _is_for_us(self) -> bool:
        return self._settings.get_sp_data()["entityId"] in self.get_audiences()

    def _is_confirmed(self) -> bool:
        there = self._settings.get_sp_data()["assertionConsumerService"]["url"]
        bearers = f"/saml:Subject/saml:SubjectConfirmation[@Method='{_SAML_2}:cm:bearer']/saml:SubjectConfirmationData"
        return any(
            one.get("InResponseTo") == self.get_in_response_to()
            and one.get("Recipient") == there
            and OneLogin_Saml2_Utils.parse_SAML_to_time(one.get("NotOnOrAfter", _LONG_AGO)) > OneLogin_Saml2_Utils.now()
            for one in self._query_assertion(bearers)
        )


class _Auth(OneLogin_Saml2_Auth):  # type: ignore[misc]
    response_class = _Response


class SamlProvider(SAMLProvider):  # type: ignore[misc]
    """One of an organisation."""

    def __init__(self, request: HttpRequest, row: IdentityProvider) -> None:
        self.row = row
        super().__init__(
            request, app=SocialApp(provider=self.id, provider_id=str(row.pk), name=row.name, client_id=str(row.pk))
        )

    def begin(self, request: HttpRequest, next_url: str | None) -> str:
        """Where the visitor goes; the session remembers the request, under its ID."""
        auth = _auth(self.row, {})
        url = str(auth.login(return_to=""))
        self.stash_redirect_state(request, "login", next_url, None, state_id=auth.get_last_request_id())
        return url

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


def examined(row: IdentityProvider, posted: Mapping[str, Any]) -> Answered:
    """What was posted, once all that can be examined without the browser's session was. Raises :class:`NotAnswered`."""
    response = posted.get("SAMLResponse")
    if not isinstance(response, str) or not 0 < len(response) <= LARGEST:
        raise NotAnswered("none")
    auth = _auth(row, {"SAMLResponse": response})
    try:
        auth.process_response()
    except (OneLogin_Saml2_Error, etree.Error, binascii.Error, ValueError, AttributeError, KeyError):
        raise NotAnswered("broken") from None
    if auth.get_errors() or not auth.is_authenticated():
        raise NotAnswered("invalid")
    to = auth.get_last_response_in_response_to()
    if not to:
        raise NotAnswered("unasked")
    return Answered(str(to), _assertion(auth))


def metadata(row: IdentityProvider) -> bytes:
    """Of this gateway, to be read in at the provider."""
    made = OneLogin_Saml2_Settings(settings=_settings(row), sp_validation_only=True).get_sp_metadata()
    return made.encode() if isinstance(made, str) else bytes(made)


def answer_url(row: IdentityProvider) -> str:
    """Where the provider's answers are posted."""
    return str(settings.ZEGEL.portal.url) + reverse("identity_saml", kwargs={"provider": row.pk})


def _entity_id(row: IdentityProvider) -> str:
    return str(settings.ZEGEL.portal.url) + reverse("identity_saml_metadata", kwargs={"provider": row.pk})


entity_id = _entity_id


def _auth(row: IdentityProvider, posted: Mapping[str, str]) -> OneLogin_Saml2_Auth:
    url = urlsplit(answer_url(row))
    request = {
        "https": "on" if url.scheme == "https" else "off",
        "http_host": url.netloc,
        "script_name": "",
        "path_info": url.path,
        "get_data": {},
        "post_data": dict(posted),
    }
    return _Auth(request, _settings(row))


def _settings(row: IdentityProvider) -> dict[str, Any]:
    known = row.description
    return {
        "strict": True,
        "debug": False,
        "security": {
            "wantAssertionsSigned": True,
            "wantNameId": False,
            "wantAttributeStatement": False,
            "requestedAuthnContext": list(row.factor_contexts) or False,
            "requestedAuthnContextComparison": "exact",
            "failOnAuthnContextMismatch": False,  # whether the second factor was used is decided by the policy
            "rejectDeprecatedAlgorithm": True,
            "allowRepeatAttributeName": True,
        },
        "sp": {
            "entityId": _entity_id(row),
            "assertionConsumerService": {"url": answer_url(row), "binding": f"{_SAML_2}:bindings:HTTP-POST"},
            "NameIDFormat": f"{_SAML_2}:nameid-format:persistent",
        },
        "idp": {
            "entityId": known["entity_id"],
            "singleSignOnService": {"url": known["sso_url"], "binding": f"{_SAML_2}:bindings:HTTP-Redirect"},
            "x509certMulti": {"signing": list(known["certificates"])},
        },
    }


def _assertion(auth: OneLogin_Saml2_Auth) -> Assertion:
    said = auth.get_attributes()
    is_lasting = auth.get_nameid_format() != _TRANSIENT
    subject = _first(said, _SUBJECTS) or (auth.get_nameid() if is_lasting else "")
    if not subject:
        raise NotAnswered("nameless")
    named = auth.get_nameid() if auth.get_nameid_format() == _EMAIL_FORMAT else ""
    return Assertion(
        subject=str(subject),
        address=mailbox_of(_first(said, _ADDRESSES) or named or None),
        name=_first(said, _NAMES)[:200],
        contexts=frozenset(str(one) for one in auth.get_last_authn_contexts() or ()),
    )


def _first(said: Mapping[str, list[str]], names: tuple[str, ...]) -> str:
    return next((str(said[name][0]) for name in names if said.get(name) and said[name][0]), "")
