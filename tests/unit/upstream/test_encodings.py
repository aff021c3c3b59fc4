"""Compressed answers: lists and tokens are read in every encoding that was asked for, bounded; what has a digest never is."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from collections.abc import Callable

import brotli
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.scripted import Asked, Reply, scripted
from tests.support.upstreams import GivenCredentials, credential, opened_upstream
from yarddesk.content.upstream import UpstreamRefused, UpstreamUntrue
from yarddesk.oci.digest import Digest
from yarddesk.upstream.encodings import Undecodable, decode

ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "br": lambda content: bytes(brotli.compress(content, quality=5)),
    "zstd": zstandard.ZstdCompressor().compress,
}
EACH = pytest.mark.parametrize("encoding", ENCODERS)
LIMIT = 1_000_000


@EACH
@settings(max_examples=30, deadline=None)
@given(content=st.binary(max_size=3000), repeated=st.integers(1, 300))
def test_what_was_encoded_comes_back(encoding: str, content: bytes, repeated: int) -> None:
    content *= repeated
    assert decode(ENCODERS[encoding](content), encoding, LIMIT) == content


@EACH
def test_the_bound_is_exact(encoding: str) -> None:
    assert len(decode(ENCODERS[encoding](bytes(LIMIT)), encoding, LIMIT)) == LIMIT
    with pytest.raises(Undecodable, match="more than 1,000,000 bytes"):
        decode(ENCODERS[encoding](bytes(LIMIT + 1)), encoding, LIMIT)


@EACH
def test_a_bomb_costs_little_more_than_the_bound(encoding: str) -> None:
    bomb = ENCODERS[encoding](bytes(200_000_000))
    tracemalloc.start()
    try:
        with pytest.raises(Undecodable):
            decode(bomb, encoding, LIMIT)
        assert tracemalloc.get_traced_memory()[1] < 20 * LIMIT
    finally:
        tracemalloc.stop()


@EACH
@settings(max_examples=50, deadline=None)
@given(damage=st.binary(max_size=200), cut=st.integers(0, 60))
def test_damage_is_never_anything_else_than_undecodable(encoding: str, damage: bytes, cut: int) -> None:
    content = ENCODERS[encoding](b'{"tags": ["v1", "v2", "v3"]}' * 20)
    for wrong in (damage, content[:cut] + damage, damage + content[cut:]):
        try:
            decode(wrong, encoding, LIMIT)
        except Undecodable:
            continue


@EACH
async def test_a_list_of_tags_is_read(encoding: str) -> None:
    content = ENCODERS[encoding](json.dumps({"tags": [f"v{number}" for number in range(1000)]}).encode())

    def script(asked: Asked) -> Reply:
        assert encoding in asked.headers["accept-encoding"]
        return Reply(200, {"Content-Encoding": encoding, "Content-Type": "application/json"}, content)

    async with scripted(script) as server, opened_upstream(server.host) as repository:
        assert len(await repository.tags()) == 1000


@EACH
async def test_a_token_and_the_words_of_a_refusal_are_read(encoding: str) -> None:
    encode = ENCODERS[encoding]
    words = encode(b'{"errors": [{"code": "NAME_INVALID", "message": "what a name"}]}')

    def script(asked: Asked) -> Reply:
        if asked.path.startswith("/token"):
            return Reply(200, {"Content-Encoding": encoding}, encode(b'{"token": "good"}'))
        if asked.headers.get("authorization") != "Bearer good":
            challenge = f'Bearer realm="http://{server.host}/token"'
            return Reply(401, {"WWW-Authenticate": challenge})
        return Reply(400, {"Content-Encoding": encoding}, words)

    async with scripted(script) as server:
        store = GivenCredentials({server.host: credential("ci", "x")})
        async with opened_upstream(server.host, store) as repository:
            with pytest.raises(UpstreamRefused, match="what a name"):
                await repository.tags()


@pytest.mark.parametrize(
    ("encoding", "content"),
    [("gzip", b"no gzip"), ("lzma", b"{}"), ("zstd", ENCODERS["zstd"](bytes(50_000_000))), ("gzip, br", b"{}")],
)
async def test_a_list_that_can_not_be_decoded_is_no_registrys_answer(encoding: str, content: bytes) -> None:
    reply = Reply(200, {"Content-Encoding": encoding}, content)
    async with scripted(lambda _: reply) as server, opened_upstream(server.host) as repository:
        with pytest.raises(UpstreamUntrue):
            await repository.tags()


@EACH
async def test_what_has_a_digest_is_asked_for_as_it_is(encoding: str) -> None:
    manifest = b'{"schemaVersion": 2}'
    reply = Reply(200, {"Content-Encoding": encoding}, ENCODERS[encoding](manifest))
    async with scripted(lambda _: reply) as server, opened_upstream(server.host) as repository:
        with pytest.raises(UpstreamUntrue, match="another encoding"):
            await repository.fetch_manifest(Digest.of(manifest))
        assert server.asked[0].headers["accept-encoding"] == "identity"
