"""Hostile HTML is inert (P16): what is left of it as text, and what a browser does with it behind each fence."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

import nh3
import pytest
from hypothesis import given
from hypothesis import strategies as st
from playwright.sync_api import Dialog, Route

from tests.journey.hostile import HIDDEN, HOSTILE, NOT_LOADED, REMOTE
from tests.needs import needs
from tests.peers.chromium import Chromium, Visit, browser
from zegel.journey.portal import reading
from zegel.journey.portal.inert import MAX_DEPTH, Inline, make_inert, place_of, style
from zegel.journey.portal.showing import with_links

SITE = "http://portal.test/"
FENCE = 'sandbox="allow-popups allow-popups-to-escape-sandbox"'  # as in portal/message.html


def markup_of(source: str) -> str:
    """With a number where an image of the message would be."""
    pieces = make_inert(source).pieces
    return "".join(piece if isinstance(piece, str) else 'src="data:image/png;base64,AAAA"' for piece in pieces)


# What is left


@pytest.mark.parametrize("source", HOSTILE.values(), ids=HOSTILE.keys())
def test_nothing_is_left_that_runs_or_fetches(source: str) -> None:
    for tag in re.findall(r"<[^>]*>", markup_of(source)):
        attributes = dict(re.findall(r'([^\s="<>/]+)="([^"]*)"', tag))
        assert not re.match(r"(?i)<(?:script|style|svg|math|iframe|form|input|button|link|meta|base|object)\b", tag), (
            tag
        )
        assert re.fullmatch(r"</?[a-z0-9]+(?: [a-z]+=\"[^\"]*\")*>", tag), tag
        assert not any(name.startswith("on") or name in ("srcset", "ping", "background") for name in attributes), tag
        assert re.match("https?:|mailto:|tel:|$", attributes.get("href", "")), tag
        assert attributes.get("src", "data:image/png;").startswith("data:image/png;"), tag
        assert "url" not in attributes.get("style", ""), tag
        if tag.startswith("<a "):
            assert attributes["target"] == "_blank" and attributes["rel"] == "noopener noreferrer"


@pytest.mark.parametrize("source", HIDDEN)
def test_text_that_was_hidden_is_seen(source: str) -> None:
    left = markup_of(source.format("Maak over naar NL00"))
    assert "Maak over naar NL00" in left
    assert not re.search(r"style=|hidden|<details|<noscript", left)


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("https://bank.test@evil.test/", "evil.test"),
        ("https://evil.test\\@bank.test/", "evil.test"),
        ("https://b&#97;nk.test.evil.test/", "bank.test.evil.test"),
        ("https://bänk.test/", "xn--bnk-qla.test"),
        ("mailto:x@evil.test?subject=bank.test", "x@evil.test"),
        ("tel:+31900", "+31900"),
        ("http:evil.test", "evil.test"),
        ("https:/evil.test", "evil.test"),
        ("https:///evil.test", "evil.test"),
        ("ht&#9;tps:\\&#10;\\evil.test", "evil.test"),
        ("&#1;https://evil.test", "evil.test"),
        ("https://evil%2Etest/", "evil.test"),
        ("https://\u05d01.evil.test/", "?"),  # browsers go there; Python's IDNA has no name for it
        ("https:", "?"),
        (
            "https://bank.test." + "a" * 60 + "." + "b" * 60 + ".evil.test",
            "…" + "a" * 29 + "." + "b" * 60 + ".evil.test",
        ),
        ("mailto:%E2%80%AEtset.live@x", "tset.live@x"),
    ],
)
def test_a_link_says_where_it_leads(source: str, shown: str) -> None:
    assert f"[{shown}]</span></a>" in markup_of(f'<a href="{source}">https://bank.test/</a>')


@pytest.mark.parametrize(
    "text",
    [
        "bank.test",
        "https://bank.test/",
        "https://bank.test@evil.test/",
        "<b>evil.test</b>",
        'evil.test<span style="color:#fff">x</span>',
        "evil.test en meer",
        '<img src="cid:x" alt="evil.test">',
    ],
)
def test_no_text_of_a_link_takes_the_place_of_where_it_leads(text: str) -> None:
    assert "[evil.test]" in markup_of(f'<a href="https://evil.test/">{text}</a>')


@pytest.mark.parametrize("text", ["evil.test", "https://evil.test/pad?a=1", " HTTPS://EVIL.TEST/ "])
def test_a_link_that_says_it_itself_says_it_once(text: str) -> None:
    assert "[evil.test]" not in markup_of(f'<a href="https://evil.test/">{text}</a>')


@pytest.mark.parametrize(
    ("leads", "text"),
    [
        ("https://\u05d01.evil.test/", "https://bank.test\u200e"),  # no name for either: not the same for that
        ("https://\u05d01.evil.test/", "https://[bank.test"),
        ("https://strasse.test/", "https://straße.test/"),
        ("https://xn--bnk-5cd.test/", "https://b\u0430nk.test/"),
        ("https://" + "a." * 60 + "evil.test/", "https://" + "a." * 60 + "bank.test/"),
    ],
)
def test_what_only_looks_like_where_it_leads_does_not_take_its_place(leads: str, text: str) -> None:
    assert 'class="leads-to"' in markup_of(f'<a href="{leads}">{text}</a>')


@pytest.mark.parametrize(
    "source", ["http:evil.test/a", "http:///evil.test/a", "HTTP:/\\evil.test/a", " http:\t//evil.test/a"]
)
def test_a_link_is_written_as_every_browser_reads_it(source: str) -> None:
    assert 'href="http://evil.test/a"' in markup_of(f'<a href="{source}">x</a>')


def test_ordinary_mail_looks_as_it_was_meant() -> None:
    source = (
        '<div style="font-family:Calibri,sans-serif;font-size:11pt;color:#333333"><p class=MsoNormal>Beste <b>allen'
        '</b>,</p><table border=1 width="100%">'
        '<tr><td align=right style="padding:4px;background-color:#eee">1</td></tr>'
        "</table><ul><li>een<li>twee</ul><blockquote>eerder</blockquote></div>"
    )
    left = markup_of(source)
    for piece in (
        "font-family:Calibri",
        "font-size:11pt",
        "color:#333333",
        "<b>allen</b>",
        '<table border="1" width="100%">',
        "background-color:#eee",
        "<ul><li>een</li><li>twee</li></ul>",
        "<blockquote>eerder</blockquote>",
    ):
        assert piece in left


def test_images_of_the_message_keep_their_place_and_others_are_counted() -> None:
    found = make_inert(
        'a<img src="cid:%6Cogo@x" width=10>b<img src="http://x.test/1"><img src="http://x.test/2" alt=Kaart>'
    )
    assert found.content_ids == {"logo@x"} and found.withheld == 2
    assert [type(piece) for piece in found.pieces] == [str, Inline, str]
    assert "[Kaart]" in str(found.pieces[2])


def test_text_can_not_look_like_the_place_of_an_image() -> None:
    found = make_inert('src="cid:0-0" <img src="cid:x"> src="cid:0-0"')
    assert sum(isinstance(piece, Inline) for piece in found.pieces) == 1


@pytest.mark.parametrize("value", ["url(x)", "u\\72l(x)", "-1px", "99999px", "expression(1)", "var(--x)", "1px/**/"])
def test_a_value_that_could_do_more_than_look_is_dropped(value: str) -> None:
    assert style(f"margin:{value};width:{value};color:{value};padding:{value};font:{value}") == ""


# Images from elsewhere, when the reader asks for them


def loaded_of(source: str) -> list[str]:
    """The addresses that images have in that mode."""
    pieces = make_inert(source, remote_images=True).pieces
    found = re.findall(r'<img [^>]*src="(?!data:)([^"]*)"', "".join(one for one in pieces if isinstance(one, str)))
    return [html.unescape(one) for one in found]


@pytest.mark.parametrize("source", REMOTE.values(), ids=REMOTE.keys())
def test_an_image_keeps_its_address_only_when_it_is_asked_for(source: str) -> None:
    markup = source.format("kaart.png?a=1&amp;b=2")
    assert loaded_of(markup) == ["https://images.example.org/kaart.png?a=1&b=2"]
    assert "images.example.org/kaart" not in markup_of(markup)
    assert make_inert(markup).loadable == make_inert(markup).withheld == 1
    assert make_inert(markup, remote_images=True).withheld == 0


@pytest.mark.parametrize("place", NOT_LOADED)
def test_no_image_is_loaded_from_a_place_that_could_be_another_one(place: str) -> None:
    markup = f'<img src="{html.escape(place)}">'
    assert loaded_of(markup) == []
    assert make_inert(markup).loadable == 0


@pytest.mark.parametrize("source", HOSTILE.values(), ids=HOSTILE.keys())
def test_asking_for_images_gives_nothing_else_an_address(source: str) -> None:
    with_images = "".join(
        one if isinstance(one, str) else 'src="data:image/png;base64,AAAA"'
        for one in make_inert(source, remote_images=True).pieces
    )
    without = markup_of(source)
    images = re.compile(r'<img [^>]*>|<span class="withheld">.*?</span>')
    assert images.sub("", with_images) == images.sub("", without)


# Whatever it is


WORDS = (
    "<p> </p> <b> </b> <font/color=1> </font> <a/href=http://x.test> </a> <table> </table> <tr> <td> </td> <li> <ul> "
    "</ul> <div> </div> <svg> </svg> <style> </style> <script> </script> <!-- --> <![CDATA[ ]]> <img/src=cid:x> <br> "
    "</tr> <caption> <th> <tbody> <select> </select> <template> <dd> <dt> <h1> </h1> &lt; &amp; < > \" ' tekst"
)
PIECES = st.lists(st.sampled_from(WORDS.split()))


@given(PIECES)
def test_what_is_left_is_balanced_and_stays_the_same_when_read_again(pieces: list[str]) -> None:
    left = markup_of(" ".join(pieces))
    stack: list[str] = []
    for closing, name in re.findall(r"<(/?)([a-z0-9]+)[^>]*>", left):
        if name in ("br", "img"):
            continue
        if closing:
            assert stack and stack.pop() == name
        else:
            stack.append(name)
        assert len(stack) <= MAX_DEPTH + 3
    assert not stack
    assert markup_of(left).count("<") >= left.count("<")  # places of links are said again, nothing is lost
    assert nh3.is_html(left) or "<" not in left


@given(st.text(alphabet="<>/!-=\"'`&;abimgsrcptdlx \n\t\0\\", max_size=300))
def test_no_text_breaks_it(source: str) -> None:
    left = markup_of(source)
    assert not re.search(r"(?i)<(?:script|style|svg|iframe|form)", left)


BLOW_UPS = {
    "misnested formatting": "<p>" + "".join(f"<font color=c{n}>" for n in range(20_000)) + "<p>x" * 20_000,
    "formatting around tables": "<table>" + "<b><i><u>" * 5_000 + "<tr></tr>x" * 20_000,
    "formatting in items": "<ul>" + "<li><b><i>" * 50_000,
    "depth of blocks": "<div>" * 400_000,
    "depth of tables": "<table><tr><td>" * 100_000,
    "links in links": "<a href=x>" * 100_000,
    "open quotes": "<a b=\"'" * 200_000,
    "open quotes of two kinds": "<a '" * 400_000 + '"',
    "open comments": "<!--" * 300_000,
    "open scripts": "<script" * 200_000,
    "skipped elements that never close": "<svg>" * 300_000,
    "attributes": "<p " + "a=b " * 500_000 + ">",
    "declarations": '<p style="' + "color:red;" * 200_000 + '">',
    "entities": "&" * 1_000_000,
    "angles": "<" * 1_000_000,
    "spaces in a tag": "<a" + " " * 2_000_000 + ">",
    "one long word": "x" * 3_900_000,
}


@pytest.mark.parametrize("source", BLOW_UPS.values(), ids=BLOW_UPS.keys())
def test_no_input_makes_more_of_itself(source: str) -> None:
    """An HTML parser repeats misnested formatting for each paragraph: 43 kB of it became 106 MB in half a minute.
    What isn't linear doesn't end here."""
    assert len(markup_of(source)) <= 6 * len(source) + 1000


# What a browser does


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    needs("chromium")
    with browser({"portal.test": "127.0.0.1", "evil.test": "127.0.0.1"}) as running:
        yield running


def look_at(visit: Visit, frames: list[str], headers: dict[str, str], *, fence: str = FENCE) -> list[str]:
    """What was asked for beyond a page and its frames, one for each markup; and what they could open or move."""
    page, said = visit.page, list[str]()
    markup = {f"{SITE}frame/{number}": one for number, one in enumerate(frames)}
    outer = "".join(f'<iframe {fence} src="/frame/{number}"></iframe>' for number in range(len(frames)))

    def serve(route: Route) -> None:
        asked = route.request.url
        if asked == SITE:
            route.fulfill(headers={"Content-Type": "text/html"}, body=outer)
        elif asked in markup:
            route.fulfill(headers={"Content-Type": "text/html; charset=utf-8", **headers}, body=markup[asked])
        else:
            said.append(asked)
            route.abort()

    def told(dialog: Dialog) -> None:
        said.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", told)
    visit.context.route("**/*", serve)
    page.goto(SITE, wait_until="domcontentloaded")
    for _ in range(100):
        if all(frame.url for frame in page.main_frame.child_frames):
            break
        page.wait_for_timeout(200)
    page.wait_for_timeout(1000)  # for what would run once it is there
    assert len(page.main_frame.child_frames) == len(frames)
    moved = [frame.url for frame in page.main_frame.child_frames if frame.url not in markup]
    opened = [one.url for one in visit.context.pages if one is not page]
    return [one for one in (*said, *moved, *opened) if one != f"{SITE}favicon.ico"]


def test_behind_all_fences_a_browser_asks_for_nothing_and_runs_nothing(chromium: Chromium) -> None:
    with chromium.visit() as visit:
        frames = [markup_of(source) for source in HOSTILE.values()]
        assert look_at(visit, frames, {"Content-Security-Policy": reading.POLICY}) == []
        assert not [asked for asked in visit.requests if not asked.startswith((SITE, "data:"))]


def test_the_rewriting_alone_is_enough(chromium: Chromium) -> None:
    with chromium.visit() as visit:
        assert look_at(visit, [markup_of(source) for source in HOSTILE.values()], {}, fence="") == []
        assert not [asked for asked in visit.requests if not asked.startswith((SITE, "data:"))]


def test_the_frame_and_its_policy_alone_are_enough(chromium: Chromium) -> None:
    with chromium.visit() as visit:
        assert look_at(visit, list(HOSTILE.values()), {"Content-Security-Policy": reading.POLICY}) == []


def test_without_any_fence_the_same_corpus_bites(chromium: Chromium) -> None:
    with chromium.visit() as visit:
        reached = look_at(visit, list(HOSTILE.values()), {}, fence="")
        assert sum("evil.test" in asked for asked in reached) > 40


def test_a_link_opens_apart_and_tells_nothing_of_where_it_was(chromium: Chromium) -> None:
    with chromium.visit() as visit:
        frame = markup_of('<a href="http://evil.test/x">x</a>')
        assert look_at(visit, [frame], {"Content-Security-Policy": reading.POLICY}) == []
        seen = list[dict[str, str]]()

        def there(route: Route) -> None:
            seen.append(route.request.all_headers())
            route.fulfill(body="<p>there</p>", headers={"Content-Type": "text/html"})

        visit.context.route("http://evil.test/**", there)
        with visit.context.expect_page() as opening:
            visit.page.frame_locator("iframe").locator("a").click()
        opening.value.wait_for_load_state()
        assert opening.value.evaluate("window.opener") is None
        assert "referer" not in seen[0]
        assert visit.page.url == SITE


@pytest.mark.parametrize(
    "link", ["http://[", "http://", "https:///x", "http://a:b:c/", "mailto:", "http://\u2024.test"]
)
def test_a_link_to_nowhere_has_a_place_too(link: str) -> None:
    assert isinstance(place_of(link), str)


BACKWARDS = "https://evil.test/ln.knab//:sptth"  # read from its end: https://bank.nl/tset.live//:sptth
TURNED = (
    markup_of(f'<bdo dir="rtl"><a href="{BACKWARDS}">{BACKWARDS}</a></bdo>'),
    markup_of(f'\u202e<a href="{BACKWARDS}">{BACKWARDS}</a>'),
    markup_of(f'<div dir="rtl"><bdo dir="rtl"><b><a href="{BACKWARDS}">{BACKWARDS}</a></b></bdo></div>'),
    with_links(f"\u202e{BACKWARDS}"),
    with_links(f"\u2067\u202e{BACKWARDS}\u202e"),
    with_links(f"https://evil.test/\u202e{BACKWARDS[18:]}"),
)
EDGES = """() => {
  const text = document.querySelector("a").firstChild, range = document.createRange();
  const at = (place) => {
    range.setStart(text, place);
    range.setEnd(text, place + 1);
    return range.getBoundingClientRect().x;
  };
  return [at(0), at(text.length - 1)];
}"""


def test_nothing_around_an_address_makes_it_read_backwards(chromium: Chromium) -> None:
    with chromium.visit() as visit:
        for markup in TURNED:
            visit.page.set_content(f'<div dir="auto">{markup}</div>')
            first, last = visit.page.evaluate(EDGES)
            assert first < last, markup
            assert "\u202e" not in visit.page.locator("a").inner_text()
