"""Whether time tells which addresses have an account (P14): ``python -m tests.web.equal_times [how often for each]``.

At the door, at registration and at the forgotten password, known and unknown addresses are asked in random order. What
is printed is the AUC: how often a known address takes longer than an unknown one. 0.5 tells nothing, 0 or 1 everything;
P14 bounds it at 0.5 ± 0.1. A report and not a test: no test asserts on time. Status, headers and body are compared by
``tests/web/test_equal_answers.py``.
"""

from __future__ import annotations

import gc
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import tests.conftest  # noqa: F401 sets Django up, in a folder of its own

# isort: split
from django.test import Client
from django.test.utils import get_runner, setup_test_environment, teardown_test_environment

from tests.journey.portal_ground import Ground
from tests.web.whole_site import whole_ground
from zegel.accounts.models import Account

EACH: Final = 120
WARM: Final = 10  # first requests load what later ones have


@dataclass(frozen=True, slots=True)
class Door:
    """A form that takes an address; what follows the address is wrong, or nothing."""

    name: str
    address: str
    named: str  # the field of the address
    rest: Mapping[str, str] = field(default_factory=dict)

    def ask(self, mailbox: str, network: str) -> Any:
        """As a stranger, from a network of its own: nobody has to wait for others."""
        client = Client(HTTP_HOST="localhost", HTTP_ACCEPT_LANGUAGE="en", REMOTE_ADDR=network)
        return client.post(self.address, {self.named: mailbox, **self.rest})


DOORS: Final = (
    Door("sign-in", "/account/sign-in/", "login", {"password": "not this one either"}),
    Door("registration", "/join/", "email"),
    Door("forgotten password", "/forgotten/", "email"),
)


def known_addresses(ground: Ground, count: int) -> list[str]:
    """Of accounts, half of them of an organisation."""
    pattern = ground.account("patroon@voorbeeld.test")
    made = [
        Account(
            email=f"bekend-{number}@voorbeeld.test",
            key=f"bekend-{number}@voorbeeld.test",
            password=pattern.password,
            organisation=ground.organisation if number % 2 else None,
        )
        for number in range(count)
    ]
    return [one.email for one in Account.objects.bulk_create(made)]


def auc(longer: list[float], shorter: list[float]) -> float:
    """Of all pairs, the part in which the first is larger; equal ones count half (Mann-Whitney)."""
    wins = sum((one > other) + (one == other) / 2 for one in longer for other in shorter)
    return wins / (len(longer) * len(shorter))


def measure(door: Door, known: list[str], unknown: list[str]) -> tuple[list[float], list[float]]:
    """Seconds of each answer, known and unknown in one random order."""
    asked = [(address, True) for address in known] + [(address, False) for address in unknown]
    random.shuffle(asked)
    for number in range(WARM):
        door.ask(f"warm-{number}@voorbeeld.test", f"203.0.113.{number}")
    found: dict[bool, list[float]] = {True: [], False: []}
    for number, (address, is_known) in enumerate(asked):
        gc.collect(0)
        began = time.perf_counter()
        door.ask(address, f"198.18.{number // 250}.{number % 250}")
        found[is_known].append(time.perf_counter() - began)
    return found[True], found[False]


@contextmanager
def a_database() -> Iterator[Ground]:
    """A new one, as tests have; gone afterwards."""
    setup_test_environment()
    runner = get_runner(tests_settings())(verbosity=0, interactive=False)
    made = runner.setup_databases()
    try:
        with tempfile.TemporaryDirectory() as folder:
            yield whole_ground(Path(folder))
    finally:
        runner.teardown_databases(made)
        teardown_test_environment()


def tests_settings() -> Any:
    """Django's, once they are set up."""
    from django.conf import settings

    return settings


def main(each: int) -> int:
    """Prints a line for each door; 1 where one of them tells."""
    tells = False
    with a_database() as ground:
        known = known_addresses(ground, each)
        unknown = [f"onbekend-{number}@voorbeeld.test" for number in range(each)]
        for door in DOORS:
            longer, shorter = measure(door, known, unknown)
            figure = auc(longer, shorter)
            tells |= not 0.4 <= figure <= 0.6
            middle = [sorted(one)[len(one) // 2] * 1000 for one in (longer, shorter)]
            print(f"{door.name:20} AUC {figure:.3f}   median {middle[0]:.1f} ms known, {middle[1]:.1f} ms unknown")
    return int(tells)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else EACH))
