"""Lists that a registry keeps: tags and referrers (OCI distribution specification v1.1, "Content discovery")."""

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

import httpx

from yarddesk.content.target import NotFound
from yarddesk.content.upstream import UpstreamDenied, UpstreamTrouble
from yarddesk.oci.descriptor import Descriptor
from yarddesk.oci.digest import Digest
from yarddesk.oci.link import next_link
from yarddesk.oci.manifest import InvalidManifest, Manifest, parse_manifest
from yarddesk.oci.media_types import OCI_INDEX
from yarddesk.oci.name import InvalidTag, Reference, RepositoryName, Tag, referrers_tag
from yarddesk.upstream.client import RegistryClient
from yarddesk.upstream.encodings import ASKED
from yarddesk.upstream.http import Answer
from yarddesk.upstream.origins import Origin, web_url
from yarddesk.upstream.tokens import Scopes

_PAGE: Final = 1000
_MOST_PAGES: Final = 100
_MAX_LIST_BYTES: Final = 4 * 1024 * 1024
_ABSENT: Final = frozenset({"NAME_UNKNOWN", "MANIFEST_UNKNOWN"})


async def list_tags(
    client: RegistryClient, name: RepositoryName, scopes: Scopes, *, last: str, limit: int | None
) -> Sequence[Tag]:
    """Tags after `last`, in lexical order, `limit` at most. Raises NotFound or UpstreamFailure."""
    count = _PAGE if limit is None else max(1, min(limit, _PAGE))
    after = f"&last={quote(last, safe='')}" if last else ""
    url: httpx.URL | None = client.url(f"{name}/tags/list?n={count}{after}")
    found: set[Tag] = set()
    for _ in range(_MOST_PAGES):
        if url is None or (limit is not None and len(found) >= limit):
            break
        async with client.request("GET", url, scopes, headers={"Accept": "application/json", **ASKED}) as answer:
            if answer.status != 200:
                raise await client.failure(answer, f"tags of {name}")
            listed = _listed(await client.read(answer, _MAX_LIST_BYTES, "tags", encoded=True))
            if listed is None:
                raise client.failures.not_a_registry(f"Its list of the tags of {name} can't be read.")
            url = _next(client, answer)
        found |= {tag for tag in map(_tag, listed) if tag is not None and tag > last}
    return sorted(found)[:limit]


async def list_referrers(
    client: RegistryClient,
    name: RepositoryName,
    scopes: Scopes,
    digest: Digest,
    fetch_manifest: Callable[[Reference], Awaitable[Manifest]],
) -> Sequence[Descriptor]:
    """Manifests whose subject is `digest`: from the API, else from the tag that takes its place ("Referrers tag schema")."""
    unlisted: _Unlisted | None = None
    if client.abilities.lists_referrers(name):
        found = await _from_api(client, name, scopes, digest)
        if not isinstance(found, _Unlisted):
            return found
        unlisted = found
    try:
        tagged = (await fetch_manifest(referrers_tag(digest))).manifests
    except NotFound:
        tagged = ()
    if unlisted is not None:
        # It's the registry that answered, and not a login page in its place.
        client.abilities.lists_no_referrers(unlisted.repository, absent=unlisted.absent)
    return tagged


@dataclass(frozen=True, slots=True)
class _Unlisted:
    """There is no such list: of this repository, or of any. `absent`: because there is no such repository, or manifest."""

    repository: RepositoryName | None
    absent: bool


async def _from_api(
    client: RegistryClient, name: RepositoryName, scopes: Scopes, digest: Digest
) -> Sequence[Descriptor] | _Unlisted:
    """What another host says to whom the registry sends us (GHCR: to a page that isn't there) is no answer of a registry."""
    url: httpx.URL | None = client.url(f"{name}/referrers/{digest}")
    found: list[Descriptor] = []
    for _ in range(_MOST_PAGES):
        if url is None:
            break
        async with client.request("GET", url, scopes, headers={"Accept": OCI_INDEX, **ASKED}) as answer:
            failure = None
            if answer.status != 200:
                failure = await client.failure(answer, f"referrers of {digest.short}")
                if isinstance(failure, UpstreamDenied | UpstreamTrouble) and not answer.sent_elsewhere:
                    raise failure
            if failure or answer.headers.get("content-type", "").partition(";")[0].strip() != OCI_INDEX:
                # A 404 may as well mean that this repository isn't there.
                codes = failure.codes if isinstance(failure, NotFound) else ()
                return _Unlisted(name if isinstance(failure, NotFound) else None, not _ABSENT.isdisjoint(codes))
            content = await client.read(answer, _MAX_LIST_BYTES, "referrers", encoded=True)
            url = _next(client, answer)
        try:
            found.extend(parse_manifest(content, OCI_INDEX, lenient=True).manifests)
        except InvalidManifest as error:
            raise client.failures.not_a_registry(f"Its list of referrers can't be read: {error.title}") from error
    return found


def _next(client: RegistryClient, answer: Answer) -> httpx.URL | None:
    """The next page; only ever on the registry itself."""
    target = next_link(answer.headers.get("link", ""))
    if not target:
        return None
    url = web_url(target, answer.url)
    if url is None or Origin.of(url) != client.origin:
        raise client.failures.not_a_registry("The next page of its list is at another place.", status=answer.status)
    return url


def _tag(entry: object) -> Tag | None:
    try:
        return Tag.parse(entry) if isinstance(entry, str) else None
    except InvalidTag:
        return None


def _listed(content: bytes) -> Sequence[object] | None:
    """What a list of tags holds, which in Artifactory's may be digests; None where it's no such list."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    tags = document.get("tags")
    if tags is None:
        return ()  # Nexus lists null, others nothing
    return tags if isinstance(tags, list) else None
