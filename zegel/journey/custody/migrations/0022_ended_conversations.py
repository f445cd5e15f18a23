"""Conversations that ended are found by when they did."""

from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies = [("custody", "0021_webhooks_and_alarms")]

    operations = [
        migrations.AddIndex(
            "conversation",
            models.Index(
                fields=("organisation", "destroyed_at", "id"),
                condition=Q(destroyed_at__isnull=False),
                name="conversation_ended",
            ),
        ),
    ]
