"""Every kind of registry that the profiles know gets what is sent, whether it's recognised or not; and the fake is as they say."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import fields, replace
from typing import Any

import httpx
import pytest

from tests.peers.fake_registry import FakeRegistry
from tests.support.upstreams import blob, learned_upstream, source_of
from yarddesk.content.upstream import UpstreamMissing, UpstreamRefused
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import RepositoryName
from yarddesk.upstream import ladder
from yarddesk.upstream.learned import Learned
from yarddesk.upstream.profiles import (
    GENERIC,
    MIB,
    PROFILES,
    LocationForm,
    Profile,
    Refusal,
    Rung,
    profile_for,
    recognized,
)
from yarddesk.upstream.target import RegistryRepository

CONTENT = random.Random(3).randbytes(40 * MIB)
EACH = pytest.mark.parametrize("profile", PROFILES, ids=lambda each: each.name)
EACH_IN_CHUNKS = pytest.mark.parametrize(
    "profile", [each for each in PROFILES if Rung.CHUNKS in each.ladder], ids=lambda each: each.name
)
KNOWN = pytest.mark.parametrize("known", [True, False], ids=["known", "taken for another"])


@asynccontextmanager
async def speaking(
    profile: Profile, *, known: bool = True, made: bool = True, learned: Learned | None = None, **options: Any
) -> AsyncIterator[tuple[FakeRegistry, RegistryRepository]]:
    """A registry of that kind and one repository of it. known: its name told what it is."""
    async with FakeRegistry(profile, **options).listening() as registry:
        if made:
            registry.make("team/app")
        async with learned_upstream(registry.host, learned or Learned(), profile if known else GENERIC) as repository:
            yield registry, repository


@EACH
@pytest.mark.parametrize(
    ("known", "size"), [(True, 0), (True, 1), (True, 6 * MIB), (True, 40 * MIB), (False, 1), (False, 6 * MIB)]
)
async def test_a_blob_arrives(profile: Profile, known: bool, size: int) -> None:
    content = CONTENT[:size]
    async with speaking(profile, known=known) as (registry, repository):
        await repository.push(blob(content), source_of(content))
        assert registry.content == {blob(content).digest: content}
        assert registry.blob_bytes_received == size, "and nothing is sent twice"
        assert not registry.uploads


@EACH
@pytest.mark.parametrize("cut", [1, 60_000, 3 * MIB, 6 * MIB - 60_000, 6 * MIB])
async def test_a_blob_arrives_though_its_connection_breaks(profile: Profile, cut: int) -> None:
    content = CONTENT[: 6 * MIB]
    async with speaking(profile) as (registry, repository):
        registry.cut_at = cut
        await repository.push(blob(content), source_of(content))
        assert registry.content == {blob(content).digest: content}
        resumed = profile.keeps_broken_uploads and profile.range_is_true and cut > 1
        begun = [each for each in registry.of("POST") if each.status == 202]
        assert len(begun) == (1 if resumed else 2)
        assert registry.blob_bytes_received == len(content) + (0 if resumed else cut)


@EACH_IN_CHUNKS
@KNOWN
async def test_a_blob_arrives_in_pieces_where_a_proxy_takes_no_large_bodies(profile: Profile, known: bool) -> None:
    limit = max(3 * MIB, profile.least_chunk_bytes)
    content = CONTENT[: 14 * MIB]
    learned = Learned()
    async with speaking(profile, known=known, learned=learned, most_body_bytes=limit) as (registry, repository):
        await _pushed_or_told(profile, known, repository, content)
        if known or not profile.least_chunk_bytes:
            assert registry.content[blob(content).digest] == content
            assert max(each.body_bytes for each in registry.of("PATCH")) <= limit
            refused = len([each for each in registry.requests if each.status == 413])
            other = CONTENT[MIB : 15 * MIB]
            await repository.push(blob(other), source_of(other))
            assert len([each for each in registry.requests if each.status == 413]) == refused, "it's remembered"


async def test_one_that_takes_no_chunks_is_told_of_when_a_proxy_takes_no_large_bodies() -> None:
    content = CONTENT[: 14 * MIB]
    async with speaking(profile_for("europe-docker.pkg.dev"), most_body_bytes=3 * MIB) as (_, repository):
        with pytest.raises(UpstreamRefused, match=r"413|large"):
            await repository.push(blob(content), source_of(content))


@EACH
@KNOWN
async def test_a_large_blob_arrives_and_others_have_their_turn_where_it_goes_in_pieces(
    profile: Profile, known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ladder, "TURN_BYTES", 8 * MIB)
    turns = 0

    async def turn() -> None:
        nonlocal turns
        turns += 1

    async with speaking(profile, known=known) as (registry, repository):
        for number in range(2):
            content = CONTENT[number : number + 30 * MIB]
            turns = 0
            await repository.push(blob(content), source_of(content), turn=turn)
            assert registry.content[blob(content).digest] == content
        # What is taken for docker-registry is treated so until it refuses that.
        is_peculiar = profile.name in ("ecr", "ghcr", "gar")
        assert turns == (0 if known and is_peculiar else 3 if not is_peculiar else turns)


async def _pushed_or_told(profile: Profile, known: bool, repository: RegistryRepository, content: bytes) -> None:
    """One that doesn't tell its least chunk, and isn't known to have any, can't be guessed right; it's said then."""
    if known or not profile.least_chunk_bytes:
        await repository.push(blob(content), source_of(content))
        return
    with pytest.raises(UpstreamRefused):
        await repository.push(blob(content), source_of(content))


async def test_chunks_are_as_large_as_the_registry_asks() -> None:
    content = CONTENT[: 14 * MIB]
    async with speaking(GENERIC, most_body_bytes=6 * MIB, least_told=5 * MIB) as (registry, repository):
        await repository.push(blob(content), source_of(content))
        assert registry.content[blob(content).digest] == content
        assert [each.body_bytes for each in registry.of("PATCH") if each.status == 202][:-1] == [5 * MIB, 5 * MIB]


@pytest.mark.parametrize("ladder", [(Rung.STREAM,), (Rung.WHOLE,), (Rung.CHUNKS,)], ids=str)
@pytest.mark.parametrize("size", [1, 6 * MIB])
async def test_a_registry_that_takes_blobs_in_one_way_alone(ladder: tuple[Rung, ...], size: int) -> None:
    content = CONTENT[:size]
    async with speaking(replace(GENERIC, ladder=ladder), known=False) as (registry, repository):
        await repository.push(blob(content), source_of(content))
        other = content[1:] + b"!"
        asked = len(registry.requests)
        await repository.push(blob(other), source_of(other))
        assert set(registry.content) == {blob(content).digest, blob(other).digest}
        assert all(each.status < 400 for each in registry.requests[asked:]), "what it refuses is not tried again"


async def test_what_was_learned_holds_for_another_client_of_the_place() -> None:
    learned = Learned()
    async with FakeRegistry(replace(GENERIC, ladder=(Rung.WHOLE,))).listening() as registry:
        for number in range(2):
            content = CONTENT[number : number + 6 * MIB]
            async with learned_upstream(registry.host, learned, GENERIC) as repository:
                await repository.push(blob(content), source_of(content))
        assert len(registry.of("PATCH")) == 1


@EACH_IN_CHUNKS
@KNOWN
async def test_a_token_that_is_over_in_the_middle_is_renewed_and_what_is_there_stays(
    profile: Profile, known: bool
) -> None:
    content = CONTENT[: 16 * MIB]
    learned = Learned()
    async with FakeRegistry(profile).listening() as registry:
        registry.make("team/app")
        async with learned_upstream(registry.host, learned, profile if known else GENERIC) as repository:
            lessons = learned.of(registry.host)
            lessons.piece_bytes = 8 * MIB if not profile.most_chunk_bytes else profile.most_chunk_bytes
            source = source_of(content)

            def expiring(offset: int) -> Any:
                if offset and not expired:
                    expired.append(offset)
                    registry.expire()
                return source(offset)

            expired: list[int] = []
            await repository.push(blob(content), expiring)
        assert expired
        assert registry.content[blob(content).digest] == content
        assert [each for each in registry.of("PATCH") if each.status == 401]
        accepted = sum(each.body_bytes for each in registry.of("PATCH") if each.status < 400)
        assert accepted == len(content), "what it had is not sent again"


async def test_what_was_kept_before_a_token_ended_is_not_sent_again() -> None:
    content = CONTENT[: 6 * MIB]
    async with speaking(GENERIC) as (registry, repository):
        registry.expire_at = 4 * MIB
        await repository.push(blob(content), source_of(content))
        assert registry.content == {blob(content).digest: content}
        assert [each.body_bytes for each in registry.of("PATCH")] == [6 * MIB, 2 * MIB]


@EACH
async def test_a_mount_is_tried_where_it_may_work(profile: Profile) -> None:
    content = CONTENT[:1000]
    async with speaking(profile) as (registry, repository):
        registry.make("team/other").blobs.add(blob(content).digest)
        registry.content[blob(content).digest] = content
        mounted = await repository.mount(blob(content), RepositoryName.parse("team/other"))
        assert mounted is (profile.no_mounts is None)
        assert any(each.status == 201 for each in registry.of("POST", path="mount=")) is mounted
        assert mounted or not registry.of("POST")


@EACH
async def test_a_mount_that_is_refused_is_no_failure(profile: Profile) -> None:
    async with speaking(replace(profile, no_mounts=Refusal(400, "BAD_REQUEST")), known=False) as (_, repository):
        assert not await repository.mount(blob(b"x"), RepositoryName.parse("team/other"))


@pytest.mark.parametrize(
    "profile", [each for each in PROFILES if each.missing_repository and each.missing_repository.status == 404], ids=lambda each: each.name
)  # fmt: skip
async def test_what_must_be_made_first_is_told_with_how(profile: Profile) -> None:
    async with speaking(profile, made=False) as (_, repository):
        with pytest.raises(UpstreamMissing) as caught:
            await repository.push(blob(b"x"), source_of(b"x"))
        assert caught.value.hint == profile.missing_repository_help


@EACH
async def test_an_upload_is_ended_only_by_who_may(profile: Profile) -> None:
    content = CONTENT[: 6 * MIB]
    async with speaking(profile) as (registry, repository):
        with pytest.raises(Exception, match="not those of"):
            await repository.push(blob(content), source_of(content[:-1] + b"?"))
        await repository._uploader.aclose()
        assert bool(registry.of("DELETE")) is profile.ends_uploads


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("123456789012.dkr.ecr.eu-central-1.amazonaws.com", "ecr"),
        ("public.ecr.aws", "ecr"),
        ("ghcr.io", "ghcr"),
        ("registry-1.docker.io", "docker hub"),
        ("Quay.io:443", "quay"),
        ("registry.gitlab.com", "gitlab"),
        ("acme.jfrog.io", "artifactory"),
        ("europe-west3-docker.pkg.dev", "gar"),
        ("eu.gcr.io", "gar"),
        ("notghcr.io", "generic"),
        ("ghcr.io.evil.example", "generic"),
        ("127.0.0.1:5000", "generic"),
    ],
)
def test_hosts_tell_what_they_are(host: str, name: str) -> None:
    assert profile_for(host).name == name


@pytest.mark.parametrize("profile", [each for each in PROFILES if each.signs], ids=lambda each: each.name)
def test_self_hosted_ones_are_told_by_their_answers(profile: Profile) -> None:
    for sign in profile.signs:
        example = sign.example.replace("HOST", "https://corp.example")
        assert recognized(httpx.Headers({sign.header.title(): example})) is profile
    assert recognized(httpx.Headers({"Server": "nginx", "WWW-Authenticate": 'Bearer realm="https://a/token"'})) is None


@pytest.mark.parametrize("profile", [each for each in PROFILES if each.signs], ids=lambda each: each.name)
async def test_a_self_hosted_one_is_known_after_its_first_answer(profile: Profile) -> None:
    async with speaking(profile, known=False) as (_, repository):
        await repository.push(blob(b"x"), source_of(b"x"))
        assert repository._client.profile is profile


# What the fake must do otherwise when one field of a profile is another: a field that changes nothing is none.
OTHERWISE: dict[str, Any] = {
    "ladder": (Rung.WHOLE,),
    "least_chunk_bytes": 5 * MIB,
    "most_chunk_bytes": 1000,
    "patch_status": 201,
    "range_is_true": False,
    "keeps_broken_uploads": True,
    "ends_uploads": False,
    "location": LocationForm.RELATIVE,
    "no_mounts": Refusal(405, "UNSUPPORTED"),
    "missing_repository": Refusal(404, "NAME_UNKNOWN"),
    "immutable_tag": Refusal(409, "TAG_ALREADY_EXISTS"),
    "unknown_manifest": "NOT_FOUND",
    "page_most": 1,
    "lists_digests": True,
    "lists_nulls": True,
    "lists_referrers": True,
    "plain_errors": True,
    "signs": next(each.signs for each in PROFILES if each.name == "nexus"),
}
FOR_PEOPLE = {"name", "hosts", "missing_repository_help"}


@pytest.mark.parametrize("name", sorted(OTHERWISE))
async def test_every_field_of_a_profile_shows_in_what_the_fake_answers(name: str) -> None:
    assert await transcript(GENERIC) != await transcript(replace(GENERIC, **{name: OTHERWISE[name]}))
    assert await transcript(GENERIC) == await transcript(GENERIC)


def test_no_field_of_a_profile_is_forgotten() -> None:
    assert {each.name for each in fields(Profile)} == set(OTHERWISE) | FOR_PEOPLE


async def transcript(profile: Profile) -> list[tuple[int, dict[str, str], bytes]]:
    """All that a registry says to a round of requests, with its address left out."""
    async with FakeRegistry(profile).listening() as registry, httpx.AsyncClient() as client:
        url = f"http://{registry.host}"
        said = []

        async def ask(method: str, path: str, content: bytes = b"", **headers: str) -> httpx.Response:
            names = {name.replace("_", "-"): value for name, value in headers.items()}
            where = path if path.startswith("http") else url + path
            response = await client.request(method, where, content=content, headers=names)
            lines = {key: value.replace(registry.host, "HOST") for key, value in response.headers.items()}
            said.append((response.status_code, lines, response.content))
            return response

        registry.make("other").blobs.add("sha256:1")
        await ask("POST", "/v2/new/blobs/uploads/?mount=sha256:1&from=other")
        registry.make("app")
        location = (await ask("POST", "/v2/app/blobs/uploads/")).headers.get("location", "/v2/")
        location = (await ask("PATCH", location, b"x" * 2000, content_range="0-1999")).headers.get("location", location)
        location = (await ask("PATCH", location, b"y" * 10, content_range="2000-2009")).headers.get(
            "location", location
        )
        location = (await ask("PATCH", location, b"z")).headers.get("location", location)
        location = (await ask("GET", location)).headers.get("location", location)
        await ask("DELETE", location)
        location = (await ask("POST", "/v2/app/blobs/uploads/")).headers.get("location", "/v2/")

        async def breaking() -> AsyncIterator[bytes]:
            yield b"some of it"
            raise ConnectionError

        where = location if location.startswith("http") else url + location
        with pytest.raises(ConnectionError):
            await client.patch(where, content=breaking(), headers={"Content-Length": "100"})
        while registry.requests[-1].body_bytes < 10:
            await ask("GET", "/v2/")
            said.pop()
        await ask("GET", location)
        first, second = b'{"layers": []}', b'{"config": null, "subject": {"digest": "sha256:1"}}'
        for tag, content in (("v1", first), ("v1", second), ("v2", second)):
            await ask("PUT", f"/v2/app/manifests/{tag}", content, content_type="application/json")
        await ask("GET", "/v2/app/manifests/none")
        await ask("GET", "/v2/app/tags/list")
        await ask("GET", f"/v2/app/referrers/{Digest.of(first)}")
        return said
