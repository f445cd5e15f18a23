"""The administrator's page about how an organisation shows itself: its language and country; one colour, a logo,
and some words of its own in what recipients meet."""

from __future__ import annotations

from dataclasses import asdict
from http import HTTPStatus
from io import BytesIO
from typing import Any, Final

from django import forms
from django.conf import settings
from django.contrib import messages
from django.core.files.uploadedfile import InMemoryUploadedFile
from django.core.files.uploadhandler import FileUploadHandler
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from django.views.decorators.http import require_http_methods

from zegel.accounts import look as looks
from zegel.accounts.models import Organisation
from zegel.console.access import allows
from zegel.console.page import show
from zegel.console.rules import version_of
from zegel.core.look import (
    HIGHEST_LOGO,
    LARGEST_LOGO,
    WIDEST_LOGO,
    Logo,
    NotAColour,
    NotALogo,
    TooLight,
    palette,
    parse_colour,
    parse_logo,
)
from zegel.core.mail.address import Mailbox
from zegel.core.mail.texts import Language, Mail, Notification, notification_mail
from zegel.core.own_texts import LONGEST, HoldsAnAddress, NotAnOwnText, OwnTexts, TooLong, parse_own_text
from zegel.core.policy.organisation import NotADescription, parse_description
from zegel.core.policy.roles import Capability
from zegel.core.secret import Secret

_OWN: Final = "#0f5666"  # of the style sheet


class _OwnTextField(forms.CharField):
    """Plain text of the organisation's own; empty: nothing is said there."""

    def __init__(self, **options: Any) -> None:
        widget = forms.Textarea(attrs={"rows": "3"})
        super().__init__(required=False, widget=widget, **options)

    def clean(self, value: Any) -> str:
        """Raises a validation error for what can't stand in these mails."""
        label = self.label
        try:
            return parse_own_text(super().clean(value))
        except TooLong as cause:
            raise forms.ValidationError(
                _("%(field)s: this text has %(length)d characters; at most %(most)d are shown.")
                % {"field": label, "length": cause.length, "most": LONGEST}
            ) from None
        except HoldsAnAddress as cause:
            raise forms.ValidationError(
                _(
                    "%(field)s: “%(word)s” would become a link, and the only link of these mails is the way to the "
                    "message. Name a telephone number or an e-mail address."
                )
                % {"field": label, "word": cause.word[:60]}
            ) from None
        except NotAnOwnText:
            raise forms.ValidationError(_("%(field)s: this can’t be used.") % {"field": label}) from None


class LookForm(forms.Form):
    """Language, country, colour, logo and words. The name is the operator's to change: who could call themselves what
    they like could pass for another organisation."""

    language = forms.ChoiceField(
        label=gettext_lazy("Language"),
        help_text=gettext_lazy("Of your mails, and of pages for who chose none."),
        choices=(("nl", "Nederlands"), ("en", "English")),
    )
    region = forms.CharField(
        max_length=20,
        label=gettext_lazy("Country"),
        help_text=gettext_lazy(
            "Two letters, such as NL or BE: telephone numbers of this country may be written without its code."
        ),
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false", "autocapitalize": "characters"}),
    )

    accent = forms.CharField(
        required=False,
        max_length=20,
        label=gettext_lazy("Colour"),
        help_text=gettext_lazy(
            "Of links and buttons, as six hexadecimal digits such as #0f5666. It must be dark enough to read on white; "
            "shades for dark screens follow from it. Empty: the colour of this gateway."
        ),
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false", "autocapitalize": "none"}),
    )
    logo = forms.FileField(
        required=False,
        label=gettext_lazy("Logo"),
        help_text=gettext_lazy(
            "A PNG image of at most 100 kB, 1200 pixels wide and 400 high; it is shown 40 pixels high, beside the name "
            "of your organisation. It is made for a light background."
        ),
        widget=forms.FileInput(attrs={"accept": "image/png"}),
    )
    no_logo = forms.BooleanField(required=False, label=gettext_lazy("Show no logo any more"))
    introduction_nl = _OwnTextField(
        label=gettext_lazy("Introduction in Dutch"),
        help_text=gettext_lazy(
            "Your own words at the beginning of a notification and a reminder, such as who you are and why you send "
            "mail this way. Everybody to whom you write reads them, and they are not protected. Empty: nothing."
        ),
    )
    introduction_en = _OwnTextField(label=gettext_lazy("Introduction in English"))
    help_nl = _OwnTextField(
        label=gettext_lazy("Where to turn, in Dutch"),
        help_text=gettext_lazy(
            "At the end of these mails and of those with a code, and at the foot of the pages of recipients: a "
            "telephone number, opening hours, an e-mail address. No address on the web. Empty: nothing."
        ),
    )
    help_en = _OwnTextField(label=gettext_lazy("Where to turn, in English"))

    def clean_region(self) -> str:
        """Raises a validation error for what is no country with telephone numbers."""
        region: str = self.cleaned_data["region"].strip().upper()
        try:
            parse_description("-", "nl", region)
        except NotADescription:
            raise forms.ValidationError(
                _("Country: this is not a country. Write its two letters, such as NL or BE.")
            ) from None
        return region

    def clean_accent(self) -> str:
        """Raises a validation error for what is no colour, or one that can't be read."""
        text: str = self.cleaned_data["accent"].strip()
        if not text:
            return ""
        try:
            accent = parse_colour(text)
            palette(accent)
        except NotAColour:
            raise forms.ValidationError(
                _("Colour: this is not a colour. Write six hexadecimal digits, such as #0f5666.")
            ) from None
        except TooLight as cause:
            raise forms.ValidationError(
                _(
                    "Colour: %(colour)s can’t be read on a light page. Its contrast is %(ratio)s to 1, and 4.5 to 1 is "
                    "needed. A darker shade such as %(darker)s can be read."
                )
                % {"colour": cause.colour, "ratio": number_format(cause.ratio, 1), "darker": cause.darker}
            ) from None
        return accent

    def clean_logo(self) -> Logo | None:
        """Raises a validation error for what can't be shown everywhere."""
        file = self.cleaned_data["logo"]
        if file is None:
            return None
        try:
            return parse_logo(file.read())
        except NotALogo:
            raise forms.ValidationError(
                _("Logo: take a PNG image of at most %(kilobytes)d kB and %(width)d by %(height)d pixels.")
                % {"kilobytes": LARGEST_LOGO // 1000, "width": WIDEST_LOGO, "height": HIGHEST_LOGO}
            ) from None


class _LogoUpload(FileUploadHandler):
    """Keeps one file in memory, and of one that is too large no more than shows that it is. A logo is no secret, and
    nothing of it touches a disk."""

    def __init__(self, request: HttpRequest) -> None:
        super().__init__(request)
        self._kept = bytearray()

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        """The last one counts."""
        super().new_file(*args, **kwargs)
        self._kept = bytearray()

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        """Read to the end all the same: else the browser shows an error of its own instead of the answer."""
        self._kept += raw_data[: LARGEST_LOGO + 1 - len(self._kept)]

    def file_complete(self, file_size: int) -> InMemoryUploadedFile:
        """All of it, or its beginning."""
        return InMemoryUploadedFile(
            BytesIO(self._kept), self.field_name, self.file_name or "", self.content_type or "", len(self._kept), None
        )


@csrf_exempt  # checked below, once it is said how the file is taken
@require_http_methods(["GET", "HEAD", "POST"])
@allows(Capability.POLICY)
def look(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """Shows the look, and changes it; who changes what was changed meanwhile is told so."""
    request.upload_handlers = [_LogoUpload(request)]

    def checked(request: HttpRequest) -> HttpResponse:
        if request.method != "POST":
            initial = {"accent": organisation.accent, **asdict(looks.description_of(organisation))}
            initial |= asdict(looks.texts_of(organisation))
            return _page(request, organisation, LookForm(initial=initial))
        form = LookForm(request.POST, request.FILES)
        if not form.is_valid():
            return _page(request, organisation, form, status=HTTPStatus.UNPROCESSABLE_ENTITY)
        if not _store(organisation, form, request.POST.get("version", "")):
            organisation.refresh_from_db()
            return _page(request, organisation, form, is_stale=True, status=HTTPStatus.CONFLICT)
        messages.success(request, _("The changes are stored."))
        return redirect("console:look")

    answer: HttpResponse = csrf_protect(checked)(request)
    return answer


def _store(organisation: Organisation, form: LookForm, version: str) -> bool:
    with transaction.atomic():
        current = Organisation.objects.select_for_update().get(pk=organisation.pk)
        if version != _version(current):
            return False
        given = form.cleaned_data
        looks.describe(current, parse_description(current.name, given["language"], given["region"]))
        looks.paint(current, given["accent"])
        if form.cleaned_data["logo"] is not None or form.cleaned_data["no_logo"]:
            looks.show_logo(current, form.cleaned_data["logo"])
        looks.say(current, OwnTexts(**{name: form.cleaned_data[name] for name in asdict(OwnTexts())}))
    return True


def _version(organisation: Organisation) -> str:
    return version_of(
        (
            organisation.accent,
            organisation.logo_name,
            *asdict(looks.description_of(organisation)).values(),
            *asdict(looks.texts_of(organisation)).values(),
        )
    )


def _page(
    request: HttpRequest,
    organisation: Organisation,
    form: LookForm,
    *,
    is_stale: bool = False,
    status: HTTPStatus = HTTPStatus.OK,
) -> HttpResponse:
    if not organisation.logo_name:
        del form.fields["no_logo"]
    context = {
        "form": form,
        "organisation": organisation,
        "accent": organisation.accent or _OWN,
        "example": _example(organisation),
        "version": _version(organisation),
        "is_stale": is_stale,
    }
    return show(request, "look", context, status=status)


def _example(organisation: Organisation) -> Mail:
    """A notification as it would be sent now, of a sender and a link that don't exist."""
    language: Language = "en" if organisation.language == "en" else "nl"
    told = Notification(
        sender_display=_("Name of the sender"),
        sender_address=Mailbox.parse("afzender@voorbeeld.test"),
        organisation=organisation.name,
        link=Secret(f"{settings.ZEGEL.portal.url}/m/{_('example')}"),
        expires=None,
        subject=None,
        method="email",
        masked=None,
        own=looks.own_words(organisation, language),
    )
    return notification_mail(told, language)
