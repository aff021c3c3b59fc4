"""What manifests name: those that are here, by the index or by their bytes, and those on their way."""

import asyncio
from collections.abc import AsyncIterator
from itertools import islice
from typing import Final

from yarddesk.oci.digest import Digest
from yarddesk.oci.manifest import Manifest
from yarddesk.oci.name import RepositoryName
from yarddesk.storage.catalog import Catalog
from yarddesk.storage.contents import ContentIndex
from yarddesk.storage.manifests import ManifestFiles
from yarddesk.storage.references import Packed, named_in, needs, packed
from yarddesk.storage.threads import Threads

_PAGE: Final = 200
_MOST_CONTENT_BYTES: Final = 4 * 1024 * 1024
"""Manifests that are looked through are read a few at a time, of large ones no more than the one that goes beyond this."""

Contents = list[tuple[RepositoryName, Digest, bytes]]


class Naming:
    """By this it's known what may go. Whatever isn't sure counts as named."""

    def __init__(self, files: ManifestFiles, catalog: Catalog, threads: Threads, index: ContentIndex) -> None:
        self._files = files
        self._catalog = catalog
        self._threads = threads
        self._index = index
        self._arriving: dict[object, Manifest] = {}
        self._marked: set[Packed] | None = None

    def arrives(self, manifest: Manifest) -> object:
        """A manifest is about to be stored; what this gives is for `arrived`."""
        arriving = object()
        self._arriving[arriving] = manifest
        if self._marked is not None:
            self._marked.update(named_in(manifest.content))
        return arriving

    def arrived(self, arriving: object) -> None:
        """It's stored, and in the index; or it won't be."""
        del self._arriving[arriving]

    async def refer_to(self, blob: Digest) -> bool:
        """Whether a manifest refers to this blob, or one that is on its way."""
        if any(needs(manifest, blob) for manifest in list(self._arriving.values())):
            return True
        naming = self._naming(packed(blob)) if self._knows_who_names(blob) else self.contents()
        async for contents in naming:
            if await self._threads.read(self._any_refers_to, contents, blob):
                return True
        return False

    async def contents(self) -> AsyncIterator[Contents]:
        """The bytes of every manifest as they lie there, some of one repository at a time; they need not be whole."""
        last = ""
        # From the disk, whatever is remembered: what isn't found here is collected.
        while page := await self._threads.small(self._names_after, last):
            for repository in page:
                digests = await self._threads.small(self._files.digests, repository)
                while digests:
                    contents = await self._threads.read(self._take_contents, repository, digests)
                    if contents:
                        yield contents
            last = page[-1]

    def begin_marking(self) -> set[Packed]:
        """What every manifest that is stored from now on names, and those on their way: it grows until `end_marking`."""
        self._marked = {name for manifest in self._arriving.values() for name in named_in(manifest.content)}
        return self._marked

    def end_marking(self) -> None:
        self._marked = None

    def _knows_who_names(self, blob: Digest) -> bool:
        """False, too, where a manifest names it that isn't whole, or of which isn't known whether it's here."""
        return self._index.complete and packed(blob) not in self._index.held

    async def _naming(self, blob: Packed) -> AsyncIterator[Contents]:
        """The manifests that name a blob, of one repository at a time: with no look at the disk where none does."""
        if blob not in self._index.references:
            return
        for looked_at, (repository, held) in enumerate(list(self._index.repositories.items())):
            if looked_at % _PAGE == 0:
                await asyncio.sleep(0)
            digests = [digest for digest, each in held.manifests.items() if blob in each.names]
            while digests:
                yield await self._threads.read(self._take_contents, repository, digests)

    # What follows runs on a thread.

    def _names_after(self, last: str) -> list[RepositoryName]:
        return list(islice(self._catalog.after(last), _PAGE))

    def _take_contents(self, repository: RepositoryName, digests: list[Digest]) -> Contents:
        """The bytes of some of these, which are taken off the list."""
        found: Contents = []
        size = 0
        while digests and len(found) < _PAGE and size < _MOST_CONTENT_BYTES:
            digest = digests.pop()
            content = self._files.read_content(repository, digest)
            if content is not None:
                found.append((repository, digest, content))
                size += len(content)
        return found

    def _any_refers_to(self, contents: Contents, blob: Digest) -> bool:
        for repository, digest, content in contents:
            if packed(blob) in named_in(content):
                manifest = self._files.read(repository, digest)
                if manifest is None or needs(manifest, blob):
                    return True
        return False
