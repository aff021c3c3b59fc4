"""What cosign, helm and buildx push lies in `yarddesk serve` as they pushed it, is found by what they ask, and goes upstream whole."""

import json

import pytest

from tests.acceptance.settings import push_everything_to
from tests.support.artifacts import (
    DSSE,
    EMPTY,
    SIGSTORE_BUNDLE,
    SPDX,
    artifact,
    buildkit_cache_image,
    buildkit_cache_index,
    buildx_index,
    cosign_attachment,
    cosign_referrer,
    cosign_signature,
    cosign_tag,
    helm_chart,
    index_of_blobs,
    index_over,
    manifest_list,
)
from tests.support.images import Content, build_image, build_index
from tests.support.waiting import until

PLATFORMS = ("linux/amd64", "linux/arm64")
IMAGE = build_image("signed")
IMAGES = [build_image(f"buildx/{platform}", platform=platform) for platform in PLATFORMS]
DOCKER_IMAGES = [build_image(f"list/{platform}", platform=platform, docker=True) for platform in PLATFORMS]
NESTED = index_over(
    [build_index("inner", PLATFORMS), buildx_index(IMAGES), IMAGE], annotations={"org.example.level": "outer"}
)
ARTIFACTS = {
    "cosign signature": (cosign_signature(IMAGE.manifest), cosign_tag(IMAGE.manifest.digest, "sig")),
    "cosign, signed twice": (cosign_signature(IMAGE.manifest, signatures=2), cosign_tag(IMAGE.manifest.digest, "sig")),
    "cosign attestation": (cosign_attachment(IMAGE.manifest, DSSE), cosign_tag(IMAGE.manifest.digest, "att")),
    "cosign SBOM": (cosign_attachment(IMAGE.manifest, SPDX), cosign_tag(IMAGE.manifest.digest, "sbom")),
    "helm chart": (helm_chart(), "1.2.3_build"),
    "buildx index": (buildx_index(IMAGES), "latest"),
    "buildx index, attested by artifacts": (buildx_index(IMAGES, attested_as_artifact=True), "latest"),
    "BuildKit cache": (buildkit_cache_image(IMAGE.layers), "cache"),
    "BuildKit cache as an index of layers": (buildkit_cache_index(IMAGE.layers), "cache"),
    "index of indexes": (NESTED, "all"),
    "Docker manifest list": (manifest_list(DOCKER_IMAGES), "latest"),
    "index of blobs of a type that nobody knows": (
        index_of_blobs([Content("application/vnd.example.part", b"a part")]),
        "parts",
    ),
    "artifact of an empty config": (
        artifact(EMPTY, [(EMPTY, {})], artifactType="application/vnd.example.note"),
        "note",
    ),
    "artifact without layers": (artifact(EMPTY, [], artifactType="application/vnd.example.nothing"), "none"),
    "artifact of a type that nobody knows": (
        artifact(Content("application/vnd.example+toml; v=1", b"a = 1"), [(Content("x/y", b"\0\xff"), {"a": "ü"})]),
        "X.y-Z",
    ),
}

# The upstream lists no referrers, so that they are listed there under a tag of their subject's.
REFERRERS_TAGS = {
    "buildx index, attested by artifacts": [image.manifest.digest.replace(":", "-") for image in IMAGES],
}


@pytest.fixture
def serve(make_yarddesk, docker_registry):
    return make_yarddesk(config=push_everything_to(docker_registry.host))


def in_repository(name: str) -> str:
    return "team/" + "-".join(name.lower().replace(",", "").split())


def test_artifacts_come_back_as_they_were_pushed_and_arrive_upstream(serve, docker_registry):
    # Each is whole before any of it goes up, so that what goes up of it is the same each time.
    serve.control("pause", {})
    for name, (content, tag) in ARTIFACTS.items():
        serve.push(in_repository(name), tag, content)
    serve.control("resume", {})
    serve.run("wait", "--timeout", "60")
    until(lambda: json.loads(serve.run("queue", "--json").stdout)["jobs"] == [], 30, "an empty queue")
    for started_again in (False, True):
        if started_again:
            serve.restart()
        for name, (content, tag) in ARTIFACTS.items():
            assert serve.holds(in_repository(name), tag, content), name
            assert serve.tags(in_repository(name)) == sorted([tag, *REFERRERS_TAGS.get(name, [])]), name
            assert docker_registry.holds(in_repository(name), tag, content), name


# Debian's skopeo refuses an index below an index, and an index whose children are no manifests.
NOT_FOR_SKOPEO = (
    "BuildKit cache as an index of layers",
    "index of blobs of a type that nobody knows",
    "index of indexes",
)


def test_skopeo_pushes_and_pulls_them_unchanged(make_yarddesk, skopeo):
    serve = make_yarddesk(config="upstreams: []\n")
    for name, (content, tag) in ARTIFACTS.items():
        if name in NOT_FOR_SKOPEO:
            continue
        here, copy = (f"{serve.registry}/{part}{in_repository(name)}:{tag}" for part in ("", "copy/"))
        serve.push(in_repository(name), tag, content)
        skopeo.copy(f"docker://{here}", f"docker://{copy}", "--all", "--preserve-digests")
        assert serve.holds(f"copy/{in_repository(name)}", tag, content), name
        assert skopeo.raw_manifest(copy) == content.manifest.content, name


def test_an_index_of_indexes_is_walked_by_skopeo_and_carried_by_containerd(make_yarddesk, skopeo, containerd, tmp_path):
    serve = make_yarddesk(config="upstreams: []\n")
    serve.push("team/nested", "all", NESTED)
    name = f"{serve.registry}/team/nested:all"
    assert skopeo.raw_manifest(name) == NESTED.manifest.content
    for entry in json.loads(NESTED.manifest.content)["manifests"]:
        child = f"{serve.registry}/team/nested@{entry['digest']}"
        skopeo.copy(f"docker://{child}", f"oci:{tmp_path / 'out'}", "--all")
    below = tmp_path / "out" / "blobs" / "sha256"
    for each in (*NESTED.blobs, *NESTED.below):
        assert (below / each.digest.removeprefix("sha256:")).read_bytes() == each.content
    containerd.ctr.run("content", "fetch", "--plain-http", "--all-platforms", name)
    assert all(containerd.content(each.digest) == each.content for each in (*NESTED.blobs, *NESTED.manifests))
    copy = f"{serve.registry}/copy/nested:all"
    containerd.ctr.run("images", "tag", name, copy)
    containerd.ctr.push(copy, "--plain-http")
    assert serve.holds("copy/nested", "all", NESTED)


def test_signatures_are_referrers_before_and_after_their_image_is_here(make_yarddesk):
    """As cosign since OCI 1.1 writes and reads them: by `subject`, and by the referrers API with a filter."""
    serve = make_yarddesk(config="upstreams: []\n")
    signature, chart = (
        cosign_referrer(IMAGE.manifest),
        artifact(EMPTY, [], artifactType="application/vnd.example.sbom", subject=IMAGE.manifest.descriptor),
    )
    for blob in (*signature.blobs, *chart.blobs):
        serve.push_blob("team/app", blob)
    for each in (signature, chart):
        status, headers, _ = serve.request(
            "PUT", f"/v2/team/app/manifests/{each.manifest.digest}", each.manifest.content,
            {"Content-Type": each.manifest.media_type},
        )  # fmt: skip
        assert (status, headers["OCI-Subject"]) == (201, IMAGE.manifest.digest)
    path = f"/v2/team/app/referrers/{IMAGE.manifest.digest}"
    for _ in range(2):
        status, headers, body = serve.request("GET", path)
        listed = json.loads(body)
        assert (status, headers["OCI-Filters-Applied"]) == (200, None)
        assert {entry["digest"] for entry in listed["manifests"]} == {signature.manifest.digest, chart.manifest.digest}
        status, headers, body = serve.request("GET", f"{path}?artifactType={SIGSTORE_BUNDLE.replace('+', '%2B')}")
        (entry,) = json.loads(body)["manifests"]
        assert (headers["OCI-Filters-Applied"], entry["artifactType"]) == ("artifactType", SIGSTORE_BUNDLE)
        assert entry["annotations"]["dev.sigstore.bundle.content"] == "dsse-envelope"
        assert (entry["digest"], entry["size"]) == (signature.manifest.digest, len(signature.manifest.content))
        serve.push("team/app", "1", IMAGE)
    assert serve.tags("team/app") == ["1"]


def test_cosign_finds_no_signature_where_none_is(make_yarddesk):
    serve = make_yarddesk(config="upstreams: []\n")
    serve.push("team/app", "1", IMAGE)
    path = f"/v2/team/app/manifests/{cosign_tag(IMAGE.manifest.digest, 'sig')}"
    status, _, body = serve.request("GET", path)
    assert (status, json.loads(body)["errors"][0]["code"]) == (404, "MANIFEST_UNKNOWN")
    status, _, body = serve.request("GET", f"/v2/team/app/referrers/{IMAGE.manifest.digest}")
    assert (status, json.loads(body)["manifests"]) == (200, [])


def test_the_tags_that_clients_fall_back_to_are_tags_as_others(make_yarddesk):
    """The referrers' tag schema of clients that know no referrers API: `sha256-HEX` names an index."""
    serve = make_yarddesk(config="upstreams: []\n")
    signature = cosign_referrer(IMAGE.manifest)
    fallback = index_over([signature], [signature.manifest.descriptor | {"artifactType": SIGSTORE_BUNDLE}])
    tag = IMAGE.manifest.digest.replace(":", "-")
    serve.push("team/app", tag, fallback)
    assert serve.holds("team/app", tag, fallback)


def test_no_blob_that_an_artifact_names_is_deleted(make_yarddesk):
    serve = make_yarddesk(config="upstreams: []\n")
    for name, (content, tag) in ARTIFACTS.items():
        serve.push(in_repository(name), tag, content)
        for blob in content.blobs:
            assert serve.request("DELETE", f"/v2/{in_repository(name)}/blobs/{blob.digest}")[0] == 405, name
        assert serve.holds(in_repository(name), tag, content), name


@pytest.mark.xdist_group("dockerd")
def test_docker_makes_pushes_and_reads_a_manifest_list(make_yarddesk, docker):
    serve = make_yarddesk(config="upstreams: []\n")
    names = []
    for number, image in enumerate(DOCKER_IMAGES):
        serve.push("team/app", str(number), image)
        names.append(f"{serve.registry}/team/app:{number}")
    whole = f"{serve.registry}/team/app:all"
    docker.run("manifest", "create", "--insecure", whole, *names)
    docker.run("manifest", "push", "--insecure", whole)
    pushed = serve.manifest("team/app", "all")
    assert pushed.media_type == "application/vnd.docker.distribution.manifest.list.v2+json"
    listed = json.loads(pushed.content)["manifests"]
    assert [entry["digest"] for entry in listed] == [image.manifest.digest for image in DOCKER_IMAGES]
    assert json.loads(docker.run("manifest", "inspect", "--insecure", whole).stdout)["manifests"] == listed
