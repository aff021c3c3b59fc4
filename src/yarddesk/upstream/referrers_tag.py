"""A digest's referrers where a registry doesn't list them (OCI distribution specification v1.1, "Pushing manifests with subject").

The list is then an index under a tag, and whoever pushes a manifest with a subject keeps it. Of two that do so at once one
could undo what the other did: so the list is written only over the one that was read, where the registry can compare them.
"""

import asyncio
import json
import logging
from typing import Any, Final

from yarddesk.content.upstream import UpstreamTrouble
from yarddesk.oci.manifest import MAX_MANIFEST_BYTES, InvalidManifest, Manifest, parse_manifest
from yarddesk.oci.media_types import OCI_INDEX
from yarddesk.oci.name import RepositoryName, Tag, referrers_tag
from yarddesk.upstream.client import RegistryClient, push_scope
from yarddesk.upstream.http import Body

_log = logging.getLogger(__name__)

_TRIES: Final = 5
_EMPTY: Final = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}


class ReferrersTags:
    """The lists of one registry; of this process's changes one comes after the other."""

    def __init__(self, client: RegistryClient) -> None:
        self._client = client
        self._lock = asyncio.Lock()

    async def add(self, name: RepositoryName, referrer: Manifest) -> None:
        """Let the list of its subject's referrers hold a manifest that is there. Raises UpstreamFailure."""
        if referrer.subject is None:
            return
        tag = referrers_tag(referrer.subject.digest)
        async with self._lock:
            for _ in range(_TRIES):
                found = await self._read(name, tag)
                if found is None:
                    return
                document, etag = found
                if any(entry.get("digest") == referrer.digest for entry in document["manifests"]):
                    return
                document["manifests"].append(referrer.referrer.as_document())
                if await self._written(name, tag, document, etag):
                    return
        raise UpstreamTrouble(
            self._client.failures.name,
            f"The list of referrers {name}:{tag} changes too often.",
            f"Others wrote to it {_TRIES} times while it was read.",
            temporary=True,
        )

    async def _read(self, name: RepositoryName, tag: Tag) -> tuple[dict[str, Any], str | None] | None:
        """The list and its entity tag (None: there is no list yet); None where something else has that tag."""
        what = f"the list of referrers {name}:{tag}"
        url = self._client.url(f"{name}/manifests/{tag}")
        async with self._client.request("GET", url, push_scope(name), headers={"Accept": OCI_INDEX}) as answer:
            if answer.status == 404:
                return {**_EMPTY, "manifests": []}, None
            if answer.status != 200:
                raise await self._client.failure(answer, what)
            content = await self._client.read(answer, MAX_MANIFEST_BYTES, what)
            media_type = answer.headers.get("content-type", "")
            etag = answer.headers.get("etag", "")
        try:
            if parse_manifest(content, media_type, lenient=True).media_type == OCI_INDEX:
                return json.loads(content), etag
        except InvalidManifest as error:
            _log.debug("%s: %s", what, error)
        _log.warning("%s is no index: it stays as it is, and the manifest is not listed there", what)
        return None

    async def _written(self, name: RepositoryName, tag: Tag, document: dict[str, Any], etag: str | None) -> bool:
        """False where somebody else wrote since."""
        headers = {"Content-Type": OCI_INDEX}
        if etag is None:
            headers["If-None-Match"] = "*"
        elif etag and not etag.startswith("W/"):
            headers["If-Match"] = etag
        body = Body.of(json.dumps(document, separators=(",", ":")).encode())
        url = self._client.url(f"{name}/manifests/{tag}")
        request = self._client.request("PUT", url, push_scope(name), headers=headers, body=body, repeatable=True)
        async with request as answer:
            if answer.status == 201:
                return True
            if answer.status == 412:
                return False
            raise await self._client.failure(answer, f"the list of referrers {name}:{tag}")
