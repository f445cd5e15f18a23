"""Lists of domains for direct delivery that somebody else keeps, from the command line."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, assert_never

import click

from zegel.cli.base import Trouble, config_option, ready, tells_trouble
from zegel.cli.named import organisation_named
from zegel.compose import clock
from zegel.compose.parts import release_held
from zegel.core.policy.domain_list import MAX_OCTETS
from zegel.core.policy.permitting import NotAPolicy, parse_level, written_level
from zegel.core.policy.transport import PROVEN, Authentication, Tls, TransportSecurity
from zegel.edge.log import configure

if TYPE_CHECKING:
    from zegel.accounts.lists import Outcome, Problem
    from zegel.accounts.models import DirectDeliveryList
    from zegel.settings import Settings

organisation_option = click.option(
    "--organisation", "organisation_name", help="Whose list; needed where several have one of that name."
)
file_option = click.Path(path_type=Path, exists=True, dir_okay=False)
empty_option = click.option("--may-be-empty", is_flag=True, help="Take the list also when no domain is left on it.")


@click.group("lists")
def lists_group() -> None:
    """Lists of domains for direct delivery, as files or from a URL that is read again every hour."""


@lists_group.command("add")
@click.argument("name")
@click.option("--organisation", "organisation_name", required=True)
@click.option("--url", metavar="URL", help="An https:// address; read now, and again every hour.")
@click.option("--file", "file", type=file_option, help="A file; read once. Read it again with `zegel lists read`.")
@click.option("--level", metavar="LEVEL", help="For lines that name none, such as 'tls1.3 dane'.")
@config_option
@tells_trouble
def add(
    name: str, organisation_name: str, url: str | None, file: Path | None, level: str | None, config: Path | None
) -> None:
    """Add a list: one domain a line, perhaps with a level behind it, or CSV with a first column "domain"."""
    settings = _ready(config)
    from zegel.accounts import lists

    if (url is None) == (file is None):
        raise Trouble("A list is of a URL or of a file: name one of --url and --file.")
    owner, least = organisation_named(organisation_name), _level(level)
    gained = release_held(settings)
    try:
        if file is not None:
            added = lists.add_file(owner, _name(name), _octets(file), now=clock.now(), level=least, gained=gained)
            click.echo(f"Added {added}: {_count(added.domains.count())}.")
            return
        added = lists.add_url(owner, _name(name), url or "", level=least)
    except lists.NotTaken as cause:
        raise _told(cause.problem) from cause
    except lists.NameTaken as cause:
        raise Trouble(f"{owner} has a list {name!r} already. Remove it first, or choose another name.") from cause
    except lists.TooManyLists as cause:
        raise Trouble(f"{owner} has {lists.MOST_LISTS} lists, and can't have more. Remove one first.") from cause
    outcome = lists.refresh(added, lists.fetcher(settings), now=clock.now, gained=gained)
    click.echo(f"Added {added}; it is read again every hour.")
    if not _print_outcome(added, outcome):
        raise click.exceptions.Exit(1)


@lists_group.command("show")
@click.argument("name", required=False)
@organisation_option
@config_option
@tells_trouble
def show(name: str | None, organisation_name: str | None, config: Path | None) -> None:
    """Show all lists with their state; or of one list every domain with its level."""
    _ready(config)
    if name is None:
        for one in _lists(None, organisation_name):
            _print_list(one)
        return
    one = _list(name, organisation_name)
    _print_list(one)
    for domain, tls, authentication in one.domains.order_by("domain").values_list("domain", "tls", "authentication"):
        click.echo(f"    {domain} {written_level(TransportSecurity(Tls(tls), Authentication(authentication)))}")


@lists_group.command("refresh")
@click.argument("name", required=False)
@organisation_option
@empty_option
@config_option
@tells_trouble
def refresh(name: str | None, organisation_name: str | None, config: Path | None, *, may_be_empty: bool) -> None:
    """Read a list of a URL again, now; without NAME all of them. Exit code 1 when one could not be read."""
    settings = _ready(config)
    from zegel.accounts import lists

    if name is not None:
        found = [_list(name, organisation_name)]
        if not found[0].url:
            raise Trouble(f"{name} was read from a file. Read it again with: zegel lists read {name!r} --file FILE")
    elif may_be_empty:
        raise Trouble("--may-be-empty is said of one list: name it.")
    else:
        found = [one for one in _lists(None, organisation_name) if one.url]
    fetch, gained = lists.fetcher(settings), release_held(settings)
    are_read = True
    for one in found:
        outcome = lists.refresh(one, fetch, now=clock.now, may_be_empty=may_be_empty, gained=gained)
        are_read = _print_outcome(one, outcome) and are_read
    if not are_read:
        raise click.exceptions.Exit(1)


@lists_group.command("read")
@click.argument("name")
@click.option("--file", "file", type=file_option, required=True)
@organisation_option
@empty_option
@config_option
@tells_trouble
def read(name: str, file: Path, organisation_name: str | None, config: Path | None, *, may_be_empty: bool) -> None:
    """Put what stands in a file in the place of what the list said: all of it, or nothing when it isn't understood."""
    settings = _ready(config)
    from zegel.accounts import lists

    one = _list(name, organisation_name)
    if one.url:
        raise Trouble(f"{name} is of a URL. Read it again with: zegel lists refresh {name!r}")
    outcome = lists.read_file(
        one,
        _octets(file),
        now=clock.now(),
        may_be_empty=may_be_empty,
        gained=release_held(settings),
    )
    if not _print_outcome(one, outcome):
        raise click.exceptions.Exit(1)


@lists_group.command("remove")
@click.argument("name")
@organisation_option
@config_option
@tells_trouble
def remove(name: str, organisation_name: str | None, config: Path | None) -> None:
    """Remove a list with all its domains; from the next message on they count no more."""
    _ready(config)
    from zegel.accounts import lists

    one = _list(name, organisation_name)
    count = one.domains.count()
    lists.remove(one)
    click.echo(f"Removed {one}: {_count(count)}.")


def _ready(config: Path | None) -> Settings:
    settings = ready(config)
    configure("error")  # what a list came to is printed, for people
    return settings


# --- what is named ------------------------------------------------------------------------------------------------


def _level(text: str | None) -> TransportSecurity:
    try:
        return PROVEN if text is None else parse_level(text)
    except NotAPolicy as cause:
        raise Trouble(f"{cause}.") from cause


def _name(text: str) -> str:
    from zegel.accounts.lists import LONGEST_NAME

    name = text.strip()
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise Trouble(f"A list has a name of 1 to {LONGEST_NAME} characters on one line.")
    return name


def _octets(file: Path) -> bytes:
    """One more than there may be tells that it is too large."""
    with file.open("rb") as opened:
        return opened.read(MAX_OCTETS + 1)


def _lists(name: str | None, organisation_name: str | None) -> Sequence[DirectDeliveryList]:
    from zegel.accounts.models import DirectDeliveryList

    found = DirectDeliveryList.objects.select_related("organisation").order_by("organisation__name", "name")
    if organisation_name is not None:
        found = found.filter(organisation=organisation_named(organisation_name))
    return list(found if name is None else found.filter(name=name))


def _list(name: str, organisation_name: str | None) -> DirectDeliveryList:
    found = _lists(name, organisation_name)
    if not found:
        raise Trouble(f"There is no list {name!r}. See: zegel lists show")
    if len(found) > 1:
        owners = ", ".join(repr(one.organisation.name) for one in found)
        raise Trouble(f"There are lists {name!r} of {owners}: name one with --organisation.")
    return found[0]


# --- what is printed ----------------------------------------------------------------------------------------------


def _print_list(one: DirectDeliveryList) -> None:
    from zegel.accounts.lists import Problem, level_of
    from zegel.journey.decision.facts import LIST_LAPSES

    lapsed = one.url and one.read_at is not None and one.read_at <= clock.now() - LIST_LAPSES
    state = "never read" if one.read_at is None else f"read {_moment(one.read_at)}"
    click.echo(
        f"{one.name}  {_count(one.domains.count())}, {state}{', LAPSED: it counts no more' if lapsed else ''}  "
        f"{one.organisation}: {one.url or 'of a file'}, over at least {written_level(level_of(one))}"
    )
    problem = Problem.of(one.problem)
    if problem is not None and one.tried_at is not None:
        click.echo(f"    not read on {_moment(one.tried_at)}:")
        _print_problem(problem)


def _print_outcome(one: DirectDeliveryList, outcome: Outcome) -> bool:
    """``False`` when it could not be read."""
    from zegel.accounts.lists import NotRead, Read, Superseded, Unchanged

    match outcome:
        case Read(domains=domains):
            click.echo(f"{one}: {_count(domains)}.")
        case Unchanged():
            click.echo(f"{one}: nothing changed, {_count(one.domains.count())}.")
        case Superseded():
            click.echo(f"{one}: somebody else read or removed it at the same moment. See: zegel lists show")
        case NotRead(problem=problem):
            click.echo(f"{one}: could not be read; what was read before stays.")
            _print_problem(problem)
        case unreachable:
            assert_never(unreachable)
    return not isinstance(outcome, NotRead)


def _print_problem(problem: Problem) -> None:
    for sentence in problem.sentences():
        click.echo(f"    {sentence}")


def _told(problem: Problem) -> Trouble:
    return Trouble("\n       ".join(problem.sentences()))


def _count(domains: int) -> str:
    return "1 domain" if domains == 1 else f"{domains} domains"


def _moment(value: datetime) -> str:
    return value.isoformat(timespec="minutes")


COMMANDS: Sequence[click.Command] = (lists_group,)
