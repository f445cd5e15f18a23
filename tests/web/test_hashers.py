"""What guessing a stored password costs."""

from __future__ import annotations

import subprocess
import sys

ASKED = """
import os
os.environ["DJANGO_SETTINGS_MODULE"] = "zegel.web.settings"
from zegel.compose import process
process.start_django()
from django.contrib.auth.hashers import make_password
print(make_password("an umbrella on the roof"))
"""


def test_a_password_costs_what_the_rfc_recommends() -> None:
    """RFC 9106 §4, the second: three passes over 64 MiB with four lanes."""
    done = subprocess.run([sys.executable, "-c", ASKED], check=True, capture_output=True, text=True)
    assert done.stdout.startswith("argon2$argon2id$v=19$m=65536,t=3,p=4$")
