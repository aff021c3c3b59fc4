"""Requests as the specification words them, and what its sentences say of the answers."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import urljoin

import httpx
from hypothesis import HealthCheck, settings

from tests.support.images import OCI_INDEX, Content
from tests.unit.registry.pushing import digest_of
from yarddesk.oci.link import next_link

NAME = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*"
TAG = r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}"
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")

many = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
fewer = settings(many, max_examples=20)


def index_of(*entries: dict[str, Any], **more: Any) -> Content:
    """An index of these descriptors."""
    document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(entries), **more}
    return Content(OCI_INDEX, json.dumps(document).encode())


async def begin_upload(http: httpx.AsyncClient, name: str = "app", **query: str) -> str:
    """The location of a new session."""
    answer = await http.post(f"/v2/{name}/blobs/uploads/", params=query, headers={"Content-Length": "0"})
    assert answer.status_code == 202
    return urljoin(str(answer.url), answer.headers["location"])


async def raw(http: httpx.AsyncClient, method: str, path: str, **options: Any) -> httpx.Response:
    """A request to a path that nobody tidies up on the way."""
    url = http.base_url.copy_with(raw_path=path.encode("utf-8"))
    return await http.request(method, url, **options)


async def pages(http: httpx.AsyncClient, url: str) -> list[dict[str, Any]]:
    """Every page's document, by following the links as RFC 8288 says."""
    found = []
    following: str | None = url
    while following:
        answer = await http.get(following)
        assert answer.status_code == 200
        found.append(answer.json())
        link = answer.headers.get("link")
        target = next_link(link) if link else None
        assert (link is None) == (target is None)
        following = urljoin(str(answer.url), target) if target else None
    return found


def same_but_date(first: httpx.Headers, second: httpx.Headers) -> bool:
    """Whether two answers have the same headers."""

    def without(headers: httpx.Headers) -> list[tuple[str, str]]:
        return sorted((name, value) for name, value in headers.multi_items() if name != "date")

    return without(first) == without(second)


def link_descriptor(manifest: Content) -> dict[str, Any]:
    """The descriptor by which another manifest names this one."""
    return {"mediaType": manifest.media_type, "digest": digest_of(manifest.content), "size": len(manifest.content)}
