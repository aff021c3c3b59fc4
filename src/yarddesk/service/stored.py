"""`yarddesk images` and `usage`: what is stored, listed and counted."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, Final

from yarddesk.cache.shares import shares, size_here
from yarddesk.content.graph import read_graph
from yarddesk.content.target import NotFound
from yarddesk.content.threads import in_thread
from yarddesk.control.documents import timestamp
from yarddesk.control.works import Document, Report
from yarddesk.errors import YarddeskError
from yarddesk.oci import media_types
from yarddesk.oci.digest import Digest
from yarddesk.oci.manifest import Manifest
from yarddesk.oci.name import Reference, RepositoryName, Tag
from yarddesk.service.surroundings import Surroundings
from yarddesk.storage.contents import copied

_CREATED: Final = "org.opencontainers.image.created"
_MOST_CONFIG_BYTES: Final = 1024 * 1024
_MOST_CHARACTERS: Final = 100


class Stored:
    """The works behind the commands. An image at a time is in memory, and the digests of one repository."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._store = around.store

    async def images(self, parameters: Document, report: Report) -> Document:
        """Each tag, and each manifest that no tag or index names, as an item; `repository`: of that one alone."""
        only = _repository(parameters)
        await self._store.stock_taken()
        count = 0
        async for repository in self._store.known_repositories():
            if only is not None and repository != only:
                continue
            async for reference, digest in self._references(repository):
                entry = await self._described(repository, reference, digest)
                if entry is not None:
                    count += 1
                    await report.item(entry)
        if only is not None and not count:
            raise NotFound(f"There is no repository {only} here.")
        return {"count": count}

    async def usage(self, parameters: Document, report: Report) -> Document:
        """Bytes in all and for each repository; `repository`: of that one alone."""
        only = _repository(parameters)
        found = await self._store.census.take(lambda doing, count: report.progress(doing=doing, count_done=count))
        repositories = [each for each in found.repositories if only is None or each.name == only]
        if only is not None and not repositories:
            raise NotFound(f"There is no repository {only} here.")
        await self._store.stock_taken()
        ledger = self._around.keeping.ledger
        by_upstream = await in_thread(shares, await copied(self._store.contents), ledger.get)
        return {
            "used": await self._store.used_bytes(),
            "upstreams": [
                {"name": each.upstream or None, "manifests": each.manifests, "bytes": each.size} for each in by_upstream
            ],
            "blobs": found.blobs,
            "manifests": found.manifests,
            "unreferenced": found.unreferenced,
            "unreferenced_blobs": found.unreferenced_blobs,
            "quarantine": found.quarantine,
            "repositories": [
                {
                    "name": each.name,
                    "manifests": each.manifests,
                    "exclusive": each.exclusive,
                    "shared": each.shared,
                }
                for each in repositories
            ],
        }

    async def _references(self, repository: RepositoryName) -> AsyncIterator[tuple[Reference, Digest]]:
        """Tags in lexical order, then what neither a tag nor an index names."""
        rest = set(await self._store.digests(repository))
        for digest in tuple(rest):
            manifest = await self._manifest(repository, digest)
            if manifest is not None:
                rest.difference_update(child.digest for child in manifest.manifests)
        for tag in await self._tags(repository):
            try:
                digest = (await self._store.resolve(repository, tag)).digest
            except NotFound:
                continue  # verify tells of it
            rest.discard(digest)
            yield tag, digest
        for digest in sorted(rest):
            yield digest, digest

    async def _tags(self, repository: RepositoryName) -> list[Tag]:
        try:
            return list(await self._store.tags(repository))
        except NotFound:
            return []

    async def _manifest(self, repository: RepositoryName, digest: Digest) -> Manifest | None:
        try:
            return await self._store.get_manifest(repository, digest)
        except NotFound:
            return None

    async def _described(
        self, repository: RepositoryName, reference: Reference, digest: Digest
    ) -> dict[str, object] | None:
        manifest = await self._manifest(repository, digest)
        if manifest is None:
            return None
        modified = await self._store.manifest_modified(repository, digest)
        config = await self._config(manifest)
        used = self._around.keeping.uses.get(repository, digest)
        annotations = manifest.annotations or {}
        platforms = [str(child.platform) for child in manifest.manifests if child.platform is not None]
        if not manifest.is_index and config.get("os"):
            parts = (config.get(key) for key in ("os", "architecture", "variant"))
            platforms = ["/".join(_text(part) for part in parts if part)]
        return {
            "repository": repository,
            "tag": reference if isinstance(reference, Tag) else None,
            "digest": digest,
            "media_type": manifest.media_type,
            "kind": _kind(manifest),
            "artifact_type": manifest.artifact_type if _kind(manifest) == "artifact" else "",
            "platforms": [platform for platform in platforms if platform != "unknown/unknown"],
            "size": await self._size(repository, manifest),
            "bytes_here": self._size_here(repository, digest),
            "pinned": bool(self._around.keeping.pins.of(repository) & {None, reference, digest}),
            "used": timestamp(datetime.fromtimestamp(used, UTC)) if used else None,
            "created": _text(annotations.get(_CREATED) or config.get("created")) or None,
            "stored": timestamp(None if modified is None else datetime.fromtimestamp(modified, UTC)),
            "upstream": self._around.whereabouts.of(repository, reference, digest),
        }

    async def _size(self, repository: RepositoryName, manifest: Manifest) -> int | None:
        """Of all that belongs to it and is described here, each content once; None for what is nested beyond reason."""
        try:
            graph = await read_graph(self._store.repository(repository), manifest.digest)
        except YarddeskError:
            return None
        described = {node.descriptor.digest: node.descriptor.size for node in graph.nodes.values()}
        return sum((described | {blob.digest: blob.size for blob in graph.blobs.values()}).values())

    def _size_here(self, repository: RepositoryName, digest: Digest) -> int:
        """Of what is here of it."""
        index = self._store.contents
        contents = index.repositories.get(repository)
        return 0 if contents is None else size_here(index, contents, index.descendants(repository, digest))

    async def _config(self, manifest: Manifest) -> dict[str, Any]:
        """An image's configuration, where it is here and is one."""
        config = manifest.config
        if config is None or config.media_type not in media_types.IMAGE_CONFIGS or config.size > _MOST_CONFIG_BYTES:
            return {}
        try:
            async with self._store.read_blob(config.digest) as pieces:
                content = b"".join([piece async for piece in pieces])
            document = json.loads(content)
        except (NotFound, ValueError, RecursionError):
            return {}
        return document if isinstance(document, dict) else {}


def _kind(manifest: Manifest) -> str:
    if manifest.is_index:
        return "index"
    if manifest.config is not None and manifest.config.media_type in media_types.IMAGE_CONFIGS:
        return "image"
    return "artifact" if manifest.media_type in media_types.MANIFESTS else "unknown"


def _text(value: object) -> str:
    """What a stranger's document says, fit for a line."""
    if not isinstance(value, str):
        return ""
    return "".join(character for character in value if character.isprintable())[:_MOST_CHARACTERS]


def _repository(parameters: Document) -> RepositoryName | None:
    name = parameters.get("repository")
    if name is None:
        return None
    if not isinstance(name, str):
        raise YarddeskError("repository is a text.")
    return RepositoryName.parse(name)
