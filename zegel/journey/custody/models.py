"""What is kept of a message: sealed content, and the metadata without which nobody can be served.

Addresses, Message-IDs and times are metadata. Subjects, names of attachments, numbers, codes and content are
sealed; fields that hold sealed octets say how: *wrapped* (to the gateway), *enclosed* (under another key).
"""

from __future__ import annotations

from typing import ClassVar, Final

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from zegel.accounts.models import Account, ApiToken, Organisation, RememberedDevice, SmtpCredential, Webhook
from zegel.core.clock import Instant
from zegel.edge.chance import identifier


class _Row(models.Model):
    id = models.UUIDField(primary_key=True, default=identifier, editable=False)

    class Meta:
        abstract = True


class Content(_Row):
    """The octets of one message, sealed as a stream under its message key; written before the 250, never changed."""

    size = models.BigIntegerField()  # octets of content
    header_size = models.IntegerField()  # of which header section with its empty line
    sealed = models.BinaryField(null=True)  # small content; else it is a blob named after the id
    head = models.BinaryField()  # enclosed under the message key: core.mail.head; empty: made from small content
    created_at = models.DateTimeField()


class Submission(_Row):
    """One accepted SMTP transaction: its envelope, and what a report about it needs."""

    organisation = models.ForeignKey(Organisation, models.CASCADE, db_index=False)  # submission_by_time has it
    account = models.ForeignKey(Account, models.PROTECT, db_index=False)
    credential = models.ForeignKey(SmtpCredential, models.SET_NULL, null=True, db_index=False)
    token = models.ForeignKey(ApiToken, models.SET_NULL, null=True, db_index=False)  # both null: by SPF
    reverse_path = models.CharField(max_length=254, blank=True)  # empty: the null reverse-path
    envelope_id = models.CharField(max_length=100, blank=True)  # RFC 3461 §4.4, ENVID
    requires_tls = models.BooleanField(default=False)  # REQUIRETLS (RFC 8689)
    message_id = models.CharField(max_length=998, db_index=True)
    identity = models.BinaryField()  # D-4: keyed MAC over what makes it the same message
    directives = models.BinaryField()  # wrapped: what the control fields asked
    source = models.CharField(max_length=64)  # client address
    tls = models.CharField(max_length=100)
    accepted_at = models.DateTimeField()
    references = models.TextField(blank=True, db_default="")  # Message-IDs of what it answers, newest last (D-5)
    warned_at = models.DateTimeField(null=True)  # the author heard of what is odd about its control fields

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=("identity",), name="submission_by_identity"),
            models.Index(fields=("organisation", "accepted_at"), name="submission_by_time"),
        ]


class Conversation(_Row):
    """What readers share: all To and Cc recipients of a submission together, each Bcc recipient alone."""

    organisation = models.ForeignKey(Organisation, models.CASCADE, db_index=False)
    author = models.ForeignKey(Account, models.PROTECT, db_index=False)  # conversation_by_author begins with it
    submission = models.ForeignKey(Submission, models.CASCADE, related_name="conversations")
    is_blind = models.BooleanField(default=False)  # of one Bcc recipient
    gateway_slot = models.BinaryField(null=True)  # wrapped conversation key; null: destroyed
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(null=True)
    destroyed_at = models.DateTimeField(null=True)
    continues = models.ForeignKey(  # D-5: an earlier one, which its submission's References name
        "self", models.SET_NULL, null=True, related_name="continued_by"
    )

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=("author", "submission"), name="conversation_by_author"),
            models.Index(
                fields=("organisation", "destroyed_at", "id"),
                condition=Q(destroyed_at__isnull=False),
                name="conversation_ended",
            ),
        ]

    def is_open(self, now: Instant) -> bool:
        """It did not expire, also where the destruction is still to come, and its keys were not destroyed."""
        return self.destroyed_at is None and (self.expires_at is None or now < self.expires_at)


class Message(_Row):
    """A message in a conversation: the one submitted, or an answer."""

    conversation = models.ForeignKey(Conversation, models.CASCADE, related_name="messages")
    content = models.ForeignKey(Content, models.PROTECT)
    key = models.BinaryField(null=True)  # message key, enclosed under the conversation key; null: destroyed
    answered_by = models.ForeignKey(  # null: the author
        "Recipient", models.CASCADE, null=True, related_name="answers", db_index=False
    )
    created_at = models.DateTimeField()

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=("answered_by",), condition=Q(answered_by__isnull=False), name="message_that_answers")
        ]


class Recipient(_Row):
    """One mailbox in a conversation, and how far its message has come."""

    class State(models.TextChoices):
        """Where a recipient is; the last three are final (P7)."""

        ACCEPTED = "accepted"  # awaits the decision
        DECIDED = "decided"  # awaits delivery of the step it stands at
        HELD = "held"  # lacks what policy demands (D-6)
        NOTIFIED = "notified"  # the receiving server took the notification
        DELIVERED = "delivered"  # the receiving server took the readable message
        OPENED = "opened"  # read after verification
        UNDELIVERABLE = "undeliverable"  # the sender was told

    conversation = models.ForeignKey(  # recipient_once begins with it
        Conversation, models.CASCADE, related_name="recipients", db_index=False
    )
    submission = models.ForeignKey(Submission, models.CASCADE, related_name="recipients")
    address = models.CharField(max_length=254)
    key = models.CharField(max_length=254)  # Mailbox.key
    notify = models.CharField(max_length=40, blank=True)  # RFC 3461 §4.1, NOTIFY: comma-separated; empty: not given
    original = models.CharField(max_length=500, blank=True)  # RFC 3461 §4.2, ORCPT as given
    state = models.CharField(max_length=16, choices=State.choices, default=State.ACCEPTED)
    plan = models.JSONField(null=True)  # core.policy.precedence.plan_to_json
    step = models.PositiveSmallIntegerField(default=0)  # index in the plan
    method = models.CharField(max_length=16, blank=True)  # core.policy.verification.Method that opens it
    masked = models.CharField(max_length=40, blank=True)  # "+31 6 ****5678"
    code_needs_tls = models.PositiveSmallIntegerField(default=0)  # level that a mail with a code must travel at
    code_needs_authentication = models.PositiveSmallIntegerField(default=0)
    status = models.CharField(max_length=12, blank=True)  # RFC 3463 §2, when undeliverable
    reason = models.CharField(max_length=300, blank=True)  # for sender and administrator; no content, no codes
    decided_at = models.DateTimeField(null=True)
    delivered_at = models.DateTimeField(null=True)
    opened_at = models.DateTimeField(null=True)
    opened_with = models.CharField(max_length=16, blank=True)
    told_at = models.DateTimeField(null=True)  # the sender heard last that the recipient is held (D-6)
    revoked_at = models.DateTimeField(null=True)  # the sender took the message back from this recipient

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=("conversation", "key"), name="recipient_once")]
        indexes: ClassVar = [
            models.Index(fields=("key", "submission"), name="recipient_by_key"),
            models.Index(fields=("submission",), condition=Q(state="undeliverable"), name="recipient_undeliverable"),
        ]

    @property
    def verification(self) -> bytes | None:
        """What the recipient proves itself with, wrapped; ``None``: nothing of the kind, or it was destroyed."""
        row = SealedVerification.objects.filter(recipient=self.id).first()
        return bytes(row.sealed) if row is not None else None


# The next two are inserted once and deleted, never changed: SQLite moves rows that grow, and may leave a part of the
# old one in the gap of a page, which no secure_delete overwrites.


class SealedVerification(models.Model):
    """What a recipient proves itself with: wrapped, a number, or an access code and its hint."""

    recipient = models.OneToOneField(Recipient, models.CASCADE, primary_key=True, related_name="+")
    sealed = models.BinaryField()


class Link(_Row):
    """A way in for one recipient: the mail has its secret. Older ones stay good beside newer ones."""

    recipient = models.ForeignKey(Recipient, models.CASCADE, related_name="links")
    hash = models.BinaryField(unique=True)
    share = models.BinaryField()  # wrapped: the server's half
    slot = models.BinaryField()  # conversation key, closed with both halves
    created_at = models.DateTimeField()


class Draft(_Row):
    """A text that a reader began, enclosed under the conversation key. Written once: a later one takes its place."""

    conversation = models.ForeignKey(Conversation, models.CASCADE, related_name="drafts")
    recipient = models.ForeignKey(Recipient, models.CASCADE, null=True, db_index=False)  # whose; null: the author's
    sealed = models.BinaryField()
    saved_at = models.DateTimeField(db_index=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=("recipient",), condition=Q(recipient__isnull=False), name="one_draft_of_recipient"
            ),
            models.UniqueConstraint(
                fields=("conversation",), condition=Q(recipient__isnull=True), name="one_draft_of_author"
            ),
        ]


class VerificationData(_Row):
    """What is known to verify a recipient with in later messages (rows 5 and 6): of one sender, or of all.

    It gets here when a recipient opens a message with it, or when somebody of the organisation supplies it.
    """

    class Origin(models.TextChoices):
        """Where it came from."""

        MESSAGE = "message", _("a message that was opened")
        SENDER = "sender", _("the sender")
        ADMINISTRATOR = "administrator", _("an administrator")
        IMPORT = "import", _("an import")

    organisation = models.ForeignKey(Organisation, models.CASCADE, db_index=False)
    account = models.ForeignKey(Account, models.CASCADE, null=True)  # whose; null: of the whole organisation
    address = models.CharField(max_length=254)  # of the recipient
    key = models.CharField(max_length=254)  # Mailbox.key
    method = models.CharField(max_length=16)  # core.policy.verification.Method: sms or access-code
    sealed = models.BinaryField()  # wrapped: number, or access code and hint
    masked = models.CharField(max_length=40, blank=True)  # "+31 6 ****5678"
    origin = models.CharField(max_length=16, choices=Origin.choices)
    created_at = models.DateTimeField()  # since when it has this value
    confirmed_at = models.DateTimeField(null=True)  # last opened with; null: supplied, and not used yet

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=("organisation", "key", "method", "account"),
                condition=Q(account__isnull=False),
                name="verification_of_sender",
            ),
            models.UniqueConstraint(
                fields=("organisation", "key", "method"),
                condition=Q(account__isnull=True),
                name="verification_of_all",
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=("key", "organisation"), name="verification_known"),
            models.Index(fields=("organisation", "id"), name="verification_by_time"),
            models.Index(fields=("organisation", "key", "id"), name="verification_by_key"),
        ]


class VerificationImport(_Row):
    """A file of verification data: judged, and imported once somebody says so. What became of it; nothing of what
    stands in it but addresses."""

    class State(models.TextChoices):
        """How far it is; the last four are final."""

        JUDGING = "judging"
        READY = "ready"  # judged; nothing is changed yet
        IMPORTING = "importing"
        DONE = "done"
        CANCELLED = "cancelled"
        LAPSED = "lapsed"  # nobody said so in time
        REFUSED = "refused"  # nothing of it can be judged, or the rest of it not be read any more

    organisation = models.ForeignKey(Organisation, models.CASCADE, db_index=False)
    account = models.ForeignKey(Account, models.SET_NULL, null=True)  # who brought it
    state = models.CharField(max_length=10, choices=State.choices, default=State.JUDGING)
    fault = models.CharField(max_length=16, blank=True)  # core.policy.verification_import.FileFault
    created_at = models.DateTimeField()
    judged_at = models.DateTimeField(null=True)  # when that began, for the last time
    confirmed_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    by_kind = models.CharField(max_length=16, blank=True)  # who confirmed it, as the audit log says
    by = models.CharField(max_length=300, blank=True)
    region = models.CharField(max_length=2)  # whose national numbers were understood
    size = models.BigIntegerField()  # octets
    sha256 = models.CharField(max_length=64)
    layout = models.JSONField()  # core.policy.verification_import.Layout
    verdicts = models.BinaryField(null=True)  # an octet for each row: core.policy.verification_import.Effects, or BAD
    octet = models.BigIntegerField(default=0)  # where the next row begins
    line = models.PositiveIntegerField(default=1)
    rows = models.PositiveIntegerField(default=0)  # that were read
    bad = models.PositiveIntegerField(default=0)
    to_add = models.PositiveIntegerField(default=0)  # rows, judged
    to_change = models.PositiveIntegerField(default=0)
    same = models.PositiveIntegerField(default=0)  # rows that change nothing
    added = models.PositiveIntegerField(default=0)  # rows, imported
    changed = models.PositiveIntegerField(default=0)
    left = models.PositiveIntegerField(default=0)  # somebody else changed what they are about, since they were judged
    passed = models.PositiveIntegerField(default=0)  # rows that the import is past

    class Meta:
        indexes: ClassVar = [models.Index(fields=("organisation", "created_at"), name="import_by_time")]


class StagedFile(models.Model):
    """The file itself, sealed as a stream. Inserted once and deleted, as a draft is."""

    of = models.OneToOneField(VerificationImport, models.CASCADE, primary_key=True, related_name="staged")
    content = models.UUIDField()  # names the blob
    size = models.BigIntegerField()
    key = models.BinaryField()  # of the stream, wrapped
    sealed = models.BinaryField(null=True)  # of a small file; else it is a blob


class ImportComplaint(models.Model):
    """What is wrong with one row of a file: never a number or a code."""

    of = models.ForeignKey(VerificationImport, models.CASCADE, related_name="complaints", db_index=False)
    line = models.PositiveIntegerField()
    column = models.CharField(max_length=20, blank=True)  # core.policy.verification_import.Column; empty: the whole row
    fault = models.CharField(max_length=16)  # core.policy.verification_import.RowFault
    address = models.CharField(max_length=254, blank=True)
    other = models.PositiveIntegerField(null=True)  # the line that it contradicts

    class Meta:
        indexes: ClassVar = [models.Index(fields=("of", "line"), name="complaint_by_line")]


class PassedMethod(_Row):
    """The holder of an account passed the number or code that an organisation verifies that mailbox with (D-9).

    From then on the account stands in the place of that number or code, for messages of that organisation.
    """

    account = models.ForeignKey(Account, models.CASCADE, related_name="passed_methods", db_index=False)
    organisation = models.ForeignKey(Organisation, models.CASCADE, db_index=False)
    method = models.CharField(max_length=16)  # core.policy.verification.Method: sms or access-code
    sealed = models.BinaryField()  # wrapped: the number, or the access code and its hint; another one is another proof
    at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=("account", "organisation", "method"), name="passed_once")
        ]


class Transmission(_Row):
    """One mail on its way to one mailbox: a step of a plan, or a mail of the gateway's own."""

    class Kind(models.TextChoices):
        """What it carries."""

        READABLE = "readable"
        NOTIFICATION = "notification"
        REMINDER = "reminder"  # of a notification
        AGAIN = "again"  # a notification once more, because the sender asked for it
        ANSWER = "answer"  # word that an answer waits
        READABLE_ANSWER = "readable-answer"  # an answer, to who got the message itself readable
        CODE = "code"
        REPORT = "report"  # DSN
        NOTICE = "notice"  # to a sender: an answer, a warning

    class State(models.TextChoices):
        """How it ended, if it did."""

        QUEUED = "queued"
        SENT = "sent"
        FAILED = "failed"

    organisation = models.ForeignKey(Organisation, models.CASCADE, db_index=False)
    submission = models.ForeignKey(Submission, models.CASCADE, null=True)
    recipient = models.ForeignKey(Recipient, models.CASCADE, null=True, related_name="transmissions")
    answer = models.ForeignKey(  # that it tells of or carries
        Message, models.CASCADE, null=True, related_name="told", db_index=False
    )
    kind = models.CharField(max_length=16, choices=Kind.choices)
    step = models.PositiveSmallIntegerField(default=0)
    reverse_path = models.CharField(max_length=254, blank=True)
    address = models.CharField(max_length=254)
    message_id = models.CharField(max_length=300)
    sealed = models.BinaryField(null=True)  # the gateway's own mail, wrapped; destroyed once it was sent
    needs_tls = models.PositiveSmallIntegerField(default=0)
    needs_authentication = models.PositiveSmallIntegerField(default=0)
    state = models.CharField(max_length=8, choices=State.choices, default=State.QUEUED)
    tries = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(null=True)  # a code that comes too late helps nobody
    warned = models.BooleanField(default=False)  # the sender had the report of a delay

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=("answer",), condition=Q(answer__isnull=False), name="transmission_of_answer")
        ]


class SharedReading(_Row):
    """Somebody read a conversation as a functional mailbox: which of its readers, first and last."""

    conversation = models.ForeignKey(Conversation, models.CASCADE, related_name="shared_readings", db_index=False)
    mailbox = models.ForeignKey(Account, models.CASCADE, related_name="+", db_index=False)  # as whom
    account = models.ForeignKey(Account, models.CASCADE, related_name="+")  # who
    first_at = models.DateTimeField()
    last_at = models.DateTimeField()
    answered_at = models.DateTimeField(null=True)  # last

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=("conversation", "mailbox", "account"), name="shared_reading_once")
        ]


class SenderAct(_Row):
    """What a sender did about a conversation after it was sent."""

    class Kind(models.TextChoices):
        """What it was."""

        REVOKED = "revoked"
        EXPIRY = "expiry"  # another moment at which it expires
        AGAIN = "again"  # the notification goes out once more

    conversation = models.ForeignKey(Conversation, models.CASCADE, related_name="acts")
    recipient = models.ForeignKey(Recipient, models.CASCADE, null=True, related_name="acts")  # null: all of them
    account = models.ForeignKey(Account, models.SET_NULL, null=True)  # who did it
    kind = models.CharField(max_length=8, choices=Kind.choices)
    at = models.DateTimeField()
    until = models.DateTimeField(null=True)  # of EXPIRY; null: never


class Attempt(models.Model):
    """One try at one host, with its evidence. Never content."""

    transmission = models.ForeignKey(Transmission, models.CASCADE, related_name="attempts")
    at = models.DateTimeField()
    host = models.CharField(max_length=255, blank=True)
    address = models.CharField(max_length=64, blank=True)
    outcome = models.CharField(max_length=32)
    stage = models.CharField(max_length=16, blank=True)
    reply = models.CharField(max_length=500, blank=True)
    tls = models.PositiveSmallIntegerField(default=0)
    authentication = models.PositiveSmallIntegerField(default=0)
    protocol = models.CharField(max_length=16, blank=True)
    cipher = models.CharField(max_length=64, blank=True)
    key_exchange = models.CharField(max_length=32, blank=True)  # the group that the keys were agreed in
    certificate = models.CharField(max_length=500, blank=True)  # subject names, issuer, end of validity, fingerprint
    named_by = models.CharField(max_length=16, blank=True, db_default="")  # dnssec, mta-sts: what names the host


class Confirmation(models.Model):
    """The server that took a readable message was asked to report success, and announced that it does (RFC 3461 §4.1);
    what was reported since, once."""

    recipient = models.OneToOneField(Recipient, models.CASCADE, primary_key=True, related_name="+")
    action = models.CharField(max_length=10, blank=True, db_default="")  # RFC 3464 §2.3.3; empty: nothing yet
    status = models.CharField(max_length=12, blank=True, db_default="")  # RFC 3463 §2
    host = models.CharField(max_length=255, blank=True, db_default="")  # who reported, by its own words
    at = models.DateTimeField(null=True)  # when that came home


class Job(_Row):
    """Work that is due. Leased by one process, done in the transaction that records its result."""

    kind = models.CharField(max_length=12)
    subject = models.UUIDField()
    due_at = models.DateTimeField(db_index=True)
    leased_until = models.DateTimeField(null=True)
    lease = models.UUIDField(null=True)

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=("kind", "subject"), name="job_once")]


class PutAside(_Row):
    """Work of the moment at which a backup was made, after it was restored: it may have been done since. An
    administrator says what becomes of it."""

    kind = models.CharField(max_length=12)
    subject = models.UUIDField()
    due_at = models.DateTimeField()
    put_aside_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=("kind", "subject"), name="put_aside_once")]


class Erasure(models.Model):
    """That something was destroyed: its identifier alone. Written with the destruction, in the order of commits, and
    copied to a journal outside of the database, from which a restored backup learns of it."""

    kind = models.CharField(max_length=16)  # custody.erasures.Kind
    subject = models.UUIDField()
    at = models.DateTimeField()


OFFERED: Final = "offered"  # a text message that the provider is asked to take: it may have it, and nobody asks again


class Sms(_Row):
    """A text message on its way; the number and the text are wrapped, and destroyed before it is handed over."""

    recipient = models.ForeignKey(Recipient, models.CASCADE)
    sealed = models.BinaryField(null=True)
    created_at = models.DateTimeField()
    state = models.CharField(max_length=8, default="queued")  # queued, offered, sent, failed


class Challenge(_Row):
    """A verification in progress. Knows the code only as a keyed MAC."""

    recipient = models.ForeignKey(Recipient, models.CASCADE, related_name="challenges")
    method = models.CharField(max_length=16)
    browser = models.BinaryField()  # hash of the browser session that asked; no other can answer
    code = models.BinaryField(null=True)  # MAC; null for access codes
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    tries = models.PositiveSmallIntegerField(default=0)
    used_at = models.DateTimeField(null=True)
    transmission = models.ForeignKey(Transmission, models.SET_NULL, null=True)

    class Meta:
        indexes: ClassVar = [models.Index(fields=("recipient", "created_at"), name="challenge_recent")]


class WrongTry(models.Model):
    """A wrong code, counted per recipient and conversation over 24 hours (P12)."""

    recipient = models.ForeignKey(Recipient, models.CASCADE, related_name="wrong_tries")
    at = models.DateTimeField()

    class Meta:
        indexes: ClassVar = [models.Index(fields=("recipient", "at"), name="wrong_try_recent")]


class Proof(_Row):
    """A passed verification: this browser may read as this recipient until it ends."""

    recipient = models.ForeignKey(Recipient, models.CASCADE, related_name="proofs")
    method = models.CharField(max_length=16)
    browser = models.BinaryField()
    device = models.ForeignKey(RememberedDevice, models.CASCADE, null=True)  # in the place of a code; ends with it
    created_at = models.DateTimeField()
    used_at = models.DateTimeField()
    expires_at = models.DateTimeField()


class MethodRequest(_Row):
    """A recipient can't use the method that was decided, and what the sender made of it."""

    class Answer(models.TextChoices):
        """The sender's."""

        ALLOWED = "allowed"
        REFUSED = "refused"

    recipient = models.ForeignKey(Recipient, models.CASCADE, related_name="method_requests")
    method = models.CharField(max_length=16)  # that can't be used; empty: a restore ended it, and it is not known
    why = models.CharField(max_length=20, blank=True)  # core.policy.another_way.Hindrance; empty: nobody asked
    at = models.DateTimeField()
    answer = models.CharField(max_length=8, choices=Answer.choices, blank=True)
    answered_at = models.DateTimeField(null=True)
    other = models.CharField(max_length=16, blank=True)  # the method that was allowed
    masked = models.CharField(max_length=40, blank=True)  # "+31 6 ****5678"

    @property
    def is_of_restore(self) -> bool:
        """Nobody asked: what was allowed is lost (:mod:`zegel.journey.custody.restoring`), and nothing is yet."""
        return not self.method and self.answered_at is None


class WebhookRequest(_Row):
    """Word of one event for one webhook, and how far it is; the id is what its server knows it by.

    It names nobody: what is said of a recipient is read from its row at every try, so what is erased there is not said
    any more.
    """

    class State(models.TextChoices):
        """The last two are final."""

        WAITING = "waiting"
        TAKEN = "taken"  # the server said so
        GIVEN_UP = "given-up"

    webhook = models.ForeignKey(Webhook, models.CASCADE, related_name="requests", db_index=False)
    event = models.CharField(max_length=24)  # core.policy.webhooks.Event
    at = models.DateTimeField()
    recipient = models.ForeignKey(Recipient, models.CASCADE, null=True)
    alarm = models.CharField(max_length=32, blank=True)  # core.policy.alarms.Condition
    about = models.CharField(max_length=300, blank=True)  # of the alarm
    number = models.BigIntegerField(default=0)  # of the alarm
    state = models.CharField(max_length=8, choices=State.choices, default=State.WAITING)
    due_at = models.DateTimeField(null=True)  # of the next try; null: final
    tries = models.PositiveSmallIntegerField(default=0)
    outcome = models.CharField(max_length=24, blank=True)  # of the last try: a status, or edge.fetch.NotFetched
    tried_at = models.DateTimeField(null=True)

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=("webhook", "due_at"), condition=Q(due_at__isnull=False), name="webhook_request_due"),
            models.Index(fields=("webhook", "id"), name="webhook_request_by_time"),
        ]


class StandingAlarm(models.Model):
    """An alarm that people and programs were told of, until they are told that it ended."""

    organisation = models.ForeignKey(Organisation, models.CASCADE, null=True)  # null: the gateway's
    condition = models.CharField(max_length=32)  # core.policy.alarms.Condition
    about = models.CharField(max_length=300, blank=True)
    number = models.BigIntegerField(default=0)  # when it was last seen
    since = models.DateTimeField()
    seen_at = models.DateTimeField()
    told_at = models.DateTimeField()  # when people were last told that it stands

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=("organisation", "condition", "about"), name="one_alarm_of_organisation"),
            models.UniqueConstraint(
                fields=("condition", "about"), condition=Q(organisation__isnull=True), name="one_alarm_of_gateway"
            ),
        ]


class TlsResult(models.Model):
    """How many TLS sessions of one day ended alike (RFC 8460 §4): whom they were for, what they went by, and with which
    server. Nothing of any mail, and of nobody who sent or got one."""

    key = models.CharField(max_length=64, primary_key=True)  # SHA-256 of all but the count
    day = models.DateField(db_index=True)  # in UTC
    domain = models.CharField(max_length=255)  # of the recipients, A-labels
    policy_type = models.CharField(max_length=16)  # core.smtp.tls_report.PolicyType
    policy_domain = models.CharField(max_length=255)
    policy_strings = models.JSONField()
    policy_hosts = models.JSONField()
    sent_from = models.CharField(max_length=64, blank=True)  # our IP address
    host = models.CharField(max_length=255, blank=True)
    address = models.CharField(max_length=64, blank=True)
    result = models.CharField(max_length=32, blank=True)  # core.smtp.tls_report.ResultType; empty: success
    reason = models.CharField(max_length=100, blank=True)
    sessions = models.PositiveBigIntegerField()


class DayNumber(models.Model):
    """How many recipients of the messages that were accepted on one day went one way (core.policy.numbers)."""

    organisation = models.ForeignKey(Organisation, models.CASCADE, db_index=False)
    day = models.DateField(db_index=True)  # of the clock on the wall
    what = models.CharField(max_length=20)  # core.policy.numbers.Way or Direct
    number = models.PositiveIntegerField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=("organisation", "day", "what"), name="one_number_of_day")
        ]


class SlowDestination(models.Model):
    """One of the domains that took longest to accept mail of an organisation in the last seven days."""

    organisation = models.ForeignKey(Organisation, models.CASCADE, related_name="slow_destinations")
    place = models.PositiveSmallIntegerField()  # the slowest first
    domain = models.CharField(max_length=255)  # A-labels
    mails = models.PositiveIntegerField()
    delayed = models.PositiveIntegerField()
    seconds = models.FloatField(null=True)  # half of the accepted ones were accepted within; null: none was
    looked_at = models.DateTimeField()


class TransportPolicy(models.Model):
    """What a receiving domain promised of its mail servers by MTA-STS, as it was fetched (RFC 8461 §3.3)."""

    domain = models.CharField(max_length=255, primary_key=True)  # A-labels
    identity = models.CharField(max_length=32)  # the id that the DNS showed then
    mode = models.CharField(max_length=8)  # core.policy.mta_sts.Mode
    hosts = models.JSONField()  # patterns
    max_age = models.PositiveIntegerField()  # seconds
    fetched_at = models.DateTimeField()
