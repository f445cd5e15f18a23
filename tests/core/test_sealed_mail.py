"""The sealed-mail format: what docs/sealed-mail.md promises, against its vectors and against damage of every kind."""

from __future__ import annotations

import hashlib
import hmac
import json
import uuid
from collections.abc import Callable, Iterator
from itertools import pairwise, product
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from zegel.core.seal.slot import (
    derive,
    disclose,
    enclose,
    link_hash,
    link_slot,
    open_link_slot,
    same_link,
)
from zegel.core.seal.stream import (
    HEADER,
    SEALED_SEGMENT,
    SEGMENT,
    TAG,
    Opener,
    Sealer,
    read,
    seal,
    sealed_size,
    window,
)
from zegel.core.seal.wrap import CannotOpen, Group, OpeningKey, SealingKey, key_id_of, unwrap, wrap
from zegel.core.secret import Secret
from zegel.edge.blobs import Blobs
from zegel.journey.custody import seal as custody

VECTORS: Final[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "vectors" / "sealed-mail.json").read_text("ascii")
)
KEY: Final = Secret(bytes(range(32)))
OTHER: Final = Secret(bytes(range(1, 33)))
CONTEXT: Final = "content/0192f0c8a1b27c3d8e4f5a6b7c8d9eff"
SIZES: Final = (0, 1, 50, SEGMENT - 1, SEGMENT, SEGMENT + 1, 2 * SEGMENT, 3 * SEGMENT + 5)


def octets(text: str) -> bytes:
    return bytes.fromhex(text)


def secret(text: str) -> Secret[bytes]:
    return Secret(octets(text))


def pattern(size: int) -> bytes:
    """The content of the vectors that give only a size."""
    return bytes((7 * i + i // 251) % 256 for i in range(size))


PATTERNS: Final = {size: pattern(size) for size in SIZES}
SEALED: Final = {size: seal(PATTERNS[size], KEY, context=CONTEXT, prefix=b"prefix!") for size in SIZES}
SEALED_THREE: Final = seal(pattern(3 * SEGMENT), KEY, context=CONTEXT, prefix=b"prefix!")


def opened(
    sealed: bytes,
    size: int,
    *,
    key: Secret[bytes] = KEY,
    context: str = CONTEXT,
    offset: int = 0,
    length: int | None = None,
    cut: int = 100_000,
) -> bytes:
    """A range of the content, read as custody reads it: the head, then the window, in pieces."""
    view = window(size, offset, size if length is None else length)
    opener = Opener(key, sealed[:HEADER], content_size=size, context=context)
    wanted = sealed[view.start : view.start + view.length]
    pieces = (wanted[start : start + cut] for start in range(0, len(wanted), cut))
    return b"".join(read(opener, view, pieces))


def flipped(sealed: bytes) -> Iterator[bytes]:
    """Every value that differs in one bit."""
    for place in range(len(sealed)):
        for bit in range(8):
            yield sealed[:place] + bytes((sealed[place] ^ 1 << bit,)) + sealed[place + 1 :]


def shorter(sealed: bytes) -> Iterator[bytes]:
    """Every beginning, the empty one too."""
    return (sealed[:end] for end in range(len(sealed)))


def refuse(attempts: Iterator[bytes], attempt: Callable[[bytes], object]) -> None:
    """All of them raise, and there were some."""
    tried = 0
    for tried, sealed in enumerate(attempts, start=1):  # noqa: B007
        with pytest.raises(CannotOpen):
            attempt(sealed)
    assert tried


# --- damage, and what doesn't belong together ---------------------------------------------------------------------


def test_one_flipped_bit_anywhere_in_a_stream_opens_nothing() -> None:
    refuse(flipped(SEALED[50]), lambda sealed: opened(sealed, 50))


def test_one_flipped_bit_in_any_segment_of_a_long_stream_is_noticed_where_that_segment_is_read() -> None:
    size = 3 * SEGMENT + 5
    for number in range(4):
        for place in (0, 3, SEALED_SEGMENT - 1 if number < 3 else 5 + TAG - 1):
            damaged = bytearray(SEALED[size])
            damaged[HEADER + number * SEALED_SEGMENT + place] ^= 0x10
            with pytest.raises(CannotOpen):
                opened(bytes(damaged), size)
            with pytest.raises(CannotOpen):
                opened(bytes(damaged), size, offset=number * SEGMENT, length=1)


def test_not_an_octet_of_a_damaged_segment_is_given_before_the_damage_is_told() -> None:
    size = 3 * SEGMENT + 5
    damaged = bytearray(SEALED[size])
    damaged[HEADER + 2 * SEALED_SEGMENT - 1] ^= 1  # in the tag of the second segment
    view = window(size, 0, size)
    opener = Opener(KEY, bytes(damaged[:HEADER]), content_size=size, context=CONTEXT)
    given_so_far = b""
    with pytest.raises(CannotOpen):
        for piece in read(opener, view, iter((bytes(damaged[view.start :]),))):
            given_so_far += piece
    assert given_so_far == PATTERNS[size][:SEGMENT]


def test_segments_of_a_stream_cannot_change_places() -> None:
    size = 3 * SEGMENT
    head, body = SEALED_THREE[:HEADER], SEALED_THREE[HEADER:]
    segments = [body[start : start + SEALED_SEGMENT] for start in range(0, len(body), SEALED_SEGMENT)]
    for order in product(range(3), repeat=3):
        arranged = head + b"".join(segments[number] for number in order)
        if order == (0, 1, 2):
            assert opened(arranged, size) == pattern(size)
        else:
            with pytest.raises(CannotOpen):
                opened(arranged, size)


def test_a_segment_of_another_stream_under_the_same_key_does_not_fit() -> None:
    size = 2 * SEGMENT
    other = seal(PATTERNS[size], KEY, context=CONTEXT, prefix=b"another")
    mixed = SEALED[size][: HEADER + SEALED_SEGMENT] + other[HEADER + SEALED_SEGMENT :]
    with pytest.raises(CannotOpen):
        opened(mixed, size)


@pytest.mark.parametrize("number", range(4))
def test_no_segment_can_be_dropped(number: int) -> None:
    size = 3 * SEGMENT + 5
    start = HEADER + number * SEALED_SEGMENT
    without = SEALED[size][:start] + SEALED[size][start + SEALED_SEGMENT :]
    for claimed in (size, size - SEGMENT, 3 * SEGMENT):
        with pytest.raises(CannotOpen):
            opened(without, claimed)


def test_a_stream_that_was_cut_off_opens_no_further_than_its_whole_segments() -> None:
    refuse(shorter(SEALED[50]), lambda sealed: opened(sealed, 50))
    size = 3 * SEGMENT + 5
    for end in (HEADER + SEALED_SEGMENT, HEADER + 2 * SEALED_SEGMENT + 7, len(SEALED[size]) - 1):
        with pytest.raises(CannotOpen):
            opened(SEALED[size][:end], size)


@pytest.mark.parametrize("end", [SEGMENT, 2 * SEGMENT, 3 * SEGMENT])
def test_a_stream_cut_at_a_segment_cannot_pass_for_a_shorter_one(end: int) -> None:
    size = 3 * SEGMENT + 5
    with pytest.raises(CannotOpen):
        opened(SEALED[size][: sealed_size(end)], end)


@given(st.sampled_from(SIZES), st.one_of(st.sampled_from(SIZES[1:]), st.integers(1, 4 * SEGMENT)))
@settings(deadline=None)
def test_a_size_other_than_the_content_s_own_opens_nothing_whole(size: int, claimed: int) -> None:
    if claimed == size:
        assert opened(SEALED[size], size) == PATTERNS[size]
    else:
        with pytest.raises(CannotOpen):
            opened(SEALED[size], claimed)


def test_a_stream_opens_with_its_own_key_and_context_alone() -> None:
    with pytest.raises(CannotOpen):
        opened(SEALED[50], 50, key=OTHER)
    with pytest.raises(CannotOpen):
        opened(SEALED[50], 50, context=CONTEXT[:-1])


WRAPPED: Final = VECTORS["wrap"]
OPENING: Final = OpeningKey.from_bytes(secret(WRAPPED["opening_key"]))


def test_one_flipped_bit_anywhere_in_a_wrapped_value_opens_nothing() -> None:
    one = WRAPPED["values"][0]
    refuse(flipped(octets(one["wrapped"])), lambda sealed: unwrap(sealed, with_key=OPENING, context=one["context"]))


def test_a_wrapped_value_that_was_cut_off_opens_nothing() -> None:
    one = WRAPPED["values"][0]
    refuse(shorter(octets(one["wrapped"])), lambda sealed: unwrap(sealed, with_key=OPENING, context=one["context"]))


def test_a_wrapped_value_opens_in_its_own_context_and_with_its_own_key_alone() -> None:
    one = WRAPPED["values"][0]
    with pytest.raises(CannotOpen):
        unwrap(octets(one["wrapped"]), with_key=OPENING, context=one["context"] + "0")
    with pytest.raises(CannotOpen):
        unwrap(octets(one["wrapped"]), with_key=OpeningKey.generate(), context=one["context"])


def test_a_wrapped_value_with_the_id_of_another_key_opens_nothing_there_either() -> None:
    stranger = OpeningKey.generate()
    sealed = octets(WRAPPED["values"][0]["wrapped"])
    relabelled = sealed[:1] + stranger.key_id + sealed[9:]
    with pytest.raises(CannotOpen):
        unwrap(relabelled, with_key=stranger, context=WRAPPED["values"][0]["context"])


GROUP: Final = VECTORS["group"]


def test_one_flipped_bit_anywhere_in_a_value_of_a_group_opens_nothing() -> None:
    one = GROUP["values"][0]
    refuse(flipped(octets(one["wrapped"])), lambda sealed: unwrap(sealed, with_key=OPENING, context=one["context"]))


def test_a_value_of_a_group_that_was_cut_off_opens_nothing() -> None:
    one = GROUP["values"][0]
    refuse(shorter(octets(one["wrapped"])), lambda sealed: unwrap(sealed, with_key=OPENING, context=one["context"]))


def test_a_value_of_a_group_opens_in_its_own_context_and_with_its_own_key_alone() -> None:
    one, other = GROUP["values"]
    for wrong in (other["context"], one["context"] + "0", ""):
        with pytest.raises(CannotOpen):
            unwrap(octets(one["wrapped"]), with_key=OPENING, context=wrong)
    stranger = OpeningKey.generate()
    relabelled = octets(one["wrapped"])[:1] + stranger.key_id + octets(one["wrapped"])[9:]
    for sealed, key in ((octets(one["wrapped"]), stranger), (relabelled, stranger)):
        with pytest.raises(CannotOpen):
            unwrap(sealed, with_key=key, context=one["context"])


def test_a_value_can_not_be_moved_to_another_group() -> None:
    sealing = OPENING.sealing_key()
    groups = [Group(one, to=sealing) for one in (KEY, OTHER)]
    first, second = (one.wrap(Secret(b"x" * 32), context="c", nonce=bytes(12)) for one in groups)
    with pytest.raises(CannotOpen):
        unwrap(first[:1177] + second[1177:], with_key=OPENING, context="c")


def test_values_of_a_group_open_each_by_itself() -> None:
    sealing = OPENING.sealing_key()
    group = Group(KEY, to=sealing)
    wrapped = [group.wrap(Secret(bytes([n])), context=f"c/{n}", nonce=bytes([n]) * 12) for n in range(3)]
    for n in (2, 0):
        assert unwrap(wrapped[n], with_key=OPENING, context=f"c/{n}").reveal() == bytes([n])
    assert {key_id_of(one) for one in wrapped} == {OPENING.key_id}


@pytest.mark.parametrize("one", GROUP["values"], ids=lambda one: one["context"][-2:])
def test_values_of_the_group_of_the_vectors_open(one: dict[str, Any]) -> None:
    assert unwrap(octets(one["wrapped"]), with_key=OPENING, context=one["context"]).reveal() == octets(one["octets"])


def test_a_group_is_used_for_seconds_and_not_longer() -> None:
    moment = [0.0]
    wrapper = custody.Wrapper(OPENING.sealing_key(), clock=lambda: moment[0])
    heads = []
    for moment[0] in (0.0, 4.9, 5.0, 9.9, 10.1):
        heads.append(wrapper.wrap(KEY, context="c")[:1177])
    assert [heads.index(one) for one in heads] == [0, 0, 2, 2, 4]
    wrapper.forget_if_old()
    assert wrapper._group is not None
    moment[0] = 16.0
    wrapper.forget_if_old()
    assert wrapper._group is None


ENCLOSED: Final = enclose(Secret(b"a key of a message, or its head"), KEY, context="head/1", nonce=bytes(12))


def test_one_flipped_bit_anywhere_in_an_enclosed_value_opens_nothing() -> None:
    refuse(flipped(ENCLOSED), lambda sealed: disclose(sealed, KEY, context="head/1"))


def test_an_enclosed_value_that_was_cut_off_opens_nothing() -> None:
    refuse(shorter(ENCLOSED), lambda sealed: disclose(sealed, KEY, context="head/1"))


def test_an_enclosed_value_opens_in_its_own_context_and_with_its_own_key_alone() -> None:
    with pytest.raises(CannotOpen):
        disclose(ENCLOSED, KEY, context="head/2")
    with pytest.raises(CannotOpen):
        disclose(ENCLOSED, OTHER, context="head/1")


LINK: Final = VECTORS["link"][0]


def test_a_link_slot_needs_both_halves_and_its_own_context() -> None:
    slot, right, share = octets(LINK["slot"]), secret(LINK["secret"]), secret(LINK["share"])
    assert open_link_slot(slot, secret=right, share=share, context=LINK["context"]).reveal() == octets(
        LINK["conversation_key"]
    )
    for half in (
        {"secret": OTHER, "share": share},
        {"secret": right, "share": OTHER},
        {"secret": share, "share": right},
    ):
        with pytest.raises(CannotOpen):
            open_link_slot(slot, context=LINK["context"], **half)
    with pytest.raises(CannotOpen):
        open_link_slot(slot, secret=right, share=share, context="link/another")


def test_one_flipped_bit_anywhere_in_a_link_slot_opens_nothing() -> None:
    right, share = secret(LINK["secret"]), secret(LINK["share"])
    refuse(
        flipped(octets(LINK["slot"])),
        lambda sealed: open_link_slot(sealed, secret=right, share=share, context=LINK["context"]),
    )


def test_what_is_kept_of_a_link_recognises_it_and_no_other() -> None:
    assert same_link(secret(LINK["secret"]), octets(LINK["hash"]))
    assert not same_link(OTHER, octets(LINK["hash"]))
    assert octets(LINK["secret"]) not in octets(LINK["hash"]) + octets(LINK["slot"])


@pytest.mark.parametrize("length", [0, 95, 97, 1184 + 32 - 1, 1184 + 32 + 1])
def test_octets_of_another_length_are_no_keys(length: int) -> None:
    with pytest.raises(ValueError, match="not an opening key"):
        OpeningKey.from_bytes(Secret(bytes(length)))
    with pytest.raises(ValueError, match="not a sealing key"):
        SealingKey.from_bytes(bytes(length))


@pytest.mark.parametrize("length", [0, 6, 8])
def test_a_nonce_prefix_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match="7 octets"):
        Sealer(KEY, context=CONTEXT, prefix=bytes(length))


# --- streams ------------------------------------------------------------------------------------------------------


@given(st.sampled_from(SIZES), st.integers(-10, 4 * SEGMENT), st.integers(-10, 4 * SEGMENT), st.integers(500, 70_000))
@settings(deadline=None)
def test_any_range_equals_the_same_slice_of_the_content(size: int, offset: int, length: int, cut: int) -> None:
    start, end = max(offset, 0), max(offset, 0) + max(length, 0)
    assert opened(SEALED[size], size, offset=offset, length=length, cut=cut) == PATTERNS[size][start:end]


@given(st.integers(0, 4 * SEGMENT), st.integers(0, 4 * SEGMENT))
def test_a_window_asks_for_no_more_than_the_segments_it_needs(size: int, offset: int) -> None:
    view = window(size, offset, 1)
    assert view.length <= SEALED_SEGMENT
    assert view.start + view.length <= sealed_size(size)


@given(st.lists(st.integers(0, 3 * SEGMENT + 5), max_size=8))
@settings(deadline=None)
def test_how_the_content_is_cut_makes_no_difference_to_its_sealed_form(places: list[int]) -> None:
    size = 3 * SEGMENT + 5
    sealer = Sealer(KEY, context=CONTEXT, prefix=b"prefix!")
    marks = [0, *sorted(places), size]
    fed = b"".join(sealer.feed(PATTERNS[size][a:b]) for a, b in pairwise(marks))
    assert fed + sealer.finish() == SEALED[size]
    assert sealer.size == size


@pytest.mark.parametrize("size", SIZES)
def test_the_sealed_form_is_as_long_as_was_said(size: int) -> None:
    assert len(SEALED[size]) == sealed_size(size)
    segments = max(1, -(-size // SEGMENT))
    assert sealed_size(size) == 8 + size + 16 * segments


# --- the same content twice ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [50, 2 * SEGMENT])
def test_equal_contents_have_different_sealed_octets(tmp_path: Path, size: int) -> None:
    def once() -> tuple[custody.ContentSink, bytes, bytes]:
        sink = custody.ContentSink(Blobs(tmp_path))
        sink.feed(PATTERNS[size])
        sealed, head = sink.finish(), sink.enclosed_head(b"{}")
        if sealed is None:
            sealed = b"".join(Blobs(tmp_path).read(sink.id, 0, sealed_size(size)))
        context = custody.content_context(sink.id)
        assert opened(sealed, size, key=custody.stream_key(sink.message_key), context=context) == PATTERNS[size]
        return sink, sealed, head

    (one, its_octets, its_head), (two, other_octets, other_head) = once(), once()
    assert len(its_octets) == len(other_octets)
    equal = sum(a == b for a, b in zip(its_octets, other_octets, strict=True))
    assert equal < len(its_octets) / 8  # one in 256 is chance
    assert its_octets[1:HEADER] != other_octets[1:HEADER]  # the nonce prefix
    assert its_head != other_head
    assert one.message_key != two.message_key


def test_equal_values_are_wrapped_differently() -> None:
    sealing = OPENING.sealing_key()
    assert wrap(KEY, to=sealing, context="conversation/1") != wrap(KEY, to=sealing, context="conversation/1")


# --- vectors ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("one", VECTORS["derive"], ids=lambda one: one["purpose"])
def test_derived_keys_are_those_of_the_vectors(one: dict[str, Any]) -> None:
    salt = octets(one["salt"]) if one["salt"] else None
    assert derive(secret(one["key"]), one["purpose"], salt=salt).reveal() == octets(one["derived"])


@pytest.mark.parametrize("one", VECTORS["enclose"], ids=lambda one: one["context"].partition("/")[0])
def test_enclosed_values_are_those_of_the_vectors(one: dict[str, Any]) -> None:
    key, context = secret(one["key"]), one["context"]
    assert enclose(secret(one["inner"]), key, context=context, nonce=octets(one["nonce"])) == octets(one["enclosed"])
    assert disclose(octets(one["enclosed"]), key, context=context).reveal() == octets(one["inner"])


def test_link_slots_are_those_of_the_vectors() -> None:
    made = link_slot(
        secret(LINK["conversation_key"]),
        secret=secret(LINK["secret"]),
        share=secret(LINK["share"]),
        context=LINK["context"],
    )
    assert made == octets(LINK["slot"])
    assert link_hash(secret(LINK["secret"])) == octets(LINK["hash"])


@pytest.mark.parametrize("one", VECTORS["stream"], ids=lambda one: str(one["size"]))
def test_streams_are_those_of_the_vectors(one: dict[str, Any]) -> None:
    content = pattern(one["size"])
    sealed = seal(content, secret(one["key"]), context=one["context"], prefix=octets(one["prefix"]))
    assert hashlib.sha256(sealed).hexdigest() == one["sealed_sha256"]
    assert len(sealed) == one["sealed_size"]
    assert sealed == octets(one.get("sealed", sealed.hex()))
    assert opened(sealed, one["size"], key=secret(one["key"]), context=one["context"]) == content


@pytest.mark.parametrize("one", WRAPPED["values"], ids=lambda one: one["context"].partition("/")[0])
def test_wrapped_values_of_the_vectors_open(one: dict[str, Any]) -> None:
    assert unwrap(octets(one["wrapped"]), with_key=OPENING, context=one["context"]).reveal() == octets(one["octets"])
    assert key_id_of(octets(one["wrapped"])) == OPENING.key_id == octets(WRAPPED["key_id"])


def test_the_sealing_key_of_the_vectors_belongs_to_its_opening_key() -> None:
    assert OPENING.sealing_bytes() == octets(WRAPPED["sealing_key"])
    assert SealingKey.from_bytes(octets(WRAPPED["sealing_key"])).key_id == OPENING.key_id
    assert OPENING.to_bytes().reveal() == octets(WRAPPED["opening_key"])


def test_a_whole_message_of_the_vectors_opens_through_the_gateway_and_through_the_link() -> None:
    one = VECTORS["message"]
    conversation, message, content, recipient = (
        uuid.UUID(one[f"{name}_id"]) for name in ("conversation", "message", "content", "recipient")
    )
    by_gateway = unwrap(
        octets(one["gateway_slot"]), with_key=OPENING, context=custody.conversation_context(conversation)
    )
    share = unwrap(octets(one["link_share"]), with_key=OPENING, context=custody.field_context("link-share", recipient))
    by_link = open_link_slot(
        octets(one["link_slot"]),
        secret=secret(one["link_secret"]),
        share=share,
        context=custody.field_context("link", recipient),
    )
    assert by_gateway.reveal() == by_link.reveal() == octets(one["conversation_key"])
    key = disclose(octets(one["enclosed_message_key"]), by_link, context=custody.message_context(message))
    assert key.reveal() == octets(one["message_key"])
    head = disclose(octets(one["head"]), custody.head_key(key), context=custody.head_context(content))
    assert head.reveal() == octets(one["opened_head"])
    plain = octets(one["content"])
    context = custody.content_context(content)
    assert opened(octets(one["sealed"]), len(plain), key=custody.stream_key(key), context=context) == plain


# --- the specification, read by somebody who has only the document ------------------------------------------------


def hkdf_extract(salt: bytes, key: bytes) -> bytes:
    return hmac.digest(salt or bytes(32), key, "sha256")


def hkdf_expand(key: bytes, info: bytes, length: int) -> bytes:
    out, block = b"", b""
    for number in range(1, -(-length // 32) + 1):
        block = hmac.digest(key, block + info + bytes((number,)), "sha256")
        out += block
    return out[:length]


def test_the_document_alone_is_enough_to_derive_a_key() -> None:
    for one in VECTORS["derive"]:
        salt = octets(one["salt"]) if one["salt"] else b""
        made = hkdf_expand(hkdf_extract(salt, octets(one["key"])), b"zegel/v1/" + one["purpose"].encode(), 32)
        assert made == octets(one["derived"])


@pytest.mark.parametrize("one", WRAPPED["values"], ids=lambda one: one["context"].partition("/")[0])
def test_the_document_alone_is_enough_to_open_a_wrapped_value(one: dict[str, Any]) -> None:
    sealed = octets(one["wrapped"])
    assert (sealed[0], sealed[1:9]) == (1, octets(WRAPPED["key_id"]))
    assert hpke_opened(sealed[9:], info=b"zegel/wrap/v1/" + one["context"].encode()) == octets(one["octets"])


@pytest.mark.parametrize("one", GROUP["values"], ids=lambda one: one["context"][-2:])
def test_the_document_alone_is_enough_to_open_a_value_of_a_group(one: dict[str, Any]) -> None:
    sealed = octets(one["wrapped"])
    assert (sealed[0], sealed[1:9]) == (2, octets(WRAPPED["key_id"]))
    key = hpke_opened(sealed[9:1177], info=b"zegel/wrap/v2")
    assert key == octets(GROUP["group_key"])
    bound = b"zegel/wrap/v2/" + one["context"].encode()
    assert AESGCM(key).decrypt(sealed[1177:1189], sealed[1189:], bound) == octets(one["octets"])


def hpke_opened(sealed: bytes, *, info: bytes) -> bytes:
    seed = octets(WRAPPED["opening_key"])
    mlkem_ciphertext, x25519_ciphertext, sealed_octets = sealed[:1088], sealed[1088:1120], sealed[1120:]
    # the KEM: ML-KEM-768 and X25519, combined by SHA3-256
    x25519 = X25519PrivateKey.from_private_bytes(seed[64:])
    shared = hashlib.sha3_256(
        MLKEM768PrivateKey.from_seed_bytes(seed[:64]).decapsulate(mlkem_ciphertext)
        + x25519.exchange(X25519PublicKey.from_public_bytes(x25519_ciphertext))
        + x25519_ciphertext
        + x25519.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        + b"\\.//^\\"
    ).digest()
    # RFC 9180 §5.1: base mode, so no pre-shared key
    suite = b"HPKE\x64\x7a\x00\x01\x00\x02"

    def extract(salt: bytes, label: bytes, key: bytes) -> bytes:
        return hkdf_extract(salt, b"HPKE-v1" + suite + label + key)

    def expand(key: bytes, label: bytes, info: bytes, length: int) -> bytes:
        return hkdf_expand(key, length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info, length)

    schedule = b"\x00" + extract(b"", b"psk_id_hash", b"") + extract(b"", b"info_hash", info)
    root = extract(shared, b"secret", b"")
    key, nonce = expand(root, b"key", schedule, 32), expand(root, b"base_nonce", schedule, 12)
    return AESGCM(key).decrypt(nonce, sealed_octets, b"")


def test_the_document_alone_is_enough_to_open_a_stream() -> None:
    one = next(each for each in VECTORS["stream"] if each["size"] == 50)
    sealed = octets(one["sealed"])
    assert sealed[0] == 1
    nonce = sealed[1:8] + (0).to_bytes(4, "big") + b"\x01"
    plain = AESGCM(octets(one["key"])).decrypt(nonce, sealed[8:], b"zegel/stream/v1/" + one["context"].encode())
    assert plain == pattern(50)
