"""What a registry may answer, and what becomes of it: every failure told apart, nothing false taken for true."""

from __future__ import annotations

import asyncio
import errno
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.support.clocks import HandClock
from tests.support.ports import held_port
from tests.support.scripted import RESET, Asked, Reply, Script, scripted
from tests.support.upstreams import (
    GivenCredentials,
    blob,
    credential,
    manifest,
    opened_upstream,
    settings_for,
    source_of,
)
from tests.support.waiting import until_async
from yarddesk.content.target import DigestMismatch, NotFound
from yarddesk.content.upstream import (
    UpstreamAway,
    UpstreamBroken,
    UpstreamDenied,
    UpstreamFailure,
    UpstreamFull,
    UpstreamRefused,
    UpstreamRepository,
    UpstreamStalled,
    UpstreamTimeout,
    UpstreamTrouble,
    UpstreamUntrue,
)
from yarddesk.errors import YarddeskError
from yarddesk.oci.digest import Digest
from yarddesk.oci.media_types import OCI_INDEX, OCI_MANIFEST
from yarddesk.oci.name import RepositoryName, Tag
from yarddesk.settings.model import UpstreamSettings
from yarddesk.upstream.client import RegistryClient
from yarddesk.upstream.failures import Failures
from yarddesk.upstream.http import Timeouts
from yarddesk.upstream.proxies import Proxies
from yarddesk.upstream.routes import UpstreamRoutes

LATEST = Tag.parse("latest")
CANARY = "canary-77ab"
IMAGE = json.dumps(
    {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": Digest.of(b"c"), "size": 1},
        "layers": [],
    }
).encode()
TYPE = {"Content-Type": OCI_MANIFEST}
FOUND = Reply(200, {**TYPE, "Docker-Content-Digest": Digest.of(IMAGE)}, IMAGE)
QUICK = Timeouts(connect_seconds=1, answer_seconds=0.3, stall_seconds=0.3, commit_seconds=0.3)


@pytest.mark.parametrize(
    ("status", "kind", "temporary"),
    [
        (400, UpstreamRefused, False),
        (403, UpstreamDenied, False),
        (404, NotFound, False),
        (408, UpstreamTrouble, True),
        (410, UpstreamRefused, False),
        (413, UpstreamRefused, False),
        (429, UpstreamTrouble, True),
        (500, UpstreamTrouble, True),
        (502, UpstreamTrouble, True),
        (503, UpstreamTrouble, True),
        (504, UpstreamTrouble, True),
        (507, UpstreamFull, False),
        (204, UpstreamUntrue, True),
        (302, UpstreamUntrue, True),
    ],
)
async def test_every_status_has_its_failure(status: int, kind: type[YarddeskError], temporary: bool) -> None:
    async with scripted(lambda _: Reply(status)) as server, opened_upstream(server.host) as repository:
        with pytest.raises(kind) as caught:
            await repository.fetch_manifest(LATEST)
        assert type(caught.value) is kind
        assert caught.value.temporary is temporary
        if isinstance(caught.value, UpstreamFailure) and status != 302:
            assert (caught.value.upstream, caught.value.status) == ("corp", status)


@pytest.mark.parametrize("status", [400, 410, 413, 414, 416, 431])
async def test_a_question_that_is_not_answered_is_no_content_that_is_not_taken(status: int) -> None:
    async with scripted(lambda _: Reply(status)) as server, opened_upstream(server.host) as repository:
        for ask in (repository.resolve, repository.fetch_manifest):
            with pytest.raises(UpstreamRefused) as caught:
                await ask(LATEST)
            assert caught.value.title == f"{server.host} gives no answer about team/app:latest."
            assert caught.value.message == f"It answered with status {status}."
            assert "proxy" in caught.value.hint
        with pytest.raises(UpstreamRefused) as caught:
            await repository.push(manifest(IMAGE), source_of(IMAGE))
        assert "does not take" in caught.value.title
        assert not caught.value.hint


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (403, "adding 1.2 MiB of storage resource will exceed the configured upper limit of 5.0 GiB."),
        (403, "Quota has been exceeded on namespace."),
        (413, "Your storage quota is used up."),
    ],
)
async def test_a_quota_that_is_used_up_is_no_want_of_rights(status: int, words: str) -> None:
    said = json.dumps({"errors": [{"code": "DENIED", "message": words}]}).encode()
    async with scripted(lambda _: Reply(status, {}, said)) as server, opened_upstream(server.host) as repository:
        with pytest.raises(UpstreamFull) as caught:
            await repository.fetch_manifest(LATEST)
        assert words in caught.value.message
        assert not caught.value.temporary


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ECONNRESET, UpstreamBroken),
        (errno.EPIPE, UpstreamBroken),
        (errno.ENETUNREACH, UpstreamAway),
        (errno.EHOSTUNREACH, UpstreamAway),
        (errno.ENETDOWN, UpstreamAway),
    ],
)
def test_a_connection_that_ends_with_the_network_is_told_from_one_that_the_registry_ended(
    number: int, kind: type[UpstreamFailure]
) -> None:
    error = httpx.ReadError("read")
    error.__cause__ = OSError(number, os.strerror(number))
    failure = Failures("corp", "registry.test").of_transport(error, "registry.test")
    assert type(failure) is kind
    assert failure.temporary
    assert failure.message == os.strerror(number)


async def test_connections_that_are_forgotten_are_not_used_again() -> None:
    async with scripted(lambda _: FOUND) as server:
        routes = UpstreamRoutes([settings_for(server.host)], GivenCredentials())
        upstream = routes.all()[0]
        repository = upstream.repository(RepositoryName.parse("team/app"))
        await repository.resolve(LATEST)
        await repository.resolve(LATEST)
        assert server.connections == 1
        upstream.forget_connections()
        await repository.resolve(LATEST)
        assert server.connections == 2
        await until_async(lambda: server.open_connections == 1)
        await routes.aclose()


async def test_the_registrys_own_words_and_its_wish_to_wait_are_told() -> None:
    limit = Reply(429, {"Retry-After": "90", "Content-Type": "text/plain"}, b"You have reached\nyour pull rate limit.")
    async with scripted(lambda _: limit) as server, opened_upstream(server.host) as repository:
        with pytest.raises(UpstreamTrouble) as caught:
            await repository.resolve(LATEST)
        with pytest.raises(UpstreamTrouble) as caught:
            await repository.fetch_manifest(LATEST)
        assert caught.value.title == f"{server.host} asks to wait."
        assert "You have reached your pull rate limit." in caught.value.message
        assert caught.value.retry_after_seconds == 90


def refusing(status: int, **headers: str) -> Script:
    """To who signs in with a password; in words where it isn't asked by HEAD."""
    words = json.dumps({"errors": [{"code": "DENIED", "message": "the project is frozen"}]}).encode()

    def script(asked: Asked) -> Reply:
        if "authorization" not in asked.headers:
            return Reply(401, {"WWW-Authenticate": "Basic"})
        return Reply(status, {"Content-Type": "application/json", **headers}, words)

    return script


@pytest.mark.parametrize("status", [400, 403, 410, 429])
async def test_what_a_heads_answer_has_no_room_for_is_asked_for_once_by_the_same_headers(status: int) -> None:
    async with scripted(refusing(status, **{"Retry-After": "90"})) as server:
        store = GivenCredentials({server.host: credential("ci", CANARY)})
        async with opened_upstream(server.host, store) as repository:
            with pytest.raises(UpstreamFailure) as caught:
                await repository.resolve(LATEST)
        assert caught.value.status == status
        assert caught.value.message == f"the project is frozen (DENIED) [{status}]"
        assert caught.value.retry_after_seconds == (90 if status == 429 else None)
        _, refused, told = server.asked
        assert (refused.method, told.method) == ("HEAD", "GET")
        assert (told.path, told.headers) == (refused.path, refused.headers)
        assert len(store.asked) <= 2, "nobody signs in anew for it"


@pytest.mark.parametrize("status", [403, 429])
async def test_why_it_is_not_told_whether_a_blob_is_there_is_asked_for_too(status: int) -> None:
    async with scripted(refusing(status)) as server:
        store = GivenCredentials({server.host: credential("ci", CANARY)})
        async with opened_upstream(server.host, store) as repository:
            with pytest.raises(UpstreamFailure, match="the project is frozen"):
                await repository.exists(blob(b"x"))


@pytest.mark.parametrize(
    "told", [FOUND, Reply(404, {}, b"no"), RESET, None, Reply(403, {}, b"x" * 1000, drip_seconds=1)]
)
async def test_a_refusal_stands_whatever_comes_of_the_question_for_its_words(
    told: Reply | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("yarddesk.upstream.client._WORDS_SECONDS", 0.2)
    script: Script = lambda asked: Reply(403) if asked.method == "HEAD" else told  # noqa: E731
    async with scripted(script) as server, opened_upstream(server.host) as repository:
        with pytest.raises(UpstreamDenied) as caught:
            await asyncio.wait_for(repository.resolve(LATEST), 5)
        assert caught.value.message == "It answered with status 403."
        assert [asked.method for asked in server.asked] == ["HEAD", "GET"]


@pytest.mark.parametrize("status", [401, 404, 500, 503])
async def test_where_no_words_are_to_be_had_or_wanted_nothing_more_is_asked(status: int) -> None:
    async with scripted(lambda _: Reply(status)) as server, opened_upstream(server.host) as repository:
        with pytest.raises(YarddeskError):
            await repository.resolve(LATEST)
        assert {asked.method for asked in server.asked} == {"HEAD"}


async def test_what_nobody_is_told_of_is_not_asked_for_in_words() -> None:
    async with scripted(lambda _: Reply(400)) as server, opened_upstream(server.host) as repository:
        assert not await repository.exists(blob(b"x"))
        async with pulled_from(server.host, 5) as pulled:
            with pytest.raises(UpstreamRefused):
                await pulled.resolve(LATEST)
        assert {asked.method for asked in server.asked} == {"HEAD"}


def otherwise_a_registry(reply: Reply) -> Callable[[Asked], Reply]:
    return lambda asked: Reply(200, {}, b"{}") if asked.path == "/v2/" else reply


async def test_a_login_page_with_200_is_never_content() -> None:
    page = Reply(200, {"Content-Type": "text/html; charset=utf-8"}, b"<html>log in to the hotel's network</html>")
    content = blob(b"x" * len(page.body))
    async with scripted(otherwise_a_registry(page)) as server, opened_upstream(server.host) as repository:
        with pytest.raises(UpstreamUntrue):
            await repository.resolve(LATEST)
        with pytest.raises(UpstreamUntrue):
            await repository.fetch_manifest(LATEST)
        with pytest.raises(UpstreamUntrue):
            await repository.exists(content)
        with pytest.raises(UpstreamUntrue):
            await repository.exists(manifest(IMAGE))
        with pytest.raises(UpstreamUntrue):
            await repository.blob_size(content.digest)
        with pytest.raises(UpstreamUntrue):
            async with repository.fetch(content):
                pass
        with pytest.raises(UpstreamUntrue):
            await repository.push(content, source_of(b"x" * content.size))
        with pytest.raises(UpstreamUntrue):
            await repository.push(manifest(IMAGE), source_of(IMAGE))
        with pytest.raises(UpstreamUntrue):
            await repository.tags()


async def test_wrong_bytes_for_a_digest_are_refused() -> None:
    async with scripted(lambda _: FOUND) as server, opened_upstream(server.host) as repository:
        assert (await repository.fetch_manifest(Digest.of(IMAGE))).content == IMAGE
        with pytest.raises(UpstreamUntrue):
            await repository.fetch_manifest(Digest.of(b"other"))
        with pytest.raises(UpstreamUntrue):
            await repository.resolve(Digest.of(b"other"))


async def test_a_tags_bytes_that_are_not_those_of_the_digest_beside_them_are_refused() -> None:
    lie = Reply(200, {**TYPE, "Docker-Content-Digest": Digest.of(b"other")}, IMAGE)
    async with scripted(lambda _: lie) as server, opened_upstream(server.host) as repository:
        with pytest.raises(UpstreamUntrue):
            await repository.fetch_manifest(LATEST)


async def test_a_tag_without_a_digest_beside_it_is_taken_as_it_is() -> None:
    async with scripted(lambda _: Reply(200, TYPE, IMAGE)) as server, opened_upstream(server.host) as repository:
        assert (await repository.fetch_manifest(LATEST)).digest == Digest.of(IMAGE)


async def test_a_manifest_without_end_is_not_read_to_its_end() -> None:
    endless = Reply(200, TYPE, b" " * (5 * 1024 * 1024))
    async with scripted(lambda _: endless) as server, opened_upstream(server.host) as repository:
        with pytest.raises(UpstreamUntrue):
            await repository.fetch_manifest(LATEST)


async def test_a_compressed_manifest_is_refused() -> None:
    packed = Reply(200, {**TYPE, "Content-Encoding": "gzip"}, IMAGE)
    async with scripted(lambda _: packed) as server, opened_upstream(server.host) as repository:
        with pytest.raises(UpstreamUntrue):
            await repository.fetch_manifest(LATEST)
        assert server.asked[0].headers["accept-encoding"] == "identity"
        assert server.asked[0].headers["user-agent"].startswith("yarddesk/")


def by_method(head: Reply) -> Script:
    return lambda asked: head if asked.method == "HEAD" else FOUND


def always(status: int) -> Script:
    return lambda _: Reply(status)


async def test_where_head_tells_too_little_the_manifest_is_read() -> None:
    for head in (
        Reply(405),
        Reply(501),
        Reply(200, TYPE, IMAGE),
        Reply(200, {"Docker-Content-Digest": Digest.of(IMAGE)}, IMAGE),
    ):
        async with (
            scripted(by_method(head)) as server,
            opened_upstream(server.host) as repository,
        ):
            found = await repository.resolve(LATEST)
            assert (found.digest, found.size, found.media_type) == (Digest.of(IMAGE), len(IMAGE), OCI_MANIFEST)


async def test_head_alone_does_where_it_tells_all() -> None:
    async with scripted(lambda _: FOUND) as server, opened_upstream(server.host) as repository:
        assert (await repository.resolve(LATEST)).digest == Digest.of(IMAGE)
        assert [asked.method for asked in server.asked] == ["HEAD"]


@pytest.mark.parametrize("head", [Reply(405), Reply(501), Reply(200, {}, length=None)], ids=["405", "501", "no length"])
async def test_where_head_tells_no_size_the_blobs_own_answer_does(head: Reply) -> None:
    content = b"twelve bytes"
    for told in (Reply(200, {}, content), Reply(200, {}, content, length=None)):
        answers = {"HEAD": head, "GET": told}
        async with (
            scripted(lambda asked: answers[asked.method]) as server,  # noqa: B023
            opened_upstream(server.host) as repository,
        ):
            assert await repository.blob_size(Digest.of(content)) == len(content)
            assert [asked.method for asked in server.asked] == ["HEAD", "GET"]


async def test_a_blob_without_a_length_that_ends_too_early_has_no_size() -> None:
    content = b"twelve bytes"
    async with (
        scripted(lambda _: Reply(200, {}, content[:7], length=None)) as server,
        opened_upstream(server.host) as repository,
    ):
        with pytest.raises(UpstreamUntrue, match="the size"):
            await repository.blob_size(Digest.of(content))


@pytest.mark.parametrize("status", [405, 501])
async def test_what_can_not_be_asked_for_by_head_is_not_taken_for_there(status: int) -> None:
    async with scripted(always(status)) as server, opened_upstream(server.host) as repository:
        assert not await repository.exists(blob(b"12345"))
        assert not await repository.exists(manifest(IMAGE))


async def test_a_blob_of_another_size_is_not_the_one() -> None:
    async with scripted(lambda _: Reply(200, {}, b"12345")) as server, opened_upstream(server.host) as repository:
        assert await repository.exists(blob(b"abcde"))
        assert not await repository.exists(blob(b"abc"))
        server.script = lambda _: Reply(404)
        assert not await repository.exists(blob(b"abcde"))


async def test_nobody_there_is_away() -> None:
    with held_port() as port:
        host = f"127.0.0.1:{port}"
        async with opened_upstream(host) as repository:
            with pytest.raises(UpstreamAway) as caught:
                await repository.resolve(LATEST)
    assert caught.value.title == f"{host} refused the connection."
    assert caught.value.temporary


async def test_an_unknown_host_is_away() -> None:
    async with opened_upstream("registry.invalid") as repository:
        with pytest.raises(UpstreamAway) as caught:
            await repository.resolve(LATEST)
    assert caught.value.title == "registry.invalid was not found."


async def test_plain_http_where_tls_is_expected_has_words() -> None:
    async with scripted(lambda _: FOUND) as server, opened_upstream(server.host, plain_http=False) as repository:
        with pytest.raises(UpstreamAway) as caught:
            await repository.resolve(LATEST)
        assert "plain_http" in caught.value.hint


async def test_silence_ends() -> None:
    async with scripted(lambda _: None) as server, opened_upstream(server.host, timeouts=QUICK) as repository:
        with pytest.raises(UpstreamStalled) as caught:
            await asyncio.wait_for(repository.resolve(LATEST), 5)
        assert caught.value.title == f"{server.host} gave no answer."


@asynccontextmanager
async def pulled_from(host: str, check_seconds: float) -> AsyncIterator[UpstreamRepository]:
    """The repository as pulls see it."""
    name = RepositoryName.parse("team/app")
    routes = UpstreamRoutes([settings_for(host)], GivenCredentials(), check_timeout=timedelta(seconds=check_seconds))
    try:
        yield routes.pull_upstreams(name)[0].repository(name)
    finally:
        await routes.aclose()


async def test_a_pull_waits_no_longer_for_a_manifests_answer_than_a_check() -> None:
    async with scripted(lambda _: None) as server, pulled_from(server.host, 0.2) as repository:
        with pytest.raises(UpstreamTimeout) as caught:
            await asyncio.wait_for(repository.fetch_manifest(LATEST), 5)
        assert caught.value.message == "Nothing came for 0.2 s."


async def test_a_manifest_that_comes_slowly_is_read_to_its_end() -> None:
    content = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}).encode()
    slow = Reply(200, {"Content-Type": OCI_INDEX}, content, drip_seconds=0.02)
    async with scripted(lambda _: slow) as server, pulled_from(server.host, 0.5) as repository:
        assert (await asyncio.wait_for(repository.fetch_manifest(LATEST), 15)).content == content


async def test_a_slow_drip_ends() -> None:
    # Each byte comes well within the time limit for silence, and yet it leads nowhere.
    drip = Reply(200, {}, b"x" * 2000, drip_seconds=0.02)
    async with scripted(lambda _: drip) as server, opened_upstream(server.host, timeouts=QUICK) as repository:

        async def read() -> int:
            count = 0
            async with repository.fetch(blob(b"x" * 2000)) as pieces:
                async for piece in pieces:
                    count += len(piece)
            return count

        with pytest.raises(UpstreamStalled):
            await asyncio.wait_for(read(), 30)


async def test_requests_go_through_the_proxy_that_is_set() -> None:
    async with scripted(lambda _: FOUND) as proxy:
        proxies = Proxies({"http": f"http://user:{CANARY}@{proxy.host}"})
        async with opened_upstream("registry.test", proxies=proxies) as repository:
            assert (await repository.resolve(LATEST)).digest == Digest.of(IMAGE)
        assert proxy.asked[0].path == "http://registry.test/v2/team/app/manifests/latest"
        assert proxy.asked[0].headers["proxy-authorization"].startswith("Basic ")


async def test_a_proxy_address_that_cannot_be_read_is_told_without_its_password(
    caplog: pytest.LogCaptureFixture,
) -> None:
    proxies = Proxies({"https": f"http://user:{CANARY}#word@proxy.test:3128"})
    async with opened_upstream("registry.test", plain_http=False, proxies=proxies) as repository:
        with pytest.raises(UpstreamAway) as caught:
            await repository.resolve(LATEST)
    assert "proxy" in str(caught.value)
    assert CANARY not in f"{caught.value!r} {caught.value} {caught.value.__context__!r} {caplog.text}"


async def test_a_proxy_that_refuses_is_named_as_the_reason() -> None:
    async with scripted(lambda _: Reply(407)) as proxy:
        proxies = Proxies({"https": f"http://user:{CANARY}@{proxy.host}"})
        async with opened_upstream("registry.test", plain_http=False, proxies=proxies) as repository:
            with pytest.raises(UpstreamAway) as caught:
                await repository.resolve(LATEST)
        assert caught.value.title == "The proxy on the way to registry.test refused."
        assert "407" in caught.value.message
        assert CANARY not in str(caught.value)
        assert proxy.asked[0].method == "CONNECT"


async def test_a_proxy_of_an_unknown_kind_has_words() -> None:
    proxies = Proxies({"all": f"socks5://user:{CANARY}@127.0.0.1:1"})
    async with opened_upstream("registry.test", proxies=proxies) as repository:
        with pytest.raises(UpstreamAway) as caught:
            await repository.resolve(LATEST)
    assert "socks5" in caught.value.message
    assert CANARY not in str(caught.value)


async def test_something_that_is_no_http_is_untrue() -> None:
    async def babble(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
        await writer.drain()
        writer.close()

    listener = await asyncio.start_server(babble, "127.0.0.1", 0)
    async with listener, opened_upstream(f"127.0.0.1:{listener.sockets[0].getsockname()[1]}") as repository:
        with pytest.raises(UpstreamUntrue):
            await repository.resolve(LATEST)


async def test_a_connection_that_ended_between_requests_is_not_noticed() -> None:
    answers = [FOUND, RESET, FOUND, RESET, RESET]
    async with scripted(lambda _: answers.pop(0)) as server, opened_upstream(server.host) as repository:
        await repository.resolve(LATEST)
        await repository.resolve(LATEST)
        with pytest.raises(UpstreamBroken) as caught:
            await repository.resolve(LATEST)
        assert caught.value.title == f"The connection to {server.host} broke."
        assert answers == []


REDIRECTED = b"the layer's bytes"


async def test_a_redirect_to_another_host_gets_no_credentials() -> None:
    async with scripted(lambda _: Reply(200, {}, REDIRECTED), host="127.0.0.2") as storage:

        def script(asked: Asked) -> Reply:
            if "authorization" not in asked.headers:
                return Reply(401, {"WWW-Authenticate": "Basic"})
            return Reply(307, {"Location": f"http://{storage.host}/layer?sig=abc", "Set-Cookie": "a=b"})

        async with scripted(script) as server:
            store = GivenCredentials({server.host: credential("ci", CANARY)})
            async with opened_upstream(server.host, store) as repository:
                async with repository.fetch(blob(REDIRECTED)) as pieces:
                    assert b"".join([piece async for piece in pieces]) == REDIRECTED
                assert await repository.exists(blob(REDIRECTED))
        for asked in storage.asked:
            assert "authorization" not in asked.headers
            assert "cookie" not in asked.headers
            assert asked.path == "/layer?sig=abc"


async def test_a_storage_hosts_refusal_is_no_reason_to_sign_in() -> None:
    expired = Reply(403, {"Content-Type": "application/xml"}, b"<Error>expired</Error>")
    async with (
        scripted(lambda _: expired, host="127.0.0.2") as storage,
        scripted(lambda _: Reply(307, {"Location": f"http://{storage.host}/x"})) as server,
        opened_upstream(server.host) as repository,
    ):
        with pytest.raises(UpstreamTrouble) as caught:
            async with repository.fetch(blob(b"x")):
                pass
        assert storage.host in caught.value.title


@pytest.mark.parametrize(
    "target", ["/v2/again", "file:///etc/passwd", "", "gopher://x/", "http://[", "http://169.254.169.254/"]
)
async def test_redirects_that_lead_nowhere(target: str) -> None:
    async with (
        scripted(otherwise_a_registry(Reply(307, {"Location": target}))) as server,
        opened_upstream(server.host) as repository,
    ):
        with pytest.raises(UpstreamUntrue):
            await repository.fetch_manifest(LATEST)
        assert len(server.asked) <= 7


async def test_a_write_is_not_redirected() -> None:
    moved = Reply(307, {"Location": "/v2/elsewhere"})
    async with scripted(otherwise_a_registry(moved)) as server, opened_upstream(server.host) as repository:
        with pytest.raises(UpstreamUntrue):
            await repository.push(manifest(IMAGE), source_of(IMAGE))
        assert [asked.path for asked in server.asked if asked.path != "/v2/"] == [server.asked[0].path]


async def test_a_manifest_is_put_with_its_type_and_tagged_without_being_read_again() -> None:
    script = lambda _: Reply(201, {"Docker-Content-Digest": Digest.of(IMAGE)})  # noqa: E731
    async with scripted(script) as server, opened_upstream(server.host) as repository:
        await repository.push(manifest(IMAGE), source_of(IMAGE, piece_bytes=7))
        await repository.tag(manifest(IMAGE), LATEST)
        assert [(asked.method, asked.path, asked.body) for asked in server.asked] == [
            ("PUT", f"/v2/team/app/manifests/{Digest.of(IMAGE)}", IMAGE),
            ("PUT", "/v2/team/app/manifests/latest", IMAGE),
        ]
        assert {asked.headers["content-type"] for asked in server.asked} == {OCI_MANIFEST}


async def test_tagging_what_another_pushed_reads_it_first() -> None:
    script = lambda asked: FOUND if asked.method == "GET" else Reply(201)  # noqa: E731
    async with scripted(script) as server, opened_upstream(server.host) as repository:
        await repository.tag(manifest(IMAGE), LATEST)
        assert [asked.method for asked in server.asked] == ["GET", "PUT"]


async def test_a_registry_that_kept_another_manifest_is_untrue() -> None:
    script = lambda _: Reply(201, {"Docker-Content-Digest": Digest.of(b"other")})  # noqa: E731
    async with scripted(script) as server, opened_upstream(server.host) as repository:
        with pytest.raises(UpstreamUntrue):
            await repository.push(manifest(IMAGE), source_of(IMAGE))


async def test_a_manifest_whose_source_lies_is_not_sent() -> None:
    async with scripted(lambda _: Reply(201)) as server, opened_upstream(server.host) as repository:
        with pytest.raises(DigestMismatch):
            await repository.push(manifest(IMAGE), source_of(IMAGE[:-1] + b" "))
        assert server.asked == []


async def test_a_blob_that_went_lost_is_tried_again_later() -> None:
    lost = Reply(
        400, {"Content-Type": "application/json"}, b'{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"gone"}]}'
    )
    async with scripted(lambda _: lost) as server, opened_upstream(server.host) as repository:
        with pytest.raises(UpstreamUntrue) as caught:
            await repository.push(manifest(IMAGE), source_of(IMAGE))
        assert caught.value.temporary


async def test_a_tag_that_may_not_move_is_the_registrys_refusal() -> None:
    fixed = Reply(409, {}, b'{"errors":[{"code":"TAG_INVALID","message":"tag is immutable"}]}')
    async with scripted(lambda _: fixed) as server, opened_upstream(server.host) as repository:
        with pytest.raises(UpstreamRefused) as caught:
            await repository.push(manifest(IMAGE), source_of(IMAGE))
        assert caught.value.codes == ("TAG_INVALID",)
        assert "tag is immutable" in caught.value.message


def tags_page(*tags: Any, link: str = "") -> Reply:
    body = json.dumps({"name": "team/app", "tags": list(tags) if tags != (None,) else None}).encode()
    return Reply(200, {"Content-Type": "application/json", **({"Link": link} if link else {})}, body)


async def test_tags_are_read_page_by_page() -> None:
    def script(asked: Asked) -> Reply:
        if "last=b" in asked.path:
            return tags_page("c", "sha256:bad", None, 7)
        return tags_page("b", "a", link='</v2/team/app/tags/list?n=2&last=b>; rel="next"')

    async with scripted(script) as server, opened_upstream(server.host) as repository:
        assert list(await repository.tags()) == ["a", "b", "c"]
        assert list(await repository.tags(limit=1)) == ["a"]
        assert list(await repository.tags(last="b")) == ["c"]


async def test_the_next_page_is_never_elsewhere() -> None:
    async with scripted(lambda _: tags_page("x"), host="127.0.0.2") as other:
        link = f'<http://{other.host}/v2/team/app/tags/list>; rel="next"'
        async with scripted(lambda _: tags_page("a", link=link)) as server, opened_upstream(server.host) as repository:
            with pytest.raises(UpstreamUntrue):
                await repository.tags()
        assert other.asked == []


async def test_pages_without_end_end() -> None:
    link = '</v2/team/app/tags/list?n=1&last=a>; rel="next"'
    async with scripted(lambda _: tags_page("a", link=link)) as server, opened_upstream(server.host) as repository:
        assert list(await repository.tags()) == ["a"]
        assert len(server.asked) == 100


@pytest.mark.parametrize(
    "document", [b"", b"{", b"OK", b"[]", b'"a"', b'{"tags": "a"}', b'{"tags": {"a": 1}}', b"[" * 100_000]
)
async def test_what_is_no_list_of_tags_is_not_taken_for_an_empty_one(document: bytes) -> None:
    reply = Reply(200, {"Content-Type": "application/json"}, document)
    async with scripted(lambda _: reply) as server, opened_upstream(server.host) as repository:
        with pytest.raises(UpstreamUntrue, match="can't be read"):
            await repository.tags()


async def test_a_list_of_tags_may_lack_them() -> None:
    async with (
        scripted(lambda _: Reply(200, {}, b'{"name": "team/app"}')) as server,
        opened_upstream(server.host) as repository,
    ):
        assert not await repository.tags()


def referrers_index(*kinds: str) -> bytes:
    entries = [
        {"mediaType": OCI_MANIFEST, "digest": Digest.of(kind.encode()), "size": 10, "artifactType": kind}
        for kind in kinds
    ]
    return json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode()


async def test_referrers_come_from_the_api() -> None:
    answer = Reply(200, {"Content-Type": OCI_INDEX}, referrers_index("signature", "sbom"))
    async with scripted(lambda _: answer) as server, opened_upstream(server.host) as repository:
        found = await repository.referrers(Digest.of(IMAGE))
        assert [entry.artifact_type for entry in found] == ["signature", "sbom"]
        assert [each.artifact_type for each in await repository.referrers(Digest.of(IMAGE), "sbom")] == ["sbom"]
        assert server.asked[0].path == f"/v2/team/app/referrers/{Digest.of(IMAGE)}"


@pytest.mark.parametrize(
    "missing",
    [Reply(404), Reply(405), Reply(200, {"Content-Type": "text/html"}, b"<html>"), Reply(303, {"Location": "/docs"})],
)
async def test_without_the_api_referrers_come_from_the_tag(missing: Reply) -> None:
    fallback = Reply(200, {"Content-Type": OCI_INDEX}, referrers_index("sbom"))

    def script(asked: Asked) -> Reply:
        if f"manifests/sha256-{Digest.of(IMAGE).hex}" in asked.path:
            return fallback
        return missing if "referrers" in asked.path else Reply(404)

    async with scripted(script) as server, opened_upstream(server.host) as repository:
        assert [entry.artifact_type for entry in await repository.referrers(Digest.of(IMAGE))] == ["sbom"]
        assert list(await repository.referrers(Digest.of(b"other"))) == []
        assert len(server.of("GET", "/referrers/")) == 1


async def test_what_opens_a_storage_host_is_not_repeated_from_its_words() -> None:
    token, signature = "IQoJb3JpZ2lu+X2VjEB4aCXVz/LWVhc3Q=", "5f3d" * 16
    said = f"<Code>InvalidToken</Code><Token-0>{token}</Token-0><SignatureProvided>{signature}</SignatureProvided>"
    refused = Reply(403, {"Content-Type": "application/xml"}, said.encode())
    async with scripted(lambda _: refused, host="127.0.0.2") as storage:
        query = f"X-Amz-Expires=1200&X-Amz-Security-Token={quote(token, safe='')}&X-Amz-Signature={signature}"
        moved = Reply(307, {"Location": f"http://{storage.host}/layer?{query}"})
        async with scripted(lambda _: moved) as server, opened_upstream(server.host) as repository:
            with pytest.raises(UpstreamTrouble) as caught:
                async with repository.fetch(blob(b"layer")):
                    raise AssertionError("there is nothing to read")
    assert "InvalidToken" in str(caught.value)
    assert token not in str(caught.value)
    assert signature not in str(caught.value)


async def test_a_redirect_to_the_page_of_another_host_is_a_list_that_is_not_there() -> None:
    """As GHCR answers."""
    fallback = Reply(200, {"Content-Type": OCI_INDEX}, referrers_index("sbom"))
    page = Reply(404, {"Content-Type": "text/html"}, b"<!DOCTYPE html><html>Not Found</html>")
    async with scripted(lambda _: page, host="127.0.0.2") as elsewhere:

        def script(asked: Asked) -> Reply:
            if "/referrers/" in asked.path:
                return Reply(303, {"Location": f"http://{elsewhere.host}/packages"})
            return fallback

        async with scripted(script) as server, opened_upstream(server.host) as repository:
            for _ in range(2):
                assert [entry.artifact_type for entry in await repository.referrers(Digest.of(IMAGE))] == ["sbom"]
            assert len(server.of("GET", "/referrers/")) == 1


async def test_a_repository_that_is_not_there_says_nothing_of_the_others_and_nothing_for_ever() -> None:
    clock = HandClock()

    def script(asked: Asked) -> Reply:
        if "/referrers/" not in asked.path or "gone" in asked.path:
            return Reply(404, {"Content-Type": "application/json"}, b'{"errors": [{"code": "NAME_UNKNOWN"}]}')
        return Reply(200, {"Content-Type": OCI_INDEX}, referrers_index("sbom"))

    async with scripted(script) as server:

        def make(settings: UpstreamSettings, store: Any) -> RegistryClient:
            return RegistryClient(settings, store, proxies=Proxies({}), monotonic=clock.monotonic)

        routes = UpstreamRoutes([settings_for(server.host)], GivenCredentials(), make_client=make)
        there, gone = (routes.all()[0].repository(RepositoryName.parse(name)) for name in ("app", "gone"))
        for _ in range(2):
            assert list(await gone.referrers(Digest.of(IMAGE))) == []
        assert [entry.artifact_type for entry in await there.referrers(Digest.of(IMAGE))] == ["sbom"]
        assert len(server.of("GET", "/gone/referrers/")) == 1
        clock.advance(3601)
        await gone.referrers(Digest.of(IMAGE))
        assert len(server.of("GET", "/gone/referrers/")) == 2
        await routes.aclose()


@pytest.mark.parametrize(
    ("missing", "forgotten_after"),
    [
        (Reply(404, {"Content-Type": "application/json"}, b'{"errors": [{"code": "NAME_UNKNOWN"}]}'), 10),
        (Reply(404, {"Content-Type": "application/json"}, b'{"errors": [{"code": "MANIFEST_UNKNOWN"}]}'), 10),
        (Reply(404, {"Content-Type": "text/plain"}, b"404 page not found"), 3600),
        (Reply(405), 3600),
    ],
    ids=["no repository", "no manifest", "no such path", "no such method"],
)
async def test_a_repository_that_comes_is_asked_for_its_referrers_soon_after(
    missing: Reply, forgotten_after: float
) -> None:
    clock = HandClock()
    listed = Reply(200, {"Content-Type": OCI_INDEX}, referrers_index("sbom"))
    async with scripted(lambda asked: missing if "/referrers/" in asked.path else Reply(404)) as server:

        def make(settings: UpstreamSettings, store: Any) -> RegistryClient:
            return RegistryClient(settings, store, proxies=Proxies({}), monotonic=clock.monotonic)

        routes = UpstreamRoutes([settings_for(server.host)], GivenCredentials(), make_client=make)
        repository = routes.all()[0].repository(RepositoryName.parse("app"))
        assert list(await repository.referrers(Digest.of(IMAGE))) == []
        server.script = lambda asked: listed if "/referrers/" in asked.path else Reply(404)
        clock.advance(forgotten_after - 1)
        assert list(await repository.referrers(Digest.of(IMAGE))) == []
        clock.advance(2)
        assert [entry.artifact_type for entry in await repository.referrers(Digest.of(IMAGE))] == ["sbom"]
        await routes.aclose()


async def test_a_login_page_in_the_place_of_a_list_of_referrers_does_not_say_that_there_is_none() -> None:
    page = Reply(200, {"Content-Type": "text/html"}, b"<html>log in to the hotel's network</html>")
    listed = Reply(200, {"Content-Type": OCI_INDEX}, referrers_index("sbom"))
    async with scripted(otherwise_a_registry(page)) as server, opened_upstream(server.host) as repository:
        with pytest.raises(UpstreamFailure):
            await repository.referrers(Digest.of(IMAGE))
        server.script = lambda asked: listed if "/referrers/" in asked.path else Reply(404)
        assert [entry.artifact_type for entry in await repository.referrers(Digest.of(IMAGE))] == ["sbom"]


async def test_a_denied_list_of_referrers_is_no_empty_one() -> None:
    async with scripted(lambda _: Reply(403)) as server, opened_upstream(server.host) as repository:
        with pytest.raises(UpstreamDenied):
            await repository.referrers(Digest.of(IMAGE))


async def test_mounts() -> None:
    base = RepositoryName.parse("team/base")
    layer = blob(b"layer")
    async with scripted(lambda _: Reply(201)) as server, opened_upstream(server.host) as repository:
        assert await repository.mount(layer, base)
        assert server.asked[0].path == f"/v2/team/app/blobs/uploads/?mount=sha256%3A{layer.digest.hex}&from=team%2Fbase"
        assert not await repository.mount(layer, RepositoryName.parse("team/app"))
        for status in (400, 403, 404, 405):
            server.script = always(status)
            assert not await repository.mount(layer, base)
        server.script = lambda _: Reply(503)
        with pytest.raises(UpstreamTrouble):
            await repository.mount(layer, base)


async def test_a_mount_that_became_an_upload_is_cancelled() -> None:
    def script(asked: Asked) -> Reply:
        return Reply(202, {"Location": "/v2/team/app/blobs/uploads/1"}) if asked.method == "POST" else Reply(204)

    async with scripted(script) as server:
        async with opened_upstream(server.host) as repository:
            assert not await repository.mount(blob(b"x"), RepositoryName.parse("team/base"))
        assert [asked.path for asked in server.of("DELETE")] == ["/v2/team/app/blobs/uploads/1"]
