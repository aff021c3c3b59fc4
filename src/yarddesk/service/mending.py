"""Content that was lost here, fetched anew from the upstreams of the repositories that need it."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from yarddesk.content.target import ContentSource, NotFound
from yarddesk.content.upstream import Upstream
from yarddesk.errors import YarddeskError
from yarddesk.events import ContentMended
from yarddesk.oci.descriptor import Descriptor
from yarddesk.oci.digest import Digest
from yarddesk.oci.manifest import Manifest
from yarddesk.oci.name import RepositoryName
from yarddesk.service.surroundings import Surroundings

_log = logging.getLogger(__name__)
_NOBODY: Final = "No upstream of its repository is there to be asked. Push it again."
_OFFLINE: Final = "No upstream is asked: cache.offline is set."
_NONE_HAS_IT: Final = "Its upstreams don't have it. Push it again."


@dataclass(frozen=True, slots=True)
class MendedManifest:
    """`upstream` is whom it came from, `reason` why it didn't come."""

    manifest: Manifest | None = None
    upstream: str = ""
    reason: str = ""


class Mender:
    """Asks a repository's upstreams, those for pulls first. What they send is verified before it takes its place.

    Whatever keeps one content from coming is told, and ends nothing: what else was found is worth to be heard.
    """

    def __init__(self, around: Surroundings) -> None:
        self._around = around

    async def blob(self, repositories: Sequence[RepositoryName], blob: Descriptor) -> tuple[str, str]:
        """Fetch a blob through one of these: the upstream that it came from, or empty and why it didn't come."""
        reason = _NOBODY
        for repository in repositories:
            for upstream in self._upstreams(repository):
                try:
                    await self._around.store.repository(repository).push(blob, _source(upstream, repository, blob))
                except NotFound:
                    reason = _NONE_HAS_IT
                except YarddeskError as error:
                    reason = str(error)
                else:
                    self._mended(repository, blob.digest, upstream)
                    return upstream.name, ""
        return "", _OFFLINE if self._is_offline else reason

    async def manifest(self, repository: RepositoryName, digest: Digest) -> MendedManifest:
        """Fetch a manifest by its digest; its tags name it still."""
        reason = _NOBODY
        for upstream in self._upstreams(repository):
            try:
                manifest = await upstream.repository(repository).fetch_manifest(digest)
                await self._around.store.put_manifest(repository, manifest)
            except NotFound:
                reason = _NONE_HAS_IT
            except YarddeskError as error:
                reason = str(error)
            else:
                self._mended(repository, digest, upstream)
                return MendedManifest(manifest, upstream.name)
        return MendedManifest(reason=_OFFLINE if self._is_offline else reason)

    @property
    def _is_offline(self) -> bool:
        return self._around.settings().cache.offline

    def _upstreams(self, repository: RepositoryName) -> Sequence[Upstream]:
        if self._is_offline:
            return ()
        routes = self._around.routes()
        both = (*routes.pull_upstreams(repository), *routes.push_upstreams(repository))
        return list({upstream.name: upstream for upstream in reversed(both)}.values())[::-1]

    def _mended(self, repository: RepositoryName, digest: Digest, upstream: Upstream) -> None:
        _log.warning("%s of %s was fetched anew from %s", digest, repository, upstream.name)
        self._around.events.publish(ContentMended(digest=digest, repository=repository, upstream=upstream.name))


def _source(upstream: Upstream, repository: RepositoryName, blob: Descriptor) -> ContentSource:
    return lambda offset: upstream.repository(repository).fetch(blob, offset=offset)
