"""Django's tags for languages; its ``translate`` looks a sentence up anew for every page, this one once."""

from __future__ import annotations

from django.template import Context, Library, Node
from django.template.base import Parser, Token, Variable
from django.templatetags import i18n
from django.utils.translation import get_language

register = Library()
register.tags |= i18n.register.tags
register.filters |= i18n.register.filters


class _Sentence(Node):
    """What a template says in each language. A literal of a template is never escaped, so it says the same wherever it
    is used."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._in: dict[str | None, str] = {}

    def render(self, context: Context) -> str:
        language = get_language()
        known = self._in.get(language)
        if known is None:
            known = self._in[language] = self._node.render(context)
        return known


@register.tag
def translate(parser: Parser, token: Token) -> Node:
    """``{% translate "…" %}``; with a variable, a filter, ``as`` or ``noop`` it is Django's."""
    node = i18n.do_translate(parser, token)
    said = node.filter_expression
    is_fixed = isinstance(said.var, Variable) and said.var.literal is not None and not said.filters
    return node if node.noop or node.asvar or node.message_context or not is_fixed else _Sentence(node)


register.tag("trans", translate)
