"""Fields and constraints of who may act. Rules are in :mod:`zegel.core`."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.db import models
from django.utils.translation import gettext_lazy as _

from zegel.core.mail.address import Mailbox
from zegel.core.mail.compose import writable
from zegel.core.policy.roles import Capability, Role, may


class _Capped(models.Model):
    """The most that may be submitted (core.policy.submitting.Caps); null: no limit."""

    messages_per_hour = models.PositiveIntegerField(null=True, blank=True, default=None)
    messages_per_day = models.PositiveIntegerField(null=True, blank=True, default=None)
    recipients_per_hour = models.PositiveIntegerField(null=True, blank=True, default=None)
    recipients_per_day = models.PositiveIntegerField(null=True, blank=True, default=None)

    class Meta:
        abstract = True


class Organisation(_Capped):
    """A customer: a hospital, a municipality, a law firm."""

    class Authentication(models.TextChoices):
        """What proves that a client may submit (D-8)."""

        CREDENTIALS = "credentials", _("SMTP credentials")
        EITHER = "either", _("SMTP credentials or SPF")
        BOTH = "both", _("SMTP credentials and SPF")

    class Subject(models.TextChoices):
        """How much of a subject a notification shows."""

        SHOWN = "shown", _("the subject of the message")
        GENERIC = "generic", _("a general one, with the name of the sender")
        HIDDEN = "hidden", _("a general one, without any name")

    name = models.CharField(max_length=200)
    language = models.CharField(max_length=5, default="nl")
    region = models.CharField(max_length=2, default="NL")  # for telephone numbers in national format
    texts_per_hour = models.PositiveIntegerField(null=True, blank=True, default=None)  # core.policy.texts.TextCaps
    texts_per_day = models.PositiveIntegerField(null=True, blank=True, default=None)
    texts_per_month = models.PositiveIntegerField(null=True, blank=True, default=None)
    text_currency = models.CharField(max_length=3, default="EUR")  # core.policy.texts.TextMoney
    text_price = models.PositiveIntegerField(default=0)  # cents
    text_prices = models.JSONField(default=list)  # pairs: where numbers begin, cents
    text_cents_per_month = models.PositiveIntegerField(null=True, blank=True, default=None)
    text_countries = models.JSONField(default=list)  # such as "NL"; none: wherever the gateway sends to
    allows_transport = models.BooleanField(default=True)  # a message may ask for direct delivery (row 4)
    allowed_methods = models.JSONField(null=True, default=None)  # list of Method values; null: all
    holds = models.BooleanField(default=True)  # D-6: hold a recipient who lacks required data, or bounce
    hold_days = models.PositiveSmallIntegerField(default=5)  # and bounce after so many
    takes_inbound_direct_delivery = models.BooleanField(default=False)
    subject = models.CharField(max_length=10, choices=Subject.choices, default=Subject.GENERIC)
    expires_after_days = models.PositiveIntegerField(null=True, default=None)  # default expiry of conversations
    remind_after_days = models.PositiveSmallIntegerField(null=True, default=3)  # of what was not opened; null: never
    answer_megabytes = models.PositiveSmallIntegerField(  # most of a file in an answer; null: as the gateway allows
        null=True, default=None
    )
    remembers_devices_days = models.PositiveSmallIntegerField(null=True, default=None)  # of guests; null: never
    authentication = models.CharField(max_length=12, choices=Authentication.choices, default=Authentication.CREDENTIALS)
    spf_networks = models.JSONField(default=list)  # SPF submission from these only (CIDR); empty: from anywhere
    spf_needs_dkim = models.BooleanField(default=False)  # and only with an aligned DKIM signature
    audit_days = models.PositiveIntegerField(null=True, default=None)  # entries of its audit log are kept; null: always
    trace_days = models.PositiveIntegerField(  # traces are kept after the end of a message; null: always (ADR 46)
        null=True, default=400
    )
    traces_untold = models.PositiveIntegerField(default=0)  # that were removed, and the audit log does not say so yet
    alarm_addresses = models.JSONField(null=True, default=None)  # list; null: its administrators
    accent = models.CharField(max_length=7, blank=True, default="")  # "#0f5666"; empty: the style sheet's own
    logo_name = models.CharField(max_length=64, blank=True, default="")  # OrganisationLogo.name, or empty
    own_texts = models.JSONField(default=dict)  # core.own_texts.kept
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.name

    def save(self, *args: Any, **kwargs: Any) -> None:
        """The name can stand in a mail, whoever changes it."""
        self.name = writable(self.name)
        super().save(*args, **kwargs)


class OrganisationLogo(models.Model):
    """An organisation's logo, as pages show it; apart, so that who reads an organisation doesn't read it too."""

    organisation = models.OneToOneField(Organisation, models.CASCADE, related_name="logo")
    name = models.CharField(max_length=64, db_index=True)  # core.look.Logo.name
    octets = models.BinaryField()

    def __str__(self) -> str:
        return self.name


class DirectDeliveryList(models.Model):
    """A list of domains that somebody else keeps: read from a file once, or from a URL again and again."""

    organisation = models.ForeignKey(Organisation, models.CASCADE, related_name="direct_delivery_lists")
    name = models.CharField(max_length=200)
    url = models.CharField(max_length=1000, blank=True)  # https; empty: a file, which is not refreshed
    tls = models.PositiveSmallIntegerField(default=12)  # of lines that name no level
    authentication = models.PositiveSmallIntegerField(default=1)
    created_at = models.DateTimeField(auto_now_add=True)
    tried_at = models.DateTimeField(null=True, default=None)
    read_at = models.DateTimeField(null=True, default=None)  # last understood; too long ago, and the list lapses
    validator = models.CharField(max_length=300, blank=True)  # ETag (RFC 9110 §8.8.3) of what was read
    problem = models.CharField(max_length=300, blank=True)  # of the last try

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=("organisation", "name"), name="one_list_of_name")]

    def __str__(self) -> str:
        return self.name


class DirectDeliveryDomain(models.Model):
    """A recipient domain that the organisation delivers to readable, over at least this transport (row 4)."""

    organisation = models.ForeignKey(Organisation, models.CASCADE, related_name="direct_delivery_domains")
    source = models.ForeignKey(  # null: entered by an administrator, which goes before every list
        DirectDeliveryList, models.CASCADE, null=True, default=None, related_name="domains"
    )
    domain = models.CharField(max_length=255)  # A-labels
    tls = models.PositiveSmallIntegerField(default=12)  # core.policy.transport.Tls
    authentication = models.PositiveSmallIntegerField(default=1)  # core.policy.transport.Authentication

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=("organisation", "domain"), condition=models.Q(source=None), name="one_own_entry"
            ),
            models.UniqueConstraint(fields=("source", "domain"), name="one_entry_of_list"),
        ]
        indexes: ClassVar = [models.Index(fields=("organisation", "domain"), name="direct_delivery_to")]

    def __str__(self) -> str:
        return self.domain


class DomainMinimum(models.Model):
    """The least that recipients of a domain must verify with; nothing is delivered to them readable (D-6)."""

    EVERY_OTHER: ClassVar = "*"  # in the place of a domain: all that have no line of their own

    organisation = models.ForeignKey(Organisation, models.CASCADE, related_name="domain_minimums")
    domain = models.CharField(max_length=255)  # A-labels
    method = models.CharField(max_length=16)  # core.policy.verification.Method: it, or a stronger one

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=("organisation", "domain"), name="one_minimum")]

    def __str__(self) -> str:
        return f"{self.domain}: {self.method}"


class SendingDomain(models.Model):
    """A domain that the organisation sends for through this gateway, once its DNS settings are in place.

    Until then it is a claim, which keeps nobody else from the domain (ADR 41).
    """

    organisation = models.ForeignKey(Organisation, models.CASCADE, related_name="sending_domains")
    name = models.CharField(max_length=255, db_index=True)  # A-labels
    added_at = models.DateTimeField(null=True, default=None)  # null: before this was kept
    ownership_token = models.CharField(max_length=64)
    dkim_selector = models.CharField(max_length=63, default="zegel")
    dkim_key = models.BinaryField()  # wrapped to the gateway
    dkim_record = models.TextField()  # what the TXT record must say
    ed25519_selector = models.CharField(max_length=63, default="zegel-ed25519")
    ed25519_key = models.BinaryField(null=True)  # likewise; None for a domain that is older than this and not checked
    ed25519_record = models.TextField(default="")
    ed25519_published = models.BooleanField(default=False)  # signed with as well while the last look found the record
    checked_at = models.DateTimeField(null=True)  # the last check that was conclusive
    in_place = models.BooleanField(default=False)  # as of that check
    missing_since = models.DateTimeField(null=True)
    misses = models.PositiveIntegerField(default=0)  # checks in a row that missed something needed
    proved_at = models.DateTimeField(null=True, default=None)  # when it was first in place
    findings = models.JSONField(default=list)  # of that check, per record: what, expected, found
    tried_at = models.DateTimeField(null=True, default=None)  # the last check, conclusive or not
    not_known = models.JSONField(default=list)  # purposes of the records about which that one gave no answer
    due_at = models.DateTimeField(null=True, default=None, db_index=True)  # of the next check; null: at once
    told = models.CharField(max_length=10, blank=True, default="")  # core.policy.sending_domain.Word

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=("organisation", "name"), name="one_claim"),
            models.UniqueConstraint(fields=("name",), condition=models.Q(in_place=True), name="one_holder"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def is_held_elsewhere(self) -> bool:
        """All of its records were right, and it can't send: another organisation has the domain in place."""
        return self.checked_at is not None and not self.in_place and self.missing_since is None

    @property
    def return_path_host(self) -> str:
        """The CNAME that gives SPF alignment and brings bounces home."""
        return f"zegel-bounce.{self.name}"


class DkimPair(models.Model):
    """A pair of DKIM keys of a sending domain beside the one in use: the next one, or the previous one."""

    class Stage(models.TextChoices):
        """Whether its time comes or is over."""

        NEXT = "next"
        PREVIOUS = "previous"

    domain = models.ForeignKey(SendingDomain, models.CASCADE, related_name="dkim_pairs", db_index=False)
    stage = models.CharField(max_length=8, choices=Stage.choices)
    selector = models.CharField(max_length=63)
    key = models.BinaryField()  # wrapped as SendingDomain.dkim_key
    record = models.TextField()
    ed25519_selector = models.CharField(max_length=63)
    ed25519_key = models.BinaryField(null=True)
    ed25519_record = models.TextField(default="")
    at = models.DateTimeField()  # when it was made, or when mail was last signed with it

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=("domain", "stage"), name="one_pair_of_stage")]

    def __str__(self) -> str:
        return self.selector


class AccountManager(BaseUserManager["Account"]):
    """Makes accounts whose address was parsed first."""

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> Account:
        """Raises ``NotAMailbox``; without a password nobody can sign in until one is set."""
        mailbox = Mailbox.parse(email)
        account = self.model(email=str(mailbox), key=mailbox.key, **fields)
        account.set_password(password)
        account.save(using=self._db)
        return account

    def get_by_natural_key(self, username: str | None) -> Account:
        return self.get(email__iexact=username)


class Account(AbstractBaseUser):
    """A person or functional mailbox that may send through, sign in to or administer Zegel."""

    organisation = models.ForeignKey(Organisation, models.CASCADE, null=True, related_name="accounts")
    email = models.EmailField(max_length=254, unique=True)
    key = models.CharField(max_length=254, unique=True)  # Mailbox.key
    display_name = models.CharField(max_length=200, blank=True)
    language = models.CharField(max_length=5, blank=True)
    is_active = models.BooleanField(default=True)
    wants_reminders = models.BooleanField(default=True)  # of messages that it did not open
    is_functional = models.BooleanField(default=False)  # nobody signs in to it; its readers do, each to their own
    role = models.CharField(max_length=16, default=Role.SENDER.value)  # core.policy.roles.Role, in its organisation
    created_at = models.DateTimeField(auto_now_add=True)

    objects: ClassVar[AccountManager] = AccountManager()
    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    def __str__(self) -> str:
        return self.email

    def save(self, *args: Any, **kwargs: Any) -> None:
        """The key follows the address, and the name can stand in a mail, whoever changes them."""
        self.key, self.display_name = Mailbox.parse(self.email).key, writable(self.display_name)
        super().save(*args, **kwargs)

    def may(self, capability: Capability) -> bool:
        """For its organisation; a guest has none."""
        return self.organisation_id is not None and may(Role(self.role), capability)

    @property
    def administers(self) -> frozenset[str]:
        """All that it may do, by name, for the pages that show it."""
        return frozenset(one.value for one in Capability if self.may(one))

    @property
    def mailbox(self) -> Mailbox:
        """The address as a value."""
        return Mailbox.parse(self.email)


class SmtpCredential(_Capped):
    """A name and secret with which a mail server submits for an organisation. The secret is shown once.

    While it is rotated two secrets are valid: the current one and the previous one.
    """

    organisation = models.ForeignKey(Organisation, models.CASCADE, related_name="smtp_credentials")
    description = models.CharField(max_length=200)
    username = models.CharField(max_length=64, unique=True)
    secret_hash = models.BinaryField()  # SHA-256 of a 256-bit secret; nothing to guess, so nothing to slow down
    previous_hash = models.BinaryField(null=True, default=None)
    networks = models.JSONField(default=list)  # may sign in from these only (CIDR); empty: from anywhere
    authors = models.JSONField(default=list)  # From addresses (Mailbox.key) and domains; empty: all of the organisation
    created_at = models.DateTimeField(auto_now_add=True)
    disabled_at = models.DateTimeField(null=True, default=None)
    last_used_at = models.DateTimeField(null=True, default=None)
    rotated_at = models.DateTimeField(null=True, default=None)  # when the current secret was made, if not at the start
    previous_used_at = models.DateTimeField(null=True, default=None)  # the previous secret, since the rotation
    texts_per_day = models.PositiveIntegerField(null=True, blank=True, default=None)  # that its messages cause
    texts_per_month = models.PositiveIntegerField(null=True, blank=True, default=None)

    def __str__(self) -> str:
        return self.username


class ApiToken(models.Model):
    """What a program shows to use the API for an organisation, or for one account. The secret is shown once."""

    organisation = models.ForeignKey(Organisation, models.CASCADE, null=True, related_name="api_tokens")
    account = models.ForeignKey(  # whose messages it reads (D-10); null: it is the organisation's
        Account, models.CASCADE, null=True, default=None, related_name="api_tokens"
    )
    made_by = models.ForeignKey(  # who made it in the console; null: the user of the machine, or it is not known
        Account, models.SET_NULL, null=True, default=None, related_name="tokens_made"
    )
    description = models.CharField(max_length=200)
    name = models.CharField(max_length=32, unique=True)  # the half of the token that may be shown
    secret_hash = models.BinaryField()  # SHA-256 of a 256-bit secret; nothing to guess, so nothing to slow down
    scopes = models.JSONField(default=list)  # accounts.tokens.Scope values
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    disabled_at = models.DateTimeField(null=True, default=None)
    last_used_at = models.DateTimeField(null=True, default=None)

    def __str__(self) -> str:
        return self.name


class ApiAnswer(models.Model):
    """What a request with an Idempotency-Key was answered, for as long as it may be asked again (ADR 39)."""

    id = models.UUIDField(primary_key=True, editable=False)
    token = models.ForeignKey(ApiToken, models.CASCADE, related_name="answers", db_index=False)
    key = models.BinaryField()  # a keyed hash of what the program chose
    request = models.BinaryField()  # a keyed hash of what was asked
    sealed = models.BinaryField()  # wrapped: the answer, in which a secret may stand that is shown once
    created_at = models.DateTimeField(db_index=True)

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=("token", "key"), name="one_answer_of_key")]

    def __str__(self) -> str:
        return str(self.id)


class IdentityProvider(models.Model):
    """Where an organisation's people sign in, and what is believed of it (ADR 42)."""

    id = models.UUIDField(primary_key=True, editable=False)
    organisation = models.ForeignKey(Organisation, models.CASCADE, related_name="identity_providers")
    kind = models.CharField(max_length=8)  # core.policy.identity.Kind
    name = models.CharField(max_length=100)
    issuer = models.CharField(max_length=1000)  # of OpenID Connect: its URL; of SAML: its entity ID
    client_id = models.CharField(max_length=255, blank=True, default="")
    secret = models.BinaryField(null=True, default=None)  # enclosed: accounts.providers.secret_of
    description = models.JSONField(default=dict)  # OpenID Provider Metadata, or what SAML metadata says that is used
    described_at = models.DateTimeField()
    domains = models.JSONField(default=list)  # A-labels; those count that are sending domains in place
    is_required = models.BooleanField(default=False)  # no password signs in to accounts of these domains; owners' do
    makes_accounts = models.BooleanField(default=False)
    factor_contexts = models.JSONField(default=list)  # acr, amr or AuthnContextClassRef values that mean two factors
    created_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True, default=None)

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=("organisation", "name"), name="one_provider_of_name")]

    def __str__(self) -> str:
        return self.name


class Provisioned(models.Model):
    """What a directory that keeps accounts by SCIM says of one, beyond what an account has (ADR 43)."""

    account = models.OneToOneField(Account, models.CASCADE, primary_key=True, related_name="provisioned")
    external_id = models.CharField(max_length=255, blank=True, default="", db_index=True)
    given_name = models.CharField(max_length=200, blank=True, default="")
    family_name = models.CharField(max_length=200, blank=True, default="")
    is_hidden = models.BooleanField(default=False)  # deleted by the directory: suspended, and not shown to it any more
    changed_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.external_id


class Webhook(models.Model):
    """A program's web address that hears of an organisation's milestones and alarms (ADR 44)."""

    id = models.UUIDField(primary_key=True, editable=False)
    organisation = models.ForeignKey(Organisation, models.CASCADE, related_name="webhooks")
    description = models.CharField(max_length=200)
    url = models.CharField(max_length=1000)  # https
    events = models.JSONField(default=list)  # core.policy.webhooks.Event values
    secret = models.BinaryField()  # wrapped: accounts.webhooks.context_of
    previous_secret = models.BinaryField(null=True, default=None)  # likewise; requests are signed with both
    created_at = models.DateTimeField()
    renewed_at = models.DateTimeField(null=True, default=None)  # when the current secret was made, if not at the start
    disabled_at = models.DateTimeField(null=True, default=None)
    is_gone = models.BooleanField(default=False)  # its server said so, which disabled it

    def __str__(self) -> str:
        return self.description


class RememberedDevice(models.Model):
    """A browser on which a guest need not enter a code again, for messages of one organisation (ADR 35)."""

    id = models.UUIDField(primary_key=True, editable=False)
    organisation = models.ForeignKey(Organisation, models.CASCADE, related_name="remembered_devices", db_index=False)
    key = models.CharField(max_length=254)  # Mailbox.key of the recipient
    method = models.CharField(max_length=16)  # core.policy.verification.Method that was passed
    sealed = models.BinaryField(null=True)  # wrapped: the number, where a text message proved it
    needs_tls = models.PositiveSmallIntegerField(default=0)  # level that a mail with its code had to travel at
    needs_authentication = models.PositiveSmallIntegerField(default=0)
    secret_hash = models.BinaryField()  # SHA-256 of a 256-bit secret; the browser has it
    browser = models.CharField(max_length=40)  # roughly, for its owner to recognise
    created_at = models.DateTimeField()
    used_at = models.DateTimeField()
    expires_at = models.DateTimeField(db_index=True)

    class Meta:
        indexes: ClassVar = [models.Index(fields=("organisation", "key"), name="devices_of_guest")]

    def __str__(self) -> str:
        return self.browser


class MailboxReader(models.Model):
    """Somebody who reads and answers as a functional mailbox of the same organisation, such as info@example.org."""

    mailbox = models.ForeignKey(Account, models.CASCADE, related_name="readers", db_index=False)
    reader = models.ForeignKey(Account, models.CASCADE, related_name="mailboxes")
    is_successor = models.BooleanField(default=False)  # the mailbox was passed on: read even though it is suspended
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=("mailbox", "reader"), name="reader_once")]

    def __str__(self) -> str:
        return f"{self.reader}: {self.mailbox}"


class AccountSession(models.Model):
    """Where an account is signed in, for its owner to recognise and end. What the session holds is sealed elsewhere."""

    session = models.CharField(max_length=40, primary_key=True)  # name of the row: zegel.web.sessions.name_of
    account = models.ForeignKey(Account, models.CASCADE, related_name="sessions")
    browser = models.CharField(max_length=40, blank=True)  # roughly
    started_at = models.DateTimeField()
    seen_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.browser


class MailboxProof(models.Model):
    """Somebody says that a mailbox is theirs; a code that is sent to it will tell. Answered in the session that asked.

    Rows are equal for addresses that have an account and those that have none (P14).
    """

    id = models.UUIDField(primary_key=True, editable=False)
    address = models.CharField(max_length=254)  # as it was typed; nothing is ever sent to that
    key = models.CharField(max_length=254)  # Mailbox.key
    purpose = models.CharField(max_length=8)  # core.policy.joining.Purpose
    language = models.CharField(max_length=5)
    place = models.BinaryField()  # keyed hash of the network, or the known browser, that asked
    by_known_browser = models.BooleanField(default=False)  # both factors of the account were given in it before
    mailed_to = models.CharField(max_length=254, blank=True, default="")  # as it was on record; what a code proves
    code = models.BinaryField(null=True)  # keyed MAC; null: none was sent
    told = models.CharField(max_length=16, blank=True)  # core.policy.joining.Told; empty: no mail went out
    created_at = models.DateTimeField(db_index=True)
    tries = models.PositiveSmallIntegerField(default=0)
    passed_at = models.DateTimeField(null=True)
    used_at = models.DateTimeField(null=True)

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=("key", "created_at"), name="mailbox_proofs_of"),
            models.Index(fields=("place", "created_at"), name="mailbox_proofs_from"),
        ]

    def __str__(self) -> str:
        return self.purpose


class Usage(models.Model):
    """How much was accepted in one hour of the clock, for an organisation and for each of its credentials."""

    class Whose(models.IntegerChoices):
        """What ``number`` is the id of."""

        ORGANISATION = 0
        CREDENTIAL = 1

    whose = models.PositiveSmallIntegerField(choices=Whose.choices)
    number = models.BigIntegerField()
    hour = models.PositiveIntegerField(db_index=True)  # hours since 1970
    messages = models.PositiveIntegerField(default=0)
    recipients = models.PositiveIntegerField(default=0)
    texts = models.PositiveIntegerField(default=0, db_default=0)  # messages that were asked for
    refused = models.PositiveIntegerField(default=0, db_default=0)  # messages that would have broken a cap
    cents = models.PositiveBigIntegerField(default=0, db_default=0)  # what these cost

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=("whose", "number", "hour"), name="usage_once")]


class SignInFailure(models.Model):
    """Wrong passwords, or wrong codes, since the last right one: of one account or address, from one place.

    Both are keyed hashes: the table tells nobody which addresses were typed, or where.
    """

    whose = models.BinaryField()
    place = models.BinaryField()  # a network, a known browser, or all unknown places together
    failures = models.PositiveIntegerField(default=0)
    last_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=("whose", "place"), name="failures_once")]


class AuditEntry(models.Model):
    """Who did what to what, and when: core.policy.audit.Entry. Written once, never changed."""

    organisation = models.ForeignKey(  # null: the gateway's own
        Organisation, models.CASCADE, null=True, related_name="audit_entries"
    )
    chain = models.PositiveBigIntegerField()  # the organisation's number; 0: the gateway's own
    number = models.PositiveBigIntegerField()
    at = models.DateTimeField()
    by_kind = models.CharField(max_length=16)
    by = models.CharField(max_length=254)
    act = models.CharField(max_length=32)
    about = models.CharField(max_length=300)
    details = models.JSONField(default=dict)
    previous = models.CharField(max_length=64)
    hash = models.CharField(max_length=64)

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=("chain", "number"), name="one_chain")]

    def __str__(self) -> str:
        return f"{self.number}: {self.act}"
