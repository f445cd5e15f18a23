"""Accounts from the command line: who there is, inviting, suspending, roles, a leaver's successor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from zegel.cli.base import Trouble, config_option, ready, tells_trouble
from zegel.cli.manage import accepted
from zegel.cli.named import mailbox_named, organisation_named
from zegel.compose import clock
from zegel.core.policy.roles import Role
from zegel.edge.wake import ring

if TYPE_CHECKING:
    from zegel.accounts.models import Account

_ROLES = click.Choice([one.value for one in Role])
_yes = click.option("--yes", is_flag=True, help="Don't ask whether it is meant.")


@click.command("list")
@click.option("--organisation", "organisation_name", help="Of this one alone.")
@click.option("--role", "role_name", type=_ROLES, help="With this role alone.")
@config_option
@tells_trouble
def account_list(organisation_name: str | None, role_name: str | None, config: Path | None) -> None:
    """List accounts: address, role, state, when somebody last signed in."""
    ready(config)
    from zegel.accounts.models import Account
    from zegel.accounts.sign_in import with_second_factor

    found = Account.objects.exclude(organisation=None).select_related("organisation").order_by("key")
    if organisation_name is not None:
        found = found.filter(organisation=organisation_named(organisation_name))
    if role_name is not None:
        found = found.filter(role=role_name)
    able = with_second_factor(found.values_list("pk", flat=True))  # a subquery
    for one in found.iterator(chunk_size=1000):
        seen = one.last_login.isoformat(timespec="minutes") if one.last_login else "never"
        click.echo(f"{one}  {one.role}  {_state(one, has_factor=one.pk in able)}  signed in {seen}  {one.organisation}")


def _state(one: Account, *, has_factor: bool) -> str:
    if not one.is_active:
        return "suspended"
    if one.is_functional:
        return "functional"
    return "in use" if has_factor else "no second factor"


@click.command("invite")
@click.argument("address")
@click.option("--organisation", "organisation_name", help="Needed for an account that is not there yet.")
@click.option("--name", "display_name", default="", help="As shown to recipients.")
@click.option("--language", type=click.Choice(["nl", "en"]), help="By default that of the organisation.")
@click.option(
    "--role", "role_name", type=_ROLES, default=Role.SENDER.value, show_default=True, help="See docs/roles.md."
)
@config_option
@tells_trouble
def account_invite(
    address: str,
    organisation_name: str | None,
    display_name: str,
    language: str | None,
    role_name: str,
    config: Path | None,
) -> None:
    """Make an account in an own domain and mail its holder a link to set a password and a second factor.

    For an account that is there and has no second factor yet, the mail goes out again.
    """
    settings = ready(config)
    from zegel.accounts.models import Account
    from zegel.journey.portal import inviting

    mailbox = mailbox_named(address)
    existing = Account.objects.filter(key=mailbox.key).exclude(organisation=None).first()
    if existing is not None:
        with _objections(str(mailbox)):
            inviting.invite_again(existing, by=None, now=clock.now())
    elif organisation_name is None:
        raise Trouble(f"{mailbox} has no account yet. Say of which organisation it is to be: --organisation NAME")
    else:
        with _objections(str(mailbox)):
            inviting.invite(
                organisation_named(organisation_name),
                mailbox,
                role=Role(role_name),
                display_name=display_name,
                language=language or "",
                by=None,
                now=clock.now(),
            )
    ring(settings.run)
    click.echo(f"Invited {mailbox}. The link in the mail holds for seven days; earlier ones don't any more.")


@click.command("withdraw-invitation")
@click.argument("address")
@config_option
@tells_trouble
def account_withdraw_invitation(address: str, config: Path | None) -> None:
    """Let the link of an invitation that was sent lead nowhere. The account stays."""
    ready(config)
    from zegel.accounts import people

    found = _account(address)
    with _objections(address):
        is_withdrawn = people.withdraw_invitation(found, by=None, now=clock.now())
    if not is_withdrawn:
        raise Trouble(f"No invitation of {found.email} is open. To send one: zegel account invite {found.email}")
    click.echo(f"Withdrawn. To invite again: zegel account invite {found.email}")


@click.command("suspend")
@click.argument("address")
@config_option
@tells_trouble
def account_suspend(address: str, config: Path | None) -> None:
    """Suspend an account: signed out everywhere, and mail From its address is refused. What was accepted is still
    delivered."""
    ready(config)
    from zegel.accounts import people

    found = _account(address)
    with _objections(address):
        was_active = people.suspend(found, by=None, now=clock.now())
    click.echo(f"Suspended {found}." if was_active else f"{found} was suspended already.")


@click.command("resume")
@click.argument("address")
@config_option
@tells_trouble
def account_resume(address: str, config: Path | None) -> None:
    """Resume an account that was suspended, with the role that it had."""
    ready(config)
    from zegel.accounts import people

    found = _account(address)
    with _objections(address):
        was_suspended = people.resume(found, by=None)
    click.echo(f"Resumed {found}." if was_suspended else f"{found} was not suspended.")


@click.command("role")
@click.argument("address")
@click.argument("role_name", metavar="ROLE", type=_ROLES)
@config_option
@tells_trouble
def account_role(address: str, role_name: str, config: Path | None) -> None:
    """Give an account another role: owner, administrator, policy, support or sender. See docs/roles.md."""
    ready(config)
    from zegel.accounts import people

    found = _account(address)
    with _objections(address):
        is_new = people.change_role(found, Role(role_name), by=None)
    click.echo(f"{found} is {role_name} from now on." if is_new else f"{found} is {role_name} already.")


@click.command("successor")
@click.argument("leaver")
@click.argument("successor")
@_yes
@config_option
@tells_trouble
def account_successor(leaver: str, successor: str, config: Path | None, *, yes: bool) -> None:
    """Pass the mailbox of LEAVER on: LEAVER is suspended, and SUCCESSOR reads and answers what is there."""
    ready(config)
    from zegel.accounts import people

    old, new = _account(leaver), _account(successor)
    with _objections(leaver):
        people.refuse_successor(old, new, by=None)
    if not yes:
        click.confirm(
            f"{old} is suspended and signed out everywhere; mail from that address is refused. {new} can read and "
            f"answer all that {old} sent and received here. Pass it on?",
            abort=True,
        )
    with _objections(leaver):
        people.pass_on(old, new, by=None, now=clock.now())
    click.echo(f"Passed on: {new} reads the mailbox of {old}, which is suspended.")


@click.command("second-factor-reset")
@click.argument("address")
@click.option(
    "--password",
    help="A new password to hand over, in the place of an invitation by mail; 'ask' asks for it here.",
)
@_yes
@config_option
@tells_trouble
def account_second_factor_reset(address: str, password: str | None, config: Path | None, *, yes: bool) -> None:
    """For who lost everything: password, second factors and recovery codes stop working, sessions end, and an
    invitation goes to the mailbox. Make sure that you know who asks you for this."""
    settings = ready(config)
    from zegel.accounts import people
    from zegel.journey.portal import inviting

    found = _account(address)
    if not yes:
        click.confirm(
            f"The password, second factors, passkeys and recovery codes of {found} stop working, and it is signed out "
            "everywhere. Reset?",
            abort=True,
        )
    with _objections(address):
        if password is not None:
            new = accepted(None if password == "ask" else password)  # noqa: S105
            people.take_factors_away(found, by=None, now=clock.now(), password=new)
            click.echo(f"Reset {found}: it sets up a second factor when it signs in with the new password.")
            return
        inviting.reset(found, by=None, now=clock.now())
    ring(settings.run)
    click.echo(f"Reset {found}. An invitation is on its way to it, which holds for seven days.")


@contextmanager
def _objections(address: str) -> Iterator[None]:
    from zegel.accounts.people import Refused

    try:
        yield
    except Refused as cause:
        raise Trouble(f"{address}: {cause}.") from cause


def _account(address: str) -> Account:
    from zegel.accounts.models import Account

    mailbox = mailbox_named(address)
    found = Account.objects.filter(key=mailbox.key).exclude(organisation=None).first()
    if found is None:
        raise Trouble(f"{mailbox} is no account of an organisation. See: zegel account list")
    return found


COMMANDS: Sequence[click.Command] = (
    account_list,
    account_invite,
    account_withdraw_invitation,
    account_suspend,
    account_resume,
    account_role,
    account_successor,
    account_second_factor_reset,
)
