"""The portal with many readers at once, and what stands between a notification and its message: ``make bench-portal``.

docs/benchmarks.md says what is measured, and how. The last line printed is one JSON object: the reading page's time at
the 95th percentile, pages and clicks from the link to readable text, and the weight of the heaviest page in between;
what was not measured is ``null``. Figures are printed, never judged: the exit status is 1 only when a page was refused
or showed another message than its reader's, or nothing could be measured.
"""

from __future__ import annotations

import argparse
import asyncio
import email
import email.policy
import json
import os
import random
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from functools import partial
from pathlib import Path
from typing import Final

from playwright.sync_api import Page, Response, sync_playwright

from bench import processes
from bench.alone import print_top
from bench.guests import Browser, Guest, Read, code_in, keep_reading, percentile, together, written_down
from bench.load import LoadFailed
from bench.measured import NOISE, exit_status
from bench.report import describe_machine, row, title
from bench.surroundings import (
    RECEIVING_DOMAIN,
    RECEIVING_HOST,
    SINK_IP,
    MeasuredGateway,
    NotMeasurable,
    file_system,
    settle,
    zone_of,
)
from tests.peers import chromium, debian, free_port, until
from tests.peers.dns import Nsd, Unbound
from tests.peers.gateway import HOST, SENDER, SENDING_DOMAIN
from tests.peers.postfix import Postfix
from zegel.local.authority import LocalAuthority

PARTS: Final = ("way", "text", "rich", "profile")
FIGURES: Final = ("p95_ms", "pages", "clicks", "page_kb")
WEB: Final = ("2x8", "1x8", "2x2")  # processes and threads of the web role; the first is what is shipped
PROCESSORS: Final = 2  # of the gateway, where the machine has more
MAIL_WITHIN: Final = 120.0  # seconds; nothing is measured with it
ANSWERS: Final = 5
TEXT_SIZE: Final = 4096
MARKUP_SIZE: Final = 6144
FILES: Final = {
    "verslag.pdf": (b"%PDF-1.7\n", 60_000),
    "foto.png": (b"\x89PNG\r\n\x1a\n", 40_000),
    "brief.odt": (b"PK\x03\x04", 20_000),
}
WEIGHED: Final = frozenset({"document", "stylesheet", "script"})
_WORDS: Final = (
    "De uitslag van het onderzoek is goed en geeft geen aanleiding tot een nieuwe afspraak wij raden u aan de "
    "oefeningen te blijven doen en over drie maanden te bellen als de klachten niet minder worden"
)


@dataclass(frozen=True, slots=True)
class Web:
    """How the web role runs."""

    processes: int
    threads: int

    @classmethod
    def of(cls, text: str) -> Web:
        """``2x8``: two processes, eight threads each."""
        processes, _, threads = text.partition("x")
        return cls(int(processes), int(threads))

    def __str__(self) -> str:
        return f"{self.processes}x{self.threads}"


@dataclass(frozen=True, slots=True)
class Options:
    """What to measure, and how much of it."""

    parts: tuple[str, ...]
    guests: int
    think: float
    seconds: float
    web: tuple[Web, ...]
    profiled: int  # how often each guest's page is asked for
    folder: Path
    longest: int


class ReadGateway(MeasuredGateway):
    """Zegel with all roles, whose portal speaks HTTPS itself, or HTTP as behind a TLS proxy. On a machine with more
    processors it has two of them."""

    web = Web.of(WEB[0])
    is_tls = True
    certificate: tuple[Path, Path]

    @property
    def origin(self) -> str:
        """What the links in its mails begin with."""
        return f"https://localhost:{self.portal_port}"

    def _environment(self) -> dict[str, str]:
        chain, key = map(str, self.certificate)
        tls = {"ZEGEL_PORTAL__CERTIFICATE": chain, "ZEGEL_PORTAL__CERTIFICATE_KEY": key} if self.is_tls else {}
        return {
            **super()._environment(),
            "ZEGEL_PORTAL__URL": self.origin,
            "ZEGEL_PORTAL__PROCESSES": str(self.web.processes),
            "ZEGEL_PORTAL__THREADS": str(self.web.threads),
            **tls,
        }

    def _command(self) -> list[str]:
        return [*on_processors(range(PROCESSORS)), *super()._command()]


def on_processors(which: Sequence[int]) -> list[str]:
    """Before a command: it has these, where the machine has more than that."""
    return ["/usr/bin/taskset", "--cpu-list", ",".join(map(str, which))] if len(which) < (os.cpu_count() or 1) else []


class Mailboxes(Postfix):
    """A receiving server whose mails are read once each."""

    def __init__(self, folder: Path, port: int, certificate: tuple[Path, Path]) -> None:
        super().__init__(
            folder,
            name=RECEIVING_HOST,
            inet=SINK_IP,
            port=port,
            accepts=(RECEIVING_DOMAIN, SENDING_DOMAIN),
            certificate=certificate,
        )
        self._seen: set[str] = set()
        self._texts: defaultdict[str, list[str]] = defaultdict(list)

    def text(self, address: str, number: int) -> str:
        """Of the mail with this number to an address, from 0 on. Raises :class:`LoadFailed`."""
        self.wait_for([address], number + 1)
        return self._texts[address][number]

    def wait_for(self, addresses: Sequence[str], mails: int) -> None:
        """Until each of them has so many. Raises :class:`LoadFailed`."""
        try:
            until(lambda: self._have(addresses, mails), MAIL_WITHIN)
        except TimeoutError:
            raise LoadFailed(f"not all mails came within {MAIL_WITHIN:.0f} seconds") from None

    def _have(self, addresses: Sequence[str], mails: int) -> bool:
        folder = self._inbox / "new"
        for path in sorted(folder.glob("*"), key=lambda path: path.stat().st_mtime_ns):
            if path.name not in self._seen:
                self._seen.add(path.name)
                mail = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
                body = mail.get_body(("plain",))
                self._texts[str(mail["Delivered-To"])].append(body.get_content() if body is not None else "")
        return all(len(self._texts[address]) >= mails for address in addresses)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is there; the gateway is not started yet."""

    folder: Path
    file_system: str
    gateway: ReadGateway
    mailboxes: Mailboxes
    trust: ssl.SSLContext


@contextmanager
def surroundings(beneath: Path) -> Iterator[Surroundings]:
    """A folder of its own below ``beneath``, removed afterwards. Raises :class:`NotMeasurable`."""
    for package in ("postfix", "nsd", "unbound", "chromium"):
        if (reason := debian.lacks(package)) is not None:
            raise NotMeasurable(f"{package}: {reason} (try: python -m tests.peers.debian)")
    kind = file_system(beneath)
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="zegel-bench-", dir=beneath))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        folder.chmod(0o711)
        authority = LocalAuthority.load_or_create(folder / "ca")
        port, resolver = free_port(SINK_IP), free_port()
        gateway = ReadGateway(folder / "gateway", authority=authority, resolver=("127.0.0.1", resolver), mx_port=port)
        gateway.certificate = authority.issue([HOST, "localhost", "127.0.0.1"], folder / "gateway" / "certificates")
        records = gateway.set_up()
        nsd = stack.enter_context(Nsd({"test": zone_of(records)}, folder / "nsd"))
        stack.enter_context(Unbound(folder / "unbound", port=resolver, stubs={"test.": nsd}))
        gateway.check_domain()
        mailboxes = Mailboxes(folder / "mailboxes", port, authority.issue([RECEIVING_HOST], folder / "certificates"))
        yield Surroundings(
            folder=folder,
            file_system=kind,
            gateway=gateway,
            mailboxes=stack.enter_context(mailboxes),
            trust=ssl.create_default_context(cafile=str(authority.certificate_path)),
        )


# --- messages -----------------------------------------------------------------------------------------------------


def words(octets: int, seed: str) -> str:
    """Running text of about so many octets, the same for a seed."""
    chance, size = random.Random(seed), 0
    known, found = _WORDS.split(), list[str]()
    while size < octets:
        found.append(chance.choice(known) + (chance.choice((",", ".\n", ".\n\n", "")) if len(found) % 9 == 8 else ""))
        size += len(found[-1]) + 1
    return " ".join(found)


def message(address: str, mark: str, *, is_rich: bool) -> EmailMessage:
    """4 KiB of text; or a text with as much HTML of paragraphs, a table and a list, and three attachments."""
    made = EmailMessage()
    made["From"] = f"Afzender Voorbeeld <{SENDER}>"
    made["To"] = address
    made["Subject"] = f"Uitslag {mark}"
    made["Message-ID"] = f"<{mark}@{SENDING_DOMAIN}>"
    made.set_content(f"{mark}\n\n{words(TEXT_SIZE, mark)}\n")
    if is_rich:
        made.add_alternative(_markup(mark), subtype="html")
        for name, (begins, size) in FILES.items():
            made.add_attachment(
                begins + random.Random(name).randbytes(size), "application", name.rpartition(".")[2], filename=name
            )
    return made


def _markup(mark: str) -> str:
    paragraphs = "".join(
        f'<p style="margin:0 0 12px;font-family:Arial,sans-serif;color:#222">{words(400, f"{mark}{number}")}</p>'
        for number in range(MARKUP_SIZE // 600)
    )
    lines = "".join(f'<tr><td align="left"><b>Waarde {one}</b></td><td>{one},5</td></tr>' for one in range(12))
    return (
        f"<html><head><style>p {{ margin: 0 }} td {{ padding: 4px }}</style></head><body><h1>{mark}</h1>{paragraphs}"
        f'<table border="1">{lines}</table><ul><li>Een<li>Twee</ul>'
        f'<p><a href="https://www.example.org/uitleg">Uitleg</a></p></body></html>'
    )


# --- the benchmark ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Run:
    """One load of readers."""

    read: Read
    spent: float  # milliseconds of the web role's processor time for each reading page, with its frame
    elsewhere: float  # what the rest of the machine used meanwhile, as a part of all its processors


@dataclass(slots=True)
class Seen:
    """What a visitor without JavaScript came by."""

    pages: list[str] = field(default_factory=list)  # titles
    clicks: int = 0


class Bench:
    """One run of the benchmark."""

    def __init__(self, options: Options, around: Surroundings) -> None:
        self._options = options
        self._around = around
        self._runs: list[Run] = []
        self.figures: dict[str, float | None] = dict.fromkeys(FIGURES)

    def run(self) -> None:
        """All parts that were asked for."""
        title("The machine")
        describe_machine(self._around.folder, self._around.file_system)
        if "way" in self._options.parts:
            self._way()
        for part in ("text", "rich"):
            if part in self._options.parts or "profile" in self._options.parts:
                self._readers(part)
        self._warn_of_noise()

    # --- from the link to the text --------------------------------------------------------------------------------

    def _way(self) -> None:
        """A visitor without JavaScript is counted; what pages weigh is looked at with it, nothing cached."""
        title("From the notification to the text, in Chromium")
        with self._around.gateway:
            seen, _ = self._visited("tellen", java_script=False)
            _, weights = self._visited("wegen", java_script=True)
        print(f"{len(seen.pages)} pages ({', '.join(seen.pages)}), {seen.clicks} clicks and the code")
        row("octets", "HTML", "CSS", "JavaScript", "page")
        for name, weight in weights.items():
            row(sum(weight.values()), *(weight[kind] for kind in ("document", "stylesheet", "script")), name)
        self.figures |= {
            "pages": len(seen.pages),
            "clicks": seen.clicks,
            "page_kb": round(max(sum(weight.values()) for weight in weights.values()) / 1000, 1),
        }

    def _visited(self, name: str, *, java_script: bool) -> tuple[Seen, dict[str, Counter[str]]]:
        address, mailboxes = f"{name}@{RECEIVING_DOMAIN}", self._around.mailboxes
        made = EmailMessage()
        made["From"], made["To"], made["Subject"] = SENDER, address, "Uitslag"
        made.set_content("Goed.\n")  # the message's own content is not weighed: it is next to nothing
        with self._around.gateway.client() as client:
            client.send_message(made, SENDER, [address])
        link = link_in(mailboxes.text(address, 0))
        with sync_playwright() as playwright:
            running = playwright.chromium.launch(executable_path=chromium.CHROMIUM, args=[*chromium.ARGUMENTS])
            context = running.new_context(java_script_enabled=java_script, ignore_https_errors=True, locale="nl-NL")
            page = context.new_page()
            page.route("**/*", lambda route: route.continue_())  # nothing comes out of the browser's cache then
            seen, weights = _walk(page, link, lambda: code_in(mailboxes.text(address, 1)))
            running.close()
        return seen, weights

    # --- readers --------------------------------------------------------------------------------------------------

    def _readers(self, part: str) -> None:
        options, gateway = self._options, self._around.gateway
        what = "HTML, three attachments and five answers" if part == "rich" else "4 KiB of text"
        title(f"{options.guests} readers: {what}")
        gateway.web, gateway.is_tls = options.web[-1], True
        with gateway:
            guests = self._let_in(part)
        if part in options.parts:
            self._measure(guests)
        if "profile" in options.parts:
            self._profile(part, guests[:5])

    def _let_in(self, part: str) -> list[Guest]:
        """Each opens its own message by its own link and code."""
        gateway, mailboxes, began = self._around.gateway, self._around.mailboxes, time.monotonic()
        guests = [
            Guest(
                f"{part}{number}@{RECEIVING_DOMAIN}",
                f"merk-{part}-{number}-x",
                Browser(gateway.portal_port, self._around.trust, gateway.origin),
            )
            for number in range(self._options.guests)
        ]
        with gateway.client() as client:
            for guest in guests:
                client.send_message(message(guest.address, guest.mark, is_rich=part == "rich"), SENDER, [guest.address])
        addresses = [guest.address for guest in guests]
        mailboxes.wait_for(addresses, 1)
        asyncio.run(together([partial(self._arrive, guest) for guest in guests]))
        mailboxes.wait_for(addresses, 2)
        asyncio.run(together([partial(self._enter, guest, part) for guest in guests]))
        settle(gateway)
        print(f"{len(guests)} guests opened their message with a code in {time.monotonic() - began:.0f} seconds")
        return guests

    async def _arrive(self, guest: Guest) -> None:
        await guest.arrive(link_in(self._around.mailboxes.text(guest.address, 0)))
        guest.browser.leave()

    async def _enter(self, guest: Guest, part: str) -> None:
        await guest.enter(code_in(self._around.mailboxes.text(guest.address, 1)))
        for number in range(ANSWERS if part == "rich" else 0):
            await guest.answer(words(300, f"{guest.mark} {number}"))
        guest.browser.leave()

    def _measure(self, guests: Sequence[Guest]) -> None:
        think = self._options.think
        row(
            "web",
            "TLS",
            "think s",
            "pages/s",
            "p50 ms",
            "p95 ms",
            "p99 ms",
            "frame p95",
            "web CPU ms",
            "client",
            "others",
        )
        found = {web: self._run(web, guests, think=think) for web in self._options.web}
        best = min(found, key=lambda web: percentile(found[web].read.pages, 0.95))
        self._run(best, guests, think=think, is_tls=False)
        self._run(best, guests, think=0.0)
        p95 = round(percentile(found[best].read.pages, 0.95), 1)
        print(f"\nbest here: {best.processes} processes with {best.threads} threads")
        self.figures["p95_ms"] = max(p95, self.figures["p95_ms"] or 0.0)

    def _run(self, web: Web, guests: Sequence[Guest], *, think: float, is_tls: bool = True) -> Run:
        gateway = self._around.gateway
        gateway.web, gateway.is_tls = web, is_tls
        for guest in guests:
            guest.browser.tls = self._around.trust if is_tls else None
        with gateway:
            assert gateway.pid is not None
            asyncio.run(keep_reading(guests, seconds=2.0, think=think, seed=0))  # every process and thread has begun
            settle(gateway)
            began, machine, ours = time.monotonic(), processes.machine_time(), processes.total_time(os.getpid())
            before = processes.processor_time(gateway.pid)
            read = asyncio.run(keep_reading(guests, seconds=self._options.seconds, think=think))
            after = processes.processor_time(gateway.pid)
            others = processes.machine_time() - machine - (processes.total_time(os.getpid()) - ours)
            part = max(0.0, others) / (time.monotonic() - began) / (os.cpu_count() or 1)
        run = Run(read, (after["web"] - before["web"]) * 1000 / len(read.pages), part)
        self._runs.append(run)
        row(web, "yes" if is_tls else "no", think or "none", *_cells(run))
        return run

    def _warn_of_noise(self) -> None:
        if self._runs and (noise := max(run.elsewhere for run in self._runs)) > NOISE:
            print(f"\nNOT QUIET: the rest of the machine used up to {noise:.0%} of it; only CPU ms mean something then")

    # --- profile --------------------------------------------------------------------------------------------------

    def _profile(self, part: str, guests: Sequence[Guest]) -> None:
        """Of the application alone, in one thread."""
        title(f"What one page costs the application alone, {part}")
        folder, gateway = self._around.folder / f"profile-{part}", self._around.gateway
        folder.mkdir(mode=0o700)
        asked, found = folder / "asked", folder / "found"
        written_down(guests, asked)
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "bench.pages",
                str(gateway.config),
                str(asked),
                str(found),
                str(self._options.profiled),
            ],
            env={**gateway.environment(), "ZEGEL_CONFIG": str(gateway.config)},
            check=False,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise LoadFailed(f"bench.pages ended with {done.returncode}: {done.stderr[-2000:]}")
        said = json.loads(found.read_text())
        print(f"{said['ms']:.2f} ms CPU for each page, {len(said['queries'])} queries: {', '.join(said['queries'])}\n")
        print_top(said["profile"], self._options.profiled * len(guests))


def _cells(run: Run) -> tuple[str, ...]:
    read = run.read
    times = (percentile(read.pages, part) for part in (0.5, 0.95, 0.99))
    return (
        f"{read.rate:.1f}",
        *(f"{one:.1f}" for one in times),
        f"{percentile(read.frames, 0.95):.1f}" if read.frames else "–",
        f"{run.spent:.2f}",
        f"{read.client:.0%}",
        f"{run.elsewhere:.0%}",
    )


def link_in(text: str) -> str:
    """That of a notification."""
    if (found := re.search(r"https://localhost:\d+/m/[A-Za-z0-9_-]{43}", text)) is None:
        raise LoadFailed("a notification without a link")
    return found[0]


def _walk(page: Page, link: str, code: Callable[[], str]) -> tuple[Seen, dict[str, Counter[str]]]:
    """The shortest way that the pages offer: one button, the code, one button."""
    seen, got = Seen(), list[Response]()

    def answered(response: Response) -> None:
        if response.request.resource_type in WEIGHED and response.frame == page.main_frame and response.status == 200:
            got.append(response)

    def click(button: str) -> None:
        seen.clicks += 1
        page.locator(button).click()
        page.wait_for_load_state("load")

    weights: dict[str, Counter[str]] = {}

    def look() -> None:
        """What came since the last look is this page."""
        weight: Counter[str] = Counter()
        for response in got:
            weight[response.request.resource_type] += len(response.body())
        got.clear()
        seen.pages.append(page.title())
        weights[page.title()] = weight

    page.on("response", answered)
    page.goto(link, wait_until="load")
    look()
    click("main form[action*='/code'] button")
    look()
    page.locator("input[autocomplete=one-time-code]").fill(code())
    click("main form[action*='/verify'] button")
    look()
    if page.get_by_text("Goed.").count() != 1 or not page.url.endswith("/read"):
        raise LoadFailed(f"the way ended at {page.title()}")
    return seen, weights


def _parsed(arguments: Sequence[str]) -> Options:
    parser = argparse.ArgumentParser(prog="make bench-portal", description=__doc__, allow_abbrev=False)
    parser.add_argument("--smoke", action="store_true", help="few readers, seconds: whether it works, no figures")
    parser.add_argument("--only", action="append", choices=PARTS, help="this part alone; may be repeated")
    parser.add_argument("--guests", type=int, default=100, help="that read at the same time")
    parser.add_argument("--think", type=float, default=1.0, help="seconds between an answer and the next request")
    parser.add_argument("--seconds", type=float, default=30.0, help="of one run")
    parser.add_argument("--web", action="append", help=f"processes x threads of the web role, instead of trying {WEB}")
    parser.add_argument(
        "--folder", type=Path, default=Path("/var/tmp"), help="on a disk; other accounts may pass through"
    )
    parser.add_argument("--longest", type=int, default=3600, help="seconds after which the whole run is given up")
    given = parser.parse_args(arguments)
    is_smoke = given.smoke
    return Options(
        parts=tuple(part for part in PARTS if part in (given.only or PARTS)),
        guests=min(given.guests, 5) if is_smoke else given.guests,
        think=given.think,
        seconds=min(given.seconds, 5.0) if is_smoke else given.seconds,
        web=tuple(Web.of(one) for one in given.web or ((WEB[0],) if is_smoke else WEB)),
        profiled=10 if is_smoke else 60,
        folder=given.folder,
        longest=given.longest,
    )


def main(arguments: Sequence[str]) -> int:
    """The exit status."""
    options = _parsed(arguments)
    if len(os.sched_getaffinity(0)) > PROCESSORS:  # the readers keep off the gateway's
        os.sched_setaffinity(0, os.sched_getaffinity(0) - set(range(PROCESSORS)))

    def carried_out() -> Mapping[str, float | None]:
        with surroundings(options.folder) as around:
            bench = Bench(options, around)
            bench.run()
            return bench.figures

    return exit_status(carried_out, longest=options.longest)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
