"""Two things at once, and trouble in the middle of one: no image is lost over it, and none ends the syncing of the others."""

from __future__ import annotations

import asyncio
import errno
import json
from collections.abc import Awaitable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.support.fake_upstreams import FakeRepository, FakeRoutes, FakeUpstream
from tests.support.images import Content, build_image, build_index
from tests.unit.sync.yard import REPOSITORY, Yard, parse_digest, running, settle
from yarddesk.content.graph import Graph, Node
from yarddesk.content.target import ContentSource, Turn
from yarddesk.oci.descriptor import Descriptor
from yarddesk.oci.digest import Digest
from yarddesk.oci.manifest import parse_manifest
from yarddesk.oci.name import Reference, RepositoryName, Tag
from yarddesk.settings.model import Settings, SyncSettings, TagFilter, UpstreamSettings
from yarddesk.sync.history import History
from yarddesk.sync.journal import Journal
from yarddesk.sync.states import JobState

T = TypeVar("T")

_INDEX = "application/vnd.oci.image.index.v1+json"


@dataclass
class LingeringUpstream(FakeUpstream):
    """What is cut off there takes until `let_go` is set to end; `stops` may name `resolve`, too."""

    let_go: asyncio.Event = field(default_factory=asyncio.Event)

    def repository(self, name: RepositoryName) -> FakeRepository:
        return _LingeringRepository(self, name)


class _LingeringRepository(FakeRepository):
    async def _read(self, descriptor: Descriptor, source: ContentSource, turn: Turn | None = None) -> bytes:
        return await self._lingering(super()._read(descriptor, source, turn))

    async def resolve(self, reference: Reference) -> Descriptor:
        await self._lingering(self._upstream.stop_at("resolve"))
        return await super().resolve(reference)

    async def _lingering(self, work: Awaitable[T]) -> T:
        try:
            return await work
        except asyncio.CancelledError:
            assert isinstance(self._upstream, LingeringUpstream)
            await self._upstream.let_go.wait()
            raise


@dataclass
class AskedUpstream(FakeUpstream):
    """Questions for `watched` manifests set `entered` and are answered once `go_on` is set."""

    watched: set[str] = field(default_factory=set)
    entered: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    def repository(self, name: RepositoryName) -> FakeRepository:
        return _AskedRepository(self, name)


class _AskedRepository(FakeRepository):
    async def resolve(self, reference: Reference) -> Descriptor:
        upstream = self._upstream
        assert isinstance(upstream, AskedUpstream)
        if reference in upstream.watched:
            upstream.entered.set()
            await upstream.go_on.wait()
        return await super().resolve(reference)


async def has_manifest(upstream: FakeUpstream, content: Content) -> bool:
    return await upstream.store.repository(REPOSITORY).exists(parse_manifest(content.content).descriptor)


def no_room(*_: object) -> bool:
    raise OSError(errno.EROFS, "Read-only file system")


async def test_a_push_right_after_a_cancel_of_the_same_tag_goes_up(tmp_path: Path) -> None:
    upstream = LingeringUpstream(held=asyncio.Event())
    async with running(tmp_path, upstreams=[upstream]) as yard:
        await yard.push(build_image("a"))
        await yard.until(lambda: upstream.sending, "something is being sent")
        cancelling = asyncio.create_task(yard.service.cancel("team/app:v1"))
        await yard.until(lambda: not yard.marker().exists(), "the marker is gone")
        await yard.until(lambda: not yard.job() or yard.part().state != "transferring")
        manifest = await yard.push(build_image("b"))
        waiting = asyncio.create_task(yard.service.wait_synced("team/app:v1"))
        await settle()
        upstream.let_go.set()
        assert await cancelling == 1
        assert yard.service.history()[0].outcome is JobState.CANCELLED
        upstream.release()
        assert (await waiting).synced, "who waits for the newer one isn't told of the older one's end"
        await yard.until_empty()
        assert await upstream.tag_of("team/app", "v1") == manifest.digest


async def test_an_image_that_a_machines_trouble_meets_ends_the_syncing_of_no_other(tmp_path: Path) -> None:
    async with running(tmp_path) as yard:
        index = build_index("multi")
        await yard.put_blobs(index)
        await yard.push_manifest(index.manifest, "v1")
        await yard.until_state("blocked")
        missing = {child.digest for child in index.manifests[:-1]}
        met = asyncio.Event()

        def fault(what: str, of: str) -> Exception | None:
            if what == "resolve" and of in missing:
                met.set()
                return OSError(errno.EMFILE, "Too many open files")
            return None

        yard.upstream.fault = fault
        yard.clock.advance(31)
        await yard.until(met.is_set, "the children are asked for")
        await yard.push(build_image("b"), "other")
        await yard.until(lambda: not yard.job("team/app:other"), "another image is synced")
        yard.upstream.fault = None
        for child in index.manifests[:-1]:
            await yard.push_manifest(child)
        await yard.until_empty()


async def test_an_image_whose_marker_can_not_be_removed_ends_the_syncing_of_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path) as yard:
        await yard.service.pause()
        manifest = await yard.push(build_image("a"))
        await yard.store.delete_manifest(REPOSITORY, manifest.digest)
        with monkeypatch.context() as patch:
            patch.setattr("yarddesk.sync.journal.remove_files", no_room)
            await yard.service.resume()
            part = await yard.until_state("waiting")
            assert "log" in part.reason
        await yard.push(build_image("b"), "other")
        await yard.service.retry()
        await yard.until_empty()


async def test_a_child_goes_to_all_its_upstreams_though_its_index_goes_to_some(tmp_path: Path) -> None:
    everything, releases = FakeUpstream(name="all"), FakeUpstream(name="releases")
    async with running(tmp_path, upstreams=[everything, releases]) as yard:
        only_releases = TagFilter(include=("release-*",))
        upstreams = (
            UpstreamSettings(registry="all", name="all", push=True),
            UpstreamSettings(registry="releases", name="releases", push=True, tags=only_releases),
        )
        await yard.service.reload(yard.routes, Settings(data_dir=tmp_path, sync=yard.sync, upstreams=upstreams))
        await yard.service.pause()
        index = build_index("multi")
        await yard.put_blobs(index)
        early, late = index.manifests[:2]
        await yard.push_manifest(early)
        await yard.push_manifest(index.manifest, "dev")
        await yard.push_manifest(late)
        await yard.service.resume()
        await yard.until_empty()
        assert await everything.tag_of("team/app", "dev") == parse_digest(index.manifest.digest)
        for child in (early, late):
            assert await has_manifest(everything, child)
            assert await has_manifest(releases, child)


async def test_a_marker_of_switchyard_without_an_upstream_goes_up_once_there_is_one(tmp_path: Path) -> None:
    upstream = FakeUpstream()
    yard = Yard(tmp_path, upstreams=[])
    image = build_image("a")
    await yard.put_blobs(image)
    manifest = parse_manifest(image.manifest.content, image.manifest.media_type)
    await yard.store.put_manifest(REPOSITORY, manifest)
    await yard.store.put_tag(REPOSITORY, Tag.parse("v1"), manifest.digest)
    yard.marker().parent.mkdir(parents=True)
    foreign = {"name": "team/app", "reference": "v1", "retries": 0, "next_attempt": 0, "created": 1700000000}
    yard.marker().write_text(json.dumps(foreign))
    await yard.service.start()
    try:
        assert yard.job() is not None
        await yard.service.reload(FakeRoutes([upstream]), Settings(data_dir=tmp_path, sync=yard.sync))
        await yard.until_empty()
    finally:
        await yard.service.stop()
    assert await upstream.tag_of("team/app", "v1") == manifest.digest


async def test_what_arrives_while_an_upstreams_parts_are_cancelled_is_not_in_the_way(tmp_path: Path) -> None:
    lingering, other = LingeringUpstream(name="a", held=asyncio.Event()), FakeUpstream(name="b", held=asyncio.Event())
    async with running(tmp_path, upstreams=[lingering, other], sync=SyncSettings(concurrency=12)) as yard:
        await yard.push(build_image("a"), "v1")
        await yard.push(build_image("b"), "v2")
        await yard.until(lambda: lingering.sending >= 4, "both are being sent")
        cancelling = asyncio.create_task(yard.service.cancel("a"))
        await yard.until_state("cancelling", "team/app:v1", "a")
        lingering.release()
        await yard.until_state("done", "team/app:v2", "a")
        lingering.let_go.set()
        await cancelling
        assert yard.part("team/app:v1", "a").state == "cancelled"
        assert yard.part("team/app:v2", "a").state == "done"
        other.release()
        await yard.until_empty()


async def test_a_child_that_comes_while_its_index_asks_the_upstream_for_it_lets_it_go_on(tmp_path: Path) -> None:
    index = build_index("multi")
    upstream = AskedUpstream()
    async with running(tmp_path, upstreams=[upstream]) as yard:
        await yard.put_blobs(index)
        await yard.push_manifest(index.manifest, "v1")
        await yard.until_state("blocked")
        upstream.watched = {child.digest for child in index.manifests[:-1]}
        yard.clock.advance(31)
        await yard.until(upstream.entered.is_set, "the children are asked for")
        for child in index.manifests[:-1]:
            await yard.push_manifest(child)
        upstream.go_on.set()
        await yard.until_empty()
        assert await upstream.tag_of("team/app", "v1") == parse_digest(index.manifest.digest)


def test_a_graph_in_which_all_share_their_children_is_walked_once() -> None:
    digests = [Digest.of(bytes([number])) for number in range(12)]
    graph = Graph(Descriptor(_INDEX, digests[0], 1, manifest=True))
    for number, digest in enumerate(digests):
        children = digests[number + 1 : number + 2] * 9
        graph.nodes[digest] = Node(Descriptor(_INDEX, digest, 1, manifest=True), (), tuple(children))
    assert [node.descriptor.digest for node in graph.below(digests[0])] == digests


async def test_pausing_an_image_while_it_is_pushed_again_pauses_the_newer_one_and_loses_none(tmp_path: Path) -> None:
    upstream = FakeUpstream(away=True)
    async with running(tmp_path, upstreams=[upstream]) as yard:
        await yard.push(build_image("a"))
        await yard.until_state("waiting")
        for turns in range(40):
            pushing = asyncio.create_task(yard.push_manifest(build_image(f"n{turns}").manifest, "v1"))
            await settle(turns % 15)
            await yard.service.pause("team/app:v1")
            await pushing
            assert yard.job().paused, f"paused {turns} turns after the push began"
            await yard.service.resume("team/app:v1")
            assert not yard.job().paused
        upstream.away = False
        last = await yard.push(build_image("last"))
        pushing = asyncio.create_task(yard.push(build_image("last")))
        await yard.service.pause("team/app:v1")
        await pushing
        await yard.service.resume("team/app:v1")
        await yard.service.retry()
        await yard.until_empty()
        assert await upstream.tag_of("team/app", "v1") == last.digest


@pytest.mark.parametrize("how", ["replaced", "cancelled", "replaced after a restart"])
async def test_a_child_that_is_pushed_while_its_index_is_queued_goes_up_without_it(tmp_path: Path, how: str) -> None:
    async with running(tmp_path) as yard:
        await yard.service.pause()
        index = build_index("multi")
        await yard.push(index)
        yard.clock.advance(1)
        child = index.manifests[0]
        await yard.push_manifest(child)
        if how.endswith("restart"):
            await yard.restart()
        if how == "cancelled":
            assert await yard.service.cancel("team/app:v1") == 1
        else:
            await yard.push(build_image("another"))
        await yard.service.resume()
        await yard.until_empty()
        assert await has_manifest(yard.upstream, child)
        assert not await has_manifest(yard.upstream, index.manifest)


async def test_cancelling_everything_cancels_what_an_index_takes_along_too(tmp_path: Path) -> None:
    async with running(tmp_path) as yard:
        await yard.service.pause()
        index = build_index("multi")
        await yard.push(index)
        await yard.push_manifest(index.manifests[0])
        assert await yard.service.cancel() == 1
        assert not yard.service.snapshot().jobs


async def test_a_child_that_is_pushed_while_its_index_is_queued_is_sent_once(tmp_path: Path) -> None:
    upstream = FakeUpstream(held=asyncio.Event())
    async with running(tmp_path, upstreams=[upstream]) as yard:
        index = build_index("multi", platforms=("linux/amd64",))
        await yard.push(index)
        await yard.until(lambda: upstream.sending == 3, "the blobs are on their way")
        yard.clock.advance(1)
        await yard.push_manifest(index.manifests[0])
        await settle(200)
        upstream.release()
        await yard.until_empty()
        assert upstream.asked["push"] == 3


async def test_a_child_that_comes_while_its_index_is_tried_without_it_lets_it_go_on_at_once(tmp_path: Path) -> None:
    upstream = FakeUpstream(held=asyncio.Event())
    async with running(tmp_path, upstreams=[upstream]) as yard:
        index = build_index("multi")
        await yard.put_blobs(index)
        await yard.service.pause()
        early, late = index.manifests[:2]
        await yard.push_manifest(early)
        await yard.push_manifest(index.manifest, "v1")
        await yard.service.resume()
        await yard.until(lambda: upstream.sending, "what is here is being sent")
        await yard.push_manifest(late)
        upstream.release()
        await yard.until_empty()
        assert await upstream.tag_of("team/app", "v1") == parse_digest(index.manifest.digest)


async def test_an_image_pushed_again_while_its_arrival_is_written_down_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newer generation is queued by then, but what ran for the older one has judged already: it goes on for nobody."""
    queued, go_on, settling, written = (asyncio.Event() for _ in range(4))
    upstream = FakeUpstream(stops={"tag": asyncio.Event()})

    async def put(journal: Journal, *arguments: Any, **options: Any) -> Any:
        result = await _put(journal, *arguments, **options)
        if result[1] is not None:
            queued.set()
            await go_on.wait()
        return result

    async def write(history: History) -> None:
        settling.set()
        await written.wait()
        await _write(history)

    _put, _write = Journal.put, History.write
    monkeypatch.setattr(Journal, "put", put)
    monkeypatch.setattr(History, "write", write)
    async with running(tmp_path, upstreams=[upstream]) as yard:
        image = build_image("a")
        await yard.push(image)
        await yard.until_state("committing")
        again = asyncio.create_task(yard.push_manifest(image.manifest, "v1"))
        await queued.wait()
        upstream.stops["tag"].set()
        await settling.wait()
        go_on.set()
        await again
        written.set()
        await yard.until_empty()
        assert not yard.marker().exists()


@pytest.mark.parametrize("seed", ["a", "another"])
async def test_what_is_pushed_again_while_it_is_cancelled_at_one_upstream_goes_there(tmp_path: Path, seed: str) -> None:
    answers = asyncio.Event()
    lingering, other = LingeringUpstream(name="a", stops={"resolve": answers}), FakeUpstream(name="b")
    async with running(tmp_path, upstreams=[lingering, other]) as yard:
        other.away = True
        first = await yard.push(build_image("a"))
        await yard.until_state("preparing", upstream="a")
        await yard.until_state("waiting", upstream="b")
        cancelling = asyncio.create_task(yard.service.cancel("a"))
        await yard.until_state("cancelling", upstream="a")
        manifest = await yard.push(build_image(seed))
        answers.set()
        lingering.let_go.set()
        assert await cancelling == 1
        other.away = False
        yard.clock.advance(301)
        await yard.until_empty()
        assert await lingering.tag_of("team/app", "v1") == manifest.digest
        assert await other.tag_of("team/app", "v1") == manifest.digest
        ended = [entry for entry in yard.service.history() if entry.upstream == "a"]
        assert [(entry.digest, entry.outcome, entry.reason) for entry in ended] == [
            (manifest.digest, JobState.DONE, ""),
            (first.digest, JobState.CANCELLED, "Cancelled."),
        ]


async def test_what_is_pushed_again_while_others_are_cancelled_before_it_goes_there(tmp_path: Path) -> None:
    lingering, other = LingeringUpstream(name="a", held=asyncio.Event()), FakeUpstream(name="b", held=asyncio.Event())
    async with running(tmp_path, upstreams=[lingering, other]) as yard:
        await yard.push(build_image("a"), "v1")
        await yard.until(lambda: lingering.sending, "something is being sent")
        lingering.away = True
        older = await yard.push(build_image("b"), "v2")
        await yard.until_state("waiting", "team/app:v2", "a")
        cancelling = asyncio.create_task(yard.service.cancel("a"))
        await yard.until_state("cancelling", "team/app:v1", "a")
        newer = await yard.push(build_image("newer"), "v2")
        lingering.let_go.set()
        await cancelling
        lingering.away = False
        lingering.release()
        other.release()
        yard.clock.advance(301)
        await yard.until_empty()
        assert await lingering.tag_of("team/app", "v2") == newer.digest
        ended = [entry for entry in yard.service.history() if (entry.upstream, entry.reference) == ("a", "v2")]
        assert [(entry.digest, entry.outcome) for entry in ended] == [
            (newer.digest, JobState.DONE),
            (older.digest, JobState.CANCELLED),
        ]
        assert "A newer push" in ended[1].reason
