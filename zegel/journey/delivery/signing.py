"""The DKIM keys of our sending domains, opened once and kept in memory."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Final

from zegel.accounts.domains import dkim_context, ed25519_context
from zegel.accounts.models import SendingDomain
from zegel.core.clock import Instant
from zegel.core.mail.address import Domain
from zegel.core.mail.dkim import SigningKey
from zegel.core.seal.wrap import OpeningKey, unwrap
from zegel.core.secret import Secret
from zegel.edge import rows

MOST: Final = 1000  # domains whose keys are kept in memory
KEEP_KEY: Final = timedelta(seconds=10)  # until the database is asked again whether it is still the one

_Told = tuple[tuple[str, bytes], ...]  # selectors and wrapped keys, as the database has them


class SigningKeys:
    """Reads the database, so it is asked in a reader's thread."""

    def __init__(self, opening: OpeningKey, now: Callable[[], Instant]) -> None:
        """``opening`` unwraps the keys."""
        self._opening = opening
        self._now = now
        self._known: dict[Domain, tuple[Instant, _Told, tuple[SigningKey, ...]]] = {}  # with when it was looked up

    def of(self, domain: Domain | None) -> tuple[SigningKey, ...]:
        """The DKIM keys of a sending domain of ours, in the order of their signatures; none for any other.

        RSA comes on top: no meaning is in the order (RFC 6376 §6.1), but who looks at one signature only, or gives up
        at one that it doesn't know, finds one that it knows.
        """
        if domain is None:
            return ()
        looked_at, known, keys = self._known.get(domain, (None, (), ()))
        now = self._now()
        if looked_at is not None and looked_at <= now < looked_at + KEEP_KEY:
            return keys
        found = rows.select(
            f"""SELECT dkim_selector, dkim_key, ed25519_published, ed25519_selector, ed25519_key
            FROM {rows.table(SendingDomain)} WHERE name = %s AND (in_place OR proved_at IS NOT NULL)
            ORDER BY in_place DESC, proved_at IS NULL, proved_at DESC LIMIT 1""",  # noqa: S608  # who has it, or had
            (domain.ascii,),
        )
        wanted: list[tuple[str, bytes, str]] = []
        for selector, wrapped, is_published, other_selector, other_wrapped in found:
            wanted.append((selector, wrapped, dkim_context(domain.ascii)))
            if is_published:
                wanted.append((other_selector, other_wrapped, ed25519_context(domain.ascii)))
        held = dict(zip(known, keys, strict=True))  # by the key itself: a domain that moves may keep its selector
        told = tuple([(selector, bytes(wrapped)) for selector, wrapped, _ in wanted])
        keys = tuple([held.get(one) or self._opened(domain, *all_of) for one, all_of in zip(told, wanted, strict=True)])
        if len(self._known) >= MOST:
            self._known.clear()
        self._known[domain] = now, told, keys
        return keys

    def _opened(self, domain: Domain, selector: str, wrapped: bytes, context: str) -> SigningKey:
        pem: Secret[bytes] = unwrap(bytes(wrapped), with_key=self._opening, context=context)
        return SigningKey.from_pem(domain, selector, pem)
