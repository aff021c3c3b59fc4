"""Who may be told what: owners of domains, addresses inside the network, realms, proxies, and words without secrets."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from yarddesk.upstream.failures import parse_retry_after
from yarddesk.upstream.origins import Origin, may_be_reached_from, same_owner
from yarddesk.upstream.proxies import Proxies
from yarddesk.upstream.realms import RealmTrust, trust_in
from yarddesk.upstream.words import MAX_WORDS, clean, said


def origin(url: str) -> Origin:
    return Origin.of(httpx.URL(url))


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("registry-1.docker.io", "auth.docker.io", True),
        ("registry.gitlab.com", "gitlab.com", True),
        ("quay.io", "QUAY.io", True),
        ("registry.corp.co.uk", "auth.corp.co.uk", True),
        ("registry.corp.co.uk", "evil.co.uk", False),
        ("docker.io", "docker.io.evil.example", False),
        ("corp.example", "evilcorp.example", False),
        ("bucket.s3.amazonaws.com", "evil.amazonaws.com", False),
        ("mine.azurecr.io", "theirs.azurecr.io", False),
        ("a.azurecr.io", "b.a.azurecr.io", True),
        ("localhost", "other", False),
        ("registry", "registry", True),
        ("10.0.0.1", "10.0.0.2", False),
        ("10.0.0.1", "10.0.0.1", True),
        ("1.corp.example", "10.0.0.1", False),
        ("example.com", "com", False),
    ],
)
def test_owners_of_domains(first: str, second: str, same: bool) -> None:
    assert same_owner(first, second) is same
    assert same_owner(second, first) is same


@pytest.mark.parametrize(
    "target",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://127.0.0.1:8080/",
        "http://0.0.0.0/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://10.1.2.3/",
        "http://192.168.0.1/",
        "http://localhost/",
        "http://[fe80::1]/",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://127.1/",
    ],
)
def test_a_registry_outside_sends_nobody_inside(target: str) -> None:
    assert not may_be_reached_from(origin("https://registry.example"), origin(target))


def test_a_registry_inside_may_send_inside() -> None:
    assert may_be_reached_from(origin("http://127.0.0.1:5000"), origin("http://127.0.0.1:9000"))
    assert may_be_reached_from(origin("https://10.0.0.1"), origin("https://10.0.0.2"))
    assert may_be_reached_from(origin("https://registry.example"), origin("https://1.1.1.1"))


@pytest.mark.parametrize(
    ("registry", "realm", "trust"),
    [
        ("https://registry-1.docker.io", "https://auth.docker.io/token", RealmTrust.CREDENTIALS),
        ("https://registry.corp.example:5000", "https://registry.corp.example:6000/token", RealmTrust.CREDENTIALS),
        ("https://registry.corp.example", "https://evil.example/token", RealmTrust.NOTHING_SECRET),
        ("https://registry.corp.example", "http://registry.corp.example/token", RealmTrust.NO_REQUEST),
        ("https://registry.corp.example", "https://169.254.169.254/token", RealmTrust.NO_REQUEST),
        ("https://registry.corp.example", "https://user:password@registry.corp.example/token", RealmTrust.NO_REQUEST),
        ("https://registry.corp.example", "ftp://registry.corp.example/token", RealmTrust.NO_REQUEST),
        ("http://registry.corp.example", "http://auth.corp.example/token", RealmTrust.CREDENTIALS),
        ("https://127.0.0.1:5000", "http://127.0.0.1:5001/token", RealmTrust.CREDENTIALS),
    ],
)
def test_realms(registry: str, realm: str, trust: RealmTrust) -> None:
    assert trust_in(httpx.URL(realm), origin(registry)) is trust


@pytest.mark.parametrize(
    ("no_proxy", "url", "proxied"),
    [
        ("", "https://registry.corp/v2/", True),
        ("*", "https://registry.corp/v2/", False),
        ("registry.corp", "https://registry.corp/v2/", False),
        ("corp", "https://registry.corp/v2/", False),
        (".corp", "https://registry.corp/v2/", False),
        ("*.corp", "https://registry.corp/v2/", False),
        ("orp", "https://registry.corp/v2/", True),
        ("registry.corp:5000", "https://registry.corp/v2/", True),
        ("registry.corp:5000", "https://registry.corp:5000/v2/", False),
        ("10.0.0.0/8", "https://10.1.2.3/v2/", False),
        ("10.0.0.0/8", "https://11.1.2.3/v2/", True),
        ("10.1.2.3", "https://10.1.2.3/v2/", False),
        ("fd00::/8", "https://[fd00::1]/v2/", False),
        ("other, registry.corp ,x", "https://registry.corp/v2/", False),
        ("", "https://localhost:5000/v2/", False),
        ("", "https://127.0.0.2/v2/", False),
        ("", "https://[::1]:5000/v2/", False),
    ],
)
def test_proxies_and_their_exceptions(no_proxy: str, url: str, proxied: bool) -> None:
    proxies = Proxies.from_environment({"HTTPS_PROXY": "proxy.corp:3128", "no_proxy": no_proxy})
    assert proxies.proxy_for(origin(url)) == ("http://proxy.corp:3128" if proxied else None)


def test_schemes_have_their_own_proxies_and_all_is_for_the_rest() -> None:
    proxies = Proxies.from_environment({"https_proxy": "http://secure:1", "ALL_PROXY": "http://any:2"})
    assert proxies.proxy_for(origin("https://registry.corp")) == "http://secure:1"
    assert proxies.proxy_for(origin("http://registry.corp")) == "http://any:2"
    assert Proxies.from_environment({}).proxy_for(origin("https://registry.corp")) is None


NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("0", 1.0),
        ("999999999999999999999", 3600.0),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
    ],
)
def test_retry_after(header: str, seconds: float | None) -> None:
    assert parse_retry_after(header, NOW) == seconds


def test_retry_after_as_a_date() -> None:
    assert parse_retry_after(format_datetime(NOW + timedelta(seconds=90), usegmt=True), NOW) == 90.0
    assert parse_retry_after(format_datetime(NOW - timedelta(days=1), usegmt=True), NOW) == 1.0


@given(st.text(max_size=200))
def test_any_retry_after_is_bounded_or_nothing(header: str) -> None:
    seconds = parse_retry_after(header, NOW)
    assert seconds is None or 1.0 <= seconds <= 3600.0


@given(st.text(max_size=2000), st.text(alphabet="abcXYZ019", min_size=8, max_size=30))
def test_words_are_one_short_line_without_secrets(text: str, secret: str) -> None:
    words = clean(f"{text}{secret}{text}", [secret])
    assert secret not in words
    assert len(words) <= MAX_WORDS
    assert not any(ord(character) < 32 for character in words)


@pytest.mark.parametrize(
    "text",
    [
        "bad Authorization: Bearer abcdef123456",
        "token eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.c2lnbmF0dXJl expired",
        "see https://host/x?X-Amz-Signature=abcdef123456",
        "at https://ci:abcdef123456@host/",
        "Basic YWJjZGVmMTIzNDU2",
    ],
)
def test_what_looks_like_a_secret_is_masked(text: str) -> None:
    words = clean(text)
    assert "***" in words
    for secret in ("abcdef123456", "eyJ", "YWJjZGVm"):
        assert secret not in words


def test_a_registrys_own_words_are_kept() -> None:
    words, errors = said(b'{"errors":[{"code":"DENIED","message":"quota exceeded"}]}', "application/json")
    assert words == "quota exceeded (DENIED)"
    assert errors[0].code == "DENIED"
    assert said(b"You have reached\nyour limit", "text/plain")[0] == "You have reached your limit"
    assert said(b"<html>log in</html>", "text/html")[0] == "It answered with a web page."


@given(st.binary(max_size=500), st.text(max_size=30))
def test_any_body_has_words(body: bytes, kind: str) -> None:
    words, _ = said(body, kind)
    assert len(words) <= MAX_WORDS
