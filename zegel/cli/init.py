"""The first start in production: one file, one organisation, one administrator, and what to publish."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from zegel.cli.base import Trouble, act_as_user, settings_of, tells_trouble
from zegel.cli.configuration import Values, written
from zegel.cli.domains import print_records
from zegel.compose import process, state
from zegel.compose.database import has_database
from zegel.core.mail.address import Domain, Mailbox, NotADomain, NotAMailbox
from zegel.core.policy.audit import Act
from zegel.core.policy.roles import MAY, Capability, Role
from zegel.edge import keyring
from zegel.edge.certificates import examine as examine_certificate
from zegel.settings import BadSettings, Settings, load

if TYPE_CHECKING:
    from zegel.accounts.models import Organisation

USUAL: Final = Path("/etc/zegel/zegel.toml")
_ADMINISTER: Final = [role.value for role in Role if MAY[role] >= {Capability.ACCOUNTS}]
LETS_ENCRYPT: Final = "https://acme-v02.api.letsencrypt.org/directory"


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked where no flag says it. ``check`` gives the value, or raises ``ValueError`` with an example."""

    flag: str
    asks: str
    check: Callable[[str], str]
    default: str | None = None


def _host(text: str) -> str:
    try:
        return Domain.parse(text).ascii
    except NotADomain:
        raise ValueError("write a host name in full, like zegel.example.org") from None


def _domain(text: str) -> str:
    try:
        return Domain.parse(text).ascii
    except NotADomain:
        raise ValueError("write the domain that stands behind the @, like example.org") from None


def _mailbox(text: str) -> str:
    try:
        return str(Mailbox.parse(text))
    except NotAMailbox:
        raise ValueError("write an e-mail address, like beheer@example.org") from None


def _name(text: str) -> str:
    if not 0 < len(text.strip()) <= 200:
        raise ValueError('write a name of at most 200 characters, like "Gemeente Voorbeeld"')
    return text.strip()


def _path(text: str) -> str:
    if not Path(text).expanduser().is_absolute():
        raise ValueError("write the whole path, like /var/lib/zegel")
    return str(Path(text).expanduser())


def _url(text: str) -> str:
    if not text.startswith("https://"):
        raise ValueError("write an address that begins with https://, like https://secure.example.org")
    return text


HOSTNAME: Final = Question("hostname", "Host name of this gateway, as mail servers know it", _host)
FOLDER: Final = Question("folder", "Folder for all its data", _path, "/var/lib/zegel")
RESOLVER: Final = Question("resolver", "IP address of a DNS resolver that validates", str.strip, "127.0.0.1")
URL: Final = Question("portal-url", "Address of the portal, as recipients reach it", _url)
ORGANISATION: Final = Question("organisation", "Name of the first organisation", _name)
DOMAIN: Final = Question("domain", "Domain that it sends mail from", _domain)
ADMINISTRATOR: Final = Question("administrator", "E-mail address of its first administrator", _mailbox)


@click.command()
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="ZEGEL_CONFIG",
    default=USUAL,
    show_default=True,
    help="The file to write. One that is there is never changed.",
)
@click.option("--hostname", help="The name that mail servers know this machine by.")
@click.option("--folder", help="All data: database (unless --database-url names one), content, keys.")
@click.option("--keyring", "keys", help="Folder of the keys, where they don't lie in the data folder.")
@click.option("--database-url", help="PostgreSQL in the place of SQLite, like postgresql:///zegel.")
@click.option("--database-password", help="A file with the password for it, and nothing else.")
@click.option("--erasures", help="Folder of the journal of erasures, best on another disk.")
@click.option("--resolver", help="IP address of a validating DNS resolver.")
@click.option("--portal-url", help="As recipients reach it, like https://secure.example.org.")
@click.option("--certificate", help="Of the submission server: a PEM chain; with --certificate-key.")
@click.option("--certificate-key", help="Its key, PEM.")
@click.option("--acme", is_flag=True, help=f"Get that certificate from an authority: {LETS_ENCRYPT}")
@click.option("--acme-directory", help="Another authority than that.")
@click.option("--acme-contact", help="An e-mail address for the authority.")
@click.option("--agree-to-terms", is_flag=True, help="To those of the authority.")
@click.option("--organisation", help="The name of the first organisation.")
@click.option("--language", type=click.Choice(["nl", "en"]), default="nl", show_default=True)
@click.option("--domain", help="The domain that it sends from.")
@click.option("--administrator", help="The e-mail address of its first administrator.")
@click.option("--password", help="The administrator's first password; asked for when it is left out.")
@tells_trouble
def init(config: Path, **given: Any) -> None:
    """Set a gateway up: configuration, keys, database, the first organisation, its domain and its administrator.

    Asks for what no option says. A second run changes nothing: it tells what is there, and what lacks.
    """
    if config.exists():
        _tell_what_is_there(config)
        return
    _require_writable(config)
    answers = {
        question.flag: _answer(question, given[question.flag.replace("-", "_")])
        for question in (HOSTNAME, FOLDER, RESOLVER)
    }
    host = answers[HOSTNAME.flag]
    for question in (
        replace(URL, default=f"https://{host}"),
        ORGANISATION,
        replace(DOMAIN, default=host.partition(".")[2]),
        ADMINISTRATOR,
    ):
        answers[question.flag] = _answer(question, given[question.flag.replace("-", "_")])
    part = config.with_name(f"{config.name}.part")
    try:
        settings = _tried(part, _values(answers, given))
        password = given["password"] or _ask_password()
        process.use(part)
        process.start_django()
        _require_password(password)
        _require_new(settings)
        os.link(part, config)  # never over one that is there
    finally:
        part.unlink(missing_ok=True)
    process.use(config)
    click.echo(f"Wrote {config}.")
    state.prepare(settings)
    made = "keys and database" if settings.postgresql is None else f"the tables in {settings.database_url}, and keys"
    click.echo(f"Made {made} in {settings.folder}.")
    _make_first(answers, given["language"], password, settings)
    _tell_next(config)


def _answer(question: Question, given: str | None) -> str:
    """Asked again until it can be understood; a flag that can't be is refused."""
    if given is None and not sys.stdin.isatty():
        if question.default is None:
            raise Trouble(f"--{question.flag} is missing: {_example(question)}.")
        given = question.default
    if given is not None:
        try:
            return question.check(given)
        except ValueError as cause:
            raise Trouble(f"--{question.flag}: {given!r} can't be used: {cause}.") from cause
    while True:
        try:
            return question.check(click.prompt(question.asks, default=question.default))
        except ValueError as cause:
            click.echo(f"That can't be used: {cause}.")


def _example(question: Question) -> str:
    try:
        question.check("")
    except ValueError as cause:
        return str(cause)
    return question.asks


def _ask_password() -> str:
    if not sys.stdin.isatty():
        raise Trouble(
            "--password is missing: write a password of twelve characters or more, or run this in a terminal."
        )
    return str(click.prompt("First password of the administrator", hide_input=True, confirmation_prompt=True))


def _require_password(password: str) -> None:
    from django.contrib.auth.password_validation import validate_password
    from django.core.exceptions import ValidationError

    try:
        validate_password(password)
    except ValidationError as cause:
        raise Trouble(f"--password is not accepted: {' '.join(cause.messages)}") from None


def _require_writable(config: Path) -> None:
    try:
        config.parent.mkdir(parents=True, exist_ok=True)
    except OSError as cause:
        raise Trouble(
            f"The folder {config.parent} can't be made ({cause.strerror}). Make it, or name another file."
        ) from None
    if not os.access(config.parent, os.W_OK | os.X_OK):
        raise Trouble(
            f"{config.parent} can't be written. Run this as the user that Zegel runs as, after: "
            f"install -d -o zegel -g zegel -m 0750 {config.parent}"
        )


def _values(answers: dict[str, str], given: dict[str, Any]) -> Values:
    top: dict[str, Any] = {"hostname": answers["hostname"], "folder": answers["folder"]}
    if given["database_url"]:
        top["database_url"] = given["database_url"]
    for name, flag in (("database_password", "database_password"), ("keyring", "keys"), ("erasures", "erasures")):
        if given[flag]:
            top[name] = _answer(Question(name, "", _path), given[flag])
    values: dict[str, dict[str, Any]] = {
        "": top,
        "delivery": {"resolver": answers["resolver"]},
        "portal": {"url": answers["portal-url"]},
    }
    names = ("certificate", "certificate_key")
    if any(given[name] for name in names):
        values["submission"] = {name: _answer(Question(name, "", _path), given[name]) for name in names if given[name]}
    directory = given["acme_directory"] or (LETS_ENCRYPT if given["acme"] else "")
    if directory:
        if not given["agree_to_terms"]:
            raise Trouble("--agree-to-terms is missing: read the terms of the authority, and add it if you agree.")
        values["acme"] = {"directory": directory, "agree_to_terms": True}
        if given["acme_contact"]:
            values["acme"]["contact"] = _answer(Question("acme-contact", "", _mailbox), given["acme_contact"])
    return values


def _tried(part: Path, values: Values) -> Settings:
    """The file, written under another name, read back and understood. Raises :class:`Trouble`."""
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(written(values))
        file.flush()
        os.fsync(file.fileno())
    try:
        settings = load(part)
    except BadSettings as cause:
        raise Trouble(f"That can't be a configuration: {str(cause).removeprefix(f'{part}: ')}.") from None
    section = settings.submission
    if section.certificate is not None and section.certificate_key is not None:
        examine_certificate((section.certificate, section.certificate_key))
    if settings.postgresql is None:
        _require_new(settings)
    return settings


def _require_new(settings: Settings) -> None:
    """With PostgreSQL once Django is started."""
    if has_database(settings):
        where, other = (
            (settings.folder, "folder") if settings.postgresql is None else (settings.database_url, "database")
        )
        raise Trouble(
            f"There is a gateway in {where} already. Name its configuration with --config, or another {other}."
        )


def _make_first(answers: dict[str, str], language: str, password: str, settings: Settings) -> None:
    """All of it or nothing."""
    from django.db import transaction

    from zegel.accounts import domains
    from zegel.accounts.audit import note
    from zegel.accounts.models import Account, Organisation

    act_as_user("warning")  # this is read by people; later hashes cover those of the first entries
    with transaction.atomic():
        organisation = Organisation.objects.create(name=answers["organisation"], language=language)
        note(Act.ORGANISATION_ADDED, organisation, organisation.name, {"language": language})
        sealing = keyring.submission_keys(settings.keys).sealing
        domain = domains.add(organisation, Domain.parse(answers["domain"]), sealing=sealing)
        Account.objects.create_user(
            answers["administrator"], password, organisation=organisation, role=Role.OWNER.value
        )
        note(Act.ACCOUNT_ADDED, organisation, answers["administrator"], {"role": Role.OWNER.value})
    click.echo(f"Added {organisation.name}, its domain {domain.name} and its administrator {answers['administrator']}.")
    click.echo("\nPublish these DNS records:")
    print_records(domain, settings)


def _tell_next(config: Path) -> None:
    click.echo(
        f"\nNext:\n"
        f"  export ZEGEL_CONFIG={config}\n"
        f"  zegel keys backup FILE    without the keys nobody reads the stored mail again: keep FILE elsewhere\n"
        f"  zegel run                 or: systemctl enable --now zegel\n"
        f"  zegel doctor              says what lacks, and what to do"
    )


# --- a second run -------------------------------------------------------------------------------------------------


def _tell_what_is_there(config: Path) -> None:
    settings = settings_of(config)
    click.echo(f"{config} is there, and stays as it is: host name {settings.hostname}, folder {settings.folder}.")
    process.start_django()
    if not has_database(settings):
        click.echo(f"There is no database yet. Make it with: zegel migrate --config {config}")
        return
    from zegel.accounts.models import Organisation

    organisations = list(Organisation.objects.order_by("name"))
    for one in organisations:
        _tell_of(one)
    if not organisations:
        click.echo("There is no organisation yet. Add it with: zegel organisation add NAME")
    _tell_next(config)


def _tell_of(organisation: Organisation) -> None:
    from zegel.accounts.models import Account, SendingDomain

    domains = SendingDomain.objects.filter(organisation=organisation).order_by("name").values_list("name", flat=True)
    people = Account.objects.filter(organisation=organisation, role__in=_ADMINISTER).order_by("email")
    click.echo(f"{organisation.name}:")
    click.echo(f"  domains: {' '.join(domains) or 'none; add one with: zegel domain add'}")
    found = " ".join(people.values_list("email", flat=True))
    click.echo(f"  administrators: {found or 'none; add one with: zegel account add … --role administrator'}")


COMMANDS: Sequence[click.Command] = (init,)
