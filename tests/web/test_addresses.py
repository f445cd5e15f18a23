"""Addresses that are made of one pattern, and sentences that are looked up once."""

from __future__ import annotations

import uuid

import pytest
from django.template import Context, Template
from django.urls import NoReverseMatch, reverse
from django.utils.translation import override

from zegel.web.addresses import address

ONE, OTHER = uuid.uuid4(), uuid.uuid4()


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("home", {}),
        ("portal:guest", {"recipient": ONE}),
        ("portal:guest-body", {"recipient": ONE, "message": OTHER}),
        ("portal:guest-part", {"recipient": OTHER, "message": ONE, "number": 0}),
        ("portal:inbox-view", {"number": 41, "conversation": ONE, "message": ONE}),
    ],
)
def test_an_address_is_what_django_makes_of_it(name: str, parts: dict[str, uuid.UUID | int]) -> None:
    for _ in range(2):
        assert address(name, **parts) == reverse(name, kwargs=parts)


def test_a_page_that_there_is_not_has_no_address() -> None:
    with pytest.raises(NoReverseMatch):
        address("portal:nowhere", recipient=ONE)
    with pytest.raises(NoReverseMatch):
        address("portal:guest", message=ONE)


def said(source: str, **context: object) -> str:
    return Template("{% load i18n %}" + source).render(Context(context))


def test_a_sentence_is_said_in_the_language_of_each_reader() -> None:
    template = Template('{% load i18n %}{% translate "Answer" %}')
    found = []
    for language in ("nl", "en", "nl"):
        with override(language):
            found.append(template.render(Context()))
    assert found == ["Antwoord", "Answer", "Antwoord"]


def test_what_is_not_fixed_is_left_to_django() -> None:
    with override("nl"):
        assert said('{% translate "Answer" as it %}[{{ it }}]') == "[Antwoord]"
        assert said('{% translate "Answer" noop %}') == "Answer"
        assert said('{% translate "Answer"|upper %}') == "ANTWOORD"
        assert said("{% translate word %}", word="Answer") == "Antwoord"
        assert said("{% translate word %}", word="<b>") == "&lt;b&gt;"
        assert said('{% trans "Answer" %}') == "Antwoord"
