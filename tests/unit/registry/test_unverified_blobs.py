"""The first read of a blob since the start: it's hashed, once however many ask, and wrong bytes never leave as a whole."""

import asyncio
import contextlib
import gc
import hashlib
import os
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.content import push_blob
from tests.support.damage import blob_file, flip_a_bit, quarantined
from tests.support.lonely_registry import NoUpstreams, Pushes
from yarddesk.content.errors import StorageError
from yarddesk.oci.digest import Digest
from yarddesk.registry import blobs as blob_answers
from yarddesk.registry.app import RegistryApp
from yarddesk.registry.exchange import AnswerCut
from yarddesk.storage import blobs
from yarddesk.storage.filesystem import FilesystemStore

CONTENT = hashlib.sha512(b"some layer").digest() * 60_000  # some mebibytes
DIGEST = Digest.of(CONTENT)
CLIENTS = 50


@pytest.fixture
async def data(tmp_path: Path) -> Path:
    """A data folder with a blob that an earlier run took."""
    async with FilesystemStore.open(tmp_path) as store:
        assert await push_blob(store, CONTENT) == DIGEST
    return tmp_path


@pytest.fixture(params=["hashed before it's sent", "hashed while it's sent"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "hashed while it's sent":
        monkeypatch.setattr(blob_answers, "_SENT_WHILE_CHECKED_BYTES", 0)


@asynccontextmanager
async def client_of(data: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with FilesystemStore.open(data) as store:
        app = RegistryApp(store, NoUpstreams(store), Pushes())
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
            yield client


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("level", [1, 2, 3])
async def test_a_link_in_the_place_of_a_folder_leads_nobody_out(data: Path, tmp_path: Path, level: int) -> None:
    folder = data.joinpath(*blob_file(data, DIGEST).relative_to(data).parts[:level])
    async with client_of(data) as client:
        folder.rename(tmp_path / "outside")
        folder.symlink_to(tmp_path / "outside")
        answer = await client.get(f"/v2/a/blobs/{DIGEST}")
    assert answer.status_code == 500
    assert "symbolic link" in answer.json()["errors"][0]["message"]


async def test_a_folder_in_the_place_of_a_blob_is_no_blob_and_takes_no_descriptor(data: Path) -> None:
    file = blob_file(data, DIGEST)
    file.unlink()
    file.mkdir()
    async with client_of(data) as client:
        assert (await client.get(f"/v2/a/blobs/{DIGEST}")).status_code == 404
    held = [os.readlink(each) for each in Path("/proc/self/fd").iterdir() if each.is_symlink()]
    assert str(file) not in held


async def test_head_of_a_damaged_blob_has_the_headers_of_get(data: Path) -> None:
    flip_a_bit(blob_file(data, DIGEST), 3)
    async with client_of(data) as client:
        get = await client.get(f"/v2/a/blobs/{DIGEST}")
        head = await client.head(f"/v2/a/blobs/{DIGEST}")
        elsewhere = await client.head(f"/v2/a/blobs/{Digest.of(b'other')}")
    assert "quarantine" in get.text
    assert (head.status_code, head.headers) == (get.status_code, get.headers) == (404, get.headers)
    assert head.headers["content-length"] != elsewhere.headers["content-length"]


@pytest.mark.usefixtures("way")
async def test_fifty_clients_have_it_hashed_once(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed = 0
    real = blobs.hash_file

    def counting(descriptor, hasher, length, passed=None):
        nonlocal hashed
        hashed += 1
        real(descriptor, hasher, length, passed)

    monkeypatch.setattr(blobs, "hash_file", counting)
    async with client_of(data) as client:
        answers = await asyncio.gather(*(client.get(f"/v2/a/blobs/{DIGEST}") for _ in range(CLIENTS)))
        assert {(answer.status_code, answer.content == CONTENT) for answer in answers} == {(200, True)}
        part = await client.get(f"/v2/a/blobs/{DIGEST}", headers={"Range": "bytes=-5"})
        assert (part.status_code, part.content) == (206, CONTENT[-5:])
    assert hashed == 1


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("offset", [0, len(CONTENT) // 2, len(CONTENT) - 1])
async def test_none_of_them_gets_wrong_bytes_as_a_complete_answer(data: Path, offset: int) -> None:
    flip_a_bit(blob_file(data, DIGEST), offset)
    async with client_of(data) as client:
        outcomes = await asyncio.gather(
            *(client.get(f"/v2/a/blobs/{DIGEST}") for _ in range(CLIENTS)), return_exceptions=True
        )
        for outcome in outcomes:
            assert isinstance(outcome, AnswerCut) or (
                isinstance(outcome, httpx.Response) and outcome.status_code == 404
            )
        part = await client.get(f"/v2/a/blobs/{DIGEST}", headers={"Range": "bytes=0-4"})
        assert part.status_code == 404
    assert quarantined(data) == [DIGEST]


@pytest.mark.usefixtures("way")
async def test_a_file_that_is_cut_short_is_no_answer_either(data: Path) -> None:
    with blob_file(data, DIGEST).open("r+b") as file:
        file.truncate(len(CONTENT) - 1)
    async with client_of(data) as client:
        try:
            answer = await client.get(f"/v2/a/blobs/{DIGEST}")
        except AnswerCut:
            answer = await client.get(f"/v2/a/blobs/{DIGEST}")
        assert answer.status_code == 404
        assert "quarantine" in answer.text
        assert answer.json()["errors"][0]["code"] == "BLOB_UNKNOWN"


async def test_a_client_that_goes_leaves_nothing_unsaid_of_a_check_that_failed(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blob_answers, "_SENT_WHILE_CHECKED_BYTES", 0)
    unheard: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unheard.append(context))
    checking = asyncio.Event()
    async with FilesystemStore.open(data) as store:

        async def failing(_: Digest) -> bool:
            checking.set()
            try:
                await asyncio.Event().wait()
            finally:
                raise StorageError("The disk can't be read.")

        monkeypatch.setattr(store, "check_blob", failing)
        app = RegistryApp(store, NoUpstreams(store), Pushes())
        gone = asyncio.Event()

        async def receive() -> dict[str, object]:
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.body":
                await checking.wait()
                raise ConnectionResetError

        scope = {
            "type": "http",
            "method": "GET",
            "path": f"/v2/a/blobs/{DIGEST}",
            "raw_path": f"/v2/a/blobs/{DIGEST}".encode(),
        }
        scope |= {"query_string": b"", "headers": [(b"host", b"localhost")], "http_version": "1.1", "scheme": "http"}
        with contextlib.suppress(Exception):
            await app(scope, receive, send)
        gone.set()
    gc.collect()
    await asyncio.sleep(0)
    assert checking.is_set()
    assert not unheard
