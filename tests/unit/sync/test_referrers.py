"""What is about another image (signatures, attestations, SBOMs): it arrives, and upstream lists it with what it's about."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.support.artifacts import buildx_index, cosign_referrer
from tests.support.fake_upstreams import FakeUpstream
from tests.support.images import build_image
from tests.unit.sync.yard import Yard, parse_digest, running
from yarddesk.oci.digest import Digest


def listed(yard: Yard, subject: str) -> set[Digest]:
    """What the upstream lists as referrers of a manifest."""
    return yard.upstream.listed.get(parse_digest(subject), set())


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
        assert not listed(yard, image.manifest.digest)
        upstream.stops["list"].set()
        await yard.until_empty()
        assert await upstream.tag_of("team/app", "v1") == parse_digest(index.manifest.digest)
        assert listed(yard, image.manifest.digest) == {parse_digest(attestation.digest)}


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
        assert listed(yard, image.manifest.digest) == {parse_digest(signature.manifest.digest)}
