"""What was found out about manifests lately, so that the busiest requests need no disk. For the loop's thread."""

from collections.abc import Iterable
from typing import Final

from yarddesk.oci.descriptor import Descriptor
from yarddesk.oci.digest import Digest
from yarddesk.oci.manifest import Manifest
from yarddesk.oci.name import Reference, RepositoryName, Tag
from yarddesk.storage.recent import Recent

_MOST_DESCRIPTORS: Final = 50_000
_MOST_BYTES: Final = 32 * 1024 * 1024
# A parsed manifest takes about so many times its bytes.
_PARSED_FACTOR: Final = 4


class KnownManifests:
    """Descriptors by repository and reference, and manifests by repository and digest; both bounded.

    `changes` grows at the begin and the end of each change to the disk: what was read from disk is remembered only where it
    has stayed the same meanwhile, so that an old answer never outlives a change.
    """

    def __init__(self) -> None:
        self.changes = 0
        self._descriptors: Recent[tuple[RepositoryName, Reference], Descriptor] = Recent(_MOST_DESCRIPTORS)
        self._manifests: Recent[tuple[RepositoryName, Digest], Manifest] = Recent(_MOST_BYTES)

    def descriptor(self, repository: RepositoryName, reference: Reference) -> Descriptor | None:
        return self._descriptors.get((repository, reference))

    def manifest(self, repository: RepositoryName, reference: Reference) -> Manifest | None:
        if isinstance(reference, Digest):
            return self._manifests.get((repository, reference))
        named = self._descriptors.get((repository, reference))
        return self._manifests.get((repository, named.digest)) if named is not None else None

    def remember_stored(self, repository: RepositoryName, manifest: Manifest) -> None:
        """It was put here. Its bytes are read when somebody asks for them: most are pushed, and never pulled from here."""
        self._descriptors.put((repository, manifest.digest), manifest.descriptor)
        self._manifests.drop((repository, manifest.digest))  # of another media type, maybe

    def remember(self, repository: RepositoryName, manifest: Manifest) -> None:
        """It was read."""
        self._descriptors.put((repository, manifest.digest), manifest.descriptor)
        cost = 1024 + _PARSED_FACTOR * len(manifest.content)
        self._manifests.put((repository, manifest.digest), manifest, cost)

    def remember_tag(self, repository: RepositoryName, tag: Tag, digest: Digest) -> None:
        """The tag names this digest now, whatever it named before."""
        descriptor = self._descriptors.get((repository, digest))
        if descriptor is None:
            self._descriptors.drop((repository, tag))
        else:
            self._descriptors.put((repository, tag), descriptor)

    def forget_manifest(self, repository: RepositoryName, digest: Digest) -> None:
        self._descriptors.drop((repository, digest))
        self._manifests.drop((repository, digest))

    def forget_with_tags(self, repository: RepositoryName, digest: Digest) -> None:
        """The manifest is gone, and tags name it still, or who knows. Looks at all that is known."""
        self.forget_manifest(repository, digest)
        named = [key for key, known in self._descriptors.entries() if key[0] == repository and known.digest == digest]
        for key in named:
            self._descriptors.drop(key)

    def forget_tags(self, repository: RepositoryName, tags: Iterable[Tag]) -> None:
        for tag in tags:
            self._descriptors.drop((repository, tag))
