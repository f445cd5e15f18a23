import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

import zegel.edge.chance


class Migration(migrations.Migration):
    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
        ("custody", "0011_tls_results"),
    ]

    operations = [
        migrations.AddField("recipient", "revoked_at", models.DateTimeField(null=True)),
        migrations.AlterField(
            "transmission",
            "kind",
            models.CharField(
                choices=[
                    ("readable", "Readable"),
                    ("notification", "Notification"),
                    ("reminder", "Reminder"),
                    ("again", "Again"),
                    ("answer", "Answer"),
                    ("readable-answer", "Readable Answer"),
                    ("code", "Code"),
                    ("report", "Report"),
                    ("notice", "Notice"),
                ],
                max_length=16,
            ),
        ),
        migrations.CreateModel(
            "SenderAct",
            [
                (
                    "id",
                    models.UUIDField(
                        default=zegel.edge.chance.identifier, editable=False, primary_key=True, serialize=False
                    ),
                ),
                (
                    "kind",
                    models.CharField(
                        choices=[("revoked", "Revoked"), ("expiry", "Expiry"), ("again", "Again")], max_length=8
                    ),
                ),
                ("at", models.DateTimeField()),
                ("until", models.DateTimeField(null=True)),
                (
                    "account",
                    models.ForeignKey(
                        null=True, on_delete=django.db.models.deletion.SET_NULL, to=settings.AUTH_USER_MODEL
                    ),
                ),
                (
                    "conversation",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="acts", to="custody.conversation"
                    ),
                ),
                (
                    "recipient",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="acts",
                        to="custody.recipient",
                    ),
                ),
            ],
        ),
    ]
