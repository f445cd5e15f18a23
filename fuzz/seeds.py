"""What the targets begin with: small hostile inputs, made by code so that each says what it is.

``python -m fuzz.seeds FOLDER`` writes them below that folder, one file each. A finding becomes a seed too, so that
the next run begins where the last one ended; the tests keep the promises over all of them.
"""

from __future__ import annotations

import base64
import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from fuzz.promises import HANDSHAKE, PROMISES

FALSE_ENDS: Final = (
    b"\n.\n",
    b"\r.\r",
    b"\r.\n",
    b"\n.\r",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\r.\r\n",
    b"\r\n.\r",
    b"\r\n\0.\r\n",
    b"\r\n.\0\r\n",
)
"""What one server or another took for the end of the content (SMTP smuggling)."""

# --- dialogues --------------------------------------------------------------------------------------------------------

_SECURE: Final = 16  # TLS from the first octet
_NARROW: Final = 1  # TLS is not demanded, and everything has small limits
_SMUGGLED: Final = b"MAIL FROM:<baas@example.org>\r\nRCPT TO:<slachtoffer@voorbeeld.test>\r\nDATA\r\nx\r\n.\r\n"


def plain(name: str = "balie", password: str = "geheim") -> bytes:  # noqa: S107
    """The initial response of AUTH PLAIN."""
    return base64.b64encode(f"\0{name}\0{password}".encode())


_EHLO: Final = b"EHLO client.example.org\r\n"
_AUTH: Final = b"AUTH PLAIN " + plain() + b"\r\n"
_ENVELOPE: Final = b"MAIL FROM:<balie@voorbeeld.test>\r\nRCPT TO:<ontvanger@example.org>\r\n"


def dialogue(said: bytes, *, choices: int = _SECURE, verdicts: bytes = b"") -> bytes:
    """As :meth:`fuzz.promises.Dialogue.read` reads it."""
    return bytes((choices, len(verdicts))) + verdicts + said


def _dialogues() -> Iterator[bytes]:
    yield dialogue(_EHLO + _AUTH + _ENVELOPE + b"DATA\r\nSubject: x\r\n\r\n..dot\r\n.\r\nQUIT\r\n")
    yield dialogue(_EHLO + _AUTH + _ENVELOPE + b"BDAT 6\r\ntext\r\nBDAT 0 LAST\r\nQUIT\r\n")
    yield dialogue(_EHLO + b"AUTH LOGIN\r\nYmFsaWU=\r\nZ2VoZWlt\r\nAUTH PLAIN\r\n*\r\n", choices=_NARROW | _SECURE)
    yield dialogue(_EHLO + b"STARTTLS\r\nRSET\r\n" + _ENVELOPE + HANDSHAKE + _EHLO + _AUTH + b"QUIT\r\n", choices=0)
    yield dialogue(_EHLO + b"STARTTLS\r\n" + HANDSHAKE + _EHLO + b"STARTTLS\r\n" + HANDSHAKE + _EHLO, choices=_NARROW)
    yield dialogue(b"HELO [127.0.0.1]\r\n" + _ENVELOPE + b"DATA\r\n.\r\n", choices=_NARROW)
    yield dialogue(_EHLO + b"MAIL FROM:<a@b.test> SIZE=9 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=a+2Bb\r\n", choices=2)
    yield dialogue(_EHLO + b"MAIL FROM:<> SMTPUTF8\r\nRCPT TO:<\xc3\xa9@b.test> NOTIFY=NEVER\r\n", choices=_NARROW)
    yield dialogue(_EHLO + _ENVELOPE + b"RCPT TO:<c@d.test> ORCPT=rfc822;a+40b NOTIFY=DELAY,FAILURE\r\n", choices=1)
    yield dialogue(_EHLO + _ENVELOPE + b"DATA\r\n" + b"x" * 90 + b"\r\n.\r\nNOOP\r\n", choices=_NARROW)
    yield dialogue(_EHLO + _ENVELOPE + b"BDAT 30\r\n" + b"x" * 30 + b"BDAT 40 LAST\r\n" + b"y" * 40, choices=_NARROW)
    yield dialogue(_EHLO + _ENVELOPE + b"BDAT x\r\nQUIT\r\n", choices=_NARROW)
    yield dialogue(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", choices=_NARROW)
    yield dialogue(b"NOOP\r\nQUIT\r\n", choices=12)
    yield dialogue(_EHLO + b"NOOP " + b"x" * 600 + b"\r\n" + b"AUTH PLAIN " + b"A" * 700 + b"\r\n", choices=_SECURE)
    yield dialogue(_EHLO + b"VRFY balie\r\nHELP\r\nEXPN x\r\nRSET\r\n\xff\r\n\0\r\nNOOP\nNOOP\r\n", choices=_NARROW)
    for verdict in (1, 2, 3):
        for place in range(5):
            verdicts = bytes(verdict if number == place else 0 for number in range(5))
            said = _EHLO + _AUTH + _ENVELOPE + b"DATA\r\nx\r\n.\r\n" + _ENVELOPE + b"BDAT 3 LAST\r\nx\r\n"
            yield dialogue(said, verdicts=verdicts)
    for false_end in FALSE_ENDS:
        held = b"text" + false_end + _SMUGGLED
        yield dialogue(_EHLO + _ENVELOPE + b"DATA\r\n" + held + b"\r\n.\r\nNOOP\r\n", choices=17)
        yield dialogue(_EHLO + _ENVELOPE + b"BDAT %d LAST\r\n" % len(held) + held + b"NOOP\r\n", choices=17)


# --- content ----------------------------------------------------------------------------------------------------------

_FROM: Final = b"From: Balie <balie@voorbeeld.test>\r\n"
_WHOLE: Final = b"\xff"  # cut in large pieces; other octets cut smaller


def _mixed(boundary: bytes) -> bytes:
    return b"Content-Type: multipart/mixed; boundary=" + boundary + b"\r\n"


def _contents() -> Iterator[bytes]:
    yield from (_WHOLE + one for one in _headers())
    yield from (b"\2" + one for one in _bodies())


def _headers() -> Iterator[bytes]:
    yield b""
    yield b"\r\n"
    yield _FROM
    yield _FROM + b'To: a@b.test, groep: "c d"@e.test (x (y)), <f@g.test>;\r\nCc: =?utf-8?Q?=C3=A9?= <h@i.test>\r\n\r\n'
    yield b'From: "balie@voorbeeld.test" <ander@example.org>\r\n\r\n'
    yield b"From: balie@voorbeeld.test (ander@example.org)\r\n\r\n"
    yield b"From: a@b.test, c@d.test\r\nFrom: e@f.test\r\n\r\n"
    yield b"From: <@x.test,@y.test:balie@voorbeeld.test>\r\n\r\n"
    yield b"From: =?utf-8?B?YUBiLnRlc3Q=?=\r\nSubject: =?utf-8?Q?=E2=82?= =?utf-8?Q?=AC?=\r\n\r\n"
    yield b"From: " + b"(" * 50 + b")" * 50 + b"balie@voorbeeld.test\r\n\r\n"
    yield _FROM + b"Subject: a\r\n b\r\n\tc\r\n \r\nX: \xff\xfe\xed\xa0\x80\r\n\r\n"
    yield _FROM + b"Subject : a\r\n\r\n"
    yield _FROM + b"Subject: a\nBcc: b\r\n\r\n"
    yield _FROM + b"Subject: \0\r\n\r\n"
    yield b" " + _FROM + b"\r\n"
    yield (
        _FROM
        + b"Bcc: a@b.test\r\nResent-Bcc: c@d.test\r\nReturn-Path: <>\r\nX-Zegel-Transport: v1 zegel.test 0\r\n\r\n"
    )
    yield _FROM + b"zivver-access-right: ontvanger@example.org sms +31612345678\r\n\r\n"
    yield _FROM + b"Zegel-Access-Right: =?utf-8?Q?ontvanger=40example.org?= sharedAccessCode ge heim\r\n\r\n"
    yield _FROM + b"zivver-direct-delivery: tls tls1.3 auth dane\r\nzegel-message-expiration: delete P30D\r\n\r\n"
    yield _FROM + b"zivver-minimum-recipient-verification: email-verification\r\nzegel-x: y\r\n\r\n"
    yield _FROM + b"Message-ID: <a@b>\r\nmessage-id: <c@d>\r\nDate:\r\n\r\n"
    yield _FROM + b"X: " + b"x" * 5000 + b"\r\n\r\n"
    yield b"".join(b"X%d: y\r\n" % number for number in range(100)) + b"\r\n"
    yield bytes(range(256)) + b": x\r\n\r\n"
    signed = b"DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/simple; d=voorbeeld.test; s=test; h=from:subject;\r\n\t"
    hashes = b"bh=" + base64.b64encode(bytes(32)) + b"; b=" + base64.b64encode(bytes(64)) + b"\r\n"
    yield signed + b"t=1; x=9999999999; i=@voorbeeld.test; " + hashes + _FROM + b"\r\nx\r\n"
    yield (signed + hashes) * 7 + _FROM + b"Subject: v=DKIM1; k=rsa; p=" + base64.b64encode(bytes(270)) + b"\r\n\r\nx"
    yield signed.replace(b"relaxed/simple", b"simple") + b"l=1; " + hashes + _FROM + b"\r\n"


def _bodies() -> Iterator[bytes]:
    for body in (
        b"",
        b"--b",
        b"--b\r\n\r\nx\r\n--b--\r\n",
        b"pre\r\n--b\r\nContent-Type: text/html; charset=utf-7\r\n\r\nx\r\n--b\r\n\r\ny\r\n--b--\r\nepi",
        b"--b\r\nContent-Transfer-Encoding: base64\r\n\r\nQUJD=\r\nREVG\r\n--b--",
        b"--b\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=C3=A9=\r\n= \r\n=4\r\n--b--",
        b"--b\r\nContent-Transfer-Encoding: x-uuencode\r\n\r\nbegin 644 x\r\n--b--",
        b"--b\r\nContent-Type: multipart/mixed; boundary=bb\r\n\r\n--bb\r\n\r\nx\r\n--bb--\r\n--b--",
        b"--b\r\nContent-Type: multipart/digest; boundary=b--\r\n\r\n--b--\r\n\r\nx\r\n--b----\r\n--b--",
        b"--b\r\nContent-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n--b--",
        b"--b\r\nContent-Disposition: attachment; filename*0*=utf-8''%e2%82; filename*1*=%ac.txt\r\n\r\nx\r\n--b--",
        b'--b\r\nContent-Disposition: inline; filename="=?utf-8?Q?..=2Fx=2Etxt?="\r\nContent-ID: <a>\r\n\r\n--b--',
        b'--b\r\nContent-Type: text/plain; name="../\\"x\\\\"; charset=us-ascii\'\r\n\r\n\xff\xfe\r\n--b--',
        b"--b\r\nContent-Type: text/plain\r\nno field\r\n--b\r\n folded\r\n--b--x\r\n--b -- \r\n--b-- \t",
        b"--b\r\n" * 40,
        b"--b\r\nX:" + b" y\r\n" * 40 + b"\r\nx\r\n--b--",
    ):
        yield _FROM + _mixed(b"b") + b"\r\n" + body
    yield _FROM + b"Content-Type: multipart/mixed\r\n\r\n--b\r\n\r\nx\r\n"
    yield _FROM + b"Content-Type: text/html; charset=iso-2022-jp\r\n\r\n\x1b$B\x21\r\n"
    yield _FROM + b"Content-Type: message/rfc822\r\n\r\n" + _FROM + _mixed(b"b") + b"\r\n--b--\r\n"
    deep = b"".join(b"--b%d\r\n" % level + _mixed(b"b%d" % (level + 1)) + b"\r\n" for level in range(60))
    yield _FROM + _mixed(b"b0") + b"\r\n" + deep


# --- addresses --------------------------------------------------------------------------------------------------------


def _addresses() -> Iterator[bytes]:
    yield from (
        b"",
        b"<>",
        b"@",
        b"a@b",
        b"balie@voorbeeld.test",
        b"Balie <balie@voorbeeld.test>",
        b'"a b"@c.test',
        b'"a\\"b\\\\"@c.test',
        b'"\xe3\x80\x80"@example.org',
        b'"\xc2\x85a"@example.org',
        b"a@[127.0.0.1]",
        b"a@127.0.0.1",
        b"a@xn--.test",
        b"a@xn--80ak6aa92e.test",
        "é@voorbeeld.test".encode(),
        "a@bücher.test".encode(),
        "a@ℂ。test".encode(),
        "a@a\u200db.test".encode(),
        "a@\u00adb.test".encode(),
        "ß@straße.test".encode(),
        "İ@ı.test".encode(),
        b"a@" + b"b" * 63 + b".test",
        b"a" * 64 + b"@b.test",
        b"a@b.test.",
        b"a@b.test, groep: c@d.test, <e@f.test>;, (x) g@h.test (y (z))",
        b"(" * 30 + b")" * 30 + b"a@b.test",
        b'"unclosed <a@b.test>',
        b"=?utf-8?Q?a=40b.test?= <c@d.test>",
        b"<@x.test,@y.test:a@b.test>",
        b"\xff@b.test",
        b"\xed\xa0\x80@b.test",
        b"SIZE=1 BODY=8BITMIME SMTPUTF8 RET=FULL ENVID=a+2Bb AUTH=<> REQUIRETLS",
        b"AUTH=a+40b.test",
        b"NOTIFY=SUCCESS,DELAY ORCPT=rfc822;a+40b.test",
        b"ORCPT=utf-8;\\x{E9}@b.test",
        b"100 LAST",
        b"P1DT2H",
        b"+31 6 12345678",
        b"0031612345678",
        b"AGJhbGllAGdlaGVpbQ==",
    )


SEEDS: Final[dict[str, tuple[bytes, ...]]] = {
    "smtp_server": tuple(_dialogues()),
    "content": tuple(_contents()),
    "address": tuple(_addresses()),
}


WORDS: Final[dict[str, tuple[bytes, ...]]] = {
    "smtp_server": (
        *(b"\r\n", b".", b"\r\n.\r\n", b"\0", HANDSHAKE, b"STARTTLS\r\n", b"AUTH PLAIN ", b"AUTH LOGIN\r\n", b"*\r\n"),
        *(
            b"EHLO x\r\n",
            b"MAIL FROM:<a@b.test>",
            b"RCPT TO:<c@d.test>",
            b"DATA\r\n",
            b"BDAT 3\r\n",
            b" LAST\r\n",
            b"RSET\r\n",
        ),
        *(
            b" SIZE=1",
            b" SMTPUTF8",
            b" AUTH=<>",
            b" ENVID=x",
            b" NOTIFY=NEVER",
            b" ORCPT=utf-8;x",
            b"QUIT\r\n",
            b"GET / ",
        ),
    ),
    "content": (
        *(
            b"From: balie@voorbeeld.test\r\n",
            b"To: ",
            b"Subject: ",
            b"\r\n\r\n",
            b"\r\n ",
            b"zivver-access-right: ",
            b"zegel-",
        ),
        *(
            b"Content-Type: ",
            b"multipart/mixed; boundary=b",
            b"boundary*0=b",
            b"\r\n--b\r\n",
            b"\r\n--b--\r\n",
            b"message/rfc822",
        ),
        *(
            b"Content-Transfer-Encoding: base64\r\n",
            b"quoted-printable",
            b"Content-Disposition: inline; filename=",
            b"name*0*=",
        ),
        *(
            b"utf-8''%e2%82",
            b"=?utf-8?Q?=E2?=",
            b"=?iso-2022-jp?B?GyRC?=",
            b"charset=",
            b"Content-ID: <a>\r\n",
            b"text/html",
        ),
        *(b"=C3=A9", b"=\r\n", b"QUJD", b"sms +31612345678", b"sharedAccessCode ", b"X-Zegel-Transport: v1 a "),
    ),
    "address": (
        *(
            b"@",
            b"<",
            b">",
            b'"',
            b"\\",
            b"(",
            b")",
            b",",
            b";",
            b":",
            b".",
            b"[",
            b"]",
            b"@b.test",
            b"xn--",
            b"=?utf-8?Q?",
        ),
        *(
            b"?=",
            b"\xc3\xa9",
            b"\xe3\x80\x82",
            b"\xc2\xad",
            b"\xe2\x80\x8d",
            b"NOTIFY=",
            b"ORCPT=rfc822;",
            b"ENVID=",
            b"+41",
        ),
        *(b"\\x{E9}", b"SIZE=", b"AUTH=", b"RET=HDRS", b" LAST", b"P1D", b"+316", b"06-"),
    ),
}
"""What a target may put together in one go."""


def write(folder: Path) -> None:
    """For each target a folder with a file for each seed, named by what is in it, and a dictionary. What a run added to
    the folder stays."""
    for target, seeds in SEEDS.items():
        place = folder / target
        place.mkdir(parents=True, exist_ok=True)
        for seed in seeds:
            (place / hashlib.sha256(seed).hexdigest()[:40]).write_bytes(seed)
        words = ("".join(f"\\x{octet:02x}" for octet in word) for word in WORDS[target])
        (folder / f"{target}.dict").write_text("".join(f'"{word}"\n' for word in words))


if __name__ == "__main__":
    assert SEEDS.keys() == PROMISES.keys()
    write(Path(sys.argv[1]))
