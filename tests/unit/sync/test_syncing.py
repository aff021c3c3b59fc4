"""A pushed image goes up, whole and in order, and only what lacks is sent."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.support.fake_upstreams import FakeUpstream
from tests.support.images import build_image, build_index
from tests.unit.sync.yard import running, settle
from yarddesk.content.upstream import UpstreamUntrue
from yarddesk.oci.name import RepositoryName
from yarddesk.settings.model import SyncSettings
from yarddesk.sync.states import JobState


async def test_a_pushed_image_arrives_and_leaves_the_queue(tmp_path: Path) -> None:
    async with running(tmp_path) as yard:
        manifest = await yard.push(build_image("a"))
        assert yard.marker().is_file()
        await yard.until_empty()
        assert await yard.upstream.tag_of("team/app", "v1") == manifest.digest
        assert not yard.marker().exists()
        [entry] = yard.service.history()
        assert (entry.outcome, entry.digest, entry.upstream) == (JobState.DONE, manifest.digest, "corp")
        assert entry.bytes_sent == sum(len(blob.content) for blob in build_image("a").blobs)


async def test_a_second_tag_of_the_same_image_sends_no_blob(tmp_path: Path) -> None:
    async with running(tmp_path) as yard:
        await yard.push(build_image("a"), "v1")
        await yard.until_empty()
        yard.upstream.asked.clear()
        await yard.push(build_image("a"), "v2")
        await yard.until_empty()
        assert yard.upstream.asked["push"] == yard.upstream.asked["mount"] == 0
        assert yard.service.history()[0].bytes_saved > 0


async def test_the_same_push_again_only_asks_once(tmp_path: Path) -> None:
    async with running(tmp_path) as yard:
        await yard.push(build_image("a"))
        await yard.until_empty()
        yard.upstream.asked.clear()
        await yard.push(build_image("a"))
        await yard.until_empty()
        assert yard.upstream.asked == {"resolve": 1}


async def test_a_layer_that_another_repository_there_has_is_mounted(tmp_path: Path) -> None:
    async with running(tmp_path) as yard:
        await yard.push(build_image("a"))
        await yard.until_empty()
        await yard.push(build_image("a"), repository=RepositoryName.parse("team/other"))
        await yard.until_empty()
        assert yard.upstream.asked["push"] == 3
        assert yard.upstream.asked["mount"] == 3


async def test_an_upstream_without_mounts_gets_the_layers_sent(tmp_path: Path) -> None:
    async with running(tmp_path, upstreams=[FakeUpstream(mounts=False)]) as yard:
        await yard.push(build_image("a"))
        await yard.until_empty()
        await yard.push(build_image("a"), repository=RepositoryName.parse("team/other"))
        await yard.until_empty()
        assert yard.upstream.asked["push"] == 6


async def test_children_go_before_their_index_and_their_own_jobs_are_taken_over(tmp_path: Path) -> None:
    upstream = FakeUpstream(away=True)
    async with running(tmp_path, upstreams=[upstream]) as yard:
        index = build_index("multi")
        await yard.push(index)
        assert [job.id for job in yard.service.snapshot().jobs] == ["team/app:v1"]
        upstream.away = False
        await yard.service.retry()
        await yard.until_empty()
        manifests = [of for what, _, of in upstream.log if what == "push_manifest"]
        assert set(manifests[:2]) == {image.manifest.digest for image in index.images}
        assert manifests[2] == index.manifest.digest
        assert not list((tmp_path / "pending").rglob("*.json"))


async def test_no_index_is_sent_before_all_its_children_are_there(tmp_path: Path) -> None:
    upstream = FakeUpstream(stops={"push_manifest": asyncio.Event()})
    async with running(tmp_path, upstreams=[upstream]) as yard:
        await yard.service.pause()
        index = build_index("multi")
        await yard.push(index)
        await yard.service.resume()
        await yard.until(lambda: upstream.asked["push_manifest"] == 2)
        await settle()
        asked = [of for what, _, of in upstream.log if what == "push_manifest"]
        assert set(asked) == {image.manifest.digest for image in index.images}
        upstream.stops["push_manifest"].set()
        await yard.until_empty()


async def test_a_child_in_flight_is_not_sent_twice_when_its_index_takes_over(tmp_path: Path) -> None:
    upstream = FakeUpstream(held=asyncio.Event())
    async with running(tmp_path, upstreams=[upstream]) as yard:
        index = build_index("multi", platforms=("linux/amd64",))
        await yard.put_blobs(index)
        await yard.push_manifest(index.manifests[0])
        await yard.until(lambda: upstream.sending == 3, "the child's blobs are on their way")
        await yard.push_manifest(index.manifest, "v1")
        await settle()
        assert upstream.cut_off == 0
        upstream.release()
        await yard.until_empty()
        assert upstream.asked["push"] == 3


async def test_a_digest_push_that_no_index_carries_goes_up_without_a_tag(tmp_path: Path) -> None:
    async with running(tmp_path) as yard:
        image = build_image("lonely")
        await yard.put_blobs(image)
        manifest = await yard.push_manifest(image.manifest)
        assert yard.job(f"team/app@{manifest.digest}")
        await yard.until_empty()
        assert await yard.upstream.store.resolve(manifest_repository(), manifest.digest)


async def test_an_index_waits_for_a_missing_platform_and_goes_on_once_it_is_pushed(tmp_path: Path) -> None:
    async with running(tmp_path) as yard:
        index = build_index("multi")
        await yard.put_blobs(index)
        await yard.push_manifest(index.manifests[0])
        await yard.push_manifest(index.manifest, "v1")
        part = await yard.until_state("blocked")
        missing = index.images[1].manifest.digest
        assert missing in part.reason
        outcomes = [
            (await yard.service.wait_synced(f"team/app{which}")).synced
            for which in (":v1", f"@{index.images[0].manifest.digest}", f"@{missing}")
        ]
        assert outcomes == [False, True, False]  # the one platform is there
        assert await yard.upstream.tag_of("team/app", "v1") is None
        await yard.upstream.store.resolve(manifest_repository(), parse(index.images[0].manifest.digest))
        await yard.push_manifest(index.manifests[1])
        await yard.until_empty()
        assert await yard.upstream.tag_of("team/app", "v1") == index.manifest.digest


async def test_an_index_goes_on_once_the_missing_platform_is_upstream(tmp_path: Path) -> None:
    async with running(tmp_path) as yard:
        index = build_index("multi")
        await yard.put_blobs(index)
        await yard.push_manifest(index.manifests[0])
        await yard.push_manifest(index.manifest, "v1")
        await yard.until_state("blocked")
        from yarddesk.oci.manifest import parse_manifest

        child = index.manifests[1]
        await yard.upstream.store.put_manifest(manifest_repository(), parse_manifest(child.content, child.media_type))
        yard.clock.advance(31)
        await yard.until_empty()


async def test_an_upstream_that_says_it_has_what_it_has_not_is_sent_everything(tmp_path: Path) -> None:
    image = build_image("lied")
    upstream = FakeUpstream(claimed={parse(blob.digest) for blob in image.blobs})
    lies = [2]

    def fault(what: str, _of: str) -> Exception | None:
        if what == "forget_manifest" and lies[0]:
            lies[0] -= 1
            return UpstreamUntrue("corp", "lie")
        return None

    upstream.fault = fault
    upstream_tag = upstream.tag_of
    async with running(tmp_path, upstreams=[upstream]) as yard:
        manifest = await yard.push(image)
        await yard.until_empty()
        assert upstream.asked["push"] == 6, "what can't be read, and after the lie all of it"
        assert await upstream_tag("team/app", "v1") == manifest.digest


async def test_blobs_that_an_upstream_says_it_has_and_can_not_give_are_sent(tmp_path: Path) -> None:
    image = build_image("collected")
    lost = image.layers[0]
    async with running(tmp_path) as yard:
        await yard.push(build_image("collected"), repository=RepositoryName.parse("team/other"))
        await yard.until_empty()
        # As a registry whose garbage collection took the blob, while what it remembers of it did not go.
        yard.upstream.mounts = False
        yard.upstream.claimed = {parse(blob.digest) for blob in image.blobs}
        yard.upstream.blobs[manifest_repository()] = yard.upstream.claimed - {parse(lost.digest)}
        yard.upstream.log.clear()
        manifest = await yard.push(image)
        await yard.until_empty()
        assert [of for what, _, of in yard.upstream.log if what == "push"] == [lost.digest]
        assert await yard.upstream.tag_of("team/app", "v1") == manifest.digest


async def test_a_blob_that_was_sent_lately_and_is_lost_there_is_sent_again(tmp_path: Path) -> None:
    image = build_image("a")
    async with running(tmp_path) as yard:
        await yard.push(image)
        await yard.until_empty()
        repository = manifest_repository()
        await yard.upstream.store.delete_manifest(repository, parse(image.manifest.digest))
        yard.upstream.blobs[repository].discard(parse(image.layers[0].digest))
        yard.upstream.asked.clear()
        await yard.push(image)
        await yard.until_empty()
        assert yard.upstream.asked["push"] == 1
        assert yard.upstream.asked["is_readable"] == 3


async def test_an_upstream_that_goes_on_lying_is_named_and_the_image_not_called_synced(tmp_path: Path) -> None:
    upstream = FakeUpstream(fault=lambda what, _: UpstreamUntrue("corp", "lie") if what == "forget_manifest" else None)
    async with running(tmp_path, upstreams=[upstream]) as yard:
        await yard.push(build_image("lied"))
        part = await yard.until_state("waiting")
        assert "doesn't have it" in part.reason
        assert not yard.service.history()


async def test_what_does_not_hash_to_its_name_is_not_sent(tmp_path: Path) -> None:
    async with running(tmp_path) as yard:
        image = build_image("rotten")
        await yard.put_blobs(image)
        layer = parse(image.layers[0].digest)
        yard.store._blobs[layer] = b"x" * len(image.layers[0].content)
        await yard.push_manifest(image.manifest, "v1")
        part = await yard.until_state("blocked")
        assert "damaged" in part.reason
        assert await yard.upstream.tag_of("team/app", "v1") is None


async def test_a_blob_that_is_missing_here_but_not_upstream_is_no_obstacle(tmp_path: Path) -> None:
    async with running(tmp_path) as yard:
        await yard.push(build_image("a"))
        await yard.until_empty()
        await yard.store.delete_blob(parse(build_image("a").layers[0].digest))
        await yard.push_manifest(build_image("a").manifest, "v2")
        await yard.until_empty()


async def test_no_more_transfers_at_once_than_the_settings_allow(tmp_path: Path) -> None:
    async with running(tmp_path, sync=SyncSettings(concurrency=2)) as yard:
        for number in range(5):
            await yard.push(build_image(f"image-{number}", [100] * 6), f"v{number}")
        await yard.until_empty()
        assert yard.upstream.most_at_once == 2


async def test_two_images_with_the_same_layer_send_it_once(tmp_path: Path) -> None:
    upstream = FakeUpstream(held=asyncio.Event())
    async with running(tmp_path, upstreams=[upstream]) as yard:
        await yard.push(build_image("base"))
        await yard.until(lambda: upstream.sending == 3)
        await yard.push(build_image("base"), repository=RepositoryName.parse("team/other"))
        await settle(200)
        upstream.release()
        await yard.until_empty()
        assert (upstream.asked["push"], upstream.asked["mount"]) == (3, 3)


def manifest_repository() -> RepositoryName:
    return RepositoryName.parse("team/app")


def parse(text: str):
    from yarddesk.oci.digest import Digest

    return Digest.parse(text)
