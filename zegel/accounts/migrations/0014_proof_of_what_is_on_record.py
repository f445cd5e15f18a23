from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0013_look"),
    ]

    operations = [
        migrations.AddField("MailboxProof", "by_known_browser", models.BooleanField(default=False)),
        migrations.AddField("MailboxProof", "mailed_to", models.CharField(blank=True, default="", max_length=254)),
    ]
