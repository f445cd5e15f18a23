import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0010_mailbox_proofs"),
    ]

    operations = [
        migrations.CreateModel(
            "AccountSession",
            [
                ("session", models.CharField(max_length=40, primary_key=True, serialize=False)),
                ("browser", models.CharField(blank=True, max_length=40)),
                ("started_at", models.DateTimeField()),
                ("seen_at", models.DateTimeField()),
                (
                    "account",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="sessions",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
        ),
    ]
