"""How forms are drawn: ``{{ form }}`` in any template has labels, hints, errors and a summary of the errors."""

from __future__ import annotations

from django.forms.renderers import TemplatesSetting


class Renderer(TemplatesSetting):
    """Draws with this product's templates."""

    form_template_name = "zegel/form.html"
    field_template_name = "zegel/field.html"
