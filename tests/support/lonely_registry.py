"""The registry without the rooms above and below that it works with: no upstream to pull through, nobody to sync to."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from yarddesk.content.listener import ManifestPush
from yarddesk.content.pull_through import (
    BlobContent,
    BlobNowhere,
    FetchedManifest,
    ReferrerList,
    ResolvedManifest,
    TagPage,
)
from yarddesk.content.store import Store
from yarddesk.content.target import NotFound
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import Reference, RepositoryName, Tag
from yarddesk.registry.app import RegistryApp
from yarddesk.registry.guard import Guard, HostRules


class NoUpstreams:
    """A PullThrough for a yard that has none."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def is_fresh(self, repository: RepositoryName, tag: Tag) -> bool:
        return True

    def used(self, repository: RepositoryName, digest: Digest) -> None:
        return

    async def resolve_manifest(
        self, repository: RepositoryName, reference: Reference, *, quick: bool
    ) -> ResolvedManifest | None:
        return None

    async def fetch_manifest(self, repository: RepositoryName, reference: Reference) -> FetchedManifest | None:
        return None

    async def blob_size(self, repository: RepositoryName, digest: Digest) -> int | None:
        return None

    def is_filling(self, digest: Digest) -> bool:
        return False

    @asynccontextmanager
    async def open_blob(self, repository: RepositoryName, digest: Digest) -> AsyncIterator[BlobContent]:
        if digest:  # always
            raise BlobNowhere(digest)
        yield BlobContent(0, _nothing)

    async def tags(self, repository: RepositoryName, *, last: str = "", limit: int | None = None) -> TagPage | None:
        try:
            return TagPage(await self.store.tags(repository, last=last, limit=limit))
        except NotFound:
            return None

    async def referrers(self, repository: RepositoryName, digest: Digest, artifact_type: str = "") -> ReferrerList:
        return ReferrerList(await self.store.referrers(repository, digest, artifact_type))


@dataclass
class Pushes:
    """A PushListener that remembers what it heard, in order."""

    heard: list[tuple[object, ...]] = field(default_factory=list)

    async def manifest_pushed(self, push: ManifestPush) -> None:
        self.heard.append(("pushed", push.repository, push.manifest.digest, push.tags))

    async def push_done(self, push: ManifestPush) -> None:
        return

    async def push_failed(self, push: ManifestPush) -> None:
        self.heard.append(("push failed", push.repository, push.manifest.digest, push.tags))

    async def tag_deleted(self, repository: RepositoryName, tag: Tag) -> None:
        self.heard.append(("tag deleted", repository, tag))

    async def manifest_deleted(self, repository: RepositoryName, digest: Digest, tags: tuple[Tag, ...]) -> None:
        self.heard.append(("manifest deleted", repository, digest, tags))


def lonely_registry(store: Store, listener: Pushes | None = None, rules: HostRules | None = None) -> Guard:
    """The application, guarded, over a store."""
    return Guard(RegistryApp(store, NoUpstreams(store), listener or Pushes()), rules)


async def _nothing(_start: int, _end: int) -> AsyncGenerator[bytes, None]:
    for piece in list[bytes]():
        yield piece
