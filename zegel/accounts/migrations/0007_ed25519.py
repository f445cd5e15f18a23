from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0006_reminders'),
    ]

    operations = [
        migrations.AddField(
            model_name='sendingdomain',
            name='ed25519_selector',
            field=models.CharField(default='zegel-ed25519', max_length=63),
        ),
        migrations.AddField(
            model_name='sendingdomain',
            name='ed25519_key',
            field=models.BinaryField(null=True),
        ),
        migrations.AddField(
            model_name='sendingdomain',
            name='ed25519_record',
            field=models.TextField(default=''),
        ),
        migrations.AddField(
            model_name='sendingdomain',
            name='ed25519_published',
            field=models.BooleanField(default=False),
        ),
    ]
