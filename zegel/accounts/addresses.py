"""The address that the gateway itself writes from, for an organisation."""

from __future__ import annotations

from typing import Final

from zegel.accounts.models import Organisation
from zegel.core.mail.address import Domain, Mailbox

LOCAL_PART: Final = "zegel"


def own_mailbox(organisation: Organisation) -> tuple[str, Mailbox]:
    """Display name and mailbox of mail about a message: codes, answers, warnings.

    Raises ``SendingDomain.DoesNotExist`` for an organisation without a sending domain, which never accepted mail.
    """
    domain = organisation.sending_domains.order_by("-in_place", "id").first()
    if domain is None:
        raise organisation.sending_domains.model.DoesNotExist
    return organisation.name, Mailbox(LOCAL_PART, Domain(domain.name))
