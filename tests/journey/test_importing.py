"""A file of verification data in two steps: judged, which changes nothing; imported, once somebody says so."""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from django.db import connection, transaction

from tests.journey.portal_ground import Ground, mail
from zegel.accounts import audit
from zegel.accounts.models import AuditEntry, Organisation, RememberedDevice
from zegel.core.mail.address import Mailbox
from zegel.core.policy.audit import Actor, ActorKind
from zegel.core.policy.verification import AccessCode, Method, SmsCode
from zegel.core.policy.verification_import import FileFault, Refused
from zegel.core.secret import Secret
from zegel.edge.chance import identifier
from zegel.edge.database import Readers, Writer
from zegel.journey import importing
from zegel.journey.custody import jobs, memory, restoring
from zegel.journey.custody.jobs import Kind, LeaseLost
from zegel.journey.custody.models import (
    Erasure,
    ImportComplaint,
    Job,
    Recipient,
    StagedFile,
    VerificationData,
    VerificationImport,
)
from zegel.journey.importing import AT_ONCE, REMEMBERED, Answer, Importing, OneIsOpen, Received, Receiving

pytestmark = pytest.mark.django_db(transaction=True)

HEADER: Final = "email_address,full_name,phone_number,access_code,access_code_hint\n"
NUMBER: Final = "+31620304050"
OTHER: Final = "+31687654321"
CODE: Final = "winterkoning 2026"
ANN, BOB = "ann@example.org", "bob@example.org"
State = VerificationImport.State
WHO: Final = Actor(ActorKind.ACCOUNT, "beheer@voorbeeld.test")


class Dispatch:
    """The one process that does the work, a job at a time and whenever a test says so."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.steps = 0
        self.over_after: int | None = None
        self.between: Callable[[], object] = lambda: None

    def _is_over(self) -> bool:
        self.steps += 1
        with ThreadPoolExecutor(1) as aside:  # the loop itself never reads a database
            aside.submit(self._between).result()
        return self.over_after is not None and self.steps >= self.over_after

    def _between(self) -> None:
        try:
            self.between()
        finally:
            connection.close()

    def run(self) -> int:
        """Does what is due; how many jobs that was."""
        return asyncio.run(self._run())

    async def _run(self) -> int:
        writer, readers, now = Writer(), Readers(), self.ground.clock
        doer = Importing(
            writer,
            readers,
            self.ground.unsealer,
            self.ground.blobs,
            sealing=self.ground.keys.sealing,
            now=now,
            is_over=self._is_over,
        )
        try:
            taken = await writer.write(lambda: jobs.lease((Kind.IMPORT,), most=9, now=now()))
            for leased in taken:
                await doer.work(leased)
            return len(taken)
        finally:
            writer.close()
            readers.close()


@pytest.fixture
def dispatch(ground: Ground) -> Dispatch:
    return Dispatch(ground)


def receive(ground: Ground, octets: bytes, size: int = 70_000) -> Received | Refused:
    receiving = Receiving(ground.blobs)
    for at in range(0, len(octets), size):
        receiving.feed(octets[at : at + size])
    return receiving.finish()


def stage(ground: Ground, *rows: str, header: str = HEADER) -> VerificationImport:
    received = receive(ground, (header + "".join(f"{row}\n" for row in rows)).encode())
    assert isinstance(received, Received)
    return importing.stage(
        received, ground.organisation, ground.author, now=ground.clock(), sealing=ground.keys.sealing
    )


def again(row: VerificationImport) -> VerificationImport:
    return VerificationImport.objects.get(id=row.id)


def confirmed(row: VerificationImport, ground: Ground) -> Answer:
    with audit.acting(lambda: WHO):
        return importing.confirm(again(row), now=ground.clock())


def imported(ground: Ground, dispatch: Dispatch, *rows: str) -> VerificationImport:
    """Judged, confirmed, imported."""
    row = stage(ground, *rows)
    dispatch.run()
    ground.clock.forward(minutes=1)
    assert confirmed(row, ground) is Answer.TAKEN
    dispatch.run()
    return again(row)


def supply(ground: Ground, address: str, value: SmsCode | AccessCode, **more: Any) -> VerificationData:
    with transaction.atomic():
        return memory.supply(
            ground.organisation,
            Mailbox.parse(address),
            value,
            account=more.get("account"),
            origin=VerificationData.Origin.ADMINISTRATOR,
            now=ground.clock(),
            sealing=ground.keys.sealing,
        )


def sms(number: str) -> SmsCode:
    return SmsCode(Secret(number))


def code(text: str, hint: str = "") -> AccessCode:
    return AccessCode(Secret(text), Secret(hint) if hint else None)


def known(ground: Ground) -> dict[tuple[str, str], SmsCode | AccessCode]:
    return {
        (row.address, row.method): memory.verification_of(
            ground.unsealer.field(row.sealed, name="verification-data", owner=row.id)
        )
        for row in VerificationData.objects.filter(organisation=ground.organisation)
    }


def counts(row: VerificationImport) -> dict[str, int]:
    names = ("rows", "bad", "to_add", "to_change", "same", "added", "changed", "left")
    return {name: getattr(row, name) for name in names if getattr(row, name)}


def complaints(row: VerificationImport) -> list[tuple[int, str, str, str, int | None]]:
    found = row.complaints.order_by("line", "id")
    return [(one.line, one.address, one.column, one.fault, one.other) for one in found]


def is_destroyed(ground: Ground) -> bool:
    return not StagedFile.objects.exists() and not any(path.is_file() for path in ground.folder.rglob("*"))


# --- nothing readable --------------------------------------------------------------------------------------------


def marked(ground: Ground) -> Iterator[Path]:
    """Files of this test and of the database in which a number or code stands in clear, in base64 or in hex."""
    words = [NUMBER[1:], OTHER[3:], "winterkoning", "roodborst"]
    needles = [word.encode() for word in words]
    for word in list(needles):
        needles += [base64.b64encode(b"x" * n + word)[4:12] for n in range(3)]
        needles += [word.hex().encode(), word.decode().encode("utf-16-le")]
    folders = [ground.folder, Path(os.environ["ZEGEL_FOLDER"])]
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file() and any(needle in path.read_bytes() for needle in needles):
                yield path


@pytest.mark.parametrize("many", [1, 3000], ids=["in the database", "as a blob"])
def test_no_number_or_code_of_the_file_is_anywhere(
    ground: Ground, dispatch: Dispatch, capfd: pytest.CaptureFixture[str], many: int
) -> None:
    """Not while it waits, while it is imported, nor after; good rows and bad ones."""
    bad = [f"x{n}@example.org,{OTHER},{OTHER} of {NUMBER},roodborst{chr(0x200B)},roodborst" for n in range(many)]
    row = stage(ground, *(f"a{n}@example.org,,{NUMBER},{CODE},het vogeltje" for n in range(many)), *bad)
    assert StagedFile.objects.exclude(sealed=None).exists() == (many == 1)
    seen: list[Path] = list(marked(ground))
    dispatch.between = lambda: seen.extend(marked(ground))
    dispatch.run()
    assert again(row).state == State.READY and again(row).bad == many
    assert confirmed(row, ground) is Answer.TAKEN
    dispatch.run()
    assert again(row).state == State.DONE and again(row).added == many
    assert seen == [] and list(marked(ground)) == []
    told = "".join(capfd.readouterr())
    assert "roodborst" not in told and NUMBER[3:] not in told
    assert "roodborst" not in str(list(ImportComplaint.objects.values())) + str(list(AuditEntry.objects.values()))


def test_the_search_for_numbers_and_codes_would_find_them(ground: Ground) -> None:
    for content in (NUMBER.encode(), base64.b64encode(b"email," + NUMBER.encode() * 3), CODE.encode().hex().encode()):
        ground.folder.joinpath("x").write_bytes(content)
        assert list(marked(ground)) == [ground.folder / "x"]


# --- files that are refused --------------------------------------------------------------------------------------


def test_of_a_file_that_is_refused_nothing_is_left(ground: Ground) -> None:
    for octets in (b"", b"PK\x03\x04" + b"x" * 200_000, b"a,b\n" * 50_000):
        assert isinstance(receive(ground, octets), Refused)
    assert is_destroyed(ground)


def test_what_is_too_large_is_not_kept(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "MAX_OCTETS", 100_000)
    assert receive(ground, HEADER.encode() * 4000, 5000) == Refused(FileFault.TOO_LARGE)
    assert is_destroyed(ground)


def test_a_disk_that_is_full_leaves_nothing(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    receiving = Receiving(ground.blobs)
    receiving.feed(HEADER.encode() * 4000)
    receiving.abandon()
    assert is_destroyed(ground)


def test_rows_that_are_too_many_end_it(ground: Ground, dispatch: Dispatch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "MAX_ROWS", 300)
    row = stage(ground, *(f"a{n}@example.org,,{NUMBER},," for n in range(301)))
    dispatch.run()
    assert (again(row).state, again(row).fault) == (State.REFUSED, FileFault.TOO_MANY.value)
    assert is_destroyed(ground) and not Job.objects.exists() and known(ground) == {}


def test_a_file_without_rows_ends_it(ground: Ground, dispatch: Dispatch) -> None:
    row = stage(ground, ",,,,")
    dispatch.run()
    assert (again(row).state, again(row).fault) == (State.REFUSED, FileFault.EMPTY.value)
    assert is_destroyed(ground)


def test_there_is_one_import_at_a_time(ground: Ground, dispatch: Dispatch) -> None:
    row = stage(ground, f"{ANN},,{NUMBER},,")
    for done in (lambda: None, dispatch.run, lambda: confirmed(row, ground)):
        done()
        with pytest.raises(OneIsOpen) as refused:
            stage(ground, f"{BOB},,{NUMBER},,")
        assert refused.value.other == row.id
    dispatch.run()
    stage(ground, f"{BOB},,{NUMBER},,")
    other = Ground.__new__(Ground)
    other.__dict__.update(ground.__dict__, organisation=Organisation.objects.create(name="Ander"))
    stage(other, f"{BOB},,{NUMBER},,")


# --- judging -----------------------------------------------------------------------------------------------------


def test_judging_changes_nothing_and_says_what_each_row_would_do(ground: Ground, dispatch: Dispatch) -> None:
    supply(ground, ANN, sms(NUMBER))
    supply(ground, BOB, code(CODE, "oud"))
    supply(ground, "eva@example.org", sms(NUMBER), account=ground.author)  # of a sender: that isn't everybody's
    before, noted = known(ground), AuditEntry.objects.count()
    row = stage(
        ground,
        f"{ANN},,{NUMBER},,",
        f"{BOB},,,{CODE},nieuw",
        f"eva@example.org,,{OTHER},,",
        f"{BOB},,{OTHER},,",
        f"jan@example.org,,{NUMBER},x,",
        f"jan,,{NUMBER},,",
        f"piet@example.org,,{NUMBER},,",
        f"Piet@example.org,,{OTHER},,",
    )
    assert dispatch.run() == 1
    found = again(row)
    assert found.state == State.READY
    assert counts(found) == {"rows": 8, "bad": 4, "to_add": 2, "to_change": 1, "same": 1}
    assert complaints(row) == [
        (6, "jan@example.org", "access_code", "code-length", None),
        (7, "", "email_address", "address", None),
        (8, "Piet@example.org", "", "conflict", 9),
        (9, "Piet@example.org", "", "conflict", 8),
    ]
    assert known(ground) == before and AuditEntry.objects.count() == noted and not Erasure.objects.exists()


def test_a_judging_that_was_broken_off_begins_again(ground: Ground, dispatch: Dispatch) -> None:
    row = stage(ground, *(f"a{n}@example.org,,12,," for n in range(3 * AT_ONCE)))
    dispatch.over_after = 2
    dispatch.run()
    assert (again(row).state, again(row).rows, len(complaints(row))) == (State.JUDGING, 2 * AT_ONCE, 2 * AT_ONCE)
    dispatch.over_after = None
    dispatch.run()
    assert (again(row).state, again(row).rows, len(complaints(row))) == (State.READY, 3 * AT_ONCE, 3 * AT_ONCE)


def test_a_file_that_can_not_be_opened_is_told(ground: Ground, dispatch: Dispatch) -> None:
    rows = [f"a{n}@example.org,,{NUMBER},," for n in range(3000)]
    row = stage(ground, *rows)
    ground.blobs.remove(StagedFile.objects.get().content)
    dispatch.run()
    assert (again(row).state, again(row).fault) == (State.REFUSED, FileFault.LOST.value)
    assert not Job.objects.exists()


# --- cancelling, lapsing -----------------------------------------------------------------------------------------


def test_what_is_cancelled_is_destroyed_also_while_it_is_judged(ground: Ground, dispatch: Dispatch) -> None:
    rows = [f"a{n}@example.org,,{NUMBER},," for n in range(3000)]
    row = stage(ground, *rows)
    dispatch.between = lambda: importing.cancel(again(row), ground.blobs, now=ground.clock())
    with pytest.raises(LeaseLost):
        dispatch.run()
    assert again(row).state == State.CANCELLED
    assert is_destroyed(ground) and not Job.objects.exists() and known(ground) == {}
    assert importing.cancel(again(row), ground.blobs, now=ground.clock()) is Answer.NOT
    assert confirmed(row, ground) is Answer.NOT


@pytest.mark.parametrize("is_judged", [True, False])
def test_after_an_hour_it_is_destroyed(ground: Ground, dispatch: Dispatch, *, is_judged: bool) -> None:
    row = stage(ground, *(f"a{n}@example.org,,{NUMBER},," for n in range(3000)))
    if is_judged:
        dispatch.run()
        ground.clock.forward(minutes=59)
        assert dispatch.run() == 0 and again(row).state == State.READY
        ground.clock.forward(minutes=1)
        assert confirmed(row, ground) is Answer.NOT
    else:
        ground.clock.forward(minutes=60)
    assert dispatch.run() == 1
    assert again(row).state == State.LAPSED
    assert is_destroyed(ground) and not Job.objects.exists() and known(ground) == {}


def test_what_became_of_it_is_told_for_some_days(ground: Ground, dispatch: Dispatch) -> None:
    row = imported(ground, dispatch, f"{ANN},,{NUMBER},,", "x,,,,")
    importing.forget_old(ground.clock() + REMEMBERED)
    assert VerificationImport.objects.exists() and complaints(row)
    importing.forget_old(ground.clock() + REMEMBERED + timedelta(seconds=1))
    assert not VerificationImport.objects.exists() and not ImportComplaint.objects.exists()
    assert len(known(ground)) == 1


def test_after_a_restore_it_is_over(ground: Ground, dispatch: Dispatch) -> None:
    row = stage(ground, f"{ANN},,{NUMBER},,")
    dispatch.run()
    with transaction.atomic():
        restoring.make_good([], now=ground.clock())
    assert (again(row).state, again(row).fault) == (State.REFUSED, FileFault.LOST.value)
    assert not StagedFile.objects.exists() and not Job.objects.exists() and restoring.waiting() is None


# --- importing ---------------------------------------------------------------------------------------------------


def test_nothing_is_imported_that_nobody_confirmed_or_that_is_not_what_was_seen(
    ground: Ground, dispatch: Dispatch
) -> None:
    row = stage(ground, f"{ANN},,{NUMBER},,")
    assert confirmed(row, ground) is Answer.NOT, "not judged yet"
    dispatch.run()
    seen = again(row)
    seen.judged_at = ground.clock() - timedelta(seconds=1)
    assert importing.confirm(seen, now=ground.clock()) is Answer.NOT
    assert dispatch.run() == 0 and known(ground) == {}
    assert confirmed(row, ground) is Answer.TAKEN
    assert confirmed(row, ground) is Answer.NOT, "twice"


def test_the_good_rows_are_imported_and_noted_once_without_what_they_say(ground: Ground, dispatch: Dispatch) -> None:
    supply(ground, ANN, sms(NUMBER))
    changed = supply(ground, BOB, code(CODE, "oud"))
    theirs = supply(ground, "eva@example.org", sms(NUMBER), account=ground.author)
    ground.clock.forward(minutes=1)
    row = imported(
        ground,
        dispatch,
        f"{ANN},,{NUMBER},,",
        f"{BOB},,{OTHER},{CODE},nieuw",
        f"Eva@example.org,,{OTHER},roodborst,",
        "slecht@example.org,,1,,",
        f"zoe@example.org,,{NUMBER},,",
        f"zoe@example.org,,{OTHER},,",
    )
    assert row.state == State.DONE and row.verdicts is None
    assert counts(row) == {
        "rows": 6, "bad": 3, "to_add": 1, "to_change": 1, "same": 1, "added": 1, "changed": 1,
    }  # fmt: skip
    assert known(ground) == {
        (ANN, "sms"): sms(NUMBER),
        (BOB, "sms"): sms(OTHER),
        (BOB, "access-code"): code(CODE, "nieuw"),
        ("eva@example.org", "sms"): sms(NUMBER),
        ("Eva@example.org", "sms"): sms(OTHER),
        ("Eva@example.org", "access-code"): code("roodborst"),
    }
    entry = AuditEntry.objects.get(act="verification-imported")
    assert (entry.by_kind, entry.by) == ("account", WHO.name)
    assert entry.details == {
        "sha256": row.sha256, "rows": 6, "bad": 3, "added": 1, "changed": 1, "left": 0, "is_complete": True,
    }  # fmt: skip
    assert [one.subject for one in Erasure.objects.all()] == [changed.id]
    new = VerificationData.objects.get(key="eva@example.org", method="sms", account=None)
    assert (new.origin, new.confirmed_at, new.masked, new.created_at) == (
        "import", None, "+31 6 ****4321", ground.clock(),
    )  # fmt: skip
    assert VerificationData.objects.get(id=theirs.id).created_at == theirs.created_at
    assert VerificationData.objects.get(key=ANN).origin == "administrator", "what is known already is left alone"
    assert is_destroyed(ground) and not Job.objects.exists()


def test_of_rows_that_contradict_each_other_nothing_is_imported(ground: Ground, dispatch: Dispatch) -> None:
    rows = (
        "a@example.org,,+31620304050,,",
        "a@example.org,,,vier woorden,",
        "a@example.org,,+31687654321,vijf woorden,",
    )
    imported(ground, dispatch, *rows, "b@example.org,,+31620304050,,")
    assert set(known(ground)) == {("b@example.org", "sms")}


def test_what_somebody_changed_meanwhile_is_left_as_it_is_and_told(ground: Ground, dispatch: Dispatch) -> None:
    supply(ground, ANN, sms(NUMBER))
    supply(ground, BOB, sms(NUMBER))
    removed = supply(ground, "eva@example.org", code(CODE))
    same = supply(ground, "jan@example.org", sms(NUMBER))
    ground.clock.forward(minutes=1)
    row = stage(
        ground,
        f"{ANN},,{OTHER},,",
        f"{BOB},,{OTHER},,",
        f"eva@example.org,,{OTHER},roodborst,",
        f"jan@example.org,,{NUMBER},,",
        f"nieuw@example.org,,{OTHER},,",
        f"zoe@example.org,,{OTHER},,",
    )
    dispatch.run()
    ground.clock.forward(minutes=1)
    supply(ground, ANN, sms("+31611112222"))
    supply(ground, "nieuw@example.org", sms("+31611112222"))
    with transaction.atomic():
        memory.correct(
            same,
            sms("+31611112222"),
            origin=VerificationData.Origin.ADMINISTRATOR,
            now=ground.clock(),
            sealing=ground.keys.sealing,
        )
        memory.forget(removed)
    assert confirmed(row, ground) is Answer.TAKEN
    dispatch.run()
    assert counts(again(row)) == {
        "rows": 6, "to_add": 2, "to_change": 3, "same": 1, "added": 1, "changed": 1, "left": 4,
    }  # fmt: skip
    assert [(line, fault) for line, _, _, fault, _ in complaints(row)] == [(n, "changed") for n in (2, 4, 5, 6)]
    assert known(ground) == {
        (ANN, "sms"): sms("+31611112222"),
        (BOB, "sms"): sms(OTHER),
        ("jan@example.org", "sms"): sms("+31611112222"),
        ("nieuw@example.org", "sms"): sms("+31611112222"),
        ("zoe@example.org", "sms"): sms(OTHER),
    }


def test_where_the_country_changed_meanwhile_it_is_judged_again(ground: Ground, dispatch: Dispatch) -> None:
    row = stage(ground, f"{ANN},,0620304050,,", f"{BOB},,0470123456,,")
    dispatch.run()
    assert (again(row).bad, complaints(row)[0][:2]) == (1, (3, BOB))
    ground.organisation.region = "BE"
    ground.organisation.save()
    assert confirmed(row, ground) is Answer.AGAIN
    dispatch.run()
    assert known(ground) == {} and again(row).state == State.READY
    assert (again(row).bad, complaints(row)[0][:2]) == (1, (2, ANN))
    assert confirmed(row, ground) is Answer.TAKEN
    dispatch.run()
    assert known(ground) == {(BOB, "sms"): sms("+32470123456")}


@pytest.mark.parametrize("stop", [1, 2])
def test_an_import_that_was_broken_off_goes_on_where_it_was(ground: Ground, dispatch: Dispatch, stop: int) -> None:
    rows = [f"a{n}@example.org,,{NUMBER},," for n in range(3 * AT_ONCE - 1)]
    row = stage(ground, "slecht,,,,", *rows)
    dispatch.run()
    assert confirmed(row, ground) is Answer.TAKEN
    dispatch.steps, dispatch.over_after = 0, stop
    dispatch.run()
    assert (again(row).state, again(row).passed) == (State.IMPORTING, stop * AT_ONCE)
    written = set(VerificationData.objects.values_list("id", flat=True))
    assert len(written) == stop * AT_ONCE - 1
    dispatch.over_after = None
    dispatch.run()
    assert again(row).state == State.DONE
    assert counts(again(row)) == {"rows": 3 * AT_ONCE, "bad": 1, "to_add": len(rows), "added": len(rows)}
    assert VerificationData.objects.count() == len(rows)
    assert written < set(VerificationData.objects.values_list("id", flat=True))
    assert AuditEntry.objects.filter(act="verification-imported").count() == 1


def test_a_step_whose_job_somebody_else_has_leaves_nothing(ground: Ground, dispatch: Dispatch) -> None:
    row = stage(ground, *(f"a{n}@example.org,,{NUMBER},," for n in range(2 * AT_ONCE)))
    dispatch.run()
    assert confirmed(row, ground) is Answer.TAKEN
    dispatch.between = lambda: Job.objects.update(lease=identifier())
    with pytest.raises(LeaseLost):
        dispatch.run()
    assert (VerificationData.objects.count(), again(row).passed) == (AT_ONCE, AT_ONCE)


def test_a_file_that_is_lost_on_the_way_is_noted_with_what_was_done(ground: Ground, dispatch: Dispatch) -> None:
    row = stage(ground, *(f"a{n}@example.org,,{NUMBER},," for n in range(3000)))
    dispatch.run()
    assert confirmed(row, ground) is Answer.TAKEN
    dispatch.steps, dispatch.over_after = 0, 1
    dispatch.run()
    ground.blobs.remove(StagedFile.objects.get().content)
    dispatch.over_after = None
    dispatch.run()
    assert (again(row).state, again(row).fault, again(row).added) == (State.REFUSED, "lost", AT_ONCE)
    entry = AuditEntry.objects.get(act="verification-imported")
    assert (entry.details["added"], entry.details["is_complete"]) == (AT_ONCE, False)


def test_who_was_held_for_lack_of_it_is_decided_again(ground: Ground, dispatch: Dispatch) -> None:
    steps = [{"kind": "hold", "required": ["sms"]}]
    held = {
        address: ground.recipient(
            ground.conversation(mail()),
            address,
            method="",
            state=Recipient.State.HELD,
            plan={"form": 1, "table": 1, "steps": steps, "findings": []},
            decided_at=ground.clock(),
        )
        for address in (ANN, BOB, "eva@example.org")
    }
    supply(ground, "eva@example.org", sms(NUMBER))
    imported(ground, dispatch, f"{ANN.upper()},,{NUMBER},,", f"{BOB},,1,,", f"eva@example.org,,{NUMBER},,")
    assert [job.subject for job in Job.objects.filter(kind=Kind.RELEASE)] == [held[ANN].id]


def test_a_new_code_ends_the_trust_in_devices_and_a_known_one_does_not(ground: Ground, dispatch: Dispatch) -> None:
    now = ground.clock()
    for key in (ANN, BOB):
        supply_as_import(ground, key)
        RememberedDevice.objects.create(
            id=identifier(), organisation=ground.organisation, key=key, method=Method.ACCESS_CODE.value,
            secret_hash=key.encode().ljust(32, b"x"), browser="x", created_at=now, used_at=now,
            expires_at=now + timedelta(days=9),
        )  # fmt: skip
    ground.clock.forward(minutes=1)
    imported(ground, dispatch, f"{ANN},,,roodborst,", f"{BOB},,,{CODE},")
    assert [device.key for device in RememberedDevice.objects.all()] == [BOB]


def supply_as_import(ground: Ground, address: str) -> None:
    with transaction.atomic():
        memory.supply_many(
            ground.organisation.pk,
            [(Mailbox.parse(address), code(CODE), None)],
            origin=VerificationData.Origin.IMPORT,
            now=ground.clock(),
            sealing=ground.keys.sealing,
        )


def test_of_another_organisation_nothing_is_seen_or_changed(ground: Ground, dispatch: Dispatch) -> None:
    other = Organisation.objects.create(name="Ander")
    with transaction.atomic():
        memory.supply_many(
            other.pk,
            [(Mailbox.parse(ANN), sms(NUMBER), None)],
            origin=VerificationData.Origin.IMPORT,
            now=ground.clock(),
            sealing=ground.keys.sealing,
        )
    before = list(VerificationData.objects.filter(organisation=other).values())
    row = imported(ground, dispatch, f"{ANN},,{OTHER},,")
    assert counts(row) == {"rows": 1, "to_add": 1, "added": 1}
    assert list(VerificationData.objects.filter(organisation=other).values()) == before


def test_what_is_written_many_at_once_is_what_is_written_alone(ground: Ground) -> None:
    alone = supply(ground, ANN, code(CODE, "het vogeltje"))
    supply_as_import(ground, BOB)
    many = VerificationData.objects.get(key=BOB)
    left, right = (dict(VerificationData.objects.filter(id=one.id).values().get()) for one in (alone, many))
    differ = {name for name in left if left[name] != right[name]}
    assert differ == {"id", "address", "key", "sealed", "origin"}
    asker = memory.Asker(ground.organisation.pk, ground.author.pk, BOB)
    with connection.cursor():
        found = memory.known([asker], open_field=ground.unsealer.field)[asker]
    assert found.access_code == code(CODE) and Method.ACCESS_CODE in found.supplied
