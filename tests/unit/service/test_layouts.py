"""Images out to a layout and in again: whole, byte for byte, under their names, as pushes."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.content import (
    LATEST,
    OTHER,
    REPOSITORY,
    about,
    described,
    image,
    index,
    push_blob,
    push_image,
    read_blob,
)
from tests.support.damage import blob_file
from tests.support.lonely_registry import Pushes
from tests.support.works import Reported
from tests.unit.service.layouts import as_it_is, bring_in, export
from yarddesk.content.listener import ManifestPush
from yarddesk.content.store import Store, UploadSession
from yarddesk.content.target import NotFound
from yarddesk.errors import YarddeskError
from yarddesk.oci import media_types
from yarddesk.oci.digest import Digest
from yarddesk.oci.image_layout import InvalidLayout
from yarddesk.oci.manifest import Manifest, parse_manifest
from yarddesk.oci.name import ImageReference, RepositoryName, Tag
from yarddesk.registry.locks import Gate
from yarddesk.service.exports import Exports
from yarddesk.storage.filesystem import FilesystemStore
from yarddesk.storage.garbage import Orders
from yarddesk.storage.memory import MemoryStore
from yarddesk.storage.oci_opening import read_layout

FORMS = ["layout", "layout.tar"]


@pytest.fixture(params=FORMS)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Where the layout lies: a folder, or an archive."""
    form: str = request.param
    return tmp_path / form


async def put(store: Store, manifest: Manifest, *tags: str, repository: RepositoryName = REPOSITORY) -> Manifest:
    await store.put_manifest(repository, manifest)
    for tag in tags:
        await store.put_tag(repository, Tag.parse(tag), manifest.digest)
    return manifest


async def same(store: Store, other: Store, digest: Digest, repository: RepositoryName = REPOSITORY) -> None:
    """The whole graph below a manifest is in both, byte for byte."""
    mine, theirs = await store.get_manifest(repository, digest), await other.get_manifest(repository, digest)
    assert (mine.content, mine.media_type) == (theirs.content, theirs.media_type)
    for blob in mine.blobs:
        assert await read_blob(store, blob.digest) == await read_blob(other, blob.digest)
    for child in mine.manifests:
        await same(store, other, child.digest, repository)


async def test_an_image_comes_back_byte_for_byte_under_its_name(path: Path) -> None:
    store, other = MemoryStore(), MemoryStore()
    manifest = await push_image(store)
    items = await export(store, path, "team/app:latest")
    assert [(item["image"], item["name"], item["digest"]) for item in items] == [
        ("team/app:latest", "latest", manifest.digest)
    ]
    items, left_out = await bring_in(other, path)
    assert [item["image"] for item in items] == ["team/app:latest"]
    assert not left_out
    assert await other.tags(REPOSITORY) == [LATEST]
    await same(store, other, manifest.digest)


async def test_a_repository_means_all_of_its_tags_and_an_image_under_two_tags_is_one(path: Path) -> None:
    store, other, pushes = MemoryStore(), MemoryStore(), Pushes()
    one = await push_image(store, "one", tags=(Tag.parse("1"), Tag.parse("1.0")))
    two = await push_image(store, "two", tags=(Tag.parse("2"),))
    await export(store, path, "team/app")
    items, _ = await bring_in(other, path, pushes=pushes)
    assert [(item["image"], item["tags"]) for item in items] == [("team/app:1", ["1", "1.0"]), ("team/app:2", ["2"])]
    assert pushes.heard == [
        ("pushed", REPOSITORY, one.digest, ("1", "1.0")),
        ("pushed", REPOSITORY, two.digest, ("2",)),
    ]
    assert await other.tags(REPOSITORY) == ["1", "1.0", "2"]


async def test_what_a_layout_holds_stays_in_it_and_a_name_moves(path: Path) -> None:
    store, other = MemoryStore(), MemoryStore()
    old = await push_image(store, "old")
    await export(store, path, "team/app:latest", f"team/app@{old.digest}")
    new = await push_image(store, "new")
    here = await push_image(store, "theirs", repository=OTHER)
    items = await export(store, path, "team/app:latest", "team/other:latest")
    # The tag alone would name two images.
    assert [item["name"] for item in items] == ["latest", "team/other:latest"]
    await bring_in(other, path)
    assert (await other.resolve(REPOSITORY, LATEST)).digest == new.digest
    assert (await other.resolve(OTHER, LATEST)).digest == here.digest
    await same(store, other, old.digest)


async def test_the_tag_moves_after_the_listener_and_not_where_it_fails(path: Path) -> None:
    store, other = MemoryStore(), MemoryStore()
    manifest = await push_image(store)
    await export(store, path, "team/app")

    @dataclass
    class Watching(Pushes):
        seen: list[bool] = field(default_factory=list)
        fails: bool = True

        async def manifest_pushed(self, push: ManifestPush) -> None:
            assert (await other.get_manifest(REPOSITORY, manifest.digest)).content == manifest.content
            try:
                await other.resolve(REPOSITORY, LATEST)
            except NotFound:
                self.seen.append(False)
            if self.fails:
                raise YarddeskError("The queue has no room.")
            await super().manifest_pushed(push)

    pushes = Watching()
    with pytest.raises(YarddeskError, match="The queue has no room"):
        await bring_in(other, path, pushes=pushes)
    with pytest.raises(NotFound):
        await other.resolve(REPOSITORY, LATEST)
    pushes.fails = False
    await bring_in(other, path, pushes=pushes)
    assert pushes.seen == [False, False]
    assert (await other.resolve(REPOSITORY, LATEST)).digest == manifest.digest


async def test_all_platforms_of_an_index_go_and_its_children_come_first(path: Path) -> None:
    store, other, pushes = MemoryStore(), MemoryStore(), Pushes()
    children = [await push_image(store, name, tags=()) for name in ("amd64", "arm64")]
    inner = await put(store, index(*children))
    whole = await put(store, index(inner, children[0]), "latest")
    await export(store, path, "team/app:latest")
    await bring_in(other, path, pushes=pushes)
    await same(store, other, whole.digest)
    assert pushes.heard[-1] == ("pushed", REPOSITORY, whole.digest, ("latest",))
    assert {entry[3] for entry in pushes.heard[:-1]} == {()}
    order = [entry[2] for entry in pushes.heard]
    assert order.index(inner.digest) > max(order.index(child.digest) for child in children)


@pytest.mark.parametrize("lacks", ["manifest", "blob"])
async def test_of_a_sparse_index_goes_what_is_here_and_the_rest_is_named(path: Path, lacks: str) -> None:
    store, other = MemoryStore(), MemoryStore()
    here = await push_image(store, "here", tags=())
    if lacks == "manifest":
        gone = image(b"nowhere")
    else:
        gone = await push_image(store, "halfway", tags=())
        await store.delete_blob(gone.layers[0].digest)
    sparse = await put(store, index(here, gone), "latest")
    (item,) = await export(store, path, "team/app:latest")
    assert item["missing"] == [gone.digest]
    (item,), _ = await bring_in(other, path)
    assert item["missing"] == [gone.digest]
    assert (await other.get_manifest(REPOSITORY, LATEST)).content == sparse.content
    await same(store, other, here.digest)
    # What is missing comes later, and then nothing is missing any more.
    full = MemoryStore()
    await push_blob(full, b"nowhere")
    await push_blob(full, b"{}")
    if lacks == "manifest":
        await put(full, gone)
        (item,), _ = await bring_in(full, path)
        assert item["missing"] == []


async def test_an_index_of_which_no_platform_is_here_is_not_exported(path: Path) -> None:
    store = MemoryStore()
    await put(store, index(image(b"nowhere")), "latest")
    with pytest.raises(YarddeskError, match="None of its platforms is here"):
        await export(store, path, "team/app:latest")


async def test_an_image_that_is_not_wholly_here_is_not_exported_and_the_layout_stays(path: Path) -> None:
    store, other = MemoryStore(), MemoryStore()
    await push_image(store)
    await export(store, path, "team/app:latest")
    broken = await push_image(store, "broken", repository=OTHER)
    await store.delete_blob(broken.layers[0].digest)
    with pytest.raises(YarddeskError, match="team/other:latest is not wholly here"):
        await export(store, path, "team/other")
    items, _ = await bring_in(other, path)
    assert [item["image"] for item in items] == ["team/app:latest"]


async def test_what_is_not_here_is_named_before_anything_is_written(path: Path) -> None:
    store = MemoryStore()
    await push_image(store)
    for wanted in ("team/app:nope", f"team/app@{Digest.of(b'nope')}", "nope", "nope:latest"):
        with pytest.raises(NotFound, match="There is no"):
            await export(store, path, "team/app:latest", wanted)
        assert not path.exists()


async def test_layers_that_are_not_to_be_distributed_may_be_missing(path: Path) -> None:
    store, other = MemoryStore(), MemoryStore()
    foreign = described(b"elsewhere", "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip")
    await push_blob(store, b"{}")
    manifest = await put(store, image(layers=[foreign]), "latest")
    (item,) = await export(store, path, "team/app:latest")
    assert item["missing"] == []
    await bring_in(other, path)
    assert (await other.get_manifest(REPOSITORY, LATEST)).content == manifest.content


async def test_sha512_is_a_digest_like_any_other(path: Path) -> None:
    store, other = MemoryStore(), MemoryStore()
    layer = b"a layer" * 1000
    digest = Digest.of(layer, "sha512")
    upload = await store.start_upload(REPOSITORY, "sha512")
    await upload.write(layer)
    await upload.commit(digest)
    await push_blob(store, b"{}")
    described_layer = described(layer, "application/vnd.oci.image.layer.v1.tar") | {"digest": str(digest)}
    inner = image(layers=[described_layer])
    manifest = parse_manifest(inner.content, digest=Digest.of(inner.content, "sha512"))
    await put(store, manifest, "latest")
    await export(store, path, "team/app:latest")
    await bring_in(other, path)
    assert (await other.resolve(REPOSITORY, LATEST)).digest == manifest.digest
    assert await read_blob(other, digest) == layer


async def test_what_is_about_an_image_goes_along_when_it_is_asked_for(path: Path) -> None:
    store, other = MemoryStore(), MemoryStore()
    subject = await push_image(store)
    signature = await push_image(store, "signature", tags=())
    await push_blob(store, b"{}")
    note = await put(store, about(subject))
    note_on_note = await put(store, about(note, "application/vnd.test.deeper"))
    tagged = f"sha256-{subject.digest.hex}.sig"
    await put(store, signature, tagged)
    (item,) = await export(store, path, "team/app:latest")
    assert item["referrers"] == 0
    await bring_in(other, path)
    assert await other.referrers(REPOSITORY, subject.digest) == []
    (item,) = await export(store, path, "team/app:latest", referrers=True)
    assert item["referrers"] == 3
    items, left_out = await bring_in(other, path)
    assert not left_out
    assert [each.digest for each in await other.referrers(REPOSITORY, subject.digest)] == [note.digest]
    assert [each.digest for each in await other.referrers(REPOSITORY, note.digest)] == [note_on_note.digest]
    assert await other.tags(REPOSITORY) == ["latest", tagged]
    # Where only another image is taken, what is about this one has no place.
    alone = MemoryStore()
    items, left_out = await bring_in(alone, path, f"some/where@{signature.digest}")
    assert [item["digest"] for item in items] == [signature.digest]
    assert len(left_out) == 2


async def test_where_an_image_goes_may_be_said(path: Path) -> None:
    store = MemoryStore()
    one = await push_image(store, "one", tags=(Tag.parse("1"),))
    two = await push_image(store, "two", tags=(Tag.parse("2"),), repository=OTHER)
    await export(store, path, "team/app:1", "team/other:2")
    cases: dict[str, dict[str, dict[str, Manifest]]] = {
        "some/where": {"some/where": {"1": one, "2": two}},
        "some/where:2": {"some/where": {"2": two}},
        f"some/where@{one.digest}": {"some/where": {}},
        "team/app": {"team/app": {"1": one}},
        "team/other:2": {"team/other": {"2": two}},
    }
    for wanted, expected in cases.items():
        other = MemoryStore()
        await bring_in(other, path, wanted)
        assert await other.repositories() == list(expected)
        for repository, tags in expected.items():
            name = RepositoryName.parse(repository)
            assert await other.tags(name) == list(tags)
            for tag, manifest in tags.items():
                assert (await other.resolve(name, Tag.parse(tag))).digest == manifest.digest
    with pytest.raises(InvalidLayout, match="more than one may be 3"):
        await bring_in(MemoryStore(), path, "some/where:3")
    with pytest.raises(InvalidLayout, match="none of them is sha256"):
        await bring_in(MemoryStore(), path, f"some/where@{Digest.of(b'nope')}")


async def test_a_layout_of_one_image_gets_the_tag_that_is_said(path: Path) -> None:
    store, other = MemoryStore(), MemoryStore()
    manifest = await push_image(store)
    await export(store, path, "team/app:latest")
    await bring_in(other, path, "team/app:v9")
    assert (await other.resolve(REPOSITORY, Tag.parse("v9"))).digest == manifest.digest


async def test_the_report_tells_how_far_it_is(path: Path) -> None:
    store = MemoryStore()
    manifest = await push_image(store)
    report_bytes = sum(blob.size for blob in manifest.blobs) + len(manifest.content)
    report = Reported()
    await Exports(store, as_it_is).export([ImageReference.parse("team/app")], path, report)
    assert report.figures[-1] == {
        "doing": "exporting team/app:latest",
        "count_done": 0,
        "count_total": 1,
        "bytes_done": report_bytes,
        "bytes_total": report_bytes,
    }


# Docker's own types

DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"


async def push_docker_image(store: Store, name: str, *tags: str) -> Manifest:
    config, layer = f'{{"name": "{name}"}}'.encode(), f"layer of {name}".encode()
    for content in (config, layer):
        await push_blob(store, content)
    document = {
        "schemaVersion": 2,
        "mediaType": media_types.DOCKER_MANIFEST,
        "config": described(config, DOCKER_CONFIG),
        "layers": [described(layer, DOCKER_LAYER)],
    }
    return await put(store, parse_manifest(json.dumps(document).encode()), *tags)


async def test_what_docker_pushed_is_listed_in_types_that_all_tools_read_and_comes_back_as_it_was(path: Path) -> None:
    store, other = MemoryStore(), MemoryStore()
    children = [await push_docker_image(store, name) for name in ("amd64", "arm64")]
    gone = image(b"nowhere", media_type=media_types.DOCKER_MANIFEST)
    manifests = [listed(child) for child in (*children, gone)]
    document = {"schemaVersion": 2, "mediaType": media_types.DOCKER_MANIFEST_LIST, "manifests": manifests}
    whole = await put(store, parse_manifest(json.dumps(document).encode()), "list")
    single = await push_docker_image(store, "single", "single")
    await export(store, path, "team/app", f"team/app@{single.digest}")

    layout = await read_layout(path)
    assert {entry.descriptor.media_type for entry in layout.index.entries} == {
        media_types.OCI_INDEX,
        media_types.OCI_MANIFEST,
    }
    index_there, manifest_there = [await layout.fetch_manifest(Tag.parse(tag)) for tag in ("list", "single")]
    assert [child.media_type for child in index_there.manifests] == [
        media_types.OCI_MANIFEST,
        media_types.OCI_MANIFEST,
        media_types.DOCKER_MANIFEST,
    ]
    assert manifest_there.config is not None
    assert manifest_there.config.media_type == "application/vnd.oci.image.config.v1+json"
    assert manifest_there.layers[0].media_type == "application/vnd.oci.image.layer.v1.tar+gzip"
    assert manifest_there.layers[0].digest == single.layers[0].digest

    items, _ = await bring_in(other, path)
    assert [(item["image"], item["digest"]) for item in items] == [
        ("team/app:list", whole.digest),
        ("team/app:single", single.digest),
    ]
    assert (await other.get_manifest(REPOSITORY, Tag.parse("list"))).content == whole.content
    for child in (*children, single):
        await same(store, other, child.digest)


async def test_what_was_changed_since_it_was_made_of_dockers_is_not_taken_for_that(tmp_path: Path) -> None:
    store, other, path = MemoryStore(), MemoryStore(), tmp_path / "layout"
    await push_docker_image(store, "one", "v1")
    await export(store, path, "team/app:v1")
    # As umoci does it: another manifest in the place of the old one, whose annotations stay.
    changed = image(b"layer of one", config=b'{"name": "one"}')
    blobs = path / "blobs" / "sha256"
    (blobs / changed.digest.hex).write_bytes(changed.content)
    document = json.loads((path / "index.json").read_bytes())
    document["manifests"][0] |= {"digest": str(changed.digest), "size": len(changed.content)}
    assert "io.github.yarddesk.original" in document["manifests"][0]["annotations"]
    (path / "index.json").write_text(json.dumps(document))
    items, _ = await bring_in(other, path)
    assert [item["digest"] for item in items] == [changed.digest]


async def test_halves_of_characters_in_anybodys_documents_stand_in_no_exports_way(path: Path) -> None:
    store, other = MemoryStore(), MemoryStore()
    single = json.loads((await push_docker_image(store, "single")).content)
    single["annotations"] = {"half": "\ud83d"}
    strange = await put(store, parse_manifest(json.dumps(single).encode()), "strange")
    await export(store, path, "team/app:strange")
    if path.is_dir():
        listing = json.loads((path / "index.json").read_bytes())
        listing["annotations"] = {"half": "\ude00"}
        (path / "index.json").write_text(json.dumps(listing))
    await push_image(store)
    await export(store, path, "team/app:latest")
    items, _ = await bring_in(other, path)
    assert [item["image"] for item in items] == ["team/app:strange", "team/app:latest"]
    assert (await other.get_manifest(REPOSITORY, Tag.parse("strange"))).content == strange.content


async def test_what_an_import_found_here_is_not_collected_before_its_manifest_comes(tmp_path: Path) -> None:
    class CollectedMeanwhile(FilesystemStore):
        async def start_upload(
            self, repository: RepositoryName, algorithm: str = "sha256", *, filling: bool = False
        ) -> UploadSession:
            await self.garbage.collect(Orders(Gate().closed, lambda *_: None, 3600))
            return await super().start_upload(repository, algorithm, filling=filling)

    source, path = MemoryStore(), tmp_path / "layout"
    manifest = await push_image(source)
    assert manifest.config is not None
    await export(source, path, "team/app:latest")
    async with CollectedMeanwhile.open(tmp_path / "data") as store:
        await push_blob(store, await read_blob(source, manifest.config.digest))
        then = time.time() - 7200
        os.utime(blob_file(tmp_path / "data", manifest.config.digest), (then, then))
        await bring_in(store, path)
        await same(source, store, manifest.digest)


# Whatever the graph


@dataclass(frozen=True)
class Drawn:
    """Manifests, each after those that it names, and the tags that name some of them."""

    blobs: tuple[bytes, ...]
    manifests: tuple[Manifest, ...]
    tags: dict[str, int]


@st.composite
def graphs(draw: st.DrawFn) -> Drawn:
    blobs = draw(st.lists(st.binary(max_size=40), min_size=1, max_size=5, unique=True))
    manifests: list[Manifest] = []
    for number in range(draw(st.integers(1, 7))):
        note: dict[str, Any] = {"annotations": {"number": str(number)}}
        if draw(st.booleans()) and manifests:
            manifests.append(
                index(
                    *draw(st.lists(st.sampled_from(manifests), max_size=4, unique_by=lambda each: each.digest)), **note
                )
            )
            continue
        if draw(st.booleans()) and manifests:
            subject = draw(st.sampled_from(manifests))
            note["subject"] = {
                "mediaType": subject.media_type,
                "digest": str(subject.digest),
                "size": len(subject.content),
            }
        layers = draw(st.lists(st.sampled_from(blobs), max_size=4))
        manifests.append(image(*layers, config=draw(st.sampled_from(blobs)), **note))
    names = draw(
        st.lists(
            st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,20}", fullmatch=True), min_size=1, max_size=4, unique=True
        )
    )
    return Drawn(tuple(blobs), tuple(manifests), {name: draw(st.integers(0, len(manifests) - 1)) for name in names})


def below(drawn: Drawn, roots: Sequence[Digest]) -> set[Digest]:
    """All manifests that these carry, themselves included."""
    by_digest = {manifest.digest: manifest for manifest in drawn.manifests}
    found, left = set(roots), list(roots)
    while left:
        for child in by_digest[left.pop()].manifests:
            if child.digest not in found:
                found.add(child.digest)
                left.append(child.digest)
    return found


@given(drawn=graphs(), form=st.sampled_from(FORMS), once=st.booleans())
@settings(max_examples=60, deadline=None)
async def test_any_graph_comes_back_as_it_was(drawn: Drawn, form: str, once: bool) -> None:
    store, other = MemoryStore(), MemoryStore()
    for blob in drawn.blobs:
        await push_blob(store, blob)
    for manifest in drawn.manifests:
        await put(store, manifest)
    for tag, number in drawn.tags.items():
        await store.put_tag(REPOSITORY, Tag.parse(tag), drawn.manifests[number].digest)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / form
        for wanted in [["team/app"]] if once else [[f"team/app:{tag}"] for tag in drawn.tags]:
            await export(store, path, *wanted)
        _, left_out = await bring_in(other, path)
    assert not left_out
    assert await other.tags(REPOSITORY) == sorted(drawn.tags)
    roots = [drawn.manifests[number].digest for number in drawn.tags.values()]
    for tag, number in drawn.tags.items():
        assert (await other.resolve(REPOSITORY, Tag.parse(tag))).digest == drawn.manifests[number].digest
    assert {digest async for _, digest in other.manifests()} == below(drawn, roots)
    for digest in roots:
        await same(store, other, digest)


# Layouts of others


def write_layout(folder: Path, document: dict[str, Any], *contents: bytes) -> Path:
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    for content in contents:
        (blobs / Digest.of(content).hex).write_bytes(content)
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, **document}))
    return folder


def listed(manifest: Manifest, **annotations: str) -> dict[str, Any]:
    descriptor: dict[str, Any] = {
        "mediaType": manifest.media_type,
        "digest": str(manifest.digest),
        "size": len(manifest.content),
    }
    return descriptor | ({"annotations": annotations} if annotations else {})


@pytest.mark.parametrize(
    ("annotations", "expected"),
    [
        ({"io.containerd.image.name": "docker.io/library/nginx:1.27"}, "docker.io/library/nginx:1.27"),
        ({"io.containerd.image.name": "localhost:5050/team/app:v1"}, "team/app:v1"),
        ({"org.opencontainers.image.ref.name": "team/app:v1"}, "team/app:v1"),
        ({"io.containerd.image.name": "team/app:v1", "org.opencontainers.image.ref.name": "v2"}, "team/app:v2"),
        ({"org.opencontainers.image.ref.name": "v1"}, None),
        ({"io.containerd.image.name": "registry.example.com:443/team/app:v1"}, None),
        ({"org.opencontainers.image.ref.name": "../../etc/passwd:v1"}, None),
        ({}, None),
    ],
)
async def test_names_are_read_as_engines_write_them(
    tmp_path: Path, annotations: dict[str, str], expected: str | None
) -> None:
    manifest = image(b"layer")
    entry = listed(manifest)
    if annotations:
        entry["annotations"] = annotations
    folder = write_layout(tmp_path / "layout", {"manifests": [entry]}, b"layer", b"{}", manifest.content)
    if expected is None:
        with pytest.raises(InvalidLayout, match="which repository"):
            await bring_in(MemoryStore(), folder)
        items, _ = await bring_in(MemoryStore(), folder, "some/where:v3")
        assert items[0]["image"] == "some/where:v3"
    else:
        items, _ = await bring_in(MemoryStore(), folder)
        assert items[0]["image"] == expected


async def test_what_is_no_image_is_left_out_and_said(tmp_path: Path) -> None:
    manifest = image(b"layer")
    other = {"mediaType": "application/xml", "digest": str(Digest.of(b"<x/>")), "size": 4}
    entries = [listed(manifest, **{"org.opencontainers.image.ref.name": "team/app:v1"}), other]
    folder = write_layout(tmp_path / "layout", {"manifests": entries}, b"layer", b"{}", b"<x/>", manifest.content)
    items, left_out = await bring_in(MemoryStore(), folder)
    assert len(items) == 1
    assert "application/xml" in left_out[0]


async def test_what_an_index_holds_that_we_do_not_know_is_kept(tmp_path: Path) -> None:
    stranger = image(b"layer")
    document: dict[str, Any] = {
        "manifests": [
            listed(stranger, **{"org.opencontainers.image.ref.name": "theirs", "com.example.more": "kept"}),
            {"mediaType": "application/xml", "digest": str(Digest.of(b"<x/>")), "size": 4, "com.example": [1]},
        ],
        "annotations": {"com.example.index.revision": "r124356"},
        "com.example.key": {"a": 1},
    }
    folder = write_layout(tmp_path / "layout", document, b"layer", b"{}", stranger.content)
    store = MemoryStore()
    manifest = await push_image(store)
    await export(store, folder, "team/app:latest")
    written = json.loads((folder / "index.json").read_bytes())
    added = written["manifests"].pop()
    assert written == {"schemaVersion": 2, **document}
    assert added["digest"] == manifest.digest
