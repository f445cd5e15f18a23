from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0009_answer_limit"),
    ]

    operations = [
        migrations.CreateModel(
            "MailboxProof",
            [
                ("id", models.UUIDField(editable=False, primary_key=True, serialize=False)),
                ("address", models.CharField(max_length=254)),
                ("key", models.CharField(max_length=254)),
                ("purpose", models.CharField(max_length=8)),
                ("language", models.CharField(max_length=5)),
                ("place", models.BinaryField()),
                ("code", models.BinaryField(null=True)),
                ("told", models.CharField(blank=True, max_length=16)),
                ("created_at", models.DateTimeField(db_index=True)),
                ("tries", models.PositiveSmallIntegerField(default=0)),
                ("passed_at", models.DateTimeField(null=True)),
                ("used_at", models.DateTimeField(null=True)),
            ],
            options={
                "indexes": [
                    models.Index(fields=["key", "created_at"], name="mailbox_proofs_of"),
                    models.Index(fields=["place", "created_at"], name="mailbox_proofs_from"),
                ],
            },
        ),
    ]
