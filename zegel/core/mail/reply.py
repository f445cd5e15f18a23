"""An SMTP reply as a value (RFC 5321 §4.2) with its enhanced status (RFC 3463)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reply:
    """``code`` 200–599, ``status`` like ``5.7.1`` or ``None``, ``text`` one sentence; ``lines`` make it multi-line."""

    code: int
    status: str | None
    text: str
    lines: tuple[str, ...] = ()

    @property
    def is_positive(self) -> bool:
        """2yz and 3yz."""
        return self.code < 400

    @property
    def is_transient(self) -> bool:
        """4yz: trying again later may work."""
        return 400 <= self.code < 500

    @property
    def is_permanent(self) -> bool:
        """5yz: the same again will fail the same way."""
        return self.code >= 500

    def encode(self) -> bytes:
        """The octets on the wire, last line without a hyphen, each ended by CRLF."""
        if not self.lines and self.status is not None:
            return f"{self.code} {self.status} {self.text}\r\n".encode("utf-8", "replace")
        texts = (self.text, *self.lines)
        prefix = f"{self.status} " if self.status else ""
        last = len(texts) - 1
        return "".join(
            f"{self.code}{' ' if number == last else '-'}{prefix}{text}\r\n" for number, text in enumerate(texts)
        ).encode("utf-8", "replace")

    def __str__(self) -> str:
        return " ".join(part for part in (str(self.code), self.status, self.text, *self.lines) if part)
