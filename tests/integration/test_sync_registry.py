"""From the store through the real client to a real docker-registry, and back through the cache."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.peers.registry import DockerRegistry, over_tls
from tests.support.certificates import private_authority
from tests.support.clocks import HandClock
from tests.support.images import Content, Image, Index, build_image, build_index, manifest_of
from tests.support.upstreams import GivenCredentials, credential, settings_for
from tests.support.waiting import until_async
from yarddesk.cache.pull_through import CachedPulls
from yarddesk.content.clock import Clock
from yarddesk.content.listener import ManifestPush
from yarddesk.events import EventBus
from yarddesk.oci.digest import Digest
from yarddesk.oci.manifest import parse_manifest
from yarddesk.oci.name import RepositoryName, Tag
from yarddesk.settings.model import CacheSettings, Settings, SyncSettings, TlsSettings
from yarddesk.storage.filesystem import FilesystemStore
from yarddesk.sync.service import SyncService
from yarddesk.sync.snapshot import SendPlan
from yarddesk.sync.states import JobState
from yarddesk.upstream.routes import UpstreamRoutes

REPOSITORY = RepositoryName.parse("team/app")
OTHER = RepositoryName.parse("team/other")
V1 = Tag.parse("v1")


class Running:
    """Store, routes, sync and cache, as the service puts them together."""

    def __init__(self, store: FilesystemStore, sync: SyncService, pulls: CachedPulls, folder: Path) -> None:
        self.store = store
        self.sync = sync
        self.pulls = pulls
        self.folder = folder

    async def push(self, content: Image | Index, tag: str = "v1", repository: RepositoryName = REPOSITORY) -> None:
        for blob in content.blobs:
            upload = await self.store.start_upload(repository)
            await upload.write(blob.content)
            await upload.commit(Digest.parse(blob.digest))
        for manifest in content.manifests[:-1]:
            await self._put(manifest, repository)
        await self._put(content.manifest, repository, Tag.parse(tag))

    async def _put(self, content: Content, repository: RepositoryName, *tags: Tag) -> None:
        manifest = parse_manifest(content.content, content.media_type)
        await self.store.put_manifest(repository, manifest)
        push = ManifestPush(repository, manifest, tags)
        await self.sync.manifest_pushed(push)
        for tag in tags:
            await self.store.put_tag(repository, tag, manifest.digest)
        await self.sync.push_done(push)

    async def until_empty(self, seconds: float = 20) -> None:
        await until_async(lambda: not self.sync.snapshot().jobs, seconds, "the queue is empty")

    def parts(self) -> list[Any]:
        return [part for job in self.sync.snapshot().jobs for part in job.parts]


@asynccontextmanager
async def running(
    folder: Path,
    *registries: DockerRegistry,
    clock: Clock | None = None,
    credentials: GivenCredentials | None = None,
    tls: TlsSettings | None = None,
    **options: Any,
) -> AsyncIterator[Running]:
    upstreams = tuple(
        settings_for(registry.host, name=f"up{number}" if number else "corp", tls=tls or TlsSettings(plain_http=True))
        for number, registry in enumerate(registries)
    )
    # Within its time a tag would be served unasked.
    cache = CacheSettings(manifest_ttl=timedelta(0))
    settings = Settings(data_dir=folder, upstreams=upstreams, sync=SyncSettings(**options), cache=cache)
    events = EventBus()
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(FilesystemStore.open(folder))
        routes = UpstreamRoutes(upstreams, credentials or GivenCredentials())
        stack.push_async_callback(routes.aclose)
        sync = SyncService(data_dir=folder, store=store, routes=routes, settings=settings, events=events, clock=clock)
        await stack.enter_async_context(sync)
        pulls = CachedPulls(store=store, routes=routes, settings=settings, events=events, is_queued=sync.is_queued)
        await stack.enter_async_context(pulls)
        yield Running(store, sync, pulls, folder)


async def test_images_and_indexes_arrive_byte_for_byte(tmp_path: Path, docker_registry: DockerRegistry) -> None:
    async with running(tmp_path / "data", docker_registry) as yard:
        image, index = build_image("a", [200_000, 8_000_000]), build_index("multi", docker=True)
        await yard.push(image, "one")
        await yard.push(index, "many")
        await yard.until_empty()
        assert docker_registry.holds("team/app", "one", image)
        assert docker_registry.holds("team/app", "many", index)
        assert {entry.outcome for entry in yard.sync.history()} == {JobState.DONE}


async def test_nothing_that_is_there_is_sent_again_and_layers_are_mounted(
    tmp_path: Path, docker_registry: DockerRegistry
) -> None:
    async with running(tmp_path / "data", docker_registry) as yard:
        image = build_image("a")
        await yard.push(image, "one")
        await yard.until_empty()
        uploads = len(docker_registry.seen("PUT", "/blobs/uploads/"))
        await yard.push(image, "two")
        await yard.push(image, "one", repository=OTHER)
        await yard.until_empty()
        assert docker_registry.holds("team/app", "two", image)
        assert docker_registry.holds("team/other", "one", image)
        assert len(docker_registry.seen("PUT", "/blobs/uploads/")) == uploads
        assert len(docker_registry.seen("POST", r"mount=")) == 3


async def test_what_an_image_in_line_needs_is_known_ahead_and_asked_once(
    tmp_path: Path, docker_registry: DockerRegistry
) -> None:
    older, image = build_image("older"), build_image("in line")
    layers = (older.layers[0], image.layers[0])
    newer = Image(manifest_of(image.config, layers), image.config, layers, image.platform)
    clock = HandClock()
    async with running(tmp_path / "data", docker_registry, clock=clock, concurrency=1, bandwidth=100_000) as yard:

        def lets_time_go_by() -> bool:
            clock.advance(1)
            return not yard.sync.snapshot().jobs

        await yard.push(older, "older")
        await until_async(lets_time_go_by, 20)
        for number in range(9):
            await yard.push(build_image(f"busy {number}", [200_000]), f"busy-{number}")
        await until_async(lambda: [part.state for part in yard.parts()] == ["transferring"] * 9, 20)
        asked = len(docker_registry.seen("HEAD", "/blobs/"))
        await yard.push(newer, "newer")
        await until_async(lambda: yard.parts()[-1].plan, 20, "it's known what is to be sent")
        there = len(older.layers[0].content)
        to_send = len(newer.config.content) + len(image.layers[0].content) + len(newer.manifest.content)
        assert yard.parts()[-1].plan == SendPlan(there, 0, to_send)
        assert yard.parts()[-1].state == "queued"
        await until_async(lets_time_go_by, 40)
        assert docker_registry.holds("team/app", "newer", newer)
        assert len(docker_registry.seen("HEAD", "/blobs/")) == asked + 2, "the older layer was just sent"
        assert len(docker_registry.seen("HEAD", f"/manifests/{newer.manifest.digest}")) == 1


async def test_two_upstreams_get_it(tmp_path: Path, make_registry: Callable[..., DockerRegistry]) -> None:
    first, second = make_registry(), make_registry()
    async with running(tmp_path / "data", first, second) as yard:
        image = build_image("a")
        await yard.push(image)
        await yard.until_empty()
        assert first.holds("team/app", "v1", image)
        assert second.holds("team/app", "v1", image)


async def test_an_upstream_that_was_down_gets_it_when_it_is_back_without_anybody_asking_for_it(
    tmp_path: Path, docker_registry: DockerRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("yarddesk.sync.schedule.FIRST_BACKOFF_SECONDS", 200.0)  # so that no back-off ends in this test
    docker_registry.stop()
    async with running(tmp_path / "data", docker_registry) as yard:
        image = build_image("a")
        await yard.push(image)
        await until_async(lambda: [part.state for part in yard.parts()] == ["waiting"])
        [part] = yard.parts()
        assert "refused the connection" in part.reason
        docker_registry.start()
        await yard.until_empty()
        assert docker_registry.holds("team/app", "v1", image)
        docker_registry.stop()
        await yard.push(image, "v2")
        await until_async(lambda: [part.state for part in yard.parts()] == ["waiting"])
        assert yard.parts()[0].tries == 0
        docker_registry.start()
        await yard.until_empty()
        assert [entry.tries for entry in yard.sync.history()] == [1, 1]


async def test_a_password_that_the_registry_takes_by_now_is_tried_again_by_itself(
    tmp_path: Path, make_registry: Callable[..., DockerRegistry]
) -> None:
    registry, clock = make_registry(users={"ci": "another"}), HandClock()
    store = GivenCredentials({registry.host: credential("ci", "ours")})
    async with running(tmp_path / "data", registry, clock=clock, credentials=store) as yard:
        image = build_image("a")
        await yard.push(image)
        await until_async(lambda: [part.state for part in yard.parts()] == ["blocked"])
        assert yard.parts()[0].needs_credentials
        asked = len(registry.seen())
        clock.advance(290)
        registry.stop()
        registry.users = {"ci": "ours"}
        registry.start()
        assert len(registry.seen()) == asked, "a wrong password is not tried over and over"
        clock.advance(10)
        await yard.until_empty()
        assert registry.tagged("team/app", "v1") == image.manifest.digest


async def test_a_certificate_that_was_replaced_is_noticed(
    tmp_path: Path, make_registry: Callable[..., DockerRegistry], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("yarddesk.sync.verdicts.LOOK_AGAIN_SECONDS", 1800.0)  # so that no try comes before it's noticed
    foreign, own = tmp_path / "foreign", tmp_path / "own"
    for folder in (foreign, own):
        folder.mkdir()
        _, _, authority = private_authority(folder)
    registry, clock = make_registry(settings=_with_tls(foreign)), HandClock()
    async with running(tmp_path / "data", registry, clock=clock, tls=TlsSettings(ca_file=str(authority))) as yard:
        image = build_image("a")
        await yard.push(image)
        await until_async(lambda: [part.state for part in yard.parts()] == ["blocked"])
        assert "not trusted" in yard.parts()[0].reason
        assert not yard.parts()[0].needs_credentials
        registry.stop()
        registry.settings = _with_tls(own)
        registry.start()

        def is_noticed() -> bool:
            clock.advance(1)
            return not yard.parts()

        await until_async(is_noticed, 20, "the new certificate is noticed")
        await yard.until_empty()
        assert registry.tagged("team/app", "v1") == image.manifest.digest


def _with_tls(folder: Path) -> dict[str, Any]:
    """docker-registry's settings, with the certificate in this folder."""
    return over_tls(folder / "cert.pem", folder / "key.pem")


async def test_a_restart_in_the_middle_goes_on(tmp_path: Path, docker_registry: DockerRegistry) -> None:
    image = build_image("big", [3_000_000] * 4)
    async with running(tmp_path / "data", docker_registry, bandwidth=2_000_000) as yard:
        await yard.push(image)
        await until_async(lambda: any(part.bytes_done for part in yard.parts()))
    async with running(tmp_path / "data", docker_registry) as yard:
        await yard.until_empty()
        assert docker_registry.holds("team/app", "v1", image)


async def test_uploads_stay_within_the_bandwidth(tmp_path: Path, docker_registry: DockerRegistry) -> None:
    async with running(tmp_path / "data", docker_registry, bandwidth=3_000_000) as yard:
        image = build_image("big", [1_000_000] * 5)
        await yard.push(image)
        await yard.until_empty()
        assert docker_registry.holds("team/app", "v1", image)
        [entry] = yard.sync.history()
        # Half a second's worth may go at once.
        assert entry.seconds > (entry.bytes_sent - 1_500_000) / 3_000_000 * 0.95


async def test_cancel_is_quick_and_ends_the_upload_session_upstream(
    tmp_path: Path, docker_registry: DockerRegistry
) -> None:
    async with running(tmp_path / "data", docker_registry, bandwidth=1_000_000) as yard:
        await yard.push(build_image("big", [8_000_000]))
        await until_async(
            lambda: any(part.state == "transferring" and part.bytes_done > 100_000 for part in yard.parts())
        )
        began = time.monotonic()
        assert await yard.sync.cancel() == 1
        assert time.monotonic() - began < 1
        assert not yard.sync.snapshot().jobs
        assert not list((tmp_path / "data" / "pending").rglob("*.json"))
        await until_async(lambda: docker_registry.seen("DELETE", "/blobs/uploads/"), 5, "the session is cancelled")


async def test_a_registry_that_lost_what_it_says_it_has_is_not_called_synced(
    tmp_path: Path, make_registry: Callable[..., DockerRegistry]
) -> None:
    """docker-registry remembers blobs in memory that its garbage collection, or a person, took away meanwhile."""
    registry = make_registry(
        settings={
            "storage": {
                "filesystem": {"rootdirectory": str(tmp_path / "content")},
                "delete": {"enabled": True},
                "cache": {"blobdescriptor": "inmemory"},
            }
        }
    )
    image = build_image("lost")
    async with running(tmp_path / "data", registry) as yard:
        await yard.push(image)
        await yard.until_empty()
        manifest = registry.manifest("team/app", "v1")
        assert manifest
        registry.request("DELETE", f"/v2/team/app/manifests/{manifest.digest}")
        for path in (tmp_path / "content").rglob("blobs/sha256/*/*/data"):
            path.unlink()
        await yard.push(image, "v2")
        await until_async(lambda: not yard.parts() or yard.parts()[0].state == "waiting", 30)
        if not yard.parts():
            assert registry.holds("team/app", "v2", image)
        else:
            assert "doesn't have it" in yard.parts()[0].reason


async def test_a_layer_that_a_garbage_collection_took_while_the_registry_still_says_it_has_it_is_sent(
    tmp_path: Path, make_registry: Callable[..., DockerRegistry]
) -> None:
    folder = tmp_path / "content"
    registry = make_registry(
        settings={
            "storage": {
                "filesystem": {"rootdirectory": str(folder)},
                "delete": {"enabled": True},
                "cache": {"blobdescriptor": "inmemory"},
            }
        }
    )
    older, top = build_image("base"), build_image("new")
    layers = (older.layers[0], top.layers[1])
    newer = Image(manifest_of(top.config, layers), top.config, layers, top.platform)
    async with running(tmp_path / "data", registry) as yard:
        await yard.push(older, "older")
        await yard.until_empty()
        registry.request("DELETE", f"/v2/team/app/manifests/{older.manifest.digest}")
        for blob in older.blobs:
            plain = blob.digest.removeprefix("sha256:")
            for path in folder.rglob(f"blobs/sha256/{plain[:2]}/{plain}/data"):
                path.unlink()
        await yard.push(newer, "newer")
        await yard.until_empty()
    assert registry.holds("team/app", "newer", newer)


async def test_what_is_upstream_comes_through_the_cache(tmp_path: Path, docker_registry: DockerRegistry) -> None:
    image = build_image("a", [3_000_000, 1000])
    docker_registry.push("team/app", "v1", image)
    async with running(tmp_path / "data", docker_registry) as yard:
        fetched = await yard.pulls.fetch_manifest(REPOSITORY, V1)
        assert fetched is not None
        assert fetched.manifest.content == image.manifest.content

        async def pull(blob: Content) -> bytes:
            async with yard.pulls.open_blob(REPOSITORY, Digest.parse(blob.digest)) as content:
                return b"".join([piece async for piece in content.read(0, content.size)])

        contents = await asyncio.gather(*(pull(blob) for blob in image.blobs for _ in range(10)))
        assert set(contents) == {blob.content for blob in image.blobs}
        assert len(docker_registry.seen("GET", "/blobs/")) == len(image.blobs)
        assert not docker_registry.seen("HEAD", "/blobs/")
        docker_registry.stop()
        again = await yard.pulls.fetch_manifest(REPOSITORY, V1)
        assert again is not None
        assert again.stale
