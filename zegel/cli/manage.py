"""Organisations, domains, accounts and credentials from the command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from zegel.cli.base import Trouble, config_option, ready, tells_trouble
from zegel.cli.named import mailbox_named, organisation_named
from zegel.compose import clock
from zegel.core.policy.audit import Act
from zegel.core.policy.organisation import LANGUAGES, Described, NameTaken, NotADescription, parse_description
from zegel.core.policy.roles import Role
from zegel.core.policy.submitting import Caps, NotARule, parse_authors, parse_networks, written_author
from zegel.core.policy.texts import (
    TextCaps,
    TextMoney,
    TextsUsed,
    parse_cents,
    parse_countries,
    parse_currency,
    parse_prices,
    written_cents,
    written_prices,
)

if TYPE_CHECKING:
    from zegel.accounts.models import Account, Organisation, SmtpCredential


F = TypeVar("F", bound=Callable[..., object])
T = TypeVar("T")


def caps_options(command: F) -> F:
    """The four limits of :class:`zegel.core.policy.submitting.Caps`."""
    for name in reversed([field.name for field in fields(Caps)]):
        command = click.option(f"--{name.replace('_', '-')}", type=click.IntRange(0, 2_000_000_000), metavar="N")(
            command
        )
    return command


@click.group()
def organisation() -> None:
    """Organisations: whom this gateway works for."""


@organisation.command("add")
@click.argument("name")
@click.option("--language", type=click.Choice(LANGUAGES), default="nl", show_default=True)
@click.option("--country", metavar="XX", default="NL", show_default=True, help="As of `zegel organisation set`.")
@config_option
@tells_trouble
def organisation_add(name: str, language: str, country: str, config: Path | None) -> None:
    """Add an organisation."""
    ready(config)
    from django.db import transaction

    from zegel.accounts.audit import note
    from zegel.accounts.models import Organisation

    described = _described(name, language, country)
    if Organisation.objects.filter(name=described.name).exists():
        raise Trouble(f"There is an organisation {name!r} already.")
    with transaction.atomic():
        made = Organisation.objects.create(name=described.name, language=language, region=described.region)
        note(Act.ORGANISATION_ADDED, made, made.name, {"language": language, "region": made.region})
    click.echo(f"Added {name}. Next: zegel domain add DOMAIN --organisation {name!r}")


@organisation.command("set")
@click.option("--organisation", "organisation_name", required=True)
@click.option("--name", help="Another name: on pages, in mails, and for these commands.")
@click.option("--language", type=click.Choice(LANGUAGES), help="Of its mails, and of its pages for who chose none.")
@click.option("--country", metavar="XX", help="Whose telephone numbers may be written without a code, such as BE.")
@config_option
@tells_trouble
def organisation_set(
    organisation_name: str, name: str | None, language: str | None, country: str | None, config: Path | None
) -> None:
    """Change name, language or country of an organisation. What isn't named stays."""
    ready(config)
    from zegel.accounts import look

    owner = organisation_named(organisation_name)
    now = look.description_of(owner)
    wanted = _described(
        now.name if name is None else name, language or now.language, now.region if country is None else country
    )
    try:
        look.describe(owner, wanted)
    except NameTaken as cause:
        raise Trouble(f"{str(cause)[0].upper()}{str(cause)[1:]}.") from cause
    click.echo(f"name: {owner.name}\nlanguage: {owner.language}\ncountry: {owner.region}")


def _described(name: str, language: str, country: str) -> Described:
    try:
        return parse_description(name, language, country)
    except NotADescription as cause:
        raise Trouble(f"{str(cause)[0].upper()}{str(cause)[1:]}.") from cause


@click.group()
def account() -> None:
    """Accounts: who may send, and who administers."""


@account.command("add")
@click.argument("address")
@click.option("--organisation", "organisation_name", required=True)
@click.option("--name", "display_name", default="", help="As shown to recipients.")
@click.option(
    "--role",
    "role_name",
    type=click.Choice([one.value for one in Role]),
    default=Role.SENDER.value,
    show_default=True,
    help="What it may do in the console; see docs/roles.md.",
)
@click.option("--password", help="For signing in; asked for when it is left out. '-' gives none: sending only.")
@click.option("--functional", is_flag=True, help="A functional mailbox: nobody signs in to it, its readers do.")
@config_option
@tells_trouble
def account_add(
    address: str,
    organisation_name: str,
    display_name: str,
    password: str | None,
    role_name: str,
    config: Path | None,
    *,
    functional: bool,
) -> None:
    """Add an account, or take in the one that a guest made for an address in the organisation's own domain."""
    ready(config)
    from django.db import transaction

    from zegel.accounts.audit import note
    from zegel.accounts.models import Account

    mailbox = mailbox_named(address)
    owner = organisation_named(organisation_name)
    if functional and role_name != Role.SENDER.value:
        raise Trouble("A functional mailbox has no role but that of a sender. Leave --role out.")
    existing = Account.objects.filter(key=mailbox.key).first()
    if existing is not None:
        _take_in(existing, owner, display_name, password, role=Role(role_name))
        return
    password = None if functional else accepted(password)
    with transaction.atomic():
        Account.objects.create_user(
            str(mailbox),
            password,
            organisation=owner,
            display_name=display_name,
            role=role_name,
            is_functional=functional,
        )
        note(Act.ACCOUNT_ADDED, owner, str(mailbox), {"role": role_name})
    click.echo(f"Added {mailbox}.")


def accepted(password: str | None) -> str | None:
    """As given, or as asked for now; ``None`` for '-'. Raises :class:`Trouble` for one that is too weak."""
    from django.contrib.auth.password_validation import validate_password
    from django.core.exceptions import ValidationError

    if password is None:
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    if password == "-":  # noqa: S105
        return None
    try:
        validate_password(password)
    except ValidationError as cause:
        raise Trouble(f"This password is not accepted: {' '.join(cause.messages)}") from cause
    return password


def _take_in(guest: Account, owner: Organisation, display_name: str, password: str | None, *, role: Role) -> None:
    from zegel.accounts import taking_in
    from zegel.accounts.sign_in import has_second_factor

    try:
        taking_in.refuse_what_is_not_theirs(guest, owner)
        is_finished = has_second_factor(guest)
        if is_finished and password not in (None, "-"):
            raise Trouble(f"{guest} has a free account with a password, which stays. Leave --password out.")
        taking_in.take_in(
            guest,
            owner,
            display_name=display_name,
            role=role,
            password=None if is_finished else accepted(password),
            now=clock.now(),
        )
    except taking_in.StaysItsOwn as cause:
        raise Trouble(str(cause)) from cause
    kept = "its password and second step stay" if is_finished else "it was not finished, and nothing of it stays"
    click.echo(f"Took in the free account of {guest}: {kept}. It is signed out everywhere.")


@click.group()
def credentials() -> None:
    """SMTP credentials: what a mail server signs in with."""


@credentials.command("add")
@click.argument("description")
@click.option("--organisation", "organisation_name", required=True)
@config_option
@tells_trouble
def credentials_add(description: str, organisation_name: str, config: Path | None) -> None:
    """Make credentials. The password is shown once, now."""
    ready(config)
    from zegel.accounts import credentials as smtp

    made = smtp.issue(organisation_named(organisation_name), description)
    click.echo(f"username: {made.credential.username}\npassword: {made.secret.reveal()}")
    click.echo("Write the password down now: it is not stored and can't be shown again.", err=True)


@credentials.command("list")
@config_option
@tells_trouble
def credentials_list(config: Path | None) -> None:
    """List credentials, with what they are bound to."""
    ready(config)
    from zegel.accounts.models import SmtpCredential

    for one in SmtpCredential.objects.select_related("organisation").order_by("id"):
        state = "disabled" if one.disabled_at else "rotating" if one.previous_hash is not None else "enabled"
        click.echo(
            f"{one.username}  {state}  last used {_moment(one.last_used_at)}  {one.organisation}: {one.description}"
        )
        if one.previous_hash is not None:
            click.echo(f"    previous secret: last used {_moment(one.previous_used_at)}")
        if one.networks:
            click.echo(f"    from: {' '.join(one.networks)}")
        if one.authors:
            click.echo(f"    for: {' '.join(map(written_author, one.authors))}")
        print_caps(one)


@credentials.command("rotate")
@click.argument("username")
@config_option
@tells_trouble
def credentials_rotate(username: str, config: Path | None) -> None:
    """Make a second password, shown once, now. The one in use stays valid until `zegel credentials end-previous`."""
    ready(config)
    from zegel.accounts import credentials as smtp

    try:
        made = smtp.rotate(_credential(username))
    except smtp.StillRotating as cause:
        raise Trouble(
            f"{username} has two valid passwords already. End the older one first: "
            f"zegel credentials end-previous {username}"
        ) from cause
    click.echo(f"username: {username}\npassword: {made.secret.reveal()}")
    click.echo(
        "Write the password down now: it is not stored and can't be shown again. The previous one stays valid; when "
        f"nothing uses it any more: zegel credentials end-previous {username}",
        err=True,
    )


@credentials.command("end-previous")
@click.argument("username")
@config_option
@tells_trouble
def credentials_end_previous(username: str, config: Path | None) -> None:
    """End the password that was in use before the rotation."""
    ready(config)
    from zegel.accounts import credentials as smtp

    found = _credential(username)
    if found.previous_hash is None:
        raise Trouble(f"{username} has one password only. Make a second one first: zegel credentials rotate {username}")
    used = _moment(found.previous_used_at)
    smtp.end_previous(found)
    click.echo(f"Ended. It was last used {used}.")


@credentials.command("bind")
@click.argument("username")
@click.option("--from", "networks", help="IP addresses and networks, such as '192.0.2.10 2001:db8::/32'; '' for any.")
@click.option("--for", "authors", help="From addresses and domains, such as 'office@example.org'; '' for all.")
@config_option
@tells_trouble
def credentials_bind(username: str, networks: str | None, authors: str | None, config: Path | None) -> None:
    """Bind credentials to where they may be used from, and to the From addresses they may be used for."""
    ready(config)
    from zegel.accounts import submitting

    found = _credential(username)
    submitting.bind(
        found,
        networks=tuple(found.networks) if networks is None else rule(parse_networks, networks),
        authors=tuple(found.authors) if authors is None else rule(parse_authors, authors),
    )
    shown = " ".join(map(written_author, found.authors))
    click.echo(f"from: {' '.join(found.networks) or 'anywhere'}\nfor: {shown or 'all addresses'}")


@credentials.command("cap")
@click.argument("username")
@caps_options
@click.option("--texts-per-day", type=click.IntRange(0, 2_000_000_000), metavar="N", help="That its messages cause.")
@click.option("--texts-per-month", type=click.IntRange(0, 2_000_000_000), metavar="N", help="Of 30 days.")
@config_option
@tells_trouble
def credentials_cap(
    username: str, config: Path | None, *, texts_per_day: int | None, texts_per_month: int | None, **given: int | None
) -> None:
    """Limit how much is accepted with these credentials, and how many text messages that causes (451 4.7.1 and an
    alarm); 0 takes a limit away."""
    ready(config)
    from zegel.accounts import submitting

    found = _credential(username)
    cap(found, given)
    held = submitting.text_caps_of(found)
    day = held.texts_per_day if texts_per_day is None else texts_per_day or None
    month = held.texts_per_month if texts_per_month is None else texts_per_month or None
    submitting.cap_texts(found, TextCaps(None, day, month))
    print_caps(found)
    print_text_caps(found)


@credentials.command("disable")
@click.argument("username")
@config_option
@tells_trouble
def credentials_disable(username: str, config: Path | None) -> None:
    """Disable credentials: refused from now on, also in open sessions. What was accepted is still delivered."""
    ready(config)
    from zegel.accounts import credentials as smtp

    smtp.disable(_credential(username))
    click.echo(f"Disabled {username}.")


def cap(whose: Organisation | SmtpCredential, given: Mapping[str, int | None]) -> None:
    """The caps that were given; 0 takes one away."""
    from zegel.accounts import submitting

    caps = submitting.caps_of(whose)
    new = {name: most or None for name, most in given.items() if most is not None}
    if new:
        submitting.cap(whose, replace(caps, **new))


def print_caps(whose: Organisation | SmtpCredential) -> None:
    """Those that there are, with what was used."""
    from zegel.accounts import submitting

    used = submitting.used_by(whose, now=clock.now())
    caps = submitting.caps_of(whose)
    for what, now, hour, today, day in (
        ("messages", used.messages_this_hour, caps.messages_per_hour, used.messages_today, caps.messages_per_day),
        (
            "recipients",
            used.recipients_this_hour,
            caps.recipients_per_hour,
            used.recipients_today,
            caps.recipients_per_day,
        ),
    ):
        if hour is not None or day is not None:
            click.echo(f"    {what}: {now} of {hour or 'any number'} this hour, {today} of {day or 'any number'} a day")


def cap_texts(owner: Organisation, given: Mapping[str, int | None], countries: str | None) -> None:
    """The caps on text messages that were given; 0 takes one away."""
    from zegel.accounts import submitting

    caps = submitting.text_caps_of(owner)
    most = {name: getattr(caps, name) if new is None else new or None for name, new in given.items()}
    where = caps.text_countries if countries is None else rule(parse_countries, countries)
    submitting.cap_texts(owner, TextCaps(**most, text_countries=where))


def price_texts(
    owner: Organisation, currency: str | None, price: str | None, prices: str | None, most: str | None
) -> None:
    """What was given of what text messages cost, and may; an empty text takes prices, or the limit, away."""
    from zegel.accounts import submitting

    money = submitting.text_money_of(owner)
    new = TextMoney(
        money.currency if currency is None else rule(parse_currency, currency),
        money.price if price is None else rule(parse_cents, price),
        money.prices if prices is None else rule(parse_prices, prices),
        money.most_per_month if most is None else rule(parse_cents, most) if most else None,
    )
    if new != money:
        submitting.price_texts(owner, new)


def print_text_caps(owner: Organisation | SmtpCredential) -> None:
    """Those that there are, with what was used."""
    from zegel.accounts import submitting
    from zegel.accounts.models import Organisation

    used, caps = submitting.texts_used_by(owner, now=clock.now()), submitting.text_caps_of(owner)
    for so_far, most, span in (
        (used.this_hour, caps.texts_per_hour, "this hour"),
        (used.today, caps.texts_per_day, "a day"),
        (used.this_month, caps.texts_per_month, "in 30 days"),
    ):
        if most is not None:
            click.echo(f"    text messages: {so_far} of {most} {span}")
    if caps.text_countries:
        click.echo(f"    text messages go to: {' '.join(caps.text_countries)}")
    if isinstance(owner, Organisation):
        _print_money(submitting.text_money_of(owner), used)


def _print_money(money: TextMoney, used: TextsUsed) -> None:
    if money.price or money.prices:
        others = f", {written_prices(money.prices)}" if money.prices else ""
        click.echo(f"    a text message costs: {money.currency} {written_cents(money.price)}{others}")
    if money.most_per_month is not None:
        spent, most = written_cents(used.cents_this_month), written_cents(money.most_per_month)
        click.echo(f"    text messages cost: {money.currency} {spent} of {most} in 30 days")


def rule(parse: Callable[[str], T], text: str) -> T:
    """What ``parse`` makes of it; its complaint as a trouble."""
    try:
        return parse(text)
    except NotARule as cause:
        raise Trouble(f"{cause}.") from cause


def _moment(value: datetime | None) -> str:
    return value.isoformat(timespec="minutes") if value else "never"


def _credential(username: str) -> SmtpCredential:
    from zegel.accounts.models import SmtpCredential

    found = SmtpCredential.objects.filter(username=username).first()
    if found is None:
        raise Trouble(f"There are no credentials {username!r}. See: zegel credentials list")
    return found


COMMANDS: Sequence[click.Command] = (organisation, account, credentials)
