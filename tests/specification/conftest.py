"""A registry over a real socket, on a disk, that can be started again; every answer it gives is held against the specification."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest

from tests.support.lonely_registry import Pushes, lonely_registry
from yarddesk.registry.server import EmbeddedServer
from yarddesk.storage.filesystem import FilesystemStore

CODES = frozenset(
    {
        "BLOB_UNKNOWN",
        "BLOB_UPLOAD_INVALID",
        "BLOB_UPLOAD_UNKNOWN",
        "DIGEST_INVALID",
        "MANIFEST_BLOB_UNKNOWN",
        "MANIFEST_INVALID",
        "MANIFEST_UNKNOWN",
        "NAME_INVALID",
        "NAME_UNKNOWN",
        "SIZE_INVALID",
        "UNAUTHORIZED",
        "DENIED",
        "UNSUPPORTED",
        "TOOMANYREQUESTS",
        "TAG_INVALID",  # "Legacy Docker support error codes"
    }
)
DIGEST = re.compile(r"sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128}")


async def check_answer(answer: httpx.Response) -> None:
    """What holds of every answer of a registry, whatever was asked."""
    body = await answer.aread()
    if answer.request.method == "HEAD" or answer.status_code in (204, 304):
        assert body == b""
    elif 400 <= answer.status_code < 500 and answer.headers.get("content-type") == "application/json":
        errors = json.loads(body)["errors"]
        assert errors
        for error in errors:
            assert set(error) <= {"code", "message", "detail"}
            assert error["code"] in CODES
            assert isinstance(error["message"], str)
    assert answer.status_code < 500, body
    if "docker-content-digest" in answer.headers:
        assert DIGEST.fullmatch(answer.headers["docker-content-digest"])
    if answer.status_code in (201, 202) and answer.request.method in ("POST", "PUT", "PATCH"):
        assert "location" in answer.headers
    if answer.status_code == 405:
        assert answer.headers["allow"]  # RFC 9110, 15.5.6


class Yard:
    """The registry; `restart` ends it in good order and starts it again on what is on disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pushes = Pushes()
        self.store: FilesystemStore
        self.server: EmbeddedServer
        self.http: httpx.AsyncClient
        self._stack = AsyncExitStack()

    async def start(self) -> None:
        self.store = await self._stack.enter_async_context(FilesystemStore.open(self.folder))
        registry = lonely_registry(self.store, self.pushes)
        self.server = await self._stack.enter_async_context(EmbeddedServer(registry, port=0))
        self.http = await self._stack.enter_async_context(
            httpx.AsyncClient(
                base_url=self.server.address, trust_env=False, timeout=30, event_hooks={"response": [check_answer]}
            )
        )

    async def stop(self) -> None:
        await self._stack.aclose()

    async def restart(self) -> None:
        await self.stop()
        await self.start()


@pytest.fixture
async def yard(tmp_path: Path) -> AsyncIterator[Yard]:
    yard = Yard(tmp_path / "data")
    await yard.start()
    try:
        yield yard
    finally:
        await yard.stop()


@pytest.fixture
def http(yard: Yard) -> httpx.AsyncClient:
    return yard.http
