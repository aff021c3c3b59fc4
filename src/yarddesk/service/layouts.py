"""The works on OCI image layouts, as the commands ask for them."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from yarddesk.content.threads import in_thread
from yarddesk.control.works import Document, Report, Work
from yarddesk.errors import YarddeskError
from yarddesk.oci.name import ImageReference, RepositoryName
from yarddesk.service.exports import Exports
from yarddesk.service.imports import Imports
from yarddesk.service.surroundings import Surroundings


class LayoutWorks:
    """Export and import. Whoever asks is our own user, so the paths are read and written as they are named."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self.works: Mapping[str, Work] = MappingProxyType({"export": self.export, "import": self.import_images})

    async def export(self, parameters: Document, report: Report) -> Document:
        """Carry `images` out to the layout at `path`; `referrers`: with what is about them."""
        names = parameters.get("images")
        if not isinstance(names, list) or not names:
            raise YarddeskError("images is a list of REFERENCEs.")
        wanted = [_reference(name) for name in names]
        path = await self._path(parameters)
        exports = Exports(self._around.store, self._canonical)
        return await exports.export(wanted, path, report, referrers=parameters.get("referrers") is True)

    async def import_images(self, parameters: Document, report: Report) -> Document:
        """Bring in what the layout at `path` holds; `image`: under which name, or which of them."""
        image = parameters.get("image")
        wanted = None if image is None else _reference(image)
        path = await self._path(parameters)
        async with self._around.pushes() as intake:
            return await Imports(self._around.store, intake, self._canonical).run(path, wanted, report)

    def _canonical(self, repository: RepositoryName) -> RepositoryName:
        return self._around.routes().canonical(repository)

    async def _path(self, parameters: Document) -> Path:
        text = parameters.get("path")
        if not isinstance(text, str) or "\0" in text or not Path(text).is_absolute():
            raise YarddeskError("path is an absolute path.")
        path = Path(text)
        data_dir = self._around.settings().data_dir
        if await in_thread(_is_within, path, data_dir):
            raise YarddeskError(f"{path} lies in the data folder.", hint="Keep image layouts out of it.")
        return path


def _reference(text: Any) -> ImageReference:  # noqa: ANN401 - JSON is any of its types
    if not isinstance(text, str):
        raise YarddeskError("A REFERENCE is a text.")
    return ImageReference.parse(text)


def _is_within(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())
