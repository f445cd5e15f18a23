"""What the server that took a readable message was asked to confirm, and what it said since."""

from typing import ClassVar

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies: ClassVar = [("custody", "0022_ended_conversations")]

    operations: ClassVar = [
        migrations.CreateModel(
            "Confirmation",
            [
                (
                    "recipient",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="+",
                        serialize=False,
                        to="custody.recipient",
                    ),
                ),
                ("action", models.CharField(blank=True, db_default="", max_length=10)),
                ("status", models.CharField(blank=True, db_default="", max_length=12)),
                ("host", models.CharField(blank=True, db_default="", max_length=255)),
                ("at", models.DateTimeField(null=True)),
            ],
        ),
    ]
