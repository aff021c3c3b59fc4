"""What the registry makes of upstreams: which failure is which status, what is stale, what is cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
import pytest

from tests.support.lonely_registry import NoUpstreams, Pushes
from tests.unit.registry.pushing import codes, digest_of, manifest_without_blobs, push_blob, put_manifest
from yarddesk.content.errors import StorageError, StorageFull
from yarddesk.content.pull_through import BlobContent, FetchedManifest, ReferrerList, ResolvedManifest, TagPage
from yarddesk.content.target import DigestMismatch, NotFound
from yarddesk.content.upstream import (
    UpstreamAway,
    UpstreamBroken,
    UpstreamDenied,
    UpstreamNotAsked,
    UpstreamRefused,
    UpstreamStalled,
    UpstreamTimeout,
    UpstreamTrouble,
    UpstreamUntrue,
    UpstreamUntrusted,
)
from yarddesk.errors import YarddeskError
from yarddesk.oci.digest import Digest
from yarddesk.oci.manifest import parse_manifest
from yarddesk.oci.name import Reference, RepositoryName, Tag
from yarddesk.registry.app import RegistryApp
from yarddesk.registry.guard import Guard
from yarddesk.registry.server import EmbeddedServer
from yarddesk.storage.memory import MemoryStore

BARE = manifest_without_blobs()
MANIFEST = parse_manifest(BARE.content, BARE.media_type)
CONTENT = b"0123456789" * 10_000
DIGEST = digest_of(CONTENT)
STALE = '110 - "Response is Stale"'


@dataclass
class OneUpstream(NoUpstreams):
    """Answers with one manifest and one blob, or fails with `failure`."""

    store: MemoryStore = field(default_factory=MemoryStore)
    failure: YarddeskError | None = None
    fresh: bool = False
    stale: bool = False
    blob_pieces: Sequence[bytes] = (CONTENT[:4000], CONTENT[4000:])
    blob_failure: YarddeskError | None = None
    blob_size_said: int | None = None
    asked: list[tuple[object, ...]] = field(default_factory=list)
    closed: int = 0
    filling: set[str] = field(default_factory=set)
    in_use: list[Digest] = field(default_factory=list)

    def _note(self, *what: object) -> None:
        self.asked.append(what)
        if self.failure is not None:
            raise self.failure

    def is_fresh(self, repository: RepositoryName, tag: Tag) -> bool:
        return self.fresh

    def used(self, repository: RepositoryName, digest: Digest) -> None:
        self.in_use.append(digest)

    async def resolve_manifest(
        self, repository: RepositoryName, reference: Reference, *, quick: bool
    ) -> ResolvedManifest | None:
        self._note("resolve", reference, quick)
        return ResolvedManifest(MANIFEST.descriptor, self.stale)

    async def fetch_manifest(self, repository: RepositoryName, reference: Reference) -> FetchedManifest | None:
        self._note("fetch", reference)
        return FetchedManifest(MANIFEST, self.stale)

    async def blob_size(self, repository: RepositoryName, digest: Digest) -> int | None:
        self._note("size", digest)
        return len(CONTENT)

    def is_filling(self, digest: Digest) -> bool:
        return digest in self.filling

    @asynccontextmanager
    async def open_blob(self, repository: RepositoryName, digest: Digest) -> AsyncIterator[BlobContent]:
        self._note("open", digest)
        try:
            yield BlobContent(len(CONTENT) if self.blob_size_said is None else self.blob_size_said, self._read)
        finally:
            self.closed += 1

    async def _read(self, start: int, end: int) -> AsyncGenerator[bytes, None]:
        for piece in self.blob_pieces:
            wanted = piece[max(0, start) : max(0, end)]
            start, end = start - len(piece), end - len(piece)
            if wanted:
                yield wanted
        if self.blob_failure is not None:
            raise self.blob_failure

    async def tags(self, repository: RepositoryName, *, last: str = "", limit: int | None = None) -> TagPage | None:
        self._note("tags")
        return TagPage([Tag.parse("theirs")], self.stale)

    async def referrers(self, repository: RepositoryName, digest: Digest, artifact_type: str = "") -> ReferrerList:
        self._note("referrers")
        return ReferrerList([MANIFEST.descriptor], self.stale)


@pytest.fixture
def upstream() -> OneUpstream:
    return OneUpstream()


@pytest.fixture
async def client(upstream: OneUpstream) -> AsyncIterator[httpx.AsyncClient]:
    app = Guard(RegistryApp(upstream.store, upstream, Pushes()))
    async with (
        EmbeddedServer(app, port=0) as server,
        httpx.AsyncClient(base_url=server.address, trust_env=False, verify=False, timeout=20) as http,
    ):
        yield http


FAILURES = [
    (NotFound("There is none."), 404, "MANIFEST_UNKNOWN"),
    (UpstreamDenied("hub", "hub refuses you.", status=401), 403, "DENIED"),
    (UpstreamTrouble("hub", "hub is busy.", status=429, retry_after_seconds=2.2), 429, "TOOMANYREQUESTS"),
    (UpstreamTrouble("hub", "hub is broken.", status=500), 502, "UNKNOWN"),
    (UpstreamAway("hub", "hub is away."), 502, "UNAVAILABLE"),
    (UpstreamTimeout("hub", "hub is slow."), 504, "UNAVAILABLE"),
    (UpstreamBroken("hub", "hub hung up."), 502, "UNAVAILABLE"),
    (UpstreamStalled("hub", "hub says nothing."), 504, "UNAVAILABLE"),
    (UpstreamUntrusted("hub", "hub shows a certificate of its own."), 502, "UNAVAILABLE"),
    (UpstreamNotAsked("hub", "hub is away since noon.", retry_after_seconds=9), 503, "UNAVAILABLE"),
    (UpstreamUntrue("hub", "hub sends a login page."), 502, "UNKNOWN"),
    (UpstreamRefused("hub", "hub finds it wrong.", status=400), 502, "UNKNOWN"),
    (StorageFull("The disk is full."), 507, "UNAVAILABLE"),
    (StorageError("The disk is broken."), 500, "UNKNOWN"),
    (StorageError("Too many files are open.", temporary=True), 503, "UNKNOWN"),
]


@pytest.mark.parametrize(("failure", "status", "code"), FAILURES)
@pytest.mark.parametrize("path", ["manifests/v1", f"manifests/{BARE.digest}", f"blobs/{DIGEST}"])
async def test_each_failure_has_its_status_and_says_what_was_said(
    client: httpx.AsyncClient, upstream: OneUpstream, failure: YarddeskError, status: int, code: str, path: str
) -> None:
    upstream.failure = failure
    answer = await client.get(f"/v2/app/{path}")
    assert answer.status_code == status
    assert codes(answer) == [code.replace("MANIFEST", "BLOB") if "blobs" in path else code]
    assert failure.title in answer.json()["errors"][0]["message"]
    head = await client.head(f"/v2/app/{path}")
    assert (head.status_code, head.content) == (status, b"")


@pytest.mark.parametrize(
    ("name", "said", "told"),
    [
        ("ca", "The certificates can't be used.", "ca: The certificates can't be used."),
        ("hub", "github.example:443 is away.", "hub: github.example:443 is away."),
        ("hub", "hub.example is away.", "hub: hub.example is away."),
        ("hub", "There is no hub.", "There is no hub."),
        ("r.example:5000", "r.example:5000 is away.", "r.example:5000 is away."),
    ],
)
async def test_the_upstream_is_named_also_where_its_name_is_a_part_of_another_word(
    client: httpx.AsyncClient, upstream: OneUpstream, name: str, said: str, told: str
) -> None:
    upstream.failure = UpstreamAway(name, said)
    assert (await client.get("/v2/app/manifests/v1")).json()["errors"][0]["message"] == told


async def test_the_time_to_wait_is_passed_on_rounded_up(client: httpx.AsyncClient, upstream: OneUpstream) -> None:
    upstream.failure = UpstreamTrouble("hub", "busy", status=429, retry_after_seconds=2.2)
    assert (await client.get("/v2/app/manifests/v1")).headers["retry-after"] == "3"


async def test_an_upstream_that_is_not_asked_is_503_and_says_when_it_may_be(
    client: httpx.AsyncClient, upstream: OneUpstream
) -> None:
    upstream.failure = UpstreamNotAsked("hub", "hub is away.", retry_after_seconds=3.5)
    answer = await client.get("/v2/app/manifests/v1")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "4")


async def test_a_429_says_when_to_come_again_also_where_the_upstream_did_not(
    client: httpx.AsyncClient, upstream: OneUpstream
) -> None:
    upstream.failure = UpstreamTrouble("hub", "busy", status=429)
    answer = await client.get("/v2/app/manifests/v1")
    assert (answer.status_code, int(answer.headers["retry-after"])) == (429, 60)


async def test_a_blob_that_is_coming_in_is_not_deleted(client: httpx.AsyncClient, upstream: OneUpstream) -> None:
    await push_blob(client, "app", CONTENT)
    upstream.filling = {DIGEST}
    answer = await client.delete(f"/v2/app/blobs/{DIGEST}")
    assert (answer.status_code, codes(answer)) == (405, ["UNSUPPORTED"])
    assert "coming in" in answer.json()["errors"][0]["message"]
    upstream.filling = set()
    assert (await client.delete(f"/v2/app/blobs/{DIGEST}")).status_code == 202


async def test_a_message_names_the_upstream(client: httpx.AsyncClient, upstream: OneUpstream) -> None:
    upstream.failure = UpstreamAway("hub", "No answer.")
    assert (await client.get("/v2/app/manifests/v1")).json()["errors"][0]["message"] == "hub: No answer."


async def test_a_manifest_that_is_not_here_comes_from_the_upstream(
    client: httpx.AsyncClient, upstream: OneUpstream
) -> None:
    answer = await client.get("/v2/app/manifests/v1")
    assert (answer.content, answer.headers["docker-content-digest"]) == (BARE.content, BARE.digest)
    assert "warning" not in answer.headers
    head = await client.head("/v2/app/manifests/v1")
    assert head.headers["content-length"] == str(len(BARE.content))
    assert upstream.asked == [("fetch", "v1"), ("resolve", "v1", True)]


async def test_a_tag_that_is_here_and_fresh_is_nobody_elses_business(
    client: httpx.AsyncClient, upstream: OneUpstream
) -> None:
    await put_manifest(client, "app", "v1", BARE)
    upstream.fresh = True
    for method in ("GET", "HEAD"):
        assert (await client.request(method, "/v2/app/manifests/v1")).status_code == 200
    upstream.fresh = False
    for method in ("GET", "HEAD"):
        assert (await client.request(method, f"/v2/app/manifests/{BARE.digest}")).status_code == 200
    assert upstream.asked == []


async def test_each_answer_from_the_store_counts_as_a_use_of_the_manifest(
    client: httpx.AsyncClient, upstream: OneUpstream
) -> None:
    await put_manifest(client, "app", "v1", BARE)
    upstream.fresh = True
    for method in ("HEAD", "GET"):
        for reference in ("v1", BARE.digest):
            upstream.in_use.clear()
            assert (await client.request(method, f"/v2/app/manifests/{reference}")).status_code == 200
            assert upstream.in_use == [MANIFEST.digest]


async def test_a_tag_that_is_here_and_not_fresh_is_asked_for(client: httpx.AsyncClient, upstream: OneUpstream) -> None:
    await put_manifest(client, "app", "v1", BARE)
    for method in ("GET", "HEAD"):
        assert (await client.request(method, "/v2/app/manifests/v1")).status_code == 200
    assert [entry[0] for entry in upstream.asked] == ["fetch", "resolve"]


async def test_what_is_stale_says_so(client: httpx.AsyncClient, upstream: OneUpstream) -> None:
    upstream.stale = True
    for method in ("GET", "HEAD"):
        warnings = (await client.request(method, "/v2/app/manifests/v1")).headers.get_list("warning")
        assert warnings == [STALE]
    for path in ("tags/list", f"referrers/{BARE.digest}"):
        assert (await client.get(f"/v2/app/{path}")).headers["warning"] == STALE


async def test_a_blob_that_is_not_here_is_streamed(client: httpx.AsyncClient, upstream: OneUpstream) -> None:
    answer = await client.get(f"/v2/app/blobs/{DIGEST}")
    assert (answer.status_code, answer.content) == (200, CONTENT)
    assert answer.headers["docker-content-digest"] == DIGEST
    head = await client.head(f"/v2/app/blobs/{DIGEST}")
    assert head.headers["content-length"] == str(len(CONTENT))
    assert upstream.closed == 1


async def test_a_blob_that_is_here_asks_nobody(client: httpx.AsyncClient, upstream: OneUpstream) -> None:
    await push_blob(client, "app", CONTENT)
    assert (await client.get(f"/v2/app/blobs/{DIGEST}")).content == CONTENT
    assert upstream.asked == []


@pytest.mark.parametrize(
    ("asked", "begin", "end"),
    [
        ("bytes=0-9", 0, 10),
        ("bytes=3990-4009", 3990, 4010),
        ("bytes=9000-", 9000, 100_000),
        ("bytes=-10", 99_990, 100_000),
        ("bytes=-200000", 0, 100_000),
    ],
)
async def test_a_range_of_a_streamed_blob_is_those_bytes(
    client: httpx.AsyncClient, upstream: OneUpstream, asked: str, begin: int, end: int
) -> None:
    answer = await client.get(f"/v2/app/blobs/{DIGEST}", headers={"Range": asked})
    assert (answer.status_code, answer.content) == (206, CONTENT[begin:end])
    assert answer.headers["content-range"] == f"bytes {begin}-{end - 1}/{len(CONTENT)}"
    assert upstream.closed == 1


async def test_several_ranges_are_answered_whole_and_one_beyond_the_end_416(
    client: httpx.AsyncClient, upstream: OneUpstream
) -> None:
    answer = await client.get(f"/v2/app/blobs/{DIGEST}", headers={"Range": "bytes=1-2,4-5"})
    assert (answer.status_code, answer.content) == (200, CONTENT)
    answer = await client.get(f"/v2/app/blobs/{DIGEST}", headers={"Range": "bytes=100000-"})
    assert (answer.status_code, answer.headers["content-range"]) == (416, "bytes */100000")
    assert upstream.closed == 2


@pytest.mark.parametrize("failure", [DigestMismatch("Wrong bytes."), UpstreamAway("hub", "Gone."), None])
async def test_an_answer_with_wrong_or_missing_bytes_never_ends_as_a_complete_one(
    client: httpx.AsyncClient, upstream: OneUpstream, failure: YarddeskError | None
) -> None:
    upstream.blob_pieces = (CONTENT[:4000],)
    upstream.blob_failure = failure
    with pytest.raises(httpx.RemoteProtocolError):
        await client.get(f"/v2/app/blobs/{DIGEST}")
    assert upstream.closed == 1
    assert (await client.get("/v2/")).status_code == 200


async def test_a_blob_that_is_said_to_be_empty_is_verified_too(
    client: httpx.AsyncClient, upstream: OneUpstream
) -> None:
    upstream.blob_size_said, upstream.blob_pieces, upstream.blob_failure = 0, (), UpstreamUntrue("hub", "Wrong bytes.")
    assert (await client.get(f"/v2/app/blobs/{DIGEST}")).status_code == 502
    upstream.blob_failure = None
    assert (await client.get(f"/v2/app/blobs/{DIGEST}")).content == b""


async def test_what_goes_wrong_with_a_small_blob_is_said_in_words(
    client: httpx.AsyncClient, upstream: OneUpstream
) -> None:
    upstream.blob_size_said, upstream.blob_pieces = 4000, (CONTENT[:2000], CONTENT[2000:4000])
    answer = await client.get(f"/v2/app/blobs/{DIGEST}", headers={"Range": "bytes=1990-2009"})
    assert (answer.status_code, answer.content) == (206, CONTENT[1990:2010])
    upstream.blob_failure = UpstreamUntrue("hub", "hub sent other bytes.")
    for headers in ({}, {"Range": "bytes=0-9"}):
        answer = await client.get(f"/v2/app/blobs/{DIGEST}", headers=headers)
        assert (answer.status_code, codes(answer)) == (502, ["UNKNOWN"])
        assert "hub sent other bytes." in answer.text
    assert upstream.closed == 3


async def test_what_goes_wrong_with_a_small_part_of_a_large_blob_is_said_in_words(
    client: httpx.AsyncClient, upstream: OneUpstream
) -> None:
    upstream.blob_pieces, upstream.blob_failure = (CONTENT,), UpstreamUntrue("hub", "hub sent other bytes.")
    for part in ("0-65535", "-100"):
        answer = await client.get(f"/v2/app/blobs/{DIGEST}", headers={"Range": f"bytes={part}"})
        assert (answer.status_code, codes(answer)) == (502, ["UNKNOWN"])
        assert "hub sent other bytes." in answer.text
    upstream.blob_failure = None
    answer = await client.get(f"/v2/app/blobs/{DIGEST}", headers={"Range": "bytes=-100"})
    assert (answer.status_code, answer.content) == (206, CONTENT[-100:])


async def test_what_goes_wrong_before_anything_came_is_said_in_words(
    client: httpx.AsyncClient, upstream: OneUpstream
) -> None:
    upstream.blob_pieces, upstream.blob_failure = (), UpstreamStalled("hub", "hub gave no answer.")
    for headers in ({}, {"Range": "bytes=10-"}):
        answer = await client.get(f"/v2/app/blobs/{DIGEST}", headers=headers)
        assert (answer.status_code, codes(answer)) == (504, ["UNAVAILABLE"])
        assert "hub gave no answer." in answer.text
    assert upstream.closed == 2


async def test_a_client_that_leaves_lets_go_of_the_upstream(client: httpx.AsyncClient, upstream: OneUpstream) -> None:
    left = asyncio.Event()

    class Endless(Sequence[bytes]):
        def __len__(self) -> int:
            return 1 << 30

        def __getitem__(self, index):
            return CONTENT * 20

    upstream.blob_pieces = Endless()
    original = upstream.open_blob

    @asynccontextmanager
    async def watched(*arguments, **options):
        async with original(*arguments, **options) as blob:
            try:
                yield BlobContent(1 << 40, blob.read)
            finally:
                left.set()

    upstream.open_blob = watched  # type: ignore[method-assign]
    async with client.stream("GET", f"/v2/app/blobs/{DIGEST}") as answer:
        async for _ in answer.aiter_raw(1000):
            break
    await asyncio.wait_for(left.wait(), 10)


async def test_tags_and_referrers_of_the_upstream_are_listed(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v2/app/tags/list")).json() == {"name": "app", "tags": ["theirs"]}
    found = (await client.get(f"/v2/app/referrers/{DIGEST}")).json()["manifests"]
    assert [entry["digest"] for entry in found] == [BARE.digest]
