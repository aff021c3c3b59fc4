"""Reading the disk into the index of contents, while the first requests are answered already."""

import time
from collections.abc import Callable
from typing import Final

from yarddesk.oci.digest import Digest
from yarddesk.oci.manifest import MAX_MANIFEST_BYTES
from yarddesk.storage.blobs import BlobFiles, is_filled
from yarddesk.storage.contents import ContentIndex
from yarddesk.storage.durable import read_whole
from yarddesk.storage.layout import ALGORITHMS, shard_folders
from yarddesk.storage.quarantine import Quarantine
from yarddesk.storage.references import Packed, named_in
from yarddesk.storage.repositories import Repositories
from yarddesk.storage.threads import Threads

_PAGE: Final = 50

LATE_SECONDS: Final = 600.0
"""So long the manifest may be on its way that names a blob which was sent, or which a client was told is here."""


async def take_stock(
    contents: ContentIndex,
    blobs: BlobFiles,
    repositories: Repositories,
    quarantine: Quarantine,
    threads: Threads,
    sent: Callable[[Digest], None],
) -> None:
    """`sent` is told of the blobs that clients sent just before this run, whose manifests may still come. Raises StorageError."""
    late = time.time() - LATE_SECONDS
    for folder in (folder for algorithm in ALGORITHMS for folder in shard_folders(algorithm)):
        entries = await threads.read(blobs.entries, folder)
        contents.read_blobs((digest, size, is_filled(modified)) for digest, size, modified in entries)
        for digest, _, modified in entries:
            if modified > late:
                sent(digest)
    async for repository in repositories.known():
        contents.read_tags(repository, await repositories.read_tags(repository))
        digests = await repositories.digests(repository)
        for start in range(0, len(digests), _PAGE):
            found = await repositories.read_held(repository, digests[start : start + _PAGE])
            contents.read_manifests(repository, found)
    for path in await threads.read(quarantine.manifest_paths):
        contents.hold(await threads.read(_named_in_file, path))
    contents.finish()


def _named_in_file(path: str) -> list[Packed]:
    try:
        return list(named_in(read_whole(path, MAX_MANIFEST_BYTES)))
    except FileNotFoundError:  # a person took it away
        return []
