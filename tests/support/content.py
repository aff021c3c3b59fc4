"""Short ways to put content into a store and get it out, and manifests that name it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from yarddesk.content.store import Store
from yarddesk.oci import media_types
from yarddesk.oci.digest import Digest
from yarddesk.oci.manifest import Manifest, parse_manifest
from yarddesk.oci.name import RepositoryName, Tag

REPOSITORY = RepositoryName.parse("team/app")
OTHER = RepositoryName.parse("team/other")
LATEST = Tag.parse("latest")


def described(content: bytes, media_type: str = media_types.OCTET_STREAM) -> dict[str, Any]:
    """The descriptor of these bytes, as a manifest lists it."""
    return {"mediaType": media_type, "digest": str(Digest.of(content)), "size": len(content)}


def image(*layers: bytes, config: bytes = b"{}", media_type: str = media_types.OCI_MANIFEST, **more: Any) -> Manifest:
    """An image's manifest; more: further keys."""
    document = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": described(config, "application/vnd.oci.image.config.v1+json"),
        "layers": [described(layer, "application/vnd.oci.image.layer.v1.tar") for layer in layers],
    }
    return parse_manifest(json.dumps(document | more).encode())


def index(*manifests: Manifest, **more: Any) -> Manifest:
    """The index of these manifests."""
    listed = [{"mediaType": one.media_type, "digest": str(one.digest), "size": len(one.content)} for one in manifests]
    document = {"schemaVersion": 2, "mediaType": media_types.OCI_INDEX, "manifests": listed}
    return parse_manifest(json.dumps(document | more).encode())


def about(subject: Manifest, artifact_type: str = "application/vnd.test.note", **more: Any) -> Manifest:
    """An artifact's manifest that refers to `subject`."""
    return image(
        artifactType=artifact_type,
        subject={"mediaType": subject.media_type, "digest": str(subject.digest), "size": len(subject.content)},
        **more,
    )


async def push_blob(store: Store, content: bytes, repository: RepositoryName = REPOSITORY) -> Digest:
    """Upload these bytes."""
    digest = Digest.of(content)
    upload = await store.start_upload(repository)
    await upload.write(content)
    assert await upload.commit(digest) == len(content)
    return digest


async def push_image(
    store: Store,
    name: str = "one",
    *,
    repository: RepositoryName = REPOSITORY,
    tags: Sequence[Tag] = (LATEST,),
) -> Manifest:
    """An image of its own, with its blobs, under these tags."""
    config, layer = f'{{"name": "{name}"}}'.encode(), f"layer of {name}".encode()
    for content in (config, layer):
        await push_blob(store, content, repository)
    manifest = image(layer, config=config)
    await store.put_manifest(repository, manifest)
    for tag in tags:
        await store.put_tag(repository, tag, manifest.digest)
    return manifest


async def read_blob(store: Store, digest: Digest, offset: int = 0, length: int | None = None) -> bytes:
    """All pieces together."""
    async with store.read_blob(digest, offset, length) as pieces:
        return b"".join([piece async for piece in pieces])
