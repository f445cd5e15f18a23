"""Delivery: what ended before it could be tried."""

from __future__ import annotations

from typing import Final

from zegel.core.policy.carriage import Cause
from zegel.core.policy.reasons import Why
from zegel.core.policy.wording import Wording


class Ended(Wording):
    """Why nothing was sent."""

    DESTROYED = (
        "destroyed",
        "The message expired or was revoked before it could be delivered. Send it again if it is still needed.",
        "Het bericht is verlopen of ingetrokken voordat het kon worden afgeleverd. Verstuur het opnieuw als het nog "
        "nodig is.",
    )
    REVOKED = (
        "revoked",
        "You revoked the message for this recipient before it could be delivered.",
        "U hebt het bericht voor deze ontvanger ingetrokken voordat het kon worden afgeleverd.",
    )
    TOO_LATE = (
        "too-late",
        "The mail could not be delivered in time to be of use.",
        "De mail kon niet op tijd worden afgeleverd om nog van nut te zijn.",
    )
    CAME_BACK = (
        "came-back",
        "The receiving server took the mail, and reported later that it can't be delivered. Check the address; the "
        "report says why.",
        "De ontvangende server heeft de mail aangenomen, en meldde later dat die niet kan worden bezorgd. Controleer "
        "het adres; in de melding staat waarom.",
    )
    RESTORED = (
        "restored",
        "The gateway was restored from a backup, and it is not known whether the message had reached the recipient "
        "before. Ask the recipient, or send it again.",
        "De gateway is teruggezet uit een back-up, en het is niet bekend of het bericht de ontvanger daarvoor al had "
        "bereikt. Vraag het de ontvanger, of verstuur het opnieuw.",
    )


_BY_CODE: Final[dict[str, Wording]] = {one.value: one for kind in (Cause, Why, Ended) for one in kind}


def wording_of(code: str) -> Wording | None:
    """The sentence that belongs to a stored reason; ``None`` for a code of another version."""
    return _BY_CODE.get(code)
