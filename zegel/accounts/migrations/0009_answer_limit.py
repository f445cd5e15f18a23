from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0008_remembered_devices'),
    ]

    operations = [
        migrations.AddField(
            model_name='organisation',
            name='answer_megabytes',
            field=models.PositiveSmallIntegerField(default=None, null=True),
        ),
    ]
