"""P3: calls to the disk that fail, again and again, in the middle of submissions: 4yz, nothing lost, nothing doubled.

strace makes the calls fail. The client does what clients do: it tries again what was not accepted.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Final

import pytest

from tests.faults.ground import Prepared, accepted, blobs, closing, readable_in, say, submission_alone
from tests.needs import needs

MESSAGES: Final = 32
LARGE: Final = 100_000
FAULTS: Final = {
    "the sync of a file or a folder": "fsync,fdatasync:error=EIO:when=2+3",
    "a write to the database": "pwrite64:error=EIO:when=20+150",
    "the naming of a blob": "rename:error=EIO:when=1+2",
}


@pytest.mark.parametrize("what", FAULTS)
def test_what_a_failing_disk_did_not_take_is_refused_for_now_and_passes_once_it_does(
    prepared: Prepared, tmp_path: Path, what: str
) -> None:
    needs("strace")
    gateway = prepared.gateway(tmp_path / "gateway")
    fault = FAULTS[what]
    sizes = {f"bericht-{number}": LARGE if number % 4 == 0 else 1_000 for number in range(MESSAGES)}
    random.Random(1123).shuffle(order := list(sizes))
    replies: dict[str, tuple[int, str]] = {}
    before = ("strace", "-D", "-f", "-o", str(tmp_path / "trace"), "-e", f"trace={fault.split(':')[0]}")
    with (
        submission_alone(gateway, *before, "-e", f"inject={fault}") as process,
        closing(gateway.client()) as client,
    ):
        for identity in order:
            replies[identity] = say(client, identity, octets=sizes[identity])
        assert process.poll() is None
    kept = [identity for identity, (code, _) in replies.items() if code == 250]
    refused = [identity for identity, (code, _) in replies.items() if code != 250]
    assert kept and refused, replies
    assert {replies[identity][1][:5] for identity in refused} <= {"4.3.0", "4.3.1"}
    assert {replies[identity][0] for identity in refused} <= {451, 452}
    assert set(kept) <= set(accepted(gateway))
    assert {one["content"] for one in gateway.evidence()} == {"sealed"}

    with submission_alone(gateway), closing(gateway.client()) as client:
        for identity in refused:
            assert say(client, identity, octets=sizes[identity])[0] == 250
    assert sorted(accepted(gateway)) == sorted(sizes)  # each once
    assert {one["content"] for one in gateway.evidence()} == {"sealed"}
    assert readable_in(gateway.folder) == []
    assert len(blobs(gateway)) == sum(size == LARGE for size in sizes.values())
