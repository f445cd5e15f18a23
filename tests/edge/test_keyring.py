"""The keys on this machine: made once, never completed, and every trouble has its sentence."""

from __future__ import annotations

import base64
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from zegel.core.seal.wrap import CannotOpen, unwrap, wrap
from zegel.core.secret import Secret
from zegel.edge import keyring
from zegel.edge.keyring import OPENING, SEALING, SUBMISSION, KeyTrouble, opening_keys, submission_keys

FILES = (SEALING, SUBMISSION, OPENING)


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    assert keyring.create(tmp_path / "keys")
    return tmp_path / "keys"


def trouble(folder: Path, reads: Callable[[Path], object] = opening_keys) -> str:
    with pytest.raises(KeyTrouble) as caught:
        reads(folder)
    return str(caught.value)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# Troubles


@pytest.mark.parametrize(
    ("reads", "missing"), [(opening_keys, OPENING), (opening_keys, SEALING), (submission_keys, SUBMISSION)]
)
def test_a_missing_file_is_named_and_what_to_do(keys: Path, reads: Callable[[Path], object], missing: str) -> None:
    (keys / missing).unlink()
    assert trouble(keys, reads) == (
        f"There is no {keys / missing}. Put back your backup of it; `zegel run` makes keys only at first run."
    )


@pytest.mark.parametrize(("reads", "name"), [(opening_keys, OPENING), (submission_keys, SUBMISSION)])
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_private_key_that_others_can_read_is_refused(
    keys: Path, reads: Callable[[Path], object], name: str, mode: int
) -> None:
    (keys / name).chmod(mode)
    assert trouble(keys, reads) == f"{keys / name} can be read by other users. Run: chmod 600 {keys / name}"


@contextmanager
def somebody_else() -> Iterator[None]:
    """Who runs the tests may be root, for whom nothing is closed."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_key_that_this_user_can_not_read_is_said_so(keys: Path) -> None:
    folder = keys
    while folder != folder.parent:  # pytest keeps its folders to one account
        if folder.stat().st_mode & 0o001 == 0:
            folder.chmod(folder.stat().st_mode | 0o011)
        folder = folder.parent
    (keys / OPENING).chmod(0o000)
    with somebody_else():
        said = trouble(keys)
    assert said == f"{keys / OPENING} can't be read by this user. Give it to the user that Zegel runs as."


def damaged(octets: bytes, how: str) -> bytes:
    label, _, rest = octets.partition(b"\n")
    return {
        "empty": b"",
        "no label": rest,
        "another label": b"zegel other key v1\n" + rest,
        "of a later version": label[:-1] + b"9\n" + rest,
        "cut off": octets[: len(octets) // 2],
        "one character less": label + b"\n" + rest[1:],
        "nothing behind the label": label + b"\n",
        "not base64": label + b"\n" + b"!" + rest[1:],
        "no text": b"\xff\xfe" + octets,
        "too long": label + b"\n" + base64.b64encode(base64.b64decode(rest) + b"x") + b"\n",
        "too short": label + b"\n" + base64.b64encode(base64.b64decode(rest)[:-1]) + b"\n",
        "two keys": octets + rest,
    }[how]


DAMAGES = ["empty", "no label", "another label", "of a later version", "cut off", "one character less"]
DAMAGES += ["nothing behind the label", "not base64", "no text", "too long", "too short", "two keys"]


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize(
    ("reads", "name"),
    [(opening_keys, OPENING), (opening_keys, SEALING), (submission_keys, SEALING), (submission_keys, SUBMISSION)],
)
def test_a_damaged_key_is_never_used(keys: Path, reads: Callable[[Path], object], name: str, how: str) -> None:
    path = keys / name
    path.write_bytes(damaged(path.read_bytes(), how))
    said = trouble(keys, reads)
    assert said in (
        f"{path} is damaged. Put back your backup of it.",
        f"{path} can't be read. Put back your backup of it.",
    )


@pytest.mark.parametrize("name", [SEALING, OPENING])
def test_one_changed_bit_is_noticed_before_anything_is_sealed(keys: Path, name: str) -> None:
    """What is sealed to a damaged key, nobody opens."""
    label, _, rest = (keys / name).read_bytes().partition(b"\n")
    octets = bytearray(base64.b64decode(rest))
    octets[5] ^= 1
    (keys / name).write_bytes(label + b"\n" + base64.b64encode(octets) + b"\n")
    assert "Put back" in trouble(keys)


def test_halves_of_different_keys_are_refused(keys: Path, tmp_path: Path) -> None:
    keyring.create(tmp_path / "other")
    (keys / SEALING).write_bytes((tmp_path / "other" / SEALING).read_bytes())
    assert trouble(keys) == (
        f"{keys / SEALING} and {keys / OPENING} don't belong together: what is sealed now could not be opened. "
        "Put back the pair from your backup."
    )


def test_a_folder_in_the_place_of_a_key_is_said_so(keys: Path) -> None:
    (keys / OPENING).unlink()
    (keys / OPENING).mkdir()
    assert trouble(keys) == f"{keys / OPENING} can't be read. Put back your backup of it."


def test_no_trouble_says_anything_of_a_key(keys: Path) -> None:
    secret = (keys / OPENING).read_text().splitlines()[1]
    (keys / OPENING).write_text(f"zegel opening key v1\n{secret[:-8]}\n")
    with pytest.raises(KeyTrouble) as caught:
        opening_keys(keys)
    assert secret[:20] not in str(caught.value)
    assert secret[:20] not in str(caught.value.__cause__)


# Making


@pytest.mark.parametrize("missing", FILES)
def test_an_incomplete_keyring_is_never_completed(keys: Path, missing: str) -> None:
    """A new key beside old mail would look like health, and be loss."""
    (keys / missing).unlink()
    before = contents(keys)
    assert keyring.create(keys) is False
    assert contents(keys) == before


@pytest.mark.parametrize("exists", [False, True])
def test_what_a_killed_first_start_left_is_made_anew(tmp_path: Path, exists: bool) -> None:
    """Nothing was ever sealed with it."""
    folder = tmp_path / "keys"
    if exists:
        folder.mkdir(mode=0o700)
    left = folder / ".new" if exists else tmp_path / "keys.new"
    left.mkdir()
    (left / OPENING).write_text("half a ")
    assert keyring.create(folder)
    assert opening_keys(folder).marker.reveal() == submission_keys(folder).marker.reveal()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["keys", *sorted(FILES)]


def test_a_keyring_is_made_once(keys: Path) -> None:
    before = contents(keys)
    assert keyring.create(keys) is False
    assert contents(keys) == before


def test_no_two_keyrings_are_alike(keys: Path, tmp_path: Path) -> None:
    keyring.create(tmp_path / "other")
    ours, theirs = contents(keys), contents(tmp_path / "other")
    assert all(ours[name] != theirs[name] for name in FILES)


def test_each_file_is_as_open_as_its_role_needs(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        keyring.create(tmp_path / "keys")
    finally:
        os.umask(before)
    modes = {name: stat.S_IMODE((tmp_path / "keys" / name).stat().st_mode) for name in FILES}
    assert modes == {SEALING: 0o644, SUBMISSION: 0o600, OPENING: 0o600}
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700


# Using


def test_submission_needs_no_opening_key(keys: Path) -> None:
    (keys / OPENING).unlink()
    sealing = submission_keys(keys).sealing
    assert wrap(Secret(b"x"), to=sealing, context="c")


def test_what_submission_closes_dispatch_opens(keys: Path) -> None:
    sealed = wrap(Secret(b"inhoud"), to=submission_keys(keys).sealing, context="c")
    assert unwrap(sealed, with_key=opening_keys(keys).opening, context="c").reveal() == b"inhoud"


def test_another_keyring_opens_nothing(keys: Path, tmp_path: Path) -> None:
    keyring.create(tmp_path / "other")
    sealed = wrap(Secret(b"inhoud"), to=submission_keys(keys).sealing, context="c")
    with pytest.raises(CannotOpen):
        unwrap(sealed, with_key=opening_keys(tmp_path / "other").opening, context="c")


def test_both_roles_know_the_same_marker_and_every_purpose_has_its_own_key(keys: Path) -> None:
    submission, opening = submission_keys(keys), opening_keys(keys)
    assert submission.marker.reveal() == opening.marker.reveal()
    derived = [submission.identity, submission.marker, opening.codes, opening.cookies, opening.web]
    assert len({one.reveal() for one in derived}) == 5


def test_reading_again_gives_the_same_keys(keys: Path) -> None:
    first, second = opening_keys(keys), opening_keys(keys)
    assert first.web.reveal() == second.web.reveal()
    assert first.opening.key_id == second.opening.key_id


def test_keys_never_show_in_text(keys: Path) -> None:
    secret = base64.b64decode((keys / OPENING).read_text().splitlines()[1])
    assert secret.hex() not in f"{opening_keys(keys)!r}"
    assert repr(secret) not in f"{opening_keys(keys)!r}"
