"""Text messages: the folder that stands in for telephones, and no provider at all."""

from __future__ import annotations

import json
import os
import ssl
import stat
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from zegel.compose.parts import sms_driver
from zegel.core.secret import Secret
from zegel.edge.sms import FolderSms, NoSms, SmsFailed
from zegel.local.authority import LocalAuthority
from zegel.settings import BadSettings, Settings, load

NUMBER, TEXT = Secret("+31612345678"), Secret("Uw code: 123456 — één keer geldig")
AT = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def test_without_a_provider_nothing_is_sent() -> None:
    with pytest.raises(SmsFailed):
        NoSms().send(NUMBER, TEXT, key="a", at=AT)


def test_a_folder_that_can_not_be_written_is_a_failure_that_names_neither_number_nor_text(tmp_path: Path) -> None:
    (tmp_path / "sms").write_text("in the way")
    with pytest.raises(SmsFailed) as caught:
        FolderSms(tmp_path / "sms").send(NUMBER, TEXT, key="a", at=AT)
    for said in (str(caught.value), str(caught.value.__cause__)):
        assert "12345678" not in said
        assert "123456" not in said


def test_a_message_is_there_complete_under_its_key(tmp_path: Path) -> None:
    FolderSms(tmp_path / "a" / "sms").send(NUMBER, TEXT, key="sleutel", at=AT)
    (only,) = (tmp_path / "a" / "sms").iterdir()
    assert only.name == "sleutel.json"
    assert json.loads(only.read_text(encoding="utf-8")) == {
        "to": "+31612345678",
        "text": "Uw code: 123456 — één keer geldig",
        "at": "2026-11-23T12:00:00+00:00",
    }


def test_the_same_key_again_is_the_same_message(tmp_path: Path) -> None:
    for _ in range(2):
        FolderSms(tmp_path).send(NUMBER, TEXT, key="een", at=AT)
    FolderSms(tmp_path).send(NUMBER, TEXT, key="twee", at=AT)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["een.json", "twee.json"]


def test_nobody_else_on_the_machine_may_look(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        FolderSms(tmp_path / "sms").send(NUMBER, TEXT, key="a", at=AT)
    finally:
        os.umask(before)
    for path in (tmp_path / "sms", tmp_path / "sms" / "a.json"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0


# A provider


class Provider:
    """An HTTPS server that answers as it is told, and keeps what it was asked."""

    def __init__(self, folder: Path) -> None:
        self.answer: tuple[int, bytes] = (201, b"{}")
        self.asked: list[tuple[str, dict[str, str], bytes]] = []
        authority = LocalAuthority.load_or_create(folder / "authority")
        self.extra_ca = authority.certificate_path
        certificate, key = authority.issue(["localhost", "127.0.0.1"], folder / "certificates")
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.asked.append((self.path, dict(self.headers), body))
                status, octets = outer.answer
                if status == 0:
                    self.close_connection = True
                    return  # taken, perhaps; nobody knows
                self.send_response(status)
                self.send_header("Content-Length", str(len(octets)))
                self.end_headers()
                self.wfile.write(octets)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)

    def settings(self, folder: Path, more: str = "", **sms: object) -> Settings:
        (folder / "secret").write_text("geheim-token\n")
        written = "".join(f"{name} = {json.dumps(value)}\n" for name, value in sms.items())
        (folder / "zegel.toml").write_text(
            f'testing = true\nfolder = "{folder}"\n[delivery]\nextra_ca = "{self.extra_ca}"\n'
            f'[sms]\ndriver = "http"\nsecret = "secret"\nurl = "https://127.0.0.1:{self.port}/send"\n{written}{more}'
        )
        return load(folder / "zegel.toml")


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[Provider]:
    made = Provider(tmp_path)
    made.thread.start()
    try:
        yield made
    finally:
        made.server.shutdown()
        made.server.server_close()


def test_a_message_is_handed_over_once(provider: Provider, tmp_path: Path) -> None:
    driver = sms_driver(provider.settings(tmp_path))
    driver.send(NUMBER, TEXT, key="sleutel", at=AT)
    [(path, headers, body)] = provider.asked
    assert path == "/send" and headers["Authorization"] == "Bearer geheim-token"
    assert json.loads(body) == {
        "to": NUMBER.reveal(), "from": "Zegel", "text": TEXT.reveal(), "reference": "sleutel"
    }  # fmt: skip


@pytest.mark.parametrize(
    "answer", [(400, b"to: +31612345678"), (500, b""), (302, b""), (0, b""), (200, bytes(200_000))]
)
def test_whoever_does_not_say_yes_is_asked_no_second_time(
    provider: Provider, tmp_path: Path, answer: tuple[int, bytes]
) -> None:
    """What the provider says stays with it: it may repeat the number."""
    provider.answer = answer
    driver = sms_driver(provider.settings(tmp_path))
    with pytest.raises(SmsFailed) as caught:
        driver.send(NUMBER, TEXT, key="a", at=AT)
    assert len(provider.asked) == 1
    assert "12345678" not in str(caught.value) and str(caught.value) in (
        f"status {answer[0]}", "broken-off", "sent-too-large"
    )  # fmt: skip


def test_a_provider_that_is_not_there_or_is_another_is_a_failure(provider: Provider, tmp_path: Path) -> None:
    settings = provider.settings(tmp_path)
    provider.server.shutdown()
    provider.server.server_close()
    with pytest.raises(SmsFailed, match="no-connection"):
        sms_driver(settings).send(NUMBER, TEXT, key="a", at=AT)


def test_a_certificate_of_somebody_else_is_not_believed(provider: Provider, tmp_path: Path) -> None:
    other = LocalAuthority.load_or_create(tmp_path / "other")
    settings = provider.settings(tmp_path)
    delivery = settings.delivery.model_copy(update={"extra_ca": other.certificate_path})
    with pytest.raises(SmsFailed, match="no-certificate"):
        sms_driver(settings.model_copy(update={"delivery": delivery})).send(NUMBER, TEXT, key="a", at=AT)
    assert provider.asked == []


def test_nothing_goes_to_a_country_that_is_not_named(provider: Provider, tmp_path: Path) -> None:
    driver = sms_driver(provider.settings(tmp_path, countries=["NL", "BE"]))
    with pytest.raises(SmsFailed, match="country"):
        driver.send(Secret("+447400123456"), TEXT, key="a", at=AT)
    assert provider.asked == []
    driver.send(NUMBER, TEXT, key="a", at=AT)
    assert len(provider.asked) == 1


@pytest.mark.parametrize(
    ("sms", "says"),
    [
        ({"driver": "cm", "secret": None}, "sms.secret"),
        ({"driver": "twilio"}, "sms.account"),
        ({"driver": "bird"}, "sms.account"),
        ({"driver": "bird", "account": "../../x"}, "sms.account"),
        ({"driver": "http", "url": "http://sms.voorbeeld.test/"}, "sms.url"),
        ({"driver": "http", "sender": "Gemeente Voorbeeld"}, "sms.sender"),
        ({"driver": "http", "countries": ["Nederland"]}, "sms.countries"),
        ({"driver": "http", "headers": ["geheim"]}, "sms.headers"),
        ({"driver": "pigeon"}, "sms.driver"),
    ],
)
def test_settings_that_can_not_work_are_refused_at_the_start(tmp_path: Path, sms: dict[str, object], says: str) -> None:
    given = {"driver": "http", "secret": "secret", "url": "https://sms.voorbeeld.test/", **sms}
    written = "".join(f"{name} = {json.dumps(value)}\n" for name, value in given.items() if value is not None)
    (tmp_path / "zegel.toml").write_text(f"[sms]\n{written}")
    with pytest.raises(BadSettings, match=says):
        load(tmp_path / "zegel.toml")
