"""An account holder's own settings: the language of pages, reminders, and of a guest the name that others see."""

from __future__ import annotations

import unicodedata
from http import HTTPStatus
from typing import Any, cast

from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import translation
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_http_methods

from zegel.accounts.models import Account
from zegel.journey.portal.pages import private, see_other


class SettingsForm(forms.Form):
    """What is one's own to choose. The name and address of an organisation's account are its administrator's."""

    display_name = forms.CharField(
        label=gettext_lazy("Name"),
        help_text=gettext_lazy("As others see it when you answer. Empty: your address."),
        required=False,
        max_length=80,
        widget=forms.TextInput(attrs={"autocomplete": "name"}),
    )
    language = forms.ChoiceField(label=gettext_lazy("Language"), choices=settings.LANGUAGES)
    wants_reminders = forms.BooleanField(
        label=gettext_lazy("Remind me by e-mail of messages that I have not opened"),
        help_text=gettext_lazy("You are told of each new message in any case."),
        required=False,
    )

    def __init__(self, data: Any, account: Account) -> None:
        initial = {
            "display_name": account.display_name,
            "language": account.language or translation.get_language(),
            "wants_reminders": account.wants_reminders,
        }
        super().__init__(data, initial=initial)
        if account.organisation_id is not None:
            del self.fields["display_name"]

    def clean_display_name(self) -> str:
        """One line that looks like what it is: no control or direction characters, and no address but one's own."""
        name: str = " ".join(self.cleaned_data["display_name"].split())
        if any(unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co") for char in name) or set(name) & set('@<>"\\'):
            raise forms.ValidationError(_("Write a name, without @, quotes or other signs of an address."))
        return name


@require_http_methods(["GET", "HEAD", "POST"])
@private
@login_required
def own(request: HttpRequest) -> HttpResponse:
    """The settings, and the way to those that have pages of their own."""
    account = cast("Account", request.user)
    form = SettingsForm(request.POST if request.method == "POST" else None, account)
    if not form.is_bound or not form.is_valid():
        status = HTTPStatus.UNPROCESSABLE_ENTITY if form.is_bound else HTTPStatus.OK
        return render(request, "portal/settings.html", {"section": "settings", "form": form}, status=status)
    account.language = form.cleaned_data["language"]
    account.display_name = form.cleaned_data.get("display_name", account.display_name)
    account.wants_reminders = form.cleaned_data["wants_reminders"]
    account.save(update_fields=["language", "display_name", "wants_reminders"])
    translation.activate(account.language)
    messages.success(request, _("Saved."))
    response = see_other(reverse("portal:settings"))
    response.set_cookie(  # as the form at the foot of each page does: browser and account say the same
        settings.LANGUAGE_COOKIE_NAME,
        account.language,
        max_age=settings.LANGUAGE_COOKIE_AGE,
        secure=settings.LANGUAGE_COOKIE_SECURE,
        httponly=settings.LANGUAGE_COOKIE_HTTPONLY,
        samesite="Lax",
    )
    return response
