"""Whole images go to every kind of registry that the profiles know, each as strict as it is: through the real worker."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.integration.faulty import FaultyYard, faulty_yard
from tests.peers.fake_registry import FakeRegistry
from tests.support.artifacts import Artifact, cosign_referrer
from tests.support.images import Content, Graph, Image, Index, build_image, build_index, manifest_of
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import referrers_tag
from yarddesk.sync.states import JobState
from yarddesk.upstream.profiles import PROFILES, Profile

IMAGE = build_image("kinds", [6 * 1024 * 1024, 3000])
FRESH = build_image("kinds, changed", [10, 4000])
CHANGED = Image(
    manifest_of(FRESH.config, [IMAGE.layers[0], FRESH.layers[1]]),
    FRESH.config,
    (IMAGE.layers[0], FRESH.layers[1]),
    IMAGE.platform,
)
"""One layer is another."""

INDEX = build_index("kinds")
SIGNATURE = cosign_referrer(IMAGE.manifest)
EACH = pytest.mark.parametrize("profile", PROFILES, ids=lambda each: each.name)


async def sync(yard: FaultyYard, image: Image, index: Index, signature: Artifact) -> None:
    """Push all of it, then let it go, and wait until all is over."""
    await yard.sync.pause()
    await yard.push(image, "team/app", "v1", only=image.manifests)
    await yard.push(index, "team/app", "multi", only=index.manifests)
    await yard.push(signature, "team/app", "", only=signature.manifests)
    await yard.sync.resume()
    await yard.arrived()


def blobs(*graphs: Graph) -> list[Content]:
    """Each once."""
    return list({blob.digest: blob for graph in graphs for blob in graph.blobs}.values())


@EACH
async def test_an_image_an_index_and_a_signature_arrive_and_nothing_goes_twice(
    tmp_path: Path, profile: Profile
) -> None:
    async with FakeRegistry(profile).listening() as registry:
        registry.make("team/app")
        async with faulty_yard(tmp_path / "data", registry.host, profile=profile) as yard:
            await sync(yard, IMAGE, INDEX, SIGNATURE)
            here = registry.repositories["team/app"]
            assert {tag: here.tags[tag] for tag in ("v1", "multi")} == {
                "v1": IMAGE.manifest.digest,
                "multi": INDEX.manifest.digest,
            }
            for graph in (IMAGE, INDEX, SIGNATURE):
                for manifest in graph.manifests:
                    assert here.manifests[manifest.digest] == (manifest.media_type, manifest.content)
                for blob in graph.blobs:
                    assert registry.content[blob.digest] == blob.content
                    assert blob.digest in here.blobs
            assert registry.blob_bytes_received == sum(len(each.content) for each in blobs(IMAGE, INDEX, SIGNATURE))
            assert not registry.uploads
            if not profile.lists_referrers:
                tag = referrers_tag(Digest.parse(IMAGE.manifest.digest))
                listed = json.loads(here.manifests[here.tags[tag]][1])["manifests"]
                assert [each["digest"] for each in listed] == [SIGNATURE.manifest.digest]
            asked = len(registry.requests)
            await sync(yard, IMAGE, INDEX, SIGNATURE)
            assert {each.method for each in registry.requests[asked:]} <= {"GET", "HEAD"}
            sent = registry.blob_bytes_received
            await yard.push(CHANGED, "team/app", "v2")
            await yard.arrived()
            assert here.tags["v2"] == CHANGED.manifest.digest
            assert registry.blob_bytes_received - sent == len(CHANGED.config.content) + len(CHANGED.layers[1].content)
            assert {entry.outcome for entry in yard.sync.history()} == {JobState.DONE}
            assert {entry.tries for entry in yard.sync.history()} == {1}
