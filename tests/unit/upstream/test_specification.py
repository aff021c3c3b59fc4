"""What the specification asks of clients, where yarddesk is one: referrers without the API, headers, warnings."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from tests.support.scripted import Asked, Reply, scripted
from tests.support.upstreams import blob, manifest, opened_upstream, source_of
from yarddesk.content.upstream import UpstreamTrouble, UpstreamUntrue
from yarddesk.oci.descriptor import Descriptor
from yarddesk.oci.digest import Digest
from yarddesk.oci.manifest import parse_manifest
from yarddesk.oci.media_types import ACCEPT_MANIFESTS, OCI_INDEX, OCI_MANIFEST
from yarddesk.oci.name import Tag, referrers_tag

SUBJECT = Digest.of(b"the subject")
TAG = referrers_tag(SUBJECT)
LIST_URL = f"/v2/team/app/manifests/{TAG}"
CONFIG = {"mediaType": "application/vnd.example.config.v1+json", "digest": Digest.of(b"{}"), "size": 2}


def referrer(**more: Any) -> bytes:
    """An image manifest whose subject it is."""
    subject = {"mediaType": OCI_MANIFEST, "digest": SUBJECT, "size": 11}
    document = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": CONFIG, "layers": [], "subject": subject}
    return json.dumps(document | more).encode()


class OldRegistry:
    """A registry that knows no referrers: what is put there can be read again, with an entity tag, if it has them."""

    def __init__(self, *, etags: bool = True) -> None:
        self.etags = etags
        self.kept: dict[str, tuple[str, bytes]] = {}
        self.interfere: list[bytes] = []

    def __call__(self, asked: Asked) -> Reply:
        kept = self.kept.get(asked.path)
        if asked.method == "GET":
            return Reply(404) if kept is None else Reply(200, {"Content-Type": kept[0], **self._etag(kept[1])}, kept[1])
        if self.interfere and asked.path == LIST_URL:
            kept = self.kept[LIST_URL] = (OCI_INDEX, self.interfere.pop())
        wanted, unwanted = asked.headers.get("if-match"), asked.headers.get("if-none-match")
        current = f'"{Digest.of(kept[1])}"' if kept else None
        if self.etags and ((wanted is not None and wanted != current) or (unwanted == "*" and kept)):
            return Reply(412)
        self.kept[asked.path] = (asked.headers["content-type"], asked.body)
        return Reply(201)

    @property
    def entries(self) -> list[dict[str, Any]]:
        return list(json.loads(self.kept[LIST_URL][1])["manifests"])

    def _etag(self, content: bytes) -> dict[str, str]:
        return {"ETag": f'"{Digest.of(content)}"'} if self.etags else {}


def index_of(*entries: dict[str, Any]) -> bytes:
    return json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(entries), "kept": True}).encode()


OTHER = {"mediaType": OCI_MANIFEST, "digest": Digest.of(b"other"), "size": 5, "artifactType": "application/other"}


@pytest.mark.parametrize("etags", [True, False])
async def test_a_referrer_is_listed_under_the_tag_where_the_registry_does_not_list_it(etags: bool) -> None:
    registry = OldRegistry(etags=etags)
    typed = referrer(artifactType="application/vnd.example.sbom", annotations={"org.example.key": "value"})
    untyped = referrer()
    async with scripted(registry) as server, opened_upstream(server.host) as repository:
        for content in (typed, untyped, typed):
            await repository.push(manifest(content), source_of(content))
    assert registry.kept[LIST_URL][0] == OCI_INDEX
    assert registry.entries == [
        {
            "mediaType": OCI_MANIFEST,
            "digest": Digest.of(typed),
            "size": len(typed),
            "artifactType": "application/vnd.example.sbom",
            "annotations": {"org.example.key": "value"},
        },
        {
            "mediaType": OCI_MANIFEST,
            "digest": Digest.of(untyped),
            "size": len(untyped),
            "artifactType": CONFIG["mediaType"],
        },
    ]
    assert parse_manifest(registry.kept[LIST_URL][1]).media_type == OCI_INDEX


async def test_what_others_listed_stays() -> None:
    registry = OldRegistry()
    registry.kept[LIST_URL] = (OCI_INDEX, index_of(OTHER))
    content = referrer()
    async with scripted(registry) as server, opened_upstream(server.host) as repository:
        await repository.push(manifest(content), source_of(content))
    assert [entry["digest"] for entry in registry.entries] == [OTHER["digest"], Digest.of(content)]
    assert json.loads(registry.kept[LIST_URL][1])["kept"]


async def test_a_list_that_changed_since_it_was_read_is_read_again() -> None:
    registry = OldRegistry()
    registry.interfere = [index_of(OTHER)]
    content = referrer()
    async with scripted(registry) as server, opened_upstream(server.host) as repository:
        await repository.push(manifest(content), source_of(content))
    assert [entry["digest"] for entry in registry.entries] == [OTHER["digest"], Digest.of(content)]


async def test_a_list_that_never_stays_is_tried_again_later() -> None:
    registry = OldRegistry()
    registry.interfere = [index_of({**OTHER, "digest": Digest.of(str(n).encode())}) for n in range(9)]
    content = referrer()
    async with scripted(registry) as server, opened_upstream(server.host) as repository:
        with pytest.raises(UpstreamTrouble) as caught:
            await repository.push(manifest(content), source_of(content))
    assert caught.value.temporary


async def test_something_else_under_that_tag_is_left_alone_and_told(caplog: pytest.LogCaptureFixture) -> None:
    registry = OldRegistry()
    registry.kept[LIST_URL] = (OCI_MANIFEST, referrer(of="another kind"))
    content = referrer()
    async with scripted(registry) as server, opened_upstream(server.host) as repository:
        await repository.push(manifest(content), source_of(content))
    assert registry.kept[LIST_URL] == (OCI_MANIFEST, referrer(of="another kind"))
    assert str(TAG) in caplog.text


async def test_a_registry_that_takes_the_subject_needs_no_tag() -> None:
    script = lambda _: Reply(201, {"OCI-Subject": SUBJECT})  # noqa: E731
    content = referrer()
    async with scripted(script) as server, opened_upstream(server.host) as repository:
        await repository.push(manifest(content), source_of(content))
        assert [asked.method for asked in server.asked] == ["PUT"]


async def test_an_image_under_the_tag_is_no_list_of_referrers() -> None:
    def script(asked: Asked) -> Reply:
        if asked.path == LIST_URL:
            return Reply(200, {"Content-Type": OCI_MANIFEST}, referrer())
        return Reply(404)

    async with scripted(script) as server, opened_upstream(server.host) as repository:
        assert list(await repository.referrers(SUBJECT)) == []


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
async def test_the_tag_of_a_digest_is_cut_to_what_a_tag_may_hold(algorithm: str) -> None:
    digest = Digest.of(b"x", algorithm)
    assert referrers_tag(digest) == f"{algorithm}-{digest.hex[:64]}"
    async with scripted(lambda _: Reply(404)) as server, opened_upstream(server.host) as repository:
        await repository.referrers(digest)
        assert server.asked[-1].path == f"/v2/team/app/manifests/{algorithm}-{digest.hex[:64]}"


async def test_manifests_are_asked_for_with_their_types_and_without_a_namespace() -> None:
    content = referrer()
    found = Reply(200, {"Content-Type": f"{OCI_MANIFEST}; charset=utf-8"}, content)
    async with scripted(lambda _: found) as server, opened_upstream(server.host) as repository:
        fetched = await repository.fetch_manifest(Tag.parse("latest"))
        assert (fetched.content, fetched.media_type) == (content, OCI_MANIFEST)
        (asked,) = server.asked
        assert (asked.headers["accept"], asked.path) == (ACCEPT_MANIFESTS, "/v2/team/app/manifests/latest")


async def test_a_manifest_that_says_it_is_another_type_than_its_header_is_refused() -> None:
    found = Reply(200, {"Content-Type": OCI_INDEX}, referrer())
    async with scripted(lambda _: found) as server, opened_upstream(server.host) as repository:
        with pytest.raises(UpstreamUntrue):
            await repository.fetch_manifest(Tag.parse("latest"))


@pytest.mark.parametrize(("algorithm", "query"), [("sha256", ""), ("sha512", "?digest-algorithm=sha512")])
async def test_a_session_is_begun_without_a_body_and_with_the_digests_algorithm(algorithm: str, query: str) -> None:
    def script(asked: Asked) -> Reply:
        return Reply(202, {"Location": "/up/1?state=x"}) if asked.method == "POST" else Reply(201)

    descriptor = blob(b"content")
    if algorithm == "sha512":
        digest = Digest.of(b"content", algorithm)
        descriptor = Descriptor(descriptor.media_type, digest, descriptor.size, manifest=False)
    async with scripted(script) as server, opened_upstream(server.host) as repository:
        await repository.push(descriptor, source_of(b"content"))
        begun, ended = server.asked
    assert (begun.path, begun.headers["content-length"]) == (f"/v2/team/app/blobs/uploads/{query}", "0")
    assert ended.path.startswith(f"/up/1?state=x&digest={algorithm}")
    assert (ended.headers["content-type"], ended.headers["content-length"]) == ("application/octet-stream", "7")


async def test_warnings_are_told_once_and_change_nothing(caplog: pytest.LogCaptureFixture) -> None:
    warning = '299 - "This image is \\"old\\".", 299 - "Sign in again?token=canary-1234", 110 - "Response is Stale"'
    content = referrer()
    found = Reply(200, {"Content-Type": OCI_MANIFEST, "Warning": warning}, content)
    async with scripted(lambda _: found) as server, opened_upstream(server.host) as repository:
        with caplog.at_level(logging.WARNING):
            for _ in range(3):
                assert (await repository.fetch_manifest(Tag.parse("latest"))).content == content
    told = [record.getMessage() for record in caplog.records if "says" in record.getMessage()]
    assert len(told) == 2
    assert told[0].endswith('This image is "old".')
    assert "canary" not in caplog.text
