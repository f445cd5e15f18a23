"""Caps on text messages of an organisation, and what it used of them."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("accounts", "0020_wants_reminders")]

    operations = [
        *(
            migrations.AddField("organisation", name, models.PositiveIntegerField(blank=True, default=None, null=True))
            for name in ("texts_per_hour", "texts_per_day", "texts_per_month")
        ),
        migrations.AddField("organisation", "text_countries", models.JSONField(default=list)),
        migrations.AddField("usage", "texts", models.PositiveIntegerField(default=0, db_default=0)),
    ]
