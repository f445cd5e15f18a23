"""Dutch beside English: ``python -m zegel.web.translations`` compiles every ``django.po``, and names what is missing.

Django reads ``.mo`` files, which gettext's ``msgfmt`` makes. They are small and in the repository, so that a fresh
clone runs without gettext; a test compares each with its ``.po``.
"""

from __future__ import annotations

import ast
import re
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

PACKAGE: Final = Path(__file__).resolve().parent.parent
LANGUAGES: Final = ("nl",)
_MAGIC: Final = 0x950412DE
_KEYWORD: Final = re.compile(r'(msgctxt|msgid_plural|msgid|msgstr(?:\[\d\])?)\s+(".*")')
_CALLS: Final = frozenset({"_", "gettext", "gettext_lazy", "ngettext", "ngettext_lazy"})
_IN_TEMPLATE: Final = re.compile(
    r"""(?<!\w)(?:_|gettext|ngettext)\(\s*u?("(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')""", re.DOTALL
)

Catalogue = dict[str, str]
"""What a ``.mo`` holds: source texts to translations; the forms of a plural stand in one text, NUL between them."""


def catalogue(po: Path) -> Catalogue:
    """Reads a ``.po``. Texts without a translation, and those marked fuzzy, are left out."""
    found: Catalogue = {}
    for entry in re.split(r"\n{2,}", po.read_text("utf-8")):
        texts = _entry(entry)
        translated = [texts[key] for key in sorted(texts) if key.startswith("msgstr")]
        if "msgid" not in texts or not all(translated) or "\n#, fuzzy" in f"\n{entry}":
            continue
        source = texts["msgid"] + ("\0" + texts["msgid_plural"] if "msgid_plural" in texts else "")
        context = texts["msgctxt"] + "\4" if "msgctxt" in texts else ""
        found[context + source] = "\0".join(translated)
    return found


def _entry(text: str) -> dict[str, str]:
    texts: dict[str, str] = {}
    keyword = ""
    for line in text.splitlines():
        start = _KEYWORD.fullmatch(line.strip())
        if start:
            keyword, quoted = start.groups()
            texts[keyword] = ast.literal_eval(quoted)
        elif line.startswith('"') and keyword:
            texts[keyword] += ast.literal_eval(line)
    return texts


def compiled(entries: Catalogue) -> bytes:
    """The octets of a ``.mo`` file (GNU gettext manual, *The Format of GNU MO Files*), without a hash table."""
    pairs = sorted((source.encode(), text.encode()) for source, text in entries.items())
    head = 7 * 4
    offset = head + 16 * len(pairs)
    tables: list[bytes] = []
    strings = b""
    for side in (0, 1):
        for pair in pairs:
            tables.append(struct.pack("<II", len(pair[side]), offset + len(strings)))
            strings += pair[side] + b"\0"
    return (
        struct.pack("<7I", _MAGIC, 0, len(pairs), head, head + 8 * len(pairs), 0, offset) + b"".join(tables) + strings
    )


def po_files() -> list[Path]:
    """All catalogues of the package."""
    return sorted(PACKAGE.glob("**/locale/*/LC_MESSAGES/django.po"))


def source_texts() -> Iterator[tuple[Path, str]]:
    """Every text that is marked for translation, with the file it stands in."""
    for path in sorted(PACKAGE.glob("**/templates/**/*.*")):
        yield from ((path, text) for text in _of_template(path.read_text("utf-8")))
    for path in sorted(PACKAGE.glob("**/*.py")):
        source = path.read_text("utf-8")
        if "django.utils.translation" in source:
            yield from ((path, text) for text in _of_code(source))


def _of_template(source: str) -> Iterator[str]:
    from django.utils.translation.template import templatize

    for found in _IN_TEMPLATE.finditer(templatize(source)):
        yield ast.literal_eval(found[1])


def _of_code(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _CALLS and node.args:
            text = node.args[0]
            if isinstance(text, ast.Constant) and isinstance(text.value, str):
                yield text.value


def missing(language: str) -> list[tuple[Path, str]]:
    """Texts that no catalogue of the package translates."""
    known: set[str] = set()
    for po in po_files():
        if po.parts[-3] == language:
            known.update(source.partition("\0")[0] for source in catalogue(po))
    return [(path, text) for path, text in source_texts() if text not in known]


def main() -> int:
    """Compiles; prints each text without a translation as an entry to fill in."""
    for po in po_files():
        po.with_suffix(".mo").write_bytes(compiled(catalogue(po)))
    lacking = {text: path for language in LANGUAGES for path, text in missing(language)}
    for text, path in lacking.items():
        quoted = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        sys.stdout.write(f'#: {path.relative_to(PACKAGE)}\nmsgid "{quoted}"\nmsgstr ""\n\n')
    return 1 if lacking else 0


if __name__ == "__main__":
    from django.conf import settings

    settings.configure(USE_I18N=False)
    sys.exit(main())
