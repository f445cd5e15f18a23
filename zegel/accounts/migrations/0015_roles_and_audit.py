"""Roles in the place of one flag, and the audit log.

The administrator who was there first becomes the owner; the others keep all but what an owner alone may do.
"""

import django.db.models.deletion
from django.db import migrations, models


def name_owners(apps, schema_editor):
    accounts = apps.get_model("accounts", "Account")
    administrators = accounts.objects.filter(is_administrator=True)
    administrators.update(role="administrator")
    for organisation in administrators.exclude(organisation=None).values_list("organisation", flat=True).distinct():
        first = administrators.filter(organisation=organisation).order_by("id").first()
        accounts.objects.filter(pk=first.pk).update(role="owner")


class Migration(migrations.Migration):
    dependencies = [("accounts", "0014_proof_of_what_is_on_record")]

    operations = [
        migrations.AddField("account", "role", models.CharField(default="sender", max_length=16)),
        migrations.RunPython(name_owners, migrations.RunPython.noop),
        migrations.RemoveField("account", "is_administrator"),
        migrations.AddField("organisation", "audit_days", models.PositiveIntegerField(default=None, null=True)),
        migrations.CreateModel(
            name="AuditEntry",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("chain", models.PositiveBigIntegerField()),
                ("number", models.PositiveBigIntegerField()),
                ("at", models.DateTimeField()),
                ("by_kind", models.CharField(max_length=16)),
                ("by", models.CharField(max_length=254)),
                ("act", models.CharField(max_length=32)),
                ("about", models.CharField(max_length=300)),
                ("details", models.JSONField(default=dict)),
                ("previous", models.CharField(max_length=64)),
                ("hash", models.CharField(max_length=64)),
                (
                    "organisation",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="audit_entries",
                        to="accounts.organisation",
                    ),
                ),
            ],
            options={"constraints": [models.UniqueConstraint(fields=("chain", "number"), name="one_chain")]},
        ),
    ]
