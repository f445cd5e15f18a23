"""What an organisation allows and demands, from the command line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import click

from zegel.cli.audit import ALWAYS, days_or_always
from zegel.cli.base import Trouble, config_option, ready, tells_trouble
from zegel.cli.manage import cap, cap_texts, caps_options, price_texts, print_caps, print_text_caps, rule
from zegel.cli.named import domain_named, organisation_named
from zegel.compose import clock
from zegel.core.look import LARGEST_LOGO, NotALook, parse_colour, parse_logo
from zegel.core.mail.address import NotADomain
from zegel.core.own_texts import NotAnOwnText, parse_own_text
from zegel.core.policy.audit import LONGEST_TERM, SHORTEST_TERM
from zegel.core.policy.holding import LONGEST_HOLD
from zegel.core.policy.permitting import (
    LARGEST_ANSWER,
    LONGEST_EXPIRY_DAYS,
    NotAPolicy,
    RecipientPolicy,
    parse_level,
    parse_methods,
    parse_minimum_domain,
    written_level,
)
from zegel.core.policy.submitting import is_bound, parse_networks
from zegel.core.policy.transport import PROVEN
from zegel.core.policy.verification import Method
from zegel.edge.wake import ring

if TYPE_CHECKING:
    from zegel.accounts.models import Organisation
    from zegel.settings import Settings

T = TypeVar("T")
NO_MINIMUM = "none"
NEVER = "never"
DEFAULT = "default"

organisation_option = click.option("--organisation", "organisation_name", required=True)


_MANY: Final = click.IntRange(0, 2_000_000_000)


@click.group()
def policy() -> None:
    """What an organisation allows and demands."""


@policy.command("show")
@organisation_option
@config_option
@tells_trouble
def show(organisation_name: str, config: Path | None) -> None:
    """Show all that is in force for recipients, and what may not have been meant."""
    ready(config)
    owner = organisation_named(organisation_name)
    _print_recipients(owner)
    _print_domains(owner)
    _print_cautions(owner)


# --- recipients --------------------------------------------------------------------------------------------------


@policy.command("recipients")
@organisation_option
@click.option("--allow", metavar="METHODS", help="Allowed methods: some of account,sms,access-code,email.")
@click.option(
    "--direct-delivery/--no-direct-delivery",
    "allows_transport",
    default=None,
    help="Whether a message may ask for direct delivery.",
)
@click.option(
    "--hold",
    "hold_days",
    type=click.IntRange(1, LONGEST_HOLD),
    metavar="DAYS",
    help="Hold recipients who lack what is demanded, so many days.",
)
@click.option("--bounce", "reports", is_flag=True, help="Report them as undeliverable at once instead.")
@click.option(
    "--inbound-direct-delivery/--no-inbound-direct-delivery",
    "inbound",
    default=None,
    help="Whether messages to your own domains arrive readable.",
)
@click.option("--expire-after", "expire_after", metavar=f"DAYS|{NEVER}", help="Unless the message says otherwise.")
@click.option("--remind-after", "remind_after", metavar=f"DAYS|{NEVER}", help="Remind who has not opened a message.")
@click.option(
    "--answer-limit", "answer_limit", metavar=f"MB|{DEFAULT}", help="Most of a file in an answer; portal.answer_limit."
)
@click.option(
    "--remember-devices", "remember_devices", metavar=f"DAYS|{NEVER}", help="Let recipients need no code on a device."
)
@click.option(
    "--subject", type=click.Choice(["shown", "generic", "hidden"]), help="What notifications show as subject."
)
@config_option
@tells_trouble
def recipients(
    organisation_name: str,
    allow: str | None,
    hold_days: int | None,
    expire_after: str | None,
    remind_after: str | None,
    answer_limit: str | None,
    remember_devices: str | None,
    subject: str | None,
    config: Path | None,
    *,
    allows_transport: bool | None,
    reports: bool,
    inbound: bool | None,
) -> None:
    """Set what is allowed for recipients, and what happens to those who lack something. What isn't named stays."""
    settings = ready(config)
    from zegel.accounts import policy as policies

    if reports and hold_days is not None:
        raise Trouble("--hold and --bounce exclude each other: name one of them.")
    owner = organisation_named(organisation_name)
    held = policies.policy_of(owner)
    wanted = _understood(
        lambda: replace(
            held,
            allowed=held.allowed if allow is None else parse_methods(allow),
            allows_transport=_or(allows_transport, held.allows_transport),
            holds=not reports and (hold_days is not None or held.holds),
            hold_days=_or(hold_days, held.hold_days),
            takes_inbound_direct_delivery=_or(inbound, held.takes_inbound_direct_delivery),
            expires_after_days=held.expires_after_days if expire_after is None else _days(expire_after),
            remind_after_days=held.remind_after_days if remind_after is None else _days(remind_after),
            answer_megabytes=held.answer_megabytes if answer_limit is None else _megabytes(answer_limit),
            remembers_devices_days=(
                held.remembers_devices_days if remember_devices is None else _days(remember_devices)
            ),
            subject=_or(subject, held.subject),
        )
    )
    _change(settings, owner, lambda: policies.permit(owner, wanted))
    _print_recipients(owner)
    if wanted.takes_inbound_direct_delivery and not held.takes_inbound_direct_delivery:
        click.echo(click.style(policies.INBOUND_WARNING, fg="yellow"), err=True)
    _print_cautions(owner)


def _days(text: str) -> int | None:
    if text == NEVER:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(LONGEST_EXPIRY_DAYS))):
        raise NotAPolicy(f"{text[:50]!r} is not a number of days; write it like 30, or {NEVER}")
    return int(text)


def _megabytes(text: str) -> int | None:
    if text == DEFAULT:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(LARGEST_ANSWER))):
        raise NotAPolicy(f"{text[:50]!r} is not a number of megabytes; write it like 50, or {DEFAULT}")
    return int(text)


# --- by domain ---------------------------------------------------------------------------------------------------


@policy.command("direct-delivery")
@click.argument("name", metavar="DOMAIN")
@organisation_option
@click.option("--level", metavar="LEVEL", help="The least of the connection, such as 'tls1.3 dane'.")
@click.option("--remove", is_flag=True, help="Take the domain off the list.")
@config_option
@tells_trouble
def direct_delivery(name: str, organisation_name: str, level: str | None, config: Path | None, *, remove: bool) -> None:
    """Deliver to a recipient domain readable, over at least TLS 1.2 and a valid certificate, or the level named."""
    settings = ready(config)
    from zegel.accounts import policy as policies

    if remove and level is not None:
        raise Trouble("--level and --remove exclude each other: name one of them.")
    owner, parsed = organisation_named(organisation_name), domain_named(name)
    if remove:
        policies.deliver_directly_no_more(owner, parsed)
        click.echo(f"{parsed} is off the list.")
        return
    known = policies.entered(owner, parsed)
    wanted = policies.level_of(known) if known else PROVEN
    if level is not None:
        wanted = _understood(lambda: parse_level(level))
    _change(settings, owner, lambda: policies.deliver_directly(owner, parsed, wanted), domain=parsed.ascii)
    click.echo(f"{parsed} is on the list, over at least {written_level(wanted)}.")
    _print_cautions(owner, domain=parsed.ascii)


@policy.command("minimum")
@click.argument("name", metavar="DOMAIN")
@click.argument("method", type=click.Choice([*(method.value for method in Method), NO_MINIMUM]))
@organisation_option
@config_option
@tells_trouble
def minimum(name: str, method: str, organisation_name: str, config: Path | None) -> None:
    """The least that recipients of a domain ('*': every other) must verify with; nothing is delivered to them readable.

    A method stands for itself and those before it: account, sms, access-code, email.
    """
    settings = ready(config)
    from zegel.accounts import policy as policies
    from zegel.accounts.models import DomainMinimum

    owner = organisation_named(organisation_name)
    try:
        parsed = parse_minimum_domain(name, every_other=DomainMinimum.EVERY_OTHER)
    except NotADomain as cause:
        raise Trouble(
            f"{name!r} is not a domain name: {cause}. Write it like voorbeeld.nl, or '*' for every other."
        ) from cause
    wanted = None if method == NO_MINIMUM else Method(method)
    domain = None if parsed == DomainMinimum.EVERY_OTHER else parsed
    _change(settings, owner, lambda: policies.demand_at_least(owner, parsed, wanted), domain=domain)
    if wanted is not None:
        click.echo(f"{parsed}: at least {wanted.value}.")
    else:
        other = policies.minimum_for(owner, parsed)
        click.echo(f"{parsed}: no minimum of its own{f', so {other.value}, as every other' if other else ''}.")
    _print_cautions(owner, domain=parsed)


# --- look --------------------------------------------------------------------------------------------------------


@policy.command("look")
@organisation_option
@click.option("--colour", metavar=f"HEX|{DEFAULT}", help="Of links and buttons, such as '#0f5666'.")
@click.option("--logo", metavar=f"FILE|{NO_MINIMUM}", help="A PNG image, at most 100 kB and 1200 by 400 pixels.")
@click.option(
    "--text",
    "texts",
    type=(click.Choice(["introduction", "help"]), click.Choice(["nl", "en"]), str),
    multiple=True,
    metavar="introduction|help nl|en TEXT",
    help="Own words in mails and at the foot of pages; an empty TEXT takes them away. May be given several times.",
)
@config_option
@tells_trouble
def look(
    organisation_name: str,
    colour: str | None,
    logo: str | None,
    texts: tuple[tuple[str, str, str], ...],
    config: Path | None,
) -> None:
    """Set the colour, the logo and the own words of pages and notifications. What isn't named stays."""
    ready(config)
    from django.db import transaction

    from zegel.accounts import look as looks

    owner = organisation_named(organisation_name)
    try:
        accent = None if colour is None else "" if colour == DEFAULT else parse_colour(colour)
        wanted = None if logo in (None, NO_MINIMUM) else parse_logo(_file(str(logo)))
        said = {f"{place}_{language}": parse_own_text(text) for place, language, text in texts}
        with transaction.atomic():
            if accent is not None:
                looks.paint(owner, accent)
            if logo is not None:
                looks.show_logo(owner, wanted)
            if said:
                looks.say(owner, replace(looks.texts_of(owner), **said))
    except (NotALook, NotAnOwnText) as cause:
        raise Trouble(f"{str(cause)[0].upper()}{str(cause)[1:]}.") from cause
    click.echo(f"colour: {owner.accent or DEFAULT}")
    click.echo(f"logo: {'shown' if owner.logo_name else NO_MINIMUM}")
    for name, text in asdict(looks.texts_of(owner)).items():
        click.echo(f"{name.replace('_', ' ')}: {text or NO_MINIMUM}")


def _file(name: str) -> bytes:
    try:
        with Path(name).open("rb") as file:
            return file.read(LARGEST_LOGO + 1)
    except OSError as cause:
        raise Trouble(f"{name} can't be read: {cause.strerror}.") from cause


# --- submission --------------------------------------------------------------------------------------------------


@policy.command("submission")
@organisation_option
@click.option(
    "--proof",
    type=click.Choice(["credentials", "either", "both"]),
    help="SMTP credentials; one of credentials and SPF; or both.",
)
@click.option("--spf-from", "networks", help="SPF counts from these networks only, such as '192.0.2.0/24'; '' for any.")
@click.option("--spf-with-dkim/--spf-without-dkim", "needs_dkim", default=None, help="And only with a DKIM signature.")
@caps_options
@click.option("--texts-per-hour", type=_MANY, metavar="N", help="Text messages with a code; 0 takes the limit away.")
@click.option("--texts-per-day", type=_MANY, metavar="N")
@click.option("--texts-per-month", type=_MANY, metavar="N", help="Of 30 days.")
@click.option("--text-currency", metavar="CODE", help="Of the prices, such as EUR.")
@click.option("--text-price", metavar="AMOUNT", help="What a text message costs, such as 0.08.")
@click.option(
    "--text-prices", metavar="WORDS", help="By where numbers begin, such as '+31=0.08 +32=0.09'; '' for none."
)
@click.option("--text-money-per-month", metavar="AMOUNT", help="Most that they may cost in 30 days; '' for no limit.")
@click.option("--text-countries", metavar="WORDS", help="No texts to other countries, such as 'NL BE'; '' for all.")
@config_option
@tells_trouble
def submission(
    organisation_name: str,
    proof: str | None,
    networks: str | None,
    config: Path | None,
    *,
    needs_dkim: bool | None,
    texts_per_hour: int | None,
    texts_per_day: int | None,
    texts_per_month: int | None,
    text_countries: str | None,
    text_currency: str | None,
    text_price: str | None,
    text_prices: str | None,
    text_money_per_month: str | None,
    **given: int | None,
) -> None:
    """What proves that a client may submit for an organisation, and how much is accepted of it (0: no limit)."""
    ready(config)
    from zegel.accounts import submitting
    from zegel.accounts.models import Organisation

    owner = organisation_named(organisation_name)
    submitting.demand(
        owner,
        Organisation.Authentication(proof or owner.authentication),
        networks=tuple(owner.spf_networks) if networks is None else rule(parse_networks, networks),
        needs_dkim=owner.spf_needs_dkim if needs_dkim is None else needs_dkim,
    )
    cap(owner, given)
    texts = {"texts_per_hour": texts_per_hour, "texts_per_day": texts_per_day, "texts_per_month": texts_per_month}
    cap_texts(owner, texts, text_countries)
    price_texts(owner, text_currency, text_price, text_prices, text_money_per_month)
    click.echo(f"proof: {owner.authentication}")
    if owner.authentication != Organisation.Authentication.CREDENTIALS:
        with_dkim = "with a valid DKIM signature of the From domain" if owner.spf_needs_dkim else "without DKIM"
        click.echo(f"SPF counts from: {' '.join(owner.spf_networks) or 'anywhere'}, {with_dkim}")
        if not is_bound(owner.spf_networks) and not owner.spf_needs_dkim:
            click.echo(click.style(submitting.SPF_WARNING, fg="yellow"), err=True)
    print_caps(owner)
    print_text_caps(owner)


@policy.command("trace-term")
@organisation_option
@click.option("--days", metavar=f"DAYS|{ALWAYS}", help=f"From {SHORTEST_TERM} to {LONGEST_TERM}, or {ALWAYS}.")
@click.option("--yes", "is_meant", is_flag=True, help="Traces may go.")
@config_option
@tells_trouble
def trace_term(organisation_name: str, days: str | None, config: Path | None, *, is_meant: bool) -> None:
    """Show or set how long traces are kept after a message can't be read any more. Removed ones can't be brought
    back."""
    ready(config)
    from zegel.accounts import traces as terms
    from zegel.journey.custody import traces

    owner = organisation_named(organisation_name)
    if days is not None:
        wanted = days_or_always(days)
        if not is_meant and (count := traces.over(owner, wanted, now=clock.now())):
            raise Trouble(f"Traces of {count} messages would be removed. Export the proofs you need, then say --yes.")
        terms.keep(owner, wanted)
    click.echo(f"kept: {f'{owner.trace_days} days' if owner.trace_days else ALWAYS}")


# --- shared ------------------------------------------------------------------------------------------------------


def _change(settings: Settings, owner: Organisation, change: Callable[[], bool], *, domain: str | None = None) -> None:
    """Changes; where that may serve somebody who is held, they are decided again."""
    from django.db import transaction

    from zegel.journey import milestones
    from zegel.journey.custody.held import held_of

    with transaction.atomic():
        is_laxer = _understood(change)
        if is_laxer:
            milestones.supplied(held_of(owner, domain=domain), now=clock.now())
    if is_laxer:
        ring(settings.run)


def _understood(make: Callable[[], T]) -> T:
    try:
        return make()
    except NotAPolicy as cause:
        raise Trouble(f"{str(cause)[0].upper()}{str(cause)[1:]}.") from cause


def _or(given: T | None, held: T) -> T:
    return held if given is None else given


def _print_recipients(owner: Organisation) -> None:
    from zegel.accounts import policy as policies

    held: RecipientPolicy = policies.policy_of(owner)
    days = held.expires_after_days
    lacking = f"held for {held.hold_days} days, then reported" if held.holds else "reported at once"
    for name, value in (
        ("allowed", ",".join(method.value for method in held.allowed) or "nothing"),
        ("direct delivery that a message asks for", "allowed" if held.allows_transport else "not allowed"),
        ("recipients who lack something", lacking),
        ("inbound direct delivery", "on" if held.takes_inbound_direct_delivery else "off"),
        ("conversations expire", f"after {days} days" if days else NEVER),
        ("recipients are reminded", f"after {held.remind_after_days} days" if held.remind_after_days else NEVER),
        (
            "devices are remembered",
            f"for {held.remembers_devices_days} days" if held.remembers_devices_days else NEVER,
        ),
        ("a file in an answer", f"at most {held.answer_megabytes} MB" if held.answer_megabytes else DEFAULT),
        ("subject of notifications", held.subject),
    ):
        click.echo(f"{name}: {value}")


def _print_domains(owner: Organisation) -> None:
    from zegel.accounts import policy as policies

    for entry in owner.direct_delivery_domains.filter(source=None).order_by("domain"):
        click.echo(f"direct delivery to {entry.domain}: over at least {written_level(policies.level_of(entry))}")
    for one in owner.domain_minimums.order_by("domain"):
        click.echo(f"minimum for {one.domain}: {one.method}")


def _print_cautions(owner: Organisation, *, domain: str | None = None) -> None:
    """All of them, or without those about other domains."""
    from zegel.accounts import policy as policies

    for one in policies.cautions_of(owner):
        if domain is None or one.domain in (None, domain):
            about = f"{one.domain}: " if one.domain else ""
            click.echo(click.style(f"{about}{one.caution.en}", fg="yellow"), err=True)


COMMANDS: Sequence[click.Command] = (policy,)
