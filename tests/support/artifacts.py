"""What cosign, helm and buildx push, in the shapes in which they push it: byte for byte the same from the same seed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from tests.support.images import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_MANIFEST,
    Content,
    Graph,
    Image,
)

EMPTY = Content("application/vnd.oci.empty.v1+json", b"{}")
SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"
SIGSTORE_BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
DSSE = "application/vnd.dsse.envelope.v1+json"
SPDX = "text/spdx+json"
HELM_CONFIG = "application/vnd.cncf.helm.config.v1+json"
HELM_CHART = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
HELM_PROVENANCE = "application/vnd.cncf.helm.chart.provenance.v1.prov"
IN_TOTO = "application/vnd.in-toto+json"
CACHE_CONFIG = "application/vnd.buildkit.cacheconfig.v0"


@dataclass(frozen=True)
class Artifact:
    """A manifest with what it names. below: manifests that come before it, children first."""

    manifest: Content
    blobs: tuple[Content, ...] = ()
    below: tuple[Content, ...] = ()

    @property
    def manifests(self) -> tuple[Content, ...]:
        return (*self.below, self.manifest)


def artifact(config: Content, layers: Sequence[tuple[Content, dict[str, str]]], **more: Any) -> Artifact:
    """An image manifest that carries something else than an image; layers: each with its descriptor's annotations."""
    described = [layer.descriptor | ({"annotations": notes} if notes else {}) for layer, notes in layers]
    document = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config.descriptor, "layers": described}
    document = {key: value for key, value in (document | more).items() if value is not None}
    blobs = {blob.digest: blob for blob in (config, *(layer for layer, _ in layers))}
    return Artifact(Content(OCI_MANIFEST, _json(document)), tuple(blobs.values()))


def cosign_tag(digest: str, suffix: str) -> str:
    """Where cosign looks for what belongs to a digest: `sha256-….sig`, `.att`, `.sbom`."""
    return f"{digest.replace(':', '-')}.{suffix}"


def cosign_signature(subject: Content, *, signatures: int = 1) -> Artifact:
    """As `cosign sign` pushes it by tag. Who signs again adds a layer, which may well be the same payload."""
    payload = Content(SIMPLE_SIGNING, _json(_signed_payload(subject)))
    config = Content(OCI_CONFIG, _json(_config_of(payload)))
    layers = [(payload, {"dev.cosignproject.cosign/signature": f"MEUCIQD{number}=="}) for number in range(signatures)]
    return artifact(config, layers)


def cosign_attachment(subject: Content, media_type: str) -> Artifact:
    """As `cosign attest` (an envelope) and `cosign attach sbom` push it by tag."""
    content = Content(media_type, _json({"about": subject.digest, "payload": "e30="}))
    return artifact(
        Content(OCI_CONFIG, _json(_config_of(content))), [(content, {"predicateType": "cosign.sigstore.dev"})]
    )


def cosign_referrer(subject: Content) -> Artifact:
    """As cosign pushes since OCI 1.1: a Sigstore bundle with an empty config, found by the referrers API."""
    bundle = Content(SIGSTORE_BUNDLE, _json({"mediaType": SIGSTORE_BUNDLE, "about": subject.digest}))
    notes = {"dev.sigstore.bundle.content": "dsse-envelope", "org.opencontainers.image.created": "2024-01-01T00:00:00Z"}
    return artifact(EMPTY, [(bundle, {})], artifactType=SIGSTORE_BUNDLE, subject=subject.descriptor, annotations=notes)


def referrers_list(*referrers: Artifact) -> Artifact:
    """The list of an image's referrers that clients keep under a tag, where a registry has none of its own."""
    kinds = [json.loads(referrer.manifest.content)["artifactType"] for referrer in referrers]
    entries = [
        referrer.manifest.descriptor | {"artifactType": kind} for referrer, kind in zip(referrers, kinds, strict=True)
    ]
    return Artifact(Content(OCI_INDEX, _json({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})))


def helm_chart(name: str = "chart") -> Artifact:
    """As `helm push` does with a signed chart; its manifest has no mediaType of its own."""
    config = Content(HELM_CONFIG, _json({"name": name, "version": "1.2.3+build", "apiVersion": "v2"}))
    chart = Content(HELM_CHART, hashlib.sha512(name.encode()).digest() * 100)
    provenance = Content(HELM_PROVENANCE, b"-----BEGIN PGP SIGNED MESSAGE-----\n" + name.encode())
    notes = {"org.opencontainers.image.title": name, "org.opencontainers.image.version": "1.2.3+build"}
    return artifact(config, [(chart, {}), (provenance, {})], annotations=notes, mediaType=None)


def buildx_index(images: Sequence[Image], *, attested_as_artifact: bool = False) -> Artifact:
    """As `docker buildx build --push` makes it: an attestation beside each platform's image.

    attested_as_artifact: BuildKit's `oci-artifact=true`, by which an attestation has the image as its subject.
    """
    attestations = [_attestation(image, attested_as_artifact) for image in images]
    listed = []
    for image in images:
        system, architecture = image.platform.split("/")[:2]
        listed.append(image.manifest.descriptor | {"platform": {"architecture": architecture, "os": system}})
    for image, attestation in zip(images, attestations, strict=True):
        notes = {
            "vnd.docker.reference.digest": image.manifest.digest,
            "vnd.docker.reference.type": "attestation-manifest",
        }
        unknown = {"architecture": "unknown", "os": "unknown"}
        listed.append(attestation.manifest.descriptor | {"annotations": notes, "platform": unknown})
    return index_over([*images, *attestations], listed)


def buildkit_cache_image(layers: Sequence[Content]) -> Artifact:
    """As `--cache-to type=registry,image-manifest=true` (the default since BuildKit 0.21) pushes it."""
    return artifact(_cache_config(layers), [(layer, {}) for layer in layers])


def buildkit_cache_index(layers: Sequence[Content]) -> Artifact:
    """As BuildKit pushes a cache otherwise: an index whose “manifests” are layers and a configuration, all of them blobs."""
    notes = {"annotations": {"buildkit/createdat": "2024-01-01T00:00:00Z"}}
    return index_of_blobs([*layers, _cache_config(layers)], {layer.digest: notes for layer in layers})


def index_of_blobs(blobs: Sequence[Content], notes: Mapping[str, dict[str, Any]] = MappingProxyType({})) -> Artifact:
    """An index whose “manifests” are blobs; notes: what the descriptor of a digest says beside."""
    listed = [blob.descriptor | notes.get(blob.digest, {}) for blob in blobs]
    document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": listed}
    return Artifact(Content(OCI_INDEX, _json(document)), tuple(blobs))


def index_over(parts: Sequence[Graph], listed: Sequence[dict[str, Any]] = (), **more: Any) -> Artifact:
    """An index of anything, also of indexes; listed: the descriptors, where they say more than the parts do."""
    manifests = list(listed or (part.manifest.descriptor for part in parts))
    document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests} | more
    blobs = {blob.digest: blob for part in parts for blob in part.blobs}
    below = {manifest.digest: manifest for part in parts for manifest in part.manifests}
    media_type = str(document["mediaType"])
    return Artifact(Content(media_type, _json(document)), tuple(blobs.values()), tuple(below.values()))


def manifest_list(images: Sequence[Image]) -> Artifact:
    """As `docker manifest push` makes it: with Docker's types, and a platform's details."""
    listed = []
    for image in images:
        assert image.manifest.media_type == DOCKER_MANIFEST
        system, architecture = image.platform.split("/")[:2]
        platform = {"architecture": architecture, "os": system, "os.version": "10.0.1", "features": ["sse4"]}
        listed.append(image.manifest.descriptor | {"platform": platform})
    return index_over(images, listed, mediaType=DOCKER_LIST)


def _attestation(image: Image, as_artifact: bool) -> Artifact:
    statements = []
    for predicate in ("https://spdx.dev/Document", "https://slsa.dev/provenance/v1"):
        statement = _json({"predicateType": predicate, "subject": [{"digest": image.manifest.digest}]})
        statements.append((Content(IN_TOTO, statement), {"in-toto.io/predicate-type": predicate}))
    if as_artifact:
        kind = "application/vnd.docker.attestation.manifest.v1+json"
        return artifact(EMPTY, statements, artifactType=kind, subject=image.manifest.descriptor)
    ids = [content.digest for content, _ in statements]
    config = {"architecture": "unknown", "os": "unknown", "config": {}, "rootfs": {"type": "layers", "diff_ids": ids}}
    return artifact(Content(OCI_CONFIG, _json(config)), statements)


def _cache_config(layers: Sequence[Content]) -> Content:
    entries = [{"blob": layer.digest, "parent": number - 1} for number, layer in enumerate(layers)]
    records = [{"digest": layer.digest, "layers": [{"layer": number}]} for number, layer in enumerate(layers)]
    return Content(CACHE_CONFIG, _json({"layers": entries, "records": records}))


def _signed_payload(subject: Content) -> dict[str, Any]:
    identity = {"docker-reference": "registry.example/team/app"}
    image = {"docker-manifest-digest": subject.digest}
    kind = "cosign container image signature"
    return {"critical": {"identity": identity, "image": image, "type": kind}, "optional": None}


def _config_of(layer: Content) -> dict[str, Any]:
    return {
        "architecture": "",
        "created": "0001-01-01T00:00:00Z",
        "history": [{"created": "0001-01-01T00:00:00Z"}],
        "os": "",
        "rootfs": {"type": "layers", "diff_ids": [layer.digest]},
        "config": {},
    }


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
