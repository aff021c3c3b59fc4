"""Blobs that leave while they come in, from a registry's socket: to a crowd, in parts, over TLS, onto a disk that gets full."""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import os
import random
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.certificates import private_authority
from tests.support.lonely_registry import Pushes
from tests.support.waiting import until_async
from tests.unit.cache.test_pull_through import REPOSITORY, Cache
from tests.unit.registry.raw import Connection
from yarddesk.oci.digest import Digest
from yarddesk.registry.app import RegistryApp
from yarddesk.registry.guard import Guard
from yarddesk.registry.server import EmbeddedServer
from yarddesk.storage.durable import open_file, write_all
from yarddesk.storage.filesystem import FilesystemStore

SIZES = (1, 100, 65_535, 65_536, 65_537, 200_000, 1_048_576, 1_200_000, 3_000_000)
LARGE = random.Random(0).randbytes(9_000_000)


@dataclass
class ColdRegistry:
    """A registry with nothing in it, before an upstream."""

    cache: Cache
    server: EmbeddedServer
    tls: ssl.SSLContext | None
    failures: list[object] = field(default_factory=list)

    async def add(self, content: bytes) -> Digest:
        """To the upstream."""
        upload = await self.cache.upstream.store.start_upload(REPOSITORY)
        await upload.write(content)
        digest = Digest.of(content)
        await upload.commit(digest)
        return digest

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Connection]:
        opened = await asyncio.open_connection("localhost", self.server.port, ssl=self.tls)
        connection = Connection(*opened)
        try:
            yield connection
        finally:
            connection.writer.transport.abort()

    async def ask(self, connection: Connection, digest: Digest, part: str = "") -> None:
        wanted = f"Range: bytes={part}\r\n" if part else ""
        head = f"GET /v2/{REPOSITORY}/blobs/{digest} HTTP/1.1\r\nHost: localhost\r\n{wanted}\r\n"
        await connection.send(head.encode())

    async def get(self, digest: Digest, part: str = "", leave_after: int | None = None) -> tuple[int, bytes, bool]:
        """Status, what came, and whether that is all of it."""
        async with self.connected() as connection:
            await self.ask(connection, digest, part)
            head = (await connection.reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
            came = bytearray()
            while len(came) < length and (leave_after is None or len(came) < leave_after):
                try:
                    piece = await connection.reader.read(min(65_536, length - len(came)))
                except ConnectionError:
                    break
                if not piece:
                    break
                came += piece
            return int(head.split()[1]), bytes(came), len(came) == length

    def uploads(self) -> list[Path]:
        return list((self.cache.folder / "store" / "uploads").iterdir())


@pytest.fixture(params=["plain", "tls"])
async def registry(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[ColdRegistry]:
    certificate, key, tls = "", "", None
    if request.param == "tls":
        certificate, key, authority = map(str, private_authority(tmp_path))
        tls = ssl.create_default_context(cafile=authority)
        tls.check_hostname = False
    cache, failures = Cache(tmp_path), list[object]()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
    async with FilesystemStore.open(tmp_path / "store") as store:
        cache.store = store  # type: ignore[assignment]
        cache.pulls = cache.make()
        async with cache.pulls:
            app = Guard(RegistryApp(store, cache.pulls, Pushes()))
            async with EmbeddedServer(app, port=0, certfile=certificate, keyfile=key) as server:
                yield ColdRegistry(cache, server, tls, failures)
    assert not failures


async def test_a_crowd_gets_the_right_bytes_and_leaves_nothing_open(
    registry: ColdRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    contents = [random.Random(size).randbytes(size) for size in SIZES]
    digests = [await registry.add(content) for content in contents]
    folder = str(registry.cache.folder)

    async def client(number: int) -> None:
        choose = random.Random(number)
        which = choose.randrange(len(SIZES))
        wanted, part = contents[which], ""
        if choose.random() < 0.4:
            begin = choose.randrange(len(wanted))
            end = choose.randrange(begin, len(wanted))
            wanted, part = wanted[begin : end + 1], f"{begin}-{end}"
        leave_after = choose.randrange(len(wanted)) if choose.random() < 0.3 else None
        status, came, whole = await registry.get(digests[which], part, leave_after)
        assert status == (206 if part else 200)
        assert came == wanted if leave_after is None else wanted.startswith(came)
        assert whole or leave_after is not None

    await asyncio.gather(*(client(number) for number in range(120)))
    await until_async(lambda: registry.server.connections == 0)
    await until_async(lambda: not registry.uploads())
    gc.collect()
    await until_async(lambda: not [name for name in open_files() if name.startswith(folder) and "/blobs/" in name])
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def open_files() -> list[str]:
    """What the descriptors of this process lead to, where the system tells."""
    folder = Path("/proc/self/fd")
    names = [folder / name for name in os.listdir(folder)] if folder.is_dir() else []
    return [os.readlink(name) for name in names if name.is_symlink()]


async def test_pipelined_pulls_of_what_is_coming_in_are_answered_in_order(registry: ColdRegistry) -> None:
    contents = [LARGE[:3_000_000], LARGE[1_000_000:3_000_000]]
    digests = [await registry.add(content) for content in contents]
    async with registry.connected() as connection:
        for digest in digests * 3:
            await registry.ask(connection, digest)
        for content in contents * 3:
            status, _, came = await connection.answer()
            assert (status, came) == (200, content)


async def test_a_client_that_has_said_all_still_gets_what_is_coming_in(registry: ColdRegistry) -> None:
    digest = await registry.add(LARGE)
    registry.cache.upstream.held, registry.cache.upstream.hold_after = asyncio.Event(), 3_000_000
    async with registry.connected() as connection:
        await registry.ask(connection, digest)
        await connection.reader.readuntil(b"\r\n\r\n")
        came = await connection.reader.readexactly(2_000_000)
        if connection.writer.can_write_eof():  # TLS can't
            connection.writer.write_eof()
        registry.cache.upstream.release()
        assert came + await connection.reader.readexactly(len(LARGE) - len(came)) == LARGE


async def test_a_disk_that_gets_full_cuts_those_who_read_along_and_nobody_else(
    registry: ColdRegistry, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    digest, written = await registry.add(LARGE), 0

    def until_full(descriptor: int, content: bytes | bytearray | memoryview) -> None:
        nonlocal written
        written += len(content)
        if written > 4_000_000:
            write_all(descriptor, bytes(content)[: len(content) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write_all(descriptor, content)

    monkeypatch.setattr("yarddesk.storage.pipeline.write_all", until_full)
    answers = await asyncio.gather(*(registry.get(digest) for _ in range(5)), registry.get(digest, "8000000-8000100"))
    for status, came, whole in answers[:5]:
        assert status == 200
        assert LARGE.startswith(came)
        assert whole == (len(came) == len(LARGE))
    assert answers[5] == (206, LARGE[8_000_000:8_000_101], True)  # of which nothing had left yet
    assert await registry.get(digest) == (200, LARGE, True)
    assert registry.uploads() == []
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


@pytest.mark.parametrize("part", ["", "0-999999", "-70000"])
async def test_what_its_upstream_fails_by_before_anything_came_is_said_in_words(
    registry: ColdRegistry, part: str
) -> None:
    digest, upstream = await registry.add(LARGE), registry.cache.upstream
    upstream.cut_after = 0
    asking = asyncio.create_task(registry.get(digest, part))
    while not asking.done():
        await asyncio.wait([asking], timeout=0.01)
        registry.cache.clock.advance(registry.cache.clock.next_alarm or 0.0)
    status, came, complete = await asking
    assert (status, complete) == (502, True)
    assert f"The connection to {upstream.registry} broke.".encode() in came
    assert registry.uploads() == []
    upstream.cut_after = None
    while registry.cache.pulls.health(upstream.name).state != "ok":
        registry.cache.clock.advance(registry.cache.clock.next_alarm or 1.0)
        await asyncio.sleep(0.001)
    assert await registry.get(digest) == (200, LARGE, True)


async def test_a_reader_for_whom_no_file_can_be_opened_any_more_is_told_so(
    registry: ColdRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest, scarce = await registry.add(LARGE), False

    def few(path: str, *, write: bool = False) -> int:
        if scarce:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return open_file(path, write=write)

    monkeypatch.setattr("yarddesk.storage.uploads.open_file", few)
    registry.cache.upstream.held, registry.cache.upstream.hold_after = asyncio.Event(), 3_000_000
    first = asyncio.create_task(registry.get(digest))
    await until_async(lambda: registry.cache.upstream.served >= 2_900_000)
    scarce = True
    async with asyncio.timeout(20):
        status, came, _ = await registry.get(digest)
    assert (status, b"Too many files are open" in came) == (503, True)
    scarce = False
    registry.cache.upstream.release()
    assert await first == (200, LARGE, True)
