"""Where an organisation's people sign in, and what a directory says of them."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("accounts", "0015_roles_and_audit")]

    operations = [
        migrations.CreateModel(
            name="IdentityProvider",
            fields=[
                ("id", models.UUIDField(editable=False, primary_key=True, serialize=False)),
                ("kind", models.CharField(max_length=8)),
                ("name", models.CharField(max_length=100)),
                ("issuer", models.CharField(max_length=1000)),
                ("client_id", models.CharField(blank=True, default="", max_length=255)),
                ("secret", models.BinaryField(default=None, null=True)),
                ("description", models.JSONField(default=dict)),
                ("described_at", models.DateTimeField()),
                ("domains", models.JSONField(default=list)),
                ("is_required", models.BooleanField(default=False)),
                ("makes_accounts", models.BooleanField(default=False)),
                ("factor_contexts", models.JSONField(default=list)),
                ("created_at", models.DateTimeField()),
                ("used_at", models.DateTimeField(default=None, null=True)),
                (
                    "organisation",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="identity_providers",
                        to="accounts.organisation",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("organisation", "name"), name="one_provider_of_name")
                ]
            },
        ),
        migrations.CreateModel(
            name="Provisioned",
            fields=[
                (
                    "account",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="provisioned",
                        serialize=False,
                        to="accounts.account",
                    ),
                ),
                ("external_id", models.CharField(blank=True, db_index=True, default="", max_length=255)),
                ("given_name", models.CharField(blank=True, default="", max_length=200)),
                ("family_name", models.CharField(blank=True, default="", max_length=200)),
                ("is_hidden", models.BooleanField(default=False)),
                ("changed_at", models.DateTimeField()),
            ],
        ),
    ]
