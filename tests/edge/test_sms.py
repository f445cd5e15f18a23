"""Text messages: the folder that stands in for telephones, and no provider at all."""

from __future__ import annotations

import json
import os
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from zegel.core.secret import Secret
from zegel.edge.sms import FolderSms, NoSms, SmsFailed

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
