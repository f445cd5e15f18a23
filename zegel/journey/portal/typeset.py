"""Sets a message or a proof as a PDF, in a process of its own: JSON comes in, a PDF goes out, nothing else is reached.

Runs as ``python -I typeset.py`` with an empty environment, and knows nothing of Zegel: no key, no database, no setting.
What a message says is never read as the typesetter's language: it arrives as strings of a JSON value, and the source
below evaluates none of them (ADR-33).
"""

from __future__ import annotations

import json
import resource
import sys
from typing import Any, Final

SECONDS: Final = 20  # of a processor
MEMORY: Final = 1_500_000_000  # octets of addresses, the typesetter itself included
NO_GLYPH: Final = "could not be displayed"

_ALL: Final = rb"""
#let given = json(bytes(sys.inputs.given))
#let words(one) = text(dir: if one.rtl { rtl } else { ltr }, one.text)
"""
_MESSAGE: Final = rb"""
#let block-of(lines) = par(lines.map(words).join(linebreak()))
#set document(title: given.title)
#set page(paper: "a4", margin: (x: 2.2cm, y: 2.4cm), numbering: "1 / 1")
#set text(lang: given.language, size: 11pt, font: ("Libertinus Serif", "DejaVu Sans Mono"))
#set par(linebreaks: "simple", spacing: 0.9em)
#show heading: set text(size: 16pt)
#show heading.where(level: 2): set text(size: 12pt)

#heading(level: 1, words(given.heading))
#for (name, values) in given.facts [#par(strong(text(name)) + text(": ") + values.map(words).join(text(", ")))]
#line(length: 100%, stroke: 0.5pt)
#for lines in given.paragraphs { block-of(lines) }
#if given.notes.len() > 0 {
  line(length: 100%, stroke: 0.5pt)
  for one in given.notes { par(emph(text(one))) }
}
#if given.files.len() > 0 {
  heading(level: 2, text(given.files-title))
  for one in given.files {
    par(words(one.name) + linebreak() + text(size: 9pt, one.about))
  }
}
"""
_PROOF: Final = rb"""
#set document(title: given.title)
#set page(paper: "a4", margin: (x: 2.2cm, y: 2.2cm), numbering: "1 / 1")
#set text(lang: given.language, size: 10pt, font: ("Libertinus Serif", "DejaVu Sans Mono"))
#set par(linebreaks: "simple", spacing: 0.8em)
#show heading: set text(size: 15pt)
#show heading.where(level: 2): set text(size: 12pt)
#show heading.where(level: 2): set block(above: 1.8em)
#show heading.where(level: 3): set text(size: 10.5pt)
#let shown(one) = {
  if one.kind == "heading" { heading(level: one.level, words(one.text)) }
  if one.kind == "lead" { block(inset: 8pt, stroke: (left: 2pt), par(strong(words(one.text)))) }
  if one.kind == "text" { par(words(one.text)) }
  if one.kind == "small" { par(text(size: 8.5pt, words(one.text))) }
  if one.kind == "facts" {
    for (name, value) in one.rows {
      par(hanging-indent: 1em, spacing: 0.55em, strong(words(name)) + text(": ") + words(value))
    }
  }
  if one.kind == "list" { list(..one.items.map(words)) }
  if one.kind == "table" {
    set text(size: 9pt)
    set par(spacing: 0.5em)
    table(
      columns: one.widths.map(width => if width == 0 { auto } else { width * 1fr }),
      stroke: (bottom: 0.4pt),
      inset: (x: 4pt, y: 4pt),
      align: left,
      table.header(..one.head.map(name => strong(words(name)))),
      ..one.rows.flatten().map(words),
    )
  }
}
#for one in given.blocks { shown(one) }
#if given.notes.len() > 0 {
  line(length: 100%, stroke: 0.5pt)
  for one in given.notes { par(emph(text(one))) }
}
"""
SOURCES: Final = {"message": _ALL + _MESSAGE, "proof": _ALL + _PROOF}


def typeset(given: dict[str, Any]) -> bytes:
    """PDF/UA-1. Where a character has no glyph that standard can't be met: tagged all the same, and it says so."""
    import typst

    source, inputs = SOURCES[given["as"]], {"given": json.dumps(given)}
    try:
        return typst.compile(source, sys_inputs=inputs, pdf_standards="ua-1")
    except typst.TypstError as cause:
        if NO_GLYPH not in str(cause):
            raise
    return typst.compile(source, sys_inputs={"given": json.dumps(given | {"notes": given["if_glyphs_lack"]})})


def main() -> int:
    """From standard input to standard output. Says nothing of what went wrong: it would quote the message."""
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        made = typeset(json.loads(sys.stdin.buffer.read()))
    except Exception:
        return 1
    sys.stdout.buffer.write(made)
    return 0


if __name__ == "__main__":
    sys.exit(main())
