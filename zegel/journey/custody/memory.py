"""Verification data that is remembered: what messages were opened with, and what people supplied (ADR 29)."""

from __future__ import annotations

import json
import uuid
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from zegel.accounts import audit
from zegel.accounts.models import Account, Organisation, RememberedDevice
from zegel.core.clock import Instant
from zegel.core.mail.address import Mailbox
from zegel.core.policy.audit import Act
from zegel.core.policy.case import Remembered
from zegel.core.policy.phone import mask_phone
from zegel.core.policy.verification import AccessCode, Method, SmsCode, Verification, method_of
from zegel.core.seal.wrap import CannotOpen, SealingKey
from zegel.core.secret import Secret
from zegel.edge import rows
from zegel.edge.chance import identifier
from zegel.journey.custody import erasures
from zegel.journey.custody.models import PassedMethod, Recipient, VerificationData
from zegel.journey.custody.seal import Wrapper, field_context, wrap_field

REMEMBERED: Final = (Method.SMS, Method.ACCESS_CODE)
_NAME: Final = "verification-data"


class OpensFields(Protocol):
    """Opens a wrapped field; :meth:`zegel.journey.custody.unseal.Unsealer.field`."""

    def __call__(self, wrapped: bytes | memoryview | None, *, name: str, owner: uuid.UUID | str) -> Secret[bytes]: ...


@dataclass(frozen=True, slots=True)
class Asker:
    """Who wants to know: a sender of an organisation, about a recipient (:attr:`Mailbox.key`)."""

    organisation: int
    account: int
    recipient: str


# --- asking -------------------------------------------------------------------------------------------------------


def known(askers: Collection[Asker], *, open_field: OpensFields) -> dict[Asker, Remembered]:
    """What is known for each. The sender's own goes first, then what was supplied for the whole organisation, then
    what a colleague's recipient opened a message with, the latest first. Reads only."""
    found = _rows(askers)
    return {
        asker: _remembered(asker, found.get((asker.organisation, asker.recipient), ()), open_field) for asker in askers
    }


@dataclass(frozen=True, slots=True)
class _Known:
    id: uuid.UUID
    account: int | None
    method: str
    sealed: bytes
    confirmed_at: Any

    def place(self, asker: Asker) -> int | None:
        """Lower is better; ``None``: not for this sender."""
        if self.account == asker.account:
            return 0
        if self.account is None:
            return 1
        return None if self.confirmed_at is None else 2


def _rows(askers: Collection[Asker]) -> dict[tuple[int, str], list[_Known]]:
    if not askers:
        return {}
    keys = list({asker.recipient for asker in askers})
    found: dict[tuple[int, str], list[_Known]] = defaultdict(list)
    for organisation, key, *rest in rows.select(
        f"""SELECT organisation_id, key, id, account_id, method, sealed, confirmed_at
        FROM {rows.table(VerificationData)} WHERE key IN ({rows.marks(len(keys))})
        ORDER BY confirmed_at DESC NULLS LAST""",  # noqa: S608
        tuple(keys),
    ):
        identity, account, method, sealed, confirmed_at = rest
        found[organisation, key].append(_Known(rows.found(identity), account, method, bytes(sealed), confirmed_at))
    return found


def _remembered(asker: Asker, found: Iterable[_Known], open_field: OpensFields) -> Remembered:
    best: dict[str, _Known] = {}
    for place in (0, 1, 2):
        for one in found:
            if one.place(asker) == place:
                best.setdefault(one.method, one)
    sms = _opened(best.get(Method.SMS.value), open_field)
    code = _opened(best.get(Method.ACCESS_CODE.value), open_field)
    return Remembered(
        sms=sms if isinstance(sms, SmsCode) else None,
        access_code=code if isinstance(code, AccessCode) else None,
        supplied=frozenset(Method(method) for method, one in best.items() if one.confirmed_at is None),
    )


def _opened(one: _Known | VerificationData | None, open_field: OpensFields) -> SmsCode | AccessCode | None:
    """``None`` also where it can't be opened: a key that was lost makes nobody's mail wait."""
    return None if one is None else _verification_in(one.sealed, _NAME, one.id, open_field)


# --- remembering --------------------------------------------------------------------------------------------------


def remember(recipient: Recipient, *, now: Instant, open_field: OpensFields, sealing: SealingKey) -> None:
    """Inside a transaction: ``recipient`` opened its message with the number or code that is sealed in its row.

    From now on that is the sender's own for this recipient. What somebody entered after the message was decided is
    newer, and stays; so does what a message has that was decided later, and was opened before. Does nothing for other
    methods, and where the data was destroyed.
    """
    if recipient.method not in {method.value for method in REMEMBERED}:
        return
    used = used_by(recipient, open_field=open_field)
    if used is None:
        return
    conversation = recipient.conversation
    organisation, author = conversation.organisation_id, conversation.author_id
    about = VerificationData.objects.select_for_update().filter(
        organisation=organisation, key=recipient.key, method=recipient.method
    )
    own = about.filter(account=author).first()
    for one in filter(None, (own, about.filter(account=None).first())):
        if _opened(one, open_field) == used:
            one.confirmed_at = now
            one.save(update_fields=["confirmed_at"])
            if one is own:
                return
    if own is not None and recipient.decided_at is not None and own.created_at > recipient.decided_at:
        return
    _put(
        own or VerificationData(id=identifier(), organisation_id=organisation, account_id=author),
        Mailbox.parse(recipient.address),
        used,
        origin=VerificationData.Origin.MESSAGE,
        confirmed_at=now,
        now=recipient.decided_at or now,
        sealing=sealing,
    )


def supply(
    organisation: Organisation,
    recipient: Mailbox,
    verification: SmsCode | AccessCode,
    *,
    account: Account | None,
    origin: VerificationData.Origin,
    now: Instant,
    sealing: SealingKey,
) -> VerificationData:
    """Inside a transaction: a person says what ``recipient`` is to be verified with, for messages of ``account``, or of
    everybody (``None``). It replaces what that one had, and holds from the next decision on; devices that are
    remembered for an access code are so no longer (ADR 35)."""
    about = VerificationData.objects.select_for_update().filter(
        organisation=organisation, account=account, key=recipient.key, method=method_of(verification).value
    )
    row = about.first() or VerificationData(id=identifier(), organisation=organisation, account=account)
    act = Act.VERIFICATION_ADDED if row._state.adding else Act.VERIFICATION_CHANGED
    _put(row, recipient, verification, origin=origin, confirmed_at=None, now=now, sealing=sealing)
    _end_trust(row)
    _note(act, row)
    return row


@dataclass(frozen=True, slots=True)
class Present:
    """What is known of one recipient by one method, for messages of everybody; without the value itself."""

    id: uuid.UUID
    masked: str
    created_at: Instant
    sealed: bytes

    def is_same(self, value: SmsCode | AccessCode, *, open_field: OpensFields) -> bool:
        """It is this number, or this code with this hint. What can't be opened is another one."""
        return self.masked == masked(value) and _verification_in(self.sealed, _NAME, self.id, open_field) == value


def present(organisation: int, keys: Collection[str]) -> dict[tuple[str, Method], Present]:
    """By recipient (:attr:`Mailbox.key`, of some hundreds) and method. Reads only."""
    found = rows.select(
        f"""SELECT key, method, id, masked, created_at, sealed FROM {rows.table(VerificationData)}
        WHERE organisation_id = %s AND account_id IS NULL AND key IN ({rows.marks(len(keys))})""",  # noqa: S608
        (organisation, *keys),
    )
    known: dict[tuple[str, Method], Present] = {}
    for key, method, identity, shown, created_at, sealed in found:
        at = rows.instant(created_at)
        assert at is not None
        known[key, Method(method)] = Present(rows.found(identity), shown, at, bytes(sealed))
    return known


def supply_many(
    organisation: int,
    supplied: Sequence[tuple[Mailbox, SmsCode | AccessCode, uuid.UUID | None]],
    *,
    origin: VerificationData.Origin,
    now: Instant,
    sealing: SealingKey,
) -> None:
    """As :func:`supply` for messages of everybody, many at once; each with what it takes the place of, if anything."""
    wrapper = Wrapper(sealing)
    written = []
    for recipient, value, before in supplied:
        identity, octets = before or identifier(), Secret(verification_to_bytes(value))
        written.append(
            (
                str(recipient),
                recipient.key,
                method_of(value).value,
                wrapper.wrap(octets, context=field_context(_NAME, identity)),
                masked(value),
                origin.value,
                now,
                None,
                identity,
            )
        )
    replaced = {before for _, _, before in supplied if before is not None}
    erasures.note(erasures.Kind.VERIFICATION, sorted(replaced), at=now)
    rows.update(VerificationData, _WRITTEN, [one for one in written if one[-1] in replaced])
    new = [(organisation, None, *one) for one in written if one[-1] not in replaced]
    rows.insert(VerificationData, ("organisation_id", "account_id", *_WRITTEN, "id"), new)
    codes = [recipient.key for recipient, value, _ in supplied if isinstance(value, AccessCode)]
    RememberedDevice.objects.filter(organisation=organisation, key__in=codes, method=Method.ACCESS_CODE.value).delete()


_WRITTEN: Final = ("address", "key", "method", "sealed", "masked", "origin", "created_at", "confirmed_at")


def correct(
    row: VerificationData,
    verification: SmsCode | AccessCode,
    *,
    origin: VerificationData.Origin,
    now: Instant,
    sealing: SealingKey,
) -> None:
    """Inside a transaction: another value of the same method; for devices as with :func:`supply`. Raises ``ValueError``
    for another method."""
    if row.method != method_of(verification).value:
        raise ValueError("a correction keeps the method")
    _put(row, Mailbox.parse(row.address), verification, origin=origin, confirmed_at=None, now=now, sealing=sealing)
    _end_trust(row)
    _note(Act.VERIFICATION_CHANGED, row)


def _end_trust(row: VerificationData) -> None:
    """A person entered an access code: who was trusted because of an earlier one enters it. Also where it is the same
    code, which can't be told here without the power to open. Another number ends the trust by itself."""
    if row.method == Method.ACCESS_CODE.value:
        about = RememberedDevice.objects.filter(organisation=row.organisation_id, key=row.key, method=row.method)
        about.delete()


def forget(row: VerificationData) -> None:
    """Inside a transaction: nobody is verified with it any more, from the next decision on. What was decided stays."""
    erasures.note(erasures.Kind.VERIFICATION, [row.id])
    _note(Act.VERIFICATION_REMOVED, row)
    row.delete()


def _note(act: Act, row: VerificationData) -> None:
    """In the audit log: of a number its end at most. What messages were opened with is no act of anybody."""
    whose = row.account.email if row.account is not None else "everybody"
    audit.note(act, row.organisation, row.address, {"method": row.method, "masked": row.masked, "for": whose})


def _put(
    row: VerificationData,
    recipient: Mailbox,
    verification: SmsCode | AccessCode,
    *,
    origin: VerificationData.Origin,
    confirmed_at: Instant | None,
    now: Instant,
    sealing: SealingKey,
) -> None:
    if not row._state.adding:  # a backup that is restored must not bring the earlier value back
        erasures.note(erasures.Kind.VERIFICATION, [row.id], at=now)
    row.address, row.key = str(recipient), recipient.key
    row.method, row.masked = method_of(verification).value, masked(verification)
    row.sealed = wrap_field(verification_to_bytes(verification), name=_NAME, owner=row.id, to=sealing)
    row.origin, row.created_at, row.confirmed_at = origin, now, confirmed_at
    row.save()


# --- what account holders passed (D-9) -----------------------------------------------------------------------------

_PASSED: Final = "passed-method"
Passed = dict[tuple[int, int], dict[Method, SmsCode | AccessCode]]
"""By account and organisation, what was passed."""


def note_passed(
    account: Account, recipient: Recipient, *, now: Instant, open_field: OpensFields, sealing: SealingKey
) -> None:
    """Inside a transaction: who is signed in to ``account`` passed the verification of ``recipient``, which is the
    same mailbox. Does nothing for methods that an account doesn't stand in the place of, and where the data was
    destroyed."""
    if recipient.key != account.key or recipient.method not in {method.value for method in REMEMBERED}:
        return
    used = used_by(recipient, open_field=open_field)
    if used is None:
        return
    organisation = recipient.conversation.organisation_id
    rows_of = PassedMethod.objects.filter(account=account, organisation=organisation, method=recipient.method)
    row = rows_of.first()
    if row is not None and is_same(_passed_value(row, open_field), used):
        return
    if row is not None:
        erasures.note(erasures.Kind.VERIFICATION, [row.id], at=now)
    rows_of.delete()
    row = PassedMethod(id=identifier(), account=account, organisation_id=organisation, method=recipient.method, at=now)
    row.sealed = wrap_field(verification_to_bytes(used), name=_PASSED, owner=row.id, to=sealing)
    row.save(force_insert=True)


def passed(accounts: Collection[int], organisations: Collection[int], *, open_field: OpensFields) -> Passed:
    """What the holders of these accounts passed for these organisations. Reads only."""
    found: Passed = defaultdict(dict)
    if accounts:
        for row in PassedMethod.objects.filter(account__in=accounts, organisation__in=organisations):
            value = _passed_value(row, open_field)
            if value is not None:
                found[row.account_id, row.organisation_id][Method(row.method)] = value
    return found


def _passed_value(row: PassedMethod, open_field: OpensFields) -> SmsCode | AccessCode | None:
    return _verification_in(row.sealed, _PASSED, row.id, open_field)


def is_same(one: Verification | None, other: Verification | None) -> bool:
    """The same number, or the same access code whatever its hint says."""
    match one, other:
        case SmsCode(phone=left), SmsCode(phone=right):
            return left == right
        case AccessCode(code=left), AccessCode(code=right):
            return left == right
        case _:
            return False


# --- the sealed form ----------------------------------------------------------------------------------------------


def used_by(recipient: Recipient, *, open_field: OpensFields) -> SmsCode | AccessCode | None:
    """What the recipient proves itself with; ``None``: nothing of the kind, or it was destroyed."""
    return _verification_in(recipient.verification, "verification", recipient.id, open_field)


def _verification_in(
    sealed: bytes | memoryview | None, name: str, owner: uuid.UUID, open_field: OpensFields
) -> SmsCode | AccessCode | None:
    try:
        return verification_of(open_field(sealed, name=name, owner=owner))
    except CannotOpen:
        return None


def verification_to_bytes(verification: SmsCode | AccessCode) -> bytes:
    """For sealing only: the number or code stands in it."""
    match verification:
        case SmsCode(phone=phone):
            values: dict[str, str | None] = {"phone": phone.reveal()}
        case AccessCode(code=code, hint=hint):
            values = {"access_code": code.reveal(), "hint": hint.reveal() if hint else None}
    return json.dumps(values).encode()


def verification_of(opened: Secret[bytes]) -> SmsCode | AccessCode:
    """What :func:`verification_to_bytes` wrote."""
    values: dict[str, str | None] = json.loads(opened.reveal())
    if phone := values.get("phone"):
        return SmsCode(Secret(phone))
    hint = values.get("hint")
    return AccessCode(Secret(values.get("access_code") or ""), Secret(hint) if hint else None)


def masked(verification: Verification) -> str:
    """What may be shown of it: of a number its end, of a code nothing."""
    return mask_phone(verification.phone.reveal()) if isinstance(verification, SmsCode) else ""
