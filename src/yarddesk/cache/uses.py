"""When manifests were last served: what wasn't used for longest is evicted first.

Noted in memory at each pull, which costs next to nothing, and appended to DATA/uses.jsonl once a minute: a crash loses a
minute's order, nothing else.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from yarddesk.cache.lines import Lines
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import RepositoryName
from yarddesk.storage.line_file import Line

USES_FILE: Final = "uses.jsonl"

_Key = tuple[RepositoryName, Digest]


class Uses:
    """Times are seconds of the epoch, by `now`."""

    def __init__(self, folder: Path, now: Callable[[], float]) -> None:
        self._now = now
        self._uses: dict[_Key, float] = {}
        self._unwritten: dict[_Key, float] = {}
        self._lines = Lines(folder / USES_FILE, lambda: len(self._uses), self._all)

    async def load(self) -> None:
        await self._lines.load(self._take, "what is here is as old as its files")

    def used(self, repository: RepositoryName, digest: Digest) -> None:
        """Just now."""
        self._uses[repository, digest] = self._unwritten[repository, digest] = self._now()

    def get(self, repository: RepositoryName, digest: Digest) -> float:
        """0 where it isn't known."""
        return self._uses.get((repository, digest), 0.0)

    def gone(self, repository: RepositoryName, digests: Iterable[Digest]) -> None:
        """They are not here any more."""
        for digest in digests:
            self._uses.pop((repository, digest), None)
            self._unwritten.pop((repository, digest), None)

    def known(self) -> list[tuple[RepositoryName, Digest]]:
        """All of which it's known."""
        return list(self._uses)

    def write(self) -> None:
        """Have on disk, soon, what was noted since."""
        noted, self._unwritten = self._unwritten, {}
        if noted:
            self._lines.add(*(_line(key, used) for key, used in noted.items()))

    async def close(self) -> None:
        self.write()
        await self._lines.close()

    def _take(self, line: Line) -> None:
        key = RepositoryName.parse(line["repository"]), Digest.parse(line["digest"])
        self._uses[key] = float(line["used"])

    def _all(self) -> Iterator[Line]:
        return (_line(key, used) for key, used in list(self._uses.items()))


def _line(key: _Key, used: float) -> Line:
    return {"repository": key[0], "digest": key[1], "used": used}
