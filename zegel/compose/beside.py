"""What runs in dispatch beside its jobs. Imported when Django has been started."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Final

from django.db import connection

from zegel.accounts import answered, audit, credentials, devices, lists, throttle
from zegel.accounts.domain_watch import Watch
from zegel.accounts.sessions import forget_ended as forget_ended_sessions
from zegel.accounts.submitting import forget_usage
from zegel.compose.clock import now
from zegel.compose.doers import Shared
from zegel.compose.parts import release_held
from zegel.compose.state import erasure_journal
from zegel.edge.blobs import Blobs
from zegel.edge.log import Broken, log
from zegel.edge.sqlite import shorten_log
from zegel.journey import webhooks
from zegel.journey.alarming import Alarming
from zegel.journey.custody import outbox, traces
from zegel.journey.custody.erasures import keep_journal
from zegel.journey.custody.forgetting import forget_what_was_asked
from zegel.journey.custody.numbers import Numbering
from zegel.journey.custody.numbers import forget_old as forget_old_numbers
from zegel.journey.custody.retention import Retention, empty_log, forget_drafts, forget_mails_of_no_message
from zegel.journey.delivery.sts import forget_ended
from zegel.journey.delivery.tls_results import forget_old as forget_old_tls_results
from zegel.journey.importing import forget_old as forget_old_imports
from zegel.journey.report.domains import DomainMails
from zegel.settings import Settings
from zegel.web.sessions import forget_expired

AFTER_TROUBLE: Final = 30.0  # seconds
SHORTEN: Final = 0.25  # seconds between two moves of what is in SQLite's log
COUNTER: Final = "counting.lock"  # on which the process that counts days holds on


def start(shared: Shared, retention: Retention) -> Callable[[], None]:
    """Starts all of it, and returns what ends it; nobody waits for that. Inside an event loop."""
    settings, writer, readers, unsealer = shared.settings, shared.writer, shared.readers, shared.unsealer
    sealing, url = shared.keys.sealing, settings.portal.url
    is_over = threading.Event()
    if settings.postgresql is None:
        threading.Thread(target=_keep_log_short, args=(settings, is_over), daemon=True).start()
    refreshing = lists.Refreshing(lists.fetcher(settings), now=now, gained=release_held(settings))
    refreshing.start()
    numbering = Numbering(settings.run / COUNTER, now=now)
    numbering.start()
    watch = Watch(
        writer,
        readers,
        shared.dns,
        gateway=settings.hostname,
        sealing=sealing,
        now=now,
        tell=DomainMails(writer, readers, unsealer, url=url, now=now).tell,
    )
    hooks = webhooks.Telling(writer, readers, open_field=unsealer.field, tells=webhooks.fetcher(settings), now=now)
    alarming = Alarming(writer, readers, settings, sealing=sealing, now=now)
    tasks = [
        asyncio.create_task(retention.keep_sweeping(*_sweepings(shared.blobs))),
        asyncio.create_task(watch.keep_looking()),
        asyncio.create_task(hooks.keep_telling()),
        asyncio.create_task(alarming.keep_looking()),
        asyncio.create_task(keep_journal(erasure_journal(settings), readers)),
    ]

    def end() -> None:
        refreshing.stop()
        is_over.set()
        numbering.stop()
        for task in tasks:
            task.cancel()

    return end


def _sweepings(blobs: Blobs) -> tuple[Callable[[], object], ...]:
    """What is forgotten when its time is over, besides conversations."""
    return (
        lambda: forget_expired(now()),
        lambda: forget_drafts(now()),
        lambda: forget_mails_of_no_message(now()),
        forget_what_was_asked,
        lambda: throttle.forget_old(now()),
        lambda: credentials.forget_failures(now()),
        lambda: answered.forget_old(now()),
        lambda: devices.forget_expired(now()),
        lambda: forget_ended_sessions(now()),
        lambda: forget_usage(now()),
        lambda: forget_ended(now()),
        lambda: forget_old_tls_results(now()),
        lambda: forget_old_imports(now()),
        lambda: audit.shorten(now()),
        lambda: traces.shorten(now, remove=blobs.remove, clear=empty_log),
        lambda: forget_old_numbers(now()),
        lambda: outbox.forget_old(now()),
    )


def _keep_log_short(settings: Settings, is_over: threading.Event) -> None:
    """What is committed moves from SQLite's log into its file beside the commits. Else every few hundredth commit would
    do that first, and all who wait for it would wait for some twenty milliseconds more."""
    wal, seen = settings.database.with_name(f"{settings.database.name}-wal"), 0
    while not is_over.wait(SHORTEN):
        try:
            written = wal.stat().st_mtime_ns
            if written != seen:
                with connection.cursor() as cursor:
                    shorten_log(lambda pragma: cursor.execute(pragma).fetchone())
                seen = written
        except FileNotFoundError:
            pass
        except Exception as cause:  # a full disk: commits do it themselves, as far as they can
            log(Broken("shortening the log", cause))
            connection.close()
            is_over.wait(AFTER_TROUBLE)
    connection.close()
