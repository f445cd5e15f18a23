import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0007_ed25519'),
    ]

    operations = [
        migrations.AddField(
            model_name='organisation',
            name='remembers_devices_days',
            field=models.PositiveSmallIntegerField(default=None, null=True),
        ),
        migrations.CreateModel(
            name='RememberedDevice',
            fields=[
                ('id', models.UUIDField(editable=False, primary_key=True, serialize=False)),
                ('key', models.CharField(max_length=254)),
                ('method', models.CharField(max_length=16)),
                ('sealed', models.BinaryField(null=True)),
                ('needs_tls', models.PositiveSmallIntegerField(default=0)),
                ('needs_authentication', models.PositiveSmallIntegerField(default=0)),
                ('secret_hash', models.BinaryField()),
                ('browser', models.CharField(max_length=40)),
                ('created_at', models.DateTimeField()),
                ('used_at', models.DateTimeField()),
                ('expires_at', models.DateTimeField(db_index=True)),
                ('organisation', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='remembered_devices', to='accounts.organisation')),
            ],
            options={
                'indexes': [models.Index(fields=['organisation', 'key'], name='devices_of_guest')],
            },
        ),
    ]
