"""Images of an OCI image layout brought into the store: a push without a network, taken in as one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from yarddesk.content.graph import read_graph
from yarddesk.content.store import Store
from yarddesk.content.target import DigestMismatch, NotFound
from yarddesk.control.works import Document, Report
from yarddesk.errors import YarddeskError
from yarddesk.oci.descriptor import Descriptor
from yarddesk.oci.digest import Digest
from yarddesk.oci.image_layout import Entry, InvalidLayout
from yarddesk.oci.manifest import InvalidManifest, Manifest
from yarddesk.oci.name import ImageReference, RepositoryName, Tag
from yarddesk.registry.intake import ManifestIntake
from yarddesk.service.copies import copy_image
from yarddesk.service.docker_types import as_it_was
from yarddesk.service.landing import Landing, land
from yarddesk.storage.oci_layout import OciLayout
from yarddesk.storage.oci_opening import read_layout
from yarddesk.storage.target import StoreTarget


@dataclass(frozen=True, slots=True)
class _About:
    """A manifest without a name that is about another one."""

    root: Descriptor
    subject: Digest


class Imports:
    """`canonical` gives a repository the name under which it's stored."""

    def __init__(
        self, store: Store, intake: ManifestIntake, canonical: Callable[[RepositoryName], RepositoryName]
    ) -> None:
        self._store = store
        self._intake = intake
        self._canonical = canonical

    async def run(self, path: Path, wanted: ImageReference | None, report: Report) -> Document:
        """Bring in what the layout at `path` holds, or what is `wanted` of it; an item for each image, as soon as it's here.

        Each image comes whole or not at all. Raises InvalidLayout, and YarddeskError for what is damaged.
        """
        layout = await read_layout(path)
        images, about, left_out = await _sorted(layout)
        if not images:
            raise InvalidLayout(f"{layout.place} lists no image.")
        landings = [replace(each, repository=self._canonical(each.repository)) for each in land(images, wanted)]
        brought: dict[RepositoryName, set[Digest]] = {}
        for number, landing in enumerate(landings):
            figures: dict[str, int | str] = {
                "doing": f"importing {landing}",
                "count_done": number,
                "count_total": len(landings),
            }
            here, missing = await self._bring(layout, landing, report, figures)
            brought.setdefault(landing.repository, set()).update(here)
            await report.item(_item(landing, missing))
        for each in about:
            if not await self._bring_about(layout, each, brought, report):
                left_out.append(f"{each.root.digest}, which is about an image that is not among these")
        return {"path": layout.place, "images": len(landings), "left_out": left_out}

    async def _bring(
        self, layout: OciLayout, landing: Landing, report: Report, figures: dict[str, int | str]
    ) -> tuple[set[Digest], list[Digest]]:
        """The manifests that are here now, and those that the layout doesn't have."""
        root = landing.root
        try:
            graph = await read_graph(layout, root.digest, whole=True)
            if graph.root.size != root.size:
                raise DigestMismatch(f"{root.digest} has {graph.root.size:,} bytes, and should have {root.size:,}.")
            target = _PushedImage(self._store, self._intake, landing)
            return set(graph.nodes), await copy_image(layout, target, graph, report, **figures)
        except (DigestMismatch, InvalidManifest) as error:
            raise YarddeskError(
                f"{landing} was not imported: the layout is damaged.", str(error), hint="Have it made anew."
            ) from error
        except NotFound as error:
            raise YarddeskError(
                f"{landing} was not imported: the layout does not hold all of it.", error.title
            ) from error

    async def _bring_about(
        self, layout: OciLayout, about: _About, brought: dict[RepositoryName, set[Digest]], report: Report
    ) -> bool:
        """Bring what is about an image (a signature, an SBOM) to wherever that image has come; whether it came anywhere."""
        landed = False
        for repository, digests in brought.items():
            if about.subject in digests:
                landing = Landing(about.root, repository, ())
                here, missing = await self._bring(layout, landing, report, {"doing": f"importing {landing}"})
                digests |= here
                await report.item(_item(landing, missing))
                landed = True
        return landed


class _PushedImage(StoreTarget):
    """A repository that takes manifests as from a client, and moves the tags with the root of what is copied."""

    def __init__(self, store: Store, intake: ManifestIntake, landing: Landing) -> None:
        super().__init__(store, landing.repository)
        self._intake = intake
        self._landing = landing

    async def exists(self, descriptor: Descriptor) -> bool:
        if descriptor.is_manifest:
            return await super().exists(descriptor)
        # What isn't sent because it's here must be here still when its manifest comes: the others may take long.
        return await self._store.promise_blob(descriptor.digest) == descriptor.size

    async def keep(self, manifest: Manifest) -> None:
        landing = self._landing
        tags: tuple[Tag, ...] = landing.tags if manifest.digest == landing.root.digest else ()
        await self._intake.take(landing.repository, manifest, tags)


async def _sorted(layout: OciLayout) -> tuple[list[Entry], list[_About], list[str]]:
    """The layout's images; what is nameless and about another manifest, the nearest first; and what is no image at all."""
    images: list[Entry] = []
    about: list[_About] = []
    left_out: list[str] = []
    for entry in layout.index.entries:
        if not entry.is_image:
            left_out.append(f"{entry.descriptor.digest} ({entry.descriptor.media_type[:100]}), which is no image")
            continue
        if not entry.is_named:
            manifest = await _manifest_of(layout, entry)
            if manifest.subject is not None:
                about.append(_About(manifest.descriptor, manifest.subject.digest))
                continue
        images.append(await as_it_was(layout, entry))
    return images, _nearest_first(about), left_out


async def _manifest_of(layout: OciLayout, entry: Entry) -> Manifest:
    try:
        return await layout.fetch_manifest(entry.descriptor.digest)
    except (NotFound, DigestMismatch, InvalidManifest) as error:
        raise InvalidLayout(f"{layout.place} is damaged.", str(error)) from error


def _nearest_first(about: Sequence[_About]) -> list[_About]:
    """What is about an image before what is about that."""
    by_subject: dict[Digest, list[_About]] = {}
    for each in about:
        by_subject.setdefault(each.subject, []).append(each)
    digests = {each.root.digest for each in about}
    ordered = [each for each in about if each.subject not in digests]
    for each in ordered:
        ordered += by_subject.pop(each.root.digest, ())
    return ordered


def _item(landing: Landing, missing: Sequence[Digest]) -> Document:
    return {
        "image": str(landing),
        "repository": landing.repository,
        "tags": list(landing.tags),
        "digest": landing.root.digest,
        "missing": [str(digest) for digest in missing],
    }
