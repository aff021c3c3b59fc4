"""The fault proxy: what passes is byte for byte what was sent, and each fault does what its name says, once."""

from __future__ import annotations

import hashlib
import http.client
import os
import socket
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal

import pytest

from tests.peers.fault_proxy import FaultProxy
from tests.peers.faults import (
    Bare,
    CutAnswer,
    CutHead,
    CutRequest,
    Drip,
    Fault,
    FlippedByte,
    ForeignLocation,
    Held,
    LostAnswer,
    NetworkGone,
    Portal,
    Redirect,
    Reset,
    Stall,
    Status,
    Truncated,
    WrongDigest,
)
from tests.peers.steps import Step, Steps
from tests.support.certificates import private_authority
from tests.support.waiting import until

MIB = 1024 * 1024
BLOB = f"/v2/a/b/blobs/sha256:{'1' * 64}"
UPLOAD = "/v2/a/b/blobs/uploads/1?_state=x"


class Echo(ThreadingHTTPServer):
    """Says what it got: a digest of the body for writes, `content` for reads; `done` counts what it carried out."""

    daemon_threads = True
    content = b"0123456789"
    done = 0


class _Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Echo

    def do_GET(self) -> None:
        content = self.server.content
        self.send_response(200)
        if "chunked" in self.path:
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for start in range(0, len(content), 7):
                piece = content[start : start + 7]
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            self.wfile.write(b"0\r\n\r\n")
            return
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Docker-Content-Digest", "sha256:right")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_PUT(self) -> None:
        got = hashlib.sha256(self._body())
        self.server.done += 1
        answer = got.hexdigest().encode()
        self.send_response(202)
        self.send_header("Location", self.path)
        self.send_header("X-Host", self.headers["Host"])
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def do_PATCH(self) -> None:
        self.do_PUT()

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers["Content-Length"]))
        content = b""
        while size := int(self.rfile.readline(), 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return content

    def log_message(self, format: str, *args: object) -> None:
        """Nothing to the terminal."""


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo(("127.0.0.1", 0), _Echo)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def proxy(echo: Echo) -> Iterator[FaultProxy]:
    with FaultProxy(f"127.0.0.1:{echo.server_address[1]}") as proxy:
        yield proxy


@pytest.fixture
def client(proxy: FaultProxy) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection(proxy.host, timeout=5)
    yield connection
    connection.close()


def read(client: http.client.HTTPConnection, path: str = BLOB) -> bytes:
    client.request("GET", path)
    return client.getresponse().read()


def patch(client: http.client.HTTPConnection, content: bytes) -> http.client.HTTPResponse:
    client.request("PATCH", UPLOAD, content)
    return client.getresponse()


def test_50_mb_pass_both_ways_as_they_are(echo: Echo, proxy: FaultProxy, client: http.client.HTTPConnection) -> None:
    content = os.urandom(50 * MIB)
    client.request("PATCH", UPLOAD, content, {"Authorization": "Basic x"})
    answer = client.getresponse()
    assert answer.read().decode() == hashlib.sha256(content).hexdigest()
    assert answer.headers["X-Host"] == proxy.host
    echo.content = content
    assert read(client) == content
    assert [(each.step, each.status, each.had_authorization, each.bytes_sent) for each in proxy.passed] == [
        (Step.PATCH, 202, True, 50 * MIB),
        (Step.BLOB_GET, 200, False, 0),
    ]
    assert proxy.passed[1].bytes_received == 50 * MIB


def test_a_connection_is_kept_alive(proxy: FaultProxy, client: http.client.HTTPConnection) -> None:
    for _ in range(5):
        assert read(client) == b"0123456789"
    client.request("HEAD", BLOB)
    answer = client.getresponse()
    assert (answer.headers["Content-Length"], answer.read()) == ("10", b"")
    assert read(client) == b"0123456789"
    assert proxy.connections == 1


def test_chunked_bodies_pass_both_ways(echo: Echo, client: http.client.HTTPConnection) -> None:
    content = os.urandom(300_000)
    pieces = (content[start : start + 1000] for start in range(0, len(content), 1000))
    client.request("PUT", UPLOAD, pieces, encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
    assert client.getresponse().read().decode() == hashlib.sha256(content).hexdigest()
    echo.content = content
    assert read(client, f"{BLOB}?chunked") == content


def test_a_client_that_asks_before_it_sends_is_told_to_go_on(echo: Echo, proxy: FaultProxy) -> None:
    head = f"PUT {UPLOAD} HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", int(proxy.host.rpartition(":")[2])), timeout=5) as plain:
        plain.sendall(head)
        assert plain.recv(1000).startswith(b"HTTP/1.1 100 ")
        plain.sendall(b"hello")
        with plain.makefile("rb") as answer:
            assert b" 202 " in answer.readline()
    # Refused, its body is not waited for.
    proxy.inject(Step.PUT_BLOB, Status(401))
    with socket.create_connection(("127.0.0.1", int(proxy.host.rpartition(":")[2])), timeout=5) as plain:
        plain.sendall(head)
        assert plain.recv(1000).startswith(b"HTTP/1.1 401 ")
    assert echo.done == 1


@pytest.mark.parametrize("fault", [Reset(), Reset(orderly=True), LostAnswer(), CutAnswer(4)])
def test_a_cut_ends_one_exchange_and_the_next_one_passes(
    proxy: FaultProxy, client: http.client.HTTPConnection, fault: Fault
) -> None:
    injection = proxy.inject(Step.BLOB_GET, fault)
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        read(client)
    client.close()
    assert read(client) == b"0123456789"
    assert injection.hits == 1
    assert [each.fault for each in proxy.passed] == [fault, None]


def test_an_answers_head_ends_in_the_middle(proxy: FaultProxy) -> None:
    proxy.inject(Step.BLOB_GET, CutHead())
    with socket.create_connection(("127.0.0.1", int(proxy.host.rpartition(":")[2])), timeout=5) as plain:
        plain.sendall(f"GET {BLOB} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        with plain.makefile("rb") as answer:
            said = answer.read()
    assert said.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\n\r\n" not in said


def test_a_request_is_cut_after_so_many_bytes(
    echo: Echo, proxy: FaultProxy, client: http.client.HTTPConnection
) -> None:
    proxy.inject(Step.PATCH, CutRequest(1000))
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        patch(client, bytes(5000))
    assert echo.done == 0
    client.close()
    assert patch(client, bytes(5000)).status == 202


def test_a_lost_answer_is_to_something_that_was_done(
    echo: Echo, proxy: FaultProxy, client: http.client.HTTPConnection
) -> None:
    proxy.inject(Step.PATCH, LostAnswer())
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        patch(client, b"12345")
    assert echo.done == 1
    assert proxy.passed[0].status == 202


@pytest.mark.parametrize("where", ["answer", "head", "body"])
def test_a_stall_gives_no_more_and_does_not_end(
    proxy: FaultProxy, client: http.client.HTTPConnection, where: str
) -> None:
    proxy.inject(Step.BLOB_GET, Stall(where, 3))  # type: ignore[arg-type]  # one of them each
    client.timeout = 0.3
    with pytest.raises(TimeoutError):
        read(client)
    client.close()
    client.timeout = 5
    assert read(client) == b"0123456789"


def test_a_request_that_stalls_is_not_taken(echo: Echo, proxy: FaultProxy, client: http.client.HTTPConnection) -> None:
    proxy.inject(Step.PATCH, Stall("request", 1000))
    client.timeout = 0.3
    with pytest.raises(TimeoutError):
        patch(client, bytes(20 * MIB))
    assert echo.done == 0


def test_a_drip_is_slow_and_loses_nothing(echo: Echo, proxy: FaultProxy, client: http.client.HTTPConnection) -> None:
    content = os.urandom(5000)
    proxy.inject(Step.PATCH, Drip(drips=5))
    assert patch(client, content).read().decode() == hashlib.sha256(content).hexdigest()
    echo.content = content
    proxy.inject(Step.BLOB_GET, Drip(drips=5))
    assert read(client) == content


def test_an_answer_is_held_until_it_may_come(proxy: FaultProxy, client: http.client.HTTPConnection) -> None:
    held = Held()
    proxy.inject(Step.BLOB_GET, held)
    client.request("GET", BLOB)
    until(lambda: proxy.passed and proxy.passed[0].status == 200, what="the registry has answered")
    client.sock.settimeout(0.1)
    with pytest.raises(TimeoutError):
        client.sock.recv(1)
    client.sock.settimeout(5)
    held.until.set()
    assert client.getresponse().read() == b"0123456789"


def test_truncated_answers(proxy: FaultProxy, client: http.client.HTTPConnection) -> None:
    said: Literal["matching", "missing"]
    for said in ("matching", "missing"):
        proxy.inject(Step.BLOB_GET, Truncated(said))
        assert read(client) == b"01234"
        client.close()
    proxy.inject(Step.BLOB_GET, Truncated("kept"))
    with pytest.raises(http.client.IncompleteRead):
        read(client)


def test_one_byte_is_flipped(echo: Echo, proxy: FaultProxy, client: http.client.HTTPConnection) -> None:
    proxy.inject(Step.BLOB_GET, FlippedByte(3))
    assert read(client) == b"0122456789"
    proxy.inject(Step.PATCH, FlippedByte(0, of="request"))
    assert patch(client, b"a").read().decode() == hashlib.sha256(b"`").hexdigest()


@pytest.mark.parametrize("words", ["json", "plain", "html"])
def test_statuses_are_said_in_the_registrys_place(
    echo: Echo, proxy: FaultProxy, client: http.client.HTTPConnection, words: str
) -> None:
    fault = Status(503, words, "tired", "7")  # type: ignore[arg-type]  # one of them each
    proxy.inject(Step.PATCH, fault)
    answer = patch(client, bytes(3 * MIB))
    assert (answer.status, answer.headers["Retry-After"]) == (503, "7")
    assert b"tired" in answer.read()
    assert echo.done == 0
    assert proxy.connections == 1


def test_an_early_refusal_comes_before_the_body(proxy: FaultProxy, client: http.client.HTTPConnection) -> None:
    proxy.inject(Step.PATCH, Status(413, "html", early=True))
    client.putrequest("PATCH", UPLOAD)
    client.putheader("Content-Length", "1000000")
    client.endheaders()
    answer = client.getresponse()
    assert answer.status == 413
    assert answer.headers["Connection"] == "close"


def test_the_foreign_host_is_named_and_remembers_who_came(
    proxy: FaultProxy, client: http.client.HTTPConnection
) -> None:
    proxy.inject(Step.BLOB_GET, Redirect())
    client.request("GET", BLOB)
    answer = client.getresponse()
    answer.read()
    assert (answer.status, answer.headers["Location"]) == (307, proxy.canary + BLOB)
    foreign = http.client.HTTPConnection(proxy.canary.removeprefix("http://"), timeout=5)
    foreign.request("GET", BLOB, headers={"Authorization": "Basic x"})
    assert foreign.getresponse().status == 404
    foreign.close()
    assert [(each.path, each.headers["authorization"]) for each in proxy.strays] == [(BLOB, "Basic x")]
    proxy.inject(Step.PATCH, ForeignLocation())
    assert patch(client, b"1").headers["Location"].startswith(proxy.canary)


def test_a_portal_and_a_false_digest(proxy: FaultProxy, client: http.client.HTTPConnection) -> None:
    proxy.inject(Step.BLOB_GET, Portal())
    assert b"Log in" in read(client)
    proxy.inject(Step.BLOB_GET, WrongDigest())
    client.request("GET", BLOB)
    answer = client.getresponse()
    assert answer.headers["Docker-Content-Digest"] == "sha256:" + "0" * 64
    assert answer.read() == b"0123456789"
    proxy.inject(Step.BLOB_GET, Bare())
    client.request("GET", BLOB)
    answer = client.getresponse()
    assert not {"Content-Type", "Docker-Content-Digest"} & set(answer.headers)
    assert answer.read() == b"0123456789"


def test_the_network_goes_and_comes_back_on_the_same_port(
    proxy: FaultProxy, client: http.client.HTTPConnection
) -> None:
    host = proxy.host
    proxy.inject(Step.BLOB_GET, NetworkGone())
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        read(client)
    client.close()
    with pytest.raises(ConnectionRefusedError):
        read(client)
    client.close()
    proxy.come_back()
    assert proxy.host == host
    assert read(client) == b"0123456789"
    proxy.go_away()
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        read(client)


def test_the_nth_of_a_step_is_broken_so_many_times(proxy: FaultProxy, client: http.client.HTTPConnection) -> None:
    proxy.inject(Step.BLOB_GET, Status(500), at=2, times=2)
    assert [_status(client) for _ in range(5)] == [200, 500, 500, 200, 200]
    proxy.inject(Step.BLOB_GET, Status(500), times=9)
    assert _status(client) == 500
    proxy.heal()
    assert _status(client) == 200


def _status(client: http.client.HTTPConnection) -> int:
    client.request("GET", BLOB)
    answer = client.getresponse()
    answer.read()
    return answer.status


def test_the_same_over_tls(echo: Echo, tmp_path: Path) -> None:
    certificate, key, authority = private_authority(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    trusting = ssl.create_default_context(cafile=str(authority))
    content = os.urandom(3 * MIB)
    with FaultProxy(f"127.0.0.1:{echo.server_address[1]}", tls=context) as proxy:
        client = http.client.HTTPSConnection(proxy.host, timeout=5, context=trusting)
        assert patch(client, content).read().decode() == hashlib.sha256(content).hexdigest()
        assert read(client) == b"0123456789"
        proxy.inject(Step.BLOB_GET, CutAnswer(4))
        with pytest.raises((OSError, http.client.HTTPException)):
            read(client)
        client.close()
        assert read(client) == b"0123456789"
        client.close()
    assert proxy.url.startswith("https://")


@pytest.mark.parametrize(
    ("method", "path", "headers", "step"),
    [
        ("GET", "/v2/", {}, Step.PING),
        ("GET", "/token?service=x&scope=y", {}, Step.TOKEN),
        ("HEAD", BLOB, {}, Step.BLOB_HEAD),
        ("GET", BLOB, {}, Step.BLOB_GET),
        ("GET", BLOB, {"range": "bytes=0-0"}, Step.BLOB_PROBE),
        ("POST", "/v2/a/blobs/uploads/", {}, Step.START),
        ("POST", "/v2/a/blobs/uploads/?mount=sha256:1&from=b", {}, Step.MOUNT),
        ("PATCH", UPLOAD, {}, Step.PATCH),
        ("GET", UPLOAD, {}, Step.STATUS),
        ("DELETE", UPLOAD, {}, Step.CANCEL),
        ("PUT", UPLOAD, {"content-length": "0"}, Step.CLOSE),
        ("PUT", UPLOAD, {"content-length": "9"}, Step.PUT_BLOB),
        ("HEAD", "/v2/a/manifests/v1", {}, Step.TAG_HEAD),
        ("GET", "/v2/a/manifests/v1", {}, Step.TAG_GET),
        ("PUT", "/v2/a/manifests/v1", {}, Step.TAG_PUT),
        ("HEAD", f"/v2/a/manifests/sha256:{'1' * 64}", {}, Step.MANIFEST_HEAD),
        ("GET", f"/v2/a/manifests/sha256:{'1' * 64}", {}, Step.MANIFEST_GET),
        ("PUT", f"/v2/a/manifests/sha256:{'1' * 64}", {}, Step.MANIFEST_PUT),
        ("GET", "/v2/blobs/manifests/tags/list?n=9", {}, Step.TAGS),
        ("GET", f"/v2/a/referrers/sha256:{'1' * 64}", {}, Step.REFERRERS),
        ("GET", "/healthz", {}, Step.OTHER),
    ],
)
def test_steps_are_told_apart(method: str, path: str, headers: dict[str, str], step: Step) -> None:
    assert Steps().of(method, path, headers) is step


def test_a_tag_that_was_put_is_read_back() -> None:
    steps = Steps()
    steps.answered(Step.TAG_PUT, "/v2/a/manifests/v1", 500)
    assert steps.of("HEAD", "/v2/a/manifests/v1", {}) is Step.TAG_HEAD
    steps.answered(Step.TAG_PUT, "/v2/a/manifests/v1", 201)
    assert steps.of("HEAD", "/v2/a/manifests/v1", {}) is Step.READ_BACK
    assert steps.of("HEAD", "/v2/a/manifests/v2", {}) is Step.TAG_HEAD
