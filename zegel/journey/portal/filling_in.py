"""What an account holder fills in for a recipient: a mobile number, or an access code and what recalls it.

No number and no code that was typed comes back into a page. An error names the field, what is wrong, and how it is
written.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from zegel.core.mail.address import Mailbox, NotAMailbox
from zegel.core.policy.access_code import (
    LONGEST,
    LONGEST_HINT,
    SHORTEST,
    Flaw,
    NotAnAccessCode,
    parse_access_code,
    parse_hint,
)
from zegel.core.policy.phone import NotAMobileNumber, example_mobile, parse_mobile
from zegel.core.policy.verification import AccessCode, Method, SmsCode
from zegel.core.secret import Secret

SUPPLIED: Final = (Method.SMS, Method.ACCESS_CODE)  # what somebody else than the recipient can fill in
_PLAIN_INPUT: Final = {"autocomplete": "off", "autocapitalize": "off", "spellcheck": "false"}


class _Unechoed(forms.TextInput):
    """Shows what is typed while it is typed, and never again."""

    def format_value(self, value: Any) -> None:
        return None


class _Telephone(_Unechoed):
    input_type = "tel"


class VerificationForm(forms.Form):
    """One of the methods that are offered, or nothing at all (:attr:`is_blank`)."""

    phone = forms.CharField(required=False, label=_("Mobile number"), widget=_Telephone(attrs=_PLAIN_INPUT))
    code = forms.CharField(required=False, label=_("Access code"), widget=_Unechoed(attrs=_PLAIN_INPUT))
    hint = forms.CharField(
        required=False,
        label=_("Hint"),
        help_text=_("What reminds the recipient of the code. Who has the link can read it."),
        widget=_Unechoed(attrs=_PLAIN_INPUT),
    )

    def __init__(self, *args: Any, region: str, methods: Collection[Method] = SUPPLIED, **options: Any) -> None:
        """``region``: whose national numbers are understood."""
        super().__init__(*args, **options)
        self._region = region
        self.fields["phone"].help_text = gettext(
            "The recipient gets a text message with a code. Such as %(example)s."
        ) % {"example": example_mobile(region)}
        self.fields["code"].help_text = gettext(
            "%(shortest)d to %(longest)d characters. Give it to the recipient yourself, and not by e-mail."
        ) % {"shortest": SHORTEST, "longest": LONGEST}
        for method, names in _FIELDS.items():
            if method not in methods:
                for name in names:
                    del self.fields[name]

    def clean_phone(self) -> SmsCode | None:
        """Raises a validation error for what isn't one mobile number."""
        written: str = self.cleaned_data["phone"]
        if not written:
            return None
        try:
            return SmsCode(Secret(parse_mobile(written, region=self._region)))
        except NotAMobileNumber:
            raise ValidationError(
                gettext(
                    "%(field)s: this is not the number of one mobile telephone that can get text messages. Write it "
                    "like %(example)s."
                )
                % {"field": self.fields["phone"].label, "example": example_mobile(self._region)}
            ) from None

    def clean_code(self) -> str:
        """Raises a validation error for what can't be an access code."""
        written: str = self.cleaned_data["code"]
        if not written:
            return ""
        try:
            return parse_access_code(written)
        except NotAnAccessCode as cause:
            flaw = cause.flaw
        raise ValidationError(_flawed(flaw, str(self.fields["code"].label)))

    def clean(self) -> None:
        """Raises a validation error for two methods at once, and for a hint that can't be one."""
        found = self.cleaned_data
        if found.get("phone") and found.get("code"):
            raise ValidationError(
                gettext("Fill in one of the two, a mobile number or an access code, such as the number alone.")
            )
        if not found.get("hint") or self.errors:
            return
        label = str(self.fields["hint"].label)
        if not found.get("code"):
            self.add_error("hint", gettext("%(field)s: it belongs to an access code. Fill in both.") % {"field": label})
            return
        try:
            found["hint"] = parse_hint(found["hint"], code=found["code"])
        except NotAnAccessCode as cause:
            self.add_error("hint", _flawed(cause.flaw, label))

    @property
    def verification(self) -> SmsCode | AccessCode | None:
        """Of a valid form; ``None`` where nothing was filled in."""
        phone: SmsCode | None = self.cleaned_data.get("phone")
        if phone is not None:
            return phone
        code, hint = self.cleaned_data.get("code"), self.cleaned_data.get("hint")
        return AccessCode(Secret(code), Secret(hint) if hint else None) if code else None


_FIELDS: Final = {Method.SMS: ("phone",), Method.ACCESS_CODE: ("code", "hint")}


class NewEntryForm(VerificationForm):
    """For a recipient who is named as well; something must be filled in."""

    field_order = ("address",)
    address = forms.CharField(
        label=_("E-mail address of the recipient"),
        widget=forms.EmailInput(attrs=_PLAIN_INPUT),
        error_messages={"required": _("E-mail address of the recipient: fill it in, such as client@example.org.")},
    )

    def clean_address(self) -> Mailbox:
        """Raises a validation error for what is no address."""
        try:
            return Mailbox.parse(self.cleaned_data["address"])
        except NotAMailbox:
            raise ValidationError(
                gettext("%(field)s: this is not one e-mail address. Write it like client@example.org.")
                % {"field": self.fields["address"].label}
            ) from None

    def clean(self) -> None:
        """As of any such form, and something must be there."""
        super().clean()
        if not self.errors and self.verification is None:
            raise ValidationError(_nothing(self))


class CorrectionForm(VerificationForm):
    """Another value of the one method that is offered."""

    def clean(self) -> None:
        """As of any such form, and something must be there."""
        super().clean()
        if not self.errors and self.verification is None:
            raise ValidationError(_nothing(self))


def _nothing(form: forms.Form) -> str:
    if "code" not in form.fields:
        return gettext("Fill in a mobile number.")
    if "phone" not in form.fields:
        return gettext("Fill in an access code.")
    return gettext("Fill in a mobile number or an access code.")


def _flawed(flaw: Flaw, label: str) -> str:
    said = {
        Flaw.LENGTH: gettext(
            "%(field)s: an access code has %(shortest)d to %(longest)d characters. Write for example four words."
        ),
        Flaw.SPACES: gettext("%(field)s: between its characters only ordinary spaces are possible. Type it by hand."),
        Flaw.INVISIBLE: gettext("%(field)s: there are characters in it that nobody sees. Type it by hand."),
        Flaw.HINT: gettext(
            "%(field)s: a hint is one line of at most %(hint)d characters, such as: the number on your client card."
        ),
        Flaw.HINT_TELLS: gettext(
            "%(field)s: the access code itself stands in it, and who has the link can read it. Write what reminds of "
            "the code, such as: the number on your client card."
        ),
    }[flaw]
    return said % {"field": label, "shortest": SHORTEST, "longest": LONGEST, "hint": LONGEST_HINT}
