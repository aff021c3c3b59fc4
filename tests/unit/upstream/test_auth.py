"""Challenges: passwords, the token dance, what is kept and for how long, and where nothing secret ever goes."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest

from tests.support.scripted import RESET, Asked, Reply, ScriptedServer, scripted
from tests.support.upstreams import GivenCredentials, blob, credential, opened_upstream, settings_for, source_of
from yarddesk.content.credentials import CredentialUnavailable, Secret
from yarddesk.content.upstream import (
    UpstreamBroken,
    UpstreamDenied,
    UpstreamFailure,
    UpstreamRefused,
    UpstreamTrouble,
    UpstreamUntrue,
)
from yarddesk.oci.name import RepositoryName, Tag
from yarddesk.settings.model import AuthSettings, AuthType
from yarddesk.upstream.check import verify_credential
from yarddesk.upstream.routes import UpstreamRoutes

CANARY = "canary-4f1d7c"
LATEST = Tag.parse("latest")
HEAD = {"Docker-Content-Digest": "sha256:" + "a" * 64, "Content-Type": "application/vnd.oci.image.manifest.v1+json"}
FOUND = Reply(200, HEAD, b"x" * 100)


def basic(username: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


def asks_for_password(password: str) -> Callable[[Asked], Reply]:
    def script(asked: Asked) -> Reply:
        if asked.headers.get("authorization") == basic("ci", password):
            return FOUND
        body = b'{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}'
        return Reply(401, {"WWW-Authenticate": 'Basic realm="corp"', "Content-Type": "application/json"}, body)

    return script


class TokenRegistry:
    """A registry and its token server in one, whose tokens are numbered and tell their scopes."""

    def __init__(self) -> None:
        self.given: list[tuple[str, ...]] = []
        self.valid: set[str] = set()
        self.realm = ""
        self.document: dict[str, object] = {"expires_in": 300}
        self.asked_scope = "repository:team/app:pull"
        self.refuses_tokens = False

    def __call__(self, asked: Asked) -> Reply:
        if asked.path.startswith("/token"):
            return self.token(asked)
        if asked.headers.get("authorization", "").removeprefix("Bearer ") in self.valid:
            return FOUND if asked.method in ("GET", "HEAD") else Reply(202, {"Location": "/v2/upload"})
        challenge = f'Bearer realm="{self.realm}",service="the service",scope="{self.asked_scope}"'
        return Reply(401, {"WWW-Authenticate": challenge})

    def token(self, asked: Asked) -> Reply:
        if self.refuses_tokens:
            return Reply(401, {}, b'{"details":"incorrect username or password"}')
        fields = parse_qsl(urlsplit(asked.path).query) + parse_qsl(asked.body.decode())
        scopes = tuple(scope for name, value in fields if name == "scope" for scope in value.split())
        self.given.append(scopes)
        text = f"token-{len(self.given)}"
        self.valid.add(text)
        return Reply(200, {"Content-Type": "application/json"}, json.dumps({"token": text, **self.document}).encode())


async def test_the_password_is_sent_only_once_it_is_asked_for() -> None:
    store = GivenCredentials({"x": credential("ci", "right")})
    async with scripted(asks_for_password("right")) as server:
        store.known = {server.host: credential("ci", "right")}
        async with opened_upstream(server.host, store) as repository:
            await repository.resolve(LATEST)
            await repository.resolve(LATEST)
        assert [asked.headers.get("authorization") for asked in server.asked] == [
            None,
            basic("ci", "right"),
            basic("ci", "right"),
        ]
        assert store.asked == [server.host]


async def test_a_refused_password_says_whose_and_signing_in_again_fixes_it() -> None:
    async with scripted(asks_for_password("right")) as server:
        store = GivenCredentials({server.host: credential("ci", CANARY)})
        async with opened_upstream(server.host, store) as repository:
            with pytest.raises(UpstreamDenied) as caught:
                await repository.fetch_manifest(LATEST)
            assert caught.value.title == f"{server.host} refused the password for `ci`."
            assert "authentication required" in caught.value.message
            assert CANARY not in str(caught.value)
            assert not caught.value.temporary
            await store.set(server.host, credential("ci", "right"))
            await repository.resolve(LATEST)


async def test_a_password_that_was_changed_meanwhile_is_read_again() -> None:
    password = "first"

    def script(asked: Asked) -> Reply:
        return asks_for_password(password)(asked)

    async with scripted(script) as server:
        store = GivenCredentials({server.host: credential("ci", "first")})
        async with opened_upstream(server.host, store) as repository:
            await repository.resolve(LATEST)
            password = "second"
            await store.set(server.host, credential("ci", "second"))
            await repository.resolve(LATEST)


async def test_without_a_credential_it_asks_to_sign_in() -> None:
    async with scripted(asks_for_password("right")) as server, opened_upstream(server.host) as repository:
        with pytest.raises(UpstreamDenied) as caught:
            await repository.resolve(LATEST)
        assert caught.value.title == f"{server.host} asks for a user name and password."
        assert "yarddesk login" in caught.value.hint


async def test_a_locked_keychain_is_named_only_where_a_credential_is_needed() -> None:
    reason = CredentialUnavailable("The keychain is locked.", hint="Unlock it.")
    store = GivenCredentials(unavailable=reason)
    async with scripted(lambda _: FOUND) as server, opened_upstream(server.host, store) as repository:
        await repository.resolve(LATEST)
        server.script = asks_for_password("right")
        with pytest.raises(UpstreamDenied) as caught:
            await repository.resolve(LATEST)
        assert "The keychain is locked." in caught.value.message
        assert caught.value.hint == "Unlock it."


async def test_why_credentials_can_not_be_read_is_logged_once_until_it_changes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "yarddesk.upstream.auth")
    locked, none = CredentialUnavailable("The keychain is locked."), CredentialUnavailable("There is no keychain.")
    store = GivenCredentials({"x": credential("ci", "right")})
    async with scripted(asks_for_password("right")) as server, opened_upstream(server.host, store) as repository:
        for reason in (none, none, none, locked, None, locked):
            store.unavailable = reason
            with pytest.raises(UpstreamDenied):
                await repository.resolve(LATEST)
    said = [record.getMessage() for record in caplog.records if "can't be read" in record.getMessage()]
    assert [line.partition("read: ")[2] for line in said] == [none.title, locked.title, locked.title]


async def test_a_401_that_never_ends_is_asked_twice_and_no_more() -> None:
    async with scripted(asks_for_password("right")) as server:
        auth = AuthSettings(AuthType.BASIC, "ci", Secret("wrong"))
        async with opened_upstream(server.host, auth=auth) as repository:
            with pytest.raises(UpstreamDenied):
                await repository.resolve(LATEST)
        assert len(server.asked) == 2


@pytest.mark.parametrize("kind", [AuthType.BASIC, AuthType.BEARER, AuthType.ANONYMOUS])
async def test_where_the_settings_sign_in_it_is_them_that_are_to_be_changed(kind: AuthType) -> None:
    async with scripted(asks_for_password("right")) as server:
        auth = AuthSettings(kind, "ci", Secret("wrong"))
        async with opened_upstream(server.host, auth=auth) as repository:
            with pytest.raises(UpstreamDenied) as caught:
                await repository.resolve(LATEST)
    assert caught.value.hint.endswith(f"change upstreams[].auth of {caught.value.upstream}.")


async def test_bearer_is_sent_as_it_is_and_its_refusal_is_told() -> None:
    async with scripted(lambda asked: Reply(401) if asked.headers.get("authorization") else FOUND) as server:
        auth = AuthSettings(AuthType.BEARER, "", Secret(CANARY))
        async with opened_upstream(server.host, auth=auth) as repository:
            with pytest.raises(UpstreamDenied) as caught:
                await repository.resolve(LATEST)
        assert server.asked[0].headers["authorization"] == f"Bearer {CANARY}"
        assert CANARY not in str(caught.value)


async def test_anonymous_never_asks_for_credentials() -> None:
    store = GivenCredentials()
    async with scripted(asks_for_password("right")) as server:
        async with opened_upstream(server.host, store, auth=AuthSettings(AuthType.ANONYMOUS)) as repository:
            with pytest.raises(UpstreamDenied):
                await repository.resolve(LATEST)
        assert store.asked == []


async def with_tokens(server: ScriptedServer, registry: TokenRegistry) -> GivenCredentials:
    registry.realm = f"http://{server.host}/token"
    return GivenCredentials({server.host: credential("ci", "right")})


async def test_a_token_is_used_until_it_expires_and_by_all_who_need_no_more() -> None:
    registry = TokenRegistry()
    async with scripted(registry) as server:
        store = await with_tokens(server, registry)
        async with opened_upstream(server.host, store, push=False) as repository:
            await repository.resolve(LATEST)
            await repository.resolve(LATEST)
            assert registry.given == [("repository:team/app:pull",)]
            (asked,) = server.of("GET", "/token")
            fields = parse_qs(urlsplit(asked.path).query)
            assert fields["service"] == ["the service"]
            assert fields["account"] == ["ci"]
            assert asked.headers["authorization"] == basic("ci", "right")
            registry.asked_scope = "repository:team/app:pull,push"
            with pytest.raises(UpstreamFailure):  # the upload itself is not played here
                await repository.push(blob(b"x"), source_of(b"x"))
            assert registry.given[1] == ("repository:team/app:pull,push",)
            await repository.resolve(LATEST)
            assert len(registry.given) == 2


async def test_a_token_that_expired_is_renewed_in_the_middle_once() -> None:
    registry = TokenRegistry()
    async with scripted(registry) as server:
        store = await with_tokens(server, registry)
        async with opened_upstream(server.host, store) as repository:
            await repository.resolve(LATEST)
            registry.valid.clear()
            await repository.resolve(LATEST)
        assert len(registry.given) == 2


async def test_a_short_lived_token_is_not_used_past_its_life() -> None:
    registry = TokenRegistry()
    registry.document = {"expires_in": 0.000001}
    async with scripted(registry) as server:
        store = await with_tokens(server, registry)
        async with opened_upstream(server.host, store) as repository:
            await repository.resolve(LATEST)
            await repository.resolve(LATEST)
        # Asked for before the request, not after a refusal: there was one 401, the first.
        assert len(registry.given) == 2
        assert len(server.of("HEAD")) == 3


async def test_many_requests_at_once_share_one_token() -> None:
    registry = TokenRegistry()
    async with scripted(registry) as server:
        store = await with_tokens(server, registry)
        async with opened_upstream(server.host, store) as repository:
            await asyncio.gather(*(repository.resolve(LATEST) for _ in range(20)))
        assert len(registry.given) == 1


async def test_an_identity_token_is_exchanged_by_post() -> None:
    registry = TokenRegistry()
    async with scripted(registry) as server:
        registry.realm = f"http://{server.host}/token"
        store = GivenCredentials({server.host: credential("", CANARY)})
        async with opened_upstream(server.host, store) as repository:
            await repository.resolve(LATEST)
        (asked,) = server.of("POST", "/token")
        fields = parse_qs(asked.body.decode())
        assert fields["grant_type"] == ["refresh_token"]
        assert fields["refresh_token"] == [CANARY]
        assert fields["scope"] == ["repository:team/app:pull,push"]
        assert "authorization" not in asked.headers


async def test_a_token_servers_refusal_is_the_passwords() -> None:
    registry = TokenRegistry()
    registry.refuses_tokens = True
    async with scripted(registry) as server:
        store = await with_tokens(server, registry)
        async with opened_upstream(server.host, store) as repository:
            with pytest.raises(UpstreamDenied) as caught:
                await repository.resolve(LATEST)
            assert caught.value.title == f"{server.host} refused the password for `ci`."
            assert "incorrect username or password" in caught.value.message


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Reply(400, {}, b"the scope is not valid"), UpstreamRefused),
        (Reply(400, {}, b'{"error": "invalid_request"}'), UpstreamRefused),
        (Reply(404, {}, b"no token here"), UpstreamRefused),
        (Reply(405), UpstreamRefused),
        (Reply(413), UpstreamRefused),
        (Reply(408), UpstreamTrouble),
        (Reply(429, {"Retry-After": "7"}, b"slow down"), UpstreamTrouble),
        (Reply(302, {"Location": "/login"}), UpstreamUntrue),
    ],
    ids=str,
)
async def test_what_a_token_server_says_but_401_and_403_is_no_word_about_the_password(
    reply: Reply, kind: type[UpstreamFailure]
) -> None:
    registry = TokenRegistry()

    def script(asked: Asked) -> Reply:
        if asked.path == "/v2/":
            return Reply(200, {}, b"{}")
        return reply if asked.path.startswith("/token") else registry(asked)

    async with scripted(script) as server:
        store = await with_tokens(server, registry)
        async with opened_upstream(server.host, store) as repository:
            with pytest.raises(kind) as caught:
                await repository.resolve(LATEST)
            assert caught.value.title.startswith(f"The token server of {server.host} ({server.host}) ")
            assert reply.body.decode() in caught.value.message
            assert str(reply.status) in caught.value.message
            assert "password" not in str(caught.value)


async def test_an_identity_token_that_is_over_is_told_as_such() -> None:
    registry = TokenRegistry()

    def script(asked: Asked) -> Reply:
        over = Reply(400, {}, b'{"error": "invalid_grant"}')
        return over if asked.path.startswith("/token") else registry(asked)

    async with scripted(script) as server:
        store = await with_tokens(server, registry)
        await store.set(server.host, credential("", CANARY))
        async with opened_upstream(server.host, store) as repository:
            with pytest.raises(UpstreamDenied) as caught:
                await repository.resolve(LATEST)
            assert caught.value.title == f"{server.host} refused the token that is kept for it."


async def test_a_token_that_is_not_enough_names_the_account() -> None:
    registry = TokenRegistry()
    async with scripted(registry) as server:
        store = await with_tokens(server, registry)

        def forgetful(asked: Asked) -> Reply:
            answer = registry(asked)
            registry.valid.clear()
            return answer

        server.script = forgetful
        async with opened_upstream(server.host, store) as repository:
            with pytest.raises(UpstreamDenied) as caught:
                await repository.resolve(LATEST)
            assert caught.value.title == f"{server.host} does not let `ci` do this."


@pytest.mark.parametrize("body", [b"<html>log in</html>", b"{}", b"[]", b'{"token": 7}', b"{" * 5000])
async def test_a_token_server_that_is_none(body: bytes) -> None:
    registry = TokenRegistry()
    async with scripted(registry) as server:
        store = await with_tokens(server, registry)
        server.script = lambda asked: Reply(200, {}, body) if asked.path.startswith("/token") else registry(asked)
        async with opened_upstream(server.host, store) as repository:
            with pytest.raises(UpstreamUntrue):
                await repository.resolve(LATEST)


async def test_a_token_server_in_trouble() -> None:
    registry = TokenRegistry()
    async with scripted(registry) as server:
        store = await with_tokens(server, registry)
        busy = Reply(503, {"Retry-After": "7"}, b"busy")
        server.script = lambda asked: busy if asked.path.startswith("/token") else registry(asked)
        async with opened_upstream(server.host, store) as repository:
            with pytest.raises(UpstreamTrouble) as caught:
                await repository.resolve(LATEST)
            assert caught.value.retry_after_seconds == 7


@pytest.mark.parametrize("breaks", [1, 2])
async def test_a_kept_connection_to_the_token_server_may_have_ended(breaks: int) -> None:
    registry = TokenRegistry()
    left = [RESET] * breaks

    def script(asked: Asked) -> Reply:
        return left.pop() if left and asked.path.startswith("/token") else registry(asked)

    async with scripted(script) as server:
        store = await with_tokens(server, registry)
        async with opened_upstream(server.host, store) as repository:
            if breaks == 1:
                await repository.resolve(LATEST)
            else:
                with pytest.raises(UpstreamBroken):
                    await repository.resolve(LATEST)


async def test_credentials_never_go_to_a_foreign_realm() -> None:
    async with (
        scripted(lambda _: Reply(200, {}, b'{"token":"stolen"}'), host="127.0.0.2") as thief,
        scripted(lambda _: Reply(401, {"WWW-Authenticate": f'Bearer realm="http://{thief.host}/token"'})) as server,
    ):
        store = GivenCredentials({server.host: credential("ci", CANARY)})
        async with opened_upstream(server.host, store) as repository:
            with pytest.raises(UpstreamUntrue) as caught:
                await repository.resolve(LATEST)
        assert thief.asked == []
        assert thief.host in caught.value.message
        assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    "realm",
    ["", "not a url", "//", "http://169.254.169.254/latest", "file:///etc/passwd", "http://[::", "https://0.0.0.0/t"],
)
async def test_realms_that_lead_nowhere_are_not_followed(realm: str) -> None:
    challenge = {"WWW-Authenticate": f'Bearer realm="{realm}"'}
    async with scripted(lambda _: Reply(401, challenge)) as server:
        store = GivenCredentials({server.host: credential("ci", CANARY)})
        async with opened_upstream(server.host, store) as repository:
            with pytest.raises(UpstreamUntrue):
                await repository.resolve(LATEST)


async def test_a_401_without_a_challenge_is_denied() -> None:
    async with scripted(lambda _: Reply(401)) as server, opened_upstream(server.host) as repository:
        with pytest.raises(UpstreamDenied):
            await repository.resolve(LATEST)


async def test_a_secret_that_the_registry_repeats_is_masked() -> None:
    def script(asked: Asked) -> Reply:
        if "authorization" in asked.headers:
            return Reply(
                403, {"Content-Type": "text/plain"}, f"no rights for {CANARY} {asked.headers['authorization']}".encode()
            )
        return Reply(401, {"WWW-Authenticate": "Basic"})

    async with scripted(script) as server:
        store = GivenCredentials({server.host: credential("ci", CANARY)})
        async with opened_upstream(server.host, store) as repository:
            with pytest.raises(UpstreamDenied) as caught:
                await repository.fetch_manifest(LATEST)
        assert "no rights for ***" in caught.value.message
        assert base64.b64encode(f"ci:{CANARY}".encode()).decode() not in str(caught.value)


async def test_a_mount_asks_for_both_repositories() -> None:
    registry = TokenRegistry()
    registry.asked_scope = "repository:team/app:pull,push"
    async with scripted(registry) as server:
        store = await with_tokens(server, registry)
        async with opened_upstream(server.host, store) as repository:
            assert not await repository.mount(blob(b"x"), RepositoryName.parse("team/base"))
        assert set(registry.given[0]) == {"repository:team/app:pull,push", "repository:team/base:pull"}


async def test_without_the_right_to_read_there_nothing_is_mounted_and_that_is_no_failure() -> None:
    registry = TokenRegistry()
    async with scripted(registry) as server:
        store = await with_tokens(server, registry)
        challenge = {"WWW-Authenticate": f'Bearer realm="{registry.realm}",service="x",error="insufficient_scope"'}
        server.script = lambda asked: registry(asked) if asked.path.startswith("/token") else Reply(401, challenge)
        async with opened_upstream(server.host, store) as repository:
            assert not await repository.mount(blob(b"x"), RepositoryName.parse("team/base"))


async def test_an_upstream_that_takes_pushes_reads_with_one_token_for_all() -> None:
    registry = TokenRegistry()
    async with scripted(registry) as server:
        store = await with_tokens(server, registry)
        async with opened_upstream(server.host, store) as repository:
            await repository.resolve(LATEST)
        assert registry.given == [("repository:team/app:pull,push",)]


async def test_what_the_registry_asks_for_beside_is_asked_for_too() -> None:
    registry = TokenRegistry()
    registry.asked_scope = "repository:renamed/app:pull repository:team/app:pull"
    async with scripted(registry) as server:
        store = await with_tokens(server, registry)
        async with opened_upstream(server.host, store, push=False) as repository:
            await repository.resolve(LATEST)
        assert registry.given == [("repository:renamed/app:pull", "repository:team/app:pull")]


async def test_a_credential_is_verified_before_it_is_kept() -> None:
    async with scripted(asks_for_password("right")) as server:
        await verify_credential(settings_for(server.host), credential("ci", "right"))
        with pytest.raises(UpstreamDenied) as caught:
            await verify_credential(settings_for(server.host), credential("ci", "wrong"))
        assert "refused the password for `ci`" in caught.value.title


async def test_a_registry_on_this_machine_is_also_tried_without_tls() -> None:
    async with scripted(asks_for_password("right")) as server:
        named = settings_for(server.host, plain_http=False)
        await verify_credential(named, credential("ci", "right"))
        with pytest.raises(UpstreamDenied):
            await verify_credential(named, credential("ci", "wrong"))


async def test_docker_hubs_credentials_are_kept_under_one_name() -> None:
    store = GivenCredentials()
    upstreams = UpstreamRoutes([settings_for("index.docker.io", plain_http=False)], store)
    client = upstreams._connections[0].client
    assert await client._auth._credential() is None
    assert store.asked == ["docker.io"]
    assert client.origin.host == "registry-1.docker.io"


class ShortLived:
    """A registry whose passwords end with a 403, as ECR's do after twelve hours."""

    def __init__(self) -> None:
        self.password = "first"

    def __call__(self, asked: Asked) -> Reply:
        given = asked.headers.get("authorization")
        if given is None:
            return Reply(401, {"WWW-Authenticate": 'Basic realm="corp"'})
        if given == basic("AWS", self.password):
            return FOUND
        body = b'{"errors":[{"code":"DENIED","message":"Your authorization token has expired. Reauthenticate."}]}'
        return Reply(403, {"Content-Type": "application/json"}, body)


async def test_a_password_that_ended_with_a_403_is_read_again_and_tried_once() -> None:
    registry = ShortLived()
    async with scripted(registry) as server:
        store = GivenCredentials({server.host: credential("AWS", "first")})
        async with opened_upstream(server.host, store) as repository:
            await repository.resolve(LATEST)
            registry.password = "second"
            await store.set(server.host, credential("AWS", "second"))
            before = len(server.asked)
            await repository.resolve(LATEST)
            assert len(server.asked) == before + 2
            await repository.resolve(LATEST)
            assert len(server.asked) == before + 3, "the new one is kept"


async def test_a_403_for_a_password_that_has_not_changed_is_asked_once_and_told() -> None:
    registry = ShortLived()
    async with scripted(registry) as server:
        store = GivenCredentials({server.host: credential("AWS", "first")})
        async with opened_upstream(server.host, store) as repository:
            await repository.resolve(LATEST)
            registry.password = "second"
            before = len(server.asked)
            with pytest.raises(UpstreamDenied) as caught:
                await repository.fetch_manifest(LATEST)
            assert len(server.asked) == before + 1
            assert caught.value.status == 403
            assert "authorization token has expired" in caught.value.message
            await store.set(server.host, credential("AWS", "third"))
            with pytest.raises(UpstreamDenied) as caught:
                await repository.fetch_manifest(LATEST)
            assert caught.value.status == 403


async def test_a_password_of_the_settings_is_not_tried_again_after_a_403() -> None:
    registry = ShortLived()
    auth = AuthSettings(type=AuthType.BASIC, username="AWS", password=Secret("other"))
    async with scripted(registry) as server, opened_upstream(server.host, auth=auth) as repository:
        with pytest.raises(UpstreamDenied):
            await repository.resolve(LATEST)
        # The last one asks for the words of the refusal, by the same headers.
        assert [asked.method for asked in server.asked] == ["HEAD", "HEAD", "GET"]


async def test_a_403_for_a_token_is_asked_again_where_another_account_signed_in_since() -> None:
    registry, allowed = TokenRegistry(), ["token-1"]

    def script(asked: Asked) -> Reply:
        reply = registry(asked)
        token = asked.headers.get("authorization", "").removeprefix("Bearer ")
        return Reply(403) if reply is FOUND and token not in allowed else reply

    async with scripted(script) as server:
        store = await with_tokens(server, registry)
        async with opened_upstream(server.host, store) as repository:
            await repository.resolve(LATEST)
            allowed[:] = ["token-2", "token-3"]
            await store.set(server.host, credential("other", "right"))
            await repository.resolve(LATEST)
            assert len(registry.given) == 2
            allowed[:] = []
            with pytest.raises(UpstreamDenied):
                await repository.resolve(LATEST)
            assert len(registry.given) == 2, "the same account would get the same"


@pytest.mark.parametrize(("life", "before_long_body"), [(300.0, 2), (1_000_000.0, 1)])
async def test_a_token_near_its_end_is_replaced_before_a_long_body_and_serves_short_ones(
    life: float, before_long_body: int
) -> None:
    hands = [1000.0]
    registry = TokenRegistry()
    registry.document = {"expires_in": life}
    registry.asked_scope = "repository:team/app:pull,push"
    content = b"x" * (5 * 1024 * 1024)
    async with scripted(registry) as server:
        store = await with_tokens(server, registry)
        async with opened_upstream(server.host, store, monotonic=lambda: hands[0]) as repository:
            await repository.resolve(LATEST)
            hands[0] += 270  # of the first life less than a quarter is left, and more than what is held back
            await repository.resolve(LATEST)
            assert len(registry.given) == 1
            with pytest.raises(UpstreamFailure):  # the upload itself is not played to its end here
                await repository.push(blob(content), source_of(content))
            assert len(registry.given) == before_long_body
            used = [asked.headers.get("authorization") for asked in server.of("PATCH")]
            assert used == [f"Bearer token-{before_long_body}"]
