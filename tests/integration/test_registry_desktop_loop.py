"""The registry on the loop of the desktop app: the same answers, with files sent by the kernel there too."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import httpx
import pytest
from PySide6.QtWidgets import QApplication

from tests.support.lonely_registry import lonely_registry
from tests.unit.registry.pushing import push_blob
from yarddesk.desktop.loop import run
from yarddesk.registry.server import EmbeddedServer
from yarddesk.storage.filesystem import FilesystemStore

CONTENT = bytes(range(256)) * 80_000


def test_pushes_and_pulls_at_once_come_whole(
    qapp: QApplication, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[int] = []

    async def work() -> None:
        sendfile = os.sendfile

        def counted(out: int, file: int, offset: int, count: int) -> int:
            sent.append(sendfile(out, file, offset, count))
            return sent[-1]

        monkeypatch.setattr(os, "sendfile", counted)
        async with (
            FilesystemStore.open(tmp_path / "data") as store,
            EmbeddedServer(lonely_registry(store), port=0) as server,
            httpx.AsyncClient(base_url=server.address, trust_env=False, timeout=60) as client,
        ):
            contents = [CONTENT + bytes([number]) for number in range(6)]
            digests = await asyncio.gather(*(push_blob(client, "app", content) for content in contents))
            answers = await asyncio.gather(*(client.get(f"/v2/app/blobs/{digest}") for digest in digests))
            assert [answer.content for answer in answers] == contents
            part = await client.get(f"/v2/app/blobs/{digests[0]}", headers={"Range": "bytes=5-1000004"})
            assert part.content == CONTENT[5:1000005]
            assert (await client.get("/v2/")).status_code == 200
        assert sum(sent) == sum(map(len, contents)) + 1_000_000

    run(asyncio.wait_for(work(), 60), qapp)
