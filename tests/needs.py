"""What a test needs from the machine, said in the test or fixture that needs it."""

from __future__ import annotations

from typing import Final, NoReturn

import pytest

from tests.peers import debian, postgresql

ONLY_SQLITE: Final = pytest.mark.skipif(postgresql.is_wanted(), reason="about the files, or the plans, of SQLite")


def needs(*packages: str) -> None:
    """Goes on only where each of these Debian packages can be used; call it from a fixture, a test or a module.

    A developer's machine without them skips, and says what to run. With ``CI=true`` the test fails instead:
    nothing that is skipped there would be seen.
    """
    reasons = [f"{package}: {reason}" for package in packages if (reason := debian.lacks(package)) is not None]
    if not reasons:
        return
    not_here(f"{'; '.join(reasons)} (try: python -m tests.peers.debian)")


def not_here(why: str) -> NoReturn:
    """The machine lacks what is no package: as :func:`needs`."""
    said = f"NOT TESTED HERE, {why}"
    if debian.in_ci():
        pytest.fail(said, pytrace=False)
    pytest.skip(said, allow_module_level=True)
