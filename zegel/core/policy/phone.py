"""Mobile numbers: read from what people write, and shown so that only their owner recognises them."""

from __future__ import annotations

import re
from typing import Final

import phonenumbers
from phonenumbers import CountryCodeSource, NumberParseException, PhoneNumber, PhoneNumberFormat, PhoneNumberType

_WRITTEN: Final = re.compile(r"\+?[0-9\s().\-/\u2010-\u2013]{5,40}")
_MASKED: Final = re.compile(r"\+[0-9]{1,3} [0-9] \*{4}[0-9]{2,4}")
_PLUS_AND_TRUNK: Final = re.compile(r"\+[\s().\-/\u2010-\u2013]*0")  # no country code begins with 0
_NO_COUNTRY: Final = "001"  # the region of numbers that belong to none, as the library has it
_REACHED_BY_SMS: Final = frozenset({PhoneNumberType.MOBILE, PhoneNumberType.FIXED_LINE_OR_MOBILE})


class NotAMobileNumber(ValueError):
    """The text is not one, and only one, mobile number."""


def parse_mobile(text: str, *, region: str) -> str:
    """The number in E.164. Accepted are ``+31 6 …``, ``0031 6 …`` and, for ``region``, ``06 …``.

    Raises :class:`NotAMobileNumber` for landlines, pagers and premium numbers, for numbers of no country (satellite
    and other international networks, where a text message costs what nobody expects), for numbers that can't exist
    and for those that allow more than one reading (``31612345678``: a country code without ``+``, or a number of the
    region?). Where the numbering plan doesn't tell mobile from fixed (North America, Denmark) the number is accepted.
    """
    written = " ".join(text.split())  # the library knows no tabs
    if not _WRITTEN.fullmatch(written) or _PLUS_AND_TRUNK.match(written):
        raise NotAMobileNumber("more, or less, than a telephone number")
    try:
        number = phonenumbers.parse(written, region, keep_raw_input=True)
    except NumberParseException:
        raise NotAMobileNumber("not a telephone number") from None
    if not phonenumbers.is_valid_number(number) or number.extension:
        raise NotAMobileNumber("no such number exists")
    if phonenumbers.number_type(number) not in _REACHED_BY_SMS:
        raise NotAMobileNumber("not a mobile number")
    if phonenumbers.region_code_for_number(number) == _NO_COUNTRY:
        raise NotAMobileNumber("of no country")
    if not _has_one_reading(number, written):
        raise NotAMobileNumber("may be read in more than one way")
    return phonenumbers.format_number(number, PhoneNumberFormat.E164)


def _has_one_reading(number: PhoneNumber, written: str) -> bool:
    """A national number must be written as the country writes it, trunk prefix included."""
    match number.country_code_source:
        case CountryCodeSource.FROM_NUMBER_WITH_PLUS_SIGN | CountryCodeSource.FROM_NUMBER_WITH_IDD:
            return True
        case CountryCodeSource.FROM_DEFAULT_COUNTRY:
            return _digits(written) == _digits(phonenumbers.format_number(number, PhoneNumberFormat.NATIONAL))
        case _:
            return False


def _digits(text: str) -> str:
    return "".join(char for char in text if char.isdigit())


def example_mobile(region: str) -> str:
    """How a mobile number of ``region`` is written in international form; not a number that somebody has."""
    number = phonenumbers.example_number_for_type(region, PhoneNumberType.MOBILE)
    return phonenumbers.format_number(number, PhoneNumberFormat.INTERNATIONAL) if number else "+31 6 12345678"


def country_of(e164: str) -> str:
    """Two letters of the country that a number belongs to, such as ``NL``; empty where nobody knows."""
    try:
        return phonenumbers.region_code_for_number(phonenumbers.parse(e164)) or ""
    except NumberParseException:
        return ""


def mask_phone(e164: str) -> str:
    """``+31 6 ****5678``: enough for the owner to know which telephone, too little to call it.

    What is masked already stays so.
    """
    if _MASKED.fullmatch(e164):
        return e164
    try:
        number = phonenumbers.parse(e164, None)
    except NumberParseException:
        return "****"
    national = phonenumbers.national_significant_number(number)
    shown = 4 if len(national) >= 8 else 2
    return f"+{number.country_code} {national[0]} ****{national[-shown:]}"
