"""The server inside another program: where it listens, how it ends, TLS."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import logging
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.support.descriptors import open_descriptors, opened_since
from tests.support.lonely_registry import lonely_registry
from tests.support.ports import held_port
from tests.support.waiting import until_async
from tests.unit.registry.pushing import digest_of, push_blob
from tests.unit.registry.raw import connect, status_of
from yarddesk.registry.server import EmbeddedServer, TlsUnusable
from yarddesk.registry.sockets import CannotBind, PortTaken, bind, port_holder
from yarddesk.storage.filesystem import FilesystemStore
from yarddesk.storage.memory import MemoryStore

GET = b"GET /v2/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
CONTENT = bytes(range(256)) * 40_000


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[FilesystemStore]:
    async with FilesystemStore.open(tmp_path / "data") as opened:
        yield opened


def server_for(store: FilesystemStore | None = None, **options: object) -> EmbeddedServer:
    return EmbeddedServer(lonely_registry(store or MemoryStore()), **({"port": 0} | options))  # type: ignore[arg-type]


async def speaks(address: str, port: int) -> bool:
    reader, writer = await asyncio.open_connection(address, port)
    writer.write(GET)
    answer = await reader.read()
    writer.close()
    return answer.startswith(b"HTTP/1.1 200")


async def test_localhost_is_both_loopback_addresses_on_one_port() -> None:
    async with server_for() as server:
        assert server.address == f"http://localhost:{server.port}"
        assert await speaks("127.0.0.1", server.port)
        assert await speaks("::1", server.port)


async def test_a_missing_ipv6_is_a_warning(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr("yarddesk.registry.sockets._LOOPBACK", ("127.0.0.1", "2001:db8::1"))
    async with server_for() as server:
        assert await speaks("127.0.0.1", server.port)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


@pytest.mark.parametrize("host", ["", "0.0.0.0"])
async def test_all_interfaces(host: str) -> None:
    async with server_for(host=host) as server:
        assert await speaks("127.0.0.1", server.port)
        assert server.address == f"http://0.0.0.0:{server.port}"
        assert server.local_address == f"http://localhost:{server.port}"
        if not host:
            assert await speaks("::1", server.port)


async def test_one_address_is_that_address_alone() -> None:
    async with server_for(host="::1") as server:
        assert server.address == f"http://[::1]:{server.port}"
        assert await speaks("::1", server.port)
        with pytest.raises(ConnectionRefusedError):
            await speaks("127.0.0.1", server.port)


@pytest.mark.parametrize("host", ["no-such-host.invalid", "192.0.2.1", "bad host", "x" * 300])
async def test_an_address_that_is_not_ours_is_named(host: str) -> None:
    with pytest.raises(CannotBind, match=host[:20]):
        await server_for(host=host).start()


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_a_port_that_is_taken_names_who_holds_it(address: str) -> None:
    program = (
        "import socket, sys; s = socket.create_server((sys.argv[1], int(sys.argv[2])), family=socket.AF_INET6 if ':' in "
        "sys.argv[1] else socket.AF_INET); print('listening', flush=True); sys.stdin.read()"
    )
    with held_port("::1") as port:
        command = [sys.executable, "-c", program, address, str(port)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
            assert holder.stdout is not None
            holder.stdout.readline()
            with pytest.raises(PortTaken) as caught:
                await server_for(port=port).start()
            assert f"pid {holder.pid}" in str(caught.value)
            assert str(port) in caught.value.title
            assert port_holder(port) == (holder.pid, Path(f"/proc/{holder.pid}/comm").read_text().strip())
            holder.communicate("")
        async with server_for(port=port) as server:
            assert server.port == port


async def test_nobody_holds_a_free_port() -> None:
    with held_port() as port:
        assert port_holder(port) is None


async def test_the_port_is_free_after_the_end() -> None:
    with held_port("::1") as port:
        server = server_for(port=port)
        await server.start()
        await server.stop()
        await server.stop()
        async with server_for(port=port) as again:
            assert await status_of(again, GET) == 200


async def test_no_signal_handler_and_no_log_handler_is_installed() -> None:
    import signal

    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    handlers = list(logging.getLogger().handlers)
    async with server_for():
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
        assert logging.getLogger().handlers == handlers
        assert not logging.getLogger("uvicorn").handlers


async def test_the_end_waits_for_what_is_short_and_accepts_no_more(store: FilesystemStore) -> None:
    server = server_for(store)
    await server.start()
    connection = await connect(server)
    digest = digest_of(CONTENT)
    head = f"POST /v2/app/blobs/uploads/?digest={digest} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(CONTENT)}"
    await connection.send(f"{head}\r\n\r\n".encode() + CONTENT[:-1])
    idle = await connect(server)
    stopping = asyncio.create_task(server.stop(10))
    assert await idle.to_the_end() == b""
    with pytest.raises(ConnectionRefusedError):
        await connect(server)
    await connection.send(CONTENT[-1:])
    assert (await connection.answer())[0] == 201
    await stopping
    for open_connection in (idle, connection):
        await open_connection.close()


@pytest.mark.parametrize("doing", ["pushing", "pulling", "heading"])
async def test_the_end_cuts_what_is_not_short(store: FilesystemStore, doing: str) -> None:
    server = server_for(store)
    await server.start()
    async with httpx.AsyncClient(base_url=server.address, trust_env=False, verify=False) as client:
        digest = await push_blob(client, "app", CONTENT * 10)
    connection = await connect(server, limit=1000)
    request = {
        "pushing": b"POST /v2/app/blobs/uploads/?digest=%b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\nx",
        "pulling": b"GET /v2/app/blobs/%b HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "heading": b"GET /v2/app/blobs/%b HTTP/1.1\r\n",
    }[doing]
    await connection.send(request % digest.encode())
    assert await until_async(lambda: server.connections == 1)
    loop = asyncio.get_running_loop()
    began = loop.time()
    await server.stop(0.3)
    assert loop.time() - began < 2
    assert server.connections == 0
    await connection.close()


async def test_ranges_and_requests_after_a_file_over_one_connection(store: FilesystemStore) -> None:
    async with (
        server_for(store) as server,
        httpx.AsyncClient(
            base_url=server.address, trust_env=False, verify=False, limits=httpx.Limits(max_connections=1)
        ) as client,
    ):
        digest = await push_blob(client, "app", CONTENT)
        for begin, end in ((0, 1), (3, 9_000_000), (10_000_000, len(CONTENT) - 1)):
            answer = await client.get(f"/v2/app/blobs/{digest}", headers={"Range": f"bytes={begin}-{end}"})
            assert answer.content == CONTENT[begin : end + 1]
            assert (await client.get("/v2/")).status_code == 200
        assert server.connections == 1


async def test_a_blob_that_is_deleted_while_it_is_read_is_read_to_its_end(store: FilesystemStore) -> None:
    async with (
        server_for(store) as server,
        httpx.AsyncClient(base_url=server.address, trust_env=False, verify=False) as client,
    ):
        digest = await push_blob(client, "app", CONTENT * 4)
        hashed = hashlib.sha256()
        async with client.stream("GET", f"/v2/app/blobs/{digest}") as answer:
            pieces = answer.aiter_raw(65536)
            hashed.update(await anext(pieces))
            assert (await client.delete(f"/v2/app/blobs/{digest}")).status_code == 202
            async for piece in pieces:
                hashed.update(piece)
        assert f"sha256:{hashed.hexdigest()}" == digest


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_small_answers_do_not_wait_for_what_was_sent_before_to_be_acknowledged(address: str) -> None:
    (listening,) = bind(address, 0)
    accepted: asyncio.Future[asyncio.BaseTransport] = asyncio.get_running_loop().create_future()

    def connected(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.set_result(writer.transport)

    async with await asyncio.start_server(connected, sock=listening):
        _, writer = await asyncio.open_connection(*listening.getsockname()[:2])
        connection = (await accepted).get_extra_info("socket")
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        (await accepted).close()
        writer.close()


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS])
async def test_where_the_kernel_cannot_send_a_file_it_is_read(
    store: FilesystemStore, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    asked = []

    def refused(*arguments: object) -> int:
        asked.append(arguments)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "sendfile", refused)
    async with (
        server_for(store) as server,
        httpx.AsyncClient(base_url=server.address, trust_env=False, verify=False) as client,
    ):
        digest = await push_blob(client, "app", CONTENT)
        answer = await client.get(f"/v2/app/blobs/{digest}", headers={"Range": "bytes=7-"})
        assert answer.content == CONTENT[7:]
        assert (await client.get("/v2/")).status_code == 200
    assert len(asked) == 1


async def test_a_client_that_has_said_all_still_gets_its_file(store: FilesystemStore) -> None:
    async with server_for(store) as server, httpx.AsyncClient(base_url=server.address, trust_env=False) as client:
        digest = await push_blob(client, "app", CONTENT)
        connection = await connect(server)
        await connection.send(f"GET /v2/app/blobs/{digest} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        await connection.reader.readuntil(b"\r\n\r\n")
        connection.writer.write_eof()
        assert await connection.to_the_end() == CONTENT
        await connection.close()


async def test_a_file_that_is_shorter_than_promised_cuts_the_answer(
    store: FilesystemStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    sendfile = os.sendfile

    def shrinking(out: int, file: int, offset: int, count: int) -> int:
        return sendfile(out, file, offset, min(count, 3_000_000 - offset)) if offset < 3_000_000 else 0

    monkeypatch.setattr(os, "sendfile", shrinking)
    async with server_for(store) as server, httpx.AsyncClient(base_url=server.address, trust_env=False) as client:
        digest = await push_blob(client, "app", CONTENT)
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get(f"/v2/app/blobs/{digest}")
        assert (await client.get("/v2/")).status_code == 200


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for localhost and its key."""
    folder = tmp_path_factory.mktemp("tls")
    paths = folder / "cert.pem", folder / "key.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject]
    subprocess.run([*command, "-out", paths[0], "-keyout", paths[1]], check=True, capture_output=True)
    return paths


async def test_tls_carries_pushes_and_pulls(store: FilesystemStore, certificate: tuple[Path, Path]) -> None:
    trusted = ssl.create_default_context(cafile=str(certificate[0]))
    options = {"certfile": str(certificate[0]), "keyfile": str(certificate[1])}
    async with (
        server_for(store, **options) as server,
        httpx.AsyncClient(base_url=server.address, trust_env=False, verify=trusted) as client,
    ):
        assert server.address.startswith("https://localhost:")
        digest = await push_blob(client, "app", CONTENT)
        answer = await client.get(f"/v2/app/blobs/{digest}", headers={"Range": "bytes=5-"})
        assert answer.content == CONTENT[5:]
        assert (await client.get("/v2/")).status_code == 200


async def test_a_certificate_that_cannot_be_used_is_named(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("nothing")
    for certfile, keyfile in ((wrong, wrong), (tmp_path / "missing.pem", certificate[1]), (certificate[0], wrong)):
        with pytest.raises(TlsUnusable, match=certfile.name):
            await server_for(certfile=str(certfile), keyfile=str(keyfile)).start()


async def test_descriptors_do_not_leak(store: FilesystemStore) -> None:
    async with server_for(store) as server:
        async with httpx.AsyncClient(base_url=server.address, trust_env=False, verify=False) as client:
            digest = await push_blob(client, "app", CONTENT)
            before = open_descriptors()
            for headers in ({}, {"Range": "bytes=0-9"}, {"Range": "bytes=99999999-"}, {"If-None-Match": "*"}) * 5:
                await client.get(f"/v2/app/blobs/{digest}", headers=headers)
            assert opened_since(before) == {}
        for _ in range(5):
            connection = await connect(server, limit=1000)
            await connection.send(f"GET /v2/app/blobs/{digest} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            await connection.reader.readexactly(100)
            connection.writer.transport.abort()
        assert await until_async(lambda: opened_since(before) == {})
