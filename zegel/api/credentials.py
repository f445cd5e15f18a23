"""SMTP credentials: made, bound, rotated, disabled. A secret is in the one answer that makes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any, Final, Self

from django.db import transaction
from django.shortcuts import get_object_or_404
from django.utils import timezone
from pydantic import Field

from zegel.accounts import credentials, submitting
from zegel.accounts.models import Organisation, SmtpCredential
from zegel.accounts.tokens import Scope
from zegel.api.answers import Fault, Refused, refused
from zegel.api.fields import WHOLE, Line, Name, cant_be
from zegel.api.operation import Call, Done, Form, Keyed, Link, Operation, Paged, Told
from zegel.api.paging import part
from zegel.api.versions import must_match, tag_of
from zegel.core.clock import Instant
from zegel.core.policy.submitting import Caps, NotARule, parse_authors, parse_networks
from zegel.core.policy.texts import TextCaps, TextMoney, parse_countries

_Rules = list[Line]
Most = Annotated[int, Field(ge=0, le=2**31 - 1), WHOLE]


class MostSubmitted(Form):
    """The most that is accepted; null: no limit."""

    messages_per_hour: Most | None = None
    messages_per_day: Most | None = None
    recipients_per_hour: Most | None = None
    recipients_per_day: Most | None = None


class MostTexts(Form):
    """The most text messages that messages which came with a credential may cause; null: no limit."""

    texts_per_day: Most | None = None
    texts_per_month: Most | None = Field(default=None, description="Of 30 days.")


class CredentialForm(Form):
    """A new credential."""

    description: Name = Field(examples=["Exchange, Utrecht"])


class CredentialChange(Form):
    """What it may be used for. What is left out stays."""

    networks: _Rules | None = Field(
        default=None, max_length=200, description="Empty: from anywhere.", examples=[["192.0.2.0/24"]]
    )
    authors: _Rules | None = Field(
        default=None,
        max_length=200,
        description="From addresses and domains. Empty: all of the organisation.",
        examples=[["balie@example.org", "example.net"]],
    )
    caps: MostSubmitted | None = None
    texts: MostTexts | None = None


class Credential(Told):
    """What is known of it."""

    id: int
    username: str
    description: str
    networks: list[str]
    authors: list[str]
    caps: MostSubmitted
    texts: MostTexts
    texts_used_today: int = Field(description="That its messages caused.")
    texts_used_this_month: int
    created_at: datetime
    last_used_at: datetime | None
    rotated_at: datetime | None
    has_previous_secret: bool = Field(description="Two secrets are valid: it is being rotated.")
    previous_used_at: datetime | None
    disabled_at: datetime | None

    @classmethod
    def of(cls, row: SmtpCredential, **more: Any) -> Self:
        """Without its secret."""
        used = submitting.texts_used_by(row, now=timezone.now())
        return cls(
            id=row.pk,
            username=row.username,
            description=row.description,
            networks=row.networks,
            authors=row.authors,
            caps=MostSubmitted(**asdict(submitting.caps_of(row))),
            texts=MostTexts(texts_per_day=row.texts_per_day, texts_per_month=row.texts_per_month),
            texts_used_today=used.today,
            texts_used_this_month=used.this_month,
            created_at=row.created_at,
            last_used_at=row.last_used_at,
            rotated_at=row.rotated_at,
            has_previous_secret=row.previous_hash is not None,
            previous_used_at=row.previous_used_at,
            disabled_at=row.disabled_at,
            **more,
        )


class IssuedCredential(Credential):
    """The one answer that shows the secret."""

    secret: str = Field(description="Shown once, now.")


class CredentialList(Told):
    """In the order in which they were made."""

    items: list[Credential]
    next: str | None


def listed(call: Call) -> Done:
    """All, also those that are disabled."""
    found = call.organisation.smtp_credentials.all()
    rows, following = part(found, "id", limit=call.query.limit, after=call.query.after)
    return Done(CredentialList(items=[Credential.of(row) for row in rows], next=following))


def got(call: Call) -> Done:
    """One."""
    return _told(_row(call.organisation, call.place["credential"]))


def issued(call: Call) -> Done:
    """A new one."""
    made = credentials.issue(call.organisation, call.body.description)
    shown = IssuedCredential.of(made.credential, secret=made.secret.reveal())
    return Done(shown, tag=_tag(made.credential), location=f"credentials/{made.credential.pk}")


def changed(call: Call) -> Done:
    """Bound to networks and authors, and capped."""
    asked: CredentialChange = call.body
    with transaction.atomic():
        row = _meant(call)
        networks, authors = tuple(row.networks), tuple(row.authors)
        if asked.networks is not None:
            networks = _parsed(parse_networks, asked.networks, "networks", "192.0.2.0/24")
        if asked.authors is not None:
            authors = _parsed(parse_authors, asked.authors, "authors", "example.org")
        submitting.bind(row, networks=networks, authors=authors)
        if asked.caps is not None:
            submitting.cap(row, Caps(**asked.caps.model_dump()))
        if asked.texts is not None:
            submitting.cap_texts(row, TextCaps(None, asked.texts.texts_per_day, asked.texts.texts_per_month))
    return _told(row)


def rotated(call: Call) -> Done:
    """A second secret beside the one in use."""
    row = _enabled(_row(call.organisation, call.place["credential"]))
    try:
        made = credentials.rotate(row)
    except credentials.StillRotating:
        raise _conflict("Two secrets are valid already.", "End the previous one first.") from None
    return Done(IssuedCredential.of(made.credential, secret=made.secret.reveal()), tag=_tag(made.credential))


def previous_ended(call: Call) -> Done:
    """Only the current secret is valid."""
    with transaction.atomic():
        row = _meant(call)
        if row.previous_hash is None:
            raise _conflict("There is no previous secret.", "Nothing is to be ended.")
        credentials.end_previous(row)
    return _told(row)


def disabled(call: Call) -> Done:
    """Refused from the next command on. One that was disabled stays so."""
    with transaction.atomic():
        row = _row(call.organisation, call.place["credential"], for_update=True)
        if row.disabled_at is None:
            credentials.disable(row)
    return _told(row)


def _told(row: SmtpCredential) -> Done:
    return Done(Credential.of(row), tag=_tag(row))


def _tag(row: SmtpCredential) -> str:
    """Of what is decided about it; being used changes nothing."""
    caps = (submitting.caps_of(row), submitting.text_caps_of(row))
    return tag_of(row.pk, row.networks, row.authors, caps, row.rotated_at, row.previous_hash is None, row.disabled_at)


def _row(organisation: Organisation, credential: int, *, for_update: bool = False) -> SmtpCredential:
    """Raises ``Http404`` for one of another organisation."""
    found = organisation.smtp_credentials.all()
    return get_object_or_404(found.select_for_update() if for_update else found, pk=credential)


def _meant(call: Call) -> SmtpCredential:
    """Inside a transaction: as it is, if that is what the change was made of."""
    row = _row(call.organisation, call.place["credential"], for_update=True)
    must_match(call.request, _tag(row))
    return _enabled(row)


def _enabled(row: SmtpCredential) -> SmtpCredential:
    if row.disabled_at is not None:
        raise _conflict("The credential is disabled.", "Make another one.")
    return row


def _parsed(
    parse: Callable[[str], tuple[str, ...]], written: Sequence[str], field: str, example: str
) -> tuple[str, ...]:
    found: list[str] = []
    for number, text in enumerate(written):
        try:
            found.extend(parse(text))
        except NotARule as cause:
            raise cant_be(f"{field}.{number}", str(cause), example) from None
    return tuple(dict.fromkeys(found))


def _conflict(title: str, reason: str) -> Refused:
    return refused(HTTPStatus.CONFLICT, title, [Fault(field="", reason=reason, example="GET /api/v1/credentials")])


# --- what the organisation submits --------------------------------------------------------------------------------


class HeldCaps(MostSubmitted, Told):
    """Those of the organisation in force, with what was accepted."""

    messages_used_this_hour: int
    messages_used_today: int
    recipients_used_this_hour: int
    recipients_used_today: int

    @classmethod
    def of(cls, organisation: Organisation, now: Instant) -> Self:
        """As they are now."""
        used = submitting.used_by(organisation, now=now)
        return cls(
            **asdict(submitting.caps_of(organisation)),
            messages_used_this_hour=used.messages_this_hour,
            messages_used_today=used.messages_today,
            recipients_used_this_hour=used.recipients_this_hour,
            recipients_used_today=used.recipients_today,
        )


def caps_got(call: Call) -> Done:
    """Those in force."""
    return _caps(call.organisation, call.now)


def caps_put(call: Call) -> Done:
    """In their place from the next message on: what is left out is no limit."""
    asked: MostSubmitted = call.body
    with transaction.atomic():
        current = Organisation.objects.select_for_update().get(pk=call.organisation.pk)
        must_match(call.request, tag_of(submitting.caps_of(current)))
        submitting.cap(current, Caps(**asked.model_dump()))
    return _caps(current, call.now)


def _caps(organisation: Organisation, now: Instant) -> Done:
    return Done(HeldCaps.of(organisation, now), tag=tag_of(submitting.caps_of(organisation)))


# --- text messages of the organisation -----------------------------------------------------------------------------


class TextCapsForm(Form):
    """All caps on text messages of the organisation: what is left out is no limit."""

    texts_per_hour: Most | None = None
    texts_per_day: Most | None = None
    texts_per_month: Most | None = Field(default=None, description="Of 30 days.")
    text_countries: _Rules = Field(
        default=[], max_length=300, description="Empty: wherever the gateway sends to.", examples=[["NL", "BE"]]
    )


class HeldTextCaps(TextCapsForm):
    """Those in force, with what was asked for."""

    used_this_hour: int
    used_today: int
    used_this_month: int

    @classmethod
    def of(cls, organisation: Organisation) -> Self:
        """As they are now."""
        caps = asdict(submitting.text_caps_of(organisation))
        used = submitting.texts_used_by(organisation, now=timezone.now())
        return cls(
            **{**caps, "text_countries": list(caps["text_countries"])},
            used_this_hour=used.this_hour,
            used_today=used.today,
            used_this_month=used.this_month,
        )


def text_caps_got(call: Call) -> Done:
    """Those in force."""
    return _text_caps(call.organisation)


def text_caps_put(call: Call) -> Done:
    """In their place from the next code on."""
    asked: TextCapsForm = call.body
    countries = _parsed(parse_countries, asked.text_countries, "text_countries", "NL")
    with transaction.atomic():
        current = Organisation.objects.select_for_update().get(pk=call.organisation.pk)
        must_match(call.request, tag_of(submitting.text_caps_of(current)))
        caps = TextCaps(asked.texts_per_hour, asked.texts_per_day, asked.texts_per_month, countries)
        submitting.cap_texts(current, caps)
    return _text_caps(current)


def _text_caps(organisation: Organisation) -> Done:
    return Done(HeldTextCaps.of(organisation), tag=tag_of(submitting.text_caps_of(organisation)))


class MoneyForm(Form):
    """What text messages cost, as the organisation says, and may: all of it. In whole cents, so a price between two is
    the higher one."""

    currency: str = Field(default="EUR", pattern="^[A-Z]{3}$", examples=["EUR"])
    price: Most = Field(default=0, description="Of a text message, where no prefix says otherwise.", examples=[8])
    prices: dict[Annotated[str, Field(pattern=r"^\+[1-9][0-9]{0,6}$")], Most] = Field(
        default={},
        max_length=300,
        description="By where numbers begin.",
        examples=[{"+31": 8}],
        json_schema_extra={"additionalProperties": False},
    )
    most_per_month: Most | None = Field(default=None, description="Of 30 days. null: no limit.")


class HeldMoney(MoneyForm):
    """That in force, with what was spent."""

    spent_this_month: int

    @classmethod
    def of(cls, organisation: Organisation) -> Self:
        """As it is now."""
        money = submitting.text_money_of(organisation)
        used = submitting.texts_used_by(organisation, now=timezone.now())
        return cls(
            currency=money.currency,
            price=money.price,
            prices=dict(money.prices),
            most_per_month=money.most_per_month,
            spent_this_month=used.cents_this_month,
        )


def money_got(call: Call) -> Done:
    """That in force."""
    return _text_money(call.organisation)


def money_put(call: Call) -> Done:
    """In its place from the next code on."""
    asked: MoneyForm = call.body
    with transaction.atomic():
        current = Organisation.objects.select_for_update().get(pk=call.organisation.pk)
        must_match(call.request, tag_of(submitting.text_money_of(current)))
        prices = tuple(sorted(asked.prices.items()))
        submitting.price_texts(current, TextMoney(asked.currency, asked.price, prices, asked.most_per_month))
    return _text_money(current)


def _text_money(organisation: Organisation) -> Done:
    return Done(HeldMoney.of(organisation), tag=tag_of(submitting.text_money_of(organisation)))


_IN_THE_WAY: Final = {HTTPStatus.CONFLICT: "The credential is disabled, or is being rotated, or is not."}
_READ, _WRITE = Scope.CREDENTIALS_READ, Scope.CREDENTIALS_WRITE
_ONE: Final = "credentials/{credential}"
_CAPS: Final = "submission/caps"
_TEXTS: Final = "submission/texts"
_MONEY: Final = "submission/text-money"
_NEXT: Final = tuple(
    Link(name, "credential", "/id")
    for name in (
        "get-credential",
        "change-credential",
        "rotate-credential",
        "end-previous-secret",
        "disable-credential",
    )
)

ROWS: Final = (
    Operation(
        "list-credentials", "GET", "credentials", _READ, "SMTP credentials.", listed, CredentialList, query=Paged
    ),
    Operation(
        "issue-credential",
        "POST",
        "credentials",
        _WRITE,
        "Make an SMTP credential. The answer alone shows its secret.",
        issued,
        IssuedCredential,
        asks=CredentialForm,
        status=HTTPStatus.CREATED,
        links=_NEXT,
        keyed=Keyed.OPTIONAL,
        is_tagged=True,
    ),
    Operation("get-credential", "GET", _ONE, _READ, "One SMTP credential.", got, Credential, is_tagged=True),
    Operation(
        "change-credential",
        "PATCH",
        _ONE,
        _WRITE,
        "Bind a credential to networks and authors, and cap it.",
        changed,
        Credential,
        asks=CredentialChange,
        is_tagged=True,
        changes=True,
        refusals=_IN_THE_WAY,
    ),
    Operation(
        "rotate-credential",
        "POST",
        f"{_ONE}/rotate",
        _WRITE,
        "Make a second secret; both are valid until the previous one is ended. The answer alone shows it.",
        rotated,
        IssuedCredential,
        keyed=Keyed.OPTIONAL,
        is_tagged=True,
        refusals=_IN_THE_WAY,
    ),
    Operation(
        "end-previous-secret",
        "POST",
        f"{_ONE}/end-previous",
        _WRITE,
        "End the previous secret of a credential that was rotated.",
        previous_ended,
        Credential,
        is_tagged=True,
        changes=True,
        refusals=_IN_THE_WAY,
    ),
    Operation(
        "disable-credential",
        "POST",
        f"{_ONE}/disable",
        _WRITE,
        "Disable a credential: refused from the next command on, also in open sessions.",
        disabled,
        Credential,
        is_tagged=True,
    ),
    Operation(
        "get-caps",
        "GET",
        _CAPS,
        _READ,
        "Caps on messages and recipients of the organisation, and what was used.",
        caps_got,
        HeldCaps,
        is_tagged=True,
    ),
    Operation(
        "put-caps",
        "PUT",
        _CAPS,
        _WRITE,
        "Put other caps on messages and recipients in their place.",
        caps_put,
        HeldCaps,
        asks=MostSubmitted,
        is_tagged=True,
        changes=True,
    ),
    Operation(
        "get-text-caps", "GET", _TEXTS, _READ, "Caps on text messages.", text_caps_got, HeldTextCaps, is_tagged=True
    ),
    Operation(
        "put-text-caps",
        "PUT",
        _TEXTS,
        _WRITE,
        "Put other caps on text messages in their place.",
        text_caps_put,
        HeldTextCaps,
        asks=TextCapsForm,
        is_tagged=True,
        changes=True,
    ),
    Operation(
        "get-text-money",
        "GET",
        _MONEY,
        _READ,
        "What text messages cost, may, and did.",
        money_got,
        HeldMoney,
        is_tagged=True,
    ),
    Operation(
        "put-text-money",
        "PUT",
        _MONEY,
        _WRITE,
        "Say what text messages cost, and may.",
        money_put,
        HeldMoney,
        asks=MoneyForm,
        is_tagged=True,
        changes=True,
    ),
)
