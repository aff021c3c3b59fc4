"""An OCI image layout in a tar archive, for reading. Nothing is unpacked: what we know by digest is read where it lies.

Everything here blocks: for threads.
"""

import os
import tarfile
from typing import BinaryIO, Final, cast

from yarddesk.content.target import NotFound
from yarddesk.oci.descriptor import Descriptor
from yarddesk.oci.digest import Digest, InvalidDigest
from yarddesk.oci.image_layout import (
    BLOBS,
    INDEX_FILE,
    MARKER_FILE,
    MAX_MARKER_BYTES,
    InvalidLayout,
    LayoutIndex,
    check_marker,
)
from yarddesk.oci.manifest import MAX_MANIFEST_BYTES
from yarddesk.storage.oci_words import in_words_of_layout

_MOST_MEMBERS: Final = 200_000
_MOST_HEADER_BYTES: Final = 8 * 1024
_PACKED: Final = {b"\x1f\x8b": "gunzip", b"\x28\xb5\x2f\xfd": "unzstd", b"BZh": "bunzip2", b"\xfd7zXZ": "unxz"}

Extent = tuple[int, int]
"""Where a file's bytes lie in the archive: the first, and how many."""


class ArchivedBlobs:
    """Blobs that lie in an archive, which the words of an error call `place`; `path`: where it can be read just now."""

    def __init__(self, place: str, path: str) -> None:
        self.place = place
        self._path = path
        self._blobs: dict[Digest, Extent] = {}

    def size(self, digest: Digest) -> int | None:
        extent = self._blobs.get(digest)
        return None if extent is None else extent[1]

    def holds(self, descriptor: Descriptor) -> bool:
        return self.size(descriptor.digest) == descriptor.size

    def open(self, digest: Digest) -> BinaryIO:
        if digest not in self._blobs:
            raise NotFound(f"There is no {digest} in {self.place}.")
        with in_words_of_layout(self.place):
            stream = open(self._path, "rb")  # noqa: SIM115 - the caller closes it
            stream.seek(self._blobs[digest][0])
            return stream


class LayoutArchive(ArchivedBlobs):
    """LayoutFiles."""

    def __init__(self, path: str) -> None:
        super().__init__(path, path)
        self._small: dict[str, Extent] = {}

    @property
    def digests(self) -> list[Digest]:
        """All that is there, named by index.json or not."""
        return list(self._blobs)

    def read_index(self) -> LayoutIndex:
        """Look through the archive. Raises InvalidLayout where it's none, or holds no layout."""
        with in_words_of_layout(self.place), open(self.place, "rb") as stream:
            self._refuse_packed(stream)
            try:
                self._scan(stream)
            except tarfile.TarError as error:
                raise InvalidLayout(f"{self.place} is no tar archive, or a damaged one.", str(error)) from error
            check_marker(self._read_small(stream, MARKER_FILE, MAX_MARKER_BYTES))
            return LayoutIndex.parse(self._read_small(stream, INDEX_FILE, MAX_MANIFEST_BYTES))

    def _refuse_packed(self, stream: BinaryIO) -> None:
        begin = stream.read(8)
        for magic, tool in _PACKED.items():
            if begin.startswith(magic):
                raise InvalidLayout(f"{self.place} is compressed.", hint=f"Unpack it first, with {tool}.")
        stream.seek(0)

    def _scan(self, stream: BinaryIO) -> None:
        # The archive may come from anybody: tarfile gets no more than a header's worth of memory, and goes forward alone.
        with tarfile.open(fileobj=cast(BinaryIO, _Bounded(stream, self.place)), mode="r:") as archive:
            position, count = -1, 0
            while (member := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined]  # of which it would keep every one
                count += 1
                if member.size < 0 or archive.offset <= position or count > _MOST_MEMBERS:
                    raise InvalidLayout(f"{self.place} is no archive that an honest tool wrote.")
                position = archive.offset
                self._found(member)

    def _found(self, member: tarfile.TarInfo) -> None:
        name = member.name.removeprefix("./")
        digest = _digest(name)
        if digest is None and name not in (MARKER_FILE, INDEX_FILE):
            return
        if not member.isreg() or member.issparse():
            raise InvalidLayout(f"{name} in {self.place} is a link, a device or a sparse file.")
        if digest in self._blobs or name in self._small:
            raise InvalidLayout(f"{self.place} holds {name} twice.")
        extent = (member.offset_data, member.size)
        if digest is not None:
            self._blobs[digest] = extent
        else:
            self._small[name] = extent

    def _read_small(self, stream: BinaryIO, name: str, limit: int) -> bytes:
        if name not in self._small:
            hint = ""
            if name == INDEX_FILE or not self._small:
                hint = "Archives of Docker before version 25 are none: `skopeo copy docker-archive:FILE oci:FOLDER:TAG` makes one."
            raise InvalidLayout(f"{self.place} holds no image layout: it has no {name} file.", hint=hint)
        start, size = self._small[name]
        if size > limit:
            raise InvalidLayout(f"{name} in {self.place} has {size:,} bytes; {limit:,} is the most.")
        stream.seek(start)
        return stream.read(size)


class _Bounded:
    """A file of which no long piece can be read at once: for tarfile, which reads extended headers whole."""

    def __init__(self, stream: BinaryIO, place: str) -> None:
        self._stream = stream
        self._place = place
        self._end = stream.seek(0, os.SEEK_END)
        stream.seek(0)

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _MOST_HEADER_BYTES:
            raise InvalidLayout(f"{self._place} has a header of {size:,} bytes: no honest tool wrote it.")
        return self._stream.read(size)

    def seek(self, position: int) -> int:
        return self._stream.seek(min(max(position, 0), self._end))

    def tell(self) -> int:
        return self._stream.tell()


def _digest(name: str) -> Digest | None:
    """The digest of which this is the blob's file."""
    folder, _, rest = name.partition("/")
    algorithm, _, encoded = rest.partition("/")
    if folder != BLOBS or "/" in encoded:
        return None
    try:
        return Digest.parse(f"{algorithm}:{encoded}")
    except InvalidDigest:
        return None
