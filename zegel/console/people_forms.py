"""What administrators fill in about accounts. An error names the field, what is wrong, and how it is written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from zegel.console.people_words import ROLES, WHAT_ROLES_DO
from zegel.core.mail.address import Mailbox, NotAMailbox
from zegel.core.policy.roles import Role

_PLAIN_INPUT: Final = {"autocomplete": "off", "autocapitalize": "off", "spellcheck": "false"}
_LANGUAGES: Final = (("", _("that of the organisation")), ("nl", "Nederlands"), ("en", "English"))


class _AddressField(forms.CharField):
    """One e-mail address; cleaned to a mailbox."""

    def __init__(self, **options: Any) -> None:
        super().__init__(max_length=320, widget=forms.TextInput(attrs=_PLAIN_INPUT), **options)

    def clean(self, value: Any) -> Mailbox:
        """Raises a validation error for what is none."""
        text = str(value or "").strip()
        if not text:
            raise ValidationError(
                gettext("%(field)s: fill in an e-mail address, such as name@example.org.") % {"field": self.label}
            )
        try:
            return Mailbox.parse(text[:320])
        except NotAMailbox:
            raise ValidationError(
                gettext("%(field)s: this is not one e-mail address. Write it like name@example.org.")
                % {"field": self.label}
            ) from None


def _name_field(help_text: Any) -> forms.CharField:
    return forms.CharField(
        label=_("Name"),
        help_text=help_text,
        max_length=200,
        required=False,
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )


_OF_A_PERSON: Final = _("As recipients see it, such as “Front desk, clinic 4”. May be left empty.")


def _language_field() -> forms.ChoiceField:
    return forms.ChoiceField(
        label=_("Language"),
        help_text=_("Of pages and of mail to its holder."),
        choices=_LANGUAGES,
        required=False,
        error_messages={
            "invalid_choice": _("Language: choose one from the list, such as Nederlands."),
        },
    )


class _Choices(forms.RadioSelect):
    template_name = "console/choices.html"


def _role_field(roles: Sequence[Role]) -> forms.ChoiceField:
    return forms.ChoiceField(
        label=_("Role"),
        choices=[(one.value, f"{ROLES[one]}: {WHAT_ROLES_DO[one]}") for one in roles],
        widget=_Choices,
        error_messages={
            "required": _("Role: choose one, such as sender."),
            "invalid_choice": _("Role: choose one that you may give, such as sender."),
        },
    )


class AccountSearchForm(forms.Form):
    """Sent by POST: an address is personal, and a URL ends up in histories and logs."""

    sought = forms.CharField(
        label=_("Address or name, or a part of it"),
        max_length=200,
        required=False,
        widget=forms.TextInput(attrs=_PLAIN_INPUT),
    )
    role = forms.ChoiceField(
        label=_("Role"),
        choices=(("", _("any")), *((one.value, ROLES[one]) for one in Role)),
        required=False,
        error_messages={"invalid_choice": _("Role: choose one from the list, such as sender.")},
    )


class InvitationForm(forms.Form):
    """Somebody new."""

    address = _AddressField(label=_("E-mail address"), help_text=_("In a domain of yours that is in place."))
    display_name = _name_field(_OF_A_PERSON)
    language = _language_field()

    def __init__(self, data: Any, roles: Sequence[Role]) -> None:
        super().__init__(data, initial={"role": Role.SENDER.value})
        self.fields["role"] = _role_field(roles)


class MailboxForm(forms.Form):
    """A functional mailbox."""

    address = _AddressField(label=_("E-mail address"), help_text=_("In a domain of yours that is in place."))
    display_name = _name_field(_("As recipients see it, such as “Customer service”. May be left empty."))


class DescriptionForm(forms.Form):
    """What an account is called, and its language."""

    display_name = _name_field(_OF_A_PERSON)
    language = _language_field()


class RoleForm(forms.Form):
    """Another role."""

    def __init__(self, data: Any, roles: Sequence[Role], **options: Any) -> None:
        super().__init__(data, **options)
        self.fields["role"] = _role_field(roles)


class ColleagueForm(forms.Form):
    """Somebody of the same organisation."""

    address = _AddressField(label=_("E-mail address of a colleague"))
