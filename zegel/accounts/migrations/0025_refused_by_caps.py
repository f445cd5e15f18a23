"""Messages that a cap kept out, for the alarm about it."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("accounts", "0024_trace_term")]

    operations = [
        migrations.AddField("usage", "refused", models.PositiveIntegerField(db_default=0, default=0)),
    ]
