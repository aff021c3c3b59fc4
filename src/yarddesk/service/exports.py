"""Images of the store carried out to an OCI image layout."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from yarddesk.content.graph import Graph, read_graph
from yarddesk.content.store import Store
from yarddesk.content.target import DigestMismatch, NotFound, Target
from yarddesk.control.works import Document, Report
from yarddesk.errors import YarddeskError
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import ImageReference, Reference, RepositoryName, Tag, format_reference
from yarddesk.service.copies import copy_image
from yarddesk.service.docker_types import listed
from yarddesk.storage.oci_layout import WritableLayout
from yarddesk.storage.oci_opening import write_layout

_PAGE: Final = 1000
_TAGS_ABOUT: Final = ("", ".sig", ".att", ".sbom")
"""Tags `sha256-HEX…` by which clients that know no referrers keep what is about an image."""


@dataclass(frozen=True, slots=True)
class _Image:
    repository: RepositoryName
    reference: Reference
    digest: Digest

    def __str__(self) -> str:
        return format_reference(self.repository, self.reference)


class Exports:
    """`canonical` gives a repository the name under which it's stored."""

    def __init__(self, store: Store, canonical: Callable[[RepositoryName], RepositoryName]) -> None:
        self._store = store
        self._canonical = canonical

    async def export(
        self, wanted: Sequence[ImageReference], path: Path, report: Report, *, referrers: bool = False
    ) -> Document:
        """Add images to the layout at `path`, all or none; an item for each, with the name that the layout has it by.

        Of an index goes what is here, and `missing` says what isn't. Raises NotFound, YarddeskError for what is damaged or
        not wholly here, and what `write_layout` raises.
        """
        images = [image for each in wanted async for image in self._images(each)]
        async with write_layout(path) as layout:
            items = []
            for number, image in enumerate(images):
                self._store.promise_manifest(image.digest)  # so that none of it goes meanwhile
                work = _Export(self._store.repository(image.repository), layout, report, number, len(images))
                items.append(await work.add(image, referrers=referrers))
            await layout.save()
        for item in items:
            await report.item(item)
        return {"path": layout.place, "images": len(items)}

    async def _images(self, wanted: ImageReference) -> AsyncIterator[_Image]:
        repository = self._canonical(wanted.repository)
        if wanted.reference is not None:
            yield await self._image(repository, wanted.reference)
            return
        last, count = "", 0
        while True:
            try:
                tags = await self._store.tags(repository, last=last, limit=_PAGE)
            except NotFound as error:
                raise NotFound(f"There is no repository {repository} here.", hint=_HINT) from error
            for tag in tags:
                count += 1
                yield await self._image(repository, tag)
            if len(tags) < _PAGE:
                break
            last = tags[-1]
        if not count:
            raise NotFound(f"{repository} has no tags.", hint="Name an image by its digest: REPOSITORY@DIGEST.")

    async def _image(self, repository: RepositoryName, reference: Reference) -> _Image:
        try:
            return _Image(repository, reference, (await self._store.resolve(repository, reference)).digest)
        except NotFound as error:
            raise NotFound(f"There is no {format_reference(repository, reference)} here.", hint=_HINT) from error


_HINT: Final = "An image that is elsewhere has to be pulled through yarddesk first."


class _Export:
    """The export of one image of many."""

    def __init__(self, source: Target, layout: WritableLayout, report: Report, number: int, count: int) -> None:
        self._source = source
        self._layout = layout
        self._report = report
        self._number = number
        self._count = count

    async def add(self, image: _Image, *, referrers: bool) -> Document:
        async with _in_words(image):
            graph, missing = await self._copy(image.digest, image)
            manifest = await listed(self._source, graph, self._layout)
            original = image.digest if image.digest != manifest.digest else None
            self._layout.name(manifest, image.repository, image.reference, original=original)
            name = self._layout.index.entries[-1].ref_name
            about = await self._add_referrers(graph, image) if referrers else 0
        return {
            "image": str(image),
            "digest": image.digest,
            "listed": manifest.digest,
            "name": name,
            "missing": [str(digest) for digest in missing],
            "referrers": about,
        }

    async def _copy(self, digest: Digest, image: _Image) -> tuple[Graph, list[Digest]]:
        graph = await read_graph(self._source, digest, whole=True)
        if graph.missing and len(graph.nodes) == 1:
            raise YarddeskError("None of its platforms is here.", hint="Pull the one that you need through yarddesk.")
        figures: dict[str, int | str] = {
            "doing": f"exporting {image}",
            "count_done": self._number,
            "count_total": self._count,
        }
        return graph, await copy_image(self._source, self._layout, graph, self._report, **figures)

    async def _add_referrers(self, graph: Graph, image: _Image) -> int:
        """What is about the image, about its platforms, and about that again; how many manifests."""
        done: set[Digest] = set()
        left = list(graph.nodes)
        while left:
            subject = left.pop()
            for reference in await self._about(subject):
                found = await self._source.fetch_manifest(reference)
                if found.digest in done or found.digest in graph.nodes:
                    continue
                done.add(found.digest)
                below, _ = await self._copy(found.digest, image)
                tagged = reference if isinstance(reference, Tag) else None
                self._layout.name(found, image.repository if tagged else None, tagged)
                left += below.nodes
        return len(done)

    async def _about(self, subject: Digest) -> list[Reference]:
        found: list[Reference] = [each.digest for each in await self._source.referrers(subject)]
        for ending in _TAGS_ABOUT:
            tag = Tag.parse(f"{subject.algorithm}-{subject.hex[:64]}{ending}")
            try:
                await self._source.resolve(tag)
            except NotFound:
                continue
            found.append(tag)
        return found


@asynccontextmanager
async def _in_words(image: _Image) -> AsyncIterator[None]:
    """Say of which image it is that something is missing or damaged here."""
    try:
        yield
    except DigestMismatch as error:
        raise YarddeskError(
            f"What is stored of {image} is damaged and was not exported.", str(error), hint="Push or pull it again."
        ) from error
    except NotFound as error:
        raise YarddeskError(f"{image} is not wholly here.", error.title, hint="Push or pull it again.") from error
    except YarddeskError as error:
        if type(error) is not YarddeskError:
            raise
        raise YarddeskError(f"{image} can't be exported.", error.title, hint=error.hint) from error
