"""How much of what is stored belongs to which upstream and image, counted from what is here."""

from pathlib import Path

from tests.support.bounded_yard import OTHER, REPOSITORY, HandQueue, bounded_yard, small_image
from tests.support.content import index, push_blob
from tests.support.fake_upstreams import FakeRoutes, FakeUpstream
from yarddesk.cache.shares import shares, size_here
from yarddesk.oci.manifest import Manifest
from yarddesk.oci.name import RepositoryName, Tag

V1 = Tag.parse("v1")
PUSHED, ALONE = RepositoryName.parse("corp/app"), RepositoryName.parse("mine/app")


async def test_each_upstream_has_what_came_through_it_or_arrived_there_also_after_a_restart(tmp_path: Path) -> None:
    hub, corp = FakeUpstream(name="hub", push=False), FakeUpstream(name="corp")
    routes = FakeRoutes([hub, corp], only={"hub": "team/", "corp": "corp/"})
    queue = HandQueue(routes)
    base = b"base" * 1000
    one, two, three = (small_image(name, base) for name in ("one", "two", "three"))
    for repository in (REPOSITORY, OTHER):
        for content in one[1]:
            await push_blob(hub.store, content)
        await hub.store.put_manifest(repository, one[0])
        await hub.store.put_tag(repository, V1, one[0].digest)
    async with bounded_yard(tmp_path, queue, routes) as yard:
        for repository in (REPOSITORY, OTHER):
            await yard.pull(repository, V1)
        await yard.push(PUSHED, *two, V1)
        await yard.sync(PUSHED, V1, corp)
        await yard.push(ALONE, *three, V1)

    def size(image: tuple[Manifest, list[bytes]], manifests: int = 1) -> int:
        return manifests * len(image[0].content) + sum(map(len, image[1]))

    async with bounded_yard(tmp_path, queue, routes) as yard:
        found = shares(yard.store.contents.copy(), yard.keeping.ledger.get)
        assert [(each.upstream, each.manifests, each.size) for each in found] == [
            ("", 1, size(three)),
            ("corp", 1, size(two)),
            ("hub", 2, size(one, 2)),
        ]


async def test_an_image_has_the_size_of_what_is_here_of_it(tmp_path: Path) -> None:
    hub = FakeUpstream(name="hub", push=False)
    routes = FakeRoutes([hub])
    one, two = small_image("amd64"), small_image("arm64")
    whole = index(one[0], two[0])
    for manifest, blobs in (one, two, (whole, [])):
        for content in blobs:
            await push_blob(hub.store, content)
        await hub.store.put_manifest(REPOSITORY, manifest)
    await hub.store.put_tag(REPOSITORY, V1, whole.digest)
    async with bounded_yard(tmp_path, HandQueue(routes), routes) as yard:
        await yard.pull(REPOSITORY, V1, only=[one[0].digest])
        contents = yard.store.contents
        parts = contents.descendants(REPOSITORY, whole.digest)
        assert parts == {whole.digest, one[0].digest}
        expected = len(whole.content) + len(one[0].content) + sum(map(len, one[1]))
        assert size_here(contents, contents.repositories[REPOSITORY], parts) == expected
        assert await yard.store.used_bytes() == expected
