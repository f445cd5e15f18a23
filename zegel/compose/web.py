"""The web role: the portal, the console and the API as one WSGI application, and its server."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

from zegel.compose.clock import now
from zegel.compose.database import turns
from zegel.compose.metrics import count
from zegel.compose.parts import dry_run, resolver
from zegel.compose.process import collect_less, end_with_parent, start_django, use
from zegel.compose.state import MINIMUM_FREE
from zegel.edge import keyring
from zegel.edge.blobs import Blobs
from zegel.edge.clamd import Clamd
from zegel.edge.log import Started, Stopped, configure, log
from zegel.edge.tls import server_context
from zegel.edge.wake import Crowd, ring
from zegel.settings import Settings, load_from_environment

if TYPE_CHECKING:
    from zegel.api.setup import Api
    from zegel.edge.keyring import OpeningKeys
    from zegel.journey.custody.memory import OpensFields


def web_application() -> Any:
    """The WSGI application; called once in each worker process of the web role."""
    settings = load_from_environment()
    use(None, role="web")
    configure(settings.log_level)
    start_django()
    from zegel.api import setup as api
    from zegel.journey.custody.unseal import Unsealer
    from zegel.journey.portal import setup
    from zegel.web.application import application

    keys, blobs = keyring.opening_keys(settings.keys), Blobs(settings.blobs)
    unsealer = Unsealer(keys, blobs)
    count(settings, "web")
    api.configure(_api(settings, keys, unsealer.field))
    setup.configure(
        setup.Portal(
            unsealer=unsealer,
            blobs=blobs,
            keys=keys,
            url=settings.portal.url,
            ring=lambda: ring(settings.run),
            now=now,
            answer_limit=settings.portal.answer_limit,
            scanner=Clamd(settings.portal.clamd) if settings.portal.clamd is not None else None,
        )
    )
    end_with_parent()
    made = application()
    collect_less()
    return made


def _api(settings: Settings, keys: OpeningKeys, open_field: OpensFields) -> Api:
    """What the API works with. A message that is sent through it takes the way of one that comes by SMTP."""
    from zegel.api.mailroom import Mailroom
    from zegel.api.setup import Api
    from zegel.core.seal.slot import derive
    from zegel.edge.database import Readers, Writer
    from zegel.journey.arrival.intake import Place
    from zegel.journey.custody.seal import Wrapper

    def furnish() -> Place:
        return Place(
            hostname=settings.hostname,
            keys=keyring.submission_keys(settings.keys),
            wrapper=Wrapper(keys.sealing),
            blobs=Blobs(settings.blobs),
            writer=Writer(turns(settings), crowded=Crowd(settings.run).tell),
            readers=Readers(threads=1),
            dns=resolver(settings),
            now=now,
            ring=lambda: ring(settings.run),
        )

    return Api(
        dry_run(settings, open_field, keys.marker),
        now,
        sealing=keys.sealing,
        answers_key=derive(keys.web, "api-answers"),
        mailroom=Mailroom(
            furnish,
            max_size=settings.submission.max_size,
            max_recipients=settings.submission.max_recipients,
            has_room=lambda: shutil.disk_usage(settings.folder).free > MINIMUM_FREE,
        ),
        blobs=Blobs(settings.blobs),
        dns=lambda: resolver(settings),
        hostname=settings.hostname,
        ring=lambda: ring(settings.run),
    )


def serve_web(settings: Settings) -> None:
    """Granian in this process until SIGTERM."""
    from granian import Granian
    from granian.constants import Interfaces
    from granian.log import LogLevels

    section = settings.portal
    if section.certificate is not None and section.certificate_key is not None:
        server_context(section.certificate, section.certificate_key)  # says in a sentence what Granian would not
    server = Granian(
        "zegel.compose.web:web_application",
        factory=True,
        interface=Interfaces.WSGI,
        address=section.listen.host,
        port=section.listen.port,
        workers=section.processes,
        blocking_threads=section.threads,
        respawn_failed_workers=True,
        log_access=False,
        log_level=LogLevels.warning,
        ssl_cert=section.certificate,
        ssl_key=section.certificate_key,
        workers_kill_timeout=5,
    )
    log(Started("web", str(section.listen)))
    server.serve()
    log(Stopped("web"))
