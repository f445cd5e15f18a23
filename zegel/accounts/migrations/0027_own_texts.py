"""What an organisation says in its own words."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("accounts", "0026_who_made_a_token")]

    operations = [migrations.AddField("organisation", "own_texts", models.JSONField(default=dict))]
