"""Transport security as ordered levels on two axes: how the octets travel, and who is at the other end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum


class Tls(IntEnum):
    """The protocol on the connection; a higher value is better."""

    NONE = 0
    ENCRYPTED = 1  # TLS below 1.2: no reader on the wire, no more than that
    TLS_1_2 = 12
    TLS_1_3 = 13


class Authentication(IntEnum):
    """What is known about the server at the other end; a higher value is better."""

    NONE = 0
    CERTIFICATE = (
        1  # chain to a trusted CA, name of the MX host, MX found in unsigned DNS (seed: certificate-validation)
    )
    SIGNED_MX = 2  # as before, MX found in DNSSEC-signed DNS or named by MTA-STS enforce (RFC 8461 §5)
    DANE = 3  # TLSA record matched on this connection (RFC 7672 §2.2)


@dataclass(frozen=True, slots=True)
class TransportSecurity:
    """A level that was asked for, or one that a connection reached."""

    tls: Tls
    authentication: Authentication

    def meets(self, minimum: TransportSecurity) -> bool:
        """Both halves must suffice: strong TLS to an unknown server is not enough."""
        return self.tls >= minimum.tls and self.authentication >= minimum.authentication

    def at_least(self, other: TransportSecurity) -> TransportSecurity:
        """The stricter of two demands, half by half."""
        return TransportSecurity(max(self.tls, other.tls), max(self.authentication, other.authentication))

    def __str__(self) -> str:
        """``tls1.2 certificate``: for traces, reports and ``zegel explain``."""
        tls = self.tls.name.lower().replace("tls_", "tls").replace("_", ".")
        return f"{tls} {self.authentication.name.lower().replace('_', '-')}"


NO_DEMAND = TransportSecurity(Tls.NONE, Authentication.NONE)
PROVEN = TransportSecurity(Tls.TLS_1_2, Authentication.CERTIFICATE)  # seed: what a field without valid values means


def level_to_json(level: TransportSecurity) -> dict[str, str]:
    """The stored form."""
    return {"tls": level.tls.name, "authentication": level.authentication.name}


def level_from_json(stored: Mapping[str, str]) -> TransportSecurity:
    """What :func:`level_to_json` wrote."""
    return TransportSecurity(Tls[stored["tls"]], Authentication[stored["authentication"]])
