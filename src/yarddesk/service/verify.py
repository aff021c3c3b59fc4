"""`yarddesk verify`: all content hashed anew; what is damaged is moved aside, and fetched anew where an upstream has it."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

from yarddesk.content.target import NotFound
from yarddesk.control.works import Document, Report
from yarddesk.oci.descriptor import Descriptor
from yarddesk.oci.digest import Digest
from yarddesk.oci.manifest import Manifest
from yarddesk.oci.name import RepositoryName, Tag, format_reference
from yarddesk.service.mending import Mender
from yarddesk.service.surroundings import Surroundings
from yarddesk.storage.filesystem import FilesystemStore
from yarddesk.storage.manifests import ManifestCheck

_TICK_SECONDS: Final = 0.25
_GIVE_WAY_SECONDS: Final = 0.001
"""After each mebibyte, while something is pushed: half the time is theirs."""

_MOST_IMAGES: Final = 20
"""So many images are named for one blob."""


@dataclass(slots=True)
class Amiss:
    """One thing that is not as it should be; `images` are the repositories and manifests that need it."""

    kind: str
    problem: str
    digest: Digest | None = None
    repository: RepositoryName | None = None
    tag: Tag | None = None
    descriptor: Descriptor | None = None
    images: list[tuple[RepositoryName, Digest]] = field(default_factory=list)
    image_count: int = 0
    mended: str = ""
    """The upstream that it was fetched from."""

    reason: str = ""

    def needed_by(self, repository: RepositoryName, manifest: Digest) -> None:
        self.image_count += 1
        if len(self.images) < _MOST_IMAGES:
            self.images.append((repository, manifest))


class Verifying:
    """The work behind the command."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around

    async def verify(self, _parameters: Document, report: Report) -> Document:
        """All of it. Damage that was mended is told as well."""
        return await _Verification(self._around, report).run()


class _Verification:
    def __init__(self, around: Surroundings, report: Report) -> None:
        self._around = around
        self._store: FilesystemStore = around.store
        self._report = report
        self._mender = Mender(around)
        self._doing = ""
        self._bytes = self._total = 0
        self._counts = {"blobs": 0, "manifests": 0, "tags": 0}
        self._retyped = 0
        self._blobs: dict[Digest, Amiss] = {}
        self._manifests: dict[tuple[RepositoryName, Digest], Amiss] = {}
        self._tags: list[Amiss] = []

    async def run(self) -> Document:
        self._total = await self._store.used_bytes()
        async with self._telling():
            await self._look_at_blobs()
            await self._look_at_repositories()
            self._doing = "fetching anew what is damaged"
            await self._mend()
        return await self._told()

    async def _look_at_blobs(self) -> None:
        self._doing = "verifying blobs"
        async for digest in self._store.blobs():
            try:
                if not await self._store.verify_blob(digest, self._passed):
                    self._blobs[digest] = Amiss("blob", "damaged", digest)
            except NotFound:
                continue  # deleted since
            self._counts["blobs"] += 1
        for digest in self._store.damaged_blobs():
            # Of an earlier time, and still not back.
            if digest not in self._blobs and await self._store.blob_size(digest) is None:
                self._blobs[digest] = Amiss("blob", "missing", digest)

    async def _look_at_repositories(self) -> None:
        self._doing = "verifying manifests"
        async for repository in self._store.known_repositories():
            for digest in await self._store.digests(repository):
                await self._look_at_manifest(repository, digest)
            for tag, named in await self._store.tags_amiss(repository):
                self._note_tag(repository, tag, named)

    async def _look_at_manifest(self, repository: RepositoryName, digest: Digest) -> None:
        found = await self._store.verify_manifest(repository, digest)
        if found is ManifestCheck.MISSING:
            return
        self._counts["manifests"] += 1
        self._retyped += found is ManifestCheck.WRONG_TYPE
        if found is ManifestCheck.DAMAGED:
            self._manifests[repository, digest] = Amiss("manifest", "damaged", digest, repository)
            return
        try:
            manifest = await self._store.get_manifest(repository, digest)
        except NotFound:
            return
        self._bytes += len(manifest.content)
        await self._note_lacks(repository, manifest)

    async def _note_lacks(self, repository: RepositoryName, manifest: Manifest) -> None:
        """The blobs that an image lacks; where its blobs come through an upstream as they are asked for, those that were damaged."""
        comes_when_asked = bool(self._around.routes().pull_upstreams(repository))
        for blob in manifest.required_blobs:
            amiss = self._blobs.get(blob.digest)
            if amiss is None:
                if comes_when_asked or await self._store.blob_size(blob.digest) is not None:
                    continue
                amiss = self._blobs[blob.digest] = Amiss("blob", "missing", blob.digest)
            amiss.descriptor = blob
            amiss.needed_by(repository, manifest.digest)

    def _note_tag(self, repository: RepositoryName, tag: Tag, named: Digest | None) -> None:
        self._counts["tags"] += 1
        if named is None:
            self._tags.append(Amiss("tag", "damaged", repository=repository, tag=tag, reason="It holds no digest."))
            return
        amiss = self._manifests.get((repository, named))
        if amiss is None:
            amiss = self._manifests[repository, named] = Amiss("manifest", "missing", named, repository)
        amiss.tag = amiss.tag or tag

    async def _mend(self) -> None:
        for (repository, digest), amiss in self._manifests.items():
            found = await self._mender.manifest(repository, digest)
            amiss.mended, amiss.reason = found.upstream, found.reason
            if found.manifest is not None:
                await self._note_lacks(repository, found.manifest)
        for amiss in self._blobs.values():
            if amiss.descriptor is None:
                amiss.reason = "No stored image needs it."
                continue
            repositories = list(dict.fromkeys(repository for repository, _ in amiss.images))
            amiss.mended, amiss.reason = await self._mender.blob(repositories, amiss.descriptor)

    async def _told(self) -> Document:
        entries = [*self._blobs.values(), *self._manifests.values(), *self._tags]
        # What lies in quarantine from an earlier time, and nobody needs, is no trouble.
        entries = [
            each for each in entries if not (each.problem == "missing" and each.kind == "blob" and not each.images)
        ]
        names = _Names(self._store)
        told = [
            {
                "kind": each.kind,
                "problem": each.problem,
                "digest": each.digest,
                "repository": each.repository,
                "tag": each.tag,
                "mended_from": each.mended or None,
                "reason": "" if each.mended else each.reason,
                "images": [await names.of(repository, manifest) for repository, manifest in each.images],
                "image_count": each.image_count,
            }
            for each in entries
        ]
        # A blob that no image needs has lost nobody anything: it's in quarantine, and that is all.
        unmended = [each for each in entries if not each.mended and not (each.kind == "blob" and not each.images)]
        return {
            "bytes": self._bytes,
            "blobs": self._counts["blobs"],
            "manifests": self._counts["manifests"],
            "media_types_put_right": self._retyped,
            "amiss": told,
            "unmended": len(unmended),
        }

    @asynccontextmanager
    async def _telling(self) -> AsyncIterator[None]:
        async def tell() -> None:
            while True:
                self._report.progress(
                    doing=self._doing,
                    bytes_done=self._bytes,
                    bytes_total=max(self._total, self._bytes),
                    count_done=self._counts["blobs"] + self._counts["manifests"],
                )
                await asyncio.sleep(_TICK_SECONDS)

        telling = asyncio.create_task(tell())
        try:
            yield
        finally:
            telling.cancel()
            with suppress(asyncio.CancelledError):
                await telling

    def _passed(self, count: int) -> None:
        # On the one thread that hashes for us.
        self._bytes += count
        if self._store.pushes_under_way:
            time.sleep(_GIVE_WAY_SECONDS)


class _Names:
    """What people call the images that are in trouble: by a tag that leads to them, else by digest."""

    def __init__(self, store: FilesystemStore) -> None:
        self._store = store
        self._tags: dict[RepositoryName, dict[Digest, Tag]] = {}

    async def of(self, repository: RepositoryName, manifest: Digest) -> str:
        if repository not in self._tags:
            self._tags[repository] = await self._read(repository)
        return format_reference(repository, self._tags[repository].get(manifest, manifest))

    async def _read(self, repository: RepositoryName) -> dict[Digest, Tag]:
        found: dict[Digest, Tag] = {}
        for tag in await self._store.tags(repository):
            try:
                manifest = await self._store.get_manifest(repository, tag)
            except NotFound:
                continue
            for child in manifest.manifests:
                found.setdefault(child.digest, tag)
            found[manifest.digest] = tag
        return found
