"""Guessing is slow, bounded, and doesn't keep the owner out (P15)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from ipaddress import ip_network

import pytest
from django.conf import settings as django_settings
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory, override_settings
from django.utils import timezone
from structlog.testing import capture_logs

from tests.web.conftest import PASSWORD, SECRET, browser, give_code, give_password, signed_in
from zegel.accounts import throttle
from zegel.accounts.models import Account, SignInFailure
from zegel.accounts.sign_in import current_totp
from zegel.accounts.throttle import (
    FREE,
    LONGEST_WAIT,
    MOST_BY_KNOWN,
    MOST_BY_STRANGERS,
    TooManyTries,
    begin,
    wait_after,
)
from zegel.settings import Portal

ADDRESS = "beheer@voorbeeld.test"


def visitor(address: str = "192.0.2.1", **cookies: str) -> HttpRequest:
    request = RequestFactory().post("/", REMOTE_ADDR=address)
    request.COOKIES.update(cookies)
    return request


def known(key: str) -> str:
    """The cookie of a browser that signed in to this account."""
    response = HttpResponse()
    throttle.remember_browser(visitor(), response, key)
    return response.cookies[throttle.KNOWN_COOKIE].value


def everything_is(ago: timedelta) -> None:
    """As if that much time had passed."""
    for row in SignInFailure.objects.all():
        row.last_at -= ago
        row.save()


def failures_until_refused(request: HttpRequest, most: int = 200) -> int:
    for count in range(most):
        try:
            begin(request, "password", ADDRESS)
        except TooManyTries:
            return count
        everything_is(LONGEST_WAIT)
    return most


def test_the_sixth_try_has_to_wait_even_with_the_right_password(administrator: Account) -> None:
    client = browser("en")
    for _ in range(FREE):
        give_password(client, ADDRESS, "something else entirely")
    refused = give_password(client, ADDRESS)
    assert "Too many tries" in refused.content.decode()
    everything_is(timedelta(seconds=31))
    assert give_password(client, ADDRESS).status_code == 302


def test_an_address_that_nobody_has_waits_as_long(db: None) -> None:
    client = browser("en")
    for _ in range(FREE):
        give_password(client, "niemand@voorbeeld.test", "something else entirely")
    assert "Too many tries" in give_password(client, "niemand@voorbeeld.test").content.decode()


def test_waiting_doubles_up_to_an_hour() -> None:
    waits = [wait_after(failures) for failures in range(FREE, 200)]
    assert waits[0] == timedelta(seconds=30)
    assert all(later == min(2 * earlier, LONGEST_WAIT) for earlier, later in itertools.pairwise(waits))
    assert not any(wait_after(failures) for failures in range(FREE))


def test_strangers_never_fail_more_than_their_share_however_long_they_wait(db: None) -> None:
    assert failures_until_refused(visitor()) == MOST_BY_STRANGERS


def test_a_thousand_machines_guess_no_more_than_one(db: None) -> None:
    count = 0
    for number in range(1000):
        try:
            begin(visitor(f"2001:db8:0:{number:x}::1"), "password", ADDRESS)
            count += 1
        except TooManyTries:
            break
    assert count == MOST_BY_STRANGERS


def test_all_failures_together_stay_below_a_hundred(db: None) -> None:
    assert (
        failures_until_refused(visitor()) + failures_until_refused(visitor(**{throttle.KNOWN_COOKIE: known(ADDRESS)}))
        <= 100
    )
    assert MOST_BY_KNOWN + MOST_BY_STRANGERS <= 100


def test_the_owner_signs_in_from_a_known_browser_while_strangers_are_shut_out(administrator: Account) -> None:
    owner = signed_in(administrator)
    owner.post("/account/sign-out/")
    assert throttle.KNOWN_COOKIE in owner.cookies
    failures_until_refused(visitor("127.0.0.1"))
    assert give_password(Client(), ADDRESS).status_code == 200
    assert give_password(owner, ADDRESS).status_code == 302


def test_a_session_goes_on_while_strangers_are_shut_out(administrator: Account) -> None:
    owner = signed_in(administrator)
    failures_until_refused(visitor("127.0.0.1"))
    assert owner.get("/console/").status_code == 200


@pytest.mark.parametrize("cookie", ["", "x", "eyJicm93c2VyIjoiMSJ9:1:x"])
def test_a_cookie_that_is_not_ours_makes_nobody_known(db: None, cookie: str) -> None:
    failures_until_refused(visitor())
    with pytest.raises(TooManyTries):
        begin(visitor(**{throttle.KNOWN_COOKIE: cookie}), "password", ADDRESS)


def test_a_browser_known_for_one_account_is_a_stranger_to_another(db: None) -> None:
    failures_until_refused(visitor())
    with pytest.raises(TooManyTries):
        begin(visitor(**{throttle.KNOWN_COOKIE: known("iemand@voorbeeld.test")}), "password", ADDRESS)


def test_the_password_alone_makes_no_browser_known(administrator: Account) -> None:
    client = Client()
    give_password(client, ADDRESS)
    assert throttle.KNOWN_COOKIE not in client.cookies


def test_success_forgets_the_failures_of_this_place(db: None) -> None:
    for _ in range(FREE - 1):
        begin(visitor(), "password", ADDRESS)
    begin(visitor(), "password", ADDRESS).succeeded()
    for _ in range(FREE):
        begin(visitor(), "password", ADDRESS)


def test_a_clock_that_went_back_makes_nobody_wait_longer(db: None) -> None:
    for _ in range(FREE):
        begin(visitor(), "password", ADDRESS)
    everything_is(timedelta(days=-1))
    with pytest.raises(TooManyTries):
        begin(visitor(), "password", ADDRESS)
    everything_is(timedelta(seconds=31))
    begin(visitor(), "password", ADDRESS)


def test_codes_are_counted_too_and_the_right_one_is_refused_after_the_lock(administrator: Account) -> None:
    client = browser("en")
    give_password(client, ADDRESS)
    for _ in range(FREE):
        give_code(client, "000000" if current_totp(SECRET) != "000000" else "000001")
    assert "Too many tries" in give_code(client).content.decode()
    assert not client.get("/").context["user"].is_authenticated


def test_the_old_password_is_guarded_like_the_door(administrator: Account) -> None:
    client = signed_in(administrator)
    new = "seven green bicycles"
    for old in ["something else entirely"] * FREE + [PASSWORD]:
        client.post("/account/password/", {"oldpassword": old, "password1": new, "password2": new})
    administrator.refresh_from_db()
    assert administrator.check_password(PASSWORD)


def test_an_administrator_can_open_the_way_again(db: None) -> None:
    failures_until_refused(visitor())
    throttle.forget("password", ADDRESS)
    begin(visitor(), "password", ADDRESS)


def test_only_typing_errors_are_forgotten_by_time(db: None) -> None:
    begin(visitor(), "password", "vergist@voorbeeld.test")
    for number in range(FREE):
        begin(visitor(f"192.0.2.{number}"), "password", ADDRESS)
    everything_is(timedelta(days=31))
    throttle.forget_old(timezone.now())
    assert [row.failures for row in SignInFailure.objects.all()] == [FREE]


# Behind a proxy


def told(peer: str, *written: str) -> HttpRequest:
    """As the proxy with this address passes it on."""
    return RequestFactory().post("/", REMOTE_ADDR=peer, HTTP_X_FORWARDED_FOR=", ".join(written))


@pytest.fixture
def proxies() -> Iterator[None]:
    networks = (ip_network("192.0.2.0/28"), ip_network("2001:db8:1::/64"))
    with override_settings(ZEGEL=django_settings.ZEGEL.model_copy(update={"portal": Portal(trusted_proxies=networks)})):
        yield


@pytest.mark.usefixtures("proxies")
@pytest.mark.parametrize("peer", ["198.51.100.66", "127.0.0.1", "192.0.2.16", "2001:db8:2::1", "::ffff:198.51.100.66"])
def test_nobody_but_a_trusted_proxy_says_where_a_visitor_is(peer: str) -> None:
    assert throttle.address_of(told(peer, "203.0.113.1")) == peer.removeprefix("::ffff:")
    assert throttle.place_of(told(peer, "203.0.113.1")) == throttle.place_of(told(peer, "203.0.113.2"))


@pytest.mark.usefixtures("proxies")
@pytest.mark.parametrize(
    ("written", "found"),
    [
        (("203.0.113.1",), "203.0.113.1"),
        (("10.0.0.1", "127.0.0.1", "203.0.113.1"), "203.0.113.1"),  # what the visitor wrote stands before
        (("192.0.2.3", "203.0.113.1"), "203.0.113.1"),  # also when it looks like a proxy
        (("203.0.113.1", "192.0.2.2"), "203.0.113.1"),  # two proxies
        (("203.0.113.1", "2001:db8:1::7"), "203.0.113.1"),
        (("198.51.100.1", "203.0.113.1", "192.0.2.2", "192.0.2.3"), "203.0.113.1"),
        (("192.0.2.5",), "192.0.2.5"),  # somebody on the proxy itself
        (("2001:db8:7::1",), "2001:db8:7::1"),
        (("::ffff:203.0.113.1",), "203.0.113.1"),
        (("203.0.113.1", ""), "192.0.2.1"),
        (("203.0.113.1", "unknown"), "192.0.2.1"),
        (("203.0.113.1", "203.0.113.2:4711"), "192.0.2.1"),
        (("203.0.113.1 203.0.113.2",), "192.0.2.1"),
        (("fe80::1%<script>",), "fe80::1"),
        (("\u0661.2.3.4",), "192.0.2.1"),
        (("0" * 100_000,), "192.0.2.1"),
        ((), "192.0.2.1"),
    ],
)
def test_the_last_who_is_no_proxy_is_the_visitor(written: tuple[str, ...], found: str) -> None:
    assert throttle.address_of(told("192.0.2.1", *written)) == found


@pytest.mark.usefixtures("proxies")
def test_what_a_visitor_writes_before_makes_no_other_place(db: None) -> None:
    for number in range(FREE):
        begin(told("192.0.2.1", f"203.0.113.{number}", "198.51.100.66"), "password", ADDRESS)
    with pytest.raises(TooManyTries):
        begin(told("192.0.2.1", "203.0.113.99", "198.51.100.66"), "password", ADDRESS)
    begin(told("192.0.2.1", "203.0.113.99"), "password", ADDRESS)


def test_a_proxy_on_this_machine_is_believed_where_nothing_is_set(administrator: Account) -> None:
    one = Client(REMOTE_ADDR="127.0.0.1", HTTP_X_FORWARDED_FOR="203.0.113.9")
    for _ in range(FREE):
        give_password(one, ADDRESS, "something else entirely")
    assert give_password(one, ADDRESS).status_code == 200
    other = Client(REMOTE_ADDR="127.0.0.1", HTTP_X_FORWARDED_FOR="203.0.113.9, 198.51.100.7")
    assert give_password(other, ADDRESS).status_code == 302


def test_the_log_of_refused_sign_ins_names_the_visitor(db: None) -> None:
    client = Client(REMOTE_ADDR="127.0.0.1", HTTP_X_FORWARDED_FOR="198.51.100.7")
    with capture_logs() as logged:
        give_password(client, "niemand@voorbeeld.test")
    assert [one["source"] for one in logged if one["event"] == "sign_in_refused"] == ["198.51.100.7"]


def test_visitors_of_a_socket_for_both_families_are_not_one_network() -> None:
    one, other = (visitor(f"::ffff:203.0.113.{number}") for number in (1, 2))
    assert throttle.place_of(one) != throttle.place_of(other)
    assert throttle.place_of(one) == throttle.place_of(visitor("203.0.113.1"))


@pytest.mark.django_db(transaction=True)
def test_fifty_tries_at_once_count_as_fifty() -> None:
    def guess(number: int) -> bool:
        try:
            begin(visitor(f"192.0.2.{number}"), "password", ADDRESS)
        except TooManyTries:
            return False
        finally:
            connection.close()
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(guess, range(50))) == 50
    total = SignInFailure.objects.order_by("-failures").first()
    assert total is not None
    assert total.failures == 50
    assert isinstance(total.last_at, datetime)
