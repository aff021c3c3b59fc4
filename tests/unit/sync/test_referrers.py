"""What is about another image (signatures, attestations, SBOMs): it arrives, and upstream lists it with what it's about."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.support.artifacts import Artifact, buildx_index, cosign_referrer
from tests.support.fake_upstreams import FakeUpstream
from tests.support.images import Content, Graph, build_image, build_index, manifest_of
from tests.unit.sync.yard import REPOSITORY, Yard, parse_digest, running, settle
from yarddesk.content.upstream import UpstreamRefused
from yarddesk.oci.manifest import parse_manifest
from yarddesk.settings.model import Settings, TagFilter, UpstreamSettings


async def listed(yard: Yard, subject: Content) -> set[str]:
    """What the upstream lists as referrers of a manifest."""
    found = await yard.upstream.repository(REPOSITORY).referrers(parse_digest(subject.digest))
    return {descriptor.digest for descriptor in found}


async def test_an_attestation_that_its_index_takes_over_half_way_is_listed(tmp_path: Path) -> None:
    """Its manifest is there by then, but the list of its subject's referrers, which this registry doesn't keep, is not."""
    image = build_image("a")
    index = buildx_index([image], attested_as_artifact=True)
    attestation = next(manifest for manifest in index.manifests if manifest.digest != image.manifest.digest)
    upstream = FakeUpstream(stops={"list": asyncio.Event()})
    async with running(tmp_path, upstreams=[upstream]) as yard:
        await yard.put_blobs(index)
        await yard.push_manifest(attestation)
        await yard.until(lambda: upstream.asked["list"], "its manifest is there")
        await yard.push_manifest(image.manifest)
        await yard.push_manifest(index.manifest, "v1")
        assert not await listed(yard, image.manifest)
        upstream.stops["list"].set()
        await yard.until_empty()
        assert await upstream.tag_of("team/app", "v1") == parse_digest(index.manifest.digest)
        assert await listed(yard, image.manifest) == {attestation.digest}


async def test_a_signature_whose_try_ended_before_it_was_listed_is_listed_by_the_next(tmp_path: Path) -> None:
    image = build_image("a")
    signature = cosign_referrer(image.manifest)
    upstream = FakeUpstream(stops={"list": asyncio.Event()})
    async with running(tmp_path, upstreams=[upstream]) as yard:
        await yard.push(image)
        await yard.put_blobs(signature)
        await yard.push_manifest(signature.manifest)
        await yard.until(lambda: upstream.asked["list"], "its manifest is there")
        await yard.restart()
        upstream.stops.clear()
        await yard.until_empty()
        assert await listed(yard, image.manifest) == {signature.manifest.digest}


async def put(yard: Yard, content: Graph) -> None:
    """It's here, and nobody has pushed it since there is an upstream."""
    await yard.put_blobs(content)
    for manifest in content.manifests:
        await yard.store.put_manifest(REPOSITORY, parse_manifest(manifest.content, manifest.media_type))


def sent(upstream: FakeUpstream) -> list[str]:
    """The manifests and tags that went up, in order."""
    return [of for what, _, of in upstream.log if what in ("push_manifest", "tag")]


async def test_what_was_pushed_before_there_was_an_upstream_goes_with_its_image(tmp_path: Path) -> None:
    """After the image, before the tag that promises it; so does what is about a platform's image, or a signature's signature."""
    index = build_index("a")
    platform = index.images[0]
    signature, sbom = cosign_referrer(index.manifest), cosign_referrer(platform.manifest)
    countersigned = cosign_referrer(sbom.manifest)
    async with running(tmp_path) as yard:
        for each in (signature, sbom, countersigned):
            await put(yard, each)
        await yard.push(index)
        await yard.until_empty()
        assert await listed(yard, index.manifest) == {signature.manifest.digest}
        assert await listed(yard, platform.manifest) == {sbom.manifest.digest}
        assert await listed(yard, sbom.manifest) == {countersigned.manifest.digest}
        order = sent(yard.upstream)
        assert order[-1] == "v1"
        assert order.index(index.manifest.digest) < order.index(signature.manifest.digest)
        assert order.index(sbom.manifest.digest) < order.index(countersigned.manifest.digest)


async def test_of_an_image_that_is_there_only_what_lacks_about_it_is_sent(tmp_path: Path) -> None:
    image = build_image("a")
    first = cosign_referrer(image.manifest)
    second = Artifact(manifest_of(image.config, [], subject=image.manifest.descriptor), (image.config,))
    async with running(tmp_path) as yard:
        await put(yard, first)
        await yard.push(image)
        await yard.until_empty()
        await put(yard, second)
        yard.upstream.log.clear()
        await yard.push(image)
        await yard.until_empty()
        assert sent(yard.upstream) == [second.manifest.digest]
        assert await listed(yard, image.manifest) == {first.manifest.digest, second.manifest.digest}
        yard.upstream.log.clear()
        await yard.push(image)
        await yard.until_empty()
        assert not sent(yard.upstream)


async def test_what_an_upstream_does_not_take_holds_up_neither_its_image_nor_the_rest(tmp_path: Path) -> None:
    image = build_image("a")
    signature = cosign_referrer(image.manifest)
    other = Artifact(manifest_of(image.config, [], subject=image.manifest.descriptor), (image.config,))

    def fault(what: str, of: str) -> Exception | None:
        if what == "push_manifest" and of == signature.manifest.digest:
            return UpstreamRefused("corp", "It takes no artifacts.", status=400)
        return None

    async with running(tmp_path, upstreams=[FakeUpstream(fault=fault)]) as yard:
        await put(yard, signature)
        await put(yard, other)
        await yard.push(image)
        await yard.until_empty()
        done = yard.service.history(1)[0]
        assert (done.outcome, await yard.upstream.tag_of("team/app", "v1")) == ("done", image.manifest.digest)
        assert "It takes no artifacts." in done.reason
        assert parse_digest(signature.manifest.digest).short in done.reason
        assert await listed(yard, image.manifest) == {other.manifest.digest}


async def test_an_upstream_that_goes_away_before_all_is_there_gets_the_rest_before_the_tag(tmp_path: Path) -> None:
    image = build_image("a")
    signature = cosign_referrer(image.manifest)
    upstream = FakeUpstream(stops={"list": asyncio.Event()})
    async with running(tmp_path, upstreams=[upstream]) as yard:
        await put(yard, signature)
        await yard.push(image)
        await yard.until(lambda: upstream.asked["list"], "the signature's manifest is there")
        await yard.restart()
        assert await upstream.tag_of("team/app", "v1") is None
        upstream.stops.clear()
        await yard.until_empty()
        assert await listed(yard, image.manifest) == {signature.manifest.digest}


async def test_a_signature_that_was_pushed_first_goes_after_its_image(tmp_path: Path) -> None:
    image = build_image("a", [100] * 40)  # it takes longer by itself
    signature = cosign_referrer(image.manifest)
    async with running(tmp_path) as yard:
        await yard.service.pause()
        await yard.put_blobs(signature)
        await yard.push_manifest(signature.manifest)
        await yard.push(image)
        await yard.restart()
        await yard.service.resume()
        await yard.until_empty()
        assert sent(yard.upstream) == [image.manifest.digest, "v1", signature.manifest.digest]


@pytest.mark.parametrize("how", ["cancelled", "paused", "blocked", "pushed anew"])
async def test_a_signature_does_not_wait_for_an_image_that_does_not_go(tmp_path: Path, how: str) -> None:
    """What it's about may be missing over there."""
    image = build_image("a")
    signature = Artifact(manifest_of(image.config, [], subject=image.manifest.descriptor), (image.config,))
    upstream = FakeUpstream(held=asyncio.Event(), blobs={REPOSITORY: {parse_digest(image.config.digest)}})
    async with running(tmp_path, upstreams=[upstream]) as yard:
        await yard.push(image)
        await yard.until(lambda: upstream.sending, "the image is being sent")
        await yard.put_blobs(signature)
        await yard.push_manifest(signature.manifest)
        await settle(200)
        assert signature.manifest.digest not in sent(upstream)
        if how == "cancelled":
            await yard.service.cancel("team/app:v1")
        elif how == "paused":
            await yard.service.pause("team/app:v1")
        elif how == "pushed anew":
            await yard.push(build_image("b"))
        else:
            upstream.fault = lambda what, of: (
                UpstreamRefused("corp", "No.", status=400)
                if what == "push_manifest" and of == image.manifest.digest
                else None
            )
        upstream.release()
        name = f"team/app@{signature.manifest.digest}"
        await yard.until(lambda: not yard.job(name), "the signature is there")
        assert await listed(yard, image.manifest) == {signature.manifest.digest}


async def test_signatures_tags_go_where_their_images_go_whatever_tags_are_wanted(tmp_path: Path) -> None:
    async with running(tmp_path) as yard:

        async def wanted(tags: TagFilter) -> None:
            upstreams = (UpstreamSettings(registry="corp", name="corp", push=True, tags=tags),)
            await yard.service.reload(yard.routes, Settings(data_dir=tmp_path, sync=yard.sync, upstreams=upstreams))

        await wanted(TagFilter(include=("v*",), exclude=("*-rc*", "*-*")))
        image = build_image("a")
        tag = "sha256-" + image.manifest.digest.removeprefix("sha256:")
        for name in ("v1", "dev-1", tag, f"{tag}.sig", f"{tag}.att", f"{tag}.sbom", "sha256-short.sig"):
            await yard.push(image, name)
        await yard.until_empty()
        there = set(await yard.upstream.store.tags(REPOSITORY))
        assert there == {"v1", tag, f"{tag}.sig", f"{tag}.att", f"{tag}.sbom"}
        await wanted(TagFilter(include=("v*",), exclude=("sha256-*.sbom",)))
        await yard.push(build_image("b"), f"{tag}.sbom")
        assert not yard.service.snapshot().jobs
