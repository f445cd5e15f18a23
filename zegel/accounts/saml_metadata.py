"""What a SAML provider says of itself."""

from __future__ import annotations

from typing import Any

from lxml import etree
from onelogin.saml2.errors import OneLogin_Saml2_Error
from onelogin.saml2.idp_metadata_parser import OneLogin_Saml2_IdPMetadataParser

from zegel.core.policy.identity import NotAProvider, Unfit
from zegel.edge import fetch


def understood(octets: bytes) -> dict[str, Any]:
    """What is used of a provider's metadata. Raises :class:`NotAProvider`."""
    try:
        found = OneLogin_Saml2_IdPMetadataParser.parse(octets).get("idp", {})
    except (OneLogin_Saml2_Error, etree.Error, ValueError, AttributeError):
        found = {}
    if not isinstance(found, dict) or not found.get("entityId"):
        raise NotAProvider("issuer", Unfit.NO_DESCRIPTION)
    certificates = found.get("x509certMulti", {}).get("signing") or [found.get("x509cert")]
    if not all(isinstance(one, str) and one for one in certificates):
        raise NotAProvider("issuer", Unfit.NO_CERTIFICATE)
    url = found.get("singleSignOnService", {}).get("url")
    if not isinstance(url, str) or fetch.refusal(url) is not None:
        raise NotAProvider("issuer", Unfit.NO_ENDPOINT, "SingleSignOnService (HTTP-Redirect)")
    return {"entity_id": found["entityId"], "sso_url": url, "certificates": certificates}
