"""The one typed configuration: a TOML file, overridden by ``ZEGEL_…`` environment variables.

Every module gets the values that it needs as arguments; only :mod:`zegel.compose` and the command line read this.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import parse_qsl, unquote, urlsplit

import pydantic
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from zegel.core.mail.address import Domain, Mailbox, NotADomain, NotAMailbox
from zegel.core.policy.retry import Patience
from zegel.core.sms import OWN_BODY, OWN_HEADERS, PROVIDERS, is_account, is_header, is_sender

CONFIG_VARIABLE = "ZEGEL_CONFIG"
LONGEST_HOST_NAME = 64  # of zegel.core.mail.trace.loop_marker


_LOOPBACK = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))


class BadSettings(Exception):
    """One sentence for the operator: which setting, what is wrong, what to do."""


class Listen(BaseModel):
    """An address and port, written ``host:port`` in the file."""

    model_config = ConfigDict(frozen=True)
    host: str
    port: int = Field(ge=0, le=65535)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _parse_listen(value: object) -> object:
    if not isinstance(value, str):
        return value
    host, colon, port = value.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        ip_address(host)
    except ValueError:
        colon = ""
    if not colon or not port.isdigit():
        raise ValueError(f"write an IP address and a port, like 127.0.0.1:587, instead of {value!r}")
    return {"host": host, "port": int(port)}


Address = Annotated[Listen, BeforeValidator(_parse_listen)]


def _is_ip(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _has_port(resolver: str) -> bool:
    return not _is_ip(resolver)


def _require_resolver(value: str) -> str:
    if _has_port(value):
        try:
            Listen.model_validate(_parse_listen(value))
        except ValueError as cause:
            raise ValueError(f"write an IP address, like 127.0.0.1, instead of {value!r}") from cause
    return value


def _parse_host_name(value: str) -> str:
    if value == "localhost" or _is_ip(value):
        return value
    try:
        return Domain.parse(value).ascii
    except NotADomain as cause:
        raise ValueError(f"write a host name, like zegel.voorbeeld.nl, instead of {value!r}") from cause


def _parse_url(value: str) -> str:
    """Where links begin: a scheme and a host, and a port where it isn't the usual one."""
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname or "", parts.port
        is_plain = parts.path in ("", "/") and not (parts.query or parts.fragment or parts.username)
        if parts.scheme not in ("http", "https") or not is_plain or (_parse_host_name(host) != host):
            raise ValueError(value)
    except ValueError as cause:
        raise ValueError(
            f"write the address of the portal, like https://zegel.voorbeeld.nl, instead of {value!r}"
        ) from cause
    return value.rstrip("/")


def _parse_directory(value: str) -> str:
    """Where an ACME client begins; empty: nowhere."""
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname or "", parts.port
        is_plain = parts.scheme == "https" and not (parts.fragment or parts.username)
        if value and (not is_plain or _parse_host_name(host) != host):
            raise ValueError(value)
    except ValueError as cause:
        raise ValueError(
            "write the address of the authority's directory, like https://acme-v02.api.letsencrypt.org/directory, "
            f"instead of {value!r}"
        ) from cause
    return value


def _parse_contact(value: str) -> str:
    try:
        return str(Mailbox.parse(value)) if value else ""
    except NotAMailbox as cause:
        raise ValueError(f"write an e-mail address instead of {value!r}") from cause


def _require_mail_name(value: str) -> str:
    """It stands as one word in trace fields and in the loop marker."""
    if ":" in value or len(value) > LONGEST_HOST_NAME:
        raise ValueError(f"write a host name of at most {LONGEST_HOST_NAME} characters instead of {value!r}")
    return value


def _parse_scanner(value: object) -> object:
    """``host:port``, or the path of a socket."""
    if not isinstance(value, str) or value.startswith(("/", "~")):
        return value
    host, colon, port = value.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        is_port = bool(colon) and port.isdigit() and int(port) < 65536
        if not is_port or (not _is_ip(host) and _parse_host_name(host) != host):
            raise ValueError(value)
    except ValueError as cause:
        raise ValueError(
            "write an address and a port, like 127.0.0.1:3310, or the path of a socket, like /run/clamav/clamd.ctl, "
            f"instead of {value!r}"
        ) from cause
    return {"host": host, "port": int(port)}


@dataclass(frozen=True, slots=True)
class DatabasePlace:
    """A PostgreSQL database: where its server is, and as whom we come."""

    name: str
    host: str  # a name, an IP address, or the folder of a socket
    port: int
    user: str  # empty: as libpq does it, the user of the machine
    options: tuple[tuple[str, str], ...]  # of libpq, about TLS

    @property
    def is_here(self) -> bool:
        """Nobody is on the way to it."""
        return self.host.startswith("/") or self.host == "localhost" or (_is_ip(self.host) and _is_loopback(self.host))


def _is_loopback(host: str) -> bool:
    return ip_address(host).is_loopback


_DATABASE_EXAMPLE = "write where the database is, like postgresql:///zegel or postgresql://zegel@db.example.org/zegel"
_DATABASE_OPTIONS = ("sslmode", "sslrootcert", "sslcert", "sslkey")
_SOCKETS = "/run/postgresql"  # where Debian and others have it; libpq's own idea depends on who built it


def database_place(url: str) -> DatabasePlace:
    """What a URL of libpq says, of what is understood here. Raises ``ValueError``; no message has the URL, in which
    somebody may have written a password."""
    try:
        parts = urlsplit(url)
        host, port, name = unquote(parts.hostname or ""), parts.port or 5432, unquote(parts.path.removeprefix("/"))
        given = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        raise ValueError(_DATABASE_EXAMPLE) from None
    options = dict(given)
    if parts.password is not None or "password" in options:
        raise ValueError("no password may stand in it: write it in a file, and name that in database_password")
    host = options.pop("host", "") or host or _SOCKETS
    is_one = len(given) == len(dict(given)) and not any(mark in host + name for mark in ",\0")
    if parts.scheme not in ("postgresql", "postgres") or not name or "/" in name or parts.fragment or not is_one:
        raise ValueError(_DATABASE_EXAMPLE)
    if unknown := options.keys() - set(_DATABASE_OPTIONS):
        raise ValueError(f"{sorted(unknown)[0]!r} can't stand in it, but {', '.join(('host', *_DATABASE_OPTIONS))} can")
    if any(not Path(options[one]).is_absolute() for one in _DATABASE_OPTIONS[1:] if one in options):
        raise ValueError("write paths in it in full")
    place = DatabasePlace(name, host, port, unquote(parts.username or ""), tuple(sorted(options.items())))
    if not place.is_here and (options.get("sslmode") != "verify-full" or "sslrootcert" not in options):
        raise ValueError(
            "to another machine only with TLS and a verified certificate: add "
            "?sslmode=verify-full&sslrootcert=/etc/ssl/certs/ca-certificates.crt"
        )
    return place


def _parse_database(value: str) -> str:
    if value:
        database_place(value)
    return value


def _parse_network(value: object) -> object:
    try:
        return ip_network(str(value))
    except ValueError as cause:
        raise ValueError(f"write an IP address or a network, like 192.0.2.0/24, instead of {value!r}") from cause


Network = Annotated[IPv4Network | IPv6Network, BeforeValidator(_parse_network)]
ScannerPlace = Annotated[Listen | Path, BeforeValidator(_parse_scanner)]
ResolverAddress = Annotated[str, AfterValidator(_require_resolver)]
HostName = Annotated[str, AfterValidator(_parse_host_name), AfterValidator(_require_mail_name)]
Url = Annotated[str, AfterValidator(_parse_url)]
Directory = Annotated[str, AfterValidator(_parse_directory)]
Contact = Annotated[str, AfterValidator(_parse_contact)]
DatabaseUrl = Annotated[str, AfterValidator(_parse_database)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _sender(text: str) -> str:
    if not is_sender(text):
        raise ValueError("write at most 11 letters and digits, like Zegel, or a telephone number, like +31612345678")
    return text


def _country(text: str) -> str:
    if re.fullmatch("[A-Z]{2}", text) is None:
        raise ValueError('write the two capitals of a country, like "NL"')
    return text


def _header(text: str) -> str:
    if not is_header(text):
        raise ValueError('write a header like "Authorization: Bearer {secret}"')
    return text


class Submission(_Section):
    """The door for mail servers (port 587)."""

    listen: tuple[Address, ...] = (Listen(host="0.0.0.0", port=587),)  # IP addresses and ports; STARTTLS  # noqa: S104
    listen_implicit_tls: tuple[Address, ...] = ()  # the same with TLS from the first octet (port 465)
    certificate: Path | None = None  # PEM chain; without one a self-signed certificate is made at first run
    certificate_key: Path | None = None  # its key, PEM
    processes: int = Field(default=1, ge=1, le=64)  # they share the ports
    max_size: int = Field(default=150_000_000, ge=100_000)  # octets of a message
    max_recipients: int = Field(default=1000, ge=1, le=10_000)  # of a message

    @property
    def has_recorder(self) -> bool:
        """Several processes commit through one of its own (ADR-48)."""
        return self.processes > 1


class Inbound(_Section):
    """Where bounces of our own mail come home (port 25)."""

    listen: tuple[Address, ...] = ()  # empty: they don't, and senders don't hear of them


class Delivery(_Section):
    """Outgoing mail."""

    processes: int = Field(default=1, ge=1, le=64)  # that decide and deliver
    connections: int = Field(default=50, ge=1, le=1000)  # per process
    resolver: ResolverAddress | None = None  # IP address of the DNS resolver; a port (IP:port) only while testing
    mx_port: int = Field(default=25, ge=1, le=65535)  # other than 25 only while testing
    extra_ca: Path | None = None  # PEM, trusted besides the system's; only while testing
    retry_first: float = Field(default=900.0, gt=0)  # seconds; below 60 only while testing
    give_up_after: float = Field(default=432_000.0, ge=3_600, le=1_209_600)  # seconds of trying; two fifths if readable
    warn_after: float = Field(default=14_400.0, gt=0)  # seconds of trying until the sender hears that it takes long
    timeout: float = Field(default=60.0, gt=0)  # seconds for each reply; docs/delivery.md says why not 300

    def patience(self) -> Patience:
        """How long mail is tried. Raises ``ValueError`` where these settings contradict each other."""
        try:
            return Patience.of(
                first=timedelta(seconds=self.retry_first),
                give_up_after=timedelta(seconds=self.give_up_after),
                warn_after=timedelta(seconds=self.warn_after),
            )
        except (ValueError, OverflowError):
            raise ValueError("delivery.retry_first is at most two fifths of delivery.give_up_after") from None


class Portal(_Section):
    """The web pages for recipients, senders and administrators."""

    url: Url = "http://localhost:8080"  # as recipients reach it, without a path; stands in every notification
    listen: Address = Listen(host="127.0.0.1", port=8080)  # IP address and port
    certificate: Path | None = None  # PEM chain: the portal then speaks HTTPS itself; else put a TLS proxy before it
    certificate_key: Path | None = None  # its key, PEM
    trusted_proxies: tuple[Network, ...] | None = None  # networks; believed about visitors' addresses
    processes: int = Field(default=2, ge=1, le=64)  # that make pages; 110 MB each
    threads: int = Field(default=8, ge=1, le=128)  # of each process
    answer_limit: int = Field(default=100_000_000, ge=1_000_000, le=2_000_000_000)  # octets of a file in an answer
    clamd: ScannerPlace | None = None  # examines what guests send; empty: nobody does
    private_identity_providers: bool = False  # sign-in services may have addresses inside the network


class Acme(_Section):
    """A certificate for the submission server that is asked of an authority, instead of files."""

    directory: Directory = ""  # URL of the authority; empty: none is asked
    agree_to_terms: bool = False  # to those of the authority; nothing is asked without
    contact: Contact = ""  # an e-mail address for the authority
    names: tuple[HostName, ...] = ()  # of the certificate; empty: the hostname
    listen: tuple[Address, ...] = (Listen(host="0.0.0.0", port=80),)  # where the authority looks  # noqa: S104
    extra_ca: Path | None = None  # PEM, trusted besides the system's; only while testing


class Metrics(_Section):
    """For programs that watch the gateway: Prometheus metrics, health and readiness."""

    listen: Address | None = None  # IP address and port, never one that strangers reach; empty: nothing is counted


class Sms(_Section):
    """Where codes for telephones go."""

    driver: Literal["none", "folder", "cm", "bird", "spryng", "twilio", "http"] = "none"  # who sends them: docs/sms.md
    sender: Annotated[str, AfterValidator(_sender)] = "Zegel"  # at most 11 letters and digits, or a number
    secret: Path | None = None  # file with the provider's token or key, and nothing else
    account: str = ""  # Twilio: the account SID; Bird: workspace/channel
    countries: tuple[Annotated[str, AfterValidator(_country)], ...] = ()  # texts go there only, as "NL"; none: anywhere
    url: str = ""  # of the driver "http"; https
    body: str = OWN_BODY  # of that driver: {to}, {from}, {text} and {reference} are filled in
    kind: Literal["application/json", "application/x-www-form-urlencoded"] = "application/json"  # of that body
    headers: tuple[Annotated[str, AfterValidator(_header)], ...] = OWN_HEADERS  # of that driver; {secret} is filled in
    folder: Path | None = None  # of the driver "folder", which is for tests: it writes codes to files


class Webhooks(_Section):
    """Where programs are told of milestones and alarms."""

    networks: tuple[Network, ...] = ()  # that are not on the internet and may be reached; empty: none


class Alarms(_Section):
    """Who hears of what is wrong with the gateway itself; organisations hear of their own."""

    mail: Contact = ""  # an e-mail address; empty: nobody is mailed
    language: Literal["nl", "en"] = "en"  # of those mails


class Settings(BaseSettings):
    """Read with :func:`load`."""

    model_config = SettingsConfigDict(
        extra="forbid", frozen=True, env_prefix="ZEGEL_", env_nested_delimiter="__", toml_file=None
    )
    testing: bool = False  # accepts settings that only tests may use; never for real mail
    hostname: HostName = "localhost"  # the gateway's own name in mail: greeting, Received, MAILER-DAEMON
    folder: Path = Path("state")  # all state: database (unless database_url names one), blobs, keys
    keyring: Path | None = None  # folder of the keys; none: keys in folder
    database_url: DatabaseUrl = ""  # of PostgreSQL, as postgresql:///zegel; empty: SQLite, in folder
    database_password: Path | None = None  # file with the password for it, and nothing else; none: peer, or ~/.pgpass
    erasures: Path | None = None  # folder for the journal of erasures, best on another disk; none: in folder
    log_level: Literal["debug", "info", "warning", "error"] = "info"  # debug, info, warning or error
    submission: Submission = Submission()
    inbound: Inbound = Inbound()
    acme: Acme = Acme()
    delivery: Delivery = Delivery()
    portal: Portal = Portal()
    sms: Sms = Sms()
    metrics: Metrics = Metrics()
    webhooks: Webhooks = Webhooks()
    alarms: Alarms = Alarms()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (env_settings, init_settings)

    @model_validator(mode="after")
    def _testing_only(self) -> Self:
        """Settings for tests are accepted only with ``testing = true``."""
        used = [
            name
            for name, is_used in (
                (
                    "delivery.resolver with a port",
                    self.delivery.resolver is not None and _has_port(self.delivery.resolver),
                ),
                ("delivery.mx_port", self.delivery.mx_port != 25),
                ("delivery.extra_ca", self.delivery.extra_ca is not None),
                ("delivery.retry_first below 60", self.delivery.retry_first < 60),
                ("acme.extra_ca", self.acme.extra_ca is not None),
            )
            if is_used
        ]
        if used and not self.testing:
            raise ValueError(f"{', '.join(used)}: only for tests; set testing = true, or remove it")
        self.delivery.patience()
        if self.sms.driver == "folder" and self.sms.folder is None:
            raise ValueError('sms.folder: the driver "folder" needs a folder to write to')
        if self.sms.driver in PROVIDERS:
            self._sms_is_whole()
        for name, section in (("submission", self.submission), ("portal", self.portal)):
            if (section.certificate is None) != (section.certificate_key is None):
                raise ValueError(f"{name}.certificate and {name}.certificate_key belong together: give both or neither")
        return self

    def _sms_is_whole(self) -> None:
        provider, sms = PROVIDERS[self.sms.driver], self.sms
        if sms.secret is None and provider.name != "http":
            raise ValueError(f'sms.secret: the driver "{provider.name}" needs a file with its token or key')
        if provider.needs_account and not sms.account:
            raise ValueError(f'sms.account: the driver "{provider.name}" needs it')
        if sms.account and not is_account(sms.account):
            raise ValueError("sms.account: write the name of the account, for Bird workspace/channel")
        if provider.name == "http" and not sms.url.startswith("https://"):
            raise ValueError('sms.url: the driver "http" needs an https:// address')

    @model_validator(mode="after")
    def _acme_is_whole(self) -> Self:
        if not self.acme.directory:
            return self
        if not self.acme.agree_to_terms:
            raise ValueError("acme.agree_to_terms: read the terms of the authority, and write true")
        if self.submission.certificate is not None:
            raise ValueError("acme.directory and submission.certificate exclude each other: remove one of them")
        for name in self.acme_names():
            if _is_ip(name) or "." not in name:
                raise ValueError(f"acme.names (or hostname): no authority gives a certificate for {name!r}")
        return self

    def acme_names(self) -> tuple[str, ...]:
        """What the certificate is for."""
        return self.acme.names or (self.hostname,)

    def trusted_proxies(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """Who is believed about a visitor's address. Where nothing is set: this machine, if the pages can be had over
        loopback alone and in clear, so that whoever comes from elsewhere came through a TLS proxy. Else nobody."""
        portal = self.portal
        if portal.trusted_proxies is not None:
            return portal.trusted_proxies
        is_behind_proxy = portal.certificate is None and ip_address(portal.listen.host).is_loopback
        return _LOOPBACK if is_behind_proxy else ()

    @property
    def database(self) -> Path:
        """The file of SQLite."""
        return self.folder / "zegel.sqlite3"

    @property
    def postgresql(self) -> DatabasePlace | None:
        """The database that is used in the place of SQLite's."""
        return database_place(self.database_url) if self.database_url else None

    @property
    def blobs(self) -> Path:
        return self.folder / "blobs"

    @property
    def keys(self) -> Path:
        return self.keyring or self.folder / "keys"

    @property
    def erasure_journal(self) -> Path:
        """What was destroyed, so that no backup brings it back."""
        return (self.erasures or self.folder) / "erasures"

    @property
    def restoring(self) -> Path:
        """It is there while a backup is being put back: nothing starts then."""
        return self.folder / "restoring"

    @property
    def run(self) -> Path:
        """Sockets and process ids; emptied at start."""
        return self.folder / "run"

    def resolver(self) -> tuple[str, int] | None:
        """Address and port of the resolver, or ``None`` for the system's."""
        text = self.delivery.resolver
        if text is None:
            return None
        if not _has_port(text):
            return text, 53
        listen = Listen.model_validate(_parse_listen(text))
        return listen.host, listen.port


def load(path: Path | None) -> Settings:
    """The settings in force. Raises :class:`BadSettings` with a sentence for the operator, not a stack trace."""
    given: dict[str, Any] = {}
    if path is not None:
        if not path.is_file():
            raise BadSettings(f"There is no configuration file {path}. Make one, or name another with --config.")
        try:
            given = TomlConfigSettingsSource(Settings, path)()
        except (ValueError, OSError, RecursionError) as cause:
            raise BadSettings(f"{path} is not a readable TOML file: {cause}") from cause
    try:
        settings = Settings(**given)
    except pydantic.ValidationError as cause:
        where = f"{path}: " if path else ""
        problems = "; ".join(_told(one["type"], one["loc"], one["msg"]) for one in cause.errors())
        raise BadSettings(f"{where}{problems}") from cause
    except (SettingsError, RecursionError) as cause:  # of the environment: there, lists and sections are JSON
        raise BadSettings(f"The environment variables ZEGEL_… can't be read: {cause}; lists are JSON there.") from cause
    return _anchored(settings, path.resolve().parent if path else Path.cwd())


def _told(kind: str, place: tuple[int | str, ...], wrong: str) -> str:
    """The setting, and what is wrong with it."""
    setting = ".".join(map(str, place))
    if kind == "extra_forbidden":
        return f"{setting}: there is no such setting; remove it, or correct its name"
    return ": ".join(part for part in (setting, wrong.removeprefix("Value error, ")) if part)


def load_from_environment() -> Settings:
    """For processes that are started by another one: the file that :data:`CONFIG_VARIABLE` names."""
    path = os.environ.get(CONFIG_VARIABLE)
    return load(Path(path) if path else None)


def _anchored(settings: Settings, base: Path) -> Settings:
    """Relative paths are relative to the configuration file, wherever the command was started."""

    def anchor(path: Path | None) -> Path | None:
        if path is None:
            return None
        try:
            if b"\0" in os.fsencode(path):
                raise ValueError("NUL")
            return base / path.expanduser()
        except (ValueError, RuntimeError) as cause:  # expanduser knows no such user
            raise BadSettings(f"{str(path)!r} can't be a path: write it in full, without ~user.") from cause

    def section(one: _Section, *names: str) -> _Section:
        paths = {name: getattr(one, name) for name in names}
        return one.model_copy(
            update={name: anchor(path) if isinstance(path, Path) else path for name, path in paths.items()}
        )

    return settings.model_copy(
        update={
            "folder": anchor(settings.folder),
            "keyring": anchor(settings.keyring),
            "erasures": anchor(settings.erasures),
            "database_password": anchor(settings.database_password),
            "submission": section(settings.submission, "certificate", "certificate_key"),
            "portal": section(settings.portal, "certificate", "certificate_key", "clamd"),
            "delivery": section(settings.delivery, "extra_ca"),
            "acme": section(settings.acme, "extra_ca"),
            "sms": section(settings.sms, "folder", "secret"),
        }
    )
