"""Looks sending domains up again and again: new ones hourly, all others once a day (core.policy.sending_domain.every).

When is stored with the domain, so a restart neither loses a check nor makes all of them at once. The DNS is asked
outside every transaction.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from zegel.accounts import domains
from zegel.core.clock import Instant
from zegel.core.seal.wrap import SealingKey
from zegel.edge.database import Readers, Writer
from zegel.edge.dns import Resolver
from zegel.edge.log import Broken, log

LOOK: Final = 60.0  # seconds until it is looked again which domains are due
MOST: Final = 16  # of them at each look; after days of rest they are spread out like this
AT_ONCE: Final = 4
WITHIN: Final = 30.0  # seconds for all records of one domain; what isn't answered by then is not known


class Watch:
    """One for each dispatch process; a domain is checked by one of them."""

    def __init__(
        self,
        writer: Writer,
        readers: Readers,
        dns: Resolver,
        *,
        gateway: str,
        sealing: SealingKey,
        now: Callable[[], Instant],
        tell: Callable[[], Awaitable[None]],
    ) -> None:
        """``tell``: called after each look, to tell people what was found out, by whomever."""
        self._writer = writer
        self._readers = readers
        self._dns = dns
        self._gateway = gateway
        self._sealing = sealing
        self._now = now
        self._tell = tell

    async def keep_looking(self) -> None:
        """Until it is cancelled. What is under way then is due again soon."""
        while True:
            try:
                await self.look()
            except Exception as cause:  # the database is away or full: look again later (P22)
                log(Broken("domains", cause))
            await asyncio.sleep(LOOK)

    async def look(self) -> None:
        """Checks those that are due, a few at a time."""
        turns = asyncio.Semaphore(AT_ONCE)
        due = await self._readers.read(lambda: domains.due(self._now(), most=MOST))
        ended = await asyncio.gather(*(self._check(number, turns) for number in due), return_exceptions=True)
        for cause in ended:
            if isinstance(cause, Exception):
                log(Broken("a check of a domain", cause))
        await self._tell()

    async def _check(self, number: int, turns: asyncio.Semaphore) -> None:
        async with turns:
            began = self._now()
            domain = await self._writer.write(partial(domains.claim, number, sealing=self._sealing, now=began))
            if domain is None:  # another process has it, or it was removed
                return
            wanted = await self._readers.read(lambda: domains.all_records(domain, self._gateway, now=began))
            findings = await domains.look(wanted, dns=self._dns, within=WITHIN)
            ended = self._now()
            await self._writer.write(partial(domains.conclude, domain, findings, now=ended, looked_at=began))
