"""Tokens of accounts, and what requests with an Idempotency-Key were answered."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("accounts", "0017_functional_and_successors")]

    operations = [
        migrations.AlterField(
            "apitoken",
            "organisation",
            models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="api_tokens",
                to="accounts.organisation",
            ),
        ),
        migrations.AddField(
            "apitoken",
            "account",
            models.ForeignKey(
                default=None,
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="api_tokens",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.CreateModel(
            name="ApiAnswer",
            fields=[
                ("id", models.UUIDField(editable=False, primary_key=True, serialize=False)),
                ("key", models.BinaryField()),
                ("request", models.BinaryField()),
                ("sealed", models.BinaryField()),
                ("created_at", models.DateTimeField(db_index=True)),
                (
                    "token",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="answers",
                        to="accounts.apitoken",
                    ),
                ),
            ],
            options={"constraints": [models.UniqueConstraint(fields=("token", "key"), name="one_answer_of_key")]},
        ),
    ]
