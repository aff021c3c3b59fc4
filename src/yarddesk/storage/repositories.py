"""Manifests and tags of all repositories: files, and a memory of them that never tells anything older than the files."""

import asyncio
import time
import weakref
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from itertools import islice
from typing import Final

from yarddesk.content.target import Damaged, DigestMismatch, NotFound
from yarddesk.oci.descriptor import Descriptor
from yarddesk.oci.digest import Digest
from yarddesk.oci.manifest import Manifest
from yarddesk.oci.name import Reference, RepositoryName, Tag, format_reference
from yarddesk.storage.catalog import Catalog
from yarddesk.storage.contents import ContentIndex, Held, held_of
from yarddesk.storage.finishing import Finishing
from yarddesk.storage.known import KnownManifests
from yarddesk.storage.listed import MOST_NAMES, Listed, page_of
from yarddesk.storage.manifests import ManifestCheck, ManifestFiles
from yarddesk.storage.naming import Naming
from yarddesk.storage.quarantine import Damage, Quarantine
from yarddesk.storage.references import named_in
from yarddesk.storage.threads import Threads
from yarddesk.storage.tree import Tree

_PAGE: Final = 200
_NAMES: Final = 5_000
"""Names at once where nothing but names is kept: each time all that are in the same folder are read and put in order."""


class Repositories:
    """What a Store promises of manifests, tags and repositories (content.store), over files.

    Changes of one repository come one after the other; each is finished even when its caller is cancelled.
    """

    def __init__(
        self,
        tree: Tree,
        threads: Threads,
        finishing: Finishing,
        quarantine: Quarantine,
        changed: Callable[[], None],
        damaged: Callable[[RepositoryName, Damage], None],
        contents: ContentIndex,
    ) -> None:
        self._contents = contents
        self._loop = asyncio.get_running_loop()
        self._quarantine = quarantine
        self._damaged = damaged
        self._files = ManifestFiles(tree, quarantine, self._found_damaged)
        self._catalog = Catalog(tree, self._files)
        self._threads = threads
        self.naming = Naming(self._files, self._catalog, threads, contents)
        self._finishing = finishing
        self._changed = changed
        self._known = KnownManifests()
        self._listed = Listed()
        self._too_many_names = False
        self._revisions: Counter[RepositoryName] = Counter()
        self._unsure: set[RepositoryName] = set()
        """A change of these failed, and what became of it only the disk knows."""
        self._locks: weakref.WeakValueDictionary[RepositoryName, asyncio.Lock] = weakref.WeakValueDictionary()

    def resolve_cached(self, repository: RepositoryName, reference: Reference) -> Descriptor | None:
        return self._known.descriptor(repository, reference)

    async def resolve(self, repository: RepositoryName, reference: Reference) -> Descriptor:
        known = self._known.descriptor(repository, reference)
        return known or (await self._load(repository, reference)).descriptor

    async def glance(self, repository: RepositoryName, references: Sequence[Reference]) -> list[Digest | None]:
        found: list[Digest | None] = []
        for start in range(0, len(references), _PAGE):
            found += await self._threads.small(self._files.named, repository, references[start : start + _PAGE])
        return found

    async def get(self, repository: RepositoryName, reference: Reference) -> Manifest:
        return self._known.manifest(repository, reference) or await self._load(repository, reference)

    async def put(self, repository: RepositoryName, manifest: Manifest) -> None:
        arriving = self.naming.arrives(manifest)  # from this moment on, not from when the task begins

        async def put() -> None:
            try:
                async with self._change(repository):
                    try:
                        held = await self._threads.small(self._put, repository, manifest)
                    except BaseException:  # it may be there all the same, and need what it names
                        self._contents.hold(named_in(manifest.content))
                        raise
                    self._contents.manifest_stored(repository, manifest.digest, held)
                    self._known.remember_stored(repository, manifest)
                    self._listed.added(repository)
            finally:
                self.naming.arrived(arriving)

        await self._finishing.run(put())

    async def put_tag(self, repository: RepositoryName, tag: Tag, digest: Digest) -> None:
        async def put() -> None:
            async with self._change(repository):
                self._known.forget_tags(repository, (tag,))
                await self._threads.small(self._put_tag, repository, tag, digest)
                self._known.remember_tag(repository, tag, digest)
                self._listed.tagged(repository, tag)
                self._contents.tagged(repository, tag, digest)

        await self._finishing.run(put())

    async def delete_tag(self, repository: RepositoryName, tag: Tag) -> None:
        async def delete() -> None:
            async with self._change(repository):
                try:
                    there = await self._threads.small(self._files.delete_tag, repository, tag)
                finally:
                    self._known.forget_tags(repository, (tag,))
                self._listed.untagged(repository, (tag,))
                self._contents.untagged(repository, (tag,))
            if not there:
                raise _missing(repository, tag)

        await self._finishing.run(delete())

    async def delete(self, repository: RepositoryName, digest: Digest) -> Sequence[Tag]:
        async def delete() -> Sequence[Tag]:
            async with self._change(repository):
                try:
                    names = self._tags_of(repository, digest)
                    tags, holds = await self._threads.small(self._delete, repository, digest, names)
                except BaseException:  # how far it came, the disk knows
                    self._known.forget_with_tags(repository, digest)
                    raise
                self._known.forget_manifest(repository, digest)
                self._known.forget_tags(repository, tags or ())
                self._listed.untagged(repository, tags or ())
                self._contents.untagged(repository, tags or ())
                self._contents.manifests_gone(repository, (digest,))
                if not holds:
                    self._listed.removed(repository)
            if tags is None:
                raise _missing(repository, digest)
            return tags

        return await self._finishing.run(delete())

    async def tags(self, repository: RepositoryName, last: str, limit: int | None) -> Sequence[Tag]:
        listed = self._listed.tags(repository, last, limit)
        if listed is not None:
            return listed
        changes = self._known.changes
        found = await self._threads.small(self._all_tags, repository)
        if found is None:
            raise NotFound(f"There is no repository {repository} here.")
        if changes == self._known.changes:
            self._listed.remember_tags(repository, found)
        return page_of(found, last, limit)

    async def names(self, last: str, limit: int | None) -> Sequence[RepositoryName]:
        listed = self._listed.names(last, limit)
        if listed is not None:
            return listed
        if not self._too_many_names:
            changes = self._known.changes
            found = await self._threads.small(lambda: list(islice(self._catalog.after(""), MOST_NAMES + 1)))
            self._too_many_names = len(found) > MOST_NAMES
            if not self._too_many_names:
                if changes == self._known.changes:
                    self._listed.remember_names(found)
                return page_of(found, last, limit)
        return await self._threads.small(lambda: list(islice(self._catalog.after(last), limit)))

    async def referrers(self, repository: RepositoryName, digest: Digest, artifact_type: str) -> Sequence[Descriptor]:
        found = await self._threads.small(self._files.referrers, repository, digest)
        return [one for one in found if artifact_type in ("", one.artifact_type)]

    async def all(self) -> AsyncIterator[tuple[RepositoryName, Digest]]:
        last = ""
        while page := await self.names(last, _PAGE):
            for repository in page:
                for digest in await self._threads.small(self._files.digests, repository):
                    yield repository, digest
            last = page[-1]

    async def digests(self, repository: RepositoryName) -> list[Digest]:
        """All manifests of a repository, in no order."""
        return await self._threads.small(self._files.digests, repository)

    async def tagged(self, repository: RepositoryName) -> set[Digest] | None:
        """What its tags name; None where that can't be told of one."""
        return await self._threads.read(self._tagged, repository)

    async def modified(self, repository: RepositoryName, digest: Digest) -> float | None:
        """When a manifest was put here last, in seconds of the epoch."""
        return await self._threads.small(self._files.modified, repository, digest)

    # What verifying needs

    async def known(self) -> AsyncIterator[RepositoryName]:
        """Every repository that the disk knows of, also those of whose manifests none is left."""
        last = ""
        while page := await self._threads.small(self._known_after, last):
            for repository in page:
                yield repository
            last = page[-1]

    async def verify(self, repository: RepositoryName, digest: Digest) -> ManifestCheck:
        """Look at a manifest's files; a media type that contradicts the manifest is put right."""
        found = await self._threads.read(self._files.verify, repository, digest)
        if found is ManifestCheck.WRONG_TYPE:
            try:
                await self.put(repository, await self._load(repository, digest))
            except NotFound:
                return ManifestCheck.WHOLE  # its bytes are, though no manifest that we can read
        return found

    async def tags_amiss(self, repository: RepositoryName) -> list[tuple[Tag, Digest | None]]:
        """Tags that lead nowhere."""
        return await self._threads.read(self._files.tags_amiss, repository)

    # What an index of all of it needs

    async def read_held(self, repository: RepositoryName, digests: Sequence[Digest]) -> list[tuple[Digest, Held]]:
        """What these manifests of a repository are, as far as they are here."""
        return await self._threads.read(self._read_held, repository, digests)

    async def read_tags(self, repository: RepositoryName) -> list[tuple[Tag, Digest]]:
        """What each of its tags names."""
        return await self._threads.read(self._read_tags, repository)

    # What collecting garbage needs

    def revision(self, repository: RepositoryName) -> int:
        """Another one when a change of the repository begins, and when it ends."""
        return self._revisions[repository]

    async def delete_untagged(self, repository: RepositoryName, digests: Sequence[Digest], revision: int) -> bool:
        """Remove manifests that no tag named in this revision; False, and nothing is done, where there is another by now."""
        return await self.delete_tagged(repository, (), digests, revision)

    async def delete_tagged(
        self, repository: RepositoryName, tags: Sequence[Tag], digests: Sequence[Digest], revision: int
    ) -> bool:
        """Remove manifests, in this order, after the tags that named them in this revision; False, and nothing is done, in another."""

        async def delete() -> bool:
            async with self._lock(repository):
                if self._revisions[repository] != revision:
                    return False
                with self._changing(repository):
                    try:
                        holds = await self._threads.small(self._delete_tagged, repository, tags, digests)
                    finally:
                        self._known.forget_tags(repository, tags)
                        for digest in digests:
                            self._known.forget_manifest(repository, digest)
                    self._listed.untagged(repository, tags)
                    self._contents.untagged(repository, tags)
                    self._contents.manifests_gone(repository, digests)
                    if not holds:
                        self._listed.removed(repository)
            return True

        return await self._finishing.run(delete())

    def count(self, stopped: Callable[[], bool]) -> None:
        """Have the usage count all manifests. Blocks."""
        self._catalog.count(stopped)

    @asynccontextmanager
    async def _change(self, repository: RepositoryName) -> AsyncIterator[None]:
        async with self._lock(repository):
            with self._changing(repository):
                yield

    def _lock(self, repository: RepositoryName) -> asyncio.Lock:
        lock = self._locks.get(repository)
        if lock is None:
            lock = self._locks[repository] = asyncio.Lock()
        return lock

    @contextmanager
    def _changing(self, repository: RepositoryName) -> Iterator[None]:
        self._revisions[repository] += 1
        self._known.changes += 1
        try:
            yield
        except BaseException:
            self._listed.forget(repository)
            self._unsure.add(repository)
            raise
        finally:
            self._revisions[repository] += 1
            self._known.changes += 1
            self._changed()

    def _tags_of(self, repository: RepositoryName, digest: Digest) -> Sequence[Tag] | None:
        """The tags that name a manifest; None where only the disk knows."""
        if not self._contents.complete or repository in self._unsure:
            return None
        return self._contents.tags_of(repository, digest)

    async def _load(self, repository: RepositoryName, reference: Reference) -> Manifest:
        changes = self._known.changes
        manifest = await self._threads.small(self._read, repository, reference)
        if manifest is None:
            raise await self._threads.small(self._why_missing, repository, reference)
        if changes == self._known.changes:
            self._known.remember(repository, manifest)
            if isinstance(reference, Tag):
                self._known.remember_tag(repository, reference, manifest.digest)
        return manifest

    def _forget_damaged(self, repository: RepositoryName, damage: Damage) -> None:
        self._known.changes += 1
        self._known.forget_with_tags(repository, damage.digest)
        self._listed.forget(repository)
        self._contents.manifest_damaged(repository, damage.digest)
        self._damaged(repository, damage)
        self._changed()

    # What follows runs on a thread.

    def _found_damaged(self, repository: RepositoryName, damage: Damage) -> None:
        # Before whoever waits for this thread goes on: the loop takes what threads hand to it in order.
        self._loop.call_soon_threadsafe(self._forget_damaged, repository, damage)

    def _why_missing(self, repository: RepositoryName, reference: Reference) -> NotFound:
        digest = reference if isinstance(reference, Digest) else self._files.read_tag(repository, reference)
        if digest is None or not self._quarantine.has_manifest(digest):
            return _missing(repository, reference)
        return Damaged(
            f"The manifest of {format_reference(repository, reference)} was damaged on the disk.",
            "It lies in the data folder's quarantine.",
            hint="Push the image again.",
        )

    def _read(self, repository: RepositoryName, reference: Reference) -> Manifest | None:
        digest = reference if isinstance(reference, Digest) else self._files.read_tag(repository, reference)
        return None if digest is None else self._files.read(repository, digest)

    def _known_after(self, last: str) -> list[RepositoryName]:
        return list(islice(self._catalog.after(last, tagged=True), _NAMES))

    def _read_held(self, repository: RepositoryName, digests: Sequence[Digest]) -> list[tuple[Digest, Held]]:
        found = ((digest, self._files.read_held(repository, digest)) for digest in digests)
        return [(digest, held) for digest, held in found if held is not None]

    def _read_tags(self, repository: RepositoryName) -> list[tuple[Tag, Digest]]:
        found = ((tag, self._files.read_tag(repository, tag)) for tag in self._files.tags(repository))
        return [(tag, digest) for tag, digest in found if digest is not None]

    def _tagged(self, repository: RepositoryName) -> set[Digest] | None:
        named = {self._files.read_tag(repository, tag) for tag in self._files.tags(repository)}
        known = {digest for digest in named if digest is not None}
        return known if len(known) == len(named) else None

    def _delete_tagged(self, repository: RepositoryName, tags: Sequence[Tag], digests: Sequence[Digest]) -> bool:
        """Whether any manifest is left."""
        self._files.delete_tags(repository, tags)
        for digest in digests:
            self._files.delete(repository, digest, tags=())
        return self._files.holds(repository)

    def _put(self, repository: RepositoryName, manifest: Manifest) -> Held:
        if not manifest.digest.matches(manifest.content):
            raise DigestMismatch(f"The bytes of the manifest are not those of {manifest.digest}.")
        self._files.put(repository, manifest)
        return held_of(manifest, self._files.modified(repository, manifest.digest) or time.time())

    def _put_tag(self, repository: RepositoryName, tag: Tag, digest: Digest) -> None:
        if not self._files.has(repository, digest):
            raise _missing(repository, digest)
        self._files.put_tag(repository, tag, digest)

    def _delete(
        self, repository: RepositoryName, digest: Digest, tags: Sequence[Tag] | None
    ) -> tuple[Sequence[Tag] | None, bool]:
        """The tags that went with it, None where it wasn't there; whether the repository still holds a manifest."""
        gone = self._files.delete(repository, digest, tags)
        return gone, self._files.holds(repository)

    def _all_tags(self, repository: RepositoryName) -> list[Tag] | None:
        return self._files.tags(repository) if self._files.holds(repository) else None


def _missing(repository: RepositoryName, reference: Reference) -> NotFound:
    return NotFound(f"There is no {format_reference(repository, reference)} here.")
