"""Where manifests came from, and at which upstreams they were read back: what may be evicted, since it can be had again.

DATA/ledger.jsonl has a line for each change. A manifest without a line is ours alone and is never evicted, so that every loss
of a line errs to keeping.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple, Self

from yarddesk.cache.lines import Lines
from yarddesk.content.errors import StorageError
from yarddesk.content.upstream import Upstream, place_at
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import RepositoryName
from yarddesk.storage.line_file import Line

LEDGER_FILE: Final = "ledger.jsonl"

_Key = tuple[RepositoryName, Digest]


class At(NamedTuple):
    """An upstream as the settings call it, and the place there (Upstream.place_of): the name may mean another registry later."""

    upstream: str
    place: str

    @classmethod
    def of(cls, upstream: Upstream, repository: RepositoryName) -> Self:
        """As the settings are now."""
        return cls(upstream.name, place_at(upstream, repository))


@dataclass(frozen=True, slots=True)
class Entry:
    """`source` is the upstream that it came through; `pushed`: by a client, since; `at`: where it was read back after that."""

    source: str = ""
    pushed: bool = False
    at: frozenset[At] = frozenset()

    def can_be_had_again(self, pulls: Collection[At], pushes: Collection[At]) -> bool:
        """From the upstreams that the route pulls from now: one that it came from, or, where it was pushed, from all it was to go to."""
        if not self.pushed:
            return any(self.source == each.upstream for each in pulls)
        return bool(pushes) and self.at.issuperset(pushes) and not self.at.isdisjoint(pulls)


@dataclass(slots=True)
class Arriving:
    """A manifest that comes through an upstream just now; `pushed`: a client brings it, too."""

    pushed: bool = False


class Ledger:
    """In memory all of it; `changed` hears of each change."""

    def __init__(self, folder: Path, changed: Callable[[], None] | None = None) -> None:
        self.changed = changed
        self._entries: dict[_Key, Entry] = {}
        self._arriving: dict[_Key, list[Arriving]] = {}
        self._lines = Lines(folder / LEDGER_FILE, lambda: len(self._entries), self._all)

    async def load(self) -> None:
        await self._lines.load(self._take, "all that is here counts as ours alone")

    async def close(self) -> None:
        """Return when every change is in the file, if it can be written."""
        await self._lines.close()

    def get(self, repository: RepositoryName, digest: Digest) -> Entry | None:
        return self._entries.get((repository, digest))

    @contextmanager
    def arriving(self, repository: RepositoryName, digest: Digest) -> Iterator[Arriving]:
        """Around a look whether a manifest is here, its way into the store, and `came`."""
        arriving = Arriving()
        others = self._arriving.setdefault((repository, digest), [])
        others.append(arriving)
        try:
            yield arriving
        finally:
            others.remove(arriving)
            if not others:
                self._arriving.pop((repository, digest), None)

    async def comes(self, repository: RepositoryName, digest: Digest, upstream: str) -> None:
        """It isn't here, and is about to be stored: a crash in between is not to make it ours for ever. Raises StorageError."""
        key = repository, digest
        known, entry = self._entries.get(key), Entry(upstream)
        if known == entry:
            return
        line = _line(key, entry)
        self._entries[key] = entry
        self._write(line)
        try:
            await self._lines.written()
        except StorageError:
            self._lines.withdraw(line)
            if self._entries.get(key) is entry:
                self._entries.pop(key)
                if known is not None:
                    self._entries[key] = known
            raise

    def came(self, repository: RepositoryName, digest: Digest, upstream: str) -> None:
        """It wasn't here, and came through an upstream. On disk soon."""
        self._set((repository, digest), Entry(upstream))

    async def pushed(self, repository: RepositoryName, digest: Digest) -> None:
        """A client brought it, and is not answered before this returns: it's ours until it's read back. Raises StorageError."""
        key = repository, digest
        for arriving in self._arriving.get(key, ()):
            arriving.pushed = True
        entry = self._entries.get(key)
        if entry is not None:
            self._set(key, replace(entry, pushed=True, at=frozenset()))
            await self._lines.written()

    async def arrived(self, repository: RepositoryName, digests: Iterable[Digest], place: At) -> None:
        """All of these were read back at an upstream. Raises StorageError."""
        for digest in digests:
            entry = self._entries.get((repository, digest), Entry(pushed=True))
            self._set((repository, digest), replace(entry, at=entry.at | {place}))
        await self._lines.written()

    def gone(self, repository: RepositoryName, digests: Iterable[Digest]) -> None:
        """They are not here any more."""
        for digest in digests:
            if self._entries.pop((repository, digest), None) is not None:
                self._write(_line((repository, digest), None))

    def known(self) -> list[tuple[RepositoryName, Digest]]:
        """All that have an entry."""
        return list(self._entries)

    def _set(self, key: _Key, entry: Entry) -> None:
        if self._entries.get(key) != entry:
            self._entries[key] = entry
            self._write(_line(key, entry))

    def _write(self, line: Line) -> None:
        self._lines.add(line)
        if self.changed is not None:
            self.changed()

    def _take(self, line: Line) -> None:
        key = RepositoryName.parse(line["repository"]), Digest.parse(line["digest"])
        if line.get("gone"):
            self._entries.pop(key, None)
            return
        places = line["at"]
        if not isinstance(places, dict) or not isinstance(line["from"], str):
            raise TypeError("the names of upstreams are texts, each with its place")
        read_back = frozenset(At(name, str(place)) for name, place in places.items())
        self._entries[key] = Entry(line["from"], line["pushed"] is not False, read_back)

    def _all(self) -> Iterator[Line]:
        return (_line(key, entry) for key, entry in list(self._entries.items()))


def _line(key: _Key, entry: Entry | None) -> Line:
    named: Line = {"repository": key[0], "digest": key[1]}
    if entry is None:
        return named | {"gone": True}
    return named | {"from": entry.source, "pushed": entry.pushed, "at": dict(sorted(entry.at))}
