"""How the local pages look, and the one way in which text becomes markup."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Final


class Html(str):
    """Text that is markup already; made by :func:`markup` alone."""

    __slots__ = ()


def markup(template: str, *values: object) -> Html:
    """``template`` with each ``{}`` replaced by a value, escaped unless it is :class:`Html` itself."""
    return Html(template.format(*(each if isinstance(each, Html) else escape(str(each)) for each in values)))


def joined(parts: Iterable[Html]) -> Html:
    """The parts behind each other."""
    return Html("".join(parts))


CURRENT: Final = Html(' aria-current="true"')
NOTHING_YET: Final = markup('<p class="empty">Nothing has arrived yet. This page looks again by itself.</p>')

FRAME: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
{}<title>{} – Zegel local</title>
<style>{}</style>
</head>
<body>
<header class="top">
<span class="name">Zegel <small>local mode</small></span>
<nav aria-label="Pages"><a href="/"{}>Mail</a><a href="/sms"{}>SMS</a><a href="/codes"{}>Sign-ins</a></nav>
<nav aria-label="Elsewhere">{}</nav>
</header>
<main>
{}
</main>
</body>
</html>
"""
MAILBOXES: Final = """<div class="scroll"><table class="list">
<thead><tr><th>Mailbox</th><th class="number">Messages</th><th>Newest</th><th>Received</th></tr></thead>
<tbody>{}</tbody></table></div>"""
MESSAGES: Final = """<div class="scroll"><table class="list">
<thead><tr><th>Subject</th><th>From</th><th>Came over</th><th>Received</th></tr></thead>
<tbody>{}</tbody></table></div>"""
MAILBOX: Final = """<tr><td><a href="{}">{}</a></td><td class="number">{}</td>
<td class="clip">{}</td><td class="when">{}</td></tr>"""
LINE: Final = """<tr><td class="clip"><a href="{}">{}</a></td><td class="clip">{}</td>
<td>{}</td><td class="when">{}</td></tr>"""
MESSAGE: Final = """<p class="crumb"><a href="/">Mail</a> / <a href="{}">{}</a></p>
<h1><bdi>{}</bdi></h1>
<p>Came over {}</p>
{}
{}
<h2>As received</h2>
<details><summary>All header fields</summary>{}</details>
<p><a href="{}">Source of the whole message</a></p>"""
SIGN_INS: Final = """<div class="scroll"><table class="list">
<thead><tr><th>Who</th><th>Address</th><th>Password</th><th>Code now</th></tr></thead>
<tbody>{}</tbody></table></div>
<p class="note">For this demonstration only. A click selects a value whole.</p>"""
SIGN_IN: Final = """<tr><th>{}</th><td><code>{}</code></td><td><code>{}</code></td>
<td><code class="code">{}</code></td></tr>"""
STYLE: Final = """
:root {
  color-scheme: light dark;
  --paper: #fbfaf8; --card: #fff; --ink: #1d2228; --quiet: #5c6670; --line: #e2dfd9; --link: #14528a;
  --closed: #17613a; --closed-on: #e2f2e8; --open: #8a4b00; --open-on: #fdeed8;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #15181b; --card: #1d2125; --ink: #e6e4e0; --quiet: #a2abb3; --line: #33393f; --link: #8cc0f0;
    --closed: #8fd8ab; --closed-on: #173325; --open: #f3bd73; --open-on: #3a2a12;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
header.top { display: flex; flex-wrap: wrap; gap: .25rem 1.75rem; align-items: baseline; padding: .8rem 1.25rem;
  max-width: 64rem; margin: 0 auto; }
header.top .name { font-weight: 650; }
header.top small { font-weight: 400; color: var(--quiet); }
header.top nav { display: flex; flex-wrap: wrap; gap: .25rem 1.1rem; }
header.top nav:last-child { margin-left: auto; font-size: .9rem; }
header.top a { text-decoration: none; padding: .15rem 0; }
header.top a:hover { text-decoration: underline; }
header.top a[aria-current] { color: var(--ink); border-bottom: 2px solid var(--ink); }
main { max-width: 64rem; margin: 0 auto; padding: .5rem 1.25rem 4rem; }
a { color: var(--link); }
h1 { font-size: 1.5rem; line-height: 1.25; font-weight: 650; margin: .6rem 0 1rem; overflow-wrap: anywhere; }
h2 { font-size: 1.05rem; font-weight: 650; margin: 2rem 0 .6rem; }
.crumb { margin: .4rem 0 0; font-size: .9rem; color: var(--quiet); overflow-wrap: anywhere; }
.note, .empty { color: var(--quiet); }
.note { font-size: .9rem; }
.empty { padding: 2.5rem 1rem; text-align: center; border: 1px dashed var(--line); border-radius: .6rem; }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: .6rem; background: var(--card); }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: baseline; padding: .5rem .9rem; font-weight: 400; }
tr + tr > *, tbody tr:first-child > * { border-top: 1px solid var(--line); }
table.fields tbody tr:first-child > *, table.fields tr:first-child > * { border-top: 0; }
thead th { font-size: .85rem; color: var(--quiet); }
.number { text-align: right; font-variant-numeric: tabular-nums; }
.when, time { white-space: nowrap; font-variant-numeric: tabular-nums; }
.when, header time { color: var(--quiet); }
.clip { max-width: 20rem; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.fields { font-size: .92rem; }
.fields th { color: var(--quiet); width: 1%; white-space: nowrap; padding: .3rem .9rem; }
.fields td { overflow-wrap: anywhere; padding: .3rem .9rem; }
.badge { display: inline-block; padding: .05rem .55rem; border-radius: 1rem; font-size: .85rem; white-space: nowrap; }
.badge.closed { color: var(--closed); background: var(--closed-on); }
.badge.open { color: var(--open); background: var(--open-on); }
pre { white-space: pre-wrap; overflow-wrap: anywhere; margin: 0; padding: .9rem;
  font: .92rem/1.5 ui-monospace, monospace;
  background: var(--card); border: 1px solid var(--line); border-radius: .6rem; }
iframe { display: block; width: 100%; height: 24rem; resize: vertical; border: 1px solid var(--line);
  border-radius: .6rem; background: #fff; color-scheme: light; }
details summary { cursor: pointer; padding: .3rem 0; }
code { font: .95rem ui-monospace, monospace; user-select: all; }
code.code { font-size: 1.15rem; letter-spacing: .08em; }
.sms { margin: 0 0 1.1rem; }
.sms header { display: flex; flex-wrap: wrap; justify-content: space-between; gap: .25rem 1rem; margin-bottom: .3rem; }
@media (max-width: 46rem) {
  thead { display: none; }
  tr { display: block; padding: .55rem .9rem; }
  tr + tr { border-top: 1px solid var(--line); }
  tr > *, table.fields tr > * { display: block; width: auto; max-width: none; padding: .05rem 0; text-align: left; }
  tr + tr > *, tbody tr:first-child > * { border-top: 0; }
  .list .number { display: none; }
  .clip { white-space: normal; overflow-wrap: anywhere; }
  td:empty { display: none; }
}
:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
"""
