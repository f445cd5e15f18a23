"""Ground for what comes home: a post, and the door at which reports about its mail are brought."""

from __future__ import annotations

import asyncio
import smtplib
import ssl
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import uvloop

from tests.journey.delivery_ground import Post, a_post
from tests.journey.portal_ground import Clock
from tests.local.running import Loop
from zegel.edge.database import Readers, Writer
from zegel.edge.tls import server_context
from zegel.journey.custody.jobs import Kind
from zegel.journey.custody.models import Transmission
from zegel.journey.report.inbound import Homecoming
from zegel.local.authority import LocalAuthority

GUEST: Final = "gast@open.test"


@dataclass
class Home:
    """A post, and the door at which its bounces come home."""

    post: Post
    port: int
    trust: ssl.SSLContext
    writer: Writer
    rings: list[int]

    def client(self) -> smtplib.SMTP:
        return smtplib.SMTP("127.0.0.1", self.port, local_hostname="mx.open.test", timeout=10)

    def bring(self, mail: bytes, *addresses: str, sender: str = "") -> None:
        with self.client() as client:
            client.sendmail(sender, list(addresses), mail)

    def notified(self, address: str = GUEST) -> Transmission:
        """A notification that the receiving server took."""
        self.post.mx(address.rpartition("@")[2])
        self.post.submit(address)
        self.post.settle()
        assert self.post.recipient(address).state == "notified"
        return Transmission.objects.get(address=address, kind="notification")

    def bring_too_early(self, mail: bytes, row: Transmission) -> int:
        """The mail leaves, and before that is recorded ``mail`` comes home: the code with which it is put off."""
        post, together, codes = self.post, self.post.writer.write_together, list[int]()

        async def late(*arguments: Any) -> Any:
            post.writer.write_together = together  # type: ignore[method-assign]
            with pytest.raises(smtplib.SMTPDataError) as refused:
                await asyncio.to_thread(self.bring, mail, row.reverse_path)
            codes.append(refused.value.smtp_code)
            return await together(*arguments)

        (leased,) = post.lease(Kind.TRANSMIT)
        post.writer.write_together = late  # type: ignore[method-assign, assignment]
        post.run(post.delivery.transmit(leased))
        (code,) = codes
        return code

    def outcomes(self, row: Transmission) -> list[str]:
        return list(row.attempts.order_by("id").values_list("outcome", flat=True))


@contextmanager
def a_home(tmp_path: Path, clock: Clock) -> Iterator[Home]:
    """For tests that are marked with ``django_db``."""
    authority = LocalAuthority.load_or_create(tmp_path / "ca")
    tls = server_context(*authority.issue(["localhost", "127.0.0.1"], tmp_path / "certificates"))
    trust = ssl.create_default_context(cafile=str(authority.certificate_path))
    with a_post(tmp_path / "post", clock) as post:
        loop, rings = Loop(uvloop.new_event_loop()), list[int]()
        with closing(Writer()) as writer, closing(Readers()) as readers:
            door = Homecoming("zegel.test", writer, readers, clock, lambda: rings.append(1)).door(tls)
            try:
                loop.run(door.open([("127.0.0.1", 0)]))
                yield Home(post, door.servers[0].sockets[0].getsockname()[1], trust, writer, rings)
            finally:
                loop.run(door.close(grace=5))
                loop.stop()
        assert loop.complaints == []
