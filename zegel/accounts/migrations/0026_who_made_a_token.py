"""Who made a token of the API."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("accounts", "0025_refused_by_caps")]

    operations = [
        migrations.AddField(
            "apitoken",
            "made_by",
            models.ForeignKey(
                default=None,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="tokens_made",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
    ]
