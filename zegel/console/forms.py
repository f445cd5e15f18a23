"""What administrators fill in."""

from __future__ import annotations

from django import forms
from django.utils.translation import gettext_lazy as _


class SearchForm(forms.Form):
    """Sent by POST: an address is personal, and a URL ends up in histories and logs."""

    sought = forms.CharField(
        label=_("Address of a sender or recipient, or a Message-ID"),
        max_length=998,
        widget=forms.TextInput(attrs={"autocomplete": "off", "autocapitalize": "off", "spellcheck": "false"}),
    )


class CredentialForm(forms.Form):
    """A new SMTP credential."""

    description = forms.CharField(
        label=_("Description"),
        help_text=_("Which mail server or application uses it, such as “mail server, data centre 1”."),
        max_length=200,
    )
