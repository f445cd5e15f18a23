import django.db.models.deletion
from django.db import migrations, models

import zegel.edge.chance


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0008_remembered_devices'),
        ('custody', '0009_answers'),
    ]

    operations = [
        migrations.AddField(
            model_name='proof',
            name='device',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.CASCADE, to='accounts.remembereddevice'),
        ),
        migrations.CreateModel(
            name='MethodRequest',
            fields=[
                ('id', models.UUIDField(default=zegel.edge.chance.identifier, editable=False, primary_key=True, serialize=False)),
                ('method', models.CharField(max_length=16)),
                ('why', models.CharField(blank=True, max_length=20)),
                ('at', models.DateTimeField()),
                ('answer', models.CharField(blank=True, choices=[('allowed', 'Allowed'), ('refused', 'Refused')], max_length=8)),
                ('answered_at', models.DateTimeField(null=True)),
                ('other', models.CharField(blank=True, max_length=16)),
                ('masked', models.CharField(blank=True, max_length=40)),
                ('recipient', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='method_requests', to='custody.recipient')),
            ],
            options={
                'abstract': False,
            },
        ),
    ]
