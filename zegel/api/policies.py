"""What is allowed and demanded about recipients: the policy, direct-delivery domains, minimums."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any, Final, Literal, Self

from django.db import transaction
from django.http import Http404
from pydantic import Field

from zegel.accounts import policy as policies
from zegel.accounts.models import DirectDeliveryDomain, DomainMinimum, Organisation
from zegel.accounts.tokens import Scope
from zegel.api.fields import WHOLE, cant_be, domain_of
from zegel.api.operation import Call, Done, Form, Operation, Paged, Told
from zegel.api.paging import part
from zegel.api.releasing import decide_again
from zegel.api.versions import must_match, tag_of
from zegel.core.mail.address import Domain, NotADomain
from zegel.core.policy.holding import LONGEST_HOLD
from zegel.core.policy.permitting import (
    LARGEST_ANSWER,
    LONGEST_EXPIRY_DAYS,
    LONGEST_TRUST,
    LONGEST_WAIT,
    NotAPolicy,
    RecipientPolicy,
    parse_level,
    written_level,
)
from zegel.core.policy.verification import Method

MethodName = Literal["account", "sms", "access-code", "email"]
Demandable = Literal["account", "sms", "access-code", "email"]
Days = Annotated[int, Field(ge=1)]


# --- the policy --------------------------------------------------------------------------------------------------


class PolicyForm(Form):
    """The whole policy: what is left out gets the value that a new organisation has."""

    allowed_methods: list[MethodName] = Field(
        default=["account", "sms", "access-code", "email"], min_length=1, max_length=4, examples=[["account", "sms"]]
    )
    allows_transport: bool = Field(default=True, description="A message may ask for direct delivery.")
    holds: bool = Field(default=True, description="Recipients who lack what is demanded, instead of a report at once.")
    hold_days: Annotated[int, Field(ge=1, le=LONGEST_HOLD), WHOLE] = 5
    takes_inbound_direct_delivery: bool = Field(default=False, description=policies.INBOUND_WARNING)
    expires_after_days: Annotated[int, Field(ge=1, le=LONGEST_EXPIRY_DAYS), WHOLE] | None = None
    remind_after_days: Annotated[int, Field(ge=1, le=LONGEST_WAIT), WHOLE] | None = 3
    answer_megabytes: Annotated[int, Field(ge=1, le=LARGEST_ANSWER), WHOLE] | None = None
    remembers_devices_days: Annotated[int, Field(ge=1, le=LONGEST_TRUST), WHOLE] | None = None
    subject: Literal["shown", "generic", "hidden"] = "generic"


class Caution(Told):
    """What may not have been meant."""

    code: str
    en: str
    nl: str
    domain: str | None


class Policy(PolicyForm):
    """The policy in force."""

    cautions: list[Caution] = Field(description="What may not have been meant, of all rules together.")

    @classmethod
    def of(cls, organisation: Organisation) -> Self:
        """As it is now."""
        held = policies.policy_of(organisation)
        return cls(
            **{name: getattr(held, name) for name in PolicyForm.model_fields if name != "allowed_methods"},
            allowed_methods=[method.value for method in held.allowed],
            cautions=[
                Caution(code=one.caution.value, en=one.caution.en, nl=one.caution.nl, domain=one.domain)
                for one in policies.cautions_of(organisation)
            ],
        )


def got(call: Call) -> Done:
    """The one in force."""
    return _policy(call.organisation)


def put(call: Call) -> Done:
    """In its place from the next decision on."""
    asked: PolicyForm = call.body
    with transaction.atomic():
        current = Organisation.objects.select_for_update().get(pk=call.organisation.pk)
        must_match(call.request, tag_of(policies.policy_of(current)))
        values: dict[str, Any] = asked.model_dump()
        allowed = values.pop("allowed_methods")
        wanted = RecipientPolicy(allowed=tuple(method for method in Method if method.value in allowed), **values)
        try:
            is_laxer = policies.permit(current, wanted)
        except NotAPolicy as cause:
            raise cant_be("", str(cause), "GET /api/v1/policies/recipients") from None
        if is_laxer:
            decide_again(current)
    return _policy(current)


def _policy(organisation: Organisation) -> Done:
    return Done(Policy.of(organisation), tag=tag_of(policies.policy_of(organisation)))


# --- direct-delivery domains -------------------------------------------------------------------------------------


class LevelForm(Form):
    """The least that is demanded of the connection."""

    tls: Literal["tls1.2", "tls1.3"] = "tls1.2"
    auth: Literal["certificate-validation", "mta-sts", "dane"] = "certificate-validation"


class DirectDomain(LevelForm):
    """A domain that gets readable messages."""

    domain: str

    @classmethod
    def of(cls, row: DirectDeliveryDomain) -> Self:
        """As it is in force: what is stored lower is demanded as this."""
        tls, auth = written_level(policies.level_of(row)).split()
        return cls.model_validate({"domain": row.domain, "tls": tls, "auth": auth})


class DirectDomainList(Told):
    """In the order of their names; those of lists that others keep are not here."""

    items: list[DirectDomain]
    next: str | None


def domains_listed(call: Call) -> Done:
    """Those that were entered."""
    found = call.organisation.direct_delivery_domains.filter(source=None)
    rows, following = part(found, "domain", limit=call.query.limit, after=call.query.after)
    return Done(DirectDomainList(items=[DirectDomain.of(row) for row in rows], next=following))


def domain_got(call: Call) -> Done:
    """One."""
    row = policies.entered(call.organisation, _named(call))
    if row is None:
        raise Http404
    return _domain(row)


def domain_put(call: Call) -> Done:
    """On the list, at this level."""
    domain = domain_of(call.place["domain"], "domain")
    with transaction.atomic():
        current = Organisation.objects.select_for_update().get(pk=call.organisation.pk)
        known = policies.entered(current, domain)
        must_match(call.request, _domain(known).tag if known is not None else None)
        level = parse_level(f"{call.body.tls} {call.body.auth}")
        if policies.deliver_directly(current, domain, level):
            decide_again(current, domain=domain.ascii)
        row = policies.entered(current, domain)
    assert row is not None
    status = HTTPStatus.CREATED if known is None else None
    return Done(DirectDomain.of(row), tag=_domain(row).tag, status=status)


def domain_deleted(call: Call) -> Done:
    """Off the list; what a list says of it, if any, holds again."""
    with transaction.atomic():
        current = Organisation.objects.select_for_update().get(pk=call.organisation.pk)
        known = policies.entered(current, _named(call))
        if known is None:
            raise Http404
        must_match(call.request, _domain(known).tag)
        policies.deliver_directly_no_more(current, Domain(known.domain))
    return Done(None)


def _domain(row: DirectDeliveryDomain) -> Done:
    return Done(DirectDomain.of(row), tag=tag_of(row.domain, row.tls, row.authentication))


def _named(call: Call) -> Domain:
    """Raises ``Http404`` for what is no domain: nothing has that name."""
    try:
        return Domain.parse(call.place["domain"])
    except NotADomain:
        raise Http404 from None


# --- minimums ----------------------------------------------------------------------------------------------------


class MinimumForm(Form):
    """What recipients must verify with, or with something stronger."""

    method: MethodName = Field(examples=["sms"])


class Minimum(MinimumForm):
    """Of one domain, or of every other one."""

    domain: str = Field(description='A domain, or "*": all that have no line of their own.')

    @classmethod
    def of(cls, row: DomainMinimum) -> Self:
        """As it is in force."""
        return cls.model_validate({"domain": row.domain, "method": row.method})


class MinimumList(Told):
    """In the order of their domains."""

    items: list[Minimum]
    next: str | None


def minimums_listed(call: Call) -> Done:
    """All."""
    found = call.organisation.domain_minimums.all()
    rows, following = part(found, "domain", limit=call.query.limit, after=call.query.after)
    return Done(MinimumList(items=[Minimum.of(row) for row in rows], next=following))


def minimum_got(call: Call) -> Done:
    """One."""
    return _minimum(_minimum_row(call, _place(call)))


def minimum_put(call: Call) -> Done:
    """In force from the next decision on."""
    try:
        domain = _place(call)
    except Http404:
        raise cant_be("domain", "This is not a domain.", "example.org") from None
    with transaction.atomic():
        current = Organisation.objects.select_for_update().get(pk=call.organisation.pk)
        known = current.domain_minimums.filter(domain=domain).first()
        must_match(call.request, _minimum(known).tag if known is not None else None)
        _demand(current, domain, Method(call.body.method))
        row = _minimum_row(call, domain)
    return Done(Minimum.of(row), tag=_minimum(row).tag, status=HTTPStatus.CREATED if known is None else None)


def minimum_deleted(call: Call) -> Done:
    """Nothing more is demanded than elsewhere."""
    domain = _place(call)
    with transaction.atomic():
        current = Organisation.objects.select_for_update().get(pk=call.organisation.pk)
        must_match(call.request, _minimum(_minimum_row(call, domain)).tag)
        _demand(current, domain, None)
    return Done(None)


def _demand(organisation: Organisation, domain: str, minimum: Method | None) -> None:
    if policies.demand_at_least(organisation, domain, minimum):
        decide_again(organisation, domain=None if domain == DomainMinimum.EVERY_OTHER else domain)


def _minimum(row: DomainMinimum) -> Done:
    return Done(Minimum.of(row), tag=tag_of(row.domain, row.method))


def _minimum_row(call: Call, domain: str) -> DomainMinimum:
    found = call.organisation.domain_minimums.filter(domain=domain).first()
    if found is None:
        raise Http404
    return found


def _place(call: Call) -> str:
    every_other = DomainMinimum.EVERY_OTHER
    return every_other if call.place["domain"] == every_other else _named(call).ascii


# --- rows --------------------------------------------------------------------------------------------------------

_READ, _WRITE = Scope.POLICIES_READ, Scope.POLICIES_WRITE
_POLICY: Final = "policies/recipients"
_DIRECT: Final = "policies/direct-delivery"
_MINIMUMS: Final = "policies/minimums"
_MADE: Final = (HTTPStatus.CREATED,)

ROWS: Final = (
    Operation("get-policy", "GET", _POLICY, _READ, "The policy about recipients.", got, Policy, is_tagged=True),
    Operation(
        "put-policy",
        "PUT",
        _POLICY,
        _WRITE,
        "Put another policy about recipients in its place.",
        put,
        Policy,
        asks=PolicyForm,
        is_tagged=True,
        changes=True,
    ),
    Operation(
        "list-direct-delivery",
        "GET",
        _DIRECT,
        _READ,
        "Domains that get readable messages.",
        domains_listed,
        DirectDomainList,
        query=Paged,
    ),
    Operation(
        "get-direct-delivery",
        "GET",
        f"{_DIRECT}/{{domain}}",
        _READ,
        "One domain that gets readable messages.",
        domain_got,
        DirectDomain,
        is_tagged=True,
    ),
    Operation(
        "put-direct-delivery",
        "PUT",
        f"{_DIRECT}/{{domain}}",
        _WRITE,
        "Deliver readable messages to a domain, over at least this level.",
        domain_put,
        DirectDomain,
        asks=LevelForm,
        also=_MADE,
        is_tagged=True,
        changes=True,
    ),
    Operation(
        "delete-direct-delivery",
        "DELETE",
        f"{_DIRECT}/{{domain}}",
        _WRITE,
        "Deliver no readable messages to a domain any more.",
        domain_deleted,
        None,
        status=HTTPStatus.NO_CONTENT,
        changes=True,
    ),
    Operation(
        "list-minimums",
        "GET",
        _MINIMUMS,
        _READ,
        "What recipients must verify with at least.",
        minimums_listed,
        MinimumList,
        query=Paged,
    ),
    Operation(
        "get-minimum",
        "GET",
        f"{_MINIMUMS}/{{domain}}",
        _READ,
        "What recipients of one domain must verify with at least.",
        minimum_got,
        Minimum,
        is_tagged=True,
    ),
    Operation(
        "put-minimum",
        "PUT",
        f"{_MINIMUMS}/{{domain}}",
        _WRITE,
        "Demand a method, or a stronger one, of recipients of a domain.",
        minimum_put,
        Minimum,
        asks=MinimumForm,
        also=_MADE,
        is_tagged=True,
        changes=True,
    ),
    Operation(
        "delete-minimum",
        "DELETE",
        f"{_MINIMUMS}/{{domain}}",
        _WRITE,
        "Demand nothing more of recipients of a domain.",
        minimum_deleted,
        None,
        status=HTTPStatus.NO_CONTENT,
        changes=True,
    ),
)
