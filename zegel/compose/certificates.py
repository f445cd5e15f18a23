"""The submission server's certificate: where it is looked for, what is told of it, and the role that asks for it."""

from __future__ import annotations

from collections.abc import Callable

from zegel.compose.clock import now
from zegel.compose.process import stop_event
from zegel.edge.certificates import Files, Loaded, TroubleSeen, acme_files, acme_folder, self_signed
from zegel.edge.log import (
    CertificateIssued,
    CertificateLoaded,
    CertificateNotIssued,
    CertificateTroubleSeen,
    Started,
    Stopped,
    log,
)
from zegel.settings import Settings


def certificate_sources(settings: Settings) -> tuple[Files, ...]:
    """Where the submission server's certificate and key are looked for, the best first. Self-signed ones are made where
    the settings name none, and shown until an authority has given better ones."""
    section = settings.submission
    if section.certificate is not None and section.certificate_key is not None:
        return ((section.certificate, section.certificate_key),)
    own = self_signed(settings.hostname, settings.keys)
    if settings.acme.directory:
        return acme_files(acme_folder(settings.keys, settings.acme.directory)), own
    return (own,)


def tell_of_certificate(told: Loaded | TroubleSeen) -> None:
    """What became of the one that is shown, for the log."""
    match told:
        case Loaded(names, ends):
            log(CertificateLoaded(" ".join(names), ends.isoformat()))
        case TroubleSeen(what):
            log(CertificateTroubleSeen(what))


async def certificates(settings: Settings, ready: Callable[[], None]) -> None:
    """Gets the submission server's certificate of an authority, until SIGTERM. Holds no key to mail."""
    from zegel.edge import acme

    def tell(told: acme.Told) -> None:
        match told:
            case acme.Issued(names, ends):
                log(CertificateIssued(" ".join(names), ends.isoformat()))
            case acme.NotIssued(what, again):
                log(CertificateNotIssued(what, again.isoformat()))

    def listening() -> None:
        log(Started("certificates", " ".join(map(str, section.listen))))
        ready()

    section, url = settings.acme, settings.portal.url
    await acme.keep(
        acme.Wanted(section.directory, settings.acme_names(), section.contact, section.extra_ca),
        acme_folder(settings.keys, section.directory),
        listen=[(one.host, one.port) for one in section.listen],
        now=now,
        stop=stop_event(),
        tell=tell,
        elsewhere=url if url.startswith("https://") else None,
        ready=listening,
    )
    log(Stopped("certificates"))
