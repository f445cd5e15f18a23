"""The words of our mails: what they must say, what they must never say, and that no name or subject breaks out."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from html import unescape
from html.parser import HTMLParser
from typing import Final, get_args

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from zegel.core.mail.address import Mailbox
from zegel.core.mail.texts import (
    LONGEST_NAME,
    LONGEST_SUBJECT,
    Answer,
    AnswerWaits,
    AssumedTransport,
    CodeMail,
    CodeWithheld,
    DomainWord,
    Held,
    HeldRecipient,
    Hindrance,
    Invitation,
    Language,
    Mail,
    Method,
    MethodAsked,
    NewDevice,
    NoFallBack,
    Notification,
    NotWords,
    Original,
    StrayAddress,
    TransportForbidden,
    Warned,
    answer_mail,
    answer_waits_mail,
    code_mail,
    code_withheld_mail,
    domain_mail,
    held_mail,
    invitation_mail,
    method_asked_mail,
    new_device_mail,
    notification_mail,
    sms_text,
    warning_mail,
)
from zegel.core.policy.another_way import Hindrance as HindranceValue
from zegel.core.secret import Secret

AT: Final = datetime(2026, 3, 12, 14, 2, 0, tzinfo=UTC)
LINK: Final = "https://veilig.voorbeeld.test/m/2f8c1b#Zk3vQ0n1r9xM7uT5&b=c'd"
AUTHOR: Final = Mailbox.parse("balie@voorbeeld.test")
RECIPIENT: Final = Mailbox.parse("ontvanger@example.org")
LANGUAGES: Final[tuple[Language, ...]] = get_args(Language)
METHODS: Final[tuple[Method, ...]] = get_args(Method)
patient: Final = settings(deadline=None)

NOTIFICATION: Final = Notification(
    sender_display="Balie",
    sender_address=AUTHOR,
    organisation="Praktijk Voorbeeld",
    link=Secret(LINK),
    expires=AT,
    subject=Secret("Afspraak"),
    method="sms",
    masked="+31 6 ****5678",
)


def notification(name: str, subject: str, language: Language) -> Mail:
    told = dataclasses.replace(NOTIFICATION, sender_display=name, organisation=name, subject=Secret(subject))
    return notification_mail(told, language)


def code(name: str, _: str, language: Language) -> Mail:
    return code_mail(CodeMail(Secret("123456"), name, AUTHOR, name, AT), language)


def answer(name: str, subject: str, language: Language) -> Mail:
    return answer_mail(Answer(name, RECIPIENT, name, Secret(LINK), Original(AT, Secret(subject))), language)


def answer_waits(name: str, subject: str, language: Language) -> Mail:
    told = AnswerWaits(
        answerer_display=name,
        answerer_address=RECIPIENT,
        sender_display=name,
        sender_address=AUTHOR,
        organisation=name,
        link=Secret(LINK),
        expires=AT,
        subject=Secret(subject),
        method="sms",
        masked="+31 6 ****5678",
    )
    return answer_waits_mail(told, language)


def warning(name: str, subject: str, language: Language) -> Mail:
    oddities = (
        StrayAddress("zivver-access-right", RECIPIENT),
        AssumedTransport(name),
        NoFallBack(name),
        TransportForbidden(name, (RECIPIENT, AUTHOR)),
    )
    return warning_mail(Warned(Original(AT, Secret(subject)), oddities), language)


def withheld(name: str, subject: str, language: Language) -> Mail:
    return code_withheld_mail(CodeWithheld(RECIPIENT, name, Original(AT, Secret(subject)), Secret(LINK)), language)


def held(name: str, subject: str, language: Language) -> Mail:
    return held_mail(dataclasses.replace(HELD, organisation=name, original=Original(AT, Secret(subject))), language)


HELD: Final = Held(
    recipients=(
        HeldRecipient(RECIPIENT, ("sms", "access_code")),
        HeldRecipient(Mailbox.parse("gast@example.net"), ("account",)),
    ),
    organisation="Praktijk Voorbeeld",
    original=Original(AT),
    until=AT + timedelta(days=5),
    link=Secret(LINK),
    is_reminder=False,
)
ASKED: Final = MethodAsked(RECIPIENT, "number-changed", "Praktijk Voorbeeld", Original(AT), Secret(LINK))
DOMAIN: Final = DomainWord(
    kind="missing",
    domain="voorbeeld.test",
    organisation="Praktijk Voorbeeld",
    records=(("zegel._domainkey.voorbeeld.test", "TXT"),),
    since=AT,
    refused_from=AT + timedelta(hours=72),
    link=Secret(LINK),
)
DEVICE: Final = NewDevice("Firefox, Windows", AT, AT + timedelta(days=30), "Praktijk Voorbeeld", Secret(LINK))


def method_asked(name: str, subject: str, language: Language) -> Mail:
    told = dataclasses.replace(ASKED, organisation=name, original=Original(AT, Secret(subject)))
    return method_asked_mail(told, language)


def new_device(name: str, subject: str, language: Language) -> Mail:
    return new_device_mail(dataclasses.replace(DEVICE, browser=subject, organisation=name), language)


def missing(name: str, subject: str, language: Language) -> Mail:
    return domain_mail(dataclasses.replace(DOMAIN, organisation=name, domain=subject), language)


def refused(name: str, subject: str, language: Language) -> Mail:
    return domain_mail(dataclasses.replace(DOMAIN, kind="refused", organisation=name, domain=subject), language)


def back(name: str, subject: str, language: Language) -> Mail:
    return domain_mail(dataclasses.replace(DOMAIN, kind="in-place", organisation=name, domain=subject), language)


def invitation(name: str, subject: str, language: Language) -> Mail:
    return invitation_mail(Invitation(Secret(LINK), name, subject, AT), language)


MAILS: Final = (
    notification, code, answer, answer_waits, warning, withheld, held, method_asked, new_device, invitation,
    missing, refused, back,
)  # fmt: skip
Make = Callable[[str, str, Language], Mail]
every_mail = pytest.mark.parametrize("make", MAILS, ids=lambda make: str(make.__name__))
every_language = pytest.mark.parametrize("language", LANGUAGES)


class Structure(HTMLParser):
    """The elements with their attributes, without the text."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, tuple[tuple[str, str | None], ...]]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, tuple(attrs)))

    def handle_endtag(self, tag: str) -> None:
        self.elements.append((f"/{tag}", ()))

    def handle_comment(self, data: str) -> None:
        self.elements.append(("!--", ((data, None),)))

    def handle_pi(self, data: str) -> None:
        self.elements.append(("?", ((data, None),)))

    def handle_data(self, data: str) -> None:
        self.text += data


# --- hostile names and subjects -----------------------------------------------------------------------------------

HOSTILE: Final = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'><a href='https://kwaad.test/'>",
    "</title></style><script>",
    "</h1><!-- ",
    "<![CDATA[",
    "&lt;b&gt; &amp; &#60;",
    "regel\r\nTe openen tot: nooit",
    "regel\u2028regel\u2029regel\x85regel\x0bregel\x1c",
    "half \ud800 teken",
    "a\u202egpj.exe\u2066b\u200f",
    "בית חולים",
    "{0} {host} %s %(a)s",
    "x" * 2000,
]
strangers = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=120))
visible = strangers.map(lambda text: f"a{text}")  # with nothing to see, an address takes its place


@patient
@given(st.sampled_from(MAILS), st.sampled_from(LANGUAGES), visible, visible)
@example(notification, "nl", "a" + HOSTILE[1], "a" + HOSTILE[3])
def test_a_hostile_name_or_subject_never_breaks_out(make: Make, language: Language, name: str, subject: str) -> None:
    harmless, hostile = make("naam", "onderwerp", language), make(name, subject, language)
    assert Structure(hostile.html).elements == Structure(harmless.html).elements
    assert hostile.text.count("\n") == harmless.text.count("\n")
    assert len(hostile.text.splitlines()) == len(harmless.text.splitlines())
    assert len(hostile.subject.splitlines()) == 1
    for text in hostile:
        assert not re.search("[\u202a-\u202e\u2066\u2067\u200e\u200f\ud800-\udfff]", text)
        assert text.count("\u2068") == text.count("\u2069")


@every_mail
def test_a_long_name_or_subject_is_cut(make: Make) -> None:
    mail = make("x" * 5000, "y" * 5000, "nl")
    assert "x" * (LONGEST_NAME + 1) not in mail.text
    assert "y" * (LONGEST_SUBJECT + 1) not in mail.text
    assert "x" * (LONGEST_NAME + 1) not in mail.html


@pytest.mark.parametrize("name", ["zie https://kwaad.test/ nu", "HTTP://kwaad.test", "www.kwaad.test", "h://:////x"])
@pytest.mark.parametrize("make", [notification, code, answer])
def test_a_name_is_no_way_to_put_a_link_into_our_mail(make: Make, name: str) -> None:
    for text, harmless in zip(make(name, "onderwerp", "nl"), make("naam", "onderwerp", "nl"), strict=True):
        assert text.count("://") == harmless.count("://")
        assert "www.kwaad" not in text.lower()


@pytest.mark.parametrize("nothing", ["", " ", "\r\n", "\u202e"])
def test_where_there_is_no_name_the_address_stands(nothing: str) -> None:
    mail = notification(nothing, "onderwerp", "en")
    assert mail.subject.startswith("Secure message from balie@voorbeeld.test")
    assert "From: balie@voorbeeld.test\n" in mail.text


# --- links and codes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "link",
    [
        "",
        "javascript:alert(1)",
        "data:text/html,geheim",
        "//veilig.voorbeeld.test/geheim",
        "https://veilig.voorbeeld.test",
        "https://veilig.voorbeeld.test/a b",
        'https://veilig.voorbeeld.test/"geheim',
        "https://veilig.voorbeeld.test/<geheim>",
        "https://veilig.voorbeeld.test@kwaad.test/geheim",
        "https://veilig.voorbeeld.test/geheim\r\n",
        "ftp://veilig.voorbeeld.test/geheim",
    ],
)
def test_what_is_no_link_is_put_before_nobody_and_not_quoted(link: str) -> None:
    with pytest.raises(NotWords) as refused:
        notification_mail(dataclasses.replace(NOTIFICATION, link=Secret(link)), "nl")
    assert "geheim" not in str(refused.value)


@pytest.mark.parametrize("digits", ["", "12345", "1234567", "12345a", "１２３４５６", "12 456", "²²²²²²"])
def test_what_is_no_code_is_put_before_nobody_and_not_quoted(digits: str) -> None:
    for make in (
        lambda: code_mail(CodeMail(Secret(digits), "Balie", AUTHOR, "Praktijk", AT), "nl"),
        lambda: sms_text(Secret(digits), "veilig.voorbeeld.test", "nl"),
    ):
        with pytest.raises(NotWords) as refused:
            make()
        assert not digits or digits not in str(refused.value)


@pytest.mark.parametrize("host", ["", "a b", "veilig.test\n@kwaad.test", "veilig.test #1", "-a", "a" * 63, "É.test"])
def test_what_is_no_host_gets_no_code(host: str) -> None:
    with pytest.raises(NotWords):
        sms_text(Secret("123456"), host, "nl")


def test_what_is_told_shows_no_secret() -> None:
    for told in (
        NOTIFICATION,
        CodeMail(Secret("123456"), "Balie", AUTHOR, "Praktijk", AT),
        Answer("Balie", RECIPIENT, "Praktijk", Secret(LINK), Original(AT, Secret("Afspraak"))),
        dataclasses.replace(HELD, original=Original(AT, Secret("Afspraak"))),
    ):
        assert not re.search("Zk3vQ0|123456|Afspraak", repr(told))


@every_language
@pytest.mark.parametrize("make", [notification, answer, withheld, held, method_asked, new_device])
def test_there_is_one_link_as_a_button_and_as_text(make: Make, language: Language) -> None:
    mail = make("naam", "onderwerp", language)
    structure = Structure(mail.html)
    links = [dict(attributes) for tag, attributes in structure.elements if tag == "a"]
    assert [link["href"] for link in links] == [LINK]
    assert LINK not in structure.text  # in each part once
    assert mail.text.count(f"\n{LINK}\n") == 1
    assert LINK not in mail.html  # its & and ' are escaped
    assert "#Zk3" not in mail.subject


@every_language
def test_the_code_mail_has_the_code_and_nothing_to_click(language: Language) -> None:
    mail = code("Balie", "", language)
    assert "123456" in mail.text
    assert "123456" in Structure(mail.html).text
    assert "123456" not in mail.subject
    assert "://" not in mail.text + mail.html
    assert "<a " not in mail.html
    assert "10 minut" in mail.text.replace("minuten", "minut").replace("minutes", "minut")
    assert "balie@voorbeeld.test" in mail.text


@every_language
@pytest.mark.parametrize("host", ["a.nl", "veilig.voorbeeld.test", "a" * 62])
def test_the_text_message_is_one_line_and_one_for_the_browser(language: Language, host: str) -> None:
    text = sms_text(Secret("012345"), host, language, valid=timedelta(minutes=7))
    line, last = text.split("\n")
    assert last == f"@{host} #012345"
    assert "012345" in line
    assert " 7 minut" in line
    assert len(text) <= 160
    assert re.fullmatch(r"[A-Za-z0-9 .,?@#\n-]*", text)  # all of one septet in GSM 03.38


# --- what a notification says -------------------------------------------------------------------------------------


@every_language
@pytest.mark.parametrize("method", METHODS)
def test_a_notification_says_who_what_until_when_and_how_to_check(language: Language, method: Method) -> None:
    mail = notification_mail(dataclasses.replace(NOTIFICATION, method=method), language)
    for text in (mail.text, Structure(mail.html).text):
        assert "Balie <balie@voorbeeld.test>" in text
        assert "Praktijk Voorbeeld" in text
        assert "Afspraak" in text
        assert {"nl": "12 maart 2026, 14:02 uur (UTC)", "en": "12 March 2026, 14:02 (UTC)"}[language] in text
        assert "https://veilig.voorbeeld.test/ " in text
        assert {"nl": "alleen dat antwoord is veilig", "en": "only that answer is safe"}[language] in text


def test_each_method_is_explained_in_its_own_words() -> None:
    told = [notification_mail(dataclasses.replace(NOTIFICATION, method=method), "nl").text for method in METHODS]
    assert len(set(told)) == len(METHODS)
    assert ["****5678" in text.replace("\u00a0", " ") for text in told] == [method == "sms" for method in METHODS]


def test_a_hidden_subject_and_no_expiry_leave_no_trace() -> None:
    mail = notification_mail(dataclasses.replace(NOTIFICATION, subject=None, expires=None), "nl")
    assert mail.subject == "Beveiligd bericht van Balie"
    assert "Onderwerp" not in mail.text + mail.html
    assert "Te openen tot" not in mail.text + mail.html


def test_the_time_is_told_in_the_zone_of_the_reader() -> None:
    zone = timezone(timedelta(hours=2), "CEST")
    late = dataclasses.replace(NOTIFICATION, expires=datetime(2026, 6, 30, 23, 30, tzinfo=UTC))
    assert "1 juli 2026, 01:30 uur (CEST)" in notification_mail(late, "nl", zone=zone).text


@every_mail
def test_the_languages_do_not_mix(make: Make) -> None:
    dutch, english = make("naam", "onderwerp", "nl"), make("naam", "onderwerp", "en")
    assert re.search(r"\b(het|bericht|een)\b", dutch.text)
    assert not re.search(r"\b(the|message|your)\b", dutch.text, re.IGNORECASE)
    assert re.search(r"\b(the|message|your)\b", english.text)
    assert not re.search(r"\b(het|bericht|een)\b", english.text, re.IGNORECASE)
    assert 'lang="nl"' in dutch.html
    assert 'lang="en"' in english.html


@every_mail
@every_language
def test_the_html_needs_nothing_from_elsewhere_and_knows_the_dark(make: Make, language: Language) -> None:
    html = make("naam", "onderwerp", language).html
    assert not re.search(r"src=|url\(|@import|<img|<link|<script|<table|<form|<iframe|http-equiv", html)
    assert '<meta name="color-scheme" content="light dark">' in html
    assert "prefers-color-scheme: dark" in html
    # The dark colours override by class: each class in the style sheet is used or shared, each use is styled.
    used = set(re.findall(r'class="(z-[a-z]+)"', html))
    assert used <= set(re.findall(r"\.(z-[a-z]+) \{", html))


@every_mail
@every_language
def test_the_html_says_what_the_text_says(make: Make, language: Language) -> None:
    mail = make("naam", "onderwerp", language)
    structure = Structure(mail.html)
    links = [dict(attributes)["href"] for tag, attributes in structure.elements if tag == "a"]
    told = structure.text.splitlines()
    for line in mail.text.splitlines():
        for piece in line.removesuffix(":").split(": "):
            assert piece in links or any(piece in one for one in told)


@every_mail
@every_language
def test_the_text_says_what_the_html_says(make: Make, language: Language) -> None:
    mail = make("naam", "onderwerp", language)
    body = mail.html.partition("</style>")[2]
    for piece in [*re.findall(r">([^<>]+)<", body), *re.findall(r'href="([^"]*)"', body)]:
        assert unescape(piece).strip() in mail.text


# --- notices to the author ----------------------------------------------------------------------------------------


@every_language
def test_a_warning_names_field_and_address(language: Language) -> None:
    mail = warning("zegel-direct-delivery", "onderwerp", language)
    for text in (mail.text, Structure(mail.html).text):
        assert "zivver-access-right" in text
        assert "ontvanger@example.org" in text
        assert "tls tls1.2 auth certificate-validation" in text


@every_language
def test_a_notice_without_a_subject_has_no_subject(language: Language) -> None:
    mail = code_withheld_mail(CodeWithheld(RECIPIENT, "Praktijk", Original(AT), Secret(LINK)), language)
    assert not re.search(r"^(Onderwerp|Subject):", mail.text, re.MULTILINE)
    assert "ontvanger@example.org" in mail.text


@every_language
def test_the_author_hears_in_our_own_words_why_a_recipient_cannot_open(language: Language) -> None:
    said = {method_asked_mail(dataclasses.replace(ASKED, why=why), language).text for why in get_args(Hindrance)}
    assert len(said) == len(get_args(Hindrance)) == len(HindranceValue)
    assert {one.value for one in HindranceValue} == set(get_args(Hindrance))
    caution = "Iedereen die de mailbox" if language == "nl" else "Whoever reads the recipient’s mailbox"
    assert all("ontvanger@example.org" in text and caution in text for text in said)


def many(count: int) -> tuple[Mailbox, ...]:
    return tuple(Mailbox.parse(f"ontvanger{number:03}@example.org") for number in range(count))


@every_language
def test_a_warning_about_direct_delivery_names_whom_it_was_forbidden_for_and_counts_the_rest(
    language: Language,
) -> None:
    oddity = TransportForbidden("direct-delivery", many(200))
    text = warning_mail(Warned(Original(AT), (oddity,)), language).text
    assert {"nl": "en nog 180", "en": "and 180 more"}[language] in text
    assert "ontvanger000@example.org" in text
    assert len(text) < 2000


# --- who is held --------------------------------------------------------------------------------------------------


@every_language
def test_the_mail_about_who_is_held_says_who_what_would_do_and_until_when(language: Language) -> None:
    mail = held_mail(HELD, language)
    assert not mail.subject.startswith(("Herinnering", "Reminder"))
    for text in (mail.text, Structure(mail.html).text):
        assert "ontvanger@example.org" in text
        assert {"nl": "een mobiel nummer of een toegangscode", "en": "a mobile number or an access code"}[
            language
        ] in text
        assert {"nl": "een account met een tweede factor", "en": "an account with a second factor"}[language] in text
        assert {"nl": "17 maart 2026, 14:02 uur (UTC)", "en": "17 March 2026, 14:02 (UTC)"}[language] in text
        assert {"nl": "Aanvullen en versturen", "en": "Fill in and send"}[language] in text


@every_language
def test_a_reminder_says_in_its_subject_that_it_is_one(language: Language) -> None:
    mail = held_mail(dataclasses.replace(HELD, is_reminder=True), language)
    assert mail.subject.startswith({"nl": "Herinnering: uw", "en": "Reminder: your"}[language])


@every_language
def test_who_can_fill_in_nothing_is_not_asked_to(language: Language) -> None:
    mail = held_mail(dataclasses.replace(HELD, recipients=HELD.recipients[1:]), language)
    assert not re.search("Aanvullen|invulde|Fill in|filled in is", mail.text)
    assert {"nl": "gaat het bericht vanzelf uit", "en": "the message goes out by itself"}[language] in mail.text


@every_language
def test_about_two_hundred_who_are_held_a_mail_stays_short(language: Language) -> None:
    recipients = tuple(HeldRecipient(one, ("sms",)) for one in many(200))
    mail = held_mail(dataclasses.replace(HELD, recipients=recipients), language)
    assert mail.text.count("@example.org") == 20
    assert {"nl": "en nog 180", "en": "and 180 more"}[language] in mail.text
    assert len(mail.text) < 4000
    assert len(mail.html) < 20_000


def test_a_plan_that_is_not_understood_names_nobody_a_method() -> None:
    unknown = dataclasses.replace(HELD, recipients=(HeldRecipient(RECIPIENT, ()),))
    assert "ontvanger@example.org: zie de pagina" in held_mail(unknown, "nl").text
