"""A domain that isn't in place is a claim, which keeps nobody else from it; DKIM keys can be renewed."""

import django.db.models.deletion
from django.db import migrations, models


def note_proof(apps, schema_editor):
    domains = apps.get_model("accounts", "SendingDomain")
    domains.objects.filter(in_place=True).update(proved_at=models.F("checked_at"))


class Migration(migrations.Migration):
    dependencies = [("accounts", "0018_api_answers")]

    operations = [
        migrations.AlterField("sendingdomain", "name", models.CharField(db_index=True, max_length=255)),
        migrations.AddField("sendingdomain", "added_at", models.DateTimeField(default=None, null=True)),
        migrations.AddField("sendingdomain", "misses", models.PositiveIntegerField(default=0)),
        migrations.AddField("sendingdomain", "proved_at", models.DateTimeField(default=None, null=True)),
        migrations.AddField("sendingdomain", "tried_at", models.DateTimeField(default=None, null=True)),
        migrations.AddField("sendingdomain", "not_known", models.JSONField(default=list)),
        migrations.AddField("sendingdomain", "due_at", models.DateTimeField(db_index=True, default=None, null=True)),
        migrations.AddField("sendingdomain", "told", models.CharField(blank=True, default="", max_length=10)),
        migrations.RunPython(note_proof, migrations.RunPython.noop),
        migrations.AddConstraint(
            "sendingdomain", models.UniqueConstraint(fields=("organisation", "name"), name="one_claim")
        ),
        migrations.AddConstraint(
            "sendingdomain",
            models.UniqueConstraint(condition=models.Q(("in_place", True)), fields=("name",), name="one_holder"),
        ),
        migrations.CreateModel(
            name="DkimPair",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("stage", models.CharField(choices=[("next", "Next"), ("previous", "Previous")], max_length=8)),
                ("selector", models.CharField(max_length=63)),
                ("key", models.BinaryField()),
                ("record", models.TextField()),
                ("ed25519_selector", models.CharField(max_length=63)),
                ("ed25519_key", models.BinaryField(null=True)),
                ("ed25519_record", models.TextField(default="")),
                ("at", models.DateTimeField()),
                (
                    "domain",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="dkim_pairs",
                        to="accounts.sendingdomain",
                    ),
                ),
            ],
            options={"constraints": [models.UniqueConstraint(fields=("domain", "stage"), name="one_pair_of_stage")]},
        ),
    ]
