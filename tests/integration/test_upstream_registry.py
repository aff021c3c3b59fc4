"""The client with a real docker-registry: open, by password, by token, and over TLS with a private authority."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.peers.registry import DockerRegistry, over_tls
from tests.peers.token_server import TokenServer
from tests.support.certificates import private_authority
from tests.support.images import Content, Image, Index, build_image, build_index
from tests.support.upstreams import GivenCredentials, blob, credential, opened_upstream, settings_for, source_of
from tests.support.waiting import until_async
from yarddesk.content.target import NotFound
from yarddesk.content.upstream import UpstreamAway, UpstreamDenied, UpstreamUntrusted
from yarddesk.oci.descriptor import Descriptor
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import RepositoryName, Tag
from yarddesk.settings.model import AuthSettings, AuthType, TlsSettings
from yarddesk.upstream.check import verify_credential
from yarddesk.upstream.target import RegistryRepository

LATEST = Tag.parse("latest")
MakeRegistry = Callable[..., DockerRegistry]


def descriptor(content: Content) -> Descriptor:
    return Descriptor(content.media_type, Digest.parse(content.digest), len(content.content))


async def push_image(repository: RegistryRepository, image: Image | Index) -> None:
    for each in image.blobs:
        await repository.push(descriptor(each), source_of(each.content))
    for each in image.manifests:
        await repository.push(descriptor(each), source_of(each.content))
    await repository.tag(descriptor(image.manifest), LATEST)


async def read(repository: RegistryRepository, wanted: Descriptor, *, offset: int = 0) -> bytes:
    async with repository.fetch(wanted, offset=offset) as pieces:
        return b"".join([piece async for piece in pieces])


@pytest.mark.parametrize("image", [build_image("one", (5_000_000, 3000)), build_index("many", docker=True)])
async def test_an_image_arrives_byte_for_byte_and_comes_back(
    docker_registry: DockerRegistry, image: Image | Index
) -> None:
    async with opened_upstream(docker_registry.host) as repository:
        assert not await repository.exists(descriptor(image.blobs[0]))
        with pytest.raises(NotFound):
            await repository.resolve(LATEST)
        await push_image(repository, image)
        assert await asyncio.to_thread(docker_registry.holds, "team/app", "latest", image)
        found = await repository.resolve(LATEST)
        assert (found.digest, found.size, found.media_type) == (
            image.manifest.digest,
            len(image.manifest.content),
            image.manifest.media_type,
        )
        assert (await repository.fetch_manifest(LATEST)).content == image.manifest.content
        for each in image.blobs:
            assert await repository.exists(descriptor(each))
            assert await repository.blob_size(Digest.parse(each.digest)) == len(each.content)
            assert await read(repository, descriptor(each)) == each.content
        assert await read(repository, descriptor(image.blobs[1]), offset=1000) == image.blobs[1].content[1000:]
        assert list(await repository.tags()) == ["latest"]
        assert list(await repository.referrers(Digest.parse(image.manifest.digest))) == []


async def test_a_blob_is_mounted_from_where_it_is(docker_registry: DockerRegistry) -> None:
    layer = blob(b"a layer")
    async with opened_upstream(docker_registry.host, repository="team/base") as base:
        await base.push(layer, source_of(b"a layer"))
    async with opened_upstream(docker_registry.host) as repository:
        assert await repository.mount(layer, RepositoryName.parse("team/base"))
        assert await repository.exists(layer)
        assert not await repository.mount(blob(b"unknown"), RepositoryName.parse("team/base"))


async def test_by_password(make_registry: MakeRegistry) -> None:
    registry = make_registry(users={"ci": "right"})
    image = build_image("by password")
    store = GivenCredentials({registry.host: credential("ci", "right")})
    async with opened_upstream(registry.host, store) as repository:
        await push_image(repository, image)
        assert await asyncio.to_thread(registry.holds, "team/app", "latest", image)
    for wrong in (GivenCredentials({registry.host: credential("ci", "wrong")}), GivenCredentials()):
        async with opened_upstream(registry.host, wrong) as repository:
            with pytest.raises(UpstreamDenied):
                await repository.push(blob(b"x"), source_of(b"x"))
    await verify_credential(settings_for(registry.host), credential("ci", "right"))
    with pytest.raises(UpstreamDenied) as caught:
        await verify_credential(settings_for(registry.host), credential("ci", "wrong"))
    assert caught.value.title == f"{registry.host} refused the password for `ci`."


async def test_by_token(make_registry: MakeRegistry, token_server: TokenServer) -> None:
    registry = make_registry(token=token_server.auth)
    image = build_image("by token", (5_000_000, 1000))
    auth = AuthSettings(AuthType.BASIC, "ci", credential("ci", "secret of ci").password)
    async with opened_upstream(registry.host, auth=auth) as repository:
        await push_image(repository, image)
        assert (await repository.fetch_manifest(LATEST)).content == image.manifest.content
        assert await repository.mount(descriptor(image.blobs[0]), RepositoryName.parse("team/base")) is False
        scopes = {scope for asked in token_server.requests for scope in asked.scopes}
        assert scopes == {"repository:team/app:pull,push", "repository:team/base:pull"}
    async with opened_upstream(registry.host, repository="team/copy", auth=auth) as copy:
        assert await copy.mount(descriptor(image.blobs[0]), RepositoryName.parse("team/app"))
    store = GivenCredentials({registry.host: credential("ci", "wrong")})
    async with opened_upstream(registry.host, store) as repository:
        with pytest.raises(UpstreamDenied) as caught:
            await repository.resolve(LATEST)
        assert caught.value.title == f"{registry.host} refused the password for `ci`."
        # Somebody signs in; nothing is to be restarted.
        await store.set(registry.host, credential("ci", "secret of ci"))
        assert (await repository.resolve(LATEST)).digest == image.manifest.digest
    await verify_credential(settings_for(registry.host), credential("ci", "secret of ci"))
    with pytest.raises(UpstreamDenied):
        await verify_credential(settings_for(registry.host), credential("ci", "wrong"))


async def test_anonymous_by_token(make_registry: MakeRegistry, token_server: TokenServer) -> None:
    token_server.anonymous_pull = True
    registry = make_registry(token=token_server.auth)
    async with opened_upstream(registry.host) as repository:
        with pytest.raises(NotFound):
            await repository.resolve(LATEST)
        with pytest.raises(UpstreamDenied) as caught:
            await repository.push(blob(b"x"), source_of(b"x"))
        assert caught.value.title == f"{registry.host} asks for a user name and password."


async def test_a_token_that_expires_while_a_layer_is_sent(
    make_registry: MakeRegistry, token_server: TokenServer
) -> None:
    """The closing PUT comes with a token that has expired meanwhile; the layer is not sent again for that."""
    token_server.lifetime_seconds = 2
    registry = make_registry(token=token_server.auth)
    content = os.urandom(6 * 1024 * 1024)
    auth = AuthSettings(AuthType.BASIC, "ci", credential("ci", "secret of ci").password)
    opened: list[int] = []

    @asynccontextmanager
    async def slow(offset: int) -> AsyncIterator[AsyncIterator[bytes]]:
        opened.append(offset)

        async def pieces() -> AsyncIterator[bytes]:
            for start in range(0, len(content), 1024 * 1024):
                yield content[start : start + 1024 * 1024]
            # The passing of time is what this test is about: the token's life in whole seconds, and some leeway of the peer's.
            await asyncio.sleep(3)

        iterator = pieces()
        try:
            yield iterator
        finally:
            await iterator.aclose()  # type: ignore[attr-defined]  # it is a generator

    async with opened_upstream(registry.host, auth=auth) as repository:
        await repository.push(blob(content), slow)
        assert await repository.exists(blob(content))
    assert opened == [0]
    assert len(token_server.requests) > 1


async def test_over_tls_with_a_private_authority(make_registry: MakeRegistry, tmp_path: Path) -> None:
    certificate, key, authority = private_authority(tmp_path)
    registry = make_registry(settings=over_tls(certificate, key))
    content = os.urandom(6 * 1024 * 1024)
    async with opened_upstream(registry.host, tls=TlsSettings(ca_file=str(authority))) as repository:
        await repository.push(blob(content), source_of(content))
        assert await read(repository, blob(content)) == content
    async with opened_upstream(registry.host, tls=TlsSettings(verify=False)) as repository:
        assert await read(repository, blob(content)) == content
    async with opened_upstream(registry.host, tls=TlsSettings()) as repository:
        with pytest.raises(UpstreamUntrusted) as caught:
            await repository.exists(blob(content))
        assert caught.value.title == f"The certificate of {registry.host} is not trusted."
        assert re.fullmatch("It was issued by “a private authority”: .+[.]", caught.value.message)
        assert "ca_file" in caught.value.hint
    async with opened_upstream(registry.host, tls=TlsSettings(ca_file=str(tmp_path / "missing.pem"))) as repository:
        with pytest.raises(UpstreamUntrusted) as caught:
            await repository.exists(blob(content))
        assert "missing.pem" in caught.value.message
    trusted = tmp_path / "trusted.pem"
    other = tmp_path / "other"
    other.mkdir()
    trusted.write_bytes(private_authority(other)[2].read_bytes())
    async with opened_upstream(registry.host, tls=TlsSettings(ca_file=str(trusted))) as repository:
        with pytest.raises(UpstreamUntrusted):
            await repository.exists(blob(content))
        trusted.write_bytes(authority.read_bytes())
        assert await repository.exists(blob(content)), "what is trusted is looked up anew after a refusal"


@pytest.mark.parametrize("disabled", [False, True], ids=["with HTTP/2", "without"])
async def test_over_tls_all_but_the_blobs_goes_over_http2_where_it_is_spoken(
    make_registry: MakeRegistry, tmp_path: Path, disabled: bool
) -> None:
    certificate, key, authority = private_authority(tmp_path)
    registry = make_registry(settings=over_tls(certificate, key, http2={"disabled": disabled}))
    image = build_index("over http2")
    async with opened_upstream(registry.host, tls=TlsSettings(ca_file=str(authority))) as repository:
        for each in image.blobs:
            assert not await repository.exists(descriptor(each))
        await push_image(repository, image)
        assert list(await repository.tags()) == ["latest"]
        assert (await repository.fetch_manifest(LATEST)).content == image.manifest.content
        for each in image.blobs:
            assert await read(repository, descriptor(each)) == each.content
    await until_async(lambda: len(registry.seen("GET", "/blobs/sha256:")) == len(image.blobs))
    seen = registry.seen()
    blobs = [each for each in seen if "/blobs/" in each.path and each.method != "HEAD"]
    assert {each.method for each in blobs} == {"POST", "PUT", "GET"}
    assert {each.version for each in blobs} == {"1.1"}
    others = [each for each in seen if each not in blobs]
    assert {each.method for each in others} == {"HEAD", "PUT", "GET"}
    assert {each.version for each in others} == {"1.1" if disabled else "2.0"}


async def test_a_registry_that_ends_its_http2_connections_as_it_is_restarted_is_asked_anew(
    make_registry: MakeRegistry, tmp_path: Path
) -> None:
    certificate, key, authority = private_authority(tmp_path)
    registry = make_registry(settings=over_tls(certificate, key))
    image = build_image("restarted")
    async with opened_upstream(registry.host, tls=TlsSettings(ca_file=str(authority))) as repository:
        await push_image(repository, image)
        for _ in range(2):
            registry.stop()
            registry.start()
            found = await asyncio.gather(*(repository.resolve(LATEST) for _ in range(5)))
            assert {each.digest for each in found} == {image.manifest.digest}
        await repository.push(descriptor(image.manifest), source_of(image.manifest.content))
    assert {each.version for each in registry.seen("HEAD")} == {"2.0"}


async def test_a_registry_that_went_away_and_came_back(docker_registry: DockerRegistry) -> None:
    async with opened_upstream(docker_registry.host) as repository:
        await repository.push(blob(b"x"), source_of(b"x"))
        docker_registry.stop()
        with pytest.raises(UpstreamAway):
            await repository.exists(blob(b"x"))
        await asyncio.to_thread(docker_registry.start)
        assert await repository.exists(blob(b"x"))


BIG = """
import asyncio, hashlib, resource, sys
from contextlib import asynccontextmanager
from tests.support.upstreams import opened_upstream
from yarddesk.oci.descriptor import Descriptor
from yarddesk.oci.digest import Digest

PIECE, COUNT = bytes(1024 * 1024), 256
digest = hashlib.sha256()
for _ in range(COUNT):
    digest.update(PIECE)
big = Descriptor("application/octet-stream", Digest.parse("sha256:" + digest.hexdigest()), COUNT * len(PIECE))

@asynccontextmanager
async def source(offset):
    async def pieces():
        yield PIECE[offset % len(PIECE) :]
        for _ in range(offset // len(PIECE) + 1, COUNT):
            yield PIECE
    yield pieces()

async def main():
    async with opened_upstream(sys.argv[1]) as repository:
        await repository.push(big, source)
        received = 0
        async with repository.fetch(big) as pieces:
            async for piece in pieces:
                received += len(piece)
        assert received == big.size
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)

before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
asyncio.run(main())
print(before)
"""


async def test_memory_stays_flat_for_a_large_layer(docker_registry: DockerRegistry) -> None:
    command = [sys.executable, "-c", BIG, docker_registry.host]
    result = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=True)
    after, before = map(int, result.stdout.split())
    assert after - before < 48 * 1024 * 1024
