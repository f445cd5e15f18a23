"""``python sasl_account.py USER REALM``, the password on standard input: adds an account to the sasldb that
``$SASL_CONF_PATH/smtpd.conf`` names, as saslpasswd2(8) would, which is in a package that nothing else needs."""

from __future__ import annotations

import ctypes
import sys
from typing import Final

CREATE: Final = 0x01  # sasl.h: SASL_SET_CREATE


def main() -> None:
    """Ends with a sentence when Cyrus SASL refuses."""
    user, realm = (argument.encode() for argument in sys.argv[1:3])
    password = sys.stdin.read().encode()
    sasl = ctypes.CDLL("libsasl2.so.2")
    connection = ctypes.c_void_p()
    require(sasl.sasl_server_init(None, b"smtpd"))
    require(sasl.sasl_server_new(b"smtp", realm, realm, None, None, None, 0, ctypes.byref(connection)))
    require(sasl.sasl_setpass(connection, user, password, len(password), None, 0, CREATE))


def require(status: int) -> None:
    """sasl.h: SASL_OK is 0."""
    if status != 0:
        sys.exit(f"Cyrus SASL refused, error {status}")


if __name__ == "__main__":
    main()
