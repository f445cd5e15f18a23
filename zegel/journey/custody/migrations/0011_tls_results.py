from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('custody', '0010_another_way'),
    ]

    operations = [
        migrations.CreateModel(
            name='TlsResult',
            fields=[
                ('key', models.CharField(max_length=64, primary_key=True, serialize=False)),
                ('day', models.DateField(db_index=True)),
                ('domain', models.CharField(max_length=255)),
                ('policy_type', models.CharField(max_length=16)),
                ('policy_domain', models.CharField(max_length=255)),
                ('policy_strings', models.JSONField()),
                ('policy_hosts', models.JSONField()),
                ('sent_from', models.CharField(blank=True, max_length=64)),
                ('host', models.CharField(blank=True, max_length=255)),
                ('address', models.CharField(blank=True, max_length=64)),
                ('result', models.CharField(blank=True, max_length=32)),
                ('reason', models.CharField(blank=True, max_length=100)),
                ('sessions', models.PositiveBigIntegerField()),
            ],
        ),
    ]
