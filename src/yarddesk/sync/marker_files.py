"""The files in DATA/pending: where a marker lies, how all are read at the start, and what becomes of damaged ones."""

import logging
import os
import time
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Final

from yarddesk.oci.name import Reference, RepositoryName, format_reference
from yarddesk.storage import durable
from yarddesk.storage.layout import (
    BESIDE_PREFIX,
    NotOurFileName,
    decode_reference,
    decode_repository,
    encode_reference,
    encode_repository,
)
from yarddesk.storage.state_files import remove_files, replace_file
from yarddesk.storage.tree import Tree
from yarddesk.sync.marker import MAX_MARKER_BYTES, DamagedMarker, Marker, decode_marker
from yarddesk.sync.snapshot import SetAsideMarker

_log = logging.getLogger(__name__)

SUFFIX: Final = ".json"
DAMAGED_SUFFIX: Final = ".damaged"

_QUIET_NANOSECONDS: Final = 3_000_000_000
_LOOKS_TO_ALL: Final = 30


def marker_path(folder: Path, repository: RepositoryName, reference: Reference) -> Path:
    return folder.joinpath(*encode_repository(repository), encode_reference(reference) + SUFFIX)


def place_marker(tree: Tree, path: Path, content: bytes) -> bool:
    """Write a marker; whether its folder had to be made. Raises OSError, and StorageError where a link is in the way."""
    is_new = not path.parent.is_dir()
    tree.make(path.parent.relative_to(tree.root).parts)
    replace_file(path, content)
    return is_new


def take_back_marker(path: Path, content: bytes, before: bytes | None) -> None:
    """After `place_marker` failed: where it had come as far as the name, what was there before is there again."""
    try:
        if durable.read_whole(str(path), MAX_MARKER_BYTES) != content:
            return
        if before is None:
            remove_files([path])
        else:
            replace_file(path, before)
    except FileNotFoundError:
        return
    except OSError as error:
        _log.error("%s queues an image whose push failed, until the next start or push: %s", path, error)


def rewrite_marker(path: Path, content: bytes) -> bool:
    return replace_file(path, content, only_if_there=True)


def is_there(path: Path) -> bool:
    return durable.regular_size(str(path)) is not None


def marker_names(folders: Iterable[Path]) -> set[str]:
    """The paths of the markers that lie in these folders themselves. Raises OSError."""
    found: set[str] = set()
    for folder in folders:
        try:
            found.update(os.path.join(folder, name) for name in os.listdir(folder) if name.endswith(SUFFIX))
        except (FileNotFoundError, NotADirectoryError):
            continue
    return found


class QuietFolders:
    """Which folders changed since they were last looked through, by their times: a look costs a question for each, no list.

    A change just now may be followed by another one at the same time, as far as the disk tells times: such a folder isn't
    quiet yet. Now and then all are looked through, whatever their times say.
    """

    def __init__(self) -> None:
        self._quiet: dict[Path, int] = {}
        self._looks = 0

    def changed(self, folders: Iterable[Path]) -> list[Path]:
        """To be called before they are looked through. Raises OSError."""
        if self._looks % _LOOKS_TO_ALL == 0:
            self._quiet.clear()
        self._looks += 1
        now, before, self._quiet = time.time_ns(), self._quiet, {}
        changed = []
        for folder in folders:
            try:
                modified = os.stat(folder).st_mtime_ns
            except (FileNotFoundError, NotADirectoryError):
                changed.append(folder)
                continue
            if before.get(folder) != modified:
                changed.append(folder)
            if now - modified > _QUIET_NANOSECONDS:
                self._quiet[folder] = modified
        return changed


def read_markers(tree: Tree, folder: Path, now: datetime) -> tuple[list[Marker], list[SetAsideMarker]]:
    """Every marker, oldest first, and what can't be used: set aside now, or by an earlier start."""
    tree.make((folder.name,))
    markers: dict[str, Marker] = {}
    aside: list[SetAsideMarker] = []
    for parent, _, names in os.walk(folder, onerror=_not_looked_at):
        for name in names:
            path = Path(parent, name)
            try:
                if name.startswith(BESIDE_PREFIX):
                    durable.remove_if_there(str(path))
                elif name.endswith(SUFFIX):
                    _read_one(folder, path, now, markers, aside)
                elif SUFFIX + DAMAGED_SUFFIX in name:
                    aside.append(SetAsideMarker(str(path.relative_to(folder)), _what_is_wrong(path, now)))
            except OSError as error:
                _log.error("%s in the queue can't be read; it stays where it is: %s", path, error)
    return sorted(markers.values(), key=lambda marker: marker.created), sorted(aside)


def look_through(folder: Path, now: datetime) -> tuple[int, list[SetAsideMarker]]:
    """How many markers there are, and what can't be used or was set aside. For who only looks: nothing is changed.

    Raises OSError where a folder can't be looked into.
    """
    count = 0
    aside: list[SetAsideMarker] = []

    def closed(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise error

    for parent, _, names in os.walk(folder, onerror=closed):
        for name in names:
            path = Path(parent, name)
            shown = str(path.relative_to(folder))
            try:
                if name.endswith(SUFFIX) and not name.startswith(BESIDE_PREFIX):
                    _decoded(path, now)
                    count += 1
                elif SUFFIX + DAMAGED_SUFFIX in name:
                    aside.append(SetAsideMarker(shown, _what_is_wrong(path, now)))
            except DamagedMarker as damage:
                aside.append(SetAsideMarker(shown, str(damage)))
            except FileNotFoundError:
                continue  # it was synced, or cancelled, meanwhile
            except OSError as error:
                aside.append(SetAsideMarker(shown, f"It can't be read: {error.strerror or error}."))
    return count, sorted(aside)


def _read_one(folder: Path, path: Path, now: datetime, markers: dict[str, Marker], aside: list[SetAsideMarker]) -> None:
    try:
        marker = _decoded(path, now)
        place = marker_path(folder, marker.repository, marker.reference)
        if place != path:
            # Switchyard names its files otherwise; a copy made by hand must not take the place of what is queued.
            if durable.regular_size(str(place)) is not None:
                raise DamagedMarker(f"It is a second marker for what {place.name} queues.")
            place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            durable.replace(str(path), str(place))
        markers[format_reference(marker.repository, marker.reference)] = marker
    except DamagedMarker as damage:
        moved = _set_aside(path)
        _log.error("%s in the queue can't be used and was set aside as %s: %s", path, moved.name, damage)
        aside.append(SetAsideMarker(str(moved.relative_to(folder)), str(damage)))
        named = _named(folder, path, now)
        if named is not None:
            markers.setdefault(format_reference(named.repository, named.reference), named)


def _decoded(path: Path, now: datetime) -> Marker:
    """Raises DamagedMarker and OSError."""
    content = durable.read_whole(str(path), MAX_MARKER_BYTES)
    if len(content) > MAX_MARKER_BYTES:
        raise DamagedMarker("It is too large.")
    return decode_marker(content, now)


def _what_is_wrong(path: Path, now: datetime) -> str:
    try:
        marker = _decoded(path, now)
    except DamagedMarker as damage:
        return str(damage)
    return f"It is a second marker for {format_reference(marker.repository, marker.reference)}."


def _named(folder: Path, path: Path, now: datetime) -> Marker | None:
    """What a marker's place says that it queued, for all the upstreams of its route: a push must not be forgotten."""
    *parents, name = path.relative_to(folder).parts
    try:
        repository, reference = decode_repository(tuple(parents)), decode_reference(name.removesuffix(SUFFIX))
    except NotOurFileName:
        return None
    if marker_path(folder, repository, reference) != path:
        return None
    return Marker(repository, reference, None, "", 1, now, None)


def _not_looked_at(error: OSError) -> None:
    _log.error("what is queued in %s can't be read: %s", error.filename, error)


def _set_aside(path: Path) -> Path:
    count = 0
    while True:
        aside = path.with_name(f"{path.name}{DAMAGED_SUFFIX}{f'.{count}' if count else ''}")
        if not aside.exists():
            durable.replace(str(path), str(aside))
            return aside
        count += 1
