"""Any octets as a dialogue, verdicts included: ``python -m fuzz.fuzz_smtp_server CORPUS -max_total_time=60``."""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["zegel", "fuzz"]):
    from fuzz.promises import smtp_server

if __name__ == "__main__":
    atheris.Setup(sys.argv, smtp_server)
    atheris.Fuzz()
