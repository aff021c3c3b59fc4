"""Where an image layout lies: a folder or a tar archive, to be read or to be written."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from yarddesk.content.target import DigestMismatch
from yarddesk.content.threads import in_thread, in_thread_or_undone, in_thread_to_the_end
from yarddesk.oci import media_types
from yarddesk.oci.descriptor import Descriptor
from yarddesk.oci.image_layout import InvalidLayout, LayoutIndex
from yarddesk.storage.oci_archive import LayoutArchive
from yarddesk.storage.oci_archive_writing import ArchiveWriter
from yarddesk.storage.oci_docker import LISTING_FILE, docker_listing
from yarddesk.storage.oci_folder import LayoutFolder, WritableFolder
from yarddesk.storage.oci_layout import OciLayout, WritableLayout

_ARCHIVE_SUFFIX: Final = ".tar"


async def read_layout(path: Path) -> OciLayout:
    """The layout at `path`, to be read. Raises InvalidLayout and StorageError."""
    return await in_thread(_read, path)


@asynccontextmanager
async def write_layout(path: Path) -> AsyncIterator[WritableLayout]:
    """A layout at `path`, to be added to: a tar archive where the name ends in `.tar` or an archive is there, else a folder.

    Without a `save` nothing changes for who reads it. Raises InvalidLayout and StorageError.
    """
    place = await in_thread(os.path.abspath, path)
    if await in_thread(_is_archive, place):
        async with _written_archive(place) as layout:
            yield layout
        return
    folder = WritableFolder(place)
    try:
        yield WritableLayout(folder, await in_thread_or_undone(lambda _: folder.close(), folder.prepare))
    finally:
        await in_thread_to_the_end(folder.close)


@asynccontextmanager
async def _written_archive(place: str) -> AsyncIterator[WritableLayout]:
    before = LayoutArchive(place)
    index = await in_thread(before.read_index) if await in_thread(_has_content, place) else LayoutIndex.empty()
    writer = ArchiveWriter(place)
    try:
        await in_thread_or_undone(lambda _: writer.close(), writer.prepare)
        layout = _ArchiveLayout(writer, index)
        await _carry_over(before, layout)
        yield layout
    finally:
        await in_thread_to_the_end(writer.close)


class _ArchiveLayout(WritableLayout):
    """In an archive there is also what `docker load` reads."""

    def __init__(self, writer: ArchiveWriter, index: LayoutIndex) -> None:
        super().__init__(writer, index)
        self._writer = writer

    async def save(self) -> None:
        await in_thread(self._writer.add_file, LISTING_FILE, await docker_listing(self))
        await super().save()


async def _carry_over(before: LayoutArchive, layout: WritableLayout) -> None:
    """What an archive held, it holds: a new one is written with all of it. Raises InvalidLayout for what is damaged there."""
    old = OciLayout(before, layout.index)
    for digest in before.digests:
        blob = Descriptor(media_types.OCTET_STREAM, digest, before.size(digest) or 0)
        try:
            await layout.push(blob, lambda offset, blob=blob: old.fetch(blob, offset=offset))  # type: ignore[misc]
        except DigestMismatch as error:
            raise InvalidLayout(
                f"{layout.place} is damaged already: {error}", hint="Move it away, or name another file."
            ) from error


def _read(path: Path) -> OciLayout:
    place = os.path.abspath(path)
    if os.path.isdir(place):
        folder = LayoutFolder(place)
        return OciLayout(folder, folder.read_index())
    if os.path.isfile(place):
        archive = LayoutArchive(place)
        return OciLayout(archive, archive.read_index())
    what = "is neither a folder nor a file" if os.path.lexists(place) else "is not there"
    raise InvalidLayout(f"{place} {what}.", hint="Name the folder or the tar archive of an image layout.")


def _is_archive(place: str) -> bool:
    if os.path.isdir(place):
        return False
    if os.path.lexists(place) and not os.path.isfile(place):
        raise InvalidLayout(f"{place} is neither a folder nor a file.", hint="Name another place.")
    return os.path.isfile(place) or place.endswith(_ARCHIVE_SUFFIX)


def _has_content(place: str) -> bool:
    """An empty file is as good as none: `mktemp` makes such."""
    return os.path.isfile(place) and os.path.getsize(place) > 0
