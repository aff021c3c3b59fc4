"""Who may ask: requests that a web page could have sent, and paths that try to climb."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.lonely_registry import lonely_registry
from tests.unit.registry.raw import exchange, status_of
from yarddesk.registry.guard import HostRules
from yarddesk.registry.server import EmbeddedServer
from yarddesk.storage.filesystem import FilesystemStore


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[EmbeddedServer]:
    rules = HostRules("yard.lan", ["Other.Example", "with-port.example:99"])
    async with (
        FilesystemStore.open(tmp_path / "data") as store,
        EmbeddedServer(lonely_registry(store, rules=rules), port=0) as running,
    ):
        yield running


def request(*headers: bytes, method: bytes = b"GET", target: bytes = b"/v2/") -> bytes:
    lines = [b"%b %b HTTP/1.1" % (method, target), b"Connection: close", *headers, b"", b""]
    return b"\r\n".join(lines)


OURS = [
    b"localhost", b"localhost:1", b"LOCALHOST:5050", b"localhost.", b"localhost.:80", b"127.0.0.1", b"127.0.0.1:5050",
    b"127.8.8.8", b"192.168.1.7:5050", b"[::1]", b"[::1]:5050", b"[fe80::1]:80", b"host.docker.internal:5050",
    b"host.containers.internal", b"host.lima.internal", b"host.rancher-desktop.internal", b"yard.lan", b"other.example:1",
    b"with-port.example", b"with-port.example:1",
]  # fmt: skip
FOREIGN = [
    b"evil.example", b"evil.example:5050", b"localhost.evil.example", b"evil-localhost", b"0.0.0.0", b"0.0.0.0:5050",
    b"[::]", b"[::]:5050", b"[::ffff:0.0.0.0]", b"127.1", b"2130706433", b"0x7f000001", b"127.0.0.1.evil.example", b"[::1",
    b"user@localhost", b"localhost@evil.example", b"localhost:5050@evil.example", b"localhost:x", b"localhost:5050:80",
    b"localhost, evil.example", b"localhost/evil", b"", b"  ", b"local host", b"*", b"\xc3\xbc", b"127.0.0.1%00.evil",
    b"localhost..", b"\xef\xbd\x8cocalhost",
]  # fmt: skip


@pytest.mark.parametrize("host", OURS)
async def test_a_host_that_is_ours_may_ask(server: EmbeddedServer, host: bytes) -> None:
    assert await status_of(server, request(b"Host: " + host)) == 200


@pytest.mark.parametrize("host", FOREIGN)
async def test_a_host_that_is_not_ours_may_not(server: EmbeddedServer, host: bytes) -> None:
    assert await status_of(server, request(b"Host: " + host)) == 403


async def test_every_host_may_ask_where_the_user_says_so(tmp_path: Path) -> None:
    rules = HostRules("localhost", ["*"])
    async with (
        FilesystemStore.open(tmp_path / "open") as store,
        EmbeddedServer(lonely_registry(store, rules=rules), port=0) as open_server,
    ):
        assert await status_of(open_server, request(b"Host: evil.example")) == 200
        assert await status_of(open_server, request(b"Host: evil.example", b"Origin: null")) == 403


async def test_there_is_one_host_header_no_more_no_less(server: EmbeddedServer) -> None:
    assert await status_of(server, request()) == 400
    assert await status_of(server, request(b"Host: localhost", b"Host: localhost")) == 400
    assert await status_of(server, request(b"Host: localhost", b"host: evil.example")) == 400
    assert await status_of(server, b"GET /v2/ HTTP/1.0\r\n\r\n") == 400


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (b"http://localhost/v2/", 200),
        (b"HTTP://127.0.0.1:5050/v2/", 200),
        (b"http://evil.example/v2/", 403),
        (b"https://evil.example/v2/", 403),
        (b"http://user@localhost/v2/", 403),
        (b"ftp://localhost/v2/", 400),
        (b"http:///v2/", 400),
        (b"*", 400),
        (b"localhost:80", 400),
    ],
)
async def test_the_host_of_an_absolute_target_is_the_one_that_counts(
    server: EmbeddedServer, target: bytes, status: int
) -> None:
    assert await status_of(server, request(b"Host: localhost", target=target)) == status


@pytest.mark.parametrize(
    "header",
    [
        b"Origin: null",
        b"Origin: http://evil.example",
        b"Origin: http://localhost:3000",
        b"Origin: http://localhost",
        b"Origin: https://localhost.evil.example:5050",
        b"Origin: file://",
        b"Origin: chrome-extension://abcdef",
        b"Origin: ",
        b"Origin: http://localhost:5050/",
        b"Origin: http://localhost:5050 http://evil.example",
        b"Sec-Fetch-Site: cross-site",
        b"Sec-Fetch-Site: same-site",
        b"Sec-Fetch-Site: Cross-Site",
        b"Sec-Fetch-Site: something-new",
    ],
)
async def test_what_a_page_of_another_site_sends_is_refused(server: EmbeddedServer, header: bytes) -> None:
    for method in (b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"):
        sent = request(b"Host: localhost:5050", header, method=method, target=b"/v2/app/manifests/v1")
        answer = await exchange(server, sent)
        assert answer.startswith(b"HTTP/1.1 403 ")
        assert b"access-control" not in answer.lower()
        if method != b"HEAD":
            assert json.loads(answer.partition(b"\r\n\r\n")[2])["errors"][0]["code"] == "DENIED"


@pytest.mark.parametrize(
    "headers",
    [
        [b"Host: localhost:5050", b"Origin: http://localhost:5050"],
        [b"Host: localhost:5050", b"Origin: https://LOCALHOST:5050"],
        [b"Host: localhost", b"Origin: http://localhost"],
        [b"Host: localhost:80", b"Origin: http://localhost"],
        [b"Host: [::1]:5050", b"Origin: http://[::1]:5050"],
        [b"Host: localhost", b"Sec-Fetch-Site: none"],
        [b"Host: localhost", b"Sec-Fetch-Site: same-origin", b"Sec-Fetch-Mode: cors"],
    ],
)
async def test_what_our_own_page_or_the_address_bar_sends_is_answered(
    server: EmbeddedServer, headers: list[bytes]
) -> None:
    assert await status_of(server, request(*headers)) == 200


CLIMBING = [
    b"/v2/../../etc/passwd", b"/v2/..%2f..%2fetc/manifests/hostname", b"/v2/%2e%2e/%2e%2e/x/manifests/v1",
    b"/v2/app/manifests/..%2f..%2fx", b"/v2/app/manifests/..", b"/v2/../app/manifests/v1", b"/v2/app/../x/manifests/v1",
    b"/v2/app/blobs/sha256:..%2f..%2f..%2fetc%2fpasswd", b"/v2/app/blobs/../../../etc/passwd", b"/v2/app%00/manifests/v1",
    b"/v2/app/manifests/v1%00", b"/v2/app/manifests/v1%0d%0aX:1", b"/v2/app\\x/manifests/v1", b"/v2//etc/manifests/v1",
    b"/v2/app/manifests/c:con", b"/v2/app/blobs/uploads/..", b"/v2/app/blobs/uploads/..%2f..%2fx",
    b"/v2/app/blobs/uploads/%2e%2e", b"/v2/app/referrers/../x", b"/v2/app/manifests/%76%31", b"/v2/%61pp/manifests/v1",
    b"/v2/app/manifests/v1%3Ax", b"/v2/a%253Ab/manifests/v1", b"/v2/app/manifests/\xc3\xbc", b"/v2/\xff/manifests/v1",
    b"/v2/app/manifests/v1;x=1", b"/v2/app/manifests/", b"/v2/app/blobs/", b"/v2/.../manifests/v1", b"/v2/./manifests/v1",
    b"/v2/app/manifests/v1%", b"/v2/app/manifests/%zz", b"/v2/app/blobs/sha256%3a%2e%2e",
]  # fmt: skip


@pytest.mark.parametrize("target", CLIMBING)
async def test_no_path_climbs_or_breaks_anything(server: EmbeddedServer, tmp_path: Path, target: bytes) -> None:
    before = sorted(tmp_path.rglob("*"))
    for method in (b"GET", b"HEAD", b"PUT", b"DELETE", b"PATCH", b"POST"):
        sent = request(b"Host: localhost", b"Content-Length: 2", method=method, target=target) + b"{}"
        assert await status_of(server, sent) in (400, 404, 405)
    assert sorted(tmp_path.rglob("*")) == before


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    target=st.text(st.characters(min_codepoint=0x21, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=80),
    method=st.sampled_from(["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE"]),
)
async def test_no_target_whatsoever_is_an_error_of_ours(
    server: EmbeddedServer, tmp_path: Path, target: str, method: str
) -> None:
    before = sorted(tmp_path.rglob("*"))
    sent = request(b"Host: localhost", method=method.encode(), target=b"/v2/" + target.encode("latin-1"))
    assert 200 <= await status_of(server, sent) < 500
    assert sorted(tmp_path.rglob("*")) == before
