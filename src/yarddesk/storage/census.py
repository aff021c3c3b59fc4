"""Who needs how much of what is stored."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from yarddesk.oci.digest import Digest
from yarddesk.oci.name import RepositoryName
from yarddesk.storage.blobs import BlobFiles
from yarddesk.storage.layout import ALGORITHMS, shard_folders
from yarddesk.storage.quarantine import Quarantine
from yarddesk.storage.references import Packed, named_in, packed
from yarddesk.storage.repositories import Repositories
from yarddesk.storage.threads import Threads

Owners = tuple[int, ...]
Progress = Callable[[str, int], None]


@dataclass(slots=True)
class RepositoryUsage:
    """`exclusive` bytes would go with the repository, `shared` ones belong to others as well."""

    name: RepositoryName
    manifests: int = 0
    exclusive: int = 0
    shared: int = 0


@dataclass(slots=True)
class CensusResult:
    """Sizes are bytes."""

    blobs: int = 0
    manifests: int = 0
    unreferenced_blobs: int = 0
    unreferenced: int = 0
    quarantine: int = 0
    repositories: list[RepositoryUsage] = field(default_factory=list)


class Census:
    """One pass over the manifests, then one over the blobs. Some 200 bytes of memory for each blob that is referred to."""

    def __init__(self, blobs: BlobFiles, repositories: Repositories, quarantine: Quarantine, threads: Threads) -> None:
        self._blobs = blobs
        self._repositories = repositories
        self._quarantine = quarantine
        self._threads = threads

    async def take(self, progress: Progress) -> CensusResult:
        result = CensusResult()
        owners: dict[Packed, Owners] = {}
        known: dict[Owners, Owners] = {}  # each tuple once, however many blobs have it
        async for contents in self._repositories.naming.contents():
            repository = _entry(result, contents[0][0])
            number = len(result.repositories) - 1
            await self._threads.read(_note, [content for _, _, content in contents], number, owners, known)
            repository.manifests += len(contents)
            repository.exclusive += sum(len(content) for _, _, content in contents)
            result.manifests += len(contents)
            progress("reading manifests", result.manifests)
        sizes: Counter[Owners] = Counter()
        for algorithm in ALGORITHMS:
            for folder in shard_folders(algorithm):
                entries = await self._threads.read(self._blobs.entries, folder)
                _add(result, entries, owners, sizes)
                progress("counting blobs", result.blobs)
        for numbers, size in sizes.items():
            for number in numbers:
                if len(numbers) == 1:
                    result.repositories[number].exclusive += size
                else:
                    result.repositories[number].shared += size
        result.quarantine = await self._threads.read(self._quarantine.size)
        return result


def _entry(result: CensusResult, name: RepositoryName) -> RepositoryUsage:
    """The repository's, which is the last one: they come in order."""
    if not result.repositories or result.repositories[-1].name != name:
        result.repositories.append(RepositoryUsage(name))
    return result.repositories[-1]


def _note(contents: Sequence[bytes], number: int, owners: dict[Packed, Owners], known: dict[Owners, Owners]) -> None:
    """That this repository needs all that these manifests name."""
    for content in contents:
        for name in named_in(content):
            before = owners.get(name, ())
            if number not in before:
                wanted = (*before, number)
                owners[name] = known.setdefault(wanted, wanted)


def _add(
    result: CensusResult,
    entries: Sequence[tuple[Digest, int, float]],
    owners: dict[Packed, Owners],
    sizes: Counter[Owners],
) -> None:
    for digest, size, _ in entries:
        result.blobs += 1
        numbers = owners.get(packed(digest))
        if numbers is None:
            result.unreferenced_blobs += 1
            result.unreferenced += size
        else:
            sizes[numbers] += size
