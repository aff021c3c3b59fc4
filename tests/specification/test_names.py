"""The grammar of names, tags and digests, the paths that hold them, and how what breaks it is refused ("Error codes")."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.specification.wire import NAME, TAG, fewer, index_of, many, raw
from tests.unit.registry.pushing import codes, digest_of, push_blob, put_manifest

BARE = index_of()
HEX = "0123456789abcdef"
COMPONENTS = st.sampled_from(
    ["manifests", "blobs", "uploads", "tags", "list", "referrers", "v2", "con", "nul", "aux.json", "a"]
)
SOME_NAMES = st.one_of(
    st.from_regex(NAME, fullmatch=True),
    st.lists(COMPONENTS, min_size=1, max_size=5).map("/".join),
    st.integers(230, 255).map(lambda length: "a" * length),
).filter(lambda name: len(name) <= 255)
PATH_CHARACTERS = st.sampled_from("abcXYZ019._-/:@!$&'()*+,;=~")
DIGESTS = st.one_of(
    st.text(HEX, min_size=64, max_size=64).map("sha256:{}".format),
    st.text(HEX, min_size=128, max_size=128).map("sha512:{}".format),
)


@fewer
@given(name=SOME_NAMES)
async def test_any_name_of_the_grammar_is_a_repository(http: httpx.AsyncClient, name: str) -> None:
    assert re.fullmatch(NAME, name)
    assert (await put_manifest(http, name, "v1", BARE)).status_code == 201
    assert (await http.get(f"/v2/{name}/manifests/v1")).content == BARE.content
    assert (await http.get(f"/v2/{name}/tags/list")).json() == {"name": name, "tags": ["v1"]}
    digest = await push_blob(http, name, b"content")
    assert (await http.get(f"/v2/{name}/blobs/{digest}")).content == b"content"
    session = await http.post(f"/v2/{name}/blobs/uploads/")
    assert session.headers["location"].startswith(f"/v2/{name}/blobs/uploads/")
    assert (await http.delete(session.headers["location"])).status_code == 204
    assert (await http.get(f"/v2/{name}/referrers/{digest}")).status_code == 200
    assert (await http.delete(f"/v2/{name}/manifests/{BARE.digest}")).status_code == 202


@fewer
@given(name=st.one_of(st.text(PATH_CHARACTERS, max_size=20), st.integers(256, 300).map(lambda length: "a" * length)))
async def test_any_other_name_is_refused(http: httpx.AsyncClient, name: str) -> None:
    if re.fullmatch(NAME, name) and len(name) <= 255:
        return
    for method, rest in (
        ("GET", "manifests/v1"),
        ("PUT", "manifests/v1"),
        ("DELETE", "manifests/v1"),
        ("GET", f"blobs/{BARE.digest}"),
        ("GET", "tags/list"),
        ("POST", "blobs/uploads/"),
        ("GET", f"referrers/{BARE.digest}"),
    ):
        answer = await raw(http, method, f"/v2/{name}/{rest}", content=BARE.content if method == "PUT" else None)
        assert (answer.status_code, codes(answer)) == (400, ["NAME_INVALID"])


@fewer
@given(tag=st.from_regex(TAG, fullmatch=True))
async def test_any_tag_of_the_grammar_is_a_tag_and_no_other(http: httpx.AsyncClient, tag: str) -> None:
    assert (await put_manifest(http, "app", tag, BARE)).status_code == 201
    assert (await http.get(f"/v2/app/manifests/{tag}")).content == BARE.content
    other = tag.swapcase()
    if other != tag:
        assert (await http.get(f"/v2/app/manifests/{other}")).status_code == 404
    assert (await http.get("/v2/app/tags/list")).json()["tags"] == [tag]
    assert (await http.delete(f"/v2/app/manifests/{tag}")).status_code == 202


@many
@given(
    tag=st.one_of(
        st.text(st.sampled_from("abZ09._-@!$&'()*+,;=~"), min_size=1, max_size=12),
        st.integers(129, 140).map(lambda length: "t" * length),
    )
)
async def test_any_other_tag_is_refused(http: httpx.AsyncClient, tag: str) -> None:
    if re.fullmatch(TAG, tag):
        return
    answer = await raw(http, "PUT", f"/v2/app/manifests/{tag}", content=BARE.content)
    if tag in (".", ".."):
        assert answer.status_code in (400, 404)
        return
    assert (answer.status_code, codes(answer)) == (400, ["TAG_INVALID"])
    assert (await raw(http, "GET", f"/v2/app/manifests/{tag}")).status_code == 404
    assert (await raw(http, "HEAD", f"/v2/app/manifests/{tag}")).status_code == 404
    assert (await raw(http, "DELETE", f"/v2/app/manifests/{tag}")).status_code == 400
    assert (await put_manifest(http, "app", BARE.digest, BARE, params={"tag": tag})).status_code == 400


@many
@given(digest=DIGESTS)
async def test_any_digest_of_the_grammar_is_looked_for(http: httpx.AsyncClient, digest: str) -> None:
    for kind, code in (("blobs", "BLOB_UNKNOWN"), ("manifests", "MANIFEST_UNKNOWN")):
        answer = await http.get(f"/v2/app/{kind}/{digest}")
        assert (answer.status_code, codes(answer)) == (404, [code])
    assert (await http.get(f"/v2/app/referrers/{digest}")).json()["manifests"] == []


@many
@given(
    digest=st.one_of(
        DIGESTS.map(str.upper),
        DIGESTS.map(lambda digest: digest[:-1]),
        DIGESTS.map(lambda digest: digest + "0"),
        DIGESTS.map(lambda digest: digest.replace("sha", "SHA")),
        DIGESTS.map(lambda digest: digest.replace(":", "_")),
        st.text(PATH_CHARACTERS.filter(lambda character: character != "/"), min_size=1, max_size=80),
    )
)
async def test_any_other_digest_is_refused(http: httpx.AsyncClient, digest: str) -> None:
    if re.fullmatch(r"sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128}", digest) or digest in (".", ".."):
        return
    for method, rest in (
        ("GET", f"blobs/{digest}"),
        ("HEAD", f"blobs/{digest}"),
        ("DELETE", f"blobs/{digest}"),
        ("GET", f"referrers/{digest}"),
    ):
        answer = await raw(http, method, f"/v2/app/{rest}")
        assert answer.status_code == 400
        assert method == "HEAD" or codes(answer) == ["DIGEST_INVALID"]


UNKNOWN_PATHS = [
    "/v2/x",
    "/v2/app/other/thing",
    "/v2/app/tags",
    "/v2/app/tags/list/",
    "/v2/app/manifests/v1/x",
    "/v2/app/blobs",
    "/v2/_catalog/x",
    "/v1/",
    "/",
    "/v2x/",
]


@pytest.mark.parametrize("path", UNKNOWN_PATHS)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_a_path_that_is_none_is_404_in_the_form_of_an_error(
    http: httpx.AsyncClient, method: str, path: str
) -> None:
    answer = await raw(http, method, path)
    assert answer.status_code == 404
    assert codes(answer) == ["UNSUPPORTED"]


METHODS = {
    "/v2/": {"GET", "HEAD"},
    "/v2/_catalog": {"GET", "HEAD"},
    "/v2/app/tags/list": {"GET", "HEAD"},
    f"/v2/app/referrers/{BARE.digest}": {"GET", "HEAD"},
    "/v2/app/manifests/v1": {"GET", "HEAD", "PUT", "DELETE"},
    f"/v2/app/blobs/{BARE.digest}": {"GET", "HEAD", "DELETE"},
    "/v2/app/blobs/uploads/": {"POST"},
    "/v2/app/blobs/uploads/11111111-1111-4111-8111-111111111111": {"GET", "HEAD", "PATCH", "PUT", "DELETE"},
}


@pytest.mark.parametrize("path", METHODS)
async def test_a_method_that_a_resource_does_not_have_is_405_with_those_that_it_has(
    http: httpx.AsyncClient, path: str
) -> None:
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"} - METHODS[path]:
        answer = await http.request(method, path)
        assert (answer.status_code, codes(answer)) == (405, ["UNSUPPORTED"])
        assert set(answer.headers["allow"].split(", ")) == METHODS[path]


@pytest.mark.parametrize(
    "path", ["/v2/app%2fx/tags/list", "/v2/%61pp/tags/list", "/v2/app/manifests/v%31", "/v2/%C3%A9/tags/list"]
)
async def test_an_escape_that_no_name_needs_is_refused(http: httpx.AsyncClient, path: str) -> None:
    answer = await raw(http, "GET", path)
    assert (answer.status_code, codes(answer)) == (400, ["NAME_INVALID"])


async def test_a_digests_colon_may_be_escaped(http: httpx.AsyncClient) -> None:
    await put_manifest(http, "app", "v1", BARE)
    escaped = BARE.digest.replace(":", "%3A")
    assert (await raw(http, "GET", f"/v2/app/manifests/{escaped}")).content == BARE.content


@fewer
@given(data=st.data())
async def test_names_that_differ_in_letters_alone_are_different(http: httpx.AsyncClient, data: Any) -> None:
    """Also on file systems that ignore case: each tag keeps its own manifest."""
    tag = data.draw(st.from_regex(r"[a-zA-Z][a-zA-Z0-9._-]{0,10}", fullmatch=True))
    variants = sorted({tag, tag.upper(), tag.lower(), tag.swapcase()})
    manifests = {each: index_of(annotations={"tag": each}) for each in variants}
    for each, manifest in manifests.items():
        assert (await put_manifest(http, "app", each, manifest)).status_code == 201
    for each, manifest in manifests.items():
        assert (await http.get(f"/v2/app/manifests/{each}")).content == manifest.content
        assert (await http.head(f"/v2/app/manifests/{each}")).headers["docker-content-digest"] == digest_of(
            manifest.content
        )
