"""The configuration: whatever stands in the file or the environment gives settings that work, or one sentence."""

from __future__ import annotations

import os
import string
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from zegel.core.mail.fields import HeaderSection
from zegel.core.mail.trace import loop_marker, received
from zegel.core.secret import Secret
from zegel.edge.dns import DnsResolver
from zegel.settings import BadSettings, Listen, Settings, load

MANY = settings(deadline=None, max_examples=200, suppress_health_check=list(HealthCheck))

PLACES = [
    ("", "testing"),
    ("", "hostname"),
    ("", "folder"),
    ("", "log_level"),
    ("", "submission"),
    ("", "nonsense"),
    ("submission", "listen"),
    ("submission", "listen_implicit_tls"),
    ("submission", "certificate"),
    ("submission", "certificate_key"),
    ("submission", "processes"),
    ("submission", "max_size"),
    ("submission", "nonsense"),
    ("delivery", "resolver"),
    ("delivery", "mx_port"),
    ("delivery", "extra_ca"),
    ("delivery", "retry_first"),
    ("delivery", "give_up_after"),
    ("delivery", "warn_after"),
    ("delivery", "timeout"),
    ("portal", "url"),
    ("portal", "listen"),
    ("portal", "trusted_proxies"),
    ("portal", "answer_limit"),
    ("portal", "clamd"),
    ("sms", "driver"),
    ("sms", "folder"),
]
ODD = [
    "",
    " ",
    "true",
    "-1",
    "1e999",
    "nan",
    "[]",
    "{}",
    "[1",
    '{"a":',
    "null",
    "~nobody-of-this-name/x",
    "~",
    "/",
    ".",
]
ODD += ["127.0.0.1:587", '["127.0.0.1:587"]', "127.0.0.1:99999", "127.0.0.1:²", "[::1]:25", "::1", "localhost:25"]
ODD += [
    "http://[",
    "http://",
    "https://a b/",
    "http://a:x",
    "ftp://a",
    "a\r\nb",
    "a\x00b",
    "x" * 300,
    "[" * 5000,
    "é.test",
]
ODD += ["folder", "none", "debug", "zegel.test", "99999999999999999999999"]

texts = st.sampled_from(ODD) | st.text(max_size=30)
scalars: st.SearchStrategy[Any] = texts | st.integers() | st.floats() | st.booleans()
anything = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=2))


def as_toml(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case str():
            return '"' + "".join(f"\\U{ord(one):08x}" for one in value if not "\ud800" <= one <= "\udfff") + '"'
        case list():
            return "[" + ", ".join(map(as_toml, value)) + "]"
        case dict():
            return "{" + ", ".join(f"{as_toml(name)} = {as_toml(one)}" for name, one in value.items()) + "}"
        case _:
            raise AssertionError(value)


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    kept = {name: value for name, value in os.environ.items() if name.startswith("ZEGEL_")}
    for name in kept:
        del os.environ[name]
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in variables:
            del os.environ[name]
        os.environ.update(kept)


def loaded(path: Path | None) -> Settings | None:
    """The settings, or nothing where a sentence was said; whatever else is raised is the test's failure."""
    try:
        found = load(path)
    except BadSettings as cause:
        sentence = str(cause)
        assert sentence.strip()
        assert "Traceback" not in sentence
        return None
    use(found)
    return found


def use(found: Settings) -> None:
    """What the processes make of them at their start, as far as it needs nothing of the machine."""
    section = HeaderSection.parse(b"Message-ID: <a@b.test>\r\nDate: x\r\n")
    at = datetime(2026, 11, 23, tzinfo=UTC)
    received(by=found.hostname, source="x", protocol="ESMTPSA", id="1", tls=None, at=at)
    loop_marker(found.hostname, section, Secret(bytes(32)))
    resolver = found.resolver()
    if resolver is not None:
        DnsResolver(resolver)
    for path in (found.folder, found.database, found.keys, found.blobs, found.run):
        assert path.is_absolute()
        os.fsencode(path)
        assert "\0" not in str(path)


@MANY
@given(place=st.sampled_from(PLACES), value=anything)
@example(place=("", "folder"), value="~nobody-of-this-name/x")
@example(place=("", "folder"), value="a\x00b")
@example(place=("", "hostname"), value="a\r\nb")
@example(place=("", "hostname"), value="::1")
@example(place=("", "hostname"), value=".".join(["x" * 60] * 3) + ".test")
@example(place=("delivery", "resolver"), value="garbage")
@example(place=("delivery", "resolver"), value="127.0.0.1:99999")
@example(place=("delivery", "resolver"), value="127.0.0.1:0")
@example(place=("portal", "url"), value="http://[")
@example(place=("submission", "certificate"), value="~nobody-of-this-name/x")
def test_any_value_in_the_file_is_used_or_refused(tmp_path: Path, place: tuple[str, str], value: Any) -> None:
    section, name = place
    path = tmp_path / "zegel.toml"
    header = f"[{section}]\n" if section else ""
    before = "" if name == "testing" else "testing = true\n"
    path.write_text(f"{before}{header}{name} = {as_toml(value)}\n")
    with environment():
        loaded(path)


@MANY
@given(octets=st.binary(max_size=200) | st.text(string.printable, max_size=200).map(str.encode))
@example(octets=b"a = " + b"[" * 5000)
@example(octets=b"\xff\xfe")
@example(octets=b"[submission]\n[submission]\n")
@example(octets=b"folder = 1979-05-27T07:32:00Z\n")
def test_any_octets_are_a_configuration_or_refused(tmp_path: Path, octets: bytes) -> None:
    path = tmp_path / "zegel.toml"
    path.write_bytes(octets)
    with environment():
        loaded(path)


@MANY
@given(place=st.sampled_from(PLACES), value=texts)
@example(place=("", "submission"), value="[" * 5000)
@example(place=("", "submission"), value='{"listen": 1}')
@example(place=("submission", "listen"), value="127.0.0.1:587")
@example(place=("", "folder"), value="~nobody-of-this-name/x")
def test_any_environment_is_used_or_refused(place: tuple[str, str], value: str) -> None:
    section, name = place
    variable = f"ZEGEL_{section}__{name}".upper() if section else f"ZEGEL_{name}".upper()
    clean = "".join(one for one in value if one != "\0" and not "\ud800" <= one <= "\udfff")
    with environment(**{variable: clean, "ZEGEL_TESTING": "true"} if name != "testing" else {variable: clean}):
        loaded(None)


def sentence(tmp_path: Path, text: str) -> str:
    path = tmp_path / "zegel.toml"
    path.write_text(text)
    with environment(), pytest.raises(BadSettings) as caught:
        load(path)
    return str(caught.value).removeprefix(f"{path}: ")


def test_a_file_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with environment(), pytest.raises(BadSettings, match="There is no configuration file"):
        load(tmp_path / "zegel.toml")
    with environment(), pytest.raises(BadSettings, match="There is no configuration file"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("hostnaam = 'x'", "hostnaam"),
        ("[submission]\nlisten = ['587']", "submission.listen"),
        ("[submission]\nprocesses = 0", "submission.processes"),
        ("[submission]\ncertificate = 'a.pem'", "submission.certificate"),
        ("[portal]\ncertificate_key = 'a.pem'", "portal.certificate"),
        ("[sms]\ndriver = 'folder'", "sms.folder"),
        ("[sms]\ndriver = 'pigeon'", "sms.driver"),
        ("[delivery]\nresolver = 'x'", "delivery.resolver"),
        ("hostname = 'a b'", "hostname"),
        ("[portal]\nurl = 'x'", "portal.url"),
        ("[portal]\nanswer_limit = 10", "portal.answer_limit"),
        ("[delivery]\nretry_first = 172801", "delivery.retry_first"),  # longer than a readable message is tried
        ("[delivery]\ngive_up_after = 3600\nretry_first = 1800", "delivery.retry_first"),
        ("[delivery]\ngive_up_after = 60", "delivery.give_up_after"),
        ("[delivery]\nwarn_after = 0", "delivery.warn_after"),
        ("[portal]\nclamd = 'clamd'", "portal.clamd"),
        ("[portal]\nclamd = '127.0.0.1:99999'", "portal.clamd"),
        ("[portal]\nclamd = 'clamd.ctl'", "portal.clamd"),
        ("[portal]\nclamd = 3310", "portal.clamd"),
        ("[portal]\ntrusted_proxies = '192.0.2.1'", "portal.trusted_proxies"),
        ("[portal]\ntrusted_proxies = ['proxy.test']", "portal.trusted_proxies"),
        ("[portal]\ntrusted_proxies = ['192.0.2.1/24']", "portal.trusted_proxies"),
    ],
)
def test_the_sentence_names_the_setting(tmp_path: Path, text: str, names: str) -> None:
    assert names in sentence(tmp_path, text)


@pytest.mark.parametrize(
    "text",
    [
        "[delivery]\nmx_port = 2525",
        "[delivery]\nextra_ca = 'ca.pem'",
        "[delivery]\nretry_first = 5",
        "[delivery]\nresolver = '127.0.0.1:5353'",
    ],
)
def test_what_is_for_tests_is_for_tests_only(tmp_path: Path, text: str) -> None:
    assert "only for tests" in sentence(tmp_path, text)
    with environment():
        (tmp_path / "zegel.toml").write_text(f"testing = true\n{text}")
        assert load(tmp_path / "zegel.toml").testing


@pytest.mark.parametrize(
    ("text", "trusted"),
    [
        ("", ["127.0.0.0/8", "::1/128"]),
        ("listen = '[::1]:8080'", ["127.0.0.0/8", "::1/128"]),
        ("listen = '0.0.0.0:8080'", []),  # who comes over loopback may be anybody that is forwarded here
        ("listen = '[::]:8080'", []),
        ("listen = '192.0.2.7:8080'", []),
        ("certificate = 'a'\ncertificate_key = 'b'", []),  # there is no proxy that speaks HTTP
        ("trusted_proxies = []", []),
        (
            "listen = '0.0.0.0:8080'\ntrusted_proxies = ['192.0.2.7', '2001:db8::/64']",
            ["192.0.2.7/32", "2001:db8::/64"],
        ),
    ],
)
def test_whom_the_portal_believes_about_a_visitors_address(tmp_path: Path, text: str, trusted: list[str]) -> None:
    (tmp_path / "zegel.toml").write_text(f"[portal]\n{text}")
    with environment():
        assert [str(one) for one in load(tmp_path / "zegel.toml").trusted_proxies()] == trusted


def test_paths_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    (tmp_path / "zegel.toml").write_text("folder = 'state'\n[submission]\ncertificate = 'a'\ncertificate_key = '/b'\n")
    with environment():
        found = load(tmp_path / "zegel.toml")
    assert found.folder == tmp_path / "state"
    assert found.submission.certificate == tmp_path / "a"
    assert found.submission.certificate_key == Path("/b")


def test_the_environment_goes_before_the_file(tmp_path: Path) -> None:
    (tmp_path / "zegel.toml").write_text("hostname = 'een.test'\n[submission]\nprocesses = 2\nmax_recipients = 7\n")
    with environment(ZEGEL_HOSTNAME="twee.test", ZEGEL_SUBMISSION__PROCESSES="3"):
        found = load(tmp_path / "zegel.toml")
    assert found.hostname == "twee.test"
    assert (found.submission.processes, found.submission.max_recipients) == (3, 7)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:3310", Listen(host="127.0.0.1", port=3310)),
        ("[::1]:3310", Listen(host="::1", port=3310)),
        ("clamav.voorbeeld.test:3310", Listen(host="clamav.voorbeeld.test", port=3310)),
        ("/run/clamav/clamd.ctl", Path("/run/clamav/clamd.ctl")),
    ],
)
def test_a_scanner_is_an_address_or_a_socket(tmp_path: Path, text: str, expected: Listen | Path) -> None:
    (tmp_path / "zegel.toml").write_text(f"[portal]\nclamd = '{text}'\n")
    with environment():
        assert load(tmp_path / "zegel.toml").portal.clamd == expected
