"""Images that are fetched before anybody pulls them: what a client's pull would bring, all of it, and on disk when it's said to be."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from yarddesk.cache.blobs import CachedBlobs
from yarddesk.cache.manifests import CachedManifests
from yarddesk.cache.referrers import CachedReferrers
from yarddesk.content.copying import in_pool
from yarddesk.content.graph import MAX_DEPTH, MAX_MANIFESTS
from yarddesk.content.target import NotFound
from yarddesk.content.upstream import UpstreamFailure
from yarddesk.errors import YarddeskError
from yarddesk.oci.descriptor import Descriptor, Platform
from yarddesk.oci.digest import Digest
from yarddesk.oci.manifest import Manifest
from yarddesk.oci.name import Reference, RepositoryName, Tag, format_reference, referrers_tag
from yarddesk.oci.platforms import for_platform, is_attestation, is_for_any
from yarddesk.progress import LayerState, ProgressMeter

_MOST_ABOUT: Final = 200
_COSIGNS: Final = (".sig", ".att", ".sbom")


@dataclass(slots=True)
class Prefetched:
    """What is here now, `size` bytes of it. `platforms`: those that were brought of an index; `lacking`: those that it has not.

    `remarks`: what else could not be had.
    """

    digest: Digest
    size: int = 0
    platforms: list[str] = field(default_factory=list)
    lacking: list[str] = field(default_factory=list)
    about: int = 0
    remarks: list[str] = field(default_factory=list)


class Prefetcher:
    """Over the same manifests, blobs and lists that clients pull through. `used` hears of each manifest that is wanted."""

    def __init__(
        self,
        manifests: CachedManifests,
        blobs: CachedBlobs,
        referrers: CachedReferrers,
        used: Callable[[RepositoryName, Digest], None],
    ) -> None:
        self.used = used
        self._manifests = manifests
        self._blobs = blobs
        self._referrers = referrers

    async def pull(
        self,
        repository: RepositoryName,
        reference: Reference,
        platforms: Sequence[Platform] | None,
        meter: ProgressMeter,
        *,
        referrers: bool,
    ) -> Prefetched:
        """Have an image here as its upstream has it now; of an index what is for these platforms (None: all).

        A tag that was ours alone follows the upstream from now on. Raises NotFound, UpstreamFailure, StorageError, and
        YarddeskError where it's still on its way upstream, or has nothing for a platform.
        """
        root = await self._manifests.renew(repository, reference)
        if root is None:
            raise NotFound(f"There is no {format_reference(repository, reference)} at its upstream.")
        work = _Prefetch(self, repository, platforms, meter, Prefetched(root.digest))
        await work.take(root, 1)
        await work.bring()
        if referrers:
            await work.take_what_is_about()
        return work.done

    async def manifest(self, repository: RepositoryName, digest: Digest) -> Manifest | None:
        return await self._manifests.renew(repository, digest)

    async def tagged(self, repository: RepositoryName, tag: Tag) -> Manifest | None:
        """As a client gets it: a tag of ours stays ours."""
        found = await self._manifests.fetch(repository, tag)
        return None if found is None else found.manifest

    async def bring(self, repository: RepositoryName, blob: Descriptor, meter: ProgressMeter) -> None:
        """Have one blob here."""
        meter.start(blob.digest)
        came = False
        try:
            came = await self._blobs.bring(repository, blob.digest, lambda count: meter.add(blob.digest, count))
        except NotFound:
            if not blob.may_be_missing:
                raise
        meter.finish(blob.digest, LayerState.SENT if came else LayerState.THERE)

    async def about(self, repository: RepositoryName, digest: Digest) -> tuple[Sequence[Descriptor], bool]:
        """What refers to a manifest, and whether its upstream could be asked."""
        found = await self._referrers.referrers(repository, digest)
        return found.descriptors, not found.stale


class _Prefetch:
    """One image on its way."""

    def __init__(
        self,
        prefetcher: Prefetcher,
        repository: RepositoryName,
        platforms: Sequence[Platform] | None,
        meter: ProgressMeter,
        done: Prefetched,
    ) -> None:
        self.done = done
        self._prefetcher = prefetcher
        self._repository = repository
        self._platforms = platforms
        self._meter = meter
        self._manifests: dict[Digest, Manifest] = {}
        self._planned: set[Digest] = set()
        self._blobs: list[Descriptor] = []

    async def take(self, manifest: Manifest, depth: int) -> None:
        """Have the manifests that are wanted of it, and plan their blobs."""
        if manifest.digest in self._manifests:
            return
        if depth > MAX_DEPTH or len(self._manifests) >= MAX_MANIFESTS:
            raise YarddeskError(f"It names more than {MAX_MANIFESTS:,} manifests, or they are nested too deep.")
        self._manifests[manifest.digest] = manifest
        self._prefetcher.used(self._repository, manifest.digest)
        self.done.size += len(manifest.content)
        for blob in manifest.blobs:
            if blob.digest not in self._planned:
                self._planned.add(blob.digest)
                self._blobs.append(blob)
                self._meter.plan(blob.digest, blob.size)
                self.done.size += blob.size
        for child in self._wanted(manifest):
            found = await self._prefetcher.manifest(self._repository, child.digest)
            if found is not None:
                await self.take(found, depth + 1)
                continue
            # Registries take an index without all of its manifests; what was asked for by name must be there.
            if self._platforms is not None and not is_attestation(child):
                raise NotFound(f"Its upstream has no {child.digest}, which the index names for {child.platform}.")
            self.done.remarks.append(f"{child.digest} ({child.platform or child.media_type}) is not at its upstream")

    async def bring(self) -> None:
        """Have all blobs that are planned."""
        blobs, self._blobs = self._blobs, []
        await in_pool(lambda blob: self._prefetcher.bring(self._repository, blob, self._meter), blobs)

    async def take_what_is_about(self) -> None:
        """Signatures, SBOMs and attestations of all of it, and of them again; that they can't be had fails nothing."""
        left = list(self._manifests)
        while left:
            try:
                found = await self._about(left.pop())
            except UpstreamFailure as error:
                self.done.remarks.append(f"what is about it could not be asked for: {error}")
                return
            before = set(self._manifests)
            for manifest in found:
                if len(self._manifests) - len(before) > _MOST_ABOUT:
                    self.done.remarks.append(f"more than {_MOST_ABOUT} manifests are about it: not all are here")
                    return
                await self.take(manifest, 1)
            await self.bring()
            come = [digest for digest in self._manifests if digest not in before]
            self.done.about += len(come)
            left += come

    def _wanted(self, manifest: Manifest) -> list[Descriptor]:
        children = manifest.manifests
        if self._platforms is None or not children:
            self._note(children)
            return list(children)
        wanted = {child.digest: child for child in children if is_for_any(child)}
        lacking = []
        for platform in self._platforms:
            fitting = for_platform(children, platform)
            if not fitting and not any(is_for_any(child) for child in children):
                lacking.append(str(platform))
            wanted.update((child.digest, child) for child in fitting)
        if not wanted:
            there = sorted({str(child.platform) for child in children if not is_attestation(child)})
            raise YarddeskError(
                f"It is not for {' or '.join(lacking)}, but for {', '.join(there) or 'no platform at all'}."
            )
        self.done.lacking += lacking
        self._note(wanted.values())
        return list(wanted.values())

    def _note(self, children: Iterable[Descriptor]) -> None:
        named = [str(child.platform) for child in children if child.platform and not is_attestation(child)]
        self.done.platforms += [name for name in dict.fromkeys(named) if name not in self.done.platforms]

    async def _about(self, digest: Digest) -> list[Manifest]:
        found: dict[Digest, Manifest] = {}
        descriptors, asked = await self._prefetcher.about(self._repository, digest)
        if not asked:
            self.done.remarks.append(f"its upstream could not be asked what is about {digest}")
        for each in descriptors:
            manifest = await self._prefetcher.manifest(self._repository, each.digest)
            if manifest is not None:
                found[manifest.digest] = manifest
        for ending in _COSIGNS:
            manifest = await self._prefetcher.tagged(self._repository, Tag.parse(f"{referrers_tag(digest)}{ending}"))
            if manifest is not None:
                found[manifest.digest] = manifest
        return list(found.values())
