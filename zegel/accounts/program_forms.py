"""What is filled in to make a token of the API, in the console and in an account holder's settings."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from django import forms
from django.utils.translation import gettext_lazy as _

from zegel.accounts.tokens import OF_ORGANISATIONS, Scope
from zegel.core.clock import Duration

LIVES: Final = ((30, _("30 days")), (90, _("90 days")), (366, _("a year")))
SCOPES: Final = {
    Scope.MESSAGES_SEND: _("send messages of any account"),
    Scope.TRACE_READ: _("see where messages are, and why"),
    Scope.EXPLAIN: _("ask what would become of a message"),
    Scope.VERIFICATION_READ: _("see which recipients have a number or a code; never the number or the code"),
    Scope.VERIFICATION_WRITE: _("enter, import, correct and remove numbers and codes of recipients"),
    Scope.CREDENTIALS_READ: _("see SMTP credentials, without their secrets"),
    Scope.CREDENTIALS_WRITE: _("make, bind, renew and disable SMTP credentials, and set limits"),
    Scope.DOMAINS_READ: _("see sending domains and their records"),
    Scope.DOMAINS_WRITE: _("add, check and remove sending domains, and renew their keys"),
    Scope.ACCOUNTS_READ: _("see accounts"),
    Scope.ACCOUNTS_WRITE: _("make, invite, change and suspend accounts, as an administrator may"),
    Scope.SCIM: _("keep accounts and functional mailboxes, as a directory does (SCIM)"),
    Scope.POLICIES_READ: _("see what is allowed and demanded about recipients"),
    Scope.WEBHOOKS_READ: _("see webhooks, without their secrets, and whether they were told"),
    Scope.WEBHOOKS_WRITE: _("add, change, try and remove webhooks"),
    Scope.ALARMS_READ: _("see the alarms that stand, and who is mailed about them"),
    Scope.ALARMS_WRITE: _("set who is mailed about alarms"),
    Scope.PRIVACY_EXPORT: _("export all that is known of a recipient; never a number, a code or content"),
    Scope.PRIVACY_ERASE: _("erase what is known of a recipient, for good"),
    Scope.POLICIES_WRITE: _("change what is allowed and demanded about recipients"),
}
assert SCOPES.keys() == OF_ORGANISATIONS, "every scope has its words"


class TokenForm(forms.Form):
    """A new token: for what, and how long."""

    description = forms.CharField(
        label=_("Description"),
        help_text=_("Which program uses it, such as “patient records, production”."),
        max_length=200,
    )
    days = forms.TypedChoiceField(label=_("Valid for"), choices=LIVES, coerce=int, initial=90)

    @property
    def life(self) -> Duration:
        """Of a valid form."""
        return timedelta(days=self.cleaned_data["days"])


class ProgramForm(TokenForm):
    """Of a program of the organisation."""

    scopes = forms.MultipleChoiceField(
        label=_("What it may do"),
        help_text=_("No more than it needs, such as sending alone."),
        choices=[(scope.value, words) for scope, words in SCOPES.items()],
        widget=forms.CheckboxSelectMultiple,
        error_messages={"required": _("Choose at least one, such as sending messages.")},
    )

    @property
    def asked(self) -> frozenset[Scope]:
        """Of a valid form."""
        return frozenset(Scope(value) for value in self.cleaned_data["scopes"])
