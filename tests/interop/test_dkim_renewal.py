"""DKIM keys are renewed: from the records that real name servers show, to mail that others verify."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest

import tests.journey.conftest  # its database is a file
from tests.core.test_dkim import VERIFIERS, Verifier
from tests.journey.delivery_ground import Post, a_post, parsed
from tests.journey.portal_ground import Clock
from tests.needs import needs
from tests.peers.dns import Nsd, Unbound
from zegel.accounts import domains
from zegel.accounts.models import DkimPair, SendingDomain
from zegel.core.policy.sending_domain import PREVIOUS_STAYS, next_selector
from zegel.edge.dns import DnsResolver
from zegel.journey.delivery.signing import KEEP_KEY

assert tests.journey.conftest

pytestmark = pytest.mark.django_db(transaction=True)

GATEWAY: Final = "zegel.test"
START: Final = datetime.now(UTC) - timedelta(minutes=10)  # verifiers refuse signatures from the future
NEW: Final = next_selector("zegel", START.date())
WITHOUT_NEXT: Final = ("next-dkim", "next-dkim-ed25519")


@pytest.fixture
def post(tmp_path: Path) -> Iterator[Post]:
    with a_post(tmp_path, Clock(START)) as found:
        yield found


def domain() -> SendingDomain:
    return SendingDomain.objects.get()


def zone(without: tuple[str, ...] = ()) -> str:
    """A zone file with all records of the domain, the keys cut into strings."""
    lines = ["$TTL 60", "@ SOA ns hostmaster 1 3600 600 86400 60", "@ NS ns", "ns A 127.0.0.1"]
    for one in domains.records(domain(), GATEWAY):
        if one.purpose in without:
            continue
        cut = " ".join(f'"{one.value[start : start + 200]}"' for start in range(0, len(one.value), 200))
        lines.append(f"{one.name}. {one.kind} {f'{one.value}.' if one.kind == 'CNAME' else cut}")
    return "\n".join(lines) + "\n"


@contextmanager
def resolver(folder: Path, text: str) -> Iterator[DnsResolver]:
    needs("nsd", "unbound")
    folder.mkdir()
    with (
        Nsd({"voorbeeld.test": text}, folder / "nsd") as nsd,
        Unbound(folder / "unbound", stubs={"voorbeeld.test": nsd}) as unbound,
    ):
        yield DnsResolver((unbound.ip, unbound.port))


def check(post: Post, folder: Path, without: tuple[str, ...] = ()) -> SendingDomain:
    """A check against name servers that serve what is to be published, save for those."""
    wanted = domains.records(domain(), GATEWAY)
    with resolver(folder, zone(without)) as dns:
        findings = post.run(domains.look(wanted, dns=dns))
    assert all(one.is_conclusive for one in findings)
    domains.conclude(domain(), findings, now=post.clock())
    post.clock.forward(seconds=KEEP_KEY.total_seconds() + 1)
    return domain()


def sent(post: Post, number: int) -> bytes:
    server = post.proven(f"lezer{number}.test")
    post.list_domain(f"lezer{number}.test")
    post.submit(f"lezer@lezer{number}.test", message_id=f"<{number}@voorbeeld.test>", text=f"Bericht {number}")
    post.settle()
    (octets,) = server.messages()
    return octets


def selectors(octets: bytes) -> list[str]:
    fields = parsed(octets).get_all("DKIM-Signature", [])
    return ["".join(str(one).split()).split("s=")[1].split(";")[0] for one in fields]


def keys() -> dict[str, str]:
    return {one.name: one.value for one in domains.records(domain(), GATEWAY) if "dkim" in one.purpose}


def test_from_the_old_keys_to_the_new_ones_and_their_end(post: Post, tmp_path: Path) -> None:
    assert check(post, tmp_path / "before").in_place
    old, sealing = domain(), post.ground.keys.sealing
    first = sent(post, 1)
    assert selectors(first) == ["zegel", "zegel-ed25519"]

    made = domains.rotate_dkim(old, sealing=sealing, now=post.clock())
    assert made.selector == NEW
    with pytest.raises(domains.StillRotating):
        domains.rotate_dkim(domain(), sealing=sealing, now=post.clock())
    assert check(post, tmp_path / "unpublished", WITHOUT_NEXT).dkim_selector == "zegel"
    second = sent(post, 2)
    assert selectors(second) == ["zegel", "zegel-ed25519"], "nobody could verify it with the new ones yet"

    over = check(post, tmp_path / "published")
    assert (over.dkim_selector, over.in_place, over.missing_since) == (NEW, True, None)
    assert {one["purpose"]: one["right"] for one in over.findings} == {
        "ownership": True, "dkim": True, "return-path": True, "dkim-ed25519": True,
        "previous-dkim": True, "previous-dkim-ed25519": True,
    }  # fmt: skip
    third = sent(post, 3)
    assert selectors(third) == [NEW, f"{NEW}-ed25519"]

    published = keys()
    assert len(published) == 4
    for name in sorted(VERIFIERS):
        needs({"dkimpy": "python3-dkim", "libopendkim": "opendkim-tools"}[name])
        verifier = Verifier(VERIFIERS[name][0])
        assert verifier.verdicts_with(published, first, second, third) == [[True, True]] * 3

    with pytest.raises(domains.TooEarly) as early:
        domains.end_previous_dkim(domain(), now=post.clock())
    post.clock.at = early.value.safe_at
    assert post.clock() - START > PREVIOUS_STAYS
    assert domains.end_previous_dkim(domain(), now=post.clock()) == "zegel"
    assert not DkimPair.objects.exists(), "the private keys are gone"
    with pytest.raises(domains.NothingToEnd):
        domains.end_previous_dkim(domain(), now=post.clock())
    assert check(post, tmp_path / "after").in_place
    after = next_selector(NEW, post.clock().date())
    assert domains.rotate_dkim(domain(), sealing=sealing, now=post.clock()).selector == after


def test_the_record_replaced_in_the_place_of_the_old_one_is_no_gap(post: Post, tmp_path: Path) -> None:
    """Somebody takes the old records away at once: mail on its way suffers, the domain doesn't."""
    check(post, tmp_path / "before")
    domains.rotate_dkim(domain(), sealing=post.ground.keys.sealing, now=post.clock())
    over = check(post, tmp_path / "replaced", ("dkim", "dkim-ed25519"))
    assert (over.dkim_selector, over.in_place, over.missing_since) == (NEW, True, None)
    assert {one["purpose"] for one in over.findings if not one["right"]} == {
        "previous-dkim",
        "previous-dkim-ed25519",
    }


def test_the_second_new_key_alone_changes_nothing(post: Post, tmp_path: Path) -> None:
    check(post, tmp_path / "before")
    domains.rotate_dkim(domain(), sealing=post.ground.keys.sealing, now=post.clock())
    assert check(post, tmp_path / "half", ("next-dkim",)).dkim_selector == "zegel"
    found = check(post, tmp_path / "other-half", ("next-dkim-ed25519",))
    assert (found.dkim_selector, found.ed25519_published) == (NEW, False)
    assert selectors(sent(post, 1)) == [NEW]
    post.clock.forward(seconds=timedelta(hours=1).total_seconds())
    assert check(post, tmp_path / "whole").ed25519_published
    assert selectors(sent(post, 2)) == [NEW, f"{NEW}-ed25519"]
