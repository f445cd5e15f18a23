"""Functional mailboxes are known as such, and a mailbox can be passed on to a successor.

What others read and nobody can sign in to was a functional mailbox before it was called one.
"""

from django.contrib.auth.hashers import UNUSABLE_PASSWORD_PREFIX
from django.db import migrations, models


def name_functional(apps, schema_editor):
    accounts = apps.get_model("accounts", "Account").objects.filter(password__startswith=UNUSABLE_PASSWORD_PREFIX)
    accounts.filter(readers__isnull=False, role="sender").update(is_functional=True)


class Migration(migrations.Migration):
    dependencies = [("accounts", "0016_identity_providers")]

    operations = [
        migrations.AddField("account", "is_functional", models.BooleanField(default=False)),
        migrations.AddField("mailboxreader", "is_successor", models.BooleanField(default=False)),
        migrations.RunPython(name_functional, migrations.RunPython.noop),
    ]
