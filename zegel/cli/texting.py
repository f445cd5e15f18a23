"""A text message to try the provider with."""

from __future__ import annotations

import uuid
from pathlib import Path

import click

from zegel.cli.base import Trouble, config_option, settings_of, tells_trouble
from zegel.compose import clock
from zegel.compose.parts import sms_driver
from zegel.core.policy.phone import NotAMobileNumber, mask_phone, parse_mobile
from zegel.core.secret import Secret
from zegel.edge.sms import SmsFailed


@click.command("sms-test")
@click.argument("number")
@config_option
@tells_trouble
def sms_test(number: str, config: Path | None) -> None:
    """Send a text message to NUMBER, such as +31612345678, by the provider of the settings. It may cost money."""
    settings = settings_of(config)
    if settings.sms.driver == "none":
        raise Trouble("No provider is set. Write sms.driver, as docs/sms.md says.")
    try:
        to = parse_mobile(number, region="NL")
    except NotAMobileNumber as cause:
        raise Trouble(f"This is no number of a mobile telephone: {cause}. Write it like +31612345678.") from cause
    text = f"{settings.hostname}: text messages work."
    try:
        sms_driver(settings).send(Secret(to), Secret(text), key=uuid.uuid4().hex, at=clock.now())
    except SmsFailed as cause:
        raise Trouble(f"It was not sent: {cause}. See docs/sms.md.") from cause
    click.echo(f"{settings.sms.driver} took a text message for {mask_phone(to)}.")
