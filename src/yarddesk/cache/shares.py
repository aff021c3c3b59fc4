"""How much of what is stored belongs to which upstream, and to one image."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from yarddesk.cache.ledger import Entry
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import RepositoryName
from yarddesk.storage.contents import ContentIndex, Contents, named_by
from yarddesk.storage.references import Packed


@dataclass(slots=True)
class Share:
    """What came through an upstream, or was read back there; without a name: what is nowhere else, as far as is known.

    `size` counts each content once, also where others have it as well. Bytes.
    """

    upstream: str
    manifests: int = 0
    size: int = 0
    blobs: set[Packed] = field(default_factory=set)


def shares(index: ContentIndex, entry: Callable[[RepositoryName, Digest], Entry | None]) -> list[Share]:
    """By upstream, in the order of their names. `index` is a copy."""
    found: dict[str, Share] = {}
    for repository, contents in index.repositories.items():
        for digest, held in contents.manifests.items():
            for name in _upstreams(entry(repository, digest)):
                share = found.setdefault(name, Share(name))
                share.manifests += 1
                share.size += held.size
                share.blobs.update(name for name in held.names if name in index.blobs)
    for share in found.values():
        share.size += sum(index.blobs[name] for name in share.blobs)
    return [found[name] for name in sorted(found)]


def size_here(index: ContentIndex, contents: Contents, manifests: Iterable[Digest]) -> int:
    """The bytes of these manifests and of what is here of their blobs, each once."""
    here = [digest for digest in manifests if digest in contents.manifests]
    blobs = set(named_by(contents, here))
    return sum(contents.manifests[digest].size for digest in here) + sum(index.blobs.get(name, 0) for name in blobs)


def _upstreams(entry: Entry | None) -> Iterable[str]:
    if entry is None:
        return ("",)
    return {each.upstream for each in entry.at} or ("",) if entry.pushed else (entry.source,)
