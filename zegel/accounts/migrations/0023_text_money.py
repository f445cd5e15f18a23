"""Caps on text messages in money, and of SMTP credentials."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("accounts", "0022_webhooks")]

    operations = [
        migrations.AddField("organisation", "text_currency", models.CharField(default="EUR", max_length=3)),
        migrations.AddField("organisation", "text_price", models.PositiveIntegerField(default=0)),
        migrations.AddField("organisation", "text_prices", models.JSONField(default=list)),
        *(
            migrations.AddField(model, name, models.PositiveIntegerField(blank=True, default=None, null=True))
            for model, name in (
                ("organisation", "text_cents_per_month"),
                ("smtpcredential", "texts_per_day"),
                ("smtpcredential", "texts_per_month"),
            )
        ),
        migrations.AddField("usage", "cents", models.PositiveBigIntegerField(db_default=0, default=0)),
    ]
