"""What refers to a manifest by its `subject` (distribution specification v1.1, "Listing referrers")."""

import json
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import urlencode

from starlette.requests import Request

from yarddesk.content.pull_through import PullThrough
from yarddesk.oci.digest import Digest
from yarddesk.oci.link import render_next
from yarddesk.oci.manifest import MAX_MANIFEST_BYTES
from yarddesk.oci.media_types import OCI_INDEX
from yarddesk.registry.answers import Answer, json_answer
from yarddesk.registry.paths import Route
from yarddesk.registry.requests import Page, page_of
from yarddesk.registry.wire import STALE, Header

_FRAME_BYTES: Final = 256
"""What an index has beside its entries, and more."""


class Referrers:
    """An image index, empty where nothing refers to the digest: never a 404. What is more than a manifest may hold comes in pages."""

    def __init__(self, pull_through: PullThrough) -> None:
        self._pull_through = pull_through

    async def get(self, request: Request, route: Route) -> Answer:
        digest, page = Digest.parse(route.rest), page_of(request)
        # No type has a space in it: that is a + as people write it by hand.
        artifact_type = request.query_params.get("artifactType", "").replace(" ", "+")
        listed = await self._pull_through.referrers(route.name, digest, artifact_type)
        headers: list[Header] = [STALE] if listed.stale else []
        if artifact_type:
            headers.append((b"oci-filters-applied", b"artifactType"))
        found = {
            descriptor.digest: descriptor
            for descriptor in listed.descriptors
            if descriptor.digest > page.last and artifact_type in ("", descriptor.artifact_type)
        }
        entries = _as_many_as_fit((found[name].as_document() for name in sorted(found)), page)
        if len(entries) < len(found) and entries:
            query = {"artifactType": artifact_type} if artifact_type else {}
            query |= {"n": str(page.limit)} if page.limit is not None else {}
            query["last"] = entries[-1]["digest"]
            target = f"/v2/{route.name}/referrers/{digest}?{urlencode(query)}"
            headers.append((b"link", render_next(target).encode()))
        document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
        return json_answer(document, *headers, media_type=OCI_INDEX.encode())


def _as_many_as_fit(entries: Iterable[dict[str, Any]], page: Page) -> list[dict[str, Any]]:
    """One at least, unless none is asked for; else no more than clients read of a manifest."""
    taken: list[dict[str, Any]] = []
    left = MAX_MANIFEST_BYTES - _FRAME_BYTES
    for entry in entries:
        left -= len(json.dumps(entry)) + 1
        if len(taken) == page.limit or (taken and left < 0):
            break
        taken.append(entry)
    return taken
