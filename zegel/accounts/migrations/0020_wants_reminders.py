from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("accounts", "0019_claims_and_renewed_keys")]

    operations = [migrations.AddField("account", "wants_reminders", models.BooleanField(default=True))]
