"""Devices on which a guest need not enter a code again, where the organisation allows it (ADR 35).

The browser holds a secret, the server its hash. It counts for messages of one organisation to one mailbox that demand
the same method: of text messages only while it is the same number, of e-mail only where the code had to travel no less
securely. It opens nothing without a link, and confirms no number.
"""

from __future__ import annotations

import hashlib
import hmac
import uuid
from datetime import timedelta
from typing import Final

from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponseBase
from django.utils import timezone
from django.utils.translation import gettext as _

from zegel.accounts.models import RememberedDevice
from zegel.core.clock import Instant
from zegel.core.mail.address import Mailbox
from zegel.core.mail.texts import Language, NewDevice, new_device_mail
from zegel.core.policy.permitting import LONGEST_TRUST
from zegel.core.policy.verification import Method, SmsCode
from zegel.core.seal.wrap import CannotOpen
from zegel.core.secret import Secret
from zegel.edge import chance
from zegel.edge.log import DeviceForgotten, DeviceRemembered, log
from zegel.journey import milestones
from zegel.journey.custody.memory import used_by
from zegel.journey.custody.models import Proof, Recipient, Transmission
from zegel.journey.custody.seal import wrap_field
from zegel.journey.portal import cookies
from zegel.journey.portal.browsers import browser_of, described
from zegel.journey.portal.guests import Guest, lock
from zegel.journey.portal.mails import NoOwnAddress, OwnMail, put
from zegel.journey.portal.setup import portal

COOKIE: Final = "__Host-zegel-devices"
MOST_IN_BROWSER: Final = 12  # organisations and methods that one browser is remembered for; the oldest go first
MOST_OF_GUEST: Final = 10  # devices of one mailbox, for one organisation; likewise
MOST_A_DAY: Final = 12  # mails about new ones to a mailbox, from one organisation; then none is remembered
_DAY: Final = timedelta(hours=24)
_CONTEXT: Final = "cookie/devices"
_NAME: Final = "device"
_CLOCKS: Final = timedelta(minutes=2)  # between machines
_NOBODY: Final = b""


# Which is remembered


def days_of(recipient: Recipient) -> int | None:
    """How long a device may be remembered for this recipient's method; ``None``: not at all."""
    days: int | None = recipient.conversation.organisation.remembers_devices_days
    return days if recipient.method in {one.value for one in Method if one is not Method.ACCOUNT} else None


def trusted(request: HttpRequest, recipient: Recipient, now: Instant) -> RememberedDevice | None:
    """This browser, if it is remembered for what this recipient must verify with. Reads only."""
    secrets = _held(request)
    if not secrets or days_of(recipient) is None:
        return None
    for device in of_guest(recipient, now).filter(id__in=secrets, method=recipient.method):
        if hmac.compare_digest(_hash(secrets[device.id]), bytes(device.secret_hash)) and _proves(device, recipient):
            return device
    return None


def is_trusted(device: RememberedDevice, recipient: Recipient, now: Instant) -> bool:
    """The policy of this moment still remembers it, for this method. What else :func:`trusted` asks can't have changed
    since: another number or code for the recipient ends every proof."""
    days = days_of(recipient)
    if days is None or device.method != recipient.method:
        return False
    return device.created_at <= now + _CLOCKS and now < min(device.expires_at, device.created_at + timedelta(days=days))


def of_guest(recipient: Recipient, now: Instant) -> QuerySet[RememberedDevice]:
    """All devices of this mailbox for this organisation, the newest first."""
    organisation = recipient.conversation.organisation
    oldest = now - timedelta(days=organisation.remembers_devices_days or 0)
    found = RememberedDevice.objects.filter(
        organisation=organisation,
        key=recipient.key,
        created_at__gt=oldest,
        created_at__lte=now + _CLOCKS,
        expires_at__gt=now,
    )
    return found.order_by("-created_at", "-id")


def _proves(device: RememberedDevice, recipient: Recipient) -> bool:
    """What was proven on it is what this recipient is asked for."""
    if device.needs_tls < recipient.code_needs_tls or device.needs_authentication < recipient.code_needs_authentication:
        return False
    if device.method != Method.SMS.value:
        return True
    now_asked, then = _number(recipient), _sealed_number(device)
    return now_asked != _NOBODY and hmac.compare_digest(now_asked, then)


def _number(recipient: Recipient) -> bytes:
    found = used_by(recipient, open_field=portal().unsealer.field)
    return found.phone.reveal().encode() if isinstance(found, SmsCode) else _NOBODY


def _sealed_number(device: RememberedDevice) -> bytes:
    """Opened and compared, as ADR 29 has it: no MAC in the database tells equal numbers."""
    try:
        return portal().unsealer.field(device.sealed, name=_NAME, owner=device.id).reveal()
    except CannotOpen:
        return _NOBODY


# Remembering and forgetting


def remember(request: HttpRequest, response: HttpResponseBase, guest: Guest, language: Language) -> bool:
    """After a passed verification: this browser needs no code again, and the guest gets a mail that says so, unless it
    was remembered already. ``False`` where the policy doesn't allow it, that mail can't be written or there were too
    many of them, and where the sender allowed another number or code meanwhile."""
    now = portal().now()
    identity, secret = chance.identifier(), Secret(chance.octets(32))
    try:
        with transaction.atomic():
            recipient = lock(guest.recipient)
            if days_of(recipient) is None or not _has_proof(recipient, browser_of(request)):
                return False
            was_here = of_guest(recipient, now).filter(id__in=_own(request, recipient)).exists()
            if not was_here and _told_today(recipient, now) >= MOST_A_DAY:
                return False
            _forget_here(request, recipient)
            device = _put(recipient, identity, secret, described(request), now)
            if not was_here:
                _tell(guest, device, language, now)
    except NoOwnAddress:
        return False
    held = {**_held(request), identity: secret}
    _give(response, dict(list(held.items())[-MOST_IN_BROWSER:]))
    log(DeviceRemembered(recipient=recipient.id, device=identity))
    return True


def _put(
    recipient: Recipient, identity: uuid.UUID, secret: Secret[bytes], browser: str, now: Instant
) -> RememberedDevice:
    sealed = None
    if recipient.method == Method.SMS.value:
        sealed = wrap_field(_number(recipient), name=_NAME, owner=identity, to=portal().keys.sealing)
    device = RememberedDevice.objects.create(
        id=identity,
        organisation=recipient.conversation.organisation,
        key=recipient.key,
        method=recipient.method,
        sealed=sealed,
        needs_tls=recipient.code_needs_tls,
        needs_authentication=recipient.code_needs_authentication,
        secret_hash=_hash(secret),
        browser=browser,
        created_at=now,
        used_at=now,
        expires_at=now + timedelta(days=days_of(recipient) or 0),
    )
    too_many = of_guest(recipient, now).values_list("id", flat=True)[MOST_OF_GUEST:]
    RememberedDevice.objects.filter(id__in=list(too_many)).delete()
    return device


def _has_proof(recipient: Recipient, browser: bytes | None) -> bool:
    """The code that was given a moment ago still counts: every other number or code ends all proofs."""
    found = Proof.objects.filter(recipient=recipient, browser=browser, method=recipient.method, device=None)
    return browser is not None and found.exists()


def _told_today(recipient: Recipient, now: Instant) -> int:
    """Who has the code can ask for a mail with every try, from a browser that is always new."""
    told = Transmission.objects.filter(  # nothing else that is a notice goes to a recipient
        kind=Transmission.Kind.NOTICE,
        recipient__key=recipient.key,
        organisation=recipient.conversation.organisation,
        created_at__gt=now - _DAY,
    )
    return told.count()


def _tell(guest: Guest, device: RememberedDevice, language: Language, now: Instant) -> None:
    """With the guest's own link: without one the page can't be reached, and with it a code is asked first."""
    recipient = guest.recipient
    told = NewDevice(
        browser=device.browser or _("a browser that doesn’t say which"),
        at=device.created_at,
        until=device.expires_at,
        organisation=device.organisation.name,
        link=Secret(f"{portal().url}/m/{guest.token.reveal()}/devices"),
    )
    mail = OwnMail(
        device.organisation,
        Mailbox.parse(recipient.address),
        new_device_mail(told, language, zone=timezone.get_default_timezone()),
        Transmission.Kind.NOTICE,
        recipient=recipient,
    )
    milestones.device_remembered(put(mail, now=now).id, now=now)
    transaction.on_commit(portal().ring)


def note_use(device: RememberedDevice, now: Instant) -> None:
    """For its owner to see; it is not remembered any longer for it."""
    RememberedDevice.objects.filter(id=device.id).update(used_at=now)


def forget(recipient: Recipient, device: uuid.UUID, now: Instant) -> bool:
    """Its owner wants it: what was opened with it needs a code at once. ``False``: it isn't the owner's, or is gone."""
    done = bool(of_guest(recipient, now).filter(id=device).delete()[0])
    if done:
        log(DeviceForgotten(device=device))
    return done


def forget_here(request: HttpRequest, response: HttpResponseBase, recipient: Recipient) -> None:
    """This browser is remembered no longer for messages of this organisation to this mailbox."""
    gone = _forget_here(request, recipient)
    if gone:
        left = {device: secret for device, secret in _held(request).items() if device not in gone}
        _give(response, left)


def _forget_here(request: HttpRequest, recipient: Recipient) -> set[uuid.UUID]:
    gone = _own(request, recipient)
    RememberedDevice.objects.filter(id__in=gone).delete()
    return gone


def _own(request: HttpRequest, recipient: Recipient) -> set[uuid.UUID]:
    """What this browser is, or was, remembered as. The name of a device alone proves nothing: its secret does."""
    secrets = _held(request)
    rows = RememberedDevice.objects.filter(
        id__in=secrets, key=recipient.key, organisation=recipient.conversation.organisation
    )
    return {row.id for row in rows if hmac.compare_digest(_hash(secrets[row.id]), bytes(row.secret_hash))}


# The cookie


def _held(request: HttpRequest) -> dict[uuid.UUID, Secret[bytes]]:
    try:
        found = cookies.opened(request, COOKIE, context=_CONTEXT) or ()
        return {uuid.UUID(device): Secret(bytes.fromhex(secret)) for device, secret in found}
    except ValueError:
        return {}


def _give(response: HttpResponseBase, held: dict[uuid.UUID, Secret[bytes]]) -> None:
    """The browser keeps it as long as any policy may; the database tells how long each of them counts."""
    if not held:
        response.delete_cookie(COOKIE, samesite="Lax")
        return
    text = cookies.closed([(device.hex, secret.reveal().hex()) for device, secret in held.items()], context=_CONTEXT)
    age = timedelta(days=LONGEST_TRUST)
    response.set_cookie(COOKIE, text, max_age=age, path="/", secure=True, httponly=True, samesite="Lax")


def _hash(secret: Secret[bytes]) -> bytes:
    return hashlib.sha256(b"zegel/device/v1/" + secret.reveal()).digest()
