"""A term for the traces of ended messages."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("accounts", "0023_text_money")]

    operations = [
        migrations.AddField("organisation", "trace_days", models.PositiveIntegerField(default=400, null=True)),
        migrations.AddField("organisation", "traces_untold", models.PositiveIntegerField(default=0)),
    ]
