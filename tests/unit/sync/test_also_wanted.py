"""A platform that was pushed by itself while its index is queued goes up with it; whatever becomes of the index, it isn't lost."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from tests.support.fake_upstreams import FakeUpstream
from tests.support.images import build_image, build_index
from tests.unit.sync.test_conflicts import somebody_moves
from tests.unit.sync.yard import REPOSITORY, Yard, parse_digest, running, settle
from yarddesk.settings.model import SyncSettings
from yarddesk.sync.snapshot import ConflictChoice

INDEX = build_index("two platforms", layer_sizes=(50,))
PLATFORM = INDEX.images[0]
ALONE = f"team/app@{PLATFORM.manifest.digest}"


async def pushed_both(yard: Yard) -> None:
    """The index, then one of its platforms by itself, while the upstream is away."""
    yard.upstream.away = True
    await yard.push(INDEX)
    await yard.push_manifest(PLATFORM.manifest)
    await yard.until_state("waiting")
    assert yard.job(ALONE) is None


async def arrives(yard: Yard) -> None:
    yard.upstream.away = False
    await yard.service.retry()
    await yard.until_empty()
    held = await yard.upstream.store.resolve(REPOSITORY, parse_digest(PLATFORM.manifest.digest))
    assert held.digest == PLATFORM.manifest.digest


async def vanish(yard: Yard) -> None:
    """The index's manifest is gone, and nobody was told."""
    del yard.store._manifests[REPOSITORY][parse_digest(INDEX.manifest.digest)]


async def test_the_index_is_gone_when_it_is_tried(tmp_path: Path) -> None:
    async with running(tmp_path) as yard:
        await pushed_both(yard)
        await vanish(yard)
        await arrives(yard)


async def test_the_index_is_gone_at_the_start(tmp_path: Path) -> None:
    async with running(tmp_path) as yard:
        await pushed_both(yard)
        await vanish(yard)
        await yard.restart()
        assert yard.job() is None
        assert yard.job(ALONE) is not None
        await arrives(yard)


async def test_another_image_takes_the_tag(tmp_path: Path) -> None:
    async with running(tmp_path) as yard:
        await pushed_both(yard)
        await yard.push(build_image("another"))
        assert yard.job(ALONE) is not None
        await arrives(yard)


async def test_another_index_that_takes_it_along_takes_the_tag_and_is_cancelled(tmp_path: Path) -> None:
    async with running(tmp_path) as yard:
        await pushed_both(yard)
        other = build_index("two platforms", ["linux/amd64", "linux/arm64", "linux/riscv64"], (50,))
        assert PLATFORM.manifest in other.manifests
        # The client leaves out what is here already.
        await yard.put_blobs(other)
        await yard.push_manifest(other.images[2].manifest)
        await yard.push_manifest(other.manifest, "v1")
        await yard.service.cancel("team/app:v1")
        assert yard.job(ALONE) is not None
        await arrives(yard)


async def test_the_process_dies_while_the_index_leaves(tmp_path: Path) -> None:
    """The platform's own marker is there before that of its index goes."""
    async with running(tmp_path, upstreams=[FakeUpstream()]) as yard:
        await pushed_both(yard)
        orders: list[tuple[bool, bool]] = []
        removed = yard.service._queue.journal.remove_many

        async def remove_many(jobs: list[object]) -> object:
            orders.append((yard.marker().exists(), yard.job(ALONE) is not None))
            return await removed(jobs)

        yard.service._queue.journal.remove_many = remove_many
        await yard.service.cancel("team/app:v1")
        await settle()
        assert orders == [(True, True)]
        await arrives(yard)


async def test_the_index_was_cancelled_for_one_upstream(tmp_path: Path) -> None:
    corp, mirror = FakeUpstream(away=True), FakeUpstream(name="mirror", registry="registry.mirror", away=True)
    async with running(tmp_path, upstreams=[corp, mirror]) as yard:
        await yard.push(INDEX)
        await yard.service.cancel("corp")
        await yard.push_manifest(PLATFORM.manifest)
        mirror.away = False
        await arrives(yard)


async def test_the_index_gave_way_to_somebody_elses_at_one_upstream(tmp_path: Path) -> None:
    mirror = FakeUpstream(name="mirror", registry="registry.mirror", away=True)
    ask = SyncSettings(interval=timedelta(seconds=3600), on_conflict="ask")
    async with running(tmp_path, upstreams=[FakeUpstream(), mirror], sync=ask) as yard:
        await yard.push(build_image("first"))
        await yard.until(lambda: (job := yard.job()) and str(job.parts[0].state) == "done", "the tag was seen at corp")
        await somebody_moves(yard.upstream, "theirs")
        await yard.push(INDEX)
        await yard.until_state("blocked")
        await yard.push_manifest(PLATFORM.manifest)
        await yard.service.decide("team/app:v1", ConflictChoice.KEEP)
        assert yard.job(ALONE) is not None
        mirror.away = False
        await arrives(yard)


async def test_its_index_was_cancelled_at_one_upstream_before_and_the_process_starts_again(tmp_path: Path) -> None:
    one, other = FakeUpstream(name="a", away=True), FakeUpstream(name="b", away=True)
    async with running(tmp_path, upstreams=[one, other]) as yard:
        await yard.push(INDEX)
        await yard.until_state("waiting", upstream="a")
        await yard.service.cancel("a")
        await yard.push_manifest(PLATFORM.manifest)
        await yard.restart()
        assert yard.job(ALONE) is not None
        other.away = False
        await arrives(yard)
        assert await one.tag_of("team/app", "v1") is None
        assert await other.tag_of("team/app", "v1") == parse_digest(INDEX.manifest.digest)
