"""One page of the console, under the tab that it belongs to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext_lazy as _

from zegel.core.policy.roles import Capability


@dataclass(frozen=True, slots=True)
class Tab:
    """What stands at the top of each page for whoever may use it."""

    page: str  # name of its first page
    label: Any
    needs: Capability
    names: tuple[str, ...]  # templates that belong to it begin with one of these

    @property
    def address(self) -> str:
        """Name of the route."""
        return f"console:{self.page}"


TABS: Final = (
    Tab("overview", _("Messages"), Capability.TRACE, ("overview", "search", "message")),
    Tab("numbers", _("Overview"), Capability.NUMBERS, ("numbers",)),
    Tab("domains", _("Domains"), Capability.DOMAINS, ("domain",)),
    Tab("credentials", _("SMTP credentials"), Capability.SUBMISSION, ("credential",)),
    Tab("submission", _("Submission"), Capability.SUBMISSION, ("submission",)),
    Tab("recipients", _("Recipients"), Capability.POLICY, ("recipients",)),
    Tab("verification", _("Verification data"), Capability.VERIFICATION, ("verification",)),
    Tab("accounts", _("Accounts"), Capability.ACCOUNTS, ("account",)),
    Tab("programs", _("API"), Capability.PROGRAMS, ("program",)),
    Tab("webhooks", _("Webhooks"), Capability.PROGRAMS, ("webhook",)),
    Tab("sign_in", _("Signing in"), Capability.ORGANISATION, ("sign_in",)),
    Tab("look", _("Look"), Capability.POLICY, ("look",)),
    Tab("privacy", _("Privacy"), Capability.ACCOUNTS, ("privacy",)),
    Tab("audit", _("Audit log"), Capability.AUDIT, ("audit",)),
)


def tabs_of(user: Any) -> Sequence[Tab]:
    """Those that an account may use, in their order."""
    return [tab for tab in TABS if user.may(tab.needs)]


def show(
    request: HttpRequest, name: str, context: Mapping[str, object], *, status: HTTPStatus = HTTPStatus.OK
) -> HttpResponse:
    """The template of that name, with the tabs that the visitor may use."""
    current = next((tab.page for tab in TABS if name.startswith(tab.names)), "")
    more = {"section": "console", "tab": current, "tabs": tabs_of(request.user)}
    return render(request, f"console/{name}.html", {**more, **context}, status=status)
