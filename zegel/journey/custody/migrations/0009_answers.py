import django.db.models.deletion
import zegel.edge.chance
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('custody', '0008_warned'),
    ]

    operations = [
        migrations.CreateModel(
            name='Draft',
            fields=[
                ('id', models.UUIDField(default=zegel.edge.chance.identifier, editable=False, primary_key=True, serialize=False)),
                ('sealed', models.BinaryField()),
                ('saved_at', models.DateTimeField(db_index=True)),
                ('conversation', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='drafts', to='custody.conversation')),
                ('recipient', models.ForeignKey(db_index=False, null=True, on_delete=django.db.models.deletion.CASCADE, to='custody.recipient')),
            ],
        ),
        migrations.AddField(
            model_name='conversation',
            name='continues',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='continued_by', to='custody.conversation'),
        ),
        migrations.AddField(
            model_name='submission',
            name='references',
            field=models.TextField(blank=True, db_default=''),
        ),
        migrations.AddField(
            model_name='transmission',
            name='answer',
            field=models.ForeignKey(db_index=False, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='told', to='custody.message'),
        ),
        migrations.AlterField(
            model_name='transmission',
            name='kind',
            field=models.CharField(choices=[('readable', 'Readable'), ('notification', 'Notification'), ('reminder', 'Reminder'), ('answer', 'Answer'), ('readable-answer', 'Readable Answer'), ('code', 'Code'), ('report', 'Report'), ('notice', 'Notice')], max_length=16),
        ),
        migrations.AddIndex(
            model_name='transmission',
            index=models.Index(condition=models.Q(('answer__isnull', False)), fields=['answer'], name='transmission_of_answer'),
        ),
        migrations.AddConstraint(
            model_name='draft',
            constraint=models.UniqueConstraint(condition=models.Q(('recipient__isnull', False)), fields=('recipient',), name='one_draft_of_recipient'),
        ),
        migrations.AddConstraint(
            model_name='draft',
            constraint=models.UniqueConstraint(condition=models.Q(('recipient__isnull', True)), fields=('conversation',), name='one_draft_of_author'),
        ),
    ]
