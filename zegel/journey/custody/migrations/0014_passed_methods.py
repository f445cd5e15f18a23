import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

import zegel.edge.chance


class Migration(migrations.Migration):
    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
        ("custody", "0013_key_exchange"),
    ]

    operations = [
        migrations.CreateModel(
            "PassedMethod",
            [
                (
                    "id",
                    models.UUIDField(
                        default=zegel.edge.chance.identifier, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("method", models.CharField(max_length=16)),
                ("sealed", models.BinaryField()),
                ("at", models.DateTimeField()),
                (
                    "account",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="passed_methods",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "organisation",
                    models.ForeignKey(
                        db_index=False, on_delete=django.db.models.deletion.CASCADE, to="accounts.organisation"
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("account", "organisation", "method"), name="passed_once")
                ],
            },
        ),
    ]
