from django.db import migrations, models

import zegel.edge.chance


class Migration(migrations.Migration):
    dependencies = [
        ("custody", "0015_shared_readings"),
    ]

    operations = [
        migrations.CreateModel(
            "Erasure",
            [
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("kind", models.CharField(max_length=16)),
                ("subject", models.UUIDField()),
                ("at", models.DateTimeField()),
            ],
        ),
        migrations.CreateModel(
            "PutAside",
            [
                (
                    "id",
                    models.UUIDField(
                        default=zegel.edge.chance.identifier, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("kind", models.CharField(max_length=12)),
                ("subject", models.UUIDField()),
                ("due_at", models.DateTimeField()),
                ("put_aside_at", models.DateTimeField()),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("kind", "subject"), name="put_aside_once")],
            },
        ),
    ]
