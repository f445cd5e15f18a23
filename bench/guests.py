"""Guests of the portal: each a browser of its own, that opens its message once with a code and then goes on reading it.

One process speaks for all of them, over connections that are kept, as browsers keep them. What an answer took is the
time from when its request is written to the last octet, with all waiting for a turn in it.
"""

from __future__ import annotations

import asyncio
import gc
import json
import math
import random
import re
import secrets
import ssl
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlencode, urlsplit

from bench.load import LoadFailed

PATIENCE: Final = 60.0  # seconds for one answer; nothing is measured with it
AT_ONCE: Final = 8  # guests that are on their way to their message
_TOKEN: Final = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')
_NONCE: Final = re.compile(r'name="nonce" value="([^"]+)"')
_FRAME: Final = re.compile(r'<iframe [^>]*src="([^"]+)"')
_CODE: Final = re.compile(r"\b(\d{3}) ?(\d{3})\b")


@dataclass(frozen=True, slots=True)
class Answer:
    """Of the portal."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


@dataclass(slots=True)
class Browser:
    """Cookies, and one connection that is kept. Follows nothing by itself, runs nothing."""

    port: int
    tls: ssl.SSLContext | None
    origin: str  # as the portal is known
    cookies: dict[str, str] = field(default_factory=dict)
    _streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def get(self, path: str) -> Answer:
        return await self._ask("GET", path)

    async def post(self, path: str, form: Mapping[str, str], *, in_parts: bool = False) -> Answer:
        """As a form of a page does; ``in_parts``: as multipart/form-data."""
        if not in_parts:
            return await self._ask("POST", path, "application/x-www-form-urlencoded", urlencode(form).encode())
        boundary = secrets.token_hex(16)
        parts = "".join(
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in form.items()
        )
        return await self._ask(
            "POST", path, f"multipart/form-data; boundary={boundary}", f"{parts}--{boundary}--\r\n".encode()
        )

    def request(self, method: str, path: str, kind: str = "", body: bytes = b"") -> bytes:
        """Its octets."""
        lines = [
            f"{method} {path} HTTP/1.1",
            f"Host: {urlsplit(self.origin).netloc}",
            "User-Agent: Mozilla/5.0 (X11; Linux x86_64) zegel-bench",
            "Accept: text/html",
            "Accept-Language: nl",
            f"Cookie: {self.cookie}",
        ]
        if method == "POST":
            lines += [f"Origin: {self.origin}", f"Referer: {self.origin}{path}"]
            lines += [f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
        return "\r\n".join([*lines, "", ""]).encode() + body

    @property
    def cookie(self) -> str:
        """The header field."""
        return "; ".join(f"{name}={value}" for name, value in self.cookies.items())

    async def connect(self) -> None:
        """Unless it is."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(
                "127.0.0.1", self.port, ssl=self.tls, server_hostname="localhost" if self.tls else None
            )

    def leave(self) -> None:
        """Ends the connection, which belongs to the event loop that runs; the cookies stay."""
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None

    async def _ask(self, method: str, path: str, kind: str = "", body: bytes = b"") -> Answer:
        try:
            async with asyncio.timeout(PATIENCE):
                await self.connect()
                assert self._streams is not None
                incoming, outgoing = self._streams
                outgoing.write(self.request(method, path, kind, body))
                answer = await _answer(incoming)
        except (OSError, EOFError, TimeoutError, asyncio.IncompleteReadError) as cause:
            raise LoadFailed(f"{method} {_without_secrets(path)}: {type(cause).__name__}") from None
        return self._kept(answer)

    def _kept(self, answer: Answer) -> Answer:
        for line in answer.headers.get("set-cookie", "").split("\n"):
            name, is_one, rest = line.partition("=")
            if is_one:
                self.cookies[name.strip()] = rest.partition(";")[0]
        return answer


async def _answer(incoming: asyncio.StreamReader) -> Answer:
    head = (await incoming.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip("\r\n").split("\r\n")
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        name = name.lower()
        headers[name] = f"{headers[name]}\n{value.strip()}" if name in headers else value.strip()
    if "chunked" in headers.get("transfer-encoding", ""):
        body = await _chunks(incoming)
    else:
        body = await incoming.readexactly(int(headers.get("content-length", "0")))
    return Answer(int(first.split(" ")[1]), headers, body)


async def _chunks(incoming: asyncio.StreamReader) -> bytes:
    """RFC 9112 §7.1."""
    found = bytearray()
    while size := int((await incoming.readuntil(b"\r\n")).partition(b";")[0], 16):
        found += await incoming.readexactly(size)
        await incoming.readexactly(2)
    await incoming.readuntil(b"\r\n")
    return bytes(found)


def _without_secrets(path: str) -> str:
    return "/m/…" if path.startswith("/m/") else path


@dataclass(slots=True)
class Guest:
    """One of them: its address, what its message says, and what it saw so far."""

    address: str
    mark: str  # in the subject and the text of its message, and of no other
    browser: Browser
    page: str = ""  # the path of its reading page
    frame: str = ""  # that of its message's HTML; empty: it has none

    async def arrive(self, link: str) -> None:
        """Follows the link in the notification, and asks for a code."""
        led = _led(await self.browser.get(urlsplit(link).path))
        opening = _shown(await self.browser.get(led))
        asked = await self.browser.post(f"{led}code", {"csrfmiddlewaretoken": _found(_TOKEN, opening)})
        self.page = _led(asked)

    async def enter(self, code: str) -> None:
        """Types it; the message opens."""
        verifying = _shown(await self.browser.get(self.page))
        form = {"csrfmiddlewaretoken": _found(_TOKEN, verifying), "code": code}
        self.page = _led(await self.browser.post(self.page, form))
        shown = await self.read()
        if (frame := _FRAME.search(shown)) is not None:
            self.frame = frame[1]
            await self.look()

    async def answer(self, text: str) -> None:
        """To the others."""
        shown = await self.read()
        form = {"csrfmiddlewaretoken": _found(_TOKEN, shown), "nonce": _found(_NONCE, shown), "text": text}
        _led(await self.browser.post(self.page.removesuffix("read") + "answer", form, in_parts=True))

    async def read(self) -> str:
        """The reading page of its message."""
        shown = _shown(await self.browser.get(self.page))
        if self.mark not in shown:
            raise LoadFailed("a reading page without the message")
        return shown

    async def look(self) -> None:
        """At the message's HTML."""
        if self.mark not in _shown(await self.browser.get(self.frame)):
            raise LoadFailed("a frame without the message")


def _led(answer: Answer) -> str:
    """Where an answer leads to."""
    if answer.status != 303:
        raise LoadFailed(f"{answer.status} in the place of a redirect: {_title(answer)}")
    return answer.headers["location"]


def _shown(answer: Answer) -> str:
    if answer.status != 200:
        raise LoadFailed(f"{answer.status} in the place of a page: {_title(answer)}")
    return answer.text


def _title(answer: Answer) -> str:
    found = re.search(r"<title>(.*?)</title>", answer.text, re.DOTALL)
    return found[1].strip() if found else ""


def _found(what: re.Pattern[str], shown: str) -> str:
    if (found := what.search(shown)) is None:
        raise LoadFailed(f"a page without {what.pattern}")
    return found[1]


def code_in(text: str) -> str:
    """The six digits in a mail."""
    if (found := _CODE.search(text)) is None:
        raise LoadFailed("a mail without a code")
    return found[1] + found[2]


async def together(ways: Sequence[Callable[[], Awaitable[None]]]) -> None:
    """All of them, a few at a time."""
    turn = asyncio.Semaphore(AT_ONCE)

    async def one(way: Callable[[], Awaitable[None]]) -> None:
        async with turn:
            await way()

    await _all(one(way) for way in ways)


async def _all(ways: Iterable[Coroutine[None, None, None]]) -> None:
    """At once. Raises what went wrong first, and ends the others."""
    try:
        async with asyncio.TaskGroup() as group:
            for way in ways:
                group.create_task(way)
    except BaseExceptionGroup as causes:
        failed, others = causes.split(LoadFailed)
        if failed is None or others is not None:
            raise
        raise failed.exceptions[0] from None


# --- reading again and again --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Read:
    """What all guests together saw."""

    pages: tuple[float, ...]  # milliseconds
    frames: tuple[float, ...]
    seconds: float
    client: float  # of a processor, that all guests used

    @property
    def rate(self) -> float:
        """Reading pages per second."""
        return len(self.pages) / self.seconds


def percentile(times: Sequence[float], part: float) -> float:
    """The least of them that so large a part doesn't exceed."""
    return sorted(times)[max(0, math.ceil(len(times) * part) - 1)]


async def keep_reading(guests: Sequence[Guest], *, seconds: float, think: float, seed: int = 1) -> Read:
    """Each opens its page, looks at its frame, thinks, and begins anew. They think between half and one and a half
    times ``think`` seconds, drawn with a seed: the same times in every run. What each does first is not counted, and
    they don't begin all at once."""
    gc.collect()
    gc.freeze()
    pages: list[float] = []
    frames: list[float] = []
    spread = max(think, 0.5)
    used, started = time.process_time(), time.perf_counter()
    begin = started + spread
    end = begin + seconds

    async def one(guest: Guest, chance: random.Random) -> None:
        await guest.browser.connect()
        await asyncio.sleep(chance.uniform(0, spread))
        while (began := time.perf_counter()) < end:
            await guest.read()
            took = time.perf_counter() - began
            if began >= begin:
                pages.append(took * 1000)
            if guest.frame:
                began = time.perf_counter()
                await guest.look()
                if began >= begin:
                    frames.append((time.perf_counter() - began) * 1000)
            if think:
                await asyncio.sleep(think * chance.uniform(0.5, 1.5))

    await _all(one(guest, random.Random(f"{seed} {number}")) for number, guest in enumerate(guests))
    client = (time.process_time() - used) / (time.perf_counter() - started)
    for guest in guests:
        guest.browser.leave()
    return Read(tuple(pages), tuple(frames), seconds, client)


def written_down(guests: Sequence[Guest], path: Path) -> None:
    """What :mod:`bench.pages` asks for in their place. It holds what lets them in: readable by nobody else."""
    path.touch(mode=0o600)
    origin = urlsplit(guests[0].browser.origin)
    path.write_text(
        json.dumps([{"path": one.page, "cookie": one.browser.cookie, "host": origin.netloc} for one in guests])
    )
