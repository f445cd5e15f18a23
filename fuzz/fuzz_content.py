"""Any octets as the content of a message: ``python -m fuzz.fuzz_content CORPUS -max_total_time=60``."""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["zegel", "fuzz"]):
    from fuzz.promises import content

if __name__ == "__main__":
    atheris.Setup(sys.argv, content)
    atheris.Fuzz()
