"""What refers to a manifest by its `subject` (distribution specification v1.1, "Listing referrers")."""

from typing import Any

from starlette.requests import Request

from yarddesk.content.pull_through import PullThrough
from yarddesk.oci.descriptor import Descriptor
from yarddesk.oci.digest import Digest
from yarddesk.oci.media_types import OCI_INDEX
from yarddesk.registry.answers import Answer, json_answer
from yarddesk.registry.paths import Route
from yarddesk.registry.wire import STALE, Header


class Referrers:
    """An image index, empty where nothing refers to the digest: never a 404."""

    def __init__(self, pull_through: PullThrough) -> None:
        self._pull_through = pull_through

    async def get(self, request: Request, route: Route) -> Answer:
        digest = Digest.parse(route.rest)
        artifact_type = request.query_params.get("artifactType", "")
        listed = await self._pull_through.referrers(route.name, digest, artifact_type)
        headers: list[Header] = [STALE] if listed.stale else []
        if artifact_type:
            headers.append((b"oci-filters-applied", b"artifactType"))
        document = {
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
            "manifests": [
                _entry(descriptor)
                for descriptor in listed.descriptors
                if not artifact_type or descriptor.artifact_type == artifact_type
            ],
        }
        return json_answer(document, *headers, media_type=OCI_INDEX.encode())


def _entry(descriptor: Descriptor) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "mediaType": descriptor.media_type,
        "digest": descriptor.digest,
        "size": descriptor.size,
    }
    if descriptor.artifact_type:
        entry["artifactType"] = descriptor.artifact_type
    if descriptor.annotations:
        entry["annotations"] = dict(descriptor.annotations)
    return entry
