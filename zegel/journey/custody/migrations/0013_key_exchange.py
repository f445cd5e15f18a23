from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('custody', '0012_sender_acts'),
    ]

    operations = [
        migrations.AddField(
            model_name='attempt',
            name='key_exchange',
            field=models.CharField(blank=True, default='', max_length=32),
            preserve_default=False,
        ),
    ]
