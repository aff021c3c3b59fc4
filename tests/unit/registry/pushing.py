"""What tests of the registry do again and again."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import httpx

from tests.support.images import OCI_MANIFEST, Content, Image, Index


def digest_of(content: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"


async def push_blob(client: httpx.AsyncClient, repository: str, content: bytes) -> str:
    """Put a blob there with one POST; its digest."""
    digest = digest_of(content)
    answer = await client.post(f"/v2/{repository}/blobs/uploads/", params={"digest": digest}, content=content)
    assert answer.status_code == 201, answer.text
    return digest


async def put_manifest(
    client: httpx.AsyncClient, repository: str, reference: str, manifest: Content, **options: Any
) -> httpx.Response:
    headers = {"Content-Type": manifest.media_type, **options.pop("headers", {})}
    path = f"/v2/{repository}/manifests/{reference}"
    return await client.put(path, content=manifest.content, headers=headers, **options)


async def push_image(client: httpx.AsyncClient, repository: str, tag: str, image: Image | Index) -> None:
    for blob in image.blobs:
        await push_blob(client, repository, blob.content)
    for manifest in image.manifests:
        reference = tag if manifest is image.manifest else manifest.digest
        answer = await put_manifest(client, repository, reference, manifest)
        assert answer.status_code == 201, answer.text


def manifest_without_blobs(**more: Any) -> Content:
    """An index of nothing: the smallest manifest that needs nothing else."""
    document = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [], **more}
    return Content("application/vnd.oci.image.index.v1+json", json.dumps(document).encode())


def image_manifest(config: bytes, layers: list[bytes], **more: Any) -> Content:
    """A manifest over these bytes, whatever they are."""
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": _descriptor("application/vnd.oci.image.config.v1+json", config),
        "layers": [_descriptor("application/vnd.oci.image.layer.v1.tar", layer) for layer in layers],
        **more,
    }
    return Content(OCI_MANIFEST, json.dumps(document).encode())


def codes(answer: httpx.Response) -> list[str]:
    """The codes of an error body of the specification's form."""
    assert answer.headers["content-type"] == "application/json"
    return [entry["code"] for entry in answer.json()["errors"]]


def _descriptor(media_type: str, content: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest_of(content), "size": len(content)}
