"""Manifests pulled, pushed and deleted (OCI distribution specification v1.1, "Pulling manifests", "Pushing manifests")."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest

from tests.support.images import DOCKER_LIST, OCI_INDEX, OCI_MANIFEST, Content, build_image, build_index
from tests.support.lonely_registry import Pushes
from tests.support.waiting import until_async
from tests.unit.registry.pushing import (
    codes,
    digest_of,
    image_manifest,
    manifest_without_blobs,
    push_blob,
    push_image,
    put_manifest,
)
from tests.unit.registry.raw import connect
from yarddesk.content.listener import ManifestPush
from yarddesk.content.store import Store
from yarddesk.content.target import NotFound
from yarddesk.errors import YarddeskError
from yarddesk.oci.name import RepositoryName, Tag
from yarddesk.registry.server import EmbeddedServer

IMAGE = build_image("app")
INDEX = build_index("app")
BARE = manifest_without_blobs()
THING = "application/vnd.example.thing.v3+json"


@pytest.mark.parametrize("image", [IMAGE, INDEX, build_image("d", docker=True), build_index("d", docker=True)])
async def test_an_image_comes_back_byte_for_byte_by_tag_and_by_digest(client: httpx.AsyncClient, image) -> None:
    await push_image(client, "team/app", "v1", image)
    for reference in ("v1", image.manifest.digest):
        answer = await client.get(f"/v2/team/app/manifests/{reference}")
        assert (answer.status_code, answer.content) == (200, image.manifest.content)
        assert answer.headers["content-type"] == image.manifest.media_type
        assert answer.headers["docker-content-digest"] == image.manifest.digest
        assert answer.headers["etag"] == f'"{image.manifest.digest}"'


@pytest.mark.parametrize("reference", ["v1", BARE.digest, "missing", "-bad"])
async def test_head_has_the_headers_of_get_and_no_body(client: httpx.AsyncClient, reference: str) -> None:
    await put_manifest(client, "app", "v1", BARE)
    url = f"/v2/app/manifests/{reference}"
    head, get = await client.head(url), await client.get(url)
    assert head.content == b""
    assert head.status_code == get.status_code
    del head.headers["date"], get.headers["date"]
    assert head.headers == get.headers


async def test_the_answer_to_a_push_says_where_it_is_and_what(client: httpx.AsyncClient) -> None:
    answer = await put_manifest(client, "app", "v1", BARE)
    assert answer.status_code == 201
    assert answer.headers["docker-content-digest"] == BARE.digest
    assert (await client.get(answer.headers["location"])).content == BARE.content


async def test_a_manifest_that_is_not_here_is_404(client: httpx.AsyncClient) -> None:
    for url in ("/v2/app/manifests/v1", f"/v2/app/manifests/{BARE.digest}"):
        answer = await client.get(url)
        assert (answer.status_code, codes(answer)) == (404, ["MANIFEST_UNKNOWN"])


async def test_a_manifest_of_one_repository_is_not_in_another(client: httpx.AsyncClient) -> None:
    await put_manifest(client, "app", "v1", BARE)
    assert (await client.get(f"/v2/other/manifests/{BARE.digest}")).status_code == 404


async def test_a_blob_is_no_manifest(client: httpx.AsyncClient) -> None:
    digest = await push_blob(client, "app", BARE.content)
    assert (await client.get(f"/v2/app/manifests/{digest}")).status_code == 404


async def test_a_tag_moves_to_what_was_pushed_last_and_the_old_stays_by_digest(client: httpx.AsyncClient) -> None:
    newer = manifest_without_blobs(annotations={"newer": "yes"})
    for manifest in (BARE, newer):
        await put_manifest(client, "app", "v1", manifest)
    assert (await client.get("/v2/app/manifests/v1")).content == newer.content
    assert (await client.get(f"/v2/app/manifests/{BARE.digest}")).content == BARE.content


async def test_blobs_that_are_missing_are_each_named(client: httpx.AsyncClient) -> None:
    await push_blob(client, "app", IMAGE.config.content)
    answer = await put_manifest(client, "app", "v1", IMAGE.manifest)
    assert answer.status_code == 400
    assert set(codes(answer)) == {"MANIFEST_BLOB_UNKNOWN"}
    named = [entry["detail"]["digest"] for entry in answer.json()["errors"]]
    assert named == [layer.digest for layer in IMAGE.layers]
    assert (await client.get("/v2/app/manifests/v1")).status_code == 404


async def test_layers_that_may_not_be_distributed_may_be_missing(client: httpx.AsyncClient) -> None:
    await push_blob(client, "app", b"{}")
    document = json.loads(image_manifest(b"{}", [b"windows"]).content)
    for kind in (
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    ):
        document["layers"][0]["mediaType"] = kind
        manifest = Content(OCI_MANIFEST, json.dumps(document).encode())
        assert (await put_manifest(client, "app", "v1", manifest)).status_code == 201


async def test_a_size_that_is_not_the_blobs_is_refused(client: httpx.AsyncClient) -> None:
    await push_blob(client, "app", b"{}")
    document = json.loads(image_manifest(b"{}", []).content)
    document["config"]["size"] = 3
    answer = await put_manifest(client, "app", "v1", Content(OCI_MANIFEST, json.dumps(document).encode()))
    assert (answer.status_code, codes(answer)) == (400, ["MANIFEST_INVALID"])


@pytest.mark.parametrize("index", [INDEX, build_index("d", docker=True)])
async def test_an_index_may_name_manifests_that_are_not_here(client: httpx.AsyncClient, index) -> None:
    assert (await put_manifest(client, "app", "v1", index.manifest)).status_code == 201


async def test_a_subject_may_be_missing_and_is_answered_for(client: httpx.AsyncClient) -> None:
    subject = {"mediaType": OCI_MANIFEST, "digest": digest_of(b"not here"), "size": 8}
    answer = await put_manifest(client, "app", "v1", manifest_without_blobs(subject=subject))
    assert (answer.status_code, answer.headers["oci-subject"]) == (201, subject["digest"])


async def test_without_a_subject_there_is_no_oci_subject(client: httpx.AsyncClient) -> None:
    assert "oci-subject" not in (await put_manifest(client, "app", "v1", BARE)).headers


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
async def test_a_push_by_digest_must_be_that_content(client: httpx.AsyncClient, algorithm: str) -> None:
    digest = digest_of(BARE.content, algorithm)
    answer = await put_manifest(client, "app", digest, BARE)
    assert (answer.status_code, answer.headers["docker-content-digest"]) == (201, digest)
    assert (await client.get(f"/v2/app/manifests/{digest}")).content == BARE.content
    answer = await put_manifest(client, "app", digest_of(b"other", algorithm), BARE)
    assert (answer.status_code, codes(answer)) == (400, ["DIGEST_INVALID"])


async def test_a_push_by_digest_may_name_tags(client: httpx.AsyncClient, pushes: Pushes) -> None:
    tags = [f"v{number}" for number in range(12)]
    answer = await put_manifest(client, "app", BARE.digest, BARE, params={"tag": tags})
    assert (answer.status_code, answer.headers["oci-tag"]) == (201, ", ".join(tags))
    for tag in tags:
        assert (await client.get(f"/v2/app/manifests/{tag}")).content == BARE.content
    assert pushes.heard == [("pushed", "app", BARE.digest, tuple(tags))]


async def test_one_tag_that_is_none_refuses_the_whole_push(client: httpx.AsyncClient, pushes: Pushes) -> None:
    answer = await put_manifest(client, "app", BARE.digest, BARE, params={"tag": ["ok", "-bad"]})
    assert (answer.status_code, codes(answer)) == (400, ["TAG_INVALID"])
    assert pushes.heard == []
    assert (await client.get(f"/v2/app/manifests/{BARE.digest}")).status_code == 404


@pytest.mark.parametrize("content_type", ["", OCI_INDEX, OCI_INDEX + "; charset=utf-8", OCI_INDEX.upper()])
async def test_the_content_type_may_be_left_out_and_have_parameters(
    client: httpx.AsyncClient, content_type: str
) -> None:
    await put_manifest(client, "app", "v1", BARE, headers={"Content-Type": content_type})
    assert (await client.get("/v2/app/manifests/v1")).headers["content-type"] == OCI_INDEX


@pytest.mark.parametrize(
    "says_so", [{"schemaVersion": 2, "mediaType": THING}, {"schemaVersion": 3}, {"mediaType": THING}], ids=str
)
async def test_media_types_that_nobody_knows_are_kept(client: httpx.AsyncClient, says_so: dict[str, object]) -> None:
    content = Content(THING, json.dumps({**says_so, "anything": [1]}).encode())
    assert (await put_manifest(client, "app", "v1", content)).status_code == 201
    answer = await client.get("/v2/app/manifests/v1")
    assert (answer.content, answer.headers["content-type"]) == (content.content, THING)


@pytest.mark.parametrize(
    ("content_type", "content"),
    [
        ("text/html", b'{"schemaVersion": 2}'),
        ("application/xhtml+xml", b'{"schemaVersion": 2}'),
        (OCI_MANIFEST, BARE.content),
        (OCI_INDEX, b""),
        (OCI_INDEX, b"{"),
        (OCI_INDEX, b"[]"),
        (OCI_INDEX, b'{"schemaVersion": 2, "manifests": [], "layers": []}'),
        (OCI_INDEX, b'{"schemaVersion": 2, "manifests": [], "manifests": []}'),
        (OCI_INDEX, b'{"schemaVersion": 2, "manifests": {}}'),
        (
            OCI_INDEX,
            b'{"schemaVersion": 2, "manifests": [{"digest": "sha256:../../x", "size": 1, "mediaType": "a/b"}]}',
        ),
        (
            OCI_INDEX,
            b'{"schemaVersion": 2, "manifests": [{"digest": "'
            + BARE.digest.encode()
            + b'", "size": -1, "mediaType": "a/b"}]}',
        ),
        (OCI_INDEX, b'{"schemaVersion": 2, "manifests": [NaN]}'),
        (OCI_INDEX, b'{"schemaVersion": 2, "manifests": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
        (DOCKER_LIST, b'{"schemaVersion": 1, "manifests": []}'),
        (OCI_INDEX, b'{"manifests": []}'),
        ("application/json", b"{}"),
        ("application/json", b'{"schemaVersion": 2, "manifests": []}'),
        (THING, b"{}"),
        ("", b'{"schemaVersion": 2, "mediaType": "a/b\\r\\nX: y"}'),
        ("", b'{"schemaVersion": 2, "mediaType": "a/\\ud800"}'),
        ("", b'{"schemaVersion": 2, "mediaType": "a/\\u0000"}'),
        ("", b'{"schemaVersion": 2, "mediaType": "no slash"}'),
        ("a/" + "b" * 200, b'{"schemaVersion": 2}'),
    ],
)
async def test_what_is_no_manifest_is_refused(
    client: httpx.AsyncClient, pushes: Pushes, content_type: str, content: bytes
) -> None:
    answer = await put_manifest(client, "app", "v1", Content(content_type, content))
    assert (answer.status_code, codes(answer)) == (400, ["MANIFEST_INVALID"])
    assert pushes.heard == []


@pytest.mark.parametrize("chunked", [True, False])
async def test_a_manifest_of_more_than_four_mebibytes_is_413(client: httpx.AsyncClient, chunked: bool) -> None:
    large = b'{"manifests": [], "pad": "' + b"x" * (4 << 20) + b'"}'

    async def pieces():
        for begin in range(0, len(large), 50_000):
            yield large[begin : begin + 50_000]

    answer = await client.put("/v2/app/manifests/v1", content=pieces() if chunked else large)
    assert (answer.status_code, codes(answer)) == (413, ["SIZE_INVALID"])
    assert (await client.get("/v2/")).status_code == 200


async def test_a_manifest_of_four_mebibytes_is_taken(client: httpx.AsyncClient) -> None:
    frame = b'{"schemaVersion": 2, "manifests": [], "pad": "%b"}'
    content = frame % (b"x" * ((4 << 20) - len(frame) + 2))
    assert len(content) == 4 << 20
    answer = await put_manifest(client, "app", "v1", Content(OCI_INDEX, content))
    assert answer.status_code == 201
    assert (await client.get("/v2/app/manifests/v1")).content == content


async def test_many_large_manifests_at_once_do_not_fill_the_memory(
    client: httpx.AsyncClient, server: EmbeddedServer
) -> None:
    """Those that there is no room for are told to come again, and a small one finds its place afterwards."""
    head = f"PUT /v2/app/manifests/v1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: {4 << 20}\r\n\r\n".encode()
    connections = [await connect(server) for _ in range(12)]
    try:
        sends = (connection.send(head + bytes(3 << 20)) for connection in connections)
        await asyncio.gather(*sends, return_exceptions=True)  # one that is refused may be closed before its end
        answers = [asyncio.create_task(connection.answer(30)) for connection in connections]
        done, _ = await asyncio.wait(answers, timeout=30, return_when=asyncio.FIRST_COMPLETED)
        for answered in done:
            status, headers, body = answered.result()
            assert (status, headers["retry-after"]) == (503, "5")
            assert json.loads(body)["errors"][0]["code"] == "UNAVAILABLE"
        assert done
        for answer in answers:
            answer.cancel()
        await asyncio.gather(*answers, return_exceptions=True)
    finally:
        for connection in connections:
            await connection.close()

    async def taken() -> bool:
        return (await put_manifest(client, "app", "v1", BARE)).status_code == 201

    await until_async(taken)


async def test_large_manifests_that_never_end_turn_no_usual_one_away(
    client: httpx.AsyncClient, server: EmbeddedServer
) -> None:
    head = f"PUT /v2/app/manifests/v1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: {4 << 20}\r\n\r\n".encode()
    connections = [await connect(server) for _ in range(8)]
    try:
        await asyncio.gather(*(connection.send(head + bytes((4 << 20) - 64)) for connection in connections))
        usual = Content(BARE.media_type, BARE.content.ljust(2000))
        for _ in range(100):
            assert (await put_manifest(client, "app", "v1", usual)).status_code == 201
    finally:
        for connection in connections:
            await connection.close()


@pytest.mark.parametrize("tag", ["-bad", ".bad", "x" * 129, "a+b", "ümlaut"])
async def test_what_is_no_tag_is_refused(client: httpx.AsyncClient, tag: str) -> None:
    answer = await put_manifest(client, "app", tag, BARE)
    assert answer.status_code == 400
    assert codes(answer) == (["NAME_INVALID"] if tag == "ümlaut" else ["TAG_INVALID"])
    answer = await client.get(f"/v2/app/manifests/{tag}")
    assert answer.status_code in (404, 400)


@pytest.mark.parametrize("name", ["UPPER", "a//b", "-a", "a-", "a/", "_catalog/x", "a" * 256, "a..b"])
async def test_what_is_no_repository_name_is_refused(client: httpx.AsyncClient, name: str) -> None:
    url = client.base_url.copy_with(raw_path=f"/v2/{name}/manifests/v1".encode())
    for answer in (await client.get(url), await client.put(url, content=BARE.content)):
        assert (answer.status_code, codes(answer)) == (400, ["NAME_INVALID"])


async def test_what_the_client_has_is_not_sent_again(client: httpx.AsyncClient) -> None:
    await put_manifest(client, "app", "v1", BARE)
    for method in ("GET", "HEAD"):
        for condition in (f'"{BARE.digest}"', "*"):
            answer = await client.request(method, "/v2/app/manifests/v1", headers={"If-None-Match": condition})
            assert (answer.status_code, answer.content) == (304, b"")
        answer = await client.request(method, "/v2/app/manifests/v1", headers={"If-None-Match": '"x"'})
        assert answer.status_code == 200


async def test_a_conditional_push_does_not_overwrite_what_it_did_not_see(client: httpx.AsyncClient) -> None:
    newer = manifest_without_blobs(annotations={"newer": "yes"})
    first = {"If-None-Match": "*"}
    assert (await put_manifest(client, "app", "v1", BARE, headers=first)).status_code == 201
    assert (await put_manifest(client, "app", "v1", newer, headers=first)).status_code == 412
    seen = {"If-Match": f'"{BARE.digest}"'}
    assert (await put_manifest(client, "app", "v1", newer, headers=seen)).status_code == 201
    assert (await put_manifest(client, "app", "v1", BARE, headers=seen)).status_code == 412
    assert (await client.get("/v2/app/manifests/v1")).content == newer.content


async def test_a_deleted_tag_is_gone_and_the_manifest_stays(client: httpx.AsyncClient, pushes: Pushes) -> None:
    await put_manifest(client, "app", "v1", BARE)
    assert (await client.delete("/v2/app/manifests/v1")).status_code == 202
    assert (await client.get("/v2/app/manifests/v1")).status_code == 404
    assert (await client.get(f"/v2/app/manifests/{BARE.digest}")).status_code == 200
    assert pushes.heard[1:] == [("tag deleted", "app", "v1")]


async def test_a_deleted_manifest_takes_its_tags_along(client: httpx.AsyncClient, pushes: Pushes) -> None:
    await put_manifest(client, "app", BARE.digest, BARE, params={"tag": ["v1", "v2"]})
    assert (await client.delete(f"/v2/app/manifests/{BARE.digest}")).status_code == 202
    for reference in ("v1", "v2", BARE.digest):
        assert (await client.get(f"/v2/app/manifests/{reference}")).status_code == 404
    assert pushes.heard[1:] == [("manifest deleted", "app", BARE.digest, ("v1", "v2"))]


@pytest.mark.parametrize("reference", ["v1", BARE.digest])
async def test_deleting_what_is_not_there_is_404(client: httpx.AsyncClient, reference: str) -> None:
    answer = await client.delete(f"/v2/app/manifests/{reference}")
    assert (answer.status_code, codes(answer)) == (404, ["MANIFEST_UNKNOWN"])


async def test_the_tag_moves_only_after_the_listener_has_written_it_down(
    client: httpx.AsyncClient, store: Store, pushes: Pushes, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []

    async def look(push: ManifestPush) -> None:
        stored = await store.get_manifest(push.repository, push.manifest.digest)
        try:
            await store.resolve(push.repository, push.tags[0])
            seen.append(True)
        except NotFound:
            seen.append(stored.content != BARE.content)

    monkeypatch.setattr(pushes, "manifest_pushed", look)
    assert (await put_manifest(client, "app", "v1", BARE)).status_code == 201
    assert seen == [False]


async def test_a_push_that_cannot_be_queued_is_refused_and_moves_no_tag(
    client: httpx.AsyncClient, pushes: Pushes, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(push: ManifestPush) -> None:
        raise YarddeskError("The journal can't be written.")

    monkeypatch.setattr(pushes, "manifest_pushed", fail)
    answer = await put_manifest(client, "app", "v1", BARE)
    assert (answer.status_code, answer.json()["errors"][0]["message"]) == (500, "The journal can't be written.")
    assert (await client.get("/v2/app/manifests/v1")).status_code == 404


async def test_pushes_of_one_tag_come_one_after_the_other(
    client: httpx.AsyncClient, store: Store, pushes: Pushes, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = 0
    most = 0
    heard: list[str] = []

    async def slowly(push: ManifestPush) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(20):
            await asyncio.sleep(0)
        running -= 1
        heard.append(push.manifest.digest)

    monkeypatch.setattr(pushes, "manifest_pushed", slowly)
    manifests = [manifest_without_blobs(annotations={"number": str(number)}) for number in range(10)]
    answers = await asyncio.gather(*(put_manifest(client, "app", "v1", manifest) for manifest in manifests))
    assert [answer.status_code for answer in answers] == [201] * 10
    assert most == 1
    assert (await store.resolve(RepositoryName.parse("app"), Tag.parse("v1"))).digest == heard[-1]
