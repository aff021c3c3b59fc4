"""A tag that a decision moves here counts as one that is being pushed, in a yard as `serve` runs it."""

import asyncio
import os
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from tests.peers.registry import DockerRegistry
from tests.support.images import build_image
from tests.support.registry_client import RegistryClient
from tests.support.waiting import until_async
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import Reference, RepositoryName, Tag
from yarddesk.service.opening import open_yard
from yarddesk.service.reload import SettingsSource
from yarddesk.service.yard import Yard
from yarddesk.settings.loader import load_settings
from yarddesk.storage.filesystem import FilesystemStore
from yarddesk.sync.snapshot import ConflictChoice

APP, OTHER = RepositoryName.parse("team/app"), Tag.parse("other")
SETTINGS = """\
server: {{host: 127.0.0.1, port: 0}}
sync: {{on_conflict: ask}}
upstreams:
  - {{prefix: "", registry: "{host}", push: true, pull: false, tls: {{plain_http: true}}, auth: {{type: anonymous}}}}
"""


@pytest.fixture
async def yard(tmp_path: Path, docker_registry: DockerRegistry) -> AsyncIterator[Yard]:
    umask = os.umask(0o077)
    try:
        file, options = tmp_path / "config.yaml", {"data_dir": str(tmp_path / "data")}
        file.write_text(SETTINGS.format(host=docker_registry.host), encoding="utf-8")
        settings = load_settings({}, file=file, options=options).settings
        async with open_yard(settings, SettingsSource(file, options, {})) as yard:
            yield yard
    finally:
        os.umask(umask)


async def test_a_tag_that_is_moved_by_a_decision_is_being_changed_until_it_is_through(
    yard: Yard, docker_registry: DockerRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, theirs, ours = (build_image(seed) for seed in ("first", "theirs", "ours"))
    client = RegistryClient(yard.url)
    await asyncio.to_thread(client.push, APP, "1", first)
    await until_async(lambda: not yard.sync.snapshot().jobs, 30, "it is synced")
    await asyncio.to_thread(docker_registry.push, APP, "1", theirs)
    await asyncio.to_thread(client.push, APP, "1", ours)
    await until_async(partial(has_conflict, yard), 30, "a conflict")
    put_tag, seen = FilesystemStore.put_tag, []

    async def watched(store: FilesystemStore, repository: RepositoryName, tag: Tag, digest: Digest) -> None:
        references: tuple[Reference, ...] = (tag, digest)
        seen.append([yard.is_changing(repository, each) for each in references])
        await put_tag(store, repository, tag, digest)

    monkeypatch.setattr(FilesystemStore, "put_tag", watched)
    assert not yard.is_changing(APP, OTHER)
    await yard.sync.decide("team/app:1", ConflictChoice.TAG, tag=OTHER)
    assert seen == [[True, True]]
    assert not yard.is_changing(APP, OTHER)


def has_conflict(yard: Yard) -> bool:
    return any(part.conflict for job in yard.sync.snapshot().jobs for part in job.parts)
