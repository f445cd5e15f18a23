"""Fetching a small text: from a real server over HTTPS, and from nobody who is not what was named."""

from __future__ import annotations

import http.server
import ssl
import threading
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Final

import pytest

from tests.peers import free_port
from tests.peers.site import NAME, Site, gives, refers, site
from zegel.edge.fetch import Failed, Fetched, Fetcher, NotFetched, NotModified, host_of, is_public, refusal
from zegel.edge.tls import verifying_context
from zegel.local.authority import LocalAuthority, self_signed

MOST: Final = 10_000
LIST: Final = b"veilig.test\n"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> LocalAuthority:
    return LocalAuthority.load_or_create(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def lists(authority: LocalAuthority, tmp_path: Path) -> Iterator[Site]:
    with site(*authority.issue([NAME, "127.0.0.1"], tmp_path)) as found:
        found.answers["/lijst"] = gives(LIST)
        yield found


@pytest.fixture
def fetch(authority: LocalAuthority) -> Fetcher:
    return fetcher(authority)


def fetcher(authority: LocalAuthority, *, reaches_private: bool = True, within: float = 20.0) -> Fetcher:
    trust = verifying_context(authority.certificate_path)
    return Fetcher(trust, lambda host: ["127.0.0.1"], MOST, reaches_private=reaches_private, within=within)


# --- what is not fetched -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://lijsten.voorbeeld.test/",
        "ftp://lijsten.voorbeeld.test/",
        "file:///etc/passwd",
        "lijsten.voorbeeld.test",
        "https://",
        "https:///lijst",
        "https://localhost/",
        "https://user@lijsten.voorbeeld.test/",
        "https://user:secret@lijsten.voorbeeld.test/",
        "https://@lijsten.voorbeeld.test/",
        "https://lijsten.voorbeeld.test/#deel",
        "https://lijsten.voorbeeld.test:0/",
        "https://lijsten.voorbeeld.test:70000/",
        "https://lijsten.voorbeeld.test:x/",
        "https://lijsten.voorbeeld.test/een lijst",
        "https://lijsten.voorbeeld.test/\r\nHost: x",
        "https://lijsten.voorbeeld.test\\@ander.test/",
        "https://lijstën.voorbeeld.test/",
        "https://[::1/",
        "https://lijsten.voorbeeld.test/" + "x" * 1000,
    ],
)
def test_an_address_that_is_none_is_refused_and_never_asked(url: str, fetch: Fetcher, lists: Site) -> None:
    assert refusal(url) is NotFetched.NO_HTTPS
    assert fetch(url) == Failed(NotFetched.NO_HTTPS)
    assert host_of(url) == ""
    assert lists.asked == []


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.255.0.1",
        "0.0.0.0",
        "10.0.0.1",
        "172.16.5.4",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "192.0.2.1",
        "198.18.0.1",
        "224.0.0.1",
        "233.252.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::7f00:1",
        "::ffff:127.0.0.1",
        "::ffff:192.0.2.1",
        "::ffff:8.8.8.8",
        "fc00::1",
        "fd00::1",
        "fe80::1",
        "fe80::1%eth0",
        "ff02::1",
        "ff0e::1",
        "2001:db8::1",
        "2001::1",
        "2002:7f00:1::",
        "64:ff9b::7f00:1",
        "64:ff9b::a00:1",
        "64:ff9b:1::1",
    ],
)
def test_an_address_that_is_not_on_the_internet_is_never_connected_to(
    address: str, authority: LocalAuthority, lists: Site
) -> None:
    assert not is_public(ip_address(address))
    guarded = Fetcher(verifying_context(authority.certificate_path), lambda host: [address], MOST)
    assert guarded(lists.url()) == Failed(NotFetched.NOT_PUBLIC)
    beside_a_public_one = Fetcher(guarded.trust, lambda host: ["9.9.9.9", address], MOST)
    assert beside_a_public_one(lists.url()) == Failed(NotFetched.NOT_PUBLIC)
    assert lists.asked == []


def test_an_address_written_as_a_number_is_looked_at_as_well(authority: LocalAuthority, lists: Site) -> None:
    guarded = fetcher(authority, reaches_private=False)
    assert guarded(lists.url(host="127.0.0.1")) == Failed(NotFetched.NOT_PUBLIC)
    assert guarded(f"https://[::1]:{lists.port}/") == Failed(NotFetched.NOT_PUBLIC)
    assert lists.asked == []


@pytest.mark.parametrize("address", ["9.9.9.9", "193.0.0.1", "2620:fe::fe", "64:ff9b::909:909"])
def test_an_address_on_the_internet_is_one(address: str) -> None:
    assert is_public(ip_address(address))


def test_a_redirect_to_an_address_inside_is_not_followed(authority: LocalAuthority, lists: Site) -> None:
    """What a public server may do: send this one to a neighbour."""
    hosts = {NAME: ["127.0.0.1"], "binnen.voorbeeld.test": ["10.0.0.1"]}

    class Outside(Fetcher):
        def addresses(self, host: str) -> list[str]:
            return hosts[host] if host == NAME else super().addresses(host)

    lists.answers["/lijst"] = refers("https://binnen.voorbeeld.test/lijst")
    guarded = Outside(verifying_context(authority.certificate_path), hosts.__getitem__, MOST)
    assert guarded(lists.url()) == Failed(NotFetched.NOT_PUBLIC)
    assert len(lists.asked) == 1


def test_a_name_without_an_address_is_told(authority: LocalAuthority, lists: Site) -> None:
    nowhere = Fetcher(verifying_context(authority.certificate_path), lambda host: [], MOST, reaches_private=True)
    assert nowhere(lists.url()) == Failed(NotFetched.NO_ADDRESS)


def test_a_port_where_nobody_listens_is_told(fetch: Fetcher) -> None:
    assert fetch(f"https://{NAME}:{free_port()}/") == Failed(NotFetched.NO_CONNECTION)


def test_a_certificate_for_another_name_is_refused(fetch: Fetcher, authority: LocalAuthority, tmp_path: Path) -> None:
    with site(*authority.issue(["ander.test"], tmp_path)) as other:
        assert fetch(other.url()) == Failed(NotFetched.NO_CERTIFICATE)
        assert other.asked == []


def test_a_certificate_that_signs_itself_is_refused(fetch: Fetcher, tmp_path: Path) -> None:
    with site(*self_signed([NAME], tmp_path)) as other:
        assert fetch(other.url()) == Failed(NotFetched.NO_CERTIFICATE)
        assert other.asked == []


def test_an_authority_of_ones_own_is_not_believed_unless_the_settings_say_so(lists: Site) -> None:
    strict = Fetcher(verifying_context(None), lambda host: ["127.0.0.1"], MOST, reaches_private=True)
    assert strict(lists.url()) == Failed(NotFetched.NO_CERTIFICATE)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated:DeprecationWarning")
def test_an_old_tls_is_refused(fetch: Fetcher, authority: LocalAuthority, tmp_path: Path) -> None:
    with site(*authority.issue([NAME], tmp_path), newest=ssl.TLSVersion.TLSv1_1) as other:
        assert fetch(other.url()) == Failed(NotFetched.NO_TLS)


@pytest.mark.parametrize("status", [201, 204, 206, 304, 400, 401, 403, 404, 410, 418, 500, 503])
def test_an_answer_that_is_not_the_text_is_told_with_its_number(status: int, fetch: Fetcher, lists: Site) -> None:
    lists.answers["/lijst"] = gives(b"", status=status)
    assert fetch(lists.url()) == Failed(NotFetched.STATUS, status)


@pytest.mark.parametrize(
    "location", ["http://lijsten.voorbeeld.test/", "ftp://x.test/", "", "https://u:p@x.test/", "https://x.test/é"]
)
def test_a_redirect_to_what_is_not_https_is_refused(location: str, fetch: Fetcher, lists: Site) -> None:
    lists.answers["/lijst"] = refers(location)
    assert fetch(lists.url()) == Failed(NotFetched.BAD_REDIRECT)
    assert len(lists.asked) == 1


def test_a_loop_of_redirects_ends(fetch: Fetcher, lists: Site) -> None:
    lists.answers["/lijst"] = refers("/lijst")
    assert fetch(lists.url()) == Failed(NotFetched.REDIRECTS)
    assert len(lists.asked) == 4


def test_a_body_that_is_announced_too_large_and_one_that_has_no_end_are_cut_off(fetch: Fetcher, lists: Site) -> None:
    lists.answers["/lijst"] = gives(b"x" * (MOST + 1))
    assert fetch(lists.url()) == Failed(NotFetched.TOO_LARGE)

    def endless(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Transfer-Encoding", "chunked")
        request.end_headers()
        while True:
            request.wfile.write(b"400\r\n" + b"x" * 0x400 + b"\r\n")

    lists.answers["/lijst"] = endless
    assert fetch(lists.url()) == Failed(NotFetched.TOO_LARGE)


def test_as_much_as_may_be_is_taken(fetch: Fetcher, lists: Site) -> None:
    lists.answers["/lijst"] = gives(b"x" * MOST)
    assert fetch(lists.url()) == Fetched(b"x" * MOST, "")


@pytest.mark.parametrize("part", ["status line", "header", "body"])
def test_a_server_that_drips_is_left(part: str, authority: LocalAuthority, lists: Site) -> None:
    """Each octet comes in time; all of them would not."""
    stop = threading.Event()

    def drips(request: http.server.BaseHTTPRequestHandler) -> None:
        starts = {"status line": b"", "header": b"HTTP/1.0 200 OK\r\n", "body": b"HTTP/1.0 200 OK\r\n\r\n"}
        request.wfile.write(starts[part])
        while not stop.wait(0.05):
            request.wfile.write(b"x")

    lists.answers["/lijst"] = drips
    try:
        assert fetcher(authority, within=1.0)(lists.url()) == Failed(NotFetched.TOO_SLOW)
    finally:
        stop.set()


def test_a_server_that_is_silent_is_left(authority: LocalAuthority, lists: Site) -> None:
    stop = threading.Event()

    def waits(request: http.server.BaseHTTPRequestHandler) -> None:
        stop.wait(20)

    lists.answers["/lijst"] = waits
    try:
        assert fetcher(authority, within=0.5)(lists.url()) == Failed(NotFetched.TOO_SLOW)
    finally:
        stop.set()


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"rubbish\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nhalf.test\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nx.tes",
        b"HTTP/1.1 200 OK\r\n\r\nhalf.test\n",  # its end is not said by TLS: anyone on the way can have cut it
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70_000,
    ],
)
def test_an_answer_that_is_none_or_only_half_is_not_taken(octets: bytes, fetch: Fetcher, lists: Site) -> None:
    def cut(request: http.server.BaseHTTPRequestHandler) -> None:
        request.wfile.write(octets)
        request.wfile.flush()
        request.close_connection = True
        request.connection.shutdown(2)

    lists.answers["/lijst"] = cut
    assert fetch(lists.url()) == Failed(NotFetched.BROKEN_OFF)


def test_a_body_that_ends_before_its_announced_length_is_not_taken(fetch: Fetcher, lists: Site) -> None:
    """Also where the end is said by TLS, so that nobody on the way cut it."""

    def short(request: http.server.BaseHTTPRequestHandler) -> None:
        request.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nhalf.test\n")
        request.close_connection = True
        assert isinstance(request.connection, ssl.SSLSocket)
        request.connection.unwrap()

    lists.answers["/lijst"] = short
    assert fetch(lists.url()) == Failed(NotFetched.BROKEN_OFF)


def test_a_coded_body_is_not_taken_for_text(fetch: Fetcher, lists: Site) -> None:
    lists.answers["/lijst"] = gives(LIST, Content_Encoding="gzip")
    assert fetch(lists.url()) == Failed(NotFetched.STATUS, 200)


# --- what is fetched ---------------------------------------------------------------------------------------------


def test_the_text_is_fetched_with_nothing_that_tells_who_asks(
    fetch: Fetcher, lists: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    lists.answers["/lijst?van=ons"] = gives(LIST, Set_Cookie="volg=mij")
    assert fetch(lists.url("/lijst?van=ons")) == Fetched(LIST, "")
    assert fetch(lists.url("/lijst?van=ons")) == Fetched(LIST, "")
    [(path, headers), (_, again)] = lists.asked
    assert path == "/lijst?van=ons"
    assert headers["host"] == f"{NAME}:{lists.port}"
    assert again == headers
    assert set(headers) == {"host", "accept", "accept-encoding", "connection", "user-agent"}


def test_a_list_that_did_not_change_is_not_sent_again(fetch: Fetcher, lists: Site) -> None:
    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        known = request.headers.get("If-None-Match") == current
        gives(b"" if known else LIST, status=304 if known else 200, ETag=current)(request)

    lists.answers["/lijst"] = answer
    current = '"een"'
    first = fetch(lists.url())
    assert isinstance(first, Fetched) and first.octets == LIST
    assert fetch(lists.url(), first.validator) == NotModified()
    current = 'W/"twee"'
    second = fetch(lists.url(), first.validator)
    assert isinstance(second, Fetched)
    assert fetch(lists.url(), second.validator) == NotModified()


def test_an_etag_counts_at_the_address_that_gave_it(fetch: Fetcher, lists: Site) -> None:
    """After a redirect elsewhere the same ETag can stand for another text."""
    lists.answers["/a"] = gives(LIST, ETag='"1"')
    lists.answers["/lijst"] = refers("/a")
    first = fetch(lists.url())
    assert isinstance(first, Fetched) and first.validator
    fetch(lists.url(), first.validator)
    lists.answers["/lijst"] = refers("/b")
    lists.answers["/b"] = gives(b"ander.test\n", ETag='"1"')
    assert isinstance(fetch(lists.url(), first.validator), Fetched)
    sent = [(path, headers.get("if-none-match")) for path, headers in lists.asked]
    assert sent == [
        ("/lijst", None), ("/a", None), ("/lijst", None), ("/a", '"1"'), ("/lijst", None), ("/b", None)
    ]  # fmt: skip


@pytest.mark.parametrize("etag", ["bare", '"sp ace"', '"' + "x" * 300 + '"', '"é"'])
def test_an_etag_that_is_none_is_not_kept(etag: str, fetch: Fetcher, lists: Site) -> None:
    lists.answers["/lijst"] = gives(LIST, ETag=etag)
    assert fetch(lists.url()) == Fetched(LIST, "")


def test_a_few_redirects_are_followed(fetch: Fetcher, lists: Site) -> None:
    lists.answers |= {"/3": refers("/2"), "/2": refers(lists.url("/1")), "/1": refers("lijst#deel")}
    assert fetch(lists.url("/3")) == Fetched(LIST, "")


def test_an_address_that_is_silent_leaves_time_for_the_next(authority: LocalAuthority, lists: Site) -> None:
    trust = verifying_context(authority.certificate_path)
    several = Fetcher(trust, lambda host: ["127.0.0.9", "127.0.0.1"], MOST, reaches_private=True)
    assert several(lists.url()) == Fetched(LIST, "")


def test_only_the_host_is_for_the_log() -> None:
    assert host_of("https://lijsten.voorbeeld.test:8443/geheim?sleutel=1") == NAME
