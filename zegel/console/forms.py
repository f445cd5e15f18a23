"""What administrators fill in. An error names the field, what is wrong with it, and how it is written."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from django import forms
from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from zegel.accounts import policy as policies
from zegel.accounts.models import DomainMinimum, Organisation, SmtpCredential
from zegel.accounts.submitting import caps_of, text_caps_of, text_money_of
from zegel.console import words
from zegel.console.rules import Binding, Proof
from zegel.core.clock import Instant
from zegel.core.mail.address import Domain, Mailbox, NotADomain, NotAMailbox
from zegel.core.policy.holding import LONGEST_HOLD
from zegel.core.policy.permitting import (
    LARGEST_ANSWER,
    LONGEST_EXPIRY_DAYS,
    LONGEST_TRUST,
    LONGEST_WAIT,
    RecipientPolicy,
    parse_minimum_domain,
)
from zegel.core.policy.submitting import Caps, NotARule, parse_authors, parse_networks, written_author
from zegel.core.policy.texts import (
    TextCaps,
    TextMoney,
    parse_cents,
    parse_countries,
    parse_currency,
    parse_prices,
    written_cents,
    written_prices,
)
from zegel.core.policy.transport import PROVEN, Authentication, Tls, TransportSecurity
from zegel.core.policy.verification import Method
from zegel.journey.seeking import Sought, Text, Where

_LONGEST_LIST: Final = 4000  # characters
_LONGEST_WORD: Final = 80  # of one that is shown again
_MOST_ERRORS: Final = 5
_MOST: Final = 2_000_000_000  # what a column holds, rounded
_DIGITS: Final = re.compile(r"[0-9]{1,10}")
_PLAIN_INPUT: Final = {"autocomplete": "off", "autocapitalize": "off", "spellcheck": "false"}

Complaint = Callable[[str | Promise, str], str]


class _MomentField(forms.CharField):
    """A day, or a moment of it, in local time; cleaned to an instant. A day alone is its beginning, or where it
    ``ends`` what is sought, the beginning of the next one."""

    def __init__(self, *, ends: bool = False, **options: Any) -> None:
        self._ends = ends
        widget = forms.TextInput(attrs=_PLAIN_INPUT)
        super().__init__(required=False, max_length=40, widget=widget, **options)

    def clean(self, value: Any) -> Instant | None:
        """Raises a validation error for what is no day, and for a moment that no calendar has."""
        text = super().clean(value)
        if not text:
            return None
        found = _MOMENT.fullmatch(text)
        try:
            if found is None:
                raise ValueError
            year, month, day = (int(found[part]) for part in _DAY)
            zone = timezone.get_default_timezone()
            at = datetime(year, month, day, int(found["hour"] or 0), int(found["minute"] or 0), tzinfo=zone)
            if self._ends:  # what is named still counts
                at += timedelta(minutes=1) if found["hour"] else timedelta(days=1)
            return at.astimezone(UTC)
        except (ValueError, OverflowError):
            raise ValidationError(
                gettext(
                    "%(field)s: “%(word)s” is not a day. Write it like 2026-11-26, or with a time: 2026-11-26 14:03."
                )
                % {"field": self.label, "word": text[:_LONGEST_WORD]}
            ) from None


_DAY: Final = ("year", "month", "day")
_MOMENT: Final = re.compile(
    r"(?P<year>[0-9]{4})-(?P<month>[0-9]{1,2})-(?P<day>[0-9]{1,2})(?:[ T](?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2}))?"
)


class SearchForm(forms.Form):
    """Sent by POST: an address is personal, and a URL ends up in histories and logs."""

    sought = forms.CharField(
        label=_("Address, domain, Message-ID or identifier"),
        help_text=_(
            "Of a sender or recipient, such as recipient@example.org or example.org; or a Message-ID, such as "
            "<1234@example.org>; or the identifier of a message, recipient or mail from a log."
        ),
        max_length=998,
        required=False,
        widget=forms.TextInput(attrs=_PLAIN_INPUT),
    )
    where = forms.ChoiceField(
        label=_("State"),
        required=False,
        choices=[
            ("", _("any")),
            (Where.WAITING.value, _("waiting")),
            (Where.HELD.value, _("held")),
            (Where.NOTIFIED.value, _("notified")),
            (Where.DELIVERED.value, _("delivered")),
            (Where.OPENED.value, _("opened")),
            (Where.UNDELIVERABLE.value, _("undeliverable")),
        ],
    )
    since = _MomentField(
        label=_("Accepted from"),
        help_text=_(
            "In local time (Europe/Amsterdam): a day such as 2026-11-26, or a moment such as 2026-11-26 14:03."
        ),
    )
    until = _MomentField(label=_("Accepted until"), help_text=_("That day or that minute still counts."), ends=True)

    def clean(self) -> dict[str, Any]:
        """Something must be sought, in a period that isn't over before it begins."""
        values: dict[str, Any] = super().clean() or {}
        since, until = values.get("since"), values.get("until")
        if since is not None and until is not None and until <= since:
            self.add_error(
                "until",
                gettext("%(field)s: this is before “%(other)s”. Write a later day or time.")
                % {"field": self.fields["until"].label, "other": self.fields["since"].label},
            )
        if not self.errors and not any(values.values()):
            self.add_error(
                "sought",
                gettext("Fill in what you look for, such as recipient@example.org, or choose a state or a period."),
            )
        return values

    @property
    def sought_for(self) -> Sought:
        """Of a valid form."""
        values = self.cleaned_data
        return Sought(
            Text.parse(values["sought"]) if values["sought"] else None,
            values["since"],
            values["until"],
            Where(values["where"]) if values["where"] else None,
        )

    @property
    def has_more(self) -> bool:
        """Something beside the first field is filled in, or wrong."""
        return any(self[name].data or self[name].errors for name in ("where", "since", "until"))


class CredentialForm(forms.Form):
    """A new SMTP credential."""

    description = forms.CharField(
        label=_("Description"),
        help_text=_("Which mail server or application uses it, such as “mail server, data centre 1”."),
        max_length=200,
    )


class _ListField(forms.CharField):
    """Words, each of which is one rule; cleaned to what ``parse`` makes of them."""

    def __init__(self, parse: Callable[[str], tuple[Any, ...]], complaint: Complaint, **options: Any) -> None:
        self._parse, self._complaint = parse, complaint
        widget = forms.Textarea(attrs={**_PLAIN_INPUT, "rows": 4})
        super().__init__(required=False, max_length=_LONGEST_LIST, widget=widget, **options)

    def clean(self, value: Any) -> tuple[Any, ...]:
        """Complains of each word that is no rule, of a few at a time."""
        text = super().clean(value)
        wrong = [word for word in text.replace(",", " ").split() if not self._is_rule(word)]
        if wrong:
            label = self.label or ""
            raise ValidationError([self._complaint(label, word[:_LONGEST_WORD]) for word in wrong[:_MOST_ERRORS]])
        return self._parse(text)

    def _is_rule(self, word: str) -> bool:
        try:
            self._parse(word)
        except NotARule:
            return False
        return True


def _not_a_network(label: str | Promise, word: str) -> str:
    try:
        network = ipaddress.ip_network(word, strict=False)
    except ValueError:
        return gettext(
            "%(field)s: “%(word)s” is not an IP address or network. Write it like 192.0.2.10 or 192.0.2.0/24."
        ) % {"field": label, "word": word}
    return gettext(
        "%(field)s: “%(word)s” can mean two things. Write %(address)s for that address alone, or %(network)s for the "
        "whole network."
    ) % {"field": label, "word": word, "address": word.partition("/")[0], "network": network}


def _not_an_author(label: str | Promise, word: str) -> str:
    return gettext(
        "%(field)s: “%(word)s” is not an address or domain. Write it like office@example.org or example.org."
    ) % {"field": label, "word": word}


def _not_a_country(label: str | Promise, word: str) -> str:
    return gettext("%(field)s: “%(word)s” is not a country. Write its two letters, like NL or BE.") % {
        "field": label,
        "word": word,
    }


class _CapField(forms.Field):
    """A number of at least one, in digits alone: of ``1.000`` nobody knows how much it is. Empty is no limit."""

    def __init__(self, **options: Any) -> None:
        widget = forms.TextInput(attrs={"inputmode": "numeric", "autocomplete": "off"})
        super().__init__(required=False, widget=widget, **options)

    def to_python(self, value: Any) -> int | None:
        """Raises a validation error for anything but digits, for zero, and for more than can be stored."""
        text = str(value or "").strip()
        if not text:
            return None
        if not _DIGITS.fullmatch(text) or not 1 <= int(text) <= _MOST:
            raise ValidationError(
                gettext(
                    "%(field)s: “%(given)s” can’t be a limit. Write a whole number above zero in digits alone, such as "
                    "500, or leave it empty for no limit."
                )
                % {"field": self.label, "given": text[:_LONGEST_WORD]}
            )
        return int(text)


def _not_a_price(label: str | Promise, word: str) -> str:
    return gettext("%(field)s: “%(word)s” is not a price. Write where numbers begin and the amount, like +31=0.08.") % {
        "field": label,
        "word": word,
    }


class _AmountField(forms.Field):
    """An amount of money, in cents once it is clean; ``None`` where it is empty."""

    def __init__(self, **options: Any) -> None:
        widget = forms.TextInput(attrs={"inputmode": "decimal", "autocomplete": "off"})
        super().__init__(required=False, widget=widget, **options)

    def to_python(self, value: Any) -> int | None:
        """Raises a validation error for what is no amount."""
        text = str(value or "").strip()
        if not text:
            return None
        try:
            return parse_cents(text)
        except NotARule:
            raise ValidationError(
                gettext("%(field)s: “%(given)s” is not an amount. Write it like 0.08 or 250.")
                % {"field": self.label, "given": text[:_LONGEST_WORD]}
            ) from None


class _CurrencyField(forms.CharField):
    """Three letters."""

    def clean(self, value: Any) -> str:
        """Raises a validation error for what is no currency."""
        text = super().clean(value) or "EUR"
        try:
            return parse_currency(text)
        except NotARule:
            raise ValidationError(
                gettext("%(field)s: “%(given)s” is not a currency. Write its three letters, like EUR.")
                % {"field": self.label, "given": text[:_LONGEST_WORD]}
            ) from None


class CapsForm(forms.Form):
    """The most that may be submitted."""

    messages_per_hour = _CapField(label=_("Messages per hour"))
    messages_per_day = _CapField(label=_("Messages per 24 hours"))
    recipients_per_hour = _CapField(label=_("Recipients per hour"))
    recipients_per_day = _CapField(label=_("Recipients per 24 hours"))

    @classmethod
    def of(cls, organisation: Organisation) -> CapsForm:
        """Filled with what holds now."""
        return cls(initial=asdict(caps_of(organisation)))

    @property
    def caps(self) -> Caps:
        """Of a valid form."""
        return Caps(**{name: self.cleaned_data[name] for name in asdict(Caps())})


class OrganisationCapsForm(CapsForm):
    """The most that may be submitted and texted for an organisation."""

    texts_per_hour = _CapField(label=_("Text messages per hour"))
    texts_per_day = _CapField(label=_("Text messages per 24 hours"))
    texts_per_month = _CapField(label=_("Text messages per 30 days"))
    text_countries = _ListField(
        parse_countries,
        _not_a_country,
        label=_("Countries of text messages"),
        help_text=_(
            "Two letters each, such as NL or BE. No text message goes to numbers of other countries. Empty: wherever "
            "the gateway sends to."
        ),
    )

    text_currency = _CurrencyField(label=_("Currency"), required=False, max_length=20)
    text_price = _AmountField(
        label=_("Price of a text message"),
        help_text=_("What your provider asks, such as 0.08; between two cents the higher one. Empty: nothing."),
    )
    text_prices = _ListField(
        parse_prices,
        _not_a_price,
        label=_("Other prices"),
        help_text=_("By where numbers begin, such as +31=0.08, each on a line of its own."),
    )
    text_cents_per_month = _AmountField(
        label=_("Most that text messages may cost in 30 days"), help_text=_("Such as 250. Empty: no limit.")
    )

    @classmethod
    def of(cls, organisation: Organisation) -> OrganisationCapsForm:
        """Filled with what holds now."""
        texts, money = text_caps_of(organisation), text_money_of(organisation)
        countries = {"text_countries": " ".join(texts.text_countries)}
        most = money.most_per_month
        priced = {
            "text_currency": money.currency,
            "text_price": written_cents(money.price) if money.price else "",
            "text_prices": written_prices(money.prices).replace(" ", "\n"),
            "text_cents_per_month": written_cents(most) if most is not None else "",
        }
        return cls(initial={**asdict(caps_of(organisation)), **asdict(texts), **countries, **priced})

    @property
    def text_money(self) -> TextMoney:
        """Of a valid form."""
        asked = self.cleaned_data
        return TextMoney(
            asked["text_currency"], asked["text_price"] or 0, asked["text_prices"], asked["text_cents_per_month"]
        )

    @property
    def text_caps(self) -> TextCaps:
        """Of a valid form."""
        return TextCaps(**{name: self.cleaned_data[name] for name in asdict(TextCaps())})


class BindingForm(CapsForm):
    """From where, for whom and how much a credential may be used."""

    field_order = ("networks", "authors")
    texts_per_day = _CapField(label=_("Text messages per 24 hours"))
    texts_per_month = _CapField(label=_("Text messages per 30 days"))
    networks = _ListField(
        parse_networks,
        _not_a_network,
        label=_("May sign in from"),
        help_text=_(
            "IP addresses and networks, such as 192.0.2.10 or 2001:db8::/32, each on a line of its own. Empty: from "
            "anywhere. A change holds from the next message on."
        ),
    )
    authors = _ListField(
        parse_authors,
        _not_an_author,
        label=_("May send for"),
        help_text=_(
            "From addresses and domains, such as office@example.org or example.org, each on a line of its own. A "
            "domain stands for its addresses, not for domains below it. Empty: for all senders of your organisation."
        ),
    )

    @classmethod
    def of_credential(cls, credential: SmtpCredential) -> BindingForm:
        """Filled with what holds now."""
        held = Binding.of(credential)
        return cls(
            initial={
                "networks": "\n".join(held.networks),
                "authors": "\n".join(map(written_author, held.authors)),
                **asdict(held.caps),
                "texts_per_day": held.text_caps.texts_per_day,
                "texts_per_month": held.text_caps.texts_per_month,
            }
        )

    @property
    def binding(self) -> Binding:
        """Of a valid form."""
        asked = self.cleaned_data
        texts = TextCaps(None, asked["texts_per_day"], asked["texts_per_month"])
        return Binding(asked["networks"], asked["authors"], self.caps, texts)


class _Choices(forms.RadioSelect):
    template_name = "console/choices.html"


class ProofForm(forms.Form):
    """What proves that a client may submit."""

    authentication = forms.ChoiceField(
        label=_("What proves that a mail server may submit for you"),
        help_text=_("With “or” one of them is enough; with “and” both are needed."),
        choices=Organisation.Authentication.choices,
        widget=_Choices,
    )
    networks = _ListField(
        parse_networks,
        _not_a_network,
        label=_("SPF counts from"),
        help_text=_(
            "IP addresses and networks, such as 192.0.2.10 or 2001:db8::/32, each on a line of its own. Empty: from "
            "everywhere that your SPF record allows."
        ),
    )
    needs_dkim = forms.BooleanField(
        required=False,
        label=_("SPF counts only with a DKIM signature"),
        help_text=_("A valid one, of the domain that stands in the From address."),
    )

    @classmethod
    def of(cls, organisation: Organisation) -> ProofForm:
        """Filled with what holds now."""
        held = Proof.of(organisation)
        return cls(initial={**asdict(held), "networks": "\n".join(held.networks)})

    @property
    def proof(self) -> Proof:
        """Of a valid form."""
        return Proof(
            self.cleaned_data["authentication"], self.cleaned_data["networks"], self.cleaned_data["needs_dkim"]
        )


# --- recipients --------------------------------------------------------------------------------------------------


class _Checks(forms.CheckboxSelectMultiple):
    template_name = "console/choices.html"


class _NumberField(forms.Field):
    """A number in digits alone, of at least one."""

    wrong: str | Promise  # with places for field, given, most, example

    def __init__(self, *, most: int, example: int, **options: Any) -> None:
        self._most, self._example = most, example
        widget = forms.TextInput(attrs={"inputmode": "numeric", "autocomplete": "off"})
        super().__init__(widget=widget, **options)

    def to_python(self, value: Any) -> int | None:
        """Raises a validation error for anything else; empty is ``None``, where it may be."""
        text = str(value or "").strip()
        if not text:
            return None
        if not _DIGITS.fullmatch(text) or not 1 <= int(text) <= self._most:
            raise ValidationError(
                str(self.wrong)
                % {
                    "field": self.label,
                    "given": text[:_LONGEST_WORD],
                    "most": self._most,
                    "example": self._example,
                }
            )
        return int(text)


class _DaysField(_NumberField):
    """Of days."""

    wrong = _(
        "%(field)s: “%(given)s” can’t be that. Write a whole number of days from 1 to %(most)s, such as %(example)s."
    )


class _MegabytesField(_NumberField):
    """Of megabytes."""

    wrong = _(
        "%(field)s: “%(given)s” can’t be that. Write a whole number of megabytes from 1 to %(most)s, such as "
        "%(example)s."
    )


_METHOD_CHOICES: Final = [(method.value, words.method(method.value)) for method in Method]
_HOLD: Final = "hold"
_REPORT: Final = "report"


class RecipientPolicyForm(forms.Form):
    """What an organisation allows and demands about recipients."""

    allowed = forms.MultipleChoiceField(
        label=_("Allowed methods"),
        help_text=_(
            "What recipients may verify with. A message that names a method which isn’t allowed is reported to its "
            "sender, and not delivered in another way."
        ),
        choices=_METHOD_CHOICES,
        widget=_Checks,
        error_messages={"required": _("Allowed methods: allow at least one, such as the SMS code.")},
    )
    allows_transport = forms.BooleanField(
        required=False,
        label=_("A message may ask for direct delivery"),
        help_text=_("If not, it goes out as a notification, and its sender gets one warning mail."),
    )
    lacking = forms.ChoiceField(
        label=_("Recipients about whom nothing allowed is known"),
        choices=[
            (_HOLD, _("hold them, and tell the sender what to fill in")),
            (_REPORT, _("report them to the sender as undeliverable")),
        ],
        widget=_Choices,
    )
    hold_days = _DaysField(
        most=LONGEST_HOLD,
        example=5,
        label=_("Days that they are held"),
        help_text=_("After that they are reported as undeliverable."),
        error_messages={"required": _("Days that they are held: fill in a number of days, such as 5.")},
    )
    expires_after_days = _DaysField(
        most=LONGEST_EXPIRY_DAYS,
        example=30,
        required=False,
        label=_("Days until a message expires"),
        help_text=_(
            "Then its keys are destroyed, and nobody can read it any more. A message may name another term. Empty: "
            "never."
        ),
    )
    remind_after_days = _DaysField(
        most=LONGEST_WAIT,
        example=3,
        required=False,
        label=_("Days until who has not opened a message is reminded"),
        help_text=_("Once, with a new link; the sender hears of it. Empty: never."),
    )
    remembers_devices_days = _DaysField(
        most=LONGEST_TRUST,
        example=30,
        required=False,
        label=_("Days that a recipient’s device is remembered"),
        help_text=_(
            "If the recipient wants it: further messages then open on that device without a code. Fewer days or none: "
            "all devices are forgotten at once. Empty: never."
        ),
    )
    answer_megabytes = _MegabytesField(
        most=LARGEST_ANSWER,
        example=50,
        required=False,
        label=_("Most megabytes of a file in an answer"),
        help_text=_("All files of an answer together: five times that. Empty: as many as this gateway allows."),
    )
    subject = forms.ChoiceField(
        label=_("Subject of a notification"),
        help_text=_("A notification travels like ordinary mail: what its subject shows is not protected."),
        choices=Organisation.Subject.choices,
        widget=_Choices,
    )
    takes_inbound_direct_delivery = forms.BooleanField(
        required=False,
        label=_("Inbound direct delivery"),
        help_text=_(
            "Messages to your own domains, from every organisation that uses this gateway, then arrive readable in the "
            "mailbox, without verification."
        ),
    )

    @classmethod
    def of(cls, organisation: Organisation) -> RecipientPolicyForm:
        """Filled with what holds now."""
        held = policies.policy_of(organisation)
        return cls(
            initial={
                **asdict(held),
                "allowed": [method.value for method in held.allowed],
                "lacking": _HOLD if held.holds else _REPORT,
            }
        )

    @property
    def policy(self) -> RecipientPolicy:
        """Of a valid form."""
        found = self.cleaned_data
        return RecipientPolicy(
            allowed=tuple(method for method in Method if method.value in found["allowed"]),
            allows_transport=found["allows_transport"],
            holds=found["lacking"] == _HOLD,
            hold_days=found["hold_days"],
            takes_inbound_direct_delivery=found["takes_inbound_direct_delivery"],
            expires_after_days=found["expires_after_days"],
            remind_after_days=found["remind_after_days"],
            answer_megabytes=found["answer_megabytes"],
            remembers_devices_days=found["remembers_devices_days"],
            subject=found["subject"],
        )


class LevelForm(forms.Form):
    """The least that is demanded of a connection."""

    tls = forms.TypedChoiceField(
        label=_("Least encryption"),
        choices=[(int(Tls.TLS_1_2), _("TLS 1.2 or newer")), (int(Tls.TLS_1_3), _("TLS 1.3"))],
        coerce=int,
        initial=int(PROVEN.tls),
        widget=_Choices,
    )
    authentication = forms.TypedChoiceField(
        label=_("Least authenticity of the receiving server"),
        choices=[
            (int(one), words.authentication(one))
            for one in (Authentication.CERTIFICATE, Authentication.SIGNED_MX, Authentication.DANE)
        ],
        coerce=int,
        initial=int(PROVEN.authentication),
        widget=_Choices,
    )

    @classmethod
    def of(cls, level: TransportSecurity) -> LevelForm:
        """Filled with what holds now."""
        level = level.at_least(PROVEN)
        return cls(initial={"tls": int(level.tls), "authentication": int(level.authentication)})

    @property
    def level(self) -> TransportSecurity:
        """Of a valid form."""
        return TransportSecurity(Tls(self.cleaned_data["tls"]), Authentication(self.cleaned_data["authentication"]))


class DirectDomainForm(LevelForm):
    """A domain that gets readable messages."""

    field_order = ("domain",)
    domain = forms.CharField(
        label=_("Domain"),
        help_text=_("Such as example.org. It stands for itself, not for domains below it."),
        max_length=255,
        widget=forms.TextInput(attrs=_PLAIN_INPUT),
    )

    def clean_domain(self) -> Domain:
        """Raises a validation error for what is no domain."""
        try:
            return Domain.parse(self.cleaned_data["domain"])
        except NotADomain:
            raise ValidationError(_not_a_domain(self.cleaned_data["domain"])) from None

    def complain_of_second(self) -> None:
        """It is on the list already; one that is there is changed on its own page, where its level can be seen."""
        self.add_error("domain", gettext("Domain: it is on the list already. Change the level there."))


def _not_a_domain(text: str) -> str:
    return gettext("Domain: “%(given)s” is not a domain name. Write it like example.org.") % {
        "given": text[:_LONGEST_WORD]
    }


class MinimumMethodForm(forms.Form):
    """The least that recipients must verify with."""

    minimum = forms.ChoiceField(
        label=_("At least"),
        help_text=_("This method, or one that stands above it."),
        choices=_METHOD_CHOICES,
        widget=_Choices,
    )

    @classmethod
    def of(cls, minimum: DomainMinimum) -> MinimumMethodForm:
        """Filled with what holds now."""
        return cls(initial={"minimum": minimum.method})

    @property
    def method(self) -> Method:
        """Of a valid form."""
        return Method(self.cleaned_data["minimum"])


class MinimumForm(MinimumMethodForm):
    """The least for a domain."""

    field_order = ("domain",)
    domain = forms.CharField(
        label=_("Domain"),
        help_text=_("Such as example.org, for that domain and none below it; or * for every domain that has no line."),
        max_length=255,
        widget=forms.TextInput(attrs=_PLAIN_INPUT),
    )

    def clean_domain(self) -> str:
        """Raises a validation error for what is neither a domain nor the star."""
        try:
            return parse_minimum_domain(self.cleaned_data["domain"], every_other=DomainMinimum.EVERY_OTHER)
        except NotADomain:
            raise ValidationError(_not_a_domain(self.cleaned_data["domain"])) from None

    def complain_of_second(self) -> None:
        """There is one already; it is changed on its own page, where it can be seen."""
        self.add_error("domain", gettext("Domain: there is a minimum for it already. Change that one."))


class RecipientSearchForm(forms.Form):
    """Sent by POST: an address is personal, and a URL ends up in histories and logs."""

    address = forms.CharField(
        label=_("Address of a recipient"),
        help_text=_("Or how it begins, such as client; or all of a domain, such as @example.org."),
        max_length=320,
        widget=forms.TextInput(attrs=_PLAIN_INPUT),
    )

    def clean_address(self) -> Mailbox | Domain | str:
        """An address, all addresses of a domain, or how one begins. Raises a validation error for what can't be any."""
        text: str = self.cleaned_data["address"]
        try:
            return Domain.parse(text[1:]) if text.startswith("@") else Mailbox.parse(text)
        except (NotADomain, NotAMailbox):
            if _BEGINS_AN_ADDRESS.fullmatch(text):
                return text.lower()
            raise ValidationError(
                gettext("%(field)s: this is not one e-mail address. Write it like client@example.org.")
                % {"field": self.fields["address"].label}
            ) from None


_BEGINS_AN_ADDRESS: Final = re.compile(r"[^@\s<>()\[\]\\,;:\"]+(?:@[^@\s<>()\[\]\\,;:\"]*)?")
