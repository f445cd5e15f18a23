from typing import ClassVar

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    """What messages are found by is read from the index alone, of which a message has as many as before; and what
    proved that a host is one of its domain's."""

    dependencies: ClassVar = [
        ("custody", "0018_submission_token"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations: ClassVar = [
        migrations.AlterField(
            "conversation",
            "author",
            models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddIndex(
            "conversation", models.Index(fields=["author", "submission"], name="conversation_by_author")
        ),
        migrations.AddField("attempt", "named_by", models.CharField(blank=True, db_default="", max_length=16)),
        migrations.AlterField("recipient", "key", models.CharField(max_length=254)),
        migrations.AddIndex("recipient", models.Index(fields=["key", "submission"], name="recipient_by_key")),
        migrations.AddIndex(
            "recipient",
            models.Index(
                condition=models.Q(("state", "undeliverable")), fields=["submission"], name="recipient_undeliverable"
            ),
        ),
    ]
