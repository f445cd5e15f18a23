import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

import zegel.edge.chance


class Migration(migrations.Migration):
    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
        ("custody", "0014_passed_methods"),
    ]

    operations = [
        migrations.CreateModel(
            "SharedReading",
            [
                (
                    "id",
                    models.UUIDField(
                        default=zegel.edge.chance.identifier, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("first_at", models.DateTimeField()),
                ("last_at", models.DateTimeField()),
                ("answered_at", models.DateTimeField(null=True)),
                (
                    "account",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
                (
                    "conversation",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="shared_readings",
                        to="custody.conversation",
                    ),
                ),
                (
                    "mailbox",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("conversation", "mailbox", "account"), name="shared_reading_once")
                ],
            },
        ),
    ]
