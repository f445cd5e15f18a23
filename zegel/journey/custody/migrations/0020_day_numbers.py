import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0001_initial'),
        ('custody', '0019_found_by_index'),
    ]

    operations = [
        migrations.CreateModel(
            name='SlowDestination',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('place', models.PositiveSmallIntegerField()),
                ('domain', models.CharField(max_length=255)),
                ('mails', models.PositiveIntegerField()),
                ('delayed', models.PositiveIntegerField()),
                ('seconds', models.FloatField(null=True)),
                ('looked_at', models.DateTimeField()),
                ('organisation', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='slow_destinations', to='accounts.organisation')),
            ],
        ),
        migrations.CreateModel(
            name='DayNumber',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('day', models.DateField(db_index=True)),
                ('what', models.CharField(max_length=20)),
                ('number', models.PositiveIntegerField()),
                ('organisation', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, to='accounts.organisation')),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('organisation', 'day', 'what'), name='one_number_of_day')],
            },
        ),
    ]
