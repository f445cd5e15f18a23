"""Any octets as addresses or arguments of a command: ``python -m fuzz.fuzz_address CORPUS -max_total_time=60``."""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["zegel", "fuzz"]):
    from fuzz.promises import address

if __name__ == "__main__":
    atheris.Setup(sys.argv, address)
    atheris.Fuzz()
