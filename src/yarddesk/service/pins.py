"""`yarddesk pin`: images that stay here whatever room is needed."""

from yarddesk.content.target import NotFound
from yarddesk.control.works import Document, Report
from yarddesk.errors import YarddeskError
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import ImageReference
from yarddesk.service.surroundings import Surroundings


class Pinning:
    """The works behind the command."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._store = around.store
        self._pins = around.keeping.pins

    async def pin(self, parameters: Document, _report: Report) -> Document:
        """`reference` is pinned or, with `remove`, not any more. Raises NotFound where nothing is what it names."""
        text = parameters.get("reference")
        if not isinstance(text, str):
            raise YarddeskError("reference is a text.")
        stays = parameters.get("remove") is not True
        pin = await self.change(ImageReference.parse(text), stays=stays)
        return {"reference": str(pin), "pinned": stays}

    async def change(self, image: ImageReference, *, stays: bool) -> ImageReference:
        """Pin it, or don't any more; as it's called here. Raises NotFound, StorageError."""
        pin = ImageReference(self._around.routes().canonical(image.repository), image.reference)
        if stays:
            await self._check_here(pin)
            await self._pins.add(pin)
        elif not await self._pins.remove(pin):
            raise NotFound(f"{pin} is not pinned.", hint="`yarddesk pin --list` shows what is.")
        return pin

    async def pins(self, _parameters: Document, _report: Report) -> Document:
        """All of them, with what each names now."""
        return {"pins": await self.listed()}

    async def listed(self) -> list[dict[str, object]]:
        """`digest` is None where nothing is here that it names, and for a repository."""
        found: list[dict[str, object]] = []
        for pin in self._pins.all():
            digest = await self._named(pin)
            here = digest is not None or (pin.reference is None and bool(await self._store.digests(pin.repository)))
            found.append({"reference": str(pin), "repository": pin.repository, "digest": digest, "here": here})
        return found

    async def _named(self, pin: ImageReference) -> Digest | None:
        try:
            return None if pin.reference is None else (await self._store.resolve(pin.repository, pin.reference)).digest
        except NotFound:
            return None

    async def _check_here(self, pin: ImageReference) -> None:
        if pin.reference is not None:
            await self._store.resolve(pin.repository, pin.reference)
        elif not await self._store.digests(pin.repository):
            raise NotFound(f"There is no repository {pin.repository} here.")
