"""``python -m bench.pages CONFIG ASKED FOUND TIMES``: what one page costs the application alone.

The WSGI application of the web role, made as granian makes it, is called by one thread, without a server, TLS or
another reader: what is left is Zegel's own. ASKED is of :func:`bench.guests.written_down`; each page in it is asked for
so many TIMES. FOUND becomes where the processor time went (:mod:`bench.profiled`), and the queries of one page.
"""

from __future__ import annotations

import io
import json
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from wsgiref.types import WSGIApplication, WSGIEnvironment

from bench.profiled import Observer
from zegel.compose import process
from zegel.compose.web import web_application

_TABLE: Final = re.compile(r'(SELECT|INSERT|UPDATE|DELETE)\b.*?(?:FROM|INTO|UPDATE) "(\w+)"', re.DOTALL)


def asked(application: WSGIApplication, one: dict[str, str]) -> None:
    """Asks for a page as the browser of that guest does. Raises ``RuntimeError`` for any other answer than 200."""
    host, _, port = one["host"].partition(":")
    environ: WSGIEnvironment = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": one["path"],
        "QUERY_STRING": "",
        "SERVER_NAME": host,
        "SERVER_PORT": port,
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": one["host"],
        "HTTP_COOKIE": one["cookie"],
        "HTTP_ACCEPT_LANGUAGE": "nl",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "https",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    said: list[str] = []

    def start(status: str, headers: list[tuple[str, str]], error: Any = None, /) -> Callable[[bytes], object]:
        said.append(status)
        return lambda octets: None

    answer = application(environ, start)
    for _ in answer:
        pass
    if (close := getattr(answer, "close", None)) is not None:
        close()
    if said != ["200 OK"]:
        raise RuntimeError(f"{said} for {one['path']}")


def queries(application: WSGIApplication, one: dict[str, str]) -> list[str]:
    """The statements of one page, shortened, in their order."""
    from django.db import connection

    found: list[str] = []

    def note(execute: Callable[..., Any], sql: str, parameters: Any, many: bool, context: Any) -> Any:
        match = _TABLE.search(sql)
        found.append(f"{match[1]} {match[2]}" if match else sql.split(" ", 1)[0])
        return execute(sql, parameters, many, context)

    with connection.execute_wrapper(note):
        asked(application, one)
    return found


def main() -> None:
    """The command."""
    config, asked_for, found, times = sys.argv[1:]
    process.use(Path(config), role="web")
    application = web_application()
    pages: list[dict[str, str]] = json.loads(Path(asked_for).read_text())
    for one in pages:
        asked(application, one)  # what is made once, or noted once a minute, is not counted
    of_one = queries(application, pages[0])
    began = time.thread_time()
    for _ in range(int(times)):
        for one in pages:
            asked(application, one)
    alone = (time.thread_time() - began) * 1000 / (int(times) * len(pages))
    observer = Observer()
    observer.start()
    for _ in range(int(times)):
        for one in pages:
            asked(application, one)
    Path(found).write_text(json.dumps({"queries": of_one, "ms": alone, "profile": observer.stop()}))


if __name__ == "__main__":
    main()
