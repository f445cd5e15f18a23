"""The register of standards, ``docs/standards.md``, and what the code cites: each must know the other.

``python -m tests.architecture.references`` prints what is wrong and fails if there is anything; with ``--write``
it first writes into the register who cites what.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Final

from tests.architecture import source

REGISTER: Final = Path("docs/standards.md")
DECISIONS: Final = Path("docs/adr")
CODE: Final = ("zegel", "tests", "bench", "deploy")
PROSE_SUFFIXES: Final = frozenset({".html", ".txt", ".css", ".js", ".svg", ".toml", ".sh", ".conf", ".service", ".yml"})


class Kind(Enum):
    """Where a citation stands, which decides how exact it must be."""

    MODULE = "module docstring"  # may name a whole standard
    PROSE = "comment or docstring"  # says what a line owes to a text, so it says where in the text
    STRING = "text of the program"  # said to somebody; cites as it pleases


@dataclass(frozen=True, slots=True)
class Passage:
    """Text of a file that may cite something, and the line that it begins at."""

    kind: Kind
    line: int
    text: str


@dataclass(frozen=True, slots=True)
class Citation:
    """One standard, named once. ``path`` is relative to the repository."""

    standard: str
    section: str
    path: Path
    line: int
    kind: Kind

    def __str__(self) -> str:
        return f"{self.path}:{self.line} {self.standard}{' ' if self.section else ''}{self.section}"


# --- what the code cites ----------------------------------------------------------------------------------------------

_SECTION: Final = r"§\s?[0-9A-Z]+(?:\.[0-9]+)*|appendix [A-Z](?:\.[0-9]+)*|table [0-9]+"
_RFC: Final = re.compile(
    rf"\bRFCs?\s+(?P<number>\d{{1,5}})\b(?:,?\s+(?P<section>{_SECTION})|(?P<more>(?:(?:,|\s+and)\s+\d{{4,5}}\b)*))"
)
_OTHER: Final = re.compile(
    r"\b(?P<name>NTA \d+|NEN \d+|FIPS \d+|NIST SP \d+-\d+[A-Z]?|WCAG 2\.\d|ISO(?:/IEC)? \d+|E\.164|EN \d{3} \d{3}|"
    rf"NCSC-NL|OWASP ASVS)\b(?:,?\s+(?P<section>{_SECTION}))?"
)
_ODD: Final = re.compile(
    r"\b(?:rfc|Rfc)\s?(?!822\b)\d+|\bRFC-?\d{3,}\b|\bRFC\s+\d+,?\s+(?:[Ss]ection|[Ss]ec\.|[Pp]aragraph|par\.)|"
    r"\bWCAG\s(?!2\.\d\b)[\d.]+"
)
_DECISION: Final = re.compile(r"\b(ADR|D)-(\d{1,4})\b")


def passages(path: Path) -> Iterator[Passage]:
    """All prose of a file; of Python its comments, docstrings and strings, one passage each."""
    text = path.read_text()
    if path.suffix != ".py":
        yield Passage(Kind.STRING, 1, text)
        return
    docstrings = dict(_docstrings(ast.parse(text)))
    block: list[tokenize.TokenInfo] = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            if block and not _continues(block[-1], token):
                yield _comment(block)
                block = []
            block.append(token)
        elif token.type == tokenize.STRING or token.type == getattr(tokenize, "FSTRING_MIDDLE", -1):
            yield Passage(docstrings.get(token.start[0], Kind.STRING), token.start[0], token.string)
    if block:
        yield _comment(block)


def _docstrings(tree: ast.Module) -> Iterator[tuple[int, Kind]]:
    """Where a string stands for itself: docstrings, and those of attributes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, Kind.MODULE if node is tree.body[0] else Kind.PROSE


def _continues(above: tokenize.TokenInfo, below: tokenize.TokenInfo) -> bool:
    is_alone = below.line[: below.start[1]].strip() == ""
    return is_alone and below.start[0] == above.start[0] + 1 and below.start[1] == above.start[1]


def _comment(block: list[tokenize.TokenInfo]) -> Passage:
    return Passage(Kind.PROSE, block[0].start[0], "\n".join(token.string.lstrip("#") for token in block))


def citations_in(passage: Passage, path: Path) -> Iterator[Citation]:
    """What a passage cites, in its order within each kind of standard."""
    for found in _RFC.finditer(passage.text):
        line = passage.line + passage.text.count("\n", 0, found.start())
        section = re.sub(r"\s+", " ", found["section"] or "")
        yield Citation(f"RFC {found['number']}", section, path, line, passage.kind)
        for number in re.findall(r"\d+", found["more"] or ""):
            yield Citation(f"RFC {number}", "", path, line, passage.kind)
    for found in _OTHER.finditer(passage.text):
        line = passage.line + passage.text.count("\n", 0, found.start())
        yield Citation(found["name"], found["section"] or "", path, line, passage.kind)


def cited() -> list[Citation]:
    """Every citation in the code of the repository."""
    return [
        citation
        for path in _code()
        for passage in passages(path)
        for citation in citations_in(passage, path.relative_to(source.ROOT))
    ]


def _code() -> Iterator[Path]:
    for path in source.of_the_repository():
        relative = path.relative_to(source.ROOT)
        is_code = relative.parts[0] in CODE and (path.suffix == ".py" or path.suffix in PROSE_SUFFIXES)
        if is_code and "tests/architecture" not in str(relative):  # these speak about citing
            yield path


# --- the register -----------------------------------------------------------------------------------------------------


class NotARegister(ValueError):
    """A row can't be read; the message holds it."""


@dataclass(frozen=True, slots=True)
class Row:
    """A registered standard. ``named``: how the code names it, by ``section`` or as a ``whole``."""

    standard: str
    title: str
    named: str
    status: str
    what: str
    cited_in: str = ""
    tested_in: str = ""

    def __str__(self) -> str:
        cells = (self.standard, self.title, self.named, self.status, self.what, self.cited_in, self.tested_in)
        return "| " + " | ".join(cell or "–" for cell in cells) + " |"

    @property
    def order(self) -> tuple[int, str]:
        """RFCs by number, the others by name."""
        return int(self.standard.removeprefix("RFC ")) if self.standard.startswith("RFC ") else 0, self.standard


_STATUS: Final = re.compile(r"implemented|partly: \S.*|planned|consulted")


def rows(text: str) -> list[Row]:
    """The rows of both tables. Raises :class:`NotARegister`."""
    found = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        if not line.startswith("| ") or cells[0] == "standard":
            continue
        if len(cells) != 7:
            raise NotARegister(f"{len(cells)} cells, not 7: {line}")
        found.append(Row(*("" if cell == "–" else cell for cell in cells)))
    return found


def with_citing_files(text: str, citations: Iterable[Citation]) -> str:
    """The register with its two generated columns made anew; all else stays as it is."""
    citing: dict[str, set[Path]] = defaultdict(set)
    for citation in citations:
        citing[citation.standard].add(citation.path)
    lines = []
    for line in text.splitlines():
        for row in rows(line):
            files = citing[row.standard]
            line = str(replace(row, cited_in=_listed(files, "zegel"), tested_in=_listed(files, "tests")))  # noqa: PLW2901
        lines.append(line)
    return "\n".join(lines) + "\n"


def _listed(files: set[Path], folder: str) -> str:
    names = sorted(str(path.relative_to(folder)) for path in files if path.parts[0] == folder)
    return ", ".join(f"`{name}`" for name in names)


# --- what is wrong ----------------------------------------------------------------------------------------------------


def faults_of_the_register(register: list[Row], citations: list[Citation]) -> Iterator[str]:
    """Rows that don't say what is so."""
    in_product = {citation.standard for citation in citations if citation.path.parts[0] == "zegel"}
    everywhere = {citation.standard for citation in citations}
    seen: set[str] = set()
    for row in register:
        if row.standard in seen:
            yield f"{REGISTER}: {row.standard} is registered twice"
        seen.add(row.standard)
        if not row.title or not row.what:
            yield f"{REGISTER}: {row.standard} lacks its title, or what Zegel does with it"
        if row.named not in {"section", "whole"}:
            yield f"{REGISTER}: {row.standard} is named by section or as a whole, not {row.named!r}"
        if not _STATUS.fullmatch(row.status):
            yield f"{REGISTER}: {row.standard} has no status: {row.status!r}"
        if row.status.startswith(("implemented", "partly")) and row.standard not in in_product:
            yield f"{REGISTER}: {row.standard} is called {row.status.partition(':')[0]}, but no code cites it"
        if row.status == "consulted" and row.standard not in everywhere:
            yield f"{REGISTER}: {row.standard} is called consulted, but nothing cites it"
    for table in ([row for row in register if row.order[0]], [row for row in register if not row.order[0]]):
        if table != sorted(table, key=lambda row: row.order):
            yield f"{REGISTER}: the rows are not in order"


def faults_of_citations(register: list[Row], citations: list[Citation]) -> Iterator[str]:
    """Citations that lead nowhere, or to a text of a hundred pages."""
    named = {row.standard: row.named for row in register}
    for citation in citations:
        if citation.standard not in named:
            yield f"{citation} is not in {REGISTER}"
        elif (
            citation.kind is Kind.PROSE
            and citation.path.parts[0] == "zegel"
            and not citation.section
            and named[citation.standard] == "section"
        ):
            yield f"{citation} names no section"


def odd_citations() -> Iterator[str]:
    """Spellings that the register would not find."""
    for path in _code():
        for passage in passages(path):
            for found in _ODD.finditer(passage.text):
                line = passage.line + passage.text.count("\n", 0, found.start())
                yield f"{source.place(path, line)} {found[0]!r} is no citation: write RFC n §s, WCAG 2.2 §s"


def faults_of_decisions(citing: Mapping[str, str], decisions: Mapping[str, str]) -> Iterator[str]:
    """``citing``: text by file; ``decisions``: text of each record by its file name. None recorded: none missed."""
    if not decisions:
        return
    numbers = {int(name[:4]) for name in decisions if re.match(r"\d{4}-", name)}
    taken = {int(found[2]) for text in decisions.values() for found in _DECISION.finditer(text) if found[1] == "D"}
    for name, text in sorted(citing.items()):
        for line, words in enumerate(text.splitlines(), 1):
            for found in _DECISION.finditer(words):
                known = numbers if found[1] == "ADR" else taken
                if int(found[2]) not in known:
                    yield f"{name}:{line} {found[0]} is recorded nowhere in {DECISIONS}"


def _decisions() -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted((source.ROOT / DECISIONS).glob("[0-9]*.md"))}


def _citing_decisions() -> dict[str, str]:
    documents = [path for path in source.of_the_repository() if path.suffix == ".md"]
    paths = [*_code(), *(path for path in documents if DECISIONS not in path.relative_to(source.ROOT).parents)]
    return {str(path.relative_to(source.ROOT)): path.read_text() for path in paths}


def faults() -> list[str]:
    """All that is wrong, each in one line that says where."""
    text, citations = (source.ROOT / REGISTER).read_text(), cited()
    register = rows(text)
    found = [
        *faults_of_the_register(register, citations),
        *faults_of_citations(register, citations),
        *odd_citations(),
        *faults_of_decisions(_citing_decisions(), _decisions()),
    ]
    if with_citing_files(text, citations) != text:
        found.append(f"{REGISTER} is not up to date: run python -m tests.architecture.references --write")
    return found


def main(arguments: list[str]) -> int:
    """0: nothing is wrong; 1: something is, and was printed; 2: not understood."""
    if arguments not in ([], ["--write"]):
        print("usage: python -m tests.architecture.references [--write]", file=sys.stderr)
        return 2
    if arguments:
        register = source.ROOT / REGISTER
        register.write_text(with_citing_files(register.read_text(), cited()))
    found = faults()
    for fault in found:
        print(fault)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
