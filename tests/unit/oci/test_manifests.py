"""What counts as a manifest, and what it refers to."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yarddesk.oci import media_types
from yarddesk.oci.digest import Digest
from yarddesk.oci.manifest import MAX_MANIFEST_BYTES, InvalidManifest, parse_manifest

ONE, TWO, THREE = (Digest.of(bytes([number])) for number in range(3))


def descriptor(
    digest: str = ONE, media_type: str = "application/vnd.oci.image.layer.v1.tar+gzip", size: int = 1, **more: Any
) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest, "size": size, **more}


def image(**changes: Any) -> bytes:
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": media_types.OCI_MANIFEST,
        "config": descriptor(ONE, "application/vnd.oci.image.config.v1+json"),
        "layers": [descriptor(TWO), descriptor(THREE), descriptor(TWO)],
        **changes,
    }
    return json.dumps({key: value for key, value in document.items() if value is not None}).encode()


def test_an_image_names_its_config_and_each_layer_once():
    manifest = parse_manifest(image(), media_types.OCI_MANIFEST)
    assert [blob.digest for blob in manifest.blobs] == [ONE, TWO, THREE]
    assert manifest.digest == Digest.of(image())
    assert manifest.descriptor.is_manifest
    assert not manifest.is_index


def test_layers_that_may_not_be_distributed_need_not_be_here():
    foreign = descriptor(THREE, "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", urls=["https://x.example"])
    manifest = parse_manifest(image(layers=[descriptor(TWO), foreign]), media_types.OCI_MANIFEST)
    assert [blob.digest for blob in manifest.required_blobs] == [ONE, TWO]


def test_an_index_names_its_children_with_their_platforms():
    child = descriptor(
        TWO, media_types.OCI_MANIFEST, platform={"os": "linux", "architecture": "arm64", "variant": "v8"}
    )
    content = json.dumps({"schemaVersion": 2, "manifests": [child]}).encode()
    index = parse_manifest(content)
    assert index.media_type == media_types.OCI_INDEX
    assert str(index.manifests[0].platform) == "linux/arm64/v8"
    assert index.manifests[0].is_manifest


def index(*entries: dict[str, Any], **more: Any) -> bytes:
    return json.dumps({"schemaVersion": 2, "manifests": entries, **more}).encode()


def test_layers_that_an_index_lists_are_blobs_that_must_be_here():
    """BuildKit's cache is such an index."""
    layer = descriptor(TWO)
    config = descriptor(THREE, "application/vnd.buildkit.cacheconfig.v0")
    cache = parse_manifest(index(layer, config, descriptor(ONE, media_types.OCI_MANIFEST)), media_types.OCI_INDEX)
    assert [blob.digest for blob in cache.required_blobs] == [TWO, THREE]
    assert [child.digest for child in cache.manifests] == [ONE]
    assert not any(blob.is_manifest for blob in cache.blobs)


@pytest.mark.parametrize("media_type", ["application/vnd.example.thing+json", "x/y", media_types.OCTET_STREAM])
def test_what_an_index_lists_and_is_unknown_is_taken_for_a_manifest(media_type: str):
    parsed = parse_manifest(index(descriptor(TWO, media_type)), media_types.OCI_INDEX)
    assert [child.digest for child in parsed.manifests] == [TWO]
    assert parsed.manifests[0].is_manifest
    assert parsed.blobs == ()


def test_what_an_image_lists_is_a_blob_whatever_its_type():
    layer = descriptor(TWO, media_types.OCI_MANIFEST)
    manifest = parse_manifest(image(layers=[layer]), media_types.OCI_MANIFEST)
    assert [blob.is_manifest for blob in manifest.blobs] == [False, False]


@pytest.mark.parametrize("layer", [None, 5, "x", [], {}, {"digest": ONE}, {"mediaType": "a/b", "size": 1}])
def test_what_is_no_descriptor_is_no_layer(layer: object):
    with pytest.raises(InvalidManifest):
        parse_manifest(image(layers=[layer]), media_types.OCI_MANIFEST)


def test_an_artifact_of_an_earlier_specification_names_its_blobs():
    kind = "application/vnd.oci.artifact.manifest.v1+json"
    document = {"mediaType": kind, "blobs": [descriptor(TWO), "junk"], "subject": descriptor(ONE, "a/b")}
    manifest = parse_manifest(json.dumps(document).encode(), kind)
    assert [blob.digest for blob in manifest.required_blobs] == [TWO]
    assert manifest.subject is not None


def test_types_of_others_keep_their_spelling_and_ours_are_in_lower_case():
    kind = "application/vnd.Example.Thing+json"
    assert parse_manifest(b'{"schemaVersion": 2}', kind).media_type == kind
    declared = json.dumps({"mediaType": kind}).encode()
    assert parse_manifest(declared, kind.lower()).media_type == kind
    assert parse_manifest(index(), media_types.OCI_INDEX.upper()).media_type == media_types.OCI_INDEX


@pytest.mark.parametrize("number", [2**64 - 1, -(2**64) + 1, 1.5e308, 0])
def test_numbers_that_readers_can_hold_are_taken(number: float):
    assert parse_manifest(image(number=number)).content


@pytest.mark.parametrize("number", ["18446744073709551616", "-18446744073709551616", "1e309", "-1e400"])
def test_numbers_that_readers_can_not_hold_are_not(number: str):
    content = image(number="N").replace(b'"N"', number.encode())
    for lenient in (False, True):
        with pytest.raises(InvalidManifest):
            parse_manifest(content, lenient=lenient)


def test_annotations_of_others_that_are_no_texts_are_left_out():
    content = image(annotations={"a": "b", "c": 1})
    with pytest.raises(InvalidManifest):
        parse_manifest(content)
    assert parse_manifest(content, lenient=True).annotations == {"a": "b"}


def test_a_subject_and_the_artifact_type_are_read():
    manifest = parse_manifest(image(subject=descriptor(THREE, media_types.OCI_MANIFEST), artifactType="a/b"))
    assert manifest.subject is not None
    assert manifest.subject.digest == THREE
    assert manifest.artifact_type == "a/b"
    assert parse_manifest(image()).artifact_type == "application/vnd.oci.image.config.v1+json"


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (b"", ""),
        (b"[]", ""),
        (b"{", ""),
        (b'{"a": NaN, "config": {}}', ""),
        (b'{"schemaVersion": 2, "schemaVersion": 2}', ""),
        (b"\xff\xfe", ""),
        (b"[" * 100_000, ""),
        (image(manifests=[]), ""),
        (image(), media_types.OCI_INDEX),
        (image(mediaType=None, config=None), media_types.OCI_MANIFEST),
        (image(mediaType=7), ""),
        (image(layers={}), ""),
        (image(layers=["x"]), ""),
        (image(layers=[descriptor(size=-1)]), ""),
        (image(layers=[descriptor(size=2**70)]), ""),
        (image(layers=[descriptor(size=True)]), ""),
        (image(layers=[descriptor(digest="sha256:../../x")]), ""),
        (image(layers=[{"digest": ONE, "size": 1}]), ""),
        (b'{"schemaVersion": 1, "fsLayers": []}', ""),
        (b'{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json"}', ""),
        (b" " * (MAX_MANIFEST_BYTES + 1), ""),
        (image(schemaVersion=None), media_types.OCI_MANIFEST),
        (image(schemaVersion="2"), media_types.OCI_MANIFEST),
        (image(schemaVersion=3), media_types.OCI_MANIFEST),
        (image(schemaVersion=True), media_types.DOCKER_MANIFEST),
        (b'{"manifests": []}', media_types.OCI_INDEX),
        (b"{}", "application/json"),
        (image(mediaType=None), "application/json"),
        (b"{}", "application/vnd.example.thing.v1+json"),
        (b'{"mediaType": "a/b"}', "application/vnd.example.thing.v1+json"),
    ],
)
def test_what_is_no_manifest_or_ambiguous_is_refused(content, content_type):
    with pytest.raises(InvalidManifest):
        parse_manifest(content, content_type)


@pytest.mark.parametrize("media_type", [media_types.DOCKER_MANIFEST, media_types.OCI_MANIFEST])
def test_the_content_type_does_where_the_document_has_no_media_type(media_type):
    assert parse_manifest(image(mediaType=None), media_type).media_type == media_type


@pytest.mark.parametrize("content", [b'{"mediaType": "application/vnd.x+json"}', b'{"schemaVersion": 3, "a": 1}'])
def test_a_type_that_is_not_ours_is_taken_as_it_is(content):
    manifest = parse_manifest(content, "application/vnd.x+json")
    assert (manifest.content, manifest.media_type) == (content, "application/vnd.x+json")


def test_what_another_registry_took_is_read_though_it_does_not_say_what_it_is():
    index = parse_manifest(b'{"manifests": []}', media_types.OCI_INDEX, lenient=True)
    assert index.is_index


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=8)
    | st.sampled_from([ONE, "config", media_types.OCI_INDEX]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "schemaVersion",
                    "config",
                    "layers",
                    "manifests",
                    "subject",
                    "mediaType",
                    "digest",
                    "size",
                    "platform",
                    "annotations",
                    "artifactType",
                ]
            ),
            inner,
            max_size=6,
        )
    ),
    max_leaves=20,
)


@given(json_values)
def test_any_json_is_a_manifest_or_refused(value):
    content = json.dumps(value).encode()
    try:
        manifest = parse_manifest(content)
    except InvalidManifest as refused:
        assert refused.title  # noqa: PT017 - either way is right, an empty reason isn't
    else:
        assert manifest.content == content
