"""Which token of the API submitted a message."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("custody", "0017_verification_import"), ("accounts", "0018_api_answers")]

    operations = [
        migrations.AddField(
            "submission",
            "token",
            models.ForeignKey(
                db_index=False, null=True, on_delete=django.db.models.deletion.SET_NULL, to="accounts.apitoken"
            ),
        )
    ]
