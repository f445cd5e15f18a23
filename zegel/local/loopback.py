"""The one rule that every local server keeps: nobody but this machine can reach it."""

from __future__ import annotations

import ipaddress


class NotLoopback(ValueError):
    """The address can be reached from outside this machine."""


def loopback(host: str) -> str:
    """``host`` itself when it is a loopback address literal; raises :class:`NotLoopback`.

    Names are refused as well, ``localhost`` included: what a name means is decided elsewhere.
    """
    try:
        address = ipaddress.ip_address(host)
    except ValueError as cause:
        raise NotLoopback("a local server listens on an address literal") from cause
    if not address.is_loopback:
        raise NotLoopback("a local server listens on loopback only")
    return host
