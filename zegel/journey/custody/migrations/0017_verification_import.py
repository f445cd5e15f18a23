from __future__ import annotations

from typing import ClassVar

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

import zegel.edge.chance


class Migration(migrations.Migration):
    dependencies: ClassVar = [
        ("accounts", "0015_roles_and_audit"),
        ("custody", "0016_restoring"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations: ClassVar = [
        migrations.AddIndex(
            model_name="verificationdata",
            index=models.Index(fields=["organisation", "id"], name="verification_by_time"),
        ),
        migrations.AddIndex(
            model_name="verificationdata",
            index=models.Index(fields=["organisation", "key", "id"], name="verification_by_key"),
        ),
        migrations.CreateModel(
            name="VerificationImport",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=zegel.edge.chance.identifier, editable=False, primary_key=True, serialize=False
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("judging", "Judging"),
                            ("ready", "Ready"),
                            ("importing", "Importing"),
                            ("done", "Done"),
                            ("cancelled", "Cancelled"),
                            ("lapsed", "Lapsed"),
                            ("refused", "Refused"),
                        ],
                        default="judging",
                        max_length=10,
                    ),
                ),
                ("fault", models.CharField(blank=True, max_length=16)),
                ("created_at", models.DateTimeField()),
                ("judged_at", models.DateTimeField(null=True)),
                ("confirmed_at", models.DateTimeField(null=True)),
                ("ended_at", models.DateTimeField(null=True)),
                ("by_kind", models.CharField(blank=True, max_length=16)),
                ("by", models.CharField(blank=True, max_length=300)),
                ("region", models.CharField(max_length=2)),
                ("size", models.BigIntegerField()),
                ("sha256", models.CharField(max_length=64)),
                ("layout", models.JSONField()),
                ("verdicts", models.BinaryField(null=True)),
                ("octet", models.BigIntegerField(default=0)),
                ("line", models.PositiveIntegerField(default=1)),
                ("rows", models.PositiveIntegerField(default=0)),
                ("bad", models.PositiveIntegerField(default=0)),
                ("to_add", models.PositiveIntegerField(default=0)),
                ("to_change", models.PositiveIntegerField(default=0)),
                ("same", models.PositiveIntegerField(default=0)),
                ("added", models.PositiveIntegerField(default=0)),
                ("changed", models.PositiveIntegerField(default=0)),
                ("left", models.PositiveIntegerField(default=0)),
                ("passed", models.PositiveIntegerField(default=0)),
                (
                    "account",
                    models.ForeignKey(
                        null=True, on_delete=django.db.models.deletion.SET_NULL, to=settings.AUTH_USER_MODEL
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
                "indexes": [models.Index(fields=["organisation", "created_at"], name="import_by_time")],
            },
        ),
        migrations.CreateModel(
            name="StagedFile",
            fields=[
                (
                    "of",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="staged",
                        serialize=False,
                        to="custody.verificationimport",
                    ),
                ),
                ("content", models.UUIDField()),
                ("size", models.BigIntegerField()),
                ("key", models.BinaryField()),
                ("sealed", models.BinaryField(null=True)),
            ],
        ),
        migrations.CreateModel(
            name="ImportComplaint",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("line", models.PositiveIntegerField()),
                ("column", models.CharField(blank=True, max_length=20)),
                ("fault", models.CharField(max_length=16)),
                ("address", models.CharField(blank=True, max_length=254)),
                ("other", models.PositiveIntegerField(null=True)),
                (
                    "of",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="complaints",
                        to="custody.verificationimport",
                    ),
                ),
            ],
            options={
                "indexes": [models.Index(fields=["of", "line"], name="complaint_by_line")],
            },
        ),
    ]
